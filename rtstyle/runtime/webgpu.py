"""Painting on any GPU by WebGPU: ONNX Runtime's plug-in `onnxruntime-ep-webgpu`, on Vulkan, Direct3D 12 or Metal.

It runs the form of a model that browsers run: its InstanceNormalization (0.4.0) has the fault that is described in
rtstyle.runtime.web_form. What it paints is compared with what the CPU paints before it is used.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from rtstyle.errors import DeviceError, RtstyleError
from rtstyle.runtime import bounds, devices
from rtstyle.runtime.session import Code, Frames, OrtSession, Run
from rtstyle.runtime.trial import trial_picture

MAX_MEAN = 1.0  # grey levels that a painting may lie from the CPU's
TRIAL_SIZE = 48, 64


@functools.cache
def adapter() -> Any:
    """The device that the plug-in offers. Raises DeviceError if it does not load or finds no GPU."""
    try:
        plug_in = importlib.import_module("onnxruntime_ep_webgpu")
        ort.register_execution_provider_library("webgpu", plug_in.get_library_path())
        offered = [device for device in ort.get_ep_devices() if device.ep_name == plug_in.get_ep_name()]
    except Exception as error:  # an ONNX Runtime that is too old, a plug-in in pieces
        raise DeviceError(
            f"the plug-in for WebGPU does not load ({devices.first_sentence(error)}): update it and onnxruntime, or "
            "use `device='cpu'`"
        ) from None
    if not offered:
        raise DeviceError("WebGPU finds no GPU: install its driver (on Linux also libvulkan1), or use `device='cpu'`")
    return offered[0]


def problem() -> str | None:
    """Why WebGPU cannot be used here, and what helps; None if it finds a GPU."""
    if missing := devices.webgpu_problem():
        return missing
    try:
        adapter()
    except DeviceError as error:
        return str(error)
    return None


class WebgpuSession:
    """A model of rtstyle's contract on the GPU that WebGPU chooses, with free sizes.

    `code` (float32 [K], None for a model of one style) is for a first small picture. Raises RtstyleError if there is no
    GPU, the file is not a model, or what it paints is not what the CPU paints.
    """

    half = False

    def __init__(self, path: Path, device: devices.Device, code: Code | None = None):
        from rtstyle.runtime.web_form import web_form  # loads onnx, which nothing needs on a CPU

        self.device = device
        self._runs = bounds.Runs(path.name, limited=False)
        self.abandon = self._runs.abandon
        options = ort.SessionOptions()
        options.log_severity_level = 4
        ort.set_default_logger_severity(4)
        options.add_provider_for_devices([adapter()], {})
        try:
            form = web_form(path.read_bytes())
        except ValueError:  # it keeps the contract, but was written by another program
            form = path.read_bytes()
        try:
            self._session = bounds.load(
                lambda: ort.InferenceSession(form, options, enable_fallback=0), str(path), limited=False
            )
        except RtstyleError:
            raise
        except Exception as error:  # ONNX Runtime's own kinds
            raise DeviceError(
                f"{path} cannot be loaded on webgpu ({devices.first_sentence(error)}): use `device='cpu'`"
            ) from None
        frames = trial_picture(*TRIAL_SIZE)
        expected = OrtSession(path, devices.choose("cpu"), threads=1).run(frames, code)
        distance = float(np.abs(self.run(frames, code).astype(np.float32) - expected).mean())
        if distance > MAX_MEAN:
            raise DeviceError(f"webgpu paints {distance:.1f} grey levels from what the CPU paints: use `device='cpu'`")

    def run(self, frames: Frames, code: Code | None = None) -> Frames:
        feed = {"frames": np.ascontiguousarray(frames)} | ({} if code is None else {"code": code})
        return self._runs.run(lambda options: self._session.run(None, feed, options)[0], frames.shape)

    def for_throughput(self) -> tuple[Run, int]:
        return self.run, 1
