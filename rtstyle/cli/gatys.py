"""One picture optimised: gatys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rtstyle.cli.flags import Command
from rtstyle.cli.options import needs_training, option, output_options, progress_option, vgg_options
from rtstyle.cli.progress import progress_bar, say

if TYPE_CHECKING:
    from rtstyle.gatys.optimize import Progress

gatys_preset_option = option(
    "--preset", metavar="NAME", help="Settings of a source document: ucsd, upes, ntu, icfp or mloa."
)


def network_option(default: str = "vgg19") -> Callable[[Any], Any]:
    return option("--network", type=click.Choice(["vgg19", "vgg16"]), help=f"[default: {default}]")


@click.command(cls=Command)
@click.argument("content")
@click.argument("pictures", metavar="STYLE...", nargs=-1, required=True)
@click.argument("out")
@gatys_preset_option
@option("--size", type=int, metavar="PX", help="Long side of OUT [default: 512].")
@option("--steps", type=int, metavar="N", help="Iterations over all sizes [default: 500].")
@option("--pyramid/--no-pyramid", default=None, help="Begin at 256 px, grow by sqrt 2 [default: yes].")
@option("--alpha", "content_weight", type=float, help="Weight of the content [default: 1].")
@option("--beta", "style_weight", type=float, help="Weight of the style [default: 0.1].")
@option("--ratio", type=float, help="alpha / beta, instead of --beta: less gives more style.")
@option("--tv-weight", type=float, help="Weight of the total variation, against grain [default: 0].")
@option("--content-layers", metavar="L[:W],...", help="[default: relu4_2]; conv4_2 is before rectification.")
@option("--style-layers", metavar="L[:W],...", help="[default: relu1_1 to relu5_1, each 1000 / channels^2].")
@network_option()
@option("--pooling", type=click.Choice(["max", "average"]), help="[default: max]")
@option("--optimizer", "optimizer", metavar="NAME", help="lbfgs, adam, rmsprop, adagrad, sgd [default: lbfgs].")
@option("--learning-rate", type=float, help="[default: lbfgs 1, adam 0.02, rmsprop 0.01, adagrad 0.1, sgd 0.005]")
@option("--line-search/--no-line-search", default=None, help="Of L-BFGS [default: yes].")
@option("--start", metavar="WHAT", help="palette, content, noise or a share of it [default: palette].")
@option("--style-scale", type=float, help="Size of the style picture to that of OUT [default: 1].")
@option(
    "--mask",
    "masks",
    multiple=True,
    metavar="FILE",
    help="Where a style is painted; one for each STYLE, - for one without.",
)
@option("--style-mask", "style_masks", multiple=True, metavar="FILE", help="Which part of a STYLE counts.")
@option("--keep-color", is_flag=True, default=None, help="Keep the colours of the photograph.")
@option("--match-color", is_flag=True, default=None, help="Give STYLE the photograph's colours first.")
@option("--seed", type=int, help="Of the noise [default: 0].")
@option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1 [default: auto].")
@option(
    "--max-memory",
    metavar="3G",
    help="Work in tiles beyond that [default: 3/4 of all, of a GPU of the free].",
)
@option("--plot", type=click.Path(), help="Draw the loss curves (PNG).")
@option("--log", type=click.Path(), help="Write the losses (CSV).")
@option("--timelapse", type=click.Path(), help="Film the picture coming into being (MP4).")
@option("--every", type=int, metavar="N", help="Also write the picture after every N iterations, beside OUT.")
@option("--grid", type=click.Path(), help="Draw content, style and result on one page (PNG).")
@vgg_options
@progress_option("step")
@output_options
def gatys(
    content: str,
    pictures: tuple[str, ...],
    out: str,
    preset: str | None,
    masks: tuple[str, ...],
    style_masks: tuple[str, ...],
    plot: str | None,
    log: str | None,
    timelapse: str | None,
    every: int | None,
    grid: str | None,
    network: str | None,
    vgg: str | None,
    vgg_convention: str | None,
    progress_kind: str,
    force: bool,
    quiet: bool,
    **words: Any,
) -> None:
    """Optimise one picture in the style of others (Gatys et al. 2016): slow, the best single frame.

    STYLE may be several pictures, each with a weight: a.jpg:0.7 b.jpg:0.3.
    """
    from rtstyle.gatys import settings as gatys_settings

    changes = gatys_settings.changes_from_words(preset, vgg=network, weights=vgg, convention=vgg_convention, **words)
    settings = gatys_settings.preset(preset, **changes)
    needs_training("gatys")
    from rtstyle.gatys import files as gatys_files

    columns, as_json = shutil.get_terminal_size().columns, progress_kind == "json"
    with progress_bar("gatys", unit="steps", quiet=quiet or as_json) as update:

        def show(p: Progress) -> None:
            if as_json:
                losses = {"total": p.total, "content": p.content, "style": p.style, "tv": p.tv}
                say(json.dumps({"done": p.step, "total": p.steps, "seconds": p.seconds, "losses": losses}))
            else:
                update(p.step, p.steps, gatys_files.in_short(p, columns))

        gatys_files.paint_file(
            content,
            pictures,
            out,
            settings,
            masks=masks,
            style_masks=style_masks,
            extras=gatys_files.Extras(plot, log, timelapse, grid, every),
            force=force,
            callback=show,
        )
    click.echo(out)
