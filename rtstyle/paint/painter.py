"""A frame in, the finished picture out: the one road of every frame, and the only place that shrinks, runs the net and
enlarges. `prepare` comes before the net, `run` is the net, `finish` comes after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from rtstyle.gallery.model_file import Style
from rtstyle.paint import look
from rtstyle.paint.stabilizer import StabilizedInput, TemporalStabilizer
from rtstyle.paint.upscale import enlarge
from rtstyle.runtime.devices import Device
from rtstyle.runtime.session import Code, Frames, Run


class FramePainter(Protocol):
    """What paints frames once they have their size: a net (`Stylizer`), or Gatys mode (`GatysStylizer`)."""

    work_height: int | Literal["auto", "full"]  # at which it paints: pixels, the frame's own, or as `working_size` says

    @property
    def style(self) -> str:
        """What is being painted, as it was asked for."""

    @property
    def code(self) -> Code | None:
        """Of the style that `run` paints without another, float32 [K]; None where there is no other."""

    @property
    def path(self) -> Path:
        """The file that the painting depends on: the model's, or the style's picture."""

    @property
    def device(self) -> Device:
        """Where it paints, and why there."""

    @property
    def reference_height(self) -> int:
        """The height, in pixels, at which strokes have the size of their training."""

    @property
    def resumable(self) -> bool:
        """Whether a frame's painting depends on no other frame."""

    def gallery(self) -> Sequence[Style]:
        """The styles whose codes `run` takes."""

    def code_of(self, style: str) -> Code:
        """The code of a style, a mix or a file for `run`. Raises UsageError if it has none that fits."""

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which a frame of this height and width is painted."""

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        """Paint frames of their working size, uint8 RGB [N, h, w, 3] to the same. `code` (float32 [K]) replaces the
        style for this call. Raises RtstyleError."""

    def for_throughput(self) -> tuple[Run, int]:
        """(a `run` with the most frames a second, how many threads should call it at once)."""

    def abandon(self) -> None:
        """Whoever waits for a painting no longer wants it: end `run` soon, if it takes long."""


class Painter:
    """Paints the frames of one video, camera or picture after another.

    `strength` (0 the photograph to 1 the painting) and `keep_color` are the look; they, `steady` and `steadiness` may
    be changed between frames. `steady` keeps the picture from flickering, as far as `steadiness` (0 to 1) says, and
    remembers the last frame, so one painter belongs to one source. Raises UsageError for a strength out of range.
    """

    def __init__(
        self, stylizer: FramePainter, *, strength: float = 1.0, keep_color: bool = False, steady: bool = False
    ):
        self.stylizer = stylizer
        self.strength = look.check_strength(strength)
        self.keep_color = keep_color
        self._stabilizer: TemporalStabilizer | None = None
        self.steadiness = float(steady)

    @property
    def steadiness(self) -> float:
        """How much of the past stays where nothing changes: 0 none, 1 as much as the stabilizer keeps."""
        return self._steadiness

    @steadiness.setter
    def steadiness(self, steadiness: float) -> None:
        self._steadiness = min(1.0, max(0.0, steadiness))
        if bool(self._steadiness) != (self._stabilizer is not None):
            self._stabilizer = TemporalStabilizer() if self._steadiness else None

    @property
    def steady(self) -> bool:
        return self._stabilizer is not None

    @steady.setter
    def steady(self, steady: bool) -> None:
        self.steadiness = float(steady)

    def forget(self) -> None:
        """Begin anew: the next frame has no past."""
        if self._stabilizer:
            self._stabilizer.reset()

    def __call__(self, frame: Frames, code: Code | None = None, *, history_weight: float = 1.0) -> Frames:
        """uint8 RGB [H, W, 3] to the same. `code` as `run` takes it, `history_weight` as `finish` does."""
        prepared = self.prepare(frame)
        try:
            return self.finish(prepared, self.run([prepared], code)[0], history_weight=history_weight)
        except BaseException:
            if prepared.stabilizer:
                prepared.stabilizer.reset()
            raise

    def prepare(self, frame: Frames) -> PreparedFrame:
        """What comes before the net: a frame uint8 RGB [H, W, 3] at the net's size, its noise averaged out if `steady`.

        Frames must be prepared, and finished, in their order; preparing, `run` and finishing may go on in threads of
        their own.
        """
        small = _resized(frame, *self.stylizer.working_size(*frame.shape[:2]))
        stabilizer = self._stabilizer  # another thread may switch it off meanwhile
        return PreparedFrame(frame, small, stabilizer, stabilizer.prepare(small) if stabilizer else None)

    def run(self, prepared: Sequence[PreparedFrame], code: Code | None = None, *, run: Run | None = None) -> Frames:
        """The net: prepared frames of one size to their paintings, uint8 RGB [N, h, w, 3].

        `code` (float32 [K]) replaces the style for this call; `run` is the one of `FramePainter.for_throughput`, the
        stylizer's own by default. Raises RtstyleError if it fails.
        """
        seen = [one.seen for one in prepared]
        return (run or self.stylizer.run)(np.stack(seen) if len(seen) > 1 else seen[0][None], code)

    def finish(self, prepared: PreparedFrame, painted: Frames, *, history_weight: float = 1.0) -> Frames:
        """What comes after the net: the painting of `prepared.seen` to the finished picture, uint8 RGB [H, W, 3].

        `history_weight` (0 to 1) is how much of the steadied past may stay: less while the style itself is changing.
        """
        if prepared.stabilizer and prepared.stabilized:
            weight = history_weight * self._steadiness
            painted = prepared.stabilizer.blend(prepared.stabilized, painted, history_weight=weight)
        painted = enlarge(painted, prepared.frame, prepared.small)
        return look.apply(prepared.frame, painted, strength=self.strength, keep_colors=self.keep_color)


@dataclasses.dataclass(frozen=True)
class PreparedFrame:
    """A frame on its way: as it came, and at the net's size; how it is being kept steady, if it is."""

    frame: Frames
    small: Frames
    stabilizer: TemporalStabilizer | None
    stabilized: StabilizedInput | None

    @property
    def seen(self) -> Frames:
        """The frame as the net should see it, uint8 RGB [h, w, 3]."""
        return self.stabilized.frame if self.stabilized else self.small


def _resized(frame: Frames, height: int, width: int) -> Frames:
    if frame.shape[:2] == (height, width):
        return frame
    shrinks = height * width < frame.shape[0] * frame.shape[1]
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)
