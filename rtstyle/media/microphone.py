"""The microphone, through PortAudio."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtstyle.errors import DeviceError, RtstyleError, install
from rtstyle.media.sound import SampleClock, Take

SILENT_SECONDS = 1.5  # without a sample: it is gone
BLOCK = 0.02  # seconds of a piece
SETTLE = 1.0  # seconds in which the first pieces wait: a sound server sends those that it has kept at once


def _sounddevice() -> Any:
    """The package. Raises RtstyleError, also where it is there and PortAudio is not."""
    try:
        import sounddevice
    except ImportError:
        raise DeviceError(f"recording a microphone needs sounddevice: {install('microphone')}") from None
    except OSError:
        raise DeviceError(
            "recording a microphone needs PortAudio: install it (Debian, Ubuntu: sudo apt install libportaudio2)"
        ) from None
    return sounddevice


def list_microphones() -> list[tuple[int, str]]:
    """The microphones of this machine: (number, name). Raises RtstyleError where sounddevice is missing."""
    devices = enumerate(_sounddevice().query_devices())
    return [(number, device["name"]) for number, device in devices if device["max_input_channels"] > 0]


class Microphone:
    """A microphone by its number or a part of its name, None: the one that the system prefers. It is opened by `start`.

    Raises RtstyleError if there is none, or not one of this name.
    """

    def __init__(self, name: str | None = None):
        self._sounddevice = _sounddevice()
        self._device = self._find(name)
        info = self._sounddevice.query_devices(self._device, "input")
        self.name: str = info["name"]
        self.rate, self.channels = round(info["default_samplerate"]), min(2, info["max_input_channels"])
        self._error: RtstyleError | None = None
        self._stream: Any = None
        self._heard_at = 0.0
        self._give: Callable[[], None] = lambda: None

    def _find(self, name: str | None) -> int:
        found = list_microphones()
        if not found:
            raise DeviceError("there is no microphone: plug one in, or give `audio='none'`")
        if name is None:
            preferred = self._sounddevice.default.device[0]
            return preferred if any(number == preferred for number, _ in found) else found[0][0]
        meant = [number for number, _ in found if name == str(number)]
        meant += [number for number, called in found if name.lower() in called.lower()]
        if meant:
            return meant[0]
        raise DeviceError(f"there is no microphone {name!r}: rtstyle cam --audio list shows them")

    def start(self, take: Take) -> None:
        clock, self._error, self._heard_at = SampleClock(self.rate), None, time.monotonic()
        begun, first = float("inf"), 0
        held: list[np.ndarray] = []

        def give() -> None:
            nonlocal first
            for samples in held:
                take(clock.time(first), samples)
                first += len(samples)
            held.clear()

        def heard(samples: np.ndarray, count: int, times: Any, status: Any) -> None:
            nonlocal begun
            now = self._heard_at = time.monotonic()
            begun = min(begun, now)
            known = times.inputBufferAdcTime > 0
            clock.add(now, times.currentTime - times.inputBufferAdcTime if known else 0.0, count)
            held.append(samples.copy())
            if now - begun > SETTLE:
                give()

        self._give = give
        try:
            self._stream = self._sounddevice.InputStream(
                device=self._device,
                samplerate=self.rate,
                channels=self.channels,
                dtype="float32",
                blocksize=round(BLOCK * self.rate),
                callback=heard,
            )
            self._stream.start()
        except Exception as error:  # PortAudioError, and what its drivers raise
            self._stream = None
            raise DeviceError(f"the microphone {self.name} cannot be opened ({error}): give `audio='none'`") from None

    @property
    def error(self) -> RtstyleError | None:
        """What ended it early: it was unplugged."""
        if self._stream and self._error is None and time.monotonic() - self._heard_at > SILENT_SECONDS:
            self._error = DeviceError(f"the microphone {self.name} is gone: the recording goes on without sound")
        return self._error

    def stop(self) -> None:
        stream, self._stream = self._stream, None
        if stream:
            stream.close(ignore_errors=True)
            self._give()
