"""The file of an encoder (`rtstyle.export.encoder`): writing it, checking it, and reading it back for further training.

picture   uint8 [1, H, W, 3]   sRGB, any H, W >= 32
code      float32 [K]          for the one body whose SHA-256 the file names, and which it holds
colors    float32 [1, 6]       what it sees of the picture, as in `encoder.Seen`, which polishing tries to match
grams     float32 [1, G]
lengths   float32 [1, L]
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from rtstyle.errors import ModelError
from rtstyle.export import networks, to_onnx
from rtstyle.export.encoder import (
    COLORS,
    CORRECTIONS,
    EPS,
    FARTHEST,
    FARTHEST_STEP,
    GRAM_SHARE,
    MAX_DEVIATION,
    MAX_DIFFERENCE,
    MIN_LENGTH,
    SCALES,
    SIDE,
    Encoder,
    Trial,
    triangle,
)
from rtstyle.export.onnx_graph import Graph, cpu_session, save_checked
from rtstyle.export.small_vgg import UNIT

SEEN = ("colors", "grams", "lengths")
OPSET = 18  # the first whose Resize can smooth what it shrinks
FORMAT = "2"
CHECKED_SIZES = ((32, 45), (300, 257), (1000, 700))
# Between ONNX Runtime and torch, of entries whose spread over styles is about 1. What is painted on trial may differ by
# a grey level here and there, also because the body in the file has weights in float16.
CODE_DIFFERENCE = 0.02


def to_model(encoder: Encoder, trial: Trial) -> onnx.ModelProto:
    """The ONNX graph of an encoder, with the body of its trial in it. No metadata yet."""
    written = Writer(encoder)
    picture = written.node("Cast", written.node("Transpose", "picture", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    target = written.look(written.resize(picture, written.scaled_size()))
    deviations = written.node("Sub", target.moments, written.weight("moment_mean"))
    deviations = written.node("Div", deviations, written.weight("moment_spread"))
    hidden = written.node("Relu", written.linear(written.clip(deviations, MAX_DEVIATION), "hidden"))
    coefficients = written.linear(hidden, "coefficients")
    colors = written.color_code(target.colors)
    for number in range(CORRECTIONS):
        coefficients, colors = _corrected(written, trial, target, hidden, (coefficients, colors), number)
    code = [written.code(coefficients, colors), written.constant("batch", [0])]
    written.nodes.append(helper.make_node("Squeeze", code, ["code"], "code"))
    for name in SEEN:
        written.nodes.append(helper.make_node("Identity", [getattr(target, name)], [name], name))
    return helper.make_model(
        helper.make_graph(
            written.nodes,
            "rtstyle-encoder",
            [helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, "H", "W", 3])],
            [
                helper.make_tensor_value_info("code", TensorProto.FLOAT, [encoder.config["code_length"]]),
                *seen_values(encoder),
            ],
            list(written.initializers.values()),
        ),
        producer_name="rtstyle",
        ir_version=9,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def seen_values(encoder: Encoder) -> list[onnx.ValueInfoProto]:
    """What an encoder tells of what it sees, as ONNX describes it."""
    sizes = {"colors": 2 * COLORS, "grams": len(encoder.gram_spread), "lengths": int(encoder.matrix.max()) + 1}
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, sizes[name]]) for name in SEEN]


def _corrected(
    written: Writer, trial: Trial, target: _Seen, hidden: str, before: tuple[str, str], number: int
) -> tuple[str, str]:
    """Better coefficients and colours, from what is painted with those before: `Encoder.correct`."""
    coefficients, colors = before
    code = written.node("Squeeze", written.code(coefficients, colors), written.constant("batch", [0]))
    stylized = written.painted(trial.body, written.photograph(trial), code, number)
    shown = written.node("Cast", written.node("Transpose", stylized, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    painting = written.look(written.resize(shown, written.constant("trial_size", [trial.seen_side] * 2)))
    grams = written.node("Sub", target.grams, painting.grams)
    lengths = written.node("Sqrt", written.node("Mul", target.lengths, painting.lengths))
    matrix = written.constant("matrix", written.encoder.matrix.cpu().numpy())
    grams = written.node("Div", grams, written.node("Gather", lengths, matrix, axis=1))
    grams = written.clip(written.node("Div", grams, written.weight("gram_spread")), MAX_DIFFERENCE)
    moments = written.node("Sub", target.moments, painting.moments)
    compared = written.node(
        "Concat",
        written.node("Mul", grams, written.constant("gram_share", GRAM_SHARE)),
        written.node("Log", written.node("Div", target.lengths, painting.lengths)),
        written.clip(written.node("Div", moments, written.weight("moment_spread")), MAX_DIFFERENCE),
        hidden,
        written.bounded(coefficients, FARTHEST),
        axis=1,
    )
    change = written.linear(written.node("Relu", written.linear(compared, "compared")), "corrections")
    change = written.bounded(change, FARTHEST_STEP)
    color_change = written.node("Sub", written.color_code(target.colors), written.color_code(painting.colors))
    color_change = written.node("Mul", color_change, written.weight("color_gain"))
    share = written.constant(f"share_{number}", 1 / (number + 1))
    return (
        written.node("Add", coefficients, written.node("Mul", change, share)),
        written.node("Add", colors, written.node("Mul", color_change, share)),
    )


class _Seen(NamedTuple):
    """The names of the values of a `Seen`."""

    colors: str
    moments: str
    grams: str
    lengths: str


class Writer(Graph):
    """The operations of an encoder, written down as ONNX nodes. Its larger weights are stored as float16, to which
    `rounded` has brought them."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.weights = {name: value.detach().cpu().numpy() for name, value in encoder.state_dict().items()}

    def photograph(self, trial: Trial) -> str:
        self.initializers["photograph"] = numpy_helper.from_array(trial.photograph.numpy(), "photograph")
        return "photograph"

    def painted(self, body: networks.Body, frames: str, code: str, number: int = 0) -> str:
        """What the body makes of frames with a code; `number` makes the names of several paintings differ, which share
        the weights."""
        graph = onnx.compose.add_prefix_graph(to_onnx.to_model(body).graph, f"body{number}/")
        if number:
            first = {weight.name: weight.name.replace(str(number), "0", 1) for weight in graph.initializer}
            for node in graph.node:
                node.input[:] = [first.get(name, name) for name in node.input]
        else:
            self.store(graph.initializer)
        for name, here in ((frames, graph.input[0].name), (code, graph.input[1].name)):
            self.nodes.append(helper.make_node("Identity", [name], [here], here))
        self.nodes.extend(graph.node)
        return str(graph.output[0].name)

    def weight(self, name: str) -> str:
        values = self.weights[name]
        if values.ndim < 2:
            return self.constant(name, values)
        wide = f"{name}_float32"
        if name not in self.initializers:
            self.halved(name, values, wide)
        return wide

    def halved(self, name: str, values: np.ndarray, wide: str) -> None:
        """Store values as float16 called `name`; they are used as float32 called `wide`."""
        self.initializers[name] = numpy_helper.from_array(values.astype(np.float16), name)
        self.nodes.append(helper.make_node("Cast", [name], [wide], wide, to=TensorProto.FLOAT))

    def store(self, constants: Iterable[onnx.TensorProto]) -> None:
        """Those of another graph, the larger weights among them as float16: for a trial that is near enough."""
        for tensor in constants:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim > 1:
                self.halved(f"{tensor.name}_float16", values, tensor.name)
            else:
                self.initializers[tensor.name] = tensor

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

    def color_moments(self, x: str) -> str:
        mean = self.node("ReduceMean", x, self.places(), keepdims=1)
        off = self.node("Sub", x, mean)
        variance = self.node("ReduceMean", self.node("Mul", off, off), self.places(), keepdims=0)
        deviation = self.node("Sqrt", self.node("Add", variance, self.constant("eps", EPS)))
        return self.node("Concat", self.node("Squeeze", mean, self.places()), deviation, axis=1)

    def places(self) -> str:
        return self.constant("places", [2, 3])

    def look(self, picture: str) -> _Seen:
        """At a picture in grey levels."""
        gray = self.constant("middle", 127.5)
        colors = self.color_moments(self.node("Div", self.node("Sub", picture, gray), gray))
        moments, grams, lengths = [colors], [], []
        for scale in SCALES:
            sides = {"kernel_shape": [scale] * 2, "strides": [scale] * 2}
            for maps, count in self.small_vgg(self.node("AveragePool", picture, **sides) if scale > 1 else picture):
                matrix = self.second_moments(maps)
                diagonal = self.node(
                    "Gather", matrix, self.constant(f"diagonal_{count}", np.arange(count) * (count + 1)), axis=1
                )
                diagonal = self.node("Sqrt", self.node("Add", diagonal, self.constant("eps", EPS)))
                moments += [self.node("ReduceMean", maps, self.places(), keepdims=0), diagonal]
                places, doubles = (values.numpy() for values in triangle(count, torch.device("cpu")))
                gram = self.node("Gather", matrix, self.constant(f"triangle_{count}", places), axis=1)
                gram = self.node("Mul", gram, self.constant(f"doubles_{count}", doubles))
                length = self.node("ReduceL2", gram, self.constant("in_a_row", [1]), keepdims=1)
                grams.append(gram)
                lengths.append(self.node("Add", length, self.constant("min_length", MIN_LENGTH)))
        return _Seen(colors, *(self.node("Concat", *values, axis=1) for values in (moments, grams, lengths)))

    def small_vgg(self, picture: str) -> list[tuple[str, int]]:
        """The components of each layer, and how many they are."""
        net = self.encoder.vgg
        x = self.node("Sub", picture, self.constant("vgg_mean", net.mean.cpu().numpy()))
        x = self.node("Div", x, self.constant("vgg_unit", UNIT))
        result = []
        for stage, count in enumerate(net.components):
            if stage:
                x = self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            for number in range(len(self.encoder.config["widths"][stage])):
                x = self.node("Relu", self.convolution(x, f"vgg.stages.{stage}.{number}", 1))
            result.append((self.convolution(x, f"vgg.heads.{stage}", 0), count))
        return result

    def convolution(self, x: str, name: str, pad: int) -> str:
        return self.node("Conv", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), pads=[pad] * 4)

    def second_moments(self, maps: str) -> str:
        """[1, C, H, W] to [1, C C]."""
        flat = self.node("Reshape", maps, self.constant("in_rows", [0, 0, -1]))
        count = self.node("Cast", self.node("Shape", flat, start=2), to=TensorProto.FLOAT)
        matrix = self.node("Div", self.node("MatMul", flat, self.node("Transpose", flat, perm=[0, 2, 1])), count)
        return self.node("Reshape", matrix, self.constant("in_one_row", [1, -1]))

    def clip(self, x: str, most: float) -> str:
        return self.node("Clip", x, self.constant(f"least_{most:g}", -most), self.constant(f"most_{most:g}", most))

    def bounded(self, x: str, most: float) -> str:
        bound = self.constant(f"most_{most:g}", most)
        return self.node("Mul", self.node("Tanh", self.node("Div", x, bound)), bound)

    def color_code(self, colors: str) -> str:
        ends = [self.constant(f"colors_{k}", [k]) for k in (0, COLORS, 2 * COLORS)]
        one = self.constant("in_a_row", [1])
        mean, deviation = (self.node("Slice", colors, *pair, one) for pair in itertools.pairwise(ends))
        return self.node("Concat", deviation, mean, axis=1)

    def code(self, coefficients: str, colors: str) -> str:
        rest = np.zeros((1, self.encoder.config["code_length"] - 2 * COLORS))
        colors = self.node("Concat", self.constant("rest", rest), colors, axis=1)
        directed = self.node(
            "Gemm", self.bounded(coefficients, FARTHEST), self.weight("directions"), self.weight("mean")
        )
        return self.node("Add", directed, colors)


@torch.no_grad()
def rounded(encoder: Encoder) -> Encoder:
    """A copy on the CPU, its larger weights rounded to float16: half the file."""
    result = Encoder(**encoder.config).eval()
    result.load_state_dict({k: v.half().float() if v.ndim > 1 else v for k, v in encoder.cpu().state_dict().items()})
    return result


def belongs_to(encoder: Encoder, trial: Trial) -> dict[str, str]:
    """Metadata that say what a file works with: the body, and the encoder with its weights as they are stored."""
    return {
        "rtstyle.body_sha256": trial.body.body_sha256(),
        "rtstyle.encoder_sha256": networks.weights_sha256(encoder.state_dict()),
    }


def write_encoder(
    encoder: Encoder, trial: Trial, training: dict[str, Any], out: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Check the encoder of the body in `trial` and write it to `out`. Nothing is written unless the file passes
    `onnx.checker` and agrees with torch in ONNX Runtime; without `force` no file is replaced. Raises RtstyleError
    otherwise."""
    encoder = rounded(encoder)
    model = to_model(encoder, trial)
    facts = {
        "rtstyle.encoder": FORMAT,
        "rtstyle.encoder_config": json.dumps(encoder.config),
        "rtstyle.training": json.dumps(training),
    }
    helper.set_model_props(model, facts | belongs_to(encoder, trial))
    difference = functools.partial(compare, encoder=encoder, trial=trial)
    save_checked(model, "encoder", difference, CODE_DIFFERENCE, out, force=force)


@torch.no_grad()
def compare(model: onnx.ModelProto, encoder: Encoder, trial: Trial) -> float:
    """Largest difference of a code's entry between ONNX Runtime and torch, over CHECKED_SIZES."""
    session = cpu_session(model)
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
