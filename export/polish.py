"""Polishing: the code that the encoder guessed for a picture goes on learning, against the frozen body.

As a program, `python -m rtstyle.export.polish PICTURE MODEL.onnx`, it polishes without end at low priority and writes a
JSON line to standard output every few seconds: {"step": ..., "code": float32 [K] in base64}. That is how `rtstyle cam`
has it beside the live picture.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtstyle.errors import ModelError, RtstyleError, UsageError
from rtstyle.export.recipe import Style
from rtstyle.export.run import CODE_RATE, teaching_recipe
from rtstyle.export.train import Trainer
from rtstyle.gallery import catalog, encoder
from rtstyle.gallery.model_file import typeable
from rtstyle.perceptual import vgg as perceptual

if TYPE_CHECKING:
    from rtstyle.paint.stylizer import Stylizer

PHOTOGRAPHS = 300  # more are not looked at in a minute on two cores, and reading them takes its time
AVERAGE = 0.95  # of the code over steps
REPORT_SECONDS = 4.0
NICENESS = 15

Code: TypeAlias = NDArray[np.float32]
Report: TypeAlias = Callable[[float, float], None]


def polish(
    picture: str | os.PathLike[str],
    model: str | os.PathLike[str],
    seconds: float,
    *,
    content: str | os.PathLike[str] | None = None,
    vgg: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Report | None = None,
) -> Code:
    """The code of a picture, float32 [K], after so many seconds of learning, for the body of `model` (`live` or a
    path). It begins with the code that the encoder gives it and learns from the photographs of the folder `content`, or
    from the few bundled ones. `progress(done, total)` is called in seconds.

    Raises RtstyleError if the picture, the model or the weights of VGG cannot be used.
    """
    started = time.monotonic()
    for code in codes(picture, model, seconds, content=content, vgg=vgg, device=device):
        polished = code  # at least one step is taken
        if progress:
            progress(min(seconds, time.monotonic() - started), seconds)
    return polished


def polish_style(stylizer: Stylizer, style: str | None, seconds: float, **options: Any) -> None:
    """Give a stylizer whose style is a picture, as `catalog.resolve` takes it, the code that `polish` comes to;
    `options` are those of `polish`. Raises UsageError for another kind of style."""
    if style is None or not encoder.is_picture(style) or "," in style:
        raise UsageError("only a picture as the style can be polished: the other styles have been learned already")
    stylizer.code = polish(style, stylizer.path, seconds, **options)


def codes(
    picture: str | os.PathLike[str],
    model: str | os.PathLike[str],
    seconds: float = math.inf,
    *,
    content: str | os.PathLike[str] | None = None,
    vgg: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> Iterator[Code]:
    """The code after every step, until `seconds` have passed, of which preparing counts. Its learning rate falls
    towards the end; without an end it falls with the square root of the steps."""
    started = time.monotonic()
    picture = Path(picture)
    known = catalog.load(os.fspath(model))
    style = Style(name=typeable(f"polished {picture.stem}"), file=picture.name)
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
            device=device,
            vgg=vgg,
            init=known.path,
            frozen=True,
            max_photographs=PHOTOGRAPHS,
            precision="fp32",
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
    picture, model = arguments
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    net = teaching_recipe(catalog.load(model), full=False).loss.vgg
    if not perceptual.weights_at_hand(net):
        raise ModelError(f"no {net} weights here: give their file by RTSTYLE_{net.upper()}")
    reported = time.monotonic()
    for step, code in enumerate(codes(picture, model), 1):
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            text = base64.b64encode(code.astype("<f4").tobytes()).decode()
            print(json.dumps({"step": step, "code": text}), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RtstyleError as error:
        sys.exit(f"rtstyle: {error}")
