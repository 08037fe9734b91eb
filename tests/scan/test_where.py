"""Conditions on rows: what they mean, and that nothing but conditions is understood."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from dicore.scan.columns import resolve
from dicore.scan.where import Where

ROWS: dict[str, list[Any]] = {
    "Modality": ["CT", "MR", None, "CT"],
    "StudyDate": [datetime.date(2024, 1, 31), datetime.date(2023, 5, 1), None, datetime.date(2024, 2, 1)],
    "StudyTime": [datetime.time(12), datetime.time(9, 30, 0, 500000), None, datetime.time(23)],
    "Rows": [512, 256, None, 64],
    "PatientName": ["DOE^JANE", "MÜLLER^A", None, "doe^joe"],
    "ImageType": [["ORIGINAL", "PRIMARY"], ["DERIVED"], None, []],
    "PixelSpacing": [[0.5, 0.75], [1.0, None], None, None],
    "ReferencedStudySequence[0].ReferencedSOPInstanceUID": ["1.2", None, None, None],
    "0019,1001": [1.5, -1.0, None, None],
}


def kept(text: str) -> list[int]:
    where = Where(text)
    columns = [resolve(name) for name in where.names]
    values = [ROWS[name.partition(":")[0]] for name in where.names]
    return [row for row, keep in enumerate(where.bind(columns)(values, 4)) if keep]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("Modality == 'CT'", [0, 3]),
        ("Modality != 'CT'", [1, 2]),
        ("Modality == None", [2]),
        ("Modality is not None", [0, 1, 3]),
        ("Modality", [0, 1, 3]),
        ("not Modality", [2]),
        ("Modality in ('MR', 'PT')", [1]),
        ("Modality not in ['MR', None]", [0, 3]),
        ("Rows > 64 and Rows <= 512", [0, 1]),
        ("64 < Rows < 512", [1]),
        ("Rows == 64 or Modality == 'MR'", [1, 3]),
        ("StudyDate >= '20240101'", [0, 3]),
        ("StudyDate == '2023-05-01'", [1]),
        ("'20240101' <= StudyDate < '20240201'", [0]),
        ("StudyDate in ('20230501', '2024.02.01')", [1, 3]),
        ("StudyTime < '12'", [1]),
        ("StudyTime == '09:30:00.5'", [1]),
        ("PatientName ~ 'DOE*'", [0]),
        ("PatientName ~ '?OE^J*'", [0]),
        ("not PatientName ~ 'M*' and PatientName ~ '*^*'", [0, 3]),
        ("PatientName ~ '[D]*'", []),
        ("ImageType == 'PRIMARY'", [0]),
        ("ImageType ~ 'DER*' and ImageType != 'PRIMARY'", [1]),
        ("PixelSpacing < 0.6", [0]),
        ("ReferencedStudySequence[0].ReferencedSOPInstanceUID == '1.2'", [0]),
        ("tag('0019,1001:FD') > -2 and tag('0019,1001:FD') < 0", [1]),
        ("(Modality == 'CT'\n and Rows == 64)", [3]),
        ("PatientName == 'a ~ b @'", []),
    ],
)
def test_meaning(text: str, rows: list[int]) -> None:
    assert kept(text) == rows


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Modality.upper() == 'CT'",
        "Modality == 'CT' if Rows else 0",
        "lambda: 1",
        "[x for x in (1,)]",
        "Rows + 1 == 2",
        "Modality = 'CT'",
        "Modality == f'{1}'",
        "Modality @ 'CT'",
        "Rows == b'1'",
        "Modality ~ Rows",
        "(Modality := 'CT')",
        "Rows[0] == 1",
        "ImageType[0].x()",
        "tag(Rows) == 1",
        "tag('a', 'b')",
        "Modality in Rows",
        "Modality in (Rows,)",
        "1 == ",
        "",
        "~Rows",
        "Rows == 1; 2",
        "Rows == 1j",
        "'a' ~ 'b'",
        "not " * 100 + "Rows",
        "(" * 300 + "Rows" + ")" * 300,
        "Rows == 1 and " * 2000 + "Rows",
    ],
)
def test_nothing_else_is_understood(text: str) -> None:
    with pytest.raises(ValueError, match=r"condition|not understood|nested"):
        Where(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("StudyDate > '2024'", "no date"),
        ("StudyTime > 'noon'", "no time"),
        ("Rows == 'many'", "uint16"),
        ("Modality > 5", "utf8"),
        ("StudyDate > 5", "date32"),
        ("Rows in (1, 'a')", "uint16"),
    ],
)
def test_a_constant_of_another_type_is_refused(text: str, why: str) -> None:
    where = Where(text)
    with pytest.raises(ValueError, match=why):
        where.bind([resolve(name) for name in where.names])
