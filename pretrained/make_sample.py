"""Makes sample.mp4, the clip that `rtstyle demo` paints where there is no camera.

    pip install scikit-image && python pretrained/make_sample.py

Pan and zoom over two pictures from scikit-image's data: the portrait of astronaut Eileen Collins (NASA, public
domain) and "Chelsea the cat" (Stefan van der Walt, CC0), with a synthetic chord as sound. CC0.
"""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

WIDTH, HEIGHT, RATE, SECONDS = 640, 360, 30, 3
SOUND_RATE = 44100
Place = tuple[float, float, float]
# picture, then centre x, centre y and width of the view at start and end, as parts of the picture's width
VIEWS = (
    (data.astronaut, (0.42, 0.30, 0.62), (0.45, 0.28, 0.98)),
    (data.chelsea, (0.50, 0.36, 0.98), (0.47, 0.28, 0.55)),
)


def view(picture: NDArray[np.uint8], start: Place, end: Place, t: float) -> NDArray[np.uint8]:
    """The part of a picture seen at time t (0 to 1), as uint8 [HEIGHT, WIDTH, 3]."""
    t = t * t * (3 - 2 * t)
    x, y, width = (a + (b - a) * t for a, b in zip(start, end, strict=True))
    size = picture.shape[1]
    width *= size
    height = width * HEIGHT / WIDTH
    left = np.clip(x * size - width / 2, 0, size - width)
    top = np.clip(y * size - height / 2, 0, picture.shape[0] - height)
    scale = WIDTH / width
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    seen = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return seen.astype(np.uint8)


def chord(seconds: float) -> NDArray[np.float32]:
    """A soft chord, float32 [1, samples]."""
    t = np.arange(int(SOUND_RATE * seconds)) / SOUND_RATE
    wave = sum(np.sin(2 * np.pi * f * t) for f in (220, 277.18, 329.63)) / 3
    fade = np.minimum(1, np.minimum(t, seconds - t) * 2)
    return np.asarray([0.2 * wave * fade], np.float32)


def main() -> None:
    out = Path(__file__).with_name("sample.mp4")
    with av.open(str(out), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.options = {"crf": "25", "preset": "veryslow"}
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        audio.bit_rate = 48000
        count = RATE * SECONDS
        for load, start, end in VIEWS:
            picture = load()[..., :3]
            for i in range(count):
                frame = av.VideoFrame.from_ndarray(view(picture, start, end, i / (count - 1)), format="rgb24")
                container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(chord(SECONDS * len(VIEWS)), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


if __name__ == "__main__":
    main()
