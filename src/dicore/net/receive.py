"""C-STORE requests that come in on an association of ours, which is how a C-GET brings its instances: into a Sink."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from dicore import uid
from dicore._native.command import Command
from dicore._native.net import PENDING
from dicore.dataset.encode import file_meta
from dicore.errors import StoreFull
from dicore.net.address import printable
from dicore.net.sink import Sink, as_sink
from dicore.net.status import Status

if TYPE_CHECKING:
    from dicore.net.exchange import Wire

__all__ = ["FolderSink", "Incoming", "Receiver", "sink_for"]

_AT_ONCE = 512 * 1024  # bytes of a streamed data set that are written together


class Incoming:
    """One C-STORE-RQ on an association of ours; what a Sink sees of it is that of `StoreRequest`."""

    def __init__(self, receiver: Receiver, context_id: int, syntax: str, command: Command) -> None:
        wire = receiver.wire
        self.message_id: int = command.message_id or 0
        self.priority: int = command.priority or 0
        self.sop_class_uid = command.affected_class or ""
        self.sop_instance_uid = command.affected_instance or ""
        self.transfer_syntax = syntax
        self.calling_ae, self.called_ae, self.peer = wire.called_ae, wire.calling_ae, wire.peer  # they are the SCU
        self.context_id = context_id
        self._receiver = receiver
        self._answered = False

    def answer(self, status: int) -> None:
        """Give the answer that `PENDING` has promised."""
        if self._answered:
            raise RuntimeError("this request has been answered")
        self._answered = True
        self._receiver.answered(self, status)


class Receiver:
    """Feeds a sink from the messages of one association. `stored(request, status)` is told of each answer."""

    def __init__(
        self,
        wire: Wire,
        sink: Sink,
        *,
        stream_from: int,
        most: int,
        stored: Callable[[Incoming, int], object],
        failed: Callable[[Any, Exception], int],
    ) -> None:
        self.wire = wire
        self.dropping = False  # nobody wants them any more: refuse
        self._sink, self._stored, self._failed = sink, stored, failed
        self._stream_from, self._most = stream_from, most
        self._request: Incoming | None = None
        self._pieces: list[memoryview] = []
        self._size = self._waiting = 0
        self._streaming = self._whole = False
        self._handle: Any = None
        self._writing: asyncio.Future[Any] | None = None
        self._refusal: int | None = None
        self._loop = asyncio.get_running_loop()
        self._futures: set[asyncio.Future[Any]] = set()

    @property
    def busy(self) -> bool:
        """A data set is under way."""
        return self._request is not None

    @property
    def writing(self) -> bool:
        """The sink is writing: nothing more can be taken now."""
        return self._writing is not None

    def command(self, context_id: int, syntax: str, command: Command) -> bool:
        """A C-STORE-RQ with a data set; False when it comes amid another message."""
        if self._request is not None:
            return False
        self._request = Incoming(self, context_id, syntax, command)
        self._pieces, self._size, self._waiting = [], 0, 0
        self._streaming = self._whole = False
        self._handle = None
        self._refusal = int(Status.OUT_OF_RESOURCES) if self.dropping else None
        if not uid.is_valid(self._request.sop_instance_uid) and not self._request.sop_instance_uid:
            self._refusal = int(Status.INVALID_SOP_INSTANCE)
        return True

    def data(self, data: bytes, last: bool) -> bool:
        """Bytes of its data set; False when there are too many."""
        self._size += len(data)
        if self._size > self._most:
            return False
        if self._refusal is None and data:
            self._pieces.append(memoryview(data))
            self._waiting += len(data)
        self._whole = last
        try:
            self._go_on()
        except Exception as error:
            self._fail(error)
        return True

    def end(self) -> None:
        """The association is over."""
        request, self._request = self._request, None
        if request is not None and self._streaming and self._handle is not None and self._writing is None:
            self._abort(request)
        for future in list(self._futures):
            future.cancel()

    def _go_on(self) -> None:
        request = self._request
        if request is None or self._writing is not None:
            return
        if self._refusal is not None:
            if self._whole:
                self._request = None
                request.answer(self._refusal)
            return
        if not self._streaming:
            if self._whole:
                pieces, self._pieces = self._pieces, []
                self._request = None
                try:
                    status = self._sink.store(cast(Any, request), pieces)
                except Exception as error:
                    status = self._failed(request, error)
                self._outcome(request, status)
            elif self._size > self._stream_from:
                self._streaming = True
                self._handle = self._sink.begin(cast(Any, request))
                self._go_on()
            return
        if self._pieces and (self._whole or self._waiting >= _AT_ONCE):
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            writing = self._sink.write(self._handle, pieces)
            if writing is not None:
                self._writing = self._later(writing)
                self._writing.add_done_callback(self._written)
                self.wire.hold(True)
                return
        if self._whole and not self._pieces:
            handle, self._handle = self._handle, None
            self._request = None
            try:
                status = self._sink.commit(handle)
            except Exception as error:
                self._sink.abort(handle)
                self._outcome(request, self._failed(request, error))
            else:
                self._outcome(request, status)

    def _written(self, future: asyncio.Future[Any]) -> None:
        self._writing = None
        if self._request is None:  # the association has ended meanwhile
            self._sink.abort(self._handle)
            return
        error = None if future.cancelled() else future.exception()
        try:
            if error is not None:
                raise error
            self._go_on()
        except Exception as problem:
            self._fail(problem)
        self.wire.hold(False)

    def _fail(self, error: Exception) -> None:
        request = self._request
        if request is None:
            raise error
        status = self._failed(request, error)
        if self._handle is not None:
            self._abort(request)
        self._pieces, self._refusal = [], status
        if self._whole:
            self._request = None
            request.answer(status)

    def _abort(self, request: Incoming) -> None:
        handle, self._handle = self._handle, None
        try:
            self._sink.abort(handle)
        except Exception as error:
            self._failed(request, error)

    def _later(self, awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
        future = asyncio.ensure_future(awaitable)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def _outcome(self, request: Incoming, status: int | Awaitable[int]) -> None:
        if inspect.isawaitable(status):

            def done(future: asyncio.Future[Any]) -> None:
                if future.cancelled():
                    return
                error = future.exception()
                if error is not None:
                    request.answer(self._failed(request, cast(Exception, error)))
                else:
                    request.answer(future.result())

            self._later(status).add_done_callback(done)
        elif status != PENDING:
            request.answer(status)

    def answered(self, request: Incoming, status: int) -> None:
        """The sink has spoken: tell the peer."""
        response = Command(
            0x8001,
            responded_to=request.message_id,
            status=status & 0xFFFF,
            affected_class=request.sop_class_uid or None,
            affected_instance=request.sop_instance_uid or None,
        )
        self.wire.post(request.context_id, response)
        self._stored(request, status)


class FolderSink:
    """Each instance a file of a folder, named after its SOP Instance UID; in a thread, and complete or not there."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        os.makedirs(self.folder, exist_ok=True)

    def path_of(self, instance: str) -> str:
        """A UID's own file name; of what is no UID a hash, so that no text of a peer becomes a path."""
        if not uid.is_valid(instance):
            instance = hashlib.sha256(instance.encode()).hexdigest()
        return os.path.join(self.folder, instance + ".dcm")

    def store(self, request: Any, pieces: Sequence[memoryview]) -> Awaitable[int]:
        return asyncio.get_running_loop().run_in_executor(None, self._save, request, pieces)

    def begin(self, request: Any) -> Any:
        file = tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", suffix=".part", delete=False)  # noqa: SIM115 (commit or abort)
        try:
            file.write(_meta(request))
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise
        return request, file

    def write(self, handle: Any, pieces: Sequence[memoryview]) -> Awaitable[None]:
        def run() -> None:
            for piece in pieces:
                handle[1].write(piece)

        return asyncio.get_running_loop().run_in_executor(None, run)

    def commit(self, handle: Any) -> int:
        request, file = handle
        file.close()
        os.replace(file.name, self.path_of(request.sop_instance_uid))
        return int(Status.SUCCESS)

    def abort(self, handle: Any) -> None:
        handle[1].close()
        os.unlink(handle[1].name)

    def _save(self, request: Any, pieces: Sequence[memoryview]) -> int:
        handle = self.begin(request)
        try:
            for piece in pieces:
                handle[1].write(piece)
            return self.commit(handle)
        except BaseException:
            self.abort(handle)
            raise


def _meta(request: Any) -> bytes:
    return file_meta(request.sop_class_uid.encode(), request.sop_instance_uid.encode(), request.transfer_syntax)


class _StoreTarget:
    """A `dicore.Store`, by its methods: net and store are strangers."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def store(self, request: Any, pieces: Sequence[memoryview]) -> Awaitable[int]:
        def append() -> int:
            self._store.append(
                request.sop_class_uid,
                request.sop_instance_uid,
                request.transfer_syntax,
                pieces,
                source_ae=request.calling_ae,
            )
            return int(Status.SUCCESS)

        return asyncio.get_running_loop().run_in_executor(None, append)

    def begin(self, request: Any) -> Any:
        return self._store.lane(
            request.sop_class_uid,
            request.sop_instance_uid,
            request.transfer_syntax,
            source_ae=request.calling_ae,
        )

    def write(self, handle: Any, pieces: Sequence[memoryview]) -> Awaitable[None]:
        return asyncio.get_running_loop().run_in_executor(None, handle.write, pieces)

    async def commit(self, handle: Any) -> int:
        await asyncio.get_running_loop().run_in_executor(None, handle.commit)
        return int(Status.SUCCESS)

    def abort(self, handle: Any) -> None:
        handle.abort()


def sink_for(target: Any) -> Sink:
    """A sink for what a caller of `c_get` gave: a folder, a Store, a Sink, or a function."""
    if isinstance(target, str | os.PathLike):
        return FolderSink(target)
    if hasattr(target, "append") and hasattr(target, "lane"):
        return _StoreTarget(target)
    return as_sink(target)


def failure_status(request: Any, error: Exception) -> int:
    """The status for an exception of a sink."""
    import logging

    log = logging.getLogger("dicore.net")
    what = printable(request.sop_instance_uid)
    if isinstance(error, StoreFull | MemoryError):
        log.error("%s: %s not taken, out of resources: %s", request.peer, what, printable(str(error), 300))
        return int(Status.OUT_OF_RESOURCES)
    log.error("%s: %s not taken", request.peer, what, exc_info=error)
    return int(Status.CANNOT_UNDERSTAND)
