"""Text over the picture: it stays within it, can be read, and darkens its box only."""

import numpy as np
import pytest

from rtstyle.live import overlay
from rtstyle.live.controls import KEYS, help_lines
from rtstyle.live.overlay import Messages

STATUS = [
    "starry-night 95%, composition-vii 5%, strength 100%, camera's colours, steady, frozen, taking turns",
    "30 fps painted, 30 shown, delay 1234 ms (95 %: 2345), 100% dropped",
    "working height 1080 (automatic) on tensorrt:1, h for help",
]
TINY = [(16, 16), (64, 48), (160, 120)]
SIZES = [(320, 240), (480, 288), (1920, 1080), (3840, 2160), (270, 480)]


def written(canvas, *arguments, **options):
    """The box that something changes: top, bottom, left and right, the ends not in it; and the ink's, on black."""
    overlay.write(canvas, *arguments, **options)
    rows, columns = np.flatnonzero(canvas.any(axis=(1, 2))), np.flatnonzero(canvas.any(axis=(0, 2)))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("position", [(0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.5, 1.0)], ids=str)
def test_all_of_a_text_is_there(size, position):
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    top, bottom, left, right = written(canvas, STATUS, position=position)
    height, width = canvas.shape[:2]
    assert 0 < top < bottom < height and 0 < left < right < width, "text is cut off: it reaches the edge"


@pytest.mark.parametrize("size", TINY, ids=str)
def test_text_never_leaves_even_the_smallest_picture(size):
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    overlay.write(canvas, STATUS, position=(1.0, 1.0))
    assert canvas.any()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_help_fits(size):
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    overlay.write(canvas, help_lines(), position=(0.5, 0.5))
    ink = canvas.any(axis=2)
    assert not (ink[0].any() or ink[-1].any() or ink[:, 0].any() or ink[:, -1].any())
    lines = np.flatnonzero(np.diff(ink.any(axis=1).astype(int)) == 1)
    assert len(lines) >= len(KEYS) - 1, "lines lie over one another"


def test_letters_are_large_enough_to_be_read_and_grow_with_the_picture():
    heights = []
    for width, height in SIZES:
        canvas = np.zeros((height, width, 3), np.uint8)
        top, bottom, *_ = written(canvas, ["H"])
        heights.append((bottom - top) / canvas.shape[0])
        assert bottom - top >= 7
    assert heights[2:4] == pytest.approx([0.7 / 26] * 2, rel=0.2)


def test_text_darkens_its_box_only():
    canvas = np.full((240, 320, 3), 200, np.uint8)
    overlay.write(canvas, ["words"], position=(1.0, 1.0))
    rows, columns = (np.flatnonzero((canvas != 200).any(axis=axis)) for axis in ((1, 2), (0, 2)))
    box = canvas[rows[0] :, columns[0] :]
    assert rows[-1] == 239 and columns[-1] == 319
    assert (canvas != 200).sum() == (box != 200).sum() and box.min() == 80 and box.max() == 255


def test_a_message_is_shown_for_a_while():
    now = [100.0]
    messages = Messages(lambda: now[0])
    assert messages.current(100.0) == ""
    messages.say("saved a.png", 2.0)
    messages.say(None)
    assert messages.current(101.9) == "saved a.png" and messages.current(102.0) == ""
    messages.say("another")
    assert messages.current(102.4) == "another"
