"""From a data set to what is seen: the grey and colour pipelines of PS3.3 C.7.6.16-2.10, C.11 and PS3.4 N.2.

Grey: stored value -> Modality LUT or rescale -> VOI LUT or window -> presentation (shape or LUT) -> 0..255. Linear
steps are one pass of one kernel; whatever else there is becomes a table of all bit patterns, worked out in double, and
the pass a look-up. Samples wider than 16 bits and floats go through the steps themselves. The data set is read by
`get`, so that this package need not know it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dicore._native import kernels
from dicore.errors import PixelDataError
from dicore.pixel.frames import decode
from dicore.pixel.images import windowed
from dicore.pixel.layout import FrameLayout
from dicore.pixel.lut import Attributes, Lut, Palette, item_of, items_of, lut_from, palette_from, patterns, to_modality
from dicore.pixel.overlay import Spatial, draw_graphics, overlay_planes, shutter_mask
from dicore.pixel.png_file import apng, png

__all__ = ["Image", "hu", "render", "write_png"]

Array = npt.NDArray[Any]
Grey8 = npt.NDArray[np.uint8]
Frames = int | slice | Iterable[int] | None
WindowChoice = tuple[float, float] | Sequence[float] | str | int | None
_BLOCK = 64 << 20  # bytes of decoded frames that are held at a time


class Image(Attributes, Protocol):
    """What is asked of a data set with pixels: `dicore.Dataset` is one."""

    @property
    def transfer_syntax(self) -> str:
        """Its UID."""

    def pixel_layout(self) -> FrameLayout:
        """How the frames lie."""

    def pixels(self, frames: Any = None, raw: bool = False, out: Any = None, threads: int = 1) -> Array:
        """The frames."""


# ---- the steps -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Modality:
    slope: float = 1.0
    intercept: float = 0.0
    lut: Lut | None = None

    def __call__(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return x * self.slope + self.intercept if self.lut is None else self.lut(x)


@dataclasses.dataclass(frozen=True, slots=True)
class _Window:
    center: float
    width: float
    function: str = "LINEAR"

    def __call__(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """0..1; a width too small for its function is a step at the centre."""
        center, width = self.center, self.width
        if self.function == "SIGMOID" and width > 0:
            with np.errstate(over="ignore"):
                shown: npt.NDArray[np.float64] = 1 / (1 + np.exp(-4 * (x - center) / width))
            return shown
        if self.function != "LINEAR_EXACT":
            center, width = center - 0.5, width - 1
        if width <= 0:
            return (x > center).astype(np.float64)
        return np.clip((x - center) / width + 0.5, 0.0, 1.0)


@dataclasses.dataclass(frozen=True, slots=True)
class _VoiLut:
    lut: Lut

    def __call__(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return self.lut(x) / ((1 << self.lut.bits) - 1)


_Voi = _Window | _VoiLut


@dataclasses.dataclass(frozen=True, slots=True)
class _Presentation:
    invert: bool = False
    lut: Lut | None = None

    def __call__(self, y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.lut is not None:
            y = self.lut(y * (len(self.lut.values) - 1) + self.lut.first) / ((1 << self.lut.bits) - 1)
        return 1 - y if self.invert else y


def _modality(ds: Attributes, signed: bool, big_endian: bool) -> _Modality:
    item = next(iter(_tables(ds.get("ModalityLUTSequence"))), None)
    if item is not None:
        return _Modality(lut=lut_from(item, signed, big_endian))
    slope, intercept = _number(ds.get("RescaleSlope")), _number(ds.get("RescaleIntercept"))
    return _Modality(1.0 if slope is None else slope, 0.0 if intercept is None else intercept)


def _tables(sequence: Any) -> list[Attributes]:
    """The items that hold a table; files have empty ones."""
    return [
        item for item in items_of(sequence) if item.get("LUTDescriptor") is not None and item.get("LUTData") is not None
    ]


def _functional(ds: Attributes, frame: int, sequence: str) -> Attributes | None:
    """The item of a functional group macro that holds for a frame: its own before the shared one (PS3.3 C.7.6.16)."""
    for group in (
        item_of(ds.get("PerFrameFunctionalGroupsSequence"), frame),
        item_of(ds.get("SharedFunctionalGroupsSequence")),
    ):
        found = None if group is None else item_of(group.get(sequence))
        if found is not None:
            return found
    return None


def _frame_modality(ds: Attributes, layout: FrameLayout, frame: int) -> _Modality:
    item = _functional(ds, frame, "PixelValueTransformationSequence")
    return _modality(ds if item is None else item, layout.signed, layout.big_endian)


def _windows(ds: Attributes) -> list[tuple[_Window, str]]:
    centers, widths = _numbers(ds.get("WindowCenter")), _numbers(ds.get("WindowWidth"))
    names = ds.get("WindowCenterWidthExplanation")
    names = list(names) if isinstance(names, list | tuple) else [names] if isinstance(names, str) else []
    function = str(ds.get("VOILUTFunction") or "LINEAR").strip()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise PixelDataError(
            f"VOI LUT Function {function!r:.40}", tag_path="0028,1056", expected="LINEAR, LINEAR_EXACT or SIGMOID"
        )
    return [
        (_Window(c, w, function), str(names[i]).strip() if i < len(names) else "")
        for i, (c, w) in enumerate(zip(centers, widths, strict=False))
    ]


def _voi(ds: Attributes, big_endian: bool, signed: bool, window: WindowChoice, lut: int | str | None) -> _Voi | None:
    """The VOI step that is asked for, or the first that the data set has; None: it has none."""
    function = str(ds.get("VOILUTFunction") or "LINEAR").strip()
    if window is not None and not isinstance(window, str | int | np.integer):
        center, width = (float(v) for v in window)
        if not (np.isfinite(center) and np.isfinite(width)):
            raise ValueError(f"a window of {center}, {width}")
        return _Window(center, width, function if function in ("SIGMOID", "LINEAR_EXACT") else "LINEAR")
    tables = _tables(ds.get("VOILUTSequence"))
    if window is None and (lut is not None or len(tables)):
        number = 0 if lut is None else lut
        if isinstance(number, str):
            names = [str(item.get("LUTExplanation") or "").strip() for item in tables]
            if number.strip() not in names:
                raise ValueError(f"no VOI LUT is called {number!r}; there are {names}")
            number = names.index(number.strip())
        if not -len(tables) <= number < len(tables):
            raise ValueError(f"no VOI LUT {number}; there are {len(tables)}")
        return _VoiLut(lut_from(tables[number], signed, big_endian))
    windows = _windows(ds)
    if isinstance(window, str):
        if window == "auto":
            return None
        for made, name in windows:
            if name.casefold() == window.strip().casefold():
                return made
        raise ValueError(f"no window is called {window!r}; there are {[name for _, name in windows]} and 'auto'")
    if window is not None:
        if not -len(windows) <= int(window) < len(windows):
            raise ValueError(f"no window {window}; there are {len(windows)}")
        return windows[int(window)][0]
    return windows[0][0] if windows else None


# ---- the modality values ---------------------------------------------------------------------------------------------


def hu(ds: Image, frames: Frames = None, *, out: Array | None = None, threads: int = 1) -> npt.NDArray[np.float32]:
    """Modality values of a grey image: see `Dataset.hu`."""
    layout = ds.pixel_layout()
    if layout.samples != 1 or layout.photometric == "PALETTE COLOR":
        raise PixelDataError(f"{layout.photometric} pixels have no modality values", expected="a grey image")
    numbers, alone = _numbers_of(layout, frames)
    shape = layout.frame_shape if alone else (len(numbers), *layout.frame_shape)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32:
        raise ValueError(f"out is {out.dtype}{out.shape}, the frames are float32{shape}")
    slots = out[None] if alone else out

    def put(at: int, frame: Array) -> None:
        how = _frame_modality(ds, layout, numbers[at])
        to_modality(frame, slots[at], how.slope, how.intercept, how.lut)

    _each(ds, layout, numbers, put, threads)
    return out


# ---- render ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is done to the frames of one call, apart from what changes from frame to frame."""

    ds: Image
    layout: FrameLayout
    window: WindowChoice
    voi_lut: int | str | None
    colours: Grey8 | None
    overlays: frozenset[int] | None
    shutters: bool
    palette: Palette | None
    supplemental: bool
    state: Attributes | None
    state_big_endian: bool


def render(
    ds: Image,
    frames: Frames = None,
    *,
    window: WindowChoice = None,
    lut: int | str | Array | None = None,
    overlays: bool | Iterable[int] = False,
    shutters: bool = True,
    state: Any = None,
    out: Array | None = None,
    threads: int = 1,
) -> Grey8:
    """Frames as they are to be seen: see `Dataset.render`."""
    layout = ds.pixel_layout()
    plan = _plan(ds, layout, window, lut, overlays, shutters, state)
    numbers, alone = _numbers_of(layout, frames)
    spatial = _spatial(plan, numbers[0] if len(numbers) else 0)
    colour = layout.samples > 1 or plan.palette is not None or plan.colours is not None
    sample = spatial.apply(np.empty((layout.rows, layout.columns), np.bool_))
    shape = (*(() if alone else (len(numbers),)), *sample.shape, *((3,) if colour else ()))
    if out is None:
        try:
            out = np.empty(shape, np.uint8)
        except MemoryError:
            raise PixelDataError(f"no memory for an image of {shape}") from None
    elif out.shape != shape or out.dtype != np.uint8:
        raise ValueError(f"out is {out.dtype}{out.shape}, the image is uint8{shape}")
    slots = out[None] if alone else out
    limits = None
    if layout.samples == 1 and (plan.palette is None or plan.supplemental):
        limits = _limits(plan, numbers, threads)
    cached: dict[Any, Grey8] = {}
    if len(numbers) == 0:
        return out

    def put(at: int, frame: Array) -> None:
        turned = _spatial(plan, numbers[at])
        image = _frame(plan, numbers[at], frame, limits, cached)
        shown = turned.apply(image)
        if shown.shape != slots[at].shape:
            raise PixelDataError("the presentation state shows another area of this frame", frame=numbers[at])
        slots[at] = shown
        if plan.state is not None:
            _annotate(plan, numbers[at], turned, slots[at])

    _each(ds, layout, numbers, put, threads)
    return out


def _plan(
    ds: Image,
    layout: FrameLayout,
    window: WindowChoice,
    lut: int | str | Array | None,
    overlays: bool | Iterable[int],
    shutters: bool,
    state: Any,
) -> _Plan:
    colours = None
    if lut is not None and not isinstance(lut, str | int | np.integer):
        colours = np.asarray(lut)
        if colours.shape != (256, 3) or colours.dtype != np.uint8:
            raise ValueError(f"a colour table is uint8 (256, 3), not {colours.dtype}{colours.shape}")
        lut = None
    if isinstance(overlays, bool):
        wanted = frozenset(range(16)) if overlays else None
    else:
        wanted = frozenset(int(number) for number in overlays)
    supplemental = (
        layout.photometric != "PALETTE COLOR"
        and layout.samples == 1
        and (
            ds.get("PixelPresentation") in ("COLOR", "MIXED")
            and ds.get("RedPaletteColorLookupTableDescriptor") is not None
        )
    )
    palette = None
    if layout.photometric == "PALETTE COLOR" or supplemental:
        palette = palette_from(ds, layout.signed, layout.big_endian)
    if state is not None and layout.samples == 1 and palette is None and state.get("Modality") not in (None, "PR"):
        raise ValueError(f"state is a {state.get('Modality')}, no presentation state (PR)")
    big = state is not None and state.transfer_syntax == "1.2.840.10008.1.2.2"
    return _Plan(ds, layout, window, lut, colours, wanted, shutters, palette, supplemental, state, big)


def _steps(plan: _Plan, frame: int) -> tuple[_Modality, _Voi | None, _Presentation]:
    """What a grey frame goes through; no VOI where nothing says one."""
    ds, layout, state = plan.ds, plan.layout, plan.state
    if state is None:
        modality = _frame_modality(ds, layout, frame)
        shape = str(ds.get("PresentationLUTShape") or "")
        show = _Presentation(layout.photometric == "MONOCHROME1" or shape.strip() == "INVERSE")
        source: Attributes = ds
        if not _tables(ds.get("VOILUTSequence")) and ds.get("WindowCenter") is None:
            source = _functional(ds, frame, "FrameVOILUTSequence") or ds
    else:  # PS3.4 N.2.1: the state's transformations stand instead of the image's
        modality = _modality(state, layout.signed, plan.state_big_endian)
        item = item_of(state.get("PresentationLUTSequence"))
        show = _Presentation(
            str(state.get("PresentationLUTShape") or "").strip() == "INVERSE",
            None if item is None else lut_from(item, False, plan.state_big_endian),
        )
        source = _for_image(state.get("SoftcopyVOILUTSequence"), ds, frame) or _NOTHING
    big = layout.big_endian if state is None else plan.state_big_endian
    signed = layout.signed or (modality.lut is None and modality.intercept < 0)
    return modality, _voi(source, big, signed, plan.window, plan.voi_lut), show


class _Nothing:
    def get(self, name: Any, default: Any = None) -> Any:
        return default


_NOTHING = _Nothing()


def _for_image(sequence: Any, ds: Attributes, frame: int) -> Attributes | None:
    """The first item of a presentation state's sequence that is meant for this image and frame (from 0)."""
    for item in items_of(sequence):
        references = items_of(item.get("ReferencedImageSequence"))
        if not references:
            return item
        for reference in references:
            if reference.get("ReferencedSOPInstanceUID") == ds.get("SOPInstanceUID"):
                listed = reference.get("ReferencedFrameNumber")
                if listed is None or frame + 1 in _numbers(listed):
                    return item
    return None


def _limits(plan: _Plan, numbers: Sequence[int], threads: int) -> tuple[float, float] | None:
    """The least and the greatest modality value of the frames, padding apart, when some frame has no VOI of its own."""
    if len(numbers) == 0 or all(_steps(plan, number)[1] is not None for number in numbers):
        return None
    found: list[tuple[float, float]] = []
    padding = _padding(plan.ds, plan.layout)

    def look(at: int, frame: Array) -> None:
        modality = _steps(plan, numbers[at])[0]
        if padding is not None:
            frame = frame[(frame < padding[0]) | (frame > padding[1])]
        if frame.dtype.kind == "f":
            frame = frame[np.isfinite(frame)]
        if not frame.size:
            return
        if modality.lut is None:
            ends = modality(np.array([frame.min(), frame.max()], np.float64))
        else:
            ends = modality(np.unique(frame).astype(np.float64))
        found.append((float(ends.min()), float(ends.max())))

    _each(plan.ds, plan.layout, numbers, look, threads)
    if not found:
        return 0.0, 1.0
    low, high = min(f[0] for f in found), max(f[1] for f in found)
    if low == high:  # nothing to stretch: the whole range that the samples have
        layout, modality = plan.layout, _steps(plan, numbers[0])[0]
        if layout.dtype.kind == "f":
            return low, high + 1
        top = (1 << layout.bits_stored - layout.signed) - 1
        ends = modality(np.array([-top - 1 if layout.signed else 0, top], np.float64))
        low, high = float(ends.min()), float(ends.max())
    return low, high if high > low else low + 1


def _padding(ds: Attributes, layout: FrameLayout) -> tuple[int, int] | None:
    """The range of stored values that are no picture (PS3.3 C.7.5.1.1.2)."""
    value, limit = ds.get("PixelPaddingValue"), ds.get("PixelPaddingRangeLimit")
    ends = []
    for end in (value, value if limit is None else limit):
        if isinstance(end, list | tuple):
            end = end[0] if end else None
        if not isinstance(end, int):
            return None
        if layout.signed and end >= 1 << max(1, layout.bits_allocated) - 1:
            end -= 1 << layout.bits_allocated
        elif not layout.signed and end < 0:
            end += 1 << layout.bits_allocated
        ends.append(end)
    return min(ends), max(ends)


def _frame(
    plan: _Plan, number: int, frame: Array, limits: tuple[float, float] | None, cached: dict[Any, Grey8]
) -> Array:
    """One decoded frame as uint8 (rows, columns[, 3]), overlays and shutters on it, not yet turned."""
    layout = plan.layout
    if layout.samples > 1:
        image = _colour(frame, layout)
    elif plan.palette is not None and not plan.supplemental:
        image = _through_palette(frame, plan.palette, cached)
    else:
        image = _grey(frame, *_steps(plan, number), limits, cached)
        if plan.palette is not None:  # C.8.16.2.1.1.1: from the first mapped value on it is colour
            table = _through_palette(frame, plan.palette, cached)
            image = np.where((frame >= plan.palette.first)[..., None], table, image[..., None])
        elif plan.colours is not None:
            image = plan.colours[image]
    if plan.overlays is not None or plan.state is not None:
        _burn_overlays(plan, number, image)
    if plan.shutters:
        for source in (plan.ds, plan.state):
            shutter = None if source is None else shutter_mask(source, layout.rows, layout.columns)
            if shutter is not None:
                image[shutter[0]] = shutter[1]
    return image


def _grey(
    frame: Array,
    modality: _Modality,
    voi: _Voi | None,
    show: _Presentation,
    limits: tuple[float, float] | None,
    cached: dict[Any, Grey8],
) -> Grey8:
    if voi is None:
        low, high = limits or (0.0, 1.0)
        voi = _Window((low + high) / 2, high - low, "LINEAR_EXACT")
    if frame.dtype.kind == "f" and isinstance(voi, _Window) and voi.function == "LINEAR" and voi.width <= 1:
        voi = _Window(voi.center, voi.width, "LINEAR_EXACT")  # LINEAR thinks in whole numbers; parametric maps do not
    linear = isinstance(voi, _Window) and voi.function != "SIGMOID" and modality.lut is None and show.lut is None
    if linear and isinstance(voi, _Window):
        exact = voi.function == "LINEAR_EXACT"
        return windowed(
            frame, modality.slope, modality.intercept, voi.center, voi.width, exact=exact, invert=show.invert
        )

    def steps(x: Array) -> Grey8:
        return np.rint(show(voi(modality(x.astype(np.float64)))) * 255).astype(np.uint8)

    if frame.dtype.kind not in "iu" or frame.dtype.itemsize > 2:
        return steps(frame)
    key = (
        frame.dtype.str, modality.slope, modality.intercept, id(modality.lut) if modality.lut else 0,
        (voi.center, voi.width, voi.function) if isinstance(voi, _Window) else 0,
    )  # fmt: skip
    simple = modality.lut is None and show.lut is None and isinstance(voi, _Window)
    table = cached.get(key) if simple else None
    if table is None:
        table = steps(patterns(frame.dtype))
        if simple:
            cached[key] = table
    image = np.empty(frame.shape, np.uint8)
    kernels.look_up(np.ascontiguousarray(frame), table, image, frame.dtype.itemsize, 1)
    return image


def _through_palette(frame: Array, palette: Palette, cached: dict[Any, Grey8]) -> Grey8:
    if frame.dtype.kind not in "iu" or frame.dtype.itemsize > 2:
        index = np.clip(frame.astype(np.int64) - palette.first, 0, len(palette.colours) - 1)
        return palette.colours[index]
    table = cached.get("palette")
    if table is None:
        table = cached["palette"] = palette.table(frame.dtype)
    image = np.empty((*frame.shape, 3), np.uint8)
    kernels.look_up(np.ascontiguousarray(frame), table, image, frame.dtype.itemsize, 3)
    return image


def _colour(frame: Array, layout: FrameLayout) -> Grey8:
    """RGB of 8 bits; frames come as RGB but for the retired four-sample kinds."""
    if frame.dtype.kind == "f":
        raise PixelDataError(f"{layout.photometric} in floating point")
    if layout.bits_stored == 8 and frame.dtype == np.uint8:
        image = frame
    else:
        if layout.signed:
            raise PixelDataError(f"signed {layout.photometric} pixels")
        image = np.rint(frame.astype(np.float64) * (255.0 / ((1 << layout.bits_stored) - 1))).astype(np.uint8)
    if image.shape[-1] == 4:
        if layout.photometric == "ARGB":
            image = image[..., 1:]
        elif layout.photometric == "CMYK":
            ink, black = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
            image = ((255 - ink) * (255 - black) // 255).astype(np.uint8)
        else:
            raise PixelDataError(f"{layout.photometric} of four samples", expected="ARGB or CMYK")
    elif layout.photometric == "HSV":
        raise PixelDataError("HSV pixels (retired in 1996) cannot be shown")
    return np.array(image, np.uint8, order="C")


def _burn_overlays(plan: _Plan, number: int, image: Array) -> None:
    def stored(frame: int) -> Array:
        whole = dataclasses.replace(plan.layout, bits_stored=plan.layout.bits_allocated, signed=False)
        value = plan.ds[plan.layout.pixel_keyword].raw  # type: ignore[index]
        return decode(whole, value, frames=frame)

    for source in (plan.ds if plan.overlays is not None else None, plan.state):
        if source is None:
            continue
        for plane, mask in overlay_planes(source, plan.layout, number, stored if source is plan.ds else None):
            if source is plan.ds and plan.overlays is not None and plane not in plan.overlays:
                continue
            if image.ndim == 2:
                kernels.burn(image, mask, 255)
            else:
                image[mask != 0] = 255


# ---- presentation states ---------------------------------------------------------------------------------------------


def _spatial(plan: _Plan, number: int) -> Spatial:
    state, layout = plan.state, plan.layout
    if state is None:
        return Spatial()
    rotation = int(_number(state.get("ImageRotation")) or 0) % 360
    if rotation % 90:
        raise PixelDataError(f"Image Rotation {rotation}", tag_path="0070,0042", expected="0, 90, 180 or 270")
    flip = str(state.get("ImageHorizontalFlip") or "N").strip() == "Y"
    area = None
    item = _for_image(state.get("DisplayedAreaSelectionSequence"), plan.ds, number)
    if item is not None:
        first, last = item.get("DisplayedAreaTopLeftHandCorner"), item.get("DisplayedAreaBottomRightHandCorner")
        corners = [int(v) for v in (*_numbers(first), *_numbers(last))]
        if len(corners) == 4:
            left, right = sorted(corners[::2])  # corners of what is seen, so turned ones are swapped
            top, bottom = sorted(corners[1::2])
            left, top = max(0, left - 1), max(0, top - 1)
            right, bottom = min(layout.columns, right), min(layout.rows, bottom)
            if left < right and top < bottom:
                area = (left, top, right, bottom)
    return Spatial(rotation, flip, area)


def _annotate(plan: _Plan, number: int, turned: Spatial, image: Array) -> None:
    left, top, right, bottom = turned.area or (0, 0, plan.layout.columns, plan.layout.rows)
    wide, high = right - left, bottom - top

    def to_image(x: float, y: float, in_pixels: bool) -> tuple[float, float]:
        if not in_pixels:  # fractions of what is displayed
            return x * image.shape[1], y * image.shape[0]
        x, y = x - left, y - top
        width, height = wide, high
        for _ in range(turned.rotation // 90):  # clockwise
            x, y = height - y, x
            width, height = height, width
        return (width - x if turned.flip else x), y

    for item in items_of(plan.state.get("GraphicAnnotationSequence")) if plan.state is not None else ():
        if _for_image([item], plan.ds, number) is not None:
            draw_graphics(item, image, to_image)


# ---- frames by blocks ------------------------------------------------------------------------------------------------


def _numbers_of(layout: FrameLayout, frames: Frames) -> tuple[Sequence[int], bool]:
    """Frame numbers, and whether the result has no frame axis; as `decode` does."""
    if frames is None:
        return range(layout.frames), layout.frames == 1
    if isinstance(frames, slice):
        return range(layout.frames)[frames], False
    alone = isinstance(frames, int | np.integer)
    chosen = [int(frames)] if isinstance(frames, int | np.integer) else [int(n) for n in frames]
    for at, number in enumerate(chosen):
        if not -layout.frames <= number < layout.frames:
            raise PixelDataError(f"there is no such frame of {layout.frames}", frame=number)
        chosen[at] = number % layout.frames
    return chosen, alone


def _each(
    ds: Image, layout: FrameLayout, numbers: Sequence[int], put: Callable[[int, Array], None], threads: int
) -> None:
    """Call put(position, frame) for every frame, a block of them decoded at a time; with threads, several at once."""
    if len(numbers) == 1:
        put(0, ds.pixels(frames=numbers[0]))
        return
    step = max(1, threads, _BLOCK // max(1, layout.frame_bytes))
    pool = ThreadPoolExecutor(threads, "dicore-render") if threads > 1 and len(numbers) > 1 else None
    try:
        for start in range(0, len(numbers), step):
            block = numbers[start : start + step]
            whole = ds.pixels(frames=block if isinstance(block, list) else list(block), threads=threads)
            work: Iterator[tuple[int, Array]] = ((start + i, whole[i]) for i in range(len(block)))
            if pool is None:
                for at, frame in work:
                    put(at, frame)
            else:
                list(pool.map(lambda job: put(*job), work))
    finally:
        if pool is not None:
            pool.shutdown()


def _number(value: Any) -> float | None:
    found = _numbers(value)
    return found[0] if found else None


def _numbers(value: Any) -> list[float]:
    if value is None or isinstance(value, str | bytes):
        return []
    values = list(value) if isinstance(value, list | tuple) else [value]
    try:
        numbers = [float(v) for v in values]
    except (TypeError, ValueError):
        return []
    return [v for v in numbers if np.isfinite(v)]


# ---- files -----------------------------------------------------------------------------------------------------------


def write_png(
    ds: Image,
    path: str | os.PathLike[str],
    frames: Frames = 0,
    *,
    seconds: float | None = None,
    depth: int = 8,
    **how: Any,
) -> None:
    """A PNG, or an animated one: see `Dataset.to_png`."""
    if depth not in (8, 16):
        raise ValueError(f"a PNG of {depth} bits, where 8 or 16 is wanted")
    layout = ds.pixel_layout()
    numbers, alone = _numbers_of(layout, frames)
    if len(numbers) == 0:
        raise ValueError("no frame to write")
    if depth == 16 and how:
        raise ValueError(f"16 bits are the stored values: {', '.join(how)} cannot change them")
    images = (_stored16(ds, layout, n) if depth == 16 else render(ds, n, **how) for n in numbers)
    if alone or len(numbers) == 1:
        data = png(next(images))
    else:
        if depth == 8 and how.get("window") is None:  # one automatic window for all frames
            plan = _plan(ds, layout, None, how.get("lut"), False, False, how.get("state"))
            limits = _limits(plan, numbers, 1) if layout.samples == 1 and plan.palette is None else None
            if limits is not None:
                center, width = (limits[0] + limits[1]) / 2 + 0.5, limits[1] - limits[0] + 1
                images = (render(ds, n, **how | {"window": (center, width)}) for n in numbers)
        data = apng(images, seconds=_frame_seconds(ds) if seconds is None else seconds)
    with open(path, "wb") as file:
        file.write(data)


def _stored16(ds: Image, layout: FrameLayout, frame: int) -> Array:
    image = ds.pixels(frames=frame)
    if image.dtype.kind not in "iu" or layout.bits_stored > 16:
        raise PixelDataError(f"{layout.bits_allocated}-bit {layout.pixel_keyword} does not fit a PNG of 16 bits")
    if layout.signed:
        return (image.astype(np.int32) + (1 << layout.bits_stored - 1)).astype(np.uint16)
    return image.astype(np.uint16)


def _frame_seconds(ds: Attributes) -> float:
    """How long a frame is shown (PS3.3 C.7.6.5)."""
    time = _number(ds.get("FrameTime"))
    if time is None:
        vector = _numbers(ds.get("FrameTimeVector"))
        time = sum(vector) / (len(vector) - 1) if len(vector) > 1 else None
    if time is not None and time > 0:
        return time / 1000
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        rate = _number(ds.get(keyword))
        if rate is not None and rate > 0:
            return 1 / rate
    return 0.1
