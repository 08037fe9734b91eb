"""Frames to arrays: native ones as views, compressed ones through the codec table into one exactly sized array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from dicore._native import kernels
from dicore._native.pixel import Encapsulation
from dicore.errors import DicoreError, PixelDataError
from dicore.pixel.codec_table import family, find
from dicore.pixel.colour import effective_photometric, rgb_from_ybr
from dicore.pixel.layout import FrameLayout
from dicore.pixel.streams import Stream, sniff

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from dicore._native.pixel import FileItems

__all__ = [
    "FREE_BYTES",
    "MAX_RATIO",
    "Window",
    "coded_photometric",
    "decode",
    "decode_frame",
    "items_of",
    "iter_frames",
]

Array = npt.NDArray[Any]
Frames = int | slice | Iterable[int] | None

#: A compressed frame may decode to FREE_BYTES, and beyond them to MAX_RATIO times its own length: what no honest stream
#: exceeds and every bomb does. Checked before anything is allocated.
FREE_BYTES = 64 << 20
MAX_RATIO = 500


def decode(
    layout: FrameLayout,
    data: Buffer | Encapsulation,
    *,
    frames: Frames = None,
    raw: bool = False,
    out: Array | None = None,
    threads: int = 1,
    codec: str | None = None,
) -> Array:
    """Decode frames of Pixel Data.

    `data` is the element's value: native bytes, or the items of an encapsulated one (offset table included, without the
    delimiter), or an `Encapsulation` of them, which remembers where frames are. `frames` is None for all, a number for
    one (then the result has no frame axis), a slice or a sequence of numbers; negative ones count from the end. Gives
    an array (frames, rows, columns[, samples]); no frame axis when there is one frame in all.

    `raw=False`: RGB for YBR, native byte order. `raw=True`: the components as coded, in the stored byte order, 4:2:2
    replicated, samples last. In both, bits above Bits Stored are dropped, the sign is extended by Pixel Representation,
    1-bit pixels become bytes, and palette indices stay indices.

    Uncompressed data in the machine's byte order whose unused bits are clean comes back as a read-only view of `data`,
    without a copy. `out` (of the result's shape and dtype) receives the result instead. With `threads` > 1 frames are
    decoded in parallel. `codec` forces a library by the name that `codecs()` shows.

    Raises PixelDataError (`.frame` is the number of the frame, the others stay decodable), CodecUnavailable with what
    to install, ValueError for an `out` that does not fit.
    """
    chosen, one = _select(layout, frames)
    source = _Source(layout, data, raw, codec)
    shape = layout.frame_shape if one or (frames is None and layout.frames == 1) else (len(chosen), *layout.frame_shape)
    dtype = layout.dtype if raw else layout.dtype.newbyteorder("=")
    if out is not None and (out.shape != shape or out.dtype != dtype):
        raise ValueError(f"out is {out.dtype}{out.shape}, the frames are {dtype}{shape}")
    if not layout.encapsulated:
        native = source.native(chosen)
        if out is None:
            return native.reshape(shape)
        out[...] = native.reshape(shape)
        return out
    source.check_budget(chosen)
    if out is None:
        try:
            out = np.zeros(shape, dtype)
        except MemoryError:
            raise PixelDataError(f"no memory for {len(chosen)} frames of {layout.frame_bytes} bytes") from None
    slots = out if out.ndim > len(layout.frame_shape) else out[None]
    if source.family == "video":
        for number, frame in source.video(chosen):
            for position in [i for i, n in enumerate(chosen) if n == number]:
                slots[position] = frame
        return out

    def put(position: int) -> None:
        source.frame(chosen[position], slots[position])

    if threads > 1 and len(chosen) > 1:
        with ThreadPoolExecutor(min(threads, len(chosen)), "dicore-pixel") as pool:
            for _ in pool.map(put, range(len(chosen))):
                pass
    else:
        for position in range(len(chosen)):
            put(position)
    return out


def decode_frame(
    layout: FrameLayout, source: memoryview | bytes, out: Array, *, raw: bool = False, codec: str | None = None
) -> None:
    """Decode the stream of one compressed frame into `out`, of layout.frame_shape and zeros. Raises as `decode`."""
    alone = _Source(layout, None, raw, codec)
    if layout.frame_bytes > FREE_BYTES + MAX_RATIO * len(source):
        raise PixelDataError(f"a frame of {layout.frame_bytes} bytes out of {len(source)} compressed ones")
    alone.guarded(source, out)


class Window(Protocol):
    """Pixel Data that stays where it is until it is asked for: a buffer of its whole length, filled piece by piece."""

    def fill(self, start: int, size: int) -> None:
        """Have [start, start + size) in the buffer."""

    def drop(self) -> None:
        """Forget what is in the buffer."""


def iter_frames(
    layout: FrameLayout,
    data: Buffer | Encapsulation,
    *,
    frames: Frames = None,
    raw: bool = False,
    codec: str | None = None,
    window: Window | None = None,
) -> Iterator[Array]:
    """The frames one after the other as `decode` gives them, each (rows, columns[, samples]), in constant memory.

    With `window`, which `data` is a buffer of, each native frame is filled, copied to an array of its own and dropped
    again. After a PixelDataError the iterator is over, as any generator; `decode(..., frames=n)` reads the frames
    behind.
    """
    chosen, _ = _select(layout, frames)
    source = _Source(layout, data, raw, codec)
    if layout.encapsulated and source.family == "video":
        yield from (frame for _, frame in source.video(chosen))
        return
    for number in chosen:
        if layout.encapsulated:
            source.check_budget((number,))
            slot = np.zeros(layout.frame_shape, layout.dtype if raw else layout.dtype.newbyteorder("="))
            source.frame(number, slot)
            yield slot
        elif window is None:
            yield source.native((number,))[0]
        else:
            window.drop()
            window.fill(*source.extent(number))
            yield np.array(source.native((number,))[0])


def coded_photometric(layout: FrameLayout, items: Encapsulation | None) -> str:
    """The colour space of the components that `raw=True` gives: what the first frame's stream says comes before what
    the data set says. `items` of an encapsulated value. PixelDataError when that stream is none."""
    if items is None or layout.samples != 3 or family(layout.transfer_syntax) in ("plain", "deflate", "rle", "video"):
        return layout.photometric
    return effective_photometric(layout, sniff(items.frame(0)))


def items_of(layout: FrameLayout, items: Buffer | FileItems) -> Encapsulation:
    """The frames of an encapsulated value, in memory or in a file. PixelDataError when not even the first item is
    one."""
    if layout.encapsulated and family(layout.transfer_syntax) == "video":
        return Encapsulation(items, 1)  # PS3.5 8.2.5: all fragments are one stream
    return Encapsulation(items, layout.frames, layout.extended_offsets, layout.extended_lengths)


def _select(layout: FrameLayout, frames: Frames) -> tuple[Sequence[int], bool]:
    if frames is None:
        return range(layout.frames), False
    if isinstance(frames, slice):
        return range(layout.frames)[frames], False
    if isinstance(frames, (int, np.integer)):
        chosen, one = [int(frames)], True
    else:
        chosen, one = [int(n) for n in frames], False
    for position, number in enumerate(chosen):
        if not -layout.frames <= number < layout.frames:
            raise PixelDataError(f"there is no such frame of {layout.frames}", frame=number)
        chosen[position] = number % layout.frames
    return chosen, one


class _Source:
    """Pixel Data as frames by number. Keeps a view of the data; safe to use from several threads."""

    def __init__(self, layout: FrameLayout, data: Buffer | Encapsulation | None, raw: bool, codec: str | None) -> None:
        self.layout = layout
        self.raw = raw
        self.codec = codec
        if layout.encapsulated:
            self.family = family(layout.transfer_syntax)
            if data is not None:
                self.items = data if isinstance(data, Encapsulation) else items_of(layout, data)
        elif data is None or isinstance(data, Encapsulation):
            raise TypeError("fragments, where the transfer syntax is a native one")
        else:
            self.data = memoryview(data).cast("B")

    def extent(self, number: int) -> tuple[int, int]:
        """(offset, size) of the bytes of native Pixel Data that frame `number` is made of."""
        bits = self.layout.stored_bits
        start = number * bits // 8 & ~1  # a big endian OW is swapped in pairs
        return start, -(-(number + 1) * bits // 8) - start + 1

    # ---- native ------------------------------------------------------------------------------------------------------

    def native(self, chosen: Sequence[int]) -> Array:
        """Frames (n, rows, columns[, samples]): a view where nothing has to change."""
        layout = self.layout
        there = len(self.data) * 8 // layout.stored_bits
        for number in chosen:
            if number >= there:
                raise PixelDataError(
                    f"Pixel Data holds {len(self.data)} bytes, {there} of {layout.frames} frames",
                    frame=number,
                    expected=f"{-(-layout.stored_bits * layout.frames // 8)} bytes",
                )
        consecutive = isinstance(chosen, range) and chosen.step == 1
        if consecutive and chosen:
            frames = self._native_run(chosen[0], len(chosen))
        elif len(chosen) == 1:
            frames = self._native_run(chosen[0], 1)
        else:
            frames = np.zeros((len(chosen), *layout.frame_shape), layout.dtype)
            for position, number in enumerate(chosen):
                frames[position] = self._native_run(number, 1)[0]
        if not self.raw:
            frames = frames.astype(layout.dtype.newbyteorder("="), copy=False)
            if layout.samples == 3 and layout.photometric.startswith("YBR_"):
                partial = layout.photometric.startswith("YBR_PARTIAL")
                rgb = np.empty(frames.shape, frames.dtype)
                for position in range(len(frames)):
                    rgb[position] = rgb_from_ybr(frames[position], layout.bits_stored, partial)
                frames = rgb
        return frames

    def _native_run(self, first: int, count: int) -> Array:
        layout = self.layout
        start, bits = first * layout.stored_bits, layout.stored_bits * count
        shape = (count, *layout.frame_shape)
        if layout.bits_allocated == 1:  # PS3.5 8.1.1: frames follow each other without byte alignment
            bytes_of = np.empty(shape, np.uint8)
            kernels.unpack1(self._swapped(start // 8, -(-(start % 8 + bits) // 8)), bytes_of, start % 8)
            return bytes_of
        flat = np.frombuffer(self._swapped(start // 8, bits // 8), layout.dtype)
        if layout.subsampled:  # Y1 Y2 Cb Cr: two pixels share their colour
            full = np.empty(shape, np.uint8)
            kernels.expand_422(flat, full)
            return full
        if layout.planar:
            frames = flat.reshape(count, layout.samples, layout.rows, layout.columns).transpose(0, 2, 3, 1)
        else:
            frames = flat.reshape(shape)
        frames = _clean(frames, layout)
        frames.flags.writeable = False
        return frames

    def _swapped(self, start: int, size: int) -> memoryview | bytes:
        """Bytes of the value. 8-bit samples in a big endian OW are stored in swapped pairs (PS3.5 8.2)."""
        layout = self.layout
        if not (layout.big_endian and layout.bits_allocated == 8 and layout.pixel_vr == "OW"):
            return self.data[start : start + size]
        low = start & ~1
        pairs = np.frombuffer(self.data[low : low + (start - low + size + 1 & ~1)], np.uint8)
        if len(pairs) % 2:  # the padding byte is missing: the last pair is half a pair
            pairs = np.append(pairs, np.uint8(0))
        swapped = pairs.reshape(-1, 2)[:, ::-1].tobytes()
        return swapped[start - low : start - low + size]

    # ---- encapsulated ------------------------------------------------------------------------------------------------

    def check_budget(self, chosen: Sequence[int]) -> None:
        """Refuse before allocating what these streams cannot honestly hold."""
        if self.family != "video" and len(chosen) > 1 and len(chosen) > len(self.items):
            self.items.frame(len(self.items))  # raises: too few fragments for so many frames
        wanted = self.layout.frame_bytes * len(chosen)
        if wanted > FREE_BYTES + MAX_RATIO * self.items.nbytes:
            raise PixelDataError(
                f"{len(chosen)} frames of {self.layout.frame_bytes} bytes out of {self.items.nbytes} compressed ones",
                expected=f"at most {MAX_RATIO} times as many",
            )

    def video(self, chosen: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """(number, frame) in the order of the video, which is the only one it has."""
        from dicore.pixel import video

        find("video", None, self.layout.transfer_syntax, self.codec)
        for number, frame in video.frames(bytes(self.items.frame(0)), self.layout, chosen, self.raw):
            if frame.shape != self.layout.frame_shape:
                raise PixelDataError(f"decoded to {frame.shape}", frame=number, expected=str(self.layout.frame_shape))
            yield number, frame

    def frame(self, number: int, target: Array) -> None:
        """Decode one frame into `target`, which holds zeros."""
        try:
            self.guarded(self.items.frame(number), target)
        except PixelDataError as error:
            if error.frame is None:
                error.frame = number
            raise

    def guarded(self, source: memoryview | bytes, target: Array) -> None:
        """Decode a stream; whatever the library behind an adapter raises is a PixelDataError."""
        try:
            self._frame(source, target)
        except (DicoreError, MemoryError):
            raise
        except Exception as error:
            raise PixelDataError(
                f"{family(self.layout.transfer_syntax)} stream: {type(error).__name__}: {str(error)[:200]}"
            ) from error

    def _frame(self, source: memoryview | bytes, target: Array) -> None:
        layout = self.layout
        kind, stream = self.family, None
        if kind not in ("plain", "deflate", "rle"):
            stream = sniff(source)
            kind = stream.kind  # the stream knows better than the transfer syntax
            _check_stream(layout, stream, len(source))
        elif kind == "rle":
            _check_rle(layout, len(source))
        adapter = find(kind, stream, layout.transfer_syntax, self.codec)
        photometric = "" if self.raw or layout.samples != 3 else effective_photometric(layout, stream)
        whole = target.dtype.kind in "ui" and target.dtype.itemsize <= 4 and target.dtype.isnative
        into = adapter.into if whole and not photometric.startswith("YBR_") else None
        if into is not None and into(source, stream, layout, target) is not False:
            return
        decoded = adapter.decode(source, stream, layout)
        if decoded.shape != layout.frame_shape:
            if decoded.size != layout.values:
                raise PixelDataError(f"decoded to {decoded.shape}", expected=str(layout.frame_shape))
            decoded = decoded.reshape(layout.frame_shape)
        if photometric.startswith("YBR_"):
            bits = stream.precision if stream is not None and stream.precision else layout.bits_stored
            decoded = rgb_from_ybr(decoded, bits, photometric.startswith("YBR_PARTIAL"))
        _place(decoded, target, stream, layout)


def _check_stream(layout: FrameLayout, stream: Stream, size: int) -> None:
    """The stream's header against the data set: a decoder allocates by the former, we by the latter."""
    if (stream.rows, stream.columns) != (layout.rows, layout.columns):
        raise PixelDataError(
            f"the stream is {stream.rows} x {stream.columns} pixels", expected=f"{layout.rows} x {layout.columns}"
        )
    if stream.samples and stream.samples != layout.samples:
        raise PixelDataError(f"the stream has {stream.samples} components", expected=str(layout.samples))
    if stream.precision > max(8, layout.bits_allocated):
        raise PixelDataError(
            f"the stream has {stream.precision} bits a sample", expected=f"at most {layout.bits_allocated}"
        )
    if stream.tiles * 14 > size or stream.packets > size:  # SOT and SOD take 14 bytes, the header of a packet one
        raise PixelDataError(f"{stream.tiles} tiles and {stream.packets} packets in {size} bytes")


def _check_rle(layout: FrameLayout, size: int) -> None:
    """Two bytes of PackBits make at most 128."""
    stored = -(-layout.values * layout.bits_allocated // 8)
    if stored > 64 * max(0, size - 64):
        raise PixelDataError(f"{stored} bytes out of {size} run-length coded ones")


def _place(decoded: Array, target: Array, stream: Stream | None, layout: FrameLayout) -> None:
    """Copy into the caller's array, with the bits and the sign that the data set asks for."""
    if decoded.dtype.kind not in "ui" or target.dtype.kind not in "ui":
        np.copyto(target, decoded, casting="same_kind")
        return
    if decoded.dtype.itemsize == target.dtype.itemsize and decoded.dtype.kind != target.dtype.kind:
        decoded = decoded.view(target.dtype.newbyteorder("="))
    if decoded.dtype.itemsize > target.dtype.itemsize and decoded.size:
        limits = np.iinfo(target.dtype)
        if int(decoded.min()) < limits.min or int(decoded.max()) > limits.max:
            raise PixelDataError(f"decoded values do not fit {layout.bits_allocated} bits")
    np.copyto(target, decoded, casting="unsafe")
    # Which bits hold the sample: those of the stream's precision for JPEG 2000 and JPEG-LS, else Bits Stored.
    kind = stream.kind if stream is not None else ""
    if kind == "jpeg2000":
        if stream is None or stream.signed == layout.signed or not layout.photometric.startswith("MONOCHROME"):
            return
        bits = stream.precision
    elif kind == "jpegls":
        if stream is None or not layout.signed:
            return
        bits = stream.precision
    else:
        bits = layout.bits_stored
    _keep_bits(target, bits)


def _keep_bits(values: Array, bits: int) -> None:
    """Drop what lies above the lowest `bits` bits, in place; a signed dtype extends the sign."""
    shift = values.dtype.itemsize * 8 - bits
    if shift > 0 and bits > 1:
        np.left_shift(values, shift, out=values)
        np.right_shift(values, shift, out=values)


def _clean(frames: Array, layout: FrameLayout) -> Array:
    """The frames with nothing but Bits Stored: themselves when that is so already, which one look at them tells."""
    if layout.bits_stored == layout.bits_allocated or frames.dtype.kind == "f" or not frames.size:
        return frames
    kind = f"{frames.dtype.kind}{frames.dtype.itemsize}"
    if frames.dtype.isnative and frames.dtype.itemsize <= 2 and frames.flags.c_contiguous:
        if not kernels.stray(frames, kind, layout.bits_stored):
            return frames
        cleaned = np.empty(frames.shape, frames.dtype)
        kernels.keep(frames, cleaned, kind, layout.bits_stored)
        return cleaned
    high = (1 << layout.bits_stored - layout.signed) - 1
    if int(frames.max()) <= high and (not layout.signed or int(frames.min()) >= ~high):
        return frames
    frames = frames.copy()
    _keep_bits(frames, layout.bits_stored)
    return frames
