"""The artworks of a training as its losses see them: colours, Gram matrices, distances from photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rtstyle.export import losses
from rtstyle.export.data import Photos, read_picture
from rtstyle.export.recipe import Recipe, Stage
from rtstyle.perceptual import vgg as perceptual

COLOR_SIZE = 128  # pixels, the short side at which the artworks' colours are read
BALANCED_ON = 16  # photographs
MIN_BALANCED, MAX_BALANCED = 6.0, 24.0  # style weights


def distances(pictures: losses.Targets, artworks: losses.Targets) -> torch.Tensor:
    """Mean over layers and scales of the relative distance of the Gram matrices of N pictures from those of S artworks:
    [N, S]."""
    names = losses.of_style(pictures)
    return torch.stack(
        [perceptual.relative_style_loss(pictures[name][:, None], artworks[name]) for name in names]
    ).mean(0)


def balanced(distances: torch.Tensor, balance: float) -> list[float]:
    """Weights of S styles, by the distances [N, S] of photographs from them, so that those that make artworks unlike
    photographs, whose style loss is large from the start, paint over no more than those that are like them: `balance`
    divided by the mean distance, between MIN_BALANCED and MAX_BALANCED."""
    return [min(max(balance / distance, MIN_BALANCED), MAX_BALANCED) for distance in distances.mean(0).tolist()]


class Artworks:
    """S picture files at the sizes that a recipe's stages look at them. `targets` are Gram matrices {name: [S, C, C]}
    and palettes, by the sizes of a stage (`Stage.style_sizes`), on `device`."""

    def __init__(
        self, files: Sequence[Path], stages: Sequence[Stage], compare: losses.Comparison, device: torch.device
    ):
        self.files, self.stages, self.compare, self.device = files, stages, compare, device
        self.targets = self._targets()

    def colors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the colours of every artwork, [S, 3] each, in grey levels."""
        pictures = [read_picture(file, COLOR_SIZE).float().flatten(1) for file in self.files]
        return torch.stack([x.mean(1) for x in pictures]), torch.stack([x.std(1) for x in pictures])

    def distances(self, pictures: torch.Tensor) -> torch.Tensor:
        """Those of pictures [N, 3, H, W] from every artwork at the first stage's size: [N, S]."""
        return distances(self._matrices(pictures), self.targets[self.stages[0].style_sizes])

    def _matrices(self, pictures: torch.Tensor) -> losses.Targets:
        return self.compare.matrices(self.compare.features(pictures, content=False))

    def style_weights(self, recipe: Recipe, photos: Photos) -> list[float]:
        """The weight of each artwork: its own, else the balanced one, else the recipe's."""
        weights = [recipe.loss.style_weight] * len(self.files)
        if recipe.loss.balance:
            weights = self.balanced_weights(photos, recipe.loss.balance, recipe.seed)
        return [
            weight if style.weight is None else style.weight
            for style, weight in zip(recipe.artworks, weights, strict=True)
        ]

    @torch.no_grad()
    def balanced_weights(self, photos: Photos, balance: float, seed: int) -> list[float]:
        """See `balanced`."""
        batch = photos.batch(BALANCED_ON, self.stages[0].crop, torch.Generator().manual_seed(seed))
        return balanced(torch.cat([self.distances(photo[None]) for photo in batch]), balance)

    @torch.no_grad()
    def _targets(self) -> dict[tuple[int, ...], losses.Targets]:
        by_size: dict[int, losses.Targets] = {}
        for size in sorted({size for stage in self.stages for size in stage.style_sizes}):
            rows: dict[str, list[torch.Tensor]] = {}
            for file in self.files:
                picture = read_picture(file, size).float()[None].to(self.device)
                for name, matrix in self._matrices(picture).items():
                    rows.setdefault(name, []).append(matrix[0])
                rows.setdefault(losses.PALETTE, []).append(perceptual.palette(picture)[0])
            by_size[size] = {name: torch.stack(matrices) for name, matrices in rows.items()}
        return {
            stage.style_sizes: {
                name: torch.stack([by_size[size][name] for size in stage.style_sizes]).mean(0)
                for name in by_size[stage.style_sizes[0]]
            }
            for stage in self.stages
        }
