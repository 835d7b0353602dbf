"""Which encoder, with which settings, in which pixel format: the choices behind `--codec`, `--crf` and `--preset`."""

from __future__ import annotations

import dataclasses
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from rtstyle.errors import RtstyleError, UsageError


@dataclasses.dataclass(frozen=True)
class Codec:
    """One way of encoding: FFmpeg's encoder, its settings, its constant-quality option with the usual value and
    the worst one, and the pixel formats for 8 and 10 bits (None: not to be had)."""

    encoder: str
    options: dict[str, str]
    quality: str | None
    usual: int
    worst: int
    bits8: str | None = "yuv420p"
    bits10: str | None = "yuv420p10le"
    odd8: str | None = None  # for odd sizes, which halved colour planes cannot have
    odd10: str | None = None
    preset: str | None = "preset"


# x264's and x265's results must not depend on the machine or on timing, so that a resumed job gives the same packets.
CODECS = {
    "h264": Codec(
        "libx264",
        {"preset": "veryfast", "x264-params": "cpu-independent=1"},
        "crf",
        18,
        51,
        odd8="yuv444p",
        odd10="yuv444p10le",
    ),
    "hevc": Codec(
        "libx265",
        {"preset": "veryfast", "x265-params": "log-level=none"},
        "crf",
        20,
        51,
        odd8="yuv444p",
        odd10="yuv444p10le",
    ),
    "av1": Codec("libsvtav1", {"preset": "9"}, "crf", 28, 63),
    "vp9": Codec(
        "libvpx-vp9",
        {"deadline": "good", "cpu-used": "5", "row-mt": "1", "b": "0"},
        "crf",
        28,
        63,
        bits10=None,
        odd8="yuv444p",
        preset="cpu-used",
    ),
    "prores": Codec("prores_ks", {"profile": "hq"}, None, 0, 0, bits8=None, bits10="yuv422p10le", preset="profile"),
    "ffv1": Codec(
        "ffv1",
        {"level": "3", "slicecrc": "1"},
        None,
        0,
        0,
        bits10="yuv420p16le",
        odd8="yuv444p",
        odd10="yuv444p16le",
        preset=None,
    ),
    # kept without loss in the segments; the palettes are made when they are joined
    "gif": Codec("ffv1", {"level": "3"}, None, 0, 0, bits8="bgr0", bits10=None, odd8="bgr0", preset=None),
}
HARDWARE = {
    "h264": ("h264_nvenc", "h264_qsv", "h264_videotoolbox", "h264_amf"),
    "hevc": ("hevc_nvenc", "hevc_qsv", "hevc_videotoolbox", "hevc_amf"),
    "av1": ("av1_nvenc", "av1_qsv", "av1_amf"),
}
HARDWARE_QUALITY = {"nvenc": "cq", "qsv": "global_quality", "amf": "qp_i", "videotoolbox": "q:v"}

CONTAINERS = {  # by ending: FFmpeg's name and the codecs that players expect in it, the usual one first
    ".mp4": ("mp4", ("h264", "hevc", "av1", "vp9")),
    ".m4v": ("mp4", ("h264", "hevc", "av1")),
    ".mov": ("mov", ("h264", "hevc", "prores")),
    ".mkv": ("matroska", ("h264", "hevc", "av1", "vp9", "prores", "ffv1")),
    ".webm": ("webm", ("vp9", "av1")),
    ".gif": ("gif", ("gif",)),
}


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How the user wants it encoded. `codec` is a name of CODECS, `auto` (hardware if it works), or one of FFmpeg's
    hardware encoders such as `h264_nvenc`; None is the usual one of the container. `crf` is the encoder's own
    constant-quality number (lower is better), `preset` its own speed, `container` one of CONTAINERS without the
    dot instead of OUT's ending; `audio_codec` is `copy` or an encoder such as `aac`, `libopus` or `flac`."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    container: str | None = None
    audio_codec: str = "copy"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the video will be encoded: container format, encoder, its options, pixel format, depth and what to tell."""

    format: str
    encoder: str
    options: dict[str, str]
    pix_fmt: str
    bits: int
    notes: tuple[str, ...] = ()


def container_of(out: Path, encoding: Encoding) -> tuple[str, tuple[str, ...]]:
    """(FFmpeg's format, codecs). Raises RtstyleError for endings that rtstyle does not write."""
    suffix = f".{encoding.container.lower()}" if encoding.container else out.suffix.lower()
    if suffix not in CONTAINERS:
        kind = suffix or "no ending"
        raise RtstyleError(f"cannot write a video with {kind}: use {', '.join(CONTAINERS)}, or --container")
    return CONTAINERS[suffix]


def plan(out: Path, encoding: Encoding, *, width: int, height: int, bits: int, hdr: bool) -> Plan:
    """Choose for a source of this size and depth. Raises RtstyleError (UsageError for impossible choices)."""
    format, codecs = container_of(out, encoding)
    name, hardware, notes = _codec_name(encoding.codec, codecs, bits)
    if name not in codecs:
        fitting = [ending for ending, (_, names) in CONTAINERS.items() if name in names]
        raise UsageError(
            f"{out.name} cannot hold {name}: choose --codec {' or '.join(codecs)}, "
            f"or end the name with {' or '.join(fitting)}"
        )
    codec = CODECS[name]
    odd = bool(width % 2 or height % 2)
    deep = bits > 8
    pix_fmt = (codec.odd10 if deep else codec.odd8) if odd else (codec.bits10 if deep else codec.bits8)
    if pix_fmt is None and deep and codec.bits8:
        if hdr:
            raise RtstyleError(f"{name} is written in 8 bits here, too few for HDR: use --codec hevc")
        notes.append(f"{name} is written in 8 bits, the source has {bits}")
        deep, pix_fmt = False, codec.odd8 if odd else codec.bits8
    elif pix_fmt is None and not deep and codec.bits10:
        deep, pix_fmt = True, codec.odd10 if odd else codec.bits10
    if pix_fmt is None:
        raise RtstyleError(f"{name} cannot hold a picture of {width}x{height}: use --codec h264 or ffv1")
    if odd and pix_fmt.startswith("yuv444"):
        notes.append(f"{width}x{height} is odd: written as 4:4:4 {name}, which some players refuse")
    if deep:
        notes.append("painted in 8 bits, written in 10 with dither" + (", HDR mapped there and back" if hdr else ""))
    if encoding.crf is not None and codec.quality and not 0 <= encoding.crf <= codec.worst:
        raise UsageError(f"--crf must be between 0 (best) and {codec.worst} for {name}, not {encoding.crf}")
    if hardware:
        family = hardware.rpartition("_")[2]
        pix_fmt = {"yuv420p": "nv12", "yuv420p10le": "p010le"}.get(pix_fmt, pix_fmt) if family != "nvenc" else pix_fmt
        options = {HARDWARE_QUALITY[family]: str(codec.usual if encoding.crf is None else encoding.crf)}
        return Plan(format, hardware, options, pix_fmt, 10 if deep else 8, tuple(notes))
    options = dict(codec.options)
    if codec.quality:
        options[codec.quality] = str(codec.usual if encoding.crf is None else encoding.crf)
    elif encoding.crf is not None:
        raise UsageError(f"{name} has no --crf")
    if encoding.preset is not None:
        if codec.preset is None:
            raise UsageError(f"{name} has no --preset")
        options[codec.preset] = encoding.preset
    return Plan(format, codec.encoder, options, pix_fmt, 10 if deep else 8, tuple(notes))


def _codec_name(wish: str | None, codecs: tuple[str, ...], bits: int) -> tuple[str, str | None, list[str]]:
    """(name in CODECS, hardware encoder or None, notes)."""
    usual = codecs[0] if bits <= 8 or "hevc" not in codecs else "hevc"
    if wish is None:
        return usual, None, []
    wish = wish.lower()
    if wish in CODECS:
        return wish, None, []
    if wish == "auto":
        tried = [encoder for encoder in HARDWARE.get(usual, ()) if encoder in av.codecs_available]
        for encoder in tried:
            if problem_of(encoder) is None:
                return usual, encoder, [f"encoding on {encoder}"]
        return usual, None, [f"no hardware encoder works here ({', '.join(tried) or 'none built in'}): using software"]
    for name, encoders in HARDWARE.items():
        if wish in encoders:
            if problem := problem_of(wish):
                raise RtstyleError(f"{wish} does not work here ({problem}): use --codec {name}")
            return name, wish, []
    raise UsageError(f"unknown codec {wish!r}: choose {', '.join(CODECS)}, auto, or such as h264_nvenc")


AUDIO = {"opus": "libopus", "mp3": "libmp3lame", "vorbis": "libvorbis"}  # the encoders of what people call them


def check_audio(encoding: Encoding, format: str) -> str:
    """The audio encoder's name, or `copy`. Raises UsageError if there is none of this name, or the container
    takes no such sound."""
    name = AUDIO.get(encoding.audio_codec.lower(), encoding.audio_codec.lower())
    if name == "copy":
        return name
    try:
        codec = av.Codec(name, "w")
    except (av.FFmpegError, ValueError):
        codec = None
    if codec is None or codec.type != "audio":
        raise UsageError(
            f"unknown audio codec {encoding.audio_codec!r}: choose copy, aac, opus, mp3, flac, alac or ac3"
        )
    with av.open(os.devnull, "w", format=format) as probe:
        if codec.canonical_name not in probe.supported_codecs:
            raise UsageError(f"{format} cannot hold {encoding.audio_codec} sound: choose another --audio-codec")
    return name


def problem_of(encoder: str) -> str | None:
    """Why an encoder cannot be used here, found out by using it; None if it can."""
    if encoder not in av.codecs_available:
        return "this PyAV does not have it"
    try:
        codec = av.CodecContext.create(encoder, "w")
        codec.width, codec.height, codec.pix_fmt, codec.time_base = 256, 256, "nv12", Fraction(1, 30)
        frame = av.VideoFrame.from_ndarray(np.zeros((256, 256, 3), np.uint8), format="rgb24").reformat(format="nv12")
        frame.pts = 0
        codec.encode(frame)
        codec.encode(None)
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
