"""Standardised uptake values of PET: QIBA's vendor-neutral calculation over PS3.3 C.8.9.

SUV = activity concentration / (dose at the moment that the concentrations are corrected to / body measure).
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Elements, first, is_there, need, number, text, texts, wrong
from dicore.content.modality import rescale_of
from dicore.errors import DicomFormatError, MissingElement

__all__ = ["KINDS", "factor", "suv"]

#: What SUV is related to, as SUV Type (0054,1006) names it in capitals: body weight, lean body mass by James (with the
#: 120 of QIBA's formula), the same with James' own 128, by Janmahasatian, body surface area by Du Bois. g/ml, bsa:
#: cm2/ml.
KINDS = ("bw", "lbm", "lbmjames128", "lbmjanma", "bsa")


def suv(ds: Elements, kind: str = "bw", *, threads: int = 1) -> npt.NDArray[np.float32]:
    """SUV of a PET image: float32 (frames?, rows, columns), g/ml ('bsa': cm2/ml). `kind` is one of `KINDS`.

    Raises MissingElement naming what the calculation lacks, DicomFormatError for values it cannot use.
    """
    scale = factor(ds, kind)
    rescale = rescale_of(ds, "suv")
    stored = ds.pixels(threads=threads)
    out = np.empty(stored.shape, np.float64)
    rescale.into(stored, out)
    out *= scale
    return out.astype(np.float32)


def factor(ds: Elements, kind: str = "bw") -> float:
    """What rescaled pixel values (slope and intercept applied) are to be multiplied with to be SUV; see `suv`."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of SUV: {', '.join(KINDS)}")
    units = str(need(ds, "Units", "suv", "this is no PET image")).strip().upper()
    if units in ("GML", "CM2ML"):  # SUV already
        stored_kind = (text(ds, "SUVType") or ("BSA" if units == "CM2ML" else "BW")).lower()
        if stored_kind not in KINDS:
            raise wrong(ds, "SUVType", "suv", ", ".join(KINDS).upper())
        return 1.0 if stored_kind == kind else body_measure(ds, kind) / body_measure(ds, stored_kind)
    if units == "CNTS":  # counts: only by what Philips says of them (7053,xx00), (7053,xx09)
        to_suv, to_activity = _philips(ds)
        if to_suv:
            return to_suv if kind == "bw" else to_suv * body_measure(ds, kind) / body_measure(ds, "bw")
        if not to_activity:
            raise MissingElement(
                "suv: Units is CNTS and neither the SUV factor (7053,1000) nor the activity factor (7053,1009) of "
                "'Philips PET Private Group' is there; counts cannot be made activity without one of them",
                tag_path="7053,1000",
            )
        return to_activity * body_measure(ds, kind) / dose_at_reference(ds)
    if units != "BQML":
        raise wrong(ds, "Units", "suv", "BQML, CNTS, GML or CM2ML")
    corrected = {value.upper() for value in texts(ds, "CorrectedImage")}
    if corrected and "ATTN" not in corrected:
        raise wrong(ds, "CorrectedImage", "suv", "ATTN: without attenuation correction there is no SUV")
    return body_measure(ds, kind) / dose_at_reference(ds)


def body_measure(ds: Elements, kind: str) -> float:
    """Grams of body or lean body, or square centimetres of its surface."""
    what = f"suv {kind!r}"
    weight = number(ds, "PatientWeight", what, "set it to the weight in kg: ds.PatientWeight = ...")
    if not 0 < weight < 1000:
        raise wrong(ds, "PatientWeight", what, "kilograms")
    if kind == "bw":
        return weight * 1000
    metres = number(ds, "PatientSize", what, "set it to the height in m: ds.PatientSize = ...")
    if not 0 < metres < 3:
        raise wrong(ds, "PatientSize", what, "metres")
    if kind == "bsa":
        return float(0.007184 * weight**0.425 * (metres * 100) ** 0.725 * 10_000)
    sex = str(need(ds, "PatientSex", what, "lean body mass needs M or F")).strip().upper()
    if sex not in ("M", "F"):
        raise wrong(ds, "PatientSex", what, "M or F: lean body mass is defined for these")
    bmi = weight / metres**2
    if kind == "lbmjanma":
        lean = 9270 * weight / ((6680 + 216 * bmi) if sex == "M" else (8780 + 244 * bmi))
    elif sex == "M":
        lean = 1.10 * weight - (128 if kind == "lbmjames128" else 120) * (weight / (metres * 100)) ** 2
    else:
        lean = 1.07 * weight - 148 * (weight / (metres * 100)) ** 2
    if lean <= 0:
        raise DicomFormatError(
            f"{what}: {weight:g} kg at {metres:g} m have no lean body mass by this formula",
            path=ds.path,
            expected="weight and height within the formula's range, or kind='lbmjanma'",
        )
    return lean * 1000


def dose_at_reference(ds: Elements) -> float:
    """The administered dose in Bq, decayed to the moment that the pixels are corrected to (0054,1102).

    START: decayed to the start of the scan. ADMIN: as administered. NONE: decayed to the moment within the frame at
    which the activity had its mean.
    """
    what = "suv"
    drug = first(ds, "RadiopharmaceuticalInformationSequence")
    if drug is None:
        need(ds, "RadiopharmaceuticalInformationSequence", what, "it holds dose, half-life and the time of injection")
        raise wrong(ds, "RadiopharmaceuticalInformationSequence", what, "an item")
    injected = number(drug, "RadionuclideTotalDose", what, "the administered activity in Bq")
    if injected <= 0:
        raise wrong(drug, "RadionuclideTotalDose", what, "an activity in Bq")
    correction = str(need(ds, "DecayCorrection", what, "START, ADMIN or NONE")).strip().upper()
    if correction == "ADMIN":
        return injected
    if correction not in ("START", "NONE"):
        raise wrong(ds, "DecayCorrection", what, "START, ADMIN or NONE")
    half_life = number(drug, "RadionuclideHalfLife", what, "in seconds, of the radionuclide")
    if half_life <= 0:
        raise wrong(drug, "RadionuclideHalfLife", what, "seconds")
    reference = _scan_start(ds, half_life) if correction == "START" else _mean_moment(ds, half_life)
    elapsed = (reference - _injection(drug, reference, what)).total_seconds()
    if elapsed < 0:
        raise DicomFormatError(
            f"suv: the scan is {-elapsed:.0f} s before the administration of the radiopharmaceutical",
            path=ds.path,
            expected="times in one clock; set RadiopharmaceuticalStartDateTime when the stored one is wrong",
        )
    return float(injected * 2.0 ** (-elapsed / half_life))


def _scan_start(ds: Elements, half_life: float) -> datetime:
    """When the scan began. Series time is it, unless it lies after the acquisition (a derived series): then GE says it
    in private, else it is computed back from Frame Reference Time, else it is the acquisition's own start."""
    acquired = _moment(ds, "Acquisition")
    series = _moment(ds, "Series")
    if series is not None and (acquired is None or series <= acquired):
        return series
    private = _private(ds, 0x0009, "GEMS_PETD_01", 0x0D)
    if private:
        return _parsed(str(private[0] if isinstance(private, list) else private), "GE scan date and time")
    if acquired is None:
        need(ds, "SeriesTime", "suv", "the start of the scan cannot be told")
        need(ds, "SeriesDate", "suv", "the start of the scan cannot be told")
        raise AssertionError
    offset = number(ds, "FrameReferenceTime", "suv", default=0.0) / 1000
    duration = number(ds, "ActualFrameDuration", "suv", default=0.0) / 1000
    if offset > 0 and duration > 0:
        return acquired + timedelta(seconds=_mean_offset(duration, half_life) - offset)
    raise DicomFormatError(
        f"suv: the series ({series}) is later than the acquisition ({acquired}), so it is a derived one, and neither "
        "Frame Reference Time with Actual Frame Duration nor GE's scan time (0009,xx0D) says when the scan began",
        path=ds.path,
        expected="SeriesDate and SeriesTime of the scan: set them, or FrameReferenceTime and ActualFrameDuration in ms",
    )


def _mean_moment(ds: Elements, half_life: float) -> datetime:
    acquired = _moment(ds, "Acquisition")
    if acquired is None:
        need(ds, "AcquisitionTime", "suv without decay correction")
        need(ds, "AcquisitionDate", "suv without decay correction")
        raise AssertionError
    duration = number(ds, "ActualFrameDuration", "suv without decay correction", "in ms, of this frame") / 1000
    return acquired + timedelta(seconds=_mean_offset(duration, half_life))


def _mean_offset(duration: float, half_life: float) -> float:
    """Seconds into a frame at which the activity equals its mean over the frame."""
    constant = math.log(2) / half_life
    decay = constant * duration
    return math.log(decay / -math.expm1(-decay)) / constant if decay > 0 else 0.0


def _injection(drug: Any, reference: datetime, what: str) -> datetime:
    """When it was administered: the date and time if told, else the last such time of day before the scan."""
    if is_there(drug, "RadiopharmaceuticalStartDateTime"):
        return _parsed(text(drug, "RadiopharmaceuticalStartDateTime"), "RadiopharmaceuticalStartDateTime")
    need(drug, "RadiopharmaceuticalStartTime", what, "or RadiopharmaceuticalStartDateTime: when it was administered")
    at = _time(text(drug, "RadiopharmaceuticalStartTime"), "RadiopharmaceuticalStartTime")
    found = datetime.combine(reference.date(), at)
    return found if found <= reference else found - timedelta(days=1)  # across midnight


def _moment(ds: Elements, name: str) -> datetime | None:
    if name == "Acquisition" and not is_there(ds, "AcquisitionTime") and is_there(ds, "AcquisitionDateTime"):
        return _parsed(text(ds, "AcquisitionDateTime"), "AcquisitionDateTime")
    if not is_there(ds, f"{name}Time") or not is_there(ds, f"{name}Date"):
        return None
    day = text(ds, f"{name}Date").replace(".", "")
    return datetime.combine(_date(day, f"{name}Date"), _time(text(ds, f"{name}Time"), f"{name}Time"))


def _parsed(value: str, keyword: str) -> datetime:
    """A DT. Local clocks only: an offset from UTC is left away, since dates and times beside it have none."""
    plain = value.strip()
    for sign in "+-":
        plain = plain.partition(sign)[0]
    if len(plain) < 10:
        raise DicomFormatError(f"suv: {keyword} is {value!r:.40}", expected="date and time as YYYYMMDDHHMMSS")
    return datetime.combine(_date(plain[:8], keyword), _time(plain[8:], keyword))


def _date(value: str, keyword: str) -> date:
    try:
        return date(int(value[:4]), int(value[4:6]), int(value[6:8]))
    except ValueError:
        raise DicomFormatError(f"suv: {keyword} is {value!r:.40}", expected="YYYYMMDD") from None


def _time(value: str, keyword: str) -> time:
    digits, _, fraction = value.replace(":", "").strip().partition(".")
    try:
        if len(digits) not in (2, 4, 6) or not digits.isdigit():
            raise ValueError
        digits = digits.ljust(6, "0")
        second = min(int(digits[4:6]), 59)  # a leap second
        return time(int(digits[:2]), int(digits[2:4]), second, int(fraction[:6].ljust(6, "0") or 0))
    except ValueError:
        raise DicomFormatError(f"suv: {keyword} is {value!r:.40}", expected="HHMMSS.FFFFFF") from None


def _philips(ds: Elements) -> tuple[float, float]:
    """Philips' factors to SUV and to Bq/ml, 0 where there is none."""

    def value(element: int) -> float:
        found = _private(ds, 0x7053, "Philips PET Private Group", element)
        try:
            found = float(found.decode("ascii").strip(" \0") if isinstance(found, bytes) else found)
        except (TypeError, ValueError):
            return 0.0
        return found if math.isfinite(found) else 0.0

    return value(0x00), value(0x09)


def _private(ds: Any, group: int, creator: str, element: int) -> Any:
    """A private element by its creator (PS3.5 7.8.1), in whichever block; None when it is not there."""
    for block in range(0x10, 0x100):
        if str(ds.get((group, block)) or "").strip() == creator:
            return ds.get((group, block << 8 | element))
    return None
