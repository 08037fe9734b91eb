"""Dataset.pixels and its kin hand over to dicore.pixel."""

from __future__ import annotations

import struct

import pytest

import dicore
from conftest import peer_module
from vectors.deviations import IDS, MODALITY, PATIENT, element, part10

np = peer_module("numpy")


def us(tag: int, value: int) -> bytes:
    return element(tag, "US", struct.pack("<H", value))


def image(pixels: bytes, frames: int = 1) -> bytes:
    return part10(
        IDS + MODALITY + PATIENT + us(0x00280002, 1) + element(0x00280004, "CS", b"MONOCHROME2 ")
        + element(0x00280008, "IS", b"%-2d" % frames) + us(0x00280010, 2) + us(0x00280011, 3) + us(0x00280100, 16)
        + us(0x00280101, 16) + us(0x00280102, 15) + us(0x00280103, 0) + element(0x7FE00010, "OW", pixels)
    )  # fmt: skip


def test_frames_of_uncompressed_pixels(tmp_path) -> None:
    values = np.arange(12, dtype="<u2")
    path = tmp_path / "x.dcm"
    path.write_bytes(image(values.tobytes(), 2))
    ds = dicore.read(path)
    layout = ds.pixel_layout()
    assert (layout.rows, layout.columns, layout.frames, layout.pixel_keyword) == (2, 3, 2, "PixelData")
    assert np.array_equal(ds.pixels(), values.reshape(2, 2, 3))
    assert np.array_equal(ds.pixel_array, ds.pixels(raw=True))
    assert np.array_equal(ds.pixels(frames=1), values.reshape(2, 2, 3)[1])
    assert [int(frame[0, 0]) for frame in ds.iter_frames()] == [0, 6]
    out = np.zeros((2, 2, 3), "<u2")
    assert ds.pixels(out=out) is out
    assert np.array_equal(out, ds.pixels())
    assert not ds.pixels().flags.writeable
    pixels = ds.pixels()
    del ds
    assert int(pixels.sum()) == 66  # the array keeps the bytes alive


def test_no_pixel_data_is_a_pixel_data_error() -> None:
    ds = dicore.read(part10(IDS + MODALITY))
    for ask in (ds.pixels, ds.pixel_layout, ds.iter_frames, lambda: ds.pixel_array):
        with pytest.raises(dicore.PixelDataError, match="no pixel data"):
            ask()


def test_too_few_pixels_is_a_pixel_data_error() -> None:
    with pytest.raises(dicore.PixelDataError):
        dicore.read(image(b"\0\0\0\0")).pixels()
