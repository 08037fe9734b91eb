"""A reader of segments in plain Python, from docs/store-format.md alone: what the C code is tested against.

python tests/store/oracle.py STORE/segments/0000000001.seg
"""

import pathlib
import struct
import sys

RECORD = struct.Struct("<4sHHQ16sQIIQII")
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


def uid_hash(uid, key=b"dicore uid hash\1"):
    """SipHash-2-4 with 128 bits."""
    mask = (1 << 64) - 1
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(x, n):
        return (x << n | x >> (64 - n)) & mask

    def rounds(n):
        for _ in range(n):
            v[0] = (v[0] + v[1]) & mask
            v[1] = rotate(v[1], 13) ^ v[0]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[3]) & mask
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & mask
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & mask
            v[1] = rotate(v[1], 17) ^ v[2]
            v[2] = rotate(v[2], 32)

    data = uid.encode()
    data += bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for (word,) in struct.iter_unpack("<Q", data):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", first, v[0] ^ v[1] ^ v[2] ^ v[3])


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


if __name__ == "__main__":
    for at, flags, digest, _, start, file in records(pathlib.Path(sys.argv[1]).read_bytes()):
        print(f"{at:12} flags {flags} {digest.hex()} file {len(file)} data set at {start}")
