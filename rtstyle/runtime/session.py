"""What paints frames: a net on a device. All that is above the runtime asks for no more than a `Session`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rtstyle.runtime import devices
from rtstyle.runtime.bounds import Runs

Frames = npt.NDArray[np.uint8]  # RGB, [N, H, W, 3] or [H, W, 3]
Code = npt.NDArray[np.float32]  # of a style, [K]

MAX_WORKERS = 4  # frames in the net at once: each needs memory of its own


class Run(Protocol):
    """Paints frames, uint8 RGB [N, H, W, 3] to the same, at the size given; any thread may call it."""

    def __call__(self, frames: Frames, code: Code | None = None) -> Frames: ...


class Session(Protocol):
    """A net that is ready to paint, on one device."""

    @property
    def device(self) -> devices.Device:
        """Where it runs and why; on a GPU also how, which may change when a size is painted for the first time."""

    @property
    def half(self) -> bool:
        """Whether it calculates in float16."""

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        """Paint uint8 RGB [N, H, W, 3] in the style of a code, float32 [K] (None for a net of one style); uint8 of the
        same shape. Any thread may call it. Raises whatever ONNX Runtime raises."""

    def for_throughput(self) -> tuple[Run, int]:
        """(what paints with the most frames a second, how many threads should call it at once)."""

    def abandon(self) -> None:
        """End what is being painted, in any thread: it raises `bounds.Abandoned`."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_out(device: devices.Device, threads: int | None) -> tuple[int, int | None]:
    """(how many frames to paint at once for the most frames a second, the threads that each of them gets).

    On the CPU frames are painted next to one another: threads that share a frame wait for one another after every
    layer. Other devices take one batch at a time. `threads` is the limit for all together, None for all cores.
    """
    if device.kind != "cpu":
        return 1, threads
    limit = threads or cores()
    workers = min(limit, MAX_WORKERS)
    return workers, limit // workers


class OrtSession:
    """A model of rtstyle's contract in one session of ONNX Runtime with free sizes; `threads` limits the CPU threads.

    Raises RtstyleError if the device does not start or the file is not a model.
    """

    half = False

    def __init__(self, path: Path, device: devices.Device, threads: int | None = None, *, runs: Runs | None = None):
        self.device = device
        self._path, self._threads = path, threads
        self._session = devices.open_session(str(path), device, threads)
        self._runs = runs or Runs(path.name, limited=device.kind == "cpu")
        self.abandon = self._runs.abandon

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        feed = {"frames": np.ascontiguousarray(frames)} | ({} if code is None else {"code": code})
        return self._runs.run(lambda options: self._session.run(None, feed, options)[0], frames.shape)

    def for_throughput(self) -> tuple[Run, int]:
        workers, threads = share_out(self.device, self._threads)
        if workers == 1:
            return self.run, 1
        return OrtSession(self._path, self.device, threads, runs=self._runs).run, workers
