"""Live frames as a camera that meeting programs can choose."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from rtstyle.errors import DeviceError, RtstyleError, install
from rtstyle.media.images import fit

INSTALL_HINTS = {
    "linux": "install v4l2loopback (Debian, Ubuntu: sudo apt install v4l2loopback-dkms), then load it (sudo modprobe "
    "v4l2loopback exclusive_caps=1 card_label=rtstyle)",
    "darwin": "install OBS (https://obsproject.com), start it once and press Start Virtual Camera",
    "win32": "install OBS (https://obsproject.com) and start it once",
}


class VirtualCamera:
    """A sink that shows frames as a camera which meeting programs can choose, in a thread of its own: the newest wins.

    `device` names one of several virtual cameras; `backend` one of pyvirtualcam's. Raises RtstyleError where
    there is no virtual camera, with what to install on this system. `frames` counts what was sent.
    """

    def __init__(self, fps: float = 30.0, device: str | None = None, backend: str | None = None):
        try:
            import pyvirtualcam
        except ImportError:
            raise DeviceError(f"a virtual camera needs pyvirtualcam: {install('virtual-cam')}") from None
        self._open_camera: Callable[[int, int], Any] = lambda width, height: pyvirtualcam.Camera(
            width, height, fps, device=device, backend=backend, fmt=pyvirtualcam.PixelFormat.RGB
        )
        self._camera = self._open(640, 480)  # small, so that a missing driver is heard of before the camera starts
        self.device: str = self._camera.device
        self._sized = False
        self.frames = 0
        self.error: RtstyleError | None = None
        self._slot: np.ndarray | None = None
        self._changed, self._stop = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="virtual camera", daemon=True)
        self._thread.start()

    def _open(self, width: int, height: int) -> Any:
        try:
            return self._open_camera(width, height)
        except Exception as error:  # pyvirtualcam and its backends raise RuntimeError, KeyError and their own
            hint = next((text for system, text in INSTALL_HINTS.items() if sys.platform.startswith(system)), "")
            problem = " ".join(str(error).split()).rstrip(".")
            raise DeviceError(f"no virtual camera is available ({problem}): {hint}") from None

    def write(self, _seconds: float, rgb: np.ndarray, /) -> None:
        """Show uint8 RGB [H, W, 3]. Never waits."""
        with self._changed:
            self._slot = rgb
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot is not None or self._stop)
                rgb, self._slot = self._slot, None
            if rgb is None:
                return
            try:
                self._send(rgb)
            except Exception as error:
                self.error = DeviceError(f"the virtual camera stopped ({error})")
                return

    def _send(self, rgb: np.ndarray) -> None:
        if not self._sized:  # the first frame's size stays: a program that watches cannot follow a change
            height, width = (side - side % 2 for side in rgb.shape[:2])  # drivers convert to 4:2:0
            if (self._camera.width, self._camera.height) != (width, height):
                self._camera.close()
                self._camera = self._open(width, height)
            self._sized = True
        self._camera.send(np.ascontiguousarray(fit(rgb, self._camera.width, self._camera.height)))
        self.frames += 1

    def close(self) -> None:
        """Take the virtual camera down."""
        with self._changed:
            self._stop = True
            self._changed.notify()
        self._thread.join(timeout=5)
        with contextlib.suppress(Exception):
            self._camera.close()

    def abandon(self) -> None:
        """As `close`."""
        self.close()
