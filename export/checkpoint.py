"""The state of a training on disk: checkpoints, the net that they hold, and the losses so far."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rtstyle.errors import InputError, ModelError, OutputError
from rtstyle.export import networks
from rtstyle.export.recipe import Recipe
from rtstyle.files import written_beside

CHECKPOINT = "checkpoint.pt"  # in the run's folder


def checkpoint_in(run_dir: Path, *, may_exist: bool) -> Path:
    """Where a run keeps its checkpoint. Raises OutputError if an earlier run's is there and may not be."""
    path = run_dir / CHECKPOINT
    if path.exists() and not may_exist:
        raise OutputError(f"{run_dir} holds an earlier run: add `resume=True` to go on, or another `run_dir`")
    return path


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an earlier one stays whole if that fails."""
    torch.save(state, packed := io.BytesIO())  # torch's own writing gives no reason when the disk is full
    with written_beside(path, force=True) as part:
        part.write_bytes(packed.getbuffer())


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A training checkpoint. Raises RtstyleError if it is not one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"the checkpoint {path} does not exist") from None
    except Exception as error:  # torch, zipfile and pickle each raise their own
        raise ModelError(f"{path} is not a readable checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict) or not {"net", "average", "description"} <= state.keys():
        raise ModelError(f"{path} is not a checkpoint of rtstyle train")
    return state


def resume_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint of a run that is to go on. Raises RtstyleError if there is none."""
    if not path.exists():
        raise InputError(f"there is nothing to resume in {path.parent}: leave `resume` out")
    return load_checkpoint(path)


def check_resumed(state: dict[str, Any], path: Path, recipe: Recipe, *, frozen: bool) -> None:
    """Raises InputError if the checkpoint at `path`, whose `state` this is, belongs to another run."""
    if state["recipe"] != recipe.digest():
        raise InputError(f"{path} was made by another recipe: resume with that one, or start afresh")
    if state.get("frozen", False) != frozen:
        raise InputError(f"{path} trained {'a whole body' if frozen else 'codes only'}: resume so")


def check_same_inputs(then: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raises InputError if what the run of a checkpoint learned from, by its description `then`, is not what is given
    `now`: the number of photographs, VGG's weights."""
    for key, what in {"photographs": "other photographs", "vgg_sha256": "other weights of VGG"}.items():
        if key in then and then[key] != now[key]:
            raise InputError(f"{path} learned from {what}: resume with the same, or start afresh")


def save_losses(path: Path, columns: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    """Write the losses of each step as a CSV file; an earlier one stays whole if that fails."""
    with written_beside(path, force=True) as part, open(part, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def load_losses(path: Path, columns: Sequence[str]) -> list[list[float]]:
    """The rows that `save_losses` wrote; none if there is no such file. A column that it did not know yet is 0."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        try:
            return [
                [int(row[columns[0]]), *(float(row.get(column) or 0) for column in columns[1:])]
                for row in csv.DictReader(file)
            ]
        except (KeyError, ValueError, TypeError):  # edited: curves begin anew, the training does not need them
            return []


def describe(
    recipe: Recipe, config: dict[str, Any], style_weights: Sequence[float], run: dict[str, Any]
) -> dict[str, Any]:
    """What makes a run again, as it goes into the checkpoint and the model's metadata: its recipe, the body's config,
    the weights of the styles in their order, and what else is known of the `run`."""
    names = [style.name for style in recipe.style]
    return {
        "body": recipe.body,
        "config": config,
        "styles": [style.info() for style in recipe.style],
        "reference_height": recipe.reference_height,
        "training": run
        | {
            "recipe_sha256": recipe.digest(),
            "seed": recipe.seed,
            "loss": dataclasses.asdict(recipe.loss),
            "style_weights": dict(zip(names, style_weights, strict=False)),
            "stages": [dataclasses.asdict(stage) for stage in recipe.stage],
            "learning_rate": recipe.learning_rate,
            "pictures": {style.name: style.file for style in recipe.style},
            "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
        },
    }


def averaged(average: dict[str, torch.Tensor], description: dict[str, Any]) -> networks.Body:
    """The net of a run's averaged weights, without the codes of auxiliary styles."""
    styles = len(description["styles"])
    net = networks.build(description["body"], styles, description["config"])
    net.load_state_dict({k: v.cpu() if k != "codes" else v[:styles].cpu() for k, v in average.items()})
    return net.eval()
