"""`Store`: append, look up, find, verify, rebuild, export. The writer itself is C (`_native.store`), told here what to
do."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from dicore._native import store as native
from dicore.errors import DicoreError, DuplicateInstance, StoreCorrupt, StoreError
from dicore.store import files, source
from dicore.store.index import Index
from dicore.store.maps import Maps
from dicore.uid import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from dicore.dataset import Dataset

log = logging.getLogger("dicore.store")

FILL_AHEAD = 512 << 20  # bytes zero-filled ahead of a durable writer, while nothing arrives
CHECKED_AT_READ = 64 << 20  # records up to this size are checked against their CRC whenever they are looked up
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
    """What `verify` found. `ok` when every record is whole; `instances` whole ones in `bytes` bytes of records."""

    ok: bool = True
    instances: int = 0
    bytes: int = 0
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


class Store:
    """A folder of instances: `segments/` (the truth) and `index.sqlite` (made from it).

    `durability`: "durable" acknowledges after a sync, shared by all who wait; "relaxed" at once, synced about a second
    later. `duplicates` decides about other bytes under a stored SOP Instance UID (identical ones always succeed
    without a second copy): "keep-first" drops the new ones and reports success, "replace" puts them in place of the
    stored ones, "keep-both" stores them beside (look-up gives the first), "reject" raises DuplicateInstance. Opening
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
        self._damaged: set[int] = set()  # segments in which opening found something amiss
        self._extents: dict[int, int] = {}  # sealed and foreign segments: how far they may be read
        self._closed = False
        self._close_lock = threading.Lock()
        self._folder = _open_folder(self.path, read_only)
        failpoint, countdown = _failpoint()
        try:
            self._native = native.Native(
                self._folder,
                segment_size=segment_size,
                fill_ahead=FILL_AHEAD if durability == "durable" else 0,
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
            self._index = Index(self.path / "index.sqlite", self, read_only=read_only)
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
                self._seal(segment.id, segment.nonce, end)
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
                self._seal(number, nonce, end)

    def _load_segment(self, number: int, mine: list[tuple[native.Segment, int]]) -> None:
        name = files.segment_name(number)
        segment = native.Segment(self._folder, number)
        nonce, size = segment.nonce, os.fstat(segment.fileno()).st_size
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
        writable = False
        if not self.read_only and not segment.single:
            taken = native.Segment(self._folder, number, writable=True)
            writable = not taken.locked  # else another process writes to it
            segment, unwanted = (taken, segment) if writable else (segment, taken)
            unwanted.close()
        mark = files.read_mark(self._folder, number)
        if mark is None or mark.nonce != nonce:
            mark = files.Mark(nonce, 0, False)
        whole = size >= segment.size
        if segment.single:  # one record, complete before the file had its name
            found = segment.scan(expected=segment.size, check_from=segment.size)
        elif mark.clean and whole:
            found = segment.scan(limit=mark.end, expected=mark.end, check_from=mark.end)
        else:
            found = segment.scan(expected=mark.end, check_from=mark.end)
        entries, damage, end, synced, dirty = found
        self._native.load(number, entries)
        self._extents[number] = end
        durable = max(mark.end, synced) if not segment.single else segment.size
        lost_behind = False
        for kind, offset, length, digest in damage:
            if offset < min(end, size) or offset < durable:
                lost_behind |= offset >= end
                self._report(self._damage(number, kind, offset, length, digest))
            elif writable:
                message = "not whole: a crash cut its write short before it was acknowledged, as far as can be told"
                self._report(Problem(name, offset, length, self._uid_at(number, offset, digest), message))
        if not writable:
            segment.close()
            return
        if lost_behind or not whole:  # leave the evidence alone: this segment is not written again
            self._seal(number, nonce, end, known=durable)
            segment.close()
            return
        if dirty:
            segment.repair()
            log.warning("%s: bytes behind byte %d were left by a crash and are zeros now", name, end)
        if mark.clean:  # it is about to be untrue
            files.remove(self._folder, number, "mark")
            os.fsync(self._folder)
        mine.append((segment, end))

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
        finally:
            segment.close()
        end = max(end, known)
        files.write_sidecar(self._folder, number, nonce, end, entries)
        files.remove(self._folder, number, "mark")
        self._extents[number] = end

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
        pending = _Pending(report)
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

    # ---- reading -----------------------------------------------------------------------------------------------------

    def _record(self, segment: int, offset: int) -> tuple[memoryview, int, int, int]:
        found = self._maps.record(segment, offset, whole=False)
        return found if len(found[0]) > CHECKED_AT_READ else self._maps.record(segment, offset)

    def _places(self, uid: str) -> list[tuple[int, int]]:
        return self._native.find(uid.rstrip("\0 "))

    def record(self, sop_instance_uid: str) -> memoryview:
        """The Part 10 file of an instance, a read-only view of the map. KeyError when it is not stored, StoreCorrupt
        when it is damaged (checked up to 64 MiB; beyond that `verify` does)."""
        for segment, offset in self._places(sop_instance_uid):
            file, data_offset, _, _ = self._record(segment, offset)
            if source.uid_of(file[:data_offset]) == sop_instance_uid.rstrip("\0 "):
                return file
        raise KeyError(sop_instance_uid)

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
        for segment, offset in self._native.places():
            try:
                file, data_offset, _, _ = self._maps.record(segment, offset, whole=False)
                yield source.uid_of(file[:data_offset])
            except (StoreCorrupt, ValueError) as error:
                log.warning("%s", error)

    def scan_source(self) -> Iterator[tuple[str, memoryview]]:
        """(SOP Instance UID, Part 10 file) of each instance in the order of the disk, views of the map: what
        `dicore.scan` reads."""
        for segment, offset in self._native.places():
            try:
                file, data_offset, _, _ = self._maps.record(segment, offset, whole=False)
                yield source.uid_of(file[:data_offset]), file
            except (StoreCorrupt, ValueError) as error:
                log.warning("%s", error)

    def find(self, level: str = "STUDY", **keys: str | Sequence[str]) -> list[dict[str, str]]:
        """Matches at PATIENT, STUDY, SERIES or IMAGE level, as PS3.4 C.2.2.2 has it: single values, lists of UIDs, `*`
        and `?`, ranges of dates and times, empty for any. Person names match whatever their case. Waits until the
        index has all that was stored before. Every key of the level and above is in each result, "" where it is
        missing; with the numbers of related series and instances at the level itself."""
        self.sync_index()
        return self._index.find(level, keys)

    def sync_index(self) -> None:
        """Wait until the index has everything that is stored now."""
        self._alive()
        self._index.catch_up()

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
            entries, damage, _, _, _ = segment.scan(
                expected=end, limit=None if segment.single else end, progress=progress
            )
            sidecar = files.read_sidecar(self._folder, number)
            nonce = segment.nonce
        finally:
            segment.close()
        report.instances += len(entries) // native.ENTRY_SIZE
        report.bytes += sum(entry[3] for entry in files.ENTRY.iter_unpack(entries)) * native.RECORD_UNIT
        report.problems += [self._damage(number, *what) for what in damage]
        if sidecar and sidecar.nonce == nonce and not damage and sidecar.entries != entries:
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
        places = self._native.places()
        try:
            for count, (segment, offset) in enumerate(places, 1):
                try:
                    file, data_offset, _, _ = self._maps.record(segment, offset)
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


class _Pending:
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
        segments.mkdir(parents=True, exist_ok=True)
        for folder in (path, path.parent):  # the names, too, have to survive
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(handle)
            os.close(handle)
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


def _failpoint() -> tuple[int, int]:
    """DICORE_FAILPOINT=name:n, for tests: fail, or die, the n-th time the named point is passed."""
    text = os.environ.get("DICORE_FAILPOINT", "")
    name, _, count = text.partition(":")
    if name not in native.FAILPOINTS:
        return 0, 0
    return native.FAILPOINTS[name], int(count or "1")
