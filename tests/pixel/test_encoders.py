"""What we encode, at every bit depth, through our decoder and through somebody else's."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest

from conftest import peer_module
from dicore import pixel
from dicore.dataset.encode import encapsulated
from dicore.errors import CodecUnavailable, PixelDataError
from dicore.pixel import codec_table
from dicore.pixel.encoders import LOSSY, Options

P = "1.2.840.10008.1.2.4."
LOSSLESS = {
    "plain": "1.2.840.10008.1.2.1.98",
    "deflate": "1.2.840.10008.1.2.8.1",
    "rle": "1.2.840.10008.1.2.5",
    **{end: P + end for end in ("57", "70", "80", "90", "201", "202", "110")},
}


def layout(image, bits, syntax, photometric=None, frames=1):
    samples = image.shape[2] if image.ndim == 3 else 1
    elements = {
        "Rows": image.shape[0],
        "Columns": image.shape[1],
        "SamplesPerPixel": samples,
        "NumberOfFrames": frames,
        "BitsAllocated": image.dtype.itemsize * 8,
        "BitsStored": bits,
        "PixelRepresentation": int(image.dtype.kind == "i"),
        "PhotometricInterpretation": photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
    }
    return pixel.layout_from(elements.get, syntax)


def picture(bits, samples=1, signed=False, wide=False, seed=0):
    """A slope with noise, and both ends of the range."""
    rng = np.random.default_rng(seed + bits)
    y, x = np.mgrid[:33, :46]
    flat = (x * 3 + y * 2 + rng.integers(0, 9, x.shape)) % (1 << bits)
    flat[0, :2] = [0, (1 << bits) - 1]
    image = flat if samples == 1 else np.stack([(flat + 40 * s) % (1 << bits) for s in range(samples)], axis=-1)
    if signed:
        image = image - (1 << bits - 1)
    return image.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 and not wide else 2}")


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("bits", range(2, 17))
def test_every_bit_depth_comes_back(name, bits):
    for samples, signed, wide in itertools.product((1, 3), (False, True), (False, True)):
        image = picture(bits, samples, signed, wide)
        made = layout(image, bits, LOSSLESS[name])
        stream = pixel.encode(image, made)
        np.testing.assert_array_equal(pixel.decode(made, encapsulated([stream]), raw=True), image)
        np.testing.assert_array_equal(pixel.decode(made, encapsulated([stream])), image)


@pytest.mark.parametrize("bits", range(2, 17))
def test_jpeg_ls_without_pyjpegls_comes_back_too(bits):
    for samples, signed, wide in itertools.product((1, 3), (False, True), (False, True)):
        image = picture(bits, samples, signed, wide)
        made = layout(image, bits, P + "80")
        stream = pixel.encode(image, made, codec="imagecodecs")
        np.testing.assert_array_equal(pixel.decode(made, encapsulated([stream]), raw=True), image)


def peers(end):
    """(name, decode) of decoders that are not ours nor the encoder's library."""
    found = []
    if end in ("57", "70", "80") and importlib.util.find_spec("libjpeg"):
        import libjpeg

        found.append(("libjpeg", lambda stream, image: libjpeg.decode(bytes(stream), 0)))
    if end in ("57", "70"):
        import imagecodecs

        space = {1: "GRAYSCALE", 3: "RGB"}
        found.append(
            (
                "libjpeg-turbo",
                lambda stream, image: imagecodecs.jpeg8_decode(
                    stream,
                    colorspace=space[1 if image.ndim == 2 else 3],
                    outcolorspace=space[1 if image.ndim == 2 else 3],
                ),
            )
        )
    if end in ("90", "201", "202"):
        import openjpeg

        found.append(("openjpeg", lambda stream, image: openjpeg.decode(bytes(stream))))
    if end == "80":
        import jpeg_ls

        found.append(("charls", lambda stream, image: jpeg_ls.decode(np.frombuffer(stream, np.uint8))))
    return found


@pytest.mark.parametrize("end", ["57", "70", "80", "90", "201", "202"])
@pytest.mark.parametrize("bits", range(2, 17))
def test_others_read_every_bit_depth(end, bits):
    decoders = peers(end)
    if not decoders:
        pytest.skip("no other decoder is installed")
    for samples, signed in itertools.product((1, 3), (False, True)):
        image = picture(bits, samples, signed)
        stream = pixel.encode(image, layout(image, bits, P + end))
        patterns = image.astype(np.int64) & ((1 << bits) - 1)
        for name, decode in decoders:
            got = np.asarray(decode(stream, image)).reshape(image.shape).astype(np.int64) & ((1 << bits) - 1)
            np.testing.assert_array_equal(got, patterns, err_msg=name)


@pytest.mark.parametrize("end", [s.rpartition(".")[2] for s in LOSSY])
@pytest.mark.parametrize("kind", ["8", "12", "rgb"])
def test_lossy_comes_near_and_a_ratio_is_kept(end, kind):
    y, x = np.mgrid[:64, :64]
    bits = 12 if kind == "12" else 8
    slope = ((x + y) * ((1 << bits) - 1) // 126).astype("u2" if bits > 8 else "u1")
    image = np.stack([slope, slope[::-1], slope.T], axis=-1) if kind == "rgb" else slope
    made = layout(image, bits, P + end)
    if (end == "50" and kind == "12") or (end == "51" and kind == "rgb" and bits > 8):
        with pytest.raises(PixelDataError, match=r"at most 8|2 to 8"):
            pixel.encode(image, made)
        return
    stream = pixel.encode(image, made, Options(quality=95, near=2))
    back = pixel.decode(made, encapsulated([stream]))
    assert back.dtype == image.dtype
    assert int(back.max()) < 1 << bits  # clamped, never wrapped
    assert np.abs(back.astype(int) - image.astype(int)).max() <= (1 << bits) // 12
    rng = np.random.default_rng(3)
    noisy = (image.astype(int) + rng.integers(-9, 10, image.shape)).clip(0, (1 << bits) - 1).astype(image.dtype)
    for ratio in (2, 4):
        assert len(pixel.encode(noisy, made, Options(ratio=ratio))) * ratio <= noisy.nbytes


def test_high_throughput_lossy_streams_are_clamped_not_wrapped():
    """imagecodecs' OpenJPH wraps them (2026.3.6); ours go through OpenJPEG."""
    rng = np.random.default_rng(1)
    image = rng.choice(np.array([0, 255], "u1"), (64, 64, 3))
    made = layout(image, 8, P + "203")
    back = pixel.decode(made, encapsulated([pixel.encode(image, made, Options(quality=40))]))
    assert np.abs(back.astype(int) - image.astype(int)).max() < 128


def test_rpcl_and_tile_part_lengths_of_the_syntax_that_asks_for_them():
    image = picture(12)
    stream = pixel.encode(image, layout(image, 12, P + "202"))
    cod = stream.index(b"\xff\x52")
    assert stream[cod + 5] == 2  # RPCL
    assert b"\xff\x55" in stream[:200]  # TLM


def test_jpeg_ls_says_bits_stored_and_has_no_spiff_header():
    image = picture(12)
    made = layout(image, 12, P + "80")
    peer_module("jpeg_ls")
    assert pixel.encode(image, made)[:7] == b"\xff\xd8\xff\xf7\x00\x0b\x0c"
    other = pixel.encode(image, made, codec="imagecodecs")
    assert b"SPIFF" not in other
    np.testing.assert_array_equal(pixel.decode(made, encapsulated([other])), image)
    noise = np.random.default_rng(0).integers(0, 1 << 16, (9, 9)).astype("u2")  # longer than pyjpegls has room for
    made = layout(noise, 16, P + "80")
    np.testing.assert_array_equal(pixel.decode(made, encapsulated([pixel.encode(noise, made)])), noise)


def test_what_a_format_cannot_hold_is_refused():
    wide = np.zeros((4, 4), "u4")
    for end in ("70", "80", "90", "201", "110", "50"):
        with pytest.raises(PixelDataError):
            pixel.encode(wide, layout(wide, 32, P + end))
    signed = np.zeros((4, 4), "i1")
    for end in ("50", "81", "112"):
        with pytest.raises(PixelDataError, match="signed"):
            pixel.encode(signed, layout(signed, 8, P + end))
    with pytest.raises(PixelDataError, match="a frame of"):
        pixel.encode(wide, layout(wide[:2], 32, LOSSLESS["rle"]))
    for end in ("53", "55", "92", "111", "102"):
        with pytest.raises(CodecUnavailable, match="nothing encodes"):
            pixel.encode(signed, layout(signed, 8, P + end))
    with pytest.raises(CodecUnavailable, match="no codec 'nobody'"):
        pixel.encode(signed, layout(signed, 8, P + "80"), codec="nobody")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype("u1")
    with pytest.raises(PixelDataError, match="no quality"):
        pixel.encode(noise, layout(noise, 8, P + "50"), Options(ratio=500))
    for wrong in (
        {"quality": 0},
        {"near": 256},
        {"ratio": 1},
        {"effort": 10},
        {"predictor": 8},
        {"subsampling": "420"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Options(**wrong)


@pytest.mark.parametrize("name", [n for n in LOSSLESS if n not in ("plain",)])
def test_a_corrupt_frame_has_its_number_and_the_others_decode(name):
    image = picture(12, wide=True)
    made = layout(image, 12, LOSSLESS[name], frames=3)
    stream = pixel.encode(image, layout(image, 12, LOSSLESS[name]))
    items = encapsulated([stream, stream[: len(stream) // 3], stream])
    for number in (0, 2):
        np.testing.assert_array_equal(pixel.decode(made, items, frames=number), image)
    for threads in (1, 2):
        with pytest.raises(PixelDataError) as caught:
            pixel.decode(made, items, threads=threads)
        assert caught.value.frame == 1


def test_a_registered_codec_goes_first_and_can_be_taken_out_again():
    image = picture(8)
    made = layout(image, 8, P + "80")
    calls = []

    def decode(source, given):
        calls.append(bytes(source[:2]))
        return np.frombuffer(source[2:], np.uint8).reshape(given.frame_shape) ^ 0x5A

    def encode(frame, given):
        return b"\xff\xd8" + (frame ^ 0x5A).tobytes()

    remove = pixel.register_codec(
        "vendor", ["RLELossless", P + "80"], decode=decode, encode=encode, licence="theirs", version="7"
    )
    try:
        row = next(r for r in pixel.codecs() if r.syntax == LOSSLESS["rle"])
        assert (row.decode_by, row.encode_by, row.version, row.licence) == (
            "vendor, dicore",
            "vendor, dicore",
            "7",
            "theirs",
        )
        coded = layout(image, 8, LOSSLESS["rle"])
        stream = pixel.encode(image, coded)
        np.testing.assert_array_equal(pixel.decode(coded, encapsulated([stream])), image)
        assert calls == [b"\xff\xd8"]
        ours = pixel.encode(image, coded, codec="dicore")
        np.testing.assert_array_equal(pixel.decode(coded, encapsulated([ours]), codec="dicore"), image)
    finally:
        remove()
    assert next(r for r in pixel.codecs() if r.syntax == LOSSLESS["rle"]).decode_by == "dicore"
    np.testing.assert_array_equal(pixel.decode(made, encapsulated([pixel.encode(image, made)])), image)
    with pytest.raises(ValueError, match="decode or encode"):
        pixel.register_codec("nothing", [P + "80"])
    with pytest.raises(ValueError, match="PyCapsule"):
        pixel.register_codec("nothing", [P + "80"], native=object())


def test_a_codec_in_c_is_registered_by_a_capsule(tmp_path):
    """A dicore_codec built here with ctypes: the struct of dicore/pixel.h, functions and all."""
    import ctypes as c

    class Raster(c.Structure):
        _fields_ = [
            ("data", c.c_void_p),
            ("rows", c.c_uint32),
            ("columns", c.c_uint32),
            ("samples", c.c_uint),
            ("bytes", c.c_uint),
            ("row_stride", c.c_ssize_t),
            ("column_stride", c.c_ssize_t),
            ("sample_stride", c.c_ssize_t),
            ("bits", c.c_uint),
            ("is_signed", c.c_int),
        ]

    raster = c.POINTER(Raster)
    sniff = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_void_p, c.c_size_t)
    decode = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t, raster, c.c_void_p, c.c_size_t, c.c_void_p)

    @sniff
    def sniffs(codec, syntax, source, size):
        return 1

    @decode
    def decodes(codec, source, size, into, scratch, scratch_size, error):
        for y in range(into.contents.rows):
            c.memset(into.contents.data + y * into.contents.row_stride, y, into.contents.columns)
        return 0

    class Codec(c.Structure):
        _fields_ = [
            *((n, c.c_char_p) for n in ("name", "version", "licence")),
            ("context", c.c_void_p),
            ("sniff", sniff),
            ("scratch", c.c_void_p),
            ("decode", decode),
            *((n, c.c_void_p) for n in ("bound", "encode_scratch", "encode")),
        ]

    codec = Codec(b"c", b"1", b"-", None, sniffs, None, decodes, None, None, None)
    new = c.pythonapi.PyCapsule_New
    new.restype, new.argtypes = c.py_object, [c.c_void_p, c.c_char_p, c.c_void_p]
    name = c.create_string_buffer(b"dicore_codec")
    capsule = new(c.addressof(codec), name, None)
    remove = pixel.register_codec("c", [LOSSLESS["rle"]], native=capsule)
    try:
        image = np.zeros((5, 7), "u1")
        made = layout(image, 8, LOSSLESS["rle"])
        got = pixel.decode(made, encapsulated([b"anything " * 20]), codec="c")
        np.testing.assert_array_equal(got, np.arange(5)[:, None].repeat(7, 1))
        with pytest.raises(CodecUnavailable):
            codec_table.encoder(P + "53", "c")
    finally:
        remove()
    assert name.value == b"dicore_codec"
