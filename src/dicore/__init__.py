"""dicore: a native-accelerated DICOM engine.

Every name below is imported when it is first used, so `import dicore` costs next to nothing and pulls in neither
asyncio nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dicore.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationStateError,
    CharacterSetError,
    CodecUnavailable,
    ConnectionFailed,
    DicomFormatError,
    DicoreError,
    DimseError,
    DuplicateInstance,
    MissingElement,
    NetworkError,
    NetworkTimeout,
    PixelDataError,
    ProtocolViolation,
    StoreCorrupt,
    StoreError,
    StoreFull,
    TransferSyntaxError,
)

if TYPE_CHECKING:  # what `_LAZY` below does at run time
    from dicore import blocking as blocking
    from dicore import loadtest as loadtest
    from dicore import pixel as pixel
    from dicore import synth as synth
    from dicore.dataset import DELETE as DELETE
    from dicore.dataset import Dataset as Dataset
    from dicore.dataset import Typed as Typed
    from dicore.dataset import dcmread as dcmread
    from dicore.dataset import from_json as from_json
    from dicore.dataset import from_pydicom as from_pydicom
    from dicore.dataset import from_xml as from_xml
    from dicore.dataset import new as new
    from dicore.dataset import read as read
    from dicore.deidentify import deidentify as deidentify
    from dicore.net import connect as connect
    from dicore.net import listen as listen
    from dicore.net.send import send as send
    from dicore.pixel.pydicom_plugin import accelerate_pydicom as accelerate_pydicom
    from dicore.scan import scan as scan
    from dicore.scan import scan_batches as scan_batches
    from dicore.series import Series as Series
    from dicore.series import read_series as read_series
    from dicore.series import split_series as split_series
    from dicore.server import serve as serve
    from dicore.store import Store as Store
    from dicore.transcode import transcode as transcode

__version__ = "0.1.0"

_LAZY = {  # public name: (module, name in it; None for the module itself)
    "DELETE": ("dicore.dataset", "DELETE"),
    "Dataset": ("dicore.dataset", "Dataset"),
    "Series": ("dicore.series", "Series"),
    "Store": ("dicore.store", "Store"),
    "Typed": ("dicore.dataset", "Typed"),
    "accelerate_pydicom": ("dicore.pixel.pydicom_plugin", "accelerate_pydicom"),
    "blocking": ("dicore.blocking", None),
    "connect": ("dicore.net", "connect"),
    "dcmread": ("dicore.dataset", "dcmread"),
    "deidentify": ("dicore.deidentify", "deidentify"),
    "from_json": ("dicore.dataset", "from_json"),
    "from_xml": ("dicore.dataset", "from_xml"),
    "from_pydicom": ("dicore.dataset", "from_pydicom"),
    "listen": ("dicore.net", "listen"),
    "loadtest": ("dicore.loadtest", None),
    "new": ("dicore.dataset", "new"),
    "pixel": ("dicore.pixel", None),
    "read": ("dicore.dataset", "read"),
    "read_series": ("dicore.series", "read_series"),
    "scan": ("dicore.scan", None),  # a package that can be called
    "scan_batches": ("dicore.scan", "scan_batches"),
    "send": ("dicore.net", "send"),
    "serve": ("dicore.server", "serve"),
    "split_series": ("dicore.series", "split_series"),
    "synth": ("dicore.synth", None),
    "transcode": ("dicore.transcode", "transcode"),
}

__all__ = [
    "DELETE",
    "AssociationAborted",
    "AssociationRejected",
    "AssociationStateError",
    "CharacterSetError",
    "CodecUnavailable",
    "ConnectionFailed",
    "Dataset",
    "DicomFormatError",
    "DicoreError",
    "DimseError",
    "DuplicateInstance",
    "MissingElement",
    "NetworkError",
    "NetworkTimeout",
    "PixelDataError",
    "ProtocolViolation",
    "Series",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "TransferSyntaxError",
    "Typed",
    "__version__",
    "accelerate_pydicom",
    "blocking",
    "connect",
    "dcmread",
    "deidentify",
    "from_json",
    "from_pydicom",
    "from_xml",
    "listen",
    "loadtest",
    "new",
    "pixel",
    "read",
    "read_series",
    "scan",
    "scan_batches",
    "send",
    "serve",
    "split_series",
    "synth",
    "transcode",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dicore' has no attribute {name!r}")
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
