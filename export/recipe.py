"""Recipes: TOML files that hold everything that makes a model again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from rtstyle.errors import InputError, ModelError
from rtstyle.export import networks
from rtstyle.gallery.model_file import typeable
from rtstyle.perceptual.vgg import STAGES, layer_index

STYLE_FIELDS = ("name", "title", "artist", "year", "licence", "source")
# Keys of recipes and of models' metadata that had other names before
RENAMED = {"practice": "auxiliary", "practice_share": "auxiliary_share"}


def current_names(keys: dict[str, Any]) -> dict[str, Any]:
    """Keys of a recipe or of metadata by the names that they have now."""
    return {RENAMED.get(key, key): value for key, value in keys.items()}


def check_numbers(part: Any, path: str | os.PathLike[str], minimum: Mapping[str, int] = MappingProxyType({})) -> None:
    """Raises InputError if a number of a dataclass, a part of the recipe at `path`, is none or below its `minimum`."""
    for field in dataclasses.fields(part):
        value, least = getattr(part, field.name), minimum.get(field.name, 0)
        if field.type not in ("int", "float", "float | None") or (value is None and field.type == "float | None"):
            continue
        kind = int if field.type == "int" else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value < math.inf:
            number = "a whole number" if field.type == "int" else "a number"
            raise InputError(f"the recipe {path} must give {field.name} {number} from {least}, not {value!r}")


def whole(numbers: Any) -> bool:
    """Whether it is a list of whole numbers."""
    return isinstance(numbers, list | tuple) and all(type(number) is int for number in numbers)


@dataclasses.dataclass
class Style:
    """One painting of a recipe. `weight` replaces the recipe's style weight for this style, `structure_factor`
    multiplies the structure goals of the stages: above 1 it is bolder than the others. `light_factor` multiplies the
    light term: below 1 for lines on paper, which would get washes of grey."""

    name: str
    file: str
    title: str = ""
    artist: str = ""
    year: str = ""
    licence: str = "public domain"
    source: str = ""
    weight: float | None = None
    structure_factor: float | None = None
    light_factor: float | None = None

    def info(self) -> dict[str, str]:
        """What the model's metadata says of this style."""
        return {field: getattr(self, field) for field in STYLE_FIELDS}


@dataclasses.dataclass
class Loss:
    """What training minimises, see `rtstyle.export.losses`. A weight of 0 leaves its term out."""

    vgg: str = "vgg16"
    absolute: bool = False
    content_layers: tuple[str, ...] = ("relu3_3",)
    style_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3")
    style_scales: tuple[int, ...] = (1,)
    content_weight: float = 1.0
    structure_weight: float = 0.0
    style_weight: float = 8.0
    balance: float = 0.0  # above 0: a style that gives no weight has this, divided by the photographs' distance from it
    repeat_layer: str = "relu3_3"
    repeat_shifts: tuple[int, ...] = ()
    repeat_weight: float = 1.0
    palette_weight: float = 0.0
    light_weight: float = 0.0
    temporal_weight: float = 0.0
    lattice_weight: float = 0.0
    tv_weight: float = 0.0
    range_weight: float = 10.0

    @classmethod
    def from_metadata(cls, keys: dict[str, Any]) -> Loss:
        """The losses that a model's metadata tell of; what this version does not know is left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in current_names(keys).items() if key in known})

    @classmethod
    def as_training_ended(cls, training: dict[str, Any]) -> Loss:
        """Those of the last stage that a model's metadata tell of."""
        last = (training.get("stages") or [{}])[-1]
        own = {name: last[name] for name in STAGE_WEIGHTS if last.get(name) is not None}
        return dataclasses.replace(cls.from_metadata(training["loss"]), **own)


# Weights that a stage may have of its own
STAGE_WEIGHTS = "content_weight", "structure_weight", "repeat_weight", "temporal_weight", "lattice_weight"
# Keys of stages and styles that earlier checkpoints do not know
LATER = (
    *("content_weight", "structure_weight", "repeat_weight", "lattice_weight", "structure_goal"),
    *("structure_factor", "light_factor"),
)
LATER_TERMS = "lattice_weight", "light_weight"  # of the loss, of which earlier checkpoints know as little


@dataclasses.dataclass
class Stage:
    """A part of the schedule: square crops of `crop` pixels, `batch` of them a step, paintings of `style_size`
    pixels on their short side (larger paintings teach larger strokes), or of several sizes, whose Gram matrices are
    averaged. The style weights are multiplied by `style_factor`: a body that starts from nothing and is asked for too
    much style loses the photograph for good, one that paints already is not hurt. With a `structure_goal` the weight of
    each style changes as the stage goes on, until the structure term of its paintings comes to that (0: as in the
    photograph; a lower goal keeps more of it). The other weights and `learning_rate` replace the recipe's while the
    stage lasts."""

    share: float = 1.0
    crop: int = 128
    batch: int = 4
    style_size: int | list[int] = 288
    style_factor: float = 1.0
    content_weight: float | None = None
    structure_weight: float | None = None
    repeat_weight: float | None = None
    temporal_weight: float | None = None
    lattice_weight: float | None = None
    structure_goal: float | None = None
    learning_rate: float | None = None

    @property
    def style_sizes(self) -> tuple[int, ...]:
        return tuple(self.style_size) if isinstance(self.style_size, list) else (self.style_size,)

    def loss(self, default: Loss) -> Loss:
        """The losses of this stage."""
        own = {name: value for name in STAGE_WEIGHTS if (value := getattr(self, name)) is not None}
        return dataclasses.replace(default, **own)


@dataclasses.dataclass
class Recipe:
    """Everything that makes a model again. Read from TOML by `Recipe.read`."""

    body: str = "live"
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    steps: int = 10000
    passes: float = 0.0  # over the photographs, instead of `steps`
    learning_rate: float = 3e-3
    average: float = 0.999
    reference_height: int = 360
    loss: Loss = dataclasses.field(default_factory=Loss)
    stage: list[Stage] = dataclasses.field(default_factory=lambda: [Stage()])
    style: list[Style] = dataclasses.field(default_factory=list)
    auxiliary: list[Style] = dataclasses.field(default_factory=list)  # take part in the training, are not exported
    auxiliary_share: float = 0.25  # of the samples, if there are auxiliary styles

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recipe:
        """A recipe from a TOML file. Raises RtstyleError for unknown keys, wrong values or no styles."""
        try:
            data = current_names(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise InputError(f"the recipe {path} does not exist") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"the recipe {path} is not readable TOML: {error}") from None
        try:
            if "loss" in data:
                if not isinstance(data["loss"], dict):
                    raise TypeError("there is one [loss], in single brackets")
                data["loss"] = Loss(**current_names(data["loss"]))
            if "stage" in data:
                data["stage"] = [Stage(**item) for item in data["stage"]]
            for key in ("style", "auxiliary"):
                data[key] = [Style(**item) for item in data.get(key, [])]
            recipe = cls(**data)
            recipe.check(path)
        except TypeError as error:
            raise InputError(f"the recipe {path} is not understood: {error}") from None
        return recipe

    def check(self, path: str | os.PathLike[str]) -> None:
        """Raises RtstyleError for values that make no training; `path` names the recipe in its sentence."""
        for part in (self, self.loss, *self.stage, *self.artworks):
            check_numbers(part, path)
        names = [style.name for style in self.artworks]
        if not self.style:
            raise InputError(f"the recipe {path} names no [[style]]")
        if len(set(names)) < len(names):
            raise InputError(f"the recipe {path} gives two styles the same name")
        for name in names:
            if name != typeable(name):
                raise InputError(
                    f"the recipe {path} calls a style {name!r}, which cannot be typed for one: try {typeable(name)}"
                )
        if self.body not in networks.BODIES:
            raise InputError(f"the recipe {path} asks for body {self.body!r}: choose from {', '.join(networks.BODIES)}")
        try:
            with torch.device("meta"):
                min_side = networks.build(self.body, 1, self.config).min_size
        except (TypeError, ValueError, LookupError, RuntimeError) as error:
            raise InputError(f"the recipe {path} has a config that makes no {self.body} body: {error}") from None
        if not 0 <= self.auxiliary_share < 1:
            raise InputError(f"the recipe {path} has an auxiliary_share out of range: from 0 to below 1")
        if self.steps < 1 or self.learning_rate <= 0 or not self.stage:
            raise InputError(f"the recipe {path} needs steps, a learning rate and a [[stage]]")
        if self.average >= 1 or self.reference_height < 16:
            raise InputError(f"the recipe {path} needs an average below 1 and a reference_height from 16 pixels")
        if any(style.weight == 0 for style in self.artworks):
            raise InputError(f"the recipe {path} gives a style a weight that is not above 0")
        if not self.loss.content_layers or not self.loss.style_layers:
            raise InputError(f"the recipe {path} needs at least one of content_layers and one of style_layers")
        if self.loss.vgg not in STAGES:
            raise InputError(f"the recipe {path} asks for vgg {self.loss.vgg!r}: choose from {', '.join(STAGES)}")
        try:
            for layer in (*self.loss.content_layers, *self.loss.style_layers, self.loss.repeat_layer):
                layer_index(self.loss.vgg, layer)
        except ModelError as error:
            raise InputError(f"the recipe {path} cannot be followed: {error}") from None
        if self.loss.balance and self.loss.absolute:
            raise InputError(f"the recipe {path} has a balance, which is for relative losses only")
        if any(style.structure_factor is not None and style.structure_factor <= 0 for style in self.artworks):
            raise InputError(f"the recipe {path} has a structure_factor out of range: above 0")
        for stage in self.stage:
            sizes = stage.style_sizes or (0,)
            if stage.crop < min_side:
                raise InputError(f"the recipe {path} has a crop of {stage.crop} pixels: its body needs {min_side}")
            good = whole(sizes) and min(stage.crop, *sizes) >= 32 and stage.crop % 8 == 0
            if not good or stage.batch < 1 or stage.share <= 0:
                raise InputError(
                    f"the recipe {path} has a [[stage]] out of range: share above 0, crop a multiple of 8 from 32, "
                    "batch from 1, style_size from 32"
                )
            above_0 = [stage.style_factor, stage.learning_rate, stage.structure_goal]
            if any(value is not None and value <= 0 for value in above_0):
                raise InputError(
                    f"the recipe {path} has a [[stage]] out of range: "
                    "style_factor, learning_rate and structure_goal above 0"
                )
            if stage.structure_goal and not stage.loss(self.loss).structure_weight:
                raise InputError(f"the recipe {path} has a structure_goal in a [[stage]] without a structure_weight")
        crop, scales, shifts = min(stage.crop for stage in self.stage), self.loss.style_scales, self.loss.repeat_shifts
        stride = 2 ** (int(self.loss.repeat_layer[4]) - 1)
        if not whole(shifts) or any(not 1 <= shift < crop // stride for shift in shifts):
            raise InputError(
                f"the recipe {path} has repeat_shifts out of range: whole numbers from 1 to below {crop // stride}"
            )
        if not scales or not whole(scales) or min(scales) < 1 or max(scales) * 32 > crop:
            raise InputError(f"the recipe {path} has style_scales out of range: from 1 to a 32nd of the smallest crop")

    @property
    def batch(self) -> float:
        """The crops of a step, in the mean of all."""
        return sum(stage.share * stage.batch for stage in self.stage) / sum(stage.share for stage in self.stage)

    @property
    def artworks(self) -> list[Style]:
        """The styles, then the auxiliary ones."""
        return [*self.style, *self.auxiliary]

    def digest(self) -> str:
        """SHA-256 of the recipe's content; comments and order of keys do not matter. Keys go by their first names, so
        that a renaming does not make a recipe another one."""
        first = {new: old for old, new in RENAMED.items()}
        content = {first.get(key, key): value for key, value in dataclasses.asdict(self).items() if value is not None}
        content["loss"] = {first.get(key, key): value for key, value in content["loss"].items()}
        for key in LATER_TERMS:
            if not content["loss"][key]:
                del content["loss"][key]
        for part in (*content["stage"], *content["style"], *content.get(first["auxiliary"], ())):
            for key in [key for key in LATER if key in part and part[key] is None]:
                del part[key]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def stage_at(self, step: int) -> Stage:
        """The stage that a step (from 0) belongs to."""
        return self._place(step)[0]

    def _place(self, step: int) -> tuple[Stage, float]:
        """The stage of a step, and how far it has come in it, 0 to 1."""
        total, passed = sum(stage.share for stage in self.stage), 0.0
        for stage in self.stage:
            length = stage.share / total * self.steps
            if step < passed + length - 1e-6:
                return stage, (step - passed) / length
            passed += length
        return self.stage[-1], 1.0

    def learning_rate_at(self, step: int) -> float:
        """Warm-up over the first 2 % (at most 200 steps), then a cosine down to 2 % of the peak; a stage with a
        learning rate of its own has a cosine of its own."""
        warm = max(1, min(200, self.steps // 50))
        stage, progress = self._place(step)
        peak = self.learning_rate if stage.learning_rate is None else stage.learning_rate
        if step < warm:
            return peak * (step + 1) / warm
        if stage.learning_rate is None:
            progress = (step - warm) / max(1, self.steps - warm)
        return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
