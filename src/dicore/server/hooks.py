"""What happens to an instance on its way into the store, where somebody wants it: filter, coerce, route."""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dicore.dataset import Dataset
from dicore.errors import DicoreError
from dicore.net import Status
from dicore.net import queries as wire
from dicore.server.sink import StoreSink
from dicore.store.correction import amended

if TYPE_CHECKING:
    from dicore.net.sink import StoreRequest
    from dicore.server.forward import Forwarder
    from dicore.store import Store

__all__ = ["HookedSink", "Hooks"]

_WORKERS = 32


@dataclass
class Hooks:
    """Functions of the user, called on the event loop's thread or a worker's; each may be None.

    `filter(request)` says whether the instance is taken (False: 0124). `coerce(request, dataset)` returns the elements
    to change, by keyword: what they were goes into the Original Attributes Sequence (PS3.3 C.12.1), the sender is told
    B000 (PS3.4 B.2.3). `route(request)` returns the AE titles of the destinations that it is forwarded to."""

    filter: Callable[[StoreRequest], bool] | None = None
    coerce: Callable[[StoreRequest, Dataset], Mapping[str, Any] | None] | None = None
    route: Callable[[StoreRequest], Sequence[str]] | None = None

    def __bool__(self) -> bool:
        return bool(self.filter or self.coerce or self.route)


class HookedSink(StoreSink):
    """A StoreSink with hooks; forwarded instances are in the queue before their sender is answered."""

    def __init__(self, store: Store, hooks: Hooks, *, ae_title: str, forwarder: Forwarder | None) -> None:
        super().__init__(store)
        self._store, self.hooks, self._title, self._forwarder = store, hooks, ae_title, forwarder
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="dicore-hooks")  # so many share a commit

    def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> Any:
        if self.hooks.filter is not None and not self.hooks.filter(request):
            return int(Status.NOT_AUTHORIZED)
        return self._loop.run_in_executor(self._workers, self._take, request, b"".join(pieces))

    def begin(self, request: StoreRequest) -> Any:
        """A long one waits in a file: to be filtered and coerced it has to be whole."""
        if self.hooks.filter is not None and not self.hooks.filter(request):
            return request, None
        return request, tempfile.TemporaryFile(dir=self._store.path)

    def write(self, handle: Any, pieces: Sequence[memoryview]) -> asyncio.Future[None]:
        file = handle[1]
        return self._loop.run_in_executor(self._workers, file.writelines if file is not None else list, pieces)

    async def commit(self, handle: Any) -> int:
        request, file = handle
        if file is None:
            return int(Status.NOT_AUTHORIZED)

        def run() -> int:
            with file:
                file.flush()
                return self._take(request, cast(bytes, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))

        return await self._loop.run_in_executor(self._workers, run)

    def abort(self, handle: Any) -> None:
        if handle[1] is not None:
            handle[1].close()

    def close(self) -> None:
        self._workers.shutdown(wait=False)

    def _take(self, request: StoreRequest, data: bytes) -> int:
        """In a thread: coerce, store, and queue."""
        from dicore.server.sink import _refused

        status = int(Status.SUCCESS)
        if self.hooks.coerce is not None:
            dataset = wire.decode(data, request.transfer_syntax)
            changes = self.hooks.coerce(request, dataset)
            if changes:
                data = wire.encode(
                    amended(dataset, changes, system=self._title, reason="COERCE"), request.transfer_syntax
                )
                status = int(Status.COERCION)
        try:
            self._append(
                request.sop_class_uid,
                request.sop_instance_uid,
                request.transfer_syntax,
                [data],
                source_ae=request.calling_ae,
            )
        except DicoreError as error:
            return _refused(error)
        if self.hooks.route is not None and self._forwarder is not None:
            titles = list(self.hooks.route(request))
            if titles:
                self._forwarder.queue.put([(request.sop_instance_uid, title) for title in titles])
                self._forwarder.wake(titles)
        return status


def both(first: Callable[[StoreRequest], Sequence[str]] | None, second: Callable[[StoreRequest], Sequence[str]]) -> Any:
    """Two routes as one."""
    if first is None:
        return second
    return lambda request: list(dict.fromkeys([*first(request), *second(request)]))
