"""cam and demo: their options reach the live loop, whatever ends it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.helpers import tree
from support.live_session import wait_until
from support.media_files import psnr, rgb_frames, timestamps

from rtstyle import Stylizer
from rtstyle.cli import defaults
from rtstyle.gallery import catalog
from rtstyle.live.styles import StyleChooser
from rtstyle.media.contact_sheet import bundled_photograph

pytest_plugins = ["support.runtime_fixtures"]


@pytest.fixture
def handed_over(monkeypatch):
    """What the command hands to the live loop, which then ends at once."""
    from rtstyle.live.statistics import Summary

    seen = {}

    class NoLoop:
        def __init__(self, capture, painter, **options):
            seen.update(options, capture=capture, painter=painter)
            styles = options.get("styles") or StyleChooser(painter.stylizer)
            self.controls = SimpleNamespace(painter=painter, styles=styles, pictures=options.get("pictures"))

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
    result = json.loads(out)
    assert code == 0
    assert result.keys() >= {"captured", "painted", "shown", "dropped", "seconds", "delay_ms", "delay_95_ms"}
    assert result["captured"] == 12 and 1 <= result["painted"] <= 12
    assert result["work_height"] == 96 and result["files"] == []
    assert 11 / 24 - 0.1 < result["seconds"] < 20 and result["delay_ms"] <= result["delay_95_ms"]
    first, second, last = err.splitlines()
    assert (first, second) == ("painting great-wave on cpu (asked for)", "Ctrl-C ends it")
    assert last.startswith(f"{result['painted']} frames painted in ") and last.endswith(f"{result['dropped']} dropped")


def test_cam_quietly(call, clip):
    assert call("cam", "--source", clip, "--headless", "-q") == (0, "", "")


@pytest.mark.parametrize(("limit", "loop"), [("--duration=0.8", True), ("--max-frames=3", False)])
def test_cam_ends_after_a_duration_or_a_number_of_frames(call, clip, limit, loop):
    code, out, _ = call("cam", "--source", clip, "--headless", "-q", "--json", limit, *["--loop"] * loop)
    result = json.loads(out)
    assert code == 0
    if loop:
        assert 0.8 <= result["seconds"] < 20 and result["captured"] > 12
    else:
        assert 3 <= result["painted"] < 12


def test_cam_records(tmp_path, call, clip):
    path = tmp_path / "out.mp4"
    options = ("cam", "--source", clip, "--headless", "--device", "cpu", "--no-steady")
    code, out, err = call(*options, "--record", path, "--json", "--strength", "0")
    result = json.loads(out)
    assert code == 0 and result["files"] == [str(path)] and err.splitlines()[-1] == f"saved {path}"
    assert set(tree(tmp_path)) == {"out.mp4"}
    assert 1 <= len(timestamps(path)) <= result["painted"]
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
    assert (painter.strength, painter.keep_color, painter.stylizer.work_height) == (1, False, "auto")
    assert (settings.mirror, settings.cycle, settings.split, settings.frozen) == (False, False, None, False)
    assert settings.show_display and not settings.show_help
    assert handed_over["folder"] == Path(".")
    assert (handed_over["height"].target_fps, handed_over["height"].min_height) == (30, None)
    assert handed_over["seconds"] is handed_over["frames"] is None
    assert handed_over["record"] is handed_over["virtual_camera"] is None
    assert handed_over["window"].closed and not handed_over["window"].full_screen


def test_cam_options_reach_the_loop(tmp_path, call, handed_over, opened, screen):
    words = "--strength 0.4 --keep-color --no-steady --work-height 48 --mirror --cycle --full-screen --target-fps 50 "
    words += "--min-height 120 --clean "
    words += "--duration 7.5 --max-frames 9 --style irises --device cpu --out-dir"
    assert call("cam", *words.split(), tmp_path)[0] == 0
    painter, settings = handed_over["painter"], handed_over["settings"]
    assert (painter.strength, painter.keep_color, painter.steady) == (0.4, True, False)
    assert (painter.stylizer.work_height, painter.stylizer.style) == (48, "irises")
    assert settings.mirror and settings.cycle and not settings.show_display
    assert (handed_over["seconds"], handed_over["frames"]) == (7.5, 9)
    assert (handed_over["height"].target_fps, handed_over["height"].min_height) == (50, 120)
    assert handed_over["folder"] == tmp_path
    assert handed_over["window"].full_screen and handed_over["window"].closed


@pytest.mark.parametrize("steady", [True, False])
def test_steady_and_no_steady_reach_the_painter(call, handed_over, opened, steady):
    assert call("cam", "--headless", "-q", "--steady" if steady else "--no-steady") == (0, "", "")
    assert handed_over["painter"].steady == steady


def test_cam_says_what_a_file_does_not_follow(call, clip):
    code, _, err = call("cam", "--source", clip, "--headless", "--size", "640x360", "--max-frames", "1")
    assert code == 0 and f"--size and --fps are for cameras: {clip} keeps its own" in err


def test_cam_says_at_the_start_what_gatys_mode_lacks(call, clip, tmp_path, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "torch" else found(name, *more)
    )
    code, _, err = call("cam", "--source", clip, "--headless", "--gatys-style", tmp_path, "--max-frames", "1")
    assert code == 0 and "the key g cannot work: Gatys mode needs torch" in err and "[train]" in err


def test_cam_headless_opens_no_window(call, handed_over, opened, without_camera):
    assert call("cam", "--headless", "-q") == (0, "", "")
    assert handed_over["window"] is None


def test_cam_lists_cameras(call, monkeypatch):
    monkeypatch.setattr("rtstyle.media.camera.list_cameras", lambda: [(0, "Webcam"), (2, "Capture card")])
    assert call("cam", "--list-cameras") == (0, "0\tWebcam\n2\tCapture card\n", "")
    monkeypatch.setattr("rtstyle.media.camera.list_cameras", lambda: [])
    assert call("cam", "--list-cameras") == (0, "", "no cameras found\n")


@pytest.fixture
def microphones(monkeypatch):
    """The names of the microphones that are asked for; there is one, called USB."""
    from rtstyle import RtstyleError

    asked = []

    class Microphone:
        def __init__(self, name=None):
            asked.append(name)
            if name not in (None, "USB"):
                raise RtstyleError(f"there is no microphone {name!r}")

    monkeypatch.setattr("rtstyle.media.microphone.Microphone", Microphone)
    monkeypatch.setattr("rtstyle.media.microphone.list_microphones", lambda: [(3, "USB")])
    return asked


def test_recordings_of_a_camera_have_the_microphones_sound(call, handed_over, opened, microphones, screen):
    assert call("cam", "--audio", "list") == (0, "3\tUSB\n", "")
    for options, asked in [([], None), (["--audio", "USB"], "USB")]:
        assert call("cam", *options)[0] == 0 and microphones[-1] == asked
        assert type(handed_over["make_recorder"].keywords["sound"]).__name__ == "Microphone"
    code, _, err = call("cam", "--audio", "Nobody")
    assert (code, err) == (1, "rtstyle: there is no microphone 'Nobody'\n")
    assert call("cam", "--audio", "none")[0] == 0 and handed_over["make_recorder"].keywords["sound"] is None


def test_recordings_of_a_file_have_its_own_sound(call, handed_over, clip, microphones, tmp_path):
    from support.media_files import make_clip

    assert call("cam", "--source", clip, "--headless", "-q")[0] == 0
    assert type(handed_over["make_recorder"].keywords["sound"]).__name__ == "FileSound"
    silent = make_clip(tmp_path / "silent.mp4", tracks=0)
    assert call("cam", "--source", silent, "--headless", "-q")[0] == 0
    assert handed_over["make_recorder"].keywords["sound"] is None and microphones == []


def test_without_a_microphone_a_recording_is_silent_and_says_so(
    call, handed_over, opened, screen, tmp_path, monkeypatch
):
    from rtstyle import RtstyleError

    def none(name=None):
        raise RtstyleError("there is no microphone")

    monkeypatch.setattr("rtstyle.media.microphone.Microphone", none)
    code, _, err = call("cam", "--headless", "--record", tmp_path / "a.mp4")
    assert code == 0 and err.startswith("recording without sound: there is no microphone")
    assert "sound" not in call("cam", "--headless")[2], "who does not record need not know"


def test_the_picture_is_streamed_to_an_address(call, handed_over, opened):
    assert call("cam", "--headless", "-q", "--stream", "rtmp://127.0.0.1/live/key")[0] == 0
    assert handed_over["stream"].name == "rtmp://127.0.0.1"
    handed_over["stream"].close()
    code, _, err = call("cam", "--headless", "--stream", "http://example.org")
    assert code == 2 and "http://example.org is not an address for --stream: begin it with rtmp" in err


def test_osc_listens_at_the_given_port(call, handed_over, opened):
    assert call("cam", "--headless", "-q", "--osc", "0")[0] == 0
    remote = handed_over["remote"]
    try:
        assert remote.port > 0
        code, _, err = call("cam", "--headless", "-q", "--osc", f"127.0.0.1:{remote.port}")
        assert code == 1 and f"OSC cannot listen at 127.0.0.1:{remote.port}" in err
    finally:
        remote.close()
    code, _, err = call("cam", "--osc", "knob")
    assert code == 2 and "'knob' is not a port such as 9000" in err


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
    code, out, err = call("cam", "--record", tmp_path / "out.mp4", "--audio", "none")
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
    output = rf"rtstyle: interrupted after \d+ frames: {re.escape(str(out))} is complete"
    assert re.fullmatch(output, err.splitlines()[-1])
    assert set(tree(tmp_path)) == {"out.mp4"} and len(timestamps(out)) >= 1


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
    assert "A bundled clip was painted" in out


# -- what cam remembers


@pytest.fixture
def config_file(tmp_path, monkeypatch):
    path = tmp_path / "rtstyle.toml"
    monkeypatch.setenv("RTSTYLE_CONFIG", str(path))
    return path


def test_the_config_file_has_the_defaults_and_options_come_first(call, config_file, handed_over, opened):
    config_file.write_text(
        '[cam]\nsource = "3"\nsize = "640x360"\nfps = 25\nstyle = "irises"\nstrength = 0.5\nmirror = true\n'
        'target-fps = 50\n\n[keys]\nk = "s"\n"." = "n"\n'
    )
    assert call("cam", "--headless", "-q", "--strength", "0.75")[0] == 0
    assert opened == {"source": "3", "size": (640, 360), "fps": 25, "loop": False}
    painter = handed_over["painter"]
    assert (painter.stylizer.style, painter.strength) == ("irises", 0.75) and handed_over["settings"].mirror
    assert handed_over["height"].target_fps == 50 and handed_over["bindings"] == {"k": "s", ".": "n"}
    assert call("cam", "--headless", "-q", "--no-config")[0] == 0
    assert opened["source"] == "0" and handed_over["bindings"] == {}


def test_config_prints_its_path_and_what_is_in_force(call, config_file):
    code, out, _ = call("config")
    assert code == 0 and out.startswith(f"# {config_file} (does not exist)\n\n[cam]\n")
    assert 'source = "0"  # default' in out and "target-fps = 30.0  # default" in out and "UNSET" not in out
    config_file.write_text('[cam]\nsource = "screen"\nosc = 9000\n[keys]\nk = "s"\n')
    code, out, _ = call("config")
    assert out.startswith(f"# {config_file}\n")
    assert 'source = "screen"\n' in out and 'osc = "9000"\n' in out and '[keys]\n"k" = "s"\n' in out
    config_file.write_text(out)
    assert call("config")[0] == 0, "it can be used as a config file"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("[cam]\nsize = \n", 1, "is broken: Invalid value (at line 2, column 8); --no-config does without it"),
        ("[cam]\ncolour = 3\n", 1, "sets colour, which is not an option of rtstyle cam"),
        ("[camera]\n", 1, "has tables [cam] and [keys], not camera"),
        ('[cam]\nsize = "wide"\n', 2, "'wide' is not a size such as 1280x720 (in "),
        ('[keys]\nk = "snapshot"\n', 1, "gives the key 'k' to 'snapshot': write KEY = KEY"),
        ('[keys]\nk = "y"\n', 1, "gives the key 'k' to 'y'"),
    ],
)
def test_a_broken_config_file_is_an_error_that_says_where(call, config_file, opened, handed_over, text, code, message):
    config_file.write_text(text)
    found, _, err = call("cam", "--headless")
    assert found == code and message in err and config_file.name in err
    assert call("cam", "--headless", "-q", "--no-config")[0] == 0
    assert call("cam", "--help")[0] == 0
    assert call("styles")[0] == 0, "other commands need no config"


def test_last_brings_back_style_and_strength(call, config_file, handed_over, opened, screen):
    config_file.write_text('[cam]\nstyle = "scream"\n')
    assert call("cam", "--style", "irises", "--strength", "0.5")[0] == 0
    assert call("cam")[0] == 0 and handed_over["painter"].stylizer.style == "scream"
    assert call("cam", "--style", "starry-night:0.75,irises:0.25", "--strength", "0.25")[0] == 0
    assert call("cam", "--last")[0] == 0
    painter = handed_over["painter"]
    assert (painter.stylizer.style, painter.strength) == ("starry-night:0.75,irises:0.25", 0.25)
    assert call("cam", "--last", "--style", "mosaic")[0] == 0 and handed_over["painter"].stylizer.style == "mosaic"
    config_file.with_name("last.json").write_text("{")
    assert call("cam", "--last")[0] == 0 and handed_over["painter"].stylizer.style == "scream"


def test_a_style_of_the_last_time_that_went_does_not_stop_the_camera(call, config_file, handed_over, opened, screen):
    for config, expected in [('[cam]\nstyle = "scream"\n', "scream"), ("", "starry-night")]:
        config_file.write_text(config)
        config_file.with_name("last.json").write_text('{"style": "gone-for-good", "strength": 0.5}')
        code, _, err = call("cam", "--last")
        assert code == 0 and "not with the style of the last time: unknown style 'gone-for-good'" in err
        assert (handed_over["painter"].stylizer.style, handed_over["painter"].strength) == (expected, 0.5)
    config_file.with_name("last.json").write_text('{"style": "irises"}')
    code, _, err = call("cam", "--last", "--style", "gone-for-good")
    assert code == 2 and "unknown style 'gone-for-good'" in err and "last time" not in err


def test_a_mix_by_keys_is_remembered_as_it_can_be_asked_for(config_file):
    stylizer = Stylizer("irises", device="cpu")
    styles, painter = StyleChooser(stylizer), SimpleNamespace(strength=0.5, stylizer=stylizer)
    one, other = (style.name for style in styles.styles[:2])
    for move, expected in [(lambda: None, "irises"), (lambda: styles.mix(0, 1, 0.25, 1.0), f"{one}:0.75,{other}:0.25")]:
        move()
        defaults.remember(SimpleNamespace(styles=styles, painter=painter, pictures=None))
        assert defaults.read_last() == {"style": expected, "strength": "0.5"}
    styles.remove(one)  # the mix is painted on, and has no name any more
    defaults.remember(SimpleNamespace(styles=styles, painter=painter, pictures=None))
    assert defaults.read_last() == {"strength": "0.5"}


def test_a_style_of_a_file_is_remembered_by_it(call, config_file, handed_over, opened, screen, tmp_path):
    """Not by its name alone, which another style has, too."""
    mine = shutil.copy(catalog.model_path("studio"), tmp_path / "mine.onnx")
    assert call("cam", "--style", f"{mine}#irises")[0] == 0
    assert call("cam", "--last")[0] == 0
    stylizer = handed_over["painter"].stylizer
    assert stylizer.style == "irises" and Path(stylizer.path).samefile(mine)


def test_a_picture_is_remembered_by_its_file(call, config_file, handed_over, opened, screen, tmp_path):
    picture = shutil.copy(bundled_photograph("coffee"), tmp_path / "coffee.jpg")
    assert call("cam", "--style", str(picture), "--no-polish")[0] == 0
    assert call("cam", "--last", "--no-polish")[0] == 0
    stylizer = handed_over["painter"].stylizer
    assert stylizer.style == "coffee"
    assert stylizer.gallery()[-1].name == "coffee"


def test_the_pictures_of_a_folder_are_styles(call, handed_over, opened, screen, tmp_path):
    (tmp_path / "styles").mkdir()
    shutil.copy(bundled_photograph("coffee"), tmp_path / "styles" / "coffee.jpg")
    assert call("cam", "--styles", str(tmp_path / "styles"))[0] == 0
    styles, pictures = handed_over["styles"], handed_over["pictures"]
    wait_until(lambda: pictures.follow(0.0) or "coffee" in [style.name for style in styles.styles])
    pictures.close()
    code, _, err = call("cam", "--styles", str(tmp_path / "nowhere"))
    assert code == 1 and "the folder of pictures" in err
