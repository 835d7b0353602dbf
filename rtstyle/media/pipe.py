"""Videos through pipes: read while they come, and kept in a file, as their other streams are read a second time."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rtstyle.errors import InputError, OutputError

CHUNK = 1 << 20  # bytes read from a pipe at once
AHEAD = 64 << 20  # bytes that are kept before somebody reads them
HEAD = 1 << 12  # bytes to know a container by
TICK = 0.5  # seconds: an endless wait cannot be interrupted by Ctrl-C on Windows
SAY_SECONDS = 5.0  # between two words about a pipe that takes its time
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # that movies begin with

log = logging.getLogger("rtstyle")


def is_pipe(source: str) -> bool:
    """Whether it is standard input (-), or a named pipe such as a shell's <(...)."""
    return source == "-" or Path(source).is_fifo()


def can_be_streamed(head: bytes) -> bool:
    """Whether the container that begins so can be read forward: all but movies (MP4, MOV) whose index comes behind the
    pictures."""
    if head[4:8] not in BOXES:
        return True
    at = 0
    while at + 8 <= len(head):
        size, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if kind in (b"moov", b"mdat"):
            return kind == b"moov"
        at += max(size, 8)
    return False


class Pipe(os.PathLike[str]):
    """What standard input (-) or a named pipe gives: a file object that waits for what is still to come, and a path,
    `path`, where it is kept.

    A thread reads the pipe, no further than AHEAD of who reads here unless it is asked for all: then `complete` says
    that all is there. Raises InputError if standard input is closed.
    """

    def __init__(self, source: str, path: Path):
        if source == "-" and sys.stdin is None:
            raise InputError("standard input is closed: there is no video to read")
        self.path = path
        self.complete = False
        self._error: OSError | None = None
        self._source = source
        self._size = self._position = 0
        self._over = self._closed = self._all = False
        self._changed = threading.Condition()
        path.touch()
        self._kept = open(path, "rb", buffering=0)  # noqa: SIM115
        threading.Thread(target=self._fill, name="pipe", daemon=True).start()

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return "standard input" if self._source == "-" else self._source

    def _fill(self) -> None:
        try:
            # not through sys.stdin: a thread that waits in there would keep Python from ending
            source = sys.stdin.fileno() if self._source == "-" else os.open(self._source, os.O_RDONLY)
            try:
                with open(self.path, "wb") as file:
                    while chunk := os.read(source, CHUNK):
                        file.write(chunk)
                        file.flush()
                        if not self._grown(len(chunk)):
                            break
            finally:
                if self._source != "-":
                    os.close(source)
        except OSError as error:
            self._error = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _grown(self, count: int) -> bool:
        """Tell who waits, and wait for who reads; whether to go on."""
        with self._changed:
            self._size += count
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._all or self._size - self._position < AHEAD)
            return not self._closed

    def read(self, count: int) -> bytes:
        """At most so many of the next bytes, as soon as there are any; none at the end, and once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._size > self._position or self._over or self._closed)
            if self._closed:
                return b""
            data = self._kept.read(min(count, self._size - self._position))
            self._position += len(data)
            self._changed.notify_all()
            return data

    def head(self) -> bytes:
        """The first HEAD bytes, or all, which stay to be read."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._size >= HEAD or self._over, TICK):
                pass
        with open(self.path, "rb") as file:
            return file.read(HEAD)

    def read_all(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Wait until everything is in `path`; logs every few seconds how far it is. Raises OutputError."""
        said = clock()
        with self._changed:
            self._all = True
            self._changed.notify_all()
            while not self._changed.wait_for(lambda: self._over, TICK):
                if clock() - said >= SAY_SECONDS:
                    said = clock()
                    log.info(f"{self}: {self._size / 1e6:.1f} MB so far")
        self.check()
        self.complete = True
        log.info(f"{self}: {self._size / 1e6:.1f} MB")

    def check(self) -> None:
        """Raises OutputError if what came could not be kept."""
        if self._error:
            raise OutputError(
                f"{self} could not be kept in {self.path.parent} ({self._error.strerror}): set TMPDIR to a folder with "
                "room"
            )

    def close(self) -> None:
        """Let go of the pipe, and of who waits here."""
        with self._changed:
            self._closed = True
            self._kept.close()
            self._changed.notify_all()
