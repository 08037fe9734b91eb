"""Attribute matching of PS3.4 C.2.2.2: as SQL conditions over the columns of the index, and over values in memory."""

from __future__ import annotations

import contextlib
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


GROUPS = ("a", "i", "p")  # the component groups of a name: alphabetic, ideographic, phonetic (PS3.5 6.2.1)


def name_groups(name: str) -> tuple[str, str, str]:
    """The component groups of a name, each folded by case and accent: what the index compares by."""
    groups = [*fold_name(name).split("="), "", "", ""]
    return groups[0], groups[1], groups[2]


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


def above(prefix: str) -> str | None:
    """The least text that is greater than every text with this prefix, by code points; None: there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if code <= 0x10FFFF:
            return prefix[:at] + chr(0xE000 if code == 0xD800 else code)
    return None


def _wildcard(column: str, pattern: str, wild: Wild) -> Condition:
    """A pattern, its beginning as a range, which an index can be searched for; what a range says in full is not
    matched again."""
    prefix = re.split(r"[*?]", pattern, maxsplit=1)[0]
    top = above(prefix)
    conditions, values = [], []
    if prefix:
        conditions.append(f"{column} >= ?")
        values.append(prefix)
        if top is not None:
            conditions.append(f"{column} < ?")
            values.append(top)
    if top is None or pattern[len(prefix) :].strip("*") or pattern == prefix:
        sql, value = wild(column, pattern)
        conditions.append(sql)
        values.append(value)
    return (f"({' AND '.join(conditions)})" if len(conditions) > 1 else conditions[0]), values


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


def share(vr: str, value: str | Sequence[str], *, unique: bool = False) -> float:
    """A guess how large a part of a table a key leaves: by it is told where a search begins. 1: all that a search would
    find is a part that is not worth one."""
    text = _text(value).strip()
    if is_universal(vr, text) or text == '""' or vr in ("IS", "US"):  # numbers are compared as numbers
        return 1.0
    if vr in ("DA", "TM"):
        low, high = span(vr, text)
        if vr == "TM":
            return 0.2 if low and high else 0.5
        with contextlib.suppress(ValueError, OverflowError):
            begin, end = (datetime.strptime(full_date(one), "%Y%m%d") for one in (low, high))
            return min(1.0, max(1, (end - begin).days + 1) / 5000)
        return 0.5
    parts = text.split("\\") if vr != "PN" else [text]
    if vr == "UI" or not any(c in text for c in "*?"):
        return len(parts) * (1e-9 if vr == "UI" else 1e-7 if unique else 1e-4)
    known = [re.split(r"[*?]", one, maxsplit=1)[0] for one in (parts if vr != "PN" else text.split("="))]
    lengths = [len(one.strip("^ ")) for one in known]
    shortest = max(lengths) if vr == "PN" else min(lengths)
    return min(1.0, len(parts) * 0.1**shortest)


# ---- SQL
def condition(
    column: str,
    vr: str,
    value: str | Sequence[str],
    *,
    wild: Wild = glob,
    integer: str = "CAST({} AS INTEGER)",
    first: bool = False,
) -> Condition | None:
    """The SQL condition for matching `column` (an expression, never text from a peer) with a key; None: matches
    everything.

    Single value (C.2.2.2.1), list of UIDs (.2), universal (.3), wildcard (.4), range of dates and times (.5), and
    empty value (.7: two quotation marks). Raises ValueError for a range that is none. A person name is looked for in
    the columns `column`_a, _i and _p (`name_groups`), folded by case and accent: who wants less looks at what comes
    back with `matches`. `first`: the table of the column is the one that is searched, others are joined to it.
    """
    value = _text(value)
    if is_universal(vr, value):
        return None
    if value == '""':
        parts = [f"{column}_{group}" for group in GROUPS] if vr == "PN" else [column]
        return " AND ".join(f"{part} = ''" for part in parts), []
    if vr == "UI" or ("\\" in value and vr != "PN"):
        wanted = [part.rstrip("\0").strip() for part in value.split("\\") if part.strip("\0 ")]
        if vr == "UI":
            return f"{column} IN ({', '.join('?' * len(wanted))})", wanted
        found = [condition(column, vr, one, wild=wild, integer=integer) for one in wanted]
        if any(part is None for part in found):
            return None
        some = [part for part in found if part]
        return "(" + " OR ".join(sql for sql, _ in some) + ")", [v for _, values in some for v in values]
    if vr in ("DA", "TM"):
        return _dates(column, vr, value)
    if vr in ("IS", "US"):
        return f"{integer.format(column)} = {int(value)} AND {column} <> ''", []
    if vr == "PN":
        return _names(column, value, wild, first)
    value = value.strip()
    if vr in _WILD and ("*" in value or "?" in value):
        return _wildcard(column, value, wild)
    return f"{column} = ?", [value]


def _dates(column: str, vr: str, value: str) -> Condition:
    low, high = span(vr, value)
    if vr == "DA":
        first, last = full_date(low), full_date(high)
    else:
        first, last = full_time(low), full_time(high, "9")
    # both ends always: what a range lacks lies beyond all digits. With one end a planner thinks it half of the table
    begin = f"{column} >= ?" if first else f"{column} > ''"
    end = f"{column} <= ?" if last else f"{column} < ':'"
    return f"({begin} AND {end})", [one for one in (first, last) if one]


def around(column: str, value: str, days: int) -> Condition | None:
    """A range of dates (or one date) with so many days before and behind it; None: neither end is one."""
    ends = []
    for text, step in zip(span("DA", value), (-days, days), strict=True):
        try:
            moved = datetime.strptime(full_date(text), "%Y%m%d") + timedelta(days=step)
            ends.append(moved.strftime("%Y%m%d"))
        except (ValueError, OverflowError):
            ends.append("")
    return _dates(column, "DA", f"{ends[0]}-{ends[1]}") if any(ends) else None


def _names(column: str, value: str, wild: Wild, first: bool) -> Condition | None:
    """A key of one component group may be any group of the name; one of several has each of them looked for in its
    own (PS3.4 C.2.2.2.4)."""
    wanted = fold_name(value).split("=")[:3]
    single = len(wanted) == 1
    found = []
    for number, group in enumerate(GROUPS):
        pattern = wanted[0] if single else wanted[number] if number < len(wanted) else ""
        if pattern.strip("*"):
            part = f"{column}_{group}"
            wilds = "*" in pattern or "?" in pattern
            found.append(_wildcard(part, pattern, wild) if wilds else (f"{part} = ?", [pattern]))
    if not found:
        return None
    values = [v for _, some in found for v in some]
    table, dot, _ = column.rpartition(".")
    if not single or not dot or not first:
        joined = (" OR " if single else " AND ").join(sql for sql, _ in found)
        return f"({joined})", values
    # each by its own index: of three ranges with OR between them a planner thinks that reading all is no more
    searches = " UNION ALL ".join(f"SELECT {table}.id FROM {table} WHERE {sql}" for sql, _ in found)
    return f"{table}.id IN ({searches})", values


# ---- values in memory
@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(translate(text.replace("[", "[[]")))


def name_matches(key: str, value: str, fold: Fold) -> bool:
    """A person name: a key of one component group matches any group of the value, one of several each its own."""
    wanted = fold_name(key, fold).split("=")
    groups = fold_name(value, fold).split("=")
    if len(wanted) == 1:
        return any(_pattern(wanted[0]).match(one) for one in groups)
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


def in_zone(date: str, clock: str, own: str, zone: str) -> tuple[str, str]:
    """A date and a time, given in the zone `own`, as they are in `zone`. As they are when a zone is not known, or no
    time."""
    if not (own and zone and date and clock):
        return date, clock
    try:
        moved = datetime.strptime(date + clock, "%Y%m%d%H%M%S%f") + zone_offset(zone) - zone_offset(own)
    except (ValueError, OverflowError):
        return date, clock
    return moved.strftime("%Y%m%d"), moved.strftime("%H%M%S%f")


def in_time(
    pair: tuple[str, str], keys: Mapping[str, Any], found: Mapping[str, str], *, combined: bool, zone: str
) -> bool:
    """Do a date and a time match their keys, as one range of moments when `combined`, in the zone of the query, where
    TimezoneOffsetFromUTC in `found` says what theirs is? (PS3.4 C.2.2.2.5)"""
    own = found.get("TimezoneOffsetFromUTC", "")
    date, clock = in_zone(full_date(found[pair[0]]), full_time(found[pair[1]]), own, zone)
    day, hour = str(keys.get(pair[0], "")), str(keys.get(pair[1], ""))
    if not combined or not day or not hour or '""' in (day, hour):
        return matches("DA", day, date) and matches("TM", hour, clock)
    (first, last), (begin, end) = span("DA", day), span("TM", hour)
    low = full_date(first) + (full_time(begin) or "000000000000") if first else ""
    high = full_date(last) + (full_time(end, "9") or "235959999999") if last else ""
    mine = date + (clock or "000000000000")
    return bool(date) and (not low or mine >= low) and (not high or mine <= high)


def _moments(key: str, value: str, zone: str, own: str) -> bool:
    """DT: a minus sign is the sign of an offset when four digits and the end, or another minus, follow it."""
    parts = re.fullmatch(r"([0-9.]*(?:[+-]\d{4})?)-([0-9.]*(?:[+-]\d{4})?)", key.strip())
    single = _MOMENT.fullmatch(key.strip())
    low, high = (key, key) if single else (parts[1], parts[2]) if parts else ("?", "?")
    if low == "?" or not (low or high):
        raise ValueError(f"{key!r} is neither a date and time nor a range")
    first, last = moment(value, "0", own or zone), moment(value, "9", own or zone)
    if first is None or last is None:
        return False
    begin, end = moment(low, "0", zone), moment(high, "9", zone)
    return (begin is None or last >= begin) and (end is None or first <= end)


def matches(
    vr: str, key: Any, value: str | Sequence[Mapping[str, Any]], *, fold: Fold = "case", zone: str = "", own: str = ""
) -> bool:
    """Does a value, given as its text with all its values, match the key? A sequence matches when one item matches all
    keys of the key's item (C.2.2.2.6). `zone` is that of the key, `own` that of the value, where its text does not say
    it (DT; for DA and TM see `in_time`). ValueError for a key that is none."""
    if vr == "SQ":
        items = [] if isinstance(value, str) else value
        wanted = key[0] if key else {}
        return not any(wanted.values()) or any(
            all(
                matches(_vr(name), one, item.get(name, ""), fold=fold, zone=zone, own=own)
                for name, one in wanted.items()
            )
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
    return any(_one(vr, one.strip("\0 "), mine, fold, zone, own) for one in keys for mine in ours)


def _one(vr: str, key: str, value: str, fold: Fold, zone: str, own: str) -> bool:
    if vr == "PN":
        return name_matches(key, value, fold)
    if vr == "DT":
        return _moments(key, value, zone, own)
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
