"""HTTP servers that answer wrongly, slowly, endlessly or not at all."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import cv2
from bench import Bench, Runs, Verdict, finished, judge, names_in
from clips import scene
from jobs import VIDEO
from pictures import huge_jpeg


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


def servers(bench: Bench) -> Runs:
    seconds = 6.0
    for name, answer in hostile_servers().items():

        def one(name=name, answer=answer) -> Verdict:
            where = bench.room(f"server_{name}")
            with serving(answer) as port:
                source = f"http://127.0.0.1:{port}/"
                command = ["cam", "--source", source, "--headless", "--duration", f"{seconds:g}", "--json", *VIDEO]
                ended = bench.run(command, where)
            how, fault = judge(ended, results=set(), found=names_in(where, set()), whole=lambda: True)
            took = json.loads(ended.stdout)["seconds"] if ended.code == 0 else 0.0  # without the start of the process
            if not fault and took > seconds + 1:
                fault = f"--duration {seconds:g} took {took:.1f} s"
            return finished(where, how, fault)

        yield name, one
