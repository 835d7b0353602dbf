"""What training looks at: content photographs and style pictures, as uint8 tensors [3, H, W] in memory."""

from __future__ import annotations

import importlib.resources
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from rtstyle.errors import InputError, RtstyleError
from rtstyle.media.images import SUFFIXES, read_image

MIN_SIDE = 32  # pixels of a picture
GREY = 0.1  # the share of crops without colour: black-and-white film wants painting too

T = TypeVar("T")
log = logging.getLogger("rtstyle")


def read_picture(path: str | os.PathLike[str], short_side: int | None = None, *, enlarge: bool = True) -> torch.Tensor:
    """A picture as `read_image` shows it, uint8 [3, H, W], its short side scaled to `short_side` pixels.

    Raises RtstyleError if it cannot be read or is smaller than 32 pixels.
    """
    rgb = read_image(path, short_side).rgb
    height, width = rgb.shape[:2]
    short = min(height, width)
    if short < MIN_SIDE:
        raise InputError(f"{path} is too small ({width}x{height}): {MIN_SIDE} pixels a side at least")
    if short_side and (enlarge or short > short_side):
        width, height = (max(short_side, round(side * (short_side / short))) for side in (width, height))
        rgb = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()


def list_pictures(folder: str | os.PathLike[str]) -> list[Path]:
    """The picture files of a folder and its subfolders, sorted. Raises RtstyleError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return files


def evenly(items: Sequence[T], limit: int | None) -> list[T]:
    """`limit` items spread evenly over the whole sequence; all of them if there are no more or no limit."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


class Photos:
    """Content photographs, decoded once and kept as uint8 on `device`.

    Files that cannot be read are skipped and counted; `skipped` lists them. Without a folder there are the few
    photographs that come with rtstyle, in several colourings, and pictures of dead leaves. With `limit` so many of the
    folder's files are read, evenly from the sorted list. `batch` draws crops.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        short_side: int = 288,
        device: str | torch.device = "cpu",
        limit: int | None = None,
    ):
        self.device = device
        if folder is None:
            self.skipped, self.pictures = [], [picture.to(device) for picture in default_pictures(short_side)]
            return

        def load(path: Path) -> torch.Tensor | RtstyleError:
            try:
                return read_picture(path, short_side, enlarge=False)
            except RtstyleError as error:
                return error

        files = evenly(list_pictures(folder), limit)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            loaded = list(pool.map(load, files))
        self.skipped = [str(item) for item in loaded if isinstance(item, RtstyleError)]
        self.pictures = [item.to(device) for item in loaded if not isinstance(item, RtstyleError)]
        if not self.pictures:
            raise InputError(f"none of the {len(files)} pictures in {folder} can be read: {self.skipped[0]}")
        if self.skipped:
            log.warning(f"{len(self.skipped)} of {len(files)} photographs skipped: {self.skipped[0]}")

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, count: int, crop: int, generator: torch.Generator) -> torch.Tensor:
        """Random squares, shrunk or enlarged to `crop`: float [N, 3, crop, crop], 0 to 255. Half of them are mirrored,
        a share of GREY is without colour.

        Every choice comes from `generator` (a CPU generator), so equal states give equal batches.
        """
        out = []
        for _ in range(count):
            which, top, left, zoom, mirror, color = torch.rand(6, generator=generator).tolist()
            picture = self.pictures[int(which * len(self.pictures))]
            h, w = picture.shape[1:]
            short = min(h, w)
            smallest = min(short, crop * 2 // 3)  # enlarged crops are soft, as frames of a video are
            side = round(smallest + zoom * (short - smallest))
            y, x = int(top * (h - side + 1)), int(left * (w - side + 1))
            patch = picture[None, :, y : y + side, x : x + side].float()
            if side != crop:
                patch = F.interpolate(patch, (crop, crop), mode="bilinear", antialias=True, align_corners=False)
            if color < GREY:
                patch = patch.mean(1, keepdim=True).expand(-1, 3, -1, -1)
            out.append(patch.flip(3) if mirror < 0.5 else patch)
        return torch.cat(out)


def default_pictures(short_side: int) -> list[torch.Tensor]:
    """What training looks at when nobody gives it photographs: uint8 [3, H, W], always the same.

    The photographs that come with rtstyle (public domain and CC0), each also with its colours changed round and as a
    negative, and as many pictures of dead leaves coloured like them. More and real photographs give better styles.
    """
    folder = Path(str(importlib.resources.files("rtstyle.pretrained") / "photographs"))
    photographs = [read_picture(path, short_side) for path in sorted(folder.glob("*.jpg"))]
    varied = []
    for picture in photographs:
        swaps = [[0, 1, 2], [2, 1, 0], [1, 2, 0]] if picture.float().std(0).mean() > 2 else [[0, 1, 2]]
        varied += [picture[swap] for swap in swaps]
        varied.append(255 - picture)
    chance = np.random.default_rng(0)
    return [*varied, *(dead_leaves(short_side, varied, chance) for _ in range(len(varied)))]


def dead_leaves(side: int, pictures: list[torch.Tensor], chance: np.random.Generator) -> torch.Tensor:
    """uint8 [3, side, side]: shapes of all sizes on top of one another, with the statistics of edges in photographs
    (Lee, Mumford and Huang 2001, "Occlusion Models for Natural Images"). Each is shaded softly and coloured like a
    pixel of `pictures`; some carry a patch of one of these as their texture."""
    canvas: np.ndarray = np.full((side, side, 3), chance.uniform(60, 200, 3), np.float32)
    for radius in ((chance.pareto(1.2, 150) + 1) * side / 50).clip(3, side / 2):
        picture = pictures[chance.integers(len(pictures))].numpy()
        centre = chance.uniform(0, side, 2)
        (left, top), (right, bottom) = (np.clip(centre + sign * radius, 0, side).astype(int) for sign in (-1, 1))
        if right - left < 2 or bottom - top < 2:
            continue
        middle, mask = centre - (left, top), np.zeros((bottom - top, right - left), np.uint8)
        if chance.random() < 0.5:
            axes = (radius * chance.uniform(0.4, 1, 2)).astype(int) + 1
            cv2.ellipse(mask, middle.astype(int).tolist(), axes.tolist(), chance.uniform(0, 180), 0, 360, 1, cv2.FILLED)
        else:
            angles = np.sort(chance.uniform(0, 2 * np.pi, chance.integers(3, 7)))
            corners = middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
        y, x = (chance.integers(size) for size in picture.shape[1:])
        slope, (rows, columns) = chance.normal(0, 0.4, 2), np.ogrid[0 : bottom - top, 0 : right - left]
        shade = slope[0] * (rows - middle[1]) + slope[1] * (columns - middle[0])
        leaf = picture[:, y, x] + shade[..., None].clip(-60, 60)
        if chance.random() < 0.4:
            texture = picture[:, top:bottom, left:right].transpose(1, 2, 0).astype(np.float32)
            leaf = leaf + texture - texture.mean((0, 1))
        where = canvas[top:bottom, left:right]
        np.copyto(where, leaf, where=mask[..., None] > 0, casting="same_kind")
    canvas = cv2.GaussianBlur(canvas, (0, 0), chance.uniform(0.4, 1.2))
    return torch.from_numpy(canvas.clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()


def synthetic_motion(
    count: int, crop: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Smooth random motion with exactly known flow: sampling grids [N, crop, crop, 2] for grid_sample, on `device`.

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
    grid = F.affine_grid(theta.to(device), [count, 3, crop, crop], align_corners=False)
    swell = torch.randn(count, 2, 4, 4, generator=generator).to(device) * 1.5 * unit
    swell = F.interpolate(swell, (crop, crop), mode="bicubic", align_corners=True)
    return grid + swell.permute(0, 2, 3, 1)


def whole_shifts(count: int, crop: int, generator: torch.Generator, device: torch.device | str = "cpu") -> torch.Tensor:
    """The same for shifts by whole pixels, up to 8 each way: they need no interpolation, so that nothing but the net
    can be unsteady. A net that works at half size and less paints most differently after a step of a single pixel."""
    shift = torch.randint(-8, 9, (count, 2), generator=generator) * (2 / crop)
    theta = torch.eye(2, 3).repeat(count, 1, 1)
    theta[:, :, 2] = shift
    return F.affine_grid(theta.to(device), [count, 3, crop, crop], align_corners=False)


def draw_motion(photos: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """For photographs [N, 3, crop, crop]: a sampling grid, of a free motion or of whole pixels, and what a camera adds
    to the second look: sensor noise and a change of exposure. Drawn from a CPU generator; on a GPU the noise comes from
    a generator there, whose seed the CPU's draws."""
    count, _, crop, _ = photos.shape
    device = photos.device
    grid = torch.where(
        (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).to(device),
        synthetic_motion(count, crop, generator, device),
        whole_shifts(count, crop, generator, device),
    )
    strength = torch.rand(count, 1, 1, 1, generator=generator).to(device) * 6
    many = generator
    if device.type != "cpu":
        many = torch.Generator(device).manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    change = torch.randn(photos.shape, generator=many, device=device) * strength
    change += torch.randn(count, 1, 1, 1, generator=generator).to(device) * 4
    return grid, change


def warp(pictures: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Pictures [N, C, H, W] seen after the motion: bilinear samples at `grid`, borders reflected."""
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
