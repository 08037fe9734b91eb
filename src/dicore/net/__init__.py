"""DICOM over a network on asyncio: a client (`connect`, `send`) and a listener (`listen`)."""

from __future__ import annotations

from dicore.net.address import Address
from dicore.net.client import Association, connect
from dicore.net.limits import Limits, Timeouts
from dicore.net.send import SendProgress, SendReport, send
from dicore.net.sink import PENDING, Sink, StoreRequest, function_sink
from dicore.net.status import Status
from dicore.net.transport import Listener, listen

__all__ = [
    "PENDING",
    "Address",
    "Association",
    "Limits",
    "Listener",
    "SendProgress",
    "SendReport",
    "Sink",
    "Status",
    "StoreRequest",
    "Timeouts",
    "connect",
    "function_sink",
    "listen",
    "send",
]
