"""What a listener or a client puts up with. Every limit is a setting here, a counter of the listener, and a test."""

from __future__ import annotations

import resource
from dataclasses import dataclass, fields

__all__ = ["Limits", "Timeouts"]

MIB = 1 << 20


def _open_files() -> int:
    """The most associations that leave 512 descriptors for everything else, at most 12,000."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 12_000 if soft == resource.RLIM_INFINITY else max(16, min(12_000, soft - 512))


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes. 0 for `associations` means: as many as the open-file limit allows."""

    associations: int = 0
    associations_per_peer: int = 256  # by address; the loopback has none
    pdu: int = MIB  # what we announce, and hold the peer to (PS3.8 D.1)
    negotiation: int = 64 * 1024  # A-ASSOCIATE PDUs, which PS3.8 does not bound
    command: int = 64 * 1024
    identifier: int = 16 * MIB  # a data set that is no instance: queries, N-services
    dataset: int = 16 << 30
    stream_from: int = 8 * MIB  # a longer data set is streamed to the sink
    in_flight: int = 256 * MIB  # landing buffers held for data sets that are not done
    in_flight_per_peer: int = 64 * MIB

    def __post_init__(self) -> None:
        if self.associations == 0:
            object.__setattr__(self, "associations", _open_files())
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"{field.name} is {value!r}, not a positive number")
        if not 4096 <= self.pdu <= 128 * MIB:
            raise ValueError(f"pdu is {self.pdu}, not from 4096 bytes to 128 MiB")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds, all positive."""

    connect: float = 30.0
    artim: float = 30.0  # PS3.8 9.1.5: accept to A-ASSOCIATE-RQ, and our last word to the peer's close
    network: float = 60.0  # no byte moves inside a message
    dimse: float = 60.0  # request to answer (client), sink to status (server)
    idle: float = 300.0  # between messages

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name} is {value!r}, not a positive number of seconds")
