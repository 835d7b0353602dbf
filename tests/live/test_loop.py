"""The frame loop: the newest frame wins, keys change the look, outputs get what is seen, ends are clean.

The net is a fake that paints negatives at once and notes what it was asked for; the window is a fake that keeps
what it is shown; time, threads, recordings and sources are real.
"""

import dataclasses
import functools
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.media_files import picture, psnr, rgb_frames, stamps
from support.sources import Hand

from rtstyle import RtstyleError, Stylizer
from rtstyle.errors import Interrupted
from rtstyle.gallery import catalog
from rtstyle.live import loop as live_module
from rtstyle.live import overlay
from rtstyle.live.frame_rate import Pace
from rtstyle.live.loop import Live, Recent, Settings, middle_and_most
from rtstyle.media.camera import Capture, PictureFolder
from rtstyle.media.outputs import Recorder, VirtualCamera
from rtstyle.paint import look
from rtstyle.paint.painter import Painter
from rtstyle.runtime.devices import Device
from rtstyle.signals import ended_by_signals

pytest_plugins = ["support.runtime_fixtures"]

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

NAMES = ("reed", "ochre", "slate")
CODES = np.eye(3, dtype=np.float32)
THREADS = {"capture", "painting", "recorder", "virtual camera", "snapshot"}


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    wait_until(lambda: not THREADS & {thread.name for thread in threading.enumerate()})


def grey(level, height=24, width=32):
    return np.full((height, width, 3), level % 256, np.uint8)


# -- stand-ins


def fake_model(takes_code=True, count=3):
    cards = [
        catalog.Style(name, name.title(), "N. Umpy", "2024", "CC0", "", "fake", code)
        for name, code in zip(NAMES[:count], CODES[:count], strict=True)
    ]
    return catalog.Model(Path("fake.onnx"), "fake", "0" * 64, 160, tuple(cards), takes_code)


class Net:
    """A FramePainter: paints negatives in `pause` seconds and notes when and with which code."""

    working_size = Stylizer.working_size

    def __init__(self, pause=0.0, takes_code=True, count=3, work_height=None, fails_at=None):
        self.model = fake_model(takes_code, count)
        self.style, self.code = NAMES[0], CODES[0] if takes_code else None
        self.work_height, self.device = work_height, Device("abacus", [], "it was at hand")
        self.reference_height = self.model.reference_height
        self.pause, self.fails_at = pause, fails_at
        self.times, self.codes, self.heights = [], [], []

    def gallery(self):
        return catalog.mixable(self.model)

    def run(self, batch, code=None):
        assert self.code is not None or code is None, "this model takes no code"
        if self.fails_at == len(self.times):
            raise RtstyleError("the net is torn")
        self.times.append(time.monotonic())
        self.codes.append(code)
        self.heights.append(batch.shape[1])
        if self.pause:
            time.sleep(self.pause)
        return 255 - batch


class Ticking:
    """A source that gives a frame of its number's grey level every `pause` seconds, `count` in all."""

    def __init__(self, pause=0.004, count=None, size=(24, 32), returns=False):
        self.pause, self.count, self.size, self.returns = pause, count, size, returns
        self.number = self.closed = 0
        self._woken = threading.Event()

    def read(self):
        if self._woken.wait(self.pause) or self.number == self.count:
            return None
        self.number += 1
        return grey(self.number, *self.size)

    def wake(self):
        self._woken.set()

    def close(self):
        self.closed += 1


hand = functools.partial(Hand, returns=False)  # None ends it


class FakeWindow:
    """Keeps the pictures it is shown; `keys` are pressed one after another."""

    def __init__(self):
        self.pictures, self.keys = deque(maxlen=2000), deque()
        self.shows = self.idle = self.closings = 0
        self.closed = self.full_screen = False
        self.dragged = None

    def show(self, rgb):
        assert not self.closings and rgb.dtype == np.uint8 and rgb.ndim == 3
        self.pictures.append(rgb)
        self.shows += 1

    def poll(self):
        if self.keys:
            return self.keys.popleft()
        self.idle += 1
        return None

    def toggle_full_screen(self):
        self.full_screen = not self.full_screen

    def close(self):
        self.closings += 1


class Sink:
    """Stands in for a virtual camera or a recorder: keeps what is written to it."""

    def __init__(self):
        self.times, self.frames, self.finished, self.error = [], [], 0, None

    def write(self, seconds, rgb):
        assert not self.finished
        self.times.append(seconds)
        self.frames.append(rgb)

    def finish(self, seconds=0.0):
        self.finished += 1


class Session:
    """A live loop of stand-ins: `start` it in a thread, `press` keys, `wait` for what comes of them, `end` it."""

    def __init__(self, folder, source=None, *, net=None, window=True, painter=None, **options):
        self.source = Ticking() if source is None else source
        self.net = net or Net()
        self.window = FakeWindow() if window is True else window or None
        self.capture = Capture(lambda: self.source)
        self.painter = painter or Painter(self.net)
        self.painted, self.shown, self.outcome = [], [], None
        options = {"target_fps": None, "on_show": self._note, **options}
        self.live = Live(self.capture, self.painter, window=self.window, folder=folder, **options)
        self.settings, self._thread = self.live.settings, None
        publish = self.live._publish
        self.live._publish = lambda painted: (self.painted.append(painted), publish(painted))

    def _note(self, painted, now):
        self.shown.append(painted)

    @property
    def numbers(self):
        return [painted.number for painted in self.shown]

    def start(self, **limits):
        def work():
            try:
                self.outcome = self.live.run(**limits)
            except BaseException as error:
                self.outcome = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return self

    def wait(self, condition, seconds=10.0):
        wait_until(lambda: condition() or self.outcome is not None, seconds)
        assert condition(), f"it ended before that: {self.outcome!r}"

    def wait_for_frames(self, count):
        already = len(self.shown)
        self.wait(lambda: len(self.shown) >= already + count)

    def press(self, *keys):
        for key in keys:
            self.window.keys.append(key)
        before = self.window.idle
        self.wait(lambda: self.window.idle > before)

    def press_and_see(self, key):
        """Press a key and wait for the picture that comes of it."""
        already = len(self.shown)
        self.press(key)
        self.wait(lambda: len(self.shown) > already)

    def end(self, seconds=15.0):
        """The summary; raises what the loop raised."""
        if self.window:
            self.window.keys.append("q")
        elif self.outcome is None:
            self.live.press("q")
        return self.join(seconds)

    def join(self, seconds=15.0):
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it does not end"
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def close(self):
        if self._thread and self._thread.is_alive():
            self.live.press("q")
            self._thread.join(15)
        self.capture.close()


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Makes sessions: session(source, net=..., window=..., and what Live takes)."""
    monkeypatch.setattr(catalog, "user_folder", lambda: tmp_path / "none")
    made = []

    def make(source=None, *, folder=tmp_path, **options):
        made.append(Session(folder, source, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def texts(monkeypatch):
    """Every line that is written over a picture."""
    lines, write = deque(maxlen=2000), overlay.write

    def spy(rgb, words, **options):
        lines.extend(words)
        write(rgb, words, **options)

    monkeypatch.setattr(overlay, "write", spy)
    return lines


# -- what is painted and shown


def test_the_window_shows_the_painted_frame(session):
    photograph = picture(0, 24, 32)
    s = session(hand(photograph), settings=Settings(show_display=False)).start()
    s.wait(lambda: s.shown)
    s.end()
    painted = s.shown[0]
    assert painted.number == 1 and (painted.frame == photograph).all()
    assert (painted.picture == 255 - photograph).all()
    shown = s.window.pictures[-1]
    times = shown.shape[0] // 24
    assert times > 1 and (shown[::times, ::times] == painted.picture).all(), "small pictures are enlarged to read on"


def test_a_real_net_paints_what_the_camera_gives(session, stylizer):
    photograph = picture(0, 48, 64)
    s = session(hand(photograph), painter=Painter(stylizer), window=False).start()
    s.wait(lambda: s.shown)
    summary = s.end()
    assert (s.shown[0].picture == stylizer(photograph)).all()
    assert summary.captured == summary.painted == 1


def test_the_newest_frame_is_painted_and_the_rest_dropped(session):
    s = session(Ticking(0.002), net=Net(pause=0.03), window=False).start()
    s.wait_for_frames(12)
    summary = s.end()
    assert all(a < b for a, b in itertools.pairwise(s.numbers)), "a frame was painted twice, or an old one"
    assert all((painted.frame == painted.number % 256).all() for painted in s.shown)
    assert s.numbers[-1] > 2 * len(s.numbers), "nothing was dropped"
    ages = [began - painted.time for painted, began in zip(s.painted, s.net.times, strict=True)]
    assert np.median(ages) < 0.02, "old frames were queued"
    assert summary.captured >= s.numbers[-1]


def test_every_captured_frame_is_painted_or_counted_as_dropped(session):
    s = session(Ticking(0.003, count=150), net=Net(pause=0.012), window=False)
    summary = s.start().join()
    seen = [painted.number for painted in s.painted]
    assert len(seen) == summary.painted
    assert summary.dropped == seen[-1] - seen[0] - (len(seen) - 1) > 20


def test_a_fast_painter_drops_nothing_and_paints_nothing_twice(session):
    s = session(hand(), window=False).start()
    for i in range(15):
        s.source.give(grey(i))
        s.wait(lambda i=i: len(s.painted) == i + 1)
    s.source.give(None)
    summary = s.join()
    assert (summary.captured, summary.painted, summary.dropped) == (15, 15, 0)
    assert len(s.net.times) == 15


def test_the_window_does_not_wait_for_the_net(session):
    s = session(Ticking(0.01), net=Net(pause=0.8))
    s.start()
    before = s.window.idle
    time.sleep(0.4)
    assert s.window.idle - before > 10, "keys were not looked at while a frame was painted"
    s.press("m")
    assert s.settings.mirror
    s.end()


def test_the_window_is_drawn_before_the_first_picture(session, texts):
    s = session(hand()).start()
    s.wait(lambda: s.window.shows > 0)
    s.press("n", "p", "s", "i", "h", "m")
    s.end()
    assert "waiting for the first picture" in texts
    assert s.live._summary.files == []


def test_a_source_that_changes_size_goes_on(session):
    source = hand(grey(10))
    s = session(source).start()
    s.wait(lambda: s.numbers == [1])
    source.give(grey(20, 48, 40))
    s.wait(lambda: s.numbers == [1, 2])
    s.end()
    assert [painted.picture.shape for painted in s.shown] == [(24, 32, 3), (48, 40, 3)]


# -- the crossfade


def shares(s, since=0):
    """[(seconds, how much of the second style)] of everything painted."""
    return [(at, code[1]) for at, code in zip(s.net.times[since:], s.net.codes[since:], strict=False)]


def test_changing_the_style_is_a_crossfade_of_half_a_second(session):
    s = session(Ticking(0.005)).start()
    s.wait_for_frames(3)
    before = time.monotonic()
    s.press("2")
    after = time.monotonic()
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.end()

    def smooth(seconds):
        t = min(1.0, max(0.0, seconds / 0.5))
        return t * t * (3 - 2 * t)

    found = shares(s)
    assert all(b >= a for (_, a), (_, b) in itertools.pairwise(found)), "it went back"
    assert all(share <= smooth(at - before) + 1e-3 for at, share in found), "faster than it may be"
    assert all(share >= smooth(at - after - 0.3) - 1e-3 for at, share in found), "slower than it should be"
    assert all(code[2] == 0 and code.sum() == pytest.approx(1) for code in s.net.codes)
    between = {share for _, share in found if 0 < share < 1}
    assert len(between) >= 4, "it jumped"


def test_new_frames_keep_coming_during_a_crossfade(session):
    s = session(Ticking(0.01), net=Net(pause=0.005)).start()
    s.wait_for_frames(3)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.end()
    fading = [painted.number for painted, code in zip(s.painted, s.net.codes, strict=True) if 0 < code[1] < 1]
    assert len(set(fading)) >= 6 and fading == sorted(fading)


def test_switching_during_a_fade_starts_from_where_it_is(session):
    s = session(Ticking(0.005)).start()
    s.wait_for_frames(2)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] > 0.3)
    s.press("3")
    s.wait(lambda: s.net.codes[-1][2] == 1)
    s.end()
    codes = np.array(s.net.codes)
    assert codes[:, 1].max() < 1, "it waited for the first fade"
    jumps = np.abs(np.diff(codes, axis=0)).max(axis=1)
    gaps = np.diff(s.net.times)
    assert (jumps <= 4 * gaps + 0.2).all(), "it jumped: nothing moves faster than 1.5 / 0.5 a second"


def test_the_steadied_past_is_let_go_while_the_style_changes(session):
    weights = []

    class Noting(Painter):
        def __call__(self, frame, code=None, *, history_weight=1.0):
            weights.append((history_weight, float(code[1])))
            return super().__call__(frame, code, history_weight=history_weight)

    net = Net()
    s = session(Ticking(0.005), net=net, painter=Noting(net)).start()
    s.wait(lambda: len(weights) > 4)
    s.press("2")
    s.wait(lambda: weights[-1] == (1.0, 1.0))
    s.end()
    assert {weight for weight, share in weights if 0 < share < 1} == {0.0}
    assert {weight for weight, share in weights[1:] if share == 0} <= {1.0, 0.0}
    assert weights[1][0] == weights[-1][0] == 1.0


# -- the keys, one by one


@pytest.fixture
def still(session):
    """A session that does not run, for the effect of keys alone."""
    return session(hand())


def chosen(s):
    """Where the style is heading: (label, code)."""
    return s.live._label, s.live._fade.at(time.monotonic() + 60)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", 0),
        ("2", 1),
        ("31", 0),
        ("n", 1),
        ("nn", 2),
        ("nnn", 0),
        ("p", 2),
        ("pn", 0),
        ("9", 0),
        ("20", 1),
        ("yzQ@", 0),
    ],
)
def test_keys_choose_the_style(still, keys, expected):
    for key in keys:
        still.live.press(key)
    label, code = chosen(still)
    assert label == NAMES[expected]
    assert (code == CODES[expected]).all()


def test_zero_is_the_tenth_style(session, monkeypatch):
    tenth = dataclasses.replace(fake_model().styles[2], name="tenth")
    monkeypatch.setattr(catalog, "mixable", lambda model: [*model.styles] * 3 + [tenth])
    s = session(hand())
    s.live.press("0")
    assert chosen(s)[0] == "tenth"


@pytest.mark.parametrize(("key", "expected"), [("n", 0), ("p", 2), ("x", 0)])
def test_from_a_mix_of_the_command_line_keys_lead_into_the_gallery(session, key, expected):
    net = Net()
    net.style, net.code = "reed:0.5,slate:0.5", (CODES[0] + CODES[2]) / 2
    s = session(hand(), net=net)
    s.live.press(key)
    assert chosen(s)[0].startswith(NAMES[expected])


def test_strength_moves_in_tenths_between_its_ends(still):
    levels = []
    for key in "]" + "[" * 12 + "]]]":
        still.live.press(key)
        levels.append(still.painter.strength)
    wanted = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3]
    assert levels == wanted


@pytest.mark.parametrize(
    ("key", "get", "values"),
    [
        ("c", lambda s: s.painter.keep_color, [False, True, False]),
        ("t", lambda s: s.painter.steady, [False, True, False]),
        ("a", lambda s: s.settings.cycle, [False, True, False]),
        (" ", lambda s: s.settings.frozen, [False, True, False]),
        ("m", lambda s: s.settings.mirror, [False, True, False]),
        ("v", lambda s: s.settings.split, [None, 0.5, None]),
        ("i", lambda s: s.settings.show_display, [True, False, True]),
        ("h", lambda s: s.settings.show_help, [False, True, False]),
        ("f", lambda s: s.window.full_screen, [False, True, False]),
        ("q", lambda s: s.live._stop, [False, True, True]),
    ],
)
def test_keys_that_switch_something(still, key, get, values):
    found = [get(still)]
    for _ in range(2):
        still.live.press(key)
        found.append(get(still))
    assert found == values


def test_full_screen_without_a_window_is_nothing(session):
    session(hand(), window=False).live.press("f")


@pytest.mark.parametrize("key", ["y", "Z", "@", "ä", "\t", "\r"])
def test_other_keys_change_nothing(still, key):
    before = dataclasses.asdict(still.settings), chosen(still)[0], still.painter.strength
    still.live.press(key)
    assert (dataclasses.asdict(still.settings), chosen(still)[0], still.painter.strength) == before


def test_mixing_walks_to_the_next_style_and_back(still):
    labels, codes = [], []
    for key in "x" * 21 + "X" * 21:
        still.live.press(key)
        label, code = chosen(still)
        labels.append(label)
        codes.append(code)
    assert labels[0] == "reed 95%, ochre 5%" and labels[9] == "reed 50%, ochre 50%"
    assert labels[19] == "ochre" and (codes[19] == CODES[1]).all()
    assert labels[20] == "ochre 95%, slate 5%"
    np.testing.assert_allclose(codes[4], [0.75, 0.25, 0], atol=1e-6)
    assert labels[21:41] == labels[19::-1] and labels[41] == "reed"
    assert (codes[41] == CODES[0]).all() and codes[0].dtype == np.float32


def test_mixing_goes_around(still):
    still.live.press("X")
    label, code = chosen(still)
    assert label == "slate 5%, reed 95%"
    np.testing.assert_allclose(code, [0.95, 0, 0.05], atol=1e-6)
    still.live.press("n")
    assert chosen(still)[0] == "reed", "from a mix of the third and first, the next is the first"


def test_a_held_key_mixes_without_a_jump(session):
    s = session(Ticking(0.005)).start()
    s.wait_for_frames(2)
    for _ in range(10):
        s.press("x")
        time.sleep(0.01)
    s.wait(lambda: s.net.codes[-1][1] == pytest.approx(0.5))
    s.end()
    found = [share for _, share in shares(s)]
    assert found == sorted(found)
    assert max(np.diff(found)) < 0.3


@pytest.mark.parametrize("keys", ["n", "p", "2", "x", "X", "a"])
def test_a_model_with_one_style_says_so(session, texts, keys):
    s = session(Ticking(), net=Net(takes_code=False, count=1)).start()
    s.wait_for_frames(1)
    s.press(*keys)
    s.wait_for_frames(3)
    s.end()
    assert {"this model has one style only", "there is no other style to mix with"} & set(texts)
    assert all(code is None for code in s.net.codes) and len(s.net.codes) > 3


def test_a_single_style_with_a_code_has_nothing_to_mix_with(session, texts):
    s = session(Ticking(), net=Net(count=1)).start()
    s.wait_for_frames(1)
    s.press("x", "n", "1")
    s.end()
    assert "there is no other style to mix with" in texts
    assert all((code == CODES[0]).all() for code in s.net.codes)


def test_styles_take_turns(session, monkeypatch):
    monkeypatch.setattr(live_module, "CYCLE_SECONDS", 0.15)
    monkeypatch.setattr(live_module, "CYCLE_FADE_SECONDS", 0.05)
    s = session(Ticking(0.005), settings=Settings(cycle=True)).start()
    s.wait(lambda: {1, 2, 0} <= {int(code.argmax()) for code in s.net.codes[3:] if code.max() == 1})
    order = [int(code.argmax()) for code in s.net.codes if code.max() == 1]
    order = [style for style, _ in itertools.groupby(order)]
    assert [(b - a) % 3 for a, b in itertools.pairwise(order)] == [1] * (len(order) - 1)
    s.press("a")
    s.wait(lambda: s.net.codes[-1].max() == 1)
    label = s.live._label
    time.sleep(0.4)
    assert s.live._label == label, "they still take turns"
    s.end()


def test_turns_begin_at_once_and_rest_while_frozen(session, monkeypatch):
    monkeypatch.setattr(live_module, "CYCLE_SECONDS", 0.1)
    s = session(Ticking()).start()
    s.wait_for_frames(1)
    s.press(" ", "a")
    time.sleep(0.3)
    assert s.live._label == "reed"
    s.press(" ")
    s.wait(lambda: s.live._label == "ochre")
    s.end()


# -- freeze, mirror, before and after


def test_a_frozen_picture_stays_but_the_look_still_changes(session):
    s = session(Ticking(0.005)).start()
    s.wait_for_frames(3)
    s.press(" ")
    s.wait(lambda: s.painted[-1].number == s.painted[-2].number and s.live._latest is s.shown[-1])
    number, painted = s.numbers[-1], len(s.painted)
    time.sleep(0.15)
    assert s.numbers[-1] == number, "it is not frozen"
    assert len(s.painted) == painted, "it paints the same for nothing"
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    between = {float(code[1]) for code in s.net.codes if 0 < code[1] < 1}
    assert len(between) >= 4
    s.press_and_see("m")
    assert s.numbers[-1] == number
    s.press(" ")
    s.wait(lambda: s.numbers[-1] > number + 1)
    s.end()


def test_what_comes_while_frozen_is_not_counted_as_dropped(session):
    s = session(Ticking(0.02)).start()
    s.wait_for_frames(3)
    s.press(" ")
    dropped, number = s.live._summary.dropped, s.numbers[-1]
    s.wait(lambda: s.source.number > number + 20)
    s.press(" ")
    s.wait(lambda: s.numbers[-1] > number + 20)
    summary = s.end()
    assert summary.dropped - dropped < 10


def test_freezing_before_the_first_picture_freezes_that(session):
    s = session(Ticking(), settings=Settings(frozen=True)).start()
    s.wait(lambda: s.shown)
    s.wait(lambda: s.source.number > 20)
    summary = s.end()
    assert set(s.numbers) == {s.numbers[0]}
    assert summary.painted <= 2


def test_a_frozen_picture_does_not_end_with_the_source(session):
    s = session(Ticking(0.01, count=5), settings=Settings(frozen=True)).start()
    s.wait(lambda: s.capture.ended and s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.press(" ")
    assert s.join().captured == 5


def test_delays_of_a_frozen_picture_do_not_count(session):
    s = session(Ticking(0.005)).start()
    s.wait_for_frames(5)
    s.press(" ")
    time.sleep(0.5)
    for _ in range(5):
        s.press_and_see("m")
    assert s.end().delay_95_ms < 450


def test_mirror(session):
    photograph = picture(0, 24, 32)
    s = session(hand(photograph), settings=Settings(mirror=True)).start()
    s.wait(lambda: s.shown)
    s.end()
    assert (s.shown[0].frame == photograph[:, ::-1]).all()
    assert (s.shown[0].picture == 255 - photograph[:, ::-1]).all()


def test_a_key_is_seen_at_once_though_no_frame_comes(session):
    photograph = picture(0, 24, 32)
    s = session(hand(photograph), settings=Settings(show_display=False)).start()
    s.wait(lambda: s.shown)
    s.press("m")
    s.wait(lambda: (s.shown[-1].frame == photograph[:, ::-1]).all())
    s.press("[", "[", "[", "[", "[")
    half = look.blend(photograph[:, ::-1], 255 - photograph[:, ::-1], 0.5)
    s.wait(lambda: (s.shown[-1].picture == half).all())
    s.end()


def test_before_and_after_follow_the_mouse(session):
    photograph = picture(0, 24, 32)
    sink = Sink()
    s = session(hand(photograph), virtual_camera=sink, settings=Settings(show_display=False)).start()
    s.wait(lambda: s.shown)
    s.window.dragged = 0.9
    s.wait(lambda: s.window.dragged is None)
    assert s.settings.split is None, "without the line the mouse does nothing"
    s.press("v")
    assert s.settings.split == 0.5
    s.window.dragged = 0.25
    s.wait(lambda: s.settings.split == 0.25 and s.window.dragged is None)
    before = s.window.shows
    s.wait(lambda: s.window.shows > before)
    s.press("m", "m")
    wanted = look.split_view(photograph, 255 - photograph, 0.25)
    s.wait(lambda: (sink.frames[-1] == wanted).all())
    s.end()
    shown = s.window.pictures[-1]
    times = shown.shape[0] // 24
    assert (shown[::times, ::times] == wanted).all()


# -- what is written over the picture


def test_the_display_tells_the_state(session, texts):
    s = session(Ticking(0.01)).start()
    s.wait_for_frames(3)
    s.press("x", "[", "c", " ", "a")
    s.wait(lambda: any("taking turns" in line for line in texts))
    s.end()
    line = next(line for line in texts if "taking turns" in line)
    for words in ("reed 95%, ochre 5%", "strength 90%", "camera's colours", "frozen"):
        assert words in line, line
    assert any("fps painted" in line and "dropped" in line and "delay" in line for line in texts)
    assert any(line.startswith("working height 24 (fixed) on abacus") for line in texts)


def test_display_and_help_can_be_hidden_and_shown(session, texts):
    s = session(Ticking(0.01), settings=Settings(show_display=False)).start()
    s.wait_for_frames(5)
    assert not any("fps painted" in line for line in texts)
    s.press("h")
    s.wait(lambda: any(line.startswith("n p\t") for line in texts))
    s.press("h", "i")
    s.wait(lambda: any("fps painted" in line for line in texts))
    s.end()


def test_a_lost_source_is_told_over_the_last_picture(session, texts):
    s = session(Ticking(0.005, count=3, returns=True)).start()
    s.wait(lambda: any("the source was lost" in line for line in texts))
    s.end()
    assert s.shown, "the last picture stays"


def test_figures_of_the_last_seconds():
    recent = Recent(seconds=3)
    for i in range(100):
        recent.add(i / 2, i)
    assert recent.values(49.5) == [93, 94, 95, 96, 97, 98, 99]
    assert recent.rate(49.5) == 2
    assert recent.rate(60) == 0 and recent.values(60) == []
    assert Recent().rate(1) == 0
    assert middle_and_most([]) == (0, 0)
    assert middle_and_most([5]) == (5, 5)
    assert middle_and_most(list(range(100))) == (49.5, 95)


# -- the working height


class NotingPace(Pace):
    """Notes what it is asked and answers what a test wants."""

    made: list
    answer = None

    def __init__(self, height, limit):
        super().__init__(height, limit)
        self.asked = []
        self.made.append(self)

    def __call__(self, seconds, now, budget):
        self.asked.append((seconds, budget))
        self.height = self.answer or self.height
        return self.height


@pytest.fixture
def pace(monkeypatch):
    noting = type("Noting", (NotingPace,), {"made": []})
    monkeypatch.setattr(live_module, "Pace", noting)
    return noting


def test_the_working_height_follows_the_time_that_painting_takes(session, texts):
    class Slow(Net):
        def run(self, batch, code=None):
            time.sleep(0.02 if batch.shape[1] > 130 else 0.001)
            return super().run(batch, code)

    s = session(Ticking(0.002, size=(200, 300)), net=Slow(), target_fps=100).start()
    s.wait(lambda: s.net.heights[-1:] and s.net.heights[-1] <= 128)
    assert s.net.heights[0] == 160, "it starts at the height the strokes were trained for"
    s.wait(lambda: any("working height" in line and "to hold" in line for line in texts))
    summary = s.end()
    assert summary.work_height <= 128
    assert s.shown[-1].picture.shape == (200, 300, 3)


def test_the_height_is_limited_by_the_source_and_the_strokes(session, pace):
    for height, start, limit in [(100, 100, 100), (200, 160, 200), (480, 160, 240)]:
        s = session(hand(grey(9, height, 32)), target_fps=30).start()
        s.wait(lambda s=s: s.shown)
        s.end()
        assert (pace.made[-1].height, pace.made[-1].limit) == (start, limit)
        assert s.net.heights == [start]


def test_the_budget_is_the_wanted_rate_but_not_above_the_sources(session, pace, monkeypatch):
    for rate, wanted in [(None, 1 / 30), (60.0, 1 / 30), (20.0, 0.97 / 20)]:
        monkeypatch.setattr(Capture, "rate", rate)
        s = session(hand(grey(9)), target_fps=30, net=Net(pause=0.01)).start()
        s.wait(lambda: pace.made and pace.made[-1].asked)
        s.end()
        seconds, budget = pace.made[-1].asked[0]
        assert budget == pytest.approx(wanted)
        assert 0.01 <= seconds < 1
        pace.made.clear()


def test_a_new_height_is_taken_and_told(session, pace, texts):
    pace.answer = 20
    s = session(Ticking(0.01), target_fps=30).start()
    s.wait(lambda: 20 in s.net.heights)
    s.wait(lambda: any(line.startswith("working height 20, to hold") for line in texts))
    pace.answer = 24
    s.wait(lambda: s.net.heights[-1] == 24)
    s.wait(lambda: any(line == "working height 24, there is time" for line in texts))
    assert any("working height 20 (automatic)" in line for line in texts)
    s.end()


def test_a_new_size_of_the_source_starts_the_choice_afresh(session, pace):
    source = hand(grey(1, 100, 32))
    s = session(source, target_fps=30).start()
    s.wait(lambda: len(s.shown) == 1)
    source.give(grey(2, 200, 64))
    s.wait(lambda: len(s.shown) == 2)
    s.end()
    assert [made.limit for made in pace.made] == [100, 200]
    assert s.net.heights == [100, 160]


@pytest.mark.parametrize(("work_height", "target_fps"), [(20, 30), (None, None)])
def test_a_fixed_height_stays(session, pace, work_height, target_fps):
    pace.answer = 16
    s = session(Ticking(0.005), net=Net(work_height=work_height), target_fps=target_fps).start()
    s.wait_for_frames(5)
    assert s.end().work_height == (work_height or 24)
    assert set(s.net.heights) == {work_height or 24}


def test_keys_step_the_height_and_fix_it(session, pace):
    s = session(Ticking(0.005, size=(200, 32)), target_fps=30).start()
    s.wait_for_frames(1)
    for keys, wanted in [("-", 144), ("_", 128), ("+", 144), ("=", 160), ("++", 192), ("++++", 200)]:
        s.press(*keys)
        s.wait(lambda wanted=wanted: s.net.heights[-1] == wanted)
    asked = len(pace.made[-1].asked)
    s.wait_for_frames(5)
    assert len(pace.made[-1].asked) <= asked + 1, "it is still being chosen"
    s.press("w")
    s.wait(lambda: len(pace.made) == 2 and pace.made[-1].asked)
    assert (pace.made[-1].height, pace.made[-1].limit) == (200, 200)
    s.end()


def test_w_without_a_wanted_rate_says_so(session, texts):
    s = session(Ticking()).start()
    s.wait_for_frames(1)
    s.press("-", "w")
    s.wait(lambda: "no frame rate was asked for: the working height stays" in texts)
    s.end()
    assert not s.live._automatic


@pytest.mark.parametrize("key", ["+", "-"])
def test_height_keys_before_the_first_picture_are_no_harm(session, key):
    source = hand()
    s = session(source, target_fps=30).start()
    s.press(key)
    source.give(grey(1))
    s.wait(lambda: s.shown)
    assert s.end().work_height == 24


# -- snapshots and recordings


@pytest.fixture
def fixed_name(monkeypatch):
    """All files of the test are made in the same second."""
    stub = SimpleNamespace(monotonic=time.monotonic, strftime=lambda form: time.strftime(form, time.gmtime(0)))
    monkeypatch.setattr(live_module, "time", stub)
    return "rtstyle-19700101-000000"


def test_snapshots_are_what_is_seen_and_never_overwrite(session, tmp_path, fixed_name):
    (tmp_path / f"{fixed_name}.png").write_bytes(b"the only copy")
    photograph = picture(0, 24, 32)
    s = session(hand(photograph)).start()
    s.wait(lambda: s.shown)
    s.press("s", "v", "s", "s")
    summary = s.end()
    names = [tmp_path / f"{fixed_name}-{i}.png" for i in (1, 2, 3)]
    assert summary.files == [str(name) for name in names]
    assert (tmp_path / f"{fixed_name}.png").read_bytes() == b"the only copy"
    plain, split, again = (np.asarray(Image.open(name)) for name in names)
    assert (plain == 255 - photograph).all()
    assert (split == look.split_view(photograph, 255 - photograph, 0.5)).all()
    assert (again == split).all()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_snapshot_that_cannot_be_written_is_told_and_leaves_nothing(session, tmp_path, texts, monkeypatch):
    def fail(path, picture):
        raise RtstyleError(f"could not write {path}: No space left on device")

    monkeypatch.setattr(live_module, "write_image", fail)
    s = session(Ticking()).start()
    s.wait_for_frames(1)
    s.press("s")
    s.wait(lambda: any("No space left" in line for line in texts))
    s.wait_for_frames(2)
    s.end()
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_into_a_folder_that_is_gone_is_told(session, tmp_path, texts):
    s = session(Ticking(), folder=tmp_path / "gone").start()
    s.wait_for_frames(1)
    s.press("s")
    s.wait_for_frames(2)
    assert s.end().files == []
    assert any("gone" in line for line in texts)


def test_a_key_starts_and_ends_recordings(session, tmp_path, fixed_name, texts):
    s = session(Ticking(0.02)).start()
    for _ in range(2):
        s.wait_for_frames(2)
        s.press("r")
        assert s.live.recorder
        s.wait_for_frames(8)
        s.press("r")
        assert s.live.recorder is None
    summary = s.end()
    names = [tmp_path / f"{fixed_name}.mp4", tmp_path / f"{fixed_name}-1.mp4"]
    assert summary.files == [str(name) for name in names]
    assert any(line.startswith("REC ") for line in texts) and f"saved {names[0]}" in texts
    for name in names:
        assert len(stamps(name)) >= 4
        assert rgb_frames(name).shape[1:] == (24, 32, 3)


def test_a_recording_has_the_times_of_capture(session, tmp_path):
    recorder = Recorder(tmp_path / "out.mp4")
    s = session(Ticking(0.03, count=12), record=recorder, window=False)
    summary = s.start().join()
    times = [painted.time for painted in s.painted]
    found = [float(at) for at in stamps(tmp_path / "out.mp4")]
    assert found == pytest.approx([t - times[0] for t in times], abs=1e-4)
    assert summary.files == [str(tmp_path / "out.mp4")]


def test_q_completes_a_running_recording(session, tmp_path):
    s = session(Ticking(0.02), record=Recorder(tmp_path / "out.mp4")).start()
    s.wait_for_frames(5)
    summary = s.end()
    assert summary.files == [str(tmp_path / "out.mp4")]
    assert len(stamps(tmp_path / "out.mp4")) >= 4


def test_the_recording_of_a_frozen_picture_goes_on_in_time(session, tmp_path):
    import av

    s = session(Ticking(0.02), record=Recorder(tmp_path / "out.mp4")).start()
    s.wait_for_frames(3)
    first = s.painted[0].time
    s.press(" ")
    time.sleep(0.6)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    time.sleep(0.3)
    before = time.monotonic()
    s.end()
    after = time.monotonic()
    with av.open(str(tmp_path / "out.mp4")) as container:
        length = container.duration / av.time_base
    assert before - first - 0.05 <= length <= after - first + 0.05
    assert max(np.diff([float(at) for at in stamps(tmp_path / "out.mp4")])) > 0.5, "the frozen picture was skipped"


def test_a_recording_that_cannot_begin_is_told(session, tmp_path, texts):
    s = session(Ticking(), folder=tmp_path / "gone").start()
    s.wait_for_frames(1)
    s.press("r")
    s.wait(lambda: any(line.startswith("cannot record to") for line in texts))
    s.wait_for_frames(2)
    assert s.end().files == []


class Torn(Sink):
    """A recorder that fails in the end, and perhaps on the way."""

    path, seconds = Path("torn.mp4"), 1.0

    def finish(self, seconds=0.0):
        super().finish()
        raise RtstyleError("the disk is full")


def test_a_recording_that_fails_on_the_way_is_told_and_the_loop_goes_on(session, texts):
    torn = Torn()
    s = session(Ticking(), record=torn).start()
    s.wait_for_frames(2)
    torn.error = RtstyleError("the disk is full")
    s.wait(lambda: "the disk is full" in texts)
    s.wait_for_frames(3)
    assert s.live.recorder is None and torn.finished == 1


def test_a_recording_that_fails_in_the_end_is_an_error(session):
    s = session(Ticking(), record=Torn(), virtual_camera=Sink()).start()
    s.wait_for_frames(2)
    with pytest.raises(RtstyleError, match="the disk is full"):
        s.end()
    assert_all_closed(s)


def test_a_recording_that_failed_on_the_way_is_an_error_in_the_end(session):
    """Without a window nobody has seen the message: a script has to learn of it."""
    torn = Torn()
    s = session(Ticking(), record=torn, window=False).start()
    s.wait_for_frames(2)
    torn.error = RtstyleError("the disk is full")
    s.wait(lambda: torn.finished)
    with pytest.raises(RtstyleError, match="the disk is full"):
        s.end()


# -- the virtual camera


def test_a_virtual_camera_that_fails_is_told_and_the_loop_goes_on(session, texts):
    sink = Sink()
    s = session(Ticking(), virtual_camera=sink).start()
    s.wait_for_frames(2)
    sink.error = RtstyleError("the virtual camera stopped (unplugged)")
    s.wait(lambda: "the virtual camera stopped (unplugged)" in texts)
    assert sink.finished == 1 and s.live.virtual_camera is None
    s.wait_for_frames(3)
    s.end()


class Driver:
    """A backend of pyvirtualcam that keeps what it is sent."""

    sent: list

    def __init__(self, *, width, height, **_):
        self.shape = height, width, 3

    def send(self, frame):
        self.sent.append(frame.reshape(self.shape).copy())

    def close(self):
        pass

    def device(self):
        return "test camera"


def test_window_recording_and_virtual_camera_together(session, tmp_path, monkeypatch):
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    driver = type("Fake", (Driver,), {"sent": []})
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"test": driver})
    frames = [picture(10 * i, 24, 32) for i in range(4)]
    s = session(
        hand(),
        record=Recorder(tmp_path / "out.mp4"),
        virtual_camera=VirtualCamera(),
        settings=Settings(show_display=False, mirror=True),
    ).start()
    for i, frame in enumerate(frames):
        s.source.give(frame)
        s.wait(lambda i=i: len(s.shown) == i + 1 and len(driver.sent) == i + 1)
    s.wait(lambda: s.live.recorder.frames == 3)
    s.end()
    recorded = rgb_frames(tmp_path / "out.mp4")
    assert len(recorded) == len(driver.sent) == 4
    for frame, sent, kept in zip(frames, driver.sent, recorded, strict=True):
        wanted = 255 - frame[:, ::-1]
        assert (sent == wanted).all()
        assert psnr(kept, wanted) > 20
    shown = s.window.pictures[-1]
    times = shown.shape[0] // 24
    below = shown[::times, ::times][8:]
    assert (below == wanted[8:]).all(), "at the top it says REC"


# -- folders, where nothing moves by itself


def test_a_slow_folder_still_animates_a_change_of_style(session, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(picture(0, 24, 32)).save(folder / "a.png")
    Image.fromarray(picture(5, 24, 32)).save(folder / "b.png")
    s = session(PictureFolder(folder, seconds=60)).start()
    s.wait(lambda: s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    s.end()
    assert set(s.numbers) == {1}
    assert len({share for _, share in shares(s) if 0 < share < 1}) >= 4


def test_the_end_of_a_fade_is_painted_though_no_frame_comes(session):
    s = session(hand(grey(1)), net=Net(pause=0.12)).start()
    s.wait(lambda: s.shown)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1, seconds=3)
    s.end()


def test_styles_take_turns_over_a_picture_that_stays(session, monkeypatch):
    monkeypatch.setattr(live_module, "CYCLE_FADE_SECONDS", 0.3)
    s = session(hand(grey(1))).start()
    s.wait(lambda: s.shown)
    s.live._next_change = time.monotonic() + 0.1
    s.settings.cycle = True
    s.wait(lambda: s.net.codes[-1][1] == 1, seconds=3)
    s.end()
    assert len({share for _, share in shares(s) if 0 < share < 1}) >= 3


def test_the_line_between_before_and_after_moves_over_a_picture_that_stays(session):
    sink = Sink()
    s = session(hand(grey(1)), virtual_camera=sink, settings=Settings(split=0.5)).start()
    s.wait(lambda: sink.frames)
    s.window.dragged = 0.25
    wanted = look.split_view(grey(1), 255 - grey(1), 0.25)
    s.wait(lambda: (sink.frames[-1] == wanted).all(), seconds=3)
    s.end()


def test_freezing_between_two_looks_does_not_end_the_loop(session):
    """It is frozen just after somebody has seen a new frame."""
    s = session(hand(grey(1))).start()
    s.wait(lambda: s.shown)

    class Frozen(Settings):
        looks = 0

        @property
        def frozen(self):
            self.looks += 1
            return self.looks == 2

        @frozen.setter
        def frozen(self, value):
            pass

    s.live.settings = Frozen()
    s.source.give(grey(2))
    time.sleep(0.1)
    s.source.give(grey(3))
    s.wait(lambda: s.numbers[-1] == 3)
    s.end()


# -- limits and ends


def assert_all_closed(s):
    assert s.source.closed >= 1 and s.capture.ended
    if s.window:
        assert s.window.closings == 1


def test_seconds_end_the_loop(session):
    summary = session(window=False).start(seconds=0.3).join()
    assert 0.3 <= summary.seconds < 3
    assert summary.painted > 0


def test_seconds_end_the_loop_though_nothing_comes(session):
    summary = session(hand()).start(seconds=0.2).join()
    assert (summary.captured, summary.painted, summary.shown, summary.dropped) == (0, 0, 0, 0)
    assert summary.delay_ms is summary.delay_95_ms is summary.work_height is None


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_a_number_of_frames_ends_the_loop(session, pause):
    s = session(Ticking(0.002), net=Net(pause=pause), window=False)
    assert s.start(frames=7).join().painted == 7


def test_the_end_of_the_source_ends_the_loop_after_its_last_frame(session):
    s = session(Ticking(0.005, count=10), net=Net(pause=0.02))
    summary = s.start().join()
    assert summary.captured == 10
    assert s.live._latest.number == 10
    assert_all_closed(s)


def test_the_end_of_the_source_waits_for_the_fade(session):
    s = session(Ticking(0.005, count=5)).start()
    s.press("2")
    s.join()
    assert s.net.codes[-1][1] > 0.9


@pytest.mark.parametrize("end", ["key", "window"])
def test_the_user_ends_it(session, end):
    s = session(virtual_camera=Sink()).start()
    sink = s.live.virtual_camera
    s.wait_for_frames(2)
    if end == "window":
        s.window.closed = True
        s.join()
    else:
        s.end()
    assert_all_closed(s)
    assert sink.finished >= 1


def test_the_summary(session):
    s = session(Ticking(0.01), net=Net(pause=0.03), window=False).start()
    s.wait_for_frames(10)
    summary = s.end()
    assert summary.captured >= summary.painted >= summary.shown == len(s.shown) >= 10
    assert summary.painted == len(s.net.times)
    assert 30 <= summary.delay_ms <= summary.delay_95_ms < 3000
    assert summary.work_height == 24 and summary.files == []
    assert summary.seconds > 0.3
    assert json.loads(json.dumps(dataclasses.asdict(summary)))["painted"] == summary.painted


@pytest.mark.parametrize("window", [True, False])
def test_an_error_of_the_net_is_raised_when_all_is_closed(session, tmp_path, window):
    sink = Sink()
    s = session(net=Net(fails_at=3), window=window, record=Recorder(tmp_path / "out.mp4"), virtual_camera=sink).start()
    with pytest.raises(RtstyleError, match="the net is torn"):
        s.join()
    assert_all_closed(s)
    assert sink.finished == 1
    assert len(stamps(tmp_path / "out.mp4")) == 3


def test_an_error_of_the_source_is_raised_when_all_is_closed(session, tmp_path):
    sink = Sink()
    s = session(hand(grey(1)), record=Recorder(tmp_path / "out.mp4"), virtual_camera=sink).start()
    s.wait(lambda: s.shown)
    s.source.give(OSError("the cable is out"))
    with pytest.raises(RtstyleError, match=r"reading the source failed \(OSError: the cable is out\)"):
        s.join()
    assert_all_closed(s)
    assert sink.finished == 1 and len(stamps(tmp_path / "out.mp4")) == 1


def test_an_error_of_the_window_closes_everything(session, tmp_path):
    class Broken(FakeWindow):
        def show(self, rgb):
            if self.shows == 3:
                raise ZeroDivisionError
            super().show(rgb)

    sink = Sink()
    s = session(window=Broken(), record=Recorder(tmp_path / "out.mp4"), virtual_camera=sink).start()
    with pytest.raises(ZeroDivisionError):
        s.join()
    assert_all_closed(s)
    assert sink.finished == 1 and (tmp_path / "out.mp4").exists()


def interrupting(call, at=5):
    """An on_show that calls something at the fifth frame."""
    count = itertools.count(1)
    return lambda painted, now: call() if next(count) == at else None


def ctrl_c():
    raise KeyboardInterrupt


def test_ctrl_c_completes_the_recording(session, tmp_path):
    path = tmp_path / "out.mp4"
    s = session(record=Recorder(path), on_show=interrupting(ctrl_c))
    with pytest.raises(Interrupted, match=r"^interrupted after \d+ frames: .*out\.mp4 is complete$") as told:
        s.live.run()
    assert told.value.exit_code == 130
    assert len(stamps(path)) >= 4
    assert_all_closed(s)


def test_ctrl_c_without_a_recording(session):
    s = session(on_show=interrupting(ctrl_c), window=False)
    with pytest.raises(Interrupted, match=r"^interrupted after \d+ frames$"):
        s.live.run()


@pytest.mark.parametrize("from_outside", [False, True])
def test_sigterm_ends_as_ctrl_c_does(session, tmp_path, from_outside):
    if from_outside and sys.platform == "win32":
        pytest.skip("os.kill ends the process there")
    previous = signal.getsignal(signal.SIGTERM)

    def kill_later():
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()

    call = kill_later if from_outside else lambda: signal.raise_signal(signal.SIGTERM)
    s = session(record=Recorder(tmp_path / "out.mp4"), on_show=interrupting(call), window=False)
    with ended_by_signals(), pytest.raises(Interrupted, match="is complete"):
        s.live.run(seconds=20)
    assert signal.getsignal(signal.SIGTERM) is previous
    assert len(stamps(tmp_path / "out.mp4")) >= 4
