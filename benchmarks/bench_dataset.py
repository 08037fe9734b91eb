"""Header read: seven tags of a 530 KB CT slice with a real scanner's header, from its path, page cache warm.

`python -m benchmarks.bench_dataset` prints the table; `pytest benchmarks/bench_dataset.py` looks at one reader at a
time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.material import ct, warm
from benchmarks.peers import headers
from benchmarks.rows import Row, Section, main, paired

FILES = 32  # read in turn: a reader that keeps what it has read gains nothing


def files() -> list[Path]:
    found = ct("real", 512, FILES)
    warm(found)
    return found


def check(reader: headers.Reader, found: list[Path]) -> None:
    """Every reader gives what pydicom's plain reading gives, for every file."""
    for path in found:
        want, got = headers.pydicom_plain(path), reader(path)
        if tuple(got) != tuple(want):
            raise AssertionError(f"{path.name}: {got}, pydicom {want}")


def measure(rounds: int, passes: int = 8) -> Iterator[tuple[str, list[float]]]:
    """(reader, microseconds per file in each round); the readers take turns in every round."""
    found = files()
    readers = headers.readers()
    for reader in readers.values():
        check(reader, found)
    readers["open + pread 8 KiB + close"] = headers.floor
    took: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, reader in readers.items():
            start = time.perf_counter()
            for _ in range(passes):
                for path in found:
                    reader(path)
            took[name].append((time.perf_counter() - start) / (passes * len(found)) * 1e6)
    yield from took.items()


def measure_whole(rounds: int) -> Iterator[tuple[str, list[float]]]:
    """As `measure`, for every value of every element, nested ones and the pixels' bytes too."""
    found = files()
    for path in found:
        if len({reader(path) for reader in headers.WHOLE.values()}) != 1:
            raise AssertionError(f"{path.name}: not the same number of elements")
    took: dict[str, list[float]] = {name: [] for name in headers.WHOLE}
    for _ in range(rounds):
        for name, whole in headers.WHOLE.items():
            for path in found:  # not timed: the heap takes its shape, whoever was before
                whole(path)
            start = time.perf_counter()
            for path in found:
                whole(path)
            took[name].append((time.perf_counter() - start) / len(found) * 1e6)
    yield from took.items()


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    rounds = max(rounds, 7)
    took = dict(measure(rounds))
    ours, size = took["dicore"], files()[0].stat().st_size
    best = min((n for n in took if n.startswith("pydicom ")), key=lambda name: statistics.median(took[name]))
    wanted = {best: (80.0, 120.0), "fastdicom": (8.0, 12.0), "dicomsdl": (12.0, 19.0)}
    rows = []
    for name, values in took.items():
        must, reach = wanted.get(name, (None, None))
        rows.append(Row(name, values, None if name == "dicore" else paired(values, ours), must, reach))
    yield Section(f"Header read: 7 tags of a {size / 1000:.0f} KB CT, 258 elements", "us per file", rows)
    took = dict(measure_whole(rounds))
    ours, theirs = took["dicore"], took["pydicom dcmread"]
    rows = [Row("dicore", ours), Row("pydicom dcmread", theirs, paired(theirs, ours), must=15)]
    yield Section("Every value of every element of the same files", "us per file", rows)


@pytest.mark.parametrize(("name", "reader"), headers.readers().items(), ids=list(headers.readers()))
def test_read_seven_tags(benchmark: Any, name: str, reader: headers.Reader) -> None:
    found = files()
    check(reader, found)
    benchmark(lambda: [reader(path) for path in found])


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__, rounds=7))
