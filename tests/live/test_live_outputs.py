"""Where live pictures go besides the window: snapshots, recordings, a virtual camera."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.live_session import Sink, Ticking, hand
from support.media_files import picture, psnr, rgb_frames, timestamps

from rtstyle import RtstyleError
from rtstyle.live import outputs
from rtstyle.live.controls import Settings
from rtstyle.media.recorder import Recorder
from rtstyle.media.virtual_camera import VirtualCamera
from rtstyle.paint import look

pytest_plugins = ["support.live_fixtures"]

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

NAME = "rtstyle-19700101-000000"


def same_second():
    """All files of a test are made at once."""
    return NAME


# -- snapshots and recordings


def test_snapshots_are_what_is_seen_and_never_overwrite(session, tmp_path):
    (tmp_path / f"{NAME}.png").write_bytes(b"the only copy")
    photograph = picture(0, 24, 32)
    s = session(hand(photograph), file_name=same_second).start()
    s.wait(lambda: s.shown)
    s.press("s", "v", "s", "s")
    summary = s.end()
    names = [tmp_path / f"{NAME}-{i}.png" for i in (1, 2, 3)]
    assert summary.files == [str(name) for name in names]
    assert (tmp_path / f"{NAME}.png").read_bytes() == b"the only copy"
    plain, split, again = (np.asarray(Image.open(name)) for name in names)
    assert (plain == 255 - photograph).all()
    assert (split == look.split_view(photograph, 255 - photograph, 0.5)).all()
    assert (again == split).all()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_snapshot_that_cannot_be_written_is_reported_and_leaves_nothing(session, tmp_path, texts, monkeypatch):
    def fail(path, picture, *, force):
        raise RtstyleError(f"could not write {path}: No space left on device")

    monkeypatch.setattr(outputs, "write_image", fail)
    s = session(Ticking()).start()
    s.wait_for_frames(1)
    s.press("s")
    s.wait(lambda: any("No space left" in line for line in texts))
    s.wait_for_frames(2)
    assert s.end().files == []
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_into_a_missing_folder_is_reported(session, tmp_path, texts):
    s = session(Ticking(), folder=tmp_path / "gone").start()
    s.wait_for_frames(1)
    s.press("s")
    s.wait_for_frames(2)
    assert s.end().files == []
    assert any("gone" in line for line in texts)


def test_a_key_starts_and_ends_recordings(session, tmp_path, texts):
    s = session(Ticking(0.02), file_name=same_second).start()
    for _ in range(2):
        s.wait_for_frames(2)
        s.press("r")
        assert s.outputs.recorder
        s.wait_for_frames(8)
        s.press("r")
        assert s.outputs.recorder is None
    summary = s.end()
    names = [tmp_path / f"{NAME}.mp4", tmp_path / f"{NAME}-1.mp4"]
    assert summary.files == [str(name) for name in names]
    assert any(line.startswith("REC ") for line in texts) and f"saved {names[0]}" in texts
    for name in names:
        assert len(timestamps(name)) >= 4
        assert rgb_frames(name).shape[1:] == (24, 32, 3)


def test_a_recording_has_the_times_of_capture(session, tmp_path):
    recorder = Recorder(tmp_path / "out.mp4")
    s = session(Ticking(0.03, count=12), record=recorder, window=False)
    summary = s.start().join()
    times = [painted.time for painted in s.painted]
    result = [float(seconds) for seconds in timestamps(tmp_path / "out.mp4")]
    assert result == pytest.approx([t - times[0] for t in times], abs=1e-4)
    assert summary.files == [str(tmp_path / "out.mp4")]


def test_q_completes_a_running_recording(session, tmp_path):
    s = session(Ticking(0.02), record=Recorder(tmp_path / "out.mp4")).start()
    s.wait_for_frames(5)
    summary = s.end()
    assert summary.files == [str(tmp_path / "out.mp4")]
    assert len(timestamps(tmp_path / "out.mp4")) >= 4


def test_the_recording_of_a_frozen_picture_goes_on_in_time(session, tmp_path):
    import av

    s = session(Ticking(0.02), record=Recorder(tmp_path / "out.mp4")).start()
    s.wait_for_frames(3)
    first = s.painted[0].time
    s.press(" ")
    time.sleep(0.6)
    s.press("2")
    s.wait(lambda: s.net.codes[-1][1] == 1)
    time.sleep(0.3)
    before = time.monotonic()
    s.end()
    after = time.monotonic()
    with av.open(str(tmp_path / "out.mp4")) as container:
        length = container.duration / av.time_base
    assert before - first - 0.05 <= length <= after - first + 0.05
    assert max(np.diff([float(seconds) for seconds in timestamps(tmp_path / "out.mp4")])) > 0.5, (
        "the frozen picture was skipped"
    )


def test_a_recording_that_cannot_begin_is_reported(session, tmp_path, texts):
    s = session(Ticking(), folder=tmp_path / "gone").start()
    s.wait_for_frames(1)
    s.press("r")
    s.wait(lambda: any(line.startswith("cannot record to") for line in texts))
    s.wait_for_frames(2)
    assert s.end().files == []


class Torn(Sink):
    """A recorder that fails in the end, and perhaps on the way."""

    path, saved, seconds = Path("torn.mp4"), None, 1.0

    def close(self, seconds=None):
        super().close()
        raise RtstyleError("the disk is full")


def test_a_recording_that_fails_on_the_way_is_reported_and_the_loop_goes_on(session, texts):
    torn = Torn()
    s = session(Ticking(), record=torn).start()
    s.wait_for_frames(2)
    torn.error = RtstyleError("the disk is full")
    s.wait(lambda: "the disk is full" in texts)
    s.wait_for_frames(3)
    assert s.outputs.recorder is None and torn.closed == 1


def test_a_recording_that_fails_in_the_end_is_an_error(session):
    s = session(Ticking(), record=Torn(), virtual_camera=Sink()).start()
    s.wait_for_frames(2)
    with pytest.raises(RtstyleError, match="the disk is full"):
        s.end()
    s.assert_all_closed()


def test_a_recording_that_failed_on_the_way_is_an_error_in_the_end(session):
    """Without a window nobody has seen the message: a script has to learn of it."""
    torn = Torn()
    s = session(Ticking(), record=torn, window=False).start()
    s.wait_for_frames(2)
    torn.error = RtstyleError("the disk is full")
    s.wait(lambda: torn.closed)
    with pytest.raises(RtstyleError, match="the disk is full"):
        s.end()


# -- the virtual camera


def test_a_virtual_camera_that_fails_is_reported_and_the_loop_goes_on(session, texts):
    sink = Sink()
    s = session(Ticking(), virtual_camera=sink).start()
    s.wait_for_frames(2)
    sink.error = RtstyleError("the virtual camera stopped (unplugged)")
    s.wait(lambda: "the virtual camera stopped (unplugged)" in texts)
    assert sink.closed == 1 and s.outputs.virtual_camera is None
    s.wait_for_frames(3)
    s.end()


class Network(Sink):
    """A stream that is connected."""

    status = "LIVE rtmp://example.org"


def test_a_stream_is_sent_what_is_painted_and_the_display_says_so(session, texts):
    stream = Network()
    s = session(Ticking(), stream=stream).start()
    s.wait_for_frames(3)
    s.wait(lambda: "LIVE rtmp://example.org" in texts)
    s.end()
    assert stream.closed == 1 and len(stream.frames) >= 3
    assert (stream.frames[0] == s.painted[0].picture).all() and stream.times[0] == s.painted[0].time


def test_a_stream_that_cannot_be_sent_is_reported_and_raised_in_the_end(session, texts):
    stream = Network()
    s = session(Ticking(), stream=stream).start()
    s.wait_for_frames(2)
    stream.error = RtstyleError("this FFmpeg cannot send by srt")
    s.wait(lambda: "this FFmpeg cannot send by srt" in texts)
    assert stream.closed == 1 and s.outputs.stream is None
    s.wait_for_frames(2)
    with pytest.raises(RtstyleError, match="cannot send by srt"):
        s.end()


class Driver:
    """A backend of pyvirtualcam that keeps what it is sent."""

    sent: list

    def __init__(self, *, width, height, **_):
        self.shape = height, width, 3

    def send(self, frame):
        self.sent.append(frame.reshape(self.shape).copy())

    def close(self):
        pass

    def device(self):
        return "test camera"


def test_window_recording_and_virtual_camera_together(session, tmp_path, monkeypatch):
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    driver = type("Fake", (Driver,), {"sent": []})
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"test": driver})
    frames = [picture(10 * i, 24, 32) for i in range(4)]
    s = session(
        hand(),
        record=Recorder(tmp_path / "out.mp4"),
        virtual_camera=VirtualCamera(),
        settings=Settings(show_display=False, mirror=True),
    ).start()
    for i, frame in enumerate(frames):
        s.source.give(frame)
        s.wait(lambda i=i: len(s.shown) == i + 1 and len(driver.sent) == i + 1)
    s.wait(lambda: s.outputs.recorder.frames == 3)
    s.end()
    recorded = rgb_frames(tmp_path / "out.mp4")
    assert len(recorded) == len(driver.sent) == 4
    for frame, sent, kept in zip(frames, driver.sent, recorded, strict=True):
        expected = 255 - frame[:, ::-1]
        assert (sent == expected).all()
        assert psnr(kept, expected) > 20
    shown = s.window.pictures[-1]
    times = shown.shape[0] // 24
    below = shown[::times, ::times][8:]
    assert (below == expected[8:]).all(), "at the top it says REC"
