"""What is written over the picture in the live window: readable at any size, cheap to draw."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_LETTERS = 11  # pixels: what can be read on any screen; lines that are too long even so are broken
TIGHT_LETTERS = 9  # where there is no room for more
MESSAGE_SECONDS = 2.5

Color = tuple[int, int, int]
WHITE: Color = (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class Area:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def holds(self, x: float, y: float) -> bool:
        """Whether a place lies in it."""
        return self.left <= x < self.left + self.width and self.top <= y < self.top + self.height

    def fitted(self, height: int, width: int) -> Area:
        """The largest area in the middle of this one with the ratio of a picture's height and width."""
        scale = min(self.height / height, self.width / width)
        tall, wide = min(self.height, max(1, round(scale * height))), min(self.width, max(1, round(scale * width)))
        return Area(self.left + (self.width - wide) // 2, self.top + (self.height - tall) // 2, wide, tall)

    def of(self, rgb: np.ndarray) -> np.ndarray:
        """This part of [H, W, 3], not a copy."""
        return rgb[self.top : self.top + self.height, self.left : self.left + self.width]


def place(picture: np.ndarray, canvas: np.ndarray, area: Area) -> None:
    """Show uint8 RGB [h, w, 3] in an area of a canvas. Whole multiples show every pixel as it is."""
    height, width = picture.shape[:2]
    if area.height % height == area.width % width == 0:
        how = cv2.INTER_NEAREST
    else:
        how = cv2.INTER_AREA if area.width < 0.6 * width else cv2.INTER_LINEAR
    cv2.resize(picture, (area.width, area.height), dst=area.of(canvas), interpolation=how)


@functools.lru_cache(maxsize=64)
def _text(lines: tuple[str, ...], size: int, color: Color) -> np.ndarray:
    """Lines of text on black, uint8 RGB, `size` pixels high each; columns part at a tab."""
    font, gap = ImageFont.load_default(size), round(size * 0.3)
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


def letters_on(height: int, width: int, size: float = 1.0) -> int:
    """The height in pixels of letters on a picture: a 26th of its own, times `size`, but what can be read."""
    return max(MIN_LETTERS, round(size * min(height, width * 0.75) / 26))


def text_box(lines: Sequence[str], letters: int, room: tuple[int, int], color: Color = WHITE) -> np.ndarray:
    """Lines of text on black, uint8 RGB, in a room of (height, width) pixels: the letters shrink until it fits, and
    then lines are broken. A tab parts two columns."""
    box = _text(tuple(lines), letters, color)
    while letters > MIN_LETTERS and (box.shape[0] > room[0] or box.shape[1] > room[1]):
        shrink = min(room[0] / box.shape[0], room[1] / box.shape[1])
        letters = max(MIN_LETTERS, min(letters - 1, int(letters * shrink)))
        box = _text(tuple(lines), letters, color)
    if box.shape[1] > room[1]:
        lines = [part for line in lines for part in _broken(line, letters, room[1] - letters)]
        box = _text(tuple(lines), letters, color)
    if box.shape[0] > room[0] or box.shape[1] > room[1]:
        box = _text(tuple(lines), TIGHT_LETTERS, color)
    return box[: room[0], : room[1]]


def line_box(words: str, letters: int, width: int, color: Color = WHITE) -> np.ndarray:
    """One line as `_text` draws it, in smaller letters (but TIGHT_LETTERS) where it is wider than `width`, then cut."""
    while (box := _text((words,), letters, color)).shape[1] > width and letters > TIGHT_LETTERS:
        letters = max(TIGHT_LETTERS, min(letters - 1, letters * width // box.shape[1]))
    return box[:, :width]


def write(
    rgb: np.ndarray,
    lines: list[str],
    *,
    position: tuple[float, float] = (0.0, 0.0),
    size: float = 1.0,
    color: Color = WHITE,
) -> None:
    """Write lines into uint8 RGB [H, W, 3] in a darkened box, in place, as `text_box` gives them.

    `position` (across, down) is where the box lies, from 0 (left, top) to 1 (right, bottom). `size` is relative to
    letters of a 26th of the picture's height.
    """
    height, width = rgb.shape[:2]
    box = text_box(lines, letters_on(height, width, size), (height, width), color)
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
