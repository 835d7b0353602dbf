"""The working height on simulated machines: it reaches the frame rate, settles, and comes back."""

import bisect
import itertools

import numpy as np
import pytest
from support.live_session import Net

from rtstyle.live import frame_rate
from rtstyle.live.frame_rate import CALM_SECONDS, LADDER, RETRY_SECONDS, HeightController, WorkHeight, step

BUDGET = 1 / 30
START, LIMIT = 360, 540


class Machine:
    """Painting takes `base + slope height^2` seconds, times a little noise; `load` slows it all down."""

    def __init__(self, base=0.004, at_360=0.020, noise=0.05, seed=0):
        self.base, self.slope, self.noise = base, at_360 / 360**2, noise
        self.load, self.now = 1.0, 0.0
        self._random = np.random.default_rng(seed)
        self.times, self.heights, self.taken = [], [], []

    def typical(self, height):
        return self.load * (self.base + self.slope * height**2)

    def run(self, pace, seconds, budget=BUDGET):
        """Paint for so long, a frame every `budget` seconds or as fast as it goes; gives the heights of this while."""
        first, end = len(self.heights), self.now + seconds
        while self.now < end:
            height = pace.height
            slower = float(np.exp(self.noise * self._random.standard_normal()))
            taken = self.typical(height) * slower
            self.now += max(taken, budget)
            self.times.append(self.now)
            self.heights.append(height)
            self.taken.append(taken)
            pace(taken, taken - self.load * self.base * slower, self.now, budget)
        return self.heights[first:]


def changes(heights):
    return [(a, b) for a, b in itertools.pairwise(heights) if a != b]


def largest_fitting(machine, limit=LIMIT, share=1.0):
    heights = [h for h in (*LADDER, limit) if h <= limit]
    return max((h for h in heights if machine.typical(h) <= share * BUDGET), default=heights[0])


@pytest.mark.parametrize("slowness", [1.3, 2, 4, 6])
def test_a_slow_machine_reaches_the_rate_within_a_few_seconds(slowness):
    machine, pace = Machine(base=0.002, at_360=0.025), HeightController(START, LIMIT, LADDER[0])
    machine.load = slowness
    machine.run(pace, 5)
    assert machine.typical(pace.height) <= BUDGET
    late = [height for height in machine.heights if machine.typical(height) > 1.1 * BUDGET]
    assert len(late) < 30, "it took too many frames"
    assert pace.height >= 0.7 * largest_fitting(machine), "it went lower than it had to"


def test_a_fast_machine_goes_up_to_the_limit_and_no_further():
    machine, pace = Machine(at_360=0.002, base=0.001), HeightController(START, LIMIT)
    heights = machine.run(pace, 60)
    assert heights[0] == START and heights[-1] == LIMIT
    assert all(a < b for a, b in changes(heights))
    assert max(heights) == LIMIT


def test_the_way_up_is_one_step_at_a_time_with_seconds_between():
    machine, pace = Machine(at_360=0.002, base=0.001), HeightController(START, LIMIT)
    heights = machine.run(pace, 60)
    seconds = [machine.times[i] for i in range(1, len(heights)) if heights[i] != heights[i - 1]]
    assert [b for _, b in changes(heights)] == [400, 440, 480, 528, LIMIT]
    assert min(np.diff([0, *seconds])) > CALM_SECONDS


@pytest.mark.parametrize("noise", [0.02, 0.08, 0.15])
@pytest.mark.parametrize("at_360", [0.012, 0.017, 0.022, 0.027, 0.035, 0.06])
def test_the_height_becomes_steady_and_does_not_oscillate(at_360, noise):
    machine, pace = Machine(at_360=at_360, noise=noise), HeightController(START, LIMIT)
    machine.run(pace, 60)
    later = machine.run(pace, 300)
    assert len(changes(later)) <= 6, changes(later)
    fits = [machine.typical(height) <= BUDGET for height in later]
    assert np.mean(fits) > 0.95, "the rate was not held"
    assert min(later) >= 0.75 * largest_fitting(machine, share=0.85), "it runs far lower than it could"


def test_far_too_slow_is_seen_in_a_dozen_frames():
    """A machine that paints two frames a second must not show them for long."""
    machine, pace = Machine(base=0.001, at_360=0.4, noise=0), HeightController(START, LIMIT, LADDER[0])
    machine.run(pace, 8)
    assert machine.typical(pace.height) <= BUDGET
    assert machine.heights.count(START) <= 14


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("base", [0.026, 0.032, 0.045, 0.090])
def test_what_the_height_cannot_help_does_not_lower_it(base, noise):
    """A large source: enlarging and showing take most of the time. The net's part is small, and stays."""
    machine, pace = Machine(base=base, at_360=0.012, noise=noise), HeightController(START, LIMIT)
    machine.run(pace, 20)
    later = machine.run(pace, 120)
    possible = max(BUDGET, machine.typical(240))
    assert min(later) >= 240 and np.median([machine.typical(height) for height in later]) <= 1.5 * possible
    places = [bisect.bisect(LADDER, height) for height in (min(later), max(later))]
    assert places[1] - places[0] <= 1, "it does not settle"
    if base >= 0.045:
        assert np.median(later) >= 320, "it gave up strokes for nothing"


def test_it_stays_above_the_minimum_height_however_slow_the_machine():
    machine, pace = Machine(at_360=1.0), HeightController(START, LIMIT)
    assert machine.run(pace, 60)[-1] == min(machine.heights) == 240


@pytest.mark.parametrize(("height", "limit", "least"), [(160, 200, 160), (360, 120, 120)])
def test_a_small_source_or_painter_is_its_own_minimum(height, limit, least):
    machine, pace = Machine(at_360=5.0), HeightController(height, limit)
    machine.run(pace, 30)
    assert set(machine.heights) == {least}


def test_it_recovers_when_the_load_is_gone():
    machine, pace = Machine(at_360=0.018), HeightController(START, LIMIT)
    before = machine.run(pace, 30)[-1]
    machine.load = 4.0
    assert machine.run(pace, 30)[-1] < 0.7 * before
    machine.load = 1.0
    after = machine.run(pace, 60)
    assert after[-1] >= 0.9 * before
    assert all(a < b for a, b in changes(after)), "it went down again on the way up"


def test_one_slow_frame_changes_nothing():
    pace, now = HeightController(START, LIMIT), 0.0
    for i in range(300):
        now += BUDGET
        taken = 0.5 if i % 25 == 20 else 0.98 * BUDGET
        pace(taken, taken, now, BUDGET)
    assert pace.height == START


def test_most_frames_too_slow_is_too_slow():
    pace = HeightController(START, LIMIT)
    for i in range(60):
        taken = 0.5 * BUDGET if i % 5 < 2 else 1.2 * BUDGET
        pace(taken, taken, i * BUDGET, BUDGET)
    assert pace.height < START


def test_a_load_that_comes_at_the_limit_is_no_failed_step():
    machine, pace = Machine(base=0.001, at_360=0.003, noise=0), HeightController(START, LIMIT)
    assert machine.run(pace, 60)[-1] == LIMIT
    machine.load = 6.0
    lowest = machine.run(pace, 1)[-1]
    assert lowest < LIMIT
    machine.load = 1.0
    assert machine.run(pace, RETRY_SECONDS / 2)[-1] > lowest, "it waits as if a step up had failed"


def failing_above(height, pace, seconds):
    """Times at which `pace` went above `height`, where painting suddenly takes too long however little it is."""
    now, tries = 0.0, []
    while now < seconds:
        before = pace.height
        taken = 1.1 * BUDGET if before > height else 0.4 * BUDGET
        pace(taken, taken, now, BUDGET)
        if before <= height < pace.height:
            tries.append(now)
        now += BUDGET
    return tries


def test_a_step_up_that_failed_is_tried_again_after_growing_pauses():
    tries = failing_above(START, HeightController(START, LIMIT), 1500)
    pauses = np.diff(tries)
    assert len(tries) >= 5
    assert pauses[0] >= RETRY_SECONDS
    assert (pauses[1:4] > 1.6 * pauses[:3]).all(), pauses
    assert (pauses < 330).all(), "it must not give up for good"


def test_after_a_failed_step_it_returns_to_where_it_was():
    pace = HeightController(START, LIMIT)
    failing_above(START, pace, 60)
    assert pace.height in (320, START)


@pytest.mark.parametrize(("height", "limit"), [(360, 480), (720, 240), (64, 48), (360, 100), (500, 500)])
@pytest.mark.parametrize("taken", [1e-4, 10.0])
def test_it_never_leaves_the_ladder_or_the_limit(height, limit, taken):
    pace, heights = HeightController(height, limit, LADDER[0]), []
    for i in range(2000):
        heights.append(pace(taken, taken, i * BUDGET, BUDGET))
    assert max(heights) <= limit
    assert min(heights) >= min(LADDER[0], limit, height)
    assert set(heights) <= {height, limit, *LADDER}
    assert heights[-1] == (limit if taken < BUDGET else min(LADDER[0], limit, height))


def test_a_larger_budget_is_room():
    machine, pace = Machine(at_360=0.030, noise=0), HeightController(START, LIMIT)
    at_30 = machine.run(pace, 30)[-1]
    at_15 = machine.run(pace, 60, budget=1 / 15)[-1]
    assert at_30 < START < at_15


def test_the_first_frames_after_a_change_do_not_count():
    """Memory is laid out anew then: the first frames take long and say nothing."""
    pace = HeightController(START, LIMIT)
    slow = {0, 1, 2, 4, 6, 8}  # more than half of the first ten frames, fewer of the ten after the first three
    for i in range(20):
        taken = 1.0 if i in slow else 0.9 * BUDGET
        pace(taken, taken, i * BUDGET, BUDGET)
        assert pace.height == START


def test_the_ladder_fits_the_bodies():
    assert all(height % 8 == 0 for height in LADDER)
    ratios = [b / a for a, b in itertools.pairwise(LADDER)]
    assert min(ratios) > 1.05 and max(ratios) < 1.25


@pytest.mark.parametrize(
    ("height", "by", "limit", "expected"),
    [
        (360, +1, 1080, 400),
        (360, -1, 1080, 320),
        (360, +2, 1080, 440),
        (360, -2, 1080, 288),
        (350, +1, 1080, 360),
        (350, -1, 1080, 320),
        (350, -2, 1080, 288),
        (350, +2, 1080, 400),
        (480, +1, 500, 500),
        (500, +1, 500, 500),
        (500, -1, 500, 480),
        (500, -2, 500, 440),
        (96, -1, 1080, 96),
        (112, -5, 1080, 96),
        (2000, +9, 1080, 1080),
        (2000, -1, 1080, 1080),
        (48, -1, 1080, 48),
        (48, +1, 1080, 96),
        (60, -1, 60, 60),
        (60, +1, 60, 60),
        (360, 0, 1080, 360),
    ],
)
def test_steps_of_the_ladder(height, by, limit, expected):
    assert step(height, by, limit) == expected


@pytest.mark.parametrize("height", [96, 100, 350, 360, 500, 1080])
def test_up_and_down_again_is_where_one_was_or_beside_it(height):
    up = step(height, +1, 1080)
    assert up > height or up == 1080
    assert step(height, -1, 1080) < height or height == 96
    if height in LADDER and height < 1080:
        assert step(up, -1, 1080) == height


# -- the working height of a live painter


class NotingController(HeightController):
    """Notes what it is asked and answers what a test wants."""

    def __init__(self, height, limit, minimum, answer=None):
        super().__init__(height, limit, minimum)
        self.first, self.asked, self.answer = self.height, [], answer

    def __call__(self, seconds, net, now, budget):
        self.asked.append((seconds, net, budget))
        self.height = self.answer or self.height
        return self.height


@pytest.fixture
def work_height(monkeypatch):
    """Makes (a working height, its net, the controllers that it made so far)."""

    def make(target_fps=30.0, fixed="auto", min_height=64):
        net, made = Net(work_height=fixed), []

        def controller(height, limit, minimum):
            made.append(NotingController(height, limit, minimum))
            return made[-1]

        monkeypatch.setattr(frame_rate, "HeightController", controller)
        return WorkHeight(net, target_fps, min_height), net, made

    return make


@pytest.mark.parametrize(("source", "start", "limit"), [(100, 100, 100), (200, 160, 200), (480, 160, 240)])
def test_the_height_is_limited_by_the_source_and_the_strokes(work_height, source, start, limit):
    height, net, made = work_height()
    assert height.pixels is None
    height.begin(source, 4 * source // 3)
    assert (made[-1].first, made[-1].limit) == (start, limit)
    assert net.work_height == height.pixels == start and str(height) == f"working height {start} (automatic)"


def test_an_upright_picture_has_the_strokes_of_one_that_lies(work_height):
    """What is chosen is the short side: 160 positions across, not 120."""
    height, net, made = work_height()
    height.begin(640, 480)
    assert (made[-1].first, made[-1].limit) == (160, 240)
    assert net.working_size(640, 480) == (213, 160)
    made[-1].answer = 96
    height.note(1.0, 0.9, 5.0, None)
    assert net.working_size(640, 480) == (128, 96)
    assert height.step(+2) == "working height 171, fixed (w: automatic)"
    assert net.working_size(640, 480) == (171, 128)
    height.make_automatic()
    assert made[-1].first == 128


@pytest.mark.parametrize(
    ("min_height", "start", "limit", "minimum"), [(200, 200, 240, 200), (300, 300, 300, 300), (900, 480, 480, 480)]
)
def test_a_minimum_that_was_asked_for_is_kept(work_height, min_height, start, limit, minimum):
    """The net's own height is 160."""
    height, net, made = work_height(min_height=min_height)
    height.begin(480, 640)
    assert (made[-1].first, made[-1].limit, made[-1].minimum) == (start, limit, minimum) and net.work_height == start
    height.step(-30)
    assert net.work_height == 96
    height.make_automatic()
    assert net.work_height == made[-1].minimum == minimum


@pytest.mark.parametrize(("rate", "budget"), [(None, 1 / 30), (60.0, 1 / 30), (20.0, 0.97 / 20)])
def test_the_budget_is_that_of_the_target_but_not_above_the_sources_rate(work_height, rate, budget):
    height, _, made = work_height()
    height.begin(24, 4 * 24 // 3)
    height.note(0.01, 0.008, 5.0, rate)
    assert made[-1].asked == [(0.01, 0.008, pytest.approx(budget))]


def test_a_new_height_is_taken_and_shown(work_height):
    height, net, made = work_height()
    height.begin(24, 4 * 24 // 3)
    made[-1].answer = 20
    height.note(0.01, 0.008, 5.0, None)
    assert net.work_height == 20
    made[-1].answer = 24
    height.note(0.01, 0.008, 5.2, None)
    assert net.work_height == 24 and str(height) == "working height 24 (automatic)"


def test_a_new_size_of_the_source_starts_the_choice_afresh(work_height):
    height, net, made = work_height()
    for source in (100, 100, 200):
        height.begin(source, 4 * source // 3)
    assert [one.limit for one in made] == [100, 200] and net.work_height == 160


@pytest.mark.parametrize(("fixed", "target_fps"), [(20, 30.0), ("auto", None), ("full", 30.0)])
def test_a_fixed_height_stays(work_height, fixed, target_fps):
    height, net, made = work_height(target_fps, fixed)
    height.begin(24, 4 * 24 // 3)
    made[-1].answer = 16
    height.note(1.0, 0.008, 5.0, None)
    assert net.work_height == fixed and height.pixels == (20 if fixed == 20 else 24)
    assert str(height).endswith("(fixed)")


def test_steps_fix_the_height_until_it_is_made_automatic(work_height):
    height, net, made = work_height()
    height.begin(200, 4 * 200 // 3)
    for by, pixels in [(-1, 144), (-1, 128), (1, 144), (1, 160), (2, 192), (4, 200)]:
        assert height.step(by) == f"working height {pixels}, fixed (w: automatic)" and net.work_height == pixels
    made[-1].answer = 96
    height.note(1.0, 0.008, 5.0, None)
    assert net.work_height == 200
    assert height.make_automatic() == "working height follows 30 fps"
    assert len(made) == 2 and (made[-1].first, made[-1].limit) == (200, 200)
    made[-1].answer = 96
    height.note(1.0, 0.008, 6.0, None)
    assert net.work_height == 96


def test_without_a_target_rate_there_is_nothing_to_follow(work_height):
    height, _, _ = work_height(target_fps=None)
    height.begin(24, 4 * 24 // 3)
    height.step(-1)
    assert height.make_automatic() == "no frame rate was asked for: the working height stays"
    assert not height.automatic


def test_before_the_first_picture_there_is_no_height_to_step_from(work_height):
    height, net, _ = work_height()
    assert height.step(1) == height.step(-1) == "there is no picture yet"
    height.begin(24, 4 * 24 // 3)
    assert height.automatic and net.work_height == 24
