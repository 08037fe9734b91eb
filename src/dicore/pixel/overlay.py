"""What lies over an image: overlay planes (PS3.3 C.9.2), shutters (C.7.6.11) and the graphics of a presentation state
(C.10.5), as masks over its rows and columns."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore._native import kernels
from dicore.errors import PixelDataError
from dicore.pixel.layout import FrameLayout
from dicore.pixel.lut import Attributes, items_of
from dicore.pixel.sheet import write

__all__ = ["draw_graphics", "overlay_planes", "shutter_mask"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.uint8]
_POINTS = 100_000  # of one graphic object
_FAR = 1e6


def overlay_planes(
    ds: Attributes, layout: FrameLayout, frame: int, stored: Callable[[int], Array] | None = None
) -> Iterator[tuple[int, Mask]]:
    """(number, mask) of every overlay plane over `frame`: a mask is (rows, columns) of the image, 1 where it is set.

    Number 0 is group 6000, 15 is group 601E. `stored(frame)` gives the frame with the bits above Bits Stored kept, for
    overlays in them (retired); without it those are left out. Raises PixelDataError for a plane without its data.
    """
    for number in range(16):
        group = 0x6000 + 2 * number
        rows, columns = _int(ds.get((group, 0x0010))), _int(ds.get((group, 0x0011)))
        if not rows or not columns or rows < 0 or columns < 0:
            continue
        first = (_int(ds.get((group, 0x0051))) or 1) - 1  # Image Frame Origin
        frames = _int(ds.get((group, 0x0015))) or 1
        plane = frame - first if frames > 1 or (layout.frames > 1 and ds.get((group, 0x0051)) is not None) else 0
        if not 0 <= plane < frames:
            continue
        data = ds.get((group, 0x3000))
        bits = _int(ds.get((group, 0x0100))) or 1
        if data is not None:
            raw = data if isinstance(data, bytes | bytearray | memoryview) else _bytes(data, group)
            if len(raw) * 8 < (plane + 1) * rows * columns:
                raise PixelDataError(
                    f"an overlay of {rows} x {columns} in {len(raw)} bytes", tag_path=f"{group:04X},3000"
                )
            if layout.big_endian and len(raw) % 2 == 0:  # an OW: bits count from the least significant of each word
                raw = np.frombuffer(raw, np.uint16).byteswap().tobytes()
            mask = np.empty((rows, columns), np.uint8)
            kernels.unpack1(raw, mask, plane * rows * columns)
        elif bits > 1 and stored is not None:
            bit = _int(ds.get((group, 0x0102))) or 0
            words = stored(frame)
            if words.shape != (rows, columns) or not 0 <= bit < 8 * words.dtype.itemsize:
                raise PixelDataError(f"an overlay in bit {bit} of the pixels", tag_path=f"{group:04X},0102")
            mask = np.empty((rows, columns), np.uint8)
            if words.dtype.itemsize == 2:
                kernels.overlay_bit(np.ascontiguousarray(words), mask, bit)
            else:
                mask[...] = words >> bit & 1
        else:
            continue
        origin = ds.get((group, 0x0050)) or (1, 1)
        top, left = (_int(v) for v in origin) if isinstance(origin, list | tuple) and len(origin) == 2 else (None, None)
        if top is None or left is None:
            raise PixelDataError(f"Overlay Origin {origin!r:.40}", tag_path=f"{group:04X},0050", expected="two numbers")
        yield number, _placed(mask, top - 1, left - 1, layout.rows, layout.columns)


def _bytes(data: Any, group: int) -> bytes:
    """Overlay Data that came as numbers, as its VR had it."""
    try:
        return (np.asarray(data, np.int64) & 0xFFFF).astype("<u2").tobytes()
    except (TypeError, ValueError, OverflowError):
        raise PixelDataError(f"Overlay Data is {data!r:.40}", tag_path=f"{group:04X},3000", expected="bytes") from None


def _placed(mask: Mask, top: int, left: int, rows: int, columns: int) -> Mask:
    if (top, left) == (0, 0) and mask.shape == (rows, columns):
        return mask
    whole = np.zeros((rows, columns), np.uint8)
    from_y, from_x = max(0, -top), max(0, -left)
    part = mask[from_y : max(0, rows - top), from_x : max(0, columns - left)]
    if part.size:
        y, x = max(0, top), max(0, left)
        whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    return whole


def shutter_mask(ds: Attributes, rows: int, columns: int) -> tuple[npt.NDArray[np.bool_], int] | None:
    """(mask, True where the shutter covers; its 8-bit value), or None without a Shutter Shape (PS3.3 C.7.6.11)."""
    shapes = ds.get("ShutterShape")
    if not shapes:
        return None
    shapes = list(shapes) if isinstance(shapes, list | tuple) else [shapes]
    seen = np.ones((rows, columns), np.bool_)
    y, x = np.ogrid[1 : rows + 1, 1 : columns + 1]
    known = False
    for shape in shapes:
        if shape == "RECTANGULAR":
            left, right = _int(ds.get("ShutterLeftVerticalEdge")), _int(ds.get("ShutterRightVerticalEdge"))
            upper, lower = _int(ds.get("ShutterUpperHorizontalEdge")), _int(ds.get("ShutterLowerHorizontalEdge"))
            if left is None or right is None or upper is None or lower is None:
                raise PixelDataError("a rectangular shutter without its four edges", tag_path="0018,1602")
            seen &= (x > left) & (x < right) & (y > upper) & (y < lower)
        elif shape == "CIRCULAR":
            center, radius = ds.get("CenterOfCircularShutter"), _int(ds.get("RadiusOfCircularShutter"))
            if not isinstance(center, list | tuple) or len(center) != 2 or radius is None:
                raise PixelDataError("a circular shutter without centre or radius", tag_path="0018,1610")
            middle = [_int(v) for v in center]
            if middle[0] is None or middle[1] is None:
                raise PixelDataError(f"a circular shutter around {center!r:.40}", tag_path="0018,1610")
            seen &= (y - float(middle[0])) ** 2 + (x - float(middle[1])) ** 2 <= float(radius) ** 2
        elif shape == "POLYGONAL":
            points = ds.get("VerticesOfThePolygonalShutter")
            if not isinstance(points, list | tuple) or len(points) < 6 or len(points) % 2 or len(points) > 2 * _POINTS:
                raise PixelDataError("a polygonal shutter without its corners", tag_path="0018,1620")
            try:
                corners = [(float(points[i + 1]) - 0.5, float(points[i]) - 0.5) for i in range(0, len(points), 2)]
            except (TypeError, ValueError):
                raise PixelDataError("a polygonal shutter whose corners are no numbers", tag_path="0018,1620") from None
            seen &= _inside(corners, rows, columns)
        else:  # BITMAP: an overlay of the presentation state, which is drawn as one
            continue
        known = True
    value = _int(ds.get("ShutterPresentationValue")) or 0
    return (~seen, min(255, max(0, value) >> 8)) if known else None


def draw_graphics(
    item: Attributes, image: Array, to_image: Callable[[float, float, bool], tuple[float, float]]
) -> None:
    """Draw an item of the Graphic Annotation Sequence into a uint8 image (rows, columns[, 3]), in white.

    `to_image(x, y, in_pixels)` gives a point's column and row in `image`. Text is written in capitals from its anchor
    or its box's corner; INTERPOLATED is drawn as straight lines through its points. What makes no sense is left out.
    """
    rows, columns = int(image.shape[0]), int(image.shape[1])
    mask = np.zeros((rows, columns), np.bool_)
    for graphic in items_of(item.get("GraphicObjectSequence")):
        data = graphic.get("GraphicData")
        numbers = [float(v) for v in data][: 2 * _POINTS] if isinstance(data, list | tuple) else []
        pixels = graphic.get("GraphicAnnotationUnits", "PIXEL") != "DISPLAY"
        points = [to_image(numbers[i], numbers[i + 1], pixels) for i in range(0, len(numbers) - 1, 2)]
        if not points or not all(abs(v) < _FAR for point in points for v in point):
            continue
        kind = str(graphic.get("GraphicType") or "")
        if kind == "POINT":
            x, y = points[0]
            _line(mask, (x - 3, y), (x + 3, y))
            _line(mask, (x, y - 3), (x, y + 3))
            continue
        if kind in ("CIRCLE", "ELLIPSE"):
            points = _round(kind, points)
        elif kind not in ("POLYLINE", "INTERPOLATED"):
            continue
        for start, end in itertools.pairwise(points):
            _line(mask, start, end)
        if str(graphic.get("GraphicFilled") or "N") == "Y" and len(points) > 2:
            mask |= _inside(points, rows, columns)
    image[mask] = 255
    for text in items_of(item.get("TextObjectSequence")):
        anchor, units = text.get("BoundingBoxTopLeftHandCorner"), text.get("BoundingBoxAnnotationUnits", "PIXEL")
        if anchor is None:
            anchor, units = text.get("AnchorPoint"), text.get("AnchorPointAnnotationUnits", "PIXEL")
        if anchor is None or len(anchor) != 2:
            continue
        x, y = to_image(float(anchor[0]), float(anchor[1]), units != "DISPLAY")
        if not (abs(x) < _FAR and abs(y) < _FAR):
            continue
        for number, line in enumerate(str(text.get("UnformattedTextValue") or "").splitlines()[:100]):
            write(image, int(x), int(y) + 18 * number, line, (255,) * (image.shape[2] if image.ndim == 3 else 1), 0)


def _round(kind: str, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A circle (centre, a point on it) or an ellipse (ends of the major, of the minor axis) as a closed polygon."""
    angles = [2 * math.pi * k / 180 for k in range(181)]
    if kind == "CIRCLE" and len(points) >= 2:
        (x, y), (px, py) = points[:2]
        radius = math.hypot(px - x, py - y)
        return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
    if kind == "ELLIPSE" and len(points) >= 4:
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = points[:4]
        x, y = (ax + bx) / 2, (ay + by) / 2
        u, v = ((bx - ax) / 2, (by - ay) / 2), ((dx - cx) / 2, (dy - cy) / 2)
        return [
            (x + u[0] * math.cos(a) + v[0] * math.sin(a), y + u[1] * math.cos(a) + v[1] * math.sin(a)) for a in angles
        ]
    return []


def _line(mask: npt.NDArray[np.bool_], start: tuple[float, float], end: tuple[float, float]) -> None:
    """Set the pixels under a line between two points (column, row), of which the image's part is walked."""
    (x0, y0), (x1, y1) = start, end
    low, high = 0.0, 1.0
    for origin, step, size in ((x0, x1 - x0, mask.shape[1]), (y0, y1 - y0, mask.shape[0])):
        if step == 0:
            if not 0 <= origin < size:
                return
            continue
        a, b = sorted((-origin / step, (size - origin) / step))
        low, high = max(low, a), min(high, b)
    if low > high:
        return
    count = 2 + int(2 * (high - low) * max(abs(x1 - x0), abs(y1 - y0)))
    t = np.linspace(low, high, min(count, 4 * sum(mask.shape) + 8))
    x, y = np.floor(x0 + t * (x1 - x0)).astype(np.intp), np.floor(y0 + t * (y1 - y0)).astype(np.intp)
    within = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
    mask[y[within], x[within]] = True


def _inside(corners: Sequence[tuple[float, float]], rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Pixels whose centre is in the polygon of (column, row) corners, by the even-odd rule."""
    toggles = np.zeros((rows, columns + 1), np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        y = np.arange(max(0, math.ceil(y0 - 0.5)), min(rows, math.ceil(y1 - 0.5)))
        x = np.ceil(x0 + (y + 0.5 - y0) * (x1 - x0) / (y1 - y0) - 0.5)
        toggles[y, np.clip(x, 0, columns).astype(np.intp)] ^= True
    inside: npt.NDArray[np.bool_] = np.logical_xor.accumulate(toggles, axis=1)[:, :columns]
    return inside


def _int(value: Any) -> int | None:
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Spatial:
    """How a presentation state turns and cuts an image (PS3.3 C.10.4, C.10.6)."""

    rotation: int = 0  # degrees clockwise, before the flip
    flip: bool = False  # left to right
    area: tuple[int, int, int, int] | None = None  # left, top, right, bottom: first and beyond the last, from 0

    def apply(self, image: Array) -> Array:
        """The image (rows, columns[, 3]) as it is displayed: a view of it."""
        if self.area is not None:
            left, top, right, bottom = self.area
            image = image[top:bottom, left:right]
        image = np.rot90(image, -self.rotation // 90)
        return image[:, ::-1] if self.flip else image
