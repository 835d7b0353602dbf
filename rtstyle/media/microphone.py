"""The microphone, through PortAudio."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from rtstyle.errors import DeviceError, RtstyleError, install
from rtstyle.media.sound import SampleClock, Take

SILENT_SECONDS = 1.5  # without a sample: it is gone
BLOCK = 0.02  # seconds of a piece


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

    def _find(self, name: str | None) -> int:
        found = list_microphones()
        if not found:
            raise DeviceError("there is no microphone: plug one in, or give `audio='none'`")
        if name is None:
            preferred = self._sounddevice.default.device[0]
            return preferred if any(number == preferred for number, _ in found) else found[0][0]
        for number, called in found:
            if name == str(number) or name.lower() in called.lower():
                return number
        raise DeviceError(f"there is no microphone {name!r}: rtstyle cam --audio list shows them")

    def start(self, take: Take) -> None:
        clock, self._error, self._heard_at = SampleClock(self.rate), None, time.monotonic()

        def heard(samples: np.ndarray, count: int, times: Any, status: Any) -> None:
            now = self._heard_at = time.monotonic()
            # by the sound card's clock, where the driver tells it: how long ago the first sample was
            age = times.currentTime - times.inputBufferAdcTime if times.inputBufferAdcTime else 0.0
            age = age if 0 < age < 1 else count / self.rate
            take(clock.time(now - age, count), samples.copy())

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
