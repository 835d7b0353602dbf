"""Jobs that are killed and go on: nothing broken under the final name, and the same packets as without interruption."""

import functools
import random
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import pytest
from support.helpers import run_python, tree
from support.media_files import make_clip, packets, read_frames, timestamps

from rtstyle import RtstyleError, Stylizer, stylize_video
from rtstyle.errors import Interrupted
from rtstyle.media.encoding import Encoding
from rtstyle.media.remuxer import Remuxer, TimeRange
from rtstyle.runtime import devices
from rtstyle.video.resume import Job

pytest_plugins = ["support.runtime_fixtures"]

FRAMES = 65
# A painter that takes its time, and short segments: there is something to interrupt and to go on from.
PROGRAM = """
import functools, sys, time
from rtstyle import cli
from rtstyle.video import convert
from rtstyle.paint.stylizer import Stylizer as Class

convert.stylize_video = functools.partial(convert.stylize_video, segment_frames=10)
run = Class.run
PAUSE = float(sys.argv.pop())

def slow(*arguments):
    time.sleep(PAUSE)
    return run(*arguments)

Class.run = slow
Class.for_throughput = lambda self: (self.run, 1)
cli.main()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("resume") / "in.mkv", frames=FRAMES, tracks=2, b_frames=2)


in_short_segments = functools.partial(stylize_video, segment_frames=10)


def start(source, out, *options, pause=0.01):
    command = [sys.executable, "-c", PROGRAM, "video", str(source), str(out), "--device", "cpu", *options, str(pause)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def all_packets(path):
    return {kind: packets(path, 0, kind) for kind in ("video", "audio")} | {"second": packets(path, 1)}


def work_folder(out):
    return out.with_name(f".{out.name}.rtstyle")


def test_killed_at_random_moments_and_resumed(tmp_path, source):
    """kill -9, five times (benchmarks/abuse: a hundred times), and on with --resume until it is done."""
    whole = tmp_path / "whole.mp4"
    assert start(source, whole, pause=0).wait(timeout=120) == 0
    out, chance = tmp_path / "out.mp4", random.Random(5)
    kills = 0
    while not out.exists():
        process = start(source, out, "--resume")
        if kills < 5:
            kills += 1
            try:
                process.wait(timeout=0.6 + 1.2 * chance.random())
            except subprocess.TimeoutExpired:
                process.kill()
        assert process.wait(timeout=120) in (0, -signal.SIGKILL), process.stderr.read()
        process.stderr.close()
        if out.exists():
            assert len(read_frames(out)) == FRAMES
    assert all_packets(out) == all_packets(whole)
    if process.returncode:  # killed with the result in place already: what is left beside it, the next run takes away
        assert start(source, out, "--force", pause=0).wait(timeout=120) == 0
        assert all_packets(out) == all_packets(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "whole.mp4"]


@pytest.mark.parametrize("options", [{}, {"steady": False}, {"style_at": [(0.9, "great-wave")]}])
def test_a_resumed_run_gives_the_same_packets(tmp_path, source, stylizer, monkeypatch, options):
    in_short_segments(source, tmp_path / "whole.mp4", stylizer, **options)
    painted = []
    run = stylizer.run

    def breaks(batch, code=None):
        painted.append(batch)
        if len(painted) == 47:
            raise RtstyleError("the brush broke")
        return run(batch, code)

    with monkeypatch.context() as broken:
        broken.setattr(stylizer, "for_throughput", lambda: (breaks, 1))
        with pytest.raises(RtstyleError, match="the brush broke"):
            in_short_segments(source, tmp_path / "out.mp4", stylizer, **options)
    assert not (tmp_path / "out.mp4").exists()
    assert work_folder(tmp_path / "out.mp4").is_dir()
    result = in_short_segments(source, tmp_path / "out.mp4", stylizer, resume=True, **options)
    assert result.frames == FRAMES
    assert 10 <= result.resumed < FRAMES and result.resumed % 10 == 0
    assert all_packets(tmp_path / "out.mp4") == all_packets(tmp_path / "whole.mp4")
    assert not work_folder(tmp_path / "out.mp4").exists()


def test_segments_join_without_a_seam(tmp_path, source, stylizer):
    in_short_segments(source, tmp_path / "out.mp4", stylizer)
    assert timestamps(tmp_path / "out.mp4") == timestamps(source)
    keys = [packet for packet in read_frames(tmp_path / "out.mp4") if packet[1].key_frame]
    assert len(keys) >= 7


def test_ctrl_c_leaves_a_partial_file_and_what_resume_needs(tmp_path, source):
    out = tmp_path / "out.mp4"
    process = start(source, out, pause=0.05)
    while not list(tmp_path.glob(".out.mp4.rtstyle/segment-00001.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    output = process.stderr.read()
    process.stderr.close()
    assert "--resume goes on" in output and "Traceback" not in output
    partial = tmp_path / "out.partial.mp4"
    kept = timestamps(partial)
    assert 20 <= len(kept) < FRAMES
    assert kept == timestamps(source)[: len(kept)]
    assert not out.exists()
    process = start(source, out, "--resume", pause=0)
    assert process.wait(timeout=60) == 0, process.stderr.read()
    output = process.stderr.read()
    process.stderr.close()
    assert "from the interrupted run" in output
    assert "note: out.partial.mp4 of the interrupted run is gone: out.mp4 holds all of it" in output
    assert timestamps(out) == timestamps(source)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def interrupt_at(frame):
    """A callback that presses Ctrl-C."""

    def progress(progress):
        if progress.done == frame:
            raise KeyboardInterrupt

    return progress


def test_every_interrupted_run_keeps_its_part_until_the_whole_is_there(tmp_path, source, stylizer):
    out = tmp_path / "out.mp4"
    for name, frame in (("out.partial.mp4", 5), ("out.partial-2.mp4", 25)):
        with pytest.raises(Interrupted, match=rf"{name}; `resume=True` ") as error:
            in_short_segments(source, out, stylizer, progress=interrupt_at(frame))
        assert error.value.exit_code == 130
        kept = timestamps(tmp_path / name)
        assert frame <= len(kept) < FRAMES and kept == timestamps(source)[: len(kept)]
    result = in_short_segments(source, out, stylizer, resume=True)
    assert result.resumed == 20 and [note.split()[0] for note in result.notes] == [
        "out.partial.mp4",
        "out.partial-2.mp4",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_part_of_another_painting_or_that_somebody_changed_stays(tmp_path, source, stylizer):
    out = tmp_path / "out.mp4"
    with pytest.raises(Interrupted, match=r"`resume=True` has to begin again: it goes on in steps of 10 frames"):
        in_short_segments(source, out, stylizer, progress=interrupt_at(3))
    in_short_segments(source, out, stylizer, strength=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.partial.mp4"]
    with pytest.raises(Interrupted, match=r"out\.partial-2\.mp4"):
        in_short_segments(source, out, stylizer, force=True, progress=interrupt_at(3))
    (tmp_path / "out.partial-2.mp4").write_bytes(b"cut by hand")
    in_short_segments(source, out, stylizer, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.partial-2.mp4", "out.partial.mp4"]


def test_without_resume_an_interrupted_job_is_started_afresh(tmp_path, source, stylizer):
    out = tmp_path / "out.mp4"
    folder = work_folder(out)
    folder.mkdir()
    (folder / "segment-00000.mkv").write_bytes(b"old")
    (folder / "segment-00000.json").write_text('{"stamps": [0], "delay": 0}')
    result = in_short_segments(source, out, stylizer)
    assert (result.frames, result.resumed) == (FRAMES, 0)
    assert not folder.exists()


def test_resume_with_other_options_is_refused(tmp_path, source, stylizer):
    out = tmp_path / "out.mp4"

    with pytest.raises(Interrupted):
        in_short_segments(source, out, stylizer, progress=interrupt_at(25))
    before = tree(tmp_path)
    with pytest.raises(RtstyleError, match=r"another one \(other strength\).*leave `resume` out"):
        in_short_segments(source, out, stylizer, resume=True, strength=0.5)
    with pytest.raises(RtstyleError, match="other encoding"):
        in_short_segments(source, out, stylizer, resume=True, encoding=Encoding(crf=30))
    with pytest.raises(RtstyleError, match="other range"):
        in_short_segments(source, out, stylizer, resume=True, time_range=TimeRange(end=1.0))
    other = Stylizer("scream", device="cpu", threads=1)
    with pytest.raises(RtstyleError, match="other style"):
        in_short_segments(source, out, other, resume=True)
    assert tree(tmp_path) == before
    assert in_short_segments(source, out, stylizer, resume=True).resumed == 20


def test_a_job_goes_on_on_another_gpu_and_on_whichever_ray_gives(tmp_path, source, stylizer, monkeypatch):
    out = tmp_path / "out.mp4"
    gpus = [devices.Device(name, [], "as if") for name in ("cuda:0", "cuda:1", "tensorrt:0")]
    monkeypatch.setattr(Stylizer, "device", gpus[0])
    with pytest.raises(Interrupted):
        in_short_segments(source, out, stylizer, progress=interrupt_at(25))
    monkeypatch.setattr(Stylizer, "device", gpus[2])
    with pytest.raises(RtstyleError, match=r"another one \(other device\)"):
        in_short_segments(source, out, stylizer, resume=True)
    monkeypatch.setattr(Stylizer, "device", gpus[1])
    assert in_short_segments(source, out, stylizer, resume=True).resumed == 20


def test_a_folder_of_pictures_goes_on_from_its_own_job_only(tmp_path, source, stylizer):
    whole, out = tmp_path / "whole", tmp_path / "out"
    in_short_segments(source, f"{whole}/", stylizer)
    assert len(tree(whole)) == FRAMES and not work_folder(whole).exists()
    with pytest.raises(RtstyleError, match="holds pictures already"):
        in_short_segments(source, f"{whole}/", stylizer, resume=True)
    with pytest.raises(Interrupted, match=r"frames are in .*out; `resume=True` goes on from frame \d0"):
        in_short_segments(source, f"{out}/", stylizer, progress=interrupt_at(34))
    before = tree(tmp_path)
    with pytest.raises(RtstyleError, match=r"another one \(other strength\)"):
        in_short_segments(source, f"{out}/", stylizer, resume=True, strength=0.5)
    assert tree(tmp_path) == before
    result = in_short_segments(source, f"{out}/", stylizer, resume=True)
    assert result.frames == FRAMES and 30 <= result.resumed < FRAMES and result.resumed % 10 == 0
    assert tree(out) == tree(whole) and not work_folder(out).exists()


def test_pictures_of_an_earlier_result_are_neither_counted_nor_left(tmp_path, source, stylizer):
    out = tmp_path / "out"
    in_short_segments(source, f"{out}/", stylizer, strength=0)
    (out / "note-000099.png").write_bytes(b"somebody else's")
    part = TimeRange(end=1.0)
    with pytest.raises(Interrupted):
        in_short_segments(source, f"{out}/", stylizer, time_range=part, force=True, progress=interrupt_at(12))
    result = in_short_segments(source, f"{out}/", stylizer, time_range=part, resume=True)
    in_short_segments(source, f"{tmp_path / 'whole'}/", stylizer, time_range=part)
    assert 10 <= result.resumed < result.frames < FRAMES
    assert tree(out) == tree(tmp_path / "whole") | {"note-000099.png": b"somebody else's"}


def test_a_second_run_is_locked_out(tmp_path, source):
    out = tmp_path / "out.mp4"
    with Job(out, {}):
        ended = run_python("-m", "rtstyle", "video", source, out)
        assert ended.returncode == 1
        assert ended.stderr.strip() == f"rtstyle: another rtstyle is writing {out}: wait for it, or give another OUT"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_segment_is_painted_again(tmp_path, source, stylizer):
    out = tmp_path / "out.mp4"

    in_short_segments(source, tmp_path / "whole.mp4", stylizer)
    with pytest.raises(Interrupted):
        in_short_segments(source, out, stylizer, progress=interrupt_at(35))
    (work_folder(out) / "segment-00001.json").write_text("{")
    assert in_short_segments(source, out, stylizer, resume=True).resumed == 20  # all but that one
    assert all_packets(out) == all_packets(tmp_path / "whole.mp4")


def test_frames_with_the_same_time_stamp_are_all_kept(tmp_path, stylizer):
    """Also where two of them meet at the border of two segments, or at the end."""
    stamps = [40 * i for i in range(30)]
    stamps[10] = stamps[9]
    stamps[29] = stamps[28]
    source = make_clip(tmp_path / "plain.mkv", frames=30, tracks=0)
    doubled = tmp_path / "in.mkv"
    with av.open(str(source)) as read, av.open(str(doubled), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0], opaque=True)
        for number, packet in enumerate(p for p in read.demux(video=0) if p.size):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = stamps[number]
            out.mux(packet)
    frames = len(read_frames(doubled))
    assert in_short_segments(doubled, tmp_path / "out.mkv", stylizer).frames == frames
    assert len(read_frames(tmp_path / "out.mkv")) == frames == 30


def test_interrupted_while_it_is_joined(tmp_path, source, stylizer, monkeypatch):
    """All is painted: the run that goes on has no frame to look at."""
    out = tmp_path / "out.mp4"
    in_short_segments(source, tmp_path / "whole.mp4", stylizer)

    def interrupted(self, segments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Remuxer, "write", interrupted)
        with pytest.raises(Interrupted, match="all frames are painted"):
            in_short_segments(source, out, stylizer)
    assert in_short_segments(source, out, stylizer, resume=True).resumed == FRAMES
    assert all_packets(out) == all_packets(tmp_path / "whole.mp4")


def test_a_job_knows_its_input_by_content(tmp_path, source, stylizer):
    out, moved = tmp_path / "out.mp4", tmp_path / "elsewhere.mkv"
    shutil.copy(source, moved)
    with pytest.raises(Interrupted):
        in_short_segments(source, out, stylizer, progress=interrupt_at(25))
    assert in_short_segments(moved, out, stylizer, resume=True).resumed == 20
