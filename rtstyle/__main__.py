"""The entry point of the command line."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line. Until it is imported, and once it is through, Ctrl-C ends the process without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rtstyle import cli
    from rtstyle.threads import left_at_work

    try:
        cli.main()
    except SystemExit as end:
        if not left_at_work():
            raise
        sys.stderr.flush()
        os._exit(int(end.code or 0))


if __name__ == "__main__":
    main()
