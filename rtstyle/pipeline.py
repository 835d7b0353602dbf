"""Threads between stages: bounded queues, order kept, first error wins."""

from __future__ import annotations

import threading
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


def run_stages(source: Iterable, *stages: Callable, depth: int = 4) -> Iterator:
    """Yield `stage_n(...stage_1(item)...)` for every item of `source`, in order.

    The source and every stage run in a thread of their own, joined by queues of at most `depth` items, so
    memory does not grow however long the source is. The first error anywhere stops all threads and is raised
    here. Closing the iterator early stops them too; they have ended when that returns.
    """
    channels = [_Channel(depth) for _ in range(len(stages) + 1)]
    errors: list[BaseException] = []

    def stop(error: BaseException | None = None) -> None:
        if error is not None:
            errors.append(error)
        for channel in channels:
            channel.close()

    def work(items: Iterable, stage: Callable | None, out: _Channel) -> None:
        try:
            for item in items:
                out.put(item if stage is None else stage(item))
            out.finish()
        except _Closed:
            pass
        except BaseException as error:
            stop(error)

    inputs = [source, *channels[:-1]]
    threads = [
        threading.Thread(target=work, args=(items, stage, out), name=f"stage-{i}", daemon=True)
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
