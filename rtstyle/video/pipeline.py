"""Threads between stages: bounded queues, order kept, first error wins."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


class _Closed(Exception):
    """The pipeline was stopped."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A stage whose items do not depend on one another: `workers` threads take turns."""

    call: Callable
    workers: int


@dataclasses.dataclass(frozen=True)
class Through:
    """A stage that may give fewer or more items than it takes: iterator in, iterator out."""

    call: Callable[[Iterator], Iterable]


class _Channel:
    """A bounded queue that can be closed from either end, which wakes everybody who waits. Items may be put in by
    several threads at once: each has a place, and waits until those before it are in."""

    def __init__(self, depth: int):
        self._items: deque = deque()
        self._depth = depth
        self._put = self._taken = 0
        self._closed = self._finished = False
        self._changed = threading.Condition()

    def put(self, place: int, item) -> None:
        with self._changed:
            self._wait(lambda: self._closed or (place == self._put and len(self._items) < self._depth))
            if self._closed:
                raise _Closed
            self._items.append(item)
            self._put += 1
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

    def __iter__(self) -> Iterator[tuple[int, object]]:
        """(place, item), shared out among all who iterate."""
        while True:
            with self._changed:
                self._wait(lambda: self._closed or self._items or self._finished)
                if self._closed:
                    raise _Closed
                if not self._items:
                    return
                place, item = self._taken, self._items.popleft()
                self._taken += 1
                self._changed.notify_all()
            yield place, item


def ahead(call: Callable, items: Iterable, workers: int) -> Iterator:
    """`map` by so many threads, each an item ahead of the last; results keep their order."""
    with ThreadPoolExecutor(workers) as pool:
        begun: deque = deque()
        for item in items:
            begun.append(pool.submit(call, item))
            if len(begun) == workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


class Loads:
    """How busy the stages of a pipeline are, the source first: `shares` of the time since the first item."""

    def __init__(self, names: tuple[str, ...]):
        self._names = names
        self._busy = [0.0] * len(names)
        self._workers = [1] * len(names)
        self._started: float | None = None
        self._lock = threading.Lock()

    def add(self, stage: int, seconds: float, workers: int = 1) -> None:
        """Count time for a stage that has so many threads."""
        with self._lock:
            self._started = self._started or time.monotonic() - seconds
            self._busy[stage] += seconds
            self._workers[stage] = workers

    def shares(self) -> dict[str, float]:
        passed = time.monotonic() - self._started if self._started else 0.0
        per_thread = (busy / workers for busy, workers in zip(self._busy, self._workers, strict=True))
        return {name: busy / passed if passed else 0.0 for name, busy in zip(self._names, per_thread, strict=True)}


def run_stages(
    source: Iterable,
    *stages: Callable | Spread | Through,
    depth: int = 4,
    loads: Loads | None = None,
    abandon: Callable[[], object] | None = None,
) -> Iterator:
    """Yield `stage_n(...stage_1(item)...)` for every item of `source`, in order.

    The source and every stage run in threads of their own, joined by queues of at most `depth` items, so memory does
    not grow however long the source is. A stage is a function of one item, or a Spread or a Through. `loads` (with a
    name for the source and each stage) learns how busy they are. The first error anywhere stops all threads and is
    raised here. Closing the iterator early stops them too; they have ended when that returns. Before they are waited
    for, `abandon` is called in all these cases: a stage that takes long may look for it.
    """
    channels = [_Channel(depth) for _ in range(len(stages) + 1)]
    errors: list[BaseException] = []

    def stop(error: BaseException | None = None) -> None:
        if error is not None:
            errors.append(error)
        for channel in channels:
            channel.close()

    def count(number: int, started: float, waited: float = 0.0, workers: int = 1) -> None:
        if loads:
            loads.add(number, time.monotonic() - started - waited, workers)

    def work(step: Callable, *arguments) -> None:
        try:
            step(*arguments)
        except _Closed:
            pass
        except BaseException as error:
            stop(error)

    def iterate(number: int, call: Callable[[Iterator], Iterable], out: _Channel) -> None:
        """A source, or a Through."""
        waited = 0.0

        def given() -> Iterator:
            nonlocal waited
            items = iter(channels[number - 1])
            while True:
                started = time.monotonic()
                pair = next(items, None)
                waited += time.monotonic() - started
                if pair is None:
                    return
                yield pair[1]

        results, place, end = iter(call(given())), 0, object()
        while True:
            started, waited = time.monotonic(), 0.0
            result = next(results, end)
            if result is end:
                return out.finish()
            count(number, started, waited)
            out.put(place, result)
            place += 1

    def spread(number: int, stage: Spread, out: _Channel, left: list[int]) -> None:
        for place, item in channels[number - 1]:
            started = time.monotonic()
            result = stage.call(item)
            count(number, started, workers=stage.workers)
            out.put(place, result)
        left.pop()  # one of the threads; the last one out ends the stage
        if not left:
            out.finish()

    threads = []

    def start(name: str, *arguments) -> None:
        threads.append(threading.Thread(target=work, args=arguments, name=name, daemon=True))

    start("stage-0", iterate, 0, lambda _: source, channels[0])
    for number, (stage, out) in enumerate(zip(stages, channels[1:], strict=True), start=1):
        if isinstance(stage, Through):
            start(f"stage-{number}", iterate, number, stage.call, out)
            continue
        stage = stage if isinstance(stage, Spread) else Spread(stage, 1)
        left = list(range(stage.workers))
        for _ in range(stage.workers):
            start(f"stage-{number}", spread, number, stage, out, left)
    for thread in threads:
        thread.start()
    complete = False
    try:
        for _, item in channels[-1]:
            yield item
        complete = True
    except _Closed:
        pass
    finally:
        stop()
        if abandon and not complete:
            abandon()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
