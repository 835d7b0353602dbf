"""Where live pictures go besides the window: a recording, a virtual camera, snapshots, stills in Gatys mode."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from rtstyle.errors import RtstyleError
from rtstyle.live.gatys_still import Stills
from rtstyle.live.overlay import Messages
from rtstyle.live.statistics import Painted
from rtstyle.media.images import Picture, write_image
from rtstyle.media.recorder import Recorder
from rtstyle.media.sound import SoundSource
from rtstyle.media.stream import Sink
from rtstyle.media.streaming import LiveStream
from rtstyle.runtime.session import Frames


class LiveSink(Sink[float], Protocol):
    """Takes pictures as they are painted, without waiting: a virtual camera."""

    error: RtstyleError | None  # what ended it early


class LiveRecording(LiveSink, Protocol):
    """Takes pictures as they are painted, without waiting, into a file: a `Recorder`."""

    path: Path
    sound: SoundSource | None  # that is recorded with them
    saved: Path | None  # the file, once it is complete or as far as it could be

    @property
    def seconds(self) -> float:
        """How much has been encoded."""

    def close(self, seconds: float | None = None) -> None:
        """End it at a time; the file is complete when this returns. Raises RtstyleError if it failed."""


def second_in_name() -> str:
    """The name of files made now, without an ending."""
    return time.strftime("rtstyle-%Y%m%d-%H%M%S")


class Outputs:
    """The places for pictures. Files that keys ask for go into `folder`, under `file_name()` and a free number;
    `make_recorder` gives a recording of a path.

    `files` lists what was written, `failure` is the first error of a recording or of the stream. `write` is for the
    painting thread, all else for the main one.
    """

    def __init__(
        self,
        folder: Path,
        messages: Messages,
        *,
        recorder: LiveRecording | None = None,
        virtual_camera: LiveSink | None = None,
        stream: LiveStream | None = None,
        stills: Stills | None = None,
        file_name: Callable[[], str] = second_in_name,
        make_recorder: Callable[[Path], LiveRecording] = Recorder,
    ):
        self._folder, self._messages, self._file_name = folder, messages, file_name
        self._make_recorder = make_recorder
        self._sound_error: RtstyleError | None = None  # that was said last
        self.recorder, self.virtual_camera, self.stills = recorder, virtual_camera, stills or Stills()
        self.stream = stream
        self.files: list[str] = []
        self.failure: RtstyleError | None = None
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._given: set[Path] = set()

    def write(self, seconds: float, picture: Callable[[], Frames]) -> None:
        """Hand on a picture of a time (time.monotonic); it is only made where somebody takes it."""
        if camera := self.virtual_camera:
            camera.write(seconds, picture())
        if stream := self.stream:
            stream.write(seconds, picture())
        if recorder := self.recorder:
            recorder.write(seconds, picture())

    def check(self, now: float) -> None:
        """Notice what has failed or ended by itself."""
        if self.recorder and self.recorder.error:
            self._end_recording(now)
        if self.recorder and self.recorder.sound and self.recorder.sound.error is not self._sound_error:
            self._sound_error = self.recorder.sound.error
            self._messages.say(str(self._sound_error or "") or None, 10)
        self._note_still(self.stills.news())
        if self.stream and self.stream.error:
            self._messages.say(str(self.stream.error), 3600)
            self.failure = self.failure or self.stream.error
            self._close_stream()
        if self.virtual_camera and self.virtual_camera.error:
            self._messages.say(str(self.virtual_camera.error), 3600)
            self._close_virtual_camera()

    def finish(self, now: float) -> None:
        """Complete and close everything."""
        if self.recorder:
            try:
                self.recorder.close(now)
            except RtstyleError as error:
                self.failure = self.failure or error
            self._list(self.recorder)
        self._close_virtual_camera()
        self._close_stream()
        self._note_still(self.stills.finish())
        self._saver.shutdown()

    def _close_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream:
            stream.close()

    def _close_virtual_camera(self) -> None:
        if self.virtual_camera:
            self.virtual_camera.close()
            self.virtual_camera = None

    def take_snapshot(self, picture: Frames) -> None:
        """Save a picture as PNG."""
        picture = picture.copy()
        self.save(lambda: picture, ".png")

    def save(self, make: Callable[[], Frames], suffix: str) -> None:
        """Make a picture and save it under a name that ends so."""
        path = self._free_name(suffix)

        def save() -> None:  # in a thread, for the window must not wait
            try:
                write_image(path, Picture(make()), force=False)
                self.files.append(str(path))
                self._messages.say(f"saved {path}")
            except (RtstyleError, OSError) as error:
                self._messages.say(str(error))

        self._saver.submit(save)

    def toggle_still(self, painted: Painted, styles: list[tuple[str, float]]) -> None:
        """Have the photograph of a frame painted in Gatys mode, in a mix of styles; or stop that."""
        if self.stills.busy:
            self.stills.cancel()
            return
        try:
            self.stills.begin(painted.frame, styles, self._free_name("-gatys.png"))
        except (RtstyleError, OSError) as error:
            self._messages.say(str(error), 5)

    def _note_still(self, news: tuple[str, Path | None] | None) -> None:
        if news:
            words, path = news
            self._messages.say(words, 10)
            self.files += [str(path)] if path else []

    def toggle_recording(self, now: float) -> None:
        """Start a recording, or end the one that runs."""
        if self.recorder:
            self._end_recording(now)
            return
        try:
            self.recorder = self._make_recorder(self._free_name(".mp4"))
        except RtstyleError as error:
            self._messages.say(str(error))

    def _end_recording(self, now: float) -> None:
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return
        self.failure = self.failure or recorder.error  # said now, and raised in the end
        try:
            recorder.close(now)
            self._messages.say(f"saved {recorder.path}")
        except RtstyleError as error:
            self._messages.say(str(error), 10)
        self._list(recorder)

    def _list(self, recorder: LiveRecording) -> None:
        if recorder.saved:
            self.files.append(str(recorder.saved))

    def _free_name(self, suffix: str) -> Path:
        """A name that no file has, and none that is still being written will have."""
        name = self._file_name()
        tries = (self._folder / f"{name}{f'-{i}' if i else ''}{suffix}" for i in itertools.count())
        path = next(path for path in tries if path not in self._given and not path.exists())
        self._given.add(path)
        return path
