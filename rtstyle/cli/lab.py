"""The experiments of the source documents: lab."""

from __future__ import annotations

import click

from rtstyle.cli.options import needs_training, output_options, vgg_options
from rtstyle.cli.progress import progress_bar


@click.command()
@click.argument("name")
@click.argument("style", required=False)
@click.option("--out", "-o", type=click.Path(), metavar="DIR", help="Folder of the report [default: lab-NAME].")
@click.option("--content", metavar="FILE", help="The photograph [default: one that comes with rtstyle].")
@click.option("--preset", metavar="NAME", help="Settings of a source document: ucsd, upes, ntu, icfp or mloa.")
@click.option("--size", type=int, metavar="PX", help="Long side [default: 256, or the preset's; --quick: 128].")
@click.option("--steps", metavar="N[,N...]", help="Iterations; optimizers and compare take several numbers.")
@click.option("--quick", is_flag=True, help="Small and short: a look in a few minutes.")
@click.option("--ratios", metavar="R[,R...]", help="ratio: alpha / beta, as 100,1,0.01 or 1:1000.")
@click.option("--style-weights", metavar="W[,W...]", help="train-ratio: the sweep of the style's weight.")
@click.option("--content-weights", metavar="W[,W...]", help="train-ratio: the sweep of the content's weight.")
@click.option("--photos", type=click.Path(), help="train-ratio: folder of photographs [default: those of rtstyle].")
@click.option("--optimizers", metavar="O[:RATE],...", help="optimizers: such as adam:0.02,adam:0.1,lbfgs.")
@click.option("--layers", metavar="L[,L...]", help="features, reconstruct: VGG's layers.")
@click.option("--maps", type=int, metavar="N", help="features: so many of each layer [default: 64].")
@click.option("--style", "names", multiple=True, metavar="NAME", help="compare: a style of the net; may be repeated.")
@click.option("--picture", "pictures", multiple=True, metavar="FILE", help="compare: what it was learned from.")
@click.option("--model", metavar="NAME", help="compare: live, studio, or an .onnx file [default: live].")
@click.option("--content-layers", metavar="L[:W],...", help="Instead of the preset's.")
@click.option("--style-layers", metavar="L[:W],...", help="Instead of the preset's.")
@click.option("--network", "vgg", type=click.Choice(["vgg19", "vgg16"]), help="[default: vgg19; train-ratio: vgg16]")
@click.option("--seed", type=int, help="Of noise and trainings [default: 0].")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--vgg", "weights", type=click.Path(), help="VGG weights; else RTSTYLE_VGG19 or RTSTYLE_VGG16.")
@vgg_options[1]
@output_options
def lab(name, out, vgg_convention, force, quiet, **given) -> None:
    """Run an experiment of the source documents and write a report (HTML, CSV, PNG) into a folder.

    NAME is ratio, train-ratio, optimizers, features, reconstruct, compare or augment; STYLE is the style picture (not
    for features and compare).
    """
    from rtstyle.export.lab import plan as experiments

    options = experiments.Options(convention=vgg_convention, **given)
    experiments.make_plan(name, options)
    needs_training("lab", "jinja2")
    with progress_bar(f"lab {name}", unit="steps", quiet=quiet) as update:
        report = experiments.run(name, options, out, force=force, progress=update)
    click.echo(report)
