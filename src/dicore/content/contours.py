"""Contours of an RT Structure Set (PS3.3 C.8.8.5, C.8.8.6), and polygons to masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Elements, is_there, items, need, number, text, texts, whole
from dicore.errors import DicomFormatError

__all__ = ["Contour", "Roi", "contours", "fill_polygon"]

#: Contour Geometric Types that enclose an area.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")


@dataclass(frozen=True)
class Contour:
    """One contour: `points` is float64 (N, 3) in LPS millimetres, `type` its Contour Geometric Type ('CLOSED_PLANAR',
    'POINT', 'OPEN_PLANAR', ...), `images` the SOP Instance UIDs of the images that it was drawn on."""

    points: npt.NDArray[np.float64] = field(repr=False)
    type: str
    images: tuple[str, ...]
    number: int | None

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Roi:
    """A region of interest. `colour` is (red, green, blue) or None; `interpreted_type` is that of the RT ROI
    Observations ('PTV', 'ORGAN', ...), '' when there is none. A region may have no contours, and one that has contours
    but is not defined by the file no name."""

    number: int
    name: str
    description: str
    colour: tuple[int, int, int] | None
    interpreted_type: str
    algorithm: str
    frame_of_reference: str
    contours: tuple[Contour, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.contours)


def contours(ds: Elements) -> list[Roi]:
    """The regions of an RT Structure Set by ROI Number, each with its contours.

    Raises MissingElement when this is no structure set, DicomFormatError for contour data that is no list of points.
    """
    need(ds, "StructureSetROISequence", "contours", "this is no RT Structure Set")
    types = {
        item.get("ReferencedROINumber"): text(item, "RTROIInterpretedType")
        for item in items(ds, "RTROIObservationsSequence")
    }
    drawn: dict[int, Any] = {}
    for place, item in enumerate(items(ds, "ROIContourSequence")):
        drawn.setdefault(whole(item, "ReferencedROINumber", f"contours, item {place}"), item)
    named: dict[int, Any] = {}
    for place, item in enumerate(items(ds, "StructureSetROISequence")):
        named[whole(item, "ROINumber", f"contours, region {place}")] = item
    found = []
    for roi in sorted(named.keys() | drawn.keys()):
        at = drawn.get(roi)
        item = named.get(roi, {})  # contours of a region that is not defined have no name
        rgb = [] if at is None or not is_there(at, "ROIDisplayColor") else at.get("ROIDisplayColor")
        listed = [] if at is None else items(at, "ContourSequence")
        found.append(
            Roi(
                number=roi,
                name=text(item, "ROIName"),
                description=text(item, "ROIDescription"),
                colour=(int(rgb[0]), int(rgb[1]), int(rgb[2])) if isinstance(rgb, list) and len(rgb) == 3 else None,
                interpreted_type=types.get(roi, ""),
                algorithm=text(item, "ROIGenerationAlgorithm"),
                frame_of_reference=text(item, "ReferencedFrameOfReferenceUID"),
                contours=tuple(_contour(c, f"contours of region {roi}, contour {n}") for n, c in enumerate(listed)),
            )
        )
    return found


def _contour(item: Any, what: str) -> Contour:
    values = need(item, "ContourData", what)
    try:
        flat = np.array(values if isinstance(values, list) else [values], np.float64)
    except (TypeError, ValueError):
        flat = np.array([np.nan])
    if len(flat) % 3 or not np.isfinite(flat).all():
        raise DicomFormatError(
            f"{what}: {len(flat)} numbers", path=item.path, tag_path="3006,0050", expected="x\\y\\z of each point"
        )
    if is_there(item, "NumberOfContourPoints") and number(item, "NumberOfContourPoints", what) != len(flat) // 3:
        raise DicomFormatError(
            f"{what}: {len(flat) // 3} points",
            path=item.path,
            tag_path="3006,0050",
            expected=f"{item.get('NumberOfContourPoints')}, as Number of Contour Points says",
        )
    uids = [text(image, "ReferencedSOPInstanceUID") for image in items(item, "ContourImageSequence")]
    return Contour(
        points=flat.reshape(-1, 3),
        type=(texts(item, "ContourGeometricType") or ("",))[0].upper(),
        images=tuple(uids),
        number=whole(item, "ContourNumber", what) if is_there(item, "ContourNumber") else None,
    )


def fill_polygon(mask: npt.NDArray[np.bool_], polygon: npt.NDArray[np.float64]) -> None:
    """Toggle in `mask` (rows, columns) the pixels whose centre lies inside `polygon` (N, 2), points (row, column).

    Even-odd: a polygon that crosses itself, or a second one inside the first, makes a hole. A centre that is exactly on
    an edge belongs to the polygon at the left and upper edges only, so that polygons side by side share no pixel.
    """
    rows, columns = mask.shape
    if len(polygon) < 3:
        return
    row, column = polygon[:, 0], polygon[:, 1]
    next_row, next_column = np.roll(row, -1), np.roll(column, -1)
    low, high = np.minimum(row, next_row), np.maximum(row, next_row)
    first = np.clip(np.ceil(low), 0, rows).astype(np.int64)  # lines of centres in [low, high)
    last = np.clip(np.ceil(high), 0, rows).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(polygon)), count)
    if not len(edge):
        return
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (next_column - column)[edge] / (next_row - row)[edge]
    crossing = column[edge] + (line - row[edge]) * slope
    at = np.clip(np.ceil(crossing), 0, columns).astype(np.int64)
    top, bottom = int(line.min()), int(line.max()) + 1
    toggles = np.bincount((line - top) * (columns + 1) + at, minlength=(bottom - top) * (columns + 1))
    inside = np.cumsum(toggles.reshape(bottom - top, columns + 1)[:, :columns], axis=1) & 1
    mask[top:bottom] ^= inside.astype(bool)
