"""What is not a CT or MR slice: the attributes of each kind of object, over the pictures of `pictures`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dicore.dataset import Typed
from dicore.synth import pictures, slides

__all__ = ["KINDS", "Kind", "Place"]

Elements = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance stands: of `slices` in its series `index`, `number` from 0, in pictures of `size` pixels."""

    rng: np.random.Generator
    shared: np.random.Generator  # the same numbers for the levels of one slide
    index: int
    number: int
    slices: int
    size: int
    time: str
    frame_of_reference: str
    study: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: `make` gives what only its instances have."""

    modality: str
    description: str
    make: Callable[[Place], tuple[str, Elements]]  # SOP class UID, elements


def _code(value: str, scheme: str, meaning: str) -> list[Elements]:
    return [{"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}]


def _grey(image: Any, stored: int = 12) -> Elements:
    """Image Pixel module of one grey picture or of several (PS3.3 C.7.6.3)."""
    rows, columns = image.shape[-2:]
    bits = image.dtype.itemsize * 8
    some: Elements = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": min(stored, bits),
        "HighBit": min(stored, bits) - 1,
        "PixelRepresentation": 0,
        "PixelData": Typed("OW" if bits == 16 else "OB", _even(image.astype(image.dtype.newbyteorder("<")).tobytes())),
    }
    if image.ndim == 3:
        some["NumberOfFrames"] = image.shape[0]
    return some


def _colour(image: Any) -> Elements:
    rows, columns = image.shape[:2]
    return {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": Typed("OB", _even(image.tobytes())),
    }


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _computed(at: Place) -> tuple[str, Elements]:
    lateral = at.number % 2 == 1
    return "1.2.840.10008.5.1.4.1.1.1", {
        **_grey(pictures.chest(at.rng, at.size, lateral)),
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "BodyPartExamined": "CHEST",
        "ViewPosition": "LL" if lateral else "PA",
        "PatientOrientation": ["A", "F"] if lateral else ["L", "F"],
        "ImagerPixelSpacing": [round(400 / at.size, 5)] * 2,
        "KVP": 125,
        "WindowCenter": 2048,
        "WindowWidth": 3600,
    }


def _presented() -> Elements:
    """DX image module without its view (PS3.3 C.8.11.3)."""
    return {
        "PresentationIntentType": "FOR PRESENTATION",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "RescaleType": "US",
        "PresentationLUTShape": "IDENTITY",
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
        "AcquisitionContextSequence": [],
        "DetectorType": "DIRECT",
        "DetectorID": "D1",
        "FieldOfViewShape": "RECTANGLE",
        "FieldOfViewOrigin": [0, 0],
        "FieldOfViewRotation": 0,
        "FieldOfViewHorizontalFlip": "NO",
        "WindowCenter": 2048,
        "WindowWidth": 3600,
    }


def _digital(at: Place) -> tuple[str, Elements]:
    lateral = at.number % 2 == 1
    return "1.2.840.10008.5.1.4.1.1.1.1", {
        **_grey(pictures.chest(at.rng, at.size, lateral)),
        **_presented(),
        "ImageType": ["DERIVED", "PRIMARY", ""],
        "BodyPartExamined": "CHEST",
        "ImageLaterality": "U",
        "ViewPosition": "LL" if lateral else "PA",
        "PatientOrientation": ["A", "F"] if lateral else ["L", "F"],
        "AnatomicRegionSequence": _code("43799004", "SCT", "Chest"),
        "ImagerPixelSpacing": [round(400 / at.size, 5)] * 2,
        "KVP": 125,
        "PositionerType": None,
    }


def _mammogram(at: Place) -> tuple[str, Elements]:
    left, oblique = at.number % 2 == 0, at.number % 4 >= 2
    view = _code("399368009", "SCT", "medio-lateral oblique") if oblique else _code("399162004", "SCT", "cranio-caudal")
    return "1.2.840.10008.5.1.4.1.1.1.2", {
        **_grey(pictures.breast(at.rng, at.size, left, oblique)),
        **_presented(),
        "ImageType": ["DERIVED", "PRIMARY", ""],
        "BodyPartExamined": "BREAST",
        "ImageLaterality": "L" if left else "R",
        "ViewPosition": "MLO" if oblique else "CC",
        "PatientOrientation": (["A", "FR"] if left else ["P", "FL"])
        if oblique
        else (["A", "R"] if left else ["P", "L"]),
        "AnatomicRegionSequence": _code("76752008", "SCT", "Breast"),
        "ViewCodeSequence": [{**view[0], "ViewModifierCodeSequence": []}],
        "PositionerType": "MAMMOGRAPHIC",
        "PositionerPrimaryAngle": 45 if oblique else 0,
        "OrganExposed": "BREAST",
        "BreastImplantPresent": "NO",
        "PartialView": "NO",
        "ImagerPixelSpacing": [round(240 / at.size, 5)] * 2,
        "KVP": 28,
        "CompressionForce": 110,
        "BodyPartThickness": 52,
    }


CINE = 20  # frames of an ultrasound loop


def _sonogram(at: Place) -> tuple[str, Elements]:
    """Stills in colour, and every sixth instance a loop."""
    some: Elements = {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "BodyPartExamined": "HEART",
        "PatientOrientation": None,
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
        "SequenceOfUltrasoundRegions": [
            {
                "RegionSpatialFormat": 1,
                "RegionDataType": 1,
                "RegionFlags": 0,
                "RegionLocationMinX0": 0,
                "RegionLocationMinY0": 0,
                "RegionLocationMaxX1": at.size - 1,
                "RegionLocationMaxY1": at.size * 3 // 4 - 1,
                "PhysicalUnitsXDirection": 3,
                "PhysicalUnitsYDirection": 3,
                "PhysicalDeltaX": round(16 / at.size, 6),
                "PhysicalDeltaY": round(16 / at.size, 6),
                "TransducerFrequency": 3500,
            }
        ],
    }
    if at.number % 6 == 5:
        seed = int(at.rng.integers(1 << 30))
        loop = [pictures.ultrasound(np.random.default_rng([seed, n]), at.size, n / CINE) for n in range(CINE)]
        cine = {"FrameTime": 40, "FrameIncrementPointer": 0x00181063, "CineRate": 25}
        return "1.2.840.10008.5.1.4.1.1.3.1", {**some, **_grey(np.stack(loop), 8), **cine}
    still = pictures.ultrasound(at.rng, at.size, float(at.rng.uniform()))
    return "1.2.840.10008.5.1.4.1.1.6.1", {**some, **_colour(np.repeat(still[..., None], 3, axis=2))}


RUN = 15  # frames of an angiographic run


def _angiogram(at: Place) -> tuple[str, Elements]:
    return "1.2.840.10008.5.1.4.1.1.12.1", {
        **_grey(pictures.angiogram(at.rng, at.size, RUN), 8),
        "ImageType": ["ORIGINAL", "PRIMARY", "SINGLE PLANE"],
        "BodyPartExamined": "HEART",
        "PatientOrientation": None,
        "PixelIntensityRelationship": "LIN",
        "FrameTime": 66.7,
        "FrameIncrementPointer": 0x00181063,
        "KVP": 80,
        "XRayTubeCurrent": 650,
        "ExposureTime": 8,
        "RadiationSetting": "GR",
        "PositionerMotion": "STATIC",
        "PositionerPrimaryAngle": round(float(at.rng.uniform(-40, 40)), 1),
        "PositionerSecondaryAngle": round(float(at.rng.uniform(-25, 25)), 1),
        "DistanceSourceToDetector": 1050,
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
        "ImagerPixelSpacing": [round(200 / at.size, 5)] * 2,
    }


def _isotope(code: tuple[str, str], start: str, drug: str, dose: float) -> Elements:
    return {
        "Radiopharmaceutical": drug,
        "RadiopharmaceuticalStartTime": start,
        "RadionuclideTotalDose": dose,
        "RadionuclideCodeSequence": _code(code[0], "SCT", code[1]),
    }


def _emission(at: Place) -> tuple[str, Elements]:
    spacing = round(600 / at.size, 5)
    half = 300 - spacing / 2
    step = 3.27
    uptake = pictures.activity(at.rng, 0.05 + 0.9 * at.number / max(1, at.slices - 1), at.size)
    isotope = _isotope(("77004003", "^18^Fluorine"), "070000", "FDG", 3.1e8)
    isotope |= {"RadionuclideHalfLife": 6586.2, "RadionuclidePositronFraction": 0.97}
    return "1.2.840.10008.5.1.4.1.1.128", {
        **_grey(uptake, 16),
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "BodyPartExamined": "CHEST",
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "Units": "BQML",
        "CountsSource": "EMISSION",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "DecayCorrection": "START",
        "NumberOfSlices": at.slices,
        "CollimatorType": "NONE",
        "RandomsCorrectionMethod": "DLYD",
        "AttenuationCorrectionMethod": "CT",
        "ReconstructionMethod": "OSEM",
        "ActualFrameDuration": 120_000,
        "FrameReferenceTime": 60_000,
        "DecayFactor": 1,
        "ImageIndex": at.number + 1,
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "PatientOrientationCodeSequence": [
            {
                **_code("102538003", "SCT", "recumbent")[0],
                "PatientOrientationModifierCodeSequence": _code("40199007", "SCT", "supine"),
            }
        ],
        "PatientGantryRelationshipCodeSequence": _code("102540008", "SCT", "headfirst"),
        "RadiopharmaceuticalInformationSequence": [isotope],
        "FrameOfReferenceUID": at.frame_of_reference,
        "PositionReferenceIndicator": None,
        "ImagePositionPatient": [-half, -half, round(-300 - at.number * step, 2)],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [spacing, spacing],
        "SliceThickness": step,
        "WindowCenter": 5000,
        "WindowWidth": 10_000,
    }


def _scintigram(at: Place) -> tuple[str, Elements]:
    frames = np.stack([pictures.bone_scan(at.rng, at.size, posterior) for posterior in (False, True)])
    detector = {
        "CollimatorType": "PARA",
        "CollimatorGridName": None,
        "FieldOfViewShape": "RECTANGLE",
        "ImagePositionPatient": [-300, -200, 900],
        "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
    }
    views = [_code("399348003", "SCT", "antero-posterior"), _code("399322007", "SCT", "postero-anterior")]
    return "1.2.840.10008.5.1.4.1.1.20", {
        **_grey(frames, 16),
        "ImageType": ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"],
        "BodyPartExamined": "WHOLEBODY",
        "PatientOrientation": None,
        "FrameIncrementPointer": [0x00540010, 0x00540020],
        "EnergyWindowVector": [1, 1],
        "DetectorVector": [1, 2],
        "NumberOfEnergyWindows": 1,
        "NumberOfDetectors": 2,
        "EnergyWindowInformationSequence": [
            {
                "EnergyWindowName": "Tc99m",
                "EnergyWindowRangeSequence": [{"EnergyWindowLowerLimit": 126, "EnergyWindowUpperLimit": 154}],
            }
        ],
        "RadiopharmaceuticalInformationSequence": [_isotope(("72454008", "^99m^Technetium"), "070000", "MDP", 600)],
        "DetectorInformationSequence": [{**detector, "ViewCodeSequence": view} for view in views],
        "PatientOrientationCodeSequence": [
            {
                **_code("102538003", "SCT", "recumbent")[0],
                "PatientOrientationModifierCodeSequence": _code("40199007", "SCT", "supine"),
            }
        ],
        "PatientGantryRelationshipCodeSequence": _code("102540008", "SCT", "headfirst"),
        "WholeBodyTechnique": "1PS",
        "ScanVelocity": 2.5,
        "ScanLength": 2000,
        "CountsAccumulated": int(frames.sum()),
        "ActualFrameDuration": 800_000,
        "PixelSpacing": [round(600 / at.size, 5)] * 2,
        "WindowCenter": 20,
        "WindowWidth": 40,
    }


def _photograph(at: Place) -> tuple[str, Elements]:
    skin = at.number % 2 == 0
    part = _code("39937001", "SCT", "Skin") if skin else _code("38199008", "SCT", "Tooth")
    return "1.2.840.10008.5.1.4.1.1.77.1.4", {
        **_colour(pictures.photograph(at.rng, at.size * 3 // 4, at.size, "skin" if skin else "teeth")),
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "PatientOrientation": ["L", "F"],
        "Laterality": None,
        "AnatomicRegionSequence": part,
        "AcquisitionContextSequence": [],
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
    }


def _slide(at: Place) -> tuple[str, Elements]:
    level = at.number % 4
    return slides.SLIDE, slides.slide(at.shared, level, at.size, at.frame_of_reference, f"{at.study}.{at.number // 4}")


def _report(at: Place) -> tuple[str, Elements]:
    def text(code: tuple[str, str], value: str) -> Elements:
        return {
            "RelationshipType": "CONTAINS",
            "ValueType": "TEXT",
            "ConceptNameCodeSequence": _code(code[0], "DCM", code[1]),
            "TextValue": value,
        }

    seen = ("No pleural effusion.", "A small nodule in the right upper lobe.", "The heart is of normal size.")
    return "1.2.840.10008.5.1.4.1.1.88.11", {
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": _code("18748-4", "LN", "Diagnostic imaging report"),
        "ContinuityOfContent": "SEPARATE",
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "UNVERIFIED",
        "PerformedProcedureCodeSequence": [],
        "ReferencedPerformedProcedureStepSequence": [],
        "ContentSequence": [
            text(("121071", "Finding"), seen[int(at.rng.integers(len(seen)))]),
            text(("121077", "Conclusion"), "This is a TEST. No patient is behind it."),
        ],
    }


def _electrocardiogram(at: Place) -> tuple[str, Elements]:
    """Twelve leads for ten seconds at 500 Hz (PS3.3 A.34.3)."""
    rate, seconds = 500, 10
    t = np.arange(rate * seconds) / rate
    beat = (t * float(at.rng.uniform(1.0, 1.4))) % 1.0
    waves = ((0.18, 0.025, 0.12), (0.27, 0.008, -0.10), (0.30, 0.010, 1.1), (0.33, 0.010, -0.28), (0.55, 0.045, 0.28))
    shape = sum(height * np.exp(-(((beat - middle) / width) ** 2)) for middle, width, height in waves)
    names = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    gains = (0.7, 1.0, 0.4, -0.85, 0.2, 0.7, -0.5, 0.3, 0.7, 1.1, 1.0, 0.8)
    codes = ("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8")
    noise = at.rng.normal(0, 0.008, (len(t), 12))
    wander = 0.03 * np.sin(2 * np.pi * 0.25 * t)[:, None]
    samples = np.rint((np.asarray(shape)[:, None] * np.array(gains) + noise + wander) * 1000).astype("<i2")
    channels = [
        {
            "ChannelSourceSequence": _code(f"2:{code}", "MDC", f"Lead {name}"),
            "ChannelSensitivity": 1,
            "ChannelSensitivityUnitsSequence": _code("uV", "UCUM", "microvolt"),
            "ChannelSensitivityCorrectionFactor": 1,
            "ChannelBaseline": 0,
            "ChannelSampleSkew": 0,
            "WaveformBitsStored": 16,
        }
        for name, code in zip(names, codes, strict=True)
    ]
    return "1.2.840.10008.5.1.4.1.1.9.1.1", {
        "AcquisitionContextSequence": [],
        "WaveformSequence": [
            {
                "WaveformOriginality": "ORIGINAL",
                "NumberOfWaveformChannels": 12,
                "NumberOfWaveformSamples": len(t),
                "SamplingFrequency": rate,
                "MultiplexGroupLabel": "RHYTHM",
                "ChannelDefinitionSequence": channels,
                "WaveformBitsAllocated": 16,
                "WaveformSampleInterpretation": "SS",
                "WaveformData": Typed("OW", samples.tobytes()),
            }
        ],
    }


def _pdf(lines: list[str]) -> bytes:
    """One page of text (ISO 32000-1, the least of it)."""
    words = " ".join(f"({line}) Tj 0 -24 Td" for line in lines)
    stream = f"BT /F1 16 Tf 72 760 Td {words} ET".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        table,
        len(out),
    )


def _document(at: Place) -> tuple[str, Elements]:
    page = _pdf(["TEST", "A synthetic letter. No patient is behind it.", f"Number {int(at.rng.integers(10**6)):06d}"])
    return "1.2.840.10008.5.1.4.1.1.104.1", {
        "ConversionType": "WSD",
        "BurnedInAnnotation": "NO",
        "DocumentTitle": "Letter",
        "ConceptNameCodeSequence": [],
        "MIMETypeOfEncapsulatedDocument": "application/pdf",
        "EncapsulatedDocumentLength": len(page),
        "EncapsulatedDocument": Typed("OB", _even(page)),
    }


KINDS = {
    "CR": Kind("CR", "Chest", _computed),
    "DX": Kind("DX", "Chest", _digital),
    "MG": Kind("MG", "Mammography", _mammogram),
    "US": Kind("US", "Echocardiography", _sonogram),
    "XA": Kind("XA", "Coronary angiography", _angiogram),
    "PT": Kind("PT", "PET whole body", _emission),
    "NM": Kind("NM", "Bone scan", _scintigram),
    "XC": Kind("XC", "Photographs", _photograph),
    "SM": Kind("SM", "Histology", _slide),
    "SR": Kind("SR", "Report", _report),
    "ECG": Kind("ECG", "ECG at rest", _electrocardiogram),
    "DOC": Kind("DOC", "Letter", _document),
}
