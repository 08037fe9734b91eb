"""When work begins: arrival times of the open model, out of a rate that is a line of points over time.

The times are fixed before anything is sent and do not wait for answers. That is what makes the latencies honest: a
server that stalls for five seconds is charged for every request that should have begun meanwhile (the closed loop, in
which a user waits for the answer before the next request, leaves those out).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Profile", "constant", "day", "ramp", "spike", "step"]

Times = npt.NDArray[np.float64]
CHUNK = 4096  # arrivals computed at a time: memory stays flat however long a run is


@dataclass(frozen=True, slots=True)
class Profile:
    """A rate over time: (seconds, arrivals a second) points, straight lines between; two points at one time are a step.

    ValueError for fewer than two points, times that go back, negative rates, or no length.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        times = [t for t, _ in self.points]
        if len(times) < 2 or times[0] != 0 or sorted(times) != times or times[-1] <= 0:
            raise ValueError("a profile begins at 0 s and goes forward over two or more points")
        if min(rate for _, rate in self.points) < 0:
            raise ValueError("a rate below zero")

    @property
    def duration(self) -> float:
        """Seconds to its last point."""
        return self.points[-1][0]

    @property
    def peak(self) -> float:
        """The highest rate."""
        return max(rate for _, rate in self.points)

    @property
    def total(self) -> float:
        """How many arrivals are expected in all."""
        return float(self._sums()[-1])

    def rate_at(self, seconds: npt.ArrayLike) -> Times:
        """The rate at each time; 0 outside."""
        t, rate = np.array(self.points).T
        return np.asarray(np.interp(np.asarray(seconds, float), t, rate, left=0, right=0), float)

    def scaled(self, factor: float) -> Profile:
        """The same curve, `factor` times as high."""
        return Profile(tuple((t, rate * factor) for t, rate in self.points))

    def stretched(self, duration: float) -> Profile:
        """The same curve over `duration` seconds (a day in ten minutes keeps its rates, not its count)."""
        return Profile(tuple((t * duration / self.duration, rate) for t, rate in self.points))

    def times(self, generator: np.random.Generator | None = None) -> Iterator[Times]:
        """Arrival times in seconds, ascending, in arrays of some thousands.

        Without a generator evenly (the n-th comes when the expected count reaches n); with one as a Poisson process of
        this rate: gaps are exponential, which is how independent people arrive.
        """
        total, done, reached = self.total, 0, 0.0
        while True:
            if generator is None:
                marks = np.arange(done, done + CHUNK, dtype=float)
                done += CHUNK
            else:
                marks = reached + np.cumsum(generator.exponential(1.0, CHUNK))
                reached = float(marks[-1])
            inside = marks[marks < total]
            if inside.size:
                yield self._inverse(inside)
            if inside.size < CHUNK:
                return

    def _sums(self) -> Times:
        """Expected arrivals before each point: the area under the line."""
        t, rate = np.array(self.points, float).T
        return np.concatenate([[0.0], np.cumsum(np.diff(t) * (rate[1:] + rate[:-1]) / 2)])

    def _inverse(self, counts: Times) -> Times:
        """The time at which the expected count reaches each of `counts`."""
        t, rate = np.array(self.points, float).T
        sums = self._sums()
        # a piece that adds nothing (a pause, or the two points of a step) is never the one that reaches a count
        piece = np.minimum(np.searchsorted(sums, counts, side="right") - 1, len(t) - 2)
        length = t[piece + 1] - t[piece]
        start, left = rate[piece], counts - sums[piece]
        slope = np.divide(rate[piece + 1] - start, length, out=np.zeros_like(left), where=length > 0)
        # left = start x + slope x^2 / 2, in the form that is exact for a slope of zero
        under = np.sqrt(np.maximum(start * start + 2 * slope * left, 0))
        return np.asarray(
            t[piece] + np.divide(2 * left, start + under, out=np.zeros_like(left), where=start + under > 0)
        )


def constant(rate: float, duration: float) -> Profile:
    """The same rate all the time."""
    return Profile(((0.0, rate), (duration, rate)))


def ramp(low: float, high: float, duration: float) -> Profile:
    """From one rate to another in a straight line."""
    return Profile(((0.0, low), (duration, high)))


def step(rates: Sequence[float], each: float) -> Profile:
    """One rate after the other, `each` seconds long."""
    points: list[tuple[float, float]] = []
    for number, rate in enumerate(rates):
        points += [(number * each, rate), ((number + 1) * each, rate)]
    return Profile(tuple(points))


def spike(base: float, peak: float, duration: float, at: float, width: float) -> Profile:
    """A base rate, and `peak` for `width` seconds from `at` on. ValueError when that lies outside the duration."""
    if at <= 0 or at + width >= duration or width <= 0:
        raise ValueError("the spike lies outside the run")
    edges = [(0.0, base), (at, base), (at, peak), (at + width, peak), (at + width, base), (duration, base)]
    return Profile(tuple(edges))


HOURS = (2, 2, 2, 2, 2, 3, 8, 30, 75, 100, 98, 90, 70, 78, 92, 88, 70, 45, 25, 15, 10, 7, 5, 3)


def day(mean: float, duration: float = 86_400.0, hours: Sequence[float] = HOURS) -> Profile:
    """A hospital's day in `duration` seconds with `mean` arrivals a second over it all: 24 hourly weights, by default
    a day clinic's: a peak from nine to eleven, a second one in the afternoon, little at night."""
    if len(hours) != 24 or min(hours) < 0 or sum(hours) <= 0:
        raise ValueError("a day has 24 hourly weights")
    return step([mean * weight * 24 / sum(hours) for weight in hours], duration / 24)
