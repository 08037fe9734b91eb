"""Attribute matching of PS3.4 C.2.2.2: as SQL conditions over the columns of the index, and over values in memory."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import translate
from functools import lru_cache
from typing import Any, Literal

Fold = Literal["case", "accent", "exact"]

# VRs whose values may hold wildcards (C.2.2.2.4); PN is matched whatever its case, as C.2.2.2.1 allows
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_RANGE = re.compile(r"\s*([0-9.:]*)\s*-\s*([0-9.:]*)\s*")
_MOMENT = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.(\d{1,6}))?([+-]\d{4})?")

Condition = tuple[str, list[str]]  # SQL with `?`, and what stands for them
Wild = Callable[[str, str], tuple[str, str]]  # (column, DICOM pattern) -> SQL with one `?`, and what stands for it


# ---- forms to compare by
@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    """A letter without accents and case; always one character, so that `?` means the same everywhere."""
    base = unicodedata.normalize("NFKD", char)[0]
    folded = base.casefold()
    return folded if len(folded) == 1 else base.lower()[0]


def fold_name(name: str, fold: Fold = "accent") -> str:
    """A person name as it is compared: without trailing `^`, `=` and spaces of its components; folded by case, and by
    accent too."""
    name = unicodedata.normalize("NFC", name)
    if fold == "accent":
        name = name.casefold() if name.isascii() else "".join(map(_plain, name))
    elif fold == "case":
        name = "".join(c.casefold() if len(c.casefold()) == 1 else c.lower()[0] for c in name)
    groups = [re.sub(r"[\s^]+$", "", re.sub(r"\s*\^\s*", "^", group.strip())) for group in name.split("=")]
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


def glob(column: str, pattern: str) -> tuple[str, str]:
    """A DICOM pattern for SQLite's GLOB, whose third special character is `[`."""
    return f"{column} GLOB ?", pattern.replace("[", "[[]")


def span(vr: str, value: str) -> tuple[str, str]:
    """The ends of a date or time key, "" where it has none; equal for a single value. ValueError when it is none."""
    found = _RANGE.fullmatch(value)
    if found is None:
        if not re.fullmatch(r"\s*[0-9.:]+\s*", value):
            raise ValueError(f"{value!r} is neither a {'date' if vr == 'DA' else 'time'} nor a range")
        return value, value
    if not any(found.groups()):
        raise ValueError("a range needs at least one end")
    return found[1], found[2]


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else "\\".join(value)


def is_universal(vr: str, value: str | Sequence[str]) -> bool:
    """Does the key match everything (C.2.2.2.3)?"""
    text = _text(value)
    return not text or (vr in _WILD and not text.strip("*"))


# ---- SQL
def condition(
    column: str, vr: str, value: str | Sequence[str], *, wild: Wild = glob, integer: str = "CAST({} AS INTEGER)"
) -> Condition | None:
    """The SQL condition for matching `column` (an expression, never text from a peer) with a key; None: matches
    everything.

    Single value (C.2.2.2.1), list of UIDs (.2), universal (.3), wildcard (.4), range of dates and times (.5), and
    empty value (.7: two quotation marks). Raises ValueError for a range that is none. Person names are compared folded
    by case and accent: who wants less looks at what comes back with `matches`.
    """
    value = _text(value)
    if is_universal(vr, value):
        return None
    if value == '""':
        return f"{column} = ''", []
    if vr == "UI" or ("\\" in value and vr != "PN"):
        wanted = [part.rstrip("\0").strip() for part in value.split("\\") if part.strip("\0 ")]
        if vr == "UI":
            return f"{column} IN ({', '.join('?' * len(wanted))})", wanted
        parts = [condition(column, vr, one, wild=wild, integer=integer) for one in wanted]
        if any(part is None for part in parts):
            return None
        some = [part for part in parts if part]
        return "(" + " OR ".join(sql for sql, _ in some) + ")", [v for _, values in some for v in values]
    if vr in ("DA", "TM"):
        return _dates(column, vr, value)
    if vr in ("IS", "US"):
        return f"{integer.format(column)} = {int(value)} AND {column} <> ''", []
    if vr == "PN":
        return _names(column, value, wild)
    value = value.strip()
    if vr in _WILD and ("*" in value or "?" in value):
        sql, pattern = wild(column, value)
        return sql, [pattern]
    return f"{column} = ?", [value]


def _dates(column: str, vr: str, value: str) -> Condition:
    low, high = span(vr, value)
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


def _names(column: str, value: str, wild: Wild) -> Condition | None:
    """The whole name, or one of its component groups (alphabetic, ideographic, phonetic). A key of several groups is
    looked for by the first that says something."""
    pattern = next((group for group in fold_name(value).split("=") if group.strip("*")), "")
    if not pattern:
        return None
    if not ("*" in pattern or "?" in pattern):
        exact, rest = f"{column} = ?", [pattern + "=*", "*=" + pattern, "*=" + pattern + "=*"]
        found = [wild(column, form) for form in rest]
        return "(" + " OR ".join([exact, *(sql for sql, _ in found)]) + ")", [pattern, *(v for _, v in found)]
    forms = [pattern]
    if not (pattern.endswith("*") and pattern.startswith("*")):
        forms += [pattern + "=*", "*=" + pattern, "*=" + pattern + "=*"]
    found = [wild(column, form) for form in forms]
    return "(" + " OR ".join(sql for sql, _ in found) + ")", [v for _, v in found]


# ---- values in memory
@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(translate(text.replace("[", "[[]")))


def name_matches(key: str, value: str, fold: Fold) -> bool:
    """A person name: a key of one component group matches any group of the value, one of several each its own."""
    wanted = fold_name(key, fold).split("=")
    groups = fold_name(value, fold).split("=")
    if len(wanted) == 1:
        whole = "=".join(groups)
        return any(_pattern(wanted[0]).match(one) for one in [*groups, whole])
    groups += [""] * (3 - len(groups))
    return all(not want or bool(_pattern(want).match(groups[i])) for i, want in enumerate(wanted[:3]))


def moment(text: str, fill: str, zone: str = "") -> datetime | None:
    """A DT value in UTC where its zone or `zone` says how, what is missing filled up: the earliest moment with "0", the
    last with "9"."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        made = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
        if fill == "9":
            if month is None:
                made = made.replace(month=12)
            if day is None:
                made = (made.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
            made = made.replace(
                hour=int(hour or 23), minute=int(minute or 59), second=int(second or 59),
                microsecond=int((fraction or "").ljust(6, "9")),
            )  # fmt: skip
        else:
            made = made.replace(microsecond=int((fraction or "").ljust(6, "0")))
        return made - zone_offset(offset or zone)
    except (ValueError, OverflowError):
        return None


def zone_offset(zone: str) -> timedelta:
    """`+0130` and the like (PS3.3 C.12.1.1.8); nothing said is none."""
    found = re.fullmatch(r"\s*([+-])(\d\d)(\d\d)\s*", zone)
    if found is None:
        return timedelta()
    away = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -away if found[1] == "-" else away


def _moments(key: str, value: str, zone: str) -> bool:
    """DT: a minus sign is the sign of an offset when four digits and the end, or another minus, follow it."""
    parts = re.fullmatch(r"([0-9.]*(?:[+-]\d{4})?)-([0-9.]*(?:[+-]\d{4})?)", key.strip())
    single = _MOMENT.fullmatch(key.strip())
    low, high = (key, key) if single else (parts[1], parts[2]) if parts else ("?", "?")
    if low == "?" or not (low or high):
        raise ValueError(f"{key!r} is neither a date and time nor a range")
    first, last = moment(value, "0", zone), moment(value, "9", zone)
    if first is None or last is None:
        return False
    begin, end = moment(low, "0", zone), moment(high, "9", zone)
    return (begin is None or last >= begin) and (end is None or first <= end)


def matches(
    vr: str, key: Any, value: str | Sequence[Mapping[str, Any]], *, fold: Fold = "case", zone: str = ""
) -> bool:
    """Does a value, given as its text with all its values, match the key? A sequence matches when one item matches all
    keys of the key's item (C.2.2.2.6). ValueError for a key that is none."""
    if vr == "SQ":
        items = [] if isinstance(value, str) else value
        wanted = key[0] if key else {}
        return not any(wanted.values()) or any(
            all(matches(_vr(name), one, item.get(name, ""), fold=fold, zone=zone) for name, one in wanted.items())
            for item in items
        )
    key = _text(key)
    text = value if isinstance(value, str) else ""
    if is_universal(vr, key):
        return True
    if key == '""':
        return not text
    ours = [one.strip("\0 ") for one in text.split("\\")] if vr not in ("LT", "ST", "UT", "UR") else [text.rstrip()]
    keys = [key] if vr in ("LT", "ST", "UT", "UR", "PN") else [one for one in key.split("\\") if one.strip("\0 ")]
    return any(_one(vr, one.strip("\0 "), mine, fold, zone) for one in keys for mine in ours)


def _one(vr: str, key: str, value: str, fold: Fold, zone: str) -> bool:
    if vr == "PN":
        return name_matches(key, value, fold)
    if vr == "DT":
        return _moments(key, value, zone)
    if vr in ("DA", "TM"):
        low, high = span(vr, key)
        mine = full_date(value) if vr == "DA" else full_time(value)
        first, last = (full_date(low), full_date(high)) if vr == "DA" else (full_time(low), full_time(high, "9"))
        return bool(mine) and (not first or mine >= first) and (not last or mine <= last)
    if vr in ("IS", "SS", "US", "SL", "UL", "SV", "UV"):
        try:
            return int(value) == int(key)
        except ValueError:
            int(key)
            return False
    if vr in ("DS", "FL", "FD"):
        try:
            return float(value) == float(key)
        except ValueError:
            float(key)
            return False
    if vr in _WILD and ("*" in key or "?" in key):
        return bool(_pattern(key).match(value))
    return key == value


def _vr(keyword: str) -> str:
    from dicore.dataset.dictionary import keyword_to_tag, tag_vr

    tag = keyword_to_tag(keyword)
    return (tag_vr(tag) if tag is not None else None) or "UN"
