"""The SCP of every service but C-STORE and C-ECHO: a request of a peer becomes a call of a handler, and what the
handler yields or returns becomes responses.

Handlers are what `listen` (and `connect`, for N-EVENT-REPORT) are given. Each gets one argument, the request, and may
be a plain function, a coroutine function, a generator or an asynchronous generator:

- `on_c_find(request: FindRequest)` yields a match at a time: a Dataset, a mapping of keywords to values, bytes in
  `request.transfer_syntax`, or (status, one of these) for FF01. A match is sent as it is yielded; while the peer does
  not read, the handler is not resumed.
- `on_c_get(request: RetrieveRequest)` and `on_c_move(...)` yield an instance at a time: a path, a FilePart, the bytes
  or memoryview of a Part 10 file, a Dataset, or an Unsendable for one that has failed already; or a list of some, of
  which those that are `Ready` go out without a turn of the loop between two. An int that is yielded first says how many
  will come (else the peer is not told how many remain); a returned list has its length. A `Cargo` is sent by threads.
- `on_n_create`, `on_n_set`, `on_n_get`, `on_n_action`, `on_n_event_report`, `on_n_delete`(request: NormalizedRequest)
  return None (success), a status, a Dataset or mapping (success), or (status, Dataset or mapping).

A C-CANCEL cancels: an asynchronous handler gets a CancelledError where it waits or a GeneratorExit where it yields, a
generator is closed; `request.cancelled` says so. DimseError(status=..., comment) raised by a handler is answered as it
says; any other exception is logged and answered as a failure with its text as Error Comment. The association lives on.
Generators that are not asynchronous run in a thread, a batch at a time."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dicore import uid
from dicore._native import net as native
from dicore._native import retrieve as courier
from dicore._native.command import Command
from dicore._native.status import status_text
from dicore.dataset import Dataset
from dicore.errors import ConnectionFailed, DicoreError, DimseError, NetworkError, StoreError, StoreFull
from dicore.net import exchange as x
from dicore.net import queries
from dicore.net.address import Address, printable
from dicore.net.cargo import Cargo
from dicore.net.operations import FilePart, Operations, Ready, Storable, Unsendable
from dicore.net.status import Status, is_failure, is_pending, is_warning

if TYPE_CHECKING:
    from dicore._native.retrieve import Retrieval
    from dicore.net.client import Association
    from dicore.net.exchange import Exchange, Wire
    from dicore.net.pool import Pool

__all__ = ["FindRequest", "Handler", "NormalizedRequest", "Peer", "RetrieveRequest", "ServiceRequest", "Services"]

log = logging.getLogger("dicore.net")

Handler = Callable[[Any], Any]

_SLICE = 0.002  # seconds that a handler may keep the loop before others have their turn
_BATCH = 64
_SAY = 0.1  # seconds between two pending responses to a C-GET or C-MOVE whose sub-operations take less
_MOST = 64  # operations of a peer under way on one association
_NORMALIZED = {
    x.N_CREATE: "on_n_create",
    x.N_SET: "on_n_set",
    x.N_GET: "on_n_get",
    x.N_ACTION: "on_n_action",
    x.N_EVENT_REPORT: "on_n_event_report",
    x.N_DELETE: "on_n_delete",
}
_STORAGE = "1.2.840.10008.5.1.4.1.1."


def is_storage(sop_class: str) -> bool:
    """A composite storage SOP class, known or not."""
    return sop_class.startswith(_STORAGE) and sop_class not in queries.QUERY_CLASSES


def parse_destinations(destinations: Mapping[str, str | Address]) -> dict[str, Address]:
    """{AE title: address} of what `Address.of` reads. Raises ValueError."""
    return {title: Address.of(title, place) for title, place in destinations.items()}


class Peer(Operations):
    """The other side of an association, for a handler: who it is, and what can be asked of it (N-EVENT-REPORT, say)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._wire: Any = exchange.wire

    @property
    def accepted(self) -> dict[int, tuple[str, str]]:
        """{context id: (SOP class, transfer syntax)} of the accepted presentation contexts."""
        return self._exchange.wire.accepted

    def _invokes(self, sop_class: str) -> bool:
        roles = getattr(self._wire, "roles", {})
        if is_storage(sop_class):  # PS3.7 D.3.3.4: without a role the requestor is the SCU, and we may not be
            return bool(roles.get(sop_class, (True, False))[1])
        return True

    @property
    def calling_ae(self) -> str:
        return self._exchange.wire.calling_ae

    @property
    def called_ae(self) -> str:
        return self._exchange.wire.called_ae

    @property
    def address(self) -> str:
        """'host:port' of the peer."""
        return self._exchange.wire.peer

    @property
    def identity(self) -> tuple[int, bytes, bytes] | None:
        """The user's identity as negotiated: (type, primary, secondary), PS3.7 D.3.3.7."""
        return getattr(self._wire, "identity", None)

    @property
    def open(self) -> bool:
        return self._exchange.ended is None


class ServiceRequest:
    """One request of a peer. `association` is the peer, for what a handler wants to ask of it."""

    def __init__(self, association: Peer, context_id: int, command: Command, data: bytes | None, syntax: str) -> None:
        self.association = association
        self.context_id = context_id
        self.command = command
        self.transfer_syntax = syntax
        self.message_id: int = command.message_id or 0
        self.sop_class_uid: str = command.sop_class
        self.sop_instance_uid: str = command.sop_instance
        self.cancelled = False
        self._data = data
        self._dataset: Dataset | None = None

    @property
    def calling_ae(self) -> str:
        return self.association.calling_ae

    @property
    def called_ae(self) -> str:
        return self.association.called_ae

    @property
    def peer(self) -> str:
        """Address and port of the peer as 'host:port'."""
        return self.association.address

    @property
    def data(self) -> bytes:
        """The data set as it came, in `transfer_syntax`; empty when there was none."""
        return self._data or b""

    @property
    def dataset(self) -> Dataset | None:
        """The data set of the request; None when there was none. Raises DicomFormatError when it is none."""
        if self._dataset is None and self._data is not None:
            self._dataset = queries.decode(self._data, self.transfer_syntax)
        return self._dataset

    def __repr__(self) -> str:
        service = x.SERVICES.get(self.command.field, f"{self.command.field:04X}")
        return f"<{service} {self.message_id} of {printable(self.calling_ae)} at {self.peer}>"


class FindRequest(ServiceRequest):
    """A C-FIND. `model`: 'study', 'patient', 'patient-study', 'worklist', 'non-patient', or '' when unknown."""

    @property
    def priority(self) -> int:
        """0 medium, 1 high, 2 low (PS3.7 9.1.2)."""
        return self.command.priority or 0

    @property
    def model(self) -> str:
        return queries.QUERY_CLASSES.get(self.sop_class_uid, ("", ""))[1]

    @property
    def identifier(self) -> Dataset:
        """The keys. Raises DicomFormatError when they cannot be read."""
        found = self.dataset
        return found if found is not None else queries.decode(b"", self.transfer_syntax)

    @property
    def level(self) -> str:
        """Query/Retrieve Level: 'PATIENT', 'STUDY', 'SERIES', 'IMAGE'; '' where there is none (worklist)."""
        value = self.identifier.get("QueryRetrieveLevel")
        return str(value).strip() if value else ""

    @property
    def extended(self) -> bytes:
        """The extended negotiation agreed for this SOP class (PS3.4 C.5.2: relational queries, combined date-time
        matching, fuzzy matching, timezone); bytes that are missing are 0."""
        extended: Mapping[str, bytes] = getattr(self.association._wire, "extended", {})
        return extended.get(self.sop_class_uid, b"")


class RetrieveRequest(FindRequest):
    """A C-GET or C-MOVE. `destination` is the AE title of a C-MOVE, else ''."""

    @property
    def destination(self) -> str:
        return self.command.move_destination or ""


class NormalizedRequest(ServiceRequest):
    """An N-CREATE, N-SET, N-GET, N-ACTION, N-EVENT-REPORT or N-DELETE.

    A handler of N-CREATE may set `sop_instance_uid`; when neither side names one, one is made."""

    @property
    def action_type(self) -> int:
        return self.command.action_type or 0

    @property
    def event_type(self) -> int:
        return self.command.event_type or 0

    @property
    def attributes(self) -> tuple[int, ...]:
        """Attribute Identifier List of an N-GET: tags; empty: all."""
        return self.command.attributes or ()


class _Operation:
    """A request of the peer that a handler works on."""

    def __init__(self, request: ServiceRequest) -> None:
        self.request = request
        self.task: asyncio.Task[None] | None = None
        self.begun = 0  # ns
        self.producing = False  # the handler has the word, so a C-CANCEL may interrupt it
        self.on_cancel: Callable[[], object] | None = None

    def cancel(self) -> None:
        """A C-CANCEL has come."""
        if not self.request.cancelled:
            self.request.cancelled = True
            if self.on_cancel is not None:
                self.on_cancel()
            if self.producing and self.task is not None:
                self.task.cancel()

    def end(self) -> None:
        """The association is over."""
        self.request.cancelled = True
        if self.task is not None:
            self.task.cancel()


class _Count(Protocol):
    def __call__(self, name: str, /) -> object: ...


class Services:
    """The handlers of one listener or client, and what they need."""

    def __init__(
        self,
        *,
        on_c_find: Handler | None = None,
        on_c_get: Handler | None = None,
        on_c_move: Handler | None = None,
        on_n_create: Handler | None = None,
        on_n_set: Handler | None = None,
        on_n_get: Handler | None = None,
        on_n_action: Handler | None = None,
        on_n_event_report: Handler | None = None,
        on_n_delete: Handler | None = None,
        destinations: Mapping[str, str | Address] | None = None,
        ae_title: str = "DICORE",
        pool: Pool | None = None,
        count: _Count | None = None,
    ) -> None:
        self.on_c_find, self.on_c_get, self.on_c_move = on_c_find, on_c_get, on_c_move
        self.normalized = {
            x.N_CREATE: on_n_create,
            x.N_SET: on_n_set,
            x.N_GET: on_n_get,
            x.N_ACTION: on_n_action,
            x.N_EVENT_REPORT: on_n_event_report,
            x.N_DELETE: on_n_delete,
        }
        for name, handler in self.handlers().items():
            if not callable(handler):
                raise TypeError(f"{name} is {handler!r}, not a function of one argument")
        self.destinations = parse_destinations(destinations or {})
        self.ae_title = ae_title
        self.pool = pool
        self.tasks: set[asyncio.Task[None]] = set()
        self._count = count or (lambda name: None)

    def handlers(self) -> dict[str, Handler]:
        """Those that were given, by name."""
        found = {"on_c_find": self.on_c_find, "on_c_get": self.on_c_get, "on_c_move": self.on_c_move}
        found |= {name: self.normalized[field] for field, name in _NORMALIZED.items()}
        return {name: handler for name, handler in found.items() if handler is not None}

    def serves(self, sop_class: str, stores: bool) -> bool:
        """Is a presentation context of `sop_class` accepted? `stores`: C-STORE is served, of every class."""
        service = queries.QUERY_CLASSES.get(sop_class)
        if service is not None:
            handler = {"C-FIND": self.on_c_find, "C-GET": self.on_c_get, "C-MOVE": self.on_c_move}[service[0]]
            return handler is not None
        return stores or (any(self.normalized.values()) and not is_storage(sop_class))

    def may_invoke(self, sop_class: str) -> bool:
        """May the requestor be the SCP of `sop_class`, and we its SCU?"""
        if is_storage(sop_class):
            return self.on_c_get is not None
        return sop_class not in queries.QUERY_CLASSES and any(self.normalized.values())

    # -- a request

    def request(self, exchange: Exchange, context_id: int, command: Command, data: bytes | None) -> None:
        """A whole request of a peer is here."""
        wire = exchange.wire
        field = command.field
        handler, kind = {
            x.C_FIND: (self.on_c_find, FindRequest),
            x.C_GET: (self.on_c_get, RetrieveRequest),
            x.C_MOVE: (self.on_c_move, RetrieveRequest),
        }.get(field, (self.normalized.get(field), NormalizedRequest))
        if handler is None:
            self._count("unsupported")
            return self._refuse(wire, context_id, command, Status.UNRECOGNIZED_OPERATION, "not served here")
        if command.message_id is None or command.message_id in exchange.running:
            return self._refuse(wire, context_id, command, Status.DUPLICATE_INVOCATION, "this message id is in use")
        if len(exchange.running) >= _MOST:
            return self._refuse(wire, context_id, command, Status.RESOURCE_LIMITATION, "too many operations at a time")
        if exchange.peer is None:
            exchange.peer = Peer(exchange)
        peer: Peer = exchange.peer
        syntax = wire.accepted[context_id][1]
        operation = _Operation(kind(peer, context_id, command, data, syntax))
        exchange.running[command.message_id] = operation
        wire.operations += 1
        self._count("operations")
        operation.begun = time.monotonic_ns()
        operation.task = asyncio.get_running_loop().create_task(self._run(exchange, operation, handler))
        self.tasks.add(operation.task)
        operation.task.add_done_callback(self.tasks.discard)

    async def _run(self, exchange: Exchange, operation: _Operation, handler: Handler) -> None:
        request = operation.request
        command = request.command
        fields: dict[str, Any] = {}
        data: bytes | None = None
        try:
            if isinstance(request, RetrieveRequest):
                fields, data = await self._retrieve(exchange, operation, request, handler)
            elif isinstance(request, FindRequest):
                fields = await self._find(exchange, operation, request, handler)
            else:
                assert isinstance(request, NormalizedRequest)
                fields, data = await self._normal(operation, request, handler)
        except asyncio.CancelledError:
            if exchange.ended is not None or not request.cancelled:
                raise
            fields = {"status": int(Status.CANCELLED)}
        except Exception as error:
            if exchange.ended is not None:
                log.debug("%s: %r ended with its association: %s", request.peer, request, error)
            fields = self._failure(request, error)
        finally:
            exchange.running.pop(request.message_id, None)
            exchange.wire.operations -= 1
        if exchange.ended is None:
            if is_failure(fields["status"]) and fields["status"] != Status.CANCELLED:
                self._count("operations_failed")
            decided = time.monotonic_ns()
            try:
                self._respond(exchange.wire, request.context_id, command, [data] if data else None, **fields)
                if isinstance(exchange.wire, native.Acceptor):
                    exchange.wire.operated(
                        x.SERVICES.get(command.field, f"{command.field:04X}"),
                        request.message_id,
                        command.sop_class,
                        request.sop_instance_uid,
                        fields["status"],
                        operation.begun,
                        decided,
                    )
            except Exception:
                log.exception("%s: %r cannot be answered", request.peer, request)
                exchange.wire.stop("an answer that cannot be sent")

    @staticmethod
    def _respond(wire: Wire, context_id: int, command: Command, pieces: list[Any] | None = None, **fields: Any) -> bool:
        """Send a response to `command`; True while there is room for another."""
        affected = native.usable_uid(command.sop_class)
        response = Command(command.field | 0x8000, responded_to=command.message_id or 0, affected_class=affected)
        if command.field >= x.N_EVENT_REPORT:
            response.affected_instance = native.usable_uid(command.sop_instance)
            response.event_type, response.action_type = command.event_type, command.action_type
        for name, value in fields.items():
            setattr(response, name, value)
        return wire.post(context_id, response, pieces)

    def _refuse(self, wire: Wire, context_id: int, command: Command, status: int, comment: str) -> None:
        self._count("operations_failed")
        self._respond(wire, context_id, command, status=int(status), error_comment=comment)

    def _failure(self, request: ServiceRequest, error: Exception) -> dict[str, Any]:
        """The fields of the response to a request whose handler raised."""
        if isinstance(error, DimseError):
            status, comment = error.status & 0xFFFF, error.comment or str(error)
            if not is_failure(status) or is_pending(status):
                status = Status.PROCESSING_FAILURE
        else:
            comment = str(error) or type(error).__name__
            composite = isinstance(request, FindRequest)
            if isinstance(error, StoreFull | MemoryError):
                status = Status.OUT_OF_RESOURCES if composite else Status.RESOURCE_LIMITATION
            else:
                status = Status.UNABLE_TO_PROCESS if composite else Status.PROCESSING_FAILURE
            log.error("%s: the handler of %r failed", request.peer, request, exc_info=error)
        return {"status": int(status), "error_comment": comment_of(comment)}

    # -- C-FIND

    async def _find(
        self, exchange: Exchange, operation: _Operation, request: FindRequest, handler: Handler
    ) -> dict[str, Any]:
        wire, syntax = exchange.wire, request.transfer_syntax
        clock = time.perf_counter
        begun = clock()
        answers = _items(operation, handler)
        try:
            async for item in answers:
                if type(item) is int:  # the length of a list: of use to a C-GET only
                    continue
                status = int(Status.PENDING)
                if type(item) is tuple:
                    status, item = item
                    if not is_pending(status):
                        raise ValueError(f"a match has status FF00 or FF01, not {status:04X}")
                room = self._respond(
                    wire, request.context_id, request.command, [queries.encode(item, syntax)], status=status
                )
                if not room:
                    await exchange.room()
                    begun = clock()
                elif clock() - begun > _SLICE:
                    await asyncio.sleep(0)
                    begun = clock()
                if request.cancelled:
                    return {"status": int(Status.CANCELLED)}
        finally:
            await answers.aclose()
        return {"status": int(Status.CANCELLED if request.cancelled else Status.SUCCESS)}

    # -- C-GET, C-MOVE

    async def _retrieve(
        self, exchange: Exchange, operation: _Operation, request: RetrieveRequest, handler: Handler
    ) -> tuple[dict[str, Any], bytes | None]:
        address: Address | None = None
        if request.command.field == x.C_MOVE:
            address = self.destinations.get(request.destination)
            if address is None or self.pool is None:
                said = printable(request.destination)
                return {
                    "status": int(Status.MOVE_DESTINATION_UNKNOWN),
                    "error_comment": comment_of(f"move destination {said!r} is not configured"),
                }, None
        tally = _Tally()
        items = _items(operation, handler)
        retrieval = _Retrieval(self, exchange, request, address, tally)
        operation.on_cancel = retrieval.cancel
        try:
            async for item in items:
                if type(item) is int:
                    tally.total = item
                    continue
                if request.cancelled:
                    break
                if type(item) is Cargo:
                    await retrieval.ship(item)
                else:
                    await retrieval.take(item if type(item) is list else [item])
                if request.cancelled:
                    break
            await retrieval.finish()
        except asyncio.CancelledError:
            if exchange.ended is not None or not request.cancelled:
                raise
            await retrieval.finish()
        except Exception as error:
            if exchange.ended is not None or isinstance(error, asyncio.CancelledError):
                raise
            await retrieval.finish()
            fields = self._failure(request, error) | tally.fields(final=False)
            return fields, self._failed_list(request, tally)
        finally:
            retrieval.drop()
            await items.aclose()
        if request.cancelled:
            fields = {"status": int(Status.CANCELLED)} | tally.fields(final=False)
        elif tally.failed and tally.failed == tally.done:
            why = f"no sub-operation succeeded: {tally.why}"
            fields = {
                "status": int(Status.OUT_OF_RESOURCES_FOR_SUB_OPERATIONS),
                "error_comment": comment_of(why),
            } | tally.fields(final=True)
        elif tally.failed or tally.warning:
            fields = {"status": int(Status.SUB_OPERATIONS_FAILED)} | tally.fields(final=True)
        else:
            fields = {"status": int(Status.SUCCESS)} | tally.fields(final=True)
        return fields, self._failed_list(request, tally)

    @staticmethod
    def _failed_list(request: RetrieveRequest, tally: _Tally) -> bytes | None:
        """Failed SOP Instance UID List (0008,0058), PS3.4 C.4.2.1.4.2."""
        if not tally.failed_uids:
            return None
        text = "\\".join(tally.failed_uids).encode()
        return queries.encode(
            Dataset.from_bytes(_element(0x0008, 0x0058, text), transfer_syntax=uid.IMPLICIT_LITTLE),
            request.transfer_syntax,
        )

    # -- N-*

    async def _normal(
        self, operation: _Operation, request: NormalizedRequest, handler: Handler
    ) -> tuple[dict[str, Any], bytes | None]:
        operation.producing = True
        result = handler(request)
        if inspect.isawaitable(result):
            result = await result
        operation.producing = False
        status: int = int(Status.SUCCESS)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], int):
            status, result = result
        elif isinstance(result, int):
            status, result = result, None
        if not 0 <= status <= 0xFFFF:
            raise ValueError(f"the handler answered {status!r}, not a DIMSE status")
        fields: dict[str, Any] = {"status": int(status)}
        if request.command.field == x.N_CREATE and not is_failure(status):
            fields["affected_instance"] = request.sop_instance_uid or uid.generate()
        return fields, queries.encode(result, request.transfer_syntax) if result is not None else None


class _Retrieval:
    """The sub-operations of one C-GET or C-MOVE."""

    def __init__(
        self,
        services: Services,
        exchange: Exchange,
        request: RetrieveRequest,
        address: Address | None,
        tally: _Tally,
    ) -> None:
        self.services, self.exchange, self.request = services, exchange, request
        self.address, self.tally = address, tally
        self.unreachable: NetworkError | None = None
        self.strikes = 0  # network errors in a row
        self._under_way: set[asyncio.Task[None]] = set()
        self._trouble: BaseException | None = None
        self.under_way: Retrieval | None = None  # threads at work for a C-MOVE
        self._said = time.perf_counter()

    def cancel(self) -> None:
        """A C-CANCEL has come: no more sub-operations after what is under way."""
        if self.under_way is not None:
            self.under_way.cancel()

    def _begun(self, retrieval: Retrieval) -> None:
        self.under_way = retrieval
        if self.request.cancelled:
            retrieval.cancel()

    async def ship(self, cargo: Cargo) -> None:
        """Send what threads can send by themselves, then the rest one by one."""
        while cargo.left and not self.request.cancelled and self.unreachable is None:
            first = cargo.left[0]
            try:
                if not await self._shipped(cargo):
                    break
            except DicoreError as error:
                if self.exchange.ended is not None:
                    raise
                cargo.left.remove(first)
                self._lost([Unsendable(cargo.instances[first].sop_instance_uid, "")], error)
        if self.unreachable is not None:
            for uid in cargo.rest():
                self.tally.fail(Unsendable(uid, ""), str(self.unreachable))
        elif (cargo.left or cargo.unfit) and not self.request.cancelled:
            async for items in cargo.read(cargo.rest()):
                await self.take(items)
                if self.request.cancelled:
                    return

    async def _shipped(self, cargo: Cargo) -> bool:
        """Lend an association once; False: it cannot be lent."""
        request, tally = self.request, self.tally
        order = cargo.left
        if self.address is None:
            counts = (tally.total or len(cargo), tally.completed, tally.failed, tally.warning)
            answers = (request.context_id, request.message_id, native.usable_uid(request.sop_class_uid) or "")
            results = await request.association.ship(cargo, order, answers=answers, done=counts)
            if results is not None:
                self._book(cargo, results)
            return results is not None
        assert self.services.pool is not None
        kind, title = cargo.instances[order[0]][1:], self.services.ae_title
        async with self.services.pool.taken(self.address, title, kind, cargo.kinds) as association:
            results = await self._watched(association, cargo, order)
            if results is None:
                return False
            before = tally.done
            self._book(cargo, results)
            if association.ended is not None and cargo.left and tally.done == before:
                self._strike(association.ended)
            return True

    async def _watched(
        self, association: Association, cargo: Cargo, order: list[int]
    ) -> list[tuple[int, int, int, int]] | None:
        """Ship, and tell the requestor how far it is."""
        originator = (self.request.calling_ae, self.request.message_id)
        task = asyncio.ensure_future(association.ship(cargo, order, originator=originator, begun=self._begun))
        try:
            while not task.done():
                await asyncio.wait([task], timeout=_SAY)
                if not task.done() and self.under_way is not None and not self.request.cancelled:
                    self._pending(self.under_way.progress)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        return task.result()

    def _book(self, cargo: Cargo, results: list[tuple[int, int, int, int]]) -> None:
        """Count the outcomes. What was left, and what cannot go out as it is, is the cargo's again."""
        cargo.left = []
        for index, outcome, status, detail in results:
            if outcome == courier.ANSWERED and not is_failure(status):
                self.tally.add(status)
                self.strikes = 0
            elif outcome == courier.LEFT:
                cargo.left.append(index)
            elif outcome == courier.UNFIT:
                cargo.unfit.append(index)
            else:
                self._failed(cargo.instances[index].sop_instance_uid, outcome, status, detail)

    def _failed(self, uid: str, outcome: int, status: int, detail: int) -> None:
        item = Unsendable(uid, "")
        if outcome == courier.ANSWERED:
            log.info("%s: a sub-operation of %r failed: %04X", self.request.peer, self.request, status)
            self.strikes = 0
            self.tally.fail(item, f"{status:04X}")
        elif outcome == courier.LOST:
            self._lost(
                [item], ConnectionFailed("the association ended before the answer", peer=str(self.address or ""))
            )
        else:
            why = os.strerror(detail) if outcome == courier.UNREADABLE else status_text(detail)
            log.error("%s: %s cannot be sent: %s", self.request.peer, printable(uid), why)
            self.tally.fail(item, why)

    async def take(self, items: list[Any]) -> None:
        """Send these. What is ready goes out in runs of one SOP class and transfer syntax."""
        at = 0
        while at < len(items) and not self.request.cancelled:
            item = items[at]
            end = at + 1
            if type(item) is Ready:
                while end < len(items) and type(items[end]) is Ready and items[end].kind == item.kind:
                    end += 1
                await self.finish()
                if self.unreachable is None and not any(len(one.body) % 2 for one in items[at:end]):
                    before = self.tally.done
                    if not await self._run(items[at:end]):
                        await self._singly(items[at:end])
                    else:
                        end = at + self.tally.done - before
                else:
                    await self._singly(items[at:end])
            else:
                await self._singly([item])
            at = end

    async def _run(self, run: list[Ready]) -> bool:
        """A run; some of it when the connection is lost, which counts those that were on their way as failed."""
        request, tally = self.request, self.tally
        open_: dict[int, None] = {}  # on their way

        def answered(number: int, status: int, comment: str) -> bool:
            open_.pop(number)
            self.strikes = 0
            if is_failure(status):
                tally.fail(run[number], f"{status:04X} {printable(comment)}")
                log.info("%s: a sub-operation of %r failed: %04X", request.peer, request, status)
            else:
                tally.add(status)
            if time.perf_counter() - self._said > _SAY:
                self._pending()
            return not request.cancelled

        sent = 0

        def sending(number: int) -> None:
            nonlocal sent
            sent = number + 1
            open_[number] = None

        originator = (request.calling_ae, request.message_id)
        try:
            if self.address is None:
                return await request.association.store_run(run, answered, sending=sending)
            assert self.services.pool is not None
            return await self.services.pool.store_run(
                self.address, run, answered, calling=self.services.ae_title, sending=sending, originator=originator
            )
        except DicoreError as error:
            if self.exchange.ended is not None:
                raise
            lost = open_ or range(sent, len(run))[:1]  # the one that was to be next has failed, if none was on its way
            self._lost([run[number] for number in lost], error)
            return True

    async def _singly(self, items: list[Any]) -> None:
        """Items of any kind, each by itself; those of a C-GET as many at a time as the window has room for."""
        for item in items:
            if self.request.cancelled:
                return
            if self.address is not None or self.exchange.window == 1:
                await self._one(item)
                continue
            while len(self._under_way) >= self.exchange.window:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.get_running_loop().create_task(self._one(item))
            self._under_way.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:  # the association has ended, which all will notice
            self._trouble = task.exception()

    async def finish(self) -> None:
        """Wait for what is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._trouble is not None:
            raise self._trouble

    def drop(self) -> None:
        for task in self._under_way:
            task.cancel()

    async def _one(self, item: Any) -> None:
        request, tally = self.request, self.tally
        try:
            if type(item) is Unsendable:
                raise StoreError(item.why)
            what = item.whole if type(item) is Ready else item
            if self.address is None:
                status = await request.association.c_store(what)
            elif self.unreachable is not None:
                raise self.unreachable
            else:
                assert self.services.pool is not None
                status = await self.services.pool.store(
                    self.address,
                    what,
                    calling=self.services.ae_title,
                    originator=(request.calling_ae, request.message_id),
                )
        except DimseError as error:
            tally.fail(item, f"{error.status:04X}")
            log.info("%s: a sub-operation of %r failed: %s", request.peer, request, error)
        except (DicoreError, OSError, ValueError) as error:
            if self.exchange.ended is not None:
                raise
            self._lost([item], error)
        else:
            self.strikes = 0
            tally.add(status)
        if not request.cancelled and not self._pending():
            await self.exchange.room()

    def _lost(self, items: list[Any], error: Exception) -> None:
        """One trouble, and what went with it."""
        if self.address is not None and isinstance(error, NetworkError):
            self._strike(error)
        for item in items:
            self.tally.fail(item, str(error))

    def _strike(self, error: NetworkError) -> None:
        if self.unreachable is None:
            log.warning("%s: %r: %s", self.request.peer, self.request, printable(str(error), 300))
        self.strikes += 1
        if self.strikes > 2 or not self.tally.completed + self.tally.warning:
            self.unreachable = error  # do not wait for it once more for each of what is left

    def _pending(self, beside: tuple[int, int, int, int] = (0, 0, 0, 0)) -> bool:
        """Say how far it is, with what threads have done and nobody has booked yet."""
        self._said = time.perf_counter()
        request = self.request
        return self.services._respond(
            self.exchange.wire,
            request.context_id,
            request.command,
            status=int(Status.PENDING),
            **self.tally.fields(final=False, beside=beside),
        )


class _Tally:
    """The counts of a C-GET or C-MOVE."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.completed = self.failed = self.warning = 0
        self.failed_uids: list[str] = []
        self.why = ""

    @property
    def done(self) -> int:
        return self.completed + self.failed + self.warning

    def add(self, status: int) -> None:
        if is_warning(status):
            self.warning += 1
        else:
            self.completed += 1

    def fail(self, item: Storable | Unsendable | Ready, why: str) -> None:
        self.failed += 1
        self.why = why
        instance = _instance_of(item)
        if instance:
            self.failed_uids.append(instance)

    def fields(self, *, final: bool, beside: tuple[int, int, int, int] = (0, 0, 0, 0)) -> dict[str, Any]:
        """Those of PS3.7 table 9.1-4, what does not fit 16 bits as the most that does."""
        found = {
            "completed": self.completed + beside[0],
            "failed": self.failed + beside[1],
            "warning": self.warning + beside[2],
        }
        if not final and self.total is not None:
            found["remaining"] = max(0, self.total - sum(found.values()))
        return {name: min(value, 0xFFFF) for name, value in found.items()}


def _instance_of(item: Storable | Unsendable | Ready) -> str:
    """The SOP Instance UID of what a handler yielded, '' when it cannot be said."""
    try:
        if isinstance(item, Unsendable | Ready):
            return item.sop_instance_uid
        if isinstance(item, FilePart):
            with open(item.path, "rb") as file:
                return native.identify_bytes(os.pread(file.fileno(), 1 << 16, item.offset), partial=True)[1]
        if isinstance(item, Dataset):
            return str(item.get("SOPInstanceUID") or "")
        if isinstance(item, str | os.PathLike):
            with open(item, "rb") as file:
                return native.identify_bytes(file.read(1 << 16), partial=True)[1]
        return native.identify_bytes(item, partial=True)[1]
    except (OSError, ValueError, DicoreError):
        return ""


def _element(group: int, element: int, value: bytes) -> bytes:
    """An element of UIDs in implicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    return b"".join(
        [group.to_bytes(2, "little"), element.to_bytes(2, "little"), len(value).to_bytes(4, "little"), value]
    )


def comment_of(text: str) -> str:
    """Error Comment (0000,0902), an LO: 64 printable characters of ASCII at most, no backslash."""
    safe = printable(text, 64).replace("\\", "/")
    return safe[:64] if len(safe) <= 64 else safe[:61] + "..."


# ---- what a handler yields -------------------------------------------------------------------------------------------


async def _items(operation: _Operation, handler: Handler) -> AsyncGenerator[Any, None]:
    """What the handler yields or returns, one at a time, whatever kind of function it is."""
    operation.producing = True
    result = handler(operation.request)
    if inspect.isawaitable(result):
        result = await result
    if hasattr(result, "__aiter__"):
        source = result.__aiter__()
        try:
            async for item in source:
                operation.producing = False
                yield item
                operation.producing = True
        finally:
            operation.producing = False
            if hasattr(source, "aclose"):
                await source.aclose()
        return
    operation.producing = False
    if result is None:
        return
    if hasattr(result, "__len__"):
        yield len(result)
        for item in result:
            yield item
        return
    async for item in _in_thread(operation, iter(result)):
        yield item


async def _in_thread(operation: _Operation, source: Iterator[Any]) -> AsyncGenerator[Any, None]:
    """A generator that is not asynchronous: a batch at a time in a thread, what it has after a few milliseconds."""
    loop = asyncio.get_running_loop()
    stop = False

    def batch() -> tuple[list[Any], bool, Exception | None]:
        found: list[Any] = []
        until = time.perf_counter() + 0.005
        try:
            for item in itertools.islice(source, _BATCH):
                found.append(item)
                if stop or time.perf_counter() > until:
                    return found, True, None
        except Exception as error:  # after what came before it
            return found, False, error
        return found, len(found) == _BATCH, None

    running: Awaitable[Any] | None = None
    try:
        more = True
        while more:
            running = loop.run_in_executor(None, batch)
            operation.producing = True
            found, more, trouble = await asyncio.shield(running)
            operation.producing = False
            running = None
            for item in found:
                yield item
            if trouble is not None:
                raise trouble
    finally:
        operation.producing = False
        stop = True
        if running is not None:  # it cannot be interrupted, and must have ended before it is closed
            with contextlib.suppress(Exception):
                await running
        close = getattr(source, "close", None)
        if close is not None:
            await loop.run_in_executor(None, close)
