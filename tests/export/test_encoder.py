"""The encoder: its net, its file, and its training with a toy number of pictures and random weights in VGG's shapes."""

import dataclasses

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import encoder_file, networks, style_pictures  # noqa: E402
from rtstyle.export.encoder import Encoder, Trial  # noqa: E402
from rtstyle.export.encoder_training import (  # noqa: E402
    EncoderRecipe,
    EncoderTrainer,
    is_encoder_recipe,
    train_encoder,
)
from rtstyle.export.to_onnx import from_onnx, properties  # noqa: E402
from rtstyle.gallery import catalog  # noqa: E402
from rtstyle.perceptual import vgg as perceptual  # noqa: E402

pytest_plugins = ["support.training_fixtures"]

TOY = EncoderRecipe(steps=3, crop=64, batch=1, style_size=96, window=80, paintings=2, photographs=1, made=1)


@pytest.fixture
def encoder_in(tmp_path, toy_model, photos_folder, paintings_folder, fake_vgg):
    """A function that gives a trainer for the toy body whose run folder is `name`."""

    def make(name, recipe=TOY, **options):
        recipe = dataclasses.replace(recipe, encoder=str(toy_model))
        options = {"device": "cpu", "vgg": fake_vgg} | options
        return EncoderTrainer(recipe, photos_folder, paintings_folder, tmp_path / name, **options)

    return make


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def body():
    result = networks.build("live", 5, {"widths": [4, 6], "dilations": [1, 2]}, seeded(4)).eval().requires_grad_(False)
    result.codes += 0.2 * torch.randn(result.codes.shape, generator=seeded(5))
    return result


@pytest.fixture(scope="module")
def trial(body):
    return Trial(body, 640)


def new_encoder(body):
    encoder = Encoder(body.code_length, widths=(8, 12), hidden=16, directions=6, generator=seeded(3))
    encoder.start_from(body.codes, [torch.randint(0, 256, (1, 3, 64, 64 + i), generator=seeded(i)) for i in range(4)])
    return encoder


@torch.no_grad()
def test_a_new_encoder_gives_the_mean_code_and_the_colors_of_the_picture(body, trial):
    encoder = new_encoder(body)
    encoder.coefficients.weight.zero_()
    code = encoder.seen(torch.full((1, 3, 64, 64), 51.0), trial, corrections=0)[0]
    assert torch.allclose(code[:-6], body.codes.mean(0)[:-6])
    assert torch.allclose(code[-3:], torch.tensor(51 / 127.5 - 1))  # mean
    assert (code[-6:-3] < 0.01).all()  # deviation


def test_the_first_directions_span_most_of_what_the_codes_of_the_body_differ_by(body):
    off = (body.codes - body.codes.mean(0))[:, :-6]
    span = new_encoder(body).directions[:4, :-6].detach()
    rest = off - off @ torch.linalg.pinv(span) @ span
    assert rest.norm() < 0.7 * off.norm()  # the span of four directions holds what differs, less its colours


@torch.no_grad()
def test_a_correction_brings_the_colors_of_the_painting_nearer_to_those_of_the_picture(body, trial):
    encoder = new_encoder(body)
    for learned in (encoder.coefficients, encoder.corrections):
        learned.weight.zero_()  # what is left are the colours
    picture = torch.rand(1, 3, 96, 96, generator=seeded(6)) * torch.tensor([60.0, 150.0, 220.0]).view(3, 1, 1)

    def off(corrections):
        painting = trial(encoder.seen(picture, trial, corrections))
        return (encoder.statistics(painting) - encoder.statistics(picture))[0, :6].abs().sum()

    assert off(3) < off(1) < off(0)


def test_gradients_reach_everything_that_learns_and_not_the_body(body, trial):
    encoder = new_encoder(body)
    encoder.seen(torch.rand(1, 3, 64, 64, generator=seeded(7)) * 255, trial, 2).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad is None for p in body.parameters())


def test_the_trial_is_as_large_as_the_part_of_a_picture_that_has_as_large_strokes(body, trial):
    assert trial.photograph.shape == (1, 384, 384, 3) and trial.photograph.dtype == torch.uint8
    assert trial(body.codes[:2]).shape == (2, 3, 154, 154)  # 384 of 640 pixels, scaled as 640 to 256


def test_the_onnx_file_agrees_with_torch_and_can_be_read_back(tmp_path, body, trial):
    encoder = new_encoder(body)
    encoder_file.write_encoder(encoder, trial, {"steps": 1}, tmp_path / "encoder.onnx")
    model = onnx.load(tmp_path / "encoder.onnx")
    assert [value.name for value in model.graph.input] == ["picture"]
    assert properties(tmp_path / "encoder.onnx")["rtstyle.body_sha256"] == body.body_sha256()
    encoder = encoder_file.rounded(encoder)
    assert encoder_file.compare(model, encoder, trial) < encoder_file.CODE_DIFFERENCE
    with torch.no_grad():
        encoder.ways += 0.01
    assert encoder_file.compare(model, encoder, trial) > encoder_file.CODE_DIFFERENCE, "the comparison sees corrections"
    again, sha256 = encoder_file.from_onnx(tmp_path / "encoder.onnx")
    assert sha256 == body.body_sha256()
    with torch.no_grad():
        encoder.ways -= 0.01
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
    photos = {name: torch.eye(matrix.shape[-1])[None] for name, matrix in trainer.styles[0].targets.items()}
    seen = style_pictures.describe(picture, 96, 80, trainer.compare, photos, 15.0, torch.device("cpu"))
    assert seen.picture.shape == (1, 3, 213, 213), "80 of 96 pixels, scaled as 96 to 256"
    assert torch.equal(seen.picture[0, :, 4:-4, 4:-4].amax((1, 2)), torch.tensor([20, 60, 180], dtype=torch.uint8))
    assert torch.equal(
        seen.targets["palette"][0],
        perceptual.palette(torch.tensor([20.0, 60.0, 180.0]).reshape(1, 3, 1, 1).expand(1, 3, 80, 80))[0],
    )


def test_one_seed_gives_the_same_pictures_of_every_kind():
    pictures = [np.random.default_rng(i).integers(0, 256, (90, 120 + i, 3), np.uint8) for i in range(3)]

    def drawn(seed):
        makers = style_pictures.draw(pictures, pictures, (6, 3, 4), np.random.default_rng(seed))
        return [make() for make in makers]

    one, two, other = drawn(1), drawn(1), drawn(2)
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
    for picture in [*kinds, *(style_pictures.made_picture(gradient, random) for _ in range(12))]:
        assert picture.shape == (side, side, 3) and picture.dtype == np.uint8
    jumps = np.abs(np.diff(np.exp(1j * np.stack([smooth, around])), axis=2)).max((1, 2))
    assert jumps[0] < 0.5 < jumps[1]  # swirls meet where another centre is nearer


def test_training_moves_the_encoder_and_not_the_body(encoder_in, toy_model):
    trainer = encoder_in("run")
    before = {name: weight.clone() for name, weight in trainer.encoder.state_dict().items()}
    steps = []
    (trainer.run_dir / "preview.png").write_bytes(b"the one before")
    trainer.run(steps.append)
    assert [p.step for p in steps] == [1, 2, 3]
    after = trainer.encoder.state_dict()
    assert [name for name, weight in before.items() if torch.equal(weight, after[name])] == ["spread"]
    assert trainer.body.body_sha256() == catalog.load(str(toy_model)).body_sha256
    with Image.open(trainer.run_dir / "preview.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


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
    _, sha256 = encoder_file.from_onnx(out)
    assert sha256 == from_onnx(toy_model)[0].body_sha256()
    with pytest.raises(RtstyleError, match="already exists"):
        train_encoder(recipe, photos_folder, paintings_folder, out, vgg=fake_vgg)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('encoder = "live"\nsteps = "many"', "must give steps a number"),
        ('encoder = "live"\ncrop = 8', "must give crop a number from 64"),
        ('encoder = "live"\npaintings = 0\nphotographs = 0\nmade = 0', "no pictures"),
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
