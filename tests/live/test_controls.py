"""The keys of the live window, one by one, on a loop that does not run; the one table of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.live_session import CODES, NAMES, Net, hand

from rtstyle.live.controls import KEYS, help_lines, key_table

pytest_plugins = ["support.live_fixtures"]


@pytest.fixture
def still(session):
    """A session that does not run, for the effect of keys alone."""
    return session(hand())


def chosen(s):
    """Where the style is heading: (label, code)."""
    return s.styles.label, s.styles.fade.end


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


def test_zero_is_the_tenth_style(session):
    class Large(Net):
        def gallery(self):
            return [*self.model.styles] * 3 + [dataclasses.replace(self.model.styles[2], name="tenth")]

    s = session(hand(), net=Large())
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
    expected = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3]
    assert levels == expected


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
        ("q", lambda s: s.controls.quit, [False, True, True]),
    ],
)
def test_keys_that_switch_something(still, key, get, values):
    result = [get(still)]
    for _ in range(2):
        still.live.press(key)
        result.append(get(still))
    assert result == values


def test_full_screen_without_a_window_is_nothing(session):
    session(hand(), window=False).live.press("f")


@pytest.mark.parametrize("key", ["y", "Z", "@", "ä", "\x0b", "\r"])
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


def test_height_keys_step_and_follow(session):
    s = session(hand(), target_fps=30)
    s.controls.height.begin(200, 300)
    heights = []
    for key in "-_+=w":
        s.live.press(key)
        heights.append((s.net.work_height, s.controls.height.automatic))
    assert heights == [(144, False), (128, False), (144, False), (160, False), (160, True)]


def test_keys_can_be_bound_to_what_others_do(session):
    s = session(hand(), bindings={"k": "m", ".": "n", "m": "h"})
    for key in "k.m":
        s.live.press(key)
    assert s.settings.mirror and s.settings.show_help and chosen(s)[0] == NAMES[1]


# -- the one table


def test_every_key_has_one_meaning():
    characters = [character for key in KEYS for character in key.keys]
    assert len(set(characters)) == len(characters)


def test_every_key_that_the_help_names_does_something():
    """`z` is X to the window, Esc is q, space is written out, and 1-9 are a range."""
    same = {"1-9": "123456789", "space": " ", "tab": "\t", "Esc": "\x1b", "z": "X"}
    for key in KEYS:
        assert all(character in key.keys for label in key.label.split() for character in same.get(label, label))
    assert [line.split("\t") for line in help_lines()] == [[key.label, key.help] for key in KEYS]


def test_the_table_in_the_docs_is_the_one_in_the_code():
    docs = Path(__file__).resolve().parents[2] / "docs" / "live.md"
    assert key_table() in docs.read_text(encoding="utf-8"), (
        "put the output of this there: python -c 'from rtstyle.live.controls import key_table; print(key_table())'"
    )
