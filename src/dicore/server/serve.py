"""`serve`: a store with a listener before it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dicore.net import listen
from dicore.server.access import Access
from dicore.server.sink import StoreSink

if TYPE_CHECKING:
    from dicore.net import Listener
    from dicore.store import Store

__all__ = ["Server", "serve"]
