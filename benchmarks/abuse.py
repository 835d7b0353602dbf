"""What rtstyle does with what nobody should give it: a table of counts, and every fault with its command.

    python benchmarks/abuse.py [mutants kills signals disks models servers pictures]
                               [--seed 0] [--mutants 200] [--kills 20] [--jobs 1] [--rtstyle PATH] [--keep DIR]

Runs the installed command line in processes of their own, each in an empty folder, with a time limit:

- mutants: clips of twelve containers and codecs with bytes changed, cut out, doubled or zeroed, through
  `rtstyle video`;
- kills: `rtstyle video` ended by SIGKILL at a random moment, then `--resume`: the packets of an undisturbed run;
- signals: SIGINT, SIGTERM and SIGHUP at five moments to `video`, `cam --headless --record` and `image` on a folder;
- disks: results that do not fit (a file size limit stands in for a full disk);
- models: files that are no models, models that claim, compute or return the impossible;
- servers: HTTP sources that answer wrongly, slowly, endlessly or not at all, through `rtstyle cam --headless`;
- pictures: odd and broken picture files, through `rtstyle image`.

A run passes if it ends in time, with exit code 0 and its result whole, or with another code, a sentence and no result;
without a traceback, without a message that calls itself a bug, and without files left over. Exits with 1 if any run
fails.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

LIMIT = 60.0  # seconds a run may take
MEMORY = 3 << 30  # bytes a run may hold
MOMENTS = (0.05, 0.4, 0.8, 1.2, 2.0)  # seconds after the start at which signals arrive
SIZE, FRAMES, RATE = (96, 64), 24, 12
BUG_MARKS = ("Traceback (most recent call last)", "(a bug", "Segmentation fault", "core dumped")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative for a signal, None for the time limit), messages, seconds, peak memory."""

    code: int | None
    stderr: str
    seconds: float
    peak: int


@dataclasses.dataclass(frozen=True)
class Result:
    """One run: its section and name, and what is wrong with it (empty if it passed)."""

    section: str
    name: str
    fault: str
    how: str  # painted, refused, interrupted or resumed


@dataclasses.dataclass
class Bench:
    """What all sections share: the command under test, the seed, and where to work."""

    command: list[str]
    seed: int
    folder: Path

    def run(
        self,
        arguments: list[str],
        where: Path,
        *,
        limit: float = LIMIT,
        send: tuple[signal.Signals, float] | None = None,
        file_limit: int | None = None,
    ) -> Ended:
        """Run the command in a folder; `send` is a signal and the seconds after which it is sent."""

        def bound() -> None:
            if file_limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does: writing fails instead
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        started, said = time.monotonic(), bytearray()
        process = subprocess.Popen(
            [*self.command, *arguments],
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=bound,
            start_new_session=True,
        )
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: said.extend(process.stderr.read()), daemon=True)
        reader.start()
        if send:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(send[1])
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(send[0])
        peak, code = 0, None
        while time.monotonic() - started < limit:
            peak = max(peak, peak_memory(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(0.05)
                break
        if code is None:
            process.kill()
            process.wait()
        reader.join(5)
        text = bytes(said).decode(errors="replace")
        return Ended(code, text, time.monotonic() - started, peak)

    def room(self, name: str) -> Path:
        """An empty folder for one run."""
        where = self.folder / name.replace("/", "_")
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        return where


def peak_memory(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def judge(ended: Ended, *, results: set[str], found: set[str], whole: Callable[[], bool]) -> tuple[str, str]:
    """(how a run ended, what is wrong with it). `results` are the names that a finished run leaves, `found` those that
    are there now, `whole` looks into them."""
    how = {0: "painted", 130: "interrupted"}.get(ended.code if ended.code is not None else -1, "refused")
    if ended.code is None:
        return how, f"still running after {ended.seconds:.0f} s"
    marks = [mark for mark in BUG_MARKS if mark in ended.stderr]
    if marks:
        return how, f"says {marks[0]!r}: {ended.stderr.strip().splitlines()[-1][:200]}"
    if ended.code < 0 and -ended.code not in (signal.SIGKILL, signal.SIGHUP):
        return how, f"ended by signal {-ended.code}"
    if ended.peak > MEMORY:
        return how, f"took {ended.peak >> 20} MB"
    if ended.code == 0:
        if not results <= found:
            return how, f"exit code 0, but no {', '.join(sorted(results - found))}"
        if not whole():
            return how, "exit code 0, but the result is not whole"
        left = found - results
    else:
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        if not said:
            return how, f"exit code {ended.code} without a word"
        left = found if how == "refused" else set()  # an interrupted job keeps its partial files and says so
    return how, f"left {', '.join(sorted(left))}" if left else ""


def names_in(where: Path, besides: set[str]) -> set[str]:
    return {path.name for path in where.iterdir()} - besides


# -- clips


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
    with contextlib.suppress(av.error.FFmpegError), av.open(str(path)) as container:
        return any(True for _ in container.decode(video=0))
    return False


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    """Time stamp and bytes of every packet."""
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux() if packet.size]


VIDEO = ["--device", "cpu", "--work-height", "32"]


def mutants(bench: Bench, count: int) -> Iterator[Callable[[], Result]]:
    originals = clips(bench.room("clips"))
    for number in range(count):
        name = list(originals)[number % len(originals)]
        chance = random.Random(f"{bench.seed} {number}")

        def one(name=name, number=number, chance=chance) -> Result:
            where = bench.room(f"mutant{number}")
            (where / name).write_bytes(mutate(originals[name], chance))
            ended = bench.run(["video", name, "out.mkv", *VIDEO], where)
            found = names_in(where, {name})
            how, fault = judge(ended, results={"out.mkv"}, found=found, whole=lambda: is_video(where / "out.mkv"))
            return finished(bench, where, Result("mutants", f"{name} {number}", fault, how))

        yield one


def kills(bench: Bench, count: int) -> Iterator[Callable[[], Result]]:
    folder = bench.room("original")
    make_clip(folder / "in.mp4", "libx264", "aac", frames=40 * RATE)
    whole = bench.run(["video", "in.mp4", "out.mkv", *VIDEO], folder)
    if whole.code != 0:
        raise SystemExit(f"the undisturbed run fails: {whole.stderr}")
    expected = packets(folder / "out.mkv")
    for number in range(count):
        moment = random.Random(f"{bench.seed} kill {number}").uniform(0.2, whole.seconds)

        def one(number=number, moment=moment) -> Result:
            where = bench.room(f"kill{number}")
            shutil.copy(folder / "in.mp4", where)
            bench.run(["video", "in.mp4", "out.mkv", *VIDEO], where, send=(signal.SIGKILL, moment))
            finished_before = (where / "out.mkv").exists()
            command = ["video", "in.mp4", "out.mkv", *VIDEO, "--resume", *(["--force"] if finished_before else [])]
            ended = bench.run(command, where)
            same = ended.code == 0 and packets(where / "out.mkv") == expected
            _, fault = judge(ended, results={"out.mkv"}, found=names_in(where, {"in.mp4"}), whole=lambda: same)
            return finished(bench, where, Result("kills", f"after {moment:.2f} s", fault, "resumed"))

        yield one


def signals(bench: Bench) -> Iterator[Callable[[], Result]]:
    folder = bench.room("sources")
    make_clip(folder / "in.mp4", "libx264", "aac", frames=100 * RATE)
    pictures = folder / "in"
    pictures.mkdir()
    for i in range(40):
        Image.fromarray(scene(i)).resize((960, 640)).save(pictures / f"{i}.png")
    jobs = {
        "video": ["video", "in.mp4", "out.mkv", *VIDEO],
        "cam": ["cam", "--source", "in.mp4", "--headless", "--loop", "--record", "out.mkv", *VIDEO],
        "image": ["image", "in", "out", "--device", "cpu"],
    }
    for job, command in jobs.items():
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for moment in MOMENTS:

                def one(job=job, command=command, kind=kind, moment=moment) -> Result:
                    where = bench.room(f"{job}_{kind.name}_{moment}")
                    (where / "in.mp4").symlink_to(folder / "in.mp4")
                    (where / "in").symlink_to(pictures)
                    ended = bench.run(command, where, send=(kind, moment), limit=moment + 20)
                    fault = interrupted_fault(ended, where, job, moment)
                    return finished(bench, where, Result("signals", f"{job} {kind.name} at {moment} s", fault, "ended"))

                yield one


def interrupted_fault(ended: Ended, where: Path, job: str, moment: float) -> str:
    """What is wrong with a run that a signal ended: late, torn, or not playable."""
    if ended.code is None or ended.seconds > moment + 10:
        return f"ended {ended.seconds - moment:.0f} s after the signal"
    marks = [mark for mark in BUG_MARKS if mark in ended.stderr]
    if marks:
        return f"says {marks[0]!r}"
    out = where / "out.mkv"
    if job == "cam" and moment >= 1.2 and not is_video(out):
        return "the recording is not whole"
    if job == "video" and ended.code == 0 and not is_video(out):
        return "exit code 0 without a result"
    if job == "image":
        torn = [path.name for path in (where / "out").glob("*") if not is_picture(path)]
        if torn:
            return f"left {', '.join(sorted(torn))}"
    return ""


def disks(bench: Bench) -> Iterator[Callable[[], Result]]:
    folder = bench.room("large")
    make_clip(folder / "in.mp4", "libx264", "aac", frames=20 * RATE)
    Image.fromarray(scene(1)).resize((960, 640)).save(folder / "in.png")
    commands = {
        "video": (["video", "in.mp4", "out.mkv", *VIDEO], {"out.mkv"}),
        "cam": (["cam", "--source", "in.mp4", "--headless", "--record", "out.mkv", *VIDEO], {"out.mkv"}),
        "image": (["image", "in.png", "out.png", "--device", "cpu"], {"out.png"}),
        "sheet": (["styles", "--sheet", "out.png"], {"out.png"}),
    }
    for job, (command, results) in commands.items():
        for limit in (0, 4096, 65536):

            def one(job=job, command=command, results=results, limit=limit) -> Result:
                where = bench.room(f"disk_{job}_{limit}")
                for name in ("in.mp4", "in.png"):
                    (where / name).symlink_to(folder / name)
                ended = bench.run(command, where, file_limit=limit)
                found = names_in(where, {"in.mp4", "in.png"})
                kept = {name for name in found if "partial" in name} | (results if job == "cam" else set())
                how, fault = judge(ended, results=results, found=found - (kept - results), whole=lambda: True)
                if ended.code != 0 and job == "cam" and fault.startswith("left"):
                    fault = ""  # a recording is cut to what fits
                return finished(bench, where, Result("disks", f"{job} within {limit} bytes", fault, how))

            yield one


# -- models


def hostile_models() -> dict[str, bytes]:
    """Files that take the place of a model. Needs the package onnx."""
    import onnx
    from onnx import TensorProto, helper

    def model(nodes, inputs, outputs, initializers=(), **metadata) -> bytes:
        graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=initializers)
        built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(built, {key.replace("__", "."): value for key, value in metadata.items()})
        return built.SerializeToString()

    def values(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    byte, real = TensorProto.UINT8, TensorProto.FLOAT
    nchw, frames = ["N", 3, "H", "W"], ["N", "H", "W", 3]
    given = [values("x", real, nchw)]
    found = {
        "empty": b"",
        "text": b"this is no model",
        "zeros": bytes(4096),
        "random": random.Random(1).randbytes(20000),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "no graph": onnx.ModelProto(ir_version=8).SerializeToString(),
        "no outputs": model([], given, []),
        "two inputs": model(
            [helper.make_node("Add", ["x", "y"], ["z"])], [*given, values("y", real, nchw)], [values("z", real, nchw)]
        ),
        "unknown operator": model([helper.make_node("Nonsense", ["x"], ["y"])], given, [values("y", real, nchw)]),
        "cycle": model(
            [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])],
            given,
            [values("b", real, nchw)],
        ),
        "one channel": model(
            [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)], given, [values("y", real, None)]
        ),
        "no pixels": model(
            [helper.make_node("Slice", ["x", "a", "a"], ["y"])],
            given,
            [values("y", real, None)],
            [helper.make_tensor("a", TensorProto.INT64, [1], [0])],
        ),
        "other size": model(
            [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[3, 3])],
            given,
            [values("y", real, None)],
        ),
        "NaN": model(
            [helper.make_node("Sub", ["x", "x"], ["o"]), helper.make_node("Div", ["o", "o"], ["y"])],
            given,
            [values("y", real, nchw)],
        ),
        "one colour": model([helper.make_node("Sub", ["x", "x"], ["y"])], given, [values("y", real, nchw)]),
        "strings": model([], [values("x", TensorProto.STRING, nchw)], [values("x", TensorProto.STRING, nchw)]),
        "huge weight": model(
            [helper.make_node("Expand", ["x", "s"], ["y"])],
            given,
            [values("y", real, None)],
            [helper.make_tensor("s", TensorProto.INT64, [5], [4096, 64, 3, 512, 512])],
        ),
        "external data outside": external(model, values, helper, onnx),
        "never ends": endless(model, values, helper, onnx),
    }
    for side in (0, -1, 20000, 60000, 2**31, 2**40):
        found[f"fixed to {side}"] = model(
            [helper.make_node("Relu", ["x"], ["y"])], [values("x", real, [1, 3, side, side])], [values("y", real, nchw)]
        )
    paints = [helper.make_node("Identity", ["frames"], ["stylized"])]
    own = [values("frames", byte, frames)], [values("stylized", byte, frames)]
    whole = {"rtstyle__format": "1", "rtstyle__body": "live", "rtstyle__body_sha256": "0" * 64}
    for name, metadata in {
        "format 99": {**whole, "rtstyle__format": "99"},
        "styles no JSON": {**whole, "rtstyle__styles": "["},
        "styles a number": {**whole, "rtstyle__styles": "7"},
        "styles deep": {**whole, "rtstyle__styles": "[" * 100000},
        "styles of numbers": {**whole, "rtstyle__styles": "[1, 2]"},
        "styles without names": {**whole, "rtstyle__styles": "[{}]", "rtstyle__codes": ""},
        "name a path": {**whole, "rtstyle__styles": '[{"name": "../../etc/passwd"}]', "rtstyle__codes": "AAAA"},
        "name with escapes": {**whole, "rtstyle__styles": '[{"name": "\\u001b[2J\\n"}]', "rtstyle__codes": "AAAA"},
        "codes no base64": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__codes": "!!!!"},
        "codes short": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__codes": "AAAAAAAA"},
        "height 0": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__reference_height": "0"},
        "height a word": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__reference_height": "tall"},
        "training no JSON": {**whole, "rtstyle__styles": '[{"name": "a"}]', "rtstyle__training": "{"},
        "thumbnail no picture": {**whole, "rtstyle__styles": '[{"name": "a", "thumbnail": "AAAA"}]'},
    }.items():
        found[name] = model(paints, *own, **metadata)
    good = model(paints, *own, **whole, rtstyle__styles='[{"name": "a"}]')
    for number in range(60 - len(found)):
        found[f"mutant {number}"] = mutate(good, random.Random(f"model {number}"))
    return found


def external(model, values, helper, onnx) -> bytes:
    """Weights that are said to lie in a file outside of the model's folder."""
    weight = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../../../../etc/passwd")
    given = [values("x", 1, ["N", 3, "H", "W"])]
    return model([helper.make_node("Mul", ["x", "w"], ["y"])], given, [values("y", 1, ["N", 3, "H", "W"])], [weight])


def endless(model, values, helper, onnx) -> bytes:
    """A loop that goes round 2^62 times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])],
        "body",
        [values("i", 7, []), values("c", 9, []), values("v", 1, None)],
        [values("c2", 9, []), values("v2", 1, None)],
    )
    trips = helper.make_tensor("trips", 7, [], [2**62])
    yes = helper.make_tensor("yes", 9, [], [True])
    return model(
        [helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body)],
        [values("x", 1, ["N", 3, "H", "W"])],
        [values("y", 1, None)],
        [trips, yes],
    )


def models(bench: Bench) -> Iterator[Callable[[], Result]]:
    folder = bench.room("pictures")
    Image.fromarray(scene(1)).save(folder / "in.png")
    for name, data in hostile_models().items():

        def one(name=name, data=data) -> Result:
            where = bench.room(f"model_{name}")
            shutil.copy(folder / "in.png", where)
            (where / "model.onnx").write_bytes(data)
            command = ["image", "in.png", "out.png", "--model", "model.onnx", "--device", "cpu"]
            ended = bench.run(command, where, limit=150)
            found = names_in(where, {"in.png", "model.onnx"})
            how, fault = judge(ended, results={"out.png"}, found=found, whole=lambda: is_picture(where / "out.png"))
            return finished(bench, where, Result("models", name, fault, how))

        yield one


# -- servers


def multipart(part: bytes, *, length: int | None = None, boundary: bytes = b"b", kind: bytes = b"image/jpeg") -> bytes:
    size = len(part) if length is None else length
    return b"--" + boundary + b"\r\nContent-Type: " + kind + b"\r\nContent-Length: %d\r\n\r\n" % size + part + b"\r\n"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"


def hostile_servers() -> dict[str, Callable[[socket.socket], None]]:
    """What a server does with a connection whose request has been read."""
    jpeg = cv2.imencode(".jpg", scene(1))[1].tobytes()
    chance = random.Random(5)

    def send(*parts: bytes, wait: float = 0.0, times: int = 1) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            for _ in range(times):
                for part in parts:
                    connection.sendall(part)
                    time.sleep(wait)

        return answer

    def hold(*parts: bytes) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            for part in parts:
                connection.sendall(part)
            time.sleep(30)

        return answer

    def reset(*parts: bytes) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            for part in parts:
                connection.sendall(part)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        return answer

    forever = 10**6
    found = {
        "says nothing": hold(),
        "closes at once": send(),
        "resets at once": reset(),
        "half a status line": hold(b"HTTP/1."),
        "garbage": send(chance.randbytes(5000)),
        "endless garbage": send(chance.randbytes(1 << 16), times=forever),
        "endless header": send(b"HTTP/1.1 200 OK\r\n", *[b"X-%d: y\r\n" % i for i in range(1000)], times=forever),
        "one long header line": send(b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 22)),
        "redirects to itself": send(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
        "redirects to a file": send(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"),
        "empty body": send(HEAD),
        "head, then nothing": hold(HEAD),
        "part of 2 GB": hold(HEAD, multipart(jpeg, length=2 << 30)),
        "part of 2 GB, sent": send(HEAD, multipart(b"", length=2 << 30), bytes(1 << 20), times=400),
        "part of -1": send(HEAD, multipart(jpeg, length=-1) * 5),
        "length no number": send(HEAD + multipart(jpeg).replace(b"Length: ", b"Length: x") * 5),
        "broken pictures": send(HEAD, multipart(jpeg[: len(jpeg) // 2]), times=50, wait=0.02),
        "empty pictures": send(HEAD, multipart(b""), times=50, wait=0.02),
        "one picture": send(HEAD + multipart(jpeg)),
        "one picture, then nothing": hold(HEAD + multipart(jpeg) * 2),
        "one picture, then reset": reset(HEAD + multipart(jpeg) * 2),
        "other boundary": send(HEAD, multipart(jpeg, boundary=b"c"), times=50, wait=0.02),
        "no boundary": send(HEAD.replace(b"; boundary=b", b""), multipart(jpeg), times=50, wait=0.02),
        "a byte a second": send(HEAD, *[bytes([x]) for x in multipart(jpeg)[:40]], wait=1.0),
        "sizes change": send(
            HEAD, *[multipart(cv2.imencode(".jpg", cv2.resize(scene(1), (8 + 40 * i, 8 + 9 * i)))[1].tobytes())
                    for i in range(12)], times=5, wait=0.05),
        "huge picture": send(HEAD, multipart(huge_jpeg()), times=3),
        "text": send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"),
        "404": send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        "500": send(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        "401": send(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"),
    }  # fmt: skip
    return found


def huge_jpeg() -> bytes:
    """A JPEG that claims 60,000 x 60,000 pixels."""
    data = bytearray(cv2.imencode(".jpg", scene(1))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    return bytes(data)


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on the loopback interface that treats every connection like this: its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    closed = threading.Event()

    def treat(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            connection.recv(65536)
            answer(connection)

    def accept() -> None:
        while not closed.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=treat, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        closed.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def servers(bench: Bench) -> Iterator[Callable[[], Result]]:
    seconds = 6.0
    for name, answer in hostile_servers().items():

        def one(name=name, answer=answer) -> Result:
            where = bench.room(f"server_{name}")
            with serving(answer) as port:
                source = f"http://127.0.0.1:{port}/"
                command = ["cam", "--source", source, "--headless", "--duration", f"{seconds:g}", *VIDEO]
                ended = bench.run(command, where, limit=40)
            how, fault = judge(ended, results=set(), found=names_in(where, set()), whole=lambda: True)
            if not fault and ended.seconds > seconds + 4:  # a second, and the start of the process on a busy machine
                fault = f"--duration {seconds:g} took {ended.seconds:.0f} s"
            return finished(bench, where, Result("servers", name, fault, how))

        yield one


# -- pictures


def odd_pictures(folder: Path) -> None:
    """Picture files of every odd kind, by name."""
    rgb = Image.fromarray(scene(3))
    rgb.convert("1").resize((9000, 9000)).save(folder / "9000 1-bit.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("L").save(folder / "grey.jpg")
    rgb.convert("P").save(folder / "palette.png")
    rgb.convert("P").save(folder / "palette transparent.png", transparency=3)
    rgb.convert("LA").save(folder / "grey alpha.png")
    rgb.convert("RGBA").save(folder / "alpha.webp")
    rgb.convert("YCbCr").save(folder / "ycbcr.tif")
    rgb.convert("LAB").save(folder / "lab.tif")
    rgb.save(folder / "animated.gif", save_all=True, append_images=[Image.fromarray(scene(i)) for i in range(5)])
    rgb.save(folder / "pages.tif", save_all=True, append_images=[rgb] * 3)
    Image.fromarray(np.float32(np.asarray(rgb.convert("L"))) / 255).save(folder / "float.tif")
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(folder / "nan.tif")
    Image.fromarray(np.uint16(np.asarray(rgb.convert("L"))) * 257).save(folder / "16-bit.png")
    Image.fromarray(np.int32(np.asarray(rgb.convert("L"))) << 16).save(folder / "32-bit.tif")
    rgb.resize((1, 1)).save(folder / "one pixel.png")
    rgb.resize((5000, 1)).save(folder / "one row.png")
    rgb.resize((16, 4000)).save(folder / "thin.png")
    for turn in range(1, 10):
        exif = Image.Exif()
        exif[0x0112] = turn
        rgb.save(folder / f"turned {turn}.jpg", exif=exif)
    rgb.save(folder / "broken exif.jpg", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    rgb.save(folder / "broken profile.jpg", icc_profile=b"no profile" * 20)
    rgb.save(folder / "bmp.bmp")
    data = (folder / "grey.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "huge claim.jpg").write_bytes(huge_jpeg())
    (folder / "png as jpg.jpg").write_bytes((folder / "palette.png").read_bytes())
    (folder / "zip bomb.png").write_bytes(png_claim(50000, 50000))
    (folder / "zero size.png").write_bytes(png_claim(0, 0))
    (folder / "folder.png").mkdir()
    (folder / "ä\u202e名.png").write_bytes((folder / "palette.png").read_bytes())


def png_claim(width: int, height: int) -> bytes:
    """A PNG that claims so many pixels of zeros and is whole otherwise."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width // 8)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def is_picture(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
        Image.open(path).load()
        return True
    return False


def pictures(bench: Bench) -> Iterator[Callable[[], Result]]:
    folder = bench.room("odd")
    odd_pictures(folder)
    for path in sorted(folder.iterdir()):

        def one(path=path) -> Result:
            where = bench.room(f"picture_{path.stem[:40]}_{path.suffix[1:]}")
            (where / path.name).symlink_to(path)
            ended = bench.run(["image", path.name, "out.png", "--device", "cpu"], where, limit=120)
            found = names_in(where, {path.name})
            how, fault = judge(ended, results={"out.png"}, found=found, whole=lambda: is_picture(where / "out.png"))
            return finished(bench, where, Result("pictures", path.name, fault, how))

        yield one


# -- all of it


def finished(bench: Bench, where: Path, result: Result) -> Result:
    if not result.fault:
        shutil.rmtree(where, ignore_errors=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = ("mutants", "kills", "signals", "disks", "models", "servers", "pictures")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(sections)}; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=int, default=200, help="how many damaged clips")
    parser.add_argument("--kills", type=int, default=20, help="how many times the job is killed")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--rtstyle", default=None, help="the command [default: this Python's rtstyle]")
    parser.add_argument("--keep", type=Path, help="where to work, and to leave what failed")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(sections):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose from {', '.join(sections)}")
    command = [options.rtstyle] if options.rtstyle else [sys.executable, "-m", "rtstyle"]
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(command, options.seed, folder.resolve())
        plans = {
            "mutants": lambda: mutants(bench, options.mutants),
            "kills": lambda: kills(bench, options.kills),
            "signals": lambda: signals(bench),
            "disks": lambda: disks(bench),
            "models": lambda: models(bench),
            "servers": lambda: servers(bench),
            "pictures": lambda: pictures(bench),
        }
        results: list[Result] = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for section in options.sections or sections:
                for result in pool.map(lambda run: run(), plans[section]()):
                    results.append(result)
                    if result.fault:
                        print(f"{result.section}: {result.name}: {result.fault}", file=sys.stderr)
    print("| | runs | how they ended | faults |\n| --- | --- | --- | --- |")
    for section in options.sections or sections:
        own = [result for result in results if result.section == section]
        how = ", ".join(f"{count} {word}" for word, count in collections.Counter(x.how for x in own).most_common())
        print(f"| {section} | {len(own)} | {how} | {sum(bool(result.fault) for result in own)} |")
    sys.exit(any(result.fault for result in results))


if __name__ == "__main__":
    main()
