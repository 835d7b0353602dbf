"""Pictures moved along a flow."""

from __future__ import annotations

import cv2
import numpy as np


def grid(width: int, height: int) -> np.ndarray:
    """The coordinates (x, y) of every pixel, float32 [height, width, 2]."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)


def warp(
    picture: np.ndarray, origin: np.ndarray, out: np.ndarray | None = None, interpolation: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """The picture [H, W, C] with each pixel taken from where `origin`, float32 [h, w, 2], says; [h, w, C]. What lies
    outside is the border's."""
    warped: np.ndarray = cv2.remap(  # type: ignore[call-overload]  # takes one map of two channels
        picture, origin, None, interpolation, dst=out, borderMode=cv2.BORDER_REPLICATE
    )
    return warped
