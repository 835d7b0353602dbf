"""Holding a frame rate: the height at which the net runs follows the time that painting takes."""

from __future__ import annotations

import bisect
import statistics
from collections import deque

from rtstyle.paint.painter import FramePainter

# Working heights are multiples of 8, the coarsest grid of the bodies, each about a tenth more than the last. Those of
# an upright picture are its widths: strokes are as large in it as in one that lies.
LADDER: tuple[int, ...] = (
    *(96, 112, 128, 144, 160, 176, 192, 216, 240, 264, 288, 320, 360, 400, 440, 480, 528, 576, 640, 720, 808),
    *(896, 1000, 1080, 1200, 1320, 1440, 1600, 1760, 2160),
)

FULL = 0.85  # share of a frame's time that painting may take after a change ...
SETTLE = 3  # frames that a change is given before they count: memory is being laid out anew
FRAMES = 10  # frames that a decision rests on
CALM_SECONDS = 3.0  # for so long there must have been room before going up
RETRY_SECONDS = 20.0  # after a step up that failed; doubled each time, so that there is no hunting
LONGEST_RETRY = 300.0
MIN_HEIGHT = 240  # below it faces are a smear
REACH = 1.5  # times what takes long beside the net: the time for a frame where that alone is too much for the rate


def step(height: int, by: int, limit: int) -> int:
    """The working height `by` steps up (or down, if negative) the ladder; at most `limit` (the source's short side)."""
    ladder = [h for h in LADDER if h < limit] + [limit]
    if by < 0:
        below = ladder[: bisect.bisect_left(ladder, height)]
        return below[max(0, len(below) + by)] if below else min(height, limit)
    above = ladder[bisect.bisect_right(ladder, height) :]
    return above[min(len(above), by) - 1] if above and by else min(height, limit)


class HeightController:
    """Chooses the working height, that of the short side, so that painting takes no longer than frames take to come.

    Call it after every painted frame with what it took; it returns the height for the next. The net's time is taken to
    grow with the pixels; the rest (enlarging, the look) depends on the source's size alone. It goes down at once when
    painting cannot keep up, as far as needed, but never below `minimum`, and where the rest alone is too much only as
    far as that brings a much higher rate. It goes up one step when the next height has had room for some seconds, and
    when such a step proves too much it waits long before it tries again.

    `limit` is the largest height (the source's own, or what still gives strokes of the trained size). It begins at
    `height`, or at `minimum` if that is more; without one that is MIN_HEIGHT, or `height` if that is less.
    """

    def __init__(self, height: int, limit: int, minimum: int | None = None) -> None:
        self.limit = limit
        self.minimum = min(MIN_HEIGHT, height, limit) if minimum is None else min(minimum, limit)
        self.height = max(self.minimum, min(height, limit))
        self._times: deque[tuple[float, float]] = deque(maxlen=FRAMES)
        self._skip = SETTLE
        self._calm_since: float | None = None
        self._raised_at = self._blocked_until = float("-inf")
        self._retry = RETRY_SECONDS

    def __call__(self, seconds: float, net: float, now: float, budget: float) -> int:
        """The height for the next frame. The last one took `seconds` to paint at time `now`, of which the net took
        `net`; `budget` is the time there is for one frame, in seconds."""
        if self._skip:
            self._skip -= 1
            return self.height
        self._times.append((seconds, net))
        if len(self._times) < FRAMES:
            return self.height
        typical = statistics.median(seconds for seconds, _ in self._times)
        rest = statistics.median(seconds - net for seconds, net in self._times)
        budget = max(budget, REACH * rest)
        if typical > budget:
            self._lower(typical, rest, now, budget)
        elif self._has_room(typical, rest, budget):
            if self._calm_since is None:
                self._calm_since = now
            elif now - self._calm_since > CALM_SECONDS and now > self._blocked_until:
                self._raised_at = now
                self._change(step(self.height, +1, self.limit))
        else:
            self._calm_since = None
        return self.height

    def _has_room(self, typical: float, rest: float, budget: float) -> bool:
        above = step(self.height, +1, self.limit)
        return above > self.height and rest + (typical - rest) * (above / self.height) ** 2 <= FULL * budget

    def _lower(self, typical: float, rest: float, now: float, budget: float) -> None:
        if now - self._raised_at < RETRY_SECONDS / 2:  # the step up was too much
            self._blocked_until = now + self._retry
            self._retry = min(2 * self._retry, LONGEST_RETRY)
        fitting = self.height * ((FULL * budget - rest) / (typical - rest)) ** 0.5
        below = self.height
        while below > max(fitting, self.minimum) and (lower := step(below, -1, self.limit)) < below:
            below = max(lower, self.minimum)
        self._change(below)

    def _change(self, height: int) -> None:
        if height != self.height:
            self.height, self._skip = height, SETTLE
        self._times.clear()
        self._calm_since = None


class WorkHeight:
    """The working height of a live painter: chosen by a controller to hold `target_fps`, or fixed.

    It is fixed from the start where no rate is asked for or the painter has a working height, and is never chosen below
    `min_height`, which an upright picture has across: MIN_HEIGHT, or less for a model of smaller pictures, if None.
    What the user changes returns a sentence for the user.
    """

    def __init__(self, stylizer: FramePainter, target_fps: float | None, min_height: int | None = None):
        self._stylizer, self.target_fps, self.min_height = stylizer, target_fps, min_height
        self.automatic = target_fps is not None and stylizer.work_height == "auto"
        self._controller: HeightController | None = None
        self._source_height = self._source_width = 0

    @property
    def pixels(self) -> int | None:
        """The height at which the net runs; None before the first frame, unless it is fixed."""
        height = self._stylizer.work_height
        if isinstance(height, int):
            return height
        return self._stylizer.working_size(self._source_height, self._source_width)[0] if self._source_height else None

    def begin(self, source_height: int, source_width: int) -> None:
        """A frame of this size comes: start the choice, or start it afresh when the source's size has changed."""
        if (source_height, source_width) == (self._source_height, self._source_width):
            return
        self._source_height, self._source_width = source_height, source_width
        reference, side = self._stylizer.reference_height, min(source_height, source_width)
        limit = min(side, max(reference * 3 // 2, self.min_height or 0))
        self._controller = HeightController(reference, limit, self.min_height)
        if self.automatic:
            self._stylizer.work_height = self._height_at(self._controller.height)

    def _height_at(self, side: int) -> int:
        """The height of a working size by its short side."""
        height = self._source_height
        return round(side * height / min(height, self._source_width)) if height else side

    def _side_at(self, height: int) -> int:
        """The short side of a working size by its height."""
        source = self._source_height
        return round(height * min(source, self._source_width) / source) if source else height

    def note(self, seconds: float, net: float, now: float, source_rate: float | None) -> None:
        """A frame was painted in so many seconds, of which the net took `net`, from a source of so many frames a second
        (None if unknown)."""
        if not self.automatic or self.target_fps is None or self._controller is None:
            return
        # no faster than frames come; a little slack, for the measured rate wavers
        budget = 1 / self.target_fps
        if source_rate is not None:
            budget = max(budget, 0.97 / source_rate)
        self._stylizer.work_height = self._height_at(self._controller(seconds, net, now, budget))

    def step(self, by: int) -> str:
        """So many steps up or down, and fixed there."""
        now = self.pixels
        if not now:
            return "there is no picture yet"
        self.automatic = False
        limit = min(self._source_height, self._source_width) or now
        self._stylizer.work_height = self._height_at(step(self._side_at(now), by, limit))
        return f"working height {self._stylizer.work_height}, fixed (w: automatic)"

    def make_automatic(self) -> str:
        """Follow the frame rate again."""
        if self.target_fps is None:
            return "no frame rate was asked for: the working height stays"
        if self._controller and not self.automatic:
            side = self._side_at(self.pixels or 0)
            self._controller = HeightController(side, self._controller.limit, self._controller.minimum)
            self._stylizer.work_height = self._height_at(self._controller.height)
        self.automatic = True
        return f"working height follows {self.target_fps:.0f} fps"

    def __str__(self) -> str:
        return f"working height {self.pixels or 0} ({'automatic' if self.automatic else 'fixed'})"
