"""What is written over the picture in the live window."""

from __future__ import annotations

import numpy as np

from rtstyle.live import overlay
from rtstyle.live.controls import Controls, help_lines
from rtstyle.live.statistics import Painted, Statistics
from rtstyle.runtime.session import Frames

EMPTY = (360, 640)  # height and width of what is shown before the first picture
ORANGE, RED = (255, 210, 120), (255, 110, 110)


def compose(controls: Controls, statistics: Statistics, painted: Painted | None, now: float) -> Frames:
    """The view of a painted frame, None before the first, with the texts of a time: uint8 RGB [H, W, 3], a copy."""
    settings, capture, outputs = controls.settings, controls.capture, controls.outputs
    view = painted.view(settings.split) if painted else np.zeros((*EMPTY, 3), np.uint8)
    canvas = overlay.readable(view)
    if settings.show_help:
        overlay.write(canvas, help_lines(), position=(0.5, 0.5))
    elif settings.show_display:
        overlay.write(canvas, status(controls, statistics, now))
    problem = capture.problem if not capture.ended else ""
    if painted is None and not problem:
        problem = "waiting for the first picture"
    if problem:
        overlay.write(canvas, [problem], position=(0.5, 0.5), size=1.4, color=ORANGE)
    elif message := controls.messages.current(now):
        overlay.write(canvas, [message], position=(0.5, 1.0))
    if still := outputs.stills.status:
        overlay.write(canvas, [still], position=(1.0, 1.0))
    if recorder := outputs.recorder:
        overlay.write(canvas, [f"REC {recorder.seconds:.0f} s"], position=(1.0, 0.0), color=RED)
    return canvas


def status(controls: Controls, statistics: Statistics, now: float) -> list[str]:
    """The lines of the on-screen display: style and look, figures, working height."""
    settings, painter = controls.settings, controls.painter
    words = [controls.styles.label, f"strength {painter.strength:.0%}"]
    words += ["camera's colours"] * painter.keep_color + ["steady"] * painter.steady
    words += ["frozen"] * settings.frozen + ["taking turns"] * settings.cycle
    return [
        ", ".join(words),
        statistics.figures(now),
        f"{controls.height} on {painter.stylizer.device.name}, h for help",
    ]
