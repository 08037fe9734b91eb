"""Values that a calculation needs: there and of the right kind, or an error that says which, for what, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from dicore._native.dataset import keyword_to_tag
from dicore.errors import DicomFormatError, MissingElement

__all__ = [
    "Code",
    "Elements",
    "code",
    "codes",
    "first",
    "is_there",
    "items",
    "need",
    "number",
    "numbers",
    "shown_tag",
    "text",
    "texts",
]


class Elements(Protocol):
    """What these modules ask of a data set: `dicore.Dataset` is one, pydicom's is nearly one."""

    @property
    def path(self) -> Any: ...
    @property
    def is_little_endian(self) -> bool: ...
    @property
    def transfer_syntax(self) -> str: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def __getitem__(self, key: str) -> Any: ...
    def __contains__(self, key: object) -> bool: ...
    def pixels(self, frames: Any = None, raw: bool = False, out: Any = None, threads: int = 1) -> Any: ...


class Code(NamedTuple):
    """A coded concept (PS3.3 8): its value, the scheme that defines it, and its meaning in words."""

    value: str
    scheme: str
    meaning: str

    def __str__(self) -> str:
        return self.meaning or self.value


def shown_tag(keyword: str) -> str:
    """'PatientWeight (0010,1030)'."""
    tag = keyword_to_tag(keyword)
    return keyword if tag is None else f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _tag_path(keyword: str) -> str | None:
    tag = keyword_to_tag(keyword)
    return None if tag is None else f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


def is_there(ds: Elements, keyword: str) -> bool:
    """True when the element is there and has a value."""
    value = ds.get(keyword)
    return value is not None and not (isinstance(value, (str, bytes, list, tuple)) and not len(value))


def need(ds: Elements, keyword: str, what: str, advice: str = "") -> Any:
    """The value of an element that `what` cannot do without. Raises MissingElement when absent or empty."""
    if not is_there(ds, keyword):
        state = "is empty" if keyword in ds else "is missing"
        where = f"{ds.path}: " if getattr(ds, "path", None) is not None else ""
        raise MissingElement(
            f"{where}{what}: {shown_tag(keyword)} {state}{f'; {advice}' if advice else ''}", tag_path=_tag_path(keyword)
        )
    return ds.get(keyword)


def wrong(ds: Elements, keyword: str, what: str, expected: str) -> DicomFormatError:
    """The error for a value that cannot be used."""
    return DicomFormatError(
        f"{what}: {keyword} is {ds.get(keyword)!r:.80}", path=ds.path, tag_path=_tag_path(keyword), expected=expected
    )


def numbers(ds: Elements, keyword: str, count: int | None, what: str, advice: str = "") -> list[float]:
    """`count` finite numbers (None: any, at least one). Raises MissingElement, DicomFormatError."""
    value = need(ds, keyword, what, advice)
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    try:
        found = [float(v) for v in listed if not isinstance(v, bytes)]
    except (TypeError, ValueError):
        found = []
    if len(found) != len(listed) or (count is not None and len(found) != count) or not all(map(math.isfinite, found)):
        raise wrong(ds, keyword, what, f"{count or 'some'} number{'' if count == 1 else 's'}")
    return found


def number(ds: Elements, keyword: str, what: str, advice: str = "", *, default: float | None = None) -> float:
    """One finite number; `default`, when given, stands for an absent or empty element."""
    if default is not None and not is_there(ds, keyword):
        return default
    return numbers(ds, keyword, 1, what, advice)[0]


def whole(ds: Elements, keyword: str, what: str, advice: str = "", *, default: int | None = None) -> int:
    """As `number`, a whole one."""
    found = number(ds, keyword, what, advice, default=default)
    if found != int(found):
        raise wrong(ds, keyword, what, "a whole number")
    return int(found)


def text(ds: Elements, keyword: str) -> str:
    """Text, '' when absent; of several values the first."""
    value = ds.get(keyword)
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return "" if value is None or isinstance(value, bytes) else str(value).strip(" \0")


def texts(ds: Elements, keyword: str) -> tuple[str, ...]:
    """All values as text."""
    value = ds.get(keyword)
    listed: Sequence[Any] = value if isinstance(value, (list, tuple)) else () if value is None else [value]
    return tuple(str(v).strip(" \0") for v in listed)


def items(ds: Elements, keyword: str) -> Sequence[Any]:
    """The items of a sequence, none when it is absent (or no sequence)."""
    value = ds.get(keyword)
    return value if isinstance(value, list) and (not value or hasattr(value[0], "get")) else ()


def first(ds: Elements, keyword: str) -> Any:
    """The first item of a sequence, or None."""
    found = items(ds, keyword)
    return found[0] if found else None


def code(item: Any) -> Code | None:
    """A coded entry (PS3.3 8.8): Code Value, Long Code Value or URN Code Value. None for no item."""
    if item is None:
        return None
    value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
    return Code(value, text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning"))


def codes(ds: Elements, keyword: str) -> Iterator[Code]:
    """The coded entries of a sequence."""
    for item in items(ds, keyword):
        found = code(item)
        if found is not None:
            yield found
