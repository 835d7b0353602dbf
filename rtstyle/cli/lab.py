"""The experiments of the source documents: lab, with a command for each experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from rtstyle.cli.flags import Group
from rtstyle.cli.gatys import gatys_preset_option, network_option
from rtstyle.cli.options import (
    model_option,
    needs_training,
    option,
    output_options,
    photos_option,
    torch_device_option,
    vgg_options,
    with_options,
)
from rtstyle.cli.progress import progress_bar

style_argument = click.argument("style")
layers_option = option("--layers", metavar="L[,L...]", help="VGG's layers.")
steps_option = option("--steps", metavar="N", help="Iterations.")
several_steps_option = option("--steps", metavar="N[,N...]", help="Iterations: one number or several.")

# what belongs to each experiment alone, before the options that all share
EXPERIMENTS: dict[str, tuple[str, tuple[Callable[[Any], Any], ...]]] = {
    "ratio": (
        "A strip of paintings over alpha / beta of Gatys' method.",
        (
            style_argument,
            option("--ratios", metavar="R[,R...]", help="alpha / beta, as 100,1,0.01 or 1:1000."),
            steps_option,
        ),
    ),
    "train-ratio": (
        "Feed-forward nets trained at several weights of style and content.",
        (
            style_argument,
            photos_option(),
            option("--style-weights", metavar="W[,W...]", help="The sweep of the style's weight."),
            option("--content-weights", metavar="W[,W...]", help="The sweep of the content's weight."),
            steps_option,
        ),
    ),
    "optimizers": (
        "Optimizers, learning rates and numbers of iterations.",
        (
            style_argument,
            option("--optimizers", metavar="O[:RATE],...", help="Such as adam:0.02,adam:0.1,lbfgs."),
            several_steps_option,
        ),
    ),
    "features": (
        "Filters and feature maps of VGG.",
        (
            layers_option,
            option("--maps", type=int, metavar="N", help="So many of each layer [default: 64]."),
            steps_option,
        ),
    ),
    "reconstruct": (
        "Content and style reconstructed from noise, layer by layer.",
        (style_argument, layers_option, steps_option),
    ),
    "compare": (
        "Gatys' method against feed-forward nets. Repeat --style and --picture for more pairs.",
        (
            option("--style", "names", multiple=True, metavar="NAME", help="A style of the net."),
            option("--picture", "pictures", multiple=True, metavar="FILE", help="What it was learned from."),
            model_option,
            several_steps_option,
        ),
    ),
    "augment": (
        "Copies of the style picture, mirrored, cropped, scaled and turned.",
        (style_argument, steps_option),
    ),
}

photo_option = option(
    "--photo",
    "content",
    old=["--content"],
    metavar="FILE",
    help="The photograph [default: one that comes with rtstyle].",
)
shared_options = with_options(
    option("--out", "-o", type=click.Path(), metavar="DIR", help="Folder of the report [default: lab-NAME]."),
    photo_option,
    gatys_preset_option,
    option("--size", type=int, metavar="PX", help="Long side [default: 256, or the preset's; --quick: 128]."),
    option("--quick", is_flag=True, help="Small and short: a look within two minutes."),
    option("--content-layers", metavar="L[:W],...", help="Instead of the preset's."),
    option("--style-layers", metavar="L[:W],...", help="Instead of the preset's."),
    network_option,
    option("--seed", type=int, help="Of noise and trainings [default: 0]."),
    torch_device_option,
    vgg_options,
    output_options,
)


@click.group(cls=Group)
def lab() -> None:
    """Run an experiment of the source documents and write a report (HTML, CSV, PNG) into a folder."""


def _add(name: str, text: str, own: tuple[Callable[[Any], Any], ...]) -> None:
    @lab.command(name, help=text)
    @with_options(*own)
    @shared_options
    def run(
        out: str | None,
        network: str | None,
        vgg: str | None,
        vgg_convention: str | None,
        force: bool,
        quiet: bool,
        **words: Any,
    ) -> None:
        from rtstyle.export.lab import plan

        options = plan.Options(vgg=network, weights=vgg, convention=vgg_convention, **words)
        plan.make_plan(name, options)
        needs_training("lab", "jinja2")
        from rtstyle.export.lab import experiments

        with progress_bar(f"lab {name}", unit="steps", quiet=quiet) as update:
            report = experiments.run(name, options, out, force=force, progress=update)
        click.echo(report)


for _name, (_text, _own) in EXPERIMENTS.items():
    _add(_name, _text, _own)
