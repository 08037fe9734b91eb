"""What a listener or a client puts up with. Every limit is a setting here, a counter of the listener, and a test."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["Limits", "Timeouts", "limits_of", "raise_open_files", "timeouts_of"]

MIB = 1 << 20


def _open_files() -> int:
    """The most associations that leave 512 descriptors for everything else, at most 12,000."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 12_000 if soft == resource.RLIM_INFINITY else max(16, min(12_000, soft - 512))


def raise_open_files() -> None:
    """As many open files as the system lets this process have: for a program of its own, a server say."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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
    dimse: float = 60.0  # until the peer answers a request of ours
    idle: float = 300.0  # between messages

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name} is {value!r}, not a positive number of seconds")


_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30}


def _number(name: str, value: int | str) -> int:
    text = str(value).strip()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = _UNITS.get(text[len(digits) :].strip().lower())
    if unit is None or not digits.isdecimal():
        raise ValueError(f"{name} is {text!r}: write a number, or one with KiB, MiB or GiB")
    return int(digits) * unit


def _known(kind: type[Limits | Timeouts], given: Mapping[str, object]) -> None:
    names = [field.name for field in fields(kind)]
    for name in given:
        if name not in names:
            raise ValueError(f"{name!r} is none of {', '.join(names)}")


def limits_of(given: Mapping[str, int | str]) -> Limits:
    """Limits from text, as a configuration has it: {"in_flight": "128 MiB", "associations": 200}. Raises ValueError."""
    _known(Limits, given)
    return Limits(**{name: _number(name, value) for name, value in given.items()})


def timeouts_of(given: Mapping[str, float | str]) -> Timeouts:
    """Timeouts from text, in seconds: {"artim": "10"}. Raises ValueError."""
    _known(Timeouts, given)
    seconds: dict[str, float] = {}
    for name, value in given.items():
        try:
            seconds[name] = float(value)
        except ValueError:
            raise ValueError(f"{name} is {value!r}: write a number of seconds") from None
    return Timeouts(**seconds)
