"""A name never holds half a file, and never loses somebody else's."""

import os
import sys

import pytest
from support.helpers import tree

from rtstyle import RtstyleError
from rtstyle.files import check_output, file_state, partial_name, take_name, what_happened, written_beside

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes in folders")


@pytest.fixture(params=["links", "no links"])
def file_system(request, monkeypatch):
    """With hard links and, as FAT and some networks, without."""
    if request.param == "no links":

        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)


def write(out, force=False, meanwhile=None):
    with written_beside(out, force=force) as part:
        part.write_bytes(b"the result")
        if meanwhile:
            meanwhile()


def test_a_free_name_is_taken(tmp_path, file_system):
    write(tmp_path / "out.txt")
    assert tree(tmp_path) == {"out.txt": b"the result"}


def test_what_was_written_meanwhile_stays_and_the_result_is_kept(tmp_path, file_system):
    out = tmp_path / "out.txt"
    for name in ("out.partial.txt", "out.partial-2.txt"):
        with pytest.raises(RtstyleError, match=rf"out\.txt was written by somebody else .*: the result is .*{name}$"):
            write(out, meanwhile=lambda: out.write_bytes(b"theirs"))
    assert tree(tmp_path) == {
        "out.txt": b"theirs",
        "out.partial.txt": b"the result",
        "out.partial-2.txt": b"the result",
    }


def test_with_force_it_is_replaced(tmp_path, file_system):
    out = tmp_path / "out.txt"
    write(out, force=True, meanwhile=lambda: out.write_bytes(b"theirs"))
    assert tree(tmp_path) == {"out.txt": b"the result"}


@needs_posix
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing"])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_regular_file_is_never_replaced(tmp_path, kind, force):
    out = tmp_path / "out.txt"
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "link to nothing": lambda path: os.symlink(tmp_path / "no", path)}
    with pytest.raises(RtstyleError, match=r"the result is .*out\.partial\.txt$"):
        write(out, force=force, meanwhile=lambda: make[kind](out))
    assert os.path.lexists(out) and not out.is_file()
    assert (tmp_path / "out.partial.txt").read_bytes() == b"the result"
    with pytest.raises(RtstyleError, match=r"never replaced: choose another|is a folder: give the name"):
        check_output(out, force=force)


@needs_posix
def test_a_partial_name_avoids_links_to_nothing(tmp_path):
    (tmp_path / "out.partial.mp4").symlink_to(tmp_path / "no")
    assert partial_name(tmp_path / "out.mp4").name == "out.partial-2.mp4"


def test_a_part_that_cannot_be_moved_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        take_name(tmp_path / "nothing", tmp_path / "out", force=False)


def test_a_change_of_a_file_has_words(tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes(b"one")
    before = file_state(path)
    assert what_happened(path, before) is None
    path.write_bytes(b"more")
    assert what_happened(path, before) == "was changed"
    other = tmp_path / "other.txt"
    other.write_bytes(b"one")
    os.replace(other, path)
    assert what_happened(path, before) == "was replaced by another file"
    path.unlink()
    assert what_happened(path, before) == "went away"
