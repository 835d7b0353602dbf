"""Threads between stages: bounded queues, order kept, first error wins."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator


class _Closed(Exception):
    """The pipeline was stopped."""


class _Channel:
    """A bounded queue that can be closed from either end, which wakes everybody who waits."""

    def __init__(self, depth: int):
        self._items: deque = deque()
        self._depth = depth
        self._closed = self._finished = False
        self._changed = threading.Condition()

    def put(self, item) -> None:
        with self._changed:
            self._wait(lambda: self._closed or len(self._items) < self._depth)
            if self._closed:
                raise _Closed
            self._items.append(item)
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], object]) -> None:
        while not ready():
            self._changed.wait(0.5)  # an endless wait cannot be interrupted by Ctrl-C on Windows

    def finish(self) -> None:
        """No more items will come."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody wants the items any more."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator:
        while True:
            with self._changed:
                self._wait(lambda: self._closed or self._items or self._finished)
                if self._closed:
                    raise _Closed
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class Loads:
    """How busy the stages of a pipeline are, the source first: `shares` of the time since the first item."""

    def __init__(self, names: tuple[str, ...]):
        self._names = names
        self._busy = [0.0] * len(names)
        self._started: float | None = None

    def timed(self, stage: int, call: Callable, *arguments):
        """The result of a call, its time counted for a stage."""
        started = time.monotonic()
        self._started = self._started or started
        try:
            return call(*arguments)
        finally:
            self._busy[stage] += time.monotonic() - started

    def shares(self) -> dict[str, float]:
        passed = time.monotonic() - self._started if self._started else 0.0
        return {name: busy / passed if passed else 0.0 for name, busy in zip(self._names, self._busy, strict=True)}


def run_stages(source: Iterable, *stages: Callable, depth: int = 4, loads: Loads | None = None) -> Iterator:
    """Yield `stage_n(...stage_1(item)...)` for every item of `source`, in order.

    The source and every stage run in a thread of their own, joined by queues of at most `depth` items, so
    memory does not grow however long the source is. `loads` (with a name for the source and each stage) learns how busy
    they are. The first error anywhere stops all threads and is raised
    here. Closing the iterator early stops them too; they have ended when that returns.
    """
    channels = [_Channel(depth) for _ in range(len(stages) + 1)]
    errors: list[BaseException] = []

    def stop(error: BaseException | None = None) -> None:
        if error is not None:
            errors.append(error)
        for channel in channels:
            channel.close()

    def work(number: int, items: Iterable, stage: Callable | None, out: _Channel) -> None:
        try:
            for item in timed_source(items) if stage is None else items:
                out.put(item if stage is None else timed(number, stage, item))
            out.finish()
        except _Closed:
            pass
        except BaseException as error:
            stop(error)

    def timed(number: int, call: Callable, *arguments):
        return loads.timed(number, call, *arguments) if loads else call(*arguments)

    def timed_source(items: Iterable) -> Iterator:
        items, end = iter(items), object()
        while (item := timed(0, next, items, end)) is not end:
            yield item

    inputs = [source, *channels[:-1]]
    threads = [
        threading.Thread(target=work, args=(i, items, stage, out), name=f"stage-{i}", daemon=True)
        for i, (items, stage, out) in enumerate(zip(inputs, (None, *stages), channels, strict=True))
    ]
    for thread in threads:
        thread.start()
    try:
        yield from channels[-1]
    except _Closed:
        pass
    finally:
        stop()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
