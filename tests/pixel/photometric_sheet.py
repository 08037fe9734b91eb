"""python -m tests.pixel.photometric_sheet OUT.png: one image of the corpus per kind of pixels, as `render` shows it,
beside pydicom's own rendering (pixel_array, apply_modality_lut, apply_voi_lut,
apply_color_lut; grey stretched to all that it spans)."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from tests.conftest import corpus_folder

import dicore
from dicore import pixel
from dicore.pixel.sheet import Row, draw


def by_pydicom(path: Path) -> Any:
    """Frame 0 through pydicom's own steps, to 8 bits; None where it refuses."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

    ds = pydicom.dcmread(path, force=True)
    stored = ds.pixel_array
    if int(ds.get("NumberOfFrames") or 1) > 1:
        stored = stored[0]
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        shown = apply_color_lut(stored, ds)
        return (shown >> 8 if shown.dtype.itemsize == 2 and shown.max() > 255 else shown).astype(np.uint8)
    if stored.ndim == 3:
        return (stored.astype(float) * 255 / (2.0**ds.BitsStored - 1)).astype(np.uint8)
    shown = apply_voi_lut(apply_modality_lut(stored, ds), ds).astype(float)
    low, high = shown.min(), shown.max()
    shown = (shown - low) / max(high - low, 1e-9) * 255
    return (255 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown).astype(np.uint8)


def kinds(root: Path) -> dict[str, Path]:
    """A file for each kind of pixels: photometric interpretation, depth, sign, compressed or not, how it is shown."""
    found: dict[str, Path] = {}
    for line in (root / "reference.jsonl").read_text().splitlines():
        path = root / json.loads(line)["path"]
        try:
            ds = dicore.read(path)
            layout = ds.pixel_layout()
            ds.pixels(frames=0)
        except (dicore.DicoreError, OSError):
            continue
        if min(layout.rows, layout.columns) < 60:
            continue
        sign = "signed " if layout.signed else ""
        packed = "compressed" if layout.encapsulated else "native"
        name = f"{layout.photometric} {sign}{layout.bits_stored}/{layout.bits_allocated} {packed}"
        for keyword in ("ModalityLUTSequence", "VOILUTSequence", "SegmentedRedPaletteColorLookupTableData"):
            if keyword in ds:
                name += f" {keyword.removesuffix('Sequence').replace('RedPaletteColorLookupTableData', ' palette')}"
        if ds.get("PixelPresentation") == "COLOR":
            name += " supplemental palette"
        found.setdefault(name, path)
    return dict(sorted(found.items()))


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    rows = []
    for name, path in kinds(corpus_folder() / "dev").items():
        ds = dicore.read(path)
        try:
            theirs = by_pydicom(path)
            remark = ""
        except Exception as error:  # whatever it raises is what the sheet says
            theirs, remark = np.zeros((8, 8), np.uint8), f"pydicom: {type(error).__name__}"
        rows.append((name, remark or path.name, [ds.render(0), theirs]))
    half = -(-len(rows) // 3)
    columns = []
    for start in range(0, len(rows), half):
        part = [
            Row(name, remark if "pydicom:" in remark else "", images)
            for name, remark, images in rows[start : start + half]
        ]
        columns.append(draw("dicore, pydicom", part, tile=220))
    height = max(c.shape[0] for c in columns)
    padded = [np.pad(c, ((0, height - c.shape[0]), (0, 0), (0, 0))) for c in columns]
    Path(argv[0]).write_bytes(pixel.png(np.concatenate(padded, axis=1)))
    for name, remark, _ in rows:
        print(name, remark, sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
