"""Fixtures of the runtime's tests; a test module asks for them with `pytest_plugins = ["support.runtime_fixtures"]`."""

import sys

import pytest


@pytest.fixture(scope="session")
def stylizer():
    """One stylizer for all tests, on the CPU, in one thread: it must be left with the style it has."""
    from rtstyle import Stylizer

    return Stylizer("starry-night", device="cpu", threads=1)


@pytest.fixture
def other_stylizer():
    """A stylizer whose style a test may change."""
    from rtstyle import Stylizer

    return Stylizer("starry-night", device="cpu", threads=1)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A clip of 12 frames of 160x96 with one track of sound."""
    from support.media_files import make_clip

    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.fixture
def call(capfd, monkeypatch):
    """Runs the command line in this process, also catching what C libraries print: (exit code, stdout, stderr)."""
    from rtstyle import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rtstyle", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capfd.readouterr()

    return run


@pytest.fixture
def without_camera(monkeypatch):
    """A machine that has no display, where `demo` paints the bundled clip even if a camera is plugged in."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("rtstyle.media.camera.has_camera", lambda: False)
