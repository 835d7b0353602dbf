"""`rtstyle cam` on a virtual screen: a pytest plugin with the fixtures of the window's tests."""

import pytest
from PIL import Image

from rtstyle import Stylizer
from support.live_window import PHOTOGRAPH, WORK
from support.media_files import make_clip
from support.screen import MISSING, App, Screen


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} missing for a virtual screen: apt-get install xvfb openbox xdotool")
    server = Screen(tmp_path_factory.mktemp("screen"))
    yield server
    server.close()


@pytest.fixture
def start(screen, tmp_path):
    """Starts programs with a window and ends them."""
    apps = []

    def start(*arguments, folder=tmp_path, program=None):
        apps.append(App(screen, *arguments, folder=folder, program=program))
        return apps[-1]

    yield start
    for app in apps:
        app.close()


@pytest.fixture(scope="module")
def painter():
    return Stylizer(device="cpu", work_height=WORK)


@pytest.fixture(scope="module")
def names(painter):
    return [style.name for style in painter.model.styles]


@pytest.fixture(scope="module")
def paint(painter, names):
    """What a window should show, from a stylizer in this process."""

    def paint(style=names[0], rgb=PHOTOGRAPH, *, work_height=WORK):
        painter.style, painter.work_height = style, work_height
        return painter(rgb)

    return paint


@pytest.fixture(scope="module")
def home(paint):
    """The painting that is shown before any key."""
    return paint()


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("still") / "photograph.png"
    Image.fromarray(PHOTOGRAPH).save(path)
    return path


@pytest.fixture(scope="module")
def moving_clip(tmp_path_factory):
    """A moving clip of half a second, 12 frames of 160x96."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", tracks=0)
