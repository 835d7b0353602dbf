"""The virtual camera as its driver finds it."""

import sys
import threading
import time

import cv2  # noqa: F401 -- before av when imported alone: see rtstyle.media
import pytest
from support.helpers import in_time, wait_until
from support.media_files import picture
from support.sinks import color_card, no_thread_survives  # noqa: F401 -- holds for all tests here

from rtstyle import RtstyleError
from rtstyle.media.virtual_camera import VirtualCamera

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

PROMPTLY = 2.0


class Driver:
    """A backend of pyvirtualcam that keeps what it is sent. `made` are all that were opened."""

    made: list
    fails_from = None  # the number of the frame at which sending fails
    gate = None  # an event that every sending waits for
    refuses = ()  # widths

    def __init__(self, *, width, height, fps, fourcc, device, **_):
        if width in self.refuses:
            raise RuntimeError(f"no {width}x{height} here.\n")
        self.size, self.fps, self.name = (height, width), fps, device
        self.sent, self.closed = [], 0
        self.made.append(self)

    def send(self, frame):
        if self.gate:
            self.gate.wait(20)
        if self.fails_from is not None and len(self.sent) >= self.fails_from:
            raise RuntimeError("the device is gone")
        assert not self.closed
        self.sent.append(frame.reshape(*self.size, 3).copy())

    def close(self):
        self.closed += 1

    def device(self):
        return self.name or "test camera"

    def native_fourcc(self):
        return None


@pytest.fixture
def driver(monkeypatch):
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    made = type("Fake", (Driver,), {"made": []})
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {})
    pyvirtualcam.register_backend("test", made)
    return made


def send(virtual, *frames):
    for frame in frames:
        expected = virtual.frames + 1
        virtual.write(0.0, frame)
        wait_until(lambda expected=expected: virtual.frames >= expected or virtual.error)


def test_frames_arrive_as_they_were_sent(driver):
    virtual = VirtualCamera(25, "/dev/video7")
    assert virtual.device == "/dev/video7"
    frames = [picture(i, 48, 64) for i in range(3)]
    send(virtual, *frames)
    virtual.close()
    assert [made.closed for made in driver.made] == [1, 1]
    assert (driver.made[-1].size, driver.made[-1].fps, driver.made[-1].name) == ((48, 64), 25, "/dev/video7")
    assert all((sent == frame).all() for sent, frame in zip(driver.made[-1].sent, frames, strict=True))
    assert driver.made[0].sent == [] and virtual.frames == 3


def test_a_camera_of_the_right_size_is_kept(driver):
    virtual = VirtualCamera(backend="test")
    send(virtual, color_card(90, 480, 640))
    virtual.close()
    assert len(driver.made) == 1 and len(driver.made[0].sent) == 1
    assert virtual.device == "test camera"


def test_odd_sizes_lose_a_row_and_a_column(driver):
    virtual = VirtualCamera()
    send(virtual, picture(0, 49, 65))
    virtual.close()
    assert (driver.made[-1].sent[0] == picture(0, 49, 65)[:48, :64]).all()


def test_the_first_frames_size_stays(driver):
    virtual = VirtualCamera()
    send(virtual, color_card(90, 48, 64), color_card(120, 96, 32), color_card(150, 49, 64))
    virtual.close()
    assert len(driver.made) == 2, "opened once to look, once in the right size"
    first, tall, odd = driver.made[-1].sent
    assert first.shape == tall.shape == odd.shape == (48, 64, 3)
    assert (tall[:, 24:40] == 120).all() and not tall[:, :24].any()
    assert (odd == 150).all()


def test_with_a_slow_driver_the_newest_frame_wins(driver):
    driver.gate = threading.Event()
    virtual = VirtualCamera()
    for level in range(1, 50):
        began = time.monotonic()
        virtual.write(0.0, color_card(level))
        assert time.monotonic() - began < PROMPTLY, "it waited for the driver"
        time.sleep(0.002)
    driver.gate.set()
    wait_until(lambda: driver.made[-1].sent and driver.made[-1].sent[-1][0, 0, 0] == 49)
    virtual.close()
    assert virtual.frames == len(driver.made[-1].sent) <= 3, "old frames were queued"


def test_no_frame_is_sent_twice(driver):
    virtual = VirtualCamera()
    send(virtual, color_card(90))
    time.sleep(0.05)
    virtual.close()
    assert len(driver.made[-1].sent) == 1


def test_a_driver_that_fails_while_sending_is_an_error_to_look_at(driver):
    driver.fails_from = 2
    virtual = VirtualCamera()
    send(virtual, *[color_card(i) for i in range(3)])
    assert str(virtual.error) == "the virtual camera stopped (the device is gone)"
    virtual.write(0.0, color_card(9))
    in_time(virtual.close)
    assert virtual.frames == 2 and driver.made[-1].closed == 1


def test_a_driver_that_refuses_the_size_is_an_error_to_look_at(driver):
    driver.refuses = (64,)
    virtual = VirtualCamera()
    virtual.write(0.0, color_card(9, 48, 64))
    wait_until(lambda: virtual.error)
    assert "no 64x48 here" in str(virtual.error) and "\n" not in str(virtual.error)
    virtual.close()


def test_finishing_twice_is_finishing_once(driver):
    virtual = VirtualCamera()
    send(virtual, color_card(90))
    for _ in range(3):
        in_time(virtual.close)
    assert driver.made[-1].closed == 1


def test_finishing_without_a_frame(driver):
    in_time(VirtualCamera().close)
    assert driver.made[0].closed == 1 and len(driver.made) == 1


def test_without_pyvirtualcam_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(RtstyleError, match=r"pip install '\.\[virtual-cam\]'"):
        VirtualCamera()


@pytest.mark.parametrize(
    ("platform", "remedy"),
    [("linux", "v4l2loopback"), ("darwin", "OBS.*Start Virtual Camera"), ("win32", "OBS")],
)
def test_without_a_driver_one_sentence_says_what_to_install(driver, monkeypatch, platform, remedy):
    driver.refuses = (640,)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(RtstyleError, match=rf"^no virtual camera is available \(.*\): .*{remedy}") as error:
        VirtualCamera()
    assert "\n" not in str(error.value) and "no 640x480 here)" in str(error.value)
