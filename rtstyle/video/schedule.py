"""Which style is painted when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtstyle.errors import UsageError
from rtstyle.paint.crossfade import Crossfade
from rtstyle.paint.painter import FramePainter
from rtstyle.paint.scene_cuts import CutDetector
from rtstyle.runtime.session import Code

FADE_SECONDS = 0.5  # of a change of style


class Schedule:
    """The code that a video begins with, and changes to others at times of the source's clock, each a crossfade that a
    cut of the scene ends."""

    def __init__(self, code: Code | None, changes: Sequence[tuple[float, Code]] = ()):
        self.changes = changes
        self._fades = [Crossfade(code)]
        for seconds, code in self.changes:
            self._fades.append(Crossfade(code, self._fades[-1].end, seconds, FADE_SECONDS, smooth=False))
        self.reset()

    @classmethod
    def of(cls, stylizer: FramePainter, style_at: Sequence[tuple[float, str]]) -> Schedule:
        """The stylizer's style, and changes to styles that are named. Raises UsageError for one that it cannot change
        to."""
        if style_at and stylizer.code is None:
            raise UsageError("this model has one style only: its style cannot change")
        return cls(stylizer.code, [(seconds, stylizer.code_of(style)) for seconds, style in sorted(style_at)])

    def reset(self) -> None:
        """Begin anew: no cut was seen yet."""
        self._cuts, self._cut_at = CutDetector(), float("-inf")

    def code_at(self, seconds: float, frame: np.ndarray) -> tuple[np.ndarray | None, bool]:
        """(the code for this frame, whether it is changing). Frames must come in order."""
        if self.changes and self._cuts(frame):
            self._cut_at = seconds
        fade = next(fade for fade in reversed(self._fades) if fade.start <= seconds)
        if self._cut_at > fade.start:
            return fade.end, False
        return fade.at(seconds), fade.active(seconds)
