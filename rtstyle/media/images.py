"""Picture files, upright and in sRGB; pictures fitted into a frame."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from rtstyle.errors import InputError, OutputError
from rtstyle.files import written_beside

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclasses.dataclass
class Picture:
    """A picture file: `rgb` uint8 [H, W, 3]; `alpha` uint8 [H, W] or None; `exif` without the orientation."""

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes = b""


def read_image(path: str | os.PathLike[str], short_side: int | None = None) -> Picture:
    """Read a picture: turned upright, in sRGB, 8 bits. Where it is to be shrunk to `short_side` pixels anyway, a JPEG
    is decoded at a half, quarter or eighth of its size, as far as twice that is left: many times faster.

    Raises RtstyleError if it cannot be read.
    """
    try:
        with Image.open(path) as file:
            if short_side:
                file.draft(None, (2 * short_side, 2 * short_side))
            file.load()
            image, exif = _upright(file)
            alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
            rgb = _to_srgb(image)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable picture ({error})") from None
    return Picture(np.array(rgb), None if alpha is None else np.array(alpha), exif)


def _upright(file: Image.Image) -> tuple[Image.Image, bytes]:
    """A loaded picture turned as its EXIF data say, and these without the orientation."""
    try:
        image = ImageOps.exif_transpose(file)
        exif = image.getexif()
        return image, exif.tobytes() if exif else b""
    except Exception:  # broken EXIF data, for which Pillow has many kinds: the picture itself was read
        return file, b""


def _to_srgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    elif image.mode == "F":  # grey from 0 to 1, or to 255
        grey = np.nan_to_num(np.asarray(image), posinf=255)
        scale = 255 if grey.max() <= 1 else 1
        image = Image.fromarray((grey * scale + 0.5).clip(0, 255).astype(np.uint8))
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "RGBA", "LA", "PA"):
        image = image.convert("RGBA").convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            shown = ImageCms.applyTransform(image, _from_profile(profile, image.mode))
            return image if shown is None else shown
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken or mismatched profile: the plain conversion is the best guess left
    return image.convert("RGB")


@functools.lru_cache(maxsize=8)  # photographs of one camera have one profile, and a transform takes as long as 1 Mpx
def _from_profile(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raises RtstyleError if `path` does not end like a picture that can be written."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot write a picture named {Path(path).name}: end it with {', '.join(SUFFIXES)}")


def write_image(path: str | os.PathLike[str], picture: Picture, quality: int = 95, *, force: bool = False) -> None:
    """Write a picture in the format its suffix names; it appears under that name only when complete, and without
    `force` it replaces nothing. Raises RtstyleError."""
    check_suffix(path)
    image = Image.fromarray(picture.rgb)
    suffix = Path(path).suffix.lower()
    if picture.alpha is not None and suffix in (".png", ".webp", ".tif", ".tiff"):
        image.putalpha(Image.fromarray(picture.alpha))
    options: dict[str, Any] = {"quality": quality} if suffix in (".jpg", ".jpeg", ".webp") else {}
    if picture.exif and suffix not in (".bmp",):
        options["exif"] = picture.exif
    if suffix in (".jpg", ".jpeg"):
        options["subsampling"] = 0
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
