"""What the live window says over the picture, of a loop that does not run."""

import pytest
from support.live_session import Net, grey, hand

from rtstyle.live import display
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
        display.compose(still.controls, still.live.statistics, painted, NOW)
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


def test_the_view_below_is_not_written_to(still):
    before = PAINTED.picture.copy()
    canvas = display.compose(still.controls, still.live.statistics, PAINTED, NOW)
    assert (PAINTED.picture == before).all() and (canvas != canvas[0, 0]).any()
