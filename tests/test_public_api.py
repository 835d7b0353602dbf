"""What importing costs, in which order, and what is public. Each in a process of its own."""

import json

import pytest
from support.helpers import run_python

import rtstyle

pytest_plugins = ["support.runtime_fixtures"]

HEAVY = ("numpy", "cv2", "av", "onnxruntime", "torch", "PIL", "rich")


def python(program, *arguments):
    done = run_python("-c", program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(program):
    """Which of HEAVY a program has loaded at its end, in the order of loading."""
    report = f"\nimport json, sys; print(json.dumps([name for name in sys.modules if name in {HEAVY}]))"
    return json.loads(python(program + report).splitlines()[-1])


@pytest.mark.parametrize(
    "module", ["rtstyle", "rtstyle.errors", "rtstyle.cli", "rtstyle.video.pipeline", "rtstyle.files"]
)
def test_importing_loads_nothing_heavy(module):
    assert loaded_by(f"import {module}") == []


def test_help_loads_nothing_heavy():
    program = (
        "import sys; sys.argv = ['rtstyle', '--help']\n"
        "from rtstyle.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0"
    )
    assert loaded_by(program) == []


def test_painting_on_the_cpu_loads_no_onnx(clip, tmp_path):
    """It takes a tenth of a second, and only a GPU's form of a model is made with it."""
    program = (
        "import sys, rtstyle\n"
        "rtstyle.stylize_video(sys.argv[1], sys.argv[2], rtstyle.Stylizer(device='cpu', threads=1))\n"
        "print('onnx' in sys.modules)"
    )
    assert python(program, clip, tmp_path / "out.mp4").strip() == "False"


@pytest.mark.parametrize(
    "use",
    [
        "import rtstyle; rtstyle.stylize_video",
        "import rtstyle; rtstyle.stylize_image",
        "import rtstyle; rtstyle.Stylizer",
        "import rtstyle.video.convert",
        "import rtstyle.live.loop",
        "import rtstyle.media.reader",
        "import rtstyle.media.camera",
        "import rtstyle.diagnose.doctor; rtstyle.diagnose.doctor.examine()",
    ],
)
def test_every_path_of_ours_loads_cv2_before_av(use):
    """The other order makes OpenCV's window hang on Linux."""
    result = [name for name in loaded_by(use) if name in ("cv2", "av")]
    assert result in (["cv2", "av"], ["cv2"])


@pytest.mark.parametrize("command", [["demo"], ["video", "{clip}", "{out}"], ["doctor"]])
def test_every_command_loads_cv2_before_av(tmp_path, clip, command):
    arguments = [word.format(clip=clip, out=tmp_path / "out.mp4") for word in command]
    if command == ["demo"]:
        arguments += ["-o", str(tmp_path / "out.mp4"), "--work-height", "32"]
    program = (
        "import os, sys; os.environ.pop('DISPLAY', 0); os.environ.pop('WAYLAND_DISPLAY', 0)\n"
        f"sys.argv = {['rtstyle', *arguments]!r}\n"
        "from rtstyle.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code in (0, None)"
    )
    assert [name for name in loaded_by(program) if name in ("cv2", "av")] == ["cv2", "av"]


@pytest.mark.parametrize("order", ["import av; import rtstyle", "import rtstyle; import av"])
def test_a_program_may_import_av_before_or_after(tmp_path, clip, order):
    program = (
        f"import sys; {order}\n"
        "from rtstyle.media.reader import VideoReader\n"
        "import numpy\n"
        "with VideoReader(sys.argv[1]) as reader:\n"
        "    frames = [item for item in reader if not isinstance(item, av.Packet)]\n"
        "    print(len(frames), frames[0].rgb.shape)\n"
        "rtstyle.stylize_video(sys.argv[1], sys.argv[2], rtstyle.Stylizer(device='cpu', threads=1))"
    )
    assert python(program, clip, tmp_path / "out.mp4").strip() == "12 (96, 160, 3)"
    assert (tmp_path / "out.mp4").stat().st_size > 1000


@pytest.mark.parametrize("name", rtstyle.__all__)
def test_every_public_name_is_there(name):
    assert getattr(rtstyle, name) is not None
    assert name in dir(rtstyle)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="stylise"):
        rtstyle.stylise  # noqa: B018


def test_the_version_is_that_of_the_installation():
    from importlib.metadata import version

    assert rtstyle.__version__ == version("rtstyle")


def test_every_kind_of_error_has_a_class_and_an_exit_code():
    kinds = {
        rtstyle.InputError: 1,
        rtstyle.OutputError: 1,
        rtstyle.DeviceError: 1,
        rtstyle.ModelError: 1,
        rtstyle.UsageError: 2,
        rtstyle.Interrupted: 130,
    }
    assert rtstyle.RtstyleError.exit_code == 1
    assert set(rtstyle.RtstyleError.__subclasses__()) == set(kinds)
    assert {kind: kind.exit_code for kind in kinds} == kinds
