"""Forms of a model for programs that are not rtstyle.

`web` is for a page of one's own, by ONNX Runtime for browsers on WebGPU or wasm: bytes in and out and the code as an
input, like the portable form, but of one size, so that there is no arithmetic on shapes, and float from the first cast
to the last, so that nothing but the two casts leaves a GPU.

`ffmpeg` is what FFmpeg's filter `dnn_processing` and VapourSynth's plug-ins take: one style, one picture, float32
[1, 3, H, W] from 0 to 1 in and out.

Both keep the metadata of rtstyle. Neither can be trained further: for that, take the portable model.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from rtstyle.errors import UsageError
from rtstyle.export import networks
from rtstyle.export.onnx_graph import cpu_session, folded
from rtstyle.export.to_onnx import (
    OPSET,
    OnnxOps,
    chosen,
    picture_like,
    to_model,
    write_checked,
)
from rtstyle.runtime.web_form import web_form

WEB_SIZE = (640, 360)  # unless another is asked for
FREE_SIZES = ((64, 96), (37, 53), (16, 16))  # (height, width) tried before a model of any size is written


class FloatOps(OnnxOps):
    """The same operations on frames float [1, 3, H, W] from 0 to 1."""

    def image(self, x: str, margin: int) -> str:
        shape = self.node("Shape", "frames")
        self.size = self.node("Slice", shape, self.constant("two", [2]), self.constant("four", [4]))
        before = self.constant("pads_before", [0, 0, margin, margin, 0, 0])
        pads = self.node("Concat", before, self._room(margin), axis=0)
        return self.node("Mul", self.node("Pad", "frames", pads, mode="reflect"), self.constant("white", 255.0))

    def _interleaved(self, y: str, small: str, out: int) -> str:
        shape = self.node("Concat", self.constant("zero", [0]), self.constant("all", [4 * out]), small, axis=0)
        return self._levels(self.node("DepthToSpace", self.node("Reshape", y, shape), blocksize=2, mode="CRD"))

    def _levels(self, y: str) -> str:
        """Float planes in grey levels, and half a level more, to 0 to 1."""
        y = self.node("Sub", y, self.constant("half_level", 0.5))
        y = self.node("Clip", y, self.constant("black", 0.0), self.constant("white", 255.0))
        return self.node("Div", y, self.constant("white", 255.0))

    def _cropped(self, y: str) -> str:
        inputs = [y, self.constant("corner", [0, 0]), self.size, self.constant("rows_columns_of_planes", [2, 3])]
        self.nodes.append(helper.make_node("Slice", inputs, ["stylized"], "crop"))
        return "stylized"


def write_web(
    body: networks.Body,
    description: dict[str, Any],
    out: str | os.PathLike[str],
    *,
    style: str | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    force: bool = False,
) -> None:
    """Write the form for pages, for frames of `size` (width, height); the other arguments as for `write_onnx`."""
    codes, described = chosen(body.cpu().eval(), description, style)
    portable = to_model(body, codes[0] if style is not None else None)
    model = onnx.load_from_string(web_form(portable.SerializeToString()))
    model = fixed(model, size or WEB_SIZE, body)
    write_checked(model, body, codes, described, out, compare, half=half, force=force)


def write_ffmpeg(
    body: networks.Body,
    description: dict[str, Any],
    out: str | os.PathLike[str],
    *,
    style: str | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    force: bool = False,
) -> None:
    """Write the form for FFmpeg and VapourSynth, for any size or for one, `size` (width, height); the other arguments
    as for `write_onnx`, only that a model of several styles needs `style`."""
    if style is None and len(description["styles"]) > 1:
        raise UsageError("the form ffmpeg has no input for a code: name one `style`")
    style = style or description["styles"][0]["name"]
    codes, described = chosen(body.cpu().eval(), description, style)
    ops = FloatOps(body, codes[0])
    body.paint(ops, "frames")
    shape: list[str | int | None] = [1, 3, "H", "W"]
    graph = helper.make_graph(
        ops.nodes,
        f"rtstyle-{body.name}",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, shape)],
        list(ops.initializers.values()),
    )
    model = helper.make_model(
        graph, producer_name="rtstyle", ir_version=9, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    if size is not None:
        model = fixed(model, size, body)
    write_checked(model, body, codes, described, out, compare, half=half, force=force)


def fixed(model: onnx.ModelProto, size: tuple[int, int], body: networks.Body) -> onnx.ModelProto:
    """The model for frames of one size (width, height), one at a time. ONNX Runtime calculates at once what depends on
    nothing else, and the crop goes: sides are multiples of the body's `stride`. Raises UsageError if they are not."""
    width, height = size
    if width % body.stride or height % body.stride or min(size) < max(16, body.min_size):
        raise UsageError(
            f"a fixed size needs sides that are multiples of {body.stride}, from {max(16, body.min_size)} pixels, not "
            f"{width}x{height}"
        )
    model = _without_crop(model)
    for value in (model.graph.input[0], model.graph.output[0]):
        for side, length in zip(value.type.tensor_type.shape.dim, _shape(value, height, width), strict=True):
            side.dim_value = length
    return folded(model)


def _shape(value: onnx.ValueInfoProto, height: int, width: int) -> list[int]:
    nhwc = value.type.tensor_type.elem_type == TensorProto.UINT8
    return [1, height, width, 3] if nhwc else [1, 3, height, width]


def _without_crop(model: onnx.ModelProto) -> onnx.ModelProto:
    nodes = list(model.graph.node)
    (crop,) = (node for node in nodes if node.name == "crop")
    nodes.remove(crop)
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [crop.output[0] if name == crop.input[0] else name for name in names]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    return model


def compare(model: onnx.ModelProto, body: networks.Body, codes: np.ndarray) -> int:
    """Largest difference in grey levels between ONNX Runtime and torch, at the model's size or at FREE_SIZES."""
    session = cpu_session(model)
    frames = session.get_inputs()[0]
    is_bytes = frames.type == "tensor(uint8)"
    height, width = frames.shape[1:3] if is_bytes else frames.shape[2:]
    random = np.random.default_rng(0)
    worst = 0
    for i, shape in enumerate(FREE_SIZES if isinstance(height, str) else [(height, width)]):
        picture, code = picture_like(random, 1, *shape), codes[i % len(codes)]
        given = picture if is_bytes else (picture.transpose(0, 3, 1, 2) / 255).astype(np.float32)
        feed = {"frames": given} | ({"code": code} if len(session.get_inputs()) == 2 else {})
        painted = session.run(None, feed)[0]
        if not is_bytes:
            painted = np.rint(255 * painted.transpose(0, 2, 3, 1))
        target = body.stylize(torch.from_numpy(picture), torch.from_numpy(code.copy())).numpy()
        worst = max(worst, int(np.abs(painted.astype(int) - target.astype(int)).max()))
    return worst
