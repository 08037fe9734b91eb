"""The asyncio driver of a listener: sockets, the one timer, policy, drain, logs. What happens per message is in
`dicore._native.net`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from dicore import uid
from dicore._native.capture import Stream
from dicore._native.command import Command
from dicore._native.net import Acceptor, Hub, Request, StoreRequest
from dicore.errors import StoreFull
from dicore.net.address import Address, check_ae_title, printable
from dicore.net.capture import CaptureFile, opened
from dicore.net.exchange import Exchange
from dicore.net.identity import UserIdentity
from dicore.net.limits import Limits, Timeouts
from dicore.net.pool import Pool
from dicore.net.record import PHASES, AssociationRecord, Audit, MessageRecord, OnMessage, Phase, Times, tell, times_of
from dicore.net.service import Handler, Services, parse_destinations
from dicore.net.sink import Sink, StoreFunction, as_sink
from dicore.net.status import Status
from dicore.net.tls import Certificate, ServerContext, explain

__all__ = ["Listener", "listen"]

log = logging.getLogger("dicore.net")


class _Protocol(Acceptor, asyncio.BufferedProtocol):  # both have the same methods; Acceptor's count
    """One association: everything is Acceptor's, asyncio wants to see its own base class."""

    __slots__ = ()


class _Adopted(_Protocol):
    """An association of which somebody else has read the first bytes."""

    __slots__ = ("_gone", "_read")

    def __init__(self, hub: Hub, read: bytes, gone: Callable[[], object], shown: Stream | None, accepted: int) -> None:
        self._read, self._gone = memoryview(read), gone
        self.accepted_at = accepted
        if shown is not None:
            self.show_on(shown, len(read))

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._gone()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        data, self._read = self._read, self._read[:0]
        while data:
            with memoryview(self.get_buffer(-1)) as room:
                size = min(len(room), len(data))
                room[:size] = data[:size]
            self.buffer_updated(size)
            data = data[size:]


class _Secured:
    """A listening socket under TLS. asyncio's own server keeps to itself how a handshake ended when it was not TLS that
    said so: here each is a call that fails, for whatever reason."""

    def __init__(self, listener: Listener, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._listener, self._socket, self._context = listener, sock, context
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        sock.listen(4096)
        self._watch()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return (self._socket,)

    def _watch(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                connection, name = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors: it would be readable on and on
                log.error("cannot accept: %s", error.strerror)
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(0.1, self._watch)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._handshake(connection, f"{name[0]}:{name[1]}"))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, connection: socket.socket, peer: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._listener._protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._listener.timeouts.artim,
                ssl_shutdown_timeout=2.0,
            )
        except (OSError, EOFError) as error:
            self._listener._tls_failed(peer, error)

    def close(self) -> None:
        """What is in its handshake is not waited for."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for task in self._handshakes:
            task.cancel()


class Listener:
    """A bare SCP: C-ECHO, C-STORE into a sink, and what there are handlers for; see `listen`."""

    def __init__(
        self,
        *,
        port: int,
        host: str,
        ae_title: str,
        on_c_store: Sink | StoreFunction | None,
        on_c_echo: Callable[[Request], int] | None,
        limits: Limits | None,
        timeouts: Timeouts | None,
        check_called_ae: bool,
        calling_ae: Iterable[str] | None,
        admit: Callable[[str], bool] | None,
        on_audit: Audit | None,
        tls: ssl.SSLContext | None,
        admit_certificate: Callable[[Certificate | None], bool] | None,
        sop_classes: Iterable[str] | None,
        transfer_syntaxes: Iterable[str] | None,
        reuse_port: bool,
        grace: float,
        handlers: Mapping[str, Handler | None],
        destinations: Mapping[str, str | Address] | None,
        on_user_identity: Callable[[UserIdentity], Any] | None,
        extended: Mapping[str, bytes] | None,
        window: int,
        wire: CaptureFile | None,
        destination_tls: ssl.SSLContext | None,
        on_message: OnMessage | None,
    ) -> None:
        self.ae_title = check_ae_title(ae_title)
        self.limits = limits or Limits()
        self.timeouts = timeouts or Timeouts()
        self.host = host
        self._port = port
        self._reuse_port = reuse_port
        self._grace = grace
        self._sink = None if on_c_store is None else as_sink(on_c_store)
        self._server: asyncio.Server | _Secured | None = None
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self._futures: set[asyncio.Future[Any]] = set()
        times = self.timeouts
        self._interval = min(1.0, max(0.01, min(times.artim, times.network, times.dimse, times.idle) / 8))
        self._hub = hub = Hub(
            pdu=self.limits.pdu,
            negotiation=self.limits.negotiation,
            command=self.limits.command,
            artim=_ms(times.artim),
            network=_ms(times.network),
            dimse=_ms(times.dimse),
            idle=_ms(times.idle),
        )
        hub.limit_associations = self.limits.associations
        hub.limit_per_peer = self.limits.associations_per_peer
        hub.limit_dataset = self.limits.dataset
        hub.limit_stream = self.limits.stream_from
        hub.limit_in_flight = self.limits.in_flight
        hub.limit_in_flight_peer = self.limits.in_flight_per_peer
        hub.implementation_uid = uid.IMPLEMENTATION_CLASS.encode()
        hub.implementation_version = uid.IMPLEMENTATION_VERSION.encode()
        hub.called_ae = frozenset((self.ae_title,)) if check_called_ae else None
        hub.calling_ae = None if calling_ae is None else frozenset(check_ae_title(title) for title in calling_ae)
        hub.admit = admit
        self._audit, self._on_message = on_audit, on_message
        hub.on_done = None if on_message is None else self._answered
        self._tls = tls
        if admit_certificate is not None:
            admits = admit_certificate
            hub.admit_certificate = lambda association: admits(Certificate.of(association.extra("ssl_object")))
        hub.sop_classes = None if sop_classes is None else frozenset(one.encode() for one in sop_classes)
        hub.transfer_syntaxes = (
            None
            if transfer_syntaxes is None
            else frozenset(uid.transfer_syntax(one).uid.encode() for one in transfer_syntaxes)
        )
        if self._sink is not None:
            hub.store = self._sink.store
            hub.begin = self._sink.begin
            hub.write = self._sink.write
            hub.commit = self._sink.commit
            hub.abort = self._sink.abort
        hub.on_echo = on_c_echo
        hub.on_error = _sink_failed
        hub.on_end = self._ended
        hub.ensure_future = self._ensure_future
        if not 1 <= window <= 64:
            raise ValueError(f"a window of {window} operations: 1 to 64")
        self._wire = opened(wire)
        self._pool = Pool(window=window, timeouts=self.timeouts, limits=self.limits, tls=destination_tls)
        self._services = services = Services(
            **handlers, destinations=destinations, ae_title=self.ae_title, pool=self._pool, count=hub.counted
        )
        self._on_user_identity = on_user_identity
        stores = self._sink is not None
        hub.limit_identifier = self.limits.identifier
        hub.window = window
        hub.extended = dict(extended or {})
        hub.on_class = lambda sop_class: services.serves(sop_class, stores)
        hub.on_role = services.may_invoke
        hub.on_message = self._message
        hub.on_identity = None if on_user_identity is None else self._identity

    # -- life

    async def start(self, *, bind: bool = True) -> Listener:
        """Bind and listen. Raises OSError when the address is not to be had. `bind=False`: only connections that are
        adopted."""
        loop = asyncio.get_running_loop()
        self._hub.capture = self._pool.wire = await self._wire.open()
        if not bind:
            self._begin(loop)
            return self
        family, kind, _, _, address = (
            await loop.getaddrinfo(self.host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
        sock = socket.socket(family, kind)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what accept() gives inherits it
            sock.bind(address)
            self._begin(loop)
            if self._tls is not None:
                self._server = _Secured(self, sock, self._tls)
            else:
                self._server = await loop.create_server(self._protocol, sock=sock, backlog=4096)
        except OSError as error:
            sock.close()
            where = f"{self.host or 'every address'} port {self._port}"
            raise OSError(error.errno, f"cannot listen on {where}: {os.strerror(error.errno or 0)}") from None
        except BaseException:
            sock.close()
            raise
        finally:
            if self._server is None:
                self._end()
                await self._wire.close()
        self._socket = sock
        log.info("listening as %s on %s port %d", self.ae_title, self.host, self.port)
        return self

    async def close(self, grace: float | None = None) -> None:
        """Stop listening, let messages that have begun be finished for up to `grace` seconds, abort what is left."""
        if self._timer is None:
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        assert self._empty is not None
        if not self._hub.open:  # what is in its TLS handshake is not waited for
            self._empty.set()
        self._hub.drain()
        try:
            async with asyncio.timeout(self._grace if grace is None else grace):
                await self._empty.wait()
        except TimeoutError:
            for association in list(self._hub.open):
                association.stop("aborted: the listener closes")
            await self._empty.wait()
        finally:
            self._end()
        left = self._futures | self._services.tasks
        if left:  # sinks and handlers that have not ended: their peers are gone
            for future in left:
                future.cancel()
            await asyncio.wait(left)
        await self._pool.close()
        await self._wire.close()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._empty = asyncio.Event()
        self._empty.set()
        self._hub.call_soon = loop.call_soon
        self._timer = loop.call_later(self._interval, self._tick)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tls_failed(self, peer: str, error: Exception) -> None:
        self._hub.counted("tls_failures")
        log.warning("%s: the TLS handshake failed: %s", peer, explain(error))

    @property
    def asks_for_certificates(self) -> bool:
        """Whether nobody comes in without a certificate."""
        return self._tls is not None and self._tls.verify_mode == ssl.CERT_REQUIRED

    def reload_tls(self) -> None:
        """Read the certificate's files again, for associations from now on. When they are not fit, what was there
        stays, and OSError or ValueError tells why."""
        if not isinstance(self._tls, ServerContext):
            raise ValueError("there is nothing to reload: listen with tls=dicore.net.tls.server_context(...)")
        self._tls.reload()
        log.info("the certificate is read again")

    async def adopt(
        self,
        sock: socket.socket,
        data: bytes,
        gone: Callable[[], object],
        *,
        shown: Stream | None = None,
        accepted: int = 0,
    ) -> None:
        """Serve a connection that somebody else has accepted and of which `data` was read; `gone()` once it ended.
        `shown`, of a capture, has the data already; `accepted` is when, in ns of the monotonic clock."""
        assert self._empty is not None
        self._empty.clear()
        made: list[_Adopted] = []

        def protocol() -> _Adopted:
            made.append(_Adopted(self._hub, data, gone, shown, accepted))
            return made[0]

        try:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, sock)
        except BaseException:
            if not made or made[0] not in self._hub.open:  # it never was a connection: nobody else will say so
                gone()
            raise

    def share(self, engine: Any) -> None:
        """An engine hands connections over and counts them against the limits of associations; the budget of bytes in
        flight is one for both. None: no more."""
        if engine is not None:
            self._hub.limit_associations = self._hub.limit_per_peer = 1 << 48
        self._hub.share(engine)

    def admit_only(self, calling_ae: Iterable[str] | None, admit: Callable[[str], bool] | None) -> None:
        """Other rules for those who call from now on; see `listen`."""
        titles = None if calling_ae is None else frozenset(check_ae_title(title) for title in calling_ae)
        self._hub.calling_ae, self._hub.admit = titles, admit

    def move_to(self, destinations: Mapping[str, str | Address], tls: ssl.SSLContext | None = None) -> None:
        """Other C-MOVE destinations, and `destination_tls`, from now on; see `listen`."""
        self._pool.tls = tls
        self._services.destinations = parse_destinations(destinations)

    async def __aenter__(self) -> Listener:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def serve_forever(self) -> None:
        """Wait until cancelled, then close."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    # -- what there is to see

    @property
    def port(self) -> int:
        """The port that is listened on: also the one chosen for `port=0`."""
        if self._socket is None:
            return self._port
        return int(self._socket.getsockname()[1]) if self._socket.fileno() >= 0 else self._port

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets."""
        return () if self._server is None else tuple(self._server.sockets)

    @property
    def associations(self) -> int:
        """Connections that are open now."""
        return len(self._hub.open)

    @property
    def counters(self) -> dict[str, int]:
        """Counts since the start: what was done, what was refused, which limit or timeout struck how often."""
        return self._hub.counts()

    @property
    def phases(self) -> dict[str, Times]:
        """How long the phases of all messages took, see `AssociationRecord.phases`; 'commit' and 'answer' of other
        services than C-STORE, and 'answer' of C-ECHO, among them."""
        return times_of(self._hub.times_by_phase())

    # -- what the hub calls

    def _protocol(self) -> _Protocol:
        assert self._empty is not None
        self._empty.clear()
        return _Protocol(self._hub)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
        self._hub.tick()

    def _ensure_future(self, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
        future = asyncio.ensure_future(awaitable)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def _message(self, association: Acceptor, context_id: int, command: Command, data: bytes | None) -> None:
        """A whole message of a service that Python decides about."""
        exchange = association.exchange
        if exchange is None:
            if command.is_response:
                return association.stop("a response to nothing")
            window = association.window_performed
            exchange = association.exchange = Exchange(association, self._services, window=window)
        exchange.message(context_id, command, data)

    def _identity(self, association: Acceptor, kind: int, primary: bytes, secondary: bytes, asked: bool) -> Any:
        assert self._on_user_identity is not None
        said = UserIdentity(
            kind, primary, secondary, asked, association.calling_ae, association.called_ae, association.peer
        )
        return self._on_user_identity(said)

    def _answered(
        self,
        association: Acceptor,
        service: str,
        message_id: int,
        sop_class: str,
        sop_instance: str,
        status: int,
        size: int,
        took: tuple[int, int, int, int],
    ) -> None:
        assert self._on_message is not None
        phases = dict(zip(PHASES[2:], took, strict=True))
        if service != "C-STORE":
            phases = {name: phases[name] for name in (("commit", "answer") if service != "C-ECHO" else ("answer",))}
        record = MessageRecord(
            association.peer,
            printable(association.calling_ae),
            printable(association.called_ae),
            service,
            message_id,
            sop_class,
            sop_instance,
            status,
            size,
            phases,
        )
        try:
            self._on_message(record)
        except Exception:
            log.exception("on_message failed")

    def _ended(self, association: Acceptor) -> None:
        if not self._hub.open and self._empty is not None:
            self._empty.set()
        if self._audit is None and not log.isEnabledFor(logging.INFO):
            return
        connection = association.extra("ssl_object")
        shown = Certificate.of(connection)
        record = AssociationRecord(
            peer=association.peer,
            calling_ae=printable(association.calling_ae),
            called_ae=printable(association.called_ae),
            ended=association.why,
            contexts=len(association.accepted),
            stores=association.stores,
            stored_bytes=association.stored_bytes,
            echoes=association.echoes,
            seconds=time.clock_gettime(time.CLOCK_MONOTONIC) - association.started / 1000,
            tls="" if connection is None else connection.version() or "",
            certificate="" if shown is None else shown.subject,
            phases={name: Phase(*took) for name, took in association.phases.items()},
        )
        tell(log, record, self._audit)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _sink_failed(request: Request, error: Exception) -> int:
    """The status for an exception of a sink or handler; logs it."""
    instance = request.sop_instance_uid if isinstance(request, StoreRequest) else "request"
    if isinstance(error, StoreFull | MemoryError):
        log.error("%s: %s not taken, out of resources: %s", request.peer, instance, printable(str(error), 300))
        return int(Status.OUT_OF_RESOURCES)
    log.error("%s: %s not taken", request.peer, instance, exc_info=error)
    return int(Status.CANNOT_UNDERSTAND)


def listen(
    *,
    port: int,
    host: str = "127.0.0.1",
    ae_title: str = "DICORE",
    on_c_store: Sink | StoreFunction | None = None,
    on_c_echo: Callable[[Request], int] | None = None,
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
    on_user_identity: Callable[[UserIdentity], Any] | None = None,
    extended: Mapping[str, bytes] | None = None,
    window: int = 1,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    check_called_ae: bool = False,
    calling_ae: Iterable[str] | None = None,
    admit: Callable[[str], bool] | None = None,
    on_audit: Audit | None = None,
    tls: ssl.SSLContext | None = None,
    admit_certificate: Callable[[Certificate | None], bool] | None = None,
    sop_classes: Iterable[str] | None = None,
    transfer_syntaxes: Iterable[str] | None = None,
    reuse_port: bool = False,
    grace: float = 10.0,
    wire: CaptureFile | None = None,
    destination_tls: ssl.SSLContext | None = None,
    on_message: OnMessage | None = None,
) -> Listener:
    """A listener: `async with dicore.listen(port=11112, on_c_store=sink) as scp:`. Port 0 takes a free one, `scp.port`.

    Every SOP class is accepted, unknown ones too, in the first transfer syntax that the peer proposes. To restrict:
    `check_called_ae` refuses who calls another title than `ae_title`; `calling_ae` lists who may call; `admit` says of
    a peer's IP address ('' for a Unix socket) whether it may; `sop_classes` (UIDs) and `transfer_syntaxes` (UIDs or
    keywords) list what is accepted. Without `on_c_store` C-ECHO is served, and what there are handlers for.

    `on_c_store` is a `Sink`, or a function `(request, dataset) -> status`, sync or async (see `function_sink`).
    `on_c_echo(request)` returns the status of a C-ECHO; without it every C-ECHO succeeds.

    `on_c_find(request)` yields the matches, `on_c_get` and `on_c_move` the instances to send, the `on_n_...` handlers
    return what to answer: `dicore.net.service` says it all. `destinations` are the C-MOVE destinations,
    {AE title: "host:port" or "AE@host:port"}; any other is answered with A801. `on_user_identity(identity)`, which may
    be a coroutine function, returns whether this user may come: False, True, None (not looked at, so no response), or
    the bytes of the response; it is also called (with type 0) when the peer says nothing of its user. `extended` are
    the bytes of SOP class extended negotiation that the handlers support, by SOP class: a request's `extended` has
    what was agreed. `window` operations at a time are granted to a peer that asks for more than one, and asked for
    where the     instances of a C-MOVE go; those of a C-GET use what the peer says it performs.

    `tls` (see `dicore.net.tls.server_context`) makes it TLS, and plain peers are refused;
    `admit_certificate(certificate)` says of what a peer has shown (None: nothing) whether it may associate.
    `destination_tls` (see `dicore.net.tls.client_context`) is for destinations that are `dicoms://` addresses.
    `on_audit(record)` is told of every association that is over, an `AssociationRecord`.
    `on_message(record)` of every message that is answered, a `MessageRecord` with its times.
    `wire` is a file for what is said, pcapng, or a `dicore.net.Capture`.

    Leaving the block stops listening, finishes messages in progress for up to `grace` seconds and aborts the rest.
    """
    return Listener(
        port=port,
        host=host,
        ae_title=ae_title,
        on_c_store=on_c_store,
        on_c_echo=on_c_echo,
        limits=limits,
        timeouts=timeouts,
        check_called_ae=check_called_ae,
        calling_ae=calling_ae,
        admit=admit,
        on_audit=on_audit,
        tls=tls,
        admit_certificate=admit_certificate,
        sop_classes=sop_classes,
        transfer_syntaxes=transfer_syntaxes,
        reuse_port=reuse_port,
        grace=grace,
        handlers={
            "on_c_find": on_c_find,
            "on_c_get": on_c_get,
            "on_c_move": on_c_move,
            "on_n_create": on_n_create,
            "on_n_set": on_n_set,
            "on_n_get": on_n_get,
            "on_n_action": on_n_action,
            "on_n_event_report": on_n_event_report,
            "on_n_delete": on_n_delete,
        },
        destinations=destinations,
        on_user_identity=on_user_identity,
        extended=extended,
        window=window,
        wire=wire,
        destination_tls=destination_tls,
        on_message=on_message,
    )
