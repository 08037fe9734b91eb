"""Scheduled procedure steps in a database of the store's folder: the modality worklist without a folder of files.

They are nobody's copy, unlike the index, so they stand in a file of their own, `worklist.sqlite`, each durable when
`add` returns. What a worklist is usually asked by (station, modality, date, patient, accession) has columns and
indexes; whatever else an identifier holds is matched on what they find."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicore.dataset import from_json
from dicore.errors import DicoreError, StoreError
from dicore.server.worklist import Worklist, load
from dicore.store import match
from dicore.store.query import text_of

if TYPE_CHECKING:
    from dicore.dataset import Dataset

__all__ = ["Schedule"]

_STEP = "ScheduledProcedureStepSequence"
# column: where it stands in an item, and its VR
_COLUMNS = {
    "station": (_STEP, "ScheduledStationAETitle", "AE"), "modality": (_STEP, "Modality", "CS"),
    "start": (_STEP, "ScheduledProcedureStepStartDate", "DA"),
    "clock": (_STEP, "ScheduledProcedureStepStartTime", "TM"),
    "patient": ("", "PatientID", "LO"), "accession": ("", "AccessionNumber", "SH"),
    "procedure": ("", "RequestedProcedureID", "SH"), "name": ("", "PatientName", "PN"),
}  # fmt: skip
_FOLDED = [f"name_{group}" for group in match.GROUPS]
_STORED = [name for name in _COLUMNS if name != "name"] + _FOLDED


class Schedule(Worklist):
    """The scheduled steps of a store. Thread-safe; several processes may have it open. Raises StoreError, OSError."""

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self.path = Path(store) / "worklist.sqlite"
        self._lock = threading.Lock()
        with _told(self.path):
            self._database = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=30)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            columns = ", ".join(f"{name} TEXT NOT NULL" for name in _STORED)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS step(id INTEGER PRIMARY KEY, study TEXT NOT NULL, step TEXT NOT NULL, "
                f"{columns}, item TEXT NOT NULL, UNIQUE(study, step))"
            )
            for name in ("start, station", "patient", "accession", *_FOLDED):
                index = name.replace(", ", "_")
                self._database.execute(f"CREATE INDEX IF NOT EXISTS step_{index} ON step({name})")

    def add(self, items: Iterable[Dataset | str | os.PathLike[str]]) -> int:
        """Schedule steps: data sets, or files (Part 10, or .json as PS3.18 annex F has it). A step that is there
        already, by Study Instance UID and Scheduled Procedure Step ID, is replaced. Durable when this returns, all of
        them or none; how many. DicoreError for what is no worklist item."""
        rows = []
        for item in items:
            dataset = load(os.fspath(item)) if isinstance(item, str | os.PathLike) else item
            text = text_of(dataset)
            steps = text.get(_STEP)
            if not steps or not isinstance(steps, list):
                name = os.fspath(item) if isinstance(item, str | os.PathLike) else "the data set"
                raise DicoreError(f"{name} is no worklist item: it has no {_STEP}")
            key = str(text.get("StudyInstanceUID", "")), str(steps[0].get("ScheduledProcedureStepID", ""))
            rows.append([*key, *_values(text), dataset.to_json()])
        sql = (
            f"INSERT INTO step(study, step, {', '.join(_STORED)}, item) VALUES({', '.join('?' * (len(_STORED) + 3))}) "
        )
        sql += "ON CONFLICT(study, step) DO UPDATE SET "
        sql += ", ".join(f"{name} = excluded.{name}" for name in [*_STORED, "item"])
        with self._lock, _told(self.path), _transaction(self._database):
            self._database.executemany(sql, rows)
        return len(rows)

    def remove(self, keys: Mapping[str, Any]) -> int:
        """Take out what an identifier matches (keys of the step itself stand in a ScheduledProcedureStepSequence);
        how many. ValueError for a key that is none, or when no key restricts anything."""
        if not any(keys.values()):
            raise ValueError("remove needs a key that says what")
        with self._lock, _told(self.path), _transaction(self._database):
            doomed = [number for number, item in self._candidates(keys) if self.takes(keys, item)]
            self._database.executemany("DELETE FROM step WHERE id = ?", [(number,) for number in doomed])
        return len(doomed)

    def __len__(self) -> int:
        with self._lock, _told(self.path):
            return int(self._database.execute("SELECT count(*) FROM step").fetchone()[0])

    def items(self) -> list[dict[str, Any]]:
        return self.candidates({})

    def candidates(self, keys: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._lock, _told(self.path):
            return [item for _, item in self._candidates(keys)]

    def _candidates(self, keys: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
        sql, values = self.statement(keys)
        return [(row[0], text_of(from_json(row[1]))) for row in self._database.execute(sql, values)]

    def statement(self, keys: Mapping[str, Any]) -> tuple[str, list[str]]:
        """The query for the keys that have columns: what it finds is looked at again. ValueError."""
        step = keys.get(_STEP) or [{}]
        conditions, values = [], []
        for column, (sequence, keyword, vr) in _COLUMNS.items():
            key = (step[0] if isinstance(step, list) and step else {}).get(keyword) if sequence else keys.get(keyword)
            found = match.condition(f"step.{column}", vr, key, first=True) if key else None
            if found:
                conditions.append(found[0])
                values += found[1]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT step.id, step.item FROM step{where} ORDER BY +step.start, +step.clock, +step.id", values

    def plan(self, keys: Mapping[str, Any]) -> str:
        """How SQLite would answer it, in words."""
        sql, values = self.statement(keys)
        with self._lock:
            return "\n".join(str(row[3]) for row in self._database.execute(f"EXPLAIN QUERY PLAN {sql}", values))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The items as DICOM JSON, in the order of their start."""
        with self._lock, _told(self.path):
            found = self._database.execute("SELECT item FROM step ORDER BY start, clock, id").fetchall()
        return (json.loads(row[0]) for row in found)

    def close(self) -> None:
        with self._lock:
            self._database.close()


def _values(text: Mapping[str, Any]) -> list[str]:
    step: Mapping[str, Any] = text[_STEP][0] if text[_STEP] else {}
    values: list[str] = []
    for sequence, keyword, vr in _COLUMNS.values():
        value = str((step if sequence else text).get(keyword, "") or "")
        if vr == "PN":
            values += match.name_groups(value)
        else:
            values.append({"DA": match.full_date, "TM": match.full_time}.get(vr, str)(value))
    return values  # in the order of _STORED: the name is the last


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
