"""Our RLE Lossless codec against itself, a decoder that is the standard's text, and other people's codecs."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicore
from conftest import peer_module
from dicore import pixel
from dicore._native.pixel import rle_decode, rle_encode, rle_frame
from dicore.dataset.encode import encapsulated
from dicore.errors import PixelDataError
from dicore.pixel import codec_table
from dicore.pixel.encoders import Options

RLE = "1.2.840.10008.1.2.5"


def unpacked(segment):
    """PS3.5 G.3.2."""
    out, at = bytearray(), 0
    while at < len(segment):
        code = segment[at]
        if code < 128:
            out += segment[at + 1 : at + 2 + code]
            at += 2 + code
        else:
            out += segment[at + 1 : at + 2] * (257 - code if code > 128 else 0)
            at += 2 if code > 128 else 1
    return bytes(out)


def by_the_book(frame, shape, size):
    """An array (rows, columns, samples) of `size`-byte samples, from the segments as G.2 orders them."""
    count = int.from_bytes(frame[:4], "little")
    starts = [int.from_bytes(frame[4 + 4 * i : 8 + 4 * i], "little") for i in range(count)] + [len(frame)]
    assert starts[0] == 64
    assert all(s % 2 == 0 for s in starts)
    planes = [unpacked(frame[a:b])[: shape[0] * shape[1]] for a, b in itertools.pairwise(starts)]
    pixels = np.stack([np.frombuffer(p, "u1").reshape(shape[:2]) for p in planes], axis=-1)
    ordered = pixels.reshape(*shape[:2], count // size, size)[..., ::-1]
    return np.ascontiguousarray(ordered).view(f"<u{size}")[..., 0]


def layout(image, bits=0, frames=1, signed=False):
    elements = {
        "Rows": image.shape[0],
        "Columns": image.shape[1],
        "SamplesPerPixel": image.shape[2] if image.ndim == 3 else 1,
        "NumberOfFrames": frames,
        "BitsAllocated": bits if bits == 1 else image.dtype.itemsize * 8,
        "BitsStored": bits or image.dtype.itemsize * 8,
        "PixelRepresentation": int(image.dtype.kind == "i"),
        "PhotometricInterpretation": "RGB" if image.ndim == 3 else "MONOCHROME2",
    }
    return pixel.layout_from(elements.get, RLE)


@st.composite
def images(draw):
    """Runs of all lengths beside noise, odd sizes, 8, 16 and 32 bits, 1 and 3 samples."""
    shape = (draw(st.integers(1, 40)), draw(st.one_of(st.integers(1, 40), st.integers(100, 700))))
    samples, size = draw(st.sampled_from([1, 1, 3])), draw(st.sampled_from([1, 2, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = shape if samples == 1 else (*shape, samples)
    flat = rng.integers(0, 256, shape).astype(f"u{size}")
    image = np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0])), flat, flat.flat[0])
    return image.astype(f"u{size}") * draw(st.sampled_from([1, 1 << (8 * size - 8)]))


@settings(max_examples=150, deadline=None)
@given(images())
def test_round_trip_through_our_decoder_and_the_book(image):
    frame = rle_encode(image)
    out = np.zeros_like(image)
    rle_decode(frame, out)
    np.testing.assert_array_equal(out, image)
    shape = (*image.shape, 1) if image.ndim == 2 else image.shape
    np.testing.assert_array_equal(by_the_book(frame, shape, image.dtype.itemsize), image.reshape(shape))
    wide = np.zeros((image.shape[0], image.shape[1] * 2, *image.shape[2:]), image.dtype)
    rle_decode(frame, wide[::-1, ::2])
    np.testing.assert_array_equal(wide[::-1, ::2], image)
    assert not wide[:, 1::2].any()
    assert rle_encode(wide[::-1, ::2]) == frame
    flat = np.zeros(image.nbytes, "u1")
    rle_frame(frame, flat.data, image.shape[0] * image.shape[1], shape[2], image.dtype.itemsize)
    assert flat.tobytes() == image.tobytes()


@settings(max_examples=40, deadline=None)
@given(images())
def test_others_read_what_we_write_and_we_what_they_write(image):
    imagecodecs = peer_module("imagecodecs")
    rle = peer_module("rle")
    frame, rows, columns = rle_encode(image), *image.shape[:2]
    samples = image.shape[2] if image.ndim == 3 else 1
    planes = np.frombuffer(imagecodecs.dicomrle_decode(frame, image.dtype.newbyteorder("<")), image.dtype)
    np.testing.assert_array_equal(
        np.moveaxis(planes.reshape(samples, rows, columns), 0, -1), image.reshape(rows, columns, -1)
    )
    header = {
        "rows": rows,
        "columns": columns,
        "bits_allocated": image.dtype.itemsize * 8,
        "samples_per_pixel": samples,
    }
    theirs = bytes(rle.encode_pixel_data(image.tobytes(), byteorder="<", **header))
    out = np.zeros_like(image)
    rle_decode(theirs, out)
    np.testing.assert_array_equal(out, image)


def test_dcmtk_and_pydicom_read_our_files(tmp_path):
    pydicom = peer_module("pydicom")
    if not shutil.which("dcmdrle"):
        pytest.skip("DCMTK's dcmdrle is not installed")
    rng = np.random.default_rng(4)
    for number, shape in enumerate([(50, 61), (50, 61, 3)]):
        image = rng.integers(0, 3, shape).cumsum(1).astype("u1" if len(shape) == 3 else "u2")
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = RLE
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"1.2.3.{number}"
        ds.Rows, ds.Columns, ds.SamplesPerPixel = *shape[:2], image.size // 3050
        ds.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
        if len(shape) == 3:
            ds.PlanarConfiguration = 0
        ds.BitsAllocated = ds.BitsStored = image.dtype.itemsize * 8
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
        ds.PixelData = pydicom.encaps.encapsulate([rle_encode(image)])
        ds["PixelData"].VR = "OB"
        ds.save_as(tmp_path / "ours.dcm", enforce_file_format=True)
        subprocess.run(["dcmdrle", tmp_path / "ours.dcm", tmp_path / "plain.dcm"], check=True, capture_output=True)
        np.testing.assert_array_equal(dicore.read(tmp_path / "plain.dcm").pixels(), image)
        np.testing.assert_array_equal(dicore.read(tmp_path / "ours.dcm").pixels(), image)
        theirs = pydicom.dcmread(tmp_path / "ours.dcm")
        theirs.pixel_array_options(decoding_plugin="pydicom")
        np.testing.assert_array_equal(theirs.pixel_array, image)


# ---- as a codec of dicore.pixel


def test_it_is_the_codec_both_ways():
    row = {row.syntax: row for row in pixel.codecs()}[RLE]
    assert (row.decode_by, row.encode_by) == ("dicore", "dicore")


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("shape", [(20, 31), (20, 31, 3)])
def test_encoded_frames_decode_to_themselves(dtype, shape):
    rng = np.random.default_rng(2)
    limits = np.iinfo(dtype)
    frames = [rng.integers(limits.min, limits.max, shape, endpoint=True, dtype=dtype) for _ in range(3)]
    made = layout(frames[0], frames=3)
    items = encapsulated([codec_table.CODECS["rle"][0].encode(frame, made, Options()) for frame in frames])
    np.testing.assert_array_equal(pixel.decode(made, items), frames)
    out = np.zeros((3, *shape), dtype)[:, :, ::-1]
    assert pixel.decode(made, items, out=out, threads=2) is out
    np.testing.assert_array_equal(out, frames)


def test_one_bit_frames():
    image = np.random.default_rng(1).integers(0, 2, (13, 21)).astype("u1")
    made = layout(image, 1)
    items = encapsulated([codec_table.CODECS["rle"][0].encode(image, made, Options())])
    np.testing.assert_array_equal(pixel.decode(made, items), image)


@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_bits_above_bits_stored_are_dropped_and_the_sign_extended(dtype):
    image = np.array([[0xF001, 0x0FFF], [0x8800, 0x07FF]], "u2").view(dtype)
    want = (image.view("u2") << 4).view(dtype) >> 4
    np.testing.assert_array_equal(pixel.decode(layout(image, 12), encapsulated([rle_encode(image)])), want)


def test_what_rle_cannot_hold_is_refused():
    for image in (np.zeros((2, 2), "u8"), np.zeros((2, 2), "f4"), np.zeros((2, 2, 4), "u4")):
        made = layout(np.zeros(image.shape, "u4"))
        with pytest.raises(PixelDataError):
            codec_table.CODECS["rle"][0].encode(image, made, Options())
    with pytest.raises(ValueError, match="15 bytes"):
        rle_encode(np.zeros((2, 2, 4), "u4"))


def test_a_broken_frame_is_named_and_the_others_decode():
    image = np.random.default_rng(1).integers(0, 4096, (3, 40, 40)).astype("u2")
    frames = [rle_encode(frame) for frame in image]
    frames[1] = frames[1][:-200]
    made, items = layout(image[0], frames=3), encapsulated(frames)
    with pytest.raises(PixelDataError) as caught:
        pixel.decode(made, items)
    assert caught.value.frame == 1
    np.testing.assert_array_equal(pixel.decode(made, items, frames=[0, 2]), image[[0, 2]])
