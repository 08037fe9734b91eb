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
cdef extern from "dicore/pixel.h" nogil:
    ctypedef struct dicore_fragment:
        uint64_t offset
        uint64_t length

    ctypedef struct dicore_encapsulation:
        uint64_t count
        uint64_t origin
        uint64_t table_offset
        uint64_t table_length
        uint64_t end
        int damaged
        int truncated

    dicore_status dicore_fragments_read(const uint8_t *items, size_t size, dicore_fragment *fragments, size_t capacity,
                                        dicore_encapsulation *out, dicore_error *error)

    ctypedef struct dicore_frame:
        uint64_t first
        uint64_t count
        uint64_t size

    ctypedef enum dicore_frames_source:
        DICORE_FROM_EXTENDED
        DICORE_FROM_BASIC
        DICORE_FROM_FRAGMENTS

    dicore_status dicore_frames_resolve(const uint8_t *items, size_t size, const dicore_encapsulation *encapsulation,
                                        const dicore_fragment *fragments, uint64_t wanted, dicore_span offsets,
                                        dicore_span lengths, dicore_frame *frames, uint64_t *found,
                                        dicore_frames_source *source, dicore_error *error)

    dicore_status dicore_rle_segment(const uint8_t *source, size_t size, uint8_t *target, size_t capacity, size_t stride)
    dicore_status dicore_rle_frame(const uint8_t *source, size_t size, uint8_t *target, size_t target_size, uint64_t pixels,
                                   unsigned samples, unsigned bytes, dicore_error *error)



# ---- net.h -----------------------------------------------------------------------------------------------------------


# ---- store.h ---------------------------------------------------------------------------------------------------------

