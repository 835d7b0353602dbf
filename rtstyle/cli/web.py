"""Painting in the browser."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from rtstyle.cli.flags import Command
from rtstyle.cli.options import option, output_options
from rtstyle.cli.progress import say
from rtstyle.errors import UsageError
from rtstyle.signals import ended_by_signals

PORT = 8722


@click.command(cls=Command)
@option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 is any that is free.")
@option("--open", "show", is_flag=True, help="Open it in the browser.")
@option(
    "--export",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the page into DIR instead, for any static host.",
)
@output_options
def web(port: int, show: bool, folder: Path | None, force: bool, quiet: bool) -> None:
    """Paint in the browser, without installing anything there; write the page for a static host.

    The page is served on this machine alone; frames never leave the browser.
    """
    import webbrowser

    from rtstyle.web import site
    from rtstyle.web.server import PageServer

    chosen = click.get_current_context().get_parameter_source("port") is ParameterSource.COMMANDLINE
    for flag, given in {"--port": chosen, "--open": show}.items():
        if folder and given:
            raise UsageError(f"--export serves nothing: leave {flag} out")
    if force and not folder:
        raise UsageError("--force goes with --export")
    if folder:
        files = site.export(folder, force=force)
        size = sum(map(len, files.values()))
        click.echo(f"{folder}: {len(files)} files, {size / 1e6:.0f} MB; browsers want https for the camera")
        return
    with PageServer(site.page_files(), port) as server, ended_by_signals():
        click.echo(server.url)
        if not quiet:
            say("Ctrl-C ends it.")
        if show:
            webbrowser.open(server.url)
        server.serve_forever()
