"""Small clips of every kind, made with PyAV, and an independent way to read them back."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction

import av
import cv2  # noqa: F401 -- before av: see rtstyle.media
import numpy as np

SOUND_RATE = 48000
# Luma weights of red and blue (ITU-R BT.601 and BT.709), by FFmpeg's number of the matrix.
LUMA = {6: (0.299, 0.114), 1: (0.2126, 0.0722)}


def picture(index, height, width):
    """A coloured scene that moves: stripes, a gradient and a square, uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    red = 120 + 90 * np.sin((x + 3 * index) / 9)
    green = 40 + 160 * y / height
    blue = 200 - 150 * x / width
    scene = np.stack([red, green, blue], -1)
    left = (5 * index) % max(1, width - 16)
    scene[height // 3 : height // 3 + 16, left : left + 16] = (250, 240, 60)
    return scene.astype(np.uint8)


def tone(index, samples):
    """A tone of its own per track, float32 [1, samples]."""
    time = np.arange(samples) / SOUND_RATE
    return (0.3 * np.sin(2 * np.pi * (220 + 110 * index) * time)).astype(np.float32)[None]


def make_clip(
    path,
    *,
    size=(160, 96),
    frames=12,
    rate=24,
    pts=None,
    time_base=None,
    start=0,
    tracks=1,
    codec="libx264",
    pix_fmt="yuv420p",
    b_frames=0,
    rotation=0,
    sample_aspect=None,
    tags=None,
    draw=picture,
    crf=18,
    key_every=12,
    container_options=None,
):
    """Write a clip. `pts` are time stamps in `time_base`, one a frame, instead of a constant rate from `start`;
    `draw(index, height, width)` gives an RGB array or an av.VideoFrame that is in `pix_fmt` already."""
    width, height = size
    time_base = time_base or Fraction(1, rate)
    pts = [start + i for i in range(frames)] if pts is None else pts
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.time_base = video.codec_context.time_base = time_base
        video.codec_context.gop_size = key_every
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "crf": str(crf), "bf": str(b_frames)}
        if sample_aspect:
            video.codec_context.sample_aspect_ratio = sample_aspect
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if rotation:
            video.set_display_rotation(rotation)
        sounds = [container.add_stream("aac", rate=SOUND_RATE, layout="mono") for _ in range(tracks)]
        encoded = []
        for i, timestamp in enumerate(pts):
            drawn = draw(i, height, width)
            if not isinstance(drawn, av.VideoFrame):
                drawn = av.VideoFrame.from_ndarray(drawn, format="rgb24").reformat(format=pix_fmt)
            drawn.pts, drawn.time_base = timestamp, time_base
            encoded += video.encode(drawn)
        encoded += video.encode(None)
        seconds = float((pts[-1] + 1) * time_base)
        for i, sound in enumerate(sounds):
            frame = av.AudioFrame.from_ndarray(tone(i, int(seconds * SOUND_RATE)), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
            encoded += sound.encode(frame) + sound.encode(None)
        for packet in sorted(encoded, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def ycbcr(rgb, matrix, full):
    """The Y'CbCr numbers of an RGB colour by the equations of ITU-R BT.601 and BT.709, 8 bits, rounded."""
    kr, kb = LUMA[matrix]
    red, green, blue = (value / 255 for value in rgb)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if full:
        numbers = 255 * luma, 128 + 255 * cb, 128 + 255 * cr
    else:
        numbers = 16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr
    return tuple(int(np.clip(round(number), 0, 255)) for number in numbers)


def make_card(path, rgb, matrix, full, **options):
    """A clip of one flat colour, its Y'CbCr numbers written straight into the planes."""
    numbers = ycbcr(rgb, matrix, full)

    def draw(index, height, width):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, number in zip(frame.planes, numbers, strict=True):
            plane.update(bytes([number]) * plane.buffer_size)
        return frame

    tags = {"colorspace": matrix, "color_primaries": matrix, "color_trc": matrix, "color_range": 2 if full else 1}
    return make_clip(path, draw=draw, tags=tags, tracks=0, frames=4, **options)


def make_sound_only(path):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(0, SOUND_RATE // 2), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def make_without_frames(path):
    """An mp4 that announces a video stream and holds not one frame of it."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        container.start_encoding()
    return path


def make_without_index(path, tmp_path):
    """An mp4 cut off before its index (moov), which the muxer writes last."""
    whole = make_clip(tmp_path / "whole.mp4").read_bytes()
    assert whole.find(b"moov") > whole.find(b"mdat") > 0
    path.write_bytes(whole[: whole.find(b"moov") - 4])
    return path


def damage_video_packets(path, which, after=12, fill=0):
    """Overwrite the video packets with these numbers from byte `after` on, where they lie in the file.

    Zeros after 12 bytes spare the slice header, and the decoder patches the frame up; 255 after 6 leaves nothing.
    """
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    content = bytearray(path.read_bytes())
    for number in which:
        position, size = places[number]
        content[position + after : position + size] = bytes([fill]) * (size - after)
    path.write_bytes(content)
    return path


def read_frames(path):
    """[(presentation time in seconds as a Fraction, the decoded av.VideoFrame)] of the first video stream."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(frame.pts * stream.time_base, frame) for frame in container.decode(stream)]


def timestamps(path):
    return [time for time, _ in read_frames(path)]


def rgb_frames(path):
    return np.stack([frame.to_ndarray(format="rgb24") for _, frame in read_frames(path)])


def packets(path, index=0, kind="audio"):
    """[(presentation time in seconds, bytes)] of the index-th stream of a kind."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[index]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def psnr(a, b):
    """Peak signal-to-noise ratio of two uint8 arrays in decibels."""
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def claim_png(path, side):
    """A PNG of a few bytes that claims `side` x `side` pixels, in black and white."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 + side // 8))))
