"""Colors and depth come out as they went in."""

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import numpy as np
import pytest
from support import media_files
from support.media_files import make_card, make_clip, psnr, read_frames, rgb_frames, timestamps

from rtstyle import RtstyleError, stylize_video
from rtstyle.media.color import PQ, deepen, from_8_bits, to_8_bits
from rtstyle.media.encoding import Encoding, plan
from rtstyle.media.reader import VideoReader

pytest_plugins = ["support.runtime_fixtures"]


CARDS = {"grey": (128, 128, 128), "red": (200, 40, 40), "green": (30, 170, 60), "blue": (40, 50, 210)}


@pytest.mark.parametrize("rgb", CARDS.values(), ids=CARDS)
@pytest.mark.parametrize("matrix", [1, 6], ids=["bt709", "bt601"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_flat_colours_pass_unpainted(tmp_path, stylizer, rgb, matrix, full):
    """Against the equations of BT.601 and BT.709, and not against another run of the same converter."""
    source = make_card(tmp_path / "in.mp4", rgb, matrix, full)
    with VideoReader(source) as reader:
        seen = next(frame.rgb for frame in reader)
    assert np.abs(seen.astype(int) - rgb).max() <= 2, "the net sees another colour than a screen shows"

    stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0)
    expected = media_files.ycbcr(rgb, matrix, full)
    for path in (source, tmp_path / "out.mp4"):
        frame = read_frames(path)[-1][1]
        planes = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in frame.planes]
        for plane, number in zip(planes, expected, strict=True):
            assert np.abs(plane.astype(int) - number).max() <= (1 if path == source else 2)


@pytest.mark.parametrize("matrix", [1, 6], ids=["bt709", "bt601"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_colour_tags_are_kept(tmp_path, stylizer, matrix, full):
    source = make_card(tmp_path / "in.mp4", (90, 120, 60), matrix, full)
    stylize_video(source, tmp_path / "out.mp4", stylizer)
    a, b = (read_frames(path)[0][1] for path in (source, tmp_path / "out.mp4"))
    for tag in ("colorspace", "color_primaries", "color_trc", "color_range"):
        assert int(getattr(b, tag)) == int(getattr(a, tag)) == ((2 if full else 1) if tag == "color_range" else matrix)


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
        assert reader.format.hdr and reader.format.bits == 10
    assert 80 < seen.mean() < 220 and np.ptp(seen) <= 2
    result = stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0)
    (_, frame), *_ = read_frames(tmp_path / "out.mp4")
    assert {name: int(getattr(frame, name)) for name in tags} == tags
    luma = np.frombuffer(frame.planes[0], "<u2").reshape(96, -1)[:, :160]
    assert abs(luma.mean() - code) < 2.5
    assert any("HDR" in note for note in result.notes)


def test_hdr_is_never_squeezed_into_eight_bits(tmp_path):
    with pytest.raises(RtstyleError, match="too few for HDR"):
        plan(tmp_path / "out.webm", Encoding("vp9"), width=64, height=64, bits=10, hdr=True)


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
    assert timestamps(tmp_path / "out.mkv") == timestamps(source)

    def comb(frames):
        return np.abs(np.diff(frames[2:6].astype(float), 2, axis=1)).mean()

    assert comb(rgb_frames(tmp_path / "out.mkv")) < 0.5 * comb(rgb_frames(source))


def test_transparency_is_dropped_with_a_note(tmp_path, stylizer):
    source = make_clip(tmp_path / "in.mov", codec="prores_ks", pix_fmt="yuva444p10le", tracks=0, frames=3)
    result = stylize_video(source, tmp_path / "out.mp4", stylizer)
    assert "transparency is not kept" in result.notes
