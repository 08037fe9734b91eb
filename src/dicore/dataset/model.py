"""What the JSON and the XML model share: how VRs are written, bulk data, and a Dataset made of (tag, VR, values)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from dicore._native.dataset import Element, PersonName
from dicore.dataset.charset import encode_text
from dicore.dataset.encode import Fragments, encode, file_meta
from dicore.errors import CharacterSetError, DicomFormatError
from dicore.uid import EXPLICIT_LITTLE

if TYPE_CHECKING:
    from dicore.dataset.dataset import Dataset

__all__ = ["BINARY", "NUMBERS", "SINGLE", "TEXT", "VRS", "BulkURI", "Node", "attributes", "build", "little", "uri_of"]

BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
NUMBERS = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
SINGLE = frozenset({"LT", "ST", "UR", "UT"})  # one value: a backslash is text (PS3.5 6.2)
TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"}) | SINGLE
VRS = BINARY | NUMBERS | TEXT | {"AT", "SQ"}
_BY_CHARSET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # PS3.5 6.1.2.2
_WORD = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_CELL: dict[Any, int] = {32: 4, 64: 8}
_CHARSET = 0x00080005

#: Where bulk data can be had: a function of (path, element), or a URI that gets "?path=..." behind it.
BulkURI = str | Callable[[str, Element], str]


class Node(NamedTuple):
    """One attribute as a model has it. `values`: bytes for BINARY; lists of Nodes for SQ; else text or numbers, None
    for an empty one among several."""

    tag: int
    vr: str
    values: Any


def attributes(dataset: Dataset) -> Iterator[Element]:
    """The elements of one level that a model has: in ascending order, without group lengths (PS3.18 F.2.2), and of one
    that stands twice the one that counts."""
    found = {int(element.tag): element for element in dataset if element.tag & 0xFFFF and element.tag >> 16 != 2}
    return (found[tag] for tag in sorted(found))


def little(element: Element, dataset: Dataset) -> bytes:
    """The bytes of a binary value of `dataset` in little endian (PS3.18 F.2.7, PS3.19 A.1.5)."""
    raw = bytes(element.raw)
    width = _WORD.get(element.vr, 1)
    if element.vr == "OW" and element.tag == 0x7FE00010:
        width = _CELL.get(dataset.get("BitsAllocated"), width)  # as edits do
    if element.is_little_endian or width == 1 or element.is_undefined_length:
        return raw
    whole = len(raw) - len(raw) % width
    swapped = bytearray(raw)
    for i in range(width):
        swapped[i:whole:width] = raw[width - 1 - i : whole : width]
    return bytes(swapped)


def uri_of(uri: BulkURI, path: str, element: Element) -> str:
    return uri(path, element) if callable(uri) else f"{uri}?path={quote(path, safe='')}"


def build(nodes: Iterable[Node], transfer_syntax: str = EXPLICIT_LITTLE) -> Dataset:
    """A Dataset of these attributes, in explicit VR little endian; a whole file when it has SOP Class and Instance UID.

    Text is written in the Specific Character Set that is among the attributes, and in ISO_IR 192 where that cannot hold
    it. With a `transfer_syntax` for compressed frames the Pixel Data is the items as `Element.raw` gives them.
    Raises DicomFormatError for values that do not fit their VR.
    """
    from dicore.dataset.dataset import Dataset

    listed = list(nodes)
    try:
        body = encode(_elements(listed, (), False, "", transfer_syntax))
    except CharacterSetError:
        body = encode(_elements(_in_utf8(listed), ("ISO_IR 192",), True, "", transfer_syntax))
    except ValueError as error:
        raise DicomFormatError(str(error)) from None
    uids = [
        str(node.values[0]).encode("ascii", "replace")  # bytes: taken as they are, be they a UID or not
        for node in sorted(listed, key=lambda node: node.tag)
        if node.tag in (0x00080016, 0x00080018) and node.values
    ]
    if len(uids) == 2:
        return Dataset.from_bytes(file_meta(uids[0], uids[1], transfer_syntax) + body)
    return Dataset.from_bytes(body, transfer_syntax=transfer_syntax)


def _in_utf8(nodes: list[Node]) -> list[Node]:
    return [Node(_CHARSET, "CS", ["ISO_IR 192"]), *(node for node in nodes if node.tag != _CHARSET)]


def _elements(
    nodes: list[Node], charsets: tuple[str, ...], utf8: bool, prefix: str, transfer_syntax: str
) -> list[tuple[int, str, Any]]:
    for node in nodes:
        if node.tag == _CHARSET and node.values and not utf8:
            charsets = tuple(str(value or "") for value in node.values)
    elements: list[tuple[int, str, Any]] = []
    for node in nodes:
        path = f"{prefix}{node.tag >> 16:04X},{node.tag & 0xFFFF:04X}"
        if node.tag == _CHARSET and utf8 and prefix:
            continue
        if node.vr == "SQ":
            items = [
                _elements(item, charsets, utf8, f"{path}[{number}].", transfer_syntax)
                for number, item in enumerate(node.values)
            ]
            elements.append((node.tag, "SQ", items))
            continue
        try:
            value = _bytes(node, charsets)
        except CharacterSetError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise DicomFormatError(f"{node.vr}: {error}", tag_path=path) from None
        vr = node.vr
        if node.tag == 0x7FE00010 and not prefix and _compressed(transfer_syntax) and value:
            elements.append((node.tag, vr, Fragments(value)))
            continue
        if len(value) > 0xFFFE and vr not in BINARY and vr not in ("UC", "UR", "UT", "SV", "UV"):
            vr = "UN"  # PS3.5 6.2.2 note 2: the length does not fit its 16 bits
        elements.append((node.tag, vr, value))
    return elements


def _compressed(transfer_syntax: str) -> bool:
    return transfer_syntax not in (EXPLICIT_LITTLE, "1.2.840.10008.1.2.1.99")


def _bytes(node: Node, charsets: tuple[str, ...]) -> bytes | Any:
    vr, values = node.vr, node.values
    if vr in BINARY:
        return bytes(values)
    if not values:
        return b""
    if vr in NUMBERS or vr == "AT":
        if any(value is None for value in values):
            raise ValueError("a number that is empty")
        raw = encode([(0x00091001, vr, list(values))])
        return raw[12:] if vr in ("SV", "UV") else raw[8:]
    if vr in SINGLE and len(values) > 1:
        raise ValueError("has one value")
    text = "\\".join(_text(vr, value) for value in values)
    if vr not in _BY_CHARSET:
        if not text.isascii():
            return text.encode("latin-1")
        return text.encode("ascii")
    return encode_text(text, charsets, person_name=vr == "PN", single=vr in SINGLE)


def _text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, PersonName)):
        raise TypeError(f"{type(value).__name__} is no value")
    if isinstance(value, float):
        if vr == "IS" and value.is_integer():
            return str(int(value))
        if not math.isfinite(value) or vr not in ("DS", "IS"):
            raise ValueError(f"{value} is no value")
        return decimal(value)
    if isinstance(value, int) and vr not in ("DS", "IS"):
        raise TypeError("a number is no text")
    return str(value)


def decimal(value: float) -> str:
    """A DS as near to `value` as its 16 characters come (PS3.5 6.2)."""
    text = repr(value)
    text = re.sub(r"\.0$", "", text)
    for digits in range(16, 0, -1):
        if len(text) <= 16:
            return text
        text = f"{value:.{digits}g}"
    return text
