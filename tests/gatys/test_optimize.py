"""Gatys mode: optimizers, starts, ends, colours, masks, what goes wrong."""

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import photograph  # noqa: E402
from support.gatys_papers import plain_total  # noqa: E402

from rtstyle.errors import RtstyleError, UsageError  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402
from rtstyle.gatys import pictures as gatys_pictures  # noqa: E402
from rtstyle.gatys import settings as gatys_settings  # noqa: E402
from rtstyle.gatys.objective import Objective  # noqa: E402
from rtstyle.gatys.pictures import StylePicture, as_tensor  # noqa: E402
from rtstyle.media.contact_sheet import bundled_photograph  # noqa: E402
from rtstyle.media.images import read_image  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.gatys_fixtures"]


# The loop


@pytest.mark.parametrize("optimizer", gatys_settings.OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(optimizer, small, content, style):
    result = optimize.render(content, [style], small(optimizer=optimizer, steps=10))
    assert result.ended == "done" and result.steps == 10
    assert result.losses.total < 0.9 * result.log[0].total
    assert result.picture.shape == (40, 48, 3) and result.picture.dtype == np.uint8


def test_lbfgs_without_line_search(small, content, style):
    result = optimize.render(content, [style], small(line_search=False, learning_rate=0.5, steps=10))
    assert result.losses.total < 0.9 * result.log[0].total
    assert result.evaluations == 10


def test_line_search_does_not_evaluate_twice_at_one_place(small, content, style):
    """torch.optim.LBFGS asks again at the start of each step."""
    seen = []
    settings = small(steps=8)
    original = Objective.__call__

    def watched(self, picture, gradient=True):
        if gradient:
            seen.append(picture.clone())
        return original(self, picture, gradient)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "__call__", watched)
        result = optimize.render(content, [style], settings)
    assert result.evaluations == len(seen)
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_lbfgs_is_no_worse_than_a_plain_loop(small, fake_vgg, vgg_state, content, style):
    """Same losses, torch's optimizer without ceremony, as many evaluations."""
    settings = small(steps=25, clamp="none", style_weight=100.0)
    result = optimize.render(content, [style], settings)
    photo, painting = as_tensor(content, "cpu").double(), as_tensor(style, "cpu").double()
    variable, totals = photo.clone().requires_grad_(), []
    plain = torch.optim.LBFGS([variable], max_iter=10**6, max_eval=result.evaluations, line_search_fn="strong_wolfe")

    def closure():
        variable.grad = None
        total = plain_total("johnson", vgg_state, "max", variable, photo, painting, settings)
        total.backward()
        totals.append(float(total.detach()))
        return total

    plain.step(closure)
    assert result.losses.total < 1.05 * min(totals)


def test_the_callback_sees_every_iteration(small, content, style):
    seen = []
    result = optimize.render(content, [style], small(steps=5, tv_weight=1.0), seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4, 5] and {p.steps for p in seen} == {5}
    assert [p.evaluations for p in seen] == sorted(p.evaluations for p in seen)
    for progress in seen:
        assert progress.total == pytest.approx(progress.content + progress.style + progress.tv)
        assert progress.tv > 0 and (progress.width, progress.height) == (48, 40)
    np.testing.assert_array_equal(seen[-1].picture(), result.picture)
    names = [field.name for field in dataclasses.fields(optimize.Iteration)]
    assert result.log == [optimize.Iteration(*(getattr(p, name) for name in names)) for p in seen]  # without pictures


def test_the_pyramid_grows_by_sqrt_2():
    settings = optimize.Settings(size=1024)
    assert optimize.sizes((768, 1024), settings) == [(192, 256), (272, 362), (384, 512), (543, 724), (768, 1024)]
    assert optimize.sizes((768, 1024), dataclasses.replace(settings, pyramid=False)) == [(768, 1024)]
    assert optimize.sizes((100, 50), optimize.Settings(size=300)) == [(300, 150)]
    assert optimize.sizes((100, 1000), optimize.Settings(size=512)) == [(36, 362), (51, 512)], (
        "too narrow stages are left out"
    )
    assert optimize.split_steps(500, 5) == [178, 126, 89, 63, 44]
    assert optimize.split_steps(1, 3) == [1, 1, 1]
    with pytest.raises(RtstyleError, match="would be 256 x 13 pixels, and must be at least 32 x 32"):
        optimize.sizes((50, 1000), optimize.Settings(size=256))


def test_the_pyramid_ends_at_the_size_asked_for(small, content, style, monkeypatch):
    monkeypatch.setattr(optimize, "FIRST_SIZE", 48)
    seen = []
    result = optimize.render(content, [style], small(size=96, pyramid=True, steps=9), seen.append)
    assert list(dict.fromkeys((p.width, p.height) for p in seen)) == [(48, 40), (68, 57), (96, 80)]
    assert result.picture.shape == (80, 96, 3)
    assert result.evaluations >= len(seen) == seen[-1].steps


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_same_seed_same_picture(optimizer, small, content, style):
    pictures = [
        optimize.render(content, [style], small(noise=0.5, seed=seed, optimizer=optimizer)).picture
        for seed in (4, 4, 5)
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


@pytest.fixture
def start(small, content, style):
    """A function that gives the picture that a rendering starts from, float [H, W, 3]."""

    def first(photograph=content, styles=(style,), **changes):
        seen = []
        settings = small(steps=1, optimizer="adam", learning_rate=1e-9, **changes)
        optimize.render(photograph, styles, settings, lambda p: seen.append(p.picture()))
        return seen[0].astype(float)

    return first


def test_the_start_is_the_photograph_noise_or_a_mixture(start, content):
    photo, mixed, noise = (start(start="content", noise=share) for share in (0, 0.5, 1))
    np.testing.assert_array_equal(photo, content)
    assert 10 < noise.std() < 40 and abs(np.corrcoef(noise.mean(2).ravel(), photo.mean(2).ravel())[0, 1]) < 0.1
    assert np.abs(mixed - (photo + noise) / 2).max() <= 1


def test_ctrl_c_keeps_the_picture_so_far(small, content, style):
    pictures = []

    def interrupt(progress):
        pictures.append(progress.picture())
        if progress.step == 3:
            raise KeyboardInterrupt

    result = optimize.render(content, [style], small(steps=50), interrupt)
    assert (result.ended, result.steps) == ("interrupted", 3)
    np.testing.assert_array_equal(result.picture, pictures[-1])


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_lack_of_memory_keeps_the_picture_so_far(error, small, content, style):
    pictures = []

    def full(progress):
        pictures.append(progress.picture())
        if progress.step == 3:
            raise error

    result = optimize.render(content, [style], small(steps=50), full)
    assert (result.ended, result.steps) == ("out of memory", 3)
    np.testing.assert_array_equal(result.picture, pictures[-1])


def test_another_error_is_not_taken_for_a_lack_of_memory(small, content, style):
    def broken(progress):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        optimize.render(content, [style], small(), broken)


def test_of_a_gpu_what_others_left_is_used(small, monkeypatch):
    monkeypatch.setattr(perceptual, "pick_device", torch.device)
    for name, size in {"memory_reserved": 3e9, "memory_allocated": 2e9, "mem_get_info": (7e9, 80e9)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, size=size: size)
    assert optimize.allowed_memory(small(device="cuda")) == 0.75 * (7e9 + 1e9)


@pytest.mark.parametrize("weight", [1e-12, 1e18])
def test_the_scale_of_the_weights_does_not_matter(weight, small, content, style):
    """L-BFGS multiplies slopes; with large sums of squares they would not fit into float32."""
    defaults, scaled = (
        optimize.render(content, [style], small(content_weight=w, style_weight=w, steps=12)) for w in (1.0, weight)
    )
    assert scaled.ended == "done"
    assert scaled.losses.total / weight == pytest.approx(defaults.losses.total, rel=0.02)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_a_loss_of_nan_ends_the_descent_with_the_last_good_picture(optimizer, small, content, style):
    settings = small(optimizer=optimizer, learning_rate=1e30, clamp="none", steps=20, start="content")
    result = optimize.render(content, [style], settings)
    assert result.ended == "not a number" and result.steps < 20
    assert all(math.isfinite(row.total) for row in result.log)
    np.testing.assert_array_equal(result.picture, content)


def test_clamping_after_each_step(small, content, style):
    """TensorFlow's way: what is cut off is forgotten, so the picture is back from white or black at the next step."""
    given = {"optimizer": "sgd", "learning_rate": 20.0, "steps": 4}
    ranges = {}
    original = Objective.__call__

    def watched(self, picture, gradient=True):
        ranges.setdefault(self.settings.clamp, []).append(float(picture.abs().max()))
        return original(self, picture, gradient)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "__call__", watched)
        for clamp in ("step", "none"):
            optimize.render(content, [style], small(clamp=clamp, **given))
    assert max(ranges["step"]) <= 255.001 and max(ranges["none"]) > 300


def test_dark_areas_get_no_speckles(small):
    """Values that a step throws out of the range have no gradient there, but for one back inside: a black photograph
    with a light style picture once kept a fifth of its values black for ever, each in one channel or two."""
    random = np.random.default_rng(0)
    dark = np.clip(random.normal(3, 4, (48, 48, 3)), 0, 255).astype(np.uint8)
    light = np.clip(random.normal((150, 120, 90), 6, (48, 48, 3)), 0, 255).astype(np.uint8)
    settings = small(start="content", content_weight=0.0, style_weight=1.0, steps=30)
    result = optimize.render(dark, [light], settings)
    assert (result.picture == 0).mean() < 0.005
    assert result.raw.min() >= 0 and result.raw.max() <= 255, "nothing is cut off at the end"


# Colours and masks


def palette_distance(picture, other):
    palettes = [perceptual.palette(as_tensor(x, "cpu")) for x in (picture, other)]
    return float(perceptual.palette_loss(*palettes))


def test_the_start_has_the_colors_of_the_artwork(start, small, content, style):
    recolored = start()
    np.testing.assert_allclose(recolored, gatys_pictures.recolored(content, [StylePicture(style)], small()), atol=0.51)
    assert palette_distance(recolored, style) < 0.1 * palette_distance(content, style)
    half = start(noise=0.5)
    assert np.abs(half - (recolored + start(noise=1.0)) / 2).max() <= 1


def test_light_stays_light_in_other_colors(style):
    photo = gatys_pictures.resize(read_image(bundled_photograph()).rgb, (96, 96))
    result = gatys_pictures.recolored(photo, [StylePicture(style)], optimize.Settings())
    assert np.corrcoef(photo.mean(2).ravel(), result.mean(2).ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("artwork", "grain"), [("waves", 3.0), ("two colors", 6.0)])
def test_a_wall_in_many_colors_gets_no_bands_and_little_grain(artwork, grain, style):
    """Most of the photograph is a wall of 20 grey levels and grain of 2, and has to become most of the artwork's
    colours: pixel by pixel that makes grain of 6.4 and 16."""
    random = np.random.default_rng(0)
    ramp = np.linspace(180, 200, 128)[None, :, None] + np.zeros((96, 1, 3))
    photo = np.clip(ramp + random.normal(0, 2, ramp.shape), 0, 255).astype(np.uint8)
    photo[:, 90:] = 40
    dots = (random.integers(0, 2, (96, 128, 1)) * np.array([200, 90, 30]) + 20).astype(np.uint8)
    given = StylePicture(style if artwork == "waves" else dots)
    result = gatys_pictures.recolored(photo, [given], optimize.Settings())[:, :84]
    columns = result.mean(0)
    assert np.ptp(columns, axis=0).max() > 70, "hardly recolored"
    assert (result - columns).std() < grain
    assert np.abs(np.diff(columns, axis=0)).max() < 10, "a band"


def test_the_colors_of_several_styles_count_by_weight(start, content):
    red, blue = (
        np.zeros((40, 40, 3), np.uint8) + np.array(color, np.uint8) for color in ([200, 20, 20], [20, 20, 200])
    )
    result = start(styles=[StylePicture(red, 3.0), StylePicture(blue, 1.0)])
    np.testing.assert_allclose(result.mean((0, 1)), [155, 20, 65], atol=8)


def test_masks_have_the_colors_of_their_styles(start, content, style):
    red = np.zeros((40, 40, 3), np.uint8) + np.array([200, 20, 20], np.uint8)
    left = np.zeros((40, 48), np.uint8)
    left[:, :24] = 255
    alone = start(styles=[StylePicture(red, mask=left)])
    np.testing.assert_array_equal(alone[:, 24:], content[:, 24:])
    assert np.abs(alone[:, :24] - red[0, 0]).mean() < 12, "only fine detail is not red"
    beside = start(styles=[StylePicture(red, mask=left), style])
    assert np.abs(beside[:, :24] - red[0, 0]).mean() < 12
    np.testing.assert_array_equal(beside[:, 24:], start()[:, 24:])
    # a style mask: which part of the artwork has colours to give; a mask smaller than a pixel gives none
    both, own = np.hstack([red, 255 - red]), np.zeros((40, 80), np.uint8)
    own[:, :40] = 255
    part = start(styles=[StylePicture(both, own_mask=own)])
    assert np.abs(part - red[0, 0]).mean() < 12
    point = np.zeros((4000, 4800), np.uint8)
    point[0, 0] = 1
    np.testing.assert_array_equal(start(styles=[StylePicture(red, mask=point)]), content)


def test_with_keep_color_only_the_lightness_is_transported(small, content, style):
    """The style picture is grey then, with the photograph's mean and deviation: so is the start."""
    settings = small(keep_color=True)
    result = gatys_pictures.recolored(gatys_pictures.grey(content), [StylePicture(style)], settings)
    assert np.ptp(result, axis=2).max() < 1
    assert abs(result.mean() - gatys_pictures.grey(content).mean()) < 4
    import cv2

    painted = optimize.render(content, [style], settings)
    expected, got = (cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb).astype(int) for x in (content, painted.picture))
    unclipped = ((painted.picture > 0) & (painted.picture < 255)).all(-1)
    assert np.abs(expected - got)[unclipped][:, 1:].max() <= 2


def test_pictures_of_one_color_can_be_recolored(content):
    plain = np.full((40, 48, 3), 90, np.uint8)
    assert np.abs(gatys_pictures.recolored(plain, [StylePicture(plain)], optimize.Settings()) - 90).max() < 1
    for photo, artwork in ((content, plain), (plain, content)):
        assert np.isfinite(gatys_pictures.recolored(photo, [StylePicture(artwork)], optimize.Settings())).all()


def test_keep_color_keeps_the_colours(small, content, style):
    import cv2

    result = optimize.render(content, [style], small(keep_color=True, style_weight=100.0))
    expected, measured = (cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb).astype(int) for x in (content, result.picture))
    inside = ((result.picture > 0) & (result.picture < 255)).all(-1)  # else the colour was cut off
    assert inside.mean() > 0.5
    assert np.abs(expected - measured)[inside][:, 1:].max() <= 2
    assert np.abs(expected - measured)[..., 0].mean() > 1, "hardly painted"


def test_match_colors_gives_mean_and_covariance(content):
    random = np.random.default_rng(0)
    flat = random.normal((120, 90, 60), (20, 30, 25), (64 * 64, 3))
    flat[:, 1] += 0.4 * (flat[:, 0] - 120)
    other = random.normal((100, 140, 130), (25, 15, 20), (64 * 64, 3))
    picture, like = (np.clip(x, 0, 255).astype(np.uint8).reshape(64, 64, 3) for x in (flat, other))
    result = gatys_pictures.match_colors(picture, like)
    np.testing.assert_allclose(result.mean((0, 1)), like.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(np.cov(result.reshape(-1, 3).T), np.cov(like.reshape(-1, 3).T), atol=12)


def test_match_colors_takes_a_picture_of_one_colour(content):
    plain = np.full((32, 32, 3), 77, np.uint8)
    assert np.abs(gatys_pictures.match_colors(plain, content).astype(float) - content.mean((0, 1))).max() <= 1
    assert (gatys_pictures.match_colors(content, plain) == 77).all()


def test_match_color_changes_what_is_aimed_at(small, content, style):
    plain, matched = (optimize.render(content, [style], small(match_color=given, steps=8)) for given in (False, True))
    mean = content.mean((0, 1))
    assert np.abs(matched.picture.mean((0, 1)) - mean).sum() < np.abs(plain.picture.mean((0, 1)) - mean).sum()


def test_outside_all_masks_is_the_photograph(small, content, style):
    mask = np.zeros((80, 96), np.uint8)
    mask[:, :48] = 255
    given = StylePicture(style, mask=mask)
    result = optimize.render(content, [given], small(style_weight=100.0))
    np.testing.assert_array_equal(result.picture[:, 28:], content[:, 28:])
    assert np.abs(result.picture[:, :20].astype(int) - content[:, :20]).mean() > 3


def test_a_style_mask_leaves_out_the_rest_of_the_picture(small, content, style):
    frame = np.full((64, 96, 3), 255, np.uint8)
    frame[:44, :52] = style
    own = np.zeros((64, 96), np.uint8)
    own[:44, :52] = 255
    masked = optimize.render(content, [StylePicture(frame, own_mask=own)], small(style_scale=4.0))
    alone = optimize.render(content, [style], small(style_scale=4.0))
    whole = optimize.render(content, [frame], small(style_scale=4.0))
    distance = [np.abs(x.picture.astype(int) - alone.picture).mean() for x in (masked, whole)]
    assert distance[0] < distance[1] / 2


# What is refused


def test_a_style_mask_of_which_nothing_is_left_is_refused(small, content, style):
    faint = np.zeros((440, 520), np.uint8)
    faint[0, 0] = 1
    with pytest.raises(RtstyleError, match=r"no part of a style picture counts .*52 x 44 pixels: .* larger `size`"):
        optimize.render(content, [StylePicture(style, own_mask=faint)], small(style_scale=4.0))


def test_pictures_that_cannot_work(small, content, style):
    with pytest.raises(RtstyleError, match="the photograph has 48 x 20 pixels: it must be at least 32 x 32"):
        optimize.render(content[:20], [style], small())
    with pytest.raises(RtstyleError, match="the style picture has 9 x 44"):
        optimize.render(content, [style[:, :9]], small())
    with pytest.raises(UsageError, match="must be uint8"):
        optimize.render(content / 255, [style], small())
    with pytest.raises(UsageError, match="at least one style"):
        optimize.render(content, [], small())
    with pytest.raises(UsageError, match="weight of a style picture"):
        optimize.render(content, [StylePicture(style, weight=0)], small())
    with pytest.raises(RtstyleError, match="mask is all black"):
        optimize.render(content, [StylePicture(style, mask=np.zeros((9, 9), np.uint8))], small())


def test_weights_that_end_too_early_are_named(small, content, style):
    with pytest.raises(RtstyleError, match=r"ends before relu4_2: choose an earlier layer"):
        optimize.render(content, [style], small(content_layers={"relu4_2": 1.0}))


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:77"])
def test_a_device_that_is_not_there(name, small, content, style):
    with pytest.raises(RtstyleError, match="device"):
        optimize.render(content, [style], small(device=name))


# Real weights


def test_a_real_pair_gets_nearer_to_its_style(vgg19_path, content, paintings_folder):
    settings = optimize.preset(weights=vgg19_path, size=96, steps=20, device="cpu")
    result = optimize.render(photograph(1, 80, 96), [read_image(paintings_folder / "waves.png").rgb], settings)
    assert result.losses.style < 0.3 * result.log[0].style
    assert result.losses.total < 0.5 * result.log[0].total


@pytest.mark.parametrize("name", optimize.PRESETS)
def test_presets_run_on_real_weights(name, vgg19_path, style):
    settings = optimize.preset(name, weights=vgg19_path, size=64, steps=12, device="cpu")
    result = optimize.render(photograph(1, 64, 64), [style], settings)
    assert result.ended == "done"
    assert result.losses.total < result.log[0].total
