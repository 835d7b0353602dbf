"""Signals from outside that end a long job as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

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
    ending = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        ending.append(signal.SIGHUP)
    if hasattr(signal, "SIGBREAK"):  # how one process asks another to end, on Windows
        ending.append(signal.SIGBREAK)
    previous = [(number, signal.signal(number, interrupt)) for number in ending]
    try:
        yield came
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
