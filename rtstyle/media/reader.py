"""Video files in: every frame as upright-or-not as it is stored, RGB, at its own time stamp."""

from __future__ import annotations

import dataclasses
import heapq
import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from rtstyle.errors import InputError
from rtstyle.media.color import is_hdr, to_8_bits
from rtstyle.media.segments import HOW, TAGS, Look, reason

LOOK_AHEAD = 2  # frames among which time stamps may have been swapped

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


@dataclasses.dataclass
class Frame:
    """One decoded frame: its number from 0, `rgb` uint8 [H, W, 3] as stored (None if it was skipped), its
    presentation time stamp in the stream's time base, and its rotation in degrees, counterclockwise."""

    number: int
    rgb: np.ndarray | None
    pts: int
    rotation: int = 0


def matrix_of(frame: av.VideoFrame) -> int:
    """The YCbCr matrix of a frame; untagged ones are BT.709 from 720 lines on and BT.601 below."""
    return MATRICES.get(int(frame.colorspace), Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601)


def range_of(frame: av.VideoFrame) -> int:
    """Full (JPEG) or limited (MPEG) range of a frame; untagged ones are limited unless their format says full."""
    if frame.color_range in (ColorRange.MPEG, ColorRange.JPEG):
        return frame.color_range
    full = frame.format.name.startswith("yuvj") or frame.format.is_rgb
    return ColorRange.JPEG if full else ColorRange.MPEG


class VideoReader:
    """Reads the video stream that a player would choose as RGB.

    Iterating yields `Frame`; `frames` can skip and cut. `damaged` counts packets that could not be decoded or lie
    beyond the end of a cut-off file, which are skipped, and frames that the decoder patched up; `notes` says what the
    painting cannot keep. After the first frame `look`, `bits` and `hdr` describe the stream. Raises RtstyleError if
    the file cannot be opened or has no video.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.damaged = 0
        self.notes: list[str] = []
        self.look: Look | None = None
        self.bits, self.hdr = 8, False
        self._reformatter = VideoReformatter()
        self._deinterlacer: Deinterlacer | None = None
        if not Path(path).exists():
            raise InputError(f"{path} does not exist")
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder: give a video file")
        try:
            self.container = av.open(os.fspath(path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{path} is not a video that can be opened ({reason(error)})") from None
        try:
            self.stream = self._choose_stream()
        except BaseException:
            self.container.close()
            raise
        self.stream.thread_type = "AUTO"
        size = os.path.getsize(path)
        self.damaged += sum(entry.pos + entry.size > size for entry in self.stream.index_entries)

    def _choose_stream(self):
        still = av.stream.Disposition.attached_pic
        moving = [s for s in self.container.streams.video if not s.disposition & still]
        if not moving:
            raise InputError(f"{self.path} has no video stream")
        best = self.container.streams.best("video")
        stream = best if best in moving else moving[0]
        if stream.codec_context is None or not stream.width or not stream.height:
            raise InputError(f"{self.path} has a video stream that cannot be decoded here")
        if len(moving) > 1:
            self.notes.append(f"of {len(moving)} video streams number {stream.index} is painted, the others are copied")
        return stream

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
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / av.time_base if self.container.duration else None

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, *, skip: int = 0, start: float | None = None, end: float | None = None) -> Iterator[Frame]:
        """The frames with `start` <= time < `end` (seconds of the file's clock), numbered from 0; the first `skip`
        of them come without a picture, which costs less."""
        number = 0
        for frame, pts in self._stamped(self._decoded(start)):
            seconds = float(pts * self.stream.time_base)
            if end is not None and seconds >= end:
                return
            if start is not None and seconds < start:
                continue
            self.damaged += frame.is_corrupt
            if self.look is None:
                self._describe(frame)
            yield Frame(number, self._to_rgb(frame) if number >= skip else None, pts, frame.rotation)
            number += 1

    def _stamped(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, int]]:
        """(frame, rising time stamp). The decoder's order is right; stamps may be missing, or, in AVI files with
        B-frames, be those of a neighbour: each frame gets the least stamp of itself and the next few."""
        waiting: deque[av.VideoFrame] = deque()
        stamps: list[int] = []
        arrived = last = None

        def take() -> tuple[av.VideoFrame, int]:
            nonlocal last
            pts = heapq.heappop(stamps)
            last = pts if last is None or pts > last else last + 1
            return waiting.popleft(), last

        for frame in frames:
            arrived = frame.pts if frame.pts is not None else 0 if arrived is None else arrived + self._step()
            waiting.append(frame)
            heapq.heappush(stamps, arrived)
            if len(waiting) > LOOK_AHEAD:
                yield take()
        while waiting:
            yield take()

    def _decoded(self, start: float | None) -> Iterator[av.VideoFrame]:
        if start:
            target = int(start / self.stream.time_base)
            try:
                self.container.seek(max(0, target), stream=self.stream)
            except (av.FFmpegError, OSError):
                self.container.seek(0)
        for packet in self._packets():
            for frame in self._decode(packet):
                if frame.interlaced_frame and self._deinterlacer is None:
                    self._deinterlacer = Deinterlacer(self.stream)
                    self.notes.append("the source is interlaced: it was deinterlaced")
                yield from self._deinterlacer.feed(frame) if self._deinterlacer else [frame]
        if self._deinterlacer:
            yield from self._deinterlacer.feed(None)

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self.stream.decode(packet)
        except (av.FFmpegError, EOFError):
            self.damaged += 1
            return []

    def _packets(self) -> Iterator[av.Packet | None]:
        """Packets in file order; None last of all, to empty the decoder."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError):
                self.damaged += 1
                break
            if packet.dts is not None or packet.size:  # the rest are PyAV's own flushing packets
                yield packet
        yield None

    def _step(self) -> int:
        return max(1, round(1 / (self.rate * self.stream.time_base)))

    def _describe(self, frame: av.VideoFrame) -> None:
        """What only a decoded frame knows for sure."""
        transfer = int(frame.color_trc)
        self.hdr = is_hdr(transfer)
        self.bits = max(component.bits for component in frame.format.components)
        if self.hdr and any(kind.name in STATIC_HDR for kind in _side_data_types(frame)):
            self.notes.append("the static HDR metadata (mastering display, light levels) is not kept")
        alpha = self.stream.metadata.get("alpha_mode") == "1" or len(frame.format.components) in (2, 4)
        if alpha:
            self.notes.append("transparency is not kept")
        self.look = Look(
            width=self.stream.width,
            height=self.stream.height,
            time_base=self.stream.time_base,
            rate=self.rate,
            sample_aspect=self.stream.sample_aspect_ratio or None,
            rotation=frame.rotation,
            matrix=int(matrix_of(frame)),
            range=int(range_of(frame)),
            tags={name: int(getattr(frame, name)) for name in TAGS},
        )

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        matrix, full = matrix_of(frame), range_of(frame)
        rgb = self._reformatter.reformat(
            frame,
            width=self.stream.width,
            height=self.stream.height,
            format="rgb48le" if self.hdr else "rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=full,
            dst_color_range=ColorRange.JPEG,
            interpolation=HOW,
        ).to_ndarray()
        return to_8_bits(int(frame.color_trc))[rgb] if self.hdr else rgb

    def close(self) -> None:
        self.container.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


STATIC_HDR = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")


def _side_data_types(frame: av.VideoFrame):
    return [data.type for data in frame.side_data]


class Deinterlacer:
    """One full frame from every interlaced one, at its own time stamp (FFmpeg's bwdif)."""

    def __init__(self, stream):
        self._stream = stream
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(template=stream, time_base=stream.time_base)
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
            done.pts = round(done.pts * done.time_base / self._stream.time_base)
            done.time_base = self._stream.time_base
            yield done
