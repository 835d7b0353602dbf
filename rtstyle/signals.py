"""Signals from outside that end a long job as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
HASTE = 3.0  # seconds in which further signals say the same again, while what is done so far is put away


@contextlib.contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Let SIGINT, SIGTERM and SIGHUP end the block by KeyboardInterrupt, so that what is done so far is kept; gives the
    list of those that came.

    A shell lets the jobs that a script starts in the background ignore SIGINT; whoever sends one means it. A SIGHUP
    that is ignored (`nohup`) stays so. In other threads than the main one nothing changes.
    """
    came: list[int] = []
    heeded = float("-inf")

    def interrupt(number: int, _: object) -> None:
        nonlocal heeded
        came.append(number)
        if (now := time.monotonic()) - heeded > HASTE:
            heeded = now
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    hangup = getattr(signal, "SIGHUP", None)
    ending = [number for number in ENDING if number != hangup or signal.getsignal(number) != signal.SIG_IGN]
    previous = [(number, signal.signal(number, interrupt)) for number in ending]
    try:
        yield came
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let a signal that ends a job wait for the end of the block, which is done wholly or not at all; a second one does
    not wait. In other threads than the main one nothing changes."""
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, note) for number in ENDING if callable(signal.getsignal(number))}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
