"""Against a real live source: motion JPEG over HTTP, frames stamped with their number. Short forms of what
benchmarks/live.py measures at length."""

import itertools
import os
import resource
import statistics
import threading
import time

import numpy as np
import pytest
from support.mjpeg_server import Server, read_stamp

from rtstyle import Stylizer
from rtstyle.live.loop import Live
from rtstyle.media.camera import open_source
from rtstyle.media.capture import Capture
from rtstyle.paint.painter import Painter

pytest_plugins = ["support.runtime_fixtures"]

pytestmark = pytest.mark.real_time

FPS = 30


def handles():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.fixture
def server():
    with Server(FPS, 160, 96) as server:
        yield server


@pytest.fixture
def painter():
    """Strength 0.2: the stamp stays readable in the painting."""
    return Painter(Stylizer("starry-night", device="cpu", threads=1), strength=0.2)


def slowed(painter, seconds):
    """The same painter with a net that takes at least so long."""
    run = painter.stylizer.run

    def slow(*arguments):
        due = time.monotonic() + seconds
        result = run(*arguments)
        time.sleep(max(0.0, due - time.monotonic()))
        return result

    painter.stylizer.run = slow
    return painter


class Watch:
    """Notes every shown picture: when, its number on the server, its age there, and the newest captured frame."""

    def __init__(self, server, capture):
        self.server, self.capture, self.shown = server, capture, []

    def __call__(self, painted, now):
        assert read_stamp(painted.picture) == read_stamp(painted.frame), "the picture is not the frame's painting"
        age = self.server.age(painted.frame, now)
        self.shown.append((now, painted.time, self.capture.newest.time, age))

    def lags(self):
        """How much older the picture on display was than the newest captured frame, just before it was replaced."""
        return [newest - before for (_, before, _, _), (_, _, newest, _) in itertools.pairwise(self.shown)]


def watched(server, painter, seconds, **options):
    capture = Capture(lambda: open_source(server.url))
    watch = Watch(server, capture)
    live = Live(capture, painter, on_show=watch, **options)
    summary = live.run(seconds=seconds)
    return watch, summary


def test_the_picture_on_display_is_the_newest_that_can_be(server, painter):
    watch, summary = watched(server, painter, 4)
    assert summary.painted > 0.8 * 4 * FPS
    painting = statistics.median(now - captured for now, captured, *_ in watch.shown)
    # 90 in 100 here, on machines that others use too; the benchmark asks for 99
    assert np.percentile(watch.lags(), 90) < painting + 2 / FPS + 0.02
    ages = [age for *_, age in watch.shown]
    assert np.percentile(ages, 90) < painting + 2 / FPS + 0.03, "the stamps tell of a queue before the capture"


def test_a_slow_net_drops_frames_and_queues_none(server, painter):
    seconds, taking = 6, 3 / FPS
    watch, summary = watched(server, slowed(painter, taking), seconds)
    ages = [age for *_, age in watch.shown][2:]
    early, late = (statistics.median(half) for half in np.array_split(ages, 2))
    assert late < early + 0.05, "the delay grows"
    assert max(ages) < 2 * taking + 2 / FPS + 0.2
    interval = statistics.median(b[0] - a[0] for a, b in itertools.pairwise(watch.shown))
    assert summary.dropped / (summary.dropped + summary.painted) == pytest.approx(1 - 1 / (FPS * interval), abs=0.06)
    assert summary.captured == pytest.approx(summary.dropped + summary.painted, abs=6)


def test_a_server_that_comes_back_is_painted_again(server, painter):
    """Killed and started again: within two seconds of its return; no thread and no handle stays behind."""
    capture = Capture(lambda: open_source(server.url))
    live = Live(capture, painter)
    loop = threading.Thread(target=lambda: live.run(seconds=60))
    loop.start()
    counts = []

    def wait_for(condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)

    try:
        wait_for(lambda: live.statistics.painted > 3, 20, "nothing was painted")
        for _ in range(3):
            server.kill()
            wait_for(lambda: capture.problem, 10, "the loss was not noticed")
            assert "waiting" in capture.problem or "no picture" in capture.problem
            painted = live.statistics.painted
            time.sleep(0.5)
            server.start()
            wait_for(
                lambda seen=painted: live.statistics.painted > seen + 2, 2, "painting did not go on in two seconds"
            )
            assert not capture.problem
            counts.append((threading.active_count(), handles()))
    finally:
        live.press("q")
        loop.join(timeout=20)
    assert not loop.is_alive()
    assert counts[0] == counts[-1]


def test_switching_styles_costs_nothing(painter):
    """Frame times while styles are switched all the time and while they are not, alternating, the best round of each,
    because other work on the machine only adds to them; no memory is kept."""
    frame = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)

    class Still:
        returns = False
        read = staticmethod(lambda: time.sleep(0.002) or frame)
        wake = close = staticmethod(lambda: None)

    times = {True: [], False: []}
    grown = []
    for switching in (False, True, False, True, False, True):
        timestamps, keys = [], []

        def note(painted, now, timestamps=timestamps, keys=keys, switching=switching):
            timestamps.append(now)
            if switching and len(timestamps) % 3 == 0:
                keys[0](str(len(timestamps) // 3 % 8 + 1))

        live = Live(Capture(Still), painter, target_fps=None, on_show=note)
        keys.append(live.press)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        live.run(frames=150)
        grown.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        times[switching].append(np.percentile(np.diff(timestamps[10:]), 90))
    assert min(times[True]) < 1.5 * min(times[False])
    assert sum(grown[2:]) < 8 * 1024, "kilobytes kept"
