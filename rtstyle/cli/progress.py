"""What a command says while it works: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager

import click


def say(text: str) -> None:
    """A message for people: standard error, so that results can be piped."""
    click.echo(text, err=True)


LINE_SECONDS = 30.0  # between lines of progress where there is no terminal


def progress_lines(what: str, unit: str, clock: Callable[[], float] = time.monotonic) -> Callable[..., None]:
    """Progress for a log: update(done, total=None, note="") says a line every LINE_SECONDS, and one for the last."""
    started = clock()
    last, ended = started, False

    def update(done: int, total: int | None = None, note: str = "") -> None:
        nonlocal last, ended
        now = clock()
        if (now - last < LINE_SECONDS and done != total) or (ended and done == total):
            return
        last, ended = now, done == total
        left = f", {(now - started) * (total - done) / done:.0f} s left" if total and 0 < done < total else ""
        say(f"{what}: {done}{f'/{total}' if total else ''} {unit}{f', {note}' if note else ''}{left}")

    return update


@contextmanager
def progress_bar(what: str, *, unit: str, quiet: bool = False):
    """A progress bar on standard error, or lines in a log; yields update(done, total=None, note="")."""
    if quiet:
        yield lambda done, total=None, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[note]}"),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        yield progress_lines(what, unit)
        return
    bar = Progress(*columns, console=console)
    task = bar.add_task(what, total=None, note="")

    def update(done, total=None, note=""):
        bar.start()  # only now: an error before the first step should stand alone
        bar.update(task, completed=done, note=note, **({} if total is None else {"total": total}))

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()
