"""The scripts of benchmarks/gpu, as far as they go without a GPU."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.helpers import run_python

GPU = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu"


def module(name):
    spec = importlib.util.spec_from_file_location(name, GPU / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("name", ["bench", "video"])
def test_wrong_arguments_are_one_sentence(name, tmp_path):
    out = tmp_path / "out.json"
    done = run_python(GPU / f"{name}.py", out, "--device", "cpu", "--tiny", "--sizes", "big")
    assert done.returncode == 1 and done.stderr.startswith("'big' is not a size") and not out.exists()
    out.write_text("mine")
    done = run_python(GPU / f"{name}.py", out, "--device", "cpu", "--tiny")
    assert (done.returncode, done.stderr) == (1, f"{out} already exists: add --force to replace it\n")
    assert out.read_text() == "mine"


def test_parts_of_the_gpu_that_are_not_told_do_not_count_as_idle():
    watch = module("video").Watch(0)
    watch.samples = [["50", " [N/A]", " 10"], ["70", " [N/A]", " [N/A]"]]
    assert watch.means() == {"gpu": 60, "decoder": None, "encoder": 10}


def test_paintings_of_one_name_are_all_gathered(monkeypatch, tmp_path):
    prepare = module("prepare")
    for folder in ("paintings/one", "paintings/two", "photographs"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / folder / "same.jpg")
    (tmp_path / "vgg").touch()
    monkeypatch.setattr(prepare, "ROOT", tmp_path)
    places = {"--vgg": "vgg", "--content": "photographs", "--pictures": "paintings"}
    arguments = [word for flag, place in places.items() for word in (flag, str(tmp_path / place))]
    monkeypatch.setattr(sys, "argv", ["prepare.py", *arguments])
    prepare.main()
    found = sorted(path.relative_to(tmp_path / ".gpu").as_posix() for path in (tmp_path / ".gpu").rglob("*.*"))
    assert found == ["content/00000.webp", "style/one/same.jpg", "style/two/same.jpg", "vgg16.safetensors"]
