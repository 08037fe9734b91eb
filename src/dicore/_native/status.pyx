"""One `check()` for every module: a status of libdicore becomes an exception of dicore.errors."""
import os

from dicore import errors
from dicore._native.libdicore cimport *


def status_text(int status):
    """The phrase of libdicore for a status number."""
    return dicore_status_text(<dicore_status>status).decode()


cdef int check(dicore_status status, const dicore_error *error, object path=None, object expected=None) except -1:
    """Return 0 for DICORE_OK, else raise what the status means. `error` may be NULL; `path` names the file."""
    if status == DICORE_OK:
        return 0
    if status == DICORE_NO_MEMORY:
        raise MemoryError("libdicore was refused memory")
    if status == DICORE_BAD_ARGUMENT:
        raise ValueError("libdicore was called against its contract")
    cdef str text = dicore_status_text(status).decode()
    offset = tag_path = None
    if error != NULL:
        offset = error.offset
        if status == DICORE_IO:
            return check_os(status, error, path)
        if error.tag:
            tag_path = f"{error.tag >> 16:04X},{error.tag & 0xFFFF:04X}"
    cdef int code = <int>status
    if 400 <= code < 500:
        raise errors.StoreCorrupt(text, segment="" if path is None else str(path), offset=offset)
    if 300 <= code < 400:
        if status == DICORE_BAD_STATE or status == DICORE_FAILED:
            raise errors.AssociationStateError(text)
        raise errors.ProtocolViolation(text, offset=offset)
    if 200 <= code < 300:
        raise errors.PixelDataError(text, path=path, offset=offset, tag_path=tag_path, expected=expected)
    if status == DICORE_BAD_SYNTAX:
        raise errors.TransferSyntaxError(text, path=path, offset=offset, tag_path=tag_path, expected=expected)
    raise errors.DicomFormatError(text, path=path, offset=offset, tag_path=tag_path, expected=expected)


cdef int check_os(dicore_status status, const dicore_error *error, object path=None) except -1:
    """As `check` for calls on files: DICORE_IO becomes the OSError of its errno, a full disk StoreFull."""
    if status != DICORE_IO:
        return check(status, error, path)
    if error.system in (28, 122):  # ENOSPC, EDQUOT
        raise errors.StoreFull(f"no space left for {path}" if path is not None else "no space left on the device")
    raise OSError(error.system, os.strerror(error.system), None if path is None else str(path))
