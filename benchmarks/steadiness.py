"""What steadiness does, for every bundled style: flicker under sensor noise, warping error, sharpness, cost.

    python benchmarks/steadiness.py [PHOTOGRAPH ...]

Without photographs the bundled clip's first frames serve. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from test_steady import STEPS, noisy, seen_moving, sharpness, warping_error  # noqa: E402

from rtstyle import Stylizer, styles  # noqa: E402
from rtstyle.media.images import read_image  # noqa: E402
from rtstyle.media.reader import VideoReader  # noqa: E402
from rtstyle.steady import Steadier  # noqa: E402


def photographs(paths) -> list[np.ndarray]:
    if paths:
        return [cv2.resize(read_image(path).rgb, (400, 225), interpolation=cv2.INTER_AREA) for path in paths]
    with VideoReader(ROOT / "pretrained" / "sample.mp4") as reader:
        frames = [frame.rgb for frame in reader]
    return [cv2.resize(f, (400, 225), interpolation=cv2.INTER_AREA) for f in (frames[0], frames[-1])]


class Steadied:
    """A stylizer with a memory."""

    def __init__(self, stylizer):
        self._stylizer, self._steady = stylizer, Steadier()

    def __call__(self, frame):
        return self._steady(frame, self._stylizer)


def flicker(frames, paint) -> float:
    """Standard deviation over time, mean over pixels, after 16 frames of settling."""
    return float(np.std([paint(frame) for frame in frames][16:], axis=0).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*")
    pictures = photographs(parser.parse_args().photographs)
    stylizer = Stylizer(device="cpu")
    print("| style | flicker, steady / not | warping error, steady / not | sharpness, steady / not |")
    print("| --- | --- | --- | --- |")
    totals = []
    for style in styles():
        stylizer.style = style.name
        noise, error, sharp = [], [], []
        for picture in pictures:
            still = [noisy(picture, i) for i in range(40)]
            noise.append(flicker(still, Steadied(stylizer)) / flicker(still, stylizer))
            for motion in STEPS:
                frames, origin = seen_moving(picture, STEPS[motion])
                steady = Steadier()
                plain, steadied = [stylizer(f) for f in frames], [steady(f, stylizer) for f in frames]
                error.append(warping_error(steadied, origin) / warping_error(plain, origin))
                sharp.append(sharpness(steadied) / sharpness(plain))
        totals.append((np.mean(noise), np.mean(error), np.mean(sharp)))
        print(f"| {style.name} | {totals[-1][0]:.2f} | {totals[-1][1]:.2f} | {totals[-1][2]:.2f} |", flush=True)
    print("| **mean** | " + " | ".join(f"**{value:.2f}**" for value in np.mean(totals, axis=0)) + " |")
    print(f"\nat 640x360: {cost(stylizer):.1f} ms a frame beyond the net's own")


def cost(stylizer) -> float:
    frames = [
        np.random.default_rng(i).integers(0, 255, (45, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1) for i in (0, 1)
    ]
    frames = [noisy(frames[0], i) for i in range(60)]
    steady, inside, whole = Steadier(), [], []

    def net(frame):
        started = time.perf_counter()
        painted = stylizer(frame)
        inside.append(time.perf_counter() - started)
        return painted

    for frame in frames:
        started = time.perf_counter()
        steady(frame, net)
        whole.append(time.perf_counter() - started)
    return statistics.median(np.subtract(whole, inside)[5:]) * 1e3


if __name__ == "__main__":
    main()
