"""From a model file and the name of a device to the session that fits both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rtstyle.errors import DeviceError, ModelError, RtstyleError
from rtstyle.runtime import devices, openvino
from rtstyle.runtime.classic import ClassicSession, Form
from rtstyle.runtime.cuda import GpuSession
from rtstyle.runtime.session import Code, OrtSession, Session
from rtstyle.runtime.webgpu import WebgpuSession


def open_model(
    path: Path,
    name: str = "auto",
    *,
    form: Form | None = None,
    codes: Sequence[Code] = (),
    threads: int | None = None,
) -> Session:
    """A session of a model file on the device of a name, as `devices.choose` takes it.

    `form` is that of a classic net, None for a model of rtstyle's contract; `codes` (float32 [K] each) are for trial
    pictures on devices that calculate otherwise than the CPU, none for a model of one style; `threads` limits the CPU
    threads. Where `auto` chose a device that does not start, the CPU paints, and `session.device.why` says so. `auto`
    takes OpenVINO where it is installed and a few timed frames show that it is faster. Raises RtstyleError.
    """
    device, name = devices.choose(name), devices.asked_for(name).lower()
    if name == "auto" and device.kind == "cpu" and form is None and devices.openvino_problem() is None:
        device = _faster(device, path, codes, threads)
    try:
        return _open_on(device, path, form, codes, threads)
    except RtstyleError as error:
        if name != "auto" or device.kind == "cpu":
            raise
        cpu = dataclasses.replace(devices.choose("cpu"), why=f"auto: {error}")
        return _open_on(cpu, path, form, codes, threads)


def _faster(cpu: devices.Device, path: Path, codes: Sequence[Code], threads: int | None) -> devices.Device:
    """OpenVINO, if it paints this model faster than ONNX Runtime, else the device that was chosen."""
    try:
        reason = openvino.faster(path, codes, threads)
    except Exception as error:  # whatever another engine's trouble is, `auto` has the CPU
        return dataclasses.replace(cpu, why=f"{cpu.why}; OpenVINO fails: {devices.first_sentence(error)}")
    return cpu if reason is None else dataclasses.replace(devices.choose("openvino"), why=f"auto: {reason}")


def _open_on(
    device: devices.Device, path: Path, form: Form | None, codes: Sequence[Code], threads: int | None
) -> Session:
    if device.kind in ("openvino", "webgpu") and form:
        raise DeviceError(f"{device.name} paints models of rtstyle only, and {path.name} is none: use `device='cpu'`")
    try:
        if device.kind == "openvino":
            return openvino.OpenvinoSession(path, device, codes, threads)
        if device.kind == "webgpu":
            return WebgpuSession(path, device, codes[0] if codes else None)
        if form:
            return ClassicSession(path, device, form, threads)
        if device.kind in devices.NVIDIA:
            return GpuSession(path, device, codes[0] if codes else None)
        return OrtSession(path, device, threads)
    except RtstyleError:
        raise
    except Exception as error:  # the engines' own kinds, of a first small picture
        raise ModelError(
            f"{path} cannot be painted with on {device.name} ({devices.first_sentence(error)}): use another model or "
            "`device`"
        ) from None
