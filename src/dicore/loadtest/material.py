"""What a store stream sends: series without end, each study new, none of it real, and all of it known as a test.

A few synthetic instances, or the user's own files, are the patterns; each instance is one of them with its identifiers
replaced by native edit, which costs microseconds.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dicore
from dicore.dataset import Dataset
from dicore.loadtest import ledger
from dicore.loadtest.scenario import Material

__all__ = ["ISSUER", "Item", "Source", "run_root"]

ISSUER = "DICORE-LOADTEST"
PATTERN_BYTES = 256 << 20  # patterns held in memory: a stream with more or larger images repeats those it has


def run_root(run: str) -> str:
    """The UID root of a run: everything it makes begins with it (PS3.5 B.2)."""
    return f"2.25.{uuid.UUID(run).int}"


@dataclass(frozen=True, slots=True)
class Item:
    """One instance to send. `digest` is of its data set as sent, without the file meta information."""

    data: bytes
    sop_instance_uid: str
    study: str
    series: str
    last_of_series: bool
    last_of_study: bool

    @property
    def digest(self) -> str:
        """BLAKE2b-128 of the data set as it travels."""
        return hashlib.blake2b(ledger.body(self.data), digest_size=16).hexdigest()


class Source:
    """Studies of one stream in one process. `lane(n)` is the endless supply of its n-th association."""

    def __init__(self, material: Material, run: str, branch: str, seed: int) -> None:
        """`branch` is the part of the UIDs that tells this process and stream from the others ("2.1").

        ValueError when the template folder has no DICOM file.
        """
        self._root = f"{run_root(run)}.{branch}"
        self._run = run
        self._studies = 0
        self._patterns = _from_folder(material) if material.template else _made(material, seed)

    @property
    def per_study(self) -> int:
        """Instances of one study."""
        return sum(len(series) for series in self._patterns)

    def lane(self) -> Iterator[Item]:
        """Instances, series after series, study after study."""
        while True:
            self._studies += 1
            number = self._studies
            study = f"{self._root}.{number}"
            changes: dict[str, Any] = {
                "PatientID": f"LT-{self._run[:8]}-{self._root.rsplit('.', 2)[-2]}-{number}",
                "IssuerOfPatientID": ISSUER,
                "InstitutionName": "TEST",
                "AccessionNumber": f"LT{number:08d}",
                "StudyInstanceUID": study,
            }
            for series_number, patterns in enumerate(self._patterns, 1):
                series = f"{study}.{series_number}"
                for index, pattern in enumerate(patterns, 1):
                    instance = f"{series}.{index}"
                    new = pattern.edit(**changes, SeriesInstanceUID=series, SOPInstanceUID=instance)
                    last = index == len(patterns)
                    yield Item(
                        bytes(new.part10_bytes()),
                        instance,
                        study,
                        series,
                        last,
                        last and series_number == len(self._patterns),
                    )


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
    for folder, _, names in sorted(os.walk(material.template)):
        for name in sorted(names):
            path = Path(folder, name)
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
