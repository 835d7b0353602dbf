"""Any picture as a style: the bundled encoder looks at it and writes its code, in a fraction of a second.

picture   uint8 [1, H, W, 3]   sRGB, any H, W >= 32
code      float32 [K]          for the body that the file's metadata name, `rtstyle.body_sha256`
colors, grams, lengths         what it sees of the picture (`rtstyle.gallery.polish`)
"""

from __future__ import annotations

import functools
import importlib.resources
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import onnxruntime as ort
from PIL import Image

from rtstyle.errors import InputError, ModelError, UsageError
from rtstyle.gallery.model_file import Model, Style, typeable
from rtstyle.media.images import SUFFIXES, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "encoder.onnx"
MIN_SIDE = 32  # pixels of a picture
SIDE = 448  # pixels, to which the short side of a larger picture is shrunk: what the encoder looks at
LONGEST = 4  # times the short side: of a longer picture, the middle is looked at


def is_picture(name: str | os.PathLike[str]) -> bool:
    """Whether a style is named by a picture file."""
    return Path(name).suffix.lower() in SUFFIXES


def is_mix(style: str) -> bool:
    """Whether several styles are named: between commas, unless there is a file of such a name."""
    return "," in style and not os.path.isfile(style)


def is_one_picture(style: str | None) -> TypeGuard[str]:
    """Whether a style is one picture and nothing else, not a mix."""
    return style is not None and is_picture(style) and not is_mix(style)


def style_of(path: str | os.PathLike[str], model: Model, *, name: str | None = None) -> Style:
    """The style of a picture file for the body of `model`, called `name` or after its file.

    Raises InputError if the picture cannot be read or is too small, UsageError if there is no encoder for the body.
    """
    path = Path(path)
    if not model.takes_code:
        raise UsageError(f"{model.path.name} has one style built in: a picture as a style needs the live model")
    if not writes_for(model.body_sha256):
        raise UsageError(
            f"a picture cannot be a style of {model.path.stem}: the encoder was made for the bundled live model. Use "
            f"that one, or learn the picture with rtstyle train"
        )
    code = code_of(path)
    return Style(typeable(name or path.stem), path.name, "", "", "unknown", path.name, model.path.stem, code)


def writes_for(body_sha256: str) -> bool:
    """Whether the encoder that is installed writes codes for this body. Raises ModelError if none is installed."""
    return made_for(session(encoder_path()))[0] == body_sha256


def made_for(session: ort.InferenceSession) -> tuple[str | None, str | None]:
    """The SHA-256 of the body that a file was made for, and of the weights of the encoder that it is or goes with."""
    known = session.get_modelmeta().custom_metadata_map
    return known.get("rtstyle.body_sha256"), known.get("rtstyle.encoder_sha256")


def code_of(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """The code of a picture, float32 [K]. Raises InputError if it cannot be read or is too small."""
    return seen_of(path)["code"]


def seen_of(path: str | os.PathLike[str]) -> Mapping[str, NDArray[np.float32]]:
    """All that the encoder has to say of a picture, by the names of its outputs. Raises InputError if it cannot be read
    or is too small."""
    path = Path(path)
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"the style picture {path} cannot be read ({error.strerror})") from None
    return _seen(path.resolve(), (status.st_mtime_ns, status.st_size))


def encoder_path() -> Path:
    return Path(str(importlib.resources.files("rtstyle.pretrained") / FILE))


@functools.lru_cache(maxsize=256)
def _seen(path: Path, version: tuple[int, int]) -> Mapping[str, NDArray[np.float32]]:
    net = session(encoder_path())
    outputs = [output.name for output in net.get_outputs()]
    seen = dict(zip(outputs, net.run(outputs, {"picture": _looked_at(path)[None]}), strict=True))
    if not np.isfinite(seen["code"]).all():
        raise ModelError(f"the encoder found no style in {path}")
    for values in seen.values():
        values.flags.writeable = False
    return seen


@functools.cache
def session(path: Path) -> ort.InferenceSession:
    """The session of an encoder's file, opened once. Raises ModelError if there is none."""
    if not path.is_file():
        raise ModelError(f"this installation carries no {path.name}, which pictures as styles need: install it again")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others paint meanwhile
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _looked_at(path: Path) -> NDArray[np.uint8]:
    """What the encoder gets to see of a picture, uint8 [H, W, 3]."""
    rgb = read_image(path, SIDE).rgb
    height, width = rgb.shape[:2]
    short = min(height, width)
    if short < MIN_SIDE:
        raise InputError(f"the style picture {path} is {width}x{height}: it must be at least {MIN_SIDE} pixels a side")
    top, left = (max(0, side - LONGEST * short) // 2 for side in (height, width))
    rgb = rgb[top : height - top, left : width - left]
    if short > SIDE:
        height, width = (max(SIDE, round(side * SIDE / short)) for side in rgb.shape[:2])
        # As sharp as the pictures that it learned from: by cv2.INTER_AREA strokes come out paler
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(rgb)
