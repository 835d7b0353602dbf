"""What is written over the picture in the live window: readable at any size, cheap to draw."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_HEIGHT = 270  # smaller pictures are enlarged first, or nothing on them could be read
MIN_LETTERS = 8  # pixels; lines that are too long even so are broken
MESSAGE_SECONDS = 2.5

Color = tuple[int, int, int]


def readable(rgb: np.ndarray) -> np.ndarray:
    """A copy of uint8 RGB [H, W, 3] to write on, enlarged by a whole number if it is too small for text."""
    times = -(-MIN_HEIGHT // min(rgb.shape[:2]))
    if times <= 1:
        return rgb.copy()
    return cv2.resize(rgb, None, fx=times, fy=times, interpolation=cv2.INTER_NEAREST)


@functools.lru_cache(maxsize=64)
def _text(lines: tuple[str, ...], size: int, color: Color) -> np.ndarray:
    """Lines of text on black, uint8 RGB, `size` pixels high each; columns part at a tab."""
    font, gap = ImageFont.load_default(size), round(size * 0.35)
    rows = [line.split("\t") for line in lines]
    first = max((font.getlength(row[0]) for row in rows if len(row) > 1), default=0) + size
    width = max(first * (len(row) - 1) + font.getlength(row[-1]) for row in rows)
    picture = Image.new("RGB", (int(width) + 2 * gap, len(rows) * (size + gap) + gap))
    pen = ImageDraw.Draw(picture)
    for i, row in enumerate(rows):
        for column, words in enumerate(row):
            pen.text((gap + column * first, gap + i * (size + gap)), words, fill=color, font=font)
    return np.array(picture)


def _broken(line: str, size: int, width: int) -> list[str]:
    """A line broken between words so that each part is at most `width` pixels wide, where words allow it."""
    font, parts = ImageFont.load_default(size), [""]
    for word in line.split(" "):
        longer = f"{parts[-1]} {word}" if parts[-1] else word
        if parts[-1] and font.getlength(longer) > width:
            parts.append(word)
        else:
            parts[-1] = longer
    return parts


def write(
    rgb: np.ndarray,
    lines: list[str],
    *,
    position: tuple[float, float] = (0.0, 0.0),
    size: float = 1.0,
    color: Color = (255, 255, 255),
) -> None:
    """Write lines into uint8 RGB [H, W, 3] in a darkened box, in place.

    `position` (across, down) is where the box lies, from 0 (left, top) to 1 (right, bottom). `size` is relative to
    letters of a 26th of the picture's height; they shrink until the box fits, and then lines are broken. A tab parts
    two columns.
    """
    height, width = rgb.shape[:2]
    letters = max(9, round(size * min(height, width * 0.75) / 26))
    box = _text(tuple(lines), letters, color)
    while letters > MIN_LETTERS and (box.shape[1] > width or box.shape[0] > height):
        shrink = min(width / box.shape[1], height / box.shape[0])
        letters = max(MIN_LETTERS, min(letters - 1, int(letters * shrink)))
        box = _text(tuple(lines), letters, color)
    if box.shape[1] > width:
        box = _text(tuple(part for line in lines for part in _broken(line, letters, width - letters)), letters, color)
    box = box[:height, :width]
    left, top = (
        round(share * (room - side))
        for share, room, side in zip(position, (width, height), box.shape[1::-1], strict=True)
    )
    area = rgb[top : top + box.shape[0], left : left + box.shape[1]]
    cv2.add(cv2.convertScaleAbs(area, alpha=0.4), box, dst=area)


class Messages:
    """The sentence that is shown for a while; any thread may say one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._message = ("", 0.0)

    def say(self, words: str | None, seconds: float = MESSAGE_SECONDS) -> None:
        """Show words for so many seconds; None changes nothing."""
        if words is not None:
            self._message = (words, self._clock() + seconds)

    def current(self, now: float) -> str:
        """What is to be shown at a time; empty if nothing."""
        words, until = self._message
        return words if now < until else ""
