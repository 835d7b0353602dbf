"""Camera to window: the frame loop."""

from __future__ import annotations

import os
import sys
import time

from rtstyle.catalog import styles
from rtstyle.media.camera import NewestFrame, Show
from rtstyle.stylizer import Stylizer


def has_display() -> bool:
    """Whether a window can be opened here."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def run(capture, show: Show, stylizer: Stylizer, *, seconds: float | None = None) -> dict[str, float]:
    """Paint the newest frame, show it, obey keys: 1 to 9 and n / p choose the style, q or Esc ends.

    `capture` has `read()` and `release()` as cv2.VideoCapture; `show(rgb)` returns a key or None. Returns how
    many frames were painted and captured and how long it took.
    """
    names = [style.name for style in styles(str(stylizer.model.path))]
    at = names.index(stylizer.style) if stylizer.style in names else 0
    newest = NewestFrame(capture)
    number = painted = 0
    started = time.monotonic()
    try:
        while seconds is None or time.monotonic() - started < seconds:
            number, frame = newest.next(number)
            key = show(stylizer(frame))
            painted += 1
            if key == "q":
                break
            chosen = _choose(key, at, len(names))
            if chosen != at:
                at = chosen
                stylizer.style = names[at]
    finally:
        newest.close()
    return {"painted": painted, "captured": number, "seconds": time.monotonic() - started}


def _choose(key: str | None, at: int, count: int) -> int:
    if key == "n":
        return (at + 1) % count
    if key == "p":
        return (at - 1) % count
    if key and key in "123456789" and int(key) <= count:
        return int(key) - 1
    return at
