"""The Query/Retrieve and Worklist SOP classes (PS3.4 annexes C and K), and the identifiers of their requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dicore import uid
from dicore._native.dataset import deflated, dictionary_entry, keyword_to_tag
from dicore.dataset import Dataset
from dicore.dataset.encode import encode_value

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FIND", "GET", "LEVELS", "MOVE", "QUERY_CLASSES", "decode", "encode", "identifier"]

FIND: Final = {
    "study": "1.2.840.10008.5.1.4.1.2.2.1",
    "patient": "1.2.840.10008.5.1.4.1.2.1.1",
    "patient-study": "1.2.840.10008.5.1.4.1.2.3.1",  # retired
    "worklist": "1.2.840.10008.5.1.4.31",
}
MOVE: Final = {
    "study": "1.2.840.10008.5.1.4.1.2.2.2",
    "patient": "1.2.840.10008.5.1.4.1.2.1.2",
    "patient-study": "1.2.840.10008.5.1.4.1.2.3.2",
    "instance": "1.2.840.10008.5.1.4.1.2.4.2",  # Composite Instance Root
}
GET: Final = {
    "study": "1.2.840.10008.5.1.4.1.2.2.3",
    "patient": "1.2.840.10008.5.1.4.1.2.1.3",
    "patient-study": "1.2.840.10008.5.1.4.1.2.3.3",
    "instance": "1.2.840.10008.5.1.4.1.2.4.3",
    "no-bulk": "1.2.840.10008.5.1.4.1.2.5.3",  # Composite Instance Retrieve Without Bulk Data
}

QUERY_CLASSES: Final[dict[str, tuple[str, str]]] = {  # SOP class -> (service, model)
    **{sop_class: ("C-FIND", model) for model, sop_class in FIND.items()},
    **{sop_class: ("C-MOVE", model) for model, sop_class in MOVE.items()},
    **{sop_class: ("C-GET", model) for model, sop_class in GET.items()},
    # Hanging Protocol, Color Palette, Generic Implant Template, Implant Assembly, Implant Template Group
    **{
        f"1.2.840.10008.5.1.4.{family}.{number}": (service, "non-patient")
        for family in ("38", "39", "43", "44", "45")
        for number, service in (("2", "C-FIND"), ("3", "C-MOVE"), ("4", "C-GET"))
    },
    "1.2.840.10008.5.1.4.20.1": ("C-FIND", "non-patient"),  # Defined Procedure Protocol
    "1.2.840.10008.5.1.4.20.2": ("C-MOVE", "non-patient"),
    "1.2.840.10008.5.1.4.20.3": ("C-GET", "non-patient"),
    "1.2.840.10008.5.1.4.1.1.200.4": ("C-FIND", "non-patient"),  # Protocol Approval
    "1.2.840.10008.5.1.4.1.1.200.5": ("C-MOVE", "non-patient"),
    "1.2.840.10008.5.1.4.1.1.200.6": ("C-GET", "non-patient"),
    "1.2.840.10008.5.1.4.1.1.201.2": ("C-FIND", "non-patient"),  # Inventory
    "1.2.840.10008.5.1.4.1.1.201.3": ("C-MOVE", "non-patient"),
    "1.2.840.10008.5.1.4.1.1.201.4": ("C-GET", "non-patient"),
}

LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")

_RETURNED: Final = {  # asked for when the caller names no return keys; the unique keys of the level come first
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies"),
    "STUDY": (
        "StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "AccessionNumber", "StudyID", "StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "SERIES": (
        "SeriesInstanceUID", "StudyInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "SeriesDate",
        "BodyPartExamined", "NumberOfSeriesRelatedInstances",
    ),
    "IMAGE": ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "InstanceNumber"),
}  # fmt: skip
_WORKLIST: Final[dict[str, Any]] = {  # PS3.4 table K.6-1, what a modality needs to begin
    "PatientName": "", "PatientID": "", "PatientBirthDate": "", "PatientSex": "", "AccessionNumber": "",
    "StudyInstanceUID": "", "RequestedProcedureID": "", "RequestedProcedureDescription": "",
    "ReferringPhysicianName": "",
}  # fmt: skip
_STEP: Final = (
    "Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName", "ScheduledProcedureStepDescription", "ScheduledProcedureStepID",
    "ScheduledStationName", "ScheduledProcedureStepLocation",
)  # fmt: skip


def identifier(model: str, level: str | None, keys: Mapping[str, Any], *, returns: bool) -> dict[Any, Any]:
    """The elements of a request's identifier: `keys`, the level, and with `returns` the usual return keys.

    Of a worklist, keys of the Scheduled Procedure Step (Modality, ScheduledStationAETitle, ...) are put into its
    sequence."""
    if model == "worklist":
        step = {name: keys.get(name, "") for name in _STEP if name in keys or returns}
        rest = {name: value for name, value in keys.items() if name not in _STEP}
        whole: dict[Any, Any] = (_WORKLIST if returns else {}) | rest
        if step and "ScheduledProcedureStepSequence" not in rest:
            whole["ScheduledProcedureStepSequence"] = [step]
        return whole
    found: dict[Any, Any] = {}
    if level is not None:
        level = level.upper()
        level = "IMAGE" if level == "INSTANCE" else level
        if level not in LEVELS:
            raise ValueError(f"level {level!r}: PATIENT, STUDY, SERIES or IMAGE")
        found["QueryRetrieveLevel"] = level
        if returns:
            found |= dict.fromkeys(_RETURNED[level], "")
    return found | dict(keys)


# ---- data sets of messages ------------------------------------------------------------------------------------------


def decode(data: Buffer, transfer_syntax: str) -> Dataset:
    """The bare data set of a message."""
    return Dataset.from_bytes(data, transfer_syntax=transfer_syntax)


def encode(dataset: Dataset | Mapping[Any, Any] | bytes | None, transfer_syntax: str) -> bytes:
    """A data set as the context's transfer syntax wants it, without group 0002. Bytes are taken as they are.

    Text of a mapping that is not ASCII goes out in UTF-8, unless it has a SpecificCharacterSet. Raises ValueError and
    CharacterSetError where a value cannot be."""
    if dataset is None:
        return b""
    if isinstance(dataset, bytes):
        return dataset
    if not isinstance(dataset, Dataset):
        data = _encode_plain(dataset, transfer_syntax == uid.IMPLICIT_LITTLE) if transfer_syntax in _LITTLE else None
        if data is not None:
            return data
        dataset = _from_mapping(dataset)
    body: bytes
    if transfer_syntax == uid.EXPLICIT_BIG:
        body = _in_encoding(dataset, 3)
    elif transfer_syntax == uid.IMPLICIT_LITTLE:
        body = _in_encoding(dataset, 0)
    else:
        body = _in_encoding(dataset, 1)
    if transfer_syntax == uid.DEFLATED:
        return deflated(body)
    return body


_LITTLE = (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE)
_CHARSET = 0x00080005
_UTF8 = "ISO_IR 192"


def _in_encoding(dataset: Dataset, encoding: int) -> bytes:
    here = (0 if dataset.is_implicit_vr else 1) | (0 if dataset.is_little_endian else 2)
    if dataset._around() is not None:
        dataset = dataset.__copy__()
    if here == encoding:
        return bytes(dataset.dataset_bytes())
    return bytes(dataset._spliced(b"", [], encoding, 0, False))


def _from_mapping(elements: Mapping[Any, Any]) -> Dataset:
    fresh = Dataset.from_bytes(b"", transfer_syntax=uid.EXPLICIT_LITTLE)
    if "SpecificCharacterSet" not in elements and not _ascii(elements):
        fresh.SpecificCharacterSet = _UTF8
    for key, value in elements.items():
        fresh[key] = value
    return fresh


def _ascii(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii()
    if isinstance(value, Mapping):
        return all(_ascii(one) for one in value.values())
    if isinstance(value, list | tuple):
        return all(_ascii(one) for one in value)
    return not hasattr(value, "components") or str(value).isascii()


_KNOWN: dict[str, tuple[int, str] | None] = {}
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_NUL = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SV", "UN", "UV", "US", "SS", "UL", "SL", "FL", "FD", "AT", "UI"})


def _known(key: str) -> tuple[int, str] | None:
    tag = keyword_to_tag(key)
    entry = None if tag is None else dictionary_entry(tag)
    return None if tag is None or entry is None else (tag, entry[0][0])


def _encode_plain(elements: Mapping[Any, Any], implicit: bool) -> bytes | None:
    """The short way for flat mappings of keywords, which C-FIND answers are; None: take the long one."""
    listed: list[tuple[int, bytes]] = []
    charset = elements.get("SpecificCharacterSet") or ""
    foreign = False
    for key, value in elements.items():
        if key not in _KNOWN:
            if not isinstance(key, str) or len(_KNOWN) > 8192:
                return None
            _KNOWN[key] = _known(key)
        known = _KNOWN[key]
        if known is None or known[1] == "SQ":
            return None
        tag, vr = known
        if type(value) is str and value.isascii():
            body = encode_value(vr, value) if value else b""
        else:
            foreign = foreign or not _ascii(value)
            body = encode_value(vr, value, charset or _UTF8)
        size = len(body)
        if size & 1:
            body += b"\0" if vr in _NUL else b" "
            size += 1
        head = (tag >> 16 | (tag & 0xFFFF) << 16).to_bytes(4, "little")
        if implicit:
            listed.append((tag, head + size.to_bytes(4, "little") + body))
        elif vr in _LONG:
            listed.append((tag, head + vr.encode() + b"\0\0" + size.to_bytes(4, "little") + body))
        elif size > 0xFFFE:
            return None
        else:
            listed.append((tag, head + vr.encode() + size.to_bytes(2, "little") + body))
    if foreign and not charset:
        head = b"\x08\0\x05\0" + ((10).to_bytes(4, "little") if implicit else b"CS" + (10).to_bytes(2, "little"))
        listed.append((_CHARSET, head + _UTF8.encode()))
    listed.sort()
    return b"".join([element for _, element in listed])
