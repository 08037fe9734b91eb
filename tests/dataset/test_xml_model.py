"""The Native DICOM Model (PS3.19 A.1), both ways, and beside DCMTK's dcm2xml."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from compare_values import corpus_files
from test_json_model import EVERY_VR

import dicore
from dicore.dataset import from_xml
from vectors.deviations import element, part10

NS = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def attributes(text: str) -> dict[str, ET.Element]:
    root = ET.fromstring(text.encode())
    assert root.tag == f"{NS}NativeDicomModel"
    return {child.attrib["tag"]: child for child in root}


def test_the_model() -> None:
    found = attributes(dicore.read(EVERY_VR).to_xml(bulk_data_threshold=64, bulk_data_uri="u&"))
    assert found["00080060"].attrib == {"tag": "00080060", "vr": "CS", "keyword": "Modality"}
    assert [(v.attrib["number"], v.text) for v in found["00080060"]] == [("1", "CT"), ("2", None), ("3", "MR")]
    name = found["00100010"][0]
    assert (name.find(f"{NS}Alphabetic/{NS}FamilyName").text, name.find(f"{NS}Ideographic/{NS}FamilyName").text) == ("Äneas", "Ä")
    assert found["00081115"][0].attrib == {"number": "1"}
    assert found["00081115"][0][0].attrib["vr"] == "UI"
    assert found["00091001"].attrib["privateCreator"] == "TEST"
    assert [v.text for v in found["00091003"]] == ["NaN", "INF", "-INF", "0.5"]
    assert found["00091004"][0].text == "AAECAwQFBgc="
    assert found["7FE00010"][0].attrib == {"uri": "u&?path=7FE0%2C0010"}
    assert len(found["00100020"]) == 0


def test_it_comes_back() -> None:
    ds = dicore.read(EVERY_VR)
    assert from_xml(ds.to_xml()).to_json_dict() == ds.to_json_dict()
    text = ds.to_xml(bulk_data_threshold=64, bulk_data_uri="u")
    assert from_xml(text.encode(), bulk_data=lambda uri: bytes(range(200))) == from_xml(ds.to_xml())
    with pytest.raises(dicore.DicomFormatError, match="bulk data"):
        from_xml(text)


def test_text_survives_what_parsers_do_to_white_space_and_markup() -> None:
    nasty = " a\tb\r\nc\n<&\"'>]]> é"
    ds = dicore.read(part10(element(0x00080005, "CS", b"ISO_IR 192") + element(0x001021B0, "LT", nasty.encode() + b" ")))
    assert from_xml(ds.to_xml()).AdditionalPatientHistory == ds.AdditionalPatientHistory == nasty
    control = dicore.read(part10(element(0x001021B0, "LT", b"a\x0c\x01b")))
    assert '<DicomAttribute tag="001021B0" vr="UN"' in control.to_xml()
    assert from_xml(control.to_xml()).AdditionalPatientHistory == "a\x0c\x01b"
    many = dicore.read(part10(element(0x00100010, "PN", b"a^b^c^d^e^f ")))
    assert from_xml(many.to_xml()).PatientName == "a^b^c^d^e^f"


def test_a_private_creator_that_is_only_named_is_made() -> None:
    text = ('<NativeDicomModel><DicomAttribute tag="00091001" vr="SH" privateCreator="ACME"><Value number="1">x</Value>'
            "</DicomAttribute></NativeDicomModel>")  # fmt: skip
    ds = from_xml(text)
    assert (ds[0x00090010].value, ds[0x00091001].value, ds[0x00091001].private_creator) == ("ACME", "x", "ACME")


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("", "not XML"), ("<a", "not XML"), ("<a/>", "no Native"), ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ('<NativeDicomModel><DicomAttribute tag="1" vr="CS"/></NativeDicomModel>', "no tag"),
        ('<NativeDicomModel><DicomAttribute tag="00100020" vr="ZZ"/></NativeDicomModel>', "no VR"),
        ('<NativeDicomModel><DicomAttribute tag="00280010" vr="US"><Value number="1">x</Value></DicomAttribute></NativeDicomModel>', "invalid"),
        ('<NativeDicomModel><DicomAttribute tag="00280010" vr="US"><Value number="0">1</Value></DicomAttribute></NativeDicomModel>', "number"),
        ('<NativeDicomModel><DicomAttribute tag="00280010" vr="US"><Value number="999999">1</Value></DicomAttribute></NativeDicomModel>', "number"),
        ('<NativeDicomModel><DicomAttribute tag="00091001" vr="OB"><InlineBinary>?</InlineBinary></DicomAttribute></NativeDicomModel>', "InlineBinary"),
        ('<NativeDicomModel><DicomAttribute tag="00100020" vr="LO"><InlineBinary>AAAA</InlineBinary></DicomAttribute></NativeDicomModel>', "binary"),
        ("<a>" * 5000, "nested"), ("\ud800", "not XML"),
    ],
)  # fmt: skip
def test_what_is_not_the_model_is_refused(source, match) -> None:
    with pytest.raises(dicore.DicomFormatError, match=match):
        from_xml(source)


def test_the_corpus_comes_back(corpus: Path) -> None:
    compared = 0
    for path in corpus_files(corpus / "dev" if (corpus / "dev").is_dir() else corpus):
        try:
            ds = dicore.read(path)
        except dicore.DicoreError:
            continue
        text = ds.to_xml()
        syntax = ds.transfer_syntax if "PixelData" in ds and ds["PixelData"].is_undefined_length else "1.2.840.10008.1.2.1"
        again = from_xml(text, transfer_syntax=syntax)
        assert from_xml(again.to_xml(), transfer_syntax=syntax) == again
        assert {p for p, _ in again.walk()} >= {p for p, e in ds.walk() if not p.endswith(",0000")}, path
        compared += 1
    assert compared > 0


@pytest.mark.skipif(not shutil.which("dcm2xml"), reason="needs DCMTK's dcm2xml: 1 test")
def test_dcmtk_writes_the_same_values(tmp_path) -> None:
    data = part10(element(0x00080060, "CS", b"CT\\MR ") + element(0x00100010, "PN", b"Doe^Jane") + element(0x00280010, "US", b"\0\2"))
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    theirs = subprocess.run(["dcm2xml", "-nat", str(path)], check=True, capture_output=True, text=True).stdout
    assert from_xml(theirs) == from_xml(dicore.read(data).to_xml())
