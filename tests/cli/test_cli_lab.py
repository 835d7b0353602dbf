"""`rtstyle lab` as a command: its flags and messages."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("jinja2")

from rtstyle.export.lab import experiments  # noqa: E402
from rtstyle.export.lab import plan as lab  # noqa: E402

pytest_plugins = ["support.lab_fixtures", "support.runtime_fixtures"]


def test_the_command(call, lab_photo, lab_painting, fake_vgg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"--photo {lab_photo} --network vgg16 --vgg {fake_vgg} --size 48 --steps 2 --device cpu"
    given = words.split()
    layers = ("--content-layers", "relu2_2", "--style-layers", "relu1_1")
    code, out, err = call("lab", "ratio", lab_painting, *given, *layers, "--ratios", "1,0.1")
    assert (code, out.strip()) == (0, str(Path("lab-ratio", "report.html"))), err
    assert "4/4 steps" in err
    code, out, err = call("lab", "ratio", lab_painting, *given, *layers)
    assert code == 1 and err.strip() == (
        "rtstyle: lab-ratio already holds a report: add --force to replace it, or give another --out"
    )
    assert call("lab", "ratio", lab_painting, *given, *layers, "--ratios", "1", "--force", "-q")[::2] == (0, "")
    assert call("lab", "rations", lab_painting)[0] == 2


OWN = {  # words of the options that belong to an experiment, and what they become
    "ratio": (["s.png", "--ratios", "1,2"], {"style": "s.png", "ratios": "1,2"}),
    "train-ratio": (
        ["s.png", "--style-weights", "3", "--content-weights", "4", "--photos", "p"],
        {"style": "s.png", "style_weights": "3", "content_weights": "4", "photos": "p"},
    ),
    "optimizers": (["s.png", "--optimizers", "adam"], {"style": "s.png", "optimizers": "adam"}),
    "features": (["--layers", "relu1_2", "--maps", 5], {"layers": "relu1_2", "maps": 5}),
    "reconstruct": (["s.png", "--layers", "relu1_2"], {"style": "s.png", "layers": "relu1_2"}),
    "compare": (
        ["--style", "a", "--picture", "a.png", "--style", "b", "--picture", "b.png", "--model", "m.onnx"],
        {"names": ("a", "b"), "pictures": ("a.png", "b.png"), "model": "m.onnx"},
    ),
    "augment": (["s.png"], {"style": "s.png"}),
}


@pytest.mark.parametrize("name", lab.EXPERIMENTS)
def test_every_flag_reaches_the_options(call, monkeypatch, name):
    seen = {}
    monkeypatch.setattr(experiments, "run", lambda *given, **more: seen.update(given=given, more=more))
    monkeypatch.setattr(lab, "make_plan", lambda *given: None)
    flags = {
        "content": "c.png", "preset": "icfp", "size": 64, "steps": "9", "vgg": "vgg16", "weights": "w.pth",
        "convention": "oxford", "content_layers": "relu2_2", "style_layers": "relu1_1", "seed": 8, "device": "cpu",
    }  # fmt: skip
    names = {"content": "photo", "vgg": "network", "weights": "vgg", "convention": "vgg-convention"}
    if name in ("features", "reconstruct"):
        del flags["content_layers"]
    if name == "features":
        del flags["steps"], flags["style_layers"], flags["seed"]
    words = [w for key, v in flags.items() for w in (f"--{names.get(key, key.replace('_', '-'))}", v)]
    own, meant = OWN[name]
    code, _, err = call("lab", name, *own, *words, "--quick", "--force", "--out", "o")
    assert code == 0, err
    expected = lab.Options(**flags, **meant, quick=True)
    assert seen["given"] == (name, expected, "o") and seen["more"]["force"] is True


def test_every_option_has_a_flag():
    shared = ["content", "preset", "size", "steps", "vgg", "weights", "convention", "seed", "device", "quick"]
    shared += ["content_layers", "style_layers"]
    own = [key for _, meant in OWN.values() for key in meant]
    assert {field.name for field in dataclasses.fields(lab.Options)} == {*shared, *own}


def test_without_the_training_packages_one_sentence_says_so(call, lab_painting, monkeypatch):
    real = importlib.util.find_spec
    gone = ("torch", "jinja2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else real(name, *more))
    code, out, err = call("lab", "ratio", lab_painting)
    assert (code, out) == (1, "")
    assert err.strip() == "rtstyle: rtstyle lab needs torch, jinja2: pip install '.[train]' in rtstyle's folder"
