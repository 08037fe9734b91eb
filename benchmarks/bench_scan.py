"""Scan: 20 tags of 5,000 CT files with a real scanner's header, page cache warm, into columns.

The floor is C: open, pread 4 KiB, close of the same paths, nothing looked at. `python -m benchmarks.bench_scan` prints
the table; `pytest benchmarks/bench_scan.py` looks at one reader at a time.
"""

from __future__ import annotations

import datetime
import functools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.material import ROOT, ct, warm
from benchmarks.rows import Row, Section, main, paired, peak

FILES = 5000
TAGS = (
    "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "StudyTime", "AccessionNumber", "Modality",
    "Manufacturer", "StudyDescription", "SeriesDescription", "PatientName", "PatientID", "PatientBirthDate",
    "PatientSex", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Rows", "Columns",
)  # fmt: skip
Reader = Callable[[list[str]], Any]


@functools.cache
def files() -> list[str]:
    found = ct("real", 128, FILES)
    warm(found)
    return [str(path) for path in found]


def by_dicore(paths: list[str], threads: int, io: str = "auto") -> Any:
    import dicore

    return dicore.scan(paths, TAGS, threads=threads, io=io)


def by_fastdicom(paths: list[str]) -> list[tuple[Any, ...]]:
    import fastdicom

    rows = []
    for path in paths:
        ds = fastdicom.dcmread(path, stop_before_pixels=True)
        rows.append(tuple(ds.get(name) for name in TAGS))
    return rows


@functools.cache
def floor_program() -> Path:
    source, binary = Path(__file__).with_name("peers") / "scan_floor.c", ROOT / "scan_floor"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        ROOT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", binary, source], check=True)
    return binary


def floor(paths: list[str]) -> tuple[float, float]:
    """(seconds, seconds of the CPU) of the faster of two passes in C."""
    listed = ROOT / "scan-paths.txt"
    listed.write_text("".join(f"{path}\n" for path in paths))
    run = subprocess.run([str(floor_program()), str(listed), "2"], capture_output=True, text=True, check=True)
    passes = [tuple(map(float, line.split())) for line in run.stdout.splitlines()]
    return min(one[0] for one in passes), min(one[1] for one in passes)


def readers() -> dict[str, Reader]:
    found: dict[str, Reader] = {
        "dicore, 1 thread": lambda paths: by_dicore(paths, 1),
        "dicore, 2 threads": lambda paths: by_dicore(paths, 2),
        "dicore, 1 thread by pread": lambda paths: by_dicore(paths, 1, "pread"),
        "dicore, 2 threads by pread": lambda paths: by_dicore(paths, 2, "pread"),
    }
    try:
        import fastdicom  # noqa: F401 only whether it is there
    except ImportError:
        return found
    return found | {"fastdicom in a loop": by_fastdicom}


def plain(value: Any) -> Any:
    """A value of any reader, to compare: text of dates and times, of a real-valued text its number."""
    if isinstance(value, datetime.date):
        return value.strftime("%Y%m%d")
    if isinstance(value, datetime.time):
        return float(value.strftime("%H%M%S.%f"))
    text = str(value).strip("\0 ") if value is not None and value != [] else ""
    try:
        return float(text) if "." in text and text.count(".") == 1 else text
    except ValueError:
        return text


def rows_of(result: Any) -> list[list[Any]]:
    if isinstance(result, list):
        return [[plain(value) for value in row] for row in result]
    columns = [result[name] for name in TAGS]
    return [[plain(value) for value in row] for row in zip(*columns, strict=True)]


def check(paths: list[str]) -> None:
    """Every reader gives what pydicom gives."""
    import pydicom

    def times(row: list[Any]) -> list[Any]:
        row[4] = float(row[4] or 0)  # StudyTime
        return row

    want = []
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        want.append(times([plain(ds.get(name)) for name in TAGS]))
    for name, reader in readers().items():
        got = [times(row) for row in rows_of(reader(paths))]
        if got != want:
            first = next(i for i, (a, b) in enumerate(zip(got, want, strict=True)) if a != b)
            raise AssertionError(f"{name}: {paths[first]}: {got[first]}, pydicom {want[first]}")


def measure(rounds: int, slow_rounds: int = 3) -> dict[str, list[tuple[float, float]]]:
    """reader: (microseconds, of the CPU) per file in each round; all take turns in every round. Judge by the ratio
    within a round: something else may have the machine."""
    paths = files()
    check(paths[:: max(1, FILES // 500)])
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ("floor", *readers())}
    for round_ in range(rounds):
        wall, cpu = floor(paths)
        took["floor"].append((wall / len(paths) * 1e6, cpu / len(paths) * 1e6))
        for name, reader in readers().items():
            if "fastdicom" in name and round_ >= slow_rounds:
                continue
            best = [float("inf"), float("inf")]
            for _ in range(1 if "fastdicom" in name else 2):
                start, start_cpu = time.perf_counter(), time.process_time()
                result = reader(paths)
                now = time.perf_counter() - start, time.process_time() - start_cpu
                best = [min(pair) for pair in zip(best, now, strict=True)]
                assert len(result) == len(paths)
            took[name].append((best[0] / len(paths) * 1e6, best[1] / len(paths) * 1e6))
    return took


@pytest.mark.parametrize(("name", "reader"), readers().items(), ids=list(readers()))
def test_scan_twenty_tags(benchmark: Any, name: str, reader: Reader) -> None:
    paths = files()
    check(paths[::50])
    benchmark(lambda: reader(paths))


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    took = measure(rounds)
    wall = {name: [one[0] for one in times] for name, times in took.items()}
    cpu = {name: statistics.median(one[1] for one in times) for name, times in took.items()}
    ours, bare = wall["dicore, 1 thread"], wall["floor"]
    rows = []
    for name, values in wall.items():
        row = Row(name, values, note=f"{cpu[name]:.2f} us of the CPU")
        if name == "dicore, 1 thread":
            note = row.note + ", of the floor"
            row = replace(row, ratio=paired(ours, bare), must=1.3, reach=1.0, most=True, note=note)
            row = replace(row, peak=peak(lambda: by_dicore(files(), 1)))
        elif name == "dicore, 2 threads":
            row = replace(row, ratio=paired(ours, values), must=1.6, note=row.note + ", faster than one thread")
        elif name == "fastdicom in a loop":
            few = len(values)
            row = replace(row, ratio=paired(values, ours[:few]), must=20, note=row.note)
        elif name == "dicore, 1 thread by pread":
            row = replace(row, ratio=paired(values, bare), note=row.note + ", of the floor")
        rows.append(row)
    yield Section(f"Scan: {len(TAGS)} tags of {FILES:,} CT files", "us per file", rows, "ratio")


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__, rounds=9))
