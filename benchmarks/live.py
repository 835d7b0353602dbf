"""The live loop against a real source: motion JPEG over HTTP from another process, frames stamped with their number.

    python benchmarks/live.py [freshness slow restarts switching recording streaming overhead pace] [--seconds 60]

Without names all of them run. A window opens where there is a display (the figures then hold its cost); run it
under Xvfb to do without a screen: `xvfb-run -s '-screen 0 1024x768x24' python benchmarks/live.py`. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2  # noqa: F401 -- before av

import av  # isort: skip
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from markdown import table  # noqa: E402
from support.mjpeg_server import Server, read_stamp  # noqa: E402
from support.stream_listener import Listener, free_port  # noqa: E402

from rtstyle import Stylizer  # noqa: E402
from rtstyle.live.loop import Live  # noqa: E402
from rtstyle.media.camera import open_source  # noqa: E402
from rtstyle.media.capture import Capture  # noqa: E402
from rtstyle.media.streaming import LiveStream  # noqa: E402
from rtstyle.media.window import Window, has_display  # noqa: E402
from rtstyle.paint.painter import Painter  # noqa: E402

FPS = 30


def milliseconds(values, *shares) -> str:
    return " / ".join(f"{np.percentile(values, share) * 1e3:.1f}" for share in shares)


class Run:
    """One run of the live loop at 640x360, with everything that can be read off it."""

    def __init__(self, url, seconds, *, server=None, work_height=360, steady=False, strength=1.0, slow=0.0, **options):
        self.stylizer = Stylizer("starry-night", device="cpu", work_height=work_height)
        self.nets, self.paintings, self.shown = [], [], []
        self._wrap_net(slow)
        painter = Painter(self.stylizer, strength=strength, steady=steady)
        self.capture = Capture(lambda: open_source(url))
        self.server = server
        window = Window() if has_display() else None
        self.heights, self.busy = [], []
        options |= {"on_show": self._note, "on_paint": self._note_painting}
        self.live = Live(self.capture, painter, window=window, **options)
        before = time.process_time()
        self.summary = self.live.run(seconds=seconds)
        self.processor = (time.process_time() - before) / max(1, self.summary.painted)

    def _wrap_net(self, slow):
        run = self.stylizer.run

        def timed(*arguments):
            started = time.monotonic()
            result = run(*arguments)
            if slow:
                time.sleep(max(0.0, slow - (time.monotonic() - started)))
            self.nets.append(time.monotonic() - started)
            return result

        self.stylizer.run = timed

    def _note(self, painted, now):
        age = self.server.age(painted.frame, now) if self.server else 0.0
        wrong = bool(self.server) and read_stamp(painted.picture) != read_stamp(painted.frame)
        self.shown.append((now, painted.time, self.capture.newest.time, age, wrong))

    def _note_painting(self, painted, seconds):
        now = time.monotonic()
        self.paintings.append(now)
        self.busy.append(seconds)
        self.heights.append((now, self.stylizer.work_height))


def freshness(seconds):
    """The picture on display is never older than the newest captured frame by more than one painting + two frames."""
    with Server(FPS, 640, 360) as server:
        run = Run(server.url, seconds, server=server, strength=0.2)
    shown = run.shown[FPS:]
    lags = [newest - before for (_, before, *_), (_, _, newest, *_) in itertools.pairwise(shown)]
    painting = np.percentile(run.busy, 50)
    table(
        f"Freshness: 640x360 at {FPS} fps, {seconds} s",
        {
            "painted / shown / captured": f"{run.summary.painted} / {run.summary.shown} / {run.summary.captured}",
            "painting a frame, ms: median / 99 %": milliseconds(run.busy, 50, 99),
            "display behind the newest capture, ms: median / 99 % / most": milliseconds(lags, 50, 99, 100),
            "allowed (99 %): one painting time + two capture intervals, ms": f"{(painting + 2 / FPS) * 1e3:.1f}",
            "age of the shown frame since it left the server, ms: median / 95 % / 99 %": milliseconds(
                [age for *_, age, _ in shown], 50, 95, 99
            ),
            "pictures whose stamp is not their frame's": sum(wrong for *_, wrong in shown),
        },
    )


def slow(seconds):
    """A net slowed down to a third of the source's rate: no queue grows, and the share dropped is what it must be."""
    with Server(FPS, 640, 360) as server:
        run = Run(server.url, seconds, server=server, strength=0.2, slow=3 / FPS)
    ages = [age for *_, age, _ in run.shown][5:]
    parts = np.array_split(np.array(ages), 6)
    took = np.diff([now for now, *_ in run.shown])
    dropped = run.summary.dropped / (run.summary.dropped + run.summary.painted)
    table(
        f"A net of {3e3 / FPS:.0f} ms under {FPS} fps, {seconds} s",
        {
            "age of the shown frame, ms, median of each sixth of the run": ", ".join(
                f"{np.median(part) * 1e3:.0f}" for part in parts
            ),
            "99 % / most, ms": milliseconds(ages, 99, 100),
            "dropped": f"{dropped:.1%}",
            "by arithmetic (1 - painted rate / source's rate)": f"{1 - 1 / (FPS * took.mean()):.1%}",
        },
    )


def restarts(_seconds):
    """The server is killed and started again ten times."""
    server = Server(FPS, 640, 360).start()
    stylizer = Stylizer("starry-night", device="cpu", work_height=360)
    before = threading.active_count()
    capture = Capture(lambda: open_source(server.url))
    live = Live(capture, Painter(stylizer))
    loop = threading.Thread(target=lambda: live.run(seconds=200))
    loop.start()
    times, counts = [], []
    while live.statistics.painted < 10:
        time.sleep(0.01)
    for i in range(10):
        server.kill()
        while not capture.problem:
            time.sleep(0.01)
        time.sleep(0.3 + 0.4 * i)  # up to four seconds away
        painted = live.statistics.painted
        server.start()
        back = time.monotonic()
        while live.statistics.painted == painted:
            time.sleep(0.002)
        times.append(time.monotonic() - back)
        time.sleep(0.2)
        counts.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
    live.press("q")
    loop.join()
    server.kill()
    table(
        "Killed and restarted ten times",
        {
            "seconds from the server's return to the next painted frame": ", ".join(f"{t:.2f}" for t in times),
            "threads, file handles after the first and the last restart": f"{counts[0]}, {counts[-1]}",
            "threads left at the end": threading.active_count() - before,
        },
    )


def switching(_seconds):
    """200 style switches while running, against runs without, alternating."""
    frame = np.random.default_rng(0).integers(0, 255, (45, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    stylizer = Stylizer("starry-night", device="cpu", work_height=360)
    times, memory = {True: [], False: []}, []

    class Still:
        returns = False
        read = staticmethod(lambda: time.sleep(0.001) or frame)
        wake = close = staticmethod(lambda: None)

    for on in (False, True) * 4:
        moments, keys = [], []

        def note(painted, now, moments=moments, keys=keys, on=on):
            moments.append(now)
            if on and len(moments) % 8 == 0:
                keys[0](str(len(moments) // 8 % 8 + 1))

        live = Live(Capture(Still), Painter(stylizer), target_fps=None, on_show=note)
        keys.append(live.press)
        live.run(frames=410)
        times[on] += np.diff(moments[10:]).tolist()
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    ratio = np.percentile(times[True], 99) / np.percentile(times[False], 99)
    table(
        "200 style switches, each with a crossfade of half a second, against runs without",
        {
            "ms a frame without switching: median / 99 %": milliseconds(times[False], 50, 99),
            "ms a frame with switching: median / 99 %": milliseconds(times[True], 50, 99),
            "ratio of the 99 %": f"{ratio:.2f}",
            "peak memory after each run, MiB": ", ".join(f"{m:.0f}" for m in memory),
        },
    )


def recording(_seconds):
    """20 s recorded, ended in four ways."""
    rows = {}
    with Server(FPS, 640, 360) as server, tempfile.TemporaryDirectory() as folder:
        for how in ("q", "closing the window", "Ctrl-C", "SIGTERM"):
            out = Path(folder) / f"{len(rows)}.mp4"
            command = [sys.executable, "-m", "rtstyle", "cam", "--source", server.url, "--record", str(out)]
            if not has_display():
                command.append("--headless")
                if how in ("q", "closing the window"):
                    rows[how] = "needs a display"
                    continue
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            while not list(Path(folder).glob(".*-part.mp4")):
                if process.poll() is not None:
                    sys.exit(f"rtstyle cam ended before it recorded: {process.stderr.read().strip()}")
                time.sleep(0.01)
            started = time.monotonic()
            time.sleep(20)
            end_it(process, how)
            asked = time.monotonic() - started
            process.wait(timeout=30)
            with av.open(str(out)) as container:
                video = container.streams.video[0]
                frames = sum(1 for _ in container.decode(video))
                duration = float(video.duration * video.time_base)
            rows[how] = f"exit {process.returncode}, {frames} frames, {duration:.3f} s of {asked:.3f} s"
    table("Recording for 20 s", rows)


def end_it(process, how):
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    elif how == "SIGTERM":
        process.terminate()
    else:
        window = subprocess.run(
            ["xdotool", "search", "--sync", "--name", "^rtstyle$"], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        subprocess.run(["xdotool", "windowfocus", "--sync", window], check=True)
        subprocess.run(["xdotool", "key", "q" if how == "q" else "alt+F4"], check=True)


def streaming(seconds):
    """Sent by RTMP beside the window, to a listener that is killed and started again, and to nobody; from a source that
    leaves the processor time to spare, as with 30 fps on two cores there is none to send anything with."""
    address = f"rtmp://127.0.0.1:{free_port()}/live/key"
    back, done = [], threading.Event()

    def listen():
        while not done.is_set():
            started, listener = time.monotonic(), Listener(address, ("nice", "-n", "19"))
            listener.frames.get(timeout=60)
            back.append(time.monotonic() - started)
            done.wait(3)
            listener.kill()

    rates: dict[str, list[float]] = {}
    with Server(FPS / 2, 640, 360) as server:
        for _ in range(2):
            for name in ("without a stream", "to a listener that is killed every 3 s", "to nobody"):
                stream = None if name == "without a stream" else LiveStream(address)
                listening = threading.Thread(target=listen)
                if "listener" in name:
                    done.clear()
                    listening.start()
                run = Run(server.url, seconds / 3, server=server, stream=stream)
                done.set()
                if listening.ident:
                    listening.join()
                rates.setdefault(name, []).append(run.summary.shown / run.summary.seconds)
    table(
        f"Streaming by RTMP, {FPS / 2:.0f} fps, display {'on' if has_display() else 'off'}",
        {f"shown a second, {name}": ", ".join(f"{rate:.1f}" for rate in found) for name, found in rates.items()}
        | {"seconds from a listener's start to its first frame": ", ".join(f"{took:.1f}" for took in back)},
    )


def overhead(seconds):
    """What rtstyle adds to the net's own time, a live source of 640x360 at 30 fps, --work-height 360."""
    frame = np.random.default_rng(0).integers(0, 255, (1, 45, 80, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    stylizer = Stylizer("starry-night", device="cpu")

    def alone(count=150):
        """The net alone, once every 33 ms as in the live loop."""
        times = []
        for _ in range(count):
            started = time.monotonic()
            stylizer.run(frame)
            times.append(time.monotonic() - started)
            time.sleep(max(0.0, 1 / FPS - times[-1]))
        return times[5:]

    rows = {}
    with Server(FPS, 640, 360) as server:
        for steady in (False, True):
            nets, inside, busy, painted, processor, delay = [], [], [], [], [], []
            for _ in range(3):
                nets += alone()
                run = Run(server.url, seconds / 6, steady=steady)
                busy += run.busy[10:]
                inside += run.nets[10 : len(run.busy)]
                painted.append(run.summary.painted / run.summary.seconds)
                processor.append(run.processor)
                delay.append(run.summary.delay_ms)
            net, added = np.median(nets), np.median(np.subtract(busy, inside))
            rows |= {
                f"{'steady' if steady else 'not steady'}: painted a second": f"{np.mean(painted):.1f}",
                "net alone at that pace, ms: median / 95 %" + " " * steady: milliseconds(nets, 50, 95),
                "painting thread busy a frame, ms: median / 95 %" + " " * steady: milliseconds(busy, 50, 95),
                "of which the net, ms: median / 95 %" + " " * steady: milliseconds(inside, 50, 95),
                "added to the net, frame by frame"
                + " " * steady: f"{added * 1e3:.2f} ms, {added / net:.0%} of its time",
                "processor time a frame, all threads, ms" + " " * steady: f"{np.mean(processor) * 1e3:.0f}",
                "capture to display, ms (median)" + " " * steady: f"{np.mean(delay):.1f}",
            }
    table(f"Overhead, display {'on' if has_display() else 'off'}", rows)


def pace(seconds):
    """The frame-rate controller: which working height it settles at, for sources of several sizes and rates."""
    rows = {}
    for width, height, fps in ((640, 360, 30), (1280, 720, 30), (1280, 720, 60)):
        with Server(fps, width, height) as server:
            run = Run(server.url, max(20, seconds / 2), work_height="auto", target_fps=fps)
        late = run.paintings[len(run.paintings) // 2 :]
        changes = [b for (_, a), (_, b) in itertools.pairwise(run.heights) if a != b]
        rows[f"{width}x{height} at {fps} fps"] = (
            f"{(len(late) - 1) / (late[-1] - late[0]):.1f} painted a second at working height {run.heights[-1][1]} "
            f"(changes: {', '.join(map(str, changes)) or 'none'})"
        )
    table("Holding the frame rate", rows)


BENCHMARKS = {f.__name__: f for f in (freshness, slow, restarts, switching, recording, streaming, overhead, pace)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="which to run")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        BENCHMARKS[arguments.names[0]](arguments.seconds)
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so their own
    for name in arguments.names or BENCHMARKS:
        # a process each: idle ONNX Runtime sessions of an earlier one would spin
        command = [sys.executable, __file__, name, "--seconds", str(arguments.seconds), "--inner"]
        if subprocess.run(command).returncode:
            print(json.dumps({"failed": name}))


if __name__ == "__main__":
    main()
