"""Data sets: reading DICOM files and looking into them. `dicore.read` is the way in."""

from __future__ import annotations

from dicore._native.dataset import Element, PersonName, Tag, Warning, select
from dicore.dataset.dataset import Dataset, dcmread, read

__all__ = ["Dataset", "Element", "PersonName", "Tag", "Warning", "dcmread", "read", "select"]
