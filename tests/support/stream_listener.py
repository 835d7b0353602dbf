"""FFmpeg's own listeners, to which frames are sent over the network."""

import queue
import socket
import subprocess
import sys
import threading

LISTENER = """
import sys
import av
options = {"listen": "1", "analyzeduration": "200000"} if sys.argv[1].startswith("rtmp") else {}
with av.open(sys.argv[1], options=options, timeout=60) as container:
    for frame in container.decode(video=0):
        color = frame.to_ndarray(format="rgb24").mean(axis=(0, 1)).round().astype(int)
        print(frame.width, frame.height, *color, flush=True)
"""


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Listener:
    """FFmpeg in a process of its own; `frames` are the (width, height, red, green, blue) that it received. With a
    `command` before it, such as `nice`, it stands for one on another machine."""

    def __init__(self, address, command=()):
        command = [*command, sys.executable, "-c", LISTENER, address]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.frames = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self.frames.put(tuple(map(int, line.split())))

    def kill(self):
        self._process.kill()
        self._process.wait()
