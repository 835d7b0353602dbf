"""TensorRT's options, and a cache of its engines, which take minutes to build."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import platformdirs

from rtstyle.runtime import devices


def options(path: Path, device: devices.Device, shape: tuple[int, ...], *, half: bool, graph: bool) -> dict[str, str]:
    """The options for a model and a shape of frames, with a cache that is found again by all that an engine depends
    on. `half` allows float16, `graph` captures CUDA graphs."""
    machine = {
        "onnxruntime": ort.__version__,
        "tensorrt": version(),
        "gpu": devices.gpu_names()[device.index],
    }
    engine = {"model": hashlib.sha256(path.read_bytes()).hexdigest(), "shape": list(shape), "half": half}
    folder = Path(platformdirs.user_cache_dir("rtstyle", appauthor=False)) / "tensorrt" / _digest(machine)
    engines = folder / _digest(engine)
    with contextlib.suppress(OSError):  # no cache then: TensorRT builds the engine all the same
        engines.mkdir(parents=True, exist_ok=True)
        (engines / "made-for.json").write_text(json.dumps(machine | engine, indent=2) + "\n", encoding="utf-8")
    return {
        "trt_fp16_enable": str(half),
        "trt_cuda_graph_enable": str(graph),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engines),
        "trt_engine_cache_prefix": path.stem,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def version() -> str:
    """That of the library which `devices.missing_libraries` loaded, as it writes it; empty if there is none."""
    with contextlib.suppress(OSError, AttributeError):
        name = next(name for name in devices.libraries("tensorrt") if "nvinfer" in name)
        return str(ctypes.CDLL(name).getInferLibVersion())
    return ""
