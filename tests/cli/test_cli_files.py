"""video, image and demo without a camera, as a user meets them: results, messages, progress."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image
from support.helpers import tree
from support.media_files import packets, psnr, rgb_frames, timestamps

from rtstyle.cli.files import _note
from rtstyle.gallery.catalog import model_path
from rtstyle.video.convert import Progress

pytest_plugins = ["support.runtime_fixtures"]


SAMPLE = model_path("live").with_name("sample.mp4")


def test_the_sample_is_small_and_has_sound():
    assert SAMPLE.stat().st_size < 500_000
    assert len(timestamps(SAMPLE)) > 60 and len(packets(SAMPLE)) > 50


def test_demo_without_a_camera_paints_the_bundled_clip(tmp_path, call, without_camera):
    out = tmp_path / "demo.mp4"
    code, output, err = call("demo", "-o", out, "--style", "great-wave", "--work-height", "90")
    assert code == 0
    assert str(out.resolve()) in output
    assert "painting great-wave on" in err
    assert set(tree(tmp_path)) == {"demo.mp4"}
    assert timestamps(out) == timestamps(SAMPLE)
    assert [c for _, c in packets(out)] == [c for _, c in packets(SAMPLE)]
    assert psnr(rgb_frames(out)[::30], rgb_frames(SAMPLE)[::30]) < 22, "hardly painted"


def test_video_says_its_messages_on_standard_error(tmp_path, call, clip):
    code, out, err = call("video", clip, tmp_path / "out.mp4", "--device", "cpu")
    assert (code, out) == (0, "")
    assert "painting starry-night on cpu (asked for)" in err
    assert "12/12 frames" in err and "fps" in err
    assert err.splitlines()[-1].startswith(f"{tmp_path / 'out.mp4'}: 12 frames in ")


def test_auto_says_what_it_took_and_why(tmp_path, call, clip, monkeypatch):
    monkeypatch.delenv("RTSTYLE_DEVICE")
    _, _, err = call("video", clip, tmp_path / "out.mp4")
    assert "(auto: " in err


@pytest.mark.parametrize("command", ["video", "image", "folder"])
def test_quiet_says_nothing(tmp_path, call, clip, command):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (32, 24), "olive").save(tmp_path / "photos/a.png")
    arguments = {
        "video": ("video", clip, tmp_path / "out.mp4"),
        "image": ("image", tmp_path / "photos/a.png", tmp_path / "out.png"),
        "folder": ("image", tmp_path / "photos", tmp_path / "out"),
    }[command]
    assert call(*arguments, "--quiet") == (0, "", "")
    assert any(tmp_path.glob("out*"))


def test_options_reach_the_net(tmp_path, call, clip):
    names = {
        "plain": (),
        "none": ("--strength", "0"),
        "style": ("--style", "scream"),
        "mix": ("--style", "starry-night:0.5,scream:0.5"),
        "colour": ("--keep-color",),
        "strokes": ("--work-height", "48"),
        "file": ("--style", f"{model_path('live')}#scream"),
    }
    pictures = {}
    for name, options in names.items():
        assert call("video", clip, tmp_path / f"{name}.mp4", "-q", *options)[0] == 0
        pictures[name] = rgb_frames(tmp_path / f"{name}.mp4")
    assert psnr(pictures["none"], rgb_frames(clip)) > 35
    assert (pictures.pop("file") == pictures["style"]).all()
    for name in names.keys() - {"plain", "file"}:
        assert psnr(pictures[name], pictures["plain"]) < 30, name
    assert psnr(pictures["mix"], pictures["style"]) > psnr(pictures["plain"], pictures["style"])


@pytest.mark.parametrize("command", ["video", "image"])
def test_a_style_is_not_learned_for_what_cannot_be_painted(tmp_path, call, monkeypatch, command):
    def learned(*_, **__):
        pytest.fail("a style is learned first")

    monkeypatch.setattr("rtstyle.gallery.polish.polished", learned)
    end = ".mp4" if command == "video" else ".png"
    source, style = tmp_path / f"in{end}", tmp_path / "style.png"
    Image.new("RGB", (64, 64), "olive").save(style)
    given = (source, tmp_path / f"out{end}", "--style", style, "--polish", 5)
    code, _, err = call(command, *given)
    assert code == 1 and f"in{end} does not exist" in err
    source.touch()
    (tmp_path / f"out{end}").touch()
    code, _, err = call(command, *given)
    assert code == 1 and f"out{end} already exists: add --force" in err


def test_force_replaces_a_file(tmp_path, call, clip):
    (tmp_path / "out.mp4").write_text("an earlier result")
    assert call("video", clip, tmp_path / "out.mp4", "-q", "--force") == (0, "", "")
    assert len(timestamps(tmp_path / "out.mp4")) == 12


def test_a_folder_of_pictures(tmp_path, call):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (32, 24), "olive").save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_text("not a picture")
    code, out, err = call("image", tmp_path / "in", tmp_path / "out")
    assert (code, out) == (0, "")
    assert "skipped: " in err and "b.png is not a readable picture" in err
    assert "1 pictures painted, 1 skipped" in err
    assert set(tree(tmp_path / "out")) == {"a.png"}


def test_the_current_folder_is_the_default_place(tmp_path, call, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("video", clip, "out.mp4", "-q")[0] == 0
    assert Path("out.mp4").is_file()


def test_megabytes_are_said_once_there_are_some():
    progress = Progress(done=3, total=9, seconds=1.5, bytes=0, loads={})
    assert _note(progress) == "2.0 fps"
    assert _note(dataclasses.replace(progress, bytes=260_000)) == "2.0 fps 0.3 MB"
    assert _note(dataclasses.replace(progress, seconds=30.0)) == "10 s a frame"
    assert _note(dataclasses.replace(progress, done=0)) == "no frame yet"  # on many machines: the first has none
