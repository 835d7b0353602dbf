"""doctor."""

import json

import pytest

from rtstyle.diagnose import doctor
from rtstyle.gallery import catalog
from rtstyle.runtime import devices

pytest_plugins = ["support.runtime_fixtures"]


def test_doctor_as_json_can_be_parsed(call):
    code, out, _ = call("doctor", "--json")
    report = json.loads(out)
    assert code == (1 if report["problems"] else 0)
    assert report["devices"]["cpu"].startswith("paints 640x360 in ")
    assert report["models"]["live"].endswith(" styles")
    assert report["packages"]["numpy"] and report["media"]["OpenCV"]


def test_doctor_as_a_table(call):
    code, out, _ = call("doctor")
    assert "numpy" in out and "paints 640x360" in out
    assert ("no problems found" in out) == (code == 0)


@pytest.mark.skipif(devices.cuda_problem() is None, reason="CUDA is there")
def test_doctor_says_what_works_where_the_environment_names_what_does_not(call, monkeypatch):
    monkeypatch.setenv("RTSTYLE_DEVICE", "cuda")
    code, out, _ = call("doctor", "--json")
    report = json.loads(out)
    assert (code, report["devices"]["auto"]) == (1, None)
    assert report["devices"]["cpu"].startswith("paints 640x360 in ")
    assert sum("cuda is not available: " in problem for problem in report["problems"]) == 1


def test_doctor_tells_damaged_models_from_those_that_are_not_there(monkeypatch, tmp_path):
    real, damaged, problems = catalog.model_path("live"), tmp_path / "studio.onnx", []
    monkeypatch.setattr(catalog, "model_path", {"live": real, "studio": damaged}.get)
    damaged.write_bytes(real.read_bytes()[:1000])
    assert doctor._models(problems)["studio"] == "damaged"
    assert len(problems) == 1 and "studio.onnx is not an ONNX model" in problems[0]
    monkeypatch.undo()
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    damaged.unlink()
    assert doctor._models(problems := [])["studio"] == "not in this installation" and not problems


def test_doctor_prints_gpus(capsys):
    parts = {name: {} for name in ("packages", "models", "media", "training")}
    host = {"rtstyle": "1", "python": "3", "system": "Linux", "problems": [], "devices": {"cards": ["A", "B"]}}
    doctor.print_report(host | parts)
    assert "GPUs" in (out := capsys.readouterr().out) and "cards" not in out


def test_doctor_reports_broken_styles_of_the_user(call, tmp_path, monkeypatch):
    monkeypatch.setattr("rtstyle.gallery.catalog.user_folder", lambda: tmp_path)
    (tmp_path / "broken.onnx").write_text("not a net")
    code, out, _ = call("doctor", "--json")
    assert code == 1
    assert any("broken.onnx" in problem for problem in json.loads(out)["problems"])
