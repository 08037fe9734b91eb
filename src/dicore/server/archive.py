"""`serve`: a store with a listener before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from dicore.net import listen
from dicore.server.access import Access
from dicore.server.engine import EngineListener, default_threads
from dicore.server.sink import StoreSink

if TYPE_CHECKING:
    from dicore.net import Listener
    from dicore.store import Store

__all__ = ["Server", "serve"]

_OF_ENGINE = {"limits", "timeouts", "check_called_ae", "sop_classes", "transfer_syntaxes", "reuse_port", "window"}
_OF_FOREIGN = {f"on_c_{name}" for name in ("find", "get", "move")} | {
    f"on_n_{name}" for name in ("action", "create", "delete", "event_report", "get", "set")
}  # of associations that the engine hands over anyway


class Server:
    """A running archive. `port` is the one that is listened on, whatever was asked for."""

    def __init__(self, store: Store, listener: Listener | EngineListener) -> None:
        self.store = store
        self.listener = listener

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

    @property
    def counters(self) -> dict[str, int]:
        """What was done and what was refused since the start, as `Listener.counters`."""
        return self.listener.counters


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
    **options: Any,
) -> AsyncIterator[Server]:
    """Receive into `store` for as long as the block runs: C-ECHO and C-STORE, every SOP class, every transfer syntax.

    A success is answered after the store has taken the instance, in a durable store after it is on the disk. `port` 0
    takes a free one. A `host` beyond the loopback needs an `access` that says who may come, else DicoreError. At the
    end no new association is taken, what has begun is finished, and what has not ended after `grace` seconds is
    aborted; the store stays open. Other options are those of `dicore.listen`.

    `driver`: "engine" serves in C threads, which a busy Python does not slow down (`engine_threads`, 0: by the number
    of processors); associations that propose more than Verification and Storage go to "asyncio", which serves
    everything on the event loop. "auto" takes the engine unless an option needs the other; ValueError where "engine"
    cannot.
    """
    rule = access or Access()
    rule.check_bind(host)
    others = sorted(
        name for name, value in options.items() if name not in _OF_ENGINE | _OF_FOREIGN and value is not None
    )
    if driver not in ("auto", "engine", "asyncio"):
        raise ValueError(f"driver {driver!r}: auto, engine or asyncio")
    if driver == "engine" and others:
        raise ValueError(f"the engine has no {', '.join(others)}: driver='asyncio' does")
    if not 0 <= engine_threads <= 64:
        raise ValueError(f"engine_threads {engine_threads}: from 1 to 64, or 0")
    listener = listen(
        port=port,
        host=host,
        ae_title=ae_title,
        on_c_store=StoreSink(store),
        calling_ae=rule.ae_titles or None,
        admit=rule.admits if rule.networks else None,
        grace=grace,
        **options,
    )
    if driver == "asyncio" or others:
        async with listener:
            store.prepare()
            yield Server(store, listener)
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
        **of_engine,
    )
    await engine.start()
    try:
        store.prepare()
        yield Server(store, engine)
    finally:
        await engine.close()
