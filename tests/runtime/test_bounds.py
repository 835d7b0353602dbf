"""Models that never end, take all memory or paint what cannot be meant: a sentence, and one Ctrl-C ends them."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.helpers import in_time, tree, wait_until
from support.media_files import make_clip, picture
from support.nets import CODES, cropping, endless, flat, greedy, plain, write_own

from rtstyle import RtstyleError, Stylizer, memory
from rtstyle.runtime import bounds
from rtstyle.runtime.bounds import Abandoned
from rtstyle.threads import left_at_work

pytest_plugins = ["support.runtime_fixtures"]

FRAMES = np.stack([picture(i, 48, 64) for i in range(2)])


def stylizer_of(tmp_path, kind, **options):
    return Stylizer(write_own(tmp_path / "net.onnx", kind, **options), device="cpu", threads=1)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(bounds, "MAX_SECONDS", 0.4)


def test_a_first_frame_that_takes_too_long_is_a_sentence(tmp_path, impatient):
    stylizer = stylizer_of(tmp_path, endless)
    error = in_time(stylizer, FRAMES[0])
    assert isinstance(error, RtstyleError)
    assert "net.onnx has not painted its first frame of 64x48 after 0 s: try a smaller `work_height`" in str(error)
    assert not left_at_work()  # it was asked to end, and did


def test_a_classic_net_that_never_ends_is_refused_when_it_is_tried(tmp_path, impatient):
    import onnx

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])],
        "body",
        [value("i", 7, []), value("c", 9, []), value("v", 1, None)],
        [value("c2", 9, []), value("v2", 1, None)],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body)],
        "endless",
        [value("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [value("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("trips", 7, [], [2**62]), helper.make_tensor("yes", 9, [], [True])],
    )
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "endless.onnx"
    )
    error = in_time(Stylizer, str(tmp_path / "endless.onnx"))
    assert "endless.onnx has not painted its first frame of 68x68" in str(error)


def test_larger_frames_have_more_time(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_SECONDS", 0.02)
    monkeypatch.setattr(bounds, "PIXELS", 64)
    runs = bounds.Runs("net.onnx", limited=True)
    assert runs.run(lambda options: time.sleep(0.5), (1, 48, 64, 3)) is None
    with pytest.raises(RtstyleError, match="of 8x8 after"):
        runs.run(lambda options: time.sleep(0.5), (1, 8, 8, 3))


def test_what_a_size_has_shown_once_is_not_limited_any_more(impatient):
    runs = bounds.Runs("net.onnx", limited=True)
    runs.run(lambda options: None, (1, 8, 8, 3))
    assert runs.run(lambda options: (time.sleep(0.6), 5)[1], (1, 8, 8, 3)) == 5


def test_a_model_that_does_not_load_in_time_is_a_sentence(impatient):
    with pytest.raises(RtstyleError, match=r"slow\.onnx is not loaded after 0 s"):
        bounds.load(lambda: time.sleep(1), "slow.onnx")


def test_a_painting_can_be_abandoned_from_another_thread_and_the_next_one_begins(tmp_path):
    stylizer = stylizer_of(tmp_path, endless)
    for _ in range(2):
        threading.Timer(0.2, stylizer.abandon).start()
        started = time.monotonic()
        assert isinstance(in_time(stylizer.run, FRAMES), Abandoned)
        assert time.monotonic() - started < 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded on Linux")
def test_memory_is_bounded(tmp_path, monkeypatch):
    """Held 300,000 times a frame takes 2.6 GB."""
    monkeypatch.setattr(memory, "available", lambda: 600 << 20)
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(RtstyleError, match=r"painting a frame of 64x48 on cpu failed \(.*allocat"):
        stylizer_of(tmp_path, greedy)(FRAMES[0])
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert stylizer_of(tmp_path, plain)(FRAMES[0]).shape == FRAMES[0].shape


def test_memory_that_is_there_is_known():
    assert memory.available() is None or 1 << 20 < memory.available() < 1 << 50


def test_a_painting_of_another_size_is_a_sentence(tmp_path):
    with pytest.raises(RtstyleError, match=r"not a working style model: for frames \[1, 48, 64, 3\] it gives uint8 \["):
        stylizer_of(tmp_path, cropping)(FRAMES[0])


def test_a_painting_in_one_colour_is_said_once(tmp_path, caplog):
    stylizer = stylizer_of(tmp_path, flat)
    stylizer(np.zeros_like(FRAMES))  # as the photograph
    assert not caplog.messages
    stylizer(FRAMES)
    stylizer(FRAMES)
    assert caplog.messages == ["net.onnx paints everything in one colour"]


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.eye(2, 3), "takes codes of 4 numbers, and those of its styles have 3: export it again"),
        (np.full((2, 4), np.nan), "incomplete rtstyle metadata .*not a number"),
        (np.eye(1, 3), "incomplete rtstyle metadata"),
    ],
)
def test_wrong_codes_are_a_sentence(tmp_path, codes, words):
    with pytest.raises(RtstyleError, match=words):
        stylizer_of(tmp_path, plain, codes=codes.astype(np.float32))


def test_codes_that_fit_are_taken(tmp_path):
    assert stylizer_of(tmp_path, plain).code.tolist() == CODES[0].tolist()


@pytest.mark.real_time
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize("command", ["video in.mp4 out.mp4", "cam --source in.mp4 --headless --record out.mp4"])
def test_one_ctrl_c_ends_what_never_would(tmp_path, command):
    make_clip(tmp_path / "in.mp4")
    write_own(tmp_path / "net.onnx", endless)
    before = tree(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "rtstyle", *command.split(), "--model", "net.onnx", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    wait_until(lambda: len(list(tmp_path.iterdir())) > len(before), 30)  # a work folder, or a recording
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)  # in haste
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - sent < 2
    assert "interrupted" in err.splitlines()[-1] or "nothing was recorded" in err.splitlines()[-1]
    assert "Traceback" not in err and tree(tmp_path) == before
