"""Contact sheets: labelled pictures on one page."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from rtstyle.errors import InputError
from rtstyle.files import written_beside
from rtstyle.media.images import read_image

LABEL, GAP = 20, 4  # pixels
STYLE_HEIGHT = 320  # pixels of a picture in a sheet of styles
MIN_SIDE = 16  # pixels of what is painted for it


def bundled_photograph(name: str = "astronaut") -> Path:
    """One of the photographs that come with rtstyle, in the public domain or CC0: astronaut, brick, camera, chelsea,
    coffee, grass, gravel or rocket."""
    return Path(str(importlib.resources.files("rtstyle.pretrained") / "photographs" / f"{name}.jpg"))


def draw_grid(
    rows: list[list[np.ndarray]],
    titles: list[str],
    out: str | os.PathLike[str],
    height: int = 200,
    *,
    force: bool = False,
) -> None:
    """A labelled grid of uint8 pictures [H, W, 3] as a PNG; pictures of a column share its width."""
    pictures = [[_to_height(cell, height) for cell in row] for row in rows]
    widths = [max(row[c].width for row in pictures) for c in range(len(titles))]
    sheet = Image.new("RGB", (sum(widths) + GAP * (len(titles) - 1), LABEL + (height + GAP) * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(pictures):
        for c, picture in enumerate(row):
            sheet.paste(picture, (sum(widths[:c]) + GAP * c, LABEL + (height + GAP) * r))
    for c, title in enumerate(titles):
        draw.text((sum(widths[:c]) + GAP * c + 3, 3), title, fill="black", font_size=13)
    with written_beside(out, force=force) as part:
        sheet.save(part, "PNG")


def draw_gallery(
    cells: Iterable[tuple[str, np.ndarray]],
    out: str | os.PathLike[str],
    height: int = 240,
    columns: int = 6,
    *,
    force: bool = False,
) -> None:
    """Pictures uint8 [H, W, 3] of one size, each with its name above it, `columns` in a row, as a PNG."""
    pictures = [(name, _to_height(cell, height)) for name, cell in cells]
    width, columns = max(picture.width for _, picture in pictures), min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (LABEL + height + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(pictures):
        x, y = number % columns * (width + GAP), number // columns * (LABEL + height + GAP)
        draw.text((x + 3, y + 2), name, fill="black", font_size=14)
        sheet.paste(picture, (x, y + LABEL))
    with written_beside(out, force=force) as part:
        sheet.save(part, "PNG")


def style_sheet(
    painters: Iterable[tuple[str, Callable[[np.ndarray], np.ndarray]]],
    out: str | os.PathLike[str],
    photograph: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
) -> None:
    """A photograph (default: a bundled one), then what each painter, with its style's name, makes of it (uint8 RGB
    [H, W, 3] to the same). Raises RtstyleError if the photograph cannot be read, or is too small to paint."""
    frame = read_image(photograph or bundled_photograph()).rgb
    if frame.shape[0] > 2 * STYLE_HEIGHT:
        frame = np.asarray(_to_height(frame, 2 * STYLE_HEIGHT))
    if min(frame.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"{photograph} would be {frame.shape[1]} x {frame.shape[0]} pixels in the sheet: give a photograph that is "
            f"at least {MIN_SIDE} x {MIN_SIDE} there"
        )
    painted = ((name, paint(frame)) for name, paint in painters)
    draw_gallery([("photograph", frame), *painted], out, STYLE_HEIGHT, force=force)


def _to_height(picture: np.ndarray, height: int) -> Image.Image:
    image = Image.fromarray(picture)
    return image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)
