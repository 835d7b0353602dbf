"""The sound of recordings: in step with the frames though clocks drift; from a microphone, or the file that plays."""

import os
import shutil
import sys
import threading
import time

import av
import numpy as np
import pytest
from support.helpers import wait_until
from support.sound import clicks, flashes, heard
from support.sources import ManualClock

from rtstyle import RtstyleError
from rtstyle.media import microphone
from rtstyle.media.live_files import VideoFile
from rtstyle.media.recorder import Recorder
from rtstyle.media.sound import FileSound, SampleClock, has_sound

BLOCK = 960


class Given:
    """A sound source whose pieces a test gives."""

    error = None

    def __init__(self, rate=48000, channels=1):
        self.rate, self.channels, self.stopped = rate, channels, 0

    def start(self, take):
        self.take = take

    def stop(self):
        self.stopped += 1


def record(path, sound, seconds, pieces, at=1000.0):
    """A recording of frames that flash for a tenth of each second, and of pieces (time, samples)."""
    recorder = Recorder(path, sound=sound)
    for time_, samples in pieces:
        sound.take(time_, samples)
    for second in range(seconds):
        for moment, level in ((0.0, 0), (0.5, 255), (0.6, 0)):
            while recorder._queue.full():
                time.sleep(0.001)
            recorder.write(at + second + moment, np.full((48, 64, 3), level, np.uint8))
    recorder.close(at + seconds)
    return recorder


@pytest.mark.parametrize("drift", [0.0, 3e-3, -3e-3])
def test_click_and_flash_stay_together_though_the_sound_cards_clock_drifts(tmp_path, drift):
    """In a minute this is as much as in ten minutes with the worst of sound cards: 180 ms."""
    seconds, nominal = 60, 48000
    true_rate, random = nominal * (1 + drift), np.random.default_rng(0)
    samples = clicks(np.arange(seconds) + 0.5, seconds, true_rate)
    clock, sound = SampleClock(nominal), Given(nominal)
    pieces, waiting, backlog = [], [], 1000.3  # until then the sound server keeps what it has
    for first in range(0, len(samples), BLOCK):
        piece = samples[first : first + BLOCK]
        recorded = 1000 + (first + len(piece)) / true_rate
        arrived = max(backlog, recorded) + random.exponential(0.004)
        clock.add(arrived, len(piece) / nominal + random.choice([0.0, 0.5]), len(piece))
        waiting.append((first, piece))
        if arrived > 1001:
            pieces += [(clock.time(number), piece) for number, piece in waiting]
            waiting.clear()
    record(tmp_path / "out.mp4", sound, seconds, pieces)
    sounds, lights = heard(tmp_path / "out.mp4"), flashes(tmp_path / "out.mp4")
    assert len(sounds) == len(lights) == seconds and sound.stopped
    apart = sounds - lights
    assert abs(apart).max() < 0.04, "further apart than anybody notices"
    assert abs(apart[-10:]).max() < 0.025


def test_samples_that_were_lost_are_noticed_and_those_that_come_late_are_not():
    clock, now, number = SampleClock(1000), 50.0, 0

    def go_on(seconds, late=lambda: 0.0):
        nonlocal now, number
        for _ in range(round(seconds / 0.02)):
            now, number = now + 0.02, number + 20
            clock.add(now + late(), 0.025, 20)
        return clock.time(number) - now

    assert go_on(3) == pytest.approx(-0.005)
    assert go_on(0.8, late=lambda: 0.4) == pytest.approx(-0.005)
    assert go_on(2) == pytest.approx(-0.005)
    now += 0.5
    assert go_on(2.5) == pytest.approx(-0.005)
    assert go_on(20, late=iter(np.arange(2000) * 2e-6).__next__) == pytest.approx(-0.003, abs=0.001)


def test_sound_from_before_the_first_frame_and_after_the_last_is_left_out_and_gaps_are_silent(tmp_path):
    rate = 48000
    samples = clicks([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], 6, rate)
    pieces = [(998.0 + i / rate, samples[i : i + BLOCK]) for i in range(0, len(samples), BLOCK)]
    pieces = [piece for piece in pieces if not 1000.2 < piece[0] < 1000.9 and piece[0] < 1002]  # not the third click
    record(tmp_path / "out.mp4", Given(rate), 2, pieces)
    assert heard(tmp_path / "out.mp4") == pytest.approx([1.5], abs=0.03)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) == pytest.approx(
            2, abs=0.06
        )


def test_a_source_that_falls_silent_leaves_a_whole_recording(tmp_path):
    rate = 44100
    samples = np.repeat(clicks([0.5], 1, rate), 2, axis=1)
    path = tmp_path / "out.mkv"
    record(path, Given(rate, channels=2), 4, [(1000.0, samples)])
    assert heard(path) == pytest.approx([0.5], abs=0.03)
    assert len(flashes(path)) == 4


def test_a_recording_without_a_sound_that_can_begin_leaves_nothing(tmp_path):
    class Broken(Given):
        def start(self, take):
            raise RtstyleError("the microphone is taken")

    with pytest.raises(RtstyleError, match="is taken"):
        Recorder(tmp_path / "out.mp4", sound=Broken())
    assert list(tmp_path.iterdir()) == []


def test_the_track_keeps_up_while_no_frame_comes(tmp_path):
    sound = Given()
    recorder = Recorder(tmp_path / "out.mp4", sound=sound)
    recorder.write(1000.0, np.zeros((48, 64, 3), np.uint8))
    sound.take(1000.0, clicks([0.5], 1, 48000))
    wait_until(lambda: not recorder._track._pieces)
    recorder.close(1001.0)
    assert heard(tmp_path / "out.mp4") == pytest.approx([0.5], abs=0.03)


# -- the sound of a file that plays


@pytest.fixture
def clicking_clip(tmp_path):
    """Two seconds: a flash and a click at 0.5 s and at 1.5 s."""
    path = tmp_path / "clicks.mp4"
    samples = clicks([0.5, 1.5], 2, 44100)
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=20), container.add_stream("aac", rate=44100, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(40):
            level = 255 if i % 20 in (10, 11, 12) else 0
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


class Looped:
    """A file of two seconds that plays again and again, and is three seconds into that."""

    def __init__(self, clock):
        self.clock, self.began = clock, clock.now() - 3.0

    @property
    def zero(self):
        return self.began + 2 * ((self.clock.now() - self.began) // 2)


def test_the_sound_of_a_file_follows_its_frames_also_when_it_begins_again(clicking_clip):
    clock, pieces = ManualClock(), []
    playing = Looped(clock)
    sound = FileSound(clicking_clip, lambda: playing, clock=clock)
    sound.start(lambda at, samples: pieces.append((at, samples)))
    wait_until(lambda: pieces and pieces[-1][0] > playing.began + 9)
    sound.stop()
    loud = [
        at + np.flatnonzero(abs(samples).max(axis=1) > 0.3)[0] / 48000 for at, samples in pieces if samples.max() > 0.3
    ]
    loud = np.array(loud)[np.insert(np.diff(loud) > 0.2, 0, True)] - playing.began
    assert loud[:5] == pytest.approx([3.5, 4.5, 5.5, 6.5, 7.5], abs=0.03)
    assert not [thread for thread in threading.enumerate() if thread.name == "file sound"]


def test_a_file_says_when_its_beginning_is_played(clicking_clip):
    clock = ManualClock()
    source = VideoFile(clicking_clip, loop=True, clock=clock)
    began, zeros = clock.now(), []
    assert source.zero is None
    for _ in range(90):
        source.read()
        zeros.append(round(source.zero - began, 3))
    source.close()
    assert zeros == [0.0] * 40 + [2.0] * 40 + [4.0] * 10
    odd = shutil.copy(clicking_clip, clicking_clip.with_name("12:30.mkv")) if os.name != "nt" else clicking_clip
    assert has_sound(odd), "no protocol, though it looks like one"
    assert has_sound(clicking_clip) and not has_sound(clicking_clip.parent / "nothing.mp4")


# -- microphones


class PortAudio:
    """Stands in for sounddevice."""

    default = type("Default", (), {"device": (1, 0)})

    def __init__(self, names=("Speakers", "USB Microphone", "Line In")):
        self.names = names

    def query_devices(self, device=None, kind=None):
        all_of_them = [
            {"name": name, "max_input_channels": 0 if "Speakers" in name else 1, "default_samplerate": 48000.0}
            for name in self.names
        ]
        return all_of_them if device is None else all_of_them[device]

    def InputStream(self, **options):
        self.options = options
        return self

    def start(self):
        pass

    def close(self, ignore_errors):
        self.closed = True


@pytest.fixture
def port_audio(monkeypatch):
    fake = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def test_microphones_are_found_by_number_and_by_a_part_of_their_names(port_audio):
    assert microphone.list_microphones() == [(1, "USB Microphone"), (2, "Line In")]
    assert [microphone.Microphone(name).name for name in (None, "2", "usb", "Line")] == [
        *("USB Microphone", "Line In", "USB Microphone", "Line In")
    ]
    with pytest.raises(RtstyleError, match="no microphone 'Nobody': rtstyle cam --audio list"):
        microphone.Microphone("Nobody")
    port_audio.names = ("Speakers",)
    with pytest.raises(RtstyleError, match="there is no microphone: plug one in"):
        microphone.Microphone()


def test_pieces_have_the_time_of_their_first_sample_and_silence_is_an_error(port_audio, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(microphone.time, "monotonic", lambda: now[0])
    each, taken = microphone.Microphone(), []
    each.start(lambda at, samples: taken.append((at, len(samples))))
    times = type("Times", (), {"currentTime": 7.0, "inputBufferAdcTime": 6.97})
    port_audio.options["callback"](np.zeros((960, 1), np.float32), 960, times, None)
    assert not taken  # the first may come late
    for _ in range(60):
        now[0] += 0.02
        port_audio.options["callback"](np.zeros((960, 1), np.float32), 960, times, None)
    assert [at for at, _ in taken] == pytest.approx(99.97 + 0.02 * np.arange(61)) and each.error is None
    assert {count for _, count in taken} == {960}
    now[0] += 2
    assert "USB Microphone is gone: the recording goes on without sound" in str(each.error)
    each.stop()
    assert port_audio.closed


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(RtstyleError, match=r"needs sounddevice: pip install '\.\[microphone\]'"):
        microphone.Microphone()
