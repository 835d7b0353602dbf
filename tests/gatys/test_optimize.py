"""Gatys mode: losses against plain loops over the papers' equations, presets, tiles, optimizers, what goes wrong."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from conftest import photograph  # noqa: E402
from support.helpers import run_python  # noqa: E402

from rtstyle.errors import RtstyleError, UsageError  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402
from rtstyle.gatys import settings as gatys_settings  # noqa: E402
from rtstyle.gatys.objective import CELL, Objective, StyleTensor, cut, plan, reach  # noqa: E402
from rtstyle.media.contact_sheet import bundled_photograph  # noqa: E402
from rtstyle.media.images import read_image  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

# As far as the fake weights go.
LAYERS = {"content_layers": {"relu2_2": 1.0}, "style_layers": {"relu1_1": 0.7, "relu2_1": 0.4}}
RGB_MEAN = (123.68, 116.779, 103.939)  # Oxford's, in RGB order


@pytest.fixture
def small(fake_vgg):
    """A function that gives settings for the fake weights at toy size, with changes to a preset or the defaults."""

    def settings(name=None, **changes):
        usual = {"vgg": "vgg16", "weights": fake_vgg, "size": 48, "steps": 6, "pyramid": False, "device": "cpu"}
        usual |= {} if name else {"style_weight": 1.0}
        return optimize.preset(name, **(usual | LAYERS | changes))

    return settings


@pytest.fixture(scope="module")
def content():
    return photograph(1, 40, 48)


@pytest.fixture(scope="module")
def style():
    y, x = np.mgrid[0:44, 0:52]
    wave = 0.5 + 0.5 * np.sin(x / 3 + 3 * np.sin(y / 7))
    return np.stack([30 + 40 * wave, 60 + 120 * wave, 140 + 110 * wave], -1).astype(np.uint8)


def doubles(rgb):
    return optimize.as_tensor(rgb, "cpu").double()


def wide_vgg(fake_vgg, pooling="max"):
    return perceptual.VGG("vgg16", fake_vgg, pooling=pooling, dtype=torch.float64)


# The papers' equations, written without rtstyle


def plain_features(state, pooling, picture):
    """relu1_1, relu2_1 and relu2_2 of a picture [1, 3, H, W], RGB, 0 to 255, by Simonyan and Zisserman's layout."""

    def conv(x, index):
        weight, bias = state[f"features.{index}.weight"].double(), state[f"features.{index}.bias"].double()
        return torch.relu(F.conv2d(x, weight, bias, padding=1))

    bgr = (picture - torch.tensor(RGB_MEAN, dtype=torch.float64).view(1, 3, 1, 1))[:, [2, 1, 0]]
    found = {"relu1_1": conv(bgr, 0)}
    x = conv(found["relu1_1"], 2)
    n, c, h, w = x.shape
    cells = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
    x = cells.amax((3, 5)) if pooling == "max" else cells.mean((3, 5))
    found["relu2_1"] = conv(x, 5)
    found["relu2_2"] = conv(found["relu2_1"], 7)
    return found


def plain_total(kind, state, pooling, picture, content, style, settings):
    """alpha content + beta style, as printed: Gatys' equations 1, 3, 4, 5 and 7, or Johnson's 2, 3 and 4."""
    f, p, s = (plain_features(state, pooling, x) for x in (picture, content, style))
    content_loss = style_loss = 0
    for layer, weight in settings.content_layers.items():
        if kind == "gatys":
            content_loss = content_loss + weight * 0.5 * ((f[layer] - p[layer]) ** 2).sum()
        else:
            _, c, h, w = f[layer].shape
            content_loss = content_loss + weight * ((f[layer] - p[layer]) ** 2).sum() / (c * h * w)
    for layer, weight in settings.style_layers.items():
        _, n, h, w = f[layer].shape
        m = h * w
        big, other = f[layer][0].reshape(n, m), s[layer][0].reshape(n, -1)
        if kind == "gatys":  # style pictures have the size of the content here, as in the paper
            g, a = torch.einsum("ik,jk->ij", big, big), torch.einsum("ik,jk->ij", other, other)
            style_loss = style_loss + weight * ((g - a) ** 2).sum() / (4 * n**2 * m**2)
        elif kind == "johnson":
            g = torch.einsum("ik,jk->ij", big, big) / (n * m)
            a = torch.einsum("ik,jk->ij", other, other) / (n * other.shape[1])
            style_loss = style_loss + weight * ((g - a) ** 2).sum()
        else:  # UPES: weight mean((G - A)^2) / (d h w)
            g, a = torch.einsum("ik,jk->ij", big, big), torch.einsum("ik,jk->ij", other, other)
            style_loss = style_loss + weight * ((g - a) ** 2).mean() / (n * h * w)
    return settings.content_weight * content_loss + settings.style_weight * style_loss


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("kind", ["gatys", "johnson", "upes"])
@pytest.mark.parametrize("side", [None, 16])
def test_losses_and_gradients_are_the_papers(kind, pooling, side, fake_vgg, vgg_state, small, content, style):
    settings = small(
        pooling=pooling,
        clamp="none",
        content_weight=0.3,
        style_weight=7.0,
        style_norm=kind,
        content_norm="gatys" if kind == "gatys" else "mean",
    )
    photo = doubles(content)
    painting = doubles(style if kind == "johnson" else optimize.resize(style, content.shape[:2]))
    picture = photo + 20 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0)).double()
    objective = Objective(wide_vgg(fake_vgg, pooling), settings, photo, [StyleTensor(painting)], side)
    assert len(objective.tiles) == (1 if side is None else 9)
    losses, gradient = objective(picture)

    variable = picture.clone().requires_grad_()
    wanted = plain_total(kind, vgg_state, pooling, variable, photo, painting, settings)
    wanted.backward()
    # VGG keeps Oxford's means in float32
    assert losses.total == pytest.approx(float(wanted.detach()), rel=1e-6)
    np.testing.assert_allclose(gradient, variable.grad, rtol=1e-4, atol=1e-6 * float(variable.grad.abs().max()))
    assert losses.total == pytest.approx(losses.content + losses.style + losses.tv)


def test_features_of_the_other_scale_are_57_times_smaller(fake_vgg, small, content, style):
    """Weights for 0..255 as torchvision's: content differs by the unit squared, style by its fourth power."""
    picture, found = doubles(content) + 10, {}
    for features in ("oxford", "torchvision"):
        settings = small(features=features)
        found[features] = Objective(wide_vgg(fake_vgg), settings, doubles(content), [StyleTensor(doubles(style))])(
            picture, gradient=False
        )[0]
    unit = 255 * 0.226
    assert found["oxford"].content / found["torchvision"].content == pytest.approx(unit**2)
    assert found["oxford"].style / found["torchvision"].style == pytest.approx(unit**4)


def test_total_variation_both_ways(fake_vgg, small, content, style):
    picture = doubles(content)
    x = content.astype(float) / 255
    down, across = np.diff(x, axis=0), np.diff(x, axis=1)
    wanted = {"squares": (down**2).mean() + (across**2).mean(), "absolute": abs(down).sum() + abs(across).sum()}
    for norm, value in wanted.items():
        settings = small(tv_weight=3.0, tv_norm=norm)
        losses, gradient = Objective(wide_vgg(fake_vgg), settings, picture, [StyleTensor(doubles(style))])(picture)
        assert losses.tv == pytest.approx(3 * value)
        assert torch.isfinite(gradient).all()


def test_a_mask_counts_positions_by_their_weight(fake_vgg, vgg_state, small, content, style):
    """Guided Gram matrices: sum m f f^T / sum m on both sides."""
    settings = small(content_layers={}, style_layers={"relu1_1": 1.0}, clamp="none")
    where = torch.zeros(40, 48).double()
    where[:, :24] = 1
    counts = torch.rand(44, 52, generator=torch.Generator().manual_seed(1)).double()
    given = StyleTensor(doubles(style), 2.0, counts, where)
    losses, gradient = Objective(wide_vgg(fake_vgg), settings, doubles(content), [given])(doubles(content))
    f = plain_features(vgg_state, "max", doubles(content))["relu1_1"][0]
    s = plain_features(vgg_state, "max", doubles(style))["relu1_1"][0]
    g = torch.einsum("ihw,jhw,hw->ij", f, f, where) / where.sum()
    a = torch.einsum("ihw,jhw,hw->ij", s, s, counts) / counts.sum()
    assert losses.style == pytest.approx(float(((g - a) ** 2).mean() * 2.0 * 0.5), rel=1e-6)
    assert float(gradient[..., 26:].abs().max()) == 0, "what is outside the mask is left alone"
    assert float(gradient[..., :24].abs().max()) > 0


def test_several_styles_pull_as_the_mean_of_their_losses(fake_vgg, small, content, style):
    vgg, settings, picture = wide_vgg(fake_vgg), small(content_layers={}), doubles(content)
    first, second = doubles(style), doubles(style[::-1, :, ::-1])
    both = Objective(vgg, settings, picture, [StyleTensor(first, 3.0), StyleTensor(second, 1.0)])(picture)[1]
    alone = [Objective(vgg, settings, picture, [StyleTensor(x)])(picture)[1] for x in (first, second)]
    np.testing.assert_allclose(both, 0.75 * alone[0] + 0.25 * alone[1], rtol=1e-9, atol=1e-15)


# Tiles


@pytest.mark.parametrize(("height", "width", "side"), [(40, 48, 16), (93, 121, 32), (64, 64, 64), (33, 200, 48)])
def test_tiles_cover_every_pixel_once(height, width, side):
    seen = np.zeros((height, width), int)
    for tile in cut(height, width, side, 32):
        top, bottom, left, right = tile.inner
        seen[top:bottom, left:right] += 1
        assert top % CELL == left % CELL == 0
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("arch", "layer", "pixels"), [("vgg19", "relu1_1", 16), ("vgg19", "relu5_1", 80), ("vgg16", "relu2_2", 16)]
)
def test_reach(arch, layer, pixels):
    """VGG-19: 2 + 2x2 + 4x4 + 4x8 + 16 = 70 pixels to each side of a cell of conv5_1."""
    assert reach(arch, [layer]) == pixels


@pytest.mark.parametrize("clamp", ["inside", "none"])
def test_tiles_change_nothing(clamp, fake_vgg, small):
    """Odd sizes, masks, total variation, values out of range."""
    photo, painting = doubles(photograph(1, 93, 121)), doubles(photograph(2, 70, 90))
    random = torch.Generator().manual_seed(3)
    masks = torch.rand(70, 90, generator=random).double(), torch.rand(93, 121, generator=random).double()
    styles = [StyleTensor(painting, 0.5, masks[0]), StyleTensor(painting.flip(3), 2.0, None, masks[1])]
    picture = photo + 40 * torch.randn(photo.shape, generator=random)
    settings = small(tv_weight=3.0, clamp=clamp)
    whole, tiled = (Objective(wide_vgg(fake_vgg), settings, photo, styles, side) for side in (None, 32))
    assert (len(whole.tiles), len(tiled.tiles)) == (1, 12)
    (one, gradient), (other, same) = whole(picture), tiled(picture)
    assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other), rel=1e-12)
    np.testing.assert_allclose(gradient, same, rtol=1e-9, atol=1e-12 * float(gradient.abs().max()))
    assert tiled(picture, gradient=False)[0].total == pytest.approx(one.total, rel=1e-12)


def test_a_tiled_picture_is_the_whole_one(small, monkeypatch):
    photo, painting = photograph(1, 96, 128), photograph(2, 64, 64)
    settings = small(size=128, steps=8)
    whole = optimize.render(photo, [painting], settings)
    plans = []

    def small_tiles(height, width, settings, limit, steps):
        plans.append(dataclasses.replace(plan(height, width, settings, None), side=48))
        return plans[-1]

    monkeypatch.setattr(optimize, "plan", small_tiles)
    tiled = optimize.render(photo, [painting], settings)
    assert plans and tiled.plan.side == 48
    assert np.abs(whole.picture.astype(int) - tiled.picture).mean() < 2
    assert tiled.losses.total == pytest.approx(whole.losses.total, rel=1e-3)


def test_a_large_style_picture_is_looked_at_in_tiles(fake_vgg, small, content):
    """Its memory is not in the plan; its Gram matrices do not change."""
    picture, seen = doubles(content), []
    painting = doubles(photograph(2, 260, 200))
    vgg = wide_vgg(fake_vgg)

    class Watched:
        arch, convention = vgg.arch, vgg.convention

        def __call__(self, x, layers):
            seen.append(x.shape[2:].numel())
            return vgg(x, layers)

    found = Objective(Watched(), small(), picture, [StyleTensor(painting)])
    assert len(seen) > 2 and max(seen) < 260 * 200 / 2
    whole = vgg(painting, ["relu2_1"])["relu2_1"][0].flatten(1)
    np.testing.assert_allclose(found.groups[0].targets["relu2_1"], whole @ whole.T / whole.shape[1], rtol=1e-9)


def test_memory_is_planned(small):
    settings = optimize.preset(size=2048)
    free = plan(1536, 2048, settings, None)
    assert free.side is None and free.history == 100
    assert plan(1536, 2048, settings, None, 30).needed < free.needed, "few steps fill little history"
    shorter = plan(1536, 2048, settings, free.needed * 0.75)
    assert shorter.side is None and shorter.history < 100 and shorter.needed <= free.needed * 0.75
    tiled = plan(1536, 2048, settings, 3e9)
    assert tiled.side and tiled.side % CELL == 0 and tiled.needed <= 3e9
    with pytest.raises(RtstyleError, match=r"need at least .* GB of memory.*`max_memory`.*`size`"):
        plan(1536, 2048, settings, 0.5e9)


MEASURE = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from rtstyle.gatys import optimize as gatys
from rtstyle.gatys import objective as gatys_objective
random = np.random.default_rng(0)
photo, painting = (random.integers(0, 256, (int(sys.argv[2]), int(sys.argv[2]), 3), dtype=np.uint8) for _ in range(2))
memory = float(sys.argv[3]) and gatys_objective.FIXED + float(sys.argv[3])
settings = gatys.preset(size=int(sys.argv[2]), steps=2, pyramid=False, device="cpu",
    weights=sys.argv[1], max_memory=memory or None, history=10)
result = gatys.render(photo, [painting], settings)
assert bool(result.plan.side) == bool(memory), result.plan
# not ru_maxrss: that begins with the peak of the program that started this one
print(result.plan.needed, next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) * 1024)
"""


@pytest.fixture(scope="module")
def full_vgg19(write_vgg):
    """Random weights in the shapes of VGG-19 up to conv5_1."""
    from conftest import vgg_like_weights

    shapes, channels = {}, 3
    for stage, (count, wide) in enumerate(zip((2, 2, 4, 4, 1), (64, 128, 256, 512, 512), strict=True), start=1):
        for number in range(1, count + 1):
            shapes[perceptual.layer_index("vgg19", f"conv{stage}_{number}")] = (wide, channels)
            channels = wide
    return write_vgg("full_vgg19.safetensors", state=vgg_like_weights(shapes=shapes))


@pytest.mark.parametrize(("size", "limit"), [(256, 0), (448, 0.45e9)])
def test_memory_stays_under_what_was_said(size, limit, full_vgg19):
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    done = run_python("-c", MEASURE, full_vgg19, size, limit)
    assert done.returncode == 0, done.stderr
    said, measured = map(float, done.stdout.split())
    assert measured <= said * 1.05
    assert measured >= said * 0.4, "an estimate that frightens people away"


# Settings


def test_the_defaults_are_those_of_gatys():
    settings = optimize.Settings()
    assert settings.vgg == "vgg19" and settings.content_layers == {"relu4_2": 1.0}
    assert settings.style_layers == {
        f"relu{stage}_1": 1000 / n**2 for stage, n in enumerate((64, 128, 256, 512, 512), start=1)
    }
    assert (settings.content_norm, settings.style_norm, settings.features) == ("mean", "johnson", "oxford")
    assert (settings.optimizer, settings.rate, settings.pooling) == ("lbfgs", 1.0, "max")
    assert (settings.content_weight, settings.style_weight, settings.tv_weight) == (1.0, 0.1, 0.0)


FIFTH = {f"relu{stage}_1": 0.2 for stage in range(1, 6)}
PINNED = {
    "ucsd": {
        "features": "torchvision", "style_layers": FIFTH, "content_norm": "gatys", "style_norm": "gatys",
        "style_weight": 1e6, "steps": 300, "pyramid": False, "start": "content",
    },
    "upes": {
        "features": "torchvision", "style_norm": "upes", "style_weight": 1e6, "size": 400, "pyramid": False,
        "style_layers": {"relu1_1": 1.0, "relu2_1": 0.75, "relu3_1": 0.2, "relu4_1": 0.2, "relu5_1": 0.2},
        "start": "content", "style_fit": "content", "optimizer": "adam", "learning_rate": 0.003, "unit": "deviation",
        "steps": 2000, "clamp": "none",
    },
    "ntu": {
        "features": "torchvision", "pooling": "average", "style_layers": FIFTH, "content_norm": "gatys",
        "style_norm": "gatys", "style_weight": 1e4, "noise": 1.0, "pyramid": False, "start": "content", "clamp": "none",
    },
    "icfp": {
        "features": "torchvision", "style_weight": 100.0, "learning_rate": 0.2, "line_search": False, "steps": 200,
        "pyramid": False, "start": "content", "clamp": "none",
    },
    "mloa": {
        "content_layers": {"relu5_2": 1.0}, "style_layers": FIFTH, "content_weight": 1e4, "style_weight": 1e-2,
        "tv_weight": 30.0, "tv_norm": "absolute", "optimizer": "adam", "learning_rate": 0.02, "betas": (0.99, 0.999),
        "epsilon": 0.1, "clamp": "step", "pyramid": False, "start": "content",
    },
}  # fmt: skip


SIZES_AND_STEPS = {"ucsd": (512, 300), "upes": (400, 2000), "ntu": (512, 500), "icfp": (512, 200), "mloa": (512, 500)}


@pytest.mark.parametrize("name", optimize.PRESETS)
def test_presets_are_pinned(name):
    """Whatever is not named is the default: VGG-19, conv4_2 rectified, 512 px, L-BFGS, seed 0."""
    usual = optimize.Settings()
    found = optimize.preset(name)
    differs = {
        field.name: getattr(found, field.name)
        for field in dataclasses.fields(found)
        if getattr(found, field.name) != getattr(usual, field.name)
    }
    assert differs == PINNED[name]
    assert (found.size, found.steps) == SIZES_AND_STEPS[name]


def test_another_optimizer_gets_its_own_rate():
    assert optimize.preset("icfp", optimizer="adam").rate == 0.02
    assert optimize.preset("icfp").rate == 0.2
    assert optimize.preset("mloa", optimizer="rmsprop").epsilon is None
    assert optimize.preset("mloa", optimizer="rmsprop", learning_rate=0.001).rate == 0.001


def test_words_of_the_command_line():
    words = gatys_settings.changes_from_words
    assert words("icfp", ratio=0.0001) == {"style_weight": 1e4}
    assert words(None, ratio=0.5, content_weight=3.0) == {"content_weight": 3.0, "style_weight": 6.0}
    assert words(None, start="palette") == {"start": "palette", "noise": 0.0}
    assert words("ntu", start="content") == {"start": "content", "noise": 0.0}
    assert words(None, start="noise") == {"noise": 1.0}
    assert words(None, start="0.25") == {"noise": 0.25}
    assert words(None, content_layers="conv4_2,relu3_1:0.5")["content_layers"] == {"conv4_2": 1.0, "relu3_1": 0.5}
    assert words(None, style_layers="relu1_1,relu3_2:2")["style_layers"] == {"relu1_1": 1000 / 64**2, "relu3_2": 2.0}
    assert words("mloa", style_layers="relu1_2")["style_layers"] == {"relu1_2": 0.2}
    assert words(None, max_memory="3G") == {"max_memory": 3 * 10**9}
    assert [gatys_settings.parse_memory(text) for text in ("800M", "1.5 GB", "64")] == [8e8, 1.5e9, 64e6]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ratio": 1.0, "style_weight": 2.0}, "not both"),
        ({"ratio": -1.0}, "above 0"),
        ({"start": "sand"}, "^`start` is palette, content, noise or a share of noise such as 0.3, not 'sand'$"),
        ({"start": "-0.1"}, "share of noise must be between 0 and 1"),
        ({"start": "1.5"}, "between 0 and 1"),
        ({"content_layers": "fc6"}, "is no layer"),
        ({"style_layers": "relu1_1:much"}, "is no weight"),
        ({"max_memory": "lots"}, "invalid memory size"),
        ({"optimizer": "newton"}, "optimizer must be lbfgs or adam"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"size": 8}, "size must be at least 32"),
        ({"style_weight": math.nan}, "style weight must be a number"),
        ({"tv_weight": -1.0}, "tv weight must be a number"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
    ],
)
def test_settings_that_cannot_work(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        optimize.preset(**gatys_settings.changes_from_words(None, **changes))


def test_an_unknown_start_is_refused_in_python_too():
    with pytest.raises(UsageError, match="start must be palette or content, not 'style'"):
        optimize.preset(start="style")


def test_the_default_starts_in_the_colors_of_the_artwork_and_presets_can():
    assert optimize.Settings().start == "palette"
    assert optimize.preset("icfp", **gatys_settings.changes_from_words("icfp", start="palette")).start == "palette"


def test_an_unknown_preset_names_the_others():
    with pytest.raises(UsageError, match="unknown preset 'ucla': choose ucsd, upes, ntu, icfp, mloa"):
        optimize.preset("ucla")


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
    photo, painting = optimize.as_tensor(content, "cpu").double(), optimize.as_tensor(style, "cpu").double()
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
    assert result.log == seen and all(row.picture is None for row in result.log)


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


@pytest.mark.parametrize("weight", [1e-12, 1e18])
def test_the_scale_of_the_weights_does_not_matter(weight, small, content, style):
    """L-BFGS multiplies slopes; with large sums of squares they would not fit into float32."""
    usual, scaled = (
        optimize.render(content, [style], small(content_weight=w, style_weight=w, steps=12)) for w in (1.0, weight)
    )
    assert scaled.ended == "done"
    assert scaled.losses.total / weight == pytest.approx(usual.losses.total, rel=0.02)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_losses_that_are_no_numbers_end_it_with_the_last_good_picture(optimizer, small, content, style):
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


@pytest.mark.parametrize("side", [None, 16])
def test_out_of_range_only_the_way_back_has_a_gradient(side, fake_vgg, small, content, style):
    settings, free = small(tv_weight=3.0), small(tv_weight=3.0, clamp="none")
    vgg, photo, styles = wide_vgg(fake_vgg), doubles(content), [StyleTensor(doubles(style))]
    picture = photo + 90 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0)).double()
    inside = picture.clamp(0, 255)
    (losses, gradient), (same, slopes) = (
        Objective(vgg, settings, photo, styles, side)(picture),
        Objective(vgg, free, photo, styles, side)(inside),
    )
    assert losses.total == pytest.approx(same.total)
    outwards = ((picture <= 0) & (slopes > 0)) | ((picture >= 255) & (slopes < 0))
    assert outwards.any() and ((picture < 0) & (slopes < 0)).any() and ((picture > 255) & (slopes > 0)).any()
    torch.testing.assert_close(gradient, slopes.masked_fill(outwards, 0), rtol=1e-9, atol=1e-12)


# Colours and masks


def palette_distance(picture, other):
    palettes = [perceptual.palette(optimize.as_tensor(x, "cpu")) for x in (picture, other)]
    return float(perceptual.palette_loss(*palettes))


def test_the_start_has_the_colors_of_the_artwork(start, small, content, style):
    recolored = start()
    np.testing.assert_allclose(
        recolored, optimize.recolored(content, [optimize.StylePicture(style)], small()), atol=0.51
    )
    assert palette_distance(recolored, style) < 0.1 * palette_distance(content, style)
    half = start(noise=0.5)
    assert np.abs(half - (recolored + start(noise=1.0)) / 2).max() <= 1


def test_light_stays_light_in_other_colors(style):
    photo = optimize.resize(read_image(bundled_photograph()).rgb, (96, 96))
    found = optimize.recolored(photo, [optimize.StylePicture(style)], optimize.Settings())
    assert np.corrcoef(photo.mean(2).ravel(), found.mean(2).ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("artwork", "grain"), [("waves", 3.0), ("two colors", 6.0)])
def test_a_wall_in_many_colors_gets_no_bands_and_little_grain(artwork, grain, style):
    """Most of the photograph is a wall of 20 grey levels and grain of 2, and has to become most of the artwork's
    colours: pixel by pixel that makes grain of 6.4 and 16."""
    random = np.random.default_rng(0)
    ramp = np.linspace(180, 200, 128)[None, :, None] + np.zeros((96, 1, 3))
    photo = np.clip(ramp + random.normal(0, 2, ramp.shape), 0, 255).astype(np.uint8)
    photo[:, 90:] = 40
    dots = (random.integers(0, 2, (96, 128, 1)) * np.array([200, 90, 30]) + 20).astype(np.uint8)
    given = optimize.StylePicture(style if artwork == "waves" else dots)
    found = optimize.recolored(photo, [given], optimize.Settings())[:, :84]
    columns = found.mean(0)
    assert np.ptp(columns, axis=0).max() > 70, "hardly recolored"
    assert (found - columns).std() < grain
    assert np.abs(np.diff(columns, axis=0)).max() < 10, "a band"


def test_the_colors_of_several_styles_count_by_weight(start, content):
    red, blue = (
        np.zeros((40, 40, 3), np.uint8) + np.array(color, np.uint8) for color in ([200, 20, 20], [20, 20, 200])
    )
    found = start(styles=[optimize.StylePicture(red, 3.0), optimize.StylePicture(blue, 1.0)])
    np.testing.assert_allclose(found.mean((0, 1)), [155, 20, 65], atol=8)


def test_masks_have_the_colors_of_their_styles(start, content, style):
    red = np.zeros((40, 40, 3), np.uint8) + np.array([200, 20, 20], np.uint8)
    left = np.zeros((40, 48), np.uint8)
    left[:, :24] = 255
    alone = start(styles=[optimize.StylePicture(red, mask=left)])
    np.testing.assert_array_equal(alone[:, 24:], content[:, 24:])
    assert np.abs(alone[:, :24] - red[0, 0]).mean() < 12, "only fine detail is not red"
    beside = start(styles=[optimize.StylePicture(red, mask=left), style])
    assert np.abs(beside[:, :24] - red[0, 0]).mean() < 12
    np.testing.assert_array_equal(beside[:, 24:], start()[:, 24:])
    # a style mask: which part of the artwork has colours to give; a mask smaller than a pixel gives none
    both, own = np.hstack([red, 255 - red]), np.zeros((40, 80), np.uint8)
    own[:, :40] = 255
    part = start(styles=[optimize.StylePicture(both, own_mask=own)])
    assert np.abs(part - red[0, 0]).mean() < 12
    point = np.zeros((4000, 4800), np.uint8)
    point[0, 0] = 1
    np.testing.assert_array_equal(start(styles=[optimize.StylePicture(red, mask=point)]), content)


def test_with_keep_color_only_the_lightness_is_transported(small, content, style):
    """The style picture is grey then, with the photograph's mean and deviation: so is the start."""
    settings = small(keep_color=True)
    found = optimize.recolored(optimize.grey(content), [optimize.StylePicture(style)], settings)
    assert np.ptp(found, axis=2).max() < 1
    assert abs(found.mean() - optimize.grey(content).mean()) < 4
    import cv2

    painted = optimize.render(content, [style], settings)
    wanted, got = (cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb).astype(int) for x in (content, painted.picture))
    unclipped = ((painted.picture > 0) & (painted.picture < 255)).all(-1)
    assert np.abs(wanted - got)[unclipped][:, 1:].max() <= 2


def test_pictures_of_one_color_can_be_recolored(content):
    plain = np.full((40, 48, 3), 90, np.uint8)
    assert np.abs(optimize.recolored(plain, [optimize.StylePicture(plain)], optimize.Settings()) - 90).max() < 1
    for photo, artwork in ((content, plain), (plain, content)):
        assert np.isfinite(optimize.recolored(photo, [optimize.StylePicture(artwork)], optimize.Settings())).all()


def test_keep_color_keeps_the_colours(small, content, style):
    import cv2

    result = optimize.render(content, [style], small(keep_color=True, style_weight=100.0))
    wanted, found = (cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb).astype(int) for x in (content, result.picture))
    inside = ((result.picture > 0) & (result.picture < 255)).all(-1)  # else the colour was cut off
    assert inside.mean() > 0.5
    assert np.abs(wanted - found)[inside][:, 1:].max() <= 2
    assert np.abs(wanted - found)[..., 0].mean() > 1, "hardly painted"


def test_match_colors_gives_mean_and_covariance(content):
    random = np.random.default_rng(0)
    flat = random.normal((120, 90, 60), (20, 30, 25), (64 * 64, 3))
    flat[:, 1] += 0.4 * (flat[:, 0] - 120)
    other = random.normal((100, 140, 130), (25, 15, 20), (64 * 64, 3))
    picture, like = (np.clip(x, 0, 255).astype(np.uint8).reshape(64, 64, 3) for x in (flat, other))
    found = optimize.match_colors(picture, like)
    np.testing.assert_allclose(found.mean((0, 1)), like.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(np.cov(found.reshape(-1, 3).T), np.cov(like.reshape(-1, 3).T), atol=12)


def test_match_colors_takes_a_picture_of_one_colour(content):
    plain = np.full((32, 32, 3), 77, np.uint8)
    assert np.abs(optimize.match_colors(plain, content).astype(float) - content.mean((0, 1))).max() <= 1
    assert (optimize.match_colors(content, plain) == 77).all()


def test_match_color_changes_what_is_aimed_at(small, content, style):
    plain, matched = (optimize.render(content, [style], small(match_color=given, steps=8)) for given in (False, True))
    mean = content.mean((0, 1))
    assert np.abs(matched.picture.mean((0, 1)) - mean).sum() < np.abs(plain.picture.mean((0, 1)) - mean).sum()


def test_outside_all_masks_is_the_photograph(small, content, style):
    mask = np.zeros((80, 96), np.uint8)
    mask[:, :48] = 255
    given = optimize.StylePicture(style, mask=mask)
    result = optimize.render(content, [given], small(style_weight=100.0))
    np.testing.assert_array_equal(result.picture[:, 28:], content[:, 28:])
    assert np.abs(result.picture[:, :20].astype(int) - content[:, :20]).mean() > 3


def test_a_style_mask_leaves_out_the_rest_of_the_picture(small, content, style):
    frame = np.full((64, 96, 3), 255, np.uint8)
    frame[:44, :52] = style
    own = np.zeros((64, 96), np.uint8)
    own[:44, :52] = 255
    masked = optimize.render(content, [optimize.StylePicture(frame, own_mask=own)], small(style_scale=4.0))
    alone = optimize.render(content, [style], small(style_scale=4.0))
    whole = optimize.render(content, [frame], small(style_scale=4.0))
    distance = [np.abs(x.picture.astype(int) - alone.picture).mean() for x in (masked, whole)]
    assert distance[0] < distance[1] / 2


# What is refused


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
        optimize.render(content, [optimize.StylePicture(style, weight=0)], small())
    with pytest.raises(RtstyleError, match="mask is all black"):
        optimize.render(content, [optimize.StylePicture(style, mask=np.zeros((9, 9), np.uint8))], small())


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


def test_tiles_change_nothing_with_real_weights(vgg19_path):
    vgg = perceptual.VGG("vgg19", vgg19_path)
    photo, painting = (
        optimize.as_tensor(photograph(1, 170, 216), "cpu"),
        optimize.as_tensor(photograph(2, 150, 130), "cpu"),
    )
    objectives = [Objective(vgg, optimize.Settings(), photo, [StyleTensor(painting)], side) for side in (None, 112)]
    assert [len(objective.tiles) for objective in objectives] == [1, 4]
    (whole, gradient), (tiled, other) = (objective(photo * 0.9 + 10) for objective in objectives)
    assert tiled.total == pytest.approx(whole.total, rel=1e-4)
    assert float((gradient - other).norm() / gradient.norm()) < 1e-3


@pytest.mark.parametrize("name", optimize.PRESETS)
def test_presets_run_on_real_weights(name, vgg19_path, style):
    settings = optimize.preset(name, weights=vgg19_path, size=64, steps=12, device="cpu")
    result = optimize.render(photograph(1, 64, 64), [style], settings)
    assert result.ended == "done"
    assert result.losses.total < result.log[0].total
