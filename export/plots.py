"""Pictures of a training run: loss curves and previews."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from rtstyle.export.networks import Body
from rtstyle.media.chart import chart
from rtstyle.media.contact_sheet import draw_grid


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over `window` values, shorter at the start."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    means: np.ndarray = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def draw_curves(rows: list[list[float]], columns: tuple[str, ...], out: str | os.PathLike[str]) -> None:
    """Losses over steps, smoothed, on a logarithmic axis, as a PNG."""
    if not rows:
        return
    table = np.asarray(rows, dtype=float)
    with chart(out, "step", "loss", force=True) as axes:
        for name in columns[1:-2]:
            values = table[:, columns.index(name)]
            if not values.any():
                continue  # a part that this recipe does not use
            axes.plot(table[:, 0], smooth(values, max(1, len(values) // 100)), label=name)


def draw_preview(net: Body, photos: Sequence[torch.Tensor], titles: Sequence[str], out: str | os.PathLike[str]) -> None:
    """Photographs uint8 [3, H, W] in every style of a net, a row each, as a PNG. `titles` are those of the styles."""
    rows = []
    for photo in photos:
        frame = photo.permute(1, 2, 0)
        painted = net.stylize(frame.expand(len(net.codes), -1, -1, -1).contiguous(), net.codes)
        rows.append([frame.numpy(), *painted.numpy()])
    draw_grid(rows, ["photograph", *titles], out, force=True)
