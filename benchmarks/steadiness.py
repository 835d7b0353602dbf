"""How steady the painting is on moving pictures, without and with rtstyle.paint.stabilizer.

    python benchmarks/steadiness.py [--styles a,b] [--clips PATH ...] [--flow DIR] [--size 480x270]

One row a style; "without" is each frame painted on its own, a ratio is with divided by without.

- noise: standard deviation over time of a still picture with sensor noise (sigma 3, new in every frame), mean over
  the pixels, after 12 frames.
- change: 10 grey levels more in a third of the width and height, under the same noise: the part of the effect on
  the painting that is there in the third frame (mean of several runs, projected on the full effect).
- pan, zoom, turn, thing: warping error, e_stab of ReCoNet (Gao et al. 2018): the root of the mean squared
  difference between an output and the one before it, warped by the true flow. The motion is synthetic, so the flow
  is exact; a thing is a foreground that covers and uncovers a background that moves too. Noise of sigma 2.5.
- sharp: energy of the Laplacian in those outputs.
- pairs: warping error on pairs with true flow (--flow: flyingchairs_sample, kitti and stereo_motorcycle, as
  described beside them), one step after the first frame.
- clips, sharp: the same on real clips (--clips: files or folders), with DIS flow at full size and the
  forward-backward and motion boundary checks of Ruder et al. 2016 (equations 5 and 6). That flow is only
  estimated: sharp pictures that move perfectly would not reach 0 by it either.
- ms: what steadying adds to a frame of 640x360, and what the net takes there.
"""

from __future__ import annotations

import argparse
import importlib.resources
import itertools
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from rtstyle import Stylizer
from rtstyle.export.evaluate.measures import flow_back
from rtstyle.paint.stabilizer import TemporalStabilizer

MOTIONS = {  # where a pixel was one frame before, about the centre: (scale, degrees, x, y)
    "pan": (1, 0, 2.7, 1.2),
    "zoom": (0.99, 0, 0, 0),
    "turn": (1, 0.8, 0.4, 0),
    "thing": (1, 0, -1.3, 0.5),
}
FRAMES = 14  # of a moving sequence; the first three are not judged


def each(paint, frames):
    return [paint(frame) for frame in frames]


def steadied(paint, frames):
    stabilizer = TemporalStabilizer()
    return [stabilized(stabilizer, frame, paint) for frame in frames]


def stabilized(stabilizer: TemporalStabilizer, frame: np.ndarray, paint) -> np.ndarray:
    prepared = stabilizer.prepare(frame)
    return stabilizer.blend(prepared, paint(prepared.frame))


def noisy(picture: np.ndarray, random: np.random.Generator, sigma: float) -> np.ndarray:
    return np.clip(np.rint(picture + random.normal(0, sigma, picture.shape)), 0, 255).astype(np.uint8)


def grid(size: tuple[int, int]) -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in size)), -1)


def cover(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture scaled to cover the size, cropped in the middle."""
    height, width = picture.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large = cv2.resize(
        picture, (max(size[0], round(width * scale)), max(size[1], round(height * scale))), interpolation=how
    )
    y, x = (large.shape[0] - size[1]) // 2, (large.shape[1] - size[0]) // 2
    return np.ascontiguousarray(large[y : y + size[1], x : x + size[0]])


def read_clip(path: Path, count: int, start: int = 0) -> list[np.ndarray]:
    """RGB frames, at most 640 pixels wide."""
    clip, frames = cv2.VideoCapture(str(path)), []
    for i in itertools.count():
        good, frame = clip.read()
        if not good or len(frames) == count:
            return frames
        if i >= start:
            width = min(640, frame.shape[1])
            size = width, round(frame.shape[0] * width / frame.shape[1])
            frames.append(cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB))


def photographs(flow: Path | None) -> list[np.ndarray]:
    """The portrait and the cat of the bundled clip, and stills of the flow folder."""
    with importlib.resources.as_file(importlib.resources.files("rtstyle.pretrained") / "sample.mp4") as path:
        frames = read_clip(path, 10_000)
    result = [frames[0], frames[-1]]
    for name in ("stereo_motorcycle/motorcycle_left.png", "raft_demo/frame_0016.png"):
        if flow and (flow / name).exists():
            result.append(cv2.imread(str(flow / name))[..., ::-1])
    return result


def affine(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


def moving(photograph: np.ndarray, name: str, size: tuple[int, int], thing: np.ndarray, seed: int):
    """(frames, maps, masks): a photograph that moves; where each pixel was before; where that can be judged."""
    random, step, (width, height) = np.random.default_rng(seed), affine(*MOTIONS[name]), size
    large = cover(photograph, (round(width * 1.4), round(height * 1.4)))
    centre, middle = affine(1, 0, (1 - width) / 2, (1 - height) / 2), affine(1, 0, width * 0.7, height * 0.7)
    xy = np.concatenate([grid(size), np.ones((height, width, 1), np.float32)], -1)
    before = (xy @ (np.linalg.inv(centre) @ step @ centre).T[:, :2]).astype(np.float32)
    frames, maps, masks, shape = [], [], [], np.zeros((height, width), np.float32)
    for i in range(FRAMES):
        shown = (
            middle @ np.linalg.matrix_power(step, i) @ np.linalg.inv(np.linalg.matrix_power(step, FRAMES // 2)) @ centre
        )
        frame = cv2.warpAffine(large, shown[:2], size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP).astype(np.float32)
        origin, last_shape = before.copy(), shape
        if name == "thing":
            left, top = 5 * i, round(height * 0.3)
            shape = np.zeros_like(shape)
            cv2.ellipse(shape, (left + 60, top + 45), (58, 43), 0, 0, 360, 1, -1)
            frame[top : top + 90, left : left + 120][shape[top : top + 90, left : left + 120] > 0] = cover(
                thing, (120, 90)
            )[shape[top : top + 90, left : left + 120] > 0]
            origin[shape > 0] = (grid(size) - (5, 0))[shape > 0]
        frames.append(noisy(frame, random, 2.5))
        maps.append(origin)
        masks.append(inside(origin) & same_layer(shape, last_shape, origin))
    return frames, maps[1:], masks[1:]


def inside(origin: np.ndarray) -> np.ndarray:
    height, width = origin.shape[:2]
    x, y = origin[..., 0], origin[..., 1]
    return (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)


def same_layer(shape: np.ndarray, last: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Neither uncovered just now nor on the contour."""
    came = cv2.remap(last, origin, None, cv2.INTER_LINEAR)
    contour = cv2.dilate(shape, np.ones((5, 5))) != cv2.erode(shape, np.ones((5, 5)))
    return (np.abs(came - shape) < 0.01) & ~contour


def true_pairs(flow: Path):
    """[(frames, maps, masks)] of two frames each; the second is looked up in the first, where both look alike."""
    result = []
    for name, first, second, field, known in raw_pairs(flow):
        scale = min(1.0, 640 / first.shape[1])
        size = round(first.shape[1] * scale), round(first.shape[0] * scale)
        small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (first, second)]
        field = cv2.resize(np.nan_to_num(field), size, interpolation=cv2.INTER_NEAREST) * scale
        origin = (grid(size) + field).astype(np.float32)
        mask = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        difference = np.abs(cv2.remap(small[1], origin, None, cv2.INTER_LINEAR).astype(int) - small[0]).mean(-1)
        result.append((name, small[::-1], [origin], [mask & (difference < 15) & inside(origin)]))
    return result


def raw_pairs(flow: Path):
    """(name, first, second, flow from first to second [H, W, 2], known [H, W])."""

    def read(name):
        return cv2.imread(str(flow / name))[..., ::-1]

    chairs = cv2.readOpticalFlow(str(flow / "flyingchairs_sample/0flow.flo"))
    yield (
        "chairs",
        read("flyingchairs_sample/0img0.png"),
        read("flyingchairs_sample/0img1.png"),
        chairs,
        np.ones(chairs.shape[:2], bool),
    )
    coded = cv2.imread(str(flow / "kitti/flow_gt.png"), cv2.IMREAD_UNCHANGED)  # BGR: valid, v, u
    kitti = (coded[..., 2:0:-1].astype(np.float32) - 32768) / 64
    yield "kitti", read("kitti/frame1.png"), read("kitti/frame2.png"), kitti, coded[..., 0] > 0
    stored = np.load(flow / "stereo_motorcycle/motorcycle_disp.npz")
    shift = stored[stored.files[0]].astype(np.float32)
    motorcycle = np.stack([-shift, np.zeros_like(shift)], -1)
    left, right = (read(f"stereo_motorcycle/motorcycle_{side}.png") for side in ("left", "right"))
    yield "motorcycle", left, right, motorcycle, np.isfinite(shift)


def warping_error(outputs: list[np.ndarray], maps, masks) -> float:
    errors = []
    for (last, new), origin, mask in zip(itertools.pairwise(outputs), maps, masks, strict=True):
        warped = cv2.remap(last.astype(np.float32), origin, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        errors.append(np.square(new - warped)[mask].mean())
    return float(np.sqrt(np.mean(errors[2:] or errors)))


def sharpness(outputs: list[np.ndarray]) -> float:
    """Mean energy of the Laplacian of the light and dark."""
    grey = (cv2.cvtColor(o, cv2.COLOR_RGB2GRAY).astype(np.float32) for o in outputs[3:] or outputs[1:])
    return float(np.mean([np.square(cv2.Laplacian(g, cv2.CV_32F)).mean() for g in grey]))


def compare(paint, sequences) -> tuple[float, float, float]:
    """(warping error without, ratio, ratio of sharpness), mean over sequences (frames, maps, masks)."""
    rows = []
    for frames, maps, masks in sequences:
        without, using = each(paint, frames), steadied(paint, frames)
        error = warping_error(without, maps, masks)
        sharp = sharpness(using) / sharpness(without)
        rows.append((error, warping_error(using, maps, masks) / error, sharp))
    return tuple(np.mean(rows, axis=0))


def flicker(paint, stills, frames: int = 44, settled: int = 12) -> tuple[float, float]:
    """(without, ratio) of the standard deviation over time, mean over the pixels and stills."""
    result = []
    for still in stills:
        random = np.random.default_rng(1)
        shots = [noisy(still, random, 3) for _ in range(frames)]
        result.append([np.std(way(paint, shots)[settled:], axis=0).mean() for way in (each, steadied)])
    without, using = np.mean(result, axis=0)
    return without, using / without


def response(paint, still: np.ndarray, runs: int = 4, before: int = 14, after: int = 22) -> float:
    """The part of the effect of +10 grey levels in the middle that is there in the third frame."""
    low = (10 + still * 0.9).astype(np.uint8)
    high, (height, width) = low.copy(), low.shape[:2]
    high[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] += 10
    mean = 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        shots = [noisy(low if i < before else high, random, 3) for i in range(before + after)]
        outputs = np.stack(steadied(paint, shots)).astype(np.float32)
        mean = mean + np.stack([cv2.GaussianBlur(o, (0, 0), 3) for o in outputs]) / runs
    past, final = mean[before - 6 : before].mean(0), mean[-10:].mean(0)
    return float(((mean[before + 2] - past) * (final - past)).sum() / np.square(final - past).sum())


def cost(paint, frames, seconds: float = 3.0) -> tuple[float, float]:
    """Median milliseconds of (steadying, painting) a frame."""
    paintings, times = each(paint, frames), {"steady": [], "net": []}
    stabilizer, end = TemporalStabilizer(), time.perf_counter() + seconds
    for i in itertools.count():
        if time.perf_counter() > end:
            return tuple(statistics.median(times[name][5:]) * 1e3 for name in ("steady", "net"))
        moment, start = i % len(frames), time.perf_counter()
        stabilized(stabilizer, frames[moment], lambda _, moment=moment: paintings[moment])
        between = time.perf_counter()
        paint(frames[moment])
        times["steady"].append(between - start)
        times["net"].append(time.perf_counter() - between)


def clip_sequences(paths: list[Path]):
    files = sorted(f for p in paths for f in (p.iterdir() if p.is_dir() else [p]) if f.suffix not in (".tsv", ".txt"))
    for file in files:
        frames = read_clip(file, FRAMES, 20)
        if len(frames) == FRAMES and min(frames[0].shape[:2]) >= 96:
            pairs = [flow_back(new, last) for last, new in itertools.pairwise(frames)]
            yield frames, [origin for origin, _ in pairs], [mask for _, mask in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", help="names, with commas; all without it")
    parser.add_argument("--model", default="live")
    parser.add_argument("--clips", type=Path, nargs="+", default=[])
    parser.add_argument("--flow", type=Path)
    parser.add_argument("--size", default="480x270", help="of the synthetic motion")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    size = tuple(int(side) for side in args.size.split("x"))
    stylizer = Stylizer(model=args.model, device="cpu", threads=args.threads)
    known = {style.name: style.code for style in stylizer.gallery()}
    names = args.styles.split(",") if args.styles else list(known)
    pictures = photographs(args.flow)
    stills = [cover(picture, (320, 180)) for picture in pictures]
    motions = {
        name: [moving(p, name, size, pictures[0 if i else 1], i) for i, p in enumerate(pictures)] for name in MOTIONS
    }
    pairs = true_pairs(args.flow) if args.flow else []
    clips = list(clip_sequences(args.clips))
    head = ["noise", "x", "change", *MOTIONS, "sharp", *(name for name, *_ in pairs), "clips", "sharp", "ms", "net"]
    print(f"| style | {' | '.join(head)} |\n|{' --- |' * (len(head) + 1)}")
    for name in names:

        def paint(frame: np.ndarray, code=known[name]) -> np.ndarray:
            return stylizer(frame, code)

        noise, ratio = flicker(paint, stills)
        cells = [f"{noise:.2f}", f"{ratio:.2f}", f"{100 * response(paint, stills[-1]):.0f} %"]
        errors = {motion: compare(paint, sequences) for motion, sequences in motions.items()}
        cells += [f"{error:.1f} x {less:.2f}" for error, less, _ in errors.values()]
        cells.append(f"{np.mean([sharp for *_, sharp in errors.values()]):.2f}")
        cells += [f"{compare(paint, [pair])[1]:.2f}" for _, *pair in pairs]
        error, less, sharp = compare(paint, clips) if clips else (np.nan,) * 3
        cells += [f"{error:.1f} x {less:.2f}", f"{sharp:.2f}"]
        large = [cover(frame, (640, 360)) for frame in motions["thing"][0][0]]
        cells += [f"{ms:.1f}" for ms in cost(paint, large)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
