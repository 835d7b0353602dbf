"""File to file: frames, time stamps, sound, colours and rotation arrive; errors and Ctrl-C leave nothing broken."""

import errno
import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
from support import media_files
from support.helpers import run_python, tree
from support.media_files import make_clip, packets, psnr, read_frames, rgb_frames, timestamps

from rtstyle import OutputError, RtstyleError, Stylizer, stylize_video
from rtstyle.media.reader import VideoReader
from rtstyle.media.remuxer import TimeRange
from rtstyle.video.sinks import VideoFileSink

pytest_plugins = ["support.runtime_fixtures"]

MILLISECONDS = Fraction(1, 1000)
UNEVEN = [0, 40, 110, 130, 300, 333, 370, 500, 501, 620]
CLIPS = {
    "plain.mp4": {},
    "plain.mkv": {},
    "plain.mov": {},
    "two-tracks.mkv": {"tracks": 2},
    "two-tracks.mp4": {"tracks": 2},
    "silent.mp4": {"tracks": 0},
    "variable-rate.mp4": {"pts": UNEVEN, "time_base": MILLISECONDS},
    "variable-rate.mkv": {"pts": UNEVEN, "time_base": MILLISECONDS},
    "late-start.mp4": {"start": 7},
    "late-start.mkv": {"start": 7},
    "late-start-exact.mp4": {  # a delay that whole milliseconds, the muxer's default, cannot say
        "pts": [12345 + 3003 * i for i in range(10)],
        "time_base": Fraction(1, 90000),
        "container_options": {"movie_timescale": "48000"},
    },
    "b-frames.mp4": {"b_frames": 3, "frames": 24},
    "b-frames.mkv": {"b_frames": 3, "frames": 24},
    "odd-size.mp4": {"size": (97, 61), "pix_fmt": "yuv444p"},
    "ntsc.mp4": {"rate": Fraction(30000, 1001)},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "one-frame.mp4": {"frames": 1},
}


@pytest.mark.parametrize("name", CLIPS)
def test_frames_stamps_size_and_sound_arrive(tmp_path, stylizer, name):
    source, out = tmp_path / name, tmp_path / f"out-{name}"
    make_clip(source, **CLIPS[name])
    result = stylize_video(source, out, stylizer)
    before, after = read_frames(source), read_frames(out)
    assert result.frames == len(after) == len(before) == len(CLIPS[name].get("pts", before))
    assert [time for time, _ in after] == [time for time, _ in before]
    assert {(f.width, f.height) for _, f in after} == {(f.width, f.height) for _, f in before}
    assert result.damaged == 0
    for track in range(CLIPS[name].get("tracks", 1)):
        sound, copied = packets(source, track), packets(out, track)
        assert len(sound) > 1
        assert [content for _, content in copied] == [content for _, content in sound]
        assert [time for time, _ in copied] == [time for time, _ in sound]


def test_tracks_are_not_swapped(tmp_path, stylizer):
    source = make_clip(tmp_path / "in.mkv", tracks=2)
    assert packets(source, 0) != packets(source, 1)
    stylize_video(source, tmp_path / "out.mp4", stylizer)
    for track in range(2):
        assert [c for _, c in packets(tmp_path / "out.mp4", track)] == [c for _, c in packets(source, track)]


@pytest.mark.parametrize(("source", "out"), [("in.mp4", "out.mkv"), ("in.mkv", "out.mp4")])
@pytest.mark.parametrize("start", [0, 5])
def test_another_container_keeps_picture_and_sound_in_step(tmp_path, stylizer, source, out, start):
    make_clip(tmp_path / source, start=start)
    stylize_video(tmp_path / source, tmp_path / out, stylizer)

    def lead(path):
        return packets(path)[0][0] - timestamps(path)[0]

    assert abs(lead(tmp_path / out) - lead(tmp_path / source)) <= MILLISECONDS
    steps = [np.diff(np.array(timestamps(tmp_path / name), float)) for name in (source, out)]
    np.testing.assert_allclose(steps[1], steps[0], atol=0.0011)  # Matroska counts whole milliseconds
    assert [c for _, c in packets(tmp_path / out)] == [c for _, c in packets(tmp_path / source)]


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", ["mov", "mp4"])
def test_rotation_is_kept_and_not_applied(tmp_path, stylizer, angle, suffix):
    source = make_clip(tmp_path / f"in.{suffix}", rotation=angle, frames=3)
    first = read_frames(source)[0][1]
    assert first.rotation % 360 == angle
    stylize_video(source, tmp_path / f"out.{suffix}", stylizer, strength=0)
    painted = read_frames(tmp_path / f"out.{suffix}")[0][1]
    assert painted.rotation == first.rotation
    assert (painted.width, painted.height) == (160, 96)


def test_sample_aspect_is_kept(tmp_path, stylizer):
    source = make_clip(tmp_path / "in.mp4", sample_aspect=Fraction(4, 3), frames=3)
    stylize_video(source, tmp_path / "out.mp4", stylizer)
    with media_files.av.open(str(source)) as a, media_files.av.open(str(tmp_path / "out.mp4")) as b:
        assert a.streams.video[0].sample_aspect_ratio == b.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_strength_zero_gives_the_photograph_back(tmp_path, stylizer, clip):
    stylize_video(clip, tmp_path / "out.mp4", stylizer, strength=0)
    assert psnr(rgb_frames(tmp_path / "out.mp4"), rgb_frames(clip)) > 35


@pytest.mark.parametrize(
    ("strength", "keep_color"), [(1.0, False), (0.5, False), (1.0, True)], ids=["painted", "half", "keep-color"]
)
def test_output_is_what_the_stylizer_paints(tmp_path, stylizer, clip, strength, keep_color):
    from rtstyle.paint import look

    stylize_video(clip, tmp_path / "out.mp4", stylizer, strength=strength, keep_color=keep_color)
    photograph, out = rgb_frames(clip), rgb_frames(tmp_path / "out.mp4")
    expected = np.stack(
        [look.apply(f, stylizer(f), strength=strength, keep_colors=keep_color) for f in photograph],
    )
    assert psnr(out, expected) > 26
    assert psnr(out, expected) > psnr(out, photograph) + 6
    if strength == 1 and not keep_color:
        assert psnr(out, photograph) < 18, "hardly painted"


def test_frames_stay_in_order(tmp_path, stylizer):
    """Each painted frame is nearest to its own photograph, B-frames and all."""
    source = make_clip(
        tmp_path / "in.mp4", frames=20, b_frames=3, draw=lambda i, h, w: np.full((h, w, 3), 20 + 11 * i, np.uint8)
    )
    stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0)
    levels = rgb_frames(tmp_path / "out.mp4").mean((1, 2, 3))
    np.testing.assert_allclose(levels, 20 + 11 * np.arange(20), atol=2)


def test_progress_counts_every_frame(tmp_path, stylizer, clip):
    seen = []
    stylize_video(clip, tmp_path / "out.mp4", stylizer, progress=lambda p: seen.append((p.done, p.total)))
    assert seen == [(i, 12) for i in range(1, 13)]


def test_a_total_that_was_an_estimate_is_corrected(tmp_path, stylizer):
    """The file says a duration and a rate, and holds twice as many frames in its first half. Its packets are counted
    for a video; for a folder of pictures they are not."""
    uneven = [20 * i for i in range(20)] + [400 + 40 * i for i in range(10)]
    source = make_clip(tmp_path / "in.mkv", pts=uneven, time_base=MILLISECONDS, tracks=0)
    with VideoReader(source) as reader:
        estimate = reader.frame_count
    assert estimate not in (None, 30)
    exact, seen = [], []
    stylize_video(source, tmp_path / "out.mkv", stylizer, progress=lambda p: exact.append((p.done, p.total)))
    assert exact == [(done, 30) for done in range(1, 31)]
    stylize_video(source, f"{tmp_path / 'out'}/", stylizer, progress=lambda p: seen.append((p.done, p.total)))
    assert seen[0] == (1, estimate) and seen[-1] == (30, 30)
    assert seen[:-1] == [(done, estimate if done <= estimate else None) for done in range(1, 31)]
    fewer = []
    stylize_video(
        source, f"{tmp_path / 'cut'}/", stylizer, time_range=TimeRange(end=50), progress=lambda p: fewer.append(p.total)
    )
    assert fewer[0] > 1000 and fewer[-1] == 30


@pytest.mark.parametrize(
    ("after", "lost"), [(12, 0), (6, 3)], ids=["frames the decoder patches up", "packets nothing can be made of"]
)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_damage_in_the_middle_is_counted_and_survived(tmp_path, call, after, lost, suffix):
    source = make_clip(tmp_path / f"in.{suffix}", frames=30)
    whole, stamps_of_whole = packets(source), timestamps(source)
    media_files.damage_video_packets(source, [14, 15, 17], after, fill=255 if lost else 0)
    out = tmp_path / f"out.{suffix}"
    code, _, err = call("video", source, out, "--quiet", "--device", "cpu")
    assert code == 0
    assert "warning: 3 frames of" in err and str(source) in err
    assert len(err.splitlines()) == 1
    assert len(timestamps(out)) == 30 - lost
    assert timestamps(out) == [stamp for i, stamp in enumerate(stamps_of_whole) if not lost or i not in (14, 15, 17)]
    assert packets(out) == whole


def test_a_file_cut_off_behind_its_index_is_painted_as_far_as_it_goes(tmp_path, call):
    whole, source = make_clip(tmp_path / "whole.mp4", frames=60), tmp_path / "in.mp4"
    with (
        media_files.av.open(str(whole)) as reader,
        media_files.av.open(str(source), "w", container_options={"movflags": "+faststart"}) as writer,
    ):
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        for packet in reader.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 6 // 10])
    code, _, err = call("video", source, tmp_path / "out.mp4", "--quiet")
    painted = len(timestamps(tmp_path / "out.mp4"))
    assert code == 0
    assert 10 < painted < 50
    assert f"warning: {60 - painted} frames of {source} are damaged" in err


def test_a_whole_file_gives_no_warning(tmp_path, call, clip):
    code, out, err = call("video", clip, tmp_path / "out.mp4", "--quiet")
    assert (code, out, err) == (0, "", "")


class Failing(Stylizer):
    """Paints three frames and then breaks."""

    def run(self, batch, code=None):
        self.left = getattr(self, "left", 3) - 1
        if self.left < 0:
            raise RtstyleError("the brush broke")
        return super().run(batch, code)

    def for_throughput(self):
        return self.run, 1


def stage_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("stage-")]


def test_an_error_while_painting_stops_everything_and_leaves_out_alone(tmp_path):
    source = make_clip(tmp_path / "in.mp4", frames=60)
    (tmp_path / "out.mp4").write_bytes(b"an earlier result")
    before = tree(tmp_path)
    with pytest.raises(RtstyleError, match="the brush broke") as error:
        stylize_video(source, tmp_path / "out.mp4", Failing(device="cpu", threads=1), force=True)
    assert tree(tmp_path) == before
    assert stage_threads() == [], error  # told keeps the traceback: nothing was ended by the garbage collector


def test_an_error_in_the_callback_stops_everything(tmp_path, stylizer, clip):
    def complain(progress):
        raise ZeroDivisionError("in the caller's code")

    with pytest.raises(ZeroDivisionError) as error:
        stylize_video(clip, tmp_path / "out.mp4", stylizer, progress=complain)
    assert tree(tmp_path) == {}
    assert stage_threads() == [], error


def test_no_thread_is_left_after_a_good_run(tmp_path, stylizer, clip):
    during = []
    stylize_video(clip, tmp_path / "out.mp4", stylizer, progress=lambda p: during.append(stage_threads()))
    assert during[0], "the decoder may be through by then, what writes is not"
    assert stage_threads() == []
    assert set(tree(tmp_path)) == {"out.mp4"}


def test_force_replaces_out(tmp_path, stylizer, clip):
    (tmp_path / "out.mp4").write_bytes(b"an earlier result")
    stylize_video(clip, tmp_path / "out.mp4", stylizer, force=True)
    assert len(timestamps(tmp_path / "out.mp4")) == 12


def test_an_out_that_somebody_writes_meanwhile_stays(tmp_path, stylizer, clip):
    out = tmp_path / "out.mp4"
    with pytest.raises(
        RtstyleError, match=r"out\.mp4 was written by somebody else .*the result is .*out\.partial\.mp4$"
    ):
        stylize_video(clip, out, stylizer, progress=lambda p: out.write_bytes(b"theirs"))
    assert out.read_bytes() == b"theirs" and len(timestamps(tmp_path / "out.partial.mp4")) == 12
    assert len(tree(tmp_path)) == 2


def remove(source, other):
    source.unlink()


def replace(source, other):
    other.replace(source)


def cut(source, other):
    os.truncate(source, source.stat().st_size // 2)


def extend(source, other):
    with open(source, "ab") as file:
        file.write(b"more")


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be changed there")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove, "went away"),
        (replace, "was replaced by another file"),
        (cut, "was changed"),
        (extend, "was changed"),
    ],
)
def test_an_input_that_changes_is_an_error_and_what_was_read_is_kept(tmp_path, stylizer, change, words):
    """Not a whole result with the other file's sound, as if nothing had happened."""
    source, other = make_clip(tmp_path / "in.mkv", frames=60), make_clip(tmp_path / "other.mkv", frames=24, tracks=2)
    out = tmp_path / "done" / "out.mkv"
    out.parent.mkdir()

    def progress(progress):
        if progress.done == 3:
            change(source, other)

    with pytest.raises(
        RtstyleError, match=rf"in\.mkv {words} while it was read: the first \d+ frames are in .*partial"
    ):
        stylize_video(source, out, stylizer, progress=progress)
    assert [path.name for path in out.parent.iterdir()] == ["out.partial.mkv"]
    kept = timestamps(out.parent / "out.partial.mkv")
    assert 3 <= len(kept) <= 60
    with media_files.av.open(str(out.parent / "out.partial.mkv")) as partial:
        assert len(partial.streams) == 1, "sound of another file"


def test_pictures_that_change_are_an_error(tmp_path, stylizer, clip):
    frames, out = tmp_path / "frames", tmp_path / "out.mp4"
    stylize_video(clip, f"{frames}/", stylizer, strength=0)

    def progress(progress):
        if progress.done == 12:
            (frames / "000003.png").write_bytes((frames / "000004.png").read_bytes())

    with pytest.raises(RtstyleError, match=r"frames changed: 000003\.png was changed while it was read: the first 12"):
        stylize_video(frames, out, stylizer, progress=progress)
    assert not out.exists()


def test_same_input_same_output(tmp_path, stylizer, clip):
    """Several times: x264 left to itself differed in one run of five."""
    outputs = set()
    for _ in range(8):
        stylize_video(clip, tmp_path / "out.mp4", stylizer, force=True)
        outputs.add(rgb_frames(tmp_path / "out.mp4").tobytes())
    assert len(outputs) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("limit", [0, 6000], ids=["nothing can be written", "full in the middle"])
def test_a_full_disk_is_one_sentence_and_leaves_out_alone(tmp_path, clip, limit):
    """The limit on file sizes makes real writes fail, as a full disk does."""
    (tmp_path / "out.mp4").write_bytes(b"an earlier result")
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from rtstyle.cli import main; main()"
    )
    done = run_python("-c", program, "video", clip, tmp_path / "out.mp4", "--force", "-q")
    assert done.returncode == 1, done.stderr
    assert "out.mp4 could not be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    assert tree(tmp_path) == {"out.mp4": b"an earlier result"}


def test_a_disk_that_fills_at_the_end_says_how_to_go_on(tmp_path, stylizer, clip, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out.mp4"
    with monkeypatch.context() as context:
        context.setattr(VideoFileSink, "_remux", full)
        with pytest.raises(
            OutputError, match=r"could not be written .*: what is painted is kept, `resume=True` goes on"
        ):
            stylize_video(clip, out, stylizer)
    assert stylize_video(clip, out, stylizer, resume=True).resumed > 0
    assert out.exists()


def start_long_run(source, out, *options):
    """A run that takes long enough to be interrupted, once it has written a few frames."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rtstyle", "video", source, out, "--work-height", "512", "--progress", "json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith('{"done": 5,'):
            return process
    pytest.fail("it ended early")


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize(("suffix", "ending"), [("mp4", signal.SIGINT), ("mkv", signal.SIGTERM)])
def test_ctrl_c_and_sigterm_keep_a_playable_part_and_leave_out_alone(tmp_path, suffix, ending):
    source = make_clip(tmp_path / "in.mp4", frames=600)
    folder = tmp_path / "results"
    folder.mkdir()
    out = folder / f"out.{suffix}"
    out.write_bytes(b"an earlier result")
    process = start_long_run(source, out, "--force")
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    partial = folder / f"out.partial.{suffix}"
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert str(partial) in err.splitlines()[-1]
    assert "; --resume has to begin again: it goes on in steps of 300 frames" in err
    assert set(tree(folder)) == {out.name, partial.name, f".{out.name}.rtstyle", f".{out.name}.rtstyle/job.json"}
    assert out.read_bytes() == b"an earlier result"
    kept = timestamps(partial)
    assert 5 <= len(kept) < 600
    assert f"first {len(kept)} frames" in err
    expected = timestamps(source)[: len(kept)]
    np.testing.assert_allclose(np.diff(np.array(kept, float)), np.diff(np.array(expected, float)), atol=0.0011)
    assert len(packets(partial)) > 0


def test_a_work_height_far_above_the_frames_is_a_warning(tmp_path, call):
    source = make_clip(tmp_path / "in.mp4", size=(64, 32), frames=2, tracks=0)
    code, _, err = call("video", source, tmp_path / "out.mp4", "--work-height", "96", "--device", "cpu", "-q")
    assert code == 0
    assert err.startswith("warning: the net runs at 3.0 times the frame's height, 96 pixels instead of 32, which")
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_length(tmp_path):
    """Peak memory of a clip and of one six times as long, each in a process of its own."""
    program = (
        "import sys\nfrom rtstyle import Stylizer, stylize_video\n"
        "stylize_video(sys.argv[1], sys.argv[2], Stylizer('starry-night', device='cpu', threads=1))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for frames in (120, 720):
        source = make_clip(tmp_path / f"{frames}.mp4", frames=frames)
        command = [sys.executable, "-c", program, str(source), str(tmp_path / f"out-{frames}.mp4")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout))
    assert peaks[1] < 1.1 * peaks[0]
