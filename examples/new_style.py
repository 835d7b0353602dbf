"""A style of one's own, learned from one picture, and painted at once: alone, and mixed with one that was there.

    pip install ".[train]"
    python examples/new_style.py PICTURE.jpg PHOTOGRAPH.jpg mine.onnx --photos PHOTOGRAPHS

Minutes on two cores. VGG-16's weights are taken from RTSTYLE_VGG16, or fetched once (528 MB) after saying so.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
from PIL import Image

import rtstyle
from rtstyle.export.run import teach_style
from rtstyle.export.train import Progress

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("picture", help="the painting to learn from")
parser.add_argument("photograph", help="the photograph to paint afterwards")
parser.add_argument("out", help="the model to write, .onnx")
parser.add_argument("--photos", help="a folder of photographs to learn on; by default a few that come with rtstyle")
parser.add_argument("--model", default="live", help="whose body the style is for")
parser.add_argument("--steps", type=int, help="by default 400")
arguments = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(message)s")  # what the library has to say on the way


def show(progress: Progress) -> None:
    """Called after every step."""
    if progress.step % 20 == 0 or progress.step == progress.steps:
        print(f"step {progress.step} of {progress.steps}: loss {progress.losses['total']:.3f}")


# Only a code is learned: the body of the model stays as it is, so that the new style mixes with the model's own.
out = teach_style(
    arguments.picture,
    arguments.out,
    content=arguments.photos,
    model=arguments.model,
    info={"title": Path(arguments.picture).stem, "licence": "unknown"},
    steps=arguments.steps,
    force=True,
    callback=show,
)

photograph = np.asarray(Image.open(arguments.photograph).convert("RGB"))
other = rtstyle.styles(arguments.model)[0].name
tiles = [photograph]
for style in (str(out), f"{out}:0.5,{other}:0.5"):
    tiles.append(rtstyle.Stylizer(style, model=arguments.model)(photograph))
sheet = out.with_suffix(".png")
Image.fromarray(np.hstack(tiles)).save(sheet)
print(f"wrote {out} and {sheet}: the photograph, the new style, and the new style mixed with {other}")
