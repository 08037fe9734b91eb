"""A Segmentation of 12,000 frames: read it, and take one value nested in the item of its last frame.

The file is made once by highdicom (tests/vectors/make_seg.py) under the work folder. Where highdicom is not installed
beside the rest, DICORE_HIGHDICOM names another interpreter that has it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
import pytest

import dicore
from benchmarks.material import ROOT, warm
from benchmarks.rows import Row, Section, main, paired, peak

FRAMES = 12_000
LIMIT_MS = 20.0
RECIPE = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "make_seg.py"
NESTED = f"PerFrameFunctionalGroupsSequence[{FRAMES - 1}].PlanePositionSequence[0].ImagePositionPatient"


@cache
def segmentation() -> Path:
    path = ROOT / "seg-12000.dcm"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        subprocess.run([os.environ.get("DICORE_HIGHDICOM", sys.executable), str(RECIPE), str(part)], check=True)
        part.rename(path)
    warm([path])
    return path


def ours(path: Path) -> list[float]:
    value: list[float] = dicore.read(path)[NESTED]
    return value


def ours_by_attributes(path: Path) -> list[float]:
    item: Any = dicore.read(path).PerFrameFunctionalGroupsSequence[FRAMES - 1]
    value: list[float] = item.PlanePositionSequence[0].ImagePositionPatient
    return value


def theirs(path: Path) -> list[float]:
    ds: Any = pydicom.dcmread(path, stop_before_pixels=True)
    item = ds.PerFrameFunctionalGroupsSequence[FRAMES - 1]
    return [float(x) for x in item.PlanePositionSequence[0].ImagePositionPatient]


def of_highdicom(path: Path) -> list[float]:
    import highdicom

    seg: Any = highdicom.seg.segread(path)
    item = seg.PerFrameFunctionalGroupsSequence[FRAMES - 1]
    return [float(x) for x in item.PlanePositionSequence[0].ImagePositionPatient]


def ways() -> dict[str, Callable[[Path], list[float]]]:
    """The ways that there are here; their answers are compared."""
    found = {"dicore, by path": ours, "dicore, by attributes": ours_by_attributes, "pydicom": theirs}
    try:
        import highdicom  # noqa: F401
    except ImportError:
        pass
    else:
        found["highdicom"] = of_highdicom
    answers = {name: [float(x) for x in way(segmentation())] for name, way in found.items()}
    if len({tuple(answer) for answer in answers.values()}) != 1:
        raise AssertionError(f"the answers differ: {answers}")
    return found


@pytest.mark.parametrize("name", ["dicore, by path", "dicore, by attributes"])
def test_one_nested_value(benchmark: Any, name: str) -> None:
    benchmark(ways()[name], segmentation())


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    path, here = segmentation(), ways()
    took: dict[str, list[float]] = {name: [] for name in here}
    for _ in range(rounds):
        for name, way in here.items():
            times = 10 if name.startswith("dicore") else 1
            each = []
            for _ in range(times):
                start = time.perf_counter()
                way(path)
                each.append((time.perf_counter() - start) * 1e3)
            took[name].append(statistics.median(each))
    first = took["dicore, by path"]
    rows = []
    for name, values in took.items():
        memory = peak(lambda name=name: here[name](path))  # type: ignore[misc]
        if name.startswith("dicore"):
            limit = [LIMIT_MS] * len(values)
            rows.append(Row(name, values, paired(values, limit), must=1, most=True, peak=memory, note="of 20 ms"))
        else:
            rows.append(Row(name, values, paired(values, first), peak=memory))
    yield Section("SEG of 12,000 frames by highdicom: read and one value nested in the last item", "ms", rows)


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
