"""The command line: one function per command, no logic. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import click

from rtstyle.errors import RtstyleError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def say(text: str) -> None:
    """A message for people: standard error, so that results can be piped."""
    click.echo(text, err=True)


def main() -> None:
    """Entry point: errors are one sentence on standard error; 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        say("rtstyle: interrupted")
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except RtstyleError as error:
        say(f"rtstyle: {error}")
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if os.environ.get("RTSTYLE_DEBUG"):
            raise
        say(f"rtstyle: {type(error).__name__}: {error} (a bug: RTSTYLE_DEBUG=1 shows where; please report it)")
        code = 1
    sys.exit(code or 0)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="rtstyle")
def cli() -> None:
    """Paint a webcam or a video in the style of a picture, in real time."""


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


def output_options(command):
    command = click.option("--quiet", "-q", is_flag=True, help="No progress, no messages.")(command)
    return click.option("--force", is_flag=True, help="Replace an existing OUT.")(command)


def open_stylizer(style, model, strength, device, work_height):
    """A Stylizer for the common options."""
    from rtstyle.look import check_strength
    from rtstyle.stylizer import Stylizer

    check_strength(strength)
    return Stylizer(style, model=model, device=device, work_height=work_height)


def say_device(stylizer) -> None:
    """What is painted where, and why there; said once work begins, so that an error before it stands alone."""
    say(f"painting {stylizer.style} on {stylizer.device.name} ({stylizer.device.why})")


@contextmanager
def progress_bar(what: str, *, unit: str, quiet: bool = False):
    """A progress bar on standard error; yields update(done, total=None, note="")."""
    if quiet:
        yield lambda done, total=None, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[note]}"),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(what, total=None, note="")

    def update(done, total=None, note=""):
        bar.start()  # only now: an error before the first step should stand alone
        bar.update(task, completed=done, note=note, **({} if total is None else {"total": total}))

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


def paint_video(source, out, stylizer, strength, keep_color, force, quiet) -> None:
    """Paint one video with a progress bar and say what came of it."""
    from rtstyle.video import stylize_video

    def tell(p):
        if p.done == 1 and not quiet:
            say_device(stylizer)
        update(p.done, p.total, f"{p.done / max(p.seconds, 1e-6):.1f} fps")

    with progress_bar(Path(source).name, unit="frames", quiet=quiet) as update:
        result = stylize_video(
            source,
            out,
            stylizer,
            strength=strength,
            keep_color=keep_color,
            force=force,
            progress=tell,
        )
    if result.damaged:
        say(f"warning: {result.damaged} frames of {source} are damaged: they were left out or patched up")
    if not quiet:
        for note in result.notes:
            say(f"note: {note}")
        say(f"{out}: {result.frames} frames in {result.seconds:.1f} s ({result.frames / result.seconds:.1f} fps)")


@cli.command()
@click.option(
    "--out",
    "-o",
    metavar="FILE",
    default="rtstyle-demo.mp4",
    show_default=True,
    help="Result, where there is no camera.",
)
@painting_options
@output_options
def demo(out, style, model, strength, keep_color, work_height, device, force, quiet) -> None:
    """Paint the camera if there is one, else a bundled clip."""
    import importlib.resources

    from rtstyle.live import has_display
    from rtstyle.media.camera import has_camera, open_camera

    stylizer = open_stylizer(style, model, strength, device, work_height)
    if has_camera() and has_display():
        try:
            capture = open_camera()
        except RtstyleError as error:
            say(f"{error} Painting the bundled clip instead.")
        else:
            show_camera(capture, stylizer)
            return
    clip = importlib.resources.files("rtstyle.pretrained") / "sample.mp4"
    with importlib.resources.as_file(clip) as path:
        paint_video(path, out, stylizer, strength, keep_color, force, quiet)
    click.echo(f"No camera here, so a bundled clip was painted: open {Path(out).resolve()}")


def show_camera(capture, stylizer) -> None:
    from rtstyle import live
    from rtstyle.media.camera import Window

    say("keys: 1-9 or n / p change the style, q quits")
    say_device(stylizer)
    window = Window()
    try:
        told = live.run(capture, window.show, stylizer)
    finally:
        window.close()
    say(f"{told['painted']} frames painted in {told['seconds']:.0f} s")


@cli.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@painting_options
@output_options
def video(source, out, style, model, strength, keep_color, work_height, device, force, quiet) -> None:
    """Paint a video file: same frames, size and time stamps, sound copied."""
    stylizer = open_stylizer(style, model, strength, device, work_height)
    paint_video(source, out, stylizer, strength, keep_color, force, quiet)


@cli.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@painting_options
@output_options
def image(source, out, style, model, strength, keep_color, work_height, device, force, quiet) -> None:
    """Paint a picture file, or every picture of a folder."""
    from rtstyle.image import stylize_folder, stylize_image

    stylizer = open_stylizer(style, model, strength, device, work_height)
    look = {"strength": strength, "keep_color": keep_color, "force": force}
    if not Path(source).is_dir():
        stylize_image(source, out, stylizer, **look)
        if not quiet:
            say_device(stylizer)
        return
    with progress_bar(source, unit="pictures", quiet=quiet) as update:
        done, skipped = stylize_folder(source, out, stylizer, progress=update, **look)
    for sentence in skipped:
        say(f"skipped: {sentence}")
    if not quiet:
        say_device(stylizer)
        say(f"{out}: {done} pictures painted, {len(skipped)} skipped")


@cli.command()
@click.option("--model", default="live", show_default=True, metavar="NAME", help="live, studio, or an .onnx file.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def styles(model, as_json) -> None:
    """List the styles."""
    from rtstyle.catalog import styles as list_styles

    found = list_styles(model)
    if as_json:
        click.echo(json.dumps([style.card() for style in found], indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("style", "picture", "artist", "year", "licence", box=None)
    for style in found:
        table.add_row(style.name, style.title, style.artist, style.year, style.licence)
    Console().print(table)


def needs_training(command: str) -> None:
    """Say in one sentence that the training packages are missing."""
    import importlib.util

    missing = [
        name for name in ("torch", "onnx", "safetensors", "matplotlib") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise RtstyleError(f"rtstyle {command} needs {', '.join(missing)}: pip install 'rtstyle[train]'")


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


@cli.command()
@click.option("--recipe", type=click.Path(), required=True, help="TOML file: body, styles, losses, schedule.")
@click.option("--content", type=click.Path(), required=True, help="Folder of photographs.")
@click.option("--pictures", type=click.Path(), help="Folder of the style pictures [default: the recipe's].")
@click.option("-o", "--out", type=click.Path(), required=True, help="The model to write (.onnx).")
@click.option("--run-dir", type=click.Path(), help="Checkpoints, curves and previews [default: beside OUT].")
@click.option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@click.option("--init", type=click.Path(), help="Start from the weights of an exported model.")
@click.option("--steps", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@with_vgg
@output_options
def train(
    recipe, content, pictures, out, run_dir, resume, init, steps, device, precision, vgg, vgg_convention, force, quiet
) -> None:
    """Train a body with its gallery of styles."""
    needs_training("train")
    from rtstyle.export.run import train_model

    with progress_bar("training", unit="steps", quiet=quiet) as update:
        train_model(
            recipe,
            content,
            pictures or Path(recipe).parent,
            out,
            run_dir=run_dir,
            resume=resume,
            init=init,
            steps=steps,
            device=device,
            precision=precision,
            vgg=vgg,
            vgg_convention=vgg_convention,
            force=force,
            callback=lambda p: update(
                p.step, p.steps, " ".join(f"{k} {p.losses[k]:.3f}" for k in ("total", "content", "style"))
            ),
            say=(lambda text: None) if quiet else say,
        )
    click.echo(out)


@cli.command()
@click.argument("checkpoint")
@click.argument("out", metavar="OUT.onnx")
@click.option("--style", help="Write a one-style model, without the code input.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
def export(checkpoint, out, style, force) -> None:
    """Write a training checkpoint as an ONNX model, checked against torch."""
    needs_training("export")
    from rtstyle.export.to_onnx import export_checkpoint
    from rtstyle.files import check_output

    check_output(out, force=force, inputs=[checkpoint])
    export_checkpoint(checkpoint, out, style=style)
    click.echo(out)


@cli.command()
@click.argument("model", default="live")
@click.option("--photos", type=click.Path(), required=True, help="Folder of photographs that training never saw.")
@click.option("--pictures", type=click.Path(), required=True, help="Folder of the artworks.")
@click.option("--recipe", type=click.Path(), help="Which artwork belongs to which style [default: the bundled recipe].")
@click.option("--limit", type=int, help="So many photographs, evenly chosen.")
@click.option("--size", type=int, default=256, show_default=True, help="Short side of the photographs in pixels.")
@click.option("--style-size", type=int, help="Short side of the artworks [default: as trained].")
@click.option("--sheet", type=click.Path(), help="Also draw a contact sheet (PNG).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@with_vgg
@output_options
def evaluate(
    model, photos, pictures, recipe, limit, size, style_size, sheet, as_json, vgg, vgg_convention, force, quiet
) -> None:
    """Measure a model: style, content, survival of the photograph, similarity, speed."""
    needs_training("evaluate")
    from rtstyle.export.evaluate import evaluate_model
    from rtstyle.files import check_output

    if sheet:
        check_output(sheet, force=force)
    with progress_bar("evaluating", unit="steps", quiet=quiet) as update:
        found = evaluate_model(
            model,
            photos,
            pictures,
            recipe=recipe,
            vgg=vgg,
            vgg_convention=vgg_convention,
            limit=limit,
            size=size,
            style_size=style_size,
            progress=lambda what, done, total: update(done, total, what),
        )
    if sheet:
        found.save_sheet(sheet)
    if as_json:
        found.save_json()
    else:
        from rich.console import Console

        Console().print(found.table())


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def doctor(as_json) -> None:
    """Say what this machine can do and what is wrong with it."""
    from rtstyle.doctor import examine, print_report

    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        print_report(report)
    if report["problems"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
