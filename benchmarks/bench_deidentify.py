"""De-identification of a 512 KB CT with a real scanner's header, from the bytes of the file to the bytes of the new
one.

`python -m benchmarks.bench_deidentify` prints the table; the peers (dicognito, deid, dicom-anonymizer) are those of the
`bench` extra. Before anything is timed, each result is read by pydicom and searched for what every tool promises to
replace.
"""

from __future__ import annotations

import io
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pydicom
import pytest

from benchmarks.material import ct
from benchmarks.peers.deidentifiers import Deidentifier, deidentifiers
from benchmarks.rows import Row, Section, main, paired

PROMISED = ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
FILES = 8  # in turn


def files() -> list[bytes]:
    return [path.read_bytes() for path in ct("real", 512, FILES)]


def check(name: str, run: Deidentifier, data: bytes) -> None:
    """The new file is a file with the same pixels and without the identifiers."""
    old, new = pydicom.dcmread(io.BytesIO(data)), pydicom.dcmread(io.BytesIO(run(data)))
    if new.PixelData != old.PixelData:
        raise AssertionError(f"{name} changed the pixels")
    for keyword in PROMISED:
        if name == "deid" and keyword.endswith("UID"):  # its default recipe keeps them
            continue
        if new.get(keyword) == old[keyword].value:
            raise AssertionError(f"{name} left {keyword}")
    if name.startswith("dicore") and (any(e.tag.is_private for e in new) or "113100" not in str(new)):
        raise AssertionError(f"{name} left private elements, or does not say what it did")


def measure(rounds: int) -> Iterator[tuple[str, list[float]]]:
    """(tool, microseconds per file in each round); they take turns in every round."""
    warnings.simplefilter("ignore")
    data = files()
    tools = deidentifiers()
    for name, run in tools.items():
        check(name, run, data[0])
    took: dict[str, list[float]] = {name: [] for name in (*tools, "copy")}
    tools["copy"] = lambda one: bytes(bytearray(one))  # the floor: twice through memory
    for _ in range(rounds):
        for name, run in tools.items():
            passes = 50 if name.startswith(("dicore", "copy")) else 1
            start = time.perf_counter()
            for _ in range(passes):
                for one in data:
                    run(one)
            took[name].append((time.perf_counter() - start) / (passes * len(data)) * 1e6)
    yield from took.items()


@pytest.mark.parametrize(("name", "run"), deidentifiers().items(), ids=list(deidentifiers()))
def test_deidentify(benchmark: Any, name: str, run: Deidentifier) -> None:
    data = files()
    check(name, run, data[0])
    benchmark(run, data[0])


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    took = dict(measure(rounds))
    peers = [name for name in took if not name.startswith(("dicore", "copy"))]
    fastest = min(peers, key=lambda name: statistics.median(took[name])) if peers else ""
    ours = took["dicore (bytes)"]
    rows = []
    for name, values in took.items():
        ratio = None if values is ours else paired(values, ours)
        rows.append(Row(name, values, ratio, must=100 if name == fastest else None))
    yield Section("De-identify a 530 KB CT, bytes to bytes, Basic Profile", "us per file", rows)


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
