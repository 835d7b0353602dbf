"""Pictures and folders of pictures."""

import struct
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from support.helpers import run_python, tree
from support.media_files import claim_png, picture, psnr

from rtstyle import RtstyleError, Stylizer, stylize_image
from rtstyle.image import stylize_folder
from rtstyle.media.images import SUFFIXES, read_image

pytest_plugins = ["support.runtime_fixtures"]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(picture(0, 61, 97)).save(path)
    return path


def pixels(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def test_a_picture_is_what_the_stylizer_paints(tmp_path, stylizer, photo):
    stylize_image(photo, tmp_path / "out.png", stylizer)
    assert (pixels(tmp_path / "out.png") == stylizer(picture(0, 61, 97))).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_can_be_written_and_read(tmp_path, stylizer, photo, suffix):
    stylize_image(photo, tmp_path / f"out{suffix.upper()}", stylizer)
    assert psnr(pixels(tmp_path / f"out{suffix.upper()}"), stylizer(picture(0, 61, 97))) > 28
    stylize_image(tmp_path / f"out{suffix.upper()}", tmp_path / "again.png", stylizer, strength=0)
    assert (pixels(tmp_path / "again.png") == pixels(tmp_path / f"out{suffix.upper()}")).all()


def test_strength_and_colours(tmp_path, stylizer, photo):
    stylize_image(photo, tmp_path / "none.png", stylizer, strength=0)
    assert (pixels(tmp_path / "none.png") == picture(0, 61, 97)).all()
    stylize_image(photo, tmp_path / "colour.png", stylizer, keep_color=True)
    painted, kept = stylizer(picture(0, 61, 97)), pixels(tmp_path / "colour.png")
    assert psnr(kept, painted) < 30

    def colour_differences(rgb):
        return (rgb.astype(float) - rgb.mean(-1, keepdims=True)).reshape(-1, 3)

    photograph = colour_differences(picture(0, 61, 97))
    assert (np.abs(colour_differences(kept) - photograph).mean()
            < np.abs(colour_differences(painted) - photograph).mean() / 2)  # fmt: skip


def test_transparency_stays(tmp_path, stylizer):
    alpha = np.tile(np.arange(96, dtype=np.uint8)[:, None], (1, 64))
    Image.fromarray(np.dstack([picture(0, 96, 64), alpha])).save(tmp_path / "in.png")
    stylize_image(tmp_path / "in.png", tmp_path / "out.png", stylizer)
    with Image.open(tmp_path / "out.png") as out:
        assert out.mode == "RGBA"
        assert (np.array(out)[..., 3] == alpha).all()
    stylize_image(tmp_path / "in.png", tmp_path / "out.jpg", stylizer)
    assert pixels(tmp_path / "out.jpg").shape == (96, 64, 3)


def test_a_turned_photograph_comes_out_upright_with_its_exif(tmp_path, stylizer):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A Camera"  # orientation: turn by 90 degrees; make
    Image.fromarray(picture(0, 64, 96)).save(tmp_path / "in.jpg", exif=exif, quality=98, subsampling=0)
    stylize_image(tmp_path / "in.jpg", tmp_path / "out.jpg", stylizer, strength=0)
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.size == (64, 96)
        assert out.getexif().get(0x0112, 1) == 1
        assert out.getexif()[0x010F] == "A Camera"
    assert psnr(pixels(tmp_path / "out.jpg"), np.rot90(picture(0, 64, 96), -1)) > 30


@pytest.mark.parametrize("mode", ["L", "P", "LA", "CMYK", "1", "I;16", "RGBA"])
def test_every_kind_of_pixel_is_read_as_rgb(tmp_path, mode):
    grey = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "1":
        image = Image.fromarray(grey > 127)
    elif mode == "P":
        image = image.quantize(64)
    elif mode in ("CMYK", "RGBA"):
        image = image.convert("RGB").convert(mode)
    else:
        image = image.convert(mode)
    path = tmp_path / ("in.tif" if mode in ("CMYK", "I;16") else "in.png")
    image.save(path)
    rgb = read_image(path).rgb
    expected = np.where(grey > 127, 255, 0) if mode == "1" else grey
    assert rgb.shape == (32, 48, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - expected[..., None]).max() <= 2


def profile_with_red_and_blue_swapped():
    """An sRGB profile whose primaries of red and blue have changed places in its table of tags."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profile.count(b"rXYZ") == profile.count(b"bXYZ") == 1
    return profile.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")


@pytest.mark.parametrize(
    ("profile", "seen"),
    [
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), (200, 60, 60)),
        (profile_with_red_and_blue_swapped(), (60, 60, 200)),
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), (200, 60, 60)),
        (b"no profile at all", (200, 60, 60)),
    ],
    ids=["srgb", "other primaries", "for another kind of pixel", "broken"],
)
def test_colour_profiles_are_obeyed_where_they_make_sense(tmp_path, profile, seen):
    Image.fromarray(np.full((32, 32, 3), (200, 60, 60), np.uint8)).save(tmp_path / "in.png", icc_profile=profile)
    assert np.abs(read_image(tmp_path / "in.png").rgb.astype(int) - seen).max() <= 1


@pytest.mark.parametrize("most", [1, 255])
def test_grey_in_floating_point_is_read_as_what_it_shows(tmp_path, most):
    ramp = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64)
    Image.fromarray(ramp * most).save(tmp_path / "ramp.tif")
    rgb = read_image(tmp_path / "ramp.tif").rgb
    assert np.abs(rgb - 255 * ramp[..., None]).max() <= 0.51
    ramp[0, :2] = np.nan, np.inf
    Image.fromarray(ramp * most).save(tmp_path / "ramp.tif")
    assert read_image(tmp_path / "ramp.tif").rgb[0, 0].tolist() == [0, 0, 0]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "exif",
    [
        b"no TIFF at all",
        b"II*\0\xff\xff\xff\xff" + b"x" * 40,
        b"II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\xff\xff\xff\xff\0",
        b"",
    ],
    ids=["words", "elsewhere", "cut off", "empty"],
)
def test_a_picture_with_broken_exif_data_is_painted(tmp_path, stylizer, exif):
    photo = picture(0, 48, 64)
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=95, exif=b"Exif\0\0" + exif)
    assert psnr(read_image(tmp_path / "photo.jpg").rgb, photo) > 25
    for name in ("out.jpg", "out.png"):
        stylize_image(tmp_path / "photo.jpg", tmp_path / name, stylizer)


def test_a_picture_is_turned_where_other_exif_data_is_broken(tmp_path):
    turned, unit = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0), struct.pack("<HHLL", 0x0128, 4, 1, 70_000)  # a short
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + turned + unit + bytes(4)
    Image.fromarray(picture(0, 48, 64)).save(tmp_path / "photo.png", exif=exif)
    read = read_image(tmp_path / "photo.png")
    assert read.exif == b"" and (read.rgb == np.rot90(picture(0, 48, 64), -1)).all()


def save_planar(rgb, path):
    """A TIFF in which red, green and blue lie one after the other."""
    height, width = rgb.shape[:2]
    size, at = height * width, 10 + 10 * 12 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 3, at + 6), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 3, at + 18), (284, 3, 1, 2)]
    lists = struct.pack("<3H6L", 8, 8, 8, *(at + 30 + size * i for i in range(3)), *[size] * 3)
    head = struct.pack("<2sHLH", b"II", 42, 8, len(tags)) + b"".join(struct.pack("<HHLL", *tag) for tag in tags)
    path.write_bytes(head + bytes(4) + lists + rgb.transpose(2, 0, 1).tobytes())


@pytest.mark.parametrize("kind", ["L", "I;16", "1", "CMYK", "P", "planar", "icc", "jpeg", "turned"])
def test_of_a_tiff_only_tags_that_describe_it_go_into_the_output(tmp_path, stylizer, kind):
    image, options = Image.fromarray(picture(0, 40, 56)), {}
    if kind == "I;16":
        image = Image.fromarray(picture(0, 40, 56)[..., 0].astype(np.uint16) * 257)
    elif kind in ("L", "1", "CMYK", "P"):
        image = image.convert(kind)
    elif kind == "icc":
        options = {"icc_profile": profile_with_red_and_blue_swapped()}
    elif kind == "jpeg":
        options = {"compression": "jpeg"}
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "A Camera"
        exif.get_ifd(0x8769)[0x829D] = 2.8
        options = {"exif": exif.tobytes()}
    image.save(tmp_path / "in.tif", **options)
    if kind == "planar":
        save_planar(picture(0, 40, 56), tmp_path / "in.tif")
    for name in ("out.tif", "out.png", "out.webp"):
        stylize_image(tmp_path / "in.tif", tmp_path / name, stylizer, strength=0)
        with Image.open(tmp_path / name) as out:
            tags = out.getexif()
            kept = set(tags) - {256, 257, 258, 259, 262, 273, 277, 278, 279, 284} if name == "out.tif" else set(tags)
            assert kept == ({0x010F, 0x8769} if kind == "turned" else set())
            assert "icc_profile" not in out.info and dict(tags.get_ifd(0x8769)) == ({0x829D: 2.8} if kept else {})
        if name != "out.webp":
            assert (pixels(tmp_path / name) == read_image(tmp_path / "in.tif").rgb).all()


def test_tags_of_a_photograph_on_how_its_pixels_are_stored_do_not_go_into_a_tiff(tmp_path, stylizer):
    exif = Image.Exif()
    exif[0x010F], exif[258], exif[262], exif[277] = "A Camera", 8, 1, 1  # as Photoshop writes them
    Image.fromarray(picture(0, 40, 56)).convert("L").save(tmp_path / "in.jpg", exif=exif)
    stylize_image(tmp_path / "in.jpg", tmp_path / "out.tif", stylizer)
    with Image.open(tmp_path / "out.tif") as out:
        assert out.mode == "RGB" and out.getexif()[0x010F] == "A Camera"


def test_a_number_of_a_wrong_kind_is_one_sentence(tmp_path):
    Image.fromarray(np.zeros((32, 32), np.float32)).save(tmp_path / "in.tif")
    whole = (tmp_path / "in.tif").read_bytes()
    where = struct.pack("<HH", 273, 4)  # where the pixels are, a long
    assert whole.count(where) == 1
    (tmp_path / "in.tif").write_bytes(whole.replace(where, struct.pack("<HH", 273, 11)))
    with pytest.raises(RtstyleError, match=r"in\.tif is not a readable picture \(damaged: "):
        read_image(tmp_path / "in.tif")


def test_a_folder_is_painted_under_the_same_names(tmp_path, stylizer):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for i, name in enumerate(("a.png", "b.JPG", "c.webp")):
        Image.fromarray(picture(i, 40, 56)).save(source / name)
    (source / "notes.txt").write_text("no picture")
    (source / "broken.png").write_text("no picture either")
    steps = []
    done, skipped = stylize_folder(source, out, stylizer, progress=lambda *step: steps.append(step))
    assert done == 3
    assert len(skipped) == 1 and "broken.png" in skipped[0]
    assert steps == [(i, 4) for i in range(1, 5)]
    assert set(tree(out)) == {"a.png", "b.JPG", "c.webp"}
    assert (pixels(out / "a.png") == stylizer(picture(0, 40, 56))).all()


def test_a_second_run_needs_force(tmp_path, stylizer):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(picture(0, 40, 56)).save(source / "a.png")
    stylize_folder(source, out, stylizer)
    before = tree(out)
    with pytest.raises(RtstyleError, match=r"none of the 1 pictures.*`force=True`"):
        stylize_folder(source, out, stylizer, strength=0)
    assert tree(out) == before
    stylize_folder(source, out, stylizer, strength=0, force=True)
    assert (pixels(out / "a.png") == picture(0, 40, 56)).all()


@pytest.mark.parametrize("earlier", [None, b"an earlier result"])
def test_an_error_while_writing_leaves_out_alone(tmp_path, stylizer, photo, earlier, monkeypatch):
    out = tmp_path / "out.png"
    if earlier:
        out.write_bytes(earlier)
    before = tree(tmp_path)

    def full(self, path, **_):
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RtstyleError, match=r"out\.png: No space left on device"):
        stylize_image(photo, out, stylizer, force=True)
    assert tree(tmp_path) == before


def test_a_work_height_far_above_the_pictures_is_remarked_upon_once(tmp_path, stylizer, caplog, monkeypatch):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(picture(0, 40, 56)).save(source / name)
    monkeypatch.setattr(stylizer, "work_height", 79)
    stylize_folder(source, tmp_path / "fine", stylizer)
    assert caplog.messages == []
    monkeypatch.setattr(stylizer, "work_height", 160)
    stylize_folder(source, tmp_path / "out", stylizer)
    (message,) = caplog.messages
    assert message.startswith("the net runs at 4.0 times the frame's height, 160 pixels instead of 40")
    assert "about 16 times the time" in message


def test_a_picture_that_somebody_writes_meanwhile_stays(tmp_path, photo):
    out = tmp_path / "out.png"

    class Slow(Stylizer):
        def run(self, batch, code=None):
            out.write_bytes(b"theirs")
            return super().run(batch, code)

    with pytest.raises(
        RtstyleError, match=r"out\.png was written by somebody else .*the result is .*out\.partial\.png"
    ):
        stylize_image(photo, out, Slow(device="cpu", threads=1))
    assert out.read_bytes() == b"theirs" and pixels(tmp_path / "out.partial.png").shape == (61, 97, 3)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_large_picture_is_converted_in_strips_and_turned_as_pillow_turns_it(tmp_path, monkeypatch, turn):
    monkeypatch.setattr("rtstyle.media.images.STRIP", 10 * 97)
    exif = Image.Exif()
    exif[0x0112] = turn
    rgba = Image.fromarray(np.dstack([picture(0, 61, 97), picture(1, 61, 97)[..., 0]]))
    rgba.save(tmp_path / "in.png", exif=exif)
    with Image.open(tmp_path / "in.png") as file:
        expected = np.array(ImageOps.exif_transpose(file))
    read = read_image(tmp_path / "in.png")
    assert (read.rgb == expected[..., :3]).all() and (read.alpha == expected[..., 3]).all()


def test_numbers_in_strips_have_one_white(tmp_path, monkeypatch):
    monkeypatch.setattr("rtstyle.media.images.STRIP", 10 * 64)
    ramp = np.linspace(0, 255, 64 * 48, dtype=np.float32).reshape(48, 64)
    Image.fromarray(ramp).save(tmp_path / "ramp.tif")
    assert np.abs(read_image(tmp_path / "ramp.tif").rgb - ramp[..., None]).max() <= 0.51


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [10_000, 40_000])
def test_what_a_picture_takes_is_known_before_it_is_decoded(tmp_path, stylizer, side):
    claim_png(tmp_path / "in.png", side)
    with pytest.raises(RtstyleError, match=rf"in.png has {side}x{side} pixels and takes at least .* only 0.1 GB"):
        stylize_image(tmp_path / "in.png", tmp_path / "out.png", stylizer, max_memory=10**8)
    assert set(tree(tmp_path)) == {"in.png"}


def test_a_net_that_sees_every_pixel_takes_more(tmp_path, photo):
    need = 97 * 61 * (3 + 60)
    full = Stylizer("starry-night", device="cpu", work_height="full")
    with pytest.raises(RtstyleError, match="raise `max_memory`"):
        stylize_image(photo, tmp_path / "out.png", full, max_memory=need - 1)
    stylize_image(photo, tmp_path / "out.png", full, max_memory=need)


WITHIN_MEMORY = """
import sys
from rtstyle import Stylizer, stylize_image
from rtstyle.diagnose.machine import forget_peak, peak_memory
stylizer = Stylizer("starry-night", device="cpu", work_height=64)
stylize_image(sys.argv[1], sys.argv[2], stylizer)
forget_peak()
before = peak_memory()
stylize_image(sys.argv[3], sys.argv[4], stylizer)
print(peak_memory() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be forgotten on Linux")
def test_a_large_picture_takes_what_was_reckoned_with(tmp_path, photo):
    """9 bytes a pixel. It was 18 when Pillow's and NumPy's copies lay beside one another."""
    Image.fromarray(picture(0, 64, 64)).resize((4000, 4000)).save(tmp_path / "in.jpg")
    paths = [photo, tmp_path / "out.png", tmp_path / "in.jpg", tmp_path / "out.jpg"]
    ended = run_python("-c", WITHIN_MEMORY, *paths)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 11 * 16e6 / (1 << 20)
