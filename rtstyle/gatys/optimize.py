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
import os
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from rtstyle.errors import InputError, UsageError
from rtstyle.gatys.objective import Losses, Objective, Past, Plan, StyleTensor, plan
from rtstyle.gatys.recolor import Colors, colors_of, mixture, recolor, transport
from rtstyle.gatys.settings import MIN_SIDE, PRESETS, UNITS, Settings, preset
from rtstyle.paint.look import keep_color
from rtstyle.perceptual import vgg as perceptual

__all__ = [
    "PRESETS",
    "Before",
    "Iteration",
    "Progress",
    "Result",
    "Settings",
    "StylePicture",
    "expected",
    "load_vgg",
    "preset",
    "recolored",
    "render",
    "sizes",
]

FIRST_SIZE = 256  # long side at which the pyramid starts
# Noise to start from, in grey levels: strong noise stays in the result as grain.
NOISE_MEAN, NOISE_DEVIATION = (123.7, 116.3, 103.5), 25.0
Shape = tuple[int, int]  # height, width in pixels
KEPT_EVALUATIONS = 3  # of a line search, so that the chosen one need not be computed again


@dataclasses.dataclass
class StylePicture:
    """A picture to take the style from. `mask` says where in the result it is painted (None: everywhere), `own_mask`
    which parts of `rgb` count (None: all). Weights of styles without a mask are shares; that of a style with a mask
    multiplies its loss."""

    rgb: np.ndarray
    weight: float = 1.0
    mask: np.ndarray | None = None
    own_mask: np.ndarray | None = None


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
    """`picture` has the size asked for. `ended`: done, interrupted, or not a number (then it is the last picture whose
    losses were numbers). `raw` float [H, W, 3] is `picture` before it was rounded and given its colours back, `losses`
    are its; `log` has every iteration."""

    picture: np.ndarray
    raw: np.ndarray
    ended: str
    losses: Losses
    log: list[Iteration]
    steps: int
    evaluations: int
    seconds: float
    plan: Plan


class NotANumber(Exception):
    """The losses or the picture stopped being numbers."""


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


def allowed_memory(settings: Settings) -> float | None:
    """Bytes that may be used: as asked, else three quarters of what there is; None where that cannot be known."""
    if settings.max_memory is not None:
        return settings.max_memory
    device = perceptual.pick_device(settings.device)
    if device.type == "cuda":
        return 0.75 * torch.cuda.get_device_properties(device).total_memory
    try:
        return 0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


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

    Ctrl-C (or KeyboardInterrupt from the callback) ends it early with the picture so far. The same pictures, settings
    and device give the same result. Raises RtstyleError for pictures, weights or settings that cannot work.
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


def check_pictures(content: np.ndarray, styles: Sequence[StylePicture]) -> None:
    """Raises RtstyleError for pictures, masks or weights that cannot work."""
    if not styles:
        raise UsageError("give at least one style picture")
    for name, rgb in (("photograph", content), *(("style picture", style.rgb) for style in styles)):
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise UsageError(f"the {name} must be uint8 [H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
        if min(rgb.shape[:2]) < MIN_SIDE:
            raise InputError(
                f"the {name} has {rgb.shape[1]} x {rgb.shape[0]} pixels: it must be at least {MIN_SIDE} x {MIN_SIDE}"
            )
    for style in styles:
        if not (math.isfinite(style.weight) and style.weight > 0):
            raise UsageError(f"the weight of a style picture must be above 0, not {style.weight}")
        for name, mask in (("mask", style.mask), ("style mask", style.own_mask)):
            if mask is not None and not mask.any():
                raise InputError(f"the {name} is all black: white is what counts")


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
        if ended != "done" and self.log:
            self.evaluations = self.log[-1].evaluations
        # a run that ended early may have reached a smaller size only
        good = enlarge(good, shapes[-1])
        raw = good.detach()[0].permute(1, 2, 0).cpu().numpy()
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
        return StyleTensor(
            as_tensor(rgb, self.device),
            style.weight,
            as_mask(style.own_mask, rgb.shape[:2], self.device),
            as_mask(style.mask, shape, self.device),
        )

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


Evaluation = tuple[torch.Tensor, Losses, torch.Tensor]  # a picture, its losses and their gradient, each in its unit


class Descent:
    """An optimizer at work on one picture. `picture` is where it stands, `good` the last one known to have losses that
    are numbers."""

    def __init__(self, objective: Objective, picture: torch.Tensor, settings: Settings, history: int):
        self.objective, self.settings = objective, settings
        second_order = settings.optimizer == "lbfgs"
        # L-BFGS' first step has length 1 in absolute values summed up: a mean of one grey level in this unit
        self.unit = float(picture.numel()) if second_order else UNITS[settings.unit]
        self.variable = (picture / self.unit).contiguous().requires_grad_()
        self.good = picture
        self._seen: list[Evaluation] = []
        # L-BFGS and SGD see losses divided by the mean magnitude of the first gradient: for SGD the learning rate is
        # then the mean change of the first step, and L-BFGS squares slopes, which float32 would not hold
        self._slope = None if settings.optimizer in ("lbfgs", "sgd") else 1.0
        self.optimizer = self._optimizer(history)

    def _optimizer(self, history: int) -> torch.optim.Optimizer:
        settings, rate, variables = self.settings, self.settings.rate, [self.variable]
        match settings.optimizer:
            case "lbfgs":
                return torch.optim.LBFGS(
                    variables,
                    lr=rate,
                    max_iter=1,
                    max_eval=25,
                    tolerance_grad=0,
                    tolerance_change=0,
                    history_size=history,
                    line_search_fn="strong_wolfe" if settings.line_search else None,
                )
            case "adam":
                return torch.optim.Adam(variables, lr=rate, betas=settings.betas, eps=settings.epsilon or 1e-8)
            case "rmsprop":
                return torch.optim.RMSprop(variables, lr=rate)
            case "adagrad":
                return torch.optim.Adagrad(variables, lr=rate)
            case _:
                return torch.optim.SGD(variables, lr=rate, momentum=0.9)

    @property
    def picture(self) -> torch.Tensor:
        return self.variable.detach() * self.unit

    def advance(self) -> Losses:
        """One iteration. Raises NotANumber; `picture` is then of no use, `good` is."""
        self.optimizer.step(self._evaluate)
        with torch.no_grad():
            if not torch.isfinite(self.variable).all():
                raise NotANumber
            if self.settings.clamp != "none":
                self.variable.clamp_(0, 255 / self.unit)
        now = self._known()
        if now is None:
            return self._seen[-1][1]
        self.good = self.picture
        return now[1]

    def _known(self) -> Evaluation | None:
        """The evaluation of the picture as it stands, if it was among the last."""
        point = self._point()
        return next((seen for seen in reversed(self._seen) if torch.equal(seen[0], point)), None)

    def _point(self) -> torch.Tensor:
        """Where losses and gradient are those of the picture: that cut to 0..255 has the same if losses are of it."""
        point = self.variable.detach().clone()
        return point.clamp_(0, 255 / self.unit) if self.settings.clamp == "inside" else point

    def _evaluate(self) -> float:
        """What torch calls a closure. torch.optim.LBFGS asks again where its line search has just been: that is
        answered from memory."""
        known = self._known()
        if known is None:
            losses, gradient = self.objective(self.picture)
            if gradient is None or not (losses.finite and torch.isfinite(gradient).all()):
                raise NotANumber
            gradient = gradient * self.unit
            self._slope = self._slope or max(float(gradient.abs().mean()), 1e-30)
            gradient = gradient / self._slope
            known = self._point(), losses, gradient
            self._seen = [*self._seen[-KEPT_EVALUATIONS + 1 :], known]
            if self.settings.optimizer != "lbfgs":
                self.good = self.picture
        self.variable.grad = known[2].clone()
        return known[1].total / (self._slope or 1.0)


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


def resize(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """uint8 [H, W, 3] or [H, W] at another (height, width), by Lanczos' method."""
    if array.shape[:2] == tuple(shape):
        return array
    height, width = shape
    return np.asarray(Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS))


def fit_style(rgb: np.ndarray, shape: Sequence[int], settings: Settings) -> np.ndarray:
    """A style picture uint8 [H, W, 3] at the size at which it is looked at for a result of `shape`; never enlarged,
    unless it is squeezed into the photograph's shape."""
    if settings.style_fit == "content":
        return resize(rgb, shape)
    share = min(1.0, max(shape) * settings.style_scale / max(rgb.shape[:2]))
    share = min(1.0, max(share, MIN_SIDE / min(rgb.shape[:2])))  # narrow pictures stay wide enough for VGG
    return resize(rgb, tuple(max(MIN_SIDE, round(length * share)) for length in rgb.shape[:2]))


def style_rgb(style: StylePicture, shape: Sequence[int], settings: Settings, content: np.ndarray) -> np.ndarray:
    """A style picture uint8 [H, W, 3] as it is looked at for a result of `shape`, in the colours that are aimed at."""
    rgb = fit_style(style.rgb, shape, settings)
    if settings.keep_color:
        return match_colors(grey(rgb), content)
    return match_colors(rgb, content) if settings.match_color else rgb


def recolored(content: np.ndarray, styles: Sequence[StylePicture], settings: Settings) -> np.ndarray:
    """The photograph uint8 [H, W, 3] in the colours of the styles, each where its mask is: float32, 0 to 255."""
    shape = content.shape[:2]

    def target(style: StylePicture) -> Colors:
        rgb = style_rgb(style, shape, settings, content)
        return colors_of(rgb, None if style.own_mask is None else resize(style.own_mask, rgb.shape[:2]))

    result: np.ndarray = content.astype(np.float32)
    everywhere = [(target(style), style.weight) for style in styles if style.mask is None]
    if everywhere:
        result = recolor(content, transport(colors_of(content), mixture(everywhere)))
    base = result
    masked = [(s, resize(s.mask, shape).astype(np.float32) / 255) for s in styles if s.mask is not None]
    crowd = np.maximum(1, sum(mask for _, mask in masked))
    for style, mask in masked:
        own = recolor(content, transport(colors_of(content, mask), target(style)))
        result = result + (mask / crowd)[..., None] * (own - base)
    return result


def noise(shape: Sequence[int], seed: int) -> torch.Tensor:
    """What to start from, [1, 3, H, W] for a `shape` of (height, width), 0 to 255; the same for the same seed."""
    grain = torch.randn((1, 3, *shape), generator=torch.Generator().manual_seed(seed)) * NOISE_DEVIATION
    return (grain + torch.tensor(NOISE_MEAN).view(1, 3, 1, 1)).clamp(0, 255)


def enlarge(picture: torch.Tensor, shape: Shape) -> torch.Tensor:
    """A picture [1, 3, H, W] at another (height, width), cut to 0..255 if that is a change."""
    if picture.shape[2:] == tuple(shape):
        return picture
    return F.interpolate(picture, shape, mode="bicubic", align_corners=False).clamp(0, 255)


def as_tensor(rgb: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 [H, W, 3] to float [1, 3, H, W], 0 to 255."""
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float().contiguous().to(device)


def as_mask(mask: np.ndarray | None, shape: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """uint8 [H, W] to float of another (height, width), 0 to 1."""
    return None if mask is None else torch.from_numpy(np.array(resize(mask, shape))).float().to(device) / 255


def grey(rgb: np.ndarray) -> np.ndarray:
    """The luma Y' (ITU-R BT.601) of uint8 [H, W, 3] in all three channels."""
    luma = np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


def match_colors(rgb: np.ndarray, like: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] with the mean colour and colour covariance of another picture: x -> A (x - mean) + mean',
    A = C'^(1/2) C^(-1/2) (Gatys et al., "Preserving Color in Neural Artistic Style Transfer", 2016, section 2). Of two
    grey pictures it matches mean and deviation of the luminance (section 3)."""
    flat, target = (picture.reshape(-1, 3).astype(np.float64) for picture in (rgb, like))
    a = _power(np.cov(target.T), 0.5) @ _power(np.cov(flat.T), -0.5)
    matched = (flat - flat.mean(0)) @ a.T + target.mean(0)
    result: np.ndarray = np.rint(np.clip(matched, 0, 255)).astype(np.uint8).reshape(rgb.shape)
    return result


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric matrix; directions without variance stay without."""
    values, vectors = np.linalg.eigh(covariance)
    alive = values > max(values.max(), 1.0) * 1e-9
    power: np.ndarray = (vectors * np.where(alive, np.where(alive, values, 1.0) ** exponent, 0)) @ vectors.T
    return power
