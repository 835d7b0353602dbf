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


def layers_option(default: str) -> Callable[[Any], Any]:
    return option("--layers", metavar="L[,L...]", help=f"VGG's layers [default: {default}].")


def steps_option(default: str = "300, or the preset's; --quick: 40") -> Callable[[Any], Any]:
    return option("--steps", metavar="N", help=f"Iterations [default: {default}].")


def several_steps_option(default: str) -> Callable[[Any], Any]:
    return option("--steps", metavar="N[,N...]", help=f"Iterations: one number or several [default: {default}].")


content_layers_option = option("--content-layers", metavar="L[:W],...", help="Instead of the preset's.")
style_layers_option = option("--style-layers", metavar="L[:W],...", help="Instead of the preset's.")
seed_option = option("--seed", type=int, help="Of noise and trainings [default: 0].")
painting_options = (content_layers_option, style_layers_option, seed_option)

# what belongs to each experiment alone, before the options that all share
EXPERIMENTS: dict[str, tuple[str, tuple[Callable[[Any], Any], ...]]] = {
    "ratio": (
        "A strip of paintings over alpha / beta of Gatys' method.",
        (
            style_argument,
            option(
                "--ratios", metavar="R[,R...]", help="alpha / beta, as 100,1,0.01 or 1:1000 [default: the preset's]."
            ),
            steps_option(),
            *painting_options,
        ),
    ),
    "train-ratio": (
        "Feed-forward nets trained at several weights of style and content.",
        (
            style_argument,
            photos_option(),
            option(
                "--style-weights", metavar="W[,W...]", help="The sweep of the style's weight [default: 1,2,4,8,16]."
            ),
            option(
                "--content-weights",
                metavar="W[,W...]",
                help="The sweep of the content's weight [default: 0.25,0.5,1,2,4].",
            ),
            steps_option("2000; --quick: 60"),
            *painting_options,
        ),
    ),
    "optimizers": (
        "Optimizers, learning rates and numbers of iterations.",
        (
            style_argument,
            option(
                "--optimizers", metavar="O[:RATE],...", help="Such as adam:0.02,adam:0.1,lbfgs [default: all four]."
            ),
            several_steps_option("250,500,2500; --quick: 10,20,50"),
            *painting_options,
        ),
    ),
    "features": (
        "Filters and feature maps of VGG.",
        (
            layers_option("relu1_1 to relu5_1"),
            option("--maps", type=int, metavar="N", help="So many of each layer [default: 64]."),
        ),
    ),
    "reconstruct": (
        "Content and style reconstructed from noise, layer by layer.",
        (style_argument, layers_option("relu1_2 to relu5_2"), steps_option(), style_layers_option, seed_option),
    ),
    "compare": (
        "Gatys' method against feed-forward nets. Repeat --style and --picture for more pairs.",
        (
            option("--style", "names", multiple=True, metavar="NAME", help="A style of the net."),
            option("--picture", "pictures", multiple=True, metavar="FILE", help="What it was learned from."),
            model_option,
            several_steps_option("50,100,300; --quick: 10,40"),
            *painting_options,
        ),
    ),
    "augment": (
        "Copies of the style picture, mirrored, cropped, scaled and turned.",
        (style_argument, steps_option(), *painting_options),
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
    network_option("vgg19; train-ratio: vgg16"),
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
