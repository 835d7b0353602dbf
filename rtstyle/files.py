"""Writing results so that a name never holds half a file."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from rtstyle.errors import OutputError


def check_output(out: str | os.PathLike[str], *, force: bool, inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """The output path, if it may be written. Raises OutputError if its folder is missing, it is one of the
    inputs, or it exists and `force` is not set."""
    out = Path(out)
    if not out.parent.is_dir():
        raise OutputError(f"the folder {out.parent} does not exist: create it first")
    if out.is_dir():
        raise OutputError(f"{out} is a folder: give the name of a file in it")
    for given in inputs:
        if out.exists() and Path(given).exists() and os.path.samefile(out, given):
            raise OutputError(f"the output {out} is the input: choose another name")
    if out.exists() and not force:
        raise OutputError(f"{out} already exists: add `force=True` to replace it")
    if not os.access(out.parent, os.W_OK):
        raise OutputError(f"the folder {out.parent} is not writable")
    return out


def part_name(out: Path) -> Path:
    """A name for an unfinished `out`: hidden, beside it, of the same kind."""
    return out.with_name(f".{out.stem}-{uuid.uuid4().hex[:8]}-part{out.suffix}")


def partial_name(out: Path) -> Path:
    """A free name for what an interrupted run keeps: out.partial.mp4, out.partial-2.mp4, ..."""
    name, count = out.with_name(f"{out.stem}.partial{out.suffix}"), 1
    while name.exists():
        count += 1
        name = out.with_name(f"{out.stem}.partial-{count}{out.suffix}")
    return name


@contextlib.contextmanager
def written_beside(out: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `out`, of the same kind, that takes its place when the block ends well.

    Whatever goes wrong inside, `out` stays as it was and the temporary file is removed.
    """
    out = Path(out)
    part = part_name(out)
    try:
        yield part
        os.replace(part, out)
    except OSError as error:
        if error.errno is None:
            raise
        raise OutputError(f"could not write {out}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
