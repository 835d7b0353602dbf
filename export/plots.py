"""Pictures of a training run: loss curves."""

from __future__ import annotations

import os

import numpy as np

from rtstyle.files import written_beside


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over `window` values, shorter at the start."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    means: np.ndarray = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def draw_curves(rows: list[list[float]], columns: tuple[str, ...], out: str | os.PathLike[str]) -> None:
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
