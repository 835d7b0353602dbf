"""The gradient of an ONNX graph, written as more nodes of the same graph: what ONNX Runtime can run, it can then also
follow downhill, with no torch at hand (reverse mode; Griewank and Walther 2008, "Evaluating Derivatives").
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rtstyle.errors import ModelError
from rtstyle.export.onnx_graph import Graph

Gradients = list[str | None]
REVERSED = -(2**31)  # as the end of a slice backwards: everything


def add_gradient(model: onnx.ModelProto, loss: str, of: str) -> None:
    """Give a `folded` model one output more: `gradient`, that of the output `loss`, a single number, with respect to
    the input `of`. The cast to bytes passes a gradient on as if it did nothing.

    Raises ModelError where the graph has an operation that nobody has differentiated here.
    """
    back = _Backward(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph, of)
    gradients: dict[str, list[str]] = {loss: [back.constant("back_one", np.ones(back.shapes[loss]))]}
    for node in reversed(model.graph.node):
        arriving = [back.total(gradients[out]) if out in gradients else None for out in node.output]
        if not any(arriving) or not any(back.depends(x) for x in node.input):
            continue
        if node.op_type not in RULES:
            raise ModelError(f"the gradient of the ONNX operation {node.op_type} is not known here")
        for x, gradient in zip(node.input, RULES[node.op_type](back, node, arriving), strict=False):
            if gradient is not None and back.depends(x):
                gradients.setdefault(x, []).append(gradient)
    if of not in gradients:
        raise ModelError(f"{loss} does not depend on {of}")
    back.nodes.append(helper.make_node("Identity", [back.total(gradients[of])], ["gradient"], "gradient"))
    model.graph.node.extend(back.nodes)
    model.graph.initializer.extend(back.initializers.values())
    model.graph.output.append(helper.make_tensor_value_info("gradient", TensorProto.FLOAT, back.shapes[of]))


class _Backward(Graph):
    """The nodes of the way back through a graph, and what is known of the way there."""

    def __init__(self, graph: onnx.GraphProto, of: str):
        super().__init__()
        self.prefix = "back_"
        self.values = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes = {
            value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.shapes |= {name: list(tensor.dims) for name, tensor in self.values.items()}
        self.reached = {of}
        for node in graph.node:
            if not self.reached.isdisjoint(node.input):
                self.reached.update(node.output)

    def depends(self, name: str) -> bool:
        """Whether the value depends on what the gradient is with respect to."""
        return name in self.reached

    def known(self, name: str) -> NDArray[Any]:
        return numpy_helper.to_array(self.values[name])

    def ints(self, *values: int) -> str:
        return self.constant("back_ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"back_number_{float(value)!r}", float(value))

    def total(self, several: list[str]) -> str:
        while len(several) > 1:
            several[:2] = [self.node("Add", *several[:2])]
        return several[0]

    def mul(self, a: str, b: str) -> str:
        return self.node("Mul", a, b)

    def where(self, condition: str, gradient: str) -> str:
        return self.mul(gradient, self.node("Cast", condition, to=TensorProto.FLOAT))

    def like(self, gradient: str, shape: Sequence[int], name: str) -> str:
        """The gradient of a value that was broadcast from its own shape to `shape`."""
        own = self.shapes[name]
        wide = [1] * (len(shape) - len(own)) + own
        if summed := [axis for axis, (small, large) in enumerate(zip(wide, shape, strict=True)) if small != large]:
            gradient = self.node("ReduceSum", gradient, self.ints(*summed), keepdims=1)
        return gradient if wide == own else self.reshaped(gradient, own)

    def reshaped(self, gradient: str, shape: Sequence[int]) -> str:
        return self.node("Reshape", gradient, self.ints(*shape))

    def transposed(self, matrix: str) -> str:
        rank = len(self.shapes[matrix])
        return self.node("Transpose", matrix, perm=[*range(rank - 2), rank - 1, rank - 2])

    def separable(self, gradient: str, matrices: Sequence[NDArray[Any]]) -> str:
        """Through an operation that multiplies rows by one matrix and columns by another: [out, in] each."""
        down, across = (self.once(matrix) for matrix in (matrices[0].T, matrices[1]))
        return self.node("MatMul", self.node("MatMul", down, gradient), across)

    def once(self, matrix: NDArray[Any]) -> str:
        """A constant, which is stored once however often it comes."""
        values = np.ascontiguousarray(matrix, np.float32)
        return self.constant(f"back_matrix_{hashlib.sha256(values.tobytes()).hexdigest()[:16]}_{len(values)}", values)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _add(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return _spread(back, node, (str(g[0]), str(g[0])))


def _sub(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return _spread(back, node, (str(g[0]), back.node("Neg", str(g[0]))))


def _mul(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    a, b = node.input
    return _spread(back, node, (back.mul(str(g[0]), b), back.mul(str(g[0]), a)))


def _div(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    above = back.node("Div", str(g[0]), node.input[1])
    return _spread(back, node, (above, back.node("Neg", back.mul(above, node.output[0]))))


def _spread(back: _Backward, node: onnx.NodeProto, g: Sequence[str]) -> Gradients:
    shape = back.shapes[node.output[0]]
    return [
        back.like(gradient, shape, x) if back.depends(x) else None for x, gradient in zip(node.input, g, strict=True)
    ]


def _relu(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return [back.where(back.node("Greater", node.output[0], back.number(0)), str(g[0]))]


def _clip(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return [back.where(back.node("Equal", node.output[0], node.input[0]), str(g[0]))]


def _sigmoid(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    y = node.output[0]
    return [back.mul(str(g[0]), back.node("Sub", y, back.mul(y, y)))]


def _sqrt(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return [back.node("Div", back.mul(str(g[0]), back.number(0.5)), node.output[0])]


def _same(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return [g[0]]


def _transpose(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return [back.node("Transpose", str(g[0]), perm=np.argsort(attributes(node)["perm"]).tolist())]


def _reshape(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return [back.reshaped(str(g[0]), back.shapes[node.input[0]])]


def _slice(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    shape = back.shapes[node.input[0]]
    starts = back.known(node.input[1]).tolist()
    if len(node.input) > 4 and (back.known(node.input[4]) != 1).any():
        raise ModelError("the gradient of a Slice with steps is not known here")
    axes = back.known(node.input[3]).tolist() if len(node.input) > 3 else range(len(starts))
    before = [0] * len(shape)
    for axis, start in zip(axes, starts, strict=True):
        before[axis] = start + shape[axis] if start < 0 else start
    after = [w - b - o for w, b, o in zip(shape, before, back.shapes[node.output[0]], strict=True)]
    return [back.node("Pad", str(g[0]), back.ints(*before, *after)) if any(before + after) else g[0]]


def _split(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    if None in g:
        raise ModelError("the gradient of a part of a Split is not known here")
    return [back.node("Concat", *map(str, g), axis=attributes(node)["axis"])]


def _concat(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    axis, parts = attributes(node)["axis"], []
    start = 0
    for x in node.input:
        end = start + back.shapes[x][axis]
        parts.append(back.node("Slice", str(g[0]), back.ints(start), back.ints(end), back.ints(axis)))
        start = end
    return [*parts]


def _conv(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    given, weight = attributes(node), node.input[1]
    sizes = back.shapes[node.input[0]][2:]
    kernel, pads = back.shapes[weight][2:], given.get("pads", [0, 0, 0, 0])
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    if given.get("group", 1) != 1 or any(back.depends(x) for x in node.input[1:]):
        raise ModelError("the gradient of a convolution in groups, or of its weights, is not known here")
    if strides == [1, 1]:  # a convolution again, which is faster
        turned = back.node("Transpose", weight, perm=[1, 0, 2, 3])
        ends = (back.ints(-1, -1), back.ints(REVERSED, REVERSED), back.ints(2, 3), back.ints(-1, -1))
        turned = back.node("Slice", turned, *ends)
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        pads = [r - p for r, p in zip(reach * 2, pads, strict=True)]
        return [back.node("Conv", str(g[0]), turned, kernel_shape=kernel, dilations=dilations, pads=pads)]
    made = [
        (out - 1) * s + d * (k - 1) + 1 - top - bottom
        for out, s, d, k, top, bottom in zip(
            back.shapes[node.output[0]][2:], strides, dilations, kernel, pads[:2], pads[2:], strict=True
        )
    ]
    missing = [size - m for size, m in zip(sizes, made, strict=True)]
    how = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads, "output_padding": missing}
    return [back.node("ConvTranspose", str(g[0]), weight, **how)]


def _instance_normalization(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    x, scale, gradient = node.input[0], node.input[1], str(g[0])
    channels, rank = back.shapes[x][1], len(back.shapes[x])
    places = back.ints(*range(2, rank))
    off = back.node("Sub", x, back.node("ReduceMean", x, places, keepdims=1))
    variance = back.node("ReduceMean", back.mul(off, off), places, keepdims=1)
    eps = back.number(attributes(node)["epsilon"])
    deviation = back.node("Sqrt", back.node("Add", variance, eps))
    normalized = back.node("Div", off, deviation)
    along = back.mul(gradient, normalized)
    but_channels = back.ints(0, *range(2, rank))
    result: Gradients = [None]
    if back.depends(x):
        inner = back.node("Sub", gradient, back.node("ReduceMean", gradient, places, keepdims=1))
        inner = back.node("Sub", inner, back.mul(normalized, back.node("ReduceMean", along, places, keepdims=1)))
        gain = back.node("Div", back.reshaped(scale, [1, channels] + [1] * (rank - 2)), deviation)
        result = [back.mul(inner, gain)]
    return [*result, *(back.node("ReduceSum", each, but_channels, keepdims=0) for each in (along, gradient))]


def _pad(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    if attributes(node).get("mode") != b"reflect":
        raise ModelError("only the gradient of padding by reflection is known here")
    pads, sizes = back.known(node.input[1]).tolist(), back.shapes[node.input[0]][2:]
    pairs = zip(sizes, pads[2:4], pads[6:8], strict=True)
    return [back.separable(str(g[0]), [np.pad(np.eye(n), ((a, b), (0, 0)), "reflect") for n, a, b in pairs])]


def _resize(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    """Linear between the middles of pixels, as bodies enlarge."""
    how = attributes(node)
    if (how["mode"], how.get("coordinate_transformation_mode", b"half_pixel")) != (b"linear", b"half_pixel") or how.get(
        "antialias"
    ):
        raise ModelError("the gradient of this Resize is not known here")
    matrices = []
    pairs = zip(back.shapes[node.input[0]][2:], back.shapes[node.output[0]][2:], strict=True)
    for size, wide in pairs:
        position = ((np.arange(wide) + 0.5) * size / wide - 0.5).clip(0, size - 1)
        matrices.append((1 - np.abs(position[:, None] - np.arange(size))).clip(0))
    return [back.separable(str(g[0]), matrices)]


def _average_pool(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    how = attributes(node)
    if how.get("strides") != how["kernel_shape"] or any(how.get("pads", [])) or how.get("ceil_mode"):
        raise ModelError("the gradient of this AveragePool is not known here")
    pairs = zip(back.shapes[node.input[0]][2:], back.shapes[node.output[0]][2:], how["strides"], strict=True)
    return [
        back.separable(
            str(g[0]),
            [(np.arange(size) // step == np.arange(out)[:, None]) / step for size, out, step in pairs],
        )
    ]


def _max_pool(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    how = attributes(node)
    if how.get("strides") != how["kernel_shape"] or any(how.get("pads", [])) or how.get("ceil_mode"):
        raise ModelError("the gradient of this MaxPool is not known here")
    places = f"{node.output[0]}_places"
    node.output.append(places)
    shape = back.ints(*back.shapes[node.input[0]])
    sizes = {"kernel_shape": how["kernel_shape"], "strides": how["strides"]}
    return [back.node("MaxUnpool", str(g[0]), places, shape, **sizes)]


def _mat_mul(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    a, b = node.input
    result: Gradients = [None, None]
    if back.depends(a):
        result[0] = back.node("MatMul", str(g[0]), back.transposed(b))
    if back.depends(b):
        result[1] = back.node("MatMul", back.transposed(a), str(g[0]))
    return result


def _reduced(back: _Backward, node: onnx.NodeProto, gradient: str) -> str:
    """A gradient of what was reduced, with the axes that went, of size 1."""
    shape = back.shapes[node.input[0]]
    axes = (
        {axis % len(shape) for axis in back.known(node.input[1]).tolist()} if len(node.input) > 1 else range(len(shape))
    )
    return back.reshaped(gradient, [1 if axis in axes else size for axis, size in enumerate(shape)])


def _reduce_sum(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    return [back.node("Expand", _reduced(back, node, str(g[0])), back.ints(*back.shapes[node.input[0]]))]


def _reduce_mean(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    shape = back.shapes[node.input[0]]
    count = int(np.prod(shape)) / max(1, int(np.prod(back.shapes[node.output[0]])))
    return [back.mul(str(_reduce_sum(back, node, g)[0]), back.number(1 / count))]


def _reduce_l2(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    share = back.node("Div", str(g[0]), node.output[0])
    return [back.mul(node.input[0], _reduced(back, node, share))]


def _gather(back: _Backward, node: onnx.NodeProto, g: Gradients) -> Gradients:
    shape = back.shapes[node.input[0]]
    if len(shape) != 2 or shape[0] != 1 or attributes(node).get("axis") != 1:
        raise ModelError("the gradient of a Gather is only known along a row here")
    where = back.reshaped(node.input[1], [1, -1])
    zeros = back.constant(f"back_zeros_{shape[1]}", np.zeros((1, shape[1])))
    return [back.node("ScatterElements", zeros, where, str(g[0]), axis=1, reduction="add")]


RULES: dict[str, Callable[[_Backward, onnx.NodeProto, Gradients], Gradients]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Cast": _same,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _div,
    "Gather": _gather,
    "Identity": _same,
    "InstanceNormalization": _instance_normalization,
    "MatMul": _mat_mul,
    "MaxPool": _max_pool,
    "Mul": _mul,
    "Pad": _pad,
    "ReduceL2": _reduce_l2,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Relu": _relu,
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _sqrt,
    "Squeeze": _reshape,
    "Sub": _sub,
    "Transpose": _transpose,
}
