"""Calls in threads of their own: what they give is lost nowhere."""

from concurrent.futures import Future, wait

import pytest

from rtstyle import threads


def test_a_result_that_comes_as_the_wait_ends_is_returned():
    class JustNow(Future):
        def result(self, timeout=None):
            if not self.done():
                self.set_result("good")
                raise TimeoutError
            return super().result(timeout)

    assert threads.wait_for(JustNow(), seconds=0) == "good"


def test_a_result_that_comes_after_the_wait_is_closed(monkeypatch):
    def too_short(future, seconds):
        wait([future])
        raise TimeoutError

    monkeypatch.setattr(threads, "wait_for", too_short)
    closed = []
    with pytest.raises(TimeoutError):
        threads.interruptible(lambda: "a capture", "test", 0.1, closed.append)
    assert closed == ["a capture"] and not threads.left_at_work()


def test_the_calls_own_error_is_raised():
    def fails():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        threads.interruptible(fails, "test", 5)
