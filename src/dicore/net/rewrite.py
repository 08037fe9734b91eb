"""A data set in another, uncompressed transfer syntax: decoded by `dicore.transcode` where it is compressed, rewritten
by pydicom where it is not."""

from __future__ import annotations

import io
from typing import Any

from dicore import uid
from dicore.dataset import Dataset

__all__ = ["rewrite"]

_WIDTHS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def rewrite(data: bytes | memoryview, transfer_syntax: str) -> bytes:
    """The data set (without group 0002) of a Part 10 file, written in `transfer_syntax`, an uncompressed one.

    Raises PixelDataError, CodecUnavailable where compressed pixels cannot be decoded."""
    from dicore._native import net as native
    from dicore.transcode import transcode

    here = native.identify_bytes(data)[2]
    if here not in uid.UNCOMPRESSED:
        whole = transcode(Dataset.from_bytes(data), uid.EXPLICIT_LITTLE, verify=False).part10_bytes()
        start = native.identify_bytes(whole)[3]
        return bytes(whole[start:]) if transfer_syntax == uid.EXPLICIT_LITTLE else rewrite(whole, transfer_syntax)
    import pydicom
    from pydicom.filewriter import write_dataset

    dataset: Any = pydicom.dcmread(io.BytesIO(data), force=True)
    little = transfer_syntax != uid.EXPLICIT_BIG
    was_little = dataset.original_encoding[1]
    dataset.decode()
    if little != was_little:
        _swap(dataset)
    out = pydicom.filebase.DicomBytesIO()
    out.is_little_endian = little
    out.is_implicit_VR = transfer_syntax == uid.IMPLICIT_LITTLE
    for tag in [tag for tag in dataset if tag.tag.element == 0]:
        del dataset[tag.tag]  # group lengths would be wrong (PS3.5 7.2 retired them)
    write_dataset(out, dataset)
    return bytes(out.getvalue())


def _swap(dataset: Any) -> None:
    """Turn the bytes of values that pydicom carries as it found them."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _swap(item)
        elif element.VR in _WIDTHS and isinstance(element.value, bytes):
            width = _WIDTHS[element.VR]
            if element.tag == 0x7FE00010 and element.VR == "OW":
                width = {32: 4, 64: 8}.get(dataset.get("BitsAllocated"), width)  # cells, as edits turn them
            value = bytearray(element.value)
            whole = len(value) // width * width
            turned = bytearray(whole)
            for i in range(width):
                turned[i::width] = value[width - 1 - i : whole : width]
            value[:whole] = turned
            element.value = bytes(value)
