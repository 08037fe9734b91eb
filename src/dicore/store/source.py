"""What the store has to know of an instance: its UIDs from its file meta, and the values that the index holds."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from dicore._native import dataset as dataset_native
from dicore._native import store as native
from dicore.dataset.charset import decode_text
from dicore.errors import DicomFormatError

CHARACTER_SET, SOP_CLASS, SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
_NUMBERS = frozenset({0x00280010, 0x00280011})  # Rows, Columns: US
# text whose character repertoire Specific Character Set governs (PS3.5 6.1.2.2)
_TEXT = frozenset({0x00100010, 0x00100020, 0x00100021, 0x00080050, 0x00081030, 0x00200010, 0x00080090, 0x0008103E})


class Incoming(NamedTuple):
    uids: tuple[str, str, str]  # SOP class, SOP instance, transfer syntax
    data: memoryview  # the data set, as stored in the file
    source_ae: str


def read(path: str | os.PathLike[str]) -> Incoming:
    """An instance from a file, ready for `Store.append`. DicomFormatError, OSError."""
    with open(path, "rb") as stream:
        data = memoryview(stream.read())
    try:
        sop_class, sop_instance, syntax, source_ae, start = native.part10(data)
        if not (sop_class and sop_instance):  # no file meta: the data set has them as well
            found = dataset_native.select(data[start:], (SOP_CLASS, SOP_INSTANCE), syntax)
            in_set = ["" if value is None else bytes(value).decode("latin-1").strip("\0 ") for value in found]
            sop_class, sop_instance = sop_class or in_set[0], sop_instance or in_set[1]
    except DicomFormatError as error:
        error.path = path
        raise
    if not sop_instance or not sop_class:
        raise DicomFormatError("not an instance: it has no SOP Instance UID or no SOP Class UID", path=path)
    return Incoming((sop_class, sop_instance, syntax), data[start:], source_ae[:16].strip())


def uid_of(meta: memoryview) -> str:
    """(0002,0003) of a file's beginning, up to its data set. ValueError when it is not there."""
    at, size = 132, len(meta)
    while at + 8 <= size:
        group, element, vr, length = struct.unpack_from("<HH2sH", meta, at)
        header = 8
        if vr in (b"OB", b"UN", b"OW", b"UT"):
            if at + 12 > size:
                break
            header, (length,) = 12, struct.unpack_from("<I", meta, at + 8)
        if group != 2 or at + header + length > size:
            break
        if element == 3:
            return bytes(meta[at + header : at + header + length]).decode("utf-8", "replace").rstrip("\0 ")
        at += header + length
    raise ValueError("file meta has no Media Storage SOP Instance UID")


def texts(tags: Sequence[int], raw: Sequence[bytes | memoryview | None], *, big_endian: bool) -> dict[int, str]:
    """Values as the index holds them: text, of several values the first, stripped."""
    charsets: tuple[str, ...] = ()
    found: dict[int, str] = {}
    for tag, value in zip(tags, raw, strict=True):
        if value is None or not len(value):
            continue
        if tag in _NUMBERS:
            if len(value) >= 2:
                found[tag] = str(int.from_bytes(value[:2], "big" if big_endian else "little"))
        elif tag == CHARACTER_SET:
            charsets = tuple(bytes(value).decode("latin-1").rstrip("\0 ").split("\\"))
        elif tag in _TEXT:
            data = bytes(value)
            plain = data.isascii() and b"\x1b" not in data
            text = data.decode("ascii") if plain else decode_text(data, charsets)
            found[tag] = (text if tag == 0x00100010 else text.split("\\")[0]).strip("\0 ")
        else:
            found[tag] = bytes(value).decode("latin-1").split("\\")[0].strip("\0 ")
    return found
