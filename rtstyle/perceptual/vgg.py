"""Perceptual losses: what a picture shows (content) and how it is painted (style), measured by VGG.

Pictures are float tensors [N, 3, H, W], RGB, in grey levels (0 to 255). Features F_l are the activations
[N, C_l, H_l, W_l] of a layer named as in the papers: `conv4_2` before its ReLU, `relu4_2` after it.

Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016 (Gatys below).
Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer", ECCV 2016 (Johnson below).
Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015 (VGG).
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from rtstyle.errors import DeviceError, ModelError

log = logging.getLogger("rtstyle")

# Convolutions per stage; the layers of torchvision's `features` follow from it.
STAGES = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


# How a picture in grey levels becomes the input that a weight file was trained on.
class Convention(NamedTuple):
    """The order of the channels, and their mean and deviation in grey levels."""

    bgr: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CONVENTIONS = {
    # RGB, scaled to 0..1, ImageNet mean and deviation
    "torchvision": Convention(False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # the original release of the Oxford group (Caffe): BGR, 0..255, mean taken off, no scaling
    "oxford": Convention(True, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
}

# Files known by their SHA-256 (torchvision publishes the first eight digits of its own, in the name).
KNOWN = {
    "2e3a7ad986a74bd058a75fd458c681f9ff5dcf68dc75a02452139b4c3dec2266": ("vgg16", "oxford"),
    "cfd1a2abe4e8c7cbfe58f1ddc1f10b9f2ba2c756da9eb949fb3479cd3ea4b869": ("vgg19", "oxford"),
    "397923af": ("vgg16", "torchvision"),
    "dcbb9e9d": ("vgg19", "torchvision"),
}


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:1` as a torch device. Raises RtstyleError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device {name!r}: choose auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"torch finds no device {name}: check the driver (nvidia-smi), or use `device='cpu'`")
    return device


def layer_index(arch: str, layer: str) -> int:
    """Position of `conv4_2` or `relu4_2` in torchvision's `features`. Raises RtstyleError if there is none."""
    stages = STAGES[arch]
    kind, rest = layer[:4], layer[4:]
    try:
        stage, number = (int(part) for part in rest.split("_"))
        if kind not in ("conv", "relu") or not (1 <= stage <= 5 and 1 <= number <= stages[stage - 1]):
            raise ValueError
    except ValueError:
        raise ModelError(
            f"{arch} has no layer {layer!r}: layers are conv1_1, relu1_1, ... to relu5_{stages[4]}"
        ) from None
    before = sum(2 * n + 1 for n in stages[: stage - 1])  # each stage: conv + relu, then one pooling
    return before + 2 * (number - 1) + (kind == "relu")


class VGG:
    """Frozen VGG features.

    `weights` is a .safetensors or .pth file with torchvision's key names; files cut after some layer are
    fine as long as no later layer is asked for. `convention` says how the file expects its input and is
    needed only when neither the file's SHA-256 nor its metadata tells. `pooling` is `max` or `average`
    (Gatys, section 2). Raises RtstyleError for a missing, damaged or unknown file.
    """

    def __init__(
        self,
        arch: str = "vgg16",
        weights: str | os.PathLike[str] | None = None,
        *,
        convention: str | None = None,
        pooling: str = "max",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        if arch not in STAGES:
            raise ModelError(f"unknown network {arch!r}: choose {' or '.join(STAGES)}")
        path = find_weights(arch, weights)
        state, self.convention, self.sha256 = read_weights(path, arch, convention)
        self.arch, self.path, self.pooling, self.dtype = arch, path, pooling, dtype
        self._bgr, mean, std = CONVENTIONS[self.convention]
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)
        self._convs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        channels = 3
        for stage, (count, width) in enumerate(zip(STAGES[arch], WIDTHS, strict=True), start=1):
            for number in range(1, count + 1):
                i = layer_index(arch, f"conv{stage}_{number}")
                weight, bias = state.get(f"features.{i}.weight"), state.get(f"features.{i}.bias")
                if weight is None or bias is None:
                    return  # cut here
                if weight.shape != (width, channels, 3, 3) or bias.shape != (width,):
                    raise ModelError(f"{path} is not {arch}: conv{stage}_{number} has shape {tuple(weight.shape)}")
                if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
                    raise ModelError(f"{path} is damaged: conv{stage}_{number} holds numbers that are not finite")
                weight = weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
                self._convs[i] = (weight, bias.to(device, dtype))
                channels = width

    def preprocess(self, x: torch.Tensor) -> torch.Tensor:
        """Grey levels [N, 3, H, W], RGB, to what the weights were trained on."""
        x = x.flip(1) if self._bgr else x
        return (x - self._mean) / self._std

    def __call__(self, x: torch.Tensor, layers: Iterable[str]) -> dict[str, torch.Tensor]:
        """Features of the named layers in `dtype`, {name: [N, C, H, W]}. `x`: [N, 3, H, W], RGB, 0 to 255."""
        names = {layer_index(self.arch, name): name for name in layers}
        last = max(names)
        features: dict[str, torch.Tensor] = {}
        x = self.preprocess(x).to(self.dtype).contiguous(memory_format=torch.channels_last)
        index = 0
        for count in STAGES[self.arch]:
            for _ in range(count):
                if index not in self._convs:
                    raise ModelError(
                        f"{self.path} ends before {names[last]}: choose an earlier layer or a complete file"
                    )
                x = F.conv2d(x, *self._convs[index], padding=1)
                if index in names:
                    features[names[index]] = x
                x = F.relu(x)
                if index + 1 in names:
                    features[names[index + 1]] = x
                index += 2
                if index > last:
                    return features
            x = F.max_pool2d(x, 2) if self.pooling == "max" else F.avg_pool2d(x, 2)
            index += 1
        return features


def find_weights(arch: str, weights: str | os.PathLike[str] | None) -> Path:
    """Where the weights are: given by path, by RTSTYLE_VGG16 / RTSTYLE_VGG19, or torchvision's own download.

    The download is announced with its size and source before it starts and checked against the digest that
    torchvision publishes.
    """
    variable = f"RTSTYLE_{arch.upper()}"
    given = weights or os.environ.get(variable)
    if given:
        path = Path(given)
        if not path.is_file():
            where = "" if weights else f" (from {variable})"
            raise ModelError(f"the {arch} weights {path}{where} do not exist")
        return path
    return _download(arch, variable)


def weights_at_hand(arch: str) -> bool:
    """Whether the weights are there without a download."""
    if given := os.environ.get(f"RTSTYLE_{arch.upper()}"):
        return Path(given).is_file()
    try:
        return _cached(arch).is_file()
    except ImportError:
        return False


def _cached(arch: str) -> Path:
    """Where torchvision's download lies, or would. Raises ImportError."""
    from torchvision.models import get_model_weights

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(get_model_weights(arch).IMAGENET1K_V1.url).name


def _download(arch: str, variable: str) -> Path:
    try:
        from torchvision.models import get_model_weights
    except ImportError:
        raise ModelError(
            f"the {arch} weights are needed: give a file with `vgg` or {variable}, or install torchvision to fetch them"
        ) from None
    entry = get_model_weights(arch).IMAGENET1K_V1
    cached = _cached(arch)
    if not cached.is_file():
        size = entry.meta.get("_file_size", 548)
        log.warning(f"fetching the {arch} weights, {size:.0f} MB, from {entry.url} to {cached.parent}")
        try:
            entry.get_state_dict(progress=True, check_hash=True)
        except Exception as error:  # no network, no disk, wrong digest: urllib and torch raise many kinds
            raise ModelError(
                f"the {arch} weights could not be fetched ({error}): give a file with `vgg` or {variable}"
            ) from None
    return cached


def read_weights(path: Path, arch: str, convention: str | None = None) -> tuple[dict[str, torch.Tensor], str, str]:
    """(state dict, convention, SHA-256) of a weight file; the convention is never guessed."""
    if convention is not None and convention not in CONVENTIONS:
        raise ModelError(f"unknown convention {convention!r}: choose {' or '.join(CONVENTIONS)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(str(path), "pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = {k: v.float() for k, v in state.items() if k.startswith("features.")}
    except Exception as error:
        raise ModelError(f"{path} is not a readable weight file ({_first_line(error)}): fetch it again") from None
    if "features.0.weight" not in state:
        raise ModelError(f"{path} holds no VGG features: expected torchvision's key names, such as features.0.weight")
    known_arch, known = KNOWN.get(digest) or KNOWN.get(digest[:8]) or (arch, None)
    if known_arch != arch:
        raise ModelError(f"{path} is {known_arch}, but {arch} is needed")
    convs = {layer_index(arch, f"conv{s}_{n}") for s, count in enumerate(STAGES[arch], 1) for n in range(1, count + 1)}
    if any(int(name.split(".")[1]) not in convs for name in state if name.startswith("features.")):
        raise ModelError(f"{path} is not {arch}: it has weights where {arch} has none")
    stated = known or stated_convention(metadata)
    if stated and convention and stated != convention:
        raise ModelError(f"{path} follows the {stated} convention, not {convention}: leave `vgg_convention` out")
    follows = stated or convention
    if follows is None:
        raise ModelError(
            f"{path} does not say what input it was trained on: give `vgg_convention='torchvision'` "
            "(RGB, ImageNet mean and deviation) or oxford (BGR, 0-255, mean subtracted)"
        )
    return state, follows, digest


def stated_convention(metadata: dict[str, str]) -> str | None:
    """What a weight file's metadata say of the input that it was trained on: oxford, torchvision, or nothing."""
    order, scale = metadata.get("channel_order"), metadata.get("input_range")
    if (order, scale) == ("BGR", "0-255") and metadata.get("mean_bgr", "").startswith("103.9"):
        return "oxford"
    if order == "RGB" and metadata.get("mean_rgb", "").startswith("0.485"):
        return "torchvision"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def gram(features: torch.Tensor) -> torch.Tensor:
    """Gram matrices [N, C, C] of features [N, C, H, W], divided by C H W (Johnson, eq. 3).

    The product is taken in the features' own type (sums are kept in float32 inside), the result is never
    narrower than float32.
    """
    n, c, h, w = features.shape
    products: torch.Tensor = _Products.apply(features.permute(0, 2, 3, 1).reshape(n, h * w, c))
    return _wide(products) / (c * h * w)


class _Products(torch.autograd.Function):
    """x^T x of [N, places, C], with one product backwards. Channels last, as VGG leaves its features: where gradients
    come back the other way round, adding them up takes long."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.transpose(1, 2) @ x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return torch.as_tensor(x @ (gradient + gradient.transpose(1, 2)))


def shifted_gram(features: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """Correlations [N, C, C] of features [N, C, H, W] with themselves dy rows and dx columns away, divided by C
    and the number of pairs (Berger and Memisevic, ICLR 2017, eq. 4 and 5).

    A Gram matrix cannot tell a pattern that repeats from one that does not; these matrices can. `dy` and `dx`
    are at least 0 and smaller than the map.
    """
    n, c, h, w = features.shape
    features = features.permute(0, 2, 3, 1)
    here = features[:, : h - dy, : w - dx].reshape(n, -1, c)
    there = features[:, dy:, dx:].reshape(n, -1, c)
    return _wide(here.transpose(1, 2) @ there) / (c * here.shape[1])


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def self_similarity(features: torch.Tensor) -> torch.Tensor:
    """What goes with what: cosines of features [N, C, H, W] at any two places, less their mean over the places:
    [N, H W, H W]. After STROTSS (Kolkin, Salavon and Shakhnarovich 2019, eq. 2)."""
    places = features.float().flatten(2)
    places = F.normalize(places - places.mean(2, keepdim=True), dim=1)
    return places.transpose(1, 2) @ places


def content_loss(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Johnson's feature reconstruction loss (eq. 2), 1/(C H W) ||F - P||^2, one value a sample [N]."""
    return squared_norm(_wide(features) - _wide(target), (1, 2, 3)) / target[0].numel()


def style_loss(grams: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared Frobenius distance of Gram matrices [..., C, C] (Johnson, eq. 4), one value a matrix [...].

    Gatys' E_l (eq. 4), 1/(4 N^2 M^2) sum (G - A)^2 over Gram matrices that are not divided by C H W (N = C
    filters, M = H W positions), is one quarter of this.
    """
    return squared_norm(grams - target, (-2, -1))


def squared_norm(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Sum of squares over the dimensions `dims`, in one pass forwards and one backwards: the tensors are large."""
    result: torch.Tensor = _SquaredNorm.apply(x, dims)
    return result


class _SquaredNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.dims = dims
        norm: torch.Tensor = torch.linalg.vector_norm(x, dim=dims)
        return norm.square()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        for dim in sorted(dim % x.dim() for dim in ctx.dims):
            grad = grad.unsqueeze(dim)
        return x * (2 * grad), None


def relative_content_loss(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """||F - P||^2 / ||P||^2, one value a sample [N]: 0 for the photograph itself, 1 for no features at all."""
    own = squared_norm(_wide(target), (1, 2, 3)) / target[0].numel()
    return content_loss(features, target) / own.clamp_min(1e-8)


def relative_style_loss(grams: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """||G - A||^2 / ||A||^2, one value a matrix [...]: every layer and every painting counts alike."""
    return style_loss(grams, target) / squared_norm(target, (-2, -1)).clamp_min(1e-12)


def symmetric_style_loss(grams: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """||G - A||^2 / (||G|| ||A||), one value a matrix [...], with ||G|| counted as at least a tenth of ||A||.

    Where the angle between G and A cannot be closed, ||G - A||^2 alone is smallest for a G shorter than A: pictures
    come out pale. With r = ||G|| / ||A|| this is r + 1/r - 2 cos(G, A), smallest at r = 1 whatever the angle.
    """
    target_norm = squared_norm(target, (-2, -1))
    norm = torch.maximum(squared_norm(grams, (-2, -1)), target_norm / 100)
    return style_loss(grams, target) / (norm * target_norm).sqrt().clamp_min(1e-12)


PALETTE_PIXELS = 4  # colours are means of so many pixels across: what the eye sees as a stroke's, not of its grain
PALETTE_SHARES = 1024
PALETTE_CHROMA = 2.0  # what distances from the grey axis count: hues tell paintings apart, and vary less than lightness
_AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_EDGES = ((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1))
_CORNERS = ((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1))
_GREY = len(_AXES) + len(_EDGES)  # the direction (1, 1, 1)
_DIRECTIONS = F.normalize(torch.tensor(_AXES + _EDGES + _CORNERS, dtype=torch.float32), dim=1)  # [13, 3]


def palette(pictures: torch.Tensor) -> torch.Tensor:
    """Which colours pictures [N, 3, H, W] (grey levels, RGB) have, and how much of each: float32 [N, 13, 1024].

    Colours, averaged over squares of 4 pixels and with twice their distance from the grey axis, are projected on the
    13 directions of the RGB cube (its edges and diagonals, as unit vectors), sorted along each, and averaged in 1,024
    equal shares: the quantile functions of 13 one-dimensional distributions. H and W are at least 4; what is left over
    after whole squares is left out.
    """
    colours = F.avg_pool2d(pictures.float(), PALETTE_PIXELS).flatten(2)
    grey = colours.mean(1, keepdim=True)
    colours = grey + PALETTE_CHROMA * (colours - grey)
    return F.adaptive_avg_pool1d((_DIRECTIONS.to(colours.device) @ colours).sort(dim=-1).values, PALETTE_SHARES)


def light_spread(palettes: torch.Tensor) -> torch.Tensor:
    """The deviation of lightness, (R + G + B) / 3 in grey levels, of pictures with these `palette`s [N, 13, 1024]:
    one value a picture [N]."""
    return palettes[:, _GREY].std(dim=1, correction=0) / math.sqrt(3)


def color_variance(palettes: torch.Tensor) -> torch.Tensor:
    """The variance of colours, in squared grey levels, of pictures with these `palette`s [N, 13, 1024], where distances
    from the grey axis count twice: one value a picture [N]."""
    return palettes[:, : len(_AXES)].var(dim=2, correction=0).mean(dim=1)


def palette_loss(palettes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sliced Wasserstein distance, squared, of `palette` [N, 13, 1024] to `target` (the same, or one for all), in units
    of the full range: one value a sample [N].

    0 only if every direction has the same distribution of colours (Rabin, Peyre, Delon and Bernot, SSVM 2011, eq. 4;
    as a loss of style on features: Heitz et al., CVPR 2021). Gram matrices of relu1_2 and deeper hold colours loosely.
    """
    return (palettes - target).div(255).square().mean(dim=(1, 2))


def total_variation(x: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of neighbours in units of the full range, one value a sample [N].

    The anisotropic total variation regulariser of Mahendran and Vedaldi (CVPR 2015) with beta = 2, as Johnson
    uses it, divided by the number of differences so that its weight does not depend on the size.
    """
    x = x / 255
    dy = (x[:, :, 1:] - x[:, :, :-1]).square().mean(dim=(1, 2, 3))
    dx = (x[:, :, :, 1:] - x[:, :, :, :-1]).square().mean(dim=(1, 2, 3))
    return dx + dy
