"""Painting on a GPU: every mode of ours, torch on the same weights, TensorRT; taking turns in one process.

    python benchmarks/gpu/bench.py OUT.json [--device cuda] [--model studio] [--sizes 360p,720p,1080p,2160p]
                                   [--batches 1,8] [--seconds 2] [--no-torch] [--no-tensorrt] [--tiny] [--force]

For each size and batch: milliseconds a frame (median, 99 %) with frames going from memory to the GPU and back, and
for those marked `resident` without that; the share of the measured ceiling (a large matrix product in float16, or
float32 for what runs in it); how far the painting lies from the CPU's, in grey levels. (float32 convolutions are
TF32 on GPUs that have it, in ONNX Runtime as in torch.) What cannot run is listed with
its reason. OUT is written after every size, so that an early end loses little. `--device cpu
--model live --tiny` is a dry run, for which no GPU is needed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rtstyle.diagnose import arithmetic, bench, machine, scenes, timing
from rtstyle.errors import RtstyleError
from rtstyle.files import check_output
from rtstyle.gallery.catalog import resolve
from rtstyle.runtime import cuda, devices
from rtstyle.runtime.session import Run

Step = Callable[[np.ndarray], object]  # frames uint8 [N, H, W, 3] to their painting, or to nothing if resident
HALF = cuda.ExecutionMode()
OURS = {
    "float16": HALF,
    "float16, no CUDA graphs": cuda.ExecutionMode(graph=False),
    "float16, no CUDA graphs, no I/O binding": cuda.ExecutionMode(graph=False, bound=False),
    "float16, NHWC": cuda.ExecutionMode(nhwc=True),
    "float32": cuda.ExecutionMode(half=False),
    "float32, no CUDA graphs": cuda.ExecutionMode(half=False, graph=False),
    "float32, no CUDA graphs, no I/O binding": cuda.ExecutionMode(half=False, graph=False, bound=False),
}
TORCH = (
    "torch eager, float32",
    "torch eager, channels last, float16",
    "torch.compile, channels last, float16",
)


def sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error).strip() else ''}"


# -- contestants


def ours(choice, device: devices.Device, mode: cuda.ExecutionMode) -> cuda.GpuSession:
    """A session that runs in this mode or fails."""
    return cuda.GpuSession(choice.model.path, device, choice.code, modes=(mode,))


def our_steps(name: str, session: cuda.GpuSession, code: np.ndarray | None, shape: tuple[int, ...]) -> dict[str, Step]:
    """Painting, painting by two threads (2 batches a call), and painting what is on the GPU already."""

    def paint(frames: np.ndarray, run: Run = session.run) -> np.ndarray:
        return run(frames, code)

    paint(np.zeros(shape, np.uint8))
    steps: dict[str, Step] = {name: paint}
    if not session.mode.bound or "no CUDA" in name:
        return steps
    slot, (run, workers) = session.pool.open[shape].queue[0], session.for_throughput()
    pool = ThreadPoolExecutor(workers)
    paint(np.zeros(shape, np.uint8), run)

    def resident(_: np.ndarray) -> None:
        slot.run_again()

    def for_throughput(frames: np.ndarray) -> np.ndarray:
        both = list(pool.map(lambda x: paint(x, run), [frames] * workers))
        return both[0]

    return steps | {f"{name}, resident": resident, f"{name}, side by side": for_throughput}


def torch_steps(name: str, path: Path, code: np.ndarray, device: str, shape: tuple[int, ...]) -> dict[str, Step]:
    """The same weights in torch, as people run them; frames go the same way. Raises what torch raises."""
    import torch

    from rtstyle.export.to_onnx import from_onnx

    torch.backends.cudnn.benchmark = True
    half = "float16" in name
    dtype, layout = (torch.float16, torch.channels_last) if half else (torch.float32, torch.contiguous_format)
    body = from_onnx(path)[0].eval().requires_grad_(False).to(device, dtype, memory_format=layout)
    numbers = torch.from_numpy(code.copy()).to(device, dtype)
    height, width = shape[1:3]

    def calculate(frames):
        x = frames.permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=layout)
        y = body(x, numbers)[:, :, :height, :width]
        return (y.float() + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    run = torch.compile(calculate, dynamic=False) if "compile" in name else calculate
    there = torch.zeros(shape, dtype=torch.uint8, device=device)

    @torch.inference_mode()
    def whole(frames: np.ndarray) -> np.ndarray:
        return run(torch.from_numpy(frames).to(device)).cpu().numpy()

    @torch.inference_mode()
    def resident(_: np.ndarray) -> None:
        run(there)
        if device != "cpu":
            torch.cuda.synchronize(device)

    whole(np.zeros(shape, np.uint8))
    return {name: whole, f"{name}, resident": resident}


# -- measuring


def contestants(arguments, choice, device, shape, refused: dict[str, str]) -> dict[str, Step]:
    """All that can run; `refused` learns why the others cannot."""
    steps: dict[str, Step] = {}
    modes = OURS if device.kind in devices.NVIDIA else {"float32": cuda.execution_modes("cpu")[0]}
    if shape[0] > 1:  # several frames are calculated in float32 in every mode
        modes = {name: mode for name, mode in modes.items() if not mode.half}
    for name, mode in modes.items():
        try:
            steps |= our_steps(name, ours(choice, device, mode), choice.code, shape)
        except Exception as error:  # what does not run is a result too
            refused[name] = sentence(error)
    if not arguments.no_tensorrt:
        try:
            tensorrt = devices.choose(f"tensorrt:{device.index}")
            steps |= our_steps("TensorRT, float16", ours(choice, tensorrt, HALF), choice.code, shape)
        except Exception as error:
            refused["TensorRT, float16"] = sentence(error)
    place = "cpu" if device.kind == "cpu" else f"cuda:{device.index}"
    for name in () if arguments.no_torch else TORCH:
        try:
            steps |= torch_steps(name, choice.model.path, choice.code, place, shape)
        except Exception as error:
            refused[name] = sentence(error)
    return steps


def measure(arguments, choice, device, size, batch, ceilings) -> dict:
    width, height = size
    scene = scenes.Scene(width, height).some()
    frames = np.stack([scene[i % len(scene)] for i in range(batch)])
    refused: dict[str, str] = {}
    steps = contestants(arguments, choice, device, frames.shape, refused)
    plain = devices.open_session(str(choice.model.path), devices.choose("cpu"))
    feed = {"frames": frames[:1]} | ({} if choice.code is None else {"code": choice.code})
    expected = plain.run(None, feed)[0].astype(int)
    gflop = arithmetic.frame_operations(arguments.settings.stylizer(), width, height) / 1e9
    times = timing.in_turns({name: lambda _, s=step: s(frames) for name, step in steps.items()}, arguments.seconds)
    rows = []
    for name, step in steps.items():
        many = batch * (cuda.SLOTS if "side by side" in name else 1)
        row = {"name": name, **timing.summary(times[name], many), "gflop": gflop}
        row["ceiling_share"] = gflop / row["median_ms"] * 1e3 / ceilings["float16" if "float16" in name else "float32"]
        if not name.endswith("resident"):
            difference = np.abs(step(frames)[:1].astype(int) - expected)
            row |= {"most_levels": int(difference.max()), "mean_levels": float(difference.mean())}
        rows.append(row)
    return {"width": width, "height": height, "batch": batch, "rows": rows, "refused": refused}


def print_table(result: dict) -> None:
    print(f"\n### {result['width']}x{result['height']}, batch {result['batch']}\n")
    print("| | ms a frame | 99 % | 99 % / median | frames/s | of ceiling | levels from the CPU: most, mean |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in result["rows"]:
        levels = f"{row['most_levels']}, {row['mean_levels']:.2f}" if "most_levels" in row else ""
        cells = f"{row['median_ms']:.3f} | {row['p99_ms']:.3f} | {row['p99_ms'] / row['median_ms']:.2f}"
        print(f"| {row['name']} | {cells} | {row['fps']:.0f} | {row['ceiling_share']:.0%} | {levels} |")
    for name, reason in result["refused"].items():
        print(f"\nCould not run: {name}: {reason}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="studio")
    parser.add_argument("--sizes")
    parser.add_argument("--batches", default=None)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--no-tensorrt", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a dry run: one small size, moments")
    parser.add_argument("--force", action="store_true", help="replace OUT")
    arguments = parser.parse_args()
    arguments.seconds = arguments.seconds or (0.05 if arguments.tiny else 2.0)
    batches = [int(n) for n in (arguments.batches or ("1,2" if arguments.tiny else "1,8")).split(",")]
    try:
        check_output(arguments.out, force=arguments.force)
        sizes = bench.parse_sizes(arguments.sizes or ("64x48" if arguments.tiny else "360p,720p,1080p,2160p"))
        choice, device = resolve(model=arguments.model), devices.choose(arguments.device)
    except RtstyleError as error:
        sys.exit(str(error).replace("`force=True`", "--force"))
    arguments.settings = bench.Settings(model=arguments.model, device="cpu")
    half = device.kind in devices.NVIDIA
    ceilings = {"float32": arithmetic.ceiling(device, None, arguments.seconds)}
    ceilings["float16"] = (
        arithmetic.ceiling(device, None, arguments.seconds, half=True) if half else ceilings["float32"]
    )
    driver = devices.driver()
    report = {
        "command": " ".join(sys.argv),
        "machine": machine.machine(),
        "gpu": driver[0][device.index] if driver and half else None,
        "driver made for CUDA": driver[1] if driver else None,
        "model": choice.model.path.name,
        "body": choice.model.body,
        "ceilings_gflops": ceilings,
        "date": datetime.date.today().isoformat(),
        "found": [],
    }
    print(f"{report['gpu'] or report['machine']['cpu']}, {report['date']}, {report['model']}")
    print(", ".join(f"{name} ceiling {top:.0f} GFLOP/s" for name, top in ceilings.items()))
    for size in sizes:
        for batch in batches:
            result = measure(arguments, choice, device, size, batch, ceilings)
            report["found"].append(result)
            print_table(result)
            arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
