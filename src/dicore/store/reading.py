"""Records by `pread`, for whoever sends them on: a bad sector is an error of one read, not a SIGBUS."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from dicore._native import store as native
from dicore.errors import StoreCorrupt, StoreError
from dicore.store import files, source

if TYPE_CHECKING:
    from dicore.store.store import Store

__all__ = ["Place", "Reader"]

KEPT = 64  # segments that are kept open
_GUESS = 1 << 18  # bytes of the first read: most records are shorter
_META = 4096


class Place(NamedTuple):
    """Where the Part 10 file of an instance stands: `size` bytes from `offset` of the file `path`."""

    path: str
    offset: int
    size: int


class Reader:
    """Reads records of a store. Thread-safe. What it has given is a copy and stays as it is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._open: OrderedDict[int, native.Segment] = OrderedDict()

    def _segment(self, number: int) -> native.Segment:
        """An open segment; it is closed when nobody has it any more."""
        with self._lock:
            found = self._open.get(number)
            if found is None:
                self._open[number] = found = native.Segment(self._store._folder, number)
                while len(self._open) > KEPT:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(number)
            return found

    def read(self, sop_instance_uid: str, size: int = _GUESS, into: memoryview | None = None) -> memoryview:
        """The Part 10 file of an instance, checked against its CRC. `size`: bytes of its record, where that is known;
        `into`: where to put it, when it is long enough. KeyError when it is not stored, StoreCorrupt when it is
        damaged, OSError when the disk does not give it."""
        segment, offset, head, size, _ = self._find(sop_instance_uid, max(size, _META), into)
        whole = native.RECORD_HEADER + size + 4
        whole += -whole % native.RECORD_UNIT
        if len(head) < whole:
            head = memoryview(bytes(head) + _pread(segment.fileno(), whole - len(head), offset + len(head)))
        try:
            native.check_record(head, segment.nonce, offset, True)
        except StoreCorrupt as error:
            error.segment, error.offset = files.segment_name(segment.id), offset
            raise
        return head[native.RECORD_HEADER : native.RECORD_HEADER + size].toreadonly()

    def locate(self, sop_instance_uid: str) -> tuple[native.Segment, int]:
        """The open segment and the offset of its record, unread; the segment can be read as long as it is held,
        whatever a compaction does. KeyError when it is not stored, StoreError when its segment is gone."""
        for _ in range(8):
            for number, offset in self._store._native.find(sop_instance_uid):
                with contextlib.suppress(FileNotFoundError):
                    return self._segment(number), offset
                break
            else:
                raise KeyError(sop_instance_uid)
            self._store.refresh()
        raise StoreError(f"{sop_instance_uid}: its segment is gone")

    def place(self, sop_instance_uid: str) -> Place:
        """Where it stands, for what is too long to be read at once. Its CRC is not checked. Raises as `read` does."""
        segment, offset, _, size, _ = self._find(sop_instance_uid, _META)
        path = self._store.path / "segments" / files.segment_name(segment.id)
        return Place(os.fspath(path), offset + native.RECORD_HEADER, size)

    def _find(
        self, uid: str, guess: int, into: memoryview | None = None
    ) -> tuple[native.Segment, int, memoryview, int, int]:
        wanted = uid.rstrip("\0 ")
        for _ in range(8):  # a compaction may move it while it is looked up
            try:
                for number, offset in self._store._native.find(wanted):
                    segment = self._segment(number)
                    if into is not None and len(into) >= guess:
                        head = into[: os.preadv(segment.fileno(), [into[:guess]], offset)]
                    else:
                        head = memoryview(_pread(segment.fileno(), guess, offset))
                    try:
                        size, start, _, _, _ = native.check_record(head, segment.nonce, offset, False)
                    except StoreCorrupt as error:
                        error.segment, error.offset = files.segment_name(number), offset
                        raise
                    beginning = head[native.RECORD_HEADER : native.RECORD_HEADER + start]
                    if source.uid_of(beginning) == wanted:
                        return segment, offset, head, size, start
            except FileNotFoundError:
                self._store.refresh()
                continue
            raise KeyError(uid)
        raise StoreError(f"{uid}: its segment is gone")


def _pread(file: int, size: int, offset: int) -> bytes:
    """`size` bytes, or what is there before the end of the file."""
    data = os.pread(file, size, offset)
    while len(data) < size:
        more = os.pread(file, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
