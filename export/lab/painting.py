"""Experiments with Gatys' method: ratios, optimizers, features, reconstructions, augmented styles.

Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
"""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import torch
from PIL import Image

from rtstyle.export.lab.bench import DONE, MEASURED, MEASURES, Bench, cover, likeness, psnr
from rtstyle.export.lab.report import Curve, Table
from rtstyle.gatys import optimize
from rtstyle.gatys import pictures as gatys_pictures
from rtstyle.gatys.pictures import as_tensor
from rtstyle.gatys.settings import MIN_SIDE
from rtstyle.perceptual import vgg as perceptual

TILE, GAP = 72, 3  # pixels of a feature map or filter in a grid, and between them


def ratio(bench: Bench) -> None:
    """A strip over alpha / beta (the fourth document's of 100 to 0.0001, the third's of 1 : 1,000 to 1 : 100,000)."""
    report, settings, judge = bench.report, bench.settings, bench.judge()
    report.method = (
        "The same photograph and style picture with Gatys' method at several ratios of the content's weight alpha to "
        "the style's weight beta; alpha stays."
    )
    table = report.table("ratio", ("alpha/beta", "alpha", "beta", "steps", "seconds", *MEASURES, "ended"), MEASURED)
    strip = report.strip("strip", "From more content to more style, in the order asked for.")
    labels: list[str] = []
    curve = Curve("", [], [], labels)
    trade = report.plot("trade-off", "What is given for what: losses of each result.", "content", "style", log_x=True)
    bench.show_inputs(strip)
    bench.expected = bench.steps * len(bench.plan.ratios)
    for number, value in enumerate(bench.plan.ratios, start=1):
        label = ratio_words(value)
        changed = dataclasses.replace(settings, style_weight=round_off(settings.content_weight / value))
        (cell, *_), _ = bench.paint([bench.style], changed, [bench.steps], label)
        strip.append(bench.record(table, cell, judge, changed, f"ratio-{number}", label, **{"alpha/beta": value}))
        last = table.rows[-1]
        if cell.picture is not None and last["content"] > 0 and last["style"] > 0:
            curve.x.append(last["content"])
            curve.y.append(last["style"])
            labels.append(label)
            trade[:] = [curve]
        bench.go_on()


def round_off(number: float) -> float:
    """Without the last digits: 1 / (1 / 49) is 49."""
    return float(f"{number:.12g}")


def ratio_words(value: float) -> str:
    """alpha : beta, the smaller one 1: `1 : 10,000`, `100 : 1`."""
    return f"{value:,.6g} : 1" if value >= 1 else f"1 : {1 / value:,.6g}"


def optimizers(bench: Bench) -> None:
    """The fifth document's table: optimizers x learning rates x iterations, with curves and thumbnails."""
    report, counts, judge = bench.report, bench.plan.steps, bench.judge()
    # On a CPU, that a machine has other work too must not decide between them; a GPU's work is in no processor's time
    clock, kind = (time.process_time, "processor time") if bench.device.type == "cpu" else (time.perf_counter, "time")
    report.method = (
        "The same objective by several optimizers. Learning rates are in units of a picture of 0..1; L-BFGS has a line "
        "search, so that an iteration may look at several pictures (evaluations: losses with gradients). Seconds are "
        f"{kind} of the longest run up to there, of all threads together."
    )
    columns = ("optimizer", "learning rate", "steps", "seconds", "evaluations", "alpha", "beta", *MEASURES, "ended")
    table = report.table("optimizers", columns, MEASURED)
    strip = report.strip("thumbnails", "One row an optimizer and learning rate.", len(counts))
    plots = {
        name: report.plot(f"curve-{name}", f"{name} loss, weighted, over iterations", "iteration", f"{name} loss")
        for name in ("total", "content", "style")
    }
    times = report.plot("curve-seconds", f"Total loss over {kind}", f"seconds of {kind}", "total loss")
    bench.show_inputs()
    bench.expected = counts[-1] * len(bench.plan.optimizers)
    for name, rate in bench.plan.optimizers:
        label = f"{name} {rate:g}"
        changed = with_optimizer(bench, name, rate)
        cells, log = bench.paint([bench.style], changed, counts, label, clock)
        for cell in cells:
            words = f"{label}, {cell.steps}"
            file = f"{name}-{rate:.15g}-{cell.steps:05}"
            row = {"optimizer": name, "learning rate": rate}
            _, picture = bench.record(table, cell, judge, changed, file, label, **row)
            strip.append((words, picture))
        for part, plot in plots.items():
            plot.append(Curve(label, [p.step for p in log], [getattr(p, part) for p in log]))
        times.append(Curve(label, [p.seconds for p in log], [p.total for p in log]))
        bench.go_on()


def with_optimizer(bench: Bench, name: str, rate: float) -> optimize.Settings:
    """The experiment's settings with another optimizer; Adam keeps the moments that the preset has for it."""
    changed = dataclasses.replace(bench.settings, optimizer=name, learning_rate=rate, unit="range", line_search=True)
    return changed.check()


def features(bench: Bench) -> None:
    """Filters of the first layer and feature maps of chosen ones, as the fifth document shows them (64 of each)."""
    report, vgg, maps = bench.report, bench.vgg(), bench.plan.maps
    report.method = (
        "What VGG's layers make of the photograph: the first maps of each layer, black to white over the range of each "
        "map; and the filters of the first layer, each over its own range."
    )
    columns = ("layer", "channels", "height", "width", "minimum", "mean", "maximum", "silent", "zeros")
    table = report.table(
        "features", columns, "silent: channels that are the same everywhere; zeros: their share of all values."
    )
    bench.show_inputs(style=False)
    bench.expected = len(bench.plan.layers)
    for layer in bench.plan.layers:
        with torch.no_grad(), optimize.reproducible():
            activations = vgg(as_tensor(bench.content, bench.device), [layer])[layer][0].float().cpu().numpy()
        silent = int((activations.max((1, 2)) == activations.min((1, 2))).sum())
        figures = (*summary(activations), silent, float((activations == 0).mean()))
        table.add(**dict(zip(columns, (layer, *activations.shape, *figures), strict=True)))
        shown = min(maps, len(activations))
        grid = tile([as_picture(channel, bench.content.shape[:2]) for channel in activations[:shown]])
        report.picture(f"maps-{layer}", grid, f"{layer}: {shown} of {len(activations)} maps")
        bench.tick(layer)
    report.picture("filters-conv1_1", tile(filters(vgg)), "conv1_1: its filters of 3 x 3 pixels, in colour")


def summary(values: np.ndarray) -> tuple[float, float, float]:
    return float(values.min()), float(values.mean()), float(values.max())


def filters(vgg: perceptual.VGG) -> list[np.ndarray]:
    """The filters of the first layer, uint8 [TILE, TILE, 3] in RGB, each over its own range."""
    state, convention, _ = perceptual.read_weights(vgg.path, vgg.arch, vgg.convention)
    weights = state["features.0.weight"].numpy()
    if perceptual.CONVENTIONS[convention].bgr:
        weights = weights[:, ::-1]
    return [np.repeat(np.repeat(spread(w.transpose(1, 2, 0)), TILE // 3, 0), TILE // 3, 1) for w in weights]


def spread(values: np.ndarray) -> np.ndarray:
    """Smallest to 0, largest to 255, as uint8; black where all are equal."""
    low, high = values.min(), values.max()
    levels: np.ndarray = np.rint((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return levels


def as_picture(channel: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A feature map [h, w] as uint8 [H, W, 3] with the proportions of `shape`, long side TILE."""
    size = [max(1, round(length * TILE / max(shape))) for length in shape]
    how = Image.Resampling.NEAREST if channel.shape[0] < size[0] else Image.Resampling.BOX
    picture = Image.fromarray(spread(channel)).resize(size[::-1], how)
    return np.repeat(np.asarray(picture)[..., None], 3, axis=2)


def tile(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [h, w, 3] of one size in a grid that is about square."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height, width = (length + GAP for length in pictures[0].shape[:2])
    grid = np.full((rows * height - GAP, columns * width - GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        grid[top : top + height - GAP, left : left + width - GAP] = picture
    return grid


def reconstruct(bench: Bench) -> None:
    """Figure 1 of Gatys et al. 2016: the photograph from each of several layers, the style from growing sets."""
    report, settings = bench.report, dataclasses.replace(bench.settings, noise=1.0, tv_weight=0.0)
    report.method = (
        "Pictures that start from noise and are optimised for one thing only: the photograph's features in one layer, "
        "or the style picture's Gram matrices in the first so many layers."
    )
    words = "start: the loss of the noise; left: loss / start. ssim and psnr (dB) compare with the photograph."
    columns = ("kind", "layers", "steps", "seconds", "start", "loss", "left", "ssim", "psnr", "ended")
    table = report.table("reconstruct", columns, words)
    contents = report.strip("content", "The photograph from one layer each.")
    styles = report.strip("style-sets", "The style from more and more layers.")
    bench.show_inputs()
    contents.append(("photograph", bench.content))
    styles.append(("style", cover(bench.style, bench.shape)))
    names = list(settings.style_layers.items())
    tasks = [("content", {layer: 1.0}) for layer in bench.plan.layers]
    tasks += [("style", dict(names[:count])) for count in range(1, len(names) + 1)]
    bench.expected = bench.steps * len(tasks)
    for kind, layers in tasks:
        changed = dataclasses.replace(
            settings,
            content_weight=1.0,
            style_weight=1.0,
            content_layers=layers if kind == "content" else {},
            style_layers=layers if kind == "style" else {},
        )
        aimed = list(layers)
        label = aimed[0] if len(aimed) == 1 else f"{aimed[0]} to {aimed[-1]}"
        reconstruct_one(bench, table, contents if kind == "content" else styles, kind, label, aimed, changed)
        bench.go_on()


def reconstruct_one(
    bench: Bench,
    table: Table,
    strip: list[tuple[str, np.ndarray]],
    kind: str,
    label: str,
    aimed: list[str],
    settings: optimize.Settings,
) -> None:
    (cell, *_), _ = bench.paint([bench.style], settings, [bench.steps], f"{kind} {label}")
    row = {"kind": kind, "layers": " ".join(aimed), "steps": cell.steps, "seconds": cell.seconds, "ended": cell.ended}
    picture = cell.picture
    if picture is None:
        table.add(**row)
        return
    objective = bench.judge(settings=settings)
    start = bench.loss(gatys_pictures.noise(bench.shape, settings.seed), objective)
    loss = bench.loss(as_tensor(picture, bench.device), objective)
    table.add(
        **row, start=start, loss=loss, left=loss / start if start else math.nan,
        ssim=likeness(picture, bench.content), psnr=psnr(picture, bench.content),
    )  # fmt: skip
    caption = f"{kind} from {label}, {cell.steps} iterations"
    bench.report.picture(f"{kind}-{aimed[-1]}", picture, caption if cell.ended == DONE else f"{caption}: {cell.ended}")
    strip.append((label, picture))


def augment(bench: Bench) -> None:
    """Augmented style pictures, which the second document looked at: Gram matrices are averaged over all of them."""
    report, judge = bench.report, bench.judge()
    report.method = (
        "The style taken from the picture alone, or averaged over it and changed copies of it. All results are "
        "measured against the picture itself; `change` is the root mean square distance in grey levels from the result "
        "without augmentation."
    )
    columns = ("augmentation", "pictures", "alpha", "beta", "steps", "seconds", *MEASURES, "change", "ended")
    table = report.table("augment", columns, MEASURED)
    strip = report.strip("strip", "By augmentation.")
    bench.show_inputs(strip)
    variants = augmentations(bench.style, bench.settings.seed)
    sheet = report.strip("style-pictures", "The changed copies, cut to the photograph's shape.", 6)
    changed = {name: copies[1:] for name, copies in variants.items() if name != "all"}
    sheet += [(name, cover(copy, bench.shape)) for name, copies in changed.items() for copy in copies]
    bench.expected = bench.steps * len(variants)
    plain = None
    settings = dataclasses.replace(bench.settings, style_fit="size")  # or every copy would have the same size again
    for name, pictures in variants.items():
        (cell, *_), _ = bench.paint(pictures, settings, [bench.steps], name)
        change = math.nan
        if cell.picture is not None:
            plain = cell.picture if plain is None else plain
            change = float(np.sqrt(np.square(cell.picture.astype(np.float64) - plain).mean()))
        row = {"augmentation": name, "pictures": len(pictures), "change": change}
        strip.append(bench.record(table, cell, judge, bench.settings, f"augment-{name}", name, **row))
        bench.go_on()


def augmentations(style: np.ndarray, seed: int) -> dict[str, list[np.ndarray]]:
    """A style picture uint8 [H, W, 3] and its changed copies, by the kind of change: mirrored, four crops of 70 % of
    each side at places that `seed` gives, at 3/4 and 1/2 of the size, turned by a quarter, half and three quarters."""
    random = np.random.default_rng(seed)
    height, width = (max(MIN_SIDE, round(0.7 * length)) for length in style.shape[:2])
    crops = []
    for _ in range(4):
        top, left = (int(random.integers(0, max(1, have - need + 1)))
                     for have, need in zip(style.shape, (height, width), strict=False))  # fmt: skip
        crops.append(style[top : top + height, left : left + width])
    smaller = [tuple(max(MIN_SIDE, round(share * length)) for length in style.shape[:2]) for share in (0.75, 0.5)]
    kinds = {
        "none": [],
        "flip": [style[:, ::-1]],
        "crops": crops,
        "scales": [gatys_pictures.resize(style, shape) for shape in smaller],
        "rotations": [np.rot90(style, turns) for turns in (1, 2, 3)],
    }
    kinds["all"] = [copy for copies in kinds.values() for copy in copies]
    return {name: [np.ascontiguousarray(rgb) for rgb in (style, *copies)] for name, copies in kinds.items()}
