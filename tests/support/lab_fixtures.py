"""Toy experiments of `rtstyle lab`, and how their figures and pages are read: a pytest plugin."""

import base64
import csv
import html.parser
import io
import re

import numpy as np
import pytest
import torch
from conftest import photograph, save_picture
from PIL import Image

from rtstyle.export.lab import plan as lab
from rtstyle.gatys import optimize
from rtstyle.perceptual import vgg as perceptual

STYLE_LAYERS = {"relu1_1": 0.2, "relu2_1": 0.1}
WORDS = {"content_layers": "relu2_2", "style_layers": "relu1_1:0.2,relu2_1:0.1"}


@pytest.fixture
def lab_photo(tmp_path):
    return save_picture(photograph(1, 80, 96), tmp_path / "photo.png")


@pytest.fixture
def lab_painting(tmp_path):
    return save_picture(photograph(2, 88, 72), tmp_path / "painting.png")


@pytest.fixture
def lab_options(lab_photo, lab_painting, fake_vgg):
    """Options of a toy experiment, with changes; `for_features`, without those of paintings."""

    def make(*, for_features=False, **changes):
        defaults = {"style": str(lab_painting), "content": str(lab_photo), "size": 48, "steps": "3", "device": "cpu"}
        network = {"vgg": "vgg16", "weights": fake_vgg}
        if for_features:
            del defaults["style"], defaults["steps"]
            return lab.Options(**(defaults | network | changes))
        return lab.Options(**(defaults | network | WORDS | changes))

    return make


@pytest.fixture
def gatys_painted(lab_photo, lab_painting, fake_vgg):
    """Gatys' method by itself, from the picture files as they are."""

    def paint(styles=None, **changes):
        defaults = {"vgg": "vgg16", "weights": fake_vgg, "size": 48, "steps": 3, "pyramid": False, "device": "cpu"}
        layers = {"content_layers": {"relu2_2": 1.0}, "style_layers": STYLE_LAYERS}
        settings = optimize.preset(changes.pop("preset", None), **(defaults | layers | changes))
        return optimize.render(read(lab_photo), styles or [read(lab_painting)], settings).picture

    return paint


def read(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def shrunk(path, width, height):
    return np.array(Image.fromarray(read(path)).resize((width, height), Image.Resampling.LANCZOS))


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(rows, column):
    return [float(row[column]) for row in rows]


def losses_by_hand(picture, content, style, weights):
    """(content, style) of pictures uint8 by the formulas of rtstyle.gatys.settings, alpha = beta = 1."""
    vgg = perceptual.VGG("vgg16", weights)
    seen = [
        vgg(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float(), ["relu2_2", *STYLE_LAYERS])
        for rgb in (picture, content, style)
    ]
    far = (seen[0]["relu2_2"] - seen[1]["relu2_2"]).square().mean().item()
    grams = [{k: (m := result[k][0].flatten(1)) @ m.T / m.shape[1] for k in STYLE_LAYERS} for result in seen]
    return far, sum(w * (grams[0][k] - grams[2][k]).square().mean().item() for k, w in STYLE_LAYERS.items())


class Images(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.others, self.captions, self.inside = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "figcaption"
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                (self.sources if (tag, name) == ("img", "src") else self.others).append(value)

    def handle_data(self, data):
        if self.inside:
            self.captions.append(data)
            self.inside = False


def check_page(folder):
    """Every picture of the folder is embedded, with a caption, and nothing is fetched from elsewhere."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Images(text)
    assert page.others == [] and not re.search(r"https?://|url\(|@import|<script|<link", text)
    assert len(page.captions) == len(page.sources) and all(caption.strip() for caption in page.captions)
    embedded = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.sources]
    kept = [path.read_bytes() for path in (folder / "pictures").iterdir()]
    assert sorted(embedded) == sorted(kept) and kept
    for png in kept:
        Image.open(io.BytesIO(png)).verify()
    return text
