"""The L-BFGS reference: what optimising the picture itself reaches on the objective that the net was trained for.

Gatys, Ecker and Bethge (CVPR 2016) start from a picture and descend with L-BFGS; a net answers in one pass. Johnson,
Alahi and Fei-Fei (ECCV 2016, section 4.1) measure their nets by the objective that so many iterations reach: theirs
lie between 50 and 100. For a picture y of a photograph c in the style of an artwork s:

    total = content weight * content + style weight * style

with the terms (`rtstyle.export.losses`), layers and weights with which the model's own training ended, after y was
clamped to 0..255. The other terms (LEFT_OUT) are left out on both sides: they are not of the objective of Gatys et al.
The net paid for them and the reference did not, so that the ratio errs against the net.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from rtstyle.errors import ModelError
from rtstyle.export import losses
from rtstyle.export.recipe import Loss
from rtstyle.gatys.optimize import reproducible
from rtstyle.gatys.pictures import as_tensor
from rtstyle.perceptual import vgg as perceptual

LEFT_OUT = tuple(term.name for term in losses.TERMS if term.name not in ("content", "style"))
HISTORY = 100


@dataclasses.dataclass(frozen=True)
class Terms:
    """The objective of one picture, or its mean over pictures."""

    total: float
    content: float
    style: float


@dataclasses.dataclass(frozen=True)
class Reached(Terms):
    """What L-BFGS reached after so many iterations, with all evaluations of objective and gradient until then."""

    iterations: int
    evaluations: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Reference:
    """One style, means over photographs: the photograph itself, the net's painting, and the optimised pictures, with
    the ratio of totals net / Gatys by iterations; 1 or less: the net is at or below Gatys."""

    style_weight: float
    content_weight: float
    photograph: Terms
    net: Terms
    gatys: list[Reached]
    ratios: dict[int, float]


class Objective:
    """Total, content and style of pictures of one photograph in one style.

    `vgg` computes in float32. `photo` is float [1, 3, H, W], 0 to 255, on the device of `vgg`; `targets` are the Gram
    matrices of the artwork as `losses.Comparison.matrices` gives them.
    """

    def __init__(
        self, vgg: perceptual.VGG, photo: torch.Tensor, targets: losses.Targets, loss: Loss, style_weight: float
    ):
        self.compare = losses.Comparison(loss, vgg)
        self.photo, self.targets = photo, targets
        self.style = torch.zeros(1, dtype=torch.long, device=photo.device)
        self.style_weight = torch.full((1,), style_weight, device=photo.device)
        with torch.no_grad():
            self.photo_features = self.compare.features(photo, style=False)

    def __call__(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(total, content, style), scalars with gradients, of a picture [1, 3, H, W]; clamped to 0..255 first."""
        picture, loss = picture.clamp(0, 255), self.compare.loss
        features = self.compare.features(picture)
        batch = losses.Batch(
            photos=self.photo,
            painted=picture,
            styles=self.style,
            photo_features=self.photo_features,
            features=features,
            matrices=self.compare.matrices(features),
            targets=self.targets,
            style_weights=self.style_weight,
        )
        content, style = losses.content(self.compare, batch)[0], losses.style(self.compare, batch)[0]
        return loss.content_weight * content + self.style_weight[0] * style, content, style

    @torch.no_grad()
    def terms(self, picture: torch.Tensor) -> Terms:
        return Terms(*(float(value) for value in self(picture)))


def optimize(objective: Objective, photo: torch.Tensor, iterations: Sequence[int]) -> list[Reached]:
    """Gatys' descent from the photograph [1, 3, H, W], looked at after so many iterations (rising). One descent: the
    later figures go on from the earlier ones. L-BFGS with a history of 100 and strong Wolfe line search.

    The variable is the picture divided by its number of values: L-BFGS' first step has length 1 in absolute values
    summed up, which is then a mean of one grey level, whatever the size.
    """
    unit = photo.numel()
    variable = (photo / unit).contiguous().requires_grad_()  # L-BFGS wants its gradient flat
    optimizer = torch.optim.LBFGS(
        [variable],
        max_eval=10**9,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )
    evaluations, reached, started = 0, [], time.perf_counter()

    def closure() -> torch.Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        total = objective(variable * unit)[0]
        total.backward()
        return total

    done = 0
    for count in iterations:
        optimizer.param_groups[0]["max_iter"] = count - done
        optimizer.step(closure)
        done, seconds = count, time.perf_counter() - started
        terms = dataclasses.asdict(objective.terms(variable.detach() * unit))
        reached.append(Reached(**terms, iterations=count, evaluations=evaluations, seconds=seconds))
    return reached


def measure(
    vgg: perceptual.VGG,
    device: torch.device,
    loss: Loss,
    style_weights: Sequence[float],
    artworks: Sequence[np.ndarray],
    photos: Sequence[np.ndarray],
    painters: Sequence[Callable[[np.ndarray], np.ndarray]],
    iterations: Sequence[int],
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Reference]:
    """A reference for each style. Artworks and photographs are frames uint8 [H, W, 3]; weights, artworks and painters
    are in the order of the styles; `vgg` is on `device`. Raises RtstyleError if an objective is not a number."""
    iterations, references, jobs = sorted(set(iterations)), [], len(artworks) * len(photos)
    with reproducible():
        for s, (weight, artwork, paint) in enumerate(zip(style_weights, artworks, painters, strict=True)):
            with torch.no_grad():
                compare = losses.Comparison(loss, vgg)
                targets = compare.matrices(compare.features(as_tensor(artwork, device), content=False))
            rows = []
            for p, frame in enumerate(photos):
                photo = as_tensor(frame, device)
                objective = Objective(vgg, photo, targets, loss, weight)
                net = objective.terms(as_tensor(paint(frame), device))
                rows.append((objective.terms(photo), net, optimize(objective, photo, iterations)))
                if progress:
                    progress("L-BFGS reference", s * len(photos) + p + 1, jobs)
            references.append(summarize(weight, loss.content_weight, rows))
    return references


def summarize(style_weight: float, content_weight: float, rows: list[tuple[Terms, Terms, list[Reached]]]) -> Reference:
    """Means over photographs; the ratios are of means, like all ratios of `rtstyle evaluate`."""
    photograph, net = mean([row[0] for row in rows]), mean([row[1] for row in rows])
    gatys = [mean(column) for column in zip(*(row[2] for row in rows), strict=True)]
    if not np.isfinite([net.total, *(reached.total for reached in gatys)]).all():
        raise ModelError(
            "the objective of the L-BFGS reference became NaN or infinite: look at the recipe's layers and weights"
        )
    ratios = {reached.iterations: net.total / max(reached.total, 1e-12) for reached in gatys}
    return Reference(style_weight, content_weight, photograph, net, gatys, ratios)


T = TypeVar("T", bound=Terms)


def mean(items: Sequence[T]) -> T:
    """The mean of equal dataclasses of numbers, field by field."""
    first = items[0]
    names = [f.name for f in dataclasses.fields(first)]
    values: dict[str, Any] = {name: statistics.fmean(getattr(item, name) for item in items) for name in names}
    if isinstance(first, Reached):
        values["iterations"] = first.iterations
    return type(first)(**values)


def loss_of(training: dict[str, Any]) -> Loss:
    """The losses that the model's metadata tells of. Raises RtstyleError where it tells of none: a reference on other
    weights would say nothing of this net."""
    keys = training.get("loss")
    if not isinstance(keys, dict) or not {"content_weight", "style_weight"} <= keys.keys():
        raise ModelError(
            "the model does not say how it was trained (rtstyle.training.loss): it has no L-BFGS reference"
        )
    if keys.get("absolute"):
        raise ModelError("the model was trained with absolute losses: the L-BFGS reference is for relative ones")
    return dataclasses.replace(Loss.as_training_ended(training), repeat_shifts=(), structure_weight=0.0)
