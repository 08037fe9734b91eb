"""The adapter between net's Sink and the store, over a store that is only a list."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from dicore.errors import DicoreError, DuplicateInstance, StoreError, StoreFull
from dicore.net.sink import PENDING
from dicore.server.sink import CANNOT_UNDERSTAND, DUPLICATE, OUT_OF_RESOURCES, SUCCESS, StoreSink


@dataclass
class Request:
    sop_instance_uid: str = "1.2.3"
    sop_class_uid: str = "1.2.840.10008.5.1.4.1.1.2"
    transfer_syntax: str = "1.2.840.10008.1.2.1"
    calling_ae: str = "CT1"
    answers: list[int] = field(default_factory=list)
    thread: int = 0

    def answer(self, status: int) -> None:
        self.answers.append(status)
        self.thread = threading.get_ident()


class Lane:
    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.written = b""
        self.threads: list[int] = []
        self.state = "open"

    def write(self, pieces: Sequence[memoryview]) -> None:
        self.threads.append(threading.get_ident())
        self.written += b"".join(pieces)

    def commit(self) -> None:
        self.threads.append(threading.get_ident())
        if self.error:
            raise self.error
        self.state = "committed"

    def abort(self) -> None:
        self.state = "aborted"


class ListStore:
    """Takes what it is given, as durable or relaxed as it is told to be."""

    def __init__(self, *, relaxed: bool = False, error: Exception | None = None) -> None:
        self.relaxed = relaxed
        self.error = error
        self.stored: list[tuple[str, str, str, bytes, str]] = []
        self.waiting: list[Any] = []
        self.dones: set[Any] = set()

    def append(
        self, sop_class: str, uid: str, syntax: str, pieces: Any, *, source_ae: str, done: Any, token: Any
    ) -> bool:
        if self.error:
            raise self.error
        self.stored.append((sop_class, uid, syntax, b"".join(pieces), source_ae))
        if not self.relaxed:
            self.waiting.append(token)
            self.dones.add(id(done))
            self.done = done
        return self.relaxed

    def lane(self, sop_class: str, uid: str, syntax: str, *, source_ae: str) -> Lane:
        self.stored.append((sop_class, uid, syntax, b"", source_ae))
        return Lane(self.error)

    def commit(self, *errors: BaseException | None) -> None:
        """What the commit thread does, in a thread."""
        group = list(zip(self.waiting, errors, strict=True))
        thread = threading.Thread(target=self.done, args=(group,))
        thread.start()
        thread.join()


class CountingLoop:
    """The running loop, with its wakeups counted."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wakeups = 0

    def call_soon_threadsafe(self, *args: Any) -> Any:
        self.wakeups += 1
        return self.loop.call_soon_threadsafe(*args)


def sink_over(store: ListStore) -> StoreSink:
    return StoreSink(cast(Any, store))


def request(**values: Any) -> Any:
    return Request(**values)


PIECES = [memoryview(b"ab"), memoryview(b"cd")]


def test_a_relaxed_store_answers_at_once_and_gets_every_piece() -> None:
    async def main() -> None:
        store = ListStore(relaxed=True)
        assert sink_over(store).store(request(), PIECES) == SUCCESS
        assert store.stored == [("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", b"abcd", "CT1")]

    asyncio.run(main())


def test_a_commit_group_is_answered_on_the_loop_by_one_wakeup() -> None:
    async def main() -> None:
        store = ListStore()
        sink = sink_over(store)
        counting = CountingLoop()
        sink._loop = cast(Any, counting)
        requests = [request(sop_instance_uid=f"1.2.{n}") for n in range(50)]
        assert {sink.store(one, PIECES) for one in requests} == {PENDING}
        assert len(store.dones) == 1  # the store groups by the identity of `done`
        assert [one.answers for one in requests] == [[]] * 50
        store.commit(*[None] * 50)
        await asyncio.sleep(0)
        assert [one.answers for one in requests] == [[SUCCESS]] * 50
        assert {one.thread for one in requests} == {threading.get_ident()}
        assert counting.wakeups == 1

    asyncio.run(main())


REFUSALS: list[tuple[Exception, int]] = [
    (StoreFull("the disk is full"), OUT_OF_RESOURCES),
    (StoreError("the sync failed"), OUT_OF_RESOURCES),
    (DuplicateInstance("1.2.3 is stored with other bytes"), DUPLICATE),
    (DicoreError("not an instance"), CANNOT_UNDERSTAND),
]


@pytest.mark.parametrize(("error", "status"), REFUSALS, ids=lambda value: type(value).__name__)
def test_what_the_store_refuses_is_answered_with_its_status(error: Exception, status: int) -> None:
    async def main() -> None:
        assert sink_over(ListStore(error=error)).store(request(), PIECES) == status

        store = ListStore()
        sink = sink_over(store)
        good, bad = request(), request()
        assert (sink.store(good, PIECES), sink.store(bad, PIECES)) == (PENDING, PENDING)
        store.commit(None, error)
        await asyncio.sleep(0)
        assert (good.answers, bad.answers) == ([SUCCESS], [status])

        sink = sink_over(ListStore(error=error))
        assert await sink.commit(sink.begin(request())) == status

    asyncio.run(main())


def test_statuses_are_failures_that_c_store_has() -> None:
    """PS3.4 B.2.3: A7xx, A9xx, Cxxx."""
    assert (OUT_OF_RESOURCES >> 8, DUPLICATE >> 12, CANNOT_UNDERSTAND >> 12) == (0xA7, 0xC, 0xC)


def test_a_commit_after_the_loop_has_ended_is_no_error() -> None:
    store = ListStore()

    async def main() -> None:
        assert sink_over(store).store(request(), PIECES) == PENDING

    asyncio.run(main())
    store.commit(None)  # a raise in its thread would fail the test: PytestUnhandledThreadExceptionWarning is an error


def test_a_long_data_set_is_written_and_committed_off_the_loop() -> None:
    async def main() -> None:
        store = ListStore()
        sink = sink_over(store)
        lane = cast(Any, sink.begin(request()))
        await sink.write(lane, PIECES)
        await sink.write(lane, [memoryview(b"ef")])
        assert await sink.commit(lane) == SUCCESS
        assert (lane.written, lane.state) == (b"abcdef", "committed")
        assert threading.get_ident() not in lane.threads
        lane = cast(Any, sink.begin(request()))
        sink.abort(lane)
        assert lane.state == "aborted"

    asyncio.run(main())
