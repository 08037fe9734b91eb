"""Storage commitment (PS3.4 annex J): what is asked for is read again and checked, then reported.

A request is kept in a file until its report has been taken, so a restart forgets none. The report goes out on the
association that asked, while it stands; else on a new one to the asker's address among the destinations, tried again
with growing pauses."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicore import uid
from dicore.errors import DicoreError, NetworkError
from dicore.net import Address, Status, connect
from dicore.net.address import printable
from dicore.server.mpps import durable
from dicore.store.reading import Reader

if TYPE_CHECKING:
    from dicore.net import Capture
    from dicore.net.service import NormalizedRequest, Peer
    from dicore.store import Store

__all__ = ["Committer"]

COMMITMENT = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
NO_SUCH_INSTANCE, PROCESSING_FAILURE, CONFLICT = 0x0112, 0x0110, 0x0119  # PS3.3 C.14.1.1
_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0)

_log = logging.getLogger("dicore.server")


class Committer:
    """Takes N-ACTIONs and sends the reports. Belongs to the event loop that runs when it is made."""

    def __init__(
        self,
        store: Store,
        folder: str | os.PathLike[str],
        *,
        ae_title: str,
        destinations: Mapping[str, str | Address],
        pauses: tuple[float, ...] = _PAUSES,
        tls: ssl.SSLContext | None = None,
        wire: Capture | None = None,
    ) -> None:
        self.tls, self._wire = tls, wire
        self._store, self._title, self._pauses = store, ae_title, pauses
        self._destinations = destinations
        self._reader = Reader(store)
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[str] = set()

    def resume(self) -> None:
        """Report what was asked for before the last end."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                self._begin(json.loads(path.read_text()), None)
            except (OSError, ValueError, KeyError) as error:
                _log.warning("%s: not a commitment request: %s", path, error)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def action(self, request: NormalizedRequest) -> int:
        """The handler of N-ACTION."""
        if request.action_type != 1:
            return int(Status.NO_SUCH_ACTION)
        if request.sop_instance_uid != INSTANCE:
            return int(Status.NO_SUCH_SOP_INSTANCE)
        asked = request.dataset
        transaction = "" if asked is None else str(asked.get("TransactionUID") or "")
        items = [] if asked is None else list(asked.get("ReferencedSOPSequence") or ())
        if not transaction or not items:
            return int(Status.MISSING_ATTRIBUTE)
        pairs = [[str(one.get(f"ReferencedSOP{what}UID") or "") for what in ("Class", "Instance")] for one in items]
        if transaction in self._busy:
            return int(Status.DUPLICATE_TRANSACTION)
        job = {"transaction": transaction, "calling": request.calling_ae, "pairs": pairs}
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, durable, self._path(transaction), json.dumps(job).encode())
        loop.call_soon(self._begin, job, request.association)  # behind the response
        return int(Status.SUCCESS)

    def _path(self, transaction: str) -> Path:
        return self._folder / f"{hashlib.sha256(transaction.encode()).hexdigest()[:40]}.json"

    def _begin(self, job: dict[str, Any], peer: Peer | None) -> None:
        self._busy.add(job["transaction"])
        task = asyncio.get_running_loop().create_task(self._run(job, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def check(self, pairs: list[list[str]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """(kept, failed) references. What counts as kept was read from the disk just now, and its CRC is right."""
        kept: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for sop_class, instance in pairs:
            item: dict[str, Any] = {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": instance}
            try:
                meta = self._store_class(instance)
            except KeyError:
                reason = NO_SUCH_INSTANCE
            except (DicoreError, OSError, ValueError) as error:
                _log.error("%s: no commitment: %s", printable(instance), error)
                reason = PROCESSING_FAILURE
            else:
                reason = 0 if meta == sop_class else CONFLICT
            if reason:
                failed.append({**item, "FailureReason": reason})
            else:
                kept.append(item)
        return kept, failed

    def _store_class(self, instance: str) -> str:
        from dicore.net.operations import Ready

        return Ready.of(self._reader.read(instance)).sop_class_uid

    async def _run(self, job: dict[str, Any], peer: Peer | None) -> None:
        transaction = job["transaction"]
        try:
            kept, failed = await asyncio.get_running_loop().run_in_executor(None, self.check, job["pairs"])
            report: dict[str, Any] = {"TransactionUID": transaction, "RetrieveAETitle": self._title}
            if kept:
                report["ReferencedSOPSequence"] = kept
            if failed:
                report["FailedSOPSequence"] = failed
            if await self._report(job["calling"], 2 if failed else 1, report, peer):
                with contextlib.suppress(FileNotFoundError):
                    self._path(transaction).unlink()
        finally:
            self._busy.discard(transaction)

    async def _report(self, calling: str, event: int, report: dict[str, Any], peer: Peer | None) -> bool:
        if peer is not None and peer.open:
            with contextlib.suppress(DicoreError):
                await peer.n_event_report(COMMITMENT, INSTANCE, event, report)
                return True
        address = self._destinations.get(calling)
        if address is None:
            _log.warning(
                "commitment report for %s: its association is over and it is no destination", printable(calling)
            )
            return False
        to = Address.of(calling, address)
        for number in range(10_000):
            try:
                async with connect(
                    to,
                    calling=self._title,
                    contexts=[(COMMITMENT, (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE))],
                    roles={COMMITMENT: (False, True)},
                    tls=self.tls if to.tls else None,
                    wire=self._wire,
                ) as association:
                    await association.n_event_report(COMMITMENT, INSTANCE, event, report)
                    return True
            except (NetworkError, OSError) as error:
                _log.warning("commitment report to %s: %s", to, error)
            except DicoreError as error:  # it has answered: a failure, which a repetition does not change
                _log.error("commitment report to %s: %s", to, error)
                return True
            await asyncio.sleep(self._pauses[min(number, len(self._pauses) - 1)])
        return False
