"""Training: photographs and paintings in, one body with a gallery of style codes out.

The loss of one painted photograph y of a content photograph c in style s (Johnson, eq. 5, every term
relative to its target so that layers and paintings count alike):

    L = w_c * mean_l ||F_l(y) - F_l(c)||^2 / ||F_l(c)||^2
      + w_s * mean_l ||G_l(y) - G_l(s)||^2 / ||G_l(s)||^2
      + w_s * w_r * the same for correlations at a distance, which punish wallpaper (Berger and Memisevic 2017)
        (with `regions` = R, each of R x R parts of the picture by itself, so that the paint goes everywhere)
      + w_i * identity: a painted photograph must stay nearer to its own photograph than to any other
      + w_a * rival: its style distance to its own artwork must stay below that to any other artwork, by a margin
        (with `survival_goal`, `artwork_goal`: w_i and w_a of every style grow or shrink until that share holds)
      + w_k * palette: the colours of y have the distribution of those of s (`perceptual.palette_loss`)
      + w_t * temporal: the painting of the moved photograph is the moved painting (Wang et al. 2020, ReReVST)
      + w_l * teacher: the features of another net's painting, relative like content (with [teacher] in the recipe)
      + w_p * peaks: no value behind a normalisation goes far beyond the others (`networks.PEAK`), or there are blots
      + w_tv * TV(y) + out-of-range penalty

With `symmetric = true` in the recipe's [loss], the style distances are divided by ||G_l(y)|| ||G_l(s)|| instead: what
cannot be matched is then not made pale (`perceptual.symmetric_style_loss`).

With `absolute = true`, content and style are instead those of Johnson as pytorch/examples weighs them: content the mean
square of the difference, style the mean square of the entries of the difference of Gram matrices (divided by C H W),
each summed over its layers, of features on the scale of torchvision's VGG (inputs in standard deviations; those of
weights for 0 to 255 are divided by OXFORD_UNIT).

Each sample of a batch gets a style of its own, drawn at random (Dumoulin et al. 2017). The artworks under
[[practice]] take part like styles but are not exported: a body that has painted more has more to offer to a style
that it learns later, frozen.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import platform
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from rtstyle import catalog, perceptual
from rtstyle.errors import RtstyleError
from rtstyle.export import networks
from rtstyle.export.data import Photos, read_picture, synthetic_motion, warp, whole_shifts
from rtstyle.files import written_beside

STYLE_FIELDS = ("name", "title", "artist", "year", "licence", "source")
STRANGERS = 64
LINED_UP = 256  # photographs that the weaker half of the strangers is chosen from
BALANCED_ON = 16  # photographs
LIGHTEST, HEAVIEST = 2.0, 16.0
OXFORD_UNIT = 255 * 0.226  # grey levels in the standard deviation that torchvision's inputs are divided by
GOAL_RATE = 0.1  # how fast weights with a goal follow it: the part by which one miss raises them
GOAL_RANGE = 0.25, 8.0  # what such a weight is multiplied by, at least and at most
PALETTE = "palette"  # among the Gram matrices of the artworks
COLUMNS = (
    "step",
    "total",
    "content",
    "identity",
    "style",
    "rival",
    "palette",
    "temporal",
    "teacher",
    "peak",
    "tv",
    "learning_rate",
    "seconds",
)


@dataclasses.dataclass
class Style:
    """One painting of a recipe. `weight` replaces the recipe's style weight for this style."""

    name: str
    file: str
    title: str = ""
    artist: str = ""
    year: str = ""
    licence: str = "public domain"
    source: str = ""
    weight: float | None = None

    def card(self) -> dict[str, str]:
        """What the model's metadata says of this style."""
        return {field: getattr(self, field) for field in STYLE_FIELDS}


@dataclasses.dataclass
class Loss:
    vgg: str = "vgg16"
    absolute: bool = False
    symmetric: bool = False
    content_layers: tuple[str, ...] = ("relu3_3",)
    style_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    content_weight: float = 1.0
    style_weight: float = 8.0
    balance: float = 0.0  # above 0: a style that gives no weight has this, divided by the photographs' distance from it
    regions: int = 1
    repeat_layer: str = "relu3_3"
    repeat_shifts: tuple[int, ...] = ()
    repeat_weight: float = 1.0
    identity_layer: str = "relu4_2"
    identity_margin: float = 0.1
    identity_weight: float = 0.0
    survival_goal: float = 0.0  # above 0: share of a style's pictures that shall keep the margin
    rival_margin: float = 0.05
    rival_weight: float = 0.0
    artwork_goal: float = 0.0  # above 0: share of a style's pictures that shall keep the margin
    palette_weight: float = 0.0
    temporal_weight: float = 0.0
    peak_weight: float = 0.0
    tv_weight: float = 10.0

    @property
    def goals(self) -> dict[str, float]:
        """The parts of the loss whose weight follows a goal, style by style: the share of samples where the part shall
        be zero."""
        goals = {"identity": self.survival_goal, "rival": self.artwork_goal}
        return {name: goal for name, goal in goals.items() if goal}

    @property
    def style_distance(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """What compares Gram matrices with an artwork's, unless the losses are absolute."""
        return perceptual.symmetric_style_loss if self.symmetric else perceptual.relative_style_loss


@dataclasses.dataclass
class Stage:
    """A part of the schedule: square crops of `crop` pixels, `batch` of them a step, paintings of `style_size`
    pixels on their short side (larger paintings teach larger strokes), or of several sizes, whose Gram matrices are
    averaged. The weights and goals replace those of [loss] while the stage lasts: a body that starts from nothing must
    learn to paint before it learns what not to paint over."""

    share: float = 1.0
    crop: int = 128
    batch: int = 4
    style_size: int | list[int] = 288
    identity_weight: float | None = None
    rival_weight: float | None = None
    temporal_weight: float | None = None
    survival_goal: float | None = None
    artwork_goal: float | None = None

    @property
    def style_sizes(self) -> tuple[int, ...]:
        return tuple(self.style_size) if isinstance(self.style_size, list) else (self.style_size,)

    def loss(self, usual: Loss) -> Loss:
        """The losses of this stage."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.default is None}
        return dataclasses.replace(usual, **{name: value for name, value in own.items() if value is not None})


@dataclasses.dataclass
class Teacher:
    """Another model, by name or file, whose paintings the net is drawn to in its styles of the same name (distillation:
    Hinton, Vinyals and Dean 2015, here by features, as Romero et al. 2015 hint)."""

    model: str
    weight: float = 1.0
    layers: tuple[str, ...] = ("relu2_2", "relu3_3")


@dataclasses.dataclass
class Recipe:
    """Everything that makes a model again. Read from TOML by `Recipe.read`."""

    body: str = "live"
    config: dict = dataclasses.field(default_factory=dict)
    seed: int = 0
    steps: int = 10000
    passes: float = 0.0  # over the photographs, instead of `steps`
    learning_rate: float = 3e-3
    average: float = 0.999
    reference_height: int = 360
    loss: Loss = dataclasses.field(default_factory=Loss)
    teacher: Teacher | None = None
    stage: list[Stage] = dataclasses.field(default_factory=lambda: [Stage()])
    style: list[Style] = dataclasses.field(default_factory=list)
    practice: list[Style] = dataclasses.field(default_factory=list)
    practice_share: float = 0.25  # of the samples, if there is any practice

    @classmethod
    def read(cls, path: str | os.PathLike) -> Recipe:
        """A recipe from a TOML file. Raises RtstyleError for unknown keys, wrong values or no styles."""
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RtstyleError(f"the recipe {path} does not exist") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RtstyleError(f"the recipe {path} is not readable TOML: {error}") from None
        try:
            if "loss" in data:
                data["loss"] = Loss(**data["loss"])
            if "teacher" in data:
                data["teacher"] = Teacher(**data["teacher"])
            if "stage" in data:
                data["stage"] = [Stage(**item) for item in data["stage"]]
            for key in ("style", "practice"):
                data[key] = [Style(**item) for item in data.get(key, [])]
            recipe = cls(**data)
            recipe.check(path)
        except TypeError as error:
            raise RtstyleError(f"the recipe {path} is not understood: {error}") from None
        return recipe

    def check(self, path) -> None:
        names = [style.name for style in self.artworks]
        if not self.style:
            raise RtstyleError(f"the recipe {path} names no [[style]]")
        if len(set(names)) < len(names):
            raise RtstyleError(f"the recipe {path} gives two styles the same name")
        if self.body not in networks.BODIES:
            raise RtstyleError(f"the recipe {path} asks for body {self.body!r}: choose live or studio")
        try:
            with torch.device("meta"):
                networks.build(self.body, 1, self.config)
        except (TypeError, ValueError, LookupError, RuntimeError) as error:
            raise RtstyleError(f"the recipe {path} has a config that makes no {self.body} body: {error}") from None
        if not 0 <= self.practice_share < 1:
            raise RtstyleError(f"the recipe {path} has a practice_share out of range: from 0 to below 1")
        if self.steps < 1 or self.passes < 0 or self.learning_rate <= 0 or not self.stage:
            raise RtstyleError(f"the recipe {path} needs steps, a learning rate and a [[stage]]")
        if self.loss.balance < 0 or (self.loss.balance and self.loss.absolute):
            raise RtstyleError(f"the recipe {path} has a balance out of range: above 0, and for relative losses only")
        if self.loss.absolute and self.loss.symmetric:
            raise RtstyleError(f"the recipe {path} wants absolute and symmetric losses: choose one")
        smallest = min(stage.crop for stage in self.stage) // 8  # positions of relu4 layers
        if not 1 <= self.loss.regions <= max(1, smallest):
            raise RtstyleError(
                f"the recipe {path} has regions out of range: from 1 to {max(1, smallest)} for its crops"
            )
        for stage in self.stage:
            loss = stage.loss(self.loss)
            for part, goal in (("identity", loss.survival_goal), ("rival", loss.artwork_goal)):
                if not 0 <= goal < 1 or (goal and not getattr(loss, f"{part}_weight")):
                    raise RtstyleError(
                        f"the recipe {path} has a survival_goal or artwork_goal out of range: from 0 to below 1, and "
                        f"none without {part}_weight"
                    )
            sizes = stage.style_sizes or (0,)
            if min(stage.crop, *sizes) < 32 or stage.crop % 8 or stage.batch < 1 or stage.share <= 0:
                raise RtstyleError(
                    f"the recipe {path} has a [[stage]] out of range: share above 0, crop a multiple of 8 from 32, "
                    "batch from 1, style_size from 32"
                )
        if self.teacher and (self.teacher.weight <= 0 or not self.teacher.layers):
            raise RtstyleError(f"the recipe {path} has a [teacher] out of range: weight above 0, at least one layer")

    @property
    def artworks(self) -> list[Style]:
        """The styles, then what is only practised on."""
        return [*self.style, *self.practice]

    def digest(self) -> str:
        """SHA-256 of the recipe's content; comments and order of keys do not matter."""
        told = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def stage_at(self, step: int) -> Stage:
        """The stage that a step (from 0) belongs to."""
        total, passed = sum(stage.share for stage in self.stage), 0.0
        for stage in self.stage:
            passed += stage.share / total
            if step < passed * self.steps - 1e-6:
                return stage
        return self.stage[-1]

    def learning_rate_at(self, step: int) -> float:
        """Warm-up over the first 2 % (at most 200 steps), then a cosine down to 2 % of the peak."""
        warm = max(1, min(200, self.steps // 50))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        progress = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclasses.dataclass
class Progress:
    """What the callback of `Trainer.run` is told after each step."""

    step: int
    steps: int
    losses: dict[str, float]
    seconds: float


def bfloat16_pays(device: torch.device) -> bool:
    """Whether bf16 convolutions are fast on this device: on CUDA and on CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # private until torch offers it openly
    return bool(supported and supported())


class Trainer:
    """One training run: its net, optimiser, data and random state, resumable to the same result.

    Without `content` training looks at a few bundled photographs (`data.default_pictures`). `init` starts from the
    weights of an exported model; with `frozen` these stay as they are, and only the codes learn. `run_dir` receives
    checkpoint.pt, losses.csv, curves.png and preview.png. Raises RtstyleError when a
    picture, the weights or a checkpoint cannot be used.
    """

    def __init__(
        self,
        recipe: Recipe,
        content: str | os.PathLike | None,
        pictures: str | os.PathLike,
        run_dir: str | os.PathLike,
        *,
        device: str = "auto",
        precision: str = "auto",
        vgg: str | os.PathLike | None = None,
        vgg_convention: str | None = None,
        init: str | os.PathLike | None = None,
        frozen: bool = False,
        resume: bool = False,
    ):
        self.recipe = recipe
        self.device = perceptual.pick_device(device)
        if precision == "auto":
            precision = "bf16" if bfloat16_pays(self.device) else "fp32"
        self.precision = precision
        self.dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        self.run_dir = Path(run_dir)
        self.checkpoint = self.run_dir / "checkpoint.pt"
        if self.checkpoint.exists() and not resume:
            raise RtstyleError(f"{self.run_dir} holds an earlier run: add --resume to go on, or give another --run-dir")

        self.vgg = perceptual.VGG(recipe.loss.vgg, vgg, convention=vgg_convention, device=self.device, dtype=self.dtype)
        self.unit = OXFORD_UNIT if self.vgg.convention == "oxford" else 1.0
        self.style_files = [Path(pictures) / style.file for style in recipe.artworks]
        targets = {size: self.style_targets(size) for size in sorted({n for s in recipe.stage for n in s.style_sizes})}
        self.targets = {stage.style_sizes: mean_of([targets[n] for n in stage.style_sizes]) for stage in recipe.stage}
        largest = max(stage.crop for stage in recipe.stage)
        self.photos = Photos(content, max(256, largest + largest // 8), self.device)
        usual = self.balanced_weights() if recipe.loss.balance else [recipe.loss.style_weight] * len(recipe.artworks)
        self.style_weights = torch.tensor(
            [weight if s.weight is None else s.weight for s, weight in zip(recipe.artworks, usual, strict=True)],
            device=self.device,
        )
        goals = {name for stage in recipe.stage for name in stage.loss(recipe.loss).goals}
        self.pressure = {name: torch.ones_like(self.style_weights) for name in sorted(goals)}
        if recipe.passes:
            steps = math.ceil(recipe.passes * len(self.photos) / recipe.stage[0].batch)
            self.recipe = recipe = dataclasses.replace(recipe, steps=steps)

        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RtstyleError(f"the run folder {self.run_dir} cannot be made: {error.strerror}") from None
        self.strangers = self.stranger_features() if self.identity_layers else {}
        self.teacher = self.called_teacher() if recipe.teacher else None
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.net = networks.build(recipe.body, len(recipe.artworks), recipe.config, self.generator)
        self.seed_weights()
        self.started_from = None
        self.frozen = frozen
        self.net.to(self.device, memory_format=torch.channels_last)
        if init and not resume:
            self.start_from(init)
        self.net.requires_grad_(not frozen).codes.requires_grad_(True)
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.learning(), lr=recipe.learning_rate, betas=(0.9, 0.99))
        self.step, self.seconds, self.rows = 0, 0.0, []
        if resume:
            self.load()

    def seed_weights(self) -> None:
        """He initialisation from the run's own generator, so that a seed fixes the whole run."""
        for module in self.net.modules():
            if isinstance(module, torch.nn.Conv2d):
                fan_in = module.weight[0].numel()
                with torch.no_grad():
                    module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=self.generator)
                    if module.bias is not None:
                        module.bias.zero_()
        with torch.no_grad():
            self.net.head.weight.mul_(0.2)  # start near mid-grey, within range

    def learning(self) -> list[torch.nn.Parameter]:
        """What the optimiser may change."""
        return [parameter for parameter in self.net.parameters() if parameter.requires_grad]

    def start_from(self, path: str | os.PathLike) -> None:
        """Weights of an exported model; codes of styles with the same name go on, new ones start from the nearest
        of the model's."""
        from rtstyle.export.to_onnx import from_onnx

        other, cards = from_onnx(path)
        if other.name != self.recipe.body or other.config != self.net.config:
            raise RtstyleError(
                f"{path} is a {other.name} body {other.config}, the recipe wants {self.recipe.body} {self.net.config}"
            )
        self.net.load_state_dict(other.body_weights(), strict=False)
        self.started_from = {"body_sha256": other.body_sha256()}
        known = {card["name"]: row for row, card in enumerate(cards)}
        with torch.no_grad():
            for row, style in enumerate(self.recipe.artworks):
                at = known[style.name] if style.name in known else self.nearest(other.codes.to(self.device), row)
                self.net.codes[row] = other.codes[at]

    def called_teacher(self) -> tuple[networks.Body, torch.Tensor]:
        """The teacher's net, and the row of its code for each artwork, -1 for those that it does not know."""
        from rtstyle.export.to_onnx import from_onnx

        name = self.recipe.teacher.model
        net, cards = from_onnx(catalog.model_path(name))
        known = {card["name"]: row for row, card in enumerate(cards)}
        rows = [known.get(style.name, -1) for style in self.recipe.artworks]
        if max(rows) < 0:
            raise RtstyleError(f"the teacher {name} has none of the recipe's styles: it has {', '.join(known)}")
        net = net.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        return net, torch.tensor(rows, device=self.device)

    @torch.no_grad()
    def nearest(self, codes: torch.Tensor, style: int) -> int:
        """Which of `codes` [S, K] paints photographs nearest to a style of the recipe, by Gram distance."""
        stage, generator = self.recipe.stage[0], torch.Generator().manual_seed(self.recipe.seed)
        photos = self.photos.batch(4, max(stage.crop, 128), generator)
        apart = []
        for code in codes:
            painted = self.net(photos.contiguous(memory_format=torch.channels_last), code).clamp(0, 255)
            found = self.style_matrices(self.vgg(painted, self.style_layers))
            apart.append(float(self.artwork_distances(found, self.targets[stage.style_sizes])[:, style].mean()))
        return int(np.argmin(apart))

    @torch.no_grad()
    def balanced_weights(self) -> list[float]:
        """Weights of the styles that make artworks unlike photographs, whose style loss is large from the start, paint
        over no more than those that are like them: `Loss.balance` divided by the mean relative Gram distance of
        photographs, between LIGHTEST and HEAVIEST."""
        loss, stage = self.recipe.loss, self.recipe.stage[0]
        photos = self.photos.batch(BALANCED_ON, stage.crop, torch.Generator().manual_seed(self.recipe.seed))
        apart = torch.zeros(len(self.recipe.artworks), device=self.device)
        for photo in photos:
            found = self.vgg(photo[None], loss.style_layers)
            matrices = {layer: perceptual.gram(found[layer]) for layer in loss.style_layers}
            apart += self.artwork_distances(matrices, self.targets[stage.style_sizes])[0]
        return [min(max(loss.balance / distance, LIGHTEST), HEAVIEST) for distance in (apart / BALANCED_ON).tolist()]

    def style_targets(self, size: int) -> dict[str, torch.Tensor]:
        """Gram matrices of every painting, {layer: [S, C, C]}, and its palette; `size` is the paintings' short side in
        pixels."""
        rows: dict[str, list[torch.Tensor]] = {}
        for file in self.style_files:
            picture = read_picture(file, size).float()[None].to(self.device)
            with torch.no_grad():
                found = self.vgg(picture, self.style_layers)
                for name, matrix in self.style_matrices(found).items():
                    rows.setdefault(name, []).append(matrix[0])
                rows.setdefault(PALETTE, []).append(perceptual.palette(picture)[0])
        return {name: torch.stack(matrices) for name, matrices in rows.items()}

    @torch.no_grad()
    def follow_goals(self, found: dict[str, torch.Tensor], styles: torch.Tensor, loss: Loss) -> None:
        """After a step: raise the weights of styles whose samples missed a goal and lower the others, so that they rest
        where the goal's share of samples reaches it (dual ascent on a constraint for each style). What is only
        practised on has no goals. `found` as `sample_losses` returns it."""
        least, most = map(math.log, GOAL_RANGE)
        shown = styles < len(self.recipe.style)
        for name, goal in loss.goals.items():
            reached = (found[name] <= 0).float()
            logs = self.pressure[name].log().index_add(0, styles, GOAL_RATE * (goal - reached) * shown)
            self.pressure[name] = logs.clamp(least, most).exp()

    @property
    def style_layers(self) -> list[str]:
        loss = self.recipe.loss
        return list(dict.fromkeys((*loss.style_layers, *((loss.repeat_layer,) if loss.repeat_shifts else ()))))

    @property
    def identity_layers(self) -> tuple[str, ...]:
        wanted = any(stage.loss(self.recipe.loss).identity_weight for stage in self.recipe.stage)
        return (self.recipe.loss.identity_layer,) if wanted else ()

    def style_matrices(self, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What describes the style of pictures: Gram matrices by layer, and correlations at a distance by
        `repeat DY DX`; each [N, C, C]."""
        loss = self.recipe.loss
        matrices = {layer: perceptual.gram(found[layer]) for layer in loss.style_layers}
        for shift in loss.repeat_shifts:
            for dy, dx in ((shift, 0), (0, shift)):
                matrices[f"repeat {dy} {dx}"] = perceptual.shifted_gram(found[loss.repeat_layer], dy, dx)
        return matrices

    def stranger_features(self) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """Features of STRANGERS fixed photographs for the identity loss, and their squared lengths,
        {crop: ([STRANGERS, D], [STRANGERS])}.

        Half are any photographs, half the weakest of LINED_UP others: photographs of weak features are the nearest to
        whatever lies far from everything (hubs; Radovanovic et al., JMLR 2010), as strong paintings do.
        """
        features = {}
        layer = self.recipe.loss.identity_layer
        for crop in sorted({stage.crop for stage in self.recipe.stage}):
            generator = torch.Generator().manual_seed(self.recipe.seed)
            found: list[tuple[float, torch.Tensor]] = []
            for place in range(STRANGERS // 2 + LINED_UP):
                with torch.no_grad():
                    one = self.vgg(self.photos.batch(1, crop, generator), [layer])[layer].flatten(1).float()
                found.append((float(one.square().sum()), one))
                if place >= STRANGERS:
                    found.pop(max(range(STRANGERS // 2, len(found)), key=lambda k: found[k][0]))
            features[crop] = torch.cat([one for _, one in found]), torch.tensor([n for n, _ in found]).to(self.device)
        return features

    def content_distance(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.recipe.loss.absolute:
            return perceptual.content_loss(features, target) / self.unit**2
        return perceptual.relative_content_loss(features, target)

    def style_distance(self, grams: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.recipe.loss.absolute:
            return perceptual.style_loss(grams, target) / (self.unit**4 * grams.shape[-1] ** 2)
        return self.recipe.loss.style_distance(grams, target)

    def identity_loss(self, painted: torch.Tensor, own: torch.Tensor, crop: int) -> torch.Tensor:
        """How far each painting is from being nearest to its own photograph, one value a sample [N].

        The hinge max(0, margin + d(y, c) - min_k d(y, c_k)) with d squared feature distances in units of ||F(c)||^2
        and k over the other photographs of the batch and the strangers (triplet loss with the hardest negative,
        Schroff et al. 2015). It lets style go further than a content loss of the same effect: the features may
        move, as long as the photograph stays recognisable among others.
        """
        painted, own = painted.flatten(1).float(), own.flatten(1).float()
        mine = perceptual.squared_norm(own, (1,))
        others, theirs = self.strangers[crop]
        squares = perceptual.squared_norm(painted, (1,))[:, None] + torch.cat([mine, theirs])
        distances = (squares - 2 * torch.cat([painted @ own.T, painted @ others.T], dim=1)) / mine[:, None]
        count = len(painted)
        others_only = distances.masked_fill(torch.eye(*distances.shape, dtype=torch.bool, device=own.device), torch.inf)
        return F.relu(self.recipe.loss.identity_margin + distances.diagonal()[:count] - others_only.amin(1))

    def artwork_distances(self, matrices: dict, targets: dict) -> torch.Tensor:
        """Mean over the layers of the relative Gram distance of pictures, {layer: [N, C, C]}, to every artwork of the
        run, {layer: [S, C, C]}: [N, S]."""
        apart, layers = 0.0, self.recipe.loss.style_layers
        for layer in layers:
            found, wanted = matrices[layer].flatten(1).float(), targets[layer].flatten(1).float()
            norms = perceptual.squared_norm(wanted, (1,))
            squares = perceptual.squared_norm(found, (1,))[:, None] + norms - 2 * found @ wanted.T
            apart = apart + squares / norms / len(layers)
        return apart

    def rival_loss(self, matrices: dict, styles: torch.Tensor, targets: dict) -> torch.Tensor:
        """How far each painting is from being nearest, by style distance, to its own artwork, one value a sample [N].

        The hinge max(0, margin + d(y, s) - min_k d(y, s_k)) over all the artworks of the run, d as in the loss of
        style; `matrices` {layer: [N, C, C]} of whole pictures. Without it, pale artworks become like each other.
        """
        apart = self.artwork_distances(matrices, targets)
        own = apart.gather(1, styles[:, None])[:, 0]
        if apart.shape[1] == 1:
            return torch.zeros_like(own)
        others = apart.scatter(1, styles[:, None], torch.inf).amin(1)
        return F.relu(self.recipe.loss.rival_margin + own - others)

    def paint(
        self, photos: torch.Tensor, styles: torch.Tensor, peaks: list | None = None, net: networks.Body | None = None
    ) -> torch.Tensor:
        """The run's net, unless another is given, in the run's precision, float32 out; `peaks` as for
        `networks.TorchOps`."""
        net = net or self.net
        mixed = self.precision == "bf16" and (net.dense or self.device.type == "cuda")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            photos = photos.contiguous(memory_format=torch.channels_last)
            return net(photos, net.codes[styles], peaks).float()

    def teacher_loss(self, photos: torch.Tensor, found: dict[str, torch.Tensor], styles: torch.Tensor) -> torch.Tensor:
        """mean_l ||F_l(y) - F_l(t)||^2 / ||F_l(t)||^2 with t the teacher's painting of the same photograph, [N]; 0 for
        styles that the teacher does not know. `found` has the features of y."""
        (net, rows), layers = self.teacher, self.recipe.teacher.layers
        codes = rows[styles]
        with torch.no_grad():
            shown = self.paint(photos, codes.clamp_min(0), net=net).clamp(0, 255)
            wanted = self.vgg(shown, layers)
        apart = sum(perceptual.relative_content_loss(found[k], wanted[k]) for k in layers) / len(layers)
        return apart * (codes >= 0)

    def draw_motion(self, photos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A sampling grid, of a free motion or of whole pixels, and what a camera adds to the second look: sensor noise
        and a change of exposure."""
        count, _, crop, _ = photos.shape
        grid = torch.where(
            torch.rand(count, 1, 1, 1, generator=self.generator) < 0.5,
            synthetic_motion(count, crop, self.generator),
            whole_shifts(count, crop, self.generator),
        )
        strength = torch.rand(count, 1, 1, 1, generator=self.generator) * 6
        change = torch.randn(photos.shape, generator=self.generator) * strength
        change += torch.randn(count, 1, 1, 1, generator=self.generator) * 4
        return grid.to(self.device), change.to(self.device)

    def temporal_loss(self, photos, painted, styles, motion) -> torch.Tensor:
        """mean |paint(W(c) + change) - W(paint(c))|^2 / 255^2 where the motion brings nothing new, [N]."""
        grid, change = motion
        inside = (grid.abs() < 1).all(-1)[:, None].float()
        again = self.paint((warp(photos, grid) + change).clamp(0, 255), styles)
        apart = (again - warp(painted, grid)).div(255).square() * inside
        return apart.mean(dim=(1, 2, 3)) / inside.mean(dim=(1, 2, 3)).clamp_min(1e-3)

    def losses(self, *args, **options) -> dict[str, torch.Tensor]:
        """`sample_losses`, their means over the batch."""
        return {name: values.mean() for name, values in self.sample_losses(*args, **options).items()}

    def sample_losses(
        self, photos: torch.Tensor, styles: torch.Tensor, targets: dict[str, torch.Tensor], motion=None, loss=None
    ) -> dict[str, torch.Tensor]:
        """Losses of every sample of a batch, each [N]: `total` and its parts. photos [N, 3, H, W], styles int64 [N];
        `motion` as `draw_motion` gives it, for the temporal loss; `loss` has the weights, the recipe's unless given."""
        loss = loss or self.recipe.loss
        peaks = [] if loss.peak_weight else None
        painted = self.paint(photos, styles, peaks)
        with torch.no_grad():
            wanted = self.vgg(photos, (*loss.content_layers, *self.identity_layers))
        taught = self.recipe.teacher.layers if self.teacher else ()
        found = self.vgg(painted, (*loss.content_layers, *self.style_layers, *self.identity_layers, *taught))
        content = sum(self.content_distance(found[k], wanted[k]) for k in loss.content_layers)
        matrices = self.style_matrices(split(found, loss.regions))
        matrices = {name: matrix.unflatten(0, (len(styles), -1)) for name, matrix in matrices.items()}  # [N, R^2, C, C]
        distances = {
            name: self.style_distance(matrix, targets[name][styles, None]).mean(1) for name, matrix in matrices.items()
        }
        style = sum(distances[layer] for layer in loss.style_layers)
        if not loss.absolute:
            content, style = content / len(loss.content_layers), style / len(loss.style_layers)
        repeats = [value for name, value in distances.items() if name not in loss.style_layers]
        repeat = sum(repeats) / max(1, len(repeats))
        identity = torch.zeros_like(content)
        for layer in self.identity_layers:
            identity = self.identity_loss(found[layer], wanted[layer], photos.shape[2])
        rival = torch.zeros_like(content)
        if loss.rival_weight:
            whole = {layer: matrices[layer].mean(1) for layer in loss.style_layers}
            rival = self.rival_loss(whole, styles, targets)
        palette = torch.zeros_like(content)
        if loss.palette_weight:
            palette = perceptual.palette_loss(perceptual.palette(painted), targets[PALETTE][styles])
        temporal = torch.zeros_like(content)
        if motion is not None:
            temporal = self.temporal_loss(photos, painted, styles, motion)
        peak = sum(far.float() for far in peaks) if peaks else torch.zeros_like(content)
        tv = perceptual.total_variation(painted)
        outside = (F.relu(-painted) + F.relu(painted - 255)).div(255).square().mean(dim=(1, 2, 3))
        painting = self.style_weights[styles] * (style + loss.repeat_weight * repeat)
        weights = {"identity": loss.identity_weight, "rival": loss.rival_weight}
        weights |= {name: weights[name] * pressure[styles] for name, pressure in self.pressure.items()}
        keeping = loss.content_weight * content + weights["identity"] * identity
        painting = painting + weights["rival"] * rival + loss.palette_weight * palette
        steadying = loss.temporal_weight * temporal + loss.peak_weight * peak + loss.tv_weight * tv
        total = keeping + painting + steadying + 10 * outside
        teacher = torch.zeros_like(content)
        if self.teacher:
            teacher = self.teacher_loss(photos, found, styles)
            total = total + self.recipe.teacher.weight * teacher
        return {
            "total": total,
            "content": content,
            "identity": identity,
            "style": style,
            "rival": rival,
            "palette": palette,
            "temporal": temporal,
            "teacher": teacher,
            "peak": peak,
            "tv": tv,
        }

    def draw_styles(self, count: int) -> torch.Tensor:
        """int64 [count]: which artwork each sample of a batch is painted after."""
        shown, practised = len(self.recipe.style), len(self.recipe.practice)
        if not practised:
            return torch.randint(shown, (count,), generator=self.generator)
        share = self.recipe.practice_share
        chances = torch.tensor([(1 - share) / shown] * shown + [share / practised] * practised)
        return torch.multinomial(chances, count, replacement=True, generator=self.generator)

    def train_step(self) -> dict[str, float]:
        stage = self.recipe.stage_at(self.step)
        rate = self.recipe.learning_rate_at(self.step)
        styles = self.draw_styles(stage.batch).to(self.device)
        photos = self.photos.batch(stage.batch, stage.crop, self.generator)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = stage.loss(self.recipe.loss)
        motion = self.draw_motion(photos) if loss.temporal_weight else None
        found = self.sample_losses(photos, styles, self.targets[stage.style_sizes], motion, loss)
        losses = {name: values.mean() for name, values in found.items()}
        self.optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.learning(), 10.0)
        if not torch.isfinite(losses["total"] + norm):
            kept = f"; the last good state is {self.checkpoint}" if self.checkpoint.exists() else ""
            raise RtstyleError(
                f"the loss is no longer a number at step {self.step}: lower learning_rate in the recipe{kept}"
            )
        self.optimiser.step()
        self.follow_goals(found, styles, loss)
        self.step += 1
        with torch.no_grad():
            decay = min(self.recipe.average, self.step / (self.step + 10))
            for name, value in self.net.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return {k: float(v.detach()) for k, v in losses.items()} | {"learning_rate": rate}

    def run(
        self,
        callback: Callable[[Progress], None] | None = None,
        save_seconds: float = 60.0,
        show_seconds: float = 180.0,
    ) -> None:
        """Train to the last step. A checkpoint is written every `save_seconds`, curves and a preview every
        `show_seconds`, all at the end, and a checkpoint on the way out of an interruption (KeyboardInterrupt goes on to
        the caller)."""
        started, saved, shown = time.monotonic() - self.seconds, time.monotonic(), time.monotonic()
        try:
            while self.step < self.recipe.steps:
                before = self.generator.get_state()
                try:
                    losses = self.train_step()
                except BaseException:
                    self.generator.set_state(before)  # the step is taken again, with the same crops, on resume
                    raise
                self.seconds = time.monotonic() - started
                self.rows.append([self.step, *(losses[k] for k in COLUMNS[1:-1]), round(self.seconds, 3)])
                if callback:
                    callback(Progress(self.step, self.recipe.steps, losses, self.seconds))
                if time.monotonic() - saved > save_seconds:
                    self.save()
                    saved = time.monotonic()
                if time.monotonic() - shown > show_seconds:
                    self.show()
                    shown = time.monotonic()
        except RtstyleError:  # no state worth keeping, or no disk to keep it on: the last checkpoint stays
            raise
        except BaseException:
            if self.step:
                self.save()
            raise
        self.save()
        self.show()

    def save(self) -> None:
        """Write the checkpoint and the losses; the previous ones stay whole if that fails."""
        state = {
            "recipe": self.recipe.digest(),
            "frozen": self.frozen,
            "step": self.step,
            "seconds": self.seconds,
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "pressure": self.pressure,
            "description": self.describe(),
        }
        torch.save(state, packed := io.BytesIO())  # torch's own writing turns a full disk into a riddle
        with written_beside(self.checkpoint) as part:
            part.write_bytes(packed.getbuffer())
        with written_beside(self.run_dir / "losses.csv") as part, open(part, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(self.rows)

    def load(self) -> None:
        if not self.checkpoint.exists():
            raise RtstyleError(f"there is nothing to resume in {self.run_dir}: leave --resume out")
        state = load_checkpoint(self.checkpoint)
        if state["recipe"] != self.recipe.digest():
            raise RtstyleError(f"{self.checkpoint} was made by another recipe: resume with that one, or start afresh")
        if state.get("frozen", False) != self.frozen:
            raise RtstyleError(
                f"{self.checkpoint} trained {'a whole body' if self.frozen else 'codes only'}: resume so"
            )
        self.net.load_state_dict(state["net"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.pressure = {name: state["pressure"][name].to(self.device) for name in self.pressure}
        self.step, self.seconds = state["step"], state["seconds"]
        self.started_from = state["description"]["training"]["init"]
        rows = []
        with contextlib.suppress(FileNotFoundError), open(self.run_dir / "losses.csv", newline="") as file:
            rows = [row for row in csv.reader(file)][1:]
        self.rows = [[int(row[0]), *map(float, row[1:])] for row in rows][: self.step]

    def describe(self) -> dict:
        """What makes this run again, as it goes into the checkpoint and the model's metadata."""
        loss = dataclasses.asdict(self.recipe.loss)
        return {
            "body": self.recipe.body,
            "config": self.net.config,
            "styles": [style.card() for style in self.recipe.style],
            "reference_height": self.recipe.reference_height,
            "training": {
                "recipe_sha256": self.recipe.digest(),
                "init": self.started_from,
                "frozen_body": self.frozen,
                "seed": self.recipe.seed,
                "steps": self.step,
                "loss": loss,
                "teacher": self.recipe.teacher and dataclasses.asdict(self.recipe.teacher),
                "style_weights": self.by_style(self.style_weights),
                "pressure": {name: self.by_style(factors) for name, factors in self.pressure.items()},
                "stages": [dataclasses.asdict(stage) for stage in self.recipe.stage],
                "learning_rate": self.recipe.learning_rate,
                "photographs": len(self.photos),
                "vgg_sha256": self.vgg.sha256,
                "vgg_convention": self.vgg.convention,
                "precision": self.precision,
                "device": self.device.type,
                "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
            },
        }

    def by_style(self, values: torch.Tensor) -> dict[str, float]:
        """Numbers of the artworks [S] under the names of those that are shown."""
        return dict(zip((style.name for style in self.recipe.style), values.tolist(), strict=False))

    def averaged_net(self) -> networks.Body:
        """The net with the averaged weights and the styles that are shown, on the CPU: what is exported."""
        return averaged(self.average, self.describe())

    def show(self) -> None:
        """Draw curves.png and preview.png into the run's folder."""
        from rtstyle.export.plots import draw_curves
        from rtstyle.sheet import draw_grid

        draw_curves(self.rows, COLUMNS, self.run_dir / "curves.png")
        photos = [self.photos.pictures[i * len(self.photos) // 5].cpu() for i in range(1, 5)]
        net = self.averaged_net()
        rows = []
        for photo in photos:
            frame = photo.permute(1, 2, 0)
            painted = net.stylize(frame.expand(len(net.codes), -1, -1, -1).contiguous(), net.codes)
            rows.append([frame.numpy(), *painted.numpy()])
        draw_grid(rows, ["photograph", *(style.name for style in self.recipe.style)], self.run_dir / "preview.png")


def mean_of(targets: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Means over dictionaries of matrices under the same names."""
    return {name: torch.stack([matrices[name] for matrices in targets]).mean(0) for name in targets[0]}


def split(found: dict[str, torch.Tensor], regions: int) -> dict[str, torch.Tensor]:
    """Feature maps [N, C, H, W] to those of regions x regions equal parts, [N regions^2, C, H / regions, W / regions];
    what is left over at the bottom and on the right is left out."""
    if regions == 1:
        return found
    parts = {}
    for layer, maps in found.items():
        n, c, h, w = maps.shape[0], maps.shape[1], maps.shape[2] // regions, maps.shape[3] // regions
        grid = maps[:, :, : h * regions, : w * regions].reshape(n, c, regions, h, regions, w)
        parts[layer] = grid.permute(0, 2, 4, 1, 3, 5).reshape(n * regions**2, c, h, w)
    return parts


def averaged(average: dict[str, torch.Tensor], description: dict) -> networks.Body:
    """The net of a run's averaged weights, without the codes of what was only practised on."""
    styles = len(description["styles"])
    net = networks.build(description["body"], styles, description["config"])
    net.load_state_dict({k: v.cpu() if k != "codes" else v[:styles].cpu() for k, v in average.items()})
    return net.eval()


def load_checkpoint(path: str | os.PathLike) -> dict:
    """A training checkpoint. Raises RtstyleError if it is not one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RtstyleError(f"the checkpoint {path} does not exist") from None
    except Exception as error:  # torch, zipfile and pickle each raise their own
        raise RtstyleError(f"{path} is not a readable checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict) or not {"net", "average", "description"} <= state.keys():
        raise RtstyleError(f"{path} is not a checkpoint of rtstyle train")
    return state
