"""The keys of the live window on a virtual screen with a window manager: real keys, a real mouse, pictures of it."""

import time

import cv2
import numpy as np
import pytest
from PIL import Image
from support.live_window import ABOVE, BELOW, HEIGHT, MIDDLE, PHOTOGRAPH, PLAIN, WIDTH, wait_for_movement
from support.media_files import rgb_frames
from support.screen import SIZE, App, difference, wait_until

from rtstyle.live.controls import KEYS
from rtstyle.media.live_files import VideoFile
from rtstyle.paint import look

pytest_plugins = ["support.window_fixtures"]

pytestmark = pytest.mark.real_time


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
from rtstyle.live import styles

class ShortTurns(styles.StyleChooser):
    def __init__(self, stylizer):
        super().__init__(stylizer, turn_seconds=1.0, turn_fade=0.2)

styles.StyleChooser = ShortTurns
cli.main()
"""


@pytest.fixture(scope="module")
def kept_moving(screen, names, moving_clip):
    def begin():
        options = ["--source", moving_clip.name, "--loop", "--style", names[0], *PLAIN]
        app = App(screen, "cam", *options, folder=moving_clip.parent, program=SHORT_TURNS)
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
    for key, index in [("n", 1), ("p", 0), ("p", -1), ("n", 0)]:
        still.press(key)
        still.wait_for_picture(paint(names[index]))


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
    assert still.look()[: top - 2].max() == still.look()[top + rows + 2 :].max() == 0, "beside it the screen is black"
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
    assert still.look()[:, :100].max() == still.look()[:, -100:].max() == 0, "the bars are black"
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
    still.wait_for_words("working height 240 (automatic) on cpu")  # the least that is chosen
    still.press("plus")
    still.wait_for_words("working height 264 (fixed) on cpu")
    for height in (240, 216, 192, 176, 160, 144, 128, 112, 96):
        still.press("minus")
        still.wait_for_words(f"working height {height} (fixed) on cpu")
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
    for key in KEYS:
        still.wait_for_words(key.help)
        still.wait_for_words(key.label)
    still.press("h")
    still.wait_for_picture(home, rows=ABOVE)


def test_keys_without_a_meaning_do_nothing(still, home):
    still.press("Insert", "Home", "Left", "F1", "Shift_L", "Delete", "Return", "asterisk", "i")
    still.wait_for_words("h for help")
    assert not still.reads("camera's colours"), "Insert was taken for c"
    still.press("i")
    still.wait_for_picture(home, rows=ABOVE)


# -- keys, on a clip


def test_space_freezes_the_picture_and_other_keys_still_change_it(moving, paint, names, moving_clip):
    source = VideoFile(moving_clip)
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
    time.sleep(1.3)  # longer than a turn: nothing must happen
    assert moving.reads(f"{names[0]}, strength 100%")


def test_a_window_that_was_minimised_goes_on(moving, screen):
    screen.xdotool("windowminimize", moving.window)
    wait_until(lambda: screen.find(moving.process.pid) is None, "the window is minimised")
    time.sleep(0.3)  # nothing to wait for: it must not end
    assert moving.alive
    moving.activate()
    wait_for_movement(moving)
    moving.wait_for_words("h for help")
