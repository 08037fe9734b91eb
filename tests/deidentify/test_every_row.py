"""Every row of table E.1-1, at the top level and nested: the original value is nowhere in the new file, unless the
action keeps it. In explicit and implicit VR little endian and in big endian."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest
from markers import CT, HOLDER, KEY, dataset, marked
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

import dicore
from dicore.dataset.dictionary import tag_vr
from dicore.dataset.encode import part10
from dicore.deidentify.profile import OPTIONS, Row, rows

TAGS = [row for row in rows() if "x" not in row.tag and row.tag != "private"]
RECORD = (0x00041511,)  # of a DICOMDIR
LETTERS = {option.letter: name for name, option in OPTIONS.items() if option.letter}


def new_bytes(ds: dicore.Dataset, *options: str) -> bytes:
    new = dicore.deidentify(ds, key=KEY, options=options)
    dicore.read(bytes(new.part10_bytes()), strict=True)
    return bytes(new.part10_bytes())


@pytest.mark.parametrize("nested", [False, True], ids=["top", "nested"])
@pytest.mark.parametrize("row", TAGS, ids=lambda row: row.tag)
def test_the_value_is_gone(row: Row, nested: bool) -> None:
    element = marked(int(row.tag, 16))
    ds = dataset((element.tag, element.vr, element.value), nested=nested)
    assert element.marker in bytes(ds.part10_bytes())
    new = new_bytes(ds)
    if row.basic != "X/Z/U*":
        assert element.marker not in new
    if element.vr in ("UI", "SQ"):
        assert b"1.9." not in new
    found = dicore.read(new)
    where: Any = found if not nested else found.get("ReferencedSeriesSequence")[0].ReferencedSeriesSequence[0]
    if row.basic == "X" or element.tag >> 16 in (0, 2):
        assert element.tag not in where
    elif row.basic in ("Z", "X/Z") and element.tag not in (0x00100010, 0x00100020):
        assert where[element.tag].length == 0
    else:  # never empty: valid whatever the Type
        assert where[element.tag].length > 0


@pytest.mark.parametrize("row", [row for row in TAGS if row.options], ids=lambda row: row.tag)
def test_an_option_keeps_or_cleans(row: Row) -> None:
    element = marked(int(row.tag, 16))
    ds = dataset((element.tag, element.vr, element.value))
    for letter, code in row.options.items():
        new = new_bytes(ds, LETTERS[letter])
        if code == "K" and element.tag >> 16 not in (0, 2):
            assert element.tag in dicore.read(new)
            if element.vr != "SQ":
                assert element.marker in new
        elif letter == "M" and element.vr == "TM":
            assert element.marker in new  # whole days
        elif code == "C":
            assert element.marker not in new


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian], ids=["implicit", "big endian"])
@pytest.mark.parametrize("nested", [False, True], ids=["top", "nested"])
def test_all_rows_at_once_in_the_other_encodings(syntax: str, nested: bool) -> None:
    elements = [
        marked(int(row.tag, 16))
        for row in TAGS
        if row.basic != "X/Z/U*" and int(row.tag, 16) >> 16 not in (0, 2, 4) and tag_vr(int(row.tag, 16))
    ]
    texts = [e for e in elements if e.vr not in ("SQ", "US", "UL", "SS", "SL", "FL", "FD")]
    listed = [(e.tag, e.vr, e.value) for e in elements]
    out = io.BytesIO()
    dataset(*listed, nested=nested).write(out, transfer_syntax=str(syntax))
    old = out.getvalue()
    new = new_bytes(dicore.read(old))
    assert len(texts) > 400
    for element in texts:
        assert element.marker in old
        assert element.marker not in new, f"{element.tag:08X}"
    assert dicore.read(new).transfer_syntax == syntax


@pytest.mark.parametrize("tag", [0x50000010, 0x50FE2500, 0x60003000, 0x60FE3000, 0x60024000])
def test_curves_and_overlays_are_gone(tag: int) -> None:
    ds = dataset((tag, "LO", "QZ77777"), (0x60020022, "LO", "stays"))
    new = new_bytes(ds)
    assert b"QZ77777" not in new
    assert b"stays" in new


@pytest.mark.parametrize("nested", [False, True], ids=["top", "nested"])
@pytest.mark.parametrize(
    "options", [(), tuple(n for n in OPTIONS if n != "retain_modified_dates")], ids=["basic", "all"]
)
def test_private_and_unknown_elements_are_gone(options: tuple[str, ...], nested: bool) -> None:
    ds = dataset(
        (0x00090010, "LO", "QZ77771 CREATOR"),
        (0x00091001, "LO", "QZ77772"),
        (0x00091002, "SQ", [[(0x00100010, "PN", "QZ77773")]]),
        (0x00190010, "LO", "SIEMENS MR HEADER"),
        (0x00191008, "CS", "QZ77774"),
        (0x00420001, "LO", "QZ77775"),
        (0x00420003, "SQ", [[(0x00080060, "CS", "QZ77776")]]),
        nested=nested,
    )
    assert b"QZ7777" not in new_bytes(ds, *options)


def test_safe_private_elements_stay_when_asked_for() -> None:
    ds = dataset(
        (0x00190010, "LO", "SIEMENS MR HEADER"),
        (0x00190011, "LO", "ELSCINT1"),
        (0x0019100C, "IS", "1000"),
        (0x0019100D, "CS", b"not a code string"),
        (0x00191027, "FD", [1.0] * 6),
        (0x0019110C, "IS", "1000"),
        (0x20010010, "LO", "Philips Imaging DD 001"),
        (0x20011003, "FL", 5.0),
        (0x20011004, "IS", b"QZ"),
    )
    new = dicore.deidentify(ds, key=KEY, options=["retain_safe_private"])
    kept = [tag for tag in new.keys() if tag >> 16 & 1]  # noqa: SIM118
    assert kept == [0x00190010, 0x0019100C, 0x00191027, 0x20010010, 0x20011003]
    assert not [tag for tag in dicore.deidentify(ds, key=KEY).keys() if tag >> 16 & 1]  # noqa: SIM118


def test_elements_beyond_the_table() -> None:
    ds = dataset(
        (0x0018991E, "UI", "1.9.1"),  # Target Frame of Reference UID
        (0x00142006, "PN", "Evaluator"),
        (0x00144076, "DA", "20010203"),
        (0x00081190, "UR", "http://pacs.example/1"),
        (0x0040A160, "UT", "a text value"),
        (0x0008010C, "UI", "1.9.2"),  # Coding Scheme UID
        nested=True,
    )
    item = dicore.deidentify(ds, key=KEY).ReferencedSeriesSequence[0].ReferencedSeriesSequence[0]
    assert item.TargetFrameOfReferenceUID.startswith("2.25.")
    assert str(item.EvaluatorName) == "DEIDENTIFIED"
    assert item.ProcedureCreationDate == "19000101"
    assert "RetrieveURL" not in item
    assert item.TextValue == "DEIDENTIFIED"
    assert item.CodingSchemeUID == "1.9.2"


def test_a_kept_text_that_repeats_a_removed_one_is_replaced() -> None:
    ds = dataset(
        (0x00100010, "PN", "Mustermann^Erika"),
        (0x00100020, "LO", "PID-4711"),
        (0x00081030, "LO", "Brain-MRA"),
        (0x00080070, "LO", "Brain-MRA"),  # Manufacturer is exempt
        (0x00181020, "LO", ["1.0", "for frau MUSTERMANN"]),
        (0x00181210, "SH", "B30f"),
        (0x00201040, "LO", "brain-mra"),
        (0x00181160, "SH", "pid 4711"),
        (0x00080064, "CS", "WSD"),
        (HOLDER, "SQ", [[(0x00181020, "LO", "Erika")]]),
    )
    new = dicore.deidentify(ds, key=KEY)
    assert new.SoftwareVersions == "DEIDENTIFIED"
    assert new.PositionReferenceIndicator == "DEIDENTIFIED"
    assert new.FilterType == "DEIDENTIFIED"
    assert new.ReferencedSeriesSequence[0].SoftwareVersions == "DEIDENTIFIED"
    assert (new.ConvolutionKernel, new.Manufacturer, new.ConversionType) == ("B30f", "Brain-MRA", "WSD")


def test_file_meta_and_preamble_are_made_anew() -> None:
    old = bytearray(part10([(0x00080016, "UI", CT), (0x00080018, "UI", "1.2.3.4")]))
    old[:20] = b"Mustermann, MM, IIII"
    meta = pydicom.dcmread(io.BytesIO(old))
    meta.file_meta.SourceApplicationEntityTitle = "HOSPITAL_AE"
    meta.file_meta.PrivateInformationCreatorUID = "1.9.7"
    meta.file_meta.PrivateInformation = b"QZ77777Z"
    out = io.BytesIO()
    meta.save_as(out)
    new = new_bytes(dicore.read(out.getvalue()))
    assert new[:128] == bytes(128)
    for gone in (b"Muster", b"HOSPITAL", b"1.9.7", b"QZ777", b"1.2.3.4"):
        assert gone not in new
    ds = dicore.read(new)
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert ds.file_meta.MediaStorageSOPClassUID == CT
