"""What a peer has and we have not: its C-FIND list beside what is stored here, so that only the rest is fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dicore.net.client import Association

__all__ = ["Missing", "missing"]

MOST = 100  # UIDs in one request: identifiers stay short
_LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_UNIQUE = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class Missing(NamedTuple):
    """A series of the peer: the keys of a retrieval at IMAGE level for what is missing of it, and how many it has."""

    keys: dict[str, str]  # SOPInstanceUID: a list, at most 100 of them; "" when nothing is missing
    listed: int
    missing: int


async def missing(
    association: Association,
    keys: Mapping[str, Any],
    *,
    level: str = "STUDY",
    model: str = "study",
    have: Callable[[str], bool],
) -> AsyncIterator[Missing]:
    """Walk what a retrieval with these keys would send, by C-FIND from its level down to the instances, and say of each
    series which of them are not here (`have(SOP Instance UID)`), in portions of a hundred.

    Raises ValueError for a level that the model does not have, DimseError when a query fails."""
    first = 0 if model == "patient" else 1
    if level not in _LEVELS[first:]:
        raise ValueError(f"level {level!r}: {', '.join(_LEVELS[first:])}")
    path = {key: str(keys[key]) for key in _UNIQUE[first:] if keys.get(key)}
    async for series in _walk(association, path, _LEVELS.index(level), first, model):
        seen: dict[str, None] = {}
        for uid in await _list(association, {**series, "SOPInstanceUID": series.get("SOPInstanceUID", "")}, 3, model):
            seen[uid] = None
        above = {key: value for key, value in series.items() if key != "SOPInstanceUID"}
        wanted = [uid for uid in seen if not have(uid)]
        for at in range(0, max(len(wanted), 1), MOST):
            some = wanted[at : at + MOST]
            yield Missing({**above, "SOPInstanceUID": "\\".join(some)}, 0 if at else len(seen), len(some))


async def _walk(
    association: Association, path: dict[str, str], level: int, first: int, model: str
) -> AsyncIterator[dict[str, str]]:
    """The paths (unique keys) of all series below."""
    steps = range(min(level, 2), 3)  # the levels that are listed: from the one that was asked for to the series
    paths = [path]
    for step in steps:
        key, below = _UNIQUE[step], []
        for one in paths:
            if level == 3:  # instances: their series is in the keys
                below.append(one)
                continue
            for value in await _list(association, {**one, key: one.get(key, "")}, step, model):
                below.append({**one, key: value})
        paths = below
    for one in paths:
        yield one


async def _list(association: Association, keys: Mapping[str, str], level: int, model: str) -> list[str]:
    query = {"QueryRetrieveLevel": _LEVELS[level], **keys}
    return [
        uid
        async for found in association.c_find(query, model=model)
        if (uid := str(found.get(_UNIQUE[level]) or "").strip("\0 "))
    ]
