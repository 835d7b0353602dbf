"""Pictures for an encoder to learn styles from: views of paintings, photographs, and pictures made by program.

There are few paintings and an encoder has to meet very many, so each is shown in views: crops of all scales, mirrored,
turned, in other colours, two side by side. Photographs are styles too, by their colours and textures. A seed gives the
same pictures again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from PIL import Image

from rtstyle.export import losses
from rtstyle.export.artworks import balanced, distances
from rtstyle.export.data import dead_leaves
from rtstyle.export.encoder import SIDE
from rtstyle.perceptual import vgg as perceptual

Rgb = np.ndarray  # uint8 [H, W, 3]
MIN_CROP = 0.35  # of the short side of a painting
LONGEST = 1.5  # times the short side: how long views and collages are
RECOLORED, COLLAGES = 0.4, 0.1  # shares of the views
ENGRAVINGS = 0.3  # of the pictures made by program


def view(picture: Rgb, others: Sequence[Rgb], random: np.random.Generator) -> Rgb:
    """A part of a picture, perhaps mirrored, turned, in colours of its own making or of another picture's."""
    height, width = picture.shape[:2]
    short = min(height, width)
    scale = MIN_CROP ** random.random()  # from MIN_CROP to the whole
    crop_height, crop_width = (min(side, round(scale * short * random.uniform(1, LONGEST))) for side in (height, width))
    top, left = random.integers(height - crop_height + 1), random.integers(width - crop_width + 1)
    part = picture[top : top + crop_height, left : left + crop_width]
    if random.random() < 0.5:
        part = part[:, ::-1]
    if random.random() < 0.2:
        part = np.rot90(part)
    if random.random() < RECOLORED:
        part = recolored(part, _any_of(others, random), random)
    return np.ascontiguousarray(part)


def _any_of(pictures: Sequence[Rgb], random: np.random.Generator) -> Rgb:
    return pictures[int(random.integers(len(pictures)))]


def recolored(picture: Rgb, other: Rgb, random: np.random.Generator) -> Rgb:
    """Channels changed round, the negative, or the means and deviations of another picture's colours."""
    which = random.random()
    if which < 0.4:
        return np.asarray(picture[..., random.permutation(3)])
    if which < 0.5:
        return np.asarray(255 - picture)
    mean, deviation = picture.mean((0, 1)), picture.std((0, 1)) + 1
    changed = (picture - mean) / deviation * other.std((0, 1)) + other.mean((0, 1))
    return np.asarray(changed.clip(0, 255), np.uint8)


def resized(picture: Rgb, short_side: int) -> Rgb:
    """The picture with that short side."""
    height, width = picture.shape[:2]
    scale = short_side / min(height, width)
    size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def collage(first: Rgb, second: Rgb) -> Rgb:
    """Two pictures side by side."""
    parts = [resized(part, 480) for part in (first, second)]
    return np.concatenate([part[:480, : min(part.shape[1], 400)] for part in parts], 1)


def smooth_directions(side: int, random: np.random.Generator) -> np.ndarray:
    """Angles that change slowly from place to place, radians [side, side]."""
    return 2 * np.pi * _noise(4, side, random)


def _noise(cells: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Normal noise in so many cells a side, with smooth changes between them, float32 [side, side]."""
    noise = random.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC))


def swirls(side: int, random: np.random.Generator) -> np.ndarray:
    """Angles of strokes that run around some points, each around the nearest, radians [side, side]."""
    x, y = random.integers(0, side, (2, int(random.integers(2, 9)), 1, 1))
    down, across = np.mgrid[:side, :side][:, None] - np.stack([y, x])
    nearest = np.argmin(np.hypot(down, across), 0)[None]
    around = np.take_along_axis(np.arctan2(down, across), nearest, 0)[0]
    return np.asarray(around + np.pi / 2 + random.normal(0, 0.3))


def _ground(colors: Rgb, side: int) -> tuple[Rgb, Rgb]:
    """A picture at side x side pixels, and one of its mean colour to paint on."""
    small = np.asarray(cv2.resize(colors, (side, side), interpolation=cv2.INTER_AREA))
    return small, np.full((side, side, 3), small.mean((0, 1)), np.uint8)


def _near(color: np.ndarray, spread: float, random: np.random.Generator) -> list[float]:
    """A colour near this one, by so many grey levels."""
    near: list[float] = (color + random.normal(0, spread, 3)).clip(0, 255).tolist()
    return near


def strokes(colors: Rgb, angles: np.ndarray, random: np.random.Generator) -> Rgb:
    """A picture of brush strokes in these directions, radians [side, side], in the colours of another picture."""
    side = len(angles)
    small, result = _ground(colors, side)
    length, thickness = side * random.uniform(0.02, 0.1), max(1, round(side * random.uniform(0.003, 0.02)))
    spread = random.uniform(4, 30)
    for x, y in random.integers(0, side, (int(1.5 * side**2 / (length * thickness)), 2)):
        step = np.array([np.cos(angles[y, x]), np.sin(angles[y, x])]) * length / 2
        start, end = ((np.array([x, y]) + sign * step).astype(int).tolist() for sign in (-1, 1))
        cv2.line(result, start, end, _near(small[y, x], spread, random), thickness, cv2.LINE_AA)
    return result


def bars(colors: Rgb, side: int, random: np.random.Generator) -> Rgb:
    """Planes with straight lines across them in a few directions, in the colours of another picture."""
    small, result = _ground(colors, side)

    def color() -> list[int]:
        x, y = random.integers(0, side, 2)
        return list(map(int, small[y, x]))

    for x, y, width, height in random.integers(0, side, (int(random.integers(10, 60)), 4)).tolist():
        cv2.rectangle(result, (x, y), (x + width // 4, y + height // 4), color(), -1)
    first, thickness = random.uniform(0, np.pi), max(1, round(side * random.uniform(0.002, 0.015)))
    for direction in range(int(random.integers(1, 4))):
        angle, space = first + direction * np.pi / 2 + random.normal(0, 0.1), side * random.uniform(0.02, 0.15)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        stroke = color()
        for place in np.arange(-side, side, space):
            place += random.normal(0, space / 4)
            middle = side / 2 + across * place
            start, end = ((middle + sign * side * along).astype(int).tolist() for sign in (-1, 1))
            cv2.line(result, start, end, stroke, thickness, cv2.LINE_AA)
    return result


def dots(colors: Rgb, side: int, random: np.random.Generator) -> Rgb:
    """Dots or small tiles, more or less in rows, each in the colour that another picture has there."""
    small, result = _ground(colors, side)
    space, spread, square = side * random.uniform(0.012, 0.04), random.uniform(0, 30), random.random() < 0.4
    radius, disorder = max(1, round(space * random.uniform(0.3, 0.6))), space * random.uniform(0, 0.5)
    places = np.stack(np.meshgrid(np.arange(0, side, space), np.arange(0, side, space)), -1).reshape(-1, 2)
    for x, y in (places + random.normal(0, disorder + 1e-6, places.shape)).clip(0, side - 1).astype(int).tolist():
        color = _near(small[y, x], spread, random)
        if square:
            cv2.rectangle(result, (x - radius, y - radius), (x + radius, y + radius), color, -1)
        else:
            cv2.circle(result, (x, y), radius, color, -1, cv2.LINE_AA)
    return result


def engraving(photograph: Rgb, side: int, random: np.random.Generator) -> Rgb:
    """A photograph in lines of ink on paper, thicker where it is darker; where it is darkest, crossed by others."""
    grey = cv2.cvtColor(resized(photograph, side)[:side, :side], cv2.COLOR_RGB2GRAY).astype(np.float32)
    low, high = np.percentile(grey, (2, 98))
    dark = ((high - grey) / max(1.0, high - low)).clip(0, 1)
    down, across = np.mgrid[:side, :side].astype(np.float32)
    space, angle = side * random.uniform(0.008, 0.02), random.uniform(0, np.pi)
    bent = random.uniform(0, 8) * space * _noise(4, side, random)
    hand = random.uniform(0, 0.25) * _noise(side // 6, side, random)  # lines by hand are nowhere of one thickness
    ink = np.zeros((side, side), np.float32)
    for number in range(int(random.integers(1, 4))):
        turned = angle + number * random.uniform(0.6, 1.6)
        place = (across * np.cos(turned) + down * np.sin(turned) + bent) / space
        thickness = (dark - 0.3 * number) * random.uniform(0.5, 1.2) + hand
        from_middle = 2 * np.abs(place % 1 - 0.5)  # 0 in the middle of a line, 1 between two
        ink = np.maximum(ink, ((thickness - from_middle) * space / 2 + 0.5).clip(0, 1))  # edges a pixel wide
    paper, colored = random.uniform(190, 255) + random.normal(0, 6, 3), random.random() < 0.3
    color = random.uniform(0, 130, 3) if colored else np.full(3, random.uniform(0, 60))
    return np.asarray((paper + ink[..., None] * (color - paper)).clip(0, 255), np.uint8)


MADE_SIDE = 480  # pixels, of pictures made by program


def made_picture(colors: Rgb, photograph: Rgb, random: np.random.Generator) -> Rgb:
    """One of the pictures made by program: an engraving after a photograph, or in the colours of another picture."""
    if random.random() < ENGRAVINGS:
        return engraving(photograph, MADE_SIDE, random)
    kind = random.random()
    if kind < 0.4:
        directions = smooth_directions if kind < 0.25 else swirls
        return strokes(colors, directions(MADE_SIDE, random), random)
    if kind < 0.8:
        return (bars if kind < 0.6 else dots)(colors, MADE_SIDE, random)
    part = resized(colors, MADE_SIDE)[:MADE_SIDE, :MADE_SIDE].copy()
    leaves = dead_leaves(MADE_SIDE, [torch.from_numpy(part).permute(2, 0, 1)], random)
    return np.ascontiguousarray(leaves.permute(1, 2, 0).numpy())


@dataclasses.dataclass
class StylePicture:
    """The middle of a picture, scaled as an encoder sees it, uint8 [1, 3, h, w]; what paintings are compared with: Gram
    matrices, bfloat16, and palette, float32, of the same part, each [1, ...]; and the weight of its style."""

    picture: torch.Tensor
    targets: losses.Targets
    weight: float


def make(
    paintings: Sequence[Rgb], photographs: Sequence[Rgb], counts: tuple[int, int, int], number: int, seed: int
) -> Rgb:
    """One of so many views of paintings, of photographs, and pictures made by program. Each has a generator of its own,
    so that they can be made in any order."""
    random = np.random.default_rng([seed, number])
    if number < counts[0]:
        first = view(paintings[number % len(paintings)], paintings, random)
        if random.random() >= COLLAGES:
            return first
        return collage(first, view(_any_of(paintings, random), paintings, random))
    if number < counts[0] + counts[1]:
        return view(_any_of(photographs, random), paintings, random)
    return made_picture(_any_of(paintings, random), _any_of(photographs, random), random)


def middle(rgb: Rgb, style_size: int, window: int) -> tuple[Rgb, Rgb]:
    """The `window` x `window` pixels in a picture's middle, where its short side has `style_size` pixels; and the same
    as an encoder sees it, which scales that side to SIDE pixels."""
    large = resized(rgb, style_size)
    top, left = ((side - window) // 2 for side in large.shape[:2])
    part = np.ascontiguousarray(large[top : top + window, left : left + window])
    return part, resized(part, round(window * SIDE / style_size))


@torch.no_grad()
def describe(
    middles: Sequence[tuple[Rgb, Rgb]],
    compare: losses.Comparison,
    photos: losses.Targets,
    device: str | torch.device,
) -> list[StylePicture]:
    """The `middle` of some pictures, and what paintings are compared with. The encoder must see the very part that is
    compared: where it has to guess the rest, its codes come out muted. `photos` are the Gram matrices of some
    photographs, for the balance of the weight (`artworks.balanced`)."""
    pictures = torch.cat([_tensor(rgb) for rgb, _ in middles]).to(device).float()
    targets = compare.matrices(compare.features(pictures, content=False))
    weights = balanced(distances(photos, targets), compare.loss.balance)
    kept = {name: value.bfloat16() for name, value in targets.items()} | {losses.PALETTE: perceptual.palette(pictures)}
    return [
        StylePicture(
            _tensor(small).to(device),
            {name: value[n : n + 1].clone() for name, value in kept.items()},
            weight,
        )
        for n, ((_, small), weight) in enumerate(zip(middles, weights, strict=True))
    ]


def _tensor(rgb: Rgb) -> torch.Tensor:
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].contiguous()
