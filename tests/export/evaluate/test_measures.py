"""Measures of a painter alone: painters made to fail in one way, and what notices it."""

import itertools

import numpy as np
import pytest
from conftest import photograph

torch = pytest.importorskip("torch")

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export.evaluate import measures  # noqa: E402

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


# Paint


def texture(height, width, deviation, seed=9):
    """Grain of a few pixels that no photograph explains, in grey levels."""
    random = np.random.default_rng(seed)
    grain = measures.cv2.GaussianBlur(random.normal(0, 1, (height, width)), (0, 0), 1.5)
    return (deviation * grain / grain.std())[..., None]


LARGE = photograph(3, 320, 400)


def test_a_tinted_photograph_has_no_paint():
    """Nor has one of other contrast, nor a negative: all of it is explained by the photograph."""
    for photo in (LARGE, LARGE[:160, :200], half_busy()):
        assert measures.paint_share(photo, photo) == pytest.approx(0, abs=1e-6)
        assert measures.paint_share(photo, 255 - photo) < 0.02
    pale = measures.to_uint8(128 + 0.6 * (half_busy().astype(float) - 128))
    assert measures.paint_share(half_busy(), pale) < 0.005
    tinted = half_busy() * [0.95, 0.7, 0.5] + [12, 40, 90]
    assert measures.paint_share(half_busy(), measures.to_uint8(tinted)) < 0.005


def test_unrelated_texture_is_all_paint():
    unrelated = measures.to_uint8(128 + texture(320, 400, 30) * [1, 0.8, 0.9])
    assert measures.paint_share(LARGE, unrelated) > 0.97


def test_paint_rises_with_the_texture_on_top():
    photo = half_busy()
    shares = [
        measures.paint_share(photo, measures.to_uint8(photo + texture(320, 400, deviation)))
        for deviation in (0, 10, 20, 40, 80)
    ]
    assert shares[0] < 1e-6 and shares[-1] > 0.8
    assert all(more > less + 0.05 for less, more in itertools.pairwise(shares))


def half_busy(height=320, width=400):
    """Detail in the left half, next to nothing in the right half."""
    photo = np.full((height, width, 3), 120.0)
    photo[:, : width // 2] += texture(height, width // 2, 30, seed=2)
    return measures.to_uint8(photo + texture(height, width, 0.7, seed=3))


def test_paint_counts_where_the_photograph_shows_something():
    photo, sides = half_busy(), []
    for part in (np.s_[:, :180], np.s_[:, 220:]):
        added = np.zeros((320, 400, 1))
        added[part] = texture(320, 400, 30)[part]
        sides.append(measures.paint_share(photo, measures.to_uint8(photo + added)))
    busy, empty = sides
    assert busy > 0.4 and empty < 0.05


def test_paint_on_a_wall_is_a_number():
    wall = np.full((64, 80, 3), 120, np.uint8)
    assert measures.paint_share(wall, wall) == 0
    assert measures.paint_share(wall, measures.to_uint8(wall + texture(64, 80, 20))) == pytest.approx(1, abs=1e-3)


def test_the_busy_half_is_the_side_with_detail():
    mask = measures.busy_half(half_busy())
    assert mask.shape == (320, 400) and mask.dtype == np.float32 and set(np.unique(mask)) == {0, 1}
    assert mask.mean() == pytest.approx(0.5, abs=0.01)
    assert mask[:, :180].mean() > 0.99 and mask[:, 220:].mean() < 0.01


def test_the_busy_half_of_any_photograph_is_half_of_it():
    for scene in (*SCENES, LARGE):
        assert measures.busy_half(scene).mean() == pytest.approx(0.5, abs=0.01)
    assert measures.busy_half(np.full((40, 50, 3), 7, np.uint8)).all()  # nothing anywhere: all alike


# Likeness


def test_light_is_the_order_of_areas_and_not_their_colours():
    photo = photograph(2, 160, 240)
    curved = measures.to_uint8(
        40 + 120 * (measures.luminance(photo[None])[0, 0, ..., None].numpy() / 255) ** 2 * [1, 0.8, 0.6]
    )
    assert measures.light_kept(photo, photo) == pytest.approx(1)
    assert measures.light_kept(photo, 255 - photo) == pytest.approx(-1, abs=1e-3)
    assert measures.light_kept(photo, curved) > 0.9
    assert measures.light_kept(photo, dotted(photo)) > 0.98  # strokes inside an area
    assert abs(measures.light_kept(photo, photo[::-1, ::-1])) < 0.9
    assert measures.light_kept(photo, constant(photo)) == 0


def test_light_by_hand():
    """Four areas across, one light each; two of the painting are equal and share a rank."""
    lights, painted = np.array([10, 50, 90, 200]), np.array([30, 20, 30, 40])
    as_frames = [np.tile(np.repeat(x, 8)[None, :, None], (160, 1, 3)).astype(np.uint8) for x in (lights, painted)]
    ranks = [np.array([0, 1, 2, 3.0]), np.array([1.5, 0, 1.5, 3])]
    assert measures.light_kept(*as_frames) == pytest.approx(np.corrcoef(*ranks)[0, 1])


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


def features_like(seed, channels=32):
    """Smooth maps of a few things that go together, like those of a net."""
    generator = torch.Generator().manual_seed(seed)
    things = torch.rand(1, 6, 5, 7, generator=generator)
    mix = torch.randn(channels, 6, 1, 1, generator=generator)
    maps = torch.nn.functional.interpolate(torch.nn.functional.conv2d(things, mix), (30, 40), mode="bilinear")
    return maps + 0.05 * torch.randn(maps.shape, generator=generator)


def correlation(a, b):
    return float((measures.self_similarity(a) * measures.self_similarity(b)).mean())


def test_self_similarity_is_that_of_a_picture_with_itself_only():
    one, other = features_like(0), features_like(1)
    pairs = 12 * 16 * (12 * 16 - 1) // 2
    assert measures.self_similarity(torch.cat([one, other])).shape == (2, pairs)
    assert correlation(one, one) == pytest.approx(1, abs=1e-3)
    assert abs(correlation(one, other)) < 0.3


def test_self_similarity_keeps_what_goes_with_what_when_features_change():
    """Other strengths, other levels: not of one channel alone, but of all of them."""
    one, generator = features_like(0), torch.Generator().manual_seed(5)
    assert correlation(one, 3 * one + 7) == pytest.approx(1, abs=1e-3)
    levels = torch.randn(1, 32, 1, 1, generator=generator)
    assert correlation(one, one + levels) == pytest.approx(1, abs=1e-3)
    strengths = 0.6 + 0.8 * torch.rand(1, 32, 1, 1, generator=generator)
    assert correlation(one, one * strengths + levels) > 0.95
    order = torch.randperm(32, generator=generator)
    assert correlation(one, one[:, order]) == pytest.approx(1, abs=1e-3)
    assert correlation(one, one.flip(3)) < 0.5  # the same things elsewhere


def test_self_similarity_by_hand():
    """Two kinds of places: those of one kind are alike, those of different kinds are opposite once centred."""
    maps = torch.zeros(1, 2, 12, 16)
    maps[0, 0, :, :8] = 5.0
    maps[0, 1, :, 8:] = 0.3
    result = measures.self_similarity(maps)[0]
    kind = torch.arange(12 * 16) % 16 < 8
    rows, columns = torch.triu_indices(12 * 16, 12 * 16, offset=1)
    alike = torch.where(kind[rows] == kind[columns], 1.0, -1.0)
    torch.testing.assert_close(result, (alike - alike.mean()) / alike.std(), rtol=1e-3, atol=1e-3)


def test_self_similarity_of_nothing_is_a_number():
    assert measures.self_similarity(torch.ones(1, 4, 12, 16)).isfinite().all()


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
    result = measures.artefacts(measures.as_it_is, SCENES, SCENES[0])
    assert result["checkerboard"] < 0.05 and result["checkerboard_levels"] < 0.3
    assert result["seam"] == result["calm"] == 0
    assert result["grain"] == pytest.approx(1, rel=0.3)
    assert measures.artefacts(measures.as_it_is)["grain"] is None


@pytest.mark.parametrize("period", [2, 4, 8])
def test_checkerboards_are_caught(period):
    result = measures.artefacts(lambda frame: dotted(frame, period))
    assert result["checkerboard"] > 0.99
    assert result["checkerboard_levels"] == pytest.approx(12, rel=0.05)
    assert result["calm"] == pytest.approx(12)
    assert result["seam"] < 0.5


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
    result = measures.artefacts(framed)
    assert result["seam"] > 50
    assert result["checkerboard"] < 0.05
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
