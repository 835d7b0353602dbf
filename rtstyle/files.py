"""Writing results so that a name never holds half a file."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from rtstyle.errors import OutputError, RtstyleError

MAX_NAME = 255  # bytes


def check_output(out: str | os.PathLike[str], *, force: bool, inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """The output path, if it may be written. Raises RtstyleError if its folder is missing, it is one of the
    inputs, it is there and no regular file, or it exists and `force` is not set. A link to nothing exists."""
    out = Path(out)
    if not out.parent.is_dir():
        raise OutputError(f"the folder {out.parent} does not exist: create it first")
    if out.is_dir():
        raise OutputError(f"{out} is a folder: give the name of a file in it")
    for given in inputs:
        if out.exists() and Path(given).exists() and os.path.samefile(out, given):
            raise OutputError(f"the output {out} is the input: choose another name")
    _check_regular(out)
    if os.path.lexists(out) and not force:
        raise OutputError(f"{out} already exists: add `force=True` to replace it")
    if not os.access(out.parent, os.W_OK):
        raise OutputError(f"the folder {out.parent} is not writable")
    return out


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made if it is not there, with those above it. Raises OutputError if that cannot be."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {path} cannot be made: {error.strerror}") from None
    return Path(path)


def _check_regular(out: Path) -> None:
    if os.path.lexists(out) and not out.is_file():
        kind = "a link to nothing" if out.is_symlink() and not out.exists() else "no regular file"
        raise OutputError(f"{out} is {kind} and is never replaced: choose another name")


def part_name(out: Path) -> Path:
    """A name for an unfinished `out`: hidden, beside it, of the same kind."""
    return _beside(out, ".", f"-{uuid.uuid4().hex[:8]}-part")


def partial_name(out: Path) -> Path:
    """A free name for what an interrupted run keeps: out.partial.mp4, out.partial-2.mp4, ..."""
    name, count = _beside(out, "", ".partial"), 1
    while os.path.lexists(name):
        count += 1
        name = _beside(out, "", f".partial-{count}")
    return name


def _beside(out: Path, before: str, after: str) -> Path:
    """The name of `out` with something before it and after its stem, which is cut to what a file system takes."""
    stem = out.stem
    while stem and len(os.fsencode(f"{before}{stem}{after}{out.suffix}")) > MAX_NAME:
        stem = stem[:-1]
    return out.with_name(f"{before}{stem}{after}{out.suffix}")


def take_name(part: Path, out: Path, *, force: bool) -> None:
    """Give the finished file `part` the name `out`, in the same folder.

    Without `force` nothing is replaced, with it regular files only. What must not be replaced, as it was written since
    `check_output`, stays, and `part` becomes `partial_name(out)`: RtstyleError says so. Raises OSError as `os.replace`.
    """
    try:
        if force:
            _check_regular(out)
            os.replace(part, out)
        else:
            _rename_without_replacing(part, out)
    except FileExistsError:
        raise OutputError(
            f"{out} was written by somebody else meanwhile and stays: the result is {_keep_partial(part, out)}"
        ) from None
    except RtstyleError as error:
        raise OutputError(f"{error}; the result is {_keep_partial(part, out)}") from None


def _keep_partial(part: Path, out: Path) -> Path:
    while True:
        name = partial_name(out)
        with contextlib.suppress(FileExistsError):
            _rename_without_replacing(part, name)
            return name


def _rename_without_replacing(part: Path, out: Path) -> None:
    """Raises FileExistsError."""
    if os.name == "nt":
        os.rename(part, out)
        return
    try:
        os.link(part, out)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: as late as possible
        if os.path.lexists(out):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(out)) from None
        os.rename(part, out)
    else:
        part.unlink()


@contextlib.contextmanager
def written_beside(out: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """A temporary path beside `out`, of the same kind, that takes its name (`take_name`) when the block ends well.

    Whatever goes wrong inside, `out` stays as it was and the temporary file is removed. With `force`, for files that
    are this program's own or that the user agreed to lose, a file that is there is replaced.
    """
    out = Path(out)
    part = part_name(out)
    try:
        yield part
        take_name(part, out, force=force)
    except OSError as error:
        if error.errno is None:
            raise
        raise OutputError(f"could not write {out}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


FileState: TypeAlias = tuple[int, int, int, int]


def file_state(path: str | os.PathLike[str]) -> FileState:
    """What changes when a file is written or another one takes its name: device, number, size, time of change."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def what_happened(path: str | os.PathLike[str], before: FileState) -> str | None:
    """What has become of a file since its state was taken, as the predicate of a sentence; None if it is the same."""
    try:
        now = file_state(path)
    except OSError:
        return "went away"
    if now[:2] != before[:2]:
        return "was replaced by another file"
    return None if now == before else "was changed"
