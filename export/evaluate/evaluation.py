"""How good a model is, measured on photographs it has never seen.

For a photograph c painted as y in the style of an artwork s, with VGG-16 features F_l and Gram matrices G_l:

    paint            share of the painted detail that the photograph does not explain, where it is busy
                     (`measures.paint_share`): 0 for a tinted photograph
    recognition      correlation of the self-similarities of y and c (`measures.self_similarity`): 1 for c itself
    recognized       share of the y that are more like their own c, by that, than like any other photograph
    style distance   d(y, s) = mean_l ||G_l(y) - G_l(s)||^2 / ||G_l(s)||^2     l: relu1_2, relu2_2, relu3_3, relu4_3
    ratio            mean_c d(y, s) / mean_c d(c, s)          0: the artwork's statistics; 1: nothing was painted
    subject          the ratio where the photograph is busy, divided by that of the whole: above 1 the subject is
                     painted less than what is around it
    palette          mean_c w(y, s) / mean_c w(c, s), with w the sliced Wasserstein distance of the colours
                     (`perceptual.palette_loss`)   0: the artwork's colours in the artwork's shares
    SSIM             structural similarity of y and c in luminance (Wang et al. 2004)
    warp             |paint(W(c) + noise) - W(paint(c))| for a known motion W, in grey levels; also without the noise,
                     and on a real clip with estimated flow
    flicker          deviation over time of the painting of a still photograph under sensor noise, in grey levels
    artefacts        checkerboards, seams, unrest on flat grey, grain: `measures.artefacts`
    lbfgs            the training's objective against that of L-BFGS on the picture itself: `lbfgs_reference`

Paint alone can be had by destroying the photograph, recognition by painting nothing: read them together, and look at
the sheet.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import rich.box
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from rich.table import Table

from rtstyle.errors import InputError, ModelError, UsageError
from rtstyle.export.data import list_pictures, read_picture
from rtstyle.export.evaluate import lbfgs_reference, measures
from rtstyle.export.recipe import Recipe, Style
from rtstyle.files import written_beside
from rtstyle.gallery import catalog, model_file
from rtstyle.media.contact_sheet import draw_grid
from rtstyle.perceptual import vgg as perceptual
from rtstyle.runtime import devices

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
RECOGNITION_LAYER = "relu4_2"
STYLE_SIZE = 288  # short side of the artworks where the model's metadata names none
# What a shipped style of `live` must reach; beyond it the table is red
MIN_PAINT, MIN_RECOGNITION, MAX_RATIO = 0.58, 0.58, 0.30
BATCH = 4  # pictures through VGG at once: more costs memory and wins no time on a CPU
SHEET_ROWS = 24  # photographs kept for the sheet: a sheet of hundreds of rows helps nobody
SHEET_HEIGHT = 200
WARP_PHOTOS = 8  # photographs, evenly taken, for warping error and grain: their spread is small
FLICKER_PHOTOS = 4

Progress = Callable[[str, int, int], None]
Features = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Score:
    """One style on all photographs. Shares are 0 to 1; None where there is nothing to choose from."""

    name: str
    title: str
    artist: str
    paint: float
    recognition: float
    recognized: float | None
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

    def save_json(self, out: str | os.PathLike[str] | None = None) -> None:
        """`to_json` into a file, or to standard output."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if out is None:
            sys.stdout.write(text)
            return
        with written_beside(out) as part:
            part.write_text(text, encoding="utf-8")

    def table(self) -> Table:
        """One line a style and their means, in 80 columns; what is beyond a goal is red."""
        steps = "" if self.steps is None else f", {self.steps} steps"
        table = Table(
            title=f"{self.model}{steps}: {self.photographs} photographs at {self.size} px, artworks at "
            f"{self.style_size} px",
            caption="paint: share of the painted detail that the photograph does not explain\n"
            "recog: is alike in the painting what was alike in the photograph? top-1: of all\n"
            "ratio: style distance left, of the photograph's own; subject: of its busy half\n"
            "palette: distance left between the colours and the artwork's\n"
            f"warp, flicker: grey levels, moving and still, sensor noise {self.noise['warp']:g} and "
            f"{self.noise['flicker']:g}",
            box=rich.box.SIMPLE_HEAD,
            padding=0,
            pad_edge=False,
            caption_justify="left",
        )
        table.add_column("style", no_wrap=True)
        for name in ("paint", "recog", "top-1", "ratio", "subject", "palette", "warp", "flicker", "ms"):
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

    def save_sheet(self, out: str | os.PathLike[str], height: int = SHEET_HEIGHT) -> None:
        """A contact sheet as a PNG: the artworks in the first row, then a photograph a row, painted in every
        style. Cells are `height` pixels high. It shows the photographs: publish it only if they allow that."""
        width = max(round(row[0].shape[1] * height / row[0].shape[0]) for row in self.rows)
        corner = np.full((height, width, 3), 255, np.uint8)
        top = [corner, *(_into_cell(artwork, width, height) for artwork in self.artworks)]
        draw_grid([top, *self.rows], ["photograph", *(score.name for score in self.scores)], out, height)


def _cells(values: dict[str, Any]) -> list[str]:
    def judged(key: str, good: bool) -> str:
        return f"[{'green' if good else 'red'}]{values[key]:.2f}[/]"

    top = values["recognized"]
    return [
        judged("paint", values["paint"] >= MIN_PAINT),
        judged("recognition", values["recognition"] >= MIN_RECOGNITION),
        "-" if top is None else f"{100 * top:.0f}%",
        judged("ratio", values["ratio"] <= MAX_RATIO),
        f"{values['subject']:.2f}",
        f"{values['palette']:.2f}",
        *("-" if values[k] is None else f"{values[k]:.1f}" for k in ("warp", "flicker")),
        f"{values['milliseconds']:.1f}",
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


def evaluate_model(
    model: str | os.PathLike[str],
    photos: str | os.PathLike[str],
    pictures: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] | None = None,
    vgg: str | os.PathLike[str] | None = None,
    vgg_convention: str | None = None,
    limit: int | None = None,
    size: int | None = None,
    style_size: int | None = None,
    clip: str | os.PathLike[str] | None = None,
    iterations: Sequence[int] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model of the contract on the photographs of a folder (which training must not have seen).

    `model` is a path, `live` or `studio`. `pictures` is the folder of the artworks; which file belongs to which style
    is read from `recipe`; without one the model's metadata say it, for older models the packaged recipe of their body.
    `limit` takes that many photographs, evenly from the sorted list; their short side is scaled to `size` pixels
    (default: the model's reference height), that of the artworks to `style_size` (default: that of the last training
    stage, the largest of several, else 288). Ratios compare only at equal sizes, and a training stopped early may never
    have seen that one. `vgg` and `vgg_convention` as for `perceptual.VGG`. `clip` is a video for the warping error on
    real motion. `iterations` asks for the L-BFGS reference after so many iterations on each photograph and style, on
    `device` as torch names it: about half a second an iteration on two CPU cores at 256 px, so give a small limit too.
    `progress(what, done, total)` is called as it goes.

    Raises RtstyleError for a file that cannot be used, a style that the recipe does not list, or a size, limit or
    number of iterations out of range.
    """
    if (size is not None and size < 64) or (style_size is not None and style_size < 64):
        raise UsageError("pictures must be measured at a size of at least 64 pixels")
    if limit is not None and limit < 1:
        raise UsageError(f"at least one photograph must be taken, not {limit}")
    if any(count < 1 for count in iterations):
        raise UsageError(f"the L-BFGS reference needs at least one iteration, not {min(iterations)}")
    loaded = catalog.load(str(model))
    size = size or loaded.reference_height
    session = devices.open_session(str(loaded.path), devices.choose("cpu"))
    training = read_training(session.get_modelmeta().custom_metadata_map)
    if style_size is None:
        stages = training.get("stages") or [{}]
        earlier = training.get("loss", {}).get("style_size", STYLE_SIZE)  # where recipes had one size for all
        trained = stages[-1].get("style_size", earlier)
        style_size = max(trained) if isinstance(trained, list) else trained
    entries = styles_of(loaded, training, recipe)
    files = [Path(pictures) / style.file for style in entries]
    artworks = [as_frame(read_picture(path, style_size)) for path in files]
    loss = lbfgs_reference.loss_of(training) if iterations else None  # refused now, not after an hour
    film = measures.read_clip(clip, size) if clip else None
    frames = [as_frame(read_picture(path, size)) for path in evenly(list_pictures(photos), limit)]

    judge = Judge(perceptual.VGG("vgg16", vgg, convention=vgg_convention), artworks, frames, progress)
    painters = [painter(session, style.code if loaded.takes_code else None) for style in loaded.styles]
    found: list[dict[str, np.ndarray]] = []
    rows: list[list[np.ndarray]] = []
    for p, (painted, milliseconds) in enumerate(paint_all(painters, frames)):
        found.append(judge.measure(p, painted) | {"milliseconds": milliseconds})
        if len(rows) < SHEET_ROWS:
            rows.append([frames[p], *painted])
        if progress:
            progress("painted photographs", p + 1, len(frames))
    scores = []
    for s, (score, paint, file) in enumerate(zip(summarize(loaded.styles, found), painters, files, strict=True)):
        scores.append(dataclasses.replace(score, **alone(paint, frames, as_frame(read_picture(file, size)), film)))
        if progress:
            progress("motion and artefacts", s + 1, len(painters))
    if loss:
        weights = style_weights(entries, training, loss.style_weight)
        where = perceptual.pick_device(device)
        own = vgg if loss.vgg == "vgg16" else None
        net = perceptual.VGG(loss.vgg, own, convention=vgg_convention if own else None, device=where)
        references = lbfgs_reference.measure(
            net, where, loss, weights, artworks, frames, painters, iterations, progress
        )
        scores = [dataclasses.replace(score, lbfgs=own) for score, own in zip(scores, references, strict=True)]
    return Evaluation(
        model=loaded.path.name,
        model_sha256=hashlib.sha256(loaded.path.read_bytes()).hexdigest(),
        body=loaded.body,
        body_sha256=loaded.body_sha256,
        steps=training.get("steps"),
        photographs=len(frames),
        size=size,
        style_size=style_size,
        vgg_sha256=judge.vgg.sha256,
        scores=scores,
        noise={"warp": measures.WARP_NOISE, "flicker": measures.FLICKER_NOISE},
        clip=about(clip, film) if clip and film else None,
        artworks=artworks,
        rows=rows,
    )


def about(path: str | os.PathLike[str], clip: measures.Clip) -> dict[str, Any]:
    """What a report says of a clip."""
    unpainted = measures.clip_error(measures.as_it_is, clip)
    return {"file": Path(path).name, "frames": len(clip.frames), "unpainted": unpainted}


def alone(
    paint: measures.Painter, frames: list[np.ndarray], artwork: np.ndarray, clip: measures.Clip | None
) -> dict[str, Any]:
    """What concerns a painter alone, as fields of a Score; `artwork` at the size of the photographs, for grain."""
    some = evenly(frames, WARP_PHOTOS)
    return {
        "warp": measures.warping_error(paint, some),
        "warp_clean": measures.warping_error(paint, some, noise=0),
        "warp_clip": measures.clip_error(paint, clip) if clip else None,
        "flicker": measures.flicker(paint, evenly(frames, FLICKER_PHOTOS)),
        "artefacts": measures.artefacts(paint, some, artwork),
    }


def read_training(props: dict[str, str]) -> dict[str, Any]:
    """What the metadata says of the training; empty where it says nothing."""
    try:
        training = json.loads(props.get("rtstyle.training", "{}"))
    except ValueError:
        return {}
    return training if isinstance(training, dict) else {}


def style_weights(entries: Sequence[Style], training: dict[str, Any], common: float) -> list[float]:
    """The style weight of each style as its training ended: that of its training, where the model says it, else its own
    in the recipe, else the common one of the training; times the last stage's factor."""
    known, factor = training.get("style_weights", {}), (training.get("stages") or [{}])[-1].get("style_factor", 1.0)
    return [factor * known.get(style.name, common if style.weight is None else style.weight) for style in entries]


def styles_of(
    model: model_file.Model, training: dict[str, Any], recipe: str | os.PathLike[str] | None = None
) -> list[Style]:
    """The recipe's entry for each style of the model; without a recipe, what the model says of its training, else the
    packaged recipe of its body. Raises RtstyleError for a style that is in neither."""
    files = training.get("pictures", {})
    if recipe is None and all(style.name in files for style in model.styles):
        return [Style(name=style.name, file=files[style.name]) for style in model.styles]
    path = recipe or Path(str(importlib.resources.files("rtstyle.export.recipes"))) / f"{model.body}.toml"
    if recipe is None and not Path(path).is_file():
        raise ModelError(f"no recipe is packaged for the body {model.body}: give the model's own with `recipe`")
    known = {style.name: style for style in Recipe.read(path).style}
    missing = [style.name for style in model.styles if style.name not in known]
    if missing:
        raise InputError(
            f"the recipe {Path(path).name} does not list {', '.join(missing)} of {model.path.name}: "
            "give the recipe that the model was trained with (`recipe`)"
        )
    return [known[style.name] for style in model.styles]


T = TypeVar("T")


def evenly(items: Sequence[T], limit: int | None) -> list[T]:
    """`limit` items spread evenly over the whole sequence; all of them if there are no more or no limit."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def as_frame(picture: torch.Tensor) -> np.ndarray:
    """uint8 [3, H, W] as `read_picture` gives it to a frame uint8 [H, W, 3]."""
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def painter(session: Any, code: np.ndarray | None) -> measures.Painter:
    """A style of a session as a function of one frame. A code of None: the model takes none."""
    extra = {} if code is None else {"code": np.ascontiguousarray(code)}
    return lambda frame: session.run(None, {"frames": np.ascontiguousarray(frame[None])} | extra)[0][0]


def paint_all(
    painters: Sequence[measures.Painter], frames: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame in every style: (uint8 [S, H, W, 3], milliseconds [S]). The first run at a new size, which plans its
    memory, is not timed."""
    seen = set()
    for frame in frames:
        painted, milliseconds = [], []
        for paint in painters:
            if frame.shape not in seen:
                paint(frame)
                seen.add(frame.shape)
            start = time.perf_counter()
            painted.append(paint(frame))
            milliseconds.append(1000 * (time.perf_counter() - start))
        yield np.stack(painted), np.array(milliseconds)


class Judge:
    """Measures painted pictures against S artworks and P photographs.

    `artworks` and `photos` are lists of uint8 frames [H, W, 3], of any sizes.
    """

    def __init__(
        self,
        vgg: perceptual.VGG,
        artworks: Sequence[np.ndarray],
        photos: Sequence[np.ndarray],
        progress: Progress | None = None,
    ):
        self.vgg = vgg
        self.photos = photos
        grams = [self.grams(features(vgg, artwork[None], STYLE_LAYERS)) for artwork in artworks]
        self.targets = {layer: torch.cat([g[layer] for g in grams]) for layer in STYLE_LAYERS}
        self.palettes = torch.cat([palettes(artwork[None]) for artwork in artworks])
        self.similarities = torch.cat([self.similarity(photo[None]) for photo in photos])
        self.own, self.subjects = [], []  # distances [L, S] of each photograph, whole and busy half
        for p, photo in enumerate(photos):
            found = features(vgg, photo[None], STYLE_LAYERS)
            mask = torch.from_numpy(measures.busy_half(photo))
            self.own.append(layer_distances(self.grams(found), self.targets)[:, 0])
            self.subjects.append(layer_distances(self.grams(found, mask), self.targets)[:, 0])
            if progress:
                progress("photographs", p + 1, len(photos))

    @staticmethod
    def grams(found: Features, mask: torch.Tensor | None = None) -> Features:
        """Gram matrices {layer: [N, C, C]}; with a mask [H, W] of the positions that count."""
        if mask is None:
            return {layer: perceptual.gram(maps) for layer, maps in found.items()}
        grams = {}
        for layer, maps in found.items():
            n, c, h, w = maps.shape
            share = F.interpolate(mask[None, None], (h, w), mode="area").reshape(1, 1, h * w)
            flat = maps.reshape(n, c, h * w)
            grams[layer] = (flat * share) @ flat.transpose(1, 2) / (c * share.sum())
        return grams

    def similarity(self, frames: np.ndarray) -> torch.Tensor:
        """`measures.self_similarity` of frames [N, H, W, 3]."""
        height, width = measures.SIMILARITY_SIZE
        small = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
        return measures.self_similarity(features(self.vgg, small, [RECOGNITION_LAYER])[RECOGNITION_LAYER])

    @torch.inference_mode()
    def measure(self, p: int, painted: np.ndarray) -> dict[str, np.ndarray]:
        """Photograph p in every style, row s in style s: uint8 [S, H, W, 3] to {measure: [S]}, or [S, L] by layer."""
        mask, whole, subject, similar = torch.from_numpy(measures.busy_half(self.photos[p])), [], [], []
        for start in range(0, len(painted), BATCH):
            frames = painted[start : start + BATCH]
            found = features(self.vgg, frames, STYLE_LAYERS)
            whole.append(layer_distances(self.grams(found), self.targets).transpose(0, 1))
            subject.append(layer_distances(self.grams(found, mask), self.targets).transpose(0, 1))
            similar.append(self.similarity(frames) @ self.similarities.T / self.similarities.shape[1])  # [N, P]
        own = torch.arange(len(painted))
        layers, busy = torch.cat(whole)[own, :, own], torch.cat(subject)[own, :, own]  # [S, L]
        likeness = torch.cat(similar)
        photo_palette = perceptual.palette_loss(palettes(self.photos[p][None]), self.palettes)
        return {
            "paint": np.array([measures.paint_share(self.photos[p], frame) for frame in painted]),
            "recognition": likeness[:, p].numpy(),
            "recognized": (likeness.argmax(1) == p).float().numpy(),
            "style_distance": layers.mean(1).numpy(),
            "photo_distance": self.own[p].mean(0).numpy(),
            "subject_distance": busy.mean(1).numpy(),
            "photo_subject": self.subjects[p].mean(0).numpy(),
            "palette": perceptual.palette_loss(palettes(painted), self.palettes).numpy(),
            "photo_palette": photo_palette.numpy(),
            "style_layers": layers.numpy(),
            "photo_layers": self.own[p].T.numpy(),
            "ssim": measures.ssim(painted, self.photos[p][None]).numpy(),
        }


def summarize(styles: Sequence[model_file.Style], found: list[dict[str, np.ndarray]]) -> list[Score]:
    """What `Judge.measure` said of each photograph, {measure: [S] or [S, L]}, to one score a style."""
    table = {key: np.stack([row[key] for row in found]) for key in found[0]}  # [P, S] or [P, S, L]
    means = {key: values.mean(0, dtype=float) for key, values in table.items()}
    scores = []
    for s, style in enumerate(styles):
        mean = {key: float(values[s]) for key, values in means.items() if values.ndim == 1}
        ratio = mean["style_distance"] / max(mean["photo_distance"], 1e-12)
        by_layer = {
            key: dict(zip(STYLE_LAYERS, means[key][s].tolist(), strict=True))
            for key in ("style_layers", "photo_layers")
        }
        scores.append(
            Score(
                style.name,
                style.title,
                style.artist,
                paint=mean["paint"],
                recognition=mean["recognition"],
                recognized=mean["recognized"] if len(found) > 1 else None,
                ratio=ratio,
                subject=mean["subject_distance"] / max(mean["photo_subject"], 1e-12) / max(ratio, 1e-12),
                style_distance=mean["style_distance"],
                photo_distance=mean["photo_distance"],
                palette=mean["palette"] / max(mean["photo_palette"], 1e-12),
                ssim=mean["ssim"],
                style_layers=by_layer["style_layers"],
                photo_layers=by_layer["photo_layers"],
                milliseconds=float(np.median(table["milliseconds"][:, s])),
            )
        )
    return scores


@torch.inference_mode()
def features(vgg: perceptual.VGG, frames: np.ndarray, layers: Sequence[str]) -> Features:
    """VGG features of uint8 frames [N, H, W, 3], {layer: [N, C, H_l, W_l]}."""
    return vgg(as_batch(frames), layers)


@torch.inference_mode()
def palettes(frames: np.ndarray) -> torch.Tensor:
    """`perceptual.palette` of uint8 frames [N, H, W, 3]."""
    return perceptual.palette(as_batch(frames))


def as_batch(frames: np.ndarray) -> torch.Tensor:
    """uint8 frames [N, H, W, 3] as float32 [N, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


@torch.inference_mode()
def layer_distances(grams: Features, targets: Features) -> torch.Tensor:
    """Relative squared distances of the Gram matrices of N pictures to those of S artworks, [L, N, S]. Their mean over
    layers is d as above.

    `grams` {layer: [N, C, C]}, `targets` {layer: [S, C, C]}.
    """
    rows = [
        torch.stack([perceptual.relative_style_loss(grams[layer], row[None]) for row in target], dim=1)
        for layer, target in targets.items()
    ]
    return torch.stack(rows)
