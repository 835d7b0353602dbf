"""What makes an encoder again: a recipe, from a TOML file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import tomllib
from pathlib import Path

from rtstyle.errors import InputError
from rtstyle.export.recipe import check_numbers

SEEING, PRACTICE, PAINTING = range(3)  # the phases of a training
SEEING_RATE, PRACTICE_RATE = 3e-3, 1e-3


@dataclasses.dataclass
class EncoderRecipe:
    """What makes an encoder again; `encoder` names the model whose body it writes codes for. `paintings`, `photographs`
    and `made` say how many views of each kind of picture it learns from (`style_pictures`), `held_out` which files of
    the pictures' folder it must not see. The encoder looks at `window` pixels of the middle of a picture whose short
    side has `style_size`, and with the same part its paintings are compared. `seeing`, `practice` and `steps` are the
    steps of the three phases, `seeing_batch` and `batch` the pictures of a step of the first and of the third;
    `random_codes` are how many paintings by the body the first two learn from, `learning_rate` is that of the third, in
    which each picture's weight of style is `balance` divided by the distance where learning begins. All other weights
    of the loss are those that the body was trained with, but for `lattice_weight`."""

    encoder: str = "live"
    seed: int = 0
    seeing: int = 3200
    practice: int = 2000
    steps: int = 2000
    random_codes: int = 1100
    learning_rate: float = 2e-4
    balance: float = 10.0
    lattice_weight: float = 7000.0
    average: float = 0.998
    crop: int = 192
    batch: int = 1
    seeing_batch: int = 2
    style_size: int = 640
    window: int = 448
    paintings: int = 600
    photographs: int = 400
    made: int = 80
    held_out: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> EncoderRecipe:
        """A recipe from a TOML file. Raises RtstyleError for unknown keys or wrong values."""
        try:
            recipe = cls(**tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise InputError(f"the recipe {path} does not exist") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
            raise InputError(f"the recipe {path} is not understood: {error}") from None
        check_numbers(recipe, path, {"crop": 64, "style_size": 64, "window": 64, "batch": 1, "seeing_batch": 1})
        if recipe.crop % 8:
            raise InputError(f"the recipe {path} must give crop a multiple of 8, not {recipe.crop}")
        if not isinstance(recipe.encoder, str):
            raise InputError(f"the recipe {path} must give encoder the name of a model, not {recipe.encoder!r}")
        if not isinstance(recipe.held_out, list) or not all(isinstance(name, str) for name in recipe.held_out):
            raise InputError(f"the recipe {path} must give held_out a list of file names, not {recipe.held_out!r}")
        if (recipe.seeing or recipe.practice) and not recipe.random_codes:
            raise InputError(f"the recipe {path} must give random_codes a number from 1, or seeing and practice 0")
        if recipe.window > recipe.style_size:
            raise InputError(f"the recipe {path} must give window a number up to style_size, {recipe.style_size}")
        if recipe.paintings + recipe.photographs + recipe.made < 2:
            raise InputError(f"the recipe {path} asks for too few pictures to learn from: at least two")
        return recipe

    def phases(self) -> tuple[int, int, int]:
        """The steps of the phases."""
        return self.seeing, self.practice, self.steps

    def phase_at(self, step: int) -> tuple[int, int]:
        """(number of the phase, step in it) at a step of the whole."""
        if step < self.seeing:
            return SEEING, step
        step -= self.seeing
        return (PRACTICE, step) if step < self.practice else (PAINTING, step - self.practice)

    def learning_rate_at(self, step: int) -> float:
        """In each phase a warm-up, then a cosine down to 2 % of the peak."""
        phase, step = self.phase_at(step)
        steps, peak = self.phases()[phase], (SEEING_RATE, PRACTICE_RATE, self.learning_rate)[phase]
        warm_up = min(100, steps // 10)
        if step < warm_up:
            return peak * (step + 1) / warm_up
        return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


def is_encoder_recipe(path: str | os.PathLike[str]) -> bool:
    """Whether a recipe is one for an encoder; False for what cannot be read, of which its own reader says more."""
    try:
        return "encoder" in tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False
