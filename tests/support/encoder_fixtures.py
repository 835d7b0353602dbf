"""A toy body, its trial, and new encoders for it."""

import pytest
import torch

from rtstyle.export import networks
from rtstyle.export.encoder import Encoder, Seen, Trial


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def body():
    result = networks.build("live", 5, {"widths": [4, 6], "dilations": [1, 2]}, seeded(4)).eval().requires_grad_(False)
    result.codes += 0.2 * torch.randn(result.codes.shape, generator=seeded(5))
    return result


@pytest.fixture(scope="module")
def trial(body):
    return Trial(body, 640)


def new_encoder(body):
    sizes = {"widths": ((4, 6), (6, 8), (8, 8)), "components": (3, 4, 5), "hidden": 16, "compared": 12, "directions": 6}
    encoder = Encoder(body.code_length, **sizes, generator=seeded(3))
    encoder.start_from(body.codes)
    pictures = [255 * torch.rand(1, 3, 64, 64 + i, generator=seeded(i)) for i in range(4)]
    encoder.calibrate(Seen.of([encoder.look(picture) for picture in pictures]))
    return encoder
