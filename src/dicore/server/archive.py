"""`serve`: a store with a listener before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dicore.net import listen
from dicore.server.access import Access
from dicore.server.services import Services
from dicore.server.sink import StoreSink

if TYPE_CHECKING:
    from dicore.net import Address, Listener
    from dicore.store import Store

__all__ = ["Server", "serve"]


class Server:
    """A running archive. `port` is the one that is listened on, whatever was asked for."""

    def __init__(self, store: Store, listener: Listener) -> None:
        self.store = store
        self.listener = listener

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
    destinations: Mapping[str, str | Address] | None = None,
    services: bool = True,
    **options: Any,
) -> AsyncIterator[Server]:
    """An archive for as long as the block runs: C-ECHO, C-STORE of every SOP class in every transfer syntax into `store`,
    C-FIND, C-GET and C-MOVE out of it in the patient root and study root models.

    A success is answered after the store has taken the instance, in a durable store after it is on the disk. `port` 0
    takes a free one. A `host` beyond the loopback needs an `access` that says who may come, else DicoreError. At the
    end no new association is taken, what has begun is finished, and what has not ended after `grace` seconds is
    aborted; the store stays open. `destinations` are those of a C-MOVE, {AE title: "host:port"}; any other is refused.
    `services=False` only receives. Other options are those of `dicore.listen`, whose handlers go before the archive's.
    """
    rule = access or Access()
    rule.check_bind(host)
    archive = Services(store, ae_title=ae_title, destinations=destinations) if services else None
    try:
        async with listen(
            port=port,
            host=host,
            ae_title=ae_title,
            on_c_store=StoreSink(store),
            calling_ae=rule.ae_titles or None,
            admit=rule.admits if rule.networks else None,
            grace=grace,
            **((archive.options() if archive is not None else {}) | options),
        ) as listener:
            store.prepare()
            yield Server(store, listener)
    finally:
        if archive is not None:
            archive.close()
