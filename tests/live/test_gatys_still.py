"""The key g: Gatys mode in a process of its own while the live picture goes on."""

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import photograph, save_picture
from PIL import Image
from support.helpers import tree
from support.live_session import Net, Ticking, wait_until
from support.sources import Hand

from rtstyle.errors import RtstyleError
from rtstyle.live import gatys_still
from rtstyle.live.gatys_still import Stills, style_picture

pytest_plugins = ["support.runtime_fixtures", "support.live_fixtures"]


@pytest.fixture
def painting(tmp_path):
    return save_picture(photograph(2, 44, 40), tmp_path / "s1.png")


@pytest.fixture
def toy(fake_vgg, painting, monkeypatch):
    """Makes Stills with the fake weights; all that are left over are ended."""
    pytest.importorskip("torch")
    monkeypatch.setattr(gatys_still, "NICENESS", 0)  # beside other tests a process at low priority takes for ever
    made = []

    def make(pictures=painting, steps=4, **more):
        layers = ("--content-layers", "relu2_2", "--style-layers", "relu1_1,relu2_1")
        options = ("--network", "vgg16", "--vgg", fake_vgg, "--device", "cpu", "--beta", 100, *layers)
        made.append(Stills(pictures, size=48, steps=steps, options=options, **more))
        return made[-1]

    yield make
    for each in made:
        each.finish()


@pytest.fixture
def quick(painting):
    """Makes Stills whose process does not load torch; all that are left over are ended."""
    made = []

    def make(pictures=painting, steps=100_000):
        stand_in = Path(__file__).parents[1] / "support" / "still_stand_in.py"
        made.append(Stills(pictures, steps=steps, command=[sys.executable, str(stand_in)], needs=()))
        return made[-1]

    yield make
    for each in made:
        each.finish()


def ended(each, seconds=90.0):
    """Its news."""
    result = []
    wait_until(lambda: result or result.extend(filter(None, [each.news()])), seconds)
    return result[0]


def test_a_frame_becomes_a_painting(toy, tmp_path):
    each, out = toy(), tmp_path / "still.png"
    assert not each.busy and each.status == "" and each.news() is None
    each.begin(photograph(1, 40, 48), [("s1", 1.0)], out)
    assert each.busy and each.status.startswith("Gatys: ")
    with pytest.raises(RtstyleError, match="already"):
        each.begin(photograph(1, 40, 48), [("s1", 1.0)], tmp_path / "other.png")
    assert ended(each) == (f"saved {out}", out)
    with Image.open(out) as picture:
        assert picture.size == (48, 40)
        assert np.abs(np.asarray(picture, float) - photograph(1, 40, 48)).mean() > 1
    assert not each.busy and each.news() is None and not (tmp_path / "other.png").exists()


def test_progress_is_shown_and_a_cancelled_still_is_kept(quick, tmp_path):
    each, out = quick(), tmp_path / "still.png"
    each.begin(photograph(1, 40, 48), [("s1", 1.0)], out)
    wait_until(lambda: re.fullmatch(r"Gatys: \d+%, \d+:\d\d left", each.status), 90)
    started = time.monotonic()
    each.cancel()
    assert time.monotonic() - started < 1, "the window waits for this"
    words, path = ended(each)
    assert "interrupted after" in words and path == tmp_path / "still.partial.png" and path.name in words
    assert path.exists() and not out.exists()


def test_an_end_of_the_program_ends_the_still(quick, tmp_path):
    each = quick()
    each.begin(photograph(1, 40, 48), [("s1", 1.0)], tmp_path / "still.png")
    process = each.process
    wait_until(lambda: "left" in each.status, 90)
    _, path = each.finish()
    assert process.poll() == 130 and path.name == "still.partial.png" and not each.busy


def test_what_goes_wrong_is_one_sentence(quick, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    each = quick(broken)
    each.begin(photograph(1, 40, 48), [("s1", 1.0)], tmp_path / "still.png")
    words, path = ended(each)
    assert path is None and "broken.png" in words and "\n" not in words and not words.startswith("rtstyle")


def test_a_killed_still_says_so(quick, tmp_path):
    each = quick()
    each.begin(photograph(1, 40, 48), [("s1", 1.0)], tmp_path / "still.png")
    wait_until(lambda: "left" in each.status, 90)
    each.process.kill()
    assert ended(each) == ("Gatys mode was killed by signal 9", None)


def test_pictures_are_found_by_the_names_of_the_styles(tmp_path):
    named, recipe = tmp_path / "Great-Wave.JPG", tmp_path / "vangogh_the_starry_night.jpg"
    for path in (named, recipe, tmp_path / "scream.txt"):
        path.touch()
    assert style_picture(tmp_path, "great-wave") == named
    assert style_picture(tmp_path, "starry-night") == recipe
    with pytest.raises(RtstyleError, match=r"no picture of scream: call it scream\.jpg"):
        style_picture(tmp_path, "scream")


def test_a_mix_gives_all_its_pictures_and_a_file_is_for_every_style(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    mix = [("a", 0.75), ("b", 0.25)]
    assert Stills(tmp_path).pictures_of(mix) == [f"{tmp_path / 'a.png'}:0.75", f"{tmp_path / 'b.png'}:0.25"]
    assert Stills(tmp_path / "b.png").pictures_of(mix) == [str(tmp_path / "b.png")]
    with pytest.raises(RtstyleError, match="--gatys-style"):
        Stills().pictures_of(mix)
    with pytest.raises(RtstyleError, match="does not exist"):
        Stills(tmp_path / "nothing")


class Noted(Stills):
    """Only notes what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def begin(self, *asked):
        self.asked.append(asked)


def test_the_key_paints_the_shown_photograph_in_the_style_of_now(session, texts, tmp_path):
    stills = Noted()
    asked = stills.asked
    s = session(Hand(photograph(1, 24, 32)), folder=tmp_path, stills=stills)
    s.live.press("g")
    assert not asked, "there is no picture yet"
    s.start()
    s.wait(lambda: s.shown)
    s.press("2", "g")
    names = [style.name for style in s.styles.styles]
    (frame, styles, out), *_ = asked
    np.testing.assert_array_equal(frame, s.shown[-1].frame)
    assert styles == [(names[1], 1.0)] and re.fullmatch(r"rtstyle-\d+-\d+-gatys\.png", out.name)
    s.press("x", "g")
    assert asked[-1][1] == [(names[1], 0.95), (names[2], pytest.approx(0.05))]
    s.end()


def test_the_key_knows_the_mix_of_the_start(session, texts, tmp_path):
    stills = Noted()
    net = Net()
    net.style = "scream:0.7,some/own.onnx:0.3"
    s = session(Hand(photograph(1, 24, 32)), net=net, folder=tmp_path, stills=stills).start()
    s.wait(lambda: s.shown)
    s.press("g")
    assert stills.asked[-1][1] == [("scream", 0.7), ("own", 0.3)]
    s.end()


def test_without_a_picture_the_key_says_what_to_do(session, texts):
    s = session(Hand(photograph(1, 24, 32))).start()
    s.wait(lambda: s.shown)
    s.press("g")
    s.wait(lambda: any("--gatys-style" in line for line in list(texts)))
    s.end()


def test_everything_that_is_missing_is_said_at_once(session, texts, tmp_path):
    stills = Stills(needs=("json", "no_such_package"))
    s = session(Hand(photograph(1, 24, 32)), stills=stills).start()
    s.wait(lambda: s.shown)
    s.press("g")
    s.wait(lambda: any("no_such_package (pip install '.[train]'" in line for line in list(texts)))
    s.end()
    assert "--gatys-style" in stills.problem and "json" not in stills.problem
    (tmp_path / "b.png").touch()
    with pytest.raises(RtstyleError, match="no_such_package"):
        Stills(tmp_path / "b.png", needs=["no_such_package"]).begin(photograph(1, 24, 32), [], tmp_path / "out.png")
    assert Stills(tmp_path / "b.png", needs=["json"]).problem is None


def test_the_live_picture_goes_on_while_a_still_is_painted(session, toy, texts, tmp_path):
    s = session(Ticking(0.03, size=(40, 48)), folder=tmp_path, stills=toy(steps=100_000)).start()
    s.wait(lambda: s.shown)
    s.press("g")
    s.wait(lambda: any("left" in line and "Gatys" in line for line in list(texts)), 90)
    s.wait_for_frames(5)
    s.press("g")  # again: it is stopped
    s.wait(lambda: not s.outputs.stills.busy, 30)
    s.wait_for_frames(5)
    summary = s.end()
    assert [path.endswith("-gatys.partial.png") for path in summary.files] == [True]
    assert any("partial" in name for name in tree(tmp_path))


def test_the_threads_of_a_still_leave_room(toy, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(gatys_still.subprocess, "Popen", lambda command, **how: seen.update(how) or 1 / 0)
    monkeypatch.setattr(gatys_still.os, "cpu_count", lambda: 8)
    with pytest.raises(ZeroDivisionError):
        toy().begin(photograph(1, 40, 48), [("s1", 1.0)], tmp_path / "still.png")
    assert seen["env"]["OMP_NUM_THREADS"] == "4"
