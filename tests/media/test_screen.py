"""The screen as a source: which part of it, and that the frames show what is drawn there."""

import subprocess
import sys
import time

import numpy as np
import pytest
from support.screen import MISSING
from support.screen import Screen as VirtualScreen
from support.sources import ManualClock

from rtstyle import RtstyleError
from rtstyle.media import screen
from rtstyle.media.camera import open_source

pytest.importorskip("mss")

DESKTOP = {"left": 0, "top": -200, "width": 3200, "height": 1280}
FIRST, SECOND = (
    {"left": x, "top": y, "width": w, "height": h} for x, y, w, h in ((0, 0, 1920, 1080), (1920, -200, 1280, 800))
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("screen", FIRST),
        ("screen:1", FIRST),
        ("screen:2", SECOND),
        ("screen:10,20,640x360", {"left": 10, "top": 20, "width": 640, "height": 360}),
        ("screen:1920,-200,1280x800", SECOND),
    ],
)
def test_what_people_write_is_a_part_of_the_desktop(source, expected):
    assert screen.is_screen(source) and screen._region(source, [DESKTOP, FIRST, SECOND]) == expected


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("screen:3", "there is no screen 3: there are 2"),
        ("screen:0", "there is no screen 0"),
        ("screen:left", "screen:left is not a screen: write screen, screen:2 or screen:X,Y,WxH"),
        ("screen:10,20,640", "is not a screen"),
        ("screen:3000,0,640x360", "3000,0,640x360 is not all on the screen, which goes from 0,-200 to 3200,1080"),
        ("screen:-5,0,640x360", "is not all on the screen"),
        ("screen:0,0,8x8", "at least 16 x 16"),
    ],
)
def test_what_is_not_there_is_said(source, sentence):
    with pytest.raises(RtstyleError) as error:
        screen._region(source, [DESKTOP, FIRST, SECOND])
    assert sentence in str(error.value)


def test_other_sources_are_no_screens():
    assert not any(map(screen.is_screen, ("0", "screens.mp4", "http://screen", "./screen:2")))


def test_without_a_display_or_the_package_it_says_so(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    if sys.platform.startswith("linux"):
        with pytest.raises(RtstyleError, match="the screen cannot be seen here"):
            open_source("screen")
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(RtstyleError, match=r"needs mss: pip install '\.\[screen\]'"):
        open_source("screen")


DRAWING = """
import sys, cv2, numpy as np
from rtstyle.media.window import Window
window = Window()
cv2.moveWindow("rtstyle", 100, 60)
for line in sys.stdin:
    color = tuple(map(int, line.split()))
    for _ in range(20):
        window.show(np.full((*window.fit(288, 480), 3), color, np.uint8))
        window.poll()
    print("drawn", flush=True)
"""


@pytest.mark.skipif(bool(MISSING), reason="needs a virtual screen")
@pytest.mark.real_time
def test_frames_follow_what_is_drawn_on_the_screen(tmp_path, monkeypatch):
    display = VirtualScreen(tmp_path)
    monkeypatch.setenv("DISPLAY", display.display)
    clock = ManualClock()
    process = subprocess.Popen(
        [sys.executable, "-c", DRAWING],
        env=display.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    source = open_source("screen:200,150,64x48", fps=10, clock=clock)
    whole = open_source("screen")
    try:
        for color in [(200, 30, 60), (10, 220, 90)]:
            print(*color, file=process.stdin, flush=True)
            process.stdout.readline()
            end = time.monotonic() + 20
            while not (np.abs(source.read().astype(int) - color) <= 1).all():
                assert time.monotonic() < end, "it does not show what is drawn"
        assert source.read().shape == (48, 64, 3) and whole.read().shape == (768, 1024, 3)
        assert clock.waits[-1] == pytest.approx(0.1), "ten frames a second"
        with pytest.raises(RtstyleError, match="is not all on the screen"):
            open_source("screen:900,700,640x360")
        source.wake()
        assert screen.Screen.returns
    finally:
        source.close()
        whole.close()
        process.kill()
        process.wait()
        display.close()
