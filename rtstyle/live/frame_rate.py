"""Holding a frame rate: the height at which the net runs follows the time that painting takes."""

from __future__ import annotations

import bisect
import statistics
from collections import deque

# Working heights are multiples of 8, the coarsest grid of the bodies, about a tenth apart.
LADDER = (96, 112, 128, 144, 160, 176, 192, 216, 240, 264, 288, 320, 360, 400, 440, 480, 528, 576, 640, 720, 808)
LADDER += (896, 1000, 1080, 1200, 1320, 1440, 1600, 1760, 2160)

FULL = 0.85  # share of a frame's time that painting may take after a change ...
SETTLE = 3  # frames that a change is given before they count: memory is being laid out anew
FRAMES = 10  # frames that a decision rests on
CALM_SECONDS = 3.0  # for so long there must have been room before going up
RETRY_SECONDS = 20.0  # after a step up that failed; doubled each time, so that there is no hunting
LONGEST_RETRY = 300.0


def step(height: int, by: int, limit: int) -> int:
    """The working height `by` steps up (or down, if negative) the ladder; at most `limit` (the source's height)."""
    ladder = [h for h in LADDER if h < limit] + [limit]
    if by < 0:
        below = ladder[: bisect.bisect_left(ladder, height)]
        return below[max(0, len(below) + by)] if below else min(height, limit)
    above = ladder[bisect.bisect_right(ladder, height) :]
    return above[min(len(above), by) - 1] if above and by else min(height, limit)


class Pace:
    """Chooses the working height so that painting takes no longer than frames take to come.

    Call it after every painted frame with what it took; it returns the height for the next. Time is taken to
    grow with the pixels. It goes down at once when painting cannot keep up, as far as needed; it goes up one step
    when the next height has had room for some seconds, and when such a step proves too much it waits long before
    it tries again.

    `limit` is the largest height (the source's own, or what still gives strokes of the trained size).
    """

    def __init__(self, height: int, limit: int):
        self.limit = limit
        self.height = min(height, limit)
        self._times: deque[float] = deque(maxlen=FRAMES)
        self._skip = SETTLE
        self._calm_since: float | None = None
        self._raised_at = self._blocked_until = float("-inf")
        self._retry = RETRY_SECONDS

    def __call__(self, seconds: float, now: float, budget: float) -> int:
        """The height for the next frame. The last one took `seconds` to paint at time `now`; `budget` is the time
        there is for one frame, in seconds."""
        if self._skip:
            self._skip -= 1
            return self.height
        self._times.append(seconds)
        if len(self._times) < FRAMES:
            return self.height
        usual = statistics.median(self._times)
        if usual > budget:
            self._lower(usual, now, budget)
        elif self._has_room(usual, budget):
            if self._calm_since is None:
                self._calm_since = now
            elif now - self._calm_since > CALM_SECONDS and now > self._blocked_until:
                self._raised_at = now
                self._change(step(self.height, +1, self.limit))
        else:
            self._calm_since = None
        return self.height

    def _has_room(self, usual: float, budget: float) -> bool:
        above = step(self.height, +1, self.limit)
        return above > self.height and usual * (above / self.height) ** 2 <= FULL * budget

    def _lower(self, usual: float, now: float, budget: float) -> None:
        if now - self._raised_at < RETRY_SECONDS / 2:  # the step up was too much
            self._blocked_until = now + self._retry
            self._retry = min(2 * self._retry, LONGEST_RETRY)
        fitting = self.height * (FULL * budget / usual) ** 0.5
        below = self.height
        while below > fitting and (lower := step(below, -1, self.limit)) < below:
            below = lower
        self._change(below)

    def _change(self, height: int) -> None:
        if height != self.height:
            self.height, self._skip = height, SETTLE
        self._times.clear()
        self._calm_since = None
