"""Our JPEG Lossless codec against streams written from the standard, and against other people's codecs."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicore
import lossless_streams
from conftest import peer_module
from dicore import pixel
from dicore._native.pixel import jpeg_lossless_decode, jpeg_lossless_encode
from dicore.dataset.encode import encapsulated
from dicore.errors import PixelDataError
from dicore.pixel import codec_table
from dicore.pixel.encoders import Options
from layouts import layout_of
from lossless_streams import BACKWARDS, FLAT, STEEP

SV1, ANY = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57"


def layout(image, bits, syntax=SV1, frames=1):
    return layout_of(image, bits, syntax, frames)


def decode(stream, like):
    out = np.zeros_like(like)
    jpeg_lossless_decode(stream, out)
    return out


@st.composite
def images(draw, most=24):
    """(image, precision): smooth or noisy, odd sizes, 1, 3 or 4 samples."""
    precision = draw(st.integers(2, 16))
    shape = (draw(st.integers(1, most)), draw(st.integers(1, most)))
    samples = draw(st.sampled_from([1, 1, 3, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = shape if samples == 1 else (*shape, samples)
    top = (1 << precision) - 1
    kind = draw(st.sampled_from(["noise", "slope", "edges"]))
    if kind == "noise":
        image = rng.integers(0, top + 1, shape)
    elif kind == "slope":
        image = (rng.integers(0, 4, shape).cumsum(0) + 3) & top
    else:
        image = rng.integers(0, 2, shape) * top
    return image.astype("u1" if precision <= 8 and draw(st.booleans()) else "u2"), precision


@settings(max_examples=150, deadline=None)
@given(images(), st.integers(1, 7), st.data())
def test_streams_written_from_the_standard(made, predictor, data):
    image, precision = made
    point = data.draw(st.integers(0, min(3, precision - 1)))
    image = image >> point << point
    stream = lossless_streams.stream(
        image,
        precision,
        predictor=predictor,
        point=point,
        restart_rows=data.draw(st.sampled_from([0, 0, 1, 2, 5])),
        interleaved=data.draw(st.booleans()),
        lengths=data.draw(st.sampled_from([(FLAT,), (STEEP,), (BACKWARDS, FLAT), (FLAT, STEEP, BACKWARDS)])),
        fill=data.draw(st.integers(0, 2)),
        eoi=data.draw(st.booleans()),
    )
    np.testing.assert_array_equal(decode(stream, image), image)


@pytest.mark.parametrize("restart_rows", [0, 1, 7])
@pytest.mark.parametrize(("samples", "lengths"), [(1, (STEEP,)), (3, (FLAT,)), (3, (FLAT, STEEP))])
@pytest.mark.parametrize("predictor", [1, 7])
def test_large_streams(restart_rows, samples, lengths, predictor):
    """Long enough for lanes; most codes of BACKWARDS and STEEP are longer than the fast table."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 40, (120, 160, samples)).cumsum(1).astype("u2") & 0xFFF
    image[30:60] = 7  # one bit a sample for thousands of samples
    image[70, 20:150] = rng.integers(0, 4096, (130, samples))
    image = image[..., 0] if samples == 1 else image
    stream = lossless_streams.stream(image, 12, predictor=predictor, restart_rows=restart_rows, lengths=lengths)
    np.testing.assert_array_equal(decode(stream, image), image)


@pytest.mark.parametrize("interleaved", [True, False])
def test_the_height_may_follow_the_first_scan(interleaved):
    """B.2.5: 0 lines in the frame header, DNL behind the first scan."""
    image = np.random.default_rng(6).integers(0, 4096, (9, 11, 3)).astype("u2")
    stream = lossless_streams.stream(image, 12, interleaved=interleaved)
    height = stream.index(b"\xff\xc3") + 5
    rest = [i for i in range(len(stream)) if stream[i : i + 2] in (b"\xff\xc4", b"\xff\xd9")]
    behind = rest[1]  # the next scan's tables, or the end
    lines = lossless_streams.segment(0xDC, b"\x00\x09")
    none = stream[:height] + b"\0\0" + stream[height + 2 :]
    told = none[:behind] + lines + none[behind:]
    np.testing.assert_array_equal(decode(told, image), image)
    wrong = none[:behind] + lossless_streams.segment(0xDC, b"\x00\x08") + none[behind:]
    unasked = stream[: stream.index(b"\xff\xc4")] + lines + stream[stream.index(b"\xff\xc4") :]
    for bad in (none, wrong, unasked):
        with pytest.raises(PixelDataError):
            decode(bad, image)


def test_the_streams_of_these_tests_are_right():
    """What the slow encoder writes is what libjpeg-turbo and liblj92 read, wherever they can."""
    imagecodecs = peer_module("imagecodecs")
    rng = np.random.default_rng(1)
    for precision in range(2, 17):
        for predictor in range(1, 8):
            image = rng.integers(0, 1 << precision, (9, 14)).astype("u1" if precision <= 8 else "u2")
            options = {"predictor": predictor, "lengths": (STEEP,), "restart_rows": predictor % 3 * 2}
            stream = lossless_streams.stream(image, precision, **options)
            np.testing.assert_array_equal(imagecodecs.jpeg8_decode(stream), image)
    image = rng.integers(0, 256, (9, 14, 3)).astype("u1") & 0xFC
    stream = lossless_streams.stream(image, 8, point=2, lengths=(FLAT, STEEP))
    got = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
    np.testing.assert_array_equal(got, image)


@settings(max_examples=60, deadline=None)
@given(images(70), st.integers(1, 7))
def test_round_trip_and_strides(made, predictor):
    image, precision = made
    stream = jpeg_lossless_encode(image, precision, predictor)
    np.testing.assert_array_equal(decode(stream, image), image)
    turned = np.asfortranarray(image)[::-1]
    assert jpeg_lossless_encode(turned[::-1], precision, predictor) == stream
    out = np.zeros((2 * image.shape[0], image.shape[1], *image.shape[2:]), image.dtype)
    jpeg_lossless_decode(stream, out[::-2])
    np.testing.assert_array_equal(out[::-2], image)
    assert not out[::2].any()


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("precision", range(2, 17))
def test_others_read_what_we_write(precision, predictor):
    """libjpeg-turbo 3 and pylibjpeg's libjpeg, two independent decoders."""
    imagecodecs = peer_module("imagecodecs")
    libjpeg = peer_module("libjpeg")
    rng = np.random.default_rng(precision)
    for shape in ((41, 67), (40, 30, 3)):
        dtype = "u1" if precision <= 8 else "u2"
        image = (rng.integers(0, 6, shape).cumsum(0) * rng.integers(0, 9, shape)).astype("u2") & ((1 << precision) - 1)
        image[0, 0], image[-1, -1] = 0, (1 << precision) - 1
        image = image.astype(dtype)
        stream = jpeg_lossless_encode(image, precision, predictor)
        spaces = {"colorspace": "RGB", "outcolorspace": "RGB"} if len(shape) == 3 else {}
        np.testing.assert_array_equal(imagecodecs.jpeg8_decode(stream, **spaces), image)
        if precision > 2:  # libjpeg wants three bits at least
            np.testing.assert_array_equal(libjpeg.decode(stream, 0), image)


@pytest.mark.parametrize(("precision", "samples"), [(2, 1), (8, 1), (8, 3), (12, 1), (16, 1), (16, 3)])
def test_we_read_what_libjpeg_turbo_writes(precision, samples):
    imagecodecs = peer_module("imagecodecs")
    rng = np.random.default_rng(9)
    for predictor in range(1, 8):
        image = rng.integers(0, 1 << precision, (130, 140, samples)).astype("u1" if precision <= 8 else "u2")
        image[20:90] //= 3
        image = image[..., 0] if samples == 1 else image
        spaces = {"colorspace": "RGB", "outcolorspace": "RGB"} if samples == 3 else {}
        stream = imagecodecs.jpeg8_encode(image, lossless=True, predictor=predictor, bitspersample=precision, **spaces)
        np.testing.assert_array_equal(decode(stream, image), image)


@pytest.mark.parametrize(
    ("dtype", "bits"), [*(("u1", b) for b in range(2, 9)), *(("u2", b) for b in range(9, 17)), ("i2", 16)]
)
def test_dcmtk_reads_our_files(tmp_path, dtype, bits):
    pydicom = peer_module("pydicom")
    if not shutil.which("dcmdjpeg"):
        pytest.skip("DCMTK's dcmdjpeg is not installed")
    rng = np.random.default_rng(4)
    image = (rng.integers(-3, 4, (50, 60)).cumsum(1) - 20).astype(dtype)
    if dtype != "i2":
        image &= (1 << bits) - 1
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = SV1
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 50, 60, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored = image.dtype.itemsize * 8, bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, int(dtype == "i2")
    stream = jpeg_lossless_encode(image, bits)
    ds.PixelData = pydicom.encaps.encapsulate([stream + bytes(len(stream) % 2)])
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "ours.dcm", enforce_file_format=True)
    subprocess.run(["dcmdjpeg", tmp_path / "ours.dcm", tmp_path / "plain.dcm"], check=True, capture_output=True)
    np.testing.assert_array_equal(dicore.read(tmp_path / "plain.dcm").pixels(), image)
    np.testing.assert_array_equal(dicore.read(tmp_path / "ours.dcm").pixels(), image)


# ---- as a codec of dicore.pixel


def test_it_is_the_first_choice_both_ways():
    rows = {row.syntax: row for row in pixel.codecs()}
    for syntax in (SV1, ANY):
        assert rows[syntax].decode_by.startswith("dicore")
        assert rows[syntax].encode_by == "dicore"
    assert not rows["1.2.840.10008.1.2.4.50"].decode_by.startswith("dicore")


@pytest.mark.parametrize(
    ("dtype", "bits"), [("u1", 8), ("u1", 5), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16), ("i1", 8), ("u4", 16)]
)
def test_encoded_frames_decode_to_themselves(dtype, bits):
    rng = np.random.default_rng(2)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if dtype[0] == "i" else (0, 1 << bits)
    frames = [rng.integers(low, high, (20, 30)).astype(dtype) for _ in range(3)]
    made = layout(frames[0], bits, frames=3)
    adapter = codec_table.CODECS["jpeg"][0]
    items = encapsulated([adapter.encode(frame, made, Options()) for frame in frames])
    np.testing.assert_array_equal(pixel.decode(made, items), frames)
    out = np.zeros((3, 20, 60), dtype)[..., ::2]
    assert pixel.decode(made, items, out=out, threads=2) is out
    np.testing.assert_array_equal(out, frames)


def test_precision_beyond_bits_stored_is_dropped():
    image = np.arange(0, 4096, 7, "u2")[:585].reshape(15, 39)
    items = encapsulated([jpeg_lossless_encode(image, 16)])
    np.testing.assert_array_equal(pixel.decode(layout(image, 10), items), image & 0x3FF)
    signed = pixel.decode(layout(image.view("i2"), 10), items)
    np.testing.assert_array_equal(signed, (image << 6).view("i2") >> 6)


def test_more_bits_than_jpeg_has_are_refused():
    image = np.zeros((4, 4), "u4")
    with pytest.raises(PixelDataError, match="20 Bits Stored"):
        codec_table.CODECS["jpeg"][0].encode(image, layout(image, 20), Options())


def test_a_broken_frame_is_named_and_the_others_decode():
    image = np.random.default_rng(1).integers(0, 4096, (3, 40, 40)).astype("u2")
    streams = [bytearray(jpeg_lossless_encode(frame, 12)) for frame in image]
    streams[1] = streams[1][:-500]
    made, items = layout(image[0], 12, frames=3), encapsulated([bytes(s) for s in streams])
    with pytest.raises(PixelDataError) as caught:
        pixel.decode(made, items)
    assert caught.value.frame == 1
    np.testing.assert_array_equal(pixel.decode(made, items, frames=[0, 2]), image[[0, 2]])


def test_arguments_are_checked():
    image = np.zeros((4, 4), "u2")
    stream = jpeg_lossless_encode(image, 12)
    frozen = np.zeros((4, 4), "u2")
    frozen.flags.writeable = False
    for target, error in (
        (np.zeros((4, 4), ">u2"), ValueError),
        (np.zeros((4, 4), "f4"), ValueError),
        (np.zeros(16, "u2"), ValueError),
        (np.zeros((4, 4, 5), "u2"), ValueError),
        (frozen, (BufferError, ValueError)),
        (np.zeros((4, 5), "u2"), PixelDataError),
        (np.zeros((4, 4), "u1"), (ValueError, PixelDataError)),
    ):
        with pytest.raises(error):
            jpeg_lossless_decode(stream, target)
    for precision, predictor in ((1, 1), (17, 1), (12, 0), (12, 8)):
        with pytest.raises(ValueError, match="precision"):
            jpeg_lossless_encode(image, precision, predictor)
    with pytest.raises(PixelDataError):
        jpeg_lossless_decode(b"", image)
