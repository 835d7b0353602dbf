"""The loss of Gatys' method against plain loops over the papers' equations, tiles, memory."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import photograph  # noqa: E402
from support.gatys_papers import plain_features, plain_total  # noqa: E402
from support.helpers import run_python  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402
from rtstyle.gatys import pictures as gatys_pictures  # noqa: E402
from rtstyle.gatys.objective import BACKWARD, CELL, FIXED, KEPT, Objective, StyleTensor, cut, plan, reach  # noqa: E402
from rtstyle.gatys.pictures import as_tensor  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.gatys_fixtures"]


def doubles(rgb):
    return as_tensor(rgb, "cpu").double()


def wide_vgg(fake_vgg, pooling="max"):
    return perceptual.VGG("vgg16", fake_vgg, pooling=pooling, dtype=torch.float64)


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
    painting = doubles(style if kind == "johnson" else gatys_pictures.resize(style, content.shape[:2]))
    picture = photo + 20 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0)).double()
    objective = Objective(wide_vgg(fake_vgg, pooling), settings, photo, [StyleTensor(painting)], side)
    assert len(objective.tiles) == (1 if side is None else 9)
    losses, gradient = objective(picture)

    variable = picture.clone().requires_grad_()
    expected = plain_total(kind, vgg_state, pooling, variable, photo, painting, settings)
    expected.backward()
    # VGG keeps Oxford's means in float32
    assert losses.total == pytest.approx(float(expected.detach()), rel=1e-6)
    np.testing.assert_allclose(gradient, variable.grad, rtol=1e-4, atol=1e-6 * float(variable.grad.abs().max()))
    assert losses.total == pytest.approx(losses.content + losses.style + losses.tv)


def test_features_of_the_other_scale_are_57_times_smaller(fake_vgg, small, content, style):
    """Weights for 0..255 as torchvision's: content differs by the unit squared, style by its fourth power."""
    picture, result = doubles(content) + 10, {}
    for features in ("oxford", "torchvision"):
        settings = small(features=features)
        result[features] = Objective(wide_vgg(fake_vgg), settings, doubles(content), [StyleTensor(doubles(style))])(
            picture, gradient=False
        )[0]
    unit = 255 * 0.226
    assert result["oxford"].content / result["torchvision"].content == pytest.approx(unit**2)
    assert result["oxford"].style / result["torchvision"].style == pytest.approx(unit**4)


def test_total_variation_both_ways(fake_vgg, small, content, style):
    picture = doubles(content)
    x = content.astype(float) / 255
    down, across = np.diff(x, axis=0), np.diff(x, axis=1)
    expected = {"squares": (down**2).mean() + (across**2).mean(), "absolute": abs(down).sum() + abs(across).sum()}
    for norm, value in expected.items():
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

    result = Objective(Watched(), small(), picture, [StyleTensor(painting)])
    assert len(seen) > 2 and max(seen) < 260 * 200 / 2
    whole = vgg(painting, ["relu2_1"])["relu2_1"][0].flatten(1)
    np.testing.assert_allclose(result.groups[0].targets["relu2_1"], whole @ whole.T / whole.shape[1], rtol=1e-9)


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


def test_the_plan_knows_what_the_largest_tile_takes(small):
    settings = small()
    for height, width, limit in ((700, 1000, 1e9), (901, 333, 0.5e9), (2000, 210, 0.3e9)):
        fits = plan(height, width, settings, FIXED + limit)
        tiles = [tile.outer for tile in cut(height, width, fits.side, 16)]
        largest = max((bottom - top) * (right - left) for top, bottom, left, right in tiles)
        assert len(tiles) > 1 and fits.needed == int(FIXED + largest * BACKWARD + height * width * (KEPT + 6 * 24))


def test_a_size_far_too_large_is_refused_at_once(small):
    started = time.perf_counter()
    with pytest.raises(RtstyleError, match=r"pixels need at least 986\..* GB of memory"):
        plan(50_000, 50_000, small(), 64e9)
    assert time.perf_counter() - started < 1


MEASURE = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from rtstyle.gatys import optimize as gatys
from rtstyle.gatys import objective as gatys_objective
random = np.random.default_rng(0)
shape = int(sys.argv[2]), int(sys.argv[2]), 3
photo, painting = (random.integers(100, 140, shape, dtype=np.uint8) for _ in range(2))  # more colors take long to match
memory = float(sys.argv[3]) and gatys_objective.FIXED + float(sys.argv[3])
settings = gatys.preset(size=int(sys.argv[2]), steps=1, pyramid=False, device="cpu", line_search=False,
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


@pytest.mark.parametrize(("size", "limit"), [(192, 0), (208, 0.14e9)])  # a single evaluation has the peak
def test_memory_stays_under_what_was_said(size, limit, full_vgg19):
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    done = run_python("-c", MEASURE, full_vgg19, size, limit)
    assert done.returncode == 0, done.stderr
    said, measured = map(float, done.stdout.split())
    assert measured <= said * 1.05
    assert measured >= said * 0.4, "an estimate that frightens people away"


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


def test_tiles_change_nothing_with_real_weights(vgg19_path):
    vgg = perceptual.VGG("vgg19", vgg19_path)
    photo, painting = (
        as_tensor(photograph(1, 170, 216), "cpu"),
        as_tensor(photograph(2, 150, 130), "cpu"),
    )
    objectives = [Objective(vgg, optimize.Settings(), photo, [StyleTensor(painting)], side) for side in (None, 112)]
    assert [len(objective.tiles) for objective in objectives] == [1, 4]
    (whole, gradient), (tiled, other) = (objective(photo * 0.9 + 10) for objective in objectives)
    assert tiled.total == pytest.approx(whole.total, rel=1e-4)
    assert float((gradient - other).norm() / gradient.norm()) < 1e-3
