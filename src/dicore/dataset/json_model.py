"""The DICOM JSON Model (PS3.18 annex F), both ways.

What comes out is what pydicom's `to_json_dict` gives, except where PS3.18 says otherwise:

- F.2.2: attributes in ascending order, no group lengths; of a person name only the groups that are not empty;
- F.2.5: an empty sequence has no "Value"; an empty value among several is null;
- F.2.7: InlineBinary is little endian, also out of a big endian file;
- F.2.3 (RFC 8259): there is no number for NaN and infinity: they are the strings "NaN", "Infinity", "-Infinity", and a
  DS or IS that is no number stays the text it is. pydicom raises, or writes what is no JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dicore.dataset.model import BINARY, NUMBERS, VRS, BulkURI, Node, attributes, build, little, uri_of
from dicore.errors import DicomFormatError
from dicore.uid import EXPLICIT_LITTLE

if TYPE_CHECKING:
    from dicore.dataset.dataset import Dataset

__all__ = ["from_dict", "from_json", "to_dict", "to_json"]

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_DEPTH = 128


def to_dict(
    dataset: Dataset, *, bulk_data_threshold: int = 1024, bulk_data_uri: BulkURI | None = None
) -> dict[str, Any]:
    """A data set as the builtins of the DICOM JSON Model.

    A binary value (OB OD OF OL OV OW UN) that in base64 has more than `bulk_data_threshold` characters becomes a
    BulkDataURI, if `bulk_data_uri` is given: a function of (path, element), or a URI that gets "?path=..." behind it.
    All others are InlineBinary. Raises as reading the values does.
    """
    return _object(dataset, bulk_data_threshold // 4 * 3, bulk_data_uri, "")


def to_json(dataset: Dataset, *, bulk_data_threshold: int = 1024, bulk_data_uri: BulkURI | None = None) -> str:
    """`to_dict` as text: one JSON object (RFC 8259)."""
    found = to_dict(dataset, bulk_data_threshold=bulk_data_threshold, bulk_data_uri=bulk_data_uri)
    return json.dumps(found, ensure_ascii=False, allow_nan=False)


def _object(dataset: Dataset, threshold: int, uri: BulkURI | None, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in attributes(dataset):
        vr = element.vr
        attribute: dict[str, Any] = {"vr": vr}
        found[f"{int(element.tag):08X}"] = attribute
        path = f"{prefix}{element.tag >> 16:04X},{element.tag & 0xFFFF:04X}"
        if vr == "SQ":
            items = [_object(item, threshold, uri, f"{path}[{number}].") for number, item in enumerate(element.value)]
            if items:
                attribute["Value"] = items
        elif vr in BINARY or isinstance(element.value, bytes):  # bytes: a number of the wrong length
            if vr not in BINARY:
                attribute["vr"] = "UN"
            if element.length and uri is not None and element.length > threshold:
                attribute["BulkDataURI"] = uri_of(uri, path, element)
            elif element.length:
                attribute["InlineBinary"] = base64.b64encode(little(element, dataset)).decode("ascii")
        elif element.VM:
            value = element.value
            attribute["Value"] = [_value(vr, v) for v in (value if isinstance(value, list) else [value])]
    return found


def _value(vr: str, value: Any) -> Any:
    if vr == "PN":
        groups = {name: text for name, text in zip(_GROUPS, value.components, strict=False) if text}
        return groups or None
    if value == "" or value is None:
        return None
    if vr == "AT":
        return f"{int(value):08X}"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if vr == "DS" and isinstance(value, int):
        return float(value)
    return value


def from_json(
    source: str | bytes | Mapping[str, Any],
    *,
    bulk_data: Callable[[str], bytes] | None = None,
    transfer_syntax: str = EXPLICIT_LITTLE,
) -> Dataset:
    """A Dataset from DICOM JSON: text, UTF-8 bytes, or the object itself. It is encoded in explicit VR little endian.

    `bulk_data` gives the bytes for a BulkDataURI; without it one is an error. With a `transfer_syntax` for compressed
    frames the bytes of Pixel Data are the items, offset table first, as `to_dict` writes them.
    Raises DicomFormatError, with the tag path, for what is not the model.
    """
    if isinstance(source, (str, bytes)):
        try:
            source = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise DicomFormatError(f"not JSON: {error}") from None
    if isinstance(source, list) and len(source) == 1:  # as DICOMweb answers
        source = source[0]
    return from_dict(source, bulk_data=bulk_data, transfer_syntax=transfer_syntax)


def from_dict(
    source: Any, *, bulk_data: Callable[[str], bytes] | None = None, transfer_syntax: str = EXPLICIT_LITTLE
) -> Dataset:
    """`from_json` of an object that is parsed already."""
    return build(_nodes(source, bulk_data, "", 0), transfer_syntax)


def _nodes(source: Any, bulk_data: Callable[[str], bytes] | None, prefix: str, depth: int) -> list[Node]:
    if not isinstance(source, Mapping):
        raise DicomFormatError(f"{type(source).__name__} instead of an object", tag_path=prefix.rstrip(".") or None)
    if depth > _DEPTH:
        raise DicomFormatError(f"nested deeper than {_DEPTH}", tag_path=prefix.rstrip("."))
    nodes = []
    for name, attribute in source.items():
        try:
            tag = int(name, 16) if len(name) == 8 and name.isalnum() else -1
        except ValueError:
            tag = -1
        if tag < 0:
            raise DicomFormatError(f"{name!r} is no tag", tag_path=prefix or None, expected="eight hexadecimal digits")
        path = f"{prefix}{tag >> 16:04X},{tag & 0xFFFF:04X}"
        vr = attribute.get("vr") if isinstance(attribute, Mapping) else None
        if vr not in VRS:
            raise DicomFormatError(f"no VR: {vr!r}", tag_path=path, expected='an object with "vr"')
        if tag >> 16 == 2 or tag & 0xFFFF == 0:
            continue  # file meta and group lengths are no part of the model
        nodes.append(Node(tag, vr, _values(vr, attribute, bulk_data, path, depth)))
    return nodes


def _values(
    vr: str, attribute: Mapping[str, Any], bulk_data: Callable[[str], bytes] | None, path: str, depth: int
) -> Any:
    value = attribute.get("Value")
    raw = _binary(attribute, bulk_data, path)
    if raw is not None:
        if vr in BINARY:
            return raw
        raise DicomFormatError(f"binary for VR {vr}", tag_path=path, expected="Value")
    if value is not None and not isinstance(value, list):
        raise DicomFormatError("Value is no array", tag_path=path)
    if vr == "SQ":
        return [_nodes(item or {}, bulk_data, f"{path}[{n}].", depth + 1) for n, item in enumerate(value or ())]
    if vr in BINARY:
        if value:
            raise DicomFormatError(f"Value for VR {vr}", tag_path=path, expected="InlineBinary or BulkDataURI")
        return b""
    return [_single(vr, one, path) for one in value or ()]


def _binary(attribute: Mapping[str, Any], bulk_data: Callable[[str], bytes] | None, path: str) -> bytes | None:
    inline, uri = (attribute.get(name) for name in ("InlineBinary", "BulkDataURI"))
    inline, uri = (v[0] if isinstance(v, list) and len(v) == 1 else v for v in (inline, uri))
    if inline is not None:
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise DicomFormatError(f"InlineBinary: {error}", tag_path=path, expected="base64") from None
    if uri is not None:
        if bulk_data is None:
            raise DicomFormatError(f"bulk data at {uri!r}", tag_path=path, expected="bulk_data= to get it by")
        return bulk_data(uri)
    return None


def _single(vr: str, value: Any, path: str) -> Any:
    if value is None:
        return None
    try:
        if vr == "PN":
            if isinstance(value, str):  # some services do
                return value
            groups = [str(value.get(name) or "") for name in _GROUPS]
            return "=".join(groups).rstrip("=")
        if vr == "AT":
            return int(value, 16)
        if vr in NUMBERS:
            if isinstance(value, bool):
                raise TypeError("a truth value is no number")
            return float(value) if vr in ("FL", "FD") else int(value)
        if isinstance(value, (list, dict, bool)):
            raise TypeError(f"{type(value).__name__} is no value of VR {vr}")
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DicomFormatError(str(error), tag_path=path) from None
    return value
