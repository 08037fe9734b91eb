"""Dates and times: values of VR DA, TM and DT (PS3.5 6.2) as `datetime`, what `Element.as_date()` and its kin stand on.

    ds["StudyDate"].as_date()               # datetime.date(2024, 1, 31)
    ds["StudyDate"].as_datetime()           # with StudyTime, in the zone of Timezone Offset From UTC (0008,0201)
    ds["AcquisitionDateTime"].as_datetime() # of a DT; its own offset comes first

What `datetime` cannot say is kept beside it: `parse` gives a `Moment`, which knows how precise the text was and whether
it was a leap second.

- Components that are missing at the end ("202401", "14") mean that they are not known. `Moment.value` is then the first
  moment that the text can mean and `Moment.latest` the last one.
- Second 60 stands for a leap second, which `datetime` has not: it becomes 59.999999, so that order is kept.
- A range ("20240101-20240131", "-1200", "2023-"; PS3.4 C.2.2.2.5) is a `Range`, None at an open side.
- Forms of ACR-NEMA 300 that PS3.5 tells readers to take: "2024.01.31", "14:30:00.5".
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from dicore.errors import DicomFormatError

if TYPE_CHECKING:
    from dicore._native.dataset import Element
    from dicore.dataset.dataset import Dataset

__all__ = ["Moment", "Precision", "Range", "element_value", "parse", "parse_offset"]

T = TypeVar("T")
Precision = Literal["year", "month", "day", "hour", "minute", "second", "fraction"]
_STEPS: tuple[Precision, ...] = ("year", "month", "day", "hour", "minute", "second", "fraction")


@dataclass(frozen=True, slots=True)
class Moment:
    """One date or time, as precise as it was written. `value` is a date (DA), time (TM) or datetime (DT)."""

    value: Any
    precision: Precision
    leap_second: bool = False

    @property
    def latest(self) -> Any:
        """The last moment, to the microsecond, that the text can mean: of "2024" 2024-12-31 23:59:59.999999."""
        value = self.value
        if type(value) is date:
            return value
        known = _STEPS.index(self.precision)
        if isinstance(value, datetime):
            if known < 1:
                value = value.replace(month=12)
            if known < 2:
                value = value.replace(day=calendar.monthrange(value.year, value.month)[1])
        if known < 3:
            value = value.replace(hour=23)
        if known < 4:
            value = value.replace(minute=59)
        if known < 5:
            value = value.replace(second=59)
        return value if known == 6 else value.replace(microsecond=999999)


@dataclass(frozen=True, slots=True)
class Range(Generic[T]):
    """From `start` to `end`, both included; None where it is open."""

    start: T | None
    end: T | None


_DA = re.compile(r"(\d{4})(\d\d)(\d\d)|(\d{4})\.(\d\d)\.(\d\d)", re.ASCII)
_TM = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?|(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?", re.ASCII)
_DT = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII
)
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)
_FORMS = {"DA": "YYYYMMDD", "TM": "HHMMSS.FFFFFF", "DT": "YYYYMMDDHHMMSS.FFFFFF&ZZXX"}


def parse_offset(text: str) -> timezone:
    """An offset from UTC, "+0100" (PS3.5 6.2 DT: -1200 to +1400). ValueError."""
    match = _OFFSET.fullmatch(text.strip())
    if match:
        minutes = int(match[2]) * 60 + int(match[3])
        minutes = -minutes if match[1] == "-" else minutes
        if int(match[3]) < 60 and -720 <= minutes <= 840 and match[0] != "-0000":
            return timezone(timedelta(minutes=minutes))
    raise ValueError(f"{text!r} is no offset from UTC from -1200 to +1400")


def parse(vr: str, text: str, zone: timezone | None = None) -> Moment | Range[Moment] | None:
    """One value of VR DA, TM or DT; None when blank. TM and DT without an offset of their own are in `zone`.

    ValueError for what is no such value, with what is wrong."""
    text = text.strip(" \0")
    if vr not in _FORMS:
        raise ValueError(f"VR {vr} holds no date or time")
    if not text:
        return None
    whole = _moment(vr, text, zone)  # "1994-1200" is a DT in a zone; "1994-1996" is none and so a range
    if whole is not None:
        return whole
    for at in (i for i, c in enumerate(text) if c == "-"):
        left, right = text[:at].rstrip(), text[at + 1 :].lstrip()
        start, end = (_moment(vr, side, zone) if side else None for side in (left, right))
        if (start or not left) and (end or not right) and (start or end):
            return Range(start, end)
    raise ValueError(f"{text[:64]!r} is no value of VR {vr}, {_FORMS[vr]}, nor a range of them")


def _moment(vr: str, text: str, zone: timezone | None) -> Moment | None:
    """None when `text` has not the form; ValueError when a component is out of range."""
    if vr == "DA":
        match = _DA.fullmatch(text)
        if not match:
            return None
        year, month, day = (int(g) for g in match.groups() if g is not None)
        return Moment(date(year, month, day), "day")
    match = (_TM if vr == "TM" else _DT).fullmatch(text)
    if not match:
        return None
    groups = list(match.groups())
    if vr == "TM":
        parts = [None, None, None, *(groups[4:] if groups[0] is None else groups[:4])]
    else:
        if groups[7]:
            try:
                zone = parse_offset(groups[7])
            except ValueError:
                if groups[7][0] == "-":
                    return None  # the second half of a range
                raise
        parts = groups[:7]
    precision = _STEPS[max(i for i, part in enumerate(parts) if part is not None)]
    fraction = int(parts[6].ljust(6, "0")) if parts[6] else 0
    hour, minute, second = (int(part or 0) for part in parts[3:6])
    leap = second == 60
    if leap:
        second, fraction = 59, 999999
    clock = time(hour, minute, second, fraction, tzinfo=zone)
    if vr == "TM":
        return Moment(clock, precision, leap)
    day_ = date(int(parts[0] or 0), int(parts[1] or 1), int(parts[2] or 1))
    return Moment(datetime.combine(day_, clock), precision, leap)


def element_value(dataset: Dataset, element: Element, kind: str) -> Any:
    """What `Element.as_date/as_time/as_datetime` give, `kind` being 'date', 'time' or 'datetime'."""
    vr = element.vr
    wanted = {"date": ("DA", "DT"), "time": ("TM", "DT"), "datetime": ("DT", "DA")}[kind]
    if vr not in wanted:
        raise _error(dataset, element, f"{vr} has no {kind}", " or ".join(wanted))
    value = element.value
    try:
        zone = None if vr == "DA" and kind == "date" else _zone(dataset)
        times = _times(dataset, element, zone) if vr == "DA" and kind == "datetime" else []
        values = value if isinstance(value, list) else [value]
        found = []
        for position, text in enumerate(values):
            parsed = parse(vr, str(text), zone)
            clock = times[position] if position < len(times) else None
            if isinstance(parsed, Range):
                found.append(Range(_as(parsed.start, kind, None, zone), _as(parsed.end, kind, None, zone, latest=True)))
            else:
                found.append(_as(parsed, kind, clock, zone))
    except (ValueError, OverflowError) as error:
        raise _error(dataset, element, str(error), _FORMS.get(vr)) from None
    return found if isinstance(value, list) else found[0]


def _as(moment: Moment | None, kind: str, clock: time | None, zone: timezone | None, latest: bool = False) -> Any:
    """The end of a range reaches as far as its precision: `latest`."""
    if moment is None:
        return None
    value = moment.latest if latest else moment.value
    if isinstance(value, datetime):
        return value.date() if kind == "date" else value.timetz() if kind == "time" else value
    if kind == "datetime":  # of a DA
        return datetime.combine(value, clock or time(23, 59, 59, 999999, zone) if latest else clock or time(tzinfo=zone))
    return value


def _zone(dataset: Dataset) -> timezone | None:
    """Timezone Offset From UTC (PS3.3 C.12.1.1): here, or in the data set around."""
    around: Any = dataset
    while around is not None:
        text = around.get(0x00080201)
        if text:
            return parse_offset(str(text))
        around = around._around()
    return None


def _times(dataset: Dataset, element: Element, zone: timezone | None) -> list[time | None]:
    """The values of the TM that goes with a DA: StudyDate and StudyTime."""
    keyword = element.keyword
    if not keyword.endswith("Date"):
        return []
    value = dataset.get(keyword[:-4] + "Time")
    moments = [parse("TM", str(v), zone) for v in (value if isinstance(value, list) else [value or ""])]
    return [m.value if isinstance(m, Moment) else None for m in moments]


def _error(dataset: Dataset, element: Element, message: str, expected: str | None) -> DicomFormatError:
    return DicomFormatError(
        message, path=dataset.path, offset=element.offset, tag_path=dataset._path_to(element), expected=expected
    )
