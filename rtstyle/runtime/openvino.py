"""Painting with Intel's OpenVINO: on processors, and on Intel's GPUs.

The package `openvino` itself, not its plug-in for ONNX Runtime (onnxruntime-ep-openvino 1.8.1): that one is there for
Windows and Linux on x86-64 only, and offers no device at all where the processor is not Intel's.

Calculation is in float32, or in the half precision that the device has (bfloat16 on processors with AMX or AVX-512
BF16, float16 on GPUs) if the pictures pass: `precision_for`. What was found out for a model and a machine is
remembered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import platform
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from rtstyle.errors import DeviceError, ModelError
from rtstyle.runtime import bounds, cache, devices
from rtstyle.runtime.session import Code, Frames, OrtSession, Run, Session, cores, share_out
from rtstyle.runtime.trial import trial_picture

PRECISIONS = {"BF16": "bf16", "FP16": "f16"}  # what devices say they can do, and the hint for it; the first wins
WORDS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
MAX_MEAN, MIN_PSNR = 2.0, 40.0  # grey levels, dB: how far from float32 a picture in half precision may lie
TRIAL_SIZE = 96, 128  # height and width of the pictures that are compared
TIMED_SIZE = 360, 640  # of those that are timed
TIMED = 5  # frames, after two that are not
MIN_GAIN = 1.1  # times as fast as ONNX Runtime, or `auto` stays with it: timing is no exact science


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Importing OpenVINO writes two files into the user's home folder and reports to Google Analytics, where its
    package for that can be imported."""
    name = "openvino_telemetry"
    imported = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if imported is not None:
            sys.modules[name] = imported


@functools.cache
def core() -> Any:
    """OpenVINO itself. Raises DeviceError if it cannot be loaded."""
    try:
        with _no_telemetry():
            import openvino
        return openvino.Core()
    except Exception as error:  # a library of the system that is missing, or a package in pieces
        raise DeviceError(f"OpenVINO does not start ({devices.first_sentence(error)}): install it again") from None


def gpus() -> list[str]:
    """The names for `device` of Intel's GPUs, such as `openvino:gpu` or `openvino:gpu.1`; none where OpenVINO fails."""
    try:
        return [f"openvino:{name.lower()}" for name in core().available_devices if name.startswith("GPU")]
    except DeviceError:
        return []


def target(device: devices.Device) -> str:
    """OpenVINO's name for a device such as `openvino` or `openvino:gpu`. Raises DeviceError if it does not exist."""
    name = (device.name.partition(":")[2] or "cpu").upper()
    there = core().available_devices
    if name not in there and not any(other.startswith(f"{name}.") for other in there):
        raise DeviceError(
            f"{device.name} does not exist; OpenVINO finds {', '.join(there)} here: install Intel's driver for its "
            "GPUs, or use `device='cpu'`"
        )
    return name


class OpenvinoSession:
    """A model of rtstyle's contract on a device of OpenVINO, with free sizes.

    `codes` (float32 [K] each) are those by which half precision is compared, none for a model of one style; `threads`
    limits the CPU threads; `precision` is one of WORDS, by default that of `precision_for`. Raises RtstyleError if the
    device does not exist or the file is not a model.
    """

    half = False  # not float16 by a form of the model: `precision` says what OpenVINO does

    def __init__(
        self,
        path: Path,
        device: devices.Device,
        codes: Sequence[Code] = (),
        threads: int | None = None,
        precision: str | None = None,
    ):
        self._target, self._threads, self._device = target(device), threads, device
        try:
            self._model = bounds.load(lambda: core().read_model(path), str(path))
        except RuntimeError as error:
            raise ModelError(f"{path} cannot be loaded on {device.name}: {devices.first_sentence(error)}") from None
        self.precision = precision or precision_for(path, device, codes, threads)
        self._runs = bounds.Runs(path.name, limited=self._target == "CPU")
        self.abandon = self._runs.abandon
        self.run = self._compiled(1)

    @property
    def device(self) -> devices.Device:
        """Where it runs and why, and in which precision."""
        return dataclasses.replace(self._device, why=f"{self._device.why} ({WORDS[self.precision]})")

    def for_throughput(self) -> tuple[Run, int]:
        if self._target != "CPU":
            return self._compiled(2), 2  # one frame is copied while the other is painted
        workers, _ = share_out(devices.choose("cpu"), self._threads)
        return self._compiled(workers), workers

    def _compiled(self, streams: int) -> Run:
        """What paints so many frames at once."""
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self.precision, "NUM_STREAMS": streams}
        if self._target == "CPU":
            options["ENABLE_CPU_PINNING"] = False  # other threads decode, steady and encode meanwhile
            if self._threads:
                options["INFERENCE_NUM_THREADS"] = self._threads
        try:
            compiled = bounds.load(
                lambda: core().compile_model(self._model, self._target, options), "the model", limited=False
            )
        except RuntimeError as error:
            reason = devices.first_sentence(error)
            raise DeviceError(f"{self._device.name} did not start ({reason}): use `device='cpu'` meanwhile") from None
        return Requests(compiled, self._runs).run


class Requests:
    """The requests of a compiled model, one for each thread that paints at the same time, within `runs`' bounds."""

    def __init__(self, compiled: Any, runs: bounds.Runs):
        self._compiled, self._runs = compiled, runs
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        feed = {"frames": np.ascontiguousarray(frames)} | ({} if code is None else {"code": code})
        return self._runs.run(lambda _: self._paint(feed), frames.shape)

    def _paint(self, feed: dict[str, Any]) -> Frames:
        with self._request() as request:
            request.infer(feed, share_inputs=True)
            painted: Frames = request.get_output_tensor().data.copy()  # its memory is used again
        return painted

    @contextlib.contextmanager
    def _request(self) -> Iterator[Any]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._idle.put(request)


def precision_for(path: Path, device: devices.Device, codes: Sequence[Code], threads: int | None = None) -> str:
    """The hint for a model on a device: the half precision that it has, if a picture in every style passes, else
    `f32`. Found out once for a model and a machine, and remembered."""
    able = core().get_property(target(device), "OPTIMIZATION_CAPABILITIES")
    half = next((hint for kind, hint in PRECISIONS.items() if kind in able), None)
    if half is None:
        return "f32"

    def find_out() -> dict[str, Any]:
        exact, coarse = (OpenvinoSession(path, device, codes, threads, hint).run for hint in ("f32", half))
        frames, styles = trial_picture(*TRIAL_SIZE), list[Code | None](codes) or [None]
        passed = all(passes(exact(frames, code), coarse(frames, code)) for code in styles)
        return {"precision": half if passed else "f32"}

    question = machine(path, device) | {
        "half": half,
        "codes": [hashlib.sha256(code.tobytes()).hexdigest() for code in codes],
    }
    return str(cache.remembered("openvino", question, find_out)["precision"])


def passes(exact: Frames, coarse: Frames) -> bool:
    """Whether a painting in half precision is near enough to that in float32; uint8, the same shapes."""
    difference = exact.astype(np.float32) - coarse
    error = float(np.square(difference).mean())
    return float(np.abs(difference).mean()) <= MAX_MEAN and error <= 255**2 / 10 ** (MIN_PSNR / 10)


def machine(path: Path, device: devices.Device) -> dict[str, Any]:
    """What an answer depends on: the model, the computer, and the versions of what paints."""
    return {
        "model": hashlib.sha256(path.read_bytes()).hexdigest(),
        "device": device.name,
        "computer": [platform.node(), platform.machine(), cores()],
        "openvino": metadata.version("openvino"),  # without loading it, which takes half a second
        "onnxruntime": ort.__version__,
    }


def faster(path: Path, codes: Sequence[Code], threads: int | None) -> str | None:
    """Why OpenVINO is the better choice on this processor, in a few words; None if it is not MIN_GAIN times as fast as
    ONNX Runtime. Found out once for a model and a machine, by painting a few frames, and remembered. Raises
    RtstyleError if it does not work here."""
    device = devices.choose("openvino")

    def find_out() -> dict[str, Any]:
        ours: Session = OpenvinoSession(path, device, codes, threads)
        theirs: Session = OrtSession(path, devices.choose("cpu"), threads)
        seconds: dict[str, list[float]] = {"openvino": [], "onnxruntime": []}
        frames, code = trial_picture(*TIMED_SIZE), codes[0] if codes else None
        for _ in range(2 + TIMED):
            for name, session in (("openvino", ours), ("onnxruntime", theirs)):
                started = time.perf_counter()
                session.run(frames, code)
                seconds[name].append(time.perf_counter() - started)
        return {name: min(times[2:]) * 1e3 for name, times in seconds.items()}

    question = machine(path, device) | {"threads": threads, "size": list(TIMED_SIZE)}
    answer = cache.remembered("openvino", question, find_out)
    if answer["onnxruntime"] < MIN_GAIN * answer["openvino"]:
        return None
    return f"{answer['openvino']:.1f} ms a frame, ONNX Runtime {answer['onnxruntime']:.1f}"
