"""The commands as a user meets them: results on standard output, messages on standard error."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.helpers import run_python, tree
from support.media_files import packets, psnr, rgb_frames, stamps

from rtstyle.cli.progress import progress_lines
from rtstyle.gallery.catalog import model_path

pytest_plugins = ["support.runtime_fixtures"]

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
    monkeypatch.setattr("rtstyle.gallery.catalog.user_folder", lambda: tmp_path)
    (tmp_path / "broken.onnx").write_text("not a net")
    code, out, _ = call("doctor", "--json")
    assert code == 1
    assert any("broken.onnx" in problem for problem in json.loads(out)["problems"])


@pytest.mark.parametrize("command", ["", "cam", "video", "image", "demo", "styles", "train", "export", "doctor"])
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
    assert "pip install '.[train]' in rtstyle's folder" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_painting_works_without_torch(without_torch, tmp_path, clip):
    done = without_torch("video", clip, "out.mp4", "-q", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(stamps(tmp_path / "out.mp4")) == 12
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


def test_the_current_folder_is_the_default_place(tmp_path, call, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("video", clip, "out.mp4", "-q")[0] == 0
    assert Path("out.mp4").is_file()


# -- the live commands


@pytest.fixture
def handed_over(monkeypatch):
    """What the command hands to the live loop, which then ends at once."""
    from rtstyle.live.loop import Summary

    seen = {}

    class NoLoop:
        def __init__(self, capture, painter, **options):
            seen.update(options, capture=capture, painter=painter)

        def run(self, **limits):
            seen.update(limits)
            return Summary(captured=3, painted=2, seconds=0.5)

    monkeypatch.setattr("rtstyle.live.loop.Live", NoLoop)
    return seen


class Source:
    """A source of one grey frame, which then waits for its end."""

    returns = False

    def __init__(self):
        self.frames, self.woken = [np.full((24, 32, 3), 90, np.uint8)], threading.Event()

    def read(self):
        return self.frames.pop() if self.frames else self.woken.wait(20) and None

    def wake(self):
        self.woken.set()

    def close(self):
        pass


@pytest.fixture
def opened(monkeypatch):
    """What `open_source` is asked for; it gives a source of one frame."""
    asked = {}

    def open_source(source, **options):
        asked.update(options, source=source)
        return Source()

    monkeypatch.setattr("rtstyle.media.camera.open_source", open_source)
    return asked


class FakeWindow:
    full_screen = closed = False

    def toggle_full_screen(self):
        self.full_screen = True

    def close(self):
        self.closed = True


@pytest.fixture
def screen(monkeypatch):
    """A display and a window that shows nothing."""
    monkeypatch.setattr("rtstyle.media.window.has_display", lambda: True)
    monkeypatch.setattr("rtstyle.media.window.Window", FakeWindow)


def test_cam_paints_a_clip_and_says_what_came_of_it(call, clip):
    code, out, err = call("cam", "--source", clip, "--headless", "--json", "--style", "great-wave", "--device", "cpu")
    found = json.loads(out)
    assert code == 0
    assert found.keys() >= {"captured", "painted", "shown", "dropped", "seconds", "delay_ms", "delay_95_ms"}
    assert found["captured"] == 12 and 1 <= found["painted"] <= 12
    assert found["work_height"] == 96 and found["files"] == []
    assert 11 / 24 - 0.1 < found["seconds"] < 20 and found["delay_ms"] <= found["delay_95_ms"]
    first, second, last = err.splitlines()
    assert (first, second) == ("painting great-wave on cpu (asked for)", "Ctrl-C ends it")
    assert last.startswith(f"{found['painted']} frames painted in ") and last.endswith(f"{found['dropped']} dropped")


def test_cam_quietly(call, clip):
    assert call("cam", "--source", clip, "--headless", "-q") == (0, "", "")


@pytest.mark.parametrize(("limit", "loop"), [("--duration=0.8", True), ("--max-frames=3", False)])
def test_cam_ends_when_it_was_told_to(call, clip, limit, loop):
    code, out, _ = call("cam", "--source", clip, "--headless", "-q", "--json", limit, *["--loop"] * loop)
    found = json.loads(out)
    assert code == 0
    if loop:
        assert 0.8 <= found["seconds"] < 20 and found["captured"] > 12
    else:
        assert 3 <= found["painted"] < 12


def test_cam_records(tmp_path, call, clip):
    path = tmp_path / "out.mp4"
    options = ("cam", "--source", clip, "--headless", "--device", "cpu", "--no-steady")
    code, out, err = call(*options, "--record", path, "--json", "--strength", "0")
    found = json.loads(out)
    assert code == 0 and found["files"] == [str(path)] and err.splitlines()[-1] == f"saved {path}"
    assert set(tree(tmp_path)) == {"out.mp4"}
    assert 1 <= len(stamps(path)) <= found["painted"]
    assert psnr(rgb_frames(path)[0], rgb_frames(clip)[0]) > 25, "strength 0 is the photograph"
    before = path.read_bytes()
    assert call(*options, "--record", path)[0] == 1 and path.read_bytes() == before
    assert call(*options, "--record", path, "--force", "-q") == (0, "", "")
    assert psnr(rgb_frames(path)[0], rgb_frames(clip)[0]) < 22, "hardly painted"


def test_cam_options_reach_the_source(call, handed_over, opened):
    arguments = ("--size", "1280X720", "--fps", "50", "--loop", "--source", "rtsp://10.0.0.2/live")
    assert call("cam", "--headless", "-q", *arguments) == (0, "", "")
    assert opened == {"source": "rtsp://10.0.0.2/live", "size": (1280, 720), "fps": 50, "loop": True}
    assert handed_over["capture"].ended, "the source is closed in the end"


def test_cam_without_options(call, handed_over, opened, screen):
    code, out, err = call("cam")
    assert (code, out) == (0, "")
    assert opened == {"source": "0", "size": None, "fps": None, "loop": False}
    assert "keys: 1-9, n and p change the style" in err and "2 frames painted in 0.5 s (4.0 fps), 0 dropped" in err
    painter, settings = handed_over["painter"], handed_over["settings"]
    assert (painter.strength, painter.keep_color, painter.stylizer.work_height) == (1, False, None)
    assert (settings.mirror, settings.cycle, settings.split, settings.frozen) == (False, False, None, False)
    assert handed_over["target_fps"] == 30 and handed_over["folder"] == Path(".")
    assert handed_over["seconds"] is handed_over["frames"] is None
    assert handed_over["record"] is handed_over["virtual_camera"] is None
    assert handed_over["window"].closed and not handed_over["window"].full_screen


def test_cam_options_reach_the_loop(tmp_path, call, handed_over, opened, screen):
    words = "--strength 0.4 --keep-color --no-steady --work-height 48 --mirror --cycle --full-screen --target-fps 50 "
    words += "--duration 7.5 --max-frames 9 --style irises --device cpu --out-dir"
    assert call("cam", *words.split(), tmp_path)[0] == 0
    painter, settings = handed_over["painter"], handed_over["settings"]
    assert (painter.strength, painter.keep_color, painter.steady) == (0.4, True, False)
    assert (painter.stylizer.work_height, painter.stylizer.style) == (48, "irises")
    assert settings.mirror and settings.cycle
    assert (handed_over["seconds"], handed_over["frames"], handed_over["target_fps"]) == (7.5, 9, 50)
    assert handed_over["folder"] == tmp_path
    assert handed_over["window"].full_screen and handed_over["window"].closed


@pytest.mark.parametrize("steady", [True, False])
def test_cam_is_as_steady_as_it_was_told_to_be(call, handed_over, opened, steady):
    assert call("cam", "--headless", "-q", "--steady" if steady else "--no-steady") == (0, "", "")
    assert handed_over["painter"].steady == steady


def test_cam_headless_opens_no_window(call, handed_over, opened, without_camera):
    assert call("cam", "--headless", "-q") == (0, "", "")
    assert handed_over["window"] is None


def test_cam_lists_cameras(call, monkeypatch):
    monkeypatch.setattr("rtstyle.media.camera.list_cameras", lambda: [(0, "Webcam"), (2, "Capture card")])
    assert call("cam", "--list-cameras") == (0, "0\tWebcam\n2\tCapture card\n", "")
    monkeypatch.setattr("rtstyle.media.camera.list_cameras", lambda: [])
    assert call("cam", "--list-cameras") == (0, "", "no cameras found\n")


@pytest.fixture
def drivers(monkeypatch):
    """The virtual cameras that are opened."""
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    made = []

    class Driver:
        def __init__(self, *, width, height, fps, device, **_):
            self.size, self.fps, self.name, self.sent, self.closed = (width, height), fps, device, 0, False
            made.append(self)

        def send(self, frame):
            self.sent += 1

        def close(self):
            self.closed = True

        def device(self):
            return self.name

    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"test": Driver})
    return made


def test_cam_closes_everything_when_it_cannot_begin(tmp_path, call, drivers, opened):
    code, _, err = call("cam", "--headless", "--virtual-cam", "--record", tmp_path / "out.avi")
    assert code == 1 and "cannot record to" in err
    assert [driver.closed for driver in drivers] == [True]
    assert not {"capture", "virtual camera"} & {thread.name for thread in threading.enumerate()}


def test_cam_leaves_no_recording_when_the_window_cannot_open(tmp_path, call, opened, screen, monkeypatch):
    from rtstyle import RtstyleError

    def no_window():
        raise RtstyleError("the window cannot open")

    monkeypatch.setattr("rtstyle.media.window.Window", no_window)
    code, out, err = call("cam", "--record", tmp_path / "out.mp4")
    assert (code, out, err) == (1, "", "rtstyle: the window cannot open\n")
    assert tree(tmp_path) == {}
    assert not {"capture", "recorder"} & {thread.name for thread in threading.enumerate()}


def test_cam_shows_the_picture_as_a_camera(call, clip, drivers):
    options = ("--virtual-cam", "--virtual-cam-device", "/dev/video9", "--target-fps", "25")
    assert call("cam", "--source", clip, "--headless", "-q", *options) == (0, "", "")
    assert {(driver.name, driver.fps, driver.closed) for driver in drivers} == {("/dev/video9", 25, True)}
    assert drivers[-1].size == (160, 96) and drivers[-1].sent > 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_cam_with_its_recording_complete(tmp_path, clip, signal_name):
    out = tmp_path / "out.mp4"
    command = ["cam", "--source", clip, "--loop", "--headless", "--device", "cpu", "--record", out]
    process = subprocess.Popen(
        [sys.executable, "-m", "rtstyle", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        end = time.monotonic() + 60
        while not any(part.stat().st_size for part in tmp_path.glob(".out-*")):
            assert time.monotonic() < end and process.poll() is None, "it does not record"
            time.sleep(0.02)
        process.send_signal(getattr(signal, signal_name))
        said, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, said) == (130, "")
    told = rf"rtstyle: interrupted after \d+ frames: {re.escape(str(out))} is complete"
    assert re.fullmatch(told, err.splitlines()[-1])
    assert set(tree(tmp_path)) == {"out.mp4"} and len(stamps(out)) >= 1


def test_demo_with_a_camera_opens_the_window(call, handed_over, screen, monkeypatch):
    monkeypatch.setattr("rtstyle.media.camera.has_camera", lambda: True)
    monkeypatch.setattr("rtstyle.media.camera.open_camera", Source)
    code, out, err = call("demo", "--style", "irises", "--strength", "0.5", "--keep-color")
    assert (code, out) == (0, "")
    painter = handed_over["painter"]
    assert (painter.stylizer.style, painter.strength, painter.keep_color) == ("irises", 0.5, True)
    assert handed_over["window"].closed and handed_over["capture"].ended
    assert "painting irises on" in err and "keys: " in err


def test_demo_with_a_camera_that_is_taken_paints_the_clip(call, screen, monkeypatch):
    from rtstyle import RtstyleError

    def taken():
        raise RtstyleError("camera 0 cannot be opened: is it plugged in, and free?")

    painted = []
    monkeypatch.setattr("rtstyle.media.camera.has_camera", lambda: True)
    monkeypatch.setattr("rtstyle.media.camera.open_camera", taken)
    monkeypatch.setattr("rtstyle.cli.live.paint_video", lambda source, *_, **__: painted.append(Path(source).name))
    code, out, err = call("demo")
    assert code == 0 and painted == ["sample.mp4"]
    assert "is it plugged in, and free? Painting the bundled clip instead." in err
    assert "No camera here" in out


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
