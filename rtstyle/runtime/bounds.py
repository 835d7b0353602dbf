"""What a model may take: a time for loading it, and a time and a share of the memory for its first frame of a size.

A call into ONNX Runtime comes back when it is done, and neither Ctrl-C nor a limit can change that from the thread that
makes it. So it is made in another one, which is asked to end (`RunOptions.terminate` is looked at between the operators
of a net) and, if it does not, left to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import onnxruntime as ort

from rtstyle import memory
from rtstyle.errors import ModelError
from rtstyle.threads import leave, wait_for

T = TypeVar("T")

MAX_SECONDS = 60.0  # for loading; for a first frame, a megapixel
PIXELS = 1 << 20
GRACE = 0.5  # seconds to end in, when asked
MAX_THREADS = 64


class Abandoned(ModelError):
    """Nobody waits for this painting any longer."""


def load(call: Callable[[], T], where: str, *, limited: bool = True) -> T:
    """What the call gives that loads a model, in MAX_SECONDS if `limited`. Raises ModelError after that."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="load")
    future = pool.submit(call)
    try:
        return wait_for(future, seconds=MAX_SECONDS if limited else None)
    except TimeoutError:
        raise ModelError(f"{where} is not loaded after {MAX_SECONDS:.0f} s: is it a style model?") from None
    finally:
        pool.shutdown(wait=False)
        if not future.done():
            leave(lambda: not future.done())


class Runs:
    """The runs of one model; any thread may paint. `name` is what errors call it; without `limited` (graphics
    processors, which search for algorithms first) a run takes what it takes."""

    def __init__(self, name: str, *, limited: bool):
        self._name, self._limited = name, limited
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="net")
        self._painted: set[tuple[int, ...]] = set()
        self._abandoned = 0

    def abandon(self) -> None:
        """End the runs that are under way: they raise Abandoned."""
        self._abandoned += 1

    def run(self, call: Callable[[ort.RunOptions], T], shape: Sequence[int]) -> T:
        """What the call gives that paints frames of a shape [N, H, W, 3], with the options it is given.

        Raises ModelError if it takes longer than its time, Abandoned, and what the call raises, such as ONNX Runtime's
        errors where memory is not enough.
        """
        if not self._limited or tuple(shape) in self._painted:
            return self._wait(call, shape, None)
        with memory.bounded():
            result = self._wait(call, shape, MAX_SECONDS * max(1.0, shape[0] * shape[1] * shape[2] / PIXELS))
        self._painted.add(tuple(shape))
        return result

    def _wait(self, call: Callable[[ort.RunOptions], T], shape: Sequence[int], seconds: float | None) -> T:
        options, before = ort.RunOptions(), self._abandoned
        future = self._pool.submit(call, options)
        try:
            return wait_for(future, lambda: self._abandoned != before, seconds)
        except TimeoutError:
            if self._abandoned != before:
                raise Abandoned("nobody waits for this painting any longer") from None
            size = f"{shape[2]}x{shape[1]}"
            raise ModelError(
                f"{self._name} has not painted its first frame of {size} after {seconds:.0f} s: try a smaller "
                "`work_height`, or another model"
            ) from None
        finally:
            _end(future, options)


def _end(future: Future[T], options: ort.RunOptions) -> None:
    if not future.done() and not future.cancel():
        options.terminate = True
        wait([future], GRACE)
        if not future.done():
            leave(lambda: not future.done())
