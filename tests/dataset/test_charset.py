"""Character sets (PS3.3 C.12.1.1.2) with the examples of PS3.5 annexes H, I, J and K."""

from __future__ import annotations

import struct

import pytest

import dicore
from dicore.dataset.charset import CODECS, charset_for, decode_text
from vectors.deviations import element, item, part10

PN, LO, LT, CHARSET, SEQUENCE = 0x00100010, 0x00081030, 0x001021B0, 0x00080005, 0x00081115

EXAMPLES = {  # name: (values of (0008,0005), bytes, text)
    "H.3.1 Japanese": (
        ("", "ISO 2022 IR 87"),
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "H.3.2 Japanese, half-width katakana first": (
        ("ISO 2022 IR 13", "ISO 2022 IR 87"),
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "I.2 Korean": (
        ("", "ISO 2022 IR 149"),
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "J.1 Chinese in UTF-8": (
        ("ISO_IR 192",),
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=",
        "Wang^XiaoDong=王^小東",
    ),
    "J.3 Chinese in GB18030": (("GB18030",), b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东"),
    "K.2 Chinese in GB 2312": (
        ("", "ISO 2022 IR 58"),
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
    "JIS X 0212": (("", "ISO 2022 IR 87", "ISO 2022 IR 159"), b"a\x1b$(D\x30\x21\x1b(Bb", "a丂b"),
    "Greek as an extension": (("", "ISO 2022 IR 126"), b"a\x1b-F\xc4\xe9\xef", "aΔιο"),
    "Latin-1, then Cyrillic": (
        ("ISO 2022 IR 100", "ISO 2022 IR 144"), b"\xc4neas=\x1b-L\xbb\xee\xda=\xc4", "Äneas=Люк=Ä"),
}  # fmt: skip
SINGLE_BYTE = {
    "ISO_IR 100": "Äneas", "ISO_IR 101": "Čaj", "ISO_IR 109": "ĥa", "ISO_IR 110": "ģa", "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 127": "قباني", "ISO_IR 126": "Διονυσιος", "ISO_IR 138": "שרון", "ISO_IR 148": "Çavuşoğlu",
    "ISO_IR 166": "นามสกุล", "ISO_IR 13": "ﾔﾏﾀﾞ", "ISO_IR 203": "œuvre€", "GBK": "王小東",
}  # fmt: skip


def file_with(names: tuple[str, ...], *elements: bytes) -> bytes:
    value = "\\".join(names).encode()
    return part10(element(CHARSET, "CS", value + b" " * (len(value) % 2)) + b"".join(elements))


def even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


@pytest.mark.parametrize(("names", "raw", "text"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples_of_the_standard(names, raw, text) -> None:
    ds = dicore.read(file_with(names, element(PN, "PN", even(raw))), strict=True)
    assert ds.PatientName == text
    assert decode_text(raw, names, person_name=True).rstrip("=") == text
    assert ds.PatientName.ideographic == ([*text.split("="), ""])[1]


@pytest.mark.parametrize(("name", "text"), SINGLE_BYTE.items(), ids=SINGLE_BYTE)
def test_sets_without_extensions(name, text) -> None:
    ds = dicore.read(file_with((name,), element(LO, "LO", even(text.encode(CODECS[name])))), strict=True)
    assert ds.StudyDescription == text
    assert ds.warnings == []


def test_every_defined_term_has_a_codec() -> None:
    for term in CODECS:
        assert charset_for((term,)).problems == ()
        assert decode_text(b"plain", (term,)) == "plain"


@pytest.mark.parametrize("name", ["GB18030", "GBK", "ISO_IR 13"])
def test_second_bytes_that_look_like_a_backslash_do_not_split_values(name) -> None:
    codec = CODECS[name]
    tricky = next(c for c in map(chr, range(0x4E00, 0x9FA6)) if c.encode(codec, "ignore")[1:] == b"\\")
    ds = dicore.read(file_with((name,), element(LO, "LO", even(f"a{tricky}\\b".encode(codec)))))
    assert ds.StudyDescription == [f"a{tricky}", "b"]


def test_two_byte_characters_of_jis_may_hold_the_backslash_and_delimiters() -> None:
    raw = b"\x1b$B" + bytes((0x30, 0x5C)) + bytes((0x30, 0x5E)) + b"\x1b(B\\x"
    ds = dicore.read(file_with(("", "ISO 2022 IR 87"), element(LO, "LO", even(raw))), strict=True)
    assert ds.StudyDescription == [bytes((0xB0, 0xDC, 0xB0, 0xDE)).decode("euc_jp"), "x"]


def test_delimiters_put_the_first_set_back() -> None:
    names = ("ISO 2022 IR 100", "ISO 2022 IR 144")
    raw = b"\x1b-L\xbb\xee\r\n\xc4"
    assert decode_text(raw, names) == "Лю\r\nÄ"
    ds = dicore.read(file_with(names, element(LO, "LO", b"\x1b-L\xbb\\\xc4"), element(LT, "LT", b"\x1b-L\xbb\\\xbb ")))
    assert ds.StudyDescription == ["Л", "Ä"]
    assert ds.AdditionalPatientHistory == "Л\\Л"  # one value: the backslash is text


def test_items_inherit_the_character_set_unless_they_have_their_own() -> None:
    own = item(element(CHARSET, "CS", b"ISO_IR 192") + element(LO, "LO", "Люк".encode()))
    inherited = item(element(LO, "LO", "Люк".encode("iso8859_5") + b" "))
    ds = dicore.read(file_with(("ISO_IR 144",), element(SEQUENCE, "SQ", own + inherited)), strict=True)
    assert [i.StudyDescription for i in ds.ReferencedSeriesSequence] == ["Люк", "Люк"]


@pytest.mark.parametrize(
    ("names", "raw", "text", "say"),
    [
        ((), b"\xc4neas ", "Äneas", "without"),
        (("ISO_IR 999",), b"\xc4neas ", "Äneas", "unknown"),
        (("ISO-IR 144",), "Люк ".encode("iso8859_5"), "Люк", "read as"),
        (("utf-8",), "Лю".encode(), "Лю", "read as"),
        (("ISO_IR 192",), b"\xff\xfea ", "\ufffd\ufffda", "not utf_8"),
        (("ISO_IR 192", "ISO 2022 IR 87"), "Лю".encode(), "Лю", "does not allow"),
        (("", "ISO_IR 192"), b"\xc4a", "Äa", "ignored"),
        (("", "ISO 2022 IR 87"), b"\x1b-L\xbb\xee ", "Лю", "not declared"),
        (("", "ISO 2022 IR 87"), b"a\x1b%Gb ", "a\x1b%Gb", None),
        (("", "ISO 2022 IR 87"), b"a\x1b-Zb ", "a\x1b-Zb", "unknown escape"),
        (("", "ISO 2022 IR 87"), b"\x1b$B)) ", "\ufffd\ufffd", "not euc_jp"),
    ],
)
def test_wrong_or_missing_sets_warn_and_strictly_raise(names, raw, text, say) -> None:
    data = file_with(names, element(LO, "LO", raw)) if names else part10(element(LO, "LO", raw))
    ds = dicore.read(data)
    assert ds.StudyDescription == text
    if say is None:
        assert ds.warnings == []
        return
    [warning] = ds.warnings
    assert (warning.code, warning.tag_path) == ("character-set", "0008,1030")
    assert say in warning.message
    with pytest.raises(dicore.CharacterSetError, match=say) as caught:
        _ = dicore.read(data, strict=True).StudyDescription
    assert caught.value.tag_path == "0008,1030"
    assert caught.value.offset == warning.offset


def test_text_in_the_default_repertoire_says_so() -> None:
    ds = dicore.read(part10(element(0x00080060, "CS", b"C\xc4")))
    assert ds.Modality == "CÄ"
    assert [w.code for w in ds.warnings] == ["character-set"]


def test_the_set_may_stand_behind_the_text() -> None:
    data = part10(element(PN, "PN", "Люк ".encode("iso8859_5")) + element(CHARSET, "CS", b"ISO_IR 144"))
    assert dicore.read(data).PatientName == "Люк"


def test_big_endian_files_have_character_sets_too() -> None:
    def big(tag: int, vr: bytes, value: bytes) -> bytes:
        return struct.pack(">HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value

    data = part10(big(CHARSET, b"CS", b"ISO_IR 192") + big(LO, b"LO", "Лю".encode()), "1.2.840.10008.1.2.2")
    assert dicore.read(data, strict=True).StudyDescription == "Лю"
