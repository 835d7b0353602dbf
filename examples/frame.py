"""One picture, painted three ways: by a style's name, by a mix of names, and by arithmetic on the styles' codes.

python examples/frame.py pretrained/photographs/chelsea.jpg painted.png
"""

import argparse

import numpy as np
from PIL import Image

import rtstyle

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("picture")
parser.add_argument("out")
arguments = parser.parse_args()

# What goes in and comes out is uint8 RGB, [H, W, 3] for one frame or [N, H, W, 3] for several of one size.
frame = np.asarray(Image.open(arguments.picture).convert("RGB"))

# The net is loaded once. device="auto" takes a GPU that works, or else the CPU, and says why.
stylizer = rtstyle.Stylizer("starry-night", device="auto")
print(f"painting on {stylizer.device.name} ({stylizer.device.why})")
by_name = stylizer(frame)

# A style is a small vector, its code: another style, or a mix of several, takes no loading.
stylizer.style = "great-wave:0.6,irises:0.4"
by_mix = stylizer(frame)

# The codes themselves can be had, too: here half-way from one style to another, for this call alone.
codes = {style.name: style.code for style in rtstyle.styles()}
by_code = stylizer(frame, (codes["scream"] + codes["mosaic"]) / 2)

# Strength is a matter of blending with the photograph.
half = (frame.astype(np.uint16) + by_name) // 2

Image.fromarray(np.hstack([frame, by_name, by_mix, by_code, half.astype(np.uint8)])).save(arguments.out)
print(f"wrote {arguments.out}: the photograph, starry-night, a mix, half-way from scream to mosaic, half strength")
