"""C-FIND from the index (PS3.4 C.4.1): an identifier becomes a query of the store, a row becomes an answer.

Rows are read and encoded in a thread, a batch at a time, so the event loop only sends; nothing is read ahead of a peer
that does not. What an identifier may hold, and what is answered to one that holds something else, is listed with the
clauses of the standard in docs/reference/queries.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dicore import uid
from dicore.dataset import Dataset
from dicore.dataset.charset import charset_for, encode_text
from dicore.dataset.dictionary import keyword_to_tag, tag_vr
from dicore.dataset.encode import encode_value
from dicore.errors import CharacterSetError, DicoreError, DimseError
from dicore.net import Status
from dicore.net import queries as wire
from dicore.store.query import text_of

if TYPE_CHECKING:
    from dicore.net.service import FindRequest, RetrieveRequest
    from dicore.store import Store
    from dicore.store.match import Fold

__all__ = ["EXTENDED", "UNIQUE", "Finder", "encode_answer", "levels_of", "refuse", "stepped"]

T = TypeVar("T")

UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_LEVELS = {
    "patient": ("PATIENT", "STUDY", "SERIES", "IMAGE"),
    "study": ("STUDY", "SERIES", "IMAGE"),
    "patient-study": ("PATIENT", "STUDY"),
}
_ROOTS = ("patient", "study", "patient-study")
# PS3.4 C.5.2: relational, combined date-time matching, fuzzy matching of names, timezone; of retrieval: relational
EXTENDED = {wire.FIND[model]: b"\x01\x01\x01\x01" for model in _ROOTS} | {
    table[model]: b"\x01" for table in (wire.MOVE, wire.GET) for model in _ROOTS
}

_BATCH = 128
_TURN = 0.005  # seconds in a thread before what is there goes out
_UTF8 = "ISO_IR 192"
_NUL = frozenset({"UI", "OB", "UN"})
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_CODED = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # Specific Character Set governs them (PS3.5 6.1.2.2)
_NUMBERS = {"US": int, "SS": int, "UL": int, "SL": int, "SV": int, "UV": int, "FL": float, "FD": float}


def refuse(status: int, comment: str) -> DimseError:
    return DimseError(comment, status=int(status), comment=comment)


def keys_of(request: FindRequest | RetrieveRequest) -> dict[str, Any]:
    """The identifier as text by keyword. Raises DimseError with the status to answer when it cannot be read."""
    try:
        return text_of(request.identifier)
    except CharacterSetError as error:
        raise refuse(Status.UNABLE_TO_PROCESS, str(error)) from None
    except DicoreError as error:
        raise refuse(Status.DATA_SET_DOES_NOT_MATCH, f"the identifier cannot be read: {error}") from None


def levels_of(model: str) -> tuple[str, ...]:
    """The levels of an information model (PS3.4 C.6). Raises DimseError 0122 for one that is not served."""
    found = _LEVELS.get(model)
    if found is None:
        raise refuse(Status.SOP_CLASS_NOT_SUPPORTED, "this information model is not served here")
    return found


class Asked(NamedTuple):
    """An identifier, read and found to be one."""

    level: str
    keys: dict[str, Any]  # what goes to the store
    constant: dict[str, str]  # what is the same in every answer
    dropped: frozenset[str]  # keys that the store adds and nobody asked for
    pending: int
    charset: str
    fold: Fold
    combined: bool


class Finder:
    """C-FIND of the patient root and study root models, over a store."""

    def __init__(self, store: Store, ae_title: str, pool: ThreadPoolExecutor | None = None) -> None:
        self._store, self._title, self._pool = store, ae_title, pool
        self._below: dict[str, frozenset[str]] = {}
        names = {level: set(store._index.names(level)) for level in UNIQUE}
        for number, level in enumerate(UNIQUE):
            lower = set().union(*(names[one] for one in list(UNIQUE)[number + 1 :]), [])
            self._below[level] = frozenset(lower - names[level])

    async def __call__(self, request: FindRequest) -> AsyncGenerator[tuple[int, bytes], None]:
        """The handler: matches as (FF00 or FF01, bytes in the transfer syntax of the context)."""
        answers = stepped(lambda: self._answers(request), self._pool)
        try:
            async for answer in answers:
                yield answer
        finally:
            await answers.aclose()

    def _answers(self, request: FindRequest) -> Iterator[tuple[int, bytes]]:
        asked = self.examine(request)
        syntax = request.transfer_syntax
        try:
            rows = self._store.query(asked.level, asked.keys, fold=asked.fold, combined=asked.combined)
        except ValueError as error:
            raise refuse(Status.DATA_SET_DOES_NOT_MATCH, str(error)) from None
        pending, charset, constant, dropped = asked.pending, asked.charset, asked.constant, asked.dropped
        for row in rows:
            row.update(constant)
            for name in dropped:
                row.pop(name, None)
            yield pending, encode_answer(row, syntax, charset)

    def examine(self, request: FindRequest) -> Asked:
        """Check an identifier against PS3.4 C.4.1.1.3. Raises DimseError with the status to answer."""
        levels = levels_of(request.model)
        keys = keys_of(request)
        level = _level(keys, levels)
        extended = request.extended.ljust(4, b"\0")
        if not extended[0]:
            _check_above(keys, levels[: levels.index(level)])
        if not extended[3]:
            keys.pop("TimezoneOffsetFromUTC", None)
        below = self._below[level]
        ignored = [name for name in keys if name in below]
        constant = {"QueryRetrieveLevel": level}
        if "RetrieveAETitle" in keys:
            constant["RetrieveAETitle"] = self._title
        if "InstanceAvailability" in keys:
            constant["InstanceAvailability"] = "ONLINE"
        for name in ("StorageMediaFileSetID", "StorageMediaFileSetUID"):
            if name in keys:
                constant[name] = ""
        dropped = frozenset({"PatientID"} - keys.keys()) if request.model == "study" else frozenset()
        return Asked(
            level,
            {name: value for name, value in keys.items() if name not in below},
            constant,
            dropped,
            int(Status.PENDING_WITHOUT_OPTIONAL_KEYS if ignored else Status.PENDING),
            str(keys.get("SpecificCharacterSet") or ""),
            "accent" if extended[2] else "case",
            bool(extended[1]),
        )


def _level(keys: Mapping[str, Any], levels: Sequence[str]) -> str:
    level = str(keys.get("QueryRetrieveLevel") or "").strip()
    if not level:
        raise refuse(Status.DATA_SET_DOES_NOT_MATCH, "Query/Retrieve Level (0008,0052) is missing")
    if level not in levels:
        raise refuse(Status.DATA_SET_DOES_NOT_MATCH, f"level {level[:16]!r} is none of {', '.join(levels)}")
    return level


def _check_above(keys: Mapping[str, Any], above: Sequence[str]) -> None:
    """Hierarchical queries name one entity of each level above (PS3.4 C.4.1.2.1, C.4.1.3.1.1)."""
    for name in above:
        key = UNIQUE[name]
        value = str(keys.get(key) or "")
        if not value:
            raise refuse(Status.DATA_SET_DOES_NOT_MATCH, f"{key}, the unique key of the {name} level, is missing")
        if "\\" in value or (key == "PatientID" and ("*" in value or "?" in value)):
            raise refuse(Status.DATA_SET_DOES_NOT_MATCH, f"{key} above the level must be a single value")


# ---- answers ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _element(keyword: str, implicit: bool) -> tuple[int, str, bytes, bytes]:
    """(tag, VR, the header up to the length, padding)."""
    tag = keyword_to_tag(keyword) or 0
    vr = tag_vr(tag) or "UN"
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    if not implicit:
        head += vr.encode() + (b"\0\0" if vr in _LONG else b"")
    return tag, vr, head, b"\0" if vr in _NUL else b" "


def encode_answer(row: Mapping[str, Any], transfer_syntax: str, charset: str = "") -> bytes:
    """A data set of text values by keyword (sequences: lists of such), in a transfer syntax.

    Text beyond ASCII goes out in `charset`, the one of the request, when that has it all, else in UTF-8; Specific
    Character Set then says so, and is left out otherwise (PS3.4 C.2.2.2: it describes, it is not a key)."""
    implicit = transfer_syntax == uid.IMPLICIT_LITTLE
    body = _encoded(row, implicit, charset)
    if implicit or transfer_syntax == uid.EXPLICIT_LITTLE:
        return body
    return wire.encode(Dataset.from_bytes(body, transfer_syntax=uid.EXPLICIT_LITTLE), transfer_syntax)


def _encoded(row: Mapping[str, Any], implicit: bool, charset: str) -> bytes:
    if _ascii(row):
        return _elements(row, implicit, ())
    names = tuple(charset.split("\\")) if charset else (_UTF8,)
    try:
        charset_for(names)
        return _elements({**row, "SpecificCharacterSet": "\\".join(names)}, implicit, names)
    except (CharacterSetError, ValueError):
        return _elements({**row, "SpecificCharacterSet": _UTF8}, implicit, (_UTF8,))


def _ascii(row: Mapping[str, Any]) -> bool:
    return all(value.isascii() if type(value) is str else all(map(_ascii, value)) for value in row.values())


def _elements(row: Mapping[str, Any], implicit: bool, charset: Sequence[str]) -> bytes:
    listed: list[tuple[int, bytes]] = []
    for keyword, value in row.items():
        tag, vr, head, padding = _element(keyword, implicit)
        if type(value) is list:
            if vr != "SQ":
                continue
            items = [_elements(item, implicit, charset) for item in value]
            body = b"".join([b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item for item in items])
        elif not value:
            body = b""
        elif vr in _NUMBERS:
            try:
                body = encode_value(vr, [_NUMBERS[vr](one) for one in value.split("\\")])
            except ValueError:
                body = b""
        elif value.isascii():
            body = value.encode()
        elif vr in _CODED:
            body = encode_text(value, charset, person_name=vr == "PN", single=vr in ("LT", "ST", "UT"))
        else:
            body = value.encode("ascii", "replace")
        size = len(body)
        if size & 1:
            body += padding
            size += 1
        if implicit or vr in _LONG:
            listed.append((tag, head + size.to_bytes(4, "little") + body))
        elif size <= 0xFFFE:
            listed.append((tag, head + size.to_bytes(2, "little") + body))
        else:  # PS3.5 6.2.2 note 3
            listed.append((tag, head[:4] + b"UN\0\0" + size.to_bytes(4, "little") + body))
    listed.sort()
    return b"".join([element for _, element in listed])


# ---- threads ---------------------------------------------------------------------------------------------------------


async def stepped(
    make: Callable[[], Iterator[T]], pool: ThreadPoolExecutor | None = None, *, most: int = _BATCH
) -> AsyncGenerator[T, None]:
    """What an iterator gives, a batch at a time from a thread: one turn for a short answer, made and closed in it."""
    loop = asyncio.get_running_loop()
    source: Iterator[T] | None = None
    over = stop = False

    def step() -> list[T]:
        nonlocal source, over
        found: list[T] = []
        until = time.perf_counter() + _TURN
        try:
            if source is None:
                source = make()
            for item in source:
                found.append(item)
                if stop or len(found) >= most or time.perf_counter() > until:
                    return found
        except BaseException:
            over = True
            raise
        over = True
        return found

    running: asyncio.Future[list[T]] | None = None
    try:
        while not over:
            running = loop.run_in_executor(pool, step)
            found = await asyncio.shield(running)
            running = None
            for item in found:
                yield item
    finally:
        stop = True
        if running is not None:  # it cannot be interrupted, and must have ended before it is closed
            with contextlib.suppress(Exception):
                await running
        close = getattr(source, "close", None)
        if not over and close is not None:
            await loop.run_in_executor(pool, close)
