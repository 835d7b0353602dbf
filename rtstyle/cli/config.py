"""The command `config`."""

from __future__ import annotations

import json

import click

from rtstyle.cli.defaults import NOT_THERE, config_path, read_config
from rtstyle.cli.flags import Command
from rtstyle.cli.live import cam


@click.command(cls=Command)
def config() -> None:
    """Print where the config file of cam is, and what is in force."""
    read = read_config(cam)
    there = config_path().exists()
    click.echo(f"# {config_path()}{'' if there else ' (does not exist)'}\n\n[cam]")
    context = click.Context(cam)
    for parameter in cam.params:
        if parameter.name is None or parameter.name in NOT_THERE:
            continue
        name, set_there = parameter.name.replace("_", "-"), parameter.name in read["cam"]
        value = read["cam"][parameter.name] if set_there else parameter.get_default(context)
        if isinstance(value, (str, int, float)):
            words = str(value).lower() if isinstance(value, bool) else json.dumps(value)
            click.echo(f"{name} = {words}{'' if set_there else '  # default'}")
    if read["keys"]:
        click.echo("\n[keys]")
        for key, meaning in read["keys"].items():
            click.echo(f"{json.dumps(key)} = {json.dumps(meaning)}")
