"""ONNX graphs, written node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


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
