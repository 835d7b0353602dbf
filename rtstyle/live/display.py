"""What is written over the picture in the live window."""

from __future__ import annotations

import numpy as np

from rtstyle.live import overlay
from rtstyle.live.controls import Controls, help_lines
from rtstyle.live.overlay import Area
from rtstyle.live.statistics import Painted, Statistics
from rtstyle.runtime.session import Frames

EMPTY = (360, 640)  # height and width of what is shown before the first picture
ORANGE, RED = (255, 210, 120), (255, 110, 110)
MIN_BESIDE = 0.04  # share of the canvas that the picture must have beside the help: else it lies over the picture


def compose(
    controls: Controls, statistics: Statistics, painted: Painted | None, now: float, size: tuple[int, int]
) -> Frames:
    """What the window shows at a time: a painted frame (None before the first) on black, with the texts; uint8 RGB of
    a size (height, width)."""
    settings, outputs = controls.settings, controls.outputs
    canvas = np.zeros((*size, 3), np.uint8)
    room = Area(0, 0, size[1], size[0])
    if settings.show_help:
        room = _write_help(canvas, painted.frame.shape[:2] if painted else EMPTY)
    if painted:
        view = painted.view(settings.split)
        controls.picture = room.fitted(*view.shape[:2])
        overlay.place(view, canvas, controls.picture)
    if settings.show_help and room.width == size[1] and room.height == size[0]:
        overlay.write(canvas, help_lines(), position=(0.5, 0.5))
    elif settings.show_display and not settings.show_help:
        overlay.write(canvas, status(controls, statistics, now))
    shape = painted.frame.shape if painted else EMPTY
    above = canvas[: controls.strip.draw(canvas, shape[1] / shape[0], now)]
    _write_news(room.of(above) if 2 * room.width > size[1] else above, controls, painted, now)
    if still := outputs.stills.status:
        overlay.write(above, [still], position=(1.0, 1.0))
    if count := controls.booth.count(now):
        overlay.write(canvas, [count], position=(0.5, 0.4), size=8)
    running = [f"REC {outputs.recorder.seconds:.0f} s"] if outputs.recorder else []
    if running or outputs.stream:
        running += [outputs.stream.status] if outputs.stream else []
        overlay.write(canvas, running, position=(1.0, 0.0), color=RED)
    return canvas


def _write_help(canvas: Frames, picture: tuple[int, ...]) -> Area:
    """Write the keys at the left or at the bottom, wherever more is left for a picture of a (height, width): the room
    that is left; all of it, and nothing is written, where a picture would be too small beside the keys."""
    height, width = canvas.shape[:2]
    letters = overlay.letters_on(height, width, size=0.8)
    box = overlay.text_box(help_lines(), letters, (height, width))
    tall, wide = box.shape[:2]
    everything = Area(0, 0, width, height)
    rooms = Area(wide, 0, width - wide, height), Area(0, 0, width, height - tall)
    room = max(rooms, key=lambda room: _size_of(room, picture))
    if _size_of(room, picture) < MIN_BESIDE * _size_of(everything, picture):
        return everything
    if room is rooms[0]:
        canvas[(height - tall) // 2 :][:tall, :wide] = box
    else:
        canvas[height - tall :, (width - wide) // 2 :][:, :wide] = box
    return room


def _size_of(room: Area, picture: tuple[int, ...]) -> int:
    """The pixels that a picture of a (height, width) would have in a room."""
    if min(room.width, room.height) <= 0:
        return 0
    fitted = room.fitted(*picture)
    return fitted.width * fitted.height


def _write_news(canvas: Frames, controls: Controls, painted: Painted | None, now: float) -> None:
    """What is wrong with the source, or else the sentence of the moment."""
    problem = controls.capture.problem if not controls.capture.ended else ""
    if painted is None and not problem:
        problem = "waiting for the first picture"
    if problem:
        overlay.write(canvas, [problem], position=(0.5, 0.5), size=1.4, color=ORANGE)
    elif message := controls.messages.current(now):
        overlay.write(canvas, [message], position=(0.5, 1.0))


def status(controls: Controls, statistics: Statistics, now: float) -> list[str]:
    """The lines of the on-screen display: style and look, figures, working height."""
    settings, painter = controls.settings, controls.painter
    words = [controls.styles.label, f"strength {painter.strength:.0%}"]
    words += ["camera's colours"] * painter.keep_color + ["steady"] * painter.steady
    words += ["frozen"] * settings.frozen + ["taking turns"] * settings.cycle
    words += [controls.pictures.status] if controls.pictures and controls.pictures.status else []
    return [
        ", ".join(words),
        statistics.figures(now),
        f"{controls.height} on {painter.stylizer.device.name}, h for help",
    ]
