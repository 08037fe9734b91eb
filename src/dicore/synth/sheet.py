"""All modalities on one sheet, each drawn from its DICOM files by our own reader and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.dataset import Dataset
from dicore.pixel import sheet
from dicore.pixel.png_file import png
from dicore.synth.studies import MODALITIES, Instance, Modality, studies

__all__ = ["all_modalities", "picture"]

Picture = npt.NDArray[np.uint8]
_COLUMNS = 6
_INK, _PAPER = 24, 252
_NAMES = {
    "CT": "computed tomography", "MR": "magnetic resonance", "CR": "computed radiography",
    "DX": "digital radiography", "MG": "mammography", "US": "ultrasound", "XA": "angiography",
    "PT": "positron emission", "NM": "nuclear medicine", "XC": "photographs: skin, teeth",
    "SM": "whole slide, levels of a pyramid",
    "RT": "structures, plan, dose on their CT", "SR": "report", "ECG": "waveform", "DOC": "document (PDF)",
}  # fmt: skip


def all_modalities(seed: int = 1, size: int = 512, *, tile: int = 300, modalities: Sequence[Modality] = ()) -> bytes:
    """A PNG with a row of pictures for each modality (all of them by default), out of instances made of `seed`."""
    rows = []
    for kind in modalities or MODALITIES:
        slices = {"RT": 24, "CT": 24, "MR": 20, "PT": 24}.get(kind, _COLUMNS)
        made = list(studies(seed, 1, kind, slices=slices, size=size))
        images = _treatment(made) if kind == "RT" else [picture(one) for one in _some(made)]
        rows.append(sheet.Row(kind, _NAMES[kind], images))
    return png(sheet.draw(f"dicore synth, seed {seed}: a test, no patient", rows, tile=tile))


def _some(made: list[Instance]) -> list[Instance]:
    return [made[round(n)] for n in np.linspace(0, len(made) - 1, min(_COLUMNS, len(made)))]


def picture(instance: Instance) -> Picture:
    """What one would see of an instance: its (middle) frame, its slide put together, its leads, or its words."""
    ds = Dataset.from_bytes(instance.data)
    if "WaveformSequence" in ds:
        return _traces(ds)
    if "TotalPixelMatrixColumns" in ds:
        return _mosaic(ds)
    if "PixelData" not in ds:
        return _words(ds)
    return _shown(ds)


def _shown(ds: Dataset) -> Picture:
    frames = int(ds.get("NumberOfFrames") or 1)
    image: Picture = ds.render(frames=frames // 2) if frames > 1 else ds.render()
    return image


def _mosaic(ds: Dataset) -> Picture:
    """The total pixel matrix of a TILED_FULL image (PS3.3 C.7.6.17.3): tiles from left to right, from top to bottom."""
    tiles = ds.pixels()
    tiles = tiles[None] if tiles.ndim == 3 else tiles
    rows, columns = int(ds.TotalPixelMatrixRows), int(ds.TotalPixelMatrixColumns)
    high, wide = tiles.shape[1:3]
    across = -(-columns // wide)
    grid = tiles.reshape(-1, across, high, wide, 3).swapaxes(1, 2).reshape(-1, across * wide, 3)
    whole: Picture = np.ascontiguousarray(grid[:rows, :columns])
    return whole


def _traces(ds: Dataset) -> Picture:
    """Twelve leads in four columns on millimetre paper, as they hang on a wall."""
    waves = ds.waveform()[0]
    values = waves.samples
    rows, columns = 480, 640
    image = np.full((rows, columns, 3), _PAPER, np.uint8)
    for step, tone in ((8, 236), (40, 205)):
        image[::step, :, 1:] = image[:, ::step, 1:] = tone
    leads = min(12, values.shape[1])
    across, down = 4, 3
    span = columns // across
    samples = values.shape[0] // across
    for lead in range(leads):
        column, row = lead // down, lead % down
        part = values[column * samples : (column + 1) * samples, lead]
        at = np.linspace(0, len(part) - 1, 8 * span).astype(int)
        middle = rows * (row + 0.55) / down
        y = np.clip(np.rint(middle - part[at] * _millimetres(values) * 8), 0, rows - 1).astype(int)
        x = column * span + np.arange(8 * span) // 8
        for before, after, where in zip(y[:-1], y[1:], x[1:], strict=True):
            image[min(before, after) : max(before, after) + 2, where] = _INK
        sheet.write(image, column * span + 6, int(middle) - 62, waves.channels[lead].name.split()[-1], (_INK,) * 3, 0)
    return image


def _millimetres(values: npt.NDArray[np.float64]) -> float:
    """So many millimetres a unit that the tallest wave has 14."""
    return 14.0 / max(float(np.abs(values).max()), 1e-9)


def _words(ds: Dataset) -> Picture:
    """The text of a report, or of a letter's one page."""
    lines = [str(ds.get("DocumentTitle") or ds.get("SeriesDescription") or "")]
    if "EncapsulatedDocument" in ds:
        page = bytes(ds["EncapsulatedDocument"].raw)
        lines += [part.rpartition(b"(")[2].decode("latin-1") for part in page.split(b") Tj")[:-1]]
    for item in ds.get("ContentSequence") or ():
        lines += [str(item["ConceptNameCodeSequence[0].CodeMeaning"].value), "  " + str(item.get("TextValue", ""))]
    image = np.full((400, 300, 3), _PAPER, np.uint8)
    y = 24
    for line in lines:
        words, now = line.split(" "), ""
        for word in [*words, ""]:
            if word and 12 * len(f"{now} {word}") < 260:
                now = f"{now} {word}".strip()
                continue
            sheet.write(image, 18, y, now, (_INK,) * 3, 0)
            y, now = y + 22, word
        y += 12
    return image


def _treatment(made: list[Instance]) -> list[Picture]:
    """Slices of the CT with the structures, the beams' middle and the dose that the other instances hold."""
    images = [Dataset.from_bytes(one.data) for one in made if one.modality == "CT"]
    structures, plan, dose = (
        next(Dataset.from_bytes(one.data) for one in made if one.modality == kind)
        for kind in ("RTSTRUCT", "RTPLAN", "RTDOSE")
    )
    isocentre = plan["BeamSequence[0].ControlPointSequence[0].IsocenterPosition"].value
    by_uid = {str(ds.SOPInstanceUID): number for number, ds in enumerate(images)}
    grid, rois = dose.dose(), structures.contours()
    middle = int(np.argmin([abs(ds.ImagePositionPatient[2] - isocentre[2]) for ds in images]))
    found = []
    for number in (middle - 3, middle - 1, middle, middle + 1, middle + 3, middle + 6):
        ds = images[min(max(number, 0), len(images) - 1)]
        picture_: Picture = np.repeat(ds.render()[..., None], 3, axis=2)
        x0, y0, z = (float(v) for v in ds.ImagePositionPatient)
        spacing = float(ds.PixelSpacing[0])
        plane = int(np.argmin(np.abs(grid.positions[:, 2] - z)))
        _wash(picture_, grid, plane, x0, y0, spacing)
        for roi in rois:
            for contour in roi.contours:
                if by_uid.get(contour.images[0] if contour.images else "") == by_uid[str(ds.SOPInstanceUID)]:
                    _polygon(picture_, (contour.points[:, :2] - [x0, y0]) / spacing, roi.colour)
        found.append(picture_)
    return found


def _wash(image: Picture, grid: Any, plane: int, x0: float, y0: float, spacing: float) -> None:
    """The dose in colour: blue from a tenth, red from nine tenths of the greatest."""
    values = grid.values[plane] / max(float(grid.values.max()), 1e-9)
    rows, columns = image.shape[:2]
    at_y = (y0 + np.arange(rows) * spacing - grid.positions[plane][1]) / grid.spacing[1]
    at_x = (x0 + np.arange(columns) * spacing - grid.positions[plane][0]) / grid.spacing[2]
    inside_y, inside_x = (at_y > -0.5) & (at_y < values.shape[0] - 0.5), (at_x > -0.5) & (at_x < values.shape[1] - 0.5)
    there = np.zeros((rows, columns))
    there[np.ix_(inside_y, inside_x)] = values[
        np.ix_(np.rint(at_y[inside_y]).astype(int), np.rint(at_x[inside_x]).astype(int))
    ]
    level = np.clip(there, 0, 1)[..., None]
    colour = np.concatenate([np.clip(2 * level - 0.7, 0, 1), 1 - np.abs(2 * level - 1), 1 - level], axis=2) * 255
    share = np.where(level > 0.12, 0.38, 0.0)
    image[:] = (image * (1 - share) + colour * share).astype(np.uint8)


def _polygon(image: Picture, points: npt.NDArray[np.float64], colour: Any) -> None:
    """A closed line through points (column, row)."""
    ends = np.roll(points, -1, axis=0)
    for (x, y), (to_x, to_y) in zip(points, ends, strict=True):
        count = int(max(abs(to_x - x), abs(to_y - y))) + 2
        columns = np.rint(np.linspace(x, to_x, count)).astype(int)
        rows = np.rint(np.linspace(y, to_y, count)).astype(int)
        fits = (rows >= 0) & (rows < image.shape[0] - 1) & (columns >= 0) & (columns < image.shape[1] - 1)
        for down in (0, 1):
            image[rows[fits] + down, columns[fits]] = colour or (255, 255, 0)
