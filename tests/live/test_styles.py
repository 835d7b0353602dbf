"""Styles in the live window: chosen, mixed, taking turns; and the crossfades as they are painted."""

import time

import numpy as np
import pytest
from support.live_session import CODES, NAMES, Net, Ticking, grey, hand
from support.sources import ManualClock

from rtstyle.live.controls import Settings
from rtstyle.live.styles import StyleChooser
from rtstyle.paint.painter import Painter

pytest_plugins = ["support.live_fixtures"]

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


# -- as they are painted


def smooth(seconds, fade=0.5):
    """The share of the new style so many seconds after a change."""
    t = min(1.0, max(0.0, seconds / fade))
    return t * t * (3 - 2 * t)


def test_changing_the_style_is_a_crossfade_of_half_a_second(session):
    clock = ManualClock()
    s = session(hand(grey(1)), net=Net(pause=0.05, clock=clock), clock=clock).start()
    s.wait(lambda: s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.end()
    times, shares = zip(*s.shares(since=1), strict=True)
    assert len(shares) >= 10 and shares == pytest.approx([smooth(time - times[0]) for time in times], abs=1e-3)
    assert all(code[2] == 0 and code.sum() == pytest.approx(1) for code in s.net.codes)


def test_new_frames_keep_coming_during_a_crossfade(session):
    s = session(Ticking(0.01), net=Net(pause=0.005)).start()
    s.wait_for_frames(3)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.end()
    fading = [painted.number for painted, code in zip(s.painted, s.net.codes, strict=True) if 0 < code[1] < 1]
    assert len(set(fading)) >= 6 and fading == sorted(fading)


def test_a_crossfade_paints_no_more_frames_than_come(session):
    """Between two frames of a source nothing new is to be seen of a fade: painting all the time would only heat."""
    s = session(Ticking(1 / 28), target_fps=30).start()
    s.wait_for_frames(10)  # until the rate of the source is known
    already = len(s.painted)
    for key in "231":
        s.press(key)
        s.wait(lambda key=key: s.net.codes[-1][int(key) - 1] == 1)
    s.end()
    painted = s.painted[already:]
    assert len(painted) <= len({one.number for one in painted}) + 3, "one more for each key that is seen at once"


def test_a_crossfade_over_a_picture_that_stays_is_painted_at_the_rate_of_the_display(session):
    s = session(hand(grey(1)), target_fps=20).start()
    s.wait(lambda: s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.end()
    assert 4 <= len(s.painted) <= 13, "half a second at 20 fps"
    assert min(np.diff(s.net.times[1:])) > 0.03


def test_switching_during_a_fade_starts_from_where_it_is(session):
    s = session(Ticking(0.005)).start()
    s.wait_for_frames(2)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] > 0.3)
    s.press("3")
    s.wait(lambda: s.net.codes[-1][2] == 1)
    s.end()
    codes = np.array(s.net.codes)
    assert codes[:, 1].max() < 1, "it waited for the first fade"
    jumps = np.abs(np.diff(codes, axis=0)).max(axis=1)
    gaps = np.diff(s.net.times)
    assert (jumps <= 4 * gaps + 0.2).all(), "it jumped: nothing moves faster than 1.5 / 0.5 a second"


def test_the_end_of_a_fade_is_painted_though_no_frame_comes(session):
    s = session(hand(grey(1)), net=Net(pause=0.12)).start()
    s.wait(lambda: s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1, seconds=3)
    s.end()


def test_the_steadied_past_is_let_go_while_the_style_changes(session):
    weights, net = [], Net()

    class Noting(Painter):
        def finish(self, prepared, painted, *, history_weight=1.0):
            weights.append((history_weight, float(net.codes[-1][1])))
            return super().finish(prepared, painted, history_weight=history_weight)

    s = session(Ticking(0.005), net=net, painter=Noting(net)).start()
    s.wait(lambda: len(weights) > 4)
    s.press("2")
    s.wait(lambda: weights[-1] == (1.0, 1.0))
    s.end()
    assert {weight for weight, share in weights if 0 < share < 1} == {0.0}
    assert {weight for weight, share in weights[1:] if share == 0} <= {1.0, 0.0}
    assert weights[1][0] == weights[-1][0] == 1.0


def test_a_held_key_mixes_without_a_jump(session):
    clock = ManualClock()
    s = session(hand(grey(1)), net=Net(pause=0.05, clock=clock), clock=clock).start()
    s.wait(lambda: s.shown)
    s.press(*"xxxxxxxxxx")
    s.wait(lambda: s.net.codes[-1][1] == pytest.approx(0.5))
    s.end()
    result = [share for _, share in s.shares()]
    assert result == sorted(result)
    assert max(np.diff(result)) < 0.3


@pytest.mark.parametrize("keys", ["n", "p", "2", "x", "X", "a"])
def test_a_model_with_one_style_says_so(session, texts, keys):
    s = session(Ticking(), net=Net(takes_code=False, count=1)).start()
    s.wait_for_frames(1)
    s.press(*keys)
    s.wait_for_frames(3)
    s.end()
    assert {"this model has one style only", "there is no other style to mix with"} & set(texts)
    assert all(code is None for code in s.net.codes) and len(s.net.codes) > 3


def test_a_single_style_with_a_code_has_nothing_to_mix_with(session, texts):
    s = session(Ticking(), net=Net(count=1)).start()
    s.wait_for_frames(1)
    s.press("x", "n", "1")
    s.end()
    assert "there is no other style to mix with" in texts
    assert all((code == CODES[0]).all() for code in s.net.codes)


# -- the chooser by itself, on times of the test's own


def test_styles_take_turns():
    chooser = StyleChooser(Net(), turn_seconds=8.0, turn_fade=1.5)
    chooser.begin_turns(100.0)
    turns = [t for t in np.arange(100.0, 132.5, 0.5) if chooser.take_turn(t) == (True, None)]
    assert turns == [100.5, 109.0, 117.5, 126.0], "at once, then every eight seconds at the next look"
    assert chooser.label == NAMES[1]
    assert chooser.fade.active(127.4) and not chooser.fade.active(127.5)


def test_a_single_style_takes_no_turns_but_says_why():
    chooser = StyleChooser(Net(takes_code=False, count=1))
    assert chooser.take_turn(1.0) == (True, "this model has one style only")
    assert chooser.take_turn(2.0) == (False, None) and chooser.fade.at(2.0) is None


def test_the_mixture_is_what_a_still_is_painted_in():
    chooser = StyleChooser(Net())
    assert chooser.mixture() == [(NAMES[0], 1.0)]
    chooser.move_mix(0.25, 1.0)
    assert chooser.mixture() == [(NAMES[0], 0.75), (NAMES[1], 0.25)]
    net = Net()
    net.style = "scream:0.7,some/own.onnx:0.3"
    assert StyleChooser(net).mixture() == [("scream", 0.7), ("own", 0.3)]


# -- turns, as they are painted


def test_turns_begin_at_once_and_rest_while_frozen(session):
    net = Net()
    s = session(Ticking(), net=net, styles=StyleChooser(net, turn_seconds=0.1)).start()
    s.wait_for_frames(1)
    s.press(" ", "a")
    time.sleep(0.3)
    assert s.styles.label == "reed"
    s.press(" ")
    s.wait(lambda: s.styles.label == "ochre")
    s.press("a")
    label = s.styles.label
    time.sleep(0.3)
    assert s.styles.label == label, "they still take turns"
    s.end()


def test_styles_take_turns_over_a_picture_that_stays(session):
    net = Net()
    s = session(hand(grey(1)), net=net, styles=StyleChooser(net, turn_fade=0.3), settings=Settings(cycle=True)).start()
    s.wait(lambda: s.net.codes and s.net.codes[-1][1] == 1, seconds=3)
    s.end()
    assert len({share for _, share in s.shares() if 0 < share < 1}) >= 3
