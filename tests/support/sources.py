"""Sources of frames for tests."""

from __future__ import annotations

import queue

import numpy as np
from PIL import Image

from rtstyle.media.capture import Clock


def grey(level, height=24, width=32):
    return np.full((height, width, 3), level % 256, np.uint8)


def save_grey(path, level=90, height=24, width=32):
    Image.fromarray(grey(level, height, width)).save(path)
    return path


class ManualClock(Clock):
    """Time that passes only when somebody waits or, if it does not pass so either, when a test says so. `waits` are
    the seconds that were waited for."""

    def __init__(self, passes=True, time=1000.0):
        self.time, self.passes, self.waits = time, passes, []

    def now(self):
        return self.time

    def wait(self, event, seconds):
        self.waits.append(seconds)
        if self.passes:
            self.time += seconds
            return False
        return event.wait(0.001)

    def sleep(self, seconds):
        """Let time pass."""
        self.time += seconds

    def read_all(self, source, most=100):
        """[(seconds since the first frame, frame)] until the source ends."""
        read = []
        while len(read) < most and (rgb := source.read()) is not None:
            read.append((self.time, rgb))
        return [(time - read[0][0], rgb) for time, rgb in read]


class Hand:
    """A source whose frames, losses (None) and errors a test gives by hand; without `returns` a loss ends it."""

    def __init__(self, *items, returns=True):
        self.returns, self.closed = returns, 0
        self._items = queue.Queue()
        self.give(*items)

    def give(self, *items):
        for item in items:
            self._items.put(item)

    def read(self):
        item = self._items.get()
        if isinstance(item, Exception):
            raise item
        return item

    def wake(self):
        self._items.put(None)

    def close(self):
        self.closed += 1
