"""One operation of each kind, over an association that a lane keeps or makes; what went wrong gets its words here."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import dicore
from dicore import uid
from dicore.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectionFailed,
    DimseError,
    NetworkError,
    NetworkTimeout,
    ProtocolViolation,
)
from dicore.loadtest.ledger import Entry
from dicore.loadtest.scenario import Stream
from dicore.net.client import Association
from dicore.net.limits import Limits, Timeouts
from dicore.net.status import describe

__all__ = ["Failed", "Lane", "explain", "is_exhausted"]

FIND = {"study": "1.2.840.10008.5.1.4.1.2.2.1", "worklist": "1.2.840.10008.5.1.4.31"}
MPPS, COMMITMENT = "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"  # well known (PS3.4 J.3.5)
GET, MOVE = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"


STUDIES = 100  # that a stream of retrievals without keys asks for at a time


class Failed(Exception):
    """An operation that failed, with its kind and detail as `explain` gives them."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


class Lane:
    """One place at the target: at most one association, one operation at a time, and how long each phase of it took."""

    __slots__ = (
        "_operate",
        "association",
        "contexts",
        "entry",
        "phases",
        "size",
        "stream",
        "target",
        "turn",
    )

    def __init__(self, stream: Stream, target: str, contexts: Sequence[tuple[str, tuple[str, ...]]] = ()) -> None:
        """`contexts` to propose, where they are not those of the operation."""
        self.stream = stream
        self.target = target
        self.contexts = contexts or self._contexts()
        self.association: Association | None = None
        self.phases: dict[str, float] = {}  # of the operation at hand, in seconds
        self.size = 0  # bytes it moved
        self.turn: list[str] = []  # studies to retrieve next
        self.entry: Entry | None = None  # what it had acknowledged: of operations that store
        operations: dict[str, Callable[[], Awaitable[None]]] = {
            "echo": self._echo,
            "find": self._find,
            "worklist": self._find,
            "get": self._get,
            "move": self._move,
            "mpps": self._mpps,
            "commitment": self._commitment,
        }
        self._operate = operations.get(stream.operation, self._fault)

    async def run(self) -> None:
        """The next operation. Raises what made it fail; the association is then closed when it is of no more use."""
        self.phases, self.size = {}, 0
        try:
            await self._operate()
        except DimseError:
            raise  # the association is as good as before
        except BaseException:
            if self.association is not None:
                if self.association.open:
                    self.association.abort()
                self.association = None
            raise
        if self.stream.association == "image":
            await self.close()

    async def open(self) -> Association:
        """The association, made when there is none."""
        if self.association is None or not self.association.open:
            begin = time.perf_counter()
            stream = self.stream
            target = self.target if not stream.called else f"{stream.called}@{self.target.rpartition('@')[2]}"
            self.association = one = await dicore.connect(
                target,
                calling=stream.calling,
                contexts=self.contexts,
                timeouts=Timeouts(connect=stream.timeout, dimse=stream.timeout),
                limits=Limits(pdu=stream.pdu),
                receive=stream.operation == "get",
                window=stream.window,
                tls=stream.tls.context() if stream.tls is not None else None,
            )
            whole = time.perf_counter() - begin
            connected = min(whole, one.connect_seconds)
            if connected:
                self.phases["connect"] = connected - one.tls_seconds
            if one.tls_seconds:
                self.phases["TLS"] = one.tls_seconds
            self.phases["negotiate"] = whole - connected
        return self.association

    async def close(self) -> None:
        """Release the association."""
        if self.association is not None:
            begin = time.perf_counter()
            with contextlib.suppress(NetworkError):
                await self.association.release()
            self.phases["release"] = time.perf_counter() - begin
            self.association = None

    def _contexts(self) -> list[tuple[str, tuple[str, ...]]]:
        plain = (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE)
        match self.stream.operation:
            case "find":
                return [(FIND["study"], plain)]
            case "worklist":
                return [(FIND["worklist"], plain)]
            case "mpps":
                return [(MPPS, plain)]
            case "commitment":
                return [(COMMITMENT, plain)]
            case "move":
                return [(MOVE, plain)]
            case "get":
                return [(GET, plain), *((one, plain) for one in uid.SOP_CLASSES[:120] if one != uid.VERIFICATION)]
            case _:
                return [(uid.VERIFICATION, plain)]

    async def _echo(self) -> None:
        association = await self.open()
        begin = time.perf_counter()
        await association.c_echo()
        self.phases["answer"] = time.perf_counter() - begin

    async def _find(self) -> None:
        association = await self.open()
        begin = time.perf_counter()
        model = "worklist" if self.stream.operation == "worklist" else "study"
        keys: dict[str, Any] = dict(self.stream.keys)
        level = None if model == "worklist" else self.stream.level
        answers = association.c_find(level=level, model=model, **keys)
        first = True
        async for _ in answers:
            if first:
                self.phases["first response"] = time.perf_counter() - begin
                begin, first = time.perf_counter(), False
        self.phases["answer"] = time.perf_counter() - begin

    async def _get(self) -> None:
        association = await self.open()
        begin = time.perf_counter()
        first = True
        keys = await self._reading()
        if not keys:
            return
        answers = association.c_get(level=self.stream.level, **keys)
        async for ds in answers:
            if first:
                self.phases["first response"] = time.perf_counter() - begin
                begin, first = time.perf_counter(), False
            self.size += len(ds.part10_bytes())
        self.phases["transfer"] = time.perf_counter() - begin

    async def _reading(self) -> dict[str, Any]:
        """What to retrieve: the stream's keys, or without them one study after the other of those that load tests have
        made at the target; nothing while there is none: then the operation is its query."""
        if self.stream.keys:
            return dict(self.stream.keys)
        if not self.turn:
            assert self.association is not None
            root = FIND["study"]
            async with dicore.connect(
                self.association.address, calling=self.stream.calling, contexts=[root],
                tls=self.stream.tls.context() if self.stream.tls is not None else None,
            ) as other:  # fmt: skip
                async for match in other.c_find(level="STUDY", PatientID="LT-*", StudyInstanceUID="", returns=False):
                    self.turn.append(str(match.StudyInstanceUID))
                    if len(self.turn) == STUDIES:
                        break
        return {"StudyInstanceUID": self.turn.pop()} if self.turn else {}

    async def _move(self) -> None:
        association = await self.open()
        begin = time.perf_counter()
        first = True
        keys = await self._reading()
        if not keys:
            return
        answers = association.c_move(destination=self.stream.destination, level=self.stream.level, **keys)
        async for _ in answers:
            if first:
                self.phases["first response"] = time.perf_counter() - begin
                begin, first = time.perf_counter(), False
        self.phases["transfer"] = time.perf_counter() - begin

    async def _mpps(self) -> None:
        """A performed procedure step from its begin (N-CREATE) to its end (N-SET) (PS3.4 F.7.2)."""
        association = await self.open()
        begin = time.perf_counter()
        now = datetime.datetime.now()
        step = fresh_uid()
        scheduled = {"StudyInstanceUID": fresh_uid(), "AccessionNumber": "LT", "ScheduledProcedureStepID": "LT"}
        await association.n_create(
            MPPS,
            {
                "ScheduledStepAttributesSequence": [scheduled],
                "PatientName": "TEST^LOAD",
                "PatientID": "LT-MPPS",
                "PatientBirthDate": "",
                "PatientSex": "",
                "Modality": self.stream.material.modality,
                "PerformedProcedureStepID": "LT",
                "PerformedStationAETitle": self.stream.calling,
                "PerformedProcedureStepStartDate": f"{now:%Y%m%d}",
                "PerformedProcedureStepStartTime": f"{now:%H%M%S}",
                "PerformedProcedureStepStatus": "IN PROGRESS",
                "PerformedSeriesSequence": [],
            },
            instance=step,
        )
        self.phases["first response"] = time.perf_counter() - begin
        begin = time.perf_counter()
        end = {
            "PerformedProcedureStepStatus": "COMPLETED",
            "PerformedProcedureStepEndDate": f"{now:%Y%m%d}",
            "PerformedProcedureStepEndTime": f"{now:%H%M%S}",
        }
        await association.n_set(MPPS, step, end)
        self.phases["answer"] = time.perf_counter() - begin

    async def _commitment(self) -> None:
        """A request for storage commitment until it is accepted: the report may come hours later (PS3.4 J.3)."""
        association = await self.open()
        begin = time.perf_counter()
        asked = {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ReferencedSOPInstanceUID": fresh_uid()}
        await association.n_action(
            COMMITMENT, COMMITMENT_INSTANCE, 1, {"TransactionUID": fresh_uid(), "ReferencedSOPSequence": [asked]}
        )
        self.phases["answer"] = time.perf_counter() - begin

    async def _fault(self) -> None:
        """What bad peers do: the target must bear it, and the good streams beside it show whether they suffer."""
        kind = self.stream.operation
        if kind == "abort":
            association = await self.open()
            association.abort()
            self.association = None
            return
        _, _, place = self.target.rpartition("@")
        host, _, port = place.removeprefix("dicom://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            if kind == "malformed":
                writer.write(b"\x09\x00\xff\xff\xff\xffGET / HTTP/1.0\r\n\r\n")
                await writer.drain()
                await asyncio.wait_for(reader.read(), self.stream.timeout)
            elif kind == "half-open":  # says nothing until the target's ARTIM ends it
                await asyncio.wait_for(reader.read(), self.stream.timeout)
            else:  # one byte a second, of a request that never ends
                for byte in b"\x01\x00\x00\x00\x10\x00" + bytes(int(self.stream.timeout)):
                    writer.write(bytes([byte]))
                    await writer.drain()
                    try:
                        if not await asyncio.wait_for(reader.read(1), 1.0):
                            return
                    except TimeoutError:
                        continue
        except (TimeoutError, ConnectionError):
            return  # that it was cut off is what was to be
        finally:
            writer.close()


def fresh_uid() -> str:
    """A UID that nothing has (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def explain(error: BaseException) -> tuple[str, str]:
    """(kind, detail) of a failed operation: kinds are few, details few per kind, so that they can be counted."""
    match error:
        case Failed():
            return error.kind, error.detail
        case DimseError():
            return "DIMSE status", describe(error.status or 0)
        case AssociationRejected():
            return "rejected", str(error).partition(": ")[2] or str(error)
        case AssociationAborted():
            who = "service user" if error.source == 0 else "service provider"
            return "aborted", f"by the peer's {who}, reason {error.reason}"
        case NetworkTimeout():
            return "time-out", str(error).rpartition("(")[2].rstrip(")").removesuffix(" timeout")
        case ConnectionFailed():
            cause = error.__cause__
            return "connection", cause.strerror if isinstance(cause, OSError) and cause.strerror else "broken"
        case ProtocolViolation():
            return "protocol", str(error)[:80]
        case OSError():
            return "connection", error.strerror or str(error)
    return type(error).__name__, str(error)[:80]


def is_exhausted(error: BaseException) -> bool:
    """True when this machine, not the target, had no port or descriptor left."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (
            errno.EADDRNOTAVAIL,
            errno.EMFILE,
            errno.ENFILE,
            errno.ENOBUFS,
        ):
            return True
        cause = cause.__cause__
    return False
