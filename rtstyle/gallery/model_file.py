"""What an .onnx file says of itself: its styles and their codes, read without running it.

A *style code* is a float32 vector [K]; every model file carries the codes of its styles in its metadata, so that
picking, switching and mixing styles is arithmetic on small vectors.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtstyle.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from rtstyle.runtime.classic import Form

CLASSIC_HEIGHT = 360  # a guess: at which height the strokes of a classic net have their trained size
EXPECTED = (
    "expected uint8 frames [N, H, W, 3] and float32 code [K] in, uint8 stylized [N, H, W, 3] out, or a classic net, "
    "one float image [N, 3, H, W] or [N, H, W, 3] in and one out, N free or 1"
)


@dataclasses.dataclass(frozen=True)
class Style:
    """One style: what it is called, what it was learned from, and its code (float32 [K])."""

    name: str
    title: str
    artist: str
    year: str
    licence: str
    source: str
    model: str
    code: NDArray[np.float32] = dataclasses.field(repr=False, compare=False)
    thumbnail: str = dataclasses.field(default="", repr=False, compare=False)  # a painted photograph, as a data URL

    def info(self) -> dict[str, str]:
        """Everything but the code and the thumbnail, for tables and JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.repr}


@dataclasses.dataclass(frozen=True)
class Model:
    """A model file: its styles and the identity of its body. Codes mix only between equal bodies."""

    path: Path
    body: str
    body_sha256: str
    reference_height: int
    styles: tuple[Style, ...]
    takes_code: bool
    classic: Form | None = None  # how to talk to a net that does not keep rtstyle's contract, once it was tried
    keeps_contract: bool = True


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a net. A side of `shape` is its name, or None, where it is free."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


def typeable(name: str) -> str:
    """A name that people can type, from a file's or a title: `Cézanne (1885)` to `cezanne-1885`; nothing in it means
    anything to `catalog.resolve`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", "-", plain.lower()).strip("-") or "style"


def read_model(path: Path) -> Model:
    """What a file says. Nothing in it is run; of a classic net, `classic` is left open.

    Raises ModelError if the file cannot be read, is no ONNX model, or neither keeps the contract nor looks classic.
    """
    import onnx  # takes a tenth of a second, and nothing else needs it on a CPU
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})") from None
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX model") from None
    if not proto.graph.node:
        raise ModelError(f"{path} is not an ONNX model (it holds no graph)")
    kinds: dict[int, str] = {
        onnx.TensorProto.UINT8: "uint8",
        onnx.TensorProto.FLOAT: "float",
        onnx.TensorProto.FLOAT16: "float16",
    }

    def tensor(value: onnx.ValueInfoProto) -> Tensor:
        kind = value.type.tensor_type
        sides = (side.dim_value if side.HasField("dim_value") else side.dim_param or None for side in kind.shape.dim)
        return Tensor(value.name, f"tensor({kinds.get(kind.elem_type, kind.elem_type)})", tuple(sides))

    stored = {initializer.name for initializer in proto.graph.initializer}
    inputs = [tensor(value) for value in proto.graph.input if value.name not in stored]
    outputs = [tensor(value) for value in proto.graph.output]
    return _model(path, inputs, outputs, {prop.key: prop.value for prop in proto.metadata_props})


def has_external_data(path: Path) -> bool:
    """Whether weights of a model lie in another file."""
    import onnx

    weights = onnx.load(str(path), load_external_data=False).graph.initializer
    return any(onnx.external_data_helper.uses_external_data(tensor) for tensor in weights)


def write_with_styles(model: Model, styles: Sequence[Style], out: Path) -> None:
    """Write the file of `model` with these styles, made for its body, instead of its own."""
    import onnx

    proto = onnx.load(str(model.path))
    texts = [style.info() | {"thumbnail": style.thumbnail} for style in styles]
    infos = [{key: value for key, value in text.items() if key != "model" and value} for text in texts]
    codes = np.stack([style.code for style in styles]).astype("<f4")
    changed = {
        "rtstyle.styles": json.dumps(infos, ensure_ascii=False),
        "rtstyle.codes": base64.b64encode(codes.tobytes()).decode(),
    }
    onnx.helper.set_model_props(proto, {prop.key: prop.value for prop in proto.metadata_props} | changed)
    onnx.save(proto, str(out))


def model_of(session: InferenceSession, path: Path) -> Model:
    """The same from a session of the file."""
    inputs, outputs = (
        [Tensor(item.name, item.type, tuple(item.shape)) for item in items]
        for items in (session.get_inputs(), session.get_outputs())
    )
    return _model(path, inputs, outputs, session.get_modelmeta().custom_metadata_map)


def _model(path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor], props: Mapping[str, str]) -> Model:
    code = next((item for item in inputs if item.name == "code"), None)
    takes_code = code is not None
    expected = {"frames": ("tensor(uint8)", 4)} | ({"code": ("tensor(float)", 1)} if takes_code else {})
    if _kinds(inputs) == expected and _kinds(outputs) == {"stylized": ("tensor(uint8)", 4)}:
        model = _own_model(path, props, takes_code)
        if code and isinstance(code.shape[0], int) and len(model.styles[0].code) != code.shape[0]:
            raise ModelError(
                f"{path} takes codes of {code.shape[0]} numbers, and those of its styles have "
                f"{len(model.styles[0].code)}: export it again"
            )
        return model
    if _looks_classic(inputs, outputs):
        return _classic_model(path, inputs[0])
    found = ", ".join(f"{item.name} {item.type} {list(item.shape)}" for item in inputs) or "no input"
    raise ModelError(f"{path} is not a style model of rtstyle: {EXPECTED}; found {found}")


def _kinds(tensors: Iterable[Tensor]) -> dict[str, tuple[str, int]]:
    return {item.name: (item.type, len(item.shape)) for item in tensors}


def _looks_classic(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether the inputs and outputs are those of a classic net: one float image each, of three colours."""
    if len(inputs) != 1 or len(outputs) != 1:
        return False
    image, painted = inputs[0], outputs[0]
    floats = ("tensor(float)", "tensor(float16)")
    if image.type not in floats or painted.type not in floats or len(image.shape) != 4:
        return False
    single = not isinstance(image.shape[0], int) or image.shape[0] in (1, -1, 0)
    return single and 3 in (image.shape[1], image.shape[3])


def _own_model(path: Path, props: Mapping[str, str], takes_code: bool) -> Model:
    try:
        if props["rtstyle.format"] != "1":
            raise ModelError(f"{path} has format {props['rtstyle.format']}: this rtstyle reads format 1, update it")
        infos = json.loads(props["rtstyle.styles"])
        codes = np.frombuffer(base64.b64decode(props["rtstyle.codes"]), "<f4").reshape(len(infos), -1)
        if not np.isfinite(codes).all():
            raise ValueError("a code that is not a number")
        texts = [key for key in Style.__dataclass_fields__ if key not in ("model", "code")]
        styles = tuple(
            Style(**{key: str(info.get(key, "")) for key in texts}, model=path.stem, code=code)
            for info, code in zip(infos, codes, strict=True)
        )
        height = int(props["rtstyle.reference_height"])
        return Model(path, props["rtstyle.body"], props["rtstyle.body_sha256"], height, styles, takes_code)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} has incomplete rtstyle metadata ({error!r}): export it again") from None


def _classic_model(path: Path, image: Tensor) -> Model:
    """A model of one style, called after its file."""
    name = typeable(path.stem)
    style = Style(name, name, "", "", "", path.name, path.stem, np.zeros(0, np.float32))
    height = image.shape[2] if image.shape[1] == 3 else image.shape[1]
    height = height if isinstance(height, int) and height > 0 else CLASSIC_HEIGHT
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model(path, "classic", digest, height, (style,), False, keeps_contract=False)
