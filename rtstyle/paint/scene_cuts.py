"""Where one scene ends and the next begins."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

SIZE = 32, 18  # pixels at which scenes are compared
MIN_DISTANCE = 18.0  # grey levels on average
MIN_RATIO = 3.0  # to the distances of late


class CutDetector:
    """Tells cuts from motion: call it with every frame in order, uint8 RGB [H, W, 3].

    A cut is a frame whose small version differs from the last by more than MIN_DISTANCE on average, and MIN_RATIO times
    as much as consecutive frames did of late.
    """

    def __init__(self) -> None:
        self._last: npt.NDArray[np.float32] | None = None
        self._typical = 0.0

    def __call__(self, frame: npt.NDArray[np.uint8]) -> bool:
        """Whether a new scene begins with this frame; the first one is no cut."""
        small = cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        if last is None:
            return False
        distance = float(cv2.absdiff(small, last).mean())
        cut = distance > max(MIN_DISTANCE, MIN_RATIO * self._typical)
        if not cut:
            self._typical = 0.7 * self._typical + 0.3 * distance
        return cut
