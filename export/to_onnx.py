"""torch to ONNX and back: the one contract that every model of rtstyle obeys.

    frames    uint8 [N, H, W, 3]   sRGB, RGB order, any N >= 1, any H, W >= 16
    code      float32 [K]          scale and shift of every normalisation; absent in a one-style model
    stylized  uint8 [N, H, W, 3]

Padding, casts and rounding live inside the graph. Weights keep their torch names and stay fp32, so that
`from_onnx` gives the body back for further training. `halve` makes the form with float16 weights, for shipping.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from rtstyle.errors import ModelError
from rtstyle.export import networks, operations
from rtstyle.export.onnx_graph import Graph, cpu_session, save_checked
from rtstyle.media.contact_sheet import bundled_photograph

OPSET = 17
FORMAT = "1"
THUMBNAIL = 128  # pixels, the longer side
HALF_LEVELS = 2  # grey levels that rounding the weights to float16 may cost
# Tried before a model is written: odd sizes, sizes off the stride, the smallest allowed, several batches, more than a
# tile of the canvas.
CHECKED_SHAPES = ((1, 64, 96), (1, 37, 53), (2, 61, 47), (3, 16, 16), (1, 16, 530))


class OnnxOps(Graph):
    """The operations of `Body.paint`, written down as ONNX nodes; values are names."""

    def __init__(self, body: networks.Body, code: np.ndarray | None):
        super().__init__()
        self.names = {module: name for name, module in body.named_modules()}
        self.stride, self.min_size = body.stride, body.min_size
        self.code = code
        self.code_index = 0  # in the code

    def weight(self, module: nn.Module, which: str) -> str:
        name = f"{self.names[module]}.{which}"
        return self.constant(name, getattr(module, which).detach().cpu().numpy())

    def image(self, x: str, margin: int) -> str:
        """uint8 [N, H, W, 3] to float [N, 3, H', W'], reflected as `TorchOps.image` does."""
        shape = self.node("Shape", "frames")
        self.size = self.node("Slice", shape, self.constant("one", [1]), self.constant("three", [3]))
        before = self.constant("pads_before", [0, margin, margin, 0, 0])
        pads = self.node("Concat", before, self._room(margin), self.constant("zero", [0]), axis=0)
        padded = self.node("Pad", "frames", pads, mode="reflect")
        return self.node("Cast", self.node("Transpose", padded, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)

    def _room(self, margin: int) -> str:
        """What is put below and to the right."""
        extra = self.node("Mod", self.node("Neg", self.size), self.constant("stride", [self.stride]))
        extra = self.node("Max", extra, self.node("Sub", self.constant("min_size", [self.min_size]), self.size))
        return self.node("Add", extra, self.constant("margin", [margin]))

    def conv(self, module: nn.Conv2d, x: str) -> str:
        inputs = [x, self.weight(module, "weight")]
        if module.bias is not None:
            inputs.append(self.weight(module, "bias"))
        return self.node("Conv", *inputs, **self._geometry(module))

    @staticmethod
    def _geometry(module: nn.Conv2d) -> dict[str, Any]:
        shape = {"kernel_shape": list(module.kernel_size), "strides": list(module.stride), "group": module.groups}
        return shape | ({"dilations": list(module.dilation)} if max(module.dilation) > 1 else {})

    def centered(self, module: nn.Conv2d, x: str) -> str:
        weight = self.weight(module, "weight")
        sums = self.node("ReduceSum", weight, self.constant("filter_axes", [1, 2, 3]), keepdims=0)
        bias = self.node("Mul", sums, self.constant("minus_middle", -127.5))
        return self.node("Conv", x, weight, bias, **self._geometry(module))

    def norm(self, x: str, channels: int, eps: float = operations.EPS) -> str:
        return self.node("InstanceNormalization", x, *self._next(channels), epsilon=eps)

    def active(self, x: str, channels: int, eps: float = operations.EPS) -> str:
        return self.relu(self.norm(x, channels, eps))

    def _next(self, channels: int) -> list[str]:
        """Scale and shift of the next layer. They are cut out by slices: a Split with more than nine outputs does not
        run on WebGPU."""
        names = []
        for _ in ("scale", "shift"):
            start, end = self.code_index, self.code_index + channels
            if self.code is None:
                bounds = (self.constant(f"code_{k}", [k]) for k in (start, end))
                names.append(self.node("Slice", "code", *bounds))
            else:  # one style: its code becomes part of the graph
                names.append(self.constant(f"code_{start}_{end}", self.code[start:end]))
            self.code_index = end
        return names

    def canvas(self, canvas: operations.Canvas, x: str, channels: int) -> str:
        """What is made of the tile alone is constant: runtimes calculate it at load. The tile is repeated until it
        covers the features."""
        tile = self.constant(f"{self.names[canvas]}.tile", canvas.tile.detach().cpu().numpy())
        ones, zeros = (self.constant(f"canvas_{k}", np.full(channels, k, np.float32)) for k in (1, 0))
        ground = self.node("InstanceNormalization", self.conv(canvas.mix, tile), ones, zeros, epsilon=operations.EPS)
        size = self.node("Slice", self.node("Shape", x), self.constant("two", [2]), self.constant("four", [4]))
        covered = self.node("Add", size, self.constant("canvas_rest", [operations.CANVAS_SIDE - 1]))
        times = self.node("Div", covered, self.constant("canvas_side", [operations.CANVAS_SIDE]))
        ground = self.node("Tile", ground, self.node("Concat", self.constant("one_one", [1, 1]), times, axis=0))
        corner, axes = self.constant("corner", [0, 0]), self.constant("rows_columns_of_planes", [2, 3])
        ground = self.node("Slice", ground, corner, size, axes)
        planes = self.constant("planes", [-1, 1, 1])
        scale, shift = (self.node("Reshape", part, planes) for part in self._next(channels))
        ground = self.node("Add", self.node("Mul", ground, scale), shift)
        return self.node("Add", x, self.node("Mul", ground, self.node("Sigmoid", self.conv(canvas.gate, x))))

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def add(self, a: str, b: str) -> str:
        return self.node("Add", a, b)

    def up(self, x: str) -> str:
        scales = self.constant("double", np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def repeat(self, x: str) -> str:
        scales = self.constant("double", np.array([1, 1, 2, 2], np.float32))
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", x, "", scales, mode="nearest", **how)

    def reflect(self, x: str, pad: int) -> str:
        return self.node("Pad", x, self.constant(f"reflect{pad}", [0, 0, pad, pad] * 2), mode="reflect")

    def head(self, module: nn.Conv2d, x: str) -> str:
        weight = self.node("Mul", self.weight(module, "weight"), self.constant("grey", 127.5))
        return self._cropped(
            self._levels(self.node("Conv", x, weight, self._grey_bias(module), **self._geometry(module)))
        )

    def resize_head(self, module: nn.Conv2d, x: str) -> str:
        """The folding of the 5x5 filter is written as nodes on constants, which every runtime folds at load:
        so the file holds the torch weight and the runtime sees one 3x3 convolution. Its channels are the colours of
        four pixels (left and right above, left and right below), normalised by colour."""
        out, channels = module.weight.shape[:2]
        flat = self.node("Reshape", self.weight(module, "weight"), self.constant("filters", [out * channels, 25]))
        folded = self.node("MatMul", flat, self.constant("fold_resize", operations.fold_matrix().numpy()))
        folded = self.node("Reshape", folded, self.constant("phases", [out, channels, 4, 3, 3]))
        folded = self.node("Transpose", folded, perm=[0, 2, 1, 3, 4])
        folded = self.node("Reshape", folded, self.constant("folded", [4 * out, channels, 3, 3]))
        y = self.node("Conv", x, folded, kernel_shape=[3, 3])
        small = self.node("Slice", self.node("Shape", y), self.constant("two", [2]), self.constant("four", [4]))
        # In grey levels at once, and half a level more so that the truncation of the last cast rounds
        scale, shift = self._next(out)
        scale = self.node("Mul", scale, self.constant("grey", 127.5))
        shift = self.node("Add", self.node("Mul", shift, self.constant("grey", 127.5)), self.constant("middle", 128.0))
        y = self.node("Reshape", y, self.constant("colors", [0, out, -1]))
        y = self.node("InstanceNormalization", y, scale, shift, epsilon=operations.EPS)
        return self._cropped(self._interleaved(y, small, out))

    def _interleaved(self, y: str, small: str, out: int) -> str:
        """[N, out, 4 h w], the four pixels at each place one after the other, to the pixels of the picture. They become
        two rows, split and put together row by row, which takes a third of the time of DepthToSpace or a transposition
        on bytes."""
        y = self.node("Reshape", y, self.constant("colors_phases", [0, out, 4, -1]))
        y = self.node("Transpose", y, perm=[0, 2, 1, 3])
        shape = self.node("Concat", self.constant("zero", [0]), self.constant("all", [4 * out]), small, axis=0)
        y = self._levels(self.node("Reshape", y, shape))
        size = self.node("Mul", small, self.constant("twice", [2, 2]))
        rows = [f"row{i}" for i in (0, 1)]
        self.nodes.append(helper.make_node("Split", [y, self.constant("pairs", [2 * out] * 2)], rows, "rows", axis=3))
        whole_rows = self.constant("whole_rows", [0, 0, 1, -1])
        y = self.node("Concat", *(self.node("Reshape", row, whole_rows) for row in rows), axis=2)
        shape = self.node("Concat", self.constant("flat", [-1]), size, self.constant("colours", [out]), axis=0)
        return self.node("Reshape", y, shape)

    def _grey_bias(self, module: nn.Conv2d) -> str:
        # 127.5 for mid-grey and 0.5 so that the truncation of the last cast rounds
        scaled = self.node("Mul", self.weight(module, "bias"), self.constant("grey", 127.5))
        return self.node("Add", scaled, self.constant("middle", 128.0))

    def _levels(self, y: str) -> str:
        """Float planes in grey levels to uint8 [N, H, W, C]."""
        y = self.node("Clip", y, self.constant("black", 0.0), self.constant("white", 255.5))
        return self.node("Cast", self.node("Transpose", y, perm=[0, 2, 3, 1]), to=TensorProto.UINT8)

    def _cropped(self, y: str) -> str:
        """Without the padding: the model's output."""
        inputs = [y, self.constant("corner", [0, 0]), self.size, self.constant("rows_columns", [1, 2])]
        self.nodes.append(helper.make_node("Slice", inputs, ["stylized"], "crop"))
        return "stylized"


def to_model(body: networks.Body, code: np.ndarray | None = None) -> onnx.ModelProto:
    """The ONNX graph of a body; with `code` [K] a one-style model without the code input. No metadata yet."""
    ops = OnnxOps(body, code)
    body.paint(ops, "frames")
    frames: list[str | int | None] = ["N", "H", "W", 3]
    inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, frames)]
    if code is None:
        inputs.append(helper.make_tensor_value_info("code", TensorProto.FLOAT, [body.code_length]))
    graph = helper.make_graph(
        ops.nodes,
        f"rtstyle-{body.name}",
        inputs,
        [helper.make_tensor_value_info("stylized", TensorProto.UINT8, frames)],
        list(ops.initializers.values()),
    )
    return helper.make_model(
        graph, producer_name="rtstyle", ir_version=9, opset_imports=[helper.make_opsetid("", OPSET)]
    )


def metadata(body: networks.Body, codes: np.ndarray, description: dict[str, Any]) -> dict[str, str]:
    """The `rtstyle.*` entries of a model; `description` as `Trainer.describe` gives it."""
    return {
        "rtstyle.format": FORMAT,
        "rtstyle.body": body.name,
        "rtstyle.body_config": json.dumps(body.config),
        "rtstyle.body_sha256": body.body_sha256(),
        "rtstyle.styles": json.dumps(with_thumbnails(body, codes, description["styles"]), ensure_ascii=False),
        "rtstyle.codes": base64.b64encode(codes.astype("<f4").tobytes()).decode(),
        "rtstyle.reference_height": str(description["reference_height"]),
        "rtstyle.training": json.dumps(description["training"]),
    }


def with_thumbnails(body: networks.Body, codes: np.ndarray, infos: list[dict[str, str]]) -> list[dict[str, str]]:
    """The infos, each with a bundled photograph painted in its style, a small JPEG as a data URL."""
    with Image.open(bundled_photograph()) as photograph:
        frame = torch.from_numpy(np.array(photograph.convert("RGB")))[None]
    result = []
    for info, code in zip(infos, codes, strict=True):
        painted = Image.fromarray(body.stylize(frame, torch.from_numpy(code.copy()))[0].numpy())
        painted.thumbnail((THUMBNAIL, THUMBNAIL))
        painted.save(file := io.BytesIO(), "JPEG", quality=80)
        result.append(info | {"thumbnail": "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()})
    return result


def halve(model: onnx.ModelProto) -> None:
    """Store the filters of a model as float16, in place: half the file, the same arithmetic.

    Every convolution's weight becomes a float16 initializer under its name and a Cast to float32, which runtimes
    carry out once, at load. So the file runs wherever the fp32 one does, as fast, and the sums and squares of the
    instance normalisations, which leave float16's range on large frames, stay float32, as do the codes and biases.
    A filter with numbers beyond float16's largest stays as it is.
    """
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 4 or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        wide = f"{tensor.name}_float32"
        for node in model.graph.node:
            node.input[:] = [wide if name == tensor.name else name for name in node.input]
        casts.append(helper.make_node("Cast", [tensor.name], [wide], wide, to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def write_onnx(
    body: networks.Body,
    description: dict[str, Any],
    out: str | os.PathLike[str],
    *,
    style: str | None = None,
    half: bool = False,
    force: bool = False,
) -> None:
    """Check the model and write it to `out`; with `style` a one-style model of that name, with `half` one whose
    weights are float16 (see `halve`). Without `force` no file is replaced.

    Nothing is written unless the file passes `onnx.checker`, carries all metadata and agrees with torch in
    ONNX Runtime on random frames of odd sizes: within one grey level, or for float16 weights within HALF_LEVELS.
    Raises RtstyleError otherwise.
    """
    body = body.cpu().eval()
    codes, description = chosen(body, description, style)
    model = to_model(body, codes[0] if style is not None else None)
    write_checked(model, body, codes, description, out, compare, half=half, force=force)


def write_checked(
    model: onnx.ModelProto,
    body: networks.Body,
    codes: np.ndarray,
    description: dict[str, Any],
    out: str | os.PathLike[str],
    difference: Callable[[onnx.ModelProto, networks.Body, np.ndarray], int],
    *,
    half: bool,
    force: bool,
) -> None:
    """Give a graph its metadata and write it, if it passes `onnx.checker` and its `difference` from torch, in grey
    levels, is small enough; other arguments and errors as for `write_onnx`."""
    helper.set_model_props(model, metadata(body, codes, description))
    if half:
        halve(model)
    most = HALF_LEVELS if half else 1
    save_checked(model, "model", lambda it: difference(it, body, codes), most, out, unit=" grey levels", force=force)


def chosen(body: networks.Body, description: dict[str, Any], style: str | None) -> tuple[np.ndarray, dict[str, Any]]:
    """The codes [S, K] and the description of a body, of one style alone if it is named. Raises ModelError if there is
    none of that name."""
    codes = body.codes.detach().numpy()
    if style is None:
        return codes, description
    names = [info["name"] for info in description["styles"]]
    if style not in names:
        choice = f"its only one, {names[0]}, or none" if len(names) == 1 else f"one of {', '.join(names)}"
        raise ModelError(f"the model has no style {style!r}: give {choice}")
    row = names.index(style)
    return codes[row : row + 1], description | {"styles": [description["styles"][row]]}


def compare(model: onnx.ModelProto, body: networks.Body, codes: np.ndarray) -> int:
    """Largest difference in grey levels between ONNX Runtime and torch over CHECKED_SHAPES."""
    session = cpu_session(model)
    random = np.random.default_rng(0)
    worst = 0
    for i, shape in enumerate(CHECKED_SHAPES):
        code = codes[i % len(codes)]
        frames = picture_like(random, *shape)
        feed = {"frames": frames}
        if len(session.get_inputs()) == 2:
            feed["code"] = code
        got = session.run(None, feed)[0]
        target = body.stylize(torch.from_numpy(frames), torch.from_numpy(code.copy())).numpy()
        if got.shape != target.shape:
            raise ModelError(f"the exported model turns {frames.shape} into {got.shape}")
        worst = max(worst, int(np.abs(got.astype(int) - target.astype(int)).max()))
    return worst


def picture_like(random: np.random.Generator, n: int, h: int, w: int) -> np.ndarray:
    """Random frames uint8 [n, h, w, 3] with soft shapes and some noise."""
    coarse = random.uniform(0, 255, (n, h // 8 + 2, w // 8 + 2, 3))
    soft = coarse.repeat(8, 1).repeat(8, 2)[:, :h, :w]
    return np.clip(soft + random.normal(0, 12, soft.shape), 0, 255).astype(np.uint8)


def properties(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a model file."""
    return {prop.key: prop.value for prop in onnx.load(str(path), load_external_data=False).metadata_props}


def read_training(props: dict[str, str]) -> dict[str, Any]:
    """What the metadata says of the training; empty where it says nothing."""
    try:
        training = json.loads(props.get("rtstyle.training", "{}"))
    except ValueError:
        return {}
    return training if isinstance(training, dict) else {}


def from_onnx(path: str | os.PathLike[str]) -> tuple[networks.Body, list[dict[str, str]]]:
    """(body with its codes, the infos of its styles without thumbnails) of a model that rtstyle wrote, for further
    training.

    Raises RtstyleError if the file is not one.
    """
    try:
        model = onnx.load(str(path))
    except FileNotFoundError:
        raise ModelError(f"the model {path} does not exist") from None
    except Exception as error:  # protobuf's own kinds
        raise ModelError(f"{path} is not a readable ONNX file ({type(error).__name__})") from None
    props = {prop.key: prop.value for prop in model.metadata_props}
    if props.get("rtstyle.format") != FORMAT:
        raise ModelError(f"{path} was not written by rtstyle: only its own models can be trained further or exported")
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise ModelError(f"the weights of {path} were rounded to float16: take the model that it was made from")
    try:
        infos = [{k: v for k, v in info.items() if k != "thumbnail"} for info in json.loads(props["rtstyle.styles"])]
        body = networks.build(props["rtstyle.body"], len(infos), json.loads(props["rtstyle.body_config"]))
        codes = np.frombuffer(base64.b64decode(props["rtstyle.codes"]), "<f4").reshape(len(infos), -1)
        weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
        state = {name: weights[name] for name in body.body_weights()} | {"codes": torch.from_numpy(codes.copy())}
        body.load_state_dict(state)
        digest = props["rtstyle.body_sha256"]
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
    ):  # metadata or weights missing, broken or of other shapes
        raise ModelError(f"{path} is damaged, or holds a body that this version of rtstyle cannot train") from None
    if body.body_sha256() != digest:
        raise ModelError(f"{path} is damaged: its weights do not match their digest")
    return body, infos
