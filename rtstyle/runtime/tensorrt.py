"""TensorRT's options, and a cache of its engines, which take minutes to build."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
from pathlib import Path

import onnxruntime as ort

from rtstyle.runtime import cache, devices


def options(path: Path, device: devices.Device, shape: tuple[int, ...], *, half: bool, graph: bool) -> dict[str, str]:
    """The options for a model and a shape of frames, with a cache that is found again by all that an engine depends
    on. `half` allows float16, `graph` captures CUDA graphs."""
    machine = {
        "onnxruntime": ort.__version__,
        "tensorrt": version(),
        "gpu": devices.gpu_names()[device.index],
    }
    engine = {"model": hashlib.sha256(path.read_bytes()).hexdigest(), "shape": list(shape), "half": half}
    folder = cache.folder() / "tensorrt" / cache.digest(machine)
    engines = folder / cache.digest(engine)
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


def version() -> str:
    """That of the library which `devices.missing_libraries` loaded, as it writes it; empty if there is none."""
    with contextlib.suppress(OSError, AttributeError):
        name = next(name for name in devices.libraries("tensorrt") if "nvinfer" in name)
        return str(ctypes.CDLL(name).getInferLibVersion())
    return ""
