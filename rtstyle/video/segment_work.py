"""One segment of a video as work that any machine can do: what it needs to know, and how it is painted."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rtstyle.files import make_folder
from rtstyle.media.encoding import Plan
from rtstyle.media.frame_index import FrameIndex
from rtstyle.media.parcel import Parcel
from rtstyle.media.reader import VideoReader
from rtstyle.media.segments import PaintedSegment, SegmentWriter
from rtstyle.media.stream import Frame, StreamFormat
from rtstyle.paint.painter import Painter
from rtstyle.paint.stylizer import Stylizer
from rtstyle.video.inputs import open_source
from rtstyle.video.parts import Parts
from rtstyle.video.resume import Identity, content_identity
from rtstyle.video.schedule import Schedule
from rtstyle.video.stages import Stages

PREFIX = "rtstyle-segment-"  # of temporary folders


@dataclasses.dataclass(frozen=True)
class File:
    """A file, or a folder of pictures, that other machines may see or not: its full name here, and what is in it."""

    path: Path
    content: tuple[str | int, ...]

    @classmethod
    def of(cls, path: Path, content: Identity | None = None) -> File:
        """The file at this path; `content` is what is in it, where that is known."""
        return cls(path.resolve(), tuple(content or content_identity(path)))

    def seen(self) -> bool:
        """Whether this machine has the same under the same name; looked at once by each process."""
        return _seen(self.path, self.content)


@functools.lru_cache(maxsize=8)
def _seen(path: Path, content: tuple[str | int, ...]) -> bool:
    with contextlib.suppress(OSError):
        return tuple(content_identity(path)) == content
    return False


@dataclasses.dataclass(frozen=True)
class Painting:
    """What all segments of one video have in common: the source and where its frames lie, the net, the style and how
    it changes, the look, and how it is encoded."""

    source: File
    fps: float | None
    index: FrameIndex
    format: StreamFormat
    segment_frames: int
    model: File
    device: str
    work_height: int | Literal["auto", "full"]
    stroke_size: float
    code: np.ndarray | None
    changes: list[tuple[float, np.ndarray]]
    strength: float
    keep_color: bool
    steady: bool
    plan: Plan


class Unseen(Exception):
    """This machine does not see the source, and its bytes were not sent."""


@dataclasses.dataclass(frozen=True)
class Painted:
    """A segment that is painted (None if no frame of it can be decoded), and how many damaged frames were met."""

    segment: PaintedSegment | None
    damaged: int


def paint_segment(
    painting: Painting,
    number: int,
    model: Callable[[], bytes],
    parcel: Callable[[], Parcel] | None,
) -> Painted:
    """Paint segment `number`. `model` and `parcel` fetch the model's file and the source's bytes where this machine
    does not see them; without a parcel Unseen is raised then."""
    _remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=_prefix(), ignore_cleanup_errors=True) as folder:
        if painting.source.seen():
            path = painting.source.path
        elif parcel is None:
            raise Unseen
        else:
            path = parcel().unpack(make_folder(Path(folder) / "source"))
        stylizer = _stylizer(painting, model)
        painter = Painter(stylizer, strength=painting.strength, keep_color=painting.keep_color, steady=painting.steady)
        whole = Parts(painting.segment_frames, painting.index)
        parts = dataclasses.replace(whole, done=frozenset(whole.missing) - {number})
        with contextlib.closing(open_source(path, painting.fps)) as source:
            known = source.damaged  # the driver saw these, too
            if isinstance(source, VideoReader):
                source.format = painting.format  # the film's: the segment's own first frame may say less
            sink = _SegmentSink(Path(folder) / "segment.mkv", painting)
            schedule = Schedule(painting.code, painting.changes)
            with contextlib.closing(Stages(source, painter, schedule, parts, sink.write).run()) as written:
                for _ in written:
                    pass
            return Painted(sink.complete(), source.damaged - known)


_nets: dict[Any, Stylizer] = {}  # the last one: a net is opened once for all segments that this process paints
_folder = functools.cache(lambda: tempfile.TemporaryDirectory(prefix=_prefix()))


def _prefix(pid: int | str | None = None) -> str:
    """Of this process' temporary folders, or those of another in the same space of process numbers."""
    space = Path("/proc/self/ns/pid")
    return f"{PREFIX}{space.stat().st_ino if space.exists() else 0}-{pid or os.getpid()}-"


def _remove_leftovers() -> None:
    """Remove the folders of processes that were killed, where /proc tells which run."""
    if not Path("/proc/self").exists():
        return
    for folder in Path(tempfile.gettempdir()).glob(_prefix("*") + "*"):
        pid = folder.name.split("-")[3]
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _stylizer(painting: Painting, fetch: Callable[[], bytes]) -> Stylizer:
    how: dict[str, Any] = {
        "device": painting.device,
        "work_height": painting.work_height,
        "stroke_size": painting.stroke_size,
    }
    key = painting.model, *how.values()
    if key not in _nets:
        path = painting.model.path
        if not painting.model.seen():
            path = Path(_folder().name) / f"{str(painting.model.content[-1])[:16]}.onnx"
            path.write_bytes(fetch())
        _nets.clear()
        _nets[key] = Stylizer(model=str(path), threads=1, **how)  # a CPU paints as many segments as it has cores
    stylizer = _nets[key]
    stylizer.code = painting.code
    return stylizer


class _SegmentSink:
    """Where the frames of one segment go."""

    def __init__(self, path: Path, painting: Painting):
        self._path, self._painting = path, painting
        self._writer: SegmentWriter | None = None

    def write(self, frame: Frame, /) -> None:
        """Encode a frame."""
        if self._writer is None:
            self._writer = SegmentWriter(self._path, self._painting.plan, self._painting.format)
        self._writer.write(frame.pts, frame.rgb)

    def complete(self) -> PaintedSegment | None:
        """What came of it."""
        return PaintedSegment.of(self._writer.close()) if self._writer else None
