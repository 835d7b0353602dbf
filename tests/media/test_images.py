"""Pictures fitted into a frame; reading and writing them is tested with painting (tests/test_image.py)."""

import numpy as np
import pytest
from PIL import Image
from support.media_files import picture

from rtstyle.errors import OutputError
from rtstyle.media.images import LONGEST_EXIF, Picture, fit, write_image


def color_card(rgb, height=24, width=32):
    return np.full((height, width, 3), rgb, np.uint8)


def test_a_jpeg_leaves_out_tags_that_it_has_no_room_for(tmp_path):
    for size, kept in ((LONGEST_EXIF, True), (LONGEST_EXIF + 1, False)):
        tags = b"Exif\0\0" + bytes(size - 6)
        write_image(tmp_path / "out.jpg", Picture(color_card((9, 99, 199)), exif=tags), force=True)
        with Image.open(tmp_path / "out.jpg") as written:
            assert ("exif" in written.info) == kept and written.size == (32, 24)


def test_a_size_that_the_format_does_not_have_is_one_sentence(tmp_path):
    for name, side, longest in (("out.webp", 16_384, 16_383), ("out.JPG", 65_501, 65_500)):
        with pytest.raises(OutputError, match=rf"{name} cannot be written: .*{longest} pixels a side .* choose PNG or"):
            write_image(tmp_path / name, Picture(color_card((9, 99, 199), 16, side)))
        assert not list(tmp_path.iterdir())
        write_image(tmp_path / name, Picture(color_card((9, 99, 199), 16, longest)))
        (tmp_path / name).unlink()


def test_fit_leaves_what_fits_and_cuts_one_row():
    frame = picture(0, 25, 33)
    assert (fit(frame, 33, 25) == frame).all()
    assert (fit(frame, 32, 24) == frame[:24, :32]).all()


@pytest.mark.parametrize(
    ("height", "width", "inner"),
    [(48, 64, (0, 24, 0, 32)), (12, 16, (0, 24, 0, 32)), (48, 32, (0, 24, 8, 24)), (24, 64, (6, 18, 0, 32))],
)
def test_fit_keeps_the_shape_of_things(height, width, inner):
    out = fit(color_card((50, 100, 150), height, width), 32, 24)
    top, bottom, left, right = inner
    assert out.shape == (24, 32, 3)
    assert (out[top:bottom, left:right] == (50, 100, 150)).all()
    out[top:bottom, left:right] = 0
    assert not out.any(), "the bars are black"
