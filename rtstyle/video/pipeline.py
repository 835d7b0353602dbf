"""Threads between stages: bounded queues, order kept, first error wins."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
U = TypeVar("U")

# What a stage does with all items, one after another: it may give fewer or more than it takes.
Stage: TypeAlias = Callable[[Iterator[Any]], Iterable[Any]]


class _Closed(Exception):
    """The pipeline was stopped."""


class _Channel(Generic[T]):
    """A bounded queue that can be closed from either end, which wakes everybody who waits."""

    def __init__(self, depth: int):
        self._items: deque[T] = deque()
        self._depth = depth
        self._closed = self._finished = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
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

    def __iter__(self) -> Iterator[T]:
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


def each(call: Callable[[T], U], workers: int = 1) -> Callable[[Iterable[T]], Iterator[U]]:
    """The stage that calls a function for every item. Several `workers` do so at once, with one item more than their
    number under way; results keep their order."""

    def stage(items: Iterable[T]) -> Iterator[U]:
        if workers == 1:
            yield from map(call, items)
            return
        pool = ThreadPoolExecutor(workers, thread_name_prefix="stage-worker")
        begun: deque[Future[U]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(call, item))
                if len(begun) > workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    return stage


class Loads:
    """How busy the stages of a pipeline are, by name: `shares` of the time since work began, a worker."""

    def __init__(self, names: Sequence[str], clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._busy = dict.fromkeys(names, 0.0)
        self._workers = dict.fromkeys(names, 1)
        self._started: float | None = None
        self._lock = threading.Lock()

    def timed(self, name: str, call: Callable[..., T], workers: int = 1) -> Callable[..., T]:
        """The same function, its time counted as that of the stage `name`, which has so many workers."""
        self._workers[name] = workers

        def counted(*arguments: Any) -> T:
            started = self._clock()
            if self._started is None:
                self._started = started
            try:
                return call(*arguments)
            finally:
                with self._lock:
                    self._busy[name] += self._clock() - started

        return counted

    def timed_items(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The same items, the time that each takes to come counted as that of the stage `name`."""
        step, iterator, end = self.timed(name, next), iter(items), object()
        while (item := step(iterator, end)) is not end:
            yield item

    def shares(self) -> dict[str, float]:
        """{stage: 0 (idle) to 1 (busy all the time)}."""
        passed = 0.0 if self._started is None else self._clock() - self._started
        return {name: busy / self._workers[name] / passed if passed else 0.0 for name, busy in self._busy.items()}


def run_stages(
    source: Iterable[Any], *stages: Stage, depth: int = 4, abandon: Callable[[], object] | None = None
) -> Generator[Any]:
    """Yield what the last stage makes of what the stage before it makes of ... every item of `source`, in order.

    The source and every stage run in threads of their own, joined by queues of at most `depth` items, so memory does
    not grow however long the source is. The first error anywhere stops all threads and is raised here. Closing the
    iterator early stops them too; they have ended when that returns. While they are waited for, `abandon` is called
    again and again in all these cases: a stage that takes long may look for it.
    """
    channels: list[_Channel[Any]] = [_Channel(depth) for _ in range(len(stages) + 1)]
    errors: list[BaseException] = []

    def close_all() -> None:
        for channel in channels:
            channel.close()

    def work(stage: Stage, items: Iterable[Any], out: _Channel[Any]) -> None:
        try:
            for result in stage(iter(items)):
                out.put(result)
            out.finish()
        except _Closed:
            pass
        except BaseException as error:
            errors.append(error)
            close_all()

    steps = [(iter, source, channels[0]), *zip(stages, channels, channels[1:], strict=False)]
    threads = [
        threading.Thread(target=work, args=step, name=f"stage-{number}", daemon=True)
        for number, step in enumerate(steps)
    ]
    for thread in threads:
        thread.start()
    complete = False
    try:
        yield from channels[-1]
        complete = True
    except _Closed:
        pass
    finally:
        close_all()
        for thread in threads:
            waiting = True
            while waiting:
                if abandon and not complete:
                    abandon()  # every time: what was abandoned may make room for what waited behind it
                thread.join(0.1)
                waiting = thread.is_alive()
    if errors:
        raise errors[0]
