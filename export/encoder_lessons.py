"""The first two phases of an encoder's training, in which it needs no photographs painted by its own codes: learning to
see, and practising on paintings whose codes are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from rtstyle.export.data import Photos, evenly
from rtstyle.export.encoder import FARTHEST, PATCH, Encoder, Seen, Trial, color_code, joined
from rtstyle.export.small_vgg import Lesson
from rtstyle.export.style_pictures import StylePicture
from rtstyle.perceptual import vgg as perceptual

LESSON_PICTURES = 65  # from which the principal directions of VGG's features are taken
PRACTICE_BATCH, LOOK_BATCH = 32, 8


@dataclasses.dataclass(frozen=True)
class Paintings:
    """Photographs painted with codes drawn at random [N, K], as an encoder sees them: uint8 [N, 3, s, s]. Every
    run of a seed has the same."""

    codes: torch.Tensor
    pictures: torch.Tensor
    generator: torch.Generator  # as it is after that

    @classmethod
    @torch.no_grad()
    def by(cls, trial: Trial, photos: Photos, count: int, seed: int) -> Paintings:
        generator = torch.Generator().manual_seed(seed)
        codes = random_codes(trial.body.codes, count, generator)
        pictures = []
        for some in codes.split(LOOK_BATCH):
            photographs = torch.cat([some_photographs(photos, generator) for _ in some])
            pictures.append(trial(some, photographs).round().to(torch.uint8))
        return cls(codes, torch.cat(pictures), generator)


@dataclasses.dataclass
class Seeing:
    """Lessons in seeing as VGG does, `batch` at a time: on style pictures, photographs, and paintings by the body."""

    encoder: Encoder
    paintings: Paintings
    photos: Photos
    styles: Sequence[StylePicture]
    crop: int
    batch: int
    vgg: dataclasses.InitVar[perceptual.VGG]

    def __post_init__(self, vgg: perceptual.VGG) -> None:
        shown = (style.picture.float() for style in evenly(self.styles, LESSON_PICTURES))
        self.lesson = Lesson(vgg, shown, self.encoder.vgg.components)

    def losses(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        pictures = torch.cat([self.picture(generator) for _ in range(self.batch)])
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        return {"total": self.lesson.loss(self.encoder.vgg, pictures)}

    @torch.no_grad()
    def picture(self, generator: torch.Generator) -> torch.Tensor:
        """A part of some picture, float [1, 3, crop, crop] in grey levels."""
        kind, which, zoom, mirrored, contrast, light = torch.rand(6, generator=generator).tolist()
        if kind < 0.4:
            picture = self.paintings.pictures[int(which * len(self.paintings.pictures))][None].float()
        elif kind < 0.55:
            picture = self.photos.batch(1, self.crop, generator)
        else:
            picture = self.styles[int(which * len(self.styles))].picture.float()
        side = min(round(self.crop * (1 + 0.6 * zoom)), *picture.shape[2:])
        top, left = (int(torch.randint(n - side + 1, (1,), generator=generator)) for n in picture.shape[2:])
        part = picture[:, :, top : top + side, left : left + side]
        part = part.flip(3) if mirrored < 0.5 else part
        part = F.interpolate(part, [self.crop] * 2, mode="bilinear", antialias=True, align_corners=False)
        if contrast < 0.3:
            part = ((part - 128) * (0.5 + 2.5 * contrast) + 68 + 120 * light).clamp(0, 255)
        return part


class Practice:
    """Paintings whose codes are to be found again from what is seen of them, and those of the trial's photograph with
    other codes, to be corrected."""

    @torch.no_grad()
    def __init__(self, encoder: Encoder, trial: Trial, paintings: Paintings):
        own = trial.body.codes
        self.encoder = encoder
        self.codes = paintings.codes
        self.trial_codes = random_codes(own, len(self.codes), paintings.generator)
        self.seen = Seen.of([encoder.look(some.float()) for some in paintings.pictures.split(LOOK_BATCH)])
        self.trials = Seen.of([encoder.look(trial(some)) for some in self.trial_codes.split(LOOK_BATCH)])
        self.spread = own.detach().std(0) + 1e-3

    def losses(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """How far guessed codes and corrected codes are off, in deviations of the body's own."""
        encoder = self.encoder
        one, other = torch.randint(len(self.codes), (2, PRACTICE_BATCH), generator=generator)
        expected, target = self.codes[one], self.seen[one]
        hidden, coefficients, colors = encoder.guess(target)
        guessed = encoder.code(coefficients, colors)
        before, colors_before = self.parts(self.trial_codes[other], color_code(target))
        change, color_change = encoder.correct(target, self.trials[other], hidden, before, 0)
        corrected = encoder.code(before + change, colors_before + color_change)
        errors = [((codes - expected) / self.spread).square().mean() for codes in (guessed, corrected)]
        return {"total": errors[0] + errors[1]}

    @torch.no_grad()
    def parts(self, codes: torch.Tensor, colors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Coefficients and colours that come nearest to codes, in terms of their spread."""
        encoder = self.encoder
        nothing = torch.zeros(len(codes), len(encoder.directions), device=codes.device)
        off = (codes - encoder.code(nothing, colors)) / self.spread
        nearest = off @ torch.linalg.pinv(encoder.directions / self.spread)
        coefficients = FARTHEST * torch.atanh((nearest / FARTHEST).clamp(-0.97, 0.97))
        rest = codes - encoder.code(coefficients, torch.zeros_like(colors))
        return coefficients, rest[:, -colors.shape[1] :]


@torch.no_grad()
def random_codes(codes: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Codes [count, K] drawn at random: two of a body's own mixed, sometimes beyond both, and noise."""
    own = codes.cpu()
    pairs = torch.randint(len(own), (count, 2), generator=generator)
    share, noise = 1.4 * torch.rand(count, 1, generator=generator) - 0.2, torch.rand(count, 1, generator=generator)
    off = own.std(0) * torch.randn(count, own.shape[1], generator=generator)
    result = share * own[pairs[:, 0]] + (1 - share) * own[pairs[:, 1]] + 0.25 * noise * off
    return result.to(codes.device)


def some_photographs(photos: Photos, generator: torch.Generator) -> torch.Tensor:
    """Parts of four of them, `joined`."""
    return joined(list(photos.batch(4, PATCH, generator).round().to(torch.uint8)))
