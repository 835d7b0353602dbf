"""Experiments with feed-forward nets: trainings at several weights, and nets against Gatys' method.

Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer", ECCV 2016.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtstyle.errors import ModelError, RtstyleError
from rtstyle.export.lab.bench import DONE, MEASURED, MEASURES, Bench, Cell, cover, likeness, psnr, timed
from rtstyle.export.lab.report import Curve, Table, placard
from rtstyle.export.networks import Body
from rtstyle.export.plots import smooth
from rtstyle.export.recipe import Loss, Recipe, Stage, Style
from rtstyle.export.train import Trainer
from rtstyle.gatys.settings import Settings, parse_layers
from rtstyle.paint.stylizer import Stylizer

BATCH = 4
LEARNING_RATE = 3e-3
LAST = 0.1  # share of a training over whose steps its losses are averaged


def train_ratio(bench: Bench) -> None:
    """One net a pair of weights, as the first document's figures 7 and 10: both weights are varied."""
    report, plan = bench.report, bench.plan
    report.method = (
        "A small feed-forward net (the live body) trained from scratch for one style at several weights of style and "
        "content, then shown the photograph. Adam does not see a factor that both weights have in common. Content and "
        "style losses are without their weights, means over the last tenth of the steps; ssim and psnr (dB) compare "
        "the painting with the photograph."
    )
    measures = ("total", "content", "style", "ssim", "psnr")
    table = report.table("train-ratio", ("style weight", "content weight", "steps", "seconds", *measures, "ended"))
    strip = report.strip("strip", "The photograph, painted by each net: style : content.")
    plots = {
        part: report.plot(f"curve-{part}", f"{part} loss without its weight, over steps", "step", f"{part} loss")
        for part in ("content", "style")
    }
    bench.show_inputs(strip)
    bench.expected = bench.steps * len(plan.weights)
    for pair in plan.weights:
        label = weights_words(*pair)
        rows, painted, ended = train(bench, *pair)
        row = {"style weight": pair[0], "content weight": pair[1], "steps": len(rows), "ended": ended}
        if rows:
            last = rows[-max(1, round(LAST * len(rows))) :]
            row |= {part: float(np.mean([r[part] for r in last])) for part in ("total", "content", "style")}
            row["seconds"] = rows[-1]["seconds"]
            for part, plot in plots.items():
                values = smooth(np.array([r[part] for r in rows]), max(1, len(rows) // 30))
                plot.append(Curve(label, list(range(1, len(rows) + 1)), list(values)))
        if painted is None:
            painted = placard(bench.shape, ended)
        else:
            row |= {"ssim": likeness(painted, bench.content), "psnr": psnr(painted, bench.content)}
        table.add(**row)
        caption = f"style : content {label}, {len(rows)} steps" + ("" if ended == DONE else f": {ended}")
        report.picture(f"net-{pair[0]:.15g}-{pair[1]:.15g}".replace("+", ""), painted, caption)
        strip.append((label, painted))
        bench.go_on()


def weights_words(style: float, content: float) -> str:
    return f"{style:g} : {content:g}"


def make_recipe(bench: Bench, style_weight: float, content_weight: float) -> Recipe:
    """The live body for one style. Crops have half the size of the experiment's pictures."""
    options, size = bench.plan.options, bench.settings.size
    loss: dict[str, Any] = {"style_weight": style_weight, "content_weight": content_weight, "tv_weight": 0.0}
    if bench.plan.preset:  # the first document: Johnson's absolute losses
        loss |= {"absolute": True, "content_layers": ("relu2_2",)}
    for name in ("content_layers", "style_layers"):
        if given := getattr(options, name):
            loss[name] = tuple(parse_layers(given, lambda layer: 1.0))
    if options.vgg:
        loss["vgg"] = options.vgg
    crop = max(32, size // 16 * 8)
    return Recipe(
        seed=bench.settings.seed,
        steps=bench.steps,
        learning_rate=LEARNING_RATE,
        average=0.99,
        reference_height=size,
        loss=Loss(**loss),
        stage=[Stage(1.0, crop, BATCH, max(32, size))],
        style=[Style(name="style", file=Path(options.style or "").name)],
    )


def train(
    bench: Bench, style_weight: float, content_weight: float
) -> tuple[list[dict[str, float]], np.ndarray | None, str]:
    """(losses and seconds of each step, the photograph painted by the net or None, how it ended)."""
    options, rows, ended = bench.plan.options, [], DONE
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            make_recipe(bench, style_weight, content_weight),
            options.photos,
            Path(options.style or "").absolute().parent,
            Path(folder) / "run",
            device=options.device,
            vgg=options.weights,
            vgg_convention=options.convention,
        )
    bench.describe_settings(trainer.recipe)
    bench.describe_network(trainer.vgg)
    label = weights_words(style_weight, content_weight)
    start = time.perf_counter()
    try:
        for _ in range(bench.steps):
            losses = trainer.train_step()
            rows.append({part: losses[part] for part in ("total", "content", "style")})
            rows[-1]["seconds"] = time.perf_counter() - start
            bench.tick(f"{label} style {losses['style']:.3g}")
    except KeyboardInterrupt:
        bench.stopped, ended = True, f"interrupted after {len(rows)}"
        if not rows:
            raise
    except ModelError:  # a layer that VGG's file does not have
        raise
    except RtstyleError:  # the loss became NaN
        bench.done += bench.steps - len(rows)
        return rows, None, f"not a number after {len(rows)}"
    net = trainer.averaged_net()
    return rows, paint(net, bench.content), ended


def paint(net: Body, rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to the same by a body of one style."""
    painted: np.ndarray = net.stylize(torch.from_numpy(np.array(rgb))[None], net.codes.detach())[0].numpy()
    return painted


def compare(bench: Bench) -> None:
    """Gatys' method against feed-forward nets on the same pictures, by the same objective (the first document)."""
    report, settings, counts = bench.report, bench.settings, bench.plan.steps
    report.method = (
        "Each style by a feed-forward net that learned it and by Gatys' method on the picture that it was learned "
        "from. All results, and the photograph itself, are measured by the objective that Gatys' method minimises; the "
        "nets have never seen it: they were trained with losses of their own, for pictures of the height that is said "
        "below. Seconds are for one picture, networks loaded: of the net the median of five."
    )
    columns = ("style name", "method", "alpha", "beta", "steps", "seconds", *MEASURES, "ended")
    table = report.table("compare", columns, MEASURED)
    nets = [
        Stylizer(name, model=bench.plan.options.model or "live", device=bench.settings.device, work_height="full")
        for name, _ in bench.plan.pairs
    ]
    report.facts["nets"] = ", ".join(
        f"{net.style} ({net.model.path.name}, body {net.model.body_sha256[:12]}, trained for pictures of "
        f"{net.model.reference_height} pixels) on {net.device.name}"
        for net in nets
    )
    report.picture("photograph", bench.content, "photograph")
    bench.expected = counts[-1] * len(nets)
    names: Counter[str] = Counter()
    for (name, _), net, style in zip(bench.plan.pairs, nets, bench.styles, strict=True):
        plain = Path(name).name.replace(":", "-").replace(",", "-").replace("#", "-")
        names[plain] += 1
        short = plain if names[plain] == 1 else f"{plain}-{names[plain]}"
        compare_one(bench, table, short, net, style, settings)
        bench.go_on()


def compare_one(bench: Bench, table: Table, name: str, net: Stylizer, style: np.ndarray, settings: Settings) -> None:
    """One style: a strip of photograph, style picture, net and Gatys' method, and a row of figures for each result."""
    judge = bench.judge([style])
    words = f"{name}: the net, and Gatys' method after so many iterations."
    strip = bench.report.strip(f"strip-{name}", words, min(6, 3 + len(bench.plan.steps)))
    bench.report.picture(f"{name}-style", style, f"{name}: the style picture")
    strip += [("photograph", bench.content), (f"style {name}", cover(style, bench.shape))]
    painted, seconds = timed(lambda: net(bench.content))
    weights = {"alpha": settings.content_weight, "beta": settings.style_weight}
    measured = bench.measure(bench.content, judge, **weights)
    table.add(**{"style name": name}, method="photograph", **weights, steps=0, **measured)
    row = {"style name": name, "method": "net"}
    strip.append(
        bench.record(table, Cell(painted, 0, seconds=seconds), judge, settings, f"{name}-net", f"{name}: net", **row)
    )
    for cell in bench.paint([style], settings, bench.plan.steps, name)[0]:
        row = {"style name": name, "method": "gatys"}
        file, label = f"{name}-gatys-{cell.steps:05}", f"{name}: Gatys"
        _, picture = bench.record(table, cell, judge, settings, file, label, **row)
        strip.append((f"Gatys, {cell.steps}", picture))
