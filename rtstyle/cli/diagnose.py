"""What this machine can do: bench and doctor."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from click.core import ParameterSource

from rtstyle.cli.flags import Command
from rtstyle.cli.options import (
    device_option,
    json_option,
    model_option,
    option,
    output_options,
    read_duration,
    style_option,
)
from rtstyle.cli.progress import progress_bar, say
from rtstyle.errors import Interrupted, UsageError


@click.command(cls=Command)
@style_option
@model_option
@device_option
@option("--threads", type=click.IntRange(1), help="Of the net, on the CPU [default: all cores].")
@option("--sizes", metavar="A,B,...", help="Such as 720p or 1280x720 [default: 360p to 2160p].")
@option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Frames at once, beside one.")
@option(
    "--duration",
    "seconds",
    old=["--seconds"],
    type=read_duration,
    metavar="TIME",
    default="2",
    show_default=True,
    help="Of a measurement.",
)
@option("--scaling", is_flag=True, help="Instead: how time grows with pixels, styles and batch.")
@option("--plot", type=click.Path(), metavar="FILE", help="With --scaling: draw it (.png, .svg, .pdf).")
@option("--out", "-o", type=click.Path(), metavar="FILE", help="Save the run (JSON), for --compare.")
@option("--compare", "earlier", type=click.Path(), metavar="FILE", help="Ratios to a run saved earlier.")
# before version 0.2 it took the name of a file, which still works
@option("--json", "as_json", is_flag=False, flag_value="", metavar="", help="Print the result as JSON, for programs.")
@output_options
def bench(
    sizes: str | None,
    scaling: bool,
    plot: str | None,
    out: str | None,
    earlier: str | None,
    as_json: str | None,
    force: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Measure how fast a model paints here, alone and with everything around it."""
    from rtstyle.diagnose import bench, bench_report
    from rtstyle.diagnose import scaling as growth
    from rtstyle.files import check_output

    if out and as_json:
        raise UsageError("the run is saved once: leave --out out, or the name after --json")
    out = out or as_json or None
    if scaling and click.get_current_context().get_parameter_source("batch") is ParameterSource.COMMANDLINE:
        raise UsageError("--scaling has batches of its own: leave --batch out")
    if scaling and earlier:
        raise UsageError("--compare is for runs without --scaling")
    if as_json == "" and earlier:
        raise UsageError("--json prints the run alone: leave --compare out")
    if plot and not scaling:
        raise UsageError("--plot goes with --scaling")
    then = bench_report.load_report(earlier) if earlier else None
    for path in filter(None, (out, plot)):
        check_output(path, force=force)
    if plot:
        growth.check_plot(plot)
    chosen = bench.Settings(sizes=bench.parse_sizes(sizes or bench.SIZES), **settings)
    if then:
        bench_report.check_common(chosen.keys(), then)
    with progress_bar("bench", unit="measurements", quiet=quiet) as update:
        result = (growth.run_scaling if scaling else bench.run)(chosen, update)
    if as_json == "":
        click.echo(json.dumps(result, indent=2))
    else:
        (bench_report.print_scaling if scaling else bench_report.print_report)(result)
    if out:
        bench_report.save(result, out, force=force)
    if plot:
        growth.plot(result, plot, force=force)
    for difference in bench_report.print_comparison(result, then) if then else []:
        say(f"warning: the runs differ in {difference}")
    if result["doubts"]:
        say(f"warning: {result['doubts']}")
    if result.get("interrupted"):
        raise Interrupted(result["interrupted"])


@click.command(cls=Command)
@option("--ray", metavar="ADDRESS", help="Instead: versions and devices of all machines of a Ray cluster.")
@json_option
def doctor(ray: str | None, as_json: bool) -> None:
    """Say what this machine can do and what is wrong with it."""
    from rtstyle.diagnose import cluster
    from rtstyle.diagnose.doctor import examine, print_report

    report = cluster.examine(ray) if ray else examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        (cluster.print_report if ray else print_report)(report)
    if report["problems"]:
        sys.exit(1)
