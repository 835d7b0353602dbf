"""Files as live sources: videos at their own speed, folders of pictures."""

import os
import threading
import time
from fractions import Fraction

import cv2
import pytest
from support.helpers import open_files, wait_until
from support.media_files import damage_video_packets, make_clip, psnr, rgb_frames
from support.sources import ManualClock, save_grey

from rtstyle import RtstyleError
from rtstyle.media.camera import open_source
from rtstyle.media.capture import Capture
from rtstyle.media.live_files import PictureShow, VideoFile

PROMPTLY = 2.0  # seconds; on a machine that has something else to do, too


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip.mp4", size=(64, 48), tracks=0)


# -- video files


def test_a_file_plays_at_its_own_speed_though_it_varies(tmp_path, clock):
    timestamps = [0, 1, 2, 5, 6, 12, 13, 30]
    path = make_clip(tmp_path / "vfr.mp4", size=(64, 48), tracks=0, pts=timestamps, time_base=Fraction(1, 24))
    read = clock.read_all(VideoFile(path, clock=clock))
    assert [seconds for seconds, _ in read] == pytest.approx([stamp / 24 for stamp in timestamps], abs=1e-3)
    for (_, rgb), expected in zip(read, rgb_frames(path), strict=True):
        assert psnr(rgb, expected) > 30


def test_a_file_that_begins_late_begins_at_once(tmp_path, clock):
    path = make_clip(tmp_path / "late.mkv", size=(64, 48), tracks=0, frames=3, start=240)
    source, began = VideoFile(path, clock=clock), clock.now()
    source.read()
    assert clock.now() == began
    source.close()


def test_time_really_passes(clip):
    source, began = VideoFile(clip), time.monotonic()
    count = 0
    while source.read() is not None:
        count += 1
    assert count == 12
    assert 11 / 24 - 0.005 <= time.monotonic() - began < 11 / 24 + PROMPTLY


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_file_is_upright(tmp_path, clock, rotation):
    path = make_clip(tmp_path / "turned.mp4", size=(64, 48), tracks=0, frames=2, rotation=rotation)
    source = VideoFile(path, clock=clock)
    rgb = source.read()
    source.close()
    player = cv2.VideoCapture(str(path))  # turns pictures upright by itself
    upright = player.read()[1][..., ::-1]
    player.release()
    assert rgb.shape == ((48, 64, 3) if rotation % 180 == 0 else (64, 48, 3))
    assert rgb.flags["C_CONTIGUOUS"]
    assert psnr(rgb, upright) > 30


def test_a_looped_file_goes_on_in_the_same_beat(clip, clock):
    source = VideoFile(clip, loop=True, clock=clock)
    read = clock.read_all(source, most=30)
    source.close()
    assert [seconds for seconds, _ in read] == pytest.approx([i / 24 for i in range(30)], abs=1e-3)
    assert (read[12][1] == read[0][1]).all() and (read[29][1] == read[5][1]).all()
    assert (read[12][1] != read[11][1]).any()


def test_a_little_late_is_made_up_for(clip, clock):
    source = VideoFile(clip, clock=clock)
    source.read()
    clock.time += 0.3
    read = clock.read_all(source)
    assert read[0][0] == read[5][0] == 0, "frames that are due must not wait"
    assert read[-1][0] == pytest.approx(11 / 24 - 0.3, abs=1e-3)


def test_frames_do_not_pile_up_when_decoding_is_slow(clip, clock):
    source = VideoFile(clip, clock=clock)
    source.read()
    clock.time += 5.0
    read = clock.read_all(source)
    assert [seconds for seconds, _ in read] == pytest.approx([i / 24 for i in range(11)], abs=1e-3), (
        "it raced to catch up"
    )


def test_wake_interrupts_a_wait(tmp_path):
    timestamps = [0, 60 * 24, 120 * 24]
    path = make_clip(tmp_path / "slow.mp4", size=(64, 48), tracks=0, pts=timestamps, time_base=Fraction(1, 24))
    source, got = VideoFile(path), []
    assert source.read() is not None
    thread = threading.Thread(target=lambda: got.append(source.read()))
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive(), "the second frame is not due for a minute"
    source.wake()
    thread.join(PROMPTLY)
    assert not thread.is_alive() and got == [None]
    assert source.read() is None
    source.close()


def test_a_file_that_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / "notes.mp4").write_text("milk, bread\n" * 50)
    with pytest.raises(RtstyleError, match=r"notes\.mp4 is not a video"):
        open_source(tmp_path / "notes.mp4")


@pytest.mark.parametrize("loop", [False, True])
def test_a_file_without_a_frame_is_an_error_not_the_end(tmp_path, loop):
    dead = damage_video_packets(make_clip(tmp_path / "dead.mkv"), range(12), after=6, fill=255)
    capture = Capture(lambda: VideoFile(dead, loop=loop))
    wait_until(lambda: capture.ended)
    capture.close()
    assert "holds no frame" in str(capture.error)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="file descriptors cannot be counted here")
def test_a_looped_file_leaves_no_file_open(clip, clock):
    source = VideoFile(clip, loop=True, clock=clock)
    clock.read_all(source, most=3)
    before = open_files()
    clock.read_all(source, most=20 * 12)
    assert open_files() <= before
    source.close()
    assert open_files() < before


# -- folders of pictures


def test_a_folder_is_shown_in_order_each_picture_for_its_time(tmp_path, clock):
    for name, level in [("b.png", 20), ("a.JPG", 10), ("c.bmp", 30)]:
        save_grey(tmp_path / name, level)
    (tmp_path / "notes.txt").write_text("no picture")
    read = clock.read_all(PictureShow(tmp_path, seconds=2.5, clock=clock))
    assert [moment for moment, _ in read] == [0, 2.5, 5.0]
    assert [round(rgb.mean(), -1) for _, rgb in read] == [10, 20, 30]
    assert clock.now() == 1000 + 7.5, "the last picture has its time, too"


def test_unreadable_pictures_are_passed_over(tmp_path, clock):
    for name, level in [("b.png", 20), ("d.png", 40)]:
        save_grey(tmp_path / name, level)
    for name in ("a.png", "c.png", "e.png"):
        (tmp_path / name).write_text("not a picture")
    (tmp_path / "f.png").mkdir()
    for loop, levels in [(False, [20, 40]), (True, [20, 40, 20, 40, 20])]:
        read = clock.read_all(PictureShow(tmp_path, loop=loop, clock=clock), most=5)
        assert [rgb[0, 0, 0] for _, rgb in read] == levels
        assert [seconds for seconds, _ in read] == [3.0 * i for i in range(len(levels))]


@pytest.mark.parametrize("loop", [False, True])
def test_no_readable_picture_at_all_is_one_sentence(tmp_path, loop):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("not a picture")
    capture = Capture(lambda: PictureShow(tmp_path, loop=loop))
    wait_until(lambda: capture.ended)
    capture.close()
    assert str(capture.error) == f"{tmp_path} holds no picture that can be read"


def test_a_folder_without_pictures_is_one_sentence(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(RtstyleError, match=r"holds no pictures \(\.jpg"):
        PictureShow(tmp_path)


def test_one_picture_stays_for_ever(tmp_path, clock):
    save_grey(tmp_path / "a.png", 10), save_grey(tmp_path / "b.png", 20)
    read = clock.read_all(PictureShow(tmp_path / "b.png", clock=clock), most=5)
    assert [rgb[0, 0, 0] for _, rgb in read] == [20] * 5


def test_wake_interrupts_the_wait_for_the_next_picture(tmp_path):
    save_grey(tmp_path / "a.png")
    capture = Capture(lambda: PictureShow(tmp_path / "a.png"))
    wait_until(lambda: capture.count == 1)
    began = time.monotonic()
    capture.close()
    assert time.monotonic() - began < PROMPTLY and capture.ended
