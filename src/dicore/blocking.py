"""The network API without asyncio, for scripts and notebooks.

    with dicore.blocking.connect("ARCHIVE@127.0.0.1:11112") as assoc:
        assoc.c_echo()
        assoc.c_store("ct.dcm")
        for match in assoc.c_find(level="STUDY", PatientID="123"):
            ...
    report = dicore.blocking.send("folder/", to="ARCHIVE@127.0.0.1:11112", associations=8)
    with dicore.blocking.listen(port=0, on_c_store=function) as scp:
        ...

The names, arguments, results and exceptions are those of `dicore.net` and `dicore.server`. All of it runs on one event
loop in a thread of its own, which is started at the first call and ends with the process: sinks, handlers and progress
functions are called in that thread. An interrupted call (Ctrl-C) is cancelled, which aborts its associations. Do not
call from that thread: it would wait for itself."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from dicore.net import Address, CommitmentResult, Progress, Reply, SendReport
from dicore.net import Answers as _Answers
from dicore.net import connect as _connect
from dicore.net import listen as _listen
from dicore.net import send as _send
from dicore.net.client import Association as _Association
from dicore.net.client import Storable

__all__ = ["Answers", "Association", "connect", "listen", "send", "serve"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_owner = 0  # the process that started them: a forked child starts its own


def _background() -> asyncio.AbstractEventLoop:
    global _loop, _thread, _owner
    with _lock:
        if _loop is None or _owner != os.getpid():
            try:
                import uvloop

                loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            except ImportError:
                loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=loop.run_forever, name="dicore.blocking", daemon=True)
            _thread.start()
            _loop, _owner = loop, os.getpid()
        return _loop


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on the background loop and wait."""
    if threading.current_thread() is _thread:
        coroutine.close()
        raise RuntimeError("dicore.blocking waits for this very thread: a sink or handler uses the asynchronous names")
    future = asyncio.run_coroutine_threadsafe(coroutine, _background())
    try:
        return future.result()
    except BaseException:
        future.cancel()  # no effect on one that is done
        raise


class Association:
    """`dicore.net.Association`, waiting."""

    def __init__(self, inner: _Association) -> None:
        self._inner = inner

    @property
    def open(self) -> bool:
        """True until it is released, aborted or broken."""
        return self._inner.open

    @property
    def contexts(self) -> dict[tuple[str, str], int]:
        """(SOP class, transfer syntax) -> id of the accepted presentation contexts."""
        return self._inner.contexts

    def c_echo(self) -> int:
        """C-ECHO; see `dicore.net.Association.c_echo`."""
        return _run(self._inner.c_echo())

    def c_store(self, instance: Storable, *, priority: int = 0) -> int:
        """C-STORE; see `dicore.net.Association.c_store`."""
        return _run(self._inner.c_store(instance, priority=priority))

    def c_find(self, *arguments: Any, **options: Any) -> Answers:
        """C-FIND: `for match in assoc.c_find(PatientID="123"):`; see `dicore.net.Association.c_find`."""
        return Answers(self._inner.c_find(*arguments, **options))

    def c_get(self, *arguments: Any, **options: Any) -> Answers:
        """C-GET: `for ds in assoc.c_get(StudyInstanceUID=uid):`; see `dicore.net.Association.c_get`."""
        return Answers(self._inner.c_get(*arguments, **options))

    def c_move(self, *arguments: Any, **options: Any) -> Answers:
        """C-MOVE: `for progress in assoc.c_move(destination="AE", ...):`; see `dicore.net.Association.c_move`."""
        return Answers(self._inner.c_move(*arguments, **options))

    def n_create(self, sop_class: str, dataset: Any = None, **options: Any) -> Reply:
        """N-CREATE; see `dicore.net.Association.n_create`."""
        return _run(self._inner.n_create(sop_class, dataset, **options))

    def n_set(self, sop_class: str, instance: str, dataset: Any, **options: Any) -> Reply:
        """N-SET; see `dicore.net.Association.n_set`."""
        return _run(self._inner.n_set(sop_class, instance, dataset, **options))

    def n_get(self, sop_class: str, instance: str, attributes: Iterable[str | int] = (), **options: Any) -> Reply:
        """N-GET; see `dicore.net.Association.n_get`."""
        return _run(self._inner.n_get(sop_class, instance, attributes, **options))

    def n_action(self, sop_class: str, instance: str, action: int, dataset: Any = None, **options: Any) -> Reply:
        """N-ACTION; see `dicore.net.Association.n_action`."""
        return _run(self._inner.n_action(sop_class, instance, action, dataset, **options))

    def n_event_report(self, sop_class: str, instance: str, event: int, dataset: Any = None, **options: Any) -> Reply:
        """N-EVENT-REPORT; see `dicore.net.Association.n_event_report`."""
        return _run(self._inner.n_event_report(sop_class, instance, event, dataset, **options))

    def n_delete(self, sop_class: str, instance: str, **options: Any) -> Reply:
        """N-DELETE; see `dicore.net.Association.n_delete`."""
        return _run(self._inner.n_delete(sop_class, instance, **options))

    def mpps_begin(self, dataset: Any = None, /, **elements: Any) -> str:
        """A procedure step begins; see `dicore.net.Association.mpps_begin`."""
        return _run(self._inner.mpps_begin(dataset, **elements))

    def mpps_end(self, instance: str, dataset: Any = None, /, **elements: Any) -> Reply:
        """A procedure step ends; see `dicore.net.Association.mpps_end`."""
        return _run(self._inner.mpps_end(instance, dataset, **elements))

    def request_commitment(self, instances: Iterable[Any], **options: Any) -> CommitmentResult:
        """Storage commitment; see `dicore.net.Association.request_commitment`."""
        return _run(self._inner.request_commitment(instances, **options))

    def release(self) -> None:
        """End the association in order."""
        _run(self._inner.release())

    def abort(self) -> None:
        """End the association now."""

        async def on_loop() -> None:
            self._inner.abort()

        _run(on_loop())

    def __enter__(self) -> Association:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()


class Answers(Iterator[Any]):
    """The answers to a C-FIND, C-GET or C-MOVE as they come. To leave the loop is to cancel."""

    def __init__(self, inner: _Answers) -> None:
        self._inner = inner
        self._here: deque[Any] = deque()

    @property
    def status(self) -> int | None:
        """The final status, once it is there."""
        return self._inner.status

    @property
    def progress(self) -> Progress | None:
        """Of a C-GET or C-MOVE: what the peer said last."""
        return self._inner.progress

    def __iter__(self) -> Answers:
        return self

    def __next__(self) -> Any:
        if not self._here:
            self._here.extend(_run(self._inner.take()))
            if not self._here:
                raise StopIteration
        return self._here.popleft()

    def close(self) -> None:
        """Cancel, and wait until the peer has stopped."""
        _run(self._inner.aclose())


class _Running(Generic[T]):
    """A listener or server that runs while the block does; its attributes are those of the asynchronous object."""

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager
        self._entered: T | None = None

    def __enter__(self) -> _Running[T]:
        self._entered = _run(_enter(self._manager))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run(_leave(self._manager))

    def __getattr__(self, name: str) -> Any:
        if self._entered is None:
            raise AttributeError(f"{name}: enter the block first")

        async def read() -> Any:
            return getattr(self._entered, name)

        return _run(read())


async def _enter(manager: AbstractAsyncContextManager[T]) -> T:
    return await manager.__aenter__()


async def _leave(manager: AbstractAsyncContextManager[Any]) -> None:
    await manager.__aexit__(None, None, None)


def connect(to: str | Address, **options: Any) -> Association:
    """Open an association; `with` releases it. See `dicore.net.connect`."""

    async def on_loop() -> _Association:
        return await _connect(to, **options)

    return Association(_run(on_loop()))


def send(paths: Any, *, to: str | Address, **options: Any) -> SendReport:
    """Send files. See `dicore.net.send`."""
    return _run(_send(paths, to=to, **options))


def listen(**options: Any) -> _Running[Any]:
    """A listener for the length of a `with` block. See `dicore.net.listen`."""
    return _Running(_listen(**options))


def serve(store: Any, **options: Any) -> _Running[Any]:
    """A whole archive for the length of a `with` block. See `dicore.server.serve`."""
    from dicore.server import serve as start

    return _Running(start(store, **options))
