"""The exceptions of dicore: one tree, each saying what went wrong, where, and what to do about it."""

from __future__ import annotations

import errno
import os
from typing import Any

__all__ = [
    "AssociationAborted",
    "AssociationRejected",
    "AssociationStateError",
    "CharacterSetError",
    "CodecUnavailable",
    "ConnectionFailed",
    "DicomFormatError",
    "DicoreError",
    "DimseError",
    "DuplicateInstance",
    "MissingElement",
    "NetworkError",
    "NetworkTimeout",
    "PixelDataError",
    "ProtocolViolation",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "TransferSyntaxError",
]


class DicoreError(Exception):
    """Base of every exception that dicore raises for bad input, a bad peer or a bad disk."""


class DicomFormatError(DicoreError):
    """Bytes that are not the DICOM they should be.

    `path` is the file (None for bytes), `offset` the byte in it, `tag_path` the element as '0008,1115[0].0020,000E',
    `expected` what the standard has there.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        tag_path: str | None = None,
        expected: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.offset = offset
        self.tag_path = tag_path
        self.expected = expected

    def __str__(self) -> str:
        where = [str(self.path)] if self.path is not None else []
        where += [f"byte {self.offset}"] if self.offset is not None else []
        where += [f"({self.tag_path})"] if self.tag_path else []
        text = f"{', '.join(where)}: {self.message}" if where else self.message
        return f"{text}; expected {self.expected}" if self.expected else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class TransferSyntaxError(DicomFormatError):
    """A transfer syntax that is unknown, or not the one the bytes are in."""


class CharacterSetError(DicomFormatError):
    """Text that its Specific Character Set cannot decode (PS3.3 C.12.1.1.2), under `strict=True`."""


class PixelDataError(DicomFormatError):
    """Pixel data that is missing or cannot be decoded; `frame` is the frame's index from 0, or None for all."""

    def __init__(self, message: str, *, frame: int | None = None, **where: Any) -> None:
        super().__init__(message, **where)
        self.frame = frame

    def __str__(self) -> str:
        return super().__str__() if self.frame is None else f"frame {self.frame}: {super().__str__()}"


class CodecUnavailable(DicoreError):
    """No installed codec handles `transfer_syntax`; `hint` says what to install."""

    def __init__(self, message: str, *, transfer_syntax: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.transfer_syntax = transfer_syntax
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}; {self.hint}" if self.hint else text


class MissingElement(DicoreError, KeyError, AttributeError):
    """The data set has no such element. Also a KeyError and an AttributeError, so `in`, `get` and `hasattr` work."""

    def __init__(self, message: str, *, tag_path: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.tag_path = tag_path

    def __str__(self) -> str:  # KeyError would print the repr
        return self.message


class NetworkError(DicoreError):
    """Something between us and `peer` (address or AE title).

    `dimse_status` is the DIMSE status and `abort_reason` the A-ABORT reason that belongs to it, where there is one.
    """

    def __init__(
        self, message: str, *, peer: str = "", abort_reason: int | None = None, dimse_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.peer = peer
        self.abort_reason = abort_reason
        self.dimse_status = dimse_status

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.peer}: {text}" if self.peer else text


class ConnectionFailed(NetworkError):
    """No TCP (or TLS) connection came about, or it broke without an A-ABORT."""


class AssociationRejected(NetworkError):
    """A-ASSOCIATE-RJ; `result`, `source` and `reason` as in PS3.8 table 9-21."""

    def __init__(self, message: str, *, result: int, source: int, reason: int, peer: str = "") -> None:
        super().__init__(message, peer=peer)
        self.result = result
        self.source = source
        self.reason = reason


class AssociationAborted(NetworkError):
    """A-ABORT came in; `source` 0 is the peer's user, 2 its provider; `reason` as in PS3.8 table 9-26."""

    def __init__(self, message: str, *, source: int, reason: int, peer: str = "") -> None:
        super().__init__(message, peer=peer, abort_reason=reason)
        self.source = source
        self.reason = reason


class NetworkTimeout(NetworkError, TimeoutError):
    """The peer did not answer in time; the message names the phase and the limit."""

    __str__ = NetworkError.__str__  # TimeoutError is an OSError, which prints itself in its own way


class ProtocolViolation(NetworkError):
    """The peer broke the protocol; `section` of the standard and `offset` in the stream say where."""

    def __init__(
        self,
        message: str,
        *,
        section: str = "",
        offset: int | None = None,
        peer: str = "",
        abort_reason: int | None = None,
    ) -> None:
        super().__init__(message, peer=peer, abort_reason=abort_reason)
        self.section = section
        self.offset = offset


class AssociationStateError(NetworkError):
    """A call that the state of the association does not allow: it is released, aborted or not yet there."""


class DimseError(NetworkError):
    """The peer answered with a failure; `status` is the DIMSE status, `comment` its Error Comment."""

    def __init__(self, message: str, *, status: int, comment: str = "", peer: str = "") -> None:
        super().__init__(message, peer=peer, dimse_status=status)
        self.status = status
        self.comment = comment


class StoreError(DicoreError):
    """The instance store cannot do what was asked."""


class DuplicateInstance(StoreError):
    """This SOP Instance UID is stored already, with other bytes, and the policy is to refuse."""


class StoreFull(StoreError, OSError):
    """The disk is full. Nothing was acknowledged; reading goes on; storing resumes when there is space."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StoreCorrupt(StoreError):
    """Stored bytes are damaged; `segment` is the file, `offset` the byte in it."""

    def __init__(self, message: str, *, segment: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.segment = segment
        self.offset = offset

    def __str__(self) -> str:
        where = f"{self.segment}, byte {self.offset}: " if self.segment else ""
        return where + super().__str__()


def _rebuild(cls: type[DicomFormatError], args: tuple[Any, ...], state: dict[str, Any]) -> DicomFormatError:
    error = cls(*args)
    error.__dict__.update(state)
    return error
