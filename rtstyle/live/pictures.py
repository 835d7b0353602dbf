"""Pictures as styles while the camera runs: a folder that is watched, and codes that go on learning."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from rtstyle.errors import InputError, RtstyleError
from rtstyle.gallery import encoder
from rtstyle.gallery.model_file import Style
from rtstyle.live.gatys_still import REASON, in_the_background
from rtstyle.live.styles import StyleChooser
from rtstyle.runtime.session import Code

SCAN_SECONDS = 0.5  # between two looks into the folder
POLISHED_AFTER = 1.0  # seconds for which a picture must have been painted before its code is polished
POLISH_FADE_SECONDS = 1.5
_Version: TypeAlias = tuple[Path, int, int]


@dataclasses.dataclass(frozen=True)
class Change:
    """What happened to a picture file: its new style, or None where it went away, or what is wrong with it."""

    path: Path
    style: Style | None = None
    problem: str = ""


class PictureFolder:
    """Watches a folder, in a thread of its own: `changes` since the last call. A file that is still being written is
    waited for, one that cannot be read is reported once. Raises InputError if there is no such folder."""

    def __init__(self, folder: Path, style_of: Callable[[Path], Style], *, seconds: float = SCAN_SECONDS):
        if not folder.is_dir():
            raise InputError(f"the folder of pictures {folder} does not exist")
        self._folder, self._style_of, self._seconds = folder, style_of, seconds
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pictures", daemon=True)
        self._thread.start()

    def changes(self) -> list[Change]:
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._changes.get_nowait())
        return found

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _watch(self) -> None:
        done: dict[Path, tuple[int, int]] = {}
        before = self._versions()  # what is there at the start is complete
        while not self._stop.is_set():
            now = self._versions()
            for path in done.keys() - now.keys():
                del done[path]
                self._changes.put(Change(path))
            for path, version in now.items():
                if done.get(path) == version or before.get(path) != version or self._stop.is_set():
                    continue
                done[path] = version
                try:
                    self._changes.put(Change(path, self._style_of(path)))
                except RtstyleError as error:
                    self._changes.put(Change(path, problem=str(error)))
            before = now
            self._stop.wait(self._seconds)

    def _versions(self) -> dict[Path, tuple[int, int]]:
        """The time and size of every picture, sorted by name."""
        versions = {}
        with contextlib.suppress(OSError):
            for path in sorted(self._folder.iterdir()):
                if encoder.is_picture(path) and not path.name.startswith("."):
                    with contextlib.suppress(OSError):
                        status = path.stat()
                        versions[path] = (status.st_mtime_ns, status.st_size)
        return versions


class Polisher:
    """Has the code of one picture go on learning for the body of `model`, in a process of its own at low priority
    by a `command` such as that of `rtstyle.gallery.polish`. Where that is not possible, `problem` says why and nothing
    more happens."""

    def __init__(self, model: Path, command: Sequence[str]):
        self._model, self._command = model, command
        self.picture: Path | None = None
        self.step = 0
        self.problem = ""
        self._process: subprocess.Popen[str] | None = None
        self._version: _Version | None = None  # of the picture
        self._news: tuple[_Version, int, Code] | None = None
        self._finished: dict[_Version, int] = {}  # pictures that need no more steps, and how many they had

    def follow(self, picture: Path | None) -> None:
        """Polish this picture from now on, or none."""
        version = _version(picture) if picture else None
        if (picture, version) == (self.picture, self._version) or self.problem:
            return
        self.close()
        self.picture, self._version = picture, version
        self.step = self._finished.get(version, 0) if version else 0
        if picture is None or version is None or self.step:
            return
        self._process = subprocess.Popen(
            [*self._command, str(picture), str(self._model)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **in_the_background(),
        )
        threading.Thread(target=self._listen, args=(self._process, version), name="polish", daemon=True).start()

    def news(self) -> tuple[Path, Code] | None:
        """The newest code of the picture, once."""
        news, self._news = self._news, None
        if news is None or self.picture is None or news[0] != self._version:
            return None
        self.step = news[1]
        return self.picture, news[2]

    def close(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
        self.picture = self._version = None

    def _listen(self, process: subprocess.Popen[str], version: _Version) -> None:
        step = 0
        for line in process.stdout or ():
            with contextlib.suppress(ValueError, KeyError):
                message = json.loads(line)
                code = np.frombuffer(base64.b64decode(message["code"]), "<f4").astype(np.float32)
                step = int(message["step"])
                self._news = version, step, code
        said = (process.stderr.read() if process.stderr else "").strip().splitlines()
        ended = process.wait()
        if ended == 0 and step:
            self._finished[version] = step
        if ended and process is self._process:  # and was not killed
            reasons = [line.removeprefix(REASON) for line in said if line.startswith(REASON)]
            self.problem = f"the style is not polished: {reasons[-1] if reasons else 'its process ended'}"


def _version(picture: Path) -> _Version | None:
    """What tells a picture from a later one in the same file; None where it is gone."""
    try:
        status = picture.stat()
    except OSError:
        return None
    return picture, status.st_mtime_ns, status.st_size


class CodeSource(Protocol):
    """What `Pictures` asks of a `Polisher`."""

    step: int
    problem: str

    def follow(self, picture: Path | None) -> None: ...
    def news(self) -> tuple[Path, Code] | None: ...
    def close(self) -> None: ...


class Pictures:
    """Brings pictures among the styles that can be chosen: those of a watched `folder`, and better codes for the one
    that is painted, from `polisher`. `files` are the pictures of styles by name, at first those that are `known`."""

    def __init__(
        self,
        styles: StyleChooser,
        *,
        folder: PictureFolder | None = None,
        polisher: CodeSource | None = None,
        known: Mapping[str, Path] | None = None,
    ):
        self._styles, self._folder, self._polisher = styles, folder, polisher
        self.files = dict(known or {})
        self.outdated: set[str] = set()  # styles whose thumbnails are those of earlier pictures
        self._painted_since: tuple[str, float] = ("", 0.0)
        self._reported = ""

    @property
    def status(self) -> str:
        """Whether a code is being polished, in words for the display."""
        return f"polished, step {self._polisher.step}" if self._polisher and self._polisher.step else ""

    def follow(self, now: float) -> str | None:
        """Take what has happened since the last call: what there is to say."""
        said = [self._take(change, now) for change in (self._folder.changes() if self._folder else ())]
        if self._polisher:
            said.append(self._polish(self._polisher, now))
        return next((words for words in reversed(said) if words), None)

    def _take(self, change: Change, now: float) -> str:
        name = next((name for name, path in self.files.items() if path == change.path), None)
        if change.problem:
            return change.problem
        if change.style is None:
            if name:
                self.outdated.add(name)
                del self.files[name]
                self._styles.remove(name)
            return f"{change.path.name} is gone" if name else ""
        style = change.style
        if name is not None:
            style = dataclasses.replace(style, name=name)
        elif any(known.name == style.name for known in self._styles.styles):
            style = dataclasses.replace(style, name=change.path.name.lower())  # two files of one name
        self.outdated.add(style.name)
        self.files[style.name] = change.path
        self._styles.add(style, now)
        return f"new style: {style.name}" if name is None else f"{style.name} has changed"

    def _polish(self, polisher: CodeSource, now: float) -> str:
        index, _, share = self._styles.position
        name = self._styles.styles[index].name if index >= 0 and not share else ""
        if name != self._painted_since[0]:
            self._painted_since = name, now
            polisher.follow(None)
        elif now - self._painted_since[1] >= POLISHED_AFTER:
            polisher.follow(self.files.get(name))
        if news := polisher.news():
            path, code = news
            if self.files.get(name) == path:
                better = dataclasses.replace(self._styles.styles[index], code=code)
                self._styles.add(better, now, POLISH_FADE_SECONDS)
        if polisher.problem and polisher.problem != self._reported:
            self._reported = polisher.problem
            return polisher.problem
        return ""

    def close(self) -> None:
        if self._folder:
            self._folder.close()
        if self._polisher:
            self._polisher.close()
