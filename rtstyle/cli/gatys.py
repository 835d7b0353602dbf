"""One picture optimised: gatys."""

from __future__ import annotations

import json
import shutil

import click

from rtstyle.cli.options import needs_training, output_options, progress_option, vgg_options
from rtstyle.cli.progress import progress_bar, say


@click.command()
@click.argument("content")
@click.argument("pictures", metavar="STYLE...", nargs=-1, required=True)
@click.argument("out")
@click.option("--preset", metavar="NAME", help="Settings of a source document: ucsd, upes, ntu, icfp or mloa.")
@click.option("--size", type=int, metavar="PX", help="Long side of OUT [default: 512].")
@click.option("--steps", type=int, metavar="N", help="Iterations over all sizes [default: 500].")
@click.option("--pyramid/--no-pyramid", default=None, help="Begin at 256 px, grow by sqrt 2 [default: yes].")
@click.option("--alpha", "content_weight", type=float, help="Weight of the content [default: 1].")
@click.option("--beta", "style_weight", type=float, help="Weight of the style [default: 0.1].")
@click.option("--ratio", type=float, help="alpha / beta, instead of --beta: less gives more style.")
@click.option("--tv-weight", type=float, help="Weight of the total variation, against grain [default: 0].")
@click.option("--content-layers", metavar="L[:W],...", help="[default: relu4_2]; conv4_2 is before rectification.")
@click.option("--style-layers", metavar="L[:W],...", help="[default: relu1_1 to relu5_1, each 1000 / channels^2].")
@click.option("--network", "vgg", type=click.Choice(["vgg19", "vgg16"]), help="[default: vgg19]")
@click.option("--pooling", type=click.Choice(["max", "average"]), help="[default: max]")
@click.option("--optimizer", "optimiser", metavar="NAME", help="lbfgs, adam, rmsprop, adagrad, sgd [default: lbfgs].")
@click.option("--learning-rate", type=float, help="[default: lbfgs 1, adam 0.02, rmsprop 0.01, adagrad 0.1, sgd 0.005]")
@click.option("--line-search/--no-line-search", default=None, help="Of L-BFGS [default: yes].")
@click.option("--start", metavar="WHAT", help="palette, content, noise or a share of it [default: palette].")
@click.option("--style-scale", type=float, help="Size of the style picture to that of OUT [default: 1].")
@click.option(
    "--mask", "masks", multiple=True, metavar="FILE", help="Where a style is painted; one a STYLE, - is none."
)
@click.option("--style-mask", "style_masks", multiple=True, metavar="FILE", help="Which part of a STYLE counts.")
@click.option("--keep-color", is_flag=True, default=None, help="Keep the colours of the photograph.")
@click.option("--match-color", is_flag=True, default=None, help="Give STYLE the photograph's colours first.")
@click.option("--seed", type=int, help="Of the noise [default: 0].")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1 [default: auto].")
@click.option("--max-memory", metavar="3G", help="Work in tiles beyond that [default: 3/4 of the machine's].")
@click.option("--plot", type=click.Path(), help="Draw the loss curves (PNG).")
@click.option("--log", type=click.Path(), help="Write the losses (CSV).")
@click.option("--timelapse", type=click.Path(), help="Film the picture coming into being (MP4).")
@click.option("--every", type=int, metavar="N", help="Also write the picture after every N iterations, beside OUT.")
@click.option("--grid", type=click.Path(), help="Draw content, style and result on one page (PNG).")
@click.option("--vgg", "weights", type=click.Path(), help="VGG weights; else RTSTYLE_VGG19 or RTSTYLE_VGG16.")
@vgg_options[1]
@progress_option("step")
@output_options
def gatys(
    content,
    pictures,
    out,
    preset,
    ratio,
    content_layers,
    style_layers,
    start,
    masks,
    style_masks,
    max_memory,
    plot,
    log,
    timelapse,
    every,
    grid,
    vgg_convention,
    progress_kind,
    force,
    quiet,
    **given,
) -> None:
    """Optimise one picture in the style of others (Gatys et al. 2016): slow, and the best single frame.

    STYLE may be several pictures, each with a weight: a.jpg:0.7 b.jpg:0.3.
    """
    from rtstyle.gatys import settings as gatys_settings

    changes = gatys_settings.changes_from_words(
        preset, content_layers=content_layers, style_layers=style_layers, ratio=ratio, start=start,
        max_memory=max_memory, convention=vgg_convention, **given,
    )  # fmt: skip
    settings = gatys_settings.preset(preset, **changes)
    needs_training("gatys")
    from rtstyle.gatys import files as gatys_files

    columns, as_json = shutil.get_terminal_size().columns, progress_kind == "json"
    with progress_bar("gatys", unit="steps", quiet=quiet or as_json) as update:

        def tell(p) -> None:
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
            callback=tell,
            say=(lambda text: None) if quiet else say,
        )
    click.echo(out)
