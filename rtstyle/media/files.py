"""Video files through PyAV: frames out, frames in, everything else copied."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from rtstyle.errors import RtstyleError

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
MATRIX_TAGS = {0: 2}  # H.264 in YCbCr cannot be tagged as RGB: such a source becomes untagged
TAGS = ("colorspace", "color_primaries", "color_trc")
COPIED = ("audio", "subtitle")
HOW = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


@dataclasses.dataclass
class Frame:
    """One decoded frame: `rgb` uint8 [H, W, 3], its presentation time stamp in the stream's time base, the
    matrix and range it was converted with, and the tags (as FFmpeg numbers them) and rotation it came with."""

    rgb: np.ndarray
    pts: int
    matrix: int
    range: int
    tags: dict[str, int]
    rotation: int


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
    """Reads one video stream as RGB and passes the packets of the streams to copy along, in file order.

    Iterating yields `Frame` objects and `av.Packet` objects. `damaged` counts packets that could not be
    decoded or lie beyond the end of a cut-off file, which are skipped, and frames that the decoder patched up.
    Raises RtstyleError if the file cannot be opened or has no video.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.damaged = 0
        self._reformatter = VideoReformatter()
        if not Path(path).exists():
            raise RtstyleError(f"{path} does not exist")
        if Path(path).is_dir():
            raise RtstyleError(f"{path} is a folder: give a video file")
        try:
            self.container = av.open(os.fspath(path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise RtstyleError(f"{path} is not a video that can be opened ({_reason(error)})") from None
        try:
            self.stream = self._choose_stream()
        except BaseException:
            self.container.close()
            raise
        self.stream.thread_type = "AUTO"
        size = os.path.getsize(path)
        self.damaged += sum(entry.pos + entry.size > size for entry in self.stream.index_entries)
        self.others = [s for s in self.container.streams if s.index != self.stream.index]

    def _choose_stream(self):
        still = av.stream.Disposition.attached_pic
        moving = [s for s in self.container.streams.video if not s.disposition & still]
        if not moving:
            raise RtstyleError(f"{self.path} has no video stream")
        best = self.container.streams.best("video")
        stream = best if best in moving else moving[0]
        if stream.codec_context is None or not stream.width or not stream.height:
            raise RtstyleError(f"{self.path} has a video stream that cannot be decoded here")
        return stream

    @property
    def frame_count(self) -> int | None:
        """How many frames there are, exactly or by duration and rate; None if the file does not say."""
        if self.stream.frames:
            return self.stream.frames
        rate = self.stream.average_rate or self.stream.guessed_rate
        if self.stream.duration and self.stream.time_base:
            seconds = float(self.stream.duration * self.stream.time_base)
        elif self.container.duration:
            seconds = self.container.duration / av.time_base
        else:
            return None
        return max(1, round(seconds * rate)) if rate else None

    def __iter__(self) -> Iterator[Frame | av.Packet]:
        last = None
        step = self._frame_step()
        for packet in self._packets():
            if packet is not None and packet.stream is not self.stream:
                yield packet
                continue
            for frame in self._decode(packet):
                pts = frame.pts if frame.pts is not None else (0 if last is None else last + step)
                if last is not None and pts <= last:
                    pts = last + 1  # damaged or missing stamps: keep the order that the decoder gave
                last = pts
                self.damaged += frame.is_corrupt
                yield self._to_rgb(frame, pts)

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self.stream.decode(packet)
        except (av.FFmpegError, EOFError):
            self.damaged += 1
            return []

    def _packets(self) -> Iterator[av.Packet | None]:
        """Packets in file order; None last of all, to empty the decoder."""
        packets = self.container.demux([self.stream, *(s for s in self.others if s.type in COPIED)])
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

    def _frame_step(self) -> int:
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        return max(1, round(1 / (rate * self.stream.time_base)))

    def _to_rgb(self, frame: av.VideoFrame, pts: int) -> Frame:
        matrix, full = matrix_of(frame), range_of(frame)
        rgb = self._reformatter.reformat(
            frame,
            width=self.stream.width,
            height=self.stream.height,
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=full,
            dst_color_range=ColorRange.JPEG,
            interpolation=HOW,
        )
        tags = {name: int(getattr(frame, name)) for name in TAGS}
        return Frame(rgb.to_ndarray(), pts, matrix, full, tags, frame.rotation)

    def close(self) -> None:
        self.container.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class VideoWriter:
    """Writes H.264 video like the reader's stream (size, time base, colour tags, rotation) and copied packets.

    `first` is the first frame to come: only a decoded frame knows its colours and rotation for sure. `notes`
    tells what could not be kept. Raises RtstyleError if the container or encoder refuses.
    """

    def __init__(self, path: str | os.PathLike, reader: VideoReader, first: Frame):
        self.notes: list[str] = []
        self._reformatter = VideoReformatter()
        try:
            self.container = av.open(os.fspath(path), "w", container_options=_container_options(path, reader))
        except (av.FFmpegError, OSError, ValueError) as error:
            kind = Path(path).suffix or "no ending"
            raise RtstyleError(f"cannot write a video with {kind} ({_reason(error)}): use .mp4, .mkv or .mov") from None
        try:
            self.stream = self._add_video(reader.stream, first)
            self.copies = self._add_copies(reader)
        except BaseException:
            self.abandon()
            raise

    def _add_video(self, source, first: Frame):
        try:
            stream = self.container.add_stream("libx264", rate=source.average_rate or source.guessed_rate or 25)
        except (av.FFmpegError, ValueError) as error:
            raise RtstyleError(f"this container takes no H.264 ({_reason(error)}): use .mp4, .mkv or .mov") from None
        codec = stream.codec_context
        stream.width, stream.height = source.width, source.height
        odd = source.width % 2 or source.height % 2
        stream.pix_fmt = "yuv444p" if odd else "yuv420p"  # halved colour planes need even sizes
        if odd:
            self.notes.append(
                f"{source.width}x{source.height} is odd: written as 4:4:4 H.264, which some players refuse"
            )
        stream.time_base = codec.time_base = source.time_base
        # without cpu-independent, x264's macroblock tree differs from run to run for the same frames
        codec.options = {"preset": "veryfast", "crf": "18", "x264-params": "cpu-independent=1"}
        if source.sample_aspect_ratio:
            codec.sample_aspect_ratio = source.sample_aspect_ratio
        for tag, value in first.tags.items():
            setattr(codec, tag, MATRIX_TAGS.get(value, value) if tag == "colorspace" else value)
        codec.color_range = first.range
        if first.rotation:
            stream.set_display_rotation(first.rotation)
        stream.metadata.update({k: v for k, v in source.metadata.items() if k in ("language", "title", "handler_name")})
        return stream

    def _add_copies(self, reader: VideoReader) -> dict[int, av.stream.Stream]:
        copies = {}
        for source in reader.others:
            if source.type not in COPIED:
                self.notes.append(f"stream {source.index} ({source.type}) is not copied")
            elif source.codec_context is None or source.codec_context.codec.canonical_name not in (
                self.container.supported_codecs
            ):
                self.notes.append(f"stream {source.index} ({source.type}) does not fit this container and is left out")
            else:
                copies[source.index] = self.container.add_stream_from_template(source)
        return copies

    def write(self, frame: Frame) -> None:
        """Encode one frame at its time stamp."""
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame.rgb),
            format=self.stream.pix_fmt,
            src_colorspace=frame.matrix,
            dst_colorspace=frame.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=frame.range,
            interpolation=HOW,
        )
        picture.pts, picture.time_base = frame.pts, self.stream.codec_context.time_base
        picture.pict_type = 0
        self.container.mux(self.stream.encode(picture))

    def copy(self, packet: av.Packet) -> None:
        """Pass a packet of a copied stream on, bit for bit."""
        if packet.stream.index in self.copies:
            packet.stream = self.copies[packet.stream.index]
            self.container.mux(packet)

    def finish(self) -> None:
        """Flush the encoder and write the index."""
        self.container.mux(self.stream.encode(None))
        self.container.close()

    def abandon(self) -> None:
        """Close without caring for what is in the file."""
        with contextlib.suppress(Exception):
            self.container.close()


def _container_options(path, reader: VideoReader) -> dict[str, str]:
    if Path(path).suffix.lower() not in (".mp4", ".m4v", ".mov"):
        return {}
    # Streams that do not start at zero are delayed in units of the movie's time scale: milliseconds by
    # default, which moves the sound a little. With the sampling rate the delay is exact.
    rates = [s.codec_context.sample_rate for s in reader.others if s.type == "audio" and s.codec_context]
    return {"movflags": "+faststart", "movie_timescale": str(rates[0] if rates else 90000)}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
