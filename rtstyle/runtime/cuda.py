"""Painting on NVIDIA cards, by CUDA or TensorRT: what a session needs beyond a provider's name to be fast there.

- A session for every size of frame and number of frames, with nothing left free: shapes are constants then, and the
  work can be captured once as a CUDA graph and replayed, which spares the processor a launch for every operation.
- Its frames, code and painting stay in memory of the card that is reserved once (I/O binding).
- Calculation in float16, see rtstyle.runtime.device_form.
- Several `lanes` to each size: while one calculates, the next copies its frames.

What cannot be had is done without, and so is, on CUDA, what does not paint what the CPU paints; `device.why` says so.
(TensorRT is not compared: it would have to build an engine first, for minutes.)

Frames are copied from where they are and to where they are wanted. Page-locked memory in between would be copied to
and from as well, and ONNX Runtime's Python offers it (`OrtEpDevice.memory_info`) only where CUDA is a plug-in, which
it is not in the onnxruntime-gpu 1.31 of PyPI.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import functools
import hashlib
import json
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import platformdirs

from rtstyle.errors import RtstyleError
from rtstyle.runtime import devices

KEPT = 3  # sizes that stay open: each takes memory of the card
TRIED = 64  # pixels a side of the first picture
FAR = 1.0  # grey levels, mean, that a painting may lie from the CPU's
LANES = 2  # where a lane more than one helps


@dataclasses.dataclass(frozen=True)
class Way:
    """How to calculate. `half` in float16; `graph` captures CUDA graphs; `nhwc` has channels last within CUDA's
    convolutions; without `bound` every run has memory of its own."""

    half: bool = True
    graph: bool = True
    nhwc: bool = False
    bound: bool = True

    def __str__(self) -> str:
        words = ["float16" if self.half else "float32"]
        words += [name for name, on in (("CUDA graphs", self.graph), ("NHWC", self.nhwc)) if on]
        return ", ".join(words if self.bound else [*words, "no I/O binding"])


def ways(kind: str) -> tuple[Way, ...]:
    """What to try on a kind of device, the best first."""
    if kind not in devices.ON_CARD:
        return (Way(half=False, graph=False),)
    return Way(), Way(graph=False), Way(half=False), Way(half=False, graph=False)


class Lane:
    """A session of one size with memory of its own, in a thread of its own: CUDA graphs belong to threads."""

    def __init__(self, open_session: Callable[[], ort.InferenceSession], shape: tuple[int, ...], place, bound: bool):
        """`place` is what the memory is on, such as ("cuda", 0). Raises whatever ONNX Runtime does."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")
        try:
            self._thread.submit(self._begin, open_session, shape, place, bound).result()
        except BaseException:
            self.close()
            raise

    def _begin(self, open_session, shape, place, bound: bool) -> None:
        self.session = open_session()
        self._binding = self.session.io_binding() if bound else None
        inputs = {item.name: item for item in self.session.get_inputs()}
        if bound:
            self._frames = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, *place)
            self._painted = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, *place)
            self._binding.bind_ortvalue_input("frames", self._frames)
            self._binding.bind_ortvalue_output("stylized", self._painted)
            if "code" in inputs:
                self._code = ort.OrtValue.ortvalue_from_shape_and_type(inputs["code"].shape, np.float32, *place)
                self._binding.bind_ortvalue_input("code", self._code)
        self._last_code: np.ndarray | None = None  # that is in self._code
        # the first run searches for algorithms and captures the graph: here, where a failure has a way back
        zeros = {"frames": np.zeros(shape, np.uint8)}
        self._run(zeros | ({"code": np.zeros(inputs["code"].shape, np.float32)} if "code" in inputs else {}))

    def run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """Paints frames of exactly this lane's shape; the array returned is the caller's own."""
        return self._thread.submit(self._run, feed).result()

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        if self._binding is None:
            return self.session.run(None, feed)[0]
        self._frames.update_inplace(feed["frames"])
        code = feed.get("code")
        if code is not None and not np.array_equal(code, self._last_code):
            self._code.update_inplace(code)
            self._last_code = code.copy()
        self.session.run_with_iobinding(self._binding)
        painted = self._painted.numpy()  # a copy, except of memory that is not on a card
        return painted.copy() if self._painted.device_name() == "cpu" else painted

    def close(self) -> None:
        self._thread.shutdown()


@dataclasses.dataclass
class _Known:
    """What is left to try, the way in use first, and why others are not; the same for a runner and its twin."""

    ways: tuple[Way, ...]
    given_up: list[str]


class Runner:
    """Runs a model of rtstyle's contract like an InferenceSession whose sizes are free, from any thread.

    `code` (float32 [K], None for a model of one style) is for a first small picture; `wanted` are the ways to try,
    the best first. `device` says how it is done and, in `why`, what had to be given up. Raises RtstyleError if the
    device does not start, or cannot run the model at all.
    """

    def __init__(
        self,
        path: str | Path,
        device: devices.Device,
        code: np.ndarray | None = None,
        wanted: tuple[Way, ...] | None = None,
    ):
        self.path, self._device = Path(path), device
        self._known = _Known(wanted or ways(device.kind), [])
        self._twin: Runner | None = None
        self._nothing_open(lanes=1)
        if device.kind == "tensorrt":  # an engine takes minutes to build: not for a trial
            devices.open_session(self._model(False), device)
        else:
            self._try_out(code)

    def _nothing_open(self, lanes: int) -> None:
        self._open: OrderedDict[tuple[int, ...], queue.LifoQueue[Lane]] = OrderedDict()
        self._opening = threading.Lock()
        self._lanes, self._free = lanes, threading.Semaphore(lanes)

    def for_throughput(self) -> Runner:
        """One like this that paints LANES pictures at once, for as many threads; always the same."""
        if self._twin is None:
            self._twin = copy.copy(self)
            self._twin._nothing_open(LANES)
        return self._twin

    @property
    def way(self) -> Way:
        """How it calculates, as far as is known yet."""
        return self._known.ways[0]

    @property
    def device(self) -> devices.Device:
        how = "; ".join([str(self.way), *self._known.given_up])
        return dataclasses.replace(self._device, why=f"{self._device.why} ({how})")

    def get_providers(self) -> list[str]:
        return [provider if isinstance(provider, str) else provider[0] for provider in self._device.providers]

    def run(self, _outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """{"frames": uint8 [N, H, W, 3], "code": float32 [K] or absent} to [uint8 [N, H, W, 3]].

        Batches are filled up to 1, 2, 4, 8, ... frames, so that few sizes of them are opened. Raises RtstyleError if
        no way of running this size works.
        """
        frames = feed["frames"]
        count, full = len(frames), 1 << (len(frames) - 1).bit_length()
        if full > count:
            feed = feed | {"frames": np.concatenate([frames, frames[-1:].repeat(full - count, 0)])}
        shape = (full, *frames.shape[1:])
        while True:
            with self._free:
                if lanes := self._open.get(shape):
                    self._open.move_to_end(shape)
                    lane = lanes.get()
                    try:
                        return [lane.run(feed)[:count]]
                    finally:
                        lanes.put(lane)
            self._open_lanes(shape)

    def _open_lanes(self, shape: tuple[int, ...]) -> None:
        """Nothing of this runner runs meanwhile: whatever is asked of a card while it captures a graph breaks that."""
        with self._opening, contextlib.ExitStack() as stack:
            for _ in range(self._lanes):
                stack.enter_context(self._free)
            if shape in self._open:  # another thread was first
                return
            while len(self._open) >= KEPT:
                self._close(self._open.popitem(last=False)[1])
            self._open[shape] = self._lanes_for(shape)

    def _lanes_for(self, shape: tuple[int, ...]) -> queue.LifoQueue[Lane]:
        """The lanes of a size, on the first way that works; those before it are given up."""
        errors: list[str] = []  # no exceptions: they would keep the memory of the session that failed
        for number, way in enumerate(self._known.ways):
            try:
                lanes = self._lanes_on(way, shape)
            except Exception as error:  # ONNX Runtime's own kinds, ValueError of device_form
                errors.append(devices.first_sentence(error))
                continue
            if number:
                self._known.given_up.append(f"no {self.way}: {errors[0]}")
                self._known.ways = self._known.ways[number:]
            return lanes
        raise RtstyleError(errors[0])

    def _lanes_on(self, way: Way, shape: tuple[int, ...]) -> queue.LifoQueue[Lane]:
        lanes: queue.LifoQueue[Lane] = queue.LifoQueue()
        while lanes.qsize() < self._lanes:
            try:
                lanes.put(self._lane(shape, way))
            except Exception:
                if not self._open:
                    if lanes.qsize():  # no memory for another: those that there are take turns
                        break
                    raise
                for other in list(self._open):  # perhaps it is the memory that other sizes keep
                    self._close(self._open.pop(other))
        return lanes

    @staticmethod
    def _close(lanes: queue.LifoQueue[Lane]) -> None:
        while not lanes.empty():
            lanes.get().close()

    def _lane(self, shape: tuple[int, ...], way: Way) -> Lane:
        device = self._device.with_options(self._options(shape, way)) if self._device.kind != "cpu" else self._device
        model = self._model(way.half and device.kind != "tensorrt")  # TensorRT chooses what to do in float16
        sizes = dict(zip("NHW", shape, strict=False))
        place = ("cuda", device.index) if device.kind in devices.ON_CARD else ("cpu", 0)
        return Lane(lambda: devices.open_session(model, device, sizes=sizes), shape, place, way.bound)

    def _options(self, shape: tuple[int, ...], way: Way) -> dict[str, str]:
        if self._device.kind == "cuda":
            return {"enable_cuda_graph": str(int(way.graph and way.bound)), "prefer_nhwc": str(int(way.nhwc))}
        return tensorrt_options(self.path, self._device, shape, way)

    def _model(self, half: bool) -> bytes:
        try:
            return _form(self.path, self.path.stat().st_mtime_ns, half)
        except ValueError:  # it keeps the contract, but was written by another program
            if half:
                raise
            return self.path.read_bytes()

    def _try_out(self, code: np.ndarray | None) -> None:
        """A small picture: whether the device starts, and paints what the CPU paints; ways that do not are given up."""
        coarse = np.random.default_rng(0).integers(0, 256, (1, TRIED // 8, TRIED // 8, 3), np.uint8)
        feed = {"frames": np.ascontiguousarray(coarse.repeat(8, 1).repeat(8, 2))}
        feed |= {} if code is None else {"code": code}
        wanted = devices.open_session(str(self.path), devices.choose("cpu"), threads=1).run(None, feed)[0]
        while True:
            apart = float(np.abs(self.run(None, feed)[0].astype(np.float32) - wanted).mean())
            self._close(self._open.popitem()[1])
            if apart <= FAR:
                return
            self._known.given_up.append(f"no {self.way}: it paints {apart:.1f} grey levels from the CPU")
            if len(self._known.ways) == 1:
                raise RtstyleError(f"{self._device.name} paints {apart:.1f} grey levels from what the CPU paints")
            self._known.ways = self._known.ways[1:]


@functools.lru_cache(maxsize=4)
def _form(path: Path, _changed: int, half: bool) -> bytes:
    from rtstyle.runtime.device_form import device_form  # loads onnx, which nothing needs on a CPU

    return device_form(path.read_bytes(), half)


# -- TensorRT


def tensorrt_options(path: Path, device: devices.Device, shape: tuple[int, ...], way: Way) -> dict[str, str]:
    """TensorRT's options for a model and size, with a cache of engines that is found again by all that an engine
    depends on."""
    machine = {
        "onnxruntime": ort.__version__,
        "tensorrt": tensorrt_version(),
        "card": devices.driver()[0][device.index],
    }
    engine = {"model": hashlib.sha256(path.read_bytes()).hexdigest(), "shape": list(shape), "half": way.half}
    folder = Path(platformdirs.user_cache_dir("rtstyle", appauthor=False)) / "tensorrt" / _digest(machine)
    engines = folder / _digest(engine)
    with contextlib.suppress(OSError):  # no cache then: TensorRT builds the engine all the same
        engines.mkdir(parents=True, exist_ok=True)
        (engines / "made-for.json").write_text(json.dumps(machine | engine, indent=2) + "\n", encoding="utf-8")
    return {
        "trt_fp16_enable": str(way.half),
        "trt_cuda_graph_enable": str(way.graph),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engines),
        "trt_engine_cache_prefix": path.stem,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def tensorrt_version() -> str:
    """That of the library which `devices.missing_libraries` loaded, as it writes it; empty if there is none."""
    with contextlib.suppress(OSError, AttributeError):
        name = next(name for name in devices.libraries("tensorrt") if "nvinfer" in name)
        return str(ctypes.CDLL(name).getInferLibVersion())
    return ""
