"""A frame in, the finished picture out: the net, steadiness, size and look, in that order."""

from __future__ import annotations

import dataclasses

import numpy as np

from rtstyle.paint import look
from rtstyle.paint.stabilizer import StabilizedInput, TemporalStabilizer
from rtstyle.paint.stylizer import Stylizer
from rtstyle.paint.upscale import enlarge


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
        self._stabilizer = TemporalStabilizer() if steady else None

    @property
    def steady(self) -> bool:
        return self._stabilizer is not None

    @steady.setter
    def steady(self, steady: bool) -> None:
        if steady != self.steady:
            self._stabilizer = TemporalStabilizer() if steady else None

    def forget(self) -> None:
        """Begin anew: the next frame has no past."""
        if self._stabilizer:
            self._stabilizer.reset()

    def __call__(self, frame: np.ndarray, code: np.ndarray | None = None, *, history_weight: float = 1.0) -> np.ndarray:
        """uint8 RGB [H, W, 3] to the same. `code` as Stylizer takes it; `history_weight` (0 to 1) is
        how much of the steadied past may stay: less while the style itself is changing."""
        prepared = self.prepare(frame)
        try:
            return self.finish(prepared, self.stylizer.run(prepared.seen[None], code)[0], history_weight=history_weight)
        except BaseException:
            if prepared.stabilizer:
                prepared.stabilizer.reset()
            raise

    def prepare(self, frame: np.ndarray) -> PreparedFrame:
        """What comes before the net. Frames must be prepared, and finished, in their order; preparing them,
        painting them (`Stylizer.run` of `seen`) and finishing them may go on in threads of their own."""
        small = self.stylizer.shrink(frame[None])[0]
        stabilizer = self._stabilizer  # another thread may switch it off meanwhile
        return PreparedFrame(frame, small, stabilizer, stabilizer.prepare(small) if stabilizer else None)

    def finish(self, prepared: PreparedFrame, painted: np.ndarray, *, history_weight: float = 1.0) -> np.ndarray:
        """What comes after the net: the painting of `prepared.seen` to the finished picture, uint8 RGB [H, W, 3]."""
        if prepared.stabilizer and prepared.stabilized:
            painted = prepared.stabilizer.blend(prepared.stabilized, painted, history_weight=history_weight)
        painted = enlarge(painted, prepared.frame, prepared.small)
        return look.apply(prepared.frame, painted, strength=self.strength, keep_colors=self.keep_color)


@dataclasses.dataclass(frozen=True)
class PreparedFrame:
    """A frame on its way: as it came, and at the net's size; how it is being kept steady, if it is."""

    frame: np.ndarray
    small: np.ndarray
    stabilizer: TemporalStabilizer | None
    stabilized: StabilizedInput | None

    @property
    def seen(self) -> np.ndarray:
        """The frame as the net should see it, uint8 RGB [h, w, 3]."""
        return self.stabilized.frame if self.stabilized else self.small
