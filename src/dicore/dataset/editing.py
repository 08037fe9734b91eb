"""What edits, `dicore.new` and `Dataset.write` are made of: Python values to encoded elements, and files written whole.

An encoded element is bytes: header and value in explicit VR, in the byte order of the data set it goes to. The native
half records such elements and splices them in; nothing here moves a byte of what is not changed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from dicore import uid
from dicore._native.dataset import DatasetBase, FileSpan, keyword_to_tag
from dicore.dataset.encode import Fragments, charset_names, encode_element
from dicore.errors import CharacterSetError, TransferSyntaxError

if TYPE_CHECKING:
    from dicore.dataset.dataset import Dataset

__all__ = ["DELETE", "Delete"]

CHARSET: Final = 0x00080005
PIXEL_DATA: Final = 0x7FE00010
_TEXT = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})  # by Specific Character Set (PS3.5 6.1.2.3)

Change = tuple[int, int, bytes | None]  # tape index of the item or 0, tag, element or None (deleted)


class Delete:
    """The type of DELETE."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DELETE"

    def __reduce__(self) -> str:
        return "DELETE"


DELETE: Final = Delete()
"""As a value in `Dataset.edit`: the element shall not be there."""


def parse_key(key: Any) -> int:
    """The tag of a keyword, 'gggg,eeee', an int or a pair, for a data set that is made from nothing."""
    if isinstance(key, str):
        tag = keyword_to_tag(key)
        if tag is None:
            digits = key[:4] + key[5:] if key[4:5] == "," else key
            if len(digits) != 8 or not digits.isalnum():
                raise ValueError(f"{key!r} is no keyword or tag of DICOM")
            tag = int(digits, 16)
        return tag
    if isinstance(key, tuple):
        group, element = key
        return int(group) << 16 | int(element)
    return int(key)


def sop_class_uid(text: str) -> str:
    """The UID of a SOP class: the UID itself, or its name with or without spaces. ValueError."""
    if uid.is_valid(text):
        return text
    wanted = text.casefold().replace(" ", "")
    for known in uid.SOP_CLASSES:
        if uid.name(known).casefold().replace(" ", "") == wanted:
            return known
    raise ValueError(f"no SOP class is called {text!r}: give its UID")


def is_plain(raw: Any) -> bool:
    """Whether text is the same in every character set: ASCII without escape sequences."""
    text = bytes(raw)
    return text.isascii() and b"\x1b" not in text


def names_of(value: Any) -> tuple[str, ...]:
    return charset_names(value.value if hasattr(value, "VR") else value)


def element_of(where: Dataset, tag: int, value: Any, names: tuple[str, ...], vr: str | None = None) -> bytes:
    """The encoded element for a new value of `tag` in `where`, with text in `names`."""
    if hasattr(value, "VR") and hasattr(value, "value"):  # Typed, our Element, pydicom's DataElement
        vr, value = value.VR, value.value
        if vr == "UN" and value is not None and not isinstance(value, (bytes, bytearray, memoryview)):
            vr = None
    if tag >> 16 == 0xFFFE or (tag >> 16 in (0, 2) and where._around() is None and not where._is_meta()):
        hint = "; group 0002 is in file_meta" if tag >> 16 == 2 else ""
        raise ValueError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is no element of a data set{hint}")
    if vr is None or " " in vr:  # 'US or SS'
        vr = where._current_vr(tag)
    if vr is None:
        if isinstance(value, (bytes, bytearray, memoryview)):
            vr = "UN"
        else:
            raise ValueError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}): its VR is not known; say it: Typed('LO', value)")
    big = where._is_big()
    if vr == "SQ" and not isinstance(value, (bytes, bytearray, memoryview)):
        try:
            items = [item_bytes(item, where, names, big) for item in _items(value)]
        except ValueError as error:
            raise ValueError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) SQ: {error}") from None
        return encode_element(tag, vr, items, big=big)
    if tag == PIXEL_DATA and isinstance(value, (bytes, bytearray, memoryview)) and not isinstance(value, Fragments):
        head = bytes(memoryview(value)[:4])
        if head == b"\xfe\xff\x00\xe0" and not big and _is_encapsulated(where.transfer_syntax):
            value = Fragments(bytes(value))
    return encode_element(tag, vr, value, names, big=big)


def _is_encapsulated(syntax: str) -> bool:
    known = uid.TRANSFER_SYNTAXES.get(syntax)
    return known.encapsulated if known is not None else syntax not in uid.UNCOMPRESSED and syntax != uid.DEFLATED


def _items(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    if isinstance(value, (DatasetBase, Mapping)) or hasattr(value, "to_json_dict"):
        raise ValueError("a sequence takes a list of items")
    return value  # type: ignore[no-any-return]


def item_bytes(item: Any, where: Dataset, names: tuple[str, ...], big: bool) -> bytes:
    """An item for a sequence of `where`: a Dataset (copied), a mapping of keywords or tags to values, a pydicom
    Dataset, or the bytes of its elements."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, DatasetBase):
        more: list[Change] = []
        own: Any = item
        if own._character_sets() != names and CHARSET not in own and _has_own_text(own):
            more.append(
                (own._index(), CHARSET, encode_element(CHARSET, "CS", list(own._character_sets()), big=own._is_big()))
            )
        return bytes(own._spliced(b"", more, 3 if big else 1, 0, False))
    if hasattr(item, "to_json_dict"):  # pydicom's
        from dicore.dataset.dataset import from_pydicom

        return item_bytes(from_pydicom(item), where, names, big)
    if isinstance(item, Mapping):
        from dicore.dataset.dataset import Dataset

        fresh = Dataset.from_bytes(b"", transfer_syntax=uid.EXPLICIT_BIG if big else uid.EXPLICIT_LITTLE)
        given = {parse_key(key): value for key, value in item.items()}
        if CHARSET in given:
            names = names_of(given[CHARSET])
        changes: list[Change] = []
        for tag in sorted(given):  # creators before what they reserve
            fresh._record(tag, element_of(fresh, tag, given[tag], names))
        return bytes(fresh._spliced(b"", changes, -1, 0, False))
    raise ValueError(f"an item is a Dataset or a mapping, not {type(item).__name__}")


def _has_own_text(dataset: Dataset) -> bool:
    return any(
        element.vr in _TEXT and not is_plain(element.raw) for place in _sharing(dataset, ()) for element in place
    )


def _sharing(dataset: Dataset, stop: Iterable[int]) -> Iterable[Dataset]:
    """`dataset` and the items below that have no character set of their own."""
    yield dataset
    for element in dataset:
        if element.vr == "SQ" and element.tag not in stop:
            for item in element.value:
                if CHARSET not in item or item["SpecificCharacterSet"].is_empty:
                    yield from _sharing(item, ())


def transcoded(dataset: Dataset, names: tuple[str, ...], given: Iterable[int]) -> list[tuple[Dataset, int, bytes]]:
    """The text of `dataset` and of the items that share its character set, in `names`: (data set, tag, element) for
    each value that is not the same in both. `given` are elements of `dataset` that get another value anyway.

    Raises CharacterSetError when text does not go into `names`, or cannot be read by the set it is in."""
    found = []
    for place in _sharing(dataset, given):
        for element in place:
            if element.vr not in _TEXT or (place is dataset and element.tag in given) or is_plain(element.raw):
                continue
            raw = bytes(element.raw)
            text, problem = place._decode_text(raw, element.vr == "PN", element.vr in ("ST", "LT", "UT"))
            if problem is not None:
                raise CharacterSetError(
                    f"cannot be brought into another character set: {problem}", tag_path=f"{int(element.tag):08X}"
                )
            value = text.rstrip("\0 ")
            found.append((place, int(element.tag), encode_element(
                int(element.tag), element.vr, value if element.vr in ("ST", "LT", "UT") else value.split("\\"), names,
                big=place._is_big())))  # fmt: skip
    return found


# ---- files -----------------------------------------------------------------------------------------------------------


def target_syntax(dataset: Dataset, wanted: str | None) -> str:
    """The UID of the transfer syntax to write: TransferSyntaxError when that takes more than re-encoding headers."""
    current = dataset.transfer_syntax
    if wanted is None:
        named = dataset.file_meta.get("TransferSyntaxUID") if dataset.file_meta.is_edited else None
        wanted = str(named) if named else current
    syntax = uid.TRANSFER_SYNTAXES.get(wanted)
    target = syntax.uid if syntax else wanted
    if syntax is None and not uid.is_valid(wanted):
        target = uid.transfer_syntax(wanted).uid  # by keyword or name; ValueError
    if target == current:
        return target
    if target not in uid.UNCOMPRESSED and target != uid.DEFLATED:
        raise TransferSyntaxError(
            f"{uid.name(target)} is not one that headers are rewritten to",
            path=dataset.path,
            expected="dicore.transcode",
        )
    if _is_encapsulated(current) and "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise TransferSyntaxError(
            f"the frames are compressed ({uid.name(current)})",
            path=dataset.path,
            expected=f"dicore.transcode to get to {uid.name(target)}",
        )
    return target


ENCODINGS = {uid.IMPLICIT_LITTLE: 0, uid.EXPLICIT_LITTLE: 1, uid.DEFLATED: 1, uid.EXPLICIT_BIG: 3}


def _hold(path: Path, pieces: list[Any]) -> None:
    """Keep the file open that is about to be replaced, when values of the data set are still to be read from it."""
    spans = [piece for piece in pieces if isinstance(piece, FileSpan)]
    if spans:
        with contextlib.suppress(FileNotFoundError):
            old = path.stat()
            for span in spans:
                span.hold(old.st_dev, old.st_ino)


def write_pieces(target: str | os.PathLike[str] | BinaryIO, pieces: list[Any], fsync: bool) -> None:
    """To a binary file object; or to a path, atomically: a temporary file beside it that is renamed when it is
    whole."""
    if not isinstance(target, str) and not hasattr(target, "__fspath__"):
        for piece in pieces:
            for part in piece if isinstance(piece, FileSpan) else (piece,):
                target.write(part)
        return
    path = Path(target)
    mode = None
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode & 0o7777
        path = path.resolve()  # what a link names is replaced, not the link
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            for piece in pieces:
                if isinstance(piece, FileSpan):
                    piece.copy_to(file.fileno())
                    continue
                view = memoryview(piece)
                while len(view):
                    view = view[file.write(view) :]
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if fsync:
                os.fsync(file.fileno())
        _hold(path, pieces)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if fsync:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
