"""The encoder: a picture in, the code of its style out (Ghiasi et al. 2017, "Exploring the structure of a real-time,
arbitrary neural artistic stylization network").

A code says which strokes and colours, not where, and style is measured by Gram matrices of VGG features: so the net
sees a picture through those of a small net that sees as VGG does (`small_vgg`), at three scales. From the moments of
what it sees it makes a few coefficients, and the code is the mean of the body's own codes plus so much of each of as
many directions.

Then it sees what comes of it: the body, which is part of the file, paints a photograph with the code, and from what the
painting's matrices still lack of the picture's the net corrects the code, CORRECTIONS times over. (The idea is that of
Alaluf, Patashnik and Cohen-Or 2021, "ReStyle", for the inversion of GANs.) What it has to guess is then a difference
only, and so it does better on pictures unlike those that it learned from.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from rtstyle.export import networks
from rtstyle.export.data import read_picture
from rtstyle.export.small_vgg import COMPONENTS, WIDTHS, SmallVGG, second_moments
from rtstyle.media.contact_sheet import bundled_photograph

SIDE = 448  # pixels, to which the short side of a picture is scaled
SCALES = (1, 2, 4)  # by which it is shrunk once more, for larger strokes
EPS, MIN_LENGTH = 1e-5, 1e-4
COLORS = 3
CORRECTIONS = 2  # of a code; the second brings it 1.4 % nearer, for .07 s
FARTHEST, FARTHEST_STEP = 4.0, 2.0  # of a coefficient from 0, and by one correction
MAX_DEVIATION, MAX_DIFFERENCE = 4.0, 6.0  # that are taken notice of, in deviations over pictures
GRAM_SHARE = 0.3  # of a Gram matrix' entry to a moment: there are ten times as many
ON_TRIAL = ("astronaut", "camera", "coffee", "gravel")  # photographs, the middles of which are painted side by side
PATCH, PATCH_FROM = 192, 288  # pixels: the middle, of so large a short side


class Trial:
    """What an encoder sees of its own work: a photograph, painted by `body` with a code. `style_size` is the short side
    of a picture, in pixels, at which its strokes are as large as they shall be in a painting."""

    def __init__(self, body: networks.Body, style_size: int):
        self.body = body
        self.photograph = joined([middle(read_picture(bundled_photograph(name), PATCH_FROM)) for name in ON_TRIAL])
        self.seen_side = round(2 * PATCH * SIDE / style_size)

    def __call__(self, codes: torch.Tensor, photograph: torch.Tensor | None = None) -> torch.Tensor:
        """Codes [N, K] to what there is to see, float [N, 3, s, s] in grey levels, of the trial's photograph or of
        another `joined` one."""
        shown = self.photograph if photograph is None else photograph
        shown = shown.to(codes.device).expand(len(codes), -1, -1, -1).contiguous()
        painted = self.body.stylize(shown, codes).permute(0, 3, 1, 2).float()
        return F.interpolate(painted, [self.seen_side] * 2, mode="bilinear", antialias=True, align_corners=False)


def middle(picture: torch.Tensor) -> torch.Tensor:
    """PATCH x PATCH pixels of a picture [3, H, W]."""
    top, left = ((side - PATCH) // 2 for side in picture.shape[1:])
    return picture[:, top : top + PATCH, left : left + PATCH]


def joined(patches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Four patches [3, p, p] side by side, [1, 2 p, 2 p, 3]."""
    one, two, three, four = patches
    both = torch.cat([torch.cat([one, two], 2), torch.cat([three, four], 2)], 1)
    return both.permute(1, 2, 0)[None].contiguous()


@dataclasses.dataclass(frozen=True)
class Seen:
    """What an encoder sees of N pictures: means and deviations of the colours [N, 6]; the same followed by the mean and
    the root mean square of each component at each scale [N, M]; the Gram matrices of the components without their
    doubles, all in a row [N, G], and how long each of them is [N, L]."""

    colors: torch.Tensor
    moments: torch.Tensor
    grams: torch.Tensor
    lengths: torch.Tensor

    def __getitem__(self, which: Any) -> Seen:
        return Seen(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))

    @staticmethod
    def of(several: Sequence[Seen]) -> Seen:
        return Seen(*(torch.cat([getattr(one, f.name) for one in several]) for f in dataclasses.fields(Seen)))


class Encoder(nn.Module):
    """Pictures to codes. `widths` and `components` are those of its SmallVGG."""

    moment_mean: torch.Tensor
    moment_spread: torch.Tensor
    gram_spread: torch.Tensor
    matrix: torch.Tensor  # which of the matrices an entry of `grams` belongs to

    def __init__(
        self,
        code_length: int,
        widths: Sequence[Sequence[int]] = WIDTHS,
        components: Sequence[int] = COMPONENTS,
        hidden: int = 384,
        compared: int = 256,
        directions: int = 96,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.config: dict[str, Any] = {
            "code_length": code_length,
            "widths": [list(stage) for stage in widths],
            "components": list(components),
            "hidden": hidden,
            "compared": compared,
            "directions": directions,
        }
        self.vgg = SmallVGG(widths, components, generator)
        sizes = [count * (count + 1) // 2 for _ in SCALES for count in components]
        moments, grams = 2 * (COLORS + len(SCALES) * sum(components)), sum(sizes)
        self.hidden = nn.Linear(moments, hidden)
        self.coefficients = nn.Linear(hidden, directions)
        self.compared = nn.Linear(grams + len(sizes) + moments + hidden + directions, compared)
        self.corrections = nn.Linear(compared, directions)
        self.mean = nn.Parameter(torch.zeros(code_length))
        self.directions = nn.Parameter(torch.zeros(directions, code_length))
        self.color_gain = nn.Parameter(torch.full((2 * COLORS,), 0.5))
        self.register_buffer("moment_mean", torch.zeros(moments))
        self.register_buffer("moment_spread", torch.ones(moments))
        self.register_buffer("gram_spread", torch.ones(grams))
        matrix = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        self.register_buffer("matrix", matrix, persistent=False)
        with torch.no_grad():
            for module, gain in (
                (self.hidden, 1.0),
                (self.coefficients, 1.0),
                (self.compared, 0.5),
                (self.corrections, 0.1),
            ):
                module.weight.normal_(0, gain / module.weight.shape[1] ** 0.5, generator=generator)
                module.bias.zero_()
            self.directions.normal_(0, 1, generator=generator)

    @torch.no_grad()
    def start_from(self, codes: torch.Tensor) -> None:
        """Begin with the mean of codes [S, K], the directions in which they differ, and small random ones."""
        centered = codes - codes.mean(0)
        _, lengths, axes = torch.linalg.svd(centered, full_matrices=False)
        count = min(len(self.directions), len(codes) - 1)
        self.mean.copy_(codes.mean(0))
        self.mean[-2 * COLORS :] = 0  # comes from the picture itself
        self.directions.mul_(0.1 * centered.std(0))
        self.directions[:count] = axes[:count] * lengths[:count, None] / max(1, len(codes) - 1) ** 0.5
        self.directions[:, -2 * COLORS :].mul_(0.1)

    @torch.no_grad()
    def carry_over(self, before: torch.Tensor, after: torch.Tensor) -> None:
        """Write for another body from now on. `before` and `after`, each [S, K], are the codes of the same styles for
        the two bodies: the mean and each direction, as far as they are mixtures of the ones, become the same mixtures
        of the others. Colours stay: what they say of a painting is the same for every body."""
        style = slice(0, -2 * COLORS)  # what is not a colour
        old, new = before[:, style], after[:, style]
        spread = old.std(0) + 1e-3
        mixing = torch.linalg.pinv((old - old.mean(0)) / spread, rtol=1e-4)
        carrying = mixing @ (new - new.mean(0))
        self.mean[style] = new.mean(0) + (self.mean[style] - old.mean(0)) / spread @ carrying
        self.directions[:, style] = self.directions[:, style] / spread @ carrying

    @torch.no_grad()
    def calibrate(self, seen: Seen) -> None:
        """Take the spread of what it sees from some pictures."""
        self.moment_mean.copy_(seen.moments.mean(0))
        spread = seen.moments.std(0)
        self.moment_spread.copy_(spread + 0.01 * spread.mean() + EPS)
        self.gram_spread.copy_(self.relative(seen, seen[torch.arange(len(seen.grams)).roll(1)]).std(0) + 1e-4)

    def forward(self, picture: torch.Tensor, trial: Trial) -> torch.Tensor:
        """A picture, float [1, 3, H, W] in grey levels, to its code [1, K]."""
        return self.write(self.look(scaled(picture)), trial)

    def look(self, picture: torch.Tensor) -> Seen:
        """What there is to see of a picture that is scaled already, or of a part of it."""
        picture = picture.contiguous(memory_format=torch.channels_last)
        colors = color_moments(picture / 127.5 - 1)
        moments, grams, lengths = [colors], [], []
        for scale in SCALES:
            for maps in self.vgg(F.avg_pool2d(picture, scale) if scale > 1 else picture):
                matrix = second_moments(maps)
                moments += [maps.mean((2, 3)), (matrix.diagonal(dim1=1, dim2=2) + EPS).sqrt()]
                places, doubles = triangle(matrix.shape[1], matrix.device)
                gram = matrix.flatten(1)[:, places] * doubles
                grams.append(gram)
                lengths.append(gram.norm(dim=1, keepdim=True) + MIN_LENGTH)
        return Seen(colors, torch.cat(moments, 1), torch.cat(grams, 1), torch.cat(lengths, 1))

    def write(self, target: Seen, trial: Trial, corrections: int = CORRECTIONS) -> torch.Tensor:
        """The codes [N, K] of pictures that were looked at. Gradients go to the guess and the last correction, and not
        through the paintings."""
        hidden, coefficients, colors = self.guess(target)
        for number in range(corrections):
            with torch.no_grad():
                painted = trial(self.code(coefficients, colors))
            with torch.set_grad_enabled(torch.is_grad_enabled() and number == corrections - 1):
                change, color_change = self.correct(target, self.look(painted), hidden, coefficients, number)
            coefficients, colors = coefficients + change, colors + color_change
        return self.code(coefficients, colors)

    def guess(self, target: Seen) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The values of the hidden layer, coefficients and colours, before any correction."""
        deviations = (target.moments - self.moment_mean) / self.moment_spread
        hidden = F.relu(self.hidden(deviations.clamp(-MAX_DEVIATION, MAX_DEVIATION)))
        return hidden, self.coefficients(hidden), color_code(target)

    def correct(
        self, target: Seen, painting: Seen, hidden: torch.Tensor, coefficients: torch.Tensor, number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What to add to coefficients and colours, from what the painting lacks. Each correction goes less far than the
        one before, or they would run away."""
        grams = (self.relative(target, painting) / self.gram_spread).clamp(-MAX_DIFFERENCE, MAX_DIFFERENCE)
        moments = (target.moments - painting.moments) / self.moment_spread
        compared = [
            GRAM_SHARE * grams,
            (target.lengths / painting.lengths).log(),
            moments.clamp(-MAX_DIFFERENCE, MAX_DIFFERENCE),
            hidden,
            bounded(coefficients, FARTHEST),
        ]
        change = bounded(self.corrections(F.relu(self.compared(torch.cat(compared, 1)))), FARTHEST_STEP)
        color_change = (color_code(target) - color_code(painting)) * self.color_gain
        return change / (number + 1), color_change / (number + 1)

    def relative(self, target: Seen, painting: Seen) -> torch.Tensor:
        """Differences of Gram matrices against the lengths of both, as in `perceptual.symmetric_style_loss`."""
        return (target.grams - painting.grams) / (target.lengths * painting.lengths).sqrt()[:, self.matrix]

    def code(self, coefficients: torch.Tensor, colors: torch.Tensor) -> torch.Tensor:
        """The code [N, K]; its last entries are the colours of the last normalisation (`networks.Live`)."""
        colors = F.pad(colors, [len(self.mean) - 2 * COLORS, 0])
        return self.mean + bounded(coefficients, FARTHEST) @ self.directions + colors


def bounded(x: torch.Tensor, most: float) -> torch.Tensor:
    return most * torch.tanh(x / most)


@functools.cache
def triangle(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper triangle of a symmetric matrix: where its entries are, row by row, and what each counts, so that the
    length stays."""
    rows, columns = torch.triu_indices(count, count, device=device)
    return rows * count + columns, torch.where(rows == columns, 1.0, 2**0.5)


def color_code(seen: Seen) -> torch.Tensor:
    """The colours as a code has them: first the deviations, then the means, [N, 6]."""
    return torch.cat([seen.colors[:, COLORS:], seen.colors[:, :COLORS]], 1)


def scaled(picture: torch.Tensor) -> torch.Tensor:
    """A picture [1, 3, H, W] with a short side of SIDE pixels."""
    height, width = picture.shape[2:]
    if min(height, width) == SIDE:
        return picture
    scale = SIDE / min(height, width)
    size = [max(SIDE, int(scale * side + 0.5)) for side in (height, width)]
    return F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)


def color_moments(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] to the means and deviations over all places, [N, 2 C]."""
    mean = x.mean((2, 3), keepdim=True)
    deviation = ((x - mean).square().mean((2, 3)) + EPS).sqrt()
    return torch.cat([mean[:, :, 0, 0], deviation], 1)
