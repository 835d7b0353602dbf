"""The encoder: its net, its file, and its training with a toy number of pictures and random weights in VGG's shapes."""

import dataclasses

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from support.encoder_fixtures import new_encoder, seeded  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import encoder_file, style_pictures  # noqa: E402
from rtstyle.export.data import Photos  # noqa: E402
from rtstyle.export.encoder import FARTHEST  # noqa: E402
from rtstyle.export.encoder_lessons import Paintings, Practice, random_codes  # noqa: E402
from rtstyle.export.encoder_recipe import PAINTING, PRACTICE, SEEING, EncoderRecipe, is_encoder_recipe  # noqa: E402
from rtstyle.export.encoder_training import EncoderTrainer, GradientClip, train_encoder  # noqa: E402
from rtstyle.export.forms import from_checkpoint  # noqa: E402
from rtstyle.export.small_vgg import Lesson, SmallVGG, second_moments  # noqa: E402
from rtstyle.export.to_onnx import from_onnx, properties, read_training, write_onnx  # noqa: E402
from rtstyle.gallery import catalog  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.encoder_fixtures", "support.training_fixtures"]

TOY = EncoderRecipe(
    seed=1,  # of a net that has learned nothing, the gradient in ONNX Runtime may be a few percent off: see polish_file
    seeing=1,
    practice=1,
    steps=2,
    random_codes=3,
    crop=64,
    style_size=320,
    window=128,
    paintings=2,
    photographs=1,
    made=1,
)


@pytest.fixture
def encoder_in(tmp_path, toy_model, photos_folder, paintings_folder, fake_vgg):
    """A function that gives a trainer for the toy body whose run folder is `name`."""

    def make(name, recipe=TOY, **options):
        if recipe.encoder == "live":
            recipe = dataclasses.replace(recipe, encoder=str(toy_model))
        options = {"device": "cpu", "vgg": fake_vgg} | options
        return EncoderTrainer(recipe, photos_folder, paintings_folder, tmp_path / name, **options)

    return make


@torch.no_grad()
def test_a_new_encoder_gives_the_mean_code_and_the_colors_of_the_picture(body, trial):
    encoder = new_encoder(body)
    encoder.coefficients.weight.zero_()
    code = encoder.write(encoder.look(torch.full((1, 3, 64, 64), 51.0)), trial, corrections=0)[0]
    assert torch.allclose(code[:-6], body.codes.mean(0)[:-6])
    assert torch.allclose(code[-3:], torch.tensor(51 / 127.5 - 1))  # mean
    assert (code[-6:-3] < 0.01).all()  # deviation


def test_the_first_directions_span_most_of_what_the_codes_of_the_body_differ_by(body):
    off = (body.codes - body.codes.mean(0))[:, :-6]
    span = new_encoder(body).directions[:4, :-6].detach()
    rest = off - off @ torch.linalg.pinv(span) @ span
    assert rest.norm() < 0.7 * off.norm()  # the span of four directions holds what differs, less its colours


@torch.no_grad()
def test_carried_over_to_another_body_it_writes_the_same_mixtures_of_styles(body, trial):
    before = body.codes.clone()
    after = before + torch.randn(before.shape, generator=seeded(7))
    encoder = new_encoder(body)
    shares = torch.randn(6, 5, generator=seeded(8))
    shares -= shares.mean(1, keepdim=True)
    encoder.directions.copy_(shares @ before)
    encoder.directions[:, -6:] = torch.randn(6, 6, generator=seeded(9))
    colors = encoder.directions[:, -6:].clone()
    encoder.mean[:-6] = before[1, :-6]  # the second style
    encoder.carry_over(before, after)
    assert torch.allclose(encoder.mean[:-6], after[1, :-6], atol=1e-3)
    assert torch.allclose(encoder.directions[:, :-6], (shares @ after)[:, :-6], atol=1e-3)
    assert torch.equal(encoder.directions[:, -6:], colors)


@torch.no_grad()
def test_a_correction_brings_the_colors_of_the_painting_nearer_to_those_of_the_picture(body, trial):
    encoder = new_encoder(body)
    for learned in (encoder.coefficients, encoder.corrections):
        learned.weight.zero_()  # what is left are the colours
    picture = torch.rand(1, 3, 96, 96, generator=seeded(6)) * torch.tensor([60.0, 150.0, 220.0]).view(3, 1, 1)
    target = encoder.look(picture)

    def off(corrections):
        return (encoder.look(trial(encoder.write(target, trial, corrections))).colors - target.colors).abs().sum()

    assert off(3) < off(1) < off(0)


@torch.no_grad()
def test_no_coefficient_runs_away(body, trial):
    encoder = new_encoder(body)
    encoder.corrections.bias.fill_(1e4)
    code = encoder.write(encoder.look(torch.rand(1, 3, 64, 64, generator=seeded(8)) * 255), trial)
    farthest = FARTHEST * encoder.directions[:, :-6].abs().sum(0)
    assert ((code[0] - encoder.mean)[:-6].abs() <= farthest + 1e-5).all()


def test_gradients_reach_everything_that_learns_and_not_the_body(body, trial):
    encoder = new_encoder(body)
    target = encoder.look(torch.rand(1, 3, 64, 64, generator=seeded(7)) * 255)
    encoder.write(target, trial, 2).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad is None for p in body.parameters())


def test_the_trial_is_as_large_as_the_part_of_a_picture_that_has_as_large_strokes(body, trial):
    assert trial.photograph.shape == (1, 384, 384, 3) and trial.photograph.dtype == torch.uint8
    assert trial(body.codes[:2]).shape == (2, 3, 269, 269)  # 384 of 640 pixels, scaled as 640 to 448


@torch.no_grad()
def test_what_is_seen_is_the_gram_matrices_without_their_doubles(body):
    encoder, picture = new_encoder(body), 255 * torch.rand(1, 3, 48, 64, generator=seeded(9))
    seen = encoder.look(picture)
    matrices = [second_moments(maps) for maps in encoder.vgg(picture)]
    assert seen.lengths.shape == (1, 9)  # three layers at three scales
    assert torch.allclose(seen.lengths[0, :3], torch.stack([matrix.norm() for matrix in matrices]), rtol=1e-3)
    assert seen.grams.shape == (1, 3 * (6 + 10 + 15))


def test_the_small_net_learns_to_see_as_vgg_does(fake_vgg):
    vgg = perceptual.VGG("vgg16", fake_vgg)
    random = np.random.default_rng(0)
    pictures = [
        torch.from_numpy(random.integers(0, 256, (1, 3, 8, 8)).repeat(6, 2).repeat(6, 3)).float() for _ in range(4)
    ]
    lesson = Lesson(vgg, pictures, (3, 4))
    assert [maps.shape[1] for maps in lesson.components(pictures[0])] == [3, 4]
    whole = Lesson(vgg, pictures, (64, 128))
    for maps, layer, energies in zip(whole.components(pictures[0]), whole.layers, whole.energies, strict=True):
        true = second_moments(vgg(pictures[0], [layer])[layer])
        assert torch.allclose(second_moments(maps).norm() * energies.mean(), true.norm(), rtol=1e-3), (
            "all of it is there"
        )
    net = SmallVGG(((4, 6), (6, 8)), (3, 4), seeded(1))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for step in range(40):
        loss = lesson.loss(net, pictures[step % 4])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])


def test_random_codes_are_mixtures_of_the_body_s_own(body):
    own = body.codes
    codes = random_codes(own, 200, seeded(1))
    assert torch.equal(codes, random_codes(own, 200, seeded(1))) and codes.shape == (200, own.shape[1])
    assert torch.allclose(codes.mean(0), own.mean(0), atol=0.1)
    assert ((codes - own.mean(0)).abs().amax(0) < 2.5 * (own - own.mean(0)).abs().amax(0) + 0.3).all()


def test_practice_begins_with_the_very_codes_that_are_to_be_corrected(body, trial, photos_folder):
    encoder = new_encoder(body)
    with torch.no_grad():
        encoder.directions.copy_(torch.linalg.qr(torch.randn(encoder.directions.T.shape, generator=seeded(2))).Q.T)
    practice = Practice(encoder, trial, Paintings.by(trial, Photos(photos_folder, 256), 3, seed=4))
    inside = encoder.code(torch.randn(3, 6, generator=seeded(3)), torch.rand(3, 6, generator=seeded(4))).detach()
    again = encoder.code(*practice.parts(inside, torch.zeros(3, 6)))
    assert torch.allclose(again[:, -6:], inside[:, -6:], atol=1e-4)
    assert (again - inside).norm() < 0.3 * (inside - encoder.mean).norm()
    losses = practice.losses(seeded(5))
    losses["total"].backward()
    assert encoder.corrections.weight.grad.any() and encoder.coefficients.weight.grad.any()


def test_the_onnx_file_agrees_with_torch_and_can_be_read_back(tmp_path, body, trial):
    encoder = new_encoder(body)
    encoder_file.write_encoder(encoder, trial, {"steps": 1}, tmp_path / "encoder.onnx")
    model = onnx.load(tmp_path / "encoder.onnx")
    assert [value.name for value in model.graph.input] == ["picture"]
    assert properties(tmp_path / "encoder.onnx")["rtstyle.body_sha256"] == body.body_sha256()
    encoder = encoder_file.rounded(encoder)
    assert encoder_file.compare(model, encoder, trial) < encoder_file.CODE_DIFFERENCE
    with torch.no_grad():
        encoder.corrections.bias += 0.2
    assert encoder_file.compare(model, encoder, trial) > encoder_file.CODE_DIFFERENCE, "the comparison sees corrections"
    again, sha256 = encoder_file.from_onnx(tmp_path / "encoder.onnx")
    assert sha256 == body.body_sha256()
    with torch.no_grad():
        encoder.corrections.bias -= 0.2
    assert all(torch.allclose(again.state_dict()[k], v, atol=1e-6) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_encoder_is_refused(tmp_path, content):
    path = tmp_path / "encoder.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RtstyleError, match=r"encoder\.onnx (does not exist|is not an encoder that rtstyle wrote)"):
        encoder_file.from_onnx(path)


def test_the_encoder_looks_at_the_part_that_is_compared(encoder_in):
    trainer = encoder_in("part")
    picture = np.full((96, 200, 3), (200, 30, 30), np.uint8)
    picture[8:-8, 60:-60] = (20, 60, 180)  # the middle: 80 x 80 pixels, of 96 x 200
    photos = {
        name: torch.eye(matrix.shape[-1])[None]
        for name, matrix in trainer.styles[0].targets.items()
        if name != "palette"
    }
    middles = [style_pictures.middle(rgb, 96, 80) for rgb in (255 - picture, picture)]
    other, seen = style_pictures.describe(middles, trainer.compare, photos, torch.device("cpu"))
    assert torch.equal(255 - other.picture, seen.picture)
    (alone,) = style_pictures.describe(middles[1:], trainer.compare, photos, torch.device("cpu"))
    assert alone.weight == pytest.approx(seen.weight, rel=1e-5)
    assert all(torch.allclose(alone.targets[name], seen.targets[name], rtol=1e-2) for name in seen.targets)
    assert seen.picture.shape == (1, 3, 373, 373), "80 of 96 pixels, scaled as 96 to 448"
    assert torch.equal(seen.picture[0, :, 8:-8, 8:-8].amax((1, 2)), torch.tensor([20, 60, 180], dtype=torch.uint8))
    assert torch.equal(
        seen.targets["palette"][0],
        perceptual.palette(torch.tensor([20.0, 60.0, 180.0]).reshape(1, 3, 1, 1).expand(1, 3, 80, 80))[0],
    )


def test_one_seed_gives_the_same_pictures_of_every_kind():
    pictures = [np.random.default_rng(i).integers(0, 256, (90, 120 + i, 3), np.uint8) for i in range(3)]

    def drawn(seed, order=range(13)):
        made = {number: style_pictures.make(pictures, pictures, (6, 3, 4), number, seed) for number in order}
        return [made[number] for number in range(13)]

    one, two, other = drawn(1), drawn(1, reversed(range(13))), drawn(2)
    assert len(one) == 13
    assert all(a.dtype == np.uint8 and a.ndim == 3 and min(a.shape[:2]) >= 30 for a in one)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_pictures_made_by_program_have_the_colors_of_others_and_forms_of_their_own():
    gradient = np.zeros((120, 120, 3), np.uint8)
    gradient[..., 0], gradient[..., 2] = np.arange(40, 160), np.arange(40, 160)[:, None]
    random, side = np.random.default_rng(1), style_pictures.MADE_SIDE
    smooth, around = style_pictures.smooth_directions(side, random), style_pictures.swirls(side, random)
    kinds = [
        style_pictures.strokes(gradient, smooth, random),
        style_pictures.strokes(gradient, around, random),
        style_pictures.bars(gradient, side, random),
        style_pictures.dots(gradient, side, random),
    ]
    for picture in kinds:
        assert abs(picture.mean((0, 1)) - gradient.mean((0, 1))).max() < 30 and picture.std() > 10
    for picture in [*kinds, *(style_pictures.made_picture(gradient, gradient, random) for _ in range(12))]:
        assert picture.shape == (side, side, 3) and picture.dtype == np.uint8
    jumps = np.abs(np.diff(np.exp(1j * np.stack([smooth, around])), axis=2)).max((1, 2))
    assert jumps[0] < 0.5 < jumps[1]  # swirls meet where another centre is nearer


def test_an_engraving_is_ink_on_paper_and_has_more_ink_where_the_photograph_is_darker():
    photograph = np.repeat(np.linspace(0, 255, 120).astype(np.uint8)[None, :, None], 90, 0).repeat(3, 2)
    for seed in range(6):
        engraved = style_pictures.engraving(photograph, 300, np.random.default_rng(seed)).astype(float)
        dark, light = engraved[:, :100], engraved[:, 200:]
        assert dark.mean() < light.mean() - 40
        lightness = engraved.mean(2)
        ink, paper = np.percentile(lightness, (2, 98))
        between = (lightness > ink + 0.3 * (paper - ink)) & (lightness < paper - 0.3 * (paper - ink))
        assert between.mean() < 0.3, "lines, not tones: little is neither ink nor paper"
        edges = max(np.abs(np.diff(lightness, axis=axis)).max() for axis in (0, 1))
        assert edges > 0.5 * (paper - ink), "and they have edges"


def test_training_moves_the_encoder_and_not_the_body(encoder_in, toy_model):
    trainer = encoder_in("run")
    states = [trainer.encoder.state_dict()]
    states[0] = {name: weight.clone() for name, weight in states[0].items()}
    (trainer.run_dir / "preview.png").write_bytes(b"the one before")
    trainer.run(lambda _: states.append({k: v.clone() for k, v in trainer.encoder.state_dict().items()}))

    def moved(phase):
        return {name for name, weight in states[phase].items() if not torch.equal(weight, states[phase + 1][name])}

    assert len(states) == 5
    assert moved(SEEING) and all(name.startswith("vgg.") for name in moved(SEEING))
    heads = {name for name in states[0] if not name.startswith("vgg.")}
    assert moved(PRACTICE) >= heads, "with what it is used to; and from here on it sees as it did on average"
    assert moved(PAINTING) | moved(PAINTING + 1) <= heads
    assert any(name.startswith("hidden.") for name in moved(PAINTING))
    assert trainer.body.body_sha256() == catalog.load(str(toy_model)).body_sha256
    with Image.open(trainer.run_dir / "preview.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


def test_a_step_whose_gradients_are_far_off_is_left_out():
    clip, weight = GradientClip([1.0] * 30), torch.nn.Parameter(torch.zeros(4))
    for gradient, taken, left in ((0.1, True, 0.2), (1.0, True, 1.5), (100.0, False, 1.5)):
        weight.grad = torch.full((4,), gradient)  # of length twice that
        assert clip([weight], torch.tensor(1.0), 0) is taken
        assert float(weight.grad.norm()) == pytest.approx(left, rel=1e-3)
    assert clip.norms[-3:] == pytest.approx([0.2, 2.0, 200.0])
    with pytest.raises(RtstyleError, match="NaN or infinite at step 7"):
        clip([weight], torch.tensor(float("nan")), 7)


def test_a_resumed_run_ends_like_one_that_never_stopped(encoder_in, monkeypatch):
    monkeypatch.setattr(EncoderTrainer, "show", lambda self: None)  # takes longer than the steps
    whole = encoder_in("whole")
    whole.run()
    stopped = encoder_in("stopped")

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop)
    resumed = encoder_in("stopped", resume=True)
    assert resumed.step == 2
    resumed.run()
    assert all(torch.equal(whole.average[k], v) for k, v in resumed.average.items())
    with pytest.raises(RtstyleError, match="holds an earlier run"):
        encoder_in("stopped")
    with pytest.raises(RtstyleError, match="made by another recipe"):
        encoder_in("stopped", dataclasses.replace(TOY, seed=9), resume=True)
    with pytest.raises(RtstyleError, match=r"checkpoint\.pt is an encoder's, which `train` alone writes as ONNX"):
        from_checkpoint(stopped.checkpoint)
    assert encoder_in("stopped", replace=True).step == 0


def test_a_run_for_a_body_that_was_replaced_since_is_not_resumed(encoder_in, tmp_path, toy_model):
    body, infos = from_onnx(toy_model)
    description = {"styles": infos, "reference_height": 360, "training": read_training(properties(toy_model))}
    write_onnx(body, description, model := tmp_path / "body.onnx")
    recipe = dataclasses.replace(TOY, encoder=str(model))
    trainer = encoder_in("run", recipe)
    trainer.train_step()
    trainer.save()
    made_for = body.body_sha256()
    with torch.no_grad():
        body.head.weight *= 1.5
    write_onnx(body, description, model, force=True)
    with pytest.raises(RtstyleError, match=r"is for another .*body\.onnx than today's"):
        encoder_in("run", recipe, resume=True)
    trainer.write(tmp_path / "encoder.onnx")
    assert encoder_file.from_onnx(tmp_path / "encoder.onnx")[1] == made_for, "what it learned with"


def test_the_command_writes_an_encoder_for_its_body(tmp_path, toy_model, photos_folder, paintings_folder, fake_vgg):
    recipe = tmp_path / "encoder.toml"
    held_out = min(path.name for path in paintings_folder.iterdir())
    settings = dataclasses.asdict(TOY) | {"encoder": str(toy_model), "held_out": [held_out]}
    lines = [f"{k} = {v!r}".replace("'", '"') for k, v in settings.items()]
    recipe.write_text("\n".join(lines))
    assert is_encoder_recipe(recipe)
    out = tmp_path / "encoder.onnx"
    prepared = []
    train_encoder(
        recipe,
        photos_folder,
        paintings_folder,
        out,
        vgg=fake_vgg,
        device="cpu",
        preparing=lambda done, total: prepared.append((done, total)),
    )
    assert prepared[-1] == (4, 4)
    written, beside = properties(out), properties(tmp_path / "encoder-polish.onnx")
    assert all(written[f"rtstyle.{name}_sha256"] == beside[f"rtstyle.{name}_sha256"] for name in ("body", "encoder"))
    _, sha256 = encoder_file.from_onnx(out)
    assert sha256 == from_onnx(toy_model)[0].body_sha256()
    with pytest.raises(RtstyleError, match="already exists"):
        train_encoder(recipe, photos_folder, paintings_folder, out, vgg=fake_vgg)


def test_a_run_starts_from_an_encoder_of_another_body(encoder_in, tmp_path, toy_model, caplog):
    recipe = dataclasses.replace(TOY, seeing=0, practice=0, random_codes=0)
    first = encoder_in("first", recipe)
    first.write(made := tmp_path / "encoder.onnx")
    body, infos = from_onnx(toy_model)
    with torch.no_grad():
        body.head.weight *= 1.5
        body.codes += torch.randn(body.codes.shape, generator=seeded(3))
    description = {"styles": infos, "reference_height": 360, "training": read_training(properties(toy_model))}
    write_onnx(body, description, other := tmp_path / "other.onnx")

    def started(name, model, init_model=None):
        trainer = encoder_in(name, dataclasses.replace(recipe, encoder=str(model)), init=made, init_model=init_model)
        return trainer.encoder

    made_with = encoder_file.from_onnx(made)[0]
    assert torch.equal(started("same", toy_model).mean, made_with.mean)
    assert not caplog.records
    assert torch.equal(started("as-it-is", other).mean, made_with.mean)
    assert "another model" in caplog.text and "init_model" in caplog.text
    carried = started("carried", other, toy_model)
    assert torch.equal(carried.hidden.weight, made_with.hidden.weight)
    assert torch.allclose(carried.mean[:-6], body.codes.mean(0)[:-6], atol=0.05)
    with pytest.raises(RtstyleError, match="was not made for the model"):
        started("wrong", other, catalog.load("live").path)
    with pytest.raises(RtstyleError, match="goes with `init`"):
        encoder_in("none", recipe, init_model=toy_model)
    with pytest.raises(RtstyleError, match="codes of another length than the recipe's model takes"):
        started("longer", catalog.load("live").path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('encoder = "live"\nsteps = "many"', "must give steps a whole number"),
        ('encoder = "live"\ncrop = 8', "must give crop a whole number from 64"),
        ('encoder = "live"\npaintings = 0\nphotographs = 0\nmade = 0', "too few pictures"),
        ('encoder = "live"\ncrop = 250', "crop a multiple of 8"),
        ("encoder = 5", "must give encoder the name of a model"),
        ('encoder = "live"\nheld_out = "a.jpg"', "held_out a list of file names"),
        ('encoder = "live"\nnonsense = 1', "not understood"),
        ('encoder = "live', "not understood"),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path, text, reason):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(RtstyleError, match=reason):
        EncoderRecipe.read(tmp_path / "recipe.toml")


def test_a_held_out_picture_must_exist(encoder_in):
    with pytest.raises(RtstyleError, match=r"lacks nowhere\.jpg"):
        encoder_in("run", dataclasses.replace(TOY, held_out=["nowhere.jpg"]))


def test_the_balance_of_the_recipe_weighs_style(encoder_in):
    gentle, bold = (encoder_in(str(x), dataclasses.replace(TOY, balance=x)).styles for x in (10.0, 12.0))
    assert [style.weight for style in bold] == pytest.approx([1.2 * style.weight for style in gentle])
