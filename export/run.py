"""From a recipe to a model file: what `rtstyle train` does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from rtstyle.errors import Interrupted, RtstyleError
from rtstyle.export.to_onnx import write_onnx
from rtstyle.export.train import Progress, Recipe, Trainer
from rtstyle.files import check_output


def train_model(
    recipe: str | os.PathLike,
    content: str | os.PathLike,
    pictures: str | os.PathLike,
    out: str | os.PathLike,
    *,
    run_dir: str | os.PathLike | None = None,
    resume: bool = False,
    init: str | os.PathLike | None = None,
    steps: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    vgg: str | os.PathLike | None = None,
    vgg_convention: str | None = None,
    force: bool = False,
    callback: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train by a recipe and write the checked model to `out`.

    Ctrl-C keeps a checkpoint and writes the model as far as it got; then Interrupted is raised. Raises
    RtstyleError for anything the user can put right.
    """
    out = Path(out)
    if out.suffix.lower() != ".onnx":
        raise RtstyleError(f"the model must be named .onnx, not {out.name}")
    out = check_output(out, force=force or resume)
    plan = Recipe.read(recipe)
    if steps:
        plan = dataclasses.replace(plan, steps=steps)
    run_dir = Path(run_dir) if run_dir else out.with_name(f"{out.stem}.run")
    trainer = Trainer(
        plan,
        content,
        pictures,
        run_dir,
        device=device,
        precision=precision,
        vgg=vgg,
        vgg_convention=vgg_convention,
        init=init,
        resume=resume,
    )
    say(
        f"{len(plan.style)} styles, {len(trainer.photos)} photographs, {plan.steps} steps on {trainer.device} in "
        f"{trainer.precision}; curves and previews in {run_dir}"
    )
    try:
        trainer.run(callback)
    except KeyboardInterrupt:
        if trainer.step:
            write_onnx(trainer.averaged_net(), trainer.describe(), out)
        raise Interrupted(
            f"stopped at step {trainer.step} of {plan.steps}: {out} is as far as it got; add --resume to go on"
        ) from None
    write_onnx(trainer.averaged_net(), trainer.describe(), out)
    return out
