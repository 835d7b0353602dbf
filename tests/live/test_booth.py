"""The photo booth: it counts, and saves one sheet of a moment in four styles."""

import numpy as np
import pytest
from PIL import Image
from support.live_session import CODES, NAMES, Net, Ticking, grey, hand, toy_model
from support.screen import reads
from support.sources import ManualClock

from rtstyle.live import display, overlay
from rtstyle.live.booth import Booth, booth_codes, sheet, sheet_painter
from rtstyle.live.statistics import Painted
from rtstyle.live.styles import StyleChooser
from rtstyle.paint.painter import Painter

pytest_plugins = ["support.live_fixtures"]


def test_the_countdown_counts_three_two_one_and_is_due_once():
    booth = Booth()
    assert booth.count(10.0) == "" and not booth.due(10.0)
    booth.toggle(10.0)
    assert [booth.count(t) for t in (10.0, 10.9, 11.5, 12.5, 12.99, 13.0)] == ["3", "3", "2", "1", "1", ""]
    assert not booth.due(12.99) and booth.due(13.0) and not booth.due(14.0)
    booth.toggle(20.0)
    booth.toggle(21.0)
    assert booth.count(21.0) == "" and not booth.due(30.0), "it was called off"


def test_four_pictures_are_two_by_two_on_white():
    page = sheet([grey(level, 100, 160) for level in (10, 20, 30, 40)])
    assert page.shape == (209, 329, 3) and (page[:3] == 255).all() and (page[:, 163:166] == 255).all()
    corners = [page[y, x, 0] for y in (3, 205) for x in (3, 325)]
    assert corners == [10, 20, 30, 40]
    assert sheet([grey(10, 100, 160)]).shape == (106, 166, 3)


@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        (lambda styles: styles.choose(0, 1.0), [CODES[0], CODES[1], CODES[2]]),
        (lambda styles: styles.choose(2, 1.0), [CODES[2], CODES[0], CODES[1]]),
        (lambda styles: styles.mix(1, 2, 0.25, 1.0), [0.75 * CODES[1] + 0.25 * CODES[2], CODES[0]]),
        (lambda styles: styles.remove(NAMES[0]), [CODES[0], CODES[1], CODES[2]]),  # painted on
    ],
)
def test_the_styles_are_the_present_one_and_those_after_it(choose, expected):
    net = Net()
    styles = StyleChooser(net)
    choose(styles)
    paint = sheet_painter(Painter(net), grey(10, 48, 64), booth_codes(styles))
    page = paint()
    np.testing.assert_allclose(net.codes, expected, rtol=1e-6)
    assert page[5, 5, 0] == 245


def test_a_model_of_one_style_has_a_sheet_of_one():
    net = Net(takes_code=False, count=1)
    assert sheet_painter(Painter(net), grey(10, 48, 64), booth_codes(StyleChooser(net)))().shape == (50, 66, 3)
    assert toy_model(False, 1).styles and net.codes == [None]


def test_the_key_saves_a_sheet_of_that_moment(session, texts, tmp_path):
    s = session(Ticking(0.02), countdown=1).start()
    s.wait(lambda: s.shown)
    s.press("b")
    s.wait(lambda: "1" in texts)
    s.wait(lambda: s.outputs.files)
    summary = s.end()
    (path,) = summary.files
    assert path.endswith("-booth.png") and str(tmp_path) in path
    page = np.asarray(Image.open(path))
    assert page.shape == (2 * 25 + 1, 2 * 33 + 1, 3), "three styles of 32x24"
    assert (page[2, 2] == page[2, 40]).all() and (page[-5, -5] == 255).all()


def test_the_count_is_large_and_in_the_middle(session):
    s = session(hand(), clock=ManualClock(passes=False, time=1.0))
    s.live.press("b")
    s.controls.settings.show_display = False
    canvas = display.compose(s.controls, s.live.statistics, Painted(1, 1.0, grey(10), grey(20)), 1.0, (480, 640))
    assert reads(canvas, "3", overlay.letters_on(480, 640, 8))
