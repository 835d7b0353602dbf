"""The terms of the loss, each written out anew, and their sum."""

import dataclasses

import pytest
from support.helpers import mean_losses, some_photos, with_loss

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from rtstyle.export import data, losses  # noqa: E402
from rtstyle.export.data import read_picture, warp  # noqa: E402
from rtstyle.export.loop import COLUMNS  # noqa: E402
from rtstyle.export.recipe import Loss  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.training_fixtures"]

LAYERS = ("relu1_2", "relu2_2")
LOSS = Loss(
    content_layers=("relu2_2",),
    style_layers=LAYERS,
    style_scales=(1, 2),
    content_weight=1.3,
    structure_weight=2.0,
    repeat_layer="relu2_2",
    repeat_shifts=(2,),
    repeat_weight=0.7,
    palette_weight=11.0,
    light_weight=31.0,
    temporal_weight=13.0,
    lattice_weight=29.0,
    tv_weight=19.0,
    range_weight=23.0,
)
STYLES = torch.tensor([1, 0, 1])
WEIGHTS = torch.tensor([2.0, 3.0, 5.0])


@pytest.fixture(scope="module")
def vgg(fake_vgg):
    return perceptual.VGG("vgg16", fake_vgg)


def pictures(count, seed, size=48):
    """Smooth ones with some grain, a little out of range."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator) * 280 - 12
    soft = F.interpolate(coarse, size=(size, size), mode="bilinear")
    return soft + 8 * torch.randn(soft.shape, generator=generator)


@pytest.fixture(scope="module")
def batch(vgg):
    """Three paintings of three photographs after two artworks, with all that any term looks at."""
    compare = losses.Comparison(LOSS, vgg)
    photos, painted, artworks = pictures(3, 1), pictures(3, 2), pictures(2, 3, 64)
    plain = losses.Comparison(dataclasses.replace(LOSS, structure_weight=0.0), vgg)  # the stand-in ends before relu4_2
    targets = compare.matrices(plain.features(artworks, content=False)) | {losses.PALETTE: perceptual.palette(artworks)}
    features, structure = plain.features(painted), losses.feature_name("relu4_2", 2)
    grid = F.affine_grid(torch.eye(2, 3).expand(3, 2, 3) * 0.9, photos.shape, align_corners=False)
    return losses.Batch(
        photos=photos,
        painted=painted,
        styles=STYLES,
        photo_features=plain.features(photos, style=False) | {structure: torch.rand(3, 5, 3, 3)},
        features=features | {structure: torch.rand(3, 5, 3, 3)},
        matrices=compare.matrices(features),
        targets=targets,
        style_weights=WEIGHTS,
        moved=losses.Moved(pictures(3, 4), grid),
    )


def test_total_is_the_sum_of_all_terms_by_their_weights(vgg, batch):
    result = losses.evaluate(losses.Comparison(LOSS, vgg), batch)
    weights = {
        "content": 1.3,
        "style": WEIGHTS,
        "repeat": 0.7 * WEIGHTS,
        "structure": 2.0,
        "palette": 11.0,
        "light": 31.0,
        "temporal": 13.0,
        "lattice": 29.0,
        "tv": 19.0,
        "range": 23.0,
    }
    names = [term.name for term in losses.TERMS]
    assert list(result) == ["total", *names] and sorted(names) == sorted(weights)
    for name in names:
        assert result[name].shape == (3,) and (result[name] > 0).all(), name
    expected = sum(weight * result[name] for name, weight in weights.items())
    torch.testing.assert_close(result["total"], expected, rtol=1e-5, atol=1e-5)
    assert ("step", "total", *names, "learning_rate", "seconds") == COLUMNS


def test_terms_without_weight_are_not_computed(vgg, batch):
    """What they look at is not even there."""
    nothing = Loss(
        style_layers=LAYERS,
        style_scales=(1, 2),
        **dict.fromkeys(("content_weight", "palette_weight", "temporal_weight"), 0.0),
        tv_weight=0.0,
        range_weight=0.0,
    )
    bare = dataclasses.replace(
        batch,
        **dict.fromkeys(("photos", "painted", "photo_features", "features")),
        matrices={name: matrix for name, matrix in batch.matrices.items() if not name.startswith("repeat")},
        targets={name: target for name, target in batch.targets.items() if name != losses.PALETTE},
    )
    result = losses.evaluate(losses.Comparison(nothing, vgg), bare)
    assert (result["style"] > 0).all()
    torch.testing.assert_close(result["total"], WEIGHTS * result["style"])
    for name in result.keys() - {"total", "style"}:
        assert not result[name].any(), name


def test_content_by_hand(vgg, batch):
    result = losses.content(losses.Comparison(LOSS, vgg), batch)
    own, expected = batch.features["relu2_2 / 1"], batch.photo_features["relu2_2 / 1"]
    torch.testing.assert_close(result, (own - expected).square().sum((1, 2, 3)) / expected.square().sum((1, 2, 3)))


def symmetric(gram, expected):
    """Squared distance by both lengths, the first at least a tenth of the second."""
    lengths = gram.norm(dim=(1, 2)).maximum(expected.norm(dim=(1, 2)) / 10) * expected.norm(dim=(1, 2))
    return (gram - expected).square().sum((1, 2)) / lengths


def test_style_divides_by_both_lengths_and_looks_at_every_layer_and_scale(vgg, batch):
    """Each sample with the artwork of its own."""
    artworks, difference = pictures(2, 3, 64), []
    for scale in (1, 2):
        grams = []
        for picture in (batch.painted, artworks):
            small = F.avg_pool2d(picture, scale) if scale > 1 else picture
            grams.append({layer: perceptual.gram(maps) for layer, maps in vgg(small, LAYERS).items()})
        difference += [symmetric(grams[0][layer], grams[1][layer][STYLES]) for layer in LAYERS]
    result = losses.style(losses.Comparison(LOSS, vgg), batch)
    torch.testing.assert_close(result, torch.stack(difference).mean(0), rtol=1e-4, atol=1e-5)
    relative = [
        perceptual.relative_style_loss(batch.matrices[name], batch.targets[name][STYLES])
        for name in batch.matrices
        if not name.startswith("repeat")
    ]
    assert (result / torch.stack(relative).mean(0) - 1).abs().max() > 0.1


def test_matrices_at_scale_two_are_those_of_the_picture_averaged_over_two_by_two(vgg):
    picture = pictures(2, 5)
    compare = losses.Comparison(LOSS, vgg)
    result = compare.matrices(compare.features(picture, content=False))
    assert set(result) == {
        *("relu1_2 / 1", "relu2_2 / 1", "relu1_2 / 2", "relu2_2 / 2"),
        *("repeat 2 0", "repeat 0 2"),
    }
    averaged = picture.view(2, 3, 24, 2, 24, 2).mean((3, 5))
    for scale, small in ((1, picture), (2, averaged)):
        for layer, maps in vgg(small, LAYERS).items():
            torch.testing.assert_close(result[f"{layer} / {scale}"], perceptual.gram(maps), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(result["relu1_2 / 1"], result["relu1_2 / 2"], rtol=1e-2)
    maps = vgg(picture, ("relu2_2",))["relu2_2"]  # at a distance: at full scale only
    torch.testing.assert_close(result["repeat 0 2"], perceptual.shifted_gram(maps, 0, 2))
    torch.testing.assert_close(result["repeat 2 0"], perceptual.shifted_gram(maps, 2, 0))


def test_repeat_compares_what_is_at_a_distance(vgg, batch):
    result = losses.repeat(losses.Comparison(LOSS, vgg), batch)
    names = ("repeat 2 0", "repeat 0 2")
    distances = [symmetric(batch.matrices[name], batch.targets[name][STYLES]) for name in names]
    torch.testing.assert_close(result, (distances[0] + distances[1]) / 2, rtol=1e-4, atol=1e-5)


def test_repeat_looks_at_its_own_layer(vgg):
    loss = dataclasses.replace(LOSS, style_layers=("relu1_2",), style_scales=(1,))
    compare = losses.Comparison(loss, vgg)
    assert compare.layers(content=False) == {1: ["relu1_2", "relu2_2"]}
    result = compare.matrices(compare.features(pictures(1, 5), content=False))
    assert set(result) == {"relu1_2 / 1", "repeat 2 0", "repeat 0 2"} and result["repeat 2 0"].shape == (1, 128, 128)
    without = losses.Comparison(dataclasses.replace(loss, repeat_shifts=()), vgg)
    assert without.layers(content=False) == {1: ["relu1_2"]}


def test_vgg_looks_once_at_each_size(vgg):
    """Style at half size and structure share their pass, content and style at full size theirs."""
    compare = losses.Comparison(LOSS, vgg)
    assert compare.layers() == {1: ["relu2_2", "relu1_2"], 2: ["relu1_2", "relu2_2", "relu4_2"]}
    assert compare.layers(style=False) == {1: ["relu2_2"], 2: ["relu4_2"]}
    assert compare.layers(content=False) == {1: ["relu1_2", "relu2_2"], 2: ["relu1_2", "relu2_2"]}


def test_structure_is_what_is_alike_and_not_what_it_looks_like():
    """STROTSS: every feature may change, as long as the cosines between places stay."""
    places = torch.randn(1, 16, 4, 5, generator=torch.Generator().manual_seed(1))
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2)))[0]
    turned = 3 * torch.einsum("dc,nchw->ndhw", turn, places) + 7
    shuffled = places.flatten(2)[..., torch.randperm(20)].view_as(places)
    torch.testing.assert_close(
        perceptual.self_similarity(turned), perceptual.self_similarity(places), rtol=1e-3, atol=1e-4
    )
    assert (perceptual.self_similarity(shuffled) - perceptual.self_similarity(places)).abs().mean() > 0.1
    by_hand = places.flatten(2)[0] - places.flatten(2)[0].mean(1, keepdim=True)
    one, other = by_hand[:, 3], by_hand[:, 11]
    torch.testing.assert_close(perceptual.self_similarity(places)[0, 3, 11], one @ other / (one.norm() * other.norm()))


def test_structure_compares_photograph_and_painting_at_half_size(vgg16_path):
    deep = perceptual.VGG("vgg16", vgg16_path)
    compare = losses.Comparison(LOSS, deep)
    photos, painted = pictures(3, 1, 64), pictures(3, 2, 64)
    features = {name: compare.features(x, style=False) for name, x in (("photo", photos), ("painted", painted))}
    assert features["photo"]["relu4_2 / 2"].shape == (3, 512, 4, 4)
    plain = dataclasses.replace(LOSS, structure_weight=0.0)
    assert set(losses.Comparison(plain, deep).features(photos, style=False)) == {"relu2_2 / 1"}
    fields = dict(photos=photos, painted=painted, styles=STYLES, matrices={}, targets={}, style_weights=WEIGHTS)
    batch = losses.Batch(photo_features=features["photo"], features=features["painted"], **fields)
    assert (losses.structure(compare, batch) > 0.1).all()
    same = losses.Batch(photo_features=features["photo"], features=features["photo"], **fields)
    assert losses.structure(compare, same).abs().max() < 1e-6


def test_light_keeps_what_is_light_and_dark_at_the_artwork_s_spread(vgg, batch):
    """By hand, and: the photograph's light in the artwork's spread costs nothing at any brightness, nor do strokes
    inside an area; a flat painting does, a negative more."""
    compare = losses.Comparison(LOSS, vgg)

    def areas(x):
        means = x.mean(1).unfold(1, 8, 4).unfold(2, 8, 4).mean(dim=(3, 4)).flatten(1) / 255
        return means - means.mean(1, keepdim=True)

    artworks = F.avg_pool2d(pictures(2, 3, 64).mean(1, keepdim=True), 4).flatten(1).std(1, correction=0)
    spread = 0.9 * artworks[STYLES] / 255
    before, after = areas(batch.photos), areas(batch.painted)
    stretch = spread / before.std(1, correction=0).clamp_min(0.1)
    expected = (after - stretch[:, None] * before).square().mean(1)
    torch.testing.assert_close(losses.light(compare, batch), expected)

    def light(painted):
        return losses.light(compare, dataclasses.replace(batch, painted=painted))

    own = stretch[:, None, None, None] * batch.photos
    strokes = 60 * (-1.0) ** torch.arange(48)
    assert light(own + 77).max() < 1e-9 and light(own + strokes).max() < 1e-9
    flat, negative = light(0 * own + 90), light(-own)
    assert (flat > 0.005).all() and (negative > 3 * flat).all()


def test_a_flat_photograph_stays_flat(vgg, batch):
    """Its noise is not stretched to black and white."""
    faint = 128 + (batch.photos - batch.photos.mean()) / 50
    compare = losses.Comparison(LOSS, vgg)
    of_faint = dataclasses.replace(batch, photos=faint, painted=torch.full_like(faint, 40.0))
    assert losses.light(compare, of_faint).max() < 1e-3


def test_lattice_is_what_repeats_with_the_steps_of_the_net(vgg, batch):
    """Noise and stripes of another period average out, whatever their strength; a window each."""
    compare = losses.Comparison(LOSS, vgg)
    down, across = torch.arange(64)[:, None].expand(1, 3, 64, 128), torch.arange(128).expand(1, 3, 64, 128)
    sawtooth, other = 10.0 * (across % 4), 100.0 * (across % 5)
    dots = 80.0 * ((down % 8 == 1) & (across % 8 == 2))
    noise = 100 * torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))

    def lattice(painted):
        one = dataclasses.replace(batch, painted=painted, styles=torch.tensor([0]))
        return (losses.lattice(compare, one) / one.to_full_contrast).item() * 255**2

    expected = 10**2 * 1.25  # the variance of 0, 1, 2, 3
    assert lattice(sawtooth) == pytest.approx(expected)
    assert lattice(dots) == pytest.approx(80**2 / 64 * (1 - 1 / 64))
    assert lattice(other) < 400 and lattice(noise) < 200  # of variances of 20,000 and 10,000
    assert lattice(torch.where(across < 64, sawtooth, -sawtooth)) == pytest.approx(expected)
    assert lattice(sawtooth[:, :, :30, :50]) == pytest.approx(expected)


@pytest.mark.parametrize("term", [losses.temporal, losses.lattice])
def test_less_contrast_is_neither_steadier_nor_free_of_a_lattice(vgg, term):
    """Down to MIN_CONTRAST; below it, as in what is painted of a plain wall, differences count less."""
    painted = pictures(2, 2, 64)
    grid = F.affine_grid(torch.eye(2, 3).expand(2, 2, 3), painted.shape, align_corners=False)
    compare, full = losses.Comparison(LOSS, vgg), moving(painted, painted + 5, grid)

    def pale(share):
        paler = 100 + share * (painted - 100)
        return term(compare, dataclasses.replace(full, painted=paler, moved=losses.Moved(paler + share * 5, grid)))

    torch.testing.assert_close(pale(0.5), pale(1.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(pale(0.2), pale(1.0) / 4, rtol=1e-3, atol=0)


def test_one_colour_has_a_gradient(vgg):
    """Where an artwork or a painting has no contrast at all."""
    painted = torch.full((1, 3, 64, 64), 90.0, requires_grad=True)
    grid = F.affine_grid(torch.eye(2, 3)[None], painted.shape, align_corners=False)
    compare, batch = losses.Comparison(LOSS, vgg), moving(painted, painted.detach() + 5, grid)
    (losses.temporal(compare, batch) + losses.lattice(compare, batch)).backward()
    assert painted.grad.isfinite().all() and painted.grad.any()


def test_values_out_of_range_and_neighbours_by_hand(vgg, batch):
    compare, painted = losses.Comparison(LOSS, vgg), batch.painted
    beyond = (painted.clamp(0, 255) - painted).div(255).square().mean((1, 2, 3))
    torch.testing.assert_close(losses.out_of_range(compare, batch), beyond)
    inside = dataclasses.replace(batch, painted=painted.clamp(0, 255))
    assert not losses.out_of_range(compare, inside).any()
    steps = [painted.diff(dim=axis).div(255).square().mean((1, 2, 3)) for axis in (2, 3)]
    torch.testing.assert_close(losses.tv(compare, batch), steps[0] + steps[1])


def moving(painted, again, grid):
    """A batch for the temporal and the lattice term, its paintings as rich in contrast as their artworks."""
    empty = dict.fromkeys(("photos", "photo_features", "features", "matrices"))
    return losses.Batch(
        painted=painted,
        styles=torch.arange(len(painted)),
        targets={losses.PALETTE: perceptual.palette(painted)},
        style_weights=torch.ones(len(painted)),
        moved=losses.Moved(again, grid),
        **empty,
    )


def test_temporal_measures_what_the_camera_adds(trainer_in, recipe):
    """A net that changes nothing is as unsteady as the noise and the exposure that were added."""
    trainer = trainer_in("run", recipe)
    smooth = torch.linspace(40, 200, 32).expand(4, 3, 32, 32)
    grid, change = data.draw_motion(smooth, trainer.generator)
    moved = warp(smooth, grid)
    still = losses.temporal(trainer.compare, moving(smooth, moved, grid))
    noisy = losses.temporal(trainer.compare, moving(smooth, moved + change, grid))
    assert still.max() < 1e-6
    torch.testing.assert_close(noisy.mean(), (change / 255).square().mean(), rtol=0.1, atol=1e-6)


def test_what_comes_in_over_the_border_does_not_count(vgg):
    compare, painted = losses.Comparison(LOSS, vgg), torch.zeros(1, 3, 32, 32)
    painted[..., 16:] = 255
    still = F.affine_grid(torch.eye(2, 3)[None], (1, 3, 32, 32), align_corners=False)
    outside = still.clone()
    outside[:, :, 16:] = 2.0
    black = torch.zeros(1, 3, 32, 32)
    assert losses.temporal(compare, moving(painted, black, still)).item() == pytest.approx(0.5)
    assert losses.temporal(compare, moving(painted, black, outside)).item() == pytest.approx(0, abs=0.05)


# In a training


def test_a_batch_of_a_training_is_measured_by_these_terms(trainer_in, recipe):
    """Content, style, neighbours and range of what the net paints of the photographs it is given."""
    trainer = trainer_in("run", with_loss(recipe, repeat_shifts=(), tv_weight=7.0, style_scales=(1,)))
    photos = some_photos(trainer)
    with torch.no_grad():
        result = mean_losses(trainer, photos, [0, 0], trainer.artworks.targets[(48,)])
        painted = trainer.net(photos, trainer.net.codes[[0, 0]])
        beyond = (painted.clamp(0, 255) - painted).div(255).square().mean()
        own, photo = (trainer.vgg(x, LAYERS) for x in (painted, photos))
        artwork = read_picture(trainer.artworks.files[0], 48)[None].float()
        expected = {k: perceptual.gram(maps) for k, maps in trainer.vgg(artwork, LAYERS).items()}
        style = sum(symmetric(perceptual.gram(own[k]), expected[k]).mean() for k in LAYERS) / 2
        content = perceptual.relative_content_loss(own["relu2_2"], photo["relu2_2"]).mean()
    assert float(result["style"]) == pytest.approx(float(style), rel=1e-4)
    assert float(result["content"]) == pytest.approx(float(content), rel=1e-4)
    expected = content + 3.0 * style + 7.0 * perceptual.total_variation(painted).mean() + 10 * beyond
    assert float(result["total"]) == pytest.approx(float(expected), rel=1e-4)


def test_palette_of_each_sample_s_own_artwork(trainer_in, recipe, paintings_folder):
    plain, coloured = trainer_in("plain", recipe), trainer_in("coloured", with_loss(recipe, palette_weight=50.0))
    photos = some_photos(plain)
    with torch.no_grad():
        before, after = (
            mean_losses(trainer, photos, [1, 0], trainer.artworks.targets[(48,)]) for trainer in (plain, coloured)
        )
        painted = perceptual.palette(coloured.net(photos, coloured.net.codes[[1, 0]]))
        files = [paintings_folder / coloured.recipe.style[style].file for style in (1, 0)]
        artworks = torch.cat([perceptual.palette(read_picture(file, 48)[None]) for file in files])
        expected = perceptual.palette_loss(painted, artworks).mean()
    assert float(before["palette"]) == 0 < float(after["palette"])
    assert float(after["palette"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(after["total"] - before["total"]) == pytest.approx(50 * float(expected), rel=1e-4)


def test_repeat_is_part_of_the_total(trainer_in, recipe):
    trainer = trainer_in("run", recipe)
    names = {"relu1_2 / 1", "relu2_2 / 1", "repeat 2 0", "repeat 0 2", "palette"}
    assert set(trainer.artworks.targets[(48,)]) == names
    photos, totals = some_photos(trainer), []
    for weight in (0.0, 1.0, 2.0):
        loss = dataclasses.replace(recipe.loss, repeat_weight=weight)
        with torch.no_grad():
            totals.append(
                mean_losses(trainer, photos, [0, 0], trainer.artworks.targets[(48,)], loss=loss)["total"].item()
            )
    assert totals[1] > totals[0]
    assert totals[2] - totals[1] == pytest.approx(totals[1] - totals[0], rel=1e-3)


def test_absolute_losses_are_those_of_pytorch_examples(trainer_in, recipe):
    """Written out anew: mean squares of features on torchvision's scale and of Gram matrices divided by C H W."""
    trainer = trainer_in("run", with_loss(recipe, absolute=True, repeat_shifts=(), tv_weight=0.0))
    assert trainer.compare.unit == pytest.approx(57.63)  # the toy weights follow Oxford's convention
    photos = some_photos(trainer, seed=1)
    with torch.no_grad():
        got = mean_losses(trainer, photos, [0, 1], trainer.artworks.targets[(48,)])
        painted = trainer.paint(photos, torch.tensor([0, 1]))
        artworks = [read_picture(path, 48) for path in trainer.artworks.files]

        def features(picture):
            return {k: v / (255 * 0.226) for k, v in trainer.vgg(picture, LAYERS).items()}

        def gram(f):
            flat = f.flatten(2)
            return flat @ flat.mT / f[0].numel()

        f, c = features(painted), features(photos)
        content = torch.mean((f["relu2_2"] - c["relu2_2"]) ** 2)
        style = 0
        for k in LAYERS:
            expected = torch.cat([gram(features(p[None].float())[k]) for p in artworks])
            style = style + torch.mean((gram(f[k]) - expected) ** 2, dim=(1, 2))
    assert float(got["content"]) == pytest.approx(float(content), rel=1e-4)
    assert float(got["style"]) == pytest.approx(float(style.mean()), rel=1e-4)
