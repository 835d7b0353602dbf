"""The arithmetic of a model, and what the machine could do of it."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from rtstyle.diagnose.timing import timed
from rtstyle.paint.stylizer import Stylizer
from rtstyle.runtime import devices
from rtstyle.runtime.session import cores

STRIDE = 32  # pixels: what every net's own stride divides


def operations(model: str | bytes, feed: dict[str, np.ndarray]) -> int:
    """Multiplications and additions of one run: twice the products of convolutions (also transposed) and matrix
    products, as ONNX Runtime's profile gives their shapes."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC  # what is constant is not counted
    return 2 * sum(products(node) for node in profile(model, feed, options))


def profile(
    model: str | bytes, feed: dict[str, np.ndarray], options: ort.SessionOptions, runs: int = 1
) -> list[dict[str, Any]]:
    """What ONNX Runtime's profile says of every node of every run on the CPU: its arguments, with the node's name as
    `node` and its microseconds as `dur`."""
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")  # packed weights have no shape in the profile
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="rtstyle-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    return [
        event["args"] | {"node": event["name"].removesuffix("_kernel_time"), "dur": event["dur"]}
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]


def products(node: dict[str, Any]) -> int:
    """Multiplications of one node of a profile."""
    inputs: list[list[int]]
    outputs: list[list[int]]
    inputs, outputs = (
        [next(iter(tensor.values())) for tensor in node.get(f"{which}_type_shape", ())] for which in ("input", "output")
    )
    kind = node.get("op_name", "")
    if kind in ("Conv", "FusedConv"):  # weights [O, C / groups, h, w]
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if kind == "ConvTranspose":  # weights [C, O / groups, h, w]
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if kind in ("MatMul", "FusedMatMul"):
        return math.prod(outputs[0]) * inputs[0][-1]
    if kind == "Gemm":
        rows = max(1, outputs[0][0])
        return math.prod(outputs[0]) * (math.prod(inputs[0]) // rows)
    return 0


def frame_operations(stylizer: Stylizer, width: int, height: int) -> float:
    """Operations of the model for one frame.

    The output of a convolution has (a H + b)(c W + d) pixels while H and W keep their remainders by the stride, so four
    small sizes give the number at any larger one exactly; tall frames would take memory and time for a mere count.
    """
    form = stylizer.model.classic
    if form:
        height, width = form.fitting(height, width)
    heights, widths = _small(height, bool(form and form.size[0])), _small(width, bool(form and form.size[1]))
    rows = [_along(widths, [operations_at(stylizer, h, w) for w in widths], width) for h in heights]
    return _along(heights, rows, height)


def _small(side: int, fixed: bool) -> list[int]:
    first, second = (count * STRIDE + side % STRIDE for count in (2, 4))
    return [side] if fixed or side <= second else [first, second]


def _along(sides: list[int], values: list[float], side: int) -> float:
    """The straight line through one or two points, at `side`."""
    if len(sides) == 1:
        return values[0]
    return values[0] + (values[1] - values[0]) * (side - sides[0]) / (sides[1] - sides[0])


def operations_at(stylizer: Stylizer, height: int, width: int) -> int:
    form = stylizer.model.classic
    if form:
        shape = (1, 3, height, width) if form.planar else (1, height, width, 3)
        feed = {form.input: np.zeros(shape, form.dtype)}
    else:
        feed = {"frames": np.zeros((1, height, width, 3), np.uint8)}
        if stylizer.code is not None:
            feed["code"] = stylizer.code
    return operations(str(stylizer.model.path), feed)


def ceiling(device: devices.Device, threads: int | None, seconds: float, half: bool = False) -> float | None:
    """10^9 operations a second of a large float32 (or float16) matrix product on the device, at best; None for a
    device that ONNX Runtime does not run."""
    if device.name == "openvino":  # the same processor, asked by the engine that takes a model made here
        device = devices.choose("cpu")
    if device.kind not in devices.NAMES:
        return None
    on_gpu = device.kind in devices.NVIDIA
    side = 4096 if on_gpu else 1024 if (threads or cores()) <= 8 else 2048
    left, right = np.random.default_rng(0).standard_normal((2, side, side), np.float32)
    if half:
        left, right = left.astype(np.float16), right.astype(np.float16)
    session = devices.open_session(product_model(right), device, threads)
    place = ("cuda", device.index) if on_gpu else ("cpu", 0)
    binding = session.io_binding()  # the numbers stay where they are: what is asked for is arithmetic
    binding.bind_ortvalue_input("left", ort.OrtValue.ortvalue_from_numpy(left, *place))
    binding.bind_output("product", *place)

    def multiply(_: int) -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return 2 * side**3 / min(timed(multiply, seconds)) / 1e9


def product_model(right: np.ndarray) -> bytes:
    """An ONNX file: left [n, n] times `right` [n, n], float32 or float16."""
    from onnx import helper, numpy_helper  # a tenth of a second, for this alone

    kind = helper.np_dtype_to_tensor_dtype(right.dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        f"product{len(right)}",
        [helper.make_tensor_value_info("left", kind, right.shape)],
        [helper.make_tensor_value_info("product", kind, right.shape)],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())
