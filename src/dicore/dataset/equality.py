"""When two data sets are equal: the same elements in the same order, by tag, VR and value."""

from __future__ import annotations

from dicore._native.dataset import DatasetBase, Element
from dicore.errors import DicoreError

__all__ = ["same_elements"]


def same_elements(left: DatasetBase, right: DatasetBase) -> bool:
    """Elements of both compared pair by pair, without recursion. Two values are equal when Python says so, or when they
    have the same bytes in the same byte order (a NaN is then equal to itself)."""
    pending = [(left, right)]
    while pending:
        a, b = pending.pop()
        if len(a) != len(b):
            return False
        for one, other in zip(a, b, strict=True):
            if one.tag != other.tag or one.vr != other.vr:
                return False
            if one.vr == "SQ":
                if len(one.value) != len(other.value):
                    return False
                pending.extend(zip(one.value, other.value, strict=True))
            elif not _same_value(a, one, b, other):
                return False
    return True


def _same_value(a: DatasetBase, one: Element, b: DatasetBase, other: Element) -> bool:
    same_way = a.is_little_endian == b.is_little_endian and a._character_sets() == b._character_sets()
    if same_way and one.length == other.length and one.raw == other.raw:
        return True
    try:
        return bool(one.value == other.value)
    except DicoreError:  # a value that cannot be decoded under `strict`
        return False
