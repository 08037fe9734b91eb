"""Editing: 5 UIDs and 3 strings in a 530 KB CT, against a copy of the file into a block from the same allocator.

`pytest benchmarks/bench_edit.py`, or `python -m benchmarks.bench_edit` for the ratio. pydicom makes the same edit, and
its answer is compared first.
"""

from __future__ import annotations

import ctypes
import io
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pydicom
import pytest

import dicore
from benchmarks.material import ct
from benchmarks.rows import Row, Section, main, paired

CHANGES = {
    "SOPInstanceUID": "1.2.826.0.1.3680043.1", "StudyInstanceUID": "1.2.826.0.1.3680043.2",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.3", "FrameOfReferenceUID": "1.2.826.0.1.3680043.4",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "PatientID": "X1", "PatientName": "DOE^JANE", "AccessionNumber": "77",
}  # fmt: skip


def with_pydicom(data: bytes) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in CHANGES.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def editors() -> dict[str, Callable[[], Any]]:
    """The ways, over one file; the answers of dicore and pydicom are compared here."""
    data = ct("real", 512, 1)[0].read_bytes()
    ds = dicore.read(data)
    ours, theirs = ds.edit(**CHANGES).to_pydicom(), pydicom.dcmread(io.BytesIO(with_pydicom(data)))
    if ours != theirs or ours.file_meta.MediaStorageSOPInstanceUID != CHANGES["SOPInstanceUID"]:
        raise AssertionError("not the edit that pydicom makes")
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.memcpy.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t], [ctypes.c_void_p]

    def copy() -> None:
        block = libc.malloc(len(data))
        libc.memcpy(block, data, len(data))
        libc.free(block)

    return {"memcpy": copy, "dicore": lambda: ds.edit(**CHANGES), "pydicom": lambda: with_pydicom(data)}


@pytest.mark.parametrize("name", ["memcpy", "dicore", "pydicom"])
def test_edit_eight_elements(benchmark: Any, name: str) -> None:
    benchmark(editors()[name])


def sections(rounds: int, only: Sequence[str] = ()) -> Iterator[Section]:
    ways = editors()
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(40 * rounds):
        for name, way in ways.items():
            times = 1 if name == "pydicom" else 20
            start = time.perf_counter()
            for _ in range(times):
                way()
            took[name].append((time.perf_counter() - start) / times * 1e6)
    ours, copied = took["dicore"], took["memcpy"]
    yield Section(
        "Edit: 5 UIDs and 3 strings of a 530 KB CT, bytes to bytes",
        "us",
        [
            Row("dicore", ours, paired(copied, ours), must=0.5, note="of the speed of memcpy"),
            Row("memcpy", copied, note="into a block from the same allocator"),
            Row("pydicom", took["pydicom"], paired(took["pydicom"], ours)),
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main(sections, __doc__))
