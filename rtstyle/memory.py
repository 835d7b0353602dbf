"""How much memory there is, and what one step may take of it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

SHARE = 0.8  # of what is available, that one step may take

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
        group = next(line[4:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::")
        folder = Path("/sys/fs/cgroup") / group.strip("/")
        used = int((folder / "memory.current").read_text()) - _facts(folder / "memory.stat")["inactive_file"]
        free = min(free, max(0, int((folder / "memory.max").read_text()) - used))
    return free


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
