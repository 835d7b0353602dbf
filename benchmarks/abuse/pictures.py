"""Odd and broken picture files."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from bench import Bench, Runs, Verdict, finished, judge, names_in
from clips import scene
from PIL import Image


def odd_pictures(folder: Path) -> None:
    """Picture files of every odd kind, by name."""
    rgb = Image.fromarray(scene(3))
    rgb.convert("1").resize((9000, 9000)).save(folder / "9000 1-bit.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("L").save(folder / "grey.jpg")
    rgb.convert("P").save(folder / "palette.png")
    rgb.convert("P").save(folder / "palette transparent.png", transparency=3)
    rgb.convert("LA").save(folder / "grey alpha.png")
    rgb.convert("RGBA").save(folder / "alpha.webp")
    rgb.convert("YCbCr").save(folder / "ycbcr.tif")
    rgb.convert("LAB").save(folder / "lab.tif")
    rgb.save(folder / "animated.gif", save_all=True, append_images=[Image.fromarray(scene(i)) for i in range(5)])
    rgb.save(folder / "pages.tif", save_all=True, append_images=[rgb] * 3)
    Image.fromarray(np.float32(np.asarray(rgb.convert("L"))) / 255).save(folder / "float.tif")
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(folder / "nan.tif")
    Image.fromarray(np.uint16(np.asarray(rgb.convert("L"))) * 257).save(folder / "16-bit.png")
    Image.fromarray(np.int32(np.asarray(rgb.convert("L"))) << 16).save(folder / "32-bit.tif")
    Image.fromarray(np.full((40, 40), np.inf, np.float32)).save(folder / "infinite.tif")
    rgb.save(folder / "progressive.jpg", progressive=True)
    rgb.resize((1, 1)).save(folder / "one pixel.png")
    rgb.resize((5000, 1)).save(folder / "one row.png")
    rgb.resize((16, 4000)).save(folder / "thin.png")
    for turn in range(1, 10):
        exif = Image.Exif()
        exif[0x0112] = turn
        rgb.save(folder / f"turned {turn}.jpg", exif=exif)
    rgb.save(folder / "broken exif.jpg", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    rgb.save(folder / "broken profile.jpg", icc_profile=b"no profile" * 20)
    rgb.save(folder / "bmp.bmp")
    data = (folder / "grey.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "huge claim.jpg").write_bytes(huge_jpeg())
    (folder / "png as jpg.jpg").write_bytes((folder / "palette.png").read_bytes())
    (folder / "zip bomb.png").write_bytes(png_claim(50000, 50000))
    (folder / "zero size.png").write_bytes(png_claim(0, 0))
    (folder / "folder.png").mkdir()
    (folder / "ä\u202e名.png").write_bytes((folder / "palette.png").read_bytes())


def png_claim(width: int, height: int) -> bytes:
    """A PNG that claims so many pixels of zeros and is whole otherwise."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width // 8)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def is_picture(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
        Image.open(path).load()
        return True
    return False


def pictures(bench: Bench) -> Runs:
    folder = bench.room("odd")
    odd_pictures(folder)
    for path in sorted(folder.iterdir()):

        def one(path=path) -> Verdict:
            where = bench.room(f"picture_{path.stem[:40]}_{path.suffix[1:]}")
            (where / path.name).symlink_to(path)
            ended = bench.run(["image", path.name, "out.png", "--device", "cpu"], where, limit=120)
            found = names_in(where, {path.name})
            how, fault = judge(ended, results={"out.png"}, found=found, whole=lambda: is_picture(where / "out.png"))
            return finished(where, how, fault)

        yield path.name, one


def huge_jpeg() -> bytes:
    """A JPEG that claims 60,000 x 60,000 pixels."""
    data = bytearray(cv2.imencode(".jpg", scene(1))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    return bytes(data)
