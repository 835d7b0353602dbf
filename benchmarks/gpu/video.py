"""`rtstyle video` from end to end: decode, paint, encode; which stage is the limit, and how busy the GPU is.

    python benchmarks/gpu/video.py OUT.json [--device cuda] [--model live] [--clip FILE ... | --sizes 720p,1080p,2160p]
                                   [--frames 600] [--codecs h264,auto] [--tiny] [--force]

Without `--clip` the bundled one is enlarged, with noise. `auto` is a hardware encoder if one works (NVENC). Each with
steadiness and without. Shares of time are those of rtstyle's own stages, the first eighth of the run left in; the
GPU's are nvidia-smi's, once a second. `--device cpu --tiny` is a dry run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from rtstyle.diagnose import bench, machine, scenes
from rtstyle.errors import RtstyleError
from rtstyle.files import check_output
from rtstyle.runtime import devices

SMI = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu,utilization.decoder,utilization.encoder",
    "--format=csv,noheader,nounits",
)


class Watch:
    """How busy the GPU's parts are, while it lasts, in percent; nothing where there is no nvidia-smi."""

    def __init__(self, gpu: int):
        self.samples: list[list[str]] = []
        self._command = [*SMI, f"--id={gpu}"]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(1.0):
            output = subprocess.run(self._command, capture_output=True, text=True)
            self.samples.append(output.stdout.strip().split(","))

    def __enter__(self) -> Watch:
        if shutil.which(SMI[0]):
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def means(self) -> dict[str, float | None]:
        """None for a part of which nvidia-smi does not tell ([N/A])."""
        means: dict[str, float | None] = {}
        for part, cells in zip(("gpu", "decoder", "encoder"), zip(*self.samples, strict=True), strict=False):
            measured = [float(cell) for cell in cells if cell.strip().isdecimal()]
            means[part] = statistics.fmean(measured) if measured else None
        return means


def paint(arguments, clip: Path, codec: str, steady: bool, folder: Path) -> dict:
    """What one run of the command tells, or why it failed."""
    words = ["video", clip, folder / "out.mp4", "--force", "--progress", "json", "--codec", codec]
    words += ["--device", arguments.device, "--model", arguments.model, "--steady" if steady else "--no-steady"]
    row = {"clip": clip.name, "codec": codec, "steady": steady}
    with Watch(arguments.gpu) as watch:
        done = subprocess.run([sys.executable, "-m", "rtstyle", *map(str, words)], capture_output=True, text=True)
    lines = done.stderr.splitlines()
    if done.returncode:
        return row | {"failed": lines[-1] if lines else f"exit {done.returncode}"}
    output = [json.loads(line) for line in lines if line.startswith("{")]
    warm = output[len(output) // 8]  # opening sessions is over
    seconds, frames = output[-1]["seconds"] - warm["seconds"], output[-1]["done"] - warm["done"]
    loads = output[-1]["loads"]
    row |= {"device": next((line for line in lines if line.startswith("painting ")), ""), "frames": output[-1]["done"]}
    row |= {"fps": frames / seconds if seconds else 0.0, "fps_with_start": output[-1]["done"] / output[-1]["seconds"]}
    return row | {"loads": loads, "limit": max(loads, key=loads.get), "busy_percent": watch.means()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="live")
    parser.add_argument("--clip", type=Path, nargs="*", default=[])
    parser.add_argument("--sizes")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--codecs", default="h264,auto")
    parser.add_argument("--tiny", action="store_true", help="a dry run: one small clip, moments")
    parser.add_argument("--force", action="store_true", help="replace OUT")
    arguments = parser.parse_args()
    try:
        check_output(arguments.out, force=arguments.force)
        sizes = bench.parse_sizes(arguments.sizes or ("96x64" if arguments.tiny else "720p,1080p,2160p"))
        arguments.gpu = devices.choose(arguments.device).index
    except RtstyleError as error:
        sys.exit(str(error).replace("`force=True`", "--force"))
    driver = devices.driver()
    report = {
        "command": " ".join(sys.argv),
        "machine": machine.machine(),
        "gpus": driver[0] if driver else [],
        "runs": [],
    }
    print("| clip | codec | steady | frames/s | limit | busy | GPU, decoder, encoder, % |")
    print("| --- | --- | --- | ---: | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = arguments.clip or [
            scenes.write_clip(
                folder / f"{w}x{h}.mp4", scenes.Scene(w, h), arguments.frames or (16 if arguments.tiny else 600)
            )
            for w, h in sizes
        ]
        for clip in clips:
            for codec in arguments.codecs.split(","):
                for steady in (True, False):
                    row = paint(arguments, clip, codec, steady, folder)
                    report["runs"].append(row)
                    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
                    start = f"| {row['clip']} | {codec} | {'yes' if steady else 'no'} |"
                    if "failed" in row:
                        print(f"{start} could not run: {row['failed']} | | | |")
                        continue
                    loads = ", ".join(f"{stage} {share:.0%}" for stage, share in row["loads"].items())
                    shares = row["busy_percent"].values()
                    busy = ", ".join("-" if share is None else f"{share:.0f}" for share in shares) or "not measured"
                    print(f"{start} {row['fps']:.1f} | {row['limit']} | {loads} | {busy} |", flush=True)


if __name__ == "__main__":
    main()
