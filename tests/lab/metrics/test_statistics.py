"""Summaries against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from lab.metrics.statistics import MIN_GROUPS, Summary, interval, paired, summarize


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mean_median_and_missing_by_hand() -> None:
    got = summarize([1.0, None, 4.0, 1.0], ["a", "b", "c", "d"], rng())
    assert got == Summary(2.0, 1.0, None, None, 3)


def test_nothing_to_summarise() -> None:
    assert summarize([None, None], ["a", "b"], rng()) == Summary(None, None, None, None, 0)


def test_no_interval_below_eight_groups_however_many_frames() -> None:
    values = list(np.linspace(0, 1, 700))
    few = summarize(values, [i % (MIN_GROUPS - 1) for i in range(700)], rng())
    enough = summarize(values, [i % MIN_GROUPS for i in range(700)], rng())
    assert few.low is None
    assert few.high is None
    assert few.n == 700
    assert enough.low is not None
    assert enough.high is not None


def test_interval_of_a_normal_sample_has_the_textbook_width() -> None:
    values = rng(1).normal(5.0, 2.0, 400)
    got = interval(values, list(range(400)), rng(2), resamples=20_000)
    assert got is not None
    half = 1.959964 * values.std() / np.sqrt(400)  # the bootstrap's own spread is the population one
    assert got[0] == pytest.approx(values.mean() - half, abs=0.03 * half)
    assert got[1] == pytest.approx(values.mean() + half, abs=0.03 * half)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    source = rng(3)
    covered = 0
    for _ in range(300):
        got = interval(source.normal(0, 1, 40), list(range(40)), source, resamples=500)
        assert got is not None
        covered += got[0] <= 0 <= got[1]
    # 95 % nominal; percentile intervals of 40 are a little short, and 300 trials have a deviation of 1.3 %.
    assert 0.90 <= covered / 300 <= 0.98


def test_frames_of_one_group_do_not_narrow_the_interval() -> None:
    means = rng(4).normal(0, 1, 30)
    once = interval(means, list(range(30)), rng(5))
    tenfold = interval(np.repeat(means, 10), list(np.repeat(np.arange(30), 10)), rng(5))
    assert once is not None
    assert tenfold is not None
    assert tenfold == pytest.approx(once)


def test_groups_weigh_by_their_frames() -> None:
    # one group of nine ones and eight groups of one zero: the mean is 9/17, as over frames
    values = np.array([1.0] * 9 + [0.0] * 8)
    groups = [0] * 9 + list(range(1, 9))
    got = interval(values, groups, rng())
    assert got is not None
    assert got[0] <= 9 / 17 <= got[1]


def test_pairing_takes_out_what_is_shared() -> None:
    street = rng(6).normal(0, 10, 50)
    ours = {i: float(street[i] + 1 + 0.1 * (-1) ** i) for i in range(50)}
    theirs: dict[int, float | None] = {i: float(street[i]) for i in range(50)}
    theirs[0] = None
    got = paired(ours, theirs, {i: i for i in range(50)}, rng())
    assert got.n == 49
    # 24 differences of 1.1 and 25 of .9
    assert got.mean == pytest.approx((24 * 1.1 + 25 * 0.9) / 49)
    assert got.low is not None
    assert got.low > 0.9


def test_the_same_stream_gives_the_same_interval() -> None:
    values = list(rng(7).normal(size=40))
    assert summarize(values, range(40), rng(8)) == summarize(values, range(40), rng(8))


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 values are not finite"):
        summarize([1.0, float("nan")], ["a", "b"], rng())
    with pytest.raises(ValueError, match="1 values for 2 groups"):
        summarize([1.0], ["a", "b"], rng())
