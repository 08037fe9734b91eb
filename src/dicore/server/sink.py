"""The store behind the listener: net's Sink on one side, `Store.append` on the other.

This is the hot path. A data set costs one `append`: one gathered write, the GIL released. A commit group of any size
costs one `call_soon_threadsafe`, from the store's commit thread to the event loop, which then answers them all.

Statuses (PS3.7 annex C, PS3.4 B.2.3): 0000 stored; A700 the disk is full or failed, nothing was kept, send it again
later; C111 this SOP Instance UID is stored with other bytes and the policy is to refuse; C000 the store cannot take it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dicore.errors import DicoreError, DuplicateInstance, StoreError
from dicore.net.sink import PENDING

if TYPE_CHECKING:
    from dicore.net.sink import StoreRequest
    from dicore.store import Lane, Store

__all__ = ["CANNOT_UNDERSTAND", "DUPLICATE", "OUT_OF_RESOURCES", "SUCCESS", "StoreSink"]

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
DUPLICATE = 0xC111  # PS3.4 B.2.3 has no 0111 for C-STORE; its digits stand inside the range that it has

_log = logging.getLogger("dicore.server")


class StoreSink:
    """Adapts a `Store` to the Sink protocol of `dicore.net`; belongs to the event loop that runs when it is made."""

    def __init__(self, store: Store) -> None:
        self._loop = asyncio.get_running_loop()
        self._append = store.append
        self._lane = store.lane
        self._done = self._committed  # one bound method: the store groups the waiting by its identity

    def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int:
        """Append a whole data set. The answer is a status, or comes with the commit group."""
        try:
            stored = self._append(
                request.sop_class_uid,
                request.sop_instance_uid,
                request.transfer_syntax,
                pieces,
                source_ae=request.calling_ae,
                done=self._done,
                token=request,
            )
        except DicoreError as error:
            return _refused(error)
        return SUCCESS if stored else PENDING

    def begin(self, request: StoreRequest) -> Lane:
        """Open a lane for a data set that is too long to assemble in memory."""
        return self._lane(
            request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax, source_ae=request.calling_ae
        )

    def write(self, handle: Lane, pieces: Sequence[memoryview]) -> asyncio.Future[None]:
        """Write megabytes of it off the loop, which meanwhile serves the others."""
        return self._loop.run_in_executor(None, handle.write, pieces)

    async def commit(self, handle: Lane) -> int:
        """The data set is whole: give it its record header and wait, off the loop, until it is durable."""
        try:
            await self._loop.run_in_executor(None, handle.commit)
        except DicoreError as error:
            return _refused(error)
        return SUCCESS

    def abort(self, handle: Lane) -> None:
        """The rest of the data set will not come."""
        handle.abort()

    def _committed(self, group: Sequence[tuple[StoreRequest, BaseException | None]]) -> None:
        """Called by the store's commit thread, once for all that waited."""
        try:
            self._loop.call_soon_threadsafe(_answer, group)
        except RuntimeError:  # the loop is closed: these peers are gone, and the instances are safe all the same
            _log.debug("%d instances were made durable after the server had ended", len(group))


def _answer(group: Sequence[tuple[StoreRequest, BaseException | None]]) -> None:
    for request, error in group:
        request.answer(SUCCESS if error is None else _refused(error))


def _refused(error: BaseException) -> int:
    if isinstance(error, DuplicateInstance):
        return DUPLICATE
    _log.error("not stored: %s", error)
    return OUT_OF_RESOURCES if isinstance(error, StoreError) else CANNOT_UNDERSTAND
