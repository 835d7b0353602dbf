"""What the machines of a Ray cluster are, and what keeps them from painting one video together."""

from __future__ import annotations

import dataclasses
from typing import Any

from rtstyle.video.cluster import connected, differences, nodes
from rtstyle.video.resume import software


def examine(address: str) -> dict[str, Any]:
    """Versions here and on all machines of the cluster at `address`, their devices and problems, ready for JSON.
    Raises RtstyleError if it does not answer."""
    with connected(address) as ray:
        found = nodes(ray)
    here = software()
    problems = [
        f"{node.name} has {text}: install the same version on all machines"
        for node in found
        for text in differences(here, node)
    ]
    problems += [f"{node.name}: {node.problem}" for node in found if node.problem]
    return {"software": here, "nodes": [dataclasses.asdict(node) for node in found], "problems": problems}


def print_report(report: dict[str, Any]) -> None:
    """On standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for title in ("machine", "cores", "GPUs", *report["software"]):
        table.add_column(title)
    for node in report["nodes"]:
        versions = (node["software"].get(name, "?") for name in report["software"])
        table.add_row(node["name"], f"{node['processors']:g}", f"{node['gpus']:g}", *versions)
    console = Console()
    console.print(table)
    for problem in report["problems"]:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    if not report["problems"]:
        console.print("all machines have the same versions")
