"""Makes gallery.jpg, the picture of the README: frames of sample.mp4 in every bundled style.

python pretrained/make_gallery.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import rtstyle
from rtstyle.media.images import Picture, write_image
from rtstyle.media.reader import Frame, VideoReader

HERE = Path(__file__).parent
COLUMNS, TILE = 4, (320, 180)
SHOWN = 60  # the frame of the clip that is painted


def tile(rgb: np.ndarray, label: str) -> Image.Image:
    """One labelled picture of the sheet."""
    picture = Image.fromarray(rgb).resize(TILE, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    draw.text((8, TILE[1] - 24), label, fill="white", stroke_fill="black", stroke_width=2, font_size=15)
    return picture


def main() -> None:
    with VideoReader(HERE / "sample.mp4") as reader:
        frames = [item.rgb for item in reader if isinstance(item, Frame)]
    stylizer = rtstyle.Stylizer(device="cpu")
    names = [style.name for style in rtstyle.styles()]
    rows = -(-(len(names) + 1) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE[0], rows * TILE[1]))
    for i, name in enumerate([None, *names]):
        frame = frames[SHOWN]
        if name:
            stylizer.style = name
        picture = tile(stylizer(frame) if name else frame, name or "the photograph")
        sheet.paste(picture, (i % COLUMNS * TILE[0], i // COLUMNS * TILE[1]))
    write_image(HERE / "gallery.jpg", Picture(np.array(sheet)), quality=88)


if __name__ == "__main__":
    main()
