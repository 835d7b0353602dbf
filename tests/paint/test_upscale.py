"""Paintings of shrunk frames at the frame's size: detail comes back, paint stays, noise and halos do not come."""

import importlib.resources
import threading

import cv2
import numpy as np
import pytest
from support.media_files import picture

from rtstyle.media.reader import VideoReader
from rtstyle.paint import upscale
from rtstyle.paint.upscale import enlarge

pytest_plugins = ["support.runtime_fixtures"]


def shrink(frame, size):
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def cubic(painted, frame):
    return cv2.resize(painted, frame.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def light(rgb):
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


def detail(rgb, size):
    """The luminance that is lost on the way to a size and back."""
    return light(rgb) - cv2.resize(shrink(light(rgb), size), rgb.shape[1::-1])


def likeness(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def letters(height=120, width=200):
    """Small dark letters on a paper that is unevenly lit, uint8 [height, width, 3]."""
    page = np.repeat(np.linspace(150, 220, width)[None], height, 0)[..., None] * np.ones(3)
    page = np.ascontiguousarray(page.astype(np.uint8))
    for row in range(16, height, 14):
        cv2.putText(page, "Wheat field with crows", (4, row), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (30, 30, 40), 1)
    return page


def flat(level, height=120, width=200):
    return np.full((height, width, 3), level, np.uint8)


def step(low, high, height=120, width=200):
    frame = flat(low, height, width)
    frame[:, width // 2 + 1 :] = high
    return frame


@pytest.fixture(scope="module")
def portrait():
    """A frame of the bundled clip, [360, 640, 3]."""
    clip = importlib.resources.files("rtstyle.pretrained") / "sample.mp4"
    with importlib.resources.as_file(clip) as path, VideoReader(path) as reader:
        return next(frame.rgb for frame in reader)


@pytest.fixture(scope="module", params=["portrait", "letters"])
def pair(request, portrait, stylizer):
    """(painted by the net at half the size, frame)."""
    frame = portrait if request.param == "portrait" else letters()
    painted = stylizer(shrink(frame, (frame.shape[1] // 2, frame.shape[0] // 2)))
    return painted, frame


def test_the_detail_of_the_frame_comes_back(pair):
    painted, frame = pair
    size = painted.shape[1::-1]
    kept, plain = (likeness(detail(x, size), detail(frame, size)) for x in (enlarge(*pair), cubic(*pair)))
    assert kept > 0.15 and kept > plain + 0.1  # the painting hides most of it: strokes are no part of the photograph


def test_letters_become_readable(stylizer):
    """Letters with strokes of one pixel, painted at a third of the size: plain cubic keeps nothing of them."""
    frame, size = letters(120, 240), (80, 40)
    painted = stylizer(shrink(frame, size))
    kept, plain = (likeness(detail(way(painted, frame), size), detail(frame, size)) for way in (enlarge, cubic))
    assert kept > 0.85 and plain < 0.3


def test_the_contours_of_the_painting_move_onto_those_of_the_frame(pair):
    """Also those that are large enough for the net's size, where the painting follows them."""
    painted, frame = pair
    size = painted.shape[1::-1]
    ours, plain = (likeness(light(shrink(x, size)), light(shrink(frame, size))) for x in (enlarge(*pair), cubic(*pair)))
    assert ours > plain


def test_it_is_nearer_to_the_painting_of_the_whole_frame(portrait, stylizer):
    painted, expected = stylizer(shrink(portrait, (320, 180))), detail(stylizer(portrait), (320, 180))
    ours, plain = (likeness(detail(way(painted, portrait), (320, 180)), expected) for way in (enlarge, cubic))
    assert ours > plain  # strokes have a size in pixels, so that the two paintings differ everywhere


@pytest.mark.parametrize("ratio", [2, 3])
def test_a_net_that_changes_nothing_gives_the_frame_back(ratio):
    frame = letters(120, 240)
    small = shrink(frame, (240 // ratio, 120 // ratio))
    ours, plain = (np.abs(light(way(small, frame)) - light(frame)).mean() for way in (enlarge, cubic))
    assert ours < 0.4 * plain


def test_strokes_stay_where_the_frame_is_flat():
    painted = cv2.resize(picture(0, 60, 100), (100, 60))
    assert painted.std() > 30
    assert np.abs(enlarge(painted, flat(128)).astype(int) - cubic(painted, flat(128))).max() <= 1


def test_a_negative_painting_is_left_alone():
    frame = letters()
    negative = 255 - shrink(frame, (100, 60))
    changed = light(enlarge(negative, frame)) - light(cubic(negative, frame))
    assert np.abs(changed).mean() < 0.05 * np.abs(detail(frame, (100, 60))).mean()


def test_the_colours_are_those_of_the_painting(pair):
    """Adding light to all three channels leaves their differences, where none of them is at its end."""
    ours, plain = enlarge(*pair).astype(int), cubic(*pair).astype(int)
    inside = ((ours > 0) & (ours < 255) & (plain > 0) & (plain < 255)).all(-1)
    assert inside.mean() > 0.9
    for a, b in ((0, 1), (2, 1)):
        changed = np.abs((ours[..., a] - ours[..., b]) - (plain[..., a] - plain[..., b]))[inside]
        assert changed.mean() < 0.5 and np.quantile(changed, 0.99) <= 4


def test_colours_of_the_frame_do_not_enter():
    """A frame of one luminance and many colours changes nothing."""
    frame = cv2.cvtColor(picture(0, 120, 200), cv2.COLOR_RGB2YCrCb)
    frame[..., 0] = 128
    frame = cv2.cvtColor(frame // 4 + np.uint8([96, 96, 96]), cv2.COLOR_YCrCb2RGB)
    assert frame.std(axis=(0, 1)).min() > 3 and light(frame).std() < 1
    painted = cv2.resize(picture(3, 60, 100), (100, 60))
    assert np.abs(enlarge(painted, frame).astype(int) - cubic(painted, frame)).max() <= 2


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_no_halo_at_a_step(ratio):
    """A soft step from 90 to 140, painted over a sharp one from 40 to 200, stays nearly between 90 and 140."""
    frame = step(40, 200, 120, 240)
    small = shrink(frame, (240 // ratio, 120 // ratio))
    painted = cv2.blur(np.interp(small, [40, 200], [90, 140]).astype(np.uint8), (3, 3))
    out = enlarge(painted, frame).astype(int)
    assert out.min() >= 90 - 12 and out.max() <= 140 + 12
    rise = [np.abs(np.diff(x[60, :, 0].astype(int))).max() for x in (enlarge(painted, frame), cubic(painted, frame))]
    assert rise[0] > 1.5 * rise[1]  # and it is sharp again


def test_a_step_that_is_not_painted_stays_faint():
    out = enlarge(flat(115, 60, 100), step(40, 200)).astype(int)
    assert np.abs(out - 115).max() <= 16


@pytest.mark.parametrize("sigma, most", [(2, 0.2), (3, 0.4), (6, 1.6)])
def test_noise_of_the_frame_does_not_come_back(sigma, most):
    random = np.random.default_rng(0)
    frames = [np.clip(random.normal(120, sigma, (360, 640, 3)) + 0.5, 0, 255).astype(np.uint8) for _ in range(2)]
    assert light(frames[0]).std() > 0.6 * sigma
    out = [light(enlarge(flat(120, 180, 320), frame)) for frame in frames]
    assert out[0].std() < most
    assert (out[0] - out[1]).std() < 1.5 * most  # nor does it flicker


def test_noise_of_the_net_does_not_grow(stylizer):
    """In a painting of noise too, the frame's own noise is next to nothing."""
    random = np.random.default_rng(0)
    frame = np.clip(random.normal(120, 3, (240, 320, 3)) + 0.5, 0, 255).astype(np.uint8)
    painted = stylizer(shrink(frame, (160, 120)))
    assert (light(enlarge(painted, frame)) - light(cubic(painted, frame))).std() < 0.6


def test_the_same_size_is_left_alone():
    painted = picture(0, 40, 56)
    assert enlarge(painted, picture(5, 40, 56)) is painted


def test_a_larger_painting_is_shrunk():
    painted, frame = picture(0, 90, 130), picture(5, 60, 100)
    assert (enlarge(painted, frame) == shrink(painted, (100, 60))).all()


@pytest.mark.parametrize(
    "small, large",
    [
        ((16, 16), (17, 17)),
        ((16, 16), (16, 40)),
        ((16, 29), (37, 16)),
        ((16, 16), (720, 33)),
        ((101, 57), (203, 131)),
        ((144, 192), (480, 640)),
        ((300, 533), (720, 1280)),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_any_size(small, large, grey):
    painted, frame = picture(0, *small), picture(5, *large)
    if grey:
        painted, frame = (np.repeat(x[..., 1:2], 3, 2) for x in (painted, frame))
    copies = painted.copy(), frame.copy()
    out = enlarge(painted, frame)
    assert out.shape == frame.shape and out.dtype == np.uint8 and out.flags.c_contiguous
    assert (painted == copies[0]).all() and (frame == copies[1]).all()
    assert not grey or (out == out[..., :1]).all()
    assert np.abs(shrink(out, (8, 8)).astype(int) - shrink(painted, (8, 8))).mean() < 12  # the painting's picture


def test_the_shrunk_frame_may_be_given(pair):
    painted, frame = pair
    given = enlarge(painted, frame, shrink(frame, painted.shape[1::-1]))
    assert np.abs(given.astype(int) - enlarge(painted, frame)).mean() < 0.2


def test_views_are_taken(pair):
    painted, frame = pair
    expected = enlarge(*(np.ascontiguousarray(x[:, ::-1, ::-1]) for x in pair))
    assert (enlarge(painted[:, ::-1, ::-1], frame[:, ::-1, ::-1]) == expected).all()


@pytest.mark.parametrize("rows", [7, 1000])
def test_strips_do_not_show(pair, rows, monkeypatch):
    expected = enlarge(*pair)
    monkeypatch.setattr(upscale, "STRIP", rows)
    assert (enlarge(*pair) == expected).all()


def test_calls_do_not_disturb_each_other(pair, monkeypatch):
    """What is kept between calls, for other sizes, in other threads or not at all, changes no result."""
    first = enlarge(*pair)
    expected = first.copy()
    other = enlarge(picture(0, 70, 90), picture(1, 150, 170))
    assert (enlarge(*pair) == expected).all() and (first == expected).all()
    results = []
    threads = [threading.Thread(target=lambda: results.extend(enlarge(*pair) for _ in range(4))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 16 and all((result == expected).all() for result in results)
    monkeypatch.setattr(upscale, "KEPT", 1000)
    monkeypatch.setattr(upscale, "kept", threading.local())
    assert (enlarge(*pair) == expected).all()
    assert (enlarge(picture(0, 70, 90), picture(1, 150, 170)) == other).all()
    assert all(memory.size <= 1000 for memory in vars(upscale.kept).values())


@pytest.mark.parametrize(
    "painted, frame, shrunk, says",
    [
        (np.zeros((16, 16, 3), np.float32), flat(0), None, r"painted must be uint8 \[H, W, 3\], this is float32"),
        (flat(0)[..., 0], flat(0), None, r"painted must be uint8 \[H, W, 3\], this is uint8 \[120, 200\]"),
        (flat(0, 16, 16), flat(0)[None], None, r"frame must be .* this is uint8 \[1, 120, 200, 3\]"),
        (flat(0, 16, 16), np.zeros((40, 40, 4), np.uint8), None, r"frame must be .* this is uint8 \[40, 40, 4\]"),
        (flat(0, 16, 16), flat(0), flat(0), r"shrunk must be uint8 \[16, 16, 3\], this is uint8 \[120, 200, 3\]"),
        (flat(0, 16, 16), flat(0), np.zeros((16, 16, 3)), r"shrunk must be uint8 \[16, 16, 3\], this is float64"),
    ],
)
def test_other_types_and_shapes_are_refused(painted, frame, shrunk, says):
    with pytest.raises(ValueError, match=says):
        enlarge(painted, frame, shrunk)
