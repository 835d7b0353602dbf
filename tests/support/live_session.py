"""The live loop with stand-ins; live_fixtures.py has the fixtures.

The net paints negatives at once and notes what it was asked for; the window keeps what it is shown; time, threads,
recordings and sources are real.
"""

import functools
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np

from rtstyle import RtstyleError, Stylizer
from rtstyle.gallery import model_file
from rtstyle.live.loop import Live
from rtstyle.media.capture import Capture, Clock
from rtstyle.media.window import Mouse
from rtstyle.paint.painter import Painter
from rtstyle.runtime.devices import Device
from support.sources import Hand

NAMES = ("reed", "ochre", "slate")
CODES = np.eye(3, dtype=np.float32)
THREADS = {"capture", "painting", "recorder", "virtual camera", "snapshot_0", "thumbnails"}


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def grey(level, height=24, width=32):
    return np.full((height, width, 3), level % 256, np.uint8)


def toy_model(takes_code=True, count=3):
    infos = [
        model_file.Style(name, name.title(), "N. Umpy", "2024", "CC0", "", "toy", code)
        for name, code in zip(NAMES[:count], CODES[:count], strict=True)
    ]
    return model_file.Model(Path("toy.onnx"), "toy", "0" * 64, 160, tuple(infos), takes_code)


class RealTime(Clock):
    def sleep(self, seconds):
        time.sleep(seconds)


class Net:
    """A FramePainter: paints negatives in `pause` seconds of `clock` and notes when and with which code. While `gate`
    is held it does not finish a frame."""

    working_size = Stylizer.working_size
    resumable = True

    def __init__(self, pause=0.0, takes_code=True, count=3, work_height="auto", fails_at=None, clock=None):
        self.model = toy_model(takes_code, count)
        self.style, self.code = NAMES[0], CODES[0] if takes_code else None
        self.work_height, self.device = work_height, Device("abacus", [], "it was at hand")
        self.path, self.reference_height = self.model.path, self.model.reference_height
        self.pause, self.fails_at, self.clock = pause, fails_at, clock or RealTime()
        self.gate = threading.Lock()
        self.times, self.codes, self.heights = [], [], []

    def gallery(self):
        return self.model.styles

    def run(self, frames, code=None):
        assert self.code is not None or code is None, "this model takes no code"
        if self.fails_at == len(self.times):
            raise RtstyleError("the net is torn")
        self.times.append(self.clock.now())
        self.codes.append(code)
        self.heights.append(frames.shape[1])
        if self.pause:
            self.clock.sleep(self.pause)
        with self.gate:
            return 255 - frames

    def abandon(self):
        """A pause is short."""


class Ticking:
    """A source that gives a frame of its number's grey level every `pause` seconds, `count` in all."""

    def __init__(self, pause=0.004, count=None, size=(24, 32), returns=False):
        self.pause, self.count, self.size, self.returns = pause, count, size, returns
        self.number = self.closed = 0
        self._woken = threading.Event()

    def read(self):
        if self._woken.wait(self.pause) or self.number == self.count:
            return None
        self.number += 1
        return grey(self.number, *self.size)

    def wake(self):
        self._woken.set()

    def close(self):
        self.closed += 1


hand = functools.partial(Hand, returns=False)  # None ends it


class FakeWindow:
    """Keeps the pictures it is shown; `keys` are pressed one after another."""

    def __init__(self):
        self.pictures, self.keys = deque(maxlen=2000), deque()
        self.shows = self.idle = self.closings = 0
        self.closed = self.full_screen = False
        self.mouse = deque()

    def fit(self, height, width):
        """As a real one: small pictures are enlarged by a whole number."""
        times = -(-270 // min(height, width))
        return times * height, times * width

    def drag(self, x, y):
        """Drag the mouse to a pixel of the picture."""
        self.mouse.append(Mouse("drag", x, y))

    def show(self, rgb):
        assert not self.closings and rgb.dtype == np.uint8 and rgb.ndim == 3
        self.pictures.append(rgb)
        self.shows += 1

    def poll(self):
        if self.keys:
            return self.keys.popleft()
        self.idle += 1
        return None

    def toggle_full_screen(self):
        self.full_screen = not self.full_screen

    def close(self):
        self.closings += 1


class Sink:
    """A virtual camera or a recorder that keeps what is written to it."""

    def __init__(self):
        self.times, self.frames, self.closed, self.error, self.sound = [], [], 0, None, None

    def write(self, seconds, rgb):
        assert not self.closed
        self.times.append(seconds)
        self.frames.append(rgb)

    def close(self, seconds=None):
        self.closed += 1


class Session:
    """A live loop of stand-ins: `start` it in a thread, `press` keys, `wait` for what comes of them, `end` it."""

    def __init__(self, folder, source=None, *, net=None, window=True, painter=None, clock=None, **options):
        self.source = Ticking() if source is None else source
        clock = clock or RealTime()
        self.net = net or Net(clock=clock)
        self.window = FakeWindow() if window is True else window or None
        self.capture = Capture(lambda: self.source, clock=clock)
        self.painter = painter or Painter(self.net)
        self.painted, self.shown, self.outcome = [], [], None
        options = {
            "target_fps": None,
            "on_show": self._note,
            "on_paint": self._note_painted,
            "clock": clock.now,
            **options,
        }
        self.live = Live(self.capture, self.painter, window=self.window, folder=folder, **options)
        self.controls, self.styles = self.live.controls, self.live.controls.styles
        self.settings, self.outputs = self.controls.settings, self.controls.outputs
        self._thread = None

    def _note(self, painted, now):
        self.shown.append(painted)

    def _note_painted(self, painted, seconds):
        self.painted.append(painted)

    def give(self, *frames):
        """Give frames by hand and wait until the last is the newest."""
        count = self.capture.count + len(frames)
        self.source.give(*frames)
        self.wait(lambda: self.capture.count == count)

    @property
    def numbers(self):
        return [painted.number for painted in self.shown]

    def shares(self, since=0):
        """[(seconds, how much of the second style)] of everything painted."""
        return [(t, code[1]) for t, code in zip(self.net.times[since:], self.net.codes[since:], strict=False)]

    def start(self, **limits):
        def work():
            try:
                self.outcome = self.live.run(**limits)
            except BaseException as error:
                self.outcome = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return self

    def wait(self, condition, seconds=10.0):
        wait_until(lambda: condition() or self.outcome is not None, seconds)
        assert condition(), f"it ended before that: {self.outcome!r}"

    def wait_for_frames(self, count):
        already = len(self.shown)
        self.wait(lambda: len(self.shown) >= already + count)

    def press(self, *keys):
        for key in keys:
            self.window.keys.append(key)
        before = self.window.idle
        self.wait(lambda: self.window.idle > before)

    def press_and_see(self, key):
        """Press a key and wait for the picture that comes of it."""
        already = len(self.shown)
        self.press(key)
        self.wait(lambda: len(self.shown) > already)

    def end(self, seconds=15.0):
        """The summary; raises what the loop raised."""
        if self.window:
            self.window.keys.append("q")
        elif self.outcome is None:
            self.live.press("q")
        return self.join(seconds)

    def join(self, seconds=15.0):
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it does not end"
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def close(self):
        if self._thread and self._thread.is_alive():
            self.live.press("q")
            self._thread.join(15)
        self.capture.close()

    def assert_all_closed(self):
        assert self.source.closed >= 1 and self.capture.ended
        if self.window:
            assert self.window.closings == 1
