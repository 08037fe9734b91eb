"""Read your writes: what was acknowledged is written down as it comes, and looked for when the run is over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import dicore
from dicore.errors import NetworkError
from dicore.loadtest.result import LedgerResult

__all__ = ["Entry", "Ledger", "look"]


@dataclass(slots=True)
class Entry:
    """One instance that was sent."""

    sop_instance_uid: str
    study: str
    series: str
    digest: str
    acknowledged: bool = False
    when: float = 0.0  # seconds from the start


class Ledger:
    """The entries of a run in a file, one line each: the run may be long, memory stays flat.

    Lines are appended as they come and synced when it closes: a generator that dies leaves what it knew.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = open(self.path, "a", encoding="ascii", buffering=1 << 16)  # noqa: SIM115 - closed by close
        self.acknowledged = 0
        self.unknown = 0

    def write(self, entries: Iterable[Entry]) -> None:
        """Append."""
        for one in entries:
            self.acknowledged += one.acknowledged
            self.unknown += not one.acknowledged
            known = "+" if one.acknowledged else "?"
            self._file.write(f"{known} {one.when:.3f} {one.study} {one.series} {one.sop_instance_uid} {one.digest}\n")

    def close(self) -> None:
        """Everything on disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Iterator[Entry]:
        """The entries of a file; a torn last line is left out."""
        with open(path, encoding="ascii") as file:
            for line in file:
                parts = line.split()
                if len(parts) == 6 and line.endswith("\n"):
                    yield Entry(parts[4], parts[2], parts[3], parts[5], parts[0] == "+", float(parts[1]))


async def look(
    path: str | os.PathLike[str],
    target: str,
    how: Literal["find", "get"],
    *,
    calling: str = "DICORELOAD",
    progress: Callable[[int], object] | None = None,
) -> LedgerResult:
    """Ask `target` for every acknowledged instance of the ledger, series by series.

    By C-FIND at image level each UID must be there once; by C-GET also with the bytes that were sent (the data set
    without file meta information, which a peer rewrites). Entries whose answer never came are `unknown` and not
    held against it.
    """
    result = LedgerResult(how={"find": "C-FIND", "get": "C-GET and digest"}[how])
    entries = sorted(Ledger.read(path), key=lambda one: (one.study, one.series))
    result.acknowledged = sum(one.acknowledged for one in entries)
    result.unknown = [one.sop_instance_uid for one in entries if not one.acknowledged]
    try:
        async with dicore.connect(
            target, calling=calling, contexts=_contexts(how), receive=how == "get"
        ) as association:
            for (study, series), group in groupby(entries, key=lambda one: (one.study, one.series)):
                wanted = {one.sop_instance_uid: one for one in group if one.acknowledged}
                if not wanted:
                    continue
                found = await _series(association, how, study, series)
                result.looked_for += len(wanted)
                for uid, one in wanted.items():
                    held = found.get(uid, [])
                    if not held:
                        result.missing.append(uid)
                    elif how == "get" and any(digest != one.digest for digest in held):
                        result.altered.append(uid)
                    if len(held) > 1:
                        result.duplicated.append(uid)
                if progress is not None:
                    progress(result.looked_for)
    except NetworkError as error:
        result.remark = f"The search ended early: {error}"
    return result


def _contexts(how: str) -> list[Any]:
    from dicore.loadtest.operations import FIND, GET

    if how == "find":
        return [FIND["study"]]
    return [GET, *(one for one in dicore.uid.SOP_CLASSES[:120] if one != dicore.uid.VERIFICATION)]


async def _series(association: Any, how: str, study: str, series: str) -> dict[str, list[str]]:
    """SOP Instance UID -> a digest for each time that the target has it ("" by C-FIND)."""
    found: dict[str, list[str]] = {}
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    if how == "find":
        async for match in association.c_find(level="IMAGE", **keys, SOPInstanceUID="", returns=False):
            found.setdefault(str(match.SOPInstanceUID), []).append("")
    else:
        async for ds in association.c_get(level="SERIES", **keys):
            found.setdefault(str(ds.SOPInstanceUID), []).append(digest(ds))
    return found


def digest(ds: Any) -> str:
    """BLAKE2b-128 of a data set as it travels: without preamble and file meta information."""
    return hashlib.blake2b(body(ds.part10_bytes()), digest_size=16).hexdigest()


def body(data: bytes | memoryview) -> memoryview:
    """What of a Part 10 file goes over the wire."""
    from dicore._native import net as native

    view = memoryview(data)
    return view[native.identify_bytes(view)[3] :]
