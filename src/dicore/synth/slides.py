"""Whole-slide images: stained tissue in tiles, a level of the pyramid an instance (PS3.3 A.32.8, TILED_FULL)."""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np

from dicore.dataset import Typed
from dicore.synth import pictures

__all__ = ["SLIDE", "slide", "srgb_profile"]

Elements = dict[str, Any]
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_SPACING = 0.0005  # mm a pixel at the base: a 20x objective
_ACROSS, _DOWN = 4, 3  # of the base level, in twice the tile's side


def slide(rng: np.random.Generator, level: int, size: int, frame_of_reference: str, specimen: str) -> Elements:
    """A level of a pyramid: 0 the base of 4 x 3 times `size` pixels, each next one half of it, in tiles of size / 2."""
    tile = max(16, size // 2 // 8 * 8)
    shrink = 1 << level
    columns, rows = max(1, _ACROSS * size // shrink), max(1, _DOWN * size // shrink)
    wide, high = -(-columns // tile), -(-rows // tile)
    canvas = np.full((high * tile, wide * tile, 3), 243, np.uint8)
    canvas[:rows, :columns] = pictures.histology(rng, rows, columns, _ACROSS * size)
    tiles = canvas.reshape(high, tile, wide, tile, 3).swapaxes(1, 2).reshape(high * wide, tile, tile, 3)
    spacing = _SPACING * shrink
    stain = [
        {
            "SpecimenPreparationStepContentItemSequence": [
                _item("TEXT", ("121041", "DCM", "Specimen Identifier"), TextValue=specimen[-16:]),
                _item(
                    "CODE", ("111701", "DCM", "Processing type"),
                    ConceptCodeSequence=_code("127790008", "SCT", "Staining"),
                ),
                _item(
                    "CODE", ("424361007", "SCT", "Using substance"),
                    ConceptCodeSequence=_code("12710003", "SCT", "hematoxylin stain"),
                ),
                _item(
                    "CODE", ("424361007", "SCT", "Using substance"),
                    ConceptCodeSequence=_code("36879007", "SCT", "water soluble eosin stain"),
                ),
            ]
        }
    ]  # fmt: skip
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"] if level == 0 else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    return {
        "ImageType": kind,
        "VolumetricProperties": "VOLUME",
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "NumberOfFrames": len(tiles),
        "Rows": tile,
        "Columns": tile,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": Typed("OB", np.ascontiguousarray(tiles).tobytes()),
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "SpecimenLabelInImage": "NO",
        "FocusMethod": "AUTO",
        "ExtendedDepthOfField": "NO",
        "ImagedVolumeWidth": round(columns * spacing, 5),
        "ImagedVolumeHeight": round(rows * spacing, 5),
        "ImagedVolumeDepth": 1.0,
        "TotalPixelMatrixColumns": columns,
        "TotalPixelMatrixRows": rows,
        "TotalPixelMatrixFocalPlanes": 1,
        "TotalPixelMatrixOriginSequence": [
            {"XOffsetInSlideCoordinateSystem": 20.0, "YOffsetInSlideCoordinateSystem": 40.0}
        ],
        "ImageOrientationSlide": [0, -1, 0, -1, 0, 0],
        "FrameOfReferenceUID": frame_of_reference,
        "PositionReferenceIndicator": "SLIDE_CORNER",
        "DimensionOrganizationSequence": [{"DimensionOrganizationUID": f"{frame_of_reference}.1"[:64]}],
        "DimensionOrganizationType": "TILED_FULL",
        "ContainerIdentifier": specimen[-16:],
        "IssuerOfTheContainerIdentifierSequence": [],
        "ContainerTypeCodeSequence": _code("433466003", "SCT", "Microscope slide"),
        "SpecimenDescriptionSequence": [
            {
                "SpecimenIdentifier": specimen[-16:],
                "SpecimenUID": specimen,
                "IssuerOfTheSpecimenIdentifierSequence": [],
                "SpecimenPreparationSequence": stain,
            }
        ],
        "AcquisitionContextSequence": [],
        "NumberOfOpticalPaths": 1,
        "OpticalPathSequence": [
            {
                "OpticalPathIdentifier": "1",
                "IlluminationTypeCodeSequence": _code("111744", "DCM", "Brightfield illumination"),
                "IlluminationColorCodeSequence": _code("371251000", "SCT", "White color"),
                "ICCProfile": Typed("OB", srgb_profile()),
                "ObjectiveLensPower": 20,
            }
        ],
        "SharedFunctionalGroupsSequence": [
            {
                "PixelMeasuresSequence": [
                    {"PixelSpacing": [round(spacing, 6), round(spacing, 6)], "SliceThickness": 0.001}
                ],
                "WholeSlideMicroscopyImageFrameTypeSequence": [{"FrameType": kind}],
                "OpticalPathIdentificationSequence": [{"OpticalPathIdentifier": "1"}],
            }
        ],
    }


def _code(value: str, scheme: str, meaning: str) -> list[Elements]:
    return [{"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}]


def _item(kind: str, name: tuple[str, str, str], **value: Any) -> Elements:
    return {"ValueType": kind, "ConceptNameCodeSequence": _code(*name), **value}


@functools.cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB, the least of one (ICC.1:2001-04): three primaries and a gamma of 2.2."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65_536) for v in values))

    def text(words: str) -> bytes:
        return b"text\0\0\0\0" + words.encode("ascii") + b"\0"

    name = b"sRGB\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(4 + 4 + 2 + 1 + 67)
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))
    tags = {
        b"desc": described,
        b"cprt": text("CC0"),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.4361, 0.2225, 0.0139),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.3851, 0.7169, 0.0971),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1431, 0.0606, 0.7139),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for signature, data in tags.items():
        table += signature + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI", size, b"\0\0\0\0", 0x02400000) + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head + bytes(128 - len(head)) + table + body
