"""Damaged clips, and jobs that are killed, interrupted, or run out of room."""

from __future__ import annotations

import random
import re
import shutil
import signal
from pathlib import Path

from bench import BUG_MARKS, Bench, Ended, Runs, Verdict, finished, judge, names_in
from clips import RATE, clips, is_video, make_clip, mutate, packets, scene
from models import plain_model
from pictures import is_picture
from PIL import Image

# when signals arrive: seconds after the start, or after the first file that is written
MOMENTS = ((0.2, "the start"), (0.5, "the start"), (0.0, "a file"), (0.3, "a file"), (1.0, "a file"))
VIDEO = ["--device", "cpu", "--work-height", "32"]


def without_painting(bench: Bench) -> list[str]:
    """Options for runs that are about files: a net that does nothing takes a third of the time."""
    path = bench.folder / "plain.onnx"
    path.write_bytes(plain_model())
    return [*VIDEO, "--model", str(path)]


def mutants(bench: Bench, count: int) -> Runs:
    originals, options = clips(bench.room("clips")), without_painting(bench)
    for number in range(count):
        name = list(originals)[number % len(originals)]
        chance = random.Random(f"{bench.seed} {number}")

        def one(name=name, number=number, chance=chance) -> Verdict:
            where = bench.room(f"mutant{number}")
            (where / name).write_bytes(mutate(originals[name], chance))
            ended = bench.run_forked(["video", name, "out.mkv", *options], where)
            found = names_in(where, {name})
            how, fault = judge(ended, results={"out.mkv"}, found=found, whole=lambda: is_video(where / "out.mkv"))
            return finished(where, how, fault)

        yield f"{name} {number}", one


def kills(bench: Bench, count: int) -> Runs:
    folder = bench.room("original")
    make_clip(folder / "in.mp4", "libx264", "aac", frames=40 * RATE)
    options = without_painting(bench)
    whole = bench.run_forked(["video", "in.mp4", "out.mkv", *options], folder)
    if whole.code != 0:
        raise SystemExit(f"the undisturbed run fails: {whole.stderr}")
    expected = packets(folder / "out.mkv")
    for number in range(count):
        moment = random.Random(f"{bench.seed} kill {number}").uniform(0.2, whole.seconds)

        def one(number=number, moment=moment) -> Verdict:
            where = bench.room(f"kill{number}")
            shutil.copy(folder / "in.mp4", where)
            bench.run_forked(["video", "in.mp4", "out.mkv", *options], where, kill_after=moment)
            finished_before = (where / "out.mkv").exists()
            command = ["video", "in.mp4", "out.mkv", *options, "--resume", *(["--force"] if finished_before else [])]
            ended = bench.run_forked(command, where)
            same = ended.code == 0 and packets(where / "out.mkv") == expected
            _, fault = judge(ended, results={"out.mkv"}, found=names_in(where, {"in.mp4"}), whole=lambda: same)
            return finished(where, "resumed", fault)

        yield f"after {moment:.2f} s", one


def signals(bench: Bench) -> Runs:
    folder = bench.room("sources")
    make_clip(folder / "in.mp4", "libx264", "aac", frames=100 * RATE)
    pictures = folder / "in"
    pictures.mkdir()
    for i in range(40):
        Image.fromarray(scene(i)).resize((960, 640)).save(pictures / f"{i}.png")
    besides = {"in.mp4", "in"}
    jobs = {
        "video": ["video", "in.mp4", "out.mkv", *VIDEO],
        "cam": ["cam", "--source", "in.mp4", "--headless", "--loop", "--record", "out.mkv", *VIDEO],
        "image": ["image", "in", "out", "--device", "cpu"],
    }
    for job, command in jobs.items():
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for moment, since in MOMENTS:

                def one(job=job, command=command, kind=kind, moment=moment, since=since) -> Verdict:
                    where = bench.room(f"{job}_{kind.name}_{moment}")
                    (where / "in.mp4").symlink_to(folder / "in.mp4")
                    (where / "in").symlink_to(pictures)
                    begun = (lambda: True) if since == "the start" else (lambda: bool(names_in(where, besides)))
                    ended = bench.run(command, where, send=(kind, moment), begun=begun, limit=30)
                    how = "with something written" if names_in(where, besides) else "with nothing"
                    return finished(where, how, interrupted_fault(ended, where, job))

                yield f"{job} {kind.name} {moment} s after {since}", one


def interrupted_fault(ended: Ended, where: Path, job: str) -> str:
    """What is wrong with a run that a signal ended: late, torn, or not playable."""
    if ended.code is None or ended.seconds > 10:
        return f"ended {ended.seconds:.0f} s after the signal"
    marks = [mark for mark in BUG_MARKS if mark in ended.stderr]
    if marks and re.search(r'File ".*/rtstyle/', ended.stderr):  # not Python's own start
        return f"says {marks[0]!r}"
    out = where / "out.mkv"
    if job == "cam" and (left := names_in(where, {"in.mp4", "in"})) and not (left == {out.name} and is_video(out)):
        return f"the recording is not whole: {', '.join(sorted(left))}"
    if job == "video" and ended.code == 0 and not is_video(out):
        return "exit code 0 without a result"
    if torn := [path.name for path in where.glob("*.partial*.mkv") if not is_video(path)]:
        return f"what is kept is no video: {', '.join(sorted(torn))}"
    if job == "image":
        torn = [path.name for path in (where / "out").glob("*") if not is_picture(path)]
        if torn:
            return f"left {', '.join(sorted(torn))}"
    return ""


def disks(bench: Bench) -> Runs:
    folder = bench.room("large")
    make_clip(folder / "in.mp4", "libx264", "aac", frames=8 * RATE)  # cam takes as long as it lasts
    Image.fromarray(scene(1)).resize((960, 640)).save(folder / "in.png")
    commands = {
        "video": (["video", "in.mp4", "out.mkv", *VIDEO], {"out.mkv"}),
        "cam": (["cam", "--source", "in.mp4", "--headless", "--record", "out.mkv", *VIDEO], {"out.mkv"}),
        "image": (["image", "in.png", "out.png", "--device", "cpu"], {"out.png"}),
        "sheet": (["styles", "--sheet", "out.png"], {"out.png"}),
    }
    for job, (command, results) in commands.items():
        for limit in (0, 4096, 65536):

            def one(job=job, command=command, results=results, limit=limit) -> Verdict:
                where = bench.room(f"disk_{job}_{limit}")
                for name in ("in.mp4", "in.png"):
                    (where / name).symlink_to(folder / name)
                ended = bench.run(command, where, file_limit=limit)
                found = names_in(where, {"in.mp4", "in.png"})
                kept = {name for name in found if "partial" in name} | (results if job == "cam" else set())
                how, fault = judge(ended, results=results, found=found - (kept - results), whole=lambda: True)
                if ended.code != 0 and job == "cam" and fault.startswith("left"):
                    fault = ""  # a recording is cut to what fits
                return finished(where, how, fault)

            yield f"{job} within {limit} bytes", one
