"""Who decodes what: the one table from transfer syntax to codecs, and the adapters over the libraries behind it.

An adapter turns the bytes of one frame into an array (rows, columns[, samples]) of the components as coded; it is told
what the stream's header says, and neither checks sizes nor touches signs: that is `frames.py`'s, the same for all.
A codec of our own is one more adapter, put first in `CODECS`; it may have `into` besides, which decodes straight into
the caller's array and leaves nothing to do, and `encode`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from dicore import uid
from dicore.errors import CodecUnavailable, PixelDataError
from dicore.pixel import encoders
from dicore.pixel.encoders import LOSSY, Options, encode_by_ratio
from dicore.pixel.layout import NATIVE, FrameLayout
from dicore.pixel.streams import Stream, sniff

__all__ = ["CODECS", "Adapter", "CodecInfo", "codecs", "encode", "encoder", "family", "find", "register_codec"]

Array = npt.NDArray[Any]
Source = memoryview | bytes

ENCAPSULATED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."


class CodecInfo(NamedTuple):
    """A row of `dicore.pixel.codecs()`. `decode_by` and `encode_by` name libraries, first choice first; '' for none.
    `version` and `licence` are the first choice's; `installable` names what would serve too, or at all, once
    installed."""

    syntax: str
    name: str
    decode_by: str
    encode_by: str
    version: str
    licence: str
    installable: str = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One library for one family of streams.

    `decode(source, stream, layout)` gives the components as coded; `handles(stream)` says beforehand whether it can;
    `module` is what has to be importable, `distribution` where version and installation hint come from.
    `into(source, stream, layout, target)` decodes into an array of `layout.frame_shape` and dtype, any strides, with
    Bits Stored and sign as the layout says, or gives False for one that it leaves to `decode`. `encode(frame, layout,
    options)` makes a stream for layout.transfer_syntax of the components (rows, columns[, samples]), see `encoders`.
    `syntaxes`, where given, are those of the family that the adapter serves, `encodes` those that it encodes to (None:
    the same).
    """

    name: str
    module: str
    distribution: str
    licence: str
    decode: Callable[[Source, Stream | None, FrameLayout], Array]
    handles: Callable[[Stream], bool] = lambda stream: True
    into: Callable[[Source, Stream | None, FrameLayout, Array], bool | None] | None = None
    encode: encoders.Encoder | None = None
    syntaxes: frozenset[str] | None = None
    encodes: frozenset[str] | None = None

    def serves(self, syntax: str) -> bool:
        return self.syntaxes is None or syntax in self.syntaxes

    def encodes_to(self, syntax: str) -> bool:
        return self.encode is not None and self.serves(syntax) and (self.encodes is None or syntax in self.encodes)

    @property
    def available(self) -> bool:
        return _module(self.module) is not None

    @property
    def version(self) -> str:
        if self.module == "dicore" and self.distribution != "dicore":
            return self.distribution  # registered: it said so
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return str(getattr(_module(self.module.partition(".")[0]), "__version__", ""))


@functools.cache
def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# ---- our own ---------------------------------------------------------------------------------------------------------


def _plain(source: Source, layout: FrameLayout) -> Array:
    """A frame stored uncompressed, little endian, from its first byte on."""
    bits = layout.values * layout.bits_allocated
    if len(source) * 8 < bits:
        raise PixelDataError(f"{len(source)} bytes, where a frame takes {-(-bits // 8)}")
    if layout.bits_allocated == 1:
        packed = np.frombuffer(source, np.uint8, count=-(-bits // 8))
        return np.unpackbits(packed, count=bits, bitorder="little").reshape(layout.frame_shape)
    flat = np.frombuffer(source, layout.dtype, count=layout.values)
    if layout.planar:
        return flat.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.frame_shape)


def _uncompressed(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    return _plain(source, layout)


def _deflated(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    """PS3.5 A.4.12: RFC 1951 without a zlib header. Nothing beyond the frame's size is ever inflated."""
    size = -(-layout.values * layout.bits_allocated // 8)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    return _plain(inflater.decompress(source, size), layout)


def _rle(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    """PS3.5 annex G. 1-bit frames are packed before they are run-length coded: one segment of whole bytes."""
    from dicore._native.pixel import rle_frame

    if layout.bits_allocated == 1:
        packed = np.zeros(-(-layout.values // 8), np.uint8)
        rle_frame(source, packed.data, packed.size, 1, 1)
        return np.unpackbits(packed, count=layout.values, bitorder="little").reshape(layout.frame_shape)
    out = np.zeros(layout.frame_shape, layout.dtype)
    target = out.reshape(-1).view(np.uint8).data
    rle_frame(source, target, layout.rows * layout.columns, layout.samples, out.dtype.itemsize)
    return out


def _rle_into(source: Source, stream: Stream | None, layout: FrameLayout, target: Array) -> None:
    if layout.bits_allocated == 1:
        target[...] = _rle(source, stream, layout)
    else:
        _native().rle_decode(source, target, _kept_bits(layout), layout.signed)


def _kept_bits(layout: FrameLayout) -> int:
    return layout.bits_stored if layout.bits_stored > 1 else 0


def _jpeg_lossless(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    out = np.zeros(layout.frame_shape, np.uint16 if stream is None or stream.precision > 8 else np.uint8)
    _native().jpeg_lossless_decode(source, out)
    return out


def _jpeg_lossless_into(source: Source, stream: Stream | None, layout: FrameLayout, target: Array) -> None:
    _native().jpeg_lossless_decode(source, target, _kept_bits(layout), layout.signed)


def _native() -> Any:
    return _module("dicore._native.pixel")


# ---- imagecodecs -----------------------------------------------------------------------------------------------------


_MAX_SCANS = 100


def _ends(source: Source) -> bool:
    """Whether EOI stands at the end, before whatever padding an encoder has left."""
    return b"\xff\xd9" in bytes(source[-64:])


def _ic_jpeg(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    """libjpeg-turbo 3: 8, 12 and up to 16 bits, lossless too. Naming the same colour space twice transforms nothing."""
    if not _ends(source):  # libjpeg makes up what is missing, in grey, and says nothing
        raise PixelDataError("the JPEG stream has no end", expected="an EOI marker")
    if (
        scans := bytes(source).count(b"\xff\xda")
    ) > _MAX_SCANS:  # each costs a pass over the image, and next to no bytes
        raise PixelDataError(f"{scans} scans in a JPEG stream", expected=f"at most {_MAX_SCANS}")
    decode = _module("imagecodecs").jpeg8_decode
    if stream is not None and stream.samples == 3:
        result: Array = decode(source, colorspace="RGB", outcolorspace="RGB")
    elif stream is not None and stream.samples == 4:
        result = decode(source, colorspace="CMYK", outcolorspace="CMYK")
    else:
        result = decode(source, colorspace="GRAYSCALE", outcolorspace="GRAYSCALE")
    return result


def _ic_jpegls(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    """CharLS. A broken stream without an end marker makes it count zeros for seconds: every stream gets one."""
    if not _ends(source):
        source = bytes(source) + b"\xff\xd9"
    result: Array = _module("imagecodecs").jpegls_decode(source)
    return result


def _ic_jpeg2000(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    """OpenJPEG; for lossless high throughput streams OpenJPH, which is more than twice as fast there. It wraps lossy
    samples that it should clamp, and leaves memory as it was where a stream breaks off (2026.3.6): hence lossless ones
    only, whole ones, and into zeros."""
    library = _module("imagecodecs")
    if stream is not None and stream.high_throughput and stream.reversible and _whole(source, stream):
        size = 1 if stream.precision <= 8 else 2
        out = np.zeros(layout.frame_shape, f"{'i' if stream.signed else 'u'}{size}")
        opened: Array = library.htj2k_decode(source, planar=False, out=out)
        return opened
    result: Array = library.jpeg2k_decode(source, numthreads=1)
    return result


def _ic_jpeg2000_into(source: Source, stream: Stream | None, layout: FrameLayout, target: Array) -> bool:
    """High throughput straight into the array, where its samples are the stream's."""
    if (
        stream is None
        or not (stream.high_throughput and stream.reversible and target.flags.c_contiguous and _whole(source, stream))
        or target.dtype != np.dtype(f"{'i' if stream.signed else 'u'}{1 if stream.precision <= 8 else 2}")
    ):
        return False
    _module("imagecodecs").htj2k_decode(source, planar=False, out=target)
    return True


def _whole(source: Source, stream: Stream) -> bool:
    """A single tile-part that ends where EOC stands, in a bare codestream of samples that OpenJPH gives as they are."""
    if bytes(source[:2]) != b"\xff\x4f" or stream.samples not in (1, 3) or stream.precision > 16 or stream.tiles != 1:
        return False
    data = bytes(source[:4096])
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\x90":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    length = int.from_bytes(data[at + 6 : at + 10], "big")  # Psot
    return (
        data[at : at + 2] == b"\xff\x90" and length > 0 and bytes(source[at + length : at + length + 2]) == b"\xff\xd9"
    )


def _ic_jpegxl(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    """libjxl. A recompressed JPEG (.111) is turned back into it, which keeps its components as coded."""
    library = _module("imagecodecs")
    if layout.transfer_syntax == _JPEG + "111":
        jpeg = library.jpegxl_decode_jpeg(source, numthreads=1)
        return _ic_jpeg(jpeg, sniff(jpeg), layout)
    result: Array = library.jpegxl_decode(source)
    return result


# ---- JPEG-LS of our own, with CharLS for what it leaves out ----------------------------------------------------------


def _transformed(source: Source) -> bool:
    """The APP8 marker of HP's encoder, which says that the components were mixed; CharLS undoes it."""
    return b"mrfx" in bytes(source[:1024]) and _IC_JPEGLS.available


def _jpeg_ls(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    if _transformed(source):
        return _ic_jpegls(source, stream, layout)
    out = np.zeros(layout.frame_shape, np.uint16 if stream is None or stream.precision > 8 else np.uint8)
    _native().jpeg_ls_decode(source, out)
    return out


def _jpeg_ls_into(source: Source, stream: Stream | None, layout: FrameLayout, target: Array) -> None:
    """The sample is what the stream's precision says, not Bits Stored: encoders that set 16 for 12 exist."""
    if _transformed(source):
        target[...] = _ic_jpegls(source, stream, layout)
        return
    bits = stream.precision if stream is not None and layout.signed else 0
    _native().jpeg_ls_decode(source, target, bits, layout.signed)


# ---- pylibjpeg, pyjpegls ---------------------------------------------------------------------------------------------


def _libjpeg(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    result: Array = _module("libjpeg").decode(bytes(source), 0)
    return result


def _openjpeg(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    result: Array = _module("openjpeg").decode(bytes(source))
    return result


def _pyjpegls(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    result: Array = _module("jpeg_ls").decode(np.frombuffer(source, np.uint8))
    return result


def _as_video(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
    """The first frame alone; the others stand on it, so `frames.py` decodes a video whole."""
    from dicore.pixel import video

    return next(video.frames(bytes(source), layout, (0,), True))[1]


_BSD, _MIT, _GPL = "BSD-3-Clause", "MIT", "GPL-3.0-or-later"
_OURS = "Apache-2.0"


def _sequential(stream: Stream) -> bool:
    return stream.process in (0, 1, 2, 3)  # Huffman coded, not hierarchical


def _lossless(stream: Stream) -> bool:
    return stream.process == 3 and 2 <= stream.precision <= 16 and 1 <= stream.samples <= 4


def _any_jpegls(stream: Stream) -> bool:
    return 2 <= stream.precision <= 16 and 1 <= stream.samples <= 4


_LOSSLESS_SYNTAXES = frozenset({_JPEG + "57", _JPEG + "70"})
_OWN_JPEG_LOSSLESS = Adapter(
    "dicore",
    "dicore._native.pixel",
    "dicore",
    _OURS,
    _jpeg_lossless,
    _lossless,
    _jpeg_lossless_into,
    encoders.jpeg_lossless,
    _LOSSLESS_SYNTAXES,
)
_OWN_JPEGLS = Adapter("dicore", "dicore._native.pixel", "dicore", _OURS, _jpeg_ls, _any_jpegls, _jpeg_ls_into)
_ic = functools.partial(Adapter, "imagecodecs", "imagecodecs", "imagecodecs", _BSD)
_IC_JPEG = _ic(_ic_jpeg, _sequential, encode=encoders.ic_jpeg, encodes=frozenset({_JPEG + "50", _JPEG + "51"}))
_IC_JPEGLS = _ic(_ic_jpegls, encode=encoders.ic_jpegls)
_IC_JPEG2000 = _ic(
    _ic_jpeg2000,
    into=_ic_jpeg2000_into,
    encode=encoders.ic_jpeg2000,
    encodes=frozenset(_JPEG + end for end in ("90", "91", "201", "202", "203")),
)
_IC_JPEGXL = _ic(_ic_jpegxl, encode=encoders.ic_jpegxl, encodes=frozenset({_JPEG + "110", _JPEG + "112"}))
_LIBJPEG = Adapter("pylibjpeg-libjpeg", "libjpeg", "pylibjpeg-libjpeg", _GPL, _libjpeg)
_OPENJPEG = Adapter("pylibjpeg-openjpeg", "openjpeg", "pylibjpeg-openjpeg", _MIT, _openjpeg)
_PYJPEGLS = Adapter("pyjpegls", "jpeg_ls", "pyjpegls", _MIT, _pyjpegls, encode=encoders.pyjpegls)
_PYAV = Adapter("PyAV", "av", "av", "BSD-3-Clause, FFmpeg LGPL-2.1+", _as_video)

#: family of streams: adapters, first choice first. The first that is installed and handles the stream decodes it; a
#: stream that it finds broken is broken, and is not tried on others until one makes something of it.
CODECS: dict[str, list[Adapter]] = {
    "plain": [Adapter("dicore", "dicore", "dicore", _OURS, _uncompressed, encode=encoders.plain)],
    "deflate": [Adapter("dicore", "dicore", "dicore", _OURS, _deflated, encode=encoders.deflated)],
    "rle": [Adapter("dicore", "dicore._native.pixel", "dicore", _OURS, _rle, into=_rle_into, encode=encoders.rle)],
    "jpeg": [_OWN_JPEG_LOSSLESS, _IC_JPEG, _LIBJPEG],
    "jpegls": [_OWN_JPEGLS, _IC_JPEGLS, _PYJPEGLS, _LIBJPEG],
    "jpeg2000": [_IC_JPEG2000, _OPENJPEG],
    "jpegxl": [_IC_JPEGXL],
    "video": [_PYAV],
}
_OWN = {id(adapter) for adapters in CODECS.values() for adapter in adapters}  # all but what was registered

_FAMILY = {
    uid.IMPLICIT_LITTLE: "plain",
    uid.EXPLICIT_LITTLE: "plain",
    uid.DEFLATED: "plain",
    uid.EXPLICIT_BIG: "plain",
    ENCAPSULATED: "plain",
    DEFLATED_FRAME: "deflate",
    RLE: "rle",
    **{_JPEG + end: "jpeg" for end in ("50", "51", "53", "55", "57", "70")},
    **{_JPEG + end: "jpegls" for end in ("80", "81")},
    **{_JPEG + end: "jpeg2000" for end in ("90", "91", "92", "93", "201", "202", "203")},
    **{_JPEG + end: "jpegxl" for end in ("110", "111", "112")},
    **{_JPEG + f"10{n}{part}": "video" for n in range(9) for part in (("", ".1") if n < 7 else ("",))},
}


def family(transfer_syntax: str) -> str:
    """The family of streams that a transfer syntax announces. CodecUnavailable when there is none for it."""
    try:
        return _FAMILY[transfer_syntax]
    except KeyError:
        raise CodecUnavailable(
            f"no codec for transfer syntax {transfer_syntax!r}",
            transfer_syntax=transfer_syntax,
            hint="`dicore codecs` lists what can be decoded",
        ) from None


_UNKNOWN = Stream("", 0, 0)  # for families whose streams have no header


def find(kind: str, stream: Stream | None, transfer_syntax: str, codec: str | None = None) -> Adapter:
    """The adapter for a family and stream; `codec`, or the variable DICORE_CODEC, forces one by its name. A registered
    one comes before ours for the syntaxes that it names."""
    forced = codec or os.environ.get("DICORE_CODEC", "")
    adapters = [a for a in CODECS[kind] if id(a) in _OWN or a.serves(transfer_syntax)]
    if forced and len(adapters) > 1:
        adapters = _forced(adapters, forced, transfer_syntax)
    able = [a for a in adapters if (stream is None and id(a) in _OWN) or a.handles(stream or _UNKNOWN)]
    for adapter in able:
        if adapter.available:
            return adapter
    packages = " or ".join(dict.fromkeys(a.distribution for a in able))
    process = f" (process {stream.process})" if stream is not None and stream.process >= 0 else ""
    raise CodecUnavailable(
        f"no codec for {uid.name(transfer_syntax)}{process} is installed",
        transfer_syntax=transfer_syntax,
        hint=f"pip install {packages}" if packages else "no library that is known decodes it",
    )


def _forced(adapters: list[Adapter], name: str, transfer_syntax: str) -> list[Adapter]:
    chosen = [a for a in adapters if a.name == name]
    if not chosen:
        names = ", ".join(dict.fromkeys(a.name for a in adapters))
        raise CodecUnavailable(
            f"no codec {name!r} for {uid.name(transfer_syntax)}",
            transfer_syntax=transfer_syntax,
            hint=f"there is {names}",
        )
    return chosen


def encoder(transfer_syntax: str, codec: str | None = None) -> Adapter:
    """The adapter that encodes to a transfer syntax, first choice or `codec` (or DICORE_CODEC). CodecUnavailable.

    JPEG-LS is encoded by pyjpegls where it is installed: it alone tells CharLS the Bits Stored."""
    forced = codec or os.environ.get("DICORE_CODEC", "")
    adapters = [a for a in CODECS[family(transfer_syntax)] if a.encodes_to(transfer_syntax)]
    if forced and len(adapters) > 1:
        adapters = _forced(adapters, forced, transfer_syntax)
    for adapter in sorted(adapters, key=lambda a: a is _IC_JPEGLS):
        if adapter.available:
            return adapter
    packages = " or ".join(dict.fromkeys(a.distribution for a in adapters))
    raise CodecUnavailable(
        f"nothing encodes to {uid.name(transfer_syntax)}",
        transfer_syntax=transfer_syntax,
        hint=f"pip install {packages}" if packages else "`dicore codecs` lists what can be encoded to",
    )


def encode(frame: Array, layout: FrameLayout, options: Options | None = None, codec: str | None = None) -> bytes:
    """One frame as a stream of layout.transfer_syntax.

    `frame` are its components (rows, columns[, samples]) as `decode(..., raw=True)` gives them. Lossless for lossless
    syntaxes. PixelDataError for what the format cannot hold, CodecUnavailable when nothing encodes to it."""
    options = options or Options()
    if frame.shape != layout.frame_shape:
        raise PixelDataError(f"a frame of {frame.shape}", expected=str(layout.frame_shape))
    adapter = encoder(layout.transfer_syntax, codec)
    if frame.dtype.kind == "f":
        raise PixelDataError(f"{frame.dtype} samples for {uid.name(layout.transfer_syntax)}", expected="integers")
    if adapter.encode is None:
        raise CodecUnavailable(f"{adapter.name} does not encode", transfer_syntax=layout.transfer_syntax)
    try:
        if layout.transfer_syntax in LOSSY:
            return encode_by_ratio(adapter.encode, frame, layout, options)
        return adapter.encode(frame, layout, options)
    except (PixelDataError, MemoryError):
        raise
    except Exception as error:  # whatever the library behind the adapter raises
        raise PixelDataError(f"{adapter.name}: {type(error).__name__}: {str(error)[:200]}") from error


def register_codec(
    name: str,
    transfer_syntaxes: Iterable[str],
    *,
    decode: Callable[[Source, FrameLayout], Array] | None = None,
    encode: Callable[[Array, FrameLayout], bytes] | None = None,
    native: object = None,
    licence: str = "",
    version: str = "",
) -> Callable[[], None]:
    """Put a codec of yours before the others for some transfer syntaxes; gives a function that takes it out again.

    `decode(source, layout)` gives the components of one frame as coded, (rows, columns[, samples]), `encode(frame,
    layout)` a stream. Or `native` is a PyCapsule of a C `dicore_codec` (dicore/pixel.h), named "dicore_codec", which
    then decodes into the caller's memory without the GIL. The name is what `codec=` and DICORE_CODEC force. ValueError
    for a syntax that is not known, or when there is neither.
    """
    syntaxes = frozenset(uid.transfer_syntax(s).uid for s in transfer_syntaxes)
    into: Callable[[Source, Stream | None, FrameLayout, Array], None] | None = None
    if native is not None:
        from dicore._native.pixel import NativeCodec

        plug = NativeCodec(native)

        def decode_into(source: Source, stream: Stream | None, layout: FrameLayout, target: Array) -> None:
            plug.decode(source, cast(Any, target), _kept_bits(layout), layout.signed)

        def decode_new(source: Source, layout: FrameLayout) -> Array:
            out = np.zeros(layout.frame_shape, layout.dtype.newbyteorder("="))
            plug.decode(source, cast(Any, out), _kept_bits(layout), layout.signed)
            return out

        if plug.decodes:
            into, decode = decode_into, decode_new
        if plug.encodes:
            encode = lambda frame, layout: plug.encode(cast(Any, frame), layout.transfer_syntax, layout.bits_stored)  # noqa: E731
    if not syntaxes or (decode is None and encode is None):
        raise ValueError("a codec has a name, transfer syntaxes, and decode or encode or both")
    given_decode, given_encode = decode, encode

    def decoded(source: Source, stream: Stream | None, layout: FrameLayout) -> Array:
        if given_decode is None:
            raise CodecUnavailable(f"{name} does not decode", transfer_syntax=layout.transfer_syntax)
        return given_decode(source, layout)

    adapter = Adapter(
        name,
        "dicore",
        version or "registered",
        licence,
        decoded,
        handles=lambda stream: given_decode is not None,
        into=into,
        encode=None if given_encode is None else lambda frame, layout, options: given_encode(frame, layout),
        syntaxes=syntaxes,
    )
    families = {family(s) for s in syntaxes}
    for kind in families:
        CODECS[kind].insert(0, adapter)

    def unregister() -> None:
        for kind in families:
            CODECS[kind][:] = [a for a in CODECS[kind] if a is not adapter]

    return unregister


def codecs() -> list[CodecInfo]:
    """What can be decoded and encoded here, a row a transfer syntax: by which library, in which version, under which
    licence.

    The version and licence are those of the first choice that is installed; `decode_by` and `encode_by` name them all,
    in order."""
    rows = []
    for syntax, kind in _FAMILY.items():
        serving = [a for a in CODECS[kind] if a.serves(syntax)]
        there = [a for a in serving if a.available]
        encoding = sorted((a for a in there if a.encodes_to(syntax)), key=lambda a: a is _IC_JPEGLS)
        first = there[0] if there else None
        rows.append(
            CodecInfo(
                syntax,
                uid.TRANSFER_SYNTAXES[syntax].name,
                ", ".join(a.name for a in there),
                "dicore" if syntax in NATIVE else ", ".join(a.name for a in encoding),
                first.version if first else "",
                first.licence if first else "",
                ", ".join(a.name for a in serving if not a.available),
            )
        )
    return rows
