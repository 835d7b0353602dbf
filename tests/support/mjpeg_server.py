"""An IP camera for tests: motion JPEG over HTTP on the loopback interface, every frame stamped with its number.

python mjpeg_server.py PORT FPS WIDTH HEIGHT [FIRST]     prints "ready PORT START" and serves until it is killed

Frame k leaves at START + k / FPS on the system's monotonic clock, so whoever reads the stamp knows its age.
"""

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

BITS = 8
NUMBERS = 2**BITS  # then they start again from 0


def scene(height: int, width: int) -> np.ndarray:
    """A smooth colourful background, BGR."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    channels = [np.sin(x / 31 + i) + np.cos(y / 23 - i) for i in range(3)]
    return np.uint8(np.stack(channels, -1) * 50 + 120)


def stamp(picture: np.ndarray, number: int) -> np.ndarray:
    """The number as a row of black (0) and white (1) boxes along the top, lowest bit first."""
    height, width = picture.shape[:2]
    picture = picture.copy()
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        picture[: height // 6, edges[bit] : edges[bit + 1]] = 255 * (number >> bit & 1)
    return picture


def read_stamp(picture: np.ndarray) -> int:
    """The number of a stamped picture, also of one that was faintly painted."""
    height, width = picture.shape[:2]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    band = picture[height // 24 : height // 8].mean(axis=(0, 2))
    number = 0
    for bit in range(BITS):
        margin = (edges[bit + 1] - edges[bit]) // 4
        number |= int(band[edges[bit] + margin : edges[bit + 1] - margin].mean() > 128) << bit
    return number


def age(number: int, start: float, fps: float, now: float) -> float:
    """Seconds since the frame with this number left the server."""
    newest = (now - start) * fps
    return ((newest - number) % NUMBERS) / fps


def serve(port: int, fps: float, width: int, height: int) -> None:
    background = scene(height, width)  # all encoded beforehand: what is measured should not compete with an encoder
    pictures = [cv2.imencode(".jpg", stamp(background, number))[1].tobytes() for number in range(NUMBERS)]
    start = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            number = int((time.monotonic() - start) * fps) + 1
            while True:
                picture = pictures[number % NUMBERS]
                time.sleep(max(0.0, start + number / fps - time.monotonic()))
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + picture + b"\r\n")
                    self.wfile.flush()
                except OSError:
                    return
                number += 1

        def setup(self):
            super().setup()
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    print("ready", server.server_port, start, flush=True)
    server.serve_forever()


class Server:
    """The server in a process of its own, so that it can be killed and started again on the same port."""

    def __init__(self, fps: float = 30.0, width: int = 320, height: int = 180, port: int = 0):
        self.fps, self.width, self.height, self.port = fps, width, height, port
        self.process, self.start_time = None, 0.0

    def start(self) -> "Server":
        command = [
            sys.executable,
            str(Path(__file__)),
            str(self.port),
            str(self.fps),
            str(self.width),
            str(self.height),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        _, port, started = self.process.stdout.readline().split()
        self.port, self.start_time = int(port), float(started)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video.mjpg"

    def age(self, picture: np.ndarray, now: float) -> float:
        return age(read_stamp(picture), self.start_time, self.fps, now)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    __enter__ = start

    def __exit__(self, *_):
        self.kill()


if __name__ == "__main__":
    threading.current_thread().name = "server"
    serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
