"""Videos through standard input, standard output and named pipes."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.helpers import run_python, tree, wait_until
from support.media_files import make_clip, packets, read_frames

from rtstyle import RtstyleError, stylize_video
from rtstyle.errors import UsageError
from rtstyle.media import pipe as pipes
from rtstyle.media.camera import open_source
from rtstyle.media.pipe import can_be_streamed
from rtstyle.media.reader import VideoReader
from rtstyle.video.inputs import opened_pipe

pytest_plugins = ["support.runtime_fixtures"]
needs_fifo = pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
FIRST = "reading all of {} first, as its index comes last"


@pytest.fixture
def fifo(tmp_path):
    """A named pipe, and a function that has something written into it by a thread."""
    path, threads = tmp_path / "pipe:1", []
    os.mkfifo(path)

    def write(*parts):
        def work():
            with open(path, "wb") as file:
                for part in parts:
                    if callable(part):
                        part()
                    else:
                        file.write(part)
                        file.flush()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield path, write
    for thread in threads:
        thread.join(20)


def contents(path, kind="audio"):
    return [content for _, content in packets(path, kind=kind)]


def test_through_pipes(tmp_path, clip):
    command = [sys.executable, "-m", "rtstyle", "video", "-", "-", "--device", "cpu", "--container", "mkv"]
    done = subprocess.run(command, input=clip.read_bytes(), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    first, second, *_ = done.stderr.decode().splitlines()
    assert first == FIRST.format("standard input")
    assert second == f"standard input: {clip.stat().st_size / 1e6:.1f} MB"
    (tmp_path / "out.mkv").write_bytes(done.stdout)
    assert len(read_frames(tmp_path / "out.mkv")) == 12
    assert contents(tmp_path / "out.mkv") == contents(clip)


@needs_fifo
def test_a_named_pipe_is_read_like_standard_input(tmp_path, call, clip, fifo):
    pipe, write = fifo
    write(clip.read_bytes())
    code, _, err = call("video", pipe, tmp_path / "out.mkv", "--device", "cpu")
    assert code == 0, err
    assert err.startswith(FIRST.format(pipe))
    assert contents(tmp_path / "out.mkv") == contents(clip)
    with pytest.raises(RtstyleError, match="is a pipe, and a video is read twice: write it to a file first"):
        VideoReader(pipe)
    code, _, err = call("video", pipe, tmp_path / "out.mkv", "--resume")
    assert code == 2 and "a job through a pipe cannot be resumed: leave --resume out" in err


@needs_fifo
def test_a_named_pipe_is_painted_from_python_and_by_cam(tmp_path, call, stylizer, fifo):
    source = make_clip(tmp_path / "12:30.ts", tracks=0)
    pipe, write = fifo
    write(source.read_bytes())
    assert stylize_video(pipe, tmp_path / "out.mkv", stylizer).frames == 12
    write(source.read_bytes())
    cam = ("cam", "--headless", "--device", "cpu", "-q", "--source")
    assert call(*cam, pipe, "--record", tmp_path / "live.mkv") == (0, "", "")
    assert read_frames(tmp_path / "live.mkv")
    write(bytes(1 << 17))
    code, _, error = call(*cam, pipe)
    assert code == 1 and error.endswith("pipe:1 is no video that can be read forward, such as MPEG-TS\n")
    with pytest.raises(UsageError, match="a job through a pipe cannot be resumed: leave `resume` out"):
        stylize_video(pipe, tmp_path / "again.mkv", stylizer, resume=True)


@needs_fifo
def test_a_pipe_that_nobody_writes_into_is_a_sentence(monkeypatch, fifo):
    monkeypatch.setattr("rtstyle.media.camera.OPEN_SECONDS", 0.3)
    pipe, write = fifo
    with pytest.raises(RtstyleError, match=r"the pipe .* gives no video in 0 s: is one written into it\?"):
        open_source(str(pipe))
    write()  # lets the thread go that still waits


@needs_fifo
@pytest.mark.parametrize("ending", ["mkv", "mov", "avi", "ts"])
def test_what_can_be_read_forward_gives_the_same_without_a_wait(tmp_path, call, stylizer, fifo, ending):
    source = make_clip(tmp_path / f"in.{ending}", tracks=0 if ending == "ts" else 1)
    if ending == "mov":
        stylize_video(source, tmp_path / "faststart.mov", stylizer, strength=0)
        source = tmp_path / "faststart.mov"
    pipe, write = fifo
    write(source.read_bytes())
    assert call("video", pipe, tmp_path / "piped.mkv", "--device", "cpu", "-q") == (0, "", "")
    assert call("video", source, tmp_path / "file.mkv", "--device", "cpu", "-q")[0] == 0
    for kind in ("video",) if ending == "ts" else ("video", "audio"):
        assert contents(tmp_path / "piped.mkv", kind) == contents(tmp_path / "file.mkv", kind)


@needs_fifo
def test_it_is_painted_while_it_comes(tmp_path, stylizer, fifo):
    source = make_clip(tmp_path / "in.mkv", frames=120).read_bytes()
    pipe, write = fifo
    painted = threading.Event()
    write(source[: len(source) // 2], lambda: painted.wait(30), source[len(source) // 2 :])
    with opened_pipe(str(pipe)) as opened:
        result = stylize_video(opened, tmp_path / "out.mkv", stylizer, progress=lambda progress: painted.set())
    assert painted.is_set() and result.frames == 120
    assert contents(tmp_path / "out.mkv") == contents(tmp_path / "in.mkv")


@needs_fifo
def test_a_pipe_is_not_read_further_ahead_than_need_be(tmp_path, monkeypatch, fifo):
    monkeypatch.setattr(pipes, "AHEAD", 1 << 16)
    monkeypatch.setattr(pipes, "CHUNK", 1 << 12)
    pipe, write = fifo
    write(bytes(1 << 20))
    with opened_pipe(str(pipe)) as opened:
        time.sleep(0.3)
        assert opened.path.stat().st_size <= (1 << 16) + (1 << 12)
        read = 0
        while data := opened.read(50_000):
            read += len(data)
        assert read == 1 << 20


@needs_fifo
def test_a_slow_pipe_is_heard_of(caplog, monkeypatch, fifo):
    caplog.set_level("INFO", "rtstyle")
    monkeypatch.setattr(pipes, "SAY_SECONDS", 0.0)
    monkeypatch.setattr(pipes, "TICK", 0.05)
    pipe, write = fifo
    write(b"\0\0\0\x08ftyp", bytes(5 << 20), lambda: wait_until(lambda: len(caplog.messages) > 1))
    with opened_pipe(str(pipe)) as opened:
        assert opened.complete and opened.path.stat().st_size == 8 + (5 << 20)
    assert caplog.messages[0] == FIRST.format(pipe)
    assert caplog.messages[1].startswith(f"{pipe}: ") and caplog.messages[1].endswith(" MB so far")
    assert caplog.messages[-1] == f"{pipe}: 5.2 MB"
    assert not opened.path.exists()


@needs_fifo
def test_what_is_no_video_is_a_sentence(tmp_path, call, fifo):
    pipe, write = fifo
    write(bytes(100_000))
    code, _, err = call("video", pipe, tmp_path / "out.mkv", "-q")
    assert (
        code == 1
        and err == f"rtstyle: {pipe} is not a video that can be opened (Invalid data found when processing input)\n"
    )


@needs_fifo
@pytest.mark.real_time
@pytest.mark.parametrize("given", [b"", "half"])
def test_ctrl_c_ends_the_wait_for_a_pipe(tmp_path, fifo, given):
    source = make_clip(tmp_path / "in.mkv", frames=48).read_bytes()
    (tmp_path / "in.mkv").unlink()
    pipe, write = fifo
    over = threading.Event()
    write(source[: len(source) // 2] if given else b"", lambda: over.wait(60))
    work, results = tmp_path / "temporary", tmp_path / "results"
    work.mkdir()
    results.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "rtstyle", "video", str(pipe), str(results / "out.mkv"), "--device", "cpu"],
        env=os.environ | {"TMPDIR": str(work)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any(results.iterdir()) if given else any(work.iterdir()), 60)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, err = process.communicate(timeout=60)
    over.set()
    assert time.monotonic() - sent < 10
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in err, err
    assert tree(work) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="starts a shell")
def test_a_closed_standard_input_is_a_sentence(tmp_path):
    command = f'"{sys.executable}" -m rtstyle video - out.mkv --device cpu <&-'
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "rtstyle: standard input is closed: there is no video to read\n")
    assert tree(tmp_path) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_no_room_for_what_a_pipe_gives_is_a_sentence(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    program = (
        "import resource, subprocess, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from rtstyle.cli import main; main()"
    )
    with open(source, "rb") as stdin:
        done = run_python("-c", program, "video", "-", tmp_path / "out.mkv", "--device", "cpu", "-q", stdin=stdin)
    assert done.returncode == 1
    assert "standard input could not be kept in" in done.stderr or "out.mkv could not be written" in done.stderr
    assert set(tree(tmp_path)) == {"in.mkv"}


def test_movies_whose_index_comes_last_cannot_be_streamed():
    def box(kind, size=8):
        return size.to_bytes(4, "big") + kind + bytes(size - 8)

    assert can_be_streamed(b"\x1aE\xdf\xa3" + bytes(100)) and can_be_streamed(b"")
    assert can_be_streamed(box(b"ftyp", 32) + box(b"free", 100) + box(b"moov", 500))
    assert not can_be_streamed(box(b"ftyp", 32) + box(b"mdat", 500) + box(b"moov", 500))
    assert not can_be_streamed(box(b"ftyp", 32) + box(b"free", 32)[:12])
    assert not can_be_streamed(bytes(4) + b"ftyp" + bytes(100))
