"""The Dataset as a mapping: keywords, tags, paths, iteration, text."""

from __future__ import annotations

import copy
import struct

import pydicom
import pytest

import dicore
from dicore.dataset import Dataset, Tag, dictionary, select
from vectors.deviations import CLEAN, IDS, IMPLICIT, MODALITY, PATIENT, STUDY, element, implicit, item, part10

NESTED = part10(
    IDS + MODALITY
    + element(0x00081115, "SQ", item(
        element(0x0008114A, "SQ", item(element(0x00081155, "UI", b"1.2\0")) + item(element(0x00081155, "UI", b"1.4\0")))
        + element(0x0020000E, "UI", b"1.3\0")) + item(b""))
    + element(0x00090010, "LO", b"NOBODY") + element(0x00091001, "LO", b"secret")
    + PATIENT + STUDY + element(0x00280010, "US", b"\0\2")
)  # fmt: skip
PATHS = ["0008,0016", "0008,0018", "0008,0060", "0008,1115", "0008,1115[0].0008,114A",
         "0008,1115[0].0008,114A[0].0008,1155", "0008,1115[0].0008,114A[1].0008,1155", "0008,1115[0].0020,000E",
         "0009,0010", "0009,1001", "0010,0020", "0020,0010", "0028,0010"]  # fmt: skip


@pytest.fixture
def ds() -> Dataset:
    return dicore.read(NESTED, strict=True)


def test_one_element_by_all_its_names(ds) -> None:
    assert ds.PatientID == "4711"
    for key in ("PatientID", (0x10, 0x20), 0x00100020, Tag(0x00100020), "0010,0020", "00100020"):
        assert ds[key].value == ds.get(key) == "4711"
        assert key in ds


def test_paths(ds) -> None:
    assert ds["ReferencedSeriesSequence[0].SeriesInstanceUID"].value == "1.3"
    assert ds["0008,1115[0].0020,000E"] == ds["ReferencedSeriesSequence[0].SeriesInstanceUID"]
    assert ds.get("ReferencedSeriesSequence[0].ReferencedInstanceSequence[1].ReferencedSOPInstanceUID") == "1.4"
    assert ds["ReferencedSeriesSequence[0]"] is ds.ReferencedSeriesSequence[0]
    assert "ReferencedSeriesSequence[1]" in ds
    assert "ReferencedSeriesSequence[2]" not in ds
    assert "ReferencedSeriesSequence[1].SeriesInstanceUID" not in ds
    assert ds.get("ReferencedSeriesSequence[1].SeriesInstanceUID", "none") == "none"
    assert ds.get("Modality[0]", 5) == 5
    for path, element_ in ds.walk():
        assert ds[path] == element_
    for bad in (
        "ReferencedSeriesSequence.SeriesInstanceUID",
        "ReferencedSeriesSequence[x]",
        "ReferencedSeriesSequence[0",
    ):
        with pytest.raises(ValueError, match="item"):
            ds[bad]
        assert bad not in ds


def test_what_is_missing(ds) -> None:
    for key in (
        "StudyDate",
        0x00080020,
        "ReferencedSeriesSequence[1].SeriesInstanceUID",
        "ReferencedSeriesSequence[9]",
    ):
        with pytest.raises(KeyError):
            ds[key]
        with pytest.raises(dicore.MissingElement):
            ds[key]
    with pytest.raises(AttributeError, match=r"StudyDate \(0008,0020\)"):
        _ = ds.StudyDate
    with pytest.raises(dicore.MissingElement) as caught:
        _ = ds.ReferencedSeriesSequence[1].SeriesInstanceUID
    assert caught.value.tag_path == "0008,1115[1].0020,000E"
    with pytest.raises(AttributeError):
        _ = ds.NoSuchKeyword
    with pytest.raises(AttributeError):
        _ = ds.no_such_attribute
    with pytest.raises(KeyError):
        ds["NoSuchKeyword"]
    assert not hasattr(ds, "StudyDate")
    assert hasattr(ds, "PatientID")
    assert (ds.get("StudyDate"), ds.get("StudyDate", 7), ds.get("NoSuchKeyword", 8)) == (None, 7, 8)
    for bad in (-1, 1 << 32, (0x10000, 0)):
        with pytest.raises(ValueError, match="no tag"):
            ds[bad]
    with pytest.raises(TypeError):
        ds[1.5]
    with pytest.raises(AttributeError):
        ds.patient_id = "x"


def test_iteration_is_in_file_order(ds) -> None:
    assert [path for path, _ in ds.walk()] == PATHS
    top = [path for path in PATHS if "[" not in path]
    assert [f"{e.tag.group:04X},{e.tag.element:04X}" for e in ds] == top
    assert [str(tag) for tag in ds.keys()] == [f"({path})" for path in top]  # noqa: SIM118
    assert len(ds) == len(top) == len(ds.values()) == len(ds.items())
    assert [e.tag for e in ds.iterall()] == [e.tag for _, e in ds.walk()]
    inner = ds.ReferencedSeriesSequence[0]
    assert (len(inner), len(ds.ReferencedSeriesSequence[1]), bool(ds.ReferencedSeriesSequence[1])) == (2, 0, False)
    assert next(path for path, _ in inner.walk()) == "0008,114A"


def test_elements(ds) -> None:
    e = ds["PatientID"]
    assert (e.tag, e.vr, e.VR, e.stored_vr, e.keyword, e.name) == (
        0x00100020,
        "LO",
        "LO",
        "LO",
        "PatientID",
        "Patient ID",
    )
    assert (bytes(e.raw), e.length, e.VM, e.is_private, e.is_empty) == (b"4711", 4, 1, False, False)
    assert NESTED[e.offset : e.offset + 4] == b"\x10\0\x20\0"
    private = ds[0x0009, 0x1001]
    assert (private.is_private, private.keyword, private.name) == (True, "", "Private tag data")
    assert (private.private_creator, ds[0x00090010].name) == ("NOBODY", "Private Creator")
    sequence = ds["ReferencedSeriesSequence"]
    assert (sequence.vr, sequence.VM, len(sequence.value), sequence.is_undefined_length) == ("SQ", 1, 2, False)
    assert bytes(sequence.raw).startswith(b"\xfe\xff\0\xe0")
    assert sequence[0].SeriesInstanceUID == "1.3"
    assert len({e, ds["PatientID"]}) == 1
    assert e != ds["StudyID"]
    assert e != "4711"


def test_file_meta_and_transfer_syntax(ds) -> None:
    meta = ds.file_meta
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == ("1.2.840.10008.1.2.1", "1.2.3.4")
    assert [e.tag.group for e in meta] == [2] * 6
    assert ds.transfer_syntax == "1.2.840.10008.1.2.1"
    assert (ds.is_little_endian, ds.is_implicit_vr) == (True, False)
    assert len(dicore.read(IDS + MODALITY).file_meta) == 0
    assert dicore.read(IDS + MODALITY).transfer_syntax == "1.2.840.10008.1.2.1"
    assert dicore.read(part10(IDS + MODALITY, IMPLICIT)).transfer_syntax == "1.2.840.10008.1.2.1"  # as it really is
    assert dicore.read(part10(implicit(0x00080060, b"CT"), IMPLICIT)).transfer_syntax == IMPLICIT
    rle = part10(MODALITY, "1.2.840.10008.1.2.5")
    assert dicore.read(rle).transfer_syntax == "1.2.840.10008.1.2.5"


def test_to_pydicom_is_what_pydicom_reads(ds) -> None:
    theirs = ds.to_pydicom()
    assert isinstance(theirs, pydicom.FileDataset)
    assert theirs.file_meta.TransferSyntaxUID == ds.transfer_syntax
    assert theirs.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.3"
    assert theirs == pydicom.dcmread(pydicom.filebase.DicomBytesIO(NESTED))


def test_text_escapes_what_would_drive_a_terminal(ds) -> None:
    text = str(ds)
    assert "(0010,0020) Patient ID                          LO: '4711'" in text
    assert "   (0020,000E) Series Instance UID" in text
    assert "<Dataset" in repr(ds)
    assert "1.2.3.4" in repr(ds)
    assert repr(ds["PatientID"]) == "(0010,0020) Patient ID                          LO: '4711'"
    nasty = dicore.read(part10(element(0x00100020, "LO", b"\x1b[2Jx\n")))
    assert "\x1b" not in str(nasty)
    assert "\n" not in str(nasty)
    assert "20 bytes" in str(dicore.read(part10(element(0x00091001, "OB", bytes(20)))))


def test_copies_are_data_sets_of_their_own_over_the_same_bytes(ds) -> None:
    for other in (copy.copy(ds), copy.deepcopy(ds)):
        assert other is not ds
        assert other.PatientID == ds.PatientID
        assert other.part10_bytes().obj is ds.part10_bytes().obj


def test_select_gives_raw_values_in_the_order_asked() -> None:
    found = select(NESTED, (0x00280010, 0x00100020, 0x00080020, 0x00080060))
    assert [None if v is None else bytes(v) for v in found] == [b"\0\2", b"4711", None, b"CT"]
    bare = implicit(0x00080060, b"MR") + implicit(0x00100020, b"1 ")
    assert [bytes(v) for v in select(bytearray(bare), [0x00080060], IMPLICIT) if v is not None] == [b"MR"]
    assert select(NESTED, ()) == []
    twice = part10(MODALITY + element(0x00080060, "CS", b"MR"))
    assert select(twice, (0x00080060,)) == [b"MR"]
    with pytest.raises(dicore.DicomFormatError):
        select(b"nonsense", (0x00080060,))


def test_dictionary() -> None:
    assert dictionary.keyword_to_tag("PatientName") == 0x00100010
    assert dictionary.keyword_to_tag("NoSuchKeyword") is None
    assert dictionary.keyword_to_tag("Ünicode") is None
    assert dictionary.tag_to_keyword(0x00100010) == "PatientName"
    assert dictionary.tag_to_keyword(0x60023000) == "OverlayData"
    assert dictionary.tag_name(0x00100010) == "Patient's Name"
    assert (dictionary.tag_vr(0x00100010), dictionary.tag_vr(0x00100011)) == ("PN", None)
    assert dictionary.tag_vrs(0x00280106) == ("US", "SS")
    assert dictionary.private_vr("GEMS_ACQU_01", 0x00191002) == "SL"
    assert dictionary.private_vr("NOBODY", 0x00191002) is None


def test_many_elements_and_many_items_stay_linear() -> None:
    items = b"".join(item(element(0x00081155, "UI", b"1.2\0")) for _ in range(20_000))
    data = part10(element(0x00081115, "SQ", items) + PATIENT)
    ds = dicore.read(data)
    assert sum(1 for _ in ds.walk()) == 20_002
    assert ds["ReferencedSeriesSequence[19999].ReferencedSOPInstanceUID"].value == "1.2"


def test_an_item_keeps_the_file_alive(tmp_path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(NESTED)
    item_ = dicore.read(path).ReferencedSeriesSequence[0]
    assert item_.SeriesInstanceUID == "1.3"
    assert item_.path == path
    assert bytes(item_.dataset_bytes()).endswith(b"1.3\0")


def test_duplicates_count_once_by_name_and_twice_in_iteration() -> None:
    ds = dicore.read(part10(MODALITY + element(0x00080060, "CS", b"MR") + PATIENT))
    assert ds.Modality == "MR"
    assert [e.value for e in ds] == ["CT", "MR", "4711"]
    assert ds["Modality"].value == "MR"
    assert struct.unpack("<H", bytes(ds["Modality"].raw))[0] == int.from_bytes(b"MR", "little")
    assert dicore.read(CLEAN).Modality == "CT"
