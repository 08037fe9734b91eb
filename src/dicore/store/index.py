"""The index: a database beside the segments, written in batches behind them, with a high-water mark per segment.

It holds nothing that the segments do not: lost, stale or foreign, it is made anew. `Store` is what it reads from;
`database.Database` is what it writes to.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dicore._native import dataset as dataset_native
from dicore._native import store as native
from dicore.errors import DicomFormatError, StoreCorrupt, StoreError
from dicore.store import files, match, source
from dicore.store.database import Database, SQLite

if TYPE_CHECKING:
    from dicore.store.store import Store

log = logging.getLogger("dicore.store")

SCHEMA = 3
BATCH = 500  # instances in a transaction
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
    "ReferringPhysicianName": (0x00080090, "PN"), "TimezoneOffsetFromUTC": (0x00080201, "SH"),
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
# what is looked up by its value or a range of it, beside what is unique; names by each of their component groups
SEARCHED = {
    "PATIENT": [["PatientName"], ["PatientBirthDate"]],
    "STUDY": [["StudyDate", "StudyTime"], ["StudyTime"], ["AccessionNumber"], ["StudyID"], ["ReferringPhysicianName"]],
    "SERIES": [["SeriesInstanceUID"], ["Modality", "parent"], ["SeriesDate"]],
    "IMAGE": [["SOPInstanceUID"]],
}
CHARACTER_SET = 0x00080005
UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
PARENTS = {"STUDY": "patient", "SERIES": "study", "IMAGE": "series"}
_STUDY_SERIES = "series s WHERE s.parent = study.id"
_STUDY_IMAGES = "series s JOIN instance i ON i.parent = s.id WHERE s.parent = study.id"
_PATIENT_IMAGES = (
    "study t JOIN series s ON s.parent = t.id JOIN instance i ON i.parent = s.id WHERE t.parent = patient.id"
)
# made from lower levels (PS3.4 C.3.4); the SQL stands where a column would, {0} is what the database joins texts with
COMPUTED = {
    "PATIENT": {
        "NumberOfPatientRelatedStudies": "(SELECT count(*) FROM study t WHERE t.parent = patient.id)",
        "NumberOfPatientRelatedSeries":
            "(SELECT count(*) FROM study t JOIN series s ON s.parent = t.id WHERE t.parent = patient.id)",
        "NumberOfPatientRelatedInstances": f"(SELECT count(*) FROM {_PATIENT_IMAGES})",
    },
    "STUDY": {
        "ModalitiesInStudy": f"(SELECT {{joined:nullif(s.Modality, '')}} FROM {_STUDY_SERIES})",
        "SOPClassesInStudy": f"(SELECT {{joined:i.SOPClassUID}} FROM {_STUDY_IMAGES})",
        "NumberOfStudyRelatedSeries": f"(SELECT count(*) FROM {_STUDY_SERIES})",
        "NumberOfStudyRelatedInstances": f"(SELECT count(*) FROM {_STUDY_IMAGES})",
    },
    "SERIES": {"NumberOfSeriesRelatedInstances": "(SELECT count(*) FROM instance i WHERE i.parent = series.id)"},
    "IMAGE": {},
}  # fmt: skip
LISTS = ("ModalitiesInStudy", "SOPClassesInStudy")
MOMENTS = [("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime"), ("ContentDate", "ContentTime")]
_FIRST = {  # an instance of the match, where a record is needed
    "PATIENT": f"(SELECT i.SOPInstanceUID FROM {_PATIENT_IMAGES} LIMIT 1)",
    "STUDY": f"(SELECT i.SOPInstanceUID FROM {_STUDY_IMAGES} LIMIT 1)",
    "SERIES": "(SELECT i.SOPInstanceUID FROM instance i WHERE i.parent = series.id LIMIT 1)",
    "IMAGE": "instance.SOPInstanceUID",
}


class _Row(NamedTuple):
    """A record as the index holds it."""

    series: tuple[bytes, bytes]
    text: dict[str, str]
    whole: bool  # `text` has the levels above the instance too
    values: tuple[Any, ...]  # of the instance, behind its parent
    uid: str
    received: int
    flags: int


class Keys:
    """The keys of each level: those that are always there, and `extra` ones by keyword."""

    def __init__(self, extra: Mapping[str, Sequence[str]]) -> None:
        from dicore.dataset.dictionary import keyword_to_tag, tag_vr

        self.levels = {name: dict(keys) for name, keys in LEVELS.items()}
        for level, names in extra.items():
            for keyword in names:
                tag = keyword_to_tag(keyword)
                vr = tag_vr(tag) if tag is not None else None
                if level not in LEVELS or tag is None or vr is None or vr in ("SQ", "OB", "OW", "UN", "OF", "OD", "DT"):
                    raise ValueError(f"{keyword} at level {level} cannot be a key of the index")
                if not any(keyword in keys for keys in self.levels.values()):
                    self.levels[level][keyword] = tag, vr
        self.all = {keyword: key for keys in self.levels.values() for keyword, key in keys.items()}
        self.tags = tuple(sorted({tag for tag, _ in self.all.values()} | {CHARACTER_SET}))
        self.at = {tag: i for i, tag in enumerate(self.tags)}
        image = sorted({tag for tag, _ in self.levels["IMAGE"].values()} | {CHARACTER_SET})
        self.image_tags = tuple(image)
        columns = ["parent", *self.columns("IMAGE"), "TransferSyntaxUID", "segment", "place", "size", "received"]
        self.insert = (
            f"INSERT INTO instance({', '.join(columns)}) VALUES({', '.join('?' * len(columns))}) ON CONFLICT DO NOTHING"
        )

    def columns(self, level: str) -> list[str]:
        """The columns of a level that hold values: each key, and for names and times their form to compare by."""
        columns = []
        for keyword, (_, vr) in self.levels[level].items():
            columns.append(keyword)
            if vr == "PN":
                columns += [f"{keyword}_{group}" for group in match.GROUPS]
            elif vr == "TM":
                columns.append(f"{keyword}_key")
        return columns

    def row(self, level: str, text: Mapping[str, str]) -> list[str]:
        """The values for `columns(level)`."""
        values = []
        for keyword, (_, vr) in self.levels[level].items():
            values.append(text[keyword])
            if vr == "PN":
                values += match.name_groups(text[keyword])
            elif vr == "TM":
                values.append(match.full_time(text[keyword]))
        return values

    def text(self, tags: Sequence[int], raw: Sequence[bytes | None], big_endian: bool) -> dict[str, str]:
        values = source.texts(tags, raw, big_endian=big_endian)
        text = {keyword: values.get(tag, "") for keyword, (tag, _) in self.all.items()}
        for keyword, (_, vr) in self.all.items():
            if vr == "DA" and text[keyword]:
                text[keyword] = match.full_date(text[keyword])
        return text

    def schema(self) -> list[str]:
        statements = ["CREATE TABLE segment(id INTEGER PRIMARY KEY, nonce TEXT NOT NULL, upto INTEGER NOT NULL)"]
        for level, table in TABLES.items():
            columns = [f"{column} TEXT NOT NULL" for column in self.columns(level)]
            if level in PARENTS:
                columns.insert(0, f"parent INTEGER NOT NULL REFERENCES {PARENTS[level]}(id)")
            if level == "IMAGE":
                columns += [
                    "TransferSyntaxUID TEXT NOT NULL", "segment INTEGER NOT NULL", "place INTEGER NOT NULL",
                    "size INTEGER NOT NULL", "received INTEGER NOT NULL", "UNIQUE(segment, place)",
                ]  # fmt: skip
            elif level == "PATIENT":
                columns.append("UNIQUE(PatientID, IssuerOfPatientID)")
            else:
                columns.append(f"UNIQUE({'StudyInstanceUID' if level == 'STUDY' else 'parent, SeriesInstanceUID'})")
            statements.append(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, {', '.join(columns)})")
        searched: dict[str, list[list[str]]] = {level: list(keys) for level, keys in SEARCHED.items()}
        for level in ("PATIENT", "STUDY", "SERIES"):
            searched[level] += [[keyword] for keyword in self.levels[level] if keyword not in LEVELS[level]]
        for level in ("STUDY", "IMAGE"):  # of a series UNIQUE does it
            searched[level].append(["parent"])
        for level, indexes in searched.items():
            for keywords in indexes:
                for columns in self._searched(level, keywords):
                    name = f"{TABLES[level]}_{'_'.join(columns)}"
                    statements.append(f"CREATE INDEX {name} ON {TABLES[level]}({', '.join(columns)})")
        return statements

    def _searched(self, level: str, keywords: Sequence[str]) -> list[list[str]]:
        """The columns of an index for these keys together; a name has one for each of its component groups."""
        vr = self.levels[level].get(keywords[0], (0, ""))[1]
        if vr == "PN":
            return [[f"{keywords[0]}_{group}"] for group in match.GROUPS]
        return [[f"{k}_key" if self.levels[level].get(k, (0, ""))[1] == "TM" else k for k in keywords]]


class Index:
    """Patients, studies, series and instances of a store. All methods are thread-safe."""

    def __init__(
        self, where: Path | str, store: Store, *, read_only: bool, extra: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._store, self._read_only = store, read_only
        self.keys = Keys(extra or {})
        self._lock = threading.RLock()  # of the writing connection
        self._ids: dict[tuple[bytes, bytes], int] = {}  # (study UID, series UID): row of the series, known to be there
        self._stated: tuple[str, ...] = ()  # what a replacement said last of the levels above it
        self._awake, self._end = threading.Event(), threading.Event()
        self._idle = False  # whether the thread sleeps until `_awake`
        self._stopping = False
        self._done: tuple[int, dict[int, int]] = (-1, {})  # appended, and the extents, when it last had everything
        self._fails_at = _failpoint()
        layout = f"{SCHEMA}: {'; '.join(self.keys.schema())}"
        self.database: Database
        if isinstance(where, str):
            from dicore.store.postgres import Postgres

            self.database = Postgres(where, layout)
        else:
            self.database = SQLite(where, layout, read_only=read_only)
        if self.database.layout() != layout:
            self.database.create(layout, self.keys.schema())
        self._reconcile()
        self._thread: threading.Thread | None = None
        if not read_only:
            self._thread = threading.Thread(target=self._loop, name="dicore-index", daemon=True)
            self._thread.start()

    def _reconcile(self) -> None:
        """Drop what the segments do not have any more, all of it when the index belongs to other segments."""
        readable = self._store._readable()
        stale = False
        with self.database.transaction():
            for number, nonce, upto in self.database.execute("SELECT id, nonce, upto FROM segment"):
                same = number in readable and self._nonce(number) == nonce
                if same and upto <= readable[number] and number not in self._store._damaged:
                    continue
                stale = True
                end = readable[number] if same and number not in self._store._damaged else native.SEGMENT_HEADER
                self.database.execute("DELETE FROM instance WHERE segment = ? AND place >= ?", (number, end))
                if same:
                    self.database.execute("UPDATE segment SET upto = ? WHERE id = ?", (end, number))
                else:
                    self.database.execute("DELETE FROM segment WHERE id = ?", (number,))
            if stale:
                self._prune()

    def _prune(self) -> None:
        """Drop series, studies and patients that have nothing left."""
        for table, child in (("series", "instance"), ("study", "series"), ("patient", "study")):
            self.database.execute(
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
                except (OSError, StoreError) as error:
                    log.warning("the index is behind: %s", error)
                    seen = now["appended"]
                    break
                before = now["appended"]
                self._end.wait(IDLE)

    def catch_up(self, *, only_when_free: bool = False, progress: Callable[[int, int], object] | None = None) -> None:
        """Index everything that can be read now. `only_when_free`: give way to whoever wants the connection in
        between."""
        appended = self._store._native.counters()["appended"]
        targets = self._store._readable()
        if (appended, targets) == self._done:
            return
        done = 0
        while True:
            count = self._batch(targets)
            done += count
            if progress is not None:
                progress(done, len(self._store))
            if count == 0:
                self._done = appended, targets
                return
            if only_when_free and self._stopping:
                return

    def _batch(self, targets: Mapping[int, int] | None = None) -> int:
        """Index up to BATCH records in one transaction; returns how many records were passed, 0 when there was
        nothing."""
        targets = self._store._readable() if targets is None else targets
        with self._lock:
            upto: dict[int, int] = dict(self.database.execute("SELECT id, upto FROM segment"))
            for number in sorted(targets):
                start = upto.get(number, native.SEGMENT_HEADER)
                if start < targets[number]:
                    try:
                        segment = native.Segment(self._store._folder, number)
                    except FileNotFoundError:  # compacted away meanwhile
                        continue
                    break
            else:
                return 0
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
        standing = self._store._native.standing(number, entries)
        known: set[tuple[bytes, bytes]] = set()  # series of this batch
        rows = [
            row
            for entry, what in zip(files.ENTRY.iter_unpack(entries), standing, strict=True)
            if (what == native.LIVE or entry[5] & native.DELETED)
            and (row := self._read(segment, entry, known)) is not None
        ]
        if self._fails_at and entries:
            self._fails_at -= 1
            if not self._fails_at:
                os.kill(os.getpid(), signal.SIGKILL)
        try:
            with self.database.transaction():
                if self.database.others_wrote():
                    self._ids.clear()
                waiting: list[tuple[Any, ...]] = []
                for row in rows:
                    if row.flags & (native.REPLACES | native.DELETED):
                        self.database.many(self.keys.insert, waiting)
                        waiting = []
                        self._forget(row.uid, row.received)
                    if row.flags & native.REPLACES:
                        self._restate(row)
                    if not row.flags & native.DELETED:
                        waiting.append((self._series(row), *row.values))
                if waiting:
                    self.database.many(self.keys.insert, waiting)
                self.database.execute(
                    "INSERT INTO segment(id, nonce, upto) VALUES(?, ?, ?) "
                    "ON CONFLICT(id) DO UPDATE SET upto = excluded.upto, nonce = excluded.nonce",
                    (number, f"{segment.nonce:016x}", upto),
                )
        except BaseException:
            self._ids.clear()  # some of them were rolled back
            raise

    def _read(
        self, segment: native.Segment, entry: tuple[bytes, int, int, int, int, int], known: set[tuple[bytes, bytes]]
    ) -> _Row | None:
        """What the index holds of a record; None when it holds nothing of it. A series in `known` has its values."""
        _, received, unit, units, _, flags = entry
        offset = unit * native.RECORD_UNIT
        keys = self.keys
        try:
            uid, syntax, big_endian, raw = segment.values(offset, keys.tags)
            if raw is None:  # deflated
                file, data_offset, _, _ = self._store._maps.record(segment.id, offset)
                found = dataset_native.select(file[data_offset:], keys.tags, syntax)
                raw = [None if v is None else bytes(v) for v in found]
            at = keys.at
            series = bytes(raw[at[0x0020000D]] or b"").rstrip(b"\0 "), bytes(raw[at[0x0020000E]] or b"").rstrip(b"\0 ")
            whole = (series not in self._ids and series not in known) or bool(flags & native.REPLACES)
            if not whole:  # the levels above have their values already
                tags = keys.image_tags
                text = keys.text(tags, [raw[at[tag]] for tag in tags], big_endian)
            else:
                text = keys.text(keys.tags, raw, big_endian)
                if not flags & (native.DELETED | native.REPLACES):
                    known.add(series)
        except (StoreCorrupt, DicomFormatError) as error:
            log.warning("%s, byte %d: not indexed: %s", files.segment_name(segment.id), offset, error)
            return None
        text["SOPInstanceUID"] = uid  # of the file meta: what it was stored under
        place = syntax, segment.id, offset, units * native.RECORD_UNIT, received
        return _Row(series, text, whole, (*keys.row("IMAGE", text), *place), uid, received, flags)

    def _forget(self, uid: str, before: int) -> None:
        """Drop older instances of this UID, and what has nothing left without them."""
        which = "SOPInstanceUID = ? AND received < ?", (uid, before)
        ids = [row[0] for row in self.database.execute(f"SELECT parent FROM instance WHERE {which[0]}", which[1])]
        if not ids:
            return
        self.database.execute(f"DELETE FROM instance WHERE {which[0]}", which[1])
        for table, child in (("series", "instance"), ("study", "series"), ("patient", "study")):
            empty = [
                i for i in ids if not self.database.execute(f"SELECT 1 FROM {child} WHERE parent = ? LIMIT 1", (i,))
            ]
            above = "NULL" if table == "patient" else "parent"
            ids = [
                row[0]
                for i in empty
                for row in self.database.execute(f"SELECT {above} FROM {table} WHERE id = ?", (i,))
            ]
            for i in empty:
                self.database.execute(f"DELETE FROM {table} WHERE id = ?", (i,))
            if empty:
                self._ids.clear()

    def _series(self, row: _Row) -> int:
        """The id of the instance's series. It, its study and patient are made where they are not there yet, with the
        values of the first instance; a study stays with the patient it was first seen with. Two who come at once make
        one: the database decides."""
        found = self._ids.get(row.series)
        if found is not None:
            return found
        text = row.text
        if not row.whole:  # it was known when the record was read, and is not now
            text = {**text, **self._all_text(row)}
        studies = self.database.execute("SELECT id FROM study WHERE StudyInstanceUID = ?", (text["StudyInstanceUID"],))
        study = studies[0][0] if studies else self._made("STUDY", text, self._made("PATIENT", text, None))
        if len(self._ids) > 20_000:
            self._ids.clear()
        self._ids[row.series] = found = self._made("SERIES", text, study)
        return found

    def _restate(self, row: _Row) -> None:
        """What replaces an instance says anew what its series, study and patient are, and whose the study is."""
        text = row.text
        stated = tuple(value for level in ("PATIENT", "STUDY", "SERIES") for value in self.keys.row(level, text))
        if stated == self._stated and row.series in self._ids:
            return
        studies = self.database.execute(
            "SELECT id, parent FROM study WHERE StudyInstanceUID = ?", (text["StudyInstanceUID"],)
        )
        patient = self._made("PATIENT", text, None)
        self._update("PATIENT", text, patient, None)
        if not studies:
            return  # it is made as any other
        study, owner = studies[0]
        self._update("STUDY", text, study, patient)
        series = self.database.execute(
            "SELECT id FROM series WHERE parent = ? AND SeriesInstanceUID = ?", (study, text["SeriesInstanceUID"])
        )
        if series:
            self._update("SERIES", text, series[0][0], study)
        if owner != patient and not self.database.execute("SELECT 1 FROM study WHERE parent = ? LIMIT 1", (owner,)):
            self.database.execute("DELETE FROM patient WHERE id = ?", (owner,))
        self._stated = stated

    def _update(self, level: str, text: Mapping[str, str], row: int, parent: int | None) -> None:
        columns, values = self.keys.columns(level), list[Any](self.keys.row(level, text))
        if parent is not None:
            columns, values = ["parent", *columns], [parent, *values]
        what = ", ".join(f"{column} = ?" for column in columns)
        self.database.execute(f"UPDATE {TABLES[level]} SET {what} WHERE id = ?", [*values, row])

    def _all_text(self, row: _Row) -> dict[str, str]:
        segment = native.Segment(self._store._folder, row.values[-4])
        try:
            _, _, big_endian, raw = segment.values(row.values[-3], self.keys.tags)
        finally:
            segment.close()
        text = self.keys.text(self.keys.tags, raw or [None] * len(self.keys.tags), big_endian)
        return {keyword: value for keyword, value in text.items() if keyword != "SOPInstanceUID"}

    def _made(self, level: str, text: Mapping[str, str], parent: int | None) -> int:
        """The id of a row, made unless it is there."""
        columns: list[str] = self.keys.columns(level)
        values: list[Any] = list(self.keys.row(level, text))
        all_unique: dict[str, dict[str, Any]] = {
            "PATIENT": {name: text[name] for name in ("PatientID", "IssuerOfPatientID")},
            "STUDY": {"StudyInstanceUID": text["StudyInstanceUID"]},
            "SERIES": {"parent": parent, "SeriesInstanceUID": text["SeriesInstanceUID"]},
        }
        unique = all_unique[level]
        if parent is not None:
            columns, values = ["parent", *columns], [parent, *values]
        sql = f"INSERT INTO {TABLES[level]}({', '.join(columns)}) VALUES({', '.join('?' * len(columns))}) "
        rows = self.database.execute(f"{sql}ON CONFLICT DO NOTHING RETURNING id", values)
        if not rows:
            where = " AND ".join(f"{column} = ?" for column in unique)
            rows = self.database.execute(f"SELECT id FROM {TABLES[level]} WHERE {where}", list(unique.values()))
        return int(rows[0][0])

    # ---- after a compaction ------------------------------------------------------------------------------------------

    def moved(self, moves: Sequence[tuple[int, bytes, bytes]], to: int, nonce: int, end: int) -> None:
        """Records of some segments now stand in another."""
        sql = "UPDATE instance SET segment = ?, place = ? WHERE segment = ? AND place = ?"
        unit = native.RECORD_UNIT
        with self._lock, self.database.transaction():
            for number, entries, copies in moves:
                pairs = zip(files.ENTRY.iter_unpack(entries), files.ENTRY.iter_unpack(copies), strict=True)
                self.database.many(sql, [(to, new[2] * unit, number, old[2] * unit) for old, new in pairs])
            self.database.execute(  # from the beginning: what the index had not met of the old segments is met there
                "INSERT INTO segment(id, nonce, upto) VALUES(?, ?, ?) ON CONFLICT DO NOTHING",
                (to, f"{nonce:016x}", native.SEGMENT_HEADER),
            )

    def dropped(self, number: int) -> None:
        """The segment is gone."""
        with self._lock, self.database.transaction():
            if self.database.execute("SELECT 1 FROM instance WHERE segment = ? LIMIT 1", (number,)):
                self.database.execute("DELETE FROM instance WHERE segment = ?", (number,))
                self._prune()
            self.database.execute("DELETE FROM segment WHERE id = ?", (number,))

    # ---- answering ---------------------------------------------------------------------------------------------------

    def find(self, level: str, keys: Mapping[str, Any], *, fold: match.Fold = "case") -> list[dict[str, str]]:
        level = level_of(level)
        wanted = list(self.names(level))
        return list(self.select(level, keys, wanted, fold=fold, ordered=True))

    def names(self, level: str) -> dict[str, tuple[str, str]]:
        """The keywords that can be asked for at a level: (SQL, VR)."""
        names = {}
        for name in list(LEVELS)[: list(LEVELS).index(level) + 1]:
            for keyword, (_, vr) in self.keys.levels[name].items():
                names[keyword] = f"{TABLES[name]}.{keyword}", vr
        for keyword, sql in COMPUTED[level].items():
            names[keyword] = sql, "IS"
        if level == "IMAGE":
            names["TransferSyntaxUID"] = "instance.TransferSyntaxUID", "UI"
        return names

    def statement(
        self,
        level: str,
        keys: Mapping[str, Any],
        wanted: Sequence[str],
        *,
        skip: Iterable[str] = (),
        days: int = 0,
        first_uid: bool = False,
        ordered: bool = False,
    ) -> tuple[str, list[Any]]:
        """The query for keys that the index has; of those in `skip` only the dates, and `days` around them. `ordered`:
        as they came in, else as they are found, which needs nothing but the next one."""
        names = self.names(level)
        above = list(LEVELS)[: list(LEVELS).index(level) + 1]
        begin = self._begin(level, keys)
        conditions, values = [], []
        for keyword, value in keys.items():
            found = None
            if keyword == "ModalitiesInStudy" and "STUDY" in above:
                found = self._condition("m.Modality", "CS", value)
                if found and begin:
                    found = f"EXISTS (SELECT 1 FROM series m WHERE m.parent = study.id AND {found[0]})", found[1]
                elif found:  # nothing else says which studies
                    begin, found = "STUDY", (f"study.id IN (SELECT m.parent FROM series m WHERE {found[0]})", found[1])
            elif keyword == "SOPClassesInStudy" and "STUDY" in above:
                found = self._condition("n.SOPClassUID", "UI", value)
                if found:
                    lower = "series m JOIN instance n ON n.parent = m.id"
                    found = f"EXISTS (SELECT 1 FROM {lower} WHERE m.parent = study.id AND {found[0]})", found[1]
            elif keyword in COMPUTED[level] and not match.is_universal("IS", value):
                found = f"{names[keyword][0]} = {int(value)}", []
            elif keyword in names:
                sql, vr = names[keyword]
                first = bool(begin) and sql.startswith(f"{TABLES[begin]}.")
                found = self._condition(f"{sql}_key" if vr == "TM" else sql, vr, value, first=first)
                if keyword in skip:  # looked at afterwards: here only what leaves nothing out
                    found = match.around(sql, str(value), days) if vr == "DA" and found and value != '""' else None
            else:
                raise ValueError(f"{keyword} is not a key of the {level} level; those are {', '.join(sorted(names))}")
            if found:
                conditions.append(found[0])
                values += found[1]
        # the table that is searched first, then what is above it, then what is below. CROSS JOIN is for SQLite: it
        # keeps the order, where its planner, knowing no figures, would rather walk the largest table
        at = above.index(begin) if begin else 0
        order = [*above[at::-1], *above[at + 1 :]]
        joined = [f"{TABLES[name]}.parent = {PARENTS[name]}.id" for name in above[1:]]
        columns = [self._column(names[keyword][0]) for keyword in wanted] + ([_FIRST[level]] if first_uid else [])
        tables = (" CROSS JOIN " if begin else ", ").join(TABLES[name] for name in order)
        where = f" WHERE {' AND '.join([*joined, *conditions])}" if joined or conditions else ""
        # + so that a planner sorts what was found, and does not walk the whole table because it is sorted already
        last = f" ORDER BY {'+' if conditions else ''}{TABLES[level]}.id" if ordered else ""
        return f"SELECT {', '.join(columns)} FROM {tables}{where}{last}", values

    def _begin(self, level: str, keys: Mapping[str, Any]) -> str:
        """The level whose table is searched first: that of the key which leaves least. "": no key leaves little."""
        best, found = 0.9, ""
        for name in list(LEVELS)[: list(LEVELS).index(level) + 1]:
            searched = (
                {one[0] for one in SEARCHED[name]} | {UNIQUE[name]} | set(self.keys.levels[name]) - set(LEVELS[name])
            )
            for keyword in searched & keys.keys():
                vr = self.keys.levels[name][keyword][1]
                left = match.share(vr, keys[keyword], unique=keyword in ("PatientID", "AccessionNumber"))
                if left < best:
                    best, found = left, name
        return found

    def _condition(self, column: str, vr: str, value: Any, *, first: bool = False) -> match.Condition | None:
        database = self.database
        return match.condition(column, vr, value, wild=database.wild, integer=database.integer, first=first)

    def _column(self, sql: str) -> str:
        begin, found, rest = sql.partition("{joined:")
        if not found:
            return sql
        inner, _, end = rest.partition("}")
        return f"{begin}{self.database.joined.format(inner)}{end}"

    def select(
        self,
        level: str,
        keys: Mapping[str, Any],
        wanted: Sequence[str],
        *,
        fold: match.Fold = "case",
        combined: bool = False,
        zone: str = "",
        first: bool = False,
        ordered: bool = False,
    ) -> Iterator[dict[str, str]]:
        """Rows of `wanted` for what matches; with `first` also "", an instance's UID. ValueError at once for a wrong
        key."""
        names = self.names(level)
        moments = [
            pair for pair in MOMENTS
            if (combined or zone) and pair[0] in names
            and any(not match.is_universal("DA", keys.get(k, "")) and keys.get(k) != '""' for k in pair)
        ]  # fmt: skip
        skip = {keyword for pair in moments for keyword in pair}
        people = {
            k: v
            for k, v in keys.items()
            if k in names and names[k][1] == "PN" and not match.is_universal("PN", v) and v != '""'
        }
        columns = list(
            dict.fromkeys([*wanted, *people, *skip, *(["TimezoneOffsetFromUTC"] if zone and moments else [])])
        )
        sql, values = self.statement(
            level, keys, columns, skip=skip, days=2 if zone else 0, first_uid=first, ordered=ordered
        )
        return self._rows(sql, values, columns, set(wanted), people, moments, keys, fold, combined, zone)

    def _rows(
        self, sql: str, values: list[Any], columns: list[str], wanted: set[str], people: Mapping[str, Any],
        moments: list[tuple[str, str]], keys: Mapping[str, Any], fold: match.Fold, combined: bool, zone: str,
    ) -> Iterator[dict[str, str]]:  # fmt: skip
        for row in self.database.read(sql, values):
            found = dict(zip([*columns, ""], ["" if v is None else str(v) for v in row], strict=False))
            for name in LISTS:
                if name in found:
                    found[name] = "\\".join(sorted(found[name].split(",")))
            if fold != "accent" and not all(match.matches("PN", key, found[k], fold=fold) for k, key in people.items()):
                continue
            if fold == "accent" and not all(
                match.matches("PN", key, found[k], fold=fold) for k, key in people.items() if "=" in str(key)
            ):
                continue
            if not all(match.in_time(pair, keys, found, combined=combined, zone=zone) for pair in moments):
                continue
            yield {k: v for k, v in found.items() if k in wanted or k == ""}

    def listing(self, keys: Mapping[str, Any]) -> list[tuple[str, str, str, int]]:
        """(SOP Instance UID, SOP Class UID, Transfer Syntax UID, bytes of its record) of the instances that match, in
        the order they came in."""
        sql, values = self.statement("IMAGE", keys, ["SOPInstanceUID"], ordered=True)
        columns = "instance.SOPInstanceUID, instance.SOPClassUID, instance.TransferSyntaxUID, instance.size"
        sql = sql.replace("SELECT instance.SOPInstanceUID FROM", f"SELECT {columns} FROM", 1)
        found = self.database.read(sql, values)
        return [(str(uid), str(kind), str(syntax), int(size)) for uid, kind, syntax, size in found]

    def counts(self) -> dict[str, int]:
        return {
            name: int(self.database.execute(f"SELECT count(*) FROM {table}")[0][0])
            for name, table in (("patients", "patient"), ("studies", "study"), ("series", "series"))
        }

    def ages(self) -> list[tuple[str, int, int]]:
        """(Study Instance UID, when its last instance came in, bytes of its records), the oldest first."""
        sql = (
            "SELECT study.StudyInstanceUID, max(instance.received), sum(instance.size) FROM study "
            "JOIN series ON series.parent = study.id JOIN instance ON instance.parent = series.id "
            "GROUP BY study.id, study.StudyInstanceUID ORDER BY 2"
        )
        return [(str(uid), int(received), int(size)) for uid, received, size in self.database.execute(sql)]

    def instances_of(self, studies: Iterable[str]) -> list[tuple[str, str]]:
        """(SOP Class UID, SOP Instance UID) of all instances of studies."""
        sql = (
            "SELECT instance.SOPClassUID, instance.SOPInstanceUID FROM study JOIN series ON series.parent = study.id "
            "JOIN instance ON instance.parent = series.id WHERE study.StudyInstanceUID = ?"
        )
        return [(str(a), str(b)) for study in studies for a, b in self.database.execute(sql, (study,))]

    def rebuild(self, progress: Callable[[int, int], object] | None = None) -> int:
        """Forget everything and index all segments again; returns how many instances there are."""
        with self._lock:
            with self.database.transaction():
                for table in ("instance", "series", "study", "patient", "segment"):
                    self.database.execute(f"DELETE FROM {table}")
            self._ids.clear()
            self._done = -1, {}
            self.catch_up(progress=progress)
            return int(self.database.execute("SELECT count(*) FROM instance")[0][0])

    def close(self) -> None:
        self._stopping = True
        self._end.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self.database.close()


def level_of(name: str) -> str:
    level = {"INSTANCE": "IMAGE", "STUDIES": "STUDY"}.get(name.upper(), name.upper())
    if level not in LEVELS:
        raise ValueError(f"level {name!r}: PATIENT, STUDY, SERIES or IMAGE")
    return level


def _failpoint() -> int:
    """DICORE_FAILPOINT=index-commit:n kills the process before the n-th batch is committed; 0: never."""
    name, _, count = os.environ.get("DICORE_FAILPOINT", "").partition(":")
    return int(count or "1") if name == "index-commit" else 0
