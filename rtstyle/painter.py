"""A frame in, the finished picture out: the net, steadiness, size and look, in that order."""

from __future__ import annotations

import numpy as np

from rtstyle import look
from rtstyle.steady import Steadier
from rtstyle.stylizer import Stylizer
from rtstyle.upscale import enlarge


class Painter:
    """Paints the frames of one video, camera or picture after another.

    `strength` (0 the photograph to 1 the painting) and `keep_color` are the look; they and `steady` may be
    changed between frames. `steady` keeps the picture from flickering and remembers the last frame, so one
    painter belongs to one source. Raises UsageError for a strength out of range.
    """

    def __init__(self, stylizer: Stylizer, *, strength: float = 1.0, keep_color: bool = False, steady: bool = False):
        self.stylizer = stylizer
        self.strength = look.check_strength(strength)
        self.keep_color = keep_color
        self._steadier = Steadier() if steady else None

    @property
    def steady(self) -> bool:
        return self._steadier is not None

    @steady.setter
    def steady(self, steady: bool) -> None:
        if steady != self.steady:
            self._steadier = Steadier() if steady else None

    def forget(self) -> None:
        """Begin anew: the next frame has no past."""
        if self._steadier:
            self._steadier.reset()

    def __call__(self, frame: np.ndarray, code: np.ndarray | None = None, *, hold: float = 1.0) -> np.ndarray:
        """uint8 RGB [H, W, 3] to the same. `code` as Stylizer takes it; `hold` (0 to 1) is how much of the
        steadied past may stay: less while the style itself is changing."""
        small = self.stylizer.shrink(frame[None])[0]

        def net(seen: np.ndarray) -> np.ndarray:
            return self.stylizer.run(seen[None], code)[0]

        steadier = self._steadier  # another thread may switch it off meanwhile
        painted = steadier(small, net, hold=hold) if steadier else net(small)
        painted = enlarge(painted, frame, small)
        return look.apply(frame, painted, strength=self.strength, keep_colors=self.keep_color)
