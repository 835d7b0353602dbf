"""Gatys mode at toy size, with random weights in VGG's shapes: a pytest plugin."""

import numpy as np
import pytest
from conftest import photograph

# As far as the fake weights go.
LAYERS = {"content_layers": {"relu2_2": 1.0}, "style_layers": {"relu1_1": 0.7, "relu2_1": 0.4}}


@pytest.fixture
def small(fake_vgg):
    """A function that gives settings for the fake weights at toy size, with changes to a preset or the defaults."""

    from rtstyle.gatys import optimize

    def settings(name=None, **changes):
        defaults = {"vgg": "vgg16", "weights": fake_vgg, "size": 48, "steps": 6, "pyramid": False, "device": "cpu"}
        defaults |= {} if name else {"style_weight": 1.0}
        return optimize.preset(name, **(defaults | LAYERS | changes))

    return settings


@pytest.fixture(scope="module")
def content():
    return photograph(1, 40, 48)


@pytest.fixture(scope="module")
def style():
    y, x = np.mgrid[0:44, 0:52]
    wave = 0.5 + 0.5 * np.sin(x / 3 + 3 * np.sin(y / 7))
    return np.stack([30 + 40 * wave, 60 + 120 * wave, 140 + 110 * wave], -1).astype(np.uint8)
