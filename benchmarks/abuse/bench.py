"""A run of rtstyle: the process, its limits, and what is wrong with how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LIMIT = 60.0  # seconds a run may take
MEMORY = 3 << 30  # bytes a run may hold
BUG_MARKS = ("Traceback (most recent call last)", "(a bug", "Segmentation fault", "core dumped")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative for a signal, None for the time limit), messages, seconds, peak memory."""

    code: int | None
    stderr: str
    seconds: float
    peak: int
    stdout: str = ""


Verdict = tuple[str, str]  # how a run ended (painted, refused, ...), and what is wrong with that (empty if it passed)
Runs = Iterator[tuple[str, Callable[[], Verdict]]]  # the runs of a section, by name


@dataclasses.dataclass
class Bench:
    """What all sections share: the command under test (None: this Python's rtstyle), the seed, and where to work."""

    command: list[str] | None
    seed: int
    folder: Path
    forks: threading.local = dataclasses.field(default_factory=threading.local)

    def run_forked(
        self, arguments: list[str], where: Path, *, limit: float = LIMIT, kill_after: float | None = None
    ) -> Ended:
        """As `run`, quicker: in a child of a process that has imported everything. `kill_after`: SIGKILL then."""
        if self.command:
            send = None if kill_after is None else (signal.SIGKILL, kill_after)
            return self.run(arguments, where, limit=limit, send=send)
        if not hasattr(self.forks, "server"):
            script = Path(__file__).with_name("forks.py")
            self.forks.server = subprocess.Popen(
                [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        server = self.forks.server
        job = {"arguments": arguments, "where": str(where), "limit": limit, "kill_after": kill_after}
        print(json.dumps(job), file=server.stdin, flush=True)
        return Ended(**json.loads(server.stdout.readline()))

    def run(
        self,
        arguments: list[str],
        where: Path,
        *,
        limit: float = LIMIT,
        send: tuple[signal.Signals, float] | None = None,
        begun: Callable[[], bool] = lambda: True,
        file_limit: int | None = None,
    ) -> Ended:
        """Run the command in a folder; `send` is a signal and the seconds after which it is sent, once it has `begun`.
        The time limit begins with the signal."""

        def bound() -> None:
            for kind in (signal.SIGINT, signal.SIGHUP):  # which nohup and shells ignore for what runs behind them
                signal.signal(kind, signal.SIG_DFL)
            if file_limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does: writing fails instead
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        started, said, results = time.monotonic(), bytearray(), bytearray()
        process = subprocess.Popen(
            [*(self.command or [sys.executable, "-m", "rtstyle"]), *arguments],
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=bound,
            start_new_session=True,
        )
        pipes = (said, process.stderr), (results, process.stdout)
        readers = [threading.Thread(target=lambda to=to, of=of: to.extend(of.read()), daemon=True) for to, of in pipes]
        for reader in readers:
            reader.start()
        if send:
            while process.poll() is None and not begun() and time.monotonic() - started < limit:
                time.sleep(0.01)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(send[1])
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(send[0])
            started = time.monotonic()
        peak, code = 0, None
        while time.monotonic() - started < limit:
            peak = max(peak, peak_memory(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(0.05)
                break
        if code is None:
            process.kill()
            process.wait()
        for reader in readers:
            reader.join(5)
        errors, output = (bytes(text).decode(errors="replace") for text in (said, results))
        return Ended(code, errors, time.monotonic() - started, peak, output)

    def room(self, name: str) -> Path:
        """An empty folder for one run."""
        where = self.folder / name.replace("/", "_")
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        return where


def peak_memory(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def judge(ended: Ended, *, results: set[str], found: set[str], whole: Callable[[], bool]) -> Verdict:
    """`results` are the names that a finished run leaves, `found` those that are there now, `whole` looks into them."""
    how = {0: "painted", 130: "interrupted"}.get(ended.code if ended.code is not None else -1, "refused")
    if ended.code is None:
        return how, f"still running after {ended.seconds:.0f} s"
    marks = [mark for mark in BUG_MARKS if mark in ended.stderr]
    if marks:
        return how, f"says {marks[0]!r}: {ended.stderr.strip().splitlines()[-1][:200]}"
    if ended.code < 0 and -ended.code not in (signal.SIGKILL, signal.SIGHUP):
        return how, f"ended by signal {-ended.code}"
    if ended.peak > MEMORY:
        return how, f"took {ended.peak >> 20} MB"
    if ended.code == 0:
        if not results <= found:
            return how, f"exit code 0, but no {', '.join(sorted(results - found))}"
        if not whole():
            return how, "exit code 0, but the result is not whole"
        left = found - results
    else:
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        if not said:
            return how, f"exit code {ended.code} without a word"
        left = found if how == "refused" else set()  # an interrupted job keeps its partial files and says so
    return how, f"left {', '.join(sorted(left))}" if left else ""


def names_in(where: Path, besides: set[str]) -> set[str]:
    return {path.name for path in where.iterdir()} - besides


def finished(where: Path, how: str, fault: str) -> Verdict:
    """Clear up after a run that passed."""
    if not fault:
        shutil.rmtree(where, ignore_errors=True)
    return how, fault
