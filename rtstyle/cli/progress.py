"""What a command says while it works: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Protocol

import click

from rtstyle.cli.flags import in_flags

NONE: Mapping[str, int] = MappingProxyType({})
LINE_SECONDS = 30.0  # between lines of progress where there is no terminal


def say(text: str) -> None:
    """A message for people: standard error, so that results can be piped. Arguments are named as flags."""
    click.echo(in_flags(text), err=True)


def say_devices(found: Sequence[tuple[int, str]], what: str) -> None:
    """The number and name of each, on standard output; or that there are none of what is looked for."""
    for number, name in found:
        click.echo(f"{number}\t{name}")
    if not found:
        say(f"no {what} found")


class Update(Protocol):
    """Reports progress: so many done, of how many if that is known, what else there is to say, and how many of them
    each machine has done, where there are several."""

    def __call__(
        self, done: int, total: int | None = None, note: str = "", machines: Mapping[str, int] = NONE
    ) -> None: ...


def progress_lines(what: str, unit: str, clock: Callable[[], float] = time.monotonic) -> Update:
    """Progress for a log: a line every LINE_SECONDS, and one for the last. Totals that prove too low are left out."""
    last, complete = clock(), -1  # when a line was said, and what count was the last one's
    first: tuple[float, int] | None = None  # the time and count from which the speed is taken
    before = 0

    def update(done: int, total: int | None = None, note: str = "", machines: Mapping[str, int] = NONE) -> None:
        nonlocal last, complete, first, before
        now = clock()
        if first is None or done < before:  # something else is counted now: a training, after its pictures
            first = now, done
        before = done
        if (now - last < LINE_SECONDS and done != total) or done == complete:
            return
        last, complete = now, done if done == total else -1
        of = f"/{total}" if total and done <= total else ""
        since, counted = now - first[0], done - first[1]
        left = f", {since * (total - done) / counted:.0f} s left" if total and counted and done < total else ""
        say(f"{what}: {done}{of} {unit}{f', {note}' if note else ''}{left}")
        for machine, count in machines.items():
            say(f"  {machine}: {count} {unit}, {count / max(1, sum(machines.values())):.0%}")

    return update


@contextmanager
def progress_bar(what: str, *, unit: str, quiet: bool = False) -> Iterator[Update]:
    """A progress bar on standard error, or lines in a log."""
    if quiet:
        yield lambda done, total=None, note="", machines=NONE: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class TimeLeft(TimeRemainingColumn):
        """Of all; the share of one machine has no time of its own."""

        def render(self, task: Task) -> Text:
            return Text() if task.fields["machine"] else Text("time left ") + super().render(task)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[note]}"),
        TimeLeft(),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        yield progress_lines(what, unit)
        return
    bar = Progress(*columns, console=console)
    task = bar.add_task(what, total=None, note="", machine=False)

    lines: dict[str, TaskID] = {}

    def update(done: int, total: int | None = None, note: str = "", machines: Mapping[str, int] = NONE) -> None:
        bar.start()  # only now: an error before the first step should stand alone
        if done < bar.tasks[task].completed:  # something else is counted now
            bar.reset(task)
        bar.update(task, completed=done, note=note, total=None if total is None else max(done, total))
        of = sum(machines.values())
        for machine, count in machines.items():
            if machine not in lines:
                lines[machine] = bar.add_task(f"  {machine}", total=of, note="", machine=True)
            bar.update(lines[machine], completed=count, total=of, note=f"{count / max(1, of):.0%}")

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()
