"""From one style to another: a straight line between two codes (Dumoulin et al. 2017, section 3.3)."""

from __future__ import annotations

import dataclasses

import numpy as np

from rtstyle.runtime.session import Code


@dataclasses.dataclass(frozen=True)
class Crossfade:
    """A style code on its way from `begin` to `end` (float32 [K], None for a model of one style), which starts at a
    time `start` and takes so many `seconds`; `smooth` is slow at both ends, otherwise the speed is the same throughout.

    It does not change: another one takes its place, so that threads may share it.
    """

    end: Code | None
    begin: Code | None = None
    start: float = float("-inf")
    seconds: float = 0.0
    smooth: bool = True

    def active(self, now: float) -> bool:
        """Whether the code is still on its way at a time."""
        return now < self.start + self.seconds

    def at(self, now: float) -> Code | None:
        """The code at a time: `end` itself once it has arrived."""
        if self.begin is None or self.end is None or not self.active(now):
            return self.end
        t = max(0.0, (now - self.start) / self.seconds)
        share = np.float32(t * t * (3 - 2 * t) if self.smooth else t)
        return self.begin + share * (self.end - self.begin)

    def to(self, code: Code, seconds: float, now: float) -> Crossfade:
        """The crossfade that sets out for `code` from wherever this one is now."""
        return Crossfade(code, self.at(now), now, seconds)
