"""Strength and keep colour, as arithmetic on arrays."""

import numpy as np
import pytest
from support.media_files import picture

from rtstyle import UsageError
from rtstyle.paint import look


@pytest.fixture
def pair():
    photograph = picture(0, 40, 56)
    return photograph, np.ascontiguousarray(255 - photograph[::-1, :, ::-1])


@pytest.mark.parametrize("strength", [-0.01, 1.01, float("nan"), float("inf"), -float("inf")])
def test_strength_outside_is_refused(strength):
    with pytest.raises(UsageError, match="between 0 and 1"):
        look.check_strength(strength)


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_strength_inside_is_taken(strength):
    assert look.check_strength(strength) == strength


@pytest.mark.parametrize("strength", [0, 0.25, 0.5, 0.9, 1])
@pytest.mark.parametrize("batch", [False, True])
def test_blend_is_the_straight_line(pair, strength, batch):
    photograph, painted = (np.stack([p, p[::-1]]) if batch else p for p in pair)
    expected = photograph + strength * (painted.astype(float) - photograph)
    blended = look.blend(photograph, painted, strength)
    assert blended.dtype == np.uint8
    assert np.abs(blended - expected).max() <= 0.501
    if strength in (0, 1):
        assert (blended == (photograph, painted)[strength]).all()


def luma_and_colour(rgb):
    """Y' of BT.601 and the two colour differences B - Y, R - Y."""
    rgb = rgb.astype(float)
    luma = rgb @ (0.299, 0.587, 0.114)
    return luma, rgb[..., 2] - luma, rgb[..., 0] - luma


@pytest.mark.parametrize("batch", [False, True])
def test_keep_color_takes_light_from_one_and_colour_from_the_other(batch):
    random = np.random.default_rng(0)
    shape = (3, 24, 32, 3) if batch else (24, 32, 3)
    # muted colours: none of the results leaves the cube and is clipped
    photograph = random.integers(100, 150, shape, np.uint8)
    painted = random.integers(80, 170, shape, np.uint8)
    kept = look.keep_color(photograph, painted)
    luma, blue, red = luma_and_colour(kept)
    assert kept.shape == shape and kept.dtype == np.uint8
    assert np.abs(luma - luma_and_colour(painted)[0]).max() < 2.5
    assert np.abs(blue - luma_and_colour(photograph)[1]).max() < 3.5
    assert np.abs(red - luma_and_colour(photograph)[2]).max() < 3.5


def test_apply_keeps_colours_first_and_blends_second(pair):
    photograph, painted = pair
    assert (look.apply(photograph, painted) == painted).all()
    assert (look.apply(photograph, painted, strength=0, keep_colors=True) == photograph).all()
    expected = look.blend(photograph, look.keep_color(photograph, painted), 0.4)
    assert (look.apply(photograph, painted, strength=0.4, keep_colors=True) == expected).all()
    assert (expected != look.blend(photograph, painted, 0.4)).any()


def test_inputs_are_not_written_to(pair):
    copies = [p.copy() for p in pair]
    look.apply(*pair, strength=0.5, keep_colors=True)
    for now, before in zip(pair, copies, strict=True):
        assert (now == before).all()


@pytest.mark.parametrize(("position", "column"), [(0.0, 0), (0.25, 16), (0.5, 32), (1.0, 64), (-3.0, 0), (7.0, 64)])
def test_split_view_is_before_and_after_with_a_line_between(position, column):
    original, painted = picture(0, 40, 64), 255 - picture(3, 40, 64)
    out = look.split_view(original, painted, position)
    left, right = max(0, column - 1), min(64, column + 1)
    assert out.shape == (40, 64, 3) and out.dtype == np.uint8
    assert (out[:, :left] == original[:, :left]).all()
    assert (out[:, right:] == painted[:, right:]).all()
    assert (out[:, left:right] == 255).all()


def test_the_line_of_a_split_view_is_seen_at_any_size():
    for width, line in [(16, 2), (640, 4), (1920, 12)]:
        black = np.zeros((16, width, 3), np.uint8)
        assert (look.split_view(black, black, 0.5)[0, :, 0] == 255).sum() == line


def test_split_view_leaves_its_inputs_alone(pair):
    copies = [p.copy() for p in pair]
    out = look.split_view(*pair, 0.5)
    out[:] = 7
    for now, before in zip(pair, copies, strict=True):
        assert (now == before).all()
