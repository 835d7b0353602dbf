"""From a model file and the name of a device to the session that fits both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rtstyle.errors import RtstyleError
from rtstyle.runtime import devices
from rtstyle.runtime.classic import ClassicSession, Form
from rtstyle.runtime.cuda import GpuSession
from rtstyle.runtime.session import Code, OrtSession, Session


def open_model(
    path: Path, name: str = "auto", *, form: Form | None = None, code: Code | None = None, threads: int | None = None
) -> Session:
    """A session of a model file on the device of a name, as `devices.choose` takes it.

    `form` is that of a classic net, None for a model of rtstyle's contract; `code` (float32 [K]) is for a first small
    picture on a GPU, None for a model of one style; `threads` limits the CPU threads. Where `auto` chose a device that
    does not start, the CPU paints, and `session.device.why` says so. Raises RtstyleError.
    """
    device = devices.choose(name)
    try:
        return _open_on(device, path, form, code, threads)
    except RtstyleError as error:
        if name != "auto" or device.kind == "cpu":
            raise
        cpu = dataclasses.replace(devices.choose("cpu"), why=f"auto: {error}")
        return _open_on(cpu, path, form, code, threads)


def _open_on(device: devices.Device, path: Path, form: Form | None, code: Code | None, threads: int | None) -> Session:
    if form:
        return ClassicSession(path, device, form, threads)
    if device.kind in devices.NVIDIA:
        return GpuSession(path, device, code)
    return OrtSession(path, device, threads)
