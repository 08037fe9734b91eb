"""Element.as_date and its kin: every form of DA, TM and DT that PS3.5 6.2 has, and some that it had."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicore
from dicore.dataset.temporal import Moment, Range, parse, parse_offset
from vectors.deviations import element, item, part10

DATE, TIME, STAMP, ZONE = 0x00080020, 0x00080030, 0x0008002A, 0x00080201
HOUR = timezone(timedelta(hours=1))


def even(text: str) -> bytes:
    return text.encode() + b" " * (len(text) % 2)


def ds_of(**elements: str):
    tags = {"StudyDate": (DATE, "DA"), "StudyTime": (TIME, "TM"), "AcquisitionDateTime": (STAMP, "DT"),
            "TimezoneOffsetFromUTC": (ZONE, "SH")}  # fmt: skip
    return dicore.read(part10(b"".join(element(*tags[k], even(v)) for k, v in sorted(elements.items(), key=lambda e: tags[e[0]]))))


@pytest.mark.parametrize(
    ("vr", "text", "value", "precision"),
    [
        ("DA", "20240229", date(2024, 2, 29), "day"),
        ("DA", "1997.07.15", date(1997, 7, 15), "day"),
        ("TM", "14", time(14), "hour"),
        ("TM", "1430", time(14, 30), "minute"),
        ("TM", "143005", time(14, 30, 5), "second"),
        ("TM", "143005.5 ", time(14, 30, 5, 500000), "fraction"),
        ("TM", "143005.000001", time(14, 30, 5, 1), "fraction"),
        ("TM", "14:30:05.25", time(14, 30, 5, 250000), "fraction"),
        ("TM", "14:30", time(14, 30), "minute"),
        ("DT", "2024", datetime(2024, 1, 1), "year"),
        ("DT", "202402", datetime(2024, 2, 1), "month"),
        ("DT", "20240229", datetime(2024, 2, 29), "day"),
        ("DT", "2024022914", datetime(2024, 2, 29, 14), "hour"),
        ("DT", "202402291430", datetime(2024, 2, 29, 14, 30), "minute"),
        ("DT", "20240229143005.123456", datetime(2024, 2, 29, 14, 30, 5, 123456), "fraction"),
        ("DT", "20240229143005+0100", datetime(2024, 2, 29, 14, 30, 5, tzinfo=HOUR), "second"),
        ("DT", "1994-1200", datetime(1994, 1, 1, tzinfo=timezone(timedelta(hours=-12))), "year"),
    ],
)
def test_one_value(vr, text, value, precision) -> None:
    assert parse(vr, text) == Moment(value, precision)


@pytest.mark.parametrize(
    ("vr", "text", "start", "end"),
    [
        ("DA", "20240101-20240131", date(2024, 1, 1), date(2024, 1, 31)),
        ("DA", "-20240131", None, date(2024, 1, 31)),
        ("DA", "20240101- ", date(2024, 1, 1), None),
        ("TM", "08-1200", time(8), time(12)),
        ("DT", "1994-1996", datetime(1994, 1, 1), datetime(1996, 1, 1)),
        ("DT", "20240101-0500-20240102-0500", datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5))),
         datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-5)))),
        ("DT", "2024+0100-", datetime(2024, 1, 1, tzinfo=HOUR), None),
    ],
)  # fmt: skip
def test_ranges(vr, text, start, end) -> None:
    found = parse(vr, text)
    assert isinstance(found, Range)
    assert (found.start and found.start.value, found.end and found.end.value) == (start, end)


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("DA", "2024"), ("DA", "20240230"), ("DA", "2024-01-01"), ("DA", "00000101"), ("DA", "-"), ("DA", "today"),
        ("TM", "24"), ("TM", "1260"), ("TM", "120061"), ("TM", "1"), ("TM", "120000.1234567"), ("TM", "12:3"),
        ("DT", "202413"), ("DT", "2024+1500"), ("DT", "2024-0000"), ("DT", "20240101120000.1234567"), ("DT", "--"),
        ("DA", "٢٠٢٤٠١٠١"), ("LO", "20240101"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused(vr, text) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(vr, text)


def test_a_leap_second_keeps_its_order() -> None:
    leap = parse("TM", "235960.5")
    assert leap == Moment(time(23, 59, 59, 999999), "fraction", leap_second=True)
    assert parse("TM", "235959.9").value < leap.value
    assert parse("DT", "20161231235960").leap_second


def test_what_is_not_known_reaches_to_the_end() -> None:
    assert parse("DT", "2024").latest == datetime(2024, 12, 31, 23, 59, 59, 999999)
    assert parse("DT", "202402").latest == datetime(2024, 2, 29, 23, 59, 59, 999999)
    assert parse("TM", "14").latest == time(14, 59, 59, 999999)
    assert parse("TM", "143005.5").latest == time(14, 30, 5, 500000)
    assert parse("DA", "20240101").latest == date(2024, 1, 1)


@given(st.datetimes(timezones=st.none() | st.integers(-720, 840).map(lambda m: timezone(timedelta(minutes=m)))))
def test_every_datetime_comes_back(stamp) -> None:
    text = f"{stamp.year:04}{stamp:%m%d%H%M%S}.{stamp.microsecond:06}"
    if stamp.tzinfo is not None:
        minutes = int(stamp.utcoffset().total_seconds() // 60)
        text += f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    assert parse("DT", text).value == stamp
    assert parse("TM", text[8:21]).value == stamp.time()
    assert parse("DA", text[:8]).value == stamp.date()


@given(st.sampled_from(["DA", "TM", "DT"]), st.text("0123456789.-+: ", max_size=30))
def test_any_text_is_a_value_or_refused(vr, text) -> None:
    try:
        assert isinstance(parse(vr, text), (Moment, Range, type(None)))
    except ValueError:
        pass


def test_elements() -> None:
    ds = ds_of(StudyDate="20240131", StudyTime="143000.5", AcquisitionDateTime="202401311430", TimezoneOffsetFromUTC="+0100")
    assert ds["StudyDate"].as_date() == date(2024, 1, 31)
    assert ds["StudyTime"].as_time() == time(14, 30, 0, 500000, HOUR)
    assert ds["StudyDate"].as_datetime() == datetime(2024, 1, 31, 14, 30, 0, 500000, HOUR)
    stamp = ds["AcquisitionDateTime"]
    assert stamp.as_datetime() == datetime(2024, 1, 31, 14, 30, tzinfo=HOUR)
    assert (stamp.as_date(), stamp.as_time()) == (date(2024, 1, 31), time(14, 30, tzinfo=HOUR))
    assert ds_of(AcquisitionDateTime="2024-0500", TimezoneOffsetFromUTC="+0100")[STAMP].as_datetime().utcoffset() == (
        timedelta(hours=-5))  # fmt: skip


def test_several_values_empty_ones_and_ranges() -> None:
    ds = ds_of(StudyDate="20240131\\\\20240201", StudyTime="10\\11\\12")
    assert ds["StudyDate"].as_date() == [date(2024, 1, 31), None, date(2024, 2, 1)]
    assert ds["StudyDate"].as_datetime() == [datetime(2024, 1, 31, 10), None, datetime(2024, 2, 1, 12)]
    assert ds_of(StudyDate="")["StudyDate"].as_date() is None
    assert ds_of(StudyDate="20240131")["StudyDate"].as_datetime() == datetime(2024, 1, 31)
    assert ds_of(StudyDate="20240131-")["StudyDate"].as_date() == Range(date(2024, 1, 31), None)
    assert ds_of(AcquisitionDateTime="2023-2024")[STAMP].as_datetime() == Range(
        datetime(2023, 1, 1), datetime(2024, 12, 31, 23, 59, 59, 999999))  # fmt: skip


def test_an_item_is_in_the_zone_of_the_data_set_around() -> None:
    nested = item(element(STAMP, "DT", b"2024"))
    ds = dicore.read(part10(element(ZONE, "SH", b"+0100 ") + element(0x00081115, "SQ", nested)))
    assert ds["ReferencedSeriesSequence[0]"][STAMP].as_datetime() == datetime(2024, 1, 1, tzinfo=HOUR)


def test_errors_say_where() -> None:
    nested = item(element(DATE, "DA", b"20249999"))
    ds = dicore.read(part10(element(0x00081115, "SQ", nested)))
    with pytest.raises(dicore.DicomFormatError) as caught:
        ds["ReferencedSeriesSequence[0].StudyDate"].as_date()
    assert caught.value.tag_path == "0008,1115[0].0008,0020"
    assert caught.value.expected == "YYYYMMDD"
    with pytest.raises(dicore.DicomFormatError, match="no time"):
        ds["ReferencedSeriesSequence[0].StudyDate"].as_time()
    bad_zone = ds_of(AcquisitionDateTime="2024", TimezoneOffsetFromUTC="+9999")
    with pytest.raises(dicore.DicomFormatError, match="offset"):
        bad_zone[STAMP].as_datetime()
    assert parse_offset("-0330") == timezone(timedelta(hours=-3, minutes=-30))
