"""Execution providers: which device paints, and why.

ONNX Runtime falls back to the CPU in silence when a GPU provider cannot start. Here a device that was asked
for by name is used or is an error, and `auto` says what it took.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.util
import io
import os
import re
import sys
import warnings
from importlib import metadata
from pathlib import Path

import onnxruntime as ort

from rtstyle.errors import DeviceError, ModelError, RtstyleError, UsageError, install
from rtstyle.runtime import bounds

NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
KINDS = (*NAMES, "openvino", "webgpu")  # these two are opened by modules of their own
NVIDIA = ("cuda", "tensorrt")  # kinds of device that need NVIDIA's driver and libraries
REMEDY = {
    "cuda": f"install onnxruntime-gpu and its libraries with: {install('cuda')}",
    "tensorrt": f"install what is missing with: {install('cuda')}, and pip install 'tensorrt-cu13>=10,<11'",
    "coreml": "CoreML is part of onnxruntime on macOS only",
    "directml": "install onnxruntime-directml, on Windows",
}
MIN_OPENVINO = 2025  # its oldest version that is known to paint right


Provider = str | tuple[str, dict[str, str]]  # a provider's name, or its name and options


@dataclasses.dataclass(frozen=True)
class Device:
    """A chosen device: its short name (`cpu`, `cuda:1`), ONNX Runtime's provider list (none for another engine), and
    the reason."""

    name: str
    providers: list[Provider]
    why: str

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def on_processor(self) -> bool:
        """Whether the processor calculates: such devices gain nothing from batches."""
        return self.name in ("cpu", "openvino")

    @property
    def index(self) -> int:
        """Which of several GPUs."""
        return int(self.name.partition(":")[2] or 0)

    def with_options(self, options: dict[str, str]) -> Device:
        """This device with more options of its provider."""
        first, *others = self.providers
        name, own = (first, {}) if isinstance(first, str) else first
        return dataclasses.replace(self, providers=[(name, own | options), *others])


def parse(name: str) -> tuple[str, str]:
    """`cuda:1` to ("cuda", "1"). Raises UsageError for anything else than the known names."""
    kind, colon, which = name.lower().partition(":")
    known = which.isdecimal() if kind in NVIDIA else kind == "openvino" and re.fullmatch(r"cpu|gpu(\.\d+)?", which)
    if kind not in (*KINDS, "auto") or (colon and not known):
        raise UsageError(f"unknown device {name!r}: choose auto, {', '.join(KINDS)}, cuda:1 or openvino:gpu")
    return kind, which


def asked_for(name: str) -> str:
    """The name itself, or instead of `auto` what the environment's RTSTYLE_DEVICE names."""
    return os.environ.get("RTSTYLE_DEVICE") or name if name.lower() == "auto" else name


def choose(name: str = "auto") -> Device:
    """The device for a name. Raises RtstyleError, with the remedy, if one asked for by name is not there."""
    if (instead := asked_for(name)) != name:
        return dataclasses.replace(choose(instead), why="named by RTSTYLE_DEVICE")
    kind, which = parse(name)
    index = int(which) if which.isdecimal() else 0
    if kind == "auto":
        problem = cuda_problem("cuda")
        if problem is None:
            return Device("cuda:0", _providers("cuda", 0), "auto: CUDA is there")
        return Device("cpu", _providers("cpu", 0), f"auto: {problem}")
    if kind == "cpu":
        return Device("cpu", _providers("cpu", 0), "asked for")
    if problem := problem_with(kind):
        raise DeviceError(f"{name} is not available: {problem}, or use `device='cpu'`")
    if kind == "openvino":
        return Device(f"openvino:{which}" if which.startswith("gpu") else "openvino", [], "asked for")
    if kind == "webgpu":
        return Device("webgpu", [], "asked for")
    if kind in NVIDIA and index >= len(gpus := gpu_names()):
        raise DeviceError(f"{name} does not exist; available GPUs: {', '.join(map('{}: {}'.format, range(9), gpus))}")
    label = f"{kind}:{index}" if kind in NVIDIA else kind
    return Device(label, _providers(kind, index), "asked for")


def kind(name: str) -> str:
    """The name of a device, of an NVIDIA GPU without its number: `cuda:1` is `cuda`."""
    what, _ = parse(name)
    return what if what in NVIDIA else name


def _providers(kind: str, index: int) -> list[Provider]:
    if kind == "cpu":
        return [NAMES["cpu"]]
    options = {}
    if kind in NVIDIA:
        options["device_id"] = str(index)
    # every new frame size searches for convolution algorithms: heuristics cost milliseconds, not seconds
    heuristic = {"cudnn_conv_algo_search": "HEURISTIC"}
    if kind == "cuda":
        options |= heuristic
    beside = [(NAMES["cuda"], options | heuristic)] if kind == "tensorrt" else []  # for what TensorRT does not take
    return [(NAMES[kind], options), *beside, NAMES["cpu"]]


DRIVER_REMEDY = "install a recent one from nvidia.com/drivers (a container needs --gpus all)"


def problem_with(kind: str) -> str | None:
    """Why a kind of device cannot be used, and what helps; None if it seems fine."""
    if kind == "openvino":
        return openvino_problem()
    if kind == "webgpu":
        return webgpu_problem()
    problem = cuda_problem(kind) if kind in NVIDIA else None
    if problem is None and NAMES[kind] not in ort.get_available_providers():
        problem = f"this ONNX Runtime has no {NAMES[kind]}"
    if problem is None or "pip install" in problem:
        return problem
    return f"{problem}; {DRIVER_REMEDY if 'driver' in problem else REMEDY[kind]}"


def openvino_problem() -> str | None:
    """Why OpenVINO cannot be used, and what helps; None if a version that will do is installed."""
    try:
        version = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return f"OpenVINO is not installed; install it with: {install('openvino')}"
    if int(version.partition(".")[0]) < MIN_OPENVINO:
        return f"OpenVINO {version} is too old; update it with: pip install 'openvino>={MIN_OPENVINO}'"
    return None


def webgpu_problem() -> str | None:
    """Why WebGPU cannot be used, and what helps; None if its plug-in for ONNX Runtime is installed."""
    if importlib.util.find_spec("onnxruntime_ep_webgpu") is None:
        return f"ONNX Runtime's plug-in for WebGPU is not installed; install it with: {install('webgpu')}"
    return None


def cuda_problem(kind: str = "cuda") -> str | None:
    """Why CUDA (or TensorRT, which needs it) cannot be used, in a few words, or None if it seems fine."""
    answer = driver()
    if answer is None:
        return "no NVIDIA driver was found"
    gpus, version = answer
    if not gpus:
        return "the NVIDIA driver finds no GPU"
    if NAMES["cuda"] not in ort.get_available_providers():
        return conflicting_packages() or "this ONNX Runtime was built without CUDA"
    if version // 1000 < int(cuda_major()):
        return (
            f"the NVIDIA driver is made for CUDA {version // 1000}.{version % 1000 // 10}, "
            f"this ONNX Runtime for CUDA {cuda_major()}"
        )
    if missing := missing_libraries(kind):
        return f"libraries of NVIDIA are missing: {', '.join(missing)}"
    return None


def driver() -> tuple[list[str], int] | None:
    """What NVIDIA's driver says: (the names of its GPUs, the CUDA that it is made for, such as 13000); None if there
    is no driver. One that does not start has no GPUs."""
    try:
        library = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    version, count, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    try:
        library.cuDriverGetVersion(ctypes.byref(version))
        if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)):
            return [], version.value
        names = []
        for index in range(count.value):
            library.cuDeviceGetName(name, len(name), index)
            names.append(name.value.decode())
    except AttributeError:  # something else of that name
        return [], 0
    return names, version.value


def gpu_names() -> list[str]:
    """The names of NVIDIA's GPUs, by their index."""
    answer = driver()
    return answer[0] if answer else []


def cuda_major() -> str:
    """The CUDA that ONNX Runtime was built for, or would be with the package that is recommended."""
    return (getattr(ort, "cuda_version", "") or "13").partition(".")[0]


WINDOWS = sys.platform == "win32"
DRIVER = "nvcuda.dll" if WINDOWS else "libcuda.so.1"


def libraries(kind: str) -> list[str]:
    """File names of the libraries that a session on this kind of device loads, by the CUDA that ONNX Runtime was built
    for; cuDNN's only when the first convolution runs.

    The loader cannot be asked for them: ONNX Runtime's own library for a device crashes if anything loads it before a
    session does, on Windows the loader names no library, and what the first convolution loads it does not know yet.
    """
    major = cuda_major()
    names = {"cudart": major, "cublasLt": major, "cublas": major, "curand": "10", "cudnn": "9"}
    if kind == "tensorrt":
        names |= {"nvinfer": "10", "nvonnxparser": "10"}
    if not WINDOWS:
        return [f"lib{name}.so.{of}" for name, of in names.items()]
    del names["curand"]  # ONNX Runtime does without it there
    return [f"{name}{'_' if name.startswith('nv') else '64_'}{of}.dll" for name, of in names.items()]


def missing_libraries(kind: str) -> list[str]:
    """Which of `libraries` cannot be loaded, from the system or from NVIDIA's packages for Python. Those that can are
    loaded by this, so that ONNX Runtime finds them."""
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ort.preload_dlls()
    return [name for name in libraries(kind) if not loads(name)]


def loads(library: str) -> bool:
    """Whether the system, or a package of NVIDIA's, has a library of this name."""
    for path in (library, *_in_packages(library)):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(path))
            return True
    return False


def _in_packages(library: str) -> list[Path]:
    """Where NVIDIA's packages have a library: ONNX Runtime looks in its own folder of packages only."""
    paths: list[Path] = []
    for package in ("nvidia", "tensorrt_libs"):
        spec = importlib.util.find_spec(package)
        for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
            paths += [path for inside in ("", "*/lib/", "*/bin/", "*/bin/*/") for path in folder.glob(inside + library)]
    return paths


def conflicting_packages() -> str | None:
    """onnxruntime and onnxruntime-gpu overwrite each other's files; says so if both are installed."""
    installed = []
    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            installed.append(name)
    if len(installed) < 2:
        return None
    keep = installed[-1]
    return (
        f"{' and '.join(installed)} are both installed and overwrite each other: "
        f"pip uninstall -y {' '.join(installed)}, then pip install {keep}"
    )


SPIN_MICROSECONDS = "100"


def open_session(
    model: str | bytes, device: Device, threads: int | None = None, sizes: dict[str, int] | None = None
) -> ort.InferenceSession:
    """An ONNX Runtime session on exactly this device. `model` is a path or bytes; `sizes` fixes free dimensions by
    name.

    Raises RtstyleError if the provider does not start (missing CUDA or cuDNN libraries, out of memory), with
    ONNX Runtime's reason, or if the file is not a model.
    """
    if device.kind in NVIDIA:
        missing_libraries(device.kind)  # loads those that are there
    where = model if isinstance(model, str) else "the model"
    options = ort.SessionOptions()
    options.log_severity_level = 4  # we report what matters ourselves
    ort.set_default_logger_severity(4)
    if threads:
        options.intra_op_num_threads = threads
    if device.kind == "cpu":
        options.enable_mem_pattern = False  # one plan of all memory, for a size, takes twice as much and saves no time
    for name, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    # Idle threads of the net wait for work in a busy loop, by default for so long that they take the processor from
    # decoding, steadiness and encoding: a third of the frame rate of `rtstyle video`, twice the heat of `rtstyle cam`.
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    try:
        session = bounds.load(
            lambda: ort.InferenceSession(model, options, providers=device.providers, enable_fallback=0),
            where,
            limited=device.kind == "cpu",
        )
    except RtstyleError:
        raise
    except Exception as error:  # pybind's exception classes have no common base below Exception
        raise ModelError(f"{where} cannot be loaded on {device.name}: {first_sentence(error)}") from None
    started = session.get_providers()[0]
    if started != NAMES[device.kind]:
        raise DeviceError(f"{device.name} did not start{_load_error(device.kind)}: use `device='cpu'` meanwhile")
    return session


def _load_error(kind: str) -> str:
    """What the system says when it loads a provider, which ONNX Runtime tells its log only."""
    ending = f"onnxruntime_providers_{kind}.dll" if WINDOWS else f"libonnxruntime_providers_{kind}.so"
    library = Path(ort.__file__).parent / "capi" / ending
    try:
        if kind in NVIDIA and library.exists():
            ctypes.CDLL(str(library.with_name(ending.replace(kind, "shared"))), ctypes.RTLD_GLOBAL)
            ctypes.CDLL(str(library))
    except OSError as error:
        return f" ({str(error).replace(str(library.parent), '...')[:300]})"
    return ""


def first_sentence(error: Exception) -> str:
    """The first line of an error of ONNX Runtime, without its code prefix, or of OpenVINO, after where it arose."""
    lines = [line for line in str(error).splitlines() if not line.startswith("Exception from ")]
    line = lines[0] if lines else type(error).__name__
    return line.rpartition(" : ")[2][:300] or line[:300]
