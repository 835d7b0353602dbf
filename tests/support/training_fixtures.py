"""Trainings of the toy recipe on the CPU in float32, with random weights in VGG's shapes: a pytest plugin."""

import dataclasses

import pytest

from support.helpers import SHORT


@pytest.fixture
def recipe(toy_recipe_path):
    from rtstyle.export.recipe import Recipe

    return Recipe.read(toy_recipe_path)


@pytest.fixture
def short_recipe(recipe):
    return dataclasses.replace(recipe, steps=SHORT)


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory, photos_folder, paintings_folder, fake_vgg):
    """A gallery of two styles on a toy body, from a recipe."""
    from conftest import TOY_RECIPE

    from rtstyle.export.run import train_model

    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.toml").write_text(TOY_RECIPE, encoding="utf-8")
    options = {"device": "cpu", "precision": "fp32", "vgg": fake_vgg}
    return train_model(folder / "toy.toml", photos_folder, paintings_folder, folder / "toy.onnx", steps=30, **options)


@pytest.fixture
def trainer_in(tmp_path, photos_folder, paintings_folder, fake_vgg):
    """A function that gives a trainer whose run folder is `name`."""
    from rtstyle.export.train import Trainer

    def make(name, recipe, **options):
        options = {"device": "cpu", "precision": "fp32", "vgg": fake_vgg} | options
        return Trainer(recipe, photos_folder, paintings_folder, tmp_path / name, **options)

    return make
