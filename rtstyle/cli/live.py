"""Painting live: cam and demo."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtstyle.cli.defaults import Configured, remember
from rtstyle.cli.files import paint_video
from rtstyle.cli.flags import Command
from rtstyle.cli.options import (
    TRAINING_PACKAGES,
    Painting,
    gathered,
    json_option,
    option,
    output_options,
    painting_options,
    read_address,
    read_duration,
    read_size,
    say_device,
)
from rtstyle.cli.progress import say
from rtstyle.cli.sound import audio_option, sound_of
from rtstyle.errors import RtstyleError

if TYPE_CHECKING:
    from rtstyle.live.pictures import Pictures
    from rtstyle.live.statistics import Summary
    from rtstyle.live.styles import StyleChooser
    from rtstyle.media.capture import Capture
    from rtstyle.media.recorder import Recorder
    from rtstyle.media.virtual_camera import VirtualCamera
    from rtstyle.paint.painter import Painter

PATIENCE = 0.5  # seconds to wait, in the end, for a source that hangs


@click.command(cls=Command)
@option(
    "--out",
    "-o",
    metavar="FILE",
    default="rtstyle-demo.mp4",
    show_default=True,
    help="Result, where there is no camera.",
)
@painting_options
@output_options
def demo(out: str, painting: Painting, force: bool, quiet: bool) -> None:
    """Paint the camera if there is one, else a bundled clip."""
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
    click.echo(f"No camera here, so a bundled clip was painted: open {Path(out).resolve()}")


def print_cameras(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Print the number and name of each camera and quit, if that was asked for."""
    if not asked or context.resilient_parsing:
        return
    from rtstyle.media.camera import list_cameras

    cameras = list_cameras()
    for number, name in cameras:
        click.echo(f"{number}\t{name}")
    if not cameras:
        say("no cameras found")
    context.exit()


@dataclasses.dataclass(frozen=True)
class Source:
    """What `cam` looks at."""

    source: str
    size: tuple[int, int] | None
    fps: float | None
    loop: bool

    def capture(self, *, quiet: bool) -> Capture:
        from rtstyle.media import camera
        from rtstyle.media.capture import Capture, LiveSource
        from rtstyle.media.screen import is_screen

        if (self.size or (self.fps and not is_screen(self.source))) and not camera.is_camera(self.source) and not quiet:
            say(f"`size` and `fps` are for cameras: {self.source} keeps its own")

        def opener() -> LiveSource:
            return camera.open_source(self.source, size=self.size, fps=self.fps, loop=self.loop)

        return Capture(opener, patience=PATIENCE)


@click.command(cls=Configured)
@option(
    "--source",
    default="0",
    show_default=True,
    metavar="WHAT",
    help="A camera's number or device, an rtsp:// or http:// stream, screen, screen:2 or screen:X,Y,WxH, a video file, "
    "a picture or a folder of them.",
)
@option(
    "--list-cameras",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_cameras,
    help="List the cameras and quit.",
)
@option("--size", type=read_size, metavar="WxH", help="Size to ask the camera for.")
@option(
    "--fps", type=click.FloatRange(1, 1000), help="Frame rate to ask the camera for, or at which to look at the screen."
)
@option("--loop", is_flag=True, help="Play a file or folder again and again.")
@gathered("source", Source, [field.name for field in dataclasses.fields(Source)])
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
@option("--clean", is_flag=True, help="No text over the picture at the start (the key i).")
@option(
    "--styles",
    "styles_folder",
    type=click.Path(),
    metavar="DIR",
    help="A folder of pictures: all are styles, also those that come into it while the camera runs.",
)
@option(
    "--polish/--no-polish",
    default=True,
    show_default=True,
    help="Where the style is a picture, go on learning it, where the training packages and VGG are installed.",
)
@option("--mirror", is_flag=True, help="Mirror the picture.")
@option("--full-screen", is_flag=True, help="Fill the screen.")
@option("--cycle", is_flag=True, help="Let the styles take turns.")
@option("--record", type=click.Path(), metavar="FILE", help="Record to FILE (.mp4, .mov, .mkv).")
@audio_option
@option("--stream", metavar="URL", help="Send the picture to rtmp://, rtsp://, udp:// or srt://.")
@option("--virtual-cam", is_flag=True, help="Show the picture as a camera to meeting programs.")
@option("--virtual-cam-device", metavar="NAME", help="Which virtual camera, such as /dev/video2.")
@option("--countdown", type=click.IntRange(1, 60), default=3, show_default=True, help="Seconds that the key b counts.")
@option("--osc", type=read_address, metavar="PORT", help="Take OSC messages at this UDP port, or at HOST:PORT.")
@option("--headless", is_flag=True, help="No window.")
@option("--duration", type=read_duration, metavar="TIME", help="End after so long: seconds, or 1:30.")
@option("--max-frames", type=click.IntRange(1), metavar="N", help="Stop after so many painted frames.")
@option(
    "--out-dir",
    type=click.Path(file_okay=False, exists=True),
    default=".",
    help="Where the keys s, r and g save to [default: the current folder].",
)
@option("--gatys-style", type=click.Path(), metavar="PICTURE", help="For the key g: a picture, or a folder of them.")
@option("--gatys-size", type=click.IntRange(32), metavar="PX", help="Long side of such stills [default: 512].")
@option("--last", is_flag=True, help="With the style and strength of the last time.")
@option("--no-config", is_flag=True, help="Do not read the config file (rtstyle config).")
@json_option
@output_options
@click.pass_obj
def cam(
    bindings: dict[str, str],
    source: Source,
    painting: Painting,
    steady: bool,
    target_fps: float,
    min_height: int | None,
    styles_folder: str | None,
    polish: bool,
    clean: bool,
    mirror: bool,
    full_screen: bool,
    cycle: bool,
    record: str | None,
    audio: str | None,
    stream: str | None,
    virtual_cam: bool,
    virtual_cam_device: str | None,
    countdown: int,
    osc: tuple[str, int] | None,
    headless: bool,
    duration: float | None,
    max_frames: int | None,
    out_dir: str,
    gatys_style: str | None,
    gatys_size: int | None,
    last: bool,
    no_config: bool,
    as_json: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Paint a camera, a stream or a file live, in a window with hotkeys."""
    from rtstyle.files import check_output
    from rtstyle.live.controls import Settings
    from rtstyle.live.frame_rate import MIN_HEIGHT, WorkHeight
    from rtstyle.live.gatys_still import SIZE, Stills
    from rtstyle.live.osc import OscReceiver
    from rtstyle.media.recorder import Recorder
    from rtstyle.media.streaming import LiveStream
    from rtstyle.media.window import has_display

    if not headless and not has_display():
        raise RtstyleError("there is no display for a window: add --headless, with --record FILE or --virtual-cam")
    if record:
        check_output(record, force=force, inputs=[source.source])
    stills = Stills(gatys_style, size=gatys_size or SIZE)
    if gatys_style and stills.problem and not quiet:
        say(f"the key g cannot work: {stills.problem}")
    painter = painting.painter(steady=steady)
    styles, pictures = choose_pictures(painter, painting.style, styles_folder, polish=polish)
    with (
        _virtual_camera(target_fps, virtual_cam_device, enabled=virtual_cam) as virtual_camera,
        closing(source.capture(quiet=quiet)) as capture,
    ):
        sound = sound_of(audio, source.source, capture, quiet=quiet or not record)
        make_recorder = functools.partial(Recorder, sound=sound)
        sender = LiveStream(stream) if stream else None
        remote = OscReceiver(osc[1], osc[0]) if osc else None
        with _recorder(record, functools.partial(make_recorder, force=force)) as recorder:
            summary = paint_live(
                capture,
                painter,
                headless=headless,
                full_screen=full_screen,
                seconds=duration,
                frames=max_frames,
                quiet=quiet,
                styles=styles,
                height=WorkHeight(painter.stylizer, target_fps, min_height or MIN_HEIGHT),
                pictures=pictures,
                record=recorder,
                virtual_camera=virtual_camera,
                stills=stills,
                settings=Settings(mirror=mirror, cycle=cycle, show_display=not clean),
                folder=Path(out_dir),
                make_recorder=make_recorder,
                remote=remote,
                stream=sender,
                bindings=bindings,
                countdown=countdown,
            )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))


def choose_pictures(
    painter: Painter, style: str | None, folder: str | None, *, polish: bool
) -> tuple[StyleChooser, Pictures]:
    """The styles to choose from, and what brings pictures among them: `style` where that is a picture, a watched
    folder, and a process that polishes the one that is painted, where the packages for it are installed."""
    from importlib.util import find_spec

    from rtstyle.gallery import catalog, encoder
    from rtstyle.live.pictures import PictureFolder, Pictures, Polisher
    from rtstyle.live.styles import StyleChooser

    stylizer = painter.stylizer
    styles = StyleChooser(stylizer)
    known = {stylizer.style: Path(style)} if style and encoder.is_picture(style) and "," not in style else {}
    watched = None
    if folder:
        body = catalog.load(str(stylizer.path))
        watched = PictureFolder(Path(folder), lambda path: catalog.picture_style(path, body))
    can_polish = polish and all(find_spec(name) for name in TRAINING_PACKAGES)
    return styles, Pictures(
        styles, folder=watched, polisher=Polisher(stylizer.path) if can_polish else None, known=known
    )


@contextmanager
def _virtual_camera(fps: float, device: str | None, *, enabled: bool) -> Iterator[VirtualCamera | None]:
    if not enabled:
        yield None
        return
    from rtstyle.media.virtual_camera import VirtualCamera

    camera = VirtualCamera(fps, device)
    try:
        yield camera
    finally:
        camera.close()


@contextmanager
def _recorder(path: str | None, make_recorder: Callable[[str], Recorder]) -> Iterator[Recorder | None]:
    if not path:
        yield None
        return
    recorder = make_recorder(path)
    try:
        yield recorder
    finally:
        recorder.abandon()


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
