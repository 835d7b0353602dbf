"""The photo booth: a countdown, then one sheet of the same moment in several styles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rtstyle.live.styles import StyleChooser
from rtstyle.paint.painter import Painter
from rtstyle.runtime.session import Code, Frames

SECONDS = 3  # that are counted down
STYLES = 4  # on a sheet
BORDER = 0.03  # of white around the pictures, as a share of a picture's height


class Booth:
    """The countdown of `seconds`: `toggle` starts it or calls it off, `due` says once that it is over."""

    def __init__(self, seconds: int = SECONDS):
        self.seconds = seconds
        self._end: float | None = None

    def toggle(self, now: float) -> None:
        self._end = None if self._end is not None else now + self.seconds

    def count(self, now: float) -> str:
        """What is to be seen of it: 3, 2, 1; empty when nothing is counted."""
        return str(math.ceil(self._end - now)) if self._end is not None and now < self._end else ""

    def due(self, now: float) -> bool:
        if self._end is None or now < self._end:
            return False
        self._end = None
        return True


def booth_codes(chooser: StyleChooser) -> list[Code | None]:
    """The codes of a sheet: what is painted, or being faded to, and the styles of the gallery after it."""
    styles, (first, second, share) = chooser.styles, chooser.position
    if chooser.fade.end is None:
        return [None]
    last = second if share else first  # of what is painted
    others = len(styles) - (first >= 0) - bool(share)
    following = [styles[(last + i) % len(styles)].code for i in range(1, min(STYLES, others + 1))]
    return [chooser.fade.end, *following]


def sheet_painter(painter: Painter, frame: Frames, codes: Sequence[Code | None]) -> Callable[[], Frames]:
    """What paints a frame, uint8 RGB [H, W, 3], by several codes, with the look of a painter as it is now, and lays the
    paintings out on one white sheet."""
    look = Painter(painter.stylizer, strength=painter.strength, keep_color=painter.keep_color)

    def paint() -> Frames:
        return sheet([look(frame, code) for code in codes])

    return paint


def sheet(pictures: Sequence[Frames]) -> Frames:
    """Pictures of one size, uint8 RGB [H, W, 3], two in a row on white."""
    columns = min(2, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape[:2]
    border = max(1, round(BORDER * height))
    page = np.full((rows * (height + border) + border, columns * (width + border) + border, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        top, left = border + row * (height + border), border + column * (width + border)
        page[top : top + height, left : left + width] = picture
    return page
