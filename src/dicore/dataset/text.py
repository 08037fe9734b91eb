"""A data set as text for people: one element a line, items indented, in the manner of dcmdump and pydicom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dicore._native.dataset import Element, PersonName
from dicore.errors import DicoreError

if TYPE_CHECKING:
    from dicore.dataset.dataset import Dataset

__all__ = ["dataset_lines", "element_line", "printable", "value_text"]

_NAME_WIDTH = 35
_VALUE_WIDTH = 120
_BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def printable(text: str) -> str:
    """Control characters escaped: text from a file must not drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def value_text(element: Element) -> str:
    """The value on one line, cut and escaped; of a long binary one its size."""
    if element.vr in _BULK and element.length > 16:
        return f"{element.length} bytes"
    try:
        value = element.value
    except DicoreError as error:
        return f"<{printable(str(error))}>"
    if value is None:
        return ""
    if isinstance(value, list) and len(value) > 16:
        return f"{len(value)} values"
    if isinstance(value, list):
        text = "[" + ", ".join(repr(str(v)) if isinstance(v, (str, PersonName)) else str(v) for v in value) + "]"
    else:
        text = repr(str(value)) if isinstance(value, (str, PersonName)) else str(value)
    text = printable(text)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 3]}..."


def element_line(element: Element) -> str:
    """'(0010,0010) Patient's Name                      PN: 'DOE^JANE''; of a sequence its number of items."""
    value = f"{len(element.value)} item(s)" if element.vr == "SQ" else value_text(element)
    return f"{element.tag!s} {printable(element.name)[:_NAME_WIDTH]:<{_NAME_WIDTH}} {element.vr}: {value}".rstrip()


def dataset_lines(dataset: Dataset, indent: str = "") -> Iterator[str]:
    """The lines of a data set, nested ones indented by three more spaces under '---------'."""
    for element in dataset:
        yield indent + element_line(element)
        if element.vr == "SQ":
            for item in element.value:
                yield from dataset_lines(item, indent + "   ")
                yield indent + "   ---------"
