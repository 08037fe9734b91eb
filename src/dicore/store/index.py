"""The index: SQLite (WAL) beside the segments, written in batches behind them, with a high-water mark per segment.

It holds nothing that the segments do not: lost, stale or foreign, it is made anew. `Store` is what it reads from.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dicore._native import dataset as dataset_native
from dicore._native import store as native
from dicore.errors import DicomFormatError, StoreCorrupt, StoreError
from dicore.store import files, match, source

if TYPE_CHECKING:
    from dicore.store.store import Store

log = logging.getLogger("dicore.store")

SCHEMA = 1
BATCH = 200  # instances in a transaction
IDLE = 0.2  # seconds without an append before the index takes its turn
BACKLOG = 4000  # instances that are waited for no longer

# keyword: (tag, VR), level by level; the order is that of the columns
PATIENT = {
    "PatientID": (0x00100020, "LO"), "PatientName": (0x00100010, "PN"), "IssuerOfPatientID": (0x00100021, "LO"),
    "PatientBirthDate": (0x00100030, "DA"), "PatientSex": (0x00100040, "CS"),
}  # fmt: skip
STUDY = {
    "StudyInstanceUID": (0x0020000D, "UI"), "StudyDate": (0x00080020, "DA"), "StudyTime": (0x00080030, "TM"),
    "AccessionNumber": (0x00080050, "SH"), "StudyDescription": (0x00081030, "LO"), "StudyID": (0x00200010, "SH"),
    "ReferringPhysicianName": (0x00080090, "PN"),
}  # fmt: skip
SERIES = {
    "SeriesInstanceUID": (0x0020000E, "UI"), "Modality": (0x00080060, "CS"), "SeriesNumber": (0x00200011, "IS"),
    "SeriesDescription": (0x0008103E, "LO"), "SeriesDate": (0x00080021, "DA"), "SeriesTime": (0x00080031, "TM"),
    "BodyPartExamined": (0x00180015, "CS"),
}  # fmt: skip
IMAGE = {
    "SOPInstanceUID": (0x00080018, "UI"), "SOPClassUID": (0x00080016, "UI"), "InstanceNumber": (0x00200013, "IS"),
    "Rows": (0x00280010, "US"), "Columns": (0x00280011, "US"), "NumberOfFrames": (0x00280008, "IS"),
    "AcquisitionNumber": (0x00200012, "IS"), "ContentDate": (0x00080023, "DA"), "ContentTime": (0x00080033, "TM"),
}  # fmt: skip
LEVELS = {"PATIENT": PATIENT, "STUDY": STUDY, "SERIES": SERIES, "IMAGE": IMAGE}
TABLES = {"PATIENT": "patient", "STUDY": "study", "SERIES": "series", "IMAGE": "instance"}
CHARACTER_SET = 0x00080005
ALL_KEYS = {**PATIENT, **STUDY, **SERIES, **IMAGE}
DATES = [keyword for keyword, (_, vr) in ALL_KEYS.items() if vr == "DA"]
TAGS = tuple(sorted({tag for tag, _ in ALL_KEYS.values()} | {CHARACTER_SET}))
# made from lower levels; the SQL stands where a column would
COMPUTED = {
    "STUDY": {
        "ModalitiesInStudy":
            "(SELECT group_concat(DISTINCT nullif(s.Modality, '')) FROM series s WHERE s.parent = study.id)",
        "NumberOfStudyRelatedSeries": "(SELECT count(*) FROM series s WHERE s.parent = study.id)",
        "NumberOfStudyRelatedInstances":
            "(SELECT count(*) FROM series s JOIN instance i ON i.parent = s.id WHERE s.parent = study.id)",
    },
    "SERIES": {"NumberOfSeriesRelatedInstances": "(SELECT count(*) FROM instance i WHERE i.parent = series.id)"},
}  # fmt: skip


def _columns(level: str) -> list[str]:
    """The columns of a level that hold values: each key, and for names and times their form to compare by."""
    columns = []
    for keyword, (_, vr) in LEVELS[level].items():
        columns.append(keyword)
        if vr in ("PN", "TM"):
            columns.append(f"{keyword}_key")
    return columns


_INSTANCE_COLUMNS = ["parent", *_columns("IMAGE"), "TransferSyntaxUID", "segment", "offset", "size", "received"]
INSERT_INSTANCE = (
    f"INSERT OR IGNORE INTO instance({', '.join(_INSTANCE_COLUMNS)}) VALUES({', '.join('?' * len(_INSTANCE_COLUMNS))})"
)


class _Row(NamedTuple):
    """A record as the index holds it."""

    text: dict[str, str]
    syntax: str
    offset: int
    size: int
    received: int
    replaces: bool


def _schema() -> str:
    parents = {"STUDY": "patient", "SERIES": "study", "IMAGE": "series"}
    statements = ["CREATE TABLE segment(id INTEGER PRIMARY KEY, nonce TEXT NOT NULL, upto INTEGER NOT NULL)"]
    for level, table in TABLES.items():
        columns = [f'"{column}" TEXT NOT NULL' for column in _columns(level)]
        if level in parents:
            columns.insert(0, f"parent INTEGER NOT NULL REFERENCES {parents[level]}(id)")
        if level == "IMAGE":
            columns += [
                "TransferSyntaxUID TEXT NOT NULL", "segment INTEGER NOT NULL", "offset INTEGER NOT NULL",
                "size INTEGER NOT NULL", "received INTEGER NOT NULL", "UNIQUE(segment, offset)",
            ]  # fmt: skip
        elif level == "PATIENT":
            columns.append("UNIQUE(PatientID, IssuerOfPatientID)")
        else:
            columns.append(f"UNIQUE({'StudyInstanceUID' if level == 'STUDY' else 'parent, SeriesInstanceUID'})")
        statements.append(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, {', '.join(columns)})")
    statements += [
        "CREATE INDEX study_patient ON study(parent)", "CREATE INDEX study_date ON study(StudyDate)",
        "CREATE INDEX study_accession ON study(AccessionNumber)", "CREATE INDEX series_study ON series(parent)",
        "CREATE INDEX instance_series ON instance(parent)", "CREATE INDEX instance_uid ON instance(SOPInstanceUID)",
        "CREATE INDEX patient_name ON patient(PatientName_key)", f"PRAGMA user_version = {SCHEMA}",
    ]  # fmt: skip
    return ";".join(statements)


class Index:
    """Patients, studies, series and instances of a store. All methods are thread-safe."""

    def __init__(self, path: Path, store: Store, *, read_only: bool) -> None:
        self._path, self._store, self._read_only = path, store, read_only
        self._lock = threading.RLock()  # of the connection
        self._ids: dict[tuple[str, str], int] = {}  # (study UID, series UID): row of the series, known to be there
        self._awake = threading.Event()
        self._idle = False  # whether the thread sleeps until `_awake`
        self._stopping = False
        self._fails_at = _failpoint()
        self._database = self._open()
        self._reconcile()
        self._thread: threading.Thread | None = None
        if not read_only:
            self._thread = threading.Thread(target=self._loop, name="dicore-index", daemon=True)
            self._thread.start()

    # ---- the file ----------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._read_only:  # a copy in memory: it is brought up to date without touching the store
            memory = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
            try:
                with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as disk:
                    if disk.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
                        disk.backup(memory)
                        return memory
            except sqlite3.Error as error:
                log.debug("%s: %s", self._path, error)
            memory.executescript(_schema())
            return memory
        for attempt in range(2):
            database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")  # the segments are the truth
                version = database.execute("PRAGMA user_version").fetchone()[0]
                if version == SCHEMA:
                    database.execute("SELECT count(*) FROM segment").fetchone()
                    return database
                if version == 0 and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    with _transaction(database):
                        for statement in _schema().split(";"):
                            database.execute(statement)
                    return database
                log.warning("%s has another layout (%d, not %d) and is made anew", self._path, version, SCHEMA)
            except sqlite3.DatabaseError as error:
                log.warning("%s cannot be used (%s) and is made anew", self._path, error)
                if attempt:
                    raise StoreError(f"{self._path}: {error}") from error
            database.close()
            self._unlink()
        raise StoreError(f"{self._path} cannot be made anew")

    def _unlink(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _reconcile(self) -> None:
        """Drop what the segments do not have any more, all of it when the index belongs to other segments."""
        readable = self._store._readable()
        known = self._database.execute("SELECT id, nonce, upto FROM segment").fetchall()
        with _transaction(self._database):
            for number, nonce, upto in known:
                same = number in readable and self._nonce(number) == nonce
                if same and upto <= readable[number] and number not in self._store._damaged:
                    continue
                end = readable[number] if same and number not in self._store._damaged else native.SEGMENT_HEADER
                self._database.execute("DELETE FROM instance WHERE segment = ? AND offset >= ?", (number, end))
                if same:
                    self._database.execute("UPDATE segment SET upto = ? WHERE id = ?", (end, number))
                else:
                    self._database.execute("DELETE FROM segment WHERE id = ?", (number,))
            self._prune()

    def _prune(self) -> None:
        """Drop series, studies and patients that have nothing left."""
        for table, child in (("series", "instance"), ("study", "series"), ("patient", "study")):
            self._database.execute(
                f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {child} c WHERE c.parent = {table}.id)"
            )
        self._ids.clear()

    def _nonce(self, number: int) -> str:
        return f"{self._store._maps.get(number)[1]:016x}"

    # ---- following the segments --------------------------------------------------------------------------------------

    def note_append(self) -> None:
        """Something was stored. Called on the way of every instance, so it does next to nothing."""
        if self._idle:
            self._idle = False
            self._awake.set()

    def _loop(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        counters = self._store._native.counters
        seen = -1  # appended when the index last had everything; at first there may be something from before
        while not self._stopping:
            self._idle = True
            if counters()["appended"] == seen:
                self._awake.wait()
            self._awake.clear()
            self._idle = False
            before, done = -1, counters()["appended"]
            while not self._stopping:
                now = counters()
                try:
                    if now["appended"] == before and not now["waiting"]:
                        self.catch_up(only_when_free=True)
                        seen = before
                        break
                    if now["appended"] - done >= BACKLOG:
                        done += self._batch()
                except (sqlite3.Error, OSError, StoreError) as error:
                    log.warning("the index is behind: %s", error)
                    seen = now["appended"]
                    break
                before = now["appended"]
                time.sleep(IDLE)

    def catch_up(self, *, only_when_free: bool = False, progress: Callable[[int, int], object] | None = None) -> None:
        """Index everything that can be read now. `only_when_free`: give way to whoever wants the connection in
        between."""
        targets = self._store._readable()
        done = 0
        while True:
            count = self._batch(targets)
            done += count
            if progress is not None:
                progress(done, len(self._store))
            if count == 0 or (only_when_free and self._stopping):
                return

    def _batch(self, targets: Mapping[int, int] | None = None) -> int:
        """Index up to BATCH records in one transaction; returns how many records were passed, 0 when there was
        nothing."""
        targets = self._store._readable() if targets is None else targets
        with self._lock:
            upto = dict(self._database.execute("SELECT id, upto FROM segment").fetchall())
            for number in sorted(targets):
                start = upto.get(number, native.SEGMENT_HEADER)
                if start < targets[number]:
                    break
            else:
                return 0
            segment = native.Segment(self._store._folder, number)
            try:
                os.posix_fadvise(segment.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # a few KiB of each record, and no more
                # headers only: the bytes were checked when they were written
                entries, _, behind, _, _ = segment.scan(
                    start=start, limit=targets[number], check_from=1 << 62, most=BATCH
                )
                behind = behind if len(entries) >= BATCH * files.ENTRY.size else targets[number]
                self._write(segment, entries, behind)
            finally:
                segment.close()
            return max(1, len(entries) // files.ENTRY.size)

    def _write(self, segment: native.Segment, entries: bytes, upto: int) -> None:
        """One transaction: these records are in the index, and everything below `upto` with them."""
        number = segment.id
        rows = [row for entry in files.ENTRY.iter_unpack(entries) if (row := self._read(segment, entry)) is not None]
        if self._fails_at and entries:
            self._fails_at -= 1
            if not self._fails_at:
                os.kill(os.getpid(), signal.SIGKILL)
        try:
            with _transaction(self._database):
                for row in rows:
                    self._insert(number, row)
                self._database.execute(
                    "INSERT INTO segment(id, nonce, upto) VALUES(?, ?, ?) "
                    "ON CONFLICT(id) DO UPDATE SET upto = excluded.upto",
                    (number, f"{segment.nonce:016x}", upto),
                )
        except BaseException:
            self._ids.clear()  # some of them were rolled back
            raise

    def _read(self, segment: native.Segment, entry: tuple[bytes, int, int, int, int, int]) -> _Row | None:
        """What the index holds of a record; None when it holds nothing of it."""
        digest, received, unit, units, _, flags = entry
        offset = unit * native.RECORD_UNIT
        if not self._store._native.holds(digest, segment.id, offset):
            return None  # replaced since, or a second copy
        try:
            uid, syntax, big_endian, raw = segment.values(offset, TAGS)
            if raw is None:  # deflated
                file, data_offset, _, _ = self._store._maps.record(segment.id, offset)
                raw = [None if v is None else bytes(v) for v in dataset_native.select(file[data_offset:], TAGS, syntax)]
            values = source.texts(TAGS, raw, big_endian=big_endian)
        except (StoreCorrupt, DicomFormatError) as error:
            log.warning("%s, byte %d: not indexed: %s", files.segment_name(segment.id), offset, error)
            return None
        text = {keyword: values.get(tag, "") for keyword, (tag, _) in ALL_KEYS.items()}
        text["SOPInstanceUID"] = uid  # of the file meta: what it was stored under
        for keyword in DATES:
            text[keyword] = match.full_date(text[keyword])
        return _Row(text, syntax, offset, units * native.RECORD_UNIT, received, bool(flags & 1))

    def _insert(self, number: int, row: _Row) -> None:
        text = row.text
        if row.replaces:
            self._forget(text["SOPInstanceUID"])
        series = self._series(text)
        self._database.execute(
            INSERT_INSTANCE,
            [series, *_row_values("IMAGE", text), row.syntax, number, row.offset, row.size, row.received],
        )

    def _forget(self, uid: str) -> None:
        """Drop the instances of this UID, and what has nothing left without them."""
        ids = [row[0] for row in self._database.execute("SELECT parent FROM instance WHERE SOPInstanceUID = ?", (uid,))]
        self._database.execute("DELETE FROM instance WHERE SOPInstanceUID = ?", (uid,))
        for table, child in (("series", "instance"), ("study", "series"), ("patient", "study")):
            empty = [
                i for i in ids if not self._database.execute(f"SELECT 1 FROM {child} WHERE parent = ?", (i,)).fetchone()
            ]
            above = "NULL" if table == "patient" else "parent"
            ids = [
                row[0]
                for i in empty
                for row in self._database.execute(f"SELECT {above} FROM {table} WHERE id = ?", (i,))
            ]
            self._database.executemany(f"DELETE FROM {table} WHERE id = ?", [(i,) for i in empty])
            if empty:
                self._ids.clear()

    def _series(self, text: Mapping[str, str]) -> int:
        """The id of the instance's series. It, its study and patient are made where they are not there yet, with the
        values of the first instance; a study stays with the patient it was first seen with."""
        key = text["StudyInstanceUID"], text["SeriesInstanceUID"]
        if key not in self._ids:
            study = self._lookup("study", StudyInstanceUID=key[0])
            if study is None:
                patient = self._lookup(
                    "patient", PatientID=text["PatientID"], IssuerOfPatientID=text["IssuerOfPatientID"]
                )
                study = self._add("STUDY", text, self._add("PATIENT", text) if patient is None else patient)
            series = self._lookup("series", parent=study, SeriesInstanceUID=key[1])
            if len(self._ids) > 20_000:
                self._ids.clear()
            self._ids[key] = self._add("SERIES", text, study) if series is None else series
        return self._ids[key]

    def _lookup(self, table: str, **unique: str | int) -> int | None:
        where = " AND ".join(f"{column} = ?" for column in unique)
        row = self._database.execute(f"SELECT id FROM {table} WHERE {where}", list(unique.values())).fetchone()
        return None if row is None else int(row[0])

    def _add(self, level: str, text: Mapping[str, str], parent: int | None = None) -> int:
        columns: list[str] = _columns(level)
        values: list[str | int] = list(_row_values(level, text))
        if parent is not None:
            columns, values = ["parent", *columns], [parent, *values]
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {TABLES[level]}({', '.join(columns)}) VALUES({marks}) RETURNING id"
        return int(self._database.execute(sql, values).fetchone()[0])

    # ---- answering ---------------------------------------------------------------------------------------------------

    def find(self, level: str, keys: Mapping[str, str | Sequence[str]]) -> list[dict[str, str]]:
        level = {"INSTANCE": "IMAGE", "STUDIES": "STUDY"}.get(level.upper(), level.upper())
        if level not in LEVELS:
            raise ValueError(f"level {level!r}: PATIENT, STUDY, SERIES or IMAGE")
        above = list(LEVELS)[: list(LEVELS).index(level) + 1]
        wanted: dict[str, str] = {}
        vrs: dict[str, tuple[str, str]] = {}  # keyword: (expression to compare, VR)
        for name in above:
            table = TABLES[name]
            for keyword, (_, vr) in LEVELS[name].items():
                wanted[keyword] = f"{table}.{keyword}"
                vrs[keyword] = (f"{table}.{keyword}_key" if vr in ("PN", "TM") else f"{table}.{keyword}", vr)
        wanted.update(COMPUTED.get(level, {}))
        if level == "IMAGE":
            wanted["TransferSyntaxUID"] = "instance.TransferSyntaxUID"
            vrs["TransferSyntaxUID"] = ("instance.TransferSyntaxUID", "UI")
        conditions, values = [], []
        for keyword, value in keys.items():
            if keyword == "ModalitiesInStudy" and "STUDY" in above:
                found = match.condition("m.Modality", "CS", value)
                if found:
                    found = f"EXISTS (SELECT 1 FROM series m WHERE m.parent = study.id AND {found[0]})", found[1]
            elif keyword in vrs:
                found = match.condition(*vrs[keyword], value)
            else:
                raise ValueError(f"{keyword} is not a key of the {level} level; those are {', '.join(sorted(vrs))}")
            if found:
                conditions.append(found[0])
                values += found[1]
        joins = "patient"
        for name in above[1:]:
            parent = TABLES[above[above.index(name) - 1]]
            joins += f" JOIN {TABLES[name]} ON {TABLES[name]}.parent = {parent}.id"
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"SELECT {', '.join(wanted.values())} FROM {joins}{where} ORDER BY {TABLES[level]}.id"
        with self._lock:
            rows = self._database.execute(sql, values).fetchall()
        results = [dict(zip(wanted, ("" if v is None else str(v) for v in row), strict=True)) for row in rows]
        for result in results:
            if "ModalitiesInStudy" in result:
                result["ModalitiesInStudy"] = result["ModalitiesInStudy"].replace(",", "\\")
        return results

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {
                name: int(self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for name, table in (("patients", "patient"), ("studies", "study"), ("series", "series"))
            }

    def rebuild(self, progress: Callable[[int, int], object] | None = None) -> int:
        """Forget everything and index all segments again; returns how many instances there are."""
        with self._lock:
            with _transaction(self._database):
                for table in ("instance", "series", "study", "patient", "segment"):
                    self._database.execute(f"DELETE FROM {table}")
            self._ids.clear()
            self.catch_up(progress=progress)
            return int(self._database.execute("SELECT count(*) FROM instance").fetchone()[0])

    def close(self) -> None:
        self._stopping = True
        self._awake.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._database.close()


def _row_values(level: str, text: Mapping[str, str]) -> list[str]:
    """The values for `_columns(level)`."""
    values = []
    for keyword, (_, vr) in LEVELS[level].items():
        values.append(text[keyword])
        if vr == "PN":
            values.append(match.fold_name(text[keyword]))
        elif vr == "TM":
            values.append(match.full_time(text[keyword]))
    return values


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _failpoint() -> int:
    """DICORE_FAILPOINT=index-commit:n kills the process before the n-th batch is committed; 0: never."""
    name, _, count = os.environ.get("DICORE_FAILPOINT", "").partition(":")
    return int(count or "1") if name == "index-commit" else 0
