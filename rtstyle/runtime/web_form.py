"""The form of a model that ONNX Runtime for browsers runs on WebGPU.

Its InstanceNormalization (1.30) keeps a compiled program by the shapes that it is for, and epsilon is not among what
tells programs apart: the second of two layers of one width is calculated with the first one's. So all get the same.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx.helper import get_node_attr_value, make_attribute, make_node
from onnx.numpy_helper import from_array

from rtstyle.runtime.device_form import device_form


def web_form(model: bytes) -> bytes:
    """A model of rtstyle's contract (an ONNX file) to one with the same inputs and outputs, in float32 between two
    casts and with one epsilon. Raises ValueError for what no exporter of rtstyle wrote."""
    form = onnx.load_from_string(device_form(model, half=False))
    norms = [node for node in form.graph.node if node.op_type == "InstanceNormalization"]
    epsilon = min((get_node_attr_value(node, "epsilon") for node in norms), default=0.0)
    nodes = []
    for node in form.graph.node:
        if node.op_type == "InstanceNormalization" and get_node_attr_value(node, "epsilon") != epsilon:
            # The same as (x - mean) / sqrt(variance + epsilon): all of it divided by a number
            factor = math.sqrt(epsilon / get_node_attr_value(node, "epsilon"))
            name = f"{node.name}_shrink"
            form.graph.initializer.append(from_array(np.array(factor, np.float32), name))
            nodes.append(make_node("Mul", [node.input[0], name], [f"{name}_out"], name))
            node.input[0] = f"{name}_out"
            del node.attribute[:]
            node.attribute.append(make_attribute("epsilon", epsilon))
        nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    form.graph.ClearField("node")
    form.graph.node.extend(nodes)
    return bytes(form.SerializeToString())
