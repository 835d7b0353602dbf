"""`rtstyle lab`: the experiments of the five source documents, each a folder with a report, tables and pictures.

What can be asked for is checked here, without torch; rtstyle.export.lab.experiments runs it: .painting and .nets do the
work on a .bench, .report writes what came of it.

    experiments.run("ratio", plan.Options(style="painting.jpg", preset="icfp"), "lab-ratio")
"""

from __future__ import annotations

import dataclasses
import math
import os

from rtstyle.errors import UsageError
from rtstyle.gatys import settings as gatys_settings
from rtstyle.gatys.settings import OPTIMIZERS, Settings

EXPERIMENTS = {
    "ratio": "alpha / beta of Gatys' method",
    "train-ratio": "Style and content weights of feed-forward nets",
    "optimizers": "Optimizers, learning rates and iterations",
    "features": "Filters and feature maps of VGG",
    "reconstruct": "Content and style reconstructed from noise",
    "compare": "Gatys' method against feed-forward nets",
    "augment": "Augmented style pictures",
}

# alpha / beta. The fourth document's strip; the third one's five are style to content, whatever letters it calls them.
RATIOS = {
    "icfp": (1e2, 10.0, 1.0, 0.1, 0.01, 1e-4),
    "ntu": tuple(1 / times for times in (1000, 5000, 10000, 50000, 100000)),
}
AROUND = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3)  # times the alpha / beta of the other presets

# The fifth document's table: learning rates in units of a picture of 0..1; an epoch has 5 steps. L-BFGS is ours.
RATES = {"adam": (0.02,), "rmsprop": (0.02, 0.001), "adagrad": (0.02, 0.1), "lbfgs": (1.0,)}
EPOCHS, STEPS_AN_EPOCH = (50, 100, 500), 5

# Style and content weights of trainings: relative losses, and those of the first document (Johnson et al. 2016 as
# pytorch/examples weighs it: 10e10 : 10e5, at its best with 10e11 : 10e5). Each sweep holds the other weight at BASE.
STYLE_WEIGHTS = {None: (1.0, 2.0, 4.0, 8.0, 16.0), "ucsd": (10e9, 10e10, 10e11)}
CONTENT_WEIGHTS = {None: (0.25, 0.5, 1.0, 2.0, 4.0), "ucsd": (10e4, 10e5, 10e6)}
BASE = {None: (4.0, 1.0), "ucsd": (10e10, 10e5)}

CONTENT_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2")  # Gatys et al. 2016, figure 1
FEATURE_LAYERS = tuple(f"relu{stage}_1" for stage in range(1, 6))

SIZE, QUICK_SIZE = 256, 128
STEPS = {  # iterations: as a rule, and with --quick, for a look within two minutes on two cores
    "ratio": ((300,), (40,)),
    "train-ratio": ((2000,), (60,)),
    "optimizers": (tuple(STEPS_AN_EPOCH * epochs for epochs in EPOCHS), (10, 20, 50)),
    "features": ((1,), (1,)),
    "reconstruct": ((300,), (40,)),
    "compare": ((50, 100, 300), (10, 40)),
    "augment": ((300,), (40,)),
}
SEVERAL = ("optimizers", "compare")  # take several numbers of iterations
DOCUMENT = {"optimizers": "mloa"}  # the preset of an experiment when none is named

PAINTING = tuple(name for name in EXPERIMENTS if name != "features")
ONLY = {  # options that belong to some experiments only
    "style": ("ratio", "train-ratio", "optimizers", "reconstruct", "augment"),
    "ratios": ("ratio",),
    "style_weights": ("train-ratio",),
    "content_weights": ("train-ratio",),
    "photos": ("train-ratio",),
    "optimizers": ("optimizers",),
    "layers": ("features", "reconstruct"),
    "maps": ("features",),
    "names": ("compare",),
    "pictures": ("compare",),
    "model": ("compare",),
    "steps": PAINTING,
    "seed": PAINTING,
    "style_layers": PAINTING,
    "content_layers": tuple(name for name in PAINTING if name != "reconstruct"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line was given, lists as their words; None is the experiment's default."""

    style: str | None = None
    content: str | os.PathLike[str] | None = None
    preset: str | None = None
    size: int | None = None
    steps: str | None = None
    vgg: str | None = None
    weights: str | os.PathLike[str] | None = None
    convention: str | None = None
    content_layers: str | None = None
    style_layers: str | None = None
    seed: int | None = None
    device: str = "auto"
    ratios: str | None = None
    style_weights: str | None = None
    content_weights: str | None = None
    photos: str | os.PathLike[str] | None = None
    optimizers: str | None = None
    layers: str | None = None
    maps: int | None = None
    names: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    model: str | None = None
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """One experiment, checked. `settings` are those that every painting of it shares; `steps` rise. Lists that the
    experiment has no use for are empty."""

    name: str
    options: Options
    preset: str | None
    settings: Settings
    steps: tuple[int, ...]
    ratios: tuple[float, ...] = ()
    optimizers: tuple[tuple[str, float], ...] = ()
    weights: tuple[tuple[float, float], ...] = ()  # (style weight, content weight) of each training
    layers: tuple[str, ...] = ()
    maps: int = 64
    pairs: tuple[tuple[str, str], ...] = ()  # (style, picture file)


def make_plan(name: str, options: Options) -> Plan:
    """The experiment `name` as asked for. Raises UsageError for anything that could never work."""
    if name not in EXPERIMENTS:
        raise UsageError(f"unknown experiment {name!r}: choose {', '.join(EXPERIMENTS)}")
    _check_fit(name, options)
    preset = options.preset or DOCUMENT.get(name)
    steps = _steps(name, options)
    settings = _settings(preset, options, steps)
    return Plan(
        name,
        options,
        preset,
        settings,
        steps,
        ratios=_ratios(preset, settings, options.ratios) if name == "ratio" else (),
        optimizers=parse_optimizers(options.optimizers) if name == "optimizers" else (),
        weights=_weights(options) if name == "train-ratio" else (),
        layers=_layers(name, options),
        maps=64 if options.maps is None else options.maps,
        pairs=tuple(zip(options.names, options.pictures, strict=True)),
    )


def _check_fit(name: str, options: Options) -> None:
    for option, experiments in ONLY.items():
        if getattr(options, option) not in (None, ()) and name not in experiments:
            raise UsageError(f"`{option}` goes with lab {' or '.join(experiments)}, not with lab {name}")
    if name in ONLY["style"] and not options.style:
        raise UsageError(f"lab {name} needs a STYLE: the picture whose style is meant")
    if name == "compare" and (not options.names or len(options.names) != len(options.pictures)):
        raise UsageError("lab compare needs pairs of `names` and `pictures`: a style and what it was learned from")
    if options.maps is not None and options.maps < 1:
        raise UsageError(f"`maps` needs a number from 1 on, not {options.maps}")
    if name == "train-ratio":
        if options.preset not in BASE:
            raise UsageError(f"lab train-ratio knows the preset ucsd, not {options.preset}")
        if any(":" in (layers or "") for layers in (options.content_layers, options.style_layers)):
            raise UsageError("layers of a training have no weights of their own: leave :WEIGHT out")


def _steps(name: str, options: Options) -> tuple[int, ...]:
    if options.steps:
        steps = parse_numbers(options.steps, "`steps`", whole=True)
        if len(steps) > 1 and name not in SEVERAL:
            raise UsageError(f"lab {name} takes one number of `steps`, not {len(steps)}")
        return tuple(int(count) for count in sorted(set(steps)))
    if options.preset and not options.quick and name not in (*SEVERAL, "train-ratio", "features"):
        return (gatys_settings.preset(options.preset).steps,)
    return STEPS[name][options.quick]


def _settings(preset: str | None, options: Options, steps: tuple[int, ...]) -> Settings:
    """Never with a pyramid, so that an iteration is always the same and a long run passes through the shorter ones."""
    names = ("vgg", "weights", "convention", "content_layers", "style_layers", "seed", "device")
    changes = gatys_settings.changes_from_words(preset, **{name: getattr(options, name) for name in names})
    size = options.size
    if size is None:
        size = QUICK_SIZE if options.quick else SIZE if not options.preset else gatys_settings.preset(preset).size
    return gatys_settings.preset(preset, **changes, size=size, steps=max(steps), pyramid=False)


def _ratios(preset: str | None, settings: Settings, given: str | None) -> tuple[float, ...]:
    if given:
        return parse_numbers(given, "`ratios`")
    if not (settings.content_weight and settings.style_weight):
        raise UsageError("there is no alpha / beta where one of them is 0")
    default = settings.content_weight / settings.style_weight
    return RATIOS.get(preset or "") or tuple(default * factor for factor in AROUND)


def _weights(options: Options) -> tuple[tuple[float, float], ...]:
    """Both sweeps, one after the other; where only one list is given, only that one."""
    style, content = BASE[options.preset]
    sweeps = {
        "style": parse_numbers(options.style_weights, "`style_weights`") if options.style_weights else (),
        "content": parse_numbers(options.content_weights, "`content_weights`") if options.content_weights else (),
    }
    if not any(sweeps.values()):
        sweeps = {"style": STYLE_WEIGHTS[options.preset], "content": CONTENT_WEIGHTS[options.preset]}
        if options.quick:
            sweeps = {key: values[:: max(1, len(values) // 2)] for key, values in sweeps.items()}
    pairs = [(weight, content) for weight in sweeps["style"]] + [(style, weight) for weight in sweeps["content"]]
    return tuple(dict.fromkeys(pairs))


def _layers(name: str, options: Options) -> tuple[str, ...]:
    if name not in ONLY["layers"]:
        return ()
    if options.layers:
        if ":" in options.layers:
            raise UsageError("`layers` are names without weights")
        return tuple(gatys_settings.parse_layers(options.layers, lambda layer: 1.0))
    return FEATURE_LAYERS if name == "features" else CONTENT_LAYERS


def parse_numbers(text: str, option: str, *, whole: bool = False) -> tuple[float, ...]:
    """`100,1,0.01` or `1:1000,1:100` (a quotient) to numbers above 0, in the order given. Raises UsageError."""
    numbers = []
    for part in text.split(","):
        above, colon, below = part.strip().partition(":")
        try:
            number = float(above) / float(below) if colon else float(above)
        except (ValueError, ZeroDivisionError):
            number = math.nan
        if not (math.isfinite(number) and number > 0) or (whole and number != int(number)):
            what = "whole numbers from 1 on, such as 50,100,300" if whole else "numbers above 0, such as 100,1,0.01"
            raise UsageError(f"{option} takes {what}: {part.strip()!r} is none")
        numbers.append(number)
    return tuple(dict.fromkeys(numbers))


def parse_optimizers(text: str | None) -> tuple[tuple[str, float], ...]:
    """`adam:0.02,lbfgs` to (name, learning rate); without a rate, those of the document. Raises UsageError."""
    if not text:
        return tuple((name, rate) for name, rates in RATES.items() for rate in rates)
    result = []
    for part in text.split(","):
        name, colon, rate = part.strip().partition(":")
        if name not in OPTIMIZERS:
            raise UsageError(f"unknown optimizer {name!r}: choose {', '.join(OPTIMIZERS)}, with :RATE if need be")
        rates = parse_numbers(rate, f"the learning rate of {name}") if colon else RATES.get(name, (OPTIMIZERS[name],))
        result += [(name, rate) for rate in rates]
    return tuple(dict.fromkeys(result))
