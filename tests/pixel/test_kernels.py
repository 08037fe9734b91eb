"""The kernels as Python calls them, against numpy; level against level is csrc/tests/test_kernels.c."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from dicore._native import kernels

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", sorted(kernels.WORK))
def test_every_level_gives_the_bytes_of_the_plain_one(name):
    for level in kernels.levels():
        seconds, moved, equal = kernels.measure(name, level, 1 << 16, 1)
        assert equal, level
        assert seconds > 0
        assert moved > 1 << 15


def test_moves():
    for width, dtype in ((2, "u2"), (4, "u4"), (8, "u8")):
        values = RNG.integers(0, 256, 101 * width).astype("u1").view(dtype)
        swapped = np.empty_like(values)
        kernels.swap(values, swapped, width)
        np.testing.assert_array_equal(swapped, values.byteswap())
    bits = RNG.integers(0, 256, 40).astype("u1")
    for first in (0, 1, 7, 13):
        got = np.empty(300, "u1")
        kernels.unpack1(bits, got, first)
        np.testing.assert_array_equal(got, np.unpackbits(bits, bitorder="little")[first : first + 300])
    for dtype in ("u1", "u2"):
        planes = RNG.integers(0, 256, (3, 77)).astype(dtype)
        together = np.empty((77, 3), dtype)
        kernels.interleave(planes, together, together.itemsize)
        np.testing.assert_array_equal(together, planes.T)
    words = RNG.integers(0, 65536, 99).astype("u2")
    kept, bit = np.empty(99, "i2"), np.empty(99, "u1")
    kernels.keep(words, kept, "i2", 12)
    np.testing.assert_array_equal(kept, ((words.astype(int) & 0xFFF) ^ 0x800) - 0x800)
    kernels.overlay_bit(words, bit, 14)
    np.testing.assert_array_equal(bit, words >> 14 & 1)
    assert kernels.stray(words, "u2", 12)
    assert not kernels.stray(kept, "i2", 12)


def test_sigmoid_is_the_formula():
    x = np.linspace(-50, 50, 4001).astype("f4")
    got = np.empty(4001, "u1")
    kernels.sigmoid(x, got, 0.3, 1.0)
    assert np.abs(got - 255 / (1 + np.exp(-(x.astype(float) * 0.3 + 1)))).max() <= 0.51
    inverted = np.empty(4001, "u1")
    kernels.sigmoid(x, inverted, 0.3, 1.0, True)
    np.testing.assert_array_equal(inverted, 255 - got)


def test_sizes_that_do_not_fit_are_refused():
    eight, room = np.zeros(8, "u1"), np.zeros(64, "u1")
    for call in (
        lambda: kernels.unpack1(eight, np.zeros(65, "u1")),
        lambda: kernels.unpack1(eight, room, 1),
        lambda: kernels.unpack1(eight, room, -1),
        lambda: kernels.swap(eight, room, 2),
        lambda: kernels.swap(eight, np.zeros(8, "u1"), 3),
        lambda: kernels.interleave(eight, np.zeros(8, "u1"), 1),
        lambda: kernels.stray(eight, "u2", 17),
        lambda: kernels.stray(eight, "f4", 4),
        lambda: kernels.keep(eight, room, "u1", 4),
        lambda: kernels.keep(eight, np.zeros(8, "u1"), "u1", 4, 5),
        lambda: kernels.overlay_bit(eight, np.zeros(4, "u1"), 16),
        lambda: kernels.burn(eight, room, 1),
        lambda: kernels.expand_422(eight, room),
        lambda: kernels.rgb(eight, np.zeros(8, "u1"), 1, 8),
        lambda: kernels.rescale(eight, room, "u1", 1, 0),
        lambda: kernels.window(eight, room, "u1", 1, 0),
        lambda: kernels.window(eight, np.zeros(8, "u1"), "f8", 1, 0),
        lambda: kernels.sigmoid(eight, room, 1, 0),
        lambda: kernels.look_up(eight, np.zeros(255, "u1"), np.zeros(8, "u1"), 1, 1),
        lambda: kernels.look_up(eight, np.zeros(256, "u1"), room, 1, 1),
    ):
        with pytest.raises(ValueError):  # noqa: PT011  (the message is of each function's own)
            call()
    with pytest.raises((ValueError, BufferError)):
        kernels.burn(b"12345678", eight, 1)


@pytest.mark.parametrize("level", ["sse2", "ssse3", "avx2"])
def test_the_environment_lowers_the_level_and_nothing_changes(level):
    if level not in kernels.levels():
        pytest.skip(f"this processor has no {level}")
    code = (
        "import hashlib, numpy as np; from dicore._native import kernels as k; from dicore.pixel import window;"
        "x = np.arange(65536, dtype='u2'); print(k.level(), hashlib.sha256(window(x, 3000, 5000)).hexdigest())"
    )
    found = {}
    for name in (level, "whatever it has"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"DICORE_CPU": name},
            capture_output=True,
            text=True,
            check=True,
        )
        found[name] = run.stdout.split()
    assert found[level][0] == level
    assert found[level][1] == found["whatever it has"][1]
