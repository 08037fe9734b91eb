"""`dicore.read`: every kind of source gives the same data set; files are read piecemeal and must not change."""

from __future__ import annotations

import gc
import io
import mmap
import os
import pathlib
import pickle
import struct
import threading

import pytest

import dicore
from dicore.dataset import Dataset
from vectors.deviations import CLEAN, DEFLATED, IDS, MODALITY, PATIENT, VECTORS, element, part10

PIXELS = bytes(range(256)) * 1024  # 256 KiB
LARGE = part10(IDS + MODALITY + PATIENT + element(0x7FE00010, "OW", PIXELS))
TAIL = part10(IDS + MODALITY + PATIENT + element(0x7FE00010, "OW", PIXELS) + element(0xFFFCFFFC, "OB", bytes(20)))
LONG_HEADER = part10(
    IDS + MODALITY + PATIENT
    + b"".join(element(0x00280000 | n, "US", struct.pack("<H", n)) for n in range(0x3100, 0x4000))
    + element(0x7FE00010, "OW", PIXELS)
)  # fmt: skip


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    return tmp_path / "a file.dcm"


def test_every_kind_of_source(path) -> None:
    path.write_bytes(LARGE)
    with open(path, "rb") as opened, open(path, "rb") as for_map:
        mapped = mmap.mmap(for_map.fileno(), 0, access=mmap.ACCESS_READ)
        sources = [str(path), path, LARGE, bytearray(LARGE), memoryview(LARGE), io.BytesIO(LARGE), opened, mapped]
        for source in sources:
            ds = dicore.read(source)
            assert (ds.PatientID, ds.Modality, bytes(ds["PixelData"].raw)) == ("4711", "CT", PIXELS)
            assert len(ds) == 5
            del ds
        mapped.close()
    assert dicore.read(os.fsencode(path) and path, mmap=True).PixelData == PIXELS
    assert dicore.dcmread is dicore.read


def test_file_object_is_read_from_where_it_stands() -> None:
    stream = io.BytesIO(b"garbage" + CLEAN)
    stream.seek(7)
    assert dicore.read(stream).PatientID == "4711"


def test_text_file_objects_and_nonsense_are_type_errors(path) -> None:
    with pytest.raises(TypeError, match="binary"):
        dicore.read(io.StringIO("x"))
    with pytest.raises(TypeError, match="path, bytes"):
        dicore.read(3.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="null"):
        dicore.read("a\0b")
    with pytest.raises(TypeError, match="from_bytes"):
        Dataset()


def test_missing_files_and_folders_are_os_errors(path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        dicore.read(path)
    assert caught.value.filename == path
    with pytest.raises(IsADirectoryError):
        dicore.read(path.parent)
    with pytest.raises(FileNotFoundError):
        dicore.read(path, mmap=True)


@pytest.mark.parametrize("data", [b"", b"x", bytes(5000), b"#!/bin/sh\necho not DICOM at all, but text\n" * 20])
def test_what_is_not_dicom_is_refused_with_its_path(path, data) -> None:
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(dicore.DicomFormatError):
            dicore.read(source)
    with pytest.raises(dicore.DicomFormatError) as caught:
        dicore.read(path)
    assert caught.value.path == path
    with pytest.raises(dicore.DicomFormatError):
        dicore.read(path, mmap=True)


def test_pipe_is_read_to_its_end(path) -> None:
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(LARGE,))
    writer.start()
    ds = dicore.read(path)
    writer.join()
    assert ds.PixelData == PIXELS


@pytest.mark.parametrize("data", [LARGE, TAIL, LONG_HEADER], ids=["large", "tail", "long header"])
@pytest.mark.parametrize("first", ["nothing", "attribute", "missing", "late", "walk", "pixels"])
def test_order_of_access_does_not_matter(path, data, first) -> None:
    path.write_bytes(data)
    ds = dicore.read(path)
    if first == "attribute":
        assert ds.PatientID == "4711"
    elif first == "missing":
        assert ds.get("StudyDescription") is None
    elif first == "late":
        assert ds.get(0x00283FFF) == (0x3FFF if data is LONG_HEADER else None)
    elif first == "walk":
        assert [p for p, _ in ds.walk()][:3] == ["0008,0016", "0008,0018", "0008,0060"]
    elif first == "pixels":
        assert ds.PixelData == PIXELS
    whole = dicore.read(data)
    assert [(p, e.vr, bytes(e.raw)) for p, e in ds.walk()] == [(p, e.vr, bytes(e.raw)) for p, e in whole.walk()]
    assert bytes(ds.part10_bytes()) == data
    assert ds.PixelData == PIXELS
    assert ds.warnings == whole.warnings
    assert dicore.read(path, strict=True).PatientID == "4711"


def test_small_attributes_of_a_large_file_read_only_its_head(path) -> None:
    path.write_bytes(LARGE)
    ds = dicore.read(path)
    path.unlink()  # from here on nothing more can be read
    assert (ds.PatientID, ds.Modality, len(ds), "PixelData" in ds) == ("4711", "CT", 5, True)
    assert ds["PixelData"].length == len(PIXELS)
    with pytest.raises(FileNotFoundError):
        _ = ds.PixelData


@pytest.mark.parametrize("change", ["touched", "longer", "replaced"])
def test_a_file_that_changed_is_refused_when_more_is_asked_for(path, change) -> None:
    path.write_bytes(LARGE)
    ds = dicore.read(path)
    if change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "longer":
        with open(path, "ab") as opened:
            opened.write(b"\0\0")
    else:
        other = path.with_name("other")
        other.write_bytes(LARGE)
        os.replace(other, path)
    assert ds.PatientID == "4711"
    with pytest.raises(dicore.DicomFormatError, match="changed") as caught:
        _ = ds.PixelData
    assert caught.value.path == path


def test_raw_outlives_the_data_set_and_is_read_only(path) -> None:
    path.write_bytes(LARGE)
    ds = dicore.read(path)
    early = ds["PatientID"].raw
    pixels = ds["PixelData"].raw
    del ds
    assert bytes(early) == b"4711"
    assert pixels == PIXELS
    assert early.readonly
    assert pixels.readonly
    assert dicore.read(bytearray(LARGE))["PatientID"].raw.readonly


def test_deflated_data_sets_are_inflated(path) -> None:
    from vectors.deviations import _deflate

    data = part10(_deflate(IDS + MODALITY + PATIENT + element(0x7FE00010, "OW", bytes(200_000))), DEFLATED)
    path.write_bytes(data)
    for source in (path, data):
        ds = dicore.read(source, strict=True)
        assert ds.PatientID == "4711"
        assert ds.transfer_syntax == DEFLATED
        assert ds.file_meta.TransferSyntaxUID == DEFLATED
        assert len(ds.PixelData) == 200_000
        assert bytes(ds.part10_bytes()) == data
        assert bytes(ds.dataset_bytes()).startswith(IDS + MODALITY + PATIENT)  # inflated
        assert ds.warnings == []
    with pytest.raises(dicore.DicomFormatError):
        len(dicore.read(part10(b"\xff" * 100, DEFLATED)))


def test_from_bytes_of_a_bare_data_set() -> None:
    ds = Dataset.from_bytes(IDS + PATIENT, transfer_syntax="1.2.840.10008.1.2.1", path="peer", owner=object())
    assert (ds.PatientID, ds.transfer_syntax, len(ds.file_meta), ds.path) == ("4711", "1.2.840.10008.1.2.1", 0, "peer")
    assert bytes(ds.dataset_bytes()) == IDS + PATIENT


def test_threads_share_one_data_set(path) -> None:
    path.write_bytes(LONG_HEADER)
    expected = [(p, bytes(e.raw)) for p, e in dicore.read(LONG_HEADER).walk()]
    for _ in range(20):
        ds = dicore.read(path)
        start = threading.Barrier(8)
        results: list[object] = []

        def look(ds=ds, start=start, results=results) -> None:
            start.wait()
            results.append(
                (ds.PatientID, ds.PixelData == PIXELS, [(p, bytes(e.raw)) for p, e in ds.walk()] == expected)
            )

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [("4711", True, True)] * 8


def test_garbage_cycles_around_buffers_are_collected() -> None:
    """A data set over a slice of a memoryview, in a cycle: collecting it once released a memoryview that was cleared."""
    for _ in range(10):
        view = memoryview(bytearray(LARGE))[:-2]
        knot: list[object] = [dicore.read(view), view, dicore.read(view)["PatientID"].raw]
        knot.append(knot)
        del knot, view
        gc.collect(0)


def test_errors_survive_pickling() -> None:
    with pytest.raises(dicore.DicomFormatError) as caught:
        dicore.read(VECTORS["odd-length"].data, strict=True)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.offset, again.tag_path) == (
        str(caught.value), caught.value.offset, caught.value.tag_path)  # fmt: skip
