"""What the live window says over the picture."""

import pytest
from support.live_session import Ticking

from rtstyle.live.controls import Settings

pytest_plugins = ["support.live_fixtures"]

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


def test_the_display_tells_the_state(session, texts):
    s = session(Ticking(0.01)).start()
    s.wait_for_frames(3)
    s.press("x", "[", "c", " ", "a")
    s.wait(lambda: any("taking turns" in line for line in texts))
    s.end()
    line = next(line for line in texts if "taking turns" in line)
    for words in ("reed 95%, ochre 5%", "strength 90%", "camera's colours", "frozen"):
        assert words in line, line
    assert any("fps painted" in line and "dropped" in line and "delay" in line for line in texts)
    assert any(line.startswith("working height 24 (fixed) on abacus") for line in texts)


def test_display_and_help_can_be_hidden_and_shown(session, texts):
    s = session(Ticking(0.01), settings=Settings(show_display=False)).start()
    s.wait_for_frames(5)
    assert not any("fps painted" in line for line in texts)
    s.press("h")
    s.wait(lambda: any(line.startswith("n p\t") for line in texts))
    s.press("h", "i")
    s.wait(lambda: any("fps painted" in line for line in texts))
    s.end()


def test_a_lost_source_is_told_over_the_last_picture(session, texts):
    s = session(Ticking(0.005, count=3, returns=True)).start()
    s.wait(lambda: any("the source was lost" in line for line in texts))
    s.end()
    assert s.shown, "the last picture stays"
