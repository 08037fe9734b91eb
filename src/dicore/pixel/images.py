"""Arrays to something to look at: the linear VOI window and 8-bit images of plain arrays, without a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicore._native import kernels

__all__ = ["render", "window", "windowed"]

Array = npt.NDArray[Any]
_KINDS = frozenset(("u1", "i1", "u2", "i2", "u4", "i4", "f4"))


def window(values: Array, center: float, width: float, *, exact: bool = False) -> npt.NDArray[np.uint8]:
    """The linear VOI window of PS3.3 C.11.2.1.2 on modality values, any shape: a new uint8 array, 0 to 255.

    `exact` is LINEAR_EXACT (C.11.2.1.3.2). A width below 1 (0 for `exact`) is a step at the centre.
    """
    return windowed(np.asarray(values), 1.0, 0.0, center, width, exact=exact)


def windowed(
    values: Array,
    slope: float,
    intercept: float,
    center: float,
    width: float,
    *,
    exact: bool = False,
    invert: bool = False,
    out: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Rescale, linear window and presentation inverse in one pass over stored values of any shape and number type."""
    if out is None:
        out = np.empty(values.shape, np.uint8)
    middle, span = (center, float(width)) if exact else (center - 0.5, float(width) - 1.0)
    if span <= 0:
        above = values.astype(np.float64) * slope + intercept > middle
        np.copyto(out, np.where(above != invert, np.uint8(255), np.uint8(0)))
        return out
    scale = 255.0 / span
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    if kind not in _KINDS or not values.dtype.isnative:
        with np.errstate(over="ignore"):
            values, kind = values.astype(np.float32), "f4"
    target = out if out.flags.c_contiguous else np.empty(values.shape, np.uint8)
    source = np.ascontiguousarray(values)
    kernels.window(source, target, kind, slope * scale, (intercept - middle) * scale + 127.5, invert)
    if target is not out:
        out[...] = target
    return out


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

    Without a window the span from the 0.5th to the 99.5th percentile is shown. For all that a data set says about its
    display there is `Dataset.render`.
    """
    if pixels.ndim >= 3 and pixels.shape[-1] in (3, 4) and photometric not in ("MONOCHROME1", "MONOCHROME2"):
        if pixels.dtype == np.uint8:
            return pixels.copy()
        top = max(1, int(pixels.max(initial=1)))
        return (pixels.astype(np.float32) * np.float32(255.0 / top)).astype(np.uint8)
    if center is None or width is None:
        low, high = (
            (float(v) * slope + intercept for v in np.percentile(pixels, (0.5, 99.5))) if pixels.size else (0, 1)
        )
        low, high = min(low, high), max(low, high)
        center, width = (low + high) / 2 + 0.5, max(2.0, high - low + 1)
    return windowed(pixels, slope, intercept, center, width, invert=photometric == "MONOCHROME1")
