"""Giving the space of deleted and replaced instances back.

What still counts of some sealed segments is copied to a new one, every byte checked; the new segment is synced, then it
gets its name, then the records are looked up there, then the old segments are unlinked. A process that dies in between
leaves records in two places, which is one record to every reader: docs/store-format.md, "Records of one UID".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dicore._native import store as native
from dicore.errors import StoreCorrupt, StoreError
from dicore.store import files

if TYPE_CHECKING:
    from dicore.store.store import Store

log = logging.getLogger("dicore.store")

CHUNK = 4 << 20  # bytes that are copied before the rate is looked at
PAGE = 4096
PASSES = 4  # tombstones are dropped once nothing is left that they are needed for


@dataclass
class CompactReport:
    """What `compact` did: segments removed and made, bytes of records copied, bytes of disk given back. `kept`:
    segments
    that were left alone though they hold dead records, with the reason."""

    removed: int = 0
    made: int = 0
    copied: int = 0
    freed: int = 0
    kept: list[tuple[str, str]] = field(default_factory=list)


class Census(NamedTuple):
    """What a sealed segment holds."""

    number: int
    nonce: int
    entries: bytes  # all records
    wanted: bytes  # those that count, and the tombstones that are still needed
    live: int  # bytes of `wanted`
    used: int  # bytes up to the end of the last record
    single: bool


@contextlib.contextmanager
def alone(store: Store) -> Iterator[None]:
    """Only one process compacts or copies whole segments at a time. StoreError when another does."""
    file = os.open(store.path / "maintenance.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{store.path}: a compaction or a backup is under way already; wait for it") from None
        yield
    finally:
        os.close(file)


def _all_read(segment: native.Segment) -> None:
    """A record that was not seen would count as none, and be left behind."""
    if segment.unread:
        raise OSError(errno.EIO, f"{segment.unread} reads failed", files.segment_name(segment.id))


def census(store: Store) -> list[Census]:
    """All sealed segments of the store."""
    open_ones = set(store._native.extents())
    found: list[tuple[int, int, bool, bytes, int]] = []
    for number in sorted(set(store._extents) - open_ones - store._foreign):
        try:
            segment = native.Segment(store._folder, number)
        except (FileNotFoundError, StoreCorrupt):
            continue
        try:
            sidecar = files.read_sidecar(store._folder, number)
            if sidecar is not None and sidecar.nonce == segment.nonce:
                entries, end = sidecar.entries, sidecar.end
            else:  # a lane, or the disk was too full for a sidecar
                limit = None if segment.single else store._extents.get(number)
                entries, damage, end, _, _ = segment.scan(limit=limit, check_from=1 << 62)
                _all_read(segment)
                if damage:
                    store._damaged.add(number)
            found.append((number, segment.nonce, segment.single, entries, end))
        finally:
            segment.close()
    return [_count(store, item, found) for item in found]


def _count(
    store: Store, item: tuple[int, int, bool, bytes, int], everything: list[tuple[int, int, bool, bytes, int]]
) -> Census:
    number, nonce, single, entries, end = item
    standing = store._native.standing(number, entries)
    size = files.ENTRY.size
    tombs: dict[bytes, int] = {}
    for i, what in enumerate(standing):
        if what == native.TOMBSTONE:
            digest, received, *_ = files.ENTRY.unpack_from(entries, i * size)
            tombs[digest] = received
    needed = _needed(store, number, tombs, everything)
    wanted = bytearray()
    live = 0
    for i, what in enumerate(standing):
        entry = entries[i * size : (i + 1) * size]
        if what == native.LIVE or (what == native.TOMBSTONE and entry[:16] in needed):
            wanted += entry
            live += files.ENTRY.unpack(entry)[3] * native.RECORD_UNIT
    return Census(number, nonce, entries, bytes(wanted), live, end - native.SEGMENT_HEADER, single)


def _needed(
    store: Store, number: int, tombs: dict[bytes, int], everything: list[tuple[int, int, bool, bytes, int]]
) -> set[bytes]:
    """The tombstones of a segment without which an older record in another segment would count again."""
    if not tombs or store._foreign:  # what another process writes right now cannot be told
        return set(tombs)
    needed = set()
    open_ones = {n: native.Segment(store._folder, n) for n in store._native.extents()}
    try:
        scanned = []
        for n, segment in open_ones.items():
            scanned.append(segment.scan(limit=store._native.extents().get(n, segment.size), check_from=1 << 62)[0])
            _all_read(segment)
    finally:
        for segment in open_ones.values():
            segment.close()
    for entries in [entries for other, _, _, entries, _ in everything if other != number] + scanned:
        for digest, received, _, _, _, flags in files.ENTRY.iter_unpack(entries):
            if digest in tombs and received < tombs[digest] and not flags & native.DELETED:
                needed.add(digest)
    return needed


def compact(
    store: Store,
    *,
    dead: float = 0.02,
    rate: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> CompactReport:
    report = CompactReport()
    with alone(store):
        store.refresh()
        store.roll()
        store._sync_index_if_possible()  # what is deleted is forgotten there before its tombstone may go
        pace = _Pace(rate)
        for again in range(PASSES):
            if not _pass(store, report, dead, pace, progress, join=not again):
                break
    return report


def _pass(
    store: Store,
    report: CompactReport,
    dead: float,
    pace: _Pace,
    progress: Callable[[int, int], object] | None,
    *,
    join: bool,
) -> bool:
    """Once over all segments; whether anything was removed, so that tombstones may not be needed any more."""
    before, report.kept = report.removed, []
    counted = census(store)
    victims: list[Census] = []
    for c in counted:
        if c.number in store._damaged:
            if c.live < c.used:
                report.kept.append((files.segment_name(c.number), "it holds damage: see verify"))
        elif not c.wanted:
            _unlink(store, [c], report)
        elif not c.single and c.used - c.live > dead * c.used:
            victims.append(c)
    small = [
        c
        for c in counted
        if c not in victims
        and c.wanted
        and not c.single
        and c.number not in store._damaged
        and c.used < store._segment_size // 4
    ]
    if join and len(small) + bool(victims) > 1:
        victims += small
    done, total = 0, sum(c.live for c in victims)
    for batch in _batches(victims, store._segment_size - native.SEGMENT_HEADER):
        done += _rewrite(store, batch, report, pace, progress and (lambda n, done=done: progress(done + n, total)))
    return report.removed > before


def _batches(victims: list[Census], room: int) -> Iterator[list[Census]]:
    """Fullest use of a segment; those with the least to copy first, so that space comes back before much is taken."""
    batch: list[Census] = []
    for c in sorted(victims, key=lambda c: (c.live, c.number)):
        if batch and sum(b.live for b in batch) + c.live > room:
            yield batch
            batch = []
        batch.append(c)
    if batch:
        yield batch


class _Pace:
    """No more than so many bytes a second."""

    def __init__(self, rate: float | None) -> None:
        self._rate, self._start, self._bytes = rate, time.monotonic(), 0

    def step(self, size: int) -> None:
        self._bytes += size
        if self._rate:
            ahead = self._bytes / self._rate - (time.monotonic() - self._start)
            if ahead > 0:
                time.sleep(ahead)


def _rewrite(
    store: Store, batch: list[Census], report: CompactReport, pace: _Pace, progress: Callable[[int], object] | None
) -> int:
    """One new segment in place of some old ones; returns the bytes copied."""
    size = native.SEGMENT_HEADER + sum(c.live for c in batch)
    size = max(1 << 20, (size + PAGE - 1) // PAGE * PAGE)
    nonce = random.SystemRandom().getrandbits(64)
    temporary = f".{nonce:016x}.new"
    file = _create(store, temporary)
    try:
        try:
            _allocate(file, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            os.close(file)
            os.unlink(temporary, dir_fd=store._folder)
            file = -1
            if len(batch) > 1:  # less at a time
                middle = len(batch) // 2
                return _rewrite(store, batch[:middle], report, pace, progress) + _rewrite(
                    store, batch[middle:], report, pace, progress
                )
            report.kept.append((files.segment_name(batch[0].number), f"no room for a copy of {batch[0].live} bytes"))
            return 0
        moves, end = [], native.SEGMENT_HEADER
        copied = 0
        for c in batch:
            try:
                copies = bytearray()
                start = end
                source = native.Segment(store._folder, c.number)
                try:
                    for chunk, weight in _chunks(c.wanted):
                        packed, end = source.copy(chunk, file, nonce, end)
                        copies += packed
                        copied += weight
                        pace.step(weight)
                        if progress is not None:
                            progress(copied)
                finally:
                    source.close()
                moves.append((c, bytes(copies)))
            except StoreCorrupt as error:  # the evidence stays where it is, and the records behind it too
                os.pwrite(file, bytes(end - start), start) if end > start else None
                end = start
                store._damaged.add(c.number)
                report.kept.append((files.segment_name(c.number), str(error)))
        if not moves:
            os.unlink(temporary, dir_fd=store._folder)
            return 0
        store._fails("compact-copied")
        os.ftruncate(file, size)
        os.fsync(file)
        store._fails("compact-synced")
        number = _name(store, file, temporary, nonce, size)
        store._fails("compact-named")
        entries = b"".join(packed for _, packed in moves)
        files.write_sidecar(store._folder, number, nonce, end, entries)
        store._extents[number] = end
        for c, packed in moves:
            store._native.moved(c.number, c.wanted, number, packed)
        store._index.moved([(c.number, c.wanted, packed) for c, packed in moves], number, nonce, end)
        store._fails("compact-moved")
        report.made += 1
        report.copied += end - native.SEGMENT_HEADER
        report.freed -= os.fstat(file).st_blocks * 512
        _unlink(store, [c for c, _ in moves], report)
        return copied
    finally:
        if file >= 0:
            os.close(file)


def _create(store: Store, name: str) -> int:
    """A new file under its lock: whoever clears away what dead processes left may take it for such before it is
    locked."""
    while True:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=store._folder)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)


def _allocate(file: int, size: int) -> None:
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(file, size)


def _chunks(entries: bytes) -> Iterator[tuple[bytes, int]]:
    """Packed entries in pieces of about CHUNK bytes of records, and how many those are."""
    start, weight, size = 0, 0, files.ENTRY.size
    for at in range(0, len(entries), size):
        weight += files.ENTRY.unpack_from(entries, at)[3] * native.RECORD_UNIT
        if weight >= CHUNK:
            yield entries[start : at + size], weight
            start, weight = at + size, 0
    if weight:
        yield entries[start:], weight


def _name(store: Store, file: int, temporary: str, nonce: int, size: int) -> int:
    """Give the file the next free number; durable when this returns."""
    number = max([*files.segments(store._folder), store._native.counters()["segment"]], default=0)
    while True:
        number += 1
        os.pwrite(file, native.segment_header(number, nonce, time.time_ns() // 1000, size), 0)
        os.fsync(file)
        try:
            os.link(temporary, files.segment_name(number), src_dir_fd=store._folder, dst_dir_fd=store._folder)
        except FileExistsError:
            continue
        os.unlink(temporary, dir_fd=store._folder)
        os.fsync(store._folder)
        return number


def _unlink(store: Store, gone: list[Census], report: CompactReport) -> None:
    for c in gone:
        with contextlib.suppress(FileNotFoundError):
            report.freed += os.stat(files.segment_name(c.number), dir_fd=store._folder).st_blocks * 512
        store._discard(c.number)
        report.removed += 1
        store._fails("compact-unlinked")
    os.fsync(store._folder)
