"""The modality worklist (PS3.4 annex K) from a folder: each `.wl`, `.dcm` or `.json` (PS3.18 annex F) is one item.

What is there is read again when a file's time or size has changed. A file that cannot be read is logged once and left
out. Matching is that of PS3.4 C.2.2.2, sequences included; the answer has what the identifier asks for."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dicore.dataset import Dataset, from_json, read
from dicore.dataset.dictionary import keyword_to_tag, tag_vr
from dicore.errors import DicoreError
from dicore.net import Status
from dicore.server.query import encode_answer, refuse, stepped
from dicore.store import match
from dicore.store.query import text_of

if TYPE_CHECKING:
    from dicore.net.service import FindRequest

__all__ = ["Worklist", "load"]

_log = logging.getLogger("dicore.server")
_SUFFIXES = (".wl", ".dcm", ".json")
_SAID = ("SpecificCharacterSet", "QueryRetrieveLevel", "TimezoneOffsetFromUTC")


class Worklist:
    """The items of a folder. Thread-safe."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int], dict[str, Any] | None]] = {}

    def items(self) -> list[dict[str, Any]]:
        """All of them, as text by keyword. Raises OSError when the folder cannot be read."""
        with self._lock:
            there: dict[str, tuple[tuple[int, int], dict[str, Any] | None]] = {}
            for entry in sorted(os.scandir(self.folder), key=lambda one: one.name):
                if not entry.name.lower().endswith(_SUFFIXES) or not entry.is_file():
                    continue
                state = entry.stat()
                stamp = state.st_mtime_ns, state.st_size
                found = self._known.get(entry.name)
                there[entry.name] = found if found and found[0] == stamp else (stamp, _load(entry.path))
            self._known = there
            return [item for _, item in there.values() if item is not None]

    def candidates(self, keys: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Those that an identifier may match, and perhaps more."""
        return self.items()

    @staticmethod
    def takes(keys: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
        """Does an item match an identifier? Raises ValueError for a key that is none."""
        return _matches(keys, item)

    def matching(self, keys: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What an identifier asks for, of each item that matches. Raises ValueError for a key that is none."""
        for item in self.candidates(keys):
            if _matches(keys, item):
                yield _returned(keys, item)

    async def __call__(
        self, request: FindRequest, pool: ThreadPoolExecutor | None = None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """The handler of C-FIND."""

        def answers() -> Iterator[tuple[int, bytes]]:
            try:
                keys = text_of(request.identifier)
                for row in self.matching(keys):
                    charset = str(keys.get("SpecificCharacterSet") or "")
                    yield int(Status.PENDING), encode_answer(row, request.transfer_syntax, charset)
            except (DicoreError, ValueError) as error:
                raise refuse(Status.DATA_SET_DOES_NOT_MATCH, str(error)) from None

        steps = stepped(answers, pool)
        try:
            async for answer in steps:
                yield answer
        finally:
            await steps.aclose()


def load(path: str) -> Dataset:
    """An item from a file: Part 10, or DICOM JSON where the name ends so. Raises DicoreError, OSError, ValueError."""
    if path.lower().endswith(".json"):
        with open(path, encoding="utf-8") as file:
            return from_json(file.read())
    return read(path)


def _load(path: str) -> dict[str, Any] | None:
    try:
        return text_of(load(path))
    except (DicoreError, OSError, ValueError) as error:
        _log.warning("%s is no worklist item: %s", path, error)
        return None


def _matches(keys: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    for name, key in keys.items():
        if name in _SAID or not key:
            continue
        tag = keyword_to_tag(name)
        vr = (tag_vr(tag) if tag is not None else None) or "UN"
        if not match.matches(vr, key, item.get(name, [] if vr == "SQ" else "")):
            return False
    return True


def _returned(keys: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, key in keys.items():
        if name in _SAID:
            continue
        value = item.get(name, [] if isinstance(key, list) else "")
        if isinstance(key, list) and key and isinstance(value, list):
            rows = [one for one in value if _matches(key[0], one)]
            value = [_returned(key[0], one) if key[0] else one for one in rows]
        found[name] = value
    return found
