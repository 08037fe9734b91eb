"""DIMSE statuses of C-STORE and C-ECHO (PS3.7 annex C, PS3.4 B.2.3), and what to make of a number that is not here."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Status", "describe", "is_failure", "is_retryable", "is_warning"]


class Status(IntEnum):
    """The statuses this package answers or explains."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    INVALID_ARGUMENT = 0x0115
    DUPLICATE_SOP_INSTANCE = 0x0111
    DUPLICATE_INVOCATION = 0x0210
    MISTYPED_ARGUMENT = 0x0212
    PROCESSING_FAILURE = 0x0110
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    COERCION = 0xB000
    ELEMENTS_DISCARDED = 0xB006
    WARNING_DATA_SET_DOES_NOT_MATCH = 0xB007


def is_warning(status: int) -> bool:
    """Stored, with a remark: Bxxx, 0001, 0107, 0116 (PS3.7 C.3)."""
    return status & 0xF000 == 0xB000 or status in (0x0001, 0x0107, 0x0116)


def is_failure(status: int) -> bool:
    """Neither success nor a warning (nor pending or cancelled, which C-STORE does not have)."""
    return status != 0 and not is_warning(status)


def is_retryable(status: int) -> bool:
    """The peer is out of resources for now (A7xx, 0213): sending it again later may succeed."""
    return status >> 8 == 0xA7 or status == Status.RESOURCE_LIMITATION


def describe(status: int) -> str:
    """'A700 out of resources'."""
    try:
        return f"{status:04X} {Status(status).name.replace('_', ' ').lower()}"
    except ValueError:
        pass
    for top, text in ((0xA7, "out of resources"), (0xA9, "data set does not match SOP class")):
        if status >> 8 == top:
            return f"{status:04X} {text}"
    if status >> 12 == 0xC:
        return f"{status:04X} cannot understand"
    return f"{status:04X} {'warning' if is_warning(status) else 'failure'}"
