"""What the live window says over the picture, of a loop that does not run."""

import pytest
from support.live_session import Net, grey, hand
from support.screen import reads

from rtstyle.live import display, overlay
from rtstyle.live.controls import KEYS
from rtstyle.live.statistics import Painted

pytest_plugins = ["support.live_fixtures"]

NOW = 100.0


@pytest.fixture
def still(session):
    return session(hand(), net=Net(work_height=24))


@pytest.fixture
def written(still, texts):
    """The lines that are written over a picture, or over none."""

    def write(painted=None):
        texts.clear()
        display.compose(still.controls, still.live.statistics, painted, NOW, (480, 640))
        return list(texts)

    return write


PAINTED = Painted(1, NOW, grey(10), grey(20))


def test_the_display_tells_the_state(still):
    assert display.status(still.controls, still.live.statistics, NOW) == [
        "reed, strength 100%",
        "0 fps painted, 0 shown, delay 0 ms (95 %: 0), 0% dropped",
        "working height 24 (fixed) on abacus, h for help",
    ]
    for key in "x[ct a":
        still.live.press(key)
    words = "reed 95%, ochre 5%, strength 90%, camera's colours, steady, frozen, taking turns"
    assert display.status(still.controls, still.live.statistics, NOW)[0] == words


def test_display_and_help_can_be_hidden_and_shown(still, written):
    assert len(written(PAINTED)) == 3
    still.live.press("i")
    assert written(PAINTED) == []
    still.live.press("h")
    assert [line.partition("\t")[2] for line in written(PAINTED)] == [key.help for key in KEYS]
    still.live.press("i")
    assert len(written(PAINTED)) == len(KEYS), "the help comes first"
    still.live.press("h")
    assert len(written(PAINTED)) == 3


def test_before_the_first_picture_it_says_what_it_waits_for(written):
    assert written()[-1] == "waiting for the first picture" and "waiting for the first picture" not in written(PAINTED)


def test_a_message_is_written_below_unless_something_is_wrong(still, written):
    still.controls.messages.say("saved a.png", 1e9)
    assert "saved a.png" in written(PAINTED)
    assert "saved a.png" not in written(), "what it waits for comes first"


@pytest.mark.parametrize(("width", "height"), [(640, 480), (320, 240), (1280, 720), (2560, 1440), (480, 800)])
def test_the_help_lies_beside_the_picture_and_all_of_it_can_be_read(still, width, height, texts):
    painted = Painted(1, NOW, grey(10, 96, 160), grey(20, 96, 160))
    still.live.press("h")
    canvas = display.compose(still.controls, still.live.statistics, painted, NOW, (height, width))
    area = still.controls.picture
    assert (area.of(canvas) == 20).all() and area.width * area.height > 0.03 * width * height
    assert area.width / area.height == pytest.approx(160 / 96, rel=0.02)
    assert canvas.max() > 200 and canvas.shape == (height, width, 3)
    for key in KEYS:
        assert reads(canvas, key.help, overlay.letters_on(height, width, 0.8)) or width < 640
    if width == 320:
        assert all(any(reads(canvas, key.help, letters) for letters in (9, 10, 11)) for key in KEYS)


def test_what_is_beside_the_picture_is_black(still):
    painted = Painted(1, NOW, grey(10, 96, 160), grey(20, 96, 160))
    still.live.press("i")
    canvas = display.compose(still.controls, still.live.statistics, painted, NOW, (300, 800))
    assert (canvas[:, 150:650] == 20).all() and (canvas[:, :150] == 0).all() and (canvas[:, 650:] == 0).all()


def test_the_view_below_is_not_written_to(still):
    before = PAINTED.picture.copy()
    canvas = display.compose(still.controls, still.live.statistics, PAINTED, NOW, (480, 640))
    assert (PAINTED.picture == before).all() and (canvas != canvas[0, 0]).any()
