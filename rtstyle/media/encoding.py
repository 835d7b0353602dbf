"""The choices behind `--codec`, `--crf` and `--encoder-preset`: which encoder, which settings, which pixel format."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from rtstyle.errors import OutputError, UsageError


@dataclasses.dataclass(frozen=True)
class Codec:
    """One way of encoding: FFmpeg's encoder, its settings, its constant-quality option with its default and its
    worst value, and the pixel formats for 8 and 10 bits (None: not to be had)."""

    encoder: str
    options: dict[str, str]
    quality: str | None
    default: int
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
# Hardware encoders by family, in the order in which `auto` tries them, and what makes each keep a quality instead of a
# bit rate: each has words of its own for it.
HARDWARE = {
    "nvenc": lambda crf: {"rc": "vbr", "cq": str(crf), "b": "0"},
    "qsv": lambda crf: {"global_quality": str(crf)},
    "videotoolbox": lambda crf: {"flags": "+qscale", "global_quality": str(118 * round(100 - 100 * crf / 51))},
    "amf": lambda crf: {"rc": "cqp", "qp_i": str(crf), "qp_p": str(crf)},
}
HARDWARE_CODECS = ("h264", "hevc", "av1")
HARDWARE_FORMATS = {8: ("nv12", "yuv420p"), 10: ("p010le",)}  # the first that the encoder takes
HARDWARE_ODD = {8: ("yuv444p",), 10: ("yuv444p16le",)}

CONTAINERS = {  # by ending: FFmpeg's name and the codecs that players expect in it, the default first
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
    hardware encoders such as `h264_nvenc`; None is the container's default. `crf` is the encoder's own
    constant-quality number (lower is better), `quality` one that means the same for every codec instead, 1 to 100
    (best); `preset` is the encoder's own speed, `container` one of CONTAINERS without the dot instead of OUT's
    ending; `audio_codec` is `copy` or an encoder such as `aac`, `libopus` or `flac`."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    container: str | None = None
    audio_codec: str = "copy"
    quality: int | None = None


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
        raise OutputError(f"cannot write a video with {kind}: use {', '.join(CONTAINERS)}, or `container`")
    return CONTAINERS[suffix]


def problem_of(plan: Plan) -> str | None:
    """Why an encoder cannot be used here like this, found out by using it; None if it can."""
    if plan.encoder not in av.codecs_available:
        return "this PyAV does not have it"
    try:
        codec = av.CodecContext.create(plan.encoder, "w")
        assert isinstance(codec, av.VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt, codec.time_base = 256, 256, plan.pix_fmt, Fraction(1, 30)
        codec.options = plan.options
        frame = av.VideoFrame.from_ndarray(np.zeros((256, 256, 3), np.uint8), format="rgb24")
        frame = frame.reformat(format=plan.pix_fmt)
        frame.pts = 0
        packets = [*codec.encode(frame), *codec.encode(None)]
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None if packets else "it gives no packets"


def plan(
    out: Path,
    encoding: Encoding,
    *,
    width: int,
    height: int,
    bits: int,
    hdr: bool,
    probe: Callable[[Plan], str | None] = problem_of,
) -> Plan:
    """Choose for a source of this size and depth. Hardware encoders are asked by `probe` what keeps them from working.
    Raises RtstyleError (UsageError for impossible choices)."""
    format, codecs = container_of(out, encoding)
    default = codecs[0] if bits <= 8 or "hevc" not in codecs else "hevc"
    wish = (encoding.codec or default).lower()
    hardware = _hardware_wish(wish, default)
    name = hardware[0].partition("_")[0] if hardware else default if wish == "auto" else wish
    if name not in CODECS:
        raise UsageError(f"unknown codec {wish!r}: choose {', '.join(CODECS)}, auto, or such as h264_nvenc")
    if name not in codecs:
        fitting = [ending for ending, (_, names) in CONTAINERS.items() if name in names]
        raise UsageError(
            f"{out.name} cannot hold {name}: choose `codec={' or '.join(codecs)}`, "
            f"or end the name with {' or '.join(fitting)}"
        )
    crf = _constant_quality(name, encoding)
    odd = bool(width % 2 or height % 2)
    tried = []
    for encoder in hardware:
        chosen = _hardware_plan(format, encoder, crf, encoding.preset, odd=odd, deep=bits > 8)
        problem = probe(chosen) if chosen else f"it takes no {'odd sizes' if odd else f'{bits} bits'}"
        if chosen and problem is None:
            return dataclasses.replace(chosen, notes=(f"encoding on {encoder}", *_depth_notes(chosen.bits, hdr)))
        if wish != "auto":
            raise OutputError(f"{wish} does not work here ({problem}): use `codec={name}`")
        tried.append(encoder)
    notes = []
    if wish == "auto":
        notes.append(f"no hardware encoder works here ({', '.join(tried) or 'none built in'}): using software")
    return _software_plan(format, name, crf, encoding.preset, width, height, bits, hdr, notes)


def _hardware_wish(wish: str, default: str) -> list[str]:
    """The hardware encoders to try."""
    if wish == "auto":
        return [f"{default}_{family}" for family in HARDWARE if f"{default}_{family}" in av.codecs_available]
    codec, _, family = wish.partition("_")
    return [wish] if codec in HARDWARE_CODECS and family in HARDWARE else []


def _constant_quality(name: str, encoding: Encoding) -> int:
    """The codec's own number for constant quality (0 is best)."""
    codec = CODECS[name]
    crf, quality = encoding.crf, encoding.quality
    if crf is None and quality is None:
        return codec.default
    if crf is not None and quality is not None:
        raise UsageError("`crf` and `quality` say the same thing: give one of them")
    if not codec.quality:
        raise UsageError(f"{name} has no {'`crf`' if quality is None else '`quality`'}")
    if crf is not None:
        if not 0 <= crf <= codec.worst:
            raise UsageError(f"`crf` must be between 0 (best) and {codec.worst} for {name}, not {crf}")
        return crf
    assert quality is not None
    if not 1 <= quality <= 100:
        raise UsageError(f"`quality` must be between 1 and 100 (best), not {quality}")
    return round(codec.worst * (100 - quality) / 100)


def _depth_notes(bits: int, hdr: bool) -> list[str]:
    if bits <= 8:
        return []
    return ["painted in 8 bits, written in 10 with dither" + (", HDR mapped there and back" if hdr else "")]


def _hardware_plan(format: str, encoder: str, crf: int, preset: str | None, *, odd: bool, deep: bool) -> Plan | None:
    """For a hardware encoder, None if it takes no such pictures."""
    if encoder not in av.codecs_available:
        return Plan(format, encoder, {}, "nv12", 8)  # to fail when it is tried
    bits = 10 if deep else 8
    takes = {format.name for format in av.Codec(encoder, "w").video_formats or ()}
    pix_fmt = next((name for name in (HARDWARE_ODD if odd else HARDWARE_FORMATS)[bits] if name in takes), None)
    if pix_fmt is None:
        return None
    options = HARDWARE[encoder.partition("_")[2]](crf) | ({"preset": preset} if preset else {})
    return Plan(format, encoder, options, pix_fmt, bits)


def _software_plan(
    format: str,
    name: str,
    crf: int,
    preset: str | None,
    width: int,
    height: int,
    bits: int,
    hdr: bool,
    notes: list[str],
) -> Plan:
    codec = CODECS[name]
    odd, deep = bool(width % 2 or height % 2), bits > 8
    pix_fmt = (codec.odd10 if deep else codec.odd8) if odd else (codec.bits10 if deep else codec.bits8)
    if pix_fmt is None and deep and codec.bits8:
        if hdr:
            raise OutputError(f"{name} is written in 8 bits here, too few for HDR: use `codec='hevc'`")
        notes.append(f"{name} is written in 8 bits, the source has {bits}")
        deep, pix_fmt = False, codec.odd8 if odd else codec.bits8
    elif pix_fmt is None and not deep and codec.bits10:
        deep, pix_fmt = True, codec.odd10 if odd else codec.bits10
    if pix_fmt is None:
        raise OutputError(f"{name} cannot hold a picture of {width}x{height}: use `codec='h264'` or ffv1")
    if odd and pix_fmt.startswith("yuv444"):
        notes.append(f"{width}x{height} is odd: written as 4:4:4 {name}, which some players refuse")
    depth = 10 if deep else 8
    options = dict(codec.options)
    if codec.quality:
        options[codec.quality] = str(crf)
    if preset is not None:
        if codec.preset is None:
            raise UsageError(f"{name} has no `preset`")
        options[codec.preset] = preset
    return Plan(format, codec.encoder, options, pix_fmt, depth, (*notes, *_depth_notes(depth, hdr)))


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
            raise UsageError(f"{format} cannot hold {encoding.audio_codec} sound: choose another `audio_codec`")
    return name
