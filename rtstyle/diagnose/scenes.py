"""What the benchmarks paint: frames of the bundled clip at any size."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from rtstyle.gallery.catalog import model_path
from rtstyle.media.reader import VideoReader
from rtstyle.runtime.session import Frames

MAX_PIXELS = 1 << 25  # of different frames held at once


class Scene:
    """Frames of the bundled clip at any size with the noise of a sensor, uint8 RGB [height, width, 3], without end:
    forwards, backwards, forwards."""

    def __init__(self, width: int, height: int):
        self.size = width, height
        with VideoReader(model_path("live").with_name("sample.mp4")) as reader:
            self._source = [frame.rgb for frame in reader.frames(end=2.0)]
        noise = np.random.default_rng(0).normal(0, 2, (height + 32, width + 32, 1))
        self._noise = np.repeat(np.round(noise).astype(np.int8), 3, 2)

    def __getitem__(self, index: int) -> np.ndarray:
        period = 2 * len(self._source) - 2
        place = min(index % period, period - index % period)
        frame = cv2.resize(self._source[place], self.size, interpolation=cv2.INTER_CUBIC)
        top, left = 7 * index % 32, 13 * index % 32
        noise = self._noise[top : top + self.size[1], left : left + self.size[0]]
        return cv2.add(frame, noise, dtype=cv2.CV_8U)

    def some(self) -> list[np.ndarray]:
        """A few frames in a row that follow one another again after the last: as many as fit, up to 8."""
        half = max(2, min(5, MAX_PIXELS // (self.size[0] * self.size[1]) // 2))
        frames = [self[i] for i in range(half)]
        return frames + frames[-2:0:-1]


def write_clip(path: Path, scene: Scene, frames: int) -> Path:
    """An H.264 clip of the scene's first frames, 30 a second."""
    import av  # after cv2: see rtstyle.media

    width, height = scene.size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        for index in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene[index], format="rgb24")))
        container.mux(stream.encode(None))
    return path


def endless_frames(clip: Path) -> Generator[Frames, None, None]:
    """The decoded frames of a clip, uint8 RGB [H, W, 3], again and again."""
    while True:
        with VideoReader(clip) as reader:
            yield from (frame.rgb for frame in reader if frame.rgb is not None)
