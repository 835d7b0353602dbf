"""A recording of live frames, with real time stamps."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from rtstyle.errors import OutputError, RtstyleError
from rtstyle.files import part_name, take_name
from rtstyle.media.images import fit
from rtstyle.media.segments import reason
from rtstyle.media.sound import SoundSource, SoundTrack
from rtstyle.media.stream import local_file

TICKS = 90000  # ticks a second of a recording's time stamps
RECORDINGS = (".mp4", ".m4v", ".mov", ".mkv")
SOUND_SECONDS = 0.2  # between two looks at the sound while no frame comes
QUEUE_LENGTH = 8  # frames that may wait for the encoder; more are dropped, so that painting never waits
# What is encoded is in the file within a second: Matroska's clusters by themselves, the others as fragments.
FLUSH_OPTIONS = {"flush_packets": "1", "max_interleave_delta": "1000000"}  # sound that ends holds up no frame
FRAGMENT_OPTIONS = {"movflags": "hybrid_fragmented", "frag_duration": "1000000", **FLUSH_OPTIONS}


class Recorder:
    """A sink that records frames as H.264 (.mp4, .mov, .mkv), each at the time it was captured, in a thread of its own.

    The file takes its name when `close` returns. Until then it is a hidden part file beside it, written so
    that even after a crash or a power cut what was recorded can be played. `dropped` counts frames that came
    faster than they could be encoded; `error` is what ended the recording early; `saved` is the file once it is closed,
    if there is one. Without `force` no file is replaced. `sound` is recorded with them; what ends it early is
    `sound.error`, and the recording goes on.
    `open_container` is `av.open`, or what a test puts in its place.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        *,
        force: bool = False,
        sound: SoundSource | None = None,
        open_container: Callable[..., OutputContainer] = av.open,
    ):
        self.path, self._force = Path(out), force
        self._part = part_name(self.path)
        self._queue: queue.Queue[tuple[float, np.ndarray] | float] = queue.Queue(QUEUE_LENGTH)
        self.frames = self.dropped = 0
        self.error: RtstyleError | None = None
        self.saved: Path | None = None
        self._origin = 0.0
        self._ticks = -1
        self._whole = 0  # bytes of the file after the last packet that found room
        self._closed = False
        self.sound = sound
        self._track: SoundTrack | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        try:
            self._container, self._stream = self._open(open_container)
            self._thread.start()
        except BaseException:  # also Ctrl-C: nobody could close this recording
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)
            raise

    def _open(self, open_container: Callable[..., OutputContainer]) -> tuple[OutputContainer, av.VideoStream]:
        """Open the container now, so that an unknown ending or a missing folder is heard of at once."""
        suffix = self.path.suffix.lower()
        if suffix not in RECORDINGS:
            raise OutputError(f"cannot record to {self.path}: end the name with {', '.join(RECORDINGS)}")
        options = FLUSH_OPTIONS if suffix == ".mkv" else FRAGMENT_OPTIONS
        try:
            self._part.touch()  # PyAV opens the file at the first frame only
            container = open_container(local_file(self._part), "w", container_options=options)
            stream = container.add_stream("libx264", rate=30)
            if self.sound:
                self._track = SoundTrack(container, self.sound)
                self._track.start()
            return container, stream
        except (av.FFmpegError, OSError, ValueError) as error:
            raise OutputError(f"cannot record to {self.path} ({reason(error)})") from None

    @property
    def seconds(self) -> float:
        """How much has been encoded."""
        return max(0, self._ticks) / TICKS

    def write(self, seconds: float, rgb: np.ndarray, /) -> None:
        """Take uint8 RGB [H, W, 3] captured at `seconds` (any clock, rising). Never waits."""
        try:
            self._queue.put_nowait((seconds, rgb))
        except queue.Full:
            self.dropped += 1

    def _work(self) -> None:
        """A frame lasts until the next one comes, so one is held back."""
        pending: tuple[float, np.ndarray] | None = None
        while not isinstance(item := self._next(), float):
            if self.error is None:  # else the queue is only emptied, or `close` would find no room in it
                with self._keeping_the_error():
                    pending = self._take(pending, item) if item else pending
                    self._encode_sound(pending)
        if self._track:
            self._track.stop()
        if pending is not None and self.error is None:
            with self._keeping_the_error():
                self._encode(*pending, until=item)
                self._mux(self._stream.encode(None))
                self._encode_sound(pending, item)

    def _next(self) -> tuple[float, np.ndarray] | float | None:
        """The next frame, or the end; None after a while in which only sound came."""
        try:
            return self._queue.get(timeout=SOUND_SECONDS if self._track else None)
        except queue.Empty:
            return None

    def _encode_sound(self, pending: tuple[float, np.ndarray] | None, end: float | None = None) -> None:
        if self._track is None or pending is None:  # before the first frame nothing is known of the times
            return
        self._track.encode(self._origin, float("inf") if end is None else end)
        if end is not None:
            self._track.finish()

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
            prepare_encoder(self._stream, item[1], {"crf": "18", "preset": "superfast"})
        elif item[0] <= pending[0]:
            return pending
        else:
            self._encode(*pending, until=item[0])
        return item

    def _encode(self, seconds: float, rgb: np.ndarray, *, until: float) -> None:
        ticks = max(self._ticks + 1, round((seconds - self._origin) * TICKS))
        self._ticks = ticks
        picture = live_picture(rgb, self._stream, ticks)
        self._mux(self._stream.encode(picture), max(1, round((until - self._origin) * TICKS) - ticks))
        self.frames += 1

    def _mux(self, packets: Iterable[av.Packet[av.VideoStream]], duration: int | None = None) -> None:
        for packet in packets:
            if duration:
                packet.duration = duration
            self._container.mux(packet)
            self._whole = self._part.stat().st_size

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
            kept = self.frames > 0
        except (av.FFmpegError, OSError) as error:  # also after a packet that found no room
            self.error = self.error or OutputError(f"recording to {self.path} failed ({error.strerror or error})")
            kept = self._cut()
        if kept:
            self._take_the_name()
        else:
            self._part.unlink(missing_ok=True)
            self.error = self.error or OutputError(f"nothing was recorded to {self.path}: no frame came")
        if self.error:
            raise self.error

    def _cut(self) -> bool:
        """Take a packet that did not fit off the end of the file, and say how much is left: whether anything is."""
        seconds = 0.0
        with contextlib.suppress(av.FFmpegError, OSError):
            os.truncate(self._part, self._whole)
            with av.open(local_file(self._part)) as container:
                for packet in container.demux(video=0):
                    if packet.pts is not None:
                        seconds = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        kept = f"the first {seconds:.1f} s are kept" if seconds else "nothing of it could be kept"
        self.error = OutputError(f"{self.error}: {kept}")
        return bool(seconds)

    def _take_the_name(self) -> None:
        try:
            take_name(self._part, self.path, force=self._force)
            self.saved = self.path
        except RtstyleError as error:
            self.error = self.error or error
        except OSError as error:  # as on Windows while a player holds the file
            text = f"the recording cannot be named {self.path} ({error.strerror}): it stays in {self._part}"
            self.error = self.error or OutputError(text)

    def abandon(self) -> None:
        """End the recording whatever happened, and keep what there is."""
        with contextlib.suppress(RtstyleError):
            self.close()


def prepare_encoder(stream: av.VideoStream, rgb: np.ndarray, options: dict[str, str]) -> None:
    """Have a stream of x264 take frames of the size of a first one, uint8 RGB [H, W, 3], as they come."""
    codec = stream.codec_context
    stream.width, stream.height = (side - side % 2 for side in rgb.shape[1::-1])
    stream.pix_fmt = "yuv420p"
    stream.time_base = codec.time_base = Fraction(1, TICKS)
    codec.gop_size = 60
    # one encoding thread and no frames in reserve: painting needs the processor more than the encoder
    codec.options = {"tune": "zerolatency", **options}
    codec.thread_count = 1
    codec.color_range, codec.colorspace = av.video.reformatter.ColorRange.MPEG, 6
    codec.color_primaries, codec.color_trc = 6, 6


def live_picture(rgb: np.ndarray, stream: av.VideoStream, ticks: int) -> av.VideoFrame:
    """uint8 RGB [H, W, 3] as the frame of a stream that `prepare_encoder` has prepared, at a time in ticks."""
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(fit(rgb, stream.width, stream.height)), format="rgb24")
    picture = picture.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
    picture.pts, picture.time_base = ticks, Fraction(1, TICKS)  # not the stream's: Matroska changes that
    return picture
