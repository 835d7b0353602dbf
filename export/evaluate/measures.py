"""What can be measured of a painter alone: paint, likeness, steadiness, artefacts. No model file, no recipe.

A *painter* is a function from a frame to its painting, both uint8 [H, W, 3], RGB. Results are in grey levels (0 to
255) unless they are shares. Everything random is seeded: equal painters get equal numbers.

Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
TIP 2004. Kolkin, Salavon and Shakhnarovich, "Style Transfer by Relaxed Optimal Transport and Self-Similarity"
(STROTSS), CVPR 2019. Ruder, Dosovitskiy and Brox, "Artistic Style Transfer for Videos", GCPR 2016. Lai et al.,
"Learning Blind Video Temporal Consistency", ECCV 2018. Kroeger et al., "Fast Optical Flow using Dense Inverse Search"
(DIS), ECCV 2016. Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from rtstyle.errors import InputError
from rtstyle.export.data import synthetic_motion
from rtstyle.media.reader import VideoReader
from rtstyle.perceptual import vgg as perceptual

WARP_NOISE = 2.5  # sensor noise, grey levels, in the second look of the synthetic motion
FLICKER_NOISE = 3.0  # the same for a camera that stands still
FLICKER_DRAWS = 8
CLIP_FRAMES = 40
FLAT_SIZE = 256  # of the flat and the ramp that artefacts are looked for in
FLAT_GREY = 128
MARGIN = 32  # what is left out at each border where the interior is meant; FLAT_SIZE - 2 * MARGIN is a multiple of 8
SEAM_BAND = 8
VISIBLE = 1.0  # grey levels squared: a pattern weaker than this is not judged by its share of next to nothing

DETAIL_HEIGHT = 320  # pixels at which paint is told from the photograph
DETAIL_PATCH = 32
LIGHT_AREAS = 20  # areas from top to bottom whose light is compared
SIMILARITY_SIZE = (240, 320)  # of the pictures whose self-similarity is compared ...
SIMILARITY_GRID = (12, 16)  # ... between so many places

Painter = Callable[[np.ndarray], np.ndarray]


# Paint


def paint_share(photo: np.ndarray, painted: np.ndarray) -> float:
    """How much of the painted detail is paint and not the photograph, where the photograph shows something: 0 for a
    tinted photograph, 1 where nothing of its detail is left. Frames uint8 [H, W, 3] of one size.

    Detail is luminance less its Gaussian blur (sigma 1/80 of the height), at 320 pixels height. In each patch (a tenth
    of the height, half overlapping) the painted detail is regressed on the photograph's; what is left over is paint.
    Only the patches with at least the median detail of the photograph count, each by its painted energy.
    """
    before, after = _patches(photo), _patches(painted)
    photo_energy, paint_energy = (before**2).sum(1), (after**2).sum(1)
    explained = (before * after).sum(1) ** 2 / (photo_energy * paint_energy + 1e-6)
    busy = photo_energy >= np.median(photo_energy)
    return float(((1 - explained) * paint_energy)[busy].sum() / max(paint_energy[busy].sum(), 1e-6))


def _patches(frame: np.ndarray) -> np.ndarray:
    """Patches of the luminance detail of a frame, without their means: float64 [P, pixels]."""
    height, width = frame.shape[:2]
    size = max(DETAIL_PATCH, width * DETAIL_HEIGHT // height // 8 * 8), DETAIL_HEIGHT
    grey = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float64)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), DETAIL_HEIGHT / 80)
    windows = np.lib.stride_tricks.sliding_window_view(detail, (DETAIL_PATCH, DETAIL_PATCH))
    flat = windows[:: DETAIL_PATCH // 2, :: DETAIL_PATCH // 2].reshape(-1, DETAIL_PATCH**2)
    patches: np.ndarray = flat - flat.mean(1, keepdims=True)
    return patches


def busy_half(photo: np.ndarray) -> np.ndarray:
    """Where a photograph [H, W, 3] has at least its median of luminance detail (as in `paint_share`, its energy blurred
    by 1/20 of the height): float32 [H, W], 1 there and 0 elsewhere."""
    grey = photo.astype(np.float32).mean(2)
    energy = (grey - cv2.GaussianBlur(grey, (0, 0), len(grey) / 80)) ** 2
    energy = cv2.GaussianBlur(energy, (0, 0), len(grey) / 20)
    busy: np.ndarray = (energy >= np.median(energy)).astype(np.float32)
    return busy


# Likeness


def self_similarity(features: torch.Tensor) -> torch.Tensor:
    """What goes with what in pictures: the cosines of the features at any two of SIMILARITY_GRID places, standardised,
    of VGG features [N, C, H, W] (relu4_2 of the pictures at SIMILARITY_SIZE): [N, places (places - 1) / 2].

    After STROTSS (Kolkin et al. 2019, eq. 2): a painting may change all features, as long as what was alike stays alike
    and what was different stays different. The mean product of two such rows is their correlation.
    """
    cosines = perceptual.self_similarity(F.adaptive_avg_pool2d(features.float(), SIMILARITY_GRID))
    rows, columns = torch.triu_indices(cosines.shape[1], cosines.shape[2], offset=1)
    pairs = cosines[:, rows, columns]
    return (pairs - pairs.mean(1, keepdim=True)) / pairs.std(1, keepdim=True).clamp_min(1e-12)


def light_kept(photo: np.ndarray, painted: np.ndarray) -> float:
    """Whether what is light or dark in the photograph is so in the painting, whatever its colours: the correlation of
    the ranks of the luminance of square areas, a twentieth of the height across. Frames uint8 [H, W, 3] of one size;
    -1 to 1, 1 where the order of the areas is the same, 0 where one of the frames is flat."""
    before, after = _ranks_of_light(photo), _ranks_of_light(painted)
    return float((before * after).sum() / max(np.sqrt((before**2).sum() * (after**2).sum()), 1e-12))


def _ranks_of_light(frame: np.ndarray) -> np.ndarray:
    """The ranks of the areas of `light_kept`, less their mean; equal areas share one."""
    height, width = frame.shape[:2]
    areas = max(2, round(LIGHT_AREAS * width / height)), LIGHT_AREAS
    light = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), areas, interpolation=cv2.INTER_AREA)
    _, place, count = np.unique(light, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count + 1) / 2)[place.ravel()]
    centred: np.ndarray = ranks - ranks.mean()
    return centred


def ssim(a: np.ndarray, b: np.ndarray) -> torch.Tensor:
    """Structural similarity in luminance of frames uint8 [N, H, W, 3], sides from 11: [N], 1 for equal frames.
    `b` may be one frame for all.

    Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004: mean over all 11x11 Gaussian windows (sigma 1.5) of

        (2 mu_a mu_b + C1) (2 sigma_ab + C2) / ((mu_a^2 + mu_b^2 + C1) (sigma_a^2 + sigma_b^2 + C2))

    with C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2.
    """
    line = torch.exp(-(torch.arange(-5.0, 6.0, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    line /= line.sum()

    def blur(x: torch.Tensor) -> torch.Tensor:  # a Gaussian is separable
        return F.conv2d(F.conv2d(x, line.view(1, 1, 1, 11)), line.view(1, 1, 11, 1))

    luma_a, luma_b = luminance(a), luminance(b)
    mean_a, mean_b = blur(luma_a), blur(luma_b)
    var_a, var_b = blur(luma_a * luma_a) - mean_a**2, blur(luma_b * luma_b) - mean_b**2
    covariance = blur(luma_a * luma_b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return (above / below).mean(dim=(1, 2, 3))


def luminance(frames: np.ndarray) -> torch.Tensor:
    """Rec. 601 luma of uint8 frames [N, H, W, 3]: float64 [N, 1, H, W], 0 to 255."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    return (torch.from_numpy(np.ascontiguousarray(frames)).double() @ weights)[:, None]


# Steadiness


def noisy(frame: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """The frame with Gaussian sensor noise of `sigma` grey levels, uint8; 0 leaves it as it is."""
    return to_uint8(frame + random.normal(0, sigma, frame.shape)) if sigma else frame


def square(frame: np.ndarray) -> np.ndarray:
    """The largest square in the middle of a frame [H, W, 3]."""
    side = min(frame.shape[:2])
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    return np.ascontiguousarray(frame[top : top + side, left : left + side])


def warping_error(paint: Painter, photos: Sequence[np.ndarray], noise: float = WARP_NOISE) -> float:
    """Root mean square of W(paint(c)) - paint(W(c) + noise), in grey levels, over the squares in the middle of
    photographs [H, W, 3] and where the smooth, exactly known motion W brings nothing new.

    W is the motion that training draws too (`synthetic_motion`), sampled bicubically, so that no estimated flow is
    involved (Wang et al. 2020, ReReVST). Not painting at all leaves under one grey level of rounding and resampling on
    smooth photographs, more on sharp ones, and `noise` itself.
    """
    errors = []
    for p, photo in enumerate(photos):
        before = square(photo)
        grid = synthetic_motion(1, len(before), torch.Generator().manual_seed(p))
        again = paint(noisy(to_uint8(moved(before, grid)), noise, np.random.default_rng(p)))
        inside = (grid[0].abs() < 1 - 4 / len(before)).all(-1).numpy()  # the bicubic kernel reaches two pixels out
        errors.append(np.square(again - moved(paint(before), grid))[inside].mean())
    return float(np.sqrt(np.mean(errors)))


def moved(frame: np.ndarray, grid: torch.Tensor) -> np.ndarray:
    """A frame [H, W, 3] sampled bicubically at `grid` [1, H, W, 2]: float32 [H, W, 3], 0 to 255."""
    maps = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    sampled = F.grid_sample(maps, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    result: np.ndarray = sampled.clamp(0, 255)[0].permute(1, 2, 0).numpy()
    return result


def to_uint8(frame: np.ndarray) -> np.ndarray:
    levels: np.ndarray = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
    return levels


def flicker(paint: Painter, photos: Sequence[np.ndarray]) -> float:
    """Standard deviation over time, in grey levels, of the painting of a photograph [H, W, 3] that stands still in
    front of a camera with sensor noise: FLICKER_DRAWS draws, root mean square over pixels and photographs. Not
    painting at all leaves the noise."""
    variances = []
    for p, photo in enumerate(photos):
        random = np.random.default_rng(p)
        painted = np.stack([paint(noisy(photo, FLICKER_NOISE, random)) for _ in range(FLICKER_DRAWS)])
        variances.append(painted.var(axis=0, ddof=1, dtype=np.float32).mean())
    return float(np.sqrt(np.mean(variances)))


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames of a real clip, uint8 [H, W, 3], and for each but the first: where its pixels were in the frame before
    (float32 [H, W, 2], x and y) and where that can be judged (bool [H, W])."""

    frames: list[np.ndarray]
    origins: list[np.ndarray]
    masks: list[np.ndarray]


def read_clip(path: str | os.PathLike[str], short_side: int, count: int = CLIP_FRAMES) -> Clip:
    """The first frames of a video, shrunk to `short_side` pixels where they are larger, with DIS flow. Raises
    RtstyleError if it cannot be read or has fewer than two frames of at least 32 pixels a side."""
    with VideoReader(path) as reader:
        frames = [upright(frame.rgb, frame.rotation) for frame in itertools.islice(reader, count)]
    scale = min(1.0, short_side / min(frames[0].shape[:2])) if frames else 1.0
    if scale < 1:
        size = round(frames[0].shape[1] * scale), round(frames[0].shape[0] * scale)
        frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    if len(frames) < 2 or min(frames[0].shape[:2]) < 32:
        raise InputError(f"{path} is too short or too small: warping error needs two frames of 32 pixels a side")
    flows = [flow_back(new, last) for last, new in itertools.pairwise(frames)]
    return Clip(frames, [origin for origin, _ in flows], [mask for _, mask in flows])


def upright(frame: np.ndarray, rotation: int) -> np.ndarray:
    """A stored frame turned by `rotation` degrees, counterclockwise, as players show it."""
    return np.ascontiguousarray(np.rot90(frame, round(rotation / 90) % 4))


def flow_back(new: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(origin float32 [H, W, 2], mask bool [H, W]): where each pixel of `new` was in `last`, and whether that can be
    judged. Both frames uint8 [H, W, 3].

    DIS flow down to full size, with w the flow from `new` to `last` and v the flow back at the place w leads to.
    Left out are pixels just uncovered, |w + v|^2 > 0.01 (|w|^2 + |v|^2) + 0.5, and contours of motion,
    |grad u|^2 + |grad v|^2 > 0.01 |w|^2 + 0.002 (Ruder et al. 2016, eq. 5 and 6, after Sundaram et al. 2010).
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    a, b = (cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), 1) for frame in (new, last))
    none = np.empty(0, np.float32)  # is known of the flow beforehand
    there, back = dis.calc(a, b, none), dis.calc(b, a, none)
    height, width = a.shape
    origin = there + np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    back = cv2.remap(back, origin[..., 0], origin[..., 1], cv2.INTER_LINEAR)
    length = np.square(there).sum(-1)
    seen = np.square(there + back).sum(-1) <= 0.01 * (length + np.square(back).sum(-1)) + 0.5
    bend = sum(cv2.Sobel(there[..., c], cv2.CV_32F, *d, scale=0.125) ** 2 for c in (0, 1) for d in ((1, 0), (0, 1)))
    x, y = origin[..., 0], origin[..., 1]
    inside = (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)
    return origin, seen & (bend <= 0.01 * length + 0.002) & inside


def clip_error(paint: Painter, clip: Clip) -> float | None:
    """Warping error on a real clip: root mean square over frames and judged pixels of paint(c_t) - W(paint(c_t-1)), in
    grey levels (Lai et al. 2018, section 4.2, without their scaling to 0..1); None where nothing could be judged.

    The flow is estimated and the light changes: compare with what the clip itself has, `clip_error(as_it_is, clip)`.
    """
    errors, last = [], None
    for i, frame in enumerate(clip.frames):
        painted = paint(frame).astype(np.float32)
        if last is not None and clip.masks[i - 1].any():
            x, y = clip.origins[i - 1][..., 0], clip.origins[i - 1][..., 1]
            came = cv2.remap(last, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            errors.append(np.square(painted - came)[clip.masks[i - 1]].mean())
        last = painted
    return float(np.sqrt(np.mean(errors))) if errors else None


def as_it_is(frame: np.ndarray) -> np.ndarray:
    """The painter that paints nothing: what any measure is compared with."""
    return frame


# Artefacts


def artefacts(
    paint: Painter, photos: Sequence[np.ndarray] = (), artwork: np.ndarray | None = None
) -> dict[str, float | None]:
    """What a painter does wrong where there is nothing to paint. All of flat grey 256x256, unless said otherwise:

    - checkerboard: share of the energy at the multiples of 1/8 cycle a pixel (1/4, 1/2 and the Nyquist frequencies
      among them), where the grids of strided and upsampled convolutions lie (Odena et al. 2016), in all energy but
      the mean; 0 to 1, the larger of flat grey and of a grey ramp. Both are looked at 32 pixels off the border, and
      energies under one grey level squared count as one. White noise has 0.002.
    - checkerboard_levels: the same energy as a root mean square in grey levels: how visible it is
    - seam: how the four border bands of 8 pixels differ from the interior in mean and in standard deviation, mean
      absolute differences in grey levels, added
    - calm: standard deviation of the whole painting: 0 for a painter that leaves an empty wall empty
    - grain: energy above 1/4 cycle a pixel of the painted `photos` [H, W, 3] (mean) in that of the `artwork`
      [H, W, 3]: 1 for equal grain; None without both
    """
    flat = np.full((FLAT_SIZE, FLAT_SIZE, 3), FLAT_GREY, np.uint8)
    painted = paint(flat).astype(np.float64)
    grids = [grid_energy(painted), grid_energy(paint(ramp()).astype(np.float64), trend=8)]
    grain = None
    if len(photos) and artwork is not None:
        fine = np.mean([fine_energy(paint(photo)) for photo in photos])
        grain = float(fine / max(fine_energy(artwork), 1e-6))
    return {
        "checkerboard": max(grid / max(total, VISIBLE) for grid, total in grids),
        "checkerboard_levels": max(grid for grid, _ in grids) ** 0.5,
        "seam": seam(painted),
        "calm": float(np.sqrt(painted.var(axis=(0, 1)).mean())),
        "grain": grain,
    }


def ramp() -> np.ndarray:
    """From dark to light and back, smoothly, so that the interior holds exactly one period: [256, 256, 3]."""
    phase = (np.arange(FLAT_SIZE) - MARGIN) / (FLAT_SIZE - 2 * MARGIN)
    line = to_uint8(127.5 - 112 * np.cos(2 * np.pi * phase))
    return np.ascontiguousarray(np.broadcast_to(line[None, :, None], (FLAT_SIZE, FLAT_SIZE, 3)))


def grid_energy(picture: np.ndarray, trend: int = 1) -> tuple[float, float]:
    """(energy at the multiples of 1/8 cycle a pixel, energy of all frequencies but the mean) of the interior of a
    picture [256, 256, 3], in squared grey levels, mean over the channels. Frequencies of fewer than `trend` periods
    across the interior, both ways, count for neither."""
    interior = picture[MARGIN:-MARGIN, MARGIN:-MARGIN]
    side = len(interior)
    energy = np.square(np.abs(np.fft.fft2(interior, axes=(0, 1)) / side**2)).mean(-1)  # sums to the mean square
    periods = np.abs(np.fft.fftfreq(side, 1 / side))
    energy[np.maximum(periods[:, None], periods[None]) < trend - 0.5] = 0
    step = side // 8
    return float(energy[::step, ::step].sum()), float(energy.sum())


def seam(picture: np.ndarray) -> float:
    """How the border bands of a picture [H, W, 3] differ from its interior: see `artefacts`."""
    interior = picture[MARGIN:-MARGIN, MARGIN:-MARGIN]
    n = SEAM_BAND
    bands = (picture[:n], picture[-n:], picture[:, :n], picture[:, -n:])
    distances = [
        np.abs(how(border, axis=(0, 1)) - how(interior, axis=(0, 1))).mean()
        for border in bands
        for how in (np.mean, np.std)
    ]
    return float(np.sum(distances) / len(bands))


def fine_energy(frame: np.ndarray) -> float:
    """Energy of the luminance of a frame [H, W, 3] above 1/4 cycle a pixel, in squared grey levels a pixel; a Hann
    window keeps the jump from border to border out of it."""
    picture = luminance(frame[None])[0, 0].numpy()
    height, width = picture.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    energy = np.square(np.abs(np.fft.fft2((picture - picture.mean()) * window)))
    fine = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) > 0.25
    return float(energy[fine].sum() / (height * width * np.square(window).sum()))
