"""A contact sheet: rows of thumbnails with a line of text over each, drawn into one array."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Row", "draw"]

Grey = npt.NDArray[np.uint8]

_TILE = 176  # pixels, square
_GAP = 8
_MARGIN = 20
_TEXT = 2  # screen pixels per glyph pixel
_BACKGROUND = (16, 20, 26)
_INK = (232, 236, 240)
_FAINT = (140, 152, 166)
_ACCENT = (92, 200, 220)

_GLYPHS = {  # 5 x 7, a row of five bits a byte
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1e11111111111e", "E": "1f10101e10101f",
    "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111", "I": "0e04040404040e", "J": "0702020202120c",
    "K": "11121418141211", "L": "1010101010101f", "M": "111b1515111111", "N": "11111915131111", "O": "0e11111111110e",
    "P": "1e11111e101010", "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "11111115151b11", "X": "11110a040a1111", "Y": "11110a04040404",
    "Z": "1f01020408101f", "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e",
    "4": "02060a121f0202", "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e",
    "9": "0e11110f01020c", ".": "00000000000c0c", ",": "000000000c0408", "-": "0000001f000000",
    "/": "01010204081010", ":": "000c0c000c0c00", "(": "02040808080402", ")": "08040202020408", "+": "0004041f040400",
    "=": "00001f001f0000", "%": "18190204081303", "'": "0c040800000000", "?": "0e110102040004", "_": "0000000000001f",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a heading, a fainter remark behind it, and thumbnails of uint8 in any size."""

    heading: str
    remark: str
    images: Sequence[Grey]


def draw(title: str, rows: Sequence[Row]) -> Grey:
    """The sheet as (height, width, 3) RGB of uint8."""
    columns = max((len(row.images) for row in rows), default=1)
    line = 7 * _TEXT
    row_height = line + _GAP + _TILE + 2 * _GAP
    width = 2 * _MARGIN + columns * _TILE + (columns - 1) * _GAP
    height = 2 * _MARGIN + line + 2 * _GAP + len(rows) * row_height - 2 * _GAP
    sheet: Grey = np.empty((height, width, 3), np.uint8)
    sheet[:] = _BACKGROUND
    y = _MARGIN
    _write(sheet, _MARGIN, y, title, _ACCENT)
    y += line + 2 * _GAP
    for row in rows:
        end = _write(sheet, _MARGIN, y, row.heading, _INK)
        _write(sheet, end + 3 * _GAP, y, row.remark, _FAINT)
        for column, image in enumerate(row.images):
            x = _MARGIN + column * (_TILE + _GAP)
            top = y + line + _GAP
            sheet[top : top + _TILE, x : x + _TILE] = _fit(image)[..., None]
        y += row_height
    return sheet


def _fit(image: Grey) -> Grey:
    """`image` centred in a square tile, its shape kept, each tile pixel the mean of what it covers."""
    rows, columns = image.shape
    scale = _TILE / max(rows, columns)
    high, wide = max(1, round(rows * scale)), max(1, round(columns * scale))
    tile: Grey = np.zeros((_TILE, _TILE), np.uint8)
    top, left = (_TILE - high) // 2, (_TILE - wide) // 2
    tile[top : top + high, left : left + wide] = _area(_area(image.astype(np.float32), high).T, wide).T + 0.5
    return tile


def _area(image: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """Resample the first axis to `size` by area: the integral of the image between the edges of each new pixel."""
    edges = np.linspace(0, image.shape[0], size + 1, dtype=np.float64)
    whole = np.minimum(edges.astype(np.intp), image.shape[0] - 1)
    summed = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0, dtype=np.float64)])
    integral = summed[whole] + (edges - whole)[:, None] * image[whole]
    mean: npt.NDArray[np.float32] = (np.diff(integral, axis=0) / np.diff(edges)[:, None]).astype(np.float32)
    return mean


def _write(sheet: Grey, x: int, y: int, text: str, ink: tuple[int, int, int]) -> int:
    """Write text in capitals without accents from (x, y), as much as fits; returns where it ended."""
    plain = (char for char in unicodedata.normalize("NFKD", text.upper()) if not unicodedata.combining(char))
    for char in plain:
        if x + 6 * _TEXT > sheet.shape[1] - _MARGIN:
            break
        if char != " ":
            rows = bytes.fromhex(_GLYPHS.get(char, _GLYPHS["?"]))
            bits = np.array([[row >> (4 - bit) & 1 for bit in range(5)] for row in rows], bool)
            glyph = bits.repeat(_TEXT, 0).repeat(_TEXT, 1)
            sheet[y : y + 7 * _TEXT, x : x + 5 * _TEXT][glyph] = ink
        x += 6 * _TEXT
    return x
