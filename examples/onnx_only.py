"""The ONNX file by itself: onnxruntime, numpy and Pillow paint a picture, and rtstyle need not be installed.

python examples/onnx_only.py pretrained/live.onnx great-wave pretrained/photographs/chelsea.jpg painted.png
"""

import argparse
import base64
import json

import numpy as np
import onnxruntime
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model")
parser.add_argument("style")
parser.add_argument("picture")
parser.add_argument("out")
arguments = parser.parse_args()

session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])

# The file says what is in it: the names of its styles, and for each a code, one row of a matrix float32 [styles, K].
metadata = session.get_modelmeta().custom_metadata_map
names = [style["name"] for style in json.loads(metadata["rtstyle.styles"])]
codes = np.frombuffer(base64.b64decode(metadata["rtstyle.codes"]), "<f4").reshape(len(names), -1)
if arguments.style not in names:
    parser.error(f"{arguments.model} has no style {arguments.style}: it has {', '.join(names)}")

# Frames are uint8 RGB [N, H, W, 3], of any size from 16 x 16: scaling, padding and rounding are inside the graph.
# Strokes have a size in pixels: what is higher than metadata["rtstyle.reference_height"] is best shrunk to that first.
# Another program's runtime takes the same two inputs, be it written in C++, C#, Java, JavaScript or Swift.
feed = {"frames": np.asarray(Image.open(arguments.picture).convert("RGB"))[None]}
if "code" in {item.name for item in session.get_inputs()}:  # a model of one style has it built in
    feed["code"] = codes[names.index(arguments.style)]
(painted,) = session.run(["stylized"], feed)

Image.fromarray(painted[0]).save(arguments.out)
print(f"wrote {arguments.out}: {arguments.picture} as {arguments.style}")
