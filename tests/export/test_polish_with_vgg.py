"""Polishing a code: nearer to the picture than where it began, against the frozen body."""

import base64
import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rtstyle.export import run  # noqa: E402
from rtstyle.export.forms import export_model  # noqa: E402
from rtstyle.export.polish import codes, rate, source_for  # noqa: E402
from rtstyle.export.recipe import Stage  # noqa: E402
from rtstyle.gallery import catalog, polish  # noqa: E402

pytest_plugins = ["support.training_fixtures"]


@pytest.fixture
def small_crops(monkeypatch):
    monkeypatch.setattr(run, "STAGE", Stage(crop=48, batch=2, style_size=48))


def test_polishing_changes_the_code_and_leaves_the_body(
    toy_model, paintings_folder, photos_folder, fake_vgg, small_crops
):
    picture = paintings_folder / "bricks.png"
    options = {"content": photos_folder, "vgg": fake_vgg}
    steps = codes(picture, toy_model, **options)
    first = next(steps)
    later = [next(steps) for _ in range(5)][-1]
    assert first.dtype == np.float32 and first.shape == catalog.load(str(toy_model)).styles[0].code.shape
    assert np.abs(later - first).max() > 1e-3
    short = list(codes(picture, toy_model, 0.5, **options))
    assert short and np.isfinite(short[-1]).all(), "it ends when its time is over"


def test_the_learning_rate_falls_towards_the_end():
    assert rate(0, 0.0, 60.0) == pytest.approx(run.CODE_RATE)
    assert rate(9, 60.0, 60.0) < 0.1 * rate(0, 0.0, 60.0)
    assert rate(400, 1e9, float("inf")) == pytest.approx(run.CODE_RATE / np.sqrt(5))


def run_program(*arguments, start=("-m", "rtstyle.export.polish"), **environment):
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


QUICK = """
import sys
from rtstyle.export import polish, run
from rtstyle.gallery import polish as program

run.STAGE = run.Stage(crop=48, batch=2, style_size=48)
program.REPORT_SECONDS, program.NICENESS = 0.01, 0
polish.main(sys.argv[1:])
"""


def test_the_program_writes_codes_as_json_lines(toy_model, paintings_folder, fake_vgg):
    weights = {"RTSTYLE_VGG16": str(fake_vgg)}
    with run_program(paintings_folder / "bricks.png", toy_model, start=("-c", QUICK), **weights) as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.kill()
    first, second = (np.frombuffer(base64.b64decode(line["code"]), "<f4") for line in lines)
    assert 1 <= lines[0]["step"] < lines[1]["step"] and np.abs(first - second).max() > 0
    assert first.shape == catalog.load(str(toy_model)).styles[0].code.shape


def test_without_weights_the_eyes_of_the_encoder_do_it_and_nothing_is_fetched(monkeypatch, tmp_path, fake_vgg):
    monkeypatch.setenv("RTSTYLE_VGG16", str(tmp_path / "gone.safetensors"))
    assert source_for("live") is polish.codes
    monkeypatch.setenv("RTSTYLE_VGG16", str(fake_vgg))
    assert source_for("live") is codes
    export_model("live", tmp_path / "half.onnx", half=True)
    assert source_for(tmp_path / "half.onnx") is polish.codes, "weights that were rounded cannot be trained further"
