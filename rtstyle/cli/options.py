"""Options that several commands share, and how their values are read and completed."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from click.shell_completion import CompletionItem

from rtstyle.cli.progress import progress_bar, say
from rtstyle.errors import RtstyleError, UsageError, install

if TYPE_CHECKING:
    from rtstyle.paint.painter import FramePainter, Painter
    from rtstyle.paint.stylizer import Stylizer

F = TypeVar("F", bound=Callable[..., Any])
TRAINING_PACKAGES = ("torch", "safetensors", "matplotlib")
STROKE_SIZES = {"small": 2 / 3, "medium": 1.0, "large": 1.5}
TORCH_DEVICES = ("auto", "cpu", "cuda", "cuda:1")
DEVICES = (*TORCH_DEVICES, "tensorrt", "openvino", "openvino:gpu", "webgpu", "coreml", "directml")


class Option(click.Option):
    """An option that also answers to the spellings `old`, which no help and no completion shows."""

    def __init__(self, declarations: Sequence[str], old: Sequence[str] = (), **attributes: Any):
        super().__init__(declarations, **attributes)
        self.old = old

    def add_to_parser(self, parser: Any, context: click.Context) -> None:
        shown = self.opts
        self.opts = [*shown, *self.old]
        try:
            super().add_to_parser(parser, context)
        finally:
            self.opts = shown

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(context)
        return record and (record[0].strip(), record[1])  # an empty metavar leaves a space


option = functools.partial(click.option, cls=Option)


# -- values, read from their words


def read_time(text: str) -> float:
    """Seconds, or minutes:seconds, or hours:minutes:seconds, to seconds."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < float("inf") for part in parts):
        raise click.BadParameter(f"{text!r} is not a time such as 12.5, 1:30 or 0:01:30")
    return sum(part * 60.0**place for place, part in enumerate(reversed(parts)))


def read_duration(text: str) -> float:
    """A time above 0, to seconds."""
    if not (seconds := read_time(text)):
        raise click.BadParameter("a duration must be above 0")
    return seconds


def read_style_at(text: str) -> tuple[float, str]:
    """A change of style, TIME=STYLE, to (seconds, style)."""
    time, _, style = text.partition("=")
    if not style:
        raise click.BadParameter(f"{text!r} is not TIME=STYLE, such as 0:12=great-wave")
    return read_time(time), style


def read_size(text: str) -> tuple[int, int]:
    """A size such as 1280x720, to (width, height) in pixels."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()) or min(int(width), int(height)) < 16:
        raise click.BadParameter(f"{text!r} is not a size such as 1280x720")
    return int(width), int(height)


def read_address(text: str) -> tuple[str, int]:
    """PORT or HOST:PORT to (host, port); the host is this machine if it is left out."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is not a port such as 9000, or an address such as 0.0.0.0:9000")
    return host or "127.0.0.1", int(port)


def read_work_height(text: str) -> int | Literal["auto", "full"]:
    """auto, full, or pixels."""
    if text in ("auto", "full"):
        return text  # type: ignore[return-value]
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not auto, full or a number of pixels such as 360") from None


def read_stroke_size(text: str) -> float:
    """small, medium, large, or a factor, to a factor."""
    try:
        return STROKE_SIZES.get(text) or float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not small, medium, large or a factor such as 1.5") from None


def read_memory(text: str) -> int:
    """A size such as 3G, to bytes."""
    from rtstyle import memory

    return memory.parse(text)


def read_counts(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[int]:
    """`50,100` or the option given several times, to rising numbers."""
    try:
        return sorted({int(count) for value in values for count in value.split(",")})
    except ValueError:
        raise click.BadParameter(f"{', '.join(values)} is not numbers with commas, such as 50,100,300") from None


# -- what the shell completes


def complete_style(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of styles, also after the last comma of a mix; where none fits, files."""
    from rtstyle.gallery import catalog

    before, comma, begun = incomplete.rpartition(",")
    names = [style.name for style in catalog.styles() if style.name.startswith(begun)]
    return [CompletionItem(before + comma + name) for name in names] or [CompletionItem(incomplete, type="file")]


def complete_own_style(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from rtstyle.gallery import catalog

    return [CompletionItem(style.name) for style in catalog.own_styles() if style.name.startswith(incomplete)]


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = [CompletionItem(name) for name in ("live", "studio") if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def complete_device(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in DEVICES if name.startswith(incomplete)]


def complete_torch_device(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in TORCH_DEVICES if name.startswith(incomplete)]


# -- options


style_option = option(
    "--style",
    "-s",
    metavar="NAME",
    shell_complete=complete_style,
    help="A style, a mix such as starry-night:0.7,great-wave:0.3, a picture, or an .onnx file.",
)
model_option = option(
    "--model",
    default="live",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_model,
    help="live, studio, or an .onnx file.",
)
device_option = option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_device,
    help="auto, cpu, cuda, cuda:1, tensorrt, openvino, openvino:gpu, webgpu, coreml or directml.",
)
torch_device_option = option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_torch_device,
    help="auto, cpu, cuda or cuda:1.",
)
steady_option = option(
    "--steady/--no-steady", default=True, show_default=True, help="Keep the painting from flickering."
)
json_option = option("--json", "as_json", is_flag=True, help="Print the result as JSON, for programs.")


@dataclasses.dataclass(frozen=True)
class Painting:
    """How to paint: the options that mean the same wherever a picture is painted."""

    style: str | None
    model: str
    strength: float
    keep_color: bool
    work_height: int | Literal["auto", "full"]
    stroke_size: float
    device: str

    def stylizer(self, *, polish: float | None = None, quiet: bool = False) -> Stylizer:
        """With `polish`, the code of a style that is a picture is learned for so many seconds first."""
        from rtstyle.paint.look import check_strength
        from rtstyle.paint.stylizer import Stylizer

        check_strength(self.strength)
        stylizer = Stylizer(
            self.style,
            model=self.model,
            device=self.device,
            work_height=self.work_height,
            stroke_size=self.stroke_size,
        )
        if polish:
            from rtstyle.gallery import encoder
            from rtstyle.gallery.polish import WITH_VGG_SECONDS, polished

            if not math.isfinite(polish):
                raise UsageError("--polish takes a number of seconds")
            source = None
            if polish >= WITH_VGG_SECONDS and can_train() and encoder.is_one_picture(self.style):
                from rtstyle.export.polish import source_for

                source = source_for(stylizer.path)
            with progress_bar("polishing", unit="seconds", quiet=quiet) as update:
                stylizer.code = polished(
                    self.style,
                    stylizer.path,
                    polish,
                    source=source,
                    progress=lambda done, total: update(int(done), int(total)),
                )
        return stylizer

    def stylizer_for_files(self, *, polish: float | None, quiet: bool) -> Stylizer:
        """For videos and folders, which take their time anyway: a picture as the style is polished a little, to the
        same code every time, unless `polish` says otherwise."""
        from rtstyle.gallery import encoder
        from rtstyle.gallery.polish import polished

        stylizer = self.stylizer(polish=polish, quiet=quiet)
        if polish is None and encoder.is_one_picture(self.style):
            stylizer.code = polished(self.style, stylizer.path)
        return stylizer

    @property
    def look(self) -> dict[str, Any]:
        """What `stylize_image` and `stylize_video` take of it besides the stylizer."""
        return {"strength": self.strength, "keep_color": self.keep_color}

    def painter(self, *, steady: bool = False) -> Painter:
        from rtstyle.paint.painter import Painter

        return Painter(self.stylizer(), steady=steady, **self.look)


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, shown in this order."""

    def decorate(command: F) -> F:
        for add in reversed(options):
            command = add(command)
        return command

    return decorate


def gathered(name: str, make: Callable[..., Any], fields: Iterable[str] = ()) -> Callable[[F], F]:
    """The command receives some of its options together: as `name`, make(**fields), by default those of a dataclass."""
    fields = tuple(fields) or tuple(field.name for field in dataclasses.fields(make))  # type: ignore[arg-type]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def gathering(*arguments: Any, **given: Any) -> Any:
            together = make(**{field: given.pop(field) for field in fields})
            return command(*arguments, **{name: together}, **given)

        return gathering  # type: ignore[return-value]

    return decorate


painting_options = with_options(
    style_option,
    model_option,
    option("--strength", type=float, default=1.0, show_default=True, help="0 is the photograph, 1 the painting."),
    option("--keep-color", is_flag=True, help="Keep the colours of the photograph."),
    option(
        "--work-height",
        type=read_work_height,
        default="auto",
        show_default=True,
        metavar="PX",
        help="Height at which the net runs: less is faster, with larger strokes; full is the frame's own, auto the "
        "one that the strokes were trained for.",
    ),
    option(
        "--stroke-size",
        type=read_stroke_size,
        default="medium",
        show_default=True,
        metavar="SIZE",
        help="For --work-height auto: small, medium, large, or a factor.",
    ),
    device_option,
    gathered("painting", Painting),
)

polish_option = option(
    "--polish",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Where the style is a picture: learn it first, for so long at most. Videos and folders do so without being "
    "asked, unless this is 0.",
)


def progress_option(what: str) -> Callable[[F], F]:
    kinds = click.Choice(["bar", "json"])
    return option("--progress", "progress_kind", type=kinds, default="bar", help=f"json: one object a {what}.")


output_options = with_options(
    option("--force", is_flag=True, help="Replace existing results."),
    option("--quiet", "-q", is_flag=True, help="No progress, no messages."),
)


vgg_options = with_options(
    option(
        "--vgg",
        type=click.Path(),
        metavar="FILE",
        help="VGG weights (.safetensors, .pth) [default: RTSTYLE_VGG16 or RTSTYLE_VGG19, else torchvision's].",
    ),
    option(
        "--vgg-convention",
        type=click.Choice(["torchvision", "oxford"]),
        help="Only for weight files that do not say.",
    ),
)


def photos_option(old: Sequence[str] = ()) -> Callable[[F], F]:
    text = "Folder of photographs to learn from [default: a few that come with rtstyle]."
    return option("--photos", old=old, type=click.Path(), metavar="DIR", help=text)


# -- what several commands do


def say_device(stylizer: FramePainter) -> None:
    """What is painted where, and why there; said once work begins, so that an error before it stands alone."""
    say(f"painting {stylizer.style} on {stylizer.device.name} ({stylizer.device.why})")


def can_train() -> bool:
    """Whether the training packages are installed."""
    import importlib.util

    return all(importlib.util.find_spec(name) for name in TRAINING_PACKAGES)


def check_sheet(sheet: str, *, force: bool, inputs: Sequence[str] = ()) -> None:
    """Raises RtstyleError if a contact sheet may not be written to this file, or it is not named as the PNG that it
    is."""
    from rtstyle.files import check_output

    check_output(sheet, force=force, inputs=inputs)
    if Path(sheet).suffix.lower() != ".png":
        raise UsageError(f"the sheet is a PNG: name it .png, not {Path(sheet).name}")


def needs_training(command: str, *more: str) -> None:
    """Say in one sentence that the training packages are missing."""
    import importlib.util

    needed = (*TRAINING_PACKAGES, *more)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise RtstyleError(f"rtstyle {command} needs {', '.join(missing)}: {install('train')}")
