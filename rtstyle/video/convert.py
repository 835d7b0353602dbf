"""A video file in, the painted video file out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtstyle.errors import InputError, Interrupted, OutputError
from rtstyle.files import check_output
from rtstyle.media.encoding import Encoding, check_audio, container_of
from rtstyle.media.remuxer import TimeRange
from rtstyle.media.segments import MEDIA_ERRORS, reason
from rtstyle.media.stream import Frame, Source
from rtstyle.paint.painter import FramePainter, Painter, PreparedFrame
from rtstyle.paint.stylizer import MIN_SIDE
from rtstyle.paint.work_height import EnlargementWarning
from rtstyle.video.inputs import open_source, prepare_folder
from rtstyle.video.pipeline import Loads, Stage, each, run_stages
from rtstyle.video.resume import SEGMENT_FRAMES, Job, file_identity
from rtstyle.video.schedule import Schedule
from rtstyle.video.sinks import PictureFolderSink, VideoFileSink, VideoSink

DEPTH = 2  # frames that may wait between two stages
MAX_BATCH = 8  # frames in one run of the net, where it takes batches
MAX_BATCH_PIXELS = 1 << 24
WARM_UP = 8  # frames painted before a segment begins, so that steadiness does not start from nothing


@dataclasses.dataclass
class Progress:
    """How far a video is: frames encoded, frames expected (None if unknown, or if more came than were expected; right
    in the last one), seconds since the start, bytes written so far, and the share of the time that each stage (decode,
    prepare, paint, finish, encode) was busy."""

    done: int
    total: int | None
    seconds: float
    bytes: int = 0
    loads: dict[str, float] = dataclasses.field(default_factory=dict)


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
    numbered pictures (`fps` a second), `out` a folder for them (with a slash at its end).

    Decoding, painting and encoding overlap in threads of their own. The painted video grows in segments of
    `segment_frames` in a folder beside `out`; a run that was interrupted or killed goes on from there with `resume`, to
    the same packets. `out` appears only when it is complete; after Ctrl-C what is done so far is kept beside it under a
    name that says `partial`, and Interrupted is raised. Raises RtstyleError for anything the user can put right; then
    `out` is as it was.
    """
    encoding, time_range = encoding or Encoding(), time_range or TimeRange()
    painter = Painter(stylizer, strength=strength, keep_color=keep_color, steady=steady)
    schedule = Schedule(stylizer, style_at)
    to_folder = str(out).endswith(("/", os.sep))
    if Path(source).exists() and not to_folder:  # a missing source is the reader's to report
        check_output(out, force=force, inputs=[source])
    with contextlib.closing(open_source(source, fps)) as reader, contextlib.ExitStack() as stack:
        if min(reader.size) < MIN_SIDE:
            raise InputError(f"{source} is smaller than {MIN_SIDE} pixels: too small to paint")
        EnlargementWarning(stylizer).check(*reader.size)
        try:
            if to_folder:
                folder = prepare_folder(out, source, force=force or resume)
                sink: VideoSink = PictureFolderSink(
                    folder, reader, resume=resume, force=force, segment_frames=segment_frames
                )
            else:
                format, _ = container_of(Path(out), encoding)
                encoding = dataclasses.replace(encoding, audio_codec=check_audio(encoding, format))
                identity = _identity(source, painter, schedule, encoding, time_range, fps, segment_frames)
                job = stack.enter_context(Job(Path(out), identity, resume=resume, segment_frames=segment_frames))
                sink = VideoFileSink(Path(out), reader, job, encoding, time_range, force=force)
            return _Conversion(reader, sink, painter, schedule, time_range, segment_frames, progress).run()
        except MEDIA_ERRORS as error:
            raise OutputError(f"{out} could not be written ({reason(error)}): nothing was changed") from error


def _identity(
    source: str | os.PathLike[str],
    painter: Painter,
    schedule: Schedule,
    encoding: Encoding,
    time_range: TimeRange,
    fps: float | None,
    segment_frames: int,
) -> Mapping[str, Any]:
    """Everything that the packets depend on, as JSON."""
    stylizer = painter.stylizer
    code = b"" if stylizer.code is None else np.ascontiguousarray(stylizer.code, np.float32).tobytes()
    return {
        "source": file_identity(source),
        "style": hashlib.sha256(code).hexdigest(),
        "changes of style": [[seconds, code.tolist()] for seconds, code in schedule.changes],
        "model": file_identity(stylizer.path),
        "device": stylizer.device.name,
        "work height": [stylizer.work_height, stylizer.reference_height],
        "strength": painter.strength,
        "colours": painter.keep_color,
        "steadiness": painter.steady,
        "encoding": dataclasses.asdict(encoding),
        "range": dataclasses.asdict(time_range),
        "frame rate": fps,
        "segments": [segment_frames, WARM_UP],
    }


@dataclasses.dataclass(frozen=True)
class _Work:
    """A frame between decoding and encoding: whether it is `kept` or only warms up, its code and how much of the
    past may show, what the painter prepared, and the net's painting of that, once there."""

    frame: Frame
    kept: bool
    code: np.ndarray | None
    history_weight: float
    prepared: PreparedFrame
    painted: np.ndarray | None = None


def batch_size(stylizer: FramePainter, size: tuple[int, int]) -> int:
    """How many frames of this size (width, height) go through the net in one batch: a GPU has too little to do with
    one small frame, a CPU has not."""
    if stylizer.device.on_processor:
        return 1
    most = min(MAX_BATCH, max(1, MAX_BATCH_PIXELS // (size[0] * size[1])))
    return 1 << most.bit_length() - 1  # a power of 2: GPUs have a session for each of those


def batches(works: Iterable[_Work], most: int) -> Iterator[list[_Work]]:
    """Neighbours that have the same code, up to `most` at a time."""
    batch: list[_Work] = []
    for work in works:
        if batch and work.code is not batch[0].code:
            yield batch
            batch = []
        batch.append(work)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


class _Conversion:
    """One run: read, paint and write what is still missing."""

    def __init__(
        self,
        source: Source,
        sink: VideoSink,
        painter: Painter,
        schedule: Schedule,
        time_range: TimeRange,
        segment_frames: int,
        progress: Callable[[Progress], None] | None,
    ):
        self.source, self.sink, self.painter, self.schedule = source, sink, painter, schedule
        self.range, self._segment_frames, self._progress = time_range, segment_frames, progress
        self._recent: deque[Frame] = deque(maxlen=WARM_UP)
        self._loads = Loads(("decode", "prepare", "paint", "finish", "encode"))
        self._begin = self._loads.timed("prepare", self._prepared)
        self._total = self._expected()
        self._started = time.monotonic()

    def run(self) -> Result:
        """Raises Interrupted after Ctrl-C, when what is done so far is kept."""
        interrupted = False
        try:
            with contextlib.closing(self._frames_written()) as written:  # its threads have ended behind the block
                for count in written:
                    self._report(count)
            if self._total != self.sink.frames > 0:  # it was an estimate
                self._total = self.sink.frames
                self._report(self._total)
        except KeyboardInterrupt:
            interrupted = True
        except BaseException:
            self.sink.abandon()
            raise
        if interrupted:
            raise Interrupted(self._interrupted())
        if self.sink.frames == 0:
            where = "" if self.range == TimeRange() else " in this range"
            raise InputError(f"{self.source.path} holds no frame that can be decoded{where}")
        try:
            self.sink.close()
        except KeyboardInterrupt:
            again = "; `resume=True` goes on" if self.painter.stylizer.resumable else ""
            raise Interrupted(f"interrupted: all frames are painted, but the file is not complete{again}") from None
        notes = [*self.source.notes, *self.sink.notes]
        seconds = time.monotonic() - self._started
        return Result(self.sink.frames, self.sink.resumed, self.source.damaged, seconds, notes)

    def _interrupted(self) -> str:
        resumable = self.painter.stylizer.resumable
        if self.sink.frames > self.sink.resumed:
            return f"interrupted: {self.sink.keep_partial(resumable)}"
        self.sink.abandon()
        if self.sink.resumed:
            return f"interrupted before a new frame; `resume=True` goes on from frame {self.sink.resumed}"
        return "interrupted before the first frame: nothing was written"

    def _expected(self) -> int | None:
        if self.range == TimeRange():
            return self.source.frame_count
        seconds = self.source.seconds if self.range.end is None else self.range.end
        return None if seconds is None else max(1, round((seconds - self.range.origin) * self.source.rate))

    def _report(self, done: int) -> None:
        if self._total is not None and done > self._total:
            self._total = None
        if self._progress:
            seconds = time.monotonic() - self._started
            self._progress(Progress(done, self._total, seconds, self.sink.size, self._loads.shares()))

    def _frames_written(self) -> Generator[int]:
        """Everything, a stage a thread; gives the number of frames that are written."""
        skip = max(0, self.sink.resumed - WARM_UP)
        frames = self.source.frames(skip=skip, start=self.range.start, end=self.range.end)
        decoded = self._loads.timed_items("decode", frames)
        stages = self._prepare, self._paint(), self._finish(), self._write()
        yield from run_stages(decoded, *stages, depth=DEPTH, abandon=self._abandon)

    def _abandon(self) -> None:
        """Nobody wants what is being painted, and what is being waited for, any more."""
        self.painter.stylizer.abandon()
        self.source.abandon()

    def _prepare(self, frames: Iterator[Frame]) -> Iterator[_Work]:
        """Frames before the point of resumption only warm up what remembers the past. So that a resumed run
        paints the same, every segment begins like that, resumed or not."""
        for frame in frames:
            if frame.number and frame.number % self._segment_frames == 0:
                self.painter.forget()
                self.schedule.reset()
                for earlier in self._recent:
                    yield self._begin(earlier, False)
            if self.painter.steady or self.schedule.changes:
                self._recent.append(frame)
            if frame.number >= self.sink.resumed:
                yield self._begin(frame, True)

    def _prepared(self, frame: Frame, kept: bool) -> _Work:
        code, changing = self.schedule.code_at(float(frame.pts * self.source.format.time_base), frame.rgb)
        return _Work(frame, kept, code, 0.0 if changing else 1.0, self.painter.prepare(frame.rgb))

    def _paint(self) -> Stage:
        run, workers = self.painter.stylizer.for_throughput()
        most = batch_size(self.painter.stylizer, self.source.size)

        def paint(works: list[_Work]) -> list[_Work]:
            painted = self.painter.run([work.prepared for work in works], works[0].code, run=run)
            return [dataclasses.replace(work, painted=one) for work, one in zip(works, painted, strict=True)]

        paint_each = each(self._loads.timed("paint", paint, workers), workers)

        def stage(works: Iterator[_Work]) -> Iterator[_Work]:
            for painted in paint_each(batches(works, most)):
                yield from painted

        return stage

    def _finish(self) -> Stage:
        def finish(work: _Work) -> Frame | None:
            assert work.painted is not None
            rgb = self.painter.finish(work.prepared, work.painted, history_weight=work.history_weight)
            return dataclasses.replace(work.frame, rgb=rgb) if work.kept else None

        finished = self._loads.timed("finish", finish)
        return lambda works: (frame for frame in map(finished, works) if frame is not None)

    def _write(self) -> Stage:
        """The last stage. It has a thread of its own because Ctrl-C strikes the main one anywhere, even between
        encoding a frame and writing what the encoder gave."""

        def write(frame: Frame) -> int:
            self.sink.write(frame.pts, frame.rgb)
            return self.sink.frames

        return each(self._loads.timed("encode", write))
