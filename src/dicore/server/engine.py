"""The engine driver of `serve`: threads in C take C-STORE and C-ECHO into the store, without Python.

What it does not serve (query and retrieve, worklists, commitment, ...) comes here as a connection with the bytes read
so far, and is adopted by an asyncio listener over the same store: an association that proposes one of `FOREIGN` is that
listener's from its first byte on. Both have the same limits, and are counted together."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dicore import uid
from dicore._native import engine as native
from dicore.net import Limits, Timeouts
from dicore.net.address import check_ae_title, printable
from dicore.net.record import AssociationRecord, Audit, Phase, Times, tell, times_of

if TYPE_CHECKING:
    from dicore.net import Address, Capture, Listener
    from dicore.server.access import Access
    from dicore.store import Store

__all__ = ["FOREIGN", "EngineListener", "default_threads"]

log = logging.getLogger("dicore.net")
_log = logging.getLogger("dicore.server")

_ROOT = "1.2.840.10008."
FOREIGN = frozenset(
    [f"{_ROOT}5.1.4.1.2.{root}.{service}" for root in (1, 2, 3) for service in (1, 2, 3)]  # query, retrieve
    + [_ROOT + tail for tail in ("5.1.4.1.2.4.2", "5.1.4.1.2.4.3", "5.1.4.1.2.5.3", "5.1.4.31", "5.1.4.32.1")]
    + [_ROOT + tail for tail in ("3.1.2.3.3", "3.1.2.3.4", "3.1.2.3.5", "1.20.1", "1.20.2", "1.40", "1.42", "4.2")]
    + [f"{_ROOT}5.1.4.34.6.{service}" for service in (1, 2, 3, 4, 5)]  # unified worklist and procedure step
    + [f"{_ROOT}5.1.4.34.{service}" for service in (8, 10)]
    + [f"{_ROOT}5.1.4.{kind}.{service}" for kind in (38, 39, 43, 44, 45) for service in (2, 3, 4)]
    + [f"{_ROOT}5.1.4.37.{service}" for service in (1, 2, 3)]
    + [
        f"{_ROOT}5.1.1.{service}"
        for service in ("1", "2", "4", "9", "9.1", "14", "15", "16", "16.376", "18", "18.1", "23")
    ]
    + [f"{_ROOT}5.1.1.{service}" for service in ("26", "30", "31", "32", "33")]
)
"""SOP classes of services that are no C-STORE: associations that propose one are served by the asyncio driver."""


def default_threads() -> int:
    """One engine thread for two processors, at most four: the senders, the kernel and the disk want some too."""
    return min(4, max(1, len(os.sched_getaffinity(0)) // 2))


class EngineListener:
    """An engine over its sockets, and the asyncio listener that takes what the engine does not serve."""

    def __init__(
        self,
        store: Store,
        rest: Listener,
        *,
        port: int,
        host: str,
        access: Access,
        threads: int,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        called_ae: str | None = None,
        sop_classes: Sequence[str] | None = None,
        transfer_syntaxes: Sequence[str] | None = None,
        foreign: Sequence[str] | frozenset[str] = FOREIGN,
        window: int = 16,
        reuse_port: bool = False,
        grace: float = 5.0,
        on_audit: Audit | None = None,
        capture: Capture | None = None,
    ) -> None:
        self._store, self._rest = store, rest
        self._host, self._port, self._reuse_port = host, port, reuse_port
        self._access, self._threads, self._window = access, threads, window
        self._limits, self._timeouts = limits or Limits(), timeouts or Timeouts()
        self._called_ae = None if called_ae is None else check_ae_title(called_ae)
        self._sop_classes, self._foreign = sop_classes, foreign
        self._transfer_syntaxes = (
            None if transfer_syntaxes is None else [uid.transfer_syntax(one).uid for one in transfer_syntaxes]
        )
        self._grace = grace
        self._audit, self._capture = on_audit, capture
        self._engine: native.Engine | None = None
        self._closing = False
        self._lost = 0
        self._last: dict[str, int] = dict.fromkeys(native.COUNTERS, 0)
        self._last_times: dict[str, Times] = {}
        self._sockets: list[socket.socket] = []
        self._empty = asyncio.Event()
        self._adopting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # -- life

    async def start(self) -> None:
        """Bind, listen, start the threads. Raises OSError when the address is not to be had."""
        await self._bind()
        times, limits, access = self._timeouts, self._limits, self._access
        networks = [_network(one) for one in access.networks] if access.networks else None
        await self._rest.start(bind=False)
        try:
            self._engine = native.Engine(
                [one.fileno() for one in self._sockets],
                native=self._store._native,
                on_lane=self._lane_stored,
                threads=self._threads,
                window=self._window,
                pdu=limits.pdu,
                negotiation=limits.negotiation,
                command=limits.command,
                artim=_ms(times.artim),
                network=_ms(times.network),
                dimse=_ms(times.dimse),
                idle=_ms(times.idle),
                interval=max(10, min(1000, _ms(min(times.artim, times.network, times.dimse, times.idle)) // 8)),
                associations=limits.associations,
                associations_per_peer=limits.associations_per_peer,
                dataset=limits.dataset,
                stream_from=limits.stream_from,
                in_flight=limits.in_flight,
                in_flight_per_peer=limits.in_flight_per_peer,
                turn=512 << 10,
                report_ends=self._audit is not None or log.isEnabledFor(logging.INFO),
                called_ae=None if self._called_ae is None else [self._called_ae.encode()],
                calling_ae=[check_ae_title(one).encode() for one in access.ae_titles] if access.ae_titles else None,
                sop_classes=None if self._sop_classes is None else [one.encode() for one in self._sop_classes],
                transfer_syntaxes=(
                    None if self._transfer_syntaxes is None else [one.encode() for one in self._transfer_syntaxes]
                ),
                foreign=[one.encode() for one in self._foreign],
                networks=networks,
                capture=self._capture,
                implementation_uid=uid.IMPLEMENTATION_CLASS.encode(),
                implementation_version=uid.IMPLEMENTATION_VERSION.encode(),
            )
        except BaseException:
            await self._rest.close(0)
            self._close_sockets()
            raise
        self._rest.share(self._engine)
        self._loop.add_reader(self._engine.fileno(), self._happened)
        log.info("listening as %s on %s port %d (engine)", self._rest.ae_title, self._host, self.port)

    async def _bind(self) -> None:
        family, kind, _, _, address = (
            await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
        sock = socket.socket(family, kind)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind(address)
            sock.listen(4096)
        except OSError as error:
            sock.close()
            where = f"{self._host or 'every address'} port {self._port}"
            raise OSError(error.errno, f"cannot listen on {where}: {os.strerror(error.errno or errno.EIO)}") from None
        self._sockets = [sock]
        self._port = int(sock.getsockname()[1])

    def _close_sockets(self) -> None:
        for one in self._sockets:
            one.close()

    async def close(self) -> None:
        """Stop listening, let messages that have begun be finished for up to the grace time, abort what is left."""
        engine = self._engine
        if engine is None or self._closing:
            return
        self._closing = True
        end = self._loop.time() + self._grace
        await asyncio.to_thread(engine.drain)
        self._close_sockets()
        try:
            async with asyncio.timeout(self._grace):
                await self._empty.wait()
        except TimeoutError:
            log.info("the grace time is over: what is left is aborted")
        self._loop.remove_reader(engine.fileno())
        await asyncio.to_thread(engine.stop)
        self._take(engine)
        self._rest.share(None)
        self._last, self._last_times, self._engine = engine.counts(), times_of(engine.times_by_phase()), None
        if self._adopting:
            await asyncio.wait(self._adopting)
        await self._rest.close(max(0.0, end - self._loop.time()))
        self._store._note_append()

    # -- what there is to see

    @property
    def host(self) -> str:
        """The address that is listened on, as it was given."""
        return self._host

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets."""
        return tuple(self._sockets) if self._engine is not None else ()

    @property
    def associations(self) -> int:
        """Connections that are open now, of both drivers."""
        return (0 if self._engine is None else self._engine.counts()["open"]) + self._rest.associations

    @property
    def counters(self) -> dict[str, int]:
        """As `Listener.counters`, both drivers taken together; `handed_over` and `events_lost` are the engine's own."""
        counts: dict[str, int] = {}
        for one in self.counters_by_driver.values():
            for name, value in one.items():
                counts[name] = counts.get(name, 0) + value
        return counts

    @property
    def counters_by_driver(self) -> dict[str, dict[str, int]]:
        """{driver: its counters}. A connection that the engine handed over is the asyncio driver's alone."""
        ours = dict(self._last if self._engine is None else self._engine.counts())
        ours["connections"] -= ours["handed_over"]
        if self._engine is not None:
            ours["in_flight"] -= self._rest.counters["in_flight"]  # the engine's figure has them
        return {"engine": ours, "asyncio": self._rest.counters}

    @property
    def phases_by_driver(self) -> dict[str, dict[str, Times]]:
        """{driver: {phase: its times}}"""
        ours = self._last_times if self._engine is None else times_of(self._engine.times_by_phase())
        return {"engine": ours, "asyncio": self._rest.phases}

    def admit_only(self, access: Access) -> None:
        """Other rules for those who call from now on, with both drivers; open associations go on."""
        assert self._engine is not None
        self._access = access
        networks = [_network(one) for one in access.networks] if access.networks else None
        callers = [check_ae_title(one).encode() for one in access.ae_titles] if access.ae_titles else None
        self._engine.admit(callers, networks)
        self._rest.admit_only(access.ae_titles or None, access.admits if access.networks else None)

    def move_to(self, destinations: Mapping[str, str | Address], tls: ssl.SSLContext | None = None) -> None:
        """As `Listener.move_to`."""
        self._rest.move_to(destinations, tls)

    # -- events

    def _happened(self) -> None:
        if self._engine is not None:
            self._take(self._engine)

    def _take(self, engine: native.Engine) -> None:
        taken = 0
        while (event := engine.next()) is not None:
            taken += 1
            if event.kind == native.STORED:
                self._store._note_append()
            elif event.kind == native.ENDED:
                self._ended(event)
            elif event.kind == native.HANDOVER:
                self._adopt(event)
            elif event.kind == native.FAILED:
                reason = os.strerror(event.system) if event.system else f"status {event.status}"
                _log.error("%s: %s not stored: %s", _peer(event), printable(event.text), reason)
            elif event.kind == native.EMPTY:
                self._empty.set()
        if taken > 1000 and (lost := engine.counts()["events_lost"]) > self._lost:
            log.warning("%d lines about associations were lost: too many at once to write them down", lost - self._lost)
            self._lost = lost

    def _adopt(self, event: native.Event) -> None:
        sock = socket.socket(fileno=event.socket)
        engine = self._engine
        assert engine is not None
        task = self._loop.create_task(
            self._rest.adopt(
                sock, event.data, lambda: engine.gone(event.host), shown=event.stream, accepted=event.accepted
            )
        )
        self._adopting.add(task)
        task.add_done_callback(self._adopted)

    def _adopted(self, task: asyncio.Task[None]) -> None:
        self._adopting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a connection could not be taken over", exc_info=task.exception())

    def _lane_stored(self, segment: int) -> None:
        """In a helper thread, before the success is answered."""
        try:
            self._store._adopt_lane(segment)
        except Exception:
            _log.exception("segment %d is stored, and will be indexed by the next rebuild", segment)

    def _ended(self, event: native.Event) -> None:
        record = AssociationRecord(
            peer=_peer(event),
            calling_ae=printable(event.calling_ae),
            called_ae=printable(event.called_ae),
            ended=event.why_text,
            contexts=event.contexts,
            stores=event.stores,
            stored_bytes=event.stored_bytes,
            echoes=event.echoes,
            seconds=max(0.0, time.clock_gettime(time.CLOCK_MONOTONIC) - event.started / 1000),
            phases={name: Phase(*took) for name, took in (event.phases or {}).items()},
        )
        tell(log, record, self._audit)


def _peer(event: native.Event) -> str:
    address = ipaddress.ip_address(event.address)
    return f"[{address}]:{event.port}" if address.version == 6 else f"{address}:{event.port}"


def _network(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[int, bytes, int]:
    return network.version, network.network_address.packed, network.prefixlen


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
