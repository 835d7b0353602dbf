"""What is counted of a live run: frames, rates, delays; for the display and for the summary at the end."""

from __future__ import annotations

import dataclasses
import statistics
from collections import deque

from rtstyle.paint import look
from rtstyle.runtime.session import Frames

RECENT = 3.0  # seconds that the figures on display speak of


@dataclasses.dataclass(frozen=True)
class Painted:
    """A finished frame: the number and time (time.monotonic) of the captured one, the photograph and the picture,
    uint8 RGB [H, W, 3]."""

    number: int
    time: float
    frame: Frames
    picture: Frames

    def view(self, split: float | None) -> Frames:
        """What is to be seen: the picture, or before and after with a line at a share of the width."""
        return self.picture if split is None else look.split_view(self.frame, self.picture, split)


@dataclasses.dataclass
class Summary:
    """What came of it: frames captured, painted, shown and dropped (captured but never painted); seconds; median
    and 95th percentile of the delay from capture to display (without a window: to the finished picture) in ms; the last
    working height; the files that were written."""

    captured: int = 0
    painted: int = 0
    shown: int = 0
    dropped: int = 0
    seconds: float = 0.0
    delay_ms: float | None = None
    delay_95_ms: float | None = None
    work_height: int | None = None
    files: list[str] = dataclasses.field(default_factory=list)


class Recent:
    """Values of the last few seconds."""

    def __init__(self, seconds: float = RECENT):
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float = 0.0) -> None:
        self._values.append((now, value))
        while self._values[0][0] < now - self._seconds:
            self._values.popleft()

    def values(self, now: float) -> list[float]:
        return [value for t, value in list(self._values) if t >= now - self._seconds]

    def rate(self, now: float) -> float:
        """How many a second."""
        times = [t for t, _ in list(self._values) if t >= now - self._seconds]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def median_and_p95(values: list[float]) -> tuple[float, float]:
    """Median and 95th percentile; zeros if there is nothing."""
    if not values:
        return 0.0, 0.0
    return statistics.median(values), sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


class Statistics:
    """Counts what the loop tells it: dropped and painted frames by the painting thread, shown ones by the main one."""

    def __init__(self) -> None:
        self.painted = self.shown = self.dropped = 0
        self._painted_at, self._shown_at, self._delays, self._drops = Recent(), Recent(), Recent(), Recent()
        self._all_delays: deque[float] = deque(maxlen=100_000)
        self._last_shown = 0  # its number
        self._figures, self._figures_tick = "", -1

    def note_dropped(self, count: int, now: float) -> None:
        self.dropped += count
        self._drops.add(now, count)

    def note_painted(self, now: float) -> None:
        self.painted += 1
        self._painted_at.add(now)

    def note_shown(self, painted: Painted, now: float) -> None:
        self.shown += 1
        self._shown_at.add(now)
        if painted.number != self._last_shown:  # an older frame painted again says nothing about the delay
            self._last_shown = painted.number
            delay = (now - painted.time) * 1e3
            self._delays.add(now, delay)
            self._all_delays.append(delay)

    def figures(self, now: float) -> str:
        """A line for the display. It changes four times a second, or nobody could read it."""
        tick = int(now * 4)
        if tick != self._figures_tick:
            self._figures_tick = tick
            painted, shown = self._painted_at.rate(now), self._shown_at.rate(now)
            delay, delay_95 = median_and_p95(self._delays.values(now))
            dropped = sum(self._drops.values(now))
            share = dropped / max(1, dropped + len(self._painted_at.values(now)))
            self._figures = (
                f"{painted:.0f} fps painted, {shown:.0f} shown, delay {delay:.0f} ms (95 %: {delay_95:.0f}), "
                f"{share:.0%} dropped"
            )
        return self._figures

    def summary(self, *, captured: int, seconds: float, work_height: int | None, files: list[str]) -> Summary:
        """What came of it all."""
        delay, delay_95 = median_and_p95(list(self._all_delays)) if self._all_delays else (None, None)
        return Summary(captured, self.painted, self.shown, self.dropped, seconds, delay, delay_95, work_height, files)
