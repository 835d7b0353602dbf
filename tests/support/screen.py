"""A virtual screen with a window manager, and programs whose window is looked at, typed into and closed there."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import cv2
import mss
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtstyle.live.overlay import letters_on

MISSING = [tool for tool in ("Xvfb", "openbox", "xdotool") if not shutil.which(tool)]
SIZE = 1024, 768
DEADLINE = 20.0  # seconds that anything may take on a slow machine

MANAGER = """<?xml version="1.0"?>
<openbox_config xmlns="http://openbox.org/3.4/rc">
  <keyboard><keybind key="A-F4"><action name="Close"/></keybind></keyboard>
</openbox_config>
"""


def wait_until(condition, what, seconds=DEADLINE):
    """Wait for a condition to hold and return its value; `what` (words, or a function giving them) is for people."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what() if callable(what) else what}")
        time.sleep(0.02)
    return value


class Screen:
    """Xvfb with openbox on it; programs started with `environment` open their windows there."""

    def __init__(self, folder, size=SIZE):
        config = folder / "openbox.xml"
        config.write_text(MANAGER)
        command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{size[0]}x{size[1]}x24", "-noreset"]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.display = f":{int(self._server.stdout.readline())}"
        # a gallery of its own: the user's styles would come after the bundled ones
        self.environment = {**os.environ, "DISPLAY": self.display, "XDG_DATA_HOME": str(folder / "no styles")}
        self.environment["RTSTYLE_CONFIG"] = str(folder / "rtstyle.toml")
        self.environment.pop("WAYLAND_DISPLAY", None)
        self._manager = subprocess.Popen(
            ["openbox", "--config-file", config], env=self.environment, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: self._ask("get_num_desktops").returncode == 0, "the window manager has started")
        self._eyes = mss.MSS(display=self.display)

    def _ask(self, *arguments):
        command = ["xdotool", *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=DEADLINE)

    def xdotool(self, *arguments):
        """What xdotool prints, as words."""
        done = self._ask(*arguments)
        assert done.returncode == 0, f"xdotool {arguments}: {done.stderr}"
        return done.stdout.split()

    def find(self, process):
        """The number of a process' visible window, or None."""
        result = self._ask("search", "--all", "--onlyvisible", "--pid", process, "--name", "^rtstyle$").stdout.split()
        return result[0] if result else None

    def look(self, left, top, width, height):
        """What is on this part of the screen, uint8 RGB."""
        area = {"left": left, "top": top, "width": width, "height": height}
        return np.ascontiguousarray(np.array(self._eyes.grab(area))[..., 2::-1])

    def close(self):
        self._eyes.close()
        for process in (self._manager, self._server):
            process.terminate()
            process.wait(timeout=DEADLINE)
        self._server.stdout.close()


class App:
    """`rtstyle cam` with these arguments, or a Python program with a window, run in `folder` on a screen."""

    def __init__(self, screen, *arguments, folder, program=None):
        self.screen, self.folder = screen, folder
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        how = ["-m", "rtstyle", "cam"] if program is None else ["-c", program]
        self.process = subprocess.Popen(
            [sys.executable, *how, *map(str, arguments)],
            cwd=folder,
            env=screen.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
        )

    @property
    def output(self):
        return self._read(self._output)

    @property
    def errors(self):
        return self._read(self._errors)

    @staticmethod
    def _read(file):
        return os.pread(file.fileno(), 1_000_000, 0).decode()

    @property
    def alive(self):
        return self.process.poll() is None

    @functools.cached_property
    def window(self):
        """The number of the window; waits for it and brings it to the front."""

        def find():
            assert self.alive, f"it ended with {self.process.returncode}: {self.errors}"
            return self.screen.find(self.process.pid)

        window = wait_until(find, lambda: f"the window opens; {self.errors}")
        self.screen.xdotool("windowactivate", "--sync", window)
        return window

    def activate(self):
        self.screen.xdotool("windowactivate", "--sync", self.window)

    def press(self, *keys):
        for key in keys:
            self.screen.xdotool("key", key)

    def point(self, x, y, *then):
        """Move the mouse to a place in the window, then do something with it, such as mousedown 1."""
        self.screen.xdotool("mousemove", "--window", self.window, x, y, *then)

    def resize(self, width, height):
        self.screen.xdotool("windowsize", self.window, width, height)

    def area(self):
        """Left, top, width and height of the window on the screen, without its frame."""
        # xdotool's getwindowgeometry gives a wrong place below a window manager; the mouse is where it was put
        commands = ("mousemove", "--window", self.window, 0, 0, "getmouselocation", "--shell", "getwindowgeometry")
        lines = self.screen.xdotool(*commands, "--shell", self.window)
        values = [dict(word.split("=") for word in half) for half in (lines[:4], lines[4:])]
        return int(values[0]["X"]), int(values[0]["Y"]), int(values[1]["WIDTH"]), int(values[1]["HEIGHT"])

    def wait_for_size(self, width, height):
        """Wait until the window has this size and look there from now on."""
        wait_until(lambda: self.area()[2:] == (width, height), lambda: f"{width}x{height}, it is {self.area()}")
        self.place = self.area()

    def look(self, part=None):
        """What is in the window, or in this part of it (left, top, width, height), uint8 RGB."""
        left, top, *size = self.place
        if part:
            left, top, *size = left + part[0], top + part[1], *part[2:]
        return self.screen.look(left, top, *size)

    def wait_for_picture(self, expected, tolerance=6, rows=slice(None)):
        """Wait until the window shows this picture in these rows: no pixel is off by more grey levels."""

        def off():
            return difference(self.look()[rows], expected[rows])

        wait_until(lambda: off() <= tolerance, lambda: f"the picture; it is off by {off()}; {self.errors}")

    def reads(self, words, letters=None):
        return reads(self.look(), words, letters)

    def wait_for_words(self, words, letters=None):
        wait_until(lambda: self.reads(words, letters), lambda: f"the window says {words!r}; {self.errors}")

    def wait_without_words(self, words, letters=None):
        wait_until(lambda: not self.reads(words, letters), f"the window says {words!r} no more")

    def send(self, number):
        os.kill(self.process.pid, number)

    def wait(self):
        """The exit code, once it ended."""
        return self.process.wait(timeout=DEADLINE)

    def close(self):
        if self.alive:
            self.send(signal.SIGKILL)
        self.process.wait(timeout=DEADLINE)
        self.screen.xdotool("mouseup", 1)  # a test that failed in a drag leaves the button pressed for the next window
        self._output.close()
        self._errors.close()


def difference(a, b):
    """The largest difference of two pictures, in grey levels; 255 for different shapes."""
    return int(np.abs(a.astype(int) - b).max()) if a.shape == b.shape else 255


@functools.lru_cache
def _ink(words, letters):
    """Words in the display's letters: how much of each pixel they cover, 0 to 255."""
    font = ImageFont.load_default(letters)
    picture = Image.new("L", (int(font.getlength(words)) + 2, 2 * letters))
    ImageDraw.Draw(picture).text((0, 0), words, fill=255, font=font)
    ink = np.array(picture)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def reads(picture, words, letters=None):
    """Whether words are written somewhere on uint8 RGB, as rtstyle.live.overlay writes them: light letters on what
    shines through with 40 %. `letters` is their height, as large as `overlay.write` starts with by default."""
    height, width = picture.shape[:2]
    ink = _ink(words, letters or letters_on(height, width))
    if ink.shape[0] > height or ink.shape[1] > width:
        return False
    light = cv2.subtract(np.ascontiguousarray(picture[..., 0]), 102)
    likeness = cv2.matchTemplate(light, cv2.subtract(ink, 51), cv2.TM_CCOEFF_NORMED)
    return bool(np.nan_to_num(likeness, posinf=0).max() > 0.95)
