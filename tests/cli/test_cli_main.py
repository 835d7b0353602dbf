"""The command line as a whole: help, version, exit codes, errors, progress."""

import json
import shutil
import subprocess
import sys

import click
import pytest
from support.helpers import run_python
from support.media_files import timestamps

from rtstyle.cli import COMMANDS, cli
from rtstyle.cli.progress import progress_bar, progress_lines
from rtstyle.media.contact_sheet import bundled_photograph

pytest_plugins = ["support.runtime_fixtures"]


@pytest.mark.parametrize("command", ["", "cam", "video", "image", "demo", "styles", "train", "export", "doctor"])
def test_every_command_has_help(call, command):
    code, out, err = call(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert "Usage: " in out


def test_help_says_what_the_commands_say_of_themselves(call):
    out = call("--help")[1]
    context = click.Context(cli)
    assert list(COMMANDS) == sorted(COMMANDS)
    for name, (_, text) in COMMANDS.items():
        assert cli.get_command(context, name).help.partition("\n\n")[0] == text
        assert f"  {name} " in out
    assert cli.get_command(context, "paint") is None


def test_help_loads_no_command():
    program = "import sys; sys.argv = ['rtstyle', '--help']; from rtstyle.cli import main\n"
    program += "try: main()\nexcept SystemExit: print(*sorted(n for n in sys.modules if n.startswith('rtstyle.')))"
    modules = "rtstyle.cli rtstyle.cli.flags rtstyle.cli.progress rtstyle.errors rtstyle.signals"
    assert run_python("-c", program).stdout.splitlines()[-1] == modules


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
    assert "pip install '.[train]' in rtstyle's folder" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_a_picture_is_polished_for_a_video_without_torch(without_torch, tmp_path, clip):
    shutil.copy(bundled_photograph("coffee"), tmp_path / "coffee.jpg")

    def painted(name, *options):
        done = without_torch("video", clip, name, "-q", "--device", "cpu", "--style", "coffee.jpg", *options)
        assert (done.returncode, done.stderr) == (0, "")
        return (tmp_path / name).read_bytes()

    assert painted("polished.mp4") != painted("at-once.mp4", "--polish", "0")


def test_painting_works_without_torch(without_torch, tmp_path, clip):
    done = without_torch("video", clip, "out.mp4", "-q", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(timestamps(tmp_path / "out.mp4")) == 12
    assert "not installed" in json.loads(without_torch("doctor", "--json").stdout)["training"]["torch"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ there")
def test_a_closed_pipe_is_no_traceback():
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

    monkeypatch.setattr("rtstyle.gallery.catalog.styles", broken)
    code, out, err = call("styles")
    assert (code, out) == (1, "")
    assert err.startswith("rtstyle: ZeroDivisionError: oops") and "RTSTYLE_DEBUG=1" in err


def test_a_system_library_that_is_missing_is_named_with_its_remedy(call, monkeypatch):
    def missing():
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("rtstyle.diagnose.doctor.examine", missing)
    code, out, err = call("doctor")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert "system library is missing (libGL.so.1" in err and "apt install libgl1" in err


def test_progress_in_a_log_is_a_line_now_and_then(capsys):
    now = 0.0
    progress_lines("gatys", "steps")(4, 4)  # however short
    assert capsys.readouterr().err == "gatys: 4/4 steps\n"
    update = progress_lines("training", "steps", clock=lambda: now)
    for step in range(1, 101):
        now = float(step)
        update(step, 100, "total 3.2")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: 30/100 steps, total 3.2, 70 s left",
        "training: 60/100 steps, total 3.2, 40 s left",
        "training: 90/100 steps, total 3.2, 10 s left",
        "training: 100/100 steps, total 3.2",
    ]


def test_the_time_left_is_that_of_what_is_counted_now(capsys):
    """Pictures are prepared fast and trained on slowly; and a run that goes on has done nothing of what it finds."""
    now = 0.0
    update = progress_lines("training", "steps", clock=lambda: now)
    for second, done, total in [(1, 1, 4), (2, 4, 4), (100, 1, 50), (140, 5, 50)]:
        now = second
        update(done, total)
    resumed = progress_lines("training", "steps", clock=lambda: now)
    for second, done in [(200, 900), (240, 904)]:
        now = second
        resumed(done, 1000)
    lines = [line.partition(", ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["", "", "450 s left", "", "960 s left"]


def test_a_total_that_was_corrected_has_its_line(capsys):
    update = progress_lines("clip.mp4", "frames")
    for done, total in [(8, 8), (9, None), (9, 9), (9, 9)]:
        update(done, total)
    assert capsys.readouterr().err == "clip.mp4: 8/8 frames\nclip.mp4: 9/9 frames\n"


def test_totals_that_prove_too_low_are_not_shown(capsys, monkeypatch):
    progress_lines("clip.mp4", "frames", clock=iter(range(0, 900, 60)).__next__)(9, 8)
    assert capsys.readouterr().err == "clip.mp4: 9 frames\n"
    monkeypatch.setenv("FORCE_COLOR", "1")  # a bar, as on a terminal
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar("clip.mp4", unit="frames") as update:
        update(9, 8)
    err = capsys.readouterr().err
    assert "9/9" in err and "9/8" not in err


def test_only_the_whole_has_a_time_left(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar("clip.mp4", unit="frames") as update:
        update(10, 40, "5.0 fps", {"anvil": 7, "bellows": 3})
    rows = capsys.readouterr().err.splitlines()
    assert all("time left" in row for row in rows if "10/40" in row)
    machines = [row for row in rows if "anvil" in row or "bellows" in row]
    assert len(machines) >= 2 and not any("left" in row or ":" in row for row in machines)
