"""Styles by name: the bundled gallery, the user's own folder, any .onnx file.

A *style code* is a float32 vector [K]; every model file carries the codes of its styles in its metadata, so
that picking, switching and mixing styles is arithmetic on small vectors.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib.resources
import json
import math
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import platformdirs
from numpy.typing import NDArray

from rtstyle.errors import ModelError, OutputError, RtstyleError, UsageError
from rtstyle.files import written_beside
from rtstyle.runtime import classic, devices

BUNDLED = ("live", "studio")
CLASSIC_HEIGHT = 360  # a guess: at which height the strokes of a classic net have their trained size
CONTRACT = "expected uint8 frames [N, H, W, 3] and float32 code [K] in, uint8 stylized [N, H, W, 3] out"


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

    def card(self) -> dict[str, str]:
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
    classic: classic.Form | None = None  # how to talk to a net that does not keep rtstyle's contract


def user_folder() -> Path:
    """Where the user's own styles live: every .onnx file in it is found by its styles' names."""
    return Path(platformdirs.user_data_dir("rtstyle", appauthor=False)) / "styles"


def typeable(name: str) -> str:
    """A name that people can type, from a file's or a title: `Cézanne (1885)` to `cezanne-1885`; nothing in it means
    anything to `resolve`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", "-", plain.lower()).strip("-") or "style"


def model_path(name: str) -> Path:
    """`live`, `studio` or a path to an .onnx file. Raises RtstyleError if there is no such file."""
    if name in BUNDLED:
        path = Path(str(importlib.resources.files("rtstyle.pretrained") / f"{name}.onnx"))
        if not path.is_file():
            raise ModelError(f"this installation carries no pretrained {name} model: use `model='live'`")
        return path
    path = Path(name)
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"unknown model {name!r}: choose {', '.join(BUNDLED)} or a path to an .onnx file")
    if not path.is_file():
        raise ModelError(f"the model file {path} does not exist")
    return path


def load(name: str) -> Model:
    """The model of a name or path. Raises RtstyleError if the file is not a style model."""
    path = model_path(name).resolve()
    return _load(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _load(path: Path, _changed: int) -> Model:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # only the metadata is wanted
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{path} is not an ONNX model ({devices.first_sentence(error)})") from None
    return read_model(session, path)


def read_model(session: ort.InferenceSession, path: Path) -> Model:
    """What a session's metadata says. Raises RtstyleError if the contract is not kept."""
    inputs = {item.name: (item.type, len(item.shape)) for item in session.get_inputs()}
    outputs = {item.name: (item.type, len(item.shape)) for item in session.get_outputs()}
    takes_code = "code" in inputs
    wanted = {"frames": ("tensor(uint8)", 4)} | ({"code": ("tensor(float)", 1)} if takes_code else {})
    if inputs != wanted or outputs != {"stylized": ("tensor(uint8)", 4)}:
        if classic.looks_classic(session):
            return _classic_model(classic.examine(session, path), path)
        found = ", ".join(f"{item.name} {item.type} {item.shape}" for item in session.get_inputs())
        raise ModelError(
            f"{path} is not a style model of rtstyle: {CONTRACT}, or a classic net, {classic.EXPECTED}; found {found}"
        )
    props = session.get_modelmeta().custom_metadata_map
    try:
        if props["rtstyle.format"] != "1":
            raise ModelError(f"{path} has format {props['rtstyle.format']}: this rtstyle reads format 1, update it")
        cards = json.loads(props["rtstyle.styles"])
        codes = np.frombuffer(base64.b64decode(props["rtstyle.codes"]), "<f4").reshape(len(cards), -1)
        styles = tuple(
            Style(
                **{key: str(card.get(key, "")) for key in Style.__dataclass_fields__ if key not in ("model", "code")},
                model=path.stem,
                code=code,
            )
            for card, code in zip(cards, codes, strict=True)
        )
        return Model(
            path,
            props["rtstyle.body"],
            props["rtstyle.body_sha256"],
            int(props["rtstyle.reference_height"]),
            styles,
            takes_code,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} has incomplete rtstyle metadata ({error!r}): export it again") from None


def _classic_model(form: classic.Form, path: Path) -> Model:
    """A model of one style, called after its file."""
    name = typeable(path.stem)
    style = Style(name, name, "", "", "", path.name, path.stem, np.zeros(0, np.float32))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model(path, "classic", digest, form.size[0] or CLASSIC_HEIGHT, (style,), False, form)


def add(file: str | os.PathLike[str]) -> list[Style]:
    """Copy a style file into the user's folder, so that its styles are found by their names; returns them.

    Raises RtstyleError if it is not a style model, or holds a name that is taken already.
    """
    model = load(os.fspath(file))
    taken = {style.name: style.model for style in styles()}
    for style in model.styles:
        if style.name in taken:
            raise OutputError(
                f"there is a style {style.name} already (in {taken[style.name]}): make this one under another name, or "
                f"remove that one first"
            )
    target = user_folder() / f"{typeable(model.path.stem)}.onnx"
    if target.exists():
        raise OutputError(f"{target} exists already: rename {model.path.name} first")
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(target) as part:
        shutil.copyfile(model.path, part)
    return list(model.styles)


def remove(name: str) -> Path:
    """Delete the file of one of the user's own styles; returns its path. Raises RtstyleError if there is none, or the
    file holds other styles too."""
    own = {style.name: model for model in _user_models() for style in model.styles}
    if name.lower() not in own:
        hint = f"yours are {', '.join(sorted(own))}" if own else "you have added none"
        raise UsageError(f"{name} is not one of your own styles: {hint}")
    model = own[name.lower()]
    if len(model.styles) > 1:
        others = ", ".join(style.name for style in model.styles if style.name != name.lower())
        raise ModelError(f"{model.path} holds other styles too ({others}): delete the file itself to lose them all")
    model.path.unlink()
    return model.path


def styles(model: str = "live") -> list[Style]:
    """The styles that a model can paint: its own and those of the user's folder."""
    return [*load(model).styles, *own_styles()]


def own_styles() -> list[Style]:
    """The styles of the user's folder."""
    return [style for model in _user_models() for style in model.styles]


def mixable(model: Model) -> list[Style]:
    """The styles whose codes `model` takes: its own, then bundled ones and the user's that were made for its body."""
    if not model.takes_code:
        return list(model.styles)
    bundled = []
    if model.body in BUNDLED:
        with contextlib.suppress(RtstyleError):  # not every installation has both
            bundled = [load(model.body)]
    others = [m for m in (*bundled, *_user_models()) if m.body_sha256 == model.body_sha256 and m.path != model.path]
    found = {style.name: style for other in others for style in other.styles}
    own = {style.name: style for style in model.styles}
    return [*model.styles, *(style for name, style in found.items() if name not in own)]


def _user_models() -> list[Model]:
    found = []
    for path in sorted(user_folder().glob("*.onnx")):
        try:
            found.append(load(str(path)))
        except RtstyleError:
            continue  # `rtstyle doctor` reports broken files; they must not stop the others
    return found


@dataclasses.dataclass(frozen=True)
class Choice:
    """What to paint with: a model and a code for it, or None where the model has its style built in."""

    model: Model
    code: NDArray[np.float32] | None
    label: str


def resolve(style: str | None = None, model: str = "live") -> Choice:
    """A style as people write it: a name, a mix `starry-night:0.7,great-wave:0.3`, or a path to an .onnx file
    (`file.onnx#name` for one of several). None is the first style of the model.

    Weights of a mix are scaled to sum 1. Raises UsageError for unknown names, with the near matches, and for
    broken mixes; RtstyleError for files that cannot be used.
    """
    if style and ".onnx" in style.lower() and "," not in style:
        path, _, name = style.partition("#")
        base = load(path)
        chosen = _by_name(name, base.styles) if name else base.styles[0]
        return Choice(base, chosen.code if base.takes_code else None, chosen.name)
    base = load(model)
    if style is None:
        style = base.styles[0].name
    parts = mixture(style)
    total = sum(weight for _, weight in parts)
    if not total > 0:
        raise UsageError(f"the weights in {style!r} must be positive")
    if len(parts) == 1:
        owner, chosen = _find(parts[0][0], base)
        return Choice(owner, chosen.code if owner.takes_code else None, chosen.name)
    code = np.zeros(len(base.styles[0].code), np.float64)
    for name, weight in parts:
        owner, chosen = _find(name, base)
        if owner.body_sha256 != base.body_sha256 or not owner.takes_code:
            raise UsageError(f"{name} was made for another body and cannot be mixed: mix styles of one model")
        code += (weight / total) * chosen.code
    return Choice(base, code.astype(np.float32), style)


def mixture(style: str) -> list[tuple[str, float]]:
    """The names, or paths, and weights that `a:0.7,b:0.3` is written of. Raises UsageError."""
    return [_part(part) for part in style.split(",")]


def _part(text: str) -> tuple[str, float]:
    name, colon, weight = text.strip().rpartition(":")
    if not colon or ".onnx" in weight.lower():  # a colon within a path is none before a weight
        name, weight = text.strip(), ""
    try:
        value = float(weight) if weight else 1.0
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value) or value < 0:
        raise UsageError(f"cannot read the style {text!r}: write name or name:weight, such as great-wave:0.3")
    return name, value


def _find(name: str, base: Model) -> tuple[Model, Style]:
    if ".onnx" in name.lower():
        path, _, name = name.partition("#")
        owner = load(path)
        return owner, _by_name(name, owner.styles) if name else owner.styles[0]
    candidates = [(base, style) for style in base.styles]
    candidates += [(own, style) for own in _user_models() for style in own.styles]
    for owner, style in candidates:
        if style.name == name.lower():
            return owner, style
    _by_name(name, [style for _, style in candidates])
    raise AssertionError("unreachable")


def _by_name(name: str, among: Sequence[Style]) -> Style:
    for style in among:
        if style.name == name.lower():
            return style
    names = [style.name for style in among]
    near = difflib.get_close_matches(name.lower(), names, 3, 0.5) or [n for n in names if name.lower() in n]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"unknown style {name!r}: {hint} (rtstyle styles lists them)")
