"""Queries as C-FIND has them: what the index holds is matched there, the rest on records of what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from dicore.dataset.charset import decode_text
from dicore.dataset.dictionary import keyword_to_tag, tag_to_keyword, tag_vr
from dicore.store import match
from dicore.store.index import UNIQUE, level_of

if TYPE_CHECKING:
    from dicore.dataset import Dataset
    from dicore.store.store import Store

# they say how to answer, not what to look for
NOT_KEYS = frozenset({"SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle", "TimezoneOffsetFromUTC",
                      "InstanceAvailability", "StorageMediaFileSetID", "StorageMediaFileSetUID"})  # fmt: skip
_TEXT = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)


def text_of(dataset: Dataset) -> dict[str, Any]:
    """The elements of a data set as text by keyword, all values of one joined by backslashes; sequences as lists of
    such. Group lengths, private and bulk elements are left out."""
    charsets: tuple[str, ...] = ("",)
    if "SpecificCharacterSet" in dataset:
        charsets = tuple(bytes(dataset["SpecificCharacterSet"].raw).decode("latin-1").strip("\0 ").split("\\"))
    return {
        keyword: value_of(dataset[keyword], charsets)
        for element in dataset
        if (keyword := tag_to_keyword(element.tag)) and element.tag & 0xFFFF and element.VR not in ("OB", "OW", "UN")
    }


def value_of(element: Any, charsets: tuple[str, ...]) -> Any:
    if element.VR == "SQ":
        return [text_of(item) for item in element.value]
    if element.VR in _TEXT:
        text = (
            decode_text(bytes(element.raw), charsets)
            if element.VR not in ("UI", "CS", "DA", "TM")
            else bytes(element.raw).decode("latin-1")
        )
        return text.strip("\0 ")
    value = element.value
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def keys_of(identifier: Mapping[str, Any] | Dataset) -> dict[str, Any]:
    from dicore.dataset import Dataset

    if isinstance(identifier, Dataset):
        return text_of(identifier)
    keys = {}
    for keyword, value in identifier.items():
        if keyword_to_tag(keyword) is None:
            raise ValueError(f"{keyword!r} is not a keyword of the data dictionary")
        keys[keyword] = value if value is not None else ""
    return keys


def run(
    store: Store, level: str, keys: dict[str, Any], *, fold: match.Fold, combined: bool, limit: int | None
) -> Iterator[dict[str, Any]]:
    level = level_of(level)
    zone = str(keys.get("TimezoneOffsetFromUTC", "") or "")
    names = store._index.names(level)
    asked = {k: v for k, v in keys.items() if k not in NOT_KEYS}
    indexed = {k: v for k, v in asked.items() if k in names}
    others = {k: v for k, v in asked.items() if k not in names}
    vrs = {k: tag_vr(keyword_to_tag(k) or 0) or "UN" for k in others}
    for k, v in others.items():  # a key that is none is said now
        if v and not isinstance(v, list):
            match.matches(vrs[k], v, "0" if vrs[k] in ("IS", "US", "DS") else "20000101", fold=fold)
    above = list(UNIQUE)[: list(UNIQUE).index(level) + 1]
    wanted = [UNIQUE[name] for name in above] + [k for k in indexed if k not in (UNIQUE[name] for name in above)]
    if "TimezoneOffsetFromUTC" in keys and "TimezoneOffsetFromUTC" in names:
        wanted.append("TimezoneOffsetFromUTC")
    rows = store._index.select(level, indexed, wanted, fold=fold, combined=combined, zone=zone, first=bool(others))
    if others:
        rows = _from_records(store, rows, others, vrs, fold, combined, zone)
    return islice(rows, limit)


def _from_records(
    store: Store,
    rows: Iterator[dict[str, Any]],
    others: Mapping[str, Any],
    vrs: Mapping[str, str],
    fold: match.Fold,
    combined: bool,
    zone: str,
) -> Iterator[dict[str, Any]]:
    moments = _pairs(others, vrs) if zone or combined else []
    paired = {keyword for pair in moments for keyword in pair}
    zoned = bool(moments) or "DT" in vrs.values()
    for row in rows:
        uid = row.pop("")
        try:
            dataset = store[uid]
        except KeyError:  # deleted since
            continue
        charsets: tuple[str, ...] = ("",)
        if "SpecificCharacterSet" in dataset:
            charsets = tuple(bytes(dataset["SpecificCharacterSet"].raw).decode("latin-1").strip("\0 ").split("\\"))
        values = {k: value_of(dataset[k], charsets) if k in dataset else "" for k in others}
        also = {*paired, "TimezoneOffsetFromUTC"} - values.keys() if zoned else ()
        known = {**values, **{k: value_of(dataset[k], charsets) if k in dataset else "" for k in also}}
        own = known.get("TimezoneOffsetFromUTC", "")
        if all(
            match.matches(vrs[k], key, values[k], fold=fold, zone=zone, own=own)
            for k, key in others.items()
            if k not in paired
        ) and all(match.in_time(pair, others, known, combined=combined, zone=zone) for pair in moments):
            yield {**row, **values}


def _pairs(others: Mapping[str, Any], vrs: Mapping[str, str]) -> list[tuple[str, str]]:
    """The dates and times that are one moment: AcquisitionDate and AcquisitionTime."""
    found = {}
    for keyword in others:
        if vrs[keyword] in ("DA", "TM"):
            pair = f"{keyword[:-4]}Date", f"{keyword[:-4]}Time"
            if keyword in pair and [tag_vr(keyword_to_tag(one) or 0) for one in pair] == ["DA", "TM"]:
                found[pair] = True
    return list(found)
