"""Corrections: attributes of stored instances changed by new records in place of the old ones.

What was there goes into the Original Attributes Sequence (PS3.3 C.12.1.1.9), the SOP Instance UID stays, and the new
record ends the old one in the same write, so every instance is at each moment either as it was or as it shall be.
`corrections.jsonl` in the store's folder says what is meant before anything is changed: opening a store finishes what a
crash cut short, and the log can be replayed on a copy that was made before.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dicore._native import store as native
from dicore.errors import CharacterSetError, DicoreError, StoreError
from dicore.store import files, query

if TYPE_CHECKING:
    from dicore.dataset import Dataset
    from dicore.store.store import Store

log = logging.getLogger("dicore.store")

LOG = "corrections.jsonl"
OF_PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
FIXED = ("SOPInstanceUID", "SOPClassUID", "OriginalAttributesSequence", "SpecificCharacterSet")  # not to be corrected
Reason = Literal["COERCE", "CORRECT"]


@dataclass
class CorrectReport:
    """What a correction did: instances changed, instances that were so already, and (UID, reason) for the others."""

    changed: int = 0
    unchanged: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def amended(
    dataset: Dataset, changes: Mapping[str, Any], *, system: str, reason: Reason, when: str = "", source: str = ""
) -> Dataset:
    """The data set with changes made, and what was there before recorded (PS3.3 C.12.1.1.9). Text that its character
    set does not have turns it to UTF-8. ValueError for a value that does not fit, or no such keyword."""
    before = {key: dataset[key].value for key in changes if key in dataset}
    entry = {
        "ModifiedAttributesSequence": [before],
        "AttributeModificationDateTime": when or _now(),
        "ModifyingSystem": system,
        "SourceOfPreviousValues": source,
        "ReasonForTheAttributeModification": reason,
    }
    earlier = list(dataset.get("OriginalAttributesSequence") or ())
    edits = {**changes, "OriginalAttributesSequence": [*earlier, entry]}
    try:
        return dataset.edit(edits)
    except CharacterSetError:
        return dataset.edit({"SpecificCharacterSet": "ISO_IR 192"}).edit(edits)


def correct(
    store: Store,
    what: str,
    instances: list[str],
    changes: Mapping[str, Any],
    *,
    system: str,
    reason: Reason,
    progress: Callable[[int, int], object] | None,
) -> CorrectReport:
    check(changes)
    entry = {"id": uuid.uuid4().hex, "what": what, "when": _now(), "changes": dict(changes), "reason": reason,
             "system": system, "instances": instances}  # fmt: skip
    try:
        json.dumps(entry)
    except TypeError as error:
        raise ValueError(f"a change that is no text or number cannot be logged: {error}") from None
    with _locked(store.path) as journal:
        _write(journal, entry)
        return _finish(store, journal, entry, progress)


def check(changes: Mapping[str, Any]) -> None:
    """ValueError for what cannot be corrected: nothing, what identifies the instance, or no keyword."""
    from dicore.dataset.dictionary import keyword_to_tag

    if not changes:
        raise ValueError("a correction needs something to change")
    for keyword in changes:
        tag = keyword_to_tag(keyword)
        if tag is None:
            raise ValueError(f"{keyword!r} is not a keyword of the data dictionary")
        if keyword in FIXED or tag >> 16 in (0x0000, 0x0002, 0x0028, 0x7FE0):  # the last two: the pixels
            raise ValueError(f"{keyword} of a stored instance is not changed")


def unfinished(path: Path) -> list[dict[str, Any]]:
    """The corrections of a log that have begun and not ended."""
    open_ones: dict[str, dict[str, Any]] = {}
    for entry in entries(path):
        if "done" in entry:
            open_ones.pop(entry["id"], None)
        else:
            open_ones[entry["id"]] = entry
    return list(open_ones.values())


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log; one that a crash cut short is left out."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                    yield entry


def resume(store: Store) -> None:
    """Finish what was begun, unless another process is at it. Called when a store is opened."""
    if not unfinished(store.path / LOG):
        return
    try:
        with _locked(store.path, wait=False) as journal:
            for entry in unfinished(store.path / LOG):
                report = _finish(store, journal, entry, None)
                log.warning("a correction (%s) had not ended: %d instances changed now", entry["what"], report.changed)
    except BlockingIOError:
        log.info("another process is correcting instances of %s", store.path)


def replay(store: Store, path: Path) -> CorrectReport:
    """Make all corrections of another log here too, in their order; what is so already stays."""
    whole = CorrectReport()
    with _locked(store.path) as journal:
        for entry in entries(path):
            if "done" in entry:
                continue
            check(entry["changes"])
            mine = {**entry, "id": uuid.uuid4().hex, "instances": [uid for uid in entry["instances"] if uid in store]}
            if not mine["instances"]:
                continue
            _write(journal, mine)
            report = _finish(store, journal, mine, None)
            whole.changed += report.changed
            whole.unchanged += report.unchanged
            whole.failures += report.failures
    return whole


def _finish(
    store: Store, journal: int, entry: Mapping[str, Any], progress: Callable[[int, int], object] | None
) -> CorrectReport:
    report = _apply(store, entry, progress)
    _write(journal, {"id": entry["id"], "done": report.changed, "when": _now(), "failures": report.failures})
    return report


def _apply(store: Store, entry: Mapping[str, Any], progress: Callable[[int, int], object] | None) -> CorrectReport:
    from dicore.store.store import AddReport, Pending

    report, sent = CorrectReport(), AddReport()
    pending = Pending(sent)
    wanted = entry["instances"]
    for count, uid in enumerate(wanted, 1):
        store._fails("correct-half")
        try:
            dataset = store[uid]
            changes = {k: v for k, v in entry["changes"].items() if v not in ("", None) or k in dataset}
            if _is_so(dataset, changes):
                report.unchanged += 1
            else:
                new = amended(dataset, changes, system=entry["system"], reason=entry["reason"], when=entry["when"])
                file = new.part10_bytes()
                sop_class, _, syntax, source_ae, start = native.part10(file)
                pending.begin()
                try:
                    if store._replace(sop_class, uid, syntax, [file[start:]], source_ae, pending.done, Path(uid)):
                        pending.done([(Path(uid), None)])
                except BaseException as error:
                    pending.done([(Path(uid), StoreError(str(error)))])
                    raise
        except KeyError:
            report.failures.append((uid, "it is not stored"))
        except OSError:  # the disk is full, or worse: what is left can be finished later
            pending.wait()
            raise
        except (DicoreError, ValueError) as error:
            report.failures.append((uid, str(error)))
        if progress is not None:
            progress(count, len(wanted))
    pending.wait()
    report.changed = sent.added
    known = {uid for uid, _ in report.failures}
    report.failures += [(str(uid), why) for uid, why in sent.failures if str(uid) not in known]
    store._note_append()
    return report


def _is_so(dataset: Dataset, changes: Mapping[str, Any]) -> bool:
    """Does the data set have all these values already?"""
    charsets = tuple(str(dataset.get("SpecificCharacterSet") or "").split("\\"))
    for keyword, value in changes.items():
        if not isinstance(value, str | int | float | None):
            return False
        have = query.value_of(dataset[keyword], charsets) if keyword in dataset else ""
        if have != ("" if value is None else str(value).strip()):
            return False
    return True


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M%S.%f+0000")


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[int]:
    """The log, open for appending; only one process corrects at a time."""
    file = os.open(folder / LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        size = os.fstat(file).st_size
        if not size:  # it may be new: its name must be as durable as what is written into it
            files.sync_folder(folder)
        if size and os.pread(file, 1, size - 1) != b"\n":  # a line that a crash cut short
            os.write(file, b"\n")
        yield file
    finally:
        os.close(file)


def _write(journal: int, entry: Mapping[str, Any]) -> None:
    data = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
    while data:
        data = data[os.write(journal, data) :]
    os.fsync(journal)


def patient_of(rows: Iterable[Mapping[str, str]], patient_id: str) -> dict[str, str]:
    """The attributes of a patient as the index has them. ValueError when there is none, or more than one."""
    found = [{key: row[key] for key in OF_PATIENT} for row in rows if row["PatientID"] == patient_id]
    if len(found) != 1:
        raise ValueError(f"there {'is no patient' if not found else f'are {len(found)} patients'} {patient_id!r} here")
    return found[0]


def literal(value: str) -> str:
    """A value as a key that matches at least it: what stands for something else in a key becomes `?`. Who needs it
    alone compares again."""
    return "".join("?" if c in "*\\" else c for c in value)
