"""Pictures among the styles while the camera runs: a watched folder, and codes that go on learning."""

import base64
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.live_session import CODES, NAMES, Net, Ticking, wait_until

from rtstyle.errors import InputError
from rtstyle.gallery.model_file import Style
from rtstyle.live.pictures import POLISHED_AFTER, PictureFolder, Pictures, Polisher
from rtstyle.live.styles import StyleChooser

pytest_plugins = ["support.live_fixtures"]

BETTER = np.array([0.0, 0.5, 0.5], np.float32)


def style_of(path):
    """A style whose code is the picture's mean color."""
    try:
        with Image.open(path) as picture:
            code = np.asarray(picture.convert("RGB"), np.float32).mean((0, 1)) / 255
    except OSError as error:
        raise InputError(f"{path.name} is no picture") from error
    return Style(path.stem, path.stem, "", "", "", path.name, "toy", code)


@pytest.fixture
def watched(tmp_path):
    """A folder, and a function that watches it."""
    folder = tmp_path / "styles"
    folder.mkdir()
    made = []

    def watch():
        made.append(PictureFolder(folder, style_of, seconds=0.02))
        return made[-1]

    yield folder, watch
    for each in made:
        each.close()
    assert "pictures" not in {thread.name for thread in threading.enumerate()}


def paint(path, color):
    Image.new("RGB", (40, 40), color).save(path)


def changes_of(folder, count=1):
    found = []
    wait_until(lambda: found.extend(folder.changes()) or len(found) >= count)
    return found


def test_pictures_of_the_folder_come_go_and_change(watched):
    folder, watch = watched
    paint(folder / "red.png", "red")
    (folder / "notes.txt").write_text("no picture")
    source = watch()
    assert [(c.path.name, c.style.code.tolist()) for c in changes_of(source)] == [("red.png", [1, 0, 0])]
    paint(folder / "lime.png", "lime")
    assert [c.style.name for c in changes_of(source)] == ["lime"]
    time.sleep(0.01)
    paint(folder / "red.png", "blue")
    assert [(c.style.name, c.style.code.tolist()) for c in changes_of(source)] == [("red", [0, 0, 1])]
    (folder / "lime.png").unlink()
    assert [(c.path.name, c.style) for c in changes_of(source)] == [("lime.png", None)]
    (folder / "broken.jpg").write_bytes(b"not at all")
    assert [c.problem for c in changes_of(source)] == ["broken.jpg is no picture"]
    time.sleep(0.1)
    assert source.changes() == [], "what is wrong is reported once"


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"the folder of pictures .* does not exist"):
        PictureFolder(tmp_path / "nowhere", style_of)


def test_a_new_picture_can_be_chosen_and_its_end_does_not_end_the_painting(watched, session):
    folder, watch = watched
    net = Net()
    styles = StyleChooser(net)
    s = session(Ticking(0.005), net=net, styles=styles, pictures=Pictures(styles, folder=watch())).start()
    s.wait_for_frames(3)
    paint(folder / "lime.png", "lime")
    s.wait(lambda: len(styles.styles) == 4)
    s.press("4")
    s.wait(lambda: net.codes[-1].tolist() == [0, 1, 0])
    assert styles.label == "lime"
    (folder / "lime.png").unlink()
    s.wait(lambda: len(styles.styles) == 3)
    s.wait_for_frames(3)
    assert net.codes[-1].tolist() == [0, 1, 0], "it is painted on"
    s.press("n")
    s.wait(lambda: net.codes[-1].tolist() == CODES[0].tolist())
    s.end()


def test_two_files_of_one_name_are_two_styles(watched):
    folder, watch = watched
    paint(folder / f"{NAMES[1]}.png", "red")
    paint(folder / "lime.bmp", "lime")
    paint(folder / "lime.png", "blue")
    styles = StyleChooser(Net())
    pictures = Pictures(styles, folder=watch())
    wait_until(lambda: pictures.follow(0.0) is None and len(styles.styles) == 6)
    assert [style.name for style in styles.styles] == [*NAMES, "lime", "lime.png", f"{NAMES[1]}.png"]
    pictures.outdated.clear()
    time.sleep(0.01)
    paint(folder / "lime.png", "red")
    wait_until(lambda: pictures.follow(0.0) == "lime.png has changed")
    codes = {style.name: style.code.tolist() for style in styles.styles}
    assert (codes["lime"], codes["lime.png"]) == ([0, 1, 0], [1, 0, 0]), "each keeps its own name"
    assert pictures.outdated == {"lime.png"}


def test_the_position_follows_when_a_style_before_it_goes():
    styles = StyleChooser(Net())
    styles.choose(2, 0.0)
    styles.remove(NAMES[0])
    assert styles.position == (1, 1, 0.0) and styles.styles[1].name == NAMES[2]
    styles.mix(0, 1, 0.5, 0.0)
    styles.remove(NAMES[2])
    assert styles.position == (-1, -1, 0.0)
    assert styles.fade.end.tolist() == [0, 0.5, 0.5]


class FakePolisher:
    """Gives `code` for the picture that it follows."""

    def __init__(self):
        self.step, self.problem, self.followed, self.code, self.closed = 0, "", [], None, False

    def follow(self, picture):
        if not self.followed or self.followed[-1] != picture:
            self.followed.append(picture)

    def news(self):
        if self.code is None or self.followed[-1] is None:
            return None
        self.step, code, self.code = self.step + 1, self.code, None
        return self.followed[-1], code

    def close(self):
        self.closed = True


def test_a_better_code_is_crossfaded_to_while_its_picture_is_painted(session):
    net = Net()
    styles, polisher = StyleChooser(net), FakePolisher()
    pictures = Pictures(styles, polisher=polisher, known={NAMES[0]: Path("reed.jpg")})
    assert pictures.follow(0.0) is None and polisher.followed == [None], "not at once"
    pictures.follow(POLISHED_AFTER)
    assert polisher.followed[-1] == Path("reed.jpg")
    polisher.code = BETTER
    pictures.follow(10.0)
    assert styles.fade.end is BETTER and styles.fade.active(10.5), "by a crossfade"
    assert pictures.status == "polished, step 1"
    styles.choose(1, 20.0)
    pictures.follow(20.0)
    assert polisher.followed[-1] is None, "another style is painted"
    styles.choose(0, 30.0)
    assert styles.fade.end is BETTER, "what was learned stays"
    s = session(Ticking(count=2), net=net, styles=styles, pictures=pictures).start()
    s.join()
    assert polisher.closed


def script(tmp_path, text):
    path = tmp_path / "polish.py"
    path.write_text(text)
    return [sys.executable, str(path)]


@pytest.fixture
def reed(tmp_path):
    """A file, as the picture of a style."""
    path = tmp_path / "reed.jpg"
    path.write_bytes(b"reed")
    return path


def test_a_polished_picture_is_polished_again_only_when_it_has_changed(tmp_path, reed):
    line = json.dumps({"step": 12, "code": base64.b64encode(BETTER.tobytes()).decode()})
    runs = tmp_path / "runs"
    command = script(tmp_path, f"open({str(runs)!r}, 'a').write('run ')\nprint({line!r}, flush=True)\n")
    polisher = Polisher(Path("live.onnx"), command)

    def polished():
        polisher.follow(reed)
        wait_until(lambda: polisher.news() is not None)
        wait_until(lambda: polisher._finished)

    polished()
    polisher.follow(None)
    polisher.follow(reed)
    assert polisher.step == 12 and polisher._process is None, "what was learned stays"
    reed.write_bytes(b"another reed")
    polished()
    assert runs.read_text() == "run run "


def test_codes_of_the_polishing_process_are_taken_and_the_process_is_ended(tmp_path, reed):
    line = json.dumps({"step": 7, "code": base64.b64encode(BETTER.tobytes()).decode()})
    command = script(tmp_path, f"import time\nprint('nonsense')\nprint({line!r}, flush=True)\ntime.sleep(60)\n")
    polisher = Polisher(Path("live.onnx"), command)
    polisher.follow(reed)
    process, news = polisher._process, []
    wait_until(lambda: news.append(polisher.news()) or news[-1] is not None)
    assert news[-1][0] == reed and news[-1][1].tolist() == BETTER.tolist() and polisher.step == 7
    assert polisher.news() is None, "once"
    polisher.follow(None)
    assert process.poll() is not None and polisher.problem == ""


def test_a_process_that_is_ended_is_no_failure_whatever_its_exit_code(tmp_path, reed):
    """As on Windows, where one that is killed returns 1."""
    polisher = Polisher(Path("live.onnx"), script(tmp_path, "import time\ntime.sleep(60)\n"))
    polisher.follow(reed)
    process = polisher._process
    end, process.kill = process.kill, lambda: None
    process.wait, waited = lambda: 1, process.wait
    polisher.follow(None)
    end()
    waited()
    wait_until(lambda: "polish" not in {thread.name for thread in threading.enumerate()})
    assert polisher.problem == ""


def test_polishing_that_fails_is_reported_once_and_not_tried_again(tmp_path, reed):
    polisher = Polisher(Path("live.onnx"), script(tmp_path, "import sys\nsys.exit('rtstyle: no weights here')\n"))
    polisher.follow(reed)
    wait_until(lambda: polisher.problem)
    assert polisher.problem == "the style is not polished: no weights here"
    styles = StyleChooser(Net())
    pictures = Pictures(styles, polisher=polisher, known={NAMES[0]: reed})
    assert [pictures.follow(10.0), pictures.follow(20.0)] == [polisher.problem, None]
    polisher.follow(Path("ochre.jpg"))
    assert polisher.picture == reed
