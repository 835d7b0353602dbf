"""The sound of a recording: where it comes from, in pieces with their times, and how it is kept in step."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol

import av
import numpy as np
from av.container import OutputContainer

from rtstyle.errors import InputError, RtstyleError
from rtstyle.media.capture import CLOCK, Clock
from rtstyle.media.segments import reason
from rtstyle.media.stream import local_file

RATE = 48000  # samples a second of recordings
GAP = 0.1  # seconds: a larger difference between a piece's time and the expected one is a gap, not a drift
EARLIEST, LATELY = 5.0, 2.0  # seconds: of so many the earliest arrivals count; all late for so long is a gap
AHEAD = 0.1  # seconds that a file's sound may be read before it is due
LOOK = 0.1  # seconds between looks at whether the file still plays

Take = Callable[[float, np.ndarray], None]  # a piece: the time of its first sample, float32 [N, channels]


class SoundSource(Protocol):
    """What gives sound while it is started. `rate` is its samples a second."""

    rate: int
    channels: int

    @property
    def error(self) -> RtstyleError | None:
        """What ended it early."""

    def start(self, take: Take) -> None:
        """Give pieces to `take`, from a thread of its own, with times of the clock of captured frames. Raises
        RtstyleError if there is no sound to be had."""

    def stop(self) -> None:
        """Give no more."""


class _Arrival(NamedTuple):
    """When a piece of sound came, in seconds; that time less the length of all sound until then; and how much older
    than its length the driver took it to be."""

    time: float
    delay: float
    latency: float


class SampleClock:
    """When pieces of sound that follow one another were recorded, from when they came: never before they were recorded,
    and many of them hardly later, whatever else delays some. So the earliest of the last seconds tell the time of all,
    which also follows a sound card whose clock runs a little fast or slow."""

    def __init__(self, rate: int):
        self._rate, self._samples = rate, 0
        self._arrivals: collections.deque[_Arrival] = collections.deque()

    def add(self, arrived: float, age: float, samples: int) -> None:
        """A piece of so many samples, the next ones, came at a time in seconds; the driver takes the first sample to
        have been `age` seconds old (0: it does not know)."""
        self._samples += samples
        arrivals = self._arrivals
        arrivals.append(_Arrival(arrived, arrived - self._samples / self._rate, max(0.0, age - samples / self._rate)))
        while arrived - arrivals[0].time > EARLIEST:
            arrivals.popleft()
        lately = [each for each in arrivals if arrived - each.time < LATELY]
        if arrived - arrivals[0].time > LATELY and _least_delay(lately) > _least_delay(arrivals) + GAP:
            self._arrivals = collections.deque(lately)  # samples were lost: all come later from now on

    def time(self, sample: int) -> float:
        """When a sample was recorded, by its number from the first one on, 0."""
        return sample / self._rate + _least_delay(self._arrivals) - min(each.latency for each in self._arrivals)


def _least_delay(arrivals: Iterable[_Arrival]) -> float:
    return min(each.delay for each in arrivals)


class Playing(Protocol):
    """A file that plays: a `VideoFile`."""

    @property
    def zero(self) -> float | None:
        """When the time 0 of the file is played, in seconds of the clock; None before its first frame."""


class FileSound:
    """The sound of a video file that plays live, in step with its frames."""

    def __init__(self, path: str | os.PathLike[str], playing: Callable[[], Playing], *, clock: Clock = CLOCK):
        self._path, self._playing, self._clock = path, playing, clock
        self.rate, self.channels = RATE, 2
        self.error: RtstyleError | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, take: Take) -> None:
        self.stop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(take, self._stop), name="file sound", daemon=True)
        self._thread.start()

    def _work(self, take: Take, stop: threading.Event) -> None:
        """Every pass of a file that is looped begins anew."""
        try:
            while not stop.is_set():
                playing = self._playing()
                zero = playing.zero
                if zero is None:
                    self._clock.wait(stop, LOOK)
                    continue
                for time, samples in self._pieces(self._clock.now() - zero):
                    if self._clock.wait(stop, max(0.0, zero + time - AHEAD - self._clock.now())) or stop.is_set():
                        return
                    if playing.zero is None or abs(playing.zero - zero) > GAP:
                        break  # it began again, or could not keep up
                    take(zero + time, samples)
                else:  # its sound is over: until the file begins again
                    while playing.zero == zero and not self._clock.wait(stop, LOOK) and not stop.is_set():
                        pass
        except (av.FFmpegError, OSError) as error:
            self.error = InputError(f"the sound of {self._path} cannot be read any further ({reason(error)})")

    def _pieces(self, begin: float) -> Iterator[tuple[float, np.ndarray]]:
        """(time in the file, samples float32 [N, 2]) from a time on."""
        with av.open(local_file(self._path)) as container:
            stream = container.streams.audio[0]
            if begin > 1:
                container.seek(round((begin - 0.5) / float(stream.time_base or 1)), stream=stream)
            resampler = av.AudioResampler(format="flt", layout="stereo", rate=self.rate)
            for frame in container.decode(stream):
                if frame.pts is None:
                    continue
                for piece in resampler.resample(frame):
                    if piece.time is not None and piece.time + piece.samples / self.rate > begin:
                        yield piece.time, piece.to_ndarray().reshape(-1, 2)

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()


def has_sound(path: str | os.PathLike[str]) -> bool:
    """Whether a file has a sound track that can be read."""
    with contextlib.suppress(av.FFmpegError, OSError), av.open(local_file(path)) as container:
        return bool(container.streams.audio)
    return False


class SoundTrack:
    """The sound track of a recording: pieces from a source, resampled so that it stays in step with the frames.

    `take` is called by the source's thread, all else by the recorder's.
    """

    def __init__(self, container: OutputContainer, source: SoundSource):
        self.source, self._container = source, container
        self._stream = container.add_stream("aac", rate=RATE, layout="mono" if source.channels == 1 else "stereo")
        self._stream.bit_rate = 96_000 * source.channels
        self._pieces: collections.deque[tuple[float, np.ndarray]] = collections.deque()
        self._graph: av.filter.Graph | None = None

    def start(self) -> None:
        """Raises RtstyleError if there is no sound to be had."""
        self.source.start(lambda time, samples: self._pieces.append((time, samples)))

    def stop(self) -> None:
        self.source.stop()

    def encode(self, origin: float, until: float = float("inf")) -> None:
        """Encode what came, from the time `origin` of the first frame to a time."""
        while self._pieces:
            time, samples = self._pieces.popleft()
            rate, early = self.source.rate, max(0, round((origin - time) * self.source.rate))
            samples = samples[early : max(0, round((until - time) * rate)) if until < time + len(samples) else None]
            if len(samples):
                self._feed(time + early / rate - origin, samples)

    def _feed(self, seconds: float, samples: np.ndarray) -> None:
        layout = "mono" if samples.shape[1] == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), format="flt", layout=layout)
        frame.sample_rate, frame.time_base = self.source.rate, Fraction(1, self.source.rate)
        frame.pts = round(seconds * self.source.rate)
        if self._graph is None:
            self._graph = self._in_step(layout)
        self._graph.push(frame)
        self._drain()

    def _in_step(self, layout: str) -> av.filter.Graph:
        """FFmpeg's resampler, which stretches samples where their times have drifted from the frames', and fills gaps
        with silence."""
        graph, rate = av.filter.Graph(), self.source.rate
        begin = graph.add_abuffer(sample_rate=rate, format="flt", layout=layout, time_base=Fraction(1, rate))
        stretch = graph.add("aresample", f"{RATE}:async=1000:first_pts=0:min_hard_comp={GAP}")
        shape = graph.add("aformat", f"sample_fmts=fltp:sample_rates={RATE}:channel_layouts={layout}")
        end = graph.add("abuffersink")
        begin.link_to(stretch)
        stretch.link_to(shape)
        shape.link_to(end)
        graph.configure()
        return graph

    def _drain(self) -> None:
        assert self._graph is not None
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while True:
                frame = self._graph.pull()
                assert isinstance(frame, av.AudioFrame)
                self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """The last samples."""
        if self._graph:
            self._graph.push(None)
            self._drain()
            self._container.mux(self._stream.encode(None))
