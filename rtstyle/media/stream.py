"""What readers and writers of video agree on: a stream's format, its frames, where they come from and where they go."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from rtstyle.media.frame_index import FrameIndex

COLOR_TAGS = ("colorspace", "color_primaries", "color_trc")


def local_file(path: str | os.PathLike[str]) -> str:
    """A path as FFmpeg takes it for one: in `12:30.mkv` it sees a protocol."""
    return os.path.abspath(path)


Time_contra = TypeVar("Time_contra", contravariant=True)


@dataclasses.dataclass(frozen=True)
class StreamFormat:
    """Format of a video stream: size in pixels, time base and frame rate, sample aspect ratio, rotation in degrees
    counterclockwise, how its frames code colors (FFmpeg's numbers of matrix, range and COLOR_TAGS), bits a channel, and
    whether it is HDR (PQ or HLG)."""

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    sample_aspect: Fraction | None
    rotation: int
    matrix: int
    range: int
    tags: dict[str, int]
    bits: int = 8
    hdr: bool = False


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame: its number from 0, `rgb` uint8 [H, W, 3] as stored, its presentation time stamp in the stream's time
    base, and its rotation in degrees, counterclockwise."""

    number: int
    rgb: np.ndarray
    pts: int
    rotation: int = 0


class Source(Protocol):
    """Where the frames of a conversion come from, all of them, in order.

    `damaged` counts frames that were lost or patched up, `notes` says what cannot be kept. `stream_index` is the number
    of the painted stream in the container `path`, None where there is no container whose other streams could be copied.
    """

    damaged: int
    notes: list[str]

    @property
    def path(self) -> Path: ...

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""

    @property
    def rate(self) -> Fraction:
        """Frames a second."""

    @property
    def frame_count(self) -> int | None:
        """How many frames there are, as far as can be said before they are read."""

    @property
    def seconds(self) -> float | None:
        """The duration, as far as it is known."""

    @property
    def format(self) -> StreamFormat:
        """Known from the first frame on."""

    @property
    def stream_index(self) -> int | None: ...

    @property
    def has_sound(self) -> bool: ...

    def frames(self, *, skip: int = 0, start: float | None = None, end: float | None = None) -> Iterator[Frame]:
        """The frames with `start` <= time < `end` (seconds of the source's clock), numbered from 0, without the first
        `skip` of them."""

    def index(self, start: float | None = None, end: float | None = None) -> FrameIndex | None:
        """Where the frames with `start` <= time < `end` lie; None where that cannot be known without decoding."""

    def frames_of(self, index: FrameIndex, first: int, last: int) -> Iterator[Frame]:
        """The frames numbered `first` to `last` - 1 in the index; those that cannot be decoded are missing."""

    def abandon(self) -> None:
        """Whoever waits for a frame no longer wants it: `frames` ends soon, however long it would wait."""

    def what_happened(self) -> str | None:
        """What has become of the files since they were opened, as the predicate of a sentence; None: nothing."""

    def close(self) -> None: ...


class Sink(Protocol[Time_contra]):
    """Where painted frames go, in their order: a time is a pts in a video's time base, or seconds of a live clock.

    A sink takes frames until it is closed or abandoned, once.
    """

    def write(self, time: Time_contra, rgb: np.ndarray, /) -> None:
        """Take uint8 RGB [H, W, 3]."""

    def close(self) -> object:
        """Complete the result. Raises RtstyleError if that fails."""

    def abandon(self) -> None:
        """Let go of everything after an error, which has been reported. Raises nothing."""
