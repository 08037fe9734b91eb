"""`Store`: append, look up, find, verify, rebuild, export. The writer itself is C (`_native.store`), told here what to
do."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from dicore._native import store as native
from dicore.errors import DicoreError, DuplicateInstance, StoreCorrupt, StoreError, StoreFull
from dicore.store import backup, compaction, correction, files, query, source
from dicore.store.compaction import CompactReport
from dicore.store.correction import CorrectReport, Reason
from dicore.store.index import Index
from dicore.store.maps import Maps
from dicore.store.match import Fold
from dicore.uid import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from dicore.dataset import Dataset

log = logging.getLogger("dicore.store")

# Bytes zero-filled ahead of the writer while nothing arrives: on the disk where each commit waits for it, else in the
# page cache, where a study that comes then finds memory the machine has at hand (docs/store-format.md).
FILL_AHEAD = {"durable": 512 << 20, "relaxed": 256 << 20}
CHECKED_AT_READ = 64 << 20  # records up to this size are checked against their CRC whenever they are looked up
RESERVE = 2 << 20  # bytes kept back so that something can be deleted when the disk is full
LOOKS_AGAIN = (0.05, 0.1, 0.3)  # seconds after which what looks damaged where somebody writes is read again
LANE_FROM = 8 << 20  # data sets beyond this go to a segment of their own
SAFE_UID = re.compile(r"[0-9.]{1,64}")

Done = Callable[[list[tuple[Any, Exception | None]]], object]
Durability = Literal["durable", "relaxed"]
Duplicates = Literal["keep-first", "replace", "keep-both", "reject"]
DUPLICATES = {
    "keep-first": native.KEEP_FIRST, "replace": native.REPLACE, "keep-both": native.KEEP_BOTH, "reject": native.REJECT,
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Something in a segment that is not as it was written."""

    segment: str  # file name
    offset: int
    size: int  # bytes concerned
    uid: str  # SOP Instance UID where it can be told, else ""
    message: str

    def __str__(self) -> str:
        who = f" ({self.uid})" if self.uid else ""
        return f"{self.segment}, byte {self.offset}{who}: {self.message}"


@dataclass
class VerifyReport:
    """What `verify` found. `ok` when every record is whole; `instances` whole ones in `bytes` bytes of records. `dead`
    records were replaced or deleted, or say that something is; they wait for `compact`."""

    ok: bool = True
    instances: int = 0
    bytes: int = 0
    dead: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass
class AddReport:
    """What `add` did: instances stored, duplicates met, and (path, reason) for what could not be stored."""

    added: int = 0
    duplicates: int = 0
    bytes: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)


class Lane:
    """A large instance on its way into a segment of its own, from `Store.lane`. Not thread-safe."""

    def __init__(self, store: Store, lane: native.NativeLane, uid: str) -> None:
        self._store, self._lane, self._uid = store, lane, uid

    def write(self, pieces: Sequence[Buffer]) -> None:
        """Append to the data set. Raises StoreFull or StoreError; the lane has ended then."""
        self._lane.write(pieces)

    def commit(self, done: Done | None = None, token: Any = None) -> bool:
        """Make it durable and part of the store. With `done` the syncs happen in another thread, which then calls
        `done([(token, error or None)])`: returns False. Without it blocks, returns True, raises what went wrong."""
        if done is None:
            self._commit()
            return True
        self._store._lanes.submit(self._commit_later, done, token)
        return False

    def _commit(self) -> None:
        outcome = self._lane.commit()
        if outcome == native.CONFLICT:
            raise DuplicateInstance(f"{self._uid} is stored already, with other bytes")
        if outcome == native.STORED:
            self._store._adopt_lane(self._lane.segment)

    def _commit_later(self, done: Done, token: Any) -> None:
        error: Exception | None = None
        try:
            self._commit()
        except Exception as caught:
            error = caught
        try:
            done([(token, error)])
        except Exception:
            log.exception("a `done` callback failed")

    def abort(self) -> None:
        """Forget it; allowed at any time, also twice."""
        self._lane.abort()


class Store(Mapping[str, "Dataset"]):
    """A folder of instances: `segments/` (the truth) and `index.sqlite` (made from it). A mapping of SOP Instance UID
    to
    Dataset.

    `durability`: "durable" acknowledges after a sync, shared by all who wait; "relaxed" at once, synced about a second
    later. `duplicates` decides about other bytes under a stored SOP Instance UID (identical ones always succeed
    without a second copy): "keep-first" drops the new ones and reports success, "replace" puts them in place of the
    stored ones, "keep-both" stores them beside (look-up gives the first), "reject" raises DuplicateInstance. `index`:
    the
    address of a PostgreSQL database for the index instead of the file. `extra_keys`: keywords by level that the index
    has
    as well, {"STUDY": ["InstitutionName"]}; kept in keys.json, another set makes the index anew. Opening
    repairs what a crash left: `recovered` says what was found. Thread-safe. Raises StoreError, OSError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "durable",
        segment_size: int = 1 << 30,
        duplicates: Duplicates = "keep-first",
        read_only: bool = False,
        index: str | None = None,
        extra_keys: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if durability not in ("durable", "relaxed"):
            raise ValueError(f"durability {durability!r}: durable or relaxed")
        if duplicates not in DUPLICATES:
            raise ValueError(f"duplicates {duplicates!r}: {', '.join(DUPLICATES)}")
        if not 1 << 20 <= segment_size <= 1 << 38:
            raise ValueError(f"segment_size {segment_size}: from 1 MiB to 256 GiB")
        self.path = Path(path)
        self.durability, self.duplicates, self.read_only = durability, duplicates, read_only
        self.recovered: list[Problem] = []
        self._segment_size = segment_size
        self._foreign: set[int] = set()  # segments that another process writes, or may write, to
        self._sealing = threading.Condition()  # a segment was sealed
        self._refreshing = threading.Lock()
        self._damaged: set[int] = set()  # segments in which opening found something amiss
        self._nonces: dict[int, int] = {}  # of segments that were loaded: a number may be taken again
        self._stamp = 0  # when the folder was last changed, at the last refresh
        self._extents: dict[int, int] = {}  # sealed and foreign segments: how far they may be read
        self._closed = False
        self._close_lock = threading.Lock()
        self._folder = _open_folder(self.path, read_only)
        self._failpoint = _failpoint_name()
        failpoint, countdown = native.FAILPOINTS.get(self._failpoint[0], 0), self._failpoint[1]
        try:
            self._native = native.Native(
                self._folder,
                segment_size=segment_size,
                fill_ahead=FILL_AHEAD[durability],
                durability=_means(durability),
                duplicates=DUPLICATES[duplicates],
                read_only=read_only,
                failpoint=failpoint,
                failpoint_countdown=countdown,
                implementation=IMPLEMENTATION_CLASS,
                version_name=IMPLEMENTATION_VERSION,
            )
            self._maps = Maps(self._folder)
            self._load()
            self._drop_dead()
            if not read_only:
                self._keep_reserve()
            self._index = Index(
                index or self.path / "index.sqlite", self, read_only=read_only, extra=self._extra_keys(extra_keys)
            )
        except BaseException:
            os.close(self._folder)
            raise
        self._append, self._note_append = self._native.append, self._index.note_append
        self._lanes = ThreadPoolExecutor(2, thread_name_prefix="dicore-lane")
        self._threads: list[threading.Thread] = []
        if not read_only:
            for name, loop in (("dicore-commit", self._commit_loop), ("dicore-background", self._background)):
                thread = threading.Thread(target=loop, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)
            try:
                correction.resume(self)
            except (StoreError, OSError) as error:  # what is there can be used all the same
                log.warning("a correction is still not finished: %s", error)

    def _extra_keys(self, given: Mapping[str, Sequence[str]] | None) -> Mapping[str, Sequence[str]]:
        """The keys that the index has beyond its own: as given, else as they were given last."""
        file = self.path / "keys.json"
        if given is None:
            with contextlib.suppress(FileNotFoundError, ValueError):
                found: Mapping[str, Sequence[str]] = json.loads(file.read_text())
                return found
            return {}
        if not self.read_only:
            file.write_text(json.dumps({level: list(names) for level, names in given.items()}))
        return given

    # ---- opening -----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Make every record known, repair what a crash left, and choose the segment to go on with."""
        if not self.read_only:
            _remove_leftovers(self._folder)
        mine: list[tuple[native.Segment, int]] = []
        for number in files.segments(self._folder):
            try:
                self._load_segment(number, mine)
            except StoreCorrupt as error:
                self._report(
                    Problem(files.segment_name(number), error.offset or 0, 0, "", f"not a readable segment: {error}")
                )
        # go on with the last one that has records and room; others with records are finished; one without is the spare
        started = [item for item in mine if item[1] > native.SEGMENT_HEADER]
        current = next((item for item in reversed(started) if item[0].size - item[1] >= 1 << 16), None)
        for segment, end in started:
            if (segment, end) != current:
                self._seal_if_possible(segment.id, segment.nonce, end)
                segment.close()
        empty = [item for item in mine if item[1] == native.SEGMENT_HEADER]
        for segment, end in ([current] if current else []) + empty:
            number, nonce = segment.id, segment.nonce
            try:
                if not self._native.resume(segment, end):
                    files.remove(self._folder, number, "seg", "mark")
                self._extents.pop(number, None)
            except OSError as error:  # no room: what is there is read, what comes finds its own place, or is told
                log.warning("%s: not continued: %s", files.segment_name(number), error)
                self._seal_if_possible(number, nonce, end)

    def _load_segment(self, number: int, mine: list[tuple[native.Segment, int]] | None) -> None:
        """Make the records of a segment known. With `mine` it is taken to be written when nobody else does."""
        name = files.segment_name(number)
        segment = native.Segment(self._folder, number)
        nonce, size = segment.nonce, os.fstat(segment.fileno()).st_size
        self._nonces[number] = nonce
        self._foreign.discard(number)
        sidecar = files.read_sidecar(self._folder, number)
        if sidecar and sidecar.nonce == nonce:
            segment.close()
            if sidecar.end > size:
                self._report(
                    Problem(name, size, sidecar.end - size, "", "the file was cut: records behind this byte are gone")
                )
            self._native.load(number, sidecar.entries)
            self._extents[number] = min(sidecar.end, size)
            return
        writable = locked = False
        if mine is not None and not self.read_only and not segment.single:
            taken = native.Segment(self._folder, number, writable=True)
            locked = taken.locked  # another process writes to it
            writable = not locked
            segment, unwanted = (taken, segment) if writable else (segment, taken)
            unwanted.close()
        mark = files.read_mark(self._folder, number)
        unmarked = mark is None or mark.nonce != nonce
        if mark is None or unmarked:
            mark = files.Mark(nonce, 0, False)
        whole = size >= segment.size
        if segment.single:  # one record, complete before the file had its name
            found = segment.scan(expected=segment.size, check_from=segment.size)
        elif mark.clean and whole:
            found = segment.scan(limit=mark.end, expected=mark.end, check_from=mark.end)
        else:
            found = segment.scan(expected=mark.end, check_from=mark.end)
            if not writable:
                self._foreign.add(number)
                found = _settled(segment, found, expected=mark.end, check_from=mark.end)
        entries, damage, end, synced, dirty = found
        durable = max(mark.end, synced) if not segment.single else segment.size
        if locked and any(offset + length > durable for _, offset, length, _ in damage):
            # what is not yet known to be durable there is on its way: the next look sees more
            end = min(offset for _, offset, length, _ in damage if offset + length > durable)
            size_of = files.ENTRY.size
            entries = b"".join(
                entries[at : at + size_of]
                for at in range(0, len(entries), size_of)
                if files.ENTRY.unpack_from(entries, at)[2] * native.RECORD_UNIT < end
            )
            damage = [what for what in damage if what[1] < end]
        self._native.load(number, entries)
        self._extents[number] = end
        lost_behind = False
        for kind, offset, length, digest in damage:
            if offset < min(end, size) or offset < durable:
                lost_behind |= offset >= end
                self._report(self._damage(number, kind, offset, length, digest))
            elif writable and segment.unread:
                self._report(Problem(name, offset, length, self._uid_at(number, offset, digest), "could not be read"))
            elif writable:
                message = "not whole: a crash cut its write short before it was acknowledged, as far as can be told"
                self._report(Problem(name, offset, length, self._uid_at(number, offset, digest), message))
        if not writable:
            segment.close()
            return
        if segment.unread:  # what is there is not known: it is neither repaired nor sealed nor continued
            log.warning("%s: %d reads failed: nothing is written there", name, segment.unread)
            self._damaged.add(number)
            segment.close()
            return
        if lost_behind or not whole:  # leave the evidence alone: this segment is not written again
            self._seal_if_possible(number, nonce, end, known=durable)
            segment.close()
            return
        if dirty:
            segment.repair()
            self._fails("repaired")
            log.warning("%s: bytes behind byte %d were left by a crash and are zeros now", name, end)
        # what says how far the segment reaches is about to be untrue; what cannot be read now may be read next time
        self._fails("mark-removing")
        if files.remove(self._folder, number, "idx", "mark" if mark.clean or unmarked else ""):
            os.fsync(self._folder)
        if mine is not None:
            mine.append((segment, end))

    def _drop_dead(self) -> None:
        """Segments that hold nothing that counts, nor a tombstone: a compaction was cut short before it unlinked
        them."""
        for number in sorted(set(self._extents) - self._damaged - self._foreign):
            sidecar = files.read_sidecar(self._folder, number)
            if sidecar is None or not sidecar.entries or any(self._native.standing(number, sidecar.entries)):
                continue
            self._extents.pop(number)
            if not self.read_only:
                files.remove(self._folder, number, "idx", "mark", "seg")
                log.info("%s: nothing in it counts any more: removed", files.segment_name(number))

    def _keep_reserve(self) -> None:
        """Space that `delete` can take when there is no other."""
        with contextlib.suppress(OSError):
            file = os.open(self.path / "reserve", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if os.fstat(file).st_size < RESERVE:
                    os.posix_fallocate(file, 0, RESERVE)
            except OSError:
                os.unlink(self.path / "reserve")
            finally:
                os.close(file)

    def _fails(self, point: str) -> None:
        """For tests: die here, the n-th time."""
        name, left = self._failpoint
        if name == point:
            self._failpoint = name, left - 1
            if left == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    def refresh(self) -> None:
        """Take notice of what other processes have done to the store: segments that they have made, gone on with, or
        removed after compacting. Look-ups do it by themselves when they meet a removed segment, `find` on a store
        that was
        opened read-only."""
        self._alive()
        with self._refreshing:
            # in this order: what we make ourselves meanwhile is known, and is neither foreign nor gone
            stamp = os.fstat(self._folder).st_mtime_ns
            there = set(files.segments(self._folder))
            own = self._native.extents()
            known = {*self._extents, *own}
            gone = {number for number in known - there if not files.exists(self._folder, number)}  # not: made since
            if stamp != self._stamp:
                gone |= {number for number in known & there - own.keys() if self._is_another(number)}
            self._stamp = stamp
            known -= gone
            for number in sorted(gone):
                self._extents.pop(number, None)
                self._nonces.pop(number, None)
                self._foreign.discard(number)
                self._maps.forget(number)
                self._native.forget(number)
                if self.read_only:  # who removed it has seen to the index that all share, and not to this copy
                    self._index.dropped(number)
            for number in sorted((there - known) | (self._foreign & there)):
                before = self._extents.get(number, 0)
                try:
                    if number in self._foreign and not self._has_more(number, before):
                        continue
                    self._load_segment(number, None)
                except (FileNotFoundError, StoreCorrupt) as error:
                    log.debug("%s: %s", files.segment_name(number), error)
                    continue
                if self._extents.get(number, 0) > before:
                    self._note_append()

    def _is_another(self, number: int) -> bool:
        """Was the segment removed since it was loaded, and its number taken again?"""
        if number not in self._nonces:
            return False
        try:
            segment = native.Segment(self._folder, number)
        except (FileNotFoundError, StoreCorrupt):
            return False
        try:
            return bool(segment.nonce != self._nonces[number])
        finally:
            segment.close()

    def _has_more(self, number: int, end: int) -> bool:
        if files.read_sidecar(self._folder, number) is not None:
            return True
        segment = native.Segment(self._folder, number)
        try:
            return bool(segment.scan(start=end, most=1, check_from=1 << 62)[0])
        finally:
            segment.close()

    def _report(self, problem: Problem) -> None:
        self.recovered.append(problem)
        self._damaged.add(int(problem.segment.partition(".")[0]))
        log.warning("%s", problem)

    def _uid_at(self, number: int, offset: int, digest: bytes | None) -> str:
        """The SOP Instance UID of a damaged record, if its file meta can still be read; else its hash, or nothing."""
        try:
            view, _ = self._maps.get(number)
            uid = source.uid_of(view[offset + native.RECORD_HEADER : offset + native.RECORD_HEADER + 1024])
        except (StoreError, OSError, ValueError):
            uid = ""
        if digest is None:
            return ""
        return uid if uid and native.uid_hash(uid) == digest else f"UID hash {digest.hex()}"

    def _damage(self, number: int, kind: int, offset: int, size: int, digest: bytes | None) -> Problem:
        message = (
            "the bytes of this record are damaged"
            if kind == native.DAMAGED
            else f"no record can be read in {size} bytes"
        )
        return Problem(files.segment_name(number), offset, size, self._uid_at(number, offset, digest), message)

    # ---- the loops ---------------------------------------------------------------------------------------------------

    def _commit_loop(self) -> None:
        commit = self._native.commit
        while (groups := commit()) is not None:
            for done, results in groups:
                try:
                    done(results)
                except Exception:
                    log.exception("a `done` callback failed")

    def _background(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        except OSError:
            log.debug("the background thread keeps its priority")
        while (task := self._native.work()) is not None:
            kind, segment, nonce, end = task
            try:
                if kind == native.TASK_MARK:
                    files.write_mark(self._folder, segment, nonce, end, clean=False)
                else:
                    self._seal(segment, nonce, end)
            except (OSError, StoreError) as error:  # the next opening reads the segment instead
                log.warning("%s: no sidecar: %s", files.segment_name(segment), error)
            finally:
                if kind == native.TASK_SEAL:
                    self._extents.setdefault(segment, end)
                    self._native.sealed(segment)
                    with self._sealing:
                        self._sealing.notify_all()

    def _seal(self, number: int, nonce: int, end: int, *, known: int = 0) -> None:
        """Write the sidecar of a segment that gets no more records. `known`: records reached that far, even if they
        are gone."""
        if max(end, known) <= native.SEGMENT_HEADER:
            files.remove(self._folder, number, "seg", "mark")
            self._extents.pop(number, None)
            return
        segment = native.Segment(self._folder, number)
        try:
            entries, _, end, _, _ = segment.scan(limit=end, check_from=end)
            if segment.unread:
                raise OSError(errno.EIO, f"{segment.unread} reads failed", files.segment_name(number))
        finally:
            segment.close()
        end = max(end, known)
        self._fails("seal-begun")
        files.write_sidecar(self._folder, number, nonce, end, entries)
        self._fails("seal-named")
        files.remove(self._folder, number, "mark")
        self._extents[number] = end

    def _seal_if_possible(self, number: int, nonce: int, end: int, *, known: int = 0) -> None:
        """Without a sidecar the next opening reads the segment instead."""
        try:
            self._seal(number, nonce, end, known=known)
        except OSError as error:
            log.warning("%s: no sidecar: %s", files.segment_name(number), error)
            self._extents[number] = max(end, known)

    def _adopt_lane(self, number: int) -> None:
        segment = native.Segment(self._folder, number)
        self._extents[number] = segment.size
        segment.close()
        self._index.note_append()

    def _readable(self) -> dict[int, int]:
        """How far each segment may be read now."""
        return {**self._extents, **self._native.extents()}

    # ---- storing -----------------------------------------------------------------------------------------------------

    def append(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax: str,
        pieces: Sequence[Buffer],
        *,
        source_ae: str = "",
        done: Done | None = None,
        token: Any = None,
    ) -> bool:
        """Store a data set (its bytes as received, in `pieces`) as a Part 10 file, by one gathered write.

        Durable: returns False, and after the sync the commit thread calls `done([(token, error or None), ...])` once
        for all entries of the group with the same `done`; without `done` it blocks until then. Returns True when
        nothing has to be waited for: relaxed, or a duplicate of something durable. The pieces may be reused at once.
        Raises StoreFull, DuplicateInstance, StoreError; then nothing was stored.
        """
        waiter = None
        if done is None:
            waiter = _Waiter()
            done = waiter.done
        outcome = self._append(sop_class_uid, sop_instance_uid, transfer_syntax, pieces, source_ae, done, token)
        self._note_append()
        if outcome == native.WAITS:
            if waiter is None:
                return False
            waiter.wait()
            return True
        if outcome == native.CONFLICT:
            raise DuplicateInstance(f"{sop_instance_uid} is stored already, with other bytes")
        if outcome == 0:  # longer than a segment
            lane = self.lane(sop_class_uid, sop_instance_uid, transfer_syntax, source_ae=source_ae)
            lane.write(pieces)
            return lane.commit(None if waiter else done, token)
        return True

    def lane(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str, *, source_ae: str = "") -> Lane:
        """Begin an instance that is too large to be held in memory: `lane.write(pieces)` as it arrives, then
        `lane.commit()`."""
        return Lane(
            self, self._native.lane(sop_class_uid, sop_instance_uid, transfer_syntax, source_ae), sop_instance_uid
        )

    def add(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        progress: Callable[[int, int], object] | None = None,
    ) -> AddReport:
        """Store files, and what is in folders, recursively. What is no DICOM file, or no instance, is named in the
        report. `progress(files done, bytes done)` is called after each file."""
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        report = AddReport()
        before = self._native.counters()["duplicates"]
        pending = Pending(report)
        for count, path in enumerate(_walk(paths), 1):
            try:
                instance = source.read(path)
            except (DicoreError, OSError, ValueError) as error:
                report.failures.append((path, str(error)))
            else:
                report.bytes += len(instance.data)
                pending.begin()
                try:
                    if self.append(
                        *instance.uids, [instance.data], source_ae=instance.source_ae, done=pending.done, token=path
                    ):
                        pending.done([(path, None)])
                except (DicoreError, OSError) as error:
                    pending.done([(path, error)])
            if progress is not None:
                progress(count, report.bytes)
        pending.wait()
        report.duplicates = self._native.counters()["duplicates"] - before
        report.added -= report.duplicates
        return report

    # ---- finishing a segment -----------------------------------------------------------------------------------------

    def roll(self) -> int:
        """Finish the segment that is written to now and wait until it is sealed; returns its number, 0 when there was
        nothing to finish. What comes next begins a new one."""
        self._alive()
        number = self._native.roll()
        if number:
            with self._sealing:
                self._sealing.wait_for(lambda: number not in self._native.extents(), timeout=60)
        return number

    # ---- the end of instances ----------------------------------------------------------------------------------------

    def delete(
        self,
        *,
        progress: Callable[[int, int], object] | None = None,
        everything: bool = False,
        **keys: str | Sequence[str],
    ) -> int:
        """Delete all instances that match (as `find` at IMAGE level), durably when this returns; how many there were.
        Each gets a tombstone, an instance sent again later is stored again; `compact` gives the space back. Views that
        were handed out stay valid. Without a key that restricts anything only with `everything=True`. Safe to kill:
        what
        is left then can be deleted again. ValueError, StoreFull, StoreError."""
        if not everything and not any(v not in ("", "*") for v in keys.values()):
            raise ValueError("delete needs a key that says what; or everything=True")
        rows = [(row["SOPClassUID"], row["SOPInstanceUID"]) for row in self._matches(keys)]
        return self.delete_instances(rows, progress)

    def listing(self, keys: Mapping[str, str | Sequence[str]]) -> list[tuple[str, str, str, int]]:
        """(SOP Instance UID, SOP Class UID, Transfer Syntax UID, bytes of its record) of the instances that match, as
        `find` at IMAGE level, each UID once, in the order they came in: what a retrieval needs to know."""
        self._sync_index_if_possible()
        return list({one[0]: one for one in self._index.listing(keys)}.values())

    def _matches(self, keys: Mapping[str, str | Sequence[str]]) -> list[dict[str, str]]:
        self._sync_index_if_possible()
        return self._index.find("IMAGE", keys)

    def delete_instances(
        self, instances: Iterable[tuple[str, str]], progress: Callable[[int, int], object] | None = None
    ) -> int:
        """Delete by (SOP Class UID, SOP Instance UID), without asking the index; how many were there."""
        self._writable()
        wanted = list(dict.fromkeys(instances))
        report = AddReport()
        pending = Pending(report)
        gone = 0
        for count, (sop_class, uid) in enumerate(wanted, 1):
            self._fails("delete-half")
            pending.begin()
            try:
                outcome = self._tombstone(sop_class, uid, pending.done)
            except BaseException:
                pending.done([(Path(uid), StoreError("not deleted"))])
                pending.wait()
                raise
            if outcome == native.DUPLICATE:
                pending.done([(Path(uid), None)])
            else:
                gone += 1
                if outcome == native.STORED:
                    pending.done([(Path(uid), None)])
            if progress is not None:
                progress(count, len(wanted))
        pending.wait()
        self._note_append()
        if report.failures:
            raise StoreError(f"{len(report.failures)} instances were not deleted: {report.failures[0][1]}")
        return gone

    def _tombstone(self, sop_class: str, uid: str, done: Done) -> int:
        def append() -> int:
            name, meta = sop_class or "1.2.840.10008.1.3.10", "1.2.840.10008.1.2.1"
            return self._native.append(name, uid, meta, [], "", done, Path(uid), native.DELETED)

        try:
            return append()
        except StoreFull:
            try:
                os.unlink(self.path / "reserve")
            except FileNotFoundError:
                message = "the disk is full, and so is what was kept back for deleting: free some space"
                raise StoreFull(message) from None
            return append()

    # ---- corrections ------------------------------------------------------------------------------------------------

    def correct(
        self,
        changes: Mapping[str, Any],
        *,
        system: str = "DICORE",
        reason: Reason = "CORRECT",
        progress: Callable[[int, int], object] | None = None,
        **keys: str | Sequence[str],
    ) -> CorrectReport:
        """Change attributes (keyword to value) of all instances that match `keys` (as `find` at IMAGE level). Each is a
        new record in place of the old one, with what was there in its Original Attributes Sequence (PS3.3
        C.12.1.1.9); SOP Instance UIDs stay. Durable when this returns. Safe to kill: what was begun is in
        `corrections.jsonl` and is finished when the store is opened again. `compact` drops the old records.
        `progress(instances done, in all)`. ValueError, StoreFull, StoreError."""
        self._writable()
        if not any(v not in ("", "*") for v in keys.values()):
            raise ValueError("correct needs a key that says which instances")
        correction.check(changes)
        instances = [row["SOPInstanceUID"] for row in self._matches(keys)]
        return correction.correct(self, "correct", instances, changes, system=system, reason=reason, progress=progress)

    def merge_patients(
        self, source: str, into: str, *, system: str = "DICORE", progress: Callable[[int, int], object] | None = None
    ) -> CorrectReport:
        """Give all studies of the patient whose ID is `source` to the one with ID `into`, with its ID, issuer, name,
        birth date and sex, as `correct` does. ValueError when either is not there, or is more than one."""
        self._writable()
        patients = self._patients(source, into)
        correction.patient_of(patients, source)
        changes = correction.patient_of(patients, into)
        instances = [row["SOPInstanceUID"] for row in self._matches({"PatientID": correction.literal(source)})]
        return correction.correct(self, "merge", instances, changes, system=system, reason="CORRECT", progress=progress)

    def move_study(
        self,
        study: str,
        to: str,
        *,
        system: str = "DICORE",
        progress: Callable[[int, int], object] | None = None,
        **patient: str,
    ) -> CorrectReport:
        """Give a study (by its UID) to the patient whose ID is `to`, as `correct` does. A patient who is not there yet
        has what is said of him: PatientName=..., PatientBirthDate=... ValueError for a study that is not there, or when
        `to` is nobody and nothing is said of him."""
        self._writable()
        changes = {"PatientID": to, **patient} if patient else correction.patient_of(self._patients(to), to)
        instances = [row["SOPInstanceUID"] for row in self._matches({"StudyInstanceUID": study})]
        if not instances:
            raise ValueError(f"there is no study {study!r} here")
        return correction.correct(
            self, "move-study", instances, changes, system=system, reason="CORRECT", progress=progress
        )

    def replay_corrections(self, log: str | os.PathLike[str]) -> CorrectReport:
        """Make the corrections of a log (`corrections.jsonl` of another store) here too: on a copy that was made before
        them. What is so already stays as it is; instances that are not here are passed over."""
        self._writable()
        return correction.replay(self, Path(log))

    def _patients(self, *ids: str) -> list[dict[str, str]]:
        self._sync_index_if_possible()
        return [
            row
            for one in dict.fromkeys(ids)
            for row in self._index.find("PATIENT", {"PatientID": correction.literal(one)})
        ]

    def _replace(
        self, sop_class: str, uid: str, syntax: str, pieces: Sequence[Buffer], source_ae: str, done: Done, token: Any
    ) -> bool:
        """As `append`, in place of what is stored under the UID, whatever the policy."""
        outcome = self._native.append(sop_class, uid, syntax, pieces, source_ae, done, token, native.REPLACES)
        if outcome == 0:  # longer than a segment
            lane = Lane(self, self._native.lane(sop_class, uid, syntax, source_ae, native.REPLACES), uid)
            lane.write(pieces)
            return lane.commit(done, token)
        return outcome != native.WAITS

    def compact(
        self, *, rate: float | None = None, dead: float = 0.02, progress: Callable[[int, int], object] | None = None
    ) -> CompactReport:
        """Give the space of deleted and replaced instances back: segments of which more than the part `dead` is, are
        copied without it, and small ones are joined; afterwards at least 98 % of the records' bytes count. Storing and
        reading go on meanwhile, no faster than `rate` bytes a second are copied. Safe to kill at any moment. A segment
        with damage is left alone, and so is one for whose copy there is no room: `CompactReport.kept`. StoreError when
        another process compacts. `progress(bytes copied, bytes to copy)`."""
        self._writable()
        report = compaction.compact(self, dead=dead, rate=rate, progress=progress)
        self._keep_reserve()
        return report

    def backup(self, folder: str | os.PathLike[str], progress: Callable[[int, int], object] | None = None) -> int:
        """Copy everything that is durable now to a folder, which is a store then; storing goes on meanwhile. Into a
        folder
        that holds an earlier backup only what is new is copied. Returns the bytes copied. An interrupted one is no
        harm:
        do it again. To restore is to back the backup up, or to open it."""
        self._alive()
        return backup.backup(self, Path(folder), progress)

    def retain(self, *, max_age: float | None = None, max_bytes: int | None = None) -> int:
        """Delete whole studies, the one that nothing was added to for the longest time first: those older than
        `max_age`
        seconds (since their last instance came in), then as many as the records have more than `max_bytes` bytes.
        Returns
        how many instances were deleted; `compact` gives the space back."""
        self._writable()
        self.sync_index()
        studies = self._index.ages()
        total = sum(size for _, _, size in studies)
        oldest = (time.time() - max_age) * 1e6 if max_age is not None else 0
        doomed = []
        for uid, received, size in studies:
            if received < oldest or (max_bytes is not None and total > max_bytes):
                doomed.append(uid)
                total -= size
        return self.delete_instances(self._index.instances_of(doomed)) if doomed else 0

    def _discard(self, number: int) -> None:
        """Unlink a segment that nothing is looked up in any more."""
        self._extents.pop(number, None)
        files.remove(self._folder, number, "idx", "mark", "seg")
        self._native.forget(number)
        self._maps.forget(number)
        self._index.dropped(number)

    def _writable(self) -> None:
        self._alive()
        if self.read_only:
            raise StoreError("the store was opened read-only")

    # ---- reading -----------------------------------------------------------------------------------------------------

    def _record(self, segment: int, offset: int) -> tuple[memoryview, int, int, int]:
        found = self._maps.record(segment, offset, whole=False)
        return found if len(found[0]) > CHECKED_AT_READ else self._maps.record(segment, offset)

    def _places(self, uid: str) -> list[tuple[int, int]]:
        return self._native.find(uid.rstrip("\0 "))

    def record(self, sop_instance_uid: str) -> memoryview:
        """The Part 10 file of an instance, a read-only view of the map. KeyError when it is not stored, StoreCorrupt
        when it is damaged (checked up to 64 MiB; beyond that `verify` does)."""
        for _ in range(8):  # a compaction may move it while it is looked up
            try:
                for segment, offset in self._places(sop_instance_uid):
                    file, data_offset, _, _ = self._record(segment, offset)
                    if source.uid_of(file[:data_offset]) == sop_instance_uid.rstrip("\0 "):
                        return file
            except FileNotFoundError:
                self.refresh()
                continue
            raise KeyError(sop_instance_uid)
        raise StoreError(f"{sop_instance_uid}: its segment is gone")

    def __getitem__(self, sop_instance_uid: str) -> Dataset:
        """The instance as a Dataset over the mapped segment: nothing is copied, and the pixels of an uncompressed
        instance are a view of the map. KeyError, StoreCorrupt."""
        from dicore.dataset import Dataset

        return Dataset.from_bytes(self.record(sop_instance_uid), path=self.path)

    def __contains__(self, sop_instance_uid: object) -> bool:
        return isinstance(sop_instance_uid, str) and bool(self._places(sop_instance_uid))

    def __len__(self) -> int:
        return self._native.counters()["instances"]

    def __iter__(self) -> Iterator[str]:
        """The SOP Instance UIDs, in the order of the disk; damaged instances are passed over."""
        return (uid for uid, _ in self._walk())

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def scan_source(self) -> Iterator[tuple[str, memoryview]]:
        """(SOP Instance UID, Part 10 file) of each instance in the order of the disk, views of the map: what
        `dicore.scan` reads."""
        return self._walk()

    def _walk(self) -> Iterator[tuple[str, memoryview]]:
        places, maps = self._all_mapped()
        for segment, offset in places:
            try:
                file, data_offset, _, _ = self._maps.record(segment, offset, whole=False, within=maps[segment])
                uid = source.uid_of(file[:data_offset])
            except (StoreCorrupt, ValueError) as error:
                log.warning("%s", error)
                continue
            yield uid, file

    def _all_mapped(self) -> tuple[list[tuple[int, int]], dict[int, tuple[memoryview, int]]]:
        """All places, and the maps of their segments, which stay readable whatever a compaction unlinks meanwhile."""
        while True:
            places = self._native.places()
            try:
                return places, {number: self._maps.get(number) for number in {segment for segment, _ in places}}
            except FileNotFoundError:
                self.refresh()

    def find(self, level: str = "STUDY", *, fold: Fold = "case", **keys: str | Sequence[str]) -> list[dict[str, str]]:
        """Matches at PATIENT, STUDY, SERIES or IMAGE level, as PS3.4 C.2.2.2 has it: single values, lists of UIDs, `*`
        and `?`, ranges of dates and times, empty for any. Person names match whatever their case, with `fold="accent"`
        whatever their accents too, with "exact" neither. Waits until the index has all that was stored before. Every
        key
        of the level and above is in each result, "" where it is missing; with the numbers of related series and
        instances at the level itself. ValueError for a key that the level does not have; `query` takes any."""
        self._sync_index_if_possible()
        return self._index.find(level, keys, fold=fold)

    def query(
        self,
        level: str,
        identifier: Mapping[str, Any] | Dataset,
        *,
        fold: Fold = "case",
        combined: bool = False,
        limit: int | None = None,
        sync: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """Matches one after the other, for C-FIND and the like: what `identifier` asks for and nothing else but the
        unique
        keys of the level and above, as {keyword: text} (sequences as lists of such). `identifier` is a Dataset or a
        mapping of keyword to key. Keys that the index has are matched there; any other attribute, sequences too, is
        matched and answered from a record of the match. `combined`: a range of dates and one of times are one range of
        moments (PS3.4 C.2.2.2.5); TimezoneOffsetFromUTC in the identifier says what zone they are in.
        `limit`: no more than so many, in no special order. ValueError for a key that is none; raised at the call, not
        while it is walked."""
        if sync:
            self._sync_index_if_possible()
        return query.run(self, level, query.keys_of(identifier), fold=fold, combined=combined, limit=limit)

    def sync_index(self) -> None:
        """Wait until the index has everything that is stored now."""
        self._alive()
        if self.read_only or self._foreign:
            self.refresh()
        self._index.catch_up()

    def _sync_index_if_possible(self) -> None:
        """What is found must not depend on whether the index can be written just now: it may be behind on a full
        disk."""
        try:
            self.sync_index()
        except StoreFull as error:
            log.warning("%s", error)

    def prepare(self) -> None:
        """Instances will come soon: a segment is made ready in the background, not at the first `append`."""
        self._alive()
        self._native.prepare()

    def stats(self) -> dict[str, int | str]:
        """Numbers of patients, studies, series and instances; bytes; what the writer has done since it was opened."""
        self.sync_index()
        counters = self._native.counters()
        readable = self._readable()
        return {
            **self._index.counts(),
            "instances": counters["instances"],
            "segments": len(readable),
            "bytes": sum(end - native.SEGMENT_HEADER for end in readable.values()),
            "appended": counters["appended"],
            "duplicates": counters["duplicates"],
            "commits": counters["commits"],
            "failed_syncs": counters["syncs_failed"],
            "durability": self.durability,
        }

    def verify(self, progress: Callable[[int, int], object] | None = None) -> VerifyReport:
        """Read every record and check it: by `pread`, so that a bad sector is a problem in the report and not the end
        of the process. `progress(bytes read, bytes in all)`."""
        self._alive()
        report = VerifyReport()
        readable = self._readable()
        total, before = sum(readable.values()), 0
        for number, end in sorted(readable.items()):
            try:
                self._verify_segment(number, end, report, progress and partial(_step, progress, before, total))
            except (StoreError, OSError) as error:
                report.problems.append(
                    Problem(files.segment_name(number), getattr(error, "offset", 0) or 0, 0, "", str(error))
                )
            before += end
        report.problems += [p for p in self.recovered if "cut:" in p.message or "not a readable segment" in p.message]
        report.ok = not report.problems
        return report

    def _verify_segment(
        self, number: int, end: int, report: VerifyReport, progress: Callable[[int], object] | None
    ) -> None:
        segment = native.Segment(self._folder, number)
        try:
            limit = None if segment.single else end
            found = segment.scan(expected=end, limit=limit, progress=progress)
            if (
                number in self._foreign or number in self._native.extents()
            ):  # while it is written to, what was read may have been half of a write
                found = _settled(segment, found, expected=end, limit=limit)
            entries, damage, _, _, _ = found
            sidecar = files.read_sidecar(self._folder, number)
            nonce = segment.nonce
        finally:
            segment.close()
        live = self._native.standing(number, entries).count(native.LIVE)
        report.instances += live
        report.dead += len(entries) // native.ENTRY_SIZE - live
        report.bytes += sum(entry[3] for entry in files.ENTRY.iter_unpack(entries)) * native.RECORD_UNIT
        report.problems += [self._damage(number, *what) for what in damage]
        if sidecar is None or sidecar.nonce != nonce or damage:
            return
        listed = sidecar.entries
        if number in self._foreign and sidecar.end > end:  # another process went on, and sealed it since we looked
            listed = listed[: len(entries)]
        if listed != entries:
            report.problems.append(
                Problem(
                    f"{number:010d}.idx", 0, len(sidecar.entries), "", "the sidecar is not that of its segment: rebuild"
                )
            )

    def rebuild(self, progress: Callable[[int, int], object] | None = None) -> int:
        """Make sidecars and index anew from the segments; returns how many instances the index has. Safe to kill."""
        if self.read_only:
            raise StoreError("the store was opened read-only")
        self._alive()
        for number, end in sorted(self._extents.items()):
            segment = native.Segment(self._folder, number)
            nonce, single = segment.nonce, segment.single
            segment.close()
            if not single and (sidecar := files.read_sidecar(self._folder, number)) is not None:
                self._seal(number, nonce, end, known=sidecar.end)
        return self._index.rebuild(progress)

    def export(self, folder: str | os.PathLike[str], progress: Callable[[int, int], object] | None = None) -> int:
        """Write every instance as `<SOP Instance UID>.dcm`, the Part 10 file as stored; returns how many. A UID that
        is not of the form PS3.5 9.1 has (digits and dots) is not used as a name: its hash is. Damaged instances are
        left out and raise StoreCorrupt at the end, after all others were written. `progress(instances done, instances
        in all)`."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        handle = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        damaged: list[StoreCorrupt] = []
        used: set[str] = set()
        places, maps = self._all_mapped()
        try:
            for count, (segment, offset) in enumerate(places, 1):
                try:
                    file, data_offset, _, _ = self._maps.record(segment, offset, within=maps[segment])
                    uid = source.uid_of(file[:data_offset])
                    stem = uid if SAFE_UID.fullmatch(uid) and uid.strip(".") else f"uid-{native.uid_hash(uid).hex()}"
                    name, n = f"{stem}.dcm", 1
                    while name in used:
                        name, n = f"{stem}_{n + 1}.dcm", n + 1
                    used.add(name)
                    files.write_new(handle, name, file)
                except StoreCorrupt as error:
                    damaged.append(error)
                if progress is not None:
                    progress(count, len(places))
        finally:
            os.close(handle)
        if damaged:
            raise StoreCorrupt(
                f"{len(damaged)} damaged instances were not exported; the first: {damaged[0]}",
                segment=damaged[0].segment,
                offset=damaged[0].offset,
            )
        return len(places)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def close(self) -> None:
        """Finish what waits, and give the locks back. Views that were handed out stay valid. Safe to call twice."""
        with self._close_lock:
            if self._closed:
                return
            self._lanes.shutdown(wait=True)
            self._native.stop()
            for thread in self._threads:
                thread.join()
            self._index.close()
            self._closed = True
            counters = self._native.counters()
            if not self.read_only and counters["segment"] and not counters["failed"]:
                number = counters["segment"]
                try:
                    opened = native.Segment(self._folder, number)
                    self._fails("close-marking")
                    files.write_mark(self._folder, number, opened.nonce, counters["end"], clean=True)
                    opened.close()
                except (OSError, StoreError) as error:
                    log.warning("%s: no mark: %s", files.segment_name(number), error)
            self._maps.drop()
            self._native.close()
            os.close(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<dicore.Store {str(self.path)!r}{', closed' if self._closed else f', {len(self)} instances'}>"


def _step(progress: Callable[[int, int], object], before: int, total: int, at: int) -> None:
    progress(before + at, total)


class _Waiter:
    """One blocking append."""

    __slots__ = ("_error", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._error: Exception | None = None

    def done(self, results: list[tuple[Any, Exception | None]]) -> None:
        self._error = results[0][1]
        self._lock.release()

    def wait(self) -> None:
        with self._lock:
            pass
        if self._error is not None:
            raise self._error


class Pending:
    """What `add` has on its way: at most a few hundred instances, so that groups are large and memory is not."""

    LIMIT = 256

    def __init__(self, report: AddReport) -> None:
        self._report, self._count, self._changed = report, 0, threading.Condition()

    def begin(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count < self.LIMIT)
            self._count += 1

    def done(self, results: list[tuple[Any, Exception | None]]) -> None:
        with self._changed:
            for path, error in results:
                self._count -= 1
                if error is None:
                    self._report.added += 1
                else:
                    self._report.failures.append((path, str(error)))
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


def _open_folder(path: Path, read_only: bool) -> int:
    segments = path / "segments"
    if read_only:
        if not segments.is_dir():
            raise StoreError(f"{path} is not a store: it has no folder segments/")
    elif not segments.is_dir():
        if path.is_dir() and any(path.iterdir()) and not (path / "index.sqlite").exists():
            raise StoreError(f"{path} is neither empty nor a store: give a folder of its own")
        new = [folder for folder in (segments, *segments.absolute().parents) if not folder.exists()]
        segments.mkdir(parents=True, exist_ok=True)
        for folder in {made.absolute().parent for made in new}:  # the names, too, have to survive
            files.sync_folder(folder)
    return os.open(segments, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _remove_leftovers(folder: int) -> None:
    """Unlink files that a dead process had not given their name yet: those that nobody holds the lock of."""
    import fcntl

    for name in os.listdir(folder):
        if not re.fullmatch(r"\.([0-9a-f]{16}\.(new|lane)|[0-9]{10}\.idx\.new)", name):
            continue
        try:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=folder)
        except (BlockingIOError, FileNotFoundError):
            continue
        finally:
            os.close(file)


def _walk(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (Path(folder, name) for name in sorted(names))
        else:
            yield path


def _means(durability: Durability) -> int:
    """How a group becomes durable: measured, one O_DIRECT write from a staging buffer beats pwritev and fdatasync at
    every group size, and takes a fifth of the appending thread's time (docs/store-format.md). DICORE_COMMIT=datasync
    for the other."""
    if durability == "relaxed":
        return native.RELAXED
    return native.SYNC_DATA if os.environ.get("DICORE_COMMIT") == "datasync" else native.SYNC_DIRECT


def _failpoint_name() -> tuple[str, int]:
    """DICORE_FAILPOINT=name:n, for tests: fail, or die, the n-th time the named point is passed."""
    name, _, count = os.environ.get("DICORE_FAILPOINT", "").partition(":")
    return name, int(count or "1")


_Found = tuple[bytes, list[tuple[int, int, int, bytes | None]], int, int, bool]


def _settled(segment: native.Segment, found: _Found, **how: Any) -> _Found:
    """A scan of a segment that somebody may be writing to: what looks damaged is read again, and only what looks the
    same
    each time is damaged. A reader in another process meets a record whose header is in the page cache and whose
    pixels are
    not, or finds zeros where, by the time it looks behind them, a group has been written."""
    for pause in LOOKS_AGAIN:
        if not found[1]:
            break
        time.sleep(pause)
        again: _Found = segment.scan(**how)
        if again[1] == found[1]:
            break
        found = again
    return found
