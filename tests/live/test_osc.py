"""Control from outside: a real client, garbage, floods."""

import socket
import time
from pathlib import Path

import numpy as np
import pytest
from support.live_session import CODES, NAMES, Ticking, grey, hand, wait_until

from rtstyle import RtstyleError
from rtstyle.live.osc import ADDRESSES, OscReceiver, address_table, obey
from rtstyle.live.statistics import Painted

pytest.importorskip("pythonosc")

pytest_plugins = ["support.live_fixtures"]


@pytest.fixture
def receiver():
    receiver = OscReceiver(0)
    yield receiver
    receiver.close()


@pytest.fixture
def client(receiver):
    from pythonosc.udp_client import SimpleUDPClient

    return SimpleUDPClient("127.0.0.1", receiver.port)


@pytest.fixture
def still(session):
    s = session(hand())
    s.controls.latest = Painted(1, 1.0, grey(10), grey(20))
    return s


def test_a_client_changes_style_mix_strength_and_steadiness(session, receiver, client):
    s = session(Ticking(0.01), remote=receiver).start()
    s.wait(lambda: s.shown)
    client.send_message("/rtstyle/style", "slate")
    s.wait(lambda: s.net.codes[-1][2] == 1)
    client.send_message("/rtstyle/mix", ["reed", 2, 0.25])
    s.wait(lambda: np.allclose(s.net.codes[-1], 0.75 * CODES[0] + 0.25 * CODES[1]))
    client.send_message("/rtstyle/strength", 0.5)
    client.send_message("/rtstyle/steadiness", 0.25)
    s.wait(lambda: s.painter.strength == 0.5 and s.painter.steadiness == 0.25)
    client.send_message("/rtstyle/record", 1)
    s.wait(lambda: s.outputs.recorder)
    s.wait_for_frames(5)
    client.send_message("/rtstyle/record", 0)
    s.wait(lambda: s.outputs.recorder is None)
    client.send_message("/rtstyle/snapshot", [])
    s.wait(lambda: len(s.outputs.files) == 2)
    s.end()
    with pytest.raises(OSError):
        receiver._socket.getsockname()


@pytest.mark.parametrize(
    "message",
    [
        ("/rtstyle/style", ["nobody"]),
        ("/rtstyle/style", [0]),
        ("/rtstyle/style", [4]),
        ("/rtstyle/style", []),
        ("/rtstyle/style", [float("nan")]),
        ("/rtstyle/mix", ["reed", "slate"]),
        ("/rtstyle/mix", ["reed", "slate", "much"]),
        ("/rtstyle/mix", ["reed", "nobody", 0.5]),
        ("/rtstyle/strength", ["much"]),
        ("/rtstyle/strength", [float("nan")]),
        ("/rtstyle/strength", [float("inf")]),
        ("/rtstyle/steadiness", [0.1, 0.2]),
        ("/rtstyle/record", [0]),
        ("/rtstyle/record", ["x"]),
        ("/rtstyle/record", [1, 1]),
        ("/rtstyle/snapshot", [1, "x"]),
        ("/rtstyle/snapshot", [0]),
        ("/rtstyle/quit", [1]),
        ("/", []),
    ],
    ids=str,
)
def test_invalid_messages_change_nothing(still, message):
    assert not obey(still.controls, [message])
    assert (still.styles.label, still.painter.strength, still.painter.steadiness) == (NAMES[0], 1.0, 0.0)
    assert still.outputs.recorder is None and still.outputs.files == []


def test_values_out_of_range_are_clamped(still):
    assert obey(still.controls, [("/rtstyle/strength", [-3]), ("/rtstyle/steadiness", [7])])
    assert (still.painter.strength, still.painter.steadiness) == (0.0, 1.0)


def test_malformed_packets_are_skipped_and_later_ones_obeyed(receiver, client, caplog):
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    random = np.random.default_rng(0)
    for size in (0, 1, 3, 4, 16, 200, 1400):
        raw.sendto(random.bytes(size), ("127.0.0.1", receiver.port))
    raw.sendto(b"#bundle\0" + bytes(12), ("127.0.0.1", receiver.port))
    client.send_message("/rtstyle/strength", 0.5)
    heard = []
    wait_until(lambda: heard.extend(receiver.receive()) or ("/rtstyle/strength", [0.5]) in heard)
    assert heard == [("/rtstyle/strength", [0.5])]
    assert caplog.text == "", "a flood of garbage would fill the terminal"
    raw.close()


def test_many_messages_at_once_cost_little_and_the_newest_count(receiver):
    from pythonosc.osc_message_builder import OscMessageBuilder

    def datagram(value):
        builder = OscMessageBuilder("/rtstyle/strength")
        builder.add_arg(value)
        return builder.build().dgram

    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(200):
        raw.sendto(datagram(i / 1000), ("127.0.0.1", receiver.port))
    time.sleep(0.05)
    spent = time.process_time()
    heard = receiver.receive()
    assert time.process_time() - spent < 0.1
    assert 1 <= len(heard) <= 16 and heard[-1][1][0] > 0.1
    assert receiver.receive() == []
    raw.close()


def test_ten_thousand_messages_a_second_do_not_stop_the_window(session, receiver):
    """In proportion: as many as 10,000 a second are in the eight milliseconds between two looks."""
    s = session(Ticking(0.01), remote=receiver).start()
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.wait_for_frames(3)
    shown = len(s.shown)
    for _ in range(40):
        for _ in range(80):
            raw.sendto(b"/unknown\0\0\0\0,i\0\0\0\0\0\1", ("127.0.0.1", receiver.port))
        time.sleep(0.008)
    s.wait(lambda: len(s.shown) > shown + 5)
    assert s.styles.label == NAMES[0]
    s.end()
    raw.close()


def test_osc_listens_on_this_machine_only_and_reports_a_port_in_use(receiver):
    assert receiver._socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(
        RtstyleError, match=rf"OSC cannot listen at 127\.0\.0\.1:{receiver.port} \(.*\): choose another port"
    ):
        OscReceiver(receiver.port)
    with pytest.raises(RtstyleError, match=r"OSC cannot listen at 192\.0\.2\.1:0"):
        OscReceiver(0, "192.0.2.1")


def test_the_table_in_the_docs_is_the_one_in_the_code():
    docs = (Path(__file__).resolve().parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    assert address_table() in docs and len(ADDRESSES) == 6
