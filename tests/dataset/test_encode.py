"""The small writer: what it writes is what others read."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import peer_module
from dicore.dataset.encode import encapsulated, encode, encode_element, part10
from dicore.errors import CharacterSetError

UIDS = [(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7"), (0x00080018, "UI", "2.25.1")]


def test_elements_as_the_standard_has_them():
    assert encode_element(0x00100020, "LO", "AB1") == b"\x10\x00\x20\x00LO\x04\x00AB1 "
    assert encode_element(0x00080018, "UI", "1.2.3") == b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
    assert encode_element(0x00280010, "US", 512) == b"\x28\x00\x10\x00US\x02\x00\x00\x02"
    assert encode_element(0x00280030, "DS", (0.5, 1)) == b"\x28\x00\x30\x00DS\x06\x000.5\\1 "
    assert encode_element(0x7FE00010, "OB", b"abc") == b"\xe0\x7f\x10\x00OB\0\0\x04\0\0\0abc\0"
    assert encode_element(0x00081140, "SQ", [[(0x00080018, "UI", "1")]]) == (
        b"\x08\x00\x40\x11SQ\0\0\x12\0\0\0\xfe\xff\x00\xe0\x0a\0\0\0\x08\x00\x18\x00UI\x02\x001\0"
    )
    assert encode_element(0x00280009, "AT", 0x00181063) == b"\x28\x00\x09\x00AT\x04\x00\x18\x00\x63\x10"
    assert encode_element(0x00100010, "PN", None) == b"\x10\x00\x10\x00PN\0\0"


def test_text_is_in_the_character_set_of_its_data_set():
    data = encode([(0x00100010, "PN", "Müller"), (0x00080005, "CS", "ISO_IR 100")])
    assert data.endswith("Müller".encode("latin-1"))
    assert encode([(0x00080005, "CS", "ISO_IR 192"), (0x00100010, "PN", "山田")]).endswith("山田".encode())
    with pytest.raises(CharacterSetError, match="default repertoire"):
        encode([(0x00100010, "PN", "Müller")])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="64 at most"):
        encode_element(0x00081030, "LO", "x" * 70000)
    with pytest.raises(ValueError, match="US"):
        encode_element(0x00280010, "US", 70000)
    with pytest.raises(ValueError, match="bytes"):
        encode_element(0x7FE00010, "OW", "text")
    with pytest.raises(ValueError, match="twice"):
        encode([(0x00280010, "US", 1), (0x00280010, "US", 1)])
    with pytest.raises(ValueError, match="needed"):
        part10([(0x00280010, "US", 1)])


@given(st.floats(-1e300, 1e300))
def test_a_decimal_string_has_at_most_16_characters_and_is_near(value):
    text = encode_element(0x00281053, "DS", value)[8:].decode().strip()
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-8)


def test_pydicom_reads_a_file_back():
    pydicom = peer_module("pydicom")
    data = part10(
        [
            *UIDS,
            (0x00080005, "CS", "ISO_IR 192"),
            (0x00100010, "PN", "Ångström^Åsa=安^佐"),
            (0x00081140, "SQ", [[(0x00081155, "UI", "1.2")], [(0x00081155, "UI", "1.3")]]),
            (0x00280010, "US", 2),
            (0x0018605A, "FL", [1.5, 2.5]),
            (0x7FE00010, "OB", encapsulated([b"abc", [b"de", b"f"]])),
        ],
        "1.2.840.10008.1.2.5",
    )
    ds = pydicom.dcmread(io.BytesIO(data))
    assert str(ds.PatientName) == "Ångström^Åsa=安^佐"
    assert [item.ReferencedSOPInstanceUID for item in ds.ReferencedImageSequence] == ["1.2", "1.3"]
    assert list(ds[0x0018605A].value) == [1.5, 2.5]
    from pydicom.encaps import generate_frames

    assert list(generate_frames(ds.PixelData, number_of_frames=2)) == [b"abc\0", b"def\0"]
