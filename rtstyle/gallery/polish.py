"""Polishing: the code that the encoder guessed for a picture goes on learning, against the frozen body and without
torch.

A file beside the encoder's computes, for a photograph and a code, how far the painting is from the picture, and the
gradient of that with respect to the code (`rtstyle.export.polish_file`). Here Adam (Kingma and Ba 2015) follows it,
over patches of the bundled photographs.

As a program, `python -m rtstyle.gallery.polish PICTURE MODEL.onnx`, it polishes at low priority and writes a JSON line
to standard output every few seconds, and at the end: {"step": ..., "code": float32 [K] in base64}. That is how `rtstyle
cam` has it beside the live picture."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from rtstyle.errors import ModelError, RtstyleError, UsageError
from rtstyle.gallery import catalog, encoder
from rtstyle.media.contact_sheet import bundled_photograph
from rtstyle.media.images import read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "encoder-polish.onnx"
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket")
PATCHES = 4  # cut out of them, and laid side by side
STEPS = 6  # after more of them strokes fade, for which the small net has no eye
LEARNING_RATE = 0.025
BETAS = (0.9, 0.99)
EPS = 1e-8
AVERAGE = 0.5  # of the code over steps
WITH_VGG_SECONDS = 30  # from so many on, `rtstyle.export.polish` comes further, starting included
REPORT_SECONDS = 2.0
NICENESS = 15

Code: TypeAlias = "NDArray[np.float32]"
Report: TypeAlias = Callable[[float, float], None]


class Source(Protocol):
    """Gives the code of a picture for the body of a model after every step, until so many seconds have passed."""

    def __call__(
        self, picture: str | os.PathLike[str], model: str | os.PathLike[str], seconds: float = ...
    ) -> Iterator[Code]: ...


def polished(
    style: str | None,
    model: str | os.PathLike[str],
    seconds: float = math.inf,
    *,
    source: Source | None = None,
    progress: Report | None = None,
) -> Code:
    """The code, float32 [K], to which so many seconds of learning at most bring a style that is a picture, as
    `catalog.resolve` takes it, for the body of `model` (`live` or a path); at least one step. `source` gives the codes,
    `codes` unless another is named. `progress(done, total)` is called in seconds. Raises UsageError for another kind of
    style, RtstyleError if the picture or the model cannot be used."""
    if not encoder.is_one_picture(style):
        raise UsageError("only a picture as the style can be polished: the other styles have been learned already")
    started = time.monotonic()
    for code in (source or codes)(style, model, seconds):
        result = code
        if progress:
            progress(min(seconds, time.monotonic() - started), seconds)
    if progress:
        progress(seconds, seconds)
    return result


def codes(
    picture: str | os.PathLike[str], model: str | os.PathLike[str], seconds: float = math.inf, *, seed: int = 0
) -> Iterator[Code]:
    """The code after each of STEPS steps, of which those are left out that begin after `seconds`. The learning rate
    falls towards the end. All of them done, a picture and a seed give the same code every time."""
    started = time.monotonic()
    known = catalog.load(os.fspath(model))
    seen = dict(encoder.seen_of(Path(picture)))
    path = encoder.encoder_path()
    session = encoder.session(path.with_name(FILE))
    made_for = encoder.made_for(session)
    if made_for[0] != known.body_sha256:
        raise UsageError(f"a style of {known.path.stem} cannot be polished: that works for the bundled live model only")
    if made_for != encoder.made_for(encoder.session(path)):
        raise ModelError(f"{FILE} was made with another encoder than {path.name}: put both of one training there")
    patches = _Patches(session.get_inputs()[0].shape[1] // 2, seed)
    code = seen.pop("code").copy()
    mean, square, average = np.zeros_like(code), np.zeros_like(code), np.zeros_like(code)
    for step in range(1, STEPS + 1):
        passed = time.monotonic() - started
        if step > 1 and passed >= seconds:
            return
        (gradient,) = session.run(["gradient"], {"photograph": patches.draw(), "code": code, **seen})
        mean += (1 - BETAS[0]) * (gradient - mean)
        square += (1 - BETAS[1]) * (gradient**2 - square)
        corrected = (mean / (1 - BETAS[0] ** step), square / (1 - BETAS[1] ** step))
        code -= (
            np.float32(rate(step / STEPS, passed / seconds if seconds else 1.0))
            * corrected[0]
            / (np.sqrt(corrected[1]) + EPS)
        )
        average += (1 - AVERAGE) * (code - average)
        yield average / np.float32(1 - AVERAGE**step)


def rate(steps: float, time_passed: float) -> float:
    """The learning rate after these shares of all steps and of the time."""
    return LEARNING_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, max(steps, time_passed)))))


class _Patches:
    """Patches of the bundled photographs, `side` pixels wide, four in a picture."""

    def __init__(self, side: int, seed: int):
        self._photographs = [read_image(bundled_photograph(name)).rgb for name in PHOTOGRAPHS]
        self._side, self._random = side, np.random.default_rng(seed)

    def draw(self) -> NDArray[np.uint8]:
        """uint8 [1, 2 side, 2 side, 3]."""
        which = self._random.permutation(len(self._photographs))[:PATCHES]
        one, two, three, four = (self._cut(self._photographs[i]) for i in which)
        return np.vstack([np.hstack([one, two]), np.hstack([three, four])])[None]

    def _cut(self, photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
        top, left = (self._random.integers(size - self._side + 1) for size in photograph.shape[:2])
        return photograph[top : top + self._side, left : left + self._side]


def main(arguments: list[str], source: Source | None = None) -> None:
    """The program of the module; `source` gives the codes."""
    picture, model = arguments
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    reported, news = time.monotonic(), ""
    for step, code in enumerate((source or codes)(picture, model), 1):
        text = base64.b64encode(code.astype("<f4").tobytes()).decode()
        news = json.dumps({"step": step, "code": text})
        if time.monotonic() - reported > REPORT_SECONDS:
            print(news, flush=True)
            reported, news = time.monotonic(), ""
    if news:
        print(news, flush=True)


def run_program(program: Callable[[list[str]], None]) -> None:
    """Run it with the arguments of the command line: what goes wrong is one line, and exit code 1."""
    try:
        program(sys.argv[1:])
    except RtstyleError as error:
        sys.exit(f"rtstyle: {error}")


if __name__ == "__main__":
    run_program(main)
