"""A piece of a painted video on its own: a fresh encoder, a closed group of pictures, a file that can be moved.

A segment is two files. The Matroska one holds the packets, in the encoder's order, each stamped with the number of
its frame in the segment (Matroska counts milliseconds, too coarse for real time stamps). The JSON one holds the real
ones in the source's time base; it is written last, so a segment that has one is complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from rtstyle.errors import OutputError
from rtstyle.media.color import deepen
from rtstyle.media.encoding import Plan
from rtstyle.media.stream import StreamFormat, local_file

FIRST_NUMBER = 64  # of a frame in the Matroska file, so that no packet is stamped below its place in the order
MATRIX_TAGS = {0: 2}  # YCbCr cannot be tagged as RGB: such a source becomes untagged
SWS_FLAGS = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
MEDIA_ERRORS = (av.FFmpegError, OSError)  # not all that FFmpeg raises are errors of the system


@dataclasses.dataclass
class Segment:
    """A complete segment: its Matroska file, the time stamps of its frames (rising) and by how many places at most the
    encoder's order lags behind."""

    path: Path
    pts: list[int]
    delay: int

    @classmethod
    def read(cls, path: Path) -> Segment | None:
        """The segment of this name if it is complete."""
        try:
            facts = json.loads(path.with_suffix(".json").read_text())
            return cls(path, facts["stamps"], facts["delay"]) if path.is_file() else None
        except (OSError, ValueError, KeyError):
            return None

    def complete(self) -> None:
        """From now on it counts as such, also for a later run."""
        part = self.path.with_suffix(".json.part")
        part.write_text(json.dumps({"stamps": self.pts, "delay": self.delay}))
        os.replace(part, self.path.with_suffix(".json"))

    def packets(self) -> Iterator[tuple[int, av.Packet[av.VideoStream]]]:
        """(number of the frame in the segment, packet) in the encoder's order."""
        with av.open(local_file(self.path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size and packet.pts is not None:
                    yield round(packet.pts * packet.time_base * 1000) - FIRST_NUMBER, packet


@dataclasses.dataclass(frozen=True)
class PaintedSegment:
    """A complete segment as it travels between machines: the bytes of its Matroska file, and the facts of `Segment`."""

    data: bytes
    pts: list[int]
    delay: int

    @classmethod
    def of(cls, segment: Segment) -> PaintedSegment:
        """Read from its file."""
        return cls(segment.path.read_bytes(), segment.pts, segment.delay)

    def write(self, path: Path) -> Segment:
        """As a file that counts as complete."""
        path.write_bytes(self.data)
        segment = Segment(path, self.pts, self.delay)
        segment.complete()
        return segment


class SegmentWriter:
    """A sink that encodes frames into one segment. Raises RtstyleError if the encoder refuses."""

    def __init__(self, path: Path, plan: Plan, format: StreamFormat):
        self.path, self._plan, self._format = path, plan, format
        self._pts: list[int] = []
        self._order = 0
        self._delay = 0
        self._reformatter = VideoReformatter()
        try:
            self._container = av.open(local_file(path), "w", format="matroska")
            stream = self._container.add_stream(plan.encoder, rate=format.rate)
            assert isinstance(stream, av.VideoStream)
            self._stream = stream
            self._set_up()
            self._container.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise OutputError(f"{plan.encoder} cannot encode this video ({reason(error)})") from None

    def _set_up(self) -> None:
        plan, format, codec = self._plan, self._format, self._stream.codec_context
        self._stream.width, self._stream.height = format.width, format.height
        self._stream.pix_fmt = plan.pix_fmt
        codec.time_base = format.time_base
        codec.options = plan.options
        if format.sample_aspect:
            codec.sample_aspect_ratio = format.sample_aspect
        for tag, value in format.tags.items():
            setattr(codec, tag, MATRIX_TAGS.get(value, value) if tag == "colorspace" else value)
        codec.color_range = format.range

    def write(self, pts: int, rgb: np.ndarray, /) -> None:
        """Encode uint8 RGB [H, W, 3] at its time stamp."""
        if self._plan.bits > 8:
            picture = av.VideoFrame.from_ndarray(deepen(rgb, self._format.tags["color_trc"]), format="rgb48le")
        else:
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        picture = self._reformatter.reformat(
            picture,
            format=self._stream.pix_fmt,
            src_colorspace=self._format.matrix,
            dst_colorspace=self._format.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=self._format.range,
            interpolation=SWS_FLAGS,
        )
        picture.pts, picture.time_base, picture.pict_type = pts, self._format.time_base, 0
        self._pts.append(pts)
        self._mux(self._stream.encode(picture))

    def _mux(self, packets: Iterable[av.Packet[av.VideoStream]]) -> None:
        for packet in packets:
            assert packet.pts is not None
            number = self._pts.index(packet.pts, max(0, self._order - FIRST_NUMBER))
            self._delay = max(self._delay, self._order - number)
            packet.time_base = Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = number + FIRST_NUMBER, self._order, 1
            self._order += 1
            self._container.mux(packet)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self, *, complete: bool = True) -> Segment:
        """Flush the encoder. If `complete`, the segment counts as such from now on, also for a later run."""
        self._mux(self._stream.encode(None))
        self._container.close()
        if self._order != len(self._pts):
            raise OutputError(f"{self._plan.encoder} gave {self._order} packets for {len(self._pts)} frames")
        segment = Segment(self.path, self._pts, self._delay)
        if complete:
            segment.complete()
        return segment

    def abandon(self) -> None:
        """Close without caring for what is in the file."""
        with contextlib.suppress(Exception):  # whatever is wrong with it was reported already
            self._container.close()


def reason(error: Exception) -> str:
    """What an error of PyAV or the system says, without its number."""
    return getattr(error, "strerror", None) or str(error)
