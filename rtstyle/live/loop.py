"""Camera to window: capture and painting in threads of their own, the window and the keys in the main one.

The newest captured frame is always the one being painted; what cannot be painted in time is dropped, never
queued. The window shows the newest painted frame and never waits for the net.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rtstyle.errors import InputError, Interrupted
from rtstyle.live import booth, display, osc
from rtstyle.live.booth import Booth
from rtstyle.live.controls import Controls, Settings
from rtstyle.live.frame_rate import WorkHeight
from rtstyle.live.gatys_still import Stills
from rtstyle.live.osc import OscReceiver
from rtstyle.live.outputs import LiveRecording, LiveSink, Outputs, second_in_name
from rtstyle.live.overlay import Messages
from rtstyle.live.painting_thread import PaintingThread
from rtstyle.live.pictures import Pictures
from rtstyle.live.statistics import Painted, Statistics, Summary
from rtstyle.live.strip import Strip, look_sliders
from rtstyle.live.styles import StyleChooser
from rtstyle.live.thumbnails import Thumbnails
from rtstyle.media.capture import Capture
from rtstyle.media.recorder import Recorder
from rtstyle.media.streaming import LiveStream
from rtstyle.media.window import Window
from rtstyle.paint.painter import Painter

TICK = 0.008  # seconds between looks at the keyboard
REDRAW = 0.25  # seconds after which the texts are drawn again though no picture came ...
MOUSE_REDRAW = 1 / 60  # ... while the mouse does something


class Live:
    """The frame loop: `Live(capture, painter, window=Window()).run()`.

    `target_fps` lets the working height follow the time that painting takes; None, or a painter with a
    `work_height`, leaves it alone. `record`, `virtual_camera` and `stream` are further places for the pictures,
    `stills` paints single frames in Gatys mode; recordings, snapshots and stills that keys ask for go into `folder`,
    under `file_name()`; `make_recorder` gives such a recording. What `remote` receives is obeyed;
    keys of `bindings` do what another key is for; the key b counts down `countdown` seconds. `pictures` brings pictures
    among the styles while it runs.

    For measurements: `on_show(painted, now)` is called after a picture was shown (or would have been, without a
    window), `on_paint(painted, seconds)`, in the painting thread, after one was painted in so many seconds.
    `styles` and `height` (instead of `target_fps`) are made here unless they are given. `clock` is that of the captured
    frames.
    """

    def __init__(
        self,
        capture: Capture,
        painter: Painter,
        *,
        window: Window | None = None,
        target_fps: float | None = 30.0,
        record: LiveRecording | None = None,
        virtual_camera: LiveSink | None = None,
        stream: LiveStream | None = None,
        stills: Stills | None = None,
        settings: Settings | None = None,
        folder: Path = Path("."),
        file_name: Callable[[], str] = second_in_name,
        make_recorder: Callable[[Path], LiveRecording] = Recorder,
        remote: OscReceiver | None = None,
        bindings: Mapping[str, str] | None = None,
        countdown: int = booth.SECONDS,
        styles: StyleChooser | None = None,
        height: WorkHeight | None = None,
        pictures: Pictures | None = None,
        on_show: Callable[[Painted, float], None] | None = None,
        on_paint: Callable[[Painted, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.capture, self.painter, self.window = capture, painter, window
        self.statistics = Statistics()
        messages, styles = Messages(clock), styles or StyleChooser(painter.stylizer)
        self._thumbnails = Thumbnails(painter.stylizer, styles.styles)
        self.controls = Controls(
            painter,
            capture,
            settings or Settings(),
            styles,
            Strip(styles, self._thumbnails, look_sliders(painter)),
            height or WorkHeight(painter.stylizer, target_fps),
            Outputs(
                folder,
                messages,
                recorder=record,
                virtual_camera=virtual_camera,
                stream=stream,
                stills=stills,
                file_name=file_name,
                make_recorder=make_recorder,
            ),
            messages,
            Booth(countdown),
            window,
            clock,
            pictures=pictures,
            bindings=bindings or {},
        )
        self._painting = PaintingThread(self.controls, self.statistics, on_paint, clock)
        self._remote, self._on_show, self._clock = remote, on_show, clock

    def run(self, *, seconds: float | None = None, frames: int | None = None) -> Summary:
        """Paint until the user quits, the source ends, or after so many seconds or painted frames.

        Recordings are complete and everything is closed when this returns. Raises RtstyleError when painting,
        the source or an output failed, and Interrupted after Ctrl-C.
        """
        started = self._clock()
        self._painting.start(frames)
        interrupted = quit = False
        try:
            self._show_frames(started, seconds)
            quit = self.controls.quit or (self.window is not None and self.window.closed)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            summary = self._finish(started)
        for error in (self._painting.error, self.controls.outputs.failure, self.capture.error):
            if error:
                raise error
        if not (self.capture.count or interrupted or quit):
            problem = f" ({self.capture.problem})" if self.capture.problem else ""
            raise InputError(f"no frame came from the source in {summary.seconds:.0f} s{problem}")
        if interrupted:
            kept = f": {', '.join(summary.files)} is complete" if summary.files else ""
            raise Interrupted(f"interrupted after {summary.painted} frames{kept}")
        return summary

    def _show_frames(self, started: float, seconds: float | None) -> None:
        seen, drawn_at, touched = 0, 0.0, False
        while True:
            painted, count, painting = self._painting.wait_for_more(seen, TICK)
            now = self._clock()
            if self.window:
                touched = touched or bool(self.window.mouse)
                if count > seen or now - drawn_at > (MOUSE_REDRAW if touched else REDRAW):
                    size = self.window.fit(*(painted.picture.shape[:2] if painted else display.EMPTY))
                    self.window.show(display.compose(self.controls, self.statistics, painted, now, size))
                    drawn_at, touched = now, False
                while (key := self.window.poll()) is not None:
                    self.press(key)
                    drawn_at = 0.0  # what a key did is seen at once
            if count > seen and painted is not None:
                seen = count
                self._note_shown(painted)
            remote = self._remote.receive() if self._remote else ()
            if (
                self.controls.take_turn(now)
                | self.controls.follow_mouse()
                | self.controls.follow_pictures(now)
                | osc.obey(self.controls, remote)
            ):
                self._painting.repaint()
            self.controls.take_sheet(now)
            self.controls.outputs.check(now)
            over = seconds is not None and now - started >= seconds
            if not painting or over or self.controls.quit or (self.window and self.window.closed):
                return

    def _note_shown(self, painted: Painted) -> None:
        now = self._clock()
        self.statistics.note_shown(painted, now)
        if self._on_show:
            self._on_show(painted, now)

    def _finish(self, started: float) -> Summary:
        self._painting.stop()
        if self.window:
            self.window.close()  # at once: what is being painted or saved may take a while
        self._thumbnails.stop()
        if self._remote:
            self._remote.close()
        if self.controls.pictures:
            self.controls.pictures.close()
        self._painting.join()
        self._thumbnails.join()
        self.controls.outputs.finish(self._clock())
        self.capture.close()
        return self.statistics.summary(
            captured=self.capture.count,
            seconds=self._clock() - started,
            work_height=self.controls.height.pixels,
            files=self.controls.outputs.files,
        )

    def press(self, key: str) -> None:
        """Do what a key stands for, from any thread; unknown keys do nothing."""
        self.controls.press(key)
        if self.controls.quit:
            self._painting.stop()
        self._painting.repaint()
