"""The strip of styles: its keys, its mouse, its sliders and its pictures, on a loop that does not run."""

import time

import numpy as np
import pytest
from support.live_session import CODES, NAMES, Net, grey, hand, toy_model, wait_until
from support.screen import reads
from support.sources import ManualClock

from rtstyle.errors import RtstyleError
from rtstyle.live import display, overlay
from rtstyle.live.statistics import Painted
from rtstyle.live.strip import ORANGE, VISIBLE_SECONDS, Layout
from rtstyle.live.thumbnails import Thumbnails
from rtstyle.media.window import Mouse

pytest_plugins = ["support.live_fixtures"]

SIZE = 480, 800  # height and width of the window
SHAPE = 96, 160


class Desk:
    """A session whose time is its own; `open` shows the strip with all its pictures."""

    def __init__(self, session):
        self._clock = ManualClock(passes=False, time=100.0)
        self.s = session(hand(), net=Net(), clock=self._clock)
        self.s.controls.latest = Painted(1, self.now, grey(10, *SHAPE), grey(20, *SHAPE))
        self.strip, self.styles = self.s.controls.strip, self.s.styles

    @property
    def now(self):
        return self._clock.time

    @now.setter
    def now(self, time):
        self._clock.time = time

    def open(self):
        self.press("\t")
        wait_until(lambda: not self.strip.thumbnails.busy)
        self.look()
        self.layout = Layout.on(*SIZE, SHAPE[1] / SHAPE[0], 2)
        return self

    def press(self, *keys):
        for key in keys:
            self.s.live.press(key)

    def look(self):
        controls = self.s.controls
        return display.compose(controls, self.s.live.statistics, controls.latest, self.now, SIZE)

    def mouse(self, what, x, y, steps=0):
        self.s.window.mouse.append(Mouse(what, round(x), round(y), steps))
        return self.s.controls.follow_mouse()

    def cell(self, place, across=0.5):
        """A place in the picture of a style."""
        return (place + across) * self.layout.cell, self.layout.cells.top + 20


@pytest.fixture
def desk(session):
    return Desk(session)


@pytest.fixture
def opened(desk):
    return desk.open()


# -- what is seen


def test_the_strip_shows_the_frame_in_every_style_and_marks_the_present_one(opened):
    canvas, layout = opened.look(), opened.layout
    for place in range(3):
        x, y = (round(value) for value in opened.cell(place))
        assert (canvas[y, x] == 255 - 10).all(), "the net paints negatives"
        corner = canvas[layout.cells.top, round(opened.cell(place, 0.5)[0])]
        assert (tuple(corner) == ORANGE) == (place == 0)
    for place, name in enumerate(NAMES):
        assert reads(canvas, f"{place + 1} {name}", layout.letters)
    assert (canvas[: layout.strip.top] == opened.s.live.controls.latest.picture[0, 0]).all(axis=2).any()


@pytest.mark.parametrize("size", [(320, 240), (1280, 720), (3840, 2160)], ids=str)
def test_names_and_sliders_can_be_read_at_any_size(opened, size):
    width, height = size
    controls = opened.s.controls
    canvas = display.compose(controls, opened.s.live.statistics, controls.latest, opened.now, (height, width))
    letters = overlay.letters_on(height, width, 0.7)
    left = canvas[Layout.on(height, width, SHAPE[1] / SHAPE[0], 2).strip.top :, : width // 3]
    assert letters >= 11 and all(reads(left, words, letters) for words in ("1 reed", "strength 100%"))


def test_messages_are_above_the_strip(opened):
    opened.s.controls.messages.say("saved a.png", 9)
    canvas = opened.look()
    assert reads(canvas[: opened.layout.strip.top], "saved a.png", overlay.letters_on(opened.layout.strip.top, 800))


def test_the_strip_hides_after_three_seconds_and_a_move_brings_it_back(opened):
    opened.now += VISIBLE_SECONDS - 0.01
    assert opened.strip.visible(opened.now)
    opened.now += 0.02
    assert not opened.strip.visible(opened.now) and opened.look()[-1].max() < 21
    assert not opened.mouse("move", 5, 5), "nothing about the picture changes"
    assert opened.strip.visible(opened.now)
    opened.press("\t")
    assert not opened.strip.visible(opened.now)
    opened.mouse("move", 6, 6)
    assert not opened.strip.visible(opened.now), "it was closed for good"


def test_a_hidden_strip_takes_no_keys_and_no_clicks(opened):
    opened.now += VISIBLE_SECONDS + 1
    opened.press("m")
    assert opened.s.settings.mirror, "m mirrors again"
    opened.now += VISIBLE_SECONDS + 1
    opened.mouse("press", *opened.cell(2))
    opened.mouse("release", *opened.cell(2))
    assert opened.styles.label == NAMES[0], "a click into what is not seen chooses nothing"


# -- keys


@pytest.mark.parametrize(
    ("keys", "expected"), [("o", 1), ("S", 2), ("3", 2), ("X", 0), ("ochre", 1), ("ochreslate", 2), ("-", 0), ("9", 0)]
)
def test_typing_a_name_chooses_it_as_soon_as_only_one_is_left(opened, keys, expected):
    opened.press(*keys)
    assert opened.styles.label == NAMES[expected]


def names_of_a_gallery(*names):
    class Gallery(Net):
        def gallery(self):
            import dataclasses

            cards = toy_model().styles
            return [dataclasses.replace(cards[i % 3], name=name) for i, name in enumerate(names)]

    return Gallery()


def test_typing_narrows_and_numbers_and_enter_choose_among_those_that_are_left(session):
    s = session(
        hand(),
        net=names_of_a_gallery("kiss", "calavera", "cafe", "scream", "seurat"),
        clock=ManualClock(passes=False, time=1.0),
    )
    s.controls.latest = Painted(1, 1.0, grey(10), grey(20))
    press = s.live.press
    press("\t")
    press("s")
    assert s.controls.strip.shown == [3, 4]
    press("2")
    assert s.styles.label == "seurat" and s.controls.strip.shown == [0, 1, 2, 3, 4]
    press("c")
    press("\r")
    assert s.styles.label == "calavera"
    press("c")
    press("q")
    assert s.controls.strip.query == "c", "no style begins with cq"
    assert s.controls.messages.current(1.0) == "no style begins with cq"
    press("\b")
    assert s.controls.strip.shown == [0, 1, 2, 3, 4]
    press("\x1b")
    assert not s.controls.strip.visible(1.0) and not s.controls.quit
    press("\x1b")
    assert s.controls.quit


def test_every_bundled_style_takes_two_keys_at_most():
    from rtstyle import styles

    names = [style.name for style in styles()]
    assert len(names) == 23
    for name in names:
        alike = [other for other in names if other.startswith(name[0])]
        assert alike.index(name) < 10 or [other for other in alike if other.startswith(name[:2])] == [name]


def test_other_keys_keep_their_meaning(opened):
    opened.press("[", " ")
    assert opened.s.painter.strength == 0.9 and opened.s.settings.frozen
    assert opened.strip.visible(opened.now)


def test_enter_paints_the_thumbnails_again_from_the_current_frame(opened):
    opened.s.controls.latest = Painted(2, opened.now, grey(200, *SHAPE), grey(20, *SHAPE))
    version = opened.strip.thumbnails.version
    opened.press("\t", "\t")
    assert opened.strip.thumbnails.version == version, "opening it again paints nothing"
    opened.press("\r")
    wait_until(lambda: not opened.strip.thumbnails.busy)
    assert all((picture == 55).all() for picture in opened.strip.thumbnails.pictures.values())


def test_escape_closes_a_strip_that_has_just_hidden_instead_of_quitting(opened):
    opened.now += VISIBLE_SECONDS + 0.1
    opened.press("\x1b")
    assert not opened.s.controls.quit and not opened.strip.open
    opened.press("\x1b")
    assert opened.s.controls.quit


# -- the mouse


def test_a_click_chooses_a_style(opened):
    opened.mouse("move", *opened.cell(1))
    opened.mouse("press", *opened.cell(1))
    assert opened.mouse("release", *opened.cell(1))
    assert opened.styles.label == NAMES[1]
    opened.mouse("press", 790, opened.cell(0)[1])  # there is no style
    opened.mouse("release", 790, opened.cell(0)[1])
    assert opened.styles.label == NAMES[1]


def test_a_drag_from_one_to_the_other_mixes_them(opened):
    opened.mouse("press", *opened.cell(0, 0.5))
    shares = []
    for across in (0.75, 1.0, 1.25, 1.5, 2.0, 2.5):
        assert opened.mouse("drag", *opened.cell(0, across))
        first, second, share = opened.styles.position
        shares.append(first + share * (second - first))
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1.5, 2], abs=0.01)
    opened.mouse("drag", *opened.cell(0, 1.0))
    opened.mouse("release", *opened.cell(0, 1.0))
    assert opened.styles.label == "reed 50%, ochre 50%"
    np.testing.assert_allclose(opened.styles.fade.end, (CODES[0] + CODES[1]) / 2, atol=0.02)
    canvas = opened.look()
    framed = [tuple(canvas[opened.layout.cells.top, round(opened.cell(i)[0])]) == ORANGE for i in range(3)]
    assert framed == [True, True, False]


def test_keys_go_on_from_a_mix_by_mouse(opened):
    opened.styles.mix(0, 2, 0.5, opened.now)
    opened.now += 10
    opened.press("x")
    assert opened.styles.position == (0, 2, 0.55)
    for _ in range(11):
        opened.press("X")
    assert opened.styles.position == (0, 0, 0.0)


def test_sliders_set_strength_and_steadiness(opened):
    strength, steady = opened.layout.sliders
    middle = strength.top + 5
    opened.mouse("press", strength.left + 0.25 * strength.width, middle)
    assert opened.s.painter.strength == pytest.approx(0.25, abs=0.01)
    opened.mouse("drag", strength.left + 0.5 * strength.width, 20)  # a held slider follows wherever the mouse goes
    assert opened.s.painter.strength == pytest.approx(0.5, abs=0.01)
    opened.mouse("drag", 0, 20)
    assert opened.s.painter.strength == 0
    opened.mouse("release", 0, 20)
    opened.mouse("press", steady.left + 0.6 * steady.width, middle)
    opened.mouse("release", steady.left + 0.6 * steady.width, middle)
    assert opened.s.painter.steady and opened.s.painter.steadiness == pytest.approx(0.6, abs=0.01)
    opened.now += VISIBLE_SECONDS + 1
    opened.press("t")
    assert opened.s.painter.steadiness == 0


def test_wheels_scroll_what_does_not_fit(session):
    s = session(
        hand(), net=names_of_a_gallery(*(f"style-{i:02}" for i in range(30))), clock=ManualClock(passes=False, time=1.0)
    )
    s.controls.latest = Painted(1, 1.0, grey(10, *SHAPE), grey(20, *SHAPE))
    s.live.press("\t")

    def look():
        return display.compose(s.controls, s.live.statistics, s.controls.latest, 1.0, SIZE)

    look()
    letters = overlay.letters_on(*SIZE, 0.7)
    for _ in range(3):
        s.window.mouse.append(Mouse("wheel", 300, 470, -1))
    s.controls.follow_mouse()
    canvas = look()
    assert reads(canvas, "4 style-03", letters) and not reads(canvas, "1 style-00", letters)
    for _ in range(40):
        s.window.mouse.append(Mouse("wheel", 300, 470, -1))
        s.controls.follow_mouse()
        if reads(look(), "style-29", letters):
            break
    assert reads(look(), "style-29", letters)
    s.window.mouse.append(Mouse("wheel", 300, 470, 1))
    s.controls.follow_mouse()
    assert not reads(look(), "style-29", letters)
    s.styles.choose(1, 1.0)
    s.styles.choose(0, 1.0)
    assert reads(look(), "1 style-00", letters), "a style that is chosen comes into view"


def test_above_the_strip_the_mouse_moves_the_line_of_the_split_view(opened):
    opened.press("\t", "v")
    opened.press("\t")
    opened.look()
    assert opened.mouse("press", 200, 100)
    assert opened.s.settings.split == 0.25
    opened.mouse("drag", 400, opened.layout.cells.top + 5)
    assert opened.s.settings.split == 0.25 or opened.styles.label == NAMES[0]


# -- the pictures


def test_thumbnails_take_a_tenth_of_the_time_and_end_when_stopped():
    net = Net(pause=0.02)
    thumbnails = Thumbnails(net, net.gallery())
    thumbnails.paint(grey(10, 96, 160))
    thumbnails.paint(grey(90, 96, 160))  # one at a time
    wait_until(lambda: thumbnails.version == 3)
    gaps = np.diff(net.times)
    assert (gaps > 0.19).all(), "it rests nine times as long as it paints"
    thumbnails.paint(grey(20, 96, 160))
    thumbnails.stop()
    thumbnails.join()
    count = len(net.times)
    assert not thumbnails.busy and count < 6
    thumbnails.paint(grey(20, 96, 160))
    assert len(net.times) == count, "closed is closed"


def test_thumbnails_of_thirty_styles_are_complete_within_five_seconds():
    net = names_of_a_gallery(*(f"style-{i:02}" for i in range(30)))
    net.pause = 0.05
    rests = []
    thumbnails = Thumbnails(net, net.gallery())
    thumbnails._stop.wait = rests.append
    thumbnails.paint(grey(10, 96, 160))
    wait_until(lambda: thumbnails.version == 30)
    assert sum(rests) + 30 * net.pause < 5.0


def test_a_net_that_fails_ends_the_thumbnails_without_an_error():
    net = Net(fails_at=1)
    thumbnails = Thumbnails(net, net.gallery())
    thumbnails.paint(grey(10))
    wait_until(lambda: not thumbnails.busy)
    assert list(thumbnails.pictures) == [NAMES[0]]
    with pytest.raises(RtstyleError):
        Net(fails_at=0).run(grey(1)[None])


def test_a_model_of_one_style_has_a_strip_of_one(session):
    s = session(hand(), net=Net(takes_code=False, count=1), clock=ManualClock(passes=False, time=1.0))
    s.controls.latest = Painted(1, 1.0, grey(10, *SHAPE), grey(20, *SHAPE))
    s.live.press("\t")
    wait_until(lambda: s.controls.strip.thumbnails.version == 1)
    s.live.press("1")
    assert s.controls.messages.current(1.0) == "this model has one style only"


def test_an_open_strip_costs_less_than_a_fiftieth_of_a_frame(opened):
    """In time of the processor, in turns, so that other work on the machine does not count; at 30 frames a second."""
    controls, taken = opened.s.controls, {True: [], False: []}
    for _ in range(15):
        for opened.strip.open in (True, False):
            began = time.thread_time()
            display.compose(controls, opened.s.live.statistics, controls.latest, opened.now, (720, 1280))
            taken[opened.strip.open].append(time.thread_time() - began)
    assert np.median(taken[True]) - np.median(taken[False]) < 0.02 / 30
