"""The settings of Gatys mode: defaults, presets, words of the command line."""

import dataclasses
import math

import pytest

torch = pytest.importorskip("torch")

from rtstyle import memory  # noqa: E402
from rtstyle.errors import UsageError  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402
from rtstyle.gatys import settings as gatys_settings  # noqa: E402

pytest_plugins = ["support.gatys_fixtures"]


def test_the_defaults_are_those_of_gatys():
    settings = optimize.Settings()
    assert settings.vgg == "vgg19" and settings.content_layers == {"relu4_2": 1.0}
    assert settings.style_layers == {
        f"relu{stage}_1": 1000 / n**2 for stage, n in enumerate((64, 128, 256, 512, 512), start=1)
    }
    assert (settings.content_norm, settings.style_norm, settings.features) == ("mean", "johnson", "oxford")
    assert (settings.optimizer, settings.rate, settings.pooling) == ("lbfgs", 1.0, "max")
    assert (settings.content_weight, settings.style_weight, settings.tv_weight) == (1.0, 0.1, 0.0)


FIFTH = {f"relu{stage}_1": 0.2 for stage in range(1, 6)}
PINNED = {
    "ucsd": {
        "features": "torchvision", "style_layers": FIFTH, "content_norm": "gatys", "style_norm": "gatys",
        "style_weight": 1e6, "steps": 300, "pyramid": False, "start": "content",
    },
    "upes": {
        "features": "torchvision", "style_norm": "upes", "style_weight": 1e6, "size": 400, "pyramid": False,
        "style_layers": {"relu1_1": 1.0, "relu2_1": 0.75, "relu3_1": 0.2, "relu4_1": 0.2, "relu5_1": 0.2},
        "start": "content", "style_fit": "content", "optimizer": "adam", "learning_rate": 0.003, "unit": "deviation",
        "steps": 2000, "clamp": "none",
    },
    "ntu": {
        "features": "torchvision", "pooling": "average", "style_layers": FIFTH, "content_norm": "gatys",
        "style_norm": "gatys", "style_weight": 1e4, "noise": 1.0, "pyramid": False, "start": "content", "clamp": "none",
    },
    "icfp": {
        "features": "torchvision", "style_weight": 100.0, "learning_rate": 0.2, "line_search": False, "steps": 200,
        "pyramid": False, "start": "content", "clamp": "none",
    },
    "mloa": {
        "content_layers": {"relu5_2": 1.0}, "style_layers": FIFTH, "content_weight": 1e4, "style_weight": 1e-2,
        "tv_weight": 30.0, "tv_norm": "absolute", "optimizer": "adam", "learning_rate": 0.02, "betas": (0.99, 0.999),
        "epsilon": 0.1, "clamp": "step", "pyramid": False, "start": "content",
    },
}  # fmt: skip


SIZES_AND_STEPS = {"ucsd": (512, 300), "upes": (400, 2000), "ntu": (512, 500), "icfp": (512, 200), "mloa": (512, 500)}


@pytest.mark.parametrize("name", optimize.PRESETS)
def test_presets_are_pinned(name):
    """Whatever is not named is the default: VGG-19, conv4_2 rectified, 512 px, L-BFGS, seed 0."""
    defaults = optimize.Settings()
    result = optimize.preset(name)
    differs = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if getattr(result, field.name) != getattr(defaults, field.name)
    }
    assert differs == PINNED[name]
    assert (result.size, result.steps) == SIZES_AND_STEPS[name]


def test_another_optimizer_gets_its_own_rate():
    assert optimize.preset("icfp", optimizer="adam").rate == 0.02
    assert optimize.preset("icfp").rate == 0.2
    assert optimize.preset("mloa", optimizer="rmsprop").epsilon is None
    assert optimize.preset("mloa", optimizer="rmsprop", learning_rate=0.001).rate == 0.001


def test_words_of_the_command_line():
    words = gatys_settings.changes_from_words
    assert words("icfp", ratio=0.0001) == {"style_weight": 1e4}
    assert words(None, ratio=0.5, content_weight=3.0) == {"content_weight": 3.0, "style_weight": 6.0}
    assert words(None, start="palette") == {"start": "palette", "noise": 0.0}
    assert words("ntu", start="content") == {"start": "content", "noise": 0.0}
    assert words(None, start="noise") == {"noise": 1.0}
    assert words(None, start="0.25") == {"noise": 0.25}
    assert words(None, content_layers="conv4_2,relu3_1:0.5")["content_layers"] == {"conv4_2": 1.0, "relu3_1": 0.5}
    assert words(None, style_layers="relu1_1,relu3_2:2")["style_layers"] == {"relu1_1": 1000 / 64**2, "relu3_2": 2.0}
    assert words("mloa", style_layers="relu1_2")["style_layers"] == {"relu1_2": 0.2}
    assert words(None, max_memory="3G") == {"max_memory": 3 * 10**9}
    assert [memory.parse(text) for text in ("800M", "1.5 GB", "64")] == [8e8, 1.5e9, 64e6]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ratio": 1.0, "style_weight": 2.0}, "not both"),
        ({"ratio": -1.0}, "above 0"),
        ({"start": "sand"}, "^`start` is palette, content, noise or a share of noise such as 0.3, not 'sand'$"),
        ({"start": "-0.1"}, "share of noise must be between 0 and 1"),
        ({"start": "1.5"}, "between 0 and 1"),
        ({"content_layers": "fc6"}, "is not a layer"),
        ({"style_layers": "relu1_1:much"}, "is not a number"),
        ({"max_memory": "lots"}, "invalid memory size"),
        ({"optimizer": "newton"}, "optimizer must be lbfgs or adam"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"size": 8}, "size must be at least 32"),
        ({"style_weight": math.nan}, "style weight must be a number"),
        ({"tv_weight": -1.0}, "tv weight must be a number"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
        ({"seed": 2**64}, "seed must be from"),
        ({"keep_color": True, "match_color": True}, "`keep_color` or `match_color`, not both"),
        ({"style_fit": "content", "style_scale": 3.0}, "`style_scale` does nothing where"),
    ],
)
def test_settings_that_cannot_work(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        optimize.preset(**gatys_settings.changes_from_words(None, **changes))


def test_an_unknown_start_is_refused_in_python_too():
    with pytest.raises(UsageError, match="start must be palette or content, not 'style'"):
        optimize.preset(start="style")


def test_the_default_starts_in_the_colors_of_the_artwork_and_presets_can():
    assert optimize.Settings().start == "palette"
    assert optimize.preset("icfp", **gatys_settings.changes_from_words("icfp", start="palette")).start == "palette"


def test_an_unknown_preset_names_the_others():
    with pytest.raises(UsageError, match="unknown preset 'ucla': choose ucsd, upes, ntu, icfp, mloa"):
        optimize.preset("ucla")
