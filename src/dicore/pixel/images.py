"""Pixels to something to look at: the linear VOI window, 8-bit images, PNG, a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.errors import CodecUnavailable

__all__ = ["contact_sheet", "png", "render", "window"]

Array = npt.NDArray[Any]


def window(values: Array, center: float, width: float, *, exact: bool = False) -> npt.NDArray[np.uint8]:
    """The linear VOI window of PS3.3 C.11.2.1.2 on modality values, any shape: a new uint8 array, 0 to 255.

    `exact` is LINEAR_EXACT (C.11.2.1.3.2). A width below 1 (0 for `exact`) is a step at the centre.
    """
    x = values.astype(np.float32)
    if exact:
        x -= np.float32(center)
        span = float(width)
    else:
        x -= np.float32(center - 0.5)
        span = float(width) - 1.0
    if span <= 0:
        return np.where(x > 0, np.uint8(255), np.uint8(0)).astype(np.uint8)
    x *= np.float32(255.0 / span)
    x += np.float32(127.5)
    np.clip(x, 0, 255, out=x)
    np.rint(x, out=x)
    return x.astype(np.uint8)


def render(
    pixels: Array,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    center: float | None = None,
    width: float | None = None,
    photometric: str = "MONOCHROME2",
) -> npt.NDArray[np.uint8]:
    """Stored values to 8 bits: rescale, window, invert MONOCHROME1. Colour of 8 bits passes as it is.

    Without a window the span from the 0.5th to the 99.5th percentile is shown.
    """
    if pixels.ndim >= 3 and pixels.shape[-1] in (3, 4) and photometric not in ("MONOCHROME1", "MONOCHROME2"):
        if pixels.dtype == np.uint8:
            return pixels.copy()
        top = max(1, int(pixels.max(initial=1)))
        return (pixels.astype(np.float32) * np.float32(255.0 / top)).astype(np.uint8)
    values = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if center is None or width is None:
        low, high = (float(v) for v in np.percentile(values, (0.5, 99.5))) if values.size else (0.0, 1.0)
        center, width = (low + high) / 2 + 0.5, max(2.0, high - low + 1)
    shown = window(values, center, width)
    return 255 - shown if photometric == "MONOCHROME1" else shown


def png(image: Array) -> bytes:
    """A PNG file of an 8- or 16-bit image (rows, columns[, 3 or 4])."""
    try:
        import imagecodecs
    except ImportError:
        raise CodecUnavailable("PNG needs imagecodecs", hint="pip install imagecodecs") from None
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def contact_sheet(images: Sequence[Array], *, columns: int = 0, tile: int = 256, gap: int = 4) -> bytes:
    """A PNG of many 8-bit images (rows, columns[, 3]) side by side, each shrunk to fit a `tile` x `tile` square.

    `columns` 0 takes the squarest arrangement that is at least as wide as high. An empty list gives one dark tile.
    """
    count = max(1, len(images))
    across = columns or int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    colour = any(image.ndim == 3 for image in images)
    sheet = np.full((down * (tile + gap) + gap, across * (tile + gap) + gap) + ((3,) if colour else ()), 24, np.uint8)
    for number, image in enumerate(images):
        small = _shrink(image, tile)
        if colour and small.ndim == 2:
            small = np.repeat(small[:, :, None], 3, axis=2)
        top = gap + number // across * (tile + gap) + (tile - small.shape[0]) // 2
        left = gap + number % across * (tile + gap) + (tile - small.shape[1]) // 2
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small[..., :3] if colour else small
    return png(sheet)


def _shrink(image: Array, tile: int) -> Array:
    """Fit into tile x tile: by the mean of whole blocks first, by the nearest pixel for the rest."""
    factor = max(image.shape[0], image.shape[1]) // tile
    if factor > 1:
        rows, cols = image.shape[0] // factor, image.shape[1] // factor
        blocks = image[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor, *image.shape[2:])
        image = blocks.mean(axis=(1, 3)).astype(np.uint8)
    longest = max(image.shape[0], image.shape[1])
    if longest > tile:
        rows, cols = max(1, image.shape[0] * tile // longest), max(1, image.shape[1] * tile // longest)
        image = image[np.arange(rows) * image.shape[0] // rows][:, np.arange(cols) * image.shape[1] // cols]
    return image
