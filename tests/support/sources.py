"""Sources of frames for tests."""

from __future__ import annotations

import queue


class Hand:
    """A source whose frames, losses (None) and errors a test gives by hand; without `returns` a loss ends it."""

    def __init__(self, *items, returns=True):
        self.returns, self.closed = returns, 0
        self._items = queue.Queue()
        self.give(*items)

    def give(self, *items):
        for item in items:
            self._items.put(item)

    def read(self):
        item = self._items.get()
        if isinstance(item, Exception):
            raise item
        return item

    def wake(self):
        self._items.put(None)

    def close(self):
        self.closed += 1
