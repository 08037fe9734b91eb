"""`serve`: a store with a listener before it."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from dicore.net import listen
from dicore.net.capture import CaptureFile, opened
from dicore.server.access import Access
from dicore.server.commitment import Committer
from dicore.server.engine import EngineListener, default_threads
from dicore.server.forward import Forwarder, Queue
from dicore.server.hooks import HookedSink, Hooks
from dicore.server.mpps import Steps
from dicore.server.services import Services
from dicore.server.sink import StoreSink
from dicore.server.worklist import Worklist

if TYPE_CHECKING:
    from dicore.net import Address, Listener
    from dicore.net.record import Times
    from dicore.store import Store

__all__ = ["Server", "serve"]

_OF_ENGINE = {
    "limits",
    "timeouts",
    "check_called_ae",
    "sop_classes",
    "transfer_syntaxes",
    "reuse_port",
    "window",
    "on_audit",
}
_OF_FOREIGN = {f"on_c_{name}" for name in ("find", "get", "move")} | {
    f"on_n_{name}" for name in ("action", "create", "delete", "event_report", "get", "set")
}  # of associations that the engine hands over anyway


class Server:
    """A running archive. `port` is the one that is listened on, whatever was asked for."""

    def __init__(
        self,
        store: Store,
        listener: Listener | EngineListener,
        *,
        destinations: dict[str, str | Address] | None = None,
        forwarder: Forwarder | None = None,
        committer: Committer | None = None,
    ) -> None:
        self.store = store
        self.listener = listener
        self.forwarder = forwarder
        self._committer = committer
        self._destinations = destinations if destinations is not None else {}

    @property
    def driver(self) -> str:
        """Which one serves: "engine" or "asyncio"."""
        return "engine" if isinstance(self.listener, EngineListener) else "asyncio"

    @property
    def port(self) -> int:
        return self.listener.port

    @property
    def associations(self) -> int:
        """How many are open."""
        return self.listener.associations

    def reload_tls(self) -> None:
        """As `Listener.reload_tls`: read the certificate's files again, for associations from now on."""
        if isinstance(self.listener, EngineListener):
            raise ValueError("there is nothing to reload: serve with tls=")
        self.listener.reload_tls()

    def reload(
        self,
        *,
        access: Access,
        destinations: Mapping[str, str | Address],
        destination_tls: ssl.SSLContext | None = None,
    ) -> None:
        """Other callers, other C-MOVE and forward destinations and their TLS from now on; open associations go on.
        Raises DicoreError where `serve` would have, and changes nothing then."""
        if isinstance(self.listener, EngineListener):
            access.check_bind(self.listener.host)
            self.listener.admit_only(access)
        else:
            access.check_bind(self.listener.host, tls=self.listener.asks_for_certificates)
            self.listener.admit_only(access.ae_titles or None, access.admits if access.networks else None)
        self._destinations.clear()
        self._destinations.update(destinations)
        self.listener.move_to(self._destinations, destination_tls)
        if self._committer is not None:
            self._committer.tls = destination_tls
        if self.forwarder is not None:
            self.forwarder.secure(destination_tls)
            self.forwarder.start()

    @property
    def counters(self) -> dict[str, int]:
        """What was done and what was refused since the start, as `Listener.counters`: of both drivers, where the engine
        serves and asyncio what it hands over."""
        return self.listener.counters

    @property
    def counters_by_driver(self) -> dict[str, dict[str, int]]:
        """{"engine" or "asyncio": counters}, which add up to `counters`."""
        if isinstance(self.listener, EngineListener):
            return self.listener.counters_by_driver
        return {"asyncio": self.listener.counters}

    @property
    def phases_by_driver(self) -> dict[str, dict[str, Times]]:
        """{"engine" or "asyncio": {phase: times of all messages}}, see `dicore.net.AssociationRecord.phases`."""
        if isinstance(self.listener, EngineListener):
            return self.listener.phases_by_driver
        return {"asyncio": self.listener.phases}


@asynccontextmanager
async def serve(
    store: Store,
    *,
    port: int = 11112,
    host: str = "127.0.0.1",
    ae_title: str = "DICORE",
    access: Access | None = None,
    grace: float = 5.0,
    driver: Literal["auto", "engine", "asyncio"] = "auto",
    engine_threads: int = 0,
    destinations: Mapping[str, str | Address] | None = None,
    worklist: str | os.PathLike[str] | Worklist | None = None,
    hooks: Hooks | None = None,
    services: bool = True,
    wire: CaptureFile | None = None,
    destination_tls: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    """An archive for as long as the block runs: C-ECHO, C-STORE of every SOP class in every transfer syntax into
    `store`, C-FIND, C-GET and C-MOVE out of it in the patient root and study root models.

    A success is answered after the store has taken the instance, in a durable store after it is on the disk. `port` 0
    takes a free one. A `host` beyond the loopback needs an `access` that says who may come, else DicoreError. At the
    end no new association is taken, what has begun is finished, and what has not ended after `grace` seconds is
    aborted; the store stays open. `destinations` are those of a C-MOVE, {AE title: "host:port"}; any other is refused.
    `worklist` is a folder of worklist items (.wl, .dcm, .json), or a `Schedule` of the store, for C-FIND. Performed
    procedure steps are recorded in the store's folder `mpps/`; storage commitment reads and checks what it commits to.
    `hooks` filter, coerce and forward what comes in. `services=False` only receives. `wire` is a
    file for what is said, pcapng, or a `dicore.net.Capture`: by who calls, and to destinations. `destination_tls`
    (see `dicore.net.tls.client_context`) is for destinations that are `dicoms://` addresses. Other
    options are those of `dicore.listen`, whose handlers go before the archive's.

    `driver`: "engine" serves in C threads, which a busy Python does not slow down (`engine_threads`, 0: by the number
    of processors); associations that propose more than Verification and Storage go to "asyncio", which serves
    everything on the event loop. "auto" takes the engine unless an option needs the other; ValueError where "engine"
    cannot.
    """
    rule = access or Access()
    tls = options.get("tls")
    rule.check_bind(host, tls=tls is not None and tls.verify_mode == ssl.CERT_REQUIRED)
    if rule.certificates and tls is None:
        raise ValueError("a rule for certificates needs tls=")
    others = sorted(
        name for name, value in options.items() if name not in _OF_ENGINE | _OF_FOREIGN and value is not None
    )
    if hooks:
        others.append("hooks")
    if driver not in ("auto", "engine", "asyncio"):
        raise ValueError(f"driver {driver!r}: auto, engine or asyncio")
    if driver == "engine" and others:
        raise ValueError(f"the engine has no {', '.join(others)}: driver='asyncio' does")
    if not 0 <= engine_threads <= 64:
        raise ValueError(f"engine_threads {engine_threads}: from 1 to 64, or 0")
    where = dict(destinations or {})
    async with AsyncExitStack() as stack:
        capture = await stack.enter_async_context(opened(wire))
        sink = StoreSink(store)
        forwarder = None
        if hooks:
            if hooks.route is not None:
                queue = Queue(store.path / "forward.sqlite")
                stack.callback(queue.close)
                forwarder = Forwarder(
                    store, queue, ae_title=ae_title, destinations=where, tls=destination_tls, wire=capture
                )
                forwarder.start()
                stack.push_async_callback(forwarder.close)
            sink = hooked = HookedSink(store, hooks, ae_title=ae_title, forwarder=forwarder)
            stack.callback(hooked.close)
        of_services: dict[str, Any] = {}
        committer = None
        if services:
            committer = Committer(
                store,
                store.path / "commitment",
                ae_title=ae_title,
                destinations=where,
                tls=destination_tls,
                wire=capture,
            )
            stack.push_async_callback(committer.close)
            archive = Services(
                store,
                ae_title=ae_title,
                destinations=where,
                worklist=Worklist(worklist) if isinstance(worklist, str | os.PathLike) else worklist,
                steps=Steps(store.path / "mpps"),
                committer=committer,
            )
            stack.callback(archive.close)
            of_services = archive.options()
            committer.resume()
        listener = listen(
            port=port,
            host=host,
            ae_title=ae_title,
            on_c_store=sink,
            calling_ae=rule.ae_titles or None,
            admit=rule.admits if rule.networks else None,
            admit_certificate=rule.admits_certificate if rule.certificates else None,
            grace=grace,
            wire=capture,
            destination_tls=destination_tls,
            **(of_services | options),
        )
        if driver == "asyncio" or others:
            await stack.enter_async_context(listener)
            store.prepare()
            yield Server(store, listener, destinations=where, forwarder=forwarder, committer=committer)
            return
        of_engine = {name: value for name, value in options.items() if name != "check_called_ae" and name in _OF_ENGINE}
        if options.get("check_called_ae"):
            of_engine["called_ae"] = ae_title
        engine = EngineListener(
            store,
            listener,
            port=port,
            host=host,
            access=rule,
            threads=engine_threads or default_threads(),
            grace=grace,
            capture=capture,
            **of_engine,
        )
        await engine.start()
        stack.push_async_callback(engine.close)
        store.prepare()
        yield Server(store, engine, destinations=where, forwarder=forwarder, committer=committer)
