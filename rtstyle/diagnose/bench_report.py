"""Runs of `rtstyle bench` as JSON files and as tables; comparing two of them."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtstyle.diagnose.bench import FORMAT, Row
from rtstyle.errors import InputError
from rtstyle.files import written_beside

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def save(report: dict[str, Any], out: str | os.PathLike[str], *, force: bool = False) -> None:
    with written_beside(out, force=force) as part:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def load_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A run that `save` wrote. Raises RtstyleError if the file is not one, or holds no rows."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not a run of rtstyle bench: it is not JSON") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise InputError(f"{path} is not a run of rtstyle bench, or of another version: expected {FORMAT!r}")
    try:
        rows = rows_of(report)
        good = bool(rows) and all(0 < row.median_ms < math.inf for row in rows) and isinstance(report["machine"], dict)
    except (KeyError, TypeError):
        good = False
    if not good:
        raise InputError(f"{path} holds no rows to compare: save a run with `out`, without `scaling`")
    return report


def rows_of(report: dict[str, Any]) -> list[Row]:
    return [Row(**row) for row in report["rows"]]


def check_common(keys: set[tuple[int, int, str]], then: dict[str, Any]) -> None:
    """Raises InputError if a run whose rows have these keys has none in common with an earlier one."""
    if keys.isdisjoint(row.key for row in rows_of(then)):
        raise InputError("the two runs have no measurement in common: choose the same `sizes`")


def compare(now: dict[str, Any], then: dict[str, Any]) -> list[dict[str, Any]]:
    """The ratio now / then of the median milliseconds of every row that both have: below 1 is faster now."""
    before = {row.key: row for row in rows_of(then)}
    return [
        {
            "width": row.width,
            "height": row.height,
            "what": row.what,
            "now_ms": row.median_ms,
            "then_ms": before[row.key].median_ms,
            "ratio": row.median_ms / before[row.key].median_ms,
        }
        for row in rows_of(now)
        if row.key in before
    ]


def differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """What else differs between two runs, each as `name: then, now`."""
    changes = []
    for name in ("device", "threads", "model", "model_sha256", "seconds"):
        if now.get(name) != then.get(name):
            short = [str(run.get(name))[:16] for run in (then, now)]
            changes.append(f"{name}: {short[0]} then, {short[1]} now")
    machines = [run["machine"] for run in (then, now)]
    for name in machines[1]:
        if machines[0].get(name) != machines[1][name]:
            changes.append(f"{name}: {machines[0].get(name)} then, {machines[1][name]} now")
    return changes


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 110)


def _headline(report: dict[str, Any]) -> list[str]:
    host, load = report["machine"], report["load"]
    return [
        f"{report['model']}, {report['style']}, on {report['device']} ({report['why']}), {report['threads']} threads",
        f"{host['cpu']}, {host['cores']} cores, {host['system']}, ONNX Runtime {host['onnxruntime']}, "
        f"rtstyle {host['rtstyle']}, {report['date']}",
        f"loading: {load['stylizer_ms']:.0f} ms; opening a session alone {load['session_ms']:.0f} ms",
    ]


def _engines(report: dict[str, Any]) -> list[str]:
    """A line on what else could paint here, if anything."""
    if len(report.get("engines", ())) < 2:  # of an earlier version, or there is one only
        return []
    first = rows_of(report)[0]
    each = [
        f"{engine['name']} does not work" if engine["problem"] else f"{engine['name']} {engine['median_ms']:.1f} ms"
        for engine in report["engines"]
    ]
    return [f"engines at {first.width}x{first.height}: {', '.join(each)}"]


def _number(value: float | None, form: str = ".1f") -> str:
    return "-" if value is None else format(value, form)


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    return table


def _print(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def print_report(report: dict[str, Any]) -> None:
    """A run as a table on standard output."""
    columns = "size", "what", "first ms", "median", "95 %", "99 %", "frames/s", "adds ms", "of ceiling", "peak MiB"
    table = _table(*columns)
    for number, row in enumerate(rows_of(report)):
        if number and row.what == "paint":
            table.add_section()
        table.add_row(
            f"{row.width}x{row.height}" if row.what == "paint" else "",
            row.what,
            _number(row.first_ms),
            *(_number(value) for value in (row.median_ms, row.p95_ms, row.p99_ms, row.fps)),
            _number(row.adds_ms, "+.1f"),
            _number(row.ceiling_share, ".0%"),
            _number(row.peak_mib, ".0f"),
        )
    console = _console()
    kind = report.get("ceiling_in", "float32")
    top = report["ceiling_gflops"]
    ceiling = f"ceiling: {top:.0f} GFLOP/s (a {kind} matrix product)" if top else "ceiling: not known of this device"
    _print(console, [*_headline(report), ceiling, *_engines(report)])
    console.print(table)


def print_comparison(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """The ratios as a table on standard output. Returns what else differs. Raises RtstyleError if no row is in both."""
    check_common({row.key for row in rows_of(now)}, then)
    table = _table("size", "what", "now ms", "then ms", "now / then")
    for row in compare(now, then):
        size = f"{row['width']}x{row['height']}"
        table.add_row(size, row["what"], _number(row["now_ms"]), _number(row["then_ms"]), _number(row["ratio"], ".2f"))
    console = _console()
    _print(console, [f"against the run of {then.get('date', 'unknown date')}; below 1 is faster now"])
    console.print(table)
    return differences(now, then)


def print_scaling(report: dict[str, Any]) -> None:
    """How the time grows, as tables on standard output."""
    scaling, console = report["scaling"], _console()
    _print(console, _headline(report))
    table = _table("size", "", "ms a frame", "ms a megapixel")
    for row in scaling["pixels"]:
        size = f"{row['width']}x{row['height']}"
        table.add_row(size, "", _number(row["median_ms"]), _number(row["ms_per_megapixel"]))
    console.print(table)
    if scaling["exponent"] is not None:
        _print(console, [f"time grows with the pixels to the power of {scaling['exponent']:.2f} (1 is linear)"])
    smallest = "{width}x{height}".format(**scaling["pixels"][0])
    if scaling["gallery"]:
        table = _table("styles", f"a new one every frame, {smallest}", "ms a frame", "of one style's")
        for row in scaling["gallery"]:
            share = row["median_ms"] / scaling["gallery"][0]["median_ms"]
            table.add_row(str(row["styles"]), "", _number(row["median_ms"], ".2f"), _number(share, ".2f"))
        console.print(table)
        _print(console, [f"choosing a style by name takes {scaling['set_style_ms']:.2f} ms"])
    else:
        _print(console, ["this model has one style built in: there is no gallery to swap"])
    table = _table("batch", smallest, "ms a frame", "of one by one")
    for row in scaling["batch"]:
        share = row["median_ms"] / scaling["batch"][0]["median_ms"]
        table.add_row(str(row["batch"]), "", _number(row["median_ms"], ".2f"), _number(share, ".2f"))
    console.print(table)
