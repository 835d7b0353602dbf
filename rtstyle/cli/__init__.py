"""The command line: a module for each group of commands, which parse, call and print.

Heavy imports happen inside the commands.
"""

from __future__ import annotations

import os
import sys

import click

from rtstyle.cli import diagnose, files, gatys, lab, live, styles, train
from rtstyle.cli.flags import Group
from rtstyle.cli.progress import say
from rtstyle.errors import RtstyleError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def main() -> None:
    """Entry point: errors are one sentence on standard error; 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        code = cli.main(prog_name="rtstyle", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        say("rtstyle: interrupted")
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except RtstyleError as error:
        say(f"rtstyle: {error}")
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if os.environ.get("RTSTYLE_DEBUG"):
            raise
        say(f"rtstyle: {type(error).__name__}: {error} (a bug: RTSTYLE_DEBUG=1 shows where; please report it)")
        code = 1
    sys.exit(code or 0)


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(package_name="rtstyle")
def cli() -> None:
    """Paint a webcam or a video in the style of a picture, in real time."""
    from rtstyle.cli import log

    log.show()


for _command in (
    *(live.demo, live.cam, files.video, files.image, styles.styles),
    *(train.train, train.export, train.evaluate, gatys.gatys, lab.lab, diagnose.bench, diagnose.doctor),
):
    cli.add_command(_command)
