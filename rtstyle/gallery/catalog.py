"""Styles by name: the bundled gallery, the user's own folder, any .onnx file, any picture; and mixes of them."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import importlib.resources
import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import platformdirs
from numpy.typing import NDArray

from rtstyle.errors import ModelError, OutputError, RtstyleError, UsageError
from rtstyle.files import written_beside
from rtstyle.gallery import encoder
from rtstyle.gallery.model_file import (
    Model,
    Style,
    has_external_data,
    model_of,
    read_model,
    typeable,
    write_with_styles,
)
from rtstyle.runtime import bounds, classic, devices

BUNDLED = ("live", "studio")
MAX_OWN_BYTES = 256_000_000  # of a file in the user's folder

log = logging.getLogger("rtstyle")


def user_folder() -> Path:
    """Where the user's own styles live: every .onnx file in it is found by its styles' names."""
    return Path(platformdirs.user_data_dir("rtstyle", appauthor=False)) / "styles"


def model_path(name: str) -> Path:
    """`live`, `studio` or a path to an .onnx file. Raises ModelError if there is no such file."""
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
    """The model of a name or path; a classic net is tried on small pictures. Raises ModelError if the file is not a
    style model."""
    path = model_path(name).resolve()
    return _load(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _load(path: Path, changed: int) -> Model:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # only the metadata is wanted
    options.log_severity_level = 4
    try:
        providers = ["CPUExecutionProvider"]
        session = bounds.load(lambda: ort.InferenceSession(str(path), options, providers=providers), str(path))
    except RtstyleError:
        raise
    except Exception as error:  # ONNX Runtime's own kinds
        raise ModelError(f"{path} is not an ONNX model ({devices.first_sentence(error)})") from None
    model = model_of(session, path)
    return model if model.keeps_contract else dataclasses.replace(model, classic=classic.examine(session, path))


@functools.lru_cache(maxsize=128)
def _read(path: Path, changed: int) -> Model:
    return read_model(path)


def add(file: str | os.PathLike[str], *, name: str | None = None) -> list[Style]:
    """Keep a style file, or the style of a picture, in the user's folder, so that its styles are found by their names;
    returns them. `name` is what the style of a picture is called, by default as its file.

    Raises ModelError if it is not a style model, InputError if the picture cannot be read, OutputError if there is a
    style of that name already.
    """
    if encoder.is_picture(file):
        body = load("live")
        kept = [dataclasses.replace(encoder.style_of(file, body, name=name), title=Path(file).stem)]
        target = user_folder() / f"{kept[0].name}.onnx"
    elif name:
        raise UsageError("a name goes with a picture: the styles of a model file have theirs")
    else:
        _check_size(model_path(os.fspath(file)))
        body = load(os.fspath(file))
        if has_external_data(body.path):
            raise ModelError(f"{file} keeps its weights in another file beside it: save it as a single file first")
        kept = list(body.styles)
        target = user_folder() / f"{typeable(body.path.stem)}.onnx"
    taken = {style.name.lower(): style.model for style in styles()}
    for style in kept:
        if model := taken.get(style.name.lower()):
            raise OutputError(
                f"there is a style {style.name} already (in {model}): make this one under another name, or "
                f"remove that one first"
            )
    if target.exists():
        raise OutputError(f"{target} exists already: rename {Path(file).name} first")
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(target) as part:
        if encoder.is_picture(file):
            write_with_styles(body, kept, part)
        else:
            shutil.copyfile(body.path, part)
    try:
        for style in kept:
            resolve(style.name)
    except RtstyleError:
        target.unlink()
        raise
    return kept


def remove(name: str) -> Path:
    """Delete the file of one of the user's own styles; returns its path. Raises RtstyleError if there is none, or the
    file holds other styles too."""
    own = {style.name.lower(): model for model in _own_models() for style in model.styles}
    if name.lower() not in own:
        hint = f"yours are {', '.join(sorted(own))}" if own else "you have added none"
        raise UsageError(f"{name} is not one of your own styles: {hint}")
    model = own[name.lower()]
    listed = (path for path in user_folder().glob("*.onnx") if path.is_file())
    path = next(path for path in listed if path.resolve() == model.path)  # of a link not what it points to
    if len(model.styles) > 1:
        others = ", ".join(style.name for style in model.styles if style.name.lower() != name.lower())
        raise ModelError(f"{path} holds other styles too ({others}): delete the file itself to lose them all")
    path.unlink()
    return path


def styles(model: str = "live") -> list[Style]:
    """The styles that a model can paint: its own and those of the user's folder."""
    return [*load(model).styles, *own_styles()]


def own_styles() -> list[Style]:
    """The styles of the user's folder."""
    return [style for model in _own_models() for style in model.styles]


def mixable(model: Model) -> list[Style]:
    """The styles whose codes `model` takes: its own, then bundled ones and the user's that were made for its body."""
    if not model.takes_code:
        return list(model.styles)
    bundled = []
    if model.body in BUNDLED:
        with contextlib.suppress(RtstyleError):  # not every installation has both
            bundled = [load(model.body)]
    others = [m for m in (*bundled, *_own_models()) if m.body_sha256 == model.body_sha256 and m.path != model.path]
    mixing = {style.name: style for other in others for style in other.styles}
    own = {style.name: style for style in model.styles}
    return [*model.styles, *(style for name, style in mixing.items() if name not in own)]


def own_models() -> tuple[list[Model], list[RtstyleError]]:
    """The models of the user's folder, and what is wrong with its other files. Nothing in them is run."""
    models: list[Model] = []
    errors: list[RtstyleError] = []
    try:
        paths = sorted(user_folder().glob("*.onnx"))
    except OSError as error:
        return [], [ModelError(f"{user_folder()} cannot be read ({error.strerror})")]
    for path in paths:
        try:
            if not path.is_file():
                raise ModelError(f"{path} is not a file")
            _check_size(path)
            path = path.resolve()
            models.append(_read(path, path.stat().st_mtime_ns))
        except (RtstyleError, OSError) as error:
            errors.append(error if isinstance(error, RtstyleError) else ModelError(f"{path} cannot be read ({error})"))
    return models, errors


def _check_size(path: Path) -> None:
    if path.stat().st_size > MAX_OWN_BYTES:
        raise ModelError(f"{path} is larger than {MAX_OWN_BYTES / 1e6:.0f} MB: name it by its path instead")


@functools.cache
def _warn(sentence: str) -> None:
    """Once in a process."""
    log.warning(sentence)


def _own_models() -> list[Model]:
    """Broken files must not stop the others."""
    models, errors = own_models()
    for error in errors:
        _warn(f"{error} (skipped; rtstyle doctor lists such files)")
    return models


@dataclasses.dataclass(frozen=True)
class Choice:
    """What to paint with: a model and a code for it, or None where the model has its style built in. `picture` is the
    style where that is a picture's."""

    model: Model
    code: NDArray[np.float32] | None
    label: str
    picture: Style | None = None


def resolve(style: str | None = None, model: str = "live") -> Choice:
    """A style as people write it: a name, a mix `starry-night:0.7,great-wave:0.3`, a path to an .onnx file
    (`file.onnx#name` for one of several), or to a picture. None is the first style of the model.

    Weights of a mix are scaled to sum 1. Raises UsageError for unknown names, with the near matches, and for
    broken mixes; ModelError for files that cannot be used.
    """
    if style and ".onnx" in style.lower() and not encoder.is_mix(style):
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
        name = parts[0][0]
        owner, chosen = _find(name, base)
        picture = chosen if encoder.is_picture(name) else None
        return Choice(_tried(owner), chosen.code if owner.takes_code else None, chosen.name, picture)
    code = np.zeros(len(base.styles[0].code), np.float64)
    for name, weight in parts:
        owner, chosen = _find(name, base)
        if owner.body_sha256 != base.body_sha256 or not owner.takes_code:
            raise UsageError(f"{name} was made for another body and cannot be mixed: mix styles of one model")
        code += (weight / total) * chosen.code
    return Choice(base, code.astype(np.float32), style)


def _tried(model: Model) -> Model:
    """With a classic net's form."""
    return model if model.keeps_contract else load(str(model.path))


def mixture(style: str) -> list[tuple[str, float]]:
    """The names, or paths, and weights that `a:0.7,b:0.3` is written of; a file that has such a name wins. Raises
    UsageError."""
    return [_part(part) for part in (style.split(",") if encoder.is_mix(style) else [style])]


def _part(text: str) -> tuple[str, float]:
    name, colon, weight = text.strip().rpartition(":")
    if not colon or is_file_name(weight):  # a colon within a path is none before a weight
        name, weight = text.strip(), ""
    try:
        value = float(weight) if weight else 1.0
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value) or value < 0:
        raise UsageError(f"cannot read the style {text!r}: write name or name:weight, such as great-wave:0.3")
    return name, value


def is_file_name(name: str) -> bool:
    """Whether a style is named by a file: a model or a picture."""
    return ".onnx" in name.lower() or encoder.is_picture(name)


def picture_style(path: str | os.PathLike[str], base: Model) -> Style:
    """The style of a picture for the body of `base`, called after the file, with its ending where a style of `base` has
    that name. Raises as `encoder.style_of`."""
    name = typeable(Path(path).stem)
    taken = any(style.name == name for style in base.styles)
    return encoder.style_of(path, base, name=Path(path).name if taken else name)


def _find(name: str, base: Model) -> tuple[Model, Style]:
    if encoder.is_picture(name):
        return base, picture_style(name, base)
    if ".onnx" in name.lower():
        path, _, name = name.partition("#")
        owner = load(path)
        return owner, _by_name(name, owner.styles) if name else owner.styles[0]
    candidates = [(base, style) for style in base.styles]
    candidates += [(own, style) for own in _own_models() for style in own.styles]
    for owner, style in candidates:
        if style.name.lower() == name.lower():
            return owner, style
    _by_name(name, [style for _, style in candidates])
    raise AssertionError("unreachable")


def _by_name(name: str, among: Sequence[Style]) -> Style:
    for style in among:
        if style.name.lower() == name.lower():
            return style
    names = [style.name for style in among]
    near = difflib.get_close_matches(name.lower(), names, 3, 0.5) or [n for n in names if name.lower() in n]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"unknown style {name!r}: {hint} (rtstyle styles lists them)")
