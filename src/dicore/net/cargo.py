"""Stored instances that leave over an association without Python: what a handler of C-GET or C-MOVE yields for them,
and the threads that send them (dicore/retrieve.h)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from dicore._native.retrieve import Records, Retrieval, Retriever

__all__ = ["Cargo", "Carried", "Shipper"]


class Carried(NamedTuple):
    """An instance of a cargo."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str


Read = Callable[[Sequence[str]], AsyncIterator[list[Any]]]


class Cargo:
    """Instances at their places. `read` yields those with some SOP Instance UIDs, as a handler would, for what cannot
    go out as it is stored: no context was accepted for its syntax, or the association cannot be lent (TLS, others at
    work on it)."""

    def __init__(self, shipper: Shipper, records: Records, instances: Sequence[Carried], read: Read) -> None:
        if len(records) != len(instances):
            raise ValueError(f"{len(records)} records of {len(instances)} instances")
        self.shipper, self.records, self.instances, self.read = shipper, records, instances, read
        self.left = list(range(len(instances)))  # whose turn has not come
        self.unfit: list[int] = []  # that cannot go out as they are

    def __len__(self) -> int:
        return len(self.instances)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """(SOP class, transfer syntax) of those that are left, each once."""
        return list(dict.fromkeys(self.instances[one][1:] for one in self.left))

    def rest(self) -> list[str]:
        """The SOP Instance UIDs of what did not go out; nothing is left then."""
        indexes, self.left, self.unfit = [*self.unfit, *self.left], [], []
        return [self.instances[one].sop_instance_uid for one in indexes]


class Shipper:
    """The threads, and the event loop that is told when they have done something. They begin with the first of it."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._retriever: Retriever | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, cargo: Cargo, order: list[int], **how: Any) -> tuple[Retrieval, asyncio.Future[None]]:
        """`Retriever.start`, and what is done when it is over."""
        loop = asyncio.get_running_loop()
        if self._retriever is None:
            self._retriever = Retriever(threads=self._threads)
            self._loop = loop
            loop.add_reader(self._retriever.fileno(), self._happened)
        retrieval = self._retriever.start(cargo.records, order, **how)
        over: asyncio.Future[None] = loop.create_future()

        def done(_: Retrieval) -> None:
            if not over.done():
                over.set_result(None)

        retrieval.on_done = done
        return retrieval, over

    def _happened(self) -> None:
        while self._retriever is not None and (done := self._retriever.next()) is not None:
            if done.on_done is not None:
                done.on_done(done)

    def close(self) -> None:
        """End the threads; what is under way is stopped."""
        if self._retriever is None or self._loop is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._retriever.fileno())
        self._retriever.close()
        self._retriever = None
