"""How the time of painting grows with the pixels, the styles of the gallery and the batch."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtstyle.diagnose.bench import Progress, Row, Settings, doubts, header
from rtstyle.diagnose.machine import load_a_core
from rtstyle.diagnose.scenes import Scene
from rtstyle.diagnose.timing import Step, summary, timed
from rtstyle.errors import OutputError, RtstyleError
from rtstyle.files import written_beside
from rtstyle.paint.stylizer import Stylizer
from rtstyle.runtime.session import Frames
from rtstyle.video.stages import MAX_BATCH_PIXELS

GALLERIES = (1, 4, 16, 64)
BATCHES = (1, 2, 4, 8)


def run_scaling(settings: Settings, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """How the time of painting grows with the pixels, the styles of the gallery and the batch, as JSON."""
    load, steps = load_a_core(), len(settings.sizes) + 2
    report, pixels, rows = header(settings), [], []
    for done, (width, height) in enumerate(settings.sizes):
        progress(done, steps, f"{width}x{height}")
        figures = summary(timed(_painting(settings.stylizer(), Scene(width, height).some()), settings.seconds))
        rows.append(Row(width, height, "paint", **figures))
        megapixels, median = width * height / 1e6, figures["median_ms"]
        pixels.append({"width": width, "height": height, "megapixels": megapixels, "median_ms": median})
        pixels[-1]["ms_per_megapixel"] = median / megapixels
    progress(steps - 2, steps, "styles")
    stylizer, frames = settings.stylizer(), Scene(*settings.sizes[0]).some()
    gallery = by_gallery(stylizer, frames, settings.seconds)
    progress(steps - 1, steps, "batches")
    batches = _by_batch(stylizer, frames, settings.seconds)
    progress(steps, steps, "done")
    return report | {
        "load_a_core": load,
        "scaling": {
            "pixels": pixels,
            "exponent": exponent([p["megapixels"] for p in pixels], [p["median_ms"] for p in pixels]),
            "gallery": gallery,
            "set_style_ms": _set_style(stylizer, settings.seconds / 8),
            "batch": batches,
        },
        "doubts": doubts(load, rows),
    }


def _painting(stylizer: Stylizer, frames: list[Frames]) -> Step:
    """Paints one frame, or batch of them, after the other."""
    return lambda i: stylizer(frames[i % len(frames)])


def exponent(x: Sequence[float], y: Sequence[float]) -> float | None:
    """b of the fit y = a x^b, by least squares of the logarithms; None for fewer than two different x."""
    if len(set(x)) < 2:
        return None
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def by_gallery(stylizer: Stylizer, frames: list[Frames], seconds: float) -> list[dict[str, Any]]:
    """Painting with another style in every frame, out of galleries of several sizes (mixes of the model's styles), one
    gallery after the other: that of one never changes its style."""
    if stylizer.code is None:
        return []
    own = np.stack([style.code for style in stylizer.model.styles])
    shares = np.random.default_rng(0).dirichlet(np.ones(len(own)), max(GALLERIES)).astype(np.float32)
    codes = shares @ own

    def painting(count: int) -> Step:
        return lambda i: stylizer.run(frames[i % len(frames)][None], codes[i % count])

    return [{"styles": count, **summary(timed(painting(count), seconds / 2))} for count in GALLERIES]


def _set_style(stylizer: Stylizer, seconds: float) -> float | None:
    """Milliseconds of `stylizer.style = name`."""
    names = [style.name for style in stylizer.model.styles]
    if stylizer.code is None:
        return None
    return statistics.median(timed(lambda i: setattr(stylizer, "style", names[i % len(names)]), seconds)) * 1e3


def _by_batch(stylizer: Stylizer, frames: list[Frames], seconds: float) -> list[dict[str, Any]]:
    """One size of batch after the other: a GPU keeps fewer of them open than there are."""
    area = frames[0].shape[0] * frames[0].shape[1]
    sizes = [size for size in BATCHES if size == 1 or size * area <= MAX_BATCH_PIXELS]
    stacks = [np.stack([frames[i % len(frames)] for i in range(size)]) for size in sizes]
    return [summary(timed(_painting(stylizer, [stack]), seconds / 2), len(stack)) for stack in stacks]


def check_plot(out: str | os.PathLike[str]) -> None:
    """Raises RtstyleError if there is nothing to draw with, or `out` has an ending that matplotlib does not know."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise RtstyleError("`plot` needs matplotlib: pip install matplotlib, or leave it out: the tables say the same")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    if Path(out).suffix.lower().removeprefix(".") not in known:
        raise OutputError(
            f"{out} cannot be drawn: end it with one of {', '.join(f'.{kind}' for kind in sorted(known))}"
        )


def plot(report: dict[str, Any], out: str | os.PathLike[str], *, force: bool = False) -> None:
    """The three curves of `run_scaling` in one picture; the kind by `out`'s ending, as `check_plot` takes it. Raises
    RtstyleError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scaling = report["scaling"]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    one, two, three = figure.subplots(1, 3)
    x, y = ([row[name] for row in scaling["pixels"]] for name in ("megapixels", "median_ms"))
    one.loglog(x, y, "o-")
    one.set(title="pixels", xlabel="megapixels", ylabel="ms a frame")
    for axis, values in ((one.xaxis, x), (one.yaxis, y)):
        axis.set_ticks(values, [f"{value:.3g}" for value in values])
        axis.set_ticks([], minor=True)
    for axes, name, key in ((two, "gallery", "styles"), (three, "batch", "batch")):
        times = [row["median_ms"] for row in scaling[name]]
        axes.plot([row[key] for row in scaling[name]], times, "o-")
        axes.set(title=name, xlabel=key, ylabel="ms a frame", ylim=(0, 1.2 * max(times, default=1)))
    check_plot(out)
    with written_beside(out, force=force) as part:
        figure.savefig(part)
