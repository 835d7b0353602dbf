"""Live sources: cameras and streams through OpenCV, video files at their own speed, folders of pictures; and
the thread that keeps only the newest frame. Frames are uint8 RGB [H, W, 3].

A live source has `read()`, which gives the next frame or None when it ended or was lost; `wake()`, which may be
called from any thread and lets a waiting `read` return; `close()`, for the thread that reads; and `returns`:
whether it may come back once lost, and is worth waiting for.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from rtstyle.errors import DeviceError, InputError, RtstyleError
from rtstyle.media.images import SUFFIXES, read_image
from rtstyle.media.reader import VideoReader

OPEN_SECONDS = 4.0  # OpenCV's own default is 30
READ_SECONDS = 4.0
MIN_PAUSE, MAX_PAUSE = 0.05, 1.0  # between two attempts to open a lost source again
PICTURE_SECONDS = 3.0  # how long a picture of a folder stays


class Clock:
    """The time that passes, in seconds."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait so long, or until the event is set: whether it is."""
        return event.wait(seconds)


CLOCK = Clock()


class LiveSource(Protocol):
    """What `Capture` reads from; see the module's docstring."""

    returns: bool

    def read(self) -> np.ndarray | None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


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


def open_source(
    source: int | str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    loop: bool = False,
    clock: Clock = CLOCK,
) -> LiveSource:
    """A source by what people write: a camera number or device, a stream's address (rtsp://, http://), a video
    file, a picture or a folder of pictures.

    `size` (width, height) and `fps` are what a camera is asked for; it may give something else. `loop` starts
    files and folders again at their end; they play by `clock`. Raises RtstyleError if there is nothing to be had there.
    """
    text = os.fspath(source) if not isinstance(source, int) else str(source)
    if text.isdecimal():
        return open_camera(int(text), size, fps)
    if "://" in text:
        return open_stream(text)
    try:
        return _open_path(text, size, fps, loop, clock)
    except OSError as error:  # a folder on the way or at the end of it that may not be read
        raise InputError(f"the source {text} cannot be opened ({error.strerror})") from None


def _open_path(text: str, size: tuple[int, int] | None, fps: float | None, loop: bool, clock: Clock) -> LiveSource:
    path = Path(text)
    if path.is_char_device():
        return open_camera(text, size, fps)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES):
        return PictureFolder(path, loop=loop, clock=clock)
    if path.is_file():
        return VideoFile(path, loop=loop, clock=clock)
    raise InputError(
        f"the source {text} does not exist: give a camera's number (rtstyle cam --list-cameras), an address such as "
        "rtsp://... or http://..., a video file or a folder of pictures"
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


def open_stream(address: str) -> CvSource:
    """A network camera or stream by its address. Raises RtstyleError if it cannot be opened in a few seconds."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # the loss of a stream is told on the display
    if address.startswith("rtsp") and "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
    options = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_SECONDS * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(READ_SECONDS * 1000)),
        *(cv2.CAP_PROP_N_THREADS, 1),  # with several, the decoder holds back a frame for each
    ]
    with _quiet_opencv():
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, options)
    if not capture.isOpened():
        raise InputError(f"the stream {address} cannot be opened: is it running, and the address right?")
    return CvSource(capture)


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

    returns = True

    def __init__(self, capture: CvCapture):
        self._capture = capture

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


class VideoFile:
    """A video file at its own speed, upright: each `read` waits until the frame's time stamp is due."""

    returns = False

    def __init__(self, path: str | os.PathLike[str], *, loop: bool = False, clock: Clock = CLOCK):
        self._path, self._loop, self._clock = path, loop, clock
        self._closed = threading.Event()
        self._origin: float | None = None
        self._reader = VideoReader(path)
        self._frames = self._decode()

    def _decode(self) -> Iterator[tuple[float, np.ndarray]]:
        """(seconds since the first frame, upright RGB) for ever if looped."""
        begin = 0.0
        while True:
            first, passed, step = None, 0.0, 1 / 25
            for frame in self._reader:
                seconds = float(frame.pts * self._reader.time_base)
                first = seconds if first is None else first
                step = seconds - first - passed or step
                passed = seconds - first
                yield begin + passed, np.ascontiguousarray(np.rot90(frame.rgb, round(frame.rotation / 90)))
            self._reader.close()
            if first is None:
                raise InputError(f"{self._path} holds no frame that can be decoded")
            if not self._loop:
                return
            begin += passed + step
            self._reader = VideoReader(self._path)

    def read(self) -> np.ndarray | None:
        item = next(self._frames, None)
        if item is None or self._closed.is_set():
            return None
        due, rgb = item
        now = self._clock.now()
        if self._origin is None:
            self._origin = now - due
        late = now - self._origin - due
        if late > 0.5:  # decoding cannot keep up, or the machine slept: go on from here, do not race
            self._origin += late
        elif late < 0 and self._clock.wait(self._closed, -late):
            return None
        return rgb

    def wake(self) -> None:
        self._closed.set()

    def close(self) -> None:
        self._reader.close()


class PictureFolder:
    """The pictures of a folder, each shown for `seconds`, or one picture for ever. Unreadable ones are passed over."""

    returns = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        loop: bool = False,
        seconds: float = PICTURE_SECONDS,
        clock: Clock = CLOCK,
    ):
        path = Path(path)
        loop = loop or path.is_file()
        files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"the folder {path} holds no pictures ({', '.join(SUFFIXES)})")
        self._path, self._files, self._loop, self._seconds, self._clock = path, files, loop, seconds, clock
        self._pending: collections.deque[Path] = collections.deque(files)
        self._until = 0.0
        self._closed = threading.Event()

    def read(self) -> np.ndarray | None:
        if self._clock.wait(self._closed, max(0.0, self._until - self._clock.now())):
            return None
        while self._pending or self._loop:
            if not self._pending:
                self._pending.extend(self._files)
            if (rgb := self._load(self._pending.popleft())) is not None:
                self._until = self._clock.now() + self._seconds
                return rgb
        return None

    def _load(self, path: Path) -> np.ndarray | None:
        try:
            rgb = read_image(path).rgb
        except RtstyleError:
            self._files = [file for file in self._files if file != path]
            if not self._files:
                raise InputError(f"{self._path} holds no picture that can be read") from None
            return None
        return rgb

    def wake(self) -> None:
        self._closed.set()

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Captured:
    """A frame of a source: its number (from 1), when it was read (time.monotonic) and uint8 RGB [H, W, 3]."""

    number: int
    time: float
    rgb: np.ndarray


class Capture:
    """Reads a source in a thread and keeps the newest frame only: a slow consumer drops frames, never lags.

    `opener` gives the source; the first call is made here, so that what is wrong with it is raised here. A
    source that `returns` is opened again for as long as it takes when it was lost; `problem` then says what is
    the matter, and `ended` is set when nothing more will come. `changed` is notified at every new frame. Closing waits
    for a hanging read for at most `patience` seconds.
    """

    def __init__(
        self,
        opener: Callable[[], LiveSource],
        *,
        clock: Clock = CLOCK,
        patience: float = READ_SECONDS + OPEN_SECONDS + 1,
    ):
        self._opener, self._clock, self._patience = opener, clock, patience
        self._source = opener()
        self.changed = threading.Condition()
        self.newest: Captured | None = None
        self.ended = False
        self.error: RtstyleError | None = None
        self._lost, self._lost_at, self._pause = "", 0.0, MIN_PAUSE  # until the next frame comes
        self._times: collections.deque[float] = collections.deque(maxlen=64)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """Frames read so far."""
        newest = self.newest
        return newest.number if newest else 0

    @property
    def rate(self) -> float | None:
        """Measured frames a second over the last two seconds; None before there is anything to measure."""
        times = [t for t in list(self._times) if t > self._clock.now() - 2]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 2 and times[-1] > times[0] else None

    @property
    def problem(self) -> str:
        """What is the matter with the source, as a person would say it; empty while frames come."""
        if self._lost:
            return self._lost
        newest = self.newest
        quiet = self._clock.now() - newest.time if newest else 0.0
        return f"no picture for {quiet:.0f} s" if self._source.returns and quiet > 1.0 else ""

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                rgb = self._source.read()
                if rgb is not None:
                    self._keep(rgb)
                elif self._stop.is_set() or not self._source.returns or not self._reopen():
                    break
        except RtstyleError as error:
            self.error = error
        except Exception as error:  # a source's own kinds: the frame loop has to hear of it, not this thread
            self.error = InputError(f"reading the source failed ({type(error).__name__}: {error})")
        finally:
            self._source.close()
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def _keep(self, rgb: np.ndarray) -> None:
        now = self._clock.now()
        self._times.append(now)
        with self.changed:
            self.newest = Captured(self.count + 1, now, rgb)
            self._lost, self._lost_at, self._pause = "", 0.0, MIN_PAUSE
            self.changed.notify_all()

    def _reopen(self) -> bool:
        """Open the lost source again, however long that takes; False when this capture was closed meanwhile."""
        self._lost_at = self._lost_at or self._clock.now()
        self._source.close()
        self._times.clear()
        while True:
            self._lost = f"the source was lost {self._clock.now() - self._lost_at:.0f} s ago: waiting for it"
            if self._clock.wait(self._stop, self._pause):
                return False
            self._pause = min(2 * self._pause, MAX_PAUSE)
            with contextlib.suppress(RtstyleError):
                self._source = self._opener()
                return True

    def close(self) -> None:
        """Stop reading and let go of the source. A read that hangs is left behind after a while."""
        self._stop.set()
        self._source.wake()
        self._thread.join(self._patience)
