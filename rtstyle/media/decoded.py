"""What is made of decoded frames: rising time stamps, whole frames of interlaced ones, RGB."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from rtstyle.media.color import is_hdr, to_8_bits
from rtstyle.media.segments import SWS_FLAGS
from rtstyle.media.stream import COLOR_TAGS, StreamFormat

STATIC_HDR = SideDataType.MASTERING_DISPLAY_METADATA, SideDataType.CONTENT_LIGHT_LEVEL
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


def format_of(
    frame: av.VideoFrame, stream: av.VideoStream, time_base: Fraction, rate: Fraction
) -> tuple[StreamFormat, list[str]]:
    """(the format of a stream, as only a decoded frame knows it for sure, notes on what of it cannot be kept)."""
    notes = []
    hdr = is_hdr(int(frame.color_trc))
    side_data = cast(Iterable[SideData], frame.side_data)
    if hdr and any(data.type in STATIC_HDR for data in side_data):
        notes.append("the static HDR metadata (mastering display, light levels) is not kept")
    if stream.metadata.get("alpha_mode") == "1" or len(frame.format.components) in (2, 4):
        notes.append("transparency is not kept")
    found = StreamFormat(
        width=stream.width,
        height=stream.height,
        time_base=time_base,
        rate=rate,
        sample_aspect=stream.sample_aspect_ratio or None,
        rotation=frame.rotation,
        matrix=int(matrix_of(frame)),
        range=int(range_of(frame)),
        tags={name: int(getattr(frame, name)) for name in COLOR_TAGS},
        bits=max(component.bits for component in frame.format.components),
        hdr=hdr,
    )
    return found, notes


def to_rgb(reformatter: VideoReformatter, frame: av.VideoFrame, size: tuple[int, int], *, hdr: bool) -> np.ndarray:
    """uint8 [H, W, 3] of a decoded frame in the stream's size (width, height); HDR becomes what a common screen
    shows."""
    matrix, full = matrix_of(frame), range_of(frame)
    rgb = reformatter.reformat(
        frame,
        width=size[0],
        height=size[1],
        format="rgb48le" if hdr else "rgb24",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=full,
        dst_color_range=ColorRange.JPEG,
        interpolation=SWS_FLAGS,
    ).to_ndarray()
    return to_8_bits(int(frame.color_trc))[rgb] if hdr else rgb


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
