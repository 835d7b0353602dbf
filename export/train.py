"""Training: photographs and paintings in, one body with a gallery of style codes out.

The loss is in `rtstyle.export.losses`, the settings in `rtstyle.export.recipe`. Each sample of a batch gets a style of
its own, drawn at random (Dumoulin et al. 2017). The auxiliary styles take part like the others but are not
exported: a body that has painted more has more to offer to a style that it learns later, frozen.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from rtstyle.errors import ModelError, RtstyleError
from rtstyle.export import losses, networks, operations
from rtstyle.export.artworks import Artworks
from rtstyle.export.checkpoint import (
    averaged,
    check_resumed,
    check_same_inputs,
    checkpoint_in,
    describe,
    load_losses,
    resume_checkpoint,
    save_checkpoint,
    save_losses,
)
from rtstyle.export.data import Photos, draw_motion, warp
from rtstyle.export.loop import COLUMNS, Progress, as_numbers, follow, run_steps
from rtstyle.export.plots import draw_curves, draw_preview
from rtstyle.export.precision import DTYPES, chosen
from rtstyle.export.recipe import Loss, Recipe
from rtstyle.export.start import seed_weights, start_from
from rtstyle.files import make_folder
from rtstyle.perceptual import vgg as perceptual

PLACES = 4  # on the canvas, in a step: each costs a copy of it
BALANCE_PACE = 0.05  # how far the logarithm of a style's weight moves for a sample whose structure term is 0
MAX_WEIGHT_CHANGE = 20.0  # a weight stays between a twentieth of its first value and twenty times that


def parameter_groups(net: networks.Body, batch: int) -> list[dict[str, Any]]:
    """What an optimizer may change of the body, and the codes, with what multiplies the learning rate of each. A code
    has a gradient only in the steps that draw its style, a share p of them, for which Adam moves it sqrt(p) times as
    far as a weight that has one in every step: that is made up for, in all stages by the `batch` of the first."""
    body = [weight for weight in net.parameters() if weight.requires_grad and weight is not net.codes]
    pace = max(1.0, math.sqrt(len(net.codes) / batch))
    groups = [{"params": body, "pace": 1.0}, {"params": [net.codes], "pace": pace}]
    return [group for group in groups if group["params"]]


def draw_styles(recipe: Recipe, count: int, generator: torch.Generator) -> torch.Tensor:
    """int64 [count]: which artwork each sample of a batch is painted after."""
    shown, auxiliary = len(recipe.style), len(recipe.auxiliary)
    if not auxiliary:
        return torch.randint(shown, (count,), generator=generator)
    share = recipe.auxiliary_share
    chances = torch.tensor([(1 - share) / shown] * shown + [share / auxiliary] * auxiliary)
    return torch.multinomial(chances, count, replacement=True, generator=generator)


class Trainer:
    """One training run: its net, optimizer, data and random state, resumable, on a CPU to the same result.

    Without `content` training looks at a few bundled photographs (`data.default_pictures`). `init` starts from the
    weights of an exported model; with `frozen` these stay as they are, and only the codes learn; with `own_codes` no
    style starts from one of that model's that happens to have its name. Of a folder with more than `max_photographs`,
    so many are read. `run_dir` receives checkpoint.pt, losses.csv, curves.png and preview.png;
    with `replace` they may replace those of an earlier run, whose checkpoint goes at once. Raises RtstyleError when a
    picture, the weights or a checkpoint cannot be used.
    """

    def __init__(
        self,
        recipe: Recipe,
        content: str | os.PathLike[str] | None,
        pictures: str | os.PathLike[str],
        run_dir: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "auto",
        vgg: str | os.PathLike[str] | None = None,
        vgg_convention: str | None = None,
        init: str | os.PathLike[str] | None = None,
        frozen: bool = False,
        own_codes: bool = False,
        max_photographs: int | None = None,
        resume: bool = False,
        replace: bool = False,
    ):
        self.recipe = recipe
        self.device = perceptual.pick_device(device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # all steps of a stage have the same sizes
        self.run_dir = Path(run_dir)
        self.checkpoint = checkpoint_in(self.run_dir, may_exist=resume or replace)
        earlier = resume_checkpoint(self.checkpoint) if resume else None
        known = earlier["description"].get("training", {}) if earlier else {}
        self.precision = chosen(precision, self.device, known.get("precision"))
        self.vgg = perceptual.VGG(
            recipe.loss.vgg, vgg, convention=vgg_convention, device=self.device, dtype=DTYPES[self.precision]
        )
        self.compare = losses.Comparison(recipe.loss, self.vgg)
        files = [Path(pictures) / style.file for style in recipe.artworks]
        self.artworks = Artworks(files, recipe.stage, self.compare, self.device)
        largest = max(stage.crop for stage in recipe.stage)
        self.photos = Photos(content, max(256, largest + largest // 8), self.device, max_photographs)
        self.first_weights = torch.tensor(
            self.artworks.style_weights(recipe, self.photos), dtype=torch.float32, device=self.device
        )
        self.style_weights = self.first_weights.clone()
        self.structure_factors = self.factors([style.structure_factor for style in recipe.artworks])
        self.light_factors = self.factors([style.light_factor for style in recipe.artworks])
        if recipe.passes:
            steps = math.ceil(recipe.passes * len(self.photos) / recipe.batch)
            self.recipe = recipe = dataclasses.replace(recipe, steps=steps)
        make_folder(self.run_dir)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.net = networks.build(recipe.body, len(recipe.artworks), recipe.config, self.generator)
        seed_weights(self.net, self.generator)
        self.net.start_colors(*self.artworks.colors())
        self.net.to(self.device).to(memory_format=torch.channels_last)
        self.started_from: dict[str, str] | None = None
        if init and not resume:
            self.started_from = start_from(self.net, init, recipe, self.artworks, self.photos, own_codes=own_codes)
        self.frozen = frozen
        self.net.requires_grad_(not frozen)
        self.net.codes.requires_grad_(True)
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        groups = parameter_groups(self.net, recipe.stage[0].batch)
        self.optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate, betas=(0.9, 0.99))
        self.step, self.seconds = 0, 0.0
        self.rows: list[list[float]] = []
        if earlier:
            self.go_on_from(earlier)
        else:
            self.checkpoint.unlink(missing_ok=True)

    def learning(self) -> list[torch.nn.Parameter]:
        """What the optimizer may change."""
        return [parameter for parameter in self.net.parameters() if parameter.requires_grad]

    def factors(self, given: Sequence[float | None]) -> torch.Tensor:
        """[S]; 1 where a style gives none."""
        numbers = [1.0 if factor is None else factor for factor in given]
        return torch.tensor(numbers, dtype=torch.float32, device=self.device)

    def paint(self, photos: torch.Tensor, styles: torch.Tensor, offsets: torch.Tensor | None = None) -> torch.Tensor:
        """The run's net, float32 out; `offsets` as for `operations.TorchOps`. In the run's precision on
        a CPU; on a GPU, where VGG takes the time, the net's convolutions are TF32, which loses less of the colours."""
        narrow = self.precision == "bf16" and self.device.type == "cpu"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=narrow):
            photos = photos.contiguous(memory_format=torch.channels_last)
            return self.net.forward(photos, self.net.codes[styles], offsets).float()

    def draw_offsets(self, count: int) -> torch.Tensor:
        """int64 [count, 2]: where each sample lies on the canvas, at one of a few places."""
        places = torch.randint(operations.CANVAS_SIDE, (min(count, PLACES), 2), generator=self.generator)
        return places.repeat(-(-count // PLACES), 1)[:count]

    def sample_losses(
        self,
        photos: torch.Tensor,
        styles: torch.Tensor,
        targets: losses.Targets,
        *,
        loss: Loss | None = None,
        style_factor: float = 1.0,
        offsets: torch.Tensor | None = None,
        motion: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Losses of every sample of a batch, each [N]: `total` and its terms. photos [N, 3, H, W], styles int64 [N];
        `motion` as `draw_motion` gives it, for the temporal loss; `loss` has the weights, the recipe's unless given."""
        loss = loss or self.recipe.loss
        compare = losses.Comparison(loss, self.vgg)
        painted = self.paint(photos, styles, offsets)
        with torch.no_grad():
            photo_features = compare.features(photos, style=False)
        features = compare.features(painted)
        moved = None
        if motion is not None:
            grid, change = motion
            again = self.paint((warp(photos, grid) + change).clamp(0, 255), styles, offsets)
            moved = losses.Moved(again, grid)
        batch = losses.Batch(
            photos,
            painted,
            styles,
            photo_features,
            features,
            compare.matrices(features),
            targets,
            style_factor * self.style_weights[styles],
            moved,
            self.light_factors[styles],
        )
        return losses.evaluate(compare, batch)

    def train_step(self, rate: float | None = None) -> dict[str, float]:
        """One step, by default at the recipe's learning rate; its losses."""
        stage = self.recipe.stage_at(self.step)
        if rate is None:
            rate = self.recipe.learning_rate_at(self.step)
        styles = draw_styles(self.recipe, stage.batch, self.generator).to(self.device)
        photos = self.photos.batch(stage.batch, stage.crop, self.generator)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["pace"]
        loss = stage.loss(self.recipe.loss)
        sampled = self.sample_losses(
            photos,
            styles,
            self.artworks.targets[stage.style_sizes],
            loss=loss,
            style_factor=stage.style_factor,
            offsets=self.draw_offsets(stage.batch),
            motion=draw_motion(photos, self.generator) if loss.temporal_weight else None,
        )
        means = {name: values.mean() for name, values in sampled.items()}
        self.optimizer.zero_grad(set_to_none=True)
        means["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.learning(), 10.0)
        result = as_numbers(means | {"norm": norm})
        size = result.pop("norm")
        if not math.isfinite(result["total"] + size):
            kept = f"; the last good state is {self.checkpoint}" if self.checkpoint.exists() else ""
            remedy = "give a smaller `style_weight`" if self.frozen else "lower learning_rate in the recipe"
            raise RtstyleError(f"the loss became NaN or infinite at step {self.step}: {remedy}{kept}")
        self.optimizer.step()
        self.step += 1
        if stage.structure_goal:
            self.balance(styles, sampled["structure"].detach(), stage.structure_goal)
        follow(self.average, self.net, min(self.recipe.average, self.step / (self.step + 10)))
        return result | {"learning_rate": rate}

    def balance(self, styles: torch.Tensor, structure: torch.Tensor, goal: float) -> None:
        """After a step with `styles` [N], more weight for those whose `structure` term [N] is below the goal (times the
        factor of the style), less for those above it: each paints as boldly as leaves the photograph recognisable."""
        goals = goal * self.structure_factors[styles]
        weights = self.style_weights.log().index_add_(0, styles, BALANCE_PACE * (1 - structure / goals)).exp_()
        first = self.first_weights
        self.style_weights = torch.minimum(torch.maximum(weights, first / MAX_WEIGHT_CHANGE), first * MAX_WEIGHT_CHANGE)

    def run(
        self,
        callback: Callable[[Progress], None] | None = None,
        save_seconds: float = 60.0,
        show_seconds: float = 180.0,
    ) -> None:
        """Train to the last step; see `run_steps`."""
        run_steps(self, self.recipe.steps, callback, save_seconds, show_seconds)

    def save(self) -> None:
        """Write the checkpoint and the losses; the previous ones stay whole if that fails."""
        state = {
            "recipe": self.recipe.digest(),
            "frozen": self.frozen,
            "step": self.step,
            "seconds": self.seconds,
            "net": self.net.state_dict(),
            "average": self.average,
            "optimiser": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "style_weights": self.style_weights,
            "description": self.describe(),
        }
        save_checkpoint(self.checkpoint, state)
        save_losses(self.run_dir / "losses.csv", COLUMNS, self.rows)

    def go_on_from(self, state: dict[str, Any]) -> None:
        check_resumed(state, self.checkpoint, self.recipe, frozen=self.frozen)
        check_same_inputs(state["description"]["training"], self.describe()["training"], self.checkpoint)
        self.net.load_state_dict(state["net"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        try:
            self.optimizer.load_state_dict(state["optimiser"])
        except ValueError:
            raise ModelError(f"{self.checkpoint} was made by another version of rtstyle: start afresh") from None
        self.generator.set_state(state["generator"])
        if "style_weights" in state:  # earlier versions did not change them
            self.style_weights = state["style_weights"].to(self.device)
        self.step, self.seconds = state["step"], state["seconds"]
        self.started_from = state["description"]["training"]["init"]
        self.rows = load_losses(self.run_dir / "losses.csv", COLUMNS)[: self.step]

    def describe(self) -> dict[str, Any]:
        """What makes this run again, as it goes into the checkpoint and the model's metadata."""
        run = {
            "init": self.started_from,
            "frozen_body": self.frozen,
            "steps": self.step,
            "photographs": len(self.photos),
            "vgg_sha256": self.vgg.sha256,
            "vgg_convention": self.vgg.convention,
            "precision": self.precision,
            "device": self.device.type,
        }
        return describe(self.recipe, self.net.config, self.style_weights.tolist(), run)

    def averaged_net(self) -> networks.Body:
        """The net with the averaged weights and the styles that are shown, on the CPU: what is exported."""
        return averaged(self.average, self.describe())

    def show(self) -> None:
        """Draw curves.png and preview.png into the run's folder."""
        draw_curves(self.rows, COLUMNS, self.run_dir / "curves.png")
        photos = [self.photos.pictures[i * len(self.photos) // 5].cpu() for i in range(1, 5)]
        titles = [style.name for style in self.recipe.style]
        draw_preview(self.averaged_net(), photos, titles, self.run_dir / "preview.png")
