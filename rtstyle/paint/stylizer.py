"""Frames in, painted frames out: one ONNX Runtime session and the code of a style."""

from __future__ import annotations

import copy
import os

import cv2
import numpy as np

from rtstyle.errors import RtstyleError, UsageError
from rtstyle.gallery import catalog
from rtstyle.paint.upscale import enlarge
from rtstyle.runtime import classic, cuda, devices

MIN_SIDE = 16
MOST_AT_ONCE = 4  # frames in the net side by side: each needs memory of its own


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Stylizer:
    """Paints frames in a style.

        stylizer = Stylizer("starry-night")
        painted = stylizer(frame)                 # uint8 RGB [H, W, 3] or [N, H, W, 3]
        stylizer.style = "great-wave"             # a small vector changes: no model is loaded

    `style` is a name, a mix such as `starry-night:0.7,great-wave:0.3` or a path to an .onnx file; None takes
    the model's first. `model` is `live`, `studio` or a path. `device` is `auto`, `cpu`, `cuda`, `cuda:1`,
    `tensorrt`, `coreml` or `directml`; `self.device` says which it became and why. `work_height` (pixels) is
    the height at which the net runs, None for the frame's own: less is faster and gives larger strokes.
    `threads` limits the CPU threads of the net.

    Raises RtstyleError (a UsageError for impossible arguments) with a sentence that says what to do.
    """

    def __init__(
        self,
        style: str | None = None,
        *,
        model: str = "live",
        device: str = "auto",
        work_height: int | None = None,
        threads: int | None = None,
    ):
        if work_height is not None and work_height < MIN_SIDE:
            raise UsageError(f"the work height must be at least {MIN_SIDE} pixels, not {work_height}")
        choice = catalog.resolve(style, model)
        self.model = choice.model
        self.work_height = work_height
        self.threads = threads
        self.code, self._label = choice.code, choice.label
        self._device, self._session = self._open(device, threads)

    @property
    def device(self) -> devices.Device:
        """What paints, and why: on a card also how, which may change when a size is painted for the first time."""
        return self._session.device if isinstance(self._session, cuda.Runner) else self._device

    @property
    def half(self) -> bool:
        """Whether it calculates in float16."""
        return isinstance(self._session, cuda.Runner) and self._session.way.half

    def _open(self, name: str, threads: int | None):
        device = devices.choose(name)
        try:
            return device, self._session_on(device, threads)
        except RtstyleError as error:
            if name != "auto" or device.kind == "cpu":
                raise
            fallback = devices.choose("cpu")
            device = devices.Device("cpu", fallback.providers, f"auto: {error}")
            return device, self._session_on(device, threads)

    def _session_on(self, device: devices.Device, threads: int | None):
        if device.kind in devices.ON_CARD and not self.model.classic:
            return cuda.Runner(self.model.path, device, self.code)
        session = devices.open_session(str(self.model.path), device, threads)
        return classic.Classic(session, self.model.classic) if self.model.classic else session

    @property
    def style(self) -> str:
        """What is being painted, as it was asked for."""
        return self._label

    @style.setter
    def style(self, style: str) -> None:
        choice = catalog.resolve(style, str(self.model.path))
        if choice.model.path != self.model.path and (
            choice.model.body_sha256 != self.model.body_sha256 or choice.code is None or self.code is None
        ):
            raise UsageError(f"{style} was made for another body: make a new Stylizer for it")
        self.code, self._label = choice.code, choice.label

    def for_throughput(self) -> tuple[Stylizer, int]:
        """(a stylizer like this one, how many of its `run` should go on at once) for the most frames a second.

        On the CPU frames are then painted next to one another, by one thread each: threads that share a frame wait
        for one another after every layer. On an NVIDIA card one is copied while another is painted. Other devices take
        one batch at a time.
        """
        twin = copy.copy(self)
        if isinstance(self._session, cuda.Runner):
            twin._session = self._session.for_throughput()
            return twin, cuda.LANES
        if self.device.kind != "cpu":
            return self, 1
        threads = self.threads or cores()
        workers = min(threads, MOST_AT_ONCE)
        twin.threads = threads // workers
        twin._session = self._session_on(self._device, twin.threads)
        return twin, workers

    resumable = True  # a frame's painting depends on no other frame

    def abandon(self) -> None:
        """Whoever waits for a painting no longer wants it. Here that is a matter of milliseconds."""

    def __call__(self, frames: np.ndarray, code: np.ndarray | None = None) -> np.ndarray:
        """Paint uint8 RGB [H, W, 3] or [N, H, W, 3], both sides at least 16; same shape out.

        `code` (float32 [K]) replaces the style for this call. Raises ValueError for other types or shapes.
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3:
            raise ValueError(
                f"frames must be uint8 [H, W, 3] or [N, H, W, 3], these are {frames.dtype} {list(frames.shape)}"
            )
        batch = frames if frames.ndim == 4 else frames[None]
        height, width = batch.shape[1:3]
        if min(height, width) < MIN_SIDE:
            raise ValueError(f"frames must be at least {MIN_SIDE} pixels a side, these are {width}x{height}")
        if len(batch) == 0:
            return frames
        small = self.shrink(batch)
        painted = self.run(small, code)
        if painted.shape[1:3] != (height, width):
            painted = np.stack([enlarge(*three) for three in zip(painted, batch, small, strict=True)])
        return painted if frames.ndim == 4 else painted[0]

    def shrink(self, batch: np.ndarray) -> np.ndarray:
        """Frames [N, H, W, 3] at the size at which the net runs: that of the work height, if it leaves the choice."""
        height, width = batch.shape[1:3]
        if self.model.classic and self.model.classic.fixed:
            size = self.model.classic.fitting(height, width)
            return np.stack([classic.resized(frame, *size) for frame in batch])
        if self.work_height is None or self.work_height == height:
            return batch
        size = (max(MIN_SIDE, round(width * self.work_height / height)), self.work_height)
        how = cv2.INTER_AREA if self.work_height < height else cv2.INTER_CUBIC
        return np.stack([cv2.resize(frame, size, interpolation=how) for frame in batch])

    def run(self, batch: np.ndarray, code: np.ndarray | None = None) -> np.ndarray:
        """The net alone: uint8 [N, H, W, 3] to the same, at the size given. Raises RtstyleError if it fails."""
        feed = {"frames": np.ascontiguousarray(batch)}
        if code is None:
            code = self.code
        elif self.code is None:
            raise ValueError(f"{self.model.path.name} has one style built in and takes no code")
        if code is not None:
            code = np.ascontiguousarray(code, np.float32)
            if code.shape != self.code.shape:
                raise ValueError(f"a code of this model has shape {self.code.shape}, this one {code.shape}")
            feed["code"] = code
        try:
            return self._session.run(None, feed)[0]
        except Exception as error:  # ONNX Runtime's own kinds: out of memory, a lost device
            raise RtstyleError(
                f"painting a frame of {batch.shape[2]}x{batch.shape[1]} on {self.device.name} failed "
                f"({devices.first_sentence(error)}): try a smaller --work-height or another --device"
            ) from None
