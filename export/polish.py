"""Polishing with VGG itself, where its weights are at hand: the code that the encoder guessed for a picture
goes on learning as `rtstyle train` does, against the frozen body. Elsewhere it is `rtstyle.gallery.polish` that does
it.

As a program, `python -m rtstyle.export.polish PICTURE MODEL.onnx`, it is that of `rtstyle.gallery.polish`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rtstyle.errors import ModelError
from rtstyle.export.recipe import Style
from rtstyle.export.run import CODE_RATE, teaching_recipe
from rtstyle.export.train import Trainer
from rtstyle.gallery import catalog, polish
from rtstyle.gallery.model_file import typeable
from rtstyle.gallery.polish import Code, Source
from rtstyle.perceptual import vgg as perceptual

PHOTOGRAPHS = 300  # more are not looked at in a minute on two cores, and reading them takes its time
AVERAGE = 0.95  # of the code over steps


def source_for(model: str | os.PathLike[str]) -> Source:
    """What polishes a picture best where there is time to prepare: this module where VGG's weights are at hand (none
    are fetched), else the one that needs none."""
    try:
        net = teaching_recipe(catalog.load(os.fspath(model)), full=False).loss.vgg
    except ModelError:  # it cannot be trained further: rounded to float16
        return polish.codes
    return codes if perceptual.weights_at_hand(net) else polish.codes


def codes(
    picture: str | os.PathLike[str],
    model: str | os.PathLike[str],
    seconds: float = math.inf,
    *,
    content: str | os.PathLike[str] | None = None,
    vgg: str | os.PathLike[str] | None = None,
) -> Iterator[Code]:
    """The code of a picture for the body of `model` (`live` or a path), float32 [K], after every step, until `seconds`
    have passed, of which preparing counts. It begins with what the encoder gives, and learns from the photographs of
    the folder `content`, or from the few bundled ones. The learning rate falls towards the end; without an end it falls
    with the square root of the steps. Raises RtstyleError if the picture, the model or VGG's weights cannot be used."""
    started = time.monotonic()
    picture = Path(picture)
    known = catalog.load(os.fspath(model))
    style = Style(name=typeable(picture.stem), file=picture.name)
    plan = dataclasses.replace(
        teaching_recipe(known, full=False),
        style=[style],
        average=AVERAGE,
    )
    with tempfile.TemporaryDirectory(prefix="rtstyle-") as folder:
        trainer = Trainer(
            plan,
            content,
            picture.parent,
            folder,
            vgg=vgg,
            init=known.path,
            frozen=True,
            own_codes=True,
            max_photographs=PHOTOGRAPHS,
        )
    first = time.monotonic()
    while trainer.step == 0 or time.monotonic() - started < seconds:
        trainer.train_step(rate(trainer.step, time.monotonic() - first, seconds - (first - started)))
        yield trainer.average["codes"][0].detach().cpu().numpy().copy()


def rate(step: int, passed: float, whole: float) -> float:
    """The learning rate at a step, after `passed` of `whole` seconds."""
    if math.isinf(whole):
        return CODE_RATE / math.sqrt(1 + step / 100)
    share = min(1.0, passed / whole) if whole > 0 else 1.0
    return CODE_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def main(arguments: list[str]) -> None:
    polish.main(arguments, source_for(arguments[1]))


if __name__ == "__main__":
    polish.run_program(main)
