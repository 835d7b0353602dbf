"""Between IN and OUT no stream, fact or time stamp is lost: one test a property."""

import itertools
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import numpy as np
import pytest
from PIL import Image
from support.media_files import make_clip, packets, picture, psnr, rgb_frames, timestamps

import rtstyle.media.encoding as encoding_module
from rtstyle import RtstyleError, stylize_video
from rtstyle.media.decoded import with_rising_pts
from rtstyle.media.remuxer import TimeRange

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
    assert timestamps(tmp_path / "out.mkv") == timestamps(source)
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
    assert timestamps(tmp_path / "out.mkv") == timestamps(clip)
    assert packets(tmp_path / "out.mkv") == packets(clip)


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
    result = np.array(timestamps(tmp_path / "out.mp4"), float)
    assert len(result) == 20 and np.ptp(np.diff(result)) < 1e-6
    assert min(psnr(frame, picture(i, 96, 160)) for i, frame in enumerate(rgb_frames(tmp_path / "out.mp4"))) > 25


def test_a_damaged_packet_of_sound_is_left_out_and_said(tmp_path, stylizer):
    """The first ADTS header says that the channels come in the packet, which FFmpeg cannot write to Matroska."""
    data = bytearray(make_clip(tmp_path / "in.ts").read_bytes())
    headers = [at for at in range(len(data) - 4) if data[at] == 0xFF and data[at + 1 : at + 4] == b"\xf1\x4c\x40"]
    assert len(headers) > 10
    data[headers[0] + 3] &= 0x3F
    (tmp_path / "in.ts").write_bytes(data)
    result = stylize_video(tmp_path / "in.ts", tmp_path / "out.mkv", stylizer)
    assert "1 damaged packets of other streams than the picture are left out" in result.notes
    assert 0 < len(packets(tmp_path / "out.mkv")) < len(packets(tmp_path / "in.ts"))
    assert len(timestamps(tmp_path / "out.mkv")) == 12


def flv_tags(data):
    """(begin, end) of the tags of an FLV file."""
    at = 13
    while at < len(data):
        end = at + 15 + int.from_bytes(data[at + 1 : at + 4], "big")
        yield at, end
        at = end


def test_sound_whose_head_changes_on_the_way_is_left_out_where_there_is_no_room_for_it(tmp_path, stylizer):
    """Matroska calls that a full disk."""
    data = make_clip(tmp_path / "in.flv").read_bytes()
    sounds = [(begin, end) for begin, end in flv_tags(data) if data[begin] == 8]
    begin, end = next(tag for tag in sounds if data[tag[0] + 12] == 0)  # the head
    head = data[begin + 11 : end - 4] + bytes(400)
    tag = data[begin : begin + 1] + len(head).to_bytes(3, "big") + data[begin + 4 : begin + 11] + head
    place = sounds[len(sounds) // 2][0]
    changed = data[:place] + tag + len(tag).to_bytes(4, "big") + data[place:]
    (tmp_path / "in.flv").write_bytes(changed)
    result = stylize_video(tmp_path / "in.flv", tmp_path / "out.mkv", stylizer)
    assert any("(audio aac) does not fit into matroska and is left out" in note for note in result.notes)
    assert len(timestamps(tmp_path / "out.mkv")) == 12
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert not out.streams.audio


def test_swapped_time_stamps_are_put_in_order():
    """As FFmpeg gives them for B-frames in AVI files: the pictures are in order, their stamps are not."""
    frames = [SimpleNamespace(pts=pts) for pts in (1, 2, 4, 3, 5, 7, 6, 8, None, 10)]
    stamped = list(with_rising_pts(frames, 1))
    assert [frame for frame, _ in stamped] == frames
    assert [pts for _, pts in stamped[:8]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert np.all(np.diff([pts for _, pts in stamped]) > 0)


def test_an_edit_list_hides_the_same_frames(tmp_path, stylizer):
    """A phone's trim: the file holds 24 frames, its edit list shows those from the seventh on."""
    source = make_clip(tmp_path / "in.mp4", frames=24, b_frames=0, tracks=0)
    content = bytearray(source.read_bytes())
    offset = content.index(b"elst")
    assert content[offset + 8 : offset + 12] == bytes([0, 0, 0, 1])  # one edit
    with av.open(str(source)) as container:
        scale = container.streams.video[0].time_base.denominator
    media_time = int.from_bytes(content[offset + 16 : offset + 20], "big") + scale * 6 // 24
    content[offset + 16 : offset + 20] = media_time.to_bytes(4, "big")
    source.write_bytes(content)
    shown = rgb_frames(source)
    assert len(shown) == 18 and psnr(shown[0], picture(6, 96, 160)) > 25
    stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0)
    assert timestamps(tmp_path / "out.mp4") == timestamps(source)
    assert min(map(psnr, rgb_frames(tmp_path / "out.mp4"), shown)) > 30


CLIPS = os.environ.get("RTSTYLE_CLIPS")


@pytest.mark.skipif(not CLIPS, reason="set RTSTYLE_CLIPS to a folder of real video files")
@pytest.mark.parametrize(
    "clip", sorted(p for p in Path(CLIPS).iterdir() if p.suffix != ".tsv") if CLIPS else [], ids=lambda path: path.name
)
def test_real_clips_keep_every_stamp_and_packet(tmp_path, stylizer, clip):
    """The first two seconds of whatever is at hand, into their own kind of file where that can be written."""
    shrunk = stylizer.work_height
    out = tmp_path / f"out{clip.suffix if clip.suffix in encoding_module.CONTAINERS else '.mkv'}"
    end = 2.0
    try:
        stylizer.work_height = 32
        result = stylize_video(clip, out, stylizer, time_range=TimeRange(end=end), strength=0)
    finally:
        stylizer.work_height = shrunk
    with av.open(str(clip)) as container:
        shown = (f.pts * f.time_base for f in container.decode(container.streams.best("video")))
        expected = sorted(itertools.takewhile(lambda t: t < end + 1, shown))
    expected = np.array([float(t) for t in expected if t < end])
    measured = np.array(timestamps(out), float)
    assert len(measured) == len(expected) == result.frames
    assert np.abs(np.diff(measured) - np.diff(expected)).max(initial=0) <= 0.0011  # Matroska counts milliseconds
    with av.open(str(clip)) as before, av.open(str(out)) as after:
        tracks = len(after.streams.audio)
        assert len(before.streams.audio) == tracks
    for index in range(tracks):
        given = {content for _, content in packets(clip, index)}
        assert all(content in given for _, content in packets(out, index))


def test_a_range_starts_at_zero_with_its_sound(tmp_path, stylizer):
    source = make_clip(tmp_path / "in.mp4", frames=48, key_every=10)
    result = stylize_video(source, tmp_path / "out.mp4", stylizer, strength=0, time_range=TimeRange(0.5, 1.5))
    expected = [i for i, t in enumerate(timestamps(source)) if 0.5 <= t < 1.5]
    assert result.frames == len(expected) == 24
    assert timestamps(tmp_path / "out.mp4")[0] == 0
    assert psnr(rgb_frames(tmp_path / "out.mp4"), rgb_frames(source)[expected]) > 30
    sound = [(t, c) for t, c in packets(source) if 0.5 <= t < 1.5]
    assert [c for _, c in packets(tmp_path / "out.mp4")] == [c for _, c in sound]
    shift = [float(a[0] - b[0]) for a, b in zip(sound, packets(tmp_path / "out.mp4"), strict=True)]
    np.testing.assert_allclose(shift, 0.5, atol=0.001)


def test_an_empty_range_is_a_sentence(tmp_path, stylizer, clip):
    seen = []
    with pytest.raises(RtstyleError, match="no frame that can be decoded in this range"):
        stylize_video(clip, tmp_path / "out.mp4", stylizer, time_range=TimeRange(100, 101), progress=seen.append)
    assert seen == []
    assert list(tmp_path.iterdir()) == []
