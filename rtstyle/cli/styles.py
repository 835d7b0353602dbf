"""The styles: list and draw them, add and remove one's own."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rtstyle.errors import UsageError


@click.group(invoke_without_command=True)
@click.option("--model", default="live", show_default=True, metavar="NAME", help="live, studio, or an .onnx file.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--sheet", type=click.Path(), help="Draw them all on a photograph, as a PNG.")
@click.option("--photo", type=click.Path(), help="The photograph for --sheet [default: one that comes with rtstyle].")
@click.option("--force", is_flag=True, help="Replace an existing sheet.")
@click.pass_context
def styles(context, model, as_json, sheet, photo, force) -> None:
    """List the styles; draw them; add your own and remove them."""
    if context.invoked_subcommand:
        return
    from rtstyle.gallery.catalog import load, mixable
    from rtstyle.gallery.catalog import styles as list_styles

    if sheet:
        from rtstyle.files import check_output
        from rtstyle.media.contact_sheet import style_sheet
        from rtstyle.paint.stylizer import Stylizer

        check_output(sheet, force=force, inputs=[photo] if photo else [])
        if Path(sheet).suffix.lower() != ".png":
            raise UsageError(f"the sheet is a PNG: name it .png, not {Path(sheet).name}")
        style_sheet(Stylizer(model=model), mixable(load(model)), sheet, photo)
        click.echo(sheet)
        return
    found = list_styles(model)
    if as_json:
        click.echo(json.dumps([style.card() for style in found], indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("style", "picture", "artist", "year", "licence", box=None)
    for style in found:
        table.add_row(style.name, style.title, style.artist, style.year, style.licence)
    Console().print(table)


@styles.command("add")
@click.argument("file", metavar="FILE.onnx")
def add_style(file) -> None:
    """Copy a style file into your folder: its styles are then found by name."""
    from rtstyle.gallery.catalog import add, load

    same = load("live").body_sha256
    for style in add(file):
        mixes = load(file).body_sha256 == same and load(file).takes_code
        click.echo(f"{style.name}: {'mixes with the shipped styles' if mixes else 'stands alone, mixes with none'}")


@styles.command("remove")
@click.argument("name")
def remove_style(name) -> None:
    """Delete one of your own styles."""
    from rtstyle.gallery.catalog import remove

    click.echo(f"deleted {remove(name)}")
