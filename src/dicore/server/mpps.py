"""Modality performed procedure steps (PS3.4 annex F): each a Part 10 file in a folder, durable before it is answered.

IN PROGRESS begins a step; COMPLETED and DISCONTINUED end it, and what has ended is not changed any more (0110)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicore import uid
from dicore.dataset import Dataset, read
from dicore.dataset.encode import file_meta
from dicore.net import Status
from dicore.net import queries as wire
from dicore.store.files import sync_folder

if TYPE_CHECKING:
    from dicore.net.service import NormalizedRequest

__all__ = ["Steps"]

MPPS = "1.2.840.10008.3.1.2.3.3"
_STATUS = "PerformedProcedureStepStatus"
_FINAL = ("COMPLETED", "DISCONTINUED")


class Steps:
    """The steps of a folder. Thread-safe."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def path_of(self, instance: str) -> Path:
        """A UID's own file name; of what is no UID a hash, so that no text of a peer becomes a path."""
        stem = instance if uid.is_valid(instance) else hashlib.sha256(instance.encode()).hexdigest()
        return self.folder / f"{stem}.dcm"

    def __getitem__(self, instance: str) -> Dataset:
        """A step. Raises KeyError."""
        path = self.path_of(instance)
        if not path.exists():
            raise KeyError(instance)
        return read(path)

    # -- handlers

    async def create(self, request: NormalizedRequest) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, self._create, request)

    async def change(self, request: NormalizedRequest) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, self._change, request)

    async def get(self, request: NormalizedRequest) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, self._get, request)

    def _create(self, request: NormalizedRequest) -> int:
        given = request.dataset
        if given is None or _STATUS not in given:
            return int(Status.MISSING_ATTRIBUTE)
        if _said(given) != "IN PROGRESS":
            return int(Status.INVALID_ATTRIBUTE_VALUE)
        request.sop_instance_uid = instance = request.sop_instance_uid or uid.generate()
        with self._lock:
            if self.path_of(instance).exists():
                return int(Status.DUPLICATE_SOP_INSTANCE)
            self._write(instance, given)
        return int(Status.SUCCESS)

    def _change(self, request: NormalizedRequest) -> int:
        changes = request.dataset
        with self._lock:
            try:
                step = self[request.sop_instance_uid]
            except KeyError:
                return int(Status.NO_SUCH_SOP_INSTANCE)
            if _said(step) in _FINAL:
                return int(Status.MAY_NO_LONGER_BE_UPDATED)
            if changes is None:
                return int(Status.MISSING_ATTRIBUTE)
            if _STATUS in changes and _said(changes) not in ("IN PROGRESS", *_FINAL):
                return int(Status.INVALID_ATTRIBUTE_VALUE)
            edited = step.edit({element.tag: element.value for element in changes if element.tag & 0xFFFF})
            self._write(request.sop_instance_uid, edited)
        return int(Status.SUCCESS)

    def _get(self, request: NormalizedRequest) -> Any:
        try:
            step = self[request.sop_instance_uid]
        except KeyError:
            return int(Status.NO_SUCH_SOP_INSTANCE)
        if not request.attributes:
            return int(Status.SUCCESS), wire.encode(step, request.transfer_syntax)
        wanted = {tag: step[tag].value for tag in request.attributes if tag in step}
        status = Status.SUCCESS if len(wanted) == len(request.attributes) else Status.ATTRIBUTE_LIST_ERROR
        return int(status), wanted

    def _write(self, instance: str, step: Dataset) -> None:
        body = wire.encode(step, uid.EXPLICIT_LITTLE)
        path = self.path_of(instance)
        durable(path, file_meta(MPPS.encode(), instance.encode(), uid.EXPLICIT_LITTLE) + body)


def _said(dataset: Dataset) -> str:
    return str(dataset.get(_STATUS) or "").strip()


def durable(path: Path, data: bytes) -> None:
    """A file that is there whole after a power cut, or not at all."""
    half = path.with_name(f".{path.name}.new")
    with open(half, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, path)
    sync_folder(path.parent)
