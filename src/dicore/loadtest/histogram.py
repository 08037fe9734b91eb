"""Latencies in HDR buckets: three digits from one microsecond to a day, in 224 KiB however long a run is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Histogram"]

_HALF_BITS = 10  # 2,048 sub-buckets, of which the upper half is used from the second bucket on: three digits
_HALF = 1 << _HALF_BITS
_MASK = 2 * _HALF - 1
HIGHEST = 86_400 * 1_000_000  # a day, in microseconds
_BUCKETS = math.ceil(math.log2((HIGHEST + 1) / (2 * _HALF))) + 1
SLOTS = (_BUCKETS + 1) * _HALF

Counts = npt.NDArray[np.int64]


def slots_of(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bucket of each value (microseconds, 0 to HIGHEST), as HdrHistogram numbers them."""
    # frexp is exact here: a value has at most 37 bits
    bucket = np.frexp((values | _MASK).astype(np.float64))[1].astype(np.int64) - (_HALF_BITS + 1)
    return (bucket << _HALF_BITS) + (values >> bucket)


def bounds_of(slots: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The lowest and the highest value that fall into each bucket."""
    bucket = np.maximum((slots >> _HALF_BITS) - 1, 0)
    lowest = (slots - (bucket << _HALF_BITS)) << bucket
    return lowest, lowest + (1 << bucket) - 1


class Histogram:
    """Counts of latencies in microseconds. What lies beyond a day is counted in `over`, never dropped."""

    __slots__ = ("counts", "largest", "over", "smallest", "total")

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(SLOTS, np.int64)
        self.over = 0
        self.total = 0  # sum of the values that are in the buckets
        self.smallest = HIGHEST
        self.largest = 0

    def add(self, values: npt.ArrayLike) -> None:
        """Count microseconds; negative ones (a clock that went back) count as 0."""
        array = np.maximum(np.asarray(values, np.int64), 0)
        if not array.size:
            return
        self.largest = max(self.largest, int(array.max()))
        self.smallest = min(self.smallest, int(array.min()))
        inside = array[array <= HIGHEST]
        self.over += array.size - inside.size
        self.total += int(inside.sum())
        self.counts += np.bincount(slots_of(inside), minlength=SLOTS)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another process or second."""
        self.counts += other.counts
        self.over += other.over
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def __len__(self) -> int:
        return int(self.counts.sum()) + self.over

    def __bool__(self) -> bool:
        return bool(len(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Histogram.from_json, (self.to_json(),)  # processes exchange filled buckets only

    @property
    def mean(self) -> float:
        """Microseconds; nan without samples in range."""
        inside = len(self) - self.over
        return self.total / inside if inside else math.nan

    def percentile(self, percent: float) -> float | None:
        """The value that `percent` of the samples do not exceed, in microseconds.

        None when fewer samples lie beyond it than one: 200 samples have no 99.9th percentile.
        """
        count = len(self)
        if not count or (count * (100 - percent) < 100 - 1e-9 and percent < 100):
            return None
        if percent >= 100:
            return float(self.largest)
        rank = max(1, math.ceil(percent / 100 * count - 1e-9))
        running = np.cumsum(self.counts)
        slot = int(np.searchsorted(running, rank))
        if slot >= SLOTS:
            return float(self.largest)
        return float(min(int(bounds_of(np.array([slot]))[1][0]), self.largest))

    def share_within(self, limit: float) -> float:
        """Share of the samples at or below `limit` microseconds, by whole buckets; 1 without samples."""
        count = len(self)
        if not count:
            return 1.0
        if limit >= HIGHEST:
            return 1 - self.over / count
        upto = int(slots_of(np.array([int(limit)]))[0])
        return float(self.counts[: upto + 1].sum()) / count

    def sample(self, size: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
        """`size` values drawn with replacement (bucket middles): what a bootstrap resamples."""
        filled = np.flatnonzero(self.counts)
        low, high = bounds_of(filled)
        share = self.counts[filled] / self.counts[filled].sum()
        return np.asarray(generator.choice((low + high) / 2, size, p=share))

    def curve(self) -> tuple[list[float], list[float]]:
        """Points of the percentile curve: (nines = -log10(1 - share), microseconds), for the plot in nines."""
        count = len(self)
        if not count:
            return [], []
        marks = [p for p in _CURVE if count * (100 - p) >= 100 - 1e-9]
        values = [self.percentile(p) for p in marks]
        return [-math.log10(1 - p / 100) for p in marks], [v for v in values if v is not None]

    def to_json(self) -> dict[str, Any]:
        """Filled buckets only, as [gap from the last one, count] pairs in one list."""
        filled = np.flatnonzero(self.counts)
        gaps = np.diff(filled, prepend=0)
        pairs = np.stack([gaps, self.counts[filled]], axis=1).ravel() if filled.size else np.zeros(0, np.int64)
        return {
            "unit": "us",
            "layout": "hdr-3-digits-1us-24h",
            "over": self.over,
            "total": self.total,
            "min": self.smallest if self else 0,
            "max": self.largest,
            "buckets": pairs.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Histogram:
        """The histogram of `to_json`. ValueError for another layout or buckets that are none."""
        if data.get("layout") != "hdr-3-digits-1us-24h":
            raise ValueError(f"histogram layout {data.get('layout')!r}, not 'hdr-3-digits-1us-24h'")
        one = cls()
        pairs = np.asarray(data["buckets"], np.int64).reshape(-1, 2)
        slots = np.cumsum(pairs[:, 0])
        if slots.size and (slots.min() < 0 or slots.max() >= SLOTS or pairs[:, 1].min() < 0):
            raise ValueError("a histogram bucket lies outside the layout")
        np.add.at(one.counts, slots, pairs[:, 1])
        one.over, one.total, one.largest = int(data["over"]), int(data["total"]), int(data["max"])
        one.smallest = int(data["min"]) if one else HIGHEST
        return one


_CURVE = [0.0, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 96, 97, 98, 98.5]
_CURVE += [99, 99.25, 99.5, 99.7, 99.8, 99.85, 99.9, 99.93, 99.95, 99.97, 99.98, 99.99, 99.995, 99.999, 99.9999]
