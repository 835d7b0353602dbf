"""What can paint on this machine, and how fast each of them does."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import onnxruntime as ort

from rtstyle.diagnose.scenes import Scene
from rtstyle.diagnose.timing import Step, in_turns
from rtstyle.errors import RtstyleError
from rtstyle.paint.stylizer import Stylizer
from rtstyle.runtime import devices, openvino, webgpu

SIZE = 640, 360  # width and height of the frames that doctor times


@dataclasses.dataclass(frozen=True)
class Engine:
    """One way to paint: the name for `device`, how it does it, and the median milliseconds of a frame; or, where it
    does not start, what is wrong."""

    name: str
    how: str = ""
    median_ms: float | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def installed() -> list[str]:
    """The names for `device` of everything that is there, the CPU first; TensorRT is left out, whose engines take
    minutes to build."""
    names = ["cpu"]
    if devices.cuda_problem("cuda") is None:
        names += [f"cuda:{index}" for index in range(len(devices.gpu_names()))]
    names += [kind for kind in ("coreml", "directml") if devices.NAMES[kind] in ort.get_available_providers()]
    if devices.openvino_problem() is None:
        names += ["openvino", *openvino.gpus()]
    if webgpu.problem() is None:
        names.append("webgpu")
    return names


def measure(make: Callable[[str], Stylizer], width: int, height: int, seconds: float) -> list[Engine]:
    """All that is there, painting frames of a size in turns for so many seconds each; `make` gives the stylizer for
    the name of a device."""
    stylizers: dict[str, Stylizer] = {}
    steps: dict[str, Step] = {}
    engines = {name: Engine(name) for name in installed()}
    frames = Scene(width, height).some()
    for name in engines:
        try:
            stylizer = make(name)
            stylizer(frames[0])
        except RtstyleError as error:
            engines[name] = Engine(name, problem=str(error))
            continue
        stylizers[name] = stylizer
        steps[name] = lambda i, paint=stylizer: paint(frames[i % len(frames)])  # type: ignore[misc]
    for name, samples in in_turns(steps, seconds).items():
        engines[name] = Engine(name, stylizers[name].device.why, statistics.median(samples) * 1e3)
    return list(engines.values())
