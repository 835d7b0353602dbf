"""The options of cam in groups: what it looks at, its styles, its window, and where the pictures go."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtstyle.cli.options import can_train, gathered, option, read_size, with_options
from rtstyle.cli.progress import say, say_devices
from rtstyle.cli.sound import audio_option, sound_of
from rtstyle.errors import RtstyleError

if TYPE_CHECKING:
    from rtstyle.live.controls import Settings
    from rtstyle.live.gatys_still import Stills
    from rtstyle.live.pictures import Pictures
    from rtstyle.live.styles import StyleChooser
    from rtstyle.media.capture import Capture
    from rtstyle.media.virtual_camera import VirtualCamera
    from rtstyle.paint.painter import Painter

PATIENCE = 0.5  # seconds to wait, in the end, for a source that hangs


def _print_cameras(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Print the number and name of each camera and quit, if that was asked for."""
    if not asked or context.resilient_parsing:
        return
    from rtstyle.media.camera import list_cameras

    say_devices(list_cameras(), "cameras")
    context.exit()


@dataclasses.dataclass(frozen=True)
class SourceOptions:
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


source_options = with_options(
    option(
        "--source",
        default="0",
        show_default=True,
        metavar="WHAT",
        help="A camera's number or device, an rtsp:// or http:// stream, screen, screen:2 or screen:X,Y,WxH, a video "
        "file or a pipe that one is written into, a picture or a folder of them.",
    ),
    option(
        "--list-cameras",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_cameras,
        help="List the cameras and quit.",
    ),
    option("--size", type=read_size, metavar="WxH", help="Size to ask the camera for."),
    option(
        "--fps",
        type=click.FloatRange(1, 1000),
        help="Frame rate to ask the camera for, or at which to look at the screen.",
    ),
    option("--loop", is_flag=True, help="Play a file or folder again and again."),
    gathered("source", SourceOptions),
)


@dataclasses.dataclass(frozen=True)
class PictureStyles:
    """The pictures among the styles."""

    styles: str | None
    polish: bool

    def choose(self, painter: Painter, style: str | None) -> tuple[StyleChooser, Pictures]:
        """The styles to choose from, and what brings pictures among them: `style` where that is a picture, a watched
        folder, and a process that polishes the one that is painted."""
        from rtstyle.gallery import catalog, encoder
        from rtstyle.live.pictures import PictureFolder, Pictures, Polisher
        from rtstyle.live.styles import StyleChooser

        stylizer = painter.stylizer
        styles = StyleChooser(stylizer)
        known = {stylizer.style: Path(style)} if style and encoder.is_one_picture(style) else {}
        watched = None
        if self.styles:
            body = catalog.load(str(stylizer.path))
            watched = PictureFolder(Path(self.styles), lambda path: catalog.picture_style(path, body))
        module = "rtstyle.export.polish" if can_train() else "rtstyle.gallery.polish"
        polisher = Polisher(stylizer.path, (sys.executable, "-m", module)) if self.polish else None
        return styles, Pictures(styles, folder=watched, polisher=polisher, known=known)


picture_style_options = with_options(
    option(
        "--styles",
        type=click.Path(),
        metavar="DIR",
        help="A folder of pictures: all are styles, also those that come into it while the camera runs.",
    ),
    option(
        "--polish/--no-polish",
        default=True,
        show_default=True,
        help="Where the style is a picture, go on learning it beside the live picture.",
    ),
    gathered("picture_styles", PictureStyles),
)


@dataclasses.dataclass(frozen=True)
class Display:
    """The window, and what it shows at the start."""

    headless: bool
    full_screen: bool
    mirror: bool
    cycle: bool
    clean: bool

    def check(self) -> None:
        from rtstyle.media.window import has_display

        if not self.headless and not has_display():
            raise RtstyleError("there is no display for a window: add --headless, with --record FILE or --virtual-cam")

    def settings(self) -> Settings:
        from rtstyle.live.controls import Settings

        return Settings(mirror=self.mirror, cycle=self.cycle, show_display=not self.clean)


display_options = with_options(
    option("--headless", is_flag=True, help="No window."),
    option("--full-screen", is_flag=True, help="Fill the screen."),
    option("--mirror", is_flag=True, help="Mirror the picture."),
    option("--cycle", is_flag=True, help="Let the styles take turns."),
    option("--clean", is_flag=True, help="No text over the picture at the start (the key i)."),
    gathered("display", Display),
)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Where the pictures go besides the window."""

    record: str | None
    audio: str | None
    stream: str | None
    virtual_cam: bool
    virtual_cam_device: str | None
    out_dir: str

    def check(self, source: str, *, force: bool) -> None:
        from rtstyle.files import check_output

        if self.record:
            check_output(self.record, force=force, inputs=[source])

    @contextmanager
    def virtual_camera(self, fps: float) -> Iterator[VirtualCamera | None]:
        """The virtual camera, open, if one was asked for."""
        if not self.virtual_cam:
            yield None
            return
        from rtstyle.media.virtual_camera import VirtualCamera

        camera = VirtualCamera(fps, self.virtual_cam_device)
        try:
            yield camera
        finally:
            camera.close()

    @contextmanager
    def opened(self, source: str, capture: Capture, *, force: bool, quiet: bool) -> Iterator[dict[str, Any]]:
        """The others, open, as arguments of `Live`."""
        from rtstyle.media.recorder import Recorder
        from rtstyle.media.streaming import LiveStream

        sound = sound_of(self.audio, source, capture, quiet=quiet or not self.record)
        make_recorder = functools.partial(Recorder, sound=sound)
        stream = LiveStream(self.stream) if self.stream else None
        recorder = None
        try:
            recorder = make_recorder(self.record, force=force) if self.record else None
            yield {
                "record": recorder,
                "make_recorder": make_recorder,
                "stream": stream,
                "folder": Path(self.out_dir),
            }
        finally:
            if recorder:
                recorder.abandon()


output_place_options = with_options(
    option("--record", type=click.Path(), metavar="FILE", help="Record to FILE (.mp4, .mov, .mkv)."),
    audio_option,
    option("--stream", metavar="URL", help="Send the picture to rtmp://, rtmps://, rtsp://, srt://, udp:// or tcp://."),
    option("--virtual-cam", is_flag=True, help="Show the picture as a camera to meeting programs."),
    option("--virtual-cam-device", metavar="NAME", help="Which virtual camera, such as /dev/video2."),
    option(
        "--out-dir",
        type=click.Path(file_okay=False, exists=True),
        default=".",
        help="Where the keys s, r, b and g save to [default: the current folder].",
    ),
    gathered("outputs", Outputs),
)


@dataclasses.dataclass(frozen=True)
class GatysStills:
    """What the key g paints."""

    gatys_style: str | None
    gatys_size: int | None

    def stills(self, *, quiet: bool) -> Stills:
        from rtstyle.live.gatys_still import SIZE, Stills

        stills = Stills(self.gatys_style, size=self.gatys_size or SIZE)
        if self.gatys_style and stills.problem and not quiet:
            say(f"the key g cannot work: {stills.problem}")
        return stills


gatys_still_options = with_options(
    option(
        "--gatys-style", type=click.Path(), metavar="PICTURE", help="For the key g: a picture, or a folder of them."
    ),
    option("--gatys-size", type=click.IntRange(32), metavar="PX", help="Long side of such stills [default: 512]."),
    gathered("gatys", GatysStills),
)
