"""Arrival times: as many as the area under the rate, where the rate is, and independent of what the target does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicore.loadtest import arrivals
from dicore.loadtest.arrivals import Profile

profiles = st.lists(st.tuples(st.floats(0.5, 20), st.floats(0, 300)), min_size=1, max_size=6).map(
    lambda steps: Profile(
        tuple(
            zip([0.0, *np.cumsum([t for t, _ in steps]).tolist()], [steps[0][1], *[r for _, r in steps]], strict=True)
        )
    )
)


def all_times(profile, generator=None):
    found = list(profile.times(generator))
    return np.concatenate(found) if found else np.zeros(0)


@given(profiles)
def test_even_arrivals_are_as_many_as_the_area_and_in_order(profile):
    times = all_times(profile)
    assert abs(len(times) - profile.total) <= 1
    assert (np.diff(times) >= -1e-9).all()
    if len(times):
        assert times[0] >= 0
        assert times[-1] <= profile.duration + 1e-9


@given(profiles, st.integers(0, 1000))
def test_a_seed_gives_the_same_times_and_about_as_many(profile, seed):
    first = all_times(profile, np.random.default_rng(seed))
    assert (first == all_times(profile, np.random.default_rng(seed))).all()
    assert abs(len(first) - profile.total) <= 6 * np.sqrt(profile.total) + 6


def test_constant_gaps_are_equal_and_poisson_gaps_are_exponential():
    assert np.allclose(np.diff(all_times(arrivals.constant(250, 20))), 1 / 250)
    gaps = np.sort(np.diff(all_times(arrivals.constant(250, 80), np.random.default_rng(7))))
    model = 1 - np.exp(-250 * gaps)
    distance = np.abs(model - np.arange(1, len(gaps) + 1) / len(gaps)).max()  # Kolmogorov-Smirnov
    assert distance < 1.63 / np.sqrt(len(gaps))


@pytest.mark.parametrize(
    ("profile", "windows"),
    [
        (arrivals.ramp(0, 200, 10), [(0, 5, 250), (5, 10, 750)]),
        (arrivals.step([10, 100, 0, 50], 5), [(0, 5, 50), (5, 10, 500), (10, 15, 0), (15, 20, 250)]),
        (arrivals.spike(20, 500, 10, 4, 1), [(0, 4, 80), (4, 5, 500), (5, 10, 100)]),
    ],
)
def test_shapes_put_the_arrivals_where_the_rate_is(profile, windows):
    times = all_times(profile)
    for low, high, count in windows:
        assert abs(((times >= low) & (times < high)).sum() - count) <= 1


def test_a_day_has_its_mean_and_its_peak_in_the_morning():
    day = arrivals.day(10)
    assert day.total == pytest.approx(10 * 86_400)
    assert 8 * 3600 < float(np.median(all_times(arrivals.day(0.1)))) < 15 * 3600
    assert day.rate_at(9.5 * 3600) == day.peak


@pytest.mark.parametrize(
    "points", [[(0, 1)], [(1, 1), (2, 1)], [(0, 1), (2, 1), (1, 1)], [(0, -1), (1, 1)], [(0, 1), (0, 1)]]
)
def test_what_is_no_profile_is_refused(points):
    with pytest.raises(ValueError, match=r"profile|rate"):
        Profile(tuple(points))


def test_scaled_and_stretched():
    assert arrivals.ramp(1, 3, 10).scaled(2).total == pytest.approx(40)
    assert arrivals.ramp(1, 3, 10).stretched(5).total == pytest.approx(10)
