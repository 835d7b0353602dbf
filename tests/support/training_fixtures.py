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


@pytest.fixture
def trainer_in(tmp_path, photos_folder, paintings_folder, fake_vgg):
    """A function that gives a trainer whose run folder is `name`."""
    from rtstyle.export.train import Trainer

    def make(name, recipe, **options):
        options = {"device": "cpu", "precision": "fp32", "vgg": fake_vgg} | options
        return Trainer(recipe, photos_folder, paintings_folder, tmp_path / name, **options)

    return make
