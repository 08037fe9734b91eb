"""`transcode`: Pixel Data into another transfer syntax, frame by frame, with every attribute that has to follow."""

from __future__ import annotations

import dataclasses
import os
import struct
import sys
import tempfile
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO

from dicore import uid
from dicore.dataset import DELETE, Dataset, read
from dicore.dataset.editing import ENCODINGS, write_pieces
from dicore.errors import PixelDataError, TransferSyntaxError

if TYPE_CHECKING:
    import numpy as np

    from dicore.pixel import FrameLayout, Options

__all__ = ["syntax_uid", "transcode"]

_PIXEL_DATA = 0x7FE00010
_GENERATED = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_CHUNK = 1 << 20
_BASIC_LIMIT = 1 << 32  # offsets of the basic table have 32 bits
_RECOMPRESSED = "1.2.840.10008.1.2.4.111"


def transcode(
    source: Dataset | str | os.PathLike[str],
    syntax: str | uid.TransferSyntax,
    *,
    out: str | os.PathLike[str] | BinaryIO | None = None,
    threads: int = 1,
    verify: bool = True,
    quality: int | None = None,
    near: int | None = None,
    ratio: float | None = None,
    effort: int | None = None,
    predictor: int | None = None,
    subsampling: str | None = None,
    codec: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """`source` with its frames in another transfer syntax, as a new Dataset; with `out`, written there and opened.

    `syntax` is a UID, a keyword ('JPEGLSLossless'), a name, or a `uid.TransferSyntax`. Components stay as they are
    coded where the target is lossless (YBR stays YBR); lossy colour is made from RGB. Every frame is decoded, encoded
    by `threads` threads and, with `verify`, decoded again: what a lossless syntax gives back must be equal, or
    PixelDataError names the frame and nothing is written. Frames pass one by one, so that memory does not grow with
    their number when `source` is a path (or opened from one) and `out` is given.

    `quality`, `near`, `ratio`, `effort`, `predictor` and `subsampling` are those of `pixel.Options`; `codec` forces a
    library. With them, or without, the attributes follow: Photometric Interpretation, Planar Configuration, the offset
    tables (basic; extended beyond 4 GiB), and after a lossy step Lossy Image Compression, its Ratio and Method, Image
    Type DERIVED, Derivation Description and a new SOP Instance UID (PS3.3 C.7.6.1.1.5, PS3.4 B.4.1), with the old one
    in Source Image Sequence. Going to 1.2.840.10008.1.2.4.111 takes JPEG baseline or extended frames as they are and
    loses nothing.

    Raises PixelDataError (`.frame`), CodecUnavailable, TransferSyntaxError (float pixels into a compressed syntax),
    ValueError for an option or a syntax that does not exist, OSError.
    """
    from dicore import pixel

    given = {
        "quality": quality,
        "near": near,
        "ratio": ratio,
        "effort": effort,
        "predictor": predictor,
        "subsampling": subsampling,
    }
    options = pixel.Options(**{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    target = syntax_uid(syntax) if isinstance(syntax, str) else syntax.uid
    ds = source if isinstance(source, Dataset) else read(source)
    layout, items = ds._frame_source()
    if layout.pixel_keyword != "PixelData" or (layout.transfer_syntax == target and not ds.is_edited):
        return _rewritten(ds, layout, target, out)
    job = _Job(ds, layout, items, target, options, codec, verify)
    native = target in uid.UNCOMPRESSED or target == uid.DEFLATED
    where = os.path.dirname(os.fspath(out)) or "." if isinstance(out, (str, os.PathLike)) else None
    with tempfile.TemporaryFile(dir=where) if where is not None else tempfile.SpooledTemporaryFile(64 << 20) as spool:
        lengths = _spool(spool, job.streams(threads), native, layout.frames, progress)
        pieces = _assembled(ds, job, lengths, spool, native)
        if out is None or target == uid.DEFLATED:
            made = Dataset.from_bytes(b"".join(pieces))
            if target == uid.DEFLATED:
                made = Dataset.from_bytes(made.to_bytes(uid.DEFLATED))
            if out is None:
                return made
            pieces = iter([made.part10_bytes()])
        write_pieces(out, pieces, False)  # type: ignore[arg-type]
    return read(out) if isinstance(out, (str, os.PathLike)) else ds


def syntax_uid(name: str) -> str:
    """The UID of a transfer syntax by UID, keyword, name, or one of the short names that people use. ValueError."""
    short = {
        "jpegls": "1.2.840.10008.1.2.4.80",
        "jpegbaseline": "1.2.840.10008.1.2.4.50",
        "rle": "1.2.840.10008.1.2.5",
        "jpeg2000lossless": "1.2.840.10008.1.2.4.90",
        "deflatedframes": "1.2.840.10008.1.2.8.1",
    }
    return uid.transfer_syntax(short.get(name.casefold().replace(" ", ""), name)).uid


def _rewritten(ds: Dataset, layout: FrameLayout, target: str, out: Any) -> Dataset:
    """Nothing to encode: the same syntax, or float pixels, which no compressed syntax holds (PS3.5 8.1.2)."""
    if layout.transfer_syntax != target and target not in uid.UNCOMPRESSED and target != uid.DEFLATED:
        raise TransferSyntaxError(
            f"{layout.pixel_keyword} cannot be compressed to {uid.name(target)}",
            path=ds.path,
            expected="an uncompressed or the deflated transfer syntax",
        )
    if out is None:
        return Dataset.from_bytes(ds.to_bytes(target))
    ds.write(out, target)
    return read(out) if isinstance(out, (str, os.PathLike)) else ds


class _Job:
    """What is made of each frame, and what the data set says afterwards."""

    def __init__(
        self,
        ds: Dataset,
        layout: FrameLayout,
        items: Any,
        target: str,
        options: Options,
        codec: str | None,
        verify: bool,
    ) -> None:
        from dicore import pixel
        from dicore.pixel import codec_table
        from dicore.pixel.encoders import LOSSY

        self.ds, self.layout, self.items, self.target = ds, layout, items, target
        self.options, self.codec, self.verify = options, codec, verify
        self.lossy = LOSSY.get(target, "")
        self.native = target in uid.UNCOMPRESSED or target == uid.DEFLATED
        if layout.photometric == "PALETTE COLOR" and self.lossy:
            raise PixelDataError("palette indices into a lossy syntax", path=ds.path, expected="a lossless one")
        photometric = pixel.coded_photometric(layout, items)
        self.raw = not (photometric.startswith("YBR_PARTIAL") or (self.lossy and layout.samples == 3))
        if not self.raw:
            photometric = "RGB"
        elif photometric.startswith("YBR_"):
            photometric = "YBR_FULL"  # 4:2:2 comes out replicated
        self.taken = target == _RECOMPRESSED
        if self.taken and layout.transfer_syntax not in _JPEG_IN_XL:
            raise TransferSyntaxError(
                f"{uid.name(layout.transfer_syntax)} frames are no JPEG to recompress",
                path=ds.path,
                expected=".50 or .51",
            )
        #: what the encoder is told, and what the frames decode to
        self.made = dataclasses.replace(
            layout,
            transfer_syntax=target,
            planar=False,
            big_endian=target == uid.EXPLICIT_BIG,
            photometric=photometric,
            extended_offsets=b"",
            extended_lengths=b"",
            frames=1,
            pixel_vr="OB" if not self.native or layout.bits_allocated <= 8 else "OW",
        )
        if not self.native and not self.taken:
            codec_table.encoder(target, codec)  # CodecUnavailable before anything is decoded
        self.photometric = layout.photometric if self.taken else self._announced(photometric)

    def _announced(self, photometric: str) -> str:
        """Photometric Interpretation of the new data set (PS3.5 8.2)."""
        end = self.target.rpartition(".")[2]
        if self.layout.samples != 3 or photometric != "RGB" or self.native:
            return photometric
        if end in ("50", "51"):
            return "YBR_FULL_422" if self.options.subsampling == "422" else "YBR_FULL"
        if end in ("90", "201", "202"):
            return "YBR_RCT"
        if end in ("91", "203"):
            return "YBR_ICT"
        return "XYB" if end == "112" else photometric

    # -- frames --------------------------------------------------------------------------------------------------------

    def decoded(self) -> Iterator[tuple[int, Any]]:
        """The frames, or where they are only to be taken over their streams; read in order by one thread."""
        if self.taken:
            yield from ((n, self.items.frame(n)) for n in range(self.layout.frames))
        elif self.items is not None and not self.layout.transfer_syntax.startswith(_VIDEO):
            yield from ((n, None) for n in range(self.layout.frames))  # decoded where it is encoded
        else:
            yield from enumerate(self.ds.iter_frames(raw=self.raw))

    def streams(self, threads: int) -> Iterator[bytes]:
        """The new streams in order, made by `threads` threads, at most two a thread ahead."""
        if threads <= 1:
            for number, frame in self.decoded():
                yield self.one(number, frame)
            return
        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(threads, "dicore-transcode") as pool:
            try:
                for number, frame in self.decoded():
                    waiting.append(pool.submit(self.one, number, frame))
                    if len(waiting) >= 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for left in waiting:
                    left.cancel()

    def one(self, number: int, frame: Any) -> bytes:
        from dicore import pixel

        try:
            if self.taken:
                return self._recompressed(bytes(frame))
            if frame is None:
                frame = pixel.decode(self.layout, self.items, frames=number, raw=self.raw)
            frame = frame.astype(frame.dtype.newbyteorder("="), copy=False)
            if self.native:
                return self._stored(frame)
            stream = pixel.encode(frame, self.made, self.options, self.codec)
            if self.verify:
                self._check(frame, stream)
            return stream
        except PixelDataError as error:
            error.frame = number
            raise

    def _stored(self, frame: np.ndarray[Any, Any]) -> bytes:
        import numpy as np

        if self.layout.bits_allocated == 1:
            return np.ascontiguousarray(frame != 0).view(np.uint8).tobytes()  # packed when all are there
        return np.ascontiguousarray(frame.astype(self.made.dtype, copy=False)).tobytes()

    def _recompressed(self, jpeg: bytes) -> bytes:
        import imagecodecs

        made = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True, numthreads=1))
        if self.verify:
            import numpy as np

            from dicore import pixel
            from dicore.dataset.encode import encapsulated

            before = dataclasses.replace(self.layout, frames=1, extended_offsets=b"", extended_lengths=b"")
            after = dataclasses.replace(before, transfer_syntax=self.target)
            if not np.array_equal(
                pixel.decode(before, encapsulated([jpeg]), raw=True),
                pixel.decode(after, encapsulated([made]), raw=True),
            ):
                raise PixelDataError("the recompressed JPEG decodes to something else")
        return made

    def _check(self, frame: np.ndarray[Any, Any], stream: bytes) -> None:
        """Decode what was made: equal when lossless, within `near` in JPEG-LS, else whole."""
        import numpy as np

        from dicore import pixel
        from dicore.dataset.encode import encapsulated

        back = pixel.decode(self.made, encapsulated([stream], table=False), raw=True)
        if not self.lossy:
            if not np.array_equal(back, frame):
                wrong = int(np.count_nonzero(back != frame))
                raise PixelDataError(f"{wrong} samples of the {uid.name(self.target)} frame came back different")
        elif self.target.endswith(".81"):
            most = int(np.abs(back.astype(np.int64) - frame.astype(np.int64)).max(initial=0))
            if self.options.ratio is None and most > self.options.near:
                raise PixelDataError(f"JPEG-LS came back wrong by {most}", expected=f"at most {self.options.near}")

    # -- attributes ----------------------------------------------------------------------------------------------------

    def changes(self, stored: int) -> dict[Any, Any]:
        """What the data set has to say anew."""
        ds, layout = self.ds, self.layout
        made: dict[Any, Any] = {keyword: DELETE for keyword in _GENERATED if keyword in ds}
        if layout.samples > 1:
            made["PlanarConfiguration"] = 0
        if self.photometric != layout.photometric:
            made["PhotometricInterpretation"] = self.photometric
        if not self.lossy:
            return made
        before = -(-layout.values * layout.frames * max(1, layout.bits_allocated) // 8)
        ratio = f"{before / max(1, stored):.2f}"
        past = str(ds.get("LossyImageCompression", "")) == "01"
        made["LossyImageCompression"] = "01"
        made["LossyImageCompressionRatio"] = [*_values(ds, "LossyImageCompressionRatio"), ratio] if past else ratio
        made["LossyImageCompressionMethod"] = (
            [*_values(ds, "LossyImageCompressionMethod"), self.lossy] if past else self.lossy
        )
        kind = _values(ds, "ImageType")
        made["ImageType"] = ["DERIVED", *(kind[1:] or ["SECONDARY"])]
        made["DerivationDescription"] = f"{uid.name(self.target)}, ratio {ratio}"[:1024]
        if ds.get("SOPClassUID") and ds.get("SOPInstanceUID"):
            made["SourceImageSequence"] = [
                {
                    "ReferencedSOPClassUID": str(ds.SOPClassUID),
                    "ReferencedSOPInstanceUID": str(ds.SOPInstanceUID),
                    "PurposeOfReferenceCodeSequence": [
                        {
                            "CodeValue": "121320",
                            "CodingSchemeDesignator": "DCM",
                            "CodeMeaning": "Uncompressed predecessor",
                        }
                    ],
                }
            ]
        made["SOPInstanceUID"] = uid.generate()
        return made


_VIDEO = "1.2.840.10008.1.2.4.10"
_JPEG_IN_XL = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}


def _values(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    if value is None or value == "":
        return []
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)]


# ---- putting together ------------------------------------------------------------------------------------------------


def _spool(
    spool: Any, streams: Iterable[bytes], native: bool, frames: int, progress: Callable[[int, int], None] | None
) -> list[int]:
    """Write each stream, encapsulated ones as an item; gives their lengths without padding."""
    lengths = []
    for stream in streams:
        if not native:
            spool.write(struct.pack("<HHI", 0xFFFE, 0xE000, len(stream) + len(stream) % 2))
        spool.write(stream)
        if not native and len(stream) % 2:
            spool.write(b"\0")
        lengths.append(len(stream))
        if progress is not None:
            progress(len(lengths), frames)
    return lengths


def _assembled(ds: Dataset, job: _Job, lengths: list[int], spool: Any, native: bool) -> Iterator[Any]:
    """The pieces of the new file: head, elements, offset tables, frames, elements behind them."""
    spool.flush()
    size = spool.seek(0, os.SEEK_END)
    if native and job.layout.bits_allocated == 1:
        size = _packed(spool, size)
    syntax = uid.EXPLICIT_LITTLE if not native or job.target == uid.DEFLATED else job.target
    rest = _without_pixels(ds).edit(job.changes(sum(lengths)))
    body = Dataset.from_bytes(rest.to_bytes(syntax))
    after = next((e.offset for e in body if e.tag > _PIXEL_DATA), None)
    whole = body.part10_bytes()
    start = len(whole) - len(body.dataset_bytes())
    after = len(whole) if after is None else after
    big, implicit = syntax == uid.EXPLICIT_BIG, ENCODINGS[syntax] == 0
    head = body._head(body._meta_changes(job.target if job.target != uid.DEFLATED else syntax), True)
    yield head
    yield whole[start:after]
    if native:
        if size >= 0xFFFFFFFE:
            raise PixelDataError(
                f"{size} bytes of native Pixel Data", expected="less than 4 GiB, or a compressed syntax"
            )
        vr = b"OB" if job.layout.bits_allocated <= 8 else b"OW"
        order = ">" if big else "<"
        tag = struct.pack(order + "HH", 0x7FE0, 0x0010)
        padded = size + size % 2
        yield tag + struct.pack("<I", padded) if implicit else tag + vr + b"\0\0" + struct.pack(order + "I", padded)
    else:
        yield from _tables(lengths, size)
    spool.seek(0)
    while chunk := spool.read(_CHUNK):
        yield chunk
    if native:
        yield bytes(size % 2)
    else:
        yield struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    yield whole[after:]


def _tables(lengths: list[int], size: int) -> Iterator[bytes]:
    """Pixel Data's header with a basic offset table; where 32 bits do not reach, an extended one before it."""
    offsets, at = [], 0
    for length in lengths:
        offsets.append(at)
        at += 8 + length + length % 2
    basic = b""
    if size < _BASIC_LIMIT and 4 * len(offsets) < 0xFFFFFFFE:
        basic = struct.pack(f"<{len(offsets)}I", *offsets)
    else:
        for element, values in ((1, offsets), (2, lengths)):
            yield struct.pack("<HH", 0x7FE0, element) + b"OV\0\0" + struct.pack("<I", 8 * len(values))
            yield struct.pack(f"<{len(values)}Q", *values)
    yield struct.pack("<HH", 0x7FE0, 0x0010) + b"OB\0\0\xff\xff\xff\xff"
    yield struct.pack("<HHI", 0xFFFE, 0xE000, len(basic)) + basic


def _packed(spool: Any, size: int) -> int:
    """Bytes of 0 and 1 to bits, in place: frames of 1-bit pixels follow each other without alignment (PS3.5 8.1.1)."""
    import numpy as np

    done = 0
    for at in range(0, size, _CHUNK):  # a multiple of 8
        spool.seek(at)
        bits = np.packbits(np.frombuffer(spool.read(_CHUNK), np.uint8), bitorder="little").tobytes()
        spool.seek(done)
        spool.write(bits)
        done += len(bits)
    spool.truncate(done)
    return done


def _without_pixels(ds: Dataset) -> Dataset:
    """A data set without Pixel Data and its padding; of a file that holds it, without reading Pixel Data."""
    window = None if ds.is_edited else ds._pixel_window() or ds._window("PixelData")
    if window is None or ds.transfer_syntax == uid.DEFLATED:
        return ds.edit({"PixelData": DELETE})
    element = ds["PixelData"]
    start, stop = element.offset, window.offset + element.length + (8 if element.is_undefined_length else 0)
    with open(window.fileno(), "rb", closefd=False) as file:
        head = os.pread(file.fileno(), start, 0)
        file.seek(0, os.SEEK_END)
        tail = os.pread(file.fileno(), max(0, file.tell() - stop), stop)
    window.check()
    return Dataset.from_bytes(head + tail)


class _Callable(types.ModuleType):
    """`dicore.transcode` is this module once something has imported it, and the function before: both can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Dataset:
        return transcode(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
