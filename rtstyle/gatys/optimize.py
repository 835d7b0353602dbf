"""Gatys mode: one picture, optimised until its features are the photograph's and its Gram matrices the painting's.

Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016. The losses are in
rtstyle.gatys.objective, their weights in rtstyle.gatys.settings, files in rtstyle.gatys.files.

    result = render(photograph, [StylePicture(painting)], Settings(size=1024), lambda p: print(p.step, p.total))

Pictures are uint8 RGB [H, W, 3], masks uint8 [H, W]: 0 not at all, 255 fully.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from rtstyle import memory
from rtstyle.errors import InputError
from rtstyle.gatys.descent import Descent, NotANumber
from rtstyle.gatys.objective import Losses, Objective, Past, Plan, StyleTensor, plan
from rtstyle.gatys.pictures import (
    Shape,
    StylePicture,
    as_mask,
    as_tensor,
    check_pictures,
    enlarge,
    grey,
    noise,
    recolored,
    resize,
    style_rgb,
)
from rtstyle.gatys.settings import MIN_SIDE, PRESETS, Settings, preset
from rtstyle.paint.look import keep_color
from rtstyle.perceptual import vgg as perceptual

__all__ = [
    "PRESETS",
    "Before",
    "Iteration",
    "Progress",
    "Result",
    "Settings",
    "expected",
    "load_vgg",
    "preset",
    "render",
    "sizes",
]

FIRST_SIZE = 256  # long side at which the pyramid starts


@dataclasses.dataclass(frozen=True)
class Before:
    """What is known of the picture beforehand, as the next frame of a film is: `picture` float [H, W, 3], 0 to 255, is
    where it starts from, and `trust` [H, W], 0 to 1, says where it should stay so; `weight` is that of the sum of
    squared differences there. The sizes must be those of the result."""

    picture: np.ndarray
    trust: np.ndarray
    weight: float


@dataclasses.dataclass(frozen=True)
class Iteration:
    """One iteration done. `total` = `content` + `style` + `tv` (+ what `Before` adds), all weighted: with line search
    the losses of the picture now, else those of the picture that the step began with. `evaluations` counts losses with
    gradients so far."""

    step: int
    steps: int
    width: int
    height: int
    total: float
    content: float
    style: float
    tv: float
    evaluations: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Progress(Iteration):
    """The same for callbacks: `picture()` is the picture now, uint8 [height, width, 3]."""

    picture: Callable[[], np.ndarray] = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Result:
    """`picture` has the size asked for. `ended`: done, interrupted, out of memory, or not a number (then it is the last
    picture whose losses were numbers). `raw` float [H, W, 3] is `picture` before it was rounded and given its colours
    back, `losses` are its; `log` has every iteration."""

    picture: np.ndarray
    raw: np.ndarray
    ended: str
    losses: Losses
    log: list[Iteration]
    steps: int
    evaluations: int
    seconds: float
    plan: Plan


def sizes(shape: Sequence[int], settings: Settings) -> list[Shape]:
    """The shape of each stage for a photograph of `shape`, rising to the size asked for. Raises RtstyleError if the
    picture would be too narrow to be looked at by VGG."""
    sides, shapes = [float(settings.size)], []
    while settings.pyramid and sides[-1] / math.sqrt(2) >= FIRST_SIZE - 1:
        sides.append(sides[-1] / math.sqrt(2))
    for side in reversed(sides):
        height, width = (max(1, round(length * side / max(shape))) for length in shape)
        if min(height, width) >= MIN_SIDE:
            shapes.append((height, width))
    if not shapes:
        raise InputError(
            f"at `size` {settings.size} the picture would be {width} x {height} pixels, and must be at least "
            f"{MIN_SIDE} x {MIN_SIDE}: ask for a larger `size`, or crop it"
        )
    return shapes


def split_steps(steps: int, stages: int) -> list[int]:
    """Iterations a stage: each stage has sqrt 2 fewer than the one before, as it costs twice as much."""
    shares = [2 ** (-i / 2) for i in range(stages)]
    ends = [round(steps * sum(shares[: i + 1]) / sum(shares)) for i in range(stages)]
    return [max(1, end - start) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def allowed_memory(settings: Settings) -> float:
    """Bytes that may be used: as asked, else three quarters of the machine's, or of what is free on the GPU."""
    if settings.max_memory is not None:
        return settings.max_memory
    device = perceptual.pick_device(settings.device)
    if device.type == "cuda":
        own = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps what it has freed
        return 0.75 * (torch.cuda.mem_get_info(device)[0] + own)
    return 0.75 * memory.installed()


def expected(shape: Sequence[int], settings: Settings) -> tuple[list[Shape], Plan]:
    """The shapes that a photograph of `shape` goes through, and how the largest fits into memory."""
    shapes = sizes(shape, settings)
    steps = split_steps(settings.steps, len(shapes))[-1]
    return shapes, plan(*shapes[-1], settings, allowed_memory(settings), steps)


def render(
    content: np.ndarray,
    styles: Sequence[StylePicture | np.ndarray],
    settings: Settings | None = None,
    callback: Callable[[Progress], None] | None = None,
    *,
    before: Before | None = None,
    vgg: perceptual.VGG | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Paint `content` in the style of `styles`; `callback` is called after each iteration.

    `before` takes the place of the settings' start, and of the pyramid; `vgg`, from `load_vgg`, spares loading it;
    `clock` is what `seconds` are counted by.

    Ctrl-C (or KeyboardInterrupt from the callback) ends it early with the picture so far, as does a lack of memory. The
    same pictures, settings and device give the same result. Raises RtstyleError for pictures, weights or settings that
    cannot work.
    """
    settings = (settings or Settings()).check()
    pictures = [style if isinstance(style, StylePicture) else StylePicture(style) for style in styles]
    check_pictures(content, pictures)
    device = perceptual.pick_device(settings.device)
    shapes, fits = expected(content.shape[:2], settings)
    with reproducible():
        rendering = _Rendering(vgg or load_vgg(settings), content, pictures, settings, device, callback, before, clock)
        return rendering.run(shapes[-1:] if before else shapes, fits)


def load_vgg(settings: Settings) -> perceptual.VGG:
    """The net that these settings look with. Raises RtstyleError if there are no weights."""
    return perceptual.VGG(
        settings.vgg,
        settings.weights,
        convention=settings.convention,
        pooling=settings.pooling,
        device=perceptual.pick_device(settings.device),
    )


class _Rendering:
    """One run: the loop over stages and iterations, and what it needs to give a picture at any moment."""

    def __init__(
        self,
        vgg: perceptual.VGG,
        content: np.ndarray,
        styles: Sequence[StylePicture],
        settings: Settings,
        device: torch.device,
        callback: Callable[[Progress], None] | None,
        before: Before | None,
        clock: Callable[[], float],
    ):
        self.before, self.clock = before, clock
        self.vgg, self.settings, self.device, self.callback = vgg, settings, device, callback
        self.photograph, self.styles = content, styles
        self.content = grey(content) if settings.keep_color else content
        self.log: list[Iteration] = []
        self.evaluations = self.step = 0

    def run(self, shapes: Sequence[Shape], fits: Plan) -> Result:
        started, ended = self.clock(), "done"
        counts = split_steps(self.settings.steps, len(shapes))
        picture = good = self._start(shapes[0])  # `good`: the last one whose losses were numbers
        losses = Losses(math.nan, math.nan, math.nan, math.nan)
        try:
            for shape, count in zip(shapes, counts, strict=True):
                picture = good = enlarge(picture, shape)
                objective = self._objective(shape, fits.side if max(shape) > (fits.side or 0) else None)
                descent = Descent(objective, picture, self.settings, fits.history)
                for _ in range(count):
                    losses = descent.advance()
                    good = descent.good
                    self.step += 1
                    evaluations = self.evaluations + objective.evaluations
                    self._report(descent, losses, sum(counts), shape, evaluations, self.clock() - started)
                self.evaluations += objective.evaluations
                picture = descent.picture
            losses = objective(picture, gradient=False)[0]
            if not losses.finite:
                raise NotANumber
            good = picture
        except KeyboardInterrupt:
            ended = "interrupted"
        except NotANumber:
            ended = "not a number"
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            ended = "out of memory"
        if ended != "done" and self.log:
            self.evaluations = self.log[-1].evaluations
        # a run that ended early may have reached a smaller size only, and filled the GPU
        good = enlarge(good.detach().cpu(), shapes[-1])
        raw = good[0].permute(1, 2, 0).numpy()
        return Result(
            self.finished(good),
            raw,
            ended,
            losses,
            self.log,
            self.step,
            self.evaluations,
            self.clock() - started,
            fits,
        )

    def _report(
        self, descent: Descent, losses: Losses, steps: int, shape: Shape, evaluations: int, seconds: float
    ) -> None:
        height, width = shape
        values = losses.total, losses.content, losses.style, losses.tv
        self.log.append(row := Iteration(self.step, steps, width, height, *values, evaluations, seconds))
        if self.callback:
            self.callback(Progress(**dataclasses.asdict(row), picture=lambda: self.finished(descent.picture)))

    def _start(self, shape: tuple[int, int]) -> torch.Tensor:
        """The photograph, in its own colours or the artwork's, noise, or a mixture; or what is known."""
        if self.before:
            return as_tensor(self.before.picture, self.device)
        photograph, share = resize(self.content, shape), self.settings.noise
        if self.settings.start == "palette" and share < 1:
            photograph = recolored(photograph, self.styles, self.settings)
        start = as_tensor(photograph, self.device)
        if share:
            start = start + share * (noise(shape, self.settings.seed).to(self.device) - start)
        return start

    def _objective(self, shape: tuple[int, int], side: int | None) -> Objective:
        content = as_tensor(resize(self.content, shape), self.device)
        styles = [self._style(style, shape) for style in self.styles]
        past = None
        if known := self.before:
            trust = torch.from_numpy(np.array(known.trust, np.float32)).to(self.device)
            past = Past(as_tensor(known.picture, self.device), trust, known.weight)
        return Objective(self.vgg, self.settings, content, styles, side, past)

    def _style(self, style: StylePicture, shape: tuple[int, int]) -> StyleTensor:
        """A style picture at the size that belongs to a stage; never enlarged."""
        rgb = style_rgb(style, shape, self.settings, self.content)
        counts = as_mask(style.own_mask, rgb.shape[:2], self.device)
        if counts is not None and not counts.any():
            raise InputError(
                f"no part of a style picture counts when its mask is shrunk to {rgb.shape[1]} x {rgb.shape[0]} pixels: "
                "give a mask with a larger or whiter part, or ask for a larger `size`"
            )
        return StyleTensor(as_tensor(rgb, self.device), style.weight, counts, as_mask(style.mask, shape, self.device))

    def finished(self, picture: torch.Tensor) -> np.ndarray:
        """uint8 [H, W, 3]: with the photograph's colours if asked for, and the photograph where no mask is."""
        painted = picture.detach().clamp(0, 255).round()[0].permute(1, 2, 0).to("cpu", torch.uint8).numpy()
        masks = [style.mask for style in self.styles if style.mask is not None]
        everywhere = len(masks) < len(self.styles)
        if everywhere and not self.settings.keep_color:
            return painted
        photograph = resize(self.photograph, painted.shape[:2])
        if self.settings.keep_color:
            painted = keep_color(photograph, painted)
        if not everywhere:
            masks = [resize(mask, painted.shape[:2]).astype(np.float32) / 255 for mask in masks]
            cover = np.minimum(1, sum(masks))[..., None]
            painted = np.rint(photograph + cover * (painted.astype(np.float32) - photograph)).astype(np.uint8)
        return painted


def out_of_memory(error: Exception) -> bool:
    """Whether it is one of the errors that torch, its libraries and NumPy have for that."""
    words = ("out of memory", "not enough memory", "DefaultCPUAllocator", "ALLOC_FAILED")
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(word in str(error) for word in words)


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """cuDNN without TensorFloat-32, which blurs line searches, and with its deterministic algorithms only."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
