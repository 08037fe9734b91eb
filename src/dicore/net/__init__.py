"""DICOM over a network on asyncio: a client (`connect`, `send`) and a listener (`listen`)."""

from __future__ import annotations

from dicore.net.address import Address
from dicore.net.capture import Capture
from dicore.net.client import Association, connect
from dicore.net.commitment import CommitmentResult, Commitments
from dicore.net.identity import Identity, UserIdentity
from dicore.net.limits import Limits, Timeouts
from dicore.net.operations import Answers, Progress, Reply
from dicore.net.record import AssociationRecord, MessageRecord, Phase
from dicore.net.send import SendProgress, SendReport, send
from dicore.net.service import FindRequest, NormalizedRequest, Peer, RetrieveRequest, ServiceRequest
from dicore.net.sink import PENDING, Sink, StoreRequest, function_sink
from dicore.net.status import Status
from dicore.net.transport import Listener, listen

__all__ = [
    "PENDING",
    "Address",
    "Answers",
    "Association",
    "AssociationRecord",
    "Capture",
    "CommitmentResult",
    "Commitments",
    "FindRequest",
    "Identity",
    "Limits",
    "Listener",
    "MessageRecord",
    "NormalizedRequest",
    "Peer",
    "Phase",
    "Progress",
    "Reply",
    "RetrieveRequest",
    "SendProgress",
    "SendReport",
    "ServiceRequest",
    "Sink",
    "Status",
    "StoreRequest",
    "Timeouts",
    "UserIdentity",
    "connect",
    "function_sink",
    "listen",
    "send",
]
