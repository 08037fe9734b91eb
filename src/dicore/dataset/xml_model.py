"""The Native DICOM Model (PS3.19 A.1): a data set as XML, both ways.

Of a person name the components are apart, so trailing ^ and = are not kept (PS3.5 6.2.1 lets them be left out).
XML 1.0 has no control characters but tab and line ends. An element whose text has others is written as VR UN with its
bytes as InlineBinary, which nothing is lost by: the dictionary knows the VR of a public UN.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from dicore._native.dataset import Element
from dicore.dataset.model import BINARY, NUMBERS, VRS, BulkURI, Node, attributes, build, little, uri_of
from dicore.errors import DicomFormatError
from dicore.uid import EXPLICIT_LITTLE

if TYPE_CHECKING:
    from dicore.dataset.dataset import Dataset

__all__ = ["from_xml", "to_xml"]

_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {ord(c): f"&#{ord(c)};" for c in '&<>"\t\n\r'}  # line ends and tabs as they are, through any parser
_DEPTH = 1024  # of XML elements: some 128 sequences


def to_xml(dataset: Dataset, *, bulk_data_threshold: int = 1024, bulk_data_uri: BulkURI | None = None) -> str:
    """A data set as one XML document. `bulk_data_threshold` and `bulk_data_uri` as for `json_model.to_dict`."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<NativeDicomModel xml:space="preserve" xmlns="{_NAMESPACE}">']
    _write(dataset, bulk_data_threshold // 4 * 3, bulk_data_uri, "", lines)
    lines.append("</NativeDicomModel>")
    return "\n".join(lines) + "\n"


def _write(dataset: Dataset, threshold: int, uri: BulkURI | None, prefix: str, lines: list[str]) -> None:
    for element in attributes(dataset):
        path = f"{prefix}{element.tag >> 16:04X},{element.tag & 0xFFFF:04X}"
        body: list[str] = []
        vr = element.vr
        if vr == "SQ":
            for number, item in enumerate(element.value):
                body.append(f'<Item number="{number + 1}">')
                _write(item, threshold, uri, f"{path}[{number}].", body)
                body.append("</Item>")
        elif vr in BINARY:
            body = _bulk(dataset, element, threshold, uri, path)
        elif element.VM:
            values = element.value if isinstance(element.value, list) else [element.value]
            if isinstance(element.value, bytes) or not all(_fits(vr, v) for v in map(str, values)):
                vr, body = "UN", _bulk(dataset, element, threshold, uri, path)
            elif vr == "PN":
                body = [_name(number, str(value)) for number, value in enumerate(values, 1)]
            else:
                body = [f'<Value number="{n}">{_text(vr, v)}</Value>' for n, v in enumerate(values, 1)]
        named = f' keyword="{element.keyword}"' if element.keyword else ""
        if element.is_private and element.private_creator:
            named += f' privateCreator="{_NOT_XML.sub("?", element.private_creator).translate(_ESCAPES)}"'
        lines.append(f'<DicomAttribute tag="{int(element.tag):08X}" vr="{vr}"{named}>')
        lines += body
        lines.append("</DicomAttribute>")


def _fits(vr: str, text: str) -> bool:
    """XML can hold the characters, and the model the parts of a name."""
    if _NOT_XML.search(text):
        return False
    return vr != "PN" or (text.count("=") < 3 and all(group.count("^") < 5 for group in text.split("=")))


def _bulk(dataset: Dataset, element: Element, threshold: int, uri: BulkURI | None, path: str) -> list[str]:
    if not element.length:
        return []
    if uri is not None and element.length > threshold:
        return [f'<BulkData uri="{uri_of(uri, path, element).translate(_ESCAPES)}"/>']
    return [f"<InlineBinary>{base64.b64encode(little(element, dataset)).decode('ascii')}</InlineBinary>"]


def _text(vr: str, value: Any) -> str:
    if vr == "AT":
        return f"{int(value):08X}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"  # as XML Schema writes them
        return repr(value).removesuffix(".0")
    return str(value).translate(_ESCAPES)


def _name(number: int, text: str) -> str:
    groups = []
    for name, group in zip(_GROUPS, text.split("="), strict=False):
        parts = zip(_PARTS, group.split("^"), strict=False)
        inner = "".join(f"<{part}>{value.translate(_ESCAPES)}</{part}>" for part, value in parts if value)
        if inner:
            groups.append(f"<{name}>{inner}</{name}>")
    return f'<PersonName number="{number}">{"".join(groups)}</PersonName>'


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Tree:
    """One XML element: its name without namespace, attributes, children, and the text right in it."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes_: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes_
        self.children: list[_Tree] = []
        self.text: list[str] = []


def from_xml(
    source: str | bytes, *, bulk_data: Callable[[str], bytes] | None = None, transfer_syntax: str = EXPLICIT_LITTLE
) -> Dataset:
    """A Dataset from a Native DICOM Model document, encoded in explicit VR little endian.

    `bulk_data` gives the bytes for the uri or uuid of a BulkData; `transfer_syntax` as for `json_model.from_json`. A
    document type declaration is refused, and with it every entity. Raises DicomFormatError.
    """
    root = _parse(source)
    if root.name != "NativeDicomModel":
        raise DicomFormatError(f"<{root.name[:64]}> is no Native DICOM Model", expected="<NativeDicomModel>")
    return build(_nodes(root, bulk_data, ""), transfer_syntax)


def _parse(source: str | bytes) -> _Tree:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    top = _Tree("", {})
    stack = [top]

    def start(name: str, attributes_: dict[str, str]) -> None:
        if len(stack) > _DEPTH:
            raise DicomFormatError(f"XML nested deeper than {_DEPTH}")
        tree = _Tree(name.rpartition(" ")[2], attributes_)
        stack[-1].children.append(tree)
        stack.append(tree)

    def refuse(*_: object) -> None:
        raise DicomFormatError("a document type declaration", expected="none")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = lambda text: stack[-1].text.append(text)
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(source, True)
    except (expat.ExpatError, ValueError) as error:  # ValueError: text that has no UTF-8
        raise DicomFormatError(f"not XML: {error}") from None
    return top.children[0]


def _nodes(parent: _Tree, bulk_data: Callable[[str], bytes] | None, prefix: str) -> list[Node]:
    nodes: list[Node] = []
    creators: dict[int, str] = {}
    for tree in parent.children:
        if tree.name != "DicomAttribute":
            continue
        name, vr = tree.attributes.get("tag", ""), tree.attributes.get("vr", "")
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", name):
            raise DicomFormatError(f"{name[:64]!r} is no tag", tag_path=prefix.rstrip(".") or None)
        tag = int(name, 16)
        path = f"{prefix}{tag >> 16:04X},{tag & 0xFFFF:04X}"
        if vr not in VRS:
            raise DicomFormatError(f"no VR: {vr[:64]!r}", tag_path=path)
        if tag >> 16 == 2 or tag & 0xFFFF == 0:
            continue
        if tag >> 16 & 1 and tag & 0xFFFF >= 0x1000 and tree.attributes.get("privateCreator"):
            creators[tag & 0xFFFF0000 | (tag >> 8 & 0xFF)] = tree.attributes["privateCreator"]
        nodes.append(Node(tag, vr, _values(vr, tree, bulk_data, path)))
    there = {node.tag for node in nodes}
    return nodes + [Node(tag, "LO", [name]) for tag, name in creators.items() if tag not in there]


def _values(vr: str, tree: _Tree, bulk_data: Callable[[str], bytes] | None, path: str) -> Any:
    raw = b""
    numbered: list[tuple[int, Any]] = []
    for child in tree.children:
        if child.name == "InlineBinary":
            try:
                raw = base64.b64decode("".join("".join(child.text).split()), validate=True)
            except binascii.Error as error:
                raise DicomFormatError(f"InlineBinary: {error}", tag_path=path, expected="base64") from None
        elif child.name == "BulkData":
            uri = child.attributes.get("uri") or child.attributes.get("uuid") or ""
            if bulk_data is None:
                raise DicomFormatError(f"bulk data at {uri!r}", tag_path=path, expected="bulk_data= to get it by")
            raw = bulk_data(uri)
        elif child.name in ("Item", "Value", "PersonName"):
            number = child.attributes.get("number", str(len(numbered) + 1))
            if not number.isascii() or not number.isdigit() or not 1 <= int(number[:9]) <= 1_000_000:
                raise DicomFormatError(f"number {number[:64]!r}", tag_path=path, expected="1, 2, ...")
            numbered.append((int(number), child))
    if vr in BINARY:
        return raw
    if raw:
        raise DicomFormatError(f"binary for VR {vr}", tag_path=path, expected="Value")
    count = max((number for number, _ in numbered), default=0)
    if count > 2 * len(numbered) + 1000:
        raise DicomFormatError(f"value number {count} of {len(numbered)}", tag_path=path)
    values: list[Any] = [[] if vr == "SQ" else None] * count
    for position, child in numbered:
        at = f"{path}[{position - 1}]"
        values[position - 1] = _nodes(child, bulk_data, at + ".") if vr == "SQ" else _single(vr, child, path)
    return values


def _single(vr: str, child: _Tree, path: str) -> Any:
    if vr == "PN":
        groups = {group.name: group for group in child.children}
        return "=".join(_group(groups.get(name)) for name in _GROUPS).rstrip("=")
    text = "".join(child.text)
    try:
        if vr == "AT":
            return int(text, 16)
        if vr in ("FL", "FD"):
            return float(text)
        return int(text) if vr in NUMBERS else text
    except ValueError as error:
        raise DicomFormatError(str(error), tag_path=path) from None


def _group(group: _Tree | None) -> str:
    if group is None:
        return ""
    parts = {part.name: "".join(part.text) for part in group.children}
    return "^".join(parts.get(name, "") for name in _PARTS).rstrip("^")
