"""Frames of every form, from bytes made here: each against what numpy makes of the same bytes."""

from __future__ import annotations

import mmap
import struct
import zlib

import numpy as np
import pytest

from dicore import pixel
from dicore.dataset.encode import encapsulated
from dicore.errors import CodecUnavailable, PixelDataError

LITTLE, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
RLE, PLAIN, DEFLATED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
J2K, JLS, JPEG, LOSSLESS = (f"1.2.840.10008.1.2.4.{end}" for end in ("90", "80", "50", "70"))


def layout(shape, dtype="u2", transfer_syntax=LITTLE, frames=1, stored=0, photometric="", planar=0, vr="OW"):
    dtype = np.dtype(dtype)
    samples = shape[2] if len(shape) == 3 else 1
    elements = {
        "Rows": shape[0],
        "Columns": shape[1],
        "SamplesPerPixel": samples,
        "NumberOfFrames": frames,
        "BitsAllocated": dtype.itemsize * 8,
        "BitsStored": stored or dtype.itemsize * 8,
        "PixelRepresentation": int(dtype.kind == "i"),
        "PlanarConfiguration": planar,
        "PhotometricInterpretation": photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
    }
    return pixel.layout_from(elements.get, transfer_syntax, pixel_vr=vr)


def bits(shape, frames=1, transfer_syntax=LITTLE):
    elements = {"Rows": shape[0], "Columns": shape[1], "BitsAllocated": 1, "BitsStored": 1, "NumberOfFrames": frames}
    return pixel.layout_from(elements.get, transfer_syntax)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def smooth(shape, top, rng):
    """An image that compresses: a slope with some noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = (x * 3 + y * 2 + rng.integers(0, 9, shape[:2])) % (top + 1)
    return image if len(shape) == 2 else np.stack([(image + 40 * s) % (top + 1) for s in range(shape[2])], axis=-1)


# ---- native


def test_little_endian_is_a_view_of_the_data(rng):
    frames = rng.integers(0, 4096, (3, 5, 7)).astype("<u2")
    data = frames.tobytes()
    for raw in (False, True):
        got = pixel.decode(layout((5, 7), stored=12, frames=3), data, raw=raw)
        np.testing.assert_array_equal(got, frames)
        assert np.shares_memory(got, np.frombuffer(data, np.uint8))
        assert not got.flags.writeable


def test_a_view_of_writable_memory_is_read_only_too():
    data = bytearray(8)
    got = pixel.decode(layout((2, 2)), data)
    assert not got.flags.writeable
    data[0] = 5
    assert got[0, 0] == 5


def test_a_view_of_a_map_has_the_map_as_its_base(tmp_path):
    path = tmp_path / "pixels"
    path.write_bytes(bytes(range(8)))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    got = pixel.decode(layout((2, 2)), memoryview(mapped))
    base = got
    while isinstance(base, np.ndarray):
        base = base.base
    assert base.obj is mapped
    with pytest.raises(BufferError):  # the array keeps it open
        mapped.close()


def test_big_endian_keeps_its_order_raw_and_is_native_else(rng):
    frames = rng.integers(-2000, 2000, (2, 3, 4)).astype(">i2")
    made = layout((3, 4), "i2", BIG, frames=2)
    raw, plain = (pixel.decode(made, frames.tobytes(), raw=r) for r in (True, False))
    assert raw.dtype == ">i2"
    assert plain.dtype == "=i2"
    np.testing.assert_array_equal(raw, frames)
    np.testing.assert_array_equal(plain, frames)


@pytest.mark.parametrize("count", [1, 3])
def test_eight_bits_in_big_endian_words_are_swapped(rng, count):
    frames = rng.integers(0, 256, (count, 3, 5)).astype("u1")
    words = frames.tobytes() + bytes(count * 15 % 2)
    words = np.frombuffer(words, "u1").reshape(-1, 2)[:, ::-1].tobytes()
    made = layout((3, 5), "u1", BIG, frames=count)
    for i in range(count):
        np.testing.assert_array_equal(pixel.decode(made, words, frames=i), frames[i])
    np.testing.assert_array_equal(pixel.decode(made, words).reshape(frames.shape), frames)
    np.testing.assert_array_equal(
        pixel.decode(layout((3, 5), "u1", BIG, frames=count, vr="OB"), frames.tobytes()).reshape(frames.shape), frames
    )


def test_planes_become_samples_last(rng):
    image = rng.integers(0, 256, (4, 5, 3)).astype("u1")
    got = pixel.decode(layout((4, 5, 3), "u1", planar=1), image.transpose(2, 0, 1).tobytes())
    np.testing.assert_array_equal(got, image)


def test_bits_above_bits_stored_are_dropped_and_the_sign_extended():
    data = np.array([[0xF001, 0x0FFF], [0x8800, 0x07FF]], "<u2").tobytes()
    np.testing.assert_array_equal(pixel.decode(layout((2, 2), stored=12), data), [[1, 0xFFF], [0x800, 0x7FF]])
    np.testing.assert_array_equal(pixel.decode(layout((2, 2), "i2", stored=12), data), [[1, -1], [-2048, 2047]])


def test_one_bit_frames_follow_each_other_without_alignment(rng):
    frames = rng.integers(0, 2, (3, 3, 5)).astype("u1")
    data = np.packbits(frames, bitorder="little").tobytes()
    made = bits((3, 5), 3)
    np.testing.assert_array_equal(pixel.decode(made, data), frames)
    for i in range(3):
        np.testing.assert_array_equal(pixel.decode(made, data, frames=i), frames[i])
    assert pixel.decode(made, data).dtype == "u1"


def test_422_is_replicated_raw_and_rgb_else():
    made = layout((1, 2, 3), "u1", photometric="YBR_FULL_422")
    raw = pixel.decode(made, bytes([100, 200, 128, 128]), raw=True)
    np.testing.assert_array_equal(raw, [[[100, 128, 128], [200, 128, 128]]])
    np.testing.assert_array_equal(pixel.decode(made, bytes([100, 200, 128, 128])), [[[100] * 3, [200] * 3]])


def test_ybr_becomes_rgb():
    colours = {
        (76, 85, 255): (254, 0, 0),
        (150, 44, 21): (0, 255, 1),
        (29, 255, 107): (0, 0, 254),
        (255, 128, 128): (255,) * 3,
    }
    made = layout((1, len(colours), 3), "u1", photometric="YBR_FULL")
    data = bytes(v for colour in colours for v in colour)
    np.testing.assert_allclose(pixel.decode(made, data)[0].astype(int), list(colours.values()), atol=1)
    np.testing.assert_array_equal(pixel.decode(made, data, raw=True)[0], list(colours))


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_float_pixels(rng, keyword, dtype):
    image = rng.standard_normal((3, 4)).astype(dtype)
    made = pixel.layout_from({"Rows": 3, "Columns": 4}.get, LITTLE, pixel_keyword=keyword)
    np.testing.assert_array_equal(pixel.decode(made, image.tobytes()), image)


def test_palette_indices_stay_indices():
    got = pixel.decode(layout((1, 3), "u1", photometric="PALETTE COLOR"), bytes([7, 0, 9, 0]))
    np.testing.assert_array_equal(got, [[7, 0, 9]])


def test_too_few_bytes_name_the_first_frame_that_is_missing():
    made = layout((2, 2), frames=3)
    with pytest.raises(PixelDataError, match="2 of 3 frames") as caught:
        pixel.decode(made, bytes(20))
    assert caught.value.frame == 2
    assert pixel.decode(made, bytes(20), frames=[0, 1]).shape == (2, 2, 2)


# ---- which frames, and where to


def test_frames_by_number_slice_and_list(rng):
    frames = rng.integers(0, 99, (5, 2, 3)).astype("<u2")
    made, data = layout((2, 3), frames=5), frames.tobytes()
    np.testing.assert_array_equal(pixel.decode(made, data, frames=3), frames[3])
    np.testing.assert_array_equal(pixel.decode(made, data, frames=-1), frames[4])
    np.testing.assert_array_equal(pixel.decode(made, data, frames=slice(1, 4)), frames[1:4])
    np.testing.assert_array_equal(pixel.decode(made, data, frames=slice(4, None, -2)), frames[4::-2])
    np.testing.assert_array_equal(pixel.decode(made, data, frames=[4, 0, 0]), frames[[4, 0, 0]])
    assert pixel.decode(made, data, frames=[2]).shape == (1, 2, 3)
    assert pixel.decode(made, data, frames=[]).shape == (0, 2, 3)
    for bad in (5, -6, [0, 9]):
        with pytest.raises(PixelDataError):
            pixel.decode(made, data, frames=bad)


@pytest.mark.parametrize("transfer_syntax", [LITTLE, PLAIN])
def test_out_receives_the_frames(rng, transfer_syntax):
    frames = rng.integers(0, 99, (2, 3, 4)).astype("<u2")
    data = frames.tobytes() if transfer_syntax == LITTLE else encapsulated([f.tobytes() for f in frames])
    made = layout((3, 4), frames=2, transfer_syntax=transfer_syntax)
    wide = np.zeros((2, 3, 8), "u2")
    out = wide[:, :, ::2]  # not contiguous
    assert pixel.decode(made, data, out=out) is out
    np.testing.assert_array_equal(out, frames)
    assert not wide[:, :, 1::2].any()
    for wrong in (np.zeros((2, 3, 4), "i2"), np.zeros((3, 4), "u2")):
        with pytest.raises(ValueError, match="out is"):
            pixel.decode(made, data, out=wrong)


# ---- encapsulated


def rle(planes):
    """The simplest RLE: literals only, an odd segment padded."""
    segments = []
    for plane in planes:
        body = b"".join(bytes([len(p) - 1]) + p for p in (plane[i : i + 128] for i in range(0, len(plane), 128)))
        segments.append(body + bytes(len(body) % 2))
    offsets = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4"])
@pytest.mark.parametrize("samples", [1, 3])
def test_rle(rng, dtype, samples):
    shape = (6, 7) if samples == 1 else (6, 7, 3)
    high = np.iinfo(dtype).max
    frames = rng.integers(0, high, (2, *shape), dtype=dtype)
    streams = []
    for frame in frames:
        flat = frame.reshape(42, samples)
        parts = flat.astype(frame.dtype.newbyteorder(">")).view("u1").reshape(42, samples, -1)  # most significant first
        streams.append(rle([parts[:, s, b].tobytes() for s in range(samples) for b in range(parts.shape[2])]))
    got = pixel.decode(layout(shape, dtype, RLE, frames=2), encapsulated(streams), threads=2)
    np.testing.assert_array_equal(got, frames)


def test_rle_of_one_bit_frames(rng):
    frames = rng.integers(0, 2, (2, 5, 5)).astype("u1")
    streams = [rle([np.packbits(f, bitorder="little").tobytes()]) for f in frames]
    np.testing.assert_array_equal(pixel.decode(bits((5, 5), 2, RLE), encapsulated(streams)), frames)


@pytest.mark.parametrize("transfer_syntax", [PLAIN, DEFLATED])
def test_uncompressed_and_deflated_frames(rng, transfer_syntax):
    frames = rng.integers(0, 4096, (3, 5, 5)).astype("<u2")
    streams = [f.tobytes() for f in frames]
    if transfer_syntax == DEFLATED:
        deflate = [zlib.compressobj(wbits=-15) for _ in frames]
        streams = [d.compress(s) + d.flush() for d, s in zip(deflate, streams, strict=True)]
    np.testing.assert_array_equal(
        pixel.decode(layout((5, 5), transfer_syntax=transfer_syntax, frames=3), encapsulated(streams)), frames
    )


def encoders():
    import imagecodecs as ic

    return {
        "jpeg2000": (J2K, ic.jpeg2k_encode, {"codecformat": "j2k", "reversible": True, "level": 0}),
        "jpegls": (JLS, ic.jpegls_encode, {}),
        "jpeg lossless": (LOSSLESS, ic.jpeg8_encode, {"lossless": True}),
        "htj2k": ("1.2.840.10008.1.2.4.201", ic.htj2k_encode, {"reversible": True}),
        "jpegxl": ("1.2.840.10008.1.2.4.110", ic.jpegxl_encode, {"lossless": True}),
    }


@pytest.mark.parametrize("name", ["jpeg2000", "jpegls", "jpeg lossless", "htj2k", "jpegxl"])
@pytest.mark.parametrize("kind", ["u1", "u2", "rgb"])
def test_what_was_compressed_without_loss_comes_back(rng, name, kind):
    transfer_syntax, encode, options = encoders()[name]
    shape, dtype = ((40, 50, 3), "u1") if kind == "rgb" else ((40, 50), kind)
    frames = [smooth(shape, np.iinfo(dtype).max, rng).astype(dtype) for _ in range(3)]
    if name == "jpeg lossless":
        options = options | ({"colorspace": "RGB", "outcolorspace": "RGB"} if kind == "rgb" else {})
        options |= {"bitspersample": np.dtype(dtype).itemsize * 8}
    items = encapsulated([bytes(encode(f, **options)) for f in frames])
    made = layout(shape, dtype, transfer_syntax, frames=3)
    np.testing.assert_array_equal(pixel.decode(made, items, raw=True), frames)
    np.testing.assert_array_equal(pixel.decode(made, items, threads=2), frames)
    for got, want in zip(pixel.iter_frames(made, items), frames, strict=True):
        np.testing.assert_array_equal(got, want)


def test_signed_samples_in_unsigned_streams(rng):
    """JPEG-LS and lossless JPEG know no sign: the bit patterns are the samples."""
    image = rng.integers(-2000, 2000, (30, 30)).astype("i2")
    import imagecodecs as ic

    patterns = image.view("u2")
    stream = bytes(ic.jpegls_encode(patterns))
    np.testing.assert_array_equal(pixel.decode(layout((30, 30), "i2", JLS), encapsulated([stream])), image)
    stream = bytes(ic.jpeg8_encode(patterns, lossless=True, bitspersample=16))
    np.testing.assert_array_equal(pixel.decode(layout((30, 30), "i2", LOSSLESS), encapsulated([stream])), image)


def test_lossy_ybr_jpeg_is_rgb_by_default_and_ybr_raw(rng):
    import imagecodecs as ic

    image = np.zeros((32, 32, 3), "u1")
    image[..., 0] = 200  # red
    made = layout((32, 32, 3), "u1", JPEG, photometric="YBR_FULL_422")
    items = encapsulated([bytes(ic.jpeg8_encode(image, level=95, subsampling="422"))])
    assert np.abs(pixel.decode(made, items).astype(int) - image).max() <= 3
    raw = pixel.decode(made, items, raw=True)
    assert np.abs(raw.astype(int) - [60, 94, 228]).max() <= 3


def test_a_recompressed_jpeg_gives_what_the_jpeg_gives():
    import imagecodecs as ic

    image = (np.mgrid[:48, :64].sum(0)[..., None] * [1, 2, 1] % 256).astype("u1")
    jpeg = bytes(ic.jpeg8_encode(image, level=90, subsampling="420"))
    made = [
        (layout((48, 64, 3), "u1", f"1.2.840.10008.1.2.4.{end}", photometric="YBR_FULL_422"), encapsulated([stream]))
        for end, stream in (("50", jpeg), ("111", bytes(ic.jpegxl_encode_jpeg(jpeg))))
    ]
    for raw in (False, True):
        np.testing.assert_array_equal(pixel.decode(*made[0], raw=raw), pixel.decode(*made[1], raw=raw))


def test_a_stream_that_is_not_what_the_transfer_syntax_says_is_decoded_for_what_it_is(rng):
    import imagecodecs as ic

    image = smooth((20, 20), 255, rng).astype("u1")
    items = encapsulated([bytes(ic.jpegls_encode(image))])
    np.testing.assert_array_equal(pixel.decode(layout((20, 20), "u1", J2K), items), image)


# ---- what goes wrong


def test_a_corrupt_frame_is_named_and_the_others_stay_readable(rng):
    import imagecodecs as ic

    frames = [smooth((40, 50), 255, rng).astype("u1") for _ in range(3)]
    streams = [bytes(ic.jpegls_encode(f)) for f in frames]
    streams[1] = streams[1][:60] + bytes(len(streams[1]) - 60)
    made, items = layout((40, 50), "u1", JLS, frames=3), encapsulated(streams)
    for threads in (1, 2):
        with pytest.raises(PixelDataError) as caught:
            pixel.decode(made, items, threads=threads)
        assert caught.value.frame == 1
    np.testing.assert_array_equal(pixel.decode(made, items, frames=[0, 2]), [frames[0], frames[2]])


@pytest.mark.parametrize("name", ["jpeg2000", "jpegls", "jpeg lossless", "htj2k", "jpegxl"])
def test_no_truncation_and_no_size_passes_silently(rng, name):
    transfer_syntax, encode, options = encoders()[name]
    image = smooth((40, 50), 255, rng).astype("u1")
    if name == "jpeg lossless":
        options = options | {"bitspersample": 8}
    stream = bytes(encode(image, **options))
    for shape in ((40, 51), (41, 50), (40, 50, 3), (65535, 65535)):
        if name == "jpegxl" and len(shape) == 3:
            continue  # its header is read for the size only; the decoded shape is compared
        with pytest.raises(PixelDataError):
            pixel.decode(layout(shape, "u1", transfer_syntax), encapsulated([stream]))
    for size in [*range(40), *range(40, len(stream) - 8, 97)]:
        with pytest.raises(PixelDataError):
            pixel.decode(layout((40, 50), "u1", transfer_syntax), encapsulated([stream[:size] or b"\0\0"]))


def test_a_bomb_is_refused_before_anything_is_allocated():
    import imagecodecs as ic

    stream = bytes(ic.jpeg2k_encode(np.zeros((16, 16), "u2"), codecformat="j2k"))
    at = stream.index(b"\xff\x51")
    huge = stream[: at + 6] + struct.pack(">II", 60000, 60000) + stream[at + 14 :]
    with pytest.raises(PixelDataError, match="compressed ones"):
        pixel.decode(layout((60000, 60000), "u2", J2K), encapsulated([huge]))
    with pytest.raises(PixelDataError, match="compressed ones"):
        pixel.decode(layout((60000, 60000), "u2", RLE), encapsulated([rle([b"ab", b"cd"])]))
    many = encapsulated([b"\xff\xd8\xff\xe0"] * 1000)
    with pytest.raises(PixelDataError, match="compressed ones"):
        pixel.decode(layout((4000, 4000), "u2", JPEG, frames=1000), many)


def test_tiles_that_cannot_be_there_are_refused():
    import imagecodecs as ic

    stream = bytes(ic.jpeg2k_encode(np.zeros((256, 256), "u1"), codecformat="j2k"))
    at = stream.index(b"\xff\x51")
    tiny = stream[: at + 22] + struct.pack(">II", 1, 1) + stream[at + 30 :]
    with pytest.raises(PixelDataError, match="tiles"):
        pixel.decode(layout((256, 256), "u1", J2K), encapsulated([tiny]))


def test_precincts_that_cannot_be_there_are_refused():
    import imagecodecs as ic

    stream = bytes(ic.jpeg2k_encode(np.zeros((256, 256), "u1"), codecformat="j2k", resolutions=1))
    at = stream.index(b"\xff\x52")
    levels, size = stream[at + 9], int.from_bytes(stream[at + 2 : at + 4], "big")
    tiny = stream[: at + 2] + struct.pack(">HB", size + levels + 1, stream[at + 4] | 1) + stream[at + 5 : at + 2 + size]
    tiny += bytes(levels + 1) + stream[at + 2 + size :]  # precincts of one by one
    with pytest.raises(PixelDataError, match="packets"):
        pixel.decode(layout((256, 256), "u1", J2K), encapsulated([tiny]))


def test_a_jpeg_of_endless_scans_is_refused():
    import imagecodecs as ic

    stream = bytes(ic.jpeg8_encode(np.zeros((16, 16), "u1")))
    at = stream.index(b"\xff\xda")
    with pytest.raises(PixelDataError, match="scans"):
        pixel.decode(layout((16, 16), "u1", JPEG), encapsulated([stream[:at] + stream[at:-2] * 200 + b"\xff\xd9"]))


def test_fewer_fragments_than_frames(rng):
    made = layout((2, 2), "u1", PLAIN, frames=3)
    items = encapsulated([b"abcd", b"efgh"], table=False)
    assert pixel.decode(made, items, frames=1).tobytes() == b"efgh"
    with pytest.raises(PixelDataError, match="2 of 3 frames"):
        pixel.decode(made, items)


def test_an_unknown_transfer_syntax_and_a_codec_that_is_not_there():
    with pytest.raises(CodecUnavailable) as caught:
        pixel.decode(layout((2, 2), "u1", "1.2.840.10008.1.2.4.52"), encapsulated([b"abcd"]))
    assert caught.value.transfer_syntax == "1.2.840.10008.1.2.4.52"
    import imagecodecs as ic

    stream = encapsulated([bytes(ic.jpegls_encode(np.zeros((4, 4), "u1")))])
    with pytest.raises(CodecUnavailable, match="no codec 'nobody'"):
        pixel.decode(layout((4, 4), "u1", JLS), stream, codec="nobody")


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    from dicore.pixel import codec_table

    monkeypatch.setattr(codec_table, "_module", lambda name: None)
    with pytest.raises(CodecUnavailable, match="pip install imagecodecs"):
        codec_table.find("jpegxl", None, "1.2.840.10008.1.2.4.110")


@pytest.mark.parametrize("codec", ["pyjpegls", "pylibjpeg-libjpeg"])
def test_a_codec_can_be_forced(rng, codec):
    import imagecodecs as ic

    if codec not in {name for row in pixel.codecs() for name in row.decode_by.split(", ")}:
        pytest.skip(f"{codec} is not installed")
    image = smooth((20, 30), 255, rng).astype("u1")
    items = encapsulated([bytes(ic.jpegls_encode(image))])
    np.testing.assert_array_equal(pixel.decode(layout((20, 30), "u1", JLS), items, codec=codec), image)


def test_codecs_has_a_row_for_every_syntax():
    rows = {row.syntax: row for row in pixel.codecs()}
    assert rows[RLE].decode_by == "dicore"
    assert rows[J2K].decode_by.startswith("imagecodecs")
    assert rows[J2K].version
    assert rows[J2K].licence == "BSD-3-Clause"
    assert len(rows) == 41
