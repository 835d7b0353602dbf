"""The library's sentences in the words of the command line: arguments become flags."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from rtstyle.errors import RtstyleError

ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")  # `work_height`, `force=True`, `device='cpu'`


def in_flags(text: str) -> str:
    """`work_height` to --work-height, `force=True` to --force, where the running command has such an option."""
    options: dict[str, click.Option] = {}
    context = click.get_current_context(silent=True)
    while context:
        for parameter in context.command.params:
            if isinstance(parameter, click.Option) and parameter.name:
                options.setdefault(parameter.name, parameter)
        context = context.parent

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in options:
            return match.group().strip("`")
        option = options[name]
        if value == "False":
            return option.secondary_opts[-1]
        words = max(option.opts, key=len)
        return words if value in (None, "True") else f"{words} {value.strip(chr(39))}"

    return ARGUMENT.sub(flag, text)


@contextmanager
def errors_in_flags() -> Iterator[None]:
    try:
        yield
    except RtstyleError as error:
        error.args = (in_flags(str(error)),)
        raise


class Command(click.Command):
    """A command whose errors name its flags, and which is quiet when asked to be."""

    def invoke(self, context: click.Context) -> Any:
        if context.params.get("quiet"):
            logging.getLogger("rtstyle").setLevel(logging.WARNING)
        with errors_in_flags():
            return super().invoke(context)


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command
