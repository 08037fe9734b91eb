"""Which columns a scan gives: elements by keyword, tag or path, and their types by the data dictionary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dicore._native import scan as native
from dicore._native.dataset import dictionary_entry, keyword_to_tag
from dicore.dataset.charset import charset_for

__all__ = ["DEFAULT_TAGS", "Field", "TagLike", "decode", "make_request", "resolve"]

TagLike = str | int | tuple[int, int]

#: What `scan` asks for when it is not told: the attributes by which images are found and sorted.
DEFAULT_TAGS = (
    "PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "StudyDescription", "SeriesInstanceUID",
    "SeriesNumber", "SeriesDescription", "Modality", "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows",
    "Columns", "TransferSyntaxUID",
)  # fmt: skip

_UNIQUE = frozenset({0x00080018, 0x00020003})  # of each instance its own: a dictionary of them would not pay
_STEP = re.compile(
    r"(?:(?P<group>[0-9A-Fa-f]{4}),?(?P<element>[0-9A-Fa-f]{4})|(?P<keyword>[A-Z]\w*))(?:\[(?P<item>\d{1,9})\])?\Z",
    re.A,
)


class Field(NamedTuple):
    """A column: its `name`, and its `type` as Arrow calls it ('utf8', 'int64', 'date32', 'list<float64>', ...)."""

    name: str
    type: str


class Column(NamedTuple):
    name: str
    steps: tuple[tuple[int, int], ...]
    vr: str
    kind: int
    flags: int

    @property
    def field(self) -> Field:
        kind = native.TYPES[self.kind]
        if self.flags & native.LIST:
            return Field(self.name, f"list<{kind}>")
        return Field(self.name, f"dictionary<{kind}>" if self.flags & native.DICTIONARY else kind)


PATH = Column("path", (), "LO", 0, 0)


def resolve(tag: TagLike, *, dictionary: bool = True) -> Column:
    """The column of a keyword ('PatientID'), a tag (0x00100020, (0x10, 0x20), '0010,0020') or a path
    ('ReferencedStudySequence[0].ReferencedSOPInstanceUID'). ':VR' behind a text gives the VR of an element that the
    dictionary does not know: '0019,1001:DS'. ValueError for what is none of these, or a sequence."""
    wanted: str | None = None
    if isinstance(tag, str):
        name, _, vr = tag.partition(":")
        wanted = vr or None
        parts = name.split(".")
    else:
        number = tag[0] << 16 | tag[1] if isinstance(tag, tuple) else int(tag)
        if not 0 <= number <= 0xFFFFFFFF:
            raise ValueError(f"no tag: {tag!r}")
        entry = dictionary_entry(number)
        name = entry[3] if entry and entry[3] else f"{number >> 16:04X},{number & 0xFFFF:04X}"
        parts = [name]
    steps = []
    for position, part in enumerate(parts):
        match = _STEP.match(part)
        last = position == len(parts) - 1
        if match is None:
            raise ValueError(f"{tag!r}: {part!r} is no keyword, tag or path of DICOM")
        found = int(match["group"] + match["element"], 16) if match["group"] else keyword_to_tag(part.partition("[")[0])
        if found is None:
            raise ValueError(f"{tag!r}: there is no keyword {part.partition('[')[0]!r}")
        if last and match["item"] is not None:
            raise ValueError(f"{tag!r} is an item: name an element in it, as {tag}.SOPInstanceUID")
        if not last and match["item"] is None:
            raise ValueError(f"{tag!r}: {part!r} needs the number of an item, as {part}[0]")
        steps.append((found, int(match["item"] or 0)))
    if len(steps) > native.STEPS_MAX:
        raise ValueError(f"{tag!r}: more than {native.STEPS_MAX} steps")
    entry = dictionary_entry(steps[-1][0])
    vrs = (wanted,) if wanted else entry[0] if entry and entry[0] else ("LO",)
    if "SQ" in vrs:
        raise ValueError(f"{tag!r} is a sequence: name an element in it, as {name}[0].SOPInstanceUID")
    several = wanted is None and entry is not None and entry[1] not in ("1", "")
    kind, flags = native.column_type(vrs[0], several, set(vrs) >= {"US", "SS"})
    if steps[-1][0] in _UNIQUE or not dictionary:
        flags &= ~native.DICTIONARY
    return Column(name, tuple(steps), vrs[0], kind, flags)


def decode(raw: bytes, charset: bytes, vr: str) -> bytes:
    """UTF-8 of a text value in whatever character set; bytes that it does not have become U+FFFD."""
    names = tuple(part.strip(" \0") for part in charset.decode("latin-1").split("\\")) if charset else ()
    text = charset_for(names).decode(raw, b"\\^=" if vr == "PN" else b"\\").text
    return text.encode("utf-8", "replace")


def make_request(
    tags: Sequence[TagLike], hidden: Iterable[str], *, dictionary: bool, io: str, limit: int
) -> tuple[native.Request, tuple[Column, ...]]:
    """The request and its columns: the path, `tags`, and behind them the `hidden` ones, which are not given away."""
    columns = [PATH]
    names = {"path"}
    for tag in tags:
        column = resolve(tag, dictionary=dictionary)
        if column.name in names:
            raise ValueError(f"{column.name} is asked for twice")
        names.add(column.name)
        columns.append(column)
    visible = len(columns)
    columns += [resolve(name) for name in dict.fromkeys(hidden) if name.partition(":")[0] not in names]
    if len(columns) > native.COLUMNS_MAX:
        raise ValueError(f"more than {native.COLUMNS_MAX} columns")
    if io not in native.IO:
        raise ValueError(f"io is one of {', '.join(native.IO)}, not {io!r}")
    request = native.Request(list(columns), visible, decode, native.IO[io], limit)
    return request, tuple(columns)
