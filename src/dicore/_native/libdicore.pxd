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

cdef extern from "dicore/store.h" nogil:
    uint32_t dicore_crc32c(uint32_t crc, const void *data, size_t size)
    uint32_t dicore_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size)
    void dicore_uid_hash(const void *uid, size_t size, uint8_t *out)

    enum:
        DICORE_RECORD_HEADER
        DICORE_RECORD_UNIT
        DICORE_SEGMENT_HEADER
        DICORE_SEGMENT_SINGLE
        DICORE_STORE_ENTRY_SIZE

    ctypedef struct dicore_record:
        uint64_t file_size
        uint64_t received
        uint8_t uid_hash[16]
        uint32_t data_offset
        uint32_t data_crc
        uint32_t synced
        uint16_t flags

    uint64_t dicore_record_size(uint64_t file_size)
    dicore_status dicore_record_read_header(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset, dicore_record *out)
    dicore_status dicore_record_check(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset, dicore_record *out)

    ctypedef struct dicore_segment_info:
        uint64_t id
        uint64_t nonce
        uint64_t size
        uint64_t created
        uint32_t flags

    dicore_status dicore_segment_open(int folder, uint64_t id, int writable, int *file, dicore_segment_info *info, dicore_error *error)

    ctypedef enum dicore_found_kind:
        DICORE_FOUND_RECORD
        DICORE_FOUND_DAMAGED
        DICORE_FOUND_UNREADABLE

    ctypedef struct dicore_found:
        dicore_found_kind kind
        uint64_t offset
        uint64_t size
        dicore_record record

    ctypedef struct dicore_scan:
        int file
        dicore_segment_info info
        uint64_t limit
        uint64_t expected
        uint64_t check_from
        uint8_t *buffer
        size_t capacity
        uint64_t offset
        uint64_t end
        uint64_t synced
        int dirty

    dicore_status dicore_scan_next(dicore_scan *scan, dicore_found *out)
    dicore_status dicore_segment_repair(const dicore_scan *scan, dicore_error *error)

    ctypedef struct dicore_place:
        uint8_t uid_hash[16]
        uint32_t segment
        uint32_t unit
        uint32_t data_crc
        uint32_t state

    ctypedef struct dicore_store:
        pass
    ctypedef enum dicore_durability:
        DICORE_RELAXED
        DICORE_SYNC_DATA
        DICORE_SYNC_DIRECT
    ctypedef enum dicore_duplicates:
        DICORE_KEEP_FIRST
        DICORE_REPLACE
        DICORE_KEEP_BOTH
        DICORE_REJECT
    ctypedef enum dicore_failpoint:
        DICORE_FAIL_NEVER
        DICORE_FAIL_BEFORE_WRITE
        DICORE_FAIL_AFTER_WRITE
        DICORE_FAIL_BEFORE_SYNC
        DICORE_FAIL_AFTER_SYNC
        DICORE_FAIL_SEGMENT_MADE
        DICORE_FAIL_WRITE_ERROR
        DICORE_FAIL_WRITE_FULL
        DICORE_FAIL_SYNC_ERROR

    ctypedef struct dicore_store_options:
        int folder
        int read_only
        uint64_t segment_size
        uint64_t fill_ahead
        dicore_durability durability
        dicore_duplicates duplicates
        dicore_failpoint failpoint
        uint32_t failpoint_countdown
        dicore_allocator allocator
        dicore_span implementation
        dicore_span version_name

    dicore_status dicore_store_open(const dicore_store_options *options, dicore_store **out, dicore_error *error)
    void dicore_store_close(dicore_store *store)

    ctypedef struct dicore_store_entry:
        uint8_t uid_hash[16]
        uint64_t received
        uint32_t unit
        uint32_t units
        uint32_t data_crc
        uint32_t flags

    void dicore_store_entry_write(const dicore_store_entry *entry, uint8_t *out)
    dicore_status dicore_store_entry_read(const uint8_t *data, size_t size, dicore_store_entry *out)
    dicore_status dicore_store_load(dicore_store *store, uint64_t segment, const dicore_store_entry *entries, size_t count)
    dicore_status dicore_store_continue(dicore_store *store, const dicore_segment_info *info, int file, uint64_t end)

    ctypedef struct dicore_instance:
        dicore_span sop_class
        dicore_span sop_instance
        dicore_span transfer_syntax
        dicore_span source_ae
        const dicore_span *pieces
        size_t count
        void *token

    ctypedef enum dicore_outcome:
        DICORE_WAITS
        DICORE_STORED
        DICORE_DUPLICATE
        DICORE_CONFLICT

    dicore_status dicore_store_append(dicore_store *store, const dicore_instance *instance, dicore_outcome *outcome, dicore_error *error)

    ctypedef struct dicore_waiter:
        void *token
        dicore_status status
        int system

    dicore_status dicore_store_commit(dicore_store *store, const dicore_waiter **waiters, size_t *count)

    ctypedef enum dicore_task_kind:
        DICORE_TASK_SEAL
        DICORE_TASK_MARK

    ctypedef struct dicore_task:
        dicore_task_kind kind
        int file
        uint64_t end
        dicore_segment_info info

    dicore_status dicore_store_work(dicore_store *store, dicore_task *task)
    void dicore_store_sealed(dicore_store *store, uint64_t segment)
    void dicore_store_stop(dicore_store *store)
    size_t dicore_store_find(dicore_store *store, const uint8_t *uid_hash, dicore_place *places, size_t capacity)
    size_t dicore_store_places(dicore_store *store, uint64_t *cursor, dicore_place *places, size_t capacity)

    ctypedef struct dicore_extent:
        uint64_t segment
        uint64_t end

    size_t dicore_store_extents(dicore_store *store, dicore_extent *extents, size_t capacity)

    ctypedef struct dicore_store_counters:
        uint64_t instances
        uint64_t appended
        uint64_t appended_bytes
        uint64_t duplicates
        uint64_t conflicts
        uint64_t commits
        uint64_t syncs_failed
        uint64_t waiting
        uint64_t segment
        uint64_t end
        int failed

    void dicore_store_count(dicore_store *store, dicore_store_counters *out)

    ctypedef struct dicore_lane:
        dicore_segment_info info

    dicore_status dicore_lane_begin(dicore_store *store, const dicore_instance *instance, dicore_lane *lane, dicore_error *error)
    dicore_status dicore_lane_write(dicore_lane *lane, const dicore_span *pieces, size_t count, dicore_error *error)
    dicore_status dicore_lane_commit(dicore_lane *lane, dicore_outcome *outcome, dicore_error *error)
    void dicore_lane_abort(dicore_lane *lane)
