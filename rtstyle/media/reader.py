"""Video files in: every frame as upright-or-not as it is stored, RGB, at its own time stamp."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from rtstyle.errors import InputError
from rtstyle.files import file_state, what_happened
from rtstyle.media.color import is_hdr, to_8_bits
from rtstyle.media.frame_index import BEFORE, FrameIndex
from rtstyle.media.pipe import Pipe
from rtstyle.media.segments import SWS_FLAGS, reason
from rtstyle.media.stream import COLOR_TAGS, Frame, StreamFormat, local_file
from rtstyle.threads import interruptible

log = logging.getLogger("rtstyle")

STATIC_HDR = SideDataType.MASTERING_DISPLAY_METADATA, SideDataType.CONTENT_LIGHT_LEVEL
LOOK_AHEAD = 2  # frames among which time stamps may have been swapped
SEEKS = 0, 1, 2, 4, 8, 16, 32  # key frames to go back, until seeking lands before the one that is needed
QUIET_SECONDS = 1.0  # of reading packets, before that is said
ONE_PICTURE = "gif", "apng"  # codecs whose frames all build on the first, whatever their packets say

_Packet: TypeAlias = "av.Packet[av.VideoStream]"

# AVColorSpace of a frame to swscale's matrices; anything else is decided by the size, as players do.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}


def matrix_of(frame: av.VideoFrame) -> int:
    """The YCbCr matrix of a frame; untagged ones are BT.709 from 720 lines on and BT.601 below."""
    return MATRICES.get(int(frame.colorspace), Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601)


def range_of(frame: av.VideoFrame) -> int:
    """Full (JPEG) or limited (MPEG) range of a frame; untagged ones are limited unless their format says full."""
    if frame.color_range in (ColorRange.MPEG, ColorRange.JPEG):
        return frame.color_range
    full = frame.format.name.startswith("yuvj") or frame.format.is_rgb
    return ColorRange.JPEG if full else ColorRange.MPEG


def with_rising_pts(frames: Iterable[av.VideoFrame], step: int) -> Iterator[tuple[av.VideoFrame, int]]:
    """(frame, rising time stamp), `step` after the last where there is none.

    The decoder's order is right; time stamps may be missing, or, in AVI files with B-frames, be those of a neighbor:
    each frame gets the least of its own and those of the next few.
    """
    waiting: deque[av.VideoFrame] = deque()
    pts: list[int] = []
    arrived: int | None = None
    last: int | None = None

    def take() -> tuple[av.VideoFrame, int]:
        nonlocal last
        least = heapq.heappop(pts)
        last = least if last is None or least > last else last + 1
        return waiting.popleft(), last

    for frame in frames:
        arrived = frame.pts if frame.pts is not None else 0 if arrived is None else arrived + step
        waiting.append(frame)
        heapq.heappush(pts, arrived)
        if len(waiting) > LOOK_AHEAD:
            yield take()
    while waiting:
        yield take()


class VideoReader:
    """A Source that reads the video stream that a player would choose as RGB.

    Through a `Pipe` it is read forward; `file` is the file at `path`, opened, if somebody wants to see what is read.
    Iterating yields `Frame`; `frames` can skip and cut. `damaged` counts packets that could not be decoded or lie
    beyond the end of a cut-off file, which are skipped, and frames that the decoder patched up; `notes` says what the
    painting cannot keep. Raises RtstyleError if the file cannot be opened or has no video.
    """

    def __init__(self, path: str | os.PathLike[str], *, file: BinaryIO | None = None):
        self.path, self._file, self._name = Path(path), file, str(path)
        self.damaged = 0
        self.notes: list[str] = []
        self._format: StreamFormat | None = None
        self._reformatter = VideoReformatter()
        self._deinterlacer: Deinterlacer | None = None
        if not self.path.exists():
            raise InputError(f"{path} does not exist")
        if self.path.is_dir():
            raise InputError(f"{path} is a folder: give a video file")
        if self.path.is_fifo():
            raise InputError(f"{path} is a pipe, and a video is read twice: write it to a file first")
        self._pipe = path if isinstance(path, Pipe) and not path.complete else None
        self._state = file_state(path)
        self._open()
        if self._pipe is None:
            size = os.path.getsize(path)
            self.damaged += sum(entry.pos + entry.size > size for entry in self.stream.index_entries)

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
        self._at_start = self._from_start = True

    def _open_pipe(self) -> InputContainer | None:
        """What comes through a pipe, to be read forward; None if there is none, or all of it is in its file."""
        if self._pipe is None:
            return None
        pipe = self._pipe

        def opened() -> InputContainer:
            return av.open(pipe, "r", metadata_errors="replace")

        try:  # in another thread, as Ctrl-C cannot break into what FFmpeg calls
            return interruptible(opened, "opening")
        except (av.FFmpegError, OSError, ValueError):
            log.info(f"reading all of {pipe} first, as it cannot be read forward")
            pipe.read_all()
            self._pipe = None
            return None

    def what_happened(self) -> str | None:
        """What has become of the file since it was opened, as the predicate of a sentence; None: nothing."""
        return None if self._pipe else what_happened(self.path, self._state)

    def abandon(self) -> None:
        """Let a pipe end here."""
        if self._pipe:
            self._pipe.close()

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
            self.notes.append(f"of {len(moving)} video streams number {stream.index} is painted, the others are copied")
        return stream, stream.time_base

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
        return bool(self.container.streams.audio)

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
        return self.container.duration / av.time_base if self.container.duration else None

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, *, skip: int = 0, start: float | None = None, end: float | None = None) -> Iterator[Frame]:
        """The frames with `start` <= time < `end` (seconds of the file's clock), numbered from 0, without the first
        `skip` of them, which are decoded but not converted."""
        if start and self._pipe is None:
            self._at_start = False
            try:
                self.container.seek(max(0, int(start / self.time_base)), stream=self.stream)
            except (av.FFmpegError, OSError):
                self.container.seek(0)
        number = 0
        for frame, pts in self._shown(self._packets()):
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
        if self._pipe:
            self._pipe.check()

    def index(self, start: float | None = None, end: float | None = None) -> FrameIndex | None:
        """Where the frames with `start` <= time < `end` lie, by all packets of the stream, which takes as long as it
        takes to read the file. None if that cannot be said, or if it comes through a pipe."""
        if self._pipe:
            return None
        with av.open(local_file(self.path), metadata_errors="replace") as container:
            index = FrameIndex.of(self._stamps(container.streams.video[self._place_among_videos()]))
        if index is None or len(index.pts) == 0:
            return None
        return index.between(start, end, self.time_base)

    def _place_among_videos(self) -> int:
        return [stream.index for stream in self.container.streams.video].index(self.stream.index)

    def _stamps(self, stream: av.VideoStream) -> Iterator[tuple[int | None, bool]]:
        """(time stamp, whether decoding can begin there) of every packet that gives a frame."""
        one_picture, begun, said = stream.codec_context.name in ONE_PICTURE, time.monotonic(), False
        with contextlib.suppress(av.FFmpegError, OSError):  # reading the frames ends there, too
            for number, packet in enumerate(_demuxed(stream)):
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
    ) -> tuple[Iterator[_Packet | None], Iterator[tuple[av.VideoFrame, int]]]:
        """(packets, what they show) from a key frame on from which the first of these frames is really decoded: where a
        picture is refreshed piece by piece, a key frame shows nothing until the last of them came."""
        for back in SEEKS:
            self._deinterlacer = None
            packets = self._packets_of(index, first, last, back)
            shown = self._shown(packets)
            head = next(shown, None)
            if self._from_start or (head is not None and head[1] <= index.pts[first]):
                break
        return packets, itertools.chain([] if head is None else [head], shown)

    def _packets_of(self, index: FrameIndex, first: int, last: int, back: int = 0) -> Iterator[_Packet | None]:
        """The packets of these frames, and of some before and behind them, from so many key frames earlier than
        necessary; None last of all."""
        begin, end = max(0, index.begin + first - BEFORE), index.begin + last + BEFORE
        place = int(np.searchsorted(index.keys, index.entry(int(index.all[begin])))) - back
        missing = set(index.all[np.searchsorted(index.all, index.keys[max(0, place)]) : end].tolist())
        for packet in self._packets_from(index, max(0, place)):
            yield packet
            missing.discard(packet.pts)
            if not missing and end < len(index.all):
                break
        yield None

    def _packets_from(self, index: FrameIndex, place: int) -> Iterator[_Packet]:
        """Packets from which the frame at `index.keys[place]` and all behind it can be decoded."""
        self._from_start = False
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
        self._from_start = True
        if not self._at_start:
            self.container.close()
            self._open()
        return self._demuxed()

    def _shown(self, packets: Iterable[_Packet | None]) -> Iterator[tuple[av.VideoFrame, int]]:
        """(decoded frame, time stamp), deinterlaced if that is needed; None last of all empties the decoder."""
        return with_rising_pts(self._decoded(packets), self._step())

    def _decoded(self, packets: Iterable[_Packet | None]) -> Iterator[av.VideoFrame]:
        for packet in packets:
            self._at_start = False
            for frame in self._decode(packet):
                if frame.interlaced_frame and self._deinterlacer is None:
                    self._deinterlacer = Deinterlacer(self.stream, self.time_base)
                    self._note("the source is interlaced: it was deinterlaced")
                yield from self._deinterlacer.feed(frame) if self._deinterlacer else [frame]
        if self._deinterlacer:
            yield from self._deinterlacer.feed(None)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _note_format(self, frame: av.VideoFrame) -> None:
        self.damaged += frame.is_corrupt
        if self._format is None:
            self._format = self._format_of(frame)

    def _frame(self, number: int, frame: av.VideoFrame, pts: int) -> Frame:
        self._note_format(frame)
        return Frame(number, self._to_rgb(frame, self.format.hdr), pts, frame.rotation)

    def _decode(self, packet: _Packet | None) -> list[av.VideoFrame]:
        try:
            return self.stream.decode(packet)
        except (av.FFmpegError, EOFError):
            self.damaged += 1
            return []

    def _packets(self) -> Iterator[_Packet | None]:
        """Packets in file order; None last of all, to empty the decoder."""
        yield from self._demuxed()
        yield None

    def _demuxed(self) -> Iterator[_Packet]:
        try:
            yield from _demuxed(self.stream)
        except (av.FFmpegError, OSError):
            self.damaged += 1

    def _step(self) -> int:
        return max(1, round(1 / (self.rate * self.time_base)))

    def _format_of(self, frame: av.VideoFrame) -> StreamFormat:
        """What only a decoded frame knows for sure; what of it cannot be kept is noted."""
        hdr = is_hdr(int(frame.color_trc))
        side_data = cast(Iterable[SideData], frame.side_data)
        if hdr and any(data.type in STATIC_HDR for data in side_data):
            self.notes.append("the static HDR metadata (mastering display, light levels) is not kept")
        if self.stream.metadata.get("alpha_mode") == "1" or len(frame.format.components) in (2, 4):
            self.notes.append("transparency is not kept")
        return StreamFormat(
            width=self.stream.width,
            height=self.stream.height,
            time_base=self.time_base,
            rate=self.rate,
            sample_aspect=self.stream.sample_aspect_ratio or None,
            rotation=frame.rotation,
            matrix=int(matrix_of(frame)),
            range=int(range_of(frame)),
            tags={name: int(getattr(frame, name)) for name in COLOR_TAGS},
            bits=max(component.bits for component in frame.format.components),
            hdr=hdr,
        )

    def _to_rgb(self, frame: av.VideoFrame, hdr: bool) -> np.ndarray:
        matrix, full = matrix_of(frame), range_of(frame)
        rgb = self._reformatter.reformat(
            frame,
            width=self.stream.width,
            height=self.stream.height,
            format="rgb48le" if hdr else "rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=full,
            dst_color_range=ColorRange.JPEG,
            interpolation=SWS_FLAGS,
        ).to_ndarray()
        return to_8_bits(int(frame.color_trc))[rgb] if hdr else rgb

    def close(self) -> None:
        self.container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _demuxed(stream: av.VideoStream) -> Iterator[_Packet]:
    for packet in cast(InputContainer, stream.container).demux(stream):
        if packet.dts is not None or packet.size:  # the rest are PyAV's own flushing packets
            yield packet


class Deinterlacer:
    """One full frame from every interlaced one, at its own time stamp (FFmpeg's bwdif)."""

    def __init__(self, stream: av.VideoStream, time_base: Fraction):
        self._time_base = time_base
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(template=stream, time_base=time_base)
        filter = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = self._graph.add("buffersink")
        source.link_to(filter)
        filter.link_to(sink)
        self._graph.configure()

    def feed(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """The finished frames; None ends it."""
        self._graph.vpush(frame)
        while True:
            try:
                done = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert done.pts is not None and done.time_base is not None
            done.pts = round(done.pts * done.time_base / self._time_base)
            done.time_base = self._time_base
            yield done
