"""Two runs side by side: differences of percentiles with 95 % bootstrap intervals; "no detectable change" is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicore.loadtest.histogram import Histogram, bounds_of
from dicore.loadtest.result import Result

__all__ = ["Difference", "compare", "difference"]

DRAWS = 1000
LARGEST = 20_000  # samples a draw: beyond that the interval of a percentile is far below what a rerun differs by


@dataclass(frozen=True, slots=True)
class Difference:
    """How a percentile of the response time changed against the baseline, in microseconds and as a share."""

    stream: str
    percent: float
    baseline: float
    now: float
    low: float  # of the 95 % interval of the difference
    high: float

    @property
    def detectable(self) -> bool:
        """True when the interval leaves zero out and the difference is larger than a bucket."""
        return (self.low > 0 or self.high < 0) and abs(self.now - self.baseline) > 0.002 * self.baseline

    @property
    def share(self) -> float:
        """The difference as a share of the baseline."""
        return (self.now - self.baseline) / self.baseline if self.baseline else 0.0

    def __str__(self) -> str:
        if not self.detectable:
            return "no detectable change"
        word = "slower" if self.now > self.baseline else "faster"
        low, high = sorted((abs(self.low), abs(self.high)))
        return f"{abs(self.share):.1%} {word} ({low / 1000:,.2f} to {high / 1000:,.2f} ms)"


def difference(stream: str, percent: float, baseline: Histogram, now: Histogram, seed: int = 1) -> Difference | None:
    """The change of one percentile; None when either run has too few samples for it."""
    before, after = baseline.percentile(percent), now.percentile(percent)
    if before is None or after is None:
        return None
    generator = np.random.default_rng(seed)

    def draws(histogram: Histogram) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        size = min(len(histogram), LARGEST)
        # the order statistic of a resample: its rank is binomial, so no resample has to be drawn
        ranks = generator.binomial(size, percent / 100, DRAWS).clip(1, size)
        running = np.cumsum(histogram.counts) / max(1, histogram.counts.sum())
        slots = np.searchsorted(running, np.minimum(ranks / size, running[-1]))
        low, high = bounds_of(slots)
        # inside a bucket nothing is known: spread over its width
        return np.asarray(low + generator.random(DRAWS) * (high - low + 1))

    change = draws(now) - draws(baseline)
    low, high = np.percentile(change, [2.5, 97.5])
    return Difference(stream, percent, before, after, float(low), float(high))


def compare(baseline: Result, now: Result, percents: tuple[float, ...] = (50.0, 95.0, 99.0)) -> list[Difference]:
    """The differences of every stream that both runs have."""
    found = []
    names = {one.name for one in baseline.streams}
    for one in now.streams:
        if one.name in names:
            for percent in percents:
                item = difference(one.name, percent, baseline.stream(one.name).response, one.response)
                if item is not None:
                    found.append(item)
    return found
