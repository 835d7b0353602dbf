"""`rtstyle video --ray` against the run without Ray, and against kill -9.

    python benchmarks/farm.py [overhead scaling memory kills] [--frames N] [--count N]

- overhead: the same job with and without Ray on all cores, in turns, once Ray is up; and how long that takes;
- scaling: with one and with two workers, each held on a core of its own; from the measured times and bytes of their
  segments, what 2, 10 and 100 machines would take, and what then binds;
- memory: the driver's peak memory for a clip and for one ten times as long, which the workers see or do not see;
- kills: SIGKILL of random workers (20) in one job, packets compared with a run without Ray.

Everything runs on this machine: a cluster's machines are processes. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from markdown import table  # noqa: E402
from support.media_files import make_clip, packets  # noqa: E402
from support.ray_cluster import kill, workers  # noqa: E402

from rtstyle import Stylizer, stylize_video  # noqa: E402
from rtstyle.media.parcel import Parcel  # noqa: E402
from rtstyle.media.reader import VideoReader  # noqa: E402
from rtstyle.runtime.session import cores  # noqa: E402
from rtstyle.video.cluster import load_ray  # noqa: E402
from rtstyle.video.convert import Options  # noqa: E402
from rtstyle.video.farm import stylize_videos  # noqa: E402

SAMPLE = ROOT / "pretrained" / "sample.mp4"
SEGMENT = 300
LINK = 117e6  # bytes a second: a network of one gigabit


@contextlib.contextmanager
def cluster(*processors: int, pinned: bool = False):
    """Machines with so many processor cores each; if `pinned`, all processes of each on a core of its own."""
    load_ray()
    from ray.cluster_utils import Cluster

    one, ours = Cluster(), os.sched_getaffinity(0)
    try:
        for count, core in zip(processors, itertools.cycle(sorted(ours))):
            if pinned:
                os.sched_setaffinity(0, {core})  # what this thread starts inherits it
            one.add_node(num_cpus=count, include_dashboard=False)
        os.sched_setaffinity(0, ours)
        yield one.address
    finally:
        os.sched_setaffinity(0, ours)
        one.shutdown()


def real_clip(path: Path, frames: int) -> Path:
    """The bundled clip, again and again, so many frames of it."""
    with VideoReader(SAMPLE) as reader:
        rgb = [frame.rgb for frame in reader]
        size, rate = reader.size, reader.rate
    return make_clip(
        path, size=size, frames=frames, rate=round(rate), draw=lambda i, h, w: rgb[i % len(rgb)], b_frames=2
    )


def by_ray(source: Path, out: Path, stylizer: Stylizer, address: str, segment: int = SEGMENT, progress=None) -> float:
    """Seconds from the first look at the video to the joined file."""
    came = []
    stylize_videos(
        [(str(source), str(out))],
        stylizer,
        Options(segment_frames=segment),
        address=address,
        force=True,
        progress=progress,
        finished=lambda source, out, result: came.append(result),
    )
    if isinstance(came[0], Exception):
        raise came[0]
    return came[0].seconds


def overhead(arguments, folder: Path) -> None:
    source, stylizer = real_clip(folder / "in.mp4", arguments.frames or 2400), Stylizer(device="cpu")
    started = time.monotonic()
    with cluster(cores()) as address:
        up = time.monotonic() - started
        by_ray(real_clip(folder / "short.mp4", 2 * SEGMENT), folder / "short-out.mp4", stylizer, address)
        alone, farm = [], []
        for _ in range(3):
            alone.append(stylize_video(source, folder / "alone.mp4", stylizer, force=True).seconds)
            farm.append(by_ray(source, folder / "ray.mp4", stylizer, address))
    ratios = [b / a for a, b in zip(alone, farm, strict=True)]
    table(
        f"Overhead of Ray on {cores()} cores, {arguments.frames or 2400} frames of 640x360, three rounds in turns",
        {
            "seconds until Ray is up": f"{up:.1f}",
            "seconds without Ray": ", ".join(f"{s:.1f}" for s in alone),
            "seconds with Ray": ", ".join(f"{s:.1f}" for s in farm),
            "ratio, median (least to most)": "{1:.2f} ({0:.2f} to {2:.2f})".format(*sorted(ratios)),
            "same packets": packets(folder / "alone.mp4", 0, "video") == packets(folder / "ray.mp4", 0, "video"),
        },
    )


def scaling(arguments, folder: Path) -> None:
    frames = arguments.frames or 2400
    source, stylizer = real_clip(folder / "in.mp4", frames), Stylizer(device="cpu")
    segments, seconds, busy, joining = frames / SEGMENT, {}, {}, {}
    for count in (1, 2):
        with cluster(*[1] * count, pinned=True) as address:
            by_ray(real_clip(folder / "short.mp4", count * SEGMENT), folder / "short-out.mp4", stylizer, address)
            reports, before = [], time.process_time()
            seconds[count] = by_ray(source, folder / "out.mp4", stylizer, address, progress=reports.append)
            busy[count] = (time.process_time() - before) / segments
            joining[count] = reports[-1].seconds - reports[-2].seconds  # the last two come before and behind it
    each = (seconds[2] - joining[2]) * 2 / segments  # seconds of one core, with its neighbor at work
    with VideoReader(source) as reader:
        started = time.monotonic()
        index = reader.index()
        reading = time.monotonic() - started
        started = time.monotonic()
        sent = Parcel.of(reader, index, SEGMENT - 8, 2 * SEGMENT).size
        pack = time.monotonic() - started
    back = (folder / "out.mp4").stat().st_size / segments
    film = 172_800  # two hours at 24 frames a second
    serial = (reading + joining[1]) * film / frames
    rows: dict[str, object] = {
        "seconds, 1 and 2 workers of one core": ", ".join(f"{seconds[n]:.1f}" for n in (1, 2)),
        "frames a second": ", ".join(f"{frames / seconds[n]:.1f}" for n in (1, 2)),
        "ratio": f"{seconds[1] / seconds[2]:.2f}",
        "a segment: seconds of a core; MB sent, MB back": f"{each:.2f}; {sent / 1e6:.2f}, {back / 1e6:.2f}",
        "its milliseconds of the driver: to pack; all else, beginning and joining included": f"{pack * 1000:.0f}; "
        f"{busy[1] * 1000:.0f}",
        "two hours of film: seconds to read the packets and to join": f"{serial:.1f}",
    }
    for machines in (1, 2, 10, 100):
        for seen, transfer in ((False, pack + busy[1] + (sent + back) / LINK), (True, busy[1] + back / LINK)):
            took, share = simulated(film // SEGMENT, 2 * machines, each, transfer)
            rows[f"two hours of film, {machines} machines of two cores{', which see it' if seen else ''}"] = (
                f"{(took + serial) / 60:.1f} minutes, {film / (took + serial):.0f} frames a second, "
                f"driver busy {share:.0%}"
            )
    table("Scaling: measured, and simulated from it", rows)


def simulated(segments: int, slots: int, work: float, transfer: float) -> tuple[float, float]:
    """(seconds until all segments are painted, share of them in which the driver transfers): it serves one segment
    after another, twice as many are under way as there are slots, and none is lost."""
    free, driver, end = [0.0] * slots, 0.0, 0.0
    heapq.heapify(free)
    for _ in range(segments):
        driver += transfer
        begin = max(heapq.heappop(free), driver)
        end = max(end, begin + work)
        heapq.heappush(free, begin + work)
    return end, driver / end


KINDS = "VmHWM", "RssAnon", "RssShmem"  # resident at most, of it anonymous, of it shared with Ray's object store
# Not ru_maxrss: that begins with the peak of the program that started this one, which has made the clip.
MEMORY = """
import json, sys, threading, time
from pathlib import Path
from rtstyle import Stylizer
from rtstyle.video import segment_work
from rtstyle.video.farm import stylize_videos
source, out, address, seen = sys.argv[1:5]
if seen == "unseen":
    segment_work.File.of = classmethod(lambda cls, path, content=None: cls(Path("/nowhere"), (0,)))
peaks = dict.fromkeys(sys.argv[5:], 0.0)
def watch():
    while True:
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in peaks:
                peaks[name] = max(peaks[name], int(rest.split()[0]) / 1024)
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
(result,) = stylize_videos([(source, out)], Stylizer(device="cpu", work_height=48), address=address)
assert not isinstance(result, Exception), result
print(json.dumps(peaks))
"""


def memory(arguments, folder: Path) -> None:
    """The clip that workers do not see is noise, so that parcels are large: 6 MB a segment."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 160, 3), np.uint8)
    rows = {}
    with cluster(cores()) as address:
        for seen, how in (("seen", {}), ("unseen", {"crf": 4, "draw": lambda i, h, w: noise[i % len(noise)]})):
            peaks = {}
            for minutes in (1, 10):
                source = make_clip(folder / f"{seen}-{minutes}.mkv", frames=1440 * minutes, tracks=1, **how)
                command = [sys.executable, "-c", MEMORY, str(source), str(folder / f"{minutes}-out.mkv")]
                done = subprocess.run([*command, address, seen, *KINDS], capture_output=True, check=True)
                peaks[minutes] = json.loads(done.stdout.splitlines()[-1])
                (folder / f"{minutes}-out.mkv").unlink()
                rows[f"{minutes} minutes, {source.stat().st_size / 1e6:.0f} MB {seen} by the workers"] = ", ".join(
                    f"{peaks[minutes][kind]:.0f}" for kind in KINDS
                )
            rows[f"ratios, {seen}"] = ", ".join(f"{peaks[10][kind] / max(1, peaks[1][kind]):.2f}" for kind in KINDS)
    table("MB of the driver at most: resident, of it anonymous, of it shared with Ray's object store; 160x96", rows)


def kills(arguments, folder: Path) -> None:
    count, stylizer = arguments.count or 20, Stylizer(device="cpu")
    source = real_clip(folder / "in.mp4", 1200)
    stylize_video(source, folder / "alone.mp4", stylizer, segment_frames=30)
    killed, over, chance = 0, threading.Event(), random.Random(3)

    def killer() -> None:
        nonlocal killed
        while killed < count and not over.is_set():
            time.sleep(0.2 + 0.8 * chance.random())
            if found := workers():
                killed += kill([chance.choice(found)])

    with cluster(1, 1) as address:
        thread = threading.Thread(target=killer)
        thread.start()
        try:
            by_ray(source, folder / "ray.mp4", stylizer, address, segment=30)
        finally:
            over.set()
            thread.join()
    same = all(
        packets(folder / "alone.mp4", 0, kind) == packets(folder / "ray.mp4", 0, kind) for kind in ("video", "audio")
    )
    table("SIGKILL of random workers in one job of 40 segments", {"kills": killed, "same packets": same})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"overhead": overhead, "scaling": scaling, "memory": memory, "kills": kills}
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="which [default: all]")
    parser.add_argument("--frames", type=int, help="of the clip of overhead and scaling [2400]")
    parser.add_argument("--count", type=int, help="kills [20]")
    arguments = parser.parse_args()
    print(f"{cores()} cores, PyAV {av.__version__}")
    for name in arguments.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](arguments, Path(folder))


if __name__ == "__main__":
    main()
