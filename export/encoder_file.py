"""The file of an encoder (`rtstyle.export.encoder`): writing it, checking it, and reading it back for further training.

picture   uint8 [1, H, W, 3]   sRGB, any H, W >= 32
code      float32 [K]          for the one body whose SHA-256 the file names, and which it holds
"""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from rtstyle.errors import ModelError
from rtstyle.export import to_onnx
from rtstyle.export.encoder import COLORS, CORRECTIONS, EPS, MAX_DIFFERENCE, SIDE, Encoder, Trial
from rtstyle.export.onnx_graph import Graph
from rtstyle.files import written_beside

OPSET = 18  # the first whose Resize can smooth what it shrinks
FORMAT = "1"
CHECKED_SIZES = ((32, 45), (300, 257), (1000, 700))
# Between ONNX Runtime and torch, of entries whose spread over styles is about 1. What is painted on trial may differ by
# a grey level here and there, which three corrections amplify: .007 was measured.
CODE_DIFFERENCE = 0.02


def to_model(encoder: Encoder, trial: Trial) -> onnx.ModelProto:
    """The ONNX graph of an encoder, with the body of its trial in it. No metadata yet."""
    written = _Writer(encoder)
    picture = written.node("Cast", written.node("Transpose", "picture", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    target = written.statistics(written.resize(picture, written.scaled_size()))
    normed = written.node(
        "LayerNormalization", target, written.weight("norm.weight"), written.weight("norm.bias"), axis=-1, epsilon=EPS
    )
    hidden = written.node("Relu", written.linear(normed, "hidden"))
    coefficients = written.linear(hidden, "coefficients")
    code = written.node("Gemm", coefficients, written.weight("directions"), written.weight("mean"))
    code = written.node("Add", code, written.as_colors(target))
    correction = _correction(written, trial, target, hidden)
    loop = [written.constant("corrections", CORRECTIONS), "", code, coefficients]
    written.nodes.append(helper.make_node("Loop", loop, ["corrected", "last_coefficients"], "correct", body=correction))
    written.nodes.append(helper.make_node("Squeeze", ["corrected", written.constant("batch", [0])], ["code"], "code"))
    return helper.make_model(
        helper.make_graph(
            written.nodes,
            "rtstyle-encoder",
            [helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, "H", "W", 3])],
            [helper.make_tensor_value_info("code", TensorProto.FLOAT, [encoder.config["code_length"]])],
            list(written.initializers.values()),
        ),
        producer_name="rtstyle",
        ir_version=9,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def _correction(outer: _Writer, trial: Trial, target: str, hidden: str) -> onnx.GraphProto:
    """The graph of one correction: code and coefficients in, better ones out."""
    inner = outer.inside()
    body = onnx.compose.add_prefix_graph(to_onnx.to_model(trial.body).graph, "body/")
    photograph = numpy_helper.from_array(trial.photograph.numpy(), "body/frames")
    inner.nodes.append(helper.make_node("Squeeze", ["code_before", inner.constant("batch", [0])], ["body/code"]))
    inner.nodes.extend(body.node)
    painted = inner.node("Transpose", "body/stylized", perm=[0, 3, 1, 2])
    painted = inner.node("Cast", painted, to=TensorProto.FLOAT)
    painted = inner.resize(painted, inner.constant("trial_size", [trial.seen_side] * 2))
    missing = inner.node("Sub", target, inner.statistics(painted))
    difference = inner.node("Div", missing, inner.weight("spread"))
    bounds = (inner.constant(name, value) for name, value in (("min", -MAX_DIFFERENCE), ("max", MAX_DIFFERENCE)))
    difference = inner.node("Clip", difference, *bounds)
    compared = inner.node("Concat", difference, hidden, "coefficients_before", axis=1)
    change = inner.linear(inner.node("Relu", inner.linear(compared, "compared")), "corrections")
    code_change = inner.node("Gemm", change, inner.weight("ways"))
    color_change = inner.as_colors(missing, inner.weight("color_gain"))
    results = {
        "going_on_still": "going_on",
        "code_after": inner.node("Add", "code_before", inner.node("Add", code_change, color_change)),
        "coefficients_after": inner.node("Add", "coefficients_before", change),
    }
    for name, value in results.items():
        inner.nodes.append(helper.make_node("Identity", [value], [name], name))
    length, directions = (outer.encoder.config[key] for key in ("code_length", "directions"))

    def values(when: str, condition: str) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(condition, TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"code_{when}", TensorProto.FLOAT, [1, length]),
            helper.make_tensor_value_info(f"coefficients_{when}", TensorProto.FLOAT, [1, directions]),
        ]

    return helper.make_graph(
        inner.nodes,
        "correction",
        [helper.make_tensor_value_info("number", TensorProto.INT64, []), *values("before", "going_on")],
        values("after", "going_on_still"),
        [photograph, *body.initializer],
    )


class _Writer(Graph):
    """The operations of an encoder, written down as ONNX nodes. Its larger weights are stored as float16, to which
    `rounded` has brought them."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.weights = {name: value.detach().cpu().numpy() for name, value in encoder.state_dict().items()}
        self.casts = self.nodes  # also of what is used inside a loop

    def inside(self) -> _Writer:
        """For a graph inside this one, which uses the same constants."""
        inner = _Writer(self.encoder)
        inner.prefix, inner.initializers, inner.casts = "inner_", self.initializers, self.casts
        return inner

    def weight(self, name: str) -> str:
        values = self.weights[name]
        if values.ndim < 2:
            return self.constant(name, values)
        wide = f"{name}_float32"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(values.astype(np.float16), name)
            self.casts.append(helper.make_node("Cast", [name], [wide], wide, to=TensorProto.FLOAT))
        return wide

    def linear(self, x: str, name: str) -> str:
        return self.node("Gemm", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), transB=1)

    def scaled_size(self) -> str:
        """Height and width of the input `picture` for `scaled`."""
        bounds = (self.constant(f"axis_{k}", [k]) for k in (1, 3))
        sides = self.node("Cast", self.node("Slice", self.node("Shape", "picture"), *bounds), to=TensorProto.FLOAT)
        scale = self.node("Div", self.constant("side", float(SIDE)), self.node("ReduceMin", sides, keepdims=1))
        sides = self.node("Floor", self.node("Add", self.node("Mul", sides, scale), self.constant("half", 0.5)))
        return self.node("Max", self.node("Cast", sides, to=TensorProto.INT64), self.constant("least", [SIDE]))

    def resize(self, x: str, size: str) -> str:
        how: dict[str, Any] = {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", x, "", "", size, axes=[2, 3], **how)

    def moments(self, x: str) -> str:
        places = self.constant("places", [2, 3])
        mean = self.node("ReduceMean", x, places, keepdims=1)
        off = self.node("Sub", x, mean)
        variance = self.node("ReduceMean", self.node("Mul", off, off), places, keepdims=0)
        deviation = self.node("Sqrt", self.node("Add", variance, self.constant("eps", EPS)))
        return self.node("Concat", self.node("Squeeze", mean, places), deviation, axis=1)

    def statistics(self, x: str) -> str:
        """Of a picture in grey levels."""
        middle = self.constant("middle", 127.5)
        x = self.node("Div", self.node("Sub", x, middle), middle)
        result = [self.moments(x)]
        for i in range(len(self.encoder.convolutions)):
            pads = [self.weights[f"convolutions.{i}.weight"].shape[-1] // 2] * 4
            weights = (self.weight(f"convolutions.{i}.{which}") for which in ("weight", "bias"))
            x = self.node("Relu", self.node("Conv", x, *weights, strides=[2, 2], pads=pads))
            result.append(self.moments(x))
        return self.node("Concat", *result, axis=1)

    def as_colors(self, statistics: str, gain: str = "") -> str:
        ends = [self.constant(f"colors_{k}", [k]) for k in (0, COLORS, 2 * COLORS)]
        one = self.constant("one", [1])
        mean, deviation = (self.node("Slice", statistics, *pair, one) for pair in itertools.pairwise(ends))
        colors = self.node("Concat", deviation, mean, axis=1)
        if gain:
            colors = self.node("Mul", colors, gain)
        rest = np.zeros((1, self.encoder.config["code_length"] - 2 * COLORS))
        return self.node("Concat", self.constant("rest", rest), colors, axis=1)


@torch.no_grad()
def rounded(encoder: Encoder) -> Encoder:
    """A copy on the CPU, its larger weights rounded to float16: half the file."""
    result = Encoder(**encoder.config).eval()
    result.load_state_dict({k: v.half().float() if v.ndim > 1 else v for k, v in encoder.cpu().state_dict().items()})
    return result


def write_encoder(
    encoder: Encoder, trial: Trial, training: dict[str, Any], out: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Check the encoder of the body in `trial` and write it to `out`. Nothing is written unless the file passes
    `onnx.checker` and agrees with torch in ONNX Runtime; without `force` no file is replaced. Raises RtstyleError
    otherwise."""
    encoder = rounded(encoder)
    model = to_model(encoder, trial)
    helper.set_model_props(
        model,
        {
            "rtstyle.encoder": FORMAT,
            "rtstyle.encoder_config": json.dumps(encoder.config),
            "rtstyle.body_sha256": trial.body.body_sha256(),
            "rtstyle.training": json.dumps(training),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    difference = compare(model, encoder, trial)
    if not difference <= CODE_DIFFERENCE:
        raise ModelError(f"the exported encoder differs from torch by {difference:.2g}: {out} was not written")
    with written_beside(out, force=force) as part:
        onnx.save(model, str(part))


@torch.no_grad()
def compare(model: onnx.ModelProto, encoder: Encoder, trial: Trial) -> float:
    """Largest difference of a code's entry between ONNX Runtime and torch, over CHECKED_SIZES."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    worst = 0.0
    for height, width in CHECKED_SIZES:
        picture = random.integers(0, 256, (1, height, width, 3), np.uint8)
        got = session.run(None, {"picture": picture})[0]
        expected = encoder(torch.from_numpy(picture).permute(0, 3, 1, 2).float(), trial)[0].numpy()
        worst = max(worst, float(np.abs(got - expected).max()))
    return worst


def from_onnx(path: str | os.PathLike[str]) -> tuple[Encoder, str]:
    """(encoder, SHA-256 of its body) of a file that `write_encoder` wrote, for further training. Raises ModelError if
    it is none."""
    try:
        model = onnx.load(str(path))
        props = {prop.key: prop.value for prop in model.metadata_props}
        encoder = Encoder(**json.loads(props["rtstyle.encoder_config"]))
        weights = {
            t.name: torch.from_numpy(numpy_helper.to_array(t).astype(np.float32)) for t in model.graph.initializer
        }
        encoder.load_state_dict({name: weights[name] for name in encoder.state_dict()})
        return encoder, props["rtstyle.body_sha256"]
    except FileNotFoundError:
        raise ModelError(f"the encoder {path} does not exist") from None
    except Exception as error:  # protobuf's own kinds, metadata or weights missing or of other shapes
        raise ModelError(f"{path} is not an encoder that rtstyle wrote ({type(error).__name__})") from None
