"""`read_series`: the images of a series as one volume, in the order in which they lie in the patient.

    series = dicore.read_series("ct_folder/")
    series.volume          # float32 (slices, rows, columns), HU for CT
    series.affine          # (4, 4): [slice, row, column, 1] -> LPS millimetres; affine_ras for nibabel
    series.spacing         # (between slices, rows, columns) in millimetres
    series.gaps, series.duplicates, series.excluded, series.warnings

Positions come from Image Position and Orientation (Patient) (PS3.3 C.7.6.2) or from the functional groups of enhanced
multi-frame images (C.7.6.16), never from Instance Number or file names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dicore.content.contours import CLOSED, Contour, Roi, fill_polygon
from dicore.content.elements import first, is_there, text
from dicore.content.geometry import LPS_TO_RAS, FunctionalGroups, Plane, affine, dose_planes, plane_of
from dicore.content.modality import Rescale, rescale_of
from dicore.content.suv import factor
from dicore.dataset import Dataset, read
from dicore.errors import DicomFormatError, DicoreError, PixelDataError

__all__ = ["Duplicate", "Excluded", "Gap", "Series", "Slice", "read_series", "split_series"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_SAME_PLACE = 1e-2  # millimetres along the normal within which two frames show the same slice
_UNEVEN = 0.02  # part of the slice distance by which distances may differ and count as equal


class Excluded(NamedTuple):
    """A file or frame that is not in the volume, and why."""

    source: str
    reason: str


class Gap(NamedTuple):
    """Slices that are missing behind slice `after`: `distance` is how far away the next one is (mm), `missing` how
    many slices would fit."""

    after: int
    distance: float
    missing: int


class Duplicate(NamedTuple):
    """Two frames at one place, of which `kept` is in the volume; `identical` when they are one SOP instance."""

    kept: str
    dropped: str
    identical: bool


@dataclass(frozen=True)
class Slice:
    """One frame of the volume: of which data set, which frame of it, and where it lies."""

    dataset: Dataset = field(repr=False)
    frame: int
    frames: int  # of the data set in all
    plane: Plane
    rescale: Rescale = field(repr=False)
    dimensions: dict[str, Any] = field(repr=False, compare=False)

    @property
    def source(self) -> str:
        """What messages name: the path, else the SOP Instance UID; with the frame of a multi-frame image."""
        return _name(self.dataset) + (f"[{self.frame}]" if self.frames > 1 else "")


class Series:
    """A volume. Headers are read, frames are decoded when `volume` is first asked for, or by `read`.

    `slices` are the frames in the order of the volume: along the normal of the plane (right-handed with columns and
    rows); for a 4-D series all slices of the first point, then those of the second, ... `dimension` is then the keyword
    of what differs ('TemporalPositionIdentifier', 'EchoTime', 'DiffusionBValue') and `dimension_values` its values.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        *,
        dimension: str | None = None,
        dimension_values: Sequence[Any] = (),
        duplicates: Sequence[Duplicate] = (),
        excluded: Sequence[Excluded] = (),
        threads: int = 1,
    ) -> None:
        self.slices = tuple(slices)
        self.dimension = dimension
        self.dimension_values = tuple(dimension_values)
        self.duplicates = tuple(duplicates)
        self.excluded = tuple(excluded)
        self.threads = threads
        self._stack = self.slices[: len(self.slices) // max(1, len(self.dimension_values))]

    # -- what is in it -------------------------------------------------------------------------------------------------

    @cached_property
    def datasets(self) -> list[Dataset]:
        """The data sets in the order of the volume; a multi-frame one once."""
        return list({id(s.dataset): s.dataset for s in self.slices}.values())

    @property
    def paths(self) -> list[Any]:
        """Their paths, in the same order; None for what did not come from a path."""
        return [dataset.path for dataset in self.datasets]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `volume`: (points?, slices, rows, columns[, samples])."""
        points = (len(self.dimension_values),) if self.dimension_values else ()
        return (*points, len(self._stack), *self._layout.frame_shape)

    def __len__(self) -> int:
        """Slices of the volume (of one point of a 4-D one)."""
        return len(self._stack)

    @cached_property
    def _layout(self) -> Any:
        return self.slices[0].dataset.pixel_layout()

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return text(self.slices[0].dataset, "SeriesInstanceUID")

    @property
    def modality(self) -> str:
        return text(self.slices[0].dataset, "Modality")

    @property
    def frame_of_reference(self) -> str:
        """Frame of Reference UID: what has the same one has the same coordinates."""
        return text(self.slices[0].dataset, "FrameOfReferenceUID")

    # -- pixels --------------------------------------------------------------------------------------------------------

    @cached_property
    def volume(self) -> Array:
        """`read()`: float32 in the units of the modality (colour: as stored), decoded once and kept."""
        return self.read()

    def read(
        self,
        *,
        stored: bool = False,
        out: Array | None = None,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Array:
        """Decode all frames into one array (points?, slices, rows, columns[, samples]).

        float32 with the modality's rescaling applied, slice by slice as the file says (HU, Bq/ml, ...); with `stored`,
        or for colour, the numbers as stored in the dtype they have. `out` receives them instead; of another float type
        it is taken too. Frames are decoded by `threads` threads. `progress(done, total)` is called after each.

        Raises PixelDataError naming the file, CodecUnavailable; ValueError for an `out` that does not fit.
        """
        plain = stored or self._layout.samples > 1
        native = self._layout.dtype.newbyteorder("=")
        dtype = native if plain else np.dtype(np.float32)
        if out is None:
            out = np.empty(self.shape, dtype)
        elif out.shape != self.shape or (out.dtype != dtype if plain else out.dtype.kind != "f"):
            raise ValueError(f"out is {out.dtype}{out.shape}, the volume is {dtype}{self.shape}")
        frames = out.reshape(-1, *self._layout.frame_shape)
        if frames.base is not out and frames is not out and not np.shares_memory(frames, out):
            raise ValueError("out must be contiguous")

        def put(number: int) -> None:
            one = self.slices[number]
            try:
                pixels = one.dataset.pixels(one.frame)
                if plain:
                    frames[number] = pixels
                else:
                    one.rescale.into(pixels, frames[number])
            except PixelDataError as error:
                error.path = error.path or one.dataset.path
                raise

        wanted = min(threads or self.threads, len(self.slices))
        if wanted > 1:
            with ThreadPoolExecutor(wanted, "dicore-series") as pool:
                for done, _ in enumerate(pool.map(put, range(len(self.slices))), 1):
                    if progress is not None:
                        progress(done, len(self.slices))
        else:
            for number in range(len(self.slices)):
                put(number)
                if progress is not None:
                    progress(number + 1, len(self.slices))
        return out

    def suv(self, kind: str = "bw") -> Array:
        """A PET series in SUV: float32 of the shape of `volume`; see `Dataset.suv` for the kinds and errors."""
        factors: dict[int, float] = {}
        for one in self.slices:
            if id(one.dataset) not in factors:
                factors[id(one.dataset)] = factor(one.dataset, kind)
        out = self.volume.copy()
        for frame, one in zip(out.reshape(-1, *self._layout.frame_shape), self.slices, strict=True):
            frame *= np.float32(factors[id(one.dataset)])
        return out

    # -- geometry ------------------------------------------------------------------------------------------------------

    @cached_property
    def positions(self) -> Floats:
        """(slices, 3): the centre of each slice's first pixel in LPS millimetres."""
        return np.array([s.plane.position for s in self._stack])

    @cached_property
    def distances(self) -> Floats:
        """(slices,) millimetres of each slice from the first along the normal; ascending."""
        found = np.array([s.plane.distance for s in self._stack])
        return np.asarray(found - found[0], np.float64)

    @cached_property
    def _step(self) -> Floats:
        """From slice to slice, (3,) millimetres: the mean, or where slices are missing or uneven the usual one."""
        if len(self._stack) == 1:
            plane, ds = self._stack[0].plane, self._stack[0].dataset
            between = ds.get("SpacingBetweenSlices")
            size = between if isinstance(between, float) and between > 0 else plane.thickness or 1.0
            one: Floats = plane.normal * size
            return one
        if self.uniform:
            return np.asarray((self.positions[-1] - self.positions[0]) / (len(self._stack) - 1), np.float64)
        between = np.diff(self.distances)
        whole: Floats = (self.positions[-1] - self.positions[0]) / self.distances[-1]
        return whole * float(np.median(between))

    @cached_property
    def uniform(self) -> bool:
        """True when neighbours are equally far from each other (to 2 %) and the slices lie on one line."""
        between = np.diff(self.distances)
        if not len(between):
            return True
        if not np.allclose(between, np.median(between), rtol=_UNEVEN, atol=_SAME_PLACE):
            return False
        line = self.positions[0] + np.outer(self.distances / self.distances[-1], self.positions[-1] - self.positions[0])
        return bool(np.linalg.norm(self.positions - line, axis=1).max() <= 0.1 * float(np.median(between)))

    @property
    def affine(self) -> Floats:
        """(4, 4): the array's indices [slice, row, column, 1] to LPS millimetres.

        A tilted gantry is in it (the step between slices is then not along the normal). Where slices are missing or
        uneven (`uniform` is False) it holds at the first slice; `positions` tells each.
        """
        return affine(self._stack[0].plane, self._step)

    @property
    def affine_ras(self) -> Floats:
        """`affine` in RAS millimetres: `nibabel.Nifti1Image(series.volume, series.affine_ras)`."""
        return LPS_TO_RAS @ self.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(between slices along the normal, between rows, between columns) in millimetres."""
        plane = self._stack[0].plane
        return abs(float(self._step @ plane.normal)), plane.spacing[0], plane.spacing[1]

    @property
    def tilt(self) -> float:
        """Degrees between the step from slice to slice and the normal: the gantry's tilt, 0 for most series."""
        step, normal = self._step, self._stack[0].plane.normal
        across = np.linalg.norm(np.cross(step, normal))
        return float(np.degrees(np.arctan2(across, abs(float(step @ normal)))))

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Where slices are missing: neighbours more than 1.5 times as far from each other as is usual (the median)."""
        between = np.diff(self.distances)
        if len(between) < 2:
            return ()
        usual = float(np.median(between))
        return tuple(
            Gap(int(n), float(between[n]), max(1, round(float(between[n]) / usual) - 1))
            for n in np.flatnonzero(between > 1.5 * usual)
        )

    @property
    def warnings(self) -> list[str]:
        """What a user of the volume should know, in words: gaps, uneven slices, tilt, duplicates."""
        found = [
            f"{gap.missing} slices are missing behind slice {gap.after} ({gap.distance:.3f} mm)" for gap in self.gaps
        ]
        if not self.uniform and not self.gaps:
            between = np.diff(self.distances)
            found.append(f"slices are {between.min():.3f} to {between.max():.3f} mm apart, or shifted sideways")
        if self.tilt > 0.1:
            found.append(f"the gantry is tilted by {self.tilt:.2f} degrees: the volume is sheared, the affine says so")
        if self.duplicates:
            found.append(f"{len(self.duplicates)} frames at places that others have too were left out")
        return found

    def to_mm(self, indices: npt.ArrayLike) -> Floats:
        """(..., 3) indices [slice, row, column] to (..., 3) LPS millimetres, by the affine."""
        matrix = self.affine
        found: Floats = np.asarray(indices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        return found

    def to_index(self, points: npt.ArrayLike) -> Floats:
        """(..., 3) LPS millimetres to (..., 3) indices [slice, row, column], not rounded: the inverse of `to_mm`."""
        matrix = np.linalg.inv(self.affine)
        found: Floats = np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        return found

    def mask(self, region: Roi | Iterable[Contour], *, outside: str = "raise") -> npt.NDArray[np.bool_]:
        """The voxels whose centre lies inside the contours of a region: bool (slices, rows, columns).

        Closed planar contours are filled on the nearest slice, even-odd: of two contours on a slice, one inside the
        other, the inner one is a hole. Points and open contours enclose nothing. A contour that is further than half
        the slice distance from every slice raises ValueError, or is left out with `outside="ignore"`; so does one that
        does not lie in the plane of the slices, and a region of another frame of reference.
        """
        if outside not in ("raise", "ignore"):
            raise ValueError(f"outside is {outside!r}: 'raise' or 'ignore'")
        if isinstance(region, Roi):
            theirs, ours = region.frame_of_reference, self.frame_of_reference
            if theirs and ours and theirs != ours:
                raise ValueError(f"region {region.name!r} is in the frame of reference {theirs}, the series in {ours}")
            listed: Iterable[Contour] = region.contours
        else:
            listed = region
        found = np.zeros((len(self._stack), self._layout.rows, self._layout.columns), bool)
        plane = self._stack[0].plane
        places = self.distances + plane.distance
        reach = 0.5 * self.spacing[0] * 1.02 + 1e-3
        for number, contour in enumerate(listed):
            if contour.type not in CLOSED or len(contour.points) < 3:
                continue
            along = contour.points @ plane.normal
            middle = float(along.mean())
            at = int(np.argmin(np.abs(places - middle)))
            flat = float(np.ptp(along)) <= reach
            if flat and abs(places[at] - middle) <= reach:
                offset = contour.points - self.positions[at]
                polygon = np.stack((offset @ plane.row, offset @ plane.column), axis=1) / plane.spacing
                fill_polygon(found[at], polygon)
            elif outside == "raise":
                where = f"{middle - places[0]:.2f} mm along the normal from the first slice"
                why = f"lies {where}, where there is no slice" if flat else "does not lie in the plane of the slices"
                raise ValueError(f"contour {number} {why}; outside='ignore' leaves such contours out")
        return found

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        spacing = " x ".join(f"{v:.4g}" for v in self.spacing)
        return f"<Series {self.modality} {self.uid}, {size}, {spacing} mm>"


# -- reading -----------------------------------------------------------------------------------------------------------


def read_series(
    source: Any,
    *,
    series_uid: str | None = None,
    select: dict[str, Any] | None = None,
    threads: int = 1,
    strict: bool = False,
) -> Series:
    """Read the images of one series as a volume.

    `source` is a folder (searched through), a path, a list of paths, data sets or bytes, one data set, or a
    `dicore.Store` (with `series_uid`). `series_uid` chooses a series where there are several. Frames that lie at the
    same places make a 4-D series by the element in which they differ; `select` chooses among them, and among stacks:
    {"TemporalPositionIndex": 1}, {"EchoTime": 2.5}, {"StackID": "1"}.

    What is no image of the volume (localizers, files without pixels or position, files that are not DICOM) is in
    `Series.excluded`, with the reason. A frame at the place of another one from which no element tells it apart is left
    out and in `Series.duplicates`. With `strict` gaps, uneven slices, duplicates and files that cannot be read raise.

    Raises DicomFormatError naming the files when they are of several series or do not have the same rows, columns,
    orientation and spacing (then `split_series` gives each), and when there is no image at all; OSError for a path that
    is not there.
    """
    groups, excluded = _gathered(source, series_uid, select or {})
    if not groups:
        raise DicomFormatError(
            "no image with a position in the patient" + _reasons(excluded), expected="images with ImagePositionPatient"
        )
    if len(groups) > 1:
        shown = "; ".join(_described(group) for group in groups[:6]) + ("; ..." if len(groups) > 6 else "")
        raise DicomFormatError(
            f"{len(groups)} volumes, not one: {shown}",
            path=groups[1][0].dataset.path,
            expected="one series of equal planes: choose by series_uid= or select=, or take dicore.split_series",
        )
    series = _series(groups[0], excluded, threads)
    if strict:
        broken = [e for e in series.excluded if e.reason.startswith("cannot be read")]
        problems = [*series.warnings, *(f"{e.source}: {e.reason}" for e in broken)]
        if problems and (series.gaps or series.duplicates or not series.uniform or broken):
            raise DicomFormatError(f"series {series.uid}: {'; '.join(problems)}", expected="slices at equal distances")
    return series


def split_series(source: Any, *, threads: int = 1) -> list[Series]:
    """Every volume there is in `source`, each as `read_series` gives it, in the order of their first files. What is in
    none of them is in `excluded` of each."""
    groups, excluded = _gathered(source, None, {})
    return [_series(group, excluded, threads) for group in groups]


def _name(dataset: Dataset) -> str:
    if dataset.path is not None and not os.path.isdir(dataset.path):  # a store is a folder
        return os.fsdecode(dataset.path)
    return text(dataset, "SOPInstanceUID") or "data set"


def _reasons(excluded: Sequence[Excluded]) -> str:
    shown = "; ".join(f"{os.path.basename(e.source)}: {e.reason}" for e in excluded[:4])
    return f" ({shown}{'; ...' if len(excluded) > 4 else ''})" if shown else ""


def _described(group: list[Slice]) -> str:
    one = group[0]
    layout = one.dataset.pixel_layout()
    facing = "".join("LPH"[int(np.argmax(np.abs(one.plane.normal)))])
    facing = {"L": "sagittal", "P": "coronal", "H": "axial"}[facing]
    stack = f", stack {one.dimensions['StackID']}" if one.dimensions.get("StackID") is not None else ""
    uid = text(one.dataset, "SeriesInstanceUID")
    return (
        f"{len(group)} frames {layout.rows} x {layout.columns} {facing}{stack} of series {uid} ({one.source}"
        f"{', ...' if len(group) > 1 else ''})"
    )


def _sources(source: Any, series_uid: str | None) -> Iterator[tuple[str, Any]]:
    """(name, Dataset or the exception that it cost to open it)."""
    if isinstance(source, Dataset):
        yield _name(source), source
    elif isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    yield from _opened(os.path.join(folder, name))
        elif not os.path.exists(path):
            raise FileNotFoundError(f"{path}: no such file or folder")
        else:
            yield from _opened(path)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield from _opened(source)
    elif hasattr(source, "find") and hasattr(source, "scan_source"):  # a Store
        if series_uid is None:
            raise ValueError("a store holds many series: choose one by series_uid=")
        for row in source.find("IMAGE", SeriesInstanceUID=series_uid):
            uid = row["SOPInstanceUID"]
            yield uid, source[uid]
    elif isinstance(source, Iterable):
        for item in source:
            yield from _sources(item, series_uid)
    else:
        raise TypeError(f"paths, a folder, data sets or a store are needed, not {type(source).__name__}")


def _opened(path: Any) -> Iterator[tuple[str, Any]]:
    name = path if isinstance(path, str) else "bytes"
    try:
        yield name, read(path)
    except (DicoreError, OSError) as error:
        yield name, error


def _gathered(source: Any, series_uid: str | None, select: dict[str, Any]) -> tuple[list[list[Slice]], list[Excluded]]:
    """All frames in groups of which each can be a volume, and what is in none."""
    excluded: list[Excluded] = []
    localizers: list[Dataset] = []
    groups: dict[tuple[Any, ...], list[list[Slice]]] = {}
    order: list[list[Slice]] = []
    others: list[str] = []

    def add(dataset: Dataset, name: str) -> None:
        try:
            found = _slices(dataset)
        except (DicoreError, OSError) as error:
            excluded.append(Excluded(name, f"cannot be used: {error}"))
            return
        if isinstance(found, str):
            excluded.append(Excluded(name, found))
            return
        for one in found:
            if any(not _same(one.dimensions.get(k, dataset.get(k)), v) for k, v in select.items()):
                excluded.append(Excluded(one.source, f"not selected by {select}"))
                continue
            layout = dataset.pixel_layout()
            key = (
                text(dataset, "SeriesInstanceUID"),
                text(dataset, "FrameOfReferenceUID"),
                layout.frame_shape,
                layout.dtype.newbyteorder("="),
                one.dimensions.get("StackID"),
            )
            for group in groups.setdefault(key, []):
                if group[0].plane.parallel(one.plane):
                    group.append(one)
                    break
            else:
                group = [one]
                groups[key].append(group)
                order.append(group)

    for name, dataset in _sources(source, series_uid):
        if not isinstance(dataset, Dataset):
            excluded.append(Excluded(name, f"cannot be read: {dataset}"))
            continue
        uid = text(dataset, "SeriesInstanceUID")
        if series_uid is not None and uid != series_uid:
            excluded.append(Excluded(name, f"of series {uid}"))
            others.append(uid)
        elif "LOCALIZER" in (dataset.get("ImageType") or ()):
            localizers.append(dataset)
        else:
            add(dataset, name)
    if not order:  # a series of localizers is a series
        for dataset in localizers:
            add(dataset, _name(dataset))
    else:
        excluded += [Excluded(_name(dataset), "a localizer (Image Type)") for dataset in localizers]
    if not order and series_uid is not None and others:
        seen = ", ".join(dict.fromkeys(others[:5]))
        raise DicomFormatError(f"no image of series {series_uid}", expected=f"one of {seen}")
    return order, excluded


def _slices(dataset: Dataset) -> list[Slice] | str:
    """The frames of an image with where they lie; a reason when it has no place in a volume."""
    if not any(k in dataset for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return "no pixel data"
    layout, what, groups = dataset.pixel_layout(), _name(dataset), FunctionalGroups(dataset)
    if groups.per_frame:
        if len(groups.per_frame) < layout.frames:
            return f"{layout.frames} frames, and functional groups of {len(groups.per_frame)}"
        planes = [groups.plane(frame, f"frame {frame}") for frame in range(layout.frames)]
    elif is_there(dataset, "GridFrameOffsetVector"):
        planes = list(dose_planes(dataset, layout.frames, what))
    elif layout.frames > 1:
        return f"{layout.frames} frames without functional groups: where they lie is not told"
    else:
        planes = [plane_of(dataset, what)]
    found = []
    for frame, plane in enumerate(planes):
        if plane is None:
            return "no position or orientation in the patient" + (f" (frame {frame})" if layout.frames > 1 else "")
        rescale = rescale_of(dataset, what, frame, groups)
        dimensions = _of_frame(groups, frame) if groups.per_frame else {}
        found.append(Slice(dataset, frame, layout.frames, plane, rescale, dimensions))
    return found


# What tells frames at one place apart, the likeliest first: elements of single-frame images ...
_DIMENSIONS = (
    "TemporalPositionIdentifier", "TriggerTime", "NominalCardiacTriggerDelayTime", "EchoTime", "EchoNumbers",
    "DiffusionBValue", "InversionTime", "FlipAngle", "AcquisitionNumber", "FrameReferenceTime", "ImageType",
    "ContentTime", "AcquisitionTime",
)  # fmt: skip
# ... and of the functional groups of enhanced ones: (sequence, element)
_MACROS = (
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("PETFrameTypeSequence", "FrameType"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("SegmentIdentificationSequence", "ReferencedSegmentNumber"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("FrameContentSequence", "FrameReferenceDateTime"),
)


def _of_frame(groups: FunctionalGroups, frame: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    content = groups.item(frame, "FrameContentSequence")
    if content is not None and is_there(content, "StackID"):
        found["StackID"] = text(content, "StackID")
    for sequence, keyword in _MACROS:
        item = groups.item(frame, sequence)
        if item is not None and keyword not in found and is_there(item, keyword):
            found[keyword] = _plain(item.get(keyword))
    if groups.per_frame and "DiffusionBValue" in found:
        directions = first(groups.item(frame, "MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
        if directions is not None:
            found["DiffusionGradientOrientation"] = _plain(directions.get("DiffusionGradientOrientation"))
    return found


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _same(found: Any, wanted: Any) -> bool:
    found, wanted = _plain(found), _plain(wanted)
    if isinstance(found, (int, float)) and isinstance(wanted, (int, float)):
        return bool(np.isclose(found, wanted))
    return bool(found == wanted or str(found) == str(wanted))


def _dimension(one: Slice, keyword: str) -> Any:
    return one.dimensions.get(keyword) if one.frames > 1 else _plain(one.dataset.get(keyword))


def _series(group: list[Slice], excluded: list[Excluded], threads: int) -> Series:
    """Sort by place; several frames at each place are points of a fourth dimension, or duplicates."""
    duplicates: list[Duplicate] = []
    seen: dict[tuple[str, int], Slice] = {}
    for one in group:
        key = (text(one.dataset, "SOPInstanceUID") or one.source, one.frame)
        if key in seen:
            duplicates.append(Duplicate(seen[key].source, one.source, True))
        else:
            seen[key] = one
    ordered = sorted(seen.values(), key=lambda one: one.plane.distance)
    places: list[list[Slice]] = []
    for one in ordered:
        if places and one.plane.distance - places[-1][0].plane.distance < _SAME_PLACE:
            places[-1].append(one)
        else:
            places.append([one])
    many = max(len(place) for place in places)
    if many > 1:
        keyword = _telling(places, many)
        if keyword is not None:
            points = [sorted(place, key=lambda one: _order(_dimension(one, keyword))) for place in places]
            values = [_dimension(one, keyword) for one in points[0]]
            slices = [place[point] for point in range(many) for place in points]
            return Series(
                slices,
                dimension=keyword,
                dimension_values=values,
                duplicates=duplicates,
                excluded=excluded,
                threads=threads,
            )
        for place in places:
            place.sort(key=lambda one: (_order(_dimension(one, "InstanceNumber")), one.frame))
            duplicates += [Duplicate(place[0].source, one.source, False) for one in place[1:]]
    return Series([place[0] for place in places], duplicates=duplicates, excluded=excluded, threads=threads)


def _telling(places: list[list[Slice]], many: int) -> str | None:
    """The element whose values tell the frames at every place apart, the same values at each place; or, for times of
    day, as many at each place."""
    if any(len(place) != many for place in places):
        return None
    if places[0][0].frames > 1:
        candidates: list[str] = list(dict.fromkeys([k for _, k in _MACROS] + ["DiffusionGradientOrientation"]))
    else:
        candidates = list(_DIMENSIONS)
    for keyword in candidates:
        wanted: list[Any] | None = None
        for place in places:
            values = sorted((_dimension(one, keyword) for one in place), key=_order)
            distinct = all(_order(a) != _order(b) for a, b in pairwise(values))
            if None in values or not distinct:
                break
            if wanted is None or keyword in _MOVING:
                wanted = values
            elif not all(_same(a, b) for a, b in zip(values, wanted, strict=True)):
                break
        else:
            return keyword
    return None


_MOVING = ("TriggerTime", "ContentTime", "AcquisitionTime", "AcquisitionNumber", "FrameReferenceTime",
           "FrameReferenceDateTime", "FrameAcquisitionNumber")  # fmt: skip


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers before text, nothing first."""
    if isinstance(value, (int, float)):
        return 1, float(value), ""
    return (0, 0.0, "") if value is None else (2, 0.0, str(value))
