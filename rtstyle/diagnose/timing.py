"""Timing steps that are called again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_SAMPLES = 3  # however long they take

Step = Callable[[int], object]  # is given how often it was called before


def timed(step: Step, seconds: float, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds that step(0), step(1), ... take, for so long in all but at least MIN_SAMPLES times; the first few calls
    (an eighth of the time, one or more) are not counted."""
    return in_turns({"": step}, seconds, clock)[""]


def in_turns(
    steps: dict[str, Step], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """`timed` for several steps that take turns, so that a change of the machine's pace hits all alike."""
    count, begun = 0, clock()
    while count == 0 or clock() - begun < seconds / 8:
        for step in steps.values():
            step(count)
        count += 1
    times: dict[str, list[float]] = {name: [] for name in steps}
    begun, first = clock(), count
    while count - first < MIN_SAMPLES or clock() - begun < seconds * len(steps):
        for name, step in steps.items():
            started = clock()
            step(count)
            times[name].append(clock() - started)
        count += 1
    return times


def summary(samples: Sequence[float], batch: int = 1) -> dict[str, Any]:
    """The figures of a `Row` from seconds a call, each with `batch` frames. Percentiles between two samples are
    interpolated."""
    per_frame: npt.NDArray[np.float64] = np.asarray(samples, np.float64) * 1e3 / batch
    median, p95, p99 = (float(x) for x in np.percentile(per_frame, (50, 95, 99)))
    return {
        "batch": batch,
        "frames": len(per_frame) * batch,
        "median_ms": median,
        "p95_ms": p95,
        "p99_ms": p99,
        "fps": 1e3 / float(per_frame.mean()),
    }
