"""What `--ray` needs and refuses, and what is left of a driver that was killed: without a cluster of the tests' own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from support import ray_cluster as ray_support
from support.media_files import timestamps
from support.ray_cluster import SEGMENT

from rtstyle import DeviceError, RtstyleError, UsageError
from rtstyle.cli.files import Machines
from rtstyle.video.farm import stylize_videos

pytest_plugins = ["support.runtime_fixtures", "support.ray_cluster"]


def test_a_killed_driver_leaves_no_process_behind(tmp_path, film):
    """With a Ray of its own. What it had painted is there for --resume."""
    out, mark = tmp_path / "out.mkv", f"RTSTYLE_TEST_MARK={os.urandom(8).hex()}"

    def command(of_segments, *options):
        program = (
            "from rtstyle.video import convert; import functools; from rtstyle import cli\n"
            f"convert.{of_segments} = functools.partial(convert.{of_segments}, segment_frames={SEGMENT})\n"
            "cli.main()"
        )
        return [sys.executable, "-c", program, "video", str(film), str(out), "--device", "cpu", *options]

    environment = {**os.environ, mark.partition("=")[0]: mark.partition("=")[2]}
    parent = subprocess.Popen(
        [sys.executable, "-c", ray_support.NO_REAPER, *command("Options", "--ray")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent, contextlib.ExitStack() as stack:
        stack.callback(parent.kill)
        driver = int(parent.stdout.readline())
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".out.mkv.rtstyle/segment-*.json")):
            assert time.monotonic() < deadline and os.path.exists(f"/proc/{driver}/environ")
            time.sleep(0.02)
        (session,) = ray_support.sessions(driver)
        assert len(ray_support.belonging(mark, session)) > 7
        os.kill(driver, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while left := ray_support.belonging(mark, session) - {parent.pid}:
            assert time.monotonic() < deadline, f"still there: {[Path(f'/proc/{p}/cmdline').read_text() for p in left]}"
            time.sleep(0.2)
    resume = command("stylize_video", "--resume")  # without Ray, whose start takes longer
    result = subprocess.run(resume, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "of them from the interrupted run" in result.stderr
    assert timestamps(out) == timestamps(film)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--ray", "127.0.0.1:1"), "nothing answers at 127.0.0.1:1 (Connection refused): start a cluster there with"),
        (("--ray", "nonsense"), "invalid address of a Ray cluster nonsense: it has the form HOST:PORT"),
        (("--gpus-per-segment", "1"), "--gpus-per-segment is for --ray"),
    ],
)
def test_bad_addresses_are_a_sentence(tmp_path, clip, call, arguments, sentence):
    code, out, err = call("video", clip, tmp_path / "out.mp4", "--device", "cpu", *arguments)
    assert code in (1, 2) and out == "" and sentence in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["a web server", "silence"])
def test_another_service_at_the_address_is_told_from_ray(tmp_path, film, stylizer, answer, monkeypatch):
    monkeypatch.setattr("rtstyle.video.cluster.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)
                with contextlib.suppress(ConnectionError):
                    connection.recv(64)  # until the other side has gone

        threading.Thread(target=serve).start()
        address = "{}:{}".format(*server.getsockname())
        with pytest.raises(
            DeviceError, match=rf"^what answers at {address} is no Ray cluster: its port is the one that"
        ):
            stylize_videos([(str(film), str(tmp_path / "out.mkv"))], stylizer, address=address)


def test_ray_before_the_files_is_explained(tmp_path, clip, call):
    code, _, err = call("video", tmp_path / "x.mp4", tmp_path / "out.mp4", "--ray", clip)
    assert code == 2 and "write it last, or as --ray=local" in err
    code, _, err = call("video", "--ray", clip, tmp_path / "out.mp4")
    assert code == 2 and "write it last, or as --ray=local" in err


def test_a_folder_called_local_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").mkdir()
    Machines("local", None).check()
    (tmp_path / "head").mkdir()
    with pytest.raises(UsageError, match="--ray took head for the address"):
        Machines("head", None).check()


def test_pipes_are_refused(clip, call):
    code, _, err = call("video", clip, "-", "--ray")
    assert code == 2 and "a job through a pipe cannot be painted by Ray: leave --ray out" in err


def test_without_the_package_the_remedy_is_named(tmp_path, clip, stylizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RtstyleError, match=r"Ray is not installed; it comes with: pip install '\.\[farm\]'"):
        stylize_videos([(str(clip), str(tmp_path / "out.mp4"))], stylizer)
