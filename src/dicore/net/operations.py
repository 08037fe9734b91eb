"""What one side of an association can ask of the other: the SCU of every service, for a client and for a handler of a
listener alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union, cast

from dicore import uid
from dicore._native import net as native
from dicore._native import retrieve as courier
from dicore._native.command import Command
from dicore._native.dataset import keyword_to_tag
from dicore.dataset import Dataset
from dicore.errors import (
    AssociationStateError,
    CodecUnavailable,
    DicomFormatError,
    DimseError,
    PixelDataError,
    TransferSyntaxError,
)
from dicore.net import exchange as x
from dicore.net import queries
from dicore.net.address import check_ae_title, printable
from dicore.net.rewrite import rewrite
from dicore.net.status import describe, is_failure

if TYPE_CHECKING:
    from dicore._native.retrieve import Retrieval
    from dicore.net.cargo import Cargo
    from dicore.net.commitment import CommitmentResult, Commitments
    from dicore.net.exchange import Exchange, Responses

__all__ = ["Answers", "FilePart", "Operations", "Progress", "Ready", "Reply", "Unsendable"]


class FilePart(NamedTuple):
    """A Part 10 file that stands within another file: `size` bytes from `offset`. It is read while it is sent."""

    path: str
    offset: int
    size: int


class Ready(NamedTuple):
    """An instance of which all is known that a C-STORE says: `whole` is its Part 10 file, `body` the data set in it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    body: memoryview
    whole: memoryview

    @property
    def kind(self) -> tuple[str, str]:
        """(SOP class, transfer syntax): what a presentation context is for."""
        return self.sop_class_uid, self.transfer_syntax

    @classmethod
    def of(cls, whole: memoryview) -> Ready:
        """From a Part 10 file. Raises DicomFormatError when it is none."""
        sop_class, instance, syntax, start = native.identify_bytes(whole)
        return cls(sop_class, instance, syntax, whole[start:], whole)


class Unsendable(NamedTuple):
    """What a handler of C-GET or C-MOVE yields for an instance that it has and cannot give: a failed sub-operation."""

    sop_instance_uid: str
    why: str


Elements = Union["Dataset", Mapping[Any, Any], bytes, None]
"""A data set as a caller gives it: a Dataset, a mapping of keywords or tags to values, or bytes as they go out."""
Storable = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "Dataset", FilePart]

COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
MPPS = "1.2.840.10008.3.1.2.3.3"

_SAY_MS = 100  # between two pending responses to a C-GET
_HEAD = 1 << 20  # of a file that is too long to be read whole
_WHOLE = 16 << 20
_CHUNK = 1 << 20


class Progress(NamedTuple):
    """How far a C-GET or C-MOVE is, by the peer's counts; None is what it did not say. The last one has a `status` that
    is not pending, and the instances that failed."""

    remaining: int | None
    completed: int | None
    failed: int | None
    warning: int | None
    status: int
    failed_uids: tuple[str, ...] = ()
    instance: str = ""  # of a C-GET: the SOP Instance UID that has just come in

    @property
    def final(self) -> bool:
        """The operation is over."""
        return self.status not in (0xFF00, 0xFF01)


class Reply(NamedTuple):
    """The answer to a normalized (N-) request: success or a warning."""

    status: int
    dataset: Dataset | None
    sop_instance_uid: str


class Answers(AsyncIterator[Any]):
    """The answers to a C-FIND, C-GET or C-MOVE as they come. To leave the loop is to cancel: a C-CANCEL goes out, and
    what the peer still sends is read and dropped. `status` is the final one, once it is there."""

    def __init__(
        self, begin: Callable[[Answers], Any], convert: Callable[[Answers, Command, bytes | None], Any]
    ) -> None:
        self.status: int | None = None
        self.progress: Progress | None = None  # of a C-GET or C-MOVE: what the peer said last
        self._begin, self._convert = begin, convert
        self._responses: Responses | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False
        self._trouble: Exception | None = None

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        if self._responses is None:
            self._loop = asyncio.get_running_loop()
            self._responses = await self._begin(self)
        try:
            while True:
                found = await self._responses.next()
                if found is None:
                    self._over = True
                    raise StopAsyncIteration
                command, data = found
                if command is None:  # of a C-GET: an instance
                    return data
                if self._responses.final is not None and self._responses.final is command:
                    self.status = command.status or 0
                item = self._convert(self, command, data)
                if item is not None:
                    return item
        except BaseException:
            self._over = True
            self._responses.task = None
            self._responses.abandon()
            raise

    async def take(self) -> list[Any]:
        """The next one, and with it those that are here already; an empty list at the end."""
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        found: list[Any] = []
        try:
            found.append(await anext(self))
            while self._responses is not None and self._responses.waiting and len(found) < 256:
                found.append(await anext(self))
        except StopAsyncIteration:
            pass
        except Exception as error:
            if not found:
                raise
            self._trouble = error  # after what came before it
        return found

    def cancel(self) -> None:
        """Ask the peer to stop; answers that are on their way still come, then the iteration ends."""
        if self._responses is not None:
            self._responses.cancel()

    async def aclose(self) -> None:
        """Cancel, and wait until the peer has stopped."""
        self._over = True
        if self._responses is not None:
            self._responses.abandon()
            while await self._responses.drained():
                pass

    def __del__(self) -> None:
        ours, loop = self._responses, self._loop
        if ours is None or ours.final is not None or loop is None or loop.is_closed():
            return
        if asyncio._get_running_loop() is loop:
            ours.abandon()
        else:
            loop.call_soon_threadsafe(ours.abandon)


class Operations:
    """The operations of one association. One is on the wire at a time, or as many as the window that was negotiated;
    others wait for their turn."""

    _exchange: Exchange

    @property
    def accepted(self) -> dict[int, tuple[str, str]]:
        """{context id: (SOP class, transfer syntax)} of the accepted presentation contexts."""
        raise AssertionError  # a driver's

    def _peer_name(self) -> str:
        return self._exchange.wire.peer

    def _invokes(self, sop_class: str) -> bool:
        """May this side be the SCU of `sop_class`?"""
        return True

    def _context(self, sop_class: str, name: str) -> tuple[int, str]:
        """A context of `sop_class`: (id, transfer syntax)."""
        self._exchange.check()
        if self._invokes(sop_class):
            for number, (one, syntax) in self.accepted.items():
                if one == sop_class:
                    return number, syntax
        raise AssociationStateError(
            f"no context for {uid.name(sop_class)} was accepted, which {name} needs", peer=self._peer_name()
        )

    def _check(self, name: str, command: Command, *, warnings: bool = True) -> int:
        status = command.status if command.status is not None else 0
        if is_failure(status) or (status and not warnings):
            comment = command.error_comment or ""
            remark = f": {printable(comment)}" if comment else ""
            raise DimseError(
                f"{name} failed with {describe(status, name)}{remark}",
                status=status,
                comment=comment,
                peer=self._peer_name(),
            )
        return status

    # -- C-ECHO, C-STORE

    async def c_echo(self) -> int:
        """C-ECHO. Returns 0; raises DimseError for any other status."""
        number, _ = self._context(uid.VERIFICATION, "C-ECHO")
        command, _ = await self._exchange.request(number, Command(x.C_ECHO, affected_class=uid.VERIFICATION))
        return self._check("C-ECHO", command, warnings=False)

    async def c_store(self, instance: Storable, *, priority: int = 0, originator: tuple[str, int] | None = None) -> int:
        """C-STORE of a file, of bytes of one, or of a Dataset. Returns 0 or the warning status that the peer gave.

        It goes out as it is stored. When the peer accepted no context for that, it is rewritten in an uncompressed
        syntax that was accepted, in a thread, the pixels decoded where they are compressed; otherwise, and when they
        cannot be decoded, TransferSyntaxError. `originator` names the C-MOVE that this is for: (AE title, message id).
        Raises DimseError for a failure status, DicomFormatError for what is no DICOM file, OSError for what cannot be
        read.
        """
        if isinstance(instance, str | os.PathLike | FilePart):
            part = instance if isinstance(instance, FilePart) else None
            path = part.path if part is not None else os.fspath(cast("str | os.PathLike[str]", instance))
            loop = asyncio.get_running_loop()
            file = await loop.run_in_executor(None, open, path, "rb")
            try:
                if part is not None:
                    file.seek(part.offset)
                size = part.size if part is not None else os.fstat(file.fileno()).st_size
                data = await loop.run_in_executor(None, file.read, size if size <= _WHOLE else _HEAD)
                if size > _WHOLE:
                    return await self._store_long(path, file, size, data, priority, originator)
            finally:
                file.close()
            return (await self.store_bytes(memoryview(data), priority=priority, originator=originator))[0]
        whole = memoryview(
            instance if isinstance(instance, bytes | bytearray | memoryview) else instance.part10_bytes()
        )
        return (await self.store_bytes(whole.cast("B"), priority=priority, originator=originator))[0]

    def _store_context(self, sop_class: str, syntax: str) -> tuple[int, str] | None:
        """The context for an instance, and the syntax to send it in."""
        if not self._invokes(sop_class):
            return None
        others: dict[str, int] = {}
        for number, (one, accepted) in self.accepted.items():
            if one == sop_class:
                if accepted == syntax:
                    return number, syntax
                others.setdefault(accepted, number)
        if syntax in uid.UNCOMPRESSED or syntax in uid.TRANSFER_SYNTAXES:  # pixels that somebody can decode
            for accepted in uid.UNCOMPRESSED:
                if accepted in others:
                    return others[accepted], accepted
        return None

    def _no_context(self, sop_class: str, syntax: str) -> TransferSyntaxError:
        return TransferSyntaxError(
            f"{self._peer_name()} accepted no context for {uid.name(sop_class)} in {uid.name(syntax)}"
        )

    @staticmethod
    def _store_command(sop_class: str, instance: str, priority: int, originator: tuple[str, int] | None) -> Command:
        command = Command(x.C_STORE, priority=priority, affected_class=sop_class, affected_instance=instance)
        if originator is not None:
            command.originator, command.originator_id = originator
        return command

    async def store_run(
        self,
        run: Sequence[Ready],
        answered: Callable[[int, int, str], bool],
        *,
        sending: Callable[[int], object] | None = None,
        originator: tuple[str, int] | None = None,
    ) -> bool:
        """C-STORE of instances of one SOP class and transfer syntax, as many at a time as the window has room for.
        `sending(number)` is told of each before it goes out, in order; `answered(number, status, comment)` of each
        answer, as they come, and says whether to go on. False, and nothing is sent, when they cannot go out as they
        are."""
        self._exchange.check()
        chosen = self._store_context(run[0].sop_class_uid, run[0].transfer_syntax)
        if chosen is None or chosen[1] != run[0].transfer_syntax:
            return False
        cars: list[tuple[int, Command, list[Any]]] = [
            (chosen[0], self._store_command(one.sop_class_uid, one.sop_instance_uid, 0, originator), [one.body])
            for one in run
        ]
        await x.Train(self._exchange, cars, answered, sending).run()
        return True

    async def ship(
        self,
        cargo: Cargo,
        order: list[int],
        *,
        originator: tuple[str, int] | None = None,
        answers: tuple[int, int, str] | None = None,
        done: tuple[int, int, int, int] = (0, 0, 0, 0),
        begun: Callable[[Retrieval], object] = lambda retrieval: None,
    ) -> list[tuple[int, int, int, int]] | None:
        """C-STORE of those instances of a cargo, by its threads: (index, outcome, status, detail) of each, which are
        named in `dicore._native.retrieve`. None, and nothing is sent, when this association cannot be lent to them.

        It is theirs until they are done or the peer has something to say, which is dealt with before this returns; what
        was left then may be shipped again. `answers`: of a C-GET, whose requestor is told how far it is, as (context,
        message id, SOP class), with `done` as (in all, completed, failed, with a warning)."""
        exchange = self._exchange
        async with exchange.exclusive():
            exchange.check()
            wire = exchange.wire
            if len(exchange.running) > 1 or (lent := wire.lend()) is None:
                return None
            address, socket, timeout = lent
            try:
                retrieval, over = cargo.shipper.start(
                    cargo,
                    order,
                    association=address,
                    socket=socket,
                    offers=[(*kind, number) for number, kind in self.accepted.items() if self._invokes(kind[0])],
                    message_id=exchange.last_message_id,
                    window=min(exchange.window, 64),
                    network_timeout=timeout,
                    originator=originator[0] if originator else "",
                    originator_id=originator[1] if originator else 0,
                    answers=answers,
                    answer_every=_SAY_MS,
                    total=done[0],
                    completed=done[1],
                    failed=done[2],
                    warning=done[3],
                    loan=wire,
                )
            except BaseException:
                os.close(socket)
                wire.take_back(0)
                raise
            wire.loan = retrieval
            begun(retrieval)
            wire.operations += 1
            results: list[tuple[int, int, int, int]] = []
            owed: dict[int, x.Owed] = {}
            try:
                await asyncio.shield(over)
            except asyncio.CancelledError:
                retrieval.stop()
                while not over.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([over])
                raise
            finally:
                wire.operations -= 1
                exchange.last_message_id = retrieval.message_id
                results = retrieval.results()
                for index, outcome, status, _ in results:
                    if outcome == courier.UNANSWERED:
                        owed[index] = x.Owed(exchange, status)
                wire.take_back(retrieval.ended)
            if owed:
                await asyncio.wait([one.answer for one in owed.values()])
                results = [(one[0], *_answer_to(owed[one[0]])) if one[0] in owed else one for one in results]
            return results

    async def store_bytes(
        self, data: memoryview, *, priority: int = 0, originator: tuple[str, int] | None = None
    ) -> tuple[int, int]:
        """C-STORE of the bytes of a Part 10 file: (status, bytes of the data set that went out); see `c_store`."""
        sop_class, instance, syntax, start = native.identify_bytes(data)
        self._exchange.check()
        chosen = self._store_context(sop_class, syntax)
        if chosen is None:
            raise self._no_context(sop_class, syntax)
        number, out = chosen
        body: Any = data[start:]
        if out != syntax:
            try:
                body = await asyncio.get_running_loop().run_in_executor(None, rewrite, data, out)
            except (CodecUnavailable, PixelDataError) as error:
                raise self._no_context(sop_class, syntax) from error
        pieces = [body]
        if len(body) % 2:
            if syntax != uid.DEFLATED:
                raise DicomFormatError("the data set has an odd number of bytes, which cannot be sent (PS3.8 annex E)")
            pieces.append(b"\0")
        command, _ = await self._exchange.request(
            number, self._store_command(sop_class, instance, priority, originator), pieces
        )
        return self._check("C-STORE", command), len(body)

    async def _store_long(
        self, path: str, file: Any, size: int, head: bytes, priority: int, originator: tuple[str, int] | None
    ) -> int:
        """A file that is read while it is sent."""
        sop_class, instance, syntax, start = native.identify_bytes(head, partial=True)
        chosen = self._store_context(sop_class, syntax)
        if chosen is None:
            raise self._no_context(sop_class, syntax)
        number, out = chosen
        loop = asyncio.get_running_loop()
        if out != syntax:
            data = head + await loop.run_in_executor(None, file.read, size - len(head))
            return (await self.store_bytes(memoryview(data), priority=priority, originator=originator))[0]
        if (size - start) % 2:
            raise DicomFormatError(
                "the data set has an odd number of bytes, which cannot be sent (PS3.8 annex E)", path=path
            )
        left = size - len(head)

        async def read(message: Any) -> None:
            nonlocal left
            try:
                chunk = await loop.run_in_executor(None, file.read, min(left, _CHUNK))
            except (OSError, ValueError) as error:
                message.fail(f"{path} cannot be read any more: {error}")
                return
            left -= len(chunk)
            if chunk:
                message.supply(chunk)
            else:
                message.fail(f"{path} became shorter while it was sent")

        reading: set[asyncio.Task[None]] = set()

        def more(message: Any) -> None:
            task = loop.create_task(read(message))
            reading.add(task)
            task.add_done_callback(reading.discard)

        try:
            command, _ = await self._exchange.request(
                number,
                self._store_command(sop_class, instance, priority, originator),
                [memoryview(head)[start:]],
                size=size - start,
                more=more,
            )
        finally:
            if reading:
                await asyncio.wait(reading)
        return self._check("C-STORE", command)

    # -- C-FIND, C-MOVE

    def c_find(
        self,
        dataset: Elements = None,
        /,
        *,
        level: str | None = "STUDY",
        model: str = "study",
        sop_class: str | None = None,
        returns: bool = True,
        priority: int = 0,
        **keys: Any,
    ) -> Answers:
        """C-FIND: `async for match in assoc.c_find(level="STUDY", PatientID="123"):`, a Dataset per match as it comes.

        `model` is 'study', 'patient' or 'worklist' (which has no level; keys of the Scheduled Procedure Step go into
        its sequence), or `sop_class` a UID of its own. `keys` are what to match and what to return, by keyword; with
        `returns` the usual attributes of the level are asked for too. Or give a whole identifier as `dataset`. Leaving
        the loop cancels. Raises DimseError for a failure status, after the matches that came before it.
        """
        chosen = sop_class or _model(queries.FIND, model)

        async def begin(_: Answers) -> Responses:
            number, syntax = self._context(chosen, "C-FIND")
            wanted = _identifier(dataset, model, level, keys, returns)
            command = Command(x.C_FIND, priority=priority, affected_class=chosen)
            return await self._exchange.begin(number, command, [queries.encode(wanted, syntax)])

        def convert(answers: Answers, command: Command, data: bytes | None) -> Dataset | None:
            if command.status in (0xFF00, 0xFF01):
                return queries.decode(data or b"", self._syntax_of(chosen))
            if command.status != 0xFE00:
                self._check("C-FIND", command)
            return None

        return Answers(begin, convert)

    def c_move(
        self,
        dataset: Elements = None,
        /,
        *,
        destination: str,
        level: str | None = "STUDY",
        model: str = "study",
        sop_class: str | None = None,
        priority: int = 0,
        **keys: Any,
    ) -> Answers:
        """C-MOVE to the AE title `destination`, which the peer must know: yields a `Progress` for each of the peer's
        responses, the last with its status and the instances that failed.

        Leaving the loop cancels. Raises DimseError for a failure status (A801: destination unknown); a B000, some
        instances failed, is the last Progress."""
        chosen = sop_class or _model(queries.MOVE, model)
        target = check_ae_title(destination)

        async def begin(_: Answers) -> Responses:
            number, syntax = self._context(chosen, "C-MOVE")
            wanted = _identifier(dataset, model, level, keys, False)
            command = Command(x.C_MOVE, priority=priority, affected_class=chosen, move_destination=target)
            return await self._exchange.begin(number, command, [queries.encode(wanted, syntax)])

        def convert(answers: Answers, command: Command, data: bytes | None) -> Progress:
            if command.status not in (0xFF00, 0xFF01, 0xFE00):
                self._check("C-MOVE", command)
            progress = answers.progress = self._progress(command, data, chosen)
            return progress

        return Answers(begin, convert)

    def _progress(self, command: Command, data: bytes | None, sop_class: str) -> Progress:
        failed: tuple[str, ...] = ()
        if data:
            found = queries.decode(data, self._syntax_of(sop_class)).get("FailedSOPInstanceUIDList") or ()
            failed = (str(found),) if isinstance(found, str) else tuple(map(str, found))
        status = command.status if command.status is not None else 0
        return Progress(command.remaining, command.completed, command.failed, command.warning, status, failed)

    def _syntax_of(self, sop_class: str) -> str:
        return next((syntax for one, syntax in self.accepted.values() if one == sop_class), uid.IMPLICIT_LITTLE)

    # -- N-*

    async def _normalized(
        self, field: int, name: str, sop_class: str, context: str | None, command: Command, dataset: Elements
    ) -> Reply:
        number, syntax = self._context(context or sop_class, name)
        body = queries.encode(dataset, syntax) if dataset is not None else b""
        answer, data = await self._exchange.request(number, command, [body] if body else None)
        status = self._check(name, answer)
        return Reply(
            status,
            queries.decode(data, syntax) if data else None,
            answer.affected_instance or command.sop_instance,
        )

    async def n_create(
        self, sop_class: str, dataset: Elements = None, *, instance: str | None = None, context: str | None = None
    ) -> Reply:
        """N-CREATE. Without `instance` the peer makes the UID, which is in the Reply. `context`: the SOP class whose
        context is used, where it is another (a meta SOP class, UPS Push for Pull). Raises DimseError."""
        command = Command(x.N_CREATE, affected_class=sop_class, affected_instance=instance)
        return await self._normalized(x.N_CREATE, "N-CREATE", sop_class, context, command, dataset)

    async def n_set(self, sop_class: str, instance: str, dataset: Elements, *, context: str | None = None) -> Reply:
        """N-SET: change attributes of an instance; see `n_create`."""
        command = Command(x.N_SET, requested_class=sop_class, requested_instance=instance)
        return await self._normalized(x.N_SET, "N-SET", sop_class, context, command, dataset)

    async def n_get(
        self, sop_class: str, instance: str, attributes: Iterable[str | int] = (), *, context: str | None = None
    ) -> Reply:
        """N-GET of some attributes (keywords or tags), or of all; see `n_create`."""
        command = Command(x.N_GET, requested_class=sop_class, requested_instance=instance)
        tags = [_tag(one) for one in attributes]
        if tags:
            command.attributes = tags
        return await self._normalized(x.N_GET, "N-GET", sop_class, context, command, None)

    async def n_action(
        self, sop_class: str, instance: str, action: int, dataset: Elements = None, *, context: str | None = None
    ) -> Reply:
        """N-ACTION number `action` on an instance; see `n_create`."""
        command = Command(x.N_ACTION, requested_class=sop_class, requested_instance=instance, action_type=action)
        return await self._normalized(x.N_ACTION, "N-ACTION", sop_class, context, command, dataset)

    async def n_event_report(
        self, sop_class: str, instance: str, event: int, dataset: Elements = None, *, context: str | None = None
    ) -> Reply:
        """N-EVENT-REPORT of event number `event` of an instance: what an SCP tells its SCU; see `n_create`."""
        command = Command(x.N_EVENT_REPORT, affected_class=sop_class, affected_instance=instance, event_type=event)
        return await self._normalized(x.N_EVENT_REPORT, "N-EVENT-REPORT", sop_class, context, command, dataset)

    async def n_delete(self, sop_class: str, instance: str, *, context: str | None = None) -> Reply:
        """N-DELETE of an instance; see `n_create`."""
        command = Command(x.N_DELETE, requested_class=sop_class, requested_instance=instance)
        return await self._normalized(x.N_DELETE, "N-DELETE", sop_class, context, command, None)

    # -- modality performed procedure step (PS3.4 annex F)

    async def mpps_begin(self, dataset: Elements = None, /, *, instance: str | None = None, **elements: Any) -> str:
        """Say that a procedure step has begun: N-CREATE with status IN PROGRESS; its SOP Instance UID.

        `elements` by keyword are joined to a `dataset` that is a mapping."""
        given = _joined(dataset, {"PerformedProcedureStepStatus": "IN PROGRESS"} | elements)
        reply = await self.n_create(MPPS, given, instance=instance or uid.generate())
        return reply.sop_instance_uid

    async def mpps_end(
        self, instance: str, dataset: Elements = None, /, *, status: str = "COMPLETED", **elements: Any
    ) -> Reply:
        """Say that it is over: N-SET with the final attributes; `status` is COMPLETED or DISCONTINUED."""
        if status not in ("COMPLETED", "DISCONTINUED"):
            raise ValueError(f"status {status!r}: COMPLETED or DISCONTINUED")
        return await self.n_set(MPPS, instance, _joined(dataset, {"PerformedProcedureStepStatus": status} | elements))

    # -- storage commitment (PS3.4 annex J)

    async def request_commitment(
        self,
        instances: Iterable[tuple[str, str] | Dataset],
        *,
        commitments: Commitments | None = None,
        transaction: str | None = None,
        timeout: float | None = 60.0,  # noqa: ASYNC109 (of the report, not of the call)
    ) -> CommitmentResult:
        """Ask the peer to keep `instances`: (SOP class, SOP instance) pairs or Datasets; wait for the report.

        The report comes on this association, or on a new one to a listener of ours: then give the `Commitments` that
        is the listener's `on_n_event_report`. Raises DimseError when the peer refuses, NetworkTimeout when no report
        comes within `timeout` seconds (None: forever)."""

        waiting = commitments or self._commitments()
        pairs = [
            (str(one["SOPClassUID"].value), str(one["SOPInstanceUID"].value)) if isinstance(one, Dataset) else one
            for one in instances
        ]
        if not pairs:
            raise ValueError("no instances to commit to")
        number = transaction or uid.generate()
        listed = [{"ReferencedSOPClassUID": a, "ReferencedSOPInstanceUID": b} for a, b in pairs]
        also = self._commitments()
        waiting.expect(number)
        if also is not waiting:
            also.forward(number, waiting)
        try:
            await self.n_action(
                COMMITMENT,
                COMMITMENT_INSTANCE,
                1,
                {"TransactionUID": number, "ReferencedSOPSequence": listed},
            )
            return await waiting.result(number, timeout, peer=self._peer_name())
        finally:
            waiting.forget(number)
            also.forget(number)

    def _commitments(self) -> Commitments:
        """What takes the reports that come on this very association."""
        raise AssociationStateError("this side of the association requests no commitment", peer=self._peer_name())


def _answer_to(owed: x.Owed) -> tuple[int, int, int]:
    """(outcome, status, detail)."""
    return (courier.LOST, 0, 0) if owed.answer.cancelled() else (courier.ANSWERED, owed.answer.result(), 0)


def _joined(dataset: Elements, elements: Mapping[str, Any]) -> Elements:
    if dataset is None:
        return elements
    if isinstance(dataset, Dataset):
        return dataset.edit(dict(elements))
    if isinstance(dataset, Mapping):
        return {**dataset, **elements}
    raise TypeError("bytes cannot be joined with elements: give a mapping or a Dataset")


def _model(classes: Mapping[str, str], model: str) -> str:
    if model not in classes:
        raise ValueError(f"model {model!r}: one of {', '.join(classes)}")
    return classes[model]


def _identifier(
    dataset: Elements, model: str, level: str | None, keys: Mapping[str, Any], returns: bool
) -> Dataset | Mapping[Any, Any] | bytes:
    if dataset is None:
        return queries.identifier(model, None if model == "worklist" else level, keys, returns=returns)
    if keys:
        return _joined(dataset, keys) or {}
    return dataset


def _tag(key: str | int) -> int:
    if isinstance(key, int):
        return key
    tag = keyword_to_tag(key)
    if tag is None:
        raise ValueError(f"{key!r} is no keyword")
    return tag
