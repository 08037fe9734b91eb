"""The search against simulated servers."""

import asyncio
import importlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicore import loadtest
from dicore.loadtest.breakpoint import Search
from dicore.loadtest.result import Result, StreamResult
from dicore.loadtest.verdict import Check, Judgement, Verdict


def solve(search, holds):
    while (rate := search.next()) is not None:
        search.tell(holds(rate, search))
        assert len(search.steps) < 200
    return search


@given(st.floats(1, 50_000), st.floats(0.5, 100))
def test_a_cliff_is_found_within_five_percent(cliff, start):
    search = solve(Search(start), lambda rate, _: rate <= cliff)
    if cliff < start / 1024:
        return
    assert search.answer <= cliff <= search.answer * 1.05 * 1.0001
    assert [s.phase for s in search.steps[-4:]] == ["hold", "hold", "hold", "beyond"]
    assert search.steps[-1].rate == pytest.approx(search.answer * 1.1)
    assert not search.steps[-1].passed


def erlang_wait(rate, servers, service):
    """Mean wait of M/M/c: the probability to wait over the free capacity."""
    load = rate * service
    if load >= servers:
        return math.inf
    term = total = 1.0
    for n in range(1, servers):
        term *= load / n
        total += term
    last = term * load / servers * servers / (servers - load)
    return last / (total + last) / (servers / service - rate)


def test_m_m_c_is_found_where_the_wait_reaches_the_objective():
    holds = lambda rate, _: erlang_wait(rate, 8, 0.02) <= 0.05  # noqa: E731
    search = solve(Search(5), holds)
    assert holds(search.answer, None)
    assert not holds(search.answer * 1.06, None)


def test_a_leak_that_fails_only_when_held_lowers_the_answer():
    search = solve(Search(10), lambda rate, s: rate <= (400 if s.phase == "hold" else 500))
    assert 350 <= search.answer <= 400


def test_a_pause_of_a_collector_now_and_then_still_ends():
    calls = iter(range(1, 10_000))
    search = solve(Search(10), lambda rate, _: rate <= 300 and next(calls) % 5 != 0)
    assert 0 < search.answer <= 300


def test_the_generators_own_limit_gives_a_lower_bound():
    search = solve(Search(10), lambda rate, _: None if rate > 700 else True)
    assert 640 <= search.answer <= 700
    assert not search.bounded
    capped = solve(Search(10, ceiling=100), lambda rate, _: True)
    assert capped.answer == 100
    assert not capped.bounded


def test_an_invalid_trial_is_run_once_more():
    search = Search(10)
    search.tell(None)
    assert search.next() == 10
    search.tell(True)
    assert search.next() == 20


def test_a_target_that_carries_nothing_ends_with_zero():
    search = solve(Search(100), lambda rate, _: False)
    assert search.answer == 0
    with pytest.raises(RuntimeError):
        search.tell(True)


@pytest.mark.parametrize("fails_late", [False, True])
def test_the_result_is_that_of_the_last_hold_at_the_breakpoint(monkeypatch, fails_late):
    """A server with a cliff at 100 a second, which may not last at first: its latency is the rate."""
    module = importlib.import_module("dicore.loadtest.run")
    ran = []

    async def run(scenario, target, *, run_id, trial, **_):
        rate = scenario.streams[0].arrivals.rate
        ran.append((rate, run_id, trial))
        held = rate <= 100 and not (fails_late and scenario.duration == 3 and len({r for r, *_ in ran}) < 7)
        stream = StreamResult("s", "echo", operations=1)
        stream.response.add([round(rate * 1000)] * 100)
        check = Check("p99", "", "", held)
        return Result(
            f"{len(ran)}", run_id, "", scenario.duration, target, "", "", 1, {}, {}, [stream],
            Judgement(Verdict.VALID), [check], {},
        )  # fmt: skip

    monkeypatch.setattr(module, "run", run)
    text = '[objective]\np99 = "1s"\n[[stream]]\nname = "s"\noperation = "echo"\narrivals = {rate = 1}\n'
    result = asyncio.run(module.search(loadtest.parse(text), "X@h:1", start=10, trial=1, hold=3))
    last_hold = [t for t in result.trials if t.phase == "hold" and t.passed][-1]
    assert last_hold.rate == result.breakpoint
    assert result.duration == 3
    assert result.streams[0].response.percentile(50) == pytest.approx(result.breakpoint * 1000, rel=0.001)
    assert result.name == str(len(ran) - 1)  # the one before that beyond
    assert len({run_id for _, run_id, _ in ran}) == 1
    assert [trial for *_, trial in ran] == list(range(len(ran)))
