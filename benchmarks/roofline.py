"""How near the bundled model comes to what the machine could do: its operators against the roofline.

    python benchmarks/roofline.py [--size 640x360] [--runs 60] [--seconds 3] [--threads N]

For every operator of the graph that ONNX Runtime runs, the larger of its arithmetic divided by the measured peak (a
large matrix product, as in `rtstyle bench`) and its bytes, read and written, divided by the measured bandwidth: that of
copies between arrays of 4 MB, one pair a thread, which is about what an operator at 640x360 reads and writes. The sum
over the operators is the least that a frame could take with these operators, each on its own; what fusing them would
save is not counted. Milliseconds are medians of ONNX Runtime's profile; profiling adds to them, so the whole frame is
timed without, too.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import threading
import time

import numpy as np
import onnxruntime as ort

from rtstyle import Stylizer
from rtstyle.diagnose import arithmetic, scenes, timing
from rtstyle.runtime import devices

ARRAY = 4 << 20  # bytes
COPIES = 400


def bandwidth(threads: int) -> float:
    """10^9 bytes a second read and written by copies, at best of five tries."""
    pairs = [(np.ones(ARRAY, np.uint8), np.zeros(ARRAY, np.uint8)) for _ in range(threads)]

    def copy(source: np.ndarray, target: np.ndarray) -> None:
        for _ in range(COPIES):
            np.copyto(target, source)

    best = float("inf")
    for _ in range(5):
        workers = [threading.Thread(target=copy, args=pair) for pair in pairs]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - started)
    return 2 * ARRAY * COPIES * threads / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=3.0, help="for the peak, and for the whole frame")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    stylizer = Stylizer(device="cpu", threads=args.threads, work_height="full")
    frame = scenes.Scene(width, height)[0]
    whole = statistics.median(timing.timed(lambda _: stylizer(frame), args.seconds)) * 1e3
    peak, flow = arithmetic.ceiling(devices.choose("cpu"), args.threads, args.seconds), bandwidth(args.threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    feed = {"frames": frame[None], "code": stylizer.code}
    times, bounds, kinds = collections.defaultdict(list), {}, {}
    for node in arithmetic.profile(str(stylizer.model.path), feed, options, args.runs):
        name = node["node"]
        times[name].append(node["dur"] / 1e3)
        size = sum(int(node[f"{part}_size"]) for part in ("activation", "parameter", "output"))
        computing, moving = 2 * arithmetic.products(node) / peak / 1e6, size / flow / 1e6
        bounds[name], kinds[name] = max(computing, moving), node["op_name"]
    rows = collections.defaultdict(lambda: [0, 0.0, 0.0])
    for name, kind in kinds.items():
        rows[kind][0] += 1
        rows[kind][1] += statistics.median(times[name])
        rows[kind][2] += bounds[name]
    print(f"{args.size}, {args.threads} threads: {peak:.0f} GFLOP/s, {flow:.0f} GB/s\n")
    print("| operator | how many | ms | roofline, ms | share |\n| --- | --- | --- | --- | --- |")
    for kind, (count, took, bound) in sorted(rows.items(), key=lambda row: -row[1][1]):
        print(f"| {kind} | {count} | {took:.2f} | {bound:.2f} | {bound / took:.0%} |")
    took, bound = (sum(row[i] for row in rows.values()) for i in (1, 2))
    print(f"| all | {len(kinds)} | {took:.2f} | {bound:.2f} | {bound / took:.0%} |")
    print(f"| the frame without profiling | | {whole:.2f} | {bound:.2f} | **{bound / whole:.0%}** |")


if __name__ == "__main__":
    main()
