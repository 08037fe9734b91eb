from __future__ import annotations

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from dicore import uid

#: newer than pydicom's edition of PS3.6
NEWER = {f"1.2.840.10008.1.2.{end}" for end in ("4.110", "4.111", "4.112", "8.1")}
KNOWN = [syntax for syntax in uid.TRANSFER_SYNTAXES.values() if syntax.uid not in NEWER or syntax.uid in UID_dictionary]


def test_the_table_is_that_of_ps3_6() -> None:
    known = {one: entry for one, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    for syntax in KNOWN:
        name, _, _, retired, keyword = known[syntax.uid]
        assert (syntax.name, syntax.keyword, syntax.retired) == (name, keyword, bool(retired))
    assert all(one == syntax.uid for one, syntax in uid.TRANSFER_SYNTAXES.items())
    assert known.keys() - uid.TRANSFER_SYNTAXES.keys() <= {"1.2.840.10008.1.20"}  # Papyrus 3, which no file is in


def test_what_a_syntax_means_is_what_pydicom_thinks() -> None:
    for syntax in KNOWN:
        other = UID(syntax.uid)
        assert syntax.little_endian == other.is_little_endian
        assert syntax.explicit_vr == (not other.is_implicit_VR)
        if syntax.uid.startswith(("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")) or syntax.uid in uid.UNCOMPRESSED:
            assert syntax.encapsulated == other.is_encapsulated
    assert next(one.uid for one in uid.TRANSFER_SYNTAXES.values() if one.deflated) == uid.DEFLATED


def test_sop_classes_are_named_as_in_ps3_6() -> None:
    assert len(uid.SOP_CLASSES) <= 128
    for one in uid.SOP_CLASSES:
        assert uid.name(one) == UID_dictionary[one][0]
    assert uid.name("1.2.840.10008.5.1.4.1.2.2.1") == UID_dictionary["1.2.840.10008.5.1.4.1.2.2.1"][0]
    assert uid.name("1.2.3.4") == "1.2.3.4"


@pytest.mark.parametrize("text", ["1.2.840.10008.1.2.4.80", "JPEGLSLossless", "JPEG-LS Lossless Image Compression"])
def test_a_syntax_is_found_by_uid_keyword_and_name(text: str) -> None:
    assert uid.transfer_syntax(text).uid == "1.2.840.10008.1.2.4.80"


def test_an_unknown_syntax_is_an_error() -> None:
    with pytest.raises(ValueError, match="no transfer syntax"):
        uid.transfer_syntax("zip")


def test_new_uids_are_valid_and_new() -> None:
    made = {uid.generate() for _ in range(100)}
    assert len(made) == 100
    assert all(uid.is_valid(one) and one.startswith("2.25.") for one in made)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.3", True),
        ("0.0", True),
        ("", False),
        ("1..2", False),
        ("1.02", False),
        ("1.2.x", False),
        ("1" * 65, False),
    ],
)
def test_validity_is_that_of_ps3_5(text: str, valid: bool) -> None:
    assert uid.is_valid(text) is valid
