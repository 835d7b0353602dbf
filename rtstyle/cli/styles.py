"""The styles: list and draw them, add and remove one's own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from rtstyle.cli.flags import Group
from rtstyle.cli.options import check_sheet, complete_own_style, json_option, model_option, option, output_options
from rtstyle.errors import UsageError

if TYPE_CHECKING:
    from rtstyle.gallery.model_file import Style

COLUMNS = ("name", "title", "artist", "year", "licence")
HEADS = ("style", "picture", "artist", "year", "licence")


@click.group(cls=Group, invoke_without_command=True)
@model_option
@json_option
@option("--sheet", type=click.Path(), metavar="FILE", help="Draw them all on a photograph (PNG).")
@option(
    "--photo",
    type=click.Path(),
    metavar="FILE",
    help="The photograph for --sheet [default: one that comes with rtstyle].",
)
@output_options
@click.pass_context
def styles(
    context: click.Context, model: str, as_json: bool, sheet: str | None, photo: str | None, force: bool, quiet: bool
) -> None:
    """List the styles; draw them; add your own and remove them."""
    check_combination(context)
    if context.invoked_subcommand:
        return
    from rtstyle.gallery import catalog

    if sheet:
        draw_sheet(model, sheet, photo, force=force)
        return
    listed = catalog.styles(model)
    if as_json:
        click.echo(json.dumps([style.info() for style in listed], indent=2, ensure_ascii=False))
        return
    for line in table(listed, terminal_width()):
        click.echo(line)


def check_combination(context: click.Context) -> None:
    """Raises UsageError for options that would be ignored."""
    given = {
        parameter.name: parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    }
    if command := context.invoked_subcommand:
        for name, flag in given.items():
            if name != "quiet":
                raise UsageError(f"{flag} is for listing the styles: leave it out with {command}")
    for name in ("photo", "force"):
        if name in given and "sheet" not in given:
            raise UsageError(f"{given[name]} is for --sheet FILE")
    if "as_json" in given and "sheet" in given:
        raise UsageError("--json lists the styles and --sheet draws them: leave one of them out")


def draw_sheet(model: str, sheet: str, photo: str | None, *, force: bool) -> None:
    from rtstyle.gallery import catalog
    from rtstyle.media.contact_sheet import style_sheet
    from rtstyle.paint.stylizer import Stylizer

    check_sheet(sheet, force=force, inputs=[photo] if photo else [])
    stylizer = Stylizer(model=model)
    codes = ((s.name, s.code if stylizer.model.takes_code else None) for s in catalog.mixable(catalog.load(model)))
    style_sheet(((name, partial(stylizer, code=code)) for name, code in codes), sheet, photo, force=force)
    click.echo(sheet)


def terminal_width() -> int | None:
    """Columns of the terminal, or of COLUMNS; None where nothing limits a line: in a pipe or a file."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return None


def table(listed: Sequence[Style], width: int | None) -> list[str]:
    """A line a style in columns. What does not fit into `width` is left out: the licence, then the ends of titles and
    artists' names."""
    from rich.cells import cell_len, set_cell_size

    rows = [HEADS, *(tuple(getattr(style, column) for column in COLUMNS) for style in listed)]
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(HEADS))]
    if width is not None:
        if sum(widths) + 2 * (len(widths) - 1) > width:
            widths.pop()
        excess = sum(widths) + 2 * (len(widths) - 1) - width
        for column in (1, 2):  # titles, then artists
            cut = min(max(excess, 0), widths[column] - len(HEADS[column]))
            widths[column] -= cut
            excess -= cut

    def fit(text: str, size: int) -> str:
        return set_cell_size(text, size) if cell_len(text) <= size else set_cell_size(text, size - 1) + "…"

    return ["  ".join(fit(text, size) for text, size in zip(row, widths, strict=False)).rstrip() for row in rows]


@styles.command("add")
@click.argument("file", type=click.Path())
@option("--name", help="What the style of a picture is called [default: after its file].")
def add_style(file: str, name: str | None) -> None:
    """Keep the styles of an .onnx FILE, or of a picture, in your folder: they are then found by name."""
    from rtstyle.gallery import catalog

    same = catalog.load("live").body_sha256
    for style in catalog.add(file, name=name):
        model = catalog.resolve(style.name).model
        mixes = model.body_sha256 == same and model.takes_code
        click.echo(f"{style.name}: {'mixes with the shipped styles' if mixes else 'stands alone, mixes with none'}")


@styles.command("remove")
@click.argument("name", shell_complete=complete_own_style)
def remove_style(name: str) -> None:
    """Delete one of your own styles."""
    from rtstyle.gallery import catalog

    click.echo(f"deleted {catalog.remove(name)}")
