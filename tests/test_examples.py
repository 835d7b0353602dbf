"""The scripts in examples/, each run as a newcomer would run it."""

import re
import runpy
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from support.helpers import run_python

from rtstyle import Stylizer

pytest_plugins = ["support.runtime_fixtures", "support.training_fixtures"]

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name, *arguments, **extra):
    done = run_python(ROOT / "examples" / name, *arguments, extra=extra)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.fixture
def photograph(photos_folder):
    return photos_folder / "photo0.png"  # 96x64


def test_frame(tmp_path, photograph):
    output = run("frame.py", photograph, tmp_path / "painted.png")
    photo, name, mix, code, half = np.split(pixels(tmp_path / "painted.png"), 5, axis=1)
    np.testing.assert_array_equal(photo, pixels(photograph))
    assert np.abs(half - (photo + name) / 2).max() <= 1
    different = [np.abs(one - other).mean() for one, other in ((photo, name), (name, mix), (mix, code))]
    assert min(different) > 5 and "painted.png" in output


def test_camera(tmp_path, clip):
    output = run("camera.py", clip, "--save", tmp_path / "drift.mp4", "--work-height", 48)
    assert output == "12 frames painted\n"
    with av.open(str(tmp_path / "drift.mp4")) as container:
        sizes = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert sizes == [(160, 96)] * 12


def test_camera_that_is_not_there(tmp_path):
    done = run_python(ROOT / "examples" / "camera.py", tmp_path / "none.mp4")
    assert done.returncode == 2 and "none.mp4 cannot be opened" in done.stderr


def test_video(tmp_path, clip):
    assert "12 frames in " in run("video.py", clip, tmp_path / "painted.mp4")
    with av.open(str(tmp_path / "painted.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert len(list(container.decode(video=0))) == 12


def test_video_that_is_none(tmp_path):
    (tmp_path / "text.mp4").write_text("milk, bread")
    done = run_python(ROOT / "examples" / "video.py", tmp_path / "text.mp4", tmp_path / "painted.mp4")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "text.mp4" in done.stderr


def test_new_style(
    tmp_path, photograph, photos_folder, paintings_folder, toy_recipe_path, fake_vgg, monkeypatch, capsys
):
    """In this process, so that the crops can be small."""
    pytest.importorskip("torch")
    from rtstyle.export import run as training

    toy = {"device": "cpu", "precision": "fp32", "vgg": fake_vgg}
    model = tmp_path / "toy.onnx"
    training.train_model(toy_recipe_path, photos_folder, paintings_folder, model, steps=2, **toy)
    monkeypatch.setattr(training, "STAGE", training.Stage(1.0, 48, 2, 48))
    monkeypatch.setenv("RTSTYLE_VGG16", str(fake_vgg))
    arguments = [paintings_folder / "bricks.png", photograph, tmp_path / "mine.onnx", "--photos", photos_folder]
    monkeypatch.setattr("sys.argv", ["new_style.py", *map(str, arguments), "--model", str(model), "--steps", "2"])
    runpy.run_path(str(ROOT / "examples" / "new_style.py"), run_name="__main__")

    output = capsys.readouterr().out
    assert "step 2 of 2: loss " in output and "mixed with waves" in output
    photo, new, mixed = np.split(pixels(tmp_path / "mine.png"), 3, axis=1)
    np.testing.assert_array_equal(photo, pixels(photograph))
    np.testing.assert_array_equal(new, Stylizer(str(tmp_path / "mine.onnx"), device="cpu")(photo.astype(np.uint8)))
    assert (new != mixed).any()


def test_the_onnx_file_without_rtstyle(tmp_path, photograph, stylizer):
    """What it paints is what rtstyle paints."""
    (tmp_path / "rtstyle.py").write_text("raise ImportError('this example does without')")
    model = stylizer.model.path
    run("onnx_only.py", model, "starry-night", photograph, tmp_path / "painted.png", PYTHONPATH=str(tmp_path))
    np.testing.assert_array_equal(pixels(tmp_path / "painted.png"), stylizer(pixels(photograph).astype(np.uint8)))


def test_onnx_style_that_is_not_there(tmp_path, photograph, stylizer):
    arguments = (stylizer.model.path, "candy", photograph, tmp_path / "painted.png")
    done = run_python(ROOT / "examples" / "onnx_only.py", *arguments)
    assert done.returncode == 2 and "no style candy: it has starry-night" in done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_short_run_here_and_named_in_the_docs(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    assert re.search(rf'"{re.escape(path.name)}"', Path(__file__).read_text(encoding="utf-8"))
    assert path.name in (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
