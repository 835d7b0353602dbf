"""The thread that keeps only the newest frame, and opens what was lost again."""

import contextlib
import os
import threading
import time
from fractions import Fraction

import cv2
import pytest
from support.helpers import open_files, wait_until
from support.media_files import make_clip
from support.sources import Hand, ManualClock, grey

from rtstyle import RtstyleError
from rtstyle.media.camera import CvSource
from rtstyle.media.capture import CLOCK, Capture
from rtstyle.media.live_files import VideoFile

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

PROMPTLY = 2.0  # seconds; on a machine that has something else to do, too


def capture_threads():
    return [thread for thread in threading.enumerate() if thread.name == "capture"]


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    wait_until(lambda: not capture_threads())


@pytest.fixture
def clock():
    """Time stands still while a capture waits, and it does not wait long."""
    return ManualClock(passes=False)


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", size=(64, 48), tracks=0)


class Opener:
    """Gives these sources one after another; errors among them are raised; the last one stays."""

    def __init__(self, *sources):
        self.sources, self.calls = list(sources), 0

    def __call__(self):
        source = self.sources[min(self.calls, len(self.sources) - 1)]
        self.calls += 1
        if isinstance(source, Exception):
            raise source
        return source


@contextlib.contextmanager
def capturing(*sources, clock=CLOCK):
    capture = Capture(Opener(*sources), clock=clock)
    try:
        yield capture
    finally:
        capture.close()


def test_the_newest_frame_wins_and_the_number_is_its_own():
    class Fast(Hand):
        number = 0

        def read(self):
            time.sleep(0.001)
            self.number += 1
            return grey(self.number)

    source, number = Fast(), 0
    with capturing(source) as capture:
        for _ in range(8):
            wait_until(lambda number=number: capture.count > number)
            captured = capture.newest
            number = captured.number
            assert (captured.rgb == number % 256).all(), "the number belongs to another frame"
            assert time.monotonic() - captured.time < PROMPTLY
            time.sleep(0.03)
    assert number > 3 * 8, "every frame was kept: none was dropped"


def test_the_rate_speaks_of_the_last_two_seconds(clock):
    source = Hand()
    with capturing(source, clock=clock) as capture:
        for i, pause in enumerate([0.1] * 10 + [0.5] * 6):
            clock.time += pause
            source.give(grey(i))
            wait_until(lambda i=i: capture.count == i + 1)
        assert capture.rate == pytest.approx(2.0)
        clock.time += 3
        assert capture.rate is None


def test_the_rate_is_measured_anew_after_a_loss(clock):
    first, second = Hand(), Hand()
    with capturing(first, second, clock=clock) as capture:
        for i in range(5):
            clock.time += 0.1
            first.give(grey(i))
            wait_until(lambda i=i: capture.count == i + 1)
        assert capture.rate == pytest.approx(10)
        first.give(None)
        second.give(grey(5))
        wait_until(lambda: capture.count == 6)
        assert capture.rate is None


def test_a_silent_source_is_a_problem_in_words(clock):
    source = Hand(grey(1))
    with capturing(source, clock=clock) as capture:
        wait_until(lambda: capture.count == 1)
        clock.time += 0.9
        assert capture.problem == ""
        clock.time += 4
        assert capture.problem == "no picture for 5 s"
        source.give(grey(2))
        wait_until(lambda: capture.count == 2)
        assert capture.problem == ""


def test_a_picture_that_stays_is_no_problem(clock):
    with capturing(Hand(grey(1), returns=False), clock=clock) as capture:
        wait_until(lambda: capture.count == 1)
        clock.time += 60
        assert capture.problem == ""


def test_a_lost_source_is_opened_again_though_its_size_has_changed(clock):
    first, second = Hand(grey(1)), Hand()
    opener = Opener(first, *[RtstyleError("gone")] * 3, second)
    capture = Capture(opener, clock=clock)
    wait_until(lambda: capture.count == 1)
    first.give(None)
    wait_until(lambda: opener.calls == 5)
    assert first.closed == 1
    assert capture.problem == "the source was lost 0 s ago: waiting for it"
    assert not capture.ended and capture.error is None
    second.give(grey(7, 48, 64))
    wait_until(lambda: capture.count == 2)
    assert capture.newest.rgb.shape == (48, 64, 3)
    assert capture.problem == ""
    capture.close()
    assert second.closed == 1


def test_the_problem_says_how_long_the_source_has_been_lost(clock):
    first = Hand()
    opener = Opener(first, RtstyleError("gone"))
    capture = Capture(opener, clock=clock)
    first.give(None)
    wait_until(lambda: opener.calls > 1)
    clock.time += 12
    wait_until(lambda: capture.problem == "the source was lost 12 s ago: waiting for it")
    capture.close()


def test_pauses_between_attempts_grow_to_one_second(clock):
    source = Hand()
    capture = Capture(Opener(source, *[RtstyleError("gone")] * 7, Hand(grey(1))), clock=clock)
    source.give(None)
    wait_until(lambda: capture.count == 1)
    assert clock.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    capture.close()


def test_a_source_that_opens_but_gives_nothing_is_not_hammered(clock):
    class Dead(Hand):
        def read(self):
            return None

    last, gate = Hand(), Hand()
    opener = Opener(gate, *[Dead() for _ in range(6)], last)
    capture = Capture(opener, clock=clock)
    gate.give(None)
    wait_until(lambda: opener.calls == 8)
    assert clock.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    last.give(grey(1), None)
    wait_until(lambda: len(clock.waits) == 8)
    assert clock.waits[-1] == 0.05, "a source that came back is waited for anew"
    capture.close()


def test_a_source_that_does_not_return_just_ends():
    source = Hand(grey(1), None, returns=False)
    opener = Opener(source)
    capture = Capture(opener)
    wait_until(lambda: capture.ended)
    assert (capture.count, capture.error, capture.problem) == (1, None, "")
    assert (opener.calls, source.closed) == (1, 1)
    capture.close()


def test_the_first_opening_fails_in_the_callers_hands():
    with pytest.raises(RtstyleError, match="no such camera"):
        Capture(Opener(RtstyleError("no such camera")))
    assert capture_threads() == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RtstyleError("the tape is torn"), "the tape is torn"),
        (ZeroDivisionError("oops"), "reading the source failed (ZeroDivisionError: oops)"),
    ],
)
def test_an_error_of_the_source_reaches_the_caller(error, said):
    source = Hand(grey(1), error)
    with capturing(source) as capture:
        wait_until(lambda: capture.ended)
        assert capture.count == 1 and source.closed == 1
        assert isinstance(capture.error, RtstyleError) and str(capture.error) == said


def test_an_error_while_opening_again_reaches_the_caller():
    with capturing(Hand(grey(1), None), MemoryError("full")) as capture:
        wait_until(lambda: capture.ended)
        assert "MemoryError: full" in str(capture.error)


def close_and_time(capture):
    began = time.monotonic()
    capture.close()
    assert capture_threads() == []
    return time.monotonic() - began


@pytest.mark.parametrize("state", ["reading", "waiting", "opening again", "ended"])
def test_closing_is_prompt_in_every_state(tmp_path, clip, state):
    source = Hand(grey(1), *{"opening again": [None], "ended": [None]}.get(state, []), returns=state != "ended")
    opener = Opener(source, RtstyleError("gone"))
    if state == "waiting":
        slow = make_clip(tmp_path / "s.mp4", size=(64, 48), tracks=0, pts=[0, 1440], time_base=Fraction(1, 24))
        opener = Opener(VideoFile(slow))
    capture = Capture(opener)
    wait_until(lambda: capture.count == 1)
    if state == "opening again":
        wait_until(lambda: opener.calls >= 4)
    if state == "ended":
        wait_until(lambda: capture.ended)
    assert close_and_time(capture) < PROMPTLY
    assert capture.ended and capture.error is None
    if state != "waiting":
        assert source.closed >= 1
    assert close_and_time(capture) < PROMPTLY, "closing twice is closing once"


def test_a_read_that_hangs_is_left_behind():
    gate = threading.Event()

    class Hanging(Hand):
        def read(self):
            gate.wait(20)

    capture = Capture(Opener(Hanging(returns=False)), patience=0.1)
    began = time.monotonic()
    capture.close()
    assert time.monotonic() - began < PROMPTLY
    gate.set()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="file descriptors cannot be counted here")
def test_fifty_losses_leave_no_thread_and_no_file_open(clip, clock):
    frames = 12
    opened = []

    def opener():
        opened.append(cv2.VideoCapture(str(clip)))
        return CvSource(opened[-1])

    before = None
    capture = Capture(opener, clock=clock)
    try:
        for cycle in (5, 50):
            wait_until(lambda cycle=cycle: capture.count >= cycle * frames, 60)
            assert len(capture_threads()) == 1
            before = before or open_files()
    finally:
        capture.close()
    assert all(not source.isOpened() for source in opened[:-1])
    assert open_files() <= before
    assert not opened[-1].isOpened() and capture_threads() == []
