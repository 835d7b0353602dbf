"""Nothing lost between IN and OUT: one test a property, on files made here."""

import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import numpy as np
import pytest
from PIL import Image
from support.media_files import make_clip, packets, picture, psnr, read_frames, rgb_frames, stamps

import rtstyle.media.encoding as encoding_module
import rtstyle.video.convert as video_module
from rtstyle import RtstyleError, UsageError, stylize_video
from rtstyle.media.color import PQ, deepen, from_8_bits, to_8_bits
from rtstyle.media.encoding import Encoding, plan
from rtstyle.media.reader import VideoReader
from rtstyle.paint.scene_cuts import CutDetector
from rtstyle.paint.stylizer import Stylizer
from rtstyle.video.convert import TimeRange

pytest_plugins = ["support.runtime_fixtures"]


def make_rich(path, chapters=True):
    """Video, two tracks of sound with languages, subtitles, an attachment, chapters and titles, in Matroska."""
    plain = make_clip(path.with_name("plain.mkv"), tracks=2, frames=24)
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        video, first, second = copies.values()
        video.metadata["title"] = "the picture"
        first.metadata.update(language="eng", title="English")
        second.metadata.update(language="deu", title="Deutsch")
        second.disposition = av.stream.Disposition.default
        first.disposition = av.stream.Disposition.comment
        text = out.add_mux_stream("subrip")
        text.metadata["language"] = "fra"
        text.disposition = av.stream.Disposition.forced
        out.add_attachment("note.txt", "text/plain", b"an attached file")
        out.metadata.update(title="A rich file", artist="someone")
        if chapters:
            marks = [(0, 400, "one"), (400, 1000, "two")]
            out.set_chapters(
                [
                    {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": name}}
                    for i, (a, b, name) in enumerate(marks)
                ]
            )
        out.start_encoding()
        line = av.Packet(b"words")
        line.stream, line.pts, line.dts, line.duration, line.time_base = text, 100, 100, 500, Fraction(1, 1000)
        out.mux(line)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return path


def facts(path):
    with av.open(str(path)) as container:
        return {
            "streams": [
                (s.type, s.metadata.get("language"), s.metadata.get("title"), int(s.disposition))
                for s in container.streams
            ],
            "chapters": [
                (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"].get("title"))
                for c in container.chapters()
            ],
            "title": container.metadata.get("title"),
            "artist": container.metadata.get("artist"),
        }


@pytest.mark.parametrize("options", [{}, {"steady": False, "style_at": [(0.5, "scream")]}], ids=["plain", "style-at"])
def test_every_stream_and_fact_of_a_rich_file_arrives(tmp_path, stylizer, options):
    source = make_rich(tmp_path / "in.mkv")
    result = stylize_video(source, tmp_path / "out.mkv", stylizer, **options)
    before, after = facts(source), facts(tmp_path / "out.mkv")
    assert sorted(after.pop("streams"), key=str) == sorted(before.pop("streams"), key=str)
    assert after == before
    assert len(before["chapters"]) == 2
    for kind, index in (("audio", 0), ("audio", 1), ("subtitles", 0)):
        assert packets(tmp_path / "out.mkv", index, kind) == packets(source, index, kind)
    assert stamps(tmp_path / "out.mkv") == stamps(source)
    with av.open(str(tmp_path / "out.mkv")) as out:
        (attached,) = out.streams.attachments
        assert attached.data == b"an attached file" and attached.metadata["filename"] == "note.txt"
    assert result.notes == []


def test_what_does_not_fit_is_named(tmp_path, stylizer):
    source = make_rich(tmp_path / "in.mkv")
    result = stylize_video(source, tmp_path / "out.mp4", stylizer)
    assert [note.split(" does not fit")[0] for note in result.notes] == [
        "stream 3 (subtitle subrip)",
        "stream 4 (attachment)",
    ]
    assert len(facts(tmp_path / "out.mp4")["chapters"]) == 2
    for index in (0, 1):
        assert [c for _, c in packets(tmp_path / "out.mp4", index)] == [c for _, c in packets(source, index)]


def make_with_cover(path):
    """An MP4 whose first stream is its cover."""
    clip = make_clip(path.with_name("clip.mp4"))
    cover = Image.fromarray(picture(0, 40, 40))
    cover.save(path.with_name("cover.png"))
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        still = out.add_stream("png", rate=1)
        still.width, still.height, still.pix_fmt = 40, 40, "rgb24"
        still.disposition = av.stream.Disposition.attached_pic
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        frame = av.VideoFrame.from_ndarray(picture(0, 40, 40), format="rgb24")
        frame.pts = 0
        out.mux(still.encode(frame))
        out.mux(still.encode(None))
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return path


def test_the_video_is_painted_and_the_cover_stays(tmp_path, stylizer):
    source = make_with_cover(tmp_path / "in.mp4")
    stylize_video(source, tmp_path / "out.mp4", stylizer)
    with av.open(str(tmp_path / "out.mp4")) as out:
        covers = [s for s in out.streams.video if s.disposition & av.stream.Disposition.attached_pic]
        (moving,) = [s for s in out.streams.video if s not in covers]
        assert len(covers) == 1 and sum(1 for _ in out.decode(moving)) == 12
        number = covers[0].index
    with av.open(str(tmp_path / "out.mp4")) as out:
        shown = next(frame for packet in out.demux(out.streams[number]) for frame in packet.decode())
    assert (shown.to_ndarray(format="rgb24") == picture(0, 40, 40)).all()


def test_a_file_whose_first_stream_is_sound(tmp_path, stylizer):
    clip = make_clip(tmp_path / "clip.mkv")
    with av.open(str(clip)) as source, av.open(str(tmp_path / "in.mkv"), "w") as out:
        copies = {}
        for stream in (source.streams.audio[0], source.streams.video[0]):
            copies[stream.index] = out.add_stream_from_template(stream, opaque=True)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    stylize_video(tmp_path / "in.mkv", tmp_path / "out.mkv", stylizer)
    assert stamps(tmp_path / "out.mkv") == stamps(clip)
    assert packets(tmp_path / "out.mkv") == packets(clip)


# -- depth and colours


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_ten_bits_stay_ten_bits(tmp_path, stylizer, suffix):
    source = make_clip(tmp_path / f"in.{suffix}", codec="libx265", pix_fmt="yuv420p10le", tracks=0, frames=6)
    result = stylize_video(source, tmp_path / f"out.{suffix}", stylizer, strength=0)
    (_, frame), *_ = read_frames(tmp_path / f"out.{suffix}")
    assert frame.format.name == "yuv420p10le"
    assert any("10 with dither" in note for note in result.notes)
    assert psnr(rgb_frames(tmp_path / f"out.{suffix}"), rgb_frames(source)) > 30
    with av.open(str(tmp_path / f"out.{suffix}")) as out:
        assert out.streams.video[0].codec_context.codec.canonical_name == "hevc"


def test_dither_keeps_the_mean_and_breaks_the_bands():
    flat = np.full((16, 16, 3), 100, np.uint8)
    deep = deepen(flat, 1)
    assert abs(deep.mean() - 100 * 257) < 3
    assert np.ptp(deep) > 200
    assert abs(int(deep.max()) - 100 * 257) <= 129


@pytest.mark.parametrize("transfer", [PQ, 18], ids=["PQ", "HLG"])
def test_hdr_curves_are_undone_exactly(transfer):
    there, back = to_8_bits(transfer), from_8_bits(transfer)
    assert (np.diff(there.astype(int)) >= 0).all() and there[0] == 0 and there[-1] == 255
    values = np.arange(256)
    assert (there[np.rint(back[:256]).astype(int)] == values).all()
    assert (np.diff(back) > 0).all()


def test_hdr_is_mapped_there_and_back(tmp_path, stylizer):
    """A PQ grey card of about 100 nits: mid-tones for the net, the same code value out."""
    code = 520  # of 1023, full range luma 16 * 4 .. 235 * 4

    def draw(index, height, width):
        frame = av.VideoFrame(width, height, "yuv420p10le")
        for plane, value in zip(frame.planes, (code, 512, 512), strict=True):
            plane.update(np.full(plane.buffer_size // 2, value, "<u2").tobytes())
        return frame

    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    source = make_clip(
        tmp_path / "in.mp4", codec="libx265", pix_fmt="yuv420p10le", tags=tags, draw=draw, tracks=0, frames=3
    )
    with VideoReader(source) as reader:
        seen = next(iter(reader)).rgb
        assert reader.hdr and reader.bits == 10
    assert 80 < seen.mean() < 220 and np.ptp(seen) <= 2
    result = stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0)
    (_, frame), *_ = read_frames(tmp_path / "out.mp4")
    assert {name: int(getattr(frame, name)) for name in tags} == tags
    luma = np.frombuffer(frame.planes[0], "<u2").reshape(96, -1)[:, :160]
    assert abs(luma.mean() - code) < 2.5
    assert any("HDR" in note for note in result.notes)


def test_interlaced_is_deinterlaced(tmp_path, stylizer):
    """Two fields of a moving bar, woven: without deinterlacing the bar's edge is a comb."""

    def draw(index, height, width):
        woven = np.zeros((height, width, 3), np.uint8)
        for field in (0, 1):
            left = 8 * (2 * index + field) % (width - 24)
            woven[field::2, left : left + 24] = 255
        return woven

    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.options = {"flags": "+ildct+ilme", "qscale": "2", "top": "1"}
        stream.codec_context.flags |= 0x20000000 | 0x40000  # interlaced motion estimation and DCT
        for i in range(8):
            frame = av.VideoFrame.from_ndarray(draw(i, 96, 160), format="rgb24").reformat(format="yuv420p")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert read_frames(source)[0][1].interlaced_frame
    result = stylize_video(source, tmp_path / "out.mkv", stylizer, strength=0)
    assert any("interlaced" in note for note in result.notes)
    assert stamps(tmp_path / "out.mkv") == stamps(source)

    def comb(frames):
        return np.abs(np.diff(frames[2:6].astype(float), 2, axis=1)).mean()

    assert comb(rgb_frames(tmp_path / "out.mkv")) < 0.5 * comb(rgb_frames(source))


def test_transparency_is_dropped_with_a_note(tmp_path, stylizer):
    source = make_clip(tmp_path / "in.mov", codec="prores_ks", pix_fmt="yuva444p10le", tracks=0, frames=3)
    result = stylize_video(source, tmp_path / "out.mp4", stylizer)
    assert "transparency is not kept" in result.notes


# -- encoding choices

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
    before, after = (np.array(stamps(p), float) - float(packets(p)[0][0]) for p in (clip, tmp_path / name))
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
def test_what_hardware_encoders_are_asked_for(tmp_path, monkeypatch, encoder, size, bits, pix_fmt, options):
    """Their formats as FFmpeg lists them; that they work here is pretended."""
    monkeypatch.setattr(encoding_module, "problem_of", lambda plan: None)
    (width, height), encoding = size, Encoding(encoder)
    chosen = plan(tmp_path / "out.mp4", encoding, width=width, height=height, bits=bits, hdr=False)
    assert (chosen.encoder, chosen.pix_fmt, chosen.options, chosen.bits) == (encoder, pix_fmt, options, bits)
    assert f"encoding on {encoder}" in chosen.notes
    with_preset = dataclasses.replace(encoding, preset="p7")
    assert plan(tmp_path / "out.mp4", with_preset, width=64, height=64, bits=8, hdr=False).options["preset"] == "p7"


def test_a_hardware_encoder_that_takes_no_such_picture_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_module, "problem_of", lambda plan: None)
    with pytest.raises(RtstyleError, match=r"h264_qsv does not work here \(it takes no odd sizes\): use `codec=h264`"):
        plan(tmp_path / "out.mp4", Encoding("h264_qsv"), width=65, height=64, bits=8, hdr=False)
    chosen = plan(tmp_path / "out.mp4", Encoding("auto"), width=65, height=64, bits=8, hdr=False)
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


def test_batches_give_the_same_packets(tmp_path, stylizer, monkeypatch):
    """What GPUs are given: several frames in one run of the net, also across a change of style."""
    source = still_clip(tmp_path / "in.mp4", frames=23)
    ran = []
    run = stylizer.run

    def noted(batch, code=None):
        ran.append(len(batch))
        return run(batch, code)

    packets_of = []
    for name, most in (("one", 1), ("four", 4)):
        monkeypatch.setattr(video_module, "most_at_once", lambda *_, most=most: most)
        monkeypatch.setattr(stylizer, "for_throughput", lambda: (stylizer.run, 1))
        monkeypatch.setattr(stylizer, "run", noted)
        stylize_video(source, tmp_path / f"{name}.mp4", stylizer, style_at=[(0.2, "scream")])
        packets_of.append(packets(tmp_path / f"{name}.mp4", 0, "video"))
    assert packets_of[0] == packets_of[1]
    assert sum(ran[:23]) == 23 and sum(ran[23:]) == 23 and max(ran) == 4


def test_batches_hold_neighbours_of_one_style():
    codes = [object(), object()]
    works = [SimpleNamespace(code=codes[i in (3, 4)], number=i) for i in range(9)]
    batches = [[work.number for work in batch] for batch in video_module.batches(works, 3)]
    assert batches == [[0, 1, 2], [3, 4], [5, 6, 7], [8]]


@pytest.mark.parametrize(("size", "most"), [((640, 360), 8), ((1920, 1080), 8), ((3840, 2160), 2), ((8192, 8192), 1)])
def test_batches_for_a_gpu_fit_its_memory(size, most):
    gpu = SimpleNamespace(device=SimpleNamespace(kind="cuda"))
    assert video_module.most_at_once(gpu, size) == most


def test_a_stream_without_time_stamps(tmp_path, stylizer):
    """A raw H.264 stream has none at all: its frames come out once each, evenly."""
    with av.open(str(tmp_path / "in.h264"), "w", format="h264") as out:
        video = out.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        video.options = {"bf": "2"}
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(picture(i, 96, 160), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    stylize_video(tmp_path / "in.h264", tmp_path / "out.mp4", stylizer, strength=0)
    found = np.array(stamps(tmp_path / "out.mp4"), float)
    assert len(found) == 20 and np.ptp(np.diff(found)) < 1e-6
    assert min(psnr(frame, picture(i, 96, 160)) for i, frame in enumerate(rgb_frames(tmp_path / "out.mp4"))) > 25


def test_swapped_time_stamps_are_put_in_order(clip):
    """As FFmpeg gives them for B-frames in AVI files: the pictures are in order, their stamps are not."""
    frames = [SimpleNamespace(pts=pts) for pts in (1, 2, 4, 3, 5, 7, 6, 8, None, 10)]
    with VideoReader(clip) as reader:
        stamped = list(reader._stamped(iter(frames)))
    assert [frame for frame, _ in stamped] == frames
    assert [pts for _, pts in stamped[:8]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert np.all(np.diff([pts for _, pts in stamped]) > 0)


def test_an_edit_list_hides_the_same_frames(tmp_path, stylizer):
    """A phone's trim: the file holds 24 frames, its edit list shows those from the seventh on."""
    source = make_clip(tmp_path / "in.mp4", frames=24, b_frames=0, tracks=0)
    content = bytearray(source.read_bytes())
    at = content.index(b"elst")
    assert content[at + 8 : at + 12] == bytes([0, 0, 0, 1])  # one edit
    with av.open(str(source)) as container:
        scale = container.streams.video[0].time_base.denominator
    media_time = int.from_bytes(content[at + 16 : at + 20], "big") + scale * 6 // 24
    content[at + 16 : at + 20] = media_time.to_bytes(4, "big")
    source.write_bytes(content)
    shown = rgb_frames(source)
    assert len(shown) == 18 and psnr(shown[0], picture(6, 96, 160)) > 25
    stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0)
    assert stamps(tmp_path / "out.mp4") == stamps(source)
    assert min(map(psnr, rgb_frames(tmp_path / "out.mp4"), shown)) > 30


CLIPS = os.environ.get("RTSTYLE_CLIPS")


@pytest.mark.skipif(not CLIPS, reason="set RTSTYLE_CLIPS to a folder of real video files")
@pytest.mark.parametrize(
    "clip", sorted(p for p in Path(CLIPS).iterdir() if p.suffix != ".tsv") if CLIPS else [], ids=lambda path: path.name
)
def test_real_clips_keep_every_stamp_and_packet(tmp_path, stylizer, clip):
    """The first three seconds of whatever is at hand, into their own kind of file where that can be written."""
    shrunk = stylizer.work_height
    out = tmp_path / f"out{clip.suffix if clip.suffix in encoding_module.CONTAINERS else '.mkv'}"
    end = 3.0
    try:
        stylizer.work_height = 32
        result = stylize_video(clip, out, stylizer, time_range=TimeRange(end=end), strength=0)
    finally:
        stylizer.work_height = shrunk
    with av.open(str(clip)) as container:
        wanted = sorted(f.pts * f.time_base for f in container.decode(container.streams.best("video")))
    wanted = np.array([float(t) for t in wanted if t < end])
    found = np.array(stamps(out), float)
    assert len(found) == len(wanted) == result.frames
    assert np.abs(np.diff(found) - np.diff(wanted)).max(initial=0) <= 0.0011  # Matroska counts milliseconds
    with av.open(str(clip)) as before, av.open(str(out)) as after:
        tracks = len(after.streams.audio)
        assert len(before.streams.audio) == tracks
    for index in range(tracks):
        given = {content for _, content in packets(clip, index)}
        assert all(content in given for _, content in packets(out, index))


def test_hdr_is_never_squeezed_into_eight_bits(tmp_path):
    with pytest.raises(RtstyleError, match="too few for HDR"):
        plan(tmp_path / "out.webm", Encoding("vp9"), width=64, height=64, bits=10, hdr=True)


def test_a_gif(tmp_path, stylizer, clip):
    stylize_video(clip, tmp_path / "out.gif", stylizer)
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.n_frames == 12 and gif.size == (160, 96)
    assert float(stamps(tmp_path / "out.gif")[-1]) == pytest.approx(float(stamps(clip)[-1]), abs=0.02)


def test_numbered_pictures_in_and_out(tmp_path, stylizer, clip):
    frames = tmp_path / "frames"
    stylize_video(clip, f"{frames}/", stylizer, strength=0)
    assert [path.name for path in sorted(frames.iterdir())][:2] == ["000001.png", "000002.png"]
    first = np.asarray(Image.open(frames / "000001.png"))
    assert psnr(first, rgb_frames(clip)[0]) > 30
    result = stylize_video(frames, tmp_path / "back.mp4", stylizer, strength=0, fps=12)
    assert result.frames == 12
    assert stamps(tmp_path / "back.mp4") == [Fraction(i, 12) for i in range(12)]
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


def test_through_pipes(tmp_path, clip):
    command = [sys.executable, "-m", "rtstyle", "video", "-", "-", "--device", "cpu", "--container", "mkv"]
    done = subprocess.run(command, input=clip.read_bytes(), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    (tmp_path / "out.mkv").write_bytes(done.stdout)
    assert len(read_frames(tmp_path / "out.mkv")) == 12
    assert [c for _, c in packets(tmp_path / "out.mkv")] == [c for _, c in packets(clip)]


# -- ranges, changes of style, batches


def test_a_range_starts_at_zero_with_its_sound(tmp_path, stylizer):
    source = make_clip(tmp_path / "in.mp4", frames=48, key_every=10)
    result = stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0, time_range=TimeRange(0.5, 1.5))
    wanted = [i for i, t in enumerate(stamps(source)) if 0.5 <= t < 1.5]
    assert result.frames == len(wanted) == 24
    assert stamps(tmp_path / "out.mp4")[0] == 0
    assert psnr(rgb_frames(tmp_path / "out.mp4"), rgb_frames(source)[wanted]) > 30
    sound = [(t, c) for t, c in packets(source) if 0.5 <= t < 1.5]
    assert [c for _, c in packets(tmp_path / "out.mp4")] == [c for _, c in sound]
    shift = [float(a[0] - b[0]) for a, b in zip(sound, packets(tmp_path / "out.mp4"), strict=True)]
    np.testing.assert_allclose(shift, 0.5, atol=0.001)


def test_an_empty_range_is_a_sentence(tmp_path, stylizer, clip):
    with pytest.raises(RtstyleError, match="no frame that can be decoded in this range"):
        stylize_video(clip, tmp_path / "out.mp4", stylizer, time_range=TimeRange(100, 101))
    assert list(tmp_path.iterdir()) == []


def still_clip(path, frames=36, cut_at=None):
    """The same picture again and again; from `cut_at` on another one."""

    def draw(index, height, width):
        drawn = picture(0, height, width)
        return drawn if cut_at is None or index < cut_at else np.ascontiguousarray(255 - drawn)

    return make_clip(path, frames=frames, tracks=0, draw=draw, crf=4)


def test_a_style_changes_with_a_crossfade(tmp_path, stylizer):
    source = still_clip(tmp_path / "in.mp4")
    options = {"encoding": Encoding("ffv1"), "steady": False}
    stylize_video(source, tmp_path / "out.mkv", stylizer, style_at=[(0.5, "scream")], **options)
    stylize_video(source, tmp_path / "one.mkv", stylizer, **options)
    stylize_video(source, tmp_path / "two.mkv", Stylizer("scream", device="cpu", threads=1), **options)
    out, one, two = (rgb_frames(tmp_path / f"{name}.mkv").astype(int) for name in ("out", "one", "two"))
    assert np.abs(out[:12] - one[:12]).max() <= 2
    assert np.abs(out[25:] - two[25:]).max() <= 2
    away = [np.abs(frame - one[0]).mean() for frame in out[12:25]]
    assert all(b >= a - 0.3 for a, b in itertools.pairwise(away)) and 0 < away[5] < away[-1]


def test_a_cut_ends_the_crossfade(tmp_path, stylizer):
    source = still_clip(tmp_path / "in.mp4", cut_at=15)
    options = {"encoding": Encoding("ffv1"), "steady": False}
    stylize_video(source, tmp_path / "out.mkv", stylizer, style_at=[(0.5, "scream")], **options)
    stylize_video(source, tmp_path / "two.mkv", Stylizer("scream", device="cpu", threads=1), **options)
    out, two = (rgb_frames(tmp_path / f"{name}.mkv").astype(int) for name in ("out", "two"))
    assert np.abs(out[15:] - two[15:]).max() <= 2
    assert np.abs(out[14] - two[14]).mean() > 5


def test_cuts_are_told_from_motion():
    detector = CutDetector()
    moving = [detector(picture(i, 96, 160)) for i in range(20)]
    assert not any(moving)
    assert detector(np.ascontiguousarray(255 - picture(20, 96, 160)))
    assert not detector(np.ascontiguousarray(255 - picture(21, 96, 160)))


def test_many_files_into_a_folder(tmp_path, call, clip):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(clip, videos / "a.mp4")
    shutil.copy(clip, videos / "b.mp4")
    (videos / "c.mp4").write_bytes(b"no video")
    code, out, told = call("video", videos, "--out-dir", tmp_path / "done", "--device", "cpu")
    assert code == 1 and out == ""
    assert "c.mp4 is not a video" in told and "1 of 3 videos could not be painted" in told
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["a.mp4", "b.mp4"]
    assert len(read_frames(tmp_path / "done" / "b.mp4")) == 12


def test_progress_as_json(tmp_path, call, clip):
    code, _, told = call("video", clip, tmp_path / "out.mp4", "--device", "cpu", "--progress", "json")
    assert code == 0
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert [line["done"] for line in lines] == list(range(1, 13))
    assert set(lines[-1]) == {"done", "total", "seconds", "bytes", "loads"}
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
    code, out, told = call("video", *arguments, "--device", "cpu")
    assert (code, out) == (2, "") and words in told
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_changes_of_style_need_styles(tmp_path, clip, stylizer):
    with pytest.raises(UsageError, match="unknown style"):
        stylize_video(clip, tmp_path / "out.mp4", stylizer, style_at=[(1.0, "nobody")])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_length(tmp_path):
    """Peak memory of a clip and of one six times as long, each in a process of its own."""
    program = (
        "import sys\nfrom rtstyle import Stylizer, stylize_video\n"
        "stylize_video(sys.argv[1], sys.argv[2], Stylizer('starry-night', device='cpu', threads=1))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for frames in (330, 1650):
        source = make_clip(tmp_path / f"{frames}.mp4", frames=frames)
        command = [sys.executable, "-c", program, str(source), str(tmp_path / f"out-{frames}.mp4")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout))
    assert peaks[1] < 1.1 * peaks[0]


def test_mutated_files_end_in_a_sentence_or_a_complete_file():
    """A short run of what benchmarks/video.py does two thousand times."""
    script = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "video.py"
    done = subprocess.run([sys.executable, str(script), "fuzz", "--count", "80"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = dict(re.findall(r"\| ([a-z ]+) \| (\d+) \|", done.stdout))
    assert int(counts.pop("work folders and locks left")) == 0, done.stdout
    assert set(counts) <= {"done", "sentence"}, done.stdout
    assert sum(map(int, counts.values())) == 80 and int(counts["done"]) > 10
