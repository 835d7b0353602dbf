"""Shared material: small pictures with structure, a toy recipe, and weights of VGG, real or in its shape."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# `auto` would take whichever engine happened to be faster when it was timed first. Programs that tests start follow.
os.environ["RTSTYLE_DEVICE"] = "cpu"

# Background jobs of a shell ignore Ctrl-C, and so would every program that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test reads or writes what the developer's own rtstyle remembers.
os.environ["RTSTYLE_CONFIG"] = str(Path(tempfile.mkdtemp(prefix="rtstyle-config-")) / "rtstyle.toml")

TORCH_FIXTURES = {"write_vgg", "vgg_state", "make_body"}


# What takes longest comes first, so that workers side by side (`-n 2`) end together.
SLOW_FIRST = ("web", "test_abuse.py", "video", "live", "export", "gatys")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: next((n for n, name in enumerate(SLOW_FIRST) if name in item.path.parts), 99))
    for item in items:
        if item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=2))
        if hasattr(item.module, "torch") or TORCH_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.torch)
        if {"vgg16_path", "vgg19_path"}.intersection(item.fixturenames):
            item.add_marker(pytest.mark.vgg)


def pytest_terminal_summary(terminalreporter):
    """Why a test ran again is said even where it passed then."""
    for report in terminalreporter.stats.get("rerun", ()):
        crash = getattr(report.longrepr, "reprcrash", None)
        terminalreporter.write_line(f"ran again: {report.nodeid}: {crash or report.longrepr}")


# The true layout of torchvision's vgg16().features up to conv2_2: enough for relu1_2 and relu2_2.
VGG_SHAPES = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128)}
OXFORD = {"channel_order": "BGR", "mean_bgr": "103.939,116.779,123.68", "input_range": "0-255"}

TOY_RECIPE = """
body = "live"
config = { widths = [8, 12], dilations = [1, 2] }
seed = 3
steps = 30
learning_rate = 3e-3
average = 0.9
reference_height = 64

[loss]
vgg = "vgg16"
content_layers = ["relu2_2"]
style_layers = ["relu1_2", "relu2_2"]
content_weight = 1.0
style_weight = 3.0
repeat_layer = "relu2_2"
repeat_shifts = [2]
tv_weight = 1.0

[[stage]]
share = 0.5
crop = 32
batch = 2
style_size = 48

[[stage]]
share = 0.5
crop = 40
batch = 1
style_size = 64

[[style]]
name = "waves"
file = "waves.png"
title = "Waves"
artist = "N. Umpy"
year = "2024"

[[style]]
name = "bricks"
file = "bricks.png"
weight = 5.0
"""


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Small tensors gain nothing from threads, and the machine may be busy with a training."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def photograph(seed, height, width):
    """A scene: sky, ground, a disc and a house, with a little grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / min(height, width)
    sky, ground, disc, house = random.uniform(30, 225, (4, 3))
    scene = sky + (ground - sky) * y[..., None]
    cy, cx, side = random.uniform(0.2, 0.8, 3)
    scene[(y - cy) ** 2 + (x - cx) ** 2 < 0.04] = disc
    scene[(abs(y - cx) < 0.15) & (abs(x - side) < 0.1)] = house
    return np.clip(scene + random.normal(0, 4, scene.shape), 0, 255).astype(np.uint8)


def save_picture(array, path, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture(scope="session")
def photos_folder(tmp_path_factory):
    """Six small content photographs, landscape and portrait."""
    folder = tmp_path_factory.mktemp("photographs")
    for i, (height, width) in enumerate([(64, 96), (96, 64), (72, 72), (48, 90), (100, 70), (66, 81)]):
        save_picture(photograph(i, height, width), folder / f"photo{i}.png")
    return folder


@pytest.fixture(scope="session")
def paintings_folder(tmp_path_factory):
    """Two style pictures that differ in colour and in texture: blue waves and red bricks."""
    folder = tmp_path_factory.mktemp("paintings")
    y, x = np.mgrid[0:64, 0:80]
    wave = 0.5 + 0.5 * np.sin(x / 3 + 3 * np.sin(y / 7))
    waves = np.stack([30 + 40 * wave, 60 + 120 * wave, 140 + 110 * wave], -1)
    mortar = (y % 8 == 0) | ((x + 8 * (y // 8 % 2)) % 16 == 0)
    bricks = np.where(mortar[..., None], [220, 215, 200], [170, 60, 40] + (x * y % 23)[..., None])
    save_picture(waves.astype(np.uint8), folder / "waves.png")
    save_picture(np.clip(bricks, 0, 255).astype(np.uint8), folder / "bricks.png")
    return folder


@pytest.fixture
def toy_recipe_text():
    return TOY_RECIPE


@pytest.fixture
def toy_recipe_path(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TOY_RECIPE, encoding="utf-8")
    return path


def vgg_like_weights(seed=0, shapes=None):
    """Random weights in the shapes of VGG: He initialisation keeps the features alive."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    state = {}
    for index, (wide, channels) in (shapes or VGG_SHAPES).items():
        weight = torch.randn(wide, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
        # pictures minus their mean span about +-100 grey levels: bring them near 1
        state[f"features.{index}.weight"] = weight / 64 if index == 0 else weight
        state[f"features.{index}.bias"] = 0.05 * torch.randn(wide, generator=generator)
    return state


@pytest.fixture(scope="session")
def write_vgg(tmp_path_factory):
    """A function that writes a VGG-shaped weight file and returns its path."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("vgg")

    def write(name, metadata=OXFORD, *, shapes=None, state=None):
        path = folder / name
        save_file(state or vgg_like_weights(shapes=shapes), path, metadata=metadata)
        return path

    return write


@pytest.fixture(scope="session")
def fake_vgg(write_vgg):
    """Random weights in VGG-16's shapes, cut after conv2_2, that say they follow Oxford's convention."""
    return write_vgg("fake_vgg16.safetensors")


@pytest.fixture(scope="session")
def vgg_state():
    """The tensors of `fake_vgg`, by name."""
    return vgg_like_weights()


def real_weights(variable):
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} is not set: the test needs the real weights")
    return Path(path)


@pytest.fixture(scope="session")
def vgg16_path():
    """VGG-16's real weights, from RTSTYLE_VGG16."""
    return real_weights("RTSTYLE_VGG16")


@pytest.fixture(scope="session")
def vgg19_path():
    """VGG-19's real weights, from RTSTYLE_VGG19."""
    return real_weights("RTSTYLE_VGG19")


@pytest.fixture(scope="session")
def make_body():
    """A function that gives a body with seeded weights, its styles far apart, in quiet colors."""
    torch = pytest.importorskip("torch")
    from rtstyle.export import networks

    toy = {
        "live": {"widths": [8, 12], "dilations": [1, 2]},
        "studio": {"widths": [8, 16], "dilations": [1, 2, 3]},
    }

    def make(name="live", styles=1, seed=0, config=None):
        generator = torch.Generator().manual_seed(seed)
        body = networks.build(name, styles, toy[name] if config is None else config, generator)
        with torch.no_grad():
            for module in body.modules():
                if isinstance(module, torch.nn.Conv2d):
                    module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
                    if module.bias is not None:
                        module.bias.normal_(0, 0.1, generator=generator)
            body.codes.add_(0.3 * torch.randn(body.codes.shape, generator=generator))
            body.codes[:, -6:-3] *= 0.4  # mostly within range
        return body.eval()

    return make
