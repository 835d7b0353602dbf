"""doctor."""

import json

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


def test_doctor_reports_broken_styles_of_the_user(call, tmp_path, monkeypatch):
    monkeypatch.setattr("rtstyle.gallery.catalog.user_folder", lambda: tmp_path)
    (tmp_path / "broken.onnx").write_text("not a net")
    code, out, _ = call("doctor", "--json")
    assert code == 1
    assert any("broken.onnx" in problem for problem in json.loads(out)["problems"])
