"""Calls that nobody can end: they run in threads of their own, so that whoever waits for them can go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

TICK = 0.1  # seconds between two looks at whether the wait is over

_left: list[Callable[[], bool]] = []


def leave(at_work: Callable[[], bool]) -> None:
    """Remember that a thread was left to itself; `at_work` says whether it still is at work."""
    _left[:] = [other for other in _left if other()]
    _left.append(at_work)


def left_at_work() -> bool:
    """Whether a thread that was left is still at work: the process must end without waiting for it, or tearing down
    what it works with."""
    return any(at_work() for at_work in _left)


def wait_for(future: Future[T], abandoned: Callable[[], bool] = lambda: False, seconds: float | None = None) -> T:
    """The result of a call in another thread; Ctrl-C ends the wait at once.

    Raises what the call raises; TimeoutError after so many `seconds`, or as soon as it is `abandoned`.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        try:
            return future.result(TICK)
        except TimeoutError:
            if future.done():  # just now, or the call itself timed out
                return future.result()
            if abandoned() or (end is not None and time.monotonic() > end):
                raise


def interruptible(
    call: Callable[[], T], name: str, seconds: float | None = None, late: Callable[[T], object] | None = None
) -> T:
    """What a call gives that is made in a thread of this name: Ctrl-C does not wait for it. TimeoutError after so many
    `seconds`; what comes after that goes to `late`, to be closed."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        return wait_for(future, seconds=seconds)
    except BaseException:
        leave(lambda: not future.done())
        if late:  # at once where it came just now
            future.add_done_callback(lambda done: None if done.exception() else late(done.result()))
        raise
