"""What is under way on one association, in both directions: requests of ours that wait for responses, requests of the
peer that a handler works on. Knows no socket: a driver gives it a `Wire` and every whole message."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dicore._native.command import Command
from dicore.errors import AssociationStateError, NetworkError, ProtocolViolation
from dicore.net.status import is_pending

if TYPE_CHECKING:
    from dicore.net.service import Services

__all__ = ["Exchange", "Owed", "Response", "Responses", "Train", "Wire"]

C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO, C_CANCEL = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0FFF
N_EVENT_REPORT, N_GET, N_SET, N_ACTION, N_CREATE, N_DELETE = 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150
SERVICES = {
    C_STORE: "C-STORE", C_GET: "C-GET", C_FIND: "C-FIND", C_MOVE: "C-MOVE", C_ECHO: "C-ECHO",
    N_EVENT_REPORT: "N-EVENT-REPORT", N_GET: "N-GET", N_SET: "N-SET", N_ACTION: "N-ACTION", N_CREATE: "N-CREATE",
    N_DELETE: "N-DELETE",
}  # fmt: skip

_QUEUE = 64  # responses that wait for a slow consumer before the peer is not read any more
_OVERFLOW = 256  # times as many, when it is read because another operation on the association waits for its own

Response = tuple[Command, "bytes | None"]


class Wire(Protocol):
    """What a driver gives for one association: an `Acceptor`, a client's `Association`. All on the loop's thread."""

    operations: int  # services under way; more than none keep the association from being idle
    wants_room: bool  # set: call `Exchange.on_room` when `post` would say True again

    @property
    def calling_ae(self) -> str: ...
    @property
    def called_ae(self) -> str: ...
    @property
    def peer(self) -> str: ...
    @property
    def accepted(self) -> dict[int, tuple[str, str]]: ...  # context id -> (SOP class, transfer syntax)

    def post(
        self,
        context_id: int,
        command: Command,
        pieces: list[Any] | None = None,
        *,
        size: int | None = None,
        more: Callable[[Any], object] | None = None,
        done: Callable[[], object] | None = None,
    ) -> bool:
        """Send a message after those posted before: a command, and a data set of `pieces` or of `size` bytes that
        `more(message)` is asked for. False: wait for room before the next one."""
        ...

    def stop(self, why: str) -> None:
        """Abort."""
        ...

    loan: Any  # while it is lent: whose `stop()` brings it back

    def lend(self) -> tuple[int, int, int] | None:
        """Give the association away, for a thread to send on: (its address, a duplicate of its socket, its network
        timeout in ms). None: not now, or never."""
        ...

    def take_back(self, ended: int) -> object:
        """It is ours again; `ended` is the address of the dicore_retrieval_end, 0 when nothing was done."""
        ...

    def hold(self, on: bool) -> None:
        """Read nothing while `on`: a consumer is slow."""
        ...


class Responses:
    """The responses to one request of ours, in order. Owns one of the association's slots until the last one is in."""

    slot = True

    def __init__(self, exchange: Exchange, message_id: int, context_id: int, field: int) -> None:
        self.exchange, self.message_id, self.context_id, self.field = exchange, message_id, context_id, field
        self.limit = _QUEUE
        self.most = _QUEUE * _OVERFLOW
        self.on_abandon: Callable[[], object] | None = None
        self.on_final: Callable[[], object] | None = None
        self.final: Command | None = None
        self.trouble: Exception | None = None
        self.task: asyncio.Task[Any] | None = None  # who is between two answers, and so must not wait for a slot
        self._queue: deque[tuple[Any, Any]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._abandoned = False
        self._cancelled = False

    def add(self, command: Command, data: bytes | None) -> None:
        """A response has come."""
        last = not is_pending(command.status if command.status is not None else 0)
        if last:
            self.final = command
            self.exchange.forget(self)
        if not self._abandoned:
            self._append(command, data, last)
        self.wake()

    def _append(self, command: Any, item: Any, last: bool = False) -> None:
        self._queue.append((command, item))
        if len(self._queue) == self.limit and not last:
            self.exchange.hold(self, True)
        elif len(self._queue) > self.most and not last:
            self.trouble = AssociationStateError(
                f"{self.most} answers waited here, unread, while another operation on this association waited for its "
                "own: take both as they come, or open another association",
                peer=self.exchange.wire.peer,
            )
            self.abandon()

    def wake(self) -> None:
        self.exchange.fed(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        """Until something comes. Meanwhile the association is read, whoever else is slow."""
        self._waiter = asyncio.get_running_loop().create_future()
        self.exchange.hungry(self)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self.exchange.fed(self)

    def put(self, item: object) -> None:
        """Something that is no response but has its place between them: an instance of a C-GET."""
        if not self._abandoned:
            self._append(None, item)
        self.wake()

    async def drained(self) -> bool:
        """After `abandon`: wait for something to come; False when it is over."""
        if self.final is not None or self.exchange.ended is not None:
            return False
        await self._wait()
        return True

    @property
    def waiting(self) -> int:
        """How many are here that nobody has taken yet."""
        return len(self._queue)

    @property
    def abandoned(self) -> bool:
        """Nobody wants what still comes."""
        return self._abandoned

    async def next(self) -> tuple[Any, Any] | None:
        """The next response; None after the last one. Raises why the association has ended."""
        self.task = None
        while not self._queue:
            if self.trouble is not None:
                raise self.trouble
            if self.exchange.ended is not None and self.final is None:
                raise self.exchange.ended
            if self.final is not None:
                return None
            await self._wait()
        found = self._queue.popleft()
        if len(self._queue) <= self.limit // 2:
            self.exchange.hold(self, False)
        self.task = asyncio.current_task()
        return found

    def cancel(self) -> None:
        """Send a C-CANCEL, once; responses go on coming until the last one (PS3.7 9.3.2.3)."""
        if self.final is None and not self._cancelled and self.exchange.ended is None:
            self._cancelled = True
            self.exchange.wire.post(self.context_id, Command(C_CANCEL, responded_to=self.message_id))

    def abandon(self) -> None:
        """Nobody wants the rest: cancel the operation and drop what still comes."""
        if not self._abandoned:
            self._abandoned = True
            self.task = None
            self._queue.clear()
            self.exchange.hold(self, False)
            if self.on_abandon is not None:
                self.on_abandon()
            self.cancel()


class Owed:
    """The answer to a C-STORE that a thread has sent and did not wait for: `answer`, a status, or cancelled."""

    field, slot = C_STORE, False

    def __init__(self, exchange: Exchange, message_id: int) -> None:
        self.exchange, self.message_id = exchange, message_id
        self.task: asyncio.Task[Any] | None = None
        self.on_final: Callable[[], object] | None = None
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        exchange.wire.operations += 1
        exchange._ours[message_id] = self

    def add(self, command: Command, data: bytes | None) -> None:
        """It has come."""
        self.exchange.forget(self)
        if not self.answer.done():
            self.answer.set_result(command.status if command.status is not None else 0)

    def wake(self) -> None:
        """The association is over."""
        self.answer.cancel()


class Train:
    """C-STORE requests of ours, one behind the other: the response to one sends the next, within the same turn of the
    event loop. As many are under way as the window has room for. `answered(number, status, comment)` is told of each,
    in the order of the responses; False: send no more. `sending(number)` is told of each before it goes out."""

    slot = True

    def __init__(
        self,
        exchange: Exchange,
        cars: Sequence[tuple[int, Command, list[Any]]],
        answered: Callable[[int, int, str], bool],
        sending: Callable[[int], object] | None = None,
    ) -> None:
        self.exchange, self.field = exchange, C_STORE
        self.task: asyncio.Task[Any] | None = None
        self._cars, self._answered, self._sending = cars, answered, sending
        self._next = 0
        self._under_way: dict[int, int] = {}  # message id -> number
        self._stopped = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Send them. Raises why the association has ended; what was not answered then may have arrived or not."""
        exchange = self.exchange
        await exchange.slot()
        slots = 1
        while slots < len(self._cars) and await exchange.another_slot():
            slots += 1
        exchange.wire.operations += 1
        exchange.hungry(self)
        try:
            for _ in range(slots):
                if not self._over.done():
                    self._send()
            await self._over
        finally:
            self._stopped = True
            exchange.fed(self)
            if self._under_way and exchange.ended is None:  # cancelled amid a message
                exchange.wire.stop("cancelled")
            for message_id in self._under_way:
                exchange._ours.pop(message_id, None)
            exchange.wire.operations -= 1
            for _ in range(slots):
                exchange.release_slot()

    def _send(self) -> None:
        exchange = self.exchange
        context_id, command, pieces = self._cars[self._next]
        command.message_id = exchange.next_message_id()
        exchange._ours[command.message_id] = self
        self._under_way[command.message_id] = self._next
        if self._sending is not None:
            self._sending(self._next)
        self._next += 1
        exchange.wire.post(context_id, command, pieces)

    def add(self, command: Command, data: bytes | None) -> None:
        """A response has come."""
        before = command.responded_to or 0
        number = self._under_way.pop(before)
        status = command.status if command.status is not None else 0
        try:
            if is_pending(status):
                raise ProtocolViolation(
                    "a pending response to a C-STORE", section="PS3.7 9.1.1", peer=self.exchange.wire.peer
                )
            if not self._answered(number, status, command.error_comment or ""):
                self._stopped = True
            if not self._stopped and self._next < len(self._cars):
                self._send()
            elif not self._under_way and not self._over.done():
                self._over.set_result(None)
        except Exception as error:
            if not self._over.done():
                self._over.set_exception(error)
        finally:
            self.exchange._ours.pop(before, None)  # not before the next one is sent, which so has another id

    def wake(self) -> None:
        """The association is over."""
        if not self._over.done():
            self._over.set_exception(
                self.exchange.ended or AssociationStateError("the association has ended", peer=self.exchange.wire.peer)
            )


class Exchange:
    """One association's operations. `window`: how many of ours may be under way."""

    def __init__(self, wire: Wire, services: Services | None = None, *, window: int = 1) -> None:
        self.wire = wire
        self.services = services
        self.window = window
        self.ended: NetworkError | None = None
        self.running: dict[int, Any] = {}  # the peer's requests by message id
        self.peer: Any = None  # the Peer of its requests
        self._ours: dict[int, Responses | Train | Owed] = {}
        self._slots = asyncio.Semaphore(window)
        self._alone = asyncio.Lock()
        self._room: list[asyncio.Future[None]] = []
        self._full: set[object] = set()
        self._hungry: set[object] = set()
        self._holding = False
        self.last_message_id = 0

    # -- what the driver calls

    def message(self, context_id: int, command: Command, data: bytes | None) -> None:
        """A whole message is here."""
        if command.is_response:
            ours = self._ours.get(command.responded_to if command.responded_to is not None else -1)
            if ours is None or command.field != ours.field | 0x8000:
                self.wire.stop("a response to nothing")
            else:
                ours.add(command, data)
        elif command.field == C_CANCEL:
            operation = self.running.get(command.responded_to if command.responded_to is not None else -1)
            if operation is not None:  # else it lost the race, or never was one: there is no answer
                operation.cancel()
        elif self.services is not None:
            self.services.request(self, context_id, command, data)
        else:
            self.wire.stop("a request that no role allows")

    def on_room(self) -> None:
        """`Wire.post` takes messages again."""
        waiting, self._room = self._room, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def on_end(self, why: NetworkError | None = None) -> None:
        """The association is over: handlers are cancelled, who waits is told."""
        if self.ended is not None:
            return
        self.ended = why or AssociationStateError("the association has ended", peer=self.wire.peer)
        for operation in list(self.running.values()):
            operation.end()
        for ours in list(dict.fromkeys(self._ours.values())):
            if not isinstance(ours, Train):  # which tidies up after itself
                self.forget(ours)
            ours.wake()
        self.on_room()

    # -- sending

    async def post(self, context_id: int, command: Command, pieces: list[Any] | None = None, **more: Any) -> None:
        """Send a message, and wait while the peer does not read."""
        self.check()
        if not self.wire.post(context_id, command, pieces, **more):
            await self.room()

    async def room(self) -> None:
        """Wait until the peer has read. Raises when it never will."""
        self.check()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(future)
        self.wire.wants_room = True
        await future
        self.check()

    def check(self) -> None:
        """Raises unless the association stands."""
        if self.ended is not None:
            raise AssociationStateError(f"the association is over: {self.ended}", peer=self.wire.peer) from self.ended

    # -- our requests

    async def slot(self) -> None:
        """Wait for the right to begin an operation."""
        self.check()
        if self._alone.locked() or self._slots.locked():
            task = asyncio.current_task()
            if task is not None and any(one.task is task for one in self._ours.values()):
                raise AssociationStateError(
                    "this task is in the middle of an operation on this association, which has room for "
                    f"{self.window} at a time: finish it, connect with window=2, or open another association",
                    peer=self.wire.peer,
                )
            async with self._alone:
                pass
        await self._slots.acquire()
        try:
            self.check()
        except BaseException:
            self._slots.release()
            raise

    async def another_slot(self) -> bool:
        """Take one more slot, if there is one that nobody waits for. Does not wait."""
        if self._alone.locked() or self._slots.locked():
            return False
        return await self._slots.acquire()

    def release_slot(self) -> None:
        self._slots.release()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Nothing else is under way for the length of the block."""
        task = asyncio.current_task()
        for one in self._ours.values():
            if one.task is task and task is not None and isinstance(one, Responses):
                one.abandon()
        async with self._alone:
            taken = 0
            try:
                for _ in range(self.window):
                    await self._slots.acquire()
                    taken += 1
                yield
            finally:
                for _ in range(taken):
                    self._slots.release()

    def next_message_id(self) -> int:
        """A number that no operation of ours has."""
        while True:
            self.last_message_id = self.last_message_id % 0xFFFF + 1
            if self.last_message_id not in self._ours:
                return self.last_message_id

    async def begin(self, context_id: int, command: Command, pieces: list[Any] | None = None, **more: Any) -> Responses:
        """Send a request (its message id is set here); its responses. Waits for a slot, which they own."""
        await self.slot()
        command.message_id = self.next_message_id()
        ours = self._ours[command.message_id] = Responses(self, command.message_id, context_id, command.field)
        try:
            self.wire.operations += 1
            self.wire.post(context_id, command, pieces, **more)
        except BaseException:
            self.forget(ours)
            raise
        return ours

    async def request(
        self, context_id: int, command: Command, pieces: list[Any] | None = None, **more: Any
    ) -> tuple[Command, bytes | None]:
        """Send a request and wait for its one response. Cancelling aborts: half a message cannot be taken back."""
        ours = await self.begin(context_id, command, pieces, **more)
        try:
            found = await ours.next()
        except asyncio.CancelledError:
            self.wire.stop("cancelled")
            raise
        if found is None:
            raise self.ended or AssociationStateError("no response", peer=self.wire.peer)
        ours.task = None
        if ours.final is None:
            self.wire.stop("a pending response where there is one only")
            raise ProtocolViolation(
                "a pending response to a request that has one response", section="PS3.7 9.1", peer=self.wire.peer
            )
        return found

    def forget(self, ours: Responses | Owed) -> None:
        if self._ours.pop(ours.message_id, None) is not None:
            self.wire.operations -= 1
            if ours.slot:
                self.release_slot()
            self.hold(ours, False)
            if ours.on_final is not None:
                ours.on_final()

    # -- who reads, who is full

    def hold(self, ours: object, on: bool) -> None:
        """The consumer of these is slow, or is not any more."""
        if on:
            self._full.add(ours)
        else:
            self._full.discard(ours)
        self._balance()

    def hungry(self, ours: object) -> None:
        """Somebody waits for a response."""
        self._hungry.add(ours)
        self._balance()

    def fed(self, ours: object) -> None:
        self._hungry.discard(ours)
        self._balance()

    def _balance(self) -> None:
        """The peer is not read while a consumer is slow and nobody waits for what may come behind."""
        want = bool(self._full) and not self._hungry
        if want != self._holding and self.ended is None:
            self._holding = want
            self.wire.hold(want)
