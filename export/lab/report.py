"""What comes of an experiment: tables as CSV, pictures as PNG, and one HTML page that holds them all.

The page is there with the first result and rewritten while the experiment goes on; every file takes its name only when
it is complete.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from rtstyle.export.lab.plan import EXPERIMENTS
from rtstyle.files import make_folder, written_beside
from rtstyle.media.chart import chart
from rtstyle.media.contact_sheet import draw_gallery

SAVE_SECONDS = 10.0  # between reports while the experiment goes on
STRIP_HEIGHT = 224  # pixels of a picture in a strip


@dataclasses.dataclass
class Figure:
    """A PNG in the folder `pictures`. `draw` makes it again from what there is when the report is written; it returns
    False while there is nothing to draw. Pictures have none: they are written at once."""

    name: str
    caption: str
    draw: Callable[[Path], bool] | None = None


@dataclasses.dataclass
class Table:
    """Rows under `columns`, numbers in full; `words` says what the columns are."""

    name: str
    columns: tuple[str, ...]
    words: str = ""
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, **row: Any) -> None:
        if unknown := row.keys() - set(self.columns):
            raise ValueError(f"{self.name} has no column {sorted(unknown)}")
        self.rows.append(row)


@dataclasses.dataclass
class Curve:
    """Values over `x`, as a line, or as points with their `labels`."""

    label: str
    x: list[float]
    y: list[float]
    labels: Sequence[str] = ()


class Report:
    """The report of one experiment. `facts` are shown as they are: versions, device, seed, pictures, settings."""

    def __init__(self, title: str, method: str, out: Path, clock: Callable[[], float] = time.monotonic):
        self.title, self.method, self.out = title, method, out
        self.facts: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.tables: list[Table] = []
        self.sheets: list[Figure] = []
        self.pictures: list[Figure] = []
        self._clock, self._saved = clock, -math.inf
        self._waiting: list[tuple[str, np.ndarray]] = []
        self._replaces = (out / "report.html").exists()

    @property
    def empty(self) -> bool:
        return not any(table.rows for table in self.tables)

    def table(self, name: str, columns: Sequence[str], words: str = "") -> Table:
        self.tables.append(Table(name, tuple(columns), words))
        return self.tables[-1]

    def picture(self, name: str, rgb: np.ndarray, caption: str) -> None:
        """Keep a picture uint8 [H, W, 3]; nothing is written before there is a result."""
        self._waiting.append((name, rgb))
        self.pictures.append(Figure(name, caption))
        if self.empty:
            return
        self._write_pictures()
        if self._clock() - self._saved > SAVE_SECONDS:
            self.save("this report was written while the experiment went on")

    def strip(self, name: str, caption: str, columns: int = 4) -> list[tuple[str, np.ndarray]]:
        """A list that takes (label, uint8 [H, W, 3]): they become one labelled picture, `columns` in a row."""
        cells: list[tuple[str, np.ndarray]] = []

        def draw(path: Path) -> bool:
            if cells:
                draw_gallery(cells, path, STRIP_HEIGHT, columns, force=True)
            return bool(cells)

        self.sheets.append(Figure(name, caption, draw))
        return cells

    def plot(self, name: str, caption: str, x: str, y: str, *, log_x: bool = False) -> list[Curve]:
        """A list that takes curves: they become one plot, `y` on a logarithmic axis."""
        curves: list[Curve] = []

        def draw(path: Path) -> bool:
            if curves:
                draw_plot(curves, x, y, log_x, path)
            return bool(curves)

        self.sheets.append(Figure(name, caption, draw))
        return curves

    def save(self, incomplete: str | None = None) -> Path:
        """Write everything; `incomplete` says why something is missing. Raises RtstyleError if it cannot."""
        self._saved = self._clock()
        self._write_pictures()
        folder = self._folder()
        for table in self.tables:
            write_csv(table, self.out / f"{table.name}.csv")
        sheets = [sheet for sheet in self.sheets if sheet.draw and sheet.draw(folder / f"{sheet.name}.png")]
        page = self._page(sheets, incomplete)
        with written_beside(self.out / "report.html", force=True) as part:
            part.write_text(page, encoding="utf-8")
        if self._replaces:
            self._remove_earlier(sheets)
        return self.out / "report.html"

    def _write_pictures(self) -> None:
        while self._waiting:
            name, rgb = self._waiting.pop(0)
            with written_beside(self._folder() / f"{name}.png", force=True) as part:
                Image.fromarray(rgb).save(part, "PNG")

    def _remove_earlier(self, sheets: Sequence[Figure]) -> None:
        """What an earlier report, which this one replaces, had besides."""
        ours = {f"{figure.name}.png" for figure in (*self.pictures, *sheets)}
        ours |= {f"{table.name}.csv" for table in self.tables}
        for path in (*self._folder().glob("*.png"), *(self.out / f"{name}.csv" for name in EXPERIMENTS)):
            if path.name not in ours:
                path.unlink(missing_ok=True)

    def _page(self, sheets: list[Figure], incomplete: str | None) -> str:
        from jinja2 import Environment, PackageLoader

        environment = Environment(loader=PackageLoader("rtstyle.export.lab", "."), autoescape=True, trim_blocks=True)
        environment.filters["number"] = in_words
        return environment.get_template("report.html.j2").render(
            report=self, sheets=sheets, incomplete=incomplete, embedded=self._embedded
        )

    def _embedded(self, figure: Figure) -> str:
        png = (self.out / "pictures" / f"{figure.name}.png").read_bytes()
        return "data:image/png;base64," + base64.b64encode(png).decode()

    def _folder(self) -> Path:
        return make_folder(self.out / "pictures")


def in_words(value: Any) -> str:
    """A cell of the page: four digits of a number, which the CSV has in full."""
    if value is None:
        return ""
    if isinstance(value, float):
        return "not a number" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def write_csv(table: Table, path: Path) -> None:
    with written_beside(path, force=True) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows([row.get(column) for column in table.columns] for row in table.rows)


def draw_plot(curves: list[Curve], x: str, y: str, log_x: bool, out: Path) -> None:
    """Curves on logarithmic y, as a PNG; those with labels are points."""
    log_y = any(value > 0 for curve in curves for value in curve.y)
    with chart(out, x, y, log_x=log_x, log_y=log_y, force=True) as axes:
        for curve in curves:
            style = {"marker": "o", "linewidth": 0.8} if curve.labels else {"linewidth": 1.3}
            axes.plot(curve.x, curve.y, label=curve.label, **style)
            for word, place, value in zip(curve.labels, curve.x, curve.y, strict=False):
                axes.annotate(word, (place, value), textcoords="offset points", xytext=(5, 5), fontsize=8)


def placard(shape: tuple[int, int], text: str) -> np.ndarray:
    """What stands where there is no picture: grey uint8 [H, W, 3] with a few words."""
    picture = Image.new("RGB", shape[::-1], (225, 225, 225))
    draw, words, line = ImageDraw.Draw(picture), text.split(), max(9, shape[0] // 10)
    for number, word in enumerate(words):
        draw.text((6, 6 + number * (line + 3)), word, fill=(140, 0, 0), font_size=line)
    return np.asarray(picture)
