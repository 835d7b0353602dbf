"""Gatys mode against a plain loop, its memory against what it says beforehand, and tiles against the whole picture.

    python benchmarks/gatys.py CONTENT STYLE [--evaluations 100] [--rounds 12] [--large 1024,1448] [--keep DIR]

Needs the `train` extra and VGG-19 of the Oxford group (RTSTYLE_VGG19).

- loop: the losses of Gatys' released code written out below without anything of rtstyle's but the reading of weights,
  and torch.optim.LBFGS with strong Wolfe line search and history 100 on the pixels, as anyone would write it; both from
  the photograph, at one size. The total loss of each is that of the picture clamped to 0..255, computed by the plain
  code, after as many evaluations of loss and gradient. Seconds are of single evaluations, by turns.
- memory: `rtstyle gatys` at large sizes in a process of its own: its peak resident memory against the need that it
  states before it starts.
- tiles: the same few iterations whole and in tiles: mean and largest difference in grey levels.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from rtstyle.gatys import optimize
from rtstyle.gatys.objective import Objective, StyleTensor
from rtstyle.gatys.pictures import as_tensor
from rtstyle.perceptual.vgg import read_weights

PLAN = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)  # to conv5_1
STYLE_AT = (0, 2, 4, 8, 12)  # numbers of the convolutions conv1_1, conv2_1, conv3_1, conv4_1, conv5_1
CONTENT_AT = 9  # conv4_2
STEPS_OF_TILES = 5


class Enough(Exception):
    """As many evaluations as were wanted."""


class PlainLoop:
    """Gatys' losses on a picture [1, 3, H, W] of grey levels, and L-BFGS on its pixels."""

    def __init__(self, content: np.ndarray, style: np.ndarray, beta: float, weights: str):
        state, convention, _ = read_weights(Path(weights), "vgg19")
        names = sorted({int(re.match(r"features\.(\d+)\.", name)[1]) for name in state})
        self.filters = [(state[f"features.{n}.weight"].float(), state[f"features.{n}.bias"].float()) for n in names]
        if convention != "oxford":
            sys.exit("the weights must be the Oxford group's: BGR, 0 to 255, mean subtracted")
        self.content, style = self.tensor(content), self.tensor(style)
        self.beta = beta
        with torch.no_grad():
            self.expected = self.features(self.content)[0]
            self.grams = [self.gram(maps) for maps in self.features(style)[1]]

    @staticmethod
    def tensor(rgb: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float().contiguous()

    @staticmethod
    def gram(maps: torch.Tensor) -> torch.Tensor:
        flat = maps.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x = x.flip(1) - x.new_tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        number, content, styles = 0, None, []
        for step in PLAN:
            if step == "pool":
                x = F.max_pool2d(x, 2)
                continue
            x = F.relu(F.conv2d(x, *self.filters[number], padding=1))
            if number in STYLE_AT:
                styles.append(x)
            if number == CONTENT_AT:
                content = x
            number += 1
        return content, styles

    def total(self, picture: torch.Tensor) -> torch.Tensor:
        content, styles = self.features(picture)
        loss = (content - self.expected).square().mean()
        for maps, expected in zip(styles, self.grams, strict=True):
            weight = 1000 / maps.shape[1] ** 2
            loss = loss + self.beta * weight * (self.gram(maps) - expected).square().mean()
        return loss

    def run(self, evaluations: int) -> torch.Tensor:
        """The best picture after so many evaluations."""
        x = self.content.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [x],
            max_iter=10 * evaluations,
            max_eval=10 * evaluations,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=100,
            line_search_fn="strong_wolfe",
        )
        best, count = (float("inf"), x.detach().clone()), 0

        def closure() -> torch.Tensor:
            nonlocal best, count
            if count == evaluations:
                raise Enough
            count += 1
            optimizer.zero_grad()
            loss = self.total(x)
            loss.backward()
            if float(loss.detach()) < best[0]:
                best = float(loss.detach()), x.detach().clone()
            return loss

        with contextlib.suppress(Enough):
            optimizer.step(closure)
        return best[1]


def fitted(path: str, size: int) -> np.ndarray:
    """A picture with its long side as asked, RGB."""
    picture = Image.open(path).convert("RGB")
    share = size / max(picture.size)
    return np.asarray(picture.resize([round(side * share) for side in picture.size], Image.Resampling.LANCZOS))


def ours(content: np.ndarray, style: np.ndarray, evaluations: int, **changes) -> optimize.Result:
    """`optimize.render` at one size, ended at the iteration that completes so many evaluations."""
    changes |= {"start": "content", "pyramid": False, "steps": 10 * evaluations, "device": "cpu"}
    settings = optimize.preset(size=max(content.shape[:2]), **changes)

    def watch(progress: optimize.Progress) -> None:
        if progress.evaluations >= evaluations:
            raise KeyboardInterrupt

    return optimize.render(content, [style], settings, watch)


def seconds_an_evaluation(content: np.ndarray, style: np.ndarray, loop: PlainLoop, rounds: int) -> dict[str, float]:
    """Medians over so many evaluations of loss and gradient each, one of ours and one of the plain loop's by turns."""
    settings = optimize.preset(size=max(content.shape[:2]), pyramid=False, device="cpu")
    picture = loop.content + torch.randn(loop.content.shape)
    style_tensor = StyleTensor(as_tensor(style, "cpu"))
    objective = Objective(optimize.load_vgg(settings), settings, as_tensor(content, "cpu"), [style_tensor])

    def plain() -> None:
        loop.total(picture.clone().requires_grad_()).backward()

    times: dict[str, list[float]] = {"rtstyle": [], "plain": []}
    for _ in range(rounds):
        for name, evaluate in (("rtstyle", lambda: objective(picture)), ("plain", plain)):
            started = time.perf_counter()
            evaluate()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def against_the_loop(args: argparse.Namespace, weights: str) -> None:
    content, style = fitted(args.content, args.size), fitted(args.style, args.size)
    loop = PlainLoop(content, style, optimize.Settings().style_weight, weights)
    result = ours(content, style, args.evaluations)
    count = result.log[-1].evaluations  # the last line search may have run over what was asked for
    plain = loop.run(count)
    raw = torch.from_numpy(result.raw).permute(2, 0, 1)[None]
    with torch.no_grad():
        pictures = {"photograph": loop.content, "rtstyle": raw, "plain": plain}
        totals = {name: float(loop.total(picture.clamp(0, 255))) for name, picture in pictures.items()}
    pace = seconds_an_evaluation(content, style, loop, args.rounds)
    if args.keep:
        Image.fromarray(result.picture).save(args.keep / "rtstyle.png")
        Image.fromarray(plain.clamp(0, 255)[0].permute(1, 2, 0).byte().numpy()).save(args.keep / "plain.png")
    print(f"\n{content.shape[1]} x {content.shape[0]} pixels, {count} evaluations\n")
    print("| | total loss | against plain | seconds an evaluation | against plain |\n| --- | --- | --- | --- | --- |")
    print(f"| photograph | {totals['photograph']:.4g} | {totals['photograph'] / totals['plain']:.2f} | | |")
    for name in pace:
        ratios = totals[name] / totals["plain"], pace[name] / pace["plain"]
        print(f"| {name} | {totals[name]:.4g} | {ratios[0]:.3f} | {pace[name]:.2f} | {ratios[1]:.2f} |")


def memory(args: argparse.Namespace) -> None:
    print("\n| long side | stated need | peak resident | share | seconds |\n| --- | --- | --- | --- | --- |")
    for size in args.large:
        with tempfile.TemporaryDirectory() as folder:
            out = (args.keep or Path(folder)) / f"large-{size}.png"
            command = [sys.executable, "-m", "rtstyle", "gatys", args.content, args.style, str(out), "--force"]
            started = time.perf_counter()
            child = subprocess.Popen(
                [*command, "--size", str(size), "--steps", str(args.large_steps), "--device", "cpu"],
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
            said = child.stderr.read()
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                sys.exit(said)
            need = float(re.search(r"needs about ([\d.]+) GB", said)[1])
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
            print(
                f"| {size} | {need:.1f} GB | {peak:.2f} GB | {peak / need:.0%} | {time.perf_counter() - started:.0f} |",
                flush=True,
            )


def tiles(args: argparse.Namespace) -> None:
    content, style = fitted(args.content, args.size), fitted(args.style, args.size)
    settings = optimize.preset(size=args.size, pyramid=False, steps=STEPS_OF_TILES, history=10, device="cpu")
    whole = optimize.render(content, [style], settings)
    _, plan = optimize.expected(content.shape[:2], settings)
    limited = optimize.preset(
        size=args.size,
        pyramid=False,
        steps=STEPS_OF_TILES,
        history=10,
        device="cpu",
        max_memory=plan.needed * 9 // 10,
    )
    cut = optimize.render(content, [style], limited)
    difference = np.abs(whole.picture.astype(int) - cut.picture)
    print(
        f"\n{STEPS_OF_TILES} iterations whole and in tiles of {cut.plan.side} pixels: "
        f"{difference.mean():.3f} grey levels apart on average, {difference.max()} at most; "
        f"painted {np.abs(whole.picture.astype(int) - content).mean():.1f} from the photograph"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("content")
    parser.add_argument("style")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=12, help="evaluations of each that are timed")
    parser.add_argument("--large", type=lambda text: [int(size) for size in text.split(",") if size], default=[1024])
    parser.add_argument("--large-steps", type=int, default=100)
    parser.add_argument("--only", choices=["loop", "memory", "tiles"])
    parser.add_argument("--keep", type=Path, help="folder for the pictures")
    args = parser.parse_args()
    weights = os.environ.get("RTSTYLE_VGG19") or sys.exit("set RTSTYLE_VGG19 to VGG-19's weights")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    if args.only in (None, "loop"):
        against_the_loop(args, weights)
    if args.only in (None, "memory"):
        memory(args)
    if args.only in (None, "tiles"):
        tiles(args)


if __name__ == "__main__":
    main()
