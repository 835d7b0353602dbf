"""Picture files in, painted picture files out."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path

from rtstyle.errors import InputError, Interrupted, OutputError, RtstyleError
from rtstyle.files import check_output
from rtstyle.media.images import SUFFIXES, check_side, check_suffix, read_image, write_image
from rtstyle.paint.painter import FramePainter, Painter
from rtstyle.paint.stylizer import MIN_SIDE
from rtstyle.paint.work_height import EnlargementWarning

PAINTING = 9  # bytes a pixel, while the painting is brought to the picture's size
NET = 60  # bytes a pixel that the net sees, in the smallest bundled model


def stylize_image(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    stylizer: FramePainter,
    *,
    strength: float = 1.0,
    keep_color: bool = False,
    max_memory: int | None = None,
    force: bool = False,
) -> None:
    """Paint a picture file. Transparency is kept where the output format has it; EXIF data stays.

    Raises RtstyleError if the input cannot be read, would take more than `max_memory` bytes (half of the machine's by
    default), or the output may not be written.
    """
    painter = Painter(stylizer, strength=strength, keep_color=keep_color)
    _paint_file(source, out, painter, EnlargementWarning(stylizer), max_memory=max_memory, force=force)


def _paint_file(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    painter: Painter,
    enlargement: EnlargementWarning,
    *,
    max_memory: int | None,
    force: bool,
) -> None:
    if Path(source).exists():  # a missing source is the reader's to report
        check_output(out, force=force, inputs=[source])
    check_suffix(out)
    picture = read_image(source, max_memory=max_memory, later=functools.partial(_need, painter.stylizer))
    if min(picture.rgb.shape[:2]) < MIN_SIDE:
        raise InputError(f"{source} is smaller than {MIN_SIDE} pixels: too small to paint")
    check_side(out, *picture.rgb.shape[:2])
    enlargement.check(*picture.rgb.shape[1::-1])
    picture.rgb = painter(picture.rgb)  # the photograph goes, before writing takes memory
    write_image(out, picture, force=force)


def _need(stylizer: FramePainter, width: int, height: int) -> float:
    """The bytes that painting a picture takes at least."""
    seen = math.prod(stylizer.working_size(height, width))
    return max(width * height * PAINTING, width * height * 3 + seen * NET)


def stylize_folder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    stylizer: FramePainter,
    *,
    strength: float = 1.0,
    keep_color: bool = False,
    max_memory: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[str]]:
    """Paint every picture of a folder into the folder `out`, made if need be, under the same names; `max_memory` as
    `stylize_image` takes it.

    Returns (pictures painted, sentences about those skipped). Raises RtstyleError if there is nothing to do, and
    Interrupted after Ctrl-C: every picture that is in `out` then is complete.
    """
    source, out = Path(source), Path(out)
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"the folder {source} holds no pictures ({', '.join(SUFFIXES)})")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: painting a folder needs a folder to write to")
    if out.exists() and out.samefile(source):
        raise OutputError(f"the output folder {out} is the input: choose another")
    if not out.parent.is_dir():
        raise OutputError(f"the folder {out.parent} does not exist: create it first")
    made = not out.exists()
    out.mkdir(exist_ok=True)
    painter, enlargement = Painter(stylizer, strength=strength, keep_color=keep_color), EnlargementWarning(stylizer)
    skipped: list[str] = []
    done = 0
    try:
        for done, path in enumerate(files, start=1):
            try:
                _paint_file(path, out / path.name, painter, enlargement, max_memory=max_memory, force=force)
            except RtstyleError as error:
                skipped.append(str(error))
            if progress:
                progress(done, len(files))
    except KeyboardInterrupt:
        painted = max(0, done - 1 - len(skipped))
        raise Interrupted(f"interrupted: {painted} of {len(files)} pictures are painted, in {out}") from None
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()
    if len(skipped) == len(files):
        raise InputError(f"none of the {len(files)} pictures could be painted: {skipped[0]}")
    return len(files) - len(skipped), skipped
