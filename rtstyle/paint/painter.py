"""A frame in, the finished picture out: the net, steadiness, size and look, in that order."""

from __future__ import annotations

import dataclasses

import numpy as np

from rtstyle.paint import look
from rtstyle.paint.stabilizer import Steadier, Watched
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
        sketch = self.sketch(frame)
        try:
            return self.finish(sketch, self.stylizer.run(sketch.seen[None], code)[0], hold=hold)
        except BaseException:
            if sketch.steadier:
                sketch.steadier.reset()
            raise

    def sketch(self, frame: np.ndarray) -> Sketch:
        """What comes before the net. Sketches must be made, and finished, in the order of the frames; making them,
        painting them (`Stylizer.run` of `seen`) and finishing them may go on in threads of their own."""
        small = self.stylizer.shrink(frame[None])[0]
        steadier = self._steadier  # another thread may switch it off meanwhile
        return Sketch(frame, small, steadier, steadier.watch(small) if steadier else None)

    def finish(self, sketch: Sketch, painted: np.ndarray, *, hold: float = 1.0) -> np.ndarray:
        """What comes after the net: the painting of `sketch.seen` to the finished picture, uint8 RGB [H, W, 3]."""
        if sketch.steadier:
            painted = sketch.steadier.settle(sketch.watched, painted, hold=hold)
        painted = enlarge(painted, sketch.frame, sketch.small)
        return look.apply(sketch.frame, painted, strength=self.strength, keep_colors=self.keep_color)


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A frame on its way: as it came, and at the net's size; how it is being kept steady, if it is."""

    frame: np.ndarray
    small: np.ndarray
    steadier: Steadier | None
    watched: Watched | None

    @property
    def seen(self) -> np.ndarray:
        """The frame as the net should see it, uint8 RGB [h, w, 3]."""
        return self.watched.frame if self.watched else self.small
