"""Videos painted by many machines: their segments as tasks of Ray (https://ray.io).

The driver, which is the process that calls `stylize_videos`, opens the videos, hands out segments, at most twice as
many as can be painted at once, keeps what comes back in the folder of the job, as a run without Ray does, and joins it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from rtstyle.errors import DeviceError, InputError, Interrupted, OutputError, RtstyleError, UsageError
from rtstyle.media.parcel import Parcel
from rtstyle.media.segments import MEDIA_ERRORS
from rtstyle.paint.stylizer import Stylizer
from rtstyle.runtime import devices
from rtstyle.video.cluster import LOCAL, connected, differences, names, nodes
from rtstyle.video.convert import Conversion, Options, Progress, Result, could_not_be_written, opened_job
from rtstyle.video.resume import software
from rtstyle.video.segment_work import File, Painted, Painting, Unseen, paint_segment
from rtstyle.video.sinks import VideoFileSink

AHEAD = 2  # times as many segments are handed out as can be painted at once
RETRIES = 8  # of a segment whose worker or machine was lost
ATTEMPTS = 3  # at a segment that ends in an error, which may be that of one machine
LOST_SECONDS = 60.0  # without a machine that could paint
SLOW = 2.0  # times the usual time: then an idle machine paints the segment, too

Finished = Callable[[str, str, "Result | RtstyleError"], object]


def stylize_videos(
    pairs: Sequence[tuple[str, str]],
    stylizer: Stylizer,
    options: Options | None = None,
    *,
    address: str = LOCAL,
    gpus_per_segment: float | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
    finished: Finished | None = None,
) -> list[Result | RtstyleError]:
    """Paint videos, [(source, out)], on all machines of a Ray cluster; the files are those of `stylize_video`. Returns
    what came of each: an error of one does not keep the others from being painted.

    `address` is that of a cluster, HOST:PORT or `auto`, or `local`. A segment takes one processor core, or, on
    machines with GPUs, `gpus_per_segment` of one. `finished` is called with source, out and what came of it for each
    video as it is done. Raises RtstyleError if nothing can be painted at all, Interrupted after Ctrl-C.
    """
    results: dict[str, Result | RtstyleError] = {}

    def keep(source: str, out: str, result: Result | RtstyleError) -> None:
        results[out] = result
        if finished:
            finished(source, out, result)

    with connected(address) as ray:
        farm = _Farm(ray, stylizer, options or Options(), gpus_per_segment, resume=resume, force=force)
        farm.check()
        farm.progress, farm.finished = progress, keep
        farm.paint(pairs)
    return [results[out] for _, out in pairs]


class _Film:
    """A video of which some segments are still to be painted."""

    def __init__(self, farm: _Farm, source: str, out: str):
        if out.endswith(("/", os.sep)):
            raise UsageError(f"Ray paints into video files: {out} is a folder, leave `ray` out")
        self.source, self.out = source, out
        self._stack = contextlib.ExitStack()
        try:
            job = opened_job(source, out, farm.stylizer, farm.options, resume=farm.resume, force=farm.force)
            self.conversion: Conversion = self._stack.enter_context(job)
            self.sink = cast(VideoFileSink, self.conversion.sink)
            self.waiting, self.left = self._begin(farm)
        except BaseException:
            self.close()
            raise

    def _begin(self, farm: _Farm) -> tuple[deque[int], set[int]]:
        reader, parts = self.conversion.source, self.conversion.parts
        if parts.index is None:
            raise InputError(
                f"{self.source} cannot be entered in the middle, as its packets have no reliable time stamps: leave "
                "`ray` out, or copy it into Matroska first"
            )
        if not self.conversion.has_frames():
            self.conversion.complete()  # which says that there is nothing
        painter, stylizer = self.conversion.painter, farm.stylizer
        self.painting = Painting(
            source=File.of(reader.path, self.conversion.content),
            fps=farm.options.fps,
            index=parts.index,
            format=reader.format,
            segment_frames=parts.frames,
            model=File.of(stylizer.path),
            device=farm.device,
            work_height=stylizer.work_height,
            stroke_size=stylizer.stroke_size,
            code=stylizer.code,
            changes=list(self.conversion.schedule.changes),
            strength=painter.strength,
            keep_color=painter.keep_color,
            steady=painter.steady,
            plan=self.sink.plan(),
        )
        self.reference = farm.ray.put(self.painting)
        return deque(parts.missing), set(parts.missing)

    def parcel(self, segment: int) -> Parcel:
        """What a machine needs that does not see the source."""
        parts = self.conversion.parts
        assert parts.index is not None
        return Parcel.of(self.conversion.source, parts.index, parts.warm_up(segment), parts.end(segment))

    def close(self) -> None:
        """Let go of everything; finished segments stay if they were not joined."""
        self.waiting, self.left = deque(), set()
        self._stack.close()


@dataclasses.dataclass
class _Handed:
    """A segment that is being painted somewhere, since when, and whether another machine was asked, too."""

    film: _Film
    segment: int
    since: float
    twice: bool


class _Farm:
    """The driver's part of one run."""

    def __init__(
        self,
        ray: Any,
        stylizer: Stylizer,
        options: Options,
        gpus_per_segment: float | None,
        *,
        resume: bool,
        force: bool,
    ):
        self.ray, self.stylizer, self.options, self.resume, self.force = ray, stylizer, options, resume, force
        kind, name = stylizer.device.kind, stylizer.device.name
        self.gpus = float(kind in devices.NVIDIA) if gpus_per_segment is None else gpus_per_segment
        self.device = kind if kind in devices.NVIDIA else "cuda" if self.gpus else name  # Ray says which GPU
        if self.device != name:
            self.options = dataclasses.replace(options, device=self.device)
        self.progress: Callable[[Progress], None] | None = None
        self.finished: Finished | None = None
        self._model = ray.put(Path(stylizer.path).read_bytes())
        self._handed: dict[Any, _Handed] = {}
        self._failed: Counter[tuple[str, int]] = Counter()  # attempts at a segment that ended in an error
        self._names: dict[str, str] = {}
        self._painted: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._films: list[_Film] = []
        self._past = [0, 0]  # frames of the films that are finished: painted, expected
        self._all_open = False
        self._started = time.monotonic()
        self._lacking_since: float | None = None
        task = {"num_cpus": 0 if self.gpus else 1, "num_gpus": self.gpus, "max_retries": RETRIES}
        self._task = ray.remote(_paint).options(**task)

    def check(self) -> None:
        """Raises RtstyleError for a cluster that cannot paint, or not alike on all machines."""
        if lack := self._lack():
            raise DeviceError(lack)
        here = software()
        for node in nodes(self.ray, self.device):
            if found := differences(here, node):
                raise DeviceError(f"{node.name} has {', '.join(found)}: install the same version on all machines")
            if node.problem and (node.gpus or not self.gpus or not node.software):
                raise DeviceError(f"{node.name} cannot paint on {self.device}: {node.problem}")

    def _lack(self) -> str | None:
        """What every machine of the cluster has too little of; None: it can paint."""
        need, what, flag = (self.gpus, "GPU", "--num-gpus") if self.gpus else (1, "CPU", "--num-cpus")
        most = max((node["Resources"].get(what, 0) for node in self.ray.nodes() if node["Alive"]), default=0)
        if most >= need:
            return None
        return (
            f"a segment needs {need:g} {what}, and no machine of the cluster has more than {most:g}: add one with "
            f"ray start --address=... {flag}=N{', or give less by `gpus_per_segment`' if self.gpus else ''}"
        )

    @property
    def _slots(self) -> int:
        """Segments that can be painted at once; one where all machines went away, as others may come."""
        total = self.ray.cluster_resources()
        return max(1, int(total.get("GPU", 0) / self.gpus if self.gpus else total.get("CPU", 0)))

    def paint(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Paint all videos."""
        waiting = deque(pairs)
        try:
            while True:
                self._hand_out(waiting)
                if not self._handed:
                    return
                self._wait()
        except KeyboardInterrupt:
            self._cancel(list(self._handed))
            raise Interrupted(f"interrupted{self._put_away()}") from None
        except (self.ray.exceptions.RayError, ConnectionError) as error:  # the cluster itself is gone
            raise OutputError(f"Ray failed ({devices.first_sentence(error)}); `resume=True` goes on") from None
        finally:
            with contextlib.suppress(self.ray.exceptions.RayError, ConnectionError):
                self._cancel(list(self._handed))
            for film in self._films:
                film.close()

    def _put_away(self) -> str:
        """Keep what is painted so far of all films; the rest of a sentence that says where."""
        texts = []
        for film in self._films:
            try:
                texts.append(film.conversion.put_away())
            except (RtstyleError, *MEDIA_ERRORS) as error:
                texts.append(f"; {film.out} has no partial file ({error})")
        if len(texts) == 1:
            return texts[0]
        return "".join(f"; {film.out}{text}" for film, text in zip(self._films, texts, strict=True))

    def _hand_out(self, waiting: deque[tuple[str, str]]) -> None:
        """Give work to all machines, and a little more."""
        slots = self._slots
        while len(self._handed) < AHEAD * slots:
            film = next((film for film in self._films if film.waiting), None)
            if film is None and waiting:
                self._open(*waiting.popleft())
                self._all_open = not waiting
            elif film is None:
                break
            else:
                self._hand(film, film.waiting.popleft())
        if len(self._handed) < slots:
            self._help_the_slow()

    def _open(self, source: str, out: str) -> None:
        try:
            film = _Film(self, source, out)
        except RtstyleError as error:
            self._say(source, out, error)
            return
        except MEDIA_ERRORS as error:
            self._say(source, out, could_not_be_written(out, error))
            return
        self._films.append(film)
        self._complete(film)

    def _hand(self, film: _Film, segment: int, *, twice: bool = False, send: bool = False) -> None:
        """Have a segment painted somewhere; `send` the bytes of the source that it needs along."""
        try:
            parcel = [self.ray.put(film.parcel(segment))] if send else []
        except (RtstyleError, *MEDIA_ERRORS) as error:  # the source went away
            self._give_up(film, InputError(f"{film.source} cannot be read any more ({error}); `resume=True` goes on"))
            return
        task = self._task.remote(film.reference, segment, [self._model], parcel, software())
        self._handed[task] = _Handed(film, segment, time.monotonic(), twice)

    def _help_the_slow(self) -> None:
        """The last segments must not wait for the slowest machine."""
        if len(self._seconds) < 3:
            return
        long = SLOW * statistics.median(self._seconds)
        for handed in list(self._handed.values()):
            if not handed.twice and time.monotonic() - handed.since > long:
                handed.twice = True
                self._hand(handed.film, handed.segment, twice=True)
                return

    def _wait(self) -> None:
        """Take what is painted meanwhile."""
        done, _ = self.ray.wait(list(self._handed), num_returns=1, timeout=0.5)
        for task in done:
            handed = self._handed.pop(task)
            if handed.segment in handed.film.left:
                self._take(task, handed)
        lack = self._lack() if not done else None
        self._lacking_since = (self._lacking_since or time.monotonic()) if lack else None
        if lack and self._lacking_since and time.monotonic() - self._lacking_since > LOST_SECONDS:
            raise OutputError(f"{lack}; `resume=True` goes on")

    def _take(self, task: Any, handed: _Handed) -> None:
        film, segment = handed.film, handed.segment
        others = [task for task, other in self._handed.items() if (other.film, other.segment) == (film, segment)]
        try:
            painted, node = self.ray.get(task)
        except Exception as error:
            cause = getattr(error, "cause", None) or error
            self._failed[film.out, segment] += not isinstance(cause, Unseen)
            if isinstance(cause, Unseen):
                self._hand(film, segment, twice=handed.twice, send=True)
            elif self._failed[film.out, segment] < ATTEMPTS and not others:
                self._hand(film, segment)
            elif not others:
                self._give_up(film, cause, segment)
            return
        self._seconds.append(time.monotonic() - handed.since)
        film.left.discard(segment)
        self._cancel(others)
        self._keep(film, segment, painted, node)

    def _keep(self, film: _Film, segment: int, painted: Painted, node: str) -> None:
        film.conversion.source.damaged += painted.damaged
        if painted.segment:
            try:
                film.sink.add(segment, painted.segment)
            except OSError as error:
                self._give_up(film, could_not_be_written(film.out, error))
                return
            if node not in self._names:
                self._names = names(self.ray)
            self._painted[self._names.get(node, node)] += len(painted.segment.pts)
        self._report()
        self._complete(film)

    def _complete(self, film: _Film) -> None:
        """Join a film of which all is painted."""
        if film.left:
            return
        result: Result | RtstyleError
        try:
            result = film.conversion.complete()
        except Interrupted:
            raise
        except RtstyleError as error:
            result = error
        except MEDIA_ERRORS as error:
            result = could_not_be_written(film.out, error)
        film.close()
        self._past[0] += film.sink.frames
        self._past[1] += film.sink.frames
        self._films.remove(film)
        self._report()
        self._say(film.source, film.out, result)

    def _give_up(self, film: _Film, error: Exception, segment: int | None = None) -> None:
        """A film that cannot be painted, as one of its segments cannot."""
        self._cancel([task for task, handed in self._handed.items() if handed.film is film])
        if not isinstance(error, RtstyleError):
            error = OutputError(
                f"segment {segment} of {film.source} could not be painted, in {ATTEMPTS} attempts "
                f"({devices.first_sentence(error)}); `resume=True` goes on"
            )
        film.close()
        self._films.remove(film)
        self._say(film.source, film.out, error)

    def _cancel(self, tasks: Sequence[Any]) -> None:
        for task in tasks:
            del self._handed[task]
            with contextlib.suppress(Exception):  # it may be done, or its machine gone
                self.ray.cancel(task, force=True)

    def _say(self, source: str, out: str, result: Result | RtstyleError) -> None:
        if self.finished:
            self.finished(source, out, result)

    def _report(self) -> None:
        if not self.progress:
            return
        done = self._past[0] + sum(film.sink.frames for film in self._films)
        total = self._past[1] + sum(film.conversion.total or 0 for film in self._films)
        size = sum(film.sink.size for film in self._films)
        seconds = time.monotonic() - self._started
        known = total if self._all_open else None
        self.progress(Progress(done, known, seconds, size, machines=dict(self._painted)))


def _paint(
    painting: Painting, segment: int, model: list[Any], parcel: list[Any], expected: dict[str, str]
) -> tuple[Painted, str]:
    """Runs on any machine: (the painted segment, the machine's number in the cluster)."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    if software() != expected:  # it came after the others were looked at
        raise DeviceError(f"the machine {socket.gethostname()} has other versions than the others: see rtstyle doctor")
    fetch = (lambda: ray.get(parcel[0])) if parcel else None
    return paint_segment(painting, segment, lambda: ray.get(model[0]), fetch), node
