"""A new style from a picture: a code against a frozen body, or the body too."""

import contextlib
import csv
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from support.helpers import interrupt_after  # noqa: E402

from rtstyle import RtstyleError, Stylizer  # noqa: E402
from rtstyle.export import data, run  # noqa: E402
from rtstyle.export.run import teach_style, train_model  # noqa: E402
from rtstyle.export.to_onnx import from_onnx, properties, read_training  # noqa: E402
from rtstyle.gallery import catalog  # noqa: E402

pytest_plugins = ["support.runtime_fixtures", "support.training_fixtures"]


@pytest.fixture
def teach(toy_model, photos_folder, paintings_folder, fake_vgg, monkeypatch, tmp_path, caplog):
    """A function that teaches the toy body the bricks, in small crops."""
    monkeypatch.setattr(run, "STAGE", run.Stage(1.0, 48, 2, 48))

    def teach(out="mine.onnx", picture=paintings_folder / "bricks.png", **options):
        caplog.set_level(logging.INFO, "rtstyle")
        defaults = {"content": photos_folder, "model": str(toy_model), "steps": 5, "device": "cpu", "precision": "fp32"}
        options = defaults | {"vgg": fake_vgg} | options
        return teach_style(picture, tmp_path / out, **options), caplog.messages

    return teach


NAMES = "bricks", "something-else"


def losses(path):
    with open(path / "losses.csv", newline="") as file:
        return [float(row["style"]) for row in csv.DictReader(file)]


def test_a_code_learns_and_the_body_stays(teach, toy_model, tmp_path, own_styles):
    out, _ = teach(steps=40, info={"title": "Bricks", "artist": "A. Mason", "name": ""})
    before, _ = from_onnx(toy_model)
    after, infos = from_onnx(out)
    assert after.body_sha256() == before.body_sha256() and len(after.codes) == 1
    assert not any(torch.allclose(after.codes[0], code) for code in before.codes)
    style = losses(tmp_path / "mine.run")
    assert np.mean(style[-8:]) < 0.97 * np.mean(style[:8])
    assert (infos[0]["name"], infos[0]["title"], infos[0]["licence"]) == ("mine", "Bricks", "unknown")
    assert catalog.load(str(out)).styles[0].thumbnail.startswith("data:image/jpeg;base64,")
    training = json.loads(properties(out)["rtstyle.training"])
    assert training["frozen_body"] and training["init"]["body_sha256"] == before.body_sha256()
    # it is a style like any other: painted with, mixed, added to one's own
    model = catalog.load(str(toy_model))
    mixed = catalog.resolve(f"{toy_model}:1,{out}:1", str(toy_model))
    np.testing.assert_allclose(mixed.code, (model.styles[0].code + after.codes[0].detach().numpy()) / 2, atol=1e-6)
    assert Stylizer(str(out), device="cpu", threads=1)(np.zeros((32, 32, 3), np.uint8)).shape == (32, 32, 3)
    catalog.add(out)
    assert catalog.resolve("mine").model.path.parent == own_styles


def test_what_was_learned_is_exported_alone(teach, call, tmp_path):
    """Its one style is called after the file; another name is an error that says so."""
    mine, one = teach()[0], tmp_path / "one.onnx"
    code, _, err = call("export", mine, one, "--style", "starry-night")
    assert code == 1 and "no style 'starry-night': give its only one, mine, or none" in err
    assert call("export", mine, one, "--style", "mine") == (0, f"{one}\n", "")
    assert [value.name for value in onnx.load(str(one)).graph.input] == ["frames"]
    frame = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
    painted = [Stylizer(str(path), device="cpu", threads=1)(frame).astype(int) for path in (mine, one)]
    assert np.abs(painted[0] - painted[1]).max() <= 1


@pytest.fixture
def own_styles(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    monkeypatch.setattr(catalog, "user_folder", lambda: folder)
    return folder


def test_it_starts_from_the_nearest_style(teach, toy_model, paintings_folder):
    """Taught the very pictures that the gallery knows, it starts from their own codes."""
    body, _ = from_onnx(toy_model)
    for picture, row in (("waves.png", 0), ("bricks.png", 1)):
        out, _ = teach(f"{row}.onnx", paintings_folder / picture, steps=1)
        started = from_onnx(out)[0].codes[0]
        assert int((body.codes - started).square().sum(1).argmin()) == row


def test_a_name_of_the_gallery_is_no_start(teach, toy_model, paintings_folder):
    """`train PICTURE -o bricks.onnx` learns the picture, not on from the gallery's bricks."""
    codes = [from_onnx(teach(f"{name}.onnx", paintings_folder / "waves.png", steps=1)[0])[0].codes for name in NAMES]
    np.testing.assert_array_equal(*(code.detach().numpy() for code in codes))


def test_a_gallery_is_not_replaced_by_what_is_taught_to_it(teach, toy_model, tmp_path):
    shutil.copy(toy_model, tmp_path / "mine.onnx")
    before = (tmp_path / "mine.onnx").read_bytes()
    with pytest.raises(RtstyleError, match=r"mine\.onnx"):
        teach(model=str(tmp_path / "mine.onnx"), force=True)
    assert (tmp_path / "mine.onnx").read_bytes() == before


def test_full_trains_the_body_too(teach, toy_model):
    out, _ = teach(full=True)
    assert from_onnx(out)[0].body_sha256() != from_onnx(toy_model)[0].body_sha256()
    assert not json.loads(properties(out)["rtstyle.training"])["frozen_body"]


def test_the_same_numbers_twice(teach):
    first, second = (teach(name)[0].read_bytes() for name in ("one.onnx", "two.onnx"))
    assert from_bytes(first) == from_bytes(second)


def from_bytes(content):
    model = onnx.load_from_string(content)
    props = {prop.key: prop.value for prop in model.metadata_props}
    return [t.SerializeToString() for t in model.graph.initializer], props["rtstyle.codes"]


def test_ctrl_c_keeps_what_was_learned_and_resume_goes_on(teach, tmp_path):
    def interrupt(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(RtstyleError, match=r"stopped at step 3 of 6: .*mine\.onnx is as far as it got"):
        teach(steps=6, callback=interrupt)
    assert catalog.load(str(tmp_path / "mine.onnx")).styles[0].name == "mine"
    out, _ = teach(steps=6, resume=True)
    whole, _ = teach("whole.onnx", steps=6)
    assert from_bytes(out.read_bytes()) == from_bytes(whole.read_bytes())
    with pytest.raises(RtstyleError, match="made by another recipe"):
        teach(steps=6, resume=True, full=True)


def test_another_runs_model_is_replaced_only_by_a_finished_one(teach, tmp_path):
    good, _ = teach(steps=6)
    before = good.read_bytes()
    with pytest.raises(RtstyleError, match=r"mine\.partial\.onnx is as far as it got"):
        teach(steps=6, force=True, callback=interrupt_after(2))
    assert good.read_bytes() == before and catalog.load(str(tmp_path / "mine.partial.onnx"))
    with pytest.raises(RtstyleError, match=r"mine\.onnx already exists: add `force=True`"):
        teach(steps=6, resume=True)  # with further steps than the run has: not its own
    assert good.read_bytes() == before
    teach(steps=6, resume=True, force=True)
    assert from_bytes(good.read_bytes()) == from_bytes(before)
    teach(steps=6, resume=True)


def test_what_somebody_wrote_meanwhile_stays(teach, tmp_path):
    out = tmp_path / "mine.onnx"
    with pytest.raises(
        RtstyleError, match=r"mine\.onnx was written by somebody else .* the result is .*\.partial\.onnx"
    ):
        teach(callback=lambda progress: out.write_text("theirs"))
    assert out.read_text() == "theirs"
    assert catalog.load(str(tmp_path / "mine.partial.onnx")).styles[0].name == "mine"


def test_the_model_knows_its_own_picture(teach, paintings_folder, photos_folder, vgg16_path):
    """`evaluate mine.onnx` needs no recipe."""
    from rtstyle.export.evaluate.evaluation import evaluate_model

    out, _ = teach()
    result = evaluate_model(out, photos_folder, paintings_folder, vgg=vgg16_path, size=64, limit=1)
    assert [score.name for score in result.scores] == ["mine"]


TALKATIVE = "from rtstyle.cli import main, progress; progress.LINE_SECONDS = 0; main()"


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_a_job_in_the_background_learned(
    toy_recipe_path, photos_folder, paintings_folder, fake_vgg, tmp_path, number
):
    arguments = ("--recipe", toy_recipe_path, "--content", photos_folder, "--pictures", paintings_folder)
    arguments = (*arguments, "--vgg", fake_vgg, "--steps", "100000", "-o", tmp_path / "mine.onnx")
    command = shlex.join(map(str, (sys.executable, "-c", TALKATIVE, "train", *arguments)))
    (tmp_path / "log").touch()
    script = f"{command} 2> {shlex.quote(str(tmp_path / 'log'))} & echo $!; wait $!; echo $?"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)  # `&` there ignores SIGINT
    pid = int(shell.stdout.readline())
    try:
        end = time.monotonic() + 60
        while "3/100000 steps" not in (log := (tmp_path / "log").read_text()):
            assert time.monotonic() < end and shell.poll() is None, log
            time.sleep(0.05)
        os.kill(pid, number)
        code = int(shell.communicate(timeout=60)[0])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    log = (tmp_path / "log").read_text()
    assert code == 130 and re.search(r"stopped at step \d+ of 100000: .*mine\.onnx is as far as it got", log), log
    assert len(catalog.load(str(tmp_path / "mine.onnx")).styles) == 2


def test_absolute_losses_are_not_balanced(toy_model):
    """Their weights are of another scale: 1e11 for Johnson's."""
    model = catalog.load(str(toy_model))
    assert run.teaching_recipe(model, full=False).loss.balance == run.BALANCE
    props = dict(properties(toy_model))
    training = json.loads(props["rtstyle.training"])
    training["loss"] |= {"absolute": True, "style_weight": 1e11}
    copy = onnx.load(str(toy_model))
    onnx.helper.set_model_props(copy, props | {"rtstyle.training": json.dumps(training)})
    onnx.save(copy, str(toy_model.with_name("absolute.onnx")))
    loss = run.teaching_recipe(catalog.load(str(toy_model.with_name("absolute.onnx"))), full=False).loss
    assert (loss.absolute, loss.balance, loss.style_weight) == (True, 0.0, 1e11)


def test_a_style_is_as_bold_as_can_be_recognised_unless_it_has_a_weight(toy_model):
    """For bodies that were trained with the structure loss: `live` was, the toy was not."""
    live, toy = catalog.load("live"), catalog.load(str(toy_model))
    plans = [
        run.teaching_recipe(live, full=False),
        run.teaching_recipe(live, full=False, style_weight=5.0),
        run.teaching_recipe(toy, full=False),
    ]
    assert [plan.stage[0].structure_goal for plan in plans] == [run.STRUCTURE_GOAL, None, None]


def test_a_style_is_learned_with_the_weights_with_which_the_training_ended():
    """But for steadiness, which would take twice the time."""
    live = catalog.load("live")
    last = read_training(properties(live.path))["stages"][-1]
    loss = run.teaching_recipe(live, full=False).loss
    assert (loss.content_weight, loss.lattice_weight) == (last["content_weight"], last["lattice_weight"])
    assert last["temporal_weight"] and not loss.temporal_weight


def test_steps_count_for_recipes_that_say_passes(photos_folder, paintings_folder, fake_vgg, tmp_path, caplog):
    from conftest import TOY_RECIPE

    recipe = tmp_path / "passes.toml"
    recipe.write_text("passes = 5\n" + TOY_RECIPE, encoding="utf-8")
    caplog.set_level(logging.INFO, "rtstyle")
    options = {"device": "cpu", "precision": "fp32", "vgg": fake_vgg}
    train_model(recipe, photos_folder, paintings_folder, tmp_path / "out.onnx", steps=2, **options)
    assert " 2 steps on cpu" in caplog.messages[0]


def test_a_smaller_batch_than_the_recipe_s(toy_recipe_path, photos_folder, paintings_folder, fake_vgg, tmp_path):
    options = {"device": "cpu", "precision": "fp32", "vgg": fake_vgg, "steps": 1}
    for batch in (None, 3):
        out = tmp_path / f"{batch}.onnx"
        train_model(toy_recipe_path, photos_folder, paintings_folder, out, batch=batch, **options)
        stages = json.loads(properties(out)["rtstyle.training"])["stages"]
        assert [stage["batch"] for stage in stages] == ([batch] * 2 if batch else [2, 1])


def test_without_photographs_it_learns_from_bundled_ones(teach, monkeypatch):
    monkeypatch.setattr(data, "default_pictures", lambda size: data_pictures(size))
    _, reports = teach(content=None, steps=1)
    assert reports[0].startswith("no photographs given: learning from the few that come with rtstyle")


def data_pictures(size):
    return [
        torch.full((3, 64, 64), 100, dtype=torch.uint8),
        torch.arange(3 * 64 * 64).remainder(255).byte().view(3, 64, 64),
    ]


def test_bundled_content_is_varied_and_always_the_same():
    pictures = data.default_pictures(96)
    again = data.default_pictures(96)
    assert len(pictures) >= 40 and all(torch.equal(a, b) for a, b in zip(pictures, again, strict=True))
    assert all(p.dtype == torch.uint8 and p.shape[0] == 3 and min(p.shape[1:]) == 96 for p in pictures)
    means = torch.stack([p.float().mean((1, 2)) for p in pictures])
    assert means.std(0).min() > 20
    assert min(p.float().std() for p in pictures) > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"picture": "lost.jpg"}, "lost.jpg does not exist"),
        ({"picture": "."}, "is a folder: give one picture, or a `recipe`"),
        ({"out": "mine.pth"}, "must be named .onnx"),
        ({"style_weight": -1.0}, "the style weight must be above 0"),
        ({"model": "lost.onnx"}, "the model file lost.onnx does not exist"),
        ({"content": "nowhere"}, "the folder nowhere does not exist"),
    ],
)
def test_what_cannot_be_taught_is_a_sentence(teach, change, words):
    with pytest.raises(RtstyleError, match=words):
        teach(**change)


def test_a_tiny_or_broken_picture_is_a_sentence(teach, tmp_path):
    Image.new("RGB", (20, 300)).save(tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(RtstyleError, match=r"too small \(20x300\): 32 pixels"):
        teach(picture=tmp_path / "tiny.png")
    with pytest.raises(RtstyleError, match="not a readable picture"):
        teach(picture=tmp_path / "broken.png")
    assert not (tmp_path / "mine.onnx").exists()


def test_the_command(call, toy_model, photos_folder, paintings_folder, fake_vgg, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "STAGE", run.Stage(1.0, 48, 2, 48))
    common = ["--content", photos_folder, "--model", toy_model, "--vgg", fake_vgg, "--device", "cpu"]
    picture = paintings_folder / "waves.png"
    code, out, err = call("train", picture, *common, "-o", tmp_path / "sea.onnx", "--steps", "2", "--artist", "Me")
    assert (code, out) == (0, f"{tmp_path / 'sea.onnx'}\n")
    assert re.match(r"1 style, style weight \d+\.\d, 6 photographs, 2 steps on cpu in ", err)
    assert catalog.load(str(tmp_path / "sea.onnx")).styles[0].artist == "Me"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the picture to learn, or a --recipe"),
        (["a.png", "--recipe", "b.toml"], "not both"),
        (["a.png", "--init", "b.onnx"], "--init goes with --recipe"),
        (["a.png", "--batch", "2"], "--batch goes with --recipe"),
        (["--recipe", "b.toml", "--init-model", "a.onnx"], "--init-model goes with the recipe of an encoder"),
        (["--recipe", "b.toml", "--full"], "--full goes with a picture"),
        (["--recipe", "b.toml", "--model", "studio"], "--model goes with a picture"),
        (["--recipe", "b.toml", "--name", "x"], "--name goes with a picture"),
    ],
)
def test_wrong_usage_of_the_command(call, arguments, words):
    code, _, err = call("train", *arguments, "-o", "x.onnx")
    assert code == 2 and words in err
