"""Painting files: video and image."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import click
from click.core import ParameterSource

from rtstyle.cli.options import (
    needs_training,
    open_stylizer,
    output_options,
    painting_options,
    progress_option,
    read_changes,
    read_time,
    say_device,
    steady_option,
)
from rtstyle.cli.progress import progress_bar, say
from rtstyle.errors import Interrupted, RtstyleError, UsageError


@click.command()
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


@click.command()
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


def open_gatys(picture, size, steps, device):
    """A stylizer that optimises every frame."""
    needs_training("video --gatys")
    from rtstyle.gatys.optimize import Settings
    from rtstyle.gatys.video import GatysStylizer

    return GatysStylizer(picture, Settings(size=size or 512, steps=steps or 200, device=device))


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
