"""What the experiments share: their pictures and networks, painting with snapshots, and measures of what was painted.

Every picture is measured as it can be seen, in 8 bits, and by one objective for all pictures of a table: its content
and style losses are those of rtstyle.gatys.objective with alpha = beta = 1, so that they can be compared, and

    total = alpha content + beta style + tv
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

import rtstyle
from rtstyle.errors import InputError, OutputError, UsageError
from rtstyle.export.evaluate.measures import ssim
from rtstyle.export.lab.plan import EXPERIMENTS, Plan
from rtstyle.export.lab.report import Report, Table, placard
from rtstyle.export.recipe import Recipe
from rtstyle.gatys import optimize
from rtstyle.gatys.objective import Objective, StyleTensor
from rtstyle.gatys.pictures import StylePicture, as_tensor, check_pictures, fit_style, resize
from rtstyle.gatys.settings import Settings
from rtstyle.media.contact_sheet import bundled_photograph
from rtstyle.media.images import read_image
from rtstyle.perceptual import vgg as perceptual

MEASURES = ("content", "style", "tv", "total", "ssim", "psnr")
MEASURED = (
    "content and style are the losses without their weights, total = alpha content + beta style + tv, of the 8-bit "
    "picture; ssim and psnr (dB) compare it with the photograph."
)
DONE = "done"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One painting, or why there is none: `picture` uint8 [H, W, 3] after `steps` iterations, and what it took."""

    picture: np.ndarray | None
    steps: int
    ended: str = DONE
    seconds: float | None = None
    evaluations: int | None = None


class Bench:
    """Where an experiment is done. `content` and `style` are uint8 [H, W, 3] at the size at which it is done."""

    def __init__(self, plan: Plan, out: Path, progress: Callable[[int, int, str], None]):
        self.plan, self.settings, self.progress = plan, plan.settings, progress
        self.done = self.expected = 0
        self.stopped = False
        self._network: perceptual.VGG | None = None
        self.device = perceptual.pick_device(self.settings.device)
        content_file = plan.options.content or bundled_photograph()
        style_files = [plan.options.style] if plan.options.style else [picture for _, picture in plan.pairs]
        check_inputs([content_file, *style_files], out)
        photograph = read_image(content_file).rgb
        styles = [read_opaque(path) for path in style_files]
        check_pictures(photograph, [StylePicture(rgb) for rgb in styles or [photograph]])
        shapes, fits = optimize.expected(photograph.shape[:2], self.settings)  # refuses what does not fit into memory
        self.shape = shapes[-1]
        if plan.name == "features" and fits.side and fits.side < max(self.shape):
            raise UsageError(
                f"`size` {max(self.shape)} needs more memory than there is: feature maps are made in one piece"
            )
        self.content = resize(photograph, self.shape)
        self.styles = [fit_style(style, self.shape, self.settings) for style in styles]
        self.report = Report(f"rtstyle lab {plan.name}: {EXPERIMENTS[plan.name]}", "", out)
        self.report.facts = facts(plan, self.device, Path(content_file).name, [Path(f).name for f in style_files])
        self.report.facts["size"] = f"{self.shape[1]} x {self.shape[0]} pixels"
        if plan.name != "train-ratio":
            self.describe_settings(self.settings)
            self.describe_network(self.vgg())

    @property
    def style(self) -> np.ndarray:
        return self.styles[0]

    @property
    def steps(self) -> int:
        return self.plan.steps[-1]

    def describe_settings(self, settings: Settings | Recipe) -> None:
        """Say in the report which settings there were; files by their names."""
        for name, value in dataclasses.asdict(settings).items():
            if value is not None:
                value = Path(value).name if isinstance(value, os.PathLike) or name == "weights" else value
                self.report.settings[name.replace("_", " ")] = str(value)
        if isinstance(settings, Settings):
            self.report.settings["learning rate"] = str(settings.rate)

    def describe_network(self, vgg: perceptual.VGG) -> None:
        what = f"{vgg.arch}, {vgg.convention} convention, {vgg.path.name}, SHA-256 {vgg.sha256}"
        self.report.facts["network"] = what

    def vgg(self) -> perceptual.VGG:
        """The network of the settings, loaded once."""
        self._network = self._network or optimize.load_vgg(self.settings)
        return self._network

    def tick(self, note: str) -> None:
        """Say that an iteration is done."""
        self.done += 1
        self.progress(self.done, max(self.expected, self.done), note)

    def go_on(self) -> None:
        """Raises KeyboardInterrupt after a Ctrl-C, when what it left has been put down."""
        if self.stopped:
            raise KeyboardInterrupt

    def paint(
        self,
        styles: Sequence[np.ndarray],
        settings: Settings,
        counts: Sequence[int],
        note: str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> tuple[list[Cell], list[optimize.Iteration]]:
        """Gatys' method: a cell for each of the rising numbers of iterations `counts`, and the log of the longest run.

        The pictures are taken out of the longest run on its way; without a pyramid they are those of shorter runs. The
        seconds are those of that run up to there, by `clock`. After a Ctrl-C the last cell is where it got to.
        """
        shots: dict[int, Cell] = {}

        def tell(progress: optimize.Progress) -> None:
            if progress.step in counts:
                shots[progress.step] = Cell(
                    progress.picture(),
                    progress.step,
                    seconds=progress.seconds,
                    evaluations=progress.evaluations,
                )
            self.tick(note)

        settings = dataclasses.replace(settings, steps=max(counts))
        result = optimize.render(self.content, styles, settings, tell, vgg=self.vgg(), clock=clock)
        self.done += settings.steps - result.steps
        if result.ended == "not a number" and result.steps in shots:
            # is the loss of this step still a number, or the first that is not? The shorter run tells
            again = dataclasses.replace(settings, steps=result.steps)
            shorter = optimize.render(self.content, styles, again, vgg=self.vgg())
            if shorter.ended == "not a number":
                del shots[result.steps]
            self.stopped = shorter.ended == "interrupted"
        self.stopped = self.stopped or result.ended == "interrupted"
        cells = [shots[count] for count in counts if count in shots]
        for count in [count for count in counts if count not in shots]:
            if self.stopped:
                if not result.steps or result.steps in shots:
                    break
                ended = f"interrupted after {result.steps}"
                cells += [Cell(result.picture, result.steps, ended, result.seconds, result.evaluations)]
                break
            cells.append(Cell(None, count, f"{result.ended} after {result.steps}"))
        if not cells:
            raise KeyboardInterrupt
        return cells, result.log

    def judge(self, styles: Sequence[np.ndarray] | None = None, settings: Settings | None = None) -> Objective:
        """The objective with alpha = beta = 1 that pictures are measured by."""
        settings = dataclasses.replace(settings or self.settings, content_weight=1.0, style_weight=1.0)
        _, fits = optimize.expected(self.shape, settings)
        side = fits.side if max(self.shape) > (fits.side or 0) else None
        targets = [StyleTensor(as_tensor(style, self.device)) for style in styles or [self.style]]
        with optimize.reproducible():
            return Objective(self.vgg(), settings, as_tensor(self.content, self.device), targets, side)

    def measure(self, picture: np.ndarray, judge: Objective, alpha: float, beta: float) -> dict[str, float]:
        """MEASURES of a picture uint8 [H, W, 3] of the photograph's size."""
        with optimize.reproducible():
            losses, _ = judge(as_tensor(picture, self.device), gradient=False)
        return {
            "content": losses.content,
            "style": losses.style,
            "tv": losses.tv,
            "total": alpha * losses.content + beta * losses.style + losses.tv,
            "ssim": likeness(picture, self.content),
            "psnr": psnr(picture, self.content),
        }

    def loss(self, picture: torch.Tensor, objective: Objective) -> float:
        """The total loss of a picture [1, 3, H, W], 0 to 255."""
        with optimize.reproducible():
            return objective(picture.to(self.device), gradient=False)[0].total

    def record(
        self, table: Table, cell: Cell, judge: Objective, settings: Settings, name: str, label: str, **row: Any
    ) -> tuple[str, np.ndarray]:
        """Put a cell down: a row of `table`, a picture `name` with a caption. Returns (label, picture) for a strip."""
        weights = {"alpha": settings.content_weight, "beta": settings.style_weight}
        took = {"steps": cell.steps, "seconds": cell.seconds, "evaluations": cell.evaluations}
        took = {key: value for key, value in took.items() if key in table.columns}
        measured = dict.fromkeys(MEASURES, math.nan)
        if cell.picture is not None:
            measured = self.measure(cell.picture, judge, **weights)
        table.add(**row, **weights, **took, **measured, ended=cell.ended)
        picture, caption = cell.picture, f"{label}, {cell.steps} iterations" if cell.steps else label
        if picture is None:
            picture = placard(self.shape, cell.ended)
        self.report.picture(name, picture, caption if cell.ended == DONE else f"{caption}: {cell.ended}")
        return label, picture

    def show_inputs(self, *strips: list[tuple[str, np.ndarray]], style: bool = True) -> None:
        """Photograph and style picture at the head of strips and among the pictures."""
        shown = [("photograph", self.content), *([("style", self.style)] if style else [])]
        for name, rgb in shown:
            self.report.picture(name, rgb, name)
            for strip in strips:
                strip.append((name, cover(rgb, self.shape)))


def check_inputs(files: Sequence[str | os.PathLike[str]], out: Path) -> None:
    """Raises RtstyleError if the report would be written over a picture that it is made from."""
    for file in files:
        if out.resolve() in Path(file).resolve().parents:
            raise OutputError(f"{file} lies in {out}, where the report goes: give another `out`")


def read_opaque(path: str | os.PathLike[str]) -> np.ndarray:
    """A style picture, uint8 [H, W, 3]. Raises RtstyleError if parts of it are transparent: which style have these?"""
    picture = read_image(path)
    if picture.alpha is not None and (picture.alpha < 255).any():
        raise InputError(f"{path} is transparent in places: the experiments take style pictures without alpha")
    return picture.rgb


def cover(rgb: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The middle of a picture uint8 [H, W, 3], scaled to fill (height, width), for strips of equal pictures."""
    return np.asarray(ImageOps.fit(Image.fromarray(rgb), shape[::-1], Image.Resampling.LANCZOS))


def likeness(picture: np.ndarray, other: np.ndarray) -> float:
    """SSIM of two pictures uint8 [H, W, 3]: 1 for equal ones."""
    return float(ssim(np.array(picture[None]), np.array(other[None]))[0])


def psnr(picture: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / mean squared difference); infinite for equal pictures."""
    error = np.square(picture.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / error)) if error else math.inf


def facts(plan: Plan, device: torch.device, content: str, styles: Sequence[str]) -> dict[str, str]:
    """What makes the experiment again, besides its settings."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"threads: {torch.get_num_threads()}"
    names = ("numpy", "pillow", "onnxruntime", "matplotlib")
    return {
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rtstyle": rtstyle.__version__ if hasattr(rtstyle, "__version__") else version("rtstyle"),
        "Python, torch": f"{platform.python_version()}, {torch.__version__}",
        "other packages": ", ".join(f"{name} {package_version(name)}" for name in names),
        "device": f"{device} ({where}), {platform.system()} {platform.machine()}",
        "photograph": content,
        "style": ", ".join(styles) or "none",
        "preset": plan.preset or "none",
        "quick": "yes: small pictures, few iterations" if plan.options.quick else "no",
        "seed": str(plan.settings.seed),
    }


def package_version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:  # onnxruntime goes by several names
        module = __import__(name)
        return getattr(module, "__version__", "of unknown version")


def timed(work: Callable[[], np.ndarray], times: int = 5) -> tuple[np.ndarray, float]:
    """What `work` returns, and the median of its seconds after one call that does not count."""
    result, seconds = work(), []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return result, float(np.median(seconds))
