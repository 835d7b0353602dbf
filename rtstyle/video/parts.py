"""How a video is cut into segments, each painted for itself, and which of them are still to be painted."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from rtstyle.media.frame_index import FrameIndex
from rtstyle.media.remuxer import TimeRange
from rtstyle.media.stream import Frame, Source

WARM_UP = 8  # frames painted before a segment begins, so that steadiness does not start from nothing


@dataclasses.dataclass(frozen=True)
class Parts:
    """Segments of `frames` frames each, of which those in `done` are painted already. Without an `index` the source is
    decoded from its beginning, or from that of `time_range`, whatever is done."""

    frames: int
    index: FrameIndex | None
    time_range: TimeRange = dataclasses.field(default_factory=TimeRange)
    done: frozenset[int] = frozenset()

    def of(self, number: int) -> int:
        """The segment of the frame with this number."""
        return number // self.frames

    def warm_up(self, segment: int) -> int:
        """The number of the first frame that is painted for this segment, though not into it."""
        return max(0, segment * self.frames - WARM_UP)

    def end(self, segment: int) -> int:
        """One more than the number of its last frame. There must be an index."""
        assert self.index is not None
        return min((segment + 1) * self.frames, len(self.index.pts))

    @property
    def missing(self) -> list[int]:
        """The segments that are not done. There must be an index."""
        assert self.index is not None
        return [k for k in range(-(-len(self.index.pts) // self.frames)) if k not in self.done]

    def read(self, source: Source) -> Iterator[Frame]:
        """The frames that the missing segments need, in order, those to warm up with among them."""
        range = self.time_range
        if self.index is None:
            first = next(k for k in itertools.count() if k not in self.done)
            yield from source.frames(skip=self.warm_up(first), start=range.start, end=range.end)
            return
        for _, run in itertools.groupby(enumerate(self.missing), lambda pair: pair[1] - pair[0]):
            segments = [segment for _, segment in run]
            yield from source.frames_of(self.index, self.warm_up(segments[0]), self.end(segments[-1]))
