"""Painting live: cam and demo."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtstyle.cli.defaults import Configured, remember
from rtstyle.cli.files import paint_video
from rtstyle.cli.flags import Command
from rtstyle.cli.live_options import (
    Display,
    GatysStills,
    Outputs,
    PictureStyles,
    SourceOptions,
    display_options,
    gatys_still_options,
    output_place_options,
    picture_style_options,
    source_options,
)
from rtstyle.cli.options import (
    Painting,
    json_option,
    option,
    output_options,
    painting_options,
    read_address,
    read_duration,
    say_device,
)
from rtstyle.cli.progress import say
from rtstyle.errors import RtstyleError

if TYPE_CHECKING:
    from rtstyle.live.statistics import Summary
    from rtstyle.media.capture import Capture
    from rtstyle.paint.painter import Painter


@click.command(cls=Command)
@option(
    "--out",
    "-o",
    metavar="FILE",
    default="rtstyle-demo.mp4",
    show_default=True,
    help="Result, where no camera can be shown.",
)
@painting_options
@output_options
def demo(out: str, painting: Painting, force: bool, quiet: bool) -> None:
    """Paint the camera in a window, or a bundled clip where either is missing."""
    import importlib.resources

    from rtstyle.media.camera import has_camera, open_camera
    from rtstyle.media.capture import Capture
    from rtstyle.media.window import has_display

    painter = painting.painter()
    if has_camera() and has_display():
        try:
            capture = Capture(open_camera)
        except RtstyleError as error:
            say(f"{error} Painting the bundled clip instead.")
        else:
            with closing(capture):
                paint_live(capture, painter, quiet=quiet)
            return
    clip = importlib.resources.files("rtstyle.pretrained") / "sample.mp4"
    with importlib.resources.as_file(clip) as path:
        paint_video(path, out, painter.stylizer, force=force, quiet=quiet, **painting.look)
    click.echo(f"A bundled clip was painted, as there is no camera or no window here: open {Path(out).resolve()}")


@click.command(cls=Configured)
@source_options
@painting_options
@option("--steady/--no-steady", default=False, show_default=True, help="Keep the painting from flickering (the key t).")
@option(
    "--target-fps",
    type=click.FloatRange(1, 1000),
    default=30.0,
    show_default=True,
    help="Hold this rate by choosing the working height; --work-height fixes it instead.",
)
@option(
    "--min-height",
    type=click.IntRange(16),
    metavar="PX",
    help="Not below this working height, however slow that is [default: 240].",
)
@picture_style_options
@display_options
@option("--countdown", type=click.IntRange(1, 60), default=3, show_default=True, help="Seconds that the key b counts.")
@option("--osc", type=read_address, metavar="PORT", help="Take OSC messages at this UDP port, or at HOST:PORT.")
@output_place_options
@gatys_still_options
@option("--duration", type=read_duration, metavar="TIME", help="End after so long: seconds, or 1:30.")
@option("--max-frames", type=click.IntRange(1), metavar="N", help="Stop after so many painted frames.")
@option("--last", is_flag=True, help="With the style and strength of the last time.")
@option("--no-config", is_flag=True, help="Do not read the config file (rtstyle config).")
@json_option
@output_options
@click.pass_obj
def cam(
    bindings: dict[str, str],
    source: SourceOptions,
    painting: Painting,
    steady: bool,
    target_fps: float,
    min_height: int | None,
    picture_styles: PictureStyles,
    display: Display,
    countdown: int,
    osc: tuple[str, int] | None,
    outputs: Outputs,
    gatys: GatysStills,
    duration: float | None,
    max_frames: int | None,
    last: bool,
    no_config: bool,
    as_json: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Paint a camera, a stream or a file live, in a window with hotkeys."""
    from rtstyle.live.frame_rate import WorkHeight
    from rtstyle.live.osc import OscReceiver

    display.check()
    outputs.check(source.source, force=force)
    stills = gatys.stills(quiet=quiet)
    painter = painting.painter(steady=steady)
    styles, pictures = picture_styles.choose(painter, painting.style)
    with (
        outputs.virtual_camera(target_fps) as virtual_camera,
        closing(source.capture(quiet=quiet)) as capture,
        outputs.opened(source.source, capture, force=force, quiet=quiet) as opened,
    ):
        summary = paint_live(
            capture,
            painter,
            headless=display.headless,
            full_screen=display.full_screen,
            seconds=duration,
            frames=max_frames,
            quiet=quiet,
            styles=styles,
            height=WorkHeight(painter.stylizer, target_fps, min_height),
            pictures=pictures,
            virtual_camera=virtual_camera,
            stills=stills,
            settings=display.settings(),
            remote=OscReceiver(osc[1], osc[0]) if osc else None,
            bindings=bindings,
            countdown=countdown,
            **opened,
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))


def paint_live(
    capture: Capture,
    painter: Painter,
    *,
    headless: bool = False,
    full_screen: bool = False,
    seconds: float | None = None,
    frames: int | None = None,
    quiet: bool = False,
    **options: Any,
) -> Summary:
    """Run the live loop with its window and say what came of it. `options` are those of `Live`."""
    from rtstyle.live.loop import Live
    from rtstyle.media.window import Window

    window = None if headless else Window()
    try:
        if full_screen and window:
            window.toggle_full_screen()
        if not quiet:
            say_device(painter.stylizer)
            say("keys: 1-9, n and p change the style, h shows all keys, q quits" if window else "Ctrl-C ends it")
        live = Live(capture, painter, window=window, **options)
        try:
            summary = live.run(seconds=seconds, frames=frames)
        finally:
            if window:
                remember(live.controls)
    finally:
        if window:
            window.close()
    if not quiet:
        rate = summary.painted / max(summary.seconds, 1e-6)
        say(f"{summary.painted} frames painted in {summary.seconds:.1f} s ({rate:.1f} fps), {summary.dropped} dropped")
        for path in summary.files:
            say(f"saved {path}")
    return summary
