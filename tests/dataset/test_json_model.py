"""DICOM JSON (PS3.18 annex F), both ways, and beside pydicom on the corpus."""

from __future__ import annotations

import collections
import json
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from compare_values import corpus_files

import dicore
from dicore.dataset import from_json
from dicore.dataset.json_model import from_dict, to_dict
from vectors.deviations import element, item, part10

CHARSET = element(0x00080005, "CS", b"ISO_IR 100")
EVERY_VR = part10(
    CHARSET
    + element(0x00080060, "CS", b"CT\\\\MR")
    + element(0x00081115, "SQ", item(element(0x00081155, "UI", b"1.2\0")) + item(b""))
    + element(0x00081120, "SQ", b"")
    + element(0x00090010, "LO", b"TEST")
    + element(0x00091001, "UV", b"\xff" * 8)
    + element(0x00091002, "SV", b"\xff" * 8)
    + element(0x00091003, "FL", b"\0\0\xc0\x7f\0\0\x80\x7f\0\0\x80\xff\0\0\0\x3f")
    + element(0x00091004, "OV", bytes(range(8)))
    + element(0x00091005, "AT", b"\x08\0\x18\0\x10\0\x20\0")
    + element(0x00100010, "PN", "Äneas^A=\xc4".encode("latin-1") + b" ")
    + element(0x00100020, "LO", b"")
    + element(0x00101030, "DS", b"70.5\\\\1 ")
    + element(0x00280010, "US", b"\0\2")
    + element(0x00400035, "IS", b"1\\-2")
    + element(0x7FE00010, "OW", bytes(range(200)))
)


def test_every_vr() -> None:
    found = dicore.read(EVERY_VR).to_json_dict(bulk_data_threshold=64, bulk_data_uri="file:///a b")
    assert found["00080060"] == {"vr": "CS", "Value": ["CT", None, "MR"]}
    assert found["00081115"] == {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, {}]}
    assert found["00081120"] == {"vr": "SQ"}
    assert found["00091001"] == {"vr": "UV", "Value": [2**64 - 1]}
    assert found["00091002"] == {"vr": "SV", "Value": [-1]}
    assert found["00091003"] == {"vr": "FL", "Value": ["NaN", "Infinity", "-Infinity", 0.5]}
    assert found["00091004"] == {"vr": "OV", "InlineBinary": "AAECAwQFBgc="}
    assert found["00091005"] == {"vr": "AT", "Value": ["00080018", "00100020"]}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Äneas^A", "Ideographic": "Ä"}]}
    assert found["00100020"] == {"vr": "LO"}
    assert found["00101030"] == {"vr": "DS", "Value": [70.5, None, 1.0]}
    assert found["00400035"] == {"vr": "IS", "Value": [1, -2]}
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "file:///a b?path=7FE0%2C0010"}


def test_text_is_strict_json_and_comes_back() -> None:
    ds = dicore.read(EVERY_VR)
    text = ds.to_json()
    again = dicore.from_json(text)
    assert "NaN" in text
    assert again.to_json_dict() == ds.to_json_dict() == json.loads(text)
    assert bytes(again["PatientName"].raw) == bytes(ds["PatientName"].raw)  # in the same character set
    assert again.transfer_syntax == "1.2.840.10008.1.2.1"
    assert from_json(text.encode()) == again == from_json(f"[{text}]") == from_dict(json.loads(text))


def test_bulk_data_is_fetched() -> None:
    ds = dicore.read(EVERY_VR)
    asked = []

    def where(path: str, element: dicore.dataset.Element) -> str:
        asked.append((path, element.length))
        return f"bulk:{path}"

    text = ds.to_json(bulk_data_threshold=200, bulk_data_uri=where)
    assert asked == [("7FE0,0010", 200)]
    assert from_json(text, bulk_data=lambda uri: {"bulk:7FE0,0010": bytes(range(200))}[uri])["PixelData"].value == (
        bytes(range(200)))  # fmt: skip
    with pytest.raises(dicore.DicomFormatError, match="bulk data at"):
        from_json(text)


def test_big_endian_binary_is_turned() -> None:
    big = b"\x7f\xe0\x00\x10OW\0\0\0\0\0\6\1\2\3\4\5\6"
    ds = dicore.Dataset.from_bytes(big, transfer_syntax="1.2.840.10008.1.2.2")
    assert from_json(ds.to_json())["PixelData"].value == b"\2\1\4\3\6\5"


def test_text_that_the_declared_set_has_not_becomes_utf8() -> None:
    ds = from_json({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Люк"}]},
                    "00081115": {"vr": "SQ", "Value": [{"00080005": {"vr": "CS", "Value": ["ISO_IR 144"]},
                                                        "00081030": {"vr": "LO", "Value": ["名"]}}]}})  # fmt: skip
    assert (ds.SpecificCharacterSet, ds.PatientName) == ("ISO_IR 192", "Люк")
    assert ds["ReferencedSeriesSequence[0].StudyDescription"].value == "名"
    assert ds.warnings == []
    assert from_json({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Люк"}]}}).SpecificCharacterSet == "ISO_IR 192"


def test_encapsulated_frames_come_back_with_their_transfer_syntax() -> None:
    items = item(b"") + item(b"\1\2\3\4")
    data = part10(element(0x7FE00010, "OB", items + b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF), "1.2.840.10008.1.2.5")
    ds = dicore.read(data)
    again = from_json(ds.to_json(), transfer_syntax=ds.transfer_syntax)
    assert bytes(again["PixelData"].raw) == items
    assert again["PixelData"].is_undefined_length


def test_a_file_with_its_uids_becomes_a_file() -> None:
    ds = from_json({"00080016": {"vr": "UI", "Value": ["1.2"]}, "00080018": {"vr": "UI", "Value": ["1.2.3"]}})
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert bytes(ds.part10_bytes()[128:132]) == b"DICM"
    assert dicore.read(bytes(ds.part10_bytes()), strict=True) == ds


def test_long_values_of_short_vrs_become_un() -> None:
    ds = from_json({"00101030": {"vr": "DS", "Value": [1.25] * 20_000}})
    assert ds["PatientWeight"].stored_vr == "UN"
    assert ds["PatientWeight"].length == 99_999 + 1


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("{", "not JSON"), ("[]", "object"), ("3", "object"), ('{"1": {"vr": "CS"}}', "no tag"),
        ('{"0010002G": {"vr": "CS"}}', "no tag"), ('{"00100020": {}}', "no VR"), ('{"00100020": {"vr": "ZZ"}}', "no VR"),
        ('{"00100020": []}', "no VR"), ('{"00100020": {"vr": "LO", "Value": "x"}}', "array"),
        ('{"00100020": {"vr": "LO", "Value": [1]}}', "no text"), ('{"00100020": {"vr": "LO", "Value": [["x"]]}}', "no value"),
        ('{"00280010": {"vr": "US", "Value": [70000]}}', "US"), ('{"00280010": {"vr": "US", "Value": [null]}}', "empty"),
        ('{"00280010": {"vr": "US", "Value": ["x"]}}', "invalid"), ('{"00280010": {"vr": "US", "InlineBinary": "AAA="}}', "binary"),
        ('{"00091001": {"vr": "OB", "InlineBinary": "?"}}', "InlineBinary"), ('{"00091001": {"vr": "OB", "Value": [1]}}', "Value"),
        ('{"00081115": {"vr": "SQ", "Value": [3]}}', "object"), ('{"00101030": {"vr": "DS", "Value": [true]}}', "bool"),
        ('{"00100020": {"vr": "LT", "Value": ["a", "b"]}}', "one value"), ("[" * 100_000, "not JSON"),
        ('{"00081115": {"vr": "SQ", "Value": [' * 200 + "{}" + "]}}" * 200, "nested"),
    ],
)  # fmt: skip
def test_what_is_not_the_model_is_refused(source, match) -> None:
    with pytest.raises(dicore.DicomFormatError, match=match):
        from_json(source)


# PS3.18 clauses that decide where ours and pydicom's differ: kind -> the clause
CLAUSES = {
    "group length": "F.2.2",
    "empty sequence": "F.2.5",
    "empty value": "F.2.5",
    "big endian": "F.2.7",
    "cut off": "no JSON matter: pydicom loses a data set that ends inside its pixel data",
}


def differences(ours: dict[str, Any], theirs: dict[str, Any], ds: dicore.Dataset, counts: collections.Counter[str]) -> None:
    for tag in ours.keys() | theirs.keys():
        a, b = ours.get(tag), theirs.get(tag)
        if a == b:
            continue
        if a is None:
            counts["group length" if tag.endswith("0000") else f"only pydicom has {tag}"] += 1
        elif b is None:
            counts["cut off" if not theirs else f"only dicore has {tag}"] += 1
        elif a["vr"] == b["vr"] == "SQ":
            inner, other = a.get("Value", []), b.get("Value", [])
            if "Value" not in a and not other:
                counts["empty sequence"] += 1
            elif len(inner) != len(other):
                counts[f"items of {tag}"] += 1
            for one, two, item_ in zip(inner, other, ds[int(tag, 16)].value, strict=False):
                differences(one, two, item_, counts)
        elif [v or None for v in a.get("Value", ())] == [v or None for v in b.get("Value", ())] and "Value" in b:
            counts["empty value"] += 1
        elif not ds.is_little_endian and a["vr"] == b["vr"] and "InlineBinary" in a:
            counts["big endian"] += 1
        else:
            counts[f"{tag} {a} {b}"[:200]] += 1


def test_equal_to_pydicom_but_for_the_clauses(corpus: Path) -> None:
    counts: collections.Counter[str] = collections.Counter()
    files = 0
    for path in corpus_files(corpus / "dev" if (corpus / "dev").is_dir() else corpus):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ds = dicore.read(path)
                theirs = pydicom.dcmread(path, force=True).to_json_dict()
            except Exception:  # what one of them refuses is another test's matter
                continue
        files += 1
        differences(to_dict(ds), theirs, ds, counts)
    assert files > 0
    assert counts.keys() <= CLAUSES.keys(), counts - collections.Counter(dict.fromkeys(CLAUSES, 1 << 30))


def test_the_corpus_comes_back(corpus: Path) -> None:
    """What from_json makes gives the same JSON again, but for padding and the character set where it had to change."""
    compared = 0
    for path in corpus_files(corpus / "dev" if (corpus / "dev").is_dir() else corpus):
        try:
            ds = dicore.read(path)
            text = ds.to_json()
        except dicore.DicoreError:
            continue
        compressed = ds.pixel_layout().encapsulated if "PixelData" in ds and ds["PixelData"].is_undefined_length else False
        again = from_json(text, transfer_syntax=ds.transfer_syntax if compressed else "1.2.840.10008.1.2.1")
        one, two = json.loads(text), again.to_json_dict()
        for tag in [t for t in one if "InlineBinary" in str(one[t]) and one[t] != two[t]]:
            del one[tag], two[tag]  # an odd length was padded
        two.pop("00080005" if "00080005" not in one else "", None)
        assert one == two, path
        compared += 1
    assert compared > 0
