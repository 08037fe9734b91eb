"""Colour: YBR to RGB (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicore._native import kernels
from dicore.pixel.layout import FrameLayout
from dicore.pixel.streams import Stream

__all__ = ["effective_photometric", "rgb_from_ybr"]

Array = npt.NDArray[Any]

# ITU-R BT.601 as JFIF has it (full range), and as studio video (partial range).
_FULL = np.array([[1, 0, 1.402], [1, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587], [1, 1.772, 0]], np.float32)
_PARTIAL = _FULL * np.array([255 / 219, 255 / 224, 255 / 224], np.float32)


def effective_photometric(layout: FrameLayout, stream: Stream | None) -> str:
    """The colour space of the decoded components: what the stream itself says comes before what the data set says."""
    if layout.samples != 3:
        return layout.photometric
    if stream is None:
        return layout.photometric
    if stream.kind == "jpeg2000":
        if stream.transformed or layout.photometric in ("YBR_RCT", "YBR_ICT"):
            return "RGB"  # the decoder has undone the transform; one that the stream did not do needs no undoing
        return layout.photometric
    if stream.kind == "jpegxl":
        return layout.photometric if layout.transfer_syntax.endswith(".111") else "RGB"
    if bytes(stream.component_ids) in (b"RGB", b"rgb") or stream.adobe == 0:
        return "RGB"
    if stream.kind == "jpeg" and not stream.reversible and (stream.jfif or stream.adobe == 1):
        return "YBR_FULL"
    return layout.photometric


def rgb_from_ybr(frame: Array, bits: int, partial: bool = False) -> Array:
    """RGB of a frame (rows, columns, 3) of `bits`-bit Y, Cb, Cr: a new array of the same shape and dtype, rounded."""
    out = np.empty(frame.shape, frame.dtype)
    if frame.dtype.kind == "u" and (frame.dtype.itemsize == 2 or (frame.dtype.itemsize == 1 and bits == 8)):
        native = np.ascontiguousarray(frame, frame.dtype.newbyteorder("="))
        if native.dtype == out.dtype and bits <= 8 * frame.dtype.itemsize:
            kernels.rgb(native, out, frame.dtype.itemsize, bits, partial)
            return out
    half, top = float(1 << (bits - 1)), float((1 << bits) - 1)
    black = 16.0 * (1 << (bits - 8)) if partial and bits >= 8 else 0.0
    matrix = (_PARTIAL if partial else _FULL).T
    step = max(1, (1 << 18) // max(1, frame.shape[1]))  # a block of rows that stays in the cache
    for row in range(0, frame.shape[0], step):
        block = frame[row : row + step].astype(np.float32)
        block -= np.array([black, half, half], np.float32)
        block = block @ matrix
        np.rint(block, out=block)
        np.clip(block, 0.0, top, out=block)
        out[row : row + step] = block
    return out
