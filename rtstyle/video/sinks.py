"""Where a converted video goes: into a file with the source's other streams, or into a folder of numbered pictures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rtstyle.errors import InputError, OutputError, RtstyleError
from rtstyle.files import partial_name, take_name
from rtstyle.media.encoding import Encoding, Plan, plan
from rtstyle.media.images import Picture, write_image
from rtstyle.media.remuxer import Remuxer, TimeRange
from rtstyle.media.segments import PaintedSegment, Segment, SegmentWriter
from rtstyle.media.stream import Frame, Source
from rtstyle.video.resume import Job


class VideoSink(Protocol):
    """Where a conversion's frames go. `frames` counts what is in it, `resumed` of them from an interrupted run, which
    completed the segments `done`. `notes` says what could not be kept, once it is closed."""

    frames: int
    resumed: int
    done: frozenset[int]
    notes: list[str]

    @property
    def size(self) -> int:
        """Bytes written so far."""

    def write(self, frame: Frame, /) -> None:
        """Take a painted frame, of a segment that is not `done`; those of one segment in their order."""

    def close(self) -> None:
        """Complete the result. Raises RtstyleError if that fails."""

    def abandon(self) -> None:
        """Let go of everything after an error, which has been reported. Raises nothing."""

    def keep_partial(self, resumable: bool) -> str:
        """Instead of `close`, after an interruption: keep what there is. Says where it is and, if painting is
        `resumable`, how to go on."""


class VideoFileSink:
    """A video file: segment by segment in the job's folder, then all of them and the source's other streams in `out`,
    which appears only when it is complete, and without `force` replaces nothing."""

    def __init__(self, out: Path, source: Source, job: Job, encoding: Encoding, time_range: TimeRange, *, force: bool):
        self.out, self._source, self._job, self._force = out, source, job, force
        self._encoding, self._range = encoding, time_range
        self._segments = job.finished()
        self.done = frozenset(self._segments)
        self.frames = self.resumed = sum(len(segment.pts) for segment in self._segments.values())
        self.notes: list[str] = []
        self._finished_size = sum(segment.path.stat().st_size for segment in self._segments.values())
        self._writer: SegmentWriter | None = None
        self._number = 0  # of the segment that is being written
        self._chosen_plan: Plan | None = None

    @property
    def size(self) -> int:
        """Bytes written so far."""
        writer = self._writer  # another thread writes
        return self._finished_size + (writer.size if writer else 0)

    def write(self, frame: Frame, /) -> None:
        """Encode a frame into its segment."""
        number = frame.number // self._job.segment_frames
        if self._writer is None or number != self._number:
            self._close_segment()
            self._number = number
            self._writer = SegmentWriter(self._job.segment_path(number), self.plan(), self._source.format)
        self._writer.write(frame.pts, frame.rgb)
        self.frames += 1

    def add(self, number: int, painted: PaintedSegment) -> None:
        """Take a segment that was painted elsewhere."""
        self._segments[number] = painted.write(self._job.segment_path(number))
        self.frames += len(painted.pts)
        self._finished_size += len(painted.data)

    def plan(self) -> Plan:
        """How it is encoded; the source's format must be known."""
        if self._chosen_plan is None:
            format = self._source.format
            self._chosen_plan = plan(
                self.out,
                self._encoding,
                width=format.width,
                height=format.height,
                bits=format.bits,
                hdr=format.hdr,
            )
        return self._chosen_plan

    def _close_segment(self, complete: bool = True) -> None:
        writer, self._writer = self._writer, None
        if writer:
            self._segments[self._number] = writer.close(complete=complete)
            self._finished_size += writer.size

    def close(self) -> None:
        """Put `out` together. If the source is no longer what it was, RtstyleError says so and what is kept."""
        self._close_segment()
        part = self._part()
        try:
            self._raise_if_changed()
            try:
                self._remux(part, [self._segments[number] for number in sorted(self._segments)])
            finally:  # whatever else is wrong with it
                self._raise_if_changed()
            take_name(part, self.out, force=self._force)
        except RtstyleError:
            self._job.discard()  # either nothing can be made of the segments, or everything was
            raise
        finally:
            part.unlink(missing_ok=True)
        for partial in self._job.remove_partials():
            self.notes.append(f"{partial.name} of the interrupted run is gone: {self.out.name} holds all of it")
        self._job.discard()

    def keep_partial(self, resumable: bool) -> str:
        """Keep what there is as a playable file beside `out`; without the source's other streams if it is no longer
        what it was."""
        safe = sum(len(segment.pts) for segment in self._segments.values())
        self._close_segment(complete=False)
        first = self._first_segments()
        text = f"{safe} frames are painted"
        if first:
            part, partial = self._part(), partial_name(self.out)
            try:
                self._remux(part, first, alone=self._source.what_happened() is not None)
                take_name(part, partial, force=False)
            finally:
                part.unlink(missing_ok=True)
            text = f"the first {sum(len(segment.pts) for segment in first)} frames are in {partial}"
        if not resumable:
            self._job.discard()
            return text
        if first:
            self._job.note_partial(partial)
        if safe and len(first) < len(self._segments):  # they were not painted in order
            return f"{text}; `resume=True` goes on, with {safe} frames painted"
        if safe:
            return f"{text}; `resume=True` goes on from frame {safe}"
        return f"{text}; `resume=True` has to begin again: it goes on in steps of {self._job.segment_frames} frames"

    def _first_segments(self) -> list[Segment]:
        """Those from the beginning on to the first that is missing."""
        numbers = itertools.takewhile(self._segments.__contains__, itertools.count())
        return [self._segments[number] for number in numbers]

    def _raise_if_changed(self) -> None:
        if change := self._source.what_happened():
            raise InputError(f"{self._source.path} {change} while it was read: {self.keep_partial(resumable=False)}")

    def _part(self) -> Path:
        return self._job.folder / f"remuxed{self.out.suffix}"

    def _remux(self, part: Path, segments: Sequence[Segment], *, alone: bool = False) -> None:
        source = self._source
        remuxer = Remuxer(
            None if alone or source.stream_index is None else source.path,
            part,
            self.plan(),
            source.format,
            stream_index=source.stream_index,
            audio_codec=self._encoding.audio_codec,
            time_range=self._range,
        )
        remuxer.write(segments)
        self.notes = [*self.plan().notes, *remuxer.notes]

    def abandon(self) -> None:
        """Keep the finished segments only, for a later run."""
        if self._writer:
            self._writer.abandon()


class PictureFolderSink:
    """Numbered PNGs in a folder, 000001.png, 000002.png, ..., each of which is complete by itself.

    A job that goes on does so behind those that it has written, at a multiple of its `segment_frames`. Raises
    RtstyleError if the folder holds others and `force` is not set.
    """

    def __init__(self, folder: Path, source: Source, job: Job, *, force: bool):
        if not (job.goes_on or force) and any(folder.glob("*.png")):
            raise OutputError(f"{folder} holds pictures already: add `force=True` to replace them")
        self.folder, self._source, self._job, self._force = folder, source, job, job.goes_on or force
        self.size = 0
        self.notes = ["a folder of pictures holds no sound"] if source.has_sound else []
        folder.mkdir(exist_ok=True)
        n = job.segment_frames
        present = next(number for number in itertools.count() if not self.path(number).exists())
        self.frames = self.resumed = min(present, job.pictures) // n * n
        self.done = frozenset(range(self.frames // n))

    def path(self, number: int) -> Path:
        """Of the frame with this number from 0."""
        return self.folder / f"{number + 1:06d}.png"

    def write(self, frame: Frame, /) -> None:
        """Write a frame as the next picture."""
        path = self.path(self.frames)
        write_image(path, Picture(frame.rgb), force=self._force)
        self.size += path.stat().st_size
        self.frames += 1
        if self.frames % self._job.segment_frames == 0:
            self._job.note_pictures(self.frames)

    def close(self) -> None:
        """Everything is there, if the source is still what it was: else RtstyleError says so. Pictures of an earlier,
        longer result go."""
        if change := self._source.what_happened():
            raise InputError(f"{self._source.path} {change} while it was read: {self.keep_partial(resumable=False)}")
        for path in self.folder.glob("*.png"):
            if re.fullmatch(r"\d{6,}", path.stem) and int(path.stem) > self.frames:
                path.unlink()
        self._job.discard()

    def keep_partial(self, resumable: bool) -> str:
        """Say what is there."""
        text = f"the first {self.frames} frames are in {self.folder}"
        if not resumable:
            self._job.discard()
            return text
        self._job.note_pictures(self.frames)
        again = self.frames // self._job.segment_frames * self._job.segment_frames
        return f"{text}; `resume=True` goes on from frame {again}"

    def abandon(self) -> None:
        """What is written stays."""
