"""The live window on a virtual screen with a window manager: real keys, a real mouse, pictures of the screen."""

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image
from support.media_files import make_clip, picture, read_frames, rgb_frames
from support.mjpeg_server import Server
from support.screen import MISSING, SIZE, App, Screen, difference, wait_until

from rtstyle import Stylizer
from rtstyle.live import overlay as display
from rtstyle.media.camera import VideoFile
from rtstyle.paint import look

HEIGHT, WIDTH, WORK = 288, 480, 96
PHOTOGRAPH = picture(20, HEIGHT, WIDTH)
PLAIN = ["--device", "cpu", "--no-steady", "--work-height", WORK]  # the same painting of the same picture, always
MIDDLE = slice(HEIGHT // 8, -HEIGHT // 8)  # rows that neither messages nor the red REC cover
ABOVE = slice(0, -HEIGHT // 8)  # rows that no message covers
BELOW = slice(HEIGHT // 4, None)  # rows that the display does not cover


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} missing for a virtual screen: apt-get install xvfb openbox xdotool")
    server = Screen(tmp_path_factory.mktemp("screen"))
    yield server
    server.close()


@pytest.fixture
def start(screen, tmp_path):
    """Starts programs with a window and ends them."""
    apps = []

    def start(*arguments, folder=tmp_path, program=None):
        apps.append(App(screen, *arguments, folder=folder, program=program))
        return apps[-1]

    yield start
    for app in apps:
        app.close()


@pytest.fixture(scope="module")
def painter():
    return Stylizer(device="cpu", work_height=WORK)


@pytest.fixture(scope="module")
def names(painter):
    return [style.name for style in painter.model.styles]


@pytest.fixture(scope="module")
def paint(painter, names):
    """What a window should show, from a stylizer in this process."""

    def paint(style=names[0], rgb=PHOTOGRAPH, *, work_height=WORK):
        painter.style, painter.work_height = style, work_height
        return painter(rgb)

    return paint


@pytest.fixture(scope="module")
def home(paint):
    """The painting that is shown before any key."""
    return paint()


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("still") / "photograph.png"
    Image.fromarray(PHOTOGRAPH).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A moving clip of half a second, 12 frames of 160x96."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", tracks=0)


class Kept:
    """An app that tests share for as long as each leaves it as it found it."""

    def __init__(self, begin, is_as_it_was):
        self._begin, self._is_as_it_was, self._app = begin, is_as_it_was, None

    def get(self):
        if self._app is None:
            self._app = self._begin()
        self._app.activate()
        return self._app

    def put_back(self):
        if self._app and not (self._app.alive and self._is_as_it_was(self._app)):
            self.close()

    def close(self):
        if self._app:
            self._app.close()
        self._app = None


@pytest.fixture(scope="module")
def kept_still(screen, names, home, photograph):
    def begin():
        options = ["--source", photograph.name, "--style", names[0], *PLAIN]
        app = App(screen, *options, folder=photograph.parent)
        app.wait_for_size(WIDTH, HEIGHT)
        app.wait_for_words(f"{names[0]}, strength 100%")
        app.press("i")
        app.wait_for_picture(home)
        return app

    kept = Kept(begin, lambda app: difference(app.look()[ABOVE], home[ABOVE]) <= 6)
    yield kept
    kept.close()


@pytest.fixture
def still(kept_still):
    """`rtstyle cam` on one picture, the display hidden, so that nothing but keys changes what is seen."""
    yield kept_still.get()
    kept_still.put_back()


SHORT_TURNS = """
from rtstyle import cli
from rtstyle.live import loop as live
live.CYCLE_SECONDS, live.CYCLE_FADE_SECONDS = 0.7, 0.2
cli.main()
"""


@pytest.fixture(scope="module")
def kept_moving(screen, names, clip):
    def begin():
        options = ["--source", clip.name, "--loop", "--style", names[0], *PLAIN]
        app = App(screen, "cam", *options, folder=clip.parent, program=SHORT_TURNS)
        app.wait_for_size(480, 288)  # three times its size, for the text
        app.wait_for_words(f"{names[0]}, strength 100%")
        return app

    kept = Kept(begin, lambda app: app.reads(f"{names[0]}, strength 100%") and not app.reads("h for help, "))
    yield kept
    kept.close()


@pytest.fixture
def moving(kept_moving):
    """`rtstyle cam` on a clip that starts again and again, with the display, and short turns of the styles."""
    yield kept_moving.get()
    kept_moving.put_back()


def wait_for_movement(app, rows=BELOW):
    before = app.look()[rows]
    wait_until(lambda: difference(app.look()[rows], before) > 30, "the picture moves")


# -- keys, on one picture


def test_without_a_key_nothing_changes_but_the_figures(still, home):
    still.wait_for_picture(home)
    before = still.look()
    still.press("i")
    still.wait_for_words("h for help")
    shown = still.look()
    time.sleep(0.5)  # nothing to wait for: nothing must happen
    later = still.look()
    assert difference(shown[BELOW], before[BELOW]) == 0, "the display is not in its corner"
    assert difference(later[BELOW], before[BELOW]) == 0
    still.press("i")
    still.wait_for_picture(before, tolerance=0)


def test_paintings_differ_by_more_than_these_tests_allow(paint, names, home):
    paintings = [paint(name) for name in names]
    assert min(difference(a, b) for i, a in enumerate(paintings) for b in paintings[:i]) > 40
    assert difference(home, paint(rgb=PHOTOGRAPH[:, ::-1])) > 40
    assert difference(home, paint(work_height=112)) > 20


def test_numbers_choose_styles_with_a_crossfade(still, paint, names, home):
    before, between = home, 0
    for number in [*range(2, min(9, len(names)) + 1), 1]:
        after = paint(names[number - 1])
        still.press(number)

        def arrived(before=before, after=after):
            nonlocal between
            now = still.look()
            between += min(difference(now, before), difference(now, after)) > 6
            return difference(now, after) <= 6

        wait_until(arrived, f"style {number} is painted")
        before = after
    assert between >= len(names) // 2, "styles change at once"


def test_n_and_p_choose_the_next_and_the_previous_style_around_the_ends(still, paint, names):
    for key, at in [("n", 1), ("p", 0), ("p", -1), ("n", 0)]:
        still.press(key)
        still.wait_for_picture(paint(names[at]))


def test_brackets_change_the_strength_by_a_tenth_from_all_to_nothing_and_back(still, home):
    def blended(tenths):
        return np.uint8(np.rint(PHOTOGRAPH + tenths / 10 * (home.astype(float) - PHOTOGRAPH)))

    still.press("bracketright")  # there is no more
    for tenths in range(9, -1, -1):
        still.press("bracketleft")
        still.wait_for_picture(blended(tenths))
    assert difference(still.look(), PHOTOGRAPH) == 0
    still.press("bracketleft")  # there is no less
    for tenths in range(1, 11):
        still.press("bracketright")
        still.wait_for_picture(blended(tenths))


def test_c_keeps_the_colours_of_the_photograph(still, home):
    still.press("c")
    still.wait_for_picture(look.keep_color(PHOTOGRAPH, home))
    still.press("c")
    still.wait_for_picture(home)


def test_x_mixes_on_and_on_into_the_next_styles_and_z_back(still, paint, names, home):
    first, second, third, last = names[0], names[1], names[2], names[-1]
    still.press("i")
    still.wait_for_words("h for help")
    for percent in range(5, 100, 5):
        still.press("x")
        still.wait_for_words(f"{first} {100 - percent}%, {second} {percent}%, strength 100%")
        if percent == 50:
            still.wait_for_picture(paint(f"{first}:0.5,{second}:0.5"), rows=BELOW)
    for key, label in [
        ("x", second),
        ("x", f"{second} 95%, {third} 5%"),
        ("z", second),
        ("z", f"{first} 5%, {second} 95%"),
        ("1", first),
        ("z", f"{last} 5%, {first} 95%"),
        ("x", first),
    ]:
        still.press(key)
        still.wait_for_words(f"{label}, strength 100%")
    still.press("i")
    still.wait_for_picture(home)


def test_m_mirrors_the_photograph_before_it_is_painted(still, paint, home):
    still.press("m")
    still.wait_for_picture(paint(rgb=np.ascontiguousarray(PHOTOGRAPH[:, ::-1])))
    still.press("m")
    still.wait_for_picture(home)


def split_at(app, column, home):
    """Whether the photograph is to the left of a white line at this column, the painting to its right."""
    now = app.look()
    return any(
        (now[:, c - 1 : c + 1] == 255).all()
        and difference(now[:, : c - 1], PHOTOGRAPH[:, : c - 1]) == 0
        and difference(now[:, c + 1 :], home[:, c + 1 :]) <= 6
        for c in range(column - 2, column + 3)
    )


def wait_for_split(app, column, home):
    wait_until(lambda: split_at(app, column, home), f"a line at column {column}")


def test_v_splits_the_view_and_the_mouse_moves_the_line(still, home):
    still.press("v")
    wait_for_split(still, WIDTH // 2, home)
    still.point(120, 100, "mousedown", 1)
    wait_for_split(still, 120, home)
    still.point(360, 50)
    wait_for_split(still, 360, home)
    still.point(360, 50, "mouseup", 1)
    still.point(120, 100)
    still.press("i")
    still.wait_for_words("h for help")
    still.press("i")
    wait_for_split(still, 360, home)
    still.press("v")
    still.wait_for_picture(home)
    still.point(120, 100, "click", 1)  # there is no line to move
    still.press("i")
    still.wait_for_words("h for help")
    still.press("i")
    still.wait_for_picture(home)
    still.press("v")
    wait_for_split(still, WIDTH // 2, home)
    still.press("v")
    still.wait_for_picture(home)


def test_f_fills_the_screen_where_the_mouse_still_finds_the_line(still, home):
    still.press("f")
    still.wait_for_size(*SIZE)
    rows = round(SIZE[0] * HEIGHT / WIDTH)
    top = (SIZE[1] - rows) // 2
    expected = cv2.resize(home, (160, 96), interpolation=cv2.INTER_AREA).astype(int)

    def fills():
        now = still.look()[top : top + rows]
        return np.abs(cv2.resize(now, (160, 96), interpolation=cv2.INTER_AREA) - expected).mean() < 3

    wait_until(fills, "the picture fills the screen")
    still.press("v")
    wait_until(lambda: not fills(), "the photograph is on the left")
    still.point(SIZE[0] * 3 // 4, 400, "click", 1)
    still.press("f")
    still.wait_for_size(WIDTH, HEIGHT)
    wait_for_split(still, WIDTH * 3 // 4, home)
    still.press("v")
    still.wait_for_picture(home)


def test_the_users_size_of_the_window_stays_and_the_mouse_finds_the_line_beside_bars(still, home):
    still.resize(WIDTH + 200, HEIGHT)
    still.wait_for_size(WIDTH + 200, HEIGHT)
    still.press("v")
    wait_until(lambda: difference(still.look()[:, 102:217], PHOTOGRAPH[:, 2:117]) == 0, "the view is split")
    still.point(100 + 120, 100, "click", 1)
    wait_until(lambda: difference(still.look()[:, 223:-102], home[:, 123:-2]) <= 6, "the line is at a quarter")
    assert difference(still.look()[:, 102:217], PHOTOGRAPH[:, 2:117]) == 0
    still.press("v")
    wait_until(lambda: difference(still.look()[:, 102:-102], home[:, 2:-2]) <= 6, "the view is whole again")
    still.resize(WIDTH, HEIGHT)
    still.wait_for_size(WIDTH, HEIGHT)
    still.wait_for_picture(home)


def test_s_saves_what_is_seen_without_the_text(still, home):
    def saved():
        return [path for path in sorted(still.folder.glob("rtstyle-*.png")) if path.stat().st_size]

    still.press("i")
    still.wait_for_words("h for help")
    still.press("s")
    wait_until(lambda: len(saved()) == 1, "a picture is saved")
    still.wait_for_words(f"saved {saved()[0].name}")
    still.press("s")
    wait_until(lambda: len(saved()) == 2, "another picture is saved")
    still.press("i")
    still.wait_for_picture(home, rows=ABOVE)
    still.press("v")
    wait_until(lambda: difference(still.look()[MIDDLE, :200], PHOTOGRAPH[MIDDLE, :200]) == 0, "the view is split")
    seen = still.look()
    still.press("s")
    wait_until(lambda: len(saved()) == 3, "a split picture is saved")
    still.press("v")
    still.wait_for_picture(home, rows=ABOVE)
    split = [np.array(Image.open(path)) for path in saved() if difference(np.array(Image.open(path)), home) > 6]
    assert len(split) == 1, "the other pictures are not the painting"
    assert difference(split[0][ABOVE], seen[ABOVE]) <= 2
    assert not list(still.folder.glob(".*")), "an unfinished file was left"


def test_r_records_until_it_is_pressed_again(still, paint, names, home):
    still.press("r")
    still.wait_for_words("REC 0 s")
    second = paint(names[1])
    still.press("2")
    still.wait_for_picture(second, rows=MIDDLE)
    still.press("1")
    still.wait_for_picture(home, rows=MIDDLE)
    assert not list(still.folder.glob("rtstyle-*.mp4")), "the recording has its name before it is complete"
    still.press("r")
    path = wait_until(lambda: next(still.folder.glob("rtstyle-*.mp4"), None), "the recording is saved")
    still.wait_for_words(f"saved {path.name}")
    still.wait_without_words("REC")
    still.wait_for_picture(home, rows=ABOVE)
    assert not list(still.folder.glob(".*")), "an unfinished file was left"
    frames = rgb_frames(path).astype(int)
    off = np.array([[np.abs(frame - still).mean() for still in (home, second)] for frame in frames])
    assert off[0, 0] < 4 and off[-1, 0] < 4 and off[:, 1].min() < 4
    assert off[0, 1] > 10


def test_plus_and_minus_step_the_working_height_and_w_makes_it_automatic(still, paint, home):
    still.press("minus")  # it is the least
    still.wait_for_words("working height 96, fixed (w: automatic)")
    still.press("plus")
    still.wait_for_words("working height 112, fixed (w: automatic)")
    still.wait_for_picture(paint(work_height=112), rows=ABOVE)
    still.press("minus")
    still.wait_for_words("working height 96, fixed (w: automatic)")
    still.wait_for_picture(home, rows=ABOVE)
    still.press("w")
    still.wait_for_words("working height follows 30 fps")
    still.press("i")
    still.wait_for_words("working height 96 (automatic) on cpu")
    still.press("plus")
    still.wait_for_words("working height 112 (fixed) on cpu")
    still.press("minus")
    still.wait_for_words("working height 96 (fixed) on cpu")
    still.press("i")
    still.wait_for_picture(home, rows=ABOVE)


def test_t_switches_steadiness(still, names, home):
    still.press("i")
    still.wait_for_words("h for help")
    still.press("t")
    still.wait_for_words(f"{names[0]}, strength 100%, steady")
    still.press("t")
    still.wait_without_words("steady")
    still.wait_for_words(f"{names[0]}, strength 100%")
    still.press("i")
    still.wait_for_picture(home, rows=ABOVE)


def test_h_shows_every_key_and_hides_them_again(still, home):
    still.press("h")
    for keys, what in display.KEYS:
        still.wait_for_words(what)
        still.wait_for_words(keys)
    still.press("h")
    still.wait_for_picture(home, rows=ABOVE)


def test_keys_without_a_meaning_do_nothing(still, home):
    still.press("Insert", "Home", "Left", "F1", "Shift_L", "Delete", "Return", "Tab", "g", "asterisk", "i")
    still.wait_for_words("h for help")
    assert not still.reads("camera's colours"), "Insert was taken for c"
    still.press("i")
    still.wait_for_picture(home, rows=ABOVE)


# -- keys, on a clip


def test_space_freezes_the_picture_and_other_keys_still_change_it(moving, paint, names, clip):
    source = VideoFile(clip)
    photographs = [source.read() for _ in range(12)]
    source.close()

    def shown(style):
        """The number of the frame of which this window shows the painting in a style, or None."""
        now = moving.look()[BELOW]
        paintings = [np.repeat(np.repeat(paint(style, frame), 3, 0), 3, 1) for frame in photographs]
        off = [difference(now, painting[BELOW]) for painting in paintings]
        return int(np.argmin(off)) + 1 if min(off) <= 12 else None

    wait_for_movement(moving)
    moving.press("space")
    moving.wait_for_words(f"{names[0]}, strength 100%, frozen")
    moving.press("i")  # each key has the frozen frame painted again: that of the moment before is gone for good
    moving.wait_without_words("h for help")
    moving.press("i")
    moving.wait_for_words("h for help")
    number = wait_until(lambda: shown(names[0]), "a painting of a frame")
    before = moving.look()[BELOW]
    moving.press("2")
    wait_until(lambda: shown(names[1]) == number, f"frame {number} in another style")
    moving.press("1")
    wait_until(lambda: difference(moving.look()[BELOW], before) <= 2, f"frame {number} in the first style again")
    moving.press("c")
    wait_until(lambda: difference(moving.look()[BELOW], before) > 40, "the colours change")
    moving.press("c")
    wait_until(lambda: difference(moving.look()[BELOW], before) <= 2, "the colours change back")
    moving.press("space")
    moving.wait_without_words("frozen")
    wait_for_movement(moving)


def test_a_lets_styles_take_turns(moving, names):
    moving.press("a")
    for name in names[1:4]:
        moving.wait_for_words(f"{name}, strength 100%, taking turns")
    moving.press("a")
    moving.wait_without_words("taking turns")
    moving.press("1")
    moving.wait_for_words(f"{names[0]}, strength 100%")
    time.sleep(1)  # longer than a turn: nothing must happen
    assert moving.reads(f"{names[0]}, strength 100%")


def test_a_window_that_was_minimised_goes_on(moving, screen):
    screen.xdotool("windowminimize", moving.window)
    wait_until(lambda: screen.find(moving.process.pid) is None, "the window is minimised")
    time.sleep(0.3)  # nothing to wait for: it must not end
    assert moving.alive
    moving.activate()
    wait_for_movement(moving)
    moving.wait_for_words("h for help")


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
    app.wait_for_words("record, stop (MP4)")
    app.press("h")
    app.wait_without_words("record, stop (MP4)")
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


def test_a_source_that_stalls_or_vanishes_is_told_and_waited_for(start):
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
from rtstyle.live import loop as live
from rtstyle.media.outputs import Recorder

log = open("stamps", "w", buffering=1)
write, finish = Recorder.write, Recorder.finish

def note_frame(self, seconds, rgb):
    write(self, seconds, rgb)
    print(seconds, file=log)

def note_end(self, seconds):
    finish(self, seconds)
    print("end", seconds, self.dropped, file=log)

Recorder.write, Recorder.finish = note_frame, note_end
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
    found = {end: Recording(screen, tmp_path_factory.mktemp("recording"), clip) for end in ENDS}
    try:
        for recording in found.values():
            recording.wait_for_frames(60)
        found[KILLED].wait_for_frames(110)
        for end, recording in found.items():
            recording.finish(end)
        yield found
    finally:
        for recording in found.values():
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
    window.show(np.full((height, width, 3), 50 * grey + 20, np.uint8))
    while window.poll() != "n":
        time.sleep(0.01)
"""


def test_the_window_takes_the_size_of_each_picture_until_the_user_gives_it_one(start):
    app = start(program=PICTURES)
    for size in [(640, 360), (480, 288), (1280, 720)]:  # 1920x1080 might not fit on the screen
        app.wait_for_size(*size)
        app.press("n")
    app.wait_for_size(288, 480)
    app.resize(500, 300)
    app.wait_for_size(500, 300)
    app.press("n")
    wait_until(lambda: (app.look()[150, 250] == 220).all(), "the last picture is shown")
    assert app.area()[2:] == (500, 300)
    app.press("n")
    assert app.wait() == 0


# -- import orders

SHOWING = """
import time
import numpy as np
from rtstyle.media.window import Window

window = Window()
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
    assert "RtstyleError: the window cannot open because this program imported av before cv2" in app.errors
    assert app.errors.rstrip().endswith("import cv2 before av")


# -- the text over the picture

STATUS = [
    "starry-night 95%, composition-vii 5%, strength 100%, camera's colours, steady, frozen, taking turns",
    "30 fps painted, 30 shown, delay 1234 ms (95 %: 2345), 100% dropped",
    "working height 1080 (automatic) on tensorrt:1, h for help",
]
SIZES = [(64, 48), (160, 120), (320, 240), (1920, 1080), (90, 160)]


def written(canvas, *arguments, **options):
    """The box that something changes: top, bottom, left and right, the ends not in it; and the ink's, on black."""
    display.write(canvas, *arguments, **options)
    rows, columns = np.flatnonzero(canvas.any(axis=(1, 2))), np.flatnonzero(canvas.any(axis=(0, 2)))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("at", [(0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.5, 1.0)], ids=str)
def test_text_never_leaves_the_picture_and_all_of_it_is_there_on_a_readable_one(size, at):
    small = np.zeros((size[1], size[0], 3), np.uint8)
    display.write(small, STATUS, at=at)
    assert small.any()
    canvas = display.readable(np.zeros_like(small))
    top, bottom, left, right = written(canvas, STATUS, at=at)
    height, width = canvas.shape[:2]
    assert 0 < top < bottom < height and 0 < left < right < width, "text is cut off: it reaches the edge"


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_help_fits(size):
    canvas = display.readable(np.zeros((size[1], size[0], 3), np.uint8))
    display.show_help(canvas)
    ink = canvas.any(axis=2)
    assert not (ink[0].any() or ink[-1].any() or ink[:, 0].any() or ink[:, -1].any())
    lines = np.flatnonzero(np.diff(ink.any(axis=1).astype(int)) == 1)
    assert len(lines) >= len(display.KEYS) - 1, "lines lie over one another"


def test_letters_are_large_enough_to_be_read_and_grow_with_the_picture():
    heights = []
    for width, height in SIZES:
        canvas = display.readable(np.zeros((height, width, 3), np.uint8))
        top, bottom, *_ = written(canvas, ["H"])
        heights.append((bottom - top) / canvas.shape[0])
        assert bottom - top >= 6
    assert heights[3] == pytest.approx(0.7 / 26, rel=0.2)


def test_text_darkens_its_box_only():
    canvas = np.full((240, 320, 3), 200, np.uint8)
    display.write(canvas, ["words"], at=(1.0, 1.0))
    rows, columns = (np.flatnonzero((canvas != 200).any(axis=axis)) for axis in ((1, 2), (0, 2)))
    box = canvas[rows[0] :, columns[0] :]
    assert rows[-1] == 239 and columns[-1] == 319
    assert (canvas != 200).sum() == (box != 200).sum() and box.min() == 80 and box.max() == 255
