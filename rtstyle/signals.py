"""Signals from outside that end a long job as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the block by KeyboardInterrupt, so that what is done so far is kept.

    A shell lets the jobs that a script starts in the background ignore SIGINT; whoever sends one means it. Main thread
    only.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ending = (signal.SIGTERM, signal.SIGINT)
    previous = [(number, signal.signal(number, interrupt)) for number in ending]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
