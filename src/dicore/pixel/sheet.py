"""Contact sheets: thumbnails side by side, or in rows with a line of text over each; and that text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicore.pixel.png_file import png

__all__ = ["Row", "contact_sheet", "draw", "thumbnail", "write"]

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
    """One row: a heading, a fainter remark behind it, and uint8 thumbnails in any size, grey or (rows, columns, 3)."""

    heading: str
    remark: str
    images: Sequence[Grey]


def draw(title: str, rows: Sequence[Row], *, tile: int = _TILE) -> Grey:
    """The sheet as (height, width, 3) RGB of uint8; `tile` is the side of a thumbnail's square."""
    columns = max((len(row.images) for row in rows), default=1)
    line = 7 * _TEXT
    row_height = line + _GAP + tile + 2 * _GAP
    width = 2 * _MARGIN + columns * tile + (columns - 1) * _GAP
    height = 2 * _MARGIN + line + 2 * _GAP + len(rows) * row_height - 2 * _GAP
    sheet: Grey = np.empty((height, width, 3), np.uint8)
    sheet[:] = _BACKGROUND
    y = _MARGIN
    write(sheet, _MARGIN, y, title, _ACCENT)
    y += line + 2 * _GAP
    for row in rows:
        end = write(sheet, _MARGIN, y, row.heading, _INK)
        write(sheet, end + 3 * _GAP, y, row.remark, _FAINT)
        for column, image in enumerate(row.images):
            x = _MARGIN + column * (tile + _GAP)
            top = y + line + _GAP
            small = thumbnail(image, tile)
            sheet[top : top + tile, x : x + tile] = small[..., None] if small.ndim == 2 else small
        y += row_height
    return sheet


def contact_sheet(images: Sequence[Grey], *, columns: int = 0, tile: int = 256, gap: int = 4) -> bytes:
    """A PNG of many 8-bit images (rows, columns[, 3]) side by side, each fitted into a `tile` x `tile` square.

    `columns` 0 takes the squarest arrangement that is at least as wide as high. An empty list gives one dark tile.
    """
    count = max(1, len(images))
    across = columns or int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    colour = any(image.ndim == 3 for image in images)
    sheet = np.full((down * (tile + gap) + gap, across * (tile + gap) + gap) + ((3,) if colour else ()), 24, np.uint8)
    for number, image in enumerate(images):
        small = thumbnail(image, tile, 24)
        top, left = gap + number // across * (tile + gap), gap + number % across * (tile + gap)
        sheet[top : top + tile, left : left + tile] = small[..., None] if colour and small.ndim == 2 else small
    return png(sheet)


def thumbnail(image: Grey, side: int = _TILE, around: int = 0) -> Grey:
    """`image` centred in a square of `side` pixels, its shape kept, each pixel the mean of what it covers."""
    rows, columns = image.shape[:2]
    scale = side / max(rows, columns)
    high, wide = max(1, round(rows * scale)), max(1, round(columns * scale))
    tile: Grey = np.full((side, side, *image.shape[2:]), around, np.uint8)
    top, left = (side - high) // 2, (side - wide) // 2
    planes = [image] if image.ndim == 2 else [image[..., s] for s in range(image.shape[2])]
    for s, plane in enumerate(planes):
        target = tile if image.ndim == 2 else tile[..., s]
        small = _area(_area(plane.astype(np.float32), high).T, wide).T
        target[top : top + high, left : left + wide] = small + 0.5
    return tile


def _area(image: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """Resample the first axis to `size` by area: the integral of the image between the edges of each new pixel."""
    edges = np.linspace(0, image.shape[0], size + 1, dtype=np.float64)
    whole = np.minimum(edges.astype(np.intp), image.shape[0] - 1)
    summed = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0, dtype=np.float64)])
    integral = summed[whole] + (edges - whole)[:, None] * image[whole]
    mean: npt.NDArray[np.float32] = (np.diff(integral, axis=0) / np.diff(edges)[:, None]).astype(np.float32)
    return mean


def write(sheet: Grey, x: int, y: int, text: str, ink: tuple[int, ...], margin: int = _MARGIN) -> int:
    """Write text in capitals without accents from (x, y), as much as fits; returns where it ended.

    `sheet` is (rows, columns, 3), or (rows, columns) with an ink of one number.
    """
    plain = (char for char in unicodedata.normalize("NFKD", text.upper()) if not unicodedata.combining(char))
    for char in plain:
        if not 0 <= x <= sheet.shape[1] - margin - 6 * _TEXT or not 0 <= y <= sheet.shape[0] - 7 * _TEXT:
            break
        if char != " ":
            rows = bytes.fromhex(_GLYPHS.get(char, _GLYPHS["?"]))
            bits = np.array([[row >> (4 - bit) & 1 for bit in range(5)] for row in rows], bool)
            glyph = bits.repeat(_TEXT, 0).repeat(_TEXT, 1)
            sheet[y : y + 7 * _TEXT, x : x + 5 * _TEXT][glyph] = ink
        x += 6 * _TEXT
    return x
