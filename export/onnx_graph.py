"""ONNX graphs: written node by node, run on the CPU, simplified, checked and saved."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from rtstyle.errors import ModelError
from rtstyle.files import written_beside

if TYPE_CHECKING:
    import onnxruntime


class Graph:
    """Collects the nodes and constants of a graph; values are names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.prefix = ""  # of the names of nodes

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        array = np.asarray(values)
        array = array.astype(np.int64) if array.dtype.kind in "iu" else array.astype(np.float32)
        self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        out = f"{self.prefix}{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], out, **attributes))
        return out


def cpu_session(
    model: onnx.ModelProto, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A model in ONNX Runtime on the CPU, which says nothing by itself."""
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as ONNX Runtime simplifies it, whose inputs have fixed sizes: without the arithmetic of sizes, with
    nothing computed twice, in standard operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="rtstyle-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        cpu_session(model, options)
        result = onnx.load(options.optimized_model_filepath)
    standard = [opset for opset in result.opset_import if opset.domain == ""]
    return helper.make_model(result.graph, producer_name="rtstyle", ir_version=9, opset_imports=standard)


def save_checked(
    model: onnx.ModelProto,
    what: str,
    difference: Callable[[onnx.ModelProto], float],
    most: float,
    out: str | os.PathLike[str],
    *,
    unit: str = "",
    force: bool = False,
) -> None:
    """Write a model to `out` if it passes `onnx.checker` and differs from torch by `most` at most; without `force` no
    file is replaced. Raises ModelError, which says `what` of the model differs, and OutputError."""
    onnx.checker.check_model(model, full_check=True)
    worst = difference(model)
    if not worst <= most:
        raise ModelError(f"the exported {what} differs from torch by {worst:.3g}{unit}: {out} was not written")
    with written_beside(out, force=force) as part:
        onnx.save(model, str(part))
