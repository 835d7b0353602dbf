"""Workers that take turns, and what came of it as Markdown."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
from contenders import BASE, CONTENDERS, HOMES, ROOT, Task, slug
from johnson import float_johnson, spread_colours, transformer_net

FRAMES = 8
MAX_DISTANCE = (
    2.0  # mean difference in grey levels of what must be the same picture: less precise arithmetic may differ
)
PREPARING = 900  # seconds that loading, or compiling, may take


class Unavailable(Exception):
    """A contender that cannot take part, and why."""


def python_of(home: Path) -> Path:
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment(name: str | None, install: bool) -> Path:
    """Python of a contender's environment, made on first use. Raises Unavailable; what failed is not tried again."""
    if name is None:
        return Path(sys.executable)
    if name in _failed:
        raise _failed[name]
    try:
        return _installed(*HOMES[name], install)
    except Unavailable as reason:
        _failed[name] = reason
        raise


_failed: dict[str, Unavailable] = {}


def _installed(home: Path, package: str, modules: str, install: bool) -> Path:
    python = python_of(home)
    if python.exists() and subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0:
        return python
    if not install:
        raise Unavailable("it is not installed, and --no-install was given")
    print(f"installing {package}", file=sys.stderr)
    home.parent.mkdir(parents=True, exist_ok=True)
    venv.create(home, with_pip=True)
    done = subprocess.run([python, "-m", "pip", "install", "-q", package], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"it cannot be installed: {last_line(done.stderr)}")
    return python


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


class Worker:
    """A contender's process; stopped whenever it is not its turn, where the system can do that."""

    def __init__(self, name: str, python: Path, task: Task):
        self.name, self._log = name, tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed by `end`
        command = [python, Path(__file__).parent, "--worker", name]
        extra = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=os.environ | extra
        )
        try:
            self.versions = self._ask(json.dumps(dataclasses.asdict(task)), PREPARING)["versions"]
        except BaseException:
            self.end()
            raise

    def times(self, seconds: float) -> list[float]:
        """Milliseconds of each frame of one turn. Raises Unavailable."""
        self._signal("SIGCONT")
        return self._ask(str(seconds), 60 + 60 * seconds)["times"]

    def _ask(self, line: str, limit: float) -> dict:
        with contextlib.suppress(BrokenPipeError):  # why it ended is read below
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        reply = ""
        if os.name == "nt" or select.select([self._process.stdout], [], [], limit)[0]:
            reply = self._process.stdout.readline()
        elif self._process.poll() is None:
            raise Unavailable(f"no answer within {limit:.0f} s")
        if not reply:
            self._process.wait(10)
            self._log.seek(0)
            raise Unavailable(f"its process ended ({self._process.returncode}): {last_line(self._log.read())}")
        answer = json.loads(reply)
        if "failed" in answer:
            raise Unavailable(answer["failed"])
        self._signal("SIGSTOP")
        return answer

    def _signal(self, name: str) -> None:
        if hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def write_models(folder: Path, sizes: list[tuple[int, int]]) -> dict[str, str]:
    """The model files that workers need. Returns {contender's first word or name: why it has none}."""
    from rtstyle.gallery.catalog import model_path

    shutil.copy(model_path("live"), folder / "live.onnx")
    style = np.random.default_rng(1).integers(0, 255, (16, 16, 3), np.uint8)
    np.save(folder / "style.npy", style.repeat(24, 0).repeat(24, 1))
    if (ROOT / "pretrained" / "studio.onnx").exists():
        shutil.copy(ROOT / "pretrained" / "studio.onnx", folder / "studio.onnx")
    try:
        import onnx
        import torch
    except ImportError as error:
        why = f"its model is made with torch and onnx ({error}): pip install 'rtstyle[train]'"
        return {"Johnson": why} | ({} if (folder / "studio.onnx").exists() else {"rtstyle studio": why})
    from rtstyle.export import networks
    from rtstyle.export.to_onnx import write_onnx

    torch.manual_seed(0)
    if not (folder / "studio.onnx").exists():
        info = {"styles": [{"name": "random"}], "reference_height": 360, "training": {}}
        write_onnx(networks.build("studio"), info, folder / "studio.onnx")
    net = transformer_net().eval()
    spread_colours(net)
    torch.save(net.state_dict(), folder / "johnson.pth")
    onnx.save(float_johnson(folder / "johnson.pth", None), folder / "johnson.onnx")
    for size in sizes:
        onnx.save(float_johnson(folder / "johnson.pth", size), folder / "johnson-{}x{}.onnx".format(*size))
    return {}


def check(name: str, painted: dict[str, np.ndarray], frame: np.ndarray) -> str:
    """What is told of a contender's picture of a frame. Raises Unavailable if it is none."""
    picture = painted[name]
    if picture.dtype != np.uint8 or picture.shape != frame.shape:
        raise Unavailable(f"its picture is {picture.dtype} {list(picture.shape)}, expected uint8 {list(frame.shape)}")
    change = np.abs(picture.astype(int) - frame).mean()
    if picture.std() < 10 or change < 2:
        raise Unavailable(f"its picture is none: standard deviation {picture.std():.1f}, {change:.1f} from the frame")
    other = CONTENDERS[name].same_as
    if other not in painted:
        return "a picture"
    difference = np.abs(picture.astype(int) - painted[other])
    if difference.mean() > MAX_DISTANCE:
        raise Unavailable(f"its picture is {difference.mean():.1f} grey levels from that of {other}")
    return f"that of {other}, {difference.mean():.1f} grey levels off, {difference.max()} at most"


class Table:
    """Contenders on the same frames: workers are started one after the other, then take turns."""

    def __init__(self, arguments: argparse.Namespace, models: Path, lacking: dict[str, str]):
        self.arguments, self.models, self.lacking = arguments, models, lacking
        self.medians: dict[str, list[float]] = {}
        self.versions: dict[str, str] = {}
        self.checked: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def run(self, size: tuple[int, int], work_height: int | None = None, abreast: bool = False) -> None:
        """Measure all that were asked for at `size` (width, height)."""
        from rtstyle.diagnose.bench import Scene

        scene, frames = Scene(*size), self.models / "frames.npy"
        np.save(frames, np.stack([scene[i] for i in range(FRAMES)]))
        task = Task(str(frames), str(self.models), self.arguments.threads, work_height, abreast)
        workers: dict[str, Worker] = {}
        try:
            self._start(workers, task)
            for number in range(self.arguments.rounds):
                for name in list(workers) if number % 2 == 0 else list(workers)[::-1]:
                    self._turn(workers, name)
        finally:
            for worker in workers.values():
                worker.end()

    def _start(self, workers: dict[str, Worker], task: Task) -> None:
        painted: dict[str, np.ndarray] = {}
        frame = np.load(task.frames)[0]
        for name, contender in CONTENDERS.items():
            able = (contender.works_small or not task.work_height) and (contender.abreast or not task.abreast)
            if not (able and chosen(name, self.arguments.only)):
                continue
            print(f"starting {name}", file=sys.stderr)
            try:
                for start, why in self.lacking.items():
                    if name.startswith(start):
                        raise Unavailable(why)
                python = environment(contender.home, self.arguments.install)
                workers[name] = worker = Worker(name, python, task)
                painted[name] = np.load(self.models / f"{slug(name)}.npy")
                self._keep(name, painted[name], task)
                self.checked[name] = check(name, painted, frame)
                self.versions[name] = worker.versions
                self.medians[name] = []
            except Unavailable as reason:
                self._drop(workers, name, reason)

    def _turn(self, workers: dict[str, Worker], name: str) -> None:
        try:
            self.medians[name].append(statistics.median(workers[name].times(self.arguments.seconds)))
        except Unavailable as reason:
            del self.medians[name]
            self._drop(workers, name, reason)

    def _drop(self, workers: dict[str, Worker], name: str, reason: Unavailable) -> None:
        self.missing[name] = str(reason)
        if name in workers:
            workers.pop(name).end()

    def _keep(self, name: str, picture: np.ndarray, task: Task) -> None:
        if self.arguments.pictures:
            from PIL import Image

            height, width = picture.shape[:2]
            how = "-abreast" if task.abreast else f"-at-{task.work_height}" if task.work_height else ""
            Image.fromarray(picture).save(Path(self.arguments.pictures) / f"{slug(name)}-{width}x{height}{how}.png")

    def print(self, title: str) -> None:
        print_table(
            title, self.medians, BASE, {name: [self.versions[name], self.checked[name]] for name in self.medians}
        )
        print_missing(self.missing)


def chosen(name: str, words: list[str] | None) -> bool:
    """Whether a contender was asked for; what ratios refer to always is."""
    return name == BASE or not words or any(word.lower() in name.lower() for word in words)


def print_table(title: str, medians: dict[str, list[float]], base: str, notes: dict[str, list[str]]) -> None:
    """Ratios first. `medians`: milliseconds a frame of each round."""
    print(f"\n### {title}\n")
    print(f"| time, {base} = 1 | contender | ms a frame | lowest and highest round | versions | its picture |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rounds in medians.items():
        ratio = "-"
        if base in medians:
            ratio = f"{statistics.median(a / b for a, b in zip(rounds, medians[base], strict=True)):.2f}"
        span = f"{min(rounds):.1f} to {max(rounds):.1f}"
        print(f"| {ratio} | {name} | {statistics.median(rounds):.1f} | {span} | {' | '.join(notes[name])} |")
    sys.stdout.flush()


def print_missing(missing: dict[str, str]) -> None:
    if missing:
        print("\nNot measured:\n")
    for name, reason in missing.items():
        print(f"- {name}: {reason}")
    sys.stdout.flush()
