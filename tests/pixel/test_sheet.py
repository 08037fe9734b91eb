"""Sheets of thumbnails: the demo's picture, and `render --contact-sheet`."""

from __future__ import annotations

import numpy as np
import pytest

from dicore.pixel import sheet
from dicore.pixel.sheet import Row


def tiles(count: int, shape: tuple[int, int] = (64, 64), value: int = 200) -> list[sheet.Grey]:
    return [np.full(shape, value, np.uint8)] * count


def test_the_sheet_has_every_tile_and_its_text() -> None:
    rows = [Row("CT DOE", "60 images", tiles(6)), Row("MR ROE", "40 images", tiles(3))]
    drawn = sheet.draw("demo", rows)
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    side = sheet._TILE
    assert np.count_nonzero((drawn == 200).all(axis=2)) == 9 * side * side
    blank = sheet.draw("", [Row("", "", tiles(6)), Row("", "", tiles(3))])
    assert drawn.shape == blank.shape
    assert (drawn != blank).any()


def test_text_is_in_capitals_without_accents_and_never_leaves_the_sheet() -> None:
    row = [Row("", "", tiles(1))]
    assert (sheet.draw("Åke é", row) == sheet.draw("AKE E", row)).all()
    assert (sheet.draw("\u5c71", row) == sheet.draw("?", row)).all()
    assert (sheet.draw("W" * 1000, row) == sheet.draw("W" * 2000, row)).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 500), (500, 7), (177, 176), (176, 176), (1024, 1024)])
def test_a_tile_keeps_shape_and_brightness(shape: tuple[int, int]) -> None:
    side = sheet._TILE
    tile = sheet.thumbnail(np.full(shape, 100, np.uint8))
    assert tile.shape == (side, side)
    assert set(np.unique(tile)) <= {0, 100}
    for axis, size in enumerate(shape):
        covered = int(np.any(tile, axis=1 - axis).sum())
        assert covered == max(1, round(size * side / max(shape)))


def test_shrinking_is_the_mean_of_what_a_pixel_covers() -> None:
    image = np.random.default_rng(1).integers(0, 256, (352, 352), np.uint8)
    expected = image.reshape(176, 2, 176, 2).mean(axis=(1, 3))
    assert np.abs(sheet.thumbnail(image).astype(float) - expected).max() <= 0.5


def test_no_rows_is_a_sheet_too() -> None:
    assert sheet.draw("nothing", []).size
