"""Decode, prepare, paint, finish, encode: what happens to every frame of a video, each in a thread of its own."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np

from rtstyle.media.stream import Frame, Source
from rtstyle.paint.painter import FramePainter, Painter, PreparedFrame
from rtstyle.video.parts import WARM_UP, Parts
from rtstyle.video.pipeline import Loads, Stage, each, run_stages
from rtstyle.video.schedule import Schedule

DEPTH = 2  # frames that may wait between two stages
MAX_BATCH = 8  # frames in one run of the net, where it takes batches
MAX_BATCH_PIXELS = 1 << 24


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


class Stages:
    """Paints the parts of a source that are missing and gives every frame to `write`, in order."""

    def __init__(
        self, source: Source, painter: Painter, schedule: Schedule, parts: Parts, write: Callable[[Frame], object]
    ):
        self.source, self.painter, self.schedule, self.parts = source, painter, schedule, parts
        self._recent: deque[Frame] = deque(maxlen=WARM_UP)
        self._loads = Loads(("decode", "prepare", "paint", "finish", "encode"))
        self._begin = self._loads.timed("prepare", self._prepared)
        self._write = write

    def shares(self) -> dict[str, float]:
        """{stage: 0 (idle) to 1 (busy all the time)}."""
        return self._loads.shares()

    def run(self) -> Generator[Any]:
        """Everything, a stage a thread; gives what `write` returns for every frame. Its threads have ended when it is
        closed."""
        decoded = self._loads.timed_items("decode", self.parts.read(self.source))
        stages = self._prepare, self._paint(), self._finish(), self._encode()
        yield from run_stages(decoded, *stages, depth=DEPTH, abandon=self._abandon)

    def _abandon(self) -> None:
        """Nobody wants what is being painted, and what is being waited for, any more."""
        self.painter.stylizer.abandon()
        self.source.abandon()

    def _prepare(self, frames: Iterator[Frame]) -> Iterator[_Work]:
        """So that a resumed run paints the same, every segment begins with the same frames before it, which only warm
        up what remembers the past, whether they were painted just now or not."""
        current = -1
        for frame in frames:
            segment = self.parts.of(frame.number)
            missing = segment not in self.parts.done
            if segment != current:
                current = segment
                self.painter.forget()
                self.schedule.reset()
                first = self.parts.warm_up(segment)
                for earlier in [earlier for earlier in self._recent if earlier.number >= first and missing]:
                    yield self._begin(earlier, False)
            if self.painter.steady or self.schedule.changes:
                self._recent.append(frame)
            if missing:
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

    def _encode(self) -> Stage:
        """The last stage. It has a thread of its own because Ctrl-C strikes the main one anywhere, even between
        encoding a frame and writing what the encoder gave."""
        return each(self._loads.timed("encode", self._write))
