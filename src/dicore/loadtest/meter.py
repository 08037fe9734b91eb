"""One stream of a generator process: its arrivals, its lanes, and what they measured."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dicore.loadtest.clock import Timer
from dicore.loadtest.histogram import Histogram
from dicore.loadtest.ledger import Entry
from dicore.loadtest.material import Source
from dicore.loadtest.operations import Lane, explain, is_exhausted
from dicore.loadtest.result import Second, StreamResult
from dicore.loadtest.scenario import WEB, Scenario, Stream
from dicore.loadtest.web import WebLane

__all__ = ["Job", "Meter", "source_of"]


@dataclass(frozen=True, slots=True)
class Job:
    """What one of `processes` generators has to do."""

    scenario: Scenario
    target: str
    run: str
    number: int
    processes: int
    trial: int = 0  # of a search, whose trials have one run
    start: float = 0.0  # on CLOCK_MONOTONIC, for all of them; set when each is ready


def source_of(job: Job, index: int, stream: Stream) -> Source:
    """What a stream stores, with UIDs of its own. ValueError as of `Source`."""
    return Source(
        stream.material, job.run, f"{job.trial * 256 + job.number + 1}.{index + 1}", job.scenario.seed + index
    )


class Meter:
    """One stream: its arrivals, its lanes, and what they measured since the last tick."""

    def __init__(self, job: Job, index: int, stream: Stream) -> None:
        self.job, self.index, self.stream = job, index, stream
        share, rest = divmod(stream.users or stream.associations, job.processes)
        self.most = max(1, share + (job.number < rest))
        self.lanes: list[asyncio.Task[None]] = []
        self.waiting: deque[float] = deque()
        self.idle: deque[asyncio.Future[float]] = deque()
        self.busy = 0
        self.due_count = self.counted_intended = self.counted_started = 0  # the latter two without the warm-up
        self.times: list[tuple[float, float, float, int]] = []  # due, start, end (from job.start), bytes
        self.blocks: list[list[Any]] = []  # the same as columns
        self.phases: dict[str, list[float]] = {}
        self.failed: list[tuple[float, str, str, str]] = []
        self.entries: list[Entry] = []
        self.start_lag = Histogram()
        self.lags: list[float] = []
        self.exhausted = self.studies = self.unserved = 0
        self.intended: dict[int, int] = {}
        self.started: dict[int, int] = {}
        self.waited = 0
        self.result_intended = self.result_started = self.result_waited = 0
        self.ledger = job.scenario.ledger != "off"
        self.open_associations = 0
        self.source: Source | None = source_of(job, index, stream) if stream.operation == "stow" else None
        self.made = 0

    @property
    def queued(self) -> int:
        """Arrivals that wait for a lane."""
        return len(self.waiting)

    # -- the load

    async def run(self, stop: asyncio.Event) -> None:
        end = self.job.start + self.job.scenario.duration
        if self.stream.arrivals is None:
            await asyncio.sleep(max(0.0, self.job.start - time.monotonic()))
            users = [asyncio.create_task(self._user(end, stop)) for _ in range(self.most)]
            await self._until_done(users, end, stop)
            return
        timer = Timer()
        try:
            ending = asyncio.create_task(stop.wait())
            giving = asyncio.create_task(self._arrive(timer))
            await asyncio.wait([ending, giving], return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if not giving.done():
                giving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await giving
        finally:
            timer.close()
        if stop.is_set():
            self.waiting.clear()  # whoever ends a run early does not wait for its queue
        deadline = time.monotonic() + self.job.scenario.grace
        while (self.waiting or self.busy) and time.monotonic() < deadline:  # noqa: ASYNC110 - it has a deadline
            await asyncio.sleep(0.02)
        self._give_up()
        await self._end(self.lanes)

    def _give_up(self) -> None:
        """What still waits for an association has failed, after the time that it has waited."""
        now = time.monotonic() - self.job.start
        for due in self.waiting:
            self.times.append((due, due, now, 0))
            self.failed.append((due, "time-out", "never began: no association came free", f"{due:.3f} s"))
        self.unserved += sum(due >= self.job.scenario.warmup for due in self.waiting)
        self.waiting.clear()

    async def _arrive(self, timer: Timer) -> None:
        """Hand out each arrival at its time."""
        job = self.job
        for mine in self._arrivals():
            for due in mine.tolist():
                moment = job.start + due
                if moment > time.monotonic():
                    await timer.until(moment)
                elif self.due_count % 64 == 0:
                    await asyncio.sleep(0)  # far behind: the lanes must get on all the same
                self.due_count += 1
                self._is_due(due)
                self._give(due)

    def _arrivals(self) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
        """This process's arrivals; the n-th of all belongs to process n modulo their number."""
        job, stream = self.job, self.stream
        assert stream.arrivals is not None
        poisson = stream.arrivals.model == "poisson"
        generator = np.random.default_rng([job.scenario.seed, self.index]) if poisson else None
        number, left = 0, self.limit
        for times in stream.arrivals.profile(job.scenario.duration).times(generator):
            mine = times[(job.number - number) % job.processes :: job.processes]
            number += len(times)
            mine = mine[mine < job.scenario.duration]
            if left is not None:
                mine, left = mine[:left], max(0, left - len(mine))
            yield mine

    @property
    def limit(self) -> int | None:
        """This process's part of `count`."""
        count, processes = self.stream.count, self.job.processes
        return -(-count // processes) if count else None

    def _is_due(self, due: float) -> None:
        self.intended[int(due)] = self.intended.get(int(due), 0) + 1
        self.counted_intended += due >= self.job.scenario.warmup

    def _give(self, due: float) -> None:
        while self.idle:
            future = self.idle.popleft()
            if not future.done():
                future.set_result(due)
                return
        if len(self.lanes) < self.most:
            self.lanes.append(asyncio.create_task(self._lane(due)))
        else:
            self.waiting.append(due)
            self.waited += due >= self.job.scenario.warmup

    def _new_lane(self) -> Lane | WebLane:
        if self.stream.operation not in WEB:
            return Lane(self.stream, self.job.target)
        source = self.source
        return WebLane(self.stream, self.job.scenario.web, source, self._items(source) if source else iter(()))

    def _items(self, source: Source) -> Iterator[tuple[int, int]]:
        """One study after the other, each of this lane alone."""
        while True:
            self.made += 1
            yield from ((pattern, study) for study in (self.made,) for pattern in range(len(source.patterns)))

    async def _lane(self, due: float) -> None:
        lane = self._new_lane()
        free = True  # no wait for a lane
        try:
            while True:
                await self._operate(lane, due, free)
                if self.waiting:
                    due, free = self.waiting.popleft(), False
                    continue
                future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
                self.idle.append(future)
                due, free = await future, True
        finally:
            with contextlib.suppress(Exception):
                await lane.close()

    async def _user(self, end: float, stop: asyncio.Event) -> None:
        lane = self._new_lane()
        try:
            while time.monotonic() < end and not stop.is_set():
                if self.limit is not None and self.due_count >= self.limit:
                    return
                self.due_count += 1
                due = time.monotonic() - self.job.start
                self._is_due(due)
                await self._operate(lane, due, True)
                if self.stream.think:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), self.stream.think)
        finally:
            with contextlib.suppress(Exception):
                await lane.close()

    async def _operate(self, lane: Lane | WebLane, due: float, free: bool) -> None:
        origin = self.job.start
        start = time.monotonic() - origin
        self.started[int(start)] = self.started.get(int(start), 0) + 1
        self.counted_started += due >= self.job.scenario.warmup
        if free:
            self.lags.append(start - due)
        self.busy += 1
        had = lane.association is not None
        try:
            await lane.run()
        except Exception as error:  # every failure of a peer is a measurement
            kind, detail = explain(error)
            self.failed.append((due, kind, detail, f"{start:.3f} s: {error}"))
            if is_exhausted(error):
                self.exhausted += 1
            if not had and lane.association is None:
                await asyncio.sleep(0.01)  # a target that refuses is not asked a thousand times a second by each lane
        except asyncio.CancelledError:  # the grace is over
            self._measured(lane, due, start)
            self.failed.append((due, "time-out", "no answer when the run ended", f"{start:.3f} s"))
            raise
        finally:
            self.busy -= 1
        self.open_associations += (lane.association is not None) - had
        self._measured(lane, due, start)

    def _measured(self, lane: Lane | WebLane, due: float, start: float) -> None:
        end = time.monotonic() - self.job.start
        self.times.append((due, start, end, lane.size))
        self._phases(lane)
        if self.ledger and lane.entry is not None:
            lane.entry.when = end
            self.entries.append(lane.entry)

    def _phases(self, lane: Lane | WebLane) -> None:
        for name, seconds in lane.phases.items():
            self.phases.setdefault(name, []).append(seconds)

    async def _until_done(self, tasks: list[asyncio.Task[None]], end: float, stop: asyncio.Event) -> None:
        left = end - time.monotonic() + self.job.scenario.grace
        ending = asyncio.create_task(stop.wait())
        whole = asyncio.gather(*tasks)
        both: list[asyncio.Future[Any]] = [ending, whole]
        try:
            await asyncio.wait(both, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if not whole.done():
                await asyncio.wait([whole], timeout=self.job.scenario.grace)
        finally:
            ending.cancel()
            await self._end(tasks)

    @staticmethod
    async def _end(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what came of it

    def take(self, second: int) -> StreamResult:
        """What ended since the last call."""
        job = self.job
        result = StreamResult(self.stream.name, self.stream.operation, self.stream.arrivals is not None)
        times, self.times = self.times, []
        blocks, self.blocks = self.blocks, []
        failed, self.failed = self.failed, []
        warmup = job.scenario.warmup
        self.start_lag.add(np.asarray(self.lags) * 1e6)
        self.lags = []
        for number, count in self.intended.items():
            result.seconds.setdefault(number, Second()).intended += count
        for number, count in self.started.items():
            result.seconds.setdefault(number, Second()).started += count
        result.intended, result.started = self.counted_intended, self.counted_started
        self.counted_intended = self.counted_started = 0
        result.waited, self.waited = self.waited, 0
        self.result_intended, self.result_started = result.intended, result.started
        self.result_waited = result.waited
        self.intended, self.started = {}, {}
        if second * 1.0 < job.scenario.duration:
            at = result.seconds.setdefault(second, Second())
            at.waiting, at.associations = self.queued, self.open_associations
        if times:
            blocks.append([np.asarray(column) for column in zip(*times, strict=True)])
        if blocks:
            due, start, end, size = (np.concatenate(column) for column in zip(*blocks, strict=True))
            response, service = (end - due) * 1e6, (end - start) * 1e6
            counts = due >= warmup
            result.operations = int(counts.sum())
            result.size = int(size[counts].sum())
            result.response.add(np.rint(response[counts]))
            result.service.add(np.rint(service[counts]))
            for number in np.unique(due.astype(int)).tolist():
                result.heat.add(number, response[due.astype(int) == number])
            for number in np.unique(end.astype(int)).tolist():
                inside = end.astype(int) == number
                one = result.seconds.setdefault(number, Second())
                one.done, one.size = int(inside.sum()), int(size[inside].sum())
                one.response, one.service = _three(response[inside]), _three(service[inside])
        for due_at, kind, detail, sample in failed:
            if due_at >= warmup:
                result.fail(kind, detail, sample)
            result.seconds.setdefault(int(due_at), Second()).errors += 1
        phases, self.phases = self.phases, {}
        for name, values in phases.items():
            result.phases.setdefault(name, Histogram()).add(np.rint(np.asarray(values) * 1e6))
        return result


def _three(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
    p50, p99 = np.percentile(values, [50, 99], method="higher")
    return round(float(p50), 1), round(float(p99), 1), round(float(values.max()), 1)
