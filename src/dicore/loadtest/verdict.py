"""Whether a measurement may be believed, and whether what was asked for held. Two questions, never mixed.

VALID       the load was made as planned and the generator had room
DEGRADED    it was made, with remarks that a reader must know
INVALID     the generator, not the target, decided the figures: no conclusion about the target may be drawn
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dicore.loadtest.histogram import Histogram
from dicore.loadtest.scenario import Objective

__all__ = ["Check", "Health", "Judgement", "Verdict", "check_objective", "judge", "nagle_signature"]


class Verdict(StrEnum):
    """How far the figures may be believed."""

    VALID = "VALID"
    DEGRADED = "DEGRADED"
    INVALID = "INVALID"


@dataclass(slots=True)
class Health:
    """How the generator itself was. Shares are of one; lags in seconds; sums over its processes where they add up."""

    intended: int = 0  # arrivals that should have begun
    started: int = 0  # that did begin
    waited: int = 0  # so many had to wait for a free association
    unserved: int = 0  # of these, so many were still waiting at the end of the grace: the target did not free one
    start_lag: Histogram = field(default_factory=Histogram)  # intended to actual start, where an association was free
    loop_lag: Histogram = field(default_factory=Histogram)  # how late the event loop's own timer came
    cpu: float = 0.0  # of the busiest process: share of a core used
    steal: float = 0.0  # share of the time that the CPU was given to others: stolen, or runnable but waiting
    descriptors: float = 0.0  # open files / the limit, of the fullest process
    ports_exhausted: int = 0  # connects that found no local port or no descriptor
    lost_workers: int = 0
    out_of_range: int = 0  # latencies beyond a day


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reasons, the worst first."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def judge(health: Health, *, closed: bool = False) -> Judgement:
    """The verdict on a measurement. `closed`: no stream has arrivals, so there is no intended rate to compare with."""
    bad: list[str] = []
    remark: list[str] = []

    def level(value: float, degraded: float, invalid: float, text: str) -> None:
        if value > invalid:
            bad.append(text)
        elif value > degraded:
            remark.append(text)

    if not closed and health.intended:
        missing = 1 - (health.started + health.unserved) / health.intended
        level(missing, 0.01, 0.10, f"{missing:.1%} of the intended operations never began")
    lag = health.start_lag.percentile(99) or health.start_lag.largest
    level(
        lag / 1e6, 0.010, 0.100,
        f"1 in 100 operations began {lag / 1000:,.0f} ms late although an association was free",
    )  # fmt: skip
    late = health.loop_lag.percentile(99) or health.loop_lag.largest
    level(late / 1e6, 0.020, 0.100, f"the generator's event loop was {late / 1000:,.0f} ms behind in 1 of 100 looks")
    level(health.cpu, 0.85, 0.97, f"a generator process used {health.cpu:.0%} of its core")
    level(health.steal, 0.05, 0.25, f"the generator waited for a CPU for {health.steal:.0%} of the time")
    level(health.descriptors, 0.9, 0.99, f"{health.descriptors:.0%} of the open-file limit in use")
    if health.ports_exhausted:
        bad.append(f"{health.ports_exhausted:,} connections found no free local port or descriptor")
    if health.lost_workers:
        remark.append(f"{health.lost_workers} generator process(es) died; their last second is missing")
    if health.out_of_range:
        remark.append(f"{health.out_of_range:,} latencies beyond a day are counted, not placed")
    if not closed and health.started and health.waited:
        share = health.waited / health.started
        if share > 0.05:
            remark.append(
                f"{share:.0%} of the operations waited for a free association: the response time holds that wait"
            )
    if not closed and health.unserved:
        remark.append(
            f"{health.unserved:,} operations never began, as no association came free: they count as errors, "
            "with the time they had waited"
        )
    verdict = Verdict.INVALID if bad else Verdict.DEGRADED if remark else Verdict.VALID
    return Judgement(verdict, tuple(bad + remark))


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold and what came out. `held` is None when there were too few samples to say."""

    what: str
    wanted: str
    got: str
    held: bool | None


def check_objective(
    objective: Objective,
    responses: Mapping[str, Histogram],
    counts: Mapping[str, tuple[int, int]],
    achieved: Mapping[str, float],
    lost: int | None,
) -> list[Check]:
    """Each threshold of `objective`, stream by stream.

    `counts` are (operations, errors), `achieved` shares of the intended rate, `lost` what the ledger did not find
    (None: not looked).
    """
    checks: list[Check] = []
    for name in objective.streams or tuple(responses):
        histogram = responses[name]
        for label, percent in (("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9)):
            limit = getattr(objective, label)
            if limit is None:
                continue
            value = histogram.percentile(percent)
            got = f"n/a, n = {len(histogram):,}" if value is None else f"{value / 1000:,.1f} ms"
            held = None if value is None else value <= limit * 1e6
            checks.append(Check(f"{name}: {label} response", f"<= {limit * 1000:,.0f} ms", got, held))
        operations, errors = counts[name]
        if objective.errors is not None:
            share = errors / operations if operations else 0.0
            held = share <= objective.errors if operations else None
            checks.append(Check(f"{name}: errors", f"<= {objective.errors:.3%}", f"{share:.3%}", held))
        if objective.rate is not None and name in achieved:
            share = achieved[name]
            checks.append(
                Check(
                    f"{name}: share of the intended rate",
                    f">= {objective.rate:.1%}",
                    f"{share:.1%}",
                    share >= objective.rate,
                )
            )
    if objective.lost is not None:
        got = "not looked" if lost is None else f"{lost:,}"
        checks.append(
            Check(
                "acknowledged but not found",
                f"<= {objective.lost}",
                got,
                None if lost is None else lost <= objective.lost,
            )
        )
    return checks


def nagle_signature(answers: Histogram) -> str:
    """A sentence when answers pile up about 40 ms after the request: a peer that waits for a delayed acknowledgement.

    Linux delays an acknowledgement by 40 ms; a peer that keeps Nagle's algorithm on and writes an answer in two pieces
    waits for it. "" when there is no such pile.
    """
    count = len(answers)
    if count < 50:
        return ""
    pile = answers.share_within(48_000) - answers.share_within(38_000)
    before = answers.share_within(38_000) - answers.share_within(28_000)
    after = answers.share_within(58_000) - answers.share_within(48_000)
    if pile < 0.2 or pile < 4 * max(before, after, 1e-9):
        return ""
    return (
        f"{pile:.0%} of the answers came 38 to 48 ms after the request, hardly any just before or after: the signature "
        "of Nagle's algorithm against a delayed acknowledgement. Set TCP_NODELAY at the target (DCMTK: environment "
        "TCP_NODELAY=1) before you believe any rate."
    )


def exit_status(judgement: Judgement, checks: Sequence[Check]) -> int:
    """0; 3 when a threshold did not hold; 4 when the measurement is invalid."""
    if judgement.verdict is Verdict.INVALID:
        return 4
    return 3 if any(check.held is False for check in checks) else 0
