"""Execution providers: which device paints, and why.

ONNX Runtime falls back to the CPU in silence when a GPU provider cannot start. Here a device that was asked
for by name is used or is an error, and `auto` says what it took.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import sys
from importlib import metadata

import onnxruntime as ort

from rtstyle.errors import RtstyleError, UsageError

NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
REMEDY = {
    "cuda": "install onnxruntime-gpu and its libraries with: pip install 'rtstyle[cuda]'",
    "tensorrt": "install onnxruntime-gpu and NVIDIA TensorRT (pip install tensorrt)",
    "coreml": "CoreML is part of onnxruntime on macOS only",
    "directml": "install onnxruntime-directml, on Windows",
}


@dataclasses.dataclass(frozen=True)
class Device:
    """A chosen device: its short name (`cpu`, `cuda:1`), ONNX Runtime's provider list, and the reason."""

    name: str
    providers: list
    why: str

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]


def parse(name: str) -> tuple[str, int]:
    """`cuda:1` to ("cuda", 1). Raises UsageError for anything else than the known names."""
    kind, colon, number = name.lower().partition(":")
    if kind not in (*NAMES, "auto") or (colon and (kind not in ("cuda", "tensorrt") or not number.isdecimal())):
        raise UsageError(f"unknown device {name!r}: choose auto, {', '.join(NAMES)} or cuda:1")
    return kind, int(number or 0)


def choose(name: str = "auto") -> Device:
    """The device for a name. Raises RtstyleError, with the remedy, if one asked for by name is not there."""
    kind, index = parse(name)
    if kind == "auto":
        problem = cuda_problem()
        if problem is None:
            return Device("cuda:0", _providers("cuda", 0), "auto: CUDA is there")
        return Device("cpu", _providers("cpu", 0), f"auto: {problem}")
    if kind == "cpu":
        return Device("cpu", _providers("cpu", 0), "asked for")
    problem = cuda_problem() if kind in ("cuda", "tensorrt") else None
    if problem is None and NAMES[kind] not in ort.get_available_providers():
        problem = f"this ONNX Runtime has no {NAMES[kind]}"
    if problem:
        raise RtstyleError(f"{name} is not available: {problem}; {REMEDY[kind]}, or use --device cpu")
    label = f"{kind}:{index}" if kind in ("cuda", "tensorrt") else kind
    return Device(label, _providers(kind, index), "asked for")


def _providers(kind: str, index: int) -> list:
    if kind == "cpu":
        return [NAMES["cpu"]]
    options = {}
    if kind in ("cuda", "tensorrt"):
        options["device_id"] = str(index)
    if kind == "cuda":
        # every new frame size searches for convolution algorithms: heuristics cost milliseconds, not seconds
        options["cudnn_conv_algo_search"] = "HEURISTIC"
    return [(NAMES[kind], options), NAMES["cpu"]]


def cuda_problem() -> str | None:
    """Why CUDA cannot be used, in a few words, or None if it seems fine."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return "no NVIDIA driver was found"
    if NAMES["cuda"] not in ort.get_available_providers():
        both = conflicting_packages()
        return both or "this ONNX Runtime was built without CUDA"
    return None


def conflicting_packages() -> str | None:
    """onnxruntime and onnxruntime-gpu overwrite each other's files; says so if both are installed."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            found.append(name)
    if len(found) < 2:
        return None
    keep = found[-1]
    return (
        f"{' and '.join(found)} are both installed and overwrite each other: "
        f"pip uninstall -y {' '.join(found)}, then pip install {keep}"
    )


SPIN_MICROSECONDS = "100"


def open_session(model, device: Device, threads: int | None = None) -> ort.InferenceSession:
    """An ONNX Runtime session on exactly this device. `model` is a path or bytes.

    Raises RtstyleError if the provider does not start (missing CUDA or cuDNN libraries, out of memory), with
    ONNX Runtime's reason, or if the file is not a model.
    """
    if device.kind in ("cuda", "tensorrt"):
        with contextlib.suppress(Exception):  # a hint only: what is missing shows when the session starts
            ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # we report what matters ourselves
    ort.set_default_logger_severity(4)
    if threads:
        options.intra_op_num_threads = threads
    # Idle threads of the net wait for work in a busy loop, by default for so long that they take the processor from
    # decoding, steadiness and encoding: a third of the frame rate of `rtstyle video`, twice the heat of `rtstyle cam`.
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    try:
        session = ort.InferenceSession(model, options, providers=device.providers, enable_fallback=0)
    except Exception as error:  # pybind's exception classes have no common base below Exception
        where = model if isinstance(model, str) else "the model"
        raise RtstyleError(f"{where} cannot be loaded on {device.name}: {first_sentence(error)}") from None
    started = session.get_providers()[0]
    if started != NAMES[device.kind]:
        raise RtstyleError(
            f"{device.name} did not start, ONNX Runtime took {started} instead: "
            "run `rtstyle doctor`, or use --device cpu"
        )
    return session


def first_sentence(error: Exception) -> str:
    """The first line of an ONNX Runtime error without its code prefix."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.rpartition(" : ")[2][:300] or line[:300]
