"""What is known of an association once it is over, and of a message once it is answered: for the log line, for who
audits, and for the metrics."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from dicore._native.net import PHASE_FIRST, PHASE_LAST, PHASES
from dicore.net.address import printable

__all__ = ["PHASES", "AssociationRecord", "Audit", "JsonLines", "MessageRecord", "OnMessage", "Phase", "Times"]


@dataclass(frozen=True, slots=True)
class Phase:
    """How long a phase took, in ns: quantiles are at most 25 % too long, `longest` is exact."""

    count: int
    p50: int
    p99: int
    longest: int

    def as_dict(self) -> dict[str, int]:
        return {"count": self.count, "p50_ns": self.p50, "p99_ns": self.p99, "max_ns": self.longest}


@dataclass(frozen=True, slots=True)
class Times:
    """The durations of a phase, of all messages of a driver: how many, their sum in ns, how many are in each bucket."""

    count: int
    sum: int
    buckets: tuple[int, ...]

    def cumulative(self) -> list[tuple[float, int]]:
        """(a limit in seconds, how many took less), at powers of two from 256 ns to 275 s."""
        out, seen, at = [], 0, 0
        for power in range(PHASE_FIRST, PHASE_LAST + 1):
            end = (power - PHASE_FIRST) * 4 + 1
            seen += sum(self.buckets[at:end])
            at = end
            out.append(((1 << power) / 1e9, seen))
        return out


def times_of(found: Mapping[str, tuple[int, int, Iterable[int]]]) -> dict[str, Times]:
    """Of what a driver counts."""
    return {name: Times(count, total, tuple(buckets)) for name, (count, total, buckets) in found.items()}


class MessageRecord(NamedTuple):
    """One message of a peer, answered. `phases`: ns by name (a service without a data set has only the last two)."""

    peer: str
    calling_ae: str
    called_ae: str
    service: str
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    status: int
    bytes: int
    phases: dict[str, int]


OnMessage = Callable[[MessageRecord], object]


@dataclass(frozen=True, slots=True)
class AssociationRecord:
    """One association that was served, or refused. `calling_ae` and `called_ae` are what the peer said, made safe for a
    terminal; `certificate` is the common name of what it showed; `contexts` were accepted (None: not known);
    `seconds` from accept to end. `phases` are the durations of its parts: 'accept' (from the connection, under TLS from
    the handshake on, to the whole A-ASSOCIATE-RQ), 'negotiate' (to its answer), and of its C-STOREs 'first_byte' (from
    the command to the first byte of the data set), 'last_byte', 'commit' (the store or sink has decided), 'answer' (the
    response is with the kernel)."""

    peer: str
    calling_ae: str
    called_ae: str
    ended: str
    contexts: int | None
    stores: int
    stored_bytes: int
    echoes: int
    seconds: float
    tls: str = ""
    certificate: str = ""
    phases: Mapping[str, Phase] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.peer} {printable(self.calling_ae) or '-'} -> {printable(self.called_ae) or '-'}: {self.ended};"
            f" {self.stores} stored ({self.stored_bytes} bytes), {self.echoes} echoed, {self.seconds:.1f} s"
        )

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self) | {"phases": {name: one.as_dict() for name, one in self.phases.items()}}


Audit = Callable[[AssociationRecord], object]


class JsonLines(logging.Formatter):
    """A log line as one JSON object: time, level, logger, message, and the fields of the association it is about."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        about = getattr(record, "association", None)
        if isinstance(about, AssociationRecord):
            line["association"] = about.as_dict()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def tell(log: logging.Logger, record: AssociationRecord, audit: Audit | None) -> None:
    """One log line; and the audit, whose own trouble costs nobody an association."""
    log.info("%s", record, extra={"association": record})
    if audit is not None:
        try:
            audit(record)
        except Exception:
            log.exception("on_audit failed")
