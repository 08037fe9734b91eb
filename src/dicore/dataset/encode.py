"""Python values to bytes, by VR (PS3.5 6.2): elements from (tag, VR, value), sequences, Part 10 files.

The one place that encodes values: the synthesiser, `dicore.new`, edits and assignment stand on it. Putting what comes
out of here into an existing data set is a splice (`dicore_edit`)."""

from __future__ import annotations

import datetime
import itertools
import operator
import re
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from dicore.dataset.charset import encode_text

from dicore.uid import EXPLICIT_LITTLE, IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

__all__ = [
    "Element",
    "Fragments",
    "Typed",
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
_NUL_PADDED = _BINARY | set(_NUMBER) | {"AT", "UI"}
_CHARSET = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})  # by Specific Character Set (PS3.5 6.1.2.3)
_SINGLE = frozenset({"ST", "LT", "UT", "UR"})  # a backslash is text
_MOST = {
    "AE": 16,
    "CS": 16,
    "DS": 16,
    "IS": 12,
    "LO": 64,
    "LT": 10240,
    "SH": 16,
    "ST": 1024,
    "UI": 64,
}  # PS3.5 table 6.2-1
_DECIMAL = re.compile(r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *")
_INTEGER = re.compile(r" *[+-]?\d+ *")
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_ITEM_BIG = struct.pack(">HH", 0xFFFE, 0xE000)


class Fragments(bytes):
    """The items of an encapsulated value (PS3.5 A.4), from the basic offset table on, without the delimiter."""


class Typed(NamedTuple):
    """A value with its VR, for elements whose VR no dictionary says: ds["0009,1001"] = Typed("LO", "text")."""

    VR: str
    value: Any


def encapsulated(frames: Iterable[bytes | Sequence[bytes]], table: bool = True) -> Fragments:
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


def encode_element(tag: int, vr: str, value: Any, charset: str | Sequence[str] = "", *, big: bool = False) -> bytes:
    """One element in explicit VR, header and value, padded to even length; `big`: in big endian. `charset` is the
    value (or values) of Specific Character Set for text. A value of bytes is taken as stored.

    ValueError when the value does not fit its VR (a text too long, no number, a number out of range),
    CharacterSetError when the character set lacks a character. A short-form VR of more than 65,534 bytes becomes UN
    (PS3.5 6.2.2)."""
    order = ">" if big else "<"
    if len(vr) != 2 or not vr.isascii() or not vr.isupper():
        raise ValueError(f"({tag:08X}): {vr!r} is no VR")
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if isinstance(value, Fragments):
        return (
            head + vr.encode("ascii") + b"\0\0\xff\xff\xff\xff" + value + struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
        )
    try:
        body = _sequence(value, charset, big) if vr == "SQ" else encode_value(vr, value, charset, big=big)
    except ValueError as error:
        raise ValueError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {vr}: {error}") from None
    if len(body) % 2:
        body += b"\0" if vr in _NUL_PADDED else b" "
    if len(body) >= 0xFFFFFFFF:
        raise ValueError(f"({tag:08X}) {vr}: {len(body)} bytes do not fit a 32-bit length")
    if len(body) > 0xFFFE and vr not in _LONG:
        if (big and vr in _NUMBER) or vr == "AT":
            raise ValueError(f"({tag:08X}) {vr}: {len(body)} bytes do not fit a 16-bit length")
        vr = "UN"
    if vr in _LONG:
        return head + vr.encode("ascii") + struct.pack(order + "HI", 0, len(body)) + body
    return head + vr.encode("ascii") + struct.pack(order + "H", len(body)) + body


def encode(elements: Iterable[Element], charset: str | Sequence[str] = "", *, big: bool = False) -> bytes:
    """A data set: the elements in ascending order of their tags, whatever order they come in. ValueError for a tag that
    comes twice. A Specific Character Set among them holds for all of them and overrides `charset`."""
    listed = sorted(elements, key=lambda element: element[0])
    for before, after in itertools.pairwise(listed):
        if before[0] == after[0]:
            raise ValueError(f"({after[0]:08X}) comes twice")
    for tag, _, value in listed:
        if tag == 0x00080005:
            charset = charset_names(value)
    return b"".join([encode_element(tag, vr, value, charset, big=big) for tag, vr, value in listed])


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


def charset_names(value: Any) -> tuple[str, ...]:
    """The values of Specific Character Set (0008,0005), whatever it is given as."""
    if value is None:
        return ()
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value).decode("latin-1")
    if isinstance(value, str):
        value = value.split("\\")
    names = tuple(str(name).strip(" \0") for name in value)
    return names if any(names) else ()


def encode_value(vr: str, value: Any, charset: str | Sequence[str] = "", *, big: bool = False) -> bytes:
    """A value of any VR but SQ as bytes, not padded; see `encode_element`."""
    if value is None:
        return b""
    if isinstance(value, str) and value.isascii() and vr in _TEXT:  # nearly all of them
        values: Sequence[Any] = value.split("\\") if "\\" in value and vr not in _SINGLE else (value,)
    elif isinstance(value, (bytes, bytearray, memoryview)) or vr in _BINARY:
        return _bytes(vr, value)
    elif isinstance(value, (str, tuple)) and vr != "AT":
        values = (value,) if isinstance(value, str) else value
    elif isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not hasattr(value, "components")):
        if vr == "AT" and isinstance(value, tuple) and len(value) == 2 and max(value) <= 0xFFFF:
            value = (value,)
        values = (value,) if isinstance(value, str) else list(value)
    else:
        values = (value,)
    if vr in _NUMBER:
        if len(values) == 1 and values[0] == "":
            return b""
        try:
            return struct.pack(
                f"{'>' if big else '<'}{len(values)}{_NUMBER[vr]}", *map(_NUMBERS.get(vr, operator.index), values)
            )
        except (struct.error, TypeError, OverflowError) as error:
            raise ValueError(f"{_shown(value)}: {error}") from None
    if vr == "AT":
        return b"".join([struct.pack(">HH" if big else "<HH", *_tag(tag)) for tag in values])
    if vr not in _TEXT:
        raise ValueError(f"a value of this VR is given as bytes, not {type(value).__name__}")
    if vr in _SINGLE and len(values) > 1:
        raise ValueError(f"one text, not {len(values)} values")
    text = "\\".join(map(_TEXT[vr], values))
    if text.isascii():
        return text.encode("ascii")
    if vr not in _CHARSET:
        raise ValueError(f"{_shown(text)} is outside the default character repertoire")
    return encode_text(text, charset, person_name=vr == "PN", single=vr in _SINGLE)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _bytes(vr: str, value: Any) -> bytes:
    """A value of bytes, or of anything that holds some, such as an array."""
    try:
        view = memoryview(value)
    except TypeError:
        raise ValueError(f"bytes, or an object that holds bytes, are needed, not {type(value).__name__}") from None
    if view.itemsize > 1 and sys.byteorder != "little":
        raise ValueError("give bytes: an array of this machine is in big endian")
    return view.tobytes()


def _tag(tag: Any) -> tuple[int, int]:
    if isinstance(tag, tuple) and len(tag) == 2:
        group, element = tag
    else:
        number = operator.index(tag)
        group, element = number >> 16, number & 0xFFFF
    if not (0 <= group <= 0xFFFF and 0 <= element <= 0xFFFF):
        raise ValueError(f"no tag: {tag!r}")
    return group, element


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if hasattr(value, "components"):  # a PersonName, ours or pydicom's
        return str(value)
    raise ValueError(f"text is needed, not {type(value).__name__}")


def _limited(vr: str) -> Callable[[Any], str]:
    most = _MOST[vr]

    def text(value: Any) -> str:
        text = _text(value)
        if len(text) > most and "\\" not in text:
            raise ValueError(f"{len(text)} characters, {most} at most (PS3.5 6.2)")
        return text

    return text


def _decimal_string(value: Any) -> str:
    if isinstance(value, str):
        if value.strip() and not _DECIMAL.fullmatch(value):
            raise ValueError(f"{_shown(value)} is no decimal number")
        if len(value) > 16:
            raise ValueError(f"{len(value)} characters, 16 at most (PS3.5 6.2); a float is rounded to fit")
        return value
    original = getattr(value, "original_string", None)  # a DS of pydicom
    if isinstance(original, str) and len(original) <= 16 and _DECIMAL.fullmatch(original):
        return original
    if hasattr(value, "as_tuple"):  # Decimal
        text = str(value)
        if value.is_finite() and len(text) <= 16:
            return text
    return _decimal(value if isinstance(value, int) else float(value))


def _decimal(value: float) -> str:
    """A DS of at most 16 characters (PS3.5 6.2) that is as near as 16 characters come."""
    text = repr(value) if not isinstance(value, bool) else str(int(value))
    if "n" in text:  # inf and nan
        raise ValueError(f"{text} is no decimal number")
    for digits in range(15, 0, -1):
        if len(text) <= 16:
            return text
        text = f"{float(value):.{digits}g}"
    return text


def _integer_string(value: Any) -> str:
    if isinstance(value, str):
        if value.strip() and not _INTEGER.fullmatch(value):
            raise ValueError(f"{_shown(value)} is no integer")
        if len(value) > 12:
            raise ValueError(f"{len(value)} characters, 12 at most (PS3.5 6.2)")
        if not value.strip():
            return value
        number, text = int(value), value
    else:
        number = int(value)
        if number != value:
            raise ValueError(f"{value!r} is no integer")
        text = str(number)
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{number} is outside -2^31 .. 2^31 - 1 (PS3.5 6.2)")
    return text


def _uid(value: Any) -> str:
    text = _text(value).rstrip("\0 ")
    for part in text.split("\\"):
        if part and (len(part) > 64 or not _UID.fullmatch(part)):
            raise ValueError(f"{_shown(part)} is no UID (PS3.5 9.1); bytes are taken as they are")
    return text


def _date(value: Any) -> str:
    return f"{value.year:04d}{value.month:02d}{value.day:02d}" if isinstance(value, datetime.date) else _text(value)


def _time(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        value = value.time()
    if isinstance(value, datetime.time):
        return value.strftime("%H%M%S") + (f".{value.microsecond:06d}" if value.microsecond else "")
    return _text(value)


def _datetime(value: Any) -> str:
    if not isinstance(value, datetime.datetime):
        return _date(value)
    text = _date(value) + value.strftime("%H%M%S") + (f".{value.microsecond:06d}" if value.microsecond else "")
    return text + value.strftime("%z")[:5] if value.tzinfo is not None else text


def _person(value: Any) -> str:
    text = _text(value)
    if len(text) > 64:
        for name in text.split("\\"):
            for group in name.split("="):
                if len(group) > 64:
                    raise ValueError(f"{len(group)} characters in a component group, 64 at most (PS3.5 6.2)")
    return text


_NUMBERS: dict[str, Callable[[Any], Any]] = {"FL": float, "FD": float}
_TEXT: dict[str, Callable[[Any], str]] = {
    **{vr: _limited(vr) for vr in ("AE", "CS", "LO", "LT", "SH", "ST")},
    "AS": _text, "UC": _text, "UR": _text, "UT": _text, "PN": _person, "UI": _uid, "DS": _decimal_string,
    "IS": _integer_string, "DA": _date, "TM": _time, "DT": _datetime,
}  # fmt: skip


def _sequence(items: Any, charset: str | Sequence[str], big: bool) -> bytes:
    if isinstance(items, (bytes, bytearray, memoryview)):
        return bytes(items)
    parts = []
    for item in items or ():
        body = item if isinstance(item, bytes) else encode(item, charset, big=big)
        parts += [_ITEM_BIG if big else _ITEM, struct.pack(">I" if big else "<I", len(body)), body]
    return b"".join(parts)
