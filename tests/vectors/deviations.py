"""One small file for each named deviation of csrc/include/dicore/dataset.h, and for bad values.

`VECTORS` maps the deviation's short name to the bytes of a file that has it and nothing else wrong, with the keyword
and the value that a lenient reader gets out of it all the same. `python deviations.py FOLDER` writes them as files.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
UNDEFINED = 0xFFFFFFFF
LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit VR little endian; `length` overrides the true one."""
    n = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI", 0, n) if vr in LONG else struct.pack("<H", n)) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    """One element in implicit VR little endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
UID = b"1.2.840.10008.5.1.4.1.1.7\0"


def uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def meta(syntax: str | None = EXPLICIT, length: int | None = None) -> bytes:
    body = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", UID) + element(0x00020003, "UI", b"1.2.3.4\0")
    body += element(0x00020010, "UI", uid(syntax)) if syntax else b""
    body += element(0x00020012, "UI", b"1.2.3.4.5\0")
    return element(0x00020000, "UL", struct.pack("<I", len(body) if length is None else length)) + body


def part10(dataset: bytes, syntax: str | None = EXPLICIT) -> bytes:
    return bytes(128) + b"DICM" + meta(syntax) + dataset


MODALITY = element(0x00080060, "CS", b"CT")
PATIENT = element(0x00100020, "LO", b"4711")
STUDY = element(0x00200010, "SH", b"S1")
IDS = element(0x00080016, "UI", UID) + element(0x00080018, "UI", b"1.2.3.4\0")


class Vector(NamedTuple):
    """A file with one deviation: what leniently comes out of it, and where strictly it is refused."""

    data: bytes
    keyword: str
    value: Any
    tag_path: str | None = None  # of the strict error; None: not one element's fault


def _implicit_meta() -> bytes:
    body = implicit(0x00020002, UID) + implicit(0x00020003, b"1.2.3.4\0") + implicit(0x00020010, uid(EXPLICIT))
    return bytes(128) + b"DICM" + implicit(0x00020000, struct.pack("<I", len(body))) + body


def _deflate(data: bytes, end: bool = True) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = packer.compress(data) + packer.flush(zlib.Z_FINISH if end else zlib.Z_SYNC_FLUSH)
    return out + b"\0" * (len(out) % 2)


SEQ = 0x00081115
VECTORS: dict[str, Vector] = {
    "no-preamble": Vector(meta() + IDS + MODALITY + PATIENT, "PatientID", "4711"),
    "no-file-meta": Vector(bytes(128) + b"DICM" + IDS + MODALITY + PATIENT, "PatientID", "4711"),
    "no-transfer-syntax": Vector(part10(IDS + MODALITY + PATIENT, None), "PatientID", "4711", "0002,0010"),
    "wrong-transfer-syntax": Vector(part10(IDS + MODALITY + PATIENT, IMPLICIT), "PatientID", "4711", "0008,0016"),
    "implicit-meta": Vector(_implicit_meta() + IDS + MODALITY + PATIENT, "PatientID", "4711", "0002,0000"),
    "meta-length": Vector(
        bytes(128) + b"DICM" + meta(length=12) + IDS + MODALITY + PATIENT, "PatientID", "4711", "0002,0000"
    ),
    "unknown-vr": Vector(
        part10(MODALITY + struct.pack("<HH2sHI", 0x10, 0x20, b"ZZ", 0, 4) + b"4711" + STUDY),
        "StudyID", "S1", "0010,0020",
    ),
    "implicit-element": Vector(
        part10(MODALITY + implicit(0x00100020, b"4711") + STUDY), "PatientID", "4711", "0010,0020"
    ),
    "explicit-element": Vector(
        part10(
            implicit(0x00080016, UID) + implicit(0x00080060, b"CT")
            + implicit(SEQ, item(element(0x0020000E, "UI", b"1.2\0") + element(0x00200010, "SH", b"S1")))
            + implicit(0x00100020, b"4711"),
            IMPLICIT,
        ),
        "ReferencedSeriesSequence[0].SeriesInstanceUID", "1.2", "0008,1115[0].0020,000E",
    ),
    "odd-length": Vector(part10(MODALITY + element(0x00100020, "LO", b"471") + STUDY), "PatientID", "471", "0010,0020"),
    "order": Vector(part10(PATIENT + MODALITY), "Modality", "CT", "0008,0060"),
    "twice": Vector(part10(MODALITY + element(0x00080060, "CS", b"MR")), "Modality", "MR", "0008,0060"),
    "trailing-padding": Vector(part10(MODALITY + PATIENT + bytes(10)), "PatientID", "4711"),
    "missing-delimiter": Vector(
        part10(element(SEQ, "SQ", item(element(0x0020000E, "UI", b"1.2\0")), UNDEFINED)),
        "ReferencedSeriesSequence[0].SeriesInstanceUID", "1.2", "0008,1115",
    ),
    "undefined-length": Vector(
        part10(MODALITY + element(0x00091010, "OB", item(b"abcd") + SEQUENCE_END, UNDEFINED) + PATIENT)
        .replace(b"\x09\0\x10\x10OB", b"\x08\0\x61\x10OB"),
        "PatientID", "4711", "0008,1061",
    ),
    "no-private-creator": Vector(
        part10(MODALITY + element(0x00091010, "LO", b"x ") + PATIENT), "PatientID", "4711", "0009,1010"
    ),
    "value-truncated": Vector(
        part10(MODALITY + element(0x00100020, "LO", b"4711", 40)), "PatientID", "4711", "0010,0020"
    ),
    "stray-delimiter": Vector(part10(MODALITY + SEQUENCE_END + PATIENT), "PatientID", "4711", "FFFE,E0DD"),
    "bad-item": Vector(
        part10(element(SEQ, "SQ", element(0x0020000E, "UI", b"1.2\0")) + PATIENT), "PatientID", "4711", "0008,1115"
    ),
    "item-length": Vector(
        part10(element(SEQ, "SQ", item(element(0x0020000E, "UI", b"1.2.3.4\0"), 12) + SEQUENCE_END, UNDEFINED)
               + PATIENT),
        "PatientID", "4711", "0008,1115[0].0020,000E",
    ),
    "header-truncated": Vector(part10(MODALITY + PATIENT + STUDY[:6]), "PatientID", "4711"),
    "deflate-truncated": Vector(
        part10(_deflate(IDS + MODALITY + PATIENT, end=False), DEFLATED), "PatientID", "4711"
    ),
    "fragments": Vector(
        part10(MODALITY + element(0x7FE00010, "OB", item(b"") + b"\1\2\3\4\5\6" + SEQUENCE_END, UNDEFINED), RLE),
        "Modality", "CT", "7FE0,0010",
    ),
    "delimiter-length": Vector(
        part10(element(SEQ, "SQ", item(element(0x0020000E, "UI", b"1.2\0")) + SEQUENCE_END[:4] + b"\4\0\0\0", UNDEFINED)
               + PATIENT),
        "PatientID", "4711", "0008,1115",
    ),
    "un-encoding": Vector(
        part10(element(SEQ, "UN", item(element(0x0020000E, "UI", b"1.2\0")) + SEQUENCE_END, UNDEFINED) + PATIENT),
        "ReferencedSeriesSequence[0].SeriesInstanceUID", "1.2", "0008,1115[0].0020,000E",
    ),
}  # fmt: skip

CLEAN = part10(
    IDS
    + MODALITY
    + element(SEQ, "SQ", item(element(0x0020000E, "UI", b"1.2\0")) + SEQUENCE_END, UNDEFINED)
    + PATIENT
    + STUDY
)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, vector in VECTORS.items():
        (folder / f"{name}.dcm").write_bytes(vector.data)
    print(f"{len(VECTORS)} files")
