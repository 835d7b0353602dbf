"""Pictures of Gatys mode: sizes, colours, and tensors of them.

Pictures are uint8 RGB [H, W, 3], masks uint8 [H, W]: 0 not at all, 255 fully.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from rtstyle.errors import InputError, UsageError
from rtstyle.gatys.recolor import Colors, colors_of, mixture, recolor, transport
from rtstyle.gatys.settings import MIN_SIDE, Settings

# Noise to start from, in grey levels: strong noise stays in the result as grain.
NOISE_MEAN, NOISE_DEVIATION = (123.7, 116.3, 103.5), 25.0
Shape = tuple[int, int]  # height, width in pixels


@dataclasses.dataclass
class StylePicture:
    """A picture to take the style from. `mask` says where in the result it is painted (None: everywhere), `own_mask`
    which parts of `rgb` count (None: all). Weights of styles without a mask are shares; that of a style with a mask
    multiplies its loss."""

    rgb: np.ndarray
    weight: float = 1.0
    mask: np.ndarray | None = None
    own_mask: np.ndarray | None = None


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
