"""UIDs: the transfer syntaxes with what a reader has to know of them, names of SOP classes, and new UIDs.

Source: PS3.6 table A-1. Nothing of ours is imported here; a name that is not in the tables below comes from pydicom's
dictionary, which is only loaded for that."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

__all__ = [
    "DEFLATED",
    "EXPLICIT_BIG",
    "EXPLICIT_LITTLE",
    "IMPLEMENTATION_CLASS",
    "IMPLEMENTATION_VERSION",
    "IMPLICIT_LITTLE",
    "SOP_CLASSES",
    "TRANSFER_SYNTAXES",
    "UNCOMPRESSED",
    "VERIFICATION",
    "TransferSyntax",
    "generate",
    "is_valid",
    "name",
    "transfer_syntax",
]

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
VERIFICATION: Final = "1.2.840.10008.1.1"
UNCOMPRESSED: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)
"""The syntaxes between which a data set can be rewritten without touching a frame, the usual one first."""

IMPLEMENTATION_CLASS: Final = "2.25.211367474163287143927526281403461921793"
IMPLEMENTATION_VERSION: Final = "DICORE_0_1"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax. `keyword` as in PS3.6; `explicit_vr` and `little_endian` are said of the elements."""

    uid: str
    keyword: str
    name: str
    retired: bool = False

    @property
    def explicit_vr(self) -> bool:
        """False for Implicit VR Little Endian only (PS3.5 A.1)."""
        return self.uid != IMPLICIT_LITTLE

    @property
    def little_endian(self) -> bool:
        """False for Explicit VR Big Endian only (PS3.5 A.3)."""
        return self.uid != EXPLICIT_BIG

    @property
    def deflated(self) -> bool:
        """The data set itself is a deflate stream (PS3.5 A.5)."""
        return self.uid in (DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")

    @property
    def encapsulated(self) -> bool:
        """Pixel Data is a sequence of fragments (PS3.5 A.4)."""
        return self.uid not in UNCOMPRESSED and self.uid != DEFLATED and not self.uid.startswith("1.2.840.10008.1.2.7.")


TRANSFER_SYNTAXES: Final[dict[str, TransferSyntax]] = {
    syntax.uid: syntax
    for syntax in (
        TransferSyntax("1.2.840.10008.1.2", "ImplicitVRLittleEndian", "Implicit VR Little Endian"),
        TransferSyntax("1.2.840.10008.1.2.1", "ExplicitVRLittleEndian", "Explicit VR Little Endian"),
        TransferSyntax(
            "1.2.840.10008.1.2.1.98",
            "EncapsulatedUncompressedExplicitVRLittleEndian",
            "Encapsulated Uncompressed Explicit VR Little Endian",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.1.99",
            "DeflatedExplicitVRLittleEndian",
            "Deflated Explicit VR Little Endian",
        ),
        TransferSyntax("1.2.840.10008.1.2.2", "ExplicitVRBigEndian", "Explicit VR Big Endian", retired=True),
        TransferSyntax("1.2.840.10008.1.2.4.50", "JPEGBaseline8Bit", "JPEG Baseline (Process 1)"),
        TransferSyntax("1.2.840.10008.1.2.4.51", "JPEGExtended12Bit", "JPEG Extended (Process 2 and 4)"),
        TransferSyntax("1.2.840.10008.1.2.4.52", "JPEGExtended35", "JPEG Extended (Process 3 and 5)", retired=True),
        TransferSyntax(
            "1.2.840.10008.1.2.4.53",
            "JPEGSpectralSelectionNonHierarchical68",
            "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.54",
            "JPEGSpectralSelectionNonHierarchical79",
            "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.55",
            "JPEGFullProgressionNonHierarchical1012",
            "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.56",
            "JPEGFullProgressionNonHierarchical1113",
            "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)",
            retired=True,
        ),
        TransferSyntax("1.2.840.10008.1.2.4.57", "JPEGLossless", "JPEG Lossless, Non-Hierarchical (Process 14)"),
        TransferSyntax(
            "1.2.840.10008.1.2.4.58",
            "JPEGLosslessNonHierarchical15",
            "JPEG Lossless, Non-Hierarchical (Process 15)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.59",
            "JPEGExtendedHierarchical1618",
            "JPEG Extended, Hierarchical (Process 16 and 18)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.60",
            "JPEGExtendedHierarchical1719",
            "JPEG Extended, Hierarchical (Process 17 and 19)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.61",
            "JPEGSpectralSelectionHierarchical2022",
            "JPEG Spectral Selection, Hierarchical (Process 20 and 22)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.62",
            "JPEGSpectralSelectionHierarchical2123",
            "JPEG Spectral Selection, Hierarchical (Process 21 and 23)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.63",
            "JPEGFullProgressionHierarchical2426",
            "JPEG Full Progression, Hierarchical (Process 24 and 26)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.64",
            "JPEGFullProgressionHierarchical2527",
            "JPEG Full Progression, Hierarchical (Process 25 and 27)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.65",
            "JPEGLosslessHierarchical28",
            "JPEG Lossless, Hierarchical (Process 28)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.66",
            "JPEGLosslessHierarchical29",
            "JPEG Lossless, Hierarchical (Process 29)",
            retired=True,
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.70",
            "JPEGLosslessSV1",
            "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
        ),
        TransferSyntax("1.2.840.10008.1.2.4.80", "JPEGLSLossless", "JPEG-LS Lossless Image Compression"),
        TransferSyntax(
            "1.2.840.10008.1.2.4.81",
            "JPEGLSNearLossless",
            "JPEG-LS Lossy (Near-Lossless) Image Compression",
        ),
        TransferSyntax("1.2.840.10008.1.2.4.90", "JPEG2000Lossless", "JPEG 2000 Image Compression (Lossless Only)"),
        TransferSyntax("1.2.840.10008.1.2.4.91", "JPEG2000", "JPEG 2000 Image Compression"),
        TransferSyntax(
            "1.2.840.10008.1.2.4.92",
            "JPEG2000MCLossless",
            "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)",
        ),
        TransferSyntax("1.2.840.10008.1.2.4.93", "JPEG2000MC", "JPEG 2000 Part 2 Multi-component Image Compression"),
        TransferSyntax("1.2.840.10008.1.2.4.94", "JPIPReferenced", "JPIP Referenced"),
        TransferSyntax("1.2.840.10008.1.2.4.95", "JPIPReferencedDeflate", "JPIP Referenced Deflate"),
        TransferSyntax("1.2.840.10008.1.2.4.100", "MPEG2MPML", "MPEG2 Main Profile / Main Level"),
        TransferSyntax("1.2.840.10008.1.2.4.100.1", "MPEG2MPMLF", "Fragmentable MPEG2 Main Profile / Main Level"),
        TransferSyntax("1.2.840.10008.1.2.4.101", "MPEG2MPHL", "MPEG2 Main Profile / High Level"),
        TransferSyntax("1.2.840.10008.1.2.4.101.1", "MPEG2MPHLF", "Fragmentable MPEG2 Main Profile / High Level"),
        TransferSyntax("1.2.840.10008.1.2.4.102", "MPEG4HP41", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
        TransferSyntax(
            "1.2.840.10008.1.2.4.102.1",
            "MPEG4HP41F",
            "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.103",
            "MPEG4HP41BD",
            "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.103.1",
            "MPEG4HP41BDF",
            "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.104",
            "MPEG4HP422D",
            "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.104.1",
            "MPEG4HP422DF",
            "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.105",
            "MPEG4HP423D",
            "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.105.1",
            "MPEG4HP423DF",
            "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.106",
            "MPEG4HP42STEREO",
            "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.106.1",
            "MPEG4HP42STEREOF",
            "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
        ),
        TransferSyntax("1.2.840.10008.1.2.4.107", "HEVCMP51", "HEVC/H.265 Main Profile / Level 5.1"),
        TransferSyntax("1.2.840.10008.1.2.4.108", "HEVCM10P51", "HEVC/H.265 Main 10 Profile / Level 5.1"),
        TransferSyntax("1.2.840.10008.1.2.4.110", "JPEGXLLossless", "JPEG XL Lossless"),
        TransferSyntax("1.2.840.10008.1.2.4.111", "JPEGXLJPEGRecompression", "JPEG XL JPEG Recompression"),
        TransferSyntax("1.2.840.10008.1.2.4.112", "JPEGXL", "JPEG XL"),
        TransferSyntax(
            "1.2.840.10008.1.2.4.201",
            "HTJ2KLossless",
            "High-Throughput JPEG 2000 Image Compression (Lossless Only)",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.4.202",
            "HTJ2KLosslessRPCL",
            "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
        ),
        TransferSyntax("1.2.840.10008.1.2.4.203", "HTJ2K", "High-Throughput JPEG 2000 Image Compression"),
        TransferSyntax("1.2.840.10008.1.2.4.204", "JPIPHTJ2KReferenced", "JPIP HTJ2K Referenced"),
        TransferSyntax("1.2.840.10008.1.2.4.205", "JPIPHTJ2KReferencedDeflate", "JPIP HTJ2K Referenced Deflate"),
        TransferSyntax("1.2.840.10008.1.2.5", "RLELossless", "RLE Lossless"),
        TransferSyntax(
            "1.2.840.10008.1.2.6.1",
            "RFC2557MIMEEncapsulation",
            "RFC 2557 MIME encapsulation",
            retired=True,
        ),
        TransferSyntax("1.2.840.10008.1.2.6.2", "XMLEncoding", "XML Encoding", retired=True),
        TransferSyntax(
            "1.2.840.10008.1.2.7.1",
            "SMPTEST211020UncompressedProgressiveActiveVideo",
            "SMPTE ST 2110-20 Uncompressed Progressive Active Video",
        ),
        TransferSyntax(
            "1.2.840.10008.1.2.7.2",
            "SMPTEST211020UncompressedInterlacedActiveVideo",
            "SMPTE ST 2110-20 Uncompressed Interlaced Active Video",
        ),
        TransferSyntax("1.2.840.10008.1.2.7.3", "SMPTEST211030PCMDigitalAudio", "SMPTE ST 2110-30 PCM Digital Audio"),
        TransferSyntax("1.2.840.10008.1.2.8.1", "DeflatedImageFrameCompression", "Deflated Image Frame Compression"),
    )
}

_NAMES: Final[dict[str, str]] = {
    "1.2.840.10008.1.1": "Verification SOP Class",
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.1.2": "Digital Mammography X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "Digital Mammography X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.3.1": "Ultrasound Multi-frame Image Storage",
    "1.2.840.10008.5.1.4.1.1.4": "MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.2": "MR Spectroscopy Storage",
    "1.2.840.10008.5.1.4.1.1.6.1": "Ultrasound Image Storage",
    "1.2.840.10008.5.1.4.1.1.6.2": "Enhanced US Volume Storage",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.9.1.1": "12-lead ECG Waveform Storage",
    "1.2.840.10008.5.1.4.1.1.11.1": "Grayscale Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.12.1": "X-Ray Angiographic Image Storage",
    "1.2.840.10008.5.1.4.1.1.12.2": "X-Ray Radiofluoroscopic Image Storage",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "Breast Tomosynthesis Image Storage",
    "1.2.840.10008.5.1.4.1.1.20": "Nuclear Medicine Image Storage",
    "1.2.840.10008.5.1.4.1.1.66": "Raw Data Storage",
    "1.2.840.10008.5.1.4.1.1.66.1": "Spatial Registration Storage",
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key Object Selection Document Storage",
    "1.2.840.10008.5.1.4.1.1.88.67": "X-Ray Radiation Dose SR Storage",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF Storage",
    "1.2.840.10008.5.1.4.1.1.128": "Positron Emission Tomography Image Storage",
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET Image Storage",
    "1.2.840.10008.5.1.4.1.1.481.1": "RT Image Storage",
    "1.2.840.10008.5.1.4.1.1.481.2": "RT Dose Storage",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT Structure Set Storage",
    "1.2.840.10008.5.1.4.1.1.481.5": "RT Plan Storage",
}

SOP_CLASSES: Final = tuple(_NAMES)
"""Verification and the usual storage classes: what a client proposes that was not told better."""


def transfer_syntax(text: str) -> TransferSyntax:
    """The transfer syntax of a UID, a keyword ('JPEGLSLossless') or a name. Raises ValueError when there is none."""
    found = TRANSFER_SYNTAXES.get(text)
    if found is None:
        wanted = text.casefold().replace(" ", "")
        for syntax in TRANSFER_SYNTAXES.values():
            if wanted in (syntax.keyword.casefold(), syntax.name.casefold().replace(" ", "")):
                return syntax
        raise ValueError(f"no transfer syntax is called {text!r}")
    return found


def name(uid: str) -> str:
    """The name that PS3.6 gives a UID, else the UID itself: 'CT Image Storage', 'Explicit VR Little Endian'."""
    syntax = TRANSFER_SYNTAXES.get(uid)
    if syntax is not None:
        return syntax.name
    known = _NAMES.get(uid)
    if known is None:
        from pydicom._uid_dict import UID_dictionary

        known = UID_dictionary[uid][0] if uid in UID_dictionary else uid
    return known


def is_valid(uid: str) -> bool:
    """PS3.5 9.1: 1 to 64 characters, digits in components without leading zeros."""
    return 0 < len(uid) <= 64 and all(
        part.isascii() and part.isdigit() and (part == "0" or part[0] != "0") for part in uid.split(".")
    )


def generate() -> str:
    """A new UID, derived from a random UUID as '2.25.<integer>' (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"
