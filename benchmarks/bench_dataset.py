"""Header read: seven tags of a 530 KB CT slice with a real scanner's header, from its path, page cache warm.

`python -m benchmarks.report` prints the table; `pytest benchmarks/bench_dataset.py` looks at one reader at a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.material import ct, warm
from benchmarks.peers import headers

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


def summary(rounds: int) -> dict[str, tuple[float, float, float]]:
    """reader: (median, least, most) microseconds per file."""
    return _medians(measure(rounds))


def summary_whole(rounds: int) -> dict[str, tuple[float, float, float]]:
    """reader: (median, least, most) microseconds per file for every value of every element."""
    return _medians(measure_whole(rounds))


def _medians(measured: Iterator[tuple[str, list[float]]]) -> dict[str, tuple[float, float, float]]:
    return {name: (statistics.median(took), min(took), max(took)) for name, took in measured}


@pytest.mark.parametrize(("name", "reader"), headers.readers().items(), ids=list(headers.readers()))
def test_read_seven_tags(benchmark: Any, name: str, reader: headers.Reader) -> None:
    found = files()
    check(reader, found)
    benchmark(lambda: [reader(path) for path in found])
