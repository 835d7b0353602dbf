"""Clips of twelve kinds, and damage to them."""

from __future__ import annotations

import contextlib
import random
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE, FRAMES, RATE = (96, 64), 24, 12


def make_clip(path: Path, codec: str, sound: str | None, pix_fmt: str = "yuv420p", frames: int = FRAMES) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE)
        video.width, video.height, video.pix_fmt = *SIZE, pix_fmt
        audio = container.add_stream(sound, rate=48000) if sound else None
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(i), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio:
            layout = "stereo"
            step = audio.codec_context.frame_size or 1024
            for start in range(0, 48000 * frames // RATE, step):
                wave = 0.2 * np.sin(2 * np.pi * 440 * (start + np.arange(step)) / 48000)
                samples = np.repeat(wave[None], 2, 0).astype(np.float32)
                chunk = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
                chunk.sample_rate, chunk.pts, chunk.time_base = 48000, start, Fraction(1, 48000)
                container.mux(audio.encode(chunk))
            container.mux(audio.encode())


def scene(i: int) -> np.ndarray:
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    return np.stack([128 + 90 * np.sin((x + 4 * i) / 7), 255 * y / SIZE[1], 255 - 2 * x], -1).clip(0, 255).astype("u1")


KINDS = {
    "h264.mp4": ("libx264", "aac"),
    "h264.mkv": ("libx264", "libopus"),
    "hevc.mov": ("libx265", "aac"),
    "h264.ts": ("libx264", "aac"),
    "vp8.webm": ("libvpx", "libopus"),
    "vp9.webm": ("libvpx-vp9", "libopus"),
    "av1.mkv": ("libsvtav1", "flac"),
    "mpeg4.avi": ("mpeg4", "mp3"),
    "mpeg2.mpg": ("mpeg2video", "mp2"),
    "mjpeg.avi": ("mjpeg", None),
    "ffv1.mkv": ("ffv1", "pcm_s16le"),
    "h264.flv": ("libx264", "aac"),
}


def clips(folder: Path) -> dict[str, bytes]:
    """The bytes of one clip of each kind that this FFmpeg can write."""
    found = {}
    for name, (codec, sound) in KINDS.items():
        path = folder / name
        try:
            make_clip(path, codec, sound, "yuvj420p" if codec == "mjpeg" else "yuv420p")
        except (av.error.FFmpegError, ValueError) as error:
            print(f"no {name}: {error}", file=sys.stderr)
            continue
        found[name] = path.read_bytes()
    return found


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Some damage of one kind, one to twenty times; every kind keeps most of the file."""
    changed = bytearray(data)
    kind = chance.choice(["flip", "flip", "bytes", "zero", "cut", "double", "end", "swap"])
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at, length = chance.randrange(len(changed)), chance.choice([1, 4, 64, 1024])
        if kind == "flip":
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == "bytes":
            changed[at : at + length] = chance.randbytes(len(changed[at : at + length]))
        elif kind == "zero":
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        elif kind == "cut":
            del changed[at : at + length]
        elif kind == "double":
            changed[at:at] = changed[at : at + length]
        elif kind == "end":
            del changed[max(1, at) :]
            break
        else:
            other = chance.randrange(len(changed))
            changed[at], changed[other] = changed[other], changed[at]
        if not changed:
            changed = bytearray(data[:1])
    return bytes(changed)


def is_video(path: Path) -> bool:
    with contextlib.suppress(av.error.FFmpegError, IndexError), av.open(str(path)) as container:
        return any(True for _ in container.decode(video=0))
    return False


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    """Time stamp and bytes of every packet."""
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux() if packet.size]
