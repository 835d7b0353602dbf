"""`rtstyle video` under stress and against the clock.

    python benchmarks/video.py [memory efficiency] [--clip FILE]

- memory: peak resident memory of a clip and of one ten times as long;
- efficiency: each stage alone in a process of its own, the bound that follows for two cores, and the whole.

`--clip` gives a real file for `efficiency`; without it one is made. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2  # noqa: F401 -- before av

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from markdown import table  # noqa: E402
from support.media_files import make_clip, picture  # noqa: E402

# -- memory

PEAK = """
import sys
from rtstyle import Stylizer, stylize_video
stylize_video(sys.argv[1], sys.argv[2], Stylizer("starry-night", device="cpu"))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def memory(arguments, folder: Path) -> None:
    peaks = {}
    for seconds in (60, 600):
        source = make_clip(folder / f"{seconds}.mp4", size=(320, 180), frames=24 * seconds)
        command = [sys.executable, "-c", PEAK, str(source), str(folder / f"out-{seconds}.mp4")]
        peaks[seconds] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024
    table(
        "Peak resident memory, 320x180 at 24 fps",
        {f"{s} s": f"{m:.0f} MiB" for s, m in peaks.items()} | {"growth": f"{peaks[600] / peaks[60] - 1:+.1%}"},
    )


# -- efficiency

STAGES = """
import resource, sys, time
import numpy as np
import rtstyle.media
from rtstyle import Stylizer
from rtstyle.media.encoding import Encoding, plan
from rtstyle.media.reader import VideoReader
from rtstyle.media.segments import SegmentWriter
from rtstyle.paint.painter import Painter
from rtstyle.video.pipeline import each, run_stages
from pathlib import Path
from rtstyle.runtime import devices as providers
providers.SPIN_MICROSECONDS = "0"  # the processor time that counts is that of work
stage, source, folder, steady = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "steady"
reader = VideoReader(source)
frames = []
if stage != "decode":
    for frame in reader:
        frames.append(frame)
        if len(frames) == 120:
            break
    format = reader.format
    painter = Painter(Stylizer("starry-night", device="cpu"), steady=steady)
    run, workers = painter.stylizer.for_throughput()
    run(frames[0].rgb[None])
    painted = [painter(frame.rgb) for frame in frames] if stage == "encode" else None
usage = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
started, before, count = time.perf_counter(), usage(), 0
if stage == "decode":
    for frame in reader:
        count += 1
elif stage == "paint":
    paint = each(lambda x: (x, painter.run([x], run=run)[0]), workers)
    stages = each(painter.prepare), paint, each(lambda x: painter.finish(*x))
    for painting in run_stages((frame.rgb for frame in frames), *stages, depth=2):
        count += 1
else:
    chosen = plan(folder / "x.mp4", Encoding(), width=format.width, height=format.height, bits=8, hdr=False)
    writer = SegmentWriter(folder / "stage.mkv", chosen, format)
    for frame, rgb in zip(frames, painted):
        writer.write(frame.pts, rgb)
        count += 1
    writer.close()
print((time.perf_counter() - started) / count * 1e3, (usage() - before) / count * 1e3)
"""


def efficiency(arguments, folder: Path) -> None:
    source = Path(arguments.clip) if arguments.clip else real_clip(folder / "clip.mp4")

    for steady in ("steady", "no-steady"):
        rows = {}
        times, processor = {}, {}
        for stage in ("decode", "paint", "encode"):
            runs = []
            for _ in range(3):
                command = [sys.executable, "-c", STAGES, stage, str(source), str(folder), steady]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                runs.append(tuple(map(float, output.split())))
            times[stage], processor[stage] = (statistics.median(values) for values in zip(*runs, strict=True))
            rows[f"{stage} alone, ms a frame: wall / processor"] = f"{times[stage]:.1f} / {processor[stage]:.1f}"
        bound = max(max(times.values()), sum(processor.values()) / 2)
        whole = []
        for _ in range(3):
            whole.append(run_whole(source, folder, steady))
        mean = statistics.median(whole)
        rows |= {
            "bound on two cores, ms a frame": f"{bound:.1f}",
            "the whole, ms a frame (start-up not counted)": f"{mean:.1f}",
            "share of the bound's frame rate": f"{bound / mean:.0%}",
        }
        table(f"Efficiency, {source.name}, --{steady}", rows)


def run_whole(source, folder, steady) -> float:
    out = folder / "whole.mp4"
    command = ["video", source, out, "--force", f"--{steady}", "--progress", "json", "--device", "cpu"]
    output = subprocess.run(
        [sys.executable, "-m", "rtstyle", *map(str, command)], capture_output=True, text=True, check=True
    ).stderr
    last = [json.loads(line) for line in output.splitlines() if line.startswith("{")][-1]
    return last["seconds"] / last["done"] * 1e3


def real_clip(path: Path) -> Path:
    """A moving picture with some noise, 640x360 at 30 fps, with sound."""
    import numpy as np

    chance = np.random.default_rng(0)

    def draw(index, height, width):
        noise = chance.normal(0, 2, (height, width, 1))
        return np.uint8(np.clip(picture(index, height, width) + noise, 0, 255))

    return make_clip(path, size=(640, 360), frames=300, rate=30, draw=draw)


BENCHMARKS = {f.__name__: f for f in (memory, efficiency)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS])
    parser.add_argument("--clip")
    arguments = parser.parse_args()
    for name in arguments.names or BENCHMARKS:
        with tempfile.TemporaryDirectory() as folder:
            BENCHMARKS[name](arguments, Path(folder))


if __name__ == "__main__":
    main()
