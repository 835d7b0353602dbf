"""The keys of the live window, and the state that they change."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

from rtstyle.live.booth import Booth, booth_codes, sheet_painter
from rtstyle.live.frame_rate import WorkHeight
from rtstyle.live.outputs import Outputs
from rtstyle.live.overlay import Area, Messages
from rtstyle.live.pictures import Pictures
from rtstyle.live.statistics import Painted
from rtstyle.live.strip import Strip
from rtstyle.live.styles import MIX_STEP, StyleChooser
from rtstyle.media.capture import Capture
from rtstyle.media.window import Window
from rtstyle.paint.painter import Painter


@dataclasses.dataclass
class Settings:
    """What the keys change besides the style."""

    mirror: bool = False
    split: float | None = None  # where the line between before and after stands, 0 to 1; None: no line
    frozen: bool = False
    cycle: bool = False
    show_display: bool = True
    show_help: bool = False


@dataclasses.dataclass
class Controls:
    """Everything that keys act on. `latest` is the frame that was painted last, None before the first."""

    painter: Painter
    capture: Capture
    settings: Settings
    styles: StyleChooser
    strip: Strip
    height: WorkHeight
    outputs: Outputs
    messages: Messages
    booth: Booth = dataclasses.field(default_factory=Booth)
    window: Window | None = None
    clock: Callable[[], float] = time.monotonic
    pictures: Pictures | None = None
    latest: Painted | None = None
    picture: Area | None = None  # where the window shows it
    quit: bool = False
    bindings: Mapping[str, str] = dataclasses.field(default_factory=dict)  # keys that do what another one is for
    thawed_at: int = 0  # number of the newest frame when the picture was last frozen: none of those was dropped

    def press(self, key: str) -> None:
        """Do what a key stands for; unknown keys do nothing."""
        if (words := self.strip.press(key, self.clock(), self.latest.frame if self.latest else None)) is not None:
            self.messages.say(words or None)
            return
        key = self.bindings.get(key, key)
        for entry in KEYS:
            if key in entry.keys:
                entry.action(self, key)

    def take_turn(self, now: float) -> bool:
        """Go on to the next style where styles take turns and it is time; whether it was."""
        if not self.settings.cycle or self.settings.frozen:
            return False
        due, words = self.styles.take_turn(now)
        self.messages.say(words)
        return due

    def take_sheet(self, now: float) -> None:
        """Save a sheet of the moment when the countdown is over."""
        if self.booth.due(now) and self.latest:
            codes = booth_codes(self.styles)
            self.outputs.save(sheet_painter(self.painter, self.latest.frame, codes), "-booth.png")

    def follow_mouse(self) -> bool:
        """Take what the mouse did to the strip, or the line between before and after to where it was dragged; whether
        the picture looks different for it."""
        moved = False
        while self.window and self.window.mouse:
            mouse = self.window.mouse.popleft()
            if self.strip.follow(mouse, self.clock()):
                moved = moved or mouse.what != "move"
            elif mouse.what in ("press", "drag") and self.settings.split is not None and self.picture:
                share = (mouse.x - self.picture.left) / self.picture.width
                self.settings.split, moved = min(1.0, max(0.0, share)), True
        return moved

    def follow_pictures(self, now: float) -> bool:
        """Take in pictures that came among the styles, and better codes; whether the picture looks different for it."""
        if not self.pictures:
            return False
        before = self.styles.fade
        self.messages.say(self.pictures.follow(now))
        if self.pictures.outdated and not self.strip.thumbnails.busy:
            for name in self.pictures.outdated:
                self.strip.thumbnails.pictures.pop(name, None)
            self.pictures.outdated.clear()
            if self.strip.visible(now) and self.latest:
                self.strip.thumbnails.paint(self.latest.frame, missing=True)
        return self.styles.fade is not before

    # -- what keys do

    def _toggle_strip(self, key: str) -> None:
        self.strip.toggle(self.clock(), self.latest.frame if self.latest else None)

    def _choose_style(self, key: str) -> None:
        self.messages.say(self.styles.choose((int(key) - 1) % 10, self.clock()))

    def _step_style(self, key: str) -> None:
        self.messages.say(self.styles.step(1 if key == "n" else -1, self.clock()))

    def _mix(self, key: str) -> None:
        self.messages.say(self.styles.move_mix(MIX_STEP if key == "x" else -MIX_STEP, self.clock()))

    def _toggle_turns(self, key: str) -> None:
        self.settings.cycle = not self.settings.cycle
        self.styles.begin_turns(self.clock())

    def _change_strength(self, key: str) -> None:
        strength = round(self.painter.strength + (0.1 if key == "]" else -0.1), 2)
        self.painter.strength = min(1.0, max(0.0, strength))

    def _toggle_color(self, key: str) -> None:
        self.painter.keep_color = not self.painter.keep_color

    def _toggle_steadiness(self, key: str) -> None:
        self.painter.steady = not self.painter.steady

    def _change_height(self, key: str) -> None:
        self.messages.say(self.height.make_automatic() if key == "w" else self.height.step(+1 if key in "+=" else -1))

    def _toggle_freeze(self, key: str) -> None:
        self.settings.frozen = not self.settings.frozen
        self.thawed_at = self.capture.count

    def _toggle_mirror(self, key: str) -> None:
        self.settings.mirror = not self.settings.mirror

    def _toggle_split(self, key: str) -> None:
        self.settings.split = 0.5 if self.settings.split is None else None

    def _take_snapshot(self, key: str) -> None:
        if self.latest:
            self.outputs.take_snapshot(self.latest.view(self.settings.split))

    def _toggle_countdown(self, key: str) -> None:
        self.booth.toggle(self.clock())

    def _toggle_still(self, key: str) -> None:
        if self.latest:
            self.outputs.toggle_still(self.latest, self.styles.mixture())

    def _toggle_recording(self, key: str) -> None:
        self.outputs.toggle_recording(self.clock())

    def _toggle_full_screen(self, key: str) -> None:
        if self.window:
            self.window.toggle_full_screen()

    def _toggle_text(self, key: str) -> None:
        if key == "i":
            self.settings.show_display = not self.settings.show_display
        else:
            self.settings.show_help = not self.settings.show_help

    def _quit(self, key: str) -> None:
        self.quit = True


@dataclasses.dataclass(frozen=True)
class Key:
    """The characters that do something, what the help calls them, what it says of them, and what is done."""

    keys: str
    label: str
    help: str
    action: Callable[[Controls, str], None]


# The one table of keys: the help over the picture and the table in docs/live.md are made from it.
KEYS = (
    Key("1234567890", "1-9 0", "style by number", Controls._choose_style),
    Key("np", "n p", "next, previous style", Controls._step_style),
    Key("xX", "x z", "hold: mix with the next style, and back", Controls._mix),  # the window gives X for z
    Key("\t", "tab", "styles as pictures: click, drag, type, Enter", Controls._toggle_strip),
    Key("a", "a", "change styles automatically", Controls._toggle_turns),
    Key("[]", "[ ]", "strength", Controls._change_strength),
    Key("c", "c", "keep the camera's colours", Controls._toggle_color),
    Key("t", "t", "steadiness", Controls._toggle_steadiness),
    Key("+=-_w", "+ -", "working height (w: automatic again)", Controls._change_height),
    Key(" ", "space", "freeze", Controls._toggle_freeze),
    Key("m", "m", "mirror", Controls._toggle_mirror),
    Key("v", "v", "before and after; drag the line", Controls._toggle_split),
    Key("s", "s", "snapshot (PNG)", Controls._take_snapshot),
    Key("b", "b", "photo booth: 3-2-1, a sheet of four styles", Controls._toggle_countdown),
    Key("g", "g", "Gatys mode: a still in the background, stop it", Controls._toggle_still),
    Key("r", "r", "record, stop (MP4)", Controls._toggle_recording),
    Key("f", "f", "full screen", Controls._toggle_full_screen),
    Key("ih", "i h", "display, this help", Controls._toggle_text),
    Key("q\x1b", "q Esc", "quit", Controls._quit),
)


def help_lines() -> list[str]:
    """The keys as the help over the picture shows them: columns part at a tab."""
    return [f"{key.label}\t{key.help}" for key in KEYS]


def key_table() -> str:
    """The keys as a Markdown table, for docs/live.md."""
    rows = (f"| {' '.join(f'`{label}`' for label in key.label.split())} | {key.help} |" for key in KEYS)
    return "\n".join(("| key | |", "| --- | --- |", *rows))
