"""Video files in: every frame as upright-or-not as it is stored, RGB, at its own time stamp."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.video.reformatter import VideoReformatter

from rtstyle.errors import InputError
from rtstyle.files import file_state, what_happened
from rtstyle.media.decoded import Deinterlacer, format_of, to_rgb, with_rising_pts
from rtstyle.media.frame_index import FrameIndex
from rtstyle.media.packets import SEEKS, Packet, Packets, demuxed
from rtstyle.media.pipe import Pipe
from rtstyle.media.stream import Frame, StreamFormat, local_file

log = logging.getLogger("rtstyle")

QUIET_SECONDS = 1.0  # of reading packets, before that is said
ONE_PICTURE = "gif", "apng"  # codecs whose frames all build on the first, whatever their packets say


class VideoReader:
    """A Source that reads the video stream that a player would choose as RGB.

    Through a `Pipe` it is read forward; `file` is the file at `path`, opened, if somebody wants to see what is read.
    Iterating yields `Frame`; `frames` can skip and cut. `damaged` counts packets that could not be decoded or lie
    beyond the end of a cut-off file, which are skipped, and frames that the decoder patched up; `notes` says what the
    painting cannot keep. Raises RtstyleError if the file cannot be opened or has no video.
    """

    def __init__(self, path: str | os.PathLike[str], *, file: BinaryIO | None = None):
        self.path, self._name = Path(path), str(path)
        self.damaged = 0
        self._format: StreamFormat | None = None
        self._reformatter = VideoReformatter()
        self._deinterlacer: Deinterlacer | None = None
        if not self.path.exists():
            raise InputError(f"{path} does not exist")
        if self.path.is_dir():
            raise InputError(f"{path} is a folder: give a video file")
        if self.path.is_fifo():
            raise InputError(f"{path} is a pipe, and a video is read twice: write it to a file first")
        pipe = path if isinstance(path, Pipe) and not path.complete else None
        self._state = file_state(path)
        self._packets = Packets(path, file, pipe, self._count_damage)
        self.notes = [*self._packets.notes]
        if self._packets.pipe is None:
            size = os.path.getsize(path)
            self.damaged += sum(entry.pos + entry.size > size for entry in self.stream.index_entries)

    def _count_damage(self) -> None:
        self.damaged += 1

    def what_happened(self) -> str | None:
        """What has become of the file since it was opened, as the predicate of a sentence; None: nothing."""
        return None if self._packets.pipe else what_happened(self.path, self._state)

    def abandon(self) -> None:
        """Let a pipe end here."""
        if self._packets.pipe:
            self._packets.pipe.close()

    @property
    def stream(self) -> av.VideoStream:
        """The painted stream."""
        return self._packets.stream

    @property
    def time_base(self) -> Fraction:
        """Seconds in a unit of the stream's time stamps."""
        return self._packets.time_base

    @property
    def format(self) -> StreamFormat:
        """What is known of the stream from its first frame on. May be set, by who reads from its middle."""
        if self._format is None:
            raise ValueError(f"no frame of {self.path} has been read yet")
        return self._format

    @format.setter
    def format(self, format: StreamFormat) -> None:
        self._format = format

    @property
    def stream_index(self) -> int:
        """The number of the painted stream."""
        return self.stream.index

    @property
    def has_sound(self) -> bool:
        """Whether there is a sound track."""
        return bool(self._packets.container.streams.audio)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.stream.width, self.stream.height

    @property
    def rate(self) -> Fraction:
        """Frames a second, as far as the file says."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def frame_count(self) -> int | None:
        """How many frames there are, exactly or by duration and rate; None if the file does not say."""
        if self.stream.frames:
            return self.stream.frames
        seconds = self.seconds
        return None if seconds is None else max(1, round(seconds * self.rate))

    @property
    def seconds(self) -> float | None:
        """The duration, if the file says."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        duration = self._packets.container.duration
        return duration / av.time_base if duration else None

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, *, skip: int = 0, start: float | None = None, end: float | None = None) -> Iterator[Frame]:
        """The frames with `start` <= time < `end` (seconds of the file's clock), numbered from 0, without the first
        `skip` of them, which are decoded but not converted."""
        if start and self._packets.pipe is None:
            self._packets.seek(start)
        number = 0
        for frame, pts in self._shown(self._packets.rest()):
            seconds = float(pts * self.time_base)
            if end is not None and seconds >= end:
                return
            if start is not None and seconds < start:
                continue
            if number >= skip:
                yield self._frame(number, frame, pts)
            else:
                self._note_format(frame)
            number += 1
        if self._packets.pipe:
            self._packets.pipe.check()

    def index(self, start: float | None = None, end: float | None = None) -> FrameIndex | None:
        """Where the frames with `start` <= time < `end` lie, by all packets of the stream, which takes as long as it
        takes to read the file. None if that cannot be said, or if it comes through a pipe."""
        if self._packets.pipe:
            return None
        with av.open(local_file(self.path), metadata_errors="replace") as container:
            index = FrameIndex.of(self._stamps(container.streams.video[self._place_among_videos()]))
        if index is None or len(index.pts) == 0:
            return None
        return index.between(start, end, self.time_base)

    def _place_among_videos(self) -> int:
        return [stream.index for stream in self._packets.container.streams.video].index(self.stream.index)

    def _stamps(self, stream: av.VideoStream) -> Iterator[tuple[int | None, bool]]:
        """(time stamp, whether decoding can begin there) of every packet that gives a frame."""
        one_picture, begun, said = stream.codec_context.name in ONE_PICTURE, time.monotonic(), False
        with contextlib.suppress(av.FFmpegError, OSError):  # reading the frames ends there, too
            for number, packet in enumerate(demuxed(stream)):
                if not said and time.monotonic() - begun > QUIET_SECONDS:
                    log.info(f"reading all of {self._name} once, to know where its frames lie")
                    said = True
                if not packet.is_discard:
                    yield packet.pts, packet.is_keyframe and not (one_picture and number)

    def frames_of(self, index: FrameIndex, first: int, last: int) -> Iterator[Frame]:
        """The frames numbered `first` to `last` - 1 in the index; those that cannot be decoded are missing. Decoding
        begins at the nearest key frame before them."""
        _, shown = self._entered(index, first, last)
        for frame, pts in shown:
            number = index.number(pts)
            if number < 0 and index.begin == 0:
                number = 0  # before the first key frame: what a decoder makes of it is the beginning
            if number >= last:
                return
            if number >= first:
                yield self._frame(number, frame, pts)

    def read_part(self, index: FrameIndex, first: int, last: int) -> None:
        """Read what `frames_of` would read, and decode no more than its first frame."""
        packets, _ = self._entered(index, first, last)
        for _ in packets:
            pass

    def _entered(
        self, index: FrameIndex, first: int, last: int
    ) -> tuple[Iterator[Packet | None], Iterator[tuple[av.VideoFrame, int]]]:
        """(packets, what they show) from a key frame on from which the first of these frames is really decoded: where a
        picture is refreshed piece by piece, a key frame shows nothing until the last of them came."""
        for back in SEEKS:
            self._deinterlacer = None
            packets = self._packets.of(index, first, last, back)
            shown = self._shown(packets)
            head = next(shown, None)
            if self._packets.from_start or (head is not None and head[1] <= index.pts[first]):
                break
        return packets, itertools.chain([] if head is None else [head], shown)

    def _shown(self, packets: Iterable[Packet | None]) -> Iterator[tuple[av.VideoFrame, int]]:
        """(decoded frame, time stamp), deinterlaced if that is needed; None last of all empties the decoder."""
        step = max(1, round(1 / (self.rate * self.time_base)))
        return with_rising_pts(self._decoded(packets), step)

    def _decoded(self, packets: Iterable[Packet | None]) -> Iterator[av.VideoFrame]:
        for packet in packets:
            for frame in self._decode(packet):
                if frame.interlaced_frame and self._deinterlacer is None:
                    self._deinterlacer = Deinterlacer(self.stream, self.time_base)
                    self._note(["the source is interlaced: it was deinterlaced"])
                yield from self._deinterlacer.feed(frame) if self._deinterlacer else [frame]
        if self._deinterlacer:
            yield from self._deinterlacer.feed(None)

    def _decode(self, packet: Packet | None) -> list[av.VideoFrame]:
        try:
            return self.stream.decode(packet)
        except (av.FFmpegError, EOFError):
            self._count_damage()
            return []

    def _note(self, texts: Iterable[str]) -> None:
        self.notes += [text for text in texts if text not in self.notes]

    def _note_format(self, frame: av.VideoFrame) -> None:
        self.damaged += frame.is_corrupt
        if self._format is None:
            self._format, lost = format_of(frame, self.stream, self.time_base, self.rate)
            self._note(lost)

    def _frame(self, number: int, frame: av.VideoFrame, pts: int) -> Frame:
        self._note_format(frame)
        return Frame(number, to_rgb(self._reformatter, frame, self.size, hdr=self.format.hdr), pts, frame.rotation)

    def close(self) -> None:
        self._packets.container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
