"""Video files in, before they are decoded: the container, the stream that is painted, and its packets from where it is
asked."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import av
import numpy as np
from av.container import InputContainer

from rtstyle.errors import InputError
from rtstyle.media.frame_index import BEFORE, FrameIndex
from rtstyle.media.pipe import Pipe
from rtstyle.media.segments import reason
from rtstyle.media.stream import local_file
from rtstyle.threads import interruptible

log = logging.getLogger("rtstyle")

SEEKS = 0, 1, 2, 4, 8, 16, 32  # key frames to go back, until seeking lands before the one that is needed

Packet: TypeAlias = "av.Packet[av.VideoStream]"


def demuxed(stream: av.VideoStream) -> Iterator[Packet]:
    """The packets of a stream from where its container stands."""
    for packet in cast(InputContainer, stream.container).demux(stream):
        if packet.dts is not None or packet.size:  # the rest are PyAV's own flushing packets
            yield packet


class Packets:
    """The packets of the video stream that a player would choose; `on_break` is called where reading breaks off.

    `pipe` is what is read forward, None for a file, or once all of the pipe had to be read into its file; `file` is the
    file at `path`, opened, if somebody wants to see what is read. `from_start` says whether what `of` gave began where
    the file begins. Raises RtstyleError if the file cannot be opened or has no video.
    """

    def __init__(
        self, path: str | os.PathLike[str], file: BinaryIO | None, pipe: Pipe | None, on_break: Callable[[], None]
    ):
        self.path, self._file, self._name, self._on_break = Path(path), file, str(path), on_break
        self.pipe = pipe
        self.notes: list[str] = []
        self._open()

    def _open(self) -> None:
        if self._file:
            self._file.seek(0)
        try:
            opened = self._file or local_file(self.path)
            self.container = self._open_pipe() or av.open(opened, "r", metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{self._name} is not a video that can be opened ({reason(error)})") from None
        try:
            self.stream, self.time_base = self._choose_stream()
        except BaseException:
            self.container.close()
            raise
        self.stream.thread_type = "AUTO"
        self._at_start = self.from_start = True

    def _open_pipe(self) -> InputContainer | None:
        """What comes through a pipe, to be read forward; None if there is none, or all of it is in its file."""
        if self.pipe is None:
            return None
        pipe = self.pipe

        def opened() -> InputContainer:
            return av.open(pipe, "r", metadata_errors="replace")

        try:  # in another thread, as Ctrl-C cannot break into what FFmpeg calls
            return interruptible(opened, "opening")
        except (av.FFmpegError, OSError, ValueError):
            log.info(f"reading all of {pipe} first, as it cannot be read forward")
            pipe.read_all()
            self.pipe = None
            return None

    def _choose_stream(self) -> tuple[av.VideoStream, Fraction]:
        still = av.stream.Disposition.attached_pic
        moving = [s for s in self.container.streams.video if not s.disposition & still]
        if not moving:
            raise InputError(f"{self.path} has no video stream")
        best = self.container.streams.best("video")
        stream = next((stream for stream in moving if stream is best), moving[0])
        if stream.codec_context is None or not (stream.width and stream.height and stream.time_base):
            raise InputError(f"{self.path} has a video stream that cannot be decoded here")
        if len(moving) > 1:
            self.notes = [f"of {len(moving)} video streams number {stream.index} is painted, the others are copied"]
        return stream, stream.time_base

    def rest(self) -> Iterator[Packet | None]:
        """From here to the end of the file; None last of all, to empty the decoder."""
        yield from self._demuxed()
        yield None

    def seek(self, seconds: float) -> None:
        """Go to a key frame at or before this time, or to the beginning."""
        self._at_start = False
        try:
            self.container.seek(max(0, int(seconds / self.time_base)), stream=self.stream)
        except (av.FFmpegError, OSError):
            self.container.seek(0)

    def of(self, index: FrameIndex, first: int, last: int, back: int = 0) -> Iterator[Packet | None]:
        """The packets of the frames numbered `first` to `last` - 1 in the index, and of some before and behind them,
        from so many key frames earlier than necessary; None last of all."""
        begin, end = max(0, index.begin + first - BEFORE), index.begin + last + BEFORE
        place = int(np.searchsorted(index.keys, index.entry(int(index.all[begin])))) - back
        missing = set(index.all[np.searchsorted(index.all, index.keys[max(0, place)]) : end].tolist())
        for packet in self._from(index, max(0, place)):
            yield packet
            missing.discard(packet.pts)
            if not missing and end < len(index.all):
                break
        yield None

    def _from(self, index: FrameIndex, place: int) -> Iterator[Packet]:
        """Packets from which the frame at `index.keys[place]` and all behind it can be decoded."""
        self.from_start = False
        for back in SEEKS:  # some containers land behind the key frame that is asked for
            if back >= place:
                break
            self._at_start = False
            try:
                self.container.seek(int(index.keys[place - back]), stream=self.stream)
            except (av.FFmpegError, OSError):
                continue
            packets = self._demuxed()
            first = next((packet for packet in packets if packet.is_keyframe and packet.pts is not None), None)
            if first is not None and first.pts is not None and first.pts <= index.keys[place]:
                return itertools.chain([first], packets)
        self.from_start = True
        if not self._at_start:
            self.container.close()
            self._open()
        return self._demuxed()

    def _demuxed(self) -> Iterator[Packet]:
        try:
            for packet in demuxed(self.stream):
                self._at_start = False
                yield packet
        except (av.FFmpegError, OSError):
            self._on_break()
