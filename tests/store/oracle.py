"""A reader of the store in plain Python, from docs/store-format.md alone: what the C code is tested against, and the
way to an archive's files without dicore: python oracle.py STORE_DIR OUT_DIR
"""

import pathlib
import re
import struct
import sys

RECORD = struct.Struct("<4sHHQ16sQIIQII")
REPLACES, BESIDE, TOMBSTONE = 1, 2, 4
CRC = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    CRC.append(byte)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in bytes(data):
        crc = CRC[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def records(segment):
    """(offset, flags, UID hash, received, data set offset, file) of every record of a sound segment, given as bytes."""
    magic, version, layout, _, nonce, _, _, _ = struct.unpack_from("<8sIIQQQQI", segment)
    assert (magic, version) == (b"DICORSEG", 1)
    assert layout == crc32c(b"record 64 DCIR 1; unit 64; gap 4096; crc32c; siphash-2-4-128")
    assert crc32c(segment[:4092]) == struct.unpack_from("<I", segment, 4092)[0]
    at = 4096
    while at + 64 <= len(segment):
        header = segment[at : at + 64]
        if not any(header):
            if at % 4096 == 0:
                return
            at = (at // 4096 + 1) * 4096
            continue
        magic, version, flags, own, digest, size, start, data_crc, received, _, crc = RECORD.unpack(header)
        assert (magic, version, own) == (b"DCIR", 1, nonce), f"byte {at}: not a record"
        assert crc == crc32c(struct.pack("<Q", at) + header[:60]), f"byte {at}: header"
        file = segment[at + 64 : at + 64 + size]
        assert crc32c(file) == struct.unpack_from("<I", segment, at + 64 + size)[0], f"byte {at}: file"
        assert crc32c(file[start:]) == data_crc, f"byte {at}: data set"
        yield at, flags, digest, received, start, file
        at += (64 + size + 4 + 63) // 64 * 64


def instances(store):
    """The files that count, by the four rules of "Records of one UID"."""
    found = {}
    for segment in sorted(pathlib.Path(store, "segments").glob("[0-9]*.seg")):
        for _, flags, digest, received, _, file in records(segment.read_bytes()):
            found.setdefault(digest, {})[received, flags] = file
    for copies in found.values():
        last = max((key for key in copies if key[1] & (REPLACES | TOMBSTONE)), default=(0, 0))
        live = [key for key in sorted(copies) if key >= last and not key[1] & TOMBSTONE]
        yield from (copies[key] for n, key in enumerate(live) if n == 0 or key[1] & BESIDE)


if __name__ == "__main__":
    for n, file in enumerate(instances(sys.argv[1])):
        uid = re.search(rb"\x02\x00\x03\x00UI..([0-9.]{1,64})", file, re.S)
        pathlib.Path(sys.argv[2], f"{uid[1].decode() if uid else 'file'}-{n}.dcm").write_bytes(file)
