"""Segments and the source's other streams into one file, without encoding the video again."""

from __future__ import annotations

import dataclasses
import errno
import heapq
import shutil
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias, cast

import av
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Stream

from rtstyle.errors import OutputError
from rtstyle.media.encoding import Plan
from rtstyle.media.segments import Segment, reason
from rtstyle.media.stream import StreamFormat, local_file

Packet: TypeAlias = "av.Packet[Stream]"

MOVIES = ("mp4", "mov")
# what muxers, and the filters in them, say of packets and streams that they cannot make sense of
DAMAGED = (av.error.ArgumentError, av.error.InvalidDataError, av.error.PatchWelcomeError)
# Kinds of streams to do without, one set after another, until the container begins and ends.
STREAM_FALLBACKS = (
    (),
    ("attachment", "data"),
    ("attachment", "data", "subtitle"),
    ("attachment", "data", "subtitle", "video"),
    ("attachment", "data", "subtitle", "video", "audio"),
)
# What a muxer writes itself, or what was true of the source's own coding only.
NOT_COPIED = ("encoder", "major_brand", "minor_version", "compatible_brands", "vendor_id", "duration")


@dataclasses.dataclass
class TimeRange:
    """The part of the source that is kept, in seconds of its own clock; None: to its beginning or end. What is kept
    starts at `origin` of the source's clock, which becomes zero, if something was cut off the beginning."""

    start: float | None = None
    end: float | None = None

    @property
    def origin(self) -> float:
        return self.start or 0.0

    def holds(self, seconds: float) -> bool:
        return (self.start is None or seconds >= self.start) and (self.end is None or seconds < self.end)


class Remuxer:
    """Writes `out` from complete segments and from the streams of `source` that are copied along.

    The painted stream takes its metadata, rotation and disposition from number `stream_index` of the source; without a
    source (None) the video is alone. `notes` says what could not be kept.
    """

    def __init__(
        self,
        source: Path | None,
        out: Path,
        plan: Plan,
        format: StreamFormat,
        *,
        stream_index: int | None,
        audio_codec: str = "copy",
        time_range: TimeRange,
    ):
        self.source, self.out, self.plan, self.format = source, out, plan, format
        self._index, self._audio_codec, self._range = stream_index, audio_codec, time_range
        self.notes: list[str] = []

    def write(self, segments: Sequence[Segment]) -> None:
        """Raises RtstyleError if the container refuses the video."""
        if self.plan.format == "gif":
            self._write_gif(segments)
            return
        if self.source is None:
            self._write_alone(segments)
            return
        for left_out in STREAM_FALLBACKS:
            self.notes.clear()
            try:
                with av.open(local_file(self.source), metadata_errors="replace") as source:  # from its beginning
                    self._write_with(source, segments, left_out)
                return
            except _Refused as refused:
                problem = str(refused)
            except DAMAGED as error:  # it shows at the end
                problem = reason(error)
            except OSError as error:
                if not self._head_grew(error):
                    raise
                problem = "the head of a stream grew too long"
        raise OutputError(f"{self.plan.format} takes no such video ({problem}): choose another `container`")

    def _head_grew(self, error: OSError) -> bool:
        """Whether what looks like a full disk is Matroska's word for a stream whose head, changed by its packets, has
        no room where it was."""
        return error.errno == errno.ENOSPC and shutil.disk_usage(self.out.parent).free > self.out.stat().st_size

    def _write_with(self, source: InputContainer, segments: Sequence[Segment], left_out: tuple[str, ...]) -> None:
        """Raises _Refused if the container does not even begin with these streams."""
        options = self._container_options(source)
        with (
            av.open(local_file(self.out), "w", format=self.plan.format, container_options=options) as out,
            av.open(local_file(segments[0].path)) as first,
        ):
            original = None if self._index is None else source.streams[self._index]
            video = self._add_video(out, first.streams.video[0], original)
            copies = self._add_others(out, source, left_out)
            self._copy_facts(source, out)
            try:
                out.start_encoding()
            except (av.FFmpegError, ValueError) as error:
                raise _Refused(reason(error)) from None
            others, lost = self._other_packets(source, copies), 0
            for packet in heapq.merge(self._video_packets(segments, video), others, key=_due):
                try:
                    out.mux(packet)
                except DAMAGED as error:
                    if packet.stream is video:  # its packets are our own
                        text = f"{self.plan.format} refuses the video's time stamps ({reason(error)})"
                        raise OutputError(text) from None
                    lost += 1
            if lost:
                self.notes.append(f"{lost} damaged packets of other streams than the picture are left out")

    def _write_alone(self, segments: Sequence[Segment]) -> None:
        """The video, and nothing else."""
        options = {"movflags": "+faststart"} if self.plan.format in MOVIES else {}
        with (
            av.open(local_file(self.out), "w", format=self.plan.format, container_options=options) as out,
            av.open(local_file(segments[0].path)) as first,
        ):
            for packet in self._video_packets(segments, self._add_video(out, first.streams.video[0], None)):
                out.mux(packet)

    def _write_gif(self, segments: Sequence[Segment]) -> None:
        """Every frame gets a palette of its own (FFmpeg's palettegen and paletteuse)."""
        self.notes.append("GIF counts hundredths of a second and has no sound")
        format, pts = self.format, [pts for segment in segments for pts in segment.pts]
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=format.width, height=format.height, format=av.VideoFormat("bgr0"), time_base=format.time_base
        )
        split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        use, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
        source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        with av.open(local_file(self.out), "w", format="gif", container_options={"loop": "0"}) as out:
            stream = out.add_stream("gif", rate=format.rate)
            stream.width, stream.height, stream.pix_fmt = format.width, format.height, "pal8"
            stream.codec_context.time_base = Fraction(1, 100)
            hundredths = -1
            for stamp, frame in zip(pts, _decoded(segments), strict=True):
                frame.pts, frame.time_base = stamp, format.time_base
                graph.vpush(frame)
                done = graph.vpull()
                hundredths = max(hundredths + 1, round((stamp - pts[0]) * format.time_base * 100))
                done.pts, done.time_base = hundredths, Fraction(1, 100)
                out.mux(stream.encode(done))
            out.mux(stream.encode(None))

    def _container_options(self, source: InputContainer) -> dict[str, str]:
        if self.plan.format not in MOVIES:
            return {}
        # Streams that do not start at zero are delayed in units of the movie's time scale: milliseconds by
        # default, which moves the sound a little. With the sampling rate the delay is exact.
        rates = [s.codec_context.sample_rate for s in source.streams.audio if s.codec_context]
        return {"movflags": "+faststart", "movie_timescale": str(rates[0] if rates else 90000)}

    def _add_video(self, out: OutputContainer, template: av.VideoStream, original: Stream | None) -> av.VideoStream:
        try:
            stream = out.add_stream_from_template(template, opaque=True)  # by the codec alone, not by an encoder's name
        except (av.FFmpegError, ValueError) as error:
            raise OutputError(f"{self.plan.format} takes no {self.plan.encoder} video ({reason(error)})") from None
        stream.time_base = self.format.time_base
        assert isinstance(stream, av.VideoStream)
        if original is not None:
            stream.metadata.update(_kept(original.metadata))
            stream.disposition = original.disposition
        if self.plan.format in MOVIES and stream.codec_context.name == "hevc":
            stream.codec_context.codec_tag = "hvc1"  # the only one that Apple's players take
        if self.format.rotation:
            stream.set_display_rotation(self.format.rotation)
        return stream

    def _add_others(
        self, out: OutputContainer, source: InputContainer, left_out: tuple[str, ...]
    ) -> dict[int, Stream | Transcoder]:
        """{stream of the source: what to do with its packets}, without the kinds to do without."""
        copies: dict[int, Stream | Transcoder] = {}
        for stream in source.streams:
            if stream.index == self._index:
                continue
            try:
                if stream.type in left_out or (stream.type == "attachment" and self.plan.format != "matroska"):
                    raise ValueError(_elsewhere(self.plan))
                if isinstance(stream, AttachmentStream):
                    name = stream.metadata.get("filename", f"attachment-{stream.index}")
                    out.add_attachment(name, stream.mimetype or "application/octet-stream", stream.data)
                elif isinstance(stream, av.AudioStream) and self._audio_codec != "copy":
                    copies[stream.index] = Transcoder(out, stream, self._audio_codec)
                else:
                    copies[stream.index] = self._add_copy(out, stream)
            except (av.FFmpegError, OSError, ValueError, NotImplementedError, AttributeError) as error:
                kind = getattr(getattr(stream.codec_context, "codec", None), "canonical_name", "")
                help_ = "`audio_codec='opus'` converts it, " if stream.type == "audio" else ""
                self.notes.append(
                    f"stream {stream.index} ({' '.join(filter(None, (stream.type, kind)))}) does not fit into "
                    f"{self.plan.format} and is left out ({help_}{reason(error)})"
                )
        return copies

    def _add_copy(self, out: OutputContainer, stream: Stream) -> Stream:
        codec = stream.codec_context
        name = codec.codec.canonical_name if codec is not None else None
        if name is not None and name not in out.supported_codecs:
            raise ValueError(_elsewhere(self.plan))
        copy = out.add_stream_from_template(stream, opaque=True)
        copy.metadata.update(_kept(stream.metadata))
        copy.disposition = stream.disposition
        return copy

    def _copy_facts(self, source: InputContainer, out: OutputContainer) -> None:
        out.metadata.update(_kept(source.metadata))
        begin, end = Fraction(self._range.origin).limit_denominator(10**6), self._range.end
        chapters = []
        for chapter in source.chapters():
            if (base := chapter["time_base"]) is None:
                continue
            first, last = chapter["start"] * base, chapter["end"] * base
            if (end is None or first < end) and last > begin:
                kept = chapter.copy()
                kept["start"] = round(max(Fraction(0), first - begin) / base)
                kept["end"] = round((last if end is None else min(last, Fraction(end))) / base) - round(begin / base)
                chapters.append(kept)
        if chapters:
            out.set_chapters(chapters)

    def _video_packets(self, segments: Sequence[Segment], stream: av.VideoStream) -> Iterator[Packet]:
        """All segments' packets with real time stamps. Decoding time stamps are the presentation time stamps, late by
        as many frames as the encoder reorders: rising, and never after the packet is due."""
        shift = round(self._range.origin / self.format.time_base)
        pts = [pts - shift for segment in segments for pts in segment.pts]
        delay = max(segment.delay for segment in segments)
        step = pts[1] - pts[0] if len(pts) > 1 else max(1, round(1 / (self.format.rate * self.format.time_base)))
        ends = [*pts[1:], pts[-1] + (pts[-1] - pts[-2] if len(pts) > 1 else step)]
        base = order = 0
        for segment in segments:
            for number, packet in segment.packets():
                place = base + number
                packet.stream, packet.time_base = stream, self.format.time_base
                packet.pts = pts[place]
                packet.dts = pts[order - delay] if order >= delay else pts[0] - (delay - order) * step
                packet.duration = ends[place] - pts[place]
                order += 1
                yield cast("av.Packet[Stream]", packet)
            base += len(segment.pts)

    def _other_packets(self, source: InputContainer, copies: dict[int, Stream | Transcoder]) -> Iterator[Packet]:
        streams = [source.streams[index] for index in copies]
        if not streams:
            return
        if self._range.start:
            source.seek(int(self._range.start * av.time_base))
        packets = source.demux(streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError):
                break  # the same damage was met, and counted, when the frames were read
            if packet.dts is None and not packet.size:
                continue  # PyAV's own flushing packets
            yield from self._pass_on(packet, copies[packet.stream.index])
        for copy in copies.values():
            if isinstance(copy, Transcoder):
                yield from copy.flush()

    def _pass_on(self, packet: Packet, copy: Stream | Transcoder) -> Iterator[Packet]:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and not self._range.holds(float(stamp * packet.time_base)):
            return
        if isinstance(copy, Transcoder):
            yield from copy.feed(packet, self._range.origin)
            return
        if self._range.origin:
            shift = round(self._range.origin / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = copy
        yield packet


class _Refused(Exception):
    """The container does not take this set of streams."""


def _elsewhere(plan: Plan) -> str:
    return "not even Matroska holds it" if plan.format == "matroska" else "`container='mkv'` holds it"


def _decoded(segments: Sequence[Segment]) -> Iterator[av.VideoFrame]:
    for segment in segments:
        with av.open(local_file(segment.path)) as container:
            yield from container.decode(container.streams.video[0])


def _due(packet: Packet) -> float:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return float("-inf") if stamp is None else float(stamp * packet.time_base)


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    """Without what is not true any more, and Matroska's statistics of the old packets."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in NOT_COPIED and not key.startswith(("_STATISTICS", "BPS", "NUMBER_OF", "DURATION"))
    }


class Transcoder:
    """One audio stream, decoded and encoded again, because the container or the user wants another codec."""

    def __init__(self, out: OutputContainer, stream: av.AudioStream, codec: str):
        rate = 48000 if codec == "libopus" else stream.codec_context.sample_rate
        target = out.add_stream(codec, rate=rate, layout=stream.codec_context.layout.name)
        assert isinstance(target, av.AudioStream)
        self._stream = target
        self._stream.metadata.update(_kept(stream.metadata))
        self._stream.disposition = stream.disposition
        self._source = stream
        formats = self._stream.codec_context.codec.audio_formats
        sample_format = formats[0].name if formats else "fltp"
        self._resampler = av.AudioResampler(sample_format, target.codec_context.layout.name, rate)

    def feed(self, packet: Packet, origin: float) -> Iterator[Packet]:
        """The packets that come of one of the source's."""
        try:
            frames = self._source.decode(packet)
        except av.FFmpegError:
            return  # a damaged packet of sound
        for frame in frames:
            if origin and frame.pts is not None and frame.time_base:
                frame.pts -= round(origin / frame.time_base)
            for part in self._resampler.resample(frame):
                yield from self._stream.encode(part)

    def flush(self) -> Iterator[Packet]:
        """The last packets."""
        for part in self._resampler.resample(None):
            yield from self._stream.encode(part)
        yield from self._stream.encode(None)
