"""Threads between stages: order, bounds, errors, ends."""

import itertools
import signal
import threading
import time

import pytest

from rtstyle.video.pipeline import Loads, Spread, Through, ahead, run_stages


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("stage-")] == []


def test_items_arrive_in_order_through_stages_of_uneven_speed():
    def slow_at_times(x):
        time.sleep(0.002 * (x % 3))
        return x + 1

    assert list(run_stages(range(50), slow_at_times, lambda x: 10 * x)) == [10 * (x + 1) for x in range(50)]


def test_no_items_and_no_stages():
    assert list(run_stages([], abs)) == []
    assert list(run_stages([1, 2, 3])) == [1, 2, 3]


def test_none_is_an_item_like_any_other():
    assert list(run_stages([None, 0, None], lambda x: x)) == [None, 0, None]


def test_stages_overlap():
    """Two stages that each wait 50 ms for each of 10 items take about 11 steps, not 20."""

    def wait(x):
        time.sleep(0.05)
        return x

    started = time.monotonic()
    list(run_stages(range(10), wait, wait))
    assert time.monotonic() - started < 0.85


def test_a_source_without_end_runs_no_further_ahead_than_the_queues():
    produced = itertools.count()
    last = 0

    def source():
        nonlocal last
        while True:
            last = next(produced)
            time.sleep(0.001)
            yield last

    items = run_stages(source(), lambda x: x, depth=3)
    try:
        for _ in range(5):
            next(items)
        time.sleep(0.3)
    finally:
        items.close()
    # 5 taken, 3 in each of two queues, 1 in the hands of the stage and 1 in those of the source
    assert 5 <= last <= 5 + 3 + 3 + 2


def test_a_long_stage_is_told_that_nobody_wants_its_result_before_it_is_waited_for():
    """As it is when Ctrl-C strikes the main thread while it waits for the next item."""
    over, told = threading.Event(), []

    def long(x):
        assert over.wait(20)
        return x

    def abandon():
        told.append(time.monotonic())
        over.set()

    items = run_stages([1], long, abandon=abandon)
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(items)
    assert len(told) == 1 and time.monotonic() - started < 10
    assert list(run_stages([1, 2], abs, abandon=lambda: told.append(0))) == [1, 2] and len(told) == 1
    with pytest.raises(ZeroDivisionError):
        list(run_stages([1], lambda x: 1 / 0, abandon=lambda: told.append(0)))
    assert len(told) == 2


def fail_at(number, error):
    def stage(x):
        if x == number:
            raise error
        return x

    return stage


def failing_source():
    yield from range(5)
    raise KeyError("source")


def test_the_error_of_a_stage_is_raised_here():
    with pytest.raises(ZeroDivisionError, match="stage"):
        list(run_stages(itertools.count(), fail_at(7, ZeroDivisionError("stage")), lambda x: x))


def test_the_error_of_the_source_is_raised_here():
    with pytest.raises(KeyError, match="source"):
        list(run_stages(failing_source(), lambda x: x))


def test_the_first_error_wins():
    def late(x):
        if x == 2:
            time.sleep(0.2)
            raise ValueError("later")
        return x

    with pytest.raises(ZeroDivisionError, match="first"):
        list(run_stages(range(20), late, fail_at(1, ZeroDivisionError("first"))))


def test_closing_early_stops_the_threads():
    items = run_stages(itertools.count(), lambda x: x)
    assert next(items) == 0
    assert [t.name for t in threading.enumerate() if t.name.startswith("stage-")]
    items.close()


def test_an_error_of_the_consumer_stops_the_threads():
    items = run_stages(itertools.count(), lambda x: x)
    with pytest.raises(RuntimeError):
        for item in items:
            if item == 3:
                items.throw(RuntimeError("consumer"))


def test_a_spread_stage_works_on_several_items_at_once_and_keeps_their_order():
    together = threading.Barrier(3)

    def call(x):
        together.wait(timeout=10)  # three at once, or it breaks
        time.sleep(0.003 * ((x + 1) % 3))
        return 10 * x

    assert list(run_stages(range(30), Spread(call, 3), lambda x: x + 1)) == [10 * x + 1 for x in range(30)]


def test_an_error_in_a_spread_stage_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(run_stages(itertools.count(), Spread(fail_at(9, ZeroDivisionError()), 4), lambda x: x))


def test_a_spread_stage_runs_no_further_ahead_than_its_workers_and_the_queues():
    started = []
    items = run_stages(itertools.count(), Spread(lambda x: started.append(x) or x, 2), depth=2)
    try:
        assert next(items) == 0
        time.sleep(0.3)
    finally:
        items.close()
    assert len(started) <= 1 + 2 + 2  # taken, queued behind the stage, in the hands of its workers


def test_a_through_stage_may_give_fewer_or_more_items():
    def pairs(items):
        for item in items:
            yield item, next(items, None)

    def doubled(items):
        for item in items:
            yield from (item, item)

    assert list(run_stages(range(5), Through(pairs))) == [(0, 1), (2, 3), (4, None)]
    assert list(run_stages(range(3), Through(doubled), abs)) == [0, 0, 1, 1, 2, 2]
    assert list(run_stages(range(3), Spread(abs, 2), Through(doubled))) == [0, 0, 1, 1, 2, 2]
    assert list(run_stages(range(3), Through(lambda items: []))) == []


def test_an_error_in_a_through_stage_is_raised_here():
    def stumbles(items):
        yield next(items)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_stages(itertools.count(), Through(stumbles), lambda x: x))


def test_loads_count_work_and_not_waiting():
    def slow(x):
        time.sleep(0.02)
        return x

    def idle(items):
        yield from items

    loads = Loads(("source", "through", "spread", "slow"))
    list(run_stages(range(20), Through(idle), Spread(slow, 2), slow, loads=loads))
    shares = loads.shares()
    assert shares["source"] < 0.2 and shares["through"] < 0.2
    assert 0.3 < shares["spread"] < 0.75  # two threads share the time of one
    assert shares["slow"] > 0.7


def test_ahead_keeps_the_order_and_stays_a_few_items_ahead():
    begun, together = [], threading.Barrier(2, timeout=20)

    def call(item):
        begun.append(item)
        together.wait()  # two at once, or this breaks
        return -item

    results = ahead(call, iter(range(10)), 2)
    assert next(results) == 0
    assert max(begun) <= 2, "it runs away"
    assert list(results) == [-item for item in range(1, 10)]


def test_ahead_raises_what_a_call_raises():
    def call(item):
        return 1 // item

    with pytest.raises(ZeroDivisionError):
        list(ahead(call, [1, 0, 1], 2))
    assert list(ahead(call, [], 2)) == []
