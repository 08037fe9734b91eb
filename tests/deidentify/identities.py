"""Looking for what was in a file in what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import dicore
from dicore.deidentify.profile import Action, policy

TEXT = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UI", "DA", "DT", "TM", "AE", "AS", "UR"}
DUMMIES = re.compile(rb"(?:0+\.?0*|19000101(?:0+)?|000Y|DEIDENTIFIED|.{0,3})", re.S)
MAKERS = {0x00080070, 0x00081090}  # Manufacturer, its model name: kept, and may be what an institution is called
CODES = {0x00080100, 0x00080102, 0x00080104}
KEY = b"a key that only the tests know.."
ACTIONS = policy("basic", (), KEY).actions


def identities(ds: dicore.Dataset) -> Iterator[tuple[str, int, bytes]]:
    """(path, tag, value) of everything that the Basic Profile takes out: by the table, PN, UI, dates; private text."""
    for path, element in ds.walk():
        if element.vr not in TEXT or element.tag >> 16 in (0, 2):
            continue
        action = ACTIONS.get(element.tag)
        by_vr = element.vr in ("PN", "UI", "DA", "DT", "TM", "UR")
        stays = action == Action.KEEP or (action is None and not by_vr)
        if stays and not element.tag >> 16 & 1:
            continue
        for value in bytes(element.raw).split(b"\\"):
            value = value.strip(b" \0")
            if not (DUMMIES.fullmatch(value) or value.startswith(b"1.2.840.10008.")):
                yield path, element.tag, value


def without_pixels(ds: dicore.Dataset) -> bytes:
    data = bytes(ds.part10_bytes())
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in ds and ds[keyword].length > 64:
            data = data.replace(bytes(ds[keyword].raw), b"")
    return data


def left(old: dicore.Dataset, new: dicore.Dataset) -> list[tuple[str, bytes, str]]:
    """(path in the old, value, path in the new): what is still there. Text that stands in an element that the profile
    keeps counts only if it names a person or a patient; a short time or age that is part of some number does not
    count."""
    data = without_pixels(new)
    found = []
    for path, tag, value in identities(old):
        if value not in data:
            continue
        personal = tag in (0x00100010, 0x00100020) or old.get(tag) is None
        for where, element in new.walk():
            if element.vr == "SQ" or value not in bytes(element.raw):
                continue
            if DUMMIES.fullmatch(bytes(element.raw).strip(b" \0")):
                continue
            if element.vr == "UI" and len(value) < 8:  # a few digits stand in some hash by chance
                continue
            same_text = element.tag in MAKERS | CODES or element.vr in ("CS", "DS", "IS", "OB", "OW", "TM", "DT")
            if same_text or (tag >> 16 & 1 and not personal) or element.vr not in TEXT:
                continue
            found.append((path, value, where))
    return found
