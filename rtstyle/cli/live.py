"""Painting live: cam and demo."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack, closing
from pathlib import Path

import click

from rtstyle.cli.files import paint_video
from rtstyle.cli.options import open_stylizer, output_options, painting_options, read_size, say_device
from rtstyle.cli.progress import say
from rtstyle.errors import RtstyleError
from rtstyle.signals import ended_by_signals


@click.command()
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


@click.command()
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
