# The one transcription of the headers in csrc/include/dicore. A column a section, in the order of the headers.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "dicore/base.h" nogil:
    ctypedef enum dicore_status:
        DICORE_OK
        DICORE_NO_MEMORY
        DICORE_BAD_ARGUMENT
        DICORE_LIMIT
        DICORE_IO
        DICORE_END
        DICORE_TRUNCATED
        DICORE_BAD_VR
        DICORE_BAD_LENGTH
        DICORE_BAD_TAG
        DICORE_TOO_DEEP
        DICORE_NOT_DICOM
        DICORE_BAD_META
        DICORE_BAD_SYNTAX
        DICORE_DEVIATION
        DICORE_BAD_DEFLATE
        DICORE_BAD_FRAGMENTS
        DICORE_NO_FRAME
        DICORE_BAD_FRAME
        DICORE_BAD_PDU
        DICORE_BAD_COMMAND
        DICORE_BAD_STATE
        DICORE_FAILED
        DICORE_BAD_RECORD
        DICORE_BAD_CRC
        DICORE_BAD_SEGMENT
        DICORE_SEGMENT_FULL
        DICORE_POISONED

    ctypedef struct dicore_error:
        dicore_status status
        int system
        uint64_t offset
        uint32_t tag
        uint32_t depth
        uint32_t detail

    ctypedef struct dicore_allocator:
        void *(*resize)(void *context, void *pointer, size_t old_size, size_t new_size) noexcept
        void *context

    ctypedef struct dicore_span:
        const uint8_t *data
        size_t size

    const char *dicore_status_text(dicore_status status)


# ---- dataset.h -------------------------------------------------------------------------------------------------------


# ---- pixel.h ---------------------------------------------------------------------------------------------------------


# ---- net.h -----------------------------------------------------------------------------------------------------------


# ---- store.h ---------------------------------------------------------------------------------------------------------

