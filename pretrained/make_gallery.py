"""Makes the README's pictures from sample.mp4: gallery.jpg, the portrait in every bundled style; large.jpg, a few of
them large; switch.webp, a few seconds of the clip in which the style changes.

python pretrained/make_gallery.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import rtstyle
from rtstyle.media.images import Picture, write_image
from rtstyle.media.reader import VideoReader

HERE = Path(__file__).parent
COLUMNS, TILE = 6, (320, 180)
SHOWN = 60  # the frame of the clip that is painted
LARGE = ("composition-vii", "blue-vase", "irises", "great-wave")
SWITCHED = ("starry-night", "red-horse", "composition-vii", "irises")
STEP, HOLD, FADE = 3, 10, 5  # every third frame of 30 a second; frames in one style, and from one to the next
SMALL = (480, 270)


def tile(rgb: np.ndarray, label: str, size: tuple[int, int]) -> Image.Image:
    """One labelled picture of a sheet."""
    picture = Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    draw.text((8, size[1] - 24), label, fill="white", stroke_fill="black", stroke_width=2, font_size=15)
    return picture


def sheet(tiles: list[Image.Image], columns: int) -> Image.Image:
    """Tiles of one size, row by row."""
    width, height = tiles[0].size
    page = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    for i, picture in enumerate(tiles):
        page.paste(picture, (i % columns * width, i // columns * height))
    return page


def switching(frames: list[np.ndarray], stylizer: rtstyle.Stylizer) -> list[Image.Image]:
    """The clip, painted in one style after the other with crossfades of their codes, as `rtstyle cam` does."""
    codes = {style.name: style.code for style in stylizer.model.styles}
    painted = []
    for i, frame in enumerate(frames[::STEP][: (HOLD + FADE) * len(SWITCHED)]):
        index, within = divmod(i, HOLD + FADE)
        share = max(0.0, (within - HOLD + 1) / (FADE + 1))
        now, later = (codes[SWITCHED[k % len(SWITCHED)]] for k in (index, index + 1))
        rgb = stylizer(frame, (1 - share) * now + share * later)
        painted.append(Image.fromarray(rgb).resize(SMALL, Image.Resampling.LANCZOS))
    return painted


def main() -> None:
    with VideoReader(HERE / "sample.mp4") as reader:
        frames = [frame.rgb for frame in reader]
    stylizer = rtstyle.Stylizer(device="cpu")
    painted = {}
    for style in stylizer.model.styles:
        stylizer.style = style.name
        painted[style.name] = stylizer(frames[SHOWN])
    small = [tile(rgb, name, TILE) for name, rgb in painted.items()]
    write_image(HERE / "gallery.jpg", Picture(np.array(sheet(small, COLUMNS))), quality=85, force=True)
    large = [tile(painted[name], name, (640, 360)) for name in LARGE]
    write_image(HERE / "large.jpg", Picture(np.array(sheet(large, 2))), quality=88, force=True)
    first, *rest = switching(frames, stylizer)
    first.save(HERE / "switch.webp", save_all=True, append_images=rest, duration=1000 * STEP // 30, loop=0, quality=60)


if __name__ == "__main__":
    main()
