"""Where received instances go: the `Sink` protocol, and `function_sink`, which makes one of a function."""

from __future__ import annotations

import inspect
import mmap
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import IO, Any, Protocol, runtime_checkable

from dicore._native.net import PENDING, StoreRequest

__all__ = ["PENDING", "Sink", "StoreFunction", "StoreRequest", "function_sink"]

StoreFunction = Callable[[StoreRequest, memoryview], "int | Awaitable[int]"]


@runtime_checkable
class Sink(Protocol):
    """Takes C-STORE data sets: as the wire had them, in `request.transfer_syntax`, without preamble or file meta.

    Every method is called on the loop's thread and must not block it. `pieces` are read-only memoryviews of the receive
    buffers, in order: they are the sink's own until the call returned or what it returned has resolved. A view that is
    kept longer stays valid, at the price of the whole buffer under it.

    A status is the DIMSE status to answer. Instead of one (or of an awaitable of one) `store` and `commit` may return
    `PENDING` and call `request.answer(status)` later, on the loop's thread: the cheapest way to answer many at once.
    An exception is logged and answered: StoreFull as A700, anything else as C000.
    """

    def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int | Awaitable[int]:
        """A whole data set of up to `Limits.stream_from` bytes."""
        ...

    def begin(self, request: StoreRequest) -> Any:
        """The first of a longer data set is here; what is returned is the `handle` of the calls that follow."""
        ...

    def write(self, handle: Any, pieces: Sequence[memoryview]) -> Awaitable[None] | None:
        """The next bytes of it. While an awaitable is pending the peer is not read."""
        ...

    def commit(self, handle: Any) -> int | Awaitable[int]:
        """That was all of it."""
        ...

    def abort(self, handle: Any) -> None:
        """It will not be completed: the association ended, or `write` or `commit` raised."""
        ...


class _FunctionSink:
    """Joins the pieces and calls the function once. A streamed data set waits in an unnamed temporary file."""

    def __init__(self, function: StoreFunction) -> None:
        self._function = function

    def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int | Awaitable[int]:
        return self._function(request, memoryview(b"".join(pieces)))

    def begin(self, request: StoreRequest) -> tuple[StoreRequest, IO[bytes]]:
        return request, tempfile.TemporaryFile(prefix="dicore-")

    def write(self, handle: tuple[StoreRequest, IO[bytes]], pieces: Sequence[memoryview]) -> None:
        for piece in pieces:
            handle[1].write(piece)

    def commit(self, handle: tuple[StoreRequest, IO[bytes]]) -> int | Awaitable[int]:
        request, spool = handle
        with spool:
            spool.flush()
            data = memoryview(mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ))
        return self._function(request, data)

    def abort(self, handle: tuple[StoreRequest, IO[bytes]]) -> None:
        handle[1].close()


def function_sink(function: StoreFunction) -> Sink:
    """A sink of `function(request, dataset) -> status`, sync or async.

    `dataset` is one read-only memoryview of the whole data set, the function's to keep; beyond `Limits.stream_from` it
    lies over a temporary file instead of memory. A synchronous function runs on the loop's thread: a slow one should be
    `async` and hand its work to a thread."""
    if not callable(function):
        raise TypeError(f"on_c_store is {function!r}: neither a Sink nor a function (request, dataset) -> status")
    return _FunctionSink(function)


def as_sink(target: Sink | StoreFunction) -> Sink:
    """A Sink as it is, a function as a sink."""
    if isinstance(target, Sink) and not inspect.isfunction(target):
        return target
    return function_sink(target)
