"""Small data sets for the tests of the store, encoded by hand: explicit VR little endian."""

import struct
import uuid

import numpy as np

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
LONG = {"OB", "OW", "UN", "SQ", "UT"}


def uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


def element(tag: int, vr: str, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        value = struct.pack("<H", value)
    if isinstance(value, str):
        value = value.encode("latin-1")
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


def pixels(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (side, side), np.uint16)


def data_set(sop_instance: str, side: int = 16, seed: int = 0, **values: str) -> bytes:
    """A CT image; `values` by keyword for some of its text."""
    text = {
        "StudyDate": (0x00080020, "DA", "20240229"), "StudyTime": (0x00080030, "TM", "101530"),
        "AccessionNumber": (0x00080050, "SH", "A1"), "Modality": (0x00080060, "CS", "CT"),
        "ReferringPhysicianName": (0x00080090, "PN", "House^Gregory"), "StudyDescription": (0x00081030, "LO", "HEAD"),
        "SeriesDescription": (0x0008103E, "LO", "axial"), "PatientName": (0x00100010, "PN", "Doe^John"),
        "PatientID": (0x00100020, "LO", "P1"), "PatientBirthDate": (0x00100030, "DA", "19700101"),
        "PatientSex": (0x00100040, "CS", "M"), "StudyInstanceUID": (0x0020000D, "UI", "1.2.3.1"),
        "SeriesInstanceUID": (0x0020000E, "UI", "1.2.3.1.1"), "StudyID": (0x00200010, "SH", "S1"),
        "SeriesNumber": (0x00200011, "IS", "3"), "InstanceNumber": (0x00200013, "IS", "7"),
    }  # fmt: skip
    elements = {0x00080016: ("UI", CT), 0x00080018: ("UI", sop_instance)}
    for keyword, (tag, vr, value) in text.items():
        elements[tag] = (vr, values.pop(keyword, value))
    if "SpecificCharacterSet" in values:
        elements[0x00080005] = ("CS", values.pop("SpecificCharacterSet"))
    assert not values, values
    for tag, value in ((0x00280002, 1), (0x00280010, side), (0x00280011, side), (0x00280100, 16), (0x00280101, 12),
                       (0x00280102, 11), (0x00280103, 0)):  # fmt: skip
        elements[tag] = ("US", value)
    elements[0x00280004] = ("CS", "MONOCHROME2")
    elements[0x7FE00010] = ("OW", pixels(side, seed).astype("<u2").tobytes())
    return b"".join(element(tag, *elements[tag]) for tag in sorted(elements))


def store_one(
    store, side: int = 16, seed: int = 0, sop_instance: str | None = None, **values: str
) -> tuple[str, bytes]:
    """Append an instance, blocking; (SOP Instance UID, its data set)."""
    name = sop_instance or uid()
    data = data_set(name, side, seed, **values)
    store.append(CT, name, EXPLICIT, [data[:100], memoryview(data)[100:]], source_ae="TEST")
    return name, data


def body(file: memoryview | bytes) -> bytes:
    """The data set of a Part 10 file."""
    file = bytes(file)
    assert file[:132] == bytes(128) + b"DICM"
    return file[144 + struct.unpack_from("<I", file, 140)[0] :]
