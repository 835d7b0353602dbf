"""Videos painted by a real Ray: two machines that are processes here, or one of rtstyle's own."""

import json
import os
import random
import threading
import time

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from support import ray_cluster as ray_support
from support.media_files import make_clip, packets, picture, timestamps
from support.ray_cluster import FRAMES, SEGMENT
from test_streams import facts, make_rich

from rtstyle import DeviceError, InputError, OutputError, Stylizer, UsageError, stylize_video
from rtstyle.errors import Interrupted
from rtstyle.media.reader import VideoReader
from rtstyle.video import convert, farm, resume, segment_work
from rtstyle.video.cluster import connected
from rtstyle.video.convert import Options
from rtstyle.video.farm import stylize_videos

pytest_plugins = ["support.runtime_fixtures", "support.ray_cluster"]


def all_packets(path):
    return {kind: packets(path, 0, kind) for kind in ("video", "audio")} | {"second": packets(path, 1)}


def paint(cluster, film, out, stylizer, *, results=None, **options):
    """On the cluster; raises what came of it, if that is an error."""
    how = {name: options.pop(name) for name in ("progress", "resume", "gpus_per_segment") if name in options}
    came = []
    stylize_videos(
        [(str(film), str(out))],
        stylizer,
        Options(**{"segment_frames": SEGMENT} | options),
        address=cluster.address,
        finished=lambda film, out, result: came.append(result),
        **how,
    )
    (result,) = came
    if isinstance(result, Exception):
        raise result
    return result


def hide_files(monkeypatch, folder):
    """No machine sees the video and the model."""

    def elsewhere(cls, path, content=None):
        return cls(folder / "no machine has this" / path.name, tuple(segment_work.content_identity(path)))

    monkeypatch.setattr(segment_work.File, "of", classmethod(elsewhere))


LOOKS = [{}, {"steady": False}, {"style_at": [(0.9, "great-wave")]}]


@pytest.mark.parametrize("look", LOOKS, ids=["steady", "plain", "style-at"])
def test_the_packets_are_those_of_a_run_without_ray(tmp_path, ray_cluster, film, stylizer, look):
    stylize_video(film, tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT, **look)
    seen = []
    result = paint(ray_cluster, film, tmp_path / "out.mkv", stylizer, progress=seen.append, **look)
    assert (result.frames, result.resumed, result.damaged) == (FRAMES, 0, 0)
    assert all_packets(tmp_path / "out.mkv") == all_packets(tmp_path / "alone.mkv")
    assert timestamps(tmp_path / "out.mkv") == timestamps(film)
    assert [p.done for p in seen] == sorted(p.done for p in seen) and seen[-1].done == seen[-1].total == FRAMES
    assert sum(seen[-1].machines.values()) == FRAMES and 1 <= len(seen[-1].machines) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.mkv", "out.mkv"]


def test_every_stream_and_fact_of_a_rich_file_arrives(tmp_path, ray_cluster, stylizer):
    rich = make_rich(tmp_path / "in.mkv")
    stylize_video(rich, tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT)
    paint(ray_cluster, rich, tmp_path / "out.mkv", stylizer)
    assert facts(tmp_path / "out.mkv") == facts(tmp_path / "alone.mkv")
    assert all_packets(tmp_path / "out.mkv") == all_packets(tmp_path / "alone.mkv")


def test_machines_that_do_not_see_the_files_get_their_bytes(tmp_path, ray_cluster, film, stylizer, monkeypatch):
    stylize_video(film, tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT)
    hide_files(monkeypatch, tmp_path)
    sent = []
    parcel = farm._Film.parcel
    monkeypatch.setattr(farm._Film, "parcel", lambda self, segment: sent.append(segment) or parcel(self, segment))
    paint(ray_cluster, film, tmp_path / "out.mkv", stylizer)
    assert set(sent) == set(range(7))
    assert all_packets(tmp_path / "out.mkv") == all_packets(tmp_path / "alone.mkv")


def test_a_folder_of_pictures_travels_too(tmp_path, ray_cluster, stylizer, monkeypatch):
    from rtstyle.media.images import Picture, write_image

    (tmp_path / "in").mkdir()
    for i in range(25):
        write_image(tmp_path / "in" / f"{i:03d}.png", Picture(picture(i, 48, 64)), force=False)
    stylize_video(tmp_path / "in", tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT, fps=10)
    hide_files(monkeypatch, tmp_path)
    paint(ray_cluster, tmp_path / "in", tmp_path / "out.mkv", stylizer, fps=10)
    assert packets(tmp_path / "out.mkv", 0, "video") == packets(tmp_path / "alone.mkv", 0, "video")


def test_the_driver_holds_no_more_than_what_is_under_way(tmp_path, ray_cluster, film, stylizer, monkeypatch):
    """Of 32 segments, each with a parcel and a result in Ray's object store (in MB: benchmarks/farm.py)."""
    import ray

    hide_files(monkeypatch, tmp_path)
    held = []
    options = Options(segment_frames=2)
    with connected(ray_cluster.address):
        (result,) = stylize_videos(
            [(str(film), str(tmp_path / "out.mkv"))],
            stylizer,
            options,
            progress=lambda p: held.append(
                len(ray._private.worker.global_worker.core_worker.get_all_reference_counts())
            ),
        )
    assert result.frames == FRAMES and len(held) == 32 + 1
    under_way = 2 * farm.AHEAD  # two slots
    assert max(held) <= 2 * under_way + 2 + 2, (
        held
    )  # task and parcel; model and painting; what Ray forgets a little later


def test_killed_workers_lose_nothing_and_nobody_is_told(tmp_path, ray_cluster, film, stylizer, capsys):
    """SIGKILL in the middle of three segments (benchmarks/farm.py: twenty)."""
    stylize_video(film, tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT)
    kills, over, chance = [], threading.Event(), random.Random(7)

    def killer():
        while len(kills) < 3 and not over.is_set():
            time.sleep(0.02 + 0.1 * chance.random())
            if found := ray_support.workers():
                kills.extend([1] * ray_support.kill([chance.choice(found)]))

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        result = paint(ray_cluster, film, tmp_path / "out.mkv", stylizer)
    finally:
        over.set()
        thread.join()
    assert len(kills) == 3 and result.frames == FRAMES
    assert tuple(capsys.readouterr()) == ("", "")
    assert all_packets(tmp_path / "out.mkv") == all_packets(tmp_path / "alone.mkv")


def test_a_machine_that_goes_away_while_it_paints(tmp_path, ray_cluster, film, stylizer):
    stylize_video(film, tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT)
    third = ray_cluster.add_node(num_cpus=2)
    gone = []

    def progress(p):
        if p.done >= 2 * SEGMENT and not gone:
            gone.append(ray_cluster.remove_node(third, allow_graceful=False))

    paint(ray_cluster, film, tmp_path / "out.mkv", stylizer, progress=progress)
    assert gone
    assert all_packets(tmp_path / "out.mkv") == all_packets(tmp_path / "alone.mkv")


def test_an_idle_machine_helps_a_slow_one_and_nothing_is_in_the_result_twice(
    tmp_path, ray_cluster, film, stylizer, monkeypatch
):
    monkeypatch.setattr(farm, "SLOW", 0.0)  # whatever is being painted at the end is slow
    helped = []
    hand = farm._Farm._hand
    monkeypatch.setattr(
        farm._Farm,
        "_hand",
        lambda self, film, segment, **how: helped.append(segment) or hand(self, film, segment, **how),
    )
    stylize_video(film, tmp_path / "alone.mkv", stylizer, segment_frames=16)
    paint(ray_cluster, film, tmp_path / "out.mkv", stylizer, segment_frames=16)
    assert len(helped) > len(set(helped)) == 4
    assert all_packets(tmp_path / "out.mkv") == all_packets(tmp_path / "alone.mkv")


def test_ctrl_c_leaves_what_a_run_without_ray_completes(tmp_path, ray_cluster, film, stylizer):
    out = tmp_path / "out.mkv"

    def progress(p):
        if p.done >= 3 * SEGMENT:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"interrupted: .*`resume=True` goes on"):
        paint(ray_cluster, film, out, stylizer, progress=progress)
    assert not out.exists() and (tmp_path / ".out.mkv.rtstyle").is_dir()
    deadline = time.monotonic() + 20
    while ray_support.workers():
        assert time.monotonic() < deadline, "a cancelled segment is still being painted"
        time.sleep(0.1)
    stylize_video(film, tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT)
    result = stylize_video(film, out, stylizer, segment_frames=SEGMENT, resume=True)
    assert result.resumed >= 3 * SEGMENT
    assert all_packets(out) == all_packets(tmp_path / "alone.mkv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.mkv", "out.mkv"]


def test_a_job_begun_without_ray_is_completed_with_it(tmp_path, ray_cluster, film, stylizer, monkeypatch):
    out = tmp_path / "out.mkv"
    looked, entered = [], []
    identity, entry = resume.content_identity, VideoReader._entered

    def look(path):
        looked.append(str(path))
        return identity(path)

    def enter(self, index, first, last):
        entered.append(first)
        return entry(self, index, first, last)

    def progress(p):
        if p.done == 25:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        stylize_video(film, out, stylizer, segment_frames=SEGMENT, progress=progress)
    with monkeypatch.context() as patch:
        for module in (convert, segment_work):
            patch.setattr(module, "content_identity", look)
        patch.setattr(VideoReader, "_entered", enter)
        assert paint(ray_cluster, film, out, stylizer, resume=True).resumed == 20
    assert looked.count(str(film)) == 1 and entered == [0]  # the first frame, for the format
    stylize_video(film, tmp_path / "alone.mkv", stylizer, segment_frames=SEGMENT)
    assert all_packets(out) == all_packets(tmp_path / "alone.mkv")


def test_the_command_line_paints_many_and_says_what_each_machine_did(tmp_path, ray_cluster, film, call):
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(film.read_bytes()[:200])
    folder = tmp_path / "out"
    code, out, err = call(
        *("video", film, damaged, "--out-dir", folder, "--device", "cpu", "--ray", ray_cluster.address)
    )
    assert (code, out) == (1, "")
    assert f"{damaged}: {damaged} " in err and "1 of 2 videos could not be painted" in err
    assert f"  {os.uname().nodename}" in err and "64 frames" in err
    assert timestamps(folder / "in.mkv") == timestamps(film)
    code, _, err = call(
        *("video", film, tmp_path / "one.mkv", "--device", "cpu", "--progress", "json", "--ray", ray_cluster.address)
    )
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert code == 0 and lines[-1]["done"] == lines[-1]["total"] == FRAMES
    assert sum(lines[-1]["machines"].values()) == FRAMES


def test_the_doctor_looks_at_all_machines(ray_cluster, call):
    code, out, _ = call("doctor", "--ray", ray_cluster.address, "--json")
    report = json.loads(out)
    assert code == 0 and len(report["nodes"]) == 2 and report["problems"] == []
    assert all(node["software"] == report["software"] for node in report["nodes"])
    code, out, _ = call("doctor", "--ray", ray_cluster.address)
    assert code == 0 and out.count(os.uname().nodename) == 2 and "all machines have the same versions" in out


def test_machines_with_other_versions_are_refused_by_name(tmp_path, ray_cluster, film, stylizer, call):
    other = tmp_path / "sitecustomize.py"
    other.write_text("import cv2, av\nav.__version__ = '17.0.1'\n")
    third = ray_cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        with pytest.raises(DeviceError, match=rf"^{os.uname().nodename}-\w{{6}} has PyAV 17.0.1 \(here "):
            paint(ray_cluster, film, tmp_path / "out.mkv", stylizer)
        code, _, _ = call("doctor", "--ray", ray_cluster.address)
        assert code == 1
    finally:
        ray_cluster.remove_node(third)
    assert not (tmp_path / "out.mkv").exists()


def test_too_few_resources_are_named(tmp_path, ray_cluster, film, stylizer):
    with pytest.raises(
        DeviceError, match=r"needs 0\.5 GPU, and no machine of the cluster has more than 0: add one with ray start"
    ):
        paint(ray_cluster, film, tmp_path / "out.mkv", stylizer, gpus_per_segment=0.5)


def test_what_cannot_be_painted_in_parts(tmp_path, ray_cluster, stylizer):
    without_stamps = make_clip(tmp_path / "in.h264", tracks=0, frames=20)
    with pytest.raises(InputError, match="cannot be entered in the middle"):
        paint(ray_cluster, without_stamps, tmp_path / "out.mkv", stylizer)
    clip = make_clip(tmp_path / "in.mkv", frames=20)
    with pytest.raises(UsageError, match="Ray paints into video files"):
        paint(ray_cluster, clip, f"{tmp_path / 'pictures'}/", stylizer)
    (tmp_path / "out.mkv").write_bytes(b"mine")
    with pytest.raises(OutputError, match="already exists"):
        paint(ray_cluster, clip, tmp_path / "out.mkv", stylizer)
    assert (tmp_path / "out.mkv").read_bytes() == b"mine"


def test_a_machine_without_the_device_is_named(tmp_path, ray_cluster, film, stylizer, monkeypatch):
    class OnCoreml:
        kind, name, on_processor = "coreml", "coreml", True

    other = Stylizer("starry-night", device="cpu", threads=1)
    monkeypatch.setattr(Stylizer, "device", OnCoreml)
    with pytest.raises(DeviceError, match=r"cannot paint on coreml: this ONNX Runtime has no CoreML"):
        paint(ray_cluster, film, tmp_path / "out.mkv", other)
