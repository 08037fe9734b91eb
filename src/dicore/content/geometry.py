"""Where frames lie in the patient: planes of single frames (PS3.3 C.7.6.2), of functional groups (C.7.6.16), of dose
grids, and affines. All in millimetres, in the patient's coordinates: x to the left, y to the back, z to the head (LPS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Elements, first, is_there, items, numbers, wrong

__all__ = ["LPS_TO_RAS", "FunctionalGroups", "Plane", "affine", "dose_planes", "plane_of"]

Floats = npt.NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Plane:
    """The plane of one frame.

    `position` (3,) is the centre of the first pixel; `row` and `column` (3,) are unit vectors along increasing row and
    column index (the latter is the first half of Image Orientation (Patient)); `spacing` is (between rows, between
    columns).
    """

    position: Floats
    row: Floats
    column: Floats
    spacing: tuple[float, float]
    thickness: float | None = None

    @property
    def normal(self) -> Floats:
        """(3,): the unit vector for which column, row, normal are right-handed."""
        return np.cross(self.column, self.row)

    @property
    def distance(self) -> float:
        """Of the plane from the origin, along the normal."""
        return float(self.normal @ self.position)

    def parallel(self, other: Plane, tolerance: float = 1e-3) -> bool:
        """True when both lie alike, to `tolerance` in each direction cosine, with the same pixel spacing."""
        return (
            np.allclose(self.row, other.row, rtol=0, atol=tolerance)
            and np.allclose(self.column, other.column, rtol=0, atol=tolerance)
            and np.allclose(self.spacing, other.spacing, rtol=1e-3, atol=0)
        )


class FunctionalGroups:
    """The functional group macros of an enhanced multi-frame data set (PS3.3 C.7.6.16): per frame, else shared."""

    def __init__(self, ds: Elements) -> None:
        self.ds = ds
        self.shared = first(ds, "SharedFunctionalGroupsSequence")
        self.per_frame = items(ds, "PerFrameFunctionalGroupsSequence")

    def __bool__(self) -> bool:
        return self.shared is not None or bool(self.per_frame)

    def item(self, frame: int, keyword: str) -> Any:
        """The first item of a macro's sequence for a frame, or None."""
        found = first(self.per_frame[frame], keyword) if frame < len(self.per_frame) else None
        return found if found is not None or self.shared is None else first(self.shared, keyword)

    def items(self, frame: int, keyword: str) -> Sequence[Any]:
        """All items of a macro's sequence for a frame."""
        found = items(self.per_frame[frame], keyword) if frame < len(self.per_frame) else ()
        return found if len(found) or self.shared is None else items(self.shared, keyword)

    def plane(self, frame: int, what: str) -> Plane | None:
        """The plane of a frame; None when it has no position or orientation. Raises DicomFormatError."""
        position = self.item(frame, "PlanePositionSequence")
        orientation = self.item(frame, "PlaneOrientationSequence")
        measures = self.item(frame, "PixelMeasuresSequence")
        if position is None or orientation is None or not is_there(position, "ImagePositionPatient"):
            return None
        return _plane(position, orientation, measures if measures is not None else orientation, what)


def plane_of(ds: Elements, what: str, *, spacing: bool = True) -> Plane | None:
    """The plane of a single-frame image; None when it has no position or orientation. Raises DicomFormatError."""
    if not is_there(ds, "ImagePositionPatient") or not is_there(ds, "ImageOrientationPatient"):
        return None
    return _plane(ds, ds, ds if spacing else None, what)


def _plane(position: Any, orientation: Any, measures: Any, what: str) -> Plane:
    cosines = np.array(numbers(orientation, "ImageOrientationPatient", 6, what))
    column, row = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(column), np.linalg.norm(row)
    if not (np.allclose(lengths, 1, atol=1e-2) and abs(column @ row) < 1e-2):
        raise wrong(orientation, "ImageOrientationPatient", what, "two unit vectors at right angles (PS3.3 C.7.6.2)")
    column = column / lengths[0]
    row = row / lengths[1]
    space, thickness = (1.0, 1.0), None
    if measures is not None:
        between = numbers(measures, "PixelSpacing", 2, what, "without it nothing can be measured")
        if min(between) <= 0:
            raise wrong(measures, "PixelSpacing", what, "positive millimetres")
        space = (between[0], between[1])
        if is_there(measures, "SliceThickness"):
            thickness = numbers(measures, "SliceThickness", 1, what)[0]
    return Plane(np.array(numbers(position, "ImagePositionPatient", 3, what)), row, column, space, thickness)


def affine(plane: Plane, step: Floats) -> Floats:
    """(4, 4): [slice, row, column, 1], the indices of an array, to LPS millimetres; `step` is from slice to slice."""
    found = np.eye(4)
    found[:3, 0] = step
    found[:3, 1] = plane.row * plane.spacing[0]
    found[:3, 2] = plane.column * plane.spacing[1]
    found[:3, 3] = plane.position
    return found


def dose_planes(ds: Elements, frames: int, what: str) -> list[Plane]:
    """The planes of a dose grid (PS3.3 C.8.8.3.2), in the order of the frames.

    Grid Frame Offset Vector is relative to Image Position (Patient), along the normal, when it begins with 0; it is the
    patient's z itself when it begins with the z of the position and the grid is axial. Anything else is an error.
    """
    numbers(ds, "ImagePositionPatient", 3, what)
    numbers(ds, "ImageOrientationPatient", 6, what)
    base = plane_of(ds, what)
    assert base is not None
    if frames == 1:  # a single plane lies at its position, whatever the vector says of others
        return [base]
    offsets = np.array(numbers(ds, "GridFrameOffsetVector", frames, what, "it says where each frame lies"))
    if offsets[0] != 0:
        axial = np.allclose(base.normal[:2], 0, atol=1e-4)
        if not axial or abs(offsets[0] - base.position[2]) > 1e-3:
            raise wrong(ds, "GridFrameOffsetVector", what, "a vector that begins with 0, or with z of an axial grid")
        offsets = (offsets - base.position[2]) * np.sign(base.normal[2])
    return [
        Plane(base.position + base.normal * offset, base.row, base.column, base.spacing, base.thickness)
        for offset in offsets
    ]
