"""The settings of `rtstyle gatys`, and the settings of the five source documents.

Layers are named as in rtstyle.perceptual.vgg: `conv4_2` before its rectification, `relu4_2` after it. What the papers
call conv4_2 is the rectified response (in Gatys' Caffe net the ReLU works in place; their PyTorch code takes `r42`;
Keras' block5_conv2 includes it; torchvision's ReLU works in place, too), so the defaults and all presets say relu.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

from rtstyle import memory
from rtstyle.errors import UsageError

WIDTHS = (64, 128, 256, 512, 512)  # channels of VGG's five stages
OPTIMIZERS = {"lbfgs": 1.0, "adam": 0.02, "rmsprop": 0.01, "adagrad": 0.1, "sgd": 0.005}  # default learning rates
# Grey levels in one unit of the picture as first-order methods see it: of 0..1, or in (mean) standard deviations of
# ImageNet, which torchvision's networks take their input in.
UNITS = {"range": 255.0, "deviation": 255 * 0.226}
MIN_SIDE = 32  # pixels; relu5_1 sees them in cells of 16

CHOICES = {
    "vgg": ("vgg19", "vgg16"),
    "features": ("oxford", "torchvision"),
    "pooling": ("max", "average"),
    "content_norm": ("mean", "gatys"),
    "style_norm": ("johnson", "gatys", "upes"),
    "tv_norm": ("squares", "absolute"),
    "optimizer": tuple(OPTIMIZERS),
    "unit": tuple(UNITS),
    "start": ("palette", "content"),
    "clamp": ("inside", "step", "none"),
    "style_fit": ("size", "content"),
}


def gatys_weight(layer: str) -> float:
    """1000 / n^2 for a layer of n channels: the style weights of Gatys' released code."""
    return 1000 / WIDTHS[int(layer[4]) - 1] ** 2


def first_of_each_stage(weight: Callable[[str], float] = gatys_weight) -> dict[str, float]:
    return {layer: weight(layer) for layer in (f"relu{stage}_1" for stage in range(1, 6))}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that a rendering depends on besides its pictures.

    The total is content + style + total variation, with F the features [N, M] (N channels, M positions) of the
    picture, P of the photograph, S of the style picture, and g = F F^T / M, a = S S^T / M_s:

    - content = content_weight sum_l w_l C_l; `content_norm`: mean: 1/(N M) sum (F - P)^2 (Johnson et al. 2016, eq. 2);
      gatys: 1/2 sum (F - P)^2 (Gatys et al. 2016, eq. 1), which grows with the size of the picture.
    - style = style_weight sum_l v_l E_l; `style_norm`: johnson: 1/N^2 sum (g - a)^2, the squared Frobenius distance of
      Gram matrices divided by N M (Johnson, eq. 4), and Gatys' released code; gatys: 1/(4 N^2) sum (g - a)^2, which
      for equal sizes is 1/(4 N^2 M^2) sum (F F^T - S S^T)^2 (Gatys, eq. 4); upes: M/N times johnson, which for equal
      sizes is mean((F F^T - S S^T)^2) / (N M).
    - total variation = tv_weight T; `tv_norm`: squares: mean squared difference of neighbours, absolute: the sum of
      their absolute differences, as tf.image.total_variation; both of pictures in 0..1.

    alpha / beta of the papers is content_weight / style_weight. Layers, their weights and norms are those of Gatys'
    released code; beta is smaller than its 1, at which little of a photograph is left with VGG as published.

    `features` says on which network's scale the features are: oxford: inputs of 0..255 (Gatys' network), torchvision:
    inputs in standard deviations, 57.6 times smaller. Features of weight files of the other kind are rescaled by that,
    so that weights mean about the same with either.
    """

    vgg: str = "vgg19"
    weights: str | os.PathLike[str] | None = None  # file; else RTSTYLE_VGG19 / RTSTYLE_VGG16, else torchvision's
    convention: str | None = None  # of files that do not say: torchvision or oxford
    features: str = "oxford"
    pooling: str = "max"

    content_layers: dict[str, float] = dataclasses.field(default_factory=lambda: {"relu4_2": 1.0})
    style_layers: dict[str, float] = dataclasses.field(default_factory=first_of_each_stage)
    content_weight: float = 1.0  # alpha
    style_weight: float = 0.1  # beta
    tv_weight: float = 0.0
    content_norm: str = "mean"
    style_norm: str = "johnson"
    tv_norm: str = "squares"

    size: int = 512  # long side of the result in pixels
    pyramid: bool = True  # from 256 px on, growing by sqrt 2; else at `size` from the start
    style_scale: float = 1.0  # long side of the style picture to that of the result
    style_fit: str = "size"  # content: the style picture is squeezed into the photograph's shape
    start: str = "palette"  # the photograph in the colours of the style pictures; content: in its own
    noise: float = 0.0  # share of noise in the picture that it starts from: 0 none, 1 nothing else
    seed: int = 0

    optimizer: str = "lbfgs"
    learning_rate: float | None = None  # None: the default of OPTIMIZERS
    unit: str = "range"  # of the learning rate (first-order methods)
    line_search: bool = True  # L-BFGS: strong Wolfe conditions, else steps of the learning rate
    history: int = 100  # L-BFGS: pairs of vectors that are kept; fewer where memory is short
    betas: tuple[float, float] = (0.9, 0.999)  # Adam
    epsilon: float | None = None  # Adam; None: 1e-8
    steps: int = 500  # over all sizes
    # inside: losses see the picture cut to 0..255, and what leaves the range can come back; step: cut after each step;
    # none: at the end
    clamp: str = "inside"

    keep_color: bool = False  # only light and dark are painted, the colours are the photograph's
    match_color: bool = False  # the style picture takes on the photograph's mean colour and covariance first

    device: str = "auto"  # auto, cpu, cuda or cuda:1
    max_memory: int | None = None  # bytes; None: three quarters of the machine's, or of the GPU's free

    @property
    def rate(self) -> float:
        """The learning rate: given, or the optimizer's default."""
        return OPTIMIZERS[self.optimizer] if self.learning_rate is None else self.learning_rate

    def check(self) -> Settings:
        """These settings, if they can work. Raises UsageError."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{_words(name)} must be {' or '.join(choices)}, not {getattr(self, name)!r}")
        for name in ("content_weight", "style_weight", "tv_weight"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UsageError(f"{_words(name)} must be a number from 0 on, not {getattr(self, name)}")
        for name in ("content_layers", "style_layers"):
            for layer, weight in getattr(self, name).items():
                if not (math.isfinite(weight) and weight >= 0):
                    raise UsageError(f"the weight of {layer} must be a number from 0 on, not {weight}")
        if not (self.content_layers or self.style_layers):
            raise UsageError("nothing to aim at: give content layers or style layers")
        for name in ("rate", "style_scale"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UsageError(f"{'learning rate' if name == 'rate' else _words(name)} must be above 0")
        if not 0 <= self.noise <= 1:
            raise UsageError(f"the share of noise must be between 0 and 1, not {self.noise:g}")
        for name, minimum in {"size": MIN_SIDE, "steps": 1, "history": 1}.items():
            if getattr(self, name) < minimum:
                raise UsageError(f"{name} must be at least {minimum}, not {getattr(self, name)}")
        if not -(2**63) <= self.seed < 2**64:
            raise UsageError(f"seed must be from -2^63 to 2^64 - 1, not {self.seed}")
        if self.max_memory is not None and self.max_memory <= 0:
            raise UsageError("max memory must be above 0")
        if self.style_fit == "content" and self.style_scale != 1:
            raise UsageError(
                "`style_scale` does nothing where the style picture is squeezed into the photograph's shape, as in the "
                "preset upes: leave it out"
            )
        if self.keep_color and self.match_color:
            raise UsageError("give `keep_color` or `match_color`, not both")
        return self


def _words(name: str) -> str:
    return name.replace("_", " ")


PRESETS = {
    # UC San Diego: the equations of Gatys et al. on torchvision's VGG-19, all layers alike, style : content 1,000,000.
    # Size, optimizer and steps are not in the report: 512 px and 300 steps of L-BFGS are those of the usual tutorial.
    "ucsd": Settings(
        features="torchvision",
        style_layers=first_of_each_stage(lambda layer: 0.2),
        content_norm="gatys",
        style_norm="gatys",
        style_weight=1e6,
        size=512,
        pyramid=False,
        start="content",
        steps=300,
    ),
    # UPES: Adam on the picture in standard deviations, no clamping before the end.
    "upes": Settings(
        features="torchvision",
        style_layers=dict(zip(first_of_each_stage(), (1.0, 0.75, 0.2, 0.2, 0.2), strict=True)),
        style_norm="upes",
        style_weight=1e6,
        size=400,
        pyramid=False,
        start="content",
        style_fit="content",
        optimizer="adam",
        learning_rate=0.003,
        unit="deviation",
        steps=2000,
        clamp="none",
    ),
    # National Taiwan University: Gatys et al. as printed (average pooling, all layers alike), from noise; style :
    # content from 1,000 to 100,000, the middle of the five here. On torchvision's scale, where activations are near 1
    # as in the paper's normalised network: on the Oxford scale even 1,000 would leave no content.
    "ntu": Settings(
        features="torchvision",
        pooling="average",
        style_layers=first_of_each_stage(lambda layer: 0.2),
        content_norm="gatys",
        style_norm="gatys",
        style_weight=1e4,
        size=512,
        pyramid=False,
        start="content",
        noise=1.0,
        steps=500,
        clamp="none",
    ),
    # ICFP M2: Gatys' released losses, on torchvision's VGG-19 (on the Oxford scale the whole strip of style weights
    # from 1e-2 to 1e4 would be one picture), L-BFGS with a fixed rate.
    "icfp": Settings(
        features="torchvision",
        style_weight=100.0,
        size=512,
        pyramid=False,
        start="content",
        learning_rate=0.2,
        line_search=False,
        steps=200,
        clamp="none",
    ),
    # MLOA and NNDL: TensorFlow's tutorial (Keras' VGG-19 is the Oxford group's; style is the mean over layers; Adam's
    # beta1, epsilon and the weight of the total variation are the tutorial's), 100 epochs of 5 steps.
    "mloa": Settings(
        content_layers={"relu5_2": 1.0},
        style_layers=first_of_each_stage(lambda layer: 0.2),
        content_weight=1e4,
        style_weight=1e-2,
        tv_weight=30.0,
        tv_norm="absolute",
        size=512,
        pyramid=False,
        start="content",
        optimizer="adam",
        learning_rate=0.02,
        betas=(0.99, 0.999),
        epsilon=0.1,
        steps=500,
        clamp="step",
    ),
}


def preset(name: str | None = None, **changes: Any) -> Settings:
    """The settings of a source document, or the defaults, with changes. Raises UsageError for what cannot work.

    Another optimizer does not keep the preset's learning rate and epsilon, which were not meant for it.
    """
    if name is not None and name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}: choose {', '.join(PRESETS)}")
    base = PRESETS[name] if name else Settings()
    if changes.get("optimizer", base.optimizer) != base.optimizer:
        changes = {"learning_rate": None, "epsilon": None, "unit": "range"} | changes
    return dataclasses.replace(base, **changes).check()


def parse_layers(text: str, default: Callable[[str], float]) -> dict[str, float]:
    """`relu4_2,relu5_2:0.5` to weights by layer; `default` gives that of a layer without one. Raises UsageError."""
    layers = {}
    for part in text.split(","):
        name, colon, weight = part.strip().partition(":")
        stage, _, number = name[4:].partition("_")
        if name[:4] not in ("conv", "relu") or stage not in "12345" or not stage or not number.isdecimal():
            raise UsageError(
                f"{name!r} is not a layer: they are conv1_1, relu1_1, conv1_2, ... with :WEIGHT if need be"
            )
        try:
            layers[name] = float(weight) if colon else default(name)
        except ValueError:
            raise UsageError(f"{weight!r} is not a number: the weight of {name}") from None
    return layers


def changes_from_words(name: str | None, **given: Any) -> dict[str, Any]:
    """What the command line was given, as changes to the preset `name`: None is left out; `ratio` is alpha / beta and
    sets beta; `start` is palette, content, noise or a share of noise; layers and memory are read. Raises UsageError."""
    given = {key: value for key, value in given.items() if value is not None}
    if "ratio" in given:
        if "style_weight" in given:
            raise UsageError("give `style_weight` or `ratio`, not both")
        ratio = given.pop("ratio")
        if not (math.isfinite(ratio) and ratio > 0):
            raise UsageError(f"`ratio` must be above 0, not {ratio:g}")
        given["style_weight"] = given.get("content_weight", preset(name).content_weight) / ratio
    if "start" in given:
        start = given.pop("start")
        if start in CHOICES["start"]:
            given |= {"start": start, "noise": 0.0}
        else:
            try:
                given["noise"] = 1.0 if start == "noise" else float(start)
            except ValueError:
                raise UsageError(
                    f"`start` is palette, content, noise or a share of noise such as 0.3, not {start!r}"
                ) from None
    if "content_layers" in given:
        given["content_layers"] = parse_layers(given["content_layers"], lambda layer: 1.0)
    if "style_layers" in given:
        defaults = preset(name).style_layers
        given["style_layers"] = parse_layers(
            given["style_layers"], lambda layer: defaults.get(f"relu{layer[4]}_1", gatys_weight(layer))
        )
    if "max_memory" in given:
        given["max_memory"] = memory.parse(given["max_memory"])
    return given
