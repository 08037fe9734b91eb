"""Lookup tables as data sets hold them: Modality and VOI LUTs (PS3.3 C.11), palettes, also segmented (C.7.9)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dicore._native import kernels
from dicore.errors import PixelDataError

__all__ = [
    "Attributes",
    "Lut",
    "Palette",
    "expand_segments",
    "item_of",
    "items_of",
    "lut_from",
    "palette_from",
    "patterns",
    "to_modality",
]

Array = npt.NDArray[Any]
_RESCALED = ("u1", "i1", "u2", "i2", "u4", "i4", "f4")  # that the kernel takes
_MOST = 65536  # entries; a descriptor cannot say more


class Attributes(Protocol):
    """What is read of a data set or a sequence item: values by keyword or tag, None where there is none."""

    def get(self, name: Any, default: Any = None) -> Any:
        """The element's value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lut:
    """A table of `values` (float64, as stored) of `bits` bits each for inputs from `first` on."""

    first: int
    values: npt.NDArray[np.float64]
    bits: int
    explanation: str = ""

    def __call__(self, x: Array) -> npt.NDArray[np.float64]:
        """The entries for `x`, any shape; what lies outside takes the first or the last."""
        index = np.clip(np.rint(x) - self.first, 0, len(self.values) - 1)
        entries: npt.NDArray[np.float64] = self.values[np.nan_to_num(index).astype(np.intp)]
        return entries


@dataclasses.dataclass(frozen=True, slots=True)
class Palette:
    """Colours (n, 3) of uint8 for stored values from `first` on; `wide`: the 16-bit entries, where there are."""

    first: int
    colours: npt.NDArray[np.uint8]
    wide: npt.NDArray[np.uint16] | None = None

    def table(self, dtype: np.dtype[Any]) -> npt.NDArray[np.uint8]:
        """(256 or 65536, 4) of uint8: the colour of every bit pattern of an 8- or 16-bit dtype, and a byte not used."""
        index = np.clip(patterns(dtype).astype(np.int64) - self.first, 0, len(self.colours) - 1)
        table = np.zeros((len(index), 4), np.uint8)
        table[:, :3] = self.colours[index]
        return table


def patterns(dtype: np.dtype[Any]) -> Array:
    """All values of an 8- or 16-bit integer dtype, in the order of their bit patterns."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return np.arange(1 << 8 * dtype.itemsize, dtype=unsigned).view(dtype.newbyteorder("="))


def item_of(sequence: Any, number: int = 0) -> Attributes | None:
    """Item `number` of a sequence's value, or None."""
    try:
        item = None if sequence is None else sequence[number]
    except (IndexError, TypeError, KeyError):
        return None
    return item if hasattr(item, "get") else None  # the VR of a file may say that it is something else


def items_of(sequence: Any) -> list[Attributes]:
    """The items of a sequence's value; none when there is no sequence, whatever VR the file gives it."""
    return [item for item in sequence if hasattr(item, "get")] if hasattr(sequence, "__iter__") else []


def lut_from(item: Attributes, signed: bool, big_endian: bool) -> Lut:
    """A Modality, VOI or Presentation LUT. `signed`: its input is, which tells the first mapped value's sign."""
    entries, first, bits = _descriptor(item.get("LUTDescriptor"), signed, "LUT Descriptor")
    data = item.get("LUTData")
    if isinstance(data, bytes | bytearray | memoryview):
        values = _unpacked(bytes(data), entries, big_endian)
    else:
        values = _words(data, "LUT Data")
    if not len(values):
        raise PixelDataError("a lookup table without LUT Data", tag_path="0028,3006")
    if not 1 <= bits <= 16:
        bits = 16
    if int(values.max()) >= 1 << bits:  # the descriptor lies: what the table holds counts
        bits = int(values.max()).bit_length()
    text = item.get("LUTExplanation")
    return Lut(first, values[:entries].astype(np.float64), bits, str(text or ""))


def to_modality(stored: Array, out: Array, slope: float = 1.0, intercept: float = 0.0, lut: Lut | None = None) -> None:
    """Stored values to those of the modality (PS3.3 C.11.1): in double, rounded once, into a float array like it."""
    dtype = stored.dtype
    native = dtype.isnative
    if out.dtype == np.float32 and native and lut is None and f"{dtype.kind}{dtype.itemsize}" in _RESCALED:
        whole = out if out.flags.c_contiguous else np.empty(out.shape, np.float32)
        kernels.rescale(np.ascontiguousarray(stored), whole, f"{dtype.kind}{dtype.itemsize}", slope, intercept)
    elif out.dtype == np.float32 and native and lut is not None and dtype.kind in "iu" and dtype.itemsize == 2:
        whole = out if out.flags.c_contiguous else np.empty(out.shape, np.float32)
        table = lut(patterns(dtype).astype(np.float64)).astype(np.float32)
        kernels.look_up(np.ascontiguousarray(stored), table, whole, 2, 4)
    else:
        values = stored.astype(np.float64)
        with np.errstate(over="ignore"):
            out[...] = lut(values) if lut is not None else values * slope + intercept
        return
    if whole is not out:
        out[...] = whole


def palette_from(ds: Attributes, signed: bool, big_endian: bool) -> Palette:
    """The Palette Color Lookup Table, discrete or segmented. PixelDataError when it is missing or makes no sense."""
    columns: list[Array] = []
    first = 0
    wide = False
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        entries, first, bits = _descriptor(ds.get(f"{name}Descriptor"), signed, f"{name}Descriptor")
        data = ds.get(f"{name}Data")
        if data is not None and np.size(data):
            if isinstance(data, bytes | bytearray | memoryview):
                values = _unpacked(bytes(data), entries, big_endian)
                wide |= len(data) >= 2 * entries
            else:
                values = _words(data, f"{name}Data")
                wide = True
        else:
            raw = ds.get(f"Segmented{name}Data")
            if raw is None or not np.size(raw):
                raise PixelDataError(f"{name}Data is missing", expected="it, or a segmented one")
            if isinstance(raw, bytes | bytearray | memoryview):
                kind = "u1" if bits == 8 else ">u2" if big_endian else "<u2"
                raw = np.frombuffer(bytes(raw)[: len(raw) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], kind)
            values = expand_segments(_words(raw, f"Segmented{name}Data"), bits == 8, big_endian)
            wide |= bits > 8
        if not len(values):
            raise PixelDataError(f"{name}Data is empty")
        columns.append(values[:entries])
    length = min(len(column) for column in columns)
    table = np.stack([column[:length] for column in columns], axis=1)
    if wide and int(table.max()) > 255:
        return Palette(first, (table >> 8).astype(np.uint8), table.astype(np.uint16))
    return Palette(first, (table & 255).astype(np.uint8))  # 8-bit entries, some of them in 16 bits each


def expand_segments(data: Array, in_bytes: bool, big_endian: bool = False) -> npt.NDArray[np.int64]:
    """Undo PS3.3 C.7.9.2: discrete, linear and indirect segments; at most 65,536 entries come out.

    `data` are the bytes (`in_bytes`) or the words of the Segmented Lookup Table Data. An indirect segment's offset
    counts them from the start. PixelDataError for anything that no table can begin with or refer to.
    """
    out: list[int] = []

    def segments(at: int, count: int, indirect: bool) -> Iterator[None]:
        done = 0
        while at + 1 < len(data) and done < count and len(out) < _MOST:
            kind, length = int(data[at]), int(data[at + 1])
            at += 2
            if kind == 0:
                out.extend(int(v) for v in data[at : at + length])
                at += length
            elif kind == 1:
                if not out or at >= len(data):
                    raise PixelDataError("a palette's linear segment without a start or an end")
                start, end = out[-1], int(data[at])
                steps = np.arange(1, length + 1, dtype=np.float64)
                out.extend(int(v) for v in np.rint(start + (end - start) * steps / max(1, length)))
                at += 1
            elif kind == 2 and not indirect:
                need = 4 if in_bytes else 2
                if at + need > len(data):
                    raise PixelDataError("a palette's indirect segment is cut short")
                parts = [int(v) for v in data[at : at + need]]
                if in_bytes and big_endian:  # the words of the OW were swapped, so are the bytes within
                    parts = [parts[1], parts[0], parts[3], parts[2]]
                where = sum(part << (8 if in_bytes else 16) * i for i, part in enumerate(parts))
                at += need
                if where >= len(data):
                    raise PixelDataError("a palette's indirect segment leads out of the table")
                yield from segments(where, length, True)
            else:
                raise PixelDataError(f"a palette segment of type {kind}", expected="0, 1 or 2")
            done += 1
            yield

    for _ in segments(0, _MOST, False):
        pass
    return np.asarray(out[:_MOST], np.int64)


def _descriptor(value: Any, signed: bool, what: str) -> tuple[int, int, int]:
    try:
        entries, first, bits = (int(v) for v in value)
    except (TypeError, ValueError):
        raise PixelDataError(f"{what} is {value!r:.40}", expected="three numbers") from None
    entries = (entries & 0xFFFF) or _MOST
    if signed and first > 0x7FFF:
        first -= 0x10000
    return entries, first, bits


def _words(value: Any, what: str) -> npt.NDArray[np.int64]:
    """Table data that came as numbers, 16 bits of each."""
    try:
        return np.atleast_1d(np.asarray([] if value is None else value, np.int64)) & 0xFFFF
    except (TypeError, ValueError, OverflowError):
        raise PixelDataError(f"{what} is {value!r:.40}", expected="numbers") from None


def _unpacked(data: bytes, entries: int, big_endian: bool) -> Array:
    """Entries of 16 bits; of 8 when the data is too short for that."""
    if len(data) >= 2 * entries or (len(data) % 2 == 0 and len(data) > entries + 1):
        return np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2").astype(np.int64)
    values = np.frombuffer(data, np.uint8)
    if big_endian and len(values) % 2 == 0:  # an OW's words are swapped, two entries each
        values = values.reshape(-1, 2)[:, ::-1].reshape(-1)
    return values.astype(np.int64)
