"""Files in the place of a model."""

from __future__ import annotations

import random
import shutil

from bench import Bench, Runs, Verdict, finished, judge, names_in
from clips import mutate, scene
from pictures import is_picture
from PIL import Image


def hostile_models() -> dict[str, bytes]:
    """Files that take the place of a model. Needs the package onnx."""
    import onnx
    from onnx import TensorProto, helper

    def model(nodes, inputs, outputs, initializers=(), **metadata) -> bytes:
        graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=initializers)
        built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(built, {key.replace("__", "."): value for key, value in metadata.items()})
        return built.SerializeToString()

    def values(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    byte, real = TensorProto.UINT8, TensorProto.FLOAT
    nchw, frames = ["N", 3, "H", "W"], ["N", "H", "W", 3]
    given = [values("x", real, nchw)]
    found = {
        "empty": b"",
        "text": b"this is no model",
        "zeros": bytes(4096),
        "random": random.Random(1).randbytes(20000),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "no graph": onnx.ModelProto(ir_version=8).SerializeToString(),
        "no outputs": model([], given, []),
        "two inputs": model(
            [helper.make_node("Add", ["x", "y"], ["z"])], [*given, values("y", real, nchw)], [values("z", real, nchw)]
        ),
        "unknown operator": model([helper.make_node("Nonsense", ["x"], ["y"])], given, [values("y", real, nchw)]),
        "cycle": model(
            [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])],
            given,
            [values("b", real, nchw)],
        ),
        "one channel": model(
            [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)], given, [values("y", real, None)]
        ),
        "no pixels": model(
            [helper.make_node("Slice", ["x", "a", "a"], ["y"])],
            given,
            [values("y", real, None)],
            [helper.make_tensor("a", TensorProto.INT64, [1], [0])],
        ),
        "other size": model(
            [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[3, 3])],
            given,
            [values("y", real, None)],
        ),
        "NaN": model(
            [helper.make_node("Sub", ["x", "x"], ["o"]), helper.make_node("Div", ["o", "o"], ["y"])],
            given,
            [values("y", real, nchw)],
        ),
        "one colour": model([helper.make_node("Sub", ["x", "x"], ["y"])], given, [values("y", real, nchw)]),
        "strings": model([], [values("x", TensorProto.STRING, nchw)], [values("x", TensorProto.STRING, nchw)]),
        "huge weight": model(
            [helper.make_node("Expand", ["x", "s"], ["y"])],
            given,
            [values("y", real, None)],
            [helper.make_tensor("s", TensorProto.INT64, [5], [4096, 64, 3, 512, 512])],
        ),
        "external data outside": external(model, values, helper, onnx),
        "never ends": endless(model, values, helper, onnx),
    }
    for side in (0, -1, 20000, 60000, 2**31, 2**40):
        found[f"fixed to {side}"] = model(
            [helper.make_node("Relu", ["x"], ["y"])], [values("x", real, [1, 3, side, side])], [values("y", real, nchw)]
        )
    paints = [helper.make_node("Identity", ["frames"], ["stylized"])]
    own = [values("frames", byte, frames)], [values("stylized", byte, frames)]
    whole = {"rtstyle__format": "1", "rtstyle__body": "live", "rtstyle__body_sha256": "0" * 64}
    for name, metadata in {
        "format 99": {**whole, "rtstyle__format": "99"},
        "styles no JSON": {**whole, "rtstyle__styles": "["},
        "styles a number": {**whole, "rtstyle__styles": "7"},
        "styles deep": {**whole, "rtstyle__styles": "[" * 100000},
        "styles of numbers": {**whole, "rtstyle__styles": "[1, 2]"},
        "styles without names": {**whole, "rtstyle__styles": "[{}]", "rtstyle__codes": ""},
        "name a path": {**whole, "rtstyle__styles": '[{"name": "../../etc/passwd"}]', "rtstyle__codes": "AAAA"},
        "name with escapes": {**whole, "rtstyle__styles": '[{"name": "\\u001b[2J\\n"}]', "rtstyle__codes": "AAAA"},
        "codes no base64": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__codes": "!!!!"},
        "codes short": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__codes": "AAAAAAAA"},
        "height 0": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__reference_height": "0"},
        "height a word": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__reference_height": "tall"},
        "training no JSON": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__training": "{"},
        "thumbnail no picture": {**whole, "rtstyle__styles": '[{"name": "a", "thumbnail": "AAAA"}]'},
    }.items():
        found[name] = model(paints, *own, **metadata)
    good = model(paints, *own, **whole, rtstyle__styles='[{"name": "a"}]')
    for number in range(60 - len(found)):
        found[f"mutant {number}"] = mutate(good, random.Random(f"model {number}"))
    return found


def plain_model() -> bytes:
    """A net of one style that keeps rtstyle's contract and paints nothing. Needs the package onnx."""
    import onnx
    from onnx import TensorProto, helper

    frames = ["N", "H", "W", 3]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["frames"], ["stylized"])],
        "plain",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, frames)],
        [helper.make_tensor_value_info("stylized", TensorProto.UINT8, frames)],
    )
    built: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {"format": "1", "body": "plain", "body_sha256": "0" * 64, "reference_height": "360"}
    facts |= {"styles": '[{"name": "plain"}]', "codes": "AAAAAA=="}
    helper.set_model_props(built, {f"rtstyle.{key}": text for key, text in facts.items()})
    return built.SerializeToString()


def external(model, values, helper, onnx) -> bytes:
    """Weights that are said to lie in a file outside of the model's folder."""
    weight = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../../../../etc/passwd")
    given = [values("x", 1, ["N", 3, "H", "W"])]
    return model([helper.make_node("Mul", ["x", "w"], ["y"])], given, [values("y", 1, ["N", 3, "H", "W"])], [weight])


def endless(model, values, helper, onnx) -> bytes:
    """A loop that goes round 2^62 times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])],
        "body",
        [values("i", 7, []), values("c", 9, []), values("v", 1, None)],
        [values("c2", 9, []), values("v2", 1, None)],
    )
    trips = helper.make_tensor("trips", 7, [], [2**62])
    yes = helper.make_tensor("yes", 9, [], [True])
    return model(
        [helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body)],
        [values("x", 1, ["N", 3, "H", "W"])],
        [values("y", 1, None)],
        [trips, yes],
    )


def models(bench: Bench) -> Runs:
    folder = bench.room("pictures")
    Image.fromarray(scene(1)).save(folder / "in.png")
    for name, data in hostile_models().items():

        def one(name=name, data=data) -> Verdict:
            where = bench.room(f"model_{name}")
            shutil.copy(folder / "in.png", where)
            (where / "model.onnx").write_bytes(data)
            command = ["image", "in.png", "out.png", "--model", "model.onnx", "--device", "cpu"]
            ended = bench.run(command, where, limit=150)
            found = names_in(where, {"in.png", "model.onnx"})
            how, fault = judge(ended, results={"out.png"}, found=found, whole=lambda: is_picture(where / "out.png"))
            return finished(where, how, fault)

        yield name, one
