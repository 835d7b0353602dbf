"""Where the frames of a video lie, read from its packets, so that decoding can begin in the middle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

MAX_REORDER = 32  # places by which the order of decoding may differ from that of presentation
BEFORE = 4  # frames decoded before those that are asked for, and behind them: a deinterlacer looks at its neighbors


@dataclasses.dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in the order in which they are shown: `all`, int64 and rising, are their time stamps, and
    `keys` those of the frames at which decoding can begin. Numbered, from 0, are the frames in all[begin:end]."""

    all: np.ndarray
    keys: np.ndarray
    begin: int = 0
    end: int | None = None

    @property
    def pts(self) -> np.ndarray:
        """The time stamps of the frames that are numbered, int64 [N]."""
        return self.all[self.begin : self.end]

    @classmethod
    def of(cls, packets: Iterable[tuple[int | None, bool]]) -> FrameIndex | None:
        """The index of packets given as (time stamp, whether decoding can begin there) in their order in the file.

        Neighbors with the same time stamp are the parts of one frame. None if packets do not tell which frame is which:
        one has no time stamp, or they are in disorder, as in recordings that were joined without care.
        """
        all_pts: list[int] = []
        keys: list[int] = []
        for pts, key in packets:
            if pts is None:
                return None
            if not all_pts or pts != all_pts[-1]:
                all_pts.append(pts)
                if key:
                    keys.append(pts)
        pts_array = np.array(all_pts, np.int64)
        order = np.argsort(pts_array, kind="stable")
        rising = pts_array[order]
        if not keys or (np.diff(rising) <= 0).any() or np.abs(order - np.arange(len(order))).max() > MAX_REORDER:
            return None
        rising = rising[rising >= keys[0]]  # what comes before needs frames that the file lacks
        return cls(rising, np.array(sorted(keys), np.int64))

    def between(self, start: float | None, end: float | None, time_base: Fraction) -> FrameIndex:
        """The same without the frames outside `start` <= time < `end`, in seconds."""
        if start is None and end is None:
            return self
        seconds = np.array([float(int(pts) * time_base) for pts in self.all])  # exactly as frames are compared
        begin = 0 if start is None else int(np.searchsorted(seconds, start))
        return FrameIndex(self.all, self.keys, begin, None if end is None else int(np.searchsorted(seconds, end)))

    def number(self, pts: int) -> int:
        """The number of the frame with this time stamp; where there is none, of the last one before it. Negative, or
        too large, for frames that are not numbered."""
        return int(np.searchsorted(self.all, pts, side="right")) - 1 - self.begin

    def entry(self, pts: int) -> int:
        """The time stamp of the last frame from which the one at `pts` can be reached by decoding."""
        return int(self.keys[max(0, int(np.searchsorted(self.keys, pts, side="right")) - 1)])
