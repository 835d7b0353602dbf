"""Files as live sources: videos at their own speed, folders of pictures."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rtstyle.errors import InputError, RtstyleError
from rtstyle.media.capture import CLOCK, Clock
from rtstyle.media.images import SUFFIXES, read_image
from rtstyle.media.reader import VideoReader

PICTURE_SECONDS = 3.0  # how long a picture of a folder stays


class VideoFile:
    """A video file at its own speed, upright: each `read` waits until the frame's time stamp is due."""

    returns = False

    def __init__(self, path: str | os.PathLike[str], *, loop: bool = False, clock: Clock = CLOCK):
        self._path, self._loop, self._clock = path, loop, clock
        self._closed = threading.Event()
        self._origin: float | None = None
        self._begin = self._first = 0.0
        self._reader = VideoReader(path)
        self._frames = self._decode()

    def _decode(self) -> Iterator[tuple[float, float, float, np.ndarray]]:
        """(where this pass of the file began, the file's time of its first frame, seconds since the first frame of all,
        upright RGB) for ever if looped."""
        begin = 0.0
        while True:
            first, passed, step = None, 0.0, 1 / 25
            for frame in self._reader:
                seconds = float(frame.pts * self._reader.time_base)
                first = seconds if first is None else first
                step = seconds - first - passed or step
                passed = seconds - first
                yield (
                    begin,
                    first,
                    begin + passed,
                    np.ascontiguousarray(np.rot90(frame.rgb, round(frame.rotation / 90))),
                )
            self._reader.close()
            if first is None:
                raise InputError(f"{self._path} holds no frame that can be decoded")
            if not self._loop:
                return
            begin += passed + step
            self._reader = VideoReader(self._path)

    @property
    def zero(self) -> float | None:
        """When the time 0 of the file is, or would have been, played (the clock's seconds); None before its first
        frame. It changes when the file begins again."""
        return None if self._origin is None else self._origin + self._begin - self._first

    def read(self) -> np.ndarray | None:
        item = next(self._frames, None)
        if item is None or self._closed.is_set():
            return None
        begin, first, due, rgb = item
        now = self._clock.now()
        if self._origin is None:
            self._origin = now - due
        late = now - self._origin - due
        if late > 0.5:  # decoding cannot keep up, or the machine slept: go on from here, do not race
            self._origin += late
        elif late < 0 and self._clock.wait(self._closed, -late):
            return None
        self._begin, self._first = begin, first
        return rgb

    def wake(self) -> None:
        self._closed.set()

    def close(self) -> None:
        self._reader.close()


class PictureShow:
    """The pictures of a folder, each shown for `seconds`, or one picture for ever. Unreadable ones are passed over."""

    returns = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        loop: bool = False,
        seconds: float = PICTURE_SECONDS,
        clock: Clock = CLOCK,
    ):
        path = Path(path)
        loop = loop or path.is_file()
        files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"the folder {path} holds no pictures ({', '.join(SUFFIXES)})")
        self._path, self._files, self._loop, self._seconds, self._clock = path, files, loop, seconds, clock
        self._pending: collections.deque[Path] = collections.deque(files)
        self._until = 0.0
        self._closed = threading.Event()

    def read(self) -> np.ndarray | None:
        if self._clock.wait(self._closed, max(0.0, self._until - self._clock.now())):
            return None
        while self._pending or self._loop:
            if not self._pending:
                self._pending.extend(self._files)
            if (rgb := self._load(self._pending.popleft())) is not None:
                self._until = self._clock.now() + self._seconds
                return rgb
        return None

    def _load(self, path: Path) -> np.ndarray | None:
        try:
            rgb = read_image(path).rgb
        except RtstyleError:
            self._files = [file for file in self._files if file != path]
            if path == self._path:
                raise
            if not self._files:
                raise InputError(f"{self._path} holds no picture that can be read") from None
            return None
        return rgb

    def wake(self) -> None:
        self._closed.set()

    def close(self) -> None:
        pass
