"""FrameLayout: what the Image Pixel module says about the bytes of Pixel Data, checked before anything trusts it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dicore import uid
from dicore.errors import PixelDataError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FrameLayout", "layout_from"]

NATIVE = frozenset({uid.IMPLICIT_LITTLE, uid.EXPLICIT_LITTLE, uid.DEFLATED, uid.EXPLICIT_BIG})
KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclasses.dataclass(frozen=True, slots=True)
class FrameLayout:
    """How frames lie in Pixel Data (PS3.3 C.7.6.3): everything a decoder has to know, and nothing of the data set.

    `rows`, `columns`, `samples` and `frames` count; `bits_allocated` is 1, 8, 16, 32 or 64; `signed` is Pixel
    Representation 1; `planar` is Planar Configuration 1; `photometric` the Photometric Interpretation as stored.
    `extended_offsets` and `extended_lengths` are the raw values of the Extended Offset Table and its Lengths, or empty.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str
    transfer_syntax: str
    big_endian: bool = False
    pixel_keyword: str = "PixelData"
    pixel_vr: str = ""
    extended_offsets: bytes = dataclasses.field(default=b"", repr=False)
    extended_lengths: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def encapsulated(self) -> bool:
        """True when Pixel Data is a sequence of fragments (every transfer syntax but the four native ones)."""
        return self.transfer_syntax not in NATIVE

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, samples): the shape of one decoded frame."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all frames decoded: without a frame axis when there is one frame."""
        return self.frame_shape if self.frames == 1 else (self.frames, *self.frame_shape)

    @property
    def values(self) -> int:
        """Samples in a decoded frame."""
        return self.rows * self.columns * self.samples

    @property
    def frame_bytes(self) -> int:
        """Bytes of a decoded frame; 1-bit pixels decode to a byte each."""
        return self.values * max(1, self.bits_allocated // 8)

    @property
    def subsampled(self) -> bool:
        """True when native frames store Y1 Y2 Cb Cr for two pixels (PS3.3 C.7.6.3.1.2)."""
        return self.samples == 3 and self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and not self.encapsulated

    @property
    def stored_bits(self) -> int:
        """Bits of one frame as stored uncompressed. Frames of 1-bit pixels follow each other without byte alignment."""
        bits = self.values * self.bits_allocated
        return bits // 3 * 2 if self.subsampled else bits

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `raw=True`: the stored byte order; uint8 for 1-bit pixels."""
        import numpy as np

        kind = "i" if self.signed and self.bits_allocated > 1 else "u"
        if self.pixel_keyword != "PixelData":
            kind = "f"
        return np.dtype(f"{'>' if self.big_endian else '<'}{kind}{max(1, self.bits_allocated // 8)}")


def layout_from(
    get: Callable[[str], Any], transfer_syntax: str, *, pixel_keyword: str = "PixelData", pixel_vr: str = ""
) -> FrameLayout:
    """Read and check the Image Pixel module.

    `get(keyword)` gives an element's value or None. `pixel_keyword` names the element that holds the pixels, `pixel_vr`
    is its VR (OW swaps pairs of 8-bit samples in big endian). PixelDataError when no frame can be made of what it says.
    A missing Samples per Pixel, Bits Stored, High Bit, Pixel Representation or Planar Configuration takes the one value
    that makes sense; a missing or empty Number of Frames, or 0, is 1.
    """
    if pixel_keyword not in KEYWORDS:
        raise PixelDataError(f"{pixel_keyword} holds no pixels", expected=" or ".join(KEYWORDS))
    floating = pixel_keyword != "PixelData"
    rows = _number(get, "Rows", 1, 0xFFFF)
    columns = _number(get, "Columns", 1, 0xFFFF)
    samples = _number(get, "SamplesPerPixel", 1, 4, default=1)
    if samples == 2:
        raise PixelDataError("Samples per Pixel is 2", tag_path="0028,0002", expected="1, 3 or 4")
    frames = _number(get, "NumberOfFrames", 0, 2**31 - 1, default=1) or 1
    allocated = _number(
        get, "BitsAllocated", 1, 64, default={"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(pixel_keyword)
    )
    allowed = {"PixelData": (1, 8, 16, 32, 64), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}[pixel_keyword]
    if allocated not in allowed:
        raise PixelDataError(
            f"Bits Allocated is {allocated}", tag_path="0028,0100", expected=" or ".join(map(str, allowed))
        )
    stored = allocated if floating else _number(get, "BitsStored", 1, 64, default=allocated)
    if stored > allocated:
        raise PixelDataError(f"{stored} Bits Stored in {allocated} allocated", tag_path="0028,0101")
    high_bit = _number(get, "HighBit", 0, 0xFFFF, default=stored - 1)
    signed = False if floating else bool(_number(get, "PixelRepresentation", 0, 1, default=0))
    planar = bool(_number(get, "PlanarConfiguration", 0, 1, default=0)) if samples > 1 else False
    photometric = get("PhotometricInterpretation")
    photometric = photometric.strip(" \0").upper() if isinstance(photometric, str) else ""
    layout = FrameLayout(
        rows=rows,
        columns=columns,
        samples=samples,
        frames=frames,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=signed,
        planar=planar,
        photometric=photometric,
        transfer_syntax=str(transfer_syntax),
        big_endian=transfer_syntax == uid.EXPLICIT_BIG,
        pixel_keyword=pixel_keyword,
        pixel_vr=pixel_vr,
        extended_offsets=_raw(get("ExtendedOffsetTable")) if transfer_syntax not in NATIVE else b"",
        extended_lengths=_raw(get("ExtendedOffsetTableLengths")) if transfer_syntax not in NATIVE else b"",
    )
    if layout.subsampled and (columns % 2 or allocated != 8):
        raise PixelDataError(f"{photometric} with {columns} columns of {allocated} bits", expected="even, 8 bits")
    if layout.frame_bytes * frames >= 2**63:
        raise PixelDataError(f"{frames} frames of {layout.frame_bytes} bytes are more than any memory")
    return layout


def _number(get: Callable[[str], Any], keyword: str, low: int, high: int, default: int | None = None) -> int:
    value = get(keyword)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, (str, bytes, list, tuple)) and not value):
        if default is None:
            raise PixelDataError(f"{keyword} is missing", tag_path=None, expected=f"{low} to {high}")
        return default
    try:
        number = int(value)
        exact = not isinstance(value, float) or (math.isfinite(value) and number == value)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or not low <= number <= high:
        raise PixelDataError(f"{keyword} is {value!r:.40}", expected=f"{low} to {high}")
    return number


def _raw(value: Any) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else b""
