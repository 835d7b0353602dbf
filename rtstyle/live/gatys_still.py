"""Gatys mode beside the live window: `rtstyle gatys` in a process of its own, so that the live picture never stops."""

from __future__ import annotations

import contextlib
import importlib.resources
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtstyle.errors import InputError, RtstyleError, install
from rtstyle.files import partial_name
from rtstyle.media.images import SUFFIXES, Picture, write_image

SIZE = 512  # long side of a still, pixels
STEPS = 150
NICENESS = 5  # the live picture comes first, but this must get on even if that takes all it can get
REASON = "rtstyle: "  # how the last line of a process begins, if something went wrong
PICTURE = "the style's picture (start rtstyle cam --gatys-style FILE or FOLDER)"
PATIENCE = 20.0  # seconds for an interrupted process to save what it has


class Stills:
    """Paints one still at a time in Gatys mode.

    `pictures` is the picture that all styles are painted with, or a folder of them by the names of the styles; None:
    there are none, and `begin` says what to do about it. `options` are further ones of `rtstyle gatys`, which
    `command` starts and which runs as `process` while a still is being painted; it needs the packages `needs`.
    """

    def __init__(
        self,
        pictures: str | os.PathLike[str] | None = None,
        *,
        size: int = SIZE,
        steps: int = STEPS,
        options: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "rtstyle", "gatys"),
        needs: Sequence[str] = ("torch", "safetensors", "matplotlib"),
    ):
        self.pictures = Path(pictures) if pictures is not None else None
        if self.pictures and not self.pictures.exists():
            raise InputError(f"{self.pictures} does not exist: `gatys_style` takes a picture or a folder of them")
        self._command, self._needs = command, needs
        self._options = ["--size", str(size), "--steps", str(steps), "--progress", "json", *map(str, options)]
        self.process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._out = self._kept = Path()
        self._reason = ""
        self._progress: dict[str, Any] = {}

    @property
    def problem(self) -> str | None:
        """Everything that is missing for Gatys mode here, as a sentence; None if nothing is."""
        missing = [name for name in self._needs if importlib.util.find_spec(name) is None]
        remedies = [f"{', '.join(missing)} ({install('train')})"] if missing else []
        if self.pictures is None:
            remedies.append(PICTURE)
        return f"Gatys mode needs {' and '.join(remedies)}" if remedies else None

    @property
    def busy(self) -> bool:
        return self.process is not None

    @property
    def status(self) -> str:
        """How far it is, in a few words; empty if nothing is being painted."""
        if not self.busy:
            return ""
        progress = self._progress
        if not progress:
            return "Gatys: starting"
        share = progress["done"] / progress["total"]
        left = progress["seconds"] / share * (1 - share)
        return f"Gatys: {share:.0%}, {left // 60:.0f}:{left % 60:02.0f} left"

    def begin(self, frame: np.ndarray, styles: Sequence[tuple[str, float]], out: Path) -> None:
        """Start to paint `frame`, uint8 RGB [H, W, 3], in a mix of styles (name, weight). Raises RtstyleError if there
        is no picture of a style, or something is being painted already."""
        if self.busy:
            raise RtstyleError("a still is being painted already")
        if self.problem:
            raise InputError(self.problem)
        pictures = self.pictures_of(styles)
        folder = tempfile.TemporaryDirectory(prefix="rtstyle-")
        photograph = Path(folder.name) / "photograph.png"
        write_image(photograph, Picture(frame))
        command = [*self._command, str(photograph), *pictures, str(out), *self._options]
        threads = max(1, (os.cpu_count() or 2) // 2)
        self._out, self._kept, self._reason, self._progress = out, partial_name(out), "", {}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            **in_the_background(),
        )
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.process.pid, NICENESS)
        self._reader = threading.Thread(target=self._listen, args=(self.process, folder), name="still", daemon=True)
        self._reader.start()

    def pictures_of(self, styles: Sequence[tuple[str, float]]) -> list[str]:
        """The pictures of styles (name, weight) as the command line takes them. Raises RtstyleError if one is
        missing."""
        if self.pictures is None:
            raise InputError(f"Gatys mode needs {PICTURE}")
        if self.pictures.is_file():
            return [str(self.pictures)]
        return [f"{style_picture(self.pictures, name)}:{weight:g}" for name, weight in styles]

    def _listen(self, process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
        """What the process says: an object a step, and sentences."""
        with folder:
            for line in process.stderr or ():
                try:
                    self._progress = json.loads(line)
                except ValueError:
                    if line.startswith(REASON):
                        self._reason = line.removeprefix(REASON).strip()
            process.wait()

    def news(self) -> tuple[str, Path | None] | None:
        """Once, when a still has ended: what to say, and the picture that was saved, if one was."""
        if self.process is None or (self._reader and self._reader.is_alive()):
            return None
        code, self.process = self.process.returncode, None
        path = next((path for path in (self._out, self._kept) if path.exists()), None)
        if code == 0:
            return f"saved {path}", path
        why = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return self._reason or f"Gatys mode {why}", path

    def cancel(self) -> None:
        """Ask for an end; `news` tells of it, and of the picture so far: beside the one asked for, called partial."""
        if self.process:
            _interrupt(self.process)

    def finish(self) -> tuple[str, Path | None] | None:
        """End what is going on and wait for it: the last news."""
        self.cancel()
        if self.process and self._reader:
            self._reader.join(PATIENCE)
            if self._reader.is_alive():
                self.process.kill()
                self._reader.join()
        return self.news()


def in_the_background() -> dict[str, Any]:
    """How `Popen` starts what works beside the live window: Ctrl-C in the terminal is for the window, which ends the
    other process by itself, in its own time."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    return {"start_new_session": True}


def _interrupt(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            process.send_signal(signal.SIGINT)


def style_picture(folder: Path, name: str) -> Path:
    """The picture of a style in a folder: called as the style is, or as the bundled recipe calls it. Raises
    RtstyleError."""
    names = {name.lower()}
    recipe = tomllib.loads((importlib.resources.files("rtstyle.export.recipes") / "live.toml").read_text("utf-8"))
    names |= {Path(style["file"]).stem.lower() for style in recipe["style"] if style["name"] == name}
    for path in sorted(folder.iterdir()):
        if path.stem.lower() in names and path.is_file() and path.suffix.lower() in SUFFIXES:
            return path
    raise InputError(f"{folder} holds no picture of {name}: call it {name}.jpg")
