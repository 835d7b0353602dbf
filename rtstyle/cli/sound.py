"""The sound of cam's recordings: `--audio`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtstyle.cli.options import option
from rtstyle.cli.progress import say, say_devices
from rtstyle.errors import RtstyleError

if TYPE_CHECKING:
    from rtstyle.media.capture import Capture
    from rtstyle.media.sound import SoundSource


def _list(context: click.Context, parameter: click.Parameter, audio: str | None) -> str | None:
    """Print the number and name of each microphone and quit, if that was asked for."""
    if audio != "list" or context.resilient_parsing:
        return audio
    from rtstyle.media.microphone import list_microphones

    say_devices(list_microphones(), "microphones")
    context.exit()


audio_option = option(
    "--audio",
    metavar="NAME",
    callback=_list,
    is_eager=True,
    help="Sound of recordings: a microphone's number or a part of its name, none, or list [default: a file's "
    "own; the microphone with a camera, the screen or a pipe].",
)


def sound_of(audio: str | None, source: str, capture: Capture, *, quiet: bool) -> SoundSource | None:
    """What recordings of a source have as their sound: a microphone by its name, by default a file's own sound or else
    the microphone, which may be missing. Raises RtstyleError if there is no microphone of this name."""
    from rtstyle.media.live_files import VideoFile
    from rtstyle.media.microphone import Microphone
    from rtstyle.media.sound import FileSound, has_sound

    if audio == "none":
        return None
    if audio is None and Path(source).is_file():
        file = capture.source
        return FileSound(source, lambda: file) if isinstance(file, VideoFile) and has_sound(source) else None
    if audio is None and ("://" in source or Path(source).is_dir()):
        return None
    try:
        return Microphone(audio)
    except RtstyleError as error:
        if audio is not None:
            raise
        if not quiet:
            say(f"recording without sound: {error}")
        return None
