"""Running an experiment: which function does which, and where its report goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rtstyle.errors import Interrupted, OutputError, RtstyleError
from rtstyle.export.lab import nets, painting
from rtstyle.export.lab.bench import Bench
from rtstyle.export.lab.plan import Options, make_plan

WORK = {
    "ratio": painting.ratio,
    "train-ratio": nets.train_ratio,
    "optimizers": painting.optimizers,
    "features": painting.features,
    "reconstruct": painting.reconstruct,
    "compare": nets.compare,
    "augment": painting.augment,
}


def run(
    name: str,
    options: Options,
    out: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Path:
    """Run an experiment and write OUT/report.html, OUT/*.csv and OUT/pictures/*.png; returns the report's path.

    `progress(done, total, note)` is called after each iteration. Ctrl-C keeps what was done in a report that says so;
    then Interrupted is raised. Raises RtstyleError for bad input and for an OUT that holds files, unless `force`.
    """
    plan = make_plan(name, options)
    out = check_folder(out or f"lab-{name}", force=force)
    bench = Bench(plan, out, progress)
    try:
        WORK[name](bench)
    except KeyboardInterrupt:
        if bench.report.empty:
            raise Interrupted("interrupted before there was any result: nothing was written") from None
        raise Interrupted(f"interrupted: what was done is in {bench.report.save('interrupted')}") from None
    except RtstyleError as error:
        if not bench.report.empty:
            bench.report.save(str(error))
        raise
    return bench.report.save()


def check_folder(out: str | os.PathLike[str], *, force: bool) -> Path:
    """The folder that the report may go to. Raises RtstyleError if it is a file, holds files already (unless `force`),
    or cannot be written."""
    out = Path(out)
    if not out.absolute().parent.is_dir():
        raise OutputError(f"the folder {out.parent} does not exist: create it first")
    if not out.exists():
        return out
    if not out.is_dir():
        raise OutputError(f"{out} is a file: the report needs a folder")
    if not os.access(out, os.W_OK):
        raise OutputError(f"the folder {out} is not writable")
    if any(out.iterdir()) and not force:
        what = "a report" if (out / "report.html").exists() else "other files"
        raise OutputError(f"{out} already holds {what}: add `force=True` to replace it, or give another `out`")
    return out
