"""C-GET and C-MOVE (PS3.4 C.4.2, C.4.3): an identifier becomes a list of records, which threads in C read and send.

Never from the map: what a bad sector does to a map is a signal, here it is one failed sub-operation. An instance goes
out as it is stored. What the peer does not take so, and everything where the association cannot be lent to the threads
(TLS), is read here instead, a few megabytes ahead of the wire, and sent (rewritten, if need be) by `dicore.net`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dicore._native.retrieve import Records
from dicore.errors import DicoreError
from dicore.net import Status
from dicore.net.cargo import Cargo, Carried, Shipper
from dicore.net.operations import FilePart, Ready, Unsendable
from dicore.server.query import UNIQUE, keys_of, levels_of, refuse
from dicore.store.reading import Reader

if TYPE_CHECKING:
    from dicore.net.service import RetrieveRequest
    from dicore.store import Store

__all__ = ["Retriever"]

Item = Ready | FilePart | Unsendable

_AHEAD = 2 << 20  # bytes that are read together, into one of two buffers: fresh memory costs more than the reading
_LONG = 16 << 20  # Part 10 files beyond this are read while they are sent
_MOST = 64


class Retriever:
    """C-GET and C-MOVE of the patient root and study root models, over a store."""

    def __init__(self, store: Store, pool: ThreadPoolExecutor | None = None) -> None:
        self._store, self._pool = store, pool
        self._reader = Reader(store)
        self._shipper = Shipper()

    def close(self) -> None:
        """End the threads that send."""
        self._shipper.close()

    async def __call__(self, request: RetrieveRequest) -> AsyncGenerator[int | list[Item] | Cargo, None]:
        """The handler: how many there are; those that are gone already; the others."""
        total, lost, cargo = await asyncio.get_running_loop().run_in_executor(self._pool, self._list, request)
        yield total
        if lost:
            yield lost
        if len(cargo):
            yield cargo

    async def _rest(self, sizes: Mapping[str, int], uids: Sequence[str]) -> AsyncIterator[list[Item]]:
        """Some at a time: ready to go out, parts of files, or why they cannot."""
        loop = asyncio.get_running_loop()
        found = [(uid, sizes[uid]) for uid in uids]
        room = [memoryview(bytearray(min(_AHEAD, sum(size for _, size in found)))) for _ in range(2)]
        ahead: asyncio.Future[tuple[list[Item], int]] | None = None
        try:
            at = 0
            if found:
                ahead = loop.run_in_executor(self._pool, self._read, found, at, room[0])
            while ahead is not None:
                items, at = await asyncio.shield(ahead)
                room.reverse()
                ahead = loop.run_in_executor(self._pool, self._read, found, at, room[0]) if at < len(found) else None
                yield items
        finally:
            if ahead is not None:
                with contextlib.suppress(Exception):
                    await ahead

    def _read(self, found: Sequence[tuple[str, int]], at: int, room: memoryview) -> tuple[list[Item], int]:
        """The next ones, as many as there is room for; one at least."""
        items: list[Item] = []
        total = 0
        while at < len(found) and len(items) < _MOST:
            uid, size = found[at]
            if items and total + size > len(room):
                break
            at += 1
            try:
                if size > _LONG:
                    items.append(FilePart(*self._reader.place(uid)))
                else:
                    items.append(Ready.of(self._reader.read(uid, size, room[total:])))
            except KeyError:
                items.append(Unsendable(uid, "deleted meanwhile"))
            except (DicoreError, OSError, ValueError) as error:
                items.append(Unsendable(uid, str(error)))
            total += size
        return items, at

    def _list(self, request: RetrieveRequest) -> tuple[int, list[Item], Cargo]:
        """How many instances are asked for, those that cannot be had, and the others."""
        found = self._store.listing(self.examine(request))
        records = Records()
        instances: list[Carried] = []
        lost: list[Item] = []
        for uid, sop_class, syntax, size in found:
            try:
                records.add(*self._reader.locate(uid), size, uid)
            except KeyError:
                lost.append(Unsendable(uid, "deleted meanwhile"))
            except (DicoreError, OSError) as error:
                lost.append(Unsendable(uid, str(error)))
            else:
                instances.append(Carried(uid, sop_class, syntax))
        sizes = {uid: size for uid, _, _, size in found}
        cargo = Cargo(self._shipper, records, instances, functools.partial(self._rest, sizes))
        return len(found), lost, cargo

    def examine(self, request: RetrieveRequest) -> Mapping[str, Any]:
        """The unique keys of an identifier, which are all that counts (PS3.4 C.4.2.1.4.1). Raises DimseError."""
        levels = levels_of(request.model)
        keys = keys_of(request)
        level = str(keys.get("QueryRetrieveLevel") or "").strip()
        if level not in levels:
            raise refuse(
                Status.DATA_SET_DOES_NOT_MATCH,
                f"level {level[:16]!r} is none of {', '.join(levels)}" if level else "Query/Retrieve Level is missing",
            )
        relational = bool(request.extended[:1].strip(b"\0"))
        wanted: dict[str, Any] = {}
        for name in levels[: levels.index(level) + 1]:
            key = UNIQUE[name]
            value = str(keys.get(key) or "")
            if not value:
                if relational and name != level:
                    continue
                raise refuse(Status.DATA_SET_DOES_NOT_MATCH, f"{key}, the unique key of the {name} level, is missing")
            if key == "PatientID":
                if "*" in value or "?" in value or "\\" in value:
                    raise refuse(Status.DATA_SET_DOES_NOT_MATCH, "PatientID must be a single value")
            elif name != level and "\\" in value:
                raise refuse(Status.DATA_SET_DOES_NOT_MATCH, f"{key} above the level must be a single value")
            wanted[key] = value
        return wanted
