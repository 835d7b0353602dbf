"""The loss of a painted photograph, as a table of terms.

For a painting y of a content photograph c in style s, with VGG features F_l and Gram matrices G_l (Johnson, eq. 5,
every term relative to its target so that layers and paintings count alike):

    total = w_c  * content:   mean_l ||F_l(y) - F_l(c)||^2 / ||F_l(c)||^2
          + w_u  * structure: what was alike in c stays alike in y: mean difference of the cosines between places of
                              relu4_2, at half size (STROTSS, Kolkin et al. 2019, eq. 2)
          + w_s  * style:     mean_l ||G_l(y) - G_l(s)||^2 / (||G_l(y)|| ||G_l(s)||), over layers and scales
                              (`perceptual.symmetric_style_loss`: what cannot be matched is not made pale)
          + w_s * w_r * repeat: the same for correlations at a distance, which punish wallpaper (Berger and Memisevic
                              2017)
          + w_k  * palette:   the colours of y have the distribution of those of s (`perceptual.palette_loss`)
          + w_a  * light:     areas that are light or dark in c are so in y, with the spread of light of s
          + w_t  * temporal:  the painting of the moved photograph is the moved painting (Wang et al. 2020, ReReVST)
          + w_l  * lattice:   nothing repeats with the steps in which the net enlarges (`LATTICE_STEP`)
          + w_tv * tv, and w_o * range for values outside of 0 to 255

w_s is the style's own weight. `temporal` and `lattice` are squared differences of colours, which half the contrast
would quarter: they are counted as if the painting had the contrast of its artwork. At `style_scales` beyond 1, y and s
are shrunk by that factor first, so that the same layers see structures that many times larger.

With `absolute = true`, content and style are instead those of Johnson as pytorch/examples weighs them: content the mean
square of the difference, style the mean square of the entries of the difference of Gram matrices (divided by C H W),
each summed over its layers, of features on the scale of torchvision's VGG (inputs in standard deviations; those of
weights for 0 to 255 are divided by OXFORD_UNIT).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from rtstyle.export.data import warp
from rtstyle.export.recipe import Loss
from rtstyle.perceptual import vgg as perceptual

STRUCTURE_LAYER, STRUCTURE_SCALE = "relu4_2", 2
OXFORD_UNIT = 255 * 0.226  # grey levels in the standard deviation that torchvision's inputs are divided by
LATTICE_STEP, LATTICE_WINDOW = 8, 64  # pixels: two positions of the innermost layers, and where they are counted
LIGHT_AREA = 8  # pixels, about a stroke: inside it is light and dark as the style likes
LIGHT_SHARE = 0.9  # of what an artwork's light deviates: that of areas; the rest is left to what is inside them
MIN_CONTRAST = 0.4  # of an artwork's: what of a painting counts at least, and so that of a flat photograph's
MIN_LIGHT_SPREAD = 0.1  # in shares of the full range: a photograph that is flatter than that stays flat
PALETTE = "palette"  # among the targets: what is no matrix

Features = dict[str, torch.Tensor]
Targets = dict[str, torch.Tensor]  # Gram matrices [S, C, C] of the artworks by layer and scale, and their palettes


@dataclasses.dataclass(frozen=True)
class Moved:
    """A second look at the photographs, for the temporal term: what the net paints of them, float [N, 3, H, W], and
    the sampling grid [N, H, W, 2] of the motion in between."""

    painted: torch.Tensor
    grid: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Batch:
    """N paintings and all that is compared with them: photographs and paintings [N, 3, H, W] in grey levels, style
    numbers int64 [N], their VGG features, and the Gram matrices of the paintings."""

    photos: torch.Tensor
    painted: torch.Tensor
    styles: torch.Tensor
    photo_features: Features
    features: Features
    matrices: Targets
    targets: Targets
    style_weights: torch.Tensor  # [N]
    moved: Moved | None = None
    light_factors: torch.Tensor | float = 1.0  # [N]

    @functools.cached_property
    def palettes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`perceptual.palette` of the paintings, and of their artworks: [N, 13, 1024]."""
        return perceptual.palette(self.painted), self.targets[PALETTE][self.styles]

    @functools.cached_property
    def to_full_contrast(self) -> torch.Tensor:
        """[N]: what multiplies a squared difference of colours in a painting, so that it comes to what it would be if
        the painting had the contrast of its artwork."""
        painted, artwork = (perceptual.color_variance(palettes).clamp_min(1) for palettes in self.palettes)
        return artwork / torch.maximum(painted, MIN_CONTRAST**2 * artwork)


def feature_name(layer: str, scale: int = 1) -> str:
    """The name of a layer's features of pictures that are shrunk by `scale`."""
    return f"{layer} / {scale}"


class Comparison:
    """What of the settings the terms need to compare features and Gram matrices."""

    def __init__(self, loss: Loss, vgg: perceptual.VGG):
        self.loss, self.vgg = loss, vgg
        self.unit = OXFORD_UNIT if vgg.convention == "oxford" else 1.0

    def layers(self, *, content: bool = True, style: bool = True) -> dict[int, list[str]]:
        """The VGG layers that are compared, by the factor by which pictures are shrunk before; full size first."""
        loss = self.loss
        result: dict[int, list[str]] = {}
        if content:
            result[1] = [*loss.content_layers]
        if style:
            for scale in loss.style_scales:
                result.setdefault(scale, []).extend(loss.style_layers)
            if loss.repeat_shifts:
                result.setdefault(1, []).append(loss.repeat_layer)
        if content and loss.structure_weight:
            result.setdefault(STRUCTURE_SCALE, []).append(STRUCTURE_LAYER)
        return {scale: list(dict.fromkeys(result[scale])) for scale in sorted(result)}

    def features(self, pictures: torch.Tensor, *, content: bool = True, style: bool = True) -> Features:
        """Features of pictures [N, 3, H, W], {`feature_name(layer, scale)`: [N, C, h, w]}: what `content` and
        `structure` compare with the photograph, and what `matrices` are made of."""
        result: Features = {}
        for scale, layers in self.layers(content=content, style=style).items():
            shrunk = F.avg_pool2d(pictures, scale) if scale > 1 else pictures
            result |= {feature_name(layer, scale): maps for layer, maps in self.vgg(shrunk, layers).items()}
        return result

    def matrices(self, features: Features) -> Targets:
        """What describes the style of pictures whose `features` are at hand: Gram matrices {name: [N, C, C]} of every
        layer and scale, and correlations at a distance."""
        loss = self.loss
        names = [feature_name(layer, scale) for scale in loss.style_scales for layer in loss.style_layers]
        result = {name: perceptual.gram(features[name]) for name in names}
        for shift in loss.repeat_shifts:
            for dy, dx in ((shift, 0), (0, shift)):
                result[f"repeat {dy} {dx}"] = perceptual.shifted_gram(features[feature_name(loss.repeat_layer)], dy, dx)
        return result

    def content(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.loss.absolute:
            return perceptual.content_loss(features, target) / self.unit**2
        return perceptual.relative_content_loss(features, target)

    def style(self, grams: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.loss.absolute:
            return perceptual.style_loss(grams, target) / (self.unit**4 * grams.shape[-1] ** 2)
        return perceptual.symmetric_style_loss(grams, target)

    def mean_or_sum(self, values: list[torch.Tensor]) -> torch.Tensor:
        total = torch.stack(values).sum(0)
        return total if self.loss.absolute else total / len(values)


def content(compare: Comparison, batch: Batch) -> torch.Tensor:
    names = [feature_name(layer) for layer in compare.loss.content_layers]
    return compare.mean_or_sum([compare.content(batch.features[k], batch.photo_features[k]) for k in names])


def structure(compare: Comparison, batch: Batch) -> torch.Tensor:
    name = feature_name(STRUCTURE_LAYER, STRUCTURE_SCALE)
    painted, photo = (perceptual.self_similarity(x[name]) for x in (batch.features, batch.photo_features))
    return (painted - photo).abs().mean(dim=(1, 2)) / photo.abs().mean(dim=(1, 2)).clamp_min(1e-6)


def style(compare: Comparison, batch: Batch) -> torch.Tensor:
    return compare.mean_or_sum(_distances(compare, batch, of_style(batch.matrices)))


def repeat(compare: Comparison, batch: Batch) -> torch.Tensor:
    grams = of_style(batch.matrices)
    return torch.stack(_distances(compare, batch, [name for name in batch.matrices if name not in grams])).mean(0)


def of_style(matrices: Targets) -> list[str]:
    """Which of the matrices are Gram matrices, and not correlations at a distance."""
    return [name for name in matrices if not name.startswith("repeat")]


def _distances(compare: Comparison, batch: Batch, names: Sequence[str]) -> list[torch.Tensor]:
    return [compare.style(batch.matrices[name], batch.targets[name][batch.styles]) for name in names]


def palette(compare: Comparison, batch: Batch) -> torch.Tensor:
    return perceptual.palette_loss(*batch.palettes)


def light(compare: Comparison, batch: Batch) -> torch.Tensor:
    """Mean squared difference of the light of areas, both less their mean, in shares of 255^2, times the style's
    factor, [N]. That of the photograph is stretched to the artwork's spread of light."""
    painted, photo = (_light_of_areas(pictures) for pictures in (batch.painted, batch.photos))
    spread = LIGHT_SHARE * perceptual.light_spread(batch.palettes[1]).div(255)
    stretch = spread / photo.std(dim=1, correction=0).clamp_min(MIN_LIGHT_SPREAD)
    return (painted - stretch[:, None] * photo).square().mean(dim=1) * batch.light_factors


def _light_of_areas(pictures: torch.Tensor) -> torch.Tensor:
    """The mean of overlapping squares of LIGHT_AREA pixels, less that of the picture, in shares of 255: [N, areas]."""
    areas = F.avg_pool2d(pictures.mean(1, keepdim=True).div(255), LIGHT_AREA, LIGHT_AREA // 2).flatten(1)
    return areas - areas.mean(dim=1, keepdim=True)


def temporal(compare: Comparison, batch: Batch) -> torch.Tensor:
    """mean |paint(W(c) + change) - W(paint(c))|^2 / 255^2 where motion brings nothing new, at full contrast, [N]."""
    if batch.moved is None:
        return torch.zeros_like(batch.style_weights)
    inside = (batch.moved.grid.abs() < 1).all(-1)[:, None].float()
    error = (batch.moved.painted - warp(batch.painted, batch.moved.grid)).div(255).square() * inside
    return error.mean(dim=(1, 2, 3)) / inside.mean(dim=(1, 2, 3)).clamp_min(1e-3) * batch.to_full_contrast


def lattice(compare: Comparison, batch: Batch) -> torch.Tensor:
    """What a window of a picture repeats every `LATTICE_STEP` down and across, as its variance in shares of 255^2, at
    full contrast: strokes average out, the dots and bars in which the net enlarges do not."""
    return repeated(batch.painted.div(255), LATTICE_STEP) * batch.to_full_contrast


def repeated(pictures: torch.Tensor, step: int) -> torch.Tensor:
    """The variance of what windows of pictures [N, C, H, W] repeat every `step` pixels down and across, [N]."""
    n, channels, height, width = pictures.shape
    window = min(LATTICE_WINDOW, height // step * step, width // step * step)
    down, across = height // window, width // window
    x = pictures[:, :, : down * window, : across * window]
    x = x.reshape(n, channels, down, window // step, step, across, window // step, step).mean(dim=(3, 6))
    return x.var(dim=(3, 5), correction=0).mean(dim=(1, 2, 3))


def tv(compare: Comparison, batch: Batch) -> torch.Tensor:
    return perceptual.total_variation(batch.painted)


def out_of_range(compare: Comparison, batch: Batch) -> torch.Tensor:
    outside = F.relu(-batch.painted) + F.relu(batch.painted - 255)
    return outside.div(255).square().mean(dim=(1, 2, 3))


Weight = float | torch.Tensor


@dataclasses.dataclass(frozen=True)
class Term:
    """One part of the loss: its name in curves and metadata, its weight (a number, or one a sample [N]; 0 leaves it
    out), and its value for each sample of a batch, [N]."""

    name: str
    weight: Callable[[Loss, torch.Tensor], Weight]
    value: Callable[[Comparison, Batch], torch.Tensor]


def _repeat_weight(loss: Loss, style_weights: torch.Tensor) -> Weight:
    return loss.repeat_weight * style_weights if loss.repeat_shifts and loss.repeat_weight else 0


TERMS = (
    Term("content", lambda loss, style_weights: loss.content_weight, content),
    Term("structure", lambda loss, style_weights: loss.structure_weight, structure),
    Term("style", lambda loss, style_weights: style_weights, style),
    Term("repeat", _repeat_weight, repeat),
    Term("palette", lambda loss, style_weights: loss.palette_weight, palette),
    Term("light", lambda loss, style_weights: loss.light_weight, light),
    Term("temporal", lambda loss, style_weights: loss.temporal_weight, temporal),
    Term("lattice", lambda loss, style_weights: loss.lattice_weight, lattice),
    Term("tv", lambda loss, style_weights: loss.tv_weight, tv),
    Term("range", lambda loss, style_weights: loss.range_weight, out_of_range),
)


def evaluate(compare: Comparison, batch: Batch) -> dict[str, torch.Tensor]:
    """`total` and the terms without their weights, of every sample of a batch, each [N]; terms without weight are 0."""
    zero = torch.zeros_like(batch.style_weights)
    total, values = zero, {}
    for term in TERMS:
        weight = term.weight(compare.loss, batch.style_weights)
        used = isinstance(weight, torch.Tensor) or weight != 0
        values[term.name] = term.value(compare, batch) if used else zero
        total = total + weight * values[term.name]
    return {"total": total, **values}
