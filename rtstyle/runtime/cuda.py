"""Painting on NVIDIA's GPUs, by CUDA or TensorRT: what a session needs beyond a provider's name to be fast there.

- A session of ONNX Runtime for every size of frame and number of frames, with nothing left free: shapes are constants
  then, and the work can be captured once as a CUDA graph and replayed, which spares the processor a launch for every
  operation.
- Its frames, code and painting stay in memory of the GPU that is reserved once (I/O binding).
- Calculation in float16, see rtstyle.runtime.device_form; of several frames at once in float32: there ONNX Runtime
  1.31's InstanceNormalization of halves gave the first layer of real pictures wrong by more than half of its size, on
  an H100, and right for one frame (benchmarks/RESULTS.md). In float32 eight frames of 1080p take as long there, of
  640x360 .96 ms each instead of .57.
- Several slots to each size: while one calculates, the next copies its frames.

What cannot be had is done without, and so is, on CUDA, what does not paint what the CPU paints; `device.why` says so.
(TensorRT is not compared: it would have to build an engine first, for minutes.)

Frames are copied from where they are and to where they are wanted. Page-locked memory in between would be copied to
and from as well, and ONNX Runtime's Python offers it (`OrtEpDevice.memory_info`) only where CUDA is a plug-in, which
it is not in the onnxruntime-gpu 1.31 of PyPI.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort

from rtstyle.errors import DeviceError
from rtstyle.runtime import devices, tensorrt
from rtstyle.runtime.bounds import Abandoned
from rtstyle.runtime.session import Code, Frames, OrtSession, Run
from rtstyle.threads import leave, wait_for

MAX_OPEN = 3  # sizes that stay open: each takes memory of the GPU
TRIAL_SIDE = 64  # pixels a side of the first picture
MAX_DISTANCE = 1.0  # grey levels, mean, that a painting may lie from the CPU's
SLOTS = 2  # of each size for the most frames a second: more do not help

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ExecutionMode:
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


def execution_modes(kind: str) -> tuple[ExecutionMode, ...]:
    """What to try on a kind of device, the best first."""
    if kind not in devices.NVIDIA:
        return (ExecutionMode(half=False, graph=False),)
    return (
        ExecutionMode(),
        ExecutionMode(graph=False),
        ExecutionMode(half=False),
        ExecutionMode(half=False, graph=False),
    )


def memory_place(device: devices.Device) -> tuple[str, int]:
    """Where ONNX Runtime is to reserve memory for a device."""
    return ("cuda", device.index) if device.kind in devices.NVIDIA else ("cpu", 0)


class SessionSlot:
    """A session of one shape with memory of its own, in a thread of its own: CUDA graphs belong to threads.

    `place` is what the memory is on, such as ("cuda", 0). Raises whatever ONNX Runtime does.
    """

    def __init__(
        self, open_session: Callable[[], ort.InferenceSession], shape: Shape, place: tuple[str, int], bound: bool
    ):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session slot")
        try:
            self._thread.submit(self._begin, open_session, shape, place, bound).result()
        except BaseException:
            self.close()
            raise

    def _begin(
        self, open_session: Callable[[], ort.InferenceSession], shape: Shape, place: tuple[str, int], bound: bool
    ) -> None:
        self.session = open_session()
        self._binding = self.session.io_binding() if bound else None
        inputs = {item.name: item for item in self.session.get_inputs()}
        if self._binding:
            self._frames = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, *place)
            self._painted = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, *place)
            self._binding.bind_ortvalue_input("frames", self._frames)
            self._binding.bind_ortvalue_output("stylized", self._painted)
            if "code" in inputs:
                self._code = ort.OrtValue.ortvalue_from_shape_and_type(inputs["code"].shape, np.float32, *place)
                self._binding.bind_ortvalue_input("code", self._code)
        self._last_code: Code | None = None  # that is in self._code
        # the first run searches for algorithms and captures the graph: here, where another mode can still be tried
        code = np.zeros(inputs["code"].shape, np.float32) if "code" in inputs else None
        self._run(np.zeros(shape, np.uint8), code)

    def run(self, frames: Frames, code: Code | None, abandoned: Callable[[], bool] = lambda: False) -> Frames:
        """Paints frames of exactly this slot's shape; the array returned is the caller's own. Raises Abandoned once it
        is `abandoned`."""
        future = self._thread.submit(self._run, frames, code)
        try:
            return wait_for(future, abandoned)
        except TimeoutError:
            raise Abandoned("nobody waits for this painting any longer") from None
        finally:
            if not future.done():
                leave(lambda: not future.done())

    def run_again(self) -> None:
        """Paints once more the frames that are in its memory already, and leaves the painting there."""
        if self._binding is None:
            raise ValueError("this slot keeps no memory of its own")
        self._thread.submit(self.session.run_with_iobinding, self._binding).result()

    def _run(self, frames: Frames, code: Code | None) -> Frames:
        painted: Frames
        if self._binding is None:
            painted = self.session.run(None, {"frames": frames} | ({} if code is None else {"code": code}))[0]
            return painted
        self._frames.update_inplace(frames)
        if code is not None and (self._last_code is None or not np.array_equal(code, self._last_code)):
            self._code.update_inplace(code)
            self._last_code = code.copy()
        self.session.run_with_iobinding(self._binding)
        painted = self._painted.numpy()  # a copy, except of memory that is not on a GPU
        return painted.copy() if self._painted.device_name() == "cpu" else painted

    def close(self) -> None:
        self._thread.shutdown()


class SlotOpener:
    """Opens slots of a model on a device. `modes` are those left to try, the one in use first; `rejected` says which
    are not used, and why."""

    def __init__(self, path: Path, device: devices.Device, modes: tuple[ExecutionMode, ...]):
        self.path, self.device, self.modes = path, device, modes
        self.rejected: list[str] = []
        self.abandoned = 0  # how often what was being painted was given up

    def reject(self, reason: str, count: int = 1) -> None:
        """Go on without the first so many modes."""
        self.rejected.append(f"no {self.modes[0]}: {reason}")
        self.modes = self.modes[count:]

    def open(self, shape: Shape, mode: ExecutionMode) -> SessionSlot:
        """Raises ONNX Runtime's own kinds, or ValueError where the model has no form for this mode."""
        device = self.device.with_options(self._options(shape, mode)) if self.device.kind != "cpu" else self.device
        # TensorRT chooses what to do in float16
        model = self.model(mode.half and device.kind != "tensorrt" and shape[0] == 1)
        sizes = dict(zip("NHW", shape, strict=False))
        return SessionSlot(
            lambda: devices.open_session(model, device, sizes=sizes), shape, memory_place(device), mode.bound
        )

    def _options(self, shape: Shape, mode: ExecutionMode) -> dict[str, str]:
        if self.device.kind == "cuda":
            return {"enable_cuda_graph": str(int(mode.graph and mode.bound)), "prefer_nhwc": str(int(mode.nhwc))}
        return tensorrt.options(self.path, self.device, shape, half=mode.half, graph=mode.graph)

    def model(self, half: bool) -> bytes:
        """The model as GPUs run it, an ONNX file."""
        try:
            return _form(self.path, self.path.stat().st_mtime_ns, half)
        except ValueError:  # it keeps the contract, but was written by another program
            if half:
                raise
            return self.path.read_bytes()


@functools.lru_cache(maxsize=4)
def _form(path: Path, _changed: int, half: bool) -> bytes:
    from rtstyle.runtime.device_form import device_form  # loads onnx, which nothing needs on a CPU

    return device_form(path.read_bytes(), half)


class SlotPool:
    """The slots that are open: `slots` of every shape, for the last few shapes. Any thread may paint with it."""

    def __init__(self, opener: SlotOpener, slots: int):
        self._opener, self._slots = opener, slots
        self.open: OrderedDict[Shape, queue.LifoQueue[SessionSlot]] = OrderedDict()
        self._opening = threading.Lock()
        self._free = threading.Semaphore(slots)

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        """uint8 RGB [N, H, W, 3] to the same.

        Batches are filled up to 1, 2, 4, 8, ... frames, so that few sizes of them are opened. Raises RtstyleError if
        no mode works for this size.
        """
        opener, before = self._opener, self._opener.abandoned
        count, full = len(frames), 1 << (len(frames) - 1).bit_length()
        if full > count:
            frames = np.concatenate([frames, frames[-1:].repeat(full - count, 0)])
        while True:
            with self._free:
                if slots := self.open.get(frames.shape):
                    self.open.move_to_end(frames.shape)
                    slot = slots.get()
                    try:
                        return slot.run(frames, code, lambda: opener.abandoned != before)[:count]
                    finally:
                        slots.put(slot)
            self._open_slots(frames.shape)

    def _open_slots(self, shape: Shape) -> None:
        """Nothing of this pool runs meanwhile: whatever is asked of a GPU while it captures a graph breaks that."""
        with self._opening, contextlib.ExitStack() as stack:
            for _ in range(self._slots):
                stack.enter_context(self._free)
            if shape in self.open:  # another thread was first
                return
            while len(self.open) >= MAX_OPEN:
                self.close_oldest()
            self.open[shape] = self._slots_for(shape)

    def _slots_for(self, shape: Shape) -> queue.LifoQueue[SessionSlot]:
        """The slots of a shape, in the first mode that works; those before it are rejected."""
        errors: list[str] = []  # no exceptions: they would keep the memory of the session that failed
        for number, mode in enumerate(self._opener.modes):
            try:
                slots = self._slots_in(mode, shape)
            except Exception as error:  # ONNX Runtime's own kinds, ValueError of device_form
                errors.append(devices.first_sentence(error))
                continue
            if number:
                self._opener.reject(errors[0], number)
            return slots
        raise DeviceError(errors[0])

    def _slots_in(self, mode: ExecutionMode, shape: Shape) -> queue.LifoQueue[SessionSlot]:
        slots: queue.LifoQueue[SessionSlot] = queue.LifoQueue()
        while slots.qsize() < self._slots:
            try:
                slots.put(self._opener.open(shape, mode))
            except Exception:
                if not self.open:
                    if slots.qsize():  # no memory for another: those that there are take turns
                        break
                    raise
                while self.open:  # perhaps it is the memory that other sizes keep
                    self.close_oldest()
        return slots

    def close_oldest(self) -> None:
        """Give back the memory of the shape that was unused for longest."""
        _, slots = self.open.popitem(last=False)
        while not slots.empty():
            slots.get().close()


class GpuSession:
    """A model of rtstyle's contract on one of NVIDIA's GPUs.

    `code` (float32 [K], None for a model of one style) is for a first small picture; `modes` are those to try, the
    best first. `device` says how it is done and, in `why`, what had to be rejected. Raises RtstyleError if the device
    does not start, or cannot run the model at all.
    """

    def __init__(
        self,
        path: str | Path,
        device: devices.Device,
        code: Code | None = None,
        modes: tuple[ExecutionMode, ...] | None = None,
    ):
        self._opener = SlotOpener(Path(path), device, modes or execution_modes(device.kind))
        self.pool = SlotPool(self._opener, slots=1)
        self.run = self.pool.run
        if device.kind == "tensorrt":  # an engine takes minutes to build: not for a trial
            devices.open_session(self._opener.model(False), device)
        else:
            self._try_out(code)

    @functools.cached_property
    def throughput_pool(self) -> SlotPool:
        """Memory for several frames at a time, opened when it is first painted with."""
        return SlotPool(self._opener, SLOTS)

    def for_throughput(self) -> tuple[Run, int]:
        return self.throughput_pool.run, SLOTS

    def abandon(self) -> None:
        self._opener.abandoned += 1

    @property
    def mode(self) -> ExecutionMode:
        """How it calculates, as far as is known yet."""
        return self._opener.modes[0]

    @property
    def half(self) -> bool:
        return self.mode.half

    @property
    def device(self) -> devices.Device:
        device, how = self._opener.device, "; ".join([str(self.mode), *self._opener.rejected])
        return dataclasses.replace(device, why=f"{device.why} ({how})")

    def _try_out(self, code: Code | None) -> None:
        """A small picture: whether the device starts, and paints what the CPU paints; modes that do not are
        rejected."""
        coarse = np.random.default_rng(0).integers(0, 256, (1, TRIAL_SIDE // 8, TRIAL_SIDE // 8, 3), np.uint8)
        frames = np.ascontiguousarray(coarse.repeat(8, 1).repeat(8, 2))
        target = OrtSession(self._opener.path, devices.choose("cpu"), threads=1).run(frames, code)
        while True:
            distance = float(np.abs(self.run(frames, code).astype(np.float32) - target).mean())
            self.pool.close_oldest()
            if distance <= MAX_DISTANCE:
                return
            if len(self._opener.modes) == 1:
                name = self._opener.device.name
                raise DeviceError(f"{name} paints {distance:.1f} grey levels from what the CPU paints")
            self._opener.reject(f"it paints {distance:.1f} grey levels from the CPU")
