"""Dose grids (PS3.3 C.8.8.3) in Gy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Elements, need, number, text, wrong
from dicore.content.geometry import LPS_TO_RAS, Plane, affine, dose_planes

__all__ = ["Dose", "dose"]


@dataclass(frozen=True)
class Dose:
    """A dose grid.

    `values` is float64 (frames, rows, columns), always with the frame axis, in `units`: 'GY', or 'RELATIVE' to what the
    plan says. `positions` (frames, 3) are the centres of the first pixels in LPS millimetres, `distances` (frames,)
    those of the planes along the normal, from the first; they need not be equidistant.
    """

    values: npt.NDArray[np.float64] = field(repr=False)
    units: str
    type: str
    summation: str
    scaling: float
    planes: tuple[Plane, ...] = field(repr=False)

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """(frames, 3) in LPS millimetres."""
        return np.array([plane.position for plane in self.planes])

    @property
    def distances(self) -> npt.NDArray[np.float64]:
        """(frames,) millimetres along the normal from the first plane."""
        return np.array([plane.distance for plane in self.planes]) - self.planes[0].distance

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(between frames, rows, columns) in millimetres; the first is the median when they are not equidistant."""
        between = np.abs(np.diff(self.distances))
        return (float(np.median(between)) if len(between) else 0.0, *self.planes[0].spacing)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """(4, 4): [frame, row, column, 1] to LPS millimetres. Raises ValueError when planes are not equidistant."""
        steps = np.diff(self.positions, axis=0)
        if len(steps) and not np.allclose(steps, steps[0], atol=0.01):
            raise ValueError("the planes of this dose grid are not equidistant: use .positions")
        step = steps.mean(axis=0) if len(steps) else self.planes[0].normal * (self.planes[0].thickness or 1.0)
        return affine(self.planes[0], step)

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """`affine` in RAS millimetres, as nibabel has it."""
        return LPS_TO_RAS @ self.affine


def dose(ds: Elements, threads: int = 1) -> Dose:
    """The dose grid of an RT Dose: Pixel Data times Dose Grid Scaling.

    float64, since 32-bit integers times a scaling do not fit a float32. Raises MissingElement (Dose Grid Scaling,
    Grid Frame Offset Vector of a multi-frame grid, ...), DicomFormatError, PixelDataError.
    """
    what = "dose"
    units = str(need(ds, "DoseUnits", what, "this is no dose grid, or its numbers have no unit")).strip().upper()
    if units not in ("GY", "RELATIVE"):
        raise wrong(ds, "DoseUnits", what, "GY or RELATIVE")
    scaling = number(ds, "DoseGridScaling", what, "stored values cannot be made doses without it")
    stored: Any = ds.pixels(threads=threads)
    if stored.ndim == 2:
        stored = stored[None]
    return Dose(
        values=np.multiply(stored, scaling, dtype=np.float64),
        units=units,
        type=text(ds, "DoseType"),
        summation=text(ds, "DoseSummationType"),
        scaling=scaling,
        planes=tuple(dose_planes(ds, len(stored), what)),
    )
