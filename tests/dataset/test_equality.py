"""Equality by content, copies, pickles, HTML."""

from __future__ import annotations

import copy
import html
import pickle
import re
import struct
from html.parser import HTMLParser

import pytest

import dicore
from dicore.dataset import Dataset
from vectors.deviations import IDS, IMPLICIT, MODALITY, PATIENT, element, implicit, item, part10

NAN = element(0x00091001, "FD", struct.pack("<d", float("nan")))
BODY = IDS + MODALITY + element(0x00081115, "SQ", item(PATIENT)) + element(0x00090010, "LO", b"X ") + NAN + PATIENT


def test_equal_is_what_says_the_same_in_whatever_encoding(tmp_path) -> None:
    explicit = dicore.read(part10(MODALITY + element(0x00081115, "SQ", item(PATIENT)) + element(0x00280010, "US", b"\1\2")))
    undefined = element(0x00081115, "SQ", item(PATIENT) + b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF)
    same = [
        part10(MODALITY + undefined + element(0x00280010, "US", b"\1\2")),
        part10(implicit(0x00080060, b"CT") + implicit(0x00081115, item(implicit(0x00100020, b"4711")))
               + implicit(0x00280010, b"\1\2"), IMPLICIT),
        MODALITY + undefined + element(0x00280010, "US", b"\1\2"),
    ]  # fmt: skip
    for data in same:
        assert dicore.read(data) == explicit
    big = Dataset.from_bytes(b"\0\x28\0\x10US\0\2\2\1", transfer_syntax="1.2.840.10008.1.2.2")
    little = Dataset.from_bytes(b"\x28\0\x10\0US\2\0\1\2", transfer_syntax="1.2.840.10008.1.2.1")
    assert big == little
    path = tmp_path / "x.dcm"
    path.write_bytes(same[0])
    assert dicore.read(path) == explicit


@pytest.mark.parametrize(
    "other",
    [MODALITY, MODALITY + PATIENT + PATIENT, MODALITY + element(0x00100020, "LO", b"4712"),
     MODALITY + element(0x00100020, "SH", b"4711"), MODALITY + element(0x00100021, "LO", b"4711")],
)  # fmt: skip
def test_unequal_in_any_element(other) -> None:
    assert dicore.read(part10(MODALITY + PATIENT)) != dicore.read(part10(other))
    assert (dicore.read(part10(MODALITY + PATIENT)) == 3) is False


def test_an_item_equals_what_holds_the_same() -> None:
    ds = dicore.read(part10(BODY))
    assert ds["ReferencedSeriesSequence[0]"] == Dataset.from_bytes(PATIENT, transfer_syntax="1.2.840.10008.1.2.1")
    nested = dicore.read(part10(MODALITY + element(0x00081115, "SQ", item(PATIENT) + item(b""))))
    assert nested != dicore.read(part10(MODALITY + element(0x00081115, "SQ", item(PATIENT))))
    assert nested != dicore.read(part10(MODALITY + element(0x00081115, "SQ", item(PATIENT) + item(PATIENT))))


def test_a_data_set_equals_its_copies_and_itself_even_with_a_nan() -> None:
    ds = dicore.read(part10(BODY))
    assert ds == ds == copy.deepcopy(ds) == pickle.loads(pickle.dumps(ds)) == dicore.read(part10(BODY))


def test_no_hash_since_equality_is_by_content() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(dicore.read(part10(BODY)))


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_escaped_and_folds_sequences() -> None:
    evil = b"<script>alert(1)</script>&\x1b[2J"
    ds = dicore.read(part10(element(0x00081115, "SQ", item(element(0x00100020, "LO", evil + b" "))) + element(0x00100020, "LO", evil + b" ")))
    text = ds._repr_html_()
    checker = _Checker()
    checker.feed(text)
    assert not checker.open
    assert checker.seen == {"div", "p", "table", "tbody", "tr", "td", "details", "summary"}
    assert html.escape("<script>alert(1)</script>&") in text
    assert "\x1b" not in text
    assert "1 item<" in text


def test_html_of_much_is_cut() -> None:
    items = b"".join(item(PATIENT) for _ in range(20_000))
    text = dicore.read(part10(element(0x00081115, "SQ", items) + element(0x0008114A, "SQ", items)))._repr_html_()
    assert "19900 more items" in text
    assert len(text) < 200_000
    many = b"".join(element(0x00280000 | n, "US", b"\0\0") for n in range(0x1000, 0x1000 + 6000))
    assert re.search(r">1000 more elements<", dicore.read(part10(many))._repr_html_())
