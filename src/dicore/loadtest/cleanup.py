"""What a run left behind: all of it has the UID root of the run, so that it can be found again and taken away."""

from __future__ import annotations

import os
import uuid

import dicore
from dicore.loadtest.material import run_root

__all__ = ["found_at", "found_in", "removed_from"]


def _root(run: str) -> str:
    """The UID prefix of a run. ValueError for what is no run's id."""
    try:
        uuid.UUID(run)
    except ValueError:
        raise ValueError(f"{run!r} is no run's id, and no file of a result") from None
    return run_root(run) + "."


async def found_at(target: str, run: str, *, calling: str = "DICORELOAD") -> list[str]:
    """Study Instance UIDs of a run at a node, asked by C-FIND for the patients that load tests make.

    Raises ValueError for a malformed `run`, NetworkError and DimseError.
    """
    root = _root(run)
    found = set()
    async with dicore.connect(target, calling=calling) as association:
        for identifier in (f"LT-{run[:8]}-*", "LT-REPLAY"):  # of `material`, and of `replay`
            async for match in association.c_find(
                level="STUDY", PatientID=identifier, StudyInstanceUID="", returns=False
            ):
                found.add(str(match.StudyInstanceUID))
    return sorted(one for one in found if one.startswith(root))


def found_in(folder: str | os.PathLike[str], run: str) -> list[str]:
    """Study Instance UIDs of a run in a dicore store. ValueError for a malformed `run`, StoreError."""
    root = _root(run)
    with dicore.Store(folder, read_only=True) as store:
        found = {row["StudyInstanceUID"] for row in store.find("STUDY", PatientID="LT-*")}
    return sorted(one for one in found if one.startswith(root))


def removed_from(folder: str | os.PathLike[str], studies: list[str]) -> int:
    """Delete these studies from a dicore store, where their patients are those of a load test; how many instances.

    Nothing else may have the store open. StoreError when it has.
    """
    with dicore.Store(folder) as store:
        return sum(store.delete(StudyInstanceUID=one, PatientID="LT-*") for one in studies)
