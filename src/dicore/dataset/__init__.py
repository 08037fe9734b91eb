"""Data sets: reading DICOM files and looking into them. `dicore.read` is the way in."""

from __future__ import annotations

from dicore._native.dataset import Element, PersonName, Tag, Warning, select
from dicore.dataset.dataset import Dataset, dcmread, from_pydicom, new, read
from dicore.dataset.editing import DELETE
from dicore.dataset.encode import Typed

__all__ = [
    "DELETE",
    "Dataset",
    "Element",
    "PersonName",
    "Tag",
    "Typed",
    "Warning",
    "dcmread",
    "from_pydicom",
    "new",
    "read",
    "select",
]
