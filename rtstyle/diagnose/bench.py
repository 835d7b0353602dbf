"""`rtstyle bench`: how fast a model paints on this machine, alone and with everything around it.

Per size: the first frame, then median, 95th and 99th percentile of the milliseconds a frame, warm-up excluded, for

    paint        the net, uint8 in and out
    + decode     decoding a clip, then painting; likewise + look (strength and colours), + steady, + encode (H.264)
    all          `rtstyle video` with all of these, its stages overlapping: time a frame, over 4 or more in a row
    batch N      N frames in one run of the net, per frame

and the share of the machine's ceiling: the arithmetic of the model's convolutions and matrix products per second of
`paint`, divided by that of a large matrix product in ONNX Runtime on the same device and threads, in the precision
that the model runs in (float16 on a GPU, else float32).
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from rtstyle.diagnose import engines
from rtstyle.diagnose.arithmetic import ceiling, frame_operations
from rtstyle.diagnose.machine import forget_peak, load_a_core, machine, peak_memory
from rtstyle.diagnose.scenes import Scene, endless_frames, write_clip
from rtstyle.diagnose.timing import Step, summary, timed
from rtstyle.errors import Interrupted, RtstyleError, UsageError
from rtstyle.media.encoding import Encoding, plan
from rtstyle.media.reader import VideoReader
from rtstyle.media.segments import SegmentWriter
from rtstyle.paint.painter import Painter
from rtstyle.paint.stylizer import MIN_SIDE, Stylizer
from rtstyle.runtime.opening import open_model
from rtstyle.runtime.openvino import WORDS, OpenvinoSession
from rtstyle.runtime.session import Frames, Session, cores
from rtstyle.video.convert import stylize_video
from rtstyle.video.stages import MAX_BATCH_PIXELS, batch_size

FORMAT = "rtstyle-bench-1"
SIZES = "360p,540p,720p,1080p,2160p"
MAX_SIDE = 8192
LOOK: dict[str, Any] = {"strength": 0.7, "keep_color": True}  # the look whose cost is measured
CLIP_FRAMES = (12, 240)  # fewest and most frames of the clip for `all`
IN_A_ROW = 4  # frames that `all` is averaged over, at least: several are painted at once and finish together
BUSY = 0.5  # load average a core before we begin, from which figures are unreliable ...
SPREAD = 1.5  # ... and so are they from this 95th percentile on, as a multiple of the median

Progress = Callable[[int, int, str], object]  # measurements done, of how many, and what comes next


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure: `sizes` (width, height) in pixels, `batch` frames at once beside single ones, `seconds` a
    measurement; `threads` of the net, None for all cores."""

    style: str | None = None
    model: str = "live"
    device: str = "auto"
    sizes: tuple[tuple[int, int], ...] = ()
    batch: int = 4
    seconds: float = 2.0
    threads: int | None = None

    def stylizer(self) -> Stylizer:
        return Stylizer(self.style, model=self.model, device=self.device, threads=self.threads, work_height="full")

    def keys(self) -> set[tuple[int, int, str]]:
        """Of the rows to come."""
        return {(*size, what) for size in self.sizes for what in _stages(self.batch)}


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement, per frame: times in milliseconds, `fps` over the whole of it; `adds_ms` to the median of
    painting alone; `peak_mib` the most memory that the process held meanwhile, as far as the system tells. For `paint`
    also the first frame, the model's arithmetic (10^9 operations) and its share of the ceiling (0 to 1)."""

    width: int
    height: int
    what: str
    batch: int
    frames: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    peak_mib: float | None = None
    adds_ms: float | None = None
    first_ms: float | None = None
    gflop: float | None = None
    ceiling_share: float | None = None

    @property
    def key(self) -> tuple[int, int, str]:
        return self.width, self.height, self.what


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """`360p,1280x720` to ((640, 360), (1280, 720)), smallest first; heights alone are 16:9. Raises UsageError."""
    sizes = set()
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        width, x, height = part.rpartition("x")
        height = height if x else height.removesuffix("p")
        if not height.isdecimal() or (x and not width.isdecimal()):
            raise UsageError(f"{part!r} is not a size: write such as 720p or 1280x720, with commas between")
        size = (int(width) if x else 2 * round(int(height) * 8 / 9), int(height))
        if not MIN_SIDE <= min(size) <= max(size) <= MAX_SIDE:
            raise UsageError(f"a size must have between {MIN_SIDE} and {MAX_SIDE} pixels a side, {part} has not")
        sizes.add(size)
    if not sizes:
        raise UsageError("give at least one size, such as 720p")
    return tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size)))


def run(settings: Settings, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Everything at every size, as JSON.

    Sizes at which it fails are among the `doubts`; after Ctrl-C `interrupted` is a sentence, and the sizes before are
    there. Raises RtstyleError if the model cannot be loaded, or no size be measured.
    """
    load = load_a_core()
    steps = len(settings.sizes) * len(_stages(settings.batch)) + 2
    done = 0

    def next_up(what: str) -> None:
        nonlocal done
        progress(done, steps, what)
        done += 1

    report = header(settings)  # what is wrong with the arguments shows here, before any progress
    peak = float(settings.device != "cpu")  # a GPU's first work, its start, is not the arithmetic
    next_up("ceiling")
    stylizer = settings.stylizer()
    kind = "float16" if stylizer.half else "float32"
    same = report["precision"] == kind  # OpenVINO may have another one than the product would be calculated in
    top = ceiling(stylizer.device, settings.threads, settings.seconds / 2 + peak, stylizer.half) if same else None
    report |= {"ceiling_gflops": top, "ceiling_in": kind}
    next_up("engines")
    report["engines"] = [engine.to_json() for engine in _engines(settings)]
    rows: list[Row] = []
    failed: list[str] = []
    for width, height in settings.sizes:
        try:
            rows += _measure_size(settings, width, height, top, next_up)
        except (KeyboardInterrupt, Interrupted):  # the latter by `all`
            if not rows:
                raise KeyboardInterrupt from None
            report["interrupted"] = f"interrupted at {width}x{height}: the sizes before it are measured"
            break
        except RtstyleError as error:
            failed.append(f"{width}x{height} could not be measured: {error}")
    else:
        progress(steps, steps, "done")
    if not rows:
        raise RtstyleError(failed[0])
    return report | {
        "load_a_core": load,
        "peak_mib": max((row.peak_mib for row in rows if row.peak_mib), default=None),
        "rows": [dataclasses.asdict(row) for row in rows],
        "doubts": "; ".join(filter(None, (*failed, doubts(load, rows)))) or None,
    }


def _engines(settings: Settings) -> list[engines.Engine]:
    """All that is there to paint this model, at the smallest size."""
    return engines.measure(
        lambda name: dataclasses.replace(settings, device=name).stylizer(), *settings.sizes[0], settings.seconds / 2
    )


def _stages(batch: int) -> tuple[str, ...]:
    return ("paint", "+ decode", "+ look", "+ steady", "+ encode", "all", *([f"batch {batch}"] if batch > 1 else []))


def doubts(load: float | None, rows: Sequence[Row]) -> str | None:
    """Why the figures are unreliable, in one sentence; None if nothing speaks against them."""
    reasons = []
    if load is not None and load > BUSY:
        reasons.append(f"the machine was busy before it began (load {load:.1f} a core)")
    spread = max((row.p95_ms / row.median_ms for row in rows if row.what == "paint"), default=1.0)
    if spread > SPREAD:
        reasons.append(f"times vary (95th percentile {spread:.1f} times the median)")
    return f"these figures are unreliable: {' and '.join(reasons)}" if reasons else None


def header(settings: Settings) -> dict[str, Any]:
    """What was measured, on what, and how long it takes to load."""
    started = time.perf_counter()
    stylizer = settings.stylizer()
    loaded = time.perf_counter()
    model = stylizer.model
    codes = [code for code in (stylizer.code, *(style.code for style in model.styles)) if code is not None]
    session = open_model(model.path, settings.device, form=model.classic, codes=codes, threads=settings.threads)
    opened = time.perf_counter()
    return {
        "format": FORMAT,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        "model": stylizer.model.path.name,
        "model_sha256": hashlib.sha256(stylizer.model.path.read_bytes()).hexdigest(),
        "style": stylizer.style,
        "device": stylizer.device.name,
        "why": stylizer.device.why,
        "precision": _precision(session),
        "threads": settings.threads or cores(),
        "seconds": settings.seconds,
        "load": {"stylizer_ms": (loaded - started) * 1e3, "session_ms": (opened - loaded) * 1e3},
    }


def _precision(session: Session) -> str:
    if isinstance(session, OpenvinoSession):
        return WORDS[session.precision]
    return "float16" if session.half else "float32"


def _measure_size(
    settings: Settings, width: int, height: int, top: float | None, next_up: Callable[[str], None]
) -> list[Row]:
    """The rows of one size, with a session of its own."""
    scene, stylizer = Scene(width, height), settings.stylizer()
    frames = scene.some()
    started = time.perf_counter()
    stylizer(frames[0])
    first = (time.perf_counter() - started) * 1e3
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="rtstyle-") as folder:
        stages = _stages_at(settings, stylizer, scene, frames, Path(folder))
        for what in _stages(settings.batch):
            next_up(f"{width}x{height} {what}")
            samples, batch = next(stages)
            if samples:
                figures = summary(samples, batch) | {"peak_mib": peak_memory()}
                adds = figures["median_ms"] - rows[0].median_ms if rows else None
                rows.append(Row(width, height, what, **figures, adds_ms=adds))
    gflop = frame_operations(stylizer, width, height) / 1e9
    share = gflop / (rows[0].median_ms / 1e3) / top if top else None
    rows[0] = dataclasses.replace(rows[0], first_ms=first, gflop=gflop, ceiling_share=share)
    return rows


def _stages_at(
    settings: Settings, stylizer: Stylizer, scene: Scene, frames: list[Frames], folder: Path
) -> Iterator[tuple[list[float], int]]:
    """(seconds of each call, frames a call) for each of `_stages`; no samples for a batch that is too large."""
    seconds = settings.seconds / 2

    def picture(index: int) -> Frames:
        return frames[index % len(frames)]

    alone = _timed(lambda i: stylizer(picture(i)), settings.seconds)
    yield alone, 1
    together = _in_a_row(stylizer, scene.size)
    count = min(max(round(settings.seconds / statistics.median(alone)), CLIP_FRAMES[0], 2 * together), CLIP_FRAMES[1])
    clip = write_clip(folder / "clip.mp4", scene, -(-count // together) * together)  # no smaller batch at its end
    decoded, painter = endless_frames(clip), Painter(stylizer)
    yield _timed(lambda i: painter(next(decoded)), seconds), 1
    decoded.close()
    with_look, steady = Painter(stylizer, **LOOK), Painter(stylizer, steady=True)
    yield _timed(lambda i: with_look(picture(i)), seconds), 1
    yield _timed(lambda i: steady(picture(i)), seconds), 1
    writer = _writer(folder, clip)
    try:
        yield _timed(lambda i: writer.write(i, painter(picture(i))), seconds), 1
    finally:
        writer.abandon()
    yield _whole(stylizer, clip, folder, together), 1
    if settings.batch * frames[0].size > 3 * MAX_BATCH_PIXELS:
        yield [], settings.batch
    batch = np.stack([picture(i) for i in range(settings.batch)])
    yield _timed(lambda i: stylizer(np.roll(batch, i, 0)), settings.seconds), settings.batch


def _timed(step: Step, seconds: float) -> list[float]:
    """`timed`, with the peak of memory counted from its beginning."""
    forget_peak()
    return timed(step, seconds)


def _writer(folder: Path, clip: Path) -> SegmentWriter:
    """An encoder as `rtstyle video` sets it up for this clip; time stamps count frames."""
    with VideoReader(clip) as reader:
        next(iter(reader))
        format = dataclasses.replace(reader.format, time_base=Fraction(1, 30))
    chosen = plan(folder / "out.mp4", Encoding(), width=format.width, height=format.height, bits=8, hdr=False)
    return SegmentWriter(folder / "segment.mkv", chosen, format)


def _in_a_row(stylizer: Stylizer, size: tuple[int, int]) -> int:
    """How many frames of this size (width, height) `all` is averaged over: batches for every thread that paints."""
    _, workers = stylizer.for_throughput()
    at_once = workers * batch_size(stylizer, size)
    return -(-IN_A_ROW // at_once) * at_once


def _whole(stylizer: Stylizer, clip: Path, folder: Path, together: int) -> list[float]:
    """Seconds a frame of `rtstyle video`, each the mean of so many in a row; the first eighth, in which it starts, is
    left out."""
    finished: list[float] = []

    def note(_: object) -> None:
        finished.append(time.perf_counter())

    forget_peak()
    stylize_video(clip, folder / "out.mp4", stylizer, steady=True, force=True, progress=note, **LOOK)
    times = np.array(finished[len(finished) // 8 :])
    return list((times[together:] - times[:-together]) / together)
