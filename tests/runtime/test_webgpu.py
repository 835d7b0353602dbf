"""WebGPU, on the software adapter that Chromium brings: that it paints what ONNX Runtime's CPU paints."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtstyle import Stylizer
from rtstyle.errors import DeviceError
from rtstyle.gallery import catalog
from rtstyle.runtime import devices, webgpu

CHROMIUM = Path("/usr/lib/chromium")  # Debian's: a Vulkan loader, and SwiftShader
DRIVER = CHROMIUM / "vk_swiftshader_icd.json"

plugged_in = pytest.mark.skipif(devices.webgpu_problem() is not None, reason="its plug-in is not installed")

PAINT = """
import numpy as np
from rtstyle import Stylizer
from rtstyle.runtime.trial import trial_picture

frame = trial_picture(32, 48)[0]
theirs, ours = (Stylizer(device=name, work_height="full") for name in ("cpu", "webgpu"))
for style in ("starry-night", "ink"):
    theirs.style = ours.style = style
    print(ours.device.name, np.abs(ours(frame).astype(int) - theirs(frame)).max())
"""


@plugged_in
@pytest.mark.skipif(not DRIVER.exists(), reason="no Chromium of Debian's here")
def test_styles_are_painted_as_by_the_cpu():
    software = {
        "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1",
        "LD_LIBRARY_PATH": str(CHROMIUM),
        "VK_ICD_FILENAMES": str(DRIVER),
    }
    done = subprocess.run(
        [sys.executable, "-c", PAINT], env=os.environ | software, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        name, difference = line.split()
        assert name == "webgpu" and int(difference) <= 1
    assert len(done.stdout.splitlines()) == 2


@plugged_in
def test_without_a_gpu_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(webgpu, "adapter", webgpu.adapter.__wrapped__)
    monkeypatch.setattr(webgpu.ort, "get_ep_devices", lambda: [])
    monkeypatch.setattr(webgpu.ort, "register_execution_provider_library", lambda *_: None)
    with pytest.raises(DeviceError, match=r"^WebGPU finds no GPU: install its driver .*, or use `device='cpu'`$"):
        Stylizer(device="webgpu")


@plugged_in
def test_a_plug_in_that_does_not_load_is_one_sentence(monkeypatch):
    def refuse(*_):
        raise RuntimeError('ORT runtime version "1.20" is below the minimum required version "1.24.4"\nmore')

    monkeypatch.setattr(webgpu, "adapter", webgpu.adapter.__wrapped__)
    monkeypatch.setattr(webgpu.ort, "register_execution_provider_library", refuse)
    with pytest.raises(DeviceError, match=r"does not load \(ORT runtime version .*\): update it and onnxr") as error:
        Stylizer(device="webgpu")
    assert "\n" not in str(error.value)


def test_without_its_package_there_is_one_sentence(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if "webgpu" in name else real(name, *more)
    )
    with pytest.raises(DeviceError, match=r"^webgpu is not available: ONNX Runtime's plug-in .*'\.\[webgpu\]'"):
        devices.choose("webgpu")


class Mixed:
    """A session whose paintings are off by some levels."""

    def __init__(self, levels):
        self.levels = levels

    def get_providers(self):
        return ["WebGpuExecutionProvider"]

    def run(self, _, feed, options=None):
        return [feed["frames"] // 2 + self.levels]


@pytest.mark.parametrize(("levels", "works"), [(1, True), (3, False)])
def test_what_paints_something_else_is_refused(monkeypatch, levels, works):
    class Options:
        def add_provider_for_devices(self, *_):
            pass

    class Cpu:
        def __init__(self, *_, **__):
            pass

        def run(self, frames, code):
            return frames // 2

    catalog.load("live")  # which is read once, and not with the session below
    monkeypatch.setattr(webgpu, "adapter", lambda: None)
    monkeypatch.setattr(webgpu, "OrtSession", Cpu)
    monkeypatch.setattr(webgpu.ort, "SessionOptions", Options)
    monkeypatch.setattr(webgpu.ort, "InferenceSession", lambda *_, **__: Mixed(levels))
    monkeypatch.setattr(devices, "webgpu_problem", lambda: None)
    if works:
        assert Stylizer(device="webgpu").device.name == "webgpu"
        return
    with pytest.raises(DeviceError, match=r"webgpu paints 3\.0 grey levels from what the CPU paints"):
        Stylizer(device="webgpu")
