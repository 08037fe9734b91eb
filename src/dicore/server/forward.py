"""Forwarding: what was stored goes on to other archives, from a queue on disk.

An instance is in the queue, synced, before its sender is told that it is stored. It leaves it when the far end has said
so; while that cannot be reached it is tried again with growing pauses. At least once, and to a destination that has
taken it, no second time: the queue remembers. What a destination refuses for good is kept with its reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dicore.errors import DicoreError, DimseError, NetworkError
from dicore.net import Address
from dicore.net.operations import FilePart, Ready
from dicore.net.pool import Pool
from dicore.store.reading import Reader

if TYPE_CHECKING:
    from dicore.net import Capture
    from dicore.store import Store

__all__ = ["Forwarder", "Queue"]

_log = logging.getLogger("dicore.server")
_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0)
_BATCH = 64
_LONG = 16 << 20
_AGAIN = 5  # times that a refusal is taken for a passing one
WAITS, DONE, REFUSED = 0, 1, 2


class Queue:
    """(SOP Instance UID, destination) in a file. Thread-safe; `put` is durable when it returns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS job(id INTEGER PRIMARY KEY, uid TEXT NOT NULL, destination TEXT NOT NULL, "
            "state INTEGER NOT NULL, tries INTEGER NOT NULL, changed REAL NOT NULL, why TEXT NOT NULL, "
            "UNIQUE(uid, destination))"
        )
        self._database.execute("CREATE INDEX IF NOT EXISTS job_state ON job(destination, state, id)")

    def put(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Add (UID, destination) pairs; those that are known already are left as they are."""
        now = time.time()
        with self._lock, self._transaction():
            self._database.executemany(
                "INSERT INTO job(uid, destination, state, tries, changed, why) VALUES(?, ?, 0, 0, ?, '') "
                "ON CONFLICT DO NOTHING",
                [(uid, destination, now) for uid, destination in jobs],
            )

    def waiting(self, destination: str, most: int) -> list[tuple[int, str, int]]:
        """(id, UID, tries) of the next ones."""
        with self._lock:
            return self._database.execute(
                "SELECT id, uid, tries FROM job WHERE destination = ? AND state = 0 ORDER BY tries, id LIMIT ?",
                (destination, most),
            ).fetchall()

    def settle(self, outcomes: Sequence[tuple[int, int, str]]) -> None:
        """(id, new state, why) of what was tried."""
        now = time.time()
        with self._lock, self._transaction():
            self._database.executemany(
                "UPDATE job SET state = ?, tries = tries + 1, changed = ?, why = ? WHERE id = ?",
                [(state, now, why[:500], number) for number, state, why in outcomes],
            )

    def forget(self, older: float) -> None:
        """Drop what was done more than `older` seconds ago."""
        with self._lock:
            self._database.execute("DELETE FROM job WHERE state = 1 AND changed < ?", (time.time() - older,))

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """{destination: (waiting, done, refused)}"""
        found: dict[str, list[int]] = {}
        with self._lock:
            sql = "SELECT destination, state, count(*) FROM job GROUP BY destination, state"
            for destination, state, count in self._database.execute(sql):
                found.setdefault(destination, [0, 0, 0])[state] = count
        return {destination: (one[0], one[1], one[2]) for destination, one in found.items()}

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _transaction(self):  # type: ignore[no-untyped-def]
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise


class Forwarder:
    """Sends what is in the queue, a task for each destination. Belongs to the event loop that runs when it is made."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        *,
        ae_title: str,
        destinations: Mapping[str, str | Address],
        pauses: Sequence[float] = _PAUSES,
        tls: ssl.SSLContext | None = None,
        wire: Capture | None = None,
    ) -> None:
        self.queue, self._title, self._pauses = queue, ae_title, pauses
        self._reader = Reader(store)
        self._pool = Pool(most=4, tls=tls, wire=wire)
        self._destinations = destinations
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._awake: dict[str, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()

    def secure(self, tls: ssl.SSLContext | None) -> None:
        """Another context for dicoms:// destinations, for associations from now on."""
        self._pool.tls = tls

    def start(self) -> None:
        """Send to every destination; take up what waits from before, too. Again, when there are new destinations."""
        for title in {*self._destinations, *self.queue.counts()}:
            if title in self._destinations:
                self._watch(title)
            else:
                _log.warning("instances wait for the destination %s, which is not configured any more", title)

    def _watch(self, title: str) -> None:
        if title not in self._tasks:
            self._awake[title] = asyncio.Event()
            self._awake[title].set()
            self._tasks[title] = self._loop.create_task(self._run(title))

    def wake(self, titles: Iterable[str]) -> None:
        """Something was put into the queue. Callable from any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake, list(titles))

    def _wake(self, titles: list[str]) -> None:
        for title in titles:
            if title in self._awake:
                self._awake[title].set()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._pool.close()

    async def _run(self, title: str) -> None:
        failures = 0
        while True:
            place = self._destinations.get(title)
            if place is None:  # not configured any more
                self._tasks.pop(title, None)
                return
            address = Address.of(title, place)
            self._awake[title].clear()
            jobs = await self._loop.run_in_executor(None, self.queue.waiting, title, _BATCH)
            if not jobs:
                await self._awake[title].wait()
                continue
            trouble = await self._send(address, jobs)
            if trouble is None:
                failures = 0
                continue
            pause = self._pauses[min(failures, len(self._pauses) - 1)]
            failures += 1
            _log.warning("forwarding to %s: %s; again in %g s", address, trouble, pause)
            await asyncio.sleep(pause)

    async def _send(self, address: Address, jobs: Sequence[tuple[int, str, int]]) -> Exception | None:
        """Send them; what is in the way of the rest, or None."""
        outcomes: list[tuple[int, int, str]] = []
        trouble: Exception | None = None
        for number, uid, tries in jobs:
            try:
                item = await self._loop.run_in_executor(None, self._read, uid)
                await self._pool.store(address, item, calling=self._title)
            except KeyError:
                outcomes.append((number, REFUSED, "deleted before it was sent"))
            except NetworkError as error:
                if not isinstance(error, DimseError):
                    trouble = error
                    break
                trouble = self._refused(outcomes, number, tries, error)
            except (DicoreError, OSError, ValueError) as error:
                trouble = self._refused(outcomes, number, tries, error)
            else:
                outcomes.append((number, DONE, ""))
        if outcomes:
            await self._loop.run_in_executor(None, self.queue.settle, outcomes)
        return trouble

    @staticmethod
    def _refused(outcomes: list[tuple[int, int, str]], number: int, tries: int, error: Exception) -> Exception | None:
        """A refusal: passing at first (out of resources: for as long as it takes), then for good."""
        full = isinstance(error, DimseError) and error.status & 0xFF00 == 0xA700
        good = tries + 1 >= _AGAIN and not full
        outcomes.append((number, REFUSED if good else WAITS, str(error)))
        return None if good else error

    def _read(self, uid: str) -> memoryview | FilePart:
        place = self._reader.place(uid)
        return FilePart(*place) if place.size > _LONG else Ready.of(self._reader.read(uid, place.size + 128)).whole
