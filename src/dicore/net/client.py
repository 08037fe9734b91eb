"""The client's side of an association on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from dicore import uid
from dicore._native import net as native
from dicore._native.capture import Stream
from dicore._native.command import Command
from dicore._native.net import Link, Paths, Pump, Volley
from dicore._native.status import status_text
from dicore.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationStateError,
    ConnectionFailed,
    DicomFormatError,
    NetworkError,
    NetworkTimeout,
    ProtocolViolation,
)
from dicore.net import exchange as x
from dicore.net import queries, watch
from dicore.net.address import Address, check_ae_title
from dicore.net.capture import CaptureFile, opened
from dicore.net.commitment import Commitments
from dicore.net.exchange import Exchange, Responses
from dicore.net.identity import Identity
from dicore.net.limits import Limits, Timeouts
from dicore.net.operations import (
    COMMITMENT,
    MPPS,
    Answers,
    Elements,
    Operations,
    Progress,
    Storable,
    _identifier,
    _model,
)
from dicore.net.receive import Incoming, Receiver, failure_status, sink_for
from dicore.net.service import Handler, NormalizedRequest, Services, is_storage
from dicore.net.status import Status, is_failure
from dicore.net.tls import Relay, client_context, explain

__all__ = ["Association", "Storable", "connect", "default_contexts"]

Context = tuple[str, Sequence[str]]

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen by connect, so that each destination has them all

_REJECT_REASONS = {  # PS3.8 table 9-21
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_ABORT_REASONS = {  # PS3.8 table 9-26
    0: "no reason given",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter",
}


_COMPRESSED = (  # what a C-GET may bring beside the uncompressed syntaxes, in one context per class
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", uid.DEFLATED,
)  # fmt: skip


def default_contexts(*, receive: bool = False) -> list[Context]:
    """Verification, the usual storage classes, query and retrieve, worklist, procedure steps, storage commitment; each
    in the two uncompressed little endian syntaxes. With `receive` the storage classes in compressed ones too."""
    syntaxes = (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE)
    contexts: list[Context] = [(one, syntaxes) for one in uid.SOP_CLASSES]
    for model in ("study", "patient"):
        contexts += [(table[model], syntaxes) for table in (queries.FIND, queries.MOVE, queries.GET)]
    contexts += [(one, syntaxes) for one in (queries.FIND["worklist"], MPPS, COMMITMENT)]
    if receive:
        contexts += [(one, _COMPRESSED) for one in uid.SOP_CLASSES if is_storage(one)]
    return contexts


class Association(Operations):
    """An open association, made by `connect`. One operation at a time is on the wire, or as many as `window` says;
    others wait for their turn.

    Cancelling an operation aborts the association: DICOM has no way to take half a message back. To leave the loop over
    a C-FIND, C-GET or C-MOVE cancels only that, by a C-CANCEL.
    """

    def __init__(
        self,
        address: Address,
        link: Link,
        sock: socket.socket,
        timeouts: Timeouts,
        limits: Limits,
        calling: str,
        on_n_event_report: Handler | None,
    ) -> None:
        self.address = address
        self.calling_ae = calling
        self.called_ae = address.ae_title
        self.peer = str(address)
        self.operations = 0  # of the Wire protocol
        self.connect_seconds = 0.0  # that TCP took (name, handshake) and TLS, before negotiation
        self.tls_seconds = 0.0  # of these, those of the TLS handshake
        self.wants_room = False
        self._link = link
        link.owner = self
        self._socket = sock
        self._timeouts = timeouts
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._on_event = on_n_event_report
        self._relay: Relay | None = None  # of a TLS connection
        self._wire: opened | None = None  # a capture
        self._reports: Commitments | None = None
        self._services = Services(on_n_event_report=self._event)
        self._exchange = Exchange(self, self._services)
        self._events: deque[tuple[Any, ...]] = deque()
        self._processing = False
        self._message: tuple[int, Command, list[bytes]] | None = None  # whose data set is coming
        self._message_size = 0
        self._receiver: Receiver | None = None  # of a C-GET
        self._getting: Responses | None = None
        self._turn: asyncio.Lock | None = None  # of the C-GETs
        self._holds = 0
        self._waiter: asyncio.Future[tuple[Any, ...]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._watched = False
        self._pump: Pump | Volley | None = None  # has the socket meanwhile, in another thread
        self._lent = False  # so have others
        self._recalled: NetworkError | None = None  # why it is to be over, while it is lent
        self.loan: Any = None  # of the Wire protocol
        self._end: NetworkError | None = None  # why it is over

    # -- what there is to see

    @property
    def open(self) -> bool:
        """True until it is released, aborted or broken."""
        return self._end is None

    @property
    def ended(self) -> NetworkError | None:
        """Why it is over; None while it is open."""
        return self._end

    @property
    def contexts(self) -> dict[tuple[str, str], int]:
        """(SOP class, transfer syntax) -> id of the accepted presentation contexts."""
        return dict(self._link.contexts)

    @property
    def accepted(self) -> dict[int, tuple[str, str]]:
        """{context id: (SOP class, transfer syntax)} of the accepted presentation contexts."""
        return self._link.accepted

    @property
    def refused(self) -> dict[tuple[str, str], int]:
        """(SOP class, transfer syntax) -> result of PS3.8 table 9-18 for what was not accepted."""
        return dict(self._link.refused)

    @property
    def roles(self) -> dict[str, tuple[bool, bool]]:
        """SOP class -> (SCU, SCP): what we may be, where the peer answered a role (PS3.7 D.3.3.4)."""
        return dict(self._link.roles)

    @property
    def extended(self) -> dict[str, bytes]:
        """SOP class -> extended negotiation as the peer answered it (PS3.7 D.3.3.5)."""
        return dict(self._link.extended)

    @property
    def tls(self) -> tuple[str, str] | None:
        """Protocol and cipher suite, ('TLSv1.3', 'TLS_AES_256_GCM_SHA384'); None: not encrypted."""
        return None if self._relay is None else (self._relay.version, self._relay.cipher)

    @property
    def window(self) -> int:
        """Operations of ours that may be under way at a time."""
        return self._exchange.window

    @property
    def identity_response(self) -> bytes | None:
        """The peer's response to our user identity; None when it gave none (it may ignore the item)."""
        return self._link.identity_response

    @property
    def implementation(self) -> tuple[str, str]:
        """Implementation Class UID and version name of the peer."""
        return self._link.implementation_uid, self._link.implementation_version

    @property
    def peer_max_length(self) -> int:
        """The longest P-DATA that the peer takes; 0: any."""
        return self._link.peer_max_length

    def __repr__(self) -> str:
        return f"<Association with {self.address}, {'open' if self.open else f'ended: {self._end}'}>"

    # -- operations

    def _peer_name(self) -> str:
        return self.peer

    def _invokes(self, sop_class: str) -> bool:
        return self._link.roles.get(sop_class, (True, False))[0] or not is_storage(sop_class)

    async def c_store(self, instance: Storable, *, priority: int = 0, originator: tuple[str, int] | None = None) -> int:
        """C-STORE of a file, of bytes of one, or of a Dataset. Returns 0 or the warning status that the peer gave.

        It goes out as it is stored. When the peer accepted no context for that, an uncompressed data set is rewritten
        in another uncompressed syntax, in a thread; otherwise TransferSyntaxError. Raises DimseError for a failure
        status, DicomFormatError for what is no DICOM file, OSError for what cannot be read.
        """
        plain = priority == 0 and originator is None and self._exchange.window == 1
        if plain and isinstance(instance, str | os.PathLike):
            return await self._store_file(os.fspath(instance))
        return await super().c_store(instance, priority=priority, originator=originator)

    def c_get(
        self,
        dataset: Elements = None,
        /,
        *,
        to: Any = None,
        level: str | None = "STUDY",
        model: str = "study",
        sop_class: str | None = None,
        priority: int = 0,
        **keys: Any,
    ) -> Answers:
        """C-GET: `async for ds in assoc.c_get(level="STUDY", StudyInstanceUID=uid):`, a Dataset per instance.

        The association must have been made with `receive=True` (or `roles=`): the instances come by C-STORE in the
        other direction. With `to`, a folder, a Store, a Sink or a function `(request, dataset) -> status`, they go
        there, and a `Progress` is yielded for each. Not more than a few wait for the loop's body. Leaving the loop
        cancels. A second C-GET waits for the end of the first, whatever the window: nothing in a C-STORE says which of
        the two it is for. Raises DimseError for a failure status; `progress` of what this returns has the final counts
        and what failed at the peer."""
        chosen = sop_class or _model(queries.GET, model)

        remaining: list[int | None] = [None]

        async def begin(_: Answers) -> Responses:
            number, syntax = self._context(chosen, "C-GET")
            if not any(scp for _, scp in self._link.roles.values()):
                raise AssociationStateError(
                    "the peer may send no instances here: connect with receive=True (PS3.7 D.3.3.4)", peer=self.peer
                )
            wanted = _identifier(dataset, model, level, keys, False)
            command = Command(x.C_GET, priority=priority, affected_class=chosen)
            ours = await self._begin_get(number, command, [queries.encode(wanted, syntax)])
            ours.limit, ours.most = 8, 128
            counts = [0, 0]

            def stored(request: Incoming, status: int) -> None:
                counts[is_failure(status)] += 1
                if to is not None:
                    ours.put(Progress(remaining[0], counts[0], counts[1], None, 0xFF00, (), request.sop_instance_uid))

            def take(request: Any, data: memoryview) -> int:
                ours.put(queries.decode(data, request.transfer_syntax))
                return int(Status.SUCCESS)

            self._receiver = receiver = Receiver(
                self,
                sink_for(take if to is None else to),
                stream_from=self._limits.stream_from,
                most=self._limits.dataset,
                stored=stored,
                failed=failure_status,
            )
            ours.on_abandon = lambda: setattr(receiver, "dropping", True)
            ours.on_final = self._received_all
            return ours

        def convert(answers: Answers, command: Command, data: bytes | None) -> Progress | None:
            pending = command.status in (0xFF00, 0xFF01)
            if not pending and command.status != 0xFE00:
                self._check("C-GET", command)
            answers.progress = self._progress(command, data, chosen)
            remaining[0] = command.remaining
            return None if pending or to is None else answers.progress

        return Answers(begin, convert)

    async def _begin_get(self, number: int, command: Command, pieces: list[Any]) -> Responses:
        """One C-GET at a time, whatever the window: a C-STORE does not say which of two it is for (PS3.7 9.1.1.1: it
        names the originator of a C-MOVE only)."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        if self._getting is not None and self._getting.task is asyncio.current_task():
            raise AssociationStateError(
                "this task is in the middle of a C-GET on this association: finish it, or open another association",
                peer=self.peer,
            )
        await self._turn.acquire()
        try:
            ours = self._getting = await self._exchange.begin(number, command, pieces)
            self._exchange.check()
        except BaseException:
            self._received_all()
            raise
        return ours

    def _received_all(self) -> None:
        self._receiver = self._getting = None
        if self._turn is not None:
            self._turn.release()

    def _commitments(self) -> Commitments:
        if self._reports is None:
            self._reports = Commitments()
        return self._reports

    def _event(self, request: NormalizedRequest) -> Any:
        """An N-EVENT-REPORT: of a storage commitment that is waited for, or the user's business."""
        if self._reports is not None and request.sop_class_uid == COMMITMENT:
            status = self._reports(request)
            if status != Status.NO_SUCH_SOP_INSTANCE or self._on_event is None:
                return status
        if self._on_event is None:
            return Status.UNRECOGNIZED_OPERATION
        return self._on_event(request)

    async def release(self) -> None:
        """End the association in order. Nothing when it is over already."""
        if not self.open:
            return await self._end_wire()
        async with self._exchange.exclusive():
            if self.open:
                try:
                    await self._operate(self._link.start_release)
                except NetworkError:
                    pass  # it is over, which is what was asked for
                finally:
                    self._close(AssociationStateError("the association is released", peer=str(self.address)))
        await self._end_wire()

    def abort(self) -> None:
        """End the association now, with an A-ABORT. Nothing when it is over already."""
        self._abort(AssociationStateError("the association is aborted", peer=str(self.address)))

    async def __aenter__(self) -> Association:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.release()
        else:
            self.abort()
            await self._end_wire()

    async def _end_wire(self) -> None:
        """The capture's file is whole."""
        if self._wire is not None:
            await self._wire.close()

    def _begin_wire(self) -> Stream | None:
        if self._wire is None or self._wire.capture is None:
            return None
        if self._relay is None:
            return self._wire.capture.begin(self._socket.getsockname(), self._socket.getpeername(), False, "")
        own, peer = self._relay.ends
        return self._wire.capture.begin(own, peer, False, f"decrypted: {self._relay.version} {self._relay.cipher}")

    # -- C-STORE

    async def _store_file(self, path: str) -> int:
        async with self._exchange.exclusive():
            self._check_open()
            pump = self.pump([self], Paths([os.fsencode(path)]), [0])
            await self.pumped([self], pump)
            ((_, outcome, status, detail),) = pump.results()
        if outcome == native.SENT:
            return self._check("C-STORE", Command(0x8001, status=status))
        if outcome == native.UNREADABLE:
            raise OSError(detail, os.strerror(detail), path)
        if outcome == native.NO_CONTEXT:
            return (await self.store_rewritten(path))[0]
        if outcome == native.LOST and self._end is not None:
            raise self._end
        raise DicomFormatError(file_failure(outcome, detail), path=path)

    async def store_rewritten(self, path: str) -> tuple[int, int]:
        """C-STORE of a file for whose syntax there is no context: the status, and how many bytes went out."""
        data = await self._loop.run_in_executor(None, _read, path)
        return await self.store_bytes(memoryview(data))

    @staticmethod
    def pump(associations: Sequence[Association], paths: Paths, order: list[int]) -> Pump:
        """What sends the files `order` of `paths` over `associations`, once it runs (`pumped`)."""
        return Pump([one._link for one in associations], paths, order)

    @staticmethod
    async def pumped(associations: Sequence[Association], pump: Pump) -> None:
        """Run a pump over associations in a thread. Their sockets are its own meanwhile; cancelling aborts them."""
        loop = asyncio.get_running_loop()
        for one in associations:
            one.hand_over(pump)
        running = loop.run_in_executor(None, pump.run)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            pump.cancel()
            await asyncio.wait([running])
            raise
        finally:
            for number, one in enumerate(associations):
                one.hand_back(pump.ended(number))

    def hand_over(self, to: Pump | Volley) -> Link:
        """Give the socket to what drives it in another thread, until `hand_back`."""
        self._pump = to
        self._unwatch()
        return self._link

    def hand_back(self, end: tuple[Any, ...] | None) -> None:
        """The socket is ours again; `end` is what ended the association meanwhile, None: it stands."""
        self._pump = None
        if end is not None:
            self._close(self._end_of(end))
        else:
            self._watch()

    def lend(self) -> tuple[int, int, int] | None:
        """See `dicore.net.exchange.Wire`."""
        if not self.open or self._pump is not None or self._events or self._holds or self._writing:
            return None
        lent = self._link.lend()
        if lent is None:
            return None
        self._lent, self._recalled = True, None
        self._unwatch()
        return (*lent, round(self._timeouts.network * 1000))

    def take_back(self, ended: int) -> None:
        """See `dicore.net.exchange.Wire`."""
        self._lent, self.loan = False, None
        events, amid = self._link.take_back(ended)
        if amid or (events and events[0][0] in ("broken", "timeout", "stopped", "cut")):
            if not amid:
                self._link.start_abort()
                self._say_last_words()
            self._close(self._recalled or self._end_of(events[0]))
            return
        if self._recalled is not None:
            self._abort(self._recalled)
            return
        self._events.extend(events)
        self._process()
        self._watch()
        self._arm()

    # -- one operation

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
        """Send a message: see `dicore.net.exchange.Wire`, which this is."""
        self._link.post(context_id, command, pieces, size=size, more=more, done=done)
        self._push()
        self._arm()
        return not self._link.sending

    def resume(self) -> None:
        """More of the data set that is being sent is here."""
        self._push()

    def stop(self, why: str) -> None:
        """Abort, because of the peer."""
        self._abort(ProtocolViolation(why, section="PS3.7 6.3", peer=self.peer))

    def hold(self, on: bool) -> None:
        """Read nothing while `on`; as many times off as on."""
        self._holds += 1 if on else -1
        if self._holds:
            self._stop_reading()
        elif self._pump is None and not self._lent:
            self._watch()
            if self._events:
                self._loop.call_soon(self._process)

    async def _operate(self, begin: Callable[[], object]) -> tuple[Any, ...]:
        self._check_open()
        self._waiter = waiter = self._loop.create_future()
        try:
            begin()
            self._push()
            self._arm()
            answer: tuple[Any, ...] = await waiter
            return answer
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None

    def _check_open(self) -> None:
        if self._end is not None:
            raise AssociationStateError(f"the association is over: {self._end}", peer=str(self.address)) from self._end

    def _done(self, answer: tuple[Any, ...]) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    # -- socket events

    def _watch(self) -> None:
        if self.open and not self._watched and not self._holds:
            self._watched = True
            watch.add_reader(self._loop, self._socket.fileno(), self._readable)

    def _stop_reading(self) -> None:
        if self._watched:
            self._watched = False
            watch.remove_reader(self._loop, self._socket.fileno())

    def _unwatch(self) -> None:
        self._stop_reading()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _readable(self) -> None:
        try:
            events = self._link.pull()
        except OSError as error:
            return self._close(ConnectionFailed(f"the connection broke: {error.strerror}", peer=str(self.address)))
        self._events.extend(events)
        self._process()
        if events and self.open:
            self._push()

    def _process(self) -> None:
        """Take what was read, as long as it can be taken."""
        if self._processing:
            return
        self._processing = True
        try:
            while self._events and self.open:
                if self._receiver is not None and self._receiver.writing:
                    return  # `hold` goes on
                self._take(self._events.popleft())
        finally:
            self._processing = False

    def _take(self, event: tuple[Any, ...]) -> None:
        kind = event[0]
        if kind == "command":
            _, context_id, command, has_data = event
            self._command(context_id, command, has_data)
        elif kind == "data":
            _, _, data, last = event
            self._data(data, last)
        elif kind in ("accepted", "released"):
            self._done(event)
        else:
            if kind == "release":
                self._link.release_reply()
            self._say_last_words()
            self._close(self._end_of(event))

    def _command(self, context_id: int, command: Command, has_data: bool) -> None:
        if command.field == x.C_STORE:
            if self._receiver is None or not self._link.roles.get(self.accepted[context_id][0], (True, False))[1]:
                return self._uninvited()
            if not has_data:
                answer = Command(0x8001, responded_to=command.message_id or 0, status=int(Status.CANNOT_UNDERSTAND))
                self.post(context_id, answer)
            elif not self._receiver.command(context_id, self.accepted[context_id][1], command):
                self.stop("a C-STORE amid another one")
            return
        if not command.is_response and command.field not in (x.N_EVENT_REPORT, x.C_CANCEL):
            return self._uninvited()
        if has_data:
            self._message, self._message_size = (context_id, command, []), 0
        else:
            self._exchange.message(context_id, command, None)

    def _uninvited(self) -> None:
        self._abort(ProtocolViolation("the peer sent a request, which no role allows it", peer=self.peer))

    def _data(self, data: bytes, last: bool) -> None:
        if self._message is None:
            if self._receiver is not None and not self._receiver.data(data, last):
                self.stop("a data set beyond the limit")
            return
        context_id, command, pieces = self._message
        pieces.append(data)
        self._message_size += len(data)
        if self._message_size > self._limits.identifier:
            return self.stop("an identifier beyond the limit")
        if last:
            self._message = None
            self._exchange.message(context_id, command, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _push(self) -> None:
        try:
            blocked = self._link.push()
        except OSError as error:
            return self._close(ConnectionFailed(f"the connection broke: {error.strerror}", peer=str(self.address)))
        if blocked and not self._writing:
            self._writing = True
            watch.add_writer(self._loop, self._socket.fileno(), self._push)
        elif not blocked and self._writing:
            self._writing = False
            watch.remove_writer(self._loop, self._socket.fileno())
        if self.wants_room and not self._link.sending:
            self.wants_room = False
            self._exchange.on_room()

    def _arm(self) -> None:
        """One timer for whatever the core waits for; it looks again when it fires instead of being moved."""
        if self._timer is None and self.open:
            left = self._link.deadline()
            if left is not None:
                self._timer = self._loop.call_later(left / 1000, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._holds:  # the peer is not silent, we are deaf
            self._link.touch()
        name = self._link.tick()
        if name is None:
            return self._arm()
        self._say_last_words()
        self._close(self._timed_out(name))

    def _timed_out(self, name: str) -> NetworkTimeout:
        times = self._timeouts
        what, limit = {
            "artim": ("the peer did not close", times.artim),
            "request": ("no answer to the association request", times.dimse),
            "network": ("the peer fell silent amid a message", times.network),
            "dimse": ("no response to the request", times.dimse),
        }[name]
        return NetworkTimeout(f"{what} within {limit:g} s ({name} timeout)", peer=str(self.address))

    def _end_of(self, event: tuple[Any, ...]) -> NetworkError:
        """The exception for an event that ends the association."""
        peer = str(self.address)
        match event:
            case ("rejected", result, source, reason):
                why = _REJECT_REASONS.get((source, reason), f"source {source}, reason {reason}")
                kind = "for now" if result == 2 else "for good"
                return AssociationRejected(
                    f"the association was rejected {kind}: {why}",
                    result=result,
                    source=source,
                    reason=reason,
                    peer=peer,
                )
            case ("aborted", source, reason, *_):
                why = _ABORT_REASONS.get(reason, f"reason {reason}") if source == 2 else "by its user"
                return AssociationAborted(
                    f"the peer aborted the association: {why}", source=source, reason=reason, peer=peer
                )
            case ("failed", str() as text, reason, offset):
                return ProtocolViolation(text, section="PS3.8 9.3", offset=offset, peer=peer, abort_reason=reason)
            case ("failed", _, reason, detail):  # of a pump
                return ProtocolViolation(status_text(detail), section="PS3.8 9.3", peer=peer, abort_reason=reason)
            case ("timeout", _, _, detail):
                return self._timed_out(native.TIMEOUT_NAMES[detail])
            case ("broken", _, number, _):
                return ConnectionFailed(f"the connection broke: {os.strerror(number)}", peer=peer)
            case ("stopped",):
                return AssociationStateError("the association is aborted", peer=peer)
            case ("cut",):
                why = "an instance could not be read any more when half of it was sent"
                return AssociationStateError(f"the association is aborted: {why}", peer=peer)
            case ("release", *_):
                return AssociationStateError("the peer released the association", peer=peer)
        return ConnectionFailed("the peer closed the connection without an A-ABORT", peer=peer)

    # -- the end

    def _abort(self, why: NetworkError) -> None:
        if self._pump is not None:
            self._pump.cancel()  # it aborts, and its end closes us
        elif self._lent:
            self._recalled = why
            if self.loan is not None:
                self.loan.stop()  # `take_back` goes on
        elif self.open:
            self._link.start_abort()
            self._say_last_words()
            self._close(why)

    def _say_last_words(self) -> None:
        with contextlib.suppress(OSError):  # the peer may be gone already
            self._link.push()

    def _close(self, why: NetworkError) -> None:
        if not self.open:
            return
        if self._relay is not None and self._relay.error is not None and isinstance(why, ConnectionFailed):
            cause = self._relay.error
            why = ConnectionFailed(f"the TLS connection broke: {explain(cause)}", peer=str(self.address))
        elif self._relay is not None and not self._link.accepted and isinstance(why, ConnectionFailed):
            text = "the peer closed the TLS connection, unanswered: it may want a certificate, or another one"
            why = ConnectionFailed(text, peer=str(self.address))
        self._end = why
        self._unwatch()
        if self._writing:
            self._writing = False
            watch.remove_writer(self._loop, self._socket.fileno())
        self._link.detach(f"{self.calling_ae} -> {self.called_ae}: {why}", isinstance(why, ConnectionFailed))
        self._socket.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(why)
        self._events.clear()
        if self._receiver is not None:
            self._receiver.end()
        self._exchange.on_end(why)

    # -- the beginning

    async def _associate(
        self,
        calling: str,
        contexts: Iterable[Context],
        *,
        roles: dict[str, tuple[bool, bool]],
        extended: dict[str, bytes],
        window: int,
        identity: Identity | None,
    ) -> None:
        proposal = [(2 * i + 1, one, list(syntaxes)) for i, (one, syntaxes) in enumerate(contexts)]
        self._link.propose(
            self.address.ae_title,
            calling,
            proposal,
            uid.IMPLEMENTATION_CLASS.encode(),
            uid.IMPLEMENTATION_VERSION.encode(),
            roles=roles,
            extended=extended,
            window=(window, window) if window != 1 else None,  # a C-GET's instances may come so, too
            identity=None if identity is None else identity.items(),
        )

        def begin() -> None:
            self._link.attach(self._socket.fileno(), self._begin_wire())
            self._watch()

        await self._operate(begin)
        if window != 1 and self._link.window_invoked != 1:  # 0 is unlimited (PS3.7 D.3.3.3)
            agreed = min(window, self._link.window_invoked or window)
            self._exchange = Exchange(self, self._services, window=agreed)


class _Connecting:
    """What `connect` returns: `async with` it, or `await` it."""

    def __init__(
        self,
        address: Address,
        calling: str,
        contexts: Sequence[Context],
        timeouts: Timeouts,
        limits: Limits,
        on_n_event_report: Handler | None,
        negotiated: dict[str, Any],
        source: str | None,
        tls: ssl.SSLContext | None,
        wire: CaptureFile | None,
    ) -> None:
        self._wire = wire
        self._address, self._calling, self._contexts = address, calling, contexts
        self._timeouts, self._limits = timeouts, limits
        self._on_event, self._negotiated, self._source, self._tls = on_n_event_report, negotiated, source, tls
        self._association: Association | None = None

    def __await__(self) -> Generator[Any, None, Association]:
        return self._connect().__await__()

    async def __aenter__(self) -> Association:
        self._association = await self._connect()
        return self._association

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._association is not None
        await self._association.__aexit__(kind, error, trace)

    async def _connect(self) -> Association:
        times, limits = self._timeouts, self._limits
        begin = time.perf_counter()
        sock = await _open_socket(self._address, times.connect, self._source)
        relay = None
        tls_seconds = 0.0
        if self._tls is not None or self._address.tls:
            tcp = time.perf_counter()
            relay = await _secured(sock, self._address, self._tls, times)
            sock = relay.sock
            tls_seconds = time.perf_counter() - tcp
        connect_seconds = time.perf_counter() - begin
        try:
            link = Link(
                pdu=limits.pdu,
                negotiation=limits.negotiation,
                command=limits.command,
                artim=round(times.artim * 1000),
                request=round(times.dimse * 1000),
                network=round(times.network * 1000),
                dimse=round(times.dimse * 1000),
            )
            association = Association(self._address, link, sock, times, limits, self._calling, self._on_event)
            association._relay = relay
            association.connect_seconds, association.tls_seconds = connect_seconds, tls_seconds
            if self._wire is not None:
                association._wire = opened(self._wire)
                await association._wire.open()
        except BaseException:
            sock.close()
            raise
        try:
            await association._associate(self._calling, self._contexts, **self._negotiated)
        except BaseException:
            association.abort()
            await association._end_wire()
            raise
        return association


async def _secured(sock: socket.socket, address: Address, tls: ssl.SSLContext | None, times: Timeouts) -> Relay:
    """The TLS handshake. What fails in it is told as ConnectionFailed, with the reason."""
    try:
        context = tls
        if context is None:
            context = await asyncio.get_running_loop().run_in_executor(None, client_context)
        return await Relay.open(sock, context, address.host, times.connect)
    except (OSError, ValueError) as error:  # the socket is the transport's, which closes it
        raise ConnectionFailed(f"no TLS connection: {explain(error)}", peer=str(address)) from error


async def _open_socket(address: Address, limit: float, source: str | None) -> socket.socket:
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    try:
        async with asyncio.timeout(limit):
            for family, kind, _, _, where in await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            ):
                sock = socket.socket(family, kind)
                try:
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if source is not None:
                        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                        sock.bind((source, 0))
                    await loop.sock_connect(sock, where)
                    return sock
                except OSError as error:
                    sock.close()
                    if isinstance(error, TimeoutError):
                        raise
                    last = error
                except BaseException:
                    sock.close()
                    raise
    except TimeoutError:
        raise NetworkTimeout(f"no TCP connection within {limit:g} s (connect timeout)", peer=str(address)) from None
    except OSError as error:
        last = error
    raise ConnectionFailed(f"no TCP connection: {last}", peer=str(address)) from last


def file_failure(outcome: int, detail: int) -> str:
    """Why a file was not sent, for the outcomes that lie in the file."""
    if outcome == native.UNREADABLE:
        return os.strerror(detail)
    if outcome == native.NOT_DICOM:
        return f"cannot be sent: {status_text(detail)}"
    if outcome == native.ODD:
        return "the data set has an odd number of bytes, which cannot be sent (PS3.8 annex E)"
    if outcome == native.CHANGED:
        return "the file became shorter while it was sent"
    return "not sent"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def connect(
    to: str | Address,
    *,
    calling: str = "DICORE",
    contexts: Iterable[Context | str] | None = None,
    receive: bool = False,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    extended: Mapping[str, bytes] | None = None,
    window: int = 1,
    identity: Identity | None = None,
    on_n_event_report: Handler | None = None,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    source: str | None = None,
    tls: ssl.SSLContext | None = None,
    wire: CaptureFile | None = None,
) -> _Connecting:
    """Open an association: `async with dicore.connect("dicom://CALLED@host:port") as assoc:`, or `await` it.

    `contexts` are (SOP class UID, [transfer syntax UIDs]) pairs, or SOP class UIDs alone for the two uncompressed
    little endian syntaxes; at most 128; None proposes what `default_contexts` lists. `receive` proposes that we may be
    the SCP of the storage classes among them, which `c_get` needs; `roles` says it class by class: {SOP class: (SCU,
    SCP)}. `extended` are bytes of SOP class extended negotiation (relational queries, fuzzy matching, PS3.4 C.5.2).
    `window` asks for so many operations at a time (0: as many as the peer likes, at most 64; PS3.7 D.3.3.3);
    `Association.window` is what came of it. `identity` is who the user is. `on_n_event_report(request)` is called for
    the peer's event reports (see `dicore.net.service`). `source` is the address to connect from. `tls` (see
    `dicore.net.tls.client_context`) encrypts, as does a `dicoms://` address, without `tls` trusting whom the system
    trusts. `wire` is a file for what is said, pcapng, or a `dicore.net.Capture`. Leaving the block releases the
    association, an exception in it aborts.

    Raises ConnectionFailed, NetworkTimeout, AssociationRejected, AssociationAborted, ProtocolViolation.
    """
    chosen: list[Context] = default_contexts(receive=receive) if contexts is None else []
    for one in () if contexts is None else contexts:
        chosen.append((one, (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE)) if isinstance(one, str) else one)
    if not 0 < len(chosen) <= 128:
        raise ValueError(f"{len(chosen)} presentation contexts: an association has 1 to 128")
    if not 0 <= window <= 64:
        raise ValueError(f"a window of {window} operations: 1 to 64, or 0 for the most")
    wanted = {one: (True, True) for one, _ in chosen if is_storage(one)} if receive else {}
    negotiated = {
        "roles": wanted | {one: (bool(scu), bool(scp)) for one, (scu, scp) in (roles or {}).items()},
        "extended": dict(extended or {}),
        "window": window or 64,
        "identity": identity,
    }
    return _Connecting(
        Address.parse(to),
        check_ae_title(calling),
        chosen,
        timeouts or Timeouts(),
        limits or Limits(),
        on_n_event_report,
        negotiated,
        source,
        tls,
        wire,
    )
