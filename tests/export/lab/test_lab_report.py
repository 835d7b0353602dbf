"""Reports of `rtstyle lab`: what interruptions and failures leave, and which folders may take one."""

import dataclasses

import numpy as np
import pytest
from support.helpers import tree

torch = pytest.importorskip("torch")
pytest.importorskip("jinja2")

from support.lab_fixtures import check_page, read, rows_of  # noqa: E402

from rtstyle.errors import Interrupted, RtstyleError  # noqa: E402
from rtstyle.export.lab import experiments  # noqa: E402
from rtstyle.export.lab.report import SAVE_SECONDS, Report, Table, write_csv  # noqa: E402
from rtstyle.gatys import optimize  # noqa: E402

pytest_plugins = ["support.lab_fixtures"]


def interrupted_at(step):
    def tell(done, total, note):
        if done == step:
            raise KeyboardInterrupt

    return tell


def test_ctrl_c_keeps_a_report(lab_options, gatys_painted, tmp_path):
    with pytest.raises(Interrupted, match=r"what was done is in .*report.html") as error:
        experiments.run("ratio", lab_options(ratios="1,0.1,0.01"), tmp_path / "out", progress=interrupted_at(5))
    assert error.value.exit_code == 130
    rows = rows_of(tmp_path / "out" / "ratio.csv")
    assert [row["ended"] for row in rows] == ["done", "interrupted after 2"]
    np.testing.assert_array_equal(
        read(tmp_path / "out" / "pictures" / "ratio-2.png"), gatys_painted(style_weight=10.0, steps=2)
    )
    assert "Incomplete: interrupted" in check_page(tmp_path / "out")


def test_ctrl_c_between_counts(lab_options, tmp_path):
    given = lab_options(optimizers="adam,adagrad:0.1", steps="2,4,6")
    with pytest.raises(Interrupted):
        experiments.run("optimizers", given, tmp_path / "out", progress=interrupted_at(9))
    result = [(row["optimizer"], row["steps"], row["ended"]) for row in rows_of(tmp_path / "out" / "optimizers.csv")]
    done = [("adam", steps, "done") for steps in "246"]
    assert result == [*done, ("adagrad", "2", "done"), ("adagrad", "3", "interrupted after 3")]


def test_ctrl_c_after_a_count_leaves_its_picture_alone(lab_options, tmp_path):
    given = lab_options(optimizers="adam", steps="2,4")
    experiments.run("optimizers", given, tmp_path / "whole")
    with pytest.raises(Interrupted):
        experiments.run("optimizers", given, tmp_path / "out", progress=interrupted_at(2))
    (row,) = rows_of(tmp_path / "out" / "optimizers.csv")
    assert (row["steps"], row["ended"]) == ("2", "done")
    pictures = [read(tmp_path / out / "pictures" / "adam-0.02-00002.png") for out in ("whole", "out")]
    np.testing.assert_array_equal(*pictures)


def test_ctrl_c_in_a_training(lab_options, photos_folder, tmp_path):
    given = lab_options(style_weights="1,2", photos=str(photos_folder), vgg=None, style_layers="relu1_2")
    with pytest.raises(Interrupted):
        experiments.run("train-ratio", given, tmp_path / "out", progress=interrupted_at(5))
    rows = rows_of(tmp_path / "out" / "train-ratio.csv")
    assert [(row["ended"], len(row["ssim"]) > 0) for row in rows] == [("done", True), ("interrupted after 2", True)]
    assert "Incomplete: interrupted" in check_page(tmp_path / "out")


def test_ctrl_c_before_anything_leaves_no_folder(lab_options, tmp_path, monkeypatch):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(optimize, "render", interrupted)
    with pytest.raises(Interrupted, match="before there was any result"):
        experiments.run("augment", lab_options(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_report_is_not_replaced_unasked(lab_options, tmp_path):
    given, out = lab_options(for_features=True, layers="relu1_1"), tmp_path / "out"
    experiments.run("features", given, out)
    before = tree(out)
    with pytest.raises(RtstyleError, match="already holds a report: add `force=True`"):
        experiments.run("features", dataclasses.replace(given, layers="relu1_2"), out)
    assert tree(out) == before
    experiments.run("features", dataclasses.replace(given, layers="relu1_2"), out, force=True)
    assert [row["layer"] for row in rows_of(out / "features.csv")] == ["relu1_2"]
    check_page(out)  # and no picture of the earlier one is left beside it


def test_folders_that_cannot_take_a_report(lab_options, lab_painting, tmp_path):
    given = lab_options(for_features=True, layers="relu1_1")
    for out, sentence in {
        tmp_path: "already holds other files",
        lab_painting: "is a file: the report needs a folder",
        tmp_path / "no" / "out": "the folder .*no does not exist",
    }.items():
        with pytest.raises(RtstyleError, match=sentence):
            experiments.run("features", given, out)
    with pytest.raises(RtstyleError, match=r"photo.png lies in .*, where the report goes"):
        experiments.run("features", given, tmp_path, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"photo.png", "painting.png"}


def test_a_failure_half_way_keeps_what_was_done(lab_options, tmp_path, monkeypatch):
    real, calls = optimize.render, []

    def failing(*given, **more):
        calls.append(given)
        if len(calls) == 2:
            raise RtstyleError("the disk is full")
        return real(*given, **more)

    monkeypatch.setattr(optimize, "render", failing)
    with pytest.raises(RtstyleError, match="the disk is full"):
        experiments.run("ratio", lab_options(ratios="1,0.1"), tmp_path / "out")
    assert len(rows_of(tmp_path / "out" / "ratio.csv")) == 1
    assert "Incomplete: the disk is full" in check_page(tmp_path / "out")


def test_an_experiment_reports_on_the_way(tmp_path):
    now = 0.0
    report = Report("title", "method", tmp_path / "out", clock=lambda: now)
    page, grey = tmp_path / "out" / "report.html", np.zeros((9, 9, 3), np.uint8)
    table = report.table("numbers", ("a",))
    report.picture("photograph", grey, "what it is made from")
    assert not page.exists()  # no result yet
    table.add(a=1.5)
    report.picture("one", grey, "first")
    assert "Incomplete" in check_page(tmp_path / "out") and "first" in page.read_text()
    now = SAVE_SECONDS - 1
    report.picture("two", grey, "<second>")
    assert "second" not in page.read_text()
    now = 2 * SAVE_SECONDS
    table.add(a=2.5)
    report.picture("three", grey, "third")
    assert "&lt;second&gt;" in check_page(tmp_path / "out")
    assert rows_of(tmp_path / "out" / "numbers.csv") == [{"a": "1.5"}, {"a": "2.5"}]


def test_a_crash_leaves_no_half_table(tmp_path):
    class Broken(dict):
        def get(self, key):
            raise MemoryError

    write_csv(Table("t", ("a",), rows=[{"a": 1}]), tmp_path / "t.csv")
    before = tree(tmp_path)
    with pytest.raises(MemoryError):
        write_csv(Table("t", ("a",), rows=[{"a": 2}] * 9999 + [Broken()]), tmp_path / "t.csv")
    assert tree(tmp_path) == before
