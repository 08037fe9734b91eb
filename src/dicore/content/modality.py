"""Stored values to the units of the modality (PS3.3 C.11.1): rescale slope and intercept, or a modality LUT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from dicore.content.elements import Elements, first, is_there, number
from dicore.content.geometry import FunctionalGroups
from dicore.pixel.lut import Lut, lut_from, to_modality

__all__ = ["Rescale", "rescale_of"]


@dataclass(frozen=True)
class Rescale:
    """How stored values of one frame become those of the modality, by a line or by a table."""

    slope: float = 1.0
    intercept: float = 0.0
    lut: Lut | None = None
    units: str = ""

    def into(self, stored: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Compute into a float array of the same shape; `stored` may be `out` itself."""
        to_modality(stored, out, self.slope, self.intercept, self.lut)


def rescale_of(ds: Elements, what: str, frame: int = 0, groups: FunctionalGroups | None = None) -> Rescale:
    """Of a data set, or of a frame of an enhanced one (Pixel Value Transformation). Raises DicomFormatError."""
    place: Any = ds
    if groups:
        found = groups.item(frame, "PixelValueTransformationSequence")
        place = ds if found is None else found
    lut = first(place, "ModalityLUTSequence")
    if lut is not None:
        return Rescale(lut=lut_from(lut, bool(ds.get("PixelRepresentation")), not lut.is_little_endian))
    if not is_there(place, "RescaleSlope") and not is_there(place, "RescaleIntercept"):
        return Rescale()
    units = place.get("RescaleType")
    return Rescale(
        number(place, "RescaleSlope", what, default=1.0),
        number(place, "RescaleIntercept", what, default=0.0),
        units=units if isinstance(units, str) else "",
    )
