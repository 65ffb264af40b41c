import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.clock import UNKNOWN, ProbeTimes, estimate


def test_one_probe_by_hand():
    """Sent at 100, 30 on the way, there at 1130 (offset 1000), 5 inside, 10 on the way back, back at 145.

    (1030 + 990) / 2 = 1010 and (45 - 5) / 2 = 20.
    """
    found = estimate([ProbeTimes(100, 1130, 1135, 145)])
    assert (found.offset_ns, found.bound_ns) == (1010, 20)


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**6), st.integers(0, 10**8)), min_size=1, max_size=20),
)
def test_the_true_offset_is_within_the_bound(offset, ways):
    probes, now = [], 10**12
    for there, inside, back in ways:
        probes.append(ProbeTimes(now, now + there + offset, now + there + inside + offset, now + there + inside + back))
        now = probes[-1].t4 + 1
    found = estimate(probes)
    assert abs(found.offset_ns - offset) <= found.bound_ns + 0.5  # the offset is rounded to a nanosecond


def test_the_lowest_delays_count():
    quick = ProbeTimes(0, 1010, 1010, 20)  # offset 1000, bound 10
    slow = [ProbeTimes(0, 9000, 9000, 10_000) for _ in range(7)]
    found = estimate([*slow, quick])
    assert (found.offset_ns, found.bound_ns) == (1000, 10)


def test_an_estimate_ages_by_50_ppm():
    found = estimate([ProbeTimes(0, 1010, 1010, 20)])
    assert found.aged(20 + 2_000_000).bound_ns == pytest.approx(10 + 100)
    assert found.aged(20 + 2_000_000).offset_ns == 1000


def test_before_the_first_probe_nothing_is_known():
    assert math.isinf(UNKNOWN.aged(10**15).bound_ns)


@pytest.mark.parametrize("probes", [[], [ProbeTimes(10, 0, 0, 5)]])
def test_nonsense_is_refused(probes):
    with pytest.raises(ValueError, match="probe"):
        estimate(probes)
