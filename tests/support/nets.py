"""Nets that keep rtstyle's contract on paper and do something else, for tests of what becomes of that."""

import base64
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CODES = np.eye(2, 4, dtype=np.float32)
YES = numpy_helper.from_array(np.array(True), "yes")
INT = TensorProto.INT64


def number(name, *values):
    return helper.make_tensor(name, INT, [len(values)], values)


def endless():
    """Goes round a loop 2^62 times."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["v"], ["v2"])],
        "body",
        [value("i", INT, []), value("going", TensorProto.BOOL, []), value("v", TensorProto.UINT8, None)],
        [value("on", TensorProto.BOOL, []), value("v2", TensorProto.UINT8, None)],
    )
    trips = helper.make_tensor("trips", INT, [], [2**62])
    return [helper.make_node("Loop", ["trips", "yes", "frames"], ["stylized"], body=body)], [trips, YES]


def greedy():
    """Holds every frame 300,000 times."""
    nodes = [
        helper.make_node("Expand", ["frames", "many"], ["held"]),
        helper.make_node("Slice", ["held", "from", "to"], ["stylized"]),
    ]
    return nodes, [number("many", 300_000, 1, 1, 1), number("from", 0), number("to", 1)]


def cropping():
    """Gives a row too few."""
    nodes = [helper.make_node("Slice", ["frames", "from", "to", "axis"], ["stylized"])]
    return nodes, [number("from", 1), number("to", 9999), number("axis", 1)]


def flat():
    """Paints black."""
    return [helper.make_node("Sub", ["frames", "frames"], ["stylized"])], []


def plain():
    """Paints nothing."""
    return [helper.make_node("Identity", ["frames"], ["stylized"])], []


def write_own(path, kind, *, codes=None, code_length=4):
    """A model file of rtstyle's contract that paints as `kind` says, with two styles or, with `codes` (float32 [2, K]),
    those of its own; its input takes codes of `code_length` numbers."""
    nodes, constants = kind()
    value, frames = helper.make_tensor_value_info, ["N", "H", "W", 3]
    graph = helper.make_graph(
        nodes,
        kind.__name__,
        [value("frames", TensorProto.UINT8, frames), value("code", TensorProto.FLOAT, [code_length])],
        [value("stylized", TensorProto.UINT8, frames)],
        constants,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    codes = CODES if codes is None else codes
    facts = {
        "format": "1",
        "body": "toy",
        "body_sha256": "0" * 64,
        "reference_height": "64",
        "styles": json.dumps([{"name": name} for name in ("one", "two")]),
        "codes": base64.b64encode(codes.astype("<f4").tobytes()).decode(),
    }
    helper.set_model_props(model, {f"rtstyle.{key}": text for key, text in facts.items()})
    onnx.save(model, path)
    return str(path)
