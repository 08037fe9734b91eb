"""Edits and writes around a large value that is in a file: it is copied from file to file, never fetched."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import pytest

import dicore
from dataset.test_large_files import FRAMES, GIB, encapsulated, growth, native  # noqa: F401
from dicore._native.dataset import FileSpan
from dicore.errors import DicomFormatError
from vectors.deviations import IDS, PATIENT, RLE, UNDEFINED, element, item, part10

LARGE = (1 << 24) + 65536  # large enough to be left in the file
BIG = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
DELIMITER = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
BEHIND = element(0xFFFCFFFC, "OB", b"\1\2")


def counted(size: int) -> bytes:
    return struct.pack(f"<{size // 4}I", *range(size // 4))


SHAPES = {
    "in the middle": lambda: part10(IDS + PATIENT + element(0x7FE00010, "OW", counted(LARGE)) + BEHIND),
    "at the end": lambda: part10(IDS + PATIENT + element(0x7FE00010, "OW", counted(LARGE))),
    "encapsulated": lambda: part10(
        IDS + PATIENT + element(0x7FE00010, "OB", item(b"") + item(counted(LARGE)) + DELIMITER, UNDEFINED) + BEHIND,
        RLE,
    ),
    "two of them": lambda: part10(
        IDS + PATIENT + element(0x54001010, "OW", counted(LARGE)) + element(0x7FE00010, "OW", counted(LARGE))
    ),
}


@pytest.fixture(params=SHAPES)
def path(request, tmp_path: Path) -> Path:
    file = tmp_path / "large.dcm"
    file.write_bytes(SHAPES[request.param]())
    return file


def change(ds: dicore.Dataset) -> None:
    ds.SOPInstanceUID = "1.2.3.4.5.6.7"
    ds.PatientName = "A longer name than there was^before"
    ds.StudyDescription = "new"
    del ds.PatientID


def written(ds: dicore.Dataset, path: Path, **how) -> bytes:
    out = path.with_name("out.dcm")
    ds.write(out, **how)
    return out.read_bytes()


@pytest.mark.parametrize("how", [{}, {"canonical": True}, {"transfer_syntax": IMPLICIT}, {"transfer_syntax": BIG},
                                 {"blank_preamble": True}])  # fmt: skip
@pytest.mark.parametrize("edited", [False, True])
def test_a_write_is_the_same_as_from_memory(path, how, edited) -> None:
    if "transfer_syntax" in how and dicore.read(path).transfer_syntax == RLE:
        pytest.skip("fragments are in explicit VR little endian only (PS3.5 A.4): 4 tests")
    mine, whole = dicore.read(path), dicore.read(path.read_bytes())
    if edited:
        change(mine)
        change(whole)
    out = io.BytesIO()
    whole.write(out, **how)
    assert written(mine, path, **how) == out.getvalue()
    mine.write(into := io.BytesIO(), **how)
    assert into.getvalue() == out.getvalue()


def test_an_edit_is_the_same_as_in_memory_and_so_are_edits_of_it(path) -> None:
    changes = {"SOPInstanceUID": "1.2.3.4.5", "PatientName": "A longer name than there was^before"}
    mine, whole = dicore.read(path).edit(**changes), dicore.read(path.read_bytes()).edit(**changes)
    assert mine == whole
    assert len(mine) == len(whole)
    again, whole_again = mine.edit(PatientID=dicore.DELETE), whole.edit(PatientID=dicore.DELETE)
    assert again.to_bytes() == whole_again.to_bytes()
    assert written(again, path) == written(whole_again, path)
    assert bytes(mine["PixelData"].raw) == bytes(whole["PixelData"].raw)
    assert [w.code for w in mine.warnings] == []


def test_pixels_that_are_deleted_or_replaced_are_not_copied(path) -> None:
    for changes in ({"PixelData": dicore.DELETE}, {"PixelData": b"\1\2\3\4"}):
        if changes["PixelData"] == b"\1\2\3\4" and dicore.read(path).transfer_syntax == RLE:
            continue
        mine, whole = dicore.read(path).edit(**changes), dicore.read(path.read_bytes()).edit(**changes)
        assert mine.to_bytes() == whole.to_bytes()
        assert written(mine, path) == written(whole, path)


def test_the_file_itself_may_be_replaced_and_the_data_set_read_on(path) -> None:
    pixels = bytes(dicore.read(path)["PixelData"].raw)
    ds = dicore.read(path)
    edited = ds.edit(PatientID="E")
    ds.PatientID = "N"
    ds.write(path)
    assert dicore.read(path).PatientID == "N"
    assert bytes(dicore.read(path)["PixelData"].raw) == pixels
    assert bytes(ds["PixelData"].raw) == pixels
    assert bytes(edited["PixelData"].raw) == pixels
    ds.PatientID = "M"
    ds.write(path)
    assert dicore.read(path).PatientID == "M"
    assert bytes(dicore.read(path)["PixelData"].raw) == pixels


def test_a_file_that_was_replaced_by_another_is_refused_and_nothing_is_left_behind(path) -> None:
    ds = dicore.read(path)
    edited = ds.edit(PatientID="E")
    other = path.with_name("other.dcm")
    other.write_bytes(path.read_bytes()[:-2] + b"\7\7")
    other.replace(path)
    for one in (ds, edited):
        with pytest.raises(DicomFormatError, match="changed"):
            one.write(path.with_name("out.dcm"))
        assert sorted(p.name for p in path.parent.iterdir()) == ["large.dcm"]


@pytest.mark.parametrize("swap", ["", BIG])
def test_where_the_kernel_does_not_copy_it_is_read_and_written(tmp_path, swap) -> None:
    file = tmp_path / "large.dcm"
    file.write_bytes(SHAPES["at the end"]())
    ds = dicore.read(file)
    spans = [p for p in ds._pieces(swap or None, False, False, True) if isinstance(p, FileSpan)]
    assert [span.size for span in spans] == [LARGE - (0 if swap else spans[0].offset - (file.stat().st_size - LARGE))]
    joined = b"".join(spans[0])
    with open(tmp_path / "appended", "ab") as out:  # copy_file_range refuses O_APPEND
        spans[0].copy_to(out.fileno())
    assert (tmp_path / "appended").read_bytes() == joined
    stored = file.read_bytes()[-len(joined) :]
    assert joined == (b"".join(stored[i : i + 2][::-1] for i in range(0, len(stored), 2)) if swap else stored)


WRITE = """
import dicore.dataset.editing
_ = dicore.read(path).get("Rows")
---
ds = dicore.read(path)
{}
"""
WAYS = {
    "assigned": 'ds.SOPInstanceUID = "1.2.3.4"; ds.write(path + ".out")',
    "edited": 'ds.edit(SOPInstanceUID="1.2.3.4").write(path + ".out")',
}


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB is Linux's: 4 tests")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["native", "encapsulated"])
def test_one_uid_of_a_gigabyte_is_changed_in_little_memory(kind, way, request) -> None:
    path = request.getfixturevalue(kind)
    assert growth(WRITE.format(WAYS[way]), path) < 16 << 20
    out = Path(f"{path}.out")
    ds, old = dicore.read(out), dicore.read(path)
    assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert ds[0xFFFC, 0xFFFC].value == b"\1\2"
    at, size = ds["PixelData"].length, old["PixelData"].length
    assert at == size
    with open(path, "rb") as a, open(out, "rb") as b:
        a.seek(-(size + 8), 2)
        b.seek(-(size + 8), 2)
        while piece := a.read(1 << 22):
            assert piece == b.read(1 << 22)
    assert out.stat().st_size > (GIB if kind == "native" else FRAMES << 22)
