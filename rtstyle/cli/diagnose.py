"""What this machine can do: bench and doctor."""

from __future__ import annotations

import json
import sys

import click

from rtstyle.cli.progress import progress_bar, say
from rtstyle.errors import UsageError


@click.command()
@click.option("--style", "-s", metavar="NAME", help="A style, a mix, or an .onnx file.")
@click.option("--model", default="live", show_default=True, metavar="NAME", help="live, studio, or an .onnx file.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, tensorrt, ...")
@click.option("--threads", type=click.IntRange(1), help="Of the net, on the CPU [default: all cores].")
@click.option("--sizes", metavar="A,B,...", help="Such as 720p or 1280x720 [default: 360p to 2160p].")
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Frames at once, beside one.")
@click.option(
    "--seconds", type=click.FloatRange(0, 600, min_open=True), default=2.0, show_default=True, help="A measurement."
)
@click.option("--scaling", is_flag=True, help="Instead: how time grows with pixels, styles and batch.")
@click.option("--plot", type=click.Path(), metavar="FILE", help="With --scaling: draw it (.png, .svg, .pdf).")
@click.option("--json", "save_to", type=click.Path(), metavar="FILE", help="Save the run as JSON.")
@click.option("--compare", "earlier", type=click.Path(), metavar="FILE", help="Ratios to a run saved earlier.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def bench(sizes, scaling, plot, save_to, earlier, force, quiet, **settings) -> None:
    """Measure how fast a model paints here, alone and with everything around it."""
    from rtstyle.diagnose import bench
    from rtstyle.files import check_output

    if scaling and earlier:
        raise UsageError("--compare is for runs without --scaling")
    if plot and not scaling:
        raise UsageError("--plot goes with --scaling")
    then = bench.load_report(earlier) if earlier else None
    for out in filter(None, (save_to, plot)):
        check_output(out, force=force)
    if plot:
        bench.check_plot()
    chosen = bench.Settings(sizes=bench.parse_sizes(sizes or bench.SIZES), **settings)
    with progress_bar("bench", unit="measurements", quiet=quiet) as update:
        found = (bench.run_scaling if scaling else bench.run)(chosen, update)
    (bench.print_scaling if scaling else bench.print_report)(found)
    if save_to:
        bench.save(found, save_to)
    if plot:
        bench.plot(found, plot)
    for difference in bench.print_comparison(found, then) if then else []:
        say(f"warning: the runs differ in {difference}")
    if found["doubts"]:
        say(f"warning: {found['doubts']}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def doctor(as_json) -> None:
    """Say what this machine can do and what is wrong with it."""
    from rtstyle.diagnose.doctor import examine, print_report

    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        print_report(report)
    if report["problems"]:
        sys.exit(1)
