"""Live frames sent over the network: RTMP, RTSP, MPEG-TS by UDP, TCP or SRT."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import av
import numpy as np
from av.container import OutputContainer

from rtstyle.errors import OutputError, RtstyleError, UsageError
from rtstyle.media.recorder import TICKS, live_picture, prepare_encoder
from rtstyle.media.segments import reason

FORMATS = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "srt": "mpegts", "udp": "mpegts", "tcp": "mpegts"}
OPTIONS = {"udp": {"pkt_size": "1316"}, "rtsp": {"rtsp_transport": "tcp"}}  # of the protocols
CONNECT_SECONDS = SEND_SECONDS = 4.0  # that an address is given
NICENESS = 10  # so that painting and the window go first where all cores are busy
MIN_PAUSE, MAX_PAUSE = 0.25, 1.5  # seconds between two attempts to connect


class LiveStream:
    """A sink that sends frames to an address as H.264, in a thread of its own: what cannot be sent in time is left out.

    A connection that is refused or lost is tried again for as long as it takes: `problem` says so meanwhile. `frames`
    counts what was sent. Raises RtstyleError for an address that can never work; what only shows when it is tried is
    `error`. `open_container` is `av.open`, or what a test puts in its place.
    """

    def __init__(self, address: str, *, open_container: Callable[..., OutputContainer] = av.open):
        parts = urlsplit(address)
        if parts.scheme not in FORMATS or not parts.hostname:
            raise UsageError(
                f"{address} is not an address for `stream`: begin it with {', '.join(FORMATS)} and ://host"
            )
        self._address, self._scheme = address, parts.scheme
        self.name = f"{parts.scheme}://{parts.hostname}"  # without the key that platforms put behind it
        self._open_container = open_container
        self.frames = 0
        self.error: RtstyleError | None = None
        self.problem = "connecting"
        self._container: OutputContainer | None = None
        self._slot: tuple[float, np.ndarray] | None = None
        self._changed, self._stop = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()

    @property
    def status(self) -> str:
        """What there is to say of it, in a few words."""
        return f"{self.name}: {self.problem}" if self.problem else f"LIVE {self.name}"

    def write(self, seconds: float, rgb: np.ndarray, /) -> None:
        """Take uint8 RGB [H, W, 3] of a time, in seconds. Never waits."""
        with self._changed:
            self._slot = seconds, rgb
            self._changed.notify()

    def _next(self) -> tuple[float, np.ndarray] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._stop.is_set())
            item, self._slot = self._slot, None
            return None if self._stop.is_set() else item

    def _work(self) -> None:
        if sys.platform == "linux":  # there a thread, and those of the encoder that it starts, may stand back alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        pause = MIN_PAUSE
        while self.error is None and (item := self._next()) is not None:
            try:
                if self._container is None:
                    self._connect(item)
                self._send(*item)
                pause, self.problem = MIN_PAUSE, ""
            except av.error.ProtocolNotFoundError:
                self.error = OutputError(f"this FFmpeg cannot send by {self._scheme}: use {_others(self._scheme)}")
            except (av.FFmpegError, OSError, ValueError) as error:
                self._disconnect()
                self.problem = f"no connection ({reason(error)}), trying again"
                self._stop.wait(pause)
                pause = min(2 * pause, MAX_PAUSE)
        self._disconnect()

    def _connect(self, item: tuple[float, np.ndarray]) -> None:
        self._container = self._open_container(
            self._address,
            "w",
            format=FORMATS[self._scheme],
            container_options={"flush_packets": "1", **OPTIONS.get(self._scheme, {})},
            timeout=(CONNECT_SECONDS, SEND_SECONDS),
        )
        self._stream = self._container.add_stream("libx264", rate=30)
        # what a home connection bears; a key frame every two seconds, as platforms ask for
        options = {"crf": "23", "maxrate": "6M", "bufsize": "6M", "preset": "superfast"}
        prepare_encoder(self._stream, item[1], options)
        self._origin, self._ticks = item[0], -1

    def _send(self, seconds: float, rgb: np.ndarray) -> None:
        assert self._container is not None
        ticks = round((seconds - self._origin) * TICKS)
        if ticks <= self._ticks:
            return
        self._ticks = ticks
        for packet in self._stream.encode(live_picture(rgb, self._stream, ticks)):
            self._container.mux(packet)
        self.frames += 1

    def _disconnect(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(av.FFmpegError, OSError, ValueError):
                container.close()

    def close(self) -> None:
        """End it."""
        with self._changed:
            self._stop.set()
            self._changed.notify()
        self._thread.join(CONNECT_SECONDS + SEND_SECONDS)

    def abandon(self) -> None:
        """As `close`."""
        self.close()


def _others(scheme: str) -> str:
    return " or ".join(f"{other}://" for other in ("rtmp", "udp", "rtsp") if other != scheme)
