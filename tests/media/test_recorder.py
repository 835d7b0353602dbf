"""Recordings as a player finds them."""

import errno
import itertools
import re
import sys
import threading
import time

import av
import cv2  # noqa: F401 -- before av when imported alone: see rtstyle.media
import numpy as np
import pytest
from support.helpers import in_time, run_python, tree, wait_until
from support.media_files import picture, psnr, read_frames, rgb_frames, timestamps, ycbcr
from support.sinks import color_card, no_thread_survives  # noqa: F401 -- holds for all tests here

from rtstyle import RtstyleError
from rtstyle.media.recorder import Recorder

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

KINDS = [".mp4", ".mov", ".mkv"]
PROMPTLY = 2.0


def write(recorder, frames, times):
    """Write frames no faster than they are encoded."""
    for i, (frame, seconds) in enumerate(zip(frames, times, strict=True)):
        wait_until(lambda i=i: i - recorder.frames < 6 or recorder.error)
        recorder.write(seconds, frame)


def record(path, frames, times, end):
    recorder = Recorder(path)
    write(recorder, frames, times)
    recorder.close(end)
    return recorder


def seconds_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.duration is None:  # Matroska says it for the whole file only
            return container.duration / av.time_base
        return float(stream.duration * stream.time_base)


# -- recordings: what is in the file

GAPS = [0, 0.033, 0.040, 0.5, 0.51, 2.0, 2.0333]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_at_the_time_they_were_captured(tmp_path, kind):
    path = tmp_path / f"out{kind}"
    frames = [picture(i, 24, 32) for i in range(len(GAPS))]
    recorder = record(path, frames, [5000.25 + gap for gap in GAPS], 5000.25 + 3.1)
    exact = 1 / 1000 if kind == ".mkv" else 1 / 90000
    assert [float(seconds) for seconds in timestamps(path)] == pytest.approx(GAPS, abs=exact)
    assert seconds_of(path) == pytest.approx(3.1, abs=2 * exact)
    assert (recorder.frames, recorder.dropped, recorder.error) == (7, 0, None)
    for result, expected in zip(rgb_frames(path), frames, strict=True):
        assert psnr(result, expected) > 20
    assert set(tree(tmp_path)) == {path.name}


@pytest.mark.parametrize("kind", KINDS)
def test_one_frame_lasts_until_the_end(tmp_path, kind):
    path = tmp_path / f"out{kind}"
    recorder = record(path, [color_card(90)], [77.0], 77.7)
    assert [float(seconds) for seconds in timestamps(path)] == [0]
    assert seconds_of(path) == pytest.approx(0.7, abs=2e-3)
    assert recorder.frames == 1


def test_an_end_before_the_last_frame_is_no_harm(tmp_path):
    record(tmp_path / "out.mp4", [color_card(90), color_card(120)], [1.0, 2.0], 0.5)
    assert [float(seconds) for seconds in timestamps(tmp_path / "out.mp4")] == [0, 1]


def test_a_clock_that_stands_or_goes_back_leaves_frames_out(tmp_path):
    path = tmp_path / "out.mp4"
    record(path, [color_card(i * 20) for i in range(6)], [1.0, 1.5, 1.5, 1.2, 1.6, 1.60000001], 2.0)
    assert [float(seconds) for seconds in timestamps(path)] == pytest.approx([0, 0.5, 0.6, 0.6], abs=2e-5)
    assert sorted(set(timestamps(path))) == timestamps(path)


def test_seconds_tell_how_much_was_encoded(tmp_path):
    recorder = Recorder(tmp_path / "out.mp4")
    assert recorder.seconds == 0
    write(recorder, [color_card(90)] * 4, [10, 11, 12, 14])
    wait_until(lambda: recorder.frames == 3)
    assert recorder.seconds == 2
    recorder.close(15)


@pytest.mark.parametrize(("height", "width"), [(25, 33), (24, 33), (25, 32)])
def test_odd_sizes_lose_a_row_or_a_column_and_nothing_is_scaled(tmp_path, height, width):
    path = tmp_path / "out.mp4"
    frames = [picture(i, height, width) for i in range(3)]
    record(path, frames, [0, 0.1, 0.2], 0.3)
    result = rgb_frames(path)
    assert result.shape == (3, 24, 32, 3)
    for rgb, frame in zip(result, frames, strict=True):
        assert psnr(rgb, frame[:24, :32]) > 20


def test_a_change_of_size_is_put_between_bars(tmp_path):
    path = tmp_path / "out.mp4"
    frames = [color_card((200, 40, 40), 48, 64), color_card((40, 200, 40), 96, 32), color_card((40, 40, 200), 24, 96)]
    record(path, frames, [0, 0.1, 0.2], 0.3)
    first, tall, wide = rgb_frames(path).astype(int)
    assert first.shape == tall.shape == wide.shape == (48, 64, 3)
    assert np.abs(tall[:, 26:38] - (40, 200, 40)).max() < 12 and tall[:, :22].max() < 24 and tall[:, 42:].max() < 24
    assert np.abs(wide[18:30] - (40, 40, 200)).max() < 12 and wide[:14].max() < 24 and wide[34:].max() < 24


@pytest.mark.parametrize("rgb", [(128, 128, 128), (200, 40, 40), (40, 200, 40), (40, 40, 200), (255, 255, 255)])
def test_colours_come_back_as_the_file_says(tmp_path, rgb):
    path = tmp_path / "out.mp4"
    record(path, [color_card(rgb)] * 2, [0, 0.1], 0.2)
    for _, frame in read_frames(path):
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (6, 6, 6, 1)
        for plane, expected in zip(frame.planes, ycbcr(rgb, 6, full=False), strict=True):
            numbers = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            assert np.abs(numbers.astype(int) - expected).max() <= 2
    assert np.abs(rgb_frames(path).astype(int) - rgb).max() <= 4


def boxes(path):
    """The kinds of the boxes that an MP4 file is made of."""
    content, offset, result = path.read_bytes(), 0, []
    while offset < len(content):
        size, kind = int.from_bytes(content[offset : offset + 4], "big"), content[offset + 4 : offset + 8].decode()
        result.append(kind)
        offset += int.from_bytes(content[offset + 8 : offset + 16], "big") if size == 1 else size
    return result


def test_in_the_end_it_is_an_ordinary_mp4(tmp_path):
    """Until then it is made of fragments, which some players do not take."""
    record(tmp_path / "out.mp4", [color_card(90)] * 130, [i / 30 for i in range(130)], 130 / 30)
    assert set(boxes(tmp_path / "out.mp4")) <= {"ftyp", "free", "mdat", "moov"}


def test_key_frames_are_near_enough_for_seeking(tmp_path):
    record(tmp_path / "out.mp4", [color_card(90)] * 130, [i / 30 for i in range(130)], 130 / 30)
    keys = [i for i, (_, frame) in enumerate(read_frames(tmp_path / "out.mp4")) if frame.key_frame]
    assert keys[0] == 0 and max(np.diff([*keys, 130])) <= 60


# -- recordings: writing never waits, ends are clean


class Container:
    """A container of PyAV that calls `before` a packet; `opener` makes them."""

    def __init__(self, container, before):
        self._container, self._before = container, before

    @classmethod
    def opener(cls, before):
        return lambda *arguments, **options: cls(av.open(*arguments, **options), before)

    def add_stream(self, *arguments, **options):
        return self._container.add_stream(*arguments, **options)

    def mux(self, packet):
        self._before()
        self._container.mux(packet)

    def close(self):
        self._container.close()


def full_disk(after):
    """Refuses one packet after the first few."""
    count = itertools.count()

    def before():
        if next(count) == after:
            raise OSError(errno.ENOSPC, "No space left on device")

    return before


def test_a_full_queue_drops_frames_and_never_blocks(tmp_path):
    gate = threading.Event()
    recorder = Recorder(tmp_path / "out.mp4", open_container=Container.opener(lambda: gate.wait(20)))
    for i in range(40):
        began = time.monotonic()
        recorder.write(i / 10, color_card(i))
        assert time.monotonic() - began < PROMPTLY
    assert 30 <= recorder.dropped <= 32, "one is held back, one is being encoded, eight wait"
    gate.set()
    recorder.close(5)
    assert recorder.frames + recorder.dropped == 40
    assert len(timestamps(tmp_path / "out.mp4")) == recorder.frames


@pytest.mark.parametrize("name", ["out.avi", "out.gif", "out", "out.png"])
def test_an_unknown_ending_is_one_sentence(tmp_path, name):
    with pytest.raises(RtstyleError, match=rf"^cannot record to .*{name}: end the name with \.mp4, "):
        Recorder(tmp_path / name)
    assert tree(tmp_path) == {}


def test_endings_may_be_capitals(tmp_path):
    record(tmp_path / "OUT.MP4", [color_card(90)], [0], 1)
    assert len(timestamps(tmp_path / "OUT.MP4")) == 1


def test_a_missing_folder_is_heard_of_at_once(tmp_path):
    with pytest.raises(RtstyleError, match=r"^cannot record to .*out\.mp4 \(No such file or directory\)$"):
        Recorder(tmp_path / "nowhere" / "out.mp4")


def test_a_folder_that_may_not_be_written_to_is_heard_of_at_once(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)  # chmod does not stop an administrator
    with pytest.raises(RtstyleError, match=r"\(Permission denied\)$"):
        Recorder(tmp_path / "out.mp4")
    assert tree(tmp_path) == {}


def test_an_encoder_that_is_missing_is_one_sentence(tmp_path):
    class Empty:
        def add_stream(self, codec, rate):
            raise av.codec.codec.UnknownCodecError(codec)

    with pytest.raises(RtstyleError, match=r"^cannot record to .*out\.mp4"):
        Recorder(tmp_path / "out.mp4", open_container=lambda *_, **__: Empty())
    assert tree(tmp_path) == {}


def test_ctrl_c_while_it_is_opened_leaves_nothing(tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Recorder(tmp_path / "out.mp4", open_container=interrupted)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_a_sentence_and_what_was_recorded_is_kept(tmp_path, kind):
    path = tmp_path / f"out{kind}"
    recorder = Recorder(path, open_container=Container.opener(full_disk(after=5)))
    write(recorder, [color_card(i * 10) for i in range(20)], range(20))
    wait_until(lambda: recorder.error)
    assert str(recorder.error) == f"recording to {path} stopped (No space left on device)"
    for i in range(30):  # more than the queue holds
        recorder.write(20 + i, color_card(0))
    error = in_time(recorder.close, 60.0)
    assert isinstance(error, RtstyleError) and "No space left on device" in str(error)
    assert len(timestamps(path)) == 5
    assert set(tree(tmp_path)) == {path.name}


def test_an_error_that_nobody_thought_of_does_not_hang_the_end(tmp_path):
    def broken():
        raise ValueError("unexpected shape")

    recorder = Recorder(tmp_path / "out.mp4", open_container=Container.opener(broken))
    for i in range(40):
        recorder.write(i, color_card(i))
    error = in_time(recorder.close, 60.0)
    assert str(error) == f"recording to {tmp_path / 'out.mp4'} stopped (unexpected shape)"
    assert tree(tmp_path) == {}


def test_a_recording_of_nothing_is_an_error_and_no_file(tmp_path):
    recorder = Recorder(tmp_path / "out.mp4")
    with pytest.raises(RtstyleError, match="no frame came"):
        recorder.close(1.0)
    assert tree(tmp_path) == {}


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the only copy")
    recorder = Recorder(path, force=True)
    write(recorder, [color_card(90)] * 3, [0, 1, 2])
    wait_until(lambda: recorder.frames == 2)
    assert path.read_bytes() == b"the only copy"
    assert all(name.startswith(".out-") for name in tree(tmp_path).keys() - {"out.mp4"}), "the part file is hidden"
    recorder.close(3)
    assert len(timestamps(path)) == 3
    assert set(tree(tmp_path)) == {"out.mp4"}


def test_a_name_that_cannot_be_taken_leaves_the_recording_under_the_other(tmp_path):
    path = tmp_path / "out.mp4"
    recorder = Recorder(path)
    write(recorder, [color_card(90)] * 3, [0, 1, 2])
    (path / "inside").mkdir(parents=True)
    with pytest.raises(RtstyleError, match=r"out\.mp4 was written by somebody else .* is .*out\.partial\.mp4$"):
        recorder.close(3)
    assert len(timestamps(tmp_path / "out.partial.mp4")) == 3 and not list(tmp_path.glob(".out-*"))


def test_a_name_that_the_system_refuses_leaves_the_recording_under_the_other(tmp_path, monkeypatch):
    def held(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    recorder = Recorder(tmp_path / "out.mp4", force=True)
    write(recorder, [color_card(90)] * 3, [0, 1, 2])
    monkeypatch.setattr("os.replace", held)  # as on Windows while a player holds the file
    with pytest.raises(RtstyleError, match=r"cannot be named .*out\.mp4 .*it stays in .*part\.mp4$"):
        recorder.close(3)
    (part,) = tmp_path.glob(".out-*")
    assert len(timestamps(part)) == 3


def test_closing_may_be_repeated(tmp_path):
    recorder = Recorder(tmp_path / "out.mp4")
    write(recorder, [color_card(90)] * 3, [5, 6, 7])
    for _ in range(3):
        in_time(recorder.close)
    assert [float(seconds) for seconds in timestamps(tmp_path / "out.mp4")] == [0, 1, 2]
    recorder.write(8, color_card(90))
    assert set(tree(tmp_path)) == {"out.mp4"} and recorder.error is None


def test_abandoning_keeps_what_there_is_and_is_quiet(tmp_path):
    recorder = record(tmp_path / "out.mp4", [color_card(90)], [0], 1)
    recorder.abandon()
    assert recorder.error is None
    assert len(timestamps(tmp_path / "out.mp4")) == 1
    Recorder(tmp_path / "empty.mp4").abandon()
    assert set(tree(tmp_path)) == {"out.mp4"}


KILLED = """
import os, sys, time
import numpy as np
from rtstyle.media.recorder import Recorder

recorder = Recorder(sys.argv[1])
for i in range(100):
    while i - recorder.frames > 5:
        time.sleep(0.001)
    recorder.write(i / 25, np.full((24, 32, 3), 2 * i, np.uint8))
while recorder.frames < 99:
    time.sleep(0.001)
os._exit(9)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_process_has_recorded_can_be_played(tmp_path, kind):
    done = run_python("-c", KILLED, tmp_path / f"out{kind}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (9, "")
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(".out-") and part.suffix == kind
    result = read_frames(part)
    assert len(result) >= 100 - 25 - 2, "more than the last second is lost"
    assert [float(seconds) for seconds, _ in result] == pytest.approx([i / 25 for i in range(len(result))], abs=1e-3)
    means = rgb_frames(part).mean(axis=(1, 2, 3))
    assert np.abs(means - 2 * np.arange(len(result))).max() < 5


FULL = """
import resource, sys
import numpy as np
from rtstyle.media.recorder import Recorder

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
recorder, noise = Recorder(sys.argv[1]), np.random.default_rng(0)
for i in range(200):
    while recorder._queue.full():  # live never waits
        pass
    recorder.write(i / 25, noise.integers(0, 255, (64, 96, 3), np.uint8))
try:
    recorder.close()
except Exception as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_is_cut_to_what_is_whole_where_the_disk_is_full(tmp_path, kind):
    path = tmp_path / f"out{kind}"
    said = run_python("-c", FULL, path).stdout
    found = re.search(r"stopped \(File too large\): the first (\d\.\d) s are kept$", said.strip())
    assert found, said
    frames = timestamps(path)
    assert len(frames) == len(rgb_frames(path)) > 10  # every packet is whole
    assert float(frames[-1]) + 1 / 25 == pytest.approx(float(found.group(1)), abs=0.06)
    assert set(tree(tmp_path)) == {path.name}
