"""The screen as a live source: all of it, one of several, or a region."""

from __future__ import annotations

import re
import threading
from typing import Any

import cv2
import numpy as np

from rtstyle.errors import DeviceError, InputError, install
from rtstyle.media.capture import CLOCK, Clock

FPS = 30.0
MIN_SIDE = 16  # pixels
FORMS = "screen, screen:2 or screen:X,Y,WxH"


def is_screen(source: str) -> bool:
    """Whether what people write means the screen."""
    return source == "screen" or source.startswith("screen:")


class Screen:
    """The screen, `fps` times a second: `screen`, `screen:2` for the second of several, `screen:X,Y,WxH` for a region
    in pixels of the whole desktop.

    Raises RtstyleError if there is no such screen or region.
    """

    returns = True

    def __init__(self, source: str = "screen", *, fps: float | None = None, clock: Clock = CLOCK):
        try:
            import mss
        except ImportError:
            raise DeviceError(f"painting the screen needs mss: {install('screen')}") from None
        self._mss = mss
        self._period, self._clock = 1 / (fps or FPS), clock
        self._woken = threading.Event()
        self._due = clock.now()
        self._grabber: Any = None  # of the thread that reads: X11's connections belong to threads
        with self._open() as grabber:
            self._region = _region(source, grabber.monitors)

    def _open(self) -> Any:
        try:
            return self._mss.MSS()
        except Exception as error:  # mss' own kinds, and what it lets through where there is no display
            raise DeviceError(f"the screen cannot be seen here ({' '.join(str(error).split())})") from None

    def read(self) -> np.ndarray | None:
        if self._clock.wait(self._woken, max(0.0, self._due - self._clock.now())):
            return None
        self._due = max(self._due + self._period, self._clock.now())
        if self._grabber is None:
            self._grabber = self._open()
        try:
            shot = self._grabber.grab(self._region)
        except Exception:  # the display is gone, or locked: it is waited for
            return None
        pixels = np.frombuffer(shot.bgra, np.uint8).reshape(shot.height, shot.width, 4)
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB))

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        grabber, self._grabber = self._grabber, None
        if grabber is not None:
            grabber.close()


def _region(source: str, monitors: list[dict[str, Any]]) -> dict[str, int]:
    """The part of the desktop that is meant, of what mss says: the whole desktop first, then every screen."""
    desktop, *screens = [{side: int(m[side]) for side in ("left", "top", "width", "height")} for m in monitors]
    words = source.partition(":")[2]
    if words == "" or words.isdecimal():
        number = int(words or 1)
        if not 1 <= number <= len(screens):
            raise InputError(f"there is no screen {number}: there {_count(len(screens))}")
        return screens[number - 1]
    match = re.fullmatch(r"(-?\d+),(-?\d+),(\d+)x(\d+)", words)
    if not match:
        raise InputError(f"{source} is not a screen: write {FORMS}")
    left, top, width, height = map(int, match.groups())
    if min(width, height) < MIN_SIDE:
        raise InputError(f"the region {words} is too small: it must be at least {MIN_SIDE} x {MIN_SIDE} pixels")
    right, bottom = desktop["left"] + desktop["width"], desktop["top"] + desktop["height"]
    if left < desktop["left"] or top < desktop["top"] or left + width > right or top + height > bottom:
        raise InputError(
            f"the region {words} is not all on the screen, which goes from {desktop['left']},{desktop['top']} to "
            f"{right},{bottom}"
        )
    return {"left": left, "top": top, "width": width, "height": height}


def _count(screens: int) -> str:
    return "is one" if screens == 1 else f"are {screens}"
