"""How much memory there is, and what one step, or one picture, may take of it."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from rtstyle.errors import UsageError

SHARE = 0.8  # of what is available, that one step may take
UNKNOWN = 8 << 30  # bytes that a machine counts as having which does not tell

_lock = threading.Lock()
_holders = 0
_before = (0, 0)


def available() -> int | None:
    """Bytes that can still be had, swap included, also in a container with a limit; None where that is not known."""
    try:
        facts = _facts(Path("/proc/meminfo"))
    except OSError:
        return None
    free = (facts["MemAvailable:"] + facts["SwapFree:"]) << 10
    with contextlib.suppress(OSError, ValueError, KeyError, StopIteration):
        folder = _control_group()
        used = int((folder / "memory.current").read_text()) - _facts(folder / "memory.stat")["inactive_file"]
        free = min(free, max(0, int((folder / "memory.max").read_text()) - used))
    return free


def installed() -> int:
    """Bytes that this machine has, or the container where that has a limit; UNKNOWN where it cannot be read."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN
    with contextlib.suppress(OSError, ValueError, StopIteration):
        size = min(size, int((_control_group() / "memory.max").read_text()))
    return size


def parse(text: str) -> int:
    """`3G`, `800M`, or megabytes, to bytes. Raises UsageError."""
    number, unit = text.strip().upper().removesuffix("B").removesuffix("I"), 1e6
    for letter, factor in (("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if number.endswith(letter):
            number, unit = number[:-1], factor
    try:
        size = float(number) * unit
    except ValueError:
        size = math.nan
    if not (math.isfinite(size) and size > 0):
        raise UsageError(f"{text!r} is an invalid memory size: give it as 3G or 800M")
    return int(size)


def _control_group() -> Path:
    """The folder of this process's control group (version 2). Raises StopIteration or OSError if it is in none."""
    group = next(line[4:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::")
    return Path("/sys/fs/cgroup") / group.strip("/")


def _facts(path: Path) -> dict[str, int]:
    lines = map(str.split, path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines}


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """On Linux: inside of the block, in any thread, no more than SHARE of what is available can be allocated; what
    asks for more gets a MemoryError (std::bad_alloc in C++) instead of the whole machine's memory."""
    global _holders, _before
    if not sys.platform.startswith("linux") or (free := available()) is None:
        yield
        return
    import resource

    with _lock:
        if not _holders:
            _before = resource.getrlimit(resource.RLIMIT_DATA)
            allowed = (_facts_of_process()["VmData:"] << 10) + round(SHARE * free)
            limits = [limit for limit in (*_before, allowed) if limit != resource.RLIM_INFINITY]
            resource.setrlimit(resource.RLIMIT_DATA, (min(limits), _before[1]))
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                resource.setrlimit(resource.RLIMIT_DATA, _before)


def _facts_of_process() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if words[-1] == "kB"}
