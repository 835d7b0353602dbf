"""The command line: one function per command, no logic. Heavy imports happen inside the commands."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import click
from click.core import ParameterSource

from rtstyle.errors import INSTALL_TRAINING, Interrupted, RtstyleError, UsageError
from rtstyle.signals import ended_by_signals

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


steady_option = click.option(
    "--steady/--no-steady", default=True, show_default=True, help="Keep the painting from flickering."
)


def progress_option(what: str):
    kinds = click.Choice(["bar", "json"])
    return click.option("--progress", "progress_kind", type=kinds, default="bar", help=f"json: one object a {what}.")


def output_options(command):
    command = click.option("--quiet", "-q", is_flag=True, help="No progress, no messages.")(command)
    return click.option("--force", is_flag=True, help="Replace an existing OUT.")(command)


def open_stylizer(style, model, strength, device, work_height):
    """A Stylizer for the common options."""
    from rtstyle.paint.look import check_strength
    from rtstyle.paint.stylizer import Stylizer

    check_strength(strength)
    return Stylizer(style, model=model, device=device, work_height=work_height)


def open_gatys(picture, size, steps, device):
    """A stylizer that optimises every frame."""
    needs_training("video --gatys")
    from rtstyle.gatys.optimize import Settings
    from rtstyle.gatys.video import GatysStylizer

    return GatysStylizer(picture, Settings(size=size or 512, steps=steps or 200, device=device))


def say_device(stylizer) -> None:
    """What is painted where, and why there; said once work begins, so that an error before it stands alone."""
    say(f"painting {stylizer.style} on {stylizer.device.name} ({stylizer.device.why})")


LINE_SECONDS = 30.0  # between lines of progress where there is no terminal


def progress_lines(what: str, unit: str, clock: Callable[[], float] = time.monotonic) -> Callable[..., None]:
    """Progress for a log: update(done, total=None, note="") says a line every LINE_SECONDS, and one for the last."""
    started = clock()
    last, ended = started, False

    def update(done: int, total: int | None = None, note: str = "") -> None:
        nonlocal last, ended
        now = clock()
        if (now - last < LINE_SECONDS and done != total) or (ended and done == total):
            return
        last, ended = now, done == total
        left = f", {(now - started) * (total - done) / done:.0f} s left" if total and 0 < done < total else ""
        say(f"{what}: {done}{f'/{total}' if total else ''} {unit}{f', {note}' if note else ''}{left}")

    return update


@contextmanager
def progress_bar(what: str, *, unit: str, quiet: bool = False):
    """A progress bar on standard error, or lines in a log; yields update(done, total=None, note="")."""
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
    console = Console(stderr=True)
    if not console.is_terminal:
        yield progress_lines(what, unit)
        return
    bar = Progress(*columns, console=console)
    task = bar.add_task(what, total=None, note="")

    def update(done, total=None, note=""):
        bar.start()  # only now: an error before the first step should stand alone
        bar.update(task, completed=done, note=note, **({} if total is None else {"total": total}))

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


def paint_video(source, out, stylizer, *, force, quiet, as_json=False, **options) -> None:
    """Paint one video with a progress bar and say what came of it."""
    from rtstyle.video.convert import stylize_video

    started = []

    def tell(p):
        if not started and not quiet:
            say_device(stylizer)
        started.append(p) if not started else None
        if as_json:
            say(json.dumps(dataclasses.asdict(p)))
            return
        rate = p.done / max(p.seconds, 1e-6)
        speed = f"{rate:.1f} fps" if rate > 0.5 else f"{1 / rate:.0f} s a frame"
        update(p.done, p.total, f"{speed} {p.bytes / 1e6:.1f} MB{loads(p)}")

    def loads(p):
        if shutil.get_terminal_size().columns < 120:
            return ""
        return "".join(f" {name} {share:.0%}" for name, share in p.loads.items())

    with progress_bar(Path(source).name, unit="frames", quiet=quiet or as_json) as update:
        result = stylize_video(source, out, stylizer, force=force, progress=tell, **options)
    if result.damaged:
        say(f"warning: {result.damaged} frames of {source} are damaged: they were left out or patched up")
    if quiet:
        return
    for note in result.notes:
        say(f"note: {note}")
    new = result.frames - result.resumed
    resumed = f", {result.resumed} of them from the interrupted run" if result.resumed else ""
    say(f"{out}: {result.frames} frames{resumed} in {result.seconds:.1f} s ({new / result.seconds:.1f} fps)")


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

    from rtstyle.media.camera import Capture, has_camera, open_camera
    from rtstyle.media.window import has_display

    stylizer = open_stylizer(style, model, strength, device, work_height)
    if has_camera() and has_display():
        try:
            capture = Capture(open_camera)
        except RtstyleError as error:
            say(f"{error} Painting the bundled clip instead.")
        else:
            with closing(capture):
                paint_live(capture, stylizer, strength, keep_color, quiet=quiet)
            return
    clip = importlib.resources.files("rtstyle.pretrained") / "sample.mp4"
    with importlib.resources.as_file(clip) as path:
        paint_video(path, out, stylizer, strength=strength, keep_color=keep_color, force=force, quiet=quiet)
    click.echo(f"No camera here, so a bundled clip was painted: open {Path(out).resolve()}")


def paint_live(
    capture,
    stylizer,
    strength,
    keep_color,
    *,
    steady=False,
    settings=None,
    headless=False,
    full_screen=False,
    target_fps=30.0,
    record=None,
    virtual_camera=None,
    stills=None,
    out_dir=".",
    seconds=None,
    frames=None,
    quiet=False,
):
    """Run the live loop with its window; returns its Summary."""
    from rtstyle.live.loop import Live
    from rtstyle.media.window import Window
    from rtstyle.paint.painter import Painter

    window = None
    try:
        painter = Painter(stylizer, strength=strength, keep_color=keep_color, steady=steady)
        window = None if headless else Window()
        if full_screen and window:
            window.toggle_full_screen()
        if not quiet:
            say_device(stylizer)
            say("keys: 1-9, n and p change the style, h shows all keys, q quits" if window else "Ctrl-C ends it")
        live = Live(
            capture,
            painter,
            window=window,
            target_fps=target_fps,
            record=record,
            virtual_camera=virtual_camera,
            stills=stills,
            settings=settings,
            folder=Path(out_dir),
        )
        with ended_by_signals():
            summary = live.run(seconds=seconds, frames=frames)
    finally:
        if window:
            window.close()
    if not quiet:
        rate = summary.painted / max(summary.seconds, 1e-6)
        say(f"{summary.painted} frames painted in {summary.seconds:.1f} s ({rate:.1f} fps), {summary.dropped} dropped")
        for path in summary.files:
            say(f"saved {path}")
    return summary


def read_size(context, parameter, value):
    """A size such as 1280x720."""
    if value is None:
        return None
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()) or min(int(width), int(height)) < 16:
        raise click.BadParameter(f"{value!r} is not a size such as 1280x720")
    return int(width), int(height)


@cli.command()
@click.option(
    "--source",
    default="0",
    show_default=True,
    metavar="WHAT",
    help="A camera's number or device, an rtsp:// or http:// stream, a video file, a picture or a folder of them.",
)
@click.option("--list-cameras", is_flag=True, help="List the cameras and quit.")
@click.option("--size", metavar="WxH", callback=read_size, help="Size to ask the camera for.")
@click.option("--fps", type=click.FloatRange(1, 1000), help="Frame rate to ask the camera for.")
@click.option("--loop", is_flag=True, help="Play a file or folder again and again.")
@painting_options
@click.option(
    "--steady/--no-steady", default=False, show_default=True, help="Keep the painting from flickering (the key t)."
)
@click.option(
    "--target-fps",
    type=click.FloatRange(1, 1000),
    default=30.0,
    show_default=True,
    help="Hold this rate by choosing the working height; --work-height fixes it instead.",
)
@click.option("--mirror", is_flag=True, help="Mirror the picture.")
@click.option("--full-screen", is_flag=True, help="Fill the screen.")
@click.option("--cycle", is_flag=True, help="Let the styles take turns.")
@click.option("--record", type=click.Path(), metavar="FILE", help="Record to FILE (.mp4, .mov, .mkv).")
@click.option("--virtual-cam", is_flag=True, help="Show the picture as a camera to meeting programs.")
@click.option("--virtual-cam-device", metavar="NAME", help="Which virtual camera, such as /dev/video2.")
@click.option("--headless", is_flag=True, help="No window.")
@click.option("--duration", type=click.FloatRange(0, min_open=True), metavar="S", help="Stop after so many seconds.")
@click.option("--max-frames", type=click.IntRange(1), metavar="N", help="Stop after so many painted frames.")
@click.option(
    "--out-dir",
    type=click.Path(file_okay=False, exists=True),
    default=".",
    help="Where the keys s, r and g save to [default: the current folder].",
)
@click.option(
    "--gatys-style", type=click.Path(), metavar="PICTURE", help="For the key g: a picture, or a folder of them."
)
@click.option("--gatys-size", type=click.IntRange(32), metavar="PX", help="Long side of such stills [default: 512].")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
@output_options
def cam(
    source,
    list_cameras,
    size,
    fps,
    loop,
    style,
    model,
    strength,
    keep_color,
    work_height,
    device,
    steady,
    target_fps,
    mirror,
    full_screen,
    cycle,
    record,
    virtual_cam,
    virtual_cam_device,
    headless,
    duration,
    max_frames,
    out_dir,
    gatys_style,
    gatys_size,
    as_json,
    force,
    quiet,
) -> None:
    """Paint a camera, a stream or a file live, in a window with hotkeys."""
    from rtstyle.live.gatys_still import SIZE, Stills
    from rtstyle.live.loop import Settings
    from rtstyle.media import camera
    from rtstyle.media.outputs import Recorder, VirtualCamera
    from rtstyle.media.window import has_display

    if list_cameras:
        found = camera.list_cameras()
        for number, name in found:
            click.echo(f"{number}\t{name}")
        if not found:
            say("no cameras found")
        return
    if not headless and not has_display():
        raise RtstyleError("there is no display for a window: add --headless, with --record FILE or --virtual-cam")
    if record:
        from rtstyle.files import check_output

        check_output(record, force=force, inputs=[source])
    stills = Stills(gatys_style, size=gatys_size or SIZE)
    stylizer = open_stylizer(style, model, strength, device, work_height)
    with ExitStack() as stack:
        virtual = recorder = None
        if virtual_cam:
            virtual = VirtualCamera(target_fps, virtual_cam_device)
            stack.callback(virtual.finish)
        capture = camera.Capture(lambda: camera.open_source(source, size=size, fps=fps, loop=loop))
        stack.callback(capture.close)
        if record:
            recorder = Recorder(record)
            stack.callback(recorder.close)
        summary = paint_live(
            capture,
            stylizer,
            strength,
            keep_color,
            steady=steady,
            settings=Settings(mirror=mirror, cycle=cycle),
            headless=headless,
            full_screen=full_screen,
            target_fps=target_fps,
            record=recorder,
            virtual_camera=virtual,
            stills=stills,
            out_dir=out_dir,
            seconds=duration,
            frames=max_frames,
            quiet=quiet,
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))


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


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="IN OUT")
@click.option(
    "--out-dir",
    type=click.Path(),
    metavar="DIR",
    help="Paint all IN (files, or folders of videos) into this folder, under the same names.",
)
@painting_options
@steady_option
@click.option("--style-at", multiple=True, callback=read_changes, metavar="TIME=STYLE", help="Change the style there.")
@click.option("--start", callback=read_time, metavar="TIME", help="Begin there: seconds, or 1:30.")
@click.option("--duration", callback=read_time, metavar="TIME", help="End after so long.")
@click.option(
    "--codec",
    metavar="NAME",
    help="h264, hevc, av1, vp9, prores, ffv1, auto (a hardware encoder if one works), or one such as h264_nvenc "
    "[default: by OUT and the source's depth].",
)
@click.option("--crf", type=int, help="Constant quality, in the codec's own numbers: lower is better and larger.")
@click.option("--quality", type=int, metavar="1-100", help="Instead of --crf: the same for every codec, 100 is best.")
@click.option("--preset", help="Speed of the encoder, in its own words.")
@click.option("--container", metavar="KIND", help="mp4, mov, mkv, webm or gif [default: OUT's ending].")
@click.option("--audio-codec", default="copy", show_default=True, help="copy, or aac, opus, flac, ...")
@click.option("--fps", type=click.FloatRange(0.1, 1000), help="Frame rate of a folder of pictures [default: 25].")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--gatys", metavar="PICTURE", help="Optimise every frame in the style of PICTURE: minutes each on CPUs.")
@click.option("--gatys-size", type=click.IntRange(32), metavar="PX", help="Long side of such frames [default: 512].")
@click.option("--gatys-steps", type=click.IntRange(1), metavar="N", help="For the first of a scene [default: 200].")
@progress_option("frame")
@output_options
def video(
    *,
    gatys,
    gatys_size,
    gatys_steps,
    paths,
    out_dir,
    style,
    model,
    strength,
    keep_color,
    work_height,
    device,
    steady,
    style_at,
    start,
    duration,
    codec,
    crf,
    quality,
    preset,
    container,
    audio_codec,
    fps,
    resume,
    progress_kind,
    force,
    quiet,
) -> None:
    """Paint a video: same frames, size and time stamps; sound and all other streams copied.

    IN may be a folder of numbered pictures, OUT a folder for them (with a slash at its end); - is standard input or
    output.
    """
    from rtstyle.media.encoding import Encoding
    from rtstyle.media.remuxer import TimeRange
    from rtstyle.video.inputs import pair_up

    pairs = pair_up(paths, out_dir, container)
    if gatys:
        if len(pairs) > 1:
            raise UsageError("--gatys paints one video at a time")
        source = click.get_current_context().get_parameter_source
        other = ("style", "model", "style_at", "work_height", "steady", "resume")
        if given := [f"--{name.replace('_', '-')}" for name in other if source(name) is ParameterSource.COMMANDLINE]:
            raise UsageError(f"--gatys paints after its picture, every frame, from the start: leave {given[0]} out")
        stylizer, steady = open_gatys(gatys, gatys_size, gatys_steps, device), False
    else:
        if gatys_size or gatys_steps:
            raise UsageError("--gatys-size and --gatys-steps are for --gatys PICTURE")
        stylizer = open_stylizer(style, model, strength, device, work_height)
    begin = start or 0.0
    options = {
        "strength": strength,
        "keep_color": keep_color,
        "steady": steady,
        "style_at": style_at,
        "encoding": Encoding(codec, crf, preset, container, audio_codec, quality),
        "time_range": TimeRange(start, None if duration is None else begin + duration),
        "fps": fps,
        "resume": resume,
        "force": force,
        "quiet": quiet,
        "as_json": progress_kind == "json",
    }
    failed = 0
    for source, out in pairs:
        try:
            paint_video(source, out, stylizer, **options)
        except RtstyleError as error:
            if len(pairs) == 1 or error.exit_code == Interrupted.exit_code:
                raise
            failed += 1
            say(f"{source}: {error}")
    if failed:
        raise RtstyleError(f"{failed} of {len(pairs)} videos could not be painted")


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


@cli.group(invoke_without_command=True)
@click.option("--model", default="live", show_default=True, metavar="NAME", help="live, studio, or an .onnx file.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--sheet", type=click.Path(), help="Draw them all on a photograph, as a PNG.")
@click.option("--photo", type=click.Path(), help="The photograph for --sheet [default: one that comes with rtstyle].")
@click.option("--force", is_flag=True, help="Replace an existing sheet.")
@click.pass_context
def styles(context, model, as_json, sheet, photo, force) -> None:
    """List the styles; draw them; add your own and remove them."""
    if context.invoked_subcommand:
        return
    from rtstyle.gallery.catalog import load, mixable
    from rtstyle.gallery.catalog import styles as list_styles

    if sheet:
        from rtstyle.files import check_output
        from rtstyle.media.contact_sheet import style_sheet
        from rtstyle.paint.stylizer import Stylizer

        check_output(sheet, force=force, inputs=[photo] if photo else [])
        if Path(sheet).suffix.lower() != ".png":
            raise UsageError(f"the sheet is a PNG: name it .png, not {Path(sheet).name}")
        style_sheet(Stylizer(model=model), mixable(load(model)), sheet, photo)
        click.echo(sheet)
        return
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


@styles.command("add")
@click.argument("file", metavar="FILE.onnx")
def add_style(file) -> None:
    """Copy a style file into your folder: its styles are then found by name."""
    from rtstyle.gallery.catalog import add, load

    same = load("live").body_sha256
    for style in add(file):
        mixes = load(file).body_sha256 == same and load(file).takes_code
        click.echo(f"{style.name}: {'mixes with the shipped styles' if mixes else 'stands alone, mixes with none'}")


@styles.command("remove")
@click.argument("name")
def remove_style(name) -> None:
    """Delete one of your own styles."""
    from rtstyle.gallery.catalog import remove

    click.echo(f"deleted {remove(name)}")


def needs_training(command: str, *more: str) -> None:
    """Say in one sentence that the training packages are missing."""
    import importlib.util

    missing = [
        name for name in ("torch", "onnx", "safetensors", "matplotlib", *more) if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise RtstyleError(f"rtstyle {command} needs {', '.join(missing)}: {INSTALL_TRAINING}")


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
@click.argument("picture", required=False)
@click.option("--recipe", type=click.Path(), help="Instead of PICTURE, a TOML file: body, styles, losses, schedule.")
@click.option("--content", type=click.Path(), help="Folder of photographs [default: a few that come with rtstyle].")
@click.option("--pictures", type=click.Path(), help="Folder of the recipe's style pictures [default: the recipe's].")
@click.option("-o", "--out", type=click.Path(), required=True, help="The model to write (.onnx).")
@click.option("--model", default="live", show_default=True, help="The model whose body learns PICTURE.")
@click.option("--full", is_flag=True, help="Train the body too: nearer to PICTURE, slower, mixes with no other style.")
@click.option(
    "--style-weight", type=float, help="How far the painting may go from the photograph: 4 to 16  [default: balanced]."
)
@click.option("--name", help="What the style is called [default: OUT's name].")
@click.option("--title", help="Of the picture, for the model's card.")
@click.option("--artist", help="The same.")
@click.option("--year", help="The same.")
@click.option("--licence", help="The same.")
@click.option("--run-dir", type=click.Path(), help="Checkpoints, curves and previews [default: beside OUT].")
@click.option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@click.option("--init", type=click.Path(), help="With --recipe: start from the weights of an exported model.")
@click.option("--steps", type=click.IntRange(1), help="Instead of the usual number.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@with_vgg
@output_options
def train(
    picture,
    recipe,
    content,
    pictures,
    out,
    model,
    full,
    style_weight,
    name,
    title,
    artist,
    year,
    licence,
    init,
    quiet,
    **options,
) -> None:
    """Learn a new style from PICTURE in minutes, or a whole gallery by a recipe."""
    if (picture is None) == (recipe is None):
        raise UsageError("give the picture to learn, or a --recipe for a whole gallery (not both)")
    card = {"name": name, "title": title, "artist": artist, "year": year, "licence": licence}
    only_picture = {"--full": full, "--style-weight": style_weight} | {f"--{key}": card[key] for key in card}
    only_recipe = {"--pictures": pictures, "--init": init}
    for option, given in (only_picture if recipe else only_recipe).items():
        if given:
            raise UsageError(f"{option} goes with {'a picture' if recipe else '--recipe'}")
    needs_training("train")
    from rtstyle.export.run import teach_style, train_model

    with ended_by_signals(), progress_bar("training", unit="steps", quiet=quiet) as update:
        options |= {
            "callback": lambda p: update(
                p.step, p.steps, " ".join(f"{k} {p.losses[k]:.3f}" for k in ("total", "content", "style"))
            ),
            "say": (lambda text: None) if quiet else say,
        }
        if recipe:
            train_model(recipe, content, pictures or Path(recipe).parent, out, init=init, **options)
        else:
            teaching = {"model": model, "full": full, "style_weight": style_weight, "card": card}
            teach_style(picture, out, content=content, **teaching, **options)
    click.echo(out)


@cli.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT.onnx")
@click.option("--style", "-s", metavar="NAME", help="Write a one-style model, without the code input.")
@click.option("--fp16", is_flag=True, help="Store the weights as float16: half the size, at most 2 grey levels apart.")
@click.option("--name", help="What to call the style of a .pth file [default: after the file].")
@click.option("--title", help="Title of the picture that a .pth file was trained on.")
@click.option("--artist", help="Its artist.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
def export(source, out, style, fp16, name, title, artist, force) -> None:
    """Write an ONNX model, checked against torch.

    IN is a checkpoint of rtstyle train, a model of rtstyle (.onnx), or weights of pytorch/examples' fast_neural_style
    (.pth, .model).
    """
    needs_training("export")
    from rtstyle.export.forms import export_model
    from rtstyle.files import check_output

    check_output(out, force=force, inputs=[source])
    export_model(source, out, style=style, half=fp16, name=name, title=title, artist=artist)
    click.echo(out)


def read_counts(context, parameter, values):
    """`50,100` or the option given several times, to rising numbers."""
    try:
        return sorted({int(count) for value in values for count in value.split(",")})
    except ValueError:
        raise click.BadParameter(f"{', '.join(values)} is not numbers with commas, such as 50,100,300") from None


@cli.command()
@click.argument("model", default="live")
@click.option("--photos", type=click.Path(), required=True, help="Folder of photographs that training never saw.")
@click.option("--pictures", type=click.Path(), required=True, help="Folder of the artworks.")
@click.option("--recipe", type=click.Path(), help="Which artwork belongs to which style [default: the bundled recipe].")
@click.option("--limit", type=int, help="So many photographs, evenly chosen.")
@click.option("--size", type=int, help="Short side of the photographs in pixels [default: as the model is meant for].")
@click.option("--style-size", type=int, help="Short side of the artworks [default: as trained].")
@click.option("--clip", type=click.Path(), help="A video: warping error on its first 40 frames, too.")
@click.option(
    "--yardstick",
    metavar="N[,N...]",
    multiple=True,
    callback=read_counts,
    help="Compare with N iterations of L-BFGS on the picture itself (slow: use a small --limit).",
)
@click.option("--device", default="auto", show_default=True, help="For --yardstick: auto, cpu, cuda, cuda:1.")
@click.option("--sheet", type=click.Path(), help="Also draw a contact sheet (PNG).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@with_vgg
@output_options
def evaluate(
    model,
    photos,
    pictures,
    recipe,
    limit,
    size,
    style_size,
    clip,
    yardstick,
    device,
    sheet,
    as_json,
    vgg,
    vgg_convention,
    force,
    quiet,
) -> None:
    """Measure a model: paint, recognition of the photograph, style, colours, steadiness, artefacts, speed."""
    needs_training("evaluate")
    from rtstyle.export.evaluate.evaluation import evaluate_model
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
            clip=clip,
            iterations=yardstick,
            device=device,
            progress=lambda what, done, total: update(done, total, what),
        )
    if sheet:
        found.save_sheet(sheet)
    if as_json:
        found.save_json()
    else:
        from rich.console import Console

        Console().print(found.table())
        if yardstick:
            Console().print(found.yardstick_table())


@cli.command()
@click.argument("content")
@click.argument("pictures", metavar="STYLE...", nargs=-1, required=True)
@click.argument("out")
@click.option("--preset", metavar="NAME", help="Settings of a source document: ucsd, upes, ntu, icfp or mloa.")
@click.option("--size", type=int, metavar="PX", help="Long side of OUT [default: 512].")
@click.option("--steps", type=int, metavar="N", help="Iterations over all sizes [default: 500].")
@click.option("--pyramid/--no-pyramid", default=None, help="Begin at 256 px, grow by sqrt 2 [default: yes].")
@click.option("--alpha", "content_weight", type=float, help="Weight of the content [default: 1].")
@click.option("--beta", "style_weight", type=float, help="Weight of the style [default: 0.1].")
@click.option("--ratio", type=float, help="alpha / beta, instead of --beta: less gives more style.")
@click.option("--tv-weight", type=float, help="Weight of the total variation, against grain [default: 0].")
@click.option("--content-layers", metavar="L[:W],...", help="[default: relu4_2]; conv4_2 is before rectification.")
@click.option("--style-layers", metavar="L[:W],...", help="[default: relu1_1 to relu5_1, each 1000 / channels^2].")
@click.option("--network", "vgg", type=click.Choice(["vgg19", "vgg16"]), help="[default: vgg19]")
@click.option("--pooling", type=click.Choice(["max", "average"]), help="[default: max]")
@click.option("--optimizer", "optimiser", metavar="NAME", help="lbfgs, adam, rmsprop, adagrad, sgd [default: lbfgs].")
@click.option("--learning-rate", type=float, help="[default: lbfgs 1, adam 0.02, rmsprop 0.01, adagrad 0.1, sgd 0.005]")
@click.option("--line-search/--no-line-search", default=None, help="Of L-BFGS [default: yes].")
@click.option("--start", metavar="WHAT", help="palette, content, noise or a share of it [default: palette].")
@click.option("--style-scale", type=float, help="Size of the style picture to that of OUT [default: 1].")
@click.option(
    "--mask", "masks", multiple=True, metavar="FILE", help="Where a style is painted; one a STYLE, - is none."
)
@click.option("--style-mask", "style_masks", multiple=True, metavar="FILE", help="Which part of a STYLE counts.")
@click.option("--keep-color", is_flag=True, default=None, help="Keep the colours of the photograph.")
@click.option("--match-color", is_flag=True, default=None, help="Give STYLE the photograph's colours first.")
@click.option("--seed", type=int, help="Of the noise [default: 0].")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1 [default: auto].")
@click.option("--max-memory", metavar="3G", help="Work in tiles beyond that [default: 3/4 of the machine's].")
@click.option("--plot", type=click.Path(), help="Draw the loss curves (PNG).")
@click.option("--log", type=click.Path(), help="Write the losses (CSV).")
@click.option("--timelapse", type=click.Path(), help="Film the picture coming into being (MP4).")
@click.option("--every", type=int, metavar="N", help="Also write the picture after every N iterations, beside OUT.")
@click.option("--grid", type=click.Path(), help="Draw content, style and result on one page (PNG).")
@click.option("--vgg", "weights", type=click.Path(), help="VGG weights; else RTSTYLE_VGG19 or RTSTYLE_VGG16.")
@vgg_options[1]
@progress_option("step")
@output_options
def gatys(
    content,
    pictures,
    out,
    preset,
    ratio,
    content_layers,
    style_layers,
    start,
    masks,
    style_masks,
    max_memory,
    plot,
    log,
    timelapse,
    every,
    grid,
    vgg_convention,
    progress_kind,
    force,
    quiet,
    **given,
) -> None:
    """Optimise one picture in the style of others (Gatys et al. 2016): slow, and the best single frame.

    STYLE may be several pictures, each with a weight: a.jpg:0.7 b.jpg:0.3.
    """
    from rtstyle.gatys import settings as gatys_settings

    changes = gatys_settings.changes_from_words(
        preset, content_layers=content_layers, style_layers=style_layers, ratio=ratio, start=start,
        max_memory=max_memory, convention=vgg_convention, **given,
    )  # fmt: skip
    settings = gatys_settings.preset(preset, **changes)
    needs_training("gatys")
    from rtstyle.gatys import files as gatys_files

    columns, as_json = shutil.get_terminal_size().columns, progress_kind == "json"
    with progress_bar("gatys", unit="steps", quiet=quiet or as_json) as update:

        def tell(p) -> None:
            if as_json:
                losses = {"total": p.total, "content": p.content, "style": p.style, "tv": p.tv}
                say(json.dumps({"done": p.step, "total": p.steps, "seconds": p.seconds, "losses": losses}))
            else:
                update(p.step, p.steps, gatys_files.in_short(p, columns))

        gatys_files.paint_file(
            content,
            pictures,
            out,
            settings,
            masks=masks,
            style_masks=style_masks,
            extras=gatys_files.Extras(plot, log, timelapse, grid, every),
            force=force,
            callback=tell,
            say=(lambda text: None) if quiet else say,
        )
    click.echo(out)


@cli.command()
@click.option("--style", "-s", metavar="NAME", help="A style, a mix, or an .onnx file.")
@click.option("--model", default="live", show_default=True, metavar="NAME", help="live, studio, or an .onnx file.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, tensorrt, ...")
@click.option("--threads", type=click.IntRange(1), help="Of the net, on the CPU [default: all cores].")
@click.option("--sizes", metavar="A,B,...", help="Such as 720p or 1280x720 [default: 360p to 2160p].")
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Frames at once, beside one.")
@click.option(
    "--seconds", type=click.FloatRange(0, 600, min_open=True), default=2.0, show_default=True, help="A measurement."
)
@click.option("--scaling", is_flag=True, help="Instead: how time grows with pixels, styles and batch.")
@click.option("--plot", type=click.Path(), metavar="FILE", help="With --scaling: draw it (.png, .svg, .pdf).")
@click.option("--json", "save_to", type=click.Path(), metavar="FILE", help="Save the run as JSON.")
@click.option("--compare", "earlier", type=click.Path(), metavar="FILE", help="Ratios to a run saved earlier.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def bench(sizes, scaling, plot, save_to, earlier, force, quiet, **settings) -> None:
    """Measure how fast a model paints here, alone and with everything around it."""
    from rtstyle.diagnose import bench
    from rtstyle.files import check_output

    if scaling and earlier:
        raise UsageError("--compare is for runs without --scaling")
    if plot and not scaling:
        raise UsageError("--plot goes with --scaling")
    then = bench.load_report(earlier) if earlier else None
    for out in filter(None, (save_to, plot)):
        check_output(out, force=force)
    if plot:
        bench.check_plot()
    chosen = bench.Settings(sizes=bench.parse_sizes(sizes or bench.SIZES), **settings)
    with progress_bar("bench", unit="measurements", quiet=quiet) as update:
        found = (bench.run_scaling if scaling else bench.run)(chosen, update)
    (bench.print_scaling if scaling else bench.print_report)(found)
    if save_to:
        bench.save(found, save_to)
    if plot:
        bench.plot(found, plot)
    for difference in bench.print_comparison(found, then) if then else []:
        say(f"warning: the runs differ in {difference}")
    if found["doubts"]:
        say(f"warning: {found['doubts']}")


@cli.command()
@click.argument("name")
@click.argument("style", required=False)
@click.option("--out", "-o", type=click.Path(), metavar="DIR", help="Folder of the report [default: lab-NAME].")
@click.option("--content", metavar="FILE", help="The photograph [default: one that comes with rtstyle].")
@click.option("--preset", metavar="NAME", help="Settings of a source document: ucsd, upes, ntu, icfp or mloa.")
@click.option("--size", type=int, metavar="PX", help="Long side [default: 256, or the preset's; --quick: 128].")
@click.option("--steps", metavar="N[,N...]", help="Iterations; optimizers and compare take several numbers.")
@click.option("--quick", is_flag=True, help="Small and short: a look in a few minutes.")
@click.option("--ratios", metavar="R[,R...]", help="ratio: alpha / beta, as 100,1,0.01 or 1:1000.")
@click.option("--style-weights", metavar="W[,W...]", help="train-ratio: the sweep of the style's weight.")
@click.option("--content-weights", metavar="W[,W...]", help="train-ratio: the sweep of the content's weight.")
@click.option("--photos", type=click.Path(), help="train-ratio: folder of photographs [default: those of rtstyle].")
@click.option("--optimizers", metavar="O[:RATE],...", help="optimizers: such as adam:0.02,adam:0.1,lbfgs.")
@click.option("--layers", metavar="L[,L...]", help="features, reconstruct: VGG's layers.")
@click.option("--maps", type=int, metavar="N", help="features: so many of each layer [default: 64].")
@click.option("--style", "names", multiple=True, metavar="NAME", help="compare: a style of the net; may be repeated.")
@click.option("--picture", "pictures", multiple=True, metavar="FILE", help="compare: what it was learned from.")
@click.option("--model", metavar="NAME", help="compare: live, studio, or an .onnx file [default: live].")
@click.option("--content-layers", metavar="L[:W],...", help="Instead of the preset's.")
@click.option("--style-layers", metavar="L[:W],...", help="Instead of the preset's.")
@click.option("--network", "vgg", type=click.Choice(["vgg19", "vgg16"]), help="[default: vgg19; train-ratio: vgg16]")
@click.option("--seed", type=int, help="Of noise and trainings [default: 0].")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--vgg", "weights", type=click.Path(), help="VGG weights; else RTSTYLE_VGG19 or RTSTYLE_VGG16.")
@vgg_options[1]
@output_options
def lab(name, out, vgg_convention, force, quiet, **given) -> None:
    """Run an experiment of the source documents and write a report (HTML, CSV, PNG) into a folder.

    NAME is ratio, train-ratio, optimizers, features, reconstruct, compare or augment; STYLE is the style picture (not
    for features and compare).
    """
    from rtstyle.export.lab import plan as experiments

    options = experiments.Options(convention=vgg_convention, **given)
    experiments.make_plan(name, options)
    needs_training("lab", "jinja2")
    with progress_bar(f"lab {name}", unit="steps", quiet=quiet) as update:
        report = experiments.run(name, options, out, force=force, progress=update)
    click.echo(report)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def doctor(as_json) -> None:
    """Say what this machine can do and what is wrong with it."""
    from rtstyle.diagnose.doctor import examine, print_report

    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        print_report(report)
    if report["problems"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
