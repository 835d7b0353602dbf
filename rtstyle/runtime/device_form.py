"""The form of a portable model that graphics processors run: bytes at its two ends only, and arithmetic in float16.

The portable file pads and shuffles bytes, which ONNX Runtime's CUDA provider cannot do: its Pad takes floats only, so
every frame would go back to the processor and CUDA graphs could not be captured. Here the frames become floats first
and bytes last. TensorRT wants it so, too.

In float16 the picture, the filters and the code are halves. The sums of an InstanceNormalization stay float32 all the
same: CUDA's kernel hands half data to cuDNN with float32 means and variances, TensorRT normalises in float32. What is
made of constants alone is calculated in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx.helper import make_node

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
UINT8, INT64 = onnx.TensorProto.UINT8, onnx.TensorProto.INT64
# What the exporter writes, now and in files of earlier versions: the output has the type of the first input.
SAME_TYPE = frozenset(
    [
        "Add",
        "Clip",
        "Concat",
        "Conv",
        "DepthToSpace",
        "Div",
        "Expand",
        "InstanceNormalization",
        "MatMul",
        "Max",
        "Mod",
        "Mul",
        "Neg",
        "Pad",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Slice",
        "Split",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ]
)
WIDE = {("Resize", 1), ("Resize", 2)}  # inputs that are float32 whatever the picture is


def device_form(model: bytes, half: bool) -> bytes:
    """A model of rtstyle's contract (an ONNX file) to one with the same inputs and outputs that calculates in float16
    if `half`, else float32. Raises ValueError for what no exporter of rtstyle wrote."""
    form = onnx.load_from_string(model)
    graph = form.graph
    kinds = {"frames": UINT8, "code": FLOAT} | {tensor.name: tensor.data_type for tensor in graph.initializer}
    nodes = _converted(graph.node, kinds, half)
    graph.ClearField("node")
    graph.node.extend(nodes)
    graph.ClearField("value_info")  # notes on the types of values, which change
    return bytes(form.SerializeToString())


def _cast(source: str, out: str, kind: int) -> onnx.NodeProto:
    return make_node("Cast", [source], [out], to=kind)


def _converted(nodes: Iterable[onnx.NodeProto], kinds: dict[str, int], half: bool) -> list[onnx.NodeProto]:
    """The nodes of the form. `kinds` has the types of inputs and constants."""
    kind = FLOAT16 if half else FLOAT
    done = [_cast("frames", "frames_first", kind)]
    renamed = {"frames": "frames_first"}
    if half and any("code" in node.input for node in nodes):
        done.append(_cast("code", "code_first", kind))
        renamed["code"] = "code_first"
    lively = set(renamed.values())  # values that depend on the frames or the code
    kinds = kinds | dict.fromkeys(lively, kind)

    def rounded(name: str) -> str:
        out = f"{name}_half"
        if out not in kinds:
            done.append(_cast(name, out, kind))
            kinds[out] = kind
        return out

    for node in nodes:
        inputs = [renamed.get(name, name) for name in node.input]
        outputs = ["stylized_last" if name == "stylized" else name for name in node.output]
        live = lively.intersection(inputs)
        if node.op_type == "Shape":
            kinds[outputs[0]] = INT64
        elif node.op_type == "Cast" and live:  # bytes become floats first and last, not here
            renamed[node.output[0]] = inputs[0]
            continue
        elif node.op_type == "Cast":
            kinds[outputs[0]] = next(attribute.i for attribute in node.attribute if attribute.name == "to")
        elif node.op_type not in SAME_TYPE:
            raise ValueError(f"the operator {node.op_type} is not among those that rtstyle writes")
        else:
            if live:
                inputs = [
                    rounded(name) if half and kinds.get(name) == FLOAT and (node.op_type, index) not in WIDE else name
                    for index, name in enumerate(inputs)
                ]
                lively.update(outputs)
            kinds.update(dict.fromkeys(outputs, kinds[inputs[0]]))
        converted = onnx.NodeProto()
        converted.CopyFrom(node)
        converted.input[:], converted.output[:] = inputs, outputs
        done.append(converted)
    done.append(_cast(renamed.get("stylized", "stylized_last"), "stylized", UINT8))
    return done
