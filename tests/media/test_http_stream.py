"""Motion JPEG over HTTP against servers of every kind."""

import base64
import contextlib
import io
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.helpers import in_time

from rtstyle import RtstyleError
from rtstyle.media import http_stream
from rtstyle.media.http_stream import MotionJpeg, open_http

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"


def jpeg(level, side=24):
    data = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(data, "JPEG")
    return data.getvalue()


def part(data, length=None):
    size = len(data) if length is None else length
    return b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % size + data + b"\r\n"


@pytest.fixture
def serve(monkeypatch):
    """A function that gives the address of a server which sends these bytes to everybody, and then waits, or closes.
    `requests` collects what it was asked."""
    monkeypatch.setenv("no_proxy", "*")
    with contextlib.ExitStack() as stack:
        over = threading.Event()
        stack.callback(over.set)

        def start(*parts, hold=False, requests=None):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def treat(connection):
                with contextlib.suppress(OSError), connection:
                    request = connection.recv(65536)
                    if requests is not None:
                        requests.append(request)
                    for one in parts:
                        connection.sendall(one(request) if callable(one) else one)
                    if hold:
                        over.wait(20)

            def accept():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        threading.Thread(target=treat, args=(connection,), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}/video"

        yield start


def levels(source):
    """The grey levels of all its pictures."""
    found = []
    with contextlib.closing(source):
        while (rgb := source.read()) is not None:
            found.append(round(float(rgb.mean())))
    return found


def test_pictures_with_their_lengths(serve):
    source = open_http(serve(HEAD, *(part(jpeg(level)) for level in (10, 120, 250))))
    assert isinstance(source, MotionJpeg) and source.returns
    first = source.read()
    assert first.shape == (24, 24, 3) and first.dtype == np.uint8 and first.flags.writeable
    assert levels(source) == [120, 250]


@pytest.mark.parametrize("boundary", [b"b", b"other"])
def test_pictures_without_lengths_end_at_the_next_boundary(serve, boundary):
    parts = b"".join(b"--" + boundary + b"\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(x) + b"\r\n" for x in (10, 120))
    assert levels(open_http(serve(HEAD + b"welcome\r\n" + parts + b"--" + boundary + b"--\r\n"))) == [10, 120]


@pytest.mark.parametrize("length", [b"-1", b"many", b""])
def test_lengths_that_mean_nothing_are_as_none(serve, length):
    broken = part(jpeg(10)).replace(b"Length: %d" % len(jpeg(10)), b"Length: " + length)
    assert levels(open_http(serve(HEAD + broken * 3))) == [10, 10, 10]


def test_what_is_no_picture_is_passed_over(serve, monkeypatch):
    monkeypatch.setattr(http_stream, "MAX_PIXELS", 1000)
    half, large = jpeg(90)[:200], jpeg(90, 40)
    parts = part(b""), part(half), part(b"text"), part(large), part(jpeg(10)), part(half), part(jpeg(120)), part(half)
    assert levels(open_http(serve(HEAD, *parts))) == [10, 120]


def test_a_picture_of_2_gb_is_refused_before_it_comes(serve):
    error = in_time(open_http, serve(HEAD, part(jpeg(10), length=2 << 30), hold=True))
    assert isinstance(error, RtstyleError)
    assert "sends a picture of 2147 MB, and must not send more than 67 MB" in str(error)
    source = open_http(serve(HEAD, part(jpeg(10)), part(jpeg(10), length=2 << 30)))
    source.read()
    with pytest.raises(RtstyleError, match="2147 MB"):
        source.read()


def test_what_pillow_would_run_is_no_picture(serve, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("run"))
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    assert levels(open_http(serve(HEAD, part(script), part(jpeg(10))))) == [10]


def test_a_stream_that_comes_too_late_is_closed(serve, monkeypatch):
    monkeypatch.setattr(http_stream, "SECONDS", 0.3)
    closed = threading.Event()
    late = SimpleNamespace(close=closed.set)
    monkeypatch.setattr(http_stream, "_open", lambda address: time.sleep(1.8) or late)
    with pytest.raises(RtstyleError, match="no picture in 0 s"):
        open_http("http://127.0.0.1:9/")
    assert closed.wait(10)


def test_an_endless_part_is_refused(serve, monkeypatch):
    monkeypatch.setattr(http_stream, "MAX_BYTES", 1 << 20)
    with pytest.raises(RtstyleError, match="sends a picture of 1 MB, and must not send more than 1 MB"):
        open_http(serve(HEAD, b"--b\r\n\r\n", *[bytes(1 << 16)] * 40))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "the server answers 404 Not Found"),
        ([b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"], "302 .*not allowed"),
        ([b"HTTP/1.1 302 F\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"], "infinite loop"),
        ([], "closed connection without response"),
        ([b"SSH-2.0-OpenSSH\r\n"], "SSH-2.0-OpenSSH"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 200], "more than 100 headers"),
        ([HEAD], "it ends without a picture"),
        ([HEAD, *[b"no part\r\n"] * 5000], "no answer of several parts"),
    ],
)
def test_answers_without_a_picture_are_a_sentence(serve, parts, words):
    with pytest.raises(RtstyleError, match=rf"the stream http://.* cannot be opened.*{words}"):
        open_http(serve(*parts))


@pytest.mark.parametrize("parts", [[], [b"HTTP/1."], [HEAD], [HEAD, b"--b\r\n"]])
def test_a_server_that_keeps_silent_is_a_sentence(serve, monkeypatch, parts):
    monkeypatch.setattr(http_stream, "SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(RtstyleError, match=r"no (picture|answer) in 0 s"):
        open_http(serve(*parts, hold=True))
    assert time.monotonic() - began < 5


def test_nobody_there_is_a_sentence():
    with pytest.raises(RtstyleError, match=r"cannot be opened \(Connection refused\): is it running"):
        open_http("http://127.0.0.1:9/video.mjpg")


def test_something_else_is_left_to_ffmpeg(serve):
    assert open_http(serve(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 5\r\n\r\nhello")) is None


def test_a_name_and_a_password_in_the_address(serve):
    asked = []

    def answer(request):
        if b"Authorization: Basic " + base64.b64encode(b"me:a b") in request:
            return HEAD + part(jpeg(10))
        return b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="camera"\r\nContent-Length: 0\r\n\r\n'

    address = serve(answer, requests=asked).replace("http://", "http://me:a%20b@")
    assert levels(open_http(address)) == [10] and len(asked) == 2
    with pytest.raises(RtstyleError, match="401 No"):
        open_http(address.replace("a%20b", "wrong"))


def test_who_waits_for_a_picture_is_woken_at_once(serve):
    source = open_http(serve(HEAD, part(jpeg(10)), hold=True))
    assert source.read() is not None
    threading.Timer(0.2, source.wake).start()
    began = time.monotonic()
    assert source.read() is None
    assert time.monotonic() - began < 2
    source.close()


def test_a_lost_connection_ends_it(serve, monkeypatch):
    monkeypatch.setattr(http_stream, "SECONDS", 0.5)
    source = open_http(serve(HEAD, part(jpeg(10)), part(jpeg(20))[:100], hold=True))
    assert source.read() is not None
    assert source.read() is None  # nothing for too long
    assert levels(source) == []
