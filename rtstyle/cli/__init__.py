"""The command line: a module for each group of commands, which parse, call and print.

The module of a command is imported when the command runs, and what is heavy inside of it.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from rtstyle.cli.flags import Group
from rtstyle.cli.progress import say
from rtstyle.errors import Interrupted, RtstyleError
from rtstyle.signals import ended_by_signals

INTERRUPTED = Interrupted.exit_code
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def main() -> None:
    """Entry point: errors are one sentence on standard error; 0 done, 1 failed, 2 usage, 130 interrupted."""
    with ended_by_signals() as came:
        code = _run(came) or _flushed()
    sys.exit(code)


def _run(came: list[int]) -> int:
    """The exit code; `came` are the signals that did."""
    try:
        return cli.main(prog_name="rtstyle", standalone_mode=False) or 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        say("rtstyle: interrupted")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return 2
    except RtstyleError as error:
        say(f"rtstyle: {error}")
        return error.exit_code
    except BrokenPipeError:
        _drop_stdout()
        return 1
    except Exception as error:
        if os.environ.get("RTSTYLE_DEBUG"):
            raise
        if came:  # what it broke into made another error of it, as imports do
            say("rtstyle: interrupted")
            return INTERRUPTED
        if isinstance(error, OSError) and error.strerror:  # a folder that may not be read, a name that is too long
            say(f"rtstyle: {error.filename or 'reading or writing failed'}: {error.strerror}")
        elif isinstance(error, ImportError) and ".so" in str(error):  # OpenCV on a minimal system
            say(f"rtstyle: a system library is missing ({error}): apt install libgl1 libglib2.0-0, or what has it")
        else:
            say(f"rtstyle: {type(error).__name__}: {error} (a bug: RTSTYLE_DEBUG=1 shows where; please report it)")
        return 1


def _flushed() -> int:
    """The exit code, once the results have gone where standard output goes."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        if not isinstance(error, BrokenPipeError):
            say(f"rtstyle: standard output could not be written ({error.strerror})")
        return 1
    return 0


def _drop_stdout() -> None:
    """Let Python's own flush at the end find somebody who takes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


COMMANDS = {  # name: (module, what help says of it), so that only the module of the command that runs is imported
    "bench": ("diagnose", "Measure how fast a model paints here, alone and with everything around it."),
    "cam": ("live", "Paint a camera, a stream or a file live, in a window with hotkeys."),
    "config": ("config", "Print where the config file of cam is, and what is in force."),
    "demo": ("live", "Paint the camera in a window, or a bundled clip where either is missing."),
    "doctor": ("diagnose", "Say what this machine can do and what is wrong with it."),
    "evaluate": ("train", "Measure a model: paint, recognition, style, colours, steadiness, artefacts, speed."),
    "export": ("train", "Write an ONNX model, checked against torch."),
    "gatys": (
        "gatys",
        "Optimise one picture in the style of others (Gatys et al. 2016): slow, the best single frame.",
    ),
    "image": ("files", "Paint a picture file, or every picture of a folder."),
    "lab": ("lab", "Run an experiment of the source documents and write a report (HTML, CSV, PNG) into a folder."),
    "styles": ("styles", "List the styles; draw them; add your own and remove them."),
    "train": ("train", "Learn a new style from PICTURE in minutes, or a whole gallery by a recipe."),
    "video": ("files", "Paint a video: same frames, size and time stamps; sound and all other streams copied."),
    "web": ("web", "Paint in the browser, without installing anything there; write the page for a static host."),
}


class Commands(Group):
    """COMMANDS, each imported when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"rtstyle.cli.{COMMANDS[name][0]}"), name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name="rtstyle")
def cli() -> None:
    """Paint a webcam or a video in the style of a picture, in real time."""
    from rtstyle.cli import log

    log.show()
