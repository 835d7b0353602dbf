"""Numbered pictures as a video: a folder in, a folder out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from rtstyle.errors import InputError
from rtstyle.media.images import SUFFIXES, Picture, read_image, write_image
from rtstyle.media.reader import Frame
from rtstyle.media.segments import Look


def _by_number(path: Path) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


class PictureSequence:
    """Reads the pictures of a folder, in the order of their numbers, like a VideoReader at `rate` frames a second.

    Raises RtstyleError if there are none, or if one has another size than the first.
    """

    bits, hdr = 8, False

    def __init__(self, folder: str | os.PathLike, rate: Fraction):
        self.path, self.rate = Path(folder), rate
        self.damaged, self.notes = 0, []
        self._files = sorted((p for p in self.path.iterdir() if p.suffix.lower() in SUFFIXES), key=_by_number)
        if not self._files:
            raise InputError(f"the folder {folder} holds no pictures ({', '.join(SUFFIXES)})")
        self._size = read_image(self._files[0]).rgb.shape[1::-1]
        tag = 1 if self._size[1] >= 720 else 6
        self.look = Look(
            width=self._size[0],
            height=self._size[1],
            time_base=1 / rate,
            rate=rate,
            sample_aspect=None,
            rotation=0,
            matrix=1 if tag == 1 else 5,
            range=1,
            tags={"colorspace": tag, "color_primaries": tag, "color_trc": tag},
        )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self._size

    @property
    def frame_count(self) -> int:
        return len(self._files)

    @property
    def seconds(self) -> float:
        return float(len(self._files) / self.rate)

    def frames(self, *, skip: int = 0, start: float | None = None, end: float | None = None) -> Iterator[Frame]:
        """As VideoReader.frames."""
        number = 0
        for at, file in enumerate(self._files):
            seconds = float(at / self.rate)
            if (start is not None and seconds < start) or (end is not None and seconds >= end):
                continue
            rgb = None
            if number >= skip:
                rgb = read_image(file).rgb
                if rgb.shape[1::-1] != self._size:
                    found, wanted = ("x".join(map(str, size)) for size in (rgb.shape[1::-1], self._size))
                    raise InputError(f"{file} is {found}, the first picture {wanted}: all must have one size")
            yield Frame(number, rgb, at)
            number += 1

    def close(self) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class PictureFolderWriter:
    """Writes frames as numbered PNGs: 000001.png, 000002.png, ..."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, number: int) -> Path:
        """Of the frame with this number from 0."""
        return self.folder / f"{number + 1:06d}.png"

    def write(self, number: int, rgb: np.ndarray) -> None:
        write_image(self.path(number), Picture(rgb))
