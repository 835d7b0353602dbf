"""The frame loop: the newest frame wins, keys choose, ends are clean. And a real window, where there is a screen."""

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from media_files import picture

from rtstyle import RtstyleError, live, styles
from rtstyle.media.camera import NewestFrame

pytest_plugins = ["runtime_fixtures"]

NAMES = [style.name for style in styles()]


class Camera:
    """Frames of one grey level each, its number, every `pause` seconds; ends after `count`."""

    def __init__(self, pause=0.002, count=None):
        self.pause, self.count, self.number, self.released = pause, count, 0, 0

    def read(self):
        time.sleep(self.pause)
        if self.count is not None and self.number >= self.count:
            return False, None
        self.number += 1
        return True, np.full((24, 32, 3), self.number % 256, np.uint8)

    def release(self):
        self.released += 1


def capture_threads():
    return [thread for thread in threading.enumerate() if thread.name == "capture"]


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    assert capture_threads() == []


def show_with_keys(keys, stylizer, shown):
    """A window that presses these keys, one a frame, then q; notes the style of each frame."""
    keys = iter([*keys, "q"])

    def show(rgb):
        assert rgb.dtype == np.uint8 and rgb.shape == (24, 32, 3)
        shown.append(stylizer.style)
        return next(keys)

    return show


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([None, None], [0, 0, 0]),
        (["n", "n", "p"], [0, 1, 2, 1]),
        (["p", "n"], [0, -1, 0]),
        (["3", "1", "6"], [0, 2, 0, 5]),
        (["x", "0", " "], [0, 0, 0, 0]),
        (["n"] * len(NAMES), [*range(len(NAMES)), 0]),
    ],
    ids=["none", "next and previous", "around the start", "numbers", "others", "around the end"],
)
def test_keys_choose_the_style(other_stylizer, keys, expected):
    other_stylizer.style = NAMES[0]
    camera, shown = Camera(), []
    told = live.run(camera, show_with_keys(keys, other_stylizer, shown), other_stylizer)
    assert shown == [NAMES[i] for i in expected]
    assert told["painted"] == len(expected)
    assert camera.released == 1


def test_q_ends_at_once(other_stylizer):
    camera = Camera()
    assert live.run(camera, lambda rgb: "q", other_stylizer)["painted"] == 1
    assert camera.released == 1


def test_a_number_beyond_the_gallery_is_ignored(other_stylizer):
    assert live._choose("9", 2, 5) == 2
    assert live._choose("5", 2, 5) == 4


def test_what_is_shown_is_the_painted_camera(stylizer):
    """BGR from the camera, RGB to the window."""
    photograph = picture(0, 24, 32)

    class Still(Camera):
        def read(self):
            time.sleep(0.002)
            return True, photograph[..., ::-1].copy()

    seen = []
    live.run(Still(), lambda rgb: seen.append(rgb) or "q", stylizer)
    assert (seen[0] == stylizer(photograph)).all()


def test_the_newest_frame_wins_over_a_slow_painter():
    camera = Camera(pause=0.002)
    newest, number, lags = NewestFrame(camera), 0, []
    try:
        for _ in range(8):
            before = number
            number, frame = newest.next(number)
            assert number > before
            assert (frame == number % 256).all(), "the number belongs to another frame"
            lags.append(camera.number - number)
            time.sleep(0.05)
    finally:
        newest.close()
    assert max(lags) <= 10, "old frames were queued"
    assert number > 3 * 8, "every frame was painted: none was dropped"


def test_a_fast_painter_sees_no_frame_twice():
    newest, numbers = NewestFrame(Camera(pause=0.01)), [0]
    try:
        for _ in range(10):
            numbers.append(newest.next(numbers[-1])[0])
    finally:
        newest.close()
    assert all(b > a for a, b in itertools.pairwise(numbers))


def test_a_camera_that_stops_is_a_sentence_and_is_released(other_stylizer):
    camera = Camera(count=3)
    with pytest.raises(RtstyleError, match="the camera stopped giving pictures"):
        live.run(camera, lambda rgb: None, other_stylizer)
    assert camera.released == 1


def test_a_camera_that_hangs_is_a_sentence():
    gate = threading.Event()

    class Hanging(Camera):
        def read(self):
            gate.wait(20)
            return False, None

    newest = NewestFrame(Hanging())
    try:
        with pytest.raises(RtstyleError, match=r"no picture for 0\.2 seconds"):
            newest.next(0, timeout=0.2)
    finally:
        gate.set()
        newest.close()


def test_an_error_of_the_window_releases_the_camera(other_stylizer):
    camera = Camera()

    def show(rgb):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        live.run(camera, show, other_stylizer)
    assert camera.released == 1


def test_seconds_end_the_loop(other_stylizer):
    told = live.run(Camera(), lambda rgb: None, other_stylizer, seconds=0.3)
    assert 0.3 <= told["seconds"] < 3
    assert 0 < told["painted"] <= told["captured"]


WINDOW_PROGRAM = """
import time
import numpy as np
from rtstyle import Stylizer, live
from rtstyle.media.camera import Window

class Camera:
    def read(self):
        time.sleep(0.03)
        return True, np.full((96, 160, 3), 90, np.uint8)
    def release(self):
        print("released", flush=True)

stylizer = Stylizer("starry-night", device="cpu", threads=1)
window = Window("rtstyle-test")
first = True

def show(rgb):
    global first
    key = window.show(rgb)
    if first or key:
        print("shown" if first else f"key {key} on {stylizer.style}", flush=True)
    first = False
    return key

live.run(Camera(), show, stylizer, seconds=40)
window.close()
print("ended with", stylizer.style, flush=True)
"""


@pytest.fixture
def screen():
    """A virtual screen; gives its name."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("a real window needs a virtual screen: apt-get install xvfb xdotool")
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield f":{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.wait(timeout=10)
        server.stdout.close()


@pytest.mark.parametrize("end", ["q", "Escape", "closing the window"])
def test_a_real_window_obeys_real_keys(screen, end):
    environment = {**os.environ, "DISPLAY": screen, "PYTHONUNBUFFERED": "1"}
    environment.pop("WAYLAND_DISPLAY", None)

    def press(*arguments):
        return subprocess.run(
            ["xdotool", *arguments], env=environment, capture_output=True, text=True, timeout=30, check=True
        ).stdout

    process = subprocess.Popen(
        [sys.executable, "-c", WINDOW_PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout.readline().strip() == "shown"
        window = press("search", "--sync", "--name", "rtstyle-test").split()[-1]
        press("windowfocus", "--sync", window)
        wanted = ["key n on " + NAMES[0], "key 4 on " + NAMES[1]]
        for key, line in zip("n4", wanted, strict=True):
            press("key", key)
            assert process.stdout.readline().strip() == line
        if end == "closing the window":
            click_the_cross(screen, window)
        else:
            press("key", end)
        rest = process.communicate(timeout=30)[0].splitlines()
    finally:
        process.kill()
        process.wait()
    assert rest == ["key q on " + NAMES[3], "released", "ended with " + NAMES[3]]
    assert process.returncode == 0


class ClientMessage(ctypes.Structure):
    """XClientMessageEvent of Xlib, padded to the size of XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),
    )


def click_the_cross(screen, window):
    """Send what a window manager sends when the cross of a window is clicked; a bare Xvfb has none."""
    xlib = ctypes.CDLL("libX11.so.6")
    xlib.XOpenDisplay.restype = ctypes.c_void_p
    xlib.XInternAtom.restype = ctypes.c_ulong
    display = ctypes.c_void_p(xlib.XOpenDisplay(screen.encode()))
    protocols, close = (xlib.XInternAtom(display, name, False) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    message = ClientMessage(type=33, send_event=True, window=int(window), message_type=protocols, format=32)
    message.data[0] = close
    xlib.XSendEvent(display, ctypes.c_ulong(int(window)), False, ctypes.c_long(0), ctypes.byref(message))
    xlib.XSync(display, False)
    xlib.XCloseDisplay(display)
