"""Codecs and containers: what is chosen, what it is asked for, what is impossible."""

import dataclasses
import functools

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import numpy as np
import pytest
from PIL import Image
from support.media_files import packets, psnr, read_frames, rgb_frames, timestamps

import rtstyle.media.encoding as encoding_module
from rtstyle import RtstyleError, stylize_video
from rtstyle.media.encoding import Encoding, plan

pytest_plugins = ["support.runtime_fixtures"]

plan_on_any = functools.partial(plan, hdr=False, probe=lambda plan: None)  # every hardware encoder would work


CHOICES = [
    ("out.mp4", Encoding(), "h264"),
    ("out.mp4", Encoding("hevc"), "hevc"),
    ("out.mp4", Encoding("av1"), "av1"),
    ("out.mkv", Encoding("vp9"), "vp9"),
    ("out.webm", Encoding(audio_codec="opus"), "vp9"),
    ("out.mov", Encoding("prores"), "prores"),
    ("out.mkv", Encoding("ffv1"), "ffv1"),
    ("out.mp4", Encoding("auto"), "h264"),
    ("named-nothing", Encoding(container="mkv"), "h264"),
]


@pytest.mark.parametrize(("name", "encoding", "codec"), CHOICES, ids=lambda value: getattr(value, "codec", value))
def test_codecs_and_containers(tmp_path, stylizer, clip, name, encoding, codec):
    result = stylize_video(clip, tmp_path / name, stylizer, strength=0, encoding=encoding)
    with av.open(str(tmp_path / name)) as out:
        context = out.streams.video[0].codec_context
        assert context.codec.canonical_name == codec
        if codec == "hevc":
            assert context.codec_tag == "hvc1"
        assert len(out.streams.audio) == 1
    assert result.frames == 12
    # in step with the sound; Matroska, which knows no time before zero, shifts both alike
    before, after = (np.array(timestamps(p), float) - float(packets(p)[0][0]) for p in (clip, tmp_path / name))
    if encoding.audio_codec == "copy":
        assert np.abs(after - before).max() <= 0.001
    assert np.abs(np.diff(after) - np.diff(before)).max() <= 0.001
    assert psnr(rgb_frames(tmp_path / name), rgb_frames(clip)) > 30


def test_crf_and_preset_reach_the_encoder(tmp_path, stylizer, clip):
    sizes = {}
    for crf, preset in ((10, None), (40, None), (40, "ultrafast")):
        stylize_video(clip, tmp_path / "out.mp4", stylizer, encoding=Encoding(crf=crf, preset=preset), force=True)
        sizes[crf, preset] = len(b"".join(c for _, c in packets(tmp_path / "out.mp4", 0, "video")))
    assert sizes[10, None] > 2 * sizes[40, None]
    assert sizes[40, "ultrafast"] != sizes[40, None]


@pytest.mark.parametrize(
    ("name", "encoding", "words"),
    [
        ("out.mp4", Encoding("prores"), r"cannot hold prores: choose `codec=[^`]*h264[^`]*`.*end the name with \.mov"),
        ("out.mp4", Encoding("mpeg7"), "unknown codec 'mpeg7'"),
        ("out.mp4", Encoding(crf=99), "`crf` must be between 0"),
        ("out.mp4", Encoding(quality=0), "`quality` must be between 1 and 100"),
        ("out.mp4", Encoding(quality=50, crf=20), "say the same thing"),
        ("out.mkv", Encoding("ffv1", quality=50), "ffv1 has no `quality`"),
        ("out.mkv", Encoding("ffv1", crf=3), "ffv1 has no `crf`"),
        ("out.mkv", Encoding("ffv1", preset="slow"), "ffv1 has no `preset`"),
        ("out.mp4", Encoding(preset="warp9"), "cannot encode this video"),
        ("out.mp4", Encoding("h264_nvenc"), "h264_nvenc does not work here"),
        ("out.xyz", Encoding(), "cannot write a video with .xyz"),
        ("out.mp4", Encoding(container="cardboard"), "cannot write a video with .cardboard"),
        ("out.mp4", Encoding(audio_codec="gramophone"), "gramophone"),
    ],
)
def test_impossible_wishes_are_sentences(tmp_path, stylizer, clip, name, encoding, words):
    with pytest.raises(RtstyleError, match=words):
        stylize_video(clip, tmp_path / name, stylizer, encoding=encoding)
    assert list(tmp_path.iterdir()) == []


def test_quality_means_the_same_for_every_codec(tmp_path):
    def crf(codec, quality):
        encoding = Encoding(codec, quality=quality)
        return int(plan(tmp_path / "out.mkv", encoding, width=64, height=64, bits=8, hdr=False).options["crf"])

    assert [crf("h264", q) for q in (100, 50, 1)] == [0, 26, 50]
    assert [crf("av1", q) for q in (100, 50, 1)] == [0, 32, 62]


@pytest.mark.parametrize(
    ("encoder", "size", "bits", "pix_fmt", "options"),
    [
        ("h264_nvenc", (64, 64), 8, "nv12", {"rc": "vbr", "cq": "18", "b": "0"}),
        ("hevc_nvenc", (64, 64), 10, "p010le", {"rc": "vbr", "cq": "20", "b": "0"}),
        ("h264_nvenc", (65, 64), 8, "yuv444p", {"rc": "vbr", "cq": "18", "b": "0"}),
        ("h264_qsv", (64, 64), 8, "nv12", {"global_quality": "18"}),
        ("h264_amf", (64, 64), 8, "nv12", {"rc": "cqp", "qp_i": "18", "qp_p": "18"}),
    ],
)
def test_what_hardware_encoders_are_asked_for(tmp_path, encoder, size, bits, pix_fmt, options):
    """Their formats as FFmpeg lists them; that they work here is pretended."""
    (width, height), encoding = size, Encoding(encoder)
    chosen = plan_on_any(tmp_path / "out.mp4", encoding, width=width, height=height, bits=bits)
    assert (chosen.encoder, chosen.pix_fmt, chosen.options, chosen.bits) == (encoder, pix_fmt, options, bits)
    assert f"encoding on {encoder}" in chosen.notes
    with_preset = dataclasses.replace(encoding, preset="p7")
    assert plan_on_any(tmp_path / "out.mp4", with_preset, width=64, height=64, bits=8).options["preset"] == "p7"


def test_a_hardware_encoder_that_takes_no_such_picture_is_passed_over(tmp_path):
    with pytest.raises(RtstyleError, match=r"h264_qsv does not work here \(it takes no odd sizes\): use `codec=h264`"):
        plan_on_any(tmp_path / "out.mp4", Encoding("h264_qsv"), width=65, height=64, bits=8)
    chosen = plan_on_any(tmp_path / "out.mp4", Encoding("auto"), width=65, height=64, bits=8)
    assert chosen.encoder == "h264_nvenc"  # the only family that takes them


@pytest.fixture
def prores_as_hardware(monkeypatch):
    """FFmpeg's second ProRes encoder in the place of a hardware encoder that works."""
    monkeypatch.setattr(encoding_module, "HARDWARE", {"nvenc": dict, "ks": lambda crf: {"profile": "3"}})
    monkeypatch.setattr(encoding_module, "HARDWARE_CODECS", ("prores",))
    monkeypatch.setattr(encoding_module, "HARDWARE_FORMATS", {8: ("yuv422p10le",)})
    monkeypatch.setitem(encoding_module.CONTAINERS, ".mov", ("mov", ("prores",)))


@pytest.mark.parametrize("codec", ["auto", "prores_ks"])
def test_a_hardware_encoder_that_works_is_used_and_named(tmp_path, stylizer, clip, prores_as_hardware, codec):
    result = stylize_video(clip, tmp_path / "out.mov", stylizer, encoding=Encoding(codec))
    assert "encoding on prores_ks" in result.notes
    assert len(read_frames(tmp_path / "out.mov")) == 12


def test_auto_falls_back_to_software_with_a_message(tmp_path, stylizer, clip):
    encoders = ("h264_nvenc", "h264_qsv", "h264_amf")
    chosen = plan(tmp_path / "out.mp4", Encoding("auto"), width=64, height=64, bits=8, hdr=False)
    if chosen.encoder != "libx264":
        pytest.skip(f"{chosen.encoder} works here")
    tried = ", ".join(name for name in encoders if name in av.codecs_available)
    assert chosen.notes == (f"no hardware encoder works here ({tried or 'none built in'}): using software",)


def test_a_gif(tmp_path, stylizer, clip):
    stylize_video(clip, tmp_path / "out.gif", stylizer)
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.n_frames == 12 and gif.size == (160, 96)
    assert float(timestamps(tmp_path / "out.gif")[-1]) == pytest.approx(float(timestamps(clip)[-1]), abs=0.02)
