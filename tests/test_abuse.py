"""The harness of benchmarks/abuse, on a few of its runs; and that it finds fault with what deserves it."""

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from support.helpers import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, signals and limits as Linux has them")

ABUSE = Path(__file__).resolve().parents[1] / "benchmarks/abuse"
FEW = {
    "mutants": ("--mutants", 24),  # two of each kind of clip
    "kills": ("--kills", 2),
    "signals": ("--only", "(video SIGINT|cam SIGTERM|image SIGHUP) 0.0 s after a file"),
    "disks": ("--only", "(cam within 0|image within 4096) bytes"),
    "models": ("--only", "^(cycle|external data outside|no pixels)$"),
    "servers": ("--only", "^(404|resets at once|part of 2 GB, sent)$"),
    "pictures": ("--only", "^(turned 6|half|zip bomb)"),
}


def run(*arguments):
    ended = run_python(ABUSE, *arguments)
    rows = re.findall(r"^\| (\w+) \| (\d+) \| .* \| (\d+) \|$", ended.stdout, re.MULTILINE)
    return ended, {section: (int(runs), int(faults)) for section, runs, faults in rows}


@pytest.mark.real_time
@pytest.mark.parametrize("section", FEW)
def test_a_few_runs_of_every_section_pass(section):
    ended, counts = run(section, *FEW[section])
    assert ended.returncode == 0, ended.stderr[-2000:]
    runs, faults = counts[section]
    assert runs >= 2 and not faults


def test_what_fails_makes_the_harness_fail(tmp_path):
    program = tmp_path / "rtstyle"
    program.write_text(f"#!{sys.executable}\nraise KeyError('a bug')\n")
    os.chmod(program, stat.S_IRWXU)
    ended, counts = run("models", "--only", "^(empty|text)$", "--rtstyle", program)
    assert ended.returncode == 1 and counts == {"models": (2, 2)}
    assert "models: text: says 'Traceback (most recent call last)': KeyError: 'a bug'" in ended.stderr


def test_a_folder_with_something_in_it_is_no_place_to_work(tmp_path):
    mine = tmp_path / "pictures" / "mine.png"
    mine.parent.mkdir()
    mine.touch()
    ended, _ = run("models", "--only", "^empty$", "--keep", tmp_path)
    assert ended.returncode == 2 and "is there and no empty folder: choose a new one" in ended.stderr
    assert mine.exists()


def test_what_an_interrupted_video_keeps_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ABUSE))
    from bench import Ended
    from clips import make_clip
    from jobs import interrupted_fault

    ended = Ended(130, "rtstyle: interrupted", 1.0, 1 << 20)
    make_clip(tmp_path / "out.partial.mkv", "libx264", None, frames=2)
    assert interrupted_fault(ended, tmp_path, "video") == ""
    (tmp_path / "out.partial-2.mkv").write_text("no video")
    assert interrupted_fault(ended, tmp_path, "video") == "what is kept is no video: out.partial-2.mkv"


RESULT = {"out.png"}


@pytest.mark.parametrize(
    ("code", "stderr", "found", "fault"),
    [
        (0, "", RESULT, ""),
        (1, "rtstyle: no", set(), ""),
        (130, "rtstyle: interrupted", {"out.partial.png"}, ""),
        (None, "", set(), "still running after 1 s"),
        (1, "rtstyle: KeyError: x (a bug: please report it)", set(), r"says '\(a bug'"),
        (-11, "", set(), "ended by signal 11"),
        (1, "", set(), "exit code 1 without a word"),
        (0, "", set(), "exit code 0, but no out.png"),
        (0, "", RESULT | {"rest"}, "left rest"),
        (1, "rtstyle: no", RESULT, "left out.png"),
    ],
)
def test_faults_are_found(monkeypatch, code, stderr, found, fault):
    monkeypatch.syspath_prepend(str(ABUSE))
    from bench import MEMORY, Ended, judge

    ended = Ended(code, stderr, 1.0, 1 << 20)
    said = judge(ended, results=RESULT, found=found, whole=lambda: True)[1]
    assert re.match(fault or "$", said), said
    if code == 0 and not fault:
        assert judge(ended, results=RESULT, found=found, whole=lambda: False)[1].endswith("is not whole")
        large = Ended(code, stderr, 1.0, MEMORY + 1)
        assert judge(large, results=RESULT, found=found, whole=lambda: True)[1].startswith("took 3072 MB")
