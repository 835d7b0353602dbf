"""Which style is painted: one of the gallery, a mix of two neighbours, or what was asked for at the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtstyle.gallery import catalog
from rtstyle.gallery.model_file import Style
from rtstyle.paint.crossfade import Crossfade
from rtstyle.paint.painter import FramePainter

FADE_SECONDS = 0.5
TURN_SECONDS = 8.0  # a style's turn when styles change by themselves ...
TURN_FADE_SECONDS = 1.5  # ... and how long the change takes
MIX_STEP = 0.05  # of a key press; a held key repeats some 25 times a second
MIX_FADE_SECONDS = 0.12


class StyleChooser:
    """The style that is being painted: `label` in words, its `position` between two styles of the gallery (their
    numbers, -1 for what is none of them, and the share of the second), and the crossfade there, `fade`.

    What changes it returns a sentence where there is something to say. Times are those of time.monotonic.
    """

    def __init__(
        self, stylizer: FramePainter, *, turn_seconds: float = TURN_SECONDS, turn_fade: float = TURN_FADE_SECONDS
    ):
        self.styles = list(stylizer.gallery())
        names = [style.name for style in self.styles]
        self.label = stylizer.style
        self.fade = Crossfade(stylizer.code)
        self._fixed = stylizer.code is None
        index = names.index(self.label) if self.label in names else -1  # -1: what was asked for at the start
        self.position = index, index, 0.0  # two styles of the gallery, and how much of the second
        self._turn_seconds, self._turn_fade = turn_seconds, turn_fade
        self._next_turn = float("-inf")

    def choose(self, index: int, now: float, seconds: float = FADE_SECONDS) -> str | None:
        """Set out for a style of the gallery."""
        if self._fixed:
            return "this model has one style only"
        if index < len(self.styles):
            self.position = index, index, 0.0
            self.label = self.styles[index].name
            self.fade = self.fade.to(self.styles[index].code, seconds, now)
        return None

    def add(self, style: Style, now: float, seconds: float = FADE_SECONDS) -> None:
        """Take a style into the gallery, or a better code for one that has its name; where that is painted, set out for
        it."""
        for index, known in enumerate(self.styles):
            if known.name == style.name:
                self.styles[index] = style
                first, second, share = self.position
                if index == first and not share:
                    self.choose(index, now, seconds)
                elif index in (first, second):
                    self.mix(first, second, share, now)
                return
        self.styles.append(style)

    def remove(self, name: str) -> None:
        """Take a style out of the gallery. What is being painted stays until another is chosen."""
        index = next((i for i, style in enumerate(self.styles) if style.name == name), None)
        if index is None:
            return
        del self.styles[index]
        first, second, share = self.position
        if index in (first, second):
            self.position = -1, -1, 0.0
        else:
            self.position = first - (first > index), second - (second > index), share

    def step(self, by: int, now: float, seconds: float = FADE_SECONDS) -> str | None:
        """The next style (1) or the previous one (-1), around the ends."""
        index = self.position[0] + (by if self.position[0] >= 0 or by > 0 else 0)
        return self.choose(index % max(1, len(self.styles)), now, seconds)

    def mix(self, first: int, second: int, share: float, now: float) -> str | None:
        """Set out for a mix of two styles of the gallery, `share` (0 to 1) of the second."""
        if self._fixed:
            return "this model has one style only"
        if share <= 0 or share >= 1:
            return self.choose(second if share >= 1 else first, now, MIX_FADE_SECONDS)
        self.position = first, second, share
        one, other = self.styles[first], self.styles[second]
        self.label = f"{one.name} {1 - share:.0%}, {other.name} {share:.0%}"
        code = np.asarray((1 - share) * one.code + share * other.code, np.float32)
        self.fade = self.fade.to(code, MIX_FADE_SECONDS, now)
        return None

    def move_mix(self, by: float, now: float) -> str | None:
        """A step towards the next style, or back; at the end of the way the next style is the style."""
        if self._fixed or len(self.styles) < 2:
            return "there is no other style to mix with"
        first, second, share = self.position
        if not share:
            first = (max(0, first) - (by < 0)) % len(self.styles)
            second, share = (first + 1) % len(self.styles), float(by < 0)
        return self.mix(first, second, round(share + by, 3), now)

    def begin_turns(self, now: float) -> None:
        """The next style's turn comes at once."""
        self._next_turn = now

    def take_turn(self, now: float) -> tuple[bool, str | None]:
        """(whether the next style's turn has come, what there is to say). Called again and again."""
        if now <= self._next_turn:
            return False, None
        self._next_turn = now + self._turn_seconds
        return True, self.step(1, now, self._turn_fade)

    def mixture(self) -> list[tuple[str, float]]:
        """The names and weights of what is painted."""
        first, second, share = self.position
        if first < 0:  # as it was asked for at the start: perhaps a mix, or a file
            asked = catalog.mixture(self.label)
            return [(Path(name).stem if catalog.is_file_name(name) else name, weight) for name, weight in asked]
        mixed = [(self.styles[first].name, 1 - share), (self.styles[second].name, share)]
        return mixed if share else [(self.styles[first].name, 1.0)]
