"""HDR buckets beside the reference implementation, and what may not be lost."""

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import peer_module
from dicore.loadtest.histogram import HIGHEST, SLOTS, Histogram, bounds_of, slots_of

hdrh = peer_module("hdrh.histogram")
values = st.lists(st.integers(0, HIGHEST), min_size=1, max_size=200)


def filled(numbers):
    one = Histogram()
    one.add(numbers)
    return one


@given(values)
def test_a_percentile_is_the_bucket_of_the_sample_at_its_rank(numbers):
    ours, ordered = filled(numbers), sorted(numbers)
    for percent in (1, 10, 50, 75, 90):
        got = ours.percentile(percent)
        if got is not None:
            exact = ordered[math.ceil(percent * len(ordered) / 100) - 1]
            assert exact <= got <= min(max(numbers), exact * 1.001 + 1)


def test_buckets_are_numbered_as_in_hdrhistogram():
    generator = np.random.default_rng(1)
    numbers = np.unique(np.exp(generator.uniform(0, np.log(HIGHEST), 20_000)).astype(np.int64))
    theirs = hdrh.HdrHistogram(1, HIGHEST, 3)
    assert [theirs._counts_index_for(int(n)) for n in numbers] == slots_of(numbers).tolist()
    assert slots_of(np.array([HIGHEST]))[0] < SLOTS


@given(values)
def test_each_value_lies_within_its_bucket_and_buckets_are_a_thousandth_wide(numbers):
    array = np.array(numbers)
    low, high = bounds_of(slots_of(array))
    assert (low <= array).all()
    assert (array <= high).all()
    assert ((high - low) <= np.maximum(array / 1000, 0)).all()


@given(values, values)
def test_merged_is_as_if_counted_in_one(first, second):
    merged = filled(first)
    merged.merge(filled(second))
    whole = filled(first + second)
    assert (merged.counts == whole.counts).all()
    assert (merged.largest, merged.smallest, merged.total) == (whole.largest, whole.smallest, whole.total)


@given(values)
def test_json_and_pickle_keep_everything(numbers):
    one = filled(numbers)
    for again in (Histogram.from_json(json.loads(json.dumps(one.to_json()))), pickle.loads(pickle.dumps(one))):
        assert (again.counts == one.counts).all()
        assert (again.over, again.total, again.smallest, again.largest) == (
            one.over,
            one.total,
            one.smallest,
            one.largest,
        )


def test_beyond_a_day_is_counted_and_negative_is_zero():
    one = filled([HIGHEST + 1, 5 * HIGHEST, -3, 10])
    assert (len(one), one.over, one.smallest) == (4, 2, 0)
    assert one.percentile(100) == 5 * HIGHEST


@pytest.mark.parametrize(
    ("count", "percent", "known"),
    [(200, 99.9, False), (200, 99, True), (1000, 99.9, True), (99, 99, False), (0, 50, False)],
)
def test_a_percentile_without_a_sample_beyond_it_is_none(count, percent, known):
    assert (filled(range(1, count + 1)).percentile(percent) is not None) == known


@pytest.mark.parametrize("damage", [{"layout": "other"}, {"buckets": [SLOTS, 1]}, {"buckets": [1, -1]}])
def test_a_damaged_one_is_refused(damage):
    with pytest.raises(ValueError, match=r"layout|bucket"):
        Histogram.from_json(filled([1, 2, 3]).to_json() | damage)
