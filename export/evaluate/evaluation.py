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
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtstyle.errors import InputError, ModelError, UsageError
from rtstyle.export.data import evenly, list_pictures, read_picture
from rtstyle.export.evaluate import lbfgs_reference, measures
from rtstyle.export.evaluate.judge import STYLE_LAYERS, Judge, Progress
from rtstyle.export.evaluate.report import Evaluation, Score
from rtstyle.export.recipe import Loss, Recipe, Style
from rtstyle.export.to_onnx import read_training
from rtstyle.gallery import catalog, model_file
from rtstyle.perceptual import vgg as perceptual
from rtstyle.runtime import devices

STYLE_SIZE = 288  # short side of the artworks where the model's metadata names none
SHEET_ROWS = 24  # photographs kept for the sheet: a sheet of hundreds of rows helps nobody
WARP_PHOTOS = 8  # photographs, evenly taken, for warping error and grain: their spread is small
FLICKER_PHOTOS = 4


def evaluate_model(
    model: str | os.PathLike[str],
    photos: str | os.PathLike[str],
    pictures: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] | None = None,
    encoder: bool = False,
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
    With `encoder` the styles are instead all pictures of that folder, as the encoder sees them.
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
    check_numbers(size, style_size, limit, iterations)
    if encoder and recipe:
        raise UsageError("`recipe` says which artwork belongs to which style: with `encoder` every picture is a style")
    if encoder and iterations:
        raise UsageError("`iterations` goes with styles that were learned, not with `encoder`")
    subject = open_subject(model, pictures, recipe, size, style_size, encoder=encoder)
    loss = lbfgs_reference.loss_of(subject.training) if iterations else None  # refused now, not after an hour
    where = perceptual.pick_device(device)
    artworks = subject.artworks(subject.style_size)
    film = measures.read_clip(clip, subject.size) if clip else None
    network = perceptual.VGG("vgg16", vgg, convention=vgg_convention)
    net = reference_network(loss.vgg, vgg, vgg_convention, where) if loss else None
    frames = [as_frame(read_picture(path, subject.size)) for path in evenly(list_pictures(photos), limit)]
    judge = Judge(network, artworks, frames, progress)
    measured, rows = measure_photographs(subject.painters, frames, judge, progress)
    scores = with_motion(summarize(subject.model.styles, measured), subject, frames, film, progress)
    if loss and net:
        scores = with_references(scores, subject, artworks, frames, loss, net, where, iterations, progress)
    return Evaluation(
        **subject.about(),
        photographs=len(frames),
        size=subject.size,
        style_size=subject.style_size,
        vgg_sha256=judge.vgg.sha256,
        scores=scores,
        noise={"warp": measures.WARP_NOISE, "flicker": measures.FLICKER_NOISE},
        clip=about(clip, film) if clip and film else None,
        artworks=artworks,
        rows=rows,
    )


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured: a model, its training, a painter for each style, and the recipe's entries and pictures."""

    model: model_file.Model
    training: dict[str, Any]
    painters: list[measures.Painter]
    entries: list[Style]
    pictures: Path
    size: int
    style_size: int

    def artworks(self, size: int) -> list[np.ndarray]:
        """The artworks of the styles, uint8 [H, W, 3] with a short side of `size` pixels."""
        return [as_frame(read_picture(self.pictures / entry.file, size)) for entry in self.entries]

    def about(self) -> dict[str, Any]:
        """What a report says of the model, as fields of an Evaluation."""
        return {
            "model": self.model.path.name,
            "model_sha256": hashlib.sha256(self.model.path.read_bytes()).hexdigest(),
            "body": self.model.body,
            "body_sha256": self.model.body_sha256,
            "steps": self.training.get("steps"),
        }


def open_subject(
    model: str | os.PathLike[str],
    pictures: str | os.PathLike[str],
    recipe: str | os.PathLike[str] | None,
    size: int | None,
    style_size: int | None,
    *,
    encoder: bool = False,
) -> Subject:
    """The model with its artworks; arguments as for `evaluate_model`."""
    loaded = catalog.load(str(model))
    if encoder:
        files = [path for path in list_pictures(pictures) if path.parent == Path(pictures)]
        if not files:
            raise InputError(f"{pictures} itself holds no picture")
        loaded = dataclasses.replace(loaded, styles=tuple(catalog.picture_style(path, loaded) for path in files))
    if not loaded.keeps_contract:
        raise ModelError(f"{loaded.path.name} is a net for other programs: what is measured is a model of rtstyle")
    session = devices.open_session(str(loaded.path), devices.choose("cpu"))
    _, height, width, _ = session.get_inputs()[0].shape
    if isinstance(height, int) and isinstance(width, int):
        raise ModelError(
            f"{loaded.path.name} paints frames of {width}x{height} only: measure the model that it was exported from"
        )
    training = read_training(session.get_modelmeta().custom_metadata_map)
    return Subject(
        loaded,
        training,
        [painter(session, style.code if loaded.takes_code else None) for style in loaded.styles],
        [Style(name=style.name, file=style.source) for style in loaded.styles]
        if encoder
        else styles_of(loaded, training, recipe),
        Path(pictures),
        size or loaded.reference_height,
        style_size or trained_style_size(training),
    )


def check_numbers(size: int | None, style_size: int | None, limit: int | None, iterations: Sequence[int]) -> None:
    """Raises UsageError for numbers that are out of range, whatever the model."""
    if (size is not None and size < 64) or (style_size is not None and style_size < 64):
        raise UsageError("pictures must be measured at a size of at least 64 pixels")
    if limit is not None and limit < 1:
        raise UsageError(f"at least one photograph must be taken, not {limit}")
    if any(count < 1 for count in iterations):
        raise UsageError(f"the L-BFGS reference needs at least one iteration, not {min(iterations)}")


def trained_style_size(training: dict[str, Any]) -> int:
    """The short side of the artworks in the last stage of a training, the largest of several."""
    stages = training.get("stages") or [{}]
    earlier = training.get("loss", {}).get("style_size", STYLE_SIZE)  # where recipes had one size for all
    size: int | list[int] = stages[-1].get("style_size", earlier)
    return max(size) if isinstance(size, list) else size


def about(path: str | os.PathLike[str], clip: measures.Clip) -> dict[str, Any]:
    """What a report says of a clip."""
    unpainted = measures.clip_error(measures.as_it_is, clip)
    return {"file": Path(path).name, "frames": len(clip.frames), "unpainted": unpainted}


def with_motion(
    scores: list[Score],
    subject: Subject,
    frames: list[np.ndarray],
    clip: measures.Clip | None,
    progress: Progress | None,
) -> list[Score]:
    """The scores, with what is measured of a painter alone: its behaviour under motion and noise, its artefacts."""
    some, few = evenly(frames, WARP_PHOTOS), evenly(frames, FLICKER_PHOTOS)
    artworks = subject.artworks(subject.size)  # at the size of the photographs, for grain
    measured = []
    for s, (score, paint, artwork) in enumerate(zip(scores, subject.painters, artworks, strict=True)):
        measured.append(
            dataclasses.replace(
                score,
                warp=measures.warping_error(paint, some),
                warp_clean=measures.warping_error(paint, some, noise=0),
                warp_clip=measures.clip_error(paint, clip) if clip else None,
                flicker=measures.flicker(paint, few),
                artefacts=measures.artefacts(paint, some, artwork),
            )
        )
        if progress:
            progress("motion and artefacts", s + 1, len(artworks))
    return measured


def with_references(
    scores: list[Score],
    subject: Subject,
    artworks: Sequence[np.ndarray],
    frames: list[np.ndarray],
    loss: Loss,
    vgg: perceptual.VGG,
    device: torch.device,
    iterations: Sequence[int],
    progress: Progress | None,
) -> list[Score]:
    """The scores, with the L-BFGS reference of each style. `vgg` is on `device`."""
    weights = style_weights(subject.entries, subject.training, loss.style_weight)
    references = lbfgs_reference.measure(
        vgg, device, loss, weights, artworks, frames, subject.painters, iterations, progress
    )
    return [dataclasses.replace(score, lbfgs=own) for score, own in zip(scores, references, strict=True)]


def reference_network(
    name: str, vgg16: str | os.PathLike[str] | None, convention: str | None, device: torch.device
) -> perceptual.VGG:
    """The VGG that a model was trained with; the weights that the user gave are those of VGG-16."""
    if name != "vgg16":
        vgg16 = convention = None
    return perceptual.VGG(name, vgg16, convention=convention, device=device)


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


def measure_photographs(
    painters: Sequence[measures.Painter], frames: Sequence[np.ndarray], judge: Judge, progress: Progress | None
) -> tuple[list[dict[str, np.ndarray]], list[list[np.ndarray]]]:
    """(what `Judge.measure` says of each frame in every style, with the milliseconds; rows of the sheet, each a frame
    and its paintings)."""
    measured: list[dict[str, np.ndarray]] = []
    rows: list[list[np.ndarray]] = []
    for p, (painted, milliseconds) in enumerate(paint_all(painters, frames)):
        measured.append(judge.measure(p, painted) | {"milliseconds": milliseconds})
        if len(rows) < SHEET_ROWS:
            rows.append([frames[p], *painted])
        if progress:
            progress("painted photographs", p + 1, len(frames))
    return measured, rows


def summarize(styles: Sequence[model_file.Style], measured: list[dict[str, np.ndarray]]) -> list[Score]:
    """What `Judge.measure` said of each photograph, {measure: [S] or [S, L]}, to one score a style."""
    table = {key: np.stack([row[key] for row in measured]) for key in measured[0]}  # [P, S] or [P, S, L]
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
                recognized=mean["recognized"] if len(measured) > 1 else None,
                light=mean["light"],
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
