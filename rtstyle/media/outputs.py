"""Where live frames go besides the window: a recording with real time stamps, a virtual camera."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import OutputContainer

from rtstyle.errors import DeviceError, OutputError, RtstyleError, install
from rtstyle.files import part_name, take_name
from rtstyle.media.segments import reason

CLOCK = 90000  # ticks a second of a recording's time stamps
RECORDINGS = (".mp4", ".m4v", ".mov", ".mkv")
QUEUE_LENGTH = 8  # frames that may wait for the encoder; more are dropped, so that painting never waits
# What is encoded is in the file within a second: Matroska's clusters by themselves, the others as fragments.
FLUSH_OPTIONS = {"flush_packets": "1"}
FRAGMENT_OPTIONS = {"movflags": "hybrid_fragmented", "frag_duration": "1000000", **FLUSH_OPTIONS}

INSTALL_HINTS = {
    "linux": "install v4l2loopback (Debian, Ubuntu: sudo apt install v4l2loopback-dkms), then load it (sudo modprobe "
    "v4l2loopback exclusive_caps=1 card_label=rtstyle)",
    "darwin": "install OBS (https://obsproject.com), start it once and press Start Virtual Camera",
    "win32": "install OBS (https://obsproject.com) and start it once",
}


def fit(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 RGB [H, W, 3] scaled into width x height, with black bars where the shape differs. One row or column
    too many, as odd sizes have, is cut off."""
    if 0 <= rgb.shape[0] - height <= 1 and 0 <= rgb.shape[1] - width <= 1:
        return rgb[:height, :width]
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    size = max(1, min(width, round(rgb.shape[1] * scale))), max(1, min(height, round(rgb.shape[0] * scale)))
    inner = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = inner
    return out


class Recorder:
    """A sink that records frames as H.264 (.mp4, .mov, .mkv), each at the time it was captured, in a thread of its own.

    The file takes its name when `close` returns. Until then it is a hidden part file beside it, written so
    that even after a crash or a power cut what was recorded can be played. `dropped` counts frames that came
    faster than they could be encoded; `error` is what ended the recording early. Without `force` no file is replaced.
    `open_container` is `av.open`, or what a test puts in its place.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        *,
        force: bool = False,
        open_container: Callable[..., OutputContainer] = av.open,
    ):
        self.path, self._force = Path(out), force
        self._part = part_name(self.path)
        self._queue: queue.Queue[tuple[float, np.ndarray] | float] = queue.Queue(QUEUE_LENGTH)
        self.frames = self.dropped = 0
        self.error: RtstyleError | None = None
        self._origin = 0.0
        self._ticks = -1
        self._closed = False
        self._container, self._stream = self._open(open_container)
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def _open(self, open_container: Callable[..., OutputContainer]) -> tuple[OutputContainer, av.VideoStream]:
        """Open the container now, so that an unknown ending or a missing folder is heard of at once."""
        suffix = self.path.suffix.lower()
        if suffix not in RECORDINGS:
            raise OutputError(f"cannot record to {self.path}: end the name with {', '.join(RECORDINGS)}")
        options = FLUSH_OPTIONS if suffix == ".mkv" else FRAGMENT_OPTIONS
        try:
            self._part.touch()  # PyAV opens the file at the first frame only
            container = open_container(os.fspath(self._part), "w", container_options=options)
            return container, container.add_stream("libx264", rate=30)
        except (av.FFmpegError, OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)
            raise OutputError(f"cannot record to {self.path} ({reason(error)})") from None

    @property
    def seconds(self) -> float:
        """How much has been encoded."""
        return max(0, self._ticks) / CLOCK

    def write(self, seconds: float, rgb: np.ndarray, /) -> None:
        """Take uint8 RGB [H, W, 3] captured at `seconds` (any clock, rising). Never waits."""
        try:
            self._queue.put_nowait((seconds, rgb))
        except queue.Full:
            self.dropped += 1

    def _work(self) -> None:
        """A frame lasts until the next one comes, so one is held back."""
        pending: tuple[float, np.ndarray] | None = None
        while not isinstance(item := self._queue.get(), float):
            if self.error is None:  # else the queue is only emptied, or `close` would find no room in it
                with self._keeping_the_error():
                    pending = self._take(pending, item)
        if pending is not None and self.error is None:
            with self._keeping_the_error():
                self._encode(*pending, until=item)
                self._mux(self._stream.encode(None))

    @contextlib.contextmanager
    def _keeping_the_error(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a full disk, or whatever else: the frame loop has to hear of it
            self.error = OutputError(f"recording to {self.path} stopped ({reason(error)})")

    def _take(
        self, pending: tuple[float, np.ndarray] | None, item: tuple[float, np.ndarray]
    ) -> tuple[float, np.ndarray]:
        """Encode the frame that was held back; returns the next one."""
        if pending is None:
            self._origin = item[0]
            self._start(item[1])
        elif item[0] <= pending[0]:
            return pending
        else:
            self._encode(*pending, until=item[0])
        return item

    def _start(self, rgb: np.ndarray) -> None:
        stream, codec = self._stream, self._stream.codec_context
        stream.width, stream.height = (side - side % 2 for side in rgb.shape[1::-1])
        stream.pix_fmt = "yuv420p"
        stream.time_base = codec.time_base = Fraction(1, CLOCK)
        codec.gop_size = 60
        # one encoding thread and no frames in reserve: painting needs the processor more than the encoder
        codec.options = {"preset": "superfast", "crf": "18", "tune": "zerolatency"}
        codec.thread_count = 1
        codec.color_range, codec.colorspace = av.video.reformatter.ColorRange.MPEG, 6
        codec.color_primaries, codec.color_trc = 6, 6

    def _encode(self, seconds: float, rgb: np.ndarray, *, until: float) -> None:
        ticks = max(self._ticks + 1, round((seconds - self._origin) * CLOCK))
        self._ticks = ticks
        picture = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(fit(rgb, self._stream.width, self._stream.height)), format="rgb24"
        )
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
        picture.pts, picture.time_base = ticks, Fraction(1, CLOCK)  # not the stream's: Matroska changes that
        self._mux(self._stream.encode(picture), max(1, round((until - self._origin) * CLOCK) - ticks))
        self.frames += 1

    def _mux(self, packets: Iterable[av.Packet[av.VideoStream]], duration: int | None = None) -> None:
        for packet in packets:
            if duration:
                packet.duration = duration
            self._container.mux(packet)

    def close(self, seconds: float | None = None) -> None:
        """End the recording at `seconds` on the frames' clock (with the last frame's beginning); the file is complete
        when this returns. Once it is closed nothing happens.

        Raises RtstyleError if the recording failed; what could be saved then stays in the file.
        """
        if self._closed:
            return
        self._closed = True
        self._queue.put(self._origin + self.seconds if seconds is None else float(seconds))
        self._thread.join()
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            self.error = self.error or OutputError(f"recording to {self.path} failed ({error.strerror or error})")
        if self.frames:
            self._take_the_name()
        else:
            self._part.unlink(missing_ok=True)
            self.error = self.error or OutputError(f"nothing was recorded to {self.path}: no frame came")
        if self.error:
            raise self.error

    def _take_the_name(self) -> None:
        try:
            take_name(self._part, self.path, force=self._force)
        except RtstyleError as error:
            self.error = self.error or error
        except OSError as error:  # as on Windows while a player holds the file
            text = f"the recording cannot be named {self.path} ({error.strerror}): it stays in {self._part}"
            self.error = self.error or OutputError(text)

    def abandon(self) -> None:
        """End the recording whatever happened, and keep what there is."""
        with contextlib.suppress(RtstyleError):
            self.close()


class VirtualCamera:
    """A sink that shows frames as a camera which meeting programs can choose, in a thread of its own: the newest wins.

    `device` names one of several virtual cameras; `backend` one of pyvirtualcam's. Raises RtstyleError where
    there is no virtual camera, with what to install on this system. `frames` counts what was sent.
    """

    def __init__(self, fps: float = 30.0, device: str | None = None, backend: str | None = None):
        try:
            import pyvirtualcam
        except ImportError:
            raise DeviceError(f"a virtual camera needs pyvirtualcam: {install('virtual-cam')}") from None
        self._open_camera: Callable[[int, int], Any] = lambda width, height: pyvirtualcam.Camera(
            width, height, fps, device=device, backend=backend, fmt=pyvirtualcam.PixelFormat.RGB
        )
        self._camera = self._open(640, 480)  # small, so that a missing driver is heard of before the camera starts
        self.device: str = self._camera.device
        self._sized = False
        self.frames = 0
        self.error: RtstyleError | None = None
        self._slot: np.ndarray | None = None
        self._changed, self._stop = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="virtual camera", daemon=True)
        self._thread.start()

    def _open(self, width: int, height: int) -> Any:
        try:
            return self._open_camera(width, height)
        except Exception as error:  # pyvirtualcam and its backends raise RuntimeError, KeyError and their own
            hint = next((text for system, text in INSTALL_HINTS.items() if sys.platform.startswith(system)), "")
            problem = " ".join(str(error).split()).rstrip(".")
            raise DeviceError(f"there is no virtual camera to be had here ({problem}): {hint}") from None

    def write(self, _seconds: float, rgb: np.ndarray, /) -> None:
        """Show uint8 RGB [H, W, 3]. Never waits."""
        with self._changed:
            self._slot = rgb
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot is not None or self._stop)
                rgb, self._slot = self._slot, None
            if rgb is None:
                return
            try:
                self._send(rgb)
            except Exception as error:
                self.error = DeviceError(f"the virtual camera stopped ({error})")
                return

    def _send(self, rgb: np.ndarray) -> None:
        if not self._sized:  # the first frame's size stays: a program that watches cannot follow a change
            height, width = (side - side % 2 for side in rgb.shape[:2])  # drivers convert to 4:2:0
            if (self._camera.width, self._camera.height) != (width, height):
                self._camera.close()
                self._camera = self._open(width, height)
            self._sized = True
        self._camera.send(np.ascontiguousarray(fit(rgb, self._camera.width, self._camera.height)))
        self.frames += 1

    def close(self) -> None:
        """Take the virtual camera down."""
        with self._changed:
            self._stop = True
            self._changed.notify()
        self._thread.join(timeout=5)
        with contextlib.suppress(Exception):
            self._camera.close()

    def abandon(self) -> None:
        """As `close`."""
        self.close()
