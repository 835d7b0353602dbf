"""A long job as a folder of finished segments beside its result: what is done survives being killed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import cv2  # before av

import av  # isort: skip
import filelock
import onnxruntime as ort

from rtstyle.errors import OutputError
from rtstyle.files import MAX_NAME
from rtstyle.media.segments import Segment

SEGMENT_FRAMES = 300  # in a segment: what is lost at most when a run is killed

PIECE = 1 << 20  # bytes of a file's beginning, middle and end that tell it from others

Identity: TypeAlias = list[str | int]


class Job:
    """The work folder of one result: `.NAME.rtstyle` beside it, locked against a second run.

    `identity` is everything that the segments depend on, as JSON. With `resume` finished segments of the same identity
    are taken over; without it they are discarded. Use as a context manager; `discard` removes the folder when the
    result is there. Raises RtstyleError if another run holds the lock, or if the earlier job was another one.

    `goes_on` is whether an earlier run is gone on from, `pictures` how many a job whose result is a folder of them has
    written for certain.
    """

    def __init__(
        self, out: Path, identity: Mapping[str, Any], *, resume: bool = False, segment_frames: int = SEGMENT_FRAMES
    ):
        self.segment_frames = segment_frames
        name = out.name
        if len(os.fsencode(name)) > MAX_NAME - len("..rtstyle.lock"):
            name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
        self.folder = out.with_name(f".{name}.rtstyle")
        self._identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._identity_facts = dict(identity)
        self._partials: list[Identity] = []
        self.goes_on, self.pictures = False, 0
        self._notes = self.folder / "job.json"
        self._resume = resume
        self._out = out
        # beside the folder, not in it: the folder can then be removed while the lock is held
        self._lock = filelock.FileLock(self.folder.with_name(f"{self.folder.name}.lock"))

    def __enter__(self) -> Job:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OutputError(f"another rtstyle is writing {self._out}: wait for it, or give another OUT") from None
        except OSError as error:
            raise OutputError(f"{self._out} could not be written ({error.strerror}): nothing was changed") from None
        fresh = not self.folder.exists()
        try:
            self._prepare()
        except BaseException:
            if fresh:
                self.discard()
            self._release()
            raise
        return self

    def _prepare(self) -> None:
        before: dict[str, Any] = {}
        if self.folder.is_dir():
            with contextlib.suppress(OSError, ValueError):
                before = json.loads(self._notes.read_text())
            same = before.get("identity") == self._identity
            if same:
                self._partials = before.get("partials", [])
            if self._resume and same:
                self.goes_on, self.pictures = True, before.get("pictures", 0)
                return
            if self._resume:
                changed = _differences(before.get("facts", {}), self._identity_facts)
                raise OutputError(
                    f"the interrupted job for {self._out} was another one ({changed}): "
                    "give the same options again, or leave `resume` out to start afresh"
                )
        self.discard()
        self.folder.mkdir()
        self._write_notes()

    def _write_notes(self) -> None:
        facts = {
            "identity": self._identity,
            "facts": self._identity_facts,
            "partials": self._partials,
            "pictures": self.pictures,
        }
        part = self._notes.with_suffix(".part")
        part.write_text(json.dumps(facts))
        os.replace(part, self._notes)

    def note_partial(self, path: Path) -> None:
        """Remember a file that holds what an interrupted run had painted."""
        self._partials.append(file_identity(path))
        self._write_notes()

    def note_pictures(self, count: int) -> None:
        """Remember that so many pictures are written."""
        self.pictures = count
        self._write_notes()

    def worth_keeping(self) -> bool:
        """Whether there is something that a later run can go on from."""
        return bool(self.finished() or self.pictures)

    def remove_partials(self) -> list[Path]:
        """Remove the files that interrupted runs of this job kept, unless somebody has changed them since."""
        removed = []
        for identity in self._partials:
            path = Path(str(identity[0]))
            with contextlib.suppress(OSError):
                if file_identity(path) == identity:
                    path.unlink()
                    removed.append(path)
        return removed

    def finished(self) -> dict[int, Segment]:
        """The complete segments by their numbers; whatever else was begun is removed."""
        done = {}
        for file in self.folder.glob("segment-*.mkv"):
            if segment := Segment.read(file):
                done[int(file.stem.removeprefix("segment-"))] = segment
        kept = {file for segment in done.values() for file in (segment.path, segment.path.with_suffix(".json"))}
        for file in self.folder.glob("segment-*"):
            if file not in kept:
                file.unlink()
        return dict(sorted(done.items()))

    def segment_path(self, number: int) -> Path:
        return self.folder / f"segment-{number:05d}.mkv"

    def discard(self) -> None:
        """Remove the work folder and what is in it."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def _release(self) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def __exit__(self, *_: object) -> None:
        if self.folder.is_dir() and not self.worth_keeping() and not self._partials:
            self.discard()
        self._release()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in now if before.get(name) != now[name]]
    return f"other {', '.join(names)}" if before and names else "its notes cannot be read"


def file_identity(path: str | os.PathLike[str]) -> Identity:
    """What tells a file on this machine from another: its full name, size and time of change."""
    status = os.stat(path)
    return [str(Path(path).resolve()), status.st_size, status.st_mtime_ns]


def content_identity(path: str | os.PathLike[str]) -> Identity:
    """What tells a file, or a folder of files, from another wherever it lies: its size, or their number, and a hash of
    the beginning, middle and end; of a folder, of every file."""
    path = Path(path)
    if not path.is_dir():
        return [path.stat().st_size, hashlib.sha256(b"".join(_ends(path, PIECE))).hexdigest()]
    files = sorted(file for file in path.iterdir() if file.is_file())
    content = hashlib.sha256()
    for file in files:
        content.update(json.dumps([file.name, file.stat().st_size]).encode())
        content.update(b"".join(_ends(file, PIECE // 16)))
    return [len(files), content.hexdigest()]


def _ends(path: Path, length: int) -> list[bytes]:
    size, pieces = path.stat().st_size, []
    with open(path, "rb") as file:
        for place in (0, (size - length) // 2, size - length):
            file.seek(max(0, place))
            pieces.append(file.read(length))
    return pieces


@functools.cache  # it is asked for with every segment
def software() -> dict[str, str]:
    """The versions that a painting's packets depend on."""
    return {
        "rtstyle": metadata.version("rtstyle"),
        "ONNX Runtime": ort.__version__,
        "PyAV": av.__version__,
        "OpenCV": cv2.__version__,
    }
