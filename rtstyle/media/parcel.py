"""What a machine that does not see a video needs of it: the bytes that are read for some of its frames."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

from rtstyle.media.frame_index import FrameIndex
from rtstyle.media.reader import VideoReader
from rtstyle.media.sequence import PictureSequence
from rtstyle.media.stream import Source

Pieces = list[tuple[int, bytes]]  # (place in the file, what is there)


@dataclasses.dataclass(frozen=True)
class Parcel:
    """Pieces of files: {name: (size in bytes, pieces)}. One file, named like the video, or all of a folder."""

    name: str
    is_folder: bool
    files: dict[str, tuple[int, Pieces]]

    @classmethod
    def of(cls, source: Source, index: FrameIndex, first: int, last: int) -> Parcel:
        """What is read for the frames numbered `first` to `last` - 1. Opening, entering and reading the file are done
        once here, so whoever does the same with the parcel finds every byte that it needs."""
        path = source.path
        if isinstance(source, PictureSequence):
            needed = {0, *(int(pts) for pts in index.pts[first:last])}
            files = {
                file.name: (file.stat().st_size, [(0, file.read_bytes())] if number in needed else [])
                for number, file in enumerate(source.files)
            }
            return cls(path.name, True, files)
        with _Recorder(path) as file, VideoReader(path, file=cast(BinaryIO, file)) as reader:
            reader.read_part(index, first, last)
            return cls(path.name, False, {path.name: (path.stat().st_size, file.pieces())})

    @property
    def size(self) -> int:
        """Bytes that travel."""
        return sum(len(data) for _, pieces in self.files.values() for _, data in pieces)

    def unpack(self, folder: Path) -> Path:
        """Write it into a folder, and say where the video is: as large as it was, with nothing between the pieces."""
        inner = folder / self.name
        if self.is_folder:
            inner.mkdir()
        for name, (size, pieces) in self.files.items():
            with open(inner / name if self.is_folder else inner, "wb") as file:
                for place, data in pieces:
                    file.seek(place)
                    file.write(data)
                file.truncate(size)
        return inner


class _Recorder(io.FileIO):
    """A file that remembers what was read of it."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._read: list[tuple[int, int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        place = self.tell()
        data = super().read(size)
        self._read.append((place, place + len(data)))
        return data

    def pieces(self) -> Pieces:
        """All that was read, once."""
        return [(begin, self._at(begin, end)) for begin, end in joined(self._read)]

    def _at(self, begin: int, end: int) -> bytes:
        self.seek(begin)
        return super().read(end - begin)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges [begin, end), rising, those that touch made one."""
    result: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if result and begin <= result[-1][1]:
            result[-1] = result[-1][0], max(end, result[-1][1])
        elif end > begin:
            result.append((begin, end))
    return result
