"""Live sources by what people write: cameras and streams through OpenCV, files, folders."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from rtstyle.errors import DeviceError, InputError
from rtstyle.media.capture import CLOCK, Clock, LiveSource
from rtstyle.media.http_stream import open_http
from rtstyle.media.images import SUFFIXES
from rtstyle.media.live_files import PictureShow, VideoFile
from rtstyle.media.screen import Screen, is_screen
from rtstyle.threads import interruptible

OPEN_SECONDS = READ_SECONDS = 4.0  # OpenCV's own default is 30


def has_camera() -> bool:
    """Whether a camera seems to be there, without opening one where the system can say so."""
    if sys.platform.startswith("linux"):
        return any(Path("/dev").glob("video*"))
    return True  # opening it is the only way to know


def list_cameras() -> list[tuple[int, str]]:
    """The cameras of this machine: (number, name), the number being what `open_source` takes."""
    from cv2_enumerate_cameras import enumerate_cameras

    backend = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_MSMF}.get(sys.platform)
    cameras = enumerate_cameras(cv2.CAP_ANY if backend is None else backend)
    return sorted((camera.index, camera.name or "unnamed") for camera in cameras)


def is_camera(source: str) -> bool:
    """Whether what people write means a camera: a number or a device."""
    return source.isdecimal() or Path(source).is_char_device()


def open_source(
    source: int | str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    loop: bool = False,
    clock: Clock = CLOCK,
) -> LiveSource:
    """A source by what people write: a camera number or device, a stream's address (rtsp://, http://), the screen
    (`screen`, `screen:2`, `screen:X,Y,WxH`), a video file or a pipe that one is written into, a picture or a folder of
    pictures.

    `size` (width, height) and `fps` are what a camera is asked for; it may give something else. The screen is looked at
    `fps` times a second. `loop` starts
    files and folders again at their end; they play by `clock`. Raises RtstyleError if there is nothing to be had there.
    """
    text = os.fspath(source) if not isinstance(source, int) else str(source)
    if text.isdecimal():
        return open_camera(int(text), size, fps)
    if "://" in text:
        return open_stream(text)
    if is_screen(text):
        return Screen(text, fps=fps, clock=clock)
    try:
        return _open_path(text, size, fps, loop, clock)
    except OSError as error:  # a folder on the way or at the end of it that may not be read
        raise InputError(f"the source {text} cannot be opened ({error.strerror})") from None


def _open_path(text: str, size: tuple[int, int] | None, fps: float | None, loop: bool, clock: Clock) -> LiveSource:
    path = Path(text)
    if path.is_char_device():
        return open_camera(text, size, fps)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES):
        return PictureShow(path, loop=loop, clock=clock)
    if path.is_file():
        return VideoFile(path, loop=loop, clock=clock)
    if path.is_fifo():
        return open_pipe(text)
    raise InputError(
        f"the source {text} does not exist: give a camera's number (rtstyle cam --list-cameras), an address such as "
        "rtsp://... or http://..., screen, a video file or a folder of pictures"
    )


def open_camera(camera: int | str = 0, size: tuple[int, int] | None = None, fps: float | None = None) -> CvSource:
    """A camera by number or device path. Raises RtstyleError if it cannot be opened."""
    # All asked for at construction: some drivers ignore later changes. Without MJPG most USB cameras give only a
    # few frames a second above 640x480.
    asked = [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")]
    if size:
        asked += [cv2.CAP_PROP_FRAME_WIDTH, size[0], cv2.CAP_PROP_FRAME_HEIGHT, size[1]]
    if fps:
        asked += [cv2.CAP_PROP_FPS, round(fps)]
    with _quiet_opencv():
        capture = cv2.VideoCapture(camera, cv2.CAP_ANY, asked)
        if not capture.isOpened():  # a driver that refuses what was asked for may still give what it has
            capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        raise DeviceError(f"camera {camera} cannot be opened: is it plugged in, and free? (rtstyle cam --list-cameras)")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return CvSource(capture)


def open_stream(address: str) -> LiveSource:
    """A network camera or stream by its address. Raises RtstyleError if it cannot be opened in a few seconds."""
    if address.lower().startswith(("http://", "https://")) and (source := open_http(address)):
        return source
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # the loss of a stream is told on the display
    if address.startswith("rtsp") and "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
    capture = _through_ffmpeg(address)
    if not capture.isOpened():
        raise InputError(f"the stream {address} cannot be opened: is it running, and the address right?")
    return CvSource(capture)


def open_pipe(path: str) -> CvSource:
    """The video that is written into a named pipe, at the speed at which it comes. Raises RtstyleError if none comes in
    a few seconds, or it cannot be read forward."""
    try:
        capture = _through_ffmpeg(f"file:{path}", OPEN_SECONDS)
    except TimeoutError:
        raise InputError(f"the pipe {path} gives no video in {OPEN_SECONDS:.0f} s: is one written into it?") from None
    if not capture.isOpened():
        raise InputError(f"what is written into the pipe {path} is no video that can be read forward, such as MPEG-TS")
    return CvSource(capture, returns=False)


def _through_ffmpeg(source: str, seconds: float | None = None) -> cv2.VideoCapture:
    """Raises TimeoutError after so many seconds."""
    options = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_SECONDS * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(READ_SECONDS * 1000)),
        *(cv2.CAP_PROP_N_THREADS, 1),  # with several, the decoder holds back a frame for each
    ]
    with _quiet_opencv():
        return interruptible(
            lambda: cv2.VideoCapture(source, cv2.CAP_FFMPEG, options), "opening", seconds, cv2.VideoCapture.release
        )


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    previous = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(previous)


class CvCapture(Protocol):
    """What of cv2.VideoCapture is used."""

    def read(self) -> tuple[bool, np.ndarray | None]:
        """(whether there was a frame, the frame: BGR or grey)."""

    def release(self) -> None: ...


class CvSource:
    """A camera or stream through OpenCV."""

    def __init__(self, capture: CvCapture, *, returns: bool = True):
        self._capture, self.returns = capture, returns

    def read(self) -> np.ndarray | None:
        ok, frame = self._capture.read()
        if not ok or frame is None:
            return None
        rgb: np.ndarray = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB)
        return rgb

    def wake(self) -> None:
        """Nothing can be done: an OpenCV capture must not be touched under a read, which ends by itself."""

    def close(self) -> None:
        self._capture.release()
