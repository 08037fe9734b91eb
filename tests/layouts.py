"""Frame layouts for the codecs' tests."""

from __future__ import annotations

from dicore import pixel


def layout_of(image, bits, syntax, frames=1):
    """The layout of frames like `image`: (rows, columns[, 3]) of some integer type."""
    elements = {
        "Rows": image.shape[0],
        "Columns": image.shape[1],
        "SamplesPerPixel": image.shape[2] if image.ndim == 3 else 1,
        "NumberOfFrames": frames,
        "BitsAllocated": image.dtype.itemsize * 8,
        "BitsStored": bits,
        "PixelRepresentation": int(image.dtype.kind == "i"),
        "PhotometricInterpretation": "RGB" if image.ndim == 3 else "MONOCHROME2",
    }
    return pixel.layout_from(elements.get, syntax)
