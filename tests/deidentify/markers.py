"""An element of any tag with a value that is found again when it is left anywhere."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Any

import dicore
from dicore.dataset.dictionary import tag_vr
from dicore.dataset.encode import Element, part10

KEY = b"a key that only the tests know.."
CT = "1.2.840.10008.5.1.4.1.1.2"
HOLDER = 0x00081115  # Referenced Series Sequence: no row of its own, so what is in it is looked at

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Marked:
    tag: int
    vr: str
    value: Any
    marker: bytes  # as it stands in the bytes of a little endian file


def marked(tag: int) -> Marked:
    vr = tag_vr(tag) or "LO"
    number = next(_numbers)
    text = f"QZ{number:05}ZQ"
    if vr == "SQ":
        inner = f"QZ{number:05}"
        return Marked(
            tag, vr, [[(0x00081155, "UI", f"1.9.{10000 + number}.7"), (0x00081019, "LO", inner)]], inner.encode()
        )
    values: dict[str, Any] = {
        "DA": f"{1100 + number // 336:04}{number // 28 % 12 + 1:02}{number % 28 + 1:02}",
        "TM": f"{number % 10:02}{number // 10 % 60:02}33.{number:06}",
        "DT": f"{1100 + number // 336:04}{number // 28 % 12 + 1:02}{number % 28 + 1:02}07{number % 60:02}",
        "UI": f"1.9.{10000 + number}.7",
        "AS": f"{number % 999:03}W",
        "DS": f"7{number:05}.125",
        "IS": f"77{number:05}",
        "UR": f"http://{text}/",
    }
    binary = {"US": "<2H", "SS": "<2H", "UL": "<2I", "SL": "<2I", "FL": "<2I", "FD": "<2Q", "SV": "<2Q", "UV": "<2Q"}
    if vr in binary:
        value: Any = struct.pack(binary[vr], 40000 + number, 50000 + number)
    elif vr in ("OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT"):
        value = (text * 2)[:16].encode()
    else:
        value = values.get(vr, text)
    if isinstance(value, str):  # as stored: some are longer than their VR allows
        return Marked(tag, vr, value.encode(), value.encode())
    return Marked(tag, vr, value, value if isinstance(value, bytes) else str(value).encode())


def dataset(*elements: Element, nested: bool = False) -> dicore.Dataset:
    """A CT instance with these elements, at the top or in an item two sequences down."""
    base: list[Element] = [(0x00080016, "UI", CT), (0x00080018, "UI", "1.2.3.4"), (0x00280010, "US", 1)]
    if nested:
        base.append((HOLDER, "SQ", [[(HOLDER, "SQ", [list(elements)])]]))
    else:
        base = [element for element in base if element[0] not in {tag for tag, *_ in elements}] + list(elements)
    known = {tag for tag, *_ in base}
    whole = base + [e for e in ((0x00080016, "UI", CT), (0x00080018, "UI", "1.2.3.4")) if e[0] not in known]
    return dicore.Dataset.from_bytes(part10(whole))
