"""Pure functions on frames: how much of the paint, and whose colours. uint8 RGB [H, W, 3] or [N, H, W, 3]."""

from __future__ import annotations

import cv2
import numpy as np

from rtstyle.errors import UsageError


def check_strength(strength: float) -> float:
    """A strength between 0 (the photograph) and 1 (the painting). Raises UsageError outside."""
    if not 0 <= strength <= 1:  # also refuses nan
        raise UsageError(f"strength must be between 0 and 1, not {strength:g}")
    return float(strength)


def blend(original: np.ndarray, painted: np.ndarray, strength: float) -> np.ndarray:
    """original + strength (painted - original), rounded. Equal to either end at 0 and 1."""
    if strength >= 1:
        return painted
    if strength <= 0:
        return original
    return cv2.addWeighted(painted, strength, original, 1 - strength, 0)


def keep_color(original: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """The painting's luminance with the photograph's colours (luminance-only transfer, Gatys et al. 2016,
    "Preserving Color in Neural Artistic Style Transfer", section 3), in Y'CbCr."""
    if painted.ndim == 4:
        return np.stack([keep_color(o, p) for o, p in zip(original, painted, strict=True)])
    mixed = cv2.cvtColor(original, cv2.COLOR_RGB2YCrCb)
    mixed[..., 0] = cv2.cvtColor(painted, cv2.COLOR_RGB2YCrCb)[..., 0]
    return cv2.cvtColor(mixed, cv2.COLOR_YCrCb2RGB)


def apply(original: np.ndarray, painted: np.ndarray, *, strength: float = 1.0, keep_colors: bool = False) -> np.ndarray:
    """Colours first, strength second: the look that the options describe."""
    if keep_colors:
        painted = keep_color(original, painted)
    return blend(original, painted, strength)


def split_view(original: np.ndarray, painted: np.ndarray, position: float) -> np.ndarray:
    """The original to the left of a line, the painted frame to its right: uint8 RGB [H, W, 3] both, a new array.

    `position` is where the line stands, as a share of the width.
    """
    width = painted.shape[1]
    column = min(width, max(0, round(position * width)))
    out = painted.copy()
    out[:, :column] = original[:, :column]
    line = max(1, width // 320)
    out[:, max(0, column - line) : column + line] = 255
    return out
