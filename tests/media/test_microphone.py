"""A real microphone as far as a machine without one has it: PulseAudio, the monitor of a null sink, and PortAudio."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.sound import flashes, heard

pytest.importorskip("sounddevice", exc_type=ImportError)

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(not shutil.which("pulseaudio"), reason="needs pulseaudio, libportaudio2 and libasound2-plugins"),
]

SECONDS = 4.5


def test_a_number_is_that_of_the_microphone_and_no_digit_of_a_name(monkeypatch):
    from rtstyle.media import microphone

    found = [(0, "HDA Intel PCH: ALC1220 Analog (hw:0,0)"), (1, "USB Microphone: Audio (hw:1,0)"), (5, "Webcam 4")]
    monkeypatch.setattr(microphone, "list_microphones", lambda: found)
    find = microphone.Microphone.__new__(microphone.Microphone)._find
    assert [find(name) for name in ("1", "0", "5", "usb", "4")] == [1, 0, 5, 1, 5]


VOICE = """
import os, sys, time
import numpy as np

# writes what a microphone hears into a pipe, as time passes, and prints when it clicks
RATE, BLOCK, SPACE = 48000, 480, 24329
pipe, began = os.open(sys.argv[1], os.O_WRONLY), time.monotonic()
for first in range(0, sys.maxsize, BLOCK):
    data, click = np.zeros(BLOCK, np.int16), -(-first // SPACE) * SPACE
    if 0 < click < first + BLOCK:
        data[click - first :][:240] = 30000
        print(began + click / RATE, flush=True)
    time.sleep(max(0.0, began + (first + BLOCK) / RATE - time.monotonic()))
    os.write(pipe, data.tobytes())
"""
RECORDING = """
import sys, time
import numpy as np
from rtstyle.media.microphone import Microphone, list_microphones
from rtstyle.media.recorder import Recorder

seconds = float(sys.argv[1])
assert "pulse" in [name for _, name in list_microphones()]
microphone = Microphone("pulse")
recorder, played = Recorder("out.mp4", sound=microphone), 0
dark, bright = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 255, np.uint8)
began = time.monotonic()
recorder.write(began, dark)
for line in sys.stdin:
    if float(line) > began + seconds:
        break
    if float(line) > began:
        recorder.write(float(line), bright)
        recorder.write(float(line) + 0.1, dark)
        played += 1
print("played", played, flush=True)
while not microphone.error:
    time.sleep(0.05)
print(microphone.error, flush=True)
recorder.close(time.monotonic())
"""


@pytest.fixture
def sound_server(tmp_path):
    """PulseAudio with a microphone that hears what is written into a pipe: (its process, environment, the pipe)."""
    settings = tmp_path / "asound.conf"
    settings.write_text("pcm.pulse { type pulse }\nctl.pulse { type pulse }\n")
    socket, pipe = tmp_path / "native", tmp_path / "voice"
    modules = [
        f"module-pipe-source source_name=voice file={pipe} rate=48000 channels=1 format=s16le",
        f"module-native-protocol-unix auth-anonymous=1 socket={socket}",
    ]
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    server = subprocess.Popen(
        [*command, *(word for module in modules for word in ("-L", module))],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 20
    while not socket.exists():
        assert time.monotonic() < end and server.poll() is None, "pulseaudio does not start"
        time.sleep(0.05)
    environment |= {"PULSE_SERVER": f"unix:{socket}", "PULSE_SOURCE": "voice"}
    yield server, environment, pipe
    server.kill()
    server.wait()


def test_click_and_flash_are_together_and_an_unplugged_microphone_leaves_a_whole_recording(sound_server, tmp_path):
    server, environment, pipe = sound_server
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    voice = subprocess.Popen([sys.executable, "-c", VOICE, str(pipe)], stdout=subprocess.PIPE)
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(SECONDS)],
        cwd=tmp_path,
        env=environment,
        stdin=voice.stdout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        played = int(process.stdout.readline().split()[1])
        server.kill()
        out, _ = process.communicate(timeout=60)
    finally:
        for each in (process, voice):
            each.kill()
            each.wait()
    assert process.returncode == 0 and "is gone: the recording goes on without sound" in out
    sounds, lights = heard(tmp_path / "out.mp4"), flashes(tmp_path / "out.mp4")
    assert len(lights) == played >= 6
    for light in lights:
        assert abs(sounds - light).min() < 0.04, "further apart than anybody notices"
