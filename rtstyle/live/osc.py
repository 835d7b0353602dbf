"""Control from outside by Open Sound Control (OSC): the messages that the live window understands."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import math
import socket
from collections.abc import Callable, Sequence
from typing import Any

from rtstyle.errors import DeviceError, install
from rtstyle.live.controls import Controls

HOST = "127.0.0.1"  # nobody else may send unless somebody says so
MAX_SIZE = 65536  # bytes of a datagram
MAX_RECEIVED = 1000  # datagrams of one look: a flood must not keep the window waiting ...
MAX_READ = 16  # ... of which the newest are read

Message = tuple[str, list[Any]]


class OscReceiver:
    """Receives OSC messages at a UDP port. `receive` never waits; of a flood the newest messages count, and what is no
    OSC message is passed over.

    Raises RtstyleError if the port is not available.
    """

    def __init__(self, port: int, host: str = HOST):
        try:
            from pythonosc import osc_bundle, osc_message, osc_packet
        except ImportError:
            raise DeviceError(f"OSC needs python-osc: {install('osc')}") from None
        modules: tuple[Any, ...] = (osc_bundle, osc_message)
        for module in modules:
            module.logging = logging.getLogger(f"{__name__}.garbage")  # it warns of every datagram, by the root logger
            module.logging.disabled = True
        self._packet = osc_packet.OscPacket
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise DeviceError(f"OSC cannot listen at {host}:{port} ({error.strerror}): choose another port") from None
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def receive(self) -> list[Message]:
        """(address, values) of what came since the last call, in their order."""
        newest: collections.deque[bytes] = collections.deque(maxlen=MAX_READ)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(MAX_RECEIVED):
                newest.append(self._socket.recv(MAX_SIZE))
        messages: list[Message] = []
        for datagram in newest:
            with contextlib.suppress(Exception):  # garbage has many kinds, and none of them may end the window
                packet = self._packet(datagram)
                messages += [(timed.message.address, list(timed.message.params)) for timed in packet.messages]
        return messages

    def close(self) -> None:
        self._socket.close()


def obey(controls: Controls, messages: Sequence[Message]) -> bool:
    """Do what messages say; whether something was done. Unknown addresses and unfit values change nothing."""
    done = False
    for address, values in messages:
        for entry in ADDRESSES:
            if address == entry.address:
                done = entry.action(controls, values) or done
    return done


def _share(value: Any) -> float | None:
    """A number from 0 to 1; None for what is no number."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return min(1.0, max(0.0, float(value)))
    return None


def _style(controls: Controls, value: Any) -> int | None:
    """The number of a style of the gallery, by its name or its number from 1."""
    names = [style.name for style in controls.styles.styles]
    if isinstance(value, str):
        return names.index(value) if value in names else None
    if isinstance(value, (int, float)) and math.isfinite(value) and 1 <= value <= len(names):
        return int(value) - 1
    return None


def _choose(controls: Controls, values: list[Any]) -> bool:
    index = _style(controls, values[0]) if len(values) == 1 else None
    if index is not None:
        controls.messages.say(controls.styles.choose(index, controls.clock()))
    return index is not None


def _mix(controls: Controls, values: list[Any]) -> bool:
    if len(values) != 3:
        return False
    first, second, share = _style(controls, values[0]), _style(controls, values[1]), _share(values[2])
    if first is None or second is None or share is None:
        return False
    controls.messages.say(controls.styles.mix(first, second, share, controls.clock()))
    return True


def _only_share(values: list[Any]) -> float | None:
    """The one value, from 0 to 1; None if it is no number or not alone."""
    return _share(values[0]) if len(values) == 1 else None


def _set(name: str) -> Callable[[Controls, list[Any]], bool]:
    """What sets a property of the painter to a value from 0 to 1."""

    def act(controls: Controls, values: list[Any]) -> bool:
        share = _only_share(values)
        if share is not None:
            setattr(controls.painter, name, share)
        return share is not None

    return act


def _pressed(values: list[Any]) -> bool | None:
    """Whether a button went down: no value, or one above 0; None if it cannot be said."""
    share = _only_share(values or [1])
    return None if share is None else share > 0


def _snapshot(controls: Controls, values: list[Any]) -> bool:
    if controls.latest and _pressed(values):
        controls.outputs.take_snapshot(controls.latest.view(controls.settings.split))
    return False  # the picture stays as it is


def _record(controls: Controls, values: list[Any]) -> bool:
    pressed, running = _pressed(values), controls.outputs.recorder is not None
    if not values or pressed is (not running):
        controls.outputs.toggle_recording(controls.clock())
    return False


@dataclasses.dataclass(frozen=True)
class Address:
    """An OSC address, the values that it takes and what it does, in words; what is done: whether the picture has to be
    painted again."""

    address: str
    values: str
    help: str
    action: Callable[[Controls, list[Any]], bool]


# The one table of addresses: that of docs/live.md is made from it.
ADDRESSES = (
    Address("/rtstyle/style", "name, or number from 1", "change to a style", _choose),
    Address("/rtstyle/mix", "style, style, 0 to 1", "mix two styles; the number is the second's share", _mix),
    Address("/rtstyle/strength", "0 to 1", "from the photograph to the painting", _set("strength")),
    Address("/rtstyle/steadiness", "0 to 1", "how much flicker is taken out", _set("steadiness")),
    Address("/rtstyle/snapshot", "none, or 1", "save a snapshot", _snapshot),
    Address("/rtstyle/record", "1, 0, or none", "start a recording, end it, or the other one of the two", _record),
)


def address_table() -> str:
    """The addresses as a Markdown table, for docs/live.md."""
    rows = (f"| `{each.address}` | {each.values} | {each.help} |" for each in ADDRESSES)
    return "\n".join(("| address | values | |", "| --- | --- | --- |", *rows))
