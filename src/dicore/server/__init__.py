"""The assembly of listener and store: what `dicore serve` runs."""

from __future__ import annotations

from dicore.server.access import Access
from dicore.server.archive import Server, serve
from dicore.server.health import Health
from dicore.server.hooks import Hooks
from dicore.server.schedule import Schedule
from dicore.server.sink import StoreSink

__all__ = ["Access", "Health", "Hooks", "Schedule", "Server", "StoreSink", "serve"]
