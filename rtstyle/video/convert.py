"""A video file in, the painted video file out."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from rtstyle.errors import InputError, Interrupted, OutputError, UsageError
from rtstyle.files import check_output, partial_name
from rtstyle.media.encoding import Encoding, Plan, check_audio, container_of, plan
from rtstyle.media.reader import Frame, VideoReader
from rtstyle.media.remuxer import Joiner, TimeRange
from rtstyle.media.segments import Segment, SegmentWriter
from rtstyle.media.sequence import PictureFolderWriter, PictureSequence
from rtstyle.paint.crossfade import Crossfade
from rtstyle.paint.painter import FramePainter, Painter, PreparedFrame
from rtstyle.paint.scene_cuts import CutDetector
from rtstyle.paint.stylizer import MIN_SIDE
from rtstyle.video.pipeline import Loads, Spread, Through, ahead, run_stages
from rtstyle.video.resume import SEGMENT_FRAMES, Job, file_identity

FADE_SECONDS = 0.5  # of a change of style
DEPTH = 2  # frames that may wait between two stages
MOST_BATCH = 8  # frames in one run of the net, where it takes batches
MOST_BATCH_PIXELS = 1 << 24
WARM_UP = 8  # frames painted before a segment begins, so that steadiness does not start from nothing


@dataclasses.dataclass
class Progress:
    """How far a video is: frames encoded, frames expected (None if unknown), seconds since the start, bytes written so
    far, and the share of the time that each stage (decode, prepare, paint, finish, encode) was busy."""

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
    source: str | os.PathLike,
    out: str | os.PathLike,
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
) -> Result:
    """Paint every frame of `source` into `out`, at its own time stamp, with the other streams copied.

    `steady` keeps the painting from flickering (rtstyle.paint.stabilizer). `style_at` are changes of style, (seconds of
    the source's clock, style), each a crossfade of half a second that a cut of the scene ends at once. `encoding` is
    codec, quality and container (else by `out`'s ending); `time_range` keeps a part. `source` may be a folder of
    numbered pictures (`fps` a second), `out` a folder for them (with a slash at its end); `-` is standard input or
    output.

    Decoding, painting and encoding overlap in threads of their own. The painted video grows in segments in a folder
    beside `out`; a run that was interrupted or killed goes on from there with `resume`, to the same packets. `out`
    appears only when it is complete; after Ctrl-C what is done so far is kept beside it under a name that says
    `partial`, and Interrupted is raised. Raises RtstyleError for anything the user can put right; then `out` is as
    it was.
    """
    encoding, time_range = encoding or Encoding(), time_range or TimeRange()
    painter = Painter(stylizer, strength=strength, keep_color=keep_color, steady=steady)
    schedule = Schedule(stylizer, style_at)
    if "-" in (str(source), str(out)):
        return _through_pipes(source, out, painter, schedule, encoding, time_range, resume, force, fps, progress)
    folder = str(out).endswith(("/", os.sep))
    if Path(source).exists() and not folder:  # a missing source is the reader's to report
        out = check_output(out, force=force, inputs=[source])
    with open_reader(source, fps) as reader:
        if min(reader.size) < MIN_SIDE:
            raise InputError(f"{source} is smaller than {MIN_SIDE} pixels: too small to paint")
        try:
            if folder:
                check_folder(out, source, force=force or resume)
                return _FolderRun(Path(out), resume, reader, painter, schedule, time_range, progress).run()
            format, _ = container_of(out, encoding)
            encoding = dataclasses.replace(encoding, audio_codec=check_audio(encoding, format))
            with Job(out, _identity(source, painter, schedule, encoding, time_range, fps), resume=resume) as job:
                return _FileRun(job, out, reader, painter, schedule, encoding, time_range, progress).run()
        except OSError as error:  # av's errors are OSErrors too
            raise OutputError(f"{out} could not be written ({error.strerror or error}): nothing was changed") from error


def open_reader(source: str | os.PathLike, fps: float | None = None) -> VideoReader | PictureSequence:
    """A video file, or a folder of numbered pictures at `fps` (25) frames a second."""
    if Path(source).is_dir():
        return PictureSequence(source, Fraction(fps or 25).limit_denominator(1001))
    if fps is not None:
        raise UsageError("`fps` is for a folder of pictures: a video keeps its own time stamps")
    return VideoReader(source)


def check_folder(folder: str | os.PathLike, source: str | os.PathLike, *, force: bool) -> None:
    """Make the folder that numbered pictures go to. Raises RtstyleError if it holds some and `force` is not set."""
    folder = Path(folder)
    if Path(source).is_dir() and folder.exists() and os.path.samefile(folder, source):
        raise OutputError(f"the output folder {folder} is the input: choose another")
    if not folder.parent.is_dir():
        raise OutputError(f"the folder {folder.parent} does not exist: create it first")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: leave the slash out, or give a folder")
    if folder.is_dir() and any(folder.glob("*.png")) and not force:
        raise OutputError(f"{folder} holds pictures already: add `force=True` to replace them")
    folder.mkdir(exist_ok=True)


def _through_pipes(source, out, painter, schedule, encoding, time_range, resume, force, fps, progress) -> Result:
    """Standard input or output: a pipe cannot be read twice or written out of order, so a temporary file stands in."""
    if resume:
        raise UsageError("a job through a pipe cannot be resumed: leave `resume` out")
    with tempfile.TemporaryDirectory(prefix="rtstyle-") as folder:
        given, result = source, out
        if str(source) == "-":
            given = Path(folder) / "input"
            with open(given, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        if str(out) == "-":
            encoding = dataclasses.replace(encoding, container=encoding.container or "mkv")
            result = Path(folder) / f"output.{encoding.container}"
        options = {"encoding": encoding, "time_range": time_range, "force": force, "fps": fps, "progress": progress}
        told = stylize_video(
            given,
            result,
            painter.stylizer,
            strength=painter.strength,
            keep_color=painter.keep_color,
            steady=painter.steady,
            style_at=schedule.asked,
            **options,
        )
        if str(out) == "-":
            with open(result, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return told


def _identity(source, painter: Painter, schedule: Schedule, encoding: Encoding, time_range: TimeRange, fps) -> dict:
    """Everything that the packets depend on, as JSON."""
    stylizer = painter.stylizer
    code = b"" if stylizer.code is None else np.ascontiguousarray(stylizer.code, np.float32).tobytes()
    return {
        "source": file_identity(source),
        "style": hashlib.sha256(code).hexdigest(),
        "changes of style": [[seconds, code.tolist()] for seconds, code in schedule.changes],
        "model": file_identity(stylizer.path),
        "device": stylizer.device.name,
        "work height": stylizer.work_height,
        "strength": painter.strength,
        "colours": painter.keep_color,
        "steadiness": painter.steady,
        "encoding": dataclasses.asdict(encoding),
        "range": dataclasses.asdict(time_range),
        "frame rate": fps,
        "segments": [SEGMENT_FRAMES, WARM_UP],
    }


class Schedule:
    """Which style is painted when: the stylizer's, and changes at times of the source's clock."""

    def __init__(self, stylizer: FramePainter, style_at: Sequence[tuple[float, str]]):
        first, self.asked = stylizer.code, style_at
        if style_at and first is None:
            raise UsageError("this model has one style only: its style cannot change")
        self.changes = [(seconds, stylizer.code_of(style)) for seconds, style in sorted(style_at)]
        self._fades = [Crossfade(first)]
        for seconds, code in self.changes:
            self._fades.append(Crossfade(code, self._fades[-1].end, seconds, FADE_SECONDS, smooth=False))
        self._cuts = CutDetector()
        self._cut_at = float("-inf")

    def forget(self) -> None:
        """Begin anew: no cut was seen yet."""
        self._cuts, self._cut_at = CutDetector(), float("-inf")

    def at(self, seconds: float, frame: np.ndarray) -> tuple[np.ndarray | None, bool]:
        """(the code for this frame, whether it is changing). Frames must come in order."""
        if self.changes and self._cuts(frame):
            self._cut_at = seconds
        fade = next(fade for fade in reversed(self._fades) if fade.start <= seconds)
        if self._cut_at > fade.start:
            return fade.end, False
        return fade.at(seconds), fade.active(seconds)


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


def most_at_once(stylizer: FramePainter, size: tuple[int, int]) -> int:
    """How many frames of this size (width, height) go through the net in one batch: a GPU has too little to do with
    one small frame, a CPU has not."""
    if stylizer.device.kind == "cpu":
        return 1
    most = min(MOST_BATCH, max(1, MOST_BATCH_PIXELS // (size[0] * size[1])))
    return 1 << most.bit_length() - 1  # a power of 2: cards have a session for each of those


def batches(works: Iterable[_Work], most: int) -> Iterator[list[_Work]]:
    """Neighbours that have the same code, up to `most` at a time."""
    batch: list[_Work] = []
    for work in works:
        if batch and (len(batch) == most or work.code is not batch[0].code):
            yield batch
            batch = []
        batch.append(work)
    if batch:
        yield batch


class _Run:
    """One run: decode, paint and write what is still missing; `_write` and `_end` say where to."""

    done = resumed = 0

    def __init__(
        self, reader: VideoReader | PictureSequence, painter: Painter, schedule: Schedule, time_range, progress
    ):
        self.reader, self.painter, self.schedule = reader, painter, schedule
        self.time_range, self._progress = time_range, progress
        self._recent: deque[Frame] = deque(maxlen=WARM_UP)
        self.loads = Loads(("decode", "prepare", "paint", "finish", "encode"))
        self.started = time.monotonic()

    def run(self) -> Result:
        interrupted = False
        total = self._total()
        stages = Through(self._begin_all), self._net(), self._finish, self._write_counted
        items = run_stages(
            self._frames(), *stages, depth=DEPTH, loads=self.loads, abandon=self.painter.stylizer.abandon
        )
        try:
            try:
                for written in items:
                    if self._progress and written:
                        seconds = time.monotonic() - self.started
                        self._progress(Progress(written, total, seconds, self.bytes(), self.loads.shares()))
            finally:
                items.close()  # the threads have ended when this returns: what was written is ours again
        except KeyboardInterrupt:
            interrupted = True
        except BaseException:
            self._abandon()
            raise
        if self.done == 0:
            if interrupted:
                raise Interrupted("interrupted before the first frame: nothing was written")
            where = "" if self.time_range == TimeRange() else " in this range"
            raise InputError(f"{self.reader.path} holds no frame that can be decoded{where}")
        return self._end(interrupted)

    def _total(self) -> int | None:
        if self.time_range == TimeRange():
            return self.reader.frame_count
        seconds = self.reader.seconds if self.time_range.end is None else self.time_range.end
        return None if seconds is None else max(1, round((seconds - self.time_range.origin) * self.reader.rate))

    def _frames(self) -> Iterator[Frame]:
        skip = max(0, self.resumed - WARM_UP)
        for frame in self.reader.frames(skip=skip, start=self.time_range.start, end=self.time_range.end):
            if frame.rgb is not None:
                yield frame

    def _begin_all(self, frames: Iterator[Frame]) -> Iterator[_Work]:
        """Frames before the point of resumption only warm up what remembers the past. So that a resumed run
        paints the same, every segment begins like that, resumed or not."""
        for frame in frames:
            if frame.number and frame.number % SEGMENT_FRAMES == 0:
                self.painter.forget()
                self.schedule.forget()
                for earlier in self._recent:
                    yield self._begin(earlier, kept=False)
            if self.painter.steady or self.schedule.changes:
                self._recent.append(frame)
            if frame.number >= self.resumed:
                yield self._begin(frame, kept=True)

    def _begin(self, frame: Frame, kept: bool) -> _Work:
        code, changing = self.schedule.at(float(frame.pts * self.reader.look.time_base), frame.rgb)
        return _Work(frame, kept, code, 0.0 if changing else 1.0, self.painter.prepare(frame.rgb))

    def _net(self) -> Spread | Through:
        run, workers = self.painter.stylizer.for_throughput()

        def paint(works: list[_Work]) -> list[_Work]:
            painted = self.painter.run([work.prepared for work in works], works[0].code, run=run)
            return [dataclasses.replace(work, painted=one) for work, one in zip(works, painted, strict=True)]

        most = most_at_once(self.painter.stylizer, self.reader.size)
        if most == 1:
            return Spread(lambda work: paint([work])[0], workers)
        return Through(lambda works: itertools.chain.from_iterable(ahead(paint, batches(works, most), workers)))

    def _finish(self, work: _Work) -> Frame | None:
        rgb = self.painter.finish(work.prepared, work.painted, history_weight=work.history_weight)
        return dataclasses.replace(work.frame, rgb=rgb) if work.kept else None

    def _write_counted(self, frame: Frame | None) -> int | None:
        """The last stage. It has a thread of its own because Ctrl-C strikes the main one anywhere, even between
        encoding a frame and writing what the encoder gave."""
        if frame is None:
            return None
        self._write(frame)
        self.done += 1
        return self.done

    def _result(self, notes: list[str]) -> Result:
        seconds = time.monotonic() - self.started
        return Result(self.done, self.resumed, self.reader.damaged, seconds, [*self.reader.notes, *notes])


class _FileRun(_Run):
    """Into a video file: segment by segment in the job's folder, then all joined."""

    def __init__(self, job: Job, out: Path, reader, painter, schedule, encoding: Encoding, time_range, progress):
        super().__init__(reader, painter, schedule, time_range, progress)
        self.job, self.out, self.encoding = job, out, encoding
        self.segments: list[Segment] = job.finished()
        self.done = self.resumed = sum(len(segment.stamps) for segment in self.segments)
        self._bytes = sum(segment.path.stat().st_size for segment in self.segments)
        self._writer: SegmentWriter | None = None
        self._plan: Plan | None = None

    def _write(self, frame: Frame) -> None:
        if self._writer is None:
            path = self.job.segment_path(len(self.segments))
            self._writer = SegmentWriter(path, self._planned(), self.reader.look)
        self._writer.write(frame.rgb, frame.pts)
        if (self.done + 1) % SEGMENT_FRAMES == 0:
            self._finish_segment()

    def _planned(self) -> Plan:
        if self._plan is None:
            reader, look = self.reader, self.reader.look
            self._plan = plan(
                self.out, self.encoding, width=look.width, height=look.height, bits=reader.bits, hdr=reader.hdr
            )
        return self._plan

    def _finish_segment(self, complete: bool = True) -> None:
        writer, self._writer = self._writer, None
        self.segments.append(writer.finish(complete=complete))
        self._bytes += writer.size

    def bytes(self) -> int:
        writer = self._writer
        return self._bytes + (writer.size if writer else 0)

    def _abandon(self) -> None:
        if self._writer:
            self._writer.abandon()

    def _end(self, interrupted: bool) -> Result:
        finished = len(self.segments)
        if self._writer:
            self._finish_segment(complete=not interrupted)
        joined = self.job.folder / f"joined{self.out.suffix}"
        pictures = isinstance(self.reader, PictureSequence)
        joiner = Joiner(
            None if pictures else self.reader.path,
            joined,
            self._planned(),
            self.reader.look,
            chosen=None if pictures else self.reader.stream.index,
            audio_codec=self.encoding.audio_codec,
            time_range=self.time_range,
        )
        try:
            joiner.join(self.segments)
            if interrupted:
                kept = partial_name(self.out)
                os.replace(joined, kept)
                resumable = finished and self.painter.stylizer.resumable
                if not resumable:
                    self.job.discard()
                again = "; `resume=True` goes on from there" if resumable else ""
                raise Interrupted(f"interrupted: the first {self.done} frames are in {kept}{again}")
            os.replace(joined, self.out)
        finally:
            joined.unlink(missing_ok=True)
        self.job.discard()
        return self._result([*self._planned().notes, *joiner.notes])


class _FolderRun(_Run):
    """Into a folder of numbered PNGs, each of which is complete by itself."""

    def __init__(self, folder: Path, resume: bool, reader, painter, schedule, time_range, progress):
        super().__init__(reader, painter, schedule, time_range, progress)
        self.writer = PictureFolderWriter(folder)
        self._bytes = 0
        if resume:
            have = next(i for i in itertools.count() if not self.writer.path(i).exists())
            self.done = self.resumed = have // SEGMENT_FRAMES * SEGMENT_FRAMES  # where a steadied run can begin

    def _write(self, frame: Frame) -> None:
        self.writer.write(frame.number, frame.rgb)
        self._bytes += self.writer.path(frame.number).stat().st_size

    def bytes(self) -> int:
        return self._bytes

    def _abandon(self) -> None:
        pass

    def _end(self, interrupted: bool) -> Result:
        if interrupted:
            again = "; `resume=True` goes on" if self.painter.stylizer.resumable else ""
            raise Interrupted(f"interrupted: the first {self.done} frames are in {self.writer.folder}{again}")
        sound = (
            []
            if isinstance(self.reader, PictureSequence) or not self.reader.container.streams.audio
            else ["a folder of pictures holds no sound"]
        )
        return self._result(sound)
