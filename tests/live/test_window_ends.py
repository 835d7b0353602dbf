"""The live window begins and ends: full screen, slow nets, lost sources, recordings, sizes, import orders."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.live_window import HEIGHT, PHOTOGRAPH, PLAIN, WIDTH, wait_for_movement
from support.media_files import make_clip, read_frames
from support.mjpeg_server import Server
from support.screen import SIZE, App, wait_until

from rtstyle.live.overlay import letters_on

pytest_plugins = ["support.window_fixtures"]

pytestmark = pytest.mark.real_time


# -- beginnings and ends


def test_full_screen_and_mirror_from_the_start_and_escape_in_the_end(start, screen, photograph, paint, names):
    app = start("--source", photograph, "--style", names[0], *PLAIN, "--full-screen", "--mirror")
    app.wait_for_size(*SIZE)
    wait_until(lambda: app.look().std() > 10, "a picture is shown")
    app.press("f")
    app.wait_for_size(WIDTH, HEIGHT)
    app.press("i")
    app.wait_for_picture(paint(rgb=np.ascontiguousarray(PHOTOGRAPH[:, ::-1])))
    app.press("Escape")
    assert app.wait() == 0
    assert "keys: 1-9" in app.errors and "frames painted" in app.errors


HELD = """
import time
from pathlib import Path
from rtstyle import cli
from rtstyle.paint.stylizer import Stylizer

paint = Stylizer.run

def run(self, *arguments):
    Path("painting").touch()
    while not Path("open").exists():
        time.sleep(0.01)
    return paint(self, *arguments)

Stylizer.run = run
cli.main()
"""


def test_keys_answer_while_the_net_is_at_work(start, screen, tmp_path, photograph, paint, names, home):
    """The net here takes as long as this test wants: whatever is seen meanwhile did not wait for it."""
    gate = tmp_path / "open"
    app = start("cam", "--source", photograph, "--style", names[0], *PLAIN, program=HELD)
    app.wait_for_size(640, 360)  # the window waits in a size of its own ...
    app.wait_for_words("waiting for the first picture", letters=round(1.4 * 360 / 26))
    app.press("h")
    letters = letters_on(360, 640, 0.8)
    app.wait_for_words("record, stop (MP4)", letters)
    app.press("h")
    app.wait_without_words("record, stop (MP4)", letters)
    gate.touch()
    app.wait_for_size(WIDTH, HEIGHT)  # ... and takes the picture's when it comes
    app.wait_for_words(f"{names[0]}, strength 100%")
    (tmp_path / "painting").unlink()
    gate.unlink()
    app.press("m")
    wait_until(lambda: (tmp_path / "painting").exists(), "a painting has begun")
    app.press("2")
    app.wait_for_words(f"{names[1]}, strength 100%")
    app.press("i")
    app.wait_for_picture(home)
    app.press("h")
    app.wait_for_words("record, stop (MP4)")
    app.press("q")
    wait_until(lambda: screen.find(app.process.pid) is None, "the window closes")
    gate.touch()
    assert app.wait() == 0


SLOW = """
import time
from rtstyle import cli
from rtstyle.paint.stylizer import Stylizer
paint = Stylizer.run

def run(self, *arguments):
    time.sleep(0.7)
    return paint(self, *arguments)

Stylizer.run = run
cli.main()
"""


def test_a_slow_net_paints_what_was_chosen_to_the_end_and_q_waits_for_one_painting_only(
    start, photograph, paint, names
):
    app = start("cam", "--source", photograph, "--style", names[0], *PLAIN, program=SLOW)
    app.wait_for_size(WIDTH, HEIGHT)
    app.press("space")
    app.wait_for_words(f"{names[0]}, strength 100%, frozen")
    app.press("i")
    time.sleep(1)  # until nothing is being painted
    app.press("2")  # the crossfade is over before one painting is
    app.wait_for_picture(paint(names[1]))
    app.press("m", "q")
    pressed = time.monotonic()
    assert app.wait() == 0
    assert time.monotonic() - pressed < 4, "one painting, and the end of the program"


@pytest.mark.parametrize("display", [None, "", ":58999", "nonsense"])
def test_without_a_display_there_is_one_sentence(photograph, display):
    if not sys.platform.startswith("linux"):
        pytest.skip("windows need no variable here")
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {} if display is None else {"DISPLAY": display}
    done = subprocess.run(
        [sys.executable, "-m", "rtstyle", "cam", "--source", photograph],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("rtstyle: there is no display for a window")


# -- a source that is lost


def test_a_source_that_stalls_or_vanishes_is_reported_and_waited_for(start):
    letters = round(1.4 * 360 / 26)
    with Server(fps=20, width=320, height=180) as server:
        app = start("--source", server.url, "--strength", 0.2, *PLAIN)
        app.wait_for_size(640, 360)
        app.press("i")
        top = slice(0, 50)  # where the frames' numbers are
        wait_for_movement(app, top)
        server.process.send_signal(signal.SIGSTOP)
        app.wait_for_words("no picture for", letters)
        server.process.send_signal(signal.SIGCONT)
        app.wait_without_words("no picture for", letters)
        wait_for_movement(app, top)
        server.kill()
        app.wait_for_words("the source was lost", letters)
        server.start()
        app.wait_without_words("the source was lost", letters)
        wait_for_movement(app, top)
        app.press("q")
        assert app.wait() == 0


# -- recordings, however they end

NOTED = """
from rtstyle import cli
from rtstyle.media.recorder import Recorder

log = open("stamps", "w", buffering=1)
write, close = Recorder.write, Recorder.close

def note_frame(self, seconds, rgb):
    write(self, seconds, rgb)
    print(seconds, file=log)

def note_end(self, seconds=None):
    close(self, seconds)
    if seconds is not None:
        print("end", seconds, self.dropped, file=log)

Recorder.write, Recorder.close = note_frame, note_end
cli.main()
"""

KILLED = "kill -9"
ENDS = {"q": 0, "closing the window": 0, "Ctrl-C": 130, "SIGTERM": 130, KILLED: -signal.SIGKILL}


class Recording:
    """`cam --record` of a clip of 30 frames a second, with a note of every frame that the recorder was given."""

    def __init__(self, screen, folder, clip):
        self.folder = folder
        options = ["--source", clip, "--loop", *PLAIN, "--record", "out.mp4"]
        self.app = App(screen, "cam", *options, folder=folder, program=NOTED)

    @property
    def notes(self):
        path = self.folder / "stamps"
        return path.read_text().splitlines() if path.exists() else []

    def wait_for_frames(self, count):
        wait_until(lambda: len(self.notes) >= count, lambda: f"{count} frames; {self.app.errors}", seconds=60)

    def finish(self, end):
        """End it; notes when, on the clock of the notes, the exit code and what was said."""
        self.app.activate()
        self.asked = time.monotonic()
        if end in ("q", "closing the window"):
            self.app.press("q" if end == "q" else "alt+F4")
        else:
            self.app.send({"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM, KILLED: signal.SIGKILL}[end])
        self.code = self.app.wait()
        self.ended = time.monotonic()
        self.errors = self.app.errors
        self.app.close()


@pytest.fixture(scope="module")
def recordings(screen, tmp_path_factory):
    """All of them at the same time, which saves minutes on slow machines."""
    clip = make_clip(tmp_path_factory.mktemp("source") / "clip.mp4", frames=30, rate=30, tracks=0)
    result = {end: Recording(screen, tmp_path_factory.mktemp("recording"), clip) for end in ENDS}
    try:
        for recording in result.values():
            recording.wait_for_frames(60)
        result[KILLED].wait_for_frames(110)
        for end, recording in result.items():
            recording.finish(end)
        yield result
    finally:
        for recording in result.values():
            recording.app.close()


@pytest.mark.parametrize("end", [end for end in ENDS if end != KILLED])
def test_a_recording_lasts_from_the_first_frame_to_the_end(recordings, end):
    recording = recordings[end]
    assert recording.code == ENDS[end], recording.errors
    assert sorted(path.name for path in recording.folder.iterdir()) == ["out.mp4", "stamps"]
    assert ("out.mp4 is complete" if ENDS[end] else "saved out.mp4") in recording.errors
    *frames, last = recording.notes
    word, stamp, dropped = last.split()
    assert word == "end" and recording.asked <= float(stamp) <= recording.ended
    given = np.array(frames, float)
    given = given[given > np.r_[-np.inf, np.maximum.accumulate(given)[:-1]]]  # a later painting of an older frame
    shown = read_frames(recording.folder / "out.mp4")
    assert len(given) - int(dropped) <= len(shown) <= len(given)
    assert shown[0][1].to_ndarray(format="rgb24").std() > 10
    times = np.array([float(seconds) for seconds, _ in shown])
    assert np.isin(np.rint(times * 1000), [np.rint((given - given[0]) * 1000) + i for i in (-1, 0, 1)]).all()
    assert duration(recording.folder / "out.mp4") == pytest.approx(float(stamp) - given[0], abs=0.005)


def duration(path):
    """Seconds from the first frame to the end of the last, by the packets."""
    import av

    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        last = max(packets, key=lambda p: p.pts)
        return float((last.pts + last.duration - min(p.pts for p in packets)) * last.time_base)


def test_what_was_recorded_before_kill_9_can_be_played(recordings):
    recording = recordings[KILLED]
    assert recording.code == ENDS[KILLED]
    (part,) = recording.folder.glob(".out-*-part.mp4")
    assert not (recording.folder / "out.mp4").exists()
    given = [float(stamp) for stamp in recording.notes]
    times = [float(seconds) for seconds, _ in read_frames(part)]
    assert given[-1] - given[0] - times[-1] < 2, "more than the last moments was lost"


# -- the size of the window

PICTURES = """
import time
import numpy as np
from rtstyle.media.window import Window

window = Window()
for grey, (width, height) in enumerate([(640, 360), (480, 288), (1920, 1080), (288, 480), (400, 400)]):
    while window.poll() != "n":
        size = window.fit(height, width)  # brighter once the window has had the size that it asked for
        window.show(np.full((*size, 3), 50 * grey + 20 + 5 * window._resized, np.uint8))
        time.sleep(0.01)
"""


def test_the_window_takes_the_size_of_each_picture_until_the_user_gives_it_one(start):
    app = start(program=PICTURES)
    for size in [(640, 360), (480, 288), (1280, 720)]:  # 1920x1080 might not fit on the screen
        app.wait_for_size(*size)
        app.press("n")
    app.wait_for_size(288, 480)
    wait_until(lambda: (app.look()[240, 144] == 175).all(), "the program knows its size too")
    app.resize(500, 300)
    app.wait_for_size(500, 300)
    app.press("n")
    wait_until(lambda: (app.look()[150, 250] == 225).all(), "the last picture is shown")
    assert app.area()[2:] == (500, 300)
    app.press("n")
    assert app.wait() == 0


# -- import orders

SHOWING = """
import time
import numpy as np
from rtstyle.media.window import Window

window = Window()
window.fit(288, 480)
window.show(np.full((288, 480, 3), (10, 200, 30), np.uint8))
while window.poll() != "k":
    time.sleep(0.01)
window.close()
"""


@pytest.mark.parametrize(
    "first", ["import cv2, av", "import rtstyle.live.loop, av", "from rtstyle import Stylizer; import av"]
)
def test_the_window_opens_when_av_came_after_cv2(start, first):
    app = start(program=f"{first}\n{SHOWING}")
    app.wait_for_size(480, 288)
    app.wait_for_picture(np.full((288, 480, 3), (10, 200, 30), np.uint8), tolerance=0)
    app.press("k")
    assert app.wait() == 0


@pytest.mark.parametrize("first", ["import av", "import av, cv2", "import rtstyle, av"])
def test_the_window_says_that_av_came_before_cv2_instead_of_hanging(start, first):
    app = start(program=f"{first}\n{SHOWING}")
    assert app.wait() == 1
    assert "Error: the window cannot open because this program imported av before cv2" in app.errors
    assert app.errors.rstrip().endswith("import cv2 before av")
