"""What the Image Pixel module may say, and what is refused before anything is allocated."""

from __future__ import annotations

import pytest

from dicore import pixel
from dicore.errors import PixelDataError

LITTLE = "1.2.840.10008.1.2.1"
BASE = {
    "Rows": 4,
    "Columns": 6,
    "SamplesPerPixel": 1,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "PhotometricInterpretation": "MONOCHROME2",
}


def layout(transfer_syntax=LITTLE, keyword="PixelData", vr="OW", **changes):
    return pixel.layout_from((BASE | changes).get, transfer_syntax, pixel_keyword=keyword, pixel_vr=vr)


def test_a_plain_image():
    made = layout()
    assert (made.rows, made.columns, made.samples, made.frames) == (4, 6, 1, 1)
    assert made.shape == (4, 6)
    assert made.frame_bytes == 48
    assert made.dtype == "<u2"
    assert not made.encapsulated


def test_shapes_and_dtypes():
    assert layout(SamplesPerPixel=3, PhotometricInterpretation="RGB", NumberOfFrames=5).shape == (5, 4, 6, 3)
    assert layout(PixelRepresentation=1).dtype == "<i2"
    assert layout("1.2.840.10008.1.2.2", BitsAllocated=32).dtype == ">u4"
    assert layout(BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=1).dtype == "u1"
    assert layout(keyword="FloatPixelData", BitsAllocated=32).dtype == "<f4"
    assert layout(keyword="DoubleFloatPixelData", BitsAllocated=None, BitsStored=None).dtype == "<f8"


@pytest.mark.parametrize("absent", ["SamplesPerPixel", "BitsStored", "HighBit", "PixelRepresentation"])
def test_what_only_makes_sense_one_way_may_be_missing(absent):
    assert layout(**{absent: None}).shape == (4, 6)


@pytest.mark.parametrize(("value", "frames"), [(None, 1), ("", 1), (0, 1), ("3", 3), ([2], 2), (7.0, 7)])
def test_number_of_frames_as_files_have_it(value, frames):
    assert layout(NumberOfFrames=value).frames == frames


@pytest.mark.parametrize(
    "changes",
    [
        {"Rows": None},
        {"Columns": 0},
        {"Rows": 65536},
        {"Rows": [4, 4]},
        {"Rows": "four"},
        {"Rows": 4.5},
        {"Columns": float("nan")},
        {"Columns": float("inf")},
        {"SamplesPerPixel": 2},
        {"SamplesPerPixel": 5},
        {"BitsAllocated": None},
        {"BitsAllocated": 12},
        {"BitsAllocated": 24},
        {"BitsAllocated": 128},
        {"BitsStored": 17},
        {"BitsStored": 0},
        {"PixelRepresentation": 2},
        {"SamplesPerPixel": 3, "PlanarConfiguration": 2},
        {"NumberOfFrames": "1A"},
        {"NumberOfFrames": -1},
        {"NumberOfFrames": 2**31},
        {"NumberOfFrames": [1, 2]},
        {
            "SamplesPerPixel": 3,
            "PhotometricInterpretation": "YBR_FULL_422",
            "Columns": 5,
            "BitsAllocated": 8,
            "BitsStored": 8,
        },
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "BitsAllocated": 16},
    ],
    ids=str,
)
def test_nonsense_is_refused(changes):
    with pytest.raises(PixelDataError):
        layout(**changes)


def test_a_float_element_has_its_own_width():
    with pytest.raises(PixelDataError):
        layout(keyword="FloatPixelData", BitsAllocated=16)
    with pytest.raises(PixelDataError):
        layout(keyword="Rows")


def test_sizes_beyond_any_memory_fail_before_allocating():
    huge = layout(Rows=65535, Columns=65535, NumberOfFrames=2**31 - 1, BitsAllocated=8, BitsStored=8)
    with pytest.raises(PixelDataError, match="64 bytes"):
        pixel.decode(huge, bytes(64))
    assert next(iter(pixel.iter_frames(layout(NumberOfFrames=2**31 - 1), bytes(64)))).shape == (4, 6)
    with pytest.raises(PixelDataError):
        layout(Rows=65535, Columns=65535, NumberOfFrames=2**31 - 1, BitsAllocated=64)


def test_a_layout_is_a_value():
    assert layout() == layout()
    assert hash(layout()) == hash(layout())
    with pytest.raises(AttributeError):
        layout().rows = 5
