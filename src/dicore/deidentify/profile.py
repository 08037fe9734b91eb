"""From a profile and its options to an action per tag (PS3.15 annex E).

Table E.1-1 leaves choices to whoever carries it out. Ours, everywhere the one that keeps an IOD valid and says least:

- X/Z is Z, X/D, Z/D and X/Z/D are D: whether an element is of Type 1, 2 or 3 depends on the IOD; a dummy is valid in
  all three, an empty element in the last two. Only elements that are there are replaced, and what is empty stays
  empty.
- X/Z/U* (sequences of references) stay, and the UIDs in them are replaced.
- Patient ID and Patient's Name (Z/D, Z) get a pseudonym.
- An option's K or C comes before the profile's action, and K before C.
- C on something that is neither text nor a sequence nor a date is not cleaned: the profile's action holds.
- The table does not list everything. `BEYOND`: elements without a row that name an instance, a person or a place.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from dicore._native.deidentify import Deidentifier
from dicore.dataset.dictionary import tag_vr
from dicore.dataset.encode import encode_element
from dicore.deidentify.table import TABLE
from dicore.uid import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

__all__ = ["EDITION", "OPTIONS", "Action", "Option", "Policy", "Row", "policy", "rows"]

EDITION = "2026c"


class Action(IntEnum):
    """dicore_deid_action of dicore/deidentify.h."""

    KEEP = 0
    REMOVE = 1
    EMPTY = 2
    DUMMY = 3
    UID = 4
    CLEAN = 5
    SHIFT = 6
    ID = 7
    NAME = 8
    ADD = 9


class Option(NamedTuple):
    letter: str  # its column in table.py; "" has none
    code: str  # CID 7050
    meaning: str


PROFILE = Option("", "113100", "Basic Application Confidentiality Profile")
OPTIONS = {
    "clean_pixel_data": Option("", "113101", "Clean Pixel Data Option"),
    "clean_graphics": Option("G", "113103", "Clean Graphics Option"),
    "clean_structured_content": Option("S", "113104", "Clean Structured Content Option"),
    "clean_descriptors": Option("T", "113105", "Clean Descriptors Option"),
    "retain_full_dates": Option("F", "113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "retain_modified_dates": Option("M", "113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "retain_patient_characteristics": Option("C", "113108", "Retain Patient Characteristics Option"),
    "retain_device_identity": Option("D", "113109", "Retain Device Identity Option"),
    "retain_uids": Option("U", "113110", "Retain UIDs Option"),
    "retain_safe_private": Option("P", "113111", "Retain Safe Private Option"),
    "retain_institution_identity": Option("I", "113112", "Retain Institution Identity Option"),
}


class Row(NamedTuple):
    """A row of table E.1-1. `tag` has x for any digit, or is 'private'; `options`: letter to K or C."""

    tag: str
    basic: str
    options: dict[str, str]


@functools.cache
def rows() -> tuple[Row, ...]:
    """Table E.1-1 as printed, in tag order, repeating groups and private elements last."""
    return tuple(
        Row(tag, basic, {option[0]: option[1] for option in options})
        for tag, basic, *options in (line.split() for line in TABLE.splitlines() if line)
    )


_BASIC = {
    "X": Action.REMOVE,
    "Z": Action.EMPTY,
    "D": Action.DUMMY,
    "U": Action.UID,
    "X/Z": Action.EMPTY,
    "X/D": Action.DUMMY,
    "Z/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY,
    "X/Z/U*": Action.KEEP,
}
_PATIENT = {0x00100010: Action.NAME, 0x00100020: Action.ID}
_TEXT = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "SQ"})
_DATES = frozenset({"DA", "DT", "TM"})

#: UI elements without a row that name a class, a syntax, a scheme or a maker: they stay. Every other UI without a row
#: is replaced.
_CLASSES = """
    00000002 00000003 00041510 00041512 0004151A 00080016 0008001A 0008001B 00080062 0008010C 0008010D 00080117 00080118
    0008040E 00081150 0008115A 00083002 00089123 00340003 04000010 04000510 30100052 30100053
"""
#: UR elements without a row that name a coding scheme, a code or a file inside this one: they stay. Others are removed.
_LINKS = "0008010E 00080120 00687005"
#: Text Value: what a report says. The table knows it as part of Content Sequence; it also stands in other templates.
_TEXT_VALUE = 0x0040A160

#: Of PS3.15 table E.3.10-1 (safe private attributes) the numbers and code strings. What else is there (opaque binary
#: values, sequences, free text) is removed: nobody can tell what is in it.
_SAFE = {
    "ELSCINT1": "00E1:21 01E1:26,50 01F1:01,07,26,27",
    "GEMS_ACQU_01": "0019:23,24,25,26,27",
    "GEMS_HELIOS_01": "0045:01,02",
    "GEMS_PARM_01": "0043:39,6F",
    "GEMS_SERS_01": "0025:07",
    "NQHeader": "0099:04,10,21",
    "NQLeft": "0199:01,02,03,04,05,06,07,08,09,0A,0B,0C,0D,0E,0F,10,11,12,13,14,15,16",
    "NQRight": "0299:01,02,03,04,05,06,07,08,09,0A,0B,0C,0D,0E,0F,10,11,12,13,14,15,16",
    "Philips Imaging DD 001": "2001:03,04",
    "Philips MR Imaging DD 001": "2005:0D,0E",
    "Philips PET Private Group": "7053:00,09",
    "SIEMENS MR HEADER": "0019:0C,0D,0E,27",
}


@dataclass(frozen=True)
class Policy:
    """A profile with its options and a key, ready to apply. `key` is the one of 32 bytes that C uses."""

    options: tuple[str, ...]
    key: bytes
    actions: dict[int, Action]
    native: Deidentifier


def policy(profile: str, options: Iterable[str], key: bytes) -> Policy:
    """The policy for these names. ValueError for an unknown name, options that exclude each other, or a short key."""
    if profile != "basic":
        raise ValueError(f"no profile {profile!r}: there is 'basic', and its options")
    if isinstance(options, str):
        raise ValueError("options is a sequence of names")
    chosen = set(options)
    for name in sorted(chosen):
        if name not in OPTIONS:
            raise ValueError(f"no option {name!r}; there are {', '.join(OPTIONS)}")
    if {"retain_full_dates", "retain_modified_dates"} <= chosen:
        raise ValueError("retain_full_dates and retain_modified_dates exclude each other")
    if not isinstance(key, bytes) or len(key) < 16:
        raise ValueError("a key is at least 16 secret, random bytes: secrets.token_bytes(32)")
    return _policy(tuple(name for name in OPTIONS if name in chosen), key)


def _action(row: Row, vr: str, letters: str) -> Action:
    """What a row comes to under the options of `letters`."""
    codes = {row.options[letter]: letter for letter in letters if letter in row.options}
    if "K" in codes:
        return Action.KEEP
    if "M" in letters and row.options.get("M") == "C" and (vr in _DATES or row.tag == "00080201"):
        return Action.SHIFT
    if "C" in codes and vr in _TEXT:
        return Action.CLEAN
    return _BASIC[row.basic]


@functools.lru_cache(maxsize=16)
def _policy(options: tuple[str, ...], key: bytes) -> Policy:
    letters = "".join(OPTIONS[name].letter for name in options)
    dates = Action.KEEP if "F" in letters else Action.SHIFT if "M" in letters else Action.DUMMY
    actions = {int(tag, 16): Action.KEEP for tag in (_CLASSES + _LINKS).split()}
    actions[_TEXT_VALUE] = Action.CLEAN if "S" in letters else Action.DUMMY
    repeating: dict[str, Action] = {}
    for row in rows():
        if row.tag == "private":
            continue
        if "x" in row.tag:
            repeating[row.tag] = _action(row, "OB", letters)
        else:
            tag = int(row.tag, 16)
            actions[tag] = _PATIENT.get(tag) or _action(row, tag_vr(tag) or "", letters)
    native = Deidentifier(
        {tag: int(action) for tag, action in actions.items()},
        list(_safe_private()) if "P" in letters else [],
        _vocabulary() if set("TSGDC") & set(letters) else [],
        list(_constants(options, letters)),
        (
            repeating["50xxxxxx"],
            repeating["60xx3000"],
            repeating["60xx4000"],
            dates,
            Action.KEEP if "U" in letters else Action.UID,
            Action.DUMMY,
            Action.REMOVE,
        ),
        native_key := hashlib.blake2b(key, digest_size=32, person=b"dicore deidentif").digest(),
        IMPLEMENTATION_CLASS.encode("ascii"),
        IMPLEMENTATION_VERSION.encode("ascii"),
    )
    return Policy(options, native_key, actions, native)


def _vocabulary() -> list[bytes]:
    from dicore.deidentify.words import vocabulary

    return sorted(vocabulary())


def _safe_private() -> Iterator[tuple[int, bytes]]:
    for creator, groups in _SAFE.items():
        for group in groups.split():
            number, _, elements = group.partition(":")
            for element in elements.split(","):
                yield int(number, 16) << 16 | int(element, 16), creator.encode("ascii")


def _constants(options: tuple[str, ...], letters: str) -> Iterator[tuple[int, str, bytes]]:
    """What PS3.15 E.1.1 and PS3.3 C.12.1.1.1, C.7.6.1 ask to be set."""
    used = [PROFILE, *(OPTIONS[name] for name in options)]
    said = [f"dicore, PS3.15 {EDITION}", *(option.meaning for option in used)]
    codes = [
        [(0x00080100, "SH", option.code), (0x00080102, "SH", "DCM"), (0x00080104, "LO", option.meaning)]
        for option in used
    ]
    yield 0x00120062, "CS", b"YES"
    yield 0x00120063, "LO", "\\".join(said).encode("ascii")
    yield 0x00120064, "SQ", encode_element(0x00120064, "SQ", codes)[12:]
    if "clean_pixel_data" in options:
        yield 0x00280301, "CS", b"NO"
    kept = b"UNMODIFIED" if "F" in letters else b"MODIFIED" if "M" in letters else b"REMOVED"
    yield 0x00280303, "CS", kept
