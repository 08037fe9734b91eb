"""The demo's picture."""

from __future__ import annotations

import numpy as np
import pytest

from dicore.cli import contact_sheet
from dicore.cli.contact_sheet import Row


def tiles(count: int, shape: tuple[int, int] = (64, 64), value: int = 200) -> list[contact_sheet.Grey]:
    return [np.full(shape, value, np.uint8)] * count


def test_the_sheet_has_every_tile_and_its_text() -> None:
    rows = [Row("CT DOE", "60 images", tiles(6)), Row("MR ROE", "40 images", tiles(3))]
    sheet = contact_sheet.draw("demo", rows)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    side = contact_sheet._TILE
    assert np.count_nonzero((sheet == 200).all(axis=2)) == 9 * side * side
    blank = contact_sheet.draw("", [Row("", "", tiles(6)), Row("", "", tiles(3))])
    assert sheet.shape == blank.shape
    assert (sheet != blank).any()


def test_text_is_in_capitals_without_accents_and_never_leaves_the_sheet() -> None:
    row = [Row("", "", tiles(1))]
    assert (contact_sheet.draw("Åke é", row) == contact_sheet.draw("AKE E", row)).all()
    assert (contact_sheet.draw("\u5c71", row) == contact_sheet.draw("?", row)).all()
    assert (contact_sheet.draw("W" * 1000, row) == contact_sheet.draw("W" * 2000, row)).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 500), (500, 7), (177, 176), (176, 176), (1024, 1024)])
def test_a_tile_keeps_shape_and_brightness(shape: tuple[int, int]) -> None:
    side = contact_sheet._TILE
    tile = contact_sheet._fit(np.full(shape, 100, np.uint8))
    assert tile.shape == (side, side)
    assert set(np.unique(tile)) <= {0, 100}
    for axis, size in enumerate(shape):
        covered = int(np.any(tile, axis=1 - axis).sum())
        assert covered == max(1, round(size * side / max(shape)))


def test_shrinking_is_the_mean_of_what_a_pixel_covers() -> None:
    image = np.random.default_rng(1).integers(0, 256, (352, 352), np.uint8)
    expected = image.reshape(176, 2, 176, 2).mean(axis=(1, 3))
    assert np.abs(contact_sheet._fit(image).astype(float) - expected).max() <= 0.5


def test_no_rows_is_a_sheet_too() -> None:
    assert contact_sheet.draw("nothing", []).size
