"""What training looks at: content photographs and style pictures, as uint8 tensors [3, H, W] in memory."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from rtstyle.errors import RtstyleError
from rtstyle.media.images import SUFFIXES


def read_picture(path: str | os.PathLike, short_side: int | None = None, *, enlarge: bool = True) -> torch.Tensor:
    """A picture as uint8 [3, H, W], RGB, upright, its short side scaled to `short_side` pixels.

    Raises RtstyleError if it cannot be read or is smaller than 32 pixels.
    """
    try:
        with Image.open(path) as picture:
            if short_side:
                picture.draft("RGB", (2 * short_side, 2 * short_side))  # JPEG: decode no larger than needed
            picture = ImageOps.exif_transpose(picture)
            if picture.mode.startswith("I"):  # 16 bits of grey: Pillow would cut them off at 255
                picture = Image.fromarray(np.clip(np.asarray(picture) / 257 + 0.5, 0, 255).astype(np.uint8))
            picture = picture.convert("RGB")
    except FileNotFoundError:
        raise RtstyleError(f"{path} does not exist") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RtstyleError(f"{path} is not a readable picture ({error})") from None
    if min(picture.size) < 32:
        raise RtstyleError(f"{path} is too small ({picture.width}x{picture.height}): 32 pixels a side at least")
    if short_side and (enlarge or min(picture.size) > short_side):
        scale = short_side / min(picture.size)
        picture = picture.resize([max(short_side, round(s * scale)) for s in picture.size], Image.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def list_pictures(folder: str | os.PathLike) -> list[Path]:
    """The picture files of a folder and its subfolders, sorted. Raises RtstyleError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RtstyleError(f"the folder {folder} does not exist")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise RtstyleError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


class Photos:
    """Content photographs, decoded once and kept as uint8 on `device`.

    Files that cannot be read are skipped and counted; `skipped` lists them. `batch` draws crops.
    """

    def __init__(self, folder: str | os.PathLike, short_side: int = 288, device="cpu"):
        def load(path):
            try:
                return read_picture(path, short_side, enlarge=False)
            except RtstyleError as error:
                return error

        files = list_pictures(folder)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            loaded = list(pool.map(load, files))
        self.skipped = [str(item) for item in loaded if isinstance(item, RtstyleError)]
        self.pictures = [item.to(device) for item in loaded if not isinstance(item, RtstyleError)]
        self.device = device
        if not self.pictures:
            raise RtstyleError(f"none of the {len(files)} pictures in {folder} can be read: {self.skipped[0]}")
        if self.skipped:
            print(f"{len(self.skipped)} of {len(files)} photographs skipped: {self.skipped[0]}", file=sys.stderr)

    def __len__(self):
        return len(self.pictures)

    def batch(self, count: int, crop: int, generator: torch.Generator, grey: float = 0.1) -> torch.Tensor:
        """Random squares, shrunk or enlarged to `crop`: float [N, 3, crop, crop], 0 to 255. Half of them are mirrored,
        a share of `grey` is without colour.

        Every choice comes from `generator` (a CPU generator), so equal states give equal batches.
        """
        out = []
        for _ in range(count):
            which, top, left, zoom, mirror, colour = torch.rand(6, generator=generator).tolist()
            picture = self.pictures[int(which * len(self.pictures))]
            h, w = picture.shape[1:]
            short = min(h, w)
            least = min(short, crop * 2 // 3)  # enlarged ones look like video: soft at the pixel
            side = round(least + zoom * (short - least))
            y, x = int(top * (h - side + 1)), int(left * (w - side + 1))
            patch = picture[None, :, y : y + side, x : x + side].float()
            if side != crop:
                patch = F.interpolate(patch, (crop, crop), mode="bilinear", antialias=True, align_corners=False)
            if colour < grey:  # black-and-white film wants painting too
                patch = patch.mean(1, keepdim=True).expand(-1, 3, -1, -1)
            out.append(patch.flip(3) if mirror < 0.5 else patch)
        return torch.cat(out)


def synthetic_motion(count: int, crop: int, generator: torch.Generator) -> torch.Tensor:
    """Smooth random motion with exactly known flow: sampling grids [N, crop, crop, 2] for grid_sample.

    A shift of up to 6 pixels, a little turning and scaling, and a gentle swell; it never folds, so nothing is
    hidden but what enters over the border (grid values beyond -1 and 1).
    """
    unit = 2 / crop
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * 6 * unit
    turn, scale = (torch.rand(2, count, generator=generator) * 2 - 1) * 0.04
    theta = torch.stack(
        [
            torch.stack([1 + scale, -turn, shift[:, 0]], 1),
            torch.stack([turn, 1 + scale, shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, (count, 3, crop, crop), align_corners=False)
    swell = torch.randn(count, 2, 4, 4, generator=generator) * 1.5 * unit
    swell = F.interpolate(swell, (crop, crop), mode="bicubic", align_corners=True)
    return grid + swell.permute(0, 2, 3, 1)


def warp(pictures: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Pictures [N, C, H, W] seen after the motion: bilinear samples at `grid`, borders reflected."""
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
