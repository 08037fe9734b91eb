"""The search for the highest load that a target carries: a state machine, told results, that says what to run next.

It knows no network and no clock. Double until the objective fails, bisect until the bracket is within 5 %, hold the
answer three times, then go 10 % above it to show what failure looks like. A hold that fails lowers the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Search", "Step"]

Phase = Literal["double", "bisect", "hold", "beyond", "done"]


@dataclass(frozen=True, slots=True)
class Step:
    """One trial: run at `rate`, and say what came out."""

    phase: Phase
    rate: float
    passed: bool | None = None  # None: the measurement was invalid (the generator, not the target, was the limit)
    note: str = ""


@dataclass(slots=True)
class Search:
    """`next()` is the rate to try (None when it is over), `tell(passed)` its outcome; `answer` the breakpoint.

    `passed` is None when the trial could not be judged; it is tried once again, then counts as the generator's
    ceiling: the answer is then a lower bound (`bounded` is False).
    """

    start: float
    ceiling: float = 1e9
    tolerance: float = 0.05
    holds: int = 3
    steps: list[Step] = field(default_factory=list)
    phase: Phase = "double"
    good: float = 0.0  # highest rate that passed
    bad: float = 0.0  # lowest rate that failed; 0: none yet
    bounded: bool = True
    _held: int = 0
    _again: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.start <= self.ceiling or not 0 < self.tolerance < 1 or self.holds < 1:
            raise ValueError("start lies in (0, ceiling], tolerance in (0, 1), holds is 1 or more")

    @property
    def answer(self) -> float:
        """The highest rate that was held; 0 when none was."""
        return self.good if self.phase in ("beyond", "done") else 0.0

    def next(self) -> float | None:
        """The rate of the next trial, or None."""
        match self.phase:
            case "double":
                if self.good:
                    return min(self.good * 2, self.ceiling)
                return self.bad / 2 if self.bad else self.start
            case "bisect":
                return (self.good + self.bad) / 2
            case "hold":
                return self.good
            case "beyond":
                return min(self.good * 1.1, self.ceiling * 1.1)
            case "done":
                return None

    def tell(self, passed: bool | None, note: str = "") -> None:
        """The outcome of the trial that `next` asked for. RuntimeError when it asked for none."""
        rate = self.next()
        if rate is None:
            raise RuntimeError("the search is over")
        self.steps.append(Step(self.phase, rate, passed, note))
        if passed is None:
            if not self._again:
                self._again = True  # once more
                return
            self._again = False
            return self._generator_is_the_limit(rate)
        self._again = False
        match self.phase:
            case "double":
                self._doubled(rate, passed)
            case "bisect":
                if passed:
                    self.good = rate
                else:
                    self.bad = rate
                self._narrow()
            case "hold":
                self._hold(passed)
            case "beyond":
                self.phase = "done"

    def _doubled(self, rate: float, passed: bool) -> None:
        if passed:
            self.good = rate
            if rate >= self.ceiling:
                self.bounded, self.phase = False, "hold"
            elif self.bad:
                self._narrow()
        else:
            self.bad = rate
            if self.good:
                self._narrow()
            elif rate < self.start / 1024:
                self.phase = "done"  # carries nothing

    def _narrow(self) -> None:
        if self.bad - self.good <= self.tolerance * self.good:
            self.phase, self._held = "hold", 0
        else:
            self.phase = "bisect"

    def _hold(self, passed: bool) -> None:
        if passed:
            self._held += 1
            if self._held == self.holds:
                self.phase = "beyond"
            return
        # it passed once and does not last: the answer lies lower
        self.bad, self.bounded = self.good, True
        self.good = self.good * (1 - self.tolerance)
        self._held = 0
        if self.good < self.start / 1024:
            self.good, self.phase = 0.0, "done"

    def _generator_is_the_limit(self, rate: float) -> None:
        self.bounded = False
        if self.phase == "beyond":
            self.phase = "done"
        elif self.good and rate > self.good:
            self.bad = rate
            self._narrow()
        else:
            self.phase = "done"
