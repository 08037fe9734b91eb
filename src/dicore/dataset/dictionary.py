"""The data dictionary (PS3.6 chapters 6 to 9, PS3.7 annex E) and the private one, by tag and by keyword."""

from __future__ import annotations

from dicore._native.dataset import dictionary_entry, keyword_to_tag

__all__ = ["keyword_to_tag", "private_vr", "tag_name", "tag_to_keyword", "tag_vr", "tag_vrs"]


def tag_to_keyword(tag: int) -> str:
    """The keyword of a public tag, '' when the standard has none. Repeating groups (60xx) share one."""
    entry = dictionary_entry(tag)
    return entry[3] if entry else ""


def tag_name(tag: int) -> str:
    """The name of a public tag ("Patient's Name"), '' when the standard has none."""
    entry = dictionary_entry(tag)
    return entry[2] if entry else ""


def tag_vrs(tag: int) -> tuple[str, ...]:
    """The VRs that PS3.6 allows for a public tag, () when the standard does not know it."""
    entry = dictionary_entry(tag)
    return entry[0] if entry else ()


def tag_vr(tag: int) -> str | None:
    """The first VR that PS3.6 names for a public tag, None when the standard does not know it."""
    vrs = tag_vrs(tag)
    return vrs[0] if vrs else None


def private_vr(creator: str, tag: int) -> str | None:
    """The VR of a private element by its creator, in any block; None when the private dictionary has none."""
    entry = dictionary_entry(tag, creator)
    return entry[0][0] if entry and entry[0] else None
