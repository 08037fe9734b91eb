"""PNG and animated PNG (PNG third edition, W3C 2025), written with zlib alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["apng", "png"]

Array = npt.NDArray[Any]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # samples: grey, grey and alpha, RGB, RGBA


def png(image: Array, *, level: int = 3, text: dict[str, str] | None = None) -> bytes:
    """A PNG file of an image (rows, columns[, 1 to 4]) of uint8 or uint16; bool becomes black and white.

    `level` is zlib's, `text` goes into tEXt chunks (Latin-1). ValueError for anything else.
    """
    image = _checked(image)
    return b"".join(
        (_SIGNATURE, _header(image), *_texts(text), _chunk(b"IDAT", _packed(image, level)), _chunk(b"IEND"))
    )


def apng(frames: Iterable[Array], *, seconds: float = 0.1, loops: int = 0, level: int = 3) -> bytes:
    """An animated PNG: every frame is shown for `seconds`, all of them `loops` times (0: for ever).

    The frames are alike in shape and dtype, as `png` takes them; a viewer that knows no APNG shows the first. One frame
    makes a plain PNG. ValueError when there is none, or they differ.
    """
    pieces: list[bytes] = []
    shape: tuple[Any, ...] | None = None
    header = b""
    count = number = 0
    delay = max(1, min(65535, round(seconds * 1000)))
    for frame in frames:
        image = _checked(frame)
        if shape is None:
            shape, header = (image.shape, image.dtype), _header(image)
        elif (image.shape, image.dtype) != shape:
            raise ValueError(f"frame {count} is {image.dtype}{image.shape}, the first is {shape[1]}{shape[0]}")
        control = struct.pack(">IIIIIHHBB", number, image.shape[1], image.shape[0], 0, 0, delay, 1000, 0, 0)
        pieces.append(_chunk(b"fcTL", control))
        packed = _packed(image, level)
        if count == 0:
            pieces.append(_chunk(b"IDAT", packed))
            number += 1
        else:
            pieces.append(_chunk(b"fdAT", struct.pack(">I", number + 1) + packed))
            number += 2
        count += 1
    if count == 0:
        raise ValueError("an animation without frames")
    if count == 1:
        return b"".join((_SIGNATURE, header, pieces[1], _chunk(b"IEND")))
    return b"".join((_SIGNATURE, header, _chunk(b"acTL", struct.pack(">II", count, loops)), *pieces, _chunk(b"IEND")))


def _checked(image: Array) -> Array:
    image = np.asarray(image)
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in _COLOUR_TYPES or 0 in image.shape:
        raise ValueError(f"an image of shape {image.shape}, where (rows, columns[, 1 to 4]) is wanted")
    if image.dtype.kind != "u" or image.dtype.itemsize > 2:
        raise ValueError(f"samples of {image.dtype}, where uint8 or uint16 is wanted")
    return image


def _header(image: Array) -> bytes:
    rows, columns, samples = image.shape
    return _chunk(
        b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8 * image.dtype.itemsize, _COLOUR_TYPES[samples], 0, 0, 0)
    )


def _packed(image: Array, level: int) -> bytes:
    """Every row by filter 2, the difference to the row above: good on medical images, and one subtraction."""
    rows = np.ascontiguousarray(image.astype(image.dtype.newbyteorder(">"), copy=False)).view(np.uint8)
    rows = rows.reshape(image.shape[0], -1)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return zlib.compress(filtered.data, level)


def _texts(text: dict[str, str] | None) -> list[bytes]:
    return [
        _chunk(b"tEXt", key.encode("latin-1")[:79] + b"\0" + value.encode("latin-1", "replace"))
        for key, value in (text or {}).items()
    ]


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
