"""What an experiment of `rtstyle lab` will do: the documents' numbers, and what is refused."""

import re

import numpy as np
import pytest
from conftest import photograph, save_picture

torch = pytest.importorskip("torch")
pytest.importorskip("jinja2")

from rtstyle.errors import RtstyleError, UsageError  # noqa: E402
from rtstyle.export.lab import experiments  # noqa: E402
from rtstyle.export.lab import plan as lab  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402

pytest_plugins = ["support.lab_fixtures"]


def test_the_documents_ratios():
    for preset, betas in {
        "icfp": [1e-2, 1e-1, 1, 10, 100, 1e4],
        "ntu": [1000, 5000, 10000, 50000, 100000],
        "ucsd": [1e4, 1e5, 1e6, 1e7, 1e8, 1e9],
        None: [1e-3, 1e-2, 1e-1, 1, 10, 100],
    }.items():
        plan = lab.make_plan("ratio", lab.Options(style="a.png", preset=preset))
        assert [plan.settings.content_weight / ratio for ratio in plan.ratios] == pytest.approx(betas), preset
    ntu = lab.make_plan("ratio", lab.Options(style="a.png", preset="ntu"))
    assert (ntu.steps, ntu.settings.size, ntu.settings.noise) == ((500,), 512, 1.0)
    icfp = lab.make_plan("ratio", lab.Options(style="a.png", preset="icfp", quick=True))
    assert (icfp.steps, icfp.settings.size, icfp.settings.learning_rate) == ((40,), 128, 0.2)


@pytest.mark.parametrize("name", lab.EXPERIMENTS)
def test_quick_is_at_most_400_iterations_on_small_pictures(name):
    """Its aim is a look within two minutes on two cores, of which an iteration takes about a quarter of a second."""
    pair = {"names": ("scream",), "pictures": ("a.png",)} if name == "compare" else {}
    style = {} if name in ("compare", "features") else {"style": "a.png"}
    plan = lab.make_plan(name, lab.Options(quick=True, **pair, **style))
    runs = {
        "ratio": len(plan.ratios),
        "train-ratio": len(plan.weights),
        "optimizers": len(plan.optimizers),
        "features": len(plan.layers),
        "reconstruct": len(plan.layers) + len(plan.settings.style_layers),
        "compare": len(plan.pairs),
        "augment": 6,
    }
    assert plan.settings.size == 128 and 0 < runs[name] * plan.steps[-1] <= 400


def test_the_documents_optimizers():
    plan = lab.make_plan("optimizers", lab.Options(style="a.png"))
    assert plan.optimizers == (
        ("adam", 0.02), ("rmsprop", 0.02), ("rmsprop", 0.001), ("adagrad", 0.02), ("adagrad", 0.1), ("lbfgs", 1.0)
    )  # fmt: skip
    assert plan.steps == (250, 500, 2500)
    assert plan.settings == optimize.preset("mloa", size=256, steps=2500, pyramid=False, device="auto")
    named = lab.make_plan("optimizers", lab.Options(style="a.png", optimizers="adam:0.5,sgd,adagrad", steps="7,2"))
    assert named.optimizers == (("adam", 0.5), ("sgd", 0.005), ("adagrad", 0.02), ("adagrad", 0.1))
    assert named.steps == (2, 7)


def test_the_documents_weights_of_trainings():
    def pairs(**given):
        return lab.make_plan("train-ratio", lab.Options(style="a.png", **given)).weights

    assert pairs(preset="ucsd") == ((1e10, 1e6), (1e11, 1e6), (1e12, 1e6), (1e11, 1e5), (1e11, 1e7))
    assert pairs(style_weights="1,2") == ((1, 1), (2, 1)) and pairs(content_weights="3") == ((4, 3),)
    assert len(pairs()) == 9 and len(pairs(quick=True)) == 5
    with pytest.raises(UsageError, match="train-ratio knows the preset ucsd, not icfp"):
        pairs(preset="icfp")


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("ratios", {}, "unknown experiment 'ratios': choose ratio, train-ratio, optimizers"),
        ("ratio", {"ratios": "1,zero"}, "`ratios` takes numbers above 0, such as 100,1,0.01: 'zero' is none"),
        ("ratio", {"ratios": "1,,2"}, "'' is none"),
        ("ratio", {"ratios": "-1"}, "'-1' is none"),
        ("ratio", {"ratios": "1:0"}, "'1:0' is none"),
        ("ratio", {"ratios": "nan"}, "'nan' is none"),
        ("ratio", {"steps": "2,3"}, "lab ratio takes one number of `steps`, not 2"),
        ("ratio", {"steps": "2.5"}, "`steps` takes whole numbers"),
        ("ratio", {"style": None}, "lab ratio needs a STYLE"),
        ("ratio", {"preset": "ucla"}, "unknown preset 'ucla'"),
        ("ratio", {"size": 8}, "size must be at least 32"),
        ("ratio", {"layers": "relu1_1"}, "`layers` goes with lab features or reconstruct, not with lab ratio"),
        ("features", {}, "`style` goes with lab ratio or train-ratio or"),
        ("features", {"for_features": True, "layers": "pool1"}, "'pool1' is not a layer"),
        ("features", {"for_features": True, "maps": 0}, "`maps` needs a number from 1 on"),
        ("features", {"for_features": True, "seed": 3}, "`seed` goes with lab ratio or train-ratio or"),
        ("reconstruct", {}, "`content_layers` goes with lab ratio or train-ratio or"),
        ("augment", {"photos": "x"}, "`photos` goes with lab train-ratio"),
        ("optimizers", {"optimizers": "adan"}, "unknown optimizer 'adan': choose lbfgs, adam"),
        ("optimizers", {"optimizers": "adam:fast"}, "the learning rate of adam takes numbers above 0"),
        ("compare", {"style": None}, "needs pairs of `names` and `pictures`"),
        ("compare", {"style": None, "names": ("a", "b"), "pictures": ("c",)}, "needs pairs"),
        ("train-ratio", {"style_weights": "0", "style_layers": None}, "`style_weights` takes numbers above 0"),
        ("train-ratio", {}, "have no weights of their own"),
    ],
)
def test_what_can_never_work(name, changes, sentence, lab_options, tmp_path):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        experiments.run(name, lab_options(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("ratio", {"style": "nowhere.png"}, "nowhere.png does not exist"),
        ("ratio", {"content": "nowhere.png"}, "nowhere.png does not exist"),
        ("ratio", {"weights": "nowhere.pth"}, "weights nowhere.pth do not exist"),
        ("ratio", {"device": "cuda:77"}, "torch finds no device cuda:77"),
        ("features", {"for_features": True, "layers": "relu4_1"}, "ends before relu4_1"),
        ("train-ratio", {"vgg": None, "style_layers": None, "content_layers": "relu3_9"}, "no layer 'relu3_9'"),
        ("compare", {"style": None, "names": ("nobody",), "pictures": ("painting.png",)}, "nobody"),
        ("compare", {"style": None, "names": ("irises",), "pictures": ("nowhere.png",)}, "nowhere.png does not exist"),
    ],
)
def test_inputs_that_are_refused(name, changes, sentence, lab_options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RtstyleError, match=sentence):
        experiments.run(name, lab_options(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "changes"), [("ratio", {}), ("features", {"for_features": True})])
def test_a_size_beyond_memory_is_refused_at_once(name, changes, lab_options, tmp_path, monkeypatch):
    monkeypatch.setattr(optimize, "allowed_memory", lambda settings: 3e9)
    with pytest.raises(RtstyleError, match=r"GB of memory|needs more memory than there is"):
        experiments.run(name, lab_options(size=8000, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_transparent_styles_are_refused(lab_options, tmp_path):
    rgba = np.dstack([photograph(2, 48, 48), np.full((48, 48), 200, np.uint8)])
    path = save_picture(rgba, tmp_path / "glass.png")
    with pytest.raises(RtstyleError, match=r"glass.png is transparent in places"):
        experiments.run("ratio", lab_options(style=str(path)), tmp_path / "out")
