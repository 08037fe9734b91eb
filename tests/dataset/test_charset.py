"""Character sets (PS3.3 C.12.1.1.2) with the examples of PS3.5 annexes H, I, J and K."""

from __future__ import annotations

import struct

import pytest

import dicore
from hypothesis import given
from hypothesis import strategies as st

from dicore.dataset.charset import CODECS, charset_for, decode_text, encode_text
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


# PS3.3 tables C.12-2 to C.12-5, as printed
TERMS = [
    *(f"ISO_IR {n}" for n in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166, 192)),
    *(f"ISO 2022 IR {n}" for n in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166, 87, 159, 149, 58)),
    "GB18030", "GBK",
]  # fmt: skip
SAMPLES = {"58": "张小东", "87": "山田やまだ", "149": "김희중", "159": "丂丄", "13": "ﾔﾏﾀﾞ", "100": "Äé", "101": "Čaj", "109": "ĥ",
           "110": "ģ", "144": "Люк", "127": "قباني", "126": "Διον", "138": "שרון", "148": "ğış", "203": "œ€",
           "166": "นาม", "6": "plain"}  # fmt: skip


def test_the_standards_tables_are_complete() -> None:
    assert set(TERMS) <= CODECS.keys()
    assert all(charset_for((term,)).problems == () for term in TERMS)


@pytest.mark.parametrize("term", [t for t in TERMS if t.startswith("ISO 2022")])
@pytest.mark.parametrize("first", ["", "ISO 2022 IR 100", "ISO 2022 IR 144", "ISO 2022 IR 13"])
def test_every_extension_behind_every_kind_of_first_set(first, term) -> None:
    sample = SAMPLES[term.rpartition(" ")[2]]
    for text in (f"a{sample}", f"{sample}b^{sample}={sample}c", f"{sample}\\{sample}"):
        raw = encode_text(text, (first, term), person_name=True)
        found = charset_for((first, term)).decode(raw, b"\\^=")
        assert (found.text, found.problem) == (text, None)
        if term not in ("ISO 2022 IR 6", first):
            assert b"\x1b" in raw


def test_the_examples_are_what_we_would_write() -> None:
    for names, raw, text in EXAMPLES.values():
        assert decode_text(encode_text(text, names, person_name=True), names, person_name=True) == text
        if "159" not in str(names) and "58" not in str(names):
            assert encode_text(text, names, person_name=True) == raw.rstrip(b"=")


GBK = [c for c in map(chr, range(0x110000)) if c.encode("gbk", "ignore")]


@given(st.sampled_from([t for t in TERMS if t != "ISO_IR 13"]), st.data())
def test_text_comes_back_from_every_set(term, data) -> None:
    if term in ("ISO_IR 192", "GB18030", "GBK"):
        alphabet = st.characters(exclude_categories=["Cs"]) if term != "GBK" else st.sampled_from(GBK)
    else:
        alphabet = st.sampled_from(SAMPLES.get(term.rpartition(" ")[2], "x") + "abc \\^=\t\r\n~")
    text = data.draw(st.text(alphabet, max_size=30))
    names = (term,)
    for person_name in (False, True):
        raw = encode_text(text, names, person_name=person_name)
        assert decode_text(raw, names, person_name=person_name) == text


@given(
    st.lists(st.sampled_from([t for t in TERMS if t.startswith("ISO 2022")]), min_size=1, max_size=5, unique=True),
    st.data(),
)
def test_text_comes_back_from_sets_together(terms, data) -> None:
    numbers = [t.rpartition(" ")[2] for t in terms]
    alphabet = "".join(SAMPLES[n] for n in numbers) + "ab \\^=\r\n"
    text = data.draw(st.text(st.sampled_from(alphabet), max_size=40))
    names = ("", *terms)
    raw = encode_text(text, names, person_name=True)
    found = charset_for(names).decode(raw, b"\\^=")
    assert (found.text, found.problem) == (text, None)


@pytest.mark.parametrize(
    ("text", "names"),
    [("Ä", ()), ("Ä", ("ISO_IR 144",)), ("山", ("", "ISO 2022 IR 101", "ISO 2022 IR 126")), ("山", ("ISO_IR 13",)),
     ("\x1b", ("", "ISO 2022 IR 87")), ("\x1bÄ", ("ISO_IR 100",)), ("😀", ("GBK",))],
)  # fmt: skip
def test_what_no_declared_set_has_is_refused(text, names) -> None:
    with pytest.raises(dicore.CharacterSetError):
        encode_text(text, names)


@given(st.binary(max_size=60), st.lists(st.sampled_from(TERMS), max_size=3))
def test_any_bytes_decode(raw, names) -> None:
    assert isinstance(decode_text(raw, names), str)
    assert isinstance(decode_text(b"\x1b$B" + raw, names, person_name=True), str)


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
