"""What a store stream sends: series without end, each study new, none of it real, and all of it known as a test.

A few synthetic instances, or the user's own files, are the patterns. In a pattern every UID is already the run's own,
but for the number of its study: that is so many digits at known places, and whoever sends it writes them. References
between the instances (a plan to its structures, a report to its images) are UIDs like others, and stay whole.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import dicore
from dicore._native import net as native
from dicore.dataset import Dataset
from dicore.loadtest.scenario import Material

__all__ = ["ISSUER", "Pattern", "Source", "run_root"]

ISSUER = "DICORE-LOADTEST"
PATTERN_BYTES = 256 << 20  # patterns held in memory: a stream with more or larger images repeats those it has
OWN = ("0020,000D", "0020,000E", "0008,0018")  # the UIDs that an instance is known by
DIGITS = range(8, 3, -1)  # of a study number: as many as fit into the UIDs
LAST_OF_SERIES, LAST_OF_STUDY = 1, 2


def run_root(run: str) -> str:
    """The UID root of a run: everything it makes begins with it (PS3.5 B.2)."""
    return f"2.25.{uuid.UUID(run).int}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One instance of a study, but for the digits of the study number, which stand at `places` of the head.

    `start`: where the data set begins in the head, after the file meta information.
    """

    sop_class_uid: str
    transfer_syntax: str
    sop_instance_uid: str
    uid_place: int
    series: int
    last: int  # LAST_OF_SERIES | LAST_OF_STUDY
    head: bytes
    tail: bytes
    places: tuple[int, ...]
    start: int

    def data(self, number: str) -> bytes:
        """The whole Part 10 file, for a study number of the right length."""
        head = bytearray(self.head)
        for place in self.places:
            head[place : place + len(number)] = number.encode()
        return bytes(head) + self.tail

    def uid(self, number: str) -> str:
        """The SOP Instance UID."""
        return self.sop_instance_uid[: self.uid_place] + number + self.sop_instance_uid[self.uid_place + len(number) :]


class Source:
    """The studies of one stream in one process: `patterns` in the order of sending, numbered from `first`."""

    def __init__(self, material: Material, run: str, branch: str, seed: int) -> None:
        """`branch` is the part of the UIDs that tells this process and stream from the others ("2.1").

        ValueError when the template folder has no DICOM file, or is of what cannot be made anew (deflated).
        """
        self.root = f"{run_root(run)}.{branch}"
        self._marks = (f"LT-{run[:8]}-{branch.replace('.', '-')}-", "LT")
        series = _from_folder(material) if material.template else _made(material, seed)
        longest = len(self.root) + 2 + len(f"{len(series)}.{max(map(len, series))}")
        self.digits = next((n for n in DIGITS if longest + n <= 64), 0)
        if not self.digits:
            raise ValueError(f"{len(series)} series of {max(map(len, series))} instances: their UIDs would be too long")
        self.first = 10 ** (self.digits - 1)
        self.patterns = self._patterns(series)

    def number(self, study: int) -> str:
        """The digits of the n-th study, from 1."""
        return str(self.first + study - 1)

    def study(self, study: int) -> str:
        """Its Study Instance UID."""
        return f"{self.root}.{self.number(study)}"

    def digest(self, pattern: int, study: int) -> str:
        """BLAKE2b-128 of the data set of an instance as it travels, without file meta information."""
        one = self.patterns[pattern]
        return hashlib.blake2b(one.data(self.number(study))[one.start :], digest_size=16).hexdigest()

    def _patterns(self, all_series: list[list[Dataset]]) -> list[Pattern]:
        low, high = "1" * self.digits, "9" * self.digits
        uids = self._renamed(all_series)
        made = []
        tails: dict[bytes, bytes] = {}  # the same pixels once
        for series_number, series in enumerate(all_series, 1):
            for index, ds in enumerate(series, 1):
                last = LAST_OF_SERIES if index == len(series) else 0
                last |= LAST_OF_STUDY if last and series_number == len(all_series) else 0
                one, other = (self._edited(ds, series_number, index, number, uids) for number in (low, high))
                pattern = self._pattern(ds, series_number, index, one, other, last)
                made.append(replace(pattern, tail=tails.setdefault(pattern.tail, pattern.tail)))
        return made

    def _renamed(self, all_series: list[list[Dataset]]) -> dict[str, str]:
        """Old UID -> what follows the study number in the new one: of all that may be referred to."""
        found: dict[str, str] = {}
        for series_number, series in enumerate(all_series, 1):
            for index, ds in enumerate(series, 1):
                found.setdefault(str(ds.get("StudyInstanceUID", "")), "")
                found.setdefault(str(ds.get("SeriesInstanceUID", "")), f".{series_number}")
                found.setdefault(str(ds.SOPInstanceUID), f".{series_number}.{index}")
                frame = str(ds.get("FrameOfReferenceUID") or "")
                if frame and frame not in found:
                    found[frame] = f".0.{sum(rest.startswith('.0.') for rest in found.values()) + 1}"
        return found

    def _edited(self, ds: Dataset, series: int, index: int, number: str, uids: dict[str, str]) -> bytes:
        study = f"{self.root}.{number}"
        changes: dict[str, Any] = {
            path: study + uids[element.value]
            for path, element in ds.walk()
            if element.vr == "UI" and path not in OWN and isinstance(element.value, str) and element.value in uids
        }
        changes |= {
            "PatientID": f"{self._marks[0]}{number}",
            "IssuerOfPatientID": ISSUER,
            "InstitutionName": "TEST",
            "AccessionNumber": f"{self._marks[1]}{number}",
            "StudyInstanceUID": study,
            "SeriesInstanceUID": f"{study}.{series}",
            "SOPInstanceUID": f"{study}.{series}.{index}",
        }
        return bytes(ds.edit(changes).part10_bytes())

    def _pattern(self, ds: Dataset, series: int, index: int, one: bytes, other: bytes, last: int) -> Pattern:
        if len(one) != len(other):  # the study number went through a compressor
            raise ValueError(f"{dicore.uid.name(ds.transfer_syntax)}: cannot be made anew while it is sent")
        a, b = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
        differing = np.flatnonzero(a != b)
        runs = np.split(differing, np.flatnonzero(np.diff(differing) > 1) + 1)
        places = [int(start) for run in runs for start in run[:: self.digits]]
        if any(len(run) % self.digits for run in runs):
            raise ValueError(f"{dicore.uid.name(ds.transfer_syntax)}: cannot be made anew while it is sent")
        end = places[-1] + self.digits
        return Pattern(
            str(ds.SOPClassUID),
            str(ds.transfer_syntax),
            f"{self.root}.{'1' * self.digits}.{series}.{index}",
            len(self.root) + 1,
            series,
            last,
            one[:end],
            one[end:],
            tuple(places),
            native.identify_bytes(one)[3],
        )

    def volley(self) -> tuple[list[tuple[int, str, int, bytes, bytes, list[int], int]], list[tuple[str, str]]]:
        """The patterns and the pairs of SOP class and transfer syntax, as `native.Volley` takes them."""
        pairs = sorted({(one.sop_class_uid, one.transfer_syntax) for one in self.patterns})
        rows = [
            (
                pairs.index((one.sop_class_uid, one.transfer_syntax)),
                one.sop_instance_uid,
                one.uid_place,
                one.head[one.start :],
                one.tail,
                [place - one.start for place in one.places if place >= one.start],
                one.last,
            )
            for one in self.patterns
        ]
        return rows, pairs

    def studies(self, count: int) -> Iterator[tuple[Pattern, str]]:
        """The instances of the first studies, each with its study number: what is sent, one after the other."""
        for study in range(1, count + 1):
            for one in self.patterns:
                yield one, self.number(study)


def _made(material: Material, seed: int) -> list[list[Dataset]]:
    """Patterns out of `dicore.synth`: the series of one study."""
    found: dict[str, list[Dataset]] = {}
    size = 0
    for one in dicore.synth.studies(
        seed, 1, material.modality, slices=material.slices, size=material.size, series=material.series
    ):
        pattern = Dataset.from_bytes(one.data)
        if material.transfer_syntax:
            pattern = dicore.transcode(pattern, material.transfer_syntax)
        if size < PATTERN_BYTES:
            found.setdefault(one.series_uid, []).append(pattern)
            size += len(one.data)
        else:  # the same pixels again
            series = found.setdefault(one.series_uid, [])
            series.append(series[-1] if series else next(iter(found.values()))[0])
    return list(found.values())


def _from_folder(material: Material) -> list[list[Dataset]]:
    """Patterns out of a folder of real files, by series; what identifies a patient is replaced."""
    by_series: dict[str, list[Dataset]] = {}
    size = 0
    for path in _files(material.template):
        try:
            ds = dicore.read(path.read_bytes())
        except dicore.DicomFormatError:
            continue  # a folder holds other files too
        size += path.stat().st_size
        if size > PATTERN_BYTES:
            break
        clean = dicore.deidentify(ds, key=b"dicore load test")
        by_series.setdefault(str(ds.get("SeriesInstanceUID", "")), []).append(clean)
    if not by_series:
        raise ValueError(f"{material.template}: no DICOM file")
    return list(by_series.values())


def _files(folder: str) -> Sequence[Path]:
    return [Path(root, name) for root, _, names in sorted(os.walk(folder)) for name in sorted(names)]
