"""What the library logs, as lines on standard error."""

from __future__ import annotations

import logging
import os
import warnings

from rtstyle.cli.progress import say


class Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        say(f"warning: {text}" if record.levelno >= logging.WARNING else text)


def show() -> None:
    """From now on; of Pillow, OpenCV and its FFmpeg nothing."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    log = logging.getLogger("rtstyle")
    log.setLevel(logging.INFO)
    log.handlers = [Lines()]
    warnings.filterwarnings("ignore", module="PIL")  # of metadata that it cannot read
