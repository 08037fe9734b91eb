"""Encode explicit VR little endian: elements from (tag, VR, value), sequences, Part 10 files.

The small writer that the synthesiser and the tests stand on. Editing an existing data set is a splice and does not come
through here."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from dicore.uid import EXPLICIT_LITTLE, IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

__all__ = [
    "Element",
    "Fragments",
    "encapsulated",
    "encode",
    "encode_element",
    "file_meta",
    "part10",
]

#: (tag as group << 16 | element, VR, value). A value is bytes (as stored, only padded), text, a number, a sequence of
#: text or numbers, or None for empty; of an SQ it is a sequence of items, each an iterable of elements.
Element = tuple[int, str, Any]

_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})  # PS3.5 table 7.1-1
_NUMBER = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_CODECS = {
    "": "ascii",
    "ISO_IR 6": "ascii",
    "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
}
_CODECS |= {"ISO_IR 110": "iso8859-4", "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6", "ISO_IR 126": "iso8859-7"}
_CODECS |= {"ISO_IR 138": "iso8859-8", "ISO_IR 148": "iso8859-9", "ISO_IR 166": "tis-620", "ISO_IR 192": "utf-8"}
_CODECS |= {"GB18030": "gb18030", "GBK": "gbk"}


class Fragments(bytes):
    """The items of an encapsulated value (PS3.5 A.4), from the basic offset table on, without the delimiter."""


def encapsulated(frames: Sequence[bytes | Sequence[bytes]], table: bool = True) -> Fragments:
    """Encapsulate compressed frames, each one stream or a sequence of its fragments; `table` writes the basic offset
    table, else it is empty. Odd fragments are padded with a NUL."""
    items, offsets, at = [], [], 0
    for frame in frames:
        offsets.append(at)
        for fragment in [frame] if isinstance(frame, bytes) else frame:
            padded = fragment + bytes(len(fragment) % 2)
            items += [_ITEM, struct.pack("<I", len(padded)), padded]
            at += 8 + len(padded)
    if at >= 1 << 32:
        table = False  # offsets have 32 bits
    basic = struct.pack(f"<{len(offsets)}I", *offsets) if table else b""
    return Fragments(b"".join([_ITEM, struct.pack("<I", len(basic)), basic, *items]))


def encode_element(tag: int, vr: str, value: Any, charset: str = "") -> bytes:
    """One element, header and value, padded to even length. `charset` is the Specific Character Set for text.

    ValueError when the value does not fit its VR: too long for a 16-bit length, or a number out of range."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode("ascii")
    if isinstance(value, Fragments):
        return head + b"\0\0\xff\xff\xff\xff" + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    body = _sequence(value, charset) if vr == "SQ" else _value(vr, value, charset)
    if len(body) % 2:
        body += b"\0" if vr in _BINARY or vr == "UI" else b" "
    if vr in _LONG:
        if len(body) >= 0xFFFFFFFF:
            raise ValueError(f"({tag:08X}) {vr}: {len(body)} bytes do not fit a 32-bit length")
        return head + struct.pack("<HI", 0, len(body)) + body
    if len(body) > 0xFFFF:
        raise ValueError(f"({tag:08X}) {vr}: {len(body)} bytes do not fit a 16-bit length")
    return head + struct.pack("<H", len(body)) + body


def encode(elements: Iterable[Element], charset: str = "") -> bytes:
    """A data set: the elements in ascending order of their tags, whatever order they come in. ValueError for a tag that
    comes twice. A Specific Character Set among them holds for all of them and overrides `charset`."""
    listed = sorted(elements, key=lambda element: element[0])
    for before, after in itertools.pairwise(listed):
        if before[0] == after[0]:
            raise ValueError(f"({after[0]:08X}) comes twice")
    for tag, _, value in listed:
        if tag == 0x00080005:
            charset = value if isinstance(value, str) else ""
    return b"".join([encode_element(tag, vr, value, charset) for tag, vr, value in listed])


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Preamble, DICM and the file meta group (PS3.10 7.1)."""
    group = encode(
        [
            (0x00020001, "OB", b"\0\1"),
            (0x00020002, "UI", sop_class_uid),
            (0x00020003, "UI", sop_instance_uid),
            (0x00020010, "UI", transfer_syntax),
            (0x00020012, "UI", IMPLEMENTATION_CLASS),
            (0x00020013, "SH", IMPLEMENTATION_VERSION),
        ]
    )
    return bytes(128) + b"DICM" + encode_element(0x00020000, "UL", len(group)) + group


def part10(elements: Iterable[Element], transfer_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """A whole file from a data set's elements; SOP Class and Instance UID for the meta group are taken from them.

    `transfer_syntax` is only named, not applied: it must be an explicit VR little endian one, and a compressed value of
    Pixel Data must come encapsulated by `encapsulated`."""
    listed = list(elements)
    uids = {tag: value for tag, _, value in listed if tag in (0x00080016, 0x00080018)}
    if len(uids) != 2:
        raise ValueError("SOP Class UID and SOP Instance UID are needed")
    return file_meta(uids[0x00080016], uids[0x00080018], transfer_syntax) + encode(listed)


def _value(vr: str, value: Any, charset: str) -> bytes:
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    several: Sequence[Any] = value if isinstance(value, (list, tuple)) else (value,)
    if vr in _NUMBER:
        try:
            return struct.pack(f"<{len(several)}{_NUMBER[vr]}", *several)
        except struct.error as error:
            raise ValueError(f"{vr} {value!r}: {error}") from None
    if vr == "AT":
        return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in several)
    if vr in _BINARY:
        raise ValueError(f"{vr} takes bytes, not {type(value).__name__}")
    text = "\\".join(_decimal(v) if vr == "DS" and isinstance(v, (int, float)) else str(v) for v in several)
    return text.encode(_CODECS.get(charset, "ascii"))


def _decimal(value: float) -> str:
    """A DS of at most 16 characters (PS3.5 6.2) that is as near as 16 characters come."""
    text = repr(value)
    for digits in range(15, 0, -1):
        if len(text) <= 16:
            return text
        text = f"{value:.{digits}g}"
    return text


def _sequence(items: Any, charset: str) -> bytes:
    parts = []
    for item in items or ():
        body = encode(item, charset)
        parts += [_ITEM, struct.pack("<I", len(body)), body]
    return b"".join(parts)
