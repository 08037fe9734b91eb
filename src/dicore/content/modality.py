"""Stored values to the units of the modality (PS3.3 C.11.1): rescale slope and intercept, or a modality LUT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Elements, first, is_there, number, numbers, wrong
from dicore.content.geometry import FunctionalGroups

__all__ = ["Rescale", "rescale_of"]


@dataclass(frozen=True)
class Rescale:
    """How stored values of one frame become those of the modality, by a line or by a table."""

    slope: float = 1.0
    intercept: float = 0.0
    table: npt.NDArray[Any] | None = None
    first: int = 0
    units: str = ""

    def into(self, stored: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Compute into a float array of the same shape; `stored` may be `out` itself."""
        if self.table is not None:
            at = np.clip(stored.astype(np.int64) - self.first, 0, len(self.table) - 1)
            out[...] = self.table[at]
            return
        # in double and then rounded once: a slope in single precision is off in the last digit
        np.multiply(stored, self.slope, out=out, dtype=np.float64, casting="same_kind")
        if self.intercept:
            if float(self.slope).is_integer() and float(self.intercept).is_integer():
                np.add(out, out.dtype.type(self.intercept), out=out)
            else:
                out[...] = stored * np.float64(self.slope) + self.intercept


def rescale_of(ds: Elements, what: str, frame: int = 0, groups: FunctionalGroups | None = None) -> Rescale:
    """Of a data set, or of a frame of an enhanced one (Pixel Value Transformation). Raises DicomFormatError."""
    place: Any = ds
    if groups:
        found = groups.item(frame, "PixelValueTransformationSequence")
        place = ds if found is None else found
    lut = first(place, "ModalityLUTSequence")
    if lut is not None:
        entries, start, bits = (int(v) for v in numbers(lut, "LUTDescriptor", 3, what))
        entries, start = entries or 65536, start if start < 32768 or not _signed(ds) else start - 65536
        if bits not in (8, 16):
            raise wrong(lut, "LUTDescriptor", what, "8 or 16 bits")
        raw = bytes(lut["LUTData"].raw) if "LUTData" in lut else b""
        order = "<" if lut.is_little_endian else ">"
        table = np.frombuffer(raw, np.uint8 if bits == 8 and len(raw) < 2 * entries else f"{order}u2")
        if len(table) < entries:
            raise wrong(lut, "LUTDescriptor", what, f"a table with {entries} entries")
        return Rescale(table=table[:entries].astype(np.float64), first=start)
    if not is_there(place, "RescaleSlope") and not is_there(place, "RescaleIntercept"):
        return Rescale()
    units = place.get("RescaleType")
    return Rescale(
        number(place, "RescaleSlope", what, default=1.0),
        number(place, "RescaleIntercept", what, default=0.0),
        units=units if isinstance(units, str) else "",
    )


def _signed(ds: Elements) -> bool:
    return bool(ds.get("PixelRepresentation"))
