"""What a training leaves on disk: resumed to the same result, never broken, never overwritten."""

import dataclasses
import signal
import sys

import pytest

torch = pytest.importorskip("torch")

from support.helpers import SHORT, assert_same_run, interrupt_after, read_losses, with_loss  # noqa: E402

from rtstyle.errors import RtstyleError  # noqa: E402
from rtstyle.export import train  # noqa: E402
from rtstyle.export.checkpoint import averaged, load_checkpoint  # noqa: E402

pytest_plugins = ["support.training_fixtures"]


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


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself SIGINT there")
@pytest.mark.parametrize("where", ["batch", "step", "follow"])
def test_a_signal_in_a_step_waits_for_its_end(trainer_in, short_recipe, monkeypatch, where):
    """A step is taken wholly, the average of the weights included, or not at all."""
    whole = trainer_in("whole", short_recipe)
    whole.run()
    parts = trainer_in("parts", short_recipe)
    owner, name = {"batch": parts.photos, "step": parts.optimizer, "follow": train}[where], where
    act, calls = getattr(owner, name), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return act(*arguments)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        parts.run()
    monkeypatch.setattr(owner, name, act)
    resumed = trainer_in("parts", short_recipe, resume=True)
    assert resumed.step == 3
    resumed.run()
    assert_same_run(whole, resumed)


def test_other_photographs_do_not_resume(trainer_in, short_recipe):
    trainer_in("run", short_recipe).run()
    with pytest.raises(RtstyleError, match="learned from other photographs: resume with the same"):
        trainer_in("run", short_recipe, max_photographs=3, resume=True)


def test_curves_that_were_edited_do_not_stop_a_run(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    trainer.run(None)
    (trainer.run_dir / "losses.csv").write_text("step;total\n1;2,5\n")
    assert trainer_in("run", short_recipe, resume=True).rows == []


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
    with pytest.raises(RtstyleError, match="add `resume=True`"):
        trainer_in("run", short_recipe)
    assert trainer.checkpoint.read_bytes() == before


def test_a_run_that_replaces_another_is_not_gone_on_from_in_its_place(trainer_in, short_recipe):
    """Killed before its first checkpoint."""
    trainer = trainer_in("run", short_recipe)
    trainer.train_step()
    trainer.save()
    trainer_in("run", short_recipe, replace=True)
    with pytest.raises(RtstyleError, match="there is nothing to resume"):
        trainer_in("run", short_recipe, resume=True)


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


def test_nothing_to_resume_is_said(trainer_in, short_recipe):
    with pytest.raises(RtstyleError, match="nothing to resume"):
        trainer_in("empty", short_recipe, resume=True)


def test_other_recipe_does_not_resume(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(2))
    before = trainer.checkpoint.read_bytes()
    others = [dataclasses.replace(short_recipe, **change) for change in ({"learning_rate": 1e-3}, {"seed": 9})]
    for other in (*others, with_loss(short_recipe, tv_weight=2)):
        with pytest.raises(RtstyleError, match="made by another recipe"):
            trainer_in("run", other, resume=True)
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


def test_a_checkpoint_with_another_optimizer_is_refused(trainer_in, short_recipe):
    """Such as one of a version that gave codes no learning rate of their own."""
    trainer = trainer_in("run", short_recipe)
    trainer.optimizer = torch.optim.Adam([{"params": trainer.learning(), "pace": 1.0}])
    trainer.train_step()
    trainer.save()
    with pytest.raises(RtstyleError, match="another version of rtstyle: start afresh"):
        trainer_in("run", short_recipe, resume=True)


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


@pytest.mark.parametrize("narrow", ["fp32", "bf16"])
def test_a_resumed_run_keeps_its_precision(trainer_in, short_recipe, narrow):
    trainer = trainer_in("run", short_recipe, precision=narrow)
    trainer.train_step()
    trainer.save()
    assert trainer_in("run", short_recipe, precision="auto", resume=True).precision == narrow


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


def test_the_averaged_net_is_in_the_checkpoint(trainer_in, short_recipe):
    """Without the codes of what was only auxiliary on."""
    auxiliary = [dataclasses.replace(short_recipe.style[1], name="exercise")]
    trainer = trainer_in("run", dataclasses.replace(short_recipe, style=short_recipe.style[:1], auxiliary=auxiliary))
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(2))
    state = load_checkpoint(trainer.checkpoint)
    net = averaged(state["average"], state["description"])
    assert not net.training and net.config == short_recipe.config
    for name, weight in trainer.average.items():
        expected = weight[:1] if name == "codes" else weight
        assert torch.equal(net.state_dict()[name], expected), name


def test_diverged_run_keeps_the_last_good_checkpoint(trainer_in, short_recipe):
    trainer = trainer_in("run", short_recipe)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_after(2))
    good = trainer.checkpoint.read_bytes()
    resumed = trainer_in("run", short_recipe, resume=True)
    with torch.no_grad():
        resumed.net.narrow.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(RtstyleError, match="became NaN or infinite"):
        resumed.run()
    assert resumed.checkpoint.read_bytes() == good
    state = load_checkpoint(resumed.checkpoint)
    assert all(torch.isfinite(weight).all() for weight in state["net"].values())
    trainer_in("run", short_recipe, resume=True).run()


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
