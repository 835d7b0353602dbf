"""Camera to window: capture and painting in threads of their own, the window and the keys in the main one.

The newest captured frame is always the one being painted; what cannot be painted in time is dropped, never
queued. The window shows the newest painted frame and never waits for the net.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from rtstyle.errors import Interrupted, RtstyleError
from rtstyle.gallery import catalog
from rtstyle.live import overlay
from rtstyle.live.frame_rate import Pace, step
from rtstyle.live.gatys_still import Stills
from rtstyle.media.camera import Capture, Captured
from rtstyle.media.images import Picture, write_image
from rtstyle.media.outputs import Recorder, VirtualCamera
from rtstyle.media.window import Window
from rtstyle.paint import look
from rtstyle.paint.crossfade import Crossfade
from rtstyle.paint.painter import Painter

FADE_SECONDS = 0.5
CYCLE_SECONDS = 8.0  # a style's turn when styles change by themselves ...
CYCLE_FADE_SECONDS = 1.5  # ... and how long the change takes
MIX_STEP = 0.05  # of a key press; a held key repeats some 25 times a second
TICK = 0.008  # seconds between looks at the keyboard
RECENT = 3.0  # seconds that the figures on display speak of
MESSAGE_SECONDS = 2.5


class Recent:
    """Values of the last few seconds."""

    def __init__(self, seconds: float = RECENT):
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float = 0.0) -> None:
        self._values.append((now, value))
        while self._values[0][0] < now - self._seconds:
            self._values.popleft()

    def values(self, now: float) -> list[float]:
        return [value for t, value in list(self._values) if t >= now - self._seconds]

    def rate(self, now: float) -> float:
        """How many a second."""
        times = [t for t, _ in list(self._values) if t >= now - self._seconds]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def middle_and_most(values: list[float]) -> tuple[float, float]:
    """Median and 95th percentile; zeros if there is nothing."""
    if not values:
        return 0.0, 0.0
    return statistics.median(values), sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


@dataclasses.dataclass(frozen=True)
class Painted:
    """A finished frame: the number and time of the captured one, the photograph and the picture, uint8 RGB."""

    number: int
    time: float
    frame: np.ndarray
    picture: np.ndarray


@dataclasses.dataclass
class Summary:
    """What came of it: frames captured, painted, shown and dropped (captured but never painted); seconds; median
    and 95th percentile of the delay from capture to display (without a window: to the finished picture) in ms; the last
    working height; the files that were written."""

    captured: int = 0
    painted: int = 0
    shown: int = 0
    dropped: int = 0
    seconds: float = 0.0
    delay_ms: float | None = None
    delay_95_ms: float | None = None
    work_height: int | None = None
    files: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Settings:
    """What the keys change besides the style."""

    mirror: bool = False
    split: float | None = None  # where the line between before and after stands, 0 to 1; None: no line
    frozen: bool = False
    cycle: bool = False
    show_display: bool = True
    show_help: bool = False


class Live:
    """The frame loop: `Live(capture, painter, window=Window()).run()`.

    `target_fps` lets the working height follow the time that painting takes; None, or a stylizer with a
    `work_height`, leaves it alone. `record` and `virtual_camera` are further places for the pictures, `stills`
    paints single frames in Gatys mode; recordings, snapshots and stills that keys ask for go into `folder`.
    `on_show(painted, now)` is called after a picture was shown (or would have been, without a window), for
    measurements.
    """

    def __init__(
        self,
        capture: Capture,
        painter: Painter,
        *,
        window: Window | None = None,
        target_fps: float | None = 30.0,
        record: Recorder | None = None,
        virtual_camera: VirtualCamera | None = None,
        stills: Stills | None = None,
        settings: Settings | None = None,
        folder: Path = Path("."),
        on_show: Callable[[Painted, float], None] | None = None,
    ):
        self.capture, self.painter, self.window = capture, painter, window
        self.settings = settings or Settings()
        self.recorder, self.virtual_camera, self.stills = record, virtual_camera, stills or Stills()
        self._folder, self._on_show = folder, on_show
        stylizer = painter.stylizer
        self._target_fps = target_fps
        self._automatic = target_fps is not None and stylizer.work_height is None
        self._pace: Pace | None = None
        self._source_height = 0
        self._styles = stylizer.gallery()
        names = [style.name for style in self._styles]
        self._at = names.index(stylizer.style) if stylizer.style in names else -1
        self._mix = 0.0
        self._label = stylizer.style
        self._fade = Crossfade(stylizer.code)
        self._code: np.ndarray | None = None  # that was painted last
        self._next_change = 0.0
        self._message = ("", 0.0)
        self._figures, self._figures_tick = "", -1
        self._changed = capture.changed  # one condition for everything that threads wait for
        self._dirty = self._stop = self._painting = False
        self._limit: int | None = None
        self._thawed_at = 0  # number of the newest frame when the picture was last frozen: none of those was dropped
        self._latest: Painted | None = None
        self._paintings = self._shown_number = 0
        self._error: BaseException | None = None
        self._failed: RtstyleError | None = None
        self._painted_at, self._shown_at, self._delays = Recent(), Recent(), Recent()
        self._drops = Recent()
        self._all_delays: deque[float] = deque(maxlen=100_000)
        self._summary = Summary()
        self._savers: list[threading.Thread] = []

    # -- painting, in a thread of its own

    def _paint_frames(self) -> None:
        held: Captured | None = None
        try:
            while (item := self._next_frame(held)) is not None:
                if held is not None and item.number > held.number:
                    self._count_drops(max(0, item.number - max(held.number, self._thawed_at) - 1))
                held = item
                started = time.monotonic()
                code = self._fade.at(started)
                frame = cv2.flip(item.rgb, 1) if self.settings.mirror else item.rgb
                self._choose_height(frame.shape[0])
                picture = self.painter(frame, code, history_weight=1.0 if code is self._code else 0.0)
                self._code = code
                self._publish(Painted(item.number, item.time, frame, picture))
                self._keep_pace(time.monotonic() - started)
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._painting = False
                self._changed.notify_all()

    def _next_frame(self, held: Captured | None) -> Captured | None:
        """The frame to paint next: a new one, or the same again when something about the look has changed."""

        def choice() -> Captured | str | None:
            frozen = self.settings.frozen and held is not None
            newest = self.capture.newest
            fresh = newest is not None and (held is None or newest.number > held.number) and not frozen
            again = held is not None and (self._dirty or self._fade.at(time.monotonic()) is not self._code)
            if self._stop or self._summary.painted == self._limit:
                return "end"
            if fresh or again:
                return held if frozen else newest
            return "end" if self.capture.ended and not frozen else None

        with self._changed:
            chosen = self._changed.wait_for(choice)
            self._dirty = False
            return None if chosen == "end" else chosen

    def _count_drops(self, count: int) -> None:
        now = time.monotonic()
        self._summary.dropped += count
        self._drops.add(now, count)

    def _publish(self, painted: Painted) -> None:
        now = time.monotonic()
        again = self._latest is not None and self._latest.number == painted.number
        self._painted_at.add(now)
        self._summary.painted += 1
        with self._changed:
            self._latest = painted
            self._paintings += 1
            self._changed.notify_all()
        stamp = now if again else painted.time
        if camera := self.virtual_camera:
            camera.write(stamp, self._view(painted))
        if recorder := self.recorder:
            recorder.write(stamp, self._view(painted))

    def _choose_height(self, height: int) -> None:
        """Start the choice of a working height, or start it afresh when the source's size has changed."""
        if height == self._source_height:
            return
        self._source_height = height
        reference = self.painter.stylizer.reference_height
        self._pace = Pace(reference, min(height, reference * 3 // 2))
        if self._automatic:
            self.painter.stylizer.work_height = self._pace.height

    def _keep_pace(self, seconds: float) -> None:
        if not self._automatic or self._target_fps is None:
            return
        now = time.monotonic()
        rate = self.capture.rate
        # no faster than frames come; a little slack, for the measured rate wavers
        budget = 1 / self._target_fps if rate is None else max(1 / self._target_fps, 0.97 / rate)
        height = self._pace(seconds, now, budget)
        stylizer = self.painter.stylizer
        if height != stylizer.work_height:
            lower = height < stylizer.work_height
            stylizer.work_height = height
            self._say(f"working height {height}, " + (f"to hold {1 / budget:.0f} fps" if lower else "there is time"))

    # -- the window and the keys, in the main thread

    def run(self, *, seconds: float | None = None, frames: int | None = None) -> Summary:
        """Paint until the user quits, the source ends, or after so many seconds or painted frames.

        Recordings are complete and everything is closed when this returns. Raises RtstyleError when painting,
        the source or an output failed, and Interrupted after Ctrl-C.
        """
        self._painting, self._limit = True, frames
        painting = threading.Thread(target=self._paint_frames, name="painting", daemon=True)
        started = time.monotonic()
        painting.start()
        interrupted = False
        try:
            self._loop(started, seconds)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            summary = self._finish(painting, started)
        for error in (self._error, self.capture.error):
            if error:
                raise error
        if interrupted:
            kept = f": {', '.join(summary.files)} is complete" if summary.files else ""
            raise Interrupted(f"interrupted after {summary.painted} frames{kept}")
        return summary

    def _loop(self, started: float, seconds: float | None) -> None:
        seen, drawn_at = 0, 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda last=seen: self._paintings > last or not self._painting, TICK)
                painted, count, painting = self._latest, self._paintings, self._painting
            now = time.monotonic()
            if self.window:
                if count > seen or now - drawn_at > 0.25:
                    self.window.show(self._compose(painted, now))
                    drawn_at = now
                while (key := self.window.poll()) is not None:
                    self.press(key)
                    drawn_at = 0.0  # what a key did is seen at once
            if count > seen:
                seen = count
                self._note_shown(painted)
            self._watch(now)
            over = seconds is not None and now - started >= seconds
            if not painting or over or self._stop or (self.window and self.window.closed):
                return

    def _note_shown(self, painted: Painted) -> None:
        now = time.monotonic()
        self._summary.shown += 1
        self._shown_at.add(now)
        if painted.number != self._shown_number:  # an older frame painted again says nothing about the delay
            self._shown_number = painted.number
            self._delays.add(now, (now - painted.time) * 1e3)
            self._all_delays.append((now - painted.time) * 1e3)
        if self._on_show:
            self._on_show(painted, now)

    def _watch(self, now: float) -> None:
        """What happens by itself: styles that take turns, outputs that fail."""
        if self.settings.cycle and now > self._next_change and not self.settings.frozen:
            self._next_change = now + CYCLE_SECONDS
            self._choose((self._at + 1) % len(self._styles), CYCLE_FADE_SECONDS)
            self._wake()
        if self.window and self.window.dragged is not None:
            if self.settings.split is not None:
                self.settings.split = self.window.dragged
                self._wake()
            self.window.dragged = None
        if self.recorder and self.recorder.error:
            self._end_recording()
        self._note_still(self.stills.news())
        if self.virtual_camera and self.virtual_camera.error:
            self._say(str(self.virtual_camera.error), 3600)
            self._close_virtual_camera()

    def _finish(self, painting: threading.Thread, started: float) -> Summary:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self.window:
            self.window.close()  # at once: what is being painted or saved may take a while
        painting.join(timeout=30)
        try:
            if self.recorder:
                self._summary.files.append(str(self.recorder.path))
                self.recorder.finish(time.monotonic())
        except RtstyleError as error:
            self._failed = self._failed or error
        self._close_virtual_camera()
        self._note_still(self.stills.finish())
        for saver in self._savers:
            saver.join()
        self.capture.close()
        summary = self._summary
        summary.seconds = time.monotonic() - started
        summary.captured = self.capture.count
        summary.work_height = self.painter.stylizer.work_height or self._source_height or None
        if self._all_delays:
            summary.delay_ms, summary.delay_95_ms = middle_and_most(list(self._all_delays))
        self._error = self._error or self._failed
        return summary

    def _close_virtual_camera(self) -> None:
        if self.virtual_camera:
            self.virtual_camera.finish()
            self.virtual_camera = None

    # -- pictures

    def _view(self, painted: Painted) -> np.ndarray:
        if self.settings.split is None:
            return painted.picture
        return look.split_view(painted.frame, painted.picture, self.settings.split)

    def _compose(self, painted: Painted | None, now: float) -> np.ndarray:
        """The picture with what is written over it."""
        if painted is None:
            canvas = np.zeros((360, 640, 3), np.uint8)
        else:
            view = self._view(painted)
            canvas = overlay.readable(view)
        if self.settings.show_help:
            overlay.show_help(canvas)
        elif self.settings.show_display:
            overlay.write(canvas, self._status(now))
        problem = self.capture.problem if not self.capture.ended else ""
        if painted is None and not problem:
            problem = "waiting for the first picture"
        words, until = self._message
        if problem:
            overlay.write(canvas, [problem], at=(0.5, 0.5), size=1.4, color=(255, 210, 120))
        elif now < until:
            overlay.write(canvas, [words], at=(0.5, 1.0))
        if status := self.stills.status:
            overlay.write(canvas, [status], at=(1.0, 1.0))
        if recorder := self.recorder:
            overlay.write(canvas, [f"REC {recorder.seconds:.0f} s"], at=(1.0, 0.0), color=(255, 110, 110))
        return canvas

    def _status(self, now: float) -> list[str]:
        """The on-screen display. Figures change four times a second, or nobody could read them."""
        settings, painter = self.settings, self.painter
        tick = int(now * 4)
        if tick != self._figures_tick:
            self._figures_tick = tick
            painted, shown = self._painted_at.rate(now), self._shown_at.rate(now)
            delay, most = middle_and_most(self._delays.values(now))
            dropped = sum(self._drops.values(now))
            share = dropped / max(1, dropped + len(self._painted_at.values(now)))
            self._figures = (
                f"{painted:.0f} fps painted, {shown:.0f} shown, delay {delay:.0f} ms (95 %: {most:.0f}), "
                f"{share:.0%} dropped"
            )
        words = [self._label, f"strength {painter.strength:.0%}"]
        words += ["camera's colours"] * painter.keep_color + ["steady"] * painter.steady
        words += ["frozen"] * settings.frozen + ["taking turns"] * settings.cycle
        height = painter.stylizer.work_height or self._source_height
        mode = "automatic" if self._automatic else "fixed"
        return [
            ", ".join(words),
            self._figures,
            f"working height {height} ({mode}) on {painter.stylizer.device.name}, h for help",
        ]

    def _say(self, words: str, seconds: float = MESSAGE_SECONDS) -> None:
        self._message = (words, time.monotonic() + seconds)

    # -- keys

    def press(self, key: str) -> None:
        """Do what a key stands for; unknown keys do nothing."""
        settings, painter = self.settings, self.painter
        if key.isdecimal():
            self._choose((int(key) - 1) % 10)
        elif key in "np":
            self._choose((self._at + (1 if key == "n" else -1 if self._at >= 0 else 0)) % len(self._styles))
        elif key in "[]":
            painter.strength = min(1.0, max(0.0, round(painter.strength + (0.1 if key == "]" else -0.1), 2)))
        elif key == "c":
            painter.keep_color = not painter.keep_color
        elif key in "xX":
            self._move_mix(MIX_STEP if key == "x" else -MIX_STEP)
        elif key == "a":
            settings.cycle = not settings.cycle
            self._next_change = time.monotonic()
        elif key == " ":
            settings.frozen = not settings.frozen
            self._thawed_at = self.capture.count
        elif key == "m":
            settings.mirror = not settings.mirror
        elif key == "v":
            settings.split = 0.5 if settings.split is None else None
        elif key == "t":
            painter.steady = not painter.steady
        elif key in "+=-_":
            self._step_height(+1 if key in "+=" else -1)
        elif key == "w":
            self._make_automatic()
        elif key == "s":
            self._take_snapshot()
        elif key == "g":
            self.stills.cancel() if self.stills.busy else self._start_still()
        elif key == "r":
            self._end_recording() if self.recorder else self._start_recording()
        elif key == "f" and self.window:
            self.window.toggle_full_screen()
        elif key == "i":
            settings.show_display = not settings.show_display
        elif key == "h":
            settings.show_help = not settings.show_help
        elif key == "q":
            self._stop = True
        self._wake()

    def _wake(self) -> None:
        """Have the picture painted again: something about its look has changed."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def _choose(self, at: int, seconds: float = FADE_SECONDS) -> None:
        if self.painter.stylizer.code is None:
            self._say("this model has one style only")
        elif at < len(self._styles):
            self._at, self._mix = at, 0.0
            self._label = self._styles[at].name
            self._fade = self._fade.to(self._styles[at].code, seconds, time.monotonic())

    def _move_mix(self, by: float) -> None:
        """A step towards the next style, or back; at the end of the way the next style is the style."""
        if self.painter.stylizer.code is None or len(self._styles) < 2:
            self._say("there is no other style to mix with")
            return
        at, mix = max(0, self._at), self._mix + by
        at, mix = (at + (mix >= 0.999) - (mix < -0.001)) % len(self._styles), round(mix % 1.0, 3)
        mix = 0.0 if mix > 0.999 else mix
        first, second = self._styles[at], self._styles[(at + 1) % len(self._styles)]
        self._at, self._mix = at, mix
        self._label = first.name if mix == 0 else f"{first.name} {1 - mix:.0%}, {second.name} {mix:.0%}"
        code = np.asarray((1 - mix) * first.code + mix * second.code, np.float32)
        self._fade = self._fade.to(code, 0.12, time.monotonic())

    def _step_height(self, by: int) -> None:
        stylizer = self.painter.stylizer
        now = stylizer.work_height or self._source_height
        if not now:
            self._say("there is no picture yet")
            return
        self._automatic = False
        stylizer.work_height = step(now, by, self._source_height or now)
        self._say(f"working height {stylizer.work_height}, fixed (w: automatic)")

    def _make_automatic(self) -> None:
        stylizer = self.painter.stylizer
        if self._target_fps is None:
            self._say("no frame rate was asked for: the working height stays")
            return
        if self._pace and not self._automatic:
            self._pace = Pace(stylizer.work_height or self._source_height, self._pace.limit)
            stylizer.work_height = self._pace.height
        self._automatic = True
        self._say(f"working height follows {self._target_fps:.0f} fps")

    def _take_snapshot(self) -> None:
        if self._latest is None:
            return
        path = self._free_name(".png")
        picture = self._view(self._latest).copy()
        try:
            path.touch()  # the name is taken now; the picture follows in a thread, for the window must not wait
        except OSError as error:
            self._say(f"cannot save {path} ({error.strerror})")
            return

        def save():
            try:
                write_image(path, Picture(picture))
                self._say(f"saved {path}")
            except (RtstyleError, OSError) as error:
                path.unlink(missing_ok=True)
                self._say(str(error))

        self._savers = [saver for saver in self._savers if saver.is_alive()]
        self._savers.append(threading.Thread(target=save, name="snapshot"))
        self._savers[-1].start()
        self._summary.files.append(str(path))

    def _start_still(self) -> None:
        """Have the photograph of the shown frame painted in Gatys mode, in the style or mix of now."""
        if self._latest is None:
            return
        first, second = (self._styles[(self._at + i) % len(self._styles)].name for i in (0, 1))
        mixed = [(first, 1 - self._mix), (second, self._mix)] if self._mix else [(first, 1.0)]
        if self._at < 0:  # as it was asked for at the start: perhaps a mix, or a file
            asked = catalog.mixture(self._label)
            mixed = [(Path(name).stem if ".onnx" in name else name, weight) for name, weight in asked]
        try:
            self.stills.begin(self._latest.frame, mixed, self._free_name("-gatys.png"))
        except (RtstyleError, OSError) as error:
            self._say(str(error), 5)

    def _note_still(self, news: tuple[str, Path | None] | None) -> None:
        if news:
            words, path = news
            self._say(words, 10)
            self._summary.files += [str(path)] if path else []

    def _free_name(self, suffix: str) -> Path:
        name = time.strftime("rtstyle-%Y%m%d-%H%M%S")
        tries = (self._folder / f"{name}{f'-{i}' if i else ''}{suffix}" for i in itertools.count())
        return next(path for path in tries if not path.exists())

    def _start_recording(self) -> None:
        try:
            self.recorder = Recorder(self._free_name(".mp4"))
        except RtstyleError as error:
            self._say(str(error))

    def _end_recording(self) -> None:
        recorder, self.recorder = self.recorder, None
        self._failed = self._failed or recorder.error  # told now, and raised in the end
        try:
            recorder.finish(time.monotonic())
            self._say(f"saved {recorder.path}")
        except RtstyleError as error:
            self._say(str(error), 10)
        if recorder.path.exists():
            self._summary.files.append(str(recorder.path))
