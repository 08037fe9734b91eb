"""Attribute matching of PS3.4 C.2.2.2, as SQL conditions over the columns of the index."""

from __future__ import annotations

import re
from collections.abc import Sequence

# VRs whose values may hold wildcards (C.2.2.2.4); PN is matched whatever its case, as C.2.2.2.1 allows
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_RANGE = re.compile(r"\s*([0-9.:]*)\s*-\s*([0-9.:]*)\s*")

Condition = tuple[str, list[str]]  # SQL with `?`, and what stands for them


def fold_name(name: str) -> str:
    """A person name as it is compared: case folded, without trailing `^`, `=` and spaces of its components."""
    groups = [re.sub(r"[\s^]+$", "", re.sub(r"\s*\^\s*", "^", group.strip())) for group in name.casefold().split("=")]
    return "=".join(groups).rstrip("=")


def full_date(text: str) -> str:
    """YYYYMMDD; the old form with dots (PS3.5 6.2) counts as well."""
    return text.strip().replace(".", "")


def full_time(text: str, fill: str = "0") -> str:
    """HHMMSSFFFFFF, what is missing filled with `fill`; the old form with colons counts as well."""
    digits, _, fraction = text.strip().replace(":", "").partition(".")
    if not digits:
        return ""
    tail = "235959" if fill == "9" else "000000"
    return (digits + tail[len(digits) :])[:6] + (fraction + fill * 6)[:6]


def _glob(pattern: str) -> str:
    """A DICOM pattern for SQLite's GLOB, whose third special character is `[`."""
    return pattern.replace("[", "[[]")


def condition(column: str, vr: str, value: str | Sequence[str]) -> Condition | None:
    """The SQL condition for matching `column` (an expression, never text from a peer) with a key; None: matches
    everything.

    Single value (C.2.2.2.1), list of UIDs (.2), universal (.3), wildcard (.4), range of dates and times (.5), and
    empty value (.7: two quotation marks). Raises ValueError for a range that is none.
    """
    if not isinstance(value, str):
        value = "\\".join(value)
    if not value or (vr in _WILD and not value.strip("*")):
        return None
    if value == '""':
        return f"{column} = ''", []
    if vr == "UI" or ("\\" in value and vr != "PN"):
        wanted = [part.rstrip("\0").strip() for part in value.split("\\") if part.strip("\0 ")]
        if vr == "UI":
            return f"{column} IN ({', '.join('?' * len(wanted))})", wanted
        parts = [part for part in (condition(column, vr, one) for one in wanted) if part]
        return "(" + " OR ".join(sql for sql, _ in parts) + ")", [v for _, values in parts for v in values]
    if vr in ("DA", "TM"):
        return _dates(column, vr, value)
    if vr == "IS":
        return f"CAST({column} AS INTEGER) = ? AND {column} <> ''", [str(int(value))]
    if vr == "PN":
        return _names(column, fold_name(value))
    value = value.strip()
    if vr in _WILD and ("*" in value or "?" in value):
        return f"{column} GLOB ?", [_glob(value)]
    return f"{column} = ?", [value]


def _dates(column: str, vr: str, value: str) -> Condition:
    span = _RANGE.fullmatch(value)
    if span is None:
        if not re.fullmatch(r"\s*[0-9.:]+\s*", value):
            raise ValueError(f"{value!r} is neither a {'date' if vr == 'DA' else 'time'} nor a range")
        low = high = value
    else:
        low, high = span.groups()
        if not low and not high:
            raise ValueError("a range needs at least one end")
    conditions, values = [f"{column} <> ''"], []
    if vr == "DA":
        first, last = full_date(low), full_date(high)
    else:
        first, last = full_time(low), full_time(high, "9")
    if first:
        conditions.append(f"{column} >= ?")
        values.append(first)
    if last:
        conditions.append(f"{column} <= ?")
        values.append(last)
    return "(" + " AND ".join(conditions) + ")", values


def _names(column: str, pattern: str) -> Condition:
    """The whole name, or one of its component groups (alphabetic, ideographic, phonetic)."""
    if "*" in pattern or "?" in pattern:
        wild = _glob(pattern)
        forms = (
            [wild]
            if pattern.endswith("*") and pattern.startswith("*")
            else [wild, wild + "=*", "*=" + wild, "*=" + wild + "=*"]
        )
        return "(" + " OR ".join([f"{column} GLOB ?"] * len(forms)) + ")", forms
    plain = _glob(pattern)
    return f"({column} = ? OR {column} GLOB ? OR {column} GLOB ? OR {column} GLOB ?)", [
        pattern, plain + "=*", "*=" + plain, "*=" + plain + "=*",
    ]  # fmt: skip
