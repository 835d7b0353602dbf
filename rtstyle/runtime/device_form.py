"""The form of a portable model that graphics processors run: bytes at its two ends only, and arithmetic in float16.

The portable file pads and shuffles bytes, which ONNX Runtime's CUDA provider cannot do: its Pad takes floats only, so
every frame would go back to the processor and CUDA graphs could not be captured. Here the frames become floats first
and bytes last. TensorRT wants it so, too.

In float16 the picture, the filters and the code are halves. The sums of an InstanceNormalization stay float32 all the
same: CUDA's kernel hands half data to cuDNN with float32 means and variances, TensorRT normalises in float32. What is
made of constants alone is calculated in float32 and rounded once.
"""

from __future__ import annotations

import dataclasses

from rtstyle.runtime.protobuf import field, fields

FLOAT, UINT8, INT64, FLOAT16 = 1, 2, 7, 10  # TensorProto.DataType
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


@dataclasses.dataclass
class _Node:
    op: str
    inputs: list[str]
    outputs: list[str]
    rest: bytes = b""  # attributes, names

    @classmethod
    def read(cls, message: bytes) -> _Node:
        node = cls("", [], [])
        for number, value, raw in fields(message):
            if number == 1:
                node.inputs.append(value.decode())
            elif number == 2:
                node.outputs.append(value.decode())
            else:
                node.rest += raw
                if number == 4:
                    node.op = value.decode()
        return node

    @classmethod
    def cast(cls, source: str, out: str, kind: int) -> _Node:
        attribute = field(1, b"to") + field(3, kind) + field(20, 2)
        return cls("Cast", [source], [out], field(4, b"Cast") + field(5, attribute))

    def message(self) -> bytes:
        names = b"".join(field(1, name.encode()) for name in self.inputs)
        return names + b"".join(field(2, name.encode()) for name in self.outputs) + self.rest

    def target(self) -> int:
        """What a Cast makes."""
        attribute = next(value for number, value, _ in fields(self.rest) if number == 5)
        return next(value for number, value, _ in fields(attribute) if number == 3)


def device_form(model: bytes, half: bool) -> bytes:
    """A model of rtstyle's contract (an ONNX file) to one with the same inputs and outputs that calculates in float16
    if `half`, else float32. Raises ValueError for what no exporter of rtstyle wrote."""
    return b"".join(field(7, _graph(value, half)) if number == 7 else raw for number, value, raw in fields(model))


def _graph(graph: bytes, half: bool) -> bytes:
    nodes, kinds, rest = [], {"code": FLOAT}, b""
    for number, value, raw in fields(graph):
        if number == 1:
            nodes.append(_Node.read(value))
            continue
        if number == 5:
            tensor = {key: content for key, content, _ in fields(value)}
            kinds[tensor[8].decode()] = tensor[2]
        if number == 11:
            name = next(content for key, content, _ in fields(value) if key == 1).decode()
            kinds.setdefault(name, UINT8)
        if number != 13:  # notes on the types of values, which change
            rest += raw
    return b"".join(field(1, node.message()) for node in _converted(nodes, kinds, half)) + rest


def _converted(nodes: list[_Node], kinds: dict[str, int], half: bool) -> list[_Node]:
    """The nodes of the form. `kinds` has the types of inputs and constants."""
    kind = FLOAT16 if half else FLOAT
    done = [_Node.cast("frames", "frames_first", kind)]
    renamed = {"frames": "frames_first"}
    if half and any("code" in node.inputs for node in nodes):
        done.append(_Node.cast("code", "code_first", kind))
        renamed["code"] = "code_first"
    lively = set(renamed.values())  # values that depend on the frames or the code
    kinds = kinds | dict.fromkeys(lively, kind)

    def rounded(name: str) -> str:
        out = f"{name}_half"
        if out not in kinds:
            done.append(_Node.cast(name, out, kind))
            kinds[out] = kind
        return out

    for node in nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        live = lively.intersection(node.inputs)
        if node.op == "Shape":
            kinds[node.outputs[0]] = INT64
        elif node.op == "Cast" and live:  # bytes become floats first and last, not here
            renamed[node.outputs[0]] = node.inputs[0]
            continue
        elif node.op == "Cast":
            kinds[node.outputs[0]] = node.target()
        elif node.op not in SAME_TYPE:
            raise ValueError(f"the operator {node.op} is not among those that rtstyle writes")
        else:
            if live:
                node.inputs = [
                    rounded(name) if half and kinds.get(name) == FLOAT and (node.op, at) not in WIDE else name
                    for at, name in enumerate(node.inputs)
                ]
                lively.update(node.outputs)
            kinds.update(dict.fromkeys(node.outputs, kinds[node.inputs[0]]))
        node.outputs = ["stylized_last" if name == "stylized" else name for name in node.outputs]
        done.append(node)
    done.append(_Node.cast(renamed.get("stylized", "stylized_last"), "stylized", UINT8))
    return done
