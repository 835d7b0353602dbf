"""What a working height costs where it is larger than the frames."""

from __future__ import annotations

import logging

from rtstyle.paint.painter import FramePainter

MAX_ENLARGEMENT = 2.0  # of frames for finer strokes, before it is remarked upon


class EnlargementWarning:
    """Logs one warning when the net runs at far more than the frames' own height."""

    def __init__(self, stylizer: FramePainter):
        self._stylizer, self._said = stylizer, False

    def check(self, width: int, height: int) -> None:
        """Before frames of this size (pixels) are painted."""
        work_height = self._stylizer.work_height
        if self._said or not isinstance(work_height, int) or work_height < MAX_ENLARGEMENT * height:
            return
        if self._stylizer.working_size(height, width)[0] != work_height:
            return  # a net of a fixed size
        ratio = work_height / height
        logging.getLogger(__name__).warning(
            f"the net runs at {ratio:.1f} times the frame's height, {work_height} pixels instead of {height}, "
            f"which takes about {ratio**2:.0f} times the time and memory and shows no more of the scene: "
            f"`work_height='full'` is enough"
        )
        self._said = True
