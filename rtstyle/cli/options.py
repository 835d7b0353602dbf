"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import click

from rtstyle.cli.progress import say
from rtstyle.errors import INSTALL_TRAINING, RtstyleError


def painting_options(command):
    """The options that mean the same everywhere a picture is painted."""
    for option in reversed(
        [
            click.option(
                "--style",
                "-s",
                metavar="NAME",
                help="A style, a mix such as starry-night:0.7,great-wave:0.3, or an .onnx file.",
            ),
            click.option(
                "--model", default="live", show_default=True, metavar="NAME", help="live, studio, or an .onnx file."
            ),
            click.option(
                "--strength", type=float, default=1.0, show_default=True, help="0 is the photograph, 1 the painting."
            ),
            click.option("--keep-color", is_flag=True, help="Keep the colours of the photograph."),
            click.option(
                "--work-height",
                type=int,
                metavar="PX",
                help="Height at which the net runs: less is faster, with larger strokes.",
            ),
            click.option(
                "--device",
                default="auto",
                show_default=True,
                help="auto, cpu, cuda, cuda:1, tensorrt, coreml or directml.",
            ),
        ]
    ):
        command = option(command)
    return command


steady_option = click.option(
    "--steady/--no-steady", default=True, show_default=True, help="Keep the painting from flickering."
)


def progress_option(what: str):
    kinds = click.Choice(["bar", "json"])
    return click.option("--progress", "progress_kind", type=kinds, default="bar", help=f"json: one object a {what}.")


def output_options(command):
    command = click.option("--quiet", "-q", is_flag=True, help="No progress, no messages.")(command)
    return click.option("--force", is_flag=True, help="Replace an existing OUT.")(command)


vgg_options = (
    click.option(
        "--vgg", type=click.Path(), help="VGG weights (.safetensors or .pth); else RTSTYLE_VGG16, else torchvision's."
    ),
    click.option(
        "--vgg-convention", type=click.Choice(["torchvision", "oxford"]), help="Only for weight files that do not say."
    ),
)


def with_vgg(command):
    for option in reversed(vgg_options):
        command = option(command)
    return command


def read_size(context, parameter, value):
    """A size such as 1280x720."""
    if value is None:
        return None
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()) or min(int(width), int(height)) < 16:
        raise click.BadParameter(f"{value!r} is not a size such as 1280x720")
    return int(width), int(height)


def read_time(context, parameter, value):
    """Seconds, or minutes:seconds, or hours:minutes:seconds."""
    if value is None:
        return None
    try:
        parts = [float(part) for part in value.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < float("inf") for part in parts):
        raise click.BadParameter(f"{value!r} is not a time such as 12.5, 1:30 or 0:01:30")
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def read_changes(context, parameter, values):
    """Changes of style, TIME=STYLE."""
    changes = []
    for value in values:
        time, found, style = value.partition("=")
        if not found or not style:
            raise click.BadParameter(f"{value!r} is not TIME=STYLE, such as 0:12=great-wave")
        changes.append((read_time(context, parameter, time), style))
    return changes


def read_counts(context, parameter, values):
    """`50,100` or the option given several times, to rising numbers."""
    try:
        return sorted({int(count) for value in values for count in value.split(",")})
    except ValueError:
        raise click.BadParameter(f"{', '.join(values)} is not numbers with commas, such as 50,100,300") from None


def open_stylizer(style, model, strength, device, work_height):
    """A Stylizer for the common options."""
    from rtstyle.paint.look import check_strength
    from rtstyle.paint.stylizer import Stylizer

    check_strength(strength)
    return Stylizer(style, model=model, device=device, work_height=work_height)


def say_device(stylizer) -> None:
    """What is painted where, and why there; said once work begins, so that an error before it stands alone."""
    say(f"painting {stylizer.style} on {stylizer.device.name} ({stylizer.device.why})")


def needs_training(command: str, *more: str) -> None:
    """Say in one sentence that the training packages are missing."""
    import importlib.util

    missing = [name for name in ("torch", "safetensors", "matplotlib", *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise RtstyleError(f"rtstyle {command} needs {', '.join(missing)}: {INSTALL_TRAINING}")
