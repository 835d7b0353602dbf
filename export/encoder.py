"""The encoder: a picture in, the code of its style out (Ghiasi et al. 2017, "Exploring the structure of a real-time,
arbitrary neural artistic stylization network").

A code says which strokes and colours, not where: so the net sees a picture only through statistics, the mean and the
deviation over all places of the features of each depth. From them it makes a few coefficients, and the code is the mean
of the body's own codes plus so much of each of as many directions, the first of which are those in which the body's own
codes differ.

Then it sees what comes of it: the body, which is part of the file, paints a photograph with the code, and from what the
statistics of the painting still lack of those of the picture the net corrects the code, CORRECTIONS times over. (The
idea is that of Alaluf, Patashnik and Cohen-Or 2021, "ReStyle", for the inversion of GANs.) What it has to guess is then
a difference only, and so it does better on pictures unlike those that it learned from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from rtstyle.export import networks
from rtstyle.export.data import read_picture
from rtstyle.media.contact_sheet import bundled_photograph

SIDE = 256  # pixels, to which the short side of a picture is scaled
EPS = 1e-5
COLORS = 3
CORRECTIONS = 3  # of a code
MAX_DIFFERENCE = 6.0  # that a correction takes notice of, in deviations over pictures
MIN_SPREAD = 1e-3
ON_TRIAL = ("astronaut", "camera", "coffee", "gravel")  # photographs, the middles of which are painted side by side
PATCH, PATCH_FROM = 192, 288  # pixels: the middle, of so large a short side


class Trial:
    """What an encoder sees of its own work: a photograph, painted by `body` with a code. `style_size` is the short side
    of a picture, in pixels, at which its strokes are as large as they shall be in a painting."""

    def __init__(self, body: networks.Body, style_size: int):
        self.body = body
        patches = [read_picture(bundled_photograph(name), PATCH_FROM) for name in ON_TRIAL]
        start = [[(side - PATCH) // 2 for side in patch.shape[1:]] for patch in patches]
        one, two, three, four = (
            patch[:, top : top + PATCH, left : left + PATCH] for patch, (top, left) in zip(patches, start, strict=True)
        )
        both = torch.cat([torch.cat([one, two], 2), torch.cat([three, four], 2)], 1)
        self.photograph = both.permute(1, 2, 0)[None].contiguous()
        self.seen_side = round(2 * PATCH * SIDE / style_size)

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [N, K] to what there is to see, float [N, 3, s, s] in grey levels."""
        photograph = self.photograph.to(codes.device).expand(len(codes), -1, -1, -1).contiguous()
        painted = self.body.stylize(photograph, codes).permute(0, 3, 1, 2).float()
        return F.interpolate(painted, [self.seen_side] * 2, mode="bilinear", antialias=True, align_corners=False)


class Encoder(nn.Module):
    """Pictures to codes. `widths` are the channels of its convolutions, each of which halves the size."""

    spread: torch.Tensor  # of each of the statistics over pictures

    def __init__(
        self,
        code_length: int,
        widths: Sequence[int] = (32, 64, 96, 128, 192),
        hidden: int = 384,
        directions: int = 96,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.config: dict[str, Any] = {
            "code_length": code_length,
            "widths": list(widths),
            "hidden": hidden,
            "directions": directions,
        }
        sizes = [5] + [3] * (len(widths) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(cin, cout, size, 2, padding=size // 2)
            for (cin, cout), size in zip(itertools.pairwise([COLORS, *widths]), sizes, strict=True)
        )
        statistics = 2 * (COLORS + sum(widths))
        self.norm = nn.LayerNorm(statistics, eps=EPS)
        self.hidden = nn.Linear(statistics, hidden)
        self.coefficients = nn.Linear(hidden, directions)
        self.mean = nn.Parameter(torch.zeros(code_length))
        self.directions = nn.Parameter(torch.zeros(directions, code_length))
        self.compared = nn.Linear(statistics + hidden + directions, hidden)
        self.corrections = nn.Linear(hidden, directions)
        self.ways = nn.Parameter(torch.zeros(directions, code_length))  # the directions of the corrections
        self.color_gain = nn.Parameter(torch.full((2 * COLORS,), 0.5))
        self.register_buffer("spread", torch.ones(statistics))
        with torch.no_grad():
            for module in (*self.convolutions, self.hidden, self.coefficients, self.compared, self.corrections):
                fan_in = module.weight[0].numel()
                gain = 2 if module in (*self.convolutions, self.hidden) else 1
                module.weight.normal_(0, (gain / fan_in) ** 0.5, generator=generator)
                module.bias.zero_()
            self.corrections.weight.mul_(0.1)
            self.directions.normal_(0, 1, generator=generator)

    @torch.no_grad()
    def start_from(self, codes: torch.Tensor, pictures: Iterable[torch.Tensor]) -> None:
        """Begin with the mean of codes [S, K], the directions in which they differ, and small random ones; and with
        what the statistics of some pictures, scaled already, differ by."""
        centered = codes - codes.mean(0)
        _, lengths, axes = torch.linalg.svd(centered, full_matrices=False)
        count = min(len(self.directions), len(codes) - 1)
        self.mean.copy_(codes.mean(0))
        self.mean[-2 * COLORS :] = 0  # comes from the picture itself
        self.directions.mul_(0.1 * centered.std(0))
        self.directions[:count] = axes[:count] * lengths[:count, None] / max(1, len(codes) - 1) ** 0.5
        self.directions[:, -2 * COLORS :].mul_(0.1)
        self.coefficients.weight.mul_(0.3)
        self.ways.copy_(self.directions)
        self.spread.copy_(torch.cat([self.statistics(picture.float()) for picture in pictures]).std(0) + MIN_SPREAD)

    def forward(self, picture: torch.Tensor, trial: Trial) -> torch.Tensor:
        """A picture, float [1, 3, H, W] in grey levels, to its code [1, K]."""
        return self.seen(scaled(picture), trial)

    def seen(self, picture: torch.Tensor, trial: Trial, corrections: int = CORRECTIONS) -> torch.Tensor:
        """The same for a picture that is scaled already, or a part of it. Gradients go through the last correction
        alone, and not through the painting."""
        target = self.statistics(picture)
        hidden = F.relu(self.hidden(self.norm(target)))
        coefficients = self.coefficients(hidden)
        code = self.mean + coefficients @ self.directions + self.as_colors(target)
        for number in range(corrections):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number == corrections - 1):
                missing = target - self.statistics(trial(code.detach()))
                difference = (missing / self.spread).clamp(-MAX_DIFFERENCE, MAX_DIFFERENCE)
                compared = F.relu(self.compared(torch.cat([difference, hidden, coefficients], 1)))
                change = self.corrections(compared)
                color_change = self.as_colors(missing, self.color_gain)
                code_change = change @ self.ways + color_change
            coefficients, code = coefficients + change, code + code_change
        result: torch.Tensor = code
        return result

    def statistics(self, picture: torch.Tensor) -> torch.Tensor:
        """Means and deviations of the colours and of the features of each depth, of a picture in grey levels."""
        x = picture / 127.5 - 1
        result = [moments(x)]
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
            result.append(moments(x))
        return torch.cat(result, 1)

    def as_colors(self, statistics: torch.Tensor, gain: torch.Tensor | float = 1.0) -> torch.Tensor:
        """A code [1, K] in which only the colours of the last normalisation are given (`networks.Live.start_colors`):
        first the deviations, then the means."""
        colors = torch.cat([statistics[:, COLORS : 2 * COLORS], statistics[:, :COLORS]], 1) * gain
        return F.pad(colors, [len(self.mean) - 2 * COLORS, 0])


def scaled(picture: torch.Tensor) -> torch.Tensor:
    """A picture [1, 3, H, W] with a short side of SIDE pixels."""
    height, width = picture.shape[2:]
    if min(height, width) == SIDE:
        return picture
    scale = SIDE / min(height, width)
    size = [max(SIDE, int(scale * side + 0.5)) for side in (height, width)]
    return F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)


def moments(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] to the means and deviations over all places, [N, 2 C]."""
    mean = x.mean((2, 3), keepdim=True)
    deviation = ((x - mean).square().mean((2, 3)) + EPS).sqrt()
    return torch.cat([mean[:, :, 0, 0], deviation], 1)
