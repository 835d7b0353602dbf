"""Back to the frame's own size: the painting of a shrunk frame, with the frame's fine light and dark.

Hair, letters and contours finer than the net's pixels are not in the painting, but what was lost is known: the
luminance of the frame minus that of its shrunk self. `enlarge` adds it back, as strongly as the painting shows the
photograph around each pixel, and first moves the painting's jagged contours onto the photograph's where both agree.
Strokes in which the photograph has no part stay as they are. How strongly, and where both agree, comes from the
local linear model of the guided filter, luminance painted = slope x luminance photographed + offset, fitted at a
low resolution: He and Sun 2015, "Fast Guided Filter" (arXiv:1505.00996), equations 1, 3, 4 and algorithm 2.
"""

from __future__ import annotations

import math
import threading

import cv2
import numpy as np

FLAT = 50.0  # variance, in grey levels squared, below which the photograph counts as flat: epsilon of equation 3
FOLLOW = 0.75  # of the way from the painting to its fit, where the photograph explains all of the painting
DETAIL = 0.6  # gain of detail where the photograph is so flat at the net's size that the painting cannot tell
TELLING = 1000.0  # variance of the photograph from which the painting tells more than that guess
CORE = 3  # grey levels of detail left out: noise of sensor and codec
STRIP = 256  # rows worked on at a time
KEPT = 1 << 24  # bytes: larger intermediate arrays, of pictures above 16 megapixels, are not kept


def enlarge(painted: np.ndarray, frame: np.ndarray, shrunk: np.ndarray | None = None) -> np.ndarray:
    """The painting of a shrunk frame at the size of the frame: uint8 RGB [h, w, 3] and [H, W, 3] to [H, W, 3].

    `shrunk` is the frame as the net saw it, uint8 RGB [h, w, 3]; with it nothing is shrunk again. Light and dark
    alone come from the frame: red, green and blue change by the same amount. A painting of the frame's size is
    returned as it is, a larger one is only shrunk. Raises ValueError for other types or shapes.
    """
    _check("painted", painted)
    _check("frame", frame)
    if painted.shape == frame.shape:
        return painted
    size, small_size = frame.shape[1::-1], painted.shape[1::-1]
    if small_size[0] >= size[0] and small_size[1] >= size[1]:
        return cv2.resize(painted, size, interpolation=cv2.INTER_AREA)
    light = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY, dst=_room("light", frame.shape[:2]))
    small = _room("small", painted.shape[:2])
    if shrunk is None:
        cv2.resize(light, small_size, dst=small, interpolation=cv2.INTER_AREA)
    else:
        _check("shrunk", shrunk, painted.shape)
        cv2.cvtColor(shrunk, cv2.COLOR_RGB2GRAY, dst=small)
    painted, gain = _follow(painted, small)
    # cubic keeps the strokes crisp; what is subtracted from the frame must not ring, so it is linear
    large = cv2.resize(painted, size, interpolation=cv2.INTER_CUBIC)
    blurred = cv2.resize(small, size, dst=_room("blurred", light.shape))
    return _move(large, blurred, light, cv2.resize(gain, size, dst=_room("gain", light.shape)), CORE)


def _follow(painted: np.ndarray, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The painting moved onto the photograph's contours where it shows them, and the gain of detail (255 for 1).

    uint8 RGB [h, w, 3] and luminance of the photograph [h, w] to uint8 [h, w, 3] and [h / 2, w / 2]. The model is
    fitted in windows of 3 x 3 at half this size, and is the mean of those that overlap at a pixel.
    """
    light = cv2.cvtColor(painted, cv2.COLOR_RGB2GRAY, dst=_room("light of painted", small.shape))
    size, half = small.shape[::-1], (max(1, small.shape[1] // 2), max(1, small.shape[0] // 2))
    p, s = (cv2.resize(x, half).astype(np.float32) for x in (light, small))
    mean_p, mean_s = _mean(p), _mean(s)
    covariance = _mean(p * s) - mean_p * mean_s
    variance_p, variance_s = _mean(p * p) - mean_p * mean_p, _mean(s * s) - mean_s * mean_s
    slope = covariance / (variance_s + FLAT)
    offset = mean_p - slope * mean_s
    gain = (covariance + DETAIL * TELLING) / (variance_s + TELLING)  # the slope, DETAIL where nothing is known
    explained = slope * np.maximum(covariance, 0) / (variance_p + FLAT)  # of the painting's variance: 0 to 1
    slope = cv2.resize(_mean(slope), size, dst=_room("slope", small.shape, np.float32))
    slope *= small
    offset = cv2.resize(_mean(offset), size, dst=_room("offset", small.shape, np.float32))
    fit = cv2.add(slope, offset, dst=_room("fit", small.shape), dtype=cv2.CV_8U)
    share = cv2.resize(_bytes(FOLLOW * explained), size, dst=_room("share", small.shape))
    moved = _room("moved", painted.shape)
    np.copyto(moved, painted)
    return _move(moved, light, fit, share), _bytes(gain)


def _mean(x: np.ndarray) -> np.ndarray:
    return cv2.blur(x, (3, 3))


def _bytes(ratio: np.ndarray) -> np.ndarray:
    """The mean of overlapping windows as uint8: 0 for 0 and less, 255 for 1 and more."""
    scaled: np.ndarray = cv2.multiply(_mean(ratio), 255, dtype=cv2.CV_8U)  # type: ignore[call-overload]  # takes numbers
    return scaled


def _move(picture: np.ndarray, before: np.ndarray, after: np.ndarray, gain: np.ndarray, core: int = 0) -> np.ndarray:
    """picture + gain (after - before), the same to all three channels, in place. Differences shrink by `core` first.

    All uint8: RGB [H, W, 3], luminances before and after [H, W], gain [H, W] (255 for 1). Brighter and darker go
    apart, so that saturating bytes do, three times as fast as signed numbers; in strips that stay in the cache.
    """
    for top in range(0, len(picture), STRIP):
        target, old, new, ratio = (x[top : top + STRIP] for x in (picture, before, after, gain))
        brighter = cv2.subtract(new, old, dst=_room("brighter", old.shape))
        change = cv2.absdiff(new, old, dst=_room("change", old.shape))
        if core:
            cv2.subtract(change, core, dst=change)  # type: ignore[call-overload]  # takes numbers
        cv2.multiply(change, ratio, dst=change, scale=1 / 255)
        cv2.min(brighter, change, dst=brighter)
        darker = cv2.subtract(change, brighter, dst=change)
        three = cv2.cvtColor(brighter, cv2.COLOR_GRAY2RGB, dst=_room("three", target.shape))
        cv2.add(target, three, dst=target)
        cv2.subtract(target, cv2.cvtColor(darker, cv2.COLOR_GRAY2RGB, dst=three), dst=target)
    return picture


kept = threading.local()


def _room(name: str, shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """An array for an intermediate value, of this thread, kept for its next frame.

    Fresh memory for all of them costs as much as the arithmetic: the system hands out and clears it page by page.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = kept.__dict__.get(name)
    if memory is None or memory.size < size:
        memory = np.empty(size, np.uint8)
        if size <= KEPT:
            kept.__dict__[name] = memory
    return memory[:size].view(dtype).reshape(shape)


def _check(name: str, picture: np.ndarray, shape: tuple[int, ...] | None = None) -> None:
    good = picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    if not good or (shape is not None and picture.shape != shape):
        expected = "[H, W, 3]" if shape is None else str(list(shape))
        raise ValueError(f"{name} must be uint8 {expected}, this is {picture.dtype} {list(picture.shape)}")
