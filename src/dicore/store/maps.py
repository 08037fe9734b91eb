"""Read-only maps of segments. A map lives as long as any view of it: nothing is ever closed under somebody's array."""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict

from dicore._native import store as native
from dicore.errors import StoreCorrupt
from dicore.store import files

KEPT = 64  # maps that are kept without a view on them


class Maps:
    """Segment number -> (map, nonce), the most recently used ones. Thread-safe."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[memoryview, int]] = OrderedDict()

    def get(self, segment: int) -> tuple[memoryview, int]:
        """The whole segment as a read-only memoryview over its map, and its nonce."""
        with self._lock:
            if segment in self._kept:
                self._kept.move_to_end(segment)
                return self._kept[segment]
            opened = native.Segment(self._folder, segment)
            try:
                view = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
                self._kept[segment] = view, opened.nonce
            finally:
                opened.close()
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[segment]

    def record(
        self, segment: int, offset: int, *, whole: bool = True, within: tuple[memoryview, int] | None = None
    ) -> tuple[memoryview, int, int, int]:
        """(Part 10 file, data set offset in it, flags, received) of the record at that place, a view of the map. The
        bytes are checked against their CRC with `whole`, else only the header. `within`: the map, when it is at hand.
        StoreCorrupt when they are damaged."""
        view, nonce = within or self.get(segment)
        if offset + native.RECORD_HEADER > len(view):
            raise StoreCorrupt(
                "the segment ends before this record", segment=files.segment_name(segment), offset=offset
            )
        try:
            size, data_offset, flags, received, _ = native.check_record(view[offset:], nonce, offset, whole)
        except StoreCorrupt as error:
            error.segment, error.offset = files.segment_name(segment), offset
            raise
        start = offset + native.RECORD_HEADER
        if start + size > len(view):
            raise StoreCorrupt(
                "the segment ends within this record", segment=files.segment_name(segment), offset=offset
            )
        return view[start : start + size], data_offset, flags, received

    def forget(self, segment: int) -> None:
        """The segment is gone, or another stands under its number."""
        with self._lock:
            self._kept.pop(segment, None)

    def drop(self) -> None:
        with self._lock:
            self._kept.clear()
