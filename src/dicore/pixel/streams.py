"""What a compressed frame says about itself: the header of JPEG, JPEG-LS, JPEG 2000 or JPEG XL, read before decoding.

Decoders allocate what the header asks for. What is read here is compared with the data set first, so that a hostile
stream is refused for its size instead of being decoded. Every reader stays inside its bytes and takes at most one step
a marker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dicore.errors import PixelDataError

__all__ = ["Stream", "sniff"]

_SOF = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_JXL_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """A compressed frame's own header. `process` is the number of the JPEG SOF marker (3: lossless, 55: JPEG-LS).

    `precision` is in bits, 0 where the header was not read so far (JPEG XL); `transformed` says that decoding undoes a
    colour transform of the stream itself (JPEG 2000 MCT), `reversible` that it is lossless. `packets` is how many a
    JPEG 2000 stream has at least: each takes a byte, and a decoder some hundred bytes of memory.
    """

    kind: str
    rows: int
    columns: int
    samples: int = 0
    precision: int = 0
    signed: bool = False
    process: int = -1
    component_ids: Sequence[int] = ()
    jfif: bool = False
    adobe: int | None = None
    transformed: bool = False
    reversible: bool = False
    high_throughput: bool = False
    tiles: int = 1
    packets: int = 1


def sniff(src: memoryview | bytes) -> Stream:
    """Read the header of a compressed frame. PixelDataError when it is none that is known, or is cut short."""
    head = bytes(src[:12])
    if head[:2] == b"\xff\xd8":
        return _jpeg(src)
    if head[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000(src, 0)
    if head == _JP2_SIGNATURE or head[:4] == b"\r\n\x87\n":
        at = _box(src, b"jp2c", 12 if head == _JP2_SIGNATURE else 4)
        if at is None:
            raise PixelDataError("the JP2 file holds no codestream")
        return _jpeg2000(src, at)
    if head[:2] == b"\xff\x0a":
        return _jpeg_xl(src, 2)
    if head == _JXL_SIGNATURE:
        at = _box(src, b"jxlc", 12)
        if at is None:
            at = _box(src, b"jxlp", 12)
            at = None if at is None else at + 4  # an index, then the codestream's first part
        if at is None or bytes(src[at : at + 2]) != b"\xff\x0a":
            raise PixelDataError("the JPEG XL file holds no codestream")
        return _jpeg_xl(src, at + 2)
    raise PixelDataError(
        "the frame begins with " + (head[:4].hex(" ") or "nothing"), expected="a JPEG, JPEG 2000 or JPEG XL stream"
    )


def _u16(src: memoryview | bytes, at: int) -> int:
    if at + 2 > len(src):
        raise PixelDataError("the stream ends inside its header", offset=len(src))
    return src[at] << 8 | src[at + 1]


def _u32(src: memoryview | bytes, at: int) -> int:
    return _u16(src, at) << 16 | _u16(src, at + 2)


def _jpeg(src: memoryview | bytes) -> Stream:
    """ITU T.81 annex B, T.87 annex C: markers up to the frame header."""
    at, jfif, adobe = 2, False, None
    while True:
        if at + 4 > len(src):
            raise PixelDataError("the JPEG stream has no frame header", offset=len(src))
        if src[at] != 0xFF:
            raise PixelDataError("the JPEG stream has no marker where one belongs", offset=at)
        marker = src[at + 1]
        if marker == 0xFF:  # fill bytes may precede any marker
            at += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            raise PixelDataError("the JPEG stream has no frame header", offset=at)
        length = _u16(src, at + 2)
        if length < 2:
            raise PixelDataError("a JPEG marker segment of impossible length", offset=at)
        body = bytes(src[at + 4 : at + 2 + min(length, 1024)])
        if marker == 0xE0 and body[:4] == b"JFIF":
            jfif = True
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker in _SOF or marker == 0xF7:
            if len(body) < 6 or length < 8 + 3 * body[5] or len(body) < 6 + 3 * body[5]:
                raise PixelDataError("the JPEG frame header is cut short", offset=at)
            return Stream(
                kind="jpegls" if marker == 0xF7 else "jpeg",
                rows=body[1] << 8 | body[2],
                columns=body[3] << 8 | body[4],
                samples=body[5],
                precision=body[0],
                process=marker - 0xC0,
                component_ids=tuple(body[6 : 6 + 3 * body[5] : 3]),
                jfif=jfif,
                adobe=adobe,
                reversible=marker in (0xC3, 0xCB),
            )
        at += 2 + length


def _jpeg2000(src: memoryview | bytes, at: int) -> Stream:
    """ITU T.800 annex A: SIZ, which comes first, and COD."""
    if at + 42 > len(src) or bytes(src[at : at + 4]) != b"\xff\x4f\xff\x51":
        raise PixelDataError("the JPEG 2000 codestream does not begin with SIZ", offset=at)
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = (_u32(src, at + 8 + 4 * i) for i in range(8))
    count = _u16(src, at + 40)
    if not (x0 < x1 and y0 < y1 and tile_x and tile_y and tile_x0 <= x0 and tile_y0 <= y0 and 1 <= count <= 16384):
        raise PixelDataError("the JPEG 2000 image size makes no sense", offset=at + 8)
    if at + 42 + 3 * count > len(src):
        raise PixelDataError("the JPEG 2000 header is cut short", offset=len(src))
    parts = [(src[at + 42 + 3 * i], src[at + 43 + 3 * i], src[at + 44 + 3 * i]) for i in range(min(count, 4))]
    if any(dx != 1 or dy != 1 for _, dx, dy in parts):
        raise PixelDataError("JPEG 2000 with subsampled components", offset=at + 42)
    transformed = reversible = high_throughput = False
    packets = 1
    step = at + 4 + _u16(src, at + 4)
    while step + 4 <= len(src) and src[step] == 0xFF and src[step + 1] != 0x90:  # up to the first tile part
        marker, length = src[step + 1], _u16(src, step + 2)
        if marker == 0x50:
            high_throughput = True  # CAP: T.814
        elif marker == 0x52 and step + 14 <= len(src):
            transformed = src[step + 8] == 1
            reversible = src[step + 13] == 1
            packets = max(packets, _packets(src, step + 9, src[step + 4], x1 - x0, y1 - y0) * count)
        elif marker == 0x53:  # COC: the same for one component
            wide = 1 if count < 257 else 2
            if step + 10 + wide <= len(src):
                packets = max(packets, _packets(src, step + 5 + wide, src[step + 4 + wide], x1 - x0, y1 - y0))
        if length < 2:
            raise PixelDataError("a JPEG 2000 marker segment of impossible length", offset=step)
        step += 2 + length
    return Stream(
        kind="jpeg2000",
        rows=y1 - y0,
        columns=x1 - x0,
        samples=count,
        precision=max((p & 0x7F) + 1 for p, _, _ in parts),
        signed=bool(parts[0][0] & 0x80),
        transformed=transformed,
        reversible=reversible,
        high_throughput=high_throughput,
        packets=packets,
        tiles=-(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y),
    )


def _packets(src: memoryview | bytes, at: int, style: int, columns: int, rows: int) -> int:
    """Precincts over all resolutions of a component (T.800 A.6.1, B.6), at least; `at` is at the number of levels."""
    levels, total = src[at], 0
    if not style & 1 or levels > 32 or at + 6 + levels > len(src):
        return 1
    for resolution in range(levels + 1):
        exponents = src[at + 5 + resolution]
        down = levels - resolution
        total += max(1, columns >> down + (exponents & 15)) * max(1, rows >> down + (exponents >> 4))
    return total


def _jpeg_xl(src: memoryview | bytes, at: int) -> Stream:
    """ISO/IEC 18181-1 annex D: SizeHeader; bits are read from the least significant on."""
    bits = int.from_bytes(bytes(src[at : at + 16]), "little")
    if len(src) < at + 2:
        raise PixelDataError("the JPEG XL header is cut short", offset=len(src))

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def size(small: int) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    rows = size(small)
    ratio = take(3)
    if ratio:
        over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        columns = rows * over // under
    else:
        columns = size(small)
    return Stream(kind="jpegxl", rows=rows, columns=columns)


def _box(src: memoryview | bytes, wanted: bytes, at: int) -> int | None:
    """Where the content of the first box of a type begins (ISO/IEC 14496-12 4.2)."""
    for _ in range(1000):
        if at + 8 > len(src):
            return None
        length, kind, header = _u32(src, at), bytes(src[at + 4 : at + 8]), 8
        if length == 1:
            if at + 16 > len(src):
                return None
            length, header = _u32(src, at + 8) << 32 | _u32(src, at + 12), 16
        if kind == wanted:
            return at + header
        if length < header:  # 0: the last box, which reaches to the end
            return None
        at += length
    return None
