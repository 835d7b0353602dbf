"""Picture files, upright and in sRGB; pictures fitted into a frame."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms

from rtstyle import memory
from rtstyle.errors import InputError, OutputError
from rtstyle.files import written_beside

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LONGEST_SIDES = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # pixels
LONGEST_EXIF = 65_533  # bytes that a JPEG has room for
STRIP = 1 << 22  # pixels that are converted at a time: a whole picture would be held several times over
BY_ROWS = ("PNG", "JPEG", "MPO", "TIFF", "BMP", "GIF", "PPM")  # formats whose decoders hold a few rows
WHOLE = 8  # bytes a pixel that other decoders hold

# What stays of the tags of a TIFF, and into one: most others say how its pixels are stored, or hold a copy of them
DESCRIPTIVE = {
    ExifTags.Base.DocumentName,
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
    ExifTags.Base.ExifOffset,
    ExifTags.Base.GPSInfo,
}

# by EXIF's orientation: a picture seen as it lies in its file, given the picture as it is shown
_LYING: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: shown.swapaxes(0, 1)[::-1, ::-1],
    8: lambda shown: np.rot90(shown, -1),
}
_opening = threading.Lock()


@dataclasses.dataclass
class Picture:
    """A picture file: `rgb` uint8 [H, W, 3]; `alpha` uint8 [H, W] or None; `exif` without the orientation."""

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes = b""


def read_image(
    path: str | os.PathLike[str],
    short_side: int | None = None,
    *,
    max_memory: int | None = None,
    later: Callable[[int, int], float] | None = None,
) -> Picture:
    """Read a picture: turned upright, in sRGB, 8 bits. Where it is to be shrunk to `short_side` pixels anyway, a JPEG
    is decoded at a half, quarter or eighth of its size, as far as twice that is left: many times faster.

    `max_memory` is what it may take in bytes, half of the machine's by default; `later` is what it takes after it was
    read, in bytes by (width, height). Raises RtstyleError if it cannot be read, or would take more.
    """
    try:
        with _opened(path) as file:
            if file.format == "EPS":  # Pillow would run it in Ghostscript
                raise InputError(f"{path} is PostScript, a program: save it as a picture first")
            if short_side:
                file.draft(None, (2 * short_side, 2 * short_side))
            _check_need(path, file, max_memory, later)
            try:
                file.load()
            except (TypeError, KeyError, OverflowError, struct.error) as error:  # a number is of a wrong kind, or huge
                raise OSError(f"damaged: {error}") from None
            return _converted(file)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder") from None
    except MemoryError:
        raise InputError(f"there is not enough memory to read {path}: shrink it") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable picture ({error})") from None


def _opened(path: str | os.PathLike[str]) -> Image.Image:
    """A picture whose header has been read, of any size: Pillow's own limit counts pixels, not what they take here."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_need(
    path: str | os.PathLike[str],
    file: Image.Image,
    max_memory: int | None,
    later: Callable[[int, int], float] | None,
) -> None:
    width, height = file.size
    kept = 1 if file.mode in ("1", "L", "P") else 2 if file.mode.startswith("I;16") else 4
    whole = 0 if file.format in BY_ROWS else WHOLE
    need = max(width * height * (kept + whole + 4), later(width, height) if later else 0)  # 4: RGB and alpha
    if need > (max_memory or memory.installed() / 2):
        allowed = f"{max_memory / 1e9:.1f} GB" if max_memory else f"half of the {memory.installed() / 1e9:.1f} GB here"
        raise InputError(
            f"{path} has {width}x{height} pixels and takes at least {need / 1e9:.1f} GB of memory, but only {allowed} "
            f"may be used: make it smaller first{', or raise `max_memory`' if later or max_memory else ''}"
        )


def _converted(file: Image.Image) -> Picture:
    """A loaded picture as it is shown."""
    width, height = file.size
    turn, exif = _orientation(file)
    shape = (width, height) if turn >= 5 else (height, width)
    rgb = np.empty((*shape, 3), np.uint8)
    alpha = np.empty(shape, np.uint8) if file.has_transparency_data else None
    lying: Callable[[np.ndarray], np.ndarray] = _LYING.get(turn, np.asarray)
    whitest = max((_grey(strip).max() for _, strip in _strips(file)), default=0.0) if file.mode == "F" else 0.0
    for rows, strip in _strips(file):
        lying(rgb)[rows] = np.asarray(_to_srgb(strip, 255 if whitest <= 1 else 1))
        if alpha is not None:
            lying(alpha)[rows] = np.asarray(strip.convert("RGBA").getchannel("A"))
    return Picture(rgb, alpha, exif)


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """(rows, the part of the picture that they are), from top to bottom."""
    width, height = image.size
    step = max(1, STRIP // max(1, width))
    for top in range(0, height, step):
        bottom = min(height, top + step)
        yield slice(top, bottom), image if step >= height else image.crop((0, top, width, bottom))


def _orientation(image: Image.Image) -> tuple[int, bytes]:
    """(how a loaded picture is turned: 1 to 8, 1 for upright; its EXIF data without that)."""
    turn = 1
    try:  # broken EXIF data, for which Pillow has many kinds of errors: the picture itself was read
        exif = image.getexif()
        found = exif.pop(ExifTags.Base.Orientation, 1)
        turn = found if found in _LYING else 1
        if image.format == "TIFF":
            _keep_descriptive(exif)
        return turn, exif.tobytes() if exif else b""
    except Exception:
        return turn, b""


def _keep_descriptive(exif: Image.Exif) -> None:
    for tag in set(exif) - DESCRIPTIVE:
        del exif[tag]


def _grey(image: Image.Image) -> np.ndarray:
    """The values of a picture of floating-point numbers, float32 [H, W]."""
    grey: np.ndarray = np.nan_to_num(np.asarray(image), posinf=255)
    return grey


def _to_srgb(image: Image.Image, white: int) -> Image.Image:
    """A picture of any mode as RGB; `white` is by what floating-point numbers are multiplied."""
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    elif image.mode == "F":  # grey from 0 to 1, or to 255
        image = Image.fromarray((_grey(image) * white + 0.5).clip(0, 255).astype(np.uint8))
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "RGBA", "LA", "PA"):
        image = image.convert("RGBA").convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            shown = ImageCms.applyTransform(image, _from_profile(profile, image.mode))
            return image if shown is None else shown
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken or mismatched profile: the plain conversion is the best guess left
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=8)  # photographs of one camera have one profile, and a transform takes as long as 1 Mpx
def _from_profile(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raises RtstyleError if `path` does not end like a picture that can be written."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot write a picture named {Path(path).name}: end it with {', '.join(SUFFIXES)}")


def check_side(path: str | os.PathLike[str], height: int, width: int) -> None:
    """Raises RtstyleError if the format that the suffix of `path` names has no pictures of this size."""
    longest = LONGEST_SIDES.get(Path(path).suffix.lower())
    if longest and max(height, width) > longest:
        raise OutputError(
            f"{path} cannot be written: {width}x{height} is more than the {longest} pixels a side that its format has; "
            "choose PNG or a smaller size"
        )


def write_image(path: str | os.PathLike[str], picture: Picture, quality: int = 95, *, force: bool = False) -> None:
    """Write a picture in the format its suffix names; it appears under that name only when complete, and without
    `force` it replaces nothing. Raises RtstyleError."""
    check_suffix(path)
    image = Image.fromarray(picture.rgb)
    suffix = Path(path).suffix.lower()
    if picture.alpha is not None and suffix in (".png", ".webp", ".tif", ".tiff"):
        image.putalpha(Image.fromarray(picture.alpha))
    options: dict[str, Any] = {"quality": quality} if suffix in (".jpg", ".jpeg", ".webp") else {}
    jpeg = suffix in (".jpg", ".jpeg")
    if picture.exif and suffix != ".bmp" and not (jpeg and len(picture.exif) > LONGEST_EXIF):
        options["exif"] = picture.exif
        if suffix in (".tif", ".tiff"):  # photographs have such tags, too
            options["exif"] = Image.Exif()
            options["exif"].load(picture.exif)
            _keep_descriptive(options["exif"])
    if jpeg:
        options["subsampling"] = 0
    check_side(path, *picture.rgb.shape[:2])
    with written_beside(path, force=force) as part:
        image.save(part, **options)


def fit(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 RGB [H, W, 3] scaled into width x height, with black bars where the shape differs. One row or column
    too many, as odd sizes have, is cut off."""
    if 0 <= rgb.shape[0] - height <= 1 and 0 <= rgb.shape[1] - width <= 1:
        return rgb[:height, :width]
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    size = max(1, min(width, round(rgb.shape[1] * scale))), max(1, min(height, round(rgb.shape[0] * scale)))
    inner = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = inner
    return out
