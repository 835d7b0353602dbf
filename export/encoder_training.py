"""Training an encoder: pictures and photographs in, a net out that writes codes for the body of a model.

Three phases. First it learns to see, from VGG (`small_vgg`). Then it practises on paintings by the body itself, with
codes drawn at random, which it has to find again: of these there are as many as one likes. At last it learns to paint:
the body is frozen, and the losses are those with which its own training began, as if a single code were learned for it;
but the code is what the encoder makes of the picture, and it is the encoder that learns.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtstyle.errors import InputError, RtstyleError, UsageError
from rtstyle.export import encoder_file, losses, networks, operations, polish_file, style_pictures
from rtstyle.export.checkpoint import check_same_inputs, checkpoint_in, resume_checkpoint, save_checkpoint
from rtstyle.export.data import Photos, evenly, list_pictures, read_picture
from rtstyle.export.encoder import CORRECTIONS, Encoder, Seen, Trial
from rtstyle.export.encoder_lessons import LOOK_BATCH, Paintings, Practice, Seeing
from rtstyle.export.encoder_recipe import PAINTING, EncoderRecipe
from rtstyle.export.loop import COLUMNS, Progress, as_numbers, follow, run_steps
from rtstyle.export.plots import draw_curves
from rtstyle.export.precision import DTYPES, chosen
from rtstyle.export.recipe import Loss
from rtstyle.export.run import check_model_output, train_to_file
from rtstyle.export.small_vgg import COMPONENTS, WIDTHS, stages_of
from rtstyle.export.to_onnx import from_onnx, properties, read_training
from rtstyle.files import check_output, make_folder
from rtstyle.gallery import catalog
from rtstyle.media.contact_sheet import draw_grid
from rtstyle.perceptual import vgg as perceptual

log = logging.getLogger("rtstyle")

BALANCED_ON = 8  # photographs, for the weights of the styles
READ_SIDE = 1024  # pixels: the short side of the paintings in memory
SHOWN = 6  # style pictures of a preview
# Of the learning rate while painting: many inputs, or small values that much depends on
RATE_SHARES = {"compared.weight": 0.3, "hidden.weight": 0.5, "mean": 0.25, "directions": 0.25}
EARLY = 0.25  # the share of the painting in which there is one correction at most
NORMS, TYPICAL, FAR = 200, 1.5, 8.0  # gradients: the last so many; clipped at, and left out beyond, so many medians


@dataclasses.dataclass
class GradientClip:
    """Gradients clipped by what is typical: TYPICAL times the median of the last NORMS."""

    norms: list[float] = dataclasses.field(default_factory=list)

    def __call__(self, learning: list[torch.nn.Parameter], loss: torch.Tensor, step: int) -> bool:
        """Clip those of a step; False if they are so far off that it is better left out: now and then a code that is
        corrected paints next to nothing, and relative distances to that are without bounds. Raises RtstyleError."""
        typical = float(np.median(self.norms)) if self.norms else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(learning, TYPICAL * typical))
        if not math.isfinite(norm + float(loss.detach())):
            raise RtstyleError(f"the loss became NaN or infinite at step {step}: lower learning_rate")
        self.norms = [*self.norms[1 - NORMS :], norm]
        return norm <= FAR * typical


class EncoderTrainer:
    """One training run of an encoder, resumable to the same result.

    `content` is a folder of photographs, None for the few bundled ones; `pictures` a folder of paintings. `precision`
    is that of VGG. `init` goes on from the file of an encoder; if it was made for another body than that of the recipe,
    `init_model` is the model with that body, and what the encoder writes is carried over by the styles that both models
    have. `run_dir` receives checkpoint.pt, curves.png and preview.png; `preparing(done, total)` is called
    while the pictures are prepared. With `replace` an earlier run's files may be replaced. Raises RtstyleError when
    something cannot be used.
    """

    def __init__(
        self,
        recipe: EncoderRecipe,
        content: str | os.PathLike[str] | None,
        pictures: str | os.PathLike[str],
        run_dir: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "auto",
        vgg: str | os.PathLike[str] | None = None,
        vgg_convention: str | None = None,
        init: str | os.PathLike[str] | None = None,
        init_model: str | os.PathLike[str] | None = None,
        resume: bool = False,
        replace: bool = False,
        preparing: Callable[[int, int], None] | None = None,
    ):
        if init_model and not init:
            raise UsageError("`init_model` goes with `init`: it is the model that the encoder was made for")
        self.recipe, self.run_dir = recipe, Path(run_dir)
        self.checkpoint = checkpoint_in(self.run_dir, may_exist=resume or replace)
        earlier = self.load() if resume else None
        self.device = perceptual.pick_device(device)
        model = catalog.load(recipe.encoder)
        body, infos = from_onnx(model.path)
        if earlier and earlier["description"]["body_sha256"] != body.body_sha256():
            raise InputError(f"{self.checkpoint} is for another {recipe.encoder} than today's: start afresh")
        begun = encoder_from(init, init_model, body, infos) if init and not resume else None
        if len(body.codes) < 2:
            raise InputError(f"{recipe.encoder} has one style: an encoder is made for a body of several")
        self.body = body.to(self.device).requires_grad_(False)
        training = read_training(properties(model.path))
        self.loss = dataclasses.replace(
            Loss.from_metadata(training.get("loss", {})), balance=recipe.balance, lattice_weight=recipe.lattice_weight
        )
        self.precision = chosen(precision, self.device, earlier["description"]["precision"] if earlier else None)
        dtype = DTYPES[self.precision]
        self.vgg = perceptual.VGG(self.loss.vgg, vgg, convention=vgg_convention, device=self.device, dtype=dtype)
        self.compare = losses.Comparison(self.loss, self.vgg)
        self.photos = Photos(content, max(256, recipe.crop + recipe.crop // 8), self.device)
        self.styles = prepare(recipe, self.compare, self.photos, Path(pictures), preparing)
        make_folder(self.run_dir)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.trial = Trial(self.body, recipe.style_size)
        if begun is None:
            stages = stages_of(self.loss.style_layers)
            begun = Encoder(body.code_length, WIDTHS[:stages], COMPONENTS[:stages], generator=self.generator)
            begun.start_from(body.codes.detach().cpu())
        self.encoder = begun
        self.encoder.to(self.device)
        self.average = {k: v.detach().clone() for k, v in self.encoder.state_dict().items()}
        groups = [
            {"params": [weight], "share": RATE_SHARES.get(name, 1.0)}
            for name, weight in self.encoder.named_parameters()
        ]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.995))
        self.clip = GradientClip()
        self.starts_anew = not init
        self.painted: Paintings | None = None
        self.seeing: Seeing | None = None
        self.practice: Practice | None = None
        self.seen: Seen | None = None  # the style pictures, by an encoder that has learned to see
        self.step, self.seconds = 0, 0.0
        self.rows: list[list[float]] = []
        if earlier:
            self.go_on_from(earlier)
        else:
            self.checkpoint.unlink(missing_ok=True)

    def train_step(self) -> dict[str, float]:
        recipe = self.recipe
        phase, step = recipe.phase_at(self.step)
        if step == 0:
            self.clip.norms.clear()
        rate = recipe.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (group["share"] if phase == PAINTING else 1.0)
        means = (self.seeing_losses, self.practice_losses, self.painting_losses)[phase]()
        self.optimizer.zero_grad(set_to_none=True)
        means["total"].backward()
        learning = [weight for weight in self.encoder.parameters() if weight.grad is not None]
        if self.clip(learning, means["total"], self.step):
            self.optimizer.step()
        self.step += 1
        follow(self.average, self.encoder, min(recipe.average, (step + 1) / (step + 11)))
        return dict.fromkeys(COLUMNS[1:-2], 0.0) | as_numbers(means) | {"learning_rate": rate}

    def seeing_losses(self) -> dict[str, torch.Tensor]:
        if self.seeing is None:
            recipe = self.recipe
            self.seeing = Seeing(
                self.encoder, self.paintings(), self.photos, self.styles, recipe.crop, recipe.seeing_batch, self.vgg
            )
        return self.seeing.losses(self.generator)

    def paintings(self) -> Paintings:
        """By the body, with codes drawn at random."""
        if self.painted is None:
            self.painted = Paintings.by(self.trial, self.photos, self.recipe.random_codes, self.recipe.seed)
        return self.painted

    def practice_losses(self) -> dict[str, torch.Tensor]:
        self.styles_seen()
        if self.practice is None:
            self.practice = Practice(self.encoder, self.trial, self.paintings())
        return self.practice.losses(self.generator)

    @torch.no_grad()
    def styles_seen(self) -> Seen:
        """What the encoder sees of all style pictures. From the first time on it sees as it has learned to on
        average."""
        if self.seen is None:
            begins = self.step == self.recipe.seeing and (self.starts_anew or self.recipe.seeing)
            if begins:
                self.encoder.load_state_dict(self.average)
            self.encoder.vgg.requires_grad_(False)
            pictures = torch.cat([style.picture for style in self.styles])
            self.seen = Seen.of([self.encoder.look(some.float()) for some in pictures.split(LOOK_BATCH)])
            if begins:
                self.encoder.calibrate(self.seen)
                self.average = {k: v.detach().clone() for k, v in self.encoder.state_dict().items()}
        return self.seen

    def painting_losses(self) -> dict[str, torch.Tensor]:
        recipe = self.recipe
        _, step = recipe.phase_at(self.step)
        photos = self.photos.batch(recipe.batch, recipe.crop, self.generator)
        chosen = torch.randint(len(self.styles), (recipe.batch,), generator=self.generator)
        offsets = torch.randint(operations.CANVAS_SIDE, (recipe.batch, 2), generator=self.generator)
        bounds = (0, 2) if step < EARLY * recipe.steps else (1, CORRECTIONS + 1)
        corrections = int(torch.randint(*bounds, (1,), generator=self.generator))
        sampled = self.sample_losses(photos, chosen, offsets, corrections)
        return {name: values.mean() for name, values in sampled.items()}

    def sample_losses(
        self,
        photos: torch.Tensor,
        chosen: torch.Tensor,
        offsets: torch.Tensor | None = None,
        corrections: int = CORRECTIONS,
    ) -> dict[str, torch.Tensor]:
        """Losses of photographs [N, 3, H, W], each painted in the style of one of the style pictures, int64 [N], by a
        code that was corrected so many times: each [N], `total` and its terms."""
        compare = self.compare
        styles = [self.styles[index] for index in chosen.tolist()]
        codes = self.encoder.write(self.styles_seen()[chosen.to(self.device)], self.trial, corrections)
        painted = self.body(photos.contiguous(memory_format=torch.channels_last), codes, offsets).float()
        with torch.no_grad():
            photo_features = compare.features(photos, style=False)
        features = compare.features(painted)
        targets = {name: torch.cat([style.targets[name] for style in styles]).float() for name in styles[0].targets}
        weights = torch.tensor([style.weight for style in styles], device=self.device)
        numbers = torch.arange(len(styles), device=self.device)
        batch = losses.Batch(
            photos,
            painted,
            numbers,
            photo_features,
            features,
            compare.matrices(features),
            targets,
            weights,
        )
        return losses.evaluate(compare, batch)

    def run(
        self,
        callback: Callable[[Progress], None] | None = None,
        save_seconds: float = 60.0,
        show_seconds: float = 300.0,
    ) -> None:
        """Train to the last step; see `run_steps`."""
        run_steps(self, sum(self.recipe.phases()), callback, save_seconds, show_seconds)

    def save(self) -> None:
        state = {
            "recipe": self.recipe.digest(),
            "step": self.step,
            "seconds": self.seconds,
            "net": self.encoder.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "rows": self.rows,
            "norms": self.clip.norms,
            "description": self.describe(),
        }
        save_checkpoint(self.checkpoint, state)

    def load(self) -> dict[str, Any]:
        """The state of the run so far. Raises InputError if there is none, or one of another recipe."""
        state = resume_checkpoint(self.checkpoint)
        if state["recipe"] != self.recipe.digest() or "body_sha256" not in state["description"]:
            raise InputError(f"{self.checkpoint} was made by another recipe: resume with that one, or start afresh")
        return state

    def go_on_from(self, state: dict[str, Any]) -> None:
        check_same_inputs(state["description"], self.describe(), self.checkpoint)
        self.encoder.load_state_dict(state["net"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.seconds, self.rows, self.clip.norms = (state[k] for k in ("step", "seconds", "rows", "norms"))

    def describe(self) -> dict[str, Any]:
        """What makes this run again, as it goes into the file's metadata."""
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "recipe_sha256": self.recipe.digest(),
            "body_sha256": self.body.body_sha256(),
            "loss": dataclasses.asdict(self.loss),
            "steps": self.step,
            "photographs": len(self.photos),
            "vgg_sha256": self.vgg.sha256,
            "precision": self.precision,
            "device": self.device.type,
        }

    def averaged_encoder(self) -> Encoder:
        """The encoder with the averaged weights, on the CPU: what is exported."""
        encoder = Encoder(**self.encoder.config)
        encoder.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return encoder.eval()

    def trial_on_cpu(self) -> Trial:
        return Trial(copy.deepcopy(self.body).cpu(), self.recipe.style_size)

    def write(self, out: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the averaged encoder as ONNX, and beside it the file that polishes its codes (`polish_file`); without
        `force` no file is replaced. Raises RtstyleError."""
        encoder, trial = self.averaged_encoder(), self.trial_on_cpu()
        encoder_file.write_encoder(encoder, trial, self.describe(), out, force=force)
        polish_file.write_polisher(encoder, trial, polish_file.beside(out), force=force)

    @torch.no_grad()
    def show(self) -> None:
        """Draw curves.png, and preview.png: style pictures in the first row, below them photographs in their styles."""
        draw_curves(self.rows, COLUMNS, self.run_dir / "curves.png")
        encoder = self.averaged_encoder()
        trial = self.trial_on_cpu()
        styles = [style.picture.cpu() for style in evenly(self.styles, SHOWN)]
        codes = torch.cat([encoder.write(encoder.look(picture.float()), trial) for picture in styles])
        rows = [[np.zeros((8, 8, 3), np.uint8), *(style[0].permute(1, 2, 0).numpy() for style in styles)]]
        for i in range(1, 4):
            frame = self.photos.pictures[i * len(self.photos) // 5].cpu().permute(1, 2, 0)
            painted = trial.body.stylize(frame.expand(len(codes), -1, -1, -1).contiguous(), codes)
            rows.append([frame.numpy(), *painted.numpy()])
        draw_grid(
            rows, ["photograph", *(str(i + 1) for i in range(len(styles)))], self.run_dir / "preview.png", force=True
        )


def encoder_from(
    init: str | os.PathLike[str],
    init_model: str | os.PathLike[str] | None,
    body: networks.Body,
    infos: list[dict[str, str]],
) -> Encoder:
    """The encoder in the file `init`, for `body` whose styles are `infos`: as it is, or carried over from the body of
    `init_model`, for which it was made. Raises RtstyleError if the files do not belong together."""
    encoder, made_for = encoder_file.from_onnx(init)
    if encoder.config["code_length"] != body.code_length:
        raise InputError(f"{init} writes codes of another length than the recipe's model takes: start without `init`")
    if made_for == body.body_sha256():
        return encoder
    if init_model is None:
        log.warning(
            f"{init} was made for another model than the recipe's: going on from it as it is, which does where the "
            "body was only trained a little further; `init_model`, the model that it was made for, carries it over"
        )
        return encoder
    old, old_infos = from_onnx(init_model)
    if old.body_sha256() != made_for:
        raise InputError(f"{init} was not made for the model {init_model}")
    rows = {info["name"]: row for row, info in enumerate(old_infos)}
    shared = [(rows[info["name"]], row) for row, info in enumerate(infos) if info["name"] in rows]
    if len(shared) < 2:
        raise InputError(f"{init_model} and the recipe's model must have styles in common")
    before, after = zip(*shared, strict=True)
    encoder.carry_over(old.codes.detach()[list(before)], body.codes.detach()[list(after)])
    return encoder


@torch.no_grad()
def prepare(
    recipe: EncoderRecipe,
    compare: losses.Comparison,
    photos: Photos,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[style_pictures.StylePicture]:
    """The pictures to learn from, with their targets."""
    files = [file for file in list_pictures(folder) if file.name not in recipe.held_out]
    missing = [name for name in recipe.held_out if not (folder / name).exists()]
    if missing or not files:
        raise InputError(f"{folder} lacks {', '.join(missing) or 'pictures to learn from'}")
    photographs = [picture.permute(1, 2, 0).cpu().numpy() for picture in photos.pictures]
    some = photos.batch(BALANCED_ON, 192, torch.Generator().manual_seed(recipe.seed))
    of_photos = compare.matrices(compare.features(some, content=False))
    counts = (recipe.paintings, recipe.photographs, recipe.made)
    result: list[style_pictures.StylePicture] = []
    read = functools.partial(read_picture, short_side=READ_SIDE, enlarge=False)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paintings = [picture.permute(1, 2, 0).numpy() for picture in pool.map(read, files)]

        def make(number: int) -> tuple[style_pictures.Rgb, style_pictures.Rgb]:
            rgb = style_pictures.make(paintings, photographs, counts, number, recipe.seed)
            return style_pictures.middle(rgb, recipe.style_size, recipe.window)

        numbers = range(sum(counts))
        for start in range(0, len(numbers), LOOK_BATCH):  # no more are made than are described, if that is slower
            middles = list(pool.map(make, numbers[start : start + LOOK_BATCH]))
            result += style_pictures.describe(middles, compare, of_photos, photos.device)
            if progress:
                progress(len(result), len(numbers))
    return result


def train_encoder(
    recipe: str | os.PathLike[str],
    content: str | os.PathLike[str] | None,
    pictures: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    steps: int | None = None,
    batch: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    callback: Callable[[Progress], None] | None = None,
    preparing: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    """Train an encoder by a recipe and write it, checked, to `out`, and beside it the file that polishes its codes.
    `steps` of painting and `batch`, the pictures of a step, replace the recipe's. `options` go to `EncoderTrainer`.
    Ctrl-C keeps a checkpoint and writes the encoder as far as it got; then Interrupted is raised. Raises RtstyleError
    for anything the user can put right."""
    out, folder, replace = check_model_output(out, run_dir, force=force, resume=resume)
    check_output(polish_file.beside(out), force=replace)
    plan = EncoderRecipe.read(recipe)
    if steps:
        plan = dataclasses.replace(plan, steps=steps)
    if batch:
        plan = dataclasses.replace(plan, batch=batch, seeing_batch=batch)
    trainer = EncoderTrainer(
        plan, content, pictures, folder, resume=resume, replace=force, preparing=preparing, **options
    )
    return train_to_file(
        lambda: trainer.run(callback),
        lambda name: trainer.write(name, force=replace),
        trainer,
        sum(plan.phases()),
        out,
    )
