"""Our JPEG-LS decoder against streams written from the standard, and against CharLS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jls_streams
from conftest import peer_module
from dicore import pixel
from dicore._native.pixel import jpeg_ls_decode
from dicore.dataset.encode import encapsulated
from dicore.errors import PixelDataError
from dicore.pixel import codec_table
from layouts import layout_of

JLS, NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"


def decode(stream, like):
    out = np.zeros_like(like)
    jpeg_ls_decode(stream, out)
    return out


def picture(rng, shape, top, kind):
    if kind == "noise":
        image = rng.integers(0, top + 1, shape)
    elif kind == "slope":
        image = np.clip(rng.integers(-1, 2, shape).cumsum(0) + top // 2, 0, top)
    else:  # runs, ended by single samples and by edges
        image = np.where(rng.random(shape) < 0.03, rng.integers(0, top + 1, shape), rng.integers(0, top + 1))
    return image.astype("u1" if top < 256 else "u2")


@st.composite
def cases(draw, most=22):
    precision = draw(st.integers(2, 16))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, most)), draw(st.integers(1, most)))
    near = draw(st.integers(0, min(9, ((1 << precision) - 1) // 2)))
    return picture(rng, shape, (1 << precision) - 1, draw(st.sampled_from(["noise", "slope", "runs"]))), precision, near


@settings(max_examples=120, deadline=None)
@given(cases(), st.data())
def test_streams_written_from_the_standard(made, data):
    image, precision, near = made
    top, maximum = (1 << precision) - 1, 0
    if data.draw(st.booleans()):
        maximum = data.draw(st.integers(max(1, 2 * near, top // 3), top))
        image = np.minimum(image, maximum)
    presets = None
    if data.draw(st.booleans()):
        limits = sorted(data.draw(st.lists(st.integers(near + 1, maximum or top), min_size=3, max_size=3)))
        presets = [*limits, data.draw(st.sampled_from([3, 31, 64, 200]))]
    stream, want = jls_streams.stream(
        image,
        precision,
        near=near,
        presets=presets,
        maximum=maximum,
        restart_rows=data.draw(st.sampled_from([0, 0, 1, 4])),
    )
    assert np.abs(want.astype(int) - image).max() <= near
    np.testing.assert_array_equal(decode(stream, image), want)


@pytest.mark.parametrize("near", [0, 1])
@pytest.mark.parametrize("reset", [64, 31])
@pytest.mark.parametrize("maximum", [0, 2, 5, 13, 142])
def test_every_manner_of_decoding(maximum, reset, near):
    """MAXVAL of ones or not, RESET 64 or not, lossless or near: each has its own loop. Smooth, so that k is often 0."""
    precision = 8
    top = maximum or 255
    image = picture(np.random.default_rng(maximum + reset), (40, 60), top, "slope")
    limits = [min(max(near + 1, t), top) for t in (3, 7, 21)]
    stream, want = jls_streams.stream(image, precision, near=near, presets=[*limits, reset], maximum=maximum)
    np.testing.assert_array_equal(decode(stream, image), want)


def test_the_streams_of_these_tests_are_right():
    """CharLS reads them as we do."""
    imagecodecs = peer_module("imagecodecs")
    rng = np.random.default_rng(1)
    for precision in (2, 5, 8, 12, 16):
        for near in (0, 1):
            for kind in ("noise", "slope", "runs"):
                top = (1 << precision) - 1
                image = picture(rng, (12, 17), top, kind)
                presets = [near + 1, near + 1 + top // 9, top - 1 if top - 1 > near + 1 + top // 9 else top, 33]
                for options in ({}, {"presets": presets}, {"restart_rows": 5}):
                    stream, want = jls_streams.stream(image, precision, near=near, **options)
                    np.testing.assert_array_equal(imagecodecs.jpegls_decode(stream), want)


@settings(max_examples=150, deadline=None)
@given(cases(60), st.sampled_from([1, 3]), st.sampled_from([0, 1, 2]), st.booleans())
def test_what_charls_writes(made, samples, interleave, twist):
    """Every interleaving, through pyjpegls, against CharLS's own decoding."""
    jpeg_ls = peer_module("jpeg_ls")
    image, _, near = made
    if samples == 3:
        image = np.stack([image, image[::-1], image // 2 if twist else image], axis=-1)
    else:
        interleave = 0
    given_ = image if interleave or samples == 1 else np.ascontiguousarray(np.moveaxis(image, -1, 0))
    try:
        stream = bytes(jpeg_ls.encode_array(given_, lossy_error=near, interleave_mode=interleave))
        want = np.asarray(jpeg_ls.decode(np.frombuffer(stream, "u1")))
    except (RuntimeError, ValueError):
        return  # its buffer is too small for noise, and NEAR too large for few bits
    if want.shape != image.shape:
        want = np.moveaxis(want.reshape(samples, *image.shape[:2]), 0, -1)
    np.testing.assert_array_equal(decode(stream, image), want)
    out = np.zeros((image.shape[0], 2 * image.shape[1], *image.shape[2:]), image.dtype)
    jpeg_ls_decode(stream, out[::-1, ::2])
    np.testing.assert_array_equal(out[::-1, ::2], want)
    assert not out[:, 1::2].any()


@pytest.mark.parametrize("near", [0, 3])
@pytest.mark.parametrize("kind", ["noise", "slope", "runs"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_large_images(dtype, kind, near):
    imagecodecs = peer_module("imagecodecs")
    rng = np.random.default_rng(6)
    image = picture(rng, (300, 411), np.iinfo(dtype).max, kind)
    image[:200] = picture(rng, (200, 411), np.iinfo(dtype).max, "slope")  # CharLS has no room for noise alone
    stream = bytes(imagecodecs.jpegls_encode(image, level=near))
    want = imagecodecs.jpegls_decode(stream)
    np.testing.assert_array_equal(decode(stream, image), want)
    for end in range(30, len(stream) - 2, len(stream) // 50):
        with pytest.raises(PixelDataError):
            decode(stream[:end], image)


# ---- as a codec of dicore.pixel


def layout(image, bits, syntax=JLS, frames=1):
    return layout_of(image, bits, syntax, frames)


def test_it_is_the_first_choice():
    rows = {row.syntax: row for row in pixel.codecs()}
    assert rows[JLS].decode_by.startswith("dicore, imagecodecs")
    assert rows[NEAR].decode_by.startswith("dicore, imagecodecs")


def test_signed_samples_of_fewer_bits_than_are_stored():
    image = np.arange(-100, 100, dtype="i2").reshape(10, 20) * 20
    stream, _ = jls_streams.stream(image.view("u2") & 0xFFF, 12)
    np.testing.assert_array_equal(pixel.decode(layout(image, 16), encapsulated([stream])), image)


def test_frames_decode_into_any_array():
    imagecodecs = peer_module("imagecodecs")
    frames = [picture(np.random.default_rng(i), (30, 41), 4095, "slope") for i in range(3)]
    items = encapsulated([bytes(imagecodecs.jpegls_encode(f)) for f in frames])
    out = np.zeros((3, 30, 82), "u2")[..., ::-2]
    assert pixel.decode(layout(frames[0], 12, frames=3), items, out=out, threads=2) is out
    np.testing.assert_array_equal(out, frames)


def test_colour_transforms_of_hp_are_left_to_charls(monkeypatch):
    """An APP8 marker 'mrfx' with transform 1: G - 128 was taken from R and B."""
    peer_module("imagecodecs")
    jpeg_ls = peer_module("jpeg_ls")
    rng = np.random.default_rng(2)
    mixed = rng.integers(100, 150, (12, 14, 3)).cumsum(0).astype("u1")
    stream = bytes(jpeg_ls.encode_array(mixed, interleave_mode=2))
    marked = stream[:2] + b"\xff\xe8\x00\x07mrfx\x01" + stream[2:]
    want = mixed.copy()
    want[..., 0] = mixed[..., 0] + mixed[..., 1] - 128
    want[..., 2] = mixed[..., 2] + mixed[..., 1] - 128
    np.testing.assert_array_equal(pixel.decode(layout(mixed, 8), encapsulated([marked])), want)
    np.testing.assert_array_equal(pixel.decode(layout(mixed, 8), encapsulated([stream])), mixed)


def test_a_broken_frame_is_named_and_the_others_decode():
    frames = [picture(np.random.default_rng(i), (40, 40), 4095, "slope") for i in range(3)]
    streams = [jls_streams.stream(f, 12)[0] for f in frames]
    streams[1] = streams[1][:-100]
    made, items = layout(frames[0], 12, frames=3), encapsulated(streams)
    with pytest.raises(PixelDataError) as caught:
        pixel.decode(made, items)
    assert caught.value.frame == 1
    np.testing.assert_array_equal(pixel.decode(made, items, frames=[0, 2]), [frames[0], frames[2]])


def test_charls_can_still_be_forced():
    image = picture(np.random.default_rng(3), (20, 30), 255, "runs")
    items = encapsulated([jls_streams.stream(image, 8)[0]])
    for adapter in codec_table.CODECS["jpegls"]:
        if adapter.available:
            np.testing.assert_array_equal(pixel.decode(layout(image, 8), items, codec=adapter.name), image)
