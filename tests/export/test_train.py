"""Training on the CPU in float32, with a toy body and random weights in VGG's shapes."""

import csv
import dataclasses
import math

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from rtstyle import perceptual  # noqa: E402
from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import networks, train  # noqa: E402
from rtstyle.export.data import read_picture  # noqa: E402
from rtstyle.export.to_onnx import export_checkpoint, from_onnx, write_onnx  # noqa: E402
from rtstyle.export.train import COLUMNS, Recipe, Trainer, load_checkpoint  # noqa: E402

SHORT = 6  # steps where the result does not matter; the toy recipe's second stage starts half-way


@pytest.fixture
def recipe(toy_recipe_path):
    return Recipe.read(toy_recipe_path)


@pytest.fixture
def short_recipe(recipe):
    return dataclasses.replace(recipe, steps=SHORT)


@pytest.fixture
def trainer_in(tmp_path, photos_folder, paintings_folder, fake_vgg):
    """A function that gives a trainer whose run folder is `name`."""

    def make(name, recipe, **options):
        options = {"device": "cpu", "precision": "fp32", "vgg": fake_vgg} | options
        return Trainer(recipe, photos_folder, paintings_folder, tmp_path / name, **options)

    return make


def interrupt_after(steps):
    def callback(progress):
        if progress.step == steps:
            raise KeyboardInterrupt

    return callback


def interrupted_and_resumed(trainer_in, recipe):
    """The trainer of a run that was stopped half-way and went on to its end."""
    with pytest.raises(KeyboardInterrupt):
        trainer_in("parts", recipe).run(interrupt_after(SHORT // 2))
    resumed = trainer_in("parts", recipe, resume=True)
    resumed.run()
    return resumed


def read_losses(folder):
    with open(folder / "losses.csv", newline="") as file:
        return list(csv.reader(file))


def assert_same_run(one, two):
    """Bit for bit: weights, their average, the optimiser's state and every loss; the clock may differ."""
    for name, weight in one.net.state_dict().items():
        assert torch.equal(weight, two.net.state_dict()[name]), name
        assert torch.equal(one.average[name], two.average[name]), name
    states = (one.optimiser.state_dict()["state"], two.optimiser.state_dict()["state"])
    for key, state in states[0].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][key][name])), name
    assert torch.equal(one.generator.get_state(), two.generator.get_state())
    rows = [[row[:-1] for row in read_losses(trainer.run_dir)] for trainer in (one, two)]
    assert rows[0] == rows[1] and len(rows[0]) == one.step + 1


def test_loss_falls_and_run_folder_is_complete(trainer_in, recipe):
    trainer = trainer_in("run", recipe)
    before = {name: weight.clone() for name, weight in trainer.net.state_dict().items()}
    told = []
    trainer.run(told.append)
    assert [p.step for p in told] == list(range(1, recipe.steps + 1)) and told[0].steps == recipe.steps
    assert told[-1].seconds > 0

    totals = [p.losses["total"] for p in told]
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
    other = trainer_in("other", dataclasses.replace(short_recipe, seed=short_recipe.seed + 1))
    assert not torch.equal(other.net.stem.weight, trainer_in("fresh", short_recipe).net.stem.weight)


@pytest.mark.parametrize("stop", (1, SHORT - 2))
def test_interrupted_run_goes_on_to_the_same_result(trainer_in, short_recipe, stop):
    whole = trainer_in("whole", short_recipe)
    whole.run()
    parts = trainer_in("parts", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        parts.run(interrupt_after(stop))
    assert len(read_losses(parts.run_dir)) == stop + 1
    resumed = trainer_in("parts", short_recipe, resume=True)
    assert resumed.step == stop
    resumed.run()
    assert_same_run(whole, resumed)


def test_interruption_within_a_step_loses_no_randomness(trainer_in, short_recipe):
    """Ctrl-C nearly always comes within a step: what the step has drawn must be drawn again."""
    whole = trainer_in("whole", short_recipe)
    whole.run()
    parts = trainer_in("parts", short_recipe)
    draw = parts.photos.batch

    def draw_until_interrupted(*arguments):
        batch = draw(*arguments)
        if parts.step == 3:
            raise KeyboardInterrupt
        return batch

    parts.photos.batch = draw_until_interrupted
    with pytest.raises(KeyboardInterrupt):
        parts.run()
    resumed = trainer_in("parts", short_recipe, resume=True)
    assert resumed.step == 3
    resumed.run()
    assert_same_run(whole, resumed)


def test_finished_run_resumes_to_itself(trainer_in, short_recipe):
    whole = trainer_in("whole", short_recipe)
    whole.run()
    again = trainer_in("whole", short_recipe, resume=True)
    again.run()
    assert_same_run(whole, again)


def test_existing_run_is_not_overwritten(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(1))
    before = trainer.checkpoint.read_bytes()
    with pytest.raises(RtstyleError, match="add --resume"):
        trainer_in("run", short_recipe)
    assert trainer.checkpoint.read_bytes() == before


def test_a_run_without_its_curves_resumes(trainer_in, short_recipe):
    """Killed between the first checkpoint and the first curves."""
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(2))
    (trainer.run_dir / "losses.csv").unlink()
    resumed = trainer_in("run", short_recipe, resume=True)
    assert resumed.step == 2 and resumed.rows == []
    resumed.run()


def test_an_interruption_before_the_first_step_leaves_nothing_to_resume(trainer_in, short_recipe, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    trainer = trainer_in("run", short_recipe)
    monkeypatch.setattr(trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert not trainer.checkpoint.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"regions": 0}, "regions out of range"),
        ({"regions": 99}, "regions out of range"),
        ({"balance": 5.0, "absolute": True}, "balance out of range"),
    ],
)
def test_losses_out_of_range_are_refused(short_recipe, change, words):
    with pytest.raises(RtstyleError, match=words):
        dataclasses.replace(short_recipe, loss=dataclasses.replace(short_recipe.loss, **change)).check("it")


def test_nothing_to_resume_is_said(trainer_in, short_recipe):
    with pytest.raises(RtstyleError, match="nothing to resume"):
        trainer_in("empty", short_recipe, resume=True)


def test_other_recipe_does_not_resume(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(2))
    before = trainer.checkpoint.read_bytes()
    for change in ({"learning_rate": 1e-3}, {"seed": 9}, {"loss": dataclasses.replace(short_recipe.loss, tv_weight=2)}):
        with pytest.raises(RtstyleError, match="made by another recipe"):
            trainer_in("run", dataclasses.replace(short_recipe, **change), resume=True)
    assert trainer.checkpoint.read_bytes() == before


@pytest.mark.parametrize("damage", ("cut", "text", "empty", "foreign"))
def test_corrupt_checkpoint_is_refused_and_left_alone(trainer_in, short_recipe, damage):
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(1))
    whole = trainer.checkpoint.read_bytes()
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, trainer.checkpoint)
    else:
        content = {"cut": whole[: len(whole) // 2], "text": b"no checkpoint\n", "empty": b""}
        trainer.checkpoint.write_bytes(content[damage])
    broken = trainer.checkpoint.read_bytes()
    with pytest.raises(RtstyleError, match=r"checkpoint\.pt is not a (readable )?checkpoint") as caught:
        trainer_in("run", short_recipe, resume=True)
    assert "\n" not in str(caught.value)
    assert trainer.checkpoint.read_bytes() == broken


def test_missing_checkpoint_is_said(tmp_path):
    with pytest.raises(RtstyleError, match=r"gone\.pt does not exist"):
        load_checkpoint(tmp_path / "gone.pt")


def test_checkpoint_describes_the_run(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(2))
    state = load_checkpoint(trainer.checkpoint)
    description = state["description"]
    assert state["step"] == description["training"]["steps"] == 2
    assert description["body"] == "live" and description["config"] == short_recipe.config
    assert [style["name"] for style in description["styles"]] == ["waves", "bricks"]
    assert description["styles"][0]["artist"] == "N. Umpy" and description["reference_height"] == 64
    training = description["training"]
    assert training["seed"] == 3 and training["photographs"] == 6 and training["precision"] == "fp32"
    assert training["vgg_convention"] == "oxford" and len(training["vgg_sha256"]) == 64
    assert training["recipe_sha256"] == short_recipe.digest()


def test_average_follows_its_definition(trainer_in, short_recipe):
    """a <- d a + (1 - d) w with d = min(average, n / (n + 10)) after step n."""
    trainer = trainer_in("run", short_recipe)
    average = trainer.net.stem.weight.detach().clone()
    for step in range(1, 4):
        trainer.train_step()
        decay = min(0.9, step / (step + 10))
        average = decay * average + (1 - decay) * trainer.net.stem.weight.detach()
        torch.testing.assert_close(trainer.average["stem.weight"], average)
    assert torch.equal(trainer.averaged_net().stem.weight, trainer.average["stem.weight"])


def test_weights_are_balanced_by_how_unlike_photographs_the_artworks_are(trainer_in, recipe):
    """balance / mean relative Gram distance of photographs, for the style that gives no weight of its own; the model
    says what it came to."""
    loss = dataclasses.replace(recipe.loss, balance=4.0)
    trainer = trainer_in("run", dataclasses.replace(recipe, loss=loss))
    photos = trainer.photos.batch(train.BALANCED_ON, recipe.stage[0].crop, torch.Generator().manual_seed(recipe.seed))
    found = trainer.vgg(photos, loss.style_layers)
    wanted = trainer.targets[recipe.stage[0].style_sizes]
    distances = [
        perceptual.relative_style_loss(perceptual.gram(found[layer]), wanted[layer][:1]).mean()
        for layer in loss.style_layers
    ]
    expected = min(max(4.0 / float(torch.stack(distances).mean()), train.LIGHTEST), train.HEAVIEST)
    assert train.LIGHTEST < expected < train.HEAVIEST and abs(expected - loss.style_weight) > 0.01
    assert trainer.style_weights.tolist() == pytest.approx([expected, 5.0], rel=1e-4)
    assert trainer.describe()["training"]["style_weights"] == pytest.approx(
        {"waves": expected, "bricks": 5.0}, rel=1e-4
    )


def test_style_weight_of_one_style_counts(trainer_in, recipe):
    """bricks asks for weight 5, waves takes the recipe's 3: total = content + weight x style + the rest."""
    trainer = trainer_in("run", recipe)
    assert trainer.style_weights.tolist() == [3.0, 5.0]
    photos = trainer.photos.batch(1, 32, torch.Generator().manual_seed(0))
    targets = trainer.targets[recipe.stage[0].style_sizes]
    style = torch.tensor([1])
    with torch.no_grad():
        heavy = trainer.losses(photos, style, targets)["total"].item()
        trainer.style_weights[1] = 0
        free = trainer.losses(photos, style, targets)["total"].item()
        trainer.style_weights[1] = 2.5
        half = trainer.losses(photos, style, targets)["total"].item()
    assert heavy > half > free
    assert half - free == pytest.approx((heavy - free) / 2, rel=1e-3)


def test_symmetric_style_loss_divides_by_both_lengths(trainer_in, recipe):
    plain = dataclasses.replace(recipe.loss, repeat_shifts=(), tv_weight=0.0, content_weight=0.0)
    both = [
        trainer_in(name, dataclasses.replace(recipe, loss=dataclasses.replace(plain, symmetric=on)))
        for name, on in (("relative", False), ("symmetric", True))
    ]
    photos, styles = both[0].photos.batch(2, 32, torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    with torch.no_grad():
        relative, symmetric = (trainer.losses(photos, styles, trainer.targets[(48,)]) for trainer in both)
        painted = both[1].net(photos, both[1].net.codes[styles])
        found, expected = both[1].vgg(painted, plain.style_layers), 0.0
        for layer in plain.style_layers:
            gram, wanted = perceptual.gram(found[layer]), both[1].targets[(48,)][layer]
            lengths = gram.norm(dim=(1, 2)).maximum(wanted.norm(dim=(1, 2)) / 10) * wanted.norm(dim=(1, 2))
            expected = expected + ((gram - wanted).square().sum((1, 2)) / lengths).mean() / len(plain.style_layers)
    assert float(symmetric["style"]) == pytest.approx(float(expected), rel=1e-4)
    assert abs(float(symmetric["style"] / relative["style"]) - 1) > 0.1


def test_total_is_the_weighted_sum(trainer_in, recipe):
    plain = dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, repeat_shifts=(), tv_weight=7.0))
    trainer = trainer_in("run", plain)
    photos = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0))
    with torch.no_grad():
        losses = trainer.losses(photos, torch.tensor([0, 0]), trainer.targets[(48,)])
        painted = trainer.net(photos, trainer.net.codes[[0, 0]])
        beyond = (painted.clamp(0, 255) - painted).div(255).square().mean()
    wanted = losses["content"] + 3.0 * losses["style"] + 7.0 * losses["tv"] + 10 * beyond
    assert losses["total"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_palette_loss_of_each_sample_s_own_artwork(trainer_in, recipe, paintings_folder):
    coloured = dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, palette_weight=50.0))
    plain, coloured = trainer_in("plain", recipe), trainer_in("coloured", coloured)
    photos, styles = plain.photos.batch(2, 32, torch.Generator().manual_seed(0)), torch.tensor([1, 0])
    with torch.no_grad():
        before, after = (trainer.losses(photos, styles, trainer.targets[(48,)]) for trainer in (plain, coloured))
        painted = perceptual.palette(coloured.net(photos, coloured.net.codes[styles]))
        files = [paintings_folder / coloured.recipe.style[style].file for style in styles]
        artworks = torch.cat([perceptual.palette(read_picture(file, 48)[None]) for file in files])
        wanted = perceptual.palette_loss(painted, artworks).mean()
    assert float(before["palette"]) == 0 < float(after["palette"])
    assert float(after["palette"]) == pytest.approx(float(wanted), rel=1e-5)
    assert float(after["total"] - before["total"]) == pytest.approx(50 * float(wanted), rel=1e-4)


def test_palette_loss_brings_the_artworks_colours(trainer_in, recipe):
    loss = dataclasses.replace(recipe.loss, palette_weight=100.0, content_weight=0.0, tv_weight=0.0, repeat_shifts=())
    styles = [dataclasses.replace(style, weight=1e-6) for style in recipe.style]
    trainer = trainer_in("run", dataclasses.replace(recipe, loss=loss, style=styles, steps=60, learning_rate=5e-3))
    trainer.run()
    apart = [row[COLUMNS.index("palette")] for row in trainer.rows]
    assert sum(apart[-10:]) < 0.6 * sum(apart[:10])


def test_only_the_drawn_style_learns(trainer_in, recipe):
    trainer = trainer_in("run", recipe)
    photos = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0))
    trainer.losses(photos, torch.tensor([1, 1]), trainer.targets[(48,)])["total"].backward()
    assert trainer.net.codes.grad[0].abs().sum() == 0 < trainer.net.codes.grad[1].abs().sum()
    assert trainer.net.stem.weight.grad.abs().sum() > 0


def test_repeat_loss_is_part_of_the_total(trainer_in, recipe):
    trainer = trainer_in("run", recipe)
    assert set(trainer.targets[(48,)]) == {"relu1_2", "relu2_2", "repeat 2 0", "repeat 0 2", "palette"}
    photos = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0))
    totals = []
    for weight in (0.0, 1.0, 2.0):
        trainer.recipe = dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, repeat_weight=weight))
        with torch.no_grad():
            totals.append(trainer.losses(photos, torch.tensor([0, 0]), trainer.targets[(48,)])["total"].item())
    assert totals[1] > totals[0]
    assert totals[2] - totals[1] == pytest.approx(totals[1] - totals[0], rel=1e-3)


def test_huge_learning_rate_ends_in_one_sentence(trainer_in, short_recipe):
    trainer = trainer_in("run", dataclasses.replace(short_recipe, learning_rate=1e30))
    with pytest.raises(RtstyleError, match=r"no longer a number at step .*lower learning_rate"):
        trainer.run()


def test_diverged_run_keeps_the_last_good_checkpoint(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(2))
    good = trainer.checkpoint.read_bytes()
    resumed = trainer_in("run", short_recipe, resume=True)
    with torch.no_grad():
        resumed.net.merge2.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(RtstyleError, match="no longer a number"):
        resumed.run()
    assert resumed.checkpoint.read_bytes() == good
    state = load_checkpoint(resumed.checkpoint)
    assert all(torch.isfinite(weight).all() for weight in state["net"].values())
    trainer_in("run", short_recipe, resume=True).run()


def test_gradient_that_is_not_a_number_reaches_no_weight(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    trainer.train_step()
    before = {name: weight.clone() for name, weight in trainer.net.state_dict().items()}
    trainer.net.head.weight.register_hook(lambda grad: grad * float("nan"))
    with pytest.raises(RtstyleError, match="no longer a number"):
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


# --- recipes


def test_recipe_is_read(recipe):
    assert (recipe.body, recipe.seed, recipe.steps, recipe.reference_height) == ("live", 3, 30, 64)
    assert [stage.crop for stage in recipe.stage] == [32, 40]
    assert [(style.name, style.weight) for style in recipe.style] == [("waves", None), ("bricks", 5.0)]
    assert recipe.style[0].card() == {
        "name": "waves",
        "title": "Waves",
        "artist": "N. Umpy",
        "year": "2024",
        "licence": "public domain",
        "source": "",
    }


def changed(old, new):
    def change(text):
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (changed("seed = 3", "sed = 3"), "not understood.*sed"),
        (changed("tv_weight", "tvweight"), "not understood.*tvweight"),
        (changed("batch = 2", "batches = 2"), "not understood.*batches"),
        (changed('file = "bricks.png"', 'file = "bricks.png"\nage = 3'), "not understood.*age"),
        (changed('file = "bricks.png"', ""), "not understood.*file"),
        (lambda text: text[: text.index("[[style]]")], r"names no \[\[style\]\]"),
        (changed('name = "bricks"', 'name = "waves"'), "two styles the same name"),
        (changed("crop = 32", "crop = 36"), "crop a multiple of 8 from 32"),
        (changed("crop = 32", "crop = 24"), "crop a multiple of 8 from 32"),
        (changed("batch = 2", "batch = 0"), "batch from 1"),
        (changed("share = 0.5", "share = 0"), "share above 0"),
        (changed("style_size = 48", "style_size = 16"), "style_size from 32"),
        (changed("style_size = 48", "style_size = [64, 16]"), "style_size from 32"),
        (changed("style_size = 48", "style_size = []"), "style_size from 32"),
        (changed("style_size = 48", 'style_size = "large"'), "not understood"),
        (changed("[[stage]]", '[teacher]\nmodel = "studio"\nweight = 0\n\n[[stage]]'), r"\[teacher\] out of range"),
        (changed("[loss]", "[loss]\nidentity_weight = 1.0\nsurvival_goal = 1.0"), "survival_goal.* below 1"),
        (changed("[loss]", "[loss]\nsurvival_goal = 0.9"), "survival_goal.* none without identity_weight"),
        (changed("[loss]", "[loss]\nartwork_goal = 0.9"), "artwork_goal.* none without rival_weight"),
        (changed("crop = 32", "crop = 32\nartwork_goal = -0.1"), "artwork_goal out of range"),
        (changed("[loss]", "[loss]\nabsolute = true\nsymmetric = true"), "absolute and symmetric losses: choose one"),
        (changed("[[stage]]", "[teacher]\nweight = 1\n\n[[stage]]"), "not understood.*model"),
        (changed("steps = 30", "steps = 0"), "needs steps"),
        (changed("learning_rate = 3e-3", "learning_rate = -1.0"), "needs steps, a learning rate"),
        (changed('body = "live"', 'body = "huge"'), "choose live or studio"),
        (changed("steps = 30", 'steps = "many"'), "not understood"),
        (changed("crop = 32", 'crop = "large"'), "not understood"),
        (changed("seed = 3", "seed = "), "not readable TOML"),
        (changed("[[stage]]", "[[stage"), "not readable TOML"),
    ),
)
def test_recipe_that_makes_no_sense_is_refused(tmp_path, toy_recipe_text, change, message):
    path = tmp_path / "odd.toml"
    path.write_text(change(toy_recipe_text))
    with pytest.raises(RtstyleError, match=rf"the recipe .*odd\.toml .*{message}") as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


def test_recipe_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(RtstyleError, match=r"the recipe .*gone\.toml does not exist"):
        Recipe.read(tmp_path / "gone.toml")
    (tmp_path / "noise.toml").write_bytes(bytes(range(256)))
    with pytest.raises(RtstyleError, match=r"noise\.toml is not readable TOML"):
        Recipe.read(tmp_path / "noise.toml")
    with pytest.raises(RtstyleError, match="is not readable TOML"):
        Recipe.read(tmp_path)


@pytest.mark.parametrize(
    "config", ("{ widths = [8, 16] }", "{ width = [8, 16, 16] }", '{ widths = ["a", 8, 8] }', "{ blocks = [1] }")
)
def test_config_that_builds_no_body_is_refused(tmp_path, toy_recipe_text, config):
    path = tmp_path / "odd.toml"
    path.write_text(changed("{ widths = [8, 16, 16], blocks = [1, 1, 1] }", config)(toy_recipe_text))
    with pytest.raises(RtstyleError, match=r"odd\.toml"):
        Recipe.read(path)


def test_digest_ignores_comments_and_order(tmp_path, toy_recipe_text, recipe):
    path = tmp_path / "same.toml"
    path.write_text("# a comment\n" + toy_recipe_text.replace("seed = 3\nsteps = 30", "steps = 30\nseed = 3"))
    assert Recipe.read(path).digest() == recipe.digest()
    path.write_text(toy_recipe_text.replace("seed = 3", "seed = 4"))
    assert Recipe.read(path).digest() != recipe.digest()


def test_stages_share_the_steps(recipe):
    crops = [recipe.stage_at(step).crop for step in range(recipe.steps)]
    assert crops == [32] * 15 + [40] * 15
    odd = dataclasses.replace(recipe, steps=7, stage=[dataclasses.replace(s, share=1) for s in recipe.stage * 2])
    assert len([odd.stage_at(step) for step in range(7)]) == 7


def test_learning_rate_warms_up_and_falls():
    recipe = Recipe(steps=1000, learning_rate=2e-3)
    rates = [recipe.learning_rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-3 / 20) and max(rates) == pytest.approx(2e-3)
    peak = rates.index(max(rates))
    assert 15 <= peak <= 21 and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0.02 * 2e-3, rel=0.05)


def test_every_shipped_recipe_is_valid():
    from importlib.resources import files

    shipped = [entry for entry in files("rtstyle.export.recipes").iterdir() if entry.name.endswith(".toml")]
    assert shipped
    for entry in shipped:
        recipe = Recipe.read(entry)
        assert networks.build(recipe.body, 1, recipe.config).code_length > 0


def test_identity_loss_wants_the_own_photograph_nearest(trainer_in, recipe):
    """Zero for the photograph itself among strangers; the margin and more for a picture that is another one."""
    loss = dataclasses.replace(recipe.loss, identity_layer="relu2_2", identity_weight=2.0, identity_margin=0.1)
    trainer = trainer_in("run", dataclasses.replace(recipe, loss=loss))
    own = torch.tensor([[3.0, 0.0], [0.0, 2.0]])[:, :, None, None]
    trainer.strangers = {32: (torch.tensor([[-5.0, 0.0], [3.0, 4.0]]), torch.tensor([25.0, 25.0]))}
    torch.testing.assert_close(trainer.identity_loss(own, own, 32), torch.zeros(2))
    # the first painted picture is exactly the second stranger, the second one lies half way to the first photograph
    painted = torch.tensor([[3.0, 4.0], [1.5, 1.0]])[:, :, None, None]
    wanted = torch.tensor([0.1 + 16 / 9 - 0, 0.1 + (1.5**2 + 1) / 4 - (1.5**2 + 1) / 4])
    torch.testing.assert_close(trainer.identity_loss(painted, own, 32), wanted)


def test_half_of_the_strangers_are_the_weakest_of_many(trainer_in, recipe, monkeypatch):
    monkeypatch.setattr(train, "STRANGERS", 4)
    monkeypatch.setattr(train, "LINED_UP", 10)
    loss = dataclasses.replace(recipe.loss, identity_layer="relu2_2", identity_weight=2.0)
    trainer = trainer_in("run", dataclasses.replace(recipe, loss=loss))
    generator = torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        drawn = [trainer.vgg(trainer.photos.batch(1, 32, generator), ["relu2_2"])["relu2_2"] for _ in range(12)]
    squares = torch.stack([one.float().square().sum() for one in drawn])
    features, found = trainer.strangers[32]
    assert features.shape == (4, drawn[0].numel())
    torch.testing.assert_close(found[:2], squares[:2])
    torch.testing.assert_close(found[2:].sort().values, squares[2:].sort().values[:2])
    torch.testing.assert_close(features.square().sum(1), found)


def test_identity_loss_is_part_of_the_total(trainer_in, recipe):
    photos, totals = None, []
    for weight in (1.0, 2.0, 3.0):
        loss = dataclasses.replace(recipe.loss, identity_layer="relu2_2", identity_weight=weight, identity_margin=0.5)
        trainer = trainer_in(f"run-{weight}", dataclasses.replace(recipe, loss=loss))
        photos = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0)) if photos is None else photos
        with torch.no_grad():
            losses = trainer.losses(photos, torch.tensor([0, 1]), trainer.targets[(48,)])
        assert losses["identity"] > 0  # an untrained net's pictures resemble nothing
        totals.append(losses["total"].item())
    assert totals[2] - totals[1] == pytest.approx(totals[1] - totals[0], rel=1e-3)
    assert totals[1] > totals[0]


@pytest.fixture
def moving_recipe(short_recipe):
    return dataclasses.replace(short_recipe, loss=dataclasses.replace(short_recipe.loss, temporal_weight=50.0))


def test_the_temporal_loss_measures_what_the_camera_adds(trainer_in, moving_recipe):
    """A net that changes nothing is as unsteady as the noise and the exposure that were added."""
    trainer = trainer_in("run", moving_recipe)
    trainer.paint = lambda photos, styles, peaks=None: photos
    smooth = torch.linspace(40, 200, 32).expand(4, 3, 32, 32)
    styles = torch.zeros(4, dtype=torch.long)
    grid, change = trainer.draw_motion(smooth)
    still = trainer.temporal_loss(smooth, smooth, styles, (grid, torch.zeros_like(change)))
    noisy = trainer.temporal_loss(smooth, smooth, styles, (grid, change))
    assert still.max() < 1e-6
    torch.testing.assert_close(noisy.mean(), (change / 255).square().mean(), rtol=0.1, atol=1e-6)


def test_what_comes_in_over_the_border_does_not_count(trainer_in, moving_recipe):
    trainer = trainer_in("run", moving_recipe)
    trainer.paint = lambda photos, styles, peaks=None: torch.zeros_like(photos)
    painted = torch.zeros(1, 3, 32, 32)
    painted[..., 16:] = 255
    still = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], (1, 3, 32, 32), align_corners=False)
    change = torch.zeros(1, 3, 32, 32)
    outside = still.clone()
    outside[:, :, 16:] = 2.0
    styles = torch.zeros(1, dtype=torch.long)
    assert trainer.temporal_loss(painted, painted, styles, (still, change)).item() == pytest.approx(0.5)
    assert trainer.temporal_loss(painted, painted, styles, (outside, change)).item() == pytest.approx(0, abs=0.05)


def test_a_temporal_run_learns_and_resumes_bit_for_bit(trainer_in, moving_recipe):
    whole = trainer_in("whole", moving_recipe)
    told = []
    whole.run(told.append)
    assert all(p.losses["temporal"] > 0 for p in told)
    resumed = interrupted_and_resumed(trainer_in, moving_recipe)
    assert_same_run(whole, resumed)


def test_a_stage_may_weigh_losses_otherwise(trainer_in, recipe):
    """Each stage has its own weights; those that it leaves open are the recipe's."""
    usual = dataclasses.replace(recipe.loss, identity_layer="relu2_2", identity_margin=0.5, temporal_weight=50.0)
    first = dataclasses.replace(recipe.stage[0], share=0.5, temporal_weight=0.0)
    second = dataclasses.replace(recipe.stage[0], share=0.5, identity_weight=2.0)
    assert first.loss(usual) == dataclasses.replace(usual, temporal_weight=0.0)
    assert second.loss(usual) == dataclasses.replace(usual, identity_weight=2.0)
    trainer = trainer_in("run", dataclasses.replace(recipe, loss=usual, stage=[first, second], steps=2))
    told = []
    trainer.run(told.append)
    assert [p.losses["temporal"] > 0 for p in told] == [False, True]
    photos, styles = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    with torch.no_grad():
        plain, strict = (
            trainer.losses(photos, styles, trainer.targets[(48,)], loss=stage.loss(usual)) for stage in (first, second)
        )
    assert plain["identity"] == strict["identity"] > 0
    assert float(strict["total"] - plain["total"]) == pytest.approx(2 * float(plain["identity"]), rel=1e-3)


@pytest.fixture
def recipe_with_goals(short_recipe):
    loss = dataclasses.replace(
        short_recipe.loss,
        identity_layer="relu2_2",
        identity_weight=1.0,
        survival_goal=0.75,
        rival_weight=2.0,
        rival_margin=0.5,
        artwork_goal=0.9,
    )
    return dataclasses.replace(short_recipe, loss=loss)


def test_weights_follow_their_goals(trainer_in, recipe_with_goals):
    """A sample within the margin counts as missed. By hand: a factor of e^(rate (goal - reached)) a sample, style by
    style, within bounds; nothing for what is only practised on; and the total is weighed by it."""
    practice = [dataclasses.replace(recipe_with_goals.style[0], name="practised")]
    trainer = trainer_in("run", dataclasses.replace(recipe_with_goals, practice=practice))
    loss = trainer.recipe.loss
    found = {"identity": torch.tensor([0.3, 0.0, 0.0, 0.3]), "rival": torch.tensor([0.0, 0.0, 0.01, 9.0])}
    trainer.follow_goals(found, torch.tensor([0, 0, 1, 2]), loss)
    rate = train.GOAL_RATE
    torch.testing.assert_close(
        trainer.pressure["identity"], torch.tensor([rate * (0.75 + 0.75 - 1), rate * (0.75 - 1), 0.0]).exp()
    )
    torch.testing.assert_close(trainer.pressure["rival"], torch.tensor([rate * (0.9 - 1) * 2, rate * 0.9, 0.0]).exp())
    for _ in range(200):
        trainer.follow_goals(found, torch.tensor([0, 0, 1, 2]), dataclasses.replace(loss, survival_goal=0.0))
    assert trainer.pressure["rival"].tolist() == pytest.approx([train.GOAL_RANGE[0], train.GOAL_RANGE[1], 1.0])
    assert trainer.pressure["identity"][1] == pytest.approx(math.exp(rate * (0.75 - 1)))  # no goal, no change

    photos, styles = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    with torch.no_grad():
        before = trainer.sample_losses(photos, styles, trainer.targets[(48,)])
        trainer.pressure["identity"][1] += 3.0
        trainer.pressure["rival"][0] += 5.0
        after = trainer.sample_losses(photos, styles, trainer.targets[(48,)])
    assert before["identity"][1] > 0 and before["rival"][0] > 0
    wanted = torch.stack([2.0 * 5.0 * before["rival"][0], 1.0 * 3.0 * before["identity"][1]])
    torch.testing.assert_close(after["total"] - before["total"], wanted, rtol=1e-3, atol=1e-3)


def test_a_run_with_goals_resumes_bit_for_bit(trainer_in, recipe_with_goals):
    whole = trainer_in("whole", recipe_with_goals)
    whole.run()
    assert any(factor != 1 for factors in whole.pressure.values() for factor in factors.tolist())
    resumed = interrupted_and_resumed(trainer_in, recipe_with_goals)
    assert_same_run(whole, resumed)
    told = whole.describe()["training"]["pressure"]
    assert told == resumed.describe()["training"]["pressure"]
    assert set(told["rival"]) == {style.name for style in recipe_with_goals.style}


def test_peaks_are_part_of_the_total(trainer_in, recipe):
    totals, photos = [], None
    for weight in (0.0, 1.0, 2.0):
        loss = dataclasses.replace(recipe.loss, peak_weight=weight)
        trainer = trainer_in(f"run-{weight}", dataclasses.replace(recipe, loss=loss))
        photos = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0)) if photos is None else photos
        with torch.no_grad():
            normalised = 2 * sum(trainer.net.norm_channels()[: trainer.net.normalised_layers()])
            trainer.net.codes[:, :normalised] *= 8
            totals.append(trainer.losses(photos, torch.tensor([0, 1]), trainer.targets[(48,)]))
    assert totals[0]["peak"] == 0 and totals[1]["peak"] == totals[2]["peak"] > 0
    assert float(totals[2]["total"] - totals[1]["total"]) == pytest.approx(float(totals[1]["peak"]), rel=1e-3)
    assert float(totals[1]["total"] - totals[0]["total"]) == pytest.approx(float(totals[1]["peak"]), rel=1e-3)


@pytest.fixture
def teacher_file(tmp_path, recipe):
    """A studio net that knows bricks, but not waves."""
    net = networks.build("studio", 1, {"widths": [8, 8, 16], "blocks": [1]}, torch.Generator().manual_seed(5))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=torch.Generator().manual_seed(6))
    cards = [train.Style("bricks", "bricks.png").card()]
    write_onnx(net, {"styles": cards, "reference_height": 64, "training": {}}, tmp_path / "teacher.onnx")
    return tmp_path / "teacher.onnx"


def test_a_teacher_draws_the_paintings_in_its_styles_to_its_own(trainer_in, recipe, teacher_file):
    """Distances of features to the teacher's painting of the same photograph, written out; none in a style that the
    teacher does not know."""
    taught = dataclasses.replace(recipe, teacher=train.Teacher(str(teacher_file), 3.0, ("relu1_2", "relu2_2")))
    trainer, alone = trainer_in("run", taught), trainer_in("alone", recipe)
    photos, styles = trainer.photos.batch(2, 40, torch.Generator().manual_seed(0)), torch.tensor([1, 1])
    teacher, _ = from_onnx(teacher_file)
    with torch.no_grad():
        shown = teacher(photos, teacher.codes[0]).clamp(0, 255)
        wanted = trainer.vgg(shown, ["relu1_2", "relu2_2"])
        found = trainer.vgg(trainer.net(photos, trainer.net.codes[styles]), ["relu1_2", "relu2_2"])
        apart = [(found[k] - wanted[k]).square().sum((1, 2, 3)) / wanted[k].square().sum((1, 2, 3)) for k in wanted]
        told = trainer.losses(photos, styles, trainer.targets[(48,)])
        untaught = alone.losses(photos, styles, alone.targets[(48,)])
        unknown = trainer.losses(photos, torch.tensor([0, 0]), trainer.targets[(48,)])
    expected = float(torch.stack(apart).mean())
    assert expected > 0.1 and float(told["teacher"]) == pytest.approx(expected, rel=1e-3)
    assert float(told["total"] - untaught["total"]) == pytest.approx(3 * expected, rel=1e-2)
    assert unknown["teacher"] == 0 and untaught["teacher"] == 0
    assert trainer.describe()["training"]["teacher"] == dataclasses.asdict(taught.teacher)


def test_learning_from_a_teacher_brings_nearer_to_it(trainer_in, recipe, teacher_file):
    only = dataclasses.replace(recipe.loss, content_weight=0.0, style_weight=1e-6, tv_weight=0.0)
    bricks = [dataclasses.replace(style, weight=None) for style in recipe.style if style.name == "bricks"]
    taught = train.Teacher(str(teacher_file), 5.0, ("relu1_2",))
    plan = dataclasses.replace(recipe, loss=only, style=bricks, stage=recipe.stage[:1], teacher=taught, steps=40)
    told = []
    trainer_in("run", plan).run(told.append)
    apart = [p.losses["teacher"] for p in told]
    assert sum(apart[-5:]) < 0.7 * sum(apart[:5])


def test_a_teacher_without_any_of_the_styles_is_refused(trainer_in, recipe, teacher_file):
    waves = dataclasses.replace(recipe, style=recipe.style[:1], teacher=train.Teacher(str(teacher_file)))
    with pytest.raises(RtstyleError, match="has none of the recipe's styles: it has bricks"):
        trainer_in("run", waves)


def test_artworks_of_several_sizes_are_averaged(trainer_in, recipe):
    both = [dataclasses.replace(recipe.stage[0], style_size=[48, 64])]
    trainer, parts = trainer_in("run", dataclasses.replace(recipe, stage=both)), trainer_in("parts", recipe)
    small, large, mean = parts.targets[(48,)], parts.targets[(64,)], trainer.targets[(48, 64)]
    assert mean.keys() == small.keys() and not torch.allclose(small["relu1_2"], large["relu1_2"], rtol=1e-2)
    for layer, matrices in mean.items():
        torch.testing.assert_close(matrices, (small[layer] + large[layer]) / 2)


def test_without_its_weight_there_is_no_temporal_loss(trainer_in, short_recipe):
    told = []
    trainer_in("run", short_recipe).run(told.append)
    assert {p.losses["temporal"] for p in told} == {0.0}


# --- the absolute losses of the first source paper


def test_absolute_losses_are_those_of_pytorch_examples(trainer_in, recipe):
    """Written out anew: mean squares of features on torchvision's scale and of Gram matrices divided by C H W."""
    loss = dataclasses.replace(recipe.loss, absolute=True, repeat_shifts=(), tv_weight=0.0)
    trainer = trainer_in("run", dataclasses.replace(recipe, loss=loss))
    assert trainer.unit == pytest.approx(57.63)  # the toy weights follow Oxford's convention
    photos = trainer.photos.batch(2, 32, torch.Generator().manual_seed(1))
    styles = torch.tensor([0, 1])
    with torch.no_grad():
        got = trainer.losses(photos, styles, trainer.targets[(48,)])
        painted = trainer.paint(photos, styles)
        style_pictures = [train.read_picture(path, 48) for path in trainer.style_files]

        def features(picture):
            return {k: v / (255 * 0.226) for k, v in trainer.vgg(picture, ["relu1_2", "relu2_2"]).items()}

        def gram(f):
            flat = f.flatten(2)
            return flat @ flat.mT / f[0].numel()

        f, c = features(painted), features(photos)
        content = torch.mean((f["relu2_2"] - c["relu2_2"]) ** 2)
        style = 0
        for k in ("relu1_2", "relu2_2"):
            wanted = torch.cat([gram(features(p[None].float())[k]) for p in style_pictures])
            style = style + torch.mean((gram(f[k]) - wanted) ** 2, dim=(1, 2))
    assert float(got["content"]) == pytest.approx(float(content), rel=1e-4)
    assert float(got["style"]) == pytest.approx(float(style.mean()), rel=1e-4)


def test_passes_over_the_photographs(trainer_in, recipe):
    trainer = trainer_in("run", dataclasses.replace(recipe, passes=3))
    assert trainer.recipe.steps == 3 * 6 / 2  # six photographs in batches of two


def test_a_full_disk_keeps_the_last_good_checkpoint(trainer_in, short_recipe, tmp_path):
    """Files may grow to 4 KB only, from the third step on: a checkpoint needs more."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer = trainer_in("run", short_recipe)

    def fill_disk(progress):
        if progress.step == 3:
            trainer.save()
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    try:
        with pytest.raises(RtstyleError, match=r"could not write .*checkpoint\.pt"):
            trainer.run(fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 3
    assert [path.name for path in (tmp_path / "run").iterdir() if "part" in path.name] == []
    resumed = trainer_in("run", short_recipe, resume=True)
    resumed.run()
    assert resumed.step == short_recipe.steps


def test_regions_are_the_parts_of_the_picture():
    maps = torch.arange(2 * 3 * 5 * 7.0).view(2, 3, 5, 7)
    parts = train.split({"relu1_2": maps}, 2)["relu1_2"]
    assert parts.shape == (8, 3, 2, 3)
    for n, r, c in ((0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1)):
        assert torch.equal(parts[4 * n + 2 * r + c], maps[n, :, 2 * r : 2 * r + 2, 3 * c : 3 * c + 3])


def test_regions_punish_paint_in_one_corner(trainer_in, recipe, monkeypatch):
    """Half of a picture painted all over, half not: as a whole it may pass, part by part it does not."""
    trainers = [
        trainer_in(f"{regions}", dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, regions=regions)))
        for regions in (1, 2)
    ]
    photos = trainers[0].photos.batch(1, 48, torch.Generator().manual_seed(1))
    painting = train.read_picture(trainers[0].style_files[0], 48)[None, :, :48, :48].float()
    half = torch.cat([painting[..., :24], torch.full_like(photos[..., 24:], 128.0)], 3)
    style = {}
    for trainer in trainers:
        for name, picture in (("half", half), ("whole", painting)):
            monkeypatch.setattr(trainer, "paint", lambda photos, styles, peaks=None, picture=picture: picture)
            with torch.no_grad():
                losses = trainer.losses(photos, torch.tensor([0]), trainer.targets[(48,)])
            style[trainer.recipe.loss.regions, name] = float(losses["style"])
    assert style[2, "half"] - style[2, "whole"] > 1.2 * (style[1, "half"] - style[1, "whole"]) > 0


def test_rival_loss_wants_the_own_artwork_nearest(trainer_in, recipe):
    """By hand: relative squared distances, mean over the layers, to the own and the nearest other artwork."""
    trainer = trainer_in("run", recipe)
    layers = recipe.loss.style_layers
    generator = torch.Generator().manual_seed(0)
    targets = {layer: torch.rand(2, 3, 3, generator=generator) for layer in layers}
    found = {layer: torch.rand(4, 3, 3, generator=generator) for layer in layers}
    styles = torch.tensor([0, 1, 0, 1])

    def distance(sample, style):
        apart = [
            (found[k][sample] - targets[k][style]).square().sum() / targets[k][style].square().sum() for k in layers
        ]
        return torch.stack(apart).mean()

    wanted = [(0.05 + distance(i, s) - distance(i, 1 - s)).clamp_min(0) for i, s in enumerate(styles.tolist())]
    torch.testing.assert_close(trainer.rival_loss(found, styles, targets), torch.stack(wanted), rtol=1e-4, atol=1e-5)
    own = {layer: targets[layer][styles] for layer in layers}
    torch.testing.assert_close(trainer.rival_loss(own, styles, targets), torch.zeros(4), atol=1e-5, rtol=0)
    single = {layer: target[:1] for layer, target in targets.items()}
    assert not trainer.rival_loss(found, torch.zeros(4, dtype=torch.long), single).any()


def test_rivals_are_part_of_the_total_and_seen_whole(trainer_in, recipe):
    totals, photos = [], None
    for weight, regions in ((1.0, 1), (2.0, 1), (3.0, 1), (1.0, 2)):
        loss = dataclasses.replace(recipe.loss, rival_weight=weight, rival_margin=2.0, regions=regions)
        trainer = trainer_in(f"run-{weight}-{regions}", dataclasses.replace(recipe, loss=loss))
        photos = trainer.photos.batch(2, 32, torch.Generator().manual_seed(0)) if photos is None else photos
        with torch.no_grad():
            totals.append(trainer.losses(photos, torch.tensor([0, 1]), trainer.targets[(48,)]))
    assert totals[0]["rival"] > 0
    assert totals[2]["total"] - totals[1]["total"] == pytest.approx(totals[0]["rival"].item(), rel=1e-3)
    assert totals[3]["rival"].item() == pytest.approx(totals[0]["rival"].item(), rel=0.02)  # borders of the regions


def test_practice_takes_part_and_is_not_exported(trainer_in, recipe, tmp_path):
    practice = [dataclasses.replace(recipe.style[1], name="exercise")]
    plan = dataclasses.replace(recipe, style=recipe.style[:1], practice=practice, practice_share=0.25, steps=2)
    trainer = trainer_in("run", plan)
    assert len(trainer.net.codes) == 2
    drawn = torch.cat([trainer.draw_styles(100) for _ in range(20)])
    assert 0.2 < (drawn == 1).float().mean() < 0.3
    trainer.run()
    assert [card["name"] for card in trainer.describe()["styles"]] == ["waves"]
    assert torch.equal(trainer.averaged_net().codes, trainer.average["codes"][:1])
    out = tmp_path / "out.onnx"
    export_checkpoint(trainer.checkpoint, out)
    body, cards = from_onnx(out)
    assert [card["name"] for card in cards] == ["waves"] and len(body.codes) == 1
    again = trainer_in("run", plan, resume=True)
    assert torch.equal(again.net.codes, trainer.net.codes)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_practice_share_out_of_range(share, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(f'practice_share = {share}\n[[style]]\nname = "a"\nfile = "a.png"\n')
    with pytest.raises(RtstyleError, match="practice_share"):
        Recipe.read(path)


def test_practice_and_styles_share_their_names(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[[style]]\nname = "a"\nfile = "a.png"\n[[practice]]\nname = "a"\nfile = "b.png"\n')
    with pytest.raises(RtstyleError, match="same name"):
        Recipe.read(path)
