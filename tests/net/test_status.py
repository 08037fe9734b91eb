from __future__ import annotations

import pytest

from dicore.net.status import Status, describe, is_failure, is_warning


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (0x0000, "success", "0000 success"),
        (0xB000, "warning", "B000 coercion"),
        (0xB006, "warning", "B006 elements discarded"),
        (0x0107, "warning", "0107 attribute list error"),
        (0xA700, "failure", "A700 out of resources"),
        (0xA7FF, "failure", "A7FF out of resources"),
        (0xA901, "failure", "A901 data set does not match SOP class"),
        (0xC123, "failure", "C123 cannot understand"),
        (0x0122, "failure", "0122 sop class not supported"),
        (0x1234, "failure", "1234 failure"),
    ],
)
def test_every_status_has_a_kind_and_a_text(status: int, kind: str, text: str) -> None:
    assert (is_warning(status), is_failure(status)) == (kind == "warning", kind == "failure")
    assert describe(status) == text


def test_statuses_are_distinct_numbers_of_16_bits() -> None:
    assert all(0 <= status <= 0xFFFF for status in Status)
    assert len({int(status) for status in Status}) == len(Status)
