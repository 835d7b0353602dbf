"""Where one scene ends and the next begins."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = 32, 18  # pixels at which scenes are compared


class CutDetector:
    """Tells cuts from motion: call it with every frame in order, uint8 RGB [H, W, 3].

    A cut is a frame whose small version differs from the last by more than `least` grey levels on average, and by
    `times` as much as consecutive frames did of late.
    """

    def __init__(self, least: float = 18.0, times: float = 3.0):
        self._least, self._times = least, times
        self._last: np.ndarray | None = None
        self._usual = 0.0

    def __call__(self, frame: np.ndarray) -> bool:
        """Whether a new scene begins with this frame; the first one is no cut."""
        small = cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        if last is None:
            return False
        apart = float(cv2.absdiff(small, last).mean())
        cut = apart > max(self._least, self._times * self._usual)
        if not cut:
            self._usual = 0.7 * self._usual + 0.3 * apart
        return cut
