"""Which input goes to which output when there are several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rtstyle.errors import InputError, OutputError, UsageError

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {out_dir} cannot be made: {error.strerror}") from None
    return [(source, str(out)) for out, source in pairs.items()]


def _files(paths: Sequence[str]) -> list[Path]:
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            videos = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEOS)
            if not videos:
                raise InputError(f"the folder {path} holds no videos")
            found += videos
        else:
            found.append(path)
    return found
