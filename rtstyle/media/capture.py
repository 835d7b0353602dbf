"""The newest frame of a live source: a thread reads, and opens what was lost again."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from rtstyle.errors import InputError, RtstyleError
from rtstyle.threads import leave

MIN_PAUSE, MAX_PAUSE = 0.05, 1.0  # between two attempts to open a lost source again


class Clock:
    """The time that passes, in seconds."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait so long, or until the event is set: whether it is."""
        return event.wait(seconds)


CLOCK = Clock()


class LiveSource(Protocol):
    """What a capture reads from. `returns`: whether it may come back once lost, and is worth waiting for."""

    returns: bool

    def read(self) -> np.ndarray | None:
        """The next frame, uint8 RGB [H, W, 3], or None when it ended or was lost."""

    def wake(self) -> None:
        """Let a waiting `read` return; may be called from any thread."""

    def close(self) -> None:
        """Let go of it; for the thread that reads."""


@dataclasses.dataclass(frozen=True)
class Captured:
    """A frame of a source: its number (from 1), when it was read (time.monotonic) and uint8 RGB [H, W, 3]."""

    number: int
    time: float
    rgb: np.ndarray


class Capture:
    """Reads a source in a thread and keeps the newest frame only: a slow consumer drops frames, never lags.

    `opener` gives the source; the first call is made here, so that what is wrong with it is raised here. A
    source that `returns` is opened again for as long as it takes when it was lost; `problem` then says what is
    the matter, and `ended` is set when nothing more will come. `changed` is notified at every new frame. Closing waits
    for a hanging read for at most `patience` seconds.
    """

    def __init__(
        self,
        opener: Callable[[], LiveSource],
        *,
        clock: Clock = CLOCK,
        patience: float = 9.0,
    ):
        self._opener, self._clock, self._patience = opener, clock, patience
        self._source = opener()
        self.changed = threading.Condition()
        self.newest: Captured | None = None
        self.ended = False
        self.error: RtstyleError | None = None
        self._lost, self._lost_at, self._pause = "", 0.0, MIN_PAUSE  # until the next frame comes
        self._times: collections.deque[float] = collections.deque(maxlen=64)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    @property
    def source(self) -> LiveSource:
        """What it reads from now."""
        return self._source

    @property
    def count(self) -> int:
        """Frames read so far."""
        newest = self.newest
        return newest.number if newest else 0

    @property
    def rate(self) -> float | None:
        """Measured frames a second over the last two seconds; None before there is anything to measure."""
        times = [t for t in list(self._times) if t > self._clock.now() - 2]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 2 and times[-1] > times[0] else None

    @property
    def problem(self) -> str:
        """What is the matter with the source, as a person would say it; empty while frames come."""
        if self._lost:
            return self._lost
        newest = self.newest
        quiet = self._clock.now() - newest.time if newest else 0.0
        return f"no picture for {quiet:.0f} s" if self._source.returns and quiet > 1.0 else ""

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                rgb = self._source.read()
                if rgb is not None:
                    self._keep(rgb)
                elif self._stop.is_set() or not self._source.returns or not self._reopen():
                    break
        except RtstyleError as error:
            self.error = error
        except Exception as error:  # a source's own kinds: the frame loop has to hear of it, not this thread
            self.error = InputError(f"reading the source failed ({type(error).__name__}: {error})")
        finally:
            self._source.close()
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def _keep(self, rgb: np.ndarray) -> None:
        now = self._clock.now()
        self._times.append(now)
        with self.changed:
            self.newest = Captured(self.count + 1, now, rgb)
            self._lost, self._lost_at, self._pause = "", 0.0, MIN_PAUSE
            self.changed.notify_all()

    def _reopen(self) -> bool:
        """Open the lost source again, however long that takes; False when this capture was closed meanwhile."""
        self._lost_at = self._lost_at or self._clock.now()
        self._source.close()
        self._times.clear()
        while True:
            self._lost = f"the source was lost {self._clock.now() - self._lost_at:.0f} s ago: waiting for it"
            if self._clock.wait(self._stop, self._pause):
                return False
            self._pause = min(2 * self._pause, MAX_PAUSE)
            with contextlib.suppress(RtstyleError):
                self._source = self._opener()
                return True

    def close(self) -> None:
        """Stop reading and let go of the source. A read that hangs is left behind after a while."""
        self._stop.set()
        self._source.wake()
        self._thread.join(self._patience)
        leave(self._thread.is_alive)
