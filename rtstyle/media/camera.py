"""Cameras through OpenCV: a thread that keeps only the newest frame."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from rtstyle.errors import RtstyleError


def has_camera() -> bool:
    """Whether a camera seems to be there, without opening one where the system can say so."""
    if sys.platform.startswith("linux"):
        return any(Path("/dev").glob("video*"))
    return True  # opening it is the only way to know


def open_camera(index: int = 0) -> cv2.VideoCapture:
    """An opened camera. Raises RtstyleError if it cannot be opened or gives no picture."""
    previous = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        # asked for at construction: some drivers ignore later changes, and without MJPG give a few frames a second
        capture = cv2.VideoCapture(
            index,
            cv2.CAP_ANY,
            [
                cv2.CAP_PROP_FOURCC,
                cv2.VideoWriter.fourcc(*"MJPG"),
                cv2.CAP_PROP_FRAME_WIDTH,
                640,
                cv2.CAP_PROP_FRAME_HEIGHT,
                480,
            ],
        )
        if not capture.isOpened():
            capture = cv2.VideoCapture(index)
    finally:
        cv2.utils.logging.setLogLevel(previous)
    if not capture.isOpened():
        raise RtstyleError(f"camera {index} cannot be opened: is it plugged in, and free?")
    return capture


class NewestFrame:
    """Reads a capture in a thread and keeps the newest frame only: a slow consumer drops frames, never lags.

    `capture` is anything with `read() -> (ok, BGR frame)` and `release()`.
    """

    def __init__(self, capture):
        self._capture = capture
        self._changed = threading.Condition()
        self._frame: np.ndarray | None = None
        self._number = 0
        self._running = True
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while self._running:
            ok, frame = self._capture.read()
            with self._changed:
                if ok and frame is not None:
                    self._frame, self._number = frame, self._number + 1
                else:
                    self._running = False
                self._changed.notify_all()

    def next(self, after: int, timeout: float = 5.0) -> tuple[int, np.ndarray]:
        """(number, RGB frame) of the newest frame with a number above `after`, waiting for it if need be.

        Raises RtstyleError when the source ended or gave nothing for `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._number <= after:
                if not self._running:
                    raise RtstyleError("the camera stopped giving pictures")
                if not self._changed.wait(deadline - time.monotonic()) and self._number <= after:
                    raise RtstyleError(f"the camera gave no picture for {timeout:g} seconds")
            number, frame = self._number, self._frame
        return number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        self._running = False
        self._thread.join(timeout=2)
        self._capture.release()


class Window:
    """An OpenCV window. `show` returns the key that was pressed, `q` when the window was closed, or None."""

    def __init__(self, title: str = "rtstyle"):
        self._title = title
        self._shown = False
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def show(self, rgb: np.ndarray) -> str | None:
        cv2.imshow(self._title, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        if not self._shown:
            cv2.resizeWindow(self._title, rgb.shape[1], rgb.shape[0])
        key = cv2.pollKey() & 0xFF if self._shown else cv2.waitKey(1) & 0xFF
        if self._shown and self._was_closed():
            return "q"
        self._shown = True
        return None if key == 0xFF else {27: "q"}.get(key, chr(key))

    def _was_closed(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:  # OpenCV's Qt windows: closing the last one takes their toolkit away
            return True

    def close(self) -> None:
        with contextlib.suppress(cv2.error):
            cv2.destroyAllWindows()
            cv2.waitKey(1)


Show = Callable[[np.ndarray], "str | None"]
