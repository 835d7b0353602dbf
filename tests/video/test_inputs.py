"""Folders of pictures and of videos, wrong usage."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from support.media_files import psnr, read_frames, rgb_frames, timestamps

from rtstyle import RtstyleError, stylize_video
from rtstyle.media.encoding import Encoding

pytest_plugins = ["support.runtime_fixtures"]


def test_numbered_pictures_in_and_out(tmp_path, stylizer, clip):
    frames = tmp_path / "frames"
    stylize_video(clip, f"{frames}/", stylizer, strength=0)
    assert [path.name for path in sorted(frames.iterdir())][:2] == ["000001.png", "000002.png"]
    first = np.asarray(Image.open(frames / "000001.png"))
    assert psnr(first, rgb_frames(clip)[0]) > 30
    result = stylize_video(frames, tmp_path / "back.mp4", stylizer, strength=0, fps=12)
    assert result.frames == 12
    assert timestamps(tmp_path / "back.mp4") == [Fraction(i, 12) for i in range(12)]
    assert psnr(rgb_frames(tmp_path / "back.mp4"), rgb_frames(clip)) > 30
    with pytest.raises(RtstyleError, match="holds pictures already: add `force=True`"):
        stylize_video(clip, f"{frames}/", stylizer)
    Image.new("RGB", (20, 20)).save(frames / "000007.png")
    with pytest.raises(RtstyleError, match=r"000007\.png is 20x20, the first picture 160x96"):
        stylize_video(frames, tmp_path / "more.mp4", stylizer)
    assert not (tmp_path / "more.mp4").exists()


def test_pictures_are_ordered_by_number(tmp_path, stylizer):
    for number in (10, 9, 1):
        Image.new("RGB", (32, 32), (number * 20, 0, 0)).save(tmp_path / f"shot{number}.png")
    stylize_video(tmp_path, tmp_path / "out.mkv", stylizer, strength=0, encoding=Encoding("ffv1"))
    assert [round(frame[..., 0].mean() / 20) for frame in rgb_frames(tmp_path / "out.mkv")] == [1, 9, 10]


def test_many_files_into_a_folder(tmp_path, call, clip):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(clip, videos / "a.mp4")
    shutil.copy(clip, videos / "b.mp4")
    (videos / "c.mp4").write_bytes(b"no video")
    code, out, err = call("video", videos, "--out-dir", tmp_path / "done", "--device", "cpu")
    assert code == 1 and out == ""
    assert "c.mp4 is not a video" in err and "1 of 3 videos could not be painted" in err
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["a.mp4", "b.mp4"]
    assert len(read_frames(tmp_path / "done" / "b.mp4")) == 12


def test_progress_as_json(tmp_path, call, clip):
    code, _, err = call("video", clip, tmp_path / "out.mp4", "--device", "cpu", "--progress", "json")
    assert code == 0
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["done"] for line in lines] == list(range(1, 13))
    assert set(lines[-1]) == {"done", "total", "seconds", "bytes", "loads", "machines"}
    assert set(lines[-1]["loads"]) == {"decode", "prepare", "paint", "finish", "encode"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["in.mp4"], "give IN and OUT"),
        (["in.mp4", "out.mp4", "--start", "soon"], "not a time"),
        (["in.mp4", "out.mp4", "--style-at", "1:scream"], "not TIME=STYLE"),
        (["in.mp4", "out.mp4", "--style-at", "1=screem"], "unknown style 'screem'"),
        (["in.mp4", "out.mp4", "--fps", "10"], "--fps is for a folder of pictures"),
        (["-", "out.mp4", "--resume"], "cannot be resumed"),
    ],
)
def test_wrong_usage_is_exit_2_and_a_sentence(tmp_path, call, clip, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "in.mp4")
    code, out, err = call("video", *arguments, "--device", "cpu")
    assert (code, out) == (2, "") and words in err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
