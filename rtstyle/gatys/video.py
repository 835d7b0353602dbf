"""Gatys mode for short clips: every frame optimised, from the last one's painting moved along the optical flow.

Ruder, Dosovitskiy and Brox, "Artistic Style Transfer for Videos", GCPR 2016. Minutes a frame on a CPU.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from rtstyle.errors import RtstyleError, UsageError
from rtstyle.gallery.model_file import Style
from rtstyle.gatys import optimize
from rtstyle.gatys.pictures import StylePicture, recolored
from rtstyle.media.images import read_image
from rtstyle.paint.scene_cuts import CutDetector
from rtstyle.paint.warping import grid, warp
from rtstyle.perceptual import vgg as perceptual
from rtstyle.runtime.devices import Device
from rtstyle.runtime.session import Code, Frames, Run

SHARE = 4  # later frames have so many times fewer iterations than the first of a scene
WEIGHT = 1.0  # of the squared difference from the past, a pixel's colour: more leaves ghosts of what moved


class GatysStylizer:
    """A `FramePainter` for `stylize_video`, in place of a `Stylizer`: frames must come in their order.

    The first frame of a scene is painted as `gatys` paints a picture, with `settings.steps` iterations. Each later one
    starts from the last painting, moved along the optical flow (section 4.1), and is held to it where the flow can be
    trusted (section 4.2), with a quarter of the iterations.
    """

    code: Code | None = None
    work_height: int | Literal["auto", "full"] = "auto"
    resumable = False

    def __init__(self, picture: str | os.PathLike[str], settings: optimize.Settings | None = None):
        self.settings = (settings or optimize.Settings()).check()
        style = read_image(picture)
        self.path, self.style = Path(picture), Path(picture).stem
        self._styles = [StylePicture(style.rgb, own_mask=style.alpha)]
        name = str(perceptual.pick_device(self.settings.device))
        self.device = Device(name, [], "Gatys mode is slow: every frame is optimised")
        self.reference_height = self.settings.size
        self._vgg = optimize.load_vgg(self.settings)
        self._later = dataclasses.replace(self.settings, pyramid=False, steps=max(1, self.settings.steps // SHARE))
        self._stopped = threading.Event()
        self._cuts = CutDetector()
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # the last photograph, and its painting before rounding

    def gallery(self) -> Sequence[Style]:
        """There is the picture's style only."""
        return ()

    def code_of(self, style: str) -> Code:
        """Raises UsageError: a picture's style has no code."""
        raise UsageError(f"Gatys mode paints in the style of one picture: it cannot change to {style}")

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which a frame is painted: as large as the settings say, never larger than it is."""
        if max(height, width) <= self.settings.size:
            return height, width
        tall, wide = optimize.sizes((height, width), self.settings)[-1]
        return tall, wide

    def for_throughput(self) -> tuple[Run, int]:
        """Frame by frame: each depends on the last."""
        return self.run, 1

    def abandon(self) -> None:
        """Stop at the next iteration."""
        self._stopped.set()

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        """The next frames, uint8 RGB [N, h, w, 3] at their working size, painted. Raises RtstyleError."""
        return np.stack([self._next(frame) for frame in frames])

    def _next(self, frame: np.ndarray) -> np.ndarray:
        last = None if self._cuts(frame) else self._last
        if last and last[0].shape != frame.shape:
            last = None
        settings = dataclasses.replace(self._later if last else self.settings, size=max(frame.shape[:2]))
        before = None
        if last:
            photograph, raw = last
            palette = settings.start == "palette"
            revealed = recolored(frame, self._styles, settings) if palette else frame
            before = moved(raw, photograph, frame, revealed=revealed)
        result = optimize.render(frame, self._styles, settings, self._mind, before=before, vgg=self._vgg)
        if result.ended != "done":
            raise RtstyleError(f"the painting of a frame ended early: {result.ended}")
        self._last = frame, result.raw
        return result.picture

    def _mind(self, progress: optimize.Progress) -> None:
        if self._stopped.is_set():
            raise KeyboardInterrupt


def moved(raw: np.ndarray, then: np.ndarray, now: np.ndarray, revealed: np.ndarray | None = None) -> optimize.Before:
    """The painting `raw` of the photograph `then` where the photograph `now` would have it; all [H, W, 3].

    Where the flow cannot be trusted the start is `revealed`, by default `now`.
    """
    revealed = now if revealed is None else revealed
    flow, trust = trusted_flow(now, then)
    warped = warp(raw, grid(*flow.shape[1::-1]) + flow, interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(trust, (0, 0), 1.5)[..., None]
    start = np.clip(soft * warped + (1 - soft) * revealed, 0, 255).astype(np.float32)
    return optimize.Before(start, trust, WEIGHT)


def trusted_flow(now: np.ndarray, then: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """now(x) is about then(x + flow(x)), float32 [H, W, 2]; and 1 where that holds, 0 where something came into sight,
    at the edges of motion and outside `then`, [H, W] (Ruder et al., eqs. 5 and 6, on grey uint8 [H, W, 3])."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey_now, grey_then = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (now, then))
    flow: np.ndarray = dis.calc(grey_now, grey_then, None)  # type: ignore[call-overload]  # takes no flow to begin with
    back: np.ndarray = dis.calc(grey_then, grey_now, None)  # type: ignore[call-overload]
    places = grid(*flow.shape[1::-1]) + flow
    returned = warp(back, places)
    there, again = np.square(flow).sum(2), np.square(returned).sum(2)
    hidden = np.square(flow + returned).sum(2) > 0.01 * (there + again) + 0.5
    slopes = sum(np.square(np.gradient(flow[..., i], axis=axis)) for i in (0, 1) for axis in (0, 1))
    edge = slopes > 0.01 * there + 0.002
    height, width = there.shape
    outside = (places < 0).any(2) | (places[..., 0] > width - 1) | (places[..., 1] > height - 1)
    return flow, (~(hidden | edge | outside)).astype(np.float32)
