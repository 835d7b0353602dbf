"""Frames sent over the network, received by FFmpeg's own listeners."""

import socket
import threading
import time

import av
import numpy as np
import pytest
from support.helpers import wait_until
from support.sinks import color_card
from support.stream_listener import Listener, free_port

from rtstyle import RtstyleError
from rtstyle.errors import UsageError
from rtstyle.media.streaming import LiveStream

ORANGE = (220, 120, 40)


@pytest.fixture
def listen():
    made = []

    def listen(address):
        made.append(Listener(address))
        return made[-1]

    yield listen
    for each in made:
        each.kill()


@pytest.fixture
def sending():
    """Sends frames of one colour, 30 a second, to an address until the test is over."""
    ends = []

    def send(address, rgb=ORANGE):
        stream, stop = LiveStream(address), threading.Event()

        def work():
            while not stop.wait(1 / 30):
                stream.write(time.monotonic(), color_card(rgb, 48, 64))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        ends.append((stream, stop, thread))
        return stream

    yield send
    for stream, stop, thread in ends:
        stop.set()
        thread.join()
        stream.close()
    wait_until(lambda: "stream" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.real_time
@pytest.mark.parametrize("protocol", ["udp", "rtmp"])
def test_a_listener_receives_frames_of_the_right_size_and_colours(listen, sending, protocol):
    port = free_port(socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
    address = f"{protocol}://127.0.0.1:{port}" + ("/live/secret-key" if protocol == "rtmp" else "")
    listener, stream = listen(address), sending(address)
    for _ in range(10):
        width, height, *color = listener.frames.get(timeout=40)
        assert (width, height) == (64, 48) and np.abs(np.subtract(color, ORANGE)).max() <= 6
    assert stream.status == f"LIVE {protocol}://127.0.0.1" and stream.error is None


@pytest.mark.real_time
def test_a_listener_that_comes_back_is_sent_to_again(listen, sending):
    address = f"rtmp://127.0.0.1:{free_port()}/live/secret-key"
    stream = sending(address)
    wait_until(lambda: "trying again" in stream.problem, 30)
    assert stream.status.startswith("rtmp://127.0.0.1: no connection (") and "secret" not in stream.status
    for _ in range(2):
        listener = listen(address)
        listener.frames.get(timeout=40)
        assert stream.problem == ""
        listener.kill()
        wait_until(lambda: "trying again" in stream.problem, 30)


class Refusing:
    """av.open, which refuses until it is told not to, and notes when it was asked."""

    def __init__(self, error):
        self.error, self.times = error, []

    def __call__(self, *arguments, **options):
        self.times.append(time.monotonic())
        raise self.error


def test_attempts_to_connect_are_further_and_further_apart_but_not_much():
    refusing = Refusing(ConnectionRefusedError(111, "Connection refused"))
    stream = LiveStream("rtmp://example.org/live", open_container=refusing)
    end = time.monotonic() + 3.5
    while time.monotonic() < end:
        began = time.monotonic()
        stream.write(began, color_card(ORANGE))
        assert time.monotonic() - began < 0.5, "the painting waits for it"
        time.sleep(0.01)
    stream.close()
    gaps = np.diff(refusing.times)
    assert 3 <= len(refusing.times) <= 5 and gaps[0] >= 0.25 and gaps[1] >= 0.5 and (gaps < 2).all()


def test_a_protocol_that_ffmpeg_lacks_is_an_error_with_a_way_out():
    missing = av.error.ProtocolNotFoundError(1330794744, "Protocol not found")
    stream = LiveStream("srt://example.org:9000", open_container=Refusing(missing))
    stream.write(1.0, color_card(ORANGE))
    wait_until(lambda: stream.error)
    assert str(stream.error) == "this FFmpeg cannot send by srt: use rtmp:// or udp:// or rtsp://"
    stream.close()


@pytest.mark.parametrize("address", ["http://example.org", "rtmp://", "somewhere", "file.mp4", ""])
def test_an_address_that_can_never_work_is_refused_at_once(address):
    with pytest.raises(UsageError, match="is not an address for `stream`: begin it with rtmp"):
        LiveStream(address)
    assert issubclass(UsageError, RtstyleError)
