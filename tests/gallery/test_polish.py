"""Polishing the code of a picture without torch."""

import base64
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from rtstyle import UsageError
from rtstyle.errors import ModelError
from rtstyle.gallery import catalog, encoder, polish

FEW = 6


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """Coarse orange and blue squares with dark joints."""
    random = np.random.default_rng(0)
    squares = np.array([(240, 130, 20), (30, 120, 160)], np.uint8)[random.integers(0, 2, (8, 10))]
    large = squares.repeat(40, 0).repeat(40, 1)
    large[::20] = large[:, ::20] = 20
    path = tmp_path_factory.mktemp("polish") / "squares.png"
    cv2.imwrite(str(path), large[..., ::-1])
    return path


@pytest.fixture(scope="module")
def polished(picture):
    """The code after every one of a few steps."""
    steps = polish.codes(picture, "live")
    return [next(steps) for _ in range(FEW)]


def loss_of(picture, code):
    """The mean loss over other parts of the photographs than were learned from."""
    session = encoder.session(encoder.encoder_path().with_name(polish.FILE))
    patches = polish._Patches(session.get_inputs()[0].shape[1] // 2, seed=99)
    seen = dict(encoder.seen_of(picture)) | {"code": code}
    return np.mean([session.run(["loss"], {"photograph": patches.draw(), **seen})[0] for _ in range(4)])


def test_a_few_steps_bring_the_painting_nearer_to_the_picture(picture, polished):
    assert loss_of(picture, polished[-1]) < 0.9 * loss_of(picture, encoder.code_of(picture))


def test_the_same_seed_gives_the_same_codes_and_another_others(picture, polished):
    again = polish.codes(picture, "live")
    assert all(np.array_equal(next(again), code) for code in polished[:2])
    assert not np.array_equal(next(polish.codes(picture, "live", seed=1)), polished[0])


def test_what_the_encoder_said_stays(picture, polished):
    code = encoder.code_of(picture)
    assert not code.flags.writeable and not np.array_equal(code, polished[0])
    assert np.array_equal(code, catalog.resolve(str(picture)).code)


def test_it_ends_with_its_time_or_with_enough_steps(picture, monkeypatch):
    calls = []
    code = polish.polished(str(picture), "live", 0.01, progress=lambda done, total: calls.append((done, total)))
    assert calls == 2 * [(0.01, 0.01)] and np.isfinite(code).all(), "one step at least"
    assert np.isfinite(polish.polished(str(picture), "live", 0)).all()
    monkeypatch.setattr(polish, "STEPS", 2)
    assert len(list(polish.codes(picture, "live"))) == 2


def test_the_rate_falls_with_steps_and_with_time():
    assert polish.rate(0, 0) == pytest.approx(polish.LEARNING_RATE)
    assert polish.rate(1, 0.2) == polish.rate(0.1, 1) == pytest.approx(0.05 * polish.LEARNING_RATE)
    assert polish.rate(0.5, 0) > polish.rate(0.5, 0.7) > 0


@pytest.mark.parametrize("style", ["great-wave", "squares.png:0.5,great-wave", None])
def test_only_a_picture_can_be_polished(style):
    with pytest.raises(UsageError, match="only a picture as the style can be polished"):
        polish.polished(style, "live", 1.0)


def test_another_body_is_refused(picture):
    with pytest.raises(UsageError, match="a style of studio cannot be polished"):
        next(polish.codes(picture, "studio"))


def test_an_installation_without_the_file_says_so(picture, tmp_path, monkeypatch):
    shutil.copy(encoder.encoder_path(), tmp_path / "encoder.onnx")
    monkeypatch.setattr(encoder, "encoder_path", lambda: tmp_path / "encoder.onnx")
    with pytest.raises(ModelError, match=r"carries no encoder-polish\.onnx"):
        next(polish.codes(picture, "live"))


def test_the_file_of_another_encoder_is_refused(picture, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    here = encoder.encoder_path()
    model = onnx.load(here)
    onnx.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | {"rtstyle.encoder_sha256": "0"})
    onnx.save(model, tmp_path / here.name)
    shutil.copy(here.with_name(polish.FILE), tmp_path)
    monkeypatch.setattr(encoder, "encoder_path", lambda: tmp_path / here.name)
    with pytest.raises(ModelError, match=r"encoder-polish\.onnx was made with another encoder than encoder\.onnx"):
        next(polish.codes(picture, "live"))


def test_the_program_writes_codes_as_json_lines_until_it_has_enough(picture):
    program = (
        "import sys; from rtstyle.gallery import polish\n"
        "polish.STEPS, polish.REPORT_SECONDS, polish.NICENESS = 3, 0, 0; polish.main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(picture), "live"], capture_output=True, text=True, timeout=120, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    codes = [np.frombuffer(base64.b64decode(line["code"]), "<f4") for line in lines]
    assert codes[0].shape == encoder.code_of(picture).shape and not np.array_equal(codes[0], codes[-1])


def test_the_program_ends_with_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rtstyle.gallery.polish", str(tmp_path / "gone.jpg"), "live"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.startswith("rtstyle: ") and "Traceback" not in done.stderr
