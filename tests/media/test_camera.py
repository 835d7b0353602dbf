"""Live sources: what is opened for what people write, files at their own speed, and the newest frame only."""

import contextlib
import os
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from support.media_files import damage_video_packets, make_clip, picture, psnr, rgb_frames
from support.sources import Hand

from rtstyle import RtstyleError
from rtstyle.media import camera
from rtstyle.media.camera import Capture, CvSource, PictureFolder, VideoFile, open_source

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

PROMPTLY = 2.0  # seconds; on a machine that has something else to do, too


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def grey(level, height=24, width=32):
    return np.full((height, width, 3), level % 256, np.uint8)


def capture_threads():
    return [thread for thread in threading.enumerate() if thread.name == "capture"]


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    wait_until(lambda: not capture_threads())


class Clock:
    """Time that passes only when a source waits, or when a test says so."""

    def __init__(self, monkeypatch):
        self.now, self._patch = 1000.0, monkeypatch
        monkeypatch.setattr(camera, "time", SimpleNamespace(monotonic=lambda: self.now))

    def drive(self, source):
        self._patch.setattr(source._closed, "wait", self.wait)
        return source

    def wait(self, seconds):
        self.now += seconds
        return False

    def read_all(self, source, most=100):
        """[(seconds since the first frame, frame)] until the source ends."""
        read = []
        while len(read) < most and (rgb := source.read()) is not None:
            read.append((self.now, rgb))
        return [(at - read[0][0], rgb) for at, rgb in read]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


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


def save(path, level=90, height=24, width=32):
    Image.fromarray(grey(level, height, width)).save(path)
    return path


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", size=(64, 48), tracks=0)


def test_files_and_folders_are_told_apart(tmp_path, clip):
    save(tmp_path / "one.png")
    for source, kind in [(clip, VideoFile), (str(clip), VideoFile), (tmp_path, PictureFolder)]:
        opened = open_source(source)
        assert type(opened) is kind and not opened.returns
        opened.close()
    assert type(open_source(tmp_path / "one.png")) is PictureFolder


def test_loop_reaches_files_and_folders(tmp_path, clip, clock):
    save(tmp_path / "a.png")
    for source, frames in [(clip, 12), (tmp_path, 1)]:
        for loop in (False, True):
            opened = clock.drive(open_source(source, loop=loop))
            assert (len(clock.read_all(opened, most=frames + 1)) > frames) == loop
            opened.close()


@pytest.mark.parametrize("source", ["nothing.mp4", "nowhere/", "-1", "camera", "0.5", ""])
def test_a_source_that_is_not_there_is_one_sentence(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RtstyleError, match=r"does not exist: give a camera's number|holds no pictures") as told:
        open_source(source)
    assert "\n" not in str(told.value)


def test_a_place_that_may_not_be_read_is_one_sentence(tmp_path, monkeypatch):
    def locked(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(RtstyleError, match=r"cannot be opened \(Permission denied\)$"):
        open_source(tmp_path)


# -- video files


def test_a_file_plays_at_its_own_speed_though_it_varies(tmp_path, clock):
    stamps = [0, 1, 2, 5, 6, 12, 13, 30]
    path = make_clip(tmp_path / "vfr.mp4", size=(64, 48), tracks=0, stamps=stamps, time_base=Fraction(1, 24))
    read = clock.read_all(clock.drive(VideoFile(path)))
    assert [at for at, _ in read] == pytest.approx([stamp / 24 for stamp in stamps], abs=1e-3)
    for (_, rgb), wanted in zip(read, rgb_frames(path), strict=True):
        assert psnr(rgb, wanted) > 30


def test_a_file_that_begins_late_begins_at_once(tmp_path, clock):
    path = make_clip(tmp_path / "late.mkv", size=(64, 48), tracks=0, frames=3, start=240)
    source, began = clock.drive(VideoFile(path)), clock.now
    source.read()
    assert clock.now == began
    source.close()


def test_time_really_passes(clip):
    source, began = VideoFile(clip), time.monotonic()
    count = 0
    while source.read() is not None:
        count += 1
    assert count == 12
    assert 11 / 24 - 0.005 <= time.monotonic() - began < 11 / 24 + PROMPTLY


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_file_is_upright(tmp_path, clock, rotation):
    path = make_clip(tmp_path / "turned.mp4", size=(64, 48), tracks=0, frames=2, rotation=rotation)
    source = clock.drive(VideoFile(path))
    rgb = source.read()
    source.close()
    player = cv2.VideoCapture(str(path))  # turns pictures upright by itself
    upright = player.read()[1][..., ::-1]
    player.release()
    assert rgb.shape == ((48, 64, 3) if rotation % 180 == 0 else (64, 48, 3))
    assert rgb.flags["C_CONTIGUOUS"]
    assert psnr(rgb, upright) > 30


def test_a_looped_file_goes_on_in_the_same_beat(clip, clock):
    source = clock.drive(VideoFile(clip, loop=True))
    read = clock.read_all(source, most=30)
    source.close()
    assert [at for at, _ in read] == pytest.approx([i / 24 for i in range(30)], abs=1e-3)
    assert (read[12][1] == read[0][1]).all() and (read[29][1] == read[5][1]).all()
    assert (read[12][1] != read[11][1]).any()


def test_a_little_late_is_made_up_for(clip, clock):
    source = clock.drive(VideoFile(clip))
    source.read()
    clock.now += 0.3
    read = clock.read_all(source)
    assert read[0][0] == read[5][0] == 0, "frames that are due must not wait"
    assert read[-1][0] == pytest.approx(11 / 24 - 0.3, abs=1e-3)


def test_frames_do_not_pile_up_when_decoding_is_slow(clip, clock):
    source = clock.drive(VideoFile(clip))
    source.read()
    clock.now += 5.0
    read = clock.read_all(source)
    assert [at for at, _ in read] == pytest.approx([i / 24 for i in range(11)], abs=1e-3), "it raced to catch up"


def test_wake_interrupts_a_wait(tmp_path):
    stamps = [0, 60 * 24, 120 * 24]
    path = make_clip(tmp_path / "slow.mp4", size=(64, 48), tracks=0, stamps=stamps, time_base=Fraction(1, 24))
    source, got = VideoFile(path), []
    assert source.read() is not None
    thread = threading.Thread(target=lambda: got.append(source.read()))
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive(), "the second frame is not due for a minute"
    source.wake()
    thread.join(PROMPTLY)
    assert not thread.is_alive() and got == [None]
    assert source.read() is None
    source.close()


def test_a_file_that_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / "notes.mp4").write_text("milk, bread\n" * 50)
    with pytest.raises(RtstyleError, match=r"notes\.mp4 is not a video"):
        open_source(tmp_path / "notes.mp4")


@pytest.mark.parametrize("loop", [False, True])
def test_a_file_without_a_frame_is_an_error_not_the_end(tmp_path, loop):
    dead = damage_video_packets(make_clip(tmp_path / "dead.mkv"), range(12), after=6, fill=255)
    capture = Capture(lambda: VideoFile(dead, loop=loop))
    wait_until(lambda: capture.ended)
    capture.close()
    assert "holds no frame" in str(capture.error)


# -- folders of pictures


def test_a_folder_is_shown_in_order_each_picture_for_its_time(tmp_path, clock):
    for name, level in [("b.png", 20), ("a.JPG", 10), ("c.bmp", 30)]:
        save(tmp_path / name, level)
    (tmp_path / "notes.txt").write_text("no picture")
    read = clock.read_all(clock.drive(PictureFolder(tmp_path, seconds=2.5)))
    assert [at for at, _ in read] == [0, 2.5, 5.0]
    assert [round(rgb.mean(), -1) for _, rgb in read] == [10, 20, 30]
    assert clock.now == 1000 + 7.5, "the last picture has its time, too"


def test_unreadable_pictures_are_passed_over(tmp_path, clock):
    for name, level in [("b.png", 20), ("d.png", 40)]:
        save(tmp_path / name, level)
    for name in ("a.png", "c.png", "e.png"):
        (tmp_path / name).write_text("not a picture")
    (tmp_path / "f.png").mkdir()
    for loop, levels in [(False, [20, 40]), (True, [20, 40, 20, 40, 20])]:
        read = clock.read_all(clock.drive(PictureFolder(tmp_path, loop=loop)), most=5)
        assert [rgb[0, 0, 0] for _, rgb in read] == levels
        assert [at for at, _ in read] == [3.0 * i for i in range(len(levels))]


@pytest.mark.parametrize("loop", [False, True])
def test_no_readable_picture_at_all_is_one_sentence(tmp_path, loop):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("not a picture")
    capture = Capture(lambda: PictureFolder(tmp_path, loop=loop))
    wait_until(lambda: capture.ended)
    capture.close()
    assert str(capture.error) == f"{tmp_path} holds no picture that can be read"


def test_a_folder_without_pictures_is_one_sentence(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(RtstyleError, match=r"holds no pictures \(\.jpg"):
        PictureFolder(tmp_path)


def test_one_picture_stays_for_ever(tmp_path, clock):
    save(tmp_path / "a.png", 10), save(tmp_path / "b.png", 20)
    read = clock.read_all(clock.drive(PictureFolder(tmp_path / "b.png")), most=5)
    assert [rgb[0, 0, 0] for _, rgb in read] == [20] * 5


def test_wake_interrupts_the_wait_for_the_next_picture(tmp_path):
    save(tmp_path / "a.png")
    capture = Capture(lambda: PictureFolder(tmp_path / "a.png"))
    wait_until(lambda: capture.count == 1)
    began = time.monotonic()
    capture.close()
    assert time.monotonic() - began < PROMPTLY and capture.ended


# -- the newest frame


class Opener:
    """Gives these sources one after another; errors among them are raised; the last one stays."""

    def __init__(self, *sources):
        self.sources, self.calls = list(sources), 0

    def __call__(self):
        source = self.sources[min(self.calls, len(self.sources) - 1)]
        self.calls += 1
        if isinstance(source, Exception):
            raise source
        return source


class Hasty(threading.Event):
    """An event that notes how long somebody wants to wait for it, and does not let him."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return super().wait(0.001)


@contextlib.contextmanager
def capturing(*sources):
    capture = Capture(Opener(*sources))
    try:
        yield capture
    finally:
        capture.close()


def test_the_newest_frame_wins_and_the_number_is_its_own():
    class Fast(Hand):
        number = 0

        def read(self):
            time.sleep(0.001)
            self.number += 1
            return grey(self.number)

    source, number = Fast(), 0
    with capturing(source) as capture:
        for _ in range(8):
            captured = capture.next(number, 10)
            assert captured.number > number
            number = captured.number
            assert (captured.rgb == number % 256).all(), "the number belongs to another frame"
            assert time.monotonic() - captured.time < PROMPTLY
            time.sleep(0.03)
    assert number > 3 * 8, "every frame was kept: none was dropped"


def test_next_waits_for_a_newer_frame_only():
    source = Hand(grey(1), grey(2))
    with capturing(source) as capture:
        wait_until(lambda: capture.count == 2)
        assert capture.next(0, 10).number == 2
        assert capture.next(2, 0.02) is None
        later, began = threading.Timer(0.05, source.give, [grey(3)]), time.monotonic()
        later.start()
        assert capture.next(2, 20).number == 3
        assert time.monotonic() - began < PROMPTLY
        later.join()


@pytest.mark.parametrize("ended_before", [True, False])
def test_next_gives_up_when_the_source_ends(ended_before):
    source = Hand(grey(1), returns=False)
    with capturing(source) as capture:
        later, began = threading.Timer(0 if ended_before else 0.1, source.give, [None]), time.monotonic()
        later.start()
        wait_until(lambda: capture.ended or not ended_before)
        assert capture.next(1, 20) is None
        assert time.monotonic() - began < PROMPTLY
        later.join()


def test_the_rate_is_measured():
    class Slow(Hand):
        gave = ()

        def read(self):
            time.sleep(0.01)
            self.gave = [*self.gave, time.monotonic()]
            return grey(1)

    source = Slow()
    with capturing(source) as capture:
        assert capture.rate is None
        wait_until(lambda: capture.count >= 40)
        gave, rate = source.gave, capture.rate
    gave = [at for at in gave if at > gave[-1] - 2]
    measured = (len(gave) - 1) / (gave[-1] - gave[0])
    assert rate == pytest.approx(measured, rel=0.2)


def test_the_rate_speaks_of_the_last_two_seconds(clock):
    source = Hand()
    with capturing(source) as capture:
        for i, pause in enumerate([0.1] * 10 + [0.5] * 6):
            clock.now += pause
            source.give(grey(i))
            wait_until(lambda i=i: capture.count == i + 1)
        assert capture.rate == pytest.approx(2.0)
        clock.now += 3
        assert capture.rate is None


def test_the_rate_is_measured_anew_after_a_loss(clock):
    first, second = Hand(), Hand()
    with capturing(first, second) as capture:
        for i in range(5):
            clock.now += 0.1
            first.give(grey(i))
            wait_until(lambda i=i: capture.count == i + 1)
        assert capture.rate == pytest.approx(10)
        first.give(None)
        second.give(grey(5))
        wait_until(lambda: capture.count == 6)
        assert capture.rate is None


def test_a_silent_source_is_a_problem_in_words(clock):
    source = Hand(grey(1))
    with capturing(source) as capture:
        wait_until(lambda: capture.count == 1)
        clock.now += 0.9
        assert capture.problem == ""
        clock.now += 4
        assert capture.problem == "no picture for 5 s"
        source.give(grey(2))
        wait_until(lambda: capture.count == 2)
        assert capture.problem == ""


def test_a_picture_that_stays_is_no_problem(clock):
    with capturing(Hand(grey(1), returns=False)) as capture:
        wait_until(lambda: capture.count == 1)
        clock.now += 60
        assert capture.problem == ""


def test_a_lost_source_is_opened_again_though_its_size_has_changed(clock):
    first, second = Hand(grey(1)), Hand()
    opener = Opener(first, *[RtstyleError("gone")] * 3, second)
    capture = Capture(opener)
    wait_until(lambda: capture.count == 1)
    first.give(None)
    wait_until(lambda: opener.calls == 5)
    assert first.closed == 1
    assert capture.problem == "the source was lost 0 s ago: waiting for it"
    assert not capture.ended and capture.error is None
    second.give(grey(7, 48, 64))
    wait_until(lambda: capture.count == 2)
    assert capture.newest.rgb.shape == (48, 64, 3)
    assert capture.problem == ""
    capture.close()
    assert second.closed == 1


def test_the_problem_says_how_long_the_source_has_been_lost(clock):
    first = Hand()
    opener = Opener(first, RtstyleError("gone"))
    capture = Capture(opener)
    first.give(None)
    wait_until(lambda: opener.calls > 1)
    clock.now += 12
    wait_until(lambda: capture.problem == "the source was lost 12 s ago: waiting for it")
    capture.close()


def test_pauses_between_attempts_grow_to_one_second():
    source = Hand()
    capture = Capture(Opener(source, *[RtstyleError("gone")] * 7, Hand(grey(1))))
    capture._stop = Hasty()
    source.give(None)
    wait_until(lambda: capture.count == 1)
    assert capture._stop.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    capture.close()


def test_a_source_that_opens_but_gives_nothing_is_not_hammered():
    class Dead(Hand):
        def read(self):
            return None

    last, gate = Hand(), Hand()
    capture = Capture(Opener(gate, *[Dead() for _ in range(6)], last))
    capture._stop = Hasty()
    gate.give(None)
    wait_until(lambda: capture._source is last)
    assert capture._stop.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    last.give(grey(1), None)
    wait_until(lambda: len(capture._stop.waits) == 8)
    assert capture._stop.waits[-1] == 0.05, "a source that came back is waited for anew"
    capture.close()


def test_a_source_that_does_not_return_just_ends():
    source = Hand(grey(1), None, returns=False)
    opener = Opener(source)
    capture = Capture(opener)
    wait_until(lambda: capture.ended)
    assert (capture.count, capture.error, capture.problem) == (1, None, "")
    assert (opener.calls, source.closed) == (1, 1)
    capture.close()


def test_the_first_opening_fails_in_the_callers_hands():
    with pytest.raises(RtstyleError, match="no such camera"):
        Capture(Opener(RtstyleError("no such camera")))
    assert capture_threads() == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RtstyleError("the tape is torn"), "the tape is torn"),
        (ZeroDivisionError("oops"), "reading the source failed (ZeroDivisionError: oops)"),
    ],
)
def test_an_error_of_the_source_reaches_the_caller(error, said):
    source = Hand(grey(1), error)
    with capturing(source) as capture:
        assert capture.next(1, 10) is None
        assert capture.ended and source.closed == 1
        assert isinstance(capture.error, RtstyleError) and str(capture.error) == said


def test_an_error_while_opening_again_reaches_the_caller():
    with capturing(Hand(grey(1), None), MemoryError("full")) as capture:
        wait_until(lambda: capture.ended)
        assert "MemoryError: full" in str(capture.error)


def close_and_time(capture):
    began = time.monotonic()
    capture.close()
    assert not capture._thread.is_alive()
    return time.monotonic() - began


@pytest.mark.parametrize("state", ["reading", "waiting", "opening again", "ended"])
def test_closing_is_prompt_in_every_state(tmp_path, clip, state):
    source = Hand(grey(1), *{"opening again": [None], "ended": [None]}.get(state, []), returns=state != "ended")
    opener = Opener(source, RtstyleError("gone"))
    if state == "waiting":
        slow = make_clip(tmp_path / "s.mp4", size=(64, 48), tracks=0, stamps=[0, 1440], time_base=Fraction(1, 24))
        opener = Opener(VideoFile(slow))
    capture = Capture(opener)
    wait_until(lambda: capture.count == 1)
    if state == "opening again":
        wait_until(lambda: opener.calls >= 4)
    if state == "ended":
        wait_until(lambda: capture.ended)
    assert close_and_time(capture) < PROMPTLY
    assert capture.ended and capture.error is None
    if state != "waiting":
        assert source.closed >= 1
    assert close_and_time(capture) < PROMPTLY, "closing twice is closing once"


def test_a_read_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(camera, "READ_SECONDS", 0.1)
    monkeypatch.setattr(camera, "OPEN_SECONDS", -0.9)
    gate = threading.Event()

    class Hanging(Hand):
        def read(self):
            gate.wait(20)

    capture = Capture(Opener(Hanging(returns=False)))
    began = time.monotonic()
    capture.close()
    assert time.monotonic() - began < PROMPTLY
    gate.set()


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="file descriptors cannot be counted here")
def test_fifty_losses_leave_no_thread_and_no_file_open(clip):
    frames = 12
    opened = []

    def opener():
        opened.append(cv2.VideoCapture(str(clip)))
        return CvSource(opened[-1])

    before = None
    capture = Capture(opener)
    capture._stop = Hasty()
    try:
        for cycle in (5, 50):
            wait_until(lambda cycle=cycle: capture.count >= cycle * frames, 60)
            assert len(capture_threads()) == 1
            before = before or open_files()
    finally:
        capture.close()
    assert all(not source.isOpened() for source in opened[:-1])
    assert open_files() <= before
    assert not opened[-1].isOpened() and capture_threads() == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="file descriptors cannot be counted here")
def test_a_looped_file_leaves_no_file_open(clip, clock):
    source = clock.drive(VideoFile(clip, loop=True))
    clock.read_all(source, most=3)
    before = open_files()
    clock.read_all(source, most=20 * 12)
    assert open_files() <= before
    source.close()
    assert open_files() < before
