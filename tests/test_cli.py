"""The commands as a user meets them: results on standard output, messages on standard error."""

import json
import sys
from pathlib import Path

import pytest
from helpers import run_python, tree
from media_files import packets, psnr, rgb_frames, stamps

from rtstyle.catalog import model_path

pytest_plugins = ["runtime_fixtures"]

SAMPLE = model_path("live").with_name("sample.mp4")


def test_styles_as_json(call):
    code, out, err = call("styles", "--json")
    found = {card["name"]: card for card in json.loads(out)}
    assert (code, err) == (0, "")
    assert {"starry-night", "irises", "great-wave", "scream"} <= set(found)
    assert len(found) >= 6
    for card in found.values():
        assert card["artist"] and card["year"] and card["licence"], card


def test_styles_as_a_table(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = call("styles")
    assert (code, err) == (0, "")
    line = next(line for line in out.splitlines() if "great-wave" in line)
    assert "Hokusai" in line and "public domain" in line


def test_the_sample_is_small_and_has_sound():
    assert SAMPLE.stat().st_size < 500_000
    assert len(stamps(SAMPLE)) > 60 and len(packets(SAMPLE)) > 50


def test_demo_without_a_camera_paints_the_bundled_clip(tmp_path, call, without_camera):
    out = tmp_path / "demo.mp4"
    code, told, err = call("demo", "-o", out, "--style", "great-wave", "--work-height", "90")
    assert code == 0
    assert str(out.resolve()) in told
    assert "painting great-wave on" in err
    assert set(tree(tmp_path)) == {"demo.mp4"}
    assert stamps(out) == stamps(SAMPLE)
    assert [c for _, c in packets(out)] == [c for _, c in packets(SAMPLE)]
    assert psnr(rgb_frames(out)[::30], rgb_frames(SAMPLE)[::30]) < 22, "hardly painted"


def test_video_says_its_messages_on_standard_error(tmp_path, call, clip):
    code, out, err = call("video", clip, tmp_path / "out.mp4", "--device", "cpu")
    assert (code, out) == (0, "")
    assert "painting starry-night on cpu (asked for)" in err
    assert "12/12 frames" in err and "fps" in err
    assert err.splitlines()[-1].startswith(f"{tmp_path / 'out.mp4'}: 12 frames in ")


def test_auto_says_what_it_took_and_why(tmp_path, call, clip):
    _, _, err = call("video", clip, tmp_path / "out.mp4")
    assert "(auto: " in err


@pytest.mark.parametrize("command", ["video", "image", "folder"])
def test_quiet_says_nothing(tmp_path, call, clip, command):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (32, 24), "olive").save(tmp_path / "photos/a.png")
    arguments = {
        "video": ("video", clip, tmp_path / "out.mp4"),
        "image": ("image", tmp_path / "photos/a.png", tmp_path / "out.png"),
        "folder": ("image", tmp_path / "photos", tmp_path / "out"),
    }[command]
    assert call(*arguments, "--quiet") == (0, "", "")
    assert any(tmp_path.glob("out*"))


def test_options_reach_the_net(tmp_path, call, clip):
    names = {
        "plain": (),
        "none": ("--strength", "0"),
        "style": ("--style", "scream"),
        "mix": ("--style", "starry-night:0.5,scream:0.5"),
        "colour": ("--keep-color",),
        "strokes": ("--work-height", "48"),
        "file": ("--style", f"{model_path('live')}#scream"),
    }
    pictures = {}
    for name, options in names.items():
        assert call("video", clip, tmp_path / f"{name}.mp4", "-q", *options)[0] == 0
        pictures[name] = rgb_frames(tmp_path / f"{name}.mp4")
    assert psnr(pictures["none"], rgb_frames(clip)) > 35
    assert (pictures.pop("file") == pictures["style"]).all()
    for name in names.keys() - {"plain", "file"}:
        assert psnr(pictures[name], pictures["plain"]) < 30, name
    assert psnr(pictures["mix"], pictures["style"]) > psnr(pictures["plain"], pictures["style"])


def test_force_replaces_a_file(tmp_path, call, clip):
    (tmp_path / "out.mp4").write_text("an earlier result")
    assert call("video", clip, tmp_path / "out.mp4", "-q", "--force") == (0, "", "")
    assert len(stamps(tmp_path / "out.mp4")) == 12


def test_a_folder_of_pictures(tmp_path, call):
    from PIL import Image

    (tmp_path / "in").mkdir()
    Image.new("RGB", (32, 24), "olive").save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_text("not a picture")
    code, out, err = call("image", tmp_path / "in", tmp_path / "out")
    assert (code, out) == (0, "")
    assert "skipped: " in err and "b.png is not a readable picture" in err
    assert "1 pictures painted, 1 skipped" in err
    assert set(tree(tmp_path / "out")) == {"a.png"}


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
    monkeypatch.setattr("rtstyle.catalog.user_folder", lambda: tmp_path)
    (tmp_path / "broken.onnx").write_text("not a net")
    code, out, _ = call("doctor", "--json")
    assert code == 1
    assert any("broken.onnx" in problem for problem in json.loads(out)["problems"])


@pytest.mark.parametrize("command", ["", "video", "image", "demo", "styles", "train", "export", "doctor"])
def test_every_command_has_help(call, command):
    code, out, err = call(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert "Usage: " in out


def test_version(call):
    from rtstyle import __version__

    code, out, _ = call("--version")
    assert code == 0 and __version__ in out


# Runs at the start of the process and hides torch from it, as if the base package alone were installed.
HIDE_TORCH = """
import importlib.abc, importlib.util, sys

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "torch" else find_spec(name, package)
"""


@pytest.fixture
def without_torch(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE_TORCH)

    def run(*arguments):
        return run_python("-m", "rtstyle", *arguments, cwd=tmp_path, extra={"PYTHONPATH": str(folder)})

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--recipe", "r.toml", "--content", "photos", "-o", "out.onnx"),
        ("export", "run.pt", "out.onnx"),
    ],
    ids=["train", "export"],
)
def test_training_without_torch_is_one_sentence(without_torch, tmp_path, arguments):
    done = without_torch(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"rtstyle: rtstyle {arguments[0]} needs torch")
    assert "pip install 'rtstyle[train]'" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_painting_works_without_torch(without_torch, tmp_path, clip):
    done = without_torch("video", clip, "out.mp4", "-q", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(stamps(tmp_path / "out.mp4")) == 12
    assert "not installed" in json.loads(without_torch("doctor", "--json").stdout)["training"]["torch"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ there")
def test_a_closed_pipe_is_no_traceback():
    import subprocess

    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "rtstyle", "styles", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)
    assert b"Traceback" not in err


def test_a_bug_says_how_to_see_more(call, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("rtstyle.catalog.styles", broken)
    code, out, err = call("styles")
    assert (code, out) == (1, "")
    assert err.startswith("rtstyle: ZeroDivisionError: oops") and "RTSTYLE_DEBUG=1" in err


def test_the_current_folder_is_the_default_place(tmp_path, call, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("video", clip, "out.mp4", "-q")[0] == 0
    assert Path("out.mp4").is_file()
