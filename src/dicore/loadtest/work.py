"""One generator process: it keeps the arrival times, runs the operations, and says once a second what it measured."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dicore.loadtest.histogram import Histogram
from dicore.loadtest.ledger import Entry
from dicore.loadtest.meter import Job, Meter
from dicore.loadtest.result import StreamResult
from dicore.loadtest.stores import Stores
from dicore.loadtest.verdict import Health

__all__ = ["Job", "Tick", "work"]


@dataclass(slots=True)
class Tick:
    """What came to an end since the last one."""

    number: int
    second: int
    streams: list[StreamResult]
    health: Health
    entries: list[Entry] = field(default_factory=list)
    studies: dict[str, int] = field(default_factory=dict)
    last: bool = False
    cpu_seconds: float = 0.0  # this process's in all


async def work(
    job: Job,
    emit: Callable[[Tick], Any],
    stop: asyncio.Event | None = None,
    go: Callable[[], Awaitable[float]] | None = None,
) -> None:
    """Run a job to its end, or until `stop` is set; the last tick has `last`.

    When all that it sends is made, `go` says when to start (default: at once).
    """
    meters = [
        (Stores if stream.operation == "store" else Meter)(job, index, stream)
        for index, stream in enumerate(job.scenario.streams)
    ]
    job = replace(job, start=await go() if go is not None else time.monotonic() + 0.1)
    for meter in meters:
        meter.job = job
    stopping = stop or asyncio.Event()
    health = _Watch(job.start)
    runs = [asyncio.create_task(meter.run(stopping)) for meter in meters]
    watching = asyncio.create_task(health.lag())
    everything = asyncio.gather(*runs)
    second = 0
    try:
        while not everything.done():
            left = job.start + second + 1 - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(everything), max(left, 0))
            while second + 1 <= time.monotonic() - job.start:
                emit(_tick(job, meters, health, second))
                second += 1
        await everything
    finally:
        watching.cancel()
        for task in runs:
            task.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        final = _tick(job, meters, health, max(second, 0))
        final.last = True
        emit(final)


def _tick(job: Job, meters: list[Meter], watch: _Watch, second: int) -> Tick:
    health = watch.take()
    tick = Tick(job.number, second, [meter.take(second) for meter in meters], health, cpu_seconds=watch.cpu_seconds)
    for meter in meters:
        health.intended += meter.result_intended
        health.started += meter.result_started
        health.waited += meter.result_waited
        health.start_lag.merge(meter.start_lag)
        health.ports_exhausted += meter.exhausted
        health.unserved += meter.unserved
        meter.start_lag, meter.exhausted, meter.unserved = Histogram(), 0, 0
        tick.entries += meter.entries
        meter.entries = []
        if meter.studies:
            tick.studies[meter.stream.name] = meter.studies
            meter.studies = 0
    return tick


class _Watch:
    """How this process is: its loop's lag, its busiest thread's CPU, how long one waited for a CPU, its descriptors."""

    def __init__(self, start: float) -> None:
        self._late: list[float] = []
        self._clock = time.monotonic()
        self._begin = _cpu()
        self._threads = _threads()
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    @property
    def cpu_seconds(self) -> float:
        """Of the whole process since the beginning."""
        return _cpu() - self._begin

    async def lag(self) -> None:
        """Look every 20 ms how late the loop comes."""
        while True:
            wanted = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self._late.append(max(0.0, time.monotonic() - wanted - 0.0012))  # asyncio's own rounding

    def take(self) -> Health:
        """Since the last call."""
        health = Health()
        now, threads = time.monotonic(), _threads()
        span = max(now - self._clock, 1e-6)
        for thread, (ran, waited) in threads.items():
            before = self._threads.get(thread, (0.0, 0.0))
            health.cpu = max(health.cpu, (ran - before[0]) / span)
            health.steal = max(health.steal, min(1.0, (waited - before[1]) / span))
        self._clock, self._threads = now, threads
        health.loop_lag.add(np.rint(np.asarray(self._late) * 1e6))
        self._late = []
        with contextlib.suppress(OSError):
            health.descriptors = len(os.listdir("/proc/self/fd")) / self._limit
        return health


def _cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def _threads() -> dict[str, tuple[float, float]]:
    """Of each thread the seconds that it ran, and that it was ready to run and did not (Linux: schedstat)."""
    found: dict[str, tuple[float, float]] = {}
    try:
        names = os.listdir("/proc/self/task")
    except OSError:
        return {"all": (_cpu(), 0.0)}
    for name in names:
        with contextlib.suppress(OSError, ValueError, IndexError):  # a thread may be gone
            with open(f"/proc/self/task/{name}/schedstat", encoding="ascii") as file:
                ran, waited = file.read().split()[:2]
            found[name] = (int(ran) / 1e9, int(waited) / 1e9)
    return found
