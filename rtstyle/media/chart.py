"""Charts of curves, as PNG files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rtstyle.files import written_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@contextmanager
def chart(
    out: str | os.PathLike[str], x: str, y: str, *, log_x: bool = False, log_y: bool = True, force: bool = False
) -> Iterator[Axes]:
    """Axes to plot into, with their names x and y; when the block ends well, the file is written, with a legend if
    several curves have labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5))
    FigureCanvasAgg(figure)  # without pyplot, which is slow to import and keeps figures
    axes = figure.add_axes((0.1, 0.12, 0.87, 0.84))  # a layout that fits itself draws everything twice
    yield axes
    scales = ("log" if log else "linear" for log in (log_x, log_y))
    axes.set(xlabel=x, ylabel=y, **dict(zip(("xscale", "yscale"), scales, strict=True)))
    axes.grid(alpha=0.3)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(loc="upper right", fontsize=8)
    with written_beside(out, force=force) as part:
        figure.savefig(part, dpi=110, format="png")
