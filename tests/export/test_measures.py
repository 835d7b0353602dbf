"""Measures of a painter alone: painters made to fail in one way, and what notices it."""

import itertools

import numpy as np
import pytest
from conftest import photograph

torch = pytest.importorskip("torch")

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import measures  # noqa: E402

SCENES = [photograph(i, 96, 128) for i in range(2)]


def constant(frame):
    return np.full_like(frame, 90)


def dotted(frame, period=2, height=12):
    """A fixed pattern on top: +height and -height take turns every period / 2 pixels, both ways."""
    y, x = np.indices(frame.shape[:2]) // (period // 2)
    return measures.to_uint8(frame + np.where((y + x) % 2, height, -height)[..., None])


def framed(frame):
    painted = frame.copy()
    for edge in (np.s_[:4], np.s_[-4:], np.s_[:, :4], np.s_[:, -4:]):
        painted[edge] = 20
    return painted


def grainy(frame):
    return measures.noisy(frame, 20, np.random.default_rng(len(frame)))


# Likeness


def test_ssim_of_equal_unrelated_and_damaged_pictures():
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    assert measures.ssim(noise[:1], noise[:1]).item() == pytest.approx(1)
    assert abs(measures.ssim(noise[:1], noise[1:]).item()) < 0.05
    scene = photograph(1, 64, 80)[None]
    grainy = np.clip(scene + random.normal(0, 15, scene.shape), 0, 255).astype(np.uint8)
    assert 0.05 < measures.ssim(scene, grainy).item() < 0.95


def test_ssim_of_flat_pictures_follows_the_formula():
    """Without variance only the luminance term is left."""
    a, b = (np.full((1, 16, 16, 3), grey, np.uint8) for grey in (100, 150))
    c1 = (0.01 * 255) ** 2
    assert measures.ssim(a, b).item() == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))


def test_perceptual_distance_by_hand():
    """Features of 3, 4 and of 4, 3 at one position, equal ones at the other; strength does not matter."""
    photo = {"a": torch.tensor([[[[3.0, 1.0]], [[4.0, 0.0]]]])}
    painted = {"a": torch.tensor([[[[8.0, 5.0]], [[6.0, 0.0]]], [[[30.0, 1.0]], [[40.0, 0.0]]]])}
    wanted = (0.2**2 + 0.2**2) / 2
    torch.testing.assert_close(measures.perceptual_distance(painted, photo), torch.tensor([wanted, 0.0]))


def test_perceptual_distance_is_bounded_and_takes_dead_positions():
    photo = {"a": torch.tensor([[[[1.0]], [[0.0]]]]), "b": torch.zeros(1, 2, 1, 1)}
    painted = {"a": torch.tensor([[[[0.0]], [[1.0]]]]), "b": torch.zeros(1, 2, 1, 1)}
    assert measures.perceptual_distance(painted, photo).tolist() == [pytest.approx((2 + 0) / 2)]


# Steadiness


def test_warping_error_of_painting_nothing_is_the_noise():
    smooth = [np.stack([np.add.outer(np.arange(96.0), np.arange(128.0))] * 3, -1).astype(np.uint8)]
    clean = measures.warping_error(measures.as_it_is, smooth, noise=0)
    assert clean < 0.5  # rounding
    assert measures.warping_error(measures.as_it_is, smooth) == pytest.approx(measures.WARP_NOISE, rel=0.1)
    assert measures.warping_error(constant, smooth) < 1e-3


def test_warping_error_sees_patterns_that_stay_behind_and_colours_that_do_not():
    clean = measures.warping_error(measures.as_it_is, SCENES, noise=0)
    assert measures.warping_error(lambda frame: 255 - frame, SCENES, noise=0) == pytest.approx(clean, rel=0.05)
    assert measures.warping_error(lambda frame: dotted(frame, 8), SCENES, noise=0) > clean + 5


def test_flicker_is_the_noise_amplified():
    grey = [np.full((64, 64, 3), 128, np.uint8)]
    assert measures.flicker(constant, SCENES) == 0
    assert measures.flicker(measures.as_it_is, grey) == pytest.approx(measures.FLICKER_NOISE, rel=0.03)
    twice = measures.flicker(lambda frame: measures.to_uint8(128 + 2 * (frame.astype(float) - 128)), grey)
    assert twice == pytest.approx(2 * measures.FLICKER_NOISE, rel=0.03)


def sliding_clip(count=4, dx=3):
    large = photograph(5, 96, 160)
    large = measures.to_uint8(measures.cv2.GaussianBlur(large, (0, 0), 1))
    frames = [np.ascontiguousarray(large[:, dx * i : dx * i + 128]) for i in range(count)]
    flows = [measures.flow_back(new, last) for last, new in itertools.pairwise(frames)]
    return measures.Clip(frames, [origin for origin, _ in flows], [mask for _, mask in flows])


def test_flow_of_a_slide_is_found_and_what_enters_is_masked():
    clip = sliding_clip()
    origin, mask = clip.origins[0], clip.masks[0]
    x = np.arange(128)
    assert np.median(origin[..., 0] - x) == pytest.approx(3, abs=0.3)
    assert mask.mean() > 0.4
    assert not mask[:, -3:].any()  # it was not in the frame before


def test_clip_error_sees_what_does_not_move_along():
    clip = sliding_clip()
    still = measures.clip_error(measures.as_it_is, clip)
    assert still < 5
    assert measures.clip_error(constant, clip) < 1e-3
    assert measures.clip_error(lambda frame: dotted(frame, 8), clip) > still + 5
    hidden = measures.Clip(clip.frames, clip.origins, [np.zeros_like(mask) for mask in clip.masks])
    assert measures.clip_error(measures.as_it_is, hidden) is None


def test_occluded_pixels_do_not_count():
    """A block that moves over noise-free ground: what it uncovers is left out."""
    random = np.random.default_rng(0)
    ground, block = (
        measures.to_uint8(128 + 6 * measures.cv2.GaussianBlur(random.normal(0, 60, (h, w, 3)), (0, 0), 3))
        for h, w in ((96, 128), (40, 40))
    )
    frames = []
    for left in (20, 28):
        frame = ground.copy()
        frame[30:70, left : left + 40] = block
        frames.append(frame)
    _, mask = measures.flow_back(frames[1], frames[0])
    assert mask[35:65, 21:27].mean() < 0.3 and mask.mean() > 0.5


def test_clips_are_read_upright_shrunk_and_cut(tmp_path):
    from importlib import resources

    clip = measures.read_clip(resources.files("rtstyle.pretrained") / "sample.mp4", 64, count=3)
    assert len(clip.frames) == 3 and len(clip.origins) == len(clip.masks) == 2
    assert min(clip.frames[0].shape[:2]) == 64 and clip.frames[0].dtype == np.uint8
    with pytest.raises(RtstyleError, match="too short or too small"):
        measures.read_clip(resources.files("rtstyle.pretrained") / "sample.mp4", 64, count=1)
    with pytest.raises(RtstyleError, match="does not exist"):
        measures.read_clip(tmp_path / "none.mp4", 64)
    stored = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(measures.upright(stored, 90), np.rot90(stored))


# Artefacts


def test_a_painter_without_artefacts_has_none():
    found = measures.artefacts(measures.as_it_is, SCENES, SCENES[0])
    assert found["checkerboard"] < 0.05 and found["checkerboard_levels"] < 0.3
    assert found["seam"] == found["calm"] == 0
    assert found["grain"] == pytest.approx(1, rel=0.3)
    assert measures.artefacts(measures.as_it_is)["grain"] is None


@pytest.mark.parametrize("period", [2, 4, 8])
def test_checkerboards_are_caught(period):
    found = measures.artefacts(lambda frame: dotted(frame, period))
    assert found["checkerboard"] > 0.99
    assert found["checkerboard_levels"] == pytest.approx(12, rel=0.05)
    assert found["calm"] == pytest.approx(12)
    assert found["seam"] < 0.5


def test_checkerboards_that_show_on_gradients_only_are_caught():
    """Nothing on flat grey: the pattern comes with slopes."""

    def paint(frame):
        slope = np.abs(np.gradient(frame.astype(float), axis=1)).max() > 0
        return dotted(frame, 2, 6) if slope else frame

    assert measures.artefacts(paint)["checkerboard"] > 0.9


def test_noise_and_soft_texture_are_not_checkerboards():
    assert measures.artefacts(grainy)["checkerboard"] < 0.01
    soft = measures.artefacts(lambda frame: measures.cv2.GaussianBlur(grainy(frame), (0, 0), 2))
    assert soft["checkerboard"] < 0.05 and soft["calm"] > 1


def test_a_frame_is_a_seam_and_no_checkerboard():
    found = measures.artefacts(framed)
    assert found["seam"] > 50
    assert found["checkerboard"] < 0.05
    assert measures.artefacts(constant)["seam"] == 0


def test_one_darker_side_is_a_seam():
    def paint(frame):
        return np.where(np.arange(frame.shape[1])[:, None] < 8, frame // 2, frame)

    assert measures.artefacts(paint)["seam"] > 10


def test_grain_is_relative_to_the_artwork():
    rough = grainy(SCENES[0])
    assert measures.artefacts(grainy, SCENES, SCENES[0])["grain"] > 3
    assert measures.artefacts(measures.as_it_is, SCENES, rough)["grain"] < 0.3


def test_fine_energy_of_a_fine_and_a_coarse_wave():
    """A sine of amplitude 20 carries 200 squared grey levels."""
    x = np.arange(128)
    fine, coarse = (
        np.broadcast_to(measures.to_uint8(128 + 20 * np.sin(2 * np.pi * f * x))[None, :, None], (96, 128, 3))
        for f in (3 / 8, 1 / 8)
    )
    assert measures.fine_energy(fine) == pytest.approx(200, rel=0.05)
    assert measures.fine_energy(coarse) < 2
