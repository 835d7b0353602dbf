"""Results as Markdown."""

from __future__ import annotations

import sys


def table(title: str, rows: dict[str, object]) -> None:
    """Print names and values under a heading, at once."""
    print(f"\n### {title}\n\n| | |\n| --- | --- |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    sys.stdout.flush()
