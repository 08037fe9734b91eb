"""Values by VR (PS3.5 6.2): what pydicom makes of them, as int, float, str, bytes, list and PersonName."""

from __future__ import annotations

import math
import struct

import pydicom
import pytest
from compare_values import same

import dicore
from dicore.dataset import PersonName, Tag
from vectors.deviations import EXPLICIT, IMPLICIT, LONG, element, implicit, item, part10

BIG = "1.2.840.10008.1.2.2"
PRIVATE_CREATOR = element(0x00090010, "LO", b"NOBODY")
TEXT = {  # VR: (stored, value)
    "AE": (b" STORE\\ OTHER ", ["STORE", "OTHER"]),
    "AS": (b"032Y", "032Y"),
    "CS": (b"ORIGINAL\\PRIMARY\\AXIAL", ["ORIGINAL", "PRIMARY", "AXIAL"]),
    "DA": (b"20240229", "20240229"),
    "DT": (b"20240229103000.5+0100 ", "20240229103000.5+0100"),
    "DS": (b"1.5\\-2e3\\ 7 ", [1.5, -2000.0, 7.0]),
    "IS": (b"+12\\-3\\000", [12, -3, 0]),
    "LO": (b"one \\ two ", ["one", " two"]),
    "LT": (b" two\\lines\r\n  ", " two\\lines\r\n"),
    "PN": (b"Doe^Jane\\Roe^Ann^^^ ", ["Doe^Jane", "Roe^Ann^^^"]),
    "SH": (b"short ", "short"),
    "ST": (b"a\\b ", "a\\b"),
    "TM": (b"1030\\1130 ", ["1030", "1130"]),
    "UC": (b"very long ", "very long"),
    "UI": (b"1.2.3\\1.2.4\0", ["1.2.3", "1.2.4"]),
    "UR": (b"http://x/y", "http://x/y"),
    "UT": (b"text \\ text ", "text \\ text"),
}
NUMBERS = {
    "US": ("H", [0, 65535, 7]), "SS": ("h", [-32768, 32767]), "UL": ("I", [0, 4294967295]), "SL": ("i", [-(2**31), 5]),
    "FL": ("f", [1.5, -0.25]), "FD": ("d", [math.pi, -1e300]), "UV": ("Q", [2**64 - 1, 1]), "SV": ("q", [-(2**63), 1]),
}  # fmt: skip
BYTES = ["OB", "OW", "OD", "OF", "OL", "OV", "UN"]


def one(vr: str, value: bytes, syntax: str = EXPLICIT) -> dicore.Dataset:
    """A file with a private element of that VR, so that no dictionary has a say."""
    if syntax == BIG:
        head = struct.pack(">HH2s", 9, 0x1001, vr.encode())
        creator = struct.pack(">HH2sH", 9, 0x10, b"LO", 6) + b"NOBODY"
        long = vr in LONG
        return dicore.read(
            part10(
                creator + head + (struct.pack(">HI", 0, len(value)) if long else struct.pack(">H", len(value))) + value,
                BIG,
            )
        )
    return dicore.read(part10(PRIVATE_CREATOR + element(0x00091001, vr, value)))


def theirs(ds: dicore.Dataset) -> object:
    return ds.to_pydicom()[0x00091001].value


@pytest.mark.parametrize(("vr", "stored", "value"), [(vr, *rest) for vr, rest in TEXT.items()], ids=TEXT)
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG], ids=["little", "big"])
def test_text(vr, stored, value, syntax) -> None:
    ds = one(vr, stored, syntax)
    got = ds[0x0009, 0x1001].value
    assert same(got, theirs(ds))
    assert got == value
    assert ds.warnings == []


@pytest.mark.parametrize(("vr", "code", "values"), [(vr, *rest) for vr, rest in NUMBERS.items()], ids=NUMBERS)
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG], ids=["little", "big"])
def test_numbers(vr, code, values, syntax) -> None:
    order = ">" if syntax == BIG else "<"
    ds = one(vr, struct.pack(f"{order}{len(values)}{code}", *values), syntax)
    assert ds[0x00091001].value == values == theirs(ds)
    single = one(vr, struct.pack(order + code, values[0]), syntax)[0x00091001].value
    assert single == values[0]
    assert type(single) is type(values[0])


@pytest.mark.parametrize("vr", BYTES)
def test_bytes_stay_as_stored(vr) -> None:
    for syntax in (EXPLICIT, BIG):
        ds = one(vr, b"\1\2\3\4\5\6\7\x08", syntax)
        assert ds[0x00091001].value == b"\1\2\3\4\5\6\7\x08" == theirs(ds)


def test_attribute_tags() -> None:
    ds = one("AT", struct.pack("<HH", 0x10, 0x20))
    tag = ds[0x00091001].value
    assert isinstance(tag, Tag)
    assert (tag, str(tag), tag.group, tag.element, tag.is_private) == (0x00100020, "(0010,0020)", 0x10, 0x20, False)
    big = one("AT", struct.pack(">HHHH", 0x10, 0x20, 0x10, 0x10), BIG)
    assert big[0x00091001].value == [0x00100020, 0x00100010]


@pytest.mark.parametrize("vr", [*TEXT, *NUMBERS, *BYTES, "AT", "SQ"])
def test_empty_values_are_those_of_pydicom(vr) -> None:
    ds = one(vr, b"")
    if vr == "SQ":
        assert ds[0x00091001].value == [] == list(theirs(ds))  # type: ignore[call-overload]
    else:
        assert same(ds[0x00091001].value, theirs(ds))
    assert ds[0x00091001].is_empty


@pytest.mark.parametrize(
    ("vr", "stored", "value", "warns"),
    [
        ("IS", b"1.0 ", 1, False), ("IS", b"1.5 ", 1.5, False), ("IS", b"  ", "", False), ("IS", b"x1", "x1", True),
        ("IS", b"1\\x ", ["1", "x"], True), ("DS", b"abc ", "abc", True), ("DS", b"  ", "", False),
        ("DS", b"1\\ ", 1.0, False), ("DS", b"1\\\\2", [1.0, "", 2.0], False), ("DS", b"1,5 ", "1,5", True),
        ("US", b"abc", b"abc", True), ("FD", b"1234567890", b"1234567890", True),
        ("IS", b"99999999999999999999", 99999999999999999999, False),
    ],
)  # fmt: skip
def test_values_that_are_not_what_their_vr_asks_for(vr, stored, value, warns) -> None:
    data = part10(PRIVATE_CREATOR + element(0x00091001, vr, stored))
    ds = dicore.read(data)
    if stored == b"1\\ ":  # trailing blanks are padding, the empty second value stays
        value = [1.0, ""]
    assert ds[0x00091001].value == value
    codes = {w.code for w in ds.warnings} - {"odd-length"}
    assert bool(codes) is warns
    if warns and len(stored) % 2 == 0:
        with pytest.raises(dicore.DicomFormatError) as caught:
            _ = dicore.read(data, strict=True)[0x00091001].value
        assert (caught.value.tag_path, caught.value.offset) == ("0009,1001", ds.warnings[0].offset)


def test_lists_are_kept_and_shared_between_element_and_attribute() -> None:
    ds = dicore.read(part10(element(0x00080008, "CS", b"A\\B ")))
    assert ds.ImageType is ds.ImageType
    assert ds["ImageType"].value is ds.ImageType


def test_us_or_ss_by_pixel_representation_of_the_nearest_data_set() -> None:
    def file(sign: int) -> dicore.Dataset:
        lut = implicit(0x00283002, struct.pack("<HHH", 0xFFF0, 0xFFFE, 16))
        body = implicit(0x00280103, struct.pack("<H", sign)) + implicit(0x00280120, struct.pack("<H", 0xFFFE))
        return dicore.read(part10(body + implicit(0x00283010, item(lut)), IMPLICIT))

    assert (file(0)["PixelPaddingValue"].vr, file(0).PixelPaddingValue) == ("US", 65534)
    assert (file(1)["PixelPaddingValue"].vr, file(1).PixelPaddingValue) == ("SS", -2)
    inner = file(1)["VOILUTSequence[0].LUTDescriptor"]
    assert (inner.vr, inner.value) == ("SS", [0xFFF0, -2, 16])  # the number of entries is never negative
    assert inner.stored_vr is None


def test_un_is_read_by_the_dictionaries() -> None:
    creator = element(0x00190010, "LO", b"GEMS_ACQU_01")
    ds = dicore.read(part10(element(0x00100020, "UN", b"4711") + creator + element(0x00191002, "UN", b"\1\0\0\0")))
    assert (ds["PatientID"].vr, ds["PatientID"].stored_vr, ds.PatientID) == ("LO", "UN", "4711")
    private = ds[0x0019, 0x1002]
    assert (private.vr, private.value, private.private_creator) == ("SL", 1, "GEMS_ACQU_01")
    assert private.name == "[Detector Channel]"
    assert ds.to_pydicom()[0x00191002].value == 1


def test_person_names() -> None:
    name = dicore.read(part10(element(0x00100010, "PN", b"Doe^Jane^Q^Dr^MD=I=P"))).PatientName
    theirs = pydicom.valuerep.PersonName("Doe^Jane^Q^Dr^MD=I=P")
    for field in ("family_name", "given_name", "middle_name", "name_prefix", "name_suffix", "alphabetic", "ideographic",
                  "phonetic", "components"):  # fmt: skip
        assert getattr(name, field) == getattr(theirs, field)
    assert name == "Doe^Jane^Q^Dr^MD=I=P" == str(name)
    assert name == PersonName("Doe^Jane^Q^Dr^MD=I=P")
    assert name != "Doe"
    assert hash(name) == hash(str(name))
    assert (name.family_comma_given(), name.formatted("%(given_name)s")) == ("Doe, Jane", "Jane")
    assert (len(name), "Jane" in name, bool(PersonName()), PersonName("A==")) == (20, True, False, "A")
    assert sorted([PersonName("B"), PersonName("A")]) == ["A", "B"]
    assert PersonName("A").name_suffix == ""
