"""dicore.deidentify as a whole: consistency over a set, dates, patients, options, cleaning, the report, refusals."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zlib
from datetime import date, datetime, timedelta
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markers import CT, HOLDER, KEY, dataset

import dicore
from dicore import synth
from dicore._native import deidentify as native
from dicore.dataset.encode import part10
from dicore.deidentify import Action, Report, deidentify_bytes
from dicore.deidentify.profile import OPTIONS, policy
from dicore.errors import DicomFormatError

PID, NAME = 0x00100020, 0x00100010


def test_uids_are_the_keyed_hash_and_valid() -> None:
    key = hashlib.blake2b(KEY, digest_size=32, person=b"dicore deidentif").digest()
    assert policy("basic", (), KEY).key == key
    digest = bytearray(hashlib.blake2s(b"1.2.3.4", digest_size=16, key=key, person=b"dicoreU1").digest())
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    new = dicore.deidentify(dataset(), key=KEY).SOPInstanceUID
    assert new == f"2.25.{int.from_bytes(digest, 'big')}"
    assert pydicom.uid.UID(new).is_valid
    assert dicore.deidentify(dataset(), key=KEY[::-1]).SOPInstanceUID != new


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80))
def test_hashes_are_those_of_hashlib(key: bytes, data: bytes) -> None:
    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    digest = hashlib.blake2s(data, digest_size=16, key=key, person=b"dicoreP1").digest()
    assert native.pseudonym(key, data) == "".join(letters[byte & 31] for byte in digest)
    number = int.from_bytes(hashlib.blake2s(data, digest_size=4, key=key, person=b"dicoreD1").digest(), "little")
    assert native.days(key, data) == -366 - number % 3653


@given(st.dates(date(1500, 1, 1), date(2500, 1, 1)), st.integers(-4018, -366))
def test_dates_move_as_datetime_moves_them(day: date, by: int) -> None:
    moved = day + timedelta(days=by)
    text = f"{day.year:04}{day:%m%d}".encode()
    assert native.shifted("DA", text, by) == f"{moved.year:04}{moved:%m%d}".encode()
    assert native.shifted("DT", text + b"101112.5", by) == f"{moved.year:04}{moved:%m%d}101112.5".encode()


@given(st.text(alphabet="0123456789.+-\\ QZ", max_size=30))
def test_what_is_moved_is_a_date_or_nothing(text: str) -> None:
    for vr in ("DA", "DT"):
        moved = native.shifted(vr, text.encode(), -400)
        assert moved is None or (b"Q" not in moved and len(moved) <= len(text))


def test_references_hold_over_a_set() -> None:
    """Each file on its own, in any order: every reference to another instance still finds it."""
    uids = [f"1.2.3.{i}" for i in range(20)]

    def file(i: int) -> dicore.Dataset:
        others: list[Any] = [[(0x00081150, "UI", CT), (0x00081155, "UI", uid)] for uid in uids if uid != uids[i]]
        return dataset(
            (0x00080018, "UI", uids[i]),
            (0x0020000D, "UI", "1.2.5"),
            (0x0020000E, "UI", "1.2.6"),
            (0x00200052, "UI", "1.2.7"),
            (0x00081140, "SQ", others),
            (HOLDER, "SQ", [[(0x0020000E, "UI", "1.2.6"), (0x0008114A, "SQ", others)]]),
        )

    new = {i: dicore.deidentify(file(i), key=KEY) for i in reversed(range(20))}
    instances = {ds.SOPInstanceUID for ds in new.values()}
    assert len(instances) == 20
    assert len({ds.StudyInstanceUID for ds in new.values()}) == 1
    assert len({ds.FrameOfReferenceUID for ds in new.values()}) == 1
    for ds in new.values():
        assert {item.ReferencedSOPInstanceUID for item in ds.ReferencedImageSequence} == instances - {ds.SOPInstanceUID}
        assert {item.ReferencedSOPClassUID for item in ds.ReferencedImageSequence} == {CT}
        assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == ds.SeriesInstanceUID


def patient(identifier: str, *more: Any) -> dicore.Dataset:
    return dataset((NAME, "PN", f"Name^{identifier}"), (PID, "LO", identifier), *more)


def test_dates_move_per_patient_and_keep_their_distances() -> None:
    def moved(identifier: str, days: list[str]) -> list[date]:
        ds = patient(
            identifier, (0x00080020, "DA", days[0]), (0x00080021, "DA", days[1]), (0x0008002A, "DT", f"{days[2]}1011")
        )
        new = dicore.deidentify(ds, key=KEY, options=["retain_modified_dates"])
        assert new.LongitudinalTemporalInformationModified == "MODIFIED"
        texts = [new.StudyDate, new.SeriesDate, new.AcquisitionDateTime[:8]]
        assert new.AcquisitionDateTime[8:] == "1011"
        return [datetime.strptime(text, "%Y%m%d").date() for text in texts]

    days = ["20200229", "20200301", "20210101"]
    one, same, other = moved("P1", days), moved("P1", days[::-1]), moved("P2", days)
    assert one == same[::-1]
    assert (one[1] - one[0]).days == 1
    assert (one[2] - one[0]).days == (date(2021, 1, 1) - date(2020, 2, 29)).days
    assert one[0] != other[0]
    assert 366 <= (date(2020, 2, 29) - one[0]).days <= 4018


def test_dates_as_the_options_say() -> None:
    ds = patient("P1", (0x00080020, "DA", "20200229"), (0x00080030, "TM", "101112"), (0x00080021, "DA", b"about 1970"))
    full = dicore.deidentify(ds, key=KEY, options=["retain_full_dates"])
    assert (full.StudyDate, full.StudyTime) == ("20200229", "101112")
    assert full.LongitudinalTemporalInformationModified == "UNMODIFIED"
    gone = dicore.deidentify(ds, key=KEY)
    assert (gone.StudyDate, gone.SeriesDate) == ("", "19000101")
    assert gone.LongitudinalTemporalInformationModified == "REMOVED"
    moved = dicore.deidentify(ds, key=KEY, options=["retain_modified_dates"])
    assert moved.SeriesDate == "19000101"  # what is no date is not passed on
    assert moved.StudyTime == "101112"


def test_pseudonyms_are_the_patients_own() -> None:
    one, again, other = (dicore.deidentify(patient(p), key=KEY) for p in ("P1", "P1", "P2"))
    assert one.PatientID == again.PatientID == str(one.PatientName)
    assert one.PatientID != other.PatientID
    assert len(one.PatientID) == 16
    nested = dataset((PID, "LO", "P1"), (HOLDER, "SQ", [[(PID, "LO", "P2")], [(PID, "LO", "P1 ")]]))
    items = dicore.deidentify(nested, key=KEY).ReferencedSeriesSequence
    assert [item.PatientID for item in items] == [other.PatientID, one.PatientID]
    assert dicore.deidentify(dataset((PID, "LO", ""), (NAME, "PN", "")), key=KEY).PatientID == ""


def test_a_mapping_gives_the_new_identifiers() -> None:
    new = dicore.deidentify(patient("P1"), key=KEY, mapping={"P1": ("TRIAL-7", "Subject^Seven")})
    assert (new.PatientID, str(new.PatientName)) == ("TRIAL-7", "Subject^Seven")
    assert str(dicore.deidentify(patient("P1"), key=KEY, mapping={"P1": "T1"}).PatientName) == "T1"
    with pytest.raises(LookupError) as caught:
        dicore.deidentify(patient("SECRET-ID"), key=KEY, mapping={"P1": "T1"})
    assert "SECRET" not in str(caught.value)
    for wrong in ("", "x" * 65, "Jörg"):
        with pytest.raises(ValueError, match="ASCII"):
            dicore.deidentify(patient("P1"), key=KEY, mapping={"P1": wrong})


def test_what_was_done_is_said() -> None:
    options = ["clean_descriptors", "retain_uids", "clean_pixel_data"]
    new = dicore.deidentify(dataset((0x00280301, "CS", "YES")), key=KEY, options=options)
    assert new.PatientIdentityRemoved == "YES"
    codes = [(item.CodeValue, item.CodingSchemeDesignator) for item in new.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113101", "DCM"), ("113105", "DCM"), ("113110", "DCM")]
    assert len(new.DeidentificationMethod) == 5
    assert all(len(text) <= 64 for text in new.DeidentificationMethod)
    assert new.BurnedInAnnotation == "NO"
    assert new.SOPInstanceUID == new.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    for name in OPTIONS:
        assert OPTIONS[name].code.startswith("1131")
        assert len(OPTIONS[name].meaning) <= 64


def test_cleaned_text_holds_known_words_only() -> None:
    ds = dataset(
        (NAME, "PN", "Chest^Joan"),
        (0x00080090, "PN", "Head^Doctor"),
        (0x00081030, "LO", b"MRI brain of Miller, 3.4.1960; T2 axial, tel. 030/1234567, Dr. HEAD"),
        (0x0008103E, "LO", "Joan Chest CT\\Thorax "),
        (0x00204000, "LT", "Bauer"),
    )
    new = dicore.deidentify(ds, key=KEY, options=["clean_descriptors"])
    assert new.StudyDescription == "MRI brain of T2 axial"
    assert new.SeriesDescription == ["CT", "Thorax"]
    assert new.ImageComments == ""


def report_tree() -> dicore.Dataset:
    code = [[(0x00080100, "SH", "121071"), (0x00080102, "SH", "DCM"), (0x00080104, "LO", "Finding")]]
    local = [[(0x00080100, "SH", "QZ7"), (0x00080102, "SH", "99HOME"), (0x00080104, "LO", "mass seen by Bauer")]]
    content = [
        [
            (0x0040A010, "CS", "CONTAINS"),
            (0x0040A040, "CS", "TEXT"),
            (0x0040A043, "SQ", code),
            (0x0040A160, "UT", "A mass in the left lung of Bauer, born 3.4.60"),
            (
                0x0040A730,
                "SQ",
                [[(0x0040A040, "CS", "PNAME"), (0x0040A123, "PN", "Bauer^K"), (0x0040A168, "SQ", local)]],
            ),
            (0x0040A730 + 1, "LO", "no element of the standard"),
        ]
    ]
    return dataset((0x0040A730, "SQ", content))


def test_structured_content_keeps_its_structure() -> None:
    plain = dicore.deidentify(report_tree(), key=KEY).ContentSequence[0]
    assert (plain.RelationshipType, plain.ValueType, plain.TextValue) == ("CONTAINS", "TEXT", "DEIDENTIFIED")
    assert plain.ConceptNameCodeSequence[0].CodeMeaning == "DEIDENTIFIED"
    assert str(plain.ContentSequence[0].PersonName) == "DEIDENTIFIED"
    new = dicore.deidentify(report_tree(), key=KEY, options=["clean_structured_content"])
    cleaned = new.ContentSequence[0]
    assert cleaned.TextValue == "A mass in the left lung of"
    assert cleaned.ConceptNameCodeSequence[0].CodeMeaning == "Finding"
    local = cleaned.ContentSequence[0].ConceptCodeSequence[0]
    assert (local.CodeValue, local.CodeMeaning) == ("DEIDENTIFIED", "mass seen by")
    for ds in (new, dicore.deidentify(report_tree(), key=KEY)):
        assert b"Bauer" not in bytes(ds.part10_bytes())
        assert b"QZ7" not in bytes(ds.part10_bytes())


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.90"])
def test_other_transfer_syntaxes(syntax: str) -> None:
    elements: list[Any] = [(0x00080016, "UI", CT), (0x00080018, "UI", "1.2.3.4"), (NAME, "PN", "Mustermann")]
    if syntax.endswith("99"):
        file = part10(elements, syntax)
        at = file.index(b"\x08\x00\x16\x00")
        deflate = zlib.compressobj(wbits=-15)
        packed = deflate.compress(file[at:]) + deflate.flush()
        file = file[:at] + packed + bytes(len(packed) % 2)
        wanted = "1.2.840.10008.1.2.1"
    else:
        from dicore.dataset.encode import encapsulated

        file = part10([*elements, (0x7FE00010, "OB", encapsulated([b"\xff\x4f\xff\x51 a frame"]))], syntax)
        wanted = syntax
    new = dicore.deidentify(dicore.read(file), key=KEY)
    assert new.transfer_syntax == wanted
    assert b"Muster" not in bytes(new.part10_bytes())
    if wanted == syntax:
        assert bytes(new["PixelData"].raw) == bytes(dicore.read(file)["PixelData"].raw)
    dicore.read(bytes(new.part10_bytes()), strict=True)


def test_recorded_edits_count() -> None:
    ds = patient("P1", (0x00081030, "LO", "before"))
    ds.PatientID = "P2"
    ds.SoftwareVersions = "9.9"
    new = dicore.deidentify(ds, key=KEY)
    assert new.PatientID == dicore.deidentify(patient("P2"), key=KEY).PatientID
    assert new.SoftwareVersions == "9.9"


def test_a_bare_data_set_becomes_a_file() -> None:
    from dicore.dataset.encode import encode

    bare = encode([(0x00080016, "UI", CT), (0x00080018, "UI", "1.2.3.4"), (NAME, "PN", "Mustermann")])
    new = dicore.deidentify(dicore.Dataset.from_bytes(bare, transfer_syntax="1.2.840.10008.1.2.1"), key=KEY)
    assert new.transfer_syntax == "1.2.840.10008.1.2.1"
    assert new.SOPClassUID == new.file_meta.MediaStorageSOPClassUID == CT


def test_synthetic_slices_keep_their_pixels() -> None:
    import numpy as np

    for instance in synth.studies(1, 1, "CT", slices=3):
        old = dicore.read(instance.data)
        new = dicore.deidentify(old, key=KEY)
        assert np.array_equal(old.pixels(), new.pixels())
        assert new.to_pydicom().SOPInstanceUID == new.SOPInstanceUID
        assert deidentify_bytes(instance.data, key=KEY) == bytes(new.part10_bytes())


def test_the_report_names_no_value() -> None:
    report = Report()
    for _ in range(2):
        ds = patient("SECRET7", (0x00081030, "LO", "SECRET8"), (0x00091001, "LO", "SECRET9"), (0x00280301, "CS", "YES"))
        dicore.deidentify(ds, key=KEY, report=report)
    assert report.instances == 2
    assert report.changes[PID, Action.ID] == 2
    assert report.changes[0x00081030, Action.REMOVE] == 2
    assert report.burned_in_annotation == {"YES": 2}
    said = report.as_dict()
    assert said["tags"]["0010,0020"] == {"keyword": "PatientID", "id": 2}
    assert said["tags"]["0009,1001"] == {"keyword": "", "remove": 2}
    assert said["actions"] == report.actions
    assert "SECRET" not in str(said)
    other = Report()
    other.update(report)
    assert other == report


def test_wrong_use_is_refused() -> None:
    ds = dataset()
    for wrong in (b"", b"short", "text of sufficient length"):
        with pytest.raises(ValueError, match="key"):
            dicore.deidentify(ds, key=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no profile"):
        dicore.deidentify(ds, key=KEY, profile="none")
    with pytest.raises(ValueError, match="no option 'retain_all'"):
        dicore.deidentify(ds, key=KEY, options=["retain_all"])
    with pytest.raises(ValueError, match="sequence"):
        dicore.deidentify(ds, key=KEY, options="retain_uids")
    with pytest.raises(ValueError, match="exclude"):
        dicore.deidentify(ds, key=KEY, options=["retain_full_dates", "retain_modified_dates"])
    item = dataset((HOLDER, "SQ", [[(PID, "LO", "P1")]])).ReferencedSeriesSequence[0]
    with pytest.raises(ValueError, match="item"):
        dicore.deidentify(item, key=KEY)
    with pytest.raises(DicomFormatError, match="DICOMDIR"):
        dicore.deidentify(dataset((0x00041220, "SQ", [])), key=KEY)
    with pytest.raises(DicomFormatError, match="Instance UID"):
        dicore.deidentify(dataset((0x00080018, "UI", "")), key=KEY)


def test_it_is_callable_however_it_was_imported() -> None:
    code = (
        "import dicore.deidentify\nfrom dicore.deidentify import Report\nimport dicore, sys\n"
        "from dicore.dataset.encode import part10\n"
        "ds = dicore.Dataset.from_bytes(part10([(0x00080016, 'UI', '1.2'), (0x00080018, 'UI', '1.3')]))\n"
        "print(dicore.deidentify(ds, key=bytes(32)).SOPInstanceUID, 'numpy' in sys.modules, 'pydicom' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("2.25.")
    assert out.split()[1:] == ["False", "False"]


def test_pydicom_reads_what_comes_out() -> None:
    new = pydicom.dcmread(io.BytesIO(bytes(dicore.deidentify(report_tree(), key=KEY).part10_bytes())))
    assert new.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
