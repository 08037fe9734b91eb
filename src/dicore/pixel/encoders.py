"""Frames to streams: the encoders behind the adapters of `codec_table`, and what may be asked of them.

An encoder takes the components of one frame (rows, columns[, samples]), clean (nothing above Bits Stored, sign
extended), in the machine's byte order, and the layout of the data set they are for, and gives one stream. What a format
cannot hold is refused by name, never cut.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dicore.errors import PixelDataError
from dicore.pixel.layout import FrameLayout

__all__ = ["LOSSY", "Options", "encode_by_ratio"]

Array = npt.NDArray[Any]
_JPEG = "1.2.840.10008.1.2.4."

#: Syntaxes whose streams are lossy here, with what the encoder calls itself in Lossy Image Compression Method
#: (0028,2114). .81, .91, .93, .203 and .112 may hold lossless streams too, but who wants those asks for .80, .90, .92,
#: .201, .110.
LOSSY = {
    _JPEG + "50": "ISO_10918_1",
    _JPEG + "51": "ISO_10918_1",
    _JPEG + "81": "ISO_14495_1",
    _JPEG + "91": "ISO_15444_1",
    _JPEG + "203": "ISO_15444_15",
    _JPEG + "112": "ISO_18181_1",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What a lossy encoder is asked for; lossless ones look at `effort` and `predictor` only.

    `quality`: 1 to 100. Of JPEG libjpeg's own; of JPEG XL libjxl's (90 is distance 1, visually lossless); of JPEG 2000
    25 + 0.35 * quality dB of PSNR; of HTJ2K a quantisation step of 10 ** (-quality / 30). `near`: the greatest error a
    sample may have in JPEG-LS. `ratio`: instead of both, the best that makes a frame at least so many times smaller.
    `effort`: 1 to 9 of JPEG XL. `predictor`: 1 to 7 of JPEG Lossless (.70 always uses 1). `subsampling`: of colour in
    JPEG, '422' or '444'.
    """

    quality: int = 90
    near: int = 2
    ratio: float | None = None
    effort: int = 1
    predictor: int = 1
    subsampling: str = "422"

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality {self.quality}: 1 to 100")
        if not 0 <= self.near <= 255:
            raise ValueError(f"near {self.near}: 0 to 255")
        if self.ratio is not None and not 1 < self.ratio < 10_000:
            raise ValueError(f"ratio {self.ratio}: more than 1, less than 10,000")
        if not 1 <= self.effort <= 9 or not 1 <= self.predictor <= 7:
            raise ValueError("effort is 1 to 9, predictor 1 to 7")
        if self.subsampling not in ("422", "444"):
            raise ValueError(f"subsampling {self.subsampling!r}: '422' or '444'")


Encoder = Callable[[Array, FrameLayout, Options], bytes]


def encode_by_ratio(encode: Encoder, frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """The best stream that `options.ratio` allows, by bisection over quality, or over near of JPEG-LS. PixelDataError
    when even the worst is too long."""
    if options.ratio is None:
        return encode(frame, layout, options)
    most = int(frame.nbytes / options.ratio)
    near = layout.transfer_syntax == _JPEG + "81"
    low, high = (0, min(255, (1 << layout.bits_stored) // 2 - 1)) if near else (1, 100)  # of `worse` and of quality
    best: bytes | None = None
    while low <= high:
        middle = (low + high) // 2
        asked = dataclasses.replace(options, ratio=None)
        asked = dataclasses.replace(asked, near=middle) if near else dataclasses.replace(asked, quality=middle)
        stream = encode(frame, layout, asked)
        fits = len(stream) <= most
        if fits and (best is None or len(stream) >= len(best)):
            best = stream
        if fits == near:
            high = middle - 1
        else:
            low = middle + 1
    if best is None:
        raise PixelDataError(f"no quality makes this frame {options.ratio:g} times smaller")
    return best


# ---- samples as a format wants them ----------------------------------------------------------------------------------


def _narrow(frame: Array, layout: FrameLayout, most: int = 16, what: str = "the format") -> Array:
    """Samples in one byte where they fit, else in two; C order."""
    if frame.dtype.kind not in "ui" or layout.bits_stored > most or layout.bits_allocated == 1:
        raise PixelDataError(
            f"{layout.bits_stored} Bits Stored in {layout.bits_allocated} for {what}", expected=f"2 to {most} bits"
        )
    size = 1 if layout.bits_stored <= 8 else 2
    return np.ascontiguousarray(frame.astype(f"{frame.dtype.kind}{size}", copy=False))


def _patterns(frame: Array, layout: FrameLayout, most: int = 16, what: str = "the format") -> Array:
    """The bit patterns of Bits Stored, for formats that know no sign."""
    narrow = _narrow(frame, layout, most, what)
    if narrow.dtype.kind == "u":
        return narrow
    unsigned = narrow.view(f"u{narrow.dtype.itemsize}")
    kept: Array = unsigned & unsigned.dtype.type((1 << layout.bits_stored) - 1)
    return kept


def _unsigned(frame: Array, layout: FrameLayout, most: int, what: str) -> Array:
    """For lossy formats without a sign: an error of one in a bit pattern may be an error of all."""
    if layout.signed:
        raise PixelDataError(f"signed samples for {what}", expected="a lossless syntax, or JPEG 2000")
    return _narrow(frame, layout, most, what)


def _colour(layout: FrameLayout) -> bool:
    return layout.samples == 3 and layout.photometric == "RGB"


def _samples(layout: FrameLayout, what: str, allowed: tuple[int, ...] = (1, 3)) -> None:
    if layout.samples not in allowed:
        raise PixelDataError(f"{layout.samples} samples a pixel for {what}", expected=" or ".join(map(str, allowed)))


# ---- encoders --------------------------------------------------------------------------------------------------------


def plain(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """Little endian, samples together; 1-bit pixels packed, the first in the lowest bit."""
    if layout.bits_allocated == 1:
        return np.packbits(np.ascontiguousarray(frame).reshape(-1) != 0, bitorder="little").tobytes()
    return np.ascontiguousarray(frame.astype(frame.dtype.newbyteorder("<"), copy=False)).tobytes()


def deflated(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """PS3.5 A.4.12: RFC 1951 without a header."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(plain(frame, layout, options)) + packer.flush()


def rle(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """All bits of each sample. PixelDataError for more than 15 bytes a pixel (G.2), or samples of 64 bits."""
    from dicore._native.pixel import rle_encode

    if frame.dtype.kind not in "ui" or frame.dtype.itemsize > 4 or frame.dtype.itemsize * layout.samples > 15:
        raise PixelDataError(f"{layout.samples} samples of {frame.dtype} for RLE", expected="at most 15 bytes a pixel")
    if layout.bits_allocated == 1:
        frame = np.packbits(np.ascontiguousarray(frame).reshape(1, -1) != 0, axis=1, bitorder="little")
        if frame.shape[1] > 0xFFFF:
            raise PixelDataError(f"{layout.values} pixels of one bit for RLE", expected="at most 524,280")
    encoded: bytes = rle_encode(cast(Any, frame))
    return encoded


def jpeg_lossless(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """Samples of more than 16 bits do not fit: PixelDataError."""
    from dicore._native.pixel import jpeg_lossless_encode

    if layout.bits_stored > 16 or frame.dtype.kind not in "ui" or frame.dtype.itemsize > 4:
        raise PixelDataError(f"{layout.bits_stored} Bits Stored for JPEG Lossless", expected="at most 16")
    predictor = 1 if layout.transfer_syntax == _JPEG + "70" else options.predictor
    stream: bytes = jpeg_lossless_encode(cast(Any, frame), max(2, layout.bits_stored), predictor)
    return stream


def ic_jpeg(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """libjpeg-turbo: 8 bits (.50, .51), or 12 (.51, for 9 to 12). RGB becomes YCbCr in the stream."""
    import imagecodecs

    extended = layout.transfer_syntax == _JPEG + "51"
    what = "JPEG extended" if extended else "JPEG baseline"
    _samples(layout, what)
    samples = _unsigned(frame, layout, 12 if extended else 8, what)
    kept: dict[str, Any] = {}
    if samples.dtype.itemsize == 2:
        kept["bitspersample"] = 12
    if _colour(layout):
        kept |= {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": options.subsampling}
    elif layout.samples == 3:
        kept |= {"colorspace": "YCBCR", "outcolorspace": "YCBCR", "subsampling": options.subsampling}
    return bytes(imagecodecs.jpeg8_encode(samples, level=options.quality, optimize=True, **kept))


def ic_jpegls(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """CharLS. imagecodecs tells it 8 or 16 bits a sample, whatever Bits Stored: exact all the same."""
    import imagecodecs

    near = _near(layout, options)
    samples = _unsigned(frame, layout, 16, "JPEG-LS") if near else _narrow(frame, layout, 16, "JPEG-LS")
    if samples.dtype.kind == "i":  # with the sign extended to the precision that the stream will have
        samples = samples.view(f"u{samples.dtype.itemsize}")
    return _without_spiff(bytes(imagecodecs.jpegls_encode(samples, level=near)))


def pyjpegls(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """CharLS, told Bits Stored: what PS3.5 8.2.3 asks for, and some percent shorter."""
    import jpeg_ls

    near = _near(layout, options)
    samples = (_unsigned if near else _patterns)(frame, layout, 16, "JPEG-LS")
    together = 2 if layout.samples > 1 else 0
    bits = max(2, layout.bits_stored)
    try:
        return bytes(
            jpeg_ls.encode_buffer(samples.tobytes(), layout.rows, layout.columns, layout.samples, bits, near, together)
        )
    except RuntimeError as error:
        if "too small" not in str(error):
            raise
        return ic_jpegls(frame, layout, options)  # it has no room for noise that grows


def _near(layout: FrameLayout, options: Options) -> int:
    if layout.transfer_syntax != _JPEG + "81":
        return 0
    most = (1 << layout.bits_stored) // 2 - 1
    if options.near > most:
        raise PixelDataError(f"near {options.near} with {layout.bits_stored} Bits Stored", expected=f"at most {most}")
    return options.near


def _without_spiff(stream: bytes) -> bytes:
    """A SPIFF header (ITU T.84 F.1.5) says nothing that DICOM does not, and its end holds a second SOI."""
    at = 2
    while stream[at : at + 2] == b"\xff\xe8":
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return b"\xff\xd8" + stream[at:]


def ic_jpeg2000(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """OpenJPEG; OpenJPH for the high throughput syntaxes, RPCL and with TLM as .202 asks for."""
    import imagecodecs

    what = "JPEG 2000"
    _samples(layout, what, (1, 3, 4))
    samples = _narrow(frame, layout, 16, what)
    lossy = layout.transfer_syntax in LOSSY
    smallest = min(layout.rows, layout.columns)
    levels = max(0, min(5, int(math.log2(max(1, smallest)))))
    if layout.transfer_syntax in (_JPEG + "201", _JPEG + "202", _JPEG + "203"):
        if layout.transfer_syntax == _JPEG + "202":  # the lowest resolution is at most 64 pixels wide and high
            levels = max(levels, math.ceil(math.log2(max(1, max(layout.rows, layout.columns) / 64))))
        kept: dict[str, Any] = {"level": 10 ** (-options.quality / 30)} if lossy else {}
        return bytes(
            imagecodecs.htj2k_encode(
                samples, reversible=not lossy, rgb=_colour(layout), resolutions=levels, tlm=True, planar=False, **kept
            )
        )
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples,
            level=round(25 + 0.35 * options.quality) if lossy else 0,
            codecformat="j2k",
            reversible=not lossy,
            bitspersample=layout.bits_stored,
            resolutions=levels + 1,
            mct=_colour(layout),
            planar=False,
            numthreads=1,
        )
    )


def ic_jpegxl(frame: Array, layout: FrameLayout, options: Options) -> bytes:
    """libjxl: lossless of effort 1 is the fastest good encoder there is; lossy by quality."""
    import imagecodecs

    what = "JPEG XL"
    _samples(layout, what)
    if layout.transfer_syntax not in LOSSY:
        samples = _patterns(frame, layout, 16, what)
        kept: dict[str, Any] = {"lossless": True}
    else:
        samples = _unsigned(frame, layout, 16, what)
        quality = options.quality  # as libjxl's JxlEncoderDistanceFromQuality
        distance = 0.1 + (100 - quality) * 0.09 if quality >= 30 else 53 / 3000 * quality**2 - 23 / 20 * quality + 25
        kept = {"lossless": False, "distance": min(25.0, distance)}
    return bytes(
        imagecodecs.jpegxl_encode(
            samples, effort=options.effort, bitspersample=layout.bits_stored, usecontainer=False, numthreads=1, **kept
        )
    )
