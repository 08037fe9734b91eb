"""De-identification by PS3.15 annex E: the Basic Profile and its options, in one native pass.

`dicore.deidentify(ds, key=...)` gives a new Dataset. What is kept and what goes is table E.1-1 (edition 2026c,
`dicore.deidentify.table`); the choices that the table leaves open are listed in `dicore.deidentify.profile`. In short:

- every element of the table is replaced, emptied or removed as it says, in every sequence however deep;
- UIDs become 2.25.<number> by a keyed hash: the same UID gives the same new one in every file that is treated with the
  same key, so references hold over any number of files, runs and machines, and there is no table to keep;
- dates are replaced by a dummy, or with `retain_modified_dates` moved by a number of whole days that is the patient's
  own (one to eleven years back); times of day stay then;
- private elements go, and so do public ones that the standard does not know; file meta and preamble are made anew;
- (0012,0062) to (0012,0064), (0028,0303) say what was done.

**What it does not do**: look at pixels. Text burned into an image, a face in a head scan, comments inside a compressed
stream are the caller's to deal with; `Report.burned_in_annotation` counts what the files say of themselves.
"""

from __future__ import annotations

import sys
import types
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicore.dataset import Dataset
from dicore.dataset.dictionary import tag_to_keyword
from dicore.deidentify.profile import EDITION, OPTIONS, Action, Policy, policy

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined, unused-ignore]  # Python 3.12

__all__ = ["EDITION", "OPTIONS", "Action", "Report", "deidentify", "deidentify_bytes"]


@dataclass
class Report:
    """What was done, added up over any number of data sets. It names tags and actions; no value, old or new, is in
    it."""

    instances: int = 0
    changes: Counter[tuple[int, Action]] = field(default_factory=Counter)
    """(tag, action): how often, at any depth."""
    burned_in_annotation: Counter[str] = field(default_factory=Counter)
    """Burned In Annotation (0028,0301) of the originals: 'YES', 'NO' or 'not said'."""

    def add(self, log: Iterable[tuple[int, int, int]], burned_in: str | None) -> None:
        self.instances += 1
        for tag, action, _ in log:
            self.changes[tag, Action(action)] += 1
        self.burned_in_annotation[burned_in or "not said"] += 1

    def update(self, other: Report) -> None:
        """Add what another one counted."""
        self.instances += other.instances
        self.changes.update(other.changes)
        self.burned_in_annotation.update(other.burned_in_annotation)

    @property
    def actions(self) -> dict[str, int]:
        """Name of the action: how many elements."""
        found: Counter[str] = Counter()
        for (_, action), count in self.changes.items():
            found[action.name.lower()] += count
        return dict(sorted(found.items()))

    def as_dict(self) -> dict[str, Any]:
        """As JSON: instances, totals, and per tag its keyword and what was done how often."""
        tags: dict[str, dict[str, Any]] = {}
        for (tag, action), count in sorted(self.changes.items()):
            name = f"{tag >> 16:04X},{tag & 0xFFFF:04X}"
            entry = tags.setdefault(name, {"keyword": tag_to_keyword(tag) or ""})
            entry[action.name.lower()] = count
        return {
            "edition": EDITION,
            "instances": self.instances,
            "actions": self.actions,
            "burned_in_annotation": dict(self.burned_in_annotation),
            "tags": tags,
        }


def deidentify(
    ds: Dataset,
    *,
    profile: str = "basic",
    options: Iterable[str] = (),
    key: bytes,
    mapping: Mapping[str, str | tuple[str, str]] | None = None,
    report: Report | None = None,
) -> Dataset:
    """A new Dataset without the identities in `ds` (PS3.15 annex E), over the bytes of a whole new file.

    `options` are names of `OPTIONS`; `clean_pixel_data` only records that whoever calls has cleaned the pixels. `key`
    is 16 secret random bytes or more: keep it to get the same UIDs, pseudonyms and dates for further files of the
    set, destroy it and nobody can link the two. `mapping` gives new identifiers by Patient ID, as an ID or (ID, name)
    in ASCII; without it they are pseudonyms made with the key. `report` is added to.

    `ds` is a whole data set, not an item; changes recorded on it count. Compressed and native pixels are copied
    untouched; a deflated data set comes out as explicit VR little endian. What is read leniently is written as it was
    understood.

    Raises ValueError (profile, options, key, an item), LookupError when `mapping` lacks the patient, DicomFormatError
    for a DICOMDIR, for a data set without SOP Class or Instance UID, and for what `read` raises it.
    """
    chosen = policy(profile, options, key)
    if ds._around() is not None:
        raise ValueError("an item of a sequence is not de-identified alone: give the data set it is in")
    data = ds.part10_bytes()
    syntax = "" if _is_part10(data) else ds.transfer_syntax
    return Dataset.from_bytes(_apply(chosen, data, syntax, mapping, report, ds, ds.path))


def deidentify_bytes(
    data: Buffer,
    *,
    profile: str = "basic",
    options: Iterable[str] = (),
    key: bytes,
    mapping: Mapping[str, str | tuple[str, str]] | None = None,
    report: Report | None = None,
    path: Any = None,
) -> bytes:
    """`deidentify` from the bytes of a file to the bytes of the new file; `path` is what errors name."""
    return _apply(policy(profile, options, key), data, "", mapping, report, None, path)


def _is_part10(data: memoryview) -> bool:
    return bytes(data[128:132]) == b"DICM" or bytes(data[:2]) in (b"\2\0", b"\0\2")


def _apply(
    chosen: Policy,
    data: Buffer,
    syntax: str,
    mapping: Mapping[str, str | tuple[str, str]] | None,
    report: Report | None,
    ds: Dataset | None,
    path: Any,
) -> bytes:
    patient, name = "", ""
    if mapping is not None:
        source = ds if ds is not None else Dataset.from_bytes(data, path=path)
        old = str(source.get("PatientID", "") or "").strip()
        if old:
            if old not in mapping:
                raise LookupError("mapping has no entry for the patient of this data set")
            new = mapping[old]
            patient, name = (new, new) if isinstance(new, str) else new
            if not (patient and name and len(patient) <= 64 and len(name) <= 64 and f"{patient}{name}".isascii()):
                raise ValueError("mapping gives an ID or (ID, name), each 1 to 64 ASCII characters")
    new_file, log, burned_in = chosen.native.apply(
        data, syntax.encode("ascii"), patient.encode("ascii"), name.encode("ascii"), report is not None, path
    )
    if report is not None:
        report.add(log or (), burned_in)
    return new_file


class _Callable(types.ModuleType):
    """`dicore.deidentify` is this module once anything has imported it, and the function by `dicore.__init__`: both
    call."""

    def __call__(self, ds: Dataset, **how: Any) -> Dataset:
        return deidentify(ds, **how)


sys.modules[__name__].__class__ = _Callable
