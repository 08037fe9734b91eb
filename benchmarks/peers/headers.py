"""Readers of seven tags of one file: dicore, fastdicom, dicomsdl, each of pydicom's own ways; a reader takes a path.

And readers of every value of every element, which count them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial

KEYWORDS = (*("StudyDate", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "Rows"),)
TAGS = [tag_for_keyword(k) or 0 for k in KEYWORDS]
Reader = Callable[[Path], tuple[Any, ...]]

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # it reads faster so


def _get(ds: Any) -> tuple[Any, ...]:
    return tuple(ds.get(k) for k in KEYWORDS)


def pydicom_plain(path: Path) -> tuple[Any, ...]:
    return _get(pydicom.dcmread(path, stop_before_pixels=True))


def pydicom_specific(path: Path) -> tuple[Any, ...]:
    return _get(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS)))


def pydicom_defer(path: Path) -> tuple[Any, ...]:
    return _get(pydicom.dcmread(path, specific_tags=list(TAGS), defer_size=1024))


def pydicom_partial(path: Path) -> tuple[Any, ...]:
    last = max(TAGS)
    with open(path, "rb") as opened:
        return _get(read_partial(opened, stop_when=lambda tag, vr, length: tag > last, specific_tags=list(TAGS)))


def by_fastdicom(path: Path) -> tuple[Any, ...]:
    import fastdicom

    ds = fastdicom.dcmread(str(path), stop_before_pixels=True)
    return tuple(ds.get(k) for k in KEYWORDS)


def by_dicore(path: Path) -> tuple[Any, ...]:
    import dicore

    ds = dicore.read(path)
    return tuple(ds.get(k) for k in KEYWORDS)


def by_dicomsdl(path: Path) -> tuple[Any, ...]:
    """As its users call it: all of the header is gone through."""
    import dicomsdl

    ds = dicomsdl.open(str(path))
    return tuple(getattr(ds, keyword) for keyword in KEYWORDS)


def by_dicomsdl_until(path: Path) -> tuple[Any, ...]:
    """Told where to stop: behind the last of the seven."""
    import dicomsdl

    ds = dicomsdl.open(str(path), load_until=TAGS[-1])
    return tuple(getattr(ds, keyword) for keyword in KEYWORDS)


def floor(path: Path) -> tuple[Any, ...]:
    """Open, read 8 KiB, close, from Python: no reader can be quicker and be called from it."""
    fd = os.open(path, os.O_RDONLY)
    data = os.pread(fd, 8192, 0)
    os.close(fd)
    return (data,)


PYDICOM: dict[str, Reader] = {
    "dcmread(stop_before_pixels)": pydicom_plain,
    "dcmread(stop_before_pixels, specific_tags)": pydicom_specific,
    "dcmread(specific_tags, defer_size)": pydicom_defer,
    "read_partial(stop_when, specific_tags)": pydicom_partial,
}


def readers() -> dict[str, Reader]:
    """Every reader that is installed, dicore first."""
    found: dict[str, Reader] = {"dicore": by_dicore}
    try:
        import fastdicom  # noqa: F401 only whether it is there
    except ImportError:
        pass
    else:
        found["fastdicom"] = by_fastdicom
    try:
        import dicomsdl  # noqa: F401 only whether it is there
    except ImportError:
        pass
    else:
        found["dicomsdl"] = by_dicomsdl
        found["dicomsdl, stopped behind the last tag"] = by_dicomsdl_until
    return found | {f"pydicom {name}": reader for name, reader in PYDICOM.items()}


# ---- every value of every element ------------------------------------------------------------------------------------


def all_by_dicore(path: Path) -> int:
    """Read the file and decode every element's value, nested ones too: how many there are."""
    import dicore

    count = 0
    for _, element in dicore.read(path).walk():
        _ = element.value
        count += 1
    return count


def all_by_pydicom(path: Path) -> int:
    count = 0
    for element in pydicom.dcmread(path).iterall():
        _ = element.value
        count += 1
    return count


WHOLE: dict[str, Callable[[Path], int]] = {"dicore": all_by_dicore, "pydicom dcmread": all_by_pydicom}
