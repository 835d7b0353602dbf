"""The strip of styles along the bottom of the live window: pictures to click, to scroll and to mix, a filter to type
into, and sliders above them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from rtstyle.live import overlay
from rtstyle.live.overlay import Area
from rtstyle.live.styles import StyleChooser
from rtstyle.live.thumbnails import Thumbnails
from rtstyle.media.window import Mouse
from rtstyle.paint.painter import Painter
from rtstyle.runtime.session import Frames

VISIBLE_SECONDS = 3.0  # without a move
THUMBNAIL = 0.12  # height of a picture, as a share of the window's
MIN_WIDTH = 7  # of a picture, in letters: so much of a name can be read
DARK, GREY, ORANGE = (20, 20, 20), (90, 90, 90), (255, 190, 90)
BACKSPACE, ENTER, ESCAPE = "\b\x7f", "\r\n", "\x1b"


@dataclasses.dataclass(frozen=True)
class Slider:
    """Something between 0 and 1 that the mouse sets."""

    label: str
    get: Callable[[], float]
    set: Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things are on a canvas: the whole strip, the tracks of the sliders, the pictures of the styles."""

    strip: Area
    letters: int
    sliders: tuple[Area, ...]
    cells: Area  # all of them, as far as the window shows them
    cell: int  # width of one
    thumbnail: int  # height of a picture

    @classmethod
    def on(cls, height: int, width: int, aspect: float, sliders: int) -> Layout:
        """For a canvas of a height and width, pictures of an aspect (width / height) and so many sliders."""
        letters = overlay.letters_on(height, width, 0.7)
        cell = max(round(THUMBNAIL * height * aspect), MIN_WIDTH * letters)
        thumbnail = min(round(cell / aspect), height // 3)
        row, label = 2 * letters, round(1.6 * letters)
        top = max(0, height - row - thumbnail - label)
        each = width // max(1, sliders)
        tracks = tuple(Area(i * each + 8 * letters, top, max(1, each - 9 * letters), row) for i in range(sliders))
        cells = Area(0, top + row, width, height - top - row)
        return cls(Area(0, top, width, height - top), letters, tracks, cells, cell, thumbnail)


def look_sliders(painter: Painter) -> tuple[Slider, ...]:
    """The sliders for a painter's look."""
    return (
        Slider("strength", lambda: painter.strength, lambda value: setattr(painter, "strength", round(value, 2))),
        Slider("steady", lambda: painter.steadiness, lambda value: setattr(painter, "steadiness", round(value, 2))),
    )


class Strip:
    """The strip: `toggle` opens and closes it; it hides while neither mouse nor keyboard does anything.

    What is typed into it narrows `shown`, the numbers of the styles that are in it. Times are those of time.monotonic.
    """

    def __init__(self, styles: StyleChooser, thumbnails: Thumbnails, sliders: tuple[Slider, ...]):
        self._styles, self.thumbnails, self._sliders = styles, thumbnails, sliders
        self.open = False
        self.query = ""
        self._until = 0.0
        self._offset = 0.0  # of the first cell, in cells
        self._last: tuple[int, int, float] | None = None  # what was painted when it was last brought into view
        self._layout: Layout | None = None
        self._held: Slider | float | None = None  # the slider, or place among the cells, where the mouse was pressed
        self._mixing = False
        self._drawn: tuple[object, Frames] | None = None

    @property
    def shown(self) -> list[int]:
        """The numbers of the styles in it: those whose names begin with what was typed."""
        return [i for i, style in enumerate(self._styles.styles) if style.name.lower().startswith(self.query)]

    def visible(self, now: float) -> bool:
        return self.open and now < self._until

    def toggle(self, now: float, frame: Frames | None) -> None:
        """Open it or close it. Its pictures are painted from a frame when it is opened for the first time."""
        self.open = not self.visible(now)
        self.query, self._until, self._held = "", now + VISIBLE_SECONDS, None
        if self.open and frame is not None:
            self.thumbnails.paint(frame, missing=True)

    def press(self, key: str, now: float, frame: Frames | None) -> str | None:
        """Do what a key means to it while it is visible: what there is to say; None where the key is not its own."""
        if key == ESCAPE and self.open:  # also where it has just hidden: nobody who closes it wants to quit
            self.open = False
            return ""
        if not self.visible(now):
            return None
        key = "z" if key == "X" else key.lower()  # the window gives X for z
        if key.isdecimal() and len(key) == 1:
            return self._choose((int(key) - 1) % 10, now)
        if key in BACKSPACE:
            self.query = self.query[:-1]
        elif key in ENTER:
            if self.query:
                return self._choose(0, now)
            if frame is not None:
                self.thumbnails.paint(frame)
        elif key.isalpha() or key == "-":
            return self._type(key, now)
        else:
            return None
        self._until = now + VISIBLE_SECONDS
        return ""

    def _type(self, letter: str, now: float) -> str:
        """One more letter of a name, of which the rest may follow when it is the only one left; or of the next name."""
        self._until, before, chosen = now + VISIBLE_SECONDS, self.query, len(self.shown) == 1
        self.query += letter
        if chosen and not self.shown:
            self.query = letter
        if not (found := self.shown):
            words, self.query = f"no style begins with {self.query}", before
            return words
        self._offset = 0.0
        return (self._styles.choose(found[0], now) or "") if len(found) == 1 else ""

    def _choose(self, place: int, now: float) -> str:
        """Set out for the style at a place of those that are shown."""
        shown, self._until = self.shown, now + VISIBLE_SECONDS
        if place < len(shown):
            self.query = ""
            return self._styles.choose(shown[place], now) or ""
        return ""

    # -- the mouse

    def follow(self, mouse: Mouse, now: float) -> bool:
        """Take what the mouse did; whether it was for the strip."""
        if not self.open:
            return False
        hidden, self._until = not self.visible(now), now + VISIBLE_SECONDS
        if self._layout is None or (hidden and self._held is None):
            self.query = ""
            return False
        if mouse.what == "press":
            self._held, self._mixing = self._at(mouse), False
        held = self._held
        if mouse.what == "wheel" and self._layout.strip.holds(mouse.x, mouse.y):
            self._turn_wheel(mouse.steps)
            return True
        if held is None:
            return self._layout.strip.holds(mouse.x, mouse.y)
        if isinstance(held, Slider):
            track = self._layout.sliders[self._sliders.index(held)]
            held.set(min(1.0, max(0.0, (mouse.x - track.left) / track.width)))
        elif mouse.what == "drag":
            self._mix(self._place(mouse.x), held, now)
        elif mouse.what == "release" and not self._mixing:
            self._choose(int(held), now)
        if mouse.what == "release":
            self._held = None
        return True

    def _place(self, x: float) -> float:
        """Where a column of the window is among the cells: 1.5 is the middle of the second."""
        assert self._layout is not None
        return (x - self._layout.cells.left) / self._layout.cell + self._offset

    def _at(self, mouse: Mouse) -> Slider | float | None:
        """What is under the mouse: a slider, or a place among the cells."""
        assert self._layout is not None
        for slider, track in zip(self._sliders, self._layout.sliders, strict=True):
            if track.holds(mouse.x, mouse.y):
                return slider
        if self._layout.cells.holds(mouse.x, mouse.y) and self._place(mouse.x) < len(self.shown):
            return self._place(mouse.x)
        return None

    def _mix(self, place: float, pressed: float, now: float) -> None:
        """Mix the two styles whose middles are beside a place, by how near they are."""
        self._mixing = self._mixing or abs(place - pressed) > 0.1
        shown = self.shown
        if self._mixing and len(shown) > 1:
            place = min(max(place - 0.5, 0.0), len(shown) - 1.0)
            first = min(int(place), len(shown) - 2)
            self._styles.mix(shown[first], shown[first + 1], place - first, now)
            self._last = self._styles.position  # it does not scroll under the mouse

    def _turn_wheel(self, steps: int) -> None:
        """Scroll, from the end to the start again: OpenCV's Qt windows enlarge the picture when the wheel is turned up,
        so that everything has to be reached by turning it down."""
        before = self._offset
        self._scroll_to(before - steps)
        if steps < 0 and self._offset == before:
            self._scroll_to(0.0)

    def _scroll_to(self, offset: float) -> None:
        assert self._layout is not None
        room = self._layout.cells.width / self._layout.cell
        self._offset = max(0.0, min(offset, len(self.shown) - room))

    def _bring_into_view(self) -> None:
        """Scroll to the style that is painted, when that has changed."""
        position, shown = self._styles.position, self.shown
        if position == self._last or position[0] not in shown or self._layout is None:
            return
        self._last = position
        room, place = self._layout.cells.width / self._layout.cell, shown.index(position[0])
        self._scroll_to(min(max(self._offset, place + 1.25 - room), max(0.0, place - 0.25)))

    # -- the picture of it

    def draw(self, canvas: Frames, aspect: float, now: float) -> int:
        """Draw it over the bottom of uint8 RGB [H, W, 3], in place; `aspect` is that of its pictures. The row of the
        canvas where it begins, H where it is hidden."""
        height, width = int(canvas.shape[0]), int(canvas.shape[1])
        if not self.visible(now):
            return height
        self._layout = layout = Layout.on(height, width, aspect, len(self._sliders))
        self._bring_into_view()
        values = tuple(round(slider.get(), 3) for slider in self._sliders)
        names = tuple(style.name for style in self._styles.styles)
        state = (layout, self.query, self._offset, self._styles.position, self.thumbnails.version, values, names)
        if self._drawn is None or self._drawn[0] != state:
            self._drawn = state, self._picture(layout)
        layout.strip.of(canvas)[:] = self._drawn[1]
        return layout.strip.top

    def _picture(self, layout: Layout) -> Frames:
        """The strip alone, uint8 RGB."""
        canvas = np.full((layout.strip.top + layout.strip.height, layout.strip.width, 3), DARK, np.uint8)
        for slider, track in zip(self._sliders, layout.sliders, strict=True):
            self._draw_slider(canvas, slider, track, layout.letters)
        first, second, share = self._styles.position
        weights = {first: 1 - share} | ({second: share} if share else {})
        for place, index in enumerate(self.shown):
            left = round((place - self._offset) * layout.cell) + layout.cells.left
            if -layout.cell < left < layout.strip.width:
                self._draw_cell(canvas, layout, left, place, index, weights.get(index, 0.0))
        if self.query:
            words = [f"{self.query}_"]
            box = overlay.text_box(words, round(1.4 * layout.letters), layout.cells.of(canvas).shape[:2], ORANGE)
            canvas[layout.cells.top : layout.cells.top + box.shape[0], : box.shape[1]] = box
        return layout.strip.of(canvas)

    def _draw_slider(self, canvas: Frames, slider: Slider, track: Area, letters: int) -> None:
        label = Area(track.left - 8 * letters, track.top, 8 * letters - letters // 2, track.height)
        _write(canvas, f"{slider.label} {slider.get():.0%}", label, letters)
        middle, thick = track.top + track.height // 2, max(2, letters // 4)
        knob = track.left + round(slider.get() * track.width)
        cv2.line(canvas, (track.left, middle), (track.left + track.width, middle), GREY, thick)
        cv2.line(canvas, (track.left, middle), (knob, middle), ORANGE, thick)
        cv2.circle(canvas, (knob, middle), max(4, letters // 2), ORANGE, -1, cv2.LINE_AA)

    def _draw_cell(self, canvas: Frames, layout: Layout, left: int, place: int, index: int, weight: float) -> None:
        """The picture of a style and its name, framed by as much as it has its part in what is painted."""
        gap = max(1, layout.letters // 8)
        cell = np.full((layout.cells.height, layout.cell, 3), DARK, np.uint8)
        inside = Area(gap, gap, layout.cell - 2 * gap, layout.thumbnail - 2 * gap)
        inside.of(cell)[:] = GREY
        if (picture := self.thumbnails.pictures.get(self._styles.styles[index].name)) is not None:
            overlay.place(picture, cell, inside)
        if weight:
            thick = max(2, round(weight * layout.letters / 3))
            cv2.rectangle(cell, (0, 0), (layout.cell - 1, layout.thumbnail - 1), ORANGE, thick)
        number, color = f"{(place + 1) % 10} " if place < 10 else "", ORANGE if weight else overlay.WHITE
        label = Area(0, layout.thumbnail, layout.cell, layout.cells.height - layout.thumbnail)
        _write(cell, number + self._styles.styles[index].name, label, layout.letters, color)
        begin, end = max(0, -left), min(layout.cell, layout.strip.width - left)
        canvas[layout.cells.top :, left + begin : left + end] = cell[:, begin:end]


def _write(canvas: Frames, words: str, area: Area, letters: int, color: overlay.Color = overlay.WHITE) -> None:
    """Write words into an area, in smaller letters where they are long, and cut where even those are too large."""
    box = overlay.line_box(words, letters, area.width, color)[: area.height]
    top = area.top + (area.height - box.shape[0]) // 2
    target = canvas[top : top + box.shape[0], area.left : area.left + box.shape[1]]
    np.maximum(target, box, out=target)
