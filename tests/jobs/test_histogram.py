from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.jobs.histogram import STEP, quantile


def bucket_of(seconds: float) -> int:
    return math.floor(math.log(min(max(seconds, 0.001), 1e9)) / math.log(STEP))


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_within_a_step_of_the_true_one(values: list[float], share: float) -> None:
    told = quantile(Counter(map(bucket_of, values)), share)
    exact = sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]
    assert told is not None
    assert exact / STEP * 0.999 <= told <= exact * STEP * 1.001


def test_of_nothing_there_is_none_and_what_took_no_time_is_told_as_none() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({bucket_of(0): 3}, 0.95) == 0


def test_many_that_are_alike_are_told_within_a_twentieth() -> None:
    assert quantile({bucket_of(7.0): 1000}, 0.5) == pytest.approx(7.0, rel=0.05)
