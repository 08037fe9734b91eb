"""Writing: whole files, in every syntax that headers are rewritten to, atomically; data sets from nothing."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

import dicore
from dicore import DELETE, Typed, uid
from dicore.dataset import Dataset
from dicore.dataset.encode import encapsulated

SYNTAXES = (uid.IMPLICIT_LITTLE, uid.EXPLICIT_LITTLE, uid.EXPLICIT_BIG, uid.DEFLATED)
WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
ENOUGH = 2_000_000  # bytes: larger files of the corpus have nothing that smaller ones lack here


def comparable(dataset: Any, kind: str) -> Iterator[tuple[str, str, Any]]:
    """(path, VR, value) of what a change of encoding keeps: words in little endian, no padding, no group lengths.
    `kind` implicit: without what that loses, VRs that no dictionary has."""
    big = not dataset.is_little_endian
    for path, element in dataset.walk():
        if int(element.tag) & 0xFFFF == 0:
            continue
        vr, raw = element.vr, bytes(element.raw)
        if vr == "SQ":
            yield path, vr, len(element.value)
            continue
        if kind == "implicit" and (
            element.tag.is_private or dicore.dataset.dataset.editing.keyword_to_tag(element.keyword) is None
        ):
            vr = "private"
        if kind == "implicit" and vr in ("OB", "OW", "US", "SS", "UN"):
            vr = "several"
        width = WORDS.get(element.vr, 0)
        if width or vr in ("OB", "UN", "private", "several"):
            numbers = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "UV": 8, "SV": 8}
            width = width or (numbers.get(element.vr, 0) if element.stored_vr != "UN" else 0)
            if path == "7FE0,0010" and element.vr == "OW":
                width = {32: 4, 64: 8}.get(dataset.get("BitsAllocated"), width)
            if big and width:
                raw = b"".join(raw[i : i + width][::-1] for i in range(0, len(raw), width))
            yield path, vr, raw + bytes(len(raw) % 2) if vr in ("OB", "OW", "UN") else raw.rstrip(b"\0 ")
        else:
            yield path, vr, element.value


def readable(corpus: Path) -> list[Path]:
    found = []
    for path in sorted((corpus / "dev").rglob("*")):
        if path.is_file() and path.suffix not in (".tsv", ".jsonl") and path.stat().st_size < ENOUGH:
            found.append(path)
    return found


@pytest.mark.parametrize("syntax", SYNTAXES, ids=uid.name)
@pytest.mark.filterwarnings("ignore")
def test_the_whole_corpus_in_every_syntax(corpus: Path, syntax: str) -> None:
    kind = "implicit" if syntax == uid.IMPLICIT_LITTLE else "explicit"
    written = refused = 0
    for path in readable(corpus):
        try:
            ds = dicore.read(path)
            before = list(comparable(ds, kind))
        except dicore.DicomFormatError:
            continue
        compressed = "PixelData" in ds and ds["PixelData"].is_undefined_length
        try:
            data = ds.to_bytes(syntax)
        except dicore.TransferSyntaxError:
            assert compressed, path
            refused += 1
            continue
        assert not compressed or ds.transfer_syntax == syntax, path
        after = dicore.read(data)
        assert after.transfer_syntax == syntax
        assert list(comparable(after, kind)) == before, path
        assert {w.code for w in after.warnings} <= {w.code for w in ds.warnings}, path
        written += 1
        assert after.to_bytes() == data  # as it is: nothing more changes
    assert written > 100
    assert refused > 20


@pytest.mark.filterwarnings("ignore")
def test_as_pydicom_writes_it(corpus: Path) -> None:
    """What pydicom rewrites between implicit and explicit VR little endian reads as what we make of the same file."""
    compared = 0
    for path in readable(corpus):
        try:
            ds = dicore.read(path)
            pds = pydicom.dcmread(path, force=True)
            if not ds.is_little_endian or ds.warnings or uid.TRANSFER_SYNTAXES[ds.transfer_syntax].encapsulated:
                continue
            implicit = not ds.is_implicit_vr
            out = io.BytesIO()
            pds.file_meta.TransferSyntaxUID = uid.IMPLICIT_LITTLE if implicit else uid.EXPLICIT_LITTLE
            pds.save_as(out, implicit_vr=implicit, little_endian=True)
        except Exception:
            continue
        theirs = dicore.read(out.getvalue())
        ours = dicore.read(ds.to_bytes(pds.file_meta.TransferSyntaxUID))
        assert list(comparable(ours, "implicit")) == list(comparable(theirs, "implicit")), path
        compared += 1
    assert compared > 50


@pytest.mark.parametrize(
    ("flag", "syntax"), [("+ti", uid.IMPLICIT_LITTLE), ("+te", uid.EXPLICIT_LITTLE), ("+tb", uid.EXPLICIT_BIG)]
)
def test_as_dcmconv_writes_it(corpus: Path, tmp_path: Path, flag: str, syntax: str) -> None:
    if not shutil.which("dcmconv"):
        from conftest import absent

        absent("DCMTK is not installed: apt-get install dcmtk")
    compared = 0
    for path in readable(corpus)[::3]:
        try:
            ds = dicore.read(path)
            if ds.warnings or ("PixelData" in ds and ds["PixelData"].is_undefined_length):
                continue
        except dicore.DicomFormatError:
            continue
        if any(e.stored_vr == "UN" or e.tag.is_private for e in ds.iterall()):
            continue  # DCMTK gives UN and private elements the VRs of its own dictionary
        out = tmp_path / "out.dcm"
        if subprocess.run(["dcmconv", flag, str(path), str(out)], capture_output=True).returncode:
            continue
        theirs, ours = dicore.read(out.read_bytes()), dicore.read(ds.to_bytes(syntax))
        if "PixelData" in ds and ds.get("BitsAllocated") in (32, 64) and ds.is_little_endian != ours.is_little_endian:
            back = dicore.read(ours.to_bytes(uid.EXPLICIT_BIG if syntax != uid.EXPLICIT_BIG else uid.EXPLICIT_LITTLE))
            assert bytes(back["PixelData"].raw) == bytes(ds["PixelData"].raw)
            continue  # DCMTK turns words, not cells: docs/reference/deviations.md
        assert list(comparable(ours, "implicit")) == list(comparable(theirs, "implicit")), path
        compared += 1
    assert compared > 20


@pytest.fixture
def ct() -> Dataset:
    return dicore.new(
        "CT Image Storage", PatientName="DOE^JANE", PatientID="1", Rows=2, Columns=2, BitsAllocated=16, BitsStored=16,
        HighBit=15, PixelRepresentation=0, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        PixelData=b"\1\0\2\0\3\0\4\0", ReferencedStudySequence=[{"ReferencedSOPInstanceUID": "1.2.3"}])  # fmt: skip


def test_new_has_the_right_vrs_and_file_meta(ct: Dataset) -> None:
    assert ct.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert ct.file_meta.MediaStorageSOPInstanceUID == ct.SOPInstanceUID
    assert ct.file_meta.ImplementationClassUID == uid.IMPLEMENTATION_CLASS
    assert [(e.keyword, e.vr) for e in ct if e.vr in ("US", "SQ", "OW")] == [
        ("ReferencedStudySequence", "SQ"), ("SamplesPerPixel", "US"), ("Rows", "US"), ("Columns", "US"),
        ("BitsAllocated", "US"), ("BitsStored", "US"), ("HighBit", "US"), ("PixelRepresentation", "US"),
        ("PixelData", "OW"),
    ]  # fmt: skip
    assert ct.pixels().tolist() == [[1, 2], [3, 4]]
    assert not ct.warnings
    assert dicore.read(bytes(ct.part10_bytes()), strict=True)["PatientName"].value == "DOE^JANE"
    theirs = ct.to_pydicom()
    assert theirs.PatientName == "DOE^JANE"
    assert theirs.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2.3"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=uid.name)
def test_new_in_every_syntax(syntax: str) -> None:
    ds = dicore.new("MRImageStorage", {(0x0009, 0x0010): "ACME", "0009,1001": Typed("FD", 1.5)}, transfer_syntax=syntax,
                    SmallestImagePixelValue=7, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg",
                    SOPInstanceUID="1.2.3")  # fmt: skip
    again = dicore.read(bytes(ds.part10_bytes()), strict=True)
    assert again.transfer_syntax == syntax
    assert again.PatientName == "Müller^Jörg"
    assert again.SmallestImagePixelValue == 7
    assert again.SOPInstanceUID == "1.2.3"
    if syntax != uid.IMPLICIT_LITTLE:
        assert again["0009,1001"].value == 1.5


def test_new_with_compressed_pixels() -> None:
    items = encapsulated([b"abc"])
    for given in (items, bytes(items)):
        ds = dicore.new("CT Image Storage", transfer_syntax="JPEGBaseline8Bit", PixelData=given)
        assert ds["PixelData"].is_undefined_length
        assert bytes(ds["PixelData"].raw) == items
        with pytest.raises(dicore.TransferSyntaxError, match="transcode"):
            ds.to_bytes("ExplicitVRLittleEndian")


def test_new_refuses_what_it_does_not_know() -> None:
    for bad in (
        {"NoSuchKeyword": 1},
        {"0009,1001": "no VR"},
        {"PatientID": object},
        {"Rows": "many"},
        {"0002,0010": "1.2"},
    ):
        with pytest.raises(ValueError, match=r"NoSuchKeyword|\w{4},\w{4}"):
            dicore.new("CT Image Storage", bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="No Such Storage"):
        dicore.new("No Such Storage")


def test_file_meta_follows_the_data_set(ct: Dataset) -> None:
    ct.SOPInstanceUID = "1.2.3.4"
    again = dicore.read(ct.to_bytes())
    assert again.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert not again.warnings
    assert dicore.read(bytes(ct.part10_bytes())).file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    ct.file_meta.SourceApplicationEntityTitle = "ME"
    assert ct.is_edited
    assert ct.file_meta.SourceApplicationEntityTitle == "ME"
    assert dicore.read(ct.to_bytes()).file_meta.SourceApplicationEntityTitle == "ME"
    ct.file_meta.TransferSyntaxUID = uid.IMPLICIT_LITTLE  # as pydicom's users do
    assert dicore.read(ct.to_bytes()).transfer_syntax == uid.IMPLICIT_LITTLE
    with pytest.raises(ValueError, match="file_meta"):
        ct[0x0002, 0x0010] = uid.IMPLICIT_LITTLE


def test_preamble_stays_unless_it_is_to_be_blank(ct: Dataset, tmp_path: Path) -> None:
    data = b"II*\0" + bytes(124) + bytes(ct.part10_bytes())[128:]
    ds = dicore.read(data)
    assert ds.to_bytes()[:4] == b"II*\0"
    assert ds.edit(PatientID="2").part10_bytes()[:4] == b"II*\0"
    ds.write(tmp_path / "x.dcm", blank_preamble=True)
    assert (tmp_path / "x.dcm").read_bytes()[:132] == bytes(128) + b"DICM"


def test_canonical_is_sorted_even_and_defined() -> None:
    body = (
        b"\x10\x00\x10\x00PN\x03\x00A^B"
        b"\x08\x00\x00\x00UL\x04\x00\x10\x00\x00\x00"
        b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
        b"\x10\x00\x10\x00PN\x04\x00C^D "
    )
    ds = Dataset.from_bytes(body, transfer_syntax=uid.EXPLICIT_LITTLE)
    data = ds.to_bytes(canonical=True)
    assert data.endswith(
        b"\x08\x00\x15\x11SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\0\0\0\0" + b"\x10\x00\x10\x00PN\x04\x00C^D "
    )
    again = dicore.read(data, strict=True)
    assert dicore.read(data).to_bytes(canonical=True) == data
    assert len(again) == 2


def test_to_file_objects_and_paths(ct: Dataset, tmp_path: Path) -> None:
    out = io.BytesIO()
    ct.write(out)
    path = tmp_path / "a.dcm"
    ct.save_as(path, fsync=True)
    assert path.read_bytes() == out.getvalue() == ct.to_bytes()
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    path.chmod(0o600)
    link = tmp_path / "link.dcm"
    link.symlink_to(path)
    ct.PatientID = "linked"
    ct.write(link)
    assert link.is_symlink()
    assert dicore.read(path).PatientID == "linked"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dcm", "link.dcm"]
    with pytest.raises(FileNotFoundError):
        ct.write(tmp_path / "nowhere" / "a.dcm")


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_data_set_over_the_file_it_is_written_to(ct: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    ct.write(path)
    ds = dicore.read(path)
    ds.PatientID = "over"
    ds.write(path)
    assert dicore.read(path).PatientID == "over"
    assert dicore.read(path).pixels().tolist() == [[1, 2], [3, 4]]


def test_a_write_that_fails_leaves_the_old_file(ct: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        ct.write(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]


def test_a_write_that_is_killed_leaves_the_old_file(ct: Dataset, tmp_path: Path) -> None:
    """SIGKILL between the bytes and the rename."""
    path, source = tmp_path / "a.dcm", tmp_path / "source.dcm"
    path.write_bytes(b"old")
    ct.write(source)
    program = (
        "import os, signal, dicore\n"
        "os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"dicore.read({str(source)!r}).edit(PatientID='new').write({str(path)!r})\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_deflated_is_kept_as_stored_until_it_is_edited(ct: Dataset) -> None:
    data = ct.to_bytes("DeflatedExplicitVRLittleEndian")
    ds = dicore.read(data)
    assert ds.to_bytes() == data
    assert ds.transfer_syntax == uid.DEFLATED
    edited = ds.edit(PatientID="deflated")
    assert edited.transfer_syntax == uid.DEFLATED
    assert edited.PatientID == "deflated"
    assert edited.Rows == 2
    ds.PatientID = "too"
    assert dicore.read(ds.to_bytes()).PatientID == "too"
    assert dicore.read(ds.to_bytes(uid.EXPLICIT_BIG)).pixels().tolist() == [[1, 2], [3, 4]]


@pytest.mark.filterwarnings("ignore")
def test_from_pydicom_is_exact(corpus: Path) -> None:
    count = 0
    for path in readable(corpus)[::2]:
        try:
            theirs = pydicom.dcmread(path)
            out = io.BytesIO()
            theirs.save_as(out)
        except Exception:
            continue
        ds = dicore.from_pydicom(theirs)
        if "TransferSyntaxUID" in theirs.file_meta:
            assert bytes(ds.part10_bytes()) == out.getvalue()
        else:
            assert [e.tag for e in ds] == [e.tag for e in theirs]
        count += 1
    assert count > 50
    made = pydicom.Dataset()
    made.PatientName, made.Rows = "A^B", 3
    made.ReferencedStudySequence = [pydicom.Dataset()]
    made.ReferencedStudySequence[0].StudyID = "7"
    ds = dicore.from_pydicom(made)
    assert ds.PatientName == "A^B"
    assert ds.Rows == 3
    assert ds.ReferencedStudySequence[0].StudyID == "7"
    assert ds.transfer_syntax == uid.EXPLICIT_LITTLE


def test_an_item_is_no_file(ct: Dataset) -> None:
    item = ct.ReferencedStudySequence[0]
    with pytest.raises(ValueError, match="item"):
        item.to_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert item.edit(ReferencedSOPInstanceUID=DELETE).keys() == []


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("syntax", [s for s in SYNTAXES if s != uid.DEFLATED], ids=uid.name)
def test_no_conversion_changes_the_pixels(bits: int, syntax: str) -> None:
    stored = bytes(range(1, 1 + 4 * bits // 8))
    made = dicore.new(
        "CT Image Storage", Rows=2, Columns=2, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1,
        PixelRepresentation=0, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        PixelData=Typed("OW", stored))  # fmt: skip
    before = made.pixels().tolist()
    first = dicore.read(made.to_bytes(syntax))
    assert first.pixels().tolist() == before == first.to_pydicom().pixel_array.tolist()
    assert [first.to_json_dict()["7FE00010"]] == [made.to_json_dict()["7FE00010"]]
    for back in (uid.IMPLICIT_LITTLE, uid.EXPLICIT_LITTLE, uid.EXPLICIT_BIG):
        second = dicore.read(first.to_bytes(back))
        assert second.pixels().tolist() == before
    assert bytes(dicore.read(first.to_bytes(uid.EXPLICIT_LITTLE))["PixelData"].raw) == stored


def test_pixels_of_32_bits_in_big_endian_are_those_of_the_little_endian_file() -> None:
    from pydicom.data import get_testdata_file

    big, little = (dicore.read(get_testdata_file(f"rtdose{kind}.dcm")) for kind in ("_expb", ""))
    assert big.is_little_endian is False
    converted = dicore.read(big.to_bytes(uid.EXPLICIT_LITTLE))
    assert bytes(converted["PixelData"].raw) == bytes(little["PixelData"].raw)
    assert converted.pixels().tobytes() == big.pixels().tobytes() == little.pixels().tobytes()
