"""A video file in, the painted video file out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtstyle.errors import InputError, Interrupted, OutputError, UsageError
from rtstyle.files import check_output
from rtstyle.media.encoding import Encoding, check_audio, container_of
from rtstyle.media.remuxer import TimeRange
from rtstyle.media.segments import MEDIA_ERRORS, reason
from rtstyle.media.stream import Frame, Source
from rtstyle.paint.painter import FramePainter, Painter
from rtstyle.paint.stylizer import MIN_SIDE
from rtstyle.paint.work_height import EnlargementWarning
from rtstyle.runtime import devices
from rtstyle.video.inputs import check_folder, open_source, opened_pipe
from rtstyle.video.parts import WARM_UP, Parts
from rtstyle.video.resume import SEGMENT_FRAMES, Identity, Job, content_identity, software
from rtstyle.video.schedule import Schedule
from rtstyle.video.sinks import PictureFolderSink, VideoFileSink, VideoSink
from rtstyle.video.stages import Stages


@dataclasses.dataclass
class Progress:
    """How far a video is: frames encoded, frames expected (None if unknown, or if more came than were expected; right
    in the last one), seconds since the start, bytes written so far, and the share of the time that each stage (decode,
    prepare, paint, finish, encode) was busy; with Ray instead how many frames each machine has painted."""

    done: int
    total: int | None
    seconds: float
    bytes: int = 0
    loads: dict[str, float] = dataclasses.field(default_factory=dict)
    machines: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Result:
    """What came of it: frames written, of these taken over from an interrupted run, damaged ones left out or patched
    up, seconds, and notes for the user."""

    frames: int
    resumed: int
    damaged: int
    seconds: float
    notes: list[str]


def stylize_video(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    stylizer: FramePainter,
    *,
    strength: float = 1.0,
    keep_color: bool = False,
    steady: bool = True,
    style_at: Sequence[tuple[float, str]] = (),
    encoding: Encoding | None = None,
    time_range: TimeRange | None = None,
    fps: float | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
    segment_frames: int = SEGMENT_FRAMES,
) -> Result:
    """Paint every frame of `source` into `out`, at its own time stamp, with the other streams copied.

    `steady` keeps the painting from flickering (rtstyle.paint.stabilizer). `style_at` are changes of style, (seconds of
    the source's clock, style), each a crossfade of half a second that a cut of the scene ends at once. `encoding` is
    codec, quality and container (else by `out`'s ending); `time_range` keeps a part. `source` may be a folder of
    numbered pictures (`fps` a second) or a named pipe, `out` a folder for them (with a slash at its end).

    Decoding, painting and encoding overlap in threads of their own. The painted video grows in segments of
    `segment_frames` in a folder beside `out`; a run that was interrupted or killed goes on from there with `resume`, to
    the same packets. `out` appears only when it is complete; after Ctrl-C what is done so far is kept beside it under a
    name that says `partial`, and Interrupted is raised. Raises RtstyleError for anything the user can put right; then
    `out` is as it was.
    """
    job = Options(
        strength, keep_color, steady, style_at, encoding or Encoding(), time_range or TimeRange(), fps, segment_frames
    )
    with contextlib.ExitStack() as stack:
        if Path(source).is_fifo():
            if resume:
                raise UsageError("a job through a pipe cannot be resumed: leave `resume` out")
            source = stack.enter_context(opened_pipe(os.fspath(source)))
        conversion = stack.enter_context(opened_job(source, out, stylizer, job, resume=resume, force=force))
        conversion.progress = progress
        return conversion.run()


@dataclasses.dataclass(frozen=True)
class Options:
    """Of a conversion, as `stylize_video` takes them. `device` is what paints, where it is not the stylizer's own."""

    strength: float = 1.0
    keep_color: bool = False
    steady: bool = True
    style_at: Sequence[tuple[float, str]] = ()
    encoding: Encoding = dataclasses.field(default_factory=Encoding)
    time_range: TimeRange = dataclasses.field(default_factory=TimeRange)
    fps: float | None = None
    segment_frames: int = SEGMENT_FRAMES
    device: str | None = None


@contextlib.contextmanager
def opened_job(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    stylizer: FramePainter,
    options: Options,
    *,
    resume: bool,
    force: bool,
) -> Iterator[Conversion]:
    """A conversion that is ready to begin, its source open, its output checked and locked. Raises RtstyleError."""
    painter = Painter(stylizer, strength=options.strength, keep_color=options.keep_color, steady=options.steady)
    schedule = Schedule.of(stylizer, options.style_at)
    to_folder = str(out).endswith(("/", os.sep))
    if Path(source).exists() and not to_folder:  # a missing source is the reader's to report
        check_output(out, force=force, inputs=[source])
    with contextlib.closing(open_source(source, options.fps)) as reader, contextlib.ExitStack() as stack:
        if min(reader.size) < MIN_SIDE:
            raise InputError(f"{source} is smaller than {MIN_SIDE} pixels: too small to paint")
        EnlargementWarning(stylizer).check(*reader.size)
        job: Job | None = None
        try:
            n, range, encoding = options.segment_frames, options.time_range, options.encoding
            if to_folder:
                check_folder(out, source)
            else:
                format, _ = container_of(Path(out), encoding)
                encoding = dataclasses.replace(encoding, audio_codec=check_audio(encoding, format))
            content = content_identity(source)
            identity = _identity(content, painter, schedule, dataclasses.replace(options, encoding=encoding))
            job = stack.enter_context(Job(Path(out), identity, resume=resume, segment_frames=n))
            if to_folder:
                sink: VideoSink = PictureFolderSink(Path(out), reader, job, force=force)
                index = None
            else:
                sink = VideoFileSink(Path(out), reader, job, encoding, range, force=force)
                index = reader.index(range.start, range.end)
            conversion = Conversion(reader, sink, painter, schedule, Parts(n, index, range, sink.done), content)
            if index is not None and sink.done:
                conversion.has_frames()  # for the format, by which what is done is joined
            yield conversion
        except MEDIA_ERRORS as error:
            kept = stylizer.resumable and job is not None and job.worth_keeping()
            raise could_not_be_written(out, error, kept=kept) from error


def could_not_be_written(out: str | os.PathLike[str], error: Exception, *, kept: bool = False) -> OutputError:
    """What a full disk, or a muxer that refuses, means to people; `kept` if segments are there to go on from."""
    rest = "what is painted is kept, `resume=True` goes on from there" if kept else "nothing was changed"
    return OutputError(f"{out} could not be written ({reason(error)}): {rest}")


def _identity(content: Identity, painter: Painter, schedule: Schedule, options: Options) -> Mapping[str, Any]:
    """Everything that the packets depend on, as JSON."""
    stylizer = painter.stylizer
    code = b"" if stylizer.code is None else np.ascontiguousarray(stylizer.code, np.float32).tobytes()
    return {
        "source": content,
        "style": hashlib.sha256(code).hexdigest(),
        "changes of style": [[seconds, code.tolist()] for seconds, code in schedule.changes],
        "model": content_identity(stylizer.path),
        "device": devices.kind(options.device or stylizer.device.name),  # whichever of several GPUs
        "work height": [stylizer.work_height, stylizer.reference_height],
        "strength": painter.strength,
        "colours": painter.keep_color,
        "steadiness": painter.steady,
        "encoding": dataclasses.asdict(options.encoding),
        "range": dataclasses.asdict(options.time_range),
        "frame rate": options.fps,
        "segments": [options.segment_frames, WARM_UP],
        "software": software(),
    }


class Conversion:
    """One run: read, paint and write what is still missing."""

    def __init__(
        self,
        source: Source,
        sink: VideoSink,
        painter: Painter,
        schedule: Schedule,
        parts: Parts,
        content: Identity | None = None,
    ):
        self.source, self.sink, self.painter, self.schedule = source, sink, painter, schedule
        self.parts, self.content = parts, content
        self._has_frames: bool | None = None  # not looked yet
        self.progress: Callable[[Progress], None] | None = None
        self._stages = Stages(source, painter, schedule, parts, self._write)
        self.total = self._expected()
        self._started = time.monotonic()

    def has_frames(self) -> bool:
        """Whether a frame can be decoded, of which the source's format is known then. There must be an index."""
        if self._has_frames is None:
            index = self.parts.index
            assert index is not None
            frames = self.source.frames_of(index, 0, len(index.pts)) if len(index.pts) else iter(())
            self._has_frames = next(frames, None) is not None
        return self._has_frames

    def run(self) -> Result:
        """Raises Interrupted after Ctrl-C, when what is done so far is kept."""
        interrupted = False
        try:
            with contextlib.closing(self._stages.run()) as written:
                for count in written:
                    self._report(count)
            if self.total != self.sink.frames > 0:  # it was an estimate
                self.total = self.sink.frames
                self._report(self.total)
        except KeyboardInterrupt:
            interrupted = True
        except BaseException:
            self.sink.abandon()
            raise
        if interrupted:
            raise Interrupted(f"interrupted{self.put_away()}")
        return self.complete()

    def _write(self, frame: Frame) -> int:
        self.sink.write(frame)
        return self.sink.frames

    def complete(self) -> Result:
        """Put the result together, once all frames are written."""
        if self.sink.frames == 0:
            where = "" if self.parts.time_range == TimeRange() else " in this range"
            raise InputError(f"{self.source.path} holds no frame that can be decoded{where}")
        try:
            self.sink.close()
        except KeyboardInterrupt:
            again = "; `resume=True` goes on" if self.painter.stylizer.resumable else ""
            raise Interrupted(f"interrupted: all frames are painted, but the file is not complete{again}") from None
        notes = [*self.source.notes, *self.sink.notes]
        seconds = time.monotonic() - self._started
        return Result(self.sink.frames, self.sink.resumed, self.source.damaged, seconds, notes)

    def put_away(self) -> str:
        """Keep what is painted so far, and say in the rest of a sentence where, and how to go on."""
        resumable = self.painter.stylizer.resumable
        if self.sink.frames > self.sink.resumed:
            return f": {self.sink.keep_partial(resumable)}"
        self.sink.abandon()
        if self.sink.resumed:
            return f" before a new frame; `resume=True` goes on from frame {self.sink.resumed}"
        return " before the first frame: nothing was written"

    def _expected(self) -> int | None:
        range = self.parts.time_range
        if self.parts.index is not None:
            return len(self.parts.index.pts) or None
        if range == TimeRange():
            return self.source.frame_count
        seconds = self.source.seconds if range.end is None else range.end
        return None if seconds is None else max(1, round((seconds - range.origin) * self.source.rate))

    def _report(self, done: int) -> None:
        if self.total is not None and done > self.total:
            self.total = None
        if self.progress:
            seconds = time.monotonic() - self._started
            self.progress(Progress(done, self.total, seconds, self.sink.size, self._stages.shares()))
