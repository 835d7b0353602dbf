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

SECONDS = 8
RECORDING = """
import sys, threading, time
import numpy as np
import sounddevice
from rtstyle.media.microphone import Microphone, list_microphones
from rtstyle.media.recorder import Recorder

RATE, seconds = 48000, float(sys.argv[1])
assert "pulse" in [name for _, name in list_microphones()]
microphone = Microphone("pulse")
recorder = Recorder("out.mp4", sound=microphone)
clicks, due = [], [None]

def play(data, count, times, status):
    # a click a second; `clicks` tells when each leaves the sound card
    data[:] = 0
    leaves = time.monotonic() + max(0.0, times.outputBufferDacTime - times.currentTime)
    due[0] = leaves + 1.0 if due[0] is None else due[0]
    first = round((due[0] - leaves) * RATE)
    if 0 <= first < count - 240:
        data[first : first + 240] = 0.9
        clicks.append(leaves + first / RATE)
        due[0] += 1.0137
    elif first < count:
        due[0] = leaves + 0.3

dark, bright = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 255, np.uint8)
device = next(i for i, d in enumerate(sounddevice.query_devices()) if "pulse" in d["name"])
with sounddevice.OutputStream(device=device, samplerate=RATE, channels=1, callback=play, blocksize=1024):
    began, shown = time.monotonic(), 0
    recorder.write(began, dark)
    while time.monotonic() - began < seconds:
        time.sleep(0.15)  # so late that a click is known before its frame is due
        for click in clicks[shown:]:
            if click < time.monotonic():
                recorder.write(click, bright)
                recorder.write(click + 0.1, dark)
                shown += 1
print("played", shown, flush=True)
sys.stdin.readline()
while not microphone.error:
    time.sleep(0.05)
print(microphone.error, flush=True)
recorder.close(time.monotonic())
"""


@pytest.fixture
def sound_server(tmp_path):
    """PulseAudio with a sink that plays into nothing, its monitor as the microphone: (its process, environment)."""
    settings = tmp_path / "asound.conf"
    settings.write_text("pcm.pulse { type pulse }\nctl.pulse { type pulse }\n")
    socket = tmp_path / "native"
    modules = [
        "module-null-sink sink_name=cable rate=48000",
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
    environment |= {"PULSE_SERVER": f"unix:{socket}", "PULSE_SOURCE": "cable.monitor", "PULSE_SINK": "cable"}
    yield server, environment
    server.kill()
    server.wait()


@pytest.mark.xfail(
    reason="where nothing else runs, this server's times begin up to .2 s off and are caught up with over some seconds",
    strict=False,
)
def test_click_and_flash_are_together_and_an_unplugged_microphone_leaves_a_whole_recording(sound_server, tmp_path):
    server, environment = sound_server
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(SECONDS)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        played = int(process.stdout.readline().split()[1])
        server.kill()
        out, _ = process.communicate("gone\n", timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and "is gone: the recording goes on without sound" in out
    sounds, lights = heard(tmp_path / "out.mp4"), flashes(tmp_path / "out.mp4")
    assert len(lights) == played >= 4
    for light in lights:
        assert abs(sounds - light).min() < 0.04, "further apart than anybody notices"
