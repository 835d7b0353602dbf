"""Small paintings of one frame in every style, made in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import cv2
import numpy as np

from rtstyle.errors import RtstyleError
from rtstyle.gallery.model_file import Style
from rtstyle.paint.painter import FramePainter
from rtstyle.runtime.session import Frames

HEIGHT = 180  # pixels at which the net paints them on a processor: with so few a gallery takes a fraction of a second
SHARE = 0.1  # of the time that painting them may take: the live picture comes first ...
PATIENCE = 5.0  # seconds for the last painting to end
SECONDS = 4.5  # ... but nobody waits longer than that


class Thumbnails:
    """`pictures` of the styles of a gallery by name, as far as there are any; `version` counts what came.

    `paint` has all of them painted anew from a frame, by a thread of its own that rests nine tenths of the time. The
    gallery may grow and shrink meanwhile.
    """

    def __init__(self, stylizer: FramePainter, styles: Sequence[Style]):
        self._stylizer, self._styles = stylizer, styles
        self.pictures: dict[str, Frames] = {}
        self.version = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def paint(self, frame: Frames, *, missing: bool = False) -> None:
        """Paint uint8 RGB [H, W, 3] in every style, or only in those that have no picture, unless that is going on
        already. The pictures so far stay until theirs come."""
        if self.busy or self._stop.is_set():
            return
        styles = [style for style in self._styles if not missing or style.name not in self.pictures]
        if not styles:
            return
        self._thread = threading.Thread(target=self._work, args=(frame, styles), name="thumbnails", daemon=True)
        self._thread.start()

    def _work(self, frame: Frames, styles: Sequence[Style]) -> None:
        small = self._sized(frame)
        for style in styles:
            began = time.monotonic()
            try:
                code = None if self._stylizer.code is None else style.code
                self.pictures[style.name] = self._stylizer.run(small[None], code)[0]
            except RtstyleError:  # the live picture meets the same error, and tells it
                return
            self.version += 1
            taken = time.monotonic() - began
            if self._stop.wait(max(0.0, min(taken / SHARE, SECONDS / len(styles)) - taken)):
                return

    def _sized(self, frame: Frames) -> Frames:
        """The frame at the size that is painted: that of the live picture where another one would have to be prepared
        first, as on GPUs and by nets of one size."""
        height, width = self._stylizer.working_size(*frame.shape[:2])
        if self._stylizer.device.on_processor and self._stylizer.code is not None:
            scale = min(1.0, HEIGHT / min(frame.shape[:2]))
            height, width = (max(16, round(scale * side)) for side in frame.shape[:2])
        return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def stop(self) -> None:
        """Paint no more of them; the one that is being painted ends by itself, or is abandoned with its session."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the last one to be painted."""
        if self._thread:
            self._thread.join(PATIENCE)
