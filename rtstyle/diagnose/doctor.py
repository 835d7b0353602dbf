"""What this machine can do, and what is wrong with it."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib import metadata
from typing import Any

from rtstyle.errors import RtstyleError, install

PACKAGES = (
    "numpy",
    "opencv-python",
    "av",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "onnxruntime-ep-webgpu",
    "torch",
    "torchvision",
    "onnx",
)


def examine() -> dict[str, Any]:
    """Versions, devices, encoders, models and problems, ready for JSON. Every check is really carried out:
    the CPU session paints a frame, CUDA does too if nothing is missing."""
    report: dict[str, Any] = {
        "rtstyle": metadata.version("rtstyle"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: version_of(name) for name in PACKAGES},
        "problems": [],
    }
    for name, check in (
        ("devices", _devices),
        ("models", _models),
        ("media", _media),
        ("training", _training),
    ):
        try:
            report[name] = check(report["problems"])
        except Exception as error:  # a broken part must not hide what the others say
            report[name] = {}
            report["problems"].append(f"{name}: {error}")
    report["problems"] = list(dict.fromkeys(report["problems"]))  # a damaged model is one for every engine
    return report


def version_of(name: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices(problems: list[str]) -> dict[str, Any]:
    import onnxruntime as ort

    from rtstyle.diagnose import engines
    from rtstyle.paint.stylizer import Stylizer
    from rtstyle.runtime import devices, webgpu

    if conflict := devices.conflicting_packages():
        problems.append(conflict)
    result: dict[str, Any] = {"providers": ort.get_available_providers(), "auto": None}
    try:
        chosen = Stylizer().device
        result["auto"] = f"{chosen.name} ({chosen.why})"
    except RtstyleError as error:  # RTSTYLE_DEVICE names what is not there
        problems.append(str(error))
    driver = devices.driver()
    if driver:
        result["cards"] = driver[0]  # the GPUs; the key is part of the JSON that programs read
    for kind in devices.NVIDIA:
        if problem := devices.problem_with(kind):
            result[kind] = f"not available: {problem}"
            if kind == "cuda" and driver:  # there is a GPU to be used
                problems.append(f"cuda is {result[kind]}")
        elif kind == "tensorrt":
            result[kind] = "its libraries are there (not tried: it takes minutes to build an engine)"
    for kind, reason in {"openvino": devices.openvino_problem(), "webgpu": webgpu.problem()}.items():
        if reason:
            result[kind] = f"not available: {reason}"
    width, height = engines.SIZE
    for engine in engines.measure(lambda name: Stylizer(device=name), width, height, seconds=0.2):
        if engine.problem:
            problems.append(engine.problem)
        how = "" if engine.name == "cpu" else f" ({engine.how})"
        works = f"paints {width}x{height} in {engine.median_ms:.0f} ms{how}" if engine.median_ms else "does not work"
        result[engine.name.removesuffix(":0")] = works
    return result


def _models(problems: list[str]) -> dict[str, Any]:
    from rtstyle.gallery import catalog

    result = {}
    for name in catalog.BUNDLED:
        try:
            catalog.model_path(name)
        except RtstyleError:
            result[name] = "not in this installation"
            continue
        try:
            result[name] = f"{len(catalog.load(name).styles)} styles"
        except RtstyleError as error:
            result[name] = "damaged"
            problems.append(str(error))
    result["your styles"] = str(catalog.user_folder())
    problems += [str(error) for error in catalog.own_models()[1]]
    return result


def _media(problems: list[str]) -> dict[str, Any]:
    import rtstyle.media  # noqa: F401, I001 -- cv2 before av
    import av
    import cv2

    from rtstyle.media.camera import has_camera
    from rtstyle.media.window import has_display

    if "libx264" not in av.codecs_available:
        problems.append("this PyAV has no libx264 encoder: pip install --force-reinstall av")
    return {
        "OpenCV": cv2.__version__,
        "FFmpeg (libavcodec)": ".".join(map(str, av.library_versions["libavcodec"])),
        "camera": "found" if has_camera() else "none",
        "display": "found" if has_display() else "none",
    }


def _training(problems: list[str]) -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {"torch": f"not installed ({install('train')})"}
    result = {"torch": "installed"}
    for variable in ("RTSTYLE_VGG16", "RTSTYLE_VGG19"):
        path = os.environ.get(variable)
        result[variable] = path or "not set: weights are fetched when first needed"
        if path and not os.path.isfile(path):
            problems.append(f"{variable} names {path}, which does not exist")
    return result


def print_report(report: dict[str, Any]) -> None:
    """The report as a table on standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name in ("rtstyle", "python", "system"):
        table.add_row(name, report[name])
    for name in ("packages", "devices", "models", "media", "training"):
        for key, value in report[name].items():
            shown = ", ".join(value) if isinstance(value, list) else value or "-"
            table.add_row("GPUs" if key == "cards" else key, escape(shown))
    console = Console(file=sys.stdout, highlight=False)
    console.print(table)
    for problem in report["problems"]:
        console.print(f"problem: {problem}", soft_wrap=True, markup=False)
    if not report["problems"]:
        console.print("no problems found")
