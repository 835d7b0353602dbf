"""What the figures depend on besides the model: the processor, versions, memory, load."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort

from rtstyle.diagnose.doctor import version_of
from rtstyle.runtime.session import cores


def machine() -> dict[str, Any]:
    """Versions and the processor."""
    versions = {name: version_of(name) for name in ("rtstyle", "numpy", "opencv-python", "av")}
    return {
        "cpu": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
        **versions,
    }


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
