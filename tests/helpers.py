"""Plain functions that several tests use."""

import os
import subprocess
import sys


def run_python(*arguments, **options):
    """Python in a process of its own, as text, with the environment `extra` added."""
    environment = {**os.environ, **options.pop("extra", {})}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        **options,
    )


def tree(folder):
    """{relative path: content} of everything below a folder; folders have None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
