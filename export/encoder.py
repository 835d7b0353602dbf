"""The encoder: a picture in, the code of its style out (Ghiasi et al. 2017, "Exploring the structure of a real-time,
arbitrary neural artistic stylization network").

    picture   uint8 [1, H, W, 3]   sRGB, any H, W >= 32
    code      float32 [K]          for the one body whose SHA-256 the file names

A code says which strokes and colours, not where: so the net sees a picture only through statistics, the mean and the
deviation over all places of the features of each depth. From them it makes a few coefficients, and the code is the mean
of the body's own codes plus so much of each of as many directions, the first of which are those in which the body's own
codes differ.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rtstyle.errors import ModelError
from rtstyle.export.onnx_graph import Graph
from rtstyle.files import written_beside

OPSET = 18  # the first whose Resize can smooth what it shrinks
FORMAT = "1"
SIDE = 256  # pixels, to which the short side of a picture is scaled
EPS = 1e-5
COLORS = 3
CHECKED_SIZES = ((32, 45), (300, 257), (1000, 700))
CODE_DIFFERENCE = 5e-3  # between ONNX Runtime and torch, of entries whose spread over styles is about 1


class Encoder(nn.Module):
    """Pictures to codes. `widths` are the channels of its convolutions, each of which halves the size."""

    def __init__(
        self,
        code_length: int,
        widths: Sequence[int] = (32, 64, 96, 128, 192),
        hidden: int = 384,
        directions: int = 96,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.config: dict[str, Any] = {
            "code_length": code_length,
            "widths": list(widths),
            "hidden": hidden,
            "directions": directions,
        }
        sizes = [5] + [3] * (len(widths) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(cin, cout, size, 2, padding=size // 2)
            for (cin, cout), size in zip(itertools.pairwise([COLORS, *widths]), sizes, strict=True)
        )
        self.norm = nn.LayerNorm(2 * (COLORS + sum(widths)), eps=EPS)
        self.hidden = nn.Linear(2 * (COLORS + sum(widths)), hidden)
        self.coefficients = nn.Linear(hidden, directions)
        self.mean = nn.Parameter(torch.zeros(code_length))
        self.directions = nn.Parameter(torch.zeros(directions, code_length))
        with torch.no_grad():
            for module in (*self.convolutions, self.hidden, self.coefficients):
                fan_in = module.weight[0].numel()
                gain = 1 if module is self.coefficients else 2
                module.weight.normal_(0, (gain / fan_in) ** 0.5, generator=generator)
                module.bias.zero_()
            self.directions.normal_(0, 1, generator=generator)

    @torch.no_grad()
    def start_from(self, codes: torch.Tensor) -> None:
        """Begin with the mean of codes [S, K], the directions in which they differ, and small random ones."""
        centered = codes - codes.mean(0)
        _, lengths, axes = torch.linalg.svd(centered, full_matrices=False)
        count = min(len(self.directions), len(codes) - 1)
        self.mean.copy_(codes.mean(0))
        self.mean[-2 * COLORS :] = 0  # comes from the picture itself
        self.directions.mul_(0.1 * centered.std(0))
        self.directions[:count] = axes[:count] * lengths[:count, None] / max(1, len(codes) - 1) ** 0.5
        self.directions[:, -2 * COLORS :].mul_(0.1)
        self.coefficients.weight.mul_(0.3)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """A picture, float [1, 3, H, W] in grey levels, to its code [1, K]."""
        return self.seen(scaled(picture))

    def seen(self, picture: torch.Tensor) -> torch.Tensor:
        """The same for a picture that is scaled already, or a part of it."""
        x = picture / 127.5 - 1
        colors = moments(x)
        statistics = [colors]
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
            statistics.append(moments(x))
        hidden = F.relu(self.hidden(self.norm(torch.cat(statistics, 1))))
        code = self.mean + self.coefficients(hidden) @ self.directions
        # A body begins its last normalisation with the colours of the artwork (`networks.Live.start_colors`)
        start = torch.cat([colors[:, COLORS:], colors[:, :COLORS]], 1)
        result: torch.Tensor = code + F.pad(start, [code.shape[1] - 2 * COLORS, 0])
        return result


def scaled(picture: torch.Tensor) -> torch.Tensor:
    """A picture [1, 3, H, W] with a short side of SIDE pixels."""
    height, width = picture.shape[2:]
    if min(height, width) == SIDE:
        return picture
    scale = SIDE / min(height, width)
    size = [max(SIDE, int(scale * side + 0.5)) for side in (height, width)]
    return F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)


def moments(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] to the means and deviations over all places, [N, 2 C]."""
    mean = x.mean((2, 3), keepdim=True)
    deviation = ((x - mean).square().mean((2, 3)) + EPS).sqrt()
    return torch.cat([mean[:, :, 0, 0], deviation], 1)


def to_model(encoder: Encoder) -> onnx.ModelProto:
    """The ONNX graph of an encoder. No metadata yet."""
    graph = Graph()
    weights = {name: value.detach().cpu().numpy() for name, value in encoder.state_dict().items()}

    def weight(name: str) -> str:
        return graph.constant(name, weights[name])

    places = graph.constant("places", [2, 3])

    def moments(x: str) -> str:
        mean = graph.node("ReduceMean", x, places, keepdims=1)
        off = graph.node("Sub", x, mean)
        variance = graph.node("ReduceMean", graph.node("Mul", off, off), places, keepdims=0)
        deviation = graph.node("Sqrt", graph.node("Add", variance, graph.constant("eps", EPS)))
        return graph.node("Concat", graph.node("Squeeze", mean, places), deviation, axis=1)

    x = graph.node("Cast", graph.node("Transpose", "picture", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    bounds = (graph.constant(f"axis_{k}", [k]) for k in (1, 3))
    size = graph.node("Slice", graph.node("Shape", "picture"), *bounds)
    sides = graph.node("Cast", size, to=TensorProto.FLOAT)
    scale = graph.node("Div", graph.constant("side", float(SIDE)), graph.node("ReduceMin", sides, keepdims=1))
    sides = graph.node("Floor", graph.node("Add", graph.node("Mul", sides, scale), graph.constant("half", 0.5)))
    size = graph.node("Max", graph.node("Cast", sides, to=TensorProto.INT64), graph.constant("least", [SIDE]))
    how: dict[str, Any] = {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "half_pixel"}
    x = graph.node("Resize", x, "", "", size, axes=[2, 3], **how)
    middle = graph.constant("middle", 127.5)
    x = graph.node("Div", graph.node("Sub", x, middle), middle)
    colors = moments(x)
    statistics = [colors]
    for i in range(len(encoder.convolutions)):
        pads = [weights[f"convolutions.{i}.weight"].shape[-1] // 2] * 4
        x = graph.node(
            "Conv", x, weight(f"convolutions.{i}.weight"), weight(f"convolutions.{i}.bias"), strides=[2, 2], pads=pads
        )
        x = graph.node("Relu", x)
        statistics.append(moments(x))
    x = graph.node("Concat", *statistics, axis=1)
    x = graph.node("LayerNormalization", x, weight("norm.weight"), weight("norm.bias"), axis=-1, epsilon=EPS)
    x = graph.node("Relu", graph.node("Gemm", x, weight("hidden.weight"), weight("hidden.bias"), transB=1))
    x = graph.node("Gemm", x, weight("coefficients.weight"), weight("coefficients.bias"), transB=1)
    code = graph.node("Gemm", x, weight("directions"), weight("mean"))
    ends = [graph.constant(f"colors_{k}", [k]) for k in (0, COLORS, 2 * COLORS)]
    one = graph.constant("one", [1])
    mean, deviation = (graph.node("Slice", colors, *pair, one) for pair in itertools.pairwise(ends))
    rest = graph.constant("rest", np.zeros((1, encoder.config["code_length"] - 2 * COLORS)))
    code = graph.node("Add", code, graph.node("Concat", rest, deviation, mean, axis=1))
    graph.nodes.append(helper.make_node("Squeeze", [code, graph.constant("batch", [0])], ["code"], "code"))
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "rtstyle-encoder",
            [helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, "H", "W", 3])],
            [helper.make_tensor_value_info("code", TensorProto.FLOAT, [encoder.config["code_length"]])],
            list(graph.initializers.values()),
        ),
        producer_name="rtstyle",
        ir_version=9,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def write_encoder(
    encoder: Encoder, body_sha256: str, training: dict[str, Any], out: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Check the encoder of a body and write it to `out`. Nothing is written unless the file passes `onnx.checker` and
    agrees with torch in ONNX Runtime; without `force` no file is replaced. Raises RtstyleError otherwise."""
    encoder = encoder.cpu().eval()
    model = to_model(encoder)
    helper.set_model_props(
        model,
        {
            "rtstyle.encoder": FORMAT,
            "rtstyle.encoder_config": json.dumps(encoder.config),
            "rtstyle.body_sha256": body_sha256,
            "rtstyle.training": json.dumps(training),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    difference = compare(model, encoder)
    if not difference <= CODE_DIFFERENCE:
        raise ModelError(f"the exported encoder differs from torch by {difference:.2g}: {out} was not written")
    with written_beside(out, force=force) as part:
        onnx.save(model, str(part))


@torch.no_grad()
def compare(model: onnx.ModelProto, encoder: Encoder) -> float:
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
        expected = encoder(torch.from_numpy(picture).permute(0, 3, 1, 2).float())[0].numpy()
        worst = max(worst, float(np.abs(got - expected).max()))
    return worst


def from_onnx(path: str | os.PathLike[str]) -> tuple[Encoder, str]:
    """(encoder, SHA-256 of its body) of a file that `write_encoder` wrote, for further training. Raises ModelError if
    it is none."""
    try:
        model = onnx.load(str(path))
        props = {prop.key: prop.value for prop in model.metadata_props}
        encoder = Encoder(**json.loads(props["rtstyle.encoder_config"]))
        weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
        encoder.load_state_dict({name: weights[name] for name in encoder.state_dict()})
        return encoder, props["rtstyle.body_sha256"]
    except FileNotFoundError:
        raise ModelError(f"the encoder {path} does not exist") from None
    except Exception as error:  # protobuf's own kinds, metadata or weights missing or of other shapes
        raise ModelError(f"{path} is not an encoder that rtstyle wrote ({type(error).__name__})") from None
