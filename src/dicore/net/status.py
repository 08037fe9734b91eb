"""DIMSE statuses (PS3.7 annex C; PS3.4 B.2.3, C.4, F.7, J.3, CC.2), and what to make of a number that is not here."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Status", "describe", "is_failure", "is_pending", "is_retryable", "is_warning"]


class Status(IntEnum):
    """The statuses this package answers or explains. Some numbers mean different things in different services: those
    have several names."""

    SUCCESS = 0x0000
    # of every service (PS3.7 annex C)
    NO_SUCH_ATTRIBUTE = 0x0105
    INVALID_ATTRIBUTE_VALUE = 0x0106
    ATTRIBUTE_LIST_ERROR = 0x0107
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    NO_SUCH_ARGUMENT = 0x0114
    INVALID_ARGUMENT = 0x0115
    ATTRIBUTE_VALUE_OUT_OF_RANGE = 0x0116
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_WITHOUT_OPTIONAL_KEYS = 0xFF01
    # C-STORE (PS3.4 B.2.3)
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    COERCION = 0xB000
    ELEMENTS_DISCARDED = 0xB006
    WARNING_DATA_SET_DOES_NOT_MATCH = 0xB007
    # C-FIND, C-GET, C-MOVE (PS3.4 C.4)
    OUT_OF_RESOURCES_FOR_MATCHES = 0xA701
    OUT_OF_RESOURCES_FOR_SUB_OPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    UNABLE_TO_PROCESS = 0xC001
    SUB_OPERATIONS_FAILED = 0xB000  # one or more of them; the same number as COERCION
    # MPPS (PS3.4 F.7.2), storage commitment (J.3.3)
    MAY_NO_LONGER_BE_UPDATED = 0x0110
    DUPLICATE_TRANSACTION = 0x0131
    # UPS (PS3.4 CC.2)
    UPS_CREATED_WITH_MODIFICATIONS = 0xB300
    UPS_ALREADY_CANCELED = 0xB304
    UPS_ALREADY_COMPLETED = 0xB306
    UPS_MAY_NO_LONGER_BE_UPDATED = 0xC300
    UPS_TRANSACTION_UID_WRONG = 0xC301
    UPS_ALREADY_IN_PROGRESS = 0xC302
    UPS_MUST_BE_CREATED_SCHEDULED = 0xC303
    UPS_NOT_MET_FINAL_REQUIREMENTS = 0xC304
    UPS_NO_SUCH_INSTANCE = 0xC307
    UPS_UNKNOWN_RECEIVING_AE = 0xC308
    UPS_NOT_IN_PROGRESS = 0xC310
    UPS_PERFORMER_CANNOT_BE_REACHED = 0xC312
    UPS_NOT_CANCELED_BY_PERFORMER = 0xC313


def is_warning(status: int) -> bool:
    """Done, with a remark: Bxxx, 0001, 0107, 0116 (PS3.7 C.3)."""
    return status & 0xF000 == 0xB000 or status in (0x0001, 0x0107, 0x0116)


def is_pending(status: int) -> bool:
    """More responses follow (PS3.7 C.1.3)."""
    return status in (0xFF00, 0xFF01)


def is_failure(status: int) -> bool:
    """Neither success nor a warning (nor pending or cancelled, which C-STORE does not have)."""
    return status != 0 and not is_warning(status)


def is_retryable(status: int) -> bool:
    """The peer is out of resources for now (A7xx, 0213): sending it again later may succeed."""
    return status >> 8 == 0xA7 or status == Status.RESOURCE_LIMITATION


_RANGES = {  # by the first two digits
    0xA7: "out of resources",
    0xA8: "move destination unknown",
    0xA9: "data set does not match SOP class",
}
_SERVICE_TEXTS = {
    ("C-GET", 0xB000): "sub-operations complete, with failures or warnings",
    ("C-MOVE", 0xB000): "sub-operations complete, with failures or warnings",
    ("C-FIND", 0xA900): "identifier does not match SOP class",
    ("C-GET", 0xA900): "identifier does not match SOP class",
    ("C-MOVE", 0xA900): "identifier does not match SOP class",
    ("C-FIND", 0xC000): "unable to process",
    ("C-GET", 0xC000): "unable to process",
    ("C-MOVE", 0xC000): "unable to process",
}


def describe(status: int, service: str = "") -> str:
    """'A700 out of resources'. `service` ('C-MOVE') decides where a number means different things."""
    text = _SERVICE_TEXTS.get((service, status))
    if text is not None:
        return f"{status:04X} {text}"
    try:
        return f"{status:04X} {Status(status).name.replace('_', ' ').lower()}"
    except ValueError:
        pass
    text = _RANGES.get(status >> 8)
    if text is not None:
        return f"{status:04X} {text}"
    if status >> 12 == 0xC:
        queries = service in ("C-FIND", "C-GET", "C-MOVE")
        return f"{status:04X} {'unable to process' if queries else 'cannot understand'}"
    return f"{status:04X} {'warning' if is_warning(status) else 'failure'}"
