"""A run from its scenario to its result: generator processes, their ticks merged, the ledger, the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import multiprocessing
import os
import platform
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import dicore
from dicore.loadtest import ledger as ledgers
from dicore.loadtest.breakpoint import Search
from dicore.loadtest.meter import Job
from dicore.loadtest.result import LedgerResult, Result, StreamResult, Trial
from dicore.loadtest.scenario import Scenario
from dicore.loadtest.verdict import (
    Health,
    Judgement,
    Verdict,
    check_objective,
    exit_status,
    judge,
    nagle_signature,
)
from dicore.loadtest.work import Tick, work

__all__ = ["State", "run", "search"]

LEAD = 0.3  # seconds between the order to start and the first arrival
PREPARATION = 300.0  # seconds that generators may take to make what they send


@dataclass(slots=True)
class State:
    """A run as it stands: what the live view shows."""

    scenario: Scenario
    target: str
    run: str
    streams: dict[str, StreamResult] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    second: int = 0
    studies: dict[str, int] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)  # of the busiest process, second by second
    steal: list[float] = field(default_factory=list)
    cpu_seconds: dict[int, float] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)

    def add(self, tick: Tick) -> None:
        """Merge what one process said."""
        self.second = max(self.second, tick.second)
        for one in tick.streams:
            if one.name in self.streams:
                self.streams[one.name].merge(one)
            else:
                self.streams[one.name] = one
        total, new = self.health, tick.health
        for name in ("intended", "started", "waited", "unserved", "ports_exhausted"):
            setattr(total, name, getattr(total, name) + getattr(new, name))
        total.start_lag.merge(new.start_lag)
        total.loop_lag.merge(new.loop_lag)
        total.descriptors = max(total.descriptors, new.descriptors)
        if not tick.last:
            self.cpu.append(new.cpu)
            self.steal.append(new.steal)
        for name, count in tick.studies.items():
            self.studies[name] = self.studies.get(name, 0) + count
        self.cpu_seconds[tick.number] = tick.cpu_seconds
        if tick.last:
            self.finished.add(tick.number)

    def settled(self) -> Health:
        """The generator's health over the whole run."""
        health = self.health
        health.cpu = _high(self.cpu)
        health.steal = _high(self.steal)
        health.lost_workers = len(self.dead)
        health.out_of_range = sum(one.response.over for one in self.streams.values())
        return health


def _high(values: Sequence[float]) -> float:
    """The level reached in a tenth of the seconds: one busy second does not spoil a run."""
    ordered = sorted(values)
    return ordered[int(len(ordered) * 0.9)] if ordered else 0.0


async def run(
    scenario: Scenario,
    target: str,
    *,
    processes: int = 1,
    run_id: str = "",
    ledger_path: str | os.PathLike[str] | None = None,
    progress: Callable[[State], object] | None = None,
    stop: asyncio.Event | None = None,
    command: str = "",
    find_at: str = "",
    trial: int = 0,
    ray: str = "",
) -> Result:
    """Put the scenario's load on `target` ("AE@host:port") and measure.

    `processes` generators share it; one that dies is left out and reported. `ledger_path` keeps what was acknowledged
    (default: a file that goes with the run); `find_at` is the address that is asked for it, when that is another one.
    `ray` is the address of a Ray cluster: the generators run there, one on each node where `processes` is 1.
    `trial` tells apart what runs of one `run_id` make. Setting `stop` ends the load early, with a result of what there
    was. Whether the figures may be believed is in `Result.judgement`, whether the objective held in `Result.checks`.

    Raises ValueError for a number of processes below one; what the target does wrong is measured, not raised.
    """
    if processes < 1:
        raise ValueError("a run has one process or more")
    if ray:
        from dicore.loadtest import far

        nodes = await asyncio.to_thread(far.places, ray)
        processes = processes if processes > 1 else nodes
    run_id = run_id or str(uuid.uuid4())
    state = State(scenario, target, run_id)
    ending = asyncio.Event()  # by the caller, or when safety.data is reached
    over: list[str] = []
    begun = datetime.datetime.now().astimezone()
    with tempfile.TemporaryDirectory(prefix="dicore-loadtest-") as scratch:
        kept = Path(ledger_path) if ledger_path is not None else Path(scratch, "ledger.txt")
        book = ledgers.Ledger(kept) if scenario.ledger != "off" else None

        def take(tick: Tick) -> None:
            state.add(tick)
            if not over and sum(one.size for one in state.streams.values()) >= scenario.safety.data:
                over.append(f"Ended early: safety.data allows {scenario.safety.data:,} bytes.")
                ending.set()
            if book is not None:
                book.write(tick.entries)
            if progress is not None:
                progress(state)

        passing = asyncio.create_task(_pass_on(stop, ending))
        try:
            if ray:
                await far.fan_out(Job(scenario, target, run_id, 0, processes, trial), take, state.dead.add, ending)
            elif processes == 1:
                await work(Job(scenario, target, run_id, 0, 1, trial), take, ending)
            else:
                await _fan_out(Job(scenario, target, run_id, 0, processes, trial), take, state, ending)
        finally:
            passing.cancel()
        found: LedgerResult | None = None
        if book is not None:
            book.close()
            found = await _looked(book, scenario, find_at or target)
    health = state.settled()
    judgement = judge(health, closed=all(one.arrivals is None for one in scenario.streams))
    streams = list(state.streams.values())
    remarks = [*over, *(text for one in streams if (text := nagle_signature(one.service)))]
    seconds = scenario.duration - scenario.warmup
    return Result(
        name=scenario.name,
        run=run_id,
        started=begun.isoformat(timespec="seconds"),
        duration=min(seconds, max(1.0, state.second - scenario.warmup)) if ending.is_set() else seconds,
        target=target,
        command=command or " ".join(sys.argv),
        scenario=scenario.to_toml(),
        seed=scenario.seed,
        versions=_versions(),
        machine=_machine(),
        streams=streams,
        judgement=judgement,
        checks=check_objective(
            scenario.objective,
            {one.name: one.response for one in streams},
            {one.name: (one.operations, one.errors) for one in streams},
            {one.name: one.achieved for one in streams if one.open},
            len(found.missing) if found is not None and found.looked_for else None,
        ),
        health={
            "shown": _shown(health, state),
            "studies": state.studies,
            "cpu_seconds": sum(state.cpu_seconds.values()),
        },
        ledger=found if found is not None and found.acknowledged + len(found.unknown) else None,
        remarks=remarks,
        workers=[
            {"process": n, "CPU seconds": round(s, 2), "lost": n in state.dead}
            for n, s in sorted(state.cpu_seconds.items())
        ],
    )


async def _pass_on(stop: asyncio.Event | None, ending: asyncio.Event) -> None:
    if stop is not None:
        await stop.wait()
        ending.set()


async def _looked(book: ledgers.Ledger, scenario: Scenario, where: str) -> LedgerResult:
    if not book.acknowledged:
        return LedgerResult()
    how: Any = scenario.ledger
    try:
        return await ledgers.look(book.path, where, how)
    except dicore.DicoreError as error:
        return LedgerResult(acknowledged=book.acknowledged, remark=f"Not looked for: {error}")


async def search(
    scenario: Scenario,
    target: str,
    *,
    start: float,
    trial: float = 20.0,
    hold: float = 60.0,
    ceiling: float = 1e9,
    processes: int = 1,
    progress: Callable[[State], object] | None = None,
    told: Callable[[Search], object] | None = None,
    command: str = "",
    ray: str = "",
) -> Result:
    """Find the highest rate of the open streams at which the objective holds: `Search` over runs of `run`.

    The scenario's rates are scaled so that they add up to the rate of the trial. What the result says of latencies and
    errors is of the last hold at the breakpoint (where nothing held: of the last trial). All trials have one run id.
    ValueError when no stream is open or nothing is asked of it.
    """
    base = sum(one.arrivals.profile(scenario.duration).peak for one in scenario.streams if one.arrivals)
    asked = scenario.objective.model_dump(exclude_none=True, exclude={"streams"})
    if not base or not asked:
        raise ValueError("a breakpoint needs an open stream and an objective: say what must hold")
    machine = Search(start, ceiling)
    trials: list[Trial] = []
    last: Result | None = None
    passes: dict[float, Result] = {}  # the last one at each rate; holds come after trials
    run_id = str(uuid.uuid4())
    while (rate := machine.next()) is not None:
        phase = machine.phase
        seconds = hold if phase in ("hold", "beyond") else trial
        one = scenario.scaled(rate / base).model_copy(
            update={"duration": seconds, "warmup": min(scenario.warmup, seconds / 4)}
        )
        last = await run(
            one,
            target,
            processes=processes,
            run_id=run_id,
            progress=progress,
            command=command,
            trial=len(trials),
            ray=ray,
        )
        status = exit_status(last.judgement, last.checks)
        passed = None if status == 4 else status == 0
        note = last.judgement.reasons[0] if last.judgement.verdict is not Verdict.VALID else ""
        machine.tell(passed, note)
        worst = max(last.streams, key=lambda s: s.response.percentile(99) or 0)
        operations = sum(s.operations for s in last.streams)
        errors = sum(s.errors for s in last.streams)
        achieved = min((s.achieved for s in last.streams if s.open), default=1.0)
        trials.append(
            Trial(
                phase, rate, passed, achieved, worst.response.percentile(50), worst.response.percentile(99),
                errors / operations if operations else 0.0, note,
            )
        )  # fmt: skip
        if passed:
            passes[rate] = last
        if told is not None:
            told(machine)
    assert last is not None
    result = passes.get(machine.answer, last)
    result.trials, result.breakpoint, result.command = trials, machine.answer, command or " ".join(sys.argv)
    if not machine.bounded:
        result.remarks.append("The search ended at the generator's limit: the target may carry more.")
        result.judgement = Judgement(Verdict.DEGRADED, (*result.judgement.reasons, "the breakpoint is a lower bound"))
    return result


# ---- several processes ---------------------------------------------------------------------------------------------


async def _fan_out(
    whole: Job,
    take: Callable[[Tick], None],
    state: State,
    stop: asyncio.Event,
) -> None:
    scenario = whole.scenario
    loop = asyncio.get_running_loop()
    spawn = multiprocessing.get_context("spawn")
    children: list[SpawnProcess] = []
    threads: list[asyncio.Future[None]] = []
    ready: list[asyncio.Future[None]] = []
    orders: list[Connection] = []
    try:
        for number in range(whole.processes):
            ours, theirs = spawn.Pipe(duplex=False)
            hear, say = spawn.Pipe(duplex=False)  # apart: a loop makes what it reads non-blocking
            job = replace(whole, number=number)
            child = spawn.Process(target=_child, args=(job, theirs, hear), daemon=True, name=f"dicore-load-{number}")
            child.start()
            theirs.close()
            hear.close()
            children.append(child)
            orders.append(say)
            done = loop.create_future()
            threads.append(done)
            prepared = loop.create_future()
            ready.append(prepared)
            arguments = (number, ours, loop, take, state, prepared, done)
            threading.Thread(target=_listen, args=arguments, daemon=True).start()
        waiting = asyncio.gather(*threads)
        stopping = asyncio.create_task(stop.wait())
        preparing: list[asyncio.Future[Any]] = [asyncio.gather(*ready), stopping]
        await asyncio.wait(preparing, timeout=PREPARATION, return_when=asyncio.FIRST_COMPLETED)
        start = time.monotonic() + LEAD  # CLOCK_MONOTONIC is the same in every process of a machine
        for order in orders:
            with contextlib.suppress(OSError):
                order.send(start)
        limit = scenario.duration + 2 * scenario.grace + LEAD + 30
        watch: list[asyncio.Future[Any]] = [waiting, stopping]
        await asyncio.wait(watch, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            for order in orders:
                with contextlib.suppress(OSError):
                    order.send("stop")
            await asyncio.wait([waiting], timeout=scenario.grace + 10)
        else:
            stopping.cancel()
    finally:
        for child in children:
            if child.is_alive():
                child.terminate()
            child.join(5)


def _listen(
    number: int,
    pipe: Connection,
    loop: asyncio.AbstractEventLoop,
    take: Callable[[Tick], None],
    state: State,
    ready: asyncio.Future[None],
    done: asyncio.Future[None],
) -> None:
    """One thread per generator process (a handful): that it is ready, and its ticks, go to the loop."""
    finished = False
    try:
        pipe.recv()
        loop.call_soon_threadsafe(_settle, ready)
        while True:
            tick: Tick = pipe.recv()
            finished = finished or tick.last
            loop.call_soon_threadsafe(take, tick)
    except (EOFError, OSError):
        pass
    finally:
        if not finished:
            loop.call_soon_threadsafe(state.dead.add, number)
        loop.call_soon_threadsafe(_settle, ready)
        loop.call_soon_threadsafe(_settle, done)


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _child(job: Job, pipe: Connection, orders: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def heard() -> None:
            loop.remove_reader(orders.fileno())  # an order, or the parent is gone
            stop.set()

        async def go() -> float:
            pipe.send("ready")
            start: float = await loop.run_in_executor(None, orders.recv)
            loop.add_reader(orders.fileno(), heard)
            return start

        await work(job, pipe.send, stop, go)

    run_loop(main)
    pipe.close()


def run_loop(main: Callable[[], Any]) -> Any:
    """`asyncio.run`, by uvloop when that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main())
    return uvloop.run(main())


# ---- what stands beside the figures --------------------------------------------------------------------------------


def _shown(health: Health, state: State) -> dict[str, str]:
    def lag(histogram: Any) -> str:
        p99 = histogram.percentile(99)
        return (
            f"n/a, n = {len(histogram)}"
            if p99 is None
            else f"{p99 / 1000:,.2f} ms, at most {histogram.largest / 1000:,.1f} ms"
        )

    achieved = f"{health.started:,} of {health.intended:,}"
    operations = sum(one.operations for one in state.streams.values())
    cpu = sum(state.cpu_seconds.values())
    return {
        "operations begun, of those intended": achieved,
        "waited for a free association": f"{health.waited:,}",
        "never began: no association came free": f"{health.unserved:,}",
        "begun late though an association was free, 99 %": lag(health.start_lag),
        "event loop late, 99 %": lag(health.loop_lag),
        "CPU of the busiest process": f"{health.cpu:.0%} of a core",
        "CPU per operation": f"{cpu / operations * 1e6:,.0f} us" if operations else "n/a",
        "ready to run but not running": f"{health.steal:.1%} of the time",
        "open files": f"{health.descriptors:.1%} of the limit",
        "connections without a free port or descriptor": f"{health.ports_exhausted:,}",
        "generator processes lost": f"{health.lost_workers}",
    }


def _versions() -> dict[str, str]:
    import numpy

    versions = {"dicore": dicore.__version__, "Python": platform.python_version(), "numpy": numpy.__version__}
    with contextlib.suppress(ImportError):
        import uvloop

        versions["uvloop"] = uvloop.__version__
    return versions


def _machine() -> dict[str, str]:
    model = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "generator": socket.gethostname(),
        "processor": f"{cores} x {model or platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
    }


async def self_test(seconds: float = 3.0) -> dict[str, float]:
    """What this machine reaches against an SCP in the same process that keeps nothing, closed model: a ceiling that the
    figures of a target must stay well below to mean anything. Operations a second."""
    from dicore.loadtest.scenario import parse

    async with dicore.listen(port=0, on_c_store=lambda request, pieces: 0) as scp:
        ceiling = {}
        for operation, users in (("echo", 16), ("store", 8)):
            plan = parse(
                f'duration = {seconds}\nledger = "off"\n[[stream]]\nname = "{operation}"\noperation = "{operation}"\n'
                f"users = {users}\nmaterial = {{slices = 8, size = 256}}\n"
            )
            result = await run(plan, f"DICORE@127.0.0.1:{scp.port}")
            ceiling["C-ECHO" if operation == "echo" else "C-STORE of 131 KB"] = result.streams[0].operations / seconds
    return ceiling
