"""Whatever is wrong with the input: one sentence, exit code 1 or 2, and not a byte changed on the disk."""

import os
import re
import shlex
import sys

import numpy as np
import onnx
import pytest
from PIL import Image
from support.helpers import run_python, tree
from support.media_files import (
    claim_png,
    damage_video_packets,
    make_clip,
    make_sound_only,
    make_without_frames,
    make_without_index,
)

from rtstyle.gallery.catalog import model_path
from rtstyle.runtime import devices

pytest_plugins = ["support.runtime_fixtures"]


def save(path, height=24, width=32):
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)


def make_other_net(path):
    """A sound ONNX file that is no style model."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "other",
        [value("x", onnx.TensorProto.FLOAT, [1, 2])],
        [value("y", onnx.TensorProto.FLOAT, [1, 2])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def make_net_without_metadata(path):
    model = onnx.load(model_path("live"))
    del model.metadata_props[:]
    onnx.save(model, path)


MAKERS = {
    "clip.mp4": make_clip,
    "tiny.mp4": lambda path: make_clip(path, size=(8, 8), tracks=0, frames=2),
    "text.mp4": lambda path: path.write_text("This is a shopping list: milk, bread, two eggs.\n" * 20),
    "empty.mp4": lambda path: path.touch(),
    "cut.mp4": lambda path: make_without_index(path, path.parent),
    "noframes.mp4": make_without_frames,
    "noframes.mkv": make_without_frames,
    "dead.mkv": lambda path: damage_video_packets(make_clip(path), range(12), after=6, fill=255),
    "sound.mp4": make_sound_only,
    "taken.mp4": lambda path: path.write_bytes(b"the only copy"),
    "taken.png": lambda path: path.write_bytes(b"the only copy"),
    "link.mp4": lambda path: path.symlink_to("clip.mp4"),
    "hard.mp4": lambda path: os.link(path.with_name("clip.mp4"), path),
    "folder": lambda path: path.mkdir(),
    "text.onnx": lambda path: path.write_text("not a net"),
    "other.onnx": make_other_net,
    "bare.onnx": make_net_without_metadata,
    "photo.png": save,
    "tiny.png": lambda path: save(path, 8, 8),
    "text.png": lambda path: path.write_text("not a picture"),
    "corrupt.jpg": lambda path: (save(path, 200, 200), path.write_bytes(path.read_bytes()[:700])),
    "huge.png": lambda path: claim_png(path, 200_000),
    "program.png": lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n"),
    "photos": lambda path: (path.mkdir(), save(path / "a.png")),
    "broken": lambda path: (path.mkdir(), (path / "a.png").write_text("not a picture")),
}

# command, exit code, what the sentence must say; every name in MAKERS that occurs in a command is made first
CASES = [
    ("video missing.mp4 out.mp4", 1, "missing.mp4 does not exist"),
    ("video text.mp4 out.mp4", 1, "text.mp4 is not a video"),
    ("video empty.mp4 out.mp4", 1, "empty.mp4 is not a video"),
    ("video cut.mp4 out.mp4", 1, "cut.mp4 is not a video"),
    ("video noframes.mp4 out.mp4", 1, "noframes.mp4 (has no video stream|holds no frame)"),
    ("video noframes.mkv out.mp4", 1, "noframes.mkv"),
    ("video dead.mkv out.mp4", 1, "dead.mkv holds no frame that can be decoded"),
    ("video dead.mkv taken.mp4 --force", 1, "dead.mkv holds no frame that can be decoded"),
    ("video sound.mp4 out.mp4", 1, "sound.mp4 has no video stream"),
    ("video tiny.mp4 out.mp4", 1, "tiny.mp4 is smaller than 16 pixels"),
    ("video folder out.mp4", 1, "folder holds no pictures"),
    ("video clip.mp4 folder", 1, "folder is a folder"),
    ("video clip.mp4 nowhere/out.mp4", 1, "nowhere does not exist"),
    ("video clip.mp4 taken.mp4", 1, "taken.mp4 already exists.*--force"),
    ("video clip.mp4 clip.mp4", 1, "clip.mp4 is the input"),
    ("video clip.mp4 clip.mp4 --force", 1, "clip.mp4 is the input"),
    ("video clip.mp4 folder/../clip.mp4 --force", 1, "is the input"),
    ("video clip.mp4 link.mp4 --force", 1, "link.mp4 is the input"),
    ("video link.mp4 clip.mp4 --force", 1, "clip.mp4 is the input"),
    ("video clip.mp4 hard.mp4 --force", 1, "hard.mp4 is the input"),
    ("video text.mp4 taken.mp4 --force", 1, "text.mp4 is not a video"),
    ("video cut.mp4 taken.mp4 --force", 1, "cut.mp4 is not a video"),
    ("video noframes.mkv taken.mp4 --force", 1, "noframes.mkv"),
    ("video clip.mp4 out.xyz", 1, r"\.xyz.*use \.mp4"),
    ("video clip.mp4 out", 1, r"no ending.*use \.mp4"),
    ("video clip.mp4 out.wav", 1, r"use \.mp4"),
    ("video clip.mp4 out.avi", 1, r"use \.mp4"),
    ("video clip.mp4 out.mp4 --style stary-nigth", 2, "unknown style 'stary-nigth'.*starry-night"),
    ("video clip.mp4 out.mp4 --style wave", 2, "unknown style 'wave'.*great-wave"),
    ("video clip.mp4 out.mp4 --style zzzzzz", 2, "unknown style 'zzzzzz'.*there are.*irises"),
    ("video clip.mp4 out.mp4 --style starry-night:0.5,screem:0.5", 2, "unknown style 'screem'.*scream"),
    ("video clip.mp4 out.mp4 --style starry-night:much", 2, "cannot read the style 'starry-night:much'"),
    ("video clip.mp4 out.mp4 --style starry-night:-1,irises:2", 2, "cannot read the style"),
    ("video clip.mp4 out.mp4 --style starry-night:inf,irises:2", 2, "cannot read the style"),
    ("video clip.mp4 out.mp4 --style starry-night,,irises", 2, "cannot read the style ''"),
    ("video clip.mp4 out.mp4 --style starry-night:0,irises:0", 2, "must be positive"),
    ("video clip.mp4 out.mp4 --style missing.onnx", 1, "missing.onnx does not exist"),
    ("video clip.mp4 out.mp4 --style text.onnx", 1, "text.onnx is not an ONNX model"),
    ("video clip.mp4 out.mp4 --style other.onnx", 1, "other.onnx is not a style model.*expected.*found x"),
    ("video clip.mp4 out.mp4 --style bare.onnx", 1, "bare.onnx has incomplete rtstyle metadata"),
    ("video clip.mp4 out.mp4 --model nosuch", 2, "unknown model 'nosuch'.*live"),
    ("video clip.mp4 out.mp4 --model other.onnx", 1, "other.onnx is not a style model"),
    ("video clip.mp4 out.mp4 --strength 1.5", 2, "strength must be between 0 and 1, not 1.5"),
    ("video clip.mp4 out.mp4 --strength -0.1", 2, "strength must be between 0 and 1, not -0.1"),
    ("video clip.mp4 out.mp4 --strength nan", 2, "strength must be between 0 and 1, not nan"),
    ("video clip.mp4 out.mp4 --strength much", 2, "'much' is not a valid float"),
    ("video clip.mp4 out.mp4 --work-height -5", 2, "at least 16 pixels, not -5"),
    ("video clip.mp4 out.mp4 --work-height 0", 2, "at least 16 pixels, not 0"),
    ("video clip.mp4 out.mp4 --device abacus", 2, "unknown device 'abacus'.*cuda"),
    ("video clip.mp4 out.mp4 --device cuda:x", 2, "unknown device 'cuda:x'"),
    ("video clip.mp4 out.mp4 --device cuda:", 2, "unknown device 'cuda:'"),
    ("video clip.mp4 out.mp4 --device cpu:1", 2, "unknown device 'cpu:1'"),
    ("video clip.mp4", 2, "give IN and OUT"),
    ("video clip.mp4 out.mp4 --colour", 2, "No such option"),
    ("paint clip.mp4 out.mp4", 2, "No such command 'paint'"),
    ("image missing.jpg out.png", 1, "missing.jpg does not exist"),
    ("image text.png out.png", 1, "text.png is not a readable picture"),
    ("image corrupt.jpg out.png", 1, "corrupt.jpg is not a readable picture"),
    ("image huge.png out.png", 1, "huge.png has 200000x200000 pixels and takes at least .* GB.*half of.*--max-memory"),
    ("image huge.png out.png --max-memory 2G", 1, r"huge.png has .* GB of memory, but only 2\.0 GB may be used"),
    ("image photo.png out.png --max-memory lots", 2, "'lots' is an invalid memory size"),
    ("image program.png out.png", 1, "program.png is PostScript"),
    ("cam --headless --source huge.png -q", 1, "huge.png has .* GB of memory.*make it smaller first$"),
    ("styles add huge.png", 1, "huge.png has .* GB of memory"),
    ("image tiny.png out.png", 1, "tiny.png is smaller than 16 pixels"),
    ("image photo.png nowhere/out.png", 1, "nowhere does not exist"),
    ("image photo.png taken.png", 1, "taken.png already exists.*--force"),
    ("image photo.png photo.png --force", 1, "photo.png is the input"),
    ("image text.png taken.png --force", 1, "text.png is not a readable picture"),
    ("image photo.png out.xyz", 1, r"out\.xyz.*\.png"),
    ("image photo.png out.png --style nosuch", 2, "unknown style 'nosuch'"),
    ("image photo.png out.png --strength 2", 2, "strength must be between 0 and 1"),
    ("image folder out", 1, "folder holds no pictures"),
    ("image photos photos --force", 1, "photos is the input"),
    ("image photos taken.png", 1, "taken.png is a file"),
    ("image photos nowhere/out", 1, "nowhere does not exist"),
    ("styles --model nosuch", 2, "unknown model 'nosuch'"),
    ("styles --model text.onnx", 1, "text.onnx is not an ONNX model"),
    ("demo -o nowhere/out.mp4", 1, "nowhere does not exist"),
    ("demo -o taken.mp4", 1, "taken.mp4 already exists"),
    ("cam --headless --source missing.mp4", 1, "the source missing.mp4 does not exist: give a camera's number"),
    ("cam --headless --source text.mp4", 1, "text.mp4 is not a video"),
    ("cam --headless --source sound.mp4", 1, "sound.mp4 has no video stream"),
    ("cam --headless --source folder", 1, "folder holds no pictures"),
    ("cam --headless --source dead.mkv -q", 1, "dead.mkv holds no frame that can be decoded"),
    ("cam --headless --source broken -q", 1, "broken holds no picture that can be read"),
    ("cam --headless --source text.png -q", 1, "text.png is not a readable picture"),
    ("cam --headless --source http://127.0.0.1:9/video.mjpg", 1, "the stream http://127.0.0.1:9/video.mjpg cannot be"),
    ("cam --headless --source clip.mp4 --size 1280", 2, "'1280' is not a size such as 1280x720"),
    ("cam --headless --source clip.mp4 --size 1280x", 2, "'1280x' is not a size"),
    ("cam --headless --source clip.mp4 --size 8x720", 2, "'8x720' is not a size"),
    ("cam --headless --source clip.mp4 --size=-640x480", 2, "'-640x480' is not a size"),
    ("cam --headless --source clip.mp4 --fps 0", 2, "'--fps'.*0.0 is not in the range"),
    ("cam --headless --source clip.mp4 --target-fps 0", 2, "'--target-fps'.*0.0 is not in the range"),
    ("cam --headless --source clip.mp4 --duration 0", 2, "'--duration'.*must be above 0"),
    ("cam --headless --source clip.mp4 --max-frames 0", 2, "'--max-frames'.*0 is not in the range"),
    ("cam --headless --source clip.mp4 --out-dir nowhere", 2, "'nowhere' does not exist"),
    ("cam --headless --source clip.mp4 --style stary-nigth", 2, "unknown style 'stary-nigth'.*starry-night"),
    ("cam --headless --source clip.mp4 --model nosuch", 2, "unknown model 'nosuch'"),
    ("cam --headless --source clip.mp4 --strength 2", 2, "strength must be between 0 and 1, not 2"),
    ("cam --headless --source clip.mp4 --work-height 5", 2, "at least 16 pixels, not 5"),
    ("cam --headless --source clip.mp4 --device abacus", 2, "unknown device 'abacus'"),
    ("cam --headless --source clip.mp4 --record nowhere/out.mp4", 1, "nowhere does not exist"),
    ("cam --headless --source clip.mp4 --record folder", 1, "folder is a folder"),
    ("cam --headless --source clip.mp4 --record taken.mp4", 1, "taken.mp4 already exists.*--force"),
    ("cam --headless --source clip.mp4 --record clip.mp4 --force", 1, "clip.mp4 is the input"),
    ("cam --headless --source clip.mp4 --record out.avi", 1, r"cannot record to out\.avi: end the name with \.mp4"),
    ("cam --headless --source clip.mp4 --record out", 1, "cannot record to out: end the name with"),
    ("cam --headless --source text.mp4 --record taken.mp4 --force", 1, "text.mp4 is not a video"),
    pytest.param(
        "cam --headless --source 93",
        1,
        "camera 93 cannot be opened.*--list-cameras",
        marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system's own camera code talks"),
    ),
    pytest.param(
        "cam --source clip.mp4",
        1,
        "there is no display for a window: add --headless",
        marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is always a display"),
    ),
    pytest.param(
        "video clip.mp4 out.mp4 --device cuda",
        1,
        "cuda is not available:.*--device cpu",
        marks=pytest.mark.skipif(devices.cuda_problem() is None, reason="CUDA is there"),
    ),
    pytest.param(
        "video clip.mp4 out.mp4 --device tensorrt",
        1,
        "tensorrt is not available:.*--device cpu",
        marks=pytest.mark.skipif(devices.cuda_problem() is None, reason="CUDA is there"),
    ),
]


def make_files(folder, command):
    for name, make in MAKERS.items():
        linked = name == "clip.mp4" and ("link.mp4" in command or "hard.mp4" in command)
        if linked or any(name in word.split("/") for word in shlex.split(command)):
            make(folder / name)


@pytest.mark.parametrize(("command", "exit_code", "sentence"), CASES)
def test_bad_input_is_one_sentence_and_changes_nothing(
    tmp_path, monkeypatch, call, without_camera, command, exit_code, sentence
):
    make_files(tmp_path, command)
    before = tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*shlex.split(command))
    assert_one_sentence(code, err, exit_code, sentence)
    assert out == ""
    assert tree(tmp_path) == before


def assert_one_sentence(code, err, exit_code, sentence):
    lines = err.rstrip("\n").split("\n")
    assert code == exit_code, err
    assert "Traceback" not in err
    assert re.search(sentence, lines[-1]), err
    assert "a bug" not in err
    if lines[0].startswith("Usage:"):
        assert code == 2 and lines[-1].startswith("Error: "), err
    else:
        assert len(lines) == 1 and lines[0].startswith("rtstyle: "), err


@pytest.mark.parametrize("command", ["video text.mp4 out.mp4", "video clip.mp4 out.mp4 --style stary"])
def test_the_process_itself_ends_with_the_code(tmp_path, command):
    make_files(tmp_path, command)
    before = tree(tmp_path)
    done = run_python("-m", "rtstyle", *shlex.split(command), cwd=tmp_path)
    assert_one_sentence(done.returncode, done.stderr, 2 if "style" in command else 1, "text.mp4|stary")
    assert tree(tmp_path) == before


def test_pictures_of_a_folder_that_cannot_be_read_are_one_sentence(tmp_path, monkeypatch, call):
    MAKERS["broken"](tmp_path / "broken")
    monkeypatch.chdir(tmp_path)
    code, _, err = call("image", "broken", "out", "--quiet")
    assert_one_sentence(code, err, 1, "none of the 1 pictures could be painted.*a.png")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_named(tmp_path, monkeypatch, call, clip):
    (tmp_path / "locked").mkdir(mode=0o555)
    monkeypatch.chdir(tmp_path)
    code, _, err = call("video", clip, "locked/out.mp4")
    assert_one_sentence(code, err, 1, "locked is not writable")


def test_a_virtual_camera_without_a_driver_is_one_sentence(tmp_path, monkeypatch, call):
    class NoDriver:
        def __init__(self, **_):
            raise RuntimeError("no device found.\nSee the manual.")

    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"test": NoDriver})
    MAKERS["clip.mp4"](tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    code, out, err = call("cam", "--headless", "--source", "clip.mp4", "--virtual-cam")
    assert_one_sentence(code, err, 1, "no virtual camera is available .*no device found.*install")
    assert out == "" and set(tree(tmp_path)) == {"clip.mp4"}


def test_a_virtual_camera_without_its_package_names_the_extra(tmp_path, monkeypatch, call, clip):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    code, _, err = call("cam", "--headless", "--source", clip, "--virtual-cam")
    assert_one_sentence(code, err, 1, r"pip install '\.\[virtual-cam\]'")
