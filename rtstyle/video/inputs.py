"""Which input goes to which output, and what is opened for it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from rtstyle.errors import InputError, OutputError, UsageError
from rtstyle.files import make_folder
from rtstyle.media.pipe import Pipe, can_be_streamed
from rtstyle.media.reader import VideoReader
from rtstyle.media.sequence import PictureSequence
from rtstyle.media.stream import Source

log = logging.getLogger("rtstyle")

VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".ogv"),
    *(".3gp", ".gif", ".mxf", ".nut"),
)
WRITTEN = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif")


def pair_up(paths: Sequence[str], out_dir: str | None = None, container: str | None = None) -> list[tuple[str, str]]:
    """[(input, output)] of `rtstyle video`: IN OUT, or any number of files and folders of videos with `out_dir`.

    Names are kept; endings that rtstyle does not write become .mp4 (or `container`). Raises RtstyleError (a UsageError
    for a wrong number of arguments) if there is nothing to paint, or two inputs would get the same output.
    """
    if out_dir is None:
        if len(paths) != 2:
            raise UsageError("give IN and OUT, or any number of IN with `out_dir` DIR")
        return [(paths[0], paths[1])]
    folder = Path(out_dir)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{out_dir} is a file: `out_dir` needs a folder")
    pairs: dict[Path, str] = {}
    for source in _files(paths):
        suffix = f".{container}" if container else source.suffix if source.suffix.lower() in WRITTEN else ".mp4"
        out = folder / f"{source.stem}{suffix}"
        if out in pairs:
            raise OutputError(f"{pairs[out]} and {source} would both become {out}: paint them one by one")
        if out.exists() and os.path.samefile(out, source):
            raise OutputError(f"the output {out} is the input: choose another folder")
        pairs[out] = str(source)
    make_folder(folder)
    return [(source, str(out)) for out, source in pairs.items()]


def _files(paths: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            videos = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEOS)
            if not videos:
                raise InputError(f"the folder {path} holds no videos")
            files += videos
        else:
            files.append(path)
    return files


def open_source(source: str | os.PathLike[str], fps: float | None = None) -> Source:
    """A video file, or a folder of numbered pictures at `fps` (25) frames a second."""
    if Path(source).is_dir():
        return PictureSequence(source, Fraction(fps or 25).limit_denominator(1001))
    if fps is not None:
        raise UsageError("`fps` is for a folder of pictures: a video keeps its own time stamps")
    return VideoReader(source)


def check_folder(folder: str | os.PathLike[str], source: str | os.PathLike[str]) -> None:
    """Raises RtstyleError if numbered pictures cannot go to this folder."""
    folder = Path(folder)
    if Path(source).is_dir() and folder.exists() and os.path.samefile(folder, source):
        raise OutputError(f"the output folder {folder} is the input: choose another")
    if not folder.parent.is_dir():
        raise OutputError(f"the folder {folder.parent} does not exist: create it first")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: leave the slash out, or give a folder")


@contextlib.contextmanager
def opened_pipe(source: str) -> Iterator[Pipe]:
    """Standard input (-) or a named pipe, kept in a temporary file. It is read forward; where its container does not
    allow that, all of it is waited for, and that is logged. Raises RtstyleError if there is no room."""
    with (
        tempfile.TemporaryDirectory(prefix="rtstyle-", ignore_cleanup_errors=True) as folder,
        contextlib.closing(Pipe(source, Path(folder) / Path(source).name.replace(" ", "-"))) as pipe,
    ):
        if not can_be_streamed(pipe.head()):
            log.info(f"reading all of {pipe} first, as its index comes last")
            pipe.read_all()
        yield pipe


@contextlib.contextmanager
def sent_to_stdout(container: str) -> Iterator[Path]:
    """A temporary file of this kind whose content goes to standard output when the block ends well, as containers are
    not written from beginning to end."""
    with tempfile.TemporaryDirectory(prefix="rtstyle-") as folder:
        path = Path(folder) / f"output.{container}"
        yield path
        try:
            with open(path, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output could not be written ({error.strerror})") from None
