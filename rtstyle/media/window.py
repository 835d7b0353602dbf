"""The window, through OpenCV. All of it belongs to the main thread."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import socket
import sys
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from rtstyle.errors import DeviceError

MAX_SIZE = 1280, 720  # width and height of a new window; larger pictures are shown smaller, or it might not fit
MIN_SIZE = 270  # the short side of a new window, at least, or nothing in it could be read
TITLE = "rtstyle"
MOUSE_EVENTS = 256  # that are kept for whoever asks
SAME_KEYS = {"z": "X"}  # the one key that OpenCV's Qt windows cannot tell from another: to them X is x


def has_display() -> bool:
    """Whether a window can be opened here. OpenCV itself ends the program where it cannot."""
    if not sys.platform.startswith("linux"):
        return True
    if os.environ.get("WAYLAND_DISPLAY") and not _speaks_x_only():
        return True
    return _x_answers(os.environ.get("DISPLAY", ""))


def _speaks_x_only() -> bool:
    """Whether this OpenCV brings its own Qt, which on Linux knows X11 only."""
    platforms = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms"
    return platforms.is_dir() and not any(platforms.glob("*wayland*"))


def _x_answers(display: str) -> bool:
    """Whether an X server listens at a display such as `:0` or `host:10.0`."""
    host, _, number = display.rpartition(":")
    number = number.partition(".")[0]
    if not number.isdecimal():
        return False
    places: list[tuple[socket.AddressFamily, str | tuple[str, int]]]
    if host in ("", "unix"):
        places = [(socket.AF_UNIX, f"{start}/tmp/.X11-unix/X{number}") for start in ("\0", "")]
    else:
        places = [(socket.AF_INET, (host, 6000 + int(number)))]
    for family, place in places:
        with contextlib.suppress(OSError), socket.socket(family) as connection:
            connection.settimeout(3)
            connection.connect(place)
            return True
    return False


def av_came_first() -> bool:
    """Whether this program imported av before cv2: on Linux their clashing xcb libraries make a window hang."""
    order = list(sys.modules)
    return sys.platform.startswith("linux") and "av" in order and order.index("av") < order.index("cv2")


@dataclasses.dataclass(frozen=True)
class Mouse:
    """What the mouse did, at a pixel of the picture that was shown last. Wheels turn by `steps`, away from the user
    above 0."""

    what: Literal["move", "press", "drag", "release", "wheel"]
    x: int
    y: int
    steps: int = 0


class Window:
    """An OpenCV window: `show` pictures that fill it, `poll` for keys. `closed` is set when the user closed it; `mouse`
    is what the mouse has done, for whoever takes it from there.

    Raises RtstyleError where a window could only hang.
    """

    def __init__(self) -> None:
        if av_came_first():
            raise DeviceError(
                "the window cannot open because this program imported av before cv2, which makes OpenCV hang on "
                "Linux: import cv2 before av"
            )
        if sys.platform.startswith("linux") and _speaks_x_only():
            os.environ["QT_QPA_PLATFORM"] = "xcb"  # Wayland desktops set another, and Qt would end the program
        self._shown = False
        self._fitted: tuple[int, int] | None = None  # shape of the picture that the window was fitted to ...
        self._size = (0, 0)  # ... and the width and height that it was given since then
        self._resized = False  # whether it has had that size
        self.closed = self.full_screen = False
        self.mouse: collections.deque[Mouse] = collections.deque(maxlen=MOUSE_EVENTS)
        # the ratio is kept by whoever fills the window: OpenCV would leave white bars beside the picture
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.setMouseCallback(TITLE, self._note_mouse)

    def _note_mouse(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        if event == cv2.EVENT_MOUSEWHEEL:
            self.mouse.append(Mouse("wheel", x, y, 1 if flags > 0 else -1))
        elif event in (cv2.EVENT_LBUTTONDOWN, cv2.EVENT_LBUTTONDBLCLK):
            self.mouse.append(Mouse("press", x, y))
        elif event == cv2.EVENT_LBUTTONUP:
            self.mouse.append(Mouse("release", x, y))
        elif event == cv2.EVENT_MOUSEMOVE:
            self.mouse.append(Mouse("drag" if flags & cv2.EVENT_FLAG_LBUTTON else "move", x, y))

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """The window takes a picture's size (height, width), enlarged where nothing could be read in it, until the user
        gives it another; (height, width) of what it shows, for `show`."""
        now = cv2.getWindowImageRect(TITLE)[2:]
        has_it = max(abs(a - b) for a, b in zip(now, self._size, strict=True)) <= 2  # rounding
        self._resized = self._resized or has_it
        if (height, width) != self._fitted and not self.full_screen:
            if has_it or not self._resized:  # a window manager takes its time: another size is not yet the user's
                self._resized = False
                scale = min(max(1, -(-MIN_SIZE // min(height, width))), MAX_SIZE[0] / width, MAX_SIZE[1] / height)
                now = self._size = round(scale * width), round(scale * height)
                cv2.resizeWindow(TITLE, *self._size)
            self._fitted = height, width
        return (now[1], now[0]) if min(now) > 0 else (height, width)

    def show(self, rgb: np.ndarray) -> None:
        """Show uint8 RGB [H, W, 3]; it fills the window."""
        self._shown = True
        cv2.imshow(TITLE, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def poll(self) -> str | None:
        """The key that was pressed since the last call, or None. Never waits."""
        key = cv2.pollKey() & 0xFFFF  # above that some toolkits have shift and its like
        if self._shown and self._was_closed():
            self.closed = True
            return None
        if key > 0x7F:  # no key, or one without a letter: Insert is 0xFF63, and 0x63 is c
            return None
        return SAME_KEYS.get(chr(key), chr(key))

    def _was_closed(self) -> bool:
        try:
            return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:  # OpenCV's Qt windows: closing the last one takes their toolkit away
            return True

    def toggle_full_screen(self) -> None:
        self.full_screen = not self.full_screen
        state = cv2.WINDOW_FULLSCREEN if self.full_screen else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, state)

    def close(self) -> None:
        with contextlib.suppress(cv2.error):
            cv2.destroyAllWindows()
            cv2.waitKey(1)
