"""What is counted of a live run, on times of the test's own."""

import numpy as np
import pytest

from rtstyle.live.statistics import Painted, Recent, Statistics, Summary, median_and_p95


def test_figures_of_the_last_seconds():
    recent = Recent(seconds=3)
    for i in range(100):
        recent.add(i / 2, i)
    assert recent.values(49.5) == [93, 94, 95, 96, 97, 98, 99]
    assert recent.rate(49.5) == 2
    assert recent.rate(60) == 0 and recent.values(60) == []
    assert Recent().rate(1) == 0
    assert median_and_p95([]) == (0, 0)
    assert median_and_p95([5]) == (5, 5)
    assert median_and_p95(list(range(100))) == (49.5, 95)


def painted(number, time):
    return Painted(number, time, np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8))


@pytest.fixture
def three_seconds():
    """Ten frames a second, 50 ms late, and as many dropped."""
    statistics = Statistics()
    for number in range(31):
        now = 10 + number / 10
        statistics.note_painted(now)
        statistics.note_shown(painted(number + 1, now - 0.05), now)
        statistics.note_dropped(1, now)
    return statistics


def test_the_figures_speak_of_the_last_seconds(three_seconds):
    line = "10 fps painted, 10 shown, delay 50 ms (95 %: 50), 50% dropped"
    assert three_seconds.figures(13.0) == line
    three_seconds.note_dropped(100, 13.1)
    assert three_seconds.figures(13.2) == line, "it changes four times a second"
    assert three_seconds.figures(13.25).endswith("82% dropped"), "128 of 156 within three seconds"


def test_an_older_frame_that_is_shown_again_says_nothing_of_the_delay(three_seconds):
    three_seconds.note_shown(painted(31, 12.95), 20.0)
    summary = three_seconds.summary(captured=62, seconds=3.0, work_height=240, files=["a.png"])
    assert summary.delay_95_ms == pytest.approx(50)
    assert summary == Summary(62, 31, 32, 31, 3.0, summary.delay_ms, summary.delay_95_ms, 240, ["a.png"])


def test_nothing_shown_has_no_delay():
    summary = Statistics().summary(captured=0, seconds=1.0, work_height=None, files=[])
    assert summary == Summary(seconds=1.0)
