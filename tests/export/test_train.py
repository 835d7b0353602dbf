"""Training on the CPU in float32, with a toy body and random weights in VGG's shapes."""

import dataclasses
import math

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from support.helpers import (  # noqa: E402
    assert_same_run,
    interrupted_and_resumed,
    mean_losses,
    read_losses,
    some_photos,
    with_loss,
)

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import artworks, operations  # noqa: E402
from rtstyle.export.data import read_picture  # noqa: E402
from rtstyle.export.forms import export_model  # noqa: E402
from rtstyle.export.loop import COLUMNS  # noqa: E402
from rtstyle.export.to_onnx import from_onnx  # noqa: E402
from rtstyle.export.train import BALANCE_PACE, MAX_WEIGHT_CHANGE, PLACES, Trainer, draw_styles  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.training_fixtures"]


def test_loss_falls_and_run_folder_is_complete(trainer_in, recipe):
    trainer = trainer_in("run", recipe)
    before = {name: weight.clone() for name, weight in trainer.net.state_dict().items()}
    reports = []
    trainer.run(reports.append)
    assert [p.step for p in reports] == list(range(1, recipe.steps + 1)) and reports[0].steps == recipe.steps
    assert reports[-1].seconds > 0

    totals = [p.losses["total"] for p in reports]
    assert sum(totals[-6:]) < 0.8 * sum(totals[:6])
    unmoved = [name for name, weight in trainer.net.state_dict().items() if torch.equal(weight, before[name])]
    assert unmoved == []
    # the average trails behind the net and is neither it nor the start
    assert not any(torch.equal(trainer.average[n], w) for n, w in trainer.net.state_dict().items())

    rows = read_losses(trainer.run_dir)
    assert tuple(rows[0]) == COLUMNS and len(rows) == recipe.steps + 1
    assert [float(row[1]) for row in rows[1:]] == totals
    assert all(math.isfinite(float(cell)) for row in rows[1:] for cell in row)
    with Image.open(trainer.run_dir / "curves.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
    with Image.open(trainer.run_dir / "preview.png") as picture:
        # four photographs, each with a painting in both styles
        assert picture.format == "PNG" and picture.height > 4 * 200 and picture.width > 3 * 130
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 1000
    assert sorted(p.name for p in trainer.run_dir.iterdir()) == [
        "checkpoint.pt",
        "curves.png",
        "losses.csv",
        "preview.png",
    ]


def test_one_seed_gives_one_result(trainer_in, short_recipe):
    one, two = trainer_in("one", short_recipe), trainer_in("two", short_recipe)
    torch.manual_seed(1)
    one.run()
    torch.manual_seed(2)  # torch's own random state must not matter
    two.run()
    assert_same_run(one, two)
    for trainer in (one, two):
        export_model(trainer.checkpoint, trainer.run_dir / "out.onnx")
    assert (one.run_dir / "out.onnx").read_bytes() == (two.run_dir / "out.onnx").read_bytes()
    other = trainer_in("other", dataclasses.replace(short_recipe, seed=short_recipe.seed + 1))
    assert not torch.equal(other.net.stem.weight, trainer_in("fresh", short_recipe).net.stem.weight)


def test_weights_are_balanced_by_how_unlike_photographs_the_artworks_are(trainer_in, recipe):
    """balance / mean relative Gram distance of photographs, for the style that gives no weight of its own; the model
    says what it came to."""
    trainer = trainer_in("run", with_loss(recipe, balance=6.0))
    loss = trainer.recipe.loss
    photos = trainer.photos.batch(
        artworks.BALANCED_ON, recipe.stage[0].crop, torch.Generator().manual_seed(recipe.seed)
    )
    result = trainer.vgg(photos, loss.style_layers)
    target = trainer.artworks.targets[recipe.stage[0].style_sizes]
    distances = [
        perceptual.relative_style_loss(perceptual.gram(result[layer]), target[f"{layer} / 1"][:1]).mean()
        for layer in loss.style_layers
    ]
    expected = min(max(6.0 / float(torch.stack(distances).mean()), artworks.MIN_BALANCED), artworks.MAX_BALANCED)
    assert artworks.MIN_BALANCED < expected < artworks.MAX_BALANCED and abs(expected - loss.style_weight) > 0.01
    assert trainer.style_weights.tolist() == pytest.approx([expected, 5.0], rel=1e-4)
    assert trainer.describe()["training"]["style_weights"] == pytest.approx(
        {"waves": expected, "bricks": 5.0}, rel=1e-4
    )


def test_weights_follow_the_goal_of_a_stage(trainer_in, recipe):
    """More for a style that leaves more of the structure than the goal, less for one that leaves less, within bounds;
    and a resumed run goes on from there."""
    trainer = trainer_in("run", recipe)
    first = trainer.style_weights.tolist()
    trainer.balance(torch.tensor([0, 1, 1]), torch.tensor([0.4, 1.2, 1.2]), goal=0.8)
    change = [math.log(now / before) for now, before in zip(trainer.style_weights.tolist(), first, strict=True)]
    assert change == pytest.approx([0.5 * BALANCE_PACE, -BALANCE_PACE], rel=1e-3)
    assert trainer.describe()["training"]["style_weights"]["bricks"] < first[1]
    trainer.step = 1
    trainer.save()
    assert trainer_in("run", recipe, resume=True).style_weights.tolist() == trainer.style_weights.tolist()
    for _ in range(1000):
        trainer.balance(torch.tensor([0, 1]), torch.tensor([0.0, 1.6]), goal=0.8)
    bounds = [first[0] * MAX_WEIGHT_CHANGE, first[1] / MAX_WEIGHT_CHANGE]
    assert trainer.style_weights.tolist() == pytest.approx(bounds, rel=1e-3)


def test_a_style_may_keep_less_of_the_light(trainer_in, recipe):
    recipe = with_loss(recipe, light_weight=50.0)
    styles = [dataclasses.replace(recipe.style[0], light_factor=0.25), recipe.style[1]]
    plain, gentle = trainer_in("plain", recipe), trainer_in("gentle", dataclasses.replace(recipe, style=styles))
    photos = plain.photos.batch(2, 32, torch.Generator().manual_seed(1))
    numbers = torch.tensor([0, 1])
    with torch.no_grad():
        before, after = (
            trainer.sample_losses(photos, numbers, trainer.artworks.targets[recipe.stage[0].style_sizes])
            for trainer in (plain, gentle)
        )
    assert (before["light"] > 0).all()
    torch.testing.assert_close(after["light"], before["light"] * torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(after["total"], before["total"] - 50 * (before["light"] - after["light"]))
    assert gentle.recipe.digest() != recipe.digest()


def test_a_style_may_be_bolder_than_the_goal(trainer_in, recipe):
    styles = [dataclasses.replace(recipe.style[0], structure_factor=1.25), recipe.style[1]]
    trainer = trainer_in("run", dataclasses.replace(recipe, style=styles))
    first = trainer.style_weights.tolist()
    trainer.balance(torch.tensor([0, 1]), torch.tensor([1.0, 1.0]), goal=0.8)
    change = [math.log(now / before) for now, before in zip(trainer.style_weights.tolist(), first, strict=True)]
    assert change == pytest.approx([0.0, -0.25 * BALANCE_PACE], abs=1e-6)
    assert trainer.recipe.digest() != recipe.digest()


def test_a_run_with_a_goal_balances_and_resumes_bit_for_bit(trainer_in, short_recipe, vgg16_path):
    plan = with_loss(short_recipe, structure_weight=1.0)
    stages = [dataclasses.replace(stage, structure_goal=0.5) for stage in plan.stage]
    plan = dataclasses.replace(plan, stage=stages)

    def make(name, recipe, **options):
        return trainer_in(name, recipe, vgg=vgg16_path, **options)

    whole = make("whole", plan)
    whole.run()
    assert not torch.equal(whole.style_weights, whole.first_weights)
    resumed = interrupted_and_resumed(make, plan)
    assert_same_run(whole, resumed)
    assert torch.equal(whole.style_weights, resumed.style_weights)


def test_style_weight_of_one_style_counts(trainer_in, recipe):
    """bricks asks for weight 5, waves takes the recipe's 3: total = content + weight x style + the rest."""
    trainer = trainer_in("run", recipe)
    assert trainer.style_weights.tolist() == [3.0, 5.0]
    photos, targets = some_photos(trainer, 1), trainer.artworks.targets[recipe.stage[0].style_sizes]
    totals = []
    with torch.no_grad():
        for weight in (5.0, 0.0, 2.5):
            trainer.style_weights[1] = weight
            totals.append(float(mean_losses(trainer, photos, [1], targets)["total"]))
    heavy, free, half = totals
    assert heavy > half > free
    assert half - free == pytest.approx((heavy - free) / 2, rel=1e-3)


def test_style_factor_multiplies_style_and_repeat_in_the_total_only(trainer_in, recipe):
    trainer = trainer_in("run", with_loss(recipe, repeat_weight=0.7, palette_weight=20.0))
    photos, targets = some_photos(trainer), trainer.artworks.targets[(48,)]
    with torch.no_grad():
        plain, more = (
            trainer.sample_losses(photos, torch.tensor([0, 1]), targets, style_factor=factor) for factor in (1.0, 2.5)
        )
    for name in plain.keys() - {"total"}:
        assert torch.equal(plain[name], more[name]), name
    assert min(float(plain[name].min()) for name in ("style", "repeat", "palette")) > 0
    expected = 1.5 * torch.tensor([3.0, 5.0]) * (plain["style"] + 0.7 * plain["repeat"])
    torch.testing.assert_close(more["total"] - plain["total"], expected, rtol=1e-3, atol=1e-4)


def test_stages_bring_their_style_factor_and_their_learning_rate(trainer_in, recipe):
    """In the losses that are reported and in the optimizer that learns."""
    loss = {"content_weight": 0.0, "tv_weight": 0.0, "range_weight": 0.0, "repeat_shifts": ()}
    stages = [
        dataclasses.replace(recipe.stage[0], batch=1),
        dataclasses.replace(recipe.stage[0], batch=1, style_factor=10.0, learning_rate=7e-4),
    ]
    plan = dataclasses.replace(with_loss(recipe, **loss), stage=stages, steps=4, style=recipe.style[:1])
    trainer, output, rates = trainer_in("run", plan), [], []

    def look(progress):
        output.append(progress.losses)
        rates.append(trainer.optimizer.param_groups[0]["lr"])

    trainer.run(look)
    assert [result["total"] / result["style"] for result in output] == pytest.approx([3, 3, 30, 30], rel=1e-4)
    assert rates == [result["learning_rate"] for result in output] == [plan.learning_rate_at(step) for step in range(4)]
    assert rates[2] == pytest.approx(7e-4)


def test_codes_make_up_for_the_steps_that_do_not_draw_them(trainer_in, recipe):
    """Two styles and one sample a step: a code has a gradient in every second one, and learns sqrt(2) times as fast."""
    stage = dataclasses.replace(recipe.stage[0], batch=1)
    trainer = trainer_in("run", dataclasses.replace(recipe, stage=[stage], steps=3))
    body, codes = trainer.optimizer.param_groups
    assert [codes["params"]] == [[trainer.net.codes]] and len(codes["params"][0]) == 2
    assert len(body["params"]) == len(list(trainer.net.parameters())) - 1
    rate = trainer.train_step()["learning_rate"]
    assert body["lr"] == rate and codes["lr"] == pytest.approx(2**0.5 * rate)


def test_a_code_of_a_frozen_body_learns_at_the_recipe_s_rate(trainer_in, recipe):
    trainer = trainer_in("run", dataclasses.replace(recipe, style=recipe.style[:1]), frozen=True)
    (codes,) = trainer.optimizer.param_groups
    assert codes["params"] == [trainer.net.codes] and codes["pace"] == 1


def test_a_fresh_net_paints_in_the_colors_of_the_artworks(trainer_in, recipe, paintings_folder):
    """In their mean from the first step, in their contrast as far as there is something to paint."""
    trainer = trainer_in("run", recipe)
    photos = some_photos(trainer, 4, 64)
    for style, code in zip(recipe.style, trainer.net.codes, strict=True):
        artwork = read_picture(paintings_folder / style.file, 128).float()
        with torch.no_grad():
            painted = trainer.net(photos, code)
        torch.testing.assert_close(painted.mean((0, 2, 3)), artwork.mean((1, 2)), rtol=0, atol=0.5)
        assert (code[-6:-3].detach() * 127.5).tolist() == pytest.approx(artwork.std((1, 2)).tolist(), rel=1e-3)
        assert (painted.std((0, 2, 3)) > 0.3 * artwork.std((1, 2))).all()
    assert torch.equal(trainer.average["codes"], trainer.net.codes)


def test_samples_lie_anywhere_on_the_canvas(trainer_in, recipe):
    trainer = trainer_in("run", recipe)
    drawn = torch.cat([trainer.draw_offsets(3) for _ in range(170)])
    assert drawn.shape == (510, 2) and drawn.min() == 0 and drawn.max() == operations.CANVAS_SIDE - 1
    assert len(drawn.unique(dim=0)) > 500, "samples of a small batch have places of their own"
    again = trainer_in("again", recipe)
    assert torch.equal(drawn, torch.cat([again.draw_offsets(3) for _ in range(170)]))
    assert len(trainer.draw_offsets(50).unique(dim=0)) == PLACES
    seen, paint = [], trainer.paint

    def watched(photos, styles, offsets=None):
        seen.append(offsets)
        return paint(photos, styles, offsets)

    trainer.paint = watched
    trainer.train_step()
    trainer.train_step()
    assert [offsets.shape for offsets in seen] == [(2, 2)] * 2 and not torch.equal(seen[0], seen[1])


def test_both_looks_of_the_temporal_loss_lie_on_the_same_place_of_the_canvas(trainer_in, recipe):
    """Nothing moves and nothing changes: the two paintings are the same wherever they lie."""
    trainer = trainer_in("run", with_loss(recipe, temporal_weight=1.0))
    photos, styles = some_photos(trainer), torch.tensor([0, 1])
    still = torch.nn.functional.affine_grid(torch.eye(2, 3).expand(2, 2, 3), photos.shape, align_corners=False)
    motion, places = (still, torch.zeros_like(photos)), torch.tensor([[40, 90], [7, 70]])
    with torch.no_grad():
        here, there = (trainer.paint(photos, styles, offsets=offsets) for offsets in (None, places))
        result = trainer.sample_losses(photos, styles, trainer.artworks.targets[(48,)], offsets=places, motion=motion)
    assert (here - there).abs().mean((1, 2, 3)).min() > 1
    assert result["temporal"].max() < 1e-6


def test_palette_loss_brings_the_artworks_colours(trainer_in, recipe):
    recipe = with_loss(recipe, palette_weight=100.0, content_weight=0.0, tv_weight=0.0, repeat_shifts=())
    styles = [dataclasses.replace(style, weight=1e-6) for style in recipe.style]
    trainer = trainer_in("run", dataclasses.replace(recipe, style=styles, steps=60, learning_rate=5e-3))
    with torch.no_grad():
        trainer.net.codes[:, -6:] = torch.tensor([0.3, 0.3, 0.3, 0.0, 0.0, 0.0])  # not in their colors yet
    trainer.run()
    distances = [row[COLUMNS.index("palette")] for row in trainer.rows]
    assert sum(distances[-10:]) < 0.6 * sum(distances[:10])


def test_only_the_drawn_style_learns(trainer_in, recipe):
    trainer = trainer_in("run", recipe)
    mean_losses(trainer, some_photos(trainer), [1, 1], trainer.artworks.targets[(48,)])["total"].backward()
    assert trainer.net.codes.grad[0].abs().sum() == 0 < trainer.net.codes.grad[1].abs().sum()
    assert trainer.net.stem.weight.grad.abs().sum() > 0


def test_huge_learning_rate_ends_in_one_sentence(trainer_in, short_recipe):
    trainer = trainer_in("run", dataclasses.replace(short_recipe, learning_rate=1e30))
    with pytest.raises(RtstyleError, match=r"became NaN or infinite at step \d+: lower learning_rate"):
        trainer.run()


def test_gradient_that_is_not_a_number_reaches_no_weight(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    trainer.train_step()
    before = {name: weight.clone() for name, weight in trainer.net.state_dict().items()}
    trainer.net.head.weight.register_hook(lambda grad: grad * float("nan"))
    with pytest.raises(RtstyleError, match="became NaN or infinite"):
        trainer.train_step()
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.net.state_dict().items())


def test_what_a_trainer_needs_is_checked_before_anything_is_written(
    tmp_path, photos_folder, paintings_folder, fake_vgg, short_recipe
):
    run_dir = tmp_path / "run"

    def refuses(message, *, recipe=short_recipe, photos=photos_folder, paintings=paintings_folder, vgg=fake_vgg):
        with pytest.raises(RtstyleError, match=message):
            Trainer(recipe, photos, paintings, run_dir, device="cpu", precision="fp32", vgg=vgg)
        assert not (run_dir / "checkpoint.pt").exists()

    refuses(r"waves\.png does not exist", paintings=photos_folder)
    refuses("the folder .*nowhere does not exist", photos=tmp_path / "nowhere")
    refuses("holds no pictures", photos=run_dir.parent)
    refuses("weights .* do not exist", vgg=tmp_path / "vgg.pth")
    deep = dataclasses.replace(short_recipe.loss, style_layers=("relu1_2", "relu4_3"))
    refuses("ends before relu4_3", recipe=dataclasses.replace(short_recipe, loss=deep))
    wrong = dataclasses.replace(short_recipe.loss, style_layers=("relu1_9",))
    refuses("has no layer 'relu1_9'", recipe=dataclasses.replace(short_recipe, loss=wrong))


@pytest.mark.parametrize("name", ("gpu", "cuda:banana"))
def test_unknown_device_is_refused(name):
    with pytest.raises(RtstyleError, match="choose auto, cpu, cuda"):
        perceptual.pick_device(name)


def test_cuda_is_not_replaced_in_silence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(RtstyleError, match="finds no device cuda"):
        perceptual.pick_device("cuda")
    assert perceptual.pick_device("auto").type == "cpu"


@pytest.fixture
def moving_recipe(short_recipe):
    return with_loss(short_recipe, temporal_weight=50.0)


def test_a_temporal_run_learns_and_resumes_bit_for_bit(trainer_in, moving_recipe):
    whole = trainer_in("whole", moving_recipe)
    reports = []
    whole.run(reports.append)
    assert all(p.losses["temporal"] > 0 for p in reports)
    resumed = interrupted_and_resumed(trainer_in, moving_recipe)
    assert_same_run(whole, resumed)


def test_a_stage_may_weigh_losses_otherwise(trainer_in, recipe):
    """Each stage has its own weights; those that it leaves open are the recipe's."""
    plan = with_loss(recipe, temporal_weight=50.0)
    own = {"temporal_weight": 0.0, "content_weight": 0.7, "structure_weight": 1.5, "repeat_weight": 0.1}
    own["lattice_weight"] = 9.0
    all_own = dataclasses.replace(recipe.stage[0], **own)
    assert all_own.loss(plan.loss) == dataclasses.replace(plan.loss, **own)
    first = dataclasses.replace(recipe.stage[0], share=0.5, temporal_weight=0.0)
    second = dataclasses.replace(recipe.stage[0], share=0.5)
    assert second.loss(plan.loss) == plan.loss
    trainer = trainer_in("run", dataclasses.replace(plan, stage=[first, second], steps=2))
    reports = []
    trainer.run(reports.append)
    assert [p.losses["temporal"] > 0 for p in reports] == [False, True]


def test_artworks_of_several_sizes_are_averaged(trainer_in, recipe):
    both = [dataclasses.replace(recipe.stage[0], style_size=[48, 64])]
    trainer, parts = trainer_in("run", dataclasses.replace(recipe, stage=both)), trainer_in("parts", recipe)
    small, large, mean = (
        parts.artworks.targets[(48,)],
        parts.artworks.targets[(64,)],
        trainer.artworks.targets[(48, 64)],
    )
    assert mean.keys() == small.keys() and not torch.allclose(small["relu1_2 / 1"], large["relu1_2 / 1"], rtol=1e-2)
    for layer, matrices in mean.items():
        torch.testing.assert_close(matrices, (small[layer] + large[layer]) / 2)


def test_without_its_weight_there_is_no_temporal_loss(trainer_in, short_recipe):
    reports = []
    trainer_in("run", short_recipe).run(reports.append)
    assert {p.losses["temporal"] for p in reports} == {0.0}


def test_passes_over_the_photographs(trainer_in, recipe):
    trainer = trainer_in("run", dataclasses.replace(recipe, passes=3))
    assert trainer.recipe.steps == 3 * 6 / 1.5  # six photographs, half the steps in batches of two, half of one


def test_auxiliary_styles_take_part_and_are_not_exported(trainer_in, recipe, tmp_path):
    auxiliary = [dataclasses.replace(recipe.style[1], name="exercise")]
    plan = dataclasses.replace(recipe, style=recipe.style[:1], auxiliary=auxiliary, auxiliary_share=0.25, steps=2)
    trainer = trainer_in("run", plan)
    assert len(trainer.net.codes) == 2
    drawn = torch.cat([draw_styles(trainer.recipe, 100, trainer.generator) for _ in range(20)])
    assert 0.2 < (drawn == 1).float().mean() < 0.3
    trainer.run()
    assert [info["name"] for info in trainer.describe()["styles"]] == ["waves"]
    assert torch.equal(trainer.averaged_net().codes, trainer.average["codes"][:1])
    out = tmp_path / "out.onnx"
    export_model(trainer.checkpoint, out)
    body, infos = from_onnx(out)
    assert [info["name"] for info in infos] == ["waves"] and len(body.codes) == 1
    again = trainer_in("run", plan, resume=True)
    assert torch.equal(again.net.codes, trainer.net.codes)
