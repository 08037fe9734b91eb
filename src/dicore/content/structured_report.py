"""Structured reports (PS3.3 C.17.3): the content tree, as text, and its measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dicore.content.elements import Code, Elements, code, first, is_there, items, need, text, texts

__all__ = ["Measurement", "SrNode", "measurements", "sr_text", "sr_tree"]

_RELATED = {
    "CONTAINS": "contains", "HAS OBS CONTEXT": "has obs context", "HAS CONCEPT MOD": "has concept mod",
    "HAS PROPERTIES": "has properties", "HAS ACQ CONTEXT": "has acq context", "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
}  # fmt: skip
_DEEPEST = 64


@dataclass(frozen=True)
class SrNode:
    """A content item.

    `value` by `value_type`: TEXT, DATE, TIME, DATETIME, UIDREF and PNAME a str, NUM a float (None when it has none, and
    `qualifier` may say why), CODE a Code, IMAGE, COMPOSITE and WAVEFORM the (SOP Class UID, SOP Instance UID), SCOORD
    and SCOORD3D (graphic type, coordinates), TCOORD (range type, values), CONTAINER None. `number` is the place in the
    tree ('1.2.1', as DCMTK's dsrdump counts), `reference` that of the item which an item by reference stands for.
    """

    number: str
    relationship: str
    value_type: str
    name: Code | None
    value: Any
    units: Code | None = None
    qualifier: Code | None = None
    reference: str = ""
    children: tuple[SrNode, ...] = field(default=(), repr=False)

    def walk(self) -> Iterator[SrNode]:
        """This item and all below it, in the order of the document."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> list[SrNode]:
        """The items below (and this one) whose concept name has this meaning or code value; case does not matter."""
        wanted = name.casefold()
        return [
            node
            for node in self.walk()
            if node.name is not None and wanted in (node.name.meaning.casefold(), node.name.value.casefold())
        ]

    @property
    def text(self) -> str:
        """The value in words, '' for a container."""
        return _shown(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self, 0))


class Measurement(NamedTuple):
    """A NUM item: what was measured (`name`), `value` in `units` (UCUM), the names above it from the root down, and the
    codes that modify it (concept modifiers and properties below it, as (name, value))."""

    name: Code | None
    value: float | None
    units: Code | None
    path: tuple[str, ...]
    modifiers: tuple[tuple[str, str], ...]
    node: SrNode


def sr_tree(ds: Elements) -> SrNode:
    """The content tree of a structured report, from its root container.

    Raises MissingElement when this is none. An item of a type that PS3.3 does not know keeps its type and has no value.
    """
    need(ds, "ValueType", "sr_tree", "this is no structured report")
    return _node(ds, "1", 0)


def sr_text(ds: Elements) -> str:
    """The report as an indented outline, a line an item: 'Finding: Mass', 'Diameter: 12 mm', [Container]."""
    return str(sr_tree(ds))


def measurements(ds: Elements) -> list[Measurement]:
    """Every NUM item of the report in the order of the document; those without a value have None."""
    found: list[Measurement] = []
    waiting: list[tuple[SrNode, tuple[str, ...]]] = [(sr_tree(ds), ())]
    while waiting:
        node, above = waiting.pop()
        if node.value_type == "NUM":
            mods = tuple((str(c.name or ""), c.text) for c in node.children if c.relationship in _MODIFY)
            found.append(Measurement(node.name, node.value, node.units, above, mods, node))
        below = (*above, str(node.name or ""))
        waiting += [(child, below) for child in reversed(node.children)]
    return found


_MODIFY = ("HAS CONCEPT MOD", "HAS PROPERTIES")


def _node(item: Any, place: str, depth: int) -> SrNode:
    value_type = text(item, "ValueType").upper()
    reference = ""
    if not value_type and is_there(item, "ReferencedContentItemIdentifier"):
        reference = ".".join(texts(item, "ReferencedContentItemIdentifier"))
    value, units, qualifier = _value(item, value_type)
    below = items(item, "ContentSequence") if depth < _DEEPEST else ()
    return SrNode(
        number=place,
        relationship=text(item, "RelationshipType").upper(),
        value_type=value_type,
        name=code(first(item, "ConceptNameCodeSequence")),
        value=value,
        units=units,
        qualifier=qualifier,
        reference=reference,
        children=tuple(_node(child, f"{place}.{n}", depth + 1) for n, child in enumerate(below, 1)),
    )


_PLAIN = {"TEXT": "TextValue", "DATE": "Date", "TIME": "Time", "DATETIME": "DateTime", "UIDREF": "UID",
          "PNAME": "PersonName"}  # fmt: skip


def _value(item: Any, value_type: str) -> tuple[Any, Code | None, Code | None]:
    if value_type in _PLAIN:
        found = item.get(_PLAIN[value_type])
        return (
            "\\".join(map(str, found)) if isinstance(found, list) else "" if found is None else str(found),
            None,
            None,
        )
    if value_type == "CODE":
        return code(first(item, "ConceptCodeSequence")), None, None
    if value_type == "NUM":
        qualifier = code(first(item, "NumericValueQualifierCodeSequence"))
        measured = first(item, "MeasuredValueSequence")
        if measured is None:
            return None, None, qualifier
        number = measured.get("FloatingPointValue")  # FD: more digits than DS has
        if not isinstance(number, float):
            number = measured.get("NumericValue")
        number = number[0] if isinstance(number, list) and number else number
        units = code(first(measured, "MeasurementUnitsCodeSequence"))
        return float(number) if isinstance(number, (int, float)) else None, units, qualifier
    if value_type in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        of = first(item, "ReferencedSOPSequence")
        if of is None:
            return None, None, None
        return (text(of, "ReferencedSOPClassUID"), text(of, "ReferencedSOPInstanceUID")), None, None
    if value_type in ("SCOORD", "SCOORD3D"):
        points = item.get("GraphicData")
        listed = tuple(points) if isinstance(points, list) else () if points is None else (points,)
        return (text(item, "GraphicType"), listed), None, None
    if value_type == "TCOORD":
        for keyword in ("ReferencedSamplePositions", "ReferencedTimeOffsets", "ReferencedDateTime"):
            if is_there(item, keyword):
                return (text(item, "TemporalRangeType"), texts(item, keyword)), None, None
        return (text(item, "TemporalRangeType"), ()), None, None
    return None, None, None


def _shown(node: SrNode) -> str:
    value = node.value
    if node.reference:
        return f"see {node.reference}"
    if node.value_type == "NUM":
        if value is None:
            return f"no value ({node.qualifier})" if node.qualifier else "no value"
        units = node.units
        return f"{value:.15g}{f' {units.value}' if units and units.value not in ('1', '{unitless}') else ''}"
    if node.value_type == "PNAME":
        return str(value).replace("^", " ").strip()
    if node.value_type in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        return f"{node.value_type.lower()} {value[1]}" if value else node.value_type.lower()
    if node.value_type in ("SCOORD", "SCOORD3D"):
        step = 3 if node.value_type == "SCOORD3D" else 2
        points = [value[1][i : i + step] for i in range(0, len(value[1]), step)]
        return f"{value[0]} " + " ".join(f"({', '.join(f'{v:g}' for v in p)})" for p in points)
    if node.value_type == "TCOORD":
        return f"{value[0]} {', '.join(value[1])}"
    return "" if value is None else str(value)


def _lines(node: SrNode, depth: int) -> Iterator[str]:
    indent = "  " * depth
    name = str(node.name) if node.name else ""
    shown = _shown(node).replace("\r\n", "\n").replace("\r", "\n").replace("\n", f"\n{indent}  ")
    related = _RELATED.get(node.relationship, "") if node.relationship != "CONTAINS" else ""
    mark = f"<{related}> " if related else ""
    if node.value_type == "CONTAINER":
        yield f"{indent}{mark}[{name or 'Container'}]"
    else:
        yield f"{indent}{mark}{name}{': ' if name else ''}{shown}"
    for child in node.children:
        yield from _lines(child, depth + 1)
