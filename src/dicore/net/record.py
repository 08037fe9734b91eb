"""What is known of an association once it is over: for the log line, and for who audits."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from dicore.net.address import printable

__all__ = ["AssociationRecord", "Audit", "JsonLines"]


@dataclass(frozen=True, slots=True)
class AssociationRecord:
    """One association that was served, or refused. `calling_ae` and `called_ae` are what the peer said, made safe for a
    terminal; `certificate` is the common name of what it showed; `contexts` were accepted (None: not known);
    `seconds` from accept to end."""

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

    def __str__(self) -> str:
        return (
            f"{self.peer} {printable(self.calling_ae) or '-'} -> {printable(self.called_ae) or '-'}: {self.ended};"
            f" {self.stores} stored ({self.stored_bytes} bytes), {self.echoes} echoed, {self.seconds:.1f} s"
        )

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


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
