"""The frame loop: the newest frame wins, the window never waits, ends are clean."""

import dataclasses
import itertools
import json
import os
import signal
import sys
import threading
import time

import pytest
from PIL import Image
from support.live_session import FakeWindow, Net, Sink, Ticking, grey, hand
from support.media_files import picture, timestamps
from support.sources import ManualClock

from rtstyle import RtstyleError
from rtstyle.errors import Interrupted
from rtstyle.live.controls import Settings
from rtstyle.live.frame_rate import WorkHeight
from rtstyle.media.live_files import PictureShow
from rtstyle.media.recorder import Recorder
from rtstyle.paint import look
from rtstyle.paint.painter import Painter
from rtstyle.signals import ended_by_signals

pytest_plugins = ["support.runtime_fixtures", "support.live_fixtures"]

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


# -- what is painted and shown


def test_the_window_shows_the_painted_frame(session):
    photograph = picture(0, 24, 32)
    s = session(hand(photograph), settings=Settings(show_display=False)).start()
    s.wait(lambda: s.shown)
    s.end()
    painted = s.shown[0]
    assert painted.number == 1 and (painted.frame == photograph).all()
    assert (painted.picture == 255 - photograph).all()
    shown = s.window.pictures[-1]
    times = shown.shape[0] // 24
    assert times > 1 and (shown[::times, ::times] == painted.picture).all(), "small pictures are enlarged to read on"


def test_a_real_net_paints_what_the_camera_gives(session, stylizer):
    photograph = picture(0, 48, 64)
    s = session(hand(photograph), painter=Painter(stylizer), window=False).start()
    s.wait(lambda: s.shown)
    summary = s.end()
    assert (s.shown[0].picture == stylizer(photograph)).all()
    assert summary.captured == summary.painted == 1


def test_the_newest_frame_is_painted_and_the_rest_dropped(session):
    s = session(hand(), window=False)
    with s.net.gate:
        s.start()
        s.give(grey(1))
        s.wait(lambda: len(s.net.times) == 1)
        s.give(grey(2), grey(3), grey(4))
    s.wait(lambda: len(s.painted) == 2)
    with s.net.gate:
        s.give(grey(5))
        s.wait(lambda: len(s.net.times) == 3)
        s.give(grey(6), grey(7))
    s.wait(lambda: len(s.painted) == 4)
    summary = s.end()
    assert [painted.number for painted in s.painted] == [1, 4, 5, 7]
    assert all((painted.frame == painted.number).all() for painted in s.painted)
    assert (summary.captured, summary.painted, summary.dropped) == (7, 4, 3)


def test_every_captured_frame_is_painted_or_counted_as_dropped(session):
    s = session(Ticking(0.003, count=150), net=Net(pause=0.012), window=False)
    summary = s.start().join()
    seen = [painted.number for painted in s.painted]
    assert len(seen) == summary.painted
    assert summary.dropped == seen[-1] - seen[0] - (len(seen) - 1) > 20


def test_a_fast_painter_drops_nothing_and_paints_nothing_twice(session):
    s = session(hand(), window=False).start()
    for i in range(15):
        s.source.give(grey(i))
        s.wait(lambda i=i: len(s.painted) == i + 1)
    s.source.give(None)
    summary = s.join()
    assert (summary.captured, summary.painted, summary.dropped) == (15, 15, 0)
    assert len(s.net.times) == 15


def test_the_window_does_not_wait_for_the_net(session):
    s = session()
    with s.net.gate:
        s.start()
        s.wait(lambda: s.net.times)
        s.press("m")
        shows = s.window.shows
        s.wait(lambda: s.window.shows > shows)
        assert s.settings.mirror and not s.shown
    s.end()


def test_the_window_is_drawn_before_the_first_picture(session, texts):
    s = session(hand()).start()
    s.wait(lambda: s.window.shows > 0)
    s.press("n", "p", "s", "i", "h", "m")
    s.end()
    assert "waiting for the first picture" in texts
    assert s.outputs.files == []


def test_a_source_that_changes_size_goes_on(session):
    source = hand(grey(10))
    s = session(source).start()
    s.wait(lambda: s.numbers == [1])
    source.give(grey(20, 48, 40))
    s.wait(lambda: s.numbers == [1, 2])
    s.end()
    assert [painted.picture.shape for painted in s.shown] == [(24, 32, 3), (48, 40, 3)]


def test_the_working_height_follows_the_time_that_painting_takes(session, texts):
    clock = ManualClock()

    class Slow(Net):
        def run(self, batch, code=None):
            clock.sleep(0.02 if batch.shape[1] > 130 else 0.001)
            return super().run(batch, code)

    net = Slow(clock=clock)
    height = WorkHeight(net, 100, min_height=64)
    s = session(Ticking(0.002, size=(200, 300)), net=net, height=height, clock=clock).start()
    s.wait(lambda: s.net.heights[-1:] and s.net.heights[-1] <= 128)
    assert s.net.heights[0] == 160, "it starts at the height the strokes were trained for"
    s.wait(lambda: any(f"working height {s.net.heights[-1]} (automatic)" in line for line in texts))
    assert not any("to hold" in line for line in texts), "no message covers the picture"
    summary = s.end()
    assert summary.work_height <= 128
    assert s.shown[-1].picture.shape == (200, 300, 3)


# -- freeze, mirror, before and after


def test_a_frozen_picture_stays_but_the_look_still_changes(session):
    s = session(Ticking(0.005)).start()
    s.wait_for_frames(3)
    s.press(" ")
    s.wait(lambda: s.painted[-1].number == s.painted[-2].number and s.controls.latest is s.shown[-1])
    number, painted = s.numbers[-1], len(s.painted)
    time.sleep(0.15)
    assert s.numbers[-1] == number, "it is not frozen"
    assert len(s.painted) == painted, "it paints the same for nothing"
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    between = {float(code[1]) for code in s.net.codes if 0 < code[1] < 1}
    assert len(between) >= 4
    s.press_and_see("m")
    assert s.numbers[-1] == number
    s.press(" ")
    s.wait(lambda: s.numbers[-1] > number + 1)
    s.end()


def test_what_comes_while_frozen_is_not_counted_as_dropped(session):
    s = session(hand(grey(1))).start()
    s.wait(lambda: s.numbers == [1])
    s.press(" ")
    s.give(*(grey(i) for i in range(2, 22)))
    s.press(" ")
    s.wait(lambda: s.numbers[-1] == 21)
    s.give(grey(22))
    s.wait(lambda: s.numbers[-1] == 22)
    assert s.end().dropped == 0


def test_freezing_before_the_first_picture_freezes_that(session):
    s = session(Ticking(), settings=Settings(frozen=True)).start()
    s.wait(lambda: s.shown)
    s.wait(lambda: s.source.number > 20)
    summary = s.end()
    assert set(s.numbers) == {s.numbers[0]}
    assert summary.painted <= 2


def test_a_frozen_picture_does_not_end_with_the_source(session):
    s = session(Ticking(0.01, count=5), settings=Settings(frozen=True)).start()
    s.wait(lambda: s.capture.ended and s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.press(" ")
    assert s.join().captured == 5


def test_delays_of_a_frozen_picture_do_not_count(session):
    clock = ManualClock()
    s = session(hand(grey(1)), net=Net(pause=0.05, clock=clock), clock=clock).start()
    s.wait(lambda: s.shown)
    s.press(" ")
    clock.sleep(0.5)
    for _ in range(5):
        s.press_and_see("m")
    assert s.end().delay_95_ms == pytest.approx(50)


def test_freezing_between_two_looks_does_not_end_the_loop(session):
    """It is frozen just after somebody has seen a new frame."""
    s = session(hand(grey(1))).start()
    s.wait(lambda: s.shown)

    class Frozen(Settings):
        looks = 0

        @property
        def frozen(self):
            self.looks += 1
            return self.looks == 2

        @frozen.setter
        def frozen(self, value):
            pass

    s.controls.settings = Frozen()
    s.source.give(grey(2))
    time.sleep(0.1)
    s.source.give(grey(3))
    s.wait(lambda: s.numbers[-1] == 3)
    s.end()


def test_mirror(session):
    photograph = picture(0, 24, 32)
    s = session(hand(photograph), settings=Settings(mirror=True)).start()
    s.wait(lambda: s.shown)
    s.end()
    assert (s.shown[0].frame == photograph[:, ::-1]).all()
    assert (s.shown[0].picture == 255 - photograph[:, ::-1]).all()


def test_a_key_is_seen_at_once_though_no_frame_comes(session):
    photograph = picture(0, 24, 32)
    s = session(hand(photograph), settings=Settings(show_display=False)).start()
    s.wait(lambda: s.shown)
    s.press("m")
    s.wait(lambda: (s.shown[-1].frame == photograph[:, ::-1]).all())
    s.press("[", "[", "[", "[", "[")
    half = look.blend(photograph[:, ::-1], 255 - photograph[:, ::-1], 0.5)
    s.wait(lambda: (s.shown[-1].picture == half).all())
    s.end()


def test_before_and_after_follow_the_mouse(session):
    photograph = picture(0, 24, 32)
    sink = Sink()
    s = session(hand(photograph), virtual_camera=sink, settings=Settings(show_display=False)).start()
    s.wait(lambda: s.shown)
    s.window.drag(300, 100)
    s.wait(lambda: not s.window.mouse)
    assert s.settings.split is None, "without the line the mouse does nothing"
    s.press("v")
    assert s.settings.split == 0.5
    s.window.drag(96, 100)  # of 384
    s.wait(lambda: s.settings.split == 0.25)
    before = s.window.shows
    s.wait(lambda: s.window.shows > before)
    s.press("m", "m")
    expected = look.split_view(photograph, 255 - photograph, 0.25)
    s.wait(lambda: (sink.frames[-1] == expected).all())
    s.end()
    shown = s.window.pictures[-1]
    times = shown.shape[0] // 24
    assert (shown[::times, ::times] == expected).all()


def test_the_line_between_before_and_after_moves_over_a_picture_that_stays(session):
    sink = Sink()
    s = session(hand(grey(1)), virtual_camera=sink, settings=Settings(split=0.5)).start()
    s.wait(lambda: sink.frames)
    s.wait(lambda: s.window.shows)
    s.window.drag(96, 100)
    expected = look.split_view(grey(1), 255 - grey(1), 0.25)
    s.wait(lambda: (sink.frames[-1] == expected).all(), seconds=3)
    s.end()


def test_a_lost_source_is_reported_over_the_last_picture(session, texts):
    s = session(Ticking(0.005, count=3, returns=True)).start()
    s.wait(lambda: any("the source was lost" in line for line in texts))
    s.end()
    assert s.shown, "the last picture stays"


# -- folders, where nothing moves by itself


def test_a_slow_folder_still_animates_a_change_of_style(session, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(picture(0, 24, 32)).save(folder / "a.png")
    Image.fromarray(picture(5, 24, 32)).save(folder / "b.png")
    s = session(PictureShow(folder, seconds=60)).start()
    s.wait(lambda: s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.end()
    assert set(s.numbers) == {1}
    assert len({share for _, share in s.shares() if 0 < share < 1}) >= 4


# -- limits and ends


def test_seconds_end_the_loop(session):
    summary = session(window=False).start(seconds=0.3).join()
    assert 0.3 <= summary.seconds < 3
    assert summary.painted > 0


def test_seconds_end_the_loop_though_nothing_comes(session):
    s = session(hand()).start(seconds=0.2)
    with pytest.raises(RtstyleError, match=r"^no frame came from the source in 0 s$"):
        s.join()
    s.assert_all_closed()


def test_the_user_may_end_it_before_a_frame_came(session):
    summary = session(hand()).start().end()
    assert (summary.captured, summary.painted, summary.shown, summary.dropped) == (0, 0, 0, 0)
    assert summary.delay_ms is summary.delay_95_ms is summary.work_height is None


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_a_number_of_frames_ends_the_loop(session, pause):
    s = session(Ticking(0.002), net=Net(pause=pause), window=False)
    assert s.start(frames=7).join().painted == 7


def test_the_end_of_the_source_ends_the_loop_after_its_last_frame(session):
    s = session(Ticking(0.005, count=10), net=Net(pause=0.02))
    summary = s.start().join()
    assert summary.captured == 10
    assert s.controls.latest.number == 10
    s.assert_all_closed()


def test_the_end_of_the_source_waits_for_the_fade(session):
    s = session(Ticking(0.005, count=5)).start()
    s.press("2")
    s.join()
    assert s.net.codes[-1][1] > 0.9


@pytest.mark.parametrize("end", ["key", "window"])
def test_the_user_ends_it(session, end):
    s = session(virtual_camera=Sink()).start()
    sink = s.outputs.virtual_camera
    s.wait_for_frames(2)
    if end == "window":
        s.window.closed = True
        s.join()
    else:
        s.end()
    s.assert_all_closed()
    assert sink.closed >= 1


def test_the_summary(session):
    s = session(Ticking(0.01), net=Net(pause=0.03), window=False).start()
    s.wait_for_frames(10)
    summary = s.end()
    assert summary.captured >= summary.painted >= summary.shown == len(s.shown) >= 10
    assert summary.painted == len(s.net.times)
    assert 30 <= summary.delay_ms <= summary.delay_95_ms < 3000
    assert summary.work_height == 24 and summary.files == []
    assert summary.seconds > 0.3
    assert json.loads(json.dumps(dataclasses.asdict(summary)))["painted"] == summary.painted


@pytest.mark.parametrize("window", [True, False])
def test_an_error_of_the_net_is_raised_when_all_is_closed(session, tmp_path, window):
    sink = Sink()
    s = session(net=Net(fails_at=3), window=window, record=Recorder(tmp_path / "out.mp4"), virtual_camera=sink).start()
    with pytest.raises(RtstyleError, match="the net is torn"):
        s.join()
    s.assert_all_closed()
    assert sink.closed == 1
    assert len(timestamps(tmp_path / "out.mp4")) == 3


def test_an_error_of_the_source_is_raised_when_all_is_closed(session, tmp_path):
    sink = Sink()
    s = session(hand(grey(1)), record=Recorder(tmp_path / "out.mp4"), virtual_camera=sink).start()
    s.wait(lambda: s.shown)
    s.source.give(OSError("the cable is out"))
    with pytest.raises(RtstyleError, match=r"reading the source failed \(OSError: the cable is out\)"):
        s.join()
    s.assert_all_closed()
    assert sink.closed == 1 and len(timestamps(tmp_path / "out.mp4")) == 1


def test_an_error_of_the_window_closes_everything(session, tmp_path):
    class Broken(FakeWindow):
        def show(self, rgb):
            if self.shows == 3:
                raise ZeroDivisionError
            super().show(rgb)

    sink = Sink()
    s = session(window=Broken(), record=Recorder(tmp_path / "out.mp4"), virtual_camera=sink).start()
    with pytest.raises(ZeroDivisionError):
        s.join()
    s.assert_all_closed()
    assert sink.closed == 1 and (tmp_path / "out.mp4").exists()


def interrupting(call, index=5):
    """An on_show that calls something at the fifth frame."""
    count = itertools.count(1)
    return lambda painted, now: call() if next(count) == index else None


def ctrl_c():
    raise KeyboardInterrupt


def test_ctrl_c_completes_the_recording(session, tmp_path):
    path = tmp_path / "out.mp4"
    s = session(record=Recorder(path), on_show=interrupting(ctrl_c))
    with pytest.raises(Interrupted, match=r"^interrupted after \d+ frames: .*out\.mp4 is complete$") as error:
        s.live.run()
    assert error.value.exit_code == 130
    assert len(timestamps(path)) >= 4
    s.assert_all_closed()


def test_ctrl_c_without_a_recording(session):
    s = session(on_show=interrupting(ctrl_c), window=False)
    with pytest.raises(Interrupted, match=r"^interrupted after \d+ frames$"):
        s.live.run()


@pytest.mark.parametrize("from_outside", [False, True])
def test_sigterm_ends_as_ctrl_c_does(session, tmp_path, from_outside):
    if from_outside and sys.platform == "win32":
        pytest.skip("os.kill ends the process there")
    previous = signal.getsignal(signal.SIGTERM)

    def kill_later():
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()

    call = kill_later if from_outside else lambda: signal.raise_signal(signal.SIGTERM)
    s = session(record=Recorder(tmp_path / "out.mp4"), on_show=interrupting(call), window=False)
    with ended_by_signals(), pytest.raises(Interrupted, match="is complete"):
        s.live.run(seconds=20)
    assert signal.getsignal(signal.SIGTERM) is previous
    assert len(timestamps(tmp_path / "out.mp4")) >= 4
