"""From a recipe or a picture to a model file: what `rtstyle train` does."""

from __future__ import annotations

import dataclasses
import importlib.resources
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from rtstyle.errors import InputError, Interrupted, ModelError, OutputError, RtstyleError, UsageError
from rtstyle.export.checkpoint import CHECKPOINT, load_checkpoint
from rtstyle.export.loop import Progress, Training
from rtstyle.export.recipe import Loss, Recipe, Stage, Style
from rtstyle.export.to_onnx import from_onnx, properties, read_training, write_onnx
from rtstyle.export.train import Trainer
from rtstyle.files import check_output, partial_name
from rtstyle.gallery import catalog, model_file

log = logging.getLogger("rtstyle")

TEACH_STEPS = 400
FULL_STEPS = 1500
BALANCE = 10.0  # weight times distance, where learning begins; 15 hides the subject of some pictures
STAGE = Stage(crop=192, batch=1, style_size=640)  # a smaller crop holds too little of large strokes
STRUCTURE_GOAL = 0.66  # in crops of 192 pixels, as bold as .75 in crops of 256
CODE_RATE, FULL_RATE = 6e-2, 1e-3  # learning rates
SHOW_SECONDS = 30.0  # between previews while somebody waits for one style


def train_model(
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
    **options: Any,
) -> Path:
    """Train by a recipe and write the checked model to `out`; `steps` and `batch`, the photographs of a step, replace
    the recipe's. `options` go to `Trainer`.

    Ctrl-C keeps a checkpoint and writes the model as far as it got, beside `out` where another run's file has that
    name; then Interrupted is raised. With `resume` a file that this run has written is replaced, with `force` any.
    Raises RtstyleError for anything the user can put right.
    """
    out, run_dir, force = check_model_output(out, run_dir, force=force, resume=resume)
    plan = Recipe.read(recipe)
    if steps:
        plan = dataclasses.replace(plan, steps=steps, passes=0.0)
    if batch:
        plan = dataclasses.replace(plan, stage=[dataclasses.replace(stage, batch=batch) for stage in plan.stage])
    trainer = Trainer(plan, content, pictures, run_dir, resume=resume, replace=force, **options)
    return _run(trainer, out, callback, force=force)


def teach_style(
    picture: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    content: str | os.PathLike[str] | None = None,
    model: str = "live",
    full: bool = False,
    info: dict[str, str] | None = None,
    style_weight: float | None = None,
    steps: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    callback: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Path:
    """Learn one new style from a picture and write it to `out`, a model with that style alone.

    Only a code is learned, against the body of `model`, so that the style mixes with those of that model; it starts
    from the code that paints nearest to the picture. With `full` the body learns too, from where it is: nearer to the
    picture, slower, and mixing with nothing. The losses are those with which the model's training ended.
    `style_weight` against the photograph's content decides how far the painting goes; by default it begins balanced by
    how unlike photographs the picture is (`artworks.balanced`), and follows what can be recognised. `info`
    may hold name, title, artist, year, licence and source; the name is by default the file's. Otherwise as
    `train_model`.
    """
    picture, taught = Path(picture), catalog.load(model)
    out, run_dir, force = check_model_output(out, run_dir, force=force, resume=resume, inputs=[picture, taught.path])
    if picture.is_dir():
        raise UsageError(f"{picture} is a folder: give one picture, or a `recipe` for several")
    if not picture.exists():
        raise InputError(f"{picture} does not exist")
    if style_weight is not None and style_weight <= 0:
        raise UsageError(f"the style weight must be above 0, not {style_weight}")
    plan = teaching_recipe(taught, full=full, style_weight=style_weight)
    given: dict[str, Any] = {key: value for key, value in (info or {}).items() if value}
    style = Style(
        **{"name": model_file.typeable(given.pop("name", out.stem)), "licence": "unknown"} | given,
        file=picture.name,
        weight=style_weight,
    )
    plan = dataclasses.replace(plan, style=[style], steps=steps or plan.steps)
    plan.check(picture)
    trainer = Trainer(
        plan,
        content,
        picture.parent,
        run_dir,
        init=taught.path,
        frozen=not full,
        own_codes=True,
        resume=resume,
        replace=force,
        **options,
    )
    if content is None:
        log.info("no photographs given: learning from the few that come with rtstyle; more give better styles")
    return _run(trainer, out, callback, force=force, show_seconds=SHOW_SECONDS)


def teaching_recipe(model: model_file.Model, *, full: bool, style_weight: float | None = None) -> Recipe:
    """How to teach the body of a model one more style: the losses with which its own training ended, but for that of
    motion, which would double the time, in one short stage. Without a `style_weight` that of the style follows what can
    be recognised, if the body was trained with a structure loss. Raises RtstyleError if the model is none of rtstyle's
    own."""
    body, _ = from_onnx(model.path)
    training = read_training(properties(model.path))
    packaged = Path(str(importlib.resources.files("rtstyle.export.recipes") / f"{body.name}.toml"))
    if training.get("loss"):
        loss = dataclasses.replace(Loss.as_training_ended(training), temporal_weight=0.0)
    else:
        loss = Recipe.read(packaged).loss if packaged.exists() else Loss()
    steps, rate, average = (FULL_STEPS, FULL_RATE, 0.999) if full else (TEACH_STEPS, CODE_RATE, 0.97)
    stage = dataclasses.replace(STAGE, batch=2) if full else STAGE
    if not loss.absolute:
        loss = dataclasses.replace(loss, balance=BALANCE)
    if loss.structure_weight and style_weight is None:
        stage = dataclasses.replace(stage, structure_goal=STRUCTURE_GOAL)
    return Recipe(
        body=body.name,
        config=body.config,
        steps=steps,
        learning_rate=rate,
        average=average,
        reference_height=model.reference_height,
        loss=loss,
        stage=[stage],
    )


def check_model_output(
    out: str | os.PathLike[str],
    run_dir: str | os.PathLike[str] | None,
    *,
    force: bool,
    resume: bool,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> tuple[Path, Path, bool]:
    """(the model to write, the run's folder, whether a file that is there is replaced: with `force`, or if the run that
    is resumed has written it). Raises OutputError if it may not be written, or is one of the `inputs`."""
    out = Path(out)
    if out.suffix.lower() != ".onnx":
        raise OutputError(f"the model must be named .onnx, not {out.name}")
    run_dir = Path(run_dir) if run_dir else out.with_name(f"{out.stem}.run")
    force = force or (resume and written_by(run_dir / CHECKPOINT, out))
    return check_output(out, force=force, inputs=inputs), run_dir, force


def written_by(checkpoint: Path, out: Path) -> bool:
    """Whether a model file comes from the run of a checkpoint, and not from further on than that."""
    try:
        made, run = read_training(properties(out)), load_checkpoint(checkpoint)
    except (OSError, RtstyleError, DecodeError):
        return False
    description = run["description"]
    known = description.get("training", description)  # an encoder's has no more than that
    return bool(made.get("recipe_sha256") == known["recipe_sha256"] and made["steps"] <= known["steps"])


def _run(
    trainer: Trainer, out: Path, callback: Callable[[Progress], None] | None, *, force: bool, **timing: float
) -> Path:
    plan, styles = trainer.recipe, len(trainer.recipe.style)
    weight = f", style weight {float(trainer.style_weights[0]):.1f}" if plan.loss.balance and styles == 1 else ""
    log.info(
        f"{styles} style{'s' * (styles > 1)}{weight}, {len(trainer.photos)} photographs, {plan.steps} steps on "
        f"{trainer.device} in {trainer.precision}; curves and previews in {trainer.run_dir}"
    )
    return train_to_file(
        lambda: trainer.run(callback, **timing),
        lambda name: write_onnx(trainer.averaged_net(), trainer.describe(), name, force=force),
        trainer,
        plan.steps,
        out,
    )


def train_to_file(
    run: Callable[[], None], write: Callable[[Path], None], training: Training, steps: int, out: Path
) -> Path:
    """Run a training and write what came of it to `out`; after Ctrl-C as far as it got, and beside `out` if a file of
    that name comes from another run. Raises Interrupted."""
    try:
        run()
    except KeyboardInterrupt:
        if not training.step:
            raise Interrupted("stopped before the first step: nothing was written") from None
        name = out if not out.exists() or written_by(training.checkpoint, out) else partial_name(out)
        try:
            write(name)
        except ModelError as error:  # what has learned next to nothing may fail the comparison with torch
            raise Interrupted(
                f"stopped at step {training.step} of {steps} without a model ({error}): add `resume=True` to go on"
            ) from None
        raise Interrupted(
            f"stopped at step {training.step} of {steps}: {name} is as far as it got; add `resume=True` to go on"
        ) from None
    write(out)
    return out
