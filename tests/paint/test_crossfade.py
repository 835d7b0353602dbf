"""Crossfade: a straight line between two codes, in time."""

import dataclasses

import numpy as np
import pytest

from rtstyle.paint.crossfade import Crossfade

CODES = np.eye(3, dtype=np.float32)


def test_a_crossfade_is_a_straight_line_slow_at_both_ends():
    fade = Crossfade(CODES[0])
    assert (fade.at(3.0) == CODES[0]).all() and not fade.active(3.0)
    fade = fade.to(CODES[1], 0.5, 10.0)
    shares = [fade.at(10 + 0.5 * t)[1] for t in np.linspace(0, 1, 11)]
    assert shares[0] == 0 and shares[-1] == 1 and shares[5] == pytest.approx(0.5)
    steps = np.diff(shares)
    assert (steps > 0).all() and steps[0] < 0.5 * steps[5] > steps[-1]
    for t in (10.1, 10.2, 10.4):
        assert fade.at(t).sum() == pytest.approx(1) and fade.at(t).dtype == np.float32
    assert fade.active(10.49) and not fade.active(10.5)
    assert (fade.at(9.0) == CODES[0]).all(), "a clock that was read earlier is no harm"


def test_it_sets_out_from_where_it_is():
    fade = Crossfade(CODES[0]).to(CODES[1], 0.5, 10.0)
    midway = fade.at(10.25)
    next_fade = fade.to(CODES[2], 0.5, 10.25)
    np.testing.assert_allclose(next_fade.at(10.25), midway)
    np.testing.assert_allclose(next_fade.at(10.5), midway / 2 + CODES[2] / 2, atol=1e-6)
    assert (next_fade.at(10.75) == CODES[2]).all()
    assert (fade.at(10.5) == CODES[1]).all(), "the first one has not changed"


def test_at_one_speed():
    fade = dataclasses.replace(Crossfade(CODES[0]).to(CODES[1], 0.5, 10.0), smooth=False)
    assert [fade.at(10 + t)[1] for t in (0.0, 0.125, 0.25, 0.375)] == pytest.approx([0, 0.25, 0.5, 0.75])


def test_what_has_arrived_is_the_code_itself():
    """By that a painter knows that the style has not changed since the last frame, and a batch that it is one."""
    fade = Crossfade(CODES[0]).to(CODES[1], 0.5, 10.0)
    assert fade.at(11.0) is fade.end and fade.at(12.0) is fade.end and fade.at(10.2) is not fade.at(10.2)


def test_a_model_of_one_style_has_nothing_to_fade():
    assert Crossfade(None).at(0.0) is None
