"""A stream of C-STOREs: a native loop sends and times them; here associations are made and ended, its records read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import numpy as np

from dicore import uid
from dicore._native.net import Volley
from dicore.loadtest.ledger import Entry
from dicore.loadtest.material import LAST_OF_STUDY
from dicore.loadtest.meter import Job, Meter, source_of
from dicore.loadtest.operations import Lane, explain, is_exhausted
from dicore.loadtest.result import StreamResult
from dicore.loadtest.scenario import Stream
from dicore.net.status import describe, is_failure

__all__ = ["Stores"]

RECORD = np.dtype(
    [
        ("due", "f8"), ("start", "f8"), ("begun", "f8"), ("sent", "f8"), ("end", "f8"), ("size", "u8"),
        ("study", "u4"), ("pattern", "u4"), ("lane", "u4"), ("generation", "u4"),
        ("status", "u2"), ("outcome", "u1"), ("free", "u1"), ("unused", "u4"),
    ]
)  # fmt: skip
ANSWERED, LOST, CUT, NO_CONTEXT = range(4)
LIVES = {"kept": 0, "series": 1, "study": 2, "image": 3}
AHEAD = 5.0  # seconds that the loop knows its arrivals before they come


class Stores(Meter):
    """As `Meter`, of a stream whose operation is store. A lane is an association, with `window` C-STOREs under way."""

    def __init__(self, job: Job, index: int, stream: Stream) -> None:
        super().__init__(job, index, stream)
        self.patterns = source_of(job, index, stream)
        self.rows, self.pairs = self.patterns.volley()
        self.contexts = [(sop_class, (syntax,)) for sop_class, syntax in self.pairs]
        self.digests = job.scenario.ledger == "get"
        self.volley: Volley | None = None
        self.places: dict[int, Lane] = {}
        self.generations: dict[int, int] = {}
        self.ends: dict[tuple[int, int], tuple[str, str]] = {}  # why an association ended
        self.errands: set[asyncio.Task[None]] = set()
        self.known: list[Any] = []  # arrivals that were fed, and have not been seen to come
        self.given = self.fed = 0
        self.over = False

    @property
    def queued(self) -> int:
        """As of `Meter`."""
        return self.volley.waiting if self.volley is not None else 0

    async def run(self, stop: asyncio.Event) -> None:
        job, stream = self.job, self.stream
        self.volley = volley = Volley(
            self.rows,
            self.pairs,
            lanes=self.most,
            window=stream.window,
            first=self.patterns.first,
            association=LIVES[stream.association],
            users=stream.arrivals is None,
            think=stream.think,
            origin=round(job.start * 1e9),
            end=job.scenario.duration,
            limit=self.limit or 0,
        )
        loop = asyncio.get_running_loop()
        driving = loop.run_in_executor(None, volley.run)
        loop.add_reader(volley.fileno(), self._hear)
        ending = asyncio.create_task(stop.wait())
        try:
            feeding = asyncio.create_task(self._feed(volley) if stream.arrivals else self._wait(volley))
            await asyncio.wait([ending, feeding], return_when=asyncio.FIRST_COMPLETED)
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
            volley.halt()
            grace = job.scenario.grace
            deadline = time.monotonic() + grace
            while not self._all_done(volley, stop.is_set()):
                if time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.01)
        finally:
            ending.cancel()
            self.over = True
            volley.cancel()
            await driving
            self._hear()
            loop.remove_reader(volley.fileno())
            if self.errands:
                await asyncio.wait(self.errands, timeout=5)
            for task in self.errands:
                task.cancel()
            await asyncio.gather(*self.errands, return_exceptions=True)
            self._leave(volley, stop.is_set())

    async def _feed(self, volley: Volley) -> None:
        """Every arrival, some seconds ahead; until the last has come."""
        last = 0.0
        for times in self._arrivals():
            for at in range(0, len(times), 4096):
                some = np.ascontiguousarray(times[at : at + 4096])
                await self._until(float(some[0]) - AHEAD)
                self.known.append(some)
                self.fed += len(some)
                volley.feed(some.data)
                last = float(some[-1])
        await self._until(last)

    async def _wait(self, volley: Volley) -> None:
        """Until the time is over, or the operations are."""
        limit = self.limit
        while time.monotonic() - self.job.start < self.job.scenario.duration:
            if limit is not None and volley.done >= limit:
                return
            await asyncio.sleep(0.01)

    def _all_done(self, volley: Volley, early: bool) -> bool:
        done = volley.done
        if self.stream.arrivals is None:
            return volley.over and done == volley.begun
        return done == (volley.begun if early else self.fed)

    async def _until(self, moment: float) -> None:
        left = self.job.start + moment - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)

    def _leave(self, volley: Volley, early: bool) -> None:
        """What was due and never began; whoever ends a run early does not wait for it."""
        self._read()
        if not early:
            self.waiting.extend(volley.left())
            self._give_up()

    # -- what the loop wants

    def _hear(self) -> None:
        assert self.volley is not None
        for event in self.volley.events():
            kind, number = event[:2]
            if kind == "open" and self.over:
                self._unopened(*event[2:])
            elif kind == "open":
                self._send(self._open(number, *event[2:]))
            elif kind == "release":
                self._send(self._release(number))
            else:
                self._ended(number, event[2])

    def _send(self, errand: Any) -> None:
        task = asyncio.get_running_loop().create_task(errand)
        self.errands.add(task)
        task.add_done_callback(self.errands.discard)

    async def _open(self, number: int, due: float, start: float, free: bool) -> None:
        """Make the association that an operation needs; without one, it has failed."""
        assert self.volley is not None
        lane = self.places.setdefault(number, Lane(self.stream, self.job.target, self.contexts))
        lane.phases = {}
        try:
            association = await lane.open()
        except Exception as error:  # every failure of a peer is a measurement
            self.exhausted += is_exhausted(error)
            self._unopened(due, start, free, *explain(error), f"{start:.3f} s: {error}")
            await asyncio.sleep(0.01)  # a target that refuses is not asked a thousand times a second by each lane
            self.volley.park(number)
            return
        except asyncio.CancelledError:  # the grace is over
            self._unopened(due, start, free)
            raise
        finally:
            self._phases(lane)
        if self.over:
            association.abort()
            self._unopened(due, start, free)
            return
        self.open_associations += 1
        self.generations[number] = self.generations.get(number, 0) + 1
        self.volley.attach(number, association.hand_over(self.volley), due, start, free)

    def _unopened(
        self,
        due: float,
        start: float,
        free: bool,
        kind: str = "time-out",
        detail: str = "no association when the run ended",
        sample: str = "",
    ) -> None:
        """An operation that had no association has failed."""
        self._count(due, start, free)
        self.times.append((due, start, time.monotonic() - self.job.start, 0))
        self.failed.append((due, kind, detail, sample or f"{start:.3f} s"))

    async def _release(self, number: int) -> None:
        assert self.volley is not None
        lane = self.places[number]
        if lane.association is not None:
            lane.association.hand_back(None)
        lane.phases = {}
        await lane.close()
        self._phases(lane)
        self.open_associations -= 1
        self.volley.park(number)

    def _ended(self, number: int, end: tuple[Any, ...] | None) -> None:
        assert self.volley is not None
        lane = self.places[number]
        association, lane.association = lane.association, None
        assert association is not None
        if end is None:  # we have cut it off
            association.hand_back(None)
            association.abort()
            why = ("time-out", "no answer when the run ended")
        else:
            association.hand_back(end)
            assert association.ended is not None
            why = explain(association.ended)
        self.ends[number, self.generations[number]] = why
        self.open_associations -= 1
        self.volley.park(number)

    # -- what it has measured

    def _count(self, due: float, start: float, free: bool) -> None:
        self.started[int(start)] = self.started.get(int(start), 0) + 1
        if free:
            self.lags.append(start - due)
        if due >= self.job.scenario.warmup:
            self.counted_started += 1
            self.waited += not free

    def take(self, second: int) -> StreamResult:
        """As of `Meter`."""
        if self.volley is not None:
            self._hear()
            self._read()
        return super().take(second)

    def _read(self) -> None:
        assert self.volley is not None
        records = np.frombuffer(self.volley.take(), RECORD)
        self._come(records)
        if not len(records):
            return
        warmup = self.job.scenario.warmup
        due, start, end = records["due"], records["start"], records["end"]
        counts, free = due >= warmup, records["free"] != 0
        for number, count in zip(*np.unique(start.astype(int), return_counts=True), strict=True):
            self.started[int(number)] = self.started.get(int(number), 0) + int(count)
        self.counted_started += int(counts.sum())
        self.waited += int((counts & ~free).sum())
        self.lags.extend((start - due)[free].tolist())
        good = (records["outcome"] == ANSWERED) & ~np.isin(
            records["status"], [one for one in np.unique(records["status"]).tolist() if is_failure(one)]
        )
        self.blocks.append([due, start, end, np.where(good, records["size"], 0)])
        answered = records["outcome"] == ANSWERED
        self.phases.setdefault("transfer", []).extend((records["sent"] - records["begun"])[answered].tolist())
        self.phases.setdefault("answer", []).extend((end - records["sent"])[answered].tolist())
        last = np.array([one.last for one in self.patterns.patterns])[records["pattern"]]
        self.studies += int((good & (last & LAST_OF_STUDY != 0)).sum())
        for record in records[~good]:
            self._fail(record)
        if self.ledger:
            self._enter(records, good)

    def _come(self, records: Any) -> None:
        """Count arrivals in the seconds in which they were due."""
        assert self.volley is not None
        if self.stream.arrivals is None:
            for due in records["due"].tolist():
                self._is_due(due)
            return
        new, self.given = self.volley.given - self.given, self.volley.given
        while new:
            some = self.known.pop(0)
            if len(some) > new:
                self.known.insert(0, some[new:])
                some = some[:new]
            new -= len(some)
            for number, count in zip(*np.unique(some.astype(int), return_counts=True), strict=True):
                self.intended[int(number)] = self.intended.get(int(number), 0) + int(count)
            self.counted_intended += int((some >= self.job.scenario.warmup).sum())

    def _fail(self, record: Any) -> None:
        lane, generation, outcome = int(record["lane"]), int(record["generation"]), int(record["outcome"])
        pattern = self.patterns.patterns[int(record["pattern"])]
        if outcome == ANSWERED:
            kind, detail = "DIMSE status", describe(int(record["status"]))
        elif outcome in (LOST, CUT):
            kind, detail = self.ends.get((lane, generation), ("connection", "lost"))
        elif outcome == NO_CONTEXT:
            kind, detail = "rejected", f"no presentation context for {uid.name(pattern.sop_class_uid)}"
        else:
            kind, detail = "generator", "no study number left"
        where = f"{record['start']:.3f} s: {pattern.uid(self.patterns.number(int(record['study'])))}"
        self.failed.append((float(record["due"]), kind, detail, where))

    def _enter(self, records: Any, good: Any) -> None:
        source = self.patterns
        for record, fine in zip(records, good.tolist(), strict=True):
            if record["outcome"] > CUT or (record["outcome"] == ANSWERED and not fine):
                continue  # it was never sent, or the target said that it does not have it
            index, study = int(record["pattern"]), int(record["study"])
            pattern, number = source.patterns[index], source.number(study)
            root = source.study(study)
            digest = source.digest(index, study) if self.digests else "-"
            entry = Entry(pattern.uid(number), root, f"{root}.{pattern.series}", digest, fine, float(record["end"]))
            self.entries.append(entry)
