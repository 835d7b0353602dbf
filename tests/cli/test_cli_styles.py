"""styles: the table, JSON, one's own."""

import dataclasses
import json
import logging

import pytest
from PIL import Image
from rich.cells import cell_len

from rtstyle.cli.styles import table
from rtstyle.gallery import catalog

pytest_plugins = ["support.runtime_fixtures"]


def test_styles_as_json(call):
    code, out, err = call("styles", "--json")
    result = {info["name"]: info for info in json.loads(out)}
    assert (code, err) == (0, "")
    assert {"starry-night", "irises", "great-wave", "scream"} <= set(result)
    assert len(result) >= 6
    for info in result.values():
        assert info["artist"] and info["year"] and info["licence"], info


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_styles_as_a_table_have_a_line_each(call, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = call("styles")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [style.name for style in catalog.styles()]
    assert max(map(len, lines)) <= columns
    wave = next(line for line in lines if line.startswith("great-wave "))
    assert "Hokusai" in wave or columns < 80
    assert wave.index("c. 1831") == head.index("year")
    assert ("public domain" in wave) == ("licence" in head) == (columns == 200)


@pytest.mark.parametrize("size", [(8, 8), (100, 10_000)])
def test_a_photograph_that_is_too_small_for_a_sheet_is_one_sentence(call, tmp_path, size):
    Image.new("RGB", size, "olive").save(tmp_path / "small.png")
    code, _, err = call("styles", "--sheet", tmp_path / "s.png", "--photo", tmp_path / "small.png")
    assert code == 1 and "small.png would be" in err and "at least 16 x 16" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "s.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--photo", "p.png"), "--photo is for --sheet FILE"),
        (("--force",), "--force is for --sheet FILE"),
        (("--sheet", "s.png", "--json"), "--json lists the styles and --sheet draws them: leave one of them out"),
        (("--model", "studio", "add", "x.onnx"), "--model is for listing the styles: leave it out with add"),
        (("--force", "remove", "x"), "--force is for listing the styles: leave it out with remove"),
    ],
)
def test_options_that_would_be_ignored_are_refused(call, arguments, sentence):
    assert call("styles", *arguments) == (2, "", f"rtstyle: {sentence}\n")


def test_quiet_hides_messages(call, monkeypatch):
    log = logging.getLogger("rtstyle")
    monkeypatch.setattr(catalog, "styles", lambda model: log.info("a message") or [])
    assert "a message" in call("styles")[2]
    assert call("styles", "-q")[2] == ""


def test_a_sheet_replaces_nothing_that_was_written_meanwhile(call, tmp_path, monkeypatch):
    out = tmp_path / "sheet.png"

    def paint(self, frame, code=None):
        out.write_text("theirs")
        return frame

    monkeypatch.setattr("rtstyle.paint.stylizer.Stylizer.__call__", paint)
    code, _, err = call("styles", "--sheet", out)
    assert code == 1 and f"{out} was written by somebody else meanwhile and stays" in err
    assert out.read_text() == "theirs"


def test_in_a_pipe_nothing_is_cut(call, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = call("styles")[1].splitlines()[1:]
    for style, line in zip(catalog.styles(), lines, strict=True):
        for text in (style.name, style.title, style.artist, style.year, style.licence):
            assert text in line


def test_titles_of_wide_letters_stay_in_their_column():
    wide = dataclasses.replace(catalog.styles()[0], title="神奈川沖浪裏" * 9)
    head, first, second = table([wide, catalog.styles()[1]], 80)
    assert cell_len(first) <= 80 and "…" in first
    assert cell_len(first[: first.index("1889")]) == second.index("1889") == head.index("year")
