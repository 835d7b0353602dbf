"""Fixtures of the live loop's tests; a test module asks for them with `pytest_plugins = ["support.live_fixtures"]`."""

import threading
from collections import deque

import pytest

from rtstyle.live import overlay
from support.live_session import THREADS, Session, wait_until


@pytest.fixture
def session(tmp_path):
    """Makes sessions: session(source, net=..., window=..., and what Live takes). No thread of theirs may survive."""
    made = []

    def make(source=None, *, folder=tmp_path, **options):
        made.append(Session(folder, source, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
    wait_until(lambda: not THREADS & {thread.name for thread in threading.enumerate()})


@pytest.fixture
def texts(monkeypatch):
    """Every line that is written over a picture."""
    lines, text_box = deque(maxlen=2000), overlay.text_box

    def spy(words, *arguments):
        lines.extend(words)
        return text_box(words, *arguments)

    monkeypatch.setattr(overlay, "text_box", spy)
    return lines
