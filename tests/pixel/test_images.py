"""Windows, 8-bit images, PNG and the contact sheet."""

from __future__ import annotations

import numpy as np

from conftest import peer_module
from dicore.pixel import contact_sheet, render, window


def test_the_linear_window_is_that_of_the_standard():
    """PS3.3 C.11.2.1.2.1: c=2048, w=4096 maps 0..4095 to 0..255."""
    values = np.array([-1, 0, 2048, 4095, 4096])
    assert window(values, 2048, 4096).tolist() == [0, 0, 128, 255, 255]
    assert window(np.array([-100, 0, 100]), 0, 1).tolist() == [0, 255, 255]
    assert window(np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), 0, 1, exact=True).tolist() == [0, 0, 128, 255, 255]


def test_every_window_matches_the_formula():
    x = np.arange(-50, 150, dtype=float)
    for c, w in ((10, 50), (40, 2), (33.5, 77)):
        want = np.clip(((x - (c - 0.5)) / (w - 1) + 0.5) * 255, 0, 255)
        assert np.abs(window(x, c, w).astype(float) - want).max() <= 0.51


def test_render_rescales_windows_and_inverts():
    stored = np.array([[0, 1024, 2048]], "u2")
    assert render(stored, slope=1, intercept=-1024, center=0, width=1000).tolist() == [[0, 128, 255]]
    assert render(stored, intercept=-1024, center=0, width=1000, photometric="MONOCHROME1").tolist() == [[255, 127, 0]]
    automatic = render(np.arange(1000, dtype="u2").reshape(20, 50))
    assert automatic.min() == 0
    assert automatic.max() == 255
    colour = np.full((2, 2, 3), 77, "u1")
    assert (render(colour, photometric="RGB") == 77).all()
    assert render(colour.astype("u2") * 256, photometric="RGB").max() == 255


def test_a_contact_sheet_holds_its_images_where_they_belong():
    imagecodecs = peer_module("imagecodecs")
    images = [np.full((64, 64), 40 * (i + 1), "u1") for i in range(5)]
    sheet = imagecodecs.png_decode(contact_sheet(images, columns=3, tile=32, gap=2))
    assert sheet.shape == (2 * 34 + 2, 3 * 34 + 2)
    for i in range(5):
        assert sheet[2 + i // 3 * 34 + 16, 2 + i % 3 * 34 + 16] == 40 * (i + 1)
    assert sheet[-1, -1] == 24
    mixed = imagecodecs.png_decode(contact_sheet([images[0], np.full((100, 300, 3), 9, "u1")], tile=50))
    assert mixed.shape[2] == 3
    assert imagecodecs.png_decode(contact_sheet([], tile=10)).shape == (18, 18)
