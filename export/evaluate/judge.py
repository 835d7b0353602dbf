"""Painted pictures against artworks and photographs, by VGG-16."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from rtstyle.export.evaluate import measures
from rtstyle.perceptual import vgg as perceptual

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
RECOGNITION_LAYER = "relu4_2"
BATCH = 4  # pictures through VGG at once: more costs memory and wins no time on a CPU

Progress = Callable[[str, int, int], None]
Features = dict[str, torch.Tensor]


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
        of_artworks = [self.grams(features(vgg, artwork[None], STYLE_LAYERS)) for artwork in artworks]
        self.targets = {layer: torch.cat([grams[layer] for grams in of_artworks]) for layer in STYLE_LAYERS}
        self.palettes = torch.cat([palettes(artwork[None]) for artwork in artworks])
        self.similarities = torch.cat([self.similarity(photo[None]) for photo in photos])
        # Distances [L, S] of each photograph; the last are those of its busy half.
        self.own: list[torch.Tensor] = []
        self.own_symmetric: list[torch.Tensor] = []
        self.subjects: list[torch.Tensor] = []
        for p, photo in enumerate(photos):
            activations = features(vgg, photo[None], STYLE_LAYERS)
            mask = torch.from_numpy(measures.busy_half(photo))
            grams = self.grams(activations)
            self.own.append(layer_distances(grams, self.targets)[:, 0])
            self.own_symmetric.append(symmetric_distances(grams, self.targets))
            self.subjects.append(layer_distances(self.grams(activations, mask), self.targets)[:, 0])
            if progress:
                progress("photographs", p + 1, len(photos))

    @staticmethod
    def grams(activations: Features, mask: torch.Tensor | None = None) -> Features:
        """Gram matrices {layer: [N, C, C]}; with a mask [H, W] of the positions that count."""
        if mask is None:
            return {layer: perceptual.gram(maps) for layer, maps in activations.items()}
        grams = {}
        for layer, maps in activations.items():
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
        mask = torch.from_numpy(measures.busy_half(self.photos[p]))
        whole, symmetric, subject, similar = [], [], [], []
        for start in range(0, len(painted), BATCH):
            frames = painted[start : start + BATCH]
            activations = features(self.vgg, frames, STYLE_LAYERS)
            grams = self.grams(activations)
            whole.append(layer_distances(grams, self.targets).transpose(0, 1))
            targets = {layer: target[start : start + len(frames)] for layer, target in self.targets.items()}
            symmetric.append(symmetric_distances(grams, targets))
            subject.append(layer_distances(self.grams(activations, mask), self.targets).transpose(0, 1))
            similar.append(self.similarity(frames) @ self.similarities.T / self.similarities.shape[1])  # [N, P]
        own = torch.arange(len(painted))
        layers, busy = torch.cat(whole)[own, :, own], torch.cat(subject)[own, :, own]  # [S, L]
        likeness = torch.cat(similar)
        photo_palette = perceptual.palette_loss(palettes(self.photos[p][None]), self.palettes)
        return {
            "paint": np.array([measures.paint_share(self.photos[p], frame) for frame in painted]),
            "light": np.array([measures.light_kept(self.photos[p], frame) for frame in painted]),
            "recognition": likeness[:, p].numpy(),
            "recognized": (likeness.argmax(1) == p).float().numpy(),
            "style_distance": layers.mean(1).numpy(),
            "photo_distance": self.own[p].mean(0).numpy(),
            "symmetric_distance": torch.cat(symmetric, 1).mean(0).numpy(),
            "photo_symmetric": self.own_symmetric[p].mean(0).numpy(),
            "subject_distance": busy.mean(1).numpy(),
            "photo_subject": self.subjects[p].mean(0).numpy(),
            "palette": perceptual.palette_loss(palettes(painted), self.palettes).numpy(),
            "photo_palette": photo_palette.numpy(),
            "style_layers": layers.numpy(),
            "photo_layers": self.own[p].T.numpy(),
            "ssim": measures.ssim(painted, self.photos[p][None]).numpy(),
        }


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
    layers is the distance d of `rtstyle.export.evaluate.evaluation`.

    `grams` {layer: [N, C, C]}, `targets` {layer: [S, C, C]}.
    """
    rows = [
        torch.stack([perceptual.relative_style_loss(grams[layer], row[None]) for row in target], dim=1)
        for layer, target in targets.items()
    ]
    return torch.stack(rows)


def symmetric_distances(grams: Features, targets: Features) -> torch.Tensor:
    """The same of pairs, [L, N], against the lengths of both matrices: not smaller for a pale painting. `grams` and
    `targets` {layer: [N, C, C]}, or one for all."""
    return torch.stack([perceptual.symmetric_style_loss(grams[layer], targets[layer]) for layer in STYLE_LAYERS])
