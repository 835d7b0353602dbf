"""Stands in for `rtstyle gatys` where only its ways with other processes matter: no torch to load, no painting.

PHOTOGRAPH STYLE OUT --size PX --steps N --progress json: a line of progress a step, 20 a second; Ctrl-C keeps the
photograph under the name of a partial result; a STYLE called broken.png cannot be read.
"""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

photograph, style, out = sys.argv[1:4]
steps = int(sys.argv[sys.argv.index("--steps") + 1])


def interrupted(step):
    kept = Path(out).with_suffix(".partial.png")
    shutil.copy(photograph, kept)
    print(f"rtstyle: interrupted after {step} iterations: the picture so far is {kept}", file=sys.stderr)
    sys.exit(130)


if "broken.png" in style:
    print("some note", f"rtstyle: {style} is not a readable picture", sep="\n", file=sys.stderr)
    sys.exit(1)
signal.signal(getattr(signal, "SIGBREAK", signal.SIGINT), signal.default_int_handler)
for step in range(1, steps + 1):
    try:
        print(json.dumps({"done": step, "total": steps, "seconds": 0.05 * step}), file=sys.stderr, flush=True)
        time.sleep(0.05)
    except KeyboardInterrupt:
        interrupted(step)
shutil.copy(photograph, out)
