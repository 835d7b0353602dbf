"""Figures of the last few seconds."""

from rtstyle.live.statistics import Recent, median_and_p95


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
