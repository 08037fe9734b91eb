"""De-identifiers of one CT in memory: bytes of a file in, bytes of the new file out. dicore, dicognito, deid,
dicom-anonymizer.

The peers need pydicom alone, so each may live in any environment; those that are installed take part."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pydicom

Deidentifier = Callable[[bytes], bytes]
KEY = bytes(range(32))


def by_dicore() -> Deidentifier:
    from dicore.deidentify import deidentify_bytes

    return lambda data: deidentify_bytes(data, key=KEY)


def by_dicore_dataset() -> Deidentifier:
    import dicore

    return lambda data: bytes(dicore.deidentify(dicore.read(data), key=KEY).part10_bytes())


def _around(change: Callable[[pydicom.Dataset], object]) -> Deidentifier:
    def run(data: bytes) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(data))
        changed = change(ds)
        out = io.BytesIO()
        (changed if isinstance(changed, pydicom.Dataset) else ds).save_as(out)
        return out.getvalue()

    return run


def by_dicognito() -> Deidentifier:
    from dicognito.anonymizer import Anonymizer

    return _around(Anonymizer(seed="dicore").anonymize)


def by_dicom_anonymizer() -> Deidentifier:
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

    return _around(anonymize_dataset)


def by_deid() -> Deidentifier:
    """Its default recipe, in memory; deid wants paths only for its bookkeeping."""
    from deid.config import DeidRecipe
    from deid.dicom import replace_identifiers

    recipe = DeidRecipe()
    logging.getLogger("deid").setLevel(logging.CRITICAL)

    def change(ds: pydicom.Dataset) -> pydicom.Dataset:
        [changed] = replace_identifiers([ds], deid=recipe, save=False, remove_private=True, strip_sequences=False)
        return changed  # type: ignore[no-any-return]

    return _around(change)


def deidentifiers() -> dict[str, Deidentifier]:
    """Every one that is installed, dicore first."""
    found: dict[str, Deidentifier] = {"dicore (bytes)": by_dicore(), "dicore.deidentify(ds)": by_dicore_dataset()}
    for name, make in (("dicognito", by_dicognito), ("dicom-anonymizer", by_dicom_anonymizer), ("deid", by_deid)):
        try:
            found[name] = make()
        except ImportError:
            continue
    return found
