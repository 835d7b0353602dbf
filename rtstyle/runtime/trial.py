"""The picture by which engines are compared."""

from __future__ import annotations

import numpy as np

from rtstyle.runtime.session import Frames


def trial_picture(height: int, width: int) -> Frames:
    """uint8 [1, height, width, 3]: a slope from dark to light under patches of all colors, always the same."""
    patches = np.random.default_rng(0).integers(-60, 60, (1, -(-height // 8), -(-width // 8), 3))
    patches = patches.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    slope = np.linspace(60, 195, width)[:, None]
    return np.rint(slope + patches).astype(np.uint8)
