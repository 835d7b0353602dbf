"""Runs of rtstyle as children of a process that has imported its libraries: ten times as many in the same time.

Reads a job a line, as JSON (the arguments of `run`, by name), and answers each with how it ended ({"code", "stderr",
"seconds", "peak"}).
"""

import gc
import json
import os
import signal
import sys
import tempfile
import time

from rtstyle import cli
from rtstyle.cli import files, options, progress  # noqa: F401  # imported now, not by every child


def child(arguments: list[str], where: str, stderr: int) -> None:
    os.setsid()
    os.chdir(where)
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, source in ((0, nothing), (1, nothing), (2, stderr)):
        os.dup2(source, target)
    sys.argv = ["rtstyle", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    finally:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def run(arguments: list[str], where: str, limit: float, kill_after: float | None = None) -> dict[str, object]:
    started = time.monotonic()
    with tempfile.TemporaryFile() as stderr:
        pid = os.fork()
        if not pid:
            child(arguments, where, stderr.fileno())
        ended = 0
        while not ended and (passed := time.monotonic() - started) < limit:
            if kill_after is not None and passed > kill_after:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
        code: int | None = None
        if ended:
            code = os.waitstatus_to_exitcode(status)
        else:
            os.kill(pid, signal.SIGKILL)
            _, _, usage = os.wait4(pid, 0)
        stderr.seek(0)
        said = stderr.read().decode(errors="replace")
    return {"code": code, "stderr": said, "seconds": time.monotonic() - started, "peak": usage.ru_maxrss << 10}


gc.freeze()  # pages that children would copy only to count references
for line in sys.stdin:
    print(json.dumps(run(**json.loads(line))), flush=True)
