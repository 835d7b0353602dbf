"""What is opened for what people write: cameras and streams through OpenCV, files, folders."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from support.media_files import make_clip, picture
from support.sources import ManualClock, grey, save_grey

from rtstyle import RtstyleError
from rtstyle.media import camera
from rtstyle.media.camera import CvSource, open_source
from rtstyle.media.live_files import PictureShow, VideoFile

# -- cameras and streams through OpenCV


class FakeVideoCapture:
    """Stands in for cv2.VideoCapture; `made` are all of them, `opens` says which of them open."""

    made: list
    opens = staticmethod(lambda number: True)

    def __init__(self, *arguments):
        self.arguments, self.settings, self.released = arguments, {}, 0
        self._open = self.opens(len(self.made))
        self.made.append(self)

    def isOpened(self):
        return self._open

    def set(self, what, value):
        self.settings[what] = value

    def read(self):
        return False, None

    def release(self):
        self.released += 1


@pytest.fixture
def opencv(monkeypatch):
    """FakeVideoCapture in place of OpenCV's, with an environment of its own."""
    fake = type("Fake", (FakeVideoCapture,), {"made": []})
    monkeypatch.setattr(cv2, "VideoCapture", fake)
    monkeypatch.setattr(camera, "open_http", lambda address: None)  # something else than motion JPEG
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if not k.startswith("OPENCV")})
    return fake


def options(arguments):
    """The flat list of properties and values as a dict."""
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


@pytest.mark.parametrize("source", [1, "1"])
def test_a_number_is_a_camera(opencv, source):
    opened = open_source(source)
    assert isinstance(opened, CvSource) and opened.returns
    (made,) = opencv.made
    assert made.arguments[:2] == (1, cv2.CAP_ANY)
    assert options(made.arguments[2]) == {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG")}
    assert made.settings == {cv2.CAP_PROP_BUFFERSIZE: 1}


def test_size_and_rate_are_asked_for_at_construction(opencv):
    open_source(0, size=(1280, 720), fps=59.94)
    assert options(opencv.made[0].arguments[2]) == {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 60,
    }
    assert all(isinstance(value, int) for value in opencv.made[0].arguments[2]), "OpenCV takes whole numbers only"


def test_a_device_path_is_a_camera(opencv, monkeypatch):
    monkeypatch.setattr(Path, "is_char_device", lambda path: str(path) == str(Path("/dev/video7")))
    open_source("/dev/video7", size=(640, 480))
    assert opencv.made[0].arguments[0] == "/dev/video7"
    assert options(opencv.made[0].arguments[2])[cv2.CAP_PROP_FRAME_WIDTH] == 640


def test_a_camera_that_refuses_the_options_gives_what_it_has(opencv):
    opencv.opens = staticmethod(lambda number: number == 1)
    open_source("0", size=(1280, 720), fps=60)
    assert [made.arguments for made in opencv.made[1:]] == [(0,)]
    assert opencv.made[1].settings == {cv2.CAP_PROP_BUFFERSIZE: 1}


def test_a_camera_that_cannot_be_opened_is_one_sentence(opencv):
    opencv.opens = staticmethod(lambda number: False)
    with pytest.raises(RtstyleError, match=r"^camera 3 cannot be opened.*--list-cameras\)$"):
        open_source("3")


@pytest.mark.parametrize("address", ["rtsp://camera.local/live", "http://10.0.0.2:8080/video.mjpg"])
def test_an_address_is_a_stream_with_time_limits_and_one_decoder_thread(opencv, address):
    opened = open_source(address, size=(1280, 720), fps=60)
    assert isinstance(opened, CvSource) and opened.returns
    (made,) = opencv.made
    assert made.arguments[:2] == (address, cv2.CAP_FFMPEG)
    asked = options(made.arguments[2])
    assert asked.pop(cv2.CAP_PROP_N_THREADS) == 1
    assert set(asked) == {cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC}
    assert all(1000 <= limit <= 10000 for limit in asked.values())


def test_rtsp_goes_over_tcp_without_a_buffer_unless_the_user_says_otherwise(opencv):
    open_source("http://10.0.0.2/video.mjpg")
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ
    open_source("rtsp://10.0.0.2/live")
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"].startswith("rtsp_transport;tcp|fflags;nobuffer")
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;udp"
    open_source("rtsp://10.0.0.2/live")
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;udp"


def test_a_stream_that_cannot_be_opened_is_one_sentence(opencv):
    opencv.opens = staticmethod(lambda number: False)
    with pytest.raises(RtstyleError, match=r"^the stream rtsp://10.0.0.2/live cannot be opened"):
        open_source("rtsp://10.0.0.2/live")


def test_a_stream_that_is_not_there_fails_quietly(capfd):
    began = time.monotonic()
    with pytest.raises(RtstyleError, match="cannot be opened"):
        open_source("http://127.0.0.1:9/video.mjpg")
    assert time.monotonic() - began < 10
    assert capfd.readouterr() == ("", "")


def test_opencv_speaks_again_afterwards(opencv):
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    opencv.opens = staticmethod(lambda number: False)
    with pytest.raises(RtstyleError):
        open_source(0)
    assert cv2.utils.logging.setLogLevel(before) == cv2.utils.logging.LOG_LEVEL_ERROR


class Frames:
    """As cv2.VideoCapture reads: (ok, BGR)."""

    def __init__(self, *read):
        self._read, self.released = list(read), 0

    def read(self):
        return self._read.pop(0)

    def release(self):
        self.released += 1


def test_bgr_becomes_rgb():
    rgb = CvSource(Frames((True, picture(0, 24, 32)[..., ::-1].copy()))).read()
    assert (rgb == picture(0, 24, 32)).all()


def test_grey_frames_become_rgb():
    level = picture(0, 24, 32)[..., 0]
    rgb = CvSource(Frames((True, level.copy()))).read()
    assert rgb.shape == (24, 32, 3)
    assert (rgb == level[..., None]).all()


@pytest.mark.parametrize("read", [(False, None), (False, grey(1)), (True, None)])
def test_no_frame_is_none(read):
    assert CvSource(Frames(read)).read() is None


def test_closing_releases_the_camera():
    frames = Frames()
    source = CvSource(frames)
    source.wake()
    assert frames.released == 0, "a capture must not be touched under a read"
    source.close()
    assert frames.released == 1


def test_cameras_are_listed_by_number(monkeypatch):
    module = pytest.importorskip("cv2_enumerate_cameras")
    asked = []

    def enumerate_cameras(backend):
        asked.append(backend)
        return [SimpleNamespace(index=2, name="Capture card"), SimpleNamespace(index=0, name="")]

    monkeypatch.setattr(module, "enumerate_cameras", enumerate_cameras)
    for platform in ("linux", "darwin", "win32", "plan9"):
        monkeypatch.setattr(sys, "platform", platform)
        assert camera.list_cameras() == [(0, "unnamed"), (2, "Capture card")]
    assert asked == [cv2.CAP_V4L2, cv2.CAP_AVFOUNDATION, cv2.CAP_MSMF, cv2.CAP_ANY]


# -- what is what


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", size=(64, 48), tracks=0)


def test_files_and_folders_are_told_apart(tmp_path, clip):
    save_grey(tmp_path / "one.png")
    for source, kind in [(clip, VideoFile), (str(clip), VideoFile), (tmp_path, PictureShow)]:
        opened = open_source(source)
        assert type(opened) is kind and not opened.returns
        opened.close()
    assert type(open_source(tmp_path / "one.png")) is PictureShow


def test_loop_reaches_files_and_folders(tmp_path, clip):
    clock = ManualClock()
    save_grey(tmp_path / "a.png")
    for source, frames in [(clip, 12), (tmp_path, 1)]:
        for loop in (False, True):
            opened = open_source(source, loop=loop, clock=clock)
            assert (len(clock.read_all(opened, most=frames + 1)) > frames) == loop
            opened.close()


@pytest.mark.parametrize("source", ["nothing.mp4", "nowhere/", "-1", "camera", "0.5", ""])
def test_a_source_that_is_not_there_is_one_sentence(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RtstyleError, match=r"does not exist: give a camera's number|holds no pictures") as error:
        open_source(source)
    assert "\n" not in str(error.value)


def test_a_place_that_may_not_be_read_is_one_sentence(tmp_path, monkeypatch):
    def locked(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(RtstyleError, match=r"cannot be opened \(Permission denied\)$"):
        open_source(tmp_path)
