"""Pictures of a training run: loss curves and labelled grids."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageDraw

from rtstyle.files import written_beside


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over `window` values, shorter at the start."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw_curves(rows: list[list[float]], columns: tuple[str, ...], out: str | os.PathLike) -> None:
    """Losses over steps, smoothed, on a logarithmic axis, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    if not rows:
        return
    table = np.asarray(rows, dtype=float)
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name in columns[1:-2]:
        values = table[:, columns.index(name)]
        if not values.any():
            continue  # a part that this recipe does not use
        axis.plot(table[:, 0], smooth(values, max(1, len(values) // 100)), label=name)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    axis.grid(alpha=0.3)
    axis.legend()
    with written_beside(out) as part:
        figure.savefig(part, dpi=110, format="png")
    plt.close(figure)


def draw_grid(rows: list[list[np.ndarray]], titles: list[str], out: str | os.PathLike, height: int = 200) -> None:
    """A labelled grid of uint8 pictures [H, W, 3] as a PNG; pictures of a column share its width."""
    pictures = [[Image.fromarray(cell) for cell in row] for row in rows]
    pictures = [
        [p.resize((round(p.width * height / p.height), height), Image.LANCZOS) for p in row] for row in pictures
    ]
    widths = [max(row[c].width for row in pictures) for c in range(len(titles))]
    label, gap = 20, 4
    sheet = Image.new("RGB", (sum(widths) + gap * (len(titles) - 1), label + (height + gap) * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(pictures):
        for c, picture in enumerate(row):
            sheet.paste(picture, (sum(widths[:c]) + gap * c, label + (height + gap) * r))
    for c, title in enumerate(titles):
        draw.text((sum(widths[:c]) + gap * c + 3, 3), title, fill="black", font_size=13)
    with written_beside(out) as part:
        sheet.save(part, "PNG")
