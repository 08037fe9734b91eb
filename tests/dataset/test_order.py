"""An element behind later tags (deviation 11, PS3.5 7.1) is found by every way of asking, whatever stands around it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

import dicore
from vectors.deviations import (
    IDS,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    element,
    implicit,
    item,
    part10,
)

LATE = element(0x00080060, "CS", b"CT")
NAME = element(0x00100010, "PN", b"DOE^JANE")
BIRTH = element(0x00100030, "DA", b"19700101")
ROWS = element(0x00280010, "US", struct.pack("<H", 3))
LONG = element(0x00284000, "LT", b"x" * 60_000)  # the late one is beyond the first read
PIXELS = element(0x7FE00010, "OW", bytes(400_000))
SEQUENCE = element(0x00081115, "SQ", item(ROWS + LATE))
OPEN = element(0x00400275, "SQ", item(ROWS + LATE + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)

SHAPES: dict[str, bytes] = {
    "behind one": NAME + LATE,
    "last of many": NAME + BIRTH + ROWS + LATE,
    "between": NAME + LATE + BIRTH + ROWS,
    "behind a long text": NAME + LONG + LATE,
    "behind pixels": NAME + ROWS + PIXELS + LATE,
    "behind a sequence": NAME + OPEN + LATE,
    "first of a second run": ROWS + LATE + NAME + BIRTH,
    "descending": ROWS + BIRTH + NAME + LATE,
    "behind private elements": NAME + element(0x00290010, "LO", b"HERE") + element(0x00291001, "LO", b"ab") + LATE,
}


def files(shape: str) -> dict[str, bytes]:
    return {
        "alone": part10(SHAPES[shape]),
        "with identifiers": part10(IDS[: IDS.index(b"\x08\x00\x18\x00")] + SHAPES[shape]),
    }


WAYS: dict[str, Callable[[dicore.Dataset], Any]] = {
    "attribute": lambda ds: ds.Modality,
    "keyword": lambda ds: ds["Modality"],
    "tag": lambda ds: ds[0x0008, 0x0060].value,
    "number": lambda ds: ds[0x00080060].value,
    "text": lambda ds: ds["0008,0060"],
    "get": lambda ds: ds.get("Modality"),
    "in": lambda ds: "CT" if "Modality" in ds else None,
    "hasattr": lambda ds: "CT" if hasattr(ds, "Modality") else None,
    "iteration": lambda ds: next(e.value for e in ds if e.keyword == "Modality"),
    "walk": lambda ds: next(e.value for path, e in ds.walk() if path == "0008,0060"),
    "json": lambda ds: ds.to_json_dict()["00080060"]["Value"][0],
    "edit": lambda ds: ds.edit(PatientID="7").Modality,
    "canonical": lambda ds: dicore.read(ds.to_bytes(canonical=True), strict=True).Modality,
}


def plain(value: Any) -> Any:
    return getattr(value, "value", value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_found_as_the_first_and_as_a_later_question(shape: str, way: str, tmp_path) -> None:
    for number, data in enumerate(files(shape).values()):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(data)
        for source in (data, path):
            assert plain(WAYS[way](dicore.read(source))) == "CT"
            later = dicore.read(source)
            assert later.get("SeriesDescription") is None
            assert later.get("Rows", 3) == 3
            assert "PatientComments" not in later
            assert plain(WAYS[way](later)) == "CT"


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_warned_of_and_strictly_refused_with_its_place(shape: str) -> None:
    data = part10(SHAPES[shape])
    found = [w for w in dicore.read(data).warnings if w.code == "order"]
    assert found
    late = next(w for w in found if w.tag_path == "0008,0060") if shape != "descending" else found[0]
    assert data[late.offset : late.offset + 4] == (LATE[:4] if shape != "descending" else BIRTH[:4])
    with pytest.raises(dicore.DicomFormatError, match=r"\[order\]") as caught:
        len(dicore.read(data, strict=True))
    assert (caught.value.offset, caught.value.tag_path) == (found[0].offset, found[0].tag_path)


IMPLICIT_ITEM = item(implicit(0x00280010, b"\3\0") + implicit(0x00080060, b"CT"))
INSIDE = {
    "defined": part10(SEQUENCE + NAME),
    "undefined": part10(NAME + OPEN),
    "implicit": part10(implicit(0x00081115, IMPLICIT_ITEM), IMPLICIT),
}


@pytest.mark.parametrize("data", INSIDE.values(), ids=INSIDE)
def test_inside_an_item_too(data: bytes) -> None:
    ds = dicore.read(data)
    path = (
        "ReferencedSeriesSequence[0].Modality"
        if "ReferencedSeriesSequence" in ds
        else "RequestAttributesSequence[0].Modality"
    )
    assert plain(ds[path]) == "CT"
    inside = ds[path.partition("[")[0]].value[0]
    assert (inside.Modality, "Modality" in inside, inside.get("Modality")) == ("CT", True, "CT")
    assert [w.code for w in ds.warnings] == ["order"]
    with pytest.raises(dicore.DicomFormatError, match=r"\[order\]"):
        _ = len(dicore.read(data, strict=True))


def test_of_two_out_of_order_the_last_one_counts() -> None:
    ds = dicore.read(part10(LATE + NAME + element(0x00080060, "CS", b"MR")))
    assert len(ds) == 3
    assert (ds.Modality, plain(ds["Modality"]), ds.get("Modality")) == ("MR", "MR", "MR")
    assert [e.value for e in ds if e.keyword == "Modality"] == ["CT", "MR"]
