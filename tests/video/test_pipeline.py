"""Threads between stages: order, bounds, errors, ends."""

import itertools
import signal
import threading
import time

import pytest

from rtstyle.video.pipeline import Loads, each, run_stages


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("stage-")] == []


def test_items_arrive_in_order_through_stages_of_uneven_speed():
    def slow_at_times(x):
        time.sleep(0.002 * (x % 3))
        return x + 1

    assert list(run_stages(range(50), each(slow_at_times), each(lambda x: 10 * x))) == [10 * (x + 1) for x in range(50)]


def test_no_items_and_no_stages():
    assert list(run_stages([], each(abs))) == []
    assert list(run_stages([1, 2, 3])) == [1, 2, 3]


def test_none_is_an_item_like_any_other():
    assert list(run_stages([None, 0, None], each(lambda x: x))) == [None, 0, None]


def test_stages_overlap():
    """Two stages that meet: the first at its second item, the second at its first."""
    together = threading.Barrier(2, timeout=20)

    def meet_at(item):
        def stage(x):
            if x == item:
                together.wait()
            return x

        return stage

    assert list(run_stages(range(10), each(meet_at(1)), each(meet_at(0)))) == list(range(10))


def test_a_source_without_end_runs_no_further_ahead_than_the_queues():
    produced = itertools.count()
    last = 0

    def source():
        nonlocal last
        while True:
            last = next(produced)
            time.sleep(0.001)
            yield last

    items = run_stages(source(), each(lambda x: x), depth=3)
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
    over, reports = threading.Event(), []

    def long(x):
        assert over.wait(20)
        return x

    def abandon():
        reports.append(time.monotonic())
        over.set()

    items = run_stages([1], each(long), abandon=abandon)
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(items)
    count = len(reports)
    assert count >= 1 and time.monotonic() - started < 10
    assert list(run_stages([1, 2], each(abs), abandon=lambda: reports.append(0))) == [1, 2] and len(reports) == count
    with pytest.raises(ZeroDivisionError):
        list(run_stages([1], each(lambda x: 1 / 0), abandon=lambda: reports.append(0)))
    assert len(reports) > count


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
        list(run_stages(itertools.count(), each(fail_at(7, ZeroDivisionError("stage"))), each(abs)))


def test_the_error_of_the_source_is_raised_here():
    with pytest.raises(KeyError, match="source"):
        list(run_stages(failing_source(), each(abs)))


def test_the_first_error_wins():
    def late(x):
        if x == 2:
            time.sleep(0.2)
            raise ValueError("later")
        return x

    with pytest.raises(ZeroDivisionError, match="first"):
        list(run_stages(range(20), each(late), each(fail_at(1, ZeroDivisionError("first")))))


def test_closing_early_stops_the_threads():
    items = run_stages(itertools.count(), each(abs))
    assert next(items) == 0
    assert [t.name for t in threading.enumerate() if t.name.startswith("stage-")]
    items.close()


def test_an_error_of_the_consumer_stops_the_threads():
    items = run_stages(itertools.count(), each(abs))
    with pytest.raises(RuntimeError):
        for item in items:
            if item == 3:
                items.throw(RuntimeError("consumer"))


def test_a_stage_of_several_workers_keeps_the_order():
    together = threading.Barrier(3)

    def call(x):
        together.wait(timeout=10)  # three at once, or it breaks
        time.sleep(0.003 * ((x + 1) % 3))
        return 10 * x

    assert list(run_stages(range(30), each(call, 3), each(lambda x: x + 1))) == [10 * x + 1 for x in range(30)]


def test_an_error_of_one_of_several_workers_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(run_stages(itertools.count(), each(fail_at(9, ZeroDivisionError()), 4), each(abs)))


def test_several_workers_run_no_further_ahead_than_the_queues():
    started = []
    items = run_stages(itertools.count(), each(lambda x: started.append(x) or x, 2), depth=2)
    try:
        assert next(items) == 0
        time.sleep(0.3)
    finally:
        items.close()
    assert len(started) <= 1 + 2 + 1 + 3  # taken, queued behind the stage, in its hands, begun


def test_several_workers_begin_one_item_more_than_their_number():
    begun, together = [], threading.Barrier(2, timeout=20)

    def call(item):
        begun.append(item)
        together.wait()  # two at once, or this breaks
        return -item

    results = each(call, 2)(iter(range(10)))
    assert next(results) == 0
    assert max(begun) <= 3, "it runs away"
    assert list(results) == [-item for item in range(1, 10)]
    assert list(each(abs, 2)([])) == []


def test_a_stage_may_give_fewer_or_more_items():
    def pairs(items):
        for item in items:
            yield item, next(items, None)

    def doubled(items):
        for item in items:
            yield from (item, item)

    assert list(run_stages(range(5), pairs)) == [(0, 1), (2, 3), (4, None)]
    assert list(run_stages(range(3), doubled, each(abs))) == [0, 0, 1, 1, 2, 2]
    assert list(run_stages(range(3), each(abs, 2), doubled)) == [0, 0, 1, 1, 2, 2]
    assert list(run_stages(range(3), lambda items: [])) == []


def test_an_error_between_items_is_raised_here():
    def stumbles(items):
        yield next(items)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_stages(itertools.count(), stumbles))


def test_loads_count_the_work_of_every_worker():
    """By a clock of its own: 10 seconds pass, of which the stages are busy so long."""
    now = 0.0

    def take(seconds):
        nonlocal now
        now += seconds

    def source():
        for _ in range(2):
            take(1.0)
            yield 3.0

    loads = Loads(("decode", "paint", "encode"), lambda: now)
    paint, encode = loads.timed("paint", take, workers=2), loads.timed("encode", take)
    for seconds in loads.timed_items("decode", source()):
        paint(seconds)
    encode(0.5)
    take(1.5)
    assert loads.shares() == {"decode": 0.2, "paint": 0.3, "encode": 0.05}
    assert Loads(("decode",)).shares() == {"decode": 0.0}
