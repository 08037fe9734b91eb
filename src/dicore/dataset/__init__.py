"""Data sets: reading DICOM files and looking into them. `dicore.read` is the way in.

Values are those of pydicom 3 as int, float, str, bytes, list and PersonName; the tests compare every element of
the corpus. Where the two differ on purpose:

- `ds.get(key)` gives a value for every kind of key; pydicom gives an element when the key is a tag.
- `vr` is one VR: 'US or SS' and the like are always resolved (by Pixel Representation, else US).
- A number whose bytes are no whole number of values is bytes and a warning; pydicom raises.
- Text with an escape sequence to a set that is not declared is decoded, with a warning; pydicom decodes it by the first
  set. The first set comes back at every delimiter (PS3.5 6.1.2.5.3), in a PN at ^ and = too.
- Of an element that stands twice iteration gives both; by name the last one counts, as in pydicom.
- Zero bytes behind the last element are padding, not elements 0000,0000.
- A file cut off inside an element is read up to there, with a warning.
"""

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
