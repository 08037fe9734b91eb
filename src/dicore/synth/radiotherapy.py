"""A plan for the lung over a CT: structures drawn on its slices, four beams, and the dose that they leave."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.dataset import Typed

__all__ = ["DOSE", "PLAN", "STRUCTURES", "Planned", "dose", "plan", "structures"]

Elements = dict[str, Any]
Mask = npt.NDArray[np.bool_]
Contours = list[tuple[int, npt.NDArray[np.float64]]]  # (slice, points in mm (n, 2))
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
PLAN = "1.2.840.10008.5.1.4.1.1.481.5"
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired, which C.8.8.5 still asks for
_CT = "1.2.840.10008.5.1.4.1.1.2"
_GRAYS, _FRACTIONS = 60.0, 30
_GANTRY = (0, 60, 180, 240)
_ANGLES = 96  # points of an outline
_GROSS, _PLANNED = 14.0, 24.0  # mm, radii of the tumour and of what is treated


@dataclass(frozen=True)
class Planned:
    """The CT that all of it refers to: slices with identity orientation, and pixels in Hounsfield units."""

    study: str
    series: str
    frame_of_reference: str
    uids: Sequence[str]
    positions: Sequence[tuple[float, float, float]]  # of the first pixel, mm
    spacing: float
    step: float
    hounsfield: Callable[[int], npt.NDArray[np.float32]]
    structure_set: str  # SOP Instance UIDs of what is made here
    plan: str
    day: str
    time: str

    @property
    def middle(self) -> int:
        """The slice with the tumour."""
        return len(self.uids) // 3

    @functools.cached_property
    def contours(self) -> dict[str, Contours]:
        """Name -> the closed contours of a structure."""
        return _contours(self)

    @functools.cached_property
    def target(self) -> tuple[float, float, float]:
        """Centre of the tumour, in the patient's right lung, mm; also the isocentre."""
        x, y, z = self.positions[self.middle]
        inside = _lung(self.hounsfield(self.middle), right=True)
        if not inside.any():
            rows, columns = inside.shape
            return round(x + columns * self.spacing * 0.32, 1), round(y + rows * self.spacing * 0.42, 1), z
        at = np.argwhere(inside).mean(axis=0)
        return round(float(x + at[1] * self.spacing), 1), round(float(y + at[0] * self.spacing), 1), z


def _body(hu: npt.NDArray[np.float32]) -> Mask:
    """Everything within the skin: what has tissue on all four sides, without the couch."""
    tissue = hu > -350
    tissue[int(len(hu) * 0.80) :] = False
    inside: Mask = np.ones_like(tissue)
    for axis in (0, 1):
        before = np.logical_or.accumulate(tissue, axis)
        behind = np.flip(np.logical_or.accumulate(np.flip(tissue, axis), axis), axis)
        inside &= before & behind
    return inside


def _lung(hu: npt.NDArray[np.float32], right: bool) -> Mask:
    """Air inside the body, on one side; the patient's right is on the left of the picture."""
    body = _body(hu)
    columns = np.flatnonzero(body.any(axis=0))
    inside: Mask = body & (hu < -500)
    if len(columns):
        middle = (columns[0] + columns[-1]) // 2
        inside[:, slice(middle, None) if right else slice(middle)] = False
    for _ in range(2):  # without the noise at the skin
        inside = (
            inside & np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
        )
    return inside


def _outline(mask: Mask) -> npt.NDArray[np.float64] | None:
    """Points (row, column) where rays from the middle of a mask leave it for good; None for hardly anything."""
    if mask.sum() < 12:
        return None
    middle = np.argwhere(mask).mean(axis=0)
    angles = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
    radii = np.arange(0, max(mask.shape), 0.5)
    rows = middle[0] + np.sin(angles)[:, None] * radii
    columns = middle[1] + np.cos(angles)[:, None] * radii
    high, wide = mask.shape
    there = mask[np.clip(rows, 0, high - 1).astype(int), np.clip(columns, 0, wide - 1).astype(int)]
    there &= (rows >= 0) & (rows < high) & (columns >= 0) & (columns < wide)
    last = radii[there.shape[1] - 1 - there[:, ::-1].argmax(axis=1)] * there.any(axis=1)
    soft = (np.roll(last, 1) + 2 * last + np.roll(last, -1)) / 4
    points: npt.NDArray[np.float64] = np.stack(
        [middle[0] + np.sin(angles) * soft, middle[1] + np.cos(angles) * soft], 1
    )
    return points


def _circle(radius: float) -> npt.NDArray[np.float64]:
    angles = np.arange(_ANGLES // 2) * 4 * np.pi / _ANGLES
    return np.stack([np.cos(angles) * radius, np.sin(angles) * radius], 1)


def _contours(ct: Planned) -> dict[str, Contours]:
    found: dict[str, Contours] = {name: [] for name in _KINDS}
    target = np.array(ct.target)
    for number, (x, y, z) in enumerate(ct.positions):
        hu = ct.hounsfield(number)

        def placed(points: npt.NDArray[np.float64], x: float = x, y: float = y) -> npt.NDArray[np.float64]:
            return np.stack([x + points[:, 1] * ct.spacing, y + points[:, 0] * ct.spacing], 1)

        body = _outline(_body(hu))
        if body is not None:
            found["BODY"].append((number, placed(body)))
        for name, right in (("Lung_R", True), ("Lung_L", False)):
            lung = _lung(hu, right)
            outline = _outline(lung) if lung.sum() * ct.spacing**2 > 400 else None
            if outline is not None:
                found[name].append((number, placed(outline)))
        half = hu.shape[0] / 2  # where the phantom's canal is
        canal = np.array([x + half * ct.spacing, y + half * (1 + 0.372) * ct.spacing])
        found["SpinalCord"].append((number, canal + _circle(6.0)))
        for name, radius in (("GTV", _GROSS), ("PTV", _PLANNED)):
            across = radius**2 - (z - target[2]) ** 2
            if across > 4:
                found[name].append((number, target[:2] + _circle(float(np.sqrt(across)))))
    return {name: contours for name, contours in found.items() if contours}


_KINDS = {
    "BODY": ("EXTERNAL", (0, 220, 90)),
    "Lung_R": ("ORGAN", (60, 150, 255)),
    "Lung_L": ("ORGAN", (90, 210, 255)),
    "SpinalCord": ("ORGAN", (255, 210, 0)),
    "GTV": ("GTV", (255, 140, 0)),
    "PTV": ("PTV", (255, 40, 40)),
}


def structures(ct: Planned) -> Elements:
    """RT Structure Set (PS3.3 A.19): body, lungs, cord, tumour and what is treated, on every slice of the CT."""
    images = [{"ReferencedSOPClassUID": _CT, "ReferencedSOPInstanceUID": uid} for uid in ct.uids]
    contours = ct.contours
    rois, drawn, seen = [], [], []
    for number, (name, slices) in enumerate(contours.items(), 1):
        kind, colour = _KINDS[name]
        rois.append(
            {
                "ROINumber": number,
                "ReferencedFrameOfReferenceUID": ct.frame_of_reference,
                "ROIName": name,
                "ROIGenerationAlgorithm": "AUTOMATIC",
            }
        )
        drawn.append(
            {
                "ROIDisplayColor": list(colour),
                "ContourSequence": [
                    {
                        "ContourImageSequence": [images[index]],
                        "ContourGeometricType": "CLOSED_PLANAR",
                        "NumberOfContourPoints": len(points),
                        "ContourData": _flat(points, ct.positions[index][2]),
                    }
                    for index, points in slices
                ],
                "ReferencedROINumber": number,
            }
        )
        seen.append(
            {
                "ObservationNumber": number,
                "ReferencedROINumber": number,
                "RTROIInterpretedType": kind,
                "ROIInterpreter": None,
            }
        )
    return {
        "StructureSetLabel": "LUNG",
        "StructureSetName": "LUNG",
        "StructureSetDate": ct.day,
        "StructureSetTime": ct.time,
        "ReferencedFrameOfReferenceSequence": [
            {
                "FrameOfReferenceUID": ct.frame_of_reference,
                "RTReferencedStudySequence": [
                    {
                        "ReferencedSOPClassUID": _STUDY_COMPONENT,
                        "ReferencedSOPInstanceUID": ct.study,
                        "RTReferencedSeriesSequence": [
                            {"SeriesInstanceUID": ct.series, "ContourImageSequence": images}
                        ],
                    }
                ],
            }
        ],
        "StructureSetROISequence": rois,
        "ROIContourSequence": drawn,
        "RTROIObservationsSequence": seen,
        "ApprovalStatus": "UNAPPROVED",
        "FrameOfReferenceUID": ct.frame_of_reference,
        "PositionReferenceIndicator": None,
    }


def _flat(points: npt.NDArray[np.float64], z: float) -> list[float]:
    return [round(float(v), 2) for x, y in points for v in (x, y, z)]


def plan(ct: Planned) -> Elements:
    """RT Plan (PS3.3 A.20): four coplanar beams of 6 MV through the middle of the tumour, 30 times 2 Gy."""
    isocentre = list(ct.target)
    jaw = _PLANNED + 6
    beams = []
    for number, angle in enumerate(_GANTRY, 1):
        first = {
            "ControlPointIndex": 0,
            "NominalBeamEnergy": 6,
            "DoseRateSet": 600,
            "BeamLimitingDevicePositionSequence": [
                {"RTBeamLimitingDeviceType": device, "LeafJawPositions": [-jaw, jaw]} for device in ("ASYMX", "ASYMY")
            ],
            "GantryAngle": angle,
            "GantryRotationDirection": "NONE",
            "BeamLimitingDeviceAngle": 0,
            "BeamLimitingDeviceRotationDirection": "NONE",
            "PatientSupportAngle": 0,
            "PatientSupportRotationDirection": "NONE",
            "TableTopEccentricAngle": 0,
            "TableTopEccentricRotationDirection": "NONE",
            "TableTopVerticalPosition": None,
            "TableTopLongitudinalPosition": None,
            "TableTopLateralPosition": None,
            "IsocenterPosition": isocentre,
            "CumulativeMetersetWeight": 0,
        }
        beams.append(
            {
                "BeamNumber": number,
                "BeamName": f"G{angle:03d}",
                "BeamType": "STATIC",
                "RadiationType": "PHOTON",
                "TreatmentMachineName": "TEST",
                "PrimaryDosimeterUnit": "MU",
                "SourceAxisDistance": 1000,
                "BeamLimitingDeviceSequence": [
                    {"RTBeamLimitingDeviceType": device, "NumberOfLeafJawPairs": 1} for device in ("ASYMX", "ASYMY")
                ],
                "TreatmentDeliveryType": "TREATMENT",
                "NumberOfWedges": 0,
                "NumberOfCompensators": 0,
                "NumberOfBoli": 0,
                "NumberOfBlocks": 0,
                "FinalCumulativeMetersetWeight": 1,
                "NumberOfControlPoints": 2,
                "ControlPointSequence": [first, {"ControlPointIndex": 1, "CumulativeMetersetWeight": 1}],
                "ReferencedPatientSetupNumber": 1,
            }
        )
    number = list(ct.contours).index("PTV") + 1
    return {
        "RTPlanLabel": "LUNG 4F",
        "RTPlanName": "LUNG 4F",
        "RTPlanDate": ct.day,
        "RTPlanTime": ct.time,
        "PlanIntent": "RESEARCH",
        "RTPlanGeometry": "PATIENT",
        "FrameOfReferenceUID": ct.frame_of_reference,
        "PositionReferenceIndicator": None,
        "ReferencedStructureSetSequence": [
            {"ReferencedSOPClassUID": STRUCTURES, "ReferencedSOPInstanceUID": ct.structure_set}
        ],
        "DoseReferenceSequence": [
            {
                "DoseReferenceNumber": 1,
                "DoseReferenceStructureType": "VOLUME",
                "ReferencedROINumber": number,
                "DoseReferenceType": "TARGET",
                "TargetPrescriptionDose": _GRAYS,
            }
        ],
        "PatientSetupSequence": [{"PatientSetupNumber": 1, "PatientPosition": "HFS"}],
        "FractionGroupSequence": [
            {
                "FractionGroupNumber": 1,
                "NumberOfFractionsPlanned": _FRACTIONS,
                "NumberOfBeams": len(beams),
                "NumberOfBrachyApplicationSetups": 0,
                "ReferencedBeamSequence": [
                    {
                        "ReferencedBeamNumber": beam["BeamNumber"],
                        "BeamDose": _GRAYS / _FRACTIONS / len(beams),
                        "BeamMeterset": 62.5,
                    }
                    for beam in beams
                ],
            }
        ],
        "BeamSequence": beams,
        "ApprovalStatus": "UNAPPROVED",
    }


def dose(ct: Planned, cell: float = 4.0) -> Elements:
    """RT Dose (PS3.3 A.18): a grid of 4 mm on the planes of the CT, in gray; full in the target, falling with depth."""
    rows, columns = (int(np.ceil(n * ct.spacing / cell)) for n in ct.hounsfield(0).shape)
    order = sorted(range(len(ct.positions)), key=lambda n: ct.positions[n][2])  # the grid's offsets count upwards
    x0, y0, z0 = ct.positions[order[0]]
    offset = (cell - ct.spacing) / 2  # the grid's first cell begins where the first pixel does
    x0, y0 = round(x0 + offset, 4), round(y0 + offset, 4)
    y, x = np.mgrid[0:rows, 0:columns] * cell + np.array([y0, x0])[:, None, None]
    tx, ty, tz = ct.target
    half = _PLANNED + 6
    frames = []
    for number in order:
        z = ct.positions[number][2]
        hu = ct.hounsfield(number)
        at_rows = np.clip(((y[:, 0] - ct.positions[number][1]) / ct.spacing).round().astype(int), 0, hu.shape[0] - 1)
        at_columns = np.clip(((x[0] - ct.positions[number][0]) / ct.spacing).round().astype(int), 0, hu.shape[1] - 1)
        inside = _body(hu)[np.ix_(at_rows, at_columns)]
        whole = np.zeros((rows, columns))
        for angle in np.radians(_GANTRY):
            # IEC 61217: at 0 degrees the source is in front of the patient, at 90 on the patient's left
            along = (x - tx) * -np.sin(angle) + (y - ty) * np.cos(angle)  # away from the source
            across = (x - tx) * np.cos(angle) + (y - ty) * np.sin(angle)
            field = _edge(across, half) * _edge(np.full_like(across, z - tz), half)
            whole += np.exp(-0.0035 * along) * (field + 0.012)
        frames.append(np.where(inside, whole * _GRAYS / len(_GANTRY), 0.0))
    grid = np.stack(frames)
    planes = np.array([ct.positions[n][2] for n in order])[:, None, None]
    treated = grid[(x - tx) ** 2 + (y - ty) ** 2 + (planes - tz) ** 2 <= _PLANNED**2]
    scaling = max(float(grid.max()), 1e-3) / 65_000
    stored = np.rint(grid / scaling).astype("<u2")
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "NumberOfFrames": len(frames),
        "FrameIncrementPointer": 0x3004000C,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": Typed("OW", stored.tobytes()),
        "PixelSpacing": [cell, cell],
        "ImagePositionPatient": [x0, y0, z0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SliceThickness": None,
        "FrameOfReferenceUID": ct.frame_of_reference,
        "PositionReferenceIndicator": None,
        "GridFrameOffsetVector": [round(ct.positions[n][2] - z0, 4) for n in order],
        "DoseUnits": "GY",
        "DoseType": "PHYSICAL",
        "DoseSummationType": "PLAN",
        "DoseGridScaling": f"{scaling:.9g}",
        "TissueHeterogeneityCorrection": ["IMAGE", "ROI_OVERRIDE"],
        "ReferencedRTPlanSequence": [{"ReferencedSOPClassUID": PLAN, "ReferencedSOPInstanceUID": ct.plan}],
        "ReferencedStructureSetSequence": [
            {"ReferencedSOPClassUID": STRUCTURES, "ReferencedSOPInstanceUID": ct.structure_set}
        ],
        "DVHSequence": [_histogram(treated, cell * cell * ct.step / 1000, list(ct.contours).index("PTV") + 1)],
    }


def _histogram(doses: npt.NDArray[np.float64], cell: float, roi: int) -> Elements:
    """A cumulative dose volume histogram (PS3.3 C.8.8.4): bins of 1 Gy, cells of so many cubic centimetres."""
    bins = int(np.ceil(doses.max())) + 1
    volume = [round(float((doses >= dose).sum() * cell), 3) for dose in range(bins)]
    return {
        "DVHType": "CUMULATIVE",
        "DoseUnits": "GY",
        "DoseType": "PHYSICAL",
        "DVHDoseScaling": 1,
        "DVHVolumeUnits": "CM3",
        "DVHNumberOfBins": bins,
        "DVHData": [value for one in volume for value in (1, one)],
        "DVHReferencedROISequence": [{"ReferencedROINumber": roi, "DVHROIContributionType": "INCLUDED"}],
        "DVHMinimumDose": round(float(doses.min()), 3),
        "DVHMaximumDose": round(float(doses.max()), 3),
        "DVHMeanDose": round(float(doses.mean()), 3),
    }


def _edge(distance: npt.NDArray[np.float64], half: float) -> npt.NDArray[np.float64]:
    """1 within a field, 0 outside, with a penumbra of some millimetres."""
    fall: npt.NDArray[np.float64] = 1 / (1 + np.exp((np.abs(distance) - half) / 2.5))
    return fall
