"""What an evaluation has found: as a table, as JSON, as a contact sheet."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.box
from PIL import Image, ImageOps
from rich.table import Table

from rtstyle.export.evaluate import lbfgs_reference
from rtstyle.media.contact_sheet import draw_grid

# What a shipped style of `live` must reach; beyond it the table is red
MIN_PAINT, MIN_RECOGNITION, MAX_RATIO = 0.58, 0.58, 0.30
SHEET_HEIGHT = 200


@dataclasses.dataclass(frozen=True)
class Score:
    """One style on all photographs. Shares are 0 to 1; None where there is nothing to choose from."""

    name: str
    title: str
    artist: str
    paint: float
    recognition: float
    recognized: float | None
    light: float  # correlation of the ranks of areas by their light, photograph and painting
    ratio: float  # of mean squared style distances, painted to photograph
    subject: float
    style_distance: float  # mean_c d(y, s)
    photo_distance: float  # mean_c d(c, s)
    palette: float  # of mean sliced Wasserstein distances of colours, painted to photograph
    ssim: float
    style_layers: dict[str, float]  # mean over photographs of the relative squared distance, by layer
    photo_layers: dict[str, float]  # the same for the unpainted photographs
    milliseconds: float  # median per frame here and now; `rtstyle bench` times properly
    warp: float | None = None  # synthetic motion, with sensor noise in the second look
    warp_clean: float | None = None  # the same without noise
    warp_clip: float | None = None  # a real clip, where one was given
    flicker: float | None = None
    artefacts: dict[str, float | None] | None = None
    lbfgs: lbfgs_reference.Reference | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate_model` found."""

    model: str
    model_sha256: str
    body: str
    body_sha256: str
    steps: int | None
    photographs: int
    size: int
    style_size: int
    vgg_sha256: str
    scores: list[Score]
    noise: dict[str, float]  # grey levels of sensor noise by measure: `warp`, `flicker`
    clip: dict[str, Any] | None  # file, frames, and the warping error of the unpainted clip: the floor of its flow
    # uint8 [H, W, 3]: the artworks, then [photograph, painted in each style...] for the first SHEET_ROWS
    artworks: list[np.ndarray] = dataclasses.field(repr=False, compare=False)
    rows: list[list[np.ndarray]] = dataclasses.field(repr=False, compare=False)

    def overall(self) -> dict[str, Any]:
        """Means over the styles; besides, the worst style by each of what a goal is set for."""
        numbers = [f.name for f in dataclasses.fields(Score) if f.name not in ("name", "title", "artist", "lbfgs")]
        means = {name: mean_of([getattr(score, name) for score in self.scores]) for name in numbers}
        ratios = [score.lbfgs.ratios for score in self.scores if score.lbfgs]
        means["lbfgs_ratios"] = mean_of(ratios) if ratios else None
        return means | {
            "styles": len(self.scores),
            "least_paint": min(score.paint for score in self.scores),
            "least_recognition": min(score.recognition for score in self.scores),
            "worst_ratio": max(score.ratio for score in self.scores),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures, in plain types."""
        plain = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("scores", "artworks", "rows")
        }
        scores = [dataclasses.asdict(score) for score in self.scores]
        goals = {"paint": MIN_PAINT, "recognition": MIN_RECOGNITION, "ratio": MAX_RATIO}
        report = plain | {"goals": goals, "overall": self.overall(), "styles": scores}
        if any(score.lbfgs for score in self.scores):
            report["lbfgs_left_out"] = lbfgs_reference.LEFT_OUT
        result: dict[str, Any] = json.loads(json.dumps(report, allow_nan=False))  # keys are strings and tuples lists
        return result

    def print_json(self) -> None:
        """`to_json` to standard output."""
        sys.stdout.write(json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def table(self) -> Table:
        """One line a style and their means, in 80 columns; what is beyond a goal is red."""
        steps = "" if self.steps is None else f", {self.steps} steps"
        table = Table(
            title=f"{self.model}{steps}: {self.photographs} photographs at {self.size} px, artworks at "
            f"{self.style_size} px",
            caption="paint: share of the painted detail that the photograph does not explain\n"
            "recog: is alike in the painting what was alike in the photograph? top-1: of all\n"
            "light: is light in the painting what was light in the photograph? 1: in all areas\n"
            "ratio: style distance left, of the photograph's own; subject: of its busy half\n"
            "palette: distance left between the colours and the artwork's\n"
            f"warp, flicker: grey levels, moving and still, sensor noise {self.noise['warp']:g} and "
            f"{self.noise['flicker']:g}",
            box=rich.box.SIMPLE_HEAD,
            padding=0,
            pad_edge=False,
            caption_justify="left",
        )
        table.add_column("style", no_wrap=True, max_width=26)
        for name in ("paint", "recog", "top-1", "light", "ratio", "subject", "palette", "warp", "flicker"):
            table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
        for score in self.scores:
            table.add_row(score.name, *_cells(dataclasses.asdict(score)))
        table.add_section()
        table.add_row("mean", *_cells(self.overall()))
        return table

    def lbfgs_table(self) -> Table:
        """The objective of the net and of L-BFGS by iterations, with the ratio of the two; beyond 1 it is red."""
        table = Table(
            title="L-BFGS reference: the training's objective, the net's and that of L-BFGS on the picture",
            caption=f"net / L-BFGS in brackets; without the terms {', '.join(lbfgs_reference.LEFT_OUT)}",
        )
        measured = [(score.name, score.lbfgs) for score in self.scores if score.lbfgs]
        counts = list(measured[0][1].ratios)
        table.add_column("style", no_wrap=True)
        for name in ("photograph", "net", *(f"{count} iterations" for count in counts)):
            table.add_column(name, justify="right", no_wrap=True)

        def cell(total: float | None, ratio: float) -> str:
            color = "green" if ratio <= 1 else "red"
            return ("" if total is None else f"{total:.2f} ") + f"[{color}]({ratio:.2f})[/]"

        for name, of in measured:
            cells = [cell(reached.total, of.ratios[reached.iterations]) for reached in of.gatys]
            table.add_row(name, f"{of.photograph.total:.2f}", f"{of.net.total:.2f}", *cells)
        table.add_section()
        means = self.overall()["lbfgs_ratios"]
        table.add_row("mean", "", "", *(cell(None, means[count]) for count in counts))
        return table

    def save_sheet(self, out: str | os.PathLike[str], height: int = SHEET_HEIGHT, *, force: bool = False) -> None:
        """A contact sheet as a PNG: the artworks in the first row, then a photograph a row, painted in every
        style. Cells are `height` pixels high. It shows the photographs: publish it only if they allow that."""
        width = max(round(row[0].shape[1] * height / row[0].shape[0]) for row in self.rows)
        corner = np.full((height, width, 3), 255, np.uint8)
        top = [corner, *(_into_cell(artwork, width, height) for artwork in self.artworks)]
        titles = ["photograph", *(score.name for score in self.scores)]
        draw_grid([top, *self.rows], titles, out, height, force=force)


def _cells(values: dict[str, Any]) -> list[str]:
    def judged(key: str, good: bool) -> str:
        return f"[{'green' if good else 'red'}]{values[key]:.2f}[/]"

    top = values["recognized"]
    return [
        judged("paint", values["paint"] >= MIN_PAINT),
        judged("recognition", values["recognition"] >= MIN_RECOGNITION),
        "-" if top is None else f"{100 * top:.0f}%",
        f"{values['light']:.2f}",
        judged("ratio", values["ratio"] <= MAX_RATIO),
        f"{values['subject']:.2f}",
        f"{values['palette']:.2f}",
        *("-" if values[k] is None else f"{values[k]:.1f}" for k in ("warp", "flicker")),
    ]


def mean_of(values: Sequence[Any]) -> Any:
    """The mean of numbers, or of dicts key by key; None where one of them is None."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], dict):
        return {key: mean_of([value[key] for value in values]) for key in values[0]}
    return statistics.fmean(values)


def _into_cell(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The whole picture on white, so that a wide artwork does not widen the column of its style."""
    return np.array(ImageOps.pad(Image.fromarray(picture), (width, height), Image.Resampling.LANCZOS, color="white"))
