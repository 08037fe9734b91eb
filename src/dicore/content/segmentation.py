"""Segmentations (PS3.3 C.8.20): each segment with its codes, frames as arrays, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Code, Elements, code, first, is_there, items, need, text, texts, whole, wrong
from dicore.content.geometry import FunctionalGroups, Plane
from dicore.errors import DicomFormatError

__all__ = ["Segment", "SourceImage", "segments"]


@dataclass(frozen=True)
class SourceImage:
    """An image that a frame was made from: its SOP Instance UID and which frames of it, counted from 1 as in the file
    (none: all)."""

    sop_instance_uid: str
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Segment:
    """One segment. `frames` are the numbers of its frames in Pixel Data (from 0), and `array`, `planes` and `sources`
    follow their order.

    `kind` is 'BINARY', 'FRACTIONAL' or 'LABELMAP'; `fractional_type` 'PROBABILITY' or 'OCCUPANCY'. `colour` is the
    recommended CIELab value as (L*, a*, b*).
    """

    number: int
    label: str
    description: str
    category: Code | None
    type: Code | None
    algorithm: str
    algorithm_name: str
    tracking_id: str
    tracking_uid: str
    colour: tuple[float, float, float] | None
    kind: str
    fractional_type: str
    frames: tuple[int, ...] = field(repr=False)
    planes: tuple[Plane | None, ...] = field(repr=False)
    sources: tuple[tuple[SourceImage, ...], ...] = field(repr=False)
    _ds: Any = field(repr=False, compare=False)
    _maximum: int = field(repr=False, default=1)

    @property
    def array(self) -> npt.NDArray[Any]:
        """(frames, rows, columns): bool, or float32 from 0 to 1 when fractional. Decoded at each call; PixelDataError.

        A segment without frames is an array without frames.
        """
        return self.pixels()

    def pixels(self, threads: int = 1) -> npt.NDArray[Any]:
        """`array`, by several threads."""
        if not self.frames:
            shape = (0, int(self._ds.get("Rows")), int(self._ds.get("Columns")))
            return np.zeros(shape, np.float32 if self.kind == "FRACTIONAL" else bool)
        stored: npt.NDArray[Any] = self._ds.pixels(list(self.frames), threads=threads)
        if self.kind == "LABELMAP":
            return np.asarray(stored == self.number, bool)
        if self.kind == "BINARY":
            return np.asarray(stored != 0, bool)
        shares: npt.NDArray[Any] = np.divide(stored, np.float32(self._maximum), dtype=np.float32)
        return shares

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """(frames, 3): the centre of each frame's first pixel in LPS millimetres, NaN where the file does not tell."""
        nowhere = np.full(3, np.nan)
        listed = [nowhere if plane is None else plane.position for plane in self.planes]
        return np.array(listed).reshape(-1, 3)


def segments(ds: Elements) -> list[Segment]:
    """The segments of a segmentation by Segment Number.

    Raises MissingElement when this is no segmentation or a frame does not say which segment it shows, DicomFormatError
    for what C.8.20 does not allow. In a label map every frame belongs to every segment.
    """
    what = "segments"
    described = items(ds, "SegmentSequence")
    kind = str(need(ds, "SegmentationType", what, "this is no segmentation")).strip().upper()
    need(ds, "SegmentSequence", what)
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise wrong(ds, "SegmentationType", what, "BINARY, FRACTIONAL or LABELMAP")
    maximum = whole(ds, "MaximumFractionalValue", what) if kind == "FRACTIONAL" else 1
    if maximum < 1:
        raise wrong(ds, "MaximumFractionalValue", what, "at least 1")
    groups = FunctionalGroups(ds)
    count = whole(ds, "NumberOfFrames", what, default=1)
    if 0 < len(groups.per_frame) < count:  # more are of a file that was cut: the first ones count
        raise DicomFormatError(
            f"{what}: {len(groups.per_frame)} items for the frames",
            path=ds.path,
            tag_path="5200,9230",
            expected=f"{count}",
        )
    by_segment: dict[int, list[int]] = {}
    if kind != "LABELMAP":
        for frame in range(count):
            at = groups.item(frame, "SegmentIdentificationSequence")
            if at is None:
                need(ds, "SegmentIdentificationSequence", f"{what}, frame {frame}", "it says which segment this is")
            by_segment.setdefault(whole(at, "ReferencedSegmentNumber", f"{what}, frame {frame}"), []).append(frame)
    planes = [groups.plane(frame, f"{what}, frame {frame}") for frame in range(count)]
    sources = [_sources(groups, frame) for frame in range(count)]
    found = []
    for place, item in enumerate(described):
        number = whole(item, "SegmentNumber", f"{what}, item {place}")
        frames = range(count) if kind == "LABELMAP" else by_segment.pop(number, [])
        lab = item.get("RecommendedDisplayCIELabValue")
        found.append(
            Segment(
                number=number,
                label=text(item, "SegmentLabel"),
                description=text(item, "SegmentDescription"),
                category=code(first(item, "SegmentedPropertyCategoryCodeSequence")),
                type=code(first(item, "SegmentedPropertyTypeCodeSequence")),
                algorithm=text(item, "SegmentAlgorithmType"),
                algorithm_name=text(item, "SegmentAlgorithmName"),
                tracking_id=text(item, "TrackingID"),
                tracking_uid=text(item, "TrackingUID"),
                colour=_cielab(lab) if isinstance(lab, list) and len(lab) == 3 else None,
                kind=kind,
                fractional_type=text(ds, "SegmentationFractionalType"),
                frames=tuple(frames),
                planes=tuple(planes[frame] for frame in frames),
                sources=tuple(sources[frame] for frame in frames),
                _ds=ds,
                _maximum=maximum,
            )
        )
    if by_segment:
        raise DicomFormatError(
            f"{what}: frame {next(iter(by_segment.values()))[0]} shows segment {next(iter(by_segment))}",
            path=ds.path,
            tag_path="0062,0002",
            expected="a segment that Segment Sequence describes",
        )
    return sorted(found, key=lambda segment: segment.number)


def _sources(groups: FunctionalGroups, frame: int) -> tuple[SourceImage, ...]:
    found = []
    for derivation in groups.items(frame, "DerivationImageSequence"):
        for source in items(derivation, "SourceImageSequence"):
            numbers = texts(source, "ReferencedFrameNumber") if is_there(source, "ReferencedFrameNumber") else ()
            found.append(SourceImage(text(source, "ReferencedSOPInstanceUID"), tuple(int(n) for n in numbers)))
    return tuple(found)


def _cielab(stored: list[Any]) -> tuple[float, float, float]:
    """PS3.3 C.10.7.1.1: 16 bits over 0..100 and -128..127."""
    return stored[0] / 65535 * 100, stored[1] / 65535 * 255 - 128, stored[2] / 65535 * 255 - 128
