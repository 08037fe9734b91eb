"""Associations to C-MOVE destinations, kept for the next instance, and for a while for the next C-MOVE."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, cast

from dicore import uid
from dicore._native import net as native
from dicore.dataset import Dataset
from dicore.errors import NetworkError
from dicore.net.operations import FilePart, Ready, Storable

if TYPE_CHECKING:
    from dicore.net.address import Address
    from dicore.net.capture import Capture
    from dicore.net.client import Association
    from dicore.net.limits import Limits, Timeouts

__all__ = ["Pool"]

_SEEN = 40  # pairs of SOP class and transfer syntax that are proposed because they have been sent before
_WHOLE = 16 << 20
_HEAD = 1 << 20


class _Line:
    """An association of the pool."""

    def __init__(self, association: Association, proposed: frozenset[tuple[str, str]]) -> None:
        self.association = association
        self.proposed = proposed
        self.since = 0.0


class _Destination:
    """What is known of one address."""

    def __init__(self, most: int) -> None:
        self.idle: list[_Line] = []
        self.seen: dict[tuple[str, str], None] = {}
        self.turns = asyncio.Semaphore(most)


class Pool:
    """`most` associations to an address at a time; one that nobody has used for `idle` seconds is released: soon, since
    some peers (movescu) wait for that before they believe that a C-MOVE is over. `window` operations at a time are
    asked     for, where it is more than one."""

    def __init__(
        self,
        *,
        most: int = 8,
        idle: float = 0.5,
        window: int = 1,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        wire: Capture | None = None,
    ) -> None:
        self.tls = tls  # for dicoms:// addresses; None: trusting whom the system trusts
        self.wire = wire
        self._most, self._idle, self._window = most, idle, window
        self._timeouts, self._limits = timeouts, limits
        self._destinations: dict[tuple[Address, str], _Destination] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self.opened = 0  # associations so far

    async def store(
        self, address: Address, instance: Storable, *, calling: str, originator: tuple[str, int] | None = None
    ) -> int:
        """C-STORE over an association of the pool, or a new one: see `Association.c_store`, whose exceptions it has."""
        data: Storable = instance
        if isinstance(instance, FilePart):
            head = await asyncio.get_running_loop().run_in_executor(None, _head, instance)
            sop_class, _, syntax, _ = native.identify_bytes(head, partial=True)
        elif isinstance(instance, str | os.PathLike):
            data, head = await asyncio.get_running_loop().run_in_executor(None, _load, os.fspath(instance))
            sop_class, _, syntax, _ = native.identify_bytes(head, partial=True)
        else:
            if isinstance(instance, Dataset):
                data = instance.part10_bytes()
            sop_class, _, syntax, _ = native.identify_bytes(cast(bytes, data))
        async with self.taken(address, calling, (sop_class, syntax)) as association:
            return await association.c_store(data, originator=originator)

    async def store_run(
        self,
        address: Address,
        run: Sequence[Ready],
        answered: Callable[[int, int, str], bool],
        *,
        calling: str,
        sending: Callable[[int], object] | None = None,
        originator: tuple[str, int] | None = None,
    ) -> bool:
        """`Operations.store_run` over an association of the pool, or a new one."""
        async with self.taken(address, calling, (run[0].sop_class_uid, run[0].transfer_syntax)) as association:
            return await association.store_run(run, answered, sending=sending, originator=originator)

    @contextlib.asynccontextmanager
    async def taken(
        self, address: Address, calling: str, pair: tuple[str, str], others: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[Association]:
        """An association for instances of this SOP class and transfer syntax, and, if it is a new one, of `others`."""
        destination = self._destinations.setdefault((address, calling), _Destination(self._most))
        for one in others:
            destination.seen[one] = None
        async with destination.turns:
            line = await self._line(destination, address, calling, pair)
            try:
                yield line.association
            finally:
                if line.association.open:
                    line.since = asyncio.get_running_loop().time()
                    destination.idle.append(line)
                    self._watch()

    async def _line(self, destination: _Destination, address: Address, calling: str, pair: tuple[str, str]) -> _Line:
        from dicore.net.client import connect

        destination.idle = [line for line in destination.idle if line.association.open]
        for number in range(len(destination.idle) - 1, -1, -1):
            if pair in destination.idle[number].proposed:
                return destination.idle.pop(number)
        if destination.idle:  # it cannot take this one: a new one will take both
            self._release(destination.idle.pop())
        destination.seen.pop(pair, None)
        destination.seen[pair] = None
        while len(destination.seen) > _SEEN:
            destination.seen.pop(next(iter(destination.seen)))
        contexts = _contexts(list(destination.seen))
        association = await connect(
            address,
            calling=calling,
            contexts=contexts,
            window=self._window,
            timeouts=self._timeouts,
            limits=self._limits,
            tls=self.tls if address.tls else None,
            wire=self.wire,
        )
        self.opened += 1
        return _Line(association, frozenset((one, syntax) for one, syntaxes in contexts for syntax in syntaxes))

    def _watch(self) -> None:
        if self._timer is None:
            now = asyncio.get_running_loop().time()
            first = min(line.since for one in self._destinations.values() for line in one.idle)
            wait = max(0.0, first + self._idle - now) + 0.01
            self._timer = asyncio.get_running_loop().call_later(wait, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for destination in self._destinations.values():
            for line in [line for line in destination.idle if now - line.since >= self._idle]:
                destination.idle.remove(line)
                self._release(line)
        if any(destination.idle for destination in self._destinations.values()):
            self._watch()

    def _release(self, line: _Line) -> None:
        task = asyncio.get_running_loop().create_task(line.association.release())
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def close(self) -> None:
        """Release what is idle. What is in use is released by nobody: its C-MOVE has ended before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for destination in self._destinations.values():
            for line in destination.idle:
                self._release(line)
            destination.idle = []
        for task in list(self._releasing):
            with contextlib.suppress(NetworkError):
                await task


def _load(path: str) -> tuple[Storable, bytes]:
    """What to send, and enough of it to know what it is."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > _WHOLE:
            return path, file.read(_HEAD)
        data = file.read()
        return data, data


def _head(part: FilePart) -> bytes:
    with open(part.path, "rb") as file:
        return os.pread(file.fileno(), min(_HEAD, part.size), part.offset)


def _contexts(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, Sequence[str]]]:
    """Each pair one of its own, another syntax for the uncompressed ones, then the usual storage classes."""
    contexts: list[tuple[str, Sequence[str]]] = [(one, (syntax,)) for one, syntax in reversed(pairs)]
    have = set(pairs)
    others = [one for one, _ in pairs] + [one for one in uid.SOP_CLASSES if one != uid.VERIFICATION]
    for one in dict.fromkeys(others):
        for syntax in (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE):
            if (one, syntax) not in have and len(contexts) < 128:
                contexts.append((one, (syntax,)))
    return contexts
