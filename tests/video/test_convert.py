"""File to file: frames, time stamps, sound, colours and rotation arrive; errors and Ctrl-C leave nothing broken."""

import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from support import media_files
from support.helpers import run_python, tree
from support.media_files import make_card, make_clip, packets, psnr, read_frames, rgb_frames, stamps

from rtstyle import RtstyleError, Stylizer, stylize_video
from rtstyle.media.reader import VideoReader

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
    "variable-rate.mp4": {"stamps": UNEVEN, "time_base": MILLISECONDS},
    "variable-rate.mkv": {"stamps": UNEVEN, "time_base": MILLISECONDS},
    "late-start.mp4": {"start": 7},
    "late-start.mkv": {"start": 7},
    "late-start-exact.mp4": {  # a delay that whole milliseconds, the muxer's default, cannot say
        "stamps": [12345 + 3003 * i for i in range(10)],
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
    assert result.frames == len(after) == len(before) == len(CLIPS[name].get("stamps", before))
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
        return packets(path)[0][0] - stamps(path)[0]

    assert abs(lead(tmp_path / out) - lead(tmp_path / source)) <= MILLISECONDS
    steps = [np.diff(np.array(stamps(tmp_path / name), float)) for name in (source, out)]
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


CARDS = {"grey": (128, 128, 128), "red": (200, 40, 40), "green": (30, 170, 60), "blue": (40, 50, 210)}


@pytest.mark.parametrize("rgb", CARDS.values(), ids=CARDS)
@pytest.mark.parametrize("matrix", [1, 6], ids=["bt709", "bt601"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_flat_colours_pass_unpainted(tmp_path, stylizer, rgb, matrix, full):
    """Against the equations of BT.601 and BT.709, and not against another run of the same converter."""
    source = make_card(tmp_path / "in.mp4", rgb, matrix, full)
    with VideoReader(source) as reader:
        seen = next(item.rgb for item in reader if hasattr(item, "rgb"))
    assert np.abs(seen.astype(int) - rgb).max() <= 2, "the net sees another colour than a screen shows"

    stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0)
    wanted = media_files.ycbcr(rgb, matrix, full)
    for path in (source, tmp_path / "out.mp4"):
        frame = read_frames(path)[-1][1]
        planes = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in frame.planes]
        for plane, number in zip(planes, wanted, strict=True):
            assert np.abs(plane.astype(int) - number).max() <= (1 if path == source else 2)


@pytest.mark.parametrize("matrix", [1, 6], ids=["bt709", "bt601"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_colour_tags_are_kept(tmp_path, stylizer, matrix, full):
    source = make_card(tmp_path / "in.mp4", (90, 120, 60), matrix, full)
    stylize_video(source, tmp_path / "out.mp4", stylizer)
    a, b = (read_frames(path)[0][1] for path in (source, tmp_path / "out.mp4"))
    for tag in ("colorspace", "color_primaries", "color_trc", "color_range"):
        assert int(getattr(b, tag)) == int(getattr(a, tag)) == ((2 if full else 1) if tag == "color_range" else matrix)


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
    wanted = np.stack(
        [look.apply(f, stylizer(f), strength=strength, keep_colors=keep_color) for f in photograph],
    )
    assert psnr(out, wanted) > 26
    assert psnr(out, wanted) > psnr(out, photograph) + 6
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


@pytest.mark.parametrize(
    ("after", "lost"), [(12, 0), (6, 3)], ids=["frames the decoder patches up", "packets nothing can be made of"]
)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_damage_in_the_middle_is_counted_and_survived(tmp_path, call, after, lost, suffix):
    source = make_clip(tmp_path / f"in.{suffix}", frames=30)
    whole, stamps_of_whole = packets(source), stamps(source)
    media_files.damage_video_packets(source, [14, 15, 17], after, fill=255 if lost else 0)
    out = tmp_path / f"out.{suffix}"
    code, _, err = call("video", source, out, "--quiet", "--device", "cpu")
    assert code == 0
    assert "warning: 3 frames of" in err and str(source) in err
    assert len(err.splitlines()) == 1
    assert len(stamps(out)) == 30 - lost
    assert stamps(out) == [stamp for i, stamp in enumerate(stamps_of_whole) if not lost or i not in (14, 15, 17)]
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
    painted = len(stamps(tmp_path / "out.mp4"))
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
    with pytest.raises(RtstyleError, match="the brush broke") as told:
        stylize_video(source, tmp_path / "out.mp4", Failing(device="cpu", threads=1), force=True)
    assert tree(tmp_path) == before
    assert stage_threads() == [], told  # told keeps the traceback: nothing was ended by the garbage collector


def test_an_error_in_the_callback_stops_everything(tmp_path, stylizer, clip):
    def complain(progress):
        raise ZeroDivisionError("in the caller's code")

    with pytest.raises(ZeroDivisionError) as told:
        stylize_video(clip, tmp_path / "out.mp4", stylizer, progress=complain)
    assert tree(tmp_path) == {}
    assert stage_threads() == [], told


def test_no_thread_is_left_after_a_good_run(tmp_path, stylizer, clip):
    during = []
    stylize_video(clip, tmp_path / "out.mp4", stylizer, progress=lambda p: during.append(stage_threads()))
    assert "stage-0" in during[0] and "stage-1" in during[0]
    assert stage_threads() == []
    assert set(tree(tmp_path)) == {"out.mp4"}


def test_force_replaces_out(tmp_path, stylizer, clip):
    (tmp_path / "out.mp4").write_bytes(b"an earlier result")
    stylize_video(clip, tmp_path / "out.mp4", stylizer, force=True)
    assert len(stamps(tmp_path / "out.mp4")) == 12


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


def unfinished(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def start_long_run(source, out, *options):
    """A run that takes long enough to be interrupted, once it has begun to write."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rtstyle", "video", source, out, "--work-height", "512", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not unfinished(out.parent) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_ctrl_c_keeps_a_playable_part_and_leaves_out_alone(tmp_path, suffix):
    source = make_clip(tmp_path / "in.mp4", frames=600)
    folder = tmp_path / "results"
    folder.mkdir()
    out = folder / f"out.{suffix}"
    out.write_bytes(b"an earlier result")
    process = start_long_run(source, out, "--force")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    partial = folder / f"out.partial.{suffix}"
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert str(partial) in err.splitlines()[-1]
    assert set(tree(folder)) == {out.name, partial.name}
    assert out.read_bytes() == b"an earlier result"
    kept = stamps(partial)
    assert 0 < len(kept) < 600
    assert f"first {len(kept)} frames" in err
    wanted = stamps(source)[: len(kept)]
    np.testing.assert_allclose(np.diff(np.array(kept, float)), np.diff(np.array(wanted, float)), atol=0.0011)
    assert len(packets(partial)) > 0


def test_a_second_interrupted_run_keeps_the_first_part(tmp_path, stylizer, clip):
    from rtstyle.video.convert import Interrupted

    def interrupt(progress):
        if progress.done == 5:
            raise KeyboardInterrupt

    for name in ("out.partial.mp4", "out.partial-2.mp4"):
        with pytest.raises(Interrupted, match=name) as told:
            stylize_video(clip, tmp_path / "out.mp4", stylizer, progress=interrupt)
        assert told.value.exit_code == 130
        kept = stamps(tmp_path / name)
        assert 5 <= len(kept) < 12 and kept == stamps(clip)[: len(kept)]
    assert set(tree(tmp_path)) == {"out.partial.mp4", "out.partial-2.mp4"}
