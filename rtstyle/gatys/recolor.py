"""A photograph in the colours of a painting: optimal transport between their colours, as a smooth function of colour.

Transport takes every colour of the photograph to one of the painting so that all of these are used as much as they are
there, and light stays light and dark stays dark as far as that allows. With entropy (Cuturi, "Sinkhorn Distances",
NeurIPS 2013) the map is smooth and is known between the colours that it was made from, too (Pooladian and Niles-Weed,
"Entropic Estimation of Optimal Transport Maps", 2021): no bands, and nothing is random.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

CELLS = 12  # a side: colours are the means of the cells of the RGB cube that hold some
ENTROPY = 0.004  # in units of the full range, squared: colours nearer than its root are taken to about the same
ROUNDS = 60  # of Sinkhorn's iteration, at the end; fewer on the way there
GRID = 33  # nodes a side that the map is worked out at; linear between them
DETAIL = 20.0  # grey levels: smaller changes of a colour within a few pixels are kept as they are, not amplified


@dataclasses.dataclass
class Colors:
    """Colours [n, 3], 0 to 1, and how much there is of each, [n], 1 in all."""

    values: torch.Tensor
    shares: torch.Tensor


def colors_of(rgb: np.ndarray, weights: np.ndarray | None = None) -> Colors:
    """The colours of a picture uint8 [H, W, 3]; `weights` [H, W] says how much each pixel counts (None, or none at
    all: all alike)."""
    flat = rgb.reshape(-1, 3)
    if weights is None or not weights.any():
        weights = np.ones(len(flat))
    counts = weights.reshape(-1).astype(np.float64)
    cells = (flat.astype(np.int64) * CELLS // 256) @ np.array([CELLS * CELLS, CELLS, 1])
    mass = np.bincount(cells, counts, CELLS**3)
    means = np.stack([np.bincount(cells, counts * flat[:, i], CELLS**3) for i in range(3)], axis=1)
    held = mass > 0
    values, shares = means[held] / mass[held, None] / 255, mass[held] / mass.sum()
    return Colors(torch.from_numpy(values).float(), torch.from_numpy(shares).float())


def mixture(parts: Sequence[tuple[Colors, float]]) -> Colors:
    """Colours of several pictures, by weight."""
    total = sum(weight for _, weight in parts)
    return Colors(
        torch.cat([colors.values for colors, _ in parts]),
        torch.cat([colors.shares * (weight / total) for colors, weight in parts]),
    )


def transport(source: Colors, target: Colors) -> torch.Tensor:
    """The map from one palette to another at the nodes of a grid over the RGB cube: [3, GRID, GRID, GRID], 0 to 1, by
    red, green and blue."""
    cost = torch.cdist(source.values, target.values).square()
    log_source, log_target = source.shares.log(), target.shares.log()
    potential = torch.zeros_like(target.shares)
    entropy = 1.0
    while True:
        for _ in range(ROUNDS if entropy == ENTROPY else 5):
            other = -entropy * torch.logsumexp((potential - cost) / entropy + log_target, dim=1)
            potential = -entropy * torch.logsumexp((other[:, None] - cost) / entropy + log_source[:, None], dim=0)
        if entropy == ENTROPY:
            break
        entropy = max(ENTROPY, entropy / 2)
    nodes = torch.linspace(0, 1, GRID)
    mapped = []
    for red in nodes:  # a slice at a time: all at once would take hundreds of megabytes
        colors = torch.cartesian_prod(red[None], nodes, nodes)
        pull = (potential - torch.cdist(colors, target.values).square()) / ENTROPY + log_target
        mapped.append((pull.softmax(dim=1) @ target.values).view(GRID, GRID, 3))
    return torch.stack(mapped).permute(3, 0, 1, 2)


def recolor(rgb: np.ndarray, table: torch.Tensor) -> np.ndarray:
    """A picture uint8 [H, W, 3] through a map of `transport`: float32 [H, W, 3], 0 to 255.

    Only what is left of the picture when grain and fine texture are taken off goes through the map, and they are put
    back afterwards: a wall that has to become many colours does not become noise.
    """
    smooth = cv2.bilateralFilter(rgb, 0, DETAIL, 2.0)
    position = torch.from_numpy(np.ascontiguousarray(smooth[..., ::-1])).float().div(127.5).sub(1)  # blue is innermost
    mapped = F.grid_sample(table[None], position[None, None], align_corners=True)[0, :, 0].permute(1, 2, 0).numpy()
    result: np.ndarray = np.clip(mapped * 255 + (rgb.astype(np.float32) - smooth), 0, 255)
    return result
