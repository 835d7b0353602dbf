"""Ways of bringing the painting of a shrunk frame back to the frame's size: what they cost and what they keep.

    python benchmarks/upscale.py [PICTURE ...] [--work-height 180] [--sheet FILE.png] [--threads 2]

Pictures are by default two frames of the bundled clip, 640x360. Every way takes the painting and the frame, nothing
else. Those not chosen are written here as fast as OpenCV lets them be, and are nowhere else.

Columns of the first table, means over pictures and styles: `detail` is the correlation of the output with the
photograph in what shrinking loses (luminance minus its shrunk and linearly enlarged self), `reference` the same with
the picture painted at full size; `strokes` how much contrast of the painting is left where the photograph is flat, at
the net's size; `colour` the mean difference in CbCr from plain cubic, in grey levels. On drawn pictures: `noise` is
the standard deviation added to a flat grey painting by a flat photograph with noise of 3 grey levels in each channel,
`halo` by how many grey levels a soft step from 90 to 140 painted over a sharp one from 40 to 200 leaves 90 to 140, and
`stranger` the same where the painting has no step at all. `shimmer` is the standard deviation in time of the painting
of such noise over a still picture, against plain cubic.
"""

from __future__ import annotations

import argparse
import importlib.resources
import statistics
import time

import cv2  # before av
import numpy as np

from rtstyle import Stylizer
from rtstyle.media.images import read_image
from rtstyle.media.reader import VideoReader
from rtstyle.paint.upscale import CORE, FLAT, enlarge

SIZES = [(640, 360, 180), (640, 360, 240), (1280, 720, 300), (1280, 720, 360), (1920, 1080, 360), (1920, 1080, 540)]
SHEET = ["cubic", "residual", "residual, cored", "guided, colour", "guided residual", "enlarge"]


def luminance(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def shrink(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def size_of(picture: np.ndarray) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]


def plain(how: int):
    return lambda painted, frame: cv2.resize(painted, size_of(frame), interpolation=how)


def unsharp(painted: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The painting alone, sharpened: what can be had without looking at the frame."""
    large = cv2.resize(painted, size_of(frame), interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(large, (0, 0), frame.shape[0] / painted.shape[0])
    return cv2.addWeighted(large, 2, soft, -1, 0)


def add_signed(picture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] + int16 [H, W]."""
    three = cv2.merge([cv2.max(light, 0).astype(np.uint8)] * 3)
    cv2.add(picture, three, dst=picture)
    three = cv2.merge([cv2.max(-light, 0).astype(np.uint8)] * 3)
    return cv2.subtract(picture, three, dst=picture)


def residual(gain: float = 1, core: int = 0, limit: int = 255):
    """The frame's luminance minus its shrunk and enlarged self: cored, limited, times a gain, added."""
    levels = np.arange(-255, 256)
    table = np.sign(levels) * gain * np.clip(np.abs(levels) - core, 0, limit)
    table = np.rint(table).astype(np.int16)

    def way(painted: np.ndarray, frame: np.ndarray) -> np.ndarray:
        light = luminance(frame)
        blurred = cv2.resize(shrink(light, size_of(painted)), size_of(frame), interpolation=cv2.INTER_CUBIC)
        lost = cv2.subtract(light, blurred, dtype=cv2.CV_16S)
        large = cv2.resize(painted, size_of(frame), interpolation=cv2.INTER_CUBIC)
        return add_signed(large, lost if gain == 1 and not core and limit == 255 else table[lost + 255])

    return way


def model(painted: np.ndarray, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset of painted over small in windows of 5 x 5 pixels: He and Sun 2015, equations 3 and 4."""
    p, s = painted.astype(np.float32), small.astype(np.float32)
    mean_p, mean_s = cv2.blur(p, (5, 5)), cv2.blur(s, (5, 5))
    variance = cv2.blur(s * s, (5, 5)) - mean_s * mean_s
    if p.ndim == 3:
        s, mean_s, variance = (x[..., None] for x in (s, mean_s, variance))
    slope = (cv2.blur(p * s, (5, 5)) - mean_p * mean_s) / (variance + FLAT)
    return cv2.blur(slope, (5, 5)), cv2.blur(mean_p - slope * mean_s, (5, 5))


def guided(painted: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Fast guided filter (He and Sun 2015, algorithm 2), each channel of the painting over the luminance."""
    light = luminance(frame)
    slope, offset = (cv2.resize(x, size_of(frame)) for x in model(painted, shrink(light, size_of(painted))))
    slope *= light[..., None]
    slope += offset
    return np.clip(slope, 0, 255, out=np.empty(frame.shape, np.uint8), casting="unsafe")


def guided_light(painted: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The same for the luminance alone; CbCr enlarged plainly."""
    light = luminance(frame)
    parts = cv2.cvtColor(painted, cv2.COLOR_RGB2YCrCb)
    slope, offset = model(np.ascontiguousarray(parts[..., 0]), shrink(light, size_of(painted)))
    slope, offset = cv2.resize(slope, size_of(frame)), cv2.resize(offset, size_of(frame))
    slope *= light
    slope += offset
    parts = cv2.resize(parts, size_of(frame), interpolation=cv2.INTER_CUBIC)
    parts[..., 0] = np.clip(slope, 0, 255)
    return cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB)


def guided_residual(painted: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """What was lost times the guided filter's slope, added: the painting itself is not filtered."""
    light = luminance(frame)
    small = shrink(light, size_of(painted))
    slope = np.clip(model(luminance(painted), small)[0], 0, 1)
    lost = cv2.subtract(light, cv2.resize(small, size_of(frame)), dtype=cv2.CV_32F)
    lost *= cv2.resize(slope, size_of(frame))
    return add_signed(cv2.resize(painted, size_of(frame)), lost.astype(np.int16))


def bilateral(painted: np.ndarray, frame: np.ndarray, spread: float = 12) -> np.ndarray:
    """Joint bilateral upsampling (Kopf et al. 2007, equation 3): 3 x 3 small pixels, nearer in luminance count more."""
    light = luminance(frame)
    small = shrink(light, size_of(painted))
    close = np.exp(-0.5 * (np.arange(256) / spread) ** 2).astype(np.float32)
    total = np.full((*light.shape, 1), 1e-6, np.float32)
    mixed = np.zeros(frame.shape, np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            move = np.float32([[1, 0, dx], [0, 1, dy]])
            near, colour = (
                cv2.resize(
                    cv2.warpAffine(x, move, size_of(x), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE),
                    size_of(frame),
                )
                for x in (small, painted)
            )
            weight = cv2.LUT(cv2.absdiff(light, near), close)[..., None] * np.float32(np.exp(-0.5 * (dx**2 + dy**2)))
            total += weight
            mixed += weight * colour
    return np.clip(mixed / total + 0.5, 0, 255).astype(np.uint8)


WAYS = {
    "linear": plain(cv2.INTER_LINEAR),
    "cubic": plain(cv2.INTER_CUBIC),
    "Lanczos": plain(cv2.INTER_LANCZOS4),
    "unsharp": unsharp,
    "residual": residual(),
    "residual, cored": residual(0.7, CORE, 40),
    "guided, colour": guided,
    "guided, luminance": guided_light,
    "guided residual": guided_residual,
    "joint bilateral": bilateral,
    "enlarge": enlarge,
}


def lost_in_shrinking(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    light = luminance(picture).astype(np.float32)
    return light - cv2.resize(shrink(light, size), size_of(picture))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-9))


def fine(picture: np.ndarray) -> np.ndarray:
    light = luminance(picture).astype(np.float32)
    return light - cv2.blur(light, (9, 9))


def on_pictures(way, jobs: list[dict]) -> list[float]:
    """detail, reference, strokes, colour: means over pictures and styles."""
    rows = []
    for job in jobs:
        frame, painted, size = job["frame"], job["painted"], size_of(job["painted"])
        out = way(painted, frame)
        lost = lost_in_shrinking(out, size)
        flat = cv2.blur(cv2.absdiff(fine(shrink(frame, size)), 0.0), (9, 9)) < 2
        kept = fine(shrink(out, size))[flat].std() / max(fine(painted)[flat].std(), 1e-6) if flat.sum() > 99 else np.nan
        colours = (cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(float) for x in (out, job["cubic"]))
        photographed, reference = (lost_in_shrinking(x, size) for x in (frame, job["reference"]))
        rows.append(
            [
                correlation(lost, photographed),
                correlation(lost, reference),
                kept,
                np.abs(np.subtract(*colours)).mean(),
            ]
        )
    return np.nanmean(rows, axis=0).tolist()


def on_drawings(way) -> list[float]:
    """noise, halo, stranger."""
    random = np.random.default_rng(0)
    grey = np.clip(random.normal(120, 3, (360, 640, 3)) + 0.5, 0, 255).astype(np.uint8)
    noise = luminance(way(np.full((180, 320, 3), 120, np.uint8), grey)).astype(float).std()
    sharp = np.full((360, 640, 3), 40, np.uint8)
    sharp[:, 321:] = 200
    step = np.interp(shrink(luminance(sharp), (320, 180)), [40, 200], [90, 140]).astype(np.uint8)
    out = way(cv2.merge([cv2.blur(step, (3, 3))] * 3), sharp).astype(int)
    strange = way(np.full((180, 320, 3), 115, np.uint8), sharp).astype(int)
    return [noise, float(max(out.max() - 140, 90 - out.min(), 0)), float(np.abs(strange - 115).max())]


def shimmer(way, frames: list[np.ndarray], paintings: list[np.ndarray]) -> float:
    out = np.stack([luminance(way(p, f)) for p, f in zip(paintings, frames, strict=True)]).astype(np.float32)
    return float(out.std(axis=0).mean())


def noisy(frame: np.ndarray, count: int = 6) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [np.clip(frame + random.normal(0, 3, frame.shape) + 0.5, 0, 255).astype(np.uint8) for _ in range(count)]


def milliseconds(picture: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Median for every way and size, the ways taking turns."""
    table: dict[str, list[float]] = {name: [] for name in WAYS}
    for width, height, work in SIZES:
        frame = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        painted = 255 - shrink(frame, (round(width * work / height), work))
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(rounds):
            for name, way in WAYS.items():
                for turn in range(2 if name == "joint bilateral" else 5):
                    start = time.perf_counter()
                    way(painted, frame)
                    if turn:  # the first one finds cold caches
                        times[name].append((time.perf_counter() - start) * 1e3)
        for name in WAYS:
            table[name].append(statistics.median(times[name]))
    return table


def read_pictures(paths: list[str]) -> list[np.ndarray]:
    if paths:
        return [read_image(path).rgb for path in paths]
    clip = importlib.resources.files("rtstyle.pretrained") / "sample.mp4"
    with importlib.resources.as_file(clip) as path, VideoReader(path) as reader:
        frames = [item.rgb for item in reader if hasattr(item, "rgb")]
    return [frames[len(frames) // 5], frames[-len(frames) // 5]]


def write_sheet(path: str, jobs: list[dict]) -> None:
    """Photograph, painting at full size and the ways of SHEET side by side, 1:1 from the middle of every picture."""
    rows = []
    for job in jobs:
        shown = [job["frame"], job["reference"], *(WAYS[name](job["painted"], job["frame"]) for name in SHEET)]
        top, left = (max(0, (side - 300) // 2) for side in job["frame"].shape[:2])
        crops = [x[top : top + 300, left : left + 300] for x in shown]
        rows.append(np.hstack([cv2.copyMakeBorder(x, 0, 300 - len(x), 0, 300 - x.shape[1], 0) for x in crops]))
    cv2.imwrite(path, np.vstack(rows)[..., ::-1])
    print(f"{path}: photograph, painted at full size, {', '.join(SHEET)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", metavar="PICTURE")
    parser.add_argument("--work-height", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=6, help="of timing")
    parser.add_argument("--sheet", metavar="FILE.png", help="write a sheet of crops to look at")
    parser.add_argument("--threads", type=int, default=cv2.getNumThreads())
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    pictures = read_pictures(args.pictures)
    stylizer = Stylizer("starry-night", device="cpu", work_height="full", threads=args.threads)
    jobs = []
    for frame in pictures:
        small = shrink(frame, (round(frame.shape[1] * args.work_height / frame.shape[0]), args.work_height))
        for style in stylizer.gallery():
            stylizer.style = style.name
            painted = stylizer(small)
            cubic = WAYS["cubic"](painted, frame)
            jobs.append({"frame": frame, "painted": painted, "reference": stylizer(frame), "cubic": cubic})
    still = noisy(pictures[0])
    paintings = [stylizer(shrink(f, size_of(jobs[0]["painted"]))) for f in still]
    calm = shimmer(WAYS["cubic"], still, paintings)
    print(f"{len(pictures)} pictures, {len(stylizer.gallery())} styles, work height {args.work_height}\n")
    print("| way | detail | reference | strokes | colour | noise | halo | stranger | shimmer |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, way in WAYS.items():
        detail, reference, strokes, colour = on_pictures(way, jobs)
        noise, halo, strange = on_drawings(way)
        ratio = shimmer(way, still, paintings) / calm
        row = (
            f"{detail:.2f} | {reference:.2f} | {strokes:.0%} | {colour:.1f} | {noise:.2f} | {halo:.0f} | {strange:.0f}"
        )
        print(f"| {name} | {row} | {ratio:.2f} |")
    print(f"\nMilliseconds (median), {args.threads} threads, from the height to the size\n")
    print("| way | " + " | ".join(f"{h} to {width}x{height}" for width, height, h in SIZES) + " |")
    print("| --- |" + " --- |" * len(SIZES))
    for name, times in milliseconds(pictures[0], args.rounds).items():
        print(f"| {name} | " + " | ".join(f"{t:.2f}" for t in times) + " |")
    if args.sheet:
        write_sheet(args.sheet, jobs[:: max(1, len(jobs) // 8)])


if __name__ == "__main__":
    main()
