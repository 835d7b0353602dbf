"""The strip of styles on a virtual screen: real keys, a real mouse, pictures of it, from 320x240 to 3840x2160."""

import itertools
import time

import numpy as np
import pytest
from support.live_window import HEIGHT, PHOTOGRAPH, PLAIN, WIDTH
from support.screen import App, Screen, difference, reads, wait_until

from rtstyle.live import overlay
from rtstyle.live.overlay import TIGHT_LETTERS
from rtstyle.live.strip import ORANGE, Layout

pytest_plugins = ["support.window_fixtures"]

pytestmark = pytest.mark.real_time


@pytest.fixture
def app(start, photograph, names, home):
    """`rtstyle cam` on one picture, the display hidden."""
    app = start("--source", photograph, "--style", names[0], "--clean", *PLAIN)
    app.wait_for_size(WIDTH, HEIGHT)
    app.wait_for_picture(home)
    return app


def layout(app):
    width, height = app.place[2:]
    return Layout.on(height, width, WIDTH / HEIGHT, 2)


def cell(app, place, across=0.5):
    at = layout(app)
    return round((place + across) * at.cell), at.cells.top + at.thumbnail // 2


def painted(app, place):
    """Whether the strip has a picture at a place: something other than grey."""
    return thumbnail(app, place).std() > 8


def thumbnail(app, place):
    """The middle of the picture at a place of the strip."""
    x, y = cell(app, place)
    return app.look((x - 15, y - 8, 30, 16))


def framed(app, place):
    x, _ = cell(app, place)
    return tuple(app.look((x, layout(app).cells.top, 1, 1))[0, 0]) == ORANGE


def wait_in_strip(app, condition, what):
    """Wait for a condition while the mouse moves now and then, so that the strip stays."""
    places, moved_at = itertools.cycle([(5, 5), (6, 5)]), float("-inf")

    def holds():
        nonlocal moved_at
        if time.monotonic() - moved_at > 0.5:
            app.point(*next(places))
            moved_at = time.monotonic()
        return condition()

    wait_until(holds, what)


def open_strip(app):
    app.point(5, 5)
    app.press("Tab")
    wait_in_strip(app, lambda: framed(app, 0) and painted(app, 0) and painted(app, 3), "the styles are painted")


def wait_for_painting(app, expected, tolerance=6):
    """Wait until this painting is above the strip."""
    rows = slice(0, layout(app).strip.top)
    wait_in_strip(app, lambda: difference(app.look()[rows], expected[rows]) <= tolerance, "the painting")


def test_tab_shows_the_frame_in_every_style_and_the_strip_hides_after_three_seconds(app, home, names):
    open_strip(app)
    letters = layout(app).letters
    assert framed(app, 0) and not framed(app, 1)
    assert app.reads(f"1 {names[0]}", letters) and app.reads("strength 100%", letters)
    pictures = [thumbnail(app, i) for i in range(4)]
    assert all(difference(a, b) > 40 for i, a in enumerate(pictures) for b in pictures[:i]), "all styles look alike"
    began = time.monotonic()
    app.point(6, 6)  # a move: three seconds more
    app.wait_for_picture(home)
    assert 2 < time.monotonic() - began < 6
    app.point(7, 7)
    wait_until(lambda: framed(app, 0), "a move brings it back")
    app.press("Tab")
    app.wait_for_picture(home)
    app.point(8, 8)
    time.sleep(0.5)  # nothing to wait for: nothing must happen
    app.wait_for_picture(home)


def test_typing_the_first_letters_of_a_name_chooses_it(app, paint, names):
    open_strip(app)
    app.press("g")
    wait_in_strip(app, lambda: framed(app, 0) and app.reads("1 great-wave", layout(app).letters), "only that is left")
    wait_for_painting(app, paint("great-wave"))
    for key, word in [("m", "1 mosaic"), ("e", "1 metzinger")]:
        app.press(key)
        wait_in_strip(app, lambda word=word: app.reads(word, layout(app).letters), word)
    wait_for_painting(app, paint("metzinger"))
    app.press("c")
    second = [name for name in names if name.startswith("c")][1]
    wait_in_strip(app, lambda: app.reads(f"2 {second}", TIGHT_LETTERS), "those that begin with c")
    app.press("2")
    wait_for_painting(app, paint(second))
    app.press("Escape")
    wait_until(lambda: not app.reads("strength 100%", layout(app).letters), "the strip is closed")
    assert app.alive, "Escape quit"


def test_the_mouse_chooses_scrolls_and_mixes(app, paint, names):
    open_strip(app)
    app.point(*cell(app, 1), "click", 1)
    wait_for_painting(app, paint(names[1]))
    wait_in_strip(app, lambda: framed(app, 1), "the present style is framed")
    app.point(*cell(app, 2), *["click", 5] * 4)
    first = f"1 {names[0]}"
    wait_in_strip(app, lambda: app.reads(f"8 {names[7]}", layout(app).letters), "it scrolls")
    assert not app.reads(first, layout(app).letters)
    for _ in range(len(names)):  # OpenCV's Qt windows enlarge the picture when the wheel is turned up
        app.point(*cell(app, 2), "click", 5)
        if app.reads(first, layout(app).letters):
            break
    wait_in_strip(app, lambda: app.reads(first, layout(app).letters), "it begins again")
    app.press("2")
    app.point(*cell(app, 1), "mousedown", 1)
    app.point(*cell(app, 1, 0.8))
    app.point(*cell(app, 1, 1.0))
    app.point(*cell(app, 1, 1.0), "mouseup", 1)
    wait_for_painting(app, paint(f"{names[1]}:0.5,{names[2]}:0.5"), tolerance=20)
    wait_in_strip(app, lambda: framed(app, 1) and framed(app, 2), "both are framed")


def test_sliders_are_dragged(app, home):
    open_strip(app)
    track = layout(app).sliders[0]
    app.point(track.left + track.width // 2, track.top + track.height // 2, "click", 1)
    wait_for_painting(app, np.uint8(np.rint((PHOTOGRAPH.astype(float) + home) / 2)), tolerance=8)
    app.point(track.left + track.width // 2, track.top + track.height // 2, "mousedown", 1)
    app.point(track.left - 30, 40)
    app.point(track.left - 30, 40, "mouseup", 1)
    wait_for_painting(app, PHOTOGRAPH, tolerance=0)
    wait_in_strip(app, lambda: app.reads("strength 0%", layout(app).letters), "the value is written")


@pytest.mark.parametrize("size", [(320, 240), (3840, 2160)], ids=str)
def test_everything_can_be_read_on_small_and_large_screens(tmp_path, photograph, names, size):
    screen = Screen(tmp_path, size=(max(1024, size[0]), max(768, size[1])))
    app = App(screen, "--source", photograph, "--style", names[0], *PLAIN, folder=tmp_path)
    try:
        app.wait_for_size(WIDTH, HEIGHT)
        if size[0] > 1024:
            app.press("f")
        else:
            app.resize(*size)
        app.wait_for_size(*size)
        width, height = size
        upper, lower = (0, 0, width // 2, height // 2), (0, height - height // 3, width // 3, height // 3)

        def read(part, words, letters):
            return reads(app.look(part), words, letters)

        words = f"{names[0]}, strength 100%"
        wait_until(lambda: read(upper, words, overlay.letters_on(height, width)), words)
        open_strip(app)
        letters = layout(app).letters
        assert letters == overlay.letters_on(height, width, 0.7) >= 11
        for words in (f"1 {names[0]}", "strength 100%"):
            wait_in_strip(app, lambda words=words: read(lower, words, letters), words)
        app.press("Escape")
        # of two keys pressed while a large picture is being shown, OpenCV's window reports the second only
        wait_until(lambda: not read(lower, f"1 {names[0]}", letters), "the strip is closed")
        app.press("h")
        left_half = (0, 0, width // 2, height)
        wait_until(lambda: read(left_half, "full screen", 9 if width < 400 else 66), "the help can be read")
    finally:
        app.close()
        screen.close()
