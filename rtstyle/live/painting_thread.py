"""The painting thread: the newest captured frame, again where the look of the painting has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import cv2
import numpy as np

from rtstyle.live.controls import Controls
from rtstyle.live.statistics import Painted, Statistics
from rtstyle.media.capture import Captured
from rtstyle.runtime.bounds import Abandoned
from rtstyle.runtime.session import Code

PATIENCE = 0.5  # seconds for the painting of the last frame to end by itself
DISPLAY_FPS = 30.0  # at which changes of the look are painted where no rate is asked for
SLOWEST_CHANGE = 0.15  # seconds between two steps of a change


class PaintingThread:
    """Paints as `controls` say, puts the result into `controls.latest` and hands it to `controls.outputs`, until the
    source ends or the thread is stopped. `error` is what ended it before that. `on_paint` is called after each
    painting, see `Live`."""

    def __init__(
        self,
        controls: Controls,
        statistics: Statistics,
        on_paint: Callable[[Painted, float], None] | None,
        clock: Callable[[], float],
    ):
        self.error: BaseException | None = None
        self._controls, self._statistics = controls, statistics
        self._capture, self._painter = controls.capture, controls.painter
        self._on_paint, self._clock = on_paint, clock
        self._changed = self._capture.changed  # one condition for everything that threads wait for
        self._dirty = self._stopped = self._running = False
        self._limit: int | None = None
        self._last_code: Code | None = None  # that was painted last
        self._began_at = float("-inf")  # when the last painting began
        self._thread = threading.Thread(target=self._run, name="painting", daemon=True)

    def start(self, limit: int | None) -> None:
        """Begin; with a limit, to end after so many paintings."""
        self._running, self._limit = True, limit
        self._thread.start()

    def repaint(self) -> None:
        """Have the picture painted again: something about its look has changed."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def wait_for_more(self, count: int, seconds: float) -> tuple[Painted | None, int, bool]:
        """(the frame painted last, how many were painted, whether more will be), as soon as more than `count` were
        painted, but after so many seconds at the latest."""
        with self._changed:
            self._changed.wait_for(lambda: self._statistics.painted > count or not self._running, seconds)
            return self._controls.latest, self._statistics.painted, self._running

    def stop(self) -> None:
        """Paint no further frame; `join` waits for the present one."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the thread's end, and abandon a painting that takes longer than a moment."""
        self._thread.join(PATIENCE)
        while self._thread.is_alive():
            self._painter.stylizer.abandon()
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        held: Captured | None = None
        try:
            while (item := self._next_frame(held)) is not None:
                if held is not None and item.number > held.number:
                    dropped = item.number - max(held.number, self._controls.thawed_at) - 1
                    self._statistics.note_dropped(max(0, dropped), self._clock())
                held = item
                self._paint(item)
        except Abandoned:
            pass  # as `join` asked
        except BaseException as error:
            self.error = error
        finally:
            with self._changed:
                self._running = False
                self._changed.notify_all()

    def _paint(self, item: Captured) -> None:
        controls, started = self._controls, self._clock()
        self._began_at = started
        code = controls.styles.fade.at(started)
        frame = np.asarray(cv2.flip(item.rgb, 1), np.uint8) if controls.settings.mirror else item.rgb
        controls.height.begin(*frame.shape[:2])
        prepared = self._painter.prepare(frame)
        began = self._clock()
        raw = self._painter.run([prepared], code)[0]
        net = self._clock() - began
        picture = self._painter.finish(prepared, raw, history_weight=1.0 if code is self._last_code else 0.0)
        self._last_code = code
        painted = Painted(item.number, item.time, frame, picture)
        self._publish(painted)
        now = self._clock()
        controls.height.note(now - started, net, now, self._capture.rate)
        if self._on_paint:
            self._on_paint(painted, now - started)

    def _next_frame(self, held: Captured | None) -> Captured | None:
        """The frame to paint next: a new one, or the same again when something about the look has changed."""
        controls = self._controls
        with self._changed:
            while not self._stopped and self._statistics.painted != self._limit:
                frozen, newest = controls.settings.frozen and held is not None, self._capture.newest
                if newest is not None and (held is None or newest.number > held.number) and not frozen:
                    self._dirty = False
                    return newest
                pause = None
                if held is not None and (self._dirty or controls.styles.fade.at(self._clock()) is not self._last_code):
                    pause = self._began_at + self._interval(frozen) - self._clock()
                    if pause <= 0:
                        self._dirty = False
                        return held if frozen else newest
                elif self._capture.ended and not frozen:
                    return None
                self._changed.wait(pause)
            return None

    def _interval(self, frozen: bool) -> float:
        """Seconds from one painting of a frame to the next of the same: that of a display, and longer where new frames
        come often enough to carry a change of the look by themselves."""
        interval, rate = 1 / (self._controls.height.target_fps or DISPLAY_FPS), self._capture.rate
        return max(interval, 2 / rate) if rate and 2 / rate < SLOWEST_CHANGE and not frozen else interval

    def _publish(self, painted: Painted) -> None:
        controls, now = self._controls, self._clock()
        latest = controls.latest
        again = latest is not None and latest.number == painted.number
        with self._changed:
            controls.latest = painted
            self._statistics.note_painted(now)
            self._changed.notify_all()
        controls.outputs.write(now if again else painted.time, lambda: painted.view(controls.settings.split))
