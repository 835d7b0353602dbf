"""The loss of Gatys' method and its gradient, for pictures of any size: whole, or tile by tile.

A Gram matrix is a sum over positions, and a feature sees only the picture around it. So a picture is cut into tiles
whose edges lie on VGG's coarsest grid; each is run through VGG with a margin as wide as what its features see, and
only the features inside count. One pass sums Gram matrices over all tiles and gives dE/dG; a second sends that back
through each tile. Up to rounding this is the gradient of the whole picture, so there is nothing that could show a seam.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from rtstyle.errors import RtstyleError
from rtstyle.gatys.settings import UNITS, Settings
from rtstyle.perceptual import vgg as perceptual

CELL = 16  # pixels between features of the fifth stage: tiles begin and end on this grid
Box = tuple[int, int, int, int]  # top, bottom, left, right


@dataclasses.dataclass(frozen=True)
class Tile:
    """A part of the picture: `inner` is what counts, `outer` what VGG has to see for that."""

    inner: Box
    outer: Box

    def crop(self, x: torch.Tensor) -> torch.Tensor:
        top, bottom, left, right = self.outer
        return x[..., top:bottom, left:right]

    def inside(self, features: torch.Tensor, stride: int) -> tuple[torch.Tensor, Box]:
        """The features [1, C, h, w] of `outer` that count, and where they lie in those of the picture; `stride` is in
        pixels."""
        top, bottom, left, right = (edge // stride for edge in self.inner)
        y, x = self.outer[0] // stride, self.outer[2] // stride
        return features[:, :, top - y : bottom - y, left - x : right - x], (top, bottom, left, right)


def reach(arch: str, layers: Iterable[str]) -> int:
    """How many pixels around its own cell a feature of the deepest of `layers` sees, rounded up to CELL."""
    deepest = max(perceptual.layer_index(arch, layer) for layer in layers)
    seen, jump = 0, 1
    for stage, count in enumerate(perceptual.STAGES[arch], start=1):
        for number in range(1, count + 1):
            if perceptual.layer_index(arch, f"conv{stage}_{number}") > deepest:
                return math.ceil(seen / CELL) * CELL
            seen += jump
        jump *= 2
    return math.ceil(seen / CELL) * CELL


def cut(height: int, width: int, side: int | None, margin: int) -> list[Tile]:
    """Tiles of about `side` pixels that cover a picture; None: one."""
    if side is None:
        side = max(height, width)
    rows, columns = _edges(height, side), _edges(width, side)
    return [
        Tile(
            (top, bottom, left, right),
            (max(0, top - margin), min(height, bottom + margin), max(0, left - margin), min(width, right + margin)),
        )
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]


def _edges(length: int, side: int) -> list[int]:
    count = max(1, math.ceil(length / side))
    starts = dict.fromkeys(round(length * i / count / CELL) * CELL for i in range(count))
    return [*(start for start in starts if start < length), length]


def _widest(length: int, side: int, margin: int) -> int:
    """The longest side of what VGG has to see for a tile of `cut`, along a side of the picture."""
    edges = itertools.pairwise(_edges(length, side))
    return max(min(length, end + margin) - max(0, start - margin) for start, end in edges)


@dataclasses.dataclass(frozen=True)
class Losses:
    """Weighted, so that total = content + style + tv + past."""

    total: float
    content: float
    style: float
    tv: float
    past: float = 0.0

    @property
    def finite(self) -> bool:
        return math.isfinite(self.total)


@dataclasses.dataclass
class StyleTensor:
    """A style picture float [1, 3, h, w], 0 to 255. `counts` [h, w] or None says which of its parts count, `where`
    [H, W] or None where it is painted in a picture of H x W, both 0 to 1."""

    picture: torch.Tensor
    weight: float = 1.0
    counts: torch.Tensor | None = None
    where: torch.Tensor | None = None


@dataclasses.dataclass
class Past:
    """Where the picture should be what another was, float [1, 3, H, W] in grey levels: sum `trust` (x - picture)^2
    times `weight`, `trust` [H, W] from 0 to 1 (short-term consistency, Ruder et al. 2016, eq. 7)."""

    picture: torch.Tensor
    trust: torch.Tensor
    weight: float


@dataclasses.dataclass
class _Group:
    """Target Gram matrices [C, C] by layer for the part of the picture where masks [h, w] by layer say so."""

    factor: float
    masks: dict[str, torch.Tensor] | None
    targets: dict[str, torch.Tensor]
    mass: dict[str, float]  # sum of the mask, or number of positions


class Objective:
    """Losses of pictures [1, 3, H, W], 0 to 255, and their gradient.

    Styles without a mask are one: their Gram matrices are averaged by weight (which has the gradient of the weighted
    mean of their losses). Where there are masks, Gram matrices are those of weighted positions (guided Gram matrices,
    Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer", CVPR 2017, section 4), sum m f f^T / sum m,
    and the loss counts by weight and by the mask's share of the picture, so that small parts are not overpainted.
    """

    def __init__(
        self,
        vgg: perceptual.VGG,
        settings: Settings,
        content: torch.Tensor,
        styles: Sequence[StyleTensor],
        side: int | None = None,
        past: Past | None = None,
    ):
        self.vgg, self.settings, self.past = vgg, settings, past
        self.layers = list(dict.fromkeys((*settings.content_layers, *settings.style_layers)))
        self.margin = reach(vgg.arch, self.layers)
        self.height, self.width = content.shape[2:]
        self.tiles = cut(self.height, self.width, side, self.margin)
        self.side = side
        # what features are multiplied by to be on the scale that the weights are meant for
        self.scale = 1.0
        if vgg.convention != settings.features:
            self.scale = UNITS["deviation"] if settings.features == "oxford" else 1 / UNITS["deviation"]
        self.evaluations = 0
        with torch.no_grad():
            self.content_targets = self._content_targets(content)
            self.groups = self._groups(styles)

    @torch.no_grad()
    def _content_targets(self, content: torch.Tensor) -> dict[str, torch.Tensor]:
        targets: dict[str, torch.Tensor] = {}
        if not self.settings.content_layers:
            return targets
        for tile in self.tiles:
            features = self.vgg(tile.crop(content), self.settings.content_layers)
            for layer, maps in features.items():
                part, (top, bottom, left, right) = tile.inside(maps, _stride(layer))
                if layer not in targets:
                    stride = _stride(layer)
                    shape = (1, maps.shape[1], self.height // stride, self.width // stride)
                    targets[layer] = maps.new_empty(shape)
                targets[layer][:, :, top:bottom, left:right] = part
        return targets

    @torch.no_grad()
    def _groups(self, styles: Sequence[StyleTensor]) -> list[_Group]:
        layers = list(self.settings.style_layers)
        if not layers:
            return []
        groups, everywhere = [], [style for style in styles if style.where is None]
        sizes = {layer: (self.height // _stride(layer), self.width // _stride(layer)) for layer in layers}
        if everywhere:
            share = sum(style.weight for style in everywhere)
            targets: dict[str, torch.Tensor] = {}
            for style in everywhere:
                for layer, matrix in self._style_grams(style).items():
                    targets[layer] = targets.get(layer, 0) + matrix * (style.weight / share)
            groups.append(_Group(1.0, None, targets, {k: float(h * w) for k, (h, w) in sizes.items()}))
        for style in styles:
            if style.where is None:
                continue
            masks = {k: F.adaptive_avg_pool2d(style.where[None, None], size)[0, 0] for k, size in sizes.items()}
            mass = {k: float(mask.sum()) for k, mask in masks.items()}
            factor = style.weight * float(style.where.mean())
            groups.append(_Group(factor, masks, self._style_grams(style), mass))
        return groups

    def _style_grams(self, style: StyleTensor) -> dict[str, torch.Tensor]:
        """g = F F^T / M of a style picture, by layer."""
        height, width = style.picture.shape[2:]
        sums: dict[str, torch.Tensor] = {}
        mass: dict[str, float] = {}
        masks = {}
        for layer in self.settings.style_layers:
            size = height // _stride(layer), width // _stride(layer)
            if style.counts is not None:
                masks[layer] = F.adaptive_avg_pool2d(style.counts[None, None], size)[0, 0]
            mass[layer] = float(masks[layer].sum()) if masks else float(size[0] * size[1])
        side = self.side
        if side is None and height * width > 2 * self.height * self.width:  # no gradient: a third of the memory
            side = max(MIN_TILE, math.isqrt(self.height * self.width))
        for tile in cut(height, width, side, self.margin):
            features = self.vgg(tile.crop(style.picture), self.settings.style_layers)
            for layer, maps in features.items():
                part, box = tile.inside(maps, _stride(layer))
                matrix = _correlations(part, _cut_mask(masks.get(layer), box))
                sums[layer] = sums.get(layer, 0) + matrix
        return {layer: matrix * (self.scale**2 / mass[layer]) for layer, matrix in sums.items()}

    def _parts(self, tile: Tile, crop: torch.Tensor) -> tuple[torch.Tensor, dict[tuple[int, str], torch.Tensor]]:
        """What one tile adds to the weighted content loss, and to F F^T of every group and layer."""
        features = self.vgg(crop, self.layers)
        content = crop.new_zeros(())
        for layer, weight in self.settings.content_layers.items():
            part, (top, bottom, left, right) = tile.inside(features[layer], _stride(layer))
            target = self.content_targets[layer]
            count = 2 if self.settings.content_norm == "gatys" else target.numel()
            distance = (part - target[:, :, top:bottom, left:right]).square().sum()
            content = content + distance * (weight * self.scale**2 / count)
        sums = {}
        for layer in self.settings.style_layers:
            part, box = tile.inside(features[layer], _stride(layer))
            for number, group in enumerate(self.groups):
                mask = group.masks[layer] if group.masks else None
                sums[number, layer] = _correlations(part, _cut_mask(mask, box))
        return content * self.settings.content_weight, sums

    def _style(self, sums: dict[tuple[int, str], torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        """The weighted style loss, from F F^T by group and layer."""
        style = like.new_zeros(())
        for (number, layer), matrix in sums.items():
            group = self.groups[number]
            if group.mass[layer] <= 0:
                continue
            grams = matrix * (self.scale**2 / group.mass[layer])
            loss = (grams - group.targets[layer]).square().mean()
            if self.settings.style_norm == "gatys":
                loss = loss / 4
            elif self.settings.style_norm == "upes":
                loss = loss * (group.mass[layer] / len(matrix))
            style = style + loss * (group.factor * self.settings.style_layers[layer])
        return style * self.settings.style_weight

    def _tv(self, picture: torch.Tensor) -> torch.Tensor:
        if not self.settings.tv_weight:
            return picture.new_zeros(())
        if self.settings.tv_norm == "squares":
            return perceptual.total_variation(picture).sum() * self.settings.tv_weight
        down, across = picture[:, :, 1:] - picture[:, :, :-1], picture[..., 1:] - picture[..., :-1]
        return (down.abs().sum() + across.abs().sum()) * (self.settings.tv_weight / 255)

    def _past(self, picture: torch.Tensor) -> torch.Tensor:
        if self.past is None:
            return picture.new_zeros(())
        return (self.past.trust * (picture - self.past.picture).square()).sum() * self.past.weight

    def __call__(self, picture: torch.Tensor, gradient: bool = True) -> tuple[Losses, torch.Tensor | None]:
        """Losses of a picture and the gradient of their total, of the same shape."""
        self.evaluations += 1
        with torch.set_grad_enabled(gradient):
            variable = picture.detach().requires_grad_(gradient)
            seen = _InRange.apply(variable) if self.settings.clamp == "inside" else variable
            tv, past = self._tv(seen), self._past(seen)
            if len(self.tiles) == 1:
                content, sums = self._parts(self.tiles[0], seen)
                style = self._style(sums, seen)
                if gradient:
                    (content + style + tv + past).backward()
            else:
                content, style = self._tile_by_tile(seen, tv + past, gradient)
        parts = [float(part.detach()) for part in (content, style, tv, past)]
        return Losses(sum(parts), *parts), variable.grad

    def _tile_by_tile(
        self, seen: torch.Tensor, others: torch.Tensor, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Content and style loss; the gradient is also that of `others`, losses of pixels."""
        content = torch.zeros((), device=seen.device)
        sums: dict[tuple[int, str], torch.Tensor] = {}
        with torch.no_grad():
            for tile in self.tiles:
                part, matrices = self._parts(tile, tile.crop(seen))
                content = content + part
                for key, matrix in matrices.items():
                    sums[key] = sums[key] + matrix if key in sums else matrix
        if not gradient:
            return content, self._style(sums, seen)
        sums = {key: matrix.requires_grad_() for key, matrix in sums.items()}
        style = self._style(sums, seen)
        pulls = {}
        if style.requires_grad:
            gradients = torch.autograd.grad(style, list(sums.values()), allow_unused=True)
            pulls = {key: pull for key, pull in zip(sums, gradients, strict=True) if pull is not None}
        total = torch.zeros_like(seen)
        for tile in self.tiles:
            crop = tile.crop(seen).detach().requires_grad_()
            part, matrices = self._parts(tile, crop)
            for key, pull in pulls.items():
                part = part + (pull * matrices[key]).sum()
            if part.requires_grad:
                tile.crop(total).add_(torch.autograd.grad(part, crop)[0])
        # through the clamping, and with the losses of pixels, in one go
        both = [seen, others] if others.requires_grad else [seen]
        torch.autograd.backward(both, [total, None][: len(both)])
        return content, style


class _InRange(torch.autograd.Function):
    """A picture cut to 0..255. Where it is at the end of the range or beyond, only what leads back inside has a
    gradient: with none at all there, a value that an optimizer once threw out of the range would stay black, white or
    a full red, green or blue for ever, and dark areas would be full of such speckles."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 255)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        outwards = ((x <= 0) & (grad > 0)) | ((x >= 255) & (grad < 0))  # descent goes against the gradient
        return grad.masked_fill(outwards, 0)


def _stride(layer: str) -> int:
    return 1 << (int(layer[4]) - 1)


def _cut_mask(mask: torch.Tensor | None, box: Box) -> torch.Tensor | None:
    return None if mask is None else mask[box[0] : box[1], box[2] : box[3]]


def _correlations(features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """F F^T [C, C] of features [1, C, h, w], positions weighted by `mask` [h, w]."""
    flat = features[0].flatten(1)
    return (flat if mask is None else flat * mask.flatten()) @ flat.T


# Bytes, measured on the CPU (benchmarks of torch 2.13, float32) and rounded up; tests/gatys/test_optimize.py checks
# them. Python, torch (its builds for GPUs take more, used or not), VGG's weights while they are read, plots and films
FIXED = 800e6 if torch.version.cuda is None and torch.version.hip is None else 1150e6
BACKWARD = 3100.0  # a pixel of a tile, forward and backward through VGG
KEPT = 250.0  # a pixel of the picture: the picture, its gradient, copies, content features
MIN_TILE = 128  # pixels of a tile


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a picture fits into memory: tiles of `side` pixels (None: whole), L-BFGS with `history` pairs, `needed`
    bytes in all."""

    side: int | None
    history: int
    needed: int


def plan(height: int, width: int, settings: Settings, limit: float | None, steps: int | None = None) -> Plan:
    """How a picture of `height` x `width` pixels fits into `limit` bytes (None: no limit): whole if it can be, with a
    shorter history if need be, else in tiles. `steps` are those at this size. Raises RtstyleError if it cannot."""
    margin = reach(settings.vgg, (*settings.content_layers, *settings.style_layers))
    history_asked = settings.history if settings.optimizer == "lbfgs" else 2

    def needed(tile: int, history: int) -> int:
        """Bytes, with so many pixels in the largest tile."""
        pairs = min(history, steps or settings.steps) * 2 * 12 if settings.optimizer == "lbfgs" else 24
        return int(FIXED + tile * BACKWARD + height * width * (KEPT + pairs))

    def largest(side: int) -> int:
        return _widest(height, side, margin) * _widest(width, side, margin)

    allowed = math.inf if limit is None else limit
    shortest = min(history_asked, 10)
    for history in sorted(
        {history_asked, max(shortest, history_asked // 2), max(shortest, history_asked // 4), shortest}, reverse=True
    ):
        size = needed(height * width, history)
        if size <= allowed:
            return Plan(None, history, size)
    least = needed(0, shortest)
    if least <= allowed:  # else no tile would be small enough, and a huge picture has very many
        for history in (min(history_asked, 20), shortest):
            for side in range((max(height, width) - 1) // CELL * CELL, MIN_TILE - 1, -CELL):
                size = needed(largest(side), history)
                if size <= allowed:
                    return Plan(side, history, size)
        least = needed(largest(MIN_TILE), shortest)
    raise RtstyleError(
        f"{width} x {height} pixels need at least {least / 1e9:.1f} GB of memory, and "
        f"{allowed / 1e9:.1f} GB are allowed: raise `max_memory`, or ask for a smaller `size`"
    )
