"""The loop of a training: steps, what they cost, and what is saved and shown of them in between."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

from rtstyle.errors import RtstyleError
from rtstyle.export import losses
from rtstyle.signals import held_back

COLUMNS = ("step", "total", *(term.name for term in losses.TERMS), "learning_rate", "seconds")


@dataclasses.dataclass
class Progress:
    """What the callback of `run_steps` gets after each step."""

    step: int
    steps: int
    losses: dict[str, float]
    seconds: float


class Training(Protocol):
    """What the loop needs of a training. `train_step` takes one step, counts it in `step`, and gives its losses by the
    names of COLUMNS; `rows` are those of all steps, `seconds` their time. `save` writes the `checkpoint`, `show`
    curves and a preview."""

    step: int
    seconds: float
    rows: list[list[float]]
    generator: torch.Generator
    checkpoint: Path

    def train_step(self) -> dict[str, float]: ...
    def save(self) -> None: ...
    def show(self) -> None: ...


def follow(average: dict[str, torch.Tensor], net: torch.nn.Module, decay: float) -> None:
    """Move an exponential average of a net's weights towards them."""
    state = net.state_dict()
    with torch.no_grad():
        torch._foreach_lerp_([average[name] for name in state], [*state.values()], 1 - decay)


def as_numbers(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Scalars as numbers, all at once: on a GPU each would wait."""
    return dict(zip(values, torch.stack([value.detach() for value in values.values()]).tolist(), strict=True))


def run_steps(
    training: Training,
    steps: int,
    callback: Callable[[Progress], None] | None,
    save_seconds: float,
    show_seconds: float,
) -> None:
    """Train up to `steps`. A checkpoint is written every `save_seconds`, curves and a preview every `show_seconds`, all
    at the end, and a checkpoint on the way out of an interruption (KeyboardInterrupt goes on to the caller)."""
    started = time.monotonic() - training.seconds
    saved = shown = time.monotonic()
    try:
        while training.step < steps:
            before, done = training.generator.get_state(), training.step
            try:
                with held_back():
                    means = training.train_step()
                    training.seconds = time.monotonic() - started
                    row = [training.step, *(means[key] for key in COLUMNS[1:-1]), round(training.seconds, 3)]
                    training.rows.append(row)
            except BaseException:
                if training.step == done:
                    training.generator.set_state(before)  # the step is taken again, with the same crops, on resume
                raise
            if callback:
                callback(Progress(training.step, steps, means, training.seconds))
            if time.monotonic() - saved > save_seconds:
                training.save()
                saved = time.monotonic()
            if time.monotonic() - shown > show_seconds:
                training.show()
                shown = time.monotonic()
    except RtstyleError:  # no state worth keeping, or no disk to keep it on: the last checkpoint stays
        raise
    except BaseException:
        if training.step:
            training.save()
        raise
    training.save()
    training.show()
