"""What rtstyle does with what nobody should give it: a table of counts, and every fault with its command.

    python benchmarks/abuse [mutants kills signals disks models servers pictures]
                            [--seed 0] [--mutants 200] [--kills 20] [--only WORDS] [--jobs 1] [--rtstyle PATH]
                            [--keep DIR]

Runs the installed command line in processes of their own, each in an empty folder, with a time limit (those of the
mutants and kills are forked off one that has imported everything, unless --rtstyle names a command):

- mutants: clips of twelve containers and codecs with bytes changed, cut out, doubled or zeroed, through
  `rtstyle video`;
- kills: `rtstyle video` ended by SIGKILL at a random moment, then `--resume`: the packets of an undisturbed run;
- signals: SIGINT, SIGTERM and SIGHUP at five moments to `video`, `cam --headless --record` and `image` on a folder;
- disks: results that do not fit (a file size limit stands in for a full disk);
- models: files that are no models, models that claim, compute or return the impossible;
- servers: HTTP sources that answer wrongly, slowly, endlessly or not at all, through `rtstyle cam --headless`;
- pictures: odd and broken picture files, through `rtstyle image`.

A run passes if it ends in time, with exit code 0 and its result whole, or with another code, a sentence and no result;
without a traceback, without a message that calls itself a bug, and without files left over. Exits with 1 if any run
fails.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import Bench
from jobs import disks, kills, mutants, signals
from models import models
from pictures import pictures
from servers import servers


def empty_folder(text: str) -> Path:
    """A folder that is not there yet or holds nothing: what is in the way of a run is deleted."""
    path = Path(text)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise argparse.ArgumentTypeError(f"{path} is there and no empty folder: choose a new one")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = ("mutants", "kills", "signals", "disks", "models", "servers", "pictures")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(sections)}; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=int, default=200, help="how many damaged clips")
    parser.add_argument("--kills", type=int, default=20, help="how many times the job is killed")
    parser.add_argument("--only", default="", metavar="WORDS", help="runs whose name this regular expression is in")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--rtstyle", default=None, help="the command [default: this Python's rtstyle]")
    parser.add_argument("--keep", type=empty_folder, help="where to work, and to leave what failed")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(sections):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose from {', '.join(sections)}")
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench([options.rtstyle] if options.rtstyle else None, options.seed, folder.resolve())
        plans = {
            "mutants": lambda: mutants(bench, options.mutants),
            "kills": lambda: kills(bench, options.kills),
            "signals": lambda: signals(bench),
            "disks": lambda: disks(bench),
            "models": lambda: models(bench),
            "servers": lambda: servers(bench),
            "pictures": lambda: pictures(bench),
        }
        chosen, counts, faults = options.sections or sections, [], 0
        with ThreadPoolExecutor(options.jobs) as pool:
            for section in chosen:
                runs = [(name, run) for name, run in plans[section]() if re.search(options.only, name)]
                hows: collections.Counter[str] = collections.Counter()
                wrong = 0
                for (name, _), (how, fault) in zip(runs, pool.map(lambda run: run[1](), runs), strict=True):
                    hows[how] += 1
                    if fault:
                        wrong += 1
                        print(f"{section}: {name}: {fault}", file=sys.stderr, flush=True)
                ended = ", ".join(f"{count} {word}" for word, count in hows.most_common())
                counts.append(f"| {section} | {len(runs)} | {ended} | {wrong} |")
                faults += wrong
    print("| | runs | how they ended | faults |", "| --- | --- | --- | --- |", *counts, sep="\n")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
