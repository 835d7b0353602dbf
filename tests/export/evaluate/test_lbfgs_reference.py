"""The L-BFGS reference: Gatys' descent on the training's objective, with random weights in the shape of VGG."""

import dataclasses

import numpy as np
import pytest
from conftest import photograph

torch = pytest.importorskip("torch")

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import losses  # noqa: E402
from rtstyle.export.evaluate import lbfgs_reference  # noqa: E402
from rtstyle.export.recipe import Loss  # noqa: E402
from rtstyle.gatys.pictures import as_tensor  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

CPU = torch.device("cpu")
LOSS = Loss(content_layers=("relu2_2",), style_layers=("relu1_2", "relu2_2"), content_weight=0.5, style_weight=3.0)
PHOTO, ARTWORK = photograph(0, 64, 72), np.ascontiguousarray(np.flip(photograph(7, 64, 64), -1))


@pytest.fixture(scope="module")
def vgg(fake_vgg):
    return perceptual.VGG("vgg16", fake_vgg)


def targets_of(vgg, loss):
    picture = as_tensor(ARTWORK, CPU)
    with torch.no_grad():
        compare = losses.Comparison(loss, vgg)
        return compare.matrices(compare.features(picture, content=False))


@pytest.fixture
def objective(vgg):
    targets = targets_of(vgg, LOSS)
    return lbfgs_reference.Objective(vgg, as_tensor(PHOTO, CPU), targets, LOSS, 4.0)


def measured(vgg, painters, iterations, photos=(PHOTO,)):
    count = len(painters)
    return lbfgs_reference.measure(vgg, CPU, LOSS, [4.0] * count, [ARTWORK] * count, photos, painters, iterations)


def test_objective_is_the_weighted_sum(objective):
    photograph_itself = objective.terms(as_tensor(PHOTO, CPU))
    assert photograph_itself.content == 0 and photograph_itself.style > 0.01
    assert photograph_itself.total == pytest.approx(4 * photograph_itself.style)
    artwork = np.resize(ARTWORK, PHOTO.shape)
    other = objective.terms(as_tensor(artwork, CPU))
    assert other.content > 0.01
    assert other.total == pytest.approx(0.5 * other.content + 4 * other.style, rel=1e-5)


def test_objective_is_the_training_s(objective, vgg):
    """Written out: content and symmetric style distances, mean over the layers."""
    painted = as_tensor(255 - PHOTO, CPU)
    expected, result = vgg(as_tensor(PHOTO, CPU), ["relu2_2"]), vgg(painted, LOSS.style_layers)
    content = perceptual.relative_content_loss(result["relu2_2"], expected["relu2_2"])
    artwork = vgg(as_tensor(ARTWORK, CPU), LOSS.style_layers)
    style = sum(
        perceptual.symmetric_style_loss(perceptual.gram(result[k]), perceptual.gram(artwork[k])) for k in result
    )
    assert objective.terms(painted).style == pytest.approx(float(style) / 2, rel=1e-5)
    assert objective.terms(painted).total == pytest.approx(float(0.5 * content + 4 * style / 2), rel=1e-5)


def test_objective_has_the_scales_of_the_training(objective, vgg):
    """At scale 2: of the pictures averaged over 2x2, the same layers once more."""
    loss = dataclasses.replace(LOSS, style_scales=(1, 2))
    photo, painted = as_tensor(PHOTO, CPU), as_tensor(255 - PHOTO, CPU)
    half = lbfgs_reference.Objective(vgg, photo, targets_of(vgg, loss), loss, 4.0).terms(painted)
    small = [torch.nn.functional.avg_pool2d(x, 2) for x in (painted, as_tensor(ARTWORK, CPU))]
    grams = [{k: perceptual.gram(maps) for k, maps in vgg(x, LOSS.style_layers).items()} for x in small]
    coarse = sum(perceptual.symmetric_style_loss(grams[0][k], grams[1][k]) for k in LOSS.style_layers) / 2
    assert half.style == pytest.approx((objective.terms(painted).style + float(coarse)) / 2, rel=1e-5)
    assert float(coarse) != pytest.approx(objective.terms(painted).style, rel=0.02)


def test_terms_that_are_left_out_are_named():
    beyond = {"structure", "repeat", "palette", "light", "temporal", "lattice", "tv", "range"}
    assert set(lbfgs_reference.LEFT_OUT) == beyond


def test_pictures_are_clamped(objective):
    inside = as_tensor(np.where(PHOTO > 128, 255, 0).astype(np.uint8), CPU)
    assert objective.terms((inside - 127.5) * 3 + 127.5) == objective.terms(inside)


def test_more_iterations_reach_less(objective):
    photo = as_tensor(PHOTO, CPU)
    start = objective.terms(photo).total
    reached = lbfgs_reference.optimize(objective, photo, [1, 5, 20])
    totals = [item.total for item in reached]
    assert start > totals[0] > totals[1] > totals[2]
    assert totals[2] < start / 3
    assert [item.iterations for item in reached] == [1, 5, 20]
    evaluations = [item.evaluations for item in reached]
    assert evaluations == sorted(evaluations) and evaluations[2] >= 20


def test_a_descent_looked_at_on_the_way_is_the_same_descent(objective):
    photo = as_tensor(PHOTO, CPU)
    (straight,) = lbfgs_reference.optimize(objective, photo, [12])
    *_, stopped = lbfgs_reference.optimize(objective, photo, [4, 8, 12])
    assert stopped.total == pytest.approx(straight.total, rel=0.02)


def test_ratio_tells_good_painters_from_bad(vgg, objective):
    """A painter that paints nothing is at the photograph's own total, above what few iterations reach."""
    nothing, negative = measured(vgg, [lambda frame: frame, lambda frame: 255 - frame], [10, 3])
    assert nothing.net == nothing.photograph
    assert nothing.ratios.keys() == {3, 10}
    assert 1 < nothing.ratios[3] < nothing.ratios[10]
    assert nothing.ratios[10] == pytest.approx(nothing.net.total / nothing.gatys[1].total)
    assert negative.net.content > 0.01 and negative.gatys[0].total == pytest.approx(nothing.gatys[0].total)


def test_means_over_photographs_are_ratios_of_means(vgg):
    photos = [PHOTO, photograph(3, 64, 64)]
    (both,) = measured(vgg, [lambda frame: frame], [2], photos)
    single = [measured(vgg, [lambda frame: frame], [2], [photo])[0] for photo in photos]
    assert both.net.total == pytest.approx(np.mean([one.net.total for one in single]), rel=1e-4)
    assert both.ratios[2] == pytest.approx(
        sum(one.net.total for one in single) / sum(one.gatys[0].total for one in single), rel=1e-4
    )


def test_losses_come_from_the_metadata():
    metadata = dataclasses.asdict(LOSS) | {"style_layers": ["relu2_1"], "style_size": 99}
    loss = lbfgs_reference.loss_of({"loss": metadata})
    assert loss.content_weight == 0.5 and loss.style_layers == ["relu2_1"]
    assert lbfgs_reference.loss_of({"loss": metadata | {"repeat_shifts": [2, 4]}}).repeat_shifts == ()
    with pytest.raises(RtstyleError, match="the L-BFGS reference is for relative"):
        lbfgs_reference.loss_of({"loss": metadata | {"absolute": True}})
    for training in ({}, {"loss": 3}, {"loss": {"content_weight": 1}}):
        with pytest.raises(RtstyleError, match="does not say how it was trained"):
            lbfgs_reference.loss_of(training)


def test_numbers_that_are_none_are_refused():
    row = (
        lbfgs_reference.Terms(1, 1, 1),
        lbfgs_reference.Terms(float("nan"), 1, 1),
        [lbfgs_reference.Reached(1, 1, 1, 5, 6, 0.1)],
    )
    with pytest.raises(RtstyleError, match="became NaN or infinite"):
        lbfgs_reference.summarize(1, 1, [row])
