"""A small net that sees what VGG sees, in a fiftieth of its time and a thirtieth of its weights.

It is shown pictures and learns to give, place by place, the leading components of the features that VGG has of them
(Romero et al. 2015, "FitNets: Hints for thin deep nets"). Their Gram matrices are then nearly those by which style is
measured, so that whoever cannot carry VGG along can still tell how far a painting is from a picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from rtstyle.perceptual import vgg as perceptual

LAYERS = ("relu1_2", "relu2_2", "relu3_3")
WIDTHS = ((16, 24), (40, 48), (80, 80, 96))  # channels, by the stage of VGG
COMPONENTS = (12, 32, 48)  # they hold .96, .82 and .80 of what the Gram matrices of pictures differ by
LAYER_WEIGHTS = (0.5, 1.0, 2.0)  # the first is the easiest
MEAN = perceptual.CONVENTIONS["oxford"].mean[::-1]  # RGB, grey levels: pictures are (RGB - MEAN) / UNIT
UNIT = 64.0


class SmallVGG(nn.Module):
    """Pictures to the leading components of their VGG features. `widths` are the channels of its convolutions by stage,
    `components` how many components it gives of the last layer of each stage."""

    mean: torch.Tensor

    def __init__(
        self,
        widths: Sequence[Sequence[int]] = WIDTHS,
        components: Sequence[int] = COMPONENTS,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.components = tuple(components)
        self.stages, self.heads = nn.ModuleList(), nn.ModuleList()
        channels = 3
        for stage, count in zip(widths, components, strict=True):
            pairs = itertools.pairwise([channels, *stage])
            self.stages.append(nn.ModuleList(nn.Conv2d(cin, cout, 3, padding=1) for cin, cout in pairs))
            channels = stage[-1]
            self.heads.append(nn.Conv2d(channels, count, 1))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
                    if module.bias is not None:
                        module.bias.zero_()

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Pictures in grey levels [N, 3, H, W] to components [N, C, h, w] of each layer, in units of their root mean
        square over pictures."""
        x = (pictures - self.mean) / UNIT
        result = []
        for number, (stage, head) in enumerate(zip(self.stages, self.heads, strict=True)):
            if number:
                x = F.max_pool2d(x, 2)
            for convolution in stage:  # type: ignore[attr-defined]
                x = F.relu(convolution(x))
            result.append(head(x))
        return result


def stages_of(layers: Sequence[str]) -> int:
    """How many stages a SmallVGG needs to see what these layers of VGG do, as far as it can."""
    return min(len(LAYERS), max(int(layer[4]) for layer in layers))


class Lesson:
    """What a SmallVGG has to learn: the principal directions of VGG's features over some pictures, each a float tensor
    [1, 3, H, W] in grey levels."""

    @torch.no_grad()
    def __init__(self, vgg: perceptual.VGG, pictures: Iterable[torch.Tensor], components: Sequence[int]):
        self.vgg, self.layers = vgg, LAYERS[: len(components)]
        seen = [self.matrices(picture) for picture in pictures]
        self.bases, self.energies = [], []
        for number, count in enumerate(components):
            moments = torch.cat([matrices[number] for matrices in seen])
            alike = moments / moments.flatten(1).norm(dim=1)[:, None, None]  # every picture counts as much
            basis = torch.linalg.eigh(alike.mean(0)).eigenvectors.flip(1)[:, :count]
            self.bases.append(basis)
            self.energies.append(torch.einsum("ck,ncd,dk->nk", basis, moments, basis).mean(0).clamp_min(1e-6))

    def matrices(self, picture: torch.Tensor) -> list[torch.Tensor]:
        features = self.vgg(picture, self.layers)
        return [second_moments(features[layer].float()) for layer in self.layers]

    @torch.no_grad()
    def components(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """What VGG sees of pictures, as SmallVGG.forward gives it."""
        features = self.vgg(pictures, self.layers)
        return [
            torch.einsum("nchw,ck->nkhw", features[layer].float(), basis) / energies.mean().sqrt()
            for layer, basis, energies in zip(self.layers, self.bases, self.energies, strict=True)
        ]

    def loss(self, net: SmallVGG, pictures: torch.Tensor) -> torch.Tensor:
        """How far the net is from VGG, place by place and in its Gram matrices, relative to VGG's own."""
        total = torch.zeros((), device=pictures.device)
        weights = LAYER_WEIGHTS[: len(self.layers)]
        rows = zip(net(pictures), self.components(pictures), self.energies, weights, strict=True)
        for seen, true, energies, weight in rows:
            small = (energies / energies.mean()).view(1, -1, 1, 1).sqrt()  # small components count more than by size
            places = ((seen - true).square() / small).mean() / (true.square() / small).mean()
            error = perceptual.relative_style_loss(second_moments(seen), second_moments(true))
            total = total + weight * (places + 0.5 * error.mean())
        return total


def second_moments(maps: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] to the means over places of the products of channels, [N, C, C]: `perceptual.gram` times C."""
    return perceptual.gram(maps) * maps.shape[1]
