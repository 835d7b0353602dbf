"""Decoding that begins in the middle: the same frames as from the beginning, in every container that tells where they
lie."""

from fractions import Fraction

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import numpy as np
import pytest
from support.media_files import make_clip, picture

from rtstyle.files import make_folder
from rtstyle.media.frame_index import FrameIndex
from rtstyle.media.parcel import Parcel, joined
from rtstyle.media.reader import VideoReader

FRAMES = 50
KINDS = {
    "matroska": {"name": "in.mkv", "b_frames": 2, "tracks": 2},
    "mp4": {"name": "in.mp4", "b_frames": 3},
    "transport stream": {"name": "in.ts", "b_frames": 2},
    "webm": {"name": "in.webm", "codec": "libvpx-vp9", "tracks": 0},
    "mpeg2 in mpg": {"name": "in.mpg", "codec": "mpeg2video", "tracks": 0},
    "avi without b-frames": {"name": "in.avi"},
    "variable rate": {
        "name": "in.mkv",
        "pts": [40 * i + 7 * (i % 3) for i in range(FRAMES)],
        "time_base": Fraction(1, 1000),
        "b_frames": 2,
    },
    "from 1.4 seconds": {"name": "in.mp4", "start": 35},
}


@pytest.fixture(params=KINDS)
def video(request, tmp_path):
    options = dict(KINDS[request.param])
    return make_clip(tmp_path / options.pop("name"), frames=FRAMES, **options)


def picture_of(frame):
    return frame.pts, frame.rgb.tobytes()


def test_any_part_has_the_frames_that_the_whole_has(video):
    with VideoReader(video) as whole:
        frames = [picture_of(frame) for frame in whole]
    with VideoReader(video) as reader:
        index = reader.index()
        assert index.pts.tolist() == [pts for pts, _ in frames]
        assert len(index.keys) >= 4
        for first, last in ((30, 37), (11, 14), (0, 5), (FRAMES - 2, FRAMES), (24, 25)):
            part = list(reader.frames_of(index, first, last))
            assert [frame.number for frame in part] == list(range(first, last))
            assert [picture_of(frame) for frame in part] == frames[first:last]


def test_a_part_is_reached_without_decoding_all_before_it(video):
    with VideoReader(video) as reader:
        index = reader.index()
        assert sum(1 for _ in reader._packets.of(index, 40, 42)) < 25


def test_long_reading_is_said(tmp_path, monkeypatch, caplog):
    source = make_clip(tmp_path / "in.mkv", frames=5)
    with VideoReader(source) as reader, caplog.at_level("INFO", "rtstyle"):
        reader.index()
        assert caplog.messages == []
        monkeypatch.setattr("rtstyle.media.reader.QUIET_SECONDS", 0.0)
        reader.index()
    assert caplog.messages == [f"reading all of {source} once, to know where its frames lie"]


def test_a_parcel_holds_what_a_part_needs_and_little_more(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=200, b_frames=2, tracks=1)
    with VideoReader(source) as reader:
        index = reader.index()
        frames = [picture_of(frame) for frame in reader.frames_of(index, 120, 130)]
        parcel = Parcel.of(reader, index, 120, 130)
    assert 0 < parcel.size < source.stat().st_size / 2
    (tmp_path / "elsewhere").mkdir()
    copy = parcel.unpack(tmp_path / "elsewhere")
    assert copy.stat().st_size == source.stat().st_size
    with VideoReader(copy) as reader:
        assert [picture_of(frame) for frame in reader.frames_of(index, 120, 130)] == frames


@pytest.mark.parametrize("first", [0, 13, 25, 40])
def test_what_a_parcel_holds_is_enough(video, tmp_path, first):
    """In every container, wherever it is entered, also where seeking lands late."""
    with VideoReader(video) as reader:
        index = reader.index()
        frames = [picture_of(frame) for frame in reader.frames_of(index, first, first + 7)]
        parcel = Parcel.of(reader, index, first, first + 7)
    copy = parcel.unpack(make_folder(tmp_path / "elsewhere"))
    with VideoReader(copy) as reader:
        assert [picture_of(frame) for frame in reader.frames_of(index, first, first + 7)] == frames


def test_pictures_that_are_refreshed_piece_by_piece(tmp_path):
    """With intra-refresh, a key frame shows nothing until its successors have refreshed the rest."""
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 96, "yuv420p"
        stream.codec_context.gop_size = 40
        stream.options = {"preset": "ultrafast", "x264-params": "intra-refresh=1"}
        for i in range(120):
            frame = av.VideoFrame.from_ndarray(picture(i, 96, 640), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with VideoReader(source) as reader:
        whole = [frame.pts for frame in reader]
    with VideoReader(source) as reader:
        index = reader.index()
        parts = [frame.pts for k in range(0, 120, 10) for frame in reader.frames_of(index, k, k + 10)]
    assert parts == whole and len(whole) == 120


def test_ranges_that_touch_are_joined():
    assert joined([(5, 9), (0, 2), (2, 4), (8, 12), (20, 20)]) == [(0, 4), (5, 12)]


def test_a_range_of_time_numbers_its_own_frames(tmp_path):
    source = make_clip(tmp_path / "in.mp4", frames=FRAMES, b_frames=2)
    with VideoReader(source) as reader:
        index = reader.index(0.5, 1.5)
        assert [frame.pts for frame in reader.frames(start=0.5, end=1.5)] == index.pts.tolist()
        assert [frame.number for frame in reader.frames_of(index, 0, 3)] == [0, 1, 2]


def test_interlaced_frames_are_the_same_from_the_middle(tmp_path):
    def drawn(index, height, width):
        rows = np.arange(height)[:, None] + np.zeros((1, width), int)
        odd = (rows + 3 * index) % 40 < 20
        even = (rows + 3 * index + 8) % 40 < 20
        picture = np.where(rows % 2 == 0, even, odd)[..., None] * np.uint8(200)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.repeat(picture, 3, -1)), format="rgb24")
        return frame.reformat(format="yuv420p")

    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.gop_size = 10
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
        for i in range(FRAMES):
            frame = drawn(i, 96, 160)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with VideoReader(source) as reader:
        frames = [picture_of(frame) for frame in reader]
        assert any("deinterlaced" in note for note in reader.notes)
        part = list(reader.frames_of(reader.index(), 33, 36))
        assert [picture_of(frame) for frame in part] == frames[33:36]
        assert len([note for note in reader.notes if "deinterlaced" in note]) == 1


@pytest.mark.parametrize(
    "packets",
    [
        [(0, True), (None, False)],
        [(0, True), (1, False), (100, True), *((i, False) for i in range(2, 60))],
        [(0, False), (1, False)],
    ],
    ids=["no time stamp", "in disorder", "no key frame"],
)
def test_packets_that_do_not_tell_which_frame_is_which(packets):
    assert FrameIndex.of(packets) is None


def test_parts_of_one_frame_count_once():
    index = FrameIndex.of([(0, True), (40, False), (40, False), (80, True)])
    assert (index.pts.tolist(), index.keys.tolist()) == ([0, 40, 80], [0, 80])
    assert [index.number(pts) for pts in (0, 39, 40, 79, 500)] == [0, 0, 1, 1, 2]
    assert [index.entry(pts) for pts in (0, 79, 80, 500)] == [0, 0, 80, 80]


def test_gif_frames_build_on_one_another(tmp_path):
    """Only the first can be entered, whatever the packets say."""
    from PIL import Image

    frames = [Image.fromarray(np.full((48, 64, 3), 5 * i, np.uint8)) for i in range(20)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=40)
    with VideoReader(tmp_path / "in.gif") as reader:
        index = reader.index()
        assert index is None or len(index.keys) == 1
