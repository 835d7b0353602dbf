"""The gradient of an ONNX graph, against finite differences of what ONNX Runtime computes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

pytest.importorskip("torch")  # what is exported is written where one trains

from rtstyle.errors import ModelError
from rtstyle.export import gradient
from rtstyle.export.onnx_graph import Graph, folded

SHAPE = (1, 4, 6, 7)  # of the value that an operation gets
STEP = 0.02


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(0, 1, shape).astype(np.float32)


def conv(**how):
    return lambda g, x: g.node("Conv", x, g.constant("w", random(3, 4, 3, 3)), g.constant("b", random(3)), **how)


def axes(g, *values):
    return g.constant("axes", list(values))


def normalized(g, x):
    scale = g.node("ReduceMean", x, g.constant("places", [0, 2, 3]), keepdims=0)
    return g.node("InstanceNormalization", x, scale, g.constant("b", random(4)), epsilon=0.1)


def sliced(g, x):
    ends = (g.constant("from", [1, -5]), g.constant("to", [3, 7]), g.constant("of", [1, 3]))
    return g.node("Slice", x, *ends)


def halves(g, x):
    g.nodes.append(helper.make_node("Split", [x, g.constant("parts", [1, 3])], ["one", "three"], axis=1))
    return g.node("Concat", "three", g.node("Mul", "one", "one"), x, axis=1)


def row(g, x):
    return g.node("Reshape", x, g.constant("row", [1, -1]))


def gathered(g, x):
    return g.node("Gather", row(g, x), g.constant("which", [3, 3, 50, 0]), axis=1)


def spread(g, x):
    """Broadcasting in both directions."""
    narrow = g.node("ReduceMean", x, axes(g, 2, 3), keepdims=1)
    total = g.node("Div", g.node("Sub", x, narrow), g.node("Add", g.node("Mul", narrow, narrow), g.constant("c", 2.0)))
    return g.node("Mul", total, g.constant("d", random(4, 1, 1)))


def matrices(g, x):
    flat = g.node("Reshape", x, g.constant("flat", [1, 4, -1]))
    return g.node("MatMul", flat, g.node("Transpose", flat, perm=[0, 2, 1]))


CASES = {
    "average": lambda g, x: g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]),
    "clip": lambda g, x: g.node("Clip", x, g.constant("a", -0.5), g.constant("b", 0.7)),
    "conv": conv(pads=[1, 1, 1, 1]),
    "conv, dilated": conv(dilations=[2, 2], pads=[2, 0, 1, 2]),
    "conv, strides": conv(strides=[2, 2]),
    "enlarged": lambda g, x: g.node(
        "Resize", x, "", g.constant("s", np.array([1, 1, 2, 2], np.float32)), mode="linear"
    ),
    "gather": gathered,
    "instance normalization": normalized,
    "l2": lambda g, x: g.node("ReduceL2", row(g, x), axes(g, 1), keepdims=1),
    "matrices": matrices,
    "maximum": lambda g, x: g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]),
    "one matrix": lambda g, x: g.node("MatMul", g.constant("m", random(5, 6)), x),
    "reflected": lambda g, x: g.node("Pad", x, g.constant("p", [0, 0, 2, 1, 0, 0, 1, 3]), mode="reflect"),
    "relu": lambda g, x: g.node("Relu", x),
    "root": lambda g, x: g.node("Sqrt", g.node("Add", g.node("Mul", x, x), g.constant("c", 0.5))),
    "sigmoid": lambda g, x: g.node("Sigmoid", x),
    "slice": sliced,
    "split and concat": halves,
    "spread": spread,
    "squeezed": lambda g, x: g.node("Squeeze", g.node("ReduceSum", x, axes(g, 1), keepdims=1), axes(g, 1)),
    "transposed": lambda g, x: g.node("Transpose", x, perm=[0, 2, 3, 1]),
}


def written(operation):
    """The graph of an operation of `x`, float32 [n], plus half of its square, summed up: `loss`, [1]."""
    g = Graph()
    value = operation(g, g.node("Reshape", "x", g.constant("shape", SHAPE)))
    flat = g.node("Reshape", value, g.constant("all", [-1]))
    squares = g.node("Mul", flat, flat)
    weighted = g.node("Add", flat, g.node("Mul", squares, g.constant("half", 0.5)))
    g.nodes.append(helper.make_node("ReduceSum", [weighted, g.constant("first", [0])], ["loss"], keepdims=1))
    graph = helper.make_graph(
        g.nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [int(np.prod(SHAPE))])],
        [helper.make_tensor_value_info("loss", TensorProto.FLOAT, [1])],
        list(g.initializers.values()),
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_slope_of_the_loss(name):
    model = folded(written(CASES[name]))
    gradient.add_gradient(model, "loss", "x")
    onnx.checker.check_model(model, full_check=True)
    run, x = session(model), random(int(np.prod(SHAPE)))
    (got,) = run.run(["gradient"], {"x": x})
    assert got.shape == x.shape
    for seed in range(4):
        way = np.random.default_rng(seed).normal(0, 1, x.shape).astype(np.float32)
        way *= STEP / np.linalg.norm(way)
        (above,), (below,) = (run.run(["loss"], {"x": x + s * way})[0] for s in (1, -1))
        slope = (float(above) - float(below)) / 2
        assert slope == pytest.approx(float(got @ way), rel=0.03, abs=2e-3 * float(np.linalg.norm(got)) * STEP + 2e-4)


def test_what_nobody_has_differentiated_is_said():
    model = folded(written(lambda g, x: g.node("Erf", x)))
    with pytest.raises(ModelError, match="the gradient of the ONNX operation Erf is not known here"):
        gradient.add_gradient(model, "loss", "x")


def test_values_that_do_not_depend_on_the_input_have_no_way_back():
    model = written(lambda g, x: g.node("Add", x, g.node("Erf", g.constant("fixed", random(*SHAPE)))))
    gradient.add_gradient(model, "loss", "x")
    assert "Erf" in {node.op_type for node in model.graph.node}
    assert session(model).run(["gradient"], {"x": random(int(np.prod(SHAPE)))})[0].any()
