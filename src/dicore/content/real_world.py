"""Real-world value maps (PS3.3 C.7.6.16.2.11): stored values to measured quantities with units; parametric maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Code, Elements, code, first, is_there, items, need, number, numbers, text, wrong
from dicore.content.geometry import FunctionalGroups
from dicore.errors import MissingElement

__all__ = ["RealWorldMap", "real_world_values"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RealWorldMap:
    """One map, by a line (`slope`, `intercept`) or by a `table`, of stored values from `first` to `last`.

    `units` is the coded unit (UCUM), `quantity` what is measured, when the file tells. `frames` are the numbers of the
    frames that it is for, None for all.
    """

    label: str
    explanation: str
    units: Code | None
    quantity: Code | None
    first: float
    last: float
    slope: float
    intercept: float
    table: Floats | None
    frames: tuple[int, ...] | None
    _ds: Any = field(repr=False, compare=False)

    def apply(self, stored: npt.ArrayLike) -> Floats:
        """Real-world values of stored ones: float64 of the same shape, NaN for what the map does not cover."""
        values = np.asarray(stored)
        covered = (values >= self.first) & (values <= self.last)
        if self.table is None:
            return np.where(covered, values * np.float64(self.slope) + self.intercept, np.nan)
        at = np.clip(values.astype(np.int64) - int(self.first), 0, len(self.table) - 1)
        return np.where(covered, self.table[at], np.nan)

    def values(self, threads: int = 1) -> Floats:
        """The frames of this map in real-world values: float64 (frames, rows, columns). Raises PixelDataError."""
        stored: Any = self._ds.pixels(None if self.frames is None else list(self.frames), threads=threads)
        return self.apply(stored if stored.ndim > 2 else stored[None])


def real_world_values(ds: Elements) -> list[RealWorldMap]:
    """The maps of a data set: its own, those shared by all frames, and those of single frames; equal ones of several
    frames are one map. Raises MissingElement when there is none, or when a map lacks its range, slope or units."""
    found: list[RealWorldMap] = [_map(item, ds, None) for item in items(ds, "RealWorldValueMappingSequence")]
    groups = FunctionalGroups(ds)
    if groups.shared is not None:
        found += [_map(item, ds, None) for item in items(groups.shared, "RealWorldValueMappingSequence")]
    collected: dict[Any, tuple[RealWorldMap, list[int]]] = {}
    for frame, per_frame in enumerate(groups.per_frame):
        for item in items(per_frame, "RealWorldValueMappingSequence"):
            one = _map(item, ds, None)
            table = None if one.table is None else one.table.tobytes()
            key = (one.label, one.units, one.quantity, one.first, one.last, one.slope, one.intercept, table)
            collected.setdefault(key, (one, []))[1].append(frame)
    for one, frames in collected.values():
        fields = {name: getattr(one, name) for name in one.__dataclass_fields__}
        whole = len(frames) == len(groups.per_frame)
        found.append(RealWorldMap(**(fields | {"frames": None if whole else tuple(frames)})))
    if not found:
        need(ds, "RealWorldValueMappingSequence", "real_world_values", "the file tells no units; see ds.hu()")
        raise MissingElement("real_world_values: RealWorldValueMappingSequence has no item", tag_path="0040,9096")
    return found


def _map(item: Any, ds: Elements, frames: tuple[int, ...] | None) -> RealWorldMap:
    what = "real-world value map"
    double = is_there(item, "DoubleFloatRealWorldValueFirstValueMapped")
    prefix = "DoubleFloatRealWorldValue" if double else "RealWorldValue"
    low = number(item, f"{prefix}FirstValueMapped", what)
    high = number(item, f"{prefix}LastValueMapped", what)
    if not double and ds.get("PixelRepresentation") and low > high:  # stored as US: a signed value above 32767
        low = low - 65536
    table, slope, intercept = None, 1.0, 0.0
    if is_there(item, "RealWorldValueLUTData"):
        table = np.array(numbers(item, "RealWorldValueLUTData", None, what))
        if len(table) != high - low + 1:
            raise wrong(item, f"{prefix}LastValueMapped", what, f"a range of {len(table)} values, as the table has")
    else:
        slope = number(item, "RealWorldValueSlope", what, "or a table, RealWorldValueLUTData")
        intercept = number(item, "RealWorldValueIntercept", what)
    return RealWorldMap(
        label=text(item, "LUTLabel"),
        explanation=text(item, "LUTExplanation"),
        units=code(first(item, "MeasurementUnitsCodeSequence")),
        quantity=_quantity(item),
        first=low,
        last=high,
        slope=slope,
        intercept=intercept,
        table=table,
        frames=frames,
        _ds=ds,
    )


def _quantity(item: Any) -> Code | None:
    """The value of the (246205007, SCT, "Quantity") or (G-C1C6, SRT) entry of Quantity Definition Sequence."""
    for entry in items(item, "QuantityDefinitionSequence"):
        name = code(first(entry, "ConceptNameCodeSequence"))
        if name is not None and name.value in ("246205007", "G-C1C6"):
            return code(first(entry, "ConceptCodeSequence"))
    return None
