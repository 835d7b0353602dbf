"""`rtstyle bench`: how fast a model paints on this machine, alone and with everything around it.

Per size: the first frame, then median, 95th and 99th percentile of the milliseconds a frame, warm-up excluded, for

    paint        the net, uint8 in and out
    + decode     decoding a clip, then painting; likewise + look (strength and colours), + steady, + encode (H.264)
    all          `rtstyle video` with all of these, its stages overlapping: time a frame, over 4 in a row
    batch N      N frames in one run of the net, per frame

and the share of the machine's ceiling: the arithmetic of the model's convolutions and matrix products per second of
`paint`, divided by that of a large matrix product in ONNX Runtime on the same device and threads, in the precision
that the model runs in (float16 on a GPU, else float32).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from rtstyle.errors import RtstyleError, UsageError
from rtstyle.files import written_beside
from rtstyle.gallery.catalog import model_path
from rtstyle.media.encoding import Encoding, plan
from rtstyle.media.reader import Frame, VideoReader
from rtstyle.media.segments import SegmentWriter
from rtstyle.paint.painter import Painter
from rtstyle.paint.stylizer import MIN_SIDE, Stylizer
from rtstyle.runtime import devices
from rtstyle.runtime.opening import open_model
from rtstyle.runtime.session import cores
from rtstyle.video.convert import MOST_BATCH_PIXELS, Progress, stylize_video

FORMAT = "rtstyle-bench-1"
SIZES = "360p,540p,720p,1080p,2160p"
MOST_SIDE = 8192
LOOK = {"strength": 0.7, "keep_color": True}  # the look whose cost is measured
KEPT_PIXELS = 1 << 25  # of different frames held at once
CLIP_FRAMES = (12, 240)  # fewest and most frames of the clip for `all`
IN_A_ROW = 4  # frames that `all` is averaged over: several are painted side by side and finish together
LEAST = 3  # samples, however long they take
STRIDE = 32  # pixels: what every net's own stride divides
GALLERIES = (1, 4, 16, 64)
BATCHES = (1, 2, 4, 8)
BUSY = 0.5  # load average a core before we begin, from which figures are unreliable ...
SPREAD = 1.5  # ... and so are they from this 95th percentile on, as a multiple of the median

Tell = Callable[[int, int, str], object]  # measurements done, of how many, and what comes next


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
        return Stylizer(self.style, model=self.model, device=self.device, threads=self.threads)


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
        if not MIN_SIDE <= min(size) <= max(size) <= MOST_SIDE:
            raise UsageError(f"a size must have between {MIN_SIDE} and {MOST_SIDE} pixels a side, {part} has not")
        sizes.add(size)
    if not sizes:
        raise UsageError("give at least one size, such as 720p")
    return tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size)))


# -- timing


def timed(step: Callable[[int], object], seconds: float) -> list[float]:
    """Seconds that step(0), step(1), ... take, for so long in all but at least LEAST times; the first few calls (an
    eighth of the time, one or more) are not counted."""
    return in_turns({"": step}, seconds)[""]


def in_turns(steps: dict[str, Callable[[int], object]], seconds: float) -> dict[str, list[float]]:
    """`timed` for several steps that take turns, so that a change of the machine's pace hits all alike."""
    count, begun = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - begun < seconds / 8:
        for step in steps.values():
            step(count)
        count += 1
    times: dict[str, list[float]] = {name: [] for name in steps}
    begun, first = time.perf_counter(), count
    while count - first < LEAST or time.perf_counter() - begun < seconds * len(steps):
        for name, step in steps.items():
            started = time.perf_counter()
            step(count)
            times[name].append(time.perf_counter() - started)
        count += 1
    return times


def summary(samples: Sequence[float], batch: int = 1) -> dict:
    """The figures of Row from seconds a call, each with `batch` frames. Percentiles between two samples are
    interpolated."""
    per_frame = np.asarray(samples, np.float64) * 1e3 / batch
    median, p95, p99 = (float(x) for x in np.percentile(per_frame, (50, 95, 99)))
    return {
        "batch": batch,
        "frames": len(per_frame) * batch,
        "median_ms": median,
        "p95_ms": p95,
        "p99_ms": p99,
        "fps": 1e3 / float(per_frame.mean()),
    }


# -- what is painted


class Scene:
    """Frames of the bundled clip at any size with the noise of a sensor, uint8 RGB [height, width, 3], without end:
    forwards, backwards, forwards."""

    def __init__(self, width: int, height: int):
        self.size = width, height
        with VideoReader(model_path("live").with_name("sample.mp4")) as reader:
            self._source = [frame.rgb for frame in reader.frames(end=2.0)]
        noise = np.random.default_rng(0).normal(0, 2, (height + 32, width + 32, 1))
        self._noise = np.repeat(np.round(noise).astype(np.int8), 3, 2)

    def __getitem__(self, index: int) -> np.ndarray:
        period = 2 * len(self._source) - 2
        place = min(index % period, period - index % period)
        frame = cv2.resize(self._source[place], self.size, interpolation=cv2.INTER_CUBIC)
        top, left = 7 * index % 32, 13 * index % 32
        noise = self._noise[top : top + self.size[1], left : left + self.size[0]]
        return cv2.add(frame, noise, dtype=cv2.CV_8U)

    def some(self) -> list[np.ndarray]:
        """A few frames in a row that follow one another again after the last: as many as fit, up to 8."""
        half = max(2, min(5, KEPT_PIXELS // (self.size[0] * self.size[1]) // 2))
        frames = [self[i] for i in range(half)]
        return frames + frames[-2:0:-1]


def write_clip(path: Path, scene: Scene, frames: int, rate: int = 30) -> Path:
    """An H.264 clip of the scene's first frames."""
    import av  # after cv2: see rtstyle.media

    width, height = scene.size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        for index in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene[index], format="rgb24")))
        container.mux(stream.encode(None))
    return path


def without_end(clip: Path) -> Iterator[Frame]:
    """The decoded frames of a clip, again and again."""
    while True:
        with VideoReader(clip) as reader:
            yield from reader


# -- the model's arithmetic, and the machine's


def operations(model: str | bytes, feed: dict[str, np.ndarray]) -> int:
    """Multiplications and additions of one run: twice the products of convolutions (also transposed) and matrix
    products, as ONNX Runtime's profile gives their shapes."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC  # what is constant is not counted
    return 2 * sum(products(node) for node in profile(model, feed, options))


def profile(model: str | bytes, feed: dict[str, np.ndarray], options: ort.SessionOptions, runs: int = 1) -> list[dict]:
    """What ONNX Runtime's profile says of every node of every run on the CPU: its arguments, with the node's name as
    `node` and its microseconds as `dur`."""
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")  # packed weights have no shape in the profile
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="rtstyle-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    return [
        event["args"] | {"node": event["name"].removesuffix("_kernel_time"), "dur": event["dur"]}
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]


def products(node: dict) -> int:
    """Multiplications of one node of a profile."""
    inputs, outputs = (
        [next(iter(tensor.values())) for tensor in node.get(f"{which}_type_shape", ())] for which in ("input", "output")
    )
    kind = node.get("op_name", "")
    if kind in ("Conv", "FusedConv"):  # weights [O, C / groups, h, w]
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if kind == "ConvTranspose":  # weights [C, O / groups, h, w]
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if kind in ("MatMul", "FusedMatMul"):
        return math.prod(outputs[0]) * inputs[0][-1]
    if kind == "Gemm":
        rows = max(1, outputs[0][0])
        return math.prod(outputs[0]) * (math.prod(inputs[0]) // rows)
    return 0


def frame_operations(stylizer: Stylizer, width: int, height: int) -> float:
    """Operations of the model for one frame.

    The output of a convolution has (a H + b)(c W + d) pixels while H and W keep their remainders by the stride, so four
    small sizes give the number at any larger one exactly; tall frames would take memory and time for a mere count.
    """
    form = stylizer.model.classic
    if form:
        height, width = form.fitting(height, width)
    heights, widths = _small(height, bool(form and form.size[0])), _small(width, bool(form and form.size[1]))
    rows = [_along(widths, [_operations_at(stylizer, h, w) for w in widths], width) for h in heights]
    return _along(heights, rows, height)


def _small(side: int, fixed: bool) -> list[int]:
    first, second = (count * STRIDE + side % STRIDE for count in (2, 4))
    return [side] if fixed or side <= second else [first, second]


def _along(sides: list[int], values: list[float], side: int) -> float:
    """The straight line through one or two points, at `side`."""
    if len(sides) == 1:
        return values[0]
    return values[0] + (values[1] - values[0]) * (side - sides[0]) / (sides[1] - sides[0])


def _operations_at(stylizer: Stylizer, height: int, width: int) -> int:
    form = stylizer.model.classic
    if form:
        shape = (1, 3, height, width) if form.planar else (1, height, width, 3)
        feed = {form.input: np.zeros(shape, form.dtype)}
    else:
        feed = {"frames": np.zeros((1, height, width, 3), np.uint8)}
        if stylizer.code is not None:
            feed["code"] = stylizer.code
    return operations(str(stylizer.model.path), feed)


def ceiling(device: devices.Device, threads: int | None, seconds: float, half: bool = False) -> float:
    """10^9 operations a second of a large float32 (or float16) matrix product on the device, at best."""
    on_gpu = device.kind in devices.NVIDIA
    side = 4096 if on_gpu else 1024 if (threads or cores()) <= 8 else 2048
    left, right = np.random.default_rng(0).standard_normal((2, side, side), np.float32)
    if half:
        left, right = left.astype(np.float16), right.astype(np.float16)
    session = devices.open_session(product_model(right), device, threads)
    place = ("cuda", device.index) if on_gpu else ("cpu", 0)
    binding = session.io_binding()  # the numbers stay where they are: what is asked for is arithmetic
    binding.bind_ortvalue_input("left", ort.OrtValue.ortvalue_from_numpy(left, *place))
    binding.bind_output("product", *place)

    def multiply(_: int) -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return 2 * side**3 / min(timed(multiply, seconds)) / 1e9


def product_model(right: np.ndarray) -> bytes:
    """An ONNX file: left [n, n] times `right` [n, n], float32 or float16."""
    from onnx import helper, numpy_helper  # a tenth of a second, for this alone

    kind = helper.np_dtype_to_tensor_dtype(right.dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        f"product{len(right)}",
        [helper.make_tensor_value_info("left", kind, right.shape)],
        [helper.make_tensor_value_info("product", kind, right.shape)],
        [numpy_helper.from_array(right, "right")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


# -- the machine


def machine() -> dict:
    """What the figures depend on besides the model: versions and the processor."""
    versions = {name: _version(name) for name in ("rtstyle", "numpy", "opencv-python", "av")}
    return {
        "cpu": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
        **versions,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory() -> float | None:
    """The most memory that this process has held, in MiB (on Linux since `forget_peak`); None where it is not told."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Count the peak from now on, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def load_a_core() -> float | None:
    """The load average of the last minute, divided by the cores."""
    return os.getloadavg()[0] / cores() if hasattr(os, "getloadavg") else None


def doubts(load: float | None, rows: Sequence[Row]) -> str | None:
    """Why the figures are unreliable, in one sentence; None if nothing speaks against them."""
    reasons = []
    if load is not None and load > BUSY:
        reasons.append(f"the machine was busy before it began (load {load:.1f} a core)")
    spread = max((row.p95_ms / row.median_ms for row in rows if row.what == "paint"), default=1.0)
    if spread > SPREAD:
        reasons.append(f"times vary (95th percentile {spread:.1f} times the median)")
    return f"these figures are unreliable: {' and '.join(reasons)}" if reasons else None


# -- measuring


def run(settings: Settings, tell: Tell = lambda *_: None) -> dict:
    """Everything at every size, as JSON. Raises RtstyleError if the model cannot be loaded or a frame not painted."""
    load = load_a_core()
    steps = len(settings.sizes) * len(_stages(settings.batch)) + 1
    done = 0

    def next_up(what: str) -> None:
        nonlocal done
        tell(done, steps, what)
        done += 1

    report = _header(settings)  # what is wrong with the arguments shows here, before anything is told
    peak = float(settings.device != "cpu")  # a GPU's first work, its start, is not the arithmetic
    next_up("ceiling")
    stylizer = settings.stylizer()
    top = ceiling(stylizer.device, settings.threads, settings.seconds / 2 + peak, stylizer.half)
    report |= {"ceiling_gflops": top, "ceiling_in": "float16" if stylizer.half else "float32"}
    rows: list[Row] = []
    for size in settings.sizes:
        rows += _measure_size(settings, *size, top, next_up)
    tell(steps, steps, "done")
    return report | {
        "load_a_core": load,
        "peak_mib": max((row.peak_mib for row in rows if row.peak_mib), default=None),
        "rows": [dataclasses.asdict(row) for row in rows],
        "doubts": doubts(load, rows),
    }


def _stages(batch: int) -> tuple[str, ...]:
    return ("paint", "+ decode", "+ look", "+ steady", "+ encode", "all", *([f"batch {batch}"] if batch > 1 else []))


def _header(settings: Settings) -> dict:
    """What was measured, on what, and how long it takes to load."""
    started = time.perf_counter()
    stylizer = settings.stylizer()
    loaded = time.perf_counter()
    model = stylizer.model
    open_model(model.path, settings.device, form=model.classic, code=stylizer.code, threads=settings.threads)
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
        "threads": settings.threads or cores(),
        "seconds": settings.seconds,
        "load": {"stylizer_ms": (loaded - started) * 1e3, "session_ms": (opened - loaded) * 1e3},
    }


def _measure_size(settings: Settings, width: int, height: int, top: float, next_up: Callable) -> list[Row]:
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
            forget_peak()
            samples, batch = next(stages)
            if samples:
                figures = summary(samples, batch) | {"peak_mib": peak_memory()}
                adds = figures["median_ms"] - rows[0].median_ms if rows else None
                rows.append(Row(width, height, what, **figures, adds_ms=adds))
    gflop = frame_operations(stylizer, width, height) / 1e9
    share = gflop / (rows[0].median_ms / 1e3) / top
    rows[0] = dataclasses.replace(rows[0], first_ms=first, gflop=gflop, ceiling_share=share)
    return rows


def _stages_at(settings, stylizer, scene, frames, folder) -> Iterator[tuple[list[float], int]]:
    """(seconds of each call, frames a call) for each of `_stages`; no samples for a batch that is too large."""
    seconds = settings.seconds / 2

    def picture(index: int) -> np.ndarray:
        return frames[index % len(frames)]

    alone = timed(lambda i: stylizer(picture(i)), settings.seconds)
    yield alone, 1
    wanted = round(settings.seconds / statistics.median(alone))
    clip = write_clip(folder / "clip.mp4", scene, min(max(wanted, CLIP_FRAMES[0]), CLIP_FRAMES[1]))
    decoded, painter = without_end(clip), Painter(stylizer)
    yield timed(lambda i: painter(next(decoded).rgb), seconds), 1
    decoded.close()
    for options in (LOOK, {"steady": True}):
        touched = Painter(stylizer, **options)
        yield timed(lambda i, touched=touched: touched(picture(i)), seconds), 1
    writer = _writer(folder, clip)
    try:
        yield timed(lambda i: writer.write(painter(picture(i)), i), seconds), 1
    finally:
        writer.abandon()
    yield _whole(stylizer, clip, folder), 1
    if settings.batch * frames[0].size > 3 * MOST_BATCH_PIXELS:
        yield [], settings.batch
    batch = np.stack([picture(i) for i in range(settings.batch)])
    yield timed(lambda i: stylizer(np.roll(batch, i, 0)), settings.seconds), settings.batch


def _writer(folder: Path, clip: Path) -> SegmentWriter:
    """An encoder as `rtstyle video` sets it up for this clip; time stamps count frames."""
    with VideoReader(clip) as reader:
        next(iter(reader))
        look = dataclasses.replace(reader.look, time_base=Fraction(1, 30))
    chosen = plan(folder / "out.mp4", Encoding(), width=look.width, height=look.height, bits=8, hdr=False)
    return SegmentWriter(folder / "segment.mkv", chosen, look)


def _whole(stylizer: Stylizer, clip: Path, folder: Path) -> list[float]:
    """Seconds a frame of `rtstyle video`, each the mean of IN_A_ROW; the first eighth, in which it starts, is left
    out."""
    finished: list[float] = []

    def note(_: Progress) -> None:
        finished.append(time.perf_counter())

    stylize_video(clip, folder / "out.mp4", stylizer, steady=True, force=True, progress=note, **LOOK)
    times = np.array(finished[len(finished) // 8 :])
    return list((times[IN_A_ROW:] - times[:-IN_A_ROW]) / IN_A_ROW)


# -- how it grows


def run_scaling(settings: Settings, tell: Tell = lambda *_: None) -> dict:
    """How the time of painting grows with the pixels, the styles of the gallery and the batch, as JSON."""
    load, steps = load_a_core(), len(settings.sizes) + 2
    report, pixels, rows = _header(settings), [], []
    for done, (width, height) in enumerate(settings.sizes):
        tell(done, steps, f"{width}x{height}")
        stylizer, frames = settings.stylizer(), Scene(width, height).some()
        figures = summary(timed(lambda i, s=stylizer, f=frames: s(f[i % len(f)]), settings.seconds))
        rows.append(Row(width, height, "paint", **figures))
        megapixels, median = width * height / 1e6, figures["median_ms"]
        pixels.append({"width": width, "height": height, "megapixels": megapixels, "median_ms": median})
        pixels[-1]["ms_per_megapixel"] = median / megapixels
    tell(steps - 2, steps, "styles")
    stylizer, frames = settings.stylizer(), Scene(*settings.sizes[0]).some()
    gallery = _by_gallery(stylizer, frames, settings.seconds)
    tell(steps - 1, steps, "batches")
    batches = _by_batch(stylizer, frames, settings.seconds)
    tell(steps, steps, "done")
    return report | {
        "load_a_core": load,
        "scaling": {
            "pixels": pixels,
            "exponent": exponent([p["megapixels"] for p in pixels], [p["median_ms"] for p in pixels]),
            "gallery": gallery,
            "set_style_ms": _set_style(stylizer, settings.seconds / 8),
            "batch": batches,
        },
        "doubts": doubts(load, rows),
    }


def exponent(x: Sequence[float], y: Sequence[float]) -> float | None:
    """b of the fit y = a x^b, by least squares of the logarithms; None for fewer than two different x."""
    if len(set(x)) < 2:
        return None
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _by_gallery(stylizer: Stylizer, frames: list[np.ndarray], seconds: float) -> list[dict]:
    """Painting with another style in every frame, out of galleries of several sizes (mixes of the model's styles);
    the gallery of one never changes its style."""
    if stylizer.code is None:
        return []
    own = np.stack([style.code for style in stylizer.model.styles])
    shares = np.random.default_rng(0).dirichlet(np.ones(len(own)), max(GALLERIES)).astype(np.float32)
    codes = shares @ own
    steps = {
        str(count): lambda i, count=count: stylizer.run(frames[i % len(frames)][None], codes[i % count])
        for count in GALLERIES
    }
    return [{"styles": int(count), **summary(times)} for count, times in in_turns(steps, seconds / 2).items()]


def _set_style(stylizer: Stylizer, seconds: float) -> float | None:
    """Milliseconds of `stylizer.style = name`."""
    names = [style.name for style in stylizer.model.styles]
    if stylizer.code is None:
        return None
    return statistics.median(timed(lambda i: setattr(stylizer, "style", names[i % len(names)]), seconds)) * 1e3


def _by_batch(stylizer: Stylizer, frames: list[np.ndarray], seconds: float) -> list[dict]:
    area = frames[0].shape[0] * frames[0].shape[1]
    sizes = [size for size in BATCHES if size == 1 or size * area <= MOST_BATCH_PIXELS]
    stacks = {str(size): np.stack([frames[i % len(frames)] for i in range(size)]) for size in sizes}
    steps = {name: lambda i, stack=stack: stylizer(stack) for name, stack in stacks.items()}
    return [summary(times, int(name)) for name, times in in_turns(steps, seconds / 2).items()]


# -- saved runs


def save(report: dict, out: str | os.PathLike) -> None:
    with written_beside(out) as part:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def load_report(path: str | os.PathLike) -> dict:
    """A run that `save` wrote. Raises RtstyleError if the file is not one, or holds no rows."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RtstyleError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise RtstyleError(f"{path} is not a run of rtstyle bench: it is not JSON") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise RtstyleError(f"{path} is not a run of rtstyle bench, or of another version: expected {FORMAT!r}")
    try:
        good = all(0 < row.median_ms < math.inf for row in rows_of(report)) and isinstance(report["machine"], dict)
    except (KeyError, TypeError):
        good = False
    if not good:
        raise RtstyleError(f"{path} holds no rows to compare: save a run with --json, without --scaling")
    return report


def rows_of(report: dict) -> list[Row]:
    return [Row(**row) for row in report["rows"]]


def compare(now: dict, then: dict) -> list[dict]:
    """The ratio now / then of the median milliseconds of every row that both have: below 1 is faster now."""
    before = {row.key: row for row in rows_of(then)}
    return [
        {
            "width": row.width,
            "height": row.height,
            "what": row.what,
            "now_ms": row.median_ms,
            "then_ms": before[row.key].median_ms,
            "ratio": row.median_ms / before[row.key].median_ms,
        }
        for row in rows_of(now)
        if row.key in before
    ]


def differences(now: dict, then: dict) -> list[str]:
    """What else differs between two runs, each as `name: then, now`."""
    found = []
    for name in ("device", "threads", "model", "model_sha256", "seconds"):
        if now.get(name) != then.get(name):
            short = [str(run.get(name))[:16] for run in (then, now)]
            found.append(f"{name}: {short[0]} then, {short[1]} now")
    machines = [run["machine"] for run in (then, now)]
    for name in machines[1]:
        if machines[0].get(name) != machines[1][name]:
            found.append(f"{name}: {machines[0].get(name)} then, {machines[1][name]} now")
    return found


# -- tables


def _console():
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 110)


def _headline(report: dict) -> list[str]:
    host, load = report["machine"], report["load"]
    return [
        f"{report['model']}, {report['style']}, on {report['device']} ({report['why']}), {report['threads']} threads",
        f"{host['cpu']}, {host['cores']} cores, {host['system']}, ONNX Runtime {host['onnxruntime']}, "
        f"rtstyle {host['rtstyle']}, {report['date']}",
        f"loading: {load['stylizer_ms']:.0f} ms; opening a session alone {load['session_ms']:.0f} ms",
    ]


def _number(value: float | None, form: str = ".1f") -> str:
    return "-" if value is None else format(value, form)


def _table(*columns: str):
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    return table


def _print(console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def print_report(report: dict) -> None:
    """A run as a table on standard output."""
    columns = "size", "what", "first ms", "median", "95 %", "99 %", "frames/s", "adds ms", "of ceiling", "peak MiB"
    table = _table(*columns)
    for number, row in enumerate(rows_of(report)):
        if number and row.what == "paint":
            table.add_section()
        table.add_row(
            f"{row.width}x{row.height}" if row.what == "paint" else "",
            row.what,
            _number(row.first_ms),
            *(_number(value) for value in (row.median_ms, row.p95_ms, row.p99_ms, row.fps)),
            _number(row.adds_ms, "+.1f"),
            _number(row.ceiling_share, ".0%"),
            _number(row.peak_mib, ".0f"),
        )
    console = _console()
    kind = report.get("ceiling_in", "float32")
    lines = [*_headline(report), f"ceiling: {report['ceiling_gflops']:.0f} GFLOP/s (a {kind} matrix product)"]
    _print(console, lines)
    console.print(table)


def print_comparison(now: dict, then: dict) -> list[str]:
    """The ratios as a table on standard output. Returns what else differs. Raises RtstyleError if no row is in both."""
    found = compare(now, then)
    if not found:
        raise RtstyleError("the two runs have no measurement in common: choose the same --sizes")
    table = _table("size", "what", "now ms", "then ms", "now / then")
    for row in found:
        size = f"{row['width']}x{row['height']}"
        table.add_row(size, row["what"], _number(row["now_ms"]), _number(row["then_ms"]), _number(row["ratio"], ".2f"))
    console = _console()
    _print(console, [f"against the run of {then.get('date', 'unknown date')}; below 1 is faster now"])
    console.print(table)
    return differences(now, then)


def print_scaling(report: dict) -> None:
    """How the time grows, as tables on standard output."""
    found, console = report["scaling"], _console()
    _print(console, _headline(report))
    table = _table("size", "", "ms a frame", "ms a megapixel")
    for row in found["pixels"]:
        size = f"{row['width']}x{row['height']}"
        table.add_row(size, "", _number(row["median_ms"]), _number(row["ms_per_megapixel"]))
    console.print(table)
    if found["exponent"] is not None:
        _print(console, [f"time grows with the pixels to the power of {found['exponent']:.2f} (1 is linear)"])
    smallest = "{width}x{height}".format(**found["pixels"][0])
    if found["gallery"]:
        table = _table("styles", f"a new one every frame, {smallest}", "ms a frame", "of one style's")
        for row in found["gallery"]:
            share = row["median_ms"] / found["gallery"][0]["median_ms"]
            table.add_row(str(row["styles"]), "", _number(row["median_ms"], ".2f"), _number(share, ".2f"))
        console.print(table)
        _print(console, [f"choosing a style by name takes {found['set_style_ms']:.2f} ms"])
    else:
        _print(console, ["this model has one style built in: there is no gallery to swap"])
    table = _table("batch", smallest, "ms a frame", "of one by one")
    for row in found["batch"]:
        share = row["median_ms"] / found["batch"][0]["median_ms"]
        table.add_row(str(row["batch"]), "", _number(row["median_ms"], ".2f"), _number(share, ".2f"))
    console.print(table)


def check_plot() -> None:
    """Raises RtstyleError if there is nothing to draw with."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise RtstyleError("--plot needs matplotlib: pip install matplotlib, or leave it out: the tables say the same")


def plot(report: dict, out: str | os.PathLike) -> None:
    """The three curves of `run_scaling` in one picture; the kind by `out`'s ending. Raises RtstyleError for endings
    that matplotlib does not know."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = report["scaling"]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    one, two, three = figure.subplots(1, 3)
    x, y = ([row[name] for row in found["pixels"]] for name in ("megapixels", "median_ms"))
    one.loglog(x, y, "o-")
    one.set(title="pixels", xlabel="megapixels", ylabel="ms a frame")
    for axis, values in ((one.xaxis, x), (one.yaxis, y)):
        axis.set_ticks(values, [f"{value:.3g}" for value in values])
        axis.set_ticks([], minor=True)
    for axes, name, key in ((two, "gallery", "styles"), (three, "batch", "batch")):
        times = [row["median_ms"] for row in found[name]]
        axes.plot([row[key] for row in found[name]], times, "o-")
        axes.set(title=name, xlabel=key, ylabel="ms a frame", ylim=(0, 1.2 * max(times, default=1)))
    try:
        with written_beside(out) as part:
            figure.savefig(part)
    except ValueError as error:
        raise RtstyleError(f"{out} cannot be drawn ({str(error).splitlines()[0]})") from None
