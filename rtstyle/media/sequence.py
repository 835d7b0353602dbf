"""Numbered pictures as a video: a folder in, a folder out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from rtstyle.errors import InputError
from rtstyle.files import file_state, what_happened
from rtstyle.media.frame_index import FrameIndex
from rtstyle.media.images import SUFFIXES, read_image
from rtstyle.media.stream import COLOR_TAGS, Frame, StreamFormat


def _by_number(path: Path) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


class PictureSequence:
    """A Source that reads the pictures of a folder, in the order of their numbers, at `rate` frames a second.

    Raises RtstyleError if there are none, or if one has another size than the first.
    """

    stream_index = None
    has_sound = False

    def __init__(self, folder: str | os.PathLike[str], rate: Fraction):
        self.path, self.rate = Path(folder), rate
        self.damaged = 0
        self.notes: list[str] = []
        self.files = sorted((p for p in self.path.iterdir() if p.suffix.lower() in SUFFIXES), key=_by_number)
        if not self.files:
            raise InputError(f"the folder {folder} holds no pictures ({', '.join(SUFFIXES)})")
        self._states = [file_state(file) for file in self.files]
        height, width = read_image(self.files[0]).rgb.shape[:2]
        tag = 1 if height >= 720 else 6
        self.format = StreamFormat(
            width=width,
            height=height,
            time_base=1 / rate,
            rate=rate,
            sample_aspect=None,
            rotation=0,
            matrix=1 if tag == 1 else 5,
            range=1,
            tags=dict.fromkeys(COLOR_TAGS, tag),
        )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.format.width, self.format.height

    @property
    def frame_count(self) -> int:
        """How many pictures there are."""
        return len(self.files)

    @property
    def seconds(self) -> float:
        """How long they last."""
        return float(len(self.files) / self.rate)

    def frames(self, *, skip: int = 0, start: float | None = None, end: float | None = None) -> Iterator[Frame]:
        """As VideoReader.frames."""
        index = self.index(start, end)
        if skip < len(index.pts):
            yield from self.frames_of(index, skip, len(index.pts))

    def index(self, start: float | None = None, end: float | None = None) -> FrameIndex:
        """Every picture is entered by itself."""
        every = np.arange(len(self.files))
        return FrameIndex(every, every).between(start, end, 1 / self.rate)

    def frames_of(self, index: FrameIndex, first: int, last: int) -> Iterator[Frame]:
        """As VideoReader.frames_of."""
        for number in range(first, last):
            file = self.files[index.pts[number]]
            rgb = read_image(file).rgb
            if rgb.shape[1::-1] != self.size:
                actual, expected = ("x".join(map(str, size)) for size in (rgb.shape[1::-1], self.size))
                raise InputError(f"{file} is {actual}, the first picture {expected}: all must have one size")
            yield Frame(number, rgb, int(index.pts[number]))

    def what_happened(self) -> str | None:
        """What has become of the pictures since they were listed, as the predicate of a sentence; None: nothing."""
        for file, state in zip(self.files, self._states, strict=True):
            if change := what_happened(file, state):
                return f"changed: {file.name} {change}"
        return None

    def abandon(self) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """Nothing is open."""
